/* Tensor instructions against the literal fragment formulas of the PTX ISA, and sums of mma.sync in
 * exact mode against the published rule, written here with doubles from its text. */
#include "exec_help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fragment.h"
#include "softgpu/exec/half.h"

typedef enum Type { F16, BF16, TF32, E4M3, E5M2, S8, U8, F32, S32 } Type;

typedef struct Form {
    const char *name;
    int k, a_regs, b_regs;
    Type a, b, c;
    bool saturate;
} Form;

#define MMA_FORM(shape, tail) "mma.sync.aligned." shape ".row.col" tail
static const Form forms[] = {
    {MMA_FORM("m16n8k16", ".f32.f16.f16.f32"), 16, 4, 2, F16, F16, F32, false},
    {MMA_FORM("m16n8k8", ".f32.f16.f16.f32"), 8, 2, 1, F16, F16, F32, false},
    {MMA_FORM("m16n8k16", ".f16.f16.f16.f16"), 16, 4, 2, F16, F16, F16, false},
    {MMA_FORM("m16n8k8", ".f16.f16.f16.f16"), 8, 2, 1, F16, F16, F16, false},
    {MMA_FORM("m16n8k16", ".f32.bf16.bf16.f32"), 16, 4, 2, BF16, BF16, F32, false},
    {MMA_FORM("m16n8k8", ".f32.bf16.bf16.f32"), 8, 2, 1, BF16, BF16, F32, false},
    {MMA_FORM("m16n8k8", ".f32.tf32.tf32.f32"), 8, 4, 2, TF32, TF32, F32, false},
    {MMA_FORM("m16n8k4", ".f32.tf32.tf32.f32"), 4, 2, 1, TF32, TF32, F32, false},
    {MMA_FORM("m16n8k32", ".f32.e4m3.e4m3.f32"), 32, 4, 2, E4M3, E4M3, F32, false},
    {MMA_FORM("m16n8k32", ".f32.e4m3.e5m2.f32"), 32, 4, 2, E4M3, E5M2, F32, false},
    {MMA_FORM("m16n8k32", ".f32.e5m2.e4m3.f32"), 32, 4, 2, E5M2, E4M3, F32, false},
    {MMA_FORM("m16n8k32", ".f16.e5m2.e5m2.f16"), 32, 4, 2, E5M2, E5M2, F16, false},
    {MMA_FORM("m16n8k16", ".f32.e4m3.e5m2.f32"), 16, 2, 1, E4M3, E5M2, F32, false},
    {MMA_FORM("m16n8k16", ".f16.e5m2.e4m3.f16"), 16, 2, 1, E5M2, E4M3, F16, false},
    {MMA_FORM("m16n8k32", ".s32.s8.s8.s32"), 32, 4, 2, S8, S8, S32, false},
    {MMA_FORM("m16n8k32", ".s32.u8.s8.s32"), 32, 4, 2, U8, S8, S32, false},
    {MMA_FORM("m16n8k16", ".s32.s8.u8.s32"), 16, 2, 1, S8, U8, S32, false},
    {MMA_FORM("m16n8k16", ".satfinite.s32.u8.u8.s32"), 16, 2, 1, U8, U8, S32, true},
};

static int width(Type t) { /* bits of an element in its register */
    return t == F16 || t == BF16 ? 16 : t == TF32 || t == F32 || t == S32 ? 32 : 8;
}

static double value(Type t, uint32_t v) {
    switch (t) {
    case F16: return (double)f16_to_f32(v);
    case BF16: return (double)bf16_to_f32(v);
    case TF32: return (double)half_bits_f32(v & ~0x1fffu);
    case E4M3: return (double)e4m3_to_f32(v);
    case E5M2: return (double)e5m2_to_f32(v);
    case S8: return (int8_t)v;
    case U8: return (uint8_t)v;
    case S32: return (int32_t)v;
    default: return (double)half_bits_f32(v);
    }
}

/* TAME: near 1. WILD: every exponent of the narrow types, subnormals and zeros; EXTREME: every
 * exponent of the wide ones too; TINY: only their least. No NaN nor infinity. */
typedef enum Range { TAME, WILD, EXTREME, TINY } Range;

static uint32_t element(Type t, Range range) {
    const bool wild = range != TAME;
    const uint32_t wide = range == EXTREME ? 0x7fffffffu : 0x07ffffffu; /* 32-bit words */
    const uint32_t r = (uint32_t)rand() << 16 ^ (uint32_t)rand();
    const float f = (float)(rand() % 2001 - 1000) / 300.0f;
    if (t == S32) return wild ? 0x7fffff00u + (r & 0xff) : r >> 8;
    if (t == S8 || t == U8) return r & 0xff;
    if (wild && r % 11 == 0) return 0;
    switch (t) {
    case F16: return wild ? (r & 0x7c00) == 0x7c00 ? r & 0x83ff : r & 0xffff : f32_to_f16(f);
    case BF16:
        if (range < EXTREME) return wild ? (r & 0x8000) | 0x3c00 | (r & 0x7ff) : f32_to_bf16(f);
        return (r & 0x7f80) == 0x7f80 ? 0 : (r & 0x8000) | (r & wide >> 16);
    case E4M3: return wild ? (r & 0x7f) == 0x7f ? 0x80 : r & 0xff : f32_to_e4m3(f, 0);
    case E5M2: return wild ? (r & 0x7c) == 0x7c ? r & 0x83 : r & 0xff : f32_to_e5m2(f, 0);
    default:
        if (range < EXTREME)
            return wild ? (r & 0x80000000u) | 0x3c000000u | (r & wide) : half_f32_bits(f);
        return (r & 0x7f800000u) == 0x7f800000u ? 0 : (r & 0x80000000u) | (r & wide);
    }
}

typedef struct Problem {
    uint32_t a[16][32], b[32][8], c[16][8], d[16][8];
} Problem;

/* Register r of lane l of A is at 128 r + 4 l, of B at 1024 + .., of C at 2048, of D at 3072. */
static void put(uint8_t *at, int bits, int i, int lane, uint32_t v) {
    const int per = 32 / bits;
    memcpy(at + 128 * (i / per) + 4 * lane + bits / 8 * (i % per), &v, (size_t)bits / 8);
}

static void fill(Bench *b, const Form *f, Problem *p, Range range) {
    uint8_t *const mem = (uint8_t *)b->buffer;
    const int bits = width(f->a), cbits = width(f->c);
    int row = 0, col = 0;
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane >> 2, t = lane % 4;
        for (int i = 0; i < 32 / bits * f->a_regs; i++) {
            place_a(bits, g, t, i, &row, &col);
            put(mem, bits, i, lane, p->a[row][col] = element(f->a, range));
        }
        for (int i = 0; i < 32 / bits * f->b_regs; i++) {
            place_b(bits, g, t, i, &row, &col);
            put(mem + 1024, bits, i, lane, p->b[row][col] = element(f->b, range));
        }
        for (int i = 0; i < 4; i++)
            put(mem + 2048, cbits, i, lane,
                p->c[i < 2 ? g : g + 8][t * 2 + (i & 1)] = element(f->c, range));
    }
}

static void fetch(const Bench *b, const Form *f, Problem *p) {
    const uint8_t *const mem = (const uint8_t *)b->buffer + 3072;
    const int bits = width(f->c), per = 32 / bits;
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            uint32_t v = 0;
            memcpy(&v, mem + 128 * (i / per) + 4 * lane + bits / 8 * (i % per), (size_t)bits / 8);
            p->d[i < 2 ? lane >> 2 : (lane >> 2) + 8][lane % 4 * 2 + (i & 1)] = v;
        }
}

static void list(Str *s, char letter, int n) {
    str_puts(s, letter == 'd' ? " {" : ", {");
    for (int i = 0; i < n; i++) str_printf(s, "%s%%%c%d", i ? "," : "", letter, i);
    str_putc(s, '}');
}

static void open_form(Bench *b, const Form *f, const char *arch) {
    Str s = {0};
    str_printf(&s,
               ".version 8.7\n.target %s\n.address_size 64\n"
               ".visible .entry t(.param .u64 p) {\n.reg .b32 %%a<4>, %%b<2>, %%c<4>, %%d<4>, "
               "%%r<2>; .reg .b64 %%rd<2>;\nld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; "
               "mul.wide.u32 %%rd1, %%r0, 4; add.s64 %%rd0, %%rd0, %%rd1;\n",
               arch);
    for (int i = 0; i < 4; i++)
        str_printf(&s,
                   "ld.global.b32 %%a%d, [%%rd0+%d]; ld.global.b32 %%c%d, [%%rd0+%d]; "
                   "mov.b32 %%d%d, 0;\n",
                   i, 128 * i, i, 2048 + 128 * i, i);
    str_puts(&s, "ld.global.b32 %b0, [%rd0+1024]; ld.global.b32 %b1, [%rd0+1152];\n");
    str_puts(&s, f->name);
    const int c_regs = f->c == F16 ? 2 : 4;
    list(&s, 'd', c_regs);
    list(&s, 'a', f->a_regs);
    list(&s, 'b', f->b_regs);
    list(&s, 'c', c_regs);
    str_puts(&s, ";\n");
    for (int i = 0; i < 4; i++)
        str_printf(&s, "st.global.b32 [%%rd0+%d], %%d%d;\n", 3072 + 128 * i, i);
    str_puts(&s, "ret;\n}\n");
    bench_open(b, arch, str_text(&s), 4096);
    str_free(&s);
}

/* An integer result must be equal; a float one within one rounding per term. */
static void check_product(const Form *f, const Problem *p, int row, int col, const char *level) {
    double want = value(f->c, p->c[row][col]), size = fabs(want);
    for (int k = 0; k < f->k; k++) {
        const double term = value(f->a, p->a[row][k]) * value(f->b, p->b[k][col]);
        want += term;
        size += fabs(term);
    }
    const double got = value(f->c, p->d[row][col]);
    if (f->c == S32 && f->saturate) want = fmin(fmax(want, INT32_MIN), INT32_MAX);
    if (f->c == S32) want = (double)(int32_t)(uint32_t)(int64_t)want; /* else it wraps */
    const bool fp8 = f->a == E4M3 || f->a == E5M2; /* 13 fraction bits on Ada in exact mode */
    const double bound = f->c == S32   ? 0
                         : f->c == F16 ? size * 0x1p-10 /* two roundings of parts */
                                       : size * (fp8 ? 0x1p-13 : 0x1p-22) * (f->k + 2);
    if (!(fabs(got - want) <= bound))
        fail_msg("%s %s: D[%d][%d] is %g, not %g", level, f->name, row, col, got, want);
}

static void check_forms(const char *level) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        Bench b;
        Problem p;
        open_form(&b, &forms[i], "sm_89");
        for (int round = 0; round < 6; round++) {
            fill(&b, &forms[i], &p, forms[i].c == S32 && round > 2 ? WILD : TAME);
            if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
            fetch(&b, &forms[i], &p);
            for (int row = 0; row < 16; row++)
                for (int col = 0; col < 8; col++) check_product(&forms[i], &p, row, col, level);
        }
        assert_int_equal(b.launch.counters.mma_flops, 2 * 16 * 8 * forms[i].k);
        bench_close(&b);
    }
}

static void every_mma_is_the_product_by_its_fragment_formulas(void **state) {
    (void)state;
    each_simd_level(check_forms);
}
static void every_mma_is_near_the_product_in_exact_mode_too(void **state) {
    (void)state;
    setenv("SOFTGPU_MMA", "exact", 1);
    each_simd_level(check_forms);
    unsetenv("SOFTGPU_MMA");
}

/* The rule (MMA-Sim; research on tensor-core numerics): significand and exponent of a value, the
 * least exponent being that of the type's least normal; a zero has exponent -126. */
static double split(Type t, uint32_t v, int *exponent) {
    const int least = t == F16 || t == E5M2 ? -14 : t == E4M3 ? -6 : -126;
    const double x = value(t, v);
    int e = 0;
    const double s = frexp(x, &e) * 2;
    *exponent = x == 0 ? -126 : e - 1 < least ? least : e - 1;
    return x == 0 ? 0 : ldexp(s, e - 1 - *exponent);
}

static uint32_t rule_result(double v, Type c, int keep) {
    int e = 0;
    (void)frexp(v, &e);
    e = e - 1 < -126 ? -126 : e - 1;
    const uint32_t d = c == F16 ? f64_to_half(v, 10, 5)
                                : half_f32_bits((float)ldexp(trunc(ldexp(v, keep - e)), e - keep));
    return d == (c == F16 ? 0x8000u : 0x80000000u) ? 0 : d; /* a zero has no sign */
}

static uint32_t rule(const Form *f, const Problem *p, int row, int col, int F, int step) {
    uint32_t c = p->c[row][col];
    for (int first = 0; first < f->k; first += step) {
        double s[33], sum = 0;
        if (isinf(value(f->c, c))) return c; /* the first half overflowed f16 */
        int e[33], most = 0;
        s[32] = split(f->c, c, &e[32]);
        most = e[32];
        for (int k = 0; k < step; k++) {
            int ea = 0, eb = 0;
            s[k] = split(f->a, p->a[row][first + k], &ea);
            s[k] *= split(f->b, p->b[first + k][col], &eb);
            e[k] = ea + eb;
            most = e[k] > most ? e[k] : most;
        }
        for (int k = 0; k <= 32; k++)
            if (k < step || k == 32) sum += trunc(ldexp(s[k], F + e[k] - most));
        c = rule_result(ldexp(sum, most - F), f->c, F == 13 ? 13 : 23);
    }
    return c;
}

static void check_rule(const Form *f, const char *arch, int F, int step, const char *level) {
    Bench b;
    Problem p;
    open_form(&b, f, arch);
    for (int round = 0; round < 8; round++) {
        fill(&b, f, &p, (Range)(round % 4));
        if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
        fetch(&b, f, &p);
        for (int row = 0; row < 16; row++)
            for (int col = 0; col < 8; col++) {
                const uint32_t want = rule(f, &p, row, col, F, step);
                if (p.d[row][col] != want)
                    fail_msg("%s %s %s: D[%d][%d] is 0x%08x, not 0x%08x", level, arch, f->name, row,
                             col, p.d[row][col], want);
            }
    }
    bench_close(&b);
}

static void check_rules(const char *level) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const Form *const f = &forms[i];
        const bool fp8 = f->a == E4M3 || f->a == E5M2;
        const bool halved = fp8 ? f->k == 32 : f->a == TF32 ? f->k == 8 : f->k == 16;
        if (f->c == S32) continue;
        if (f->k == 8 && f->a == F16) check_rule(f, "sm_75", 24, 8, level);
        if (!fp8) check_rule(f, "sm_80", 24, halved ? f->k / 2 : f->k, level);
        check_rule(f, "sm_89", fp8 ? 13 : 24, halved ? f->k / 2 : f->k, level);
        check_rule(f, "sm_90", 25, f->k, level);
    }
}

static void exact_mma_follows_the_published_rule_bit_for_bit(void **state) {
    (void)state;
    setenv("SOFTGPU_MMA", "exact", 1);
    each_simd_level(check_rules);
    unsetenv("SOFTGPU_MMA");
}

/* By hand: 1 + 2^-24 + 2^-24 in one block. F = 24 keeps both small terms, their sum is half an ulp
 * of 1 and is cut; below 2 with C = -1 it shows. In two blocks (Ampere) nothing changes, but a term
 * of 2^-25 is lost at F = 24 and kept at F = 25. */
static void exact_mma_keeps_f_bits_below_the_largest_term(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        uint32_t result;
    } rows[] = {{"sm_80", 0}, {"sm_90", 0x33000000u /* 2^-25 */}};
    setenv("SOFTGPU_MMA", "exact", 1);
    for (size_t i = 0; i < 2; i++) {
        Bench b;
        Problem p;
        open_form(&b, &forms[0], rows[i].arch);
        memset((void *)b.buffer, 0, 4096);
        const uint32_t a = f32_to_f16(1) | f32_to_f16(0x1p-12f) << 16;
        const uint32_t bb = f32_to_f16(1) | f32_to_f16(0x1p-13f) << 16;
        const float c = -1;
        memcpy((void *)b.buffer, &a, 4);           /* lane 0: A[0][0], A[0][1] */
        memcpy((void *)(b.buffer + 1024), &bb, 4); /* B[0][0], B[1][0] */
        memcpy((void *)(b.buffer + 2048), &c, 4);
        assert_false(bench_run(&b, "t", 1, 32));
        fetch(&b, &forms[0], &p);
        assert_int_equal(p.d[0][0], rows[i].result);
        bench_close(&b);
    }
    unsetenv("SOFTGPU_MMA");
}

static void a_wrong_mode_is_refused_by_name(void **state) {
    (void)state;
    Error err = {0};
    setenv("SOFTGPU_MMA", "precise", 1);
    const char *const message = load_error(
        "sm_80",
        PTX_HEADER ".entry t() { .reg .b32 %r<4>; mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 "
                   "{%r0,%r1}, {%r0,%r1}, {%r2}, {%r0,%r1}; ret; }",
        &err);
    assert_non_null(strstr(message, "SOFTGPU_MMA is 'precise'; it is exact or fast"));
    const char *const without = load_error("sm_80", PTX_HEADER ".entry t() { ret; }", &err);
    unsetenv("SOFTGPU_MMA");
    assert_non_null(strstr(without, "SOFTGPU_MMA is 'precise'"));
}

static void exact_mma_gives_the_canonical_nan_and_infinities(void **state) {
    (void)state;
    static const struct {
        float a, b, c;
        uint32_t result;
    } rows[] = {{INFINITY, 1, 0, 0x7f800000u}, {INFINITY, -1, 0, 0xff800000u},
                {INFINITY, 0, 0, 0x7fffffffu}, {INFINITY, 1, -INFINITY, 0x7fffffffu},
                {NAN, 1, 0, 0x7fffffffu},      {1, 1, INFINITY, 0x7f800000u}};
    setenv("SOFTGPU_MMA", "exact", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Bench b;
        Problem p;
        open_form(&b, &forms[0], "sm_80");
        memset((void *)b.buffer, 0, 4096);
        const uint32_t a = f32_to_f16(rows[i].a), bb = f32_to_f16(rows[i].b);
        memcpy((void *)b.buffer, &a, 2);
        memcpy((void *)(b.buffer + 1024), &bb, 2);
        memcpy((void *)(b.buffer + 2048), &rows[i].c, 4);
        assert_false(bench_run(&b, "t", 1, 32));
        fetch(&b, &forms[0], &p);
        assert_int_equal(p.d[0][0], rows[i].result);
        assert_int_equal(p.d[1][1], 0);
        bench_close(&b);
    }
    unsetenv("SOFTGPU_MMA");
}

/* m8n8k4: A: row lane >> 2, column lane % 4; B: row lane % 4, column lane >> 2; C and D: row
 * lane >> 2, columns 2 (lane % 4) + {0, 1}. */
/* f64: rows 8 or 16, k 4, 8 or 16 (PTX ISA, "Matrix fragments for mma with .f64"): element i of A
 * is (g + 8 (i & 1), t + 4 (i >> 1)), of B (t + 4 i, g), of C (g + 8 (i >> 1), 2 t + (i & 1)).
 * Register i of lane l lies at 256 i + 8 l behind 0 (A), 2048 (B), 4096 (C), 6144 (D). */
static void check_double(int rows, int k_count) {
    const int a_regs = rows * k_count / 32, b_regs = k_count / 4, c_regs = rows / 4;
    Str s = {0};
    str_puts(&s,
             ".version 7.8\n.target sm_90\n.address_size 64\n.visible .entry t(.param .u64 p) {\n"
             ".reg .b32 %r<2>; .reg .b64 %rd<4>; .reg .f64 %a<8>, %b<4>, %c<4>;\n"
             "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 8;\n"
             "add.s64 %rd0, %rd0, %rd1;\n");
    for (int i = 0; i < a_regs; i++)
        str_printf(&s, "ld.global.f64 %%a%d, [%%rd0+%d];\n", i, 256 * i);
    for (int i = 0; i < b_regs; i++)
        str_printf(&s, "ld.global.f64 %%b%d, [%%rd0+%d];\n", i, 2048 + 256 * i);
    for (int i = 0; i < c_regs; i++)
        str_printf(&s, "ld.global.f64 %%c%d, [%%rd0+%d];\n", i, 4096 + 256 * i);
    str_printf(&s, "mma.sync.aligned.m%dn8k%d.row.col.f64.f64.f64.f64", rows, k_count);
    /* D over A where it is long enough: sources are read first */
    const char into = a_regs >= c_regs ? 'a' : 'c';
    str_putc(&s, ' ');
    for (int x = 0; x < 4; x++) {
        const char letter = "dabc"[x] == 'd' ? into : "dabc"[x];
        const int n = x == 1 ? a_regs : x == 2 ? b_regs : c_regs;
        str_puts(&s, x ? ", {" : "{");
        for (int i = 0; i < n; i++) str_printf(&s, "%s%%%c%d", i ? "," : "", letter, i);
        str_putc(&s, '}');
    }
    str_puts(&s, ";\n");
    for (int i = 0; i < c_regs; i++)
        str_printf(&s, "st.global.f64 [%%rd0+%d], %%%c%d;\n", 6144 + 256 * i, into, i);
    str_puts(&s, "ret;\n}\n");
    Bench b;
    bench_open(&b, "sm_90", str_text(&s), 8192);
    double *const m = (double *)b.buffer;
    for (int i = 0; i < 768; i++) m[i] = (double)rand() / (double)rand() - 1.0;
    assert_false(bench_run(&b, "t", 1, 32));
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < 8; col++) {
            const int g = row & 7, i = 2 * (row >> 3) + (col & 1), lane = 4 * g + col / 2;
            double want = m[512 + 32 * i + lane];
            for (int k = 0; k < k_count; k++) {
                const int ai = (row >> 3) + (rows / 8) * (k >> 2);
                want = fma(m[32 * ai + 4 * g + (k & 3)], m[256 + 32 * (k >> 2) + 4 * col + (k & 3)],
                           want);
            }
            assert_memory_equal(&m[768 + 32 * i + lane], &want, 8);
        }
    assert_int_equal(b.launch.counters.mma_flops, 2 * rows * 8 * k_count);
    bench_close(&b);
    str_free(&s);
}

static void double_mma_is_a_chain_of_fused_multiply_adds(void **state) {
    (void)state;
    check_double(8, 4);
    for (int k = 4; k <= 16; k *= 2) check_double(16, k);
}

/* m8n8k16 of 8-bit integers: A (g, 4t + e), B (4t + e, g), C (g, 2t + i). */
static void integer_mma_of_eight_rows_is_the_product(void **state) {
    (void)state;
    static const struct {
        const char *types;
        bool a, b, saturate; /* signed */
    } rows[] = {{"s32.s8.s8.s32", true, true, false},
                {"s32.u8.s8.s32", false, true, false},
                {"satfinite.s32.s8.u8.s32", true, false, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 ".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry t(.param .u64 p) "
                 "{\n.reg .b32 %%r<8>; .reg .b64 %%rd<2>; ld.param.u64 %%rd0, [p]; mov.u32 %%r0, "
                 "%%tid.x;\nmul.wide.u32 %%rd1, %%r0, 4; add.s64 %%rd0, %%rd0, %%rd1;\n"
                 "ld.global.b32 %%r1, [%%rd0]; ld.global.b32 %%r2, [%%rd0+128];\n"
                 "ld.global.b32 %%r3, [%%rd0+256]; ld.global.b32 %%r4, [%%rd0+384];\n"
                 "mma.sync.aligned.m8n8k16.row.col.%s {%%r5,%%r6}, {%%r1}, {%%r2}, {%%r3,%%r4};\n"
                 "st.global.b32 [%%rd0+512], %%r5; st.global.b32 [%%rd0+640], %%r6; ret; }\n",
                 rows[i].types);
        Bench b;
        bench_open(&b, "sm_75", text, 1024);
        uint8_t *const m = (uint8_t *)b.buffer;
        int32_t *const c = (int32_t *)(b.buffer + 256), *const d = c + 64;
        for (int k = 0; k < 256; k++) m[k] = (uint8_t)rand();
        for (int k = 0; k < 64; k++) c[k] = k & 1 ? INT32_MAX - 1000 : INT32_MIN + 1000;
        assert_false(bench_run(&b, "t", 1, 32));
        for (int row = 0; row < 8; row++)
            for (int col = 0; col < 8; col++) {
                const int at = 32 * (col & 1) + 4 * row + col / 2;
                int64_t want = c[at];
                for (int k = 0; k < 16; k++) {
                    const uint8_t x = m[16 * row + k], y = m[128 + 16 * col + k];
                    want += (rows[i].a ? (int8_t)x : x) * (rows[i].b ? (int8_t)y : y);
                }
                if (rows[i].saturate)
                    want = want > INT32_MAX ? INT32_MAX : want < INT32_MIN ? INT32_MIN : want;
                assert_int_equal(d[at], (int32_t)(uint32_t)(uint64_t)want);
            }
        bench_close(&b);
    }
}

/* stmatrix: row r of matrix i goes to the address of lane 8 i + r; element (r, c) is in lane
 * 4 r + c / 2, half c & 1; .trans stores columns. The lanes' addresses go backwards. */
static void check_stmatrix(int count, bool trans, bool generic) {
    static const char *const regs[] = {"", "{%d0}", "{%d0, %d1}", "", "{%d0, %d1, %d2, %d3}"};
    char text[2048];
    snprintf(text, sizeof text,
             ".version 8.0\n.target sm_90\n.address_size 64\n.shared .align 128 .b8 sm[512];\n"
             ".visible .entry t(.param .u64 p) {\n.reg .b32 %%r<8>, %%d<4>; .reg .b64 %%rd<4>;\n"
             "ld.param.u64 %%rd0, [p]; mov.u32 %%r0, %%tid.x; mul.wide.u32 %%rd1, %%r0, 4;\n"
             "add.s64 %%rd0, %%rd0, %%rd1; ld.global.b32 %%d0, [%%rd0];\n"
             "ld.global.b32 %%d1, [%%rd0+128]; ld.global.b32 %%d2, [%%rd0+256];\n"
             "ld.global.b32 %%d3, [%%rd0+384]; mov.u32 %%r1, sm; sub.u32 %%r2, 31, %%r0;\n"
             "mad.lo.u32 %%r3, %%r2, 16, %%r1; mad.lo.u32 %%r4, %%r0, 4, %%r1;\n"
             "cvt.u64.u32 %%rd2, %%r3; cvta.shared.u64 %%rd2, %%rd2;\n"
             "stmatrix.sync.aligned.m8n8.x%d%s%s.b16 [%s], %s; bar.warp.sync -1;\n"
             "ld.shared.b32 %%r5, [%%r4]; st.global.b32 [%%rd0+512], %%r5;\n"
             "ld.shared.b32 %%r5, [%%r4+128]; st.global.b32 [%%rd0+640], %%r5;\n"
             "ld.shared.b32 %%r5, [%%r4+256]; st.global.b32 [%%rd0+768], %%r5;\n"
             "ld.shared.b32 %%r5, [%%r4+384]; st.global.b32 [%%rd0+896], %%r5; ret; }\n",
             count, trans ? ".trans" : "", generic ? "" : ".shared", generic ? "%rd2" : "%r3",
             regs[count]);
    Bench b;
    bench_open(&b, "sm_90", text, 4096);
    uint16_t *const in = (uint16_t *)b.buffer, *const out = (uint16_t *)(b.buffer + 512);
    for (int i = 0; i < 256; i++) in[i] = (uint16_t)(i * 257);
    if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
    for (int i = 0; i < 4; i++)
        for (int r = 0; r < 8; r++)
            for (int c = 0; c < 8; c++) {
                const int row = trans ? c : r, col = trans ? r : c;
                const int lane = 4 * row + col / 2, line = 31 - (8 * i + r);
                const uint16_t want = i < count ? in[64 * i + 2 * lane + (col & 1)] : 0xffff;
                assert_int_equal(out[8 * line + c], want);
            }
    bench_close(&b);
}

static void stmatrix_writes_rows_or_columns(void **state) {
    (void)state;
    checks_without_init(); /* rows that no matrix covers are read too */
    for (int count = 1; count <= 4; count *= 2)
        for (int i = 0; i < 4; i++) check_stmatrix(count, i & 1, i & 2);
    checks_reset();
}

static void movmatrix_transposes(void **state) {
    (void)state;
    static const char text[] = PTX_HEADER
        ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<4>; .reg .b64 %rd<2>;\n"
        "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"
        "add.s64 %rd0, %rd0, %rd1; ld.global.b32 %r1, [%rd0];\n"
        "movmatrix.sync.aligned.m8n8.trans.b16 %r2, %r1; st.global.b32 [%rd0+128], %r2; ret; }\n";
    Bench b;
    bench_open(&b, "sm_80", text, 4096);
    uint16_t *const m = (uint16_t *)b.buffer; /* lane 4 r + c / 2, half c & 1: row-major */
    for (int i = 0; i < 64; i++) m[i] = (uint16_t)(i * 1009);
    assert_false(bench_run(&b, "t", 1, 32));
    for (int r = 0; r < 8; r++)
        for (int c = 0; c < 8; c++) assert_int_equal(m[64 + 8 * r + c], m[8 * c + r]);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mma_is_the_product_by_its_fragment_formulas),
        cmocka_unit_test(every_mma_is_near_the_product_in_exact_mode_too),
        cmocka_unit_test(exact_mma_follows_the_published_rule_bit_for_bit),
        cmocka_unit_test(exact_mma_keeps_f_bits_below_the_largest_term),
        cmocka_unit_test(a_wrong_mode_is_refused_by_name),
        cmocka_unit_test(exact_mma_gives_the_canonical_nan_and_infinities),
        cmocka_unit_test(integer_mma_of_eight_rows_is_the_product),
        cmocka_unit_test(double_mma_is_a_chain_of_fused_multiply_adds),
        cmocka_unit_test(stmatrix_writes_rows_or_columns),
        cmocka_unit_test(movmatrix_transposes),
    };
    return run_with_and_without_checks(tests);
}
