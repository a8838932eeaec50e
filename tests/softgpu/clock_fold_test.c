/* The clock's fold on toy loops: what is counted by hand here is what ptxas keeps of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "softgpu/clock/classify.h"

#define HEAD                                                                                       \
    ".version 8.0\n.target sm_80\n.address_size 64\n"                                              \
    ".visible .entry k(.param .u64 p) {\n"                                                         \
    ".reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .f32 %f<99>;\n.reg .b32 %r<99>;\n"                  \
    ".reg .b64 %d<99>;\n"
#define TAIL "ret;\n}\n"

typedef struct Folded {
    Arena *arena;
    PtxModule *module;
    CodeRegions regions;
    CodeRegion loop; /* the last region: of a kernel with one loop, that */
} Folded;

static Folded fold_with(const char *ptx, const uint64_t *visits) {
    Folded f = {.arena = arena_new()};
    Error err = {0};
    assert_non_null(f.arena);
    if (ptx_parse(ptx, strlen(ptx), f.arena, &f.module, &err) != ST_OK) fail_msg("%s", err.message);
    assert_int_equal(code_regions(ptx_func(f.module, "k"), visits, f.arena, &f.regions, &err),
                     ST_OK);
    f.loop = f.regions.region[f.regions.count - 1];
    return f;
}

static Folded fold(const char *ptx) {
    return fold_with(ptx, NULL);
}

typedef struct Row {
    const char *what, *ptx;
    CodeKind kind;
    uint32_t raw, folded;
} Row;

#define LOOP(body)                                                                                 \
    HEAD "ld.param.u64 %d1, [p];\nmov.u32 %r1, 0;\nmov.f32 %f1, 0f00000000;\nL:\n" body            \
         "add.s32 %r1, %r1, 1;\nsetp.lt.s32 %p1, %r1, 64;\n@%p1 bra L;\n"                          \
         "st.global.f32 [%d1], %f1;\nst.global.u32 [%d1+4], %r2;\nst.global.u64 [%d1+8], "         \
         "%d2;\n" TAIL

/* The counter and its comparison are two ALU operations in each of them. */
static const Row rows[] = {
    {"an empty loop counts", LOOP(""), CODE_ALU, 2, 2},
    {"moves and address conversions are names",
     LOOP("cvta.to.global.u64 %d5, %d1;\nmov.u32 %r5, %r1;\nst.global.u32 [%d5], %r5;\n"), CODE_ALU,
     2, 2},
    {"widening without a sign is a name",
     LOOP("cvt.u64.u32 %d5, %r1;\ncvt.u32.u64 %r5, %d5;\nst.global.u32 [%d1], %r5;\n"), CODE_ALU, 2,
     2},
    {"widening with a sign is an operation",
     LOOP("cvt.s64.s32 %d5, %r1;\nst.global.u64 [%d1], %d5;\n"), CODE_ALU, 3, 3},
    {"what does not change leaves the loop",
     LOOP("add.s32 %r5, %r90, 7;\nshl.b32 %r6, %r5, 2;\nst.global.u32 [%d1], %r6;\n"), CODE_ALU, 4,
     2},
    {"what nobody reads is dead", LOOP("xor.b32 %r5, %r1, 3;\nnot.b32 %r6, %r5;\n"), CODE_ALU, 4,
     2},
    {"a constant added to an address is an offset",
     LOOP("add.s32 %r5, %r1, 512;\nadd.s32 %r6, %r5, 16;\nst.shared.u32 [%r6], %r1;\n"), CODE_ALU,
     4, 2},
    {"an address that is also a value is computed",
     LOOP("add.s32 %r5, %r1, 512;\nst.shared.u32 [%r5], %r5;\n"), CODE_ALU, 3, 3},
    {"a product and a sum are one operation",
     LOOP("mul.f32 %f5, %f1, 0f40000000;\nadd.f32 %f1, %f5, %f9;\n"), CODE_FP32, 2, 1},
    {"a difference takes a product, behind a move too",
     LOOP("mul.ftz.f32 %f5, %f1, %f8;\nmov.f32 %f6, %f5;\nsub.ftz.f32 %f1, %f6, %f9;\n"), CODE_FP32,
     2, 1},
    {"a product that is read twice stays",
     LOOP("mul.f32 %f5, %f1, %f8;\nadd.f32 %f6, %f5, %f9;\nadd.f32 %f1, %f6, %f5;\n"), CODE_FP32, 3,
     3},
    {"a rounding that is asked for stays",
     LOOP("mul.rn.f32 %f5, %f1, %f8;\nadd.f32 %f1, %f5, %f9;\n"), CODE_FP32, 2, 2},
    {"signs are operand modifiers", LOOP("neg.f32 %f5, %f1;\nadd.f32 %f1, %f5, %f9;\n"), CODE_FP32,
     1, 1},
    {"a shift and a sum are one", LOOP("shl.b32 %r5, %r1, 4;\nadd.s32 %r2, %r5, %r2;\n"), CODE_ALU,
     4, 3},
    {"a product and a sum of integers are one",
     LOOP("mul.lo.s32 %r5, %r1, %r9;\nadd.s32 %r2, %r5, %r2;\n"), CODE_ALU, 4, 3},
    {"two sums are one of three terms", LOOP("add.s32 %r5, %r1, %r9;\nadd.s32 %r2, %r5, %r2;\n"),
     CODE_ALU, 4, 3},
    {"two logic operations are one", LOOP("and.b32 %r5, %r1, 7;\nxor.b32 %r2, %r5, %r2;\n"),
     CODE_ALU, 4, 3},
    {"64-bit sums are two operations", LOOP("add.s64 %d2, %d2, %d9;\n"), CODE_ALU, 4, 4},
    {"64-bit products are three", LOOP("mul.lo.s64 %d2, %d2, %d9;\n"), CODE_ALU, 5, 5},
    {"wide products add 64 bits at once",
     LOOP("mul.wide.s32 %d5, %r1, 4;\nadd.s64 %d2, %d2, %d5;\n"), CODE_ALU, 5, 3},
    {"halves are packed by one operation",
     LOOP("cvt.rn.f16x2.f32 %r2, %f1, %f1;\nadd.f32 %f1, %f1, %f9;\n"), CODE_CONVERT, 1, 1},
    {"conversions of integers run beside ex2",
     LOOP("cvt.rn.f32.s32 %f5, %r1;\nex2.approx.f32 %f6, %f5;\nadd.f32 %f1, %f1, %f6;\n"), CODE_SFU,
     2, 2},
    {"minima are on a count of their own", LOOP("max.f32 %f1, %f1, %f9;\n"), CODE_MINMAX, 1, 1},
    {"a guarded move selects", LOOP("setp.gt.s32 %p2, %r1, 5;\n@%p2 mov.u32 %r2, %r1;\n"), CODE_ALU,
     4, 4},
};

static void folds_leave_what_ptxas_keeps(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Folded f = fold(rows[i].ptx);
        const uint32_t raw = f.loop.raw[rows[i].kind], folded = f.loop.folded[rows[i].kind];
        if (raw != rows[i].raw || folded != rows[i].folded)
            fail_msg("%s: %s %u folded to %u, not %u to %u", rows[i].what,
                     code_kind_name(rows[i].kind), raw, folded, rows[i].raw, rows[i].folded);
        arena_free(f.arena);
    }
}

static int op_of(const Folded *f, const char *form, int nth) {
    for (int i = 0; i < f->loop.count; i++)
        if (strcmp(ptx_func(f->module, "k")->instrs[f->loop.ops[i].instr].form, form) == 0 &&
            nth-- == 0)
            return i;
    fail_msg("no %s in the folded loop", form);
    return -1;
}

static bool reads(const Folded *f, int op, int from, bool carried) {
    for (int k = 0; k < f->loop.ops[op].edge_count; k++)
        if (f->loop.ops[op].edges[k].from == from && f->loop.ops[op].edges[k].carried == carried)
            return true;
    return false;
}

static void values_pass_through_what_was_folded(void **state) {
    (void)state;
    Folded f = fold(LOOP("ex2.approx.f32 %f5, %f1;\nmov.f32 %f6, %f5;\nmul.f32 %f7, %f6, %f8;\n"
                         "add.f32 %f1, %f7, %f9;\n"));
    const int ex2 = op_of(&f, "ex2.approx.f32", 0), add = op_of(&f, "add.f32", 0);
    assert_true(reads(&f, add, ex2, false));
    assert_true(reads(&f, ex2, add, true)); /* of the iteration before */
    assert_int_equal(f.loop.ops[add].edge_count, 1);
    arena_free(f.arena);
}

static void a_value_moved_at_the_end_is_read_by_the_next_iteration(void **state) {
    (void)state;
    Folded f = fold(LOOP("max.f32 %f5, %f1, %f9;\nlg2.approx.f32 %f6, %f5;\nst.global.f32 [%d1], "
                         "%f6;\nmov.f32 %f1, %f5;\n"));
    const int max = op_of(&f, "max.f32", 0);
    assert_true(reads(&f, max, max, true));
    arena_free(f.arena);
}

#define MMA                                                                                        \
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r5,%r6,%r7,%r8}, "     \
    "{%r9,%r10}, {%f1,%f2,%f3,%f4};\n"

static void every_loop_is_a_region_without_the_loops_inside(void **state) {
    (void)state;
    Folded f = fold(HEAD "mov.u32 %r1, 0;\nA:\n" MMA "B:\n" MMA MMA "add.s32 %r2, %r2, 1;\n"
                         "setp.lt.s32 %p1, %r2, 9;\n@%p1 bra B;\nadd.s32 %r1, %r1, 1;\n"
                         "setp.lt.s32 %p1, %r1, 99;\n@%p1 bra A;\n" MMA MMA MMA
                         "C:\nadd.s32 %r1, %r1, 1;\nsetp.lt.s32 %p1, %r1, 9;\n@%p1 bra C;\n" TAIL);
    /* By the end of each loop: B, A, C behind what is outside of all. */
    static const uint32_t mma[] = {3, 2, 1, 0};
    static const int parents[] = {-1, 2, 0, 0};
    assert_int_equal(f.regions.count, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f.regions.region[i].mma, mma[i]);
        assert_int_equal(f.regions.region[i].mma_flops, 4096 * mma[i]);
        assert_int_equal(f.regions.region[i].parent, parents[i]);
    }
    assert_int_equal(f.regions.region[3].count, 3);
    arena_free(f.arena);
}

static void a_value_of_the_inner_loop_is_ready_outside(void **state) {
    (void)state;
    Folded f = fold(HEAD "mov.u32 %r1, 0;\nB:\n" MMA "add.s32 %r1, %r1, 1;\n"
                         "setp.lt.s32 %p1, %r1, 9;\n@%p1 bra B;\nex2.approx.f32 %f5, %f1;\n"
                         "st.global.f32 [%d1], %f5;\n" TAIL);
    const CodeRegion *outside = &f.regions.region[0];
    assert_int_equal(outside->folded[CODE_SFU], 1);
    assert_int_equal(outside->ops[0].kind, CODE_SFU);
    assert_int_equal(outside->ops[0].edge_count, 0);
    arena_free(f.arena);
}

static void a_kernel_without_a_loop_is_one_region(void **state) {
    (void)state;
    Folded f = fold(HEAD MMA "st.global.f32 [%d1], %f1;\n" TAIL);
    assert_int_equal(f.regions.count, 1);
    assert_int_equal(f.regions.region[0].mma, 1);
    arena_free(f.arena);
}

/* Instructions: 0 mov; loop 1 ex2, 2 bra SKIP, 3 lg2, 4 sin, 5 (SKIP) add, 6 setp, 7 bra; 8 ... */
#define BRANCHING                                                                                  \
    HEAD "mov.u32 %r1, 0;\nL:\nex2.approx.f32 %f1, %f1;\n@%p2 bra SKIP;\n"                         \
         "lg2.approx.f32 %f1, %f1;\nsin.approx.f32 %f1, %f1;\nSKIP:\nadd.s32 %r1, %r1, 1;\n"       \
         "setp.lt.s32 %p1, %r1, 64;\n@%p1 bra L;\nst.global.f32 [%d1], %f1;\n" TAIL

static void blocks_weigh_as_often_as_they_were_executed(void **state) {
    (void)state;
    const uint64_t quarter[] = {2, 128, 128, 32, 32, 128, 128, 128, 2, 2};
    Folded f = fold_with(BRANCHING, quarter);
    assert_true(f.loop.executions == 128);
    assert_int_equal(f.loop.blocks, 3);
    assert_true(f.loop.weight[0] == 1 && f.loop.weight[1] == 0.25 && f.loop.weight[2] == 1);
    assert_int_equal(f.loop.folded[CODE_SFU], 3);
    arena_free(f.arena);
    const uint64_t never[] = {2, 128, 128, 0, 0, 128, 128, 128, 2, 2};
    f = fold_with(BRANCHING, never);
    assert_int_equal(f.loop.folded[CODE_SFU], 1); /* what is off the path is not there */
    arena_free(f.arena);
}

static void types_decide_the_rate_of_an_mma(void **state) {
    (void)state;
    static const struct {
        const char *form;
        GpuMma rate;
        uint32_t flops;
    } forms[] = {
        {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", GPU_MMA_F16_F32, 4096},
        {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", GPU_MMA_F16_F16, 4096},
        {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", GPU_MMA_TF32, 2048},
        {"mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32", GPU_MMA_INT8, 8192},
        {"mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", GPU_MMA_INT8, 8192},
        {"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32", GPU_MMA_FP8, 8192},
        {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64", GPU_MMA_F64, 512},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        assert_int_equal(form_rate(forms[i].form), forms[i].rate);
        assert_int_equal(form_flops(forms[i].form), forms[i].flops);
    }
    /* H100: int8 at twice the rate of f16, so one of twice the FLOP takes as long. */
    const CodeCosts c = code_costs(gpu_model_find("h100"), 1, false);
    const CodeOp f16 = {.kind = CODE_MMA, .rate = GPU_MMA_F16_F32, .flops = 4096};
    const CodeOp int8 = {.kind = CODE_MMA, .rate = GPU_MMA_INT8, .flops = 8192};
    assert_true(code_interval(&c, &f16) > 5.99 && code_interval(&c, &f16) < 6.01);
    assert_true(code_interval(&c, &int8) > 5.99 && code_interval(&c, &int8) < 6.01);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_leave_what_ptxas_keeps),
        cmocka_unit_test(values_pass_through_what_was_folded),
        cmocka_unit_test(a_value_moved_at_the_end_is_read_by_the_next_iteration),
        cmocka_unit_test(every_loop_is_a_region_without_the_loops_inside),
        cmocka_unit_test(a_value_of_the_inner_loop_is_ready_outside),
        cmocka_unit_test(a_kernel_without_a_loop_is_one_region),
        cmocka_unit_test(blocks_weigh_as_often_as_they_were_executed),
        cmocka_unit_test(types_decide_the_rate_of_an_mma),
    };
    return cmocka_run_group_tests_name("softgpu clock fold", tests, NULL, NULL);
}
