/* The instructions that bench_softgpu times: PTX text of one unit each.
 *
 * `text` is repeated UNROLL times in a loop of one warp; '#' becomes a register number that
 * changes from copy to copy. Registers of the kernel: %r#, %f#, %p#, %d# (results), %a, %b, %c
 * (operands that never change), %as (a shared address per lane), %ag (a global one). */
#ifndef TESTS_BENCH_SOFTGPU_ROWS_H
#define TESTS_BENCH_SOFTGPU_ROWS_H

#include <stdbool.h>

typedef struct BenchRow {
    const char *name, *text;
    int instructions; /* of one unit */
    bool exact;       /* SOFTGPU_MMA=exact */
} BenchRow;

#define BENCH_MMA(shape)                                                                           \
    "mma.sync.aligned." shape                                                                      \
    " {%d#, %e#, %g#, %h#}, {%a0, %a1, %a2, %a3}, {%b0, %b1}, {%d#, %e#, %g#, %h#};\n"
#define BENCH_MMA_F16  BENCH_MMA("m16n8k16.row.col.f32.f16.f16.f32")
#define BENCH_MMA_BF16 BENCH_MMA("m16n8k16.row.col.f32.bf16.bf16.f32")
#define BENCH_MMA_S8   BENCH_MMA("m16n8k32.row.col.s32.s8.s8.s32")

static const BenchRow bench_rows[] = {
    {"add.s32", "add.s32 %r#, %a0, %a1;\n", 1, false},
    {"mul.lo.s32", "mul.lo.s32 %r#, %a0, %a1;\n", 1, false},
    {"mad.lo.s32", "mad.lo.s32 %r#, %a0, %a1, %a2;\n", 1, false},
    {"shl.b32", "shl.b32 %r#, %a0, %a1;\n", 1, false},
    {"setp.lt.s32", "setp.lt.s32 %p#, %a0, %a1;\n", 1, false},
    {"selp.b32", "selp.b32 %r#, %a0, %a1, %q;\n", 1, false},
    {"add.f32", "add.f32 %f#, %cf0, %cf1;\n", 1, false},
    {"mul.f32", "mul.f32 %f#, %cf0, %cf1;\n", 1, false},
    {"fma.rn.f32", "fma.rn.f32 %f#, %cf0, %cf1, %cf2;\n", 1, false},
    {"max.f32", "max.f32 %f#, %cf0, %cf1;\n", 1, false},
    {"ex2.approx.ftz.f32", "ex2.approx.ftz.f32 %f#, %cf0;\n", 1, false},
    {"cvt.rn.f16x2.f32", "cvt.rn.f16x2.f32 %r#, %cf0, %cf1;\n", 1, false},
    {"cvt.rn.bf16x2.f32", "cvt.rn.bf16x2.f32 %r#, %cf0, %cf1;\n", 1, false},
    {"fma.rn.f32, 8 lanes", "@%o fma.rn.f32 %f#, %cf0, %cf1, %cf2;\n", 1, false},
    {"shfl.sync.bfly", "shfl.sync.bfly.b32 %r#, %a0, 2, 31, -1;\n", 1, false},
    {"ld.shared.b32", "ld.shared.b32 %r#, [%as];\n", 1, false},
    {"ld.shared.v4.b32", "ld.shared.v4.b32 {%d#, %e#, %g#, %h#}, [%aw];\n", 1, false},
    {"st.shared.b32", "st.shared.b32 [%as], %a0;\n", 1, false},
    {"st.shared.v4.b32", "st.shared.v4.b32 [%aw], {%a0, %a1, %a2, %a3};\n", 1, false},
    {"ld.global.v4.b32", "ld.global.v4.b32 {%d#, %e#, %g#, %h#}, [%ag];\n", 1, false},
    {"ldmatrix.x4", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%d#, %e#, %g#, %h#}, [%aw];\n", 1,
     false},
    {"ldmatrix.x4.trans",
     "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%d#, %e#, %g#, %h#}, [%aw];\n", 1, false},
    {"cp.async 16, landed",
     "cp.async.cg.shared.global [%aw], [%ag], 16;\ncp.async.cg.shared.global [%aw], [%ag], 16;\n"
     "cp.async.cg.shared.global [%aw], [%ag], 16;\ncp.async.cg.shared.global [%aw], [%ag], 16;\n"
     "cp.async.commit_group;\ncp.async.wait_group 0;\n",
     4, false},
    {"mma f16, fast", BENCH_MMA_F16, 1, false},
    {"mma bf16, fast", BENCH_MMA_BF16, 1, false},
    {"mma f16, exact", BENCH_MMA_F16, 1, true},
    {"mma bf16, exact", BENCH_MMA_BF16, 1, true},
    {"mma m16n8k32 s8", BENCH_MMA_S8, 1, false},
};

#endif
