/* The handlers of every SIMD level that this host has give the same bits, whatever the operands:
 * random words, and words made of the values at which float formats end. */
#include "exec_help.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "softgpu/exec/simd.h"

enum { WORDS = 10, RESULTS = 4, ROUNDS = 6, LANES = 32, BYTES = 4096 };

/* Operands %x0 .. %x9 (b32; %d0, %d1 as f64), results %y0 .. %y3. */
static const char *const snippets[] = {
    "add.f32 %y0, %x0, %x1; sub.ftz.f32 %y1, %x0, %x1; mul.f32 %y2, %x0, %x1;"
    "div.rn.f32 %y3, %x0, %x1;",
    "fma.rn.f32 %y0, %x0, %x1, %x2; fma.rn.ftz.f32 %y1, %x0, %x1, %x2; max.f32 %y2, %x0, %x1;"
    "min.ftz.f32 %y3, %x0, %x1;",
    "fma.rm.f32 %y0, %x0, %x1, %x2; fma.rp.f32 %y1, %x0, %x1, %x2; add.rz.f32 %y2, %x0, %x1;"
    "mul.rp.f32 %y3, %x0, %x1;",
    "ex2.approx.f32 %y0, %x0; ex2.approx.ftz.f32 %y1, %x0; lg2.approx.f32 %y2, %x0;"
    "tanh.approx.f32 %y3, %x0;",
    "rcp.approx.ftz.f32 %y0, %x0; rsqrt.approx.f32 %y1, %x0; sqrt.rn.f32 %y2, %x0;"
    "sin.approx.f32 %y3, %x0;",
    "cvt.rn.f16x2.f32 %y0, %x0, %x1; cvt.rn.bf16x2.f32 %y1, %x0, %x1; cvt.rna.tf32.f32 %y2, %x0;"
    "cvt.rzi.s32.f32 %y3, %x0;",
    "fma.rn.f16x2 %y0, %x0, %x1, %x2; add.f16x2 %y1, %x0, %x1; fma.rn.bf16x2 %y2, %x0, %x1, %x2;"
    "max.f16x2 %y3, %x0, %x1;",
    "mul.hi.s32 %y0, %x0, %x1; shl.b32 %y1, %x0, %x1; dp4a.s32.u32 %y2, %x0, %x1, %x2;"
    "shf.l.wrap.b32 %y3, %x0, %x1, %x2;",
    "prmt.b32 %y0, %x0, %x1, %x2; lop3.b32 %y1, %x0, %x1, %x2, 0x96; bfe.s32 %y2, %x0, 5, 9;"
    "brev.b32 %y3, %x0;",
    "{.reg .pred %p; setp.gtu.f32 %p, %x0, %x1; selp.b32 %y0, %x2, %x3, %p;"
    "setp.le.ftz.f32 %p, %x0, %x1; selp.b32 %y1, %x2, %x3, %p;"
    "@%p add.f32 %y2, %x0, %x1; @!%p shl.b32 %y3, %x0, 3;}",
    "{.reg .f64 %d<3>; mov.b64 %d0, {%x0, %x1}; mov.b64 %d1, {%x2, %x3};"
    "fma.rn.f64 %d2, %d0, %d1, %d1; mov.b64 {%y0, %y1}, %d2;"
    "mul.f64 %d2, %d0, %d1; mov.b64 {%y2, %y3}, %d2;}",
    "shfl.sync.bfly.b32 %y0, %x0, 4, 31, -1; shfl.sync.idx.b32 %y1, %x0, %x1, 31, -1;"
    "movmatrix.sync.aligned.m8n8.trans.b16 %y2, %x0; redux.sync.add.s32 %y3, %x0, -1;",
#define MMA4(form)                                                                                 \
    "mma.sync.aligned." form " {%y0, %y1, %y2, %y3}, {%x0, %x1, %x2, %x3}, {%x4, %x5}, "           \
    "{%x6, %x7, %x8, %x9};"
#define MMA2(form)                                                                                 \
    "mma.sync.aligned." form " {%y0, %y1, %y2, %y3}, {%x0, %x1}, {%x4}, {%x6, %x7, %x8, %x9};"
    MMA4("m16n8k16.row.col.f32.f16.f16.f32"),
    MMA4("m16n8k16.row.col.f32.bf16.bf16.f32"),
    MMA4("m16n8k8.row.col.f32.tf32.tf32.f32"),
    MMA4("m16n8k32.row.col.s32.s8.u8.s32"),
    MMA4("m16n8k32.row.col.satfinite.s32.u8.s8.s32"),
    MMA4("m16n8k32.row.col.f32.e4m3.e5m2.f32"),
    MMA2("m16n8k8.row.col.f32.f16.f16.f32"),
    MMA2("m16n8k8.row.col.f32.bf16.bf16.f32"),
    MMA2("m16n8k16.row.col.s32.u8.u8.s32"),
    "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%y0, %y1}, {%x0, %x1, %x2, %x3}, "
    "{%x4, %x5}, {%x6, %x7};",
};
enum { SNIPPETS = sizeof snippets / sizeof *snippets };

static uint32_t results[SNIPPETS][ROUNDS][RESULTS * LANES];
static bool have_results;

static void open_snippet(Bench *b, const char *snippet) {
    Str s = {0};
    str_puts(&s, ".version 8.4\n.target sm_89\n.address_size 64\n"
                 ".visible .entry t(.param .u64 p) {\n.reg .b32 %x<10>, %y<4>, %t; "
                 ".reg .b64 %a, %w;\nld.param.u64 %a, [p]; mov.u32 %t, %tid.x;\n"
                 "mul.wide.u32 %w, %t, 4; add.s64 %a, %a, %w;\n");
    for (int i = 0; i < WORDS; i++) str_printf(&s, "ld.global.b32 %%x%d, [%%a+%d];\n", i, 128 * i);
    for (int i = 0; i < RESULTS; i++) str_printf(&s, "mov.b32 %%y%d, 0;\n", i);
    str_printf(&s, "%s\n", snippet);
    for (int i = 0; i < RESULTS; i++)
        str_printf(&s, "st.global.b32 [%%a+%d], %%y%d;\n", 2048 + 128 * i, i);
    str_puts(&s, "ret;\n}\n");
    bench_open(b, "sm_89", str_text(&s), BYTES);
    str_free(&s);
}

/* Rounds differ in how many words are special, so that sums do not all end as NaN. */
static uint32_t word(int round) {
    static const uint32_t special[] = {0,           0x80000000u, 0x7f800000u, 0xff800000u,
                                       0x7fc12345u, 1,           0x007fffffu, 0x00800000u,
                                       0x7f7fffffu, 0x3f800000u, 0x7c007c00u, 0x03ff0001u,
                                       0x7bfffbffu, 0x00010080u, 0x7f807f7fu, 0x437f4380u};
    const uint32_t r = (uint32_t)rand() << 16 ^ (uint32_t)rand() ^ (uint32_t)rand() >> 8;
    if (round > 3 && rand() % (round > 4 ? 3 : 40) == 0) return special[r % 16];
    /* the middle of the exponents of f32, f16 and bf16 alike, or any bits */
    return round & 1 ? (r & 0x8fff8fffu) | 0x30003000u : r & ~0x40004000u;
}

static void run_all(const char *level) {
    srand(7);
    for (int i = 0; i < SNIPPETS; i++) {
        Bench b;
        open_snippet(&b, snippets[i]);
        for (int round = 0; round < ROUNDS; round++) {
            uint32_t *const memory = (uint32_t *)b.buffer;
            for (int k = 0; k < WORDS * LANES; k++) memory[k] = word(round);
            if (bench_run(&b, "t", 1, LANES)) fail_msg("%s", b.launch.fault.text);
            uint32_t *const first = results[i][round], *const now = memory + 512;
            if (!have_results) memcpy(first, now, sizeof results[i][round]);
            for (int k = 0; k < RESULTS * LANES; k++)
                if (now[k] != first[k])
                    fail_msg("%s, round %d: %%y%d of lane %d is 0x%08x with %s, 0x%08x with %s",
                             snippets[i], round, k / LANES, k % LANES, now[k], level, first[k],
                             sg_simd_name(0));
        }
        bench_close(&b);
    }
    have_results = true;
}

static void every_level_gives_the_same_bits(void **state) {
    (void)state;
    have_results = false;
    each_simd_level(run_all);
}

static void every_level_gives_the_same_bits_with_exact_sums(void **state) {
    (void)state;
    have_results = false;
    setenv("SOFTGPU_MMA", "exact", 1);
    each_simd_level(run_all);
    unsetenv("SOFTGPU_MMA");
}

static void the_widest_level_of_the_host_is_chosen(void **state) {
    (void)state;
    Error err;
    int level = -1, widest = 0;
    while (sg_simd_supported(widest + 1)) widest++;
    unsetenv("SOFTGPU_SIMD");
    assert_int_equal(sg_simd_choose(&level, &err), ST_OK);
    assert_int_equal(level, widest);
    setenv("SOFTGPU_SIMD", sg_simd_name(0), 1);
    assert_int_equal(sg_simd_choose(&level, &err), ST_OK);
    assert_int_equal(level, 0);
    unsetenv("SOFTGPU_SIMD");
}

static void a_level_that_does_not_exist_fails_the_load_by_name(void **state) {
    (void)state;
    Error err = {0};
    setenv("SOFTGPU_SIMD", "avx1024", 1);
    const char *const message = load_error("sm_80", PTX_HEADER ".entry t() { ret; }", &err);
    unsetenv("SOFTGPU_SIMD");
    assert_non_null(strstr(message, "SOFTGPU_SIMD is 'avx1024'; it is one of "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_gives_the_same_bits),
        cmocka_unit_test(every_level_gives_the_same_bits_with_exact_sums),
        cmocka_unit_test(the_widest_level_of_the_host_is_chosen),
        cmocka_unit_test(a_level_that_does_not_exist_fails_the_load_by_name),
    };
    return run_with_and_without_checks(tests);
}
