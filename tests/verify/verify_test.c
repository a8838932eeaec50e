/* The verifier against "kernels" that are right or have one known defect (fake_runtime.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/verify/fake_runtime.h"
#include "tuner/verify/attention_trial.h"
#include "tuner/verify/verify.h"

static GenLibrary *library;

/* Verifies the default A100 variant of a problem with `defect` built in. */
static Status verify(const char *spec_name, const char *text, Defect defect, VerifyLevel level,
                     VerifyResult *result, Error *err) {
    const GenSpec *spec = gen_spec_find(library, spec_name);
    assert_non_null(spec);
    const GpuInfo gpu = gpu_info_of_model(gpu_model_find("a100"));
    GenProblem problem;
    GenConfig config;
    gen_problem_init(spec, &problem);
    if (gen_problem_parse(&problem, text, err) != ST_OK ||
        gen_problem_check(&problem, err) != ST_OK ||
        gen_default(&problem, &gpu, &config, err) != ST_OK) {
        fail_msg("%s", err->message);
    }
    seqtune_context ctx = {.defect = defect, .problem = &problem};
    const Status status = verify_variant(&ctx, spec_name, &problem, &config, level, result, err);
    assert_int_equal(ctx.blocks, 0);
    return status;
}

static const char *const attention[] = {
    "dtype=f16 head_dim=64 mask=none heads_q=6 heads_kv=2",
    "dtype=bf16 head_dim=64 mask=causal heads_q=6 heads_kv=2",
    "dtype=f16 head_dim=64 mask=window window_left=64 window_right=0 heads_q=2 heads_kv=1",
};

static const char *const ropes[] = {
    "dtype=f16 style=neox head_dim=64 rotary_dim=64",
    "dtype=bf16 style=interleaved head_dim=80 rotary_dim=32",
};

static const char *const merges[] = {
    "dtype=f16 head_dim=64 part_type=f32",
    "dtype=bf16 head_dim=24 part_type=same",
};

static const char *const appends[] = {
    "dtype=f16 head_dim=64 heads_q=3 heads_kv=2",
    "dtype=bf16 head_dim=40 heads_q=2 heads_kv=2 kv_dtype=int8",
    "dtype=f16 head_dim=64 heads_q=2 heads_kv=2 kv_dtype=e4m3",
};

static void must_pass(const char *spec_name, const char *text, VerifyLevel level) {
    VerifyResult result;
    Error err = {0};
    if (verify(spec_name, text, DEFECT_NONE, level, &result, &err)) fail_msg("%s", err.message);
    assert_true(result.cases > 0 && result.worst_ratio <= 1);
    assert_string_equal(result.failed_case, "");
}

static void right_merges_and_moves_pass_at_both_levels(void **state) {
    (void)state;
    for (int level = VERIFY_QUICK; level <= VERIFY_FULL; level++) {
        for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
            must_pass("attn_combine", merges[i], (VerifyLevel)level);
        for (size_t i = 0; i < sizeof appends / sizeof *appends; i++)
            must_pass("kv_append", appends[i], (VerifyLevel)level);
        must_pass("kv_gather", "dtype=f16 head_dim=64 heads_kv=2", (VerifyLevel)level);
        must_pass("kv_gather", "dtype=f16 head_dim=64 heads_kv=2 kv_dtype=int8",
                  (VerifyLevel)level);
    }
}

static void right_kernels_pass_at_both_levels(void **state) {
    (void)state;
    VerifyResult result;
    Error err = {0};
    for (int level = VERIFY_QUICK; level <= VERIFY_FULL; level++) {
        for (size_t i = 0; i < sizeof attention / sizeof *attention; i++) {
            const Status status = verify("attn_prefill", attention[i], DEFECT_NONE,
                                         (VerifyLevel)level, &result, &err);
            if (status != ST_OK) fail_msg("%s", err.message);
            printf("# %s: %lld cases, worst %.3f\n", attention[i], (long long)result.cases,
                   result.worst_ratio);
            assert_true(result.worst_ratio > 0 && result.worst_ratio <= 1);
            assert_true(result.max_abs_error > 0 && result.max_naive_error > 0);
            assert_string_equal(result.failed_case, "");
        }
        for (size_t i = 0; i < sizeof ropes / sizeof *ropes; i++) {
            const Status status =
                verify("rope", ropes[i], DEFECT_NONE, (VerifyLevel)level, &result, &err);
            if (status != ST_OK) fail_msg("%s", err.message);
            assert_true(result.worst_ratio > 0 && result.worst_ratio <= 1);
        }
    }
}

/* Masks under which a defect shows at level QUICK; the first letter of none, causal, window. */
static const char *const visible[] = {
    [DEFECT_LEFT_ONE_MORE] = "w",
    [DEFECT_RIGHT_ONE_MORE] = "cw",
    [DEFECT_TOP_LEFT] = "cw",
    [DEFECT_K_HEADS_REVERSED] = "nc",
    [DEFECT_SCALE_TWICE] = "ncw",
    [DEFECT_LSE_BASE_TWO] = "ncw",
    [DEFECT_EMPTY_ROW_NAN] = "ncw",
    [DEFECT_ROW_PAST_THE_END] = "ncw",
    [DEFECT_LSE_PAST_THE_END] = "ncw",
    [DEFECT_WRITES_BEFORE_O] = "ncw",
    [DEFECT_WRITES_INTO_A_GAP] = "ncw",
    [DEFECT_WRITES_K] = "ncw",
    [DEFECT_USES_ROW_PAST_KV] = "ncw",
    [DEFECT_V_WALKED_WITH_K_STRIDES] = "ncw",
    [DEFECT_EVERY_RUN_DIFFERS] = "ncw",
    [DEFECT_HEADS_DIFFER] = "",
    [DEFECT_BATCH_STRIDE_IGNORED] = "ncw",
};

/* At level FULL every defect shows under every mask, but for those of masks that are not there. */
static bool shows_at_full(Defect defect, size_t mask) {
    if (defect == DEFECT_LEFT_ONE_MORE) return mask == 2;
    if (defect == DEFECT_RIGHT_ONE_MORE || defect == DEFECT_TOP_LEFT) return mask != 0;
    return true;
}

static void must_catch(Defect defect, VerifyLevel level, size_t mask) {
    VerifyResult result;
    Error err = {0};
    const Status status = verify("attn_prefill", attention[mask], defect, level, &result, &err);
    if (status != ST_WRONG) {
        fail_msg("defect %d passed %s at level %d: %s", (int)defect, attention[mask], (int)level,
                 status == ST_OK ? "no case noticed" : err.message);
    }
    assert_true(result.worst_ratio > 1);
    assert_true(strlen(result.failed_case) > 0);
}

static void quick_verification_catches_what_it_is_for(void **state) {
    (void)state;
    for (int d = DEFECT_LEFT_ONE_MORE; d <= DEFECT_ATTENTION_LAST; d++) {
        for (size_t m = 0; m < sizeof attention / sizeof *attention; m++) {
            if (strchr(visible[d], "ncw"[m])) must_catch((Defect)d, VERIFY_QUICK, m);
        }
    }
}

static void full_verification_catches_every_defect(void **state) {
    (void)state;
    for (int d = DEFECT_LEFT_ONE_MORE; d <= DEFECT_ATTENTION_LAST; d++) {
        for (size_t m = 0; m < sizeof attention / sizeof *attention; m++) {
            if (shows_at_full((Defect)d, m)) must_catch((Defect)d, VERIFY_FULL, m);
        }
    }
}

static void every_defect_of_rope_is_caught(void **state) {
    (void)state;
    for (int d = DEFECT_ROPE_WRONG_SIGN; d <= DEFECT_ROPE_LAST; d++) {
        for (int level = VERIFY_QUICK; level <= VERIFY_FULL; level++) {
            VerifyResult result;
            Error err = {0};
            /* The partial one: it also copies. */
            const Status status =
                verify("rope", ropes[1], (Defect)d, (VerifyLevel)level, &result, &err);
            if (status != ST_WRONG) fail_msg("defect %d passed at level %d", d, level);
        }
    }
}

/* At every level from `lowest` on. */
static void expect_wrong(const char *spec_name, const char *text, Defect defect,
                         VerifyLevel lowest) {
    for (int level = (int)lowest; level <= VERIFY_FULL; level++) {
        VerifyResult result;
        Error err = {0};
        const Status status = verify(spec_name, text, defect, (VerifyLevel)level, &result, &err);
        if (status != ST_WRONG)
            fail_msg("defect %d of %s passed at level %d", (int)defect, spec_name, level);
    }
}

static void every_defect_of_a_merge_is_caught(void **state) {
    (void)state;
    for (int d = DEFECT_MERGE_LAST_PART_LEFT_OUT; d <= DEFECT_MERGE_LAST; d++)
        for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
            expect_wrong("attn_combine", merges[i], (Defect)d, VERIFY_QUICK);
}

static void every_defect_of_the_cache_is_caught(void **state) {
    (void)state;
    for (int d = DEFECT_KV_SKIPPED_SLOT_WRITTEN; d <= DEFECT_KV_LAST; d++)
        /* Only the cases of FULL hold every code. */
        expect_wrong("kv_append", appends[0], (Defect)d,
                     d == DEFECT_KV_NAN_LOSES_ITS_BITS ? VERIFY_FULL : VERIFY_QUICK);
}

static void a_fault_of_the_device_names_the_case(void **state) {
    (void)state;
    VerifyResult result;
    Error err = {0};
    const Status status =
        verify("attn_prefill", attention[0], DEFECT_FAULT, VERIFY_QUICK, &result, &err);
    assert_int_equal(status, ST_DRIVER);
    assert_non_null(strstr(result.failed_case, "illegal memory access"));
    assert_non_null(strstr(err.message, "attn_prefill case 0"));
}

static void a_variant_without_any_case_is_unsupported_not_right(void **state) {
    (void)state;
    const GenSpec *spec = gen_spec_find(library, "attn_prefill");
    GenProblem problem;
    GenConfig config = {{0}};
    gen_problem_init(spec, &problem);
    assert_int_equal(gen_problem_parse(&problem, attention[0], NULL), ST_OK);
    assert_int_equal(gen_problem_check(&problem, NULL), ST_OK);
    for (size_t i = 0; i < GEN_MAX_AXES; i++) config.value[i] = 64;
    seqtune_context ctx = {.problem = &problem, .refuse = true};
    VerifyResult result;
    Error err = {0};
    assert_int_equal(
        verify_variant(&ctx, "attn_prefill", &problem, &config, VERIFY_QUICK, &result, &err),
        ST_UNSUPPORTED);
    assert_int_equal(result.cases, 0);
    assert_true(result.refused > 0);
    assert_non_null(strstr(err.message, "refused as asked"));
}

static int open_library(void **state) {
    (void)state;
    Error err;
    const Status status = gen_open(SEQTUNE_SOURCE_DIR, &library, &err);
    if (status != ST_OK) print_error("%s\n", err.message);
    return status == ST_OK ? 0 : -1;
}

static int close_library(void **state) {
    (void)state;
    gen_close(library);
    return 0;
}

/* ---- what the cases hold ---- */

static bool is_probed(const Trial *r, int64_t key) {
    for (int64_t column = 0; column < r->columns; column++)
        if (trial_probed_key(r, column) == key) return true;
    return false;
}

static void probes_lie_on_both_sides_of_every_edge(void **state) {
    (void)state;
    static const int64_t pages[] = {0, 1, 5, 16, 128}, parts[] = {0, 128, 1024};
    for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            const AttentionCase c = {.batch = 1, .len_kv = 3000, .page_size = pages[p]};
            const Trial r = {.c = &c, .block_n = 48, .part = parts[i], .columns = 64};
            const int64_t edges[] = {48, 96, pages[p], parts[i]};
            assert_true(is_probed(&r, 0) && is_probed(&r, 2999));
            for (size_t e = 0; e < sizeof edges / sizeof *edges; e++) {
                if (edges[e] == 0) continue;
                assert_true(is_probed(&r, edges[e] - 1));
                assert_true(is_probed(&r, edges[e]));
            }
            if (pages[p]) assert_true(is_probed(&r, pages[p] + 1));
            if (parts[i]) assert_true(is_probed(&r, parts[i] + 1));
        }
    }
}

static void full_cases_have_groups_that_divide_a_row_block_and_that_do_not(void **state) {
    (void)state;
    static const int64_t groups[] = {1, 3, 4, 5, 6, 7, 8, 12, 64};
    static AttentionCase cases[MAX_ATTENTION_CASES];
    for (int64_t part = 0; part <= 128; part += 128) {
        const AttentionShape shape = {.group = 2, .block_m = 64, .block_n = 32, .part = part};
        const size_t count = attention_cases(&shape, VERIFY_FULL, cases);
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            bool found = false;
            for (size_t i = 0; i < count; i++) found |= cases[i].group == groups[g];
            assert_true(found);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_pass_at_both_levels),
        cmocka_unit_test(quick_verification_catches_what_it_is_for),
        cmocka_unit_test(full_verification_catches_every_defect),
        cmocka_unit_test(every_defect_of_rope_is_caught),
        cmocka_unit_test(right_merges_and_moves_pass_at_both_levels),
        cmocka_unit_test(every_defect_of_a_merge_is_caught),
        cmocka_unit_test(every_defect_of_the_cache_is_caught),
        cmocka_unit_test(a_fault_of_the_device_names_the_case),
        cmocka_unit_test(a_variant_without_any_case_is_unsupported_not_right),
        cmocka_unit_test(probes_lie_on_both_sides_of_every_edge),
        cmocka_unit_test(full_cases_have_groups_that_divide_a_row_block_and_that_do_not),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
