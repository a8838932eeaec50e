/* Scheduling and issue on loops small enough to count the cycles by hand (A100: an m16n8k16 every
 * 8 cycles and sub-core, 25 cycles to its result; a ldmatrix.x4 holds the port for 16). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "softgpu/clock/code.h"

enum { MOST = 64 };

typedef struct Toy {
    CodeOp ops[MOST];
    CodeEdge edges[MOST][4];
    double weights[2];
    CodeRegion loop;
} Toy;

static int op(Toy *t, CodeKind kind) {
    const int i = t->loop.count++;
    assert_true(i < MOST);
    t->loop.ops = t->ops;
    t->loop.weight = t->weights;
    if (t->weights[0] == 0) t->weights[0] = t->weights[1] = 1;
    t->ops[i] = (CodeOp){.kind = (uint8_t)kind,
                         .slots = 1,
                         .matrices = 4,
                         .flops = kind == CODE_MMA ? 4096 : 0,
                         .edges = t->edges[i]};
    return i;
}

static void reads(Toy *t, int i, int from, bool carried) {
    t->edges[i][t->ops[i].edge_count++] = (CodeEdge){.from = from, .carried = carried};
}

static double cycles(const Toy *t, int warps, int blocks) {
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    const CodeShare share = {.warps = warps, .blocks = blocks, .policy = CODE_OLDEST, .turns = 4};
    return code_issue(&t->loop, &costs, &share, NULL);
}

static void near(double value, double expected) {
    if (value < expected - 0.51 || value > expected + 0.51)
        fail_msg("%.2f cycles, not %.2f", value, expected);
}

static void independent_mma_take_their_interval(void **state) {
    (void)state;
    Toy t = {0};
    for (int i = 0; i < 8; i++) op(&t, CODE_MMA);
    near(cycles(&t, 1, 1), 64);
    near(cycles(&t, 1, 2), 128); /* each of the two warps goes on at half the rate */
    near(cycles(&t, 2, 1), 128);
}

static void a_chain_takes_its_latency_and_other_warps_fill_it(void **state) {
    (void)state;
    Toy t = {0};
    reads(&t, op(&t, CODE_MMA), 0, true);
    near(cycles(&t, 1, 1), 25);
    near(cycles(&t, 1, 3), 25); /* 3 x 8 fit */
    near(cycles(&t, 1, 4), 32); /* now the pipe is full */
}

static void the_shared_port_serves_four_sub_cores(void **state) {
    (void)state;
    Toy t = {0};
    for (int i = 0; i < 4; i++) op(&t, CODE_LDMATRIX);
    near(cycles(&t, 1, 1), 64);
    op(&t, CODE_SPILL_LOAD);
    op(&t, CODE_SHUFFLE);
    near(cycles(&t, 1, 1), 64 + 8 + 4);
    CodeCosts twice = code_costs(gpu_model_find("a100"), 2, false); /* every wavefront conflicts */
    const CodeShare share = {.warps = 1, .blocks = 1, .turns = 4};
    near(code_issue(&t.loop, &twice, &share, NULL), 128 + 8 + 4);
}

static void pipes_overlap_within_a_warp_and_issue_limits(void **state) {
    (void)state;
    Toy t = {0};
    for (int i = 0; i < 4; i++) {
        op(&t, CODE_MMA);
        op(&t, CODE_FP32);
        op(&t, CODE_ALU);
        op(&t, CODE_ALU);
    }
    near(cycles(&t, 1, 1), 32); /* the tensor pipe; ALU 16, FP32 8 lie beside it */
    Toy issue = {0};
    for (int i = 0; i < 20; i++) op(&issue, CODE_OTHER);
    near(cycles(&issue, 1, 1), 20);
}

static void warps_of_a_block_wait_for_each_other_blocks_do_not(void **state) {
    (void)state;
    Toy t = {0}; /* a phase of mma, a phase of loads, a barrier between */
    for (int i = 0; i < 8; i++) op(&t, CODE_MMA);
    op(&t, CODE_BARRIER);
    for (int i = 0; i < 8; i++) reads(&t, op(&t, CODE_LDMATRIX), i == 0 ? 7 : 7 + i, false);
    op(&t, CODE_BARRIER);
    const double together = cycles(&t, 2, 1), apart = cycles(&t, 1, 2);
    assert_true(together > apart + 10);
    assert_true(apart >= 8 * 16 * 2); /* the port's work for both */
}

static void a_schedule_keeps_every_edge_and_every_op(void **state) {
    (void)state;
    Toy t = {0};
    for (int i = 0; i < 6; i++) op(&t, CODE_LDMATRIX);
    const int barrier = op(&t, CODE_BARRIER);
    const int copy = op(&t, CODE_COPY);
    for (int i = 0; i < 12; i++) {
        const int mma = op(&t, CODE_MMA);
        reads(&t, mma, i % 6, false);
        if (i >= 6) reads(&t, mma, mma - 6, false);
        t.ops[mma].instr = mma;
    }
    for (int i = 0; i < t.loop.count; i++) t.ops[i].instr = i;
    t.loop.ops[t.loop.count - 1].block = 0;
    Arena *arena = arena_new();
    assert_non_null(arena);
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    const CodeSetting setting = {
        .registers = 128, .reserved = 25, .spill_loads = 3, .spill_stores = 2, .spacing = 32};
    CodeRegion out;
    assert_int_equal(code_schedule(&t.loop, &costs, &setting, arena, &out, NULL), ST_OK);
    assert_int_equal(out.count, t.loop.count + 5);
    int at[MOST] = {0}, loads = 0, stores = 0, seen = 0;
    for (int i = 0; i < out.count; i++) {
        loads += out.ops[i].kind == CODE_SPILL_LOAD;
        stores += out.ops[i].kind == CODE_SPILL_STORE;
        if (out.ops[i].instr >= 0) at[out.ops[i].instr] = i + 1;
        for (int k = 0; k < out.ops[i].edge_count; k++)
            assert_true(out.ops[i].edges[k].carried || out.ops[i].edges[k].from < i);
    }
    for (int i = 0; i < t.loop.count; i++) seen += at[i] > 0;
    assert_int_equal(seen, t.loop.count);
    assert_int_equal(loads, 3);
    assert_int_equal(stores, 2);
    for (int i = 0; i < 6; i++) assert_true(at[i] < at[barrier]);
    assert_true(at[barrier] < at[copy]);
    arena_free(arena);
}

static void a_barrier_waits_for_no_result(void **state) {
    (void)state;
    Toy t = {0}; /* the loads must have been issued, not have come back */
    for (int i = 0; i < 3; i++) op(&t, CODE_LDMATRIX);
    op(&t, CODE_BARRIER);
    Arena *arena = arena_new();
    assert_non_null(arena);
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    const CodeSetting setting = {.registers = 128, .reserved = 25};
    CodeRegion out;
    assert_int_equal(code_schedule(&t.loop, &costs, &setting, arena, &out, NULL), ST_OK);
    const CodeShare share = {.warps = 1, .blocks = 1, .turns = 4};
    /* Three issue slots, the barrier and its release; the port's 48 cycles are what is left. */
    near(code_issue(&out, &costs, &share, NULL), 48);
    arena_free(arena);
}

static void chains_are_spread_by_the_scheduler(void **state) {
    (void)state;
    Toy t = {0}; /* two serial sums one after the other, as PTX has them */
    for (int chain = 0; chain < 2; chain++)
        for (int i = 0; i < 16; i++) {
            const int add = op(&t, CODE_FP32);
            if (i > 0) reads(&t, add, add - 1, false);
        }
    Arena *arena = arena_new();
    assert_non_null(arena);
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    const CodeSetting setting = {.registers = 128, .reserved = 25};
    CodeRegion out;
    assert_int_equal(code_schedule(&t.loop, &costs, &setting, arena, &out, NULL), ST_OK);
    const CodeShare share = {.warps = 1, .blocks = 1, .turns = 4};
    const double before = code_issue(&t.loop, &costs, &share, NULL);
    const double after = code_issue(&out, &costs, &share, NULL);
    assert_true(before > 1.7 * after);
    arena_free(arena);
}

static void a_block_off_the_path_is_executed_as_often_as_it_weighs(void **state) {
    (void)state;
    Toy t = {.weights = {1, 0.25}};
    for (int i = 0; i < 4; i++) op(&t, CODE_MMA);
    for (int i = 0; i < 4; i++) t.ops[op(&t, CODE_MMA)].block = 1;
    near(cycles(&t, 1, 1), 32 + 8);
    t.weights[1] = 0.5;
    near(cycles(&t, 1, 1), 32 + 16);
}

/* A copy, its group, work, a wait for all but `in_flight` groups. */
static double copying(int mma, int in_flight) {
    Toy t = {0};
    t.ops[op(&t, CODE_COPY)].bytes = 16;
    t.ops[op(&t, CODE_ASYNC)].groups = -1;
    for (int i = 0; i < mma; i++) op(&t, CODE_MMA);
    t.ops[op(&t, CODE_ASYNC)].groups = (int8_t)in_flight;
    return cycles(&t, 1, 1);
}

static void a_wait_takes_until_its_copies_have_come_from_l2(void **state) {
    (void)state;
    const GpuModel *m = gpu_model_find("a100");
    const double l2 = 16 * 32 * 4 * 108 * 1.41 / m->l2_gbs; /* of a sub-core's share */
    const double trip = 16 + l2 + m->l2_latency;            /* the port, L2 */
    const double waited = copying(2, 0);
    if (waited < trip || waited > trip + 8) fail_msg("%.1f cycles, not %.1f", waited, trip);
    near(copying(60, 0), 480);                 /* hidden by the mma */
    assert_true(copying(2, 1) < 0.6 * waited); /* two trips at once */
}

static void a_schedule_holds_no_more_values_than_registers(void **state) {
    (void)state;
    Toy t = {0}; /* every value is read once; all first would need ten registers */
    for (int i = 0; i < 10; i++) op(&t, CODE_ALU);
    for (int i = 0; i < 10; i++) reads(&t, op(&t, CODE_FP32), i, false);
    Arena *arena = arena_new();
    assert_non_null(arena);
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    CodeRegion out;
    static const int registers[] = {4, 64}, most_values[] = {4, 10};
    for (int r = 0; r < 2; r++) {
        const CodeSetting setting = {.registers = registers[r]};
        assert_int_equal(code_schedule(&t.loop, &costs, &setting, arena, &out, NULL), ST_OK);
        int values = 0, most = 0;
        for (int i = 0; i < out.count; i++) {
            values += out.ops[i].kind == CODE_ALU ? 1 : -1;
            if (values > most) most = values;
        }
        assert_int_equal(most, most_values[r]);
    }
    arena_free(arena);
}

static void stalls(const Toy *t, int warps, int blocks, double stall[STALLS]) {
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    const CodeShare share = {.warps = warps, .blocks = blocks, .policy = CODE_OLDEST, .turns = 4};
    assert_true(code_issue(&t->loop, &costs, &share, stall) > 0);
}

/* Every reason on a loop whose cycles can be counted: what is not an issue slot is a stall. */
static void stalls_are_the_cycles_without_an_issue_by_reason(void **state) {
    (void)state;
    double s[STALLS];
    Toy chain = {0}; /* 25 cycles, 1 of them issues; its operand is late */
    reads(&chain, op(&chain, CODE_MMA), 0, true);
    stalls(&chain, 1, 1, s);
    near(s[STALL_DEPENDENCE], 24);
    near(s[STALL_PIPE] + s[STALL_MEMORY] + s[STALL_BARRIER] + s[STALL_ASYNC], 0);
    stalls(&chain, 1, 3, s); /* 25 cycles, 3 of them issue; the pipe is free again after 8 each */
    near(s[STALL_DEPENDENCE] + s[STALL_PIPE], 22);

    Toy full = {0}; /* 64 cycles, 8 of them issue; nothing depends on anything */
    for (int i = 0; i < 8; i++) op(&full, CODE_MMA);
    stalls(&full, 1, 1, s);
    near(s[STALL_PIPE], 56);
    near(s[STALL_DEPENDENCE], 0);

    Toy load = {0}; /* the port for 16 cycles, the latency, then the reader's slot and again */
    op(&load, CODE_LDMATRIX);
    reads(&load, op(&load, CODE_ALU), 0, false);
    reads(&load, 0, 1, true);
    const CodeCosts costs = code_costs(gpu_model_find("a100"), 1, false);
    stalls(&load, 1, 1, s);
    near(s[STALL_MEMORY], 16 + costs.latency[CODE_LDMATRIX] - 1);
    near(s[STALL_DEPENDENCE], costs.interval[CODE_ALU] + costs.latency[CODE_ALU] - 1);

    Toy meet = {0}; /* two warps and a barrier alone: both slots, then its latency */
    op(&meet, CODE_BARRIER);
    stalls(&meet, 2, 1, s);
    near(s[STALL_BARRIER], costs.barrier - 1);
    near(cycles(&meet, 2, 1), costs.barrier + 1);

    Toy copies = {0};
    copies.ops[op(&copies, CODE_COPY)].bytes = 16;
    copies.ops[op(&copies, CODE_ASYNC)].groups = -1;
    copies.ops[op(&copies, CODE_ASYNC)].groups = 0;
    stalls(&copies, 1, 1, s);
    near(s[STALL_ASYNC], cycles(&copies, 1, 1) - 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(independent_mma_take_their_interval),
        cmocka_unit_test(a_chain_takes_its_latency_and_other_warps_fill_it),
        cmocka_unit_test(the_shared_port_serves_four_sub_cores),
        cmocka_unit_test(pipes_overlap_within_a_warp_and_issue_limits),
        cmocka_unit_test(warps_of_a_block_wait_for_each_other_blocks_do_not),
        cmocka_unit_test(a_schedule_keeps_every_edge_and_every_op),
        cmocka_unit_test(a_barrier_waits_for_no_result),
        cmocka_unit_test(chains_are_spread_by_the_scheduler),
        cmocka_unit_test(a_block_off_the_path_is_executed_as_often_as_it_weighs),
        cmocka_unit_test(a_wait_takes_until_its_copies_have_come_from_l2),
        cmocka_unit_test(a_schedule_holds_no_more_values_than_registers),
        cmocka_unit_test(stalls_are_the_cycles_without_an_issue_by_reason),
    };
    return cmocka_run_group_tests_name("softgpu clock issue", tests, NULL, NULL);
}
