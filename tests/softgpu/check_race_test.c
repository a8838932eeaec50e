/* SOFTGPU_CHECKS=race and =async: planted races of every kind, each with a clean counterpart that
 * differs by what was missing. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/written.h"

static Bench bench;

/* %r1 thread, %r2 its word of shared memory, %r3 shared memory, %rd1 the buffer, %rd2 the thread's
 * word of it, %r8 block; %p1 warp 0, %p2 thread 0, %p3 warp 1, %p4 block 0. */
#define ENTRY(body)                                                                                \
    PTX_HEADER ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<20>;\n.reg .b64 %rd<9>;\n"        \
               ".reg .b16 %h<9>;\n.reg .pred %p<9>;\n.shared .align 16 .b8 sh[8192];\n"            \
               "ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\n"       \
               "add.u64 %rd2, %rd1, %rd2;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, sh;\n"               \
               "add.u32 %r2, %r2, %r3;\nsetp.lt.u32 %p1, %r1, 32;\nsetp.eq.u32 %p2, %r1, 0;\n"     \
               "not.pred %p3, %p1;\nmov.u32 %r8, %ctaid.x;\nsetp.eq.u32 %p4, %r8, 0;\n" body       \
               "ret; }\n"

static const char *finding(const char *checks, const char *text, uint32_t blocks,
                           uint32_t threads) {
    static char found[2048];
    checks_set(checks);
    bench_open(&bench, "sm_80", text, 65536);
    sg_written_mark(bench.buffer, 65536);
    const bool faulted = bench_run(&bench, "t", blocks, threads);
    snprintf(found, sizeof found, "%s", bench.launch.fault.text);
    bench_close(&bench);
    checks_reset();
    return faulted ? found : NULL;
}

static void find(const char *checks, const char *text, uint32_t blocks, uint32_t threads,
                 const char *what) {
    const char *const found = finding(checks, text, blocks, threads);
    if (!found || !strstr(found, what)) fail_msg("wanted '%s', got '%s'", what, found ? found : "");
}

static void race(const char *text, const char *what) {
    find("race", text, 1, 64, what);
    find("all", text, 1, 64, ""); /* perhaps as a read of what nobody wrote yet */
}

static void clean(const char *text) {
    const char *const found = finding("all", text, 1, 64);
    if (found) fail_msg("%s", found);
}

static void grid_race(const char *text, const char *what) {
    find("all", text, 4, 64, what);
}

static void grid_clean(const char *text) {
    const char *const found = finding("all", text, 4, 64);
    if (found) fail_msg("%s", found);
}

static void a_missing_barrier_is_a_race_that_names_both_accesses(void **state) {
    (void)state;
    const char *const lost = ENTRY("st.shared.u32 [%r2], %r1; xor.b32 %r4, %r2, 128;\n"
                                   "ld.shared.u32 %r5, [%r4];\n");
    race(lost, " of 4 bytes at shared address 0x"); /* either of the two may come first */
    race(lost, "is not ordered after the ");
    race(lost, " by thread (");
    race(lost, "st.shared.u32");
    race(lost, "ld.shared.u32");
    race(lost, "PTX line ");
    clean(ENTRY("st.shared.u32 [%r2], %r1; xor.b32 %r4, %r2, 128; bar.sync 0;\n"
                "ld.shared.u32 %r5, [%r4];\n"));
}

static void a_store_must_wait_for_the_readers(void **state) {
    (void)state;
#define ROUND(sync)                                                                                \
    ENTRY("st.shared.u32 [%r2], %r1; xor.b32 %r4, %r2, 128; bar.sync 0;\n"                         \
          "ld.shared.u32 %r5, [%r4];\n" sync "st.shared.u32 [%r2], %r5;\n")
    race(ROUND(""), "data race: ");
    race(ROUND(""), "st.shared.u32");
    clean(ROUND("bar.sync 0;\n"));
    clean(ROUND("barrier.sync 1, 64;\n"));
#undef ROUND
}

static void lanes_of_one_warp_need_a_meeting(void **state) {
    (void)state;
#define LANES_OF(sync)                                                                             \
    ENTRY("st.shared.u32 [%r2], %r1; xor.b32 %r4, %r2, 4;\n" sync "ld.shared.u32 %r5, [%r4];\n")
    race(LANES_OF(""), "data race: load");
    clean(LANES_OF("bar.warp.sync -1;\n"));
    clean(LANES_OF("shfl.sync.idx.b32 %r6, %r1, 0, 31, -1;\n"));
#undef LANES_OF
    clean(ENTRY("st.shared.u32 [%r2], %r1; ld.shared.u32 %r5, [%r2]; st.shared.u32 [%r2], %r5;\n"));
}

static void parts_of_a_word_are_told_apart(void **state) {
    (void)state;
    clean(ENTRY("add.u32 %r4, %r3, %r1; add.u32 %r4, %r4, %r1;\n"
                "cvt.u16.u32 %h1, %r1; st.shared.u16 [%r4], %h1; ld.shared.u16 %h2, [%r4];\n"));
    clean(ENTRY("add.u32 %r4, %r3, %r1; cvt.u16.u32 %h1, %r1; st.shared.u8 [%r4], %h1;\n"));
    race(ENTRY("add.u32 %r4, %r3, %r1; cvt.u16.u32 %h1, %r1; st.shared.u8 [%r4], %h1;\n"
               "ld.shared.u8 %h2, [%r4]; and.b32 %r5, %r4, -4; ld.shared.u32 %r6, [%r5];\n"),
         "data race: load of 4 bytes");
}

static void a_store_of_what_is_there_is_no_race(void **state) {
    (void)state;
    clean(ENTRY("mov.u32 %r4, 7; st.shared.u32 [%r3], %r4;\n"));
    race(ENTRY("st.shared.u32 [%r3], %r1;\n"), "data race: store");
}

static void atomics_race_with_plain_accesses_alone(void **state) {
    (void)state;
#define COUNT(more)                                                                                \
    ENTRY("mov.u32 %r4, 0; @%p2 st.shared.u32 [%r3], %r4; bar.sync 0;\n"                           \
          "atom.shared.add.u32 %r5, [%r3], 1;\n" more)
    clean(COUNT("bar.sync 0; ld.shared.u32 %r6, [%r3];\n"));
    clean(COUNT("ld.volatile.shared.u32 %r6, [%r3];\n"));
    race(COUNT("ld.shared.u32 %r6, [%r3];\n"), "data race: load");
#undef COUNT
}

static void named_barriers_order_those_who_come_to_them(void **state) {
    (void)state;
#define PRODUCER(first, second)                                                                    \
    ENTRY("@%p3 bra CONSUMER;\nst.shared.u32 [%r2], %r1;\n" first "bra DONE;\n"                    \
          "CONSUMER:\n" second "ld.shared.u32 %r5, [%r2+-128];\nDONE:\n")
    clean(PRODUCER("bar.arrive 3, 64;\n", "bar.sync 3, 64;\n"));
    race(PRODUCER("bar.arrive 3, 64;\n", "bar.arrive 3, 64;\n"), "data race");
    /* the producer goes on after its arrival */
    race(PRODUCER("bar.arrive 3, 64;\nst.shared.u32 [%r2], %r3;\n", "bar.sync 3, 64;\n"),
         "data race");
#undef PRODUCER
}

static void mbarriers_order_arrivals_before_waits(void **state) {
    (void)state;
#define HANDOVER(wait)                                                                             \
    ENTRY("@%p2 mbarrier.init.shared.b64 [%r3], 32; bar.sync 0;\n"                                 \
          "@%p3 bra CONSUMER;\nst.shared.u32 [%r2+256], %r1;\n"                                    \
          "mbarrier.arrive.shared.b64 _, [%r3]; bra DONE;\nCONSUMER:\n" wait                       \
          "ld.shared.u32 %r5, [%r2+128];\nDONE:\n")
    clean(HANDOVER("W: mbarrier.test_wait.parity.shared.b64 %p5, [%r3], 0; @!%p5 bra W;\n"));
    find("race", HANDOVER(""), 1, 64, "data race");
#undef HANDOVER
}

static void flags_pass_order_on_by_release_and_acquire(void **state) {
    (void)state;
#define SIGNAL(release, acquire)                                                                   \
    ENTRY("mov.u32 %r4, 1; mov.u32 %r6, 0; @%p2 st.shared.u32 [%r3], %r6; bar.sync 0;\n"           \
          "@%p3 bra CONSUMER;\nst.shared.u32 [%r2+256], %r1; bar.warp.sync -1;\n" release          \
          "bra DONE;\nCONSUMER:\n" acquire "ld.shared.u32 %r7, [%r2+128];\nDONE:\n")
#define SPIN(load) "W: " load " %r5, [%r3]; setp.eq.u32 %p5, %r5, 0; @%p5 bra W;\n"
    clean(
        SIGNAL("@%p2 st.release.cta.shared.u32 [%r3], %r4;\n", SPIN("ld.acquire.cta.shared.u32")));
    clean(SIGNAL("membar.cta; @%p2 st.volatile.shared.u32 [%r3], %r4;\n",
                 SPIN("ld.volatile.shared.u32") "membar.cta;\n"));
    race(SIGNAL("@%p2 st.volatile.shared.u32 [%r3], %r4;\n",
                SPIN("ld.volatile.shared.u32") "membar.cta;\n"),
         "data race");
    race(SIGNAL("membar.cta; @%p2 st.volatile.shared.u32 [%r3], %r4;\n",
                SPIN("ld.volatile.shared.u32")),
         "data race");
#undef SIGNAL
}

static void blocks_race_on_device_memory(void **state) {
    (void)state;
    grid_race(ENTRY("add.u32 %r4, %r1, %r8; st.global.u32 [%rd2], %r4;\n"),
              "data race: store of 4 bytes at 0x");
    grid_race(ENTRY("add.u32 %r4, %r1, %r8; st.global.u32 [%rd2], %r4;\n"), "of block (");
    grid_race(ENTRY("add.u32 %r4, %r1, %r8; st.global.u32 [%rd2], %r4;\n"), "of allocation");
    grid_clean(ENTRY("mul.wide.u32 %rd3, %r8, 256; add.u64 %rd3, %rd3, %rd2;\n"
                     "st.global.u32 [%rd3], %r1; ld.global.u32 %r4, [%rd3];\n"));
    grid_clean(ENTRY("ld.global.u32 %r4, [%rd2];\n"));
    grid_clean(ENTRY("red.global.add.u32 [%rd2], 1;\n"));
    grid_race(ENTRY("ld.global.u32 %r4, [%rd2]; @%p4 st.global.u32 [%rd2], %r8;\n"), "data race");
    grid_race(ENTRY("red.global.add.u32 [%rd2], 1; ld.global.u32 %r4, [%rd2];\n"), "data race");
}

/* Blocks on several host threads that store at the same moment: what decides is the values, not
 * whether the first is in memory when the second looks. */
static void blocks_may_store_equal_values(void **state) {
    (void)state;
    const char *const equal =
        ENTRY("mov.u32 %r4, 7; mov.u32 %r5, 0;\n"
              "AGAIN: mad.lo.u32 %r6, %r5, 64, %r1; mul.wide.u32 %rd3, %r6, 4;\n"
              "add.u64 %rd3, %rd1, %rd3; st.global.u32 [%rd3], %r4;\n"
              "add.u32 %r5, %r5, 1; setp.lt.u32 %p5, %r5, 200; @%p5 bra AGAIN;\n");
    for (int i = 0; i < 20; i++) {
        const char *const found = finding("all", equal, 16, 64);
        if (found) fail_msg("%s", found);
    }
    /* the bytes that both write decide */
    grid_clean(ENTRY("mov.u16 %h1, 0x107; mov.u32 %r4, 0x107; @%p4 st.global.u16 [%rd2], %h1;\n"
                     "@!%p4 st.global.u32 [%rd2], %r4;\n"));
    grid_race(ENTRY("mov.u16 %h1, 0x108; mov.u32 %r4, 0x107; @%p4 st.global.u16 [%rd2], %h1;\n"
                    "@!%p4 st.global.u32 [%rd2], %r4;\n"),
              "data race: store");
    grid_clean(ENTRY("mov.u32 %r4, 7; mov.u32 %r5, 9; st.global.v2.u32 [%rd1+8], {%r4, %r5};\n"
                     "st.global.u32 [%rd1+12], %r5;\n"));
    grid_race(ENTRY("mov.u32 %r4, 7; st.global.v2.u32 [%rd1+8], {%r4, %r8};\n"),
              "data race: store");
    /* a read-modify-write is no store of a value */
    grid_race(ENTRY("mov.u32 %r4, 1; @%p4 atom.global.exch.b32 %r5, [%rd2], %r4;\n"
                    "@!%p4 st.global.u32 [%rd2], %r4;\n"),
              "data race");
    /* reading one of them is a race as before */
    grid_race(
        ENTRY("mov.u32 %r4, 7; st.global.u32 [%rd2], %r4; xor.b32 %r5, %r1, 1;\n"
              "mul.wide.u32 %rd3, %r5, 4; add.u64 %rd3, %rd1, %rd3; ld.global.u32 %r6, [%rd3];\n"),
        "data race");
}

static void threads_of_a_block_race_on_device_memory(void **state) {
    (void)state;
    race(ENTRY("st.global.u32 [%rd2], %r1; xor.b32 %r4, %r1, 32; mul.wide.u32 %rd3, %r4, 4;\n"
               "add.u64 %rd3, %rd3, %rd1; ld.global.u32 %r5, [%rd3];\n"),
         "data race");
    clean(ENTRY("st.global.u32 [%rd2], %r1; xor.b32 %r4, %r1, 32; mul.wide.u32 %rd3, %r4, 4;\n"
                "add.u64 %rd3, %rd3, %rd1; bar.sync 0; ld.global.u32 %r5, [%rd3];\n"));
}

/* The last block to come reads what the others wrote: a reduction in one launch. */
#define LAST_BLOCK(meet, fence, fence2)                                                            \
    ENTRY("mul.wide.u32 %rd3, %r8, 256; add.u64 %rd3, %rd3, %rd2;\n"                               \
          "st.global.u32 [%rd3+1024], %r1;\n" meet fence                                           \
          "mov.u32 %r4, 0; @%p2 atom.global.add.u32 %r4, [%rd1], 1;\n"                             \
          "@%p2 st.shared.u32 [%r3], %r4;\n" fence2 "bar.sync 0; ld.shared.u32 %r4, [%r3];\n"      \
          "setp.ne.u32 %p5, %r4, 3; @%p5 bra DONE;\n"                                              \
          "ld.global.u32 %r5, [%rd2+1024]; ld.global.u32 %r5, [%rd2+1280];\n"                      \
          "ld.global.u32 %r5, [%rd2+1536]; ld.global.u32 %r5, [%rd2+1792];\nDONE:\n")

static void counters_of_blocks_pass_order_on(void **state) {
    (void)state;
    grid_clean(LAST_BLOCK("bar.sync 0;\n", "membar.gl;\n", "membar.gl;\n"));
    grid_race(LAST_BLOCK("bar.sync 0;\n", "", "membar.gl;\n"), "data race: load");
    grid_race(LAST_BLOCK("", "membar.gl;\n", ""), "data race: load");
}

static void copies_are_used_after_their_wait_alone(void **state) {
    (void)state;
#define COPY(wait, use)                                                                            \
    ENTRY("shl.b32 %r4, %r1, 4; add.u32 %r4, %r4, %r3; mul.wide.u32 %rd3, %r1, 16;\n"              \
          "add.u64 %rd3, %rd3, %rd1; cp.async.cg.shared.global [%r4], [%rd3], 16;\n"               \
          "cp.async.commit_group;\n" wait use)
#define OTHERS "xor.b32 %r4, %r4, 512; ld.shared.u32 %r5, [%r4];\n"
    static const char read[] =
        "asynchronous copy not waited for: load of 4 bytes at shared address";
    for (int i = 0; i < 2; i++) {
        const char *const checks = i == 0 ? "async" : "race";
        find(checks, COPY("", "ld.shared.u32 %r5, [%r4];\n"), 1, 64, read);
        find(checks, COPY("cp.async.wait_group 1;\n", "ld.shared.u32 %r5, [%r4];\n"), 1, 64, read);
        find(checks, COPY("", "st.shared.u32 [%r4], %r1;\n"), 1, 64,
             "which may still be written by the copy by thread (");
        /* waited for by its own thread, but others must meet it at a barrier */
        find(checks, COPY("cp.async.wait_all;\n", OTHERS), 1, 64, "cp.async.cg.shared.global");
        /* a barrier is no wait */
        find(checks, COPY("bar.sync 0;\n", OTHERS), 1, 64, read);
    }
    clean(COPY("cp.async.wait_group 0;\n", "ld.shared.u32 %r5, [%r4];\n"));
    clean(COPY("cp.async.wait_all; bar.sync 0;\n",
               "xor.b32 %r4, %r4, 512; ld.shared.u32 %r5, [%r4];\n"));
    /* a copy over what another warp still reads */
    race(COPY("cp.async.wait_all; bar.sync 0; xor.b32 %r6, %r4, 512; ld.shared.u32 %r5, [%r6];\n",
              "cp.async.cg.shared.global [%r4], [%rd3], 16;\n"),
         "cp.async.cg.shared.global");
    clean(COPY("cp.async.wait_all; bar.sync 0; xor.b32 %r6, %r4, 512; ld.shared.u32 %r5, [%r6];\n",
               "bar.sync 0; cp.async.cg.shared.global [%r4], [%rd3], 16; cp.async.wait_all;\n"));
    /* a wait that comes before the barrier does not cover what is read behind it too early */
    race(COPY("bar.sync 0; cp.async.wait_all;\n",
              "xor.b32 %r4, %r4, 512; ld.shared.u32 %r5, [%r4];\n"),
         "cp.async.cg.shared.global");
#undef COPY
}

/* A copy reads its source when it likes until it was waited for: neither program order nor a
 * barrier helps who stores there. */
static void sources_of_copies_are_kept_until_the_wait(void **state) {
    (void)state;
#define FROM(issue, use)                                                                           \
    ENTRY("xor.b32 %r4, %r1, 32; mul.wide.u32 %rd3, %r4, 4; add.u64 %rd3, %rd1, %rd3;\n"           \
          "cp.async.ca.shared.global [%r2], [%rd2], 4;\n" issue use)
#define OWN  "st.global.u32 [%rd2], %r1;\n"
#define NEXT "st.global.u32 [%rd3], %r1;\n"
    static const char read[] = "which may still be read by the copy by thread (";
    for (int i = 0; i < 2; i++) {
        const char *const checks = i == 0 ? "async" : "race";
        find(checks, FROM("", OWN "cp.async.wait_all;\n"), 1, 64, read);
        find(checks, FROM("", OWN "cp.async.wait_all;\n"), 1, 64,
             "asynchronous copy not waited for: store of 4 bytes at 0x");
        find(checks, FROM("", OWN "cp.async.wait_all;\n"), 1, 64, "cp.async.ca.shared.global");
        find(checks, FROM("cp.async.commit_group; cp.async.wait_group 1;\n", OWN), 1, 64, read);
        find(checks, FROM("", "st.u32 [%rd2], %r1;\n"), 1, 64, read);
        find(checks, FROM("", "red.global.add.u32 [%rd2], 1;\n"), 1, 64, "atomic of 4 bytes at 0x");
        find(checks, FROM("bar.sync 0;\n", "@%p1 " NEXT), 1, 64, read);
    }
    /* the other warp may have waited before or after this one stores: either is found */
    race(FROM("bar.sync 0;\n", "@%p1 " NEXT "cp.async.wait_all;\n"), "by thread (");
    race(FROM("bar.sync 0;\n", "@%p3 " NEXT "cp.async.wait_all;\n"), "by thread (");
    race(FROM("bar.sync 0;\n", "cp.async.wait_all; @%p1 " NEXT), "by thread (");
    race(FROM("bar.sync 0;\n", "cp.async.wait_all; @%p3 " NEXT), "by thread (");
    clean(FROM("cp.async.wait_all;\n", OWN));
    clean(FROM("bar.sync 0; cp.async.wait_all;\n", OWN));
    clean(
        FROM("cp.async.commit_group; cp.async.wait_group 0;\n", "red.global.add.u32 [%rd2], 1;\n"));
    clean(FROM("cp.async.wait_all; bar.sync 0;\n", NEXT));
    clean(FROM("", "st.global.u32 [%rd2+256], %r1; cp.async.wait_all;\n")); /* elsewhere */
    clean(FROM("", "ld.global.u32 %r5, [%rd3]; cp.async.wait_all;\n"));
    /* bytes that src-size leaves out are not read */
    clean(ENTRY("cp.async.ca.shared.global [%r2], [%rd2], 4, 0;\n" OWN "cp.async.wait_all;\n"));
    find("race", ENTRY("cp.async.ca.shared.global [%r2], [%rd2], 4, 1;\n" OWN), 1, 64, read);
    /* another block's store to the source is a race like any other */
    grid_race(FROM("cp.async.wait_all;\n", "@%p4 " OWN), "of block (");
#undef FROM
#undef OWN
#undef NEXT
}

static void copies_may_arrive_at_an_mbarrier(void **state) {
    (void)state;
#define ARRIVE(wait)                                                                               \
    ENTRY("@%p2 mbarrier.init.shared.b64 [%r3], 64; bar.sync 0;\n"                                 \
          "shl.b32 %r4, %r1, 4; add.u32 %r4, %r4, %r3; mul.wide.u32 %rd3, %r1, 16;\n"              \
          "add.u64 %rd3, %rd3, %rd1; cp.async.cg.shared.global [%r4+16], [%rd3], 16;\n"            \
          "cp.async.mbarrier.arrive.noinc.shared.b64 [%r3];\n" wait                                \
          "xor.b32 %r5, %r1, 32; shl.b32 %r5, %r5, 4; add.u32 %r5, %r5, %r3;\n"                    \
          "ld.shared.u32 %r6, [%r5+16];\n")
    clean(ARRIVE("W: mbarrier.test_wait.parity.shared.b64 %p5, [%r3], 0; @!%p5 bra W;\n"));
    race(ARRIVE(""), "cp.async.cg.shared.global");
#undef ARRIVE
}

static void matrices_are_read_by_the_whole_warp(void **state) {
    (void)state;
#define MATRIX(sync)                                                                               \
    ENTRY("st.shared.u32 [%r2], %r1;\n" sync "shl.b32 %r4, %r1, 4; and.b32 %r4, %r4, 127;\n"       \
          "add.u32 %r4, %r4, %r3; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [%r4];\n")
    race(MATRIX(""), "data race: load of 16 bytes");
    clean(MATRIX("bar.sync 0;\n"));
#undef MATRIX
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_barrier_is_a_race_that_names_both_accesses),
        cmocka_unit_test(a_store_must_wait_for_the_readers),
        cmocka_unit_test(lanes_of_one_warp_need_a_meeting),
        cmocka_unit_test(parts_of_a_word_are_told_apart),
        cmocka_unit_test(a_store_of_what_is_there_is_no_race),
        cmocka_unit_test(atomics_race_with_plain_accesses_alone),
        cmocka_unit_test(named_barriers_order_those_who_come_to_them),
        cmocka_unit_test(mbarriers_order_arrivals_before_waits),
        cmocka_unit_test(flags_pass_order_on_by_release_and_acquire),
        cmocka_unit_test(blocks_race_on_device_memory),
        cmocka_unit_test(blocks_may_store_equal_values),
        cmocka_unit_test(threads_of_a_block_race_on_device_memory),
        cmocka_unit_test(counters_of_blocks_pass_order_on),
        cmocka_unit_test(copies_are_used_after_their_wait_alone),
        cmocka_unit_test(sources_of_copies_are_kept_until_the_wait),
        cmocka_unit_test(copies_may_arrive_at_an_mbarrier),
        cmocka_unit_test(matrices_are_read_by_the_whole_warp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
