/* The devices on which variants are verified: four models of the software GPU, one per way in which
 * the templates differ (sm_75, sm_80, sm_89, sm_90a), or the real GPU that SEQTUNE_TEST_GPU names.
 */
#ifndef SEQTUNE_TESTS_VERIFY_DEVICES_H
#define SEQTUNE_TESTS_VERIFY_DEVICES_H

#include "runtime/seqtune.h"

enum { MAX_DEVICES = 4 };

typedef struct Devices {
    seqtune_context *ctx[MAX_DEVICES];
    const char *name[MAX_DEVICES];
    int count;
} Devices;

/* Opens all; NULL, or why not. Compiled kernels go to a cache below the build directory. */
const char *devices_open(Devices *out);
/* Opens only the one of this name. */
const char *devices_open_one(const char *name, seqtune_context **out);
void devices_close(Devices *d);

/* Those of a program whose tests all use them: fixtures of its group. */
extern Devices devices;
int devices_setup(void **state);
int devices_teardown(void **state);

#endif
