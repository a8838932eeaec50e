/* The driver's behaviour beyond its errors: memory, launches, contexts and faults, queries, the
 * side door, failing allocations, threads. Streams and graphs are in driver_streams_test.c. */
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

static int calls[8], call_count;

static void note_status(CUstream stream, CUresult status, void *data) {
    (void)stream;
    calls[call_count++] = *(int *)data + (int)status;
}

static void note(void *data) {
    calls[call_count++] = *(int *)data;
}

/* Memory ---------------------------------------------------------------------- */

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

/* Launches -------------------------------------------------------------------- */

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

/* Contexts and faults --------------------------------------------------------- */

static void a_refused_launch_tells_the_limit(void **state) {
    (void)state;
    static const struct {
        const char *entry;
        unsigned int grid, block;
        unsigned int shared;
        CUresult result;
        const char *text;
    } rows[] = {
        {"bounded", 1, 129, 0, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
         "kernel 'bounded' was not launched: a block of 129 threads; its .maxntid or .reqntid "
         "allows 128"},
        {"fat", 1, 288, 0, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
         "with 255 registers per thread a100 has room for 256"},
        {"none", 1, 1056, 0, CUDA_ERROR_INVALID_VALUE, "block.x is 1056; it is 1 to 1024"},
        {"none", 0, 32, 0, CUDA_ERROR_INVALID_VALUE, "grid.x is 0"},
        {"sleep", 1, 32, 48 * 1024 + 1, CUDA_ERROR_INVALID_VALUE,
         "49153 bytes of dynamic shared memory; 49152 are allowed"},
    };
    char text[512];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(cuLaunchKernel(fixture_function(&f, rows[i].entry), rows[i].grid, 1, 1,
                                        rows[i].block, 1, 1, rows[i].shared, NULL, NULL, NULL),
                         rows[i].result);
        OK(softgpuLastFault(text, sizeof text));
        if (strstr(text, rows[i].text) == NULL) fail_msg("%s", text);
    }
    OK(fixture_run(&f, "none", NULL)); /* a launch that is taken leaves nothing to tell */
    OK(softgpuLastFault(text, sizeof text));
    assert_string_equal(text, "");
}

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

/* Queries --------------------------------------------------------------------- */

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

/* Out of memory --------------------------------------------------------------- */

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

/* Threads --------------------------------------------------------------------- */

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
        cmocka_unit_test(a_refused_launch_tells_the_limit),
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
