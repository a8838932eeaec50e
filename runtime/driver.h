/* The CUDA driver ABI as a table of function pointers, from libcuda or from another library that
 * has the same symbols (the software GPU).
 *
 * Invariant: an open Driver has every symbol of driver.def, was initialised with cuInit and sees
 * at least one device. No CUDA header is included anywhere: the types and numbers below are the
 * project's own declarations of a stable ABI (a test compares them with the toolkit's text).
 * Thread-safe after driver_open. What it does not do: choose devices, load code. */
#ifndef SEQTUNE_RUNTIME_DRIVER_H
#define SEQTUNE_RUNTIME_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef int CuResult;
typedef int CuDevice;
typedef uint64_t CuDeviceptr;
typedef void *CuContext;
typedef void *CuModule;
typedef void *CuFunction;
typedef void *CuStream;
typedef void *CuEvent;
typedef void *CuGraph;
typedef void *CuGraphExec;

/* ABI(name, value): the numbers of the ABI that the project uses, under cuda.h's names. */
#define CUDA_ABI_NUMBERS(ABI)                                                                      \
    ABI(CUDA_SUCCESS, 0)                                                                           \
    ABI(CUDA_ERROR_INVALID_VALUE, 1)                                                               \
    ABI(CUDA_ERROR_OUT_OF_MEMORY, 2)                                                               \
    ABI(CUDA_ERROR_NOT_INITIALIZED, 3)                                                             \
    ABI(CUDA_ERROR_STUB_LIBRARY, 34)                                                               \
    ABI(CUDA_ERROR_NO_DEVICE, 100)                                                                 \
    ABI(CUDA_ERROR_INVALID_DEVICE, 101)                                                            \
    ABI(CUDA_ERROR_INVALID_IMAGE, 200)                                                             \
    ABI(CUDA_ERROR_INVALID_CONTEXT, 201)                                                           \
    ABI(CUDA_ERROR_NO_BINARY_FOR_GPU, 209)                                                         \
    ABI(CUDA_ERROR_INVALID_PTX, 218)                                                               \
    ABI(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222)                                                   \
    ABI(CUDA_ERROR_INVALID_SOURCE, 300)                                                            \
    ABI(CUDA_ERROR_NOT_FOUND, 500)                                                                 \
    ABI(CUDA_ERROR_NOT_READY, 600)                                                                 \
    ABI(CUDA_ERROR_ILLEGAL_ADDRESS, 700)                                                           \
    ABI(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701)                                                   \
    ABI(CUDA_ERROR_LAUNCH_TIMEOUT, 702)                                                            \
    ABI(CUDA_ERROR_LAUNCH_FAILED, 719)                                                             \
    ABI(CUDA_ERROR_NOT_PERMITTED, 800)                                                             \
    ABI(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 13)                                                        \
    ABI(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                                              \
    ABI(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 36)                                                 \
    ABI(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 37)                                           \
    ABI(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 38)                                                     \
    ABI(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 39)                                    \
    ABI(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                                          \
    ABI(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                                          \
    ABI(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 81)                              \
    ABI(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 82)                                  \
    ABI(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 95)                                                \
    ABI(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97)                                 \
    ABI(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 106)                                    \
    ABI(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, 1)                                                    \
    ABI(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, 3)                                                     \
    ABI(CU_FUNC_ATTRIBUTE_NUM_REGS, 4)                                                             \
    ABI(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)                                        \
    ABI(CU_STREAM_NON_BLOCKING, 1)                                                                 \
    ABI(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1)                                                    \
    ABI(CU_JIT_ERROR_LOG_BUFFER, 5)                                                                \
    ABI(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6)

enum {
#define ABI(name, value) name = (value),
    CUDA_ABI_NUMBERS(ABI)
#undef ABI
};

/* What softgpuGetTraits fills; libcuda has no such symbol, and then its times are measured. The
 * struct is the side door's own ABI (a test compares it with softgpu's header). */
typedef struct DeviceTraits {
    size_t size;
    int modelled;      /* 1: event times are modelled */
    int deterministic; /* 1: one repetition tells all */
    int can_sample;    /* 1: driver_set_mode is worth calling */
    char model[32];    /* name in base/gpus.def; "" for a real GPU */
    char description[96];
    double factor; /* scale on the modelled time */
} DeviceTraits;

/* What softgpuLastLaunch fills: the last launch that completed in the current context (the side
 * door's own ABI, as above). */
typedef struct DeviceLaunchStats {
    size_t size;
    double seconds;
    char bound[16]; /* what took longest */
    double waves;
    int blocks_per_sm;
    char limiter[16]; /* of blocks_per_sm */
    unsigned long long blocks, blocks_run, warp_instructions, mma, ldmatrix, cp_async;
    unsigned long long shared_wavefronts, shared_conflicts, global_sectors, dram_bytes;
    unsigned long long local_access, barriers, max_async_groups;
    double at_least, estimate, mean, low, high; /* modelled seconds */
} DeviceLaunchStats;

/* What softgpuLastCounters and softgpuLastProfile fill (the side door's own ABI, as above). */
typedef struct DeviceCounter {
    char name[40];
    char unit[24];
    int modelled; /* 0: counted exactly */
    int adds;     /* 1: values of several launches add up */
    double value;
} DeviceCounter;

typedef struct DeviceLine { /* one executed PTX instruction */
    char place[160];        /* "file:line" */
    char instruction[80];
    char kind[16];
    int ptx_line;
    unsigned long long warps, lanes, wavefronts, conflicts, sectors, divergent;
    double share;     /* modelled part of the work */
    char caller[160]; /* "file:line" where a function was inlined, or "" */
} DeviceLine;

typedef struct Driver {
#define DRIVER(member, symbol, since, params) CuResult(*member) params;
#include "runtime/driver.def"
#undef DRIVER
    /* Optional entries; NULL on libcuda. */
    int (*GetTraits)(int device, DeviceTraits *traits);
    int (*SetLaunchMode)(int mode);
    int (*LastFault)(char *text, size_t size);
    int (*LastLaunch)(DeviceLaunchStats *stats);
    int (*SetProfile)(int on);
    int (*LastCounters)(DeviceCounter *counters, size_t *count);
    int (*LastProfile)(DeviceLine *lines, size_t *count);
    int (*SelectLaunch)(size_t index, char *entry, size_t size);
    int (*Warnings)(char *text, size_t size); /* of the last launch's checks, a line each */
    /* Device memory as it is when `stream` has done its work; takes no time on the time line. Any
     * result but 0, without other effects: a capture, launches that are not LAUNCH_FULL, bytes that
     * are nobody's, a context that is lost. */
    int (*Peek)(CuStream stream, void *to, CuDeviceptr from, size_t bytes);
    void *handle;
    int version;      /* cuDriverGetVersion: 12040 is 12.4 */
    int device_count; /* at least 1 */
    char path[512];   /* of the library that was loaded */
} Driver;

typedef struct DriverSymbol {
    const char *name;
    int since;
    size_t offset; /* of the pointer in Driver */
} DriverSymbol;

const DriverSymbol *driver_symbols(size_t *count);

/* `name`: NULL = $SEQTUNE_DRIVER, else libcuda.so.1, else, where no CUDA driver or no GPU is found,
 * with a warning in the log, "soft" (a driver that is broken or too old is an error);
 * "cuda" = libcuda.so.1 only; "soft" or "soft:MODEL[,MODEL]" = the software GPU; anything with a
 * '/' = that library. Errors say what was tried and what to do. Calls cuInit. */
Status driver_open(const char *name, Driver **out, Error *err);
void driver_close(Driver *driver); /* NULL is fine; the library itself stays loaded */

/* ST_OK for 0, else ST_DRIVER (ST_NO_MEMORY for out of memory) with the call, the driver's name
 * for the result and the device's own account of the last fault when it has one. */
Status driver_check(const Driver *driver, CuResult result, const char *call, Error *err);

/* {measured, not deterministic, no sampling} where the driver has no traits. */
DeviceTraits driver_traits(const Driver *driver, int device);

/* How launches of the current context run, where traits.can_sample; nothing otherwise. TIMING: a
 * sample of the blocks, for the time alone. UNTIMED: all blocks, for the results alone. */
typedef enum LaunchMode { LAUNCH_FULL, LAUNCH_TIMING, LAUNCH_UNTIMED } LaunchMode;
Status driver_set_mode(const Driver *driver, LaunchMode mode, Error *err);

/* Makes `context` current on this thread for a while: driver_enter returns true in *pushed when
 * driver_leave has to undo it. Needs no lock and no memory. */
CuResult driver_enter(const Driver *driver, CuContext context, bool *pushed);
void driver_leave(const Driver *driver, bool pushed);

#endif
