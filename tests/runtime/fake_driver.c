/* A driver library that runs nothing and notes what it was asked: two GPUs with the attributes of
 * an A100, contexts per thread as CUDA has them, launches kept for inspection. It has no traits,
 * so its times count as measured. */
#include "tests/runtime/fake.h"
#include "runtime/plan_internal.h"

#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define DRIVER(member, symbol, since, params) CuResult symbol params;
#include "runtime/driver.def"
#undef DRIVER

enum { STACK = 16 };

static Fake fake = {.version = 13000, .cc_major = 8, .cc_minor = 0, .sms = 108};
static char primary[FAKE_DEVICES]; /* their addresses are the contexts */
static _Thread_local CuContext stack[STACK];
static _Thread_local int depth;

Fake *fake_state(void) {
    return &fake;
}

/* For programs that find the fake as their default driver. */
__attribute__((constructor)) static void version_from_environment(void) {
    const char *text = getenv("FAKE_CUDA_VERSION");
    if (text != NULL) fake.version = atoi(text);
}

static CuContext current(void) {
    return depth > 0 ? stack[depth - 1] : NULL;
}

CuResult cuDriverGetVersion(int *version) {
    *version = fake.version;
    return CUDA_SUCCESS;
}

CuResult cuGetErrorName(CuResult error, const char **text) {
    *text = error == CUDA_ERROR_LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_FAKE";
    return CUDA_SUCCESS;
}

CuResult cuGetErrorString(CuResult error, const char **text) {
    *text = "as the test wished";
    return CUDA_SUCCESS;
}

CuResult cuDeviceGetCount(int *count) {
    *count = FAKE_DEVICES;
    return CUDA_SUCCESS;
}

CuResult cuDeviceGet(CuDevice *device, int ordinal) {
    *device = ordinal + 40; /* a handle is not an ordinal */
    return CUDA_SUCCESS;
}

CuResult cuDeviceGetName(char *name, int size, CuDevice device) {
    strncpy(name, "Fake GPU", (size_t)size);
    return CUDA_SUCCESS;
}

CuResult cuDeviceTotalMem_v2(size_t *bytes, CuDevice device) {
    *bytes = (size_t)1 << 33;
    return CUDA_SUCCESS;
}

CuResult cuDeviceGetAttribute(int *value, int attribute, CuDevice device) {
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = fake.cc_major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = fake.cc_minor; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = fake.sms; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1410000; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 1215000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 40 << 20; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 164 << 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 163 << 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH: *value = !fake.not_cooperative; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CuResult cuDevicePrimaryCtxRetain(CuContext *context, CuDevice device) {
    *context = &primary[device - 40];
    fake.retains++;
    return CUDA_SUCCESS;
}

CuResult cuDevicePrimaryCtxRelease_v2(CuDevice device) {
    fake.retains--;
    return CUDA_SUCCESS;
}

CuResult cuCtxGetCurrent(CuContext *context) {
    *context = current();
    return CUDA_SUCCESS;
}

CuResult cuCtxSetCurrent(CuContext context) {
    if (depth == 0) depth = 1;
    stack[depth - 1] = context;
    return CUDA_SUCCESS;
}

CuResult cuCtxPushCurrent_v2(CuContext context) {
    if (depth == STACK) return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CuResult cuCtxPopCurrent_v2(CuContext *context) {
    if (depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
    *context = stack[--depth];
    return CUDA_SUCCESS;
}

CuResult cuCtxGetDevice(CuDevice *device) {
    for (int i = 0; i < FAKE_DEVICES; i++)
        if (current() == &primary[i]) *device = i + 40;
    return current() != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CuResult cuCtxSynchronize(void) {
    return fake.sync_result;
}

static CuResult load(CuModule *module, CuResult result) {
    static char modules[1024];
    if (current() == NULL) return CUDA_ERROR_INVALID_CONTEXT;
    if (result != CUDA_SUCCESS) return result;
    *module = &modules[fake.loads++ % sizeof modules];
    return CUDA_SUCCESS;
}

CuResult cuModuleLoadData(CuModule *module, const void *image) {
    return load(module, memcmp(image, "\177ELF", 4) == 0 ? fake.cubin_result : fake.ptx_result);
}

CuResult cuModuleLoadDataEx(CuModule *module, const void *image, unsigned count, int *options,
                            void **values) {
    return cuModuleLoadData(module, image);
}

CuResult cuModuleUnload(CuModule module) {
    fake.unloads++;
    return current() != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* A function is its name; the few names of a test program are never freed. */
CuResult cuModuleGetFunction(CuFunction *function, CuModule module, const char *name) {
    enum { NAMES = 64 };
    static char *names[NAMES];
    for (int i = 0; i < NAMES; i++) {
        if (names[i] == NULL) names[i] = strdup(name);
        if (names[i] != NULL && strcmp(names[i], name) == 0) {
            *function = names[i];
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_NOT_FOUND;
}

CuResult cuFuncSetAttribute(CuFunction function, int attribute, int value) {
    if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES && value > fake.smem_limit)
        fake.smem_limit = value;
    return CUDA_SUCCESS;
}

CuResult cuLaunchKernel(CuFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CuStream stream, void **params, void **extra) {
    if (fake.launch_result != CUDA_SUCCESS) return fake.launch_result;
    unsigned i = __atomic_fetch_add(&fake.launches, 1, __ATOMIC_SEQ_CST);
    if (i >= FAKE_MAX_LAUNCHES) return CUDA_SUCCESS;
    FakeLaunch *l = &fake.launch[i];
    strncpy(l->entry, function, sizeof l->entry - 1);
    l->grid[0] = grid_x;
    l->grid[1] = grid_y;
    l->grid[2] = grid_z;
    l->block[0] = block_x;
    l->block[1] = block_y;
    l->block[2] = block_z;
    l->smem = shared_bytes;
    l->context = current();
    l->stream = stream;
    /* The one parameter is a struct no larger than PlanParams. */
    memcpy(l->params, params[0], sizeof(PlanParams));
    return CUDA_SUCCESS;
}

CuResult cuLaunchCooperativeKernel(CuFunction function, unsigned grid_x, unsigned grid_y,
                                   unsigned grid_z, unsigned block_x, unsigned block_y,
                                   unsigned block_z, unsigned shared_bytes, CuStream stream,
                                   void **params) {
    const unsigned i = fake.launches;
    const CuResult result = cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y,
                                           block_z, shared_bytes, stream, params, NULL);
    if (result == CUDA_SUCCESS && i < FAKE_MAX_LAUNCHES) fake.launch[i].cooperative = true;
    return result;
}

CuResult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CuFunction function, int threads,
                                                     size_t shared_bytes) {
    *blocks = fake.blocks_sm > 0 ? fake.blocks_sm : 2;
    return CUDA_SUCCESS;
}

CuResult cuMemsetD32Async(CuDeviceptr to, unsigned value, size_t count, CuStream stream) {
    fake.memset32 = to;
    return CUDA_SUCCESS;
}

CuResult cuMemAlloc_v2(CuDeviceptr *address, size_t bytes) {
    *address = 0x100000;
    return bytes > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
