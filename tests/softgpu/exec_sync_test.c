/* The check `sync`: barriers and masks that do not match, and groups of lanes that exchange or meet
 * as they may. Waiting: exec_wait_test.c. */
#include "exec_sync_help.h"

#include <stdio.h>
#include <string.h>

static void passes(const char *text, uint32_t threads) {
    Bench b;
    if (run_checked(&b, text, threads, true)) fail_msg("%s", b.launch.fault.text);
    if (b.launch.warning_count) fail_msg("%s", b.launch.warnings[0].text);
    bench_close(&b);
}

/* A finding of the check alone: without it the kernel runs. */
static void faults_checked(const char *text, uint32_t threads, const char *part) {
    Bench b;
    if (run_checked(&b, text, threads, false)) fail_msg("unchecked: %s", b.launch.fault.text);
    bench_close(&b);
    faults(text, threads, strstr(part, "lanes disagree") ? 715 : 719, part);
}

static void warns(const char *text, uint32_t threads, const char *part) {
    Bench b;
    if (run_checked(&b, text, threads, true)) fail_msg("%s", b.launch.fault.text);
    assert_int_equal(b.launch.warning_count, 1);
    assert_int_equal(b.launch.warnings[0].kind, SG_WARN_SYNC);
    if (!strstr(b.launch.warnings[0].text, part))
        fail_msg("warning \"%s\"; expected \"%s\"", b.launch.warnings[0].text, part);
    bench_close(&b);
    if (run_checked(&b, text, threads, false)) fail_msg("%s", b.launch.fault.text);
    assert_int_equal(b.launch.warning_count, 0);
    bench_close(&b);
}

/* --- the check `sync` --- */

static void a_count_that_cannot_be_met_is_a_deadlock(void **state) {
    (void)state;
    faults(ENTRY("setp.ge.u32 %p1, %r0, 32; @%p1 ret; bar.sync 1, 64; ret;"), 64, 702,
           "waits at barrier 1 (PTX line 10, 32 of 64 threads came)");
    passes(ENTRY("setp.ge.u32 %p1, %r0, 64; @%p1 ret; bar.sync 1, 64; ret;"), 96);
}

static void a_barrier_with_two_counts_is_a_fault(void **state) {
    (void)state;
    faults(ENTRY("setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.sync 1, 96; ret; A: bar.sync 1, 64; "
                 "ret;"),
           96, 719, "threads at once");
    faults(ENTRY("setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.red.popc.u32 %r2, 1, 96, %p1; ret;\n"
                 "A: bar.red.popc.u32 %r2, 1, 64, %p1; ret;"),
           96, 719, "threads at once");
    passes(ENTRY("setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.arrive 1, 96; ret; A: bar.sync 1, 96; "
                 "ret;"),
           96);
}

static void a_barrier_reached_by_part_of_a_warp_is_a_fault(void **state) {
    (void)state;
    faults(ENTRY("setp.lt.u32 %p1, %r0, 7; @%p1 bar.sync 0; @!%p1 bar.sync 0; ret;"), 64, 719,
           "divergent lanes wait for each other");
    faults(ENTRY("setp.lt.u32 %p1, %r0, 7; @%p1 bar.sync 1; bar.sync 0; ret;"), 32, 719,
           "lanes 0x0000007f wait at PTX line 10 (bar.sync) for lanes 0xffffff80, "
           "lanes 0xffffff80 wait at PTX line 10 (bar.sync) for lanes 0x0000007f");
    passes(ENTRY("setp.lt.u32 %p1, %r0, 32; @%p1 bar.sync 1, 32; bar.sync 0; ret;"), 64);
}

static void a_warp_that_comes_twice_is_a_fault(void **state) {
    (void)state;
    faults_checked(
        ENTRY("setp.ge.u32 %p1, %r0, 32; @%p1 bra B; bar.arrive 1, 64; bar.arrive 1, 64;\n"
              "ret; B: bar.sync 2, 32; ret;"),
        64, "warp 0 comes to barrier 1 again before it completed; 32 of 64 threads");
    passes(ENTRY("setp.ge.u32 %p1, %r0, 32; @%p1 bra B; bar.arrive 1, 64; bar.sync 2, 64;\n"
                 "bar.arrive 1, 64; ret; B: bar.sync 1, 64; bar.sync 2, 64; bar.sync 1, 64; ret;"),
           64);
}

static void bar_red_and_bar_sync_do_not_mix(void **state) {
    (void)state;
    faults_checked(ENTRY("setp.ge.u32 %p1, %r0, 32; @%p1 bra B; bar.sync 1; ret;\n"
                         "B: bar.red.popc.u32 %r2, 1, %p1; ret;"),
                   64, "is used by bar.red and by bar.sync");
    passes(ENTRY("bar.sync 1; bar.red.popc.u32 %r2, 1, %p0; bar.sync 1; ret;"), 64);
}

static void lanes_that_name_different_barriers_are_a_fault(void **state) {
    (void)state;
    faults(ENTRY("and.b32 %r2, %r0, 1; barrier.sync.aligned %r2; ret;"), 32, 715,
           "lanes 0 and 1 name barriers 0 and 1");
    passes(ENTRY("shr.u32 %r2, %r0, 5; barrier.sync.aligned %r2, 32; ret;"), 96);
}

static void lanes_that_disagree_on_a_membermask_are_a_fault(void **state) {
    (void)state;
    faults_checked(ENTRY("setp.lt.u32 %p1, %r0, 16; selp.b32 %r2, -1, 0xffff0000, %p1;\n"
                         "shfl.sync.bfly.b32 %r3, %r0, 1, 31, %r2; ret;"),
                   32,
                   "lanes disagree: membermask 0xffffffff names lane 16, whose own is 0xffff0000");
    faults_checked(ENTRY("setp.lt.u32 %p1, %r0, 16; selp.b32 %r2, -1, 0xffff0000, %p1;\n"
                         "bar.warp.sync %r2; ret;"),
                   32, "lanes disagree");
}

static void an_inactive_lane_is_named(void **state) {
    (void)state;
    faults(
        ENTRY("setp.ge.u32 %p1, %r0, 24; @%p1 ret; shfl.sync.down.b32 %r3, %r0, 16, 31, -1; ret;"),
        32, 715, "lane 8 reads lane 24, which does not take part (0x00ffffff do");
    passes(ENTRY("shfl.sync.down.b32 %r3, %r0, 16, 31, -1; ret;"), 32);
}

static void a_mask_that_names_exited_lanes_is_a_warning(void **state) {
    (void)state;
    warns(ENTRY("setp.ge.u32 %p1, %r0, 24; @%p1 ret; bar.warp.sync -1; ret;"), 32,
          "membermask 0xffffffff names lanes 0xff000000, which exited");
    warns(ENTRY("setp.ge.u32 %p1, %r0, 24; @%p1 ret; bar.sync 0; ret;"), 64,
          "an .aligned barrier without lanes 0xff000000 of the warp, which exited");
    passes(ENTRY("setp.ge.u32 %p1, %r0, 24; @%p1 ret; bar.warp.sync 0xffffff; ret;"), 32);
    passes(ENTRY("bar.warp.sync -1; bar.sync 0; ret;"), 40); /* the last warp has 8 lanes */
}

/* --- groups of lanes --- */

/* As tiles of cooperative groups do: all lanes together, each with the mask of its tile. */
static void tiles_of_a_warp_exchange_with_their_own_masks(void **state) {
    (void)state;
    Bench b;
    if (run_checked(
            &b,
            ENTRY("shr.u32 %r2, %r0, 3; shl.b32 %r2, %r2, 3; mov.u32 %r3, 255; shl.b32 %r3, "
                  "%r3, %r2;\n"
                  "shfl.sync.bfly.b32 %r4, %r0, 7, 0x181f, %r3; setp.ne.u32 %p1, %r4, 0;\n"
                  "vote.sync.ballot.b32 %r5, %p1, %r3; bar.warp.sync %r3;\n"
                  "st.global.u32 [%rd2], %r4; st.global.u32 [%rd2+128], %r5; ret;"),
            32, true))
        fail_msg("%s", b.launch.fault.text);
    for (uint32_t l = 0; l < 32; l++) {
        assert_int_equal(word(&b, l), l ^ 7);
        const uint32_t tile = 255u << (l & ~7u);
        assert_int_equal(word(&b, 32 + l), l < 8 ? tile & ~(1u << 7) : tile);
    }
    bench_close(&b);
}

static void bar_warp_sync_meets_lanes_from_both_sides_of_a_branch(void **state) {
    (void)state;
    Bench b;
    if (run_checked(
            &b,
            ENTRY("and.b32 %r2, %r0, 1; setp.eq.u32 %p1, %r2, 0; @%p1 bra EVEN;\n"
                  "add.u32 %r3, %r0, 100; st.shared.u32 [%r14], %r3; bar.warp.sync -1; bra E;\n"
                  "EVEN: add.u32 %r3, %r0, 200; st.shared.u32 [%r14], %r3; bar.warp.sync -1;\n"
                  "E: xor.b32 %r4, %r15, 4; add.u32 %r4, %r4, %r1; ld.shared.u32 %r5, [%r4];\n"
                  "st.global.u32 [%rd2], %r5; ret;"),
            32, true))
        fail_msg("%s", b.launch.fault.text);
    for (uint32_t l = 0; l < 32; l++)
        assert_int_equal(word(&b, l), (l ^ 1) + ((l ^ 1) & 1 ? 100 : 200));
    bench_close(&b);
}

static void bar_warp_sync_meets_lanes_from_three_places(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Bench b;
        run_grid(
            &b,
            ENTRY("st.shared.u32 [%r14], %r0; setp.lt.u32 %p1, %r0, 9; @%p1 bra A;\n"
                  "setp.lt.u32 %p1, %r0, 20; @%p1 bra B; bar.warp.sync -1; bra E;\n"
                  "A: bar.warp.sync -1; bra E;\nB: bar.warp.sync -1;\n"
                  "E: xor.b32 %r4, %r15, 64; add.u32 %r4, %r4, %r1; ld.shared.u32 %r5, [%r4];\n"
                  "st.global.u32 [%rd2], %r5; ret;"),
            1, 32, seed);
        for (uint32_t l = 0; l < 32; l++) assert_int_equal(word(&b, l), l ^ 16);
        bench_close(&b);
    }
}

static void elect_picks_one_lane_and_seeds_another(void **state) {
    (void)state;
    static const char text[] =
        ENTRY("elect.sync %r2|%p1, 0xfffffff0; elect.sync %r3|%p2, 0xfffffff0;\n"
              "selp.u32 %r4, 1, 0, %p1; st.global.u32 [%rd2], %r4;\n"
              "st.global.u32 [%rd2+128], %r2; st.global.u32 [%rd2+256], %r3;\n"
              "elect.sync _|%p2, 0xfffffff0; selp.u32 %r4, 1, 0, %p2;\n"
              "st.global.u32 [%rd2+384], %r4; ret;");
    static const char frame[] = ENTRY("setp.lt.u32 %p3, %r0, 4; @%p3 ret;\nMARK");
    char whole[4096];
    const char *const mark = strstr(frame, "MARK");
    const char *const body = strstr(text, "elect");
    snprintf(whole, sizeof whole, "%.*s%s", (int)(mark - frame), frame, body);
    bool other = false;
    for (uint64_t seed = 0; seed < 8; seed++) {
        Bench b;
        bench_open(&b, "sm_90", whole, 4096);
        b.launch = (SgLaunch){
            .grid = {1, 1, 1}, .block = {32, 1, 1}, .resident = 1, .threads = 1, .seed = seed};
        if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
        uint32_t leaders = 0;
        for (size_t l = 4; l < 32; l++) leaders += word(&b, l);
        assert_int_equal(leaders, 1);
        const uint32_t leader = word(&b, 32 + 5);
        assert_int_equal(word(&b, leader), 1);
        assert_int_equal(word(&b, 64 + 5), leader);
        for (uint32_t l = 4; l < 32; l++) assert_int_equal(word(&b, 96 + l), l == leader);
        if (seed == 0) assert_int_equal(leader, 4);
        other |= leader != 4;
        bench_close(&b);
    }
    assert_true(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_count_that_cannot_be_met_is_a_deadlock),
        cmocka_unit_test(a_barrier_with_two_counts_is_a_fault),
        cmocka_unit_test(a_barrier_reached_by_part_of_a_warp_is_a_fault),
        cmocka_unit_test(a_warp_that_comes_twice_is_a_fault),
        cmocka_unit_test(bar_red_and_bar_sync_do_not_mix),
        cmocka_unit_test(lanes_that_name_different_barriers_are_a_fault),
        cmocka_unit_test(lanes_that_disagree_on_a_membermask_are_a_fault),
        cmocka_unit_test(an_inactive_lane_is_named),
        cmocka_unit_test(a_mask_that_names_exited_lanes_is_a_warning),
        cmocka_unit_test(tiles_of_a_warp_exchange_with_their_own_masks),
        cmocka_unit_test(bar_warp_sync_meets_lanes_from_both_sides_of_a_branch),
        cmocka_unit_test(bar_warp_sync_meets_lanes_from_three_places),
        cmocka_unit_test(elect_picks_one_lane_and_seeds_another),
    };
    return run_with_and_without_checks(tests);
}
