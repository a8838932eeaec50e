/* Approximate functions: correctly rounded, or with noise inside the bounds that the PTX ISA gives
 * (9.7.3 and 9.7.4), each by every SIMD level. The reference is the host's long double, of 64
 * significant bits on x86; an input whose value it cannot tell from the middle of two floats would
 * have to lie within 2^-63 of it. */
#include "exec_help.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "softgpu/exec/half.h"

enum { COUNT = 1 << 14, HALVES = 1 << 16, THREADS = 128 };

typedef long double (*Exact)(long double);
static long double reciprocal(long double x) {
    return 1 / x;
}
static long double quotient(long double x) {
    return 1.25L / x;
}
static long double reciprocal_root(long double x) {
    return 1 / sqrtl(x);
}

/* The bound of noise: the largest of relative * |exact|, absolute, ulps * unit of exact. */
typedef struct Row {
    const char *op;
    Exact exact;
    double from, to; /* of the operands sampled */
    double relative, absolute, ulps;
} Row;
#define ROOT2 1.4142135623730951
static const Row singles[] = {
    {"ex2.approx.f32", exp2l, -151, 128, 0, 0, 2},
    {"ex2.approx.f32", exp2l, -1, 1, 0, 0, 2},
    {"ex2.approx.ftz.f32", exp2l, -125.9, 127.9, 0, 0, 2},
    {"lg2.approx.f32", log2l, 0.01, 3, 0x1p-22, 0x1p-22, 0},
    {"lg2.approx.ftz.f32", log2l, 1e-30, 1e30, 0x1p-22, 0x1p-22, 0},
    {"sin.approx.f32", sinl, -6.28, 6.28, 0, 0x1p-21 * ROOT2, 0},
    {"sin.approx.ftz.f32", sinl, 0.01, 3, 0, 0x1p-21 * ROOT2, 0},
    {"cos.approx.f32", cosl, -6.28, 6.28, 0, 0x1p-21 * ROOT2, 0},
    {"cos.approx.ftz.f32", cosl, 0.01, 3, 0, 0x1p-21 * ROOT2, 0},
    {"tanh.approx.f32", tanhl, 0.01, 3, 0x1p-11, 0, 0},
    {"tanh.approx.f32", tanhl, -12, 12, 0x1p-11, 0, 0},
    {"rcp.approx.f32", reciprocal, 0.01, 3, 0, 0, 1},
    {"rcp.approx.ftz.f32", reciprocal, -1e20, 1e20, 0, 0, 1},
    {"div.approx.f32", quotient, 0.01, 3, 0, 0, 2},
    {"div.approx.ftz.f32", quotient, -1e20, 1e20, 0, 0, 2},
    {"div.full.f32", quotient, 0.01, 3, 0, 0, 2},
    {"rsqrt.approx.f32", reciprocal_root, 0.01, 3, 0x1.125fbee26p-23, 0, 0},
    {"rsqrt.approx.ftz.f32", reciprocal_root, 0.01, 3, 0x1.125fbee26p-23, 0, 0},
    {"sqrt.approx.f32", sqrtl, 0.01, 3, 0x1p-23, 0, 0},
    {"sqrt.approx.ftz.f32", sqrtl, 0.01, 3, 0x1p-23, 0, 0},
};
/* Over all 65536 operands. */
static const Row halves[] = {
    {"ex2.approx.f16", exp2l, 0, 0, 0x1.125fbep-10, 0, 0},
    {"tanh.approx.f16", tanhl, 0, 0, 0, 0x1.0252p-11, 0},
    {"ex2.approx.ftz.bf16", exp2l, 0, 0, 0x1p-7, 0, 0},
    {"tanh.approx.bf16", tanhl, 0, 0, 0, 0x1p-8, 0},
};
#define ROWS(t) (sizeof(t) / sizeof *(t))

/* y[i] = op(x[i]), 1.25 / x[i] for quotients: operands from the buffer's begin on, results `count`
 * elements behind. */
static void open_row(Bench *b, const char *op, bool half, uint32_t count) {
    const char *const type = half ? "b16" : "b32";
    const unsigned size = half ? 2 : 4;
    Str s = {0};
    str_printf(&s,
               ".version 8.4\n.target sm_90\n.address_size 64\n"
               ".visible .entry t(.param .u64 p) {\n.reg .%s %%x, %%y; .reg .b32 %%r<4>;\n"
               ".reg .b64 %%a, %%w; ld.param.u64 %%a, [p]; mov.u32 %%r0, %%ctaid.x;\n"
               "mov.u32 %%r1, %%tid.x; mad.lo.u32 %%r2, %%r0, %d, %%r1;\n"
               "mul.wide.u32 %%w, %%r2, %u; add.s64 %%a, %%a, %%w;\nld.global.%s %%x, [%%a];\n"
               "%s %%y, %s%%x;\nst.global.%s [%%a+%u], %%y; ret; }\n",
               type, THREADS, size, type, op, strncmp(op, "div", 3) == 0 ? "0f3FA00000, " : "",
               type, count * size);
    bench_open(b, "sm_90", str_text(&s), 2ull * count * size);
    str_free(&s);
}

static float operand(const Row *r, int i) {
    const double u = ((double)rand() + 0.5) / ((double)RAND_MAX + 1);
    if (r->from > 0 && r->to / r->from > 1e6) /* evenly in exponents */
        return (float)exp(log(r->from) + u * (log(r->to) - log(r->from)));
    return i == 0 ? 1.0f : (float)(r->from + u * (r->to - r->from));
}

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static void check_singles(const char *level) {
    for (size_t k = 0; k < ROWS(singles); k++) {
        const Row *const r = &singles[k];
        Bench b;
        open_row(&b, r->op, false, COUNT);
        float *const x = (float *)b.buffer;
        srand(11);
        for (int i = 0; i < COUNT; i++) x[i] = operand(r, i);
        if (bench_run(&b, "t", COUNT / THREADS, THREADS)) fail_msg("%s", b.launch.fault.text);
        for (int i = 0; i < COUNT; i++) {
            const float want = (float)r->exact((long double)x[i]);
            if (bits_of(x[COUNT + i]) != bits_of(want))
                fail_msg("%s of %a is %a, not %a (%s)", r->op, (double)x[i], (double)x[COUNT + i],
                         (double)want, level);
        }
        bench_close(&b);
    }
}

static void functions_of_f32_are_correctly_rounded(void **state) {
    (void)state;
    each_simd_level(check_singles);
}

static bool is_bf16(const Row *r) {
    return strstr(r->op, "bf16") != NULL;
}
static double half_value(const Row *r, uint32_t h) {
    return (double)(is_bf16(r) ? bf16_to_f32(h) : f16_to_f32(h & 0xffff));
}
/* .ftz: subnormal operands and results are zeros. */
static double half_exact(const Row *r, double x) {
    const bool ftz = strstr(r->op, "ftz") != NULL;
    const double z = (double)r->exact((long double)(ftz && fabs(x) < 0x1p-126 ? 0 : x));
    return ftz && z < 0x1p-126 ? 0 : z;
}

static void check_halves(const char *level) {
    for (size_t k = 0; k < ROWS(halves); k++) {
        const Row *const r = &halves[k];
        Bench b;
        open_row(&b, r->op, true, HALVES);
        uint16_t *const x = (uint16_t *)b.buffer;
        for (uint32_t i = 0; i < HALVES; i++) x[i] = (uint16_t)i;
        if (bench_run(&b, "t", HALVES / THREADS, THREADS)) fail_msg("%s", b.launch.fault.text);
        for (uint32_t i = 0; i < HALVES; i++) {
            const double z = half_exact(r, half_value(r, i));
            const uint32_t want = is_bf16(r) ? f64_to_half(z, 7, 8) : f64_to_half(z, 10, 5);
            if (x[HALVES + i] != want)
                fail_msg("%s of 0x%04x is 0x%04x, not 0x%04x (%s)", r->op, i, x[HALVES + i], want,
                         level);
        }
        bench_close(&b);
    }
}

static void functions_of_halves_are_correctly_rounded_for_every_operand(void **state) {
    (void)state;
    each_simd_level(check_halves);
}

/* The unit in the last place of the float nearest to or below `x`. */
static double unit(double x, int fraction, int least) {
    int e = 0;
    (void)frexp(x, &e);
    return ldexp(1, (e - 1 < least ? least : e - 1) - fraction);
}
static double bound_of(const Row *r, double exact, double ulp) {
    return fmax(fmax(r->relative * fabs(exact), r->absolute), r->ulps * ulp);
}

static uint32_t noise_bits[ROWS(singles)][COUNT];
static bool have_noise;

/* Returns how many of the results differ from the correctly rounded ones. */
static int judge_noise(const Row *r, const float *x, const float *y) {
    int other = 0;
    for (int i = 0; i < COUNT; i++) {
        const double exact = (double)r->exact((long double)x[i]), got = (double)y[i];
        const float right = (float)exact;
        other += got != (double)right;
        if (got == (double)right) continue;
        if (fabs(got - exact) > bound_of(r, exact, unit(exact, 23, -126)) || fabs(exact) < 0x1p-126)
            fail_msg("%s of %a is %a: too far from %a", r->op, (double)x[i], got, exact);
    }
    return other;
}

static void check_noise(const char *level) {
    for (size_t k = 0; k < ROWS(singles); k++) {
        const Row *const r = &singles[k];
        Bench b;
        open_row(&b, r->op, false, COUNT);
        float *const x = (float *)b.buffer, *const y = x + COUNT;
        srand(13);
        for (int i = 0; i < COUNT; i++) x[i] = operand(r, i);
        if (bench_run(&b, "t", COUNT / THREADS, THREADS)) fail_msg("%s", b.launch.fault.text);
        if (judge_noise(r, x, y) < COUNT / 20) fail_msg("%s has hardly any noise", r->op);
        if (!have_noise) memcpy(noise_bits[k], y, sizeof noise_bits[k]);
        if (memcmp(noise_bits[k], y, sizeof noise_bits[k]) != 0)
            fail_msg("%s: other noise with %s", r->op, level);
        /* by the operand, not by the thread: turned around they give the same */
        for (int i = 0; i < COUNT / 2; i++) {
            const float t = x[i];
            x[i] = x[COUNT - 1 - i];
            x[COUNT - 1 - i] = t;
        }
        if (bench_run(&b, "t", COUNT / THREADS, THREADS)) fail_msg("%s", b.launch.fault.text);
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(bits_of(y[i]), noise_bits[k][COUNT - 1 - i]);
        bench_close(&b);
    }
    have_noise = true;
}

static void noise_stays_within_the_bounds_and_depends_on_operands_only(void **state) {
    (void)state;
    have_noise = false;
    setenv("SOFTGPU_APPROX", "noise", 1);
    each_simd_level(check_noise);
    unsetenv("SOFTGPU_APPROX");
}

static void noise_of_halves_stays_within_the_bounds(void **state) {
    (void)state;
    setenv("SOFTGPU_APPROX", "noise", 1);
    for (size_t k = 0; k < ROWS(halves); k++) {
        const Row *const r = &halves[k];
        const int fraction = is_bf16(r) ? 7 : 10, least = is_bf16(r) ? -126 : -14;
        Bench b;
        open_row(&b, r->op, true, HALVES);
        uint16_t *const x = (uint16_t *)b.buffer;
        for (uint32_t i = 0; i < HALVES; i++) x[i] = (uint16_t)i;
        if (bench_run(&b, "t", HALVES / THREADS, THREADS)) fail_msg("%s", b.launch.fault.text);
        int other = 0;
        for (uint32_t i = 0; i < HALVES; i++) {
            const double z = half_exact(r, half_value(r, i)), got = half_value(r, x[HALVES + i]);
            const uint32_t right = f64_to_half(z, fraction, is_bf16(r) ? 8 : 5);
            if (x[HALVES + i] == right) continue;
            other++;
            if (fabs(got - z) > bound_of(r, z, unit(z, fraction, least)))
                fail_msg("%s of 0x%04x is %a: too far from %a", r->op, i, got, z);
        }
        if (other < 500) fail_msg("%s has hardly any noise", r->op);
        bench_close(&b);
    }
    unsetenv("SOFTGPU_APPROX");
}

static void results_that_have_no_neighbours_have_no_noise(void **state) {
    (void)state;
    static const struct {
        const char *op;
        float x;
        uint32_t result;
    } rows[] = {
        {"ex2.approx.f32", -INFINITY, 0},     {"ex2.approx.f32", INFINITY, 0x7f800000},
        {"ex2.approx.f32", -140, 1u << 9},    {"lg2.approx.f32", 1, 0},
        {"rcp.approx.f32", 0, 0x7f800000},    {"sqrt.approx.f32", -0.0f, 0x80000000u},
        {"rsqrt.approx.f32", -1, 0x7fffffff}, {"sin.approx.ftz.f32", -1e-40f, 0x80000000u},
        {"tanh.approx.f32", NAN, 0x7fffffff},
    };
    static const char *const modes[] = {"exact", "noise"};
    for (size_t i = 0; i < 2 * ROWS(rows); i++) {
        setenv("SOFTGPU_APPROX", modes[i % 2], 1);
        Bench b;
        open_row(&b, rows[i / 2].op, false, THREADS);
        float *const x = (float *)b.buffer;
        x[0] = rows[i / 2].x;
        if (bench_run(&b, "t", 1, THREADS)) fail_msg("%s", b.launch.fault.text);
        if (bits_of(x[THREADS]) != rows[i / 2].result)
            fail_msg("%s of %g is 0x%x (%s)", rows[i / 2].op, (double)x[0], bits_of(x[THREADS]),
                     modes[i % 2]);
        bench_close(&b);
    }
    unsetenv("SOFTGPU_APPROX");
}

static void a_wrong_mode_is_refused_by_name(void **state) {
    (void)state;
    Error err = {0};
    setenv("SOFTGPU_APPROX", "rough", 1);
    const char *const message = load_error("sm_80", PTX_HEADER ".entry t() { ret; }", &err);
    unsetenv("SOFTGPU_APPROX");
    assert_non_null(strstr(message, "SOFTGPU_APPROX is 'rough'; it is noise or exact"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_of_f32_are_correctly_rounded),
        cmocka_unit_test(functions_of_halves_are_correctly_rounded_for_every_operand),
        cmocka_unit_test(noise_stays_within_the_bounds_and_depends_on_operands_only),
        cmocka_unit_test(noise_of_halves_stays_within_the_bounds),
        cmocka_unit_test(results_that_have_no_neighbours_have_no_noise),
        cmocka_unit_test(a_wrong_mode_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
