/* Libraries and their kernels, the linker, words waited for by streams. */
#include <pthread.h>
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

static void store_by(CUfunction function, CUdeviceptr to, unsigned int value) {
    void *params[] = {&to, &value};
    OK(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    OK(cuCtxSynchronize());
    assert_int_equal(word_at(to), value);
}

static void a_librarys_kernel_runs_in_every_context(void **state) {
    (void)state;
    CUlibrary library, of;
    CUkernel kernel, again;
    CUfunction here, there;
    CUcontext other;
    CUdeviceptr p;
    const char *name;
    int registers;
    size_t offset, size;
    OK(cuLibraryLoadData(&library, fixture_ptx, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuLibraryGetKernel(&kernel, library, "store"));
    OK(cuLibraryGetKernel(&again, library, "store"));
    assert_ptr_equal(kernel, again);
    OK(cuKernelGetName(&name, kernel));
    assert_string_equal(name, "store");
    OK(cuKernelGetLibrary(&of, kernel));
    assert_ptr_equal(of, library);
    OK(cuKernelGetParamInfo(kernel, 1, &offset, &size));
    assert_int_equal(offset, 8);
    OK(cuKernelGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, kernel, 0));
    assert_int_equal(registers, 32);
    OK(cuKernelGetFunction(&here, kernel));
    store_by(here, f.buffer, 1);
    store_by((CUfunction)(void *)kernel, f.buffer, 2); /* a kernel where a function is asked for */
    OK(cuCtxCreate_v4(&other, NULL, 0, 1));
    OK(cuMemAlloc_v2(&p, 64));
    OK(cuKernelGetFunction(&there, kernel));
    assert_ptr_not_equal(here, there);
    store_by((CUfunction)(void *)kernel, p, 3);
    OK(cuCtxDestroy_v2(other)); /* the library's instance goes with it */
    store_by((CUfunction)(void *)kernel, f.buffer, 4);
    OK(cuLibraryUnload(library));
    assert_int_equal(cuKernelGetFunction(&here, kernel), CUDA_ERROR_INVALID_HANDLE);
}

static void modules_and_libraries_list_their_kernels(void **state) {
    (void)state;
    CUlibrary library;
    CUfunction functions[32];
    CUkernel kernels[32];
    CUmodule module;
    CUdeviceptr variable;
    unsigned int count, same;
    size_t size;
    const char *name;
    OK(cuModuleGetFunctionCount(&count, f.module));
    assert_true(count > 10 && count <= 32);
    OK(cuModuleEnumerateFunctions(functions, count, f.module));
    OK(cuFuncGetName(&name, functions[1]));
    assert_string_equal(name, "store");
    OK(cuLibraryLoadData(&library, fixture_ptx, NULL, NULL, 0, NULL, NULL, 0));
    OK(cuLibraryGetKernelCount(&same, library));
    assert_int_equal(count, same);
    OK(cuLibraryEnumerateKernels(kernels, count, library));
    OK(cuKernelGetName(&name, kernels[1]));
    assert_string_equal(name, "store");
    OK(cuLibraryGetModule(&module, library));
    assert_int_equal(cuModuleUnload(module), CUDA_ERROR_NOT_PERMITTED);
    OK(cuLibraryGetGlobal(&variable, &size, library, "variable"));
    assert_int_equal(size, 16);
    OK(cuLibraryUnload(library));
}

static void a_library_loaded_without_a_context_waits_for_one(void **state) {
    (void)state;
    CUlibrary library;
    CUkernel kernel;
    OK(cuCtxPopCurrent_v2(NULL));
    OK(cuLibraryLoadData(&library, fixture_ptx, NULL, NULL, 0, NULL, NULL, 0));
    assert_int_equal(cuLibraryGetKernel(&kernel, library, "store"), CUDA_ERROR_INVALID_CONTEXT);
    OK(cuCtxPushCurrent_v2(f.context));
    OK(cuLibraryGetKernel(&kernel, library, "store"));
    store_by((CUfunction)(void *)kernel, f.buffer, 6);
    OK(cuLibraryUnload(library));
}

static void the_linker_gives_its_one_input_as_an_image(void **state) {
    (void)state;
    CUlinkState link;
    CUmodule module;
    CUfunction function;
    char log[128] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log}, *image;
    size_t bytes;
    char copy[sizeof fixture_ptx];
    memcpy(copy, fixture_ptx, sizeof copy);
    OK(cuLinkCreate_v2(2, options, values, &link));
    OK(cuLinkAddData_v2(link, CU_JIT_INPUT_PTX, copy, sizeof copy, "a.ptx", 0, NULL, NULL));
    memset(copy, 'x', sizeof copy); /* the linker has its own */
    OK(cuLinkComplete(link, &image, &bytes));
    OK(cuModuleLoadData(&module, image));
    OK(cuLinkDestroy(link));
    OK(cuModuleGetFunction(&function, module, "store"));
    store_by(function, f.buffer, 17);
    OK(cuModuleUnload(module));
}

/* Words of memory ------------------------------------------------------------- */

static void *write_late(void *word) {
    usleep(20000);
    __atomic_store_n((uint32_t *)word, 5, __ATOMIC_RELEASE);
    return NULL;
}

static void a_stream_waits_for_a_word_of_the_host(void **state) {
    (void)state;
    uint32_t *word;
    CUstream a, b;
    pthread_t thread;
    OK(cuMemHostAlloc((void **)&word, 64, 2));
    const CUdeviceptr there = (CUdeviceptr)(uintptr_t)word;
    OK(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cuMemsetD32Async(f.buffer, 0, 1, a));
    OK(cuStreamWaitValue32_v2(a, there, 5, CU_STREAM_WAIT_VALUE_GEQ));
    OK(fixture_store(&f, f.buffer, 44, a));
    OK(cuStreamWriteValue32_v2(a, there + 4, 8, 0));
    OK(cuStreamWaitValue32(b, there + 4, 8, CU_STREAM_WAIT_VALUE_EQ));
    OK(cuStreamWriteValue64_v2(b, there + 8, UINT64_C(1) << 40, 0));
    assert_int_equal(pthread_create(&thread, NULL, write_late, word), 0);
    assert_int_equal(cuStreamQuery(a), CUDA_ERROR_NOT_READY);
    assert_int_equal(cuStreamQuery(b), CUDA_ERROR_NOT_READY);
    OK(cuStreamWaitValue64_v2(b, there + 8, UINT64_C(1) << 40, CU_STREAM_WAIT_VALUE_AND));
    OK(cuStreamSynchronize(b));
    pthread_join(thread, NULL);
    assert_int_equal(word_at(f.buffer), 44);
    assert_int_equal(word[1], 8);
    OK(cuStreamDestroy_v2(a));
    OK(cuStreamDestroy_v2(b));
    OK(cuMemFreeHost(word));
}

/* The first write lets the wait behind it through; a batch with a mistake does nothing. */
static void a_batch_of_operations_runs_in_order(void **state) {
    (void)state;
    CUstreamBatchMemOpParams p[] = {
        {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32, .address = f.buffer, .value = 7},
        {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32,
         .address = f.buffer,
         .value = 7,
         .flags = CU_STREAM_WAIT_VALUE_EQ},
        {.operation = CU_STREAM_MEM_OP_BARRIER},
        {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64,
         .address = f.buffer + 8,
         .value = UINT64_C(5) << 32 | 6},
        {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_64,
         .address = f.buffer + 8,
         .value = UINT64_C(5) << 32,
         .flags = CU_STREAM_WAIT_VALUE_GEQ},
    };
    enum { COUNT = sizeof p / sizeof *p };
    OK(cuMemsetD32_v2(f.buffer, 0, 4));
    OK(cuStreamBatchMemOp_v2(NULL, COUNT, p, 0));
    OK(cuCtxSynchronize());
    assert_int_equal(word_at(f.buffer), 7);
    assert_int_equal(word_at(f.buffer + 8), 6);
    assert_int_equal(word_at(f.buffer + 12), 5);
    p[0].value = 9;
    p[4].address = f.buffer + 1; /* not aligned */
    assert_int_equal(cuStreamBatchMemOp_v2(NULL, COUNT, p, 0), CUDA_ERROR_INVALID_VALUE);
    p[4].operation = CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES;
    assert_int_equal(cuStreamBatchMemOp(NULL, COUNT, p, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuStreamBatchMemOp_v2(NULL, 1, p, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamBatchMemOp_v2(NULL, 257, p, 0), CUDA_ERROR_INVALID_VALUE);
    OK(cuCtxSynchronize());
    assert_int_equal(word_at(f.buffer), 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_librarys_kernel_runs_in_every_context),
        cmocka_unit_test(modules_and_libraries_list_their_kernels),
        cmocka_unit_test(a_library_loaded_without_a_context_waits_for_one),
        cmocka_unit_test(the_linker_gives_its_one_input_as_an_image),
        cmocka_unit_test(a_stream_waits_for_a_word_of_the_host),
        cmocka_unit_test(a_batch_of_operations_runs_in_order),
    };
    return cmocka_run_group_tests_name("softgpu libraries", tests, open_two_devices, close_fixture);
}
