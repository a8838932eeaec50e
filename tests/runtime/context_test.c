/* Contexts, plans and runs on the fake driver: what is called, with what, in which context. */
#include "tests/runtime/test.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"
#include "runtime/plan_internal.h"
#include "tests/runtime/fake.h"

static Fake *fake;
static char *cache; /* shared by all tests, so that each kernel is compiled once */

static void reset(void) {
    *fake = (Fake){.version = 13000, .cc_major = 8, .cc_minor = 0, .sms = 108};
}

static seqtune_context *open_fake(void) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = "";
    options.cache_dir = cache;
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) fail_msg("%s", seqtune_open_error());
    return ctx;
}

static seqtune_attention_desc small_attention(void) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 4;
    d.heads_kv = 2;
    d.head_dim = 64;
    d.max_len_q = 256;
    d.max_len_kv = 512;
    return d;
}

static seqtune_rope_desc small_rope(void) {
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = 100;
    d.heads = 4;
    d.head_dim = 64;
    d.table_rows = 1000;
    return d;
}

static seqtune_plan *plan_rope(seqtune_context *ctx) {
    seqtune_rope_desc d = small_rope();
    seqtune_plan *plan = NULL;
    if (seqtune_plan_rope(ctx, &d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    return plan;
}

static seqtune_rope_args rope_args(void) {
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = 0x10000;
    a.out = 0x20000;
    a.cos = 0x30000;
    a.sin = 0x40000;
    return a;
}

static bool have_nvrtc(void) {
    Error err;
    Nvrtc *nvrtc = NULL;
    bool found = nvrtc_open(13000, &nvrtc, &err) == ST_OK;
    nvrtc_close(nvrtc);
    return found;
}

static void a_context_releases_what_it_retained(void **state) {
    (void)state;
    reset();
    seqtune_context *ctx = open_fake();
    assert_int_equal(fake->retains, 1);
    seqtune_device_info info = SEQTUNE_DEVICE_INFO_INIT;
    assert_int_equal(seqtune_get_device_info(ctx, &info), SEQTUNE_OK);
    assert_string_equal(info.name, "Fake GPU");
    assert_string_equal(info.arch, "sm_80");
    assert_int_equal(info.modelled, 0);
    assert_has(info.key, "evidence=measured");
    assert_has(info.driver, "fakecuda");
    seqtune_close(ctx);
    assert_int_equal(fake->retains, 0);
}

static void a_current_context_is_used_and_its_device_taken(void **state) {
    (void)state;
    reset();
    Error err = {0};
    Driver *driver = NULL;
    CuContext second = NULL;
    assert_ok(driver_open(SEQTUNE_FAKE_CUDA, &driver, &err), err);
    assert_int_equal(driver->DevicePrimaryCtxRetain(&second, 41), 0);
    assert_int_equal(driver->CtxSetCurrent(second), 0);
    seqtune_context *ctx = open_fake();
    assert_ptr_equal(ctx->device.context, second);
    assert_int_equal(ctx->device.ordinal, 1);
    assert_int_equal(fake->retains, 1);
    seqtune_close(ctx);
    assert_int_equal(fake->retains, 1);
    assert_int_equal(driver->CtxPopCurrent(&second), 0);
    driver_close(driver);
}

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
    memcpy(&p, fake->launch[0].params, 128); /* what the fake keeps */
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

static void a_launch_failure_is_told_with_the_entry(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *ctx = open_fake();
    seqtune_plan *plan = plan_rope(ctx);
    seqtune_rope_args a = rope_args();
    fake->launch_result = CUDA_ERROR_LAUNCH_FAILED;
    assert_int_equal(seqtune_run_rope(plan, &a, 0, NULL), SEQTUNE_DRIVER);
    assert_has(seqtune_last_error(ctx), "seqtune_run_rope: ");
    assert_has(seqtune_last_error(ctx), "cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED (719)");
    fake->sync_result = CUDA_ERROR_LAUNCH_FAILED;
    assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_DRIVER);
    assert_has(seqtune_last_error(ctx), "cuCtxSynchronize");
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void an_unknown_architecture_is_named(void **state) {
    (void)state;
    reset();
    fake->cc_major = 5;
    fake->cc_minor = 2;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = SEQTUNE_FAKE_CUDA;
    seqtune_context *ctx = NULL;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_UNSUPPORTED);
    assert_null(ctx);
    assert_has(seqtune_open_error(), "5.2");
    reset();
    fake->version = 11080;
    assert_int_equal(seqtune_open(&ctx, &options), SEQTUNE_UNSUPPORTED);
    assert_has(seqtune_open_error(), "11.8");
}

/* ---- threads ---- */

typedef struct Job {
    seqtune_context *ctx;
    const seqtune_plan *plan;
    int id;
    bool ok;
} Job;

static void *thread_main(void *arg) {
    Job *job = arg;
    char want[64];
    job->ok = strcmp(seqtune_last_error(job->ctx), "") == 0; /* another thread's is not ours */
    snprintf(want, sizeof want, "tokens is %d", 1000 + job->id);
    for (int i = 0; i < 200 && job->ok; i++) {
        seqtune_rope_args a = rope_args();
        job->ok = seqtune_run_rope(job->plan, &a, 0, NULL) == SEQTUNE_OK;
        a.tokens = 1000 + job->id;
        job->ok = job->ok && seqtune_run_rope(job->plan, &a, 0, NULL) == SEQTUNE_INVALID &&
                  strstr(seqtune_last_error(job->ctx), want) != NULL;
        if (i % 50 == 0) {
            seqtune_plan *own = NULL;
            seqtune_rope_desc d = small_rope();
            job->ok = job->ok && seqtune_plan_rope(job->ctx, &d, &own) == SEQTUNE_OK;
            seqtune_plan_destroy(own);
        }
    }
    return NULL;
}

static void threads_share_a_context_and_keep_their_own_errors(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    enum { THREADS = 4 };
    seqtune_context *ctx = open_fake();
    seqtune_plan *plan = plan_rope(ctx);
    seqtune_rope_args bad = rope_args();
    bad.tokens = 5000;
    assert_int_equal(seqtune_run_rope(plan, &bad, 0, NULL), SEQTUNE_INVALID);
    pthread_t thread[THREADS];
    Job job[THREADS];
    for (int i = 0; i < THREADS; i++) {
        job[i] = (Job){ctx, plan, i, false};
        assert_int_equal(pthread_create(&thread[i], NULL, thread_main, &job[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_true(job[i].ok);
    }
    assert_has(seqtune_last_error(ctx), "tokens is 5000");
    assert_int_equal(fake->launches, THREADS * 200);
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
}

static void each_context_keeps_its_own_error(void **state) {
    (void)state;
    reset();
    seqtune_context *a = open_fake(), *b = open_fake();
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    seqtune_plan *plan = NULL;
    assert_int_equal(seqtune_plan_rope(a, &d, &plan), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(a), "max_tokens");
    assert_string_equal(seqtune_last_error(b), "");
    seqtune_close(a);
    seqtune_close(b);
}

/* ---- environment ---- */

static int count_files(const char *dir, const char *suffix) {
    char command[4300];
    int n = 0;
    snprintf(command, sizeof command, "ls '%s' | grep -c '\\.%s$'", dir, suffix);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return n;
}

static void dumps_go_to_the_directories_named(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    char *dir = scratch_make();
    setenv("SEQTUNE_DUMP_CU", dir, 1);
    setenv("SEQTUNE_DUMP_PTX", dir, 1);
    seqtune_context *ctx = open_fake();
    unsetenv("SEQTUNE_DUMP_CU");
    unsetenv("SEQTUNE_DUMP_PTX");
    seqtune_plan_destroy(plan_rope(ctx));
    seqtune_close(ctx);
    assert_int_equal(count_files(dir, "cu"), 1);
    assert_int_equal(count_files(dir, "ptx"), 1);
    scratch_remove(dir);
}

static void see_plan(void *context, LogLevel level, const char *channel, const char *line) {
    (void)level;
    (void)channel;
    if (strstr(line, "plan kernel=rope") != NULL) ++*(int *)context;
}

static void print_plan_shows_one_line_per_plan_unless_the_log_is_off(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    int seen = 0;
    log_set_sink(see_plan, &seen);
    log_set_level(LOG_ERROR);
    setenv("SEQTUNE_PRINT_PLAN", "1", 1);
    seqtune_context *ctx = open_fake();
    unsetenv("SEQTUNE_PRINT_PLAN");
    seqtune_plan_destroy(plan_rope(ctx));
    seqtune_close(ctx);
    log_set_sink(NULL, NULL);
    log_set_level(LOG_OFF);
    assert_int_equal(seen, 1);
}

static void a_source_tree_that_does_not_exist_fails_the_open(void **state) {
    (void)state;
    reset();
    setenv("SEQTUNE_SOURCE", "/nonexistent/tree", 1);
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = "";
    seqtune_status st = seqtune_open(&ctx, &options);
    unsetenv("SEQTUNE_SOURCE");
    assert_int_not_equal(st, SEQTUNE_OK);
    assert_has(seqtune_open_error(), "/nonexistent/tree");
    assert_int_equal(fake->retains, 0);
}

/* ---- no memory ---- */

static void every_failed_allocation_is_an_error_with_a_text(void **state) {
    (void)state;
    if (!have_nvrtc()) skip();
    reset();
    seqtune_context *warm = open_fake();
    seqtune_plan_destroy(plan_rope(warm));
    seqtune_close(warm);
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = "";
    options.cache_dir = cache;
    bool done = false;
    int failures = 0;
    /* Every allocation of the beginning, then ever wider steps. */
    for (unsigned long n = 1; !done; n += 1 + n / 24) {
        seqtune_context *ctx = NULL;
        seqtune_plan *plan = NULL;
        seqtune_rope_desc d = small_rope();
        Error err = {0};
        mem_fail_after(n);
        Status st = context_open(&options, &ctx, &err);
        if (st == ST_OK) {
            PlanDesc any = {.kind = PLAN_ROPE, .u.rope = d};
            st = plan_create(ctx, NULL, &any, NULL, &plan, &err);
        }
        mem_fail_after(0);
        if (st == ST_OK) {
            done = true;
        } else {
            failures++;
            assert_true(err.message[0] != '\0');
            assert_null(plan);
        }
        seqtune_plan_destroy(plan);
        seqtune_close(ctx);
        assert_true(n < 10000000);
    }
    assert_true(failures > 20);
    assert_int_equal(fake->retains, 0);
    assert_int_equal(fake->loads, fake->unloads);
}

static int setup(void **state) {
    (void)state;
    unsetenv("SEQTUNE_NVRTC");
    log_set_level(LOG_OFF);
    void *handle = dlopen(SEQTUNE_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) return -1;
    Fake *(*get)(void);
    void *symbol = dlsym(handle, "fake_state");
    memcpy(&get, &symbol, sizeof get);
    fake = get();
    cache = scratch_make();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    scratch_remove(cache);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_context_releases_what_it_retained),
        cmocka_unit_test(a_current_context_is_used_and_its_device_taken),
        cmocka_unit_test(a_run_is_one_launch_in_the_contexts_own_cuda_context),
        cmocka_unit_test(fewer_tokens_launch_a_smaller_grid_without_allocating),
        cmocka_unit_test(plans_of_one_text_share_a_module),
        cmocka_unit_test(a_refused_cubin_is_loaded_as_ptx),
        cmocka_unit_test(a_driver_that_is_broken_is_not_asked_for_the_ptx),
        cmocka_unit_test(ptx_that_is_too_new_names_the_nvrtc_to_install),
        cmocka_unit_test(bad_arguments_are_refused_before_any_launch),
        cmocka_unit_test(attention_passes_window_scale_and_strides),
        cmocka_unit_test(an_empty_sequence_needs_no_keys_and_no_launch),
        cmocka_unit_test(cached_only_takes_from_the_cache_and_never_compiles),
        cmocka_unit_test(without_a_compiler_the_cache_still_serves),
        cmocka_unit_test(a_launch_failure_is_told_with_the_entry),
        cmocka_unit_test(an_unknown_architecture_is_named),
        cmocka_unit_test(threads_share_a_context_and_keep_their_own_errors),
        cmocka_unit_test(each_context_keeps_its_own_error),
        cmocka_unit_test(dumps_go_to_the_directories_named),
        cmocka_unit_test(print_plan_shows_one_line_per_plan_unless_the_log_is_off),
        cmocka_unit_test(a_source_tree_that_does_not_exist_fails_the_open),
        cmocka_unit_test(every_failed_allocation_is_an_error_with_a_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
