/* Order and asynchrony of streams, the modelled time line, capture and graphs. */
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

/* Streams --------------------------------------------------------------------- */

/* A host function that keeps its stream busy until the test opens the gate: however busy the host
 * is, the stream is not done before. */
static int gate;

static void wait_at_the_gate(void *data) {
    (void)data;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (!__atomic_load_n(&gate, __ATOMIC_ACQUIRE)) nanosleep(&pause, NULL);
}

static void hold(CUstream stream) {
    __atomic_store_n(&gate, 0, __ATOMIC_RELEASE);
    OK(cuLaunchHostFunc(stream, wait_at_the_gate, NULL));
}

static void let_go(void) {
    __atomic_store_n(&gate, 1, __ATOMIC_RELEASE);
}

static void launches_return_before_they_have_run(void **state) {
    (void)state;
    CUstream stream;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(fixture_store(&f, f.buffer, 4, stream));
    OK(cuStreamSynchronize(stream));
    hold(stream);
    for (int i = 0; i < 4; i++) OK(fixture_run(&f, "sleep", stream));
    OK(fixture_store(&f, f.buffer, 5, stream));
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    assert_int_equal(word_at(f.buffer), 4);
    let_go();
    OK(cuStreamSynchronize(stream));
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
    hold(apart);
    OK(fixture_run(&f, "sleep", apart));
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
    let_go();
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
    hold(stream);
    OK(fixture_store(&f, f.buffer, 31, stream));
    host[0] = 0;
    OK(cuMemcpyDtoHAsync_v2(host, f.buffer, 4, stream));
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    assert_int_equal(host[0], 0);
    let_go();
    OK(cuStreamSynchronize(stream));
    assert_int_equal(host[0], 31);
    unsigned int pageable = 0;
    OK(fixture_store(&f, f.buffer, 32, stream));
    OK(cuMemcpyDtoHAsync_v2(&pageable, f.buffer, 4, stream)); /* returns when it is done */
    assert_int_equal(pageable, 32);
    OK(cuStreamDestroy_v2(stream));
    OK(cuMemFreeHost(host));
}

/* Time ------------------------------------------------------------------------ */

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

/* Graphs ---------------------------------------------------------------------- */

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

int main(void) {
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("softgpu streams", tests, open_fixture, close_fixture);
}
