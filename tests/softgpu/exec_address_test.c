/* The check `address`: 32-bit arithmetic that wraps on its way into an address is a warning. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* %r0 thread, %r1 40000, %r2 65536, %r3 -4; %rd0 the buffer; %p0 never. Nothing is accessed where
 * the addresses point. */
#define ENTRY(body)                                                                                \
    PTX_HEADER ".visible .entry t(.param .u64 p) {\n"                                              \
               ".reg .b32 %r<24>; .reg .b64 %rd<16>; .reg .pred %p<8>; ld.param.u64 %rd0, [p];\n"  \
               "mov.u32 %r0, %tid.x; setp.gt.u32 %p0, %r0, 2000; add.u32 %r1, %r0, 40000;\n"       \
               "add.u32 %r2, %r0, 65536; sub.u32 %r3, %r0, 4;\n" body                              \
               "@%p0 ld.global.u32 %r20, [%rd9]; @%p0 st.global.u32 [%rd0], %r20; ret;\n}\n"

static bool run(Bench *b, const char *text, uint32_t threads) {
    checks_set("address");
    bench_open(b, "sm_80", text, 4096);
    checks_reset();
    const bool faulted = bench_run(b, "t", 2, threads);
    if (faulted) fail_msg("%s", b->launch.fault.text);
    return faulted;
}

static void warns(const char *text, const char *part) {
    Bench b;
    run(&b, text, 1);
    if (b.launch.warning_count != 1)
        fail_msg("%zu warnings; expected \"%s\"", b.launch.warning_count, part);
    assert_int_equal(b.launch.warnings[0].kind, SG_WARN_ADDRESS);
    if (!strstr(b.launch.warnings[0].text, part))
        fail_msg("\"%s\"; expected \"%s\"", b.launch.warnings[0].text, part);
    bench_close(&b);
}

static void is_clean(const char *text) {
    Bench b;
    run(&b, text, 64);
    if (b.launch.warning_count) fail_msg("%s", b.launch.warnings[0].text);
    bench_close(&b);
}

#define TO_ADDRESS "mul.wide.s32 %rd3, %r5, 4; add.s64 %rd9, %rd0, %rd3;\n"

static void an_index_beyond_two_to_the_31_is_named(void **state) {
    (void)state;
    warns(ENTRY("mul.lo.s32 %r5, %r1, %r2;\n" TO_ADDRESS),
          "40000 * 65536 = 2621440000 wraps to -1673527296 on its way into an address");
    warns(ENTRY("mul.lo.s32 %r5, %r1, %r2;\n" TO_ADDRESS),
          "PTX line 8, mul.lo.s32, thread (0,0,0)");
    warns(ENTRY("mad.lo.s32 %r5, %r1, %r2, %r0; cvt.s64.s32 %rd3, %r5; shl.b64 %rd4, %rd3, 2;\n"
                "add.s64 %rd9, %rd0, %rd4;\n"),
          "40000 * 65536 + 0 = 2621440000");
    warns(ENTRY("shl.b32 %r5, %r1, 16;\n" TO_ADDRESS), "40000 << 16 = 2621440000");
    warns(
        ENTRY("mov.u32 %r6, 0x7fffffff; add.s32 %r6, %r6, %r0; add.s32 %r5, %r6, 1;\n" TO_ADDRESS),
        "2147483647 + 1 = 2147483648");
    warns(ENTRY("mul.lo.u32 %r5, %r2, %r2; mul.wide.u32 %rd3, %r5, 4; add.s64 %rd9, %rd0, %rd3;\n"),
          "65536 * 65536 = 4294967296");
}

/* Through sums, moves, selections, a guard and a loop. */
static void an_overflow_is_followed_to_the_address(void **state) {
    (void)state;
    warns(ENTRY("mul.lo.s32 %r6, %r1, %r2; add.s32 %r7, %r6, %r0; setp.eq.u32 %p1, %r0, 0;\n"
                "selp.b32 %r8, %r7, %r0, %p1; mov.u32 %r5, %r8;\n" TO_ADDRESS),
          "40000 * 65536");
    warns(ENTRY("setp.eq.u32 %p1, %r0, 0; @%p1 mul.lo.s32 %r5, %r1, %r2;\n" TO_ADDRESS),
          "40000 * 65536");
    warns(ENTRY("mov.u32 %r9, 0;\nL: mul.lo.s32 %r5, %r1, %r2;\n" TO_ADDRESS
                "add.u32 %r9, %r9, 1; setp.lt.u32 %p2, %r9, 100; @%p2 bra L;\n"),
          "40000 * 65536");
}

static void arithmetic_that_wraps_by_intent_is_left_alone(void **state) {
    (void)state;
    /* a hash, a remainder, a comparison: no address, or not of the product itself */
    is_clean(ENTRY("mul.lo.u32 %r6, %r1, 1664525; add.u32 %r6, %r6, 1013904223; shr.u32 %r5, %r6, "
                   "24;\n" TO_ADDRESS));
    is_clean(ENTRY("mul.lo.u32 %r6, %r1, %r2; rem.u32 %r5, %r6, 1000;\n" TO_ADDRESS));
    is_clean(
        ENTRY("mul.lo.s32 %r6, %r1, %r2; setp.gt.s32 %p1, %r6, 5; mov.u32 %r5, %r0;\n" TO_ADDRESS));
    /* the value is data */
    is_clean(ENTRY("mul.lo.s32 %r6, %r1, %r2; st.global.u32 [%rd0], %r6; mov.u64 %rd9, %rd0;\n"));
    /* minus one, and steps backwards, without sign */
    is_clean(ENTRY("add.u32 %r6, %r1, -1; mul.wide.u32 %rd3, %r6, 4; add.s64 %rd9, %rd0, %rd3;\n"));
    is_clean(ENTRY("mul.lo.u32 %r6, %r3, 4; add.u32 %r6, %r6, %r1; mul.wide.u32 %rd3, %r6, 4;\n"
                   "add.s64 %rd9, %rd0, %rd3;\n"));
    /* large but right: in 64 bits, or as an unsigned number */
    is_clean(ENTRY("mul.wide.s32 %rd3, %r1, %r2; add.s64 %rd9, %rd0, %rd3;\n"));
    is_clean(ENTRY(
        "mul.lo.u32 %r5, %r1, 100000; mul.wide.u32 %rd3, %r5, 4; add.s64 %rd9, %rd0, %rd3;\n"));
}

static void without_the_check_nothing_is_said(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_80", ENTRY("mul.lo.s32 %r5, %r1, %r2;\n" TO_ADDRESS), 4096);
    assert_false(bench_run(&b, "t", 1, 32));
    assert_int_equal(b.launch.warning_count, 0);
    bench_close(&b);
}

/* Counters stay what they are: checks are no instructions. */
static void checks_are_not_counted(void **state) {
    (void)state;
    static const char text[] =
        ENTRY("mad.lo.s32 %r6, %r0, 8, %r0; shl.b32 %r7, %r6, 2; add.s32 %r5, "
              "%r7, %r0;\n" TO_ADDRESS);
    Bench b;
    bench_open(&b, "sm_80", text, 4096);
    assert_false(bench_run(&b, "t", 2, 64));
    const SgCounters plain = b.launch.counters;
    bench_close(&b);
    run(&b, text, 64);
    assert_memory_equal(&plain, &b.launch.counters, sizeof plain);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_beyond_two_to_the_31_is_named),
        cmocka_unit_test(an_overflow_is_followed_to_the_address),
        cmocka_unit_test(arithmetic_that_wraps_by_intent_is_left_alone),
        cmocka_unit_test(without_the_check_nothing_is_said),
        cmocka_unit_test(checks_are_not_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
