/* Graphs built by hand, asked, cloned and updated; and what a capture tells of its graph. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "tests/softgpu/driver_fixture.h"

/* A node that stores `value` to word `i` of the buffer; its parameters die with this call. */
static CUDA_KERNEL_NODE_PARAMS store_params(void **params) {
    return (CUDA_KERNEL_NODE_PARAMS){.func = fixture_function(&f, "store"),
                                     .gridDimX = 1,
                                     .gridDimY = 1,
                                     .gridDimZ = 1,
                                     .blockDimX = 32,
                                     .blockDimY = 1,
                                     .blockDimZ = 1,
                                     .kernelParams = params};
}

static CUgraphNode add_store(CUgraph graph, const CUgraphNode *needs, size_t count, unsigned int i,
                             unsigned int value) {
    CUgraphNode node = NULL;
    CUdeviceptr to = f.buffer + i * 4;
    void *params[] = {&to, &value};
    const CUDA_KERNEL_NODE_PARAMS p = store_params(params);
    OK(cuGraphAddKernelNode_v2(&node, graph, needs, count, &p));
    to = 0;
    value = 0;
    return node;
}

static CUgraphNode add_copy(CUgraph graph, const CUgraphNode *needs, size_t count, unsigned int to,
                            unsigned int from) {
    CUgraphNode node = NULL;
    const CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                               .srcDevice = f.buffer + from * 4,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                               .dstDevice = f.buffer + to * 4,
                               .WidthInBytes = 4,
                               .Height = 1,
                               .Depth = 1};
    OK(cuGraphAddMemcpyNode(&node, graph, needs, count, &box, f.context));
    return node;
}

static CUgraphExec instantiate(CUgraph graph) {
    CUgraphExec exec = NULL;
    OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
    return exec;
}

static void launch(CUgraphExec exec) {
    OK(cuGraphLaunch(exec, NULL));
    OK(cuStreamSynchronize(NULL));
}

static void count_up(void *data) {
    ++*(int *)data;
}

static void nodes_of_every_kind_run_in_their_order(void **state) {
    (void)state;
    CUgraph graph;
    CUgraphNode nodes[5];
    int calls = 0;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuGraphCreate(&graph, 0));
    nodes[0] = add_store(graph, NULL, 0, 0, 7);
    OK(cuGraphAddEmptyNode(&nodes[1], graph, &nodes[0], 1));
    nodes[2] = add_copy(graph, &nodes[1], 1, 1, 0);
    const CUDA_MEMSET_NODE_PARAMS fill = {f.buffer, 0, 9, 4, 1, 1};
    OK(cuGraphAddMemsetNode(&nodes[3], graph, &nodes[2], 1, &fill, f.context));
    const CUDA_HOST_NODE_PARAMS host = {count_up, &calls};
    OK(cuGraphAddHostNode(&nodes[4], graph, &nodes[3], 1, &host));
    static const int types[5] = {CU_GRAPH_NODE_TYPE_KERNEL, CU_GRAPH_NODE_TYPE_EMPTY,
                                 CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_MEMSET,
                                 CU_GRAPH_NODE_TYPE_HOST};
    for (int i = 0; i < 5; i++) {
        int type = -1;
        OK(cuGraphNodeGetType(nodes[i], &type));
        assert_int_equal(type, types[i]);
    }
    const CUgraphExec exec = instantiate(graph);
    OK(cuGraphDestroy(graph));
    launch(exec);
    assert_int_equal(word_at(f.buffer), 9);
    assert_int_equal(word_at(f.buffer + 4), 7);
    assert_int_equal(calls, 1);
    launch(exec);
    assert_int_equal(calls, 2);
    OK(cuGraphExecDestroy(exec));
}

/* A copy that is made first and told afterwards that it needs what was made later. */
static void dependencies_may_be_added_and_removed(void **state) {
    (void)state;
    CUgraph graph;
    CUgraphNode got[4] = {NULL}, from[4], to[4];
    size_t count = 4;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuGraphCreate(&graph, 0));
    const CUgraphNode late = add_copy(graph, NULL, 0, 1, 0);
    const CUgraphNode early = add_store(graph, NULL, 0, 0, 21);
    OK(cuGraphAddDependencies(graph, &early, &late, 1));
    OK(cuGraphGetEdges(graph, from, to, &count));
    assert_int_equal(count, 1);
    assert_ptr_equal(from[0], early);
    assert_ptr_equal(to[0], late);
    assert_null(to[1]);
    count = 4;
    OK(cuGraphGetRootNodes(graph, got, &count));
    assert_int_equal(count, 1);
    assert_ptr_equal(got[0], early);
    count = 4;
    OK(cuGraphNodeGetDependencies(late, got, &count));
    assert_int_equal(count, 1);
    assert_ptr_equal(got[0], early);
    OK(cuGraphNodeGetDependentNodes(early, NULL, &count));
    assert_int_equal(count, 1);
    const CUgraphExec exec = instantiate(graph);
    launch(exec);
    assert_int_equal(word_at(f.buffer + 4), 21);
    OK(cuGraphExecDestroy(exec));
    CUgraphExec cyclic;
    OK(cuGraphAddDependencies(graph, &late, &early, 1));
    assert_int_equal(cuGraphInstantiateWithFlags(&cyclic, graph, 0), CUDA_ERROR_INVALID_VALUE);
    OK(cuGraphRemoveDependencies(graph, &late, &early, 1));
    OK(cuGraphDestroyNode(early));
    count = 4;
    OK(cuGraphGetRootNodes(graph, got, &count));
    assert_int_equal(count, 1);
    assert_ptr_equal(got[0], late);
    OK(cuGraphDestroy(graph));
}

static void parameters_are_read_back_and_set(void **state) {
    (void)state;
    CUgraph graph;
    CUDA_KERNEL_NODE_PARAMS p;
    CUDA_MEMCPY3D box;
    OK(cuGraphCreate(&graph, 0));
    const CUgraphNode node = add_store(graph, NULL, 0, 2, 5);
    OK(cuGraphKernelNodeGetParams_v2(node, &p));
    assert_ptr_equal(p.func, fixture_function(&f, "store"));
    assert_int_equal(p.blockDimX, 32);
    assert_int_equal(*(CUdeviceptr *)p.kernelParams[0], f.buffer + 8);
    assert_int_equal(*(unsigned int *)p.kernelParams[1], 5);
    CUdeviceptr to = f.buffer + 8;
    unsigned int value = 6;
    void *params[] = {&to, &value};
    p.kernelParams = params;
    OK(cuGraphKernelNodeSetParams_v2(node, &p));
    value = 0;
    const CUgraphNode copy = add_copy(graph, &node, 1, 3, 2);
    OK(cuGraphMemcpyNodeGetParams(copy, &box));
    assert_int_equal(box.srcDevice, f.buffer + 8);
    assert_int_equal(box.WidthInBytes, 4);
    box.dstDevice = f.buffer + 16;
    OK(cuGraphMemcpyNodeSetParams(copy, &box));
    const CUgraphExec exec = instantiate(graph);
    launch(exec);
    assert_int_equal(word_at(f.buffer + 16), 6);
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
}

static void an_exec_is_changed_node_by_node(void **state) {
    (void)state;
    CUgraph graph;
    unsigned int enabled = 9;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuGraphCreate(&graph, 0));
    const CUgraphNode first = add_store(graph, NULL, 0, 0, 1);
    const CUgraphNode second = add_store(graph, &first, 1, 1, 2);
    const CUgraphExec exec = instantiate(graph);
    CUdeviceptr to = f.buffer + 4;
    unsigned int value = 50;
    void *params[] = {&to, &value};
    const CUDA_KERNEL_NODE_PARAMS p = store_params(params);
    OK(cuGraphExecKernelNodeSetParams_v2(exec, second, &p));
    launch(exec);
    assert_int_equal(word_at(f.buffer), 1);
    assert_int_equal(word_at(f.buffer + 4), 50);
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuGraphNodeSetEnabled(exec, first, 0));
    OK(cuGraphNodeGetEnabled(exec, first, &enabled));
    assert_int_equal(enabled, 0);
    launch(exec);
    assert_int_equal(word_at(f.buffer), 0);
    assert_int_equal(word_at(f.buffer + 4), 50);
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
}

/* The launch ahead is held up by a sleep when the exec is changed. */
static void a_pending_launch_keeps_its_parameters(void **state) {
    (void)state;
    CUgraph graph;
    CUstream stream;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuStreamCreate(&stream, 0));
    OK(cuCtxSynchronize());
    OK(cuGraphCreate(&graph, 0));
    const CUgraphNode node = add_store(graph, NULL, 0, 0, 1);
    const CUgraphExec exec = instantiate(graph);
    OK(fixture_run(&f, "sleep", stream));
    OK(cuGraphLaunch(exec, stream));
    OK(cuMemcpyDtoDAsync_v2(f.buffer + 4, f.buffer, 4, stream));
    CUdeviceptr to = f.buffer;
    unsigned int value = 2;
    void *params[] = {&to, &value};
    const CUDA_KERNEL_NODE_PARAMS p = store_params(params);
    OK(cuGraphExecKernelNodeSetParams_v2(exec, node, &p));
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    assert_int_equal(word_at(f.buffer + 4), 1);
    assert_int_equal(word_at(f.buffer), 2);
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(stream));
}

static CUgraph captured_stores(unsigned int value, int count) {
    CUgraph graph;
    CUstream stream;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    for (int i = 0; i < count; i++)
        OK(fixture_store(&f, f.buffer + (CUdeviceptr)i * 4, value + (unsigned int)i, stream));
    OK(cuStreamEndCapture(stream, &graph));
    OK(cuStreamDestroy_v2(stream));
    return graph;
}

static void an_exec_is_updated_from_a_graph_of_the_same_shape(void **state) {
    (void)state;
    CUgraphExecUpdateResultInfo info;
    const CUgraph a = captured_stores(10, 2), b = captured_stores(20, 2), c = captured_stores(0, 3);
    const CUgraphExec exec = instantiate(a);
    OK(cuGraphExecUpdate_v2(exec, b, &info));
    assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
    OK(cuGraphDestroy(b));
    launch(exec);
    assert_int_equal(word_at(f.buffer), 20);
    assert_int_equal(word_at(f.buffer + 4), 21);
    int why = 0;
    CUgraphNode bad;
    assert_int_equal(cuGraphExecUpdate(exec, c, &bad, &why), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    assert_int_equal(why, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    launch(exec); /* unchanged */
    assert_int_equal(word_at(f.buffer), 20);
    CUgraph other;
    OK(cuGraphCreate(&other, 0));
    const CUgraphNode first = add_store(other, NULL, 0, 0, 1);
    const CUgraphNode second = add_copy(other, &first, 1, 1, 0);
    assert_int_equal(cuGraphExecUpdate_v2(exec, other, &info),
                     CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
    assert_ptr_equal(info.errorNode, second);
    OK(cuGraphDestroy(other));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(a));
    OK(cuGraphDestroy(c));
}

static void clones_and_children_are_copies(void **state) {
    (void)state;
    CUgraph graph, clone, child, inner;
    CUgraphNode found, node;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuGraphCreate(&graph, 0));
    const CUgraphNode original = add_store(graph, NULL, 0, 0, 1);
    OK(cuGraphClone(&clone, graph));
    OK(cuGraphNodeFindInClone(&found, original, clone));
    assert_ptr_not_equal(found, original);
    OK(cuGraphCreate(&child, 0));
    add_store(child, NULL, 0, 1, 11);
    OK(cuGraphAddChildGraphNode(&node, clone, &found, 1, child));
    OK(cuGraphDestroy(child));
    OK(cuGraphChildGraphNodeGetGraph(node, &inner));
    assert_int_equal(cuGraphDestroy(inner), CUDA_ERROR_INVALID_VALUE); /* its node owns it */
    size_t count = 0;
    OK(cuGraphGetNodes(inner, NULL, &count));
    assert_int_equal(count, 1);
    OK(cuGraphDestroy(graph));
    const CUgraphExec exec = instantiate(clone);
    OK(cuGraphDestroy(clone));
    launch(exec);
    assert_int_equal(word_at(f.buffer), 1);
    assert_int_equal(word_at(f.buffer + 4), 11);
    OK(cuGraphExecDestroy(exec));
}

/* A graph with a graph in it that stores `value`, then copies it one word on. */
static CUgraph nested_store(unsigned int value) {
    CUgraph graph, inner;
    CUgraphNode node;
    OK(cuGraphCreate(&inner, 0));
    const CUgraphNode late = add_copy(inner, NULL, 0, 1, 0); /* made first, needs the other */
    const CUgraphNode early = add_store(inner, NULL, 0, 0, value);
    OK(cuGraphAddDependencies(inner, &early, &late, 1));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddChildGraphNode(&node, graph, NULL, 0, inner));
    OK(cuGraphDestroy(inner));
    return graph;
}

static void the_child_graph_of_an_exec_is_set(void **state) {
    (void)state;
    CUgraph graph;
    CUgraphNode node;
    CUstream stream;
    const CUgraph first = nested_store(5), second = nested_store(6);
    const CUgraph third = captured_stores(7, 2);
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddChildGraphNode(&node, graph, NULL, 0, first));
    const CUgraphExec exec = instantiate(graph);
    OK(fixture_run(&f, "sleep", stream));
    OK(cuGraphLaunch(exec, stream)); /* keeps what it was launched with */
    OK(cuMemcpyDtoDAsync_v2(f.buffer + 8, f.buffer + 4, 4, stream));
    OK(cuGraphExecChildGraphNodeSetParams(exec, node, second));
    OK(cuGraphDestroy(second)); /* it was copied */
    OK(cuGraphLaunch(exec, stream));
    OK(cuStreamSynchronize(stream));
    assert_int_equal(word_at(f.buffer + 8), 5);
    assert_int_equal(word_at(f.buffer + 4), 6);
    assert_int_equal(cuGraphExecChildGraphNodeSetParams(exec, node, third),
                     CUDA_ERROR_INVALID_VALUE); /* another shape */
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    launch(exec); /* unchanged */
    assert_int_equal(word_at(f.buffer + 4), 6);
    OK(cuGraphExecDestroy(exec));
    const CUgraphExec again = instantiate(graph); /* nor was the node */
    launch(again);
    assert_int_equal(word_at(f.buffer + 4), 5);
    OK(cuGraphExecDestroy(again));
    OK(cuGraphDestroy(graph));
    OK(cuGraphDestroy(first));
    OK(cuGraphDestroy(third));
    OK(cuStreamDestroy_v2(stream));
}

/* Copies that put their nodes in order say of a cycle what an instantiation says. */
static void a_cycle_in_a_child_graph_is_refused(void **state) {
    (void)state;
    CUgraph graph, inner, clone, around;
    CUgraphNode node, ends[2];
    CUgraphExec exec;
    size_t count = 1;
    graph = nested_store(5);
    OK(cuGraphGetNodes(graph, &node, &count));
    OK(cuGraphChildGraphNodeGetGraph(node, &inner));
    count = 2;
    OK(cuGraphGetNodes(inner, ends, &count)); /* the copy, which needs the store behind it */
    OK(cuGraphAddDependencies(inner, &ends[0], &ends[1], 1));
    OK(cuGraphCreate(&around, 0));
    assert_int_equal(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphClone(&clone, graph), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphAddChildGraphNode(&node, around, NULL, 0, graph),
                     CUDA_ERROR_INVALID_VALUE);
    OK(cuGraphRemoveDependencies(inner, &ends[0], &ends[1], 1));
    exec = instantiate(graph);
    launch(exec);
    assert_int_equal(word_at(f.buffer + 4), 5);
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(around));
    OK(cuGraphDestroy(graph));
}

static void a_node_made_by_hand_joins_a_capture(void **state) {
    (void)state;
    CUstream stream;
    CUgraph graph;
    const CUgraphNode *needs;
    size_t count = 0;
    int status;
    OK(cuMemsetD32_v2(f.buffer, 0, 16));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(fixture_store(&f, f.buffer, 3, stream));
    OK(cuStreamGetCaptureInfo_v2(stream, &status, NULL, &graph, &needs, &count));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert_int_equal(count, 1);
    CUgraphNode node = add_copy(graph, needs, count, 1, 0);
    OK(cuStreamUpdateCaptureDependencies(stream, &node, 1, 1));
    OK(cuMemcpyDtoDAsync_v2(f.buffer + 8, f.buffer + 4, 4, stream));
    OK(cuStreamEndCapture(stream, &graph));
    OK(cuGraphGetEdges(graph, NULL, NULL, &count));
    assert_int_equal(count, 2);
    const CUgraphExec exec = instantiate(graph);
    launch(exec);
    assert_int_equal(word_at(f.buffer + 8), 3);
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(stream));
}

/* Word 0 comes late, on another stream; the graph's copy of it to word 1 waits for the record that
 * was made before the launch. */
static void a_graph_waits_for_the_events_of_its_nodes(void **state) {
    (void)state;
    CUstream slow, own;
    CUevent event, other, told = NULL;
    CUgraph graph;
    CUgraphNode wait = NULL;
    int type = -1;
    OK(cuStreamCreate(&slow, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&own, CU_STREAM_NON_BLOCKING));
    OK(cuEventCreate(&event, 0));
    OK(cuEventCreate(&other, 0));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddEventWaitNode(&wait, graph, NULL, 0, other));
    OK(cuGraphNodeGetType(wait, &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_WAIT_EVENT);
    OK(cuGraphEventWaitNodeSetEvent(wait, event));
    OK(cuGraphEventWaitNodeGetEvent(wait, &told));
    assert_ptr_equal(told, event);
    (void)add_copy(graph, &wait, 1, 1, 0);
    const CUgraphExec exec = instantiate(graph);
    OK(cuGraphLaunch(exec, own)); /* never recorded: nothing to wait for */
    OK(cuStreamSynchronize(own));
    for (unsigned int value = 7; value < 10; value++) {
        CUevent *const at = value == 9 ? &other : &event;
        if (value == 9) OK(cuGraphExecEventWaitNodeSetEvent(exec, wait, other));
        OK(fixture_run(&f, "sleep", slow));
        OK(fixture_store(&f, f.buffer, value, slow));
        OK(cuEventRecord(*at, slow));
        OK(cuGraphLaunch(exec, own));
        OK(cuStreamSynchronize(own));
        assert_int_equal(word_at(f.buffer + 4), value);
    }
    OK(cuEventDestroy_v2(other));
    assert_int_equal(cuGraphLaunch(exec, own), CUDA_ERROR_INVALID_HANDLE);
    OK(cuEventDestroy_v2(event));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(slow));
    OK(cuStreamDestroy_v2(own));
}

/* A child graph, twice in another one that is a child itself, records its events in each launch of
 * the whole: the waits for them end, their times follow each other, other streams wait for them. */
static void events_are_recorded_in_child_graphs(void **state) {
    (void)state;
    CUstream own, other;
    CUevent events[3];
    CUgraph child, middle, graph;
    CUgraphNode nodes[3], inner[2];
    float between = 0;
    OK(cuStreamCreate(&own, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    for (int i = 0; i < 3; i++) OK(cuEventCreate(&events[i], 0));
    OK(cuGraphCreate(&child, 0));
    OK(cuGraphAddEventRecordNode(&nodes[0], child, NULL, 0, events[0]));
    nodes[1] = add_store(child, &nodes[0], 1, 0, 5);
    OK(cuGraphAddEventRecordNode(&nodes[2], child, &nodes[1], 1, events[1]));
    OK(cuGraphCreate(&middle, 0));
    OK(cuGraphAddChildGraphNode(&inner[0], middle, NULL, 0, child));
    OK(cuGraphAddChildGraphNode(&inner[1], middle, &inner[0], 1, child));
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddEventRecordNode(&nodes[0], graph, NULL, 0, events[2]));
    OK(cuGraphAddChildGraphNode(&nodes[1], graph, &nodes[0], 1, middle));
    const CUgraphExec exec = instantiate(graph);
    assert_int_equal(cuEventElapsedTime(&between, events[0], events[1]),
                     CUDA_ERROR_INVALID_HANDLE); /* nothing was launched yet */
    for (unsigned int round = 0; round < 3; round++) {
        OK(cuMemsetD32_v2(f.buffer, 0, 16));
        OK(fixture_run(&f, "sleep", own));
        OK(cuGraphLaunch(exec, own));
        assert_int_equal(cuEventQuery(events[1]), CUDA_ERROR_NOT_READY);
        OK(cuStreamWaitEvent(other, events[1], 0));
        OK(cuMemcpyDtoDAsync_v2(f.buffer + 4, f.buffer, 4, other));
        OK(cuStreamSynchronize(other));
        assert_int_equal(word_at(f.buffer + 4), 5);
        OK(cuEventSynchronize(events[1]));
        OK(cuEventElapsedTime(&between, events[0], events[1]));
        assert_true(between > 0);
        const float once = between;
        OK(cuEventElapsedTime(&between, events[2], events[1])); /* the child's second time */
        assert_true(between > 1.5F * once);
    }
    OK(cuStreamSynchronize(own));
    OK(cuEventDestroy_v2(events[0]));
    assert_int_equal(cuGraphLaunch(exec, own), CUDA_ERROR_INVALID_HANDLE);
    for (int i = 1; i < 3; i++) OK(cuEventDestroy_v2(events[i]));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuGraphDestroy(middle));
    OK(cuGraphDestroy(child));
    OK(cuStreamDestroy_v2(own));
    OK(cuStreamDestroy_v2(other));
}

static void a_graph_is_drawn(void **state) {
    (void)state;
    char path[] = "/tmp/softgpu-graph-XXXXXX", text[512] = "";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    const CUgraph graph = captured_stores(1, 2);
    OK(cuGraphDebugDotPrint(graph, path, 0));
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "kernel store"));
    assert_non_null(strstr(text, "n0 -> n1"));
    close(fd);
    unlink(path);
    OK(cuGraphDestroy(graph));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_of_every_kind_run_in_their_order),
        cmocka_unit_test(dependencies_may_be_added_and_removed),
        cmocka_unit_test(parameters_are_read_back_and_set),
        cmocka_unit_test(an_exec_is_changed_node_by_node),
        cmocka_unit_test(a_pending_launch_keeps_its_parameters),
        cmocka_unit_test(an_exec_is_updated_from_a_graph_of_the_same_shape),
        cmocka_unit_test(clones_and_children_are_copies),
        cmocka_unit_test(the_child_graph_of_an_exec_is_set),
        cmocka_unit_test(a_cycle_in_a_child_graph_is_refused),
        cmocka_unit_test(a_node_made_by_hand_joins_a_capture),
        cmocka_unit_test(a_graph_waits_for_the_events_of_its_nodes),
        cmocka_unit_test(events_are_recorded_in_child_graphs),
        cmocka_unit_test(a_graph_is_drawn),
    };
    return cmocka_run_group_tests_name("softgpu graphs", tests, open_fixture, close_fixture);
}
