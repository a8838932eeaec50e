/* What the machine code of attn_prefill is meant to be, read off the PTX of its default
 * configuration at head_dim 128 per architecture, which wins the long prompts of the workloads
 * (docs/design.md section 8), and of what wins the short ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generator/gen.h"
#include "runtime/build.h"
#include "runtime/nvrtc.h"
#include "tests/kernels/ptx_text.h"

typedef struct Fixture {
    GenLibrary *library;
    Nvrtc *nvrtc;
} Fixture;

static Fixture fixture;

static int open_fixture(void **state) {
    *state = &fixture;
    Error err = {0};
    if (gen_open(SEQTUNE_SOURCE_DIR, &fixture.library, &err) != ST_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    if (nvrtc_open(0, &fixture.nvrtc, &err) != ST_OK) fixture.nvrtc = NULL;
    return 0;
}

typedef struct Case {
    char *name;
    GenProblem problem;
    GpuInfo gpu;
    GenConfig config;
    Arena *arena;
    Artifact artifact;
    PtxText text;
    PtxLoop loop;
} Case;

static void must(Status status, const Error *err) {
    if (status != ST_OK) fail_msg("%s", err->message);
}

enum { MAX_CASES = 64 };
static Case cases[MAX_CASES];
static size_t case_count;

/* Compiles a configuration of a problem (NULL: the default) for an architecture. */
static void compile_case(Case *c, const char *arch, const char *problem, const char *config) {
    Error err = {0};
    *c = (Case){.name = strdup(problem),
                .gpu = gpu_info_of_arch(gpu_arch_find(arch)),
                .arena = arena_new()};
    assert_non_null(c->arena);
    gen_problem_init(gen_spec_find(fixture.library, "attn_prefill"), &c->problem);
    must(gen_problem_parse(&c->problem, problem, &err), &err);
    must(gen_problem_check(&c->problem, &err), &err);
    if (config)
        must(gen_config_parse(c->problem.spec, config, &c->config, &err), &err);
    else
        must(gen_default(&c->problem, &c->gpu, &c->config, &err), &err);
    GenOutput output;
    must(gen_emit(&c->problem, &c->gpu, &c->config, c->arena, &output, &err), &err);
    must(build_compile(fixture.nvrtc, &output, c->arena, &c->artifact, &err), &err);
    assert_true(ptx_text_open(c->artifact.ptx, &c->text));
    assert_true(ptx_hot_loop(&c->text, &c->loop));
}

/* Compiled once, asked by several tests. */
static const Case *case_of(const char *arch, const char *problem) {
    if (!fixture.nvrtc) skip();
    for (size_t i = 0; i < case_count; i++)
        if (strcmp(cases[i].gpu.arch->name, arch) == 0 && strcmp(cases[i].name, problem) == 0)
            return &cases[i];
    assert_true(case_count < MAX_CASES);
    compile_case(&cases[case_count], arch, problem, NULL);
    return &cases[case_count++];
}

static int64_t value_of(const Case *c, const char *axis) {
    int64_t value = 0;
    assert_true(gen_config_get(c->problem.spec, &c->config, axis, &value));
    return value;
}

static void each(void (*check)(const Case *c), const char *arch, const char *dtype) {
    static const char *const masks[] = {"none", "causal", "window window_left=4095 window_right=0"};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        char problem[128];
        snprintf(problem, sizeof problem, "dtype=%s head_dim=128 len_q=4096 len_kv=4096 mask=%s",
                 dtype, masks[i]);
        check(case_of(arch, problem));
    }
}

static void check_operands(const Case *c) {
    assert_true(ptx_count(&c->loop, "ldmatrix.sync.aligned.m8n8.x4.shared") > 0);
    assert_true(ptx_count(&c->loop, "ldmatrix.sync.aligned.m8n8.x4.trans.shared") > 0);
    assert_int_equal(ptx_count(&c->loop, "ld.shared"), 0);
}

static void operands_come_through_ldmatrix_v_transposed(void **state) {
    (void)state;
    each(check_operands, "sm_80", "bf16");
    each(check_operands, "sm_75", "f16");
}

static void check_softmax(const Case *c) {
    const size_t rows = (size_t)(value_of(c, "block_m") / value_of(c, "warps"));
    const size_t scores = rows * (size_t)value_of(c, "block_n") / 32; /* per lane and tile */
    const size_t lane_rows = rows / 8;
    const size_t output = rows * 128 / 32; /* rescaled once per tile, one mul each */
    assert_int_equal(ptx_count(&c->loop, "ex2.approx"), scores + lane_rows);
    /* One fused multiply-add per score; per row one for the rescale and one for the sum at most,
     * and the one multiplication that forms the shift. */
    const size_t fused = ptx_count(&c->loop, "fma.rn");
    assert_in_range(fused, scores, scores + 2 * lane_rows);
    assert_true(ptx_count(&c->loop, "mul.f32") + ptx_count(&c->loop, "mul.ftz.f32") <=
                output + 2 * lane_rows);
}

static void one_ex2_and_no_separate_multiply_per_score(void **state) {
    (void)state;
    each(check_softmax, "sm_80", "bf16");
    each(check_softmax, "sm_75", "f16");
}

static void check_instructions_per_mma(const Case *c, double most) {
    const size_t kept = ptx_count_kept(&c->loop);
    print_message("    %s: %zu instructions for %zu mma: %.2f per mma\n", c->gpu.arch->name, kept,
                  c->loop.mma, (double)kept / (double)c->loop.mma);
    assert_true((double)kept <= most * (double)c->loop.mma);
}

static void at_most_3_5_per_mma(const Case *c) {
    check_instructions_per_mma(c, 3.5);
}

static void unmasked_loop_has_at_most_3_5_instructions_per_mma(void **state) {
    (void)state;
    each(at_most_3_5_per_mma, "sm_80", "bf16");
    each(at_most_3_5_per_mma, "sm_80", "f16");
    each(at_most_3_5_per_mma, "sm_90", "bf16");
}

static void check_no_local_memory(const Case *c) {
    if (strstr(c->artifact.ptx, ".local") || artifact_spill_bytes(&c->artifact) != 0) {
        Str problem = {0}, config = {0};
        gen_problem_text(&c->problem, &problem);
        gen_config_text(c->problem.spec, &c->config, &config);
        fail_msg("%s: %s [%s] spills %d bytes", c->gpu.arch->name, str_text(&problem),
                 str_text(&config), artifact_spill_bytes(&c->artifact));
    }
}

static void no_local_memory_and_no_spills(void **state) {
    (void)state;
    static const char *const archs[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_120a"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        each(check_no_local_memory, archs[i], "bf16");
    each(check_no_local_memory, "sm_75", "f16");
}

static void check_no_mask_code(const Case *c) {
    /* A mask would select -inf per score. */
    assert_int_equal(ptx_count(&c->loop, "selp.f32"), 0);
}

static void masked_code_stays_outside_the_inner_loop(void **state) {
    (void)state;
    each(check_no_mask_code, "sm_80", "bf16");
}

/* What wins prompts of 512 to 2048 tokens on A100. With warps of 16 rows each fragment of K and V
 * serves one mma in place of two (0.25 more ldmatrix per mma than with 32), and the loop itself is
 * spread over half as many. */
static void winners_of_short_prompts_have_no_more_for_their_rows(void **state) {
    (void)state;
    if (!fixture.nvrtc) skip();
    static const struct {
        const char *problem, *config;
        double most;
    } winners[] = {
        {"dtype=bf16 head_dim=128 mask=causal heads_q=32 heads_kv=8 len_q=2048 len_kv=2048",
         "block_m=128 block_n=64 warps=4 stages=1 q_in_regs=0 pack_group=1", 3.5},
        {"dtype=bf16 head_dim=128 mask=causal heads_q=32 heads_kv=8 len_q=512 len_kv=512",
         "block_m=64 block_n=64 warps=4 stages=2 q_in_regs=1 pack_group=0", 3.8},
        {"dtype=bf16 head_dim=128 mask=causal heads_q=28 heads_kv=4 len_q=1024 len_kv=1024",
         "block_m=64 block_n=64 warps=4 stages=1 q_in_regs=0 pack_group=0", 3.8},
    };
    for (size_t i = 0; i < sizeof winners / sizeof *winners; i++) {
        assert_true(case_count < MAX_CASES);
        Case *const c = &cases[case_count];
        compile_case(c, "sm_80", winners[i].problem, winners[i].config);
        case_count++;
        check_instructions_per_mma(c, winners[i].most);
        check_operands(c);
        check_softmax(c);
        check_no_mask_code(c);
        check_no_local_memory(c);
    }
}

static void check_async_copies(const Case *c) {
    assert_true(ptx_count(&c->loop, "cp.async.cg.shared.global") > 0);
    /* K and V are groups of their own, and some wait leaves the newest one under way. */
    assert_true(ptx_count(&c->loop, "cp.async.commit_group") >= 2);
    bool leaves_one = false;
    for (size_t i = 0; i < c->loop.count; i++) {
        int left = 0;
        if (sscanf(c->loop.lines[i], "cp.async.wait_group %d", &left) == 1) leaves_one |= left >= 1;
    }
    assert_true(leaves_one);
}

static void copies_stay_under_way_during_the_products(void **state) {
    (void)state;
    each(check_async_copies, "sm_80", "bf16");
}

static int close_fixture(void **state) {
    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        ptx_loop_close(&cases[i].loop);
        ptx_text_close(&cases[i].text);
        arena_free(cases[i].arena);
        free(cases[i].name);
    }
    nvrtc_close(fixture.nvrtc);
    gen_close(fixture.library);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_come_through_ldmatrix_v_transposed),
        cmocka_unit_test(one_ex2_and_no_separate_multiply_per_score),
        cmocka_unit_test(unmasked_loop_has_at_most_3_5_instructions_per_mma),
        cmocka_unit_test(winners_of_short_prompts_have_no_more_for_their_rows),
        cmocka_unit_test(no_local_memory_and_no_spills),
        cmocka_unit_test(masked_code_stays_outside_the_inner_loop),
        cmocka_unit_test(copies_stay_under_way_during_the_products),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
