/* The opcode tables through the driver ABI, one module per row: on the software GPU, where every
 * bit must agree, or with SEQTUNE_TEST_GPU=N on device N of libcuda.so.1. There a row that the GPU
 * or its driver is too old for is named and left out, and approximate instructions are compared
 * within the bounds that the ISA documents. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exec_vectors.h"

enum { RESULTS = 64, LANES = 32, BYTES = RESULTS + 8 * LANES };
enum { MAJOR = 75, MINOR = 76 }; /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_ */

typedef int Result; /* CUresult */

typedef struct Gpu {
    bool real;
    void *library;
    char head[96]; /* .version and .target of every module */
    uint64_t buffer;
    Result (*load)(void **, const void *), (*unload)(void *),
        (*function)(void **, void *, const char *);
    Result (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                     void *, void **, void **);
    Result (*synchronize)(void), (*to_device)(uint64_t, const void *, size_t);
    Result (*to_host)(void *, uint64_t, size_t);
} Gpu;

static Gpu gpu;

static void find(const char *name, void *out) {
    void *const p = dlsym(gpu.library, name);
    if (!p) fail_msg("no %s in the driver", name);
    memcpy(out, &p, sizeof p);
}

static void ok(Result result, const char *what) {
    if (result) fail_msg("%s: CUresult %d", what, result);
}

static int open_gpu(void **state) {
    (void)state;
    const char *const number = getenv("SEQTUNE_TEST_GPU");
    gpu.real = number != NULL;
    setenv("SOFTGPU_DEVICES", "b200", 1); /* the newest here: no row is too new */
    gpu.library =
        dlopen(gpu.real ? "libcuda.so.1" : SEQTUNE_BINARY_DIR "/softgpu/libseqtune-softgpu.so.0",
               RTLD_NOW | RTLD_LOCAL);
    if (!gpu.library) fail_msg("%s", dlerror());
    Result (*init)(unsigned), (*device)(int *, int), (*attribute)(int *, int, int),
        (*version)(int *);
    Result (*context)(void **, unsigned, int), (*allocate)(uint64_t *, size_t);
    find("cuInit", &init);
    find("cuDeviceGet", &device);
    find("cuDeviceGetAttribute", &attribute);
    find("cuDriverGetVersion", &version);
    find("cuCtxCreate_v2", &context);
    find("cuMemAlloc_v2", &allocate);
    find("cuModuleLoadData", &gpu.load);
    find("cuModuleUnload", &gpu.unload);
    find("cuModuleGetFunction", &gpu.function);
    find("cuLaunchKernel", &gpu.launch);
    find("cuCtxSynchronize", &gpu.synchronize);
    find("cuMemcpyHtoD_v2", &gpu.to_device);
    find("cuMemcpyDtoH_v2", &gpu.to_host);
    int dev = 0, major = 0, minor = 0, driver = 0;
    void *handle = NULL;
    ok(init(0), "cuInit");
    ok(device(&dev, gpu.real ? atoi(number) : 0), "cuDeviceGet");
    ok(attribute(&major, MAJOR, dev), "cuDeviceGetAttribute");
    ok(attribute(&minor, MINOR, dev), "cuDeviceGetAttribute");
    ok(version(&driver), "cuDriverGetVersion");
    ok(context(&handle, 0, dev), "cuCtxCreate");
    ok(allocate(&gpu.buffer, BYTES), "cuMemAlloc");
    /* CUDA 11.x takes PTX 7.x, 12.x 8.x, 13.x 9.x (release notes, PTX ISA table). */
    snprintf(gpu.head, sizeof gpu.head, ".version %d.%d\n.target sm_%d%d%s\n.address_size 64\n",
             driver / 1000 - 4, driver % 1000 / 10, major, minor, major >= 9 ? "a" : "");
    return 0;
}

/* What the PTX ISA (9.7.3, 9.7.4, 9.7.5) allows approximate results: |error| <= relative * |x| or
 * <= absolute. The first row whose words are in the code counts. */
static const struct {
    const char *words;
    double relative, absolute;
} bounds[] = {
    {"tanh.approx.f16", 0, 0x1p-10},    {"tanh.approx.bf16", 0, 0x1p-8},
    {"tanh.approx.f32", 0x1p-11, 0},    {"ex2.approx.f16", 0x1p-9, 0},
    {"ex2.approx.ftz.bf16", 0x1p-7, 0}, {"ex2.approx", 0x1p-22, 0},
    {"lg2.approx", 0x1p-22, 0x1p-22},   {"sin.approx", 0, 0x1p-20},
    {"cos.approx", 0, 0x1p-20},         {"rsqrt.approx.ftz.f64", 0x1p-20, 0},
    {"rcp.approx.ftz.f64", 0x1p-20, 0}, {"rsqrt.approx", 0x1p-22, 0},
    {"sqrt.approx", 0x1p-22, 0},        {"rcp.approx", 0x1p-22, 0},
    {"div.approx", 0x1p-21, 0},         {"div.full", 0x1p-21, 0},
};

static double value_of(const Vector *v, uint64_t bits) {
    double wide;
    float narrow;
    const uint32_t low = (uint32_t)bits;
    memcpy(&wide, &bits, 8);
    if (v->class == 'R') return wide;
    if (strstr(v->code, "bf16")) {
        const uint32_t up = low << 16;
        memcpy(&narrow, &up, 4);
        return (double)narrow;
    }
    if (v->class == 'h') {
        const int e = (int)(low >> 10 & 31), m = (int)(low & 1023);
        const double x = e == 31 ? (m ? NAN : INFINITY) : ldexp(e ? 1024 + m : m, (e ? e : 1) - 25);
        return low >> 15 & 1 ? -x : x;
    }
    memcpy(&narrow, &low, 4);
    return (double)narrow;
}

static bool agrees(const Vector *v, uint64_t got) {
    if (got == v->result) return true;
    if (!gpu.real) return false;
    for (size_t i = 0; i < COUNT(bounds); i++) {
        if (!strstr(v->code, bounds[i].words)) continue;
        const double x = value_of(v, v->result), error = fabs(value_of(v, got) - x);
        return error <= bounds[i].relative * fabs(x) || error <= bounds[i].absolute;
    }
    return false;
}

/* 0, or 1 for a wrong row, or -1 for one that this GPU does not know. */
static int run_row(const Vector *v) {
    static const uint8_t fill[8 * LANES];
    Str text = {0};
    void *module = NULL, *function = NULL;
    str_puts(&text, gpu.head);
    emit_entry(&text, 0, v);
    const Result loaded = gpu.load(&module, str_text(&text));
    str_free(&text);
    if (loaded) {
        print_message("not loaded (%d): %s\n", loaded, v->code);
        return -1;
    }
    const uint64_t in[3] = {v->a, v->b, v->c};
    uint64_t out[LANES];
    void *args[] = {&gpu.buffer};
    ok(gpu.function(&function, module, "v0"), "cuModuleGetFunction");
    ok(gpu.to_device(gpu.buffer, in, sizeof in), "cuMemcpyHtoD");
    ok(gpu.to_device(gpu.buffer + RESULTS, fill, sizeof fill), "cuMemcpyHtoD");
    ok(gpu.launch(function, 1, 1, 1, LANES, 1, 1, 0, NULL, args, NULL), v->code);
    ok(gpu.synchronize(), v->code);
    ok(gpu.to_host(out, gpu.buffer + RESULTS, sizeof out), "cuMemcpyDtoH");
    ok(gpu.unload(module), "cuModuleUnload");
    for (int l = 0; l < LANES; l++) {
        if (agrees(v, out[l])) continue;
        print_error("%s a=%llx b=%llx c=%llx: lane %d has %llx, not %llx\n", v->code,
                    (unsigned long long)v->a, (unsigned long long)v->b, (unsigned long long)v->c, l,
                    (unsigned long long)out[l], (unsigned long long)v->result);
        return 1;
    }
    return 0;
}

static void run_table(const Vector *rows, size_t n) {
    size_t wrong = 0, unknown = 0;
    for (size_t i = 0; i < n; i++) {
        const int r = run_row(&rows[i]);
        wrong += r > 0;
        unknown += r < 0;
    }
    assert_int_equal(wrong, 0);
    if (!gpu.real) assert_int_equal(unknown, 0);
    assert_true(unknown < n); /* a driver that takes nothing proves nothing */
}

static void integer_rows_agree(void **state) {
    (void)state;
    run_table(integers, COUNT(integers));
}
static void float_rows_agree(void **state) {
    (void)state;
    run_table(floats, COUNT(floats));
}
static void other_rows_agree(void **state) {
    (void)state;
    run_table(others, COUNT(others));
}
static void modified_and_narrow_rows_agree(void **state) {
    (void)state;
    run_table(modifiers, COUNT(modifiers));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_rows_agree),
        cmocka_unit_test(float_rows_agree),
        cmocka_unit_test(other_rows_agree),
        cmocka_unit_test(modified_and_narrow_rows_agree),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
