/* Plans and runs on the fake driver: what is called, with what, in which CUDA context. */
#include "tests/runtime/fixture.h"

#include <math.h>

#include "base/mem.h"

static void a_run_is_one_launch_in_the_contexts_own_cuda_context(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *plan = plan_rope(ctx);
    seqtune_rope_args a = rope_args();
    unsigned calls = fake->calls;
    mem_fail_after(0);
    assert_int_equal(seqtune_run_rope(plan, &a, 0, (void *)0x77), SEQTUNE_OK);
    assert_int_equal(mem_fail_after(0), 0); /* no allocation */
    assert_int_equal(fake->calls, calls);   /* nothing but context calls and the launch */
    assert_int_equal(fake->launches, 1);
    assert_ptr_equal(fake->launch[0].context, ctx->device.context);
    assert_ptr_equal(fake->launch[0].stream, (void *)0x77);
    RopeParams p;
    memcpy(&p, fake->launch[0].params, sizeof p);
    assert_int_equal(p.x, 0x10000);
    assert_int_equal(p.sin, 0x40000);
    assert_int_equal(p.tokens, 100);
    assert_int_equal(p.heads, 4);
    assert_int_equal(p.x_token, 256);
    assert_int_equal(p.table_stride, 32);
    assert_int_equal(p.table_rows, 1000);
    CuContext now = (void *)1;
    assert_int_equal(ctx->driver->CtxGetCurrent(&now), 0);
    assert_null(now); /* the caller's context stack is as it was */
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void fewer_tokens_launch_a_smaller_grid_without_allocating(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *plan = plan_rope(ctx);
    seqtune_rope_args a = rope_args();
    assert_int_equal(seqtune_run_rope(plan, &a, 0, NULL), SEQTUNE_OK);
    a.tokens = 1;
    mem_fail_after(0);
    assert_int_equal(seqtune_run_rope(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(mem_fail_after(0), 0);
    assert_int_equal(fake->launches, 2);
    unsigned full = fake->launch[0].grid[0] * fake->launch[0].grid[1] * fake->launch[0].grid[2];
    unsigned one = fake->launch[1].grid[0] * fake->launch[1].grid[1] * fake->launch[1].grid[2];
    assert_true(one < full);
    a.tokens = SEQTUNE_LENGTH_ZERO;
    assert_int_equal(seqtune_run_rope(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launches, 2);
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void plans_of_one_text_share_a_module(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *a = plan_rope(ctx);
    seqtune_rope_desc d = small_rope();
    d.max_tokens = 90; /* the same bucket, another grid */
    seqtune_plan *b = NULL;
    assert_int_equal(seqtune_plan_rope(ctx, &d, &b), SEQTUNE_OK);
    assert_int_equal(fake->loads, 1);
    seqtune_plan_destroy(a);
    seqtune_plan_destroy(b);
    assert_int_equal(fake->unloads, 0); /* kept for the next plan */
    a = plan_rope(ctx);
    assert_int_equal(fake->loads, 1);
    seqtune_plan_destroy(a);
    seqtune_close(ctx);
    assert_int_equal(fake->unloads, 1);
}

static void a_refused_cubin_is_loaded_as_ptx(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    static const CuResult refusals[] = {CUDA_ERROR_NO_BINARY_FOR_GPU, CUDA_ERROR_INVALID_IMAGE};
    for (size_t i = 0; i < 2; i++) {
        reset();
        fake->cubin_result = refusals[i];
        seqtune_context *ctx = open_fake();
        seqtune_plan *plan = plan_rope(ctx);
        assert_true(plan->kernel->kernel.from_ptx);
        seqtune_plan_destroy(plan);
        seqtune_close(ctx);
    }
}

static void a_driver_that_is_broken_is_not_asked_for_the_ptx(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    fake->cubin_result = CUDA_ERROR_ILLEGAL_ADDRESS;
    seqtune_context *ctx = open_fake();
    seqtune_rope_desc d = small_rope();
    seqtune_plan *plan = (void *)1;
    assert_int_equal(seqtune_plan_rope(ctx, &d, &plan), SEQTUNE_DRIVER);
    assert_null(plan);
    assert_has(seqtune_last_error(ctx), "cuModuleLoadData");
    assert_int_equal(fake->loads, 0);
    seqtune_close(ctx);
}

static void ptx_that_is_too_new_names_the_nvrtc_to_install(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    fake->cubin_result = CUDA_ERROR_NO_BINARY_FOR_GPU;
    fake->ptx_result = CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    seqtune_context *ctx = open_fake();
    seqtune_rope_desc d = small_rope();
    seqtune_plan *plan = NULL;
    assert_int_equal(seqtune_plan_rope(ctx, &d, &plan), SEQTUNE_DRIVER);
    assert_has(seqtune_last_error(ctx), "is newer than the driver's CUDA 13.0");
    assert_has(seqtune_last_error(ctx), "nvidia-cuda-nvrtc==13.0.*");
    seqtune_close(ctx);
}

static void bad_arguments_are_refused_before_any_launch(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *plan = plan_rope(ctx);
    const struct {
        size_t offset;
        uint64_t value;
        const char *part;
    } rows[] = {
        {offsetof(seqtune_rope_args, size), 0, "size"},
        {offsetof(seqtune_rope_args, size), 4, "SEQTUNE_ROPE_ARGS_INIT"},
        {offsetof(seqtune_rope_args, x), 0, "x is a null device pointer"},
        {offsetof(seqtune_rope_args, out), 0x20008, "out is 0x20008: must be 16-byte aligned"},
        {offsetof(seqtune_rope_args, cos), 0, "cos"},
        {offsetof(seqtune_rope_args, sin), 4, "sin"},
        {offsetof(seqtune_rope_args, positions), 0x50004, "8-byte"},
        {offsetof(seqtune_rope_args, tokens), 101, "tokens is 101: must be 0..100"},
        {offsetof(seqtune_rope_args, tokens), (uint64_t)-2, "tokens is -2"},
        {offsetof(seqtune_rope_args, first_position), 901, "table_rows 1000"},
        {offsetof(seqtune_rope_args, first_position), (uint64_t)-1, "first_position is -1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rope_args a = rope_args();
        memcpy((char *)&a + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        assert_int_equal(seqtune_run_rope(plan, &a, 0, NULL), SEQTUNE_INVALID);
        assert_has(seqtune_last_error(ctx), rows[i].part);
    }
    assert_int_equal(fake->launches, 0);
    assert_int_equal(seqtune_run_attention(plan, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "seqtune_plan_attention");
    assert_int_equal(seqtune_run_rope(NULL, NULL, 0, NULL), SEQTUNE_INVALID);
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void attention_passes_window_scale_and_strides(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_attention_desc d = small_attention();
    d.mask = SEQTUNE_MASK_CAUSAL;
    d.want_lse = 1;
    d.k_stride_token = 640; /* rows of a fused projection */
    seqtune_plan *plan = NULL;
    if (seqtune_plan_attention(ctx, &d, &plan) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = a.k = a.v = a.o = 0x10000;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "lse is a null device pointer");
    a.lse = 0x10004;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_OK);
    AttnParams p;
    memcpy(&p, fake->launch[0].params, sizeof p);
    assert_int_equal(p.lse, 0x10004);
    assert_int_equal(p.q_token, 256);
    assert_int_equal(p.q_head, 64);
    assert_int_equal(p.q_batch, 256 * 256);
    assert_int_equal(p.k_token, 640);
    assert_int_equal(p.k_batch, 640 * 512);
    AttnParams *all = &plan->params.attn;
    assert_int_equal(all->window_left, -1);
    assert_int_equal(all->window_right, 0);
    assert_int_equal(all->group, 2);
    assert_int_equal(all->lse_batch, 4 * 256);
    assert_true(fabsf(all->scale - 0.125f) < 1e-7f);
    assert_true(fabsf(all->scale_log2 - 0.125f * 1.44269504f) < 1e-6f);
    assert_true(fake->smem_limit >= (int)fake->launch[0].smem);
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void an_empty_sequence_needs_no_keys_and_no_launch(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_attention_desc d = small_attention();
    seqtune_plan *plan = NULL;
    d.max_len_q = SEQTUNE_LENGTH_ZERO;
    if (seqtune_plan_attention(ctx, &d, &plan) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launches, 0);
    seqtune_plan_destroy(plan);

    d = small_attention();
    if (seqtune_plan_attention(ctx, &d, &plan) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    a.q = a.o = 0x10000;
    a.len_kv = SEQTUNE_LENGTH_ZERO;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launches, 1); /* zeros are to be written */
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void a_plan_that_needs_workspace_asks_for_it(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    Error err = {0};
    seqtune_context *ctx = open_fake();
    PlanDesc desc = {.kind = PLAN_ATTENTION, .u.attention = small_attention()};
    seqtune_plan *plan = NULL;
    assert_ok(plan_create(ctx, "attn_naive", &desc, NULL, &plan, &err), err);
    size_t bytes = seqtune_plan_workspace(plan);
    assert_true(bytes >= (size_t)4 * 256 * 512 * 2); /* the scores in 16 bits */
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = a.k = a.v = a.o = 0x10000;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_INVALID);
    char want[64];
    snprintf(want, sizeof want, "%zu bytes of workspace", bytes);
    assert_has(seqtune_last_error(ctx), want);
    assert_int_equal(seqtune_run_attention(plan, &a, 0x40080, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "256-byte");
    assert_int_equal(seqtune_run_attention(plan, &a, 0x40000, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launches, 3);
    assert_string_equal(fake->launch[0].entry, "attn_naive_scores");
    assert_string_equal(fake->launch[2].entry, "attn_naive_output");
    seqtune_plan_destroy(plan);

    assert_int_equal(plan_create(ctx, "no_such_kernel", &desc, NULL, &plan, &err), ST_NOT_FOUND);
    assert_has(err.message, "no_such_kernel");
    assert_int_equal(plan_create(ctx, "rope", &desc, NULL, &plan, &err), ST_INVALID);
    assert_has(err.message, "rope parameters");
    seqtune_close(ctx);
}

static seqtune_plan *plan_merge(seqtune_context *ctx) {
    seqtune_merge_desc d = SEQTUNE_MERGE_DESC_INIT;
    d.max_parts = 4;
    d.max_tokens = 64;
    d.heads = 8;
    d.head_dim = 128;
    seqtune_plan *plan = NULL;
    if (seqtune_plan_merge(ctx, &d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    return plan;
}

static void a_merge_has_a_grid_for_its_rows_and_no_parts_are_parts_too(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *plan = plan_merge(ctx);
    seqtune_merge_args a = SEQTUNE_MERGE_ARGS_INIT;
    a.o_parts = a.lse_parts = a.o = 0x10000;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_OK);
    const unsigned whole = fake->launch[0].grid[0];
    assert_string_equal(fake->launch[0].entry, "attn_combine");
    a.tokens = 32;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launch[1].grid[0] * 2, whole);
    a.parts = SEQTUNE_LENGTH_ZERO; /* O = 0 is to be written all the same */
    a.o_parts = a.lse_parts = 0;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launches, 3);
    a.tokens = SEQTUNE_LENGTH_ZERO;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_OK);
    assert_int_equal(fake->launches, 3);
    a.tokens = 0;
    a.parts = 5;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "parts is 5: must be 0..4");
    a.parts = 1;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "seqtune_run_merge: o_parts is a null device pointer");
    a.o_parts = a.lse_parts = a.lse = 0x10000;
    assert_int_equal(seqtune_run_merge(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "lse is given, but the description has no want_lse");
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void a_plan_runs_by_the_function_of_its_own_family_only(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *rope = plan_rope(ctx), *merge = plan_merge(ctx);
    seqtune_attention_args attention = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_merge_args merged = SEQTUNE_MERGE_ARGS_INIT;
    seqtune_kv_args kv = SEQTUNE_KV_ARGS_INIT;
    seqtune_rope_args turned = rope_args();
    assert_int_equal(seqtune_run_attention(rope, &attention, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "not one of seqtune_plan_attention");
    assert_int_equal(seqtune_run_merge(rope, &merged, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "not one of seqtune_plan_merge");
    assert_int_equal(seqtune_run_kv(merge, &kv, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "not one of seqtune_plan_kv");
    assert_int_equal(seqtune_run_rope(merge, &turned, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "not one of seqtune_plan_rope");
    assert_int_equal(seqtune_run_merge(merge, NULL, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "args is NULL");
    merged.size = 8;
    assert_int_equal(seqtune_run_merge(merge, &merged, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "size of the merge arguments is 8");
    assert_int_equal(fake->launches, 0);
    seqtune_plan_destroy(rope);
    seqtune_plan_destroy(merge);
    seqtune_close(ctx);
}

static void a_forced_configuration_is_checked_like_any_other(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    Error err = {0};
    seqtune_context *ctx = open_fake();
    PlanDesc desc = {.kind = PLAN_ROPE, .u.rope = small_rope()};
    seqtune_plan *plan = NULL;
    GenConfig config;
    const GenSpec *spec = gen_spec_find(ctx->library, "rope");
    assert_ok(
        gen_config_parse(spec, "vec_bytes=8 block_threads=256 head_sequential=1", &config, &err),
        err);
    assert_ok(plan_create(ctx, NULL, &desc, &config, &plan, &err), err);
    assert_true(gen_config_equal(spec, plan_get_config(plan), &config));
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    assert_int_equal(seqtune_plan_get_info(plan, &info), SEQTUNE_OK);
    assert_int_equal(info.rung, SEQTUNE_RUNG_FORCED);
    seqtune_plan_destroy(plan);

    desc.u.rope.x_stride_token = 257; /* 16-byte accesses would be misaligned */
    assert_int_equal(plan_create(ctx, NULL, &desc, &config, &plan, &err), ST_UNSUPPORTED);
    assert_has(err.message, "naturally aligned");
    assert_null(plan);
    seqtune_close(ctx);
}

static void cached_only_takes_from_the_cache_and_never_compiles(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    char *empty = scratch_make();
    seqtune_context *warm = open_fake();
    seqtune_plan *plan = plan_rope(warm);
    seqtune_plan_destroy(plan);
    seqtune_close(warm);

    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = "";
    options.cache_dir = cache;
    options.jit = SEQTUNE_JIT_CACHED_ONLY;
    seqtune_context *ctx = NULL;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_OK);
    plan = plan_rope(ctx);
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    assert_int_equal(seqtune_plan_get_info(plan, &info), SEQTUNE_OK);
    assert_int_equal(info.from_cache, 1);
    assert_true(info.compile_s == 0);
    assert_int_equal(info.rung, SEQTUNE_RUNG_DEFAULT);
    assert_string_equal(info.kernel, "rope");
    assert_true(info.registers > 0);
    assert_int_equal(strlen(info.artifact), 64);
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);

    options.cache_dir = empty;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_OK);
    seqtune_rope_desc d = small_rope();
    assert_int_equal(seqtune_plan_rope(ctx, &d, &plan), SEQTUNE_NOT_FOUND);
    assert_has(seqtune_last_error(ctx), "jit policy");
    assert_has(seqtune_last_error(ctx), empty);
    assert_int_equal(seqtune_supports_rope(ctx, &d), SEQTUNE_OK);
    seqtune_close(ctx);

    options.jit = SEQTUNE_JIT_NEVER;
    options.cache_dir = cache;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_OK);
    assert_int_equal(seqtune_plan_rope(ctx, &d, &plan), SEQTUNE_NOT_FOUND);
    assert_has(seqtune_last_error(ctx), "never");
    seqtune_close(ctx);
    scratch_remove(empty);
}

static void without_a_compiler_the_cache_still_serves(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *warm = open_fake();
    seqtune_plan *plan = plan_rope(warm);
    seqtune_plan_destroy(plan);
    seqtune_close(warm);
    setenv("SEQTUNE_NVRTC", "/nonexistent", 1);
    seqtune_context *ctx = open_fake();
    unsetenv("SEQTUNE_NVRTC");
    assert_null(ctx->nvrtc);
    plan = plan_rope(ctx);
    seqtune_plan_destroy(plan);
    seqtune_rope_desc d = small_rope();
    d.head_dim = 80; /* never compiled here */
    assert_int_equal(seqtune_plan_rope(ctx, &d, &plan), SEQTUNE_NOT_FOUND);
    assert_has(seqtune_last_error(ctx), "/nonexistent");
    seqtune_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_one_launch_in_the_contexts_own_cuda_context),
        cmocka_unit_test(fewer_tokens_launch_a_smaller_grid_without_allocating),
        cmocka_unit_test(plans_of_one_text_share_a_module),
        cmocka_unit_test(a_refused_cubin_is_loaded_as_ptx),
        cmocka_unit_test(a_driver_that_is_broken_is_not_asked_for_the_ptx),
        cmocka_unit_test(ptx_that_is_too_new_names_the_nvrtc_to_install),
        cmocka_unit_test(bad_arguments_are_refused_before_any_launch),
        cmocka_unit_test(attention_passes_window_scale_and_strides),
        cmocka_unit_test(an_empty_sequence_needs_no_keys_and_no_launch),
        cmocka_unit_test(a_plan_that_needs_workspace_asks_for_it),
        cmocka_unit_test(a_merge_has_a_grid_for_its_rows_and_no_parts_are_parts_too),
        cmocka_unit_test(a_plan_runs_by_the_function_of_its_own_family_only),
        cmocka_unit_test(a_forced_configuration_is_checked_like_any_other),
        cmocka_unit_test(cached_only_takes_from_the_cache_and_never_compiles),
        cmocka_unit_test(without_a_compiler_the_cache_still_serves),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
