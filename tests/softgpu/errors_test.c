/* Runs every row of softgpu/errors.def, each in a process of its own: the calls made wrongly, and
 * what the driver must answer. A row without a case, or a case without a row, does not compile.
 * One row alone: test_softgpu_errors NAME. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "tests/softgpu/driver_fixture.h"

#define CUDA_ERROR_SUCCESS CUDA_SUCCESS
#define CASE(name)         static CUresult case_##name(void)
/* A step on the way to the misuse: it must succeed. */
#define DO(call)                                                                                   \
    do {                                                                                           \
        const CUresult did = (call);                                                               \
        if (did != CUDA_SUCCESS) return step_failed(#call, did);                                   \
    } while (0)
/* A case that needs the fixture and then is one call. */
#define SIMPLE(name, call)                                                                         \
    CASE(name) {                                                                                   \
        DO(fixture_open(&f));                                                                      \
        return call;                                                                               \
    }

static Fixture f;
static int on_host[64];
static int number;
static size_t size;
static void *const garbage = (void *)(uintptr_t)0x123456;

static CUresult step_failed(const char *call, CUresult result) {
    fprintf(stderr, "step %s gave %d\n", call, (int)result);
    return CUDA_ERROR_UNKNOWN;
}

static CUdeviceptr host_address(void) {
    return (CUdeviceptr)(uintptr_t)on_host;
}

/* Initialisation ----------------------------------------------------------------------------------
 */

CASE(count_before_init) {
    return cuDeviceGetCount(&number);
}
CASE(alloc_before_init) {
    CUdeviceptr p;
    return cuMemAlloc_v2(&p, 4);
}
CASE(launch_before_init) {
    return cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
}
CASE(current_before_init) {
    CUcontext c;
    return cuCtxGetCurrent(&c);
}
CASE(init_flags) {
    return cuInit(1);
}
CASE(init_unknown_device) {
    setenv("SOFTGPU_DEVICES", "a100,voodoo2", 1);
    return cuInit(0);
}
CASE(init_bad_version) {
    setenv("SOFTGPU_DRIVER_VERSION", "newest", 1);
    return cuInit(0);
}

/* The result of `call` in a child of this process. */
static CUresult in_child(CUresult (*call)(void)) {
    int ends[2], result = CUDA_ERROR_UNKNOWN;
    if (pipe(ends) != 0) return CUDA_ERROR_OPERATING_SYSTEM;
    const pid_t pid = fork();
    if (pid == 0) {
        result = (int)call();
        if (write(ends[1], &result, sizeof result) != sizeof result) _exit(1);
        _exit(0);
    }
    close(ends[1]);
    if (read(ends[0], &result, sizeof result) != sizeof result) result = CUDA_ERROR_UNKNOWN;
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return (CUresult)result;
}

static CUresult init_again(void) {
    return cuInit(0);
}
static CUresult alloc_again(void) {
    CUdeviceptr p;
    return cuMemAlloc_v2(&p, 4);
}
SIMPLE(init_in_child, in_child(init_again))
SIMPLE(alloc_in_child, in_child(alloc_again))
CASE(version_null) {
    return cuDriverGetVersion(NULL);
}
CASE(error_name_unknown) {
    const char *text;
    return cuGetErrorName((CUresult)12345, &text);
}

/* Devices -----------------------------------------------------------------------------------------
 */

SIMPLE(device_ordinal, cuDeviceGet(&number, 1))
SIMPLE(device_negative, cuDeviceGet(&number, -1))
SIMPLE(device_null, cuDeviceGet(NULL, 0))
SIMPLE(attribute_device, cuDeviceGetAttribute(&number, 16, 7))
SIMPLE(attribute_unknown, cuDeviceGetAttribute(&number, 9999, 0))
CASE(name_device) {
    char name[8];
    DO(fixture_open(&f));
    return cuDeviceGetName(name, sizeof name, 3);
}
SIMPLE(total_device, cuDeviceTotalMem_v2(&size, 3))

/* Contexts ----------------------------------------------------------------------------------------
 */

static CUcontext other;

SIMPLE(create_device, cuCtxCreate_v4(&other, NULL, 0, 5))
SIMPLE(create_flags, cuCtxCreate_v4(&other, NULL, 0x10000, 0))
SIMPLE(retain_device, cuDevicePrimaryCtxRetain(&other, 5))
SIMPLE(release_unretained, cuDevicePrimaryCtxRelease_v2(0))
CASE(destroy_primary) {
    DO(cuInit(0));
    DO(cuDevicePrimaryCtxRetain(&other, 0));
    return cuCtxDestroy_v2(other);
}
CASE(destroy_twice) {
    DO(fixture_open(&f));
    DO(cuCtxDestroy_v2(f.context));
    return cuCtxDestroy_v2(f.context);
}
SIMPLE(destroy_garbage, cuCtxDestroy_v2(garbage))
SIMPLE(set_current_garbage, cuCtxSetCurrent(garbage))
CASE(push_destroyed) {
    DO(fixture_open(&f));
    DO(cuCtxDestroy_v2(f.context));
    return cuCtxPushCurrent_v2(f.context);
}
CASE(pop_empty) {
    DO(cuInit(0));
    return cuCtxPopCurrent_v2(&other);
}
CASE(alloc_no_context) {
    DO(fixture_open(&f));
    DO(cuCtxPopCurrent_v2(NULL));
    return alloc_again();
}
CASE(sync_no_context) {
    DO(cuInit(0));
    return cuCtxSynchronize();
}
CASE(load_no_context) {
    DO(cuInit(0));
    return cuModuleLoadData(&f.module, fixture_ptx);
}
static void *destroy_it(void *unused) {
    (void)unused;
    cuCtxDestroy_v2(f.context);
    return NULL;
}
CASE(alloc_destroyed_context) {
    pthread_t thread;
    DO(fixture_open(&f));
    if (pthread_create(&thread, NULL, destroy_it, NULL) != 0) return CUDA_ERROR_UNKNOWN;
    pthread_join(thread, NULL);
    return alloc_again();
}
SIMPLE(limit_unknown, cuCtxGetLimit(&size, 77))
CASE(old_alloc) {
    CUdeviceptr_v1 p;
    DO(fixture_open(&f));
    return cuMemAlloc(&p, 4);
}
SIMPLE(old_copy, cuMemcpyHtoD(1, on_host, 4))

/* Modules and functions ---------------------------------------------------------------------------
 */

static CUmodule module;
static CUfunction function;

SIMPLE(load_cubin, cuModuleLoadData(&module, "\x7f"
                                             "ELF\2\1\1"))
SIMPLE(load_fatbin, cuModuleLoadData(&module, "\x50\xed\x55\xba\1"))
SIMPLE(load_garbage, cuModuleLoadData(&module, "\1\2\3\4"))
SIMPLE(load_null, cuModuleLoadData(&module, NULL))
SIMPLE(load_new_ptx, cuModuleLoadData(&module, "// made by a later compiler\n.version 9.7\n"))
CASE(load_new_ptx_old_driver) {
    setenv("SOFTGPU_DRIVER_VERSION", "12040", 1);
    DO(fixture_open(&f));
    return cuModuleLoadData(&module, "/* nvcc */ .version 9.0\n.target sm_80\n");
}
SIMPLE(load_bad_ptx, cuModuleLoadData(&module, ".version 8.0\nsyntax error\n"))
CASE(load_bad_option) {
    int option = 99;
    void *value = NULL;
    DO(fixture_open(&f));
    return cuModuleLoadDataEx(&module, fixture_ptx, 1, &option, &value);
}
SIMPLE(load_missing_file, cuModuleLoad(&module, "/nonexistent/kernel.ptx"))
CASE(unload_twice) {
    DO(fixture_open(&f));
    DO(cuModuleUnload(f.module));
    return cuModuleUnload(f.module);
}
SIMPLE(function_missing, cuModuleGetFunction(&function, f.module, "absent"))
SIMPLE(function_of_garbage, cuModuleGetFunction(&function, garbage, "none"))
CASE(function_other_context) {
    DO(fixture_open(&f));
    DO(cuCtxCreate_v4(&other, NULL, 0, 0));
    return cuModuleGetFunction(&function, f.module, "none");
}
SIMPLE(global_missing, cuModuleGetGlobal_v2(NULL, NULL, f.module, "absent"))
SIMPLE(function_attribute_unknown, cuFuncGetAttribute(&number, 99, fixture_function(&f, "none")))
SIMPLE(function_attribute_set_readonly,
       cuFuncSetAttribute(fixture_function(&f, "none"), CU_FUNC_ATTRIBUTE_NUM_REGS, 32))
SIMPLE(dynamic_over_optin, cuFuncSetAttribute(fixture_function(&f, "none"), 8, 163 * 1024 + 1))
SIMPLE(dynamic_and_static_over_optin,
       cuFuncSetAttribute(fixture_function(&f, "shared"), 8, 163 * 1024 - 16384 + 1))

/* Launches ----------------------------------------------------------------------------------------
 */

static CUstream stream;

static CUresult launch(const char *name, unsigned int gx, unsigned int gy, unsigned int gz,
                       unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared) {
    return cuLaunchKernel(fixture_function(&f, name), gx, gy, gz, bx, by, bz, shared, NULL, NULL,
                          NULL);
}

SIMPLE(launch_garbage, cuLaunchKernel(garbage, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL))
CASE(launch_unloaded) {
    DO(fixture_open(&f));
    function = fixture_function(&f, "none");
    DO(cuModuleUnload(f.module));
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
}
CASE(launch_other_context) {
    DO(fixture_open(&f));
    function = fixture_function(&f, "none");
    DO(cuCtxCreate_v4(&other, NULL, 0, 0));
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
}
CASE(launch_bad_stream) {
    DO(fixture_open(&f));
    DO(cuStreamCreate(&stream, 0));
    DO(cuStreamDestroy_v2(stream));
    return fixture_run(&f, "none", stream);
}
CASE(launch_other_stream) {
    DO(fixture_open(&f));
    DO(cuCtxCreate_v4(&other, NULL, 0, 0));
    DO(cuStreamCreate(&stream, 0));
    DO(cuCtxSetCurrent(f.context));
    return fixture_run(&f, "none", stream);
}
SIMPLE(launch_grid_zero, launch("none", 1, 0, 1, 1, 1, 1, 0))
SIMPLE(launch_block_zero, launch("none", 1, 1, 1, 1, 1, 0, 0))
SIMPLE(launch_grid_y, launch("none", 1, 65536, 1, 1, 1, 1, 0))
SIMPLE(launch_grid_z, launch("none", 1, 1, 65536, 1, 1, 1, 0))
SIMPLE(launch_grid_x, launch("none", 0x80000000u, 1, 1, 1, 1, 1, 0))
SIMPLE(launch_threads, launch("none", 1, 1, 1, 32, 33, 1, 0))
SIMPLE(launch_block_x, launch("none", 1, 1, 1, 1025, 1, 1, 0))
SIMPLE(launch_block_z, launch("none", 1, 1, 1, 1, 1, 65, 0))
SIMPLE(launch_shared_48k, launch("none", 1, 1, 1, 32, 1, 1, 48 * 1024 + 1))
SIMPLE(launch_shared_static, launch("shared", 1, 1, 1, 32, 1, 1, 32 * 1024 + 1))
SIMPLE(launch_registers, launch("fat", 1, 1, 1, 288, 1, 1, 0))
SIMPLE(launch_bounds, launch("bounded", 1, 1, 1, 129, 1, 1, 0))
SIMPLE(launch_no_params, fixture_run(&f, "store", NULL))
static CUresult store_with(void **params, void **extra) {
    return cuLaunchKernel(fixture_function(&f, "store"), 1, 1, 1, 1, 1, 1, 0, NULL, params, extra);
}
CASE(launch_null_param) {
    void *params[] = {&f.buffer, NULL};
    DO(fixture_open(&f));
    return store_with(params, NULL);
}
/* A launch through a parameter buffer of `bytes`. */
static CUresult store_extra(size_t bytes, int key) {
    struct {
        CUdeviceptr to;
        unsigned int value;
        char rest[64];
    } buffer = {.to = f.buffer};
    void *extra[] = {(void *)(uintptr_t)CU_LAUNCH_PARAM_BUFFER_POINTER, &buffer,
                     (void *)(uintptr_t)key, &bytes, NULL};
    return store_with(NULL, extra);
}
CASE(launch_both_params) {
    unsigned int value = 0;
    void *params[] = {&f.buffer, &value}, *extra[] = {NULL};
    DO(fixture_open(&f));
    return store_with(params, extra);
}
SIMPLE(launch_extra_short, store_extra(8, CU_LAUNCH_PARAM_BUFFER_SIZE))
SIMPLE(launch_extra_long, store_extra(64, CU_LAUNCH_PARAM_BUFFER_SIZE))
SIMPLE(launch_extra_key, store_extra(12, 77))
/* A100: 108 SMs, 32 blocks of one warp each. */
SIMPLE(launch_cooperative, cuLaunchCooperativeKernel(fixture_function(&f, "none"), 108 * 32 + 1, 1,
                                                     1, 32, 1, 1, 0, NULL, NULL))
SIMPLE(launch_ex_null, cuLaunchKernelEx(NULL, fixture_function(&f, "none"), NULL, NULL))
CASE(launch_ex_cluster) {
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    attribute.value.cluster.x = 2;
    attribute.value.cluster.y = attribute.value.cluster.z = 1;
    const CUlaunchConfig config = {2, 1, 1, 32, 1, 1, 0, NULL, &attribute, 1};
    DO(fixture_open(&f));
    return cuLaunchKernelEx(&config, fixture_function(&f, "none"), NULL, NULL);
}
SIMPLE(occupancy_threads,
       cuOccupancyMaxActiveBlocksPerMultiprocessor(&number, fixture_function(&f, "none"), 0, 0))

/* Faults ------------------------------------------------------------------------------------------
 */

static CUevent event;

/* Opens the fixture with a recorded event and runs a kernel that faults. */
static CUresult faulted(const char *kernel) {
    CUresult result = fixture_open(&f);
    if (result == CUDA_SUCCESS) result = cuEventCreate(&event, 0);
    if (result == CUDA_SUCCESS) result = fixture_run(&f, kernel, NULL);
    return result;
}
/* The same, and waits until the fault has shown. */
static CUresult stuck(void) {
    const CUresult result = faulted("fault700");
    if (result != CUDA_SUCCESS) return result;
    return cuCtxSynchronize() == CUDA_ERROR_ILLEGAL_ADDRESS ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CASE(fault_address) {
    DO(faulted("fault700"));
    return cuCtxSynchronize();
}
CASE(fault_stray_pointer) {
    DO(fixture_open(&f));
    DO(fixture_store(&f, host_address(), 1, NULL));
    return cuCtxSynchronize();
}
CASE(fault_freed_pointer) {
    DO(fixture_open(&f));
    DO(cuMemFree_v2(f.buffer));
    DO(fixture_store(&f, f.buffer, 1, NULL));
    return cuCtxSynchronize();
}
CASE(fault_misaligned) {
    DO(faulted("fault716"));
    return cuStreamSynchronize(NULL);
}
CASE(fault_instruction) {
    DO(fixture_open(&f));
    DO(cuEventCreate(&event, 0));
    DO(fixture_run(&f, "sleep", NULL));
    DO(fixture_run(&f, "fault715", NULL));
    DO(cuEventRecord(event, NULL));
    return cuEventSynchronize(event);
}
CASE(fault_timeout) {
    DO(faulted("sleep"));
    DO(fixture_run(&f, "fault702", NULL));
    return cuMemcpyDtoH_v2(on_host, f.buffer, 4);
}
CASE(fault_assert) {
    DO(faulted("fault710"));
    return cuCtxSynchronize();
}
CASE(fault_failed) {
    DO(faulted("fault719"));
    return cuCtxSynchronize();
}
CASE(fault_executor) {
    DO(faulted("broken"));
    return cuCtxSynchronize();
}
CASE(sticky_alloc) {
    DO(stuck());
    return alloc_again();
}
CASE(sticky_free) {
    DO(stuck());
    return cuMemFree_v2(f.buffer);
}
CASE(sticky_launch) {
    DO(fixture_open(&f));
    function = fixture_function(&f, "none");
    DO(fixture_run(&f, "fault700", NULL));
    cuCtxSynchronize();
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
}
CASE(sticky_event) {
    DO(stuck());
    return cuEventRecord(event, NULL);
}
CASE(sticky_query) {
    DO(stuck());
    return cuStreamQuery(NULL);
}
CASE(sticky_load) {
    DO(stuck());
    return cuModuleLoadData(&module, fixture_ptx);
}
CASE(sticky_unload) {
    DO(stuck());
    return cuModuleUnload(f.module);
}

static CUgraph graph;
static CUgraphExec exec;

/* A graph of one kernel, instantiated. */
static CUresult make_exec(void) {
    CUresult result = fixture_open(&f);
    if (result == CUDA_SUCCESS) result = cuStreamCreate(&stream, 0);
    if (result == CUDA_SUCCESS) result = cuStreamBeginCapture_v2(stream, 0);
    if (result == CUDA_SUCCESS) result = fixture_run(&f, "none", stream);
    if (result == CUDA_SUCCESS) result = cuStreamEndCapture(stream, &graph);
    if (result == CUDA_SUCCESS) result = cuGraphInstantiateWithFlags(&exec, graph, 0);
    return result;
}
CASE(sticky_graph) {
    DO(make_exec());
    DO(fixture_run(&f, "fault700", NULL));
    cuCtxSynchronize();
    return cuGraphLaunch(exec, stream);
}
CASE(fresh_after_destroy) {
    DO(stuck());
    DO(cuCtxDestroy_v2(f.context));
    DO(fixture_open(&f));
    return alloc_again();
}

/* Memory ------------------------------------------------------------------------------------------
 */

static CUdeviceptr address;

SIMPLE(alloc_zero, cuMemAlloc_v2(&address, 0))
SIMPLE(alloc_null, cuMemAlloc_v2(NULL, 4))
SIMPLE(alloc_too_much, cuMemAlloc_v2(&address, (size_t)1 << 40))
CASE(free_twice) {
    DO(fixture_open(&f));
    DO(cuMemFree_v2(f.buffer));
    return cuMemFree_v2(f.buffer);
}
SIMPLE(free_inside, cuMemFree_v2(f.buffer + 512))
SIMPLE(free_host, cuMemFree_v2(host_address()))
SIMPLE(free_null, cuMemFree_v2(0))
CASE(free_variable) {
    DO(fixture_open(&f));
    DO(cuModuleGetGlobal_v2(&address, NULL, f.module, "variable"));
    return cuMemFree_v2(address);
}
SIMPLE(range_host, cuMemGetAddressRange_v2(&address, &size, host_address()))
SIMPLE(managed, cuMemAllocManaged(&address, 4, 1))
SIMPLE(host_free_unknown, cuMemFreeHost(on_host))
CASE(host_free_twice) {
    void *host;
    DO(fixture_open(&f));
    DO(cuMemAllocHost_v2(&host, 64));
    DO(cuMemFreeHost(host));
    return cuMemFreeHost(host);
}
CASE(register_twice) {
    DO(fixture_open(&f));
    DO(cuMemHostRegister_v2(on_host, sizeof on_host, 0));
    return cuMemHostRegister_v2(on_host + 2, 8, 0);
}
SIMPLE(unregister_unknown, cuMemHostUnregister(on_host))
SIMPLE(pointer_attribute_unknown, cuPointerGetAttribute(&number, 2, host_address()))

/* Copies and fills --------------------------------------------------------------------------------
 */

SIMPLE(copy_to_host_as_device, cuMemcpyHtoD_v2(host_address(), on_host, 4))
SIMPLE(copy_from_device_as_host, cuMemcpyHtoD_v2(f.buffer, (void *)(uintptr_t)f.buffer, 4))
SIMPLE(copy_from_host_as_device, cuMemcpyDtoH_v2(on_host, host_address(), 4))
SIMPLE(copy_past_end, cuMemcpyHtoD_v2(f.buffer + 4093, on_host, 4))
SIMPLE(copy_before_start, cuMemcpyDtoH_v2(on_host, f.buffer - 1, 4))
CASE(copy_freed) {
    CUdeviceptr second;
    DO(fixture_open(&f));
    DO(cuMemAlloc_v2(&second, 64));
    DO(cuMemFree_v2(second));
    return cuMemcpyDtoD_v2(f.buffer, second, 4);
}
CASE(copy_across) {
    CUdeviceptr second;
    DO(fixture_open(&f));
    DO(cuMemAlloc_v2(&second, 1 << 20));
    return cuMemcpyDtoD_v2(second, f.buffer, 8192);
}
SIMPLE(copy_null, cuMemcpyHtoD_v2(f.buffer, NULL, 4))
SIMPLE(copy_async_bad_stream, cuMemcpyDtoDAsync_v2(f.buffer, f.buffer + 64, 4, garbage))
SIMPLE(set_past_end, cuMemsetD32_v2(f.buffer, 0, 1025))
SIMPLE(set_misaligned, cuMemsetD32_v2(f.buffer + 2, 0, 4))
SIMPLE(set_overflow, cuMemsetD32_v2(f.buffer, 0, SIZE_MAX / 2))
SIMPLE(set_host, cuMemsetD8_v2(host_address(), 0, 4))

/* Streams and events ------------------------------------------------------------------------------
 */

SIMPLE(stream_flags, cuStreamCreate(&stream, 2))
CASE(stream_destroy_twice) {
    DO(fixture_open(&f));
    DO(cuStreamCreate(&stream, 0));
    DO(cuStreamDestroy_v2(stream));
    return cuStreamDestroy_v2(stream);
}
SIMPLE(stream_destroy_null, cuStreamDestroy_v2(NULL))
CASE(stream_query_busy) {
    DO(fixture_open(&f));
    DO(fixture_run(&f, "sleep", NULL));
    return cuStreamQuery(NULL);
}
SIMPLE(stream_sync_garbage, cuStreamSynchronize(garbage))
SIMPLE(event_flags, cuEventCreate(&event, 0x100))
SIMPLE(event_record_garbage, cuEventRecord(garbage, NULL))
CASE(event_other_context) {
    DO(fixture_open(&f));
    DO(cuEventCreate(&event, 0));
    DO(cuCtxCreate_v4(&other, NULL, 0, 0));
    return cuEventRecord(event, NULL);
}
CASE(event_destroy_twice) {
    DO(fixture_open(&f));
    DO(cuEventCreate(&event, 0));
    DO(cuEventDestroy_v2(event));
    return cuEventDestroy_v2(event);
}
CASE(event_query_busy) {
    DO(fixture_open(&f));
    DO(cuEventCreate(&event, 0));
    DO(fixture_run(&f, "sleep", NULL));
    DO(cuEventRecord(event, NULL));
    return cuEventQuery(event);
}
/* Two events, the first recorded after a sleep. */
static CUresult elapsed(unsigned int flags, const char *before_end, bool record_end) {
    CUevent start, end;
    float ms;
    CUresult result = fixture_open(&f);
    if (result == CUDA_SUCCESS) result = cuEventCreate(&start, 0);
    if (result == CUDA_SUCCESS) result = cuEventCreate(&end, flags);
    if (result == CUDA_SUCCESS) result = cuEventRecord(start, NULL);
    if (result == CUDA_SUCCESS) result = fixture_run(&f, before_end, NULL);
    if (result == CUDA_SUCCESS && record_end) result = cuEventRecord(end, NULL);
    return result != CUDA_SUCCESS ? CUDA_ERROR_UNKNOWN : cuEventElapsedTime_v2(&ms, start, end);
}
CASE(elapsed_unrecorded) {
    return elapsed(0, "none", false);
}
CASE(elapsed_untimed) {
    return elapsed(CU_EVENT_DISABLE_TIMING, "none", true);
}
CASE(elapsed_busy) {
    return elapsed(0, "sleep", true);
}
static void alloc_there(void *result) {
    *(CUresult *)result = alloc_again();
}
CASE(call_in_host_function) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    DO(fixture_open(&f));
    DO(cuLaunchHostFunc(NULL, alloc_there, &result));
    DO(cuCtxSynchronize());
    return result;
}

/* Capture and graphs ------------------------------------------------------------------------------
 */

static CUresult capturing(int mode) {
    CUresult result = fixture_open(&f);
    if (result == CUDA_SUCCESS) result = cuStreamCreate(&stream, 0);
    if (result == CUDA_SUCCESS) result = cuEventCreate(&event, 0);
    if (result == CUDA_SUCCESS) result = cuStreamBeginCapture_v2(stream, mode);
    return result;
}
#define CAPTURING(name, mode, call)                                                                \
    CASE(name) {                                                                                   \
        DO(capturing(mode));                                                                       \
        return call;                                                                               \
    }

SIMPLE(capture_legacy, cuStreamBeginCapture_v2(NULL, 0))
CAPTURING(capture_twice, 0, cuStreamBeginCapture_v2(stream, 0))
CASE(capture_mode) {
    DO(fixture_open(&f));
    DO(cuStreamCreate(&stream, 0));
    return cuStreamBeginCapture_v2(stream, 3);
}
CASE(end_not_capturing) {
    DO(fixture_open(&f));
    DO(cuStreamCreate(&stream, 0));
    return cuStreamEndCapture(stream, &graph);
}
CAPTURING(capture_sync, 0, cuStreamSynchronize(stream))
CAPTURING(capture_query, 0, cuStreamQuery(stream))
CAPTURING(capture_context_sync, 0, cuCtxSynchronize())
CAPTURING(capture_alloc, 0, alloc_again())
CAPTURING(capture_free, 0, cuMemFree_v2(f.buffer))
CAPTURING(capture_alloc_relaxed, 2, alloc_again())
CAPTURING(capture_legacy_launch, 0, fixture_run(&f, "none", NULL))
CAPTURING(capture_sync_copy, 0, cuMemcpyHtoD_v2(f.buffer, on_host, 4))
static void ignore(CUstream s, CUresult status, void *data) {
    (void)s;
    (void)status;
    (void)data;
}
CAPTURING(capture_callback, 0, cuStreamAddCallback(stream, ignore, NULL, 0))
CASE(capture_after_error) {
    DO(capturing(0));
    cuStreamQuery(stream);
    return fixture_run(&f, "none", stream);
}
CASE(capture_end_invalidated) {
    DO(capturing(0));
    cuStreamQuery(stream);
    return cuStreamEndCapture(stream, &graph);
}
static CUstream second;
/* A second stream that joined the capture of the first and did work. */
static CUresult forked(void) {
    CUresult result = capturing(0);
    if (result == CUDA_SUCCESS) result = cuStreamCreate(&second, 0);
    if (result == CUDA_SUCCESS) result = cuEventRecord(event, stream);
    if (result == CUDA_SUCCESS) result = cuStreamWaitEvent(second, event, 0);
    if (result == CUDA_SUCCESS) result = fixture_run(&f, "none", second);
    return result;
}
CASE(capture_end_other_stream) {
    DO(forked());
    return cuStreamEndCapture(second, &graph);
}
CASE(capture_end_unjoined) {
    DO(forked());
    return cuStreamEndCapture(stream, &graph);
}
static void *end_capture(void *result) {
    cuCtxSetCurrent(f.context);
    *(CUresult *)result = cuStreamEndCapture(stream, &graph);
    return NULL;
}
CASE(capture_end_other_thread) {
    CUresult result = CUDA_ERROR_UNKNOWN;
    pthread_t thread;
    DO(capturing(0));
    if (pthread_create(&thread, NULL, end_capture, &result) != 0) return CUDA_ERROR_UNKNOWN;
    pthread_join(thread, NULL);
    return result;
}
CASE(capture_wait_outside) {
    DO(capturing(0));
    CUevent outside;
    CUstream apart;
    DO(cuStreamCreate(&apart, CU_STREAM_NON_BLOCKING));
    DO(cuEventCreate(&outside, 0));
    DO(cuEventRecord(outside, apart));
    return cuStreamWaitEvent(stream, outside, 0);
}
CASE(capture_wait_other) {
    DO(capturing(0));
    DO(cuStreamCreate(&second, 0));
    DO(cuStreamBeginCapture_v2(second, 0));
    DO(cuEventRecord(event, second));
    return cuStreamWaitEvent(stream, event, 0);
}
CASE(captured_event_query) {
    DO(capturing(0));
    DO(cuEventRecord(event, stream));
    return cuEventQuery(event);
}
CASE(captured_event_sync) {
    DO(capturing(0));
    DO(cuEventRecord(event, stream));
    return cuEventSynchronize(event);
}
SIMPLE(graph_garbage, cuGraphInstantiateWithFlags(&exec, garbage, 0))
CASE(graph_destroy_twice) {
    DO(make_exec());
    DO(cuGraphDestroy(graph));
    return cuGraphDestroy(graph);
}
CASE(graph_of_capture) {
    int status;
    uint64_t id;
    DO(capturing(0));
    DO(cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph, NULL, NULL));
    return cuGraphDestroy(graph);
}
SIMPLE(exec_garbage, cuGraphLaunch(garbage, NULL))
CASE(exec_unloaded) {
    DO(make_exec());
    DO(cuModuleUnload(f.module));
    return cuGraphLaunch(exec, stream);
}
CASE(exec_destroy_twice) {
    DO(make_exec());
    DO(cuGraphExecDestroy(exec));
    return cuGraphExecDestroy(exec);
}

/* Entry points ------------------------------------------------------------------------------------
 */

static void *pointer;

CASE(proc_null) {
    return cuGetProcAddress_v2(NULL, &pointer, 12000, 0, NULL);
}
CASE(proc_flags) {
    return cuGetProcAddress_v2("cuMemAlloc", &pointer, 12000, 3, NULL);
}
CASE(proc_newer) {
    return cuGetProcAddress_v2("cuMemAlloc", &pointer, 99000, 0, NULL);
}
CASE(proc_missing) {
    return cuGetProcAddress("cuMakeCoffee", &pointer, 11030, 0);
}

/* The table ---------------------------------------------------------------------------------------
 */

static const struct {
    const char *name, *call, *misuse;
    CUresult (*run)(void);
    CUresult expected;
} rows[] = {
#define MISUSE(name, call, misuse, result) {#name, call, misuse, case_##name, CUDA_ERROR_##result},
#include "softgpu/errors.def"
#undef MISUSE
};

static const char *only;

static void every_misuse_gets_its_documented_result(void **state) {
    (void)state;
    size_t failed = 0, ran = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (only != NULL && strcmp(only, rows[i].name) != 0) continue;
        const CUresult got = in_child(rows[i].run);
        ran++;
        if (got == rows[i].expected) continue;
        failed++;
        print_error("%s: %s, %s: got %d, expected %d\n", rows[i].name, rows[i].call, rows[i].misuse,
                    (int)got, (int)rows[i].expected);
    }
    print_message("%zu rows, %zu failed\n", ran, failed);
    assert_true(ran > 0);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_misuse_gets_its_documented_result)};
    if (argc > 1) only = argv[1];
    return cmocka_run_group_tests_name("softgpu errors.def", tests, NULL, NULL);
}
