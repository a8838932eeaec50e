/* The driver's behaviour beyond its errors: order and asynchrony of streams, the modelled time
 * line, capture and graphs, contexts over threads, queries, the side door. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/mem.h"
#include "softgpu/driver/abi.h"
#include "softgpu/softgpu.h"
#include "tests/softgpu/driver_fixture.h"

#define OK(call) assert_int_equal((call), CUDA_SUCCESS)

static Fixture f;

static int open_fixture(void **state) {
    (void)state;
    return fixture_open(&f) == CUDA_SUCCESS ? 0 : -1;
}

static int close_fixture(void **state) {
    (void)state;
    return cuCtxDestroy_v2(f.context) == CUDA_SUCCESS ? 0 : -1;
}

static unsigned int word_at(CUdeviceptr address) {
    unsigned int value = 0;
    assert_int_equal(cuMemcpyDtoH_v2(&value, address, 4), CUDA_SUCCESS);
    return value;
}

/* Memory ------------------------------------------------------------------------------------------
 */

static void copies_and_fills_move_the_bytes(void **state) {
    (void)state;
    unsigned char out[64], in[64];
    for (size_t i = 0; i < sizeof in; i++) in[i] = (unsigned char)i;
    OK(cuMemcpyHtoD_v2(f.buffer, in, 64));
    OK(cuMemcpyDtoD_v2(f.buffer + 100, f.buffer, 64));
    OK(cuMemcpyDtoH_v2(out, f.buffer + 100, 64));
    assert_memory_equal(in, out, 64);
    OK(cuMemsetD8_v2(f.buffer, 0xab, 3));
    OK(cuMemsetD16_v2(f.buffer + 4, 0x1234, 2));
    OK(cuMemsetD32_v2(f.buffer + 8, 0xdeadbeef, 2));
    OK(cuMemcpy((CUdeviceptr)(uintptr_t)out, f.buffer, 16));
    const unsigned char want[16] = {0xab, 0xab, 0xab, 3,    0x34, 0x12, 0x34, 0x12,
                                    0xef, 0xbe, 0xad, 0xde, 0xef, 0xbe, 0xad, 0xde};
    assert_memory_equal(out, want, 16);
    OK(cuMemcpyHtoD_v2(f.buffer, in, 0)); /* nothing is nothing */
}

static void memory_is_counted_and_described(void **state) {
    (void)state;
    size_t free_before, free_after, total, bytes;
    CUdeviceptr p, base;
    CUcontext owner;
    unsigned int type;
    OK(cuMemGetInfo_v2(&free_before, &total));
    OK(cuMemAlloc_v2(&p, 1 << 20));
    OK(cuMemGetInfo_v2(&free_after, &total));
    assert_int_equal(free_before - free_after, 1 << 20);
    OK(cuMemGetAddressRange_v2(&base, &bytes, p + 777));
    assert_int_equal(base, p);
    assert_int_equal(bytes, 1 << 20);
    OK(cuPointerGetAttribute(&type, 2, p));
    assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
    OK(cuPointerGetAttribute(&owner, 1, p));
    assert_ptr_equal(owner, f.context);
    OK(cuMemFree_v2(p));
    int attributes[] = {2, 9};
    int ordinal = 5;
    void *data[] = {&type, &ordinal};
    OK(cuPointerGetAttributes(2, attributes, data, (CUdeviceptr)(uintptr_t)&f));
    assert_int_equal(type, 0); /* unknown to the driver */
    size_t pitch;
    OK(cuMemAllocPitch_v2(&p, &pitch, 100, 10, 4));
    assert_int_equal(pitch, 512);
    OK(cuMemFree_v2(p));
    void *host;
    OK(cuMemHostAlloc(&host, 100, 0));
    OK(cuPointerGetAttribute(&type, 2, (CUdeviceptr)(uintptr_t)host));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    OK(cuMemFreeHost(host));
}

static void freed_by_its_context(void **state) {
    (void)state;
    CUcontext other;
    CUdeviceptr p;
    size_t before, after, total;
    OK(cuMemGetInfo_v2(&before, &total));
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    OK(cuMemAlloc_v2(&p, 1 << 22));
    OK(cuCtxDestroy_v2(other));
    OK(cuMemGetInfo_v2(&after, &total));
    assert_int_equal(before, after);
    assert_int_equal(cuMemcpyDtoH_v2(&before, p, 8), CUDA_ERROR_INVALID_VALUE);
}

/* Launches ----------------------------------------------------------------------------------------
 */

static void parameters_arrive_by_array_and_by_buffer(void **state) {
    (void)state;
    OK(fixture_store(&f, f.buffer + 8, 77, NULL));
    assert_int_equal(word_at(f.buffer + 8), 77);
    struct {
        CUdeviceptr to;
        unsigned int value;
    } packed = {f.buffer + 12, 78};
    size_t bytes = 12;
    void *extra[] = {(void *)(uintptr_t)CU_LAUNCH_PARAM_BUFFER_POINTER, &packed,
                     (void *)(uintptr_t)CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, NULL};
    OK(cuLaunchKernel(fixture_function(&f, "store"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    packed.value = 0; /* the driver has its own copy */
    assert_int_equal(word_at(f.buffer + 12), 78);
    const CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, NULL, NULL, 0};
    CUdeviceptr to = f.buffer + 16;
    unsigned int value = 79;
    void *params[] = {&to, &value};
    OK(cuLaunchKernelEx(&config, fixture_function(&f, "store"), params, NULL));
    assert_int_equal(word_at(f.buffer + 16), 79);
}

static void dynamic_shared_memory_needs_the_attribute(void **state) {
    (void)state;
    const CUfunction k = fixture_function(&f, "none");
    int value;
    assert_int_equal(cuLaunchKernel(k, 1, 1, 1, 32, 1, 1, 100000, NULL, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    OK(cuFuncSetAttribute(k, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
    OK(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, k));
    assert_int_equal(value, 100000);
    OK(cuLaunchKernel(k, 1, 1, 1, 32, 1, 1, 100000, NULL, NULL, NULL));
    OK(cuCtxSynchronize());
    int blocks;
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, k, 128, 81920));
    assert_int_equal(blocks, 2);
    size_t room;
    OK(cuOccupancyAvailableDynamicSMemPerBlock(&room, k, 2, 128));
    assert_int_equal(room, 81 * 1024);
    int grid, block;
    OK(cuOccupancyMaxPotentialBlockSize(&grid, &block, fixture_function(&f, "fat"), NULL, 0, 0));
    assert_int_equal(block, 256);
    assert_int_equal(grid, 108);
}

static void a_module_tells_its_log_its_functions_and_variables(void **state) {
    (void)state;
    char log[128] = "untouched";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    CUmodule module;
    assert_int_equal(
        cuModuleLoadDataEx(&module, ".version 8.0\nsyntax error\n", 2, options, values),
        CUDA_ERROR_INVALID_PTX);
    assert_string_equal(log, "line 3: syntax error");
    assert_int_equal((uintptr_t)values[1], strlen(log));
    assert_ptr_equal(fixture_function(&f, "none"), fixture_function(&f, "none"));
    const char *name;
    OK(cuFuncGetName(&name, fixture_function(&f, "store")));
    assert_string_equal(name, "store");
    size_t offset, size;
    OK(cuFuncGetParamInfo(fixture_function(&f, "store"), 1, &offset, &size));
    assert_int_equal(offset, 8);
    assert_int_equal(size, 4);
    int threads;
    OK(cuFuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                          fixture_function(&f, "fat")));
    assert_int_equal(threads, 256);
    CUdeviceptr variable;
    OK(cuModuleGetGlobal_v2(&variable, &size, f.module, "variable"));
    assert_int_equal(size, 16);
    OK(cuMemsetD32_v2(variable, 5, 4));
    assert_int_equal(word_at(variable + 12), 5);
}

/* Streams -----------------------------------------------------------------------------------------
 */

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void launches_return_before_they_have_run(void **state) {
    (void)state;
    CUstream stream;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    const double start = seconds_now();
    for (int i = 0; i < 4; i++) OK(fixture_run(&f, "sleep", stream)); /* 30 ms each */
    OK(fixture_store(&f, f.buffer, 5, stream));
    assert_true(seconds_now() - start < 0.1);
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    OK(cuStreamSynchronize(stream));
    assert_true(seconds_now() - start > 0.115);
    OK(cuStreamQuery(stream));
    assert_int_equal(word_at(f.buffer), 5);
    OK(cuStreamDestroy_v2(stream));
}

static void a_stream_keeps_order_and_events_order_streams(void **state) {
    (void)state;
    CUstream a, b;
    CUevent event;
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    for (unsigned int i = 1; i <= 100; i++) OK(fixture_store(&f, f.buffer, i, a));
    OK(fixture_run(&f, "sleep", a));
    OK(fixture_store(&f, f.buffer + 4, 1, a));
    OK(cuEventRecord(event, a));
    OK(cuStreamWaitEvent(b, event, 0));
    OK(fixture_store(&f, f.buffer + 4, 2, b)); /* after the 1 of the other stream */
    OK(cuStreamSynchronize(b));
    assert_int_equal(word_at(f.buffer), 100);
    assert_int_equal(word_at(f.buffer + 4), 2);
    OK(cuEventQuery(event));
    OK(cuEventDestroy_v2(event));
    OK(cuStreamDestroy_v2(a));
    OK(cuStreamDestroy_v2(b));
}

static void the_legacy_stream_waits_for_blocking_streams_alone(void **state) {
    (void)state;
    CUstream blocking, apart;
    OK(cuStreamCreate(&blocking, 0));
    OK(cuStreamCreate(&apart, CU_STREAM_NON_BLOCKING));
    OK(fixture_run(&f, "sleep", blocking));
    OK(fixture_store(&f, f.buffer, 1, blocking));
    OK(fixture_store(&f, f.buffer, 2, NULL)); /* after the blocking stream */
    OK(fixture_run(&f, "sleep", NULL));
    OK(fixture_store(&f, f.buffer, 3, NULL));
    OK(fixture_store(&f, f.buffer, 4, blocking)); /* after the legacy stream */
    for (int i = 0; i < 4; i++) OK(fixture_run(&f, "sleep", apart));
    OK(cuStreamSynchronize(NULL));
    assert_int_equal(cuStreamQuery(apart), CUDA_ERROR_NOT_READY);
    assert_int_equal(word_at(f.buffer), 4);
    /* A destroyed stream finishes its work, and keeps its place. */
    OK(fixture_run(&f, "sleep", blocking));
    OK(fixture_store(&f, f.buffer, 5, blocking));
    OK(cuStreamDestroy_v2(blocking));
    OK(fixture_store(&f, f.buffer + 4, 6, NULL));
    OK(cuStreamSynchronize(NULL));
    assert_int_equal(word_at(f.buffer), 5);
    OK(cuStreamSynchronize(apart));
    OK(cuStreamDestroy_v2(apart));
}

static void the_per_thread_stream_is_another_one(void **state) {
    (void)state;
    const CUstream mine = (CUstream)(uintptr_t)CU_STREAM_PER_THREAD_HANDLE;
    unsigned long long a, b;
    OK(cuStreamGetId(mine, &a));
    OK(cuStreamGetId(NULL, &b));
    assert_int_not_equal(a, b);
    OK(cuStreamGetId_ptsz(NULL, &b));
    assert_int_equal(a, b);
    OK(cuMemsetD32_v2_ptds(f.buffer, 9, 1));
    OK(cuStreamSynchronize_ptsz(NULL));
    assert_int_equal(word_at(f.buffer), 9);
}

static int calls[8], call_count;

static void note(void *data) {
    calls[call_count++] = *(int *)data;
}

static void note_status(CUstream stream, CUresult status, void *data) {
    (void)stream;
    calls[call_count++] = *(int *)data + (int)status;
}

static void host_functions_run_in_their_turn(void **state) {
    (void)state;
    int one = 1, two = 2;
    call_count = 0;
    OK(fixture_run(&f, "sleep", NULL));
    OK(cuLaunchHostFunc(NULL, note, &one));
    OK(cuStreamAddCallback(NULL, note_status, &two, 0));
    OK(cuCtxSynchronize());
    assert_int_equal(call_count, 2);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], 2);
}

static void pinned_memory_makes_copies_asynchronous(void **state) {
    (void)state;
    unsigned int *host;
    CUstream stream;
    OK(cuMemAllocHost_v2((void **)&host, 4096));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(fixture_run(&f, "sleep", stream));
    OK(fixture_store(&f, f.buffer, 31, stream));
    host[0] = 0;
    OK(cuMemcpyDtoHAsync_v2(host, f.buffer, 4, stream));
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    OK(cuStreamSynchronize(stream));
    assert_int_equal(host[0], 31);
    unsigned int pageable = 0;
    OK(fixture_store(&f, f.buffer, 32, stream));
    OK(cuMemcpyDtoHAsync_v2(&pageable, f.buffer, 4, stream)); /* returns when it is done */
    assert_int_equal(pageable, 32);
    OK(cuStreamDestroy_v2(stream));
    OK(cuMemFreeHost(host));
}

/* Time --------------------------------------------------------------------------------------------
 */

static float timed_work(CUstream stream, int launches) {
    CUevent start, end;
    float ms = -1;
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 0));
    OK(cuEventRecord(start, stream));
    for (int i = 0; i < launches; i++) OK(fixture_run(&f, "work", stream));
    OK(cuEventRecord(end, stream));
    OK(cuEventSynchronize(end));
    OK(cuEventElapsedTime(&ms, start, end));
    OK(cuEventDestroy_v2(start));
    OK(cuEventDestroy_v2(end));
    return ms;
}

static void events_tell_modelled_time(void **state) {
    (void)state;
    const float one = timed_work(NULL, 1), ten = timed_work(NULL, 10);
    assert_true(one > 0.002f && one < 0.1f);
    assert_true(ten > 9.99f * one && ten < 10.01f * one);
    assert_true(timed_work(NULL, 10) == ten); /* deterministic, whatever the host does */
    assert_true(timed_work(NULL, 0) == 0);
    SoftgpuLaunchStats stats = {.size = sizeof stats};
    assert_int_equal(softgpuLastLaunch(&stats), CUDA_SUCCESS);
    assert_true(stats.seconds * 1e3 > 0.999 * one && stats.seconds * 1e3 < 1.001 * one);
    assert_int_equal(stats.blocks, 1);
    assert_int_equal(stats.blocks_per_sm, 32);
}

static void streams_overlap_on_the_time_line(void **state) {
    (void)state;
    CUstream a, b;
    CUevent start, end_a, end_b;
    float ms_a, ms_b;
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end_a, 0));
    OK(cuEventCreate(&end_b, 0));
    OK(cuEventRecord(start, a));
    OK(cuStreamWaitEvent(b, start, 0));
    for (int i = 0; i < 4; i++) OK(fixture_run(&f, "work", a));
    OK(cuEventRecord(end_a, a));
    OK(fixture_run(&f, "work", b));
    OK(cuStreamWaitEvent(b, end_a, 0));
    OK(fixture_run(&f, "work", b));
    OK(cuEventRecord(end_b, b));
    OK(cuStreamSynchronize(b));
    OK(cuEventElapsedTime(&ms_a, start, end_a));
    OK(cuEventElapsedTime(&ms_b, start, end_b));
    const float one = timed_work(NULL, 1);
    assert_true(ms_a > 3.99f * one && ms_a < 4.01f * one);
    assert_true(ms_b > 4.99f * one && ms_b < 5.01f * one);
    OK(cuStreamDestroy_v2(a));
    OK(cuStreamDestroy_v2(b));
}

/* Graphs ------------------------------------------------------------------------------------------
 */

static void a_captured_graph_runs_when_launched_and_again(void **state) {
    (void)state;
    CUstream a, b;
    CUevent fork, join;
    CUgraph graph;
    CUgraphExec exec;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuStreamCreate(&a, 0));
    OK(cuStreamCreate(&b, 0));
    OK(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    OK(cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
    OK(cuCtxSynchronize());
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    OK(fixture_store(&f, f.buffer, 1, a));
    OK(cuEventRecord(fork, a));
    OK(cuStreamWaitEvent(b, fork, 0));
    OK(fixture_run(&f, "work", b));
    OK(cuMemsetD32Async(f.buffer + 4, 7, 1, b));
    OK(cuEventRecord(join, b));
    OK(fixture_run(&f, "work", a));
    OK(cuStreamWaitEvent(a, join, 0));
    OK(cuMemcpyDtoDAsync_v2(f.buffer + 8, f.buffer + 4, 4, a));
    int status;
    OK(cuStreamIsCapturing(a, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    OK(cuStreamEndCapture(a, &graph));
    OK(cuStreamIsCapturing(b, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
    assert_int_equal(word_at(f.buffer), 0); /* nothing ran yet */
    size_t count = 0;
    OK(cuGraphGetNodes(graph, NULL, &count));
    assert_int_equal(count, 5);
    CUgraphNode nodes[5];
    int type;
    OK(cuGraphGetNodes(graph, nodes, &count));
    OK(cuGraphNodeGetType(nodes[0], &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_KERNEL);
    OK(cuGraphNodeGetType(nodes[2], &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEMSET);
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphDestroy(graph));
    for (int i = 0; i < 3; i++) {
        OK(cuMemsetD32_v2(f.buffer, 0, 16));
        OK(cuGraphLaunch(exec, a));
        OK(cuStreamSynchronize(a));
        assert_int_equal(word_at(f.buffer), 1);
        assert_int_equal(word_at(f.buffer + 4), 7);
        assert_int_equal(word_at(f.buffer + 8), 7);
    }
    OK(cuGraphLaunch(exec, a));
    OK(cuGraphExecDestroy(exec)); /* while it may be running */
    OK(cuStreamSynchronize(a));
    OK(cuStreamDestroy_v2(a));
    OK(cuStreamDestroy_v2(b));
}

static void events_inside_a_graph_time_its_nodes(void **state) {
    (void)state;
    CUstream a;
    CUevent start, end;
    CUgraph graph;
    CUgraphExec exec;
    float ms;
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 0));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuEventRecordWithFlags(start, a, CU_EVENT_RECORD_EXTERNAL));
    OK(fixture_run(&f, "work", a));
    OK(fixture_run(&f, "work", a));
    OK(cuEventRecordWithFlags(end, a, CU_EVENT_RECORD_EXTERNAL));
    OK(cuStreamEndCapture(a, &graph));
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cuGraphLaunch(exec, a));
    OK(cuEventSynchronize(end));
    OK(cuEventElapsedTime(&ms, start, end));
    const float one = timed_work(NULL, 1);
    assert_true(ms > 1.99f * one && ms < 2.01f * one);
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(a));
}

static void the_null_stream_may_work_beside_a_nonblocking_capture(void **state) {
    (void)state;
    CUstream a;
    CUgraph graph;
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(fixture_run(&f, "none", NULL));
    OK(fixture_run(&f, "none", a));
    OK(cuStreamEndCapture(a, &graph));
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(a));
    OK(cuCtxSynchronize());
}

/* Contexts and faults -----------------------------------------------------------------------------
 */

static void a_fault_stays_in_its_context_and_tells_why(void **state) {
    (void)state;
    CUcontext other;
    char text[256];
    int host = 0;
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    Fixture g = {.context = other};
    OK(cuModuleLoadData(&g.module, fixture_ptx));
    OK(cuMemAlloc_v2(&g.buffer, 64));
    OK(fixture_store(&g, g.buffer + 64, 1, NULL));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(softgpuLastFault(text, sizeof text), CUDA_SUCCESS);
    assert_non_null(strstr(text, "past the end of allocation"));
    assert_int_equal(cuMemcpyHtoD_v2(g.buffer, &host, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuCtxSetCurrent(f.context)); /* the first one is healthy */
    OK(fixture_store(&f, f.buffer, 3, NULL));
    assert_int_equal(word_at(f.buffer), 3);
    OK(cuCtxDestroy_v2(other));
}

static void work_behind_a_fault_is_dropped_but_completes(void **state) {
    (void)state;
    CUcontext other;
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    Fixture g = {.context = other};
    int zero = 0;
    call_count = 0;
    OK(cuModuleLoadData(&g.module, fixture_ptx));
    OK(cuMemAlloc_v2(&g.buffer, 64));
    OK(fixture_run(&g, "sleep", NULL));
    OK(fixture_run(&g, "fault716", NULL));
    OK(cuLaunchHostFunc(NULL, note, &zero));              /* not called */
    OK(cuStreamAddCallback(NULL, note_status, &zero, 0)); /* called with the error */
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_MISALIGNED_ADDRESS);
    assert_int_equal(call_count, 1);
    assert_int_equal(calls[0], CUDA_ERROR_MISALIGNED_ADDRESS);
    OK(cuCtxDestroy_v2(other));
    OK(cuCtxSetCurrent(f.context));
}

static void contexts_stack_and_primary_contexts_are_counted(void **state) {
    (void)state;
    CUcontext a, current, primary, again;
    unsigned int flags;
    int active;
    OK(cuCtxCreate_v4(&a, NULL, 0, 0));
    OK(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, a);
    OK(cuCtxPopCurrent_v2(&current));
    assert_ptr_equal(current, a);
    OK(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, f.context);
    OK(cuCtxDestroy_v2(a));
    OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(active, 0);
    OK(cuDevicePrimaryCtxRetain(&primary, 0));
    OK(cuDevicePrimaryCtxRetain(&again, 0));
    assert_ptr_equal(primary, again);
    OK(cuDevicePrimaryCtxRelease_v2(0));
    OK(cuCtxPushCurrent_v2(primary));
    OK(cuCtxSynchronize());
    OK(cuCtxPopCurrent_v2(NULL));
    OK(cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(cuCtxPushCurrent_v2(primary), CUDA_ERROR_INVALID_CONTEXT);
}

/* Queries -----------------------------------------------------------------------------------------
 */

static int attribute(int number) {
    int value = -1;
    OK(cuDeviceGetAttribute(&value, number, 0));
    return value;
}

static void the_default_device_is_an_a100(void **state) {
    (void)state;
    char name[96];
    int count, version;
    size_t bytes;
    CUuuid one, two;
    OK(cuDeviceGetCount(&count));
    assert_int_equal(count, 1);
    OK(cuDriverGetVersion(&version));
    assert_int_equal(version, 13000);
    OK(cuDeviceGetName(name, sizeof name, 0));
    assert_string_equal(name, "NVIDIA A100-SXM4-80GB");
    OK(cuDeviceTotalMem_v2(&bytes, 0));
    assert_true(bytes >= (size_t)79 << 30);
    assert_int_equal(attribute(16), 108);
    assert_int_equal(attribute(75) * 10 + attribute(76), 80);
    assert_int_equal(attribute(13), 1410000);
    assert_int_equal(attribute(38), 40 << 20);
    assert_int_equal(attribute(81), 164 * 1024);
    assert_int_equal(attribute(97), 163 * 1024);
    assert_int_equal(attribute(39), 2048);
    for (int i = 1; i <= 147; i++) attribute(i); /* a program that asks for all gets all */
    OK(cuDeviceGetUuid_v2(&one, 0));
    OK(cuDeviceGetUuid_v2(&two, 0));
    assert_memory_equal(&one, &two, sizeof one);
    SoftgpuTraits traits = {.size = sizeof traits};
    assert_int_equal(softgpuGetTraits(0, &traits), CUDA_SUCCESS);
    assert_string_equal(traits.model, "a100");
    assert_int_equal(traits.modelled, 1);
    const char *text;
    OK(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    OK(cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "an illegal memory access was encountered");
}

static void entry_points_follow_the_version_asked_for(void **state) {
    (void)state;
    void *at;
    int status;
    OK(cuGetProcAddress_v2("cuMemAlloc", &at, 12000, 0, &status));
    assert_ptr_equal(at, (void *)(uintptr_t)cuMemAlloc_v2);
    OK(cuGetProcAddress_v2("cuMemAlloc", &at, 3010, 0, &status));
    assert_ptr_equal(at, (void *)(uintptr_t)cuMemAlloc);
    OK(cuGetProcAddress_v2("cuLaunchKernel", &at, 12000,
                           CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
    assert_ptr_equal(at, (void *)(uintptr_t)cuLaunchKernel_ptsz);
    OK(cuGetProcAddress_v2("cuGraphInstantiate", &at, 12000, 0, &status));
    assert_ptr_equal(at, (void *)(uintptr_t)cuGraphInstantiateWithFlags);
    OK(cuGetProcAddress_v2("cuMakeCoffee", &at, 12000, 0, &status));
    assert_null(at);
    assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    OK(cuGetProcAddress_v2("cuLaunchKernel", &at, 3000, 0, &status));
    assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
}

/* Out of memory -----------------------------------------------------------------------------------
 */

#define TRY(call)                                                                                  \
    do {                                                                                           \
        const CUresult tried = (call);                                                             \
        if (result == CUDA_SUCCESS) result = tried;                                                \
    } while (0)

/* Everything that allocates, on while calls fail; the first failure. */
static CUresult whole_life(void) {
    CUresult result = CUDA_SUCCESS;
    Fixture g = {0};
    CUstream a = NULL, b = NULL;
    CUevent event = NULL;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    void *host = NULL;
    if (cuCtxCreate_v4(&g.context, NULL, 0, 0) != CUDA_SUCCESS) return CUDA_ERROR_OUT_OF_MEMORY;
    TRY(cuModuleLoadData(&g.module, fixture_ptx));
    TRY(cuMemAlloc_v2(&g.buffer, 4096));
    TRY(cuMemAllocHost_v2(&host, 4096));
    TRY(cuStreamCreate(&a, 0));
    TRY(cuStreamCreate(&b, 0));
    TRY(cuEventCreate(&event, 0));
    TRY(fixture_store(&g, g.buffer, 1, a));
    TRY(cuMemcpyDtoHAsync_v2(host, g.buffer, 4, a));
    TRY(cuEventRecord(event, a));
    TRY(cuStreamWaitEvent(b, event, 0));
    TRY(cuMemsetD8Async(g.buffer, 0, 4, b));
    TRY(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    TRY(fixture_store(&g, g.buffer, 1, a));
    TRY(cuEventRecordWithFlags(event, a, CU_EVENT_RECORD_EXTERNAL));
    TRY(cuStreamEndCapture(a, &graph));
    TRY(cuGraphInstantiateWithFlags(&exec, graph, 0));
    TRY(cuGraphLaunch(exec, b));
    TRY(cuEventSynchronize(event));
    TRY(cuStreamSynchronize(NULL));
    if (graph != NULL) cuGraphDestroy(graph);
    assert_int_equal(cuCtxDestroy_v2(g.context), CUDA_SUCCESS);
    return result;
}

static void every_failing_allocation_is_an_error_and_no_more(void **state) {
    (void)state;
    unsigned long n = 0;
    CUresult result;
    do {
        mem_fail_after(++n);
        result = whole_life();
        mem_fail_after(0);
        if (result == CUDA_ERROR_OUT_OF_MEMORY || result == CUDA_SUCCESS) continue;
        /* In a worker it is the launch that fails; in the executor's parser, the load. What came
         * after a missing handle fails as it must. */
        if (result != CUDA_ERROR_LAUNCH_FAILED && result != CUDA_ERROR_INVALID_HANDLE)
            fail_msg("allocation %lu: %d", n, (int)result);
    } while (result != CUDA_SUCCESS && n < 1000);
    print_message("%lu allocations\n", n - 1);
    assert_true(n > 20 && n < 1000);
    OK(cuCtxSetCurrent(f.context));
    OK(fixture_store(&f, f.buffer, 8, NULL));
    assert_int_equal(word_at(f.buffer), 8);
}

/* Threads -----------------------------------------------------------------------------------------
 */

static void *hammer(void *arg) {
    uintptr_t *bad = arg;
    CUdeviceptr p;
    CUstream stream;
    CUevent event;
    if (cuCtxSetCurrent(f.context) != CUDA_SUCCESS) ++*bad;
    if (cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) ++*bad;
    for (unsigned int i = 0; i < 100; i++) {
        unsigned int got = 0;
        if (cuMemAlloc_v2(&p, 64) != CUDA_SUCCESS) ++*bad;
        if (cuEventCreate(&event, 0) != CUDA_SUCCESS) ++*bad;
        if (fixture_store(&f, p, i, stream) != CUDA_SUCCESS) ++*bad;
        if (cuEventRecord(event, stream) != CUDA_SUCCESS) ++*bad;
        if (cuEventSynchronize(event) != CUDA_SUCCESS) ++*bad;
        if (cuMemcpyDtoH_v2(&got, p, 4) != CUDA_SUCCESS || got != i) ++*bad;
        if (cuEventDestroy_v2(event) != CUDA_SUCCESS) ++*bad;
        if (cuMemFree_v2(p) != CUDA_SUCCESS) ++*bad;
    }
    if (cuStreamDestroy_v2(stream) != CUDA_SUCCESS) ++*bad;
    return NULL;
}

static void threads_share_a_context(void **state) {
    (void)state;
    pthread_t threads[4];
    uintptr_t bad[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &bad[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(bad[i], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_and_fills_move_the_bytes),
        cmocka_unit_test(memory_is_counted_and_described),
        cmocka_unit_test(freed_by_its_context),
        cmocka_unit_test(parameters_arrive_by_array_and_by_buffer),
        cmocka_unit_test(dynamic_shared_memory_needs_the_attribute),
        cmocka_unit_test(a_module_tells_its_log_its_functions_and_variables),
        cmocka_unit_test(launches_return_before_they_have_run),
        cmocka_unit_test(a_stream_keeps_order_and_events_order_streams),
        cmocka_unit_test(the_legacy_stream_waits_for_blocking_streams_alone),
        cmocka_unit_test(the_per_thread_stream_is_another_one),
        cmocka_unit_test(host_functions_run_in_their_turn),
        cmocka_unit_test(pinned_memory_makes_copies_asynchronous),
        cmocka_unit_test(events_tell_modelled_time),
        cmocka_unit_test(streams_overlap_on_the_time_line),
        cmocka_unit_test(a_captured_graph_runs_when_launched_and_again),
        cmocka_unit_test(events_inside_a_graph_time_its_nodes),
        cmocka_unit_test(the_null_stream_may_work_beside_a_nonblocking_capture),
        cmocka_unit_test(a_fault_stays_in_its_context_and_tells_why),
        cmocka_unit_test(work_behind_a_fault_is_dropped_but_completes),
        cmocka_unit_test(contexts_stack_and_primary_contexts_are_counted),
        cmocka_unit_test(the_default_device_is_an_a100),
        cmocka_unit_test(entry_points_follow_the_version_asked_for),
        cmocka_unit_test(every_failing_allocation_is_an_error_and_no_more),
        cmocka_unit_test(threads_share_a_context),
    };
    return cmocka_run_group_tests_name("softgpu driver", tests, open_fixture, close_fixture);
}
