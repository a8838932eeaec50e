/* mbarrier objects, asynchronous arrivals, and barriers that a warp meets lane by lane. */
#include "exec_help.h"

#include <stdio.h>
#include <string.h>

#define ENTRY(body)                                                                                \
    ".version 8.0\n.target sm_90\n.address_size 64\n.shared .align 128 .b8 sm[1024];\n"            \
    ".shared .align 8 .b64 mb[8];\n.visible .entry t(.param .u64 p) {\n"                           \
    ".reg .b32 %r<24>; .reg .b64 %rd<16>, %s<8>; .reg .pred %p<8>;\n"                              \
    "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"                    \
    "add.s64 %rd2, %rd0, %rd1; mov.u32 %r1, sm; shl.b32 %r2, %r0, 2;\n"                            \
    "add.s32 %r3, %r1, %r2; setp.eq.u32 %p0, %r0, 0;\n" body "\n}\n"

static void run(const char *text, uint32_t threads, Bench *b) {
    bench_open(b, "sm_90", text, 1 << 16);
    if (bench_run(b, "t", 1, threads)) fail_msg("%s", b->launch.fault.text);
}
static uint32_t word(const Bench *b, size_t i) {
    return ((const uint32_t *)b->buffer)[i];
}
static void faults(const char *text, uint32_t threads, int result, const char *part) {
    Bench b;
    bench_open(&b, "sm_90", text, 1 << 16);
    b.launch = (SgLaunch){.grid = {1, 1, 1},
                          .block = {threads, 1, 1},
                          .resident = 1,
                          .threads = 1,
                          .spin_limit = 1 << 20};
    if (!bench_launch(&b, "t")) fail_msg("no fault; expected: %s", part);
    if (b.launch.fault.cuda_result != result || !strstr(b.launch.fault.text, part))
        fail_msg("fault %d \"%s\"; expected %d \"%s\"", b.launch.fault.cuda_result,
                 b.launch.fault.text, result, part);
    bench_close(&b);
}

#define STORE(p, at) "selp.u32 %r4, 1, 0, " p "; st.global.u32 [%rd0+" #at "], %r4;\n"

static void phases_complete_by_arrivals(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("@!%p0 ret; mbarrier.init.shared.b64 [mb], 2;\n"
              "mbarrier.test_wait.parity.shared.b64 %p1, [mb], 1;\n" STORE("%p1", 0) /* true */
              "mbarrier.test_wait.parity.shared.b64 %p1, [mb], 0;\n" STORE("%p1", 4) /* false */
              "mbarrier.arrive.shared.b64 %s0, [mb];\n"
              "mbarrier.test_wait.shared.b64 %p1, [mb], %s0;\n" STORE("%p1", 8) /* false */
              "mbarrier.arrive.shared::cta.b64 %s1, [mb];\n"
              "mbarrier.test_wait.shared.b64 %p1, [mb], %s0;\n" STORE("%p1", 12)          /* true */
              "mbarrier.try_wait.parity.shared.b64 %p1, [mb], 0, 100;\n" STORE("%p1", 16) /* true */
              "mbarrier.try_wait.parity.shared.b64 %p1, [mb], 1;\n" STORE("%p1", 20) /* false */
              "mbarrier.pending_count.b64 %r5, %s0; st.global.u32 [%rd0+24], %r5;\n" /* 2 */
              "mbarrier.pending_count.b64 %r5, %s1; st.global.u32 [%rd0+28], %r5;\n" /* 1 */
              "mbarrier.arrive.release.cta.shared.b64 _, [mb], 2;\n"
              "mbarrier.test_wait.parity.shared.b64 %p1, [mb], 1;\n" STORE("%p1", 32) /* true */
              "ret;"),
        32, &b);
    static const uint32_t want[] = {1, 0, 0, 1, 1, 0, 2, 1, 1};
    for (size_t i = 0; i < 9; i++) assert_int_equal(word(&b, i), want[i]);
    bench_close(&b);
}

static void bytes_hold_a_phase_open_in_either_order(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("@!%p0 ret; mbarrier.init.shared.b64 [mb], 1;\n"
              "mbarrier.arrive.expect_tx.shared.b64 %s0, [mb], 128;\n"
              "mbarrier.test_wait.shared.b64 %p1, [mb], %s0;\n" STORE(
                  "%p1",
                  0) "mbarrier.complete_tx.shared::cta.b64 [mb], 64;\n"
                     "mbarrier.test_wait.shared.b64 %p1, [mb], %s0;\n" STORE(
                         "%p1",
                         4) "mbarrier.complete_tx.shared::cta.b64 [mb], 64;\n"
                            "mbarrier.test_wait.shared.b64 %p1, [mb], %s0;\n" STORE(
                                "%p1",
                                8) "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [mb], 32;\n"
                                   "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [mb], 32;\n"
                                   "mbarrier.arrive.shared.b64 %s1, [mb];\n"
                                   "mbarrier.test_wait.shared.b64 %p1, [mb], %s1;\n" STORE(
                                       "%p1", 12) "ret;"),
        32, &b);
    static const uint32_t want[] = {0, 0, 1, 1};
    for (size_t i = 0; i < 4; i++) assert_int_equal(word(&b, i), want[i]);
    bench_close(&b);
}

static void drops_lower_the_next_phase(void **state) {
    (void)state;
    Bench b; /* 3 expected, one drops: the second phase needs two */
    run(ENTRY("@!%p0 ret; cvt.u64.u32 %rd3, %r1; mov.u64 %rd3, mb; cvta.shared.u64 %rd3, %rd3;\n"
              "mbarrier.init.b64 [%rd3], 3; mbarrier.arrive.noComplete.b64 %s0, [%rd3], 2;\n"
              "mbarrier.arrive_drop.b64 %s1, [%rd3];\n"
              "mbarrier.test_wait.b64 %p1, [%rd3], %s1;\n" STORE(
                  "%p1", 0) "mbarrier.arrive.b64 %s2, [%rd3]; mbarrier.test_wait.b64 %p1, [%rd3], "
                            "%s2;\n" STORE("%p1",
                                           4) "mbarrier.arrive.b64 %s3, [%rd3]; "
                                              "mbarrier.test_wait.b64 %p1, [%rd3], "
                                              "%s2;\n" STORE("%p1",
                                                             8) "mbarrier.inval.b64 [%rd3]; ret;"),
        32, &b);
    static const uint32_t want[] = {1, 0, 1};
    for (size_t i = 0; i < 3; i++) assert_int_equal(word(&b, i), want[i]);
    bench_close(&b);
}

/* One stage, full and empty barriers: warp 0 hands 50 rows to warp 1, which adds them up. */
static void a_producer_and_a_consumer_take_turns(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("@%p0 mbarrier.init.shared.b64 [mb], 32; @%p0 mbarrier.init.shared.b64 [mb+8], 32;\n"
              "bar.sync 0; and.b32 %r5, %r0, 31; shl.b32 %r6, %r5, 2; add.u32 %r7, %r1, %r6;\n"
              "mov.u32 %r8, 0; mov.u32 %r9, 0; setp.ge.u32 %p2, %r0, 32; @%p2 bra CONSUMER;\n"
              "P0: and.b32 %r10, %r8, 1; xor.b32 %r11, %r10, 1;\n"
              "P1: mbarrier.try_wait.parity.shared.b64 %p3, [mb+8], %r11; @!%p3 bra P1;\n"
              "add.u32 %r12, %r8, %r5; st.shared.u32 [%r7], %r12;\n"
              "mbarrier.arrive.shared.b64 _, [mb]; add.u32 %r8, %r8, 1;\n"
              "setp.lt.u32 %p4, %r8, 50; @%p4 bra P0; ret;\n"
              "CONSUMER: and.b32 %r10, %r8, 1;\n"
              "C1: mbarrier.try_wait.parity.shared.b64 %p3, [mb], %r10; @!%p3 bra C1;\n"
              "ld.shared.u32 %r12, [%r7]; add.u32 %r9, %r9, %r12;\n"
              "mbarrier.arrive.shared.b64 _, [mb+8]; add.u32 %r8, %r8, 1;\n"
              "setp.lt.u32 %p4, %r8, 50; @%p4 bra CONSUMER;\n"
              "st.global.u32 [%rd2], %r9; ret;"),
        64, &b);
    for (uint32_t l = 0; l < 32; l++) assert_int_equal(word(&b, 32 + l), 50 * l + 49 * 25);
    bench_close(&b);
}

/* Lane 0 spins first in the text; the others of its warp arrive behind the loop. */
static void one_lane_that_waits_does_not_starve_its_warp(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("@%p0 mbarrier.init.shared.b64 [mb], 31; bar.warp.sync -1; @!%p0 bra ARRIVE;\n"
              "SPIN: mbarrier.try_wait.parity.shared.b64 %p1, [mb], 0; @!%p1 bra SPIN;\n"
              "bra END;\nARRIVE: mbarrier.arrive.shared.b64 _, [mb];\n"
              "END: st.global.u32 [%rd2], 5; ret;"),
        32, &b);
    for (uint32_t l = 0; l < 32; l++) assert_int_equal(word(&b, l), 5);
    bench_close(&b);
}

/* 64 threads of 16 blocks copy 16 bytes each, `arrive` and `wait` follow; the wrong words. */
static uint32_t copies_wrong(const char *arrive, const char *wait) {
    static const char head[] =
        ENTRY("@%p0 mbarrier.init.shared.b64 [mb], 64; bar.sync 0;\n"
              "shl.b32 %r5, %r0, 4; add.u32 %r6, %r1, %r5; cvt.u64.u32 %rd3, %r5;\n"
              "add.u64 %rd4, %rd0, %rd3; cp.async.cg.shared.global [%r6], [%rd4], 16;\nMARK\n"
              "xor.b32 %r7, %r5, 496; add.u32 %r7, %r7, %r1;\n"
              "ld.shared.u32 %r8, [%r7]; mov.u32 %r9, %ctaid.x;\n"
              "mad.wide.u32 %rd5, %r9, 256, %rd2; st.global.u32 [%rd5+4096], %r8; ret;");
    char text[4096];
    const char *const mark = strstr(head, "MARK");
    snprintf(text, sizeof text, "%.*s%s\n%s%s", (int)(mark - head), head, arrive, wait, mark + 4);
    Bench b;
    bench_open(&b, "sm_90", text, 1 << 16);
    for (uint32_t i = 0; i < 1024; i++) ((uint32_t *)b.buffer)[i] = i + 1;
    if (bench_run(&b, "t", 16, 64)) fail_msg("%s", b.launch.fault.text);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 1024; i++) wrong += word(&b, 1024 + i) != 4 * (i % 64 ^ 31) + 1;
    bench_close(&b);
    return wrong;
}

static void copies_arrive_before_a_wait_succeeds(void **state) {
    (void)state;
    static const char wait[] = "W: mbarrier.try_wait.parity.shared.b64 %p1, [mb], 0; @!%p1 bra W;";
    assert_int_equal(copies_wrong("cp.async.mbarrier.arrive.noinc.shared.b64 [mb];", wait), 0);
    assert_int_equal(copies_wrong("cp.async.mbarrier.arrive.shared::cta.b64 [mb]; "
                                  "mbarrier.arrive.shared.b64 _, [mb];",
                                  wait),
                     0);
    checks_off();
    assert_true(copies_wrong("cp.async.mbarrier.arrive.noinc.shared.b64 [mb];", "bar.sync 0;") > 0);
    checks_reset();
}

static void misuse_of_an_mbarrier_is_a_fault(void **state) {
    (void)state;
    faults(ENTRY("mbarrier.arrive.shared.b64 _, [mb]; ret;"), 1, 715, "was not initialised");
    faults(ENTRY("mbarrier.init.shared.b64 [mb], 0; ret;"), 1, 715, "the count is not in");
    faults(ENTRY("mbarrier.init.shared.b64 [mb], 1; mbarrier.arrive.shared.b64 _, [mb], 2; ret;"),
           1, 715, "more arrivals than it still expects");
    faults(ENTRY("mbarrier.init.shared.b64 [mb], 1;\n"
                 "mbarrier.arrive.noComplete.shared.b64 %s0, [mb], 1; ret;"),
           1, 715, "arrive.noComplete completes the phase");
    faults(ENTRY("mbarrier.init.shared.b64 [mb], 1; mbarrier.expect_tx.shared.b64 [mb], 1048575;\n"
                 "mbarrier.expect_tx.shared.b64 [mb], 1; ret;"),
           1, 715, "its bytes to come");
    faults(ENTRY("mbarrier.init.shared.b64 [mb+4], 1; ret;"), 1, 716, "misaligned");
    faults(ENTRY("mbarrier.init.shared.b64 [mb], 1;\n"
                 "W: mbarrier.try_wait.parity.shared.b64 %p1, [mb], 0; @!%p1 bra W; ret;"),
           32, 702,
           "deadlock: warp 0 spins at PTX line 12 for mbarrier at shared 0x800 (phase 0, 1 of 1 "
           "arrivals and 0 bytes to come)");
}

/* Each half of a warp comes to barrier 0 by its own instruction; warp 1 sees both halves' data. */
static void barrier_sync_gathers_lanes_from_both_sides_of_a_branch(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("and.b32 %r5, %r0, 16; setp.eq.u32 %p1, %r5, 0; @%p1 bra LOW;\n"
              "add.u32 %r6, %r0, 100; st.shared.u32 [%r3], %r6; barrier.sync 0; bra JOIN;\n"
              "LOW: add.u32 %r6, %r0, 200; st.shared.u32 [%r3], %r6; barrier.cta.sync 0;\n"
              "JOIN: xor.b32 %r7, %r2, 252; add.u32 %r7, %r7, %r1; ld.shared.u32 %r8, [%r7];\n"
              "st.global.u32 [%rd2], %r8; ret;"),
        64, &b);
    for (uint32_t i = 0; i < 64; i++) {
        const uint32_t j = i ^ 63;
        assert_int_equal(word(&b, i), j + (j & 16 ? 100 : 200));
    }
    bench_close(&b);
    run(ENTRY("st.shared.u32 [%r3], %r0; and.b32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, 0;\n"
              "@%p1 barrier.sync 1; @!%p1 barrier.sync 1;\n"
              "xor.b32 %r7, %r2, 252; add.u32 %r7, %r7, %r1; ld.shared.u32 %r8, [%r7];\n"
              "st.global.u32 [%rd2], %r8; ret;"),
        64, &b);
    for (uint32_t i = 0; i < 64; i++) assert_int_equal(word(&b, i), i ^ 63);
    bench_close(&b);
}

static void barriers_of_different_numbers_do_not_meet(void **state) {
    (void)state;
    faults(ENTRY("and.b32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, 0; @%p1 bra EVEN;\n"
                 "barrier.sync 1; bra END;\nEVEN: barrier.sync 2;\nEND: ret;"),
           32, 719, "divergent lanes wait for each other");
    faults(ENTRY("and.b32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, 0; @%p1 bra EVEN;\n"
                 "bar.sync 1; bra END;\nEVEN: bar.sync 1;\nEND: ret;"),
           32, 719, "divergent lanes wait for each other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases_complete_by_arrivals),
        cmocka_unit_test(bytes_hold_a_phase_open_in_either_order),
        cmocka_unit_test(drops_lower_the_next_phase),
        cmocka_unit_test(a_producer_and_a_consumer_take_turns),
        cmocka_unit_test(one_lane_that_waits_does_not_starve_its_warp),
        cmocka_unit_test(copies_arrive_before_a_wait_succeeds),
        cmocka_unit_test(misuse_of_an_mbarrier_is_a_fault),
        cmocka_unit_test(barrier_sync_gathers_lanes_from_both_sides_of_a_branch),
        cmocka_unit_test(barriers_of_different_numbers_do_not_meet),
    };
    return run_with_and_without_checks(tests);
}
