/* What a launch counts, against cases that can be counted by hand. */
#include "exec_help.h"

#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/ptx.h"

#define ENTRY(body)                                                                                \
    PTX_HEADER ".shared .align 128 .b8 sm[16384];\n"                                               \
               ".visible .entry t(.param .u64 p) {\n"                                              \
               ".reg .b32 %r<24>; .reg .b64 %rd<16>; .reg .f32 %f<16>; .reg .pred %p<8>;\n" body   \
               "\n}\n"

/* Of the n-th instruction (0 = first) whose form is `form`. */
static uint64_t visits_of(const Bench *b, const char *form, int n) {
    const PtxFunc *const func = sg_kernel_func(b->launch.kernel);
    assert_int_equal(func->instr_count, b->launch.visit_count);
    for (int i = 0; i < func->instr_count; i++)
        if (strcmp(func->instrs[i].form, form) == 0 && n-- == 0) return b->launch.visits[i];
    fail_msg("no such %s", form);
    return 0;
}

static void run(Bench *b, const char *text, uint32_t blocks, uint32_t threads) {
    bench_open(b, "sm_80", text, 1 << 20);
    if (bench_run(b, "t", blocks, threads)) fail_msg("%s", b->launch.fault.text);
}

/* 3 blocks of 2 warps; 7 iterations; the guarded add is visited though its guard is false. */
static void visits_of_a_loop_are_warps_times_trips(void **state) {
    (void)state;
    Bench b;
    run(&b,
        ENTRY("mov.u32 %r0, 0; setp.ne.u32 %p1, %r0, 0;\n"
              "LOOP: add.u32 %r0, %r0, 1;\n"
              "@%p1 xor.b32 %r1, %r0, 5;\n"
              "setp.lt.u32 %p0, %r0, 7;\n"
              "@%p0 bra LOOP;\n"
              "not.b32 %r2, %r0;\n"
              "ret;"),
        3, 64);
    assert_int_equal(visits_of(&b, "mov.u32", 0), 6);
    assert_int_equal(visits_of(&b, "add.u32", 0), 6 * 7);
    assert_int_equal(visits_of(&b, "xor.b32", 0), 6 * 7);
    assert_int_equal(visits_of(&b, "bra", 0), 6 * 7);
    assert_int_equal(visits_of(&b, "not.b32", 0), 6);
    assert_int_equal(visits_of(&b, "ret", 0), 6);
    bench_close(&b);
}

/* Lanes 0..15 go round twice, the others once: the warp issues the body twice. The arms of an if
 * that half of the lanes take each are visited once each, what follows once. */
/* The check adds records to sums and leaves most of them out again. */
static void visits_do_not_depend_on_the_check_of_addresses(void **state) {
    checks_set("address");
    visits_of_a_loop_are_warps_times_trips(state);
    checks_reset();
}

/* Two places of one exchange, in arms and behind guards, are an instruction each. */
static void alike_exchanges_are_visited_once_at_each_place(void **state) {
    (void)state;
    for (int profile = 0; profile < 2; profile++) {
        Bench b;
        bench_open(&b, "sm_80",
                   ENTRY("ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"
                         "add.s64 %rd0, %rd0, %rd1; setp.lt.u32 %p0, %r0, 16; @%p0 bra LOW;\n"
                         "shfl.sync.bfly.b32 %r1, %r0, 16, 31, -1; bra JOIN;\n"
                         "LOW: shfl.sync.bfly.b32 %r1, %r0, 16, 31, -1;\n"
                         "JOIN: not.b32 %r4, %r0;\n"
                         "@%p0 redux.sync.add.u32 %r2, %r1, -1;\n"
                         "@!%p0 redux.sync.add.u32 %r2, %r4, -1;\n"
                         "xor.b32 %r1, %r1, %r2; st.global.u32 [%rd0], %r1; ret;"),
                   4096);
        b.launch = (SgLaunch){.grid = {1, 1, 1}, .block = {32, 1, 1}, .profile = profile};
        if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
        for (int place = 0; place < 2; place++) {
            assert_int_equal(visits_of(&b, "shfl.sync.bfly.b32", place), 1);
            assert_int_equal(visits_of(&b, "redux.sync.add.u32", place), 1);
        }
        assert_int_equal(visits_of(&b, "not.b32", 0), 1);
        /* 16 to 31 of the lanes below 16; ~16 to ~31 of the others: their sum is -16 */
        for (uint32_t lane = 0; lane < 32; lane++)
            assert_int_equal(((const uint32_t *)b.buffer)[lane], lane ^ 16 ^ (UINT32_MAX - 15));
        bench_close(&b);
    }
}

static void a_divergent_arm_is_visited_by_its_own_lanes_only(void **state) {
    (void)state;
    Bench b;
    run(&b,
        ENTRY("mov.u32 %r0, %tid.x; mov.u32 %r1, 0; setp.lt.u32 %p0, %r0, 16;\n"
              "selp.u32 %r2, 2, 1, %p0;\n"
              "LOOP: add.u32 %r1, %r1, 1;\n"
              "setp.lt.u32 %p1, %r1, %r2;\n"
              "@%p1 bra LOOP;\n"
              "@%p0 bra LOW;\n"
              "xor.b32 %r3, %r1, 1; bra JOIN;\n"
              "LOW: and.b32 %r3, %r1, 1;\n"
              "JOIN: not.b32 %r4, %r3; ret;"),
        1, 32);
    assert_int_equal(visits_of(&b, "add.u32", 0), 2);
    assert_int_equal(visits_of(&b, "xor.b32", 0), 1);
    assert_int_equal(visits_of(&b, "and.b32", 0), 1);
    assert_int_equal(visits_of(&b, "not.b32", 0), 1);
    bench_close(&b);
}

static void what_a_callee_executes_is_not_of_the_entry(void **state) {
    (void)state;
    Bench b;
    run(&b,
        PTX_HEADER ".func f(.reg .b32 %a) { .reg .b32 %r<2>; .reg .pred %p<2>; mov.u32 %r0, 0;\n"
                   "L: add.u32 %r0, %r0, 1; setp.lt.u32 %p0, %r0, 9; @%p0 bra L; ret; }\n"
                   ".visible .entry t(.param .u64 p) { .reg .b32 %r<4>;\n"
                   "mov.u32 %r0, 4; call f, (%r0); add.u32 %r1, %r0, 1; ret; }\n",
        1, 96);
    assert_int_equal(visits_of(&b, "call", 0), 3);
    assert_int_equal(visits_of(&b, "add.u32", 0), 3);
    bench_close(&b);
}

/* Block x goes round x + 1 times. */
static void each_sampled_block_has_visits_of_its_own(void **state) {
    (void)state;
    Bench b;
    run(&b,
        ENTRY("mov.u32 %r0, 0; mov.u32 %r1, %ctaid.x;\n"
              "LOOP: add.u32 %r0, %r0, 1; setp.le.u32 %p0, %r0, %r1; @%p0 bra LOOP; ret;"),
        3, 64);
    assert_int_equal(b.launch.sample_count, 3);
    const PtxFunc *const func = sg_kernel_func(b.launch.kernel);
    for (uint64_t k = 0; k < 3; k++)
        for (int i = 0; i < func->instr_count; i++)
            if (strcmp(func->instrs[i].form, "add.u32") == 0)
                assert_int_equal(b.launch.samples[k].visits[i], 2 * (k + 1));
    assert_int_equal(visits_of(&b, "add.u32", 0), 2 * (1 + 2 + 3));
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(visits_of_a_loop_are_warps_times_trips),
        cmocka_unit_test(visits_do_not_depend_on_the_check_of_addresses),
        cmocka_unit_test(alike_exchanges_are_visited_once_at_each_place),
        cmocka_unit_test(a_divergent_arm_is_visited_by_its_own_lanes_only),
        cmocka_unit_test(each_sampled_block_has_visits_of_its_own),
        cmocka_unit_test(what_a_callee_executes_is_not_of_the_entry),
    };
    return run_with_and_without_checks(tests);
}
