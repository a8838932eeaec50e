/* What the driver's tests share: a context with a module of the fake executor. Behind cmocka.h. */
#ifndef TESTS_SOFTGPU_DRIVER_FIXTURE_H
#define TESTS_SOFTGPU_DRIVER_FIXTURE_H

#include <stdlib.h>

#include "softgpu/driver/abi.h"

#define OK(call) assert_int_equal((call), CUDA_SUCCESS)

static const char fixture_ptx[] = ".version 8.0\n"
                                  ".target sm_80\n"
                                  ".entry none act=none\n"
                                  ".entry store params=8,4 act=store\n"
                                  ".entry sleep act=sleep value=30\n"
                                  ".entry fault700 act=fault value=700\n"
                                  ".entry fault715 act=fault value=715\n"
                                  ".entry fault716 act=fault value=716\n"
                                  ".entry fault702 act=fault value=702\n"
                                  ".entry fault710 act=fault value=710\n"
                                  ".entry fault719 act=fault value=719\n"
                                  ".entry broken act=break\n"
                                  ".entry fat registers=255\n"
                                  ".entry bounded max_threads=128\n"
                                  ".entry shared smem=16384\n"
                                  ".entry work act=work value=4194304\n";

typedef struct Fixture {
    CUcontext context;
    CUmodule module;
    CUdeviceptr buffer; /* 4096 bytes */
} Fixture;

static inline CUresult fixture_open(Fixture *f) {
    CUresult r = cuInit(0);
    if (r == CUDA_SUCCESS) r = cuCtxCreate_v4(&f->context, NULL, 0, 0);
    if (r == CUDA_SUCCESS) r = cuModuleLoadData(&f->module, fixture_ptx);
    if (r == CUDA_SUCCESS) r = cuMemAlloc_v2(&f->buffer, 4096);
    return r;
}

static inline CUfunction fixture_function(const Fixture *f, const char *name) {
    CUfunction function = 0;
    cuModuleGetFunction(&function, f->module, name);
    return function;
}

/* One block of one warp, no parameters. */
static inline CUresult fixture_run(const Fixture *f, const char *name, CUstream stream) {
    return cuLaunchKernel(fixture_function(f, name), 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL);
}

static inline CUresult fixture_store(const Fixture *f, CUdeviceptr to, unsigned int value,
                                     CUstream stream) {
    void *params[] = {&to, &value};
    return cuLaunchKernel(fixture_function(f, "store"), 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
}

/* A test program's one fixture, opened and closed around each of its tests. */
static Fixture f;

static inline int open_fixture(void **state) {
    (void)state;
    return fixture_open(&f) == CUDA_SUCCESS ? 0 : -1;
}

static inline int open_two_devices(void **state) {
    setenv("SOFTGPU_DEVICES", "a100,h100", 1);
    return open_fixture(state);
}

static inline int close_fixture(void **state) {
    (void)state;
    return cuCtxDestroy_v2(f.context) == CUDA_SUCCESS ? 0 : -1;
}

static inline unsigned int word_at(CUdeviceptr address) {
    unsigned int value = 0;
    OK(cuMemcpyDtoH_v2(&value, address, 4));
    return value;
}

#endif
