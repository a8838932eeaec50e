/* The whole library with two devices: whose memory a kernel may use, which bytes copies and fills
 * of rows, planes and graphs write, and threads with contexts of their own and a shared one. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "softgpu/softgpu.h"

#define OK(call) assert_int_equal((call), CUDA_SUCCESS)

/* to[i] = from[i] + 1 for each thread of each block; `var` counts launches. */
static const char text[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n.visible .global .align 4 .u32 var;\n"
    ".visible .entry next(.param .u64 from, .param .u64 to) {\n"
    ".reg .b32 %r<8>; .reg .b64 %rd<8>; .reg .pred %p<2>;\n"
    "ld.param.u64 %rd1, [from]; ld.param.u64 %rd2, [to]; mov.u32 %r1, %tid.x;\n"
    "mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r1, %r2, %r3, %r1;\n"
    "mul.wide.u32 %rd3, %r1, 4; add.u64 %rd1, %rd1, %rd3; add.u64 %rd2, %rd2, %rd3;\n"
    "ld.global.u32 %r4, [%rd1]; add.u32 %r4, %r4, 1; st.global.u32 [%rd2], %r4;\n"
    "setp.eq.u32 %p1, %r1, 0; @%p1 red.global.add.u32 [var], 1; ret; }\n";

typedef struct Place { /* a context with the kernel and a buffer of its own */
    CUcontext context;
    CUfunction next;
    CUdeviceptr var, buffer;
} Place;

enum { BYTES = 4096 };

static void load(Place *p) {
    CUmodule module;
    size_t bytes = 0;
    OK(cuModuleLoadDataEx(&module, text, 0, NULL, NULL));
    OK(cuModuleGetFunction(&p->next, module, "next"));
    OK(cuModuleGetGlobal_v2(&p->var, &bytes, module, "var"));
    OK(cuMemAlloc_v2(&p->buffer, BYTES));
}
static Place place_on(int device) {
    Place p;
    OK(cuInit(0));
    OK(cuCtxCreate_v4(&p.context, NULL, 0, device));
    load(&p);
    return p;
}

static CUresult launch(const Place *p, CUdeviceptr from, CUdeviceptr to, unsigned int words,
                       CUstream stream) {
    void *params[] = {&from, &to};
    const unsigned int threads = words < 32 ? words : 32;
    return cuLaunchKernel(p->next, words / threads, 1, 1, threads, 1, 1, 0, stream, params, NULL);
}
static CUresult run(const Place *p, CUdeviceptr from, CUdeviceptr to, unsigned int words) {
    const CUresult result = launch(p, from, to, words, NULL);
    return result != CUDA_SUCCESS ? result : cuCtxSynchronize();
}

/* Done when it returns: other contexts do not wait for the streams of this one. */
static void clear(CUdeviceptr buffer) {
    OK(cuMemsetD8_v2(buffer, 0, BYTES));
    OK(cuCtxSynchronize());
}

static void expect_fault(const char *part) {
    char fault[2048] = "";
    assert_int_equal(softgpuLastFault(fault, sizeof fault), CUDA_SUCCESS);
    if (!strstr(fault, part)) fail_msg("wanted '%s', got '%s'", part, fault);
}

static void a_kernel_uses_the_memory_of_its_device_alone(void **state) {
    (void)state;
    Place far = place_on(1);
    clear(far.buffer);
    Place near = place_on(0);
    clear(near.buffer);
    OK(run(&near, near.buffer, near.buffer + 256, 8));
    assert_int_equal(run(&near, far.buffer, near.buffer, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
    expect_fault("of device 1, whose memory this context may not use: cuCtxEnablePeerAccess");
    OK(cuCtxDestroy_v2(near.context));

    near = place_on(0);
    clear(near.buffer);
    OK(cuCtxEnablePeerAccess(far.context, 0));
    OK(run(&near, far.buffer, near.buffer, 8));
    OK(run(&near, near.buffer, far.buffer, 64));
    OK(cuCtxDisablePeerAccess(far.context));
    assert_int_equal(run(&near, near.buffer, far.buffer, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxDestroy_v2(near.context));

    /* Enabled in one direction; copies and memory of the host need nothing. */
    near = place_on(0);
    OK(cuCtxEnablePeerAccess(far.context, 0));
    OK(cuMemcpyDtoD_v2(near.buffer, far.buffer, BYTES));
    OK(cuCtxSetCurrent(far.context));
    void *host = NULL;
    CUdeviceptr managed = 0;
    OK(cuMemHostAlloc(&host, BYTES, 0));
    memset(host, 0, BYTES);
    OK(cuMemAllocManaged(&managed, BYTES, 1));
    memset((void *)(uintptr_t)managed, 0, BYTES);
    OK(cuCtxSetCurrent(near.context));
    OK(run(&near, (CUdeviceptr)(uintptr_t)host, managed, 64));
    OK(cuCtxSetCurrent(far.context));
    assert_int_equal(run(&far, near.buffer, far.buffer, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxDestroy_v2(far.context));
    OK(cuCtxSetCurrent(near.context));
    OK(cuCtxDestroy_v2(near.context));
}

static void variables_and_pools_belong_to_their_device(void **state) {
    (void)state;
    Place far = place_on(1);
    clear(far.buffer);
    OK(run(&far, far.var, far.buffer, 1)); /* its own variable, on the second device */
    CUmemoryPool pool;
    CUdeviceptr block = 0;
    int flags = -1;
    CUmemLocation first = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = 0};
    OK(cuDeviceGetDefaultMemPool(&pool, 1));
    OK(cuMemAllocFromPoolAsync(&block, BYTES, pool, NULL));
    clear(block);
    OK(cuMemPoolGetAccess(&flags, pool, &first));
    assert_int_equal(flags, 0);

    Place near = place_on(0);
    assert_int_equal(run(&near, block, near.buffer, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxDestroy_v2(near.context));
    near = place_on(0);
    assert_int_equal(run(&near, far.var, near.buffer, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxDestroy_v2(near.context));

    const CUmemAccessDesc share = {.location = first, .flags = 3};
    OK(cuMemPoolSetAccess(pool, &share, 1));
    OK(cuMemPoolGetAccess(&flags, pool, &first));
    assert_int_equal(flags, 3);
    near = place_on(0);
    OK(run(&near, block, near.buffer, 8)); /* given before the pool was shared */
    OK(cuCtxDestroy_v2(near.context));
    const CUmemAccessDesc none = {.location = first, .flags = 0};
    OK(cuMemPoolSetAccess(pool, &none, 1));
    near = place_on(0);
    assert_int_equal(run(&near, block, near.buffer, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxDestroy_v2(near.context));
    OK(cuCtxSetCurrent(far.context));
    OK(cuMemFreeAsync(block, NULL));
    OK(cuCtxDestroy_v2(far.context));
}

/* What writes rows of 16 bytes, 64 apart, and planes 512 apart: reads of the rows are clean, a read
 * of the gap is one of bytes that nothing wrote. */
typedef CUresult (*Writer)(CUdeviceptr to, CUdeviceptr from);

static CUresult copy_2d(CUdeviceptr to, CUdeviceptr from) {
    const CUDA_MEMCPY2D box = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                               .srcDevice = from,
                               .srcPitch = 16,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                               .dstDevice = to,
                               .dstPitch = 64,
                               .WidthInBytes = 16,
                               .Height = 4};
    return cuMemcpy2D_v2(&box);
}
static CUresult copy_2d_from_host(CUdeviceptr to, CUdeviceptr from) {
    static const uint32_t words[16] = {0};
    const CUDA_MEMCPY2D box = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                               .srcHost = words,
                               .srcPitch = 16,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                               .dstDevice = to,
                               .dstPitch = 64,
                               .WidthInBytes = 16,
                               .Height = 4};
    (void)from;
    return cuMemcpy2DAsync_v2(&box, NULL);
}
static CUDA_MEMCPY3D box_3d(CUdeviceptr to, CUdeviceptr from) {
    return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcDevice = from,
                           .srcPitch = 16,
                           .srcHeight = 4,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .dstDevice = to,
                           .dstPitch = 64,
                           .dstHeight = 8,
                           .WidthInBytes = 16,
                           .Height = 4,
                           .Depth = 2};
}
static CUresult copy_3d(CUdeviceptr to, CUdeviceptr from) {
    const CUDA_MEMCPY3D box = box_3d(to, from);
    return cuMemcpy3D_v2(&box);
}
static CUresult fill_2d(CUdeviceptr to, CUdeviceptr from) {
    (void)from;
    return cuMemsetD2D32_v2(to, 64, 5, 4, 4);
}
static CUresult launch_graph(CUgraph graph) {
    CUgraphExec exec = NULL;
    CUresult result = cuGraphInstantiateWithFlags(&exec, graph, 0);
    if (result == CUDA_SUCCESS) result = cuGraphLaunch(exec, NULL);
    if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
    if (exec != NULL) cuGraphExecDestroy(exec);
    cuGraphDestroy(graph);
    return result;
}
static CUresult graph_fill(CUdeviceptr to, CUdeviceptr from) {
    CUgraph graph;
    CUgraphNode node;
    CUcontext context;
    (void)from;
    const CUDA_MEMSET_NODE_PARAMS fill = {
        .dst = to, .pitch = 64, .value = 5, .elementSize = 4, .width = 4, .height = 4};
    OK(cuCtxGetCurrent(&context));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddMemsetNode(&node, graph, NULL, 0, &fill, context));
    return launch_graph(graph);
}
static CUresult graph_copy(CUdeviceptr to, CUdeviceptr from) {
    CUgraph graph;
    CUgraphNode node;
    CUcontext context;
    const CUDA_MEMCPY3D box = box_3d(to, from);
    OK(cuCtxGetCurrent(&context));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddMemcpyNode(&node, graph, NULL, 0, &box, context));
    return launch_graph(graph);
}

static void copies_and_fills_write_their_rows_and_nothing_else(void **state) {
    (void)state;
    static const struct {
        Writer write;
        int planes;
    } rows[] = {{copy_2d, 1}, {copy_2d_from_host, 1}, {copy_3d, 2},
                {fill_2d, 1}, {graph_fill, 1},        {graph_copy, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Place p = place_on(0);
        CUdeviceptr to = 0, out = 0;
        OK(cuMemAlloc_v2(&to, BYTES));
        OK(cuMemAlloc_v2(&out, BYTES));
        OK(cuMemsetD8_v2(p.buffer, 3, BYTES));
        OK(rows[i].write(to, p.buffer));
        for (int plane = 0; plane < rows[i].planes; plane++)
            for (int row = 0; row < 4; row++)
                OK(run(&p, to + 512u * (unsigned)plane + 64u * (unsigned)row, out, 4));
        const CUdeviceptr gaps[] = {to + 16, to + 4 * 64, to + 512 + 64 + 12};
        const CUdeviceptr gap = gaps[i % 3 == 2 && rows[i].planes == 1 ? 0 : i % 3];
        assert_int_not_equal(run(&p, gap, out, 2), CUDA_SUCCESS);
        expect_fault("never written");
        OK(cuCtxDestroy_v2(p.context));
    }
}

enum { THREADS = 4, ROUNDS = 12, WORDS = 256 };

typedef struct Worker {
    int index;
    bool shares; /* the primary context of its device, which another worker has, too */
    int wrong;
} Worker;

#define GOOD(call)                                                                                 \
    do                                                                                             \
        if ((call) != CUDA_SUCCESS) {                                                              \
            fprintf(stderr, "%s failed\n", #call);                                                 \
            w->wrong++;                                                                            \
            return NULL;                                                                           \
        }                                                                                          \
    while (0)

/* Copies in, ROUNDS kernels on a stream, half of them by a graph, copies out. */
static void *work(void *argument) {
    Worker *const w = argument;
    const int device = w->index % 2;
    Place p = {0};
    CUmodule module;
    CUstream stream;
    CUevent done;
    CUgraph graph;
    CUgraphExec exec;
    uint32_t in[WORDS], out[WORDS];
    for (uint32_t i = 0; i < WORDS; i++) in[i] = 1000u * (uint32_t)w->index + i;
    if (w->shares)
        GOOD(cuDevicePrimaryCtxRetain(&p.context, device));
    else
        GOOD(cuCtxCreate_v4(&p.context, NULL, 0, device));
    GOOD(cuCtxSetCurrent(p.context));
    GOOD(cuModuleLoadDataEx(&module, text, 0, NULL, NULL));
    GOOD(cuModuleGetFunction(&p.next, module, "next"));
    GOOD(cuMemAlloc_v2(&p.buffer, sizeof in));
    GOOD(cuStreamCreate(&stream, 1));
    GOOD(cuEventCreate(&done, 0));
    GOOD(cuMemcpyHtoDAsync_v2(p.buffer, in, sizeof in, stream));
    GOOD(cuStreamBeginCapture_v2(stream, 1));
    GOOD(launch(&p, p.buffer, p.buffer, WORDS, stream));
    GOOD(cuStreamEndCapture(stream, &graph));
    GOOD(cuGraphInstantiateWithFlags(&exec, graph, 0));
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2)
            GOOD(launch(&p, p.buffer, p.buffer, WORDS, stream));
        else
            GOOD(cuGraphLaunch(exec, stream));
    }
    GOOD(cuEventRecord(done, stream));
    GOOD(cuEventSynchronize(done));
    GOOD(cuMemcpyDtoHAsync_v2(out, p.buffer, sizeof out, stream));
    GOOD(cuStreamSynchronize(stream));
    for (int i = 0; i < WORDS; i++) w->wrong += out[i] != in[i] + ROUNDS;
    GOOD(cuGraphExecDestroy(exec));
    GOOD(cuGraphDestroy(graph));
    GOOD(cuEventDestroy_v2(done));
    GOOD(cuStreamDestroy_v2(stream));
    GOOD(cuMemFree_v2(p.buffer));
    GOOD(cuModuleUnload(module));
    if (w->shares)
        GOOD(cuDevicePrimaryCtxRelease_v2(device));
    else
        GOOD(cuCtxDestroy_v2(p.context));
    return NULL;
}

static void threads_with_contexts_on_two_devices_do_not_disturb_each_other(void **state) {
    (void)state;
    OK(cuInit(0));
    for (int shared = 0; shared < 2; shared++) {
        pthread_t id[THREADS];
        Worker w[THREADS];
        for (int i = 0; i < THREADS; i++) {
            w[i] = (Worker){.index = i, .shares = shared};
            assert_int_equal(pthread_create(&id[i], NULL, work, &w[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) pthread_join(id[i], NULL);
        for (int i = 0; i < THREADS; i++) assert_int_equal(w[i].wrong, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_uses_the_memory_of_its_device_alone),
        cmocka_unit_test(variables_and_pools_belong_to_their_device),
        cmocka_unit_test(copies_and_fills_write_their_rows_and_nothing_else),
        cmocka_unit_test(threads_with_contexts_on_two_devices_do_not_disturb_each_other),
    };
    setenv("SOFTGPU_DEVICES", "a100,h100", 1); /* read by cuInit */
    setenv("SOFTGPU_CHECKS", "all", 1);        /* read when a module is loaded */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
