/* Memory that graphs allocate and free: by hand and captured, used within the graph and after it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "softgpu/softgpu.h"
#include "tests/softgpu/driver_fixture.h"

enum { BYTES = 5000, AUTO_FREE = 1 };
enum { USED, USED_HIGH, RESERVED, RESERVED_HIGH }; /* CUgraphMem_attribute */

static uint64_t graph_bytes(int attribute) {
    uint64_t value = 77;
    OK(cuDeviceGetGraphMemAttribute(0, attribute, &value));
    return value;
}

static CUdeviceptr add_alloc(CUgraph graph, CUgraphNode *node) {
    CUDA_MEM_ALLOC_NODE_PARAMS params = {
        .poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}},
        .bytesize = BYTES};
    OK(cuGraphAddMemAllocNode(node, graph, NULL, 0, &params));
    return params.dptr;
}

static CUgraphNode add_fill(CUgraph graph, CUgraphNode need, CUdeviceptr to, unsigned int value) {
    CUgraphNode node;
    const CUDA_MEMSET_NODE_PARAMS fill = {to, 0, value, 4, BYTES / 4, 1};
    OK(cuGraphAddMemsetNode(&node, graph, &need, 1, &fill, f.context));
    return node;
}

/* The last word of `from` to the buffer. */
static CUgraphNode add_copy(CUgraph graph, CUgraphNode need, CUdeviceptr from) {
    CUgraphNode node;
    const CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                               .srcDevice = from + BYTES - 4,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                               .dstDevice = f.buffer,
                               .WidthInBytes = 4,
                               .Height = 1,
                               .Depth = 1};
    OK(cuGraphAddMemcpyNode(&node, graph, &need, 1, &box, f.context));
    return node;
}

static CUgraphExec instantiate(CUgraph graph, unsigned long long flags) {
    CUgraphExec exec;
    OK(cuGraphInstantiateWithFlags(&exec, graph, flags));
    return exec;
}

static void launch(CUgraphExec exec) {
    OK(cuGraphLaunch(exec, NULL));
    OK(cuStreamSynchronize(NULL));
}

/* A graph that allocates and fills, and its exec. */
typedef struct Maker {
    CUgraph graph;
    CUgraphExec exec;
    CUdeviceptr memory;
} Maker;

static Maker maker_open(unsigned int value, unsigned long long flags) {
    Maker m;
    CUgraphNode alloc;
    OK(cuGraphCreate(&m.graph, 0));
    m.memory = add_alloc(m.graph, &alloc);
    add_fill(m.graph, alloc, m.memory, value);
    m.exec = instantiate(m.graph, flags);
    return m;
}

static void maker_close(const Maker *m) {
    OK(cuGraphExecDestroy(m->exec));
    OK(cuGraphDestroy(m->graph));
}

static void memory_lives_between_its_nodes_in_each_launch(void **state) {
    (void)state;
    CUgraph graph;
    CUgraphNode alloc, done;
    CUDA_MEM_ALLOC_NODE_PARAMS params;
    CUdeviceptr told = 0;
    uint64_t zero = 0;
    size_t before, now, total;
    int type = 0;
    OK(cuMemGetInfo_v2(&before, &total));
    OK(cuGraphCreate(&graph, 0));
    const CUdeviceptr p = add_alloc(graph, &alloc);
    const CUgraphNode fill = add_fill(graph, alloc, p, 0x01020304);
    const CUgraphNode copy = add_copy(graph, fill, p);
    OK(cuGraphAddMemFreeNode(&done, graph, &copy, 1, p));
    OK(cuGraphNodeGetType(alloc, &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEM_ALLOC);
    OK(cuGraphNodeGetType(done, &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEM_FREE);
    OK(cuGraphMemAllocNodeGetParams(alloc, &params));
    assert_int_equal(params.dptr, p);
    assert_int_equal(params.bytesize, BYTES);
    OK(cuGraphMemFreeNodeGetParams(done, &told));
    assert_int_equal(told, p);
    OK(cuDeviceSetGraphMemAttribute(0, USED_HIGH, &zero));
    const CUgraphExec exec = instantiate(graph, 0);
    OK(cuMemGetInfo_v2(&now, &total));
    assert_int_equal(now, before); /* the address is there, the memory is not */
    for (int i = 0; i < 3; i++) {
        OK(cuMemsetD32_v2(f.buffer, 0, 1));
        launch(exec);
        assert_int_equal(word_at(f.buffer), 0x01020304);
        assert_int_equal(graph_bytes(USED), 0);
    }
    assert_int_equal(graph_bytes(USED_HIGH), BYTES);
    OK(cuDeviceGraphMemTrim(0));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
}

static void memory_outlives_the_launch_until_it_is_freed(void **state) {
    (void)state;
    CUstream stream;
    size_t before, now, total;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuMemGetInfo_v2(&before, &total));
    const Maker m = maker_open(11, 0);
    OK(fixture_run(&f, "sleep", stream)); /* the calls below come before the launch's turn */
    OK(cuGraphLaunch(m.exec, stream));
    OK(cuMemcpyDtoDAsync_v2(f.buffer, m.memory + 8, 4, stream));
    OK(fixture_store(&f, m.memory, 12, stream));
    OK(cuMemcpyDtoDAsync_v2(f.buffer + 4, m.memory, 4, stream));
    assert_int_equal(cuGraphLaunch(m.exec, stream), CUDA_ERROR_INVALID_VALUE); /* unfreed */
    OK(cuMemFreeAsync(m.memory, stream));
    assert_int_equal(cuMemFreeAsync(m.memory, stream), CUDA_ERROR_INVALID_VALUE);
    OK(cuGraphLaunch(m.exec, stream));
    OK(cuStreamSynchronize(stream));
    assert_int_equal(word_at(f.buffer), 11);
    assert_int_equal(word_at(f.buffer + 4), 12);
    assert_int_equal(word_at(m.memory), 11); /* made anew */
    assert_int_equal(graph_bytes(RESERVED), BYTES);
    OK(cuMemGetInfo_v2(&now, &total));
    assert_true(now < before);
    maker_close(&m); /* frees nothing */
    assert_int_equal(word_at(m.memory), 11);
    assert_int_equal(graph_bytes(USED), BYTES);
    OK(cuMemFree_v2(m.memory));
    assert_int_equal(cuMemFree_v2(m.memory), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(graph_bytes(USED), 0);
    OK(cuMemGetInfo_v2(&now, &total));
    assert_int_equal(now, before);
    OK(cuStreamDestroy_v2(stream));
}

static void a_graph_may_free_what_it_left_on_its_next_launch(void **state) {
    (void)state;
    const Maker m = maker_open(21, AUTO_FREE);
    for (int i = 0; i < 3; i++) {
        launch(m.exec);
        assert_int_equal(word_at(m.memory), 21);
        OK(fixture_store(&f, m.memory, 5, NULL));
    }
    OK(cuMemFreeAsync(m.memory, NULL));
    launch(m.exec); /* nothing to free this time */
    maker_close(&m);
    OK(cuMemFree_v2(m.memory));
}

static void another_graph_frees_it(void **state) {
    (void)state;
    CUgraph graph;
    CUgraphNode node;
    const Maker m = maker_open(31, 0);
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddMemFreeNode(&node, graph, NULL, 0, m.memory));
    const CUgraphExec exec = instantiate(graph, 0);
    assert_int_equal(cuGraphLaunch(exec, NULL), CUDA_ERROR_INVALID_VALUE); /* not allocated */
    for (int i = 0; i < 2; i++) {
        launch(m.exec);
        assert_int_equal(graph_bytes(USED), BYTES);
        launch(exec);
        assert_int_equal(graph_bytes(USED), 0);
    }
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    maker_close(&m);
}

static void allocations_and_frees_are_captured(void **state) {
    (void)state;
    CUstream stream;
    CUgraph graph;
    CUdeviceptr inside, left;
    size_t count = 0;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cuMemAllocAsync(&inside, 64, stream));
    OK(fixture_store(&f, inside, 41, stream));
    OK(cuMemAllocAsync(&left, 64, stream));
    OK(cuMemcpyDtoDAsync_v2(left, inside, 4, stream));
    OK(cuMemFreeAsync(inside, stream));
    OK(cuStreamEndCapture(stream, &graph));
    OK(cuGraphGetNodes(graph, NULL, &count));
    assert_int_equal(count, 5);
    const CUgraphExec exec = instantiate(graph, 0);
    launch(exec);
    assert_int_equal(graph_bytes(USED), 64);
    assert_int_equal(word_at(left), 41);
    assert_int_equal(cuMemFreeAsync(inside, stream), CUDA_ERROR_INVALID_VALUE);
    OK(cuMemFreeAsync(left, stream));
    OK(cuStreamSynchronize(stream));
    launch(exec);
    OK(cuMemFree_v2(left));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
    OK(cuStreamDestroy_v2(stream));
}

static void a_contexts_end_frees_memory_of_its_launches(void **state) {
    (void)state;
    CUcontext other;
    CUgraph graph;
    CUgraphNode node;
    OK(cuGraphCreate(&graph, 0));
    const CUdeviceptr p = add_alloc(graph, &node);
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    launch(instantiate(graph, 0));
    assert_int_equal(graph_bytes(USED), BYTES);
    OK(cuCtxDestroy_v2(other));
    assert_int_equal(graph_bytes(USED), 0);
    const CUgraphExec exec = instantiate(graph, 0); /* the graph is of no context */
    launch(exec);
    OK(cuMemFree_v2(p));
    OK(cuGraphExecDestroy(exec));
    OK(cuGraphDestroy(graph));
}

static void use_outside_its_lifetime_is_named(void **state) {
    (void)state;
    CUcontext other;
    char text[512];
    const Maker m = maker_open(51, 0);
    OK(cuCtxCreate_v4(&other, NULL, 0, 0));
    OK(cuMemsetD32Async(m.memory, 0, 1, NULL)); /* the call cannot know */
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(softgpuLastFault(text, sizeof text), CUDA_SUCCESS);
    assert_non_null(strstr(text, "outside its lifetime"));
    assert_non_null(strstr(text, "memory of a graph (5000 bytes)"));
    OK(cuCtxDestroy_v2(other));
    maker_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_lives_between_its_nodes_in_each_launch),
        cmocka_unit_test(memory_outlives_the_launch_until_it_is_freed),
        cmocka_unit_test(a_graph_may_free_what_it_left_on_its_next_launch),
        cmocka_unit_test(another_graph_frees_it),
        cmocka_unit_test(allocations_and_frees_are_captured),
        cmocka_unit_test(a_contexts_end_frees_memory_of_its_launches),
        cmocka_unit_test(use_outside_its_lifetime_is_named),
    };
    return cmocka_run_group_tests_name("softgpu graph memory", tests, open_two_devices,
                                       close_fixture);
}
