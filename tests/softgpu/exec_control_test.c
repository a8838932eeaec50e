/* Divergence, spins, barriers, deadlocks, faults, cp.async: what schedulers get wrong. */
#include "exec_help.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENTRY(body)                                                                                \
    PTX_HEADER ".shared .align 128 .b8 sm[1024];\n"                                                \
               ".visible .entry t(.param .u64 p) {\n"                                              \
               ".reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .pred %p<8>; .reg .f32 %f<8>;\n"         \
               "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"         \
               "add.s64 %rd2, %rd0, %rd1; mov.u32 %r1, sm; shl.b32 %r15, %r0, 2;\n"                \
               "add.s32 %r14, %r1, %r15;\n" body "\n}\n"

static void run(const char *text, uint32_t blocks, uint32_t threads, Bench *b) {
    bench_open(b, "sm_80", text, 1 << 16);
    if (bench_run(b, "t", blocks, threads)) fail_msg("%s", b->launch.fault.text);
}

static void faults(const char *text, uint32_t threads, int result, const char *part) {
    Bench b;
    bench_open(&b, "sm_80", text, 1 << 16);
    if (!bench_run(&b, "t", 1, threads)) fail_msg("no fault; expected: %s", part);
    if (b.launch.fault.cuda_result != result || !strstr(b.launch.fault.text, part))
        fail_msg("fault %d \"%s\"; expected %d \"%s\"", b.launch.fault.cuda_result,
                 b.launch.fault.text, result, part);
    bench_close(&b);
}

static uint32_t word(const Bench *b, size_t i) {
    return ((const uint32_t *)b->buffer)[i];
}

static void lanes_that_loop_different_counts_meet_again(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("mov.u32 %r2, 0;\n"
              "LOOP: add.s32 %r2, %r2, 2; add.s32 %r3, %r0, 1; setp.lt.s32 %p0, %r2, %r3;\n"
              "@%p0 bra LOOP;\n"
              "shfl.sync.bfly.b32 %r4, %r2, 1, 31, -1;\n"
              "st.global.u32 [%rd2], %r4; ret;"),
        1, 32, &b);
    for (uint32_t l = 0; l < 32; l++) {
        const uint32_t other = l ^ 1, n = other + 1;
        assert_int_equal(word(&b, l), n <= 2 ? 2 : (n + 1) / 2 * 2);
    }
    bench_close(&b);
}

static void a_lane_that_spins_on_another_lane_of_its_warp_is_served(void **state) {
    (void)state;
    Bench b; /* lanes 1.. spin until lane 0, whose code lies behind the loop, sets the flag */
    run(ENTRY("setp.eq.s32 %p0, %r0, 0; @%p0 bra SET;\n"
              "SPIN: ld.volatile.global.u32 %r2, [%rd0]; setp.eq.s32 %p1, %r2, 0; @%p1 bra SPIN;\n"
              "bra.uni END;\n"
              "SET: st.volatile.global.u32 [%rd0], 7;\n"
              "END: st.global.u32 [%rd2+256], 9; ret;"),
        1, 32, &b);
    assert_int_equal(word(&b, 64 + 31), 9);
    bench_close(&b);
}

static void guards_and_exits_leave_the_other_lanes_running(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("setp.lt.s32 %p0, %r0, 10; mov.u32 %r2, 1; @%p0 mov.u32 %r2, 2; @!%p0 add.s32 %r2, "
              "%r2, 4;\n"
              "st.global.u32 [%rd2], %r2; @%p0 exit;\n"
              "st.global.u32 [%rd2+128], %r2; bar.sync 0; ret;"),
        1, 64, &b);
    assert_int_equal(word(&b, 9), 2);
    assert_int_equal(word(&b, 10), 5 + 0);
    assert_int_equal(word(&b, 32 + 10), 5);
    bench_close(&b);
}

static void lanes_that_exit_are_not_waited_for(void **state) {
    (void)state;
    Bench b; /* lane 0 leaves by a longer path while the others wait for it in vote and barrier */
    run(ENTRY("setp.eq.s32 %p0, %r0, 0; setp.ge.s32 %p1, %r0, 0; @%p0 bra OUT;\n"
              "vote.sync.ballot.b32 %r2, %p1, -1; st.global.u32 [%rd2], %r2; bar.sync 0;\n"
              "OUT: ret;"),
        1, 32, &b);
    assert_int_equal(word(&b, 5), 0xfffffffe);
    bench_close(&b);
}

static void brx_jumps_by_table(void **state) {
    (void)state;
    Bench b;
    run(ENTRY("TS: .branchtargets A, B, C;\nand.b32 %r2, %r0, 1; brx.idx %r2, TS;\n"
              "A: mov.u32 %r3, 10; bra E; B: mov.u32 %r3, 20; bra E; C: mov.u32 %r3, 30;\n"
              "E: st.global.u32 [%rd2], %r3; ret;"),
        1, 32, &b);
    assert_int_equal(word(&b, 4), 10);
    assert_int_equal(word(&b, 5), 20);
    bench_close(&b);
}

static void functions_are_called_with_their_arguments(void **state) {
    (void)state;
    Bench b;
    run(PTX_HEADER
        ".func (.param .b32 out) twice(.param .b32 in) {\n.reg .b32 %r<3>; .reg .pred %p;\n"
        "ld.param.u32 %r0, [in]; setp.gt.s32 %p, %r0, 5; @%p bra BIG;\n"
        "st.param.b32 [out+0], %r0; ret;\nBIG: add.s32 %r1, %r0, %r0; st.param.b32 [out+0], %r1; "
        "ret;\n}\n"
        ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<8>; .reg .b64 %rd<4>;\n"
        "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4; add.s64 %rd0, "
        "%rd0, %rd1;\n"
        "{ .param .b32 a0; .param .b32 r0; st.param.b32 [a0+0], %r0; call.uni (r0), twice, (a0);\n"
        "ld.param.b32 %r1, [r0+0]; }\nst.global.u32 [%rd0], %r1; ret; }\n",
        1, 32, &b);
    assert_int_equal(word(&b, 3), 3);
    assert_int_equal(word(&b, 6), 12);
    bench_close(&b);
}

/* f(x, {a, b}) = {x + a, a < b}: registers, a vector among them, both ways, and twice. */
static void functions_take_and_return_registers(void **state) {
    (void)state;
    Bench b;
    run(PTX_HEADER
        ".func (.reg .u32 sum, .reg .pred less) f(.reg .u32 x, .reg .v2 .u32 ab) {\n"
        "add.u32 sum, x, ab.x; setp.lt.u32 less, ab.x, ab.y; mov.u32 x, 0; ret;\n}\n"
        ".visible .entry t(.param .u64 p) {\n.reg .u64 a; .reg .u32 i, s, n; .reg .pred q;\n"
        ".reg.v2.u32 v; .reg .u64 o;\n"
        "ld.param.u64 a, [p]; mov.u32 i, %tid.x; mul.wide.u32 o, i, 8; add.u64 a, a, o;\n"
        "mov.v2.u32 v, {i, 16}; call (s, q), f, (i, v); call (s, q), f, (s, v);\n"
        "selp.u32 n, 1, 0, q; mov.u32 v.y, n; mov.u32 v.x, s; st.global.v2.u32 [a], v; ret;\n}\n",
        1, 32, &b);
    for (uint32_t l = 0; l < 32; l++) {
        assert_int_equal(word(&b, 2 * l), 3 * l);
        assert_int_equal(word(&b, 2 * l + 1), l < 16);
    }
    bench_close(&b);
}

#define EXTERN                                                                                     \
    ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);\n"                       \
    ".extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, "      \
    ".param .b64 e);\n"
/* "%d %s %5.2f %llx%c %%\n" and "abc" */
#define FORMAT                                                                                     \
    ".global .align 1 .b8 f[32] = {37, 100, 32, 37, 115, 32, 37, 53, 46, 50, 102, 32, 37, 108, "   \
    "108, 120, 37, 99, 32, 37, 37, 10};\n.global .align 1 .b8 s[4] = {97, 98, 99};\n"

static void printf_of_a_kernel_goes_to_standard_output(void **state) {
    (void)state;
    char text[256] = "";
    Bench b;
    FILE *const file = tmpfile();
    assert_non_null(file);
    bench_open(&b, "sm_80",
               PTX_HEADER EXTERN FORMAT
               ".visible .entry t(.param .u64 p) {\n.local .align 8 .b8 v[40]; .reg .b32 %r<4>;\n"
               ".reg .b64 %rd<8>; .param .b64 a0; .param .b64 a1; .param .b32 r0;\n"
               "mov.u32 %r0, %tid.x; sub.s32 %r1, %r0, 7; st.local.u32 [v], %r1;\n"
               "mov.u64 %rd0, s; st.local.u64 [v+8], %rd0; mov.u64 %rd1, 0d4004000000000000;\n"
               "st.local.u64 [v+16], %rd1; mov.u64 %rd2, 0x123456789abc; st.local.u64 [v+24], "
               "%rd2;\nmov.u32 %r2, 33; st.local.u32 [v+32], %r2; mov.u64 %rd3, v;\n"
               "cvta.local.u64 %rd3, %rd3; mov.u64 %rd4, f; st.param.b64 [a0], %rd4;\n"
               "st.param.b64 [a1], %rd3; call.uni (r0), vprintf, (a0, a1);\n"
               "ld.param.b32 %r3, [r0]; ld.param.u64 %rd5, [p]; st.global.u32 [%rd5], %r3; ret;\n"
               "}\n",
               4096);
    fflush(stdout);
    const int old = dup(1);
    dup2(fileno(file), 1);
    const bool faulted = bench_run(&b, "t", 1, 2);
    fflush(stdout);
    dup2(old, 1);
    close(old);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_false(faulted);
    assert_string_equal(text, "-7 abc  2.50 123456789abc! %\n-6 abc  2.50 123456789abc! %\n");
    assert_int_equal(word(&b, 0), 5);
    bench_close(&b);
}

static void a_failed_assertion_names_its_text_and_place(void **state) {
    (void)state;
    faults(PTX_HEADER EXTERN FORMAT
           ".visible .entry t(.param .u64 p) {\n.reg .b64 %rd<4>; .param .b64 a0; .param .b64 a1;\n"
           ".param .b64 a3; .param .b64 a4; .param .b32 a2; mov.u64 %rd0, s; st.param.b64 [a0], "
           "%rd0; st.param.b64 [a1], %rd0;\n"
           "st.param.b32 [a2], 12; st.param.b64 [a3], %rd0; st.param.b64 [a4], 1;\n"
           "call.uni __assertfail, (a0, a1, a2, a3, a4); ret;\n}\n",
           32, 710, "abc:12: assertion `abc' failed");
}

static void barriers_order_warps(void **state) {
    (void)state;
    Bench b; /* each thread reads what a thread of another warp wrote, many rounds */
    run(ENTRY("mov.u32 %r2, 0; mov.u32 %r9, 0;\n"
              "LOOP: add.s32 %r3, %r0, %r2; st.shared.u32 [%r14], %r3; bar.sync 0;\n"
              "add.s32 %r4, %r0, 96; and.b32 %r4, %r4, 127; shl.b32 %r5, %r4, 2; add.s32 %r5, %r5, "
              "%r1;\n"
              "ld.shared.u32 %r6, [%r5]; add.s32 %r9, %r9, %r6; bar.sync 0;\n"
              "add.s32 %r2, %r2, 1; setp.lt.s32 %p0, %r2, 20; @%p0 bra LOOP;\n"
              "st.global.u32 [%rd2], %r9; ret;"),
        1, 128, &b);
    for (uint32_t t = 0; t < 128; t++) assert_int_equal(word(&b, t), 20 * ((t + 96) & 127) + 190);
    bench_close(&b);
}

static void bar_red_combines_the_block(void **state) {
    (void)state;
    Bench b;
    run(ENTRY(
            "setp.lt.s32 %p0, %r0, 33; bar.red.popc.u32 %r2, 0, %p0; bar.red.or.pred %p1, 0, %p0;\n"
            "bar.red.and.pred %p2, 0, %p0; selp.b32 %r3, 1, 0, %p1; selp.b32 %r4, 2, 0, %p2;\n"
            "add.s32 %r2, %r2, %r3; add.s32 %r2, %r2, %r4; st.global.u32 [%rd2], %r2; ret;"),
        1, 64, &b);
    assert_int_equal(word(&b, 63), 34);
    bench_close(&b);
}

static void a_deadlock_names_warps_and_barriers(void **state) {
    (void)state;
    faults(ENTRY("setp.lt.s32 %p0, %r0, 32; @%p0 bra ONE; bar.sync 2; bra END;\nONE: bar.sync "
                 "1;\nEND: bar.sync 0; ret;"),
           64, 702, "warp 0 waits at barrier 1");
}

static void a_divergent_barrier_is_a_fault(void **state) {
    (void)state;
    faults(ENTRY("setp.lt.s32 %p0, %r0, 7; @%p0 bra ONE; bar.sync 0; bra END;\nONE: bar.sync "
                 "1;\nEND: ret;"),
           32, 719, "divergent lanes wait for each other");
}

static void faults_name_kernel_thread_address_and_allocation(void **state) {
    (void)state;
    faults(ENTRY("st.global.u32 [%rd2+65536], %r0; ret;"), 32, 700, "out of bounds");
    faults(ENTRY("ld.global.u32 %r2, [%rd2+1]; ret;"), 32, 716,
           "misaligned global access: 4 bytes");
    faults(ENTRY("ld.shared.u32 %r2, [%r14+1024]; ret;"), 32, 700, "shared address 0x800");
    faults(ENTRY("mov.u32 %r2, 0; ld.shared.u32 %r2, [%r2]; ret;"), 32, 700, "shared address 0x0");
    faults(ENTRY("mov.u64 %rd3, 64; ld.global.u32 %r2, [%rd3]; ret;"), 32, 700, "0x40");
    faults(ENTRY("setp.eq.s32 %p0, %r0, 5; @%p0 trap; ret;"), 32, 719,
           "thread (5,0,0) of block (0,0,0)");
}

static void generic_addresses_reach_every_window(void **state) {
    (void)state;
    Bench b;
    run(ENTRY(".local .align 4 .b8 loc[8];\nst.shared.u32 [%r14], %r0; cvt.u64.u32 %rd3, %r14; "
              "cvta.shared.u64 %rd4, %rd3;\n"
              "ld.u32 %r2, [%rd4]; mov.u64 %rd5, loc; cvta.local.u64 %rd6, %rd5; st.u32 [%rd6+4], "
              "%r2;\n"
              "ld.local.u32 %r3, [loc+4]; st.u32 [%rd2], %r3; ret;"),
        1, 32, &b);
    assert_int_equal(word(&b, 17), 17);
    bench_close(&b);
}

static void atomics_add_up_over_blocks_and_threads(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        Bench b;
        bench_open(
            &b, "sm_80",
            ENTRY("atom.global.add.u32 %r2, [%rd0], 1; red.global.max.s32 [%rd0+4], %r0; ret;"),
            4096);
        b.launch =
            (SgLaunch){.grid = {50, 1, 1}, .block = {96, 1, 1}, .resident = 8, .threads = threads};
        assert_false(bench_launch(&b, "t"));
        assert_int_equal(word(&b, 0), 50 * 96);
        assert_int_equal(word(&b, 1), 95);
        bench_close(&b);
    }
}

/* Every block adds one to a counter and spins until all have. */
static const char grid_barrier[] =
    ENTRY("setp.ne.s32 %p0, %r0, 0; @%p0 bra WAIT;\natom.global.add.u32 %r2, [%rd0], 1;\n"
          "mov.u32 %r3, %nctaid.x;\nSPIN: ld.volatile.global.u32 %r2, [%rd0]; setp.lt.u32 %p1, "
          "%r2, %r3; @%p1 bra SPIN;\n"
          "WAIT: bar.sync 0; mov.u32 %r4, %ctaid.x; mul.wide.u32 %rd3, %r4, 4; add.s64 %rd3, %rd3, "
          "%rd0;\n"
          "st.global.u32 [%rd3+64], 1; ret;");

static void a_grid_barrier_works_when_all_blocks_are_resident(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        Bench b;
        bench_open(&b, "sm_80", grid_barrier, 4096);
        b.launch =
            (SgLaunch){.grid = {12, 1, 1}, .block = {64, 1, 1}, .resident = 12, .threads = threads};
        if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
        for (size_t i = 0; i < 12; i++) assert_int_equal(word(&b, 16 + i), 1);
        bench_close(&b);
    }
}

static void a_grid_barrier_beyond_occupancy_is_reported_as_a_deadlock(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_80", grid_barrier, 4096);
    b.launch = (SgLaunch){.grid = {12, 1, 1}, .block = {64, 1, 1}, .resident = 11, .threads = 2};
    assert_true(bench_launch(&b, "t"));
    assert_int_equal(b.launch.fault.cuda_result, 702);
    assert_non_null(strstr(b.launch.fault.text, "deadlock"));
    assert_non_null(strstr(b.launch.fault.text, "1 blocks are not started"));
    bench_close(&b);
}

/* Launch bounds, registers and local memory beyond what a GPU has are refused by name. */
static void limits_that_cannot_be_met_are_refused(void **state) {
    (void)state;
    Error err;
#define KERNEL(bounds, body, end)                                                                  \
    PTX_HEADER ".visible .entry t(.param .u64 p) " bounds " {\n" body " ret;\n}\n" end
    static const struct {
        const char *text, *part;
    } rows[] = {
        {KERNEL(".reqntid 64, 32, 1", "", ""), "t: .reqntid asks for 2048 threads; a block has at "
                                               "most 1024"},
        {KERNEL(".maxnreg 64", "",
                "// seqtune-ptxas: entry=t registers=80 stack=0 spill_stores=0 spill_loads=0 "
                "smem=0\n"),
         "ptxas gave it 80 registers, but .maxnreg allows 64"},
        {KERNEL(".reqntid 1024", "",
                "// seqtune-ptxas: entry=t registers=80 stack=0 spill_stores=0 spill_loads=0 "
                "smem=0\n"),
         "80 registers for each of the 1024 threads of .reqntid; a block has 65536 registers: "
         "compile with .maxnreg 64"},
        {KERNEL("", ".local .b8 big[524296];", ""), "more than 512 KiB of local memory per thread"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const said = load_error("sm_80", rows[i].text, &err);
        if (!strstr(said, rows[i].part)) fail_msg("\"%s\"; expected \"%s\"", said, rows[i].part);
    }
    Bench b;
    run(KERNEL(".maxntid 1024 .maxnreg 32", ".local .b8 big[524288];", ""), 1, 32, &b);
    assert_true(sg_kernel_info(b.launch.kernel)->ptxas.registers <= 32);
    bench_close(&b);
#undef KERNEL
}

static void an_endless_loop_is_a_deadlock(void **state) {
    (void)state;
    faults(ENTRY("LOOP: add.s32 %r2, %r2, 1; bra LOOP;"), 32, 702, "a loop that nothing ends");
}

/* The loop looks at the clock, so it may end by itself; but nobody waits that long. */
static void a_loop_with_a_distant_time_out_is_a_hang(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_80",
               ENTRY("LOOP: ld.volatile.global.u32 %r3, [%rd0]; mov.u32 %r2, %clock;\n"
                     "setp.ne.s32 %p0, %r2, -1; setp.eq.and.s32 %p0, %r3, 0, %p0; @%p0 bra LOOP; "
                     "ret;"),
               4096);
    b.launch = (SgLaunch){
        .grid = {3, 1, 1}, .block = {32, 1, 1}, .resident = 3, .threads = 1, .spin_limit = 1 << 20};
    assert_true(bench_launch(&b, "t"));
    assert_non_null(strstr(b.launch.fault.text, "hang: no block made progress"));
    bench_close(&b);
}

/* Copies 16 bytes per thread to shared memory and sums words of them; `wait` is what stands
 * between. Global word i holds i + 1. */
static uint32_t async_wrong(const char *wait) {
    static const char text_of[] =
        ENTRY("shl.b32 %r2, %r0, 4; add.s32 %r3, %r1, %r2; cvt.u64.u32 %rd3, %r2; add.s64 %rd4, "
              "%rd0, %rd3;\n"
              "cp.async.cg.shared.global [%r3], [%rd4], 16; cp.async.commit_group;\nWAIT\n"
              "ld.shared.u32 %r4, [%r3+4]; mov.u32 %r5, %ctaid.x; mad.lo.s32 %r5, %r5, 64, %r0;\n"
              "mul.wide.u32 %rd5, %r5, 4; add.s64 %rd5, %rd5, %rd0; st.global.u32 [%rd5+4096], "
              "%r4; ret;");
    char text[2048];
    const char *const mark = strstr(text_of, "WAIT");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(mark - text_of), text_of, wait, mark + 4);
    Bench b;
    bench_open(&b, "sm_80", text, 1 << 16);
    for (uint32_t i = 0; i < 1024; i++) ((uint32_t *)b.buffer)[i] = i + 1;
    if (bench_run(&b, "t", 16, 64)) fail_msg("%s", b.launch.fault.text);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < 1024; i++) wrong += word(&b, 1024 + i) != 4 * (i % 64) + 2;
    assert_int_equal(b.launch.counters.max_async_groups, 1);
    bench_close(&b);
    return wrong;
}

static void a_missing_wait_shows_as_stale_data(void **state) {
    (void)state;
    assert_int_equal(async_wrong("cp.async.wait_group 0;"), 0);
    assert_int_equal(async_wrong("cp.async.wait_all;"), 0);
    checks_off();
    assert_true(async_wrong("cp.async.wait_group 1;") > 0);
    assert_true(async_wrong("") > 0);
    checks_reset();
}

static void cp_async_fills_with_zeros_and_never_reads_what_it_skips(void **state) {
    (void)state;
    Bench b; /* lane l copies l & 15 bytes (0: none, from an address that is nobody's) */
    run(ENTRY("and.b32 %r2, %r0, 15; setp.eq.s32 %p0, %r2, 0; shl.b32 %r3, %r0, 4; add.s32 %r4, "
              "%r1, %r3;\n"
              "mov.u64 %rd3, 4096; selp.b64 %rd4, %rd3, %rd0, %p0;\n"
              "cp.async.ca.shared.global [%r4], [%rd4], 16, %r2; cp.async.wait_all;\n"
              "ld.shared.u32 %r5, [%r4+4]; st.global.u32 [%rd2+128], %r5; ret;"),
        1, 32, &b);
    bench_close(&b);
    bench_open(&b, "sm_80",
               ENTRY("shl.b32 %r3, %r0, 4; add.s32 %r4, %r1, %r3; mov.u32 %r2, 6;\n"
                     "cp.async.ca.shared.global [%r4], [%rd0], 16, %r2; cp.async.wait_all;\n"
                     "ld.shared.u32 %r5, [%r4+4]; st.global.u32 [%rd2+128], %r5; ret;"),
               4096);
    memset((void *)b.buffer, 0x11, 64);
    if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
    for (size_t l = 0; l < 32; l++) assert_int_equal(word(&b, 32 + l), 0x1111);
    bench_close(&b);
}

static void shared_memory_starts_as_nan(void **state) {
    (void)state;
    Bench b;
    checks_without_init();
    run(ENTRY("ld.shared.u32 %r2, [%r14]; st.global.u32 [%rd2], %r2; ret;"), 1, 32, &b);
    checks_reset();
    assert_int_equal(word(&b, 3), UINT32_MAX);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_that_loop_different_counts_meet_again),
        cmocka_unit_test(a_lane_that_spins_on_another_lane_of_its_warp_is_served),
        cmocka_unit_test(guards_and_exits_leave_the_other_lanes_running),
        cmocka_unit_test(lanes_that_exit_are_not_waited_for),
        cmocka_unit_test(brx_jumps_by_table),
        cmocka_unit_test(functions_are_called_with_their_arguments),
        cmocka_unit_test(functions_take_and_return_registers),
        cmocka_unit_test(printf_of_a_kernel_goes_to_standard_output),
        cmocka_unit_test(a_failed_assertion_names_its_text_and_place),
        cmocka_unit_test(barriers_order_warps),
        cmocka_unit_test(bar_red_combines_the_block),
        cmocka_unit_test(a_deadlock_names_warps_and_barriers),
        cmocka_unit_test(a_divergent_barrier_is_a_fault),
        cmocka_unit_test(faults_name_kernel_thread_address_and_allocation),
        cmocka_unit_test(generic_addresses_reach_every_window),
        cmocka_unit_test(atomics_add_up_over_blocks_and_threads),
        cmocka_unit_test(a_grid_barrier_works_when_all_blocks_are_resident),
        cmocka_unit_test(a_grid_barrier_beyond_occupancy_is_reported_as_a_deadlock),
        cmocka_unit_test(limits_that_cannot_be_met_are_refused),
        cmocka_unit_test(an_endless_loop_is_a_deadlock),
        cmocka_unit_test(a_loop_with_a_distant_time_out_is_a_hang),
        cmocka_unit_test(a_missing_wait_shows_as_stale_data),
        cmocka_unit_test(cp_async_fills_with_zeros_and_never_reads_what_it_skips),
        cmocka_unit_test(shared_memory_starts_as_nan),
    };
    return run_with_and_without_checks(tests);
}
