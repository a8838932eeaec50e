/* The clock of kernels whose blocks wait for each other: a wait has its price, polls have none. */
#include "exec_help.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "softgpu/clock.h"

/* Block 0's thread counts word 0 up `steps` times and waits each time until all blocks have. */
static const char text_of[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry t(.param .u64 p) {\n"
    ".reg .b32 %r<12>; .reg .b64 %rd<2>; .reg .pred %p<4>;\n"
    "ld.param.u64 %rd0, [p]; mov.u32 %r3, %nctaid.x; mov.u32 %r5, 0; mov.u32 %r7, 0;\n"
    "STEP: add.u32 %r5, %r5, 1; add.u32 %r7, %r7, %r3; mov.u32 %r9, 0;\n"
    "red.release.gpu.global.add.u32 [%rd0], 1;\n"
    "SPIN: ld.acquire.gpu.global.u32 %r8, [%rd0]; setp.ge.u32 %p1, %r8, %r7; @%p1 bra NEXT;\n"
    "add.u32 %r9, %r9, 1; setp.lt.u32 %p2, %r9, 16777216; @%p2 bra SPIN; ret;\n"
    "NEXT: setp.lt.u32 %p3, %r5, STEPS; @%p3 bra STEP; ret;\n}\n";

typedef struct Setting {
    const char *model;
    int steps;
    uint32_t blocks;
    uint64_t seed;
    int threads;
} Setting;

static SgTime timed(Setting s) {
    char text[2048], steps[12];
    const char *const at = strstr(text_of, "STEPS");
    snprintf(steps, sizeof steps, "%d", s.steps);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - text_of), text_of, steps, at + 5);
    Bench b;
    SgTime time;
    bench_open(&b, "sm_80", text, 4096);
    b.launch = (SgLaunch){.grid = {s.blocks, 1, 1},
                          .block = {1, 1, 1},
                          .resident = (int)s.blocks,
                          .threads = s.threads,
                          .seed = s.seed,
                          .model = gpu_model_find(s.model)};
    if (bench_launch(&b, "t")) fail_msg("%s", b.launch.fault.text);
    SgText code = sg_text_of(text, "t");
    assert_int_equal(sg_clock(&b.launch, sg_kernel_info(b.launch.kernel), &code, &time, &b.err),
                     ST_OK);
    sg_text_close(&code);
    bench_close(&b);
    return time;
}

/* Round trips to L2 that a step takes, by each of the times. */
static void steps_cost(const char *model, double trips[4]) {
    const GpuModel *const m = gpu_model_find(model);
    const SgTime few = timed((Setting){model, 100, 64, 0, 2});
    const SgTime many = timed((Setting){model, 300, 64, 0, 2});
    const double trip = m->l2_latency / (m->clock_mhz * 1e6) * 200;
    trips[0] = (many.at_least - few.at_least) / trip;
    trips[1] = (many.low - few.low) / trip;
    trips[2] = (many.mean - few.mean) / trip;
    trips[3] = (many.high - few.high) / trip;
}

static void a_wait_takes_round_trips_to_l2(void **state) {
    (void)state;
    static const char *const models[] = {"a100", "h100", "t4"};
    static const double path[] = {1, 1.5, 2.5, 3};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        double trips[4];
        steps_cost(models[i], trips);
        for (int k = 0; k < 4; k++) /* a step's few instructions come on top */
            if (trips[k] < path[k] || trips[k] > path[k] + 0.4)
                fail_msg("%s: %.3f round trips per step in place of %.1f", models[i], trips[k],
                         path[k]);
    }
}

static void neither_polls_nor_the_schedule_change_the_time(void **state) {
    (void)state;
    const SgTime first = timed((Setting){"a100", 50, 64, 0, 1});
    for (uint64_t seed = 0; seed < 6; seed++)
        for (int threads = 1; threads < 4; threads++) {
            const SgTime time = timed((Setting){"a100", 50, 64, seed, threads});
            assert_true(time.seconds == first.seconds && time.low == first.low &&
                        time.high == first.high && time.at_least == first.at_least);
        }
}

static void what_bounds_a_kernel_that_waits_is_said(void **state) {
    (void)state;
    const SgTime time = timed((Setting){"a100", 400, 64, 0, 2});
    assert_string_equal(time.bound, "waits");
    assert_true(time.part[SG_CYCLE_BARRIER] > 0.8 && time.part[SG_CYCLE_BARRIER] <= 1);
    double all = 0;
    for (int i = 0; i < SG_CYCLES; i++) all += time.part[i];
    assert_true(fabs(all - 1) < 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_takes_round_trips_to_l2),
        cmocka_unit_test(neither_polls_nor_the_schedule_change_the_time),
        cmocka_unit_test(what_bounds_a_kernel_that_waits_is_said),
    };
    return cmocka_run_group_tests_name("softgpu clock of waits", tests, NULL, NULL);
}
