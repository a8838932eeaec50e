/* Functions that call themselves, directly or not: values, frames, divergence, overflow. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* An entry that stores result(tid), as `code` leaves it in %r9, for tid in %r0. */
#define ENTRY(code)                                                                                \
    ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .pred %p<4>;\n"  \
    "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"                    \
    "add.s64 %rd0, %rd0, %rd1;\n" code "\nst.global.b32 [%rd0], %r9; ret;\n}\n"
#define CALL1(f, a, r)                                                                             \
    "{ .param .b32 a0; .param .b32 r0; st.param.b32 [a0], " a "; call.uni (r0), " f                \
    ", (a0); ld.param.b32 " r ", [r0]; }\n"
#define CALL2(f, a, b, r)                                                                          \
    "{ .param .b32 a0; .param .b32 a1; .param .b32 r0; st.param.b32 [a0], " a                      \
    "; st.param.b32 [a1], " b "; call.uni (r0), " f ", (a0, a1); ld.param.b32 " r ", [r0]; }\n"
#define INT_FUNC(name) ".func (.param .b32 r) " name "(.param .b32 a)"

static const char factorial[] = PTX_HEADER INT_FUNC(
    "fact") " {\n.reg .b32 %r<8>; .reg .pred %p;\n"
            "ld.param.b32 %r0, [a]; setp.lt.u32 %p, %r0, 2; @%p bra ONE; sub.u32 %r1, %r0, "
            "1;\n" CALL1("fact", "%r1",
                         "%r2") "mul.lo.u32 %r3, %r0, %r2; st.param.b32 [r], %r3; ret;\n"
                                "ONE: st.param.b32 [r], 1; ret;\n}\n" ENTRY(
                                    "rem.u32 %r1, %r0, 11;\n" CALL1("fact", "%r1", "%r9"));

/* The same with registers as formals, 64-bit ones and a predicate that live across the call. */
static const char in_registers[] = PTX_HEADER
    ".func (.reg .b32 %ret) fact(.reg .b32 %n) {\n.reg .b32 %r<8>; .reg .b64 %rd<4>; .reg .pred "
    "%p<4>;\n"
    "mov.b32 %ret, 1; setp.lt.u32 %p0, %n, 2; @%p0 ret; sub.u32 %r1, %n, 1; cvt.u64.u32 %rd0, %n;\n"
    "and.b32 %r3, %n, 1; setp.eq.u32 %p1, %r3, 1;\n"
    "call (%r2), fact, (%r1);\n"
    "cvt.u64.u32 %rd1, %r2; mul.lo.u64 %rd1, %rd1, %rd0; cvt.u32.u64 %ret, %rd1;\n"
    "and.b32 %r3, %n, 1; setp.eq.u32 %p2, %r3, 1; xor.pred %p3, %p1, %p2; @%p3 mov.b32 %ret, 0;\n"
    "ret;\n}\n" ENTRY("rem.u32 %r1, %r0, 11; call (%r9), fact, (%r1);");

static const char ackermann[] = PTX_HEADER
    ".func (.param .b32 r) ack(.param .b32 m, .param .b32 n) {\n.reg .b32 %r<8>; .reg .pred "
    "%p<2>;\n"
    "ld.param.b32 %r0, [m]; ld.param.b32 %r1, [n]; setp.ne.u32 %p0, %r0, 0; @%p0 bra A;\n"
    "add.u32 %r2, %r1, 1; st.param.b32 [r], %r2; ret;\n"
    "A: sub.u32 %r3, %r0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra B;\n" CALL2(
        "ack", "%r3", "1",
        "%r4") "st.param.b32 [r], %r4; ret;\n"
               "B: sub.u32 %r5, %r1, 1;\n" CALL2("ack", "%r0", "%r5", "%r6")
                   CALL2("ack", "%r3", "%r6", "%r7") "st.param.b32 [r], %r7; ret;\n}\n" ENTRY(
                       "and.b32 %r1, %r0, 1; add.u32 %r1, %r1, 1; shr.u32 %r2, %r0, 3;\n" CALL2(
                           "ack", "%r1", "%r2", "%r9"));

/* Lanes are in `even` and `odd` at depths of their own: `name` of 0 is `first`, else `other` of one
 * less. */
#define PARITY(name, first, other)                                                                 \
    INT_FUNC(name)                                                                                 \
    " {\n.reg .b32 %r<4>; .reg .pred %p; ld.param.b32 %r0, [a]; st.param.b32 [r], " first ";\n"    \
    "setp.eq.u32 %p, %r0, 0; @%p ret; sub.u32 %r0, %r0, 1;\n" CALL1(                               \
        other, "%r0", "%r1") "st.param.b32 [r], %r1; ret;\n}\n"
static const char mutual[] = PTX_HEADER INT_FUNC("odd") ";\n" PARITY("even", "1", "odd") PARITY(
    "odd", "0", "even")
    ENTRY("and.b32 %r1, %r0, 1; setp.eq.u32 %p0, %r1, 0; @%p0 bra E;\n" CALL1(
        "odd", "%r0", "%r9") "bra F; E:\n" CALL1("even", "%r0", "%r9") "F: add.u32 %r9, %r9, 10;");

/* walk(n, up): its .local cell holds n; `up` is the address of the caller's, which must still hold
 * n + 1. Returns the number of cells that did. */
static const char frames[] = PTX_HEADER
    ".func (.param .b32 r) walk(.param .b32 n, .param .b64 up) {\n.local .align 4 .b8 cell[4];\n"
    ".reg .b32 %r<8>; .reg .b64 %rd<4>; .reg .pred %p<2>;\n"
    "ld.param.b32 %r0, [n]; ld.param.b64 %rd0, [up]; mov.u64 %rd1, cell; cvta.local.u64 %rd1, "
    "%rd1;\n"
    "st.local.b32 [cell], %r0; mov.b32 %r1, 0; setp.eq.u32 %p0, %r0, 0; @%p0 bra END;\n"
    "sub.u32 %r2, %r0, 1; { .param .b32 a0; .param .b64 a1; .param .b32 r0;\n"
    "st.param.b32 [a0], %r2; st.param.b64 [a1], %rd1; call (r0), walk, (a0, a1);\n"
    "ld.param.b32 %r1, [r0]; }\n"
    "END: ld.b32 %r3, [%rd0]; add.u32 %r4, %r0, 1; setp.eq.u32 %p1, %r3, %r4;\n"
    "@%p1 add.u32 %r1, %r1, 1; st.param.b32 [r], %r1; ret;\n}\n" ENTRY(
        ".local .align 4 .b8 top[4]; and.b32 %r1, %r0, 7; add.u32 %r2, %r1, 1; st.local.b32 [top], "
        "%r2;\n"
        "mov.u64 %rd2, top; cvta.local.u64 %rd2, %rd2;\n"
        "{ .param .b32 a0; .param .b64 a1; .param .b32 r0; st.param.b32 [a0], %r1;\n"
        "st.param.b64 [a1], %rd2; call (r0), walk, (a0, a1); ld.param.b32 %r9, [r0]; }");

/* A function that calls whatever it is given, itself until n is 0. */
static const char indirect[] =
    PTX_HEADER INT_FUNC("f") ";\n.global .align 8 .u64 table[1] = {f};\n" INT_FUNC(
        "f") " {\n.reg .b32 %r<4>; .reg .b64 %rd<2>; .reg .pred %p;\n"
             "ld.param.b32 %r0, [a]; st.param.b32 [r], 5; setp.eq.u32 %p, %r0, 0; @%p ret;\n"
             "sub.u32 %r1, %r0, 1; ld.global.u64 %rd0, [table]; { .param .b32 a0; .param .b32 r0;\n"
             "st.param.b32 [a0], %r1; to: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
             "call (r0), %rd0, (a0), to; ld.param.b32 %r2, [r0]; } add.u32 %r2, %r2, %r0;\n"
             "st.param.b32 [r], %r2; ret;\n}\n" ENTRY(
                 "and.b32 %r1, %r0, 15;\n" CALL1("f", "%r1", "%r9"));

static uint32_t fact_of(uint32_t n) {
    return n < 2 ? 1 : n * fact_of(n - 1);
}
static uint32_t expect_fact(uint32_t t) {
    return fact_of(t % 11);
}
static uint32_t ack_of(uint32_t m, uint32_t n) {
    return m == 0 ? n + 1 : n == 0 ? ack_of(m - 1, 1) : ack_of(m - 1, ack_of(m, n - 1));
}
static uint32_t expect_ack(uint32_t t) {
    return ack_of((t & 1) + 1, t >> 3);
}
static uint32_t expect_mutual(uint32_t t) {
    (void)t;
    return 11;
}
static uint32_t expect_frames(uint32_t t) {
    return (t & 7) + 1;
}
static uint32_t expect_indirect(uint32_t t) {
    const uint32_t n = t & 15;
    return 5 + n * (n + 1) / 2;
}

/* Both threads of a divergent warp and of a second one, at every seed here. */
static void runs(const char *text, uint32_t (*expect)(uint32_t), uint64_t stack, uint64_t seed) {
    Bench b;
    bench_open(&b, "sm_80", text, 4 * 48);
    b.launch =
        (SgLaunch){.grid = {1, 1, 1}, .block = {48, 1, 1}, .stack_bytes = stack, .seed = seed};
    if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
    const uint32_t *const out = (const uint32_t *)b.buffer;
    for (uint32_t t = 0; t < 48; t++)
        if (out[t] != expect(t)) fail_msg("thread %u: %u, not %u", t, out[t], expect(t));
    bench_close(&b);
}

static const struct {
    const char *text;
    uint32_t (*expect)(uint32_t);
} programs[] = {{factorial, expect_fact}, {in_registers, expect_fact}, {ackermann, expect_ack},
                {mutual, expect_mutual},  {frames, expect_frames},     {indirect, expect_indirect}};
enum { PROGRAMS = sizeof programs / sizeof *programs };

static void recursion_gives_what_c_gives(void **state) {
    (void)state;
    for (int i = 0; i < PROGRAMS; i++) runs(programs[i].text, programs[i].expect, 16384, 0);
}
static void recursion_gives_the_same_at_any_seed(void **state) {
    (void)state;
    for (int i = 0; i < PROGRAMS; i++)
        for (uint64_t seed = 1; seed < 5; seed++)
            runs(programs[i].text, programs[i].expect, 16384, seed);
}
static void recursion_runs_with_every_check(void **state) {
    (void)state;
    setenv("SOFTGPU_CHECKS", "all", 1);
    for (int i = 0; i < PROGRAMS; i++) runs(programs[i].text, programs[i].expect, 16384, 0);
    unsetenv("SOFTGPU_CHECKS");
}

static void a_profile_counts_recursive_kernels(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_80", factorial, 4 * 48);
    b.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {48, 1, 1}, .profile = true};
    if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
    assert_int_equal(((const uint32_t *)b.buffer)[10], 3628800);
    assert_non_null(b.launch.detail);
    bench_close(&b);
}

static void overflow(const char *text, uint64_t stack, const char *what) {
    Bench b;
    bench_open(&b, "sm_80", text, 256);
    b.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}, .stack_bytes = stack};
    assert_true(bench_launch(&b, "t"));
    assert_int_equal(b.launch.fault.cuda_result, 714);
    if (!strstr(b.launch.fault.text, what)) fail_msg("'%s' in: %s", what, b.launch.fault.text);
    bench_close(&b);
}

static void a_stack_overflow_names_function_depth_and_limit(void **state) {
    (void)state;
    static const char endless[] =
        PTX_HEADER ".func f() {\ncall f;\nret;\n}\n.visible .entry t() {\ncall f;\nret;\n}\n";
    overflow(endless, 0,
             "the call of 'f' at depth 129 needs 1032 bytes per thread, the limit is 1024");
    overflow(endless, 80, "the call of 'f' at depth 11 needs 88 bytes per thread, the limit is 80");
    overflow(factorial, 64, "stack overflow: the call of 'fact' at depth");
}

/* Each frame of `endless` costs 8 bytes: the deepest that fits runs. */
static void the_stack_is_used_to_its_last_byte(void **state) {
    (void)state;
    static const char deep[] = PTX_HEADER
        ".func f(.reg .b32 %n) {\n.reg .b32 %m; .reg .pred %p; setp.eq.u32 %p, %n, 0; @%p ret;\n"
        "sub.u32 %m, %n, 1; call f, (%m); ret;\n}\n" ENTRY(
            "mov.b32 %r1, 127; call f, (%r1); mov.b32 %r9, 3;");
    Bench b;
    bench_open(&b, "sm_80", deep, 256);
    b.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}};
    /* %rd0 lives across the entry's call: 8 bytes more than the 1024 of 128 calls */
    assert_true(bench_launch(&b, "t"));
    b.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}, .stack_bytes = 1032};
    if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
    assert_int_equal(((const uint32_t *)b.buffer)[31], 3);
    bench_close(&b);
}

static void long_chains_and_many_copies_are_called(void **state) {
    (void)state;
    Str text = {0};
    str_puts(&text,
             PTX_HEADER INT_FUNC("f0") " {\n.reg .b32 %r0; ld.param.b32 %r0, [a];\n"
                                       "add.u32 %r0, %r0, 1; st.param.b32 [r], %r0; ret;\n}\n");
    for (int i = 1; i <= 40; i++)
        str_printf(
            &text,
            INT_FUNC("f%d") " {\n.reg .b32 %%r0; ld.param.b32 %%r0, [a];\n" CALL1(
                "f%d", "%%r0", "%%r0") "add.u32 %%r0, %%r0, 1; st.param.b32 [r], %%r0; ret;\n}\n",
            i, i - 1);
    str_puts(&text, ENTRY(CALL1("f40", "%r0", "%r9")));
    Bench b;
    bench_open(&b, "sm_80", str_text(&text), 256);
    if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
    for (uint32_t t = 0; t < 32; t++) assert_int_equal(((const uint32_t *)b.buffer)[t], t + 41);
    bench_close(&b);
    str_free(&text);
}

static void reading_an_argument_that_was_not_stored_is_found(void **state) {
    (void)state;
    static const char text[] = PTX_HEADER INT_FUNC(
        "f") " {\n.reg .b32 %r<4>; .reg .pred %p;\n"
             "ld.param.b32 %r0, [a]; setp.eq.u32 %p, %r0, 0; @%p bra END; sub.u32 %r0, %r0, 1;\n"
             "{ .param .b32 a0; .param .b32 r0; setp.eq.u32 %p, %r0, 2; @%p bra SKIP;\n"
             "st.param.b32 [a0], %r0; SKIP: call (r0), f, (a0); ld.param.b32 %r1, [r0]; }\n"
             "END: st.param.b32 [r], 0; ret;\n}\n" ENTRY(CALL1("f", "5", "%r9"));
    setenv("SOFTGPU_CHECKS", "init", 1);
    Bench b;
    bench_open(&b, "sm_80", text, 256);
    assert_true(bench_run(&b, "t", 1, 32));
    assert_non_null(strstr(b.launch.fault.text, "never written"));
    bench_close(&b);
    unsetenv("SOFTGPU_CHECKS");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recursion_gives_what_c_gives),
        cmocka_unit_test(recursion_gives_the_same_at_any_seed),
        cmocka_unit_test(recursion_runs_with_every_check),
        cmocka_unit_test(a_profile_counts_recursive_kernels),
        cmocka_unit_test(a_stack_overflow_names_function_depth_and_limit),
        cmocka_unit_test(the_stack_is_used_to_its_last_byte),
        cmocka_unit_test(long_chains_and_many_copies_are_called),
        cmocka_unit_test(reading_an_argument_that_was_not_stored_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
