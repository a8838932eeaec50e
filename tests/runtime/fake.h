/* The controls of the fake driver (fake_driver.c), which tests look up with dlsym. */
#ifndef SEQTUNE_TESTS_RUNTIME_FAKE_H
#define SEQTUNE_TESTS_RUNTIME_FAKE_H

#include "runtime/driver.h"

enum { FAKE_DEVICES = 2, FAKE_MAX_LAUNCHES = 16 };

typedef struct FakeLaunch {
    char entry[64];
    unsigned grid[3], block[3], smem;
    unsigned char params[512];
    void *context; /* current when it was launched */
    void *stream;
    bool cooperative;
} FakeLaunch;

/* All state of the fake; one per process. Results are returned by the call of that name. */
typedef struct Fake {
    CuResult cubin_result; /* cuModuleLoadData of an ELF image */
    CuResult ptx_result;
    CuResult launch_result;
    CuResult sync_result;
    int version;
    int cc_major, cc_minor, sms;
    unsigned launches; /* since the last reset; the first FAKE_MAX_LAUNCHES are kept */
    FakeLaunch launch[FAKE_MAX_LAUNCHES];
    unsigned loads, unloads; /* modules */
    int retains;             /* of primary contexts, less releases */
    unsigned calls;          /* of any function */
    bool not_cooperative;    /* the devices cannot */
    int blocks_sm;           /* what the occupancy query says; 0: 2 */
    CuDeviceptr memset32;    /* of the last cuMemsetD32Async */
    int smem_limit;          /* largest set by cuFuncSetAttribute */
} Fake;

Fake *fake_state(void);

#endif
