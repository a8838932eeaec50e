/* Waiting: who spins sleeps and is woken, a wait with a time-out ends, a deadlock says who waits
 * for what, seeds change orders and no results. The check `sync`: exec_sync_test.c. */
#include "exec_sync_help.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* `steps` rounds of a barrier over the grid, made of a counter in global memory: everybody writes
 * its round, waits for all, reads its neighbour's and counts what is not as it should be. */
#define FLAG_BARRIER(steps)                                                                        \
    ENTRY("mov.u32 %r2, %ctaid.x; mov.u32 %r3, %nctaid.x; mul.wide.u32 %rd3, %r2, 4;\n"            \
          "add.s64 %rd3, %rd3, %rd0; add.u32 %r4, %r2, 1; rem.u32 %r4, %r4, %r3;\n"                \
          "mul.wide.u32 %rd4, %r4, 4; add.s64 %rd4, %rd4, %rd0; mov.u32 %r5, 0; mov.u32 %r6, 0;\n" \
          "mov.u32 %r7, 0;\n"                                                                      \
          "STEP: add.u32 %r5, %r5, 1; add.u32 %r7, %r7, %r3; @!%p0 bra MEET;\n"                    \
          "st.volatile.global.u32 [%rd3+1024], %r5; red.release.gpu.global.add.u32 [%rd0], 1;\n"   \
          "SPIN: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.lt.u32 %p1, %r8, %r7;\n"              \
          "@%p1 bra SPIN;\n"                                                                       \
          "ld.volatile.global.u32 %r9, [%rd4+1024]; setp.lt.u32 %p2, %r9, %r5;\n"                  \
          "@%p2 add.u32 %r6, %r6, 1;\n"                                                            \
          "MEET: bar.sync 0; setp.lt.u32 %p3, %r5, " #steps "; @%p3 bra STEP;\n"                   \
          "add.u32 %r10, %r6, 7; @%p0 st.global.u32 [%rd3+2048], %r10; ret;")

static void a_flag_barrier_over_the_grid_keeps_step(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Bench b;
        run_grid(&b, FLAG_BARRIER(20), 108, 64, seed);
        for (size_t i = 0; i < 108; i++) assert_int_equal(word(&b, 512 + i), 7);
        assert_int_equal(word(&b, 0), 108 * 20);
        bench_close(&b);
    }
}

/* --- waiting --- */

/* Warp 1 waits by `wait` for the word that warp 0 writes after a long loop of its own. */
#define WAIT_FOR_LONG(wait)                                                                        \
    ENTRY("setp.lt.u32 %p1, %r0, 32; @%p1 bra WORK; mov.u32 %r9, 8;\n" wait                        \
          "st.global.u32 [%rd2+256], %r8; ret;\n"                                                  \
          "WORK: mov.u32 %r2, 0;\nLOOP: add.u32 %r2, %r2, 1; xor.b32 %r3, %r3, %r2;\n"             \
          "setp.lt.u32 %p2, %r2, 200000; @%p2 bra LOOP;\n"                                         \
          "@%p0 st.release.gpu.global.u32 [%rd0], 5; ret;")

static void a_warp_that_waits_costs_nothing(void **state) {
    (void)state;
    static const char *const waits[] = {
        "S: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.ne.u32 %p3, %r8, 5; @%p3 bra S;\n",
        "S: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.eq.u32 %p3, %r8, 5; @%p3 bra E;\n"
        "nanosleep.u32 %r9; shl.b32 %r9, %r9, 1; min.u32 %r9, %r9, 256; bra S;\nE:\n",
        "S: ld.volatile.global.u32 %r8, [%rd0]; setp.ne.u32 %p3, %r8, 5;\n"
        "vote.sync.any.pred %p4, %p3, -1; @%p4 bra S;\n",
        "S: atom.global.or.b32 %r8, [%rd0], 0; setp.ne.u32 %p3, %r8, 5; @%p3 bra S;\n",
    };
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        static const char frame[] = WAIT_FOR_LONG("MARK");
        char text[4096];
        const char *const mark = strstr(frame, "MARK");
        snprintf(text, sizeof text, "%.*s%s%s", (int)(mark - frame), frame, waits[i], mark + 4);
        Bench b;
        if (run_checked(&b, text, 64, true)) fail_msg("%s", b.launch.fault.text);
        for (size_t k = 32; k < 64; k++) assert_int_equal(word(&b, 64 + k), 5);
        const SgCounters *const c = &b.launch.counters;
        if (c->global_load + c->global_store > 12)
            fail_msg("wait %zu: %llu accesses", i,
                     (unsigned long long)(c->global_load + c->global_store));
        bench_close(&b);
    }
}

/* 64 blocks of 96 threads take turns by a lock of compare-and-swap, one lane per warp. */
static void a_lock_is_handed_on(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        Bench b;
        run_grid(&b,
                 ENTRY("and.b32 %r2, %r0, 31; setp.ne.u32 %p1, %r2, 0; @%p1 bra END;\n"
                       "LOCK: atom.acquire.gpu.global.cas.b32 %r3, [%rd0], 0, 1;\n"
                       "setp.ne.u32 %p2, %r3, 0; @%p2 bra LOCK;\n"
                       "ld.volatile.global.u32 %r4, [%rd0+64]; add.u32 %r4, %r4, 1;\n"
                       "st.volatile.global.u32 [%rd0+64], %r4;\n"
                       "atom.release.gpu.global.exch.b32 %r5, [%rd0], 0;\nEND: ret;"),
                 64, 96, seed);
        assert_int_equal(word(&b, 16), 64 * 3);
        bench_close(&b);
    }
}

/* Lane 0 waits for an mbarrier, the others for lane 0; another warp arrives after some work. */
static void an_elected_lane_waits_for_its_warp(void **state) {
    (void)state;
    Bench b;
    if (run_checked(&b,
                    ENTRY("@%p0 mbarrier.init.shared.b64 [sm], 1; bar.sync 0;\n"
                          "setp.ge.u32 %p1, %r0, 32; @%p1 bra WORK;\n@!%p0 bra MEET;\n"
                          "W: mbarrier.try_wait.parity.shared.b64 %p2, [sm], 0; @!%p2 bra W;\n"
                          "MEET: bar.warp.sync -1; ld.shared.u32 %r8, [%r1+64];\n"
                          "st.global.u32 [%rd2], %r8; ret;\n"
                          "WORK: mov.u32 %r2, 0;\nLOOP: add.u32 %r2, %r2, 1;\n"
                          "setp.lt.u32 %p3, %r2, 50000; @%p3 bra LOOP;\n"
                          "setp.ne.u32 %p4, %r0, 32; @%p4 ret;\n"
                          "st.shared.u32 [%r1+64], 77; mbarrier.arrive.shared.b64 _, [sm]; ret;"),
                    64, true))
        fail_msg("%s", b.launch.fault.text);
    for (size_t i = 0; i < 32; i++) assert_int_equal(word(&b, i), 77);
    bench_close(&b);
}

/* grid.sync() as cooperative_groups compiles to it: block 0 adds what makes the sign bit turn. */
static const char grid_sync[] = ENTRY(
    "mov.u32 %r2, %envreg2; cvt.u64.u32 %rd3, %r2; mov.u32 %r3, %envreg1;\n"
    "cvt.u64.u32 %rd4, %r3; bfi.b64 %rd5, %rd4, %rd3, 32, 32; setp.ne.s64 %p1, %rd5, 0;\n"
    "mov.u32 %r4, %ctaid.x; mov.u32 %r5, %nctaid.x; sub.s32 %r6, -2147483647, %r5;\n"
    "setp.eq.u32 %p2, %r4, 0; selp.b32 %r7, %r6, 1, %p2; mov.u32 %r8, 0;\n"
    "mul.wide.u32 %rd6, %r4, 4; add.s64 %rd6, %rd6, %rd0;\n"
    "L: add.u32 %r8, %r8, 1; @%p0 st.global.u32 [%rd6], %r8;\n"
    "@%p1 bra OK; trap;\nOK: barrier.sync 0; @!%p0 bra MET;\n"
    "atom.add.release.gpu.u32 %r9, [%rd5+4], %r7;\n"
    "W: ld.acquire.gpu.u32 %r10, [%rd5+4]; xor.b32 %r11, %r10, %r9; setp.gt.s32 %p3, %r11, -1;\n"
    "@%p3 bra W;\nMET: barrier.sync 0; xor.b32 %r12, %r4, 1; mul.wide.u32 %rd7, %r12, 4;\n"
    "add.s64 %rd7, %rd7, %rd0; ld.volatile.global.u32 %r13, [%rd7]; setp.lt.u32 %p4, %r13, %r8;\n"
    "@%p4 st.global.u32 [%rd6+1024], 1; setp.lt.u32 %p5, %r8, 50; @%p5 bra L; ret;");

static void a_cooperative_grid_synchronises(void **state) {
    (void)state;
    for (int cooperative = 0; cooperative < 2; cooperative++) {
        Bench b;
        checks_set("sync");
        bench_open(&b, "sm_90", grid_sync, 4096);
        checks_reset();
        b.launch = (SgLaunch){.grid = {36, 1, 1},
                              .block = {64, 1, 1},
                              .resident = 36,
                              .threads = 2,
                              .cooperative = cooperative};
        assert_int_equal(bench_launch(&b, "t"), !cooperative);
        if (!cooperative) {
            assert_non_null(strstr(b.launch.fault.text, "grid.sync() needs a cooperative launch"));
        } else {
            for (size_t i = 0; i < 36; i++) assert_int_equal(word(&b, i), 50);
            for (size_t i = 0; i < 36; i++) assert_int_equal(word(&b, 256 + i), 0);
        }
        bench_close(&b);
    }
}

typedef struct Writer {
    uint64_t address;
} Writer;

static void *write_later(void *arg) {
    const Writer *const w = arg;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    __atomic_store_n((uint32_t *)w->address, 5, __ATOMIC_SEQ_CST);
    return NULL;
}

static const char wait_for_word[] =
    ENTRY("S: ld.acquire.sys.global.u32 %r8, [%rd0]; setp.ne.u32 %p3, %r8, 5; @%p3 bra S;\n"
          "st.global.u32 [%rd2+256], %r8; ret;");

static void a_word_written_from_outside_wakes_the_grid(void **state) {
    (void)state;
    Bench b;
    pthread_t id;
    bench_open(&b, "sm_90", wait_for_word, 4096);
    Writer writer = {b.buffer};
    assert_int_equal(pthread_create(&id, NULL, write_later, &writer), 0);
    b.launch = (SgLaunch){
        .grid = {5, 1, 1}, .block = {32, 1, 1}, .resident = 5, .threads = 2, .patience_ms = 20000};
    const bool faulted = bench_launch(&b, "t");
    pthread_join(id, NULL);
    if (faulted) fail_msg("%s", b.launch.fault.text);
    assert_int_equal(word(&b, 64 + 31), 5);
    bench_close(&b);
}

/* --- waits with a time-out --- */

/* Thread 0 polls word 0 until it is 5, at most `limit` times, then stores polls, word and a mark.
 */
#define POLL(init, count, more)                                                                    \
    ENTRY("@!%p0 ret; mov.u32 %r5, " init "; mov.u32 %r6, 3000000000; mov.u32 %r7, 0;\n"           \
          "S: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.eq.u32 %p3, %r8, 5; @%p3 bra E;\n" count \
          " @%p4 bra S;\nE: " more                                                                 \
          "st.global.u32 [%rd0+64], %r5; st.global.u32 [%rd0+128], %r8; ret;")

static void a_count_of_polls_runs_down_when_nobody_else_can_go_on(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t polls;
    } rows[] = {
        {POLL("0", "add.u32 %r5, %r5, 1; setp.lt.u32 %p4, %r5, %r6;", ""), 3000000000},
        {POLL("0", "setp.le.u32 %p4, %r5, %r6; add.u32 %r5, %r5, 1;", ""), 3000000002},
        {POLL("0", "add.u32 %r5, %r5, 7; setp.lt.u32 %p4, %r5, %r6;", ""), 3000000003},
        {POLL("3000000000", "sub.u32 %r5, %r5, 1; setp.ne.u32 %p4, %r5, 0;", ""), 0},
        {POLL("2000000000", "add.s32 %r5, %r5, -3; setp.gt.s32 %p4, %r5, -100;", ""),
         (uint32_t)-100},
        {POLL("0", "add.u32 %r9, %r5, 1; setp.ne.u32 %p4, %r9, %r6; mov.u32 %r5, %r9;", ""),
         3000000000},
        {POLL("0", "add.u32 %r5, %r5, 1; setp.ge.u32 %p5, %r5, %r6; not.pred %p4, %p5;", ""),
         3000000000},
        /* a second count goes along */
        {POLL("0", "add.u32 %r5, %r5, 1; add.u32 %r7, %r7, 2; setp.lt.u32 %p4, %r5, 1000000000;",
              "mov.u32 %r5, %r7; "),
         2000000000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            Bench b;
            run_grid(&b, rows[i].text, 1, 64, seed);
            assert_int_equal(word(&b, 16), rows[i].polls);
            assert_int_equal(word(&b, 32), 0);
            bench_close(&b);
        }
}

/* As above in shared memory: nobody but the block itself could write it. */
static void a_count_runs_down_within_a_block(void **state) {
    (void)state;
    Bench b;
    run_grid(&b,
             ENTRY("@%p0 st.shared.u32 [%r1], 1; mov.u32 %r5, 0; bar.sync 0;\n"
                   "S: ld.volatile.shared.u32 %r8, [%r1]; add.u32 %r5, %r5, 1;\n"
                   "setp.lt.u32 %p4, %r5, -5; setp.ne.and.u32 %p4, %r8, 5, %p4; @%p4 bra S;\n"
                   "st.global.u32 [%rd2+64], %r5; ret;"),
             1, 64, 0);
    for (size_t i = 0; i < 64; i++) assert_int_equal(word(&b, 16 + i), (uint32_t)-5);
    bench_close(&b);
}

/* The last block sets the flag after much work: whoever waits for it must not have given up. */
static void a_count_does_not_run_down_while_others_work(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        Bench b;
        run_grid(
            &b,
            ENTRY("@!%p0 ret; mov.u32 %r2, %ctaid.x; setp.ne.u32 %p1, %r2, 7; @%p1 bra W;\n"
                  "mov.u32 %r3, 0;\nL: add.u32 %r3, %r3, 1; st.volatile.global.u32 [%rd0+512], "
                  "%r3; setp.lt.u32 %p2, %r3, 20000; @%p2 bra L;\n"
                  "st.release.gpu.global.u32 [%rd0], 5; ret;\nW: mov.u32 %r5, 0;\n"
                  "S: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.eq.u32 %p3, %r8, 5;\n"
                  "@%p3 bra E; add.u32 %r5, %r5, 1; setp.lt.u32 %p4, %r5, 100000; @%p4 bra S;\n"
                  "E: mul.wide.u32 %rd3, %r2, 4; add.s64 %rd3, %rd3, %rd0;\n"
                  "st.global.u32 [%rd3+64], %r8; ret;"),
            8, 32, seed);
        for (size_t i = 0; i < 7; i++) assert_int_equal(word(&b, 16 + i), 5);
        bench_close(&b);
    }
}

/* The count decides, but so does what a round hands to the next besides: not to be guessed. */
static void a_loop_that_carries_more_than_counts_runs_its_rounds(void **state) {
    (void)state;
    Bench b;
    run_grid(&b,
             POLL("0", "add.u32 %r5, %r5, 1; xor.b32 %r7, %r7, %r5; setp.lt.u32 %p4, %r5, 5000;",
                  "mov.u32 %r5, %r7; "),
             1, 32, 0);
    uint32_t sum = 0;
    for (uint32_t i = 1; i <= 5000; i++) sum ^= i;
    assert_int_equal(word(&b, 16), sum);
    bench_close(&b);
}

/* A limit that each round loads again may differ from round to round: nothing is left out. The high
 * word of the buffer's address serves as one. */
static void a_limit_loaded_in_the_loop_is_polled_for_real(void **state) {
    (void)state;
    static const char *const limits[] = {"ld.param.u32 %r6, [p+4];", ""};
    uint64_t executed[2];
    uint32_t polls[2], limit = 0;
    for (int i = 0; i < 2; i++) {
        char text[2048];
        Bench b;
        snprintf(
            text, sizeof text,
            HEADER_90
            ".visible .entry t(.param .u64 p) {\n.reg .b32 %%r<9>; .reg .b64 %%rd0; .reg .pred "
            "%%p<5>;\nld.param.u64 %%rd0, [p]; ld.param.u32 %%r6, [p+4]; mov.u32 %%r5, 0;\n"
            "S: ld.acquire.gpu.global.u32 %%r8, [%%rd0]; setp.eq.u32 %%p3, %%r8, 5; @%%p3 bra "
            "E;\n%s add.u32 %%r5, %%r5, 1; setp.lt.u32 %%p4, %%r5, %%r6; @%%p4 bra S;\n"
            "E: st.global.u32 [%%rd0+64], %%r5; ret;\n}\n",
            limits[i]);
        run_grid(&b, text, 1, 1, 0);
        limit = (uint32_t)(b.buffer >> 32);
        polls[i] = word(&b, 16);
        executed[i] = b.launch.counters.warp_instructions;
        bench_close(&b);
    }
    assert_true(limit > 8);
    assert_int_equal(polls[0], limit);
    assert_int_equal(polls[1], limit);
    assert_true(executed[0] >= 6 * (uint64_t)limit); /* ld.param is an operand in SASS */
    assert_true(executed[1] < 40);
}

/* A flag barrier with a time-out, whose error word is word 1: every block counts word 0 up and
 * waits until all have, `steps` times. */
#define PATIENT_BARRIER(steps)                                                                     \
    ENTRY("@!%p0 ret; mov.u32 %r3, %nctaid.x; mov.u32 %r5, 0; mov.u32 %r7, 0;\n"                   \
          "STEP: add.u32 %r5, %r5, 1; add.u32 %r7, %r7, %r3; mov.u32 %r9, 0;\n"                    \
          "red.release.gpu.global.add.u32 [%rd0], 1;\n"                                            \
          "SPIN: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.ge.u32 %p1, %r8, %r7;\n"              \
          "@%p1 bra NEXT; ld.relaxed.gpu.global.u32 %r10, [%rd0+4]; setp.ne.u32 %p2, %r10, 0;\n"   \
          "@%p2 bra FAIL; add.u32 %r9, %r9, 1; setp.lt.u32 %p2, %r9, 16777216; @%p2 bra SPIN;\n"   \
          "FAIL: st.relaxed.gpu.global.u32 [%rd0+4], %r5; ret;\n"                                  \
          "NEXT: setp.lt.u32 %p3, %r5, " #steps "; @%p3 bra STEP;\n"                               \
          "red.relaxed.gpu.global.add.u32 [%rd0+8], 1; ret;")

static void a_wait_counts_once_however_often_it_polls(void **state) {
    (void)state;
    uint64_t waits[3], sectors[3], instructions[3];
    for (uint64_t seed = 0; seed < 3; seed++) {
        Bench b;
        run_grid(&b, PATIENT_BARRIER(20), 36, 64, seed);
        waits[seed] = b.launch.counters.waits;
        sectors[seed] = b.launch.counters.global_sectors;
        instructions[seed] = b.launch.counters.warp_instructions;
        bench_close(&b);
    }
    assert_int_equal(waits[0], 36 * 20);
    assert_int_equal(sectors[1], sectors[0]);
    assert_int_equal(sectors[2], sectors[0]);
    assert_int_equal(instructions[1], instructions[0]);
    assert_int_equal(instructions[2], instructions[0]);
}

/* A poll in front of the loop is code like any other: a wait that it ends is none. */
#define FIRST_POLL(flag, first)                                                                    \
    ENTRY("mov.u32 %r5, 0; st.relaxed.gpu.global.u32 [%rd0], " flag ";\n" first                    \
          "S: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.eq.u32 %p3, %r8, 5; @%p3 bra E;\n"       \
          "add.u32 %r5, %r5, 1; setp.lt.u32 %p4, %r5, 9; @%p4 bra S;\n"                            \
          "E: st.global.u32 [%rd0+64], %r5; ret;")
#define A_POLL "ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.eq.u32 %p3, %r8, 5; @%p3 bra E;\n"

static void a_first_poll_in_front_of_the_loop_is_no_wait(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t waits;
        uint32_t polls;
    } rows[] = {
        {FIRST_POLL("5", ""), 1, 0}, /* the loop's own first poll ends it */
        {FIRST_POLL("5", A_POLL), 0, 0},
        {FIRST_POLL("4", A_POLL), 1, 9},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Bench b;
        run_grid(&b, rows[i].text, 1, 1, 0);
        assert_int_equal(b.launch.counters.waits, rows[i].waits);
        assert_int_equal(word(&b, 16), rows[i].polls);
        bench_close(&b);
    }
}

/* --- fault injection --- */

static void a_killed_block_ends_and_the_others_time_out(void **state) {
    (void)state;
    static const uint64_t after[] = {0, 1, 50, 200};
    for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
        Bench b;
        bench_open(&b, "sm_90", PATIENT_BARRIER(20), 4096);
        b.launch = (SgLaunch){.grid = {16, 1, 1},
                              .block = {32, 1, 1},
                              .resident = 16,
                              .threads = 2,
                              .patience_ms = 1000,
                              .kill = true,
                              .kill_block = 3,
                              .kill_after = after[i]};
        if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
        assert_true(word(&b, 1) >= 1 && word(&b, 1) <= 20);
        assert_int_equal(word(&b, 2), 0);
        memset((void *)b.buffer, 0, 12); /* and runs again */
        b.launch.kill = false;
        if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
        assert_int_equal(word(&b, 1), 0);
        assert_int_equal(word(&b, 2), 16);
        bench_close(&b);
    }
}

/* A sample of blocks that wait for each other would wait for those that are not in it. */
static void blocks_that_wait_for_each_other_are_not_sampled(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_90", PATIENT_BARRIER(5), 4096);
    b.launch = (SgLaunch){
        .grid = {40, 1, 1}, .block = {32, 1, 1}, .resident = 108, .threads = 2, .mode = SG_TIMING};
    if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
    assert_int_equal(word(&b, 1), 0);
    assert_int_equal(word(&b, 2), 40);
    assert_int_equal(b.launch.counters.blocks_run, 40);
    bench_close(&b);
}

static void a_grid_beyond_the_gpu_times_out(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_90", PATIENT_BARRIER(20), 4096);
    b.launch = (SgLaunch){
        .grid = {16, 1, 1}, .block = {32, 1, 1}, .resident = 15, .threads = 2, .patience_ms = 1000};
    if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
    assert_true(word(&b, 1) >= 1); /* the first 15 gave up in step 1, the last got further */
    assert_int_equal(word(&b, 2), 0);
    bench_close(&b);
}

/* --- deadlocks --- */

static void a_deadlock_names_address_allocation_and_value(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_90", wait_for_word, 4096);
    *(uint32_t *)b.buffer = 3;
    b.launch = (SgLaunch){.grid = {40, 1, 1}, .block = {64, 1, 1}, .resident = 40, .threads = 2};
    assert_true(bench_launch(&b, "t"));
    char want[200];
    snprintf(want, sizeof want,
             "of block %d spins at PTX line 10 on global 0x%llx (byte 0 of the 4096 allocated at "
             "0x%llx) = 3; warp ",
             0, (unsigned long long)b.buffer, (unsigned long long)b.buffer);
    if (!strstr(b.launch.fault.text, want) || !strstr(b.launch.fault.text, "; and "))
        fail_msg("%s", b.launch.fault.text);
    assert_int_equal(b.launch.fault.cuda_result, 702);
    bench_close(&b);
}

static void a_deadlock_names_what_each_warp_waits_for(void **state) {
    (void)state;
    static const char wait[] =
        ENTRY("@%p0 mbarrier.init.shared.b64 [sm], 2; @%p0 st.shared.u32 [%r1+64], 9; bar.sync 0;\n"
              "setp.lt.u32 %p1, %r0, 32; @%p1 bra A; setp.lt.u32 %p1, %r0, 64; @%p1 bra B;\n"
              "setp.lt.u32 %p1, %r0, 96; @%p1 bra C; ret;\nA: bar.sync 3, 64; ret;\n"
              "B: setp.ne.u32 %p1, %r0, 32; @%p1 bra W;\n"
              "mbarrier.arrive.expect_tx.shared.b64 _, [sm], 64;\n"
              "W: mbarrier.try_wait.parity.shared.b64 %p3, [sm], 0; @!%p3 bra W; ret;\n"
              "C: ld.volatile.shared.u32 %r2, [%r1+64]; setp.eq.u32 %p2, %r2, 9; @%p2 bra C; ret;");
    faults(wait, 128, 702, "warp 0 waits at barrier 3 (PTX line 13, 32 of 64 threads came)");
    faults(wait, 128, 702,
           "warp 1 spins at PTX line 16 for mbarrier at shared 0x400 (phase 0, 1 of 2 arrivals and "
           "64 bytes to come)");
    faults(wait, 128, 702, "warp 2 spins at PTX line 17 on shared 0x440 = 9");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_barrier_over_the_grid_keeps_step),
        cmocka_unit_test(a_warp_that_waits_costs_nothing),
        cmocka_unit_test(a_lock_is_handed_on),
        cmocka_unit_test(an_elected_lane_waits_for_its_warp),
        cmocka_unit_test(a_cooperative_grid_synchronises),
        cmocka_unit_test(a_word_written_from_outside_wakes_the_grid),
        cmocka_unit_test(a_count_of_polls_runs_down_when_nobody_else_can_go_on),
        cmocka_unit_test(a_count_runs_down_within_a_block),
        cmocka_unit_test(a_count_does_not_run_down_while_others_work),
        cmocka_unit_test(a_loop_that_carries_more_than_counts_runs_its_rounds),
        cmocka_unit_test(a_limit_loaded_in_the_loop_is_polled_for_real),
        cmocka_unit_test(a_wait_counts_once_however_often_it_polls),
        cmocka_unit_test(a_first_poll_in_front_of_the_loop_is_no_wait),
        cmocka_unit_test(a_killed_block_ends_and_the_others_time_out),
        cmocka_unit_test(a_grid_beyond_the_gpu_times_out),
        cmocka_unit_test(blocks_that_wait_for_each_other_are_not_sampled),
        cmocka_unit_test(a_deadlock_names_address_allocation_and_value),
        cmocka_unit_test(a_deadlock_names_what_each_warp_waits_for),
    };
    return run_with_and_without_checks(tests);
}
