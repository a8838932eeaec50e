/* A program of the driver API as a user writes one: it opens libcuda.so.1, adds vectors on every
 * device it finds, through plain, pinned, managed and stream-ordered memory, times them by events,
 * and repeats them from a graph. It knows nothing of the software GPU: the test gives it a
 * libcuda.so.1 (CMakeLists.txt); run on a machine with a GPU it uses that. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "softgpu/driver/abi.h"

enum { N = 1000, THREADS = 128, BLOCKS = (N + THREADS - 1) / THREADS };

static const char ptx[] = ".version 6.3\n"
                          ".target sm_75\n"
                          ".address_size 64\n"
                          ".visible .entry add(.param .u64 c, .param .u64 a, .param .u64 b,\n"
                          "                    .param .u32 n)\n"
                          "{\n"
                          "    .reg .pred %p<2>;\n"
                          "    .reg .f32 %f<4>;\n"
                          "    .reg .b32 %r<6>;\n"
                          "    .reg .b64 %rd<8>;\n"
                          "    ld.param.u64 %rd1, [c];\n"
                          "    ld.param.u64 %rd2, [a];\n"
                          "    ld.param.u64 %rd3, [b];\n"
                          "    ld.param.u32 %r1, [n];\n"
                          "    mov.u32 %r2, %ctaid.x;\n"
                          "    mov.u32 %r3, %ntid.x;\n"
                          "    mov.u32 %r4, %tid.x;\n"
                          "    mad.lo.s32 %r5, %r2, %r3, %r4;\n"
                          "    setp.ge.s32 %p1, %r5, %r1;\n"
                          "    @%p1 bra DONE;\n"
                          "    mul.wide.s32 %rd4, %r5, 4;\n"
                          "    add.s64 %rd5, %rd2, %rd4;\n"
                          "    add.s64 %rd6, %rd3, %rd4;\n"
                          "    add.s64 %rd7, %rd1, %rd4;\n"
                          "    ld.global.f32 %f1, [%rd5];\n"
                          "    ld.global.f32 %f2, [%rd6];\n"
                          "    add.f32 %f3, %f1, %f2;\n"
                          "    st.global.f32 [%rd7], %f3;\n"
                          "DONE:\n"
                          "    ret;\n"
                          "}\n";

/* The calls, found as cuda.h's macros would name them. */
#define CALLS(X)                                                                                   \
    X(cuInit, (unsigned int))                                                                      \
    X(cuDeviceGetCount, (int *))                                                                   \
    X(cuDeviceGetName, (char *, int, CUdevice))                                                    \
    X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                           \
    X(cuDevicePrimaryCtxRelease_v2, (CUdevice))                                                    \
    X(cuCtxSetCurrent, (CUcontext))                                                                \
    X(cuModuleLoadData, (CUmodule *, const void *))                                                \
    X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))                                 \
    X(cuModuleUnload, (CUmodule))                                                                  \
    X(cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                      \
    X(cuMemFree_v2, (CUdeviceptr))                                                                 \
    X(cuMemAllocManaged, (CUdeviceptr *, size_t, unsigned int))                                    \
    X(cuMemHostAlloc, (void **, size_t, unsigned int))                                             \
    X(cuMemHostGetDevicePointer_v2, (CUdeviceptr *, void *, unsigned int))                         \
    X(cuMemFreeHost, (void *))                                                                     \
    X(cuMemHostRegister_v2, (void *, size_t, unsigned int))                                        \
    X(cuMemHostUnregister, (void *))                                                               \
    X(cuMemAllocAsync, (CUdeviceptr *, size_t, CUstream))                                          \
    X(cuMemFreeAsync, (CUdeviceptr, CUstream))                                                     \
    X(cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))                         \
    X(cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))                               \
    X(cuLaunchKernel, (CUfunction, unsigned int, unsigned int, unsigned int, unsigned int,         \
                       unsigned int, unsigned int, unsigned int, CUstream, void **, void **))      \
    X(cuStreamCreate, (CUstream *, unsigned int))                                                  \
    X(cuStreamSynchronize, (CUstream))                                                             \
    X(cuStreamDestroy_v2, (CUstream))                                                              \
    X(cuStreamBeginCapture_v2, (CUstream, int))                                                    \
    X(cuStreamEndCapture, (CUstream, CUgraph *))                                                   \
    X(cuGraphInstantiateWithFlags, (CUgraphExec *, CUgraph, unsigned long long))                   \
    X(cuGraphLaunch, (CUgraphExec, CUstream))                                                      \
    X(cuGraphExecDestroy, (CUgraphExec))                                                           \
    X(cuGraphDestroy, (CUgraph))                                                                   \
    X(cuEventCreate, (CUevent *, unsigned int))                                                    \
    X(cuEventRecord, (CUevent, CUstream))                                                          \
    X(cuEventElapsedTime, (float *, CUevent, CUevent))                                             \
    X(cuEventDestroy_v2, (CUevent))                                                                \
    X(cuGetErrorName, (CUresult, const char **))

static struct {
#define CALL(name, parameters) CUresult(*name) parameters;
    CALLS(CALL)
#undef CALL
} cu;

static int calls_find(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == NULL) return 0;
#define CALL(name, parameters)                                                                     \
    *(void **)&cu.name = dlsym(library, #name);                                                    \
    if (cu.name == NULL) return 0;
    CALLS(CALL)
#undef CALL
    return 1;
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        const CUresult did = (call);                                                               \
        const char *text = "?";                                                                    \
        if (did == CUDA_SUCCESS) break;                                                            \
        cu.cuGetErrorName(did, &text);                                                             \
        fprintf(stderr, "line %d: %s: %s\n", __LINE__, #call, text);                               \
        exit(1);                                                                                   \
    } while (0)

static void expect(const float *sum, float scale) {
    for (int i = 0; i < N; i++) {
        const float want = scale * (float)i + 1;
        if (sum[i] == want) continue;
        fprintf(stderr, "element %d: %g, not %g\n", i, (double)sum[i], (double)want);
        exit(1);
    }
}

static void add(CUfunction f, CUstream stream, CUdeviceptr c, CUdeviceptr a, CUdeviceptr b) {
    int n = N;
    void *params[] = {&c, &a, &b, &n};
    OK(cu.cuLaunchKernel(f, BLOCKS, 1, 1, THREADS, 1, 1, 0, stream, params, NULL));
}

/* c = a + b with a in managed, b in pinned and c in stream-ordered memory. */
static void mixed_memory(CUfunction f, CUstream stream) {
    CUdeviceptr a, b, c;
    float *host_b, sum[N], own[N];
    OK(cu.cuMemAllocManaged(&a, sizeof sum, CU_MEM_ATTACH_GLOBAL));
    OK(cu.cuMemHostAlloc((void **)&host_b, sizeof sum, 2));
    OK(cu.cuMemHostGetDevicePointer_v2(&b, host_b, 0));
    OK(cu.cuMemAllocAsync(&c, sizeof sum, stream));
    for (int i = 0; i < N; i++) {
        ((float *)(uintptr_t)a)[i] = (float)i;
        host_b[i] = 1;
    }
    add(f, stream, c, a, b);
    OK(cu.cuMemcpyDtoHAsync_v2(sum, c, sizeof sum, stream));
    OK(cu.cuMemFreeAsync(c, stream));
    OK(cu.cuStreamSynchronize(stream));
    expect(sum, 1);
    CUdeviceptr mine; /* and memory of this program's own */
    for (int i = 0; i < N; i++) own[i] = -7;
    OK(cu.cuMemHostRegister_v2(own, sizeof own, 2));
    OK(cu.cuMemHostGetDevicePointer_v2(&mine, own, 0));
    add(f, stream, mine, a, b);
    OK(cu.cuStreamSynchronize(stream));
    expect(own, 1);
    OK(cu.cuMemHostUnregister(own));
    OK(cu.cuMemFreeHost(host_b));
    OK(cu.cuMemFree_v2(a));
}

/* Adds a to the sum again and again, from a captured graph; times it by events. */
static float repeated(CUfunction f, CUstream stream) {
    CUdeviceptr a, c;
    CUgraph graph;
    CUgraphExec exec;
    CUevent start, end;
    float host[N], sum[N], ms = -1;
    for (int i = 0; i < N; i++) {
        host[i] = (float)i;
        sum[i] = 1;
    }
    OK(cu.cuMemAlloc_v2(&a, sizeof host));
    OK(cu.cuMemAlloc_v2(&c, sizeof host));
    OK(cu.cuEventCreate(&start, 0));
    OK(cu.cuEventCreate(&end, 0));
    OK(cu.cuMemcpyHtoDAsync_v2(a, host, sizeof host, stream));
    OK(cu.cuMemcpyHtoDAsync_v2(c, sum, sizeof sum, stream));
    OK(cu.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    add(f, stream, c, a, c);
    add(f, stream, c, a, c);
    OK(cu.cuStreamEndCapture(stream, &graph));
    OK(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cu.cuEventRecord(start, stream));
    for (int i = 0; i < 3; i++) OK(cu.cuGraphLaunch(exec, stream));
    OK(cu.cuEventRecord(end, stream));
    OK(cu.cuMemcpyDtoHAsync_v2(sum, c, sizeof sum, stream));
    OK(cu.cuStreamSynchronize(stream));
    expect(sum, 6);
    OK(cu.cuEventElapsedTime(&ms, start, end));
    OK(cu.cuGraphExecDestroy(exec));
    OK(cu.cuGraphDestroy(graph));
    OK(cu.cuEventDestroy_v2(start));
    OK(cu.cuEventDestroy_v2(end));
    OK(cu.cuMemFree_v2(a));
    OK(cu.cuMemFree_v2(c));
    return ms;
}

static void on_device(CUdevice device) {
    CUcontext context;
    CUmodule module;
    CUfunction f;
    CUstream stream;
    char name[128];
    OK(cu.cuDeviceGetName(name, sizeof name, device));
    OK(cu.cuDevicePrimaryCtxRetain(&context, device));
    OK(cu.cuCtxSetCurrent(context));
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&f, module, "add"));
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    mixed_memory(f, stream);
    const float ms = repeated(f, stream);
    if (ms <= 0) {
        fprintf(stderr, "six launches took %g ms\n", (double)ms);
        exit(1);
    }
    printf("device %d: %s: %g ms\n", device, name, (double)ms);
    OK(cu.cuStreamDestroy_v2(stream));
    OK(cu.cuModuleUnload(module));
    OK(cu.cuDevicePrimaryCtxRelease_v2(device));
}

int main(void) {
    int count = 0;
    if (!calls_find()) {
        fprintf(stderr, "no libcuda.so.1 that has every call\n");
        return 1;
    }
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    for (int i = 0; i < count; i++) on_device(i);
    return count > 0 ? 0 : 1;
}
