/* A layer whose blocks wait for each other cannot hang: with a block that dies, and on a GPU that
 * does not hold all blocks at once, the run ends with its error word set, and a following run is
 * right. By the software GPU's fault injection; on a real GPU there is nothing to inject. */
#include "tests/runtime/rnn_fixture.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char entry[] = "rnn_seq_grid"; /* of tier 2 */
enum { QUICK_SECONDS = 20, FEW_SMS = 6 };

/* Too large for one SM, so that the default is tier 2 wherever its blocks are resident. */
static seqtune_rnn_desc large_layer(void) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.cell = SEQTUNE_LSTM;
    d.dtype = SEQTUNE_F16;
    d.layers = 1;
    d.batch = 8;
    d.input = 16;
    d.hidden = 320;
    d.max_steps = 6;
    return d;
}

static void kill_block(const char *kernel, unsigned long long block, unsigned long long after) {
    int (*inject)(const char *, unsigned long long, unsigned long long) = NULL;
    void *const found = dlsym(ctx->driver->handle, "softgpuKillBlock");
    assert_non_null(found);
    memcpy(&inject, &found, sizeof inject);
    assert_int_equal(inject(kernel, block, after), 0);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The error word that a run leaves. */
static int run_for_error(const Bench *b, const Rig *rig) {
    seqtune_device_ptr word = 0;
    int32_t error = -1;
    seqtune_rnn_args a = args_of(b, rig, 0, b->d.max_steps, 0);
    CHECK(seqtune_device_alloc(ctx, sizeof error, &word));
    CHECK(seqtune_device_upload(ctx, word, &error, sizeof error));
    a.error = word;
    const double begin = seconds();
    CHECK(seqtune_run_rnn(rig->plan, &a, rig->workspace, NULL));
    CHECK(seqtune_device_download(ctx, &error, word, sizeof error));
    assert_true(seconds() - begin < QUICK_SECONDS);
    CHECK(seqtune_device_free(ctx, word));
    return error;
}

static void a_killed_block_ends_the_run_with_an_error(void **state) {
    (void)state;
    const seqtune_rnn_desc d = large_layer();
    Bench b = bench_of(&d, NULL);
    Result right = run_whole(&b);
    check_reference(&b, &right);
    Rig rig = rig_of(&b, &d);
    static const unsigned long long after[] = {0, 1500, 4000};
    for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
        kill_block(entry, 3, after[i]);
        const int error = run_for_error(&b, &rig);
        if (error < 1 || error > d.max_steps)
            fail_msg("killed after %llu instructions: error word %d", after[i], error);
        kill_block(NULL, 0, 0);
        assert_int_equal(run_for_error(&b, &rig), 0); /* and runs again */
        Result again = fetch(&b, &rig, 0);
        assert_same(&again, &right);
        result_end(&again);
    }
    rig_end(&rig);
    result_end(&right);
    bench_end(&b);
}

static void a_checked_run_returns_what_the_error_word_says(void **state) {
    (void)state;
    seqtune_rnn_desc d = large_layer();
    d.flags = SEQTUNE_CHECKED;
    Bench b = bench_of(&d, NULL);
    Rig rig = rig_of(&b, &d);
    const seqtune_rnn_args a = args_of(&b, &rig, 0, d.max_steps, 0); /* asks for no error word */
    kill_block(entry, 3, 1500);
    assert_int_equal(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL), SEQTUNE_TIMEOUT);
    assert_has(seqtune_last_error(ctx), "seqtune_run_rnn: a block waited in vain for others in ");
    kill_block(NULL, 0, 0);
    CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL));
    Result r = fetch(&b, &rig, 0);
    check_reference(&b, &r);
    result_end(&r);
    rig_end(&rig);
    bench_end(&b);
}

static void blocks_that_are_all_resident_need_no_cooperative_launch(void **state) {
    (void)state;
    const seqtune_rnn_desc d = large_layer();
    Bench b = bench_of(&d, NULL);
    Result cooperative = run_whole(&b);
    ctx->device.cooperative = false;
    Rig rig = rig_of(&b, &d);
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    CHECK(seqtune_plan_get_info(rig.plan, &info));
    assert_has(info.config, "tier=2");
    assert_int_equal(run_for_error(&b, &rig), 0);
    Result r = fetch(&b, &rig, 0);
    assert_same(&r, &cooperative);
    check_reference(&b, &r);
    ctx->device.cooperative = true;
    rig_end(&rig);
    result_end(&r);
    result_end(&cooperative);
    bench_end(&b);
}

/* ---- in a process whose GPU has few SMs ---- */

static void a_plan_takes_what_the_gpu_can_hold(void **state) {
    (void)state;
    const seqtune_rnn_desc d = large_layer();
    assert_int_equal(ctx->device.gpu.sms, FEW_SMS);
    Bench b = bench_of(&d, NULL);
    Result r = run_whole(&b); /* another tier */
    check_reference(&b, &r);
    result_end(&r);
    bench_end(&b);
}

/* As if the check of residency were wrong, and without a cooperative launch that would refuse. */
static void blocks_beyond_the_gpu_end_with_an_error(void **state) {
    (void)state;
    const seqtune_rnn_desc d = large_layer();
    Bench b = bench_of(&d, NULL);
    ctx->device.gpu.sms = 108;
    ctx->device.cooperative = false;
    Rig rig = rig_of(&b, &d);
    ctx->device.gpu.sms = FEW_SMS;
    assert_true(run_for_error(&b, &rig) >= 1);
    rig_end(&rig);
    Result r = run_whole(&b); /* and the GPU goes on */
    check_reference(&b, &r);
    result_end(&r);
    bench_end(&b);
}

static int few_sms(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_takes_what_the_gpu_can_hold),
        cmocka_unit_test(blocks_beyond_the_gpu_end_with_an_error),
    };
    return cmocka_run_group_tests_name("few SMs", tests, rnn_setup, rnn_teardown);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_block_ends_the_run_with_an_error),
        cmocka_unit_test(a_checked_run_returns_what_the_error_word_says),
        cmocka_unit_test(blocks_that_are_all_resident_need_no_cooperative_launch),
    };
    int status = 0;
    if (getenv("SEQTUNE_TEST_GPU") != NULL) return 0;
    /* The number of SMs is read once in a process. */
    const pid_t child = fork();
    if (child == 0) {
        char text[12];
        snprintf(text, sizeof text, "%d", (int)FEW_SMS);
        setenv("SOFTGPU_SMS", text, 1);
        const int failed = few_sms();
        fflush(NULL);
        _exit(failed != 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    return cmocka_run_group_tests_name("waits", tests, rnn_setup, rnn_teardown) || status != 0;
}
