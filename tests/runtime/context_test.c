/* Contexts on the fake driver: drivers, devices, errors, threads, environment, no memory. */
#include "tests/runtime/fixture.h"

#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"

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

/* ---- the default driver, in a process of its own ---- */

/* What this program prints with the argument "open-default" where libcuda.so.1 is the fake. */
static void open_default_elsewhere(const char *version, char *out, size_t size) {
    char *dir = scratch_make(), self[4096] = "", command[9000];
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(command, sizeof command,
             "ln -s '%s' '%s/libcuda.so.1' && FAKE_CUDA_VERSION=%s LD_LIBRARY_PATH='%s' '%s' "
             "open-default 2>&1",
             SEQTUNE_FAKE_CUDA, dir, version, dir, self);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(out, 1, size - 1, pipe);
    out[n] = '\0';
    assert_int_equal(pclose(pipe), 0);
    scratch_remove(dir);
}

static int open_default(void) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_device_info info = SEQTUNE_DEVICE_INFO_INIT;
    seqtune_context *ctx = NULL;
    options.database = "";
    options.cache_dir = "";
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) {
        puts(seqtune_open_error());
        return 0;
    }
    if (seqtune_get_device_info(ctx, &info) == SEQTUNE_OK) puts(info.name);
    seqtune_close(ctx);
    return 0;
}

static void the_default_is_the_cuda_driver_and_a_bad_one_is_an_error(void **state) {
    (void)state;
    char output[4096];
    open_default_elsewhere("13000", output, sizeof output);
    assert_has(output, "Fake GPU");
    open_default_elsewhere("11080", output, sizeof output);
    assert_has(output, "is a driver of CUDA 11.8: seqtune needs 12.0");
    assert_has(output, "SEQTUNE_DRIVER=soft");
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

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "open-default") == 0) return open_default();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_context_releases_what_it_retained),
        cmocka_unit_test(a_current_context_is_used_and_its_device_taken),
        cmocka_unit_test(a_launch_failure_is_told_with_the_entry),
        cmocka_unit_test(an_unknown_architecture_is_named),
        cmocka_unit_test(threads_share_a_context_and_keep_their_own_errors),
        cmocka_unit_test(each_context_keeps_its_own_error),
        cmocka_unit_test(the_default_is_the_cuda_driver_and_a_bad_one_is_an_error),
        cmocka_unit_test(dumps_go_to_the_directories_named),
        cmocka_unit_test(print_plan_shows_one_line_per_plan_unless_the_log_is_off),
        cmocka_unit_test(a_source_tree_that_does_not_exist_fails_the_open),
        cmocka_unit_test(every_failed_allocation_is_an_error_with_a_text),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
