/* Counts of profiled launches against cases that can be counted by hand, and the L2 model. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/gpus.h"
#include "softgpu/exec/profile.h"
#include "softgpu/ptx/ptx.h"

/* %rd0 buffer, %r0 thread of the block, %r1 sm, %r2 sm + 4 * thread. */
#define ENTRY(body)                                                                                \
    PTX_HEADER ".visible .entry t(.param .u64 p) {\n"                                              \
               ".shared .align 128 .b8 sm[16384]; .local .align 16 .b8 lo[64];\n"                  \
               ".reg .b32 %r<24>; .reg .b64 %rd<16>; .reg .f32 %f<16>; .reg .pred %p<8>;\n"        \
               "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mov.u32 %r1, sm;\n"                   \
               "shl.b32 %r2, %r0, 2; add.s32 %r2, %r1, %r2;\n" body "\n}\n"

static const SgDetail *profile(Bench *b, const char *text, uint32_t blocks, uint32_t threads) {
    bench_open(b, "sm_80", text, 1 << 20);
    b->launch = (SgLaunch){.grid = {blocks, 1, 1},
                           .block = {threads, 1, 1},
                           .resident = 4,
                           .threads = 3,
                           .profile = true,
                           .model = gpu_model_find("a100")};
    if (bench_launch(b, "t")) fail_msg("%s", b->launch.fault.text);
    assert_non_null(b->launch.detail);
    return &b->launch.detail->detail;
}

static const SgRow *row_of(const Bench *b, const char *form, int n) {
    const SgProfile *const p = b->launch.detail;
    for (size_t i = 0; i < p->row_count; i++)
        if (strcmp(p->rows[i].instr->form, form) == 0 && n-- == 0) return &p->rows[i];
    fail_msg("no such %s", form);
    return NULL;
}

typedef struct Shared {
    const char *text;
    SgMover mover;
    uint64_t wavefronts, conflicts;
} Shared;

static void bank_conflicts_are_told_apart_by_instruction(void **state) {
    (void)state;
    static const Shared rows[] = {
        {ENTRY("st.shared.u32 [%r2], %r0; ret;"), SG_STORES, 1, 0},
        /* 8 bytes apart: lanes l and l + 16 share a bank */
        {ENTRY("mad.lo.u32 %r3, %r0, 8, %r1; st.shared.u32 [%r3], %r0; ret;"), SG_STORES, 2, 1},
        /* 128 bytes apart: all in one bank */
        {ENTRY("mad.lo.u32 %r3, %r0, 128, %r1; ld.shared.u32 %r4, [%r3]; ret;"), SG_LOADS, 32, 31},
        /* 132 bytes apart: the usual padding */
        {ENTRY("mad.lo.u32 %r3, %r0, 132, %r1; ld.shared.u32 %r4, [%r3]; ret;"), SG_LOADS, 1, 0},
        {ENTRY("ld.shared.u32 %r4, [%r1]; ret;"), SG_LOADS, 1, 0}, /* broadcast */
        /* 512 bytes need four wavefronts */
        {ENTRY("mad.lo.u32 %r3, %r0, 16, %r1; ld.shared.v4.u32 {%r4,%r5,%r6,%r7}, [%r3]; ret;"),
         SG_LOADS, 4, 0},
        /* rows of a matrix side by side, then one below the other 128 bytes apart: 8 each */
        {ENTRY("mad.lo.u32 %r3, %r0, 16, %r1;\n"
               "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4,%r5,%r6,%r7}, [%r3]; ret;"),
         SG_MATRICES, 4, 0},
        {ENTRY("mad.lo.u32 %r3, %r0, 128, %r1;\n"
               "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4,%r5,%r6,%r7}, [%r3]; ret;"),
         SG_MATRICES, 32, 28},
        {ENTRY("atom.shared.add.u32 %r4, [%r2], 1; ret;"), SG_ATOMICS, 1, 0},
        {ENTRY(
             "mad.lo.u32 %r3, %r0, 16, %r1; mul.wide.u32 %rd1, %r0, 16; add.s64 %rd2, %rd0, %rd1;\n"
             "cp.async.cg.shared.global [%r3], [%rd2], 16; cp.async.wait_all; ret;"),
         SG_COPIES, 4, 0},
    };
    checks_without_init();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Bench b;
        const SgDetail *const d = profile(&b, rows[i].text, 1, 32);
        for (int m = 0; m < SG_MOVERS; m++) {
            const bool mine = m == (int)rows[i].mover;
            assert_int_equal(d->shared_requests[m], mine);
            assert_int_equal(d->shared_wavefronts[m], mine ? rows[i].wavefronts : 0);
            assert_int_equal(d->shared_conflicts[m], mine ? rows[i].conflicts : 0);
        }
        bench_close(&b);
    }
    checks_reset();
}

typedef struct Global {
    const char *text;
    SgMover mover;
    uint64_t sectors;
} Global;

static void sectors_per_request_show_coalescing(void **state) {
    (void)state;
    static const Global rows[] = {
        {ENTRY("mul.wide.u32 %rd1, %r0, 4; add.s64 %rd2, %rd0, %rd1; ld.global.u32 %r3, [%rd2]; "
               "ret;"),
         SG_LOADS, 4},
        {ENTRY("mul.wide.u32 %rd1, %r0, 32; add.s64 %rd2, %rd0, %rd1; ld.global.u32 %r3, [%rd2]; "
               "ret;"),
         SG_LOADS, 32},
        {ENTRY("mul.wide.u32 %rd1, %r0, 8; add.s64 %rd2, %rd0, %rd1; st.global.u32 [%rd2], %r0; "
               "ret;"),
         SG_STORES, 8},
        /* generic addresses count alike */
        {ENTRY("mul.wide.u32 %rd1, %r0, 4; add.s64 %rd2, %rd0, %rd1; ld.u32 %r3, [%rd2+4]; ret;"),
         SG_LOADS, 5},
        {ENTRY("ld.global.u32 %r3, [%rd0]; ret;"), SG_LOADS, 1},
        {ENTRY("red.global.add.u32 [%rd0], 1; ret;"), SG_ATOMICS, 1},
        {ENTRY(
             "mad.lo.u32 %r3, %r0, 16, %r1; mul.wide.u32 %rd1, %r0, 16; add.s64 %rd2, %rd0, %rd1;\n"
             "cp.async.cg.shared.global [%r3], [%rd2], 16; cp.async.wait_all; ret;"),
         SG_COPIES, 16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Bench b;
        const SgDetail *const d = profile(&b, rows[i].text, 1, 32);
        for (int m = 0; m < SG_MOVERS; m++) {
            const bool mine = m == (int)rows[i].mover;
            assert_int_equal(d->global_requests[m], mine);
            assert_int_equal(d->global_sectors[m], mine ? rows[i].sectors : 0);
        }
        bench_close(&b);
    }
}

/* 48 threads: a full warp and a half one. The guard lets lanes 0..9 of each warp through. */
static void lanes_and_classes_are_exact(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d =
        profile(&b,
                PTX_HEADER ".visible .entry t(.param .u64 p) { .reg .b32 %r<8>; .reg .f32 %f<8>;\n"
                           ".reg .pred %p<4>; .reg .f64 %d<2>;\n"
                           "mov.u32 %r0, %laneid;\n"
                           "setp.lt.u32 %p0, %r0, 10;\n"
                           "@%p0 add.u32 %r1, %r0, 1;\n"
                           "@!%p0 add.u32 %r1, %r0, 2;\n"
                           "cvt.rn.f32.u32 %f0, %r1;\n"
                           "fma.rn.f32 %f1, %f0, %f0, %f0;\n"
                           "ex2.approx.f32 %f2, %f1;\n"
                           "shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;\n"
                           "ret; }\n",
                1, 48);
    assert_int_equal(d->instructions, 2 * 9);
    /* 48 lanes for all but the two adds, which are 48 together */
    assert_int_equal(d->thread_instructions, 48 * 8);
    assert_int_equal(row_of(&b, "add.u32", 0)->lanes, 20);
    assert_int_equal(row_of(&b, "add.u32", 1)->lanes, 28);
    assert_int_equal(row_of(&b, "add.u32", 1)->warps, 2);
    assert_int_equal(d->class[SG_CLASS_MOVE], 2);
    assert_int_equal(d->class[SG_CLASS_INTEGER], 3 * 2);
    assert_int_equal(d->class[SG_CLASS_CONVERT], 2);
    assert_int_equal(d->class[SG_CLASS_FLOAT], 2);
    assert_int_equal(d->class[SG_CLASS_SFU], 2);
    assert_int_equal(d->class[SG_CLASS_SHUFFLE], 2);
    assert_int_equal(d->class[SG_CLASS_BRANCH], 2);
    bench_close(&b);
}

/* 48 threads; the guards let lanes 0..9 of each warp through. Lanes part at the branches, so that
 * what follows is counted once per group. */
static void guarded_branches_count_the_lanes_that_the_guard_lets_through(void **state) {
    (void)state;
    static const struct {
        const char *code, *form;
        uint64_t lanes;
    } rows[] = {
        {"@%p0 bra L; add.u32 %r1, %r0, 1; L: ret;", "bra", 20},
        {"@!%p0 bra L; add.u32 %r1, %r0, 1; L: ret;", "bra", 28},
        {"@%p0 bra.uni L; L: ret;", "bra.uni", 20},
        {"bra L; L: ret;", "bra", 48},
        {"@%p0 ret; add.u32 %r1, %r0, 1; ret;", "ret", 20},
        {"@!%p0 exit; add.u32 %r1, %r0, 1; ret;", "exit", 28},
        {"T: .branchtargets L, M; and.b32 %r1, %r0, 1; @%p0 brx.idx %r1, T; L: ret; M: ret;",
         "brx.idx", 20},
        {"@%p0 call f; ret;", "call", 20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 PTX_HEADER ".func f { ret; }\n.visible .entry t(.param .u64 p) { .reg .b32 "
                            "%%r<4>; .reg .pred %%p<2>;\nmov.u32 %%r0, %%laneid; setp.lt.u32 %%p0, "
                            "%%r0, 10;\n%s }\n",
                 rows[i].code);
        Bench b;
        (void)profile(&b, text, 1, 48);
        if (row_of(&b, rows[i].form, 0)->lanes != rows[i].lanes)
            fail_msg("%s: %llu lanes", rows[i].code,
                     (unsigned long long)row_of(&b, rows[i].form, 0)->lanes);
        bench_close(&b);
    }
}

/* What one pipe does for several types is of the class of its type. */
static void arithmetic_is_of_the_class_of_its_type(void **state) {
    (void)state;
    static const struct {
        const char *code;
        SgClass class;
    } rows[] = {
        {"mul.lo.u32 %r1, %r0, %r0;", SG_CLASS_INTEGER},
        {"mad.lo.s32 %r1, %r0, %r0, %r0;", SG_CLASS_INTEGER},
        {"mul.wide.u32 %d1, %r0, %r0;", SG_CLASS_INTEGER},
        {"dp4a.u32.u32 %r1, %r0, %r0, %r0;", SG_CLASS_INTEGER},
        {"div.u32 %r1, %r0, %r0;", SG_CLASS_INTEGER},
        {"rem.s32 %r1, %r0, %r0;", SG_CLASS_INTEGER},
        {"setp.lt.u32 %p0, %r0, %r0;", SG_CLASS_INTEGER},
        {"mul.f32 %r1, %r0, %r0;", SG_CLASS_FLOAT},
        {"div.rn.f32 %r1, %r0, %r0;", SG_CLASS_FLOAT},
        {"min.f32 %r1, %r0, %r0;", SG_CLASS_FLOAT},
        {"setp.lt.f32 %p0, %r0, %r0;", SG_CLASS_FLOAT},
        {"fma.rn.f16x2 %r1, %r0, %r0, %r0;", SG_CLASS_FLOAT},
        {"div.rn.f64 %d1, %d0, %d0;", SG_CLASS_DOUBLE},
        {"sqrt.rn.f64 %d1, %d0;", SG_CLASS_DOUBLE},
        {"rcp.rn.f64 %d1, %d0;", SG_CLASS_DOUBLE},
        {"fma.rn.f64 %d1, %d0, %d0, %d0;", SG_CLASS_DOUBLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 PTX_HEADER ".visible .entry t(.param .u64 p) { .reg .b32 %%r<2>; .reg .b64 "
                            "%%d<2>; .reg .pred %%p<1>;\nmov.b32 %%r0, 1; mov.b64 %%d0, 1; %s ret; "
                            "}\n",
                 rows[i].code);
        Bench b;
        const SgDetail *const d = profile(&b, text, 1, 32);
        for (int c = SG_CLASS_INTEGER; c <= SG_CLASS_DOUBLE; c++)
            if (d->class[c] != (c == (int)rows[i].class))
                fail_msg("%s: %llu of class %d", rows[i].code, (unsigned long long)d->class[c], c);
        bench_close(&b);
    }
}

/* mul.wide and mad.lo are integers: one fma a warp. */
static void saxpy_has_one_float_operation_per_warp(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d = profile(
        &b,
        ENTRY("mov.u32 %r3, %ctaid.x; mad.lo.s32 %r4, %r3, 64, %r0; mul.wide.s32 %rd1, %r4, 4;\n"
              "add.s64 %rd2, %rd0, %rd1; ld.global.f32 %f0, [%rd2]; ld.global.f32 %f1, "
              "[%rd2+4096];\nfma.rn.f32 %f2, %f0, 0f40200000, %f1; st.global.f32 [%rd2+4096], "
              "%f2; ret;"),
        4, 64);
    assert_int_equal(d->class[SG_CLASS_FLOAT], 8);
    bench_close(&b);
}

static void tensor_operations_are_counted_by_type(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d =
        profile(&b,
                ENTRY("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0,%f1,%f2,%f3},\n"
                      "{%r0,%r0,%r0,%r0}, {%r0,%r0}, {%f0,%f1,%f2,%f3};\n"
                      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3},\n"
                      "{%r0,%r0,%r0,%r0}, {%r0,%r0}, {%f0,%f1,%f2,%f3};\n"
                      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3},\n"
                      "{%r0,%r0,%r0,%r0}, {%r0,%r0}, {%f0,%f1,%f2,%f3};\n"
                      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0,%f1,%f2,%f3},\n"
                      "{%r0,%r0,%r0,%r0}, {%r0,%r0}, {%f0,%f1,%f2,%f3};\n"
                      "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%r4,%r5,%r6,%r7},\n"
                      "{%r0,%r0,%r0,%r0}, {%r0,%r0}, {%r4,%r5,%r6,%r7}; ret;"),
                2, 64);
    assert_int_equal(d->tensor[SG_TENSOR_F16], 4);
    assert_int_equal(d->tensor[SG_TENSOR_BF16], 8);
    assert_int_equal(d->tensor[SG_TENSOR_TF32], 4);
    assert_int_equal(d->tensor[SG_TENSOR_INT8], 4);
    assert_int_equal(d->tensor[SG_TENSOR_FP8], 0);
    assert_int_equal(d->class[SG_CLASS_TENSOR], 20);
    assert_int_equal(
        row_of(&b, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 0)->counters.mma_flops,
        4 * 2048);
    bench_close(&b);
}

/* Two warps: in the second the lanes part at the first branch; the second branch, of all lanes one
 * way, and the unconditional one do not diverge. */
static void a_branch_diverges_when_lanes_part(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d = profile(&b,
                                      ENTRY("setp.lt.u32 %p0, %r0, 40; setp.lt.u32 %p1, %r0, 99;\n"
                                            "@%p0 bra A;\n"
                                            "add.u32 %r3, %r0, 1;\n"
                                            "A: @%p1 bra B;\n"
                                            "sub.u32 %r3, %r0, 1;\n"
                                            "B: bra C;\n"
                                            "C: ret;"),
                                      1, 64);
    assert_int_equal(d->branches, 2 + 2 + 2);
    assert_int_equal(d->divergent_branches, 1);
    assert_int_equal(row_of(&b, "bra", 0)->divergent, 1);
    assert_int_equal(row_of(&b, "add.u32", 0)->lanes, 24);
    assert_int_equal(row_of(&b, "add.u32", 0)->warps, 1);
    bench_close(&b);
}

/* Warp 0 goes 10 times round a loop of three before it meets warp 1, and both meet again at once.
 */
static void warps_idle_at_a_barrier_by_what_the_slowest_does_more(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d = profile(&b,
                                      ENTRY("mov.u32 %r3, 0; setp.ge.u32 %p0, %r0, 32;\n"
                                            "@%p0 bra MEET;\n"
                                            "LOOP: add.u32 %r3, %r3, 1;\n"
                                            "setp.lt.u32 %p1, %r3, 10;\n"
                                            "@%p1 bra LOOP;\n"
                                            "MEET: bar.sync 0;\n"
                                            "add.u32 %r4, %r3, 1;\n"
                                            "bar.sync 0; ret;"),
                                      1, 64);
    assert_int_equal(d->barriers, 4);
    assert_int_equal(d->barrier_idle, 30);
    bench_close(&b);
}

/* Five instructions stand between the first commit and its wait, two between the second and its. */
static void waits_for_copies_know_how_long_ago_they_were_committed(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d = profile(
        &b,
        ENTRY(
            "mad.lo.u32 %r3, %r0, 16, %r1; mul.wide.u32 %rd1, %r0, 16; add.s64 %rd2, %rd0, %rd1;\n"
            "cp.async.cg.shared.global [%r3], [%rd2], 16; cp.async.commit_group;\n"
            "add.u32 %r4, %r0, 1; add.u32 %r4, %r4, 2;\n"
            "cp.async.cg.shared.global [%r3+4096], [%rd2], 16; cp.async.commit_group;\n"
            "add.u32 %r5, %r4, 1;\n"
            "cp.async.wait_group 1; cp.async.wait_group 1; cp.async.wait_group 0; ret;"),
        1, 32);
    assert_int_equal(d->async_waits, 2);
    /* from the commit itself: 6 to the first wait, 4 to the last */
    assert_int_equal(d->async_distance, 6 + 4);
    bench_close(&b);
}

static void local_accesses_are_told_apart(void **state) {
    (void)state;
    Bench b;
    const SgDetail *const d = profile(&b,
                                      ENTRY("st.local.u32 [lo], %r0; st.local.u32 [lo+4], %r0;\n"
                                            "ld.local.u32 %r3, [lo+4]; ret;"),
                                      1, 64);
    assert_int_equal(d->local_stores, 4);
    assert_int_equal(d->local_loads, 2);
    bench_close(&b);
}

/* 9 blocks, 4 at once; each reads the same 4 KiB twice and writes 128 bytes of its own. */
static void the_cache_sees_blocks_in_order_whatever_the_threads(void **state) {
    (void)state;
    Bench b;
    profile(&b,
            ENTRY("mul.wide.u32 %rd1, %r0, 16; add.s64 %rd2, %rd0, %rd1;\n"
                  "ld.global.v4.u32 {%r4,%r5,%r6,%r7}, [%rd2];\n"
                  "ld.global.v4.u32 {%r4,%r5,%r6,%r7}, [%rd2];\n"
                  "setp.ge.u32 %p0, %r0, 32; @%p0 bra END;\n"
                  "mov.u32 %r8, %ctaid.x; mul.wide.u32 %rd3, %r8, 128; add.s64 %rd4, %rd0, %rd3;\n"
                  "mul.wide.u32 %rd5, %r0, 4; add.s64 %rd4, %rd4, %rd5;\n"
                  "st.global.u32 [%rd4+65536], %r0;\n"
                  "END: ret;"),
            9, 256);
    const SgCacheCounts first = b.launch.detail->cache;
    assert_int_equal(first.reads, 9 * 2 * 128);
    assert_int_equal(first.reads - first.read_hits, 128);
    assert_int_equal(first.writes, 9 * 4);
    assert_int_equal(first.write_hits, 0);
    assert_int_equal(first.written_back, 9 * 4);
    for (int threads = 1; threads < 5; threads++) {
        b.launch.threads = threads;
        assert_false(bench_launch(&b, "t"));
        assert_memory_equal(&first, &b.launch.detail->cache, sizeof first);
    }
    bench_close(&b);
}

/* 16 lines fill a set of its own: the line used longest ago goes, with what was written to it. */
static void the_least_recently_used_line_leaves(void **state) {
    (void)state;
    SgCache *const c = sg_cache_new(2048);
    assert_non_null(c);
    sg_cache_write(c, 0, 3);                                      /* line 0, three sectors */
    for (uint64_t i = 1; i < 16; i++) sg_cache_read(c, 4 * i, 1); /* lines 1 to 15 */
    sg_cache_read(c, 0, 1);                                       /* a hit: line 1 is the oldest */
    sg_cache_read(c, 64, 1);                                      /* line 16 replaces line 1 */
    assert_int_equal(sg_cache_counts(c).read_hits, 1);
    sg_cache_read(c, 2, 2); /* line 0 is there still: one sector of it, one is new */
    assert_int_equal(sg_cache_counts(c).read_hits, 2);
    sg_cache_read(c, 4, 1); /* line 1 is not */
    assert_int_equal(sg_cache_counts(c).read_hits, 2);
    assert_int_equal(sg_cache_counts(c).written_back, 3);
    for (uint64_t i = 20; i < 36; i++) sg_cache_read(c, 4 * i, 1); /* everything goes */
    sg_cache_write(c, 0, 1);
    assert_int_equal(sg_cache_counts(c).write_hits, 0);
    assert_int_equal(sg_cache_counts(c).written_back, 4);
    sg_cache_free(c);
}

/* What is counted without a profile is the same with one, and so is what the kernel computes. */
static void a_profile_changes_nothing(void **state) {
    (void)state;
    static const char text[] =
        ENTRY("setp.lt.u32 %p0, %r0, 7; @%p0 bra A; st.shared.u32 [%r2], %r0;\n"
              "A: bar.sync 0; bar.red.popc.u32 %r5, 0, %p0; ld.shared.u32 %r3, [%r2];\n"
              "selp.u32 %r3, %r5, %r3, %p0;\n"
              "mov.u32 %r6, %ctaid.x; mad.lo.u32 %r6, %r6, 96, %r0;\n"
              "mul.wide.u32 %rd1, %r6, 4; add.s64 %rd2, %rd0, %rd1; st.global.u32 [%rd2], %r3;\n"
              "@%p0 ret; atom.global.add.u32 %r4, [%rd0+8192], 1; ret;");
    Bench plain, counted;
    checks_without_init(); /* lanes of the first warp read what they did not write */
    bench_open(&plain, "sm_80", text, 1 << 20);
    assert_false(bench_run(&plain, "t", 3, 96));
    assert_null(plain.launch.detail);
    profile(&counted, text, 3, 96);
    assert_memory_equal((void *)plain.buffer, (void *)counted.buffer, 16384);
    assert_memory_equal(&plain.launch.counters, &counted.launch.counters,
                        sizeof plain.launch.counters);
    bench_close(&plain);
    bench_close(&counted);
    checks_reset();
}

#define MEET(by)                                                                                   \
    ENTRY("setp.lt.u32 %p0, %r0, 7; @%p0 " by "; @!%p0 " by ";\n"                                  \
          "mov.u32 %r3, 9; st.global.u32 [%rd0], %r3; ret;")

/* Lanes that come by two instructions, under guards, find each other in a profiled launch, too. */
static void lanes_meet_from_two_guarded_places(void **state) {
    (void)state;
    static const char *const texts[] = {MEET("bar.warp.sync -1"), MEET("barrier.sync 1, 32")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Bench b;
        profile(&b, texts[i], 1, 32);
        assert_int_equal(*(const uint32_t *)b.buffer, 9);
        bench_close(&b);
    }
}

int main(void) {
    unsetenv("SOFTGPU_PROFILE"); /* tests of unprofiled launches, too */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bank_conflicts_are_told_apart_by_instruction),
        cmocka_unit_test(sectors_per_request_show_coalescing),
        cmocka_unit_test(lanes_and_classes_are_exact),
        cmocka_unit_test(guarded_branches_count_the_lanes_that_the_guard_lets_through),
        cmocka_unit_test(arithmetic_is_of_the_class_of_its_type),
        cmocka_unit_test(saxpy_has_one_float_operation_per_warp),
        cmocka_unit_test(tensor_operations_are_counted_by_type),
        cmocka_unit_test(a_branch_diverges_when_lanes_part),
        cmocka_unit_test(warps_idle_at_a_barrier_by_what_the_slowest_does_more),
        cmocka_unit_test(waits_for_copies_know_how_long_ago_they_were_committed),
        cmocka_unit_test(local_accesses_are_told_apart),
        cmocka_unit_test(the_cache_sees_blocks_in_order_whatever_the_threads),
        cmocka_unit_test(the_least_recently_used_line_leaves),
        cmocka_unit_test(a_profile_changes_nothing),
        cmocka_unit_test(lanes_meet_from_two_guarded_places),
    };
    return run_with_and_without_checks(tests);
}
