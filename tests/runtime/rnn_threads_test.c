/* One composed plan, many threads: each runs it on a stream, a workspace and states of its own
 * while others make plans and fail, and all get the bits of a run alone. Meant for --tsan, too. */
#include "tests/runtime/rnn_fixture.h"

#include <pthread.h>

enum { RUNNERS = 3, RUNS = 4 };

/* What a thread is given and what became of it; nothing fails outside of the main thread. */
typedef struct Job {
    const Bench *b;
    Rig rig; /* the plan is shared */
    CuStream stream;
    seqtune_status status;
    char text[512];
} Job;

static void note(Job *job, seqtune_status status) {
    if (status == SEQTUNE_OK || job->status != SEQTUNE_OK) return;
    job->status = status;
    snprintf(job->text, sizeof job->text, "%s", seqtune_last_error(ctx));
}

/* A context is current per thread; streams belong to it. */
static void *run_often(void *arg) {
    Job *const job = arg;
    const seqtune_rnn_args a = args_of(job->b, &job->rig, 0, job->b->d.max_steps, 0);
    for (int i = 0; i < RUNS; i++)
        note(job, seqtune_run_rnn(job->rig.plan, &a, job->rig.workspace, job->stream));
    bool pushed = false;
    if (driver_enter(ctx->driver, ctx->device.context, &pushed) != CUDA_SUCCESS ||
        ctx->driver->StreamSynchronize(job->stream) != CUDA_SUCCESS)
        note(job, SEQTUNE_DRIVER);
    driver_leave(ctx->driver, pushed);
    return NULL;
}

static void *make_plans(void *arg) {
    Job *const job = arg;
    for (int i = 0; i < RUNS; i++) {
        seqtune_plan *plan = NULL;
        note(job, seqtune_plan_rnn(ctx, &job->b->d, &plan));
        seqtune_plan_destroy(plan);
    }
    return NULL;
}

static void *fail_often(void *arg) {
    Job *const job = arg;
    for (int i = 0; i < RUNS; i++) {
        seqtune_rnn_args a = args_of(job->b, &job->rig, 0, job->b->d.max_steps, 0);
        a.x = 0;
        if (seqtune_run_rnn(job->rig.plan, &a, job->rig.workspace, NULL) != SEQTUNE_INVALID ||
            strstr(seqtune_last_error(ctx), "x is a null device pointer") == NULL)
            note(job, SEQTUNE_WRONG);
    }
    return NULL;
}

static void run_threads(Job job[RUNNERS + 2]) {
    void *(*const work[RUNNERS + 2])(void *) = {[RUNNERS] = make_plans, [RUNNERS + 1] = fail_often};
    pthread_t thread[RUNNERS + 2];
    for (int i = 0; i < RUNNERS + 2; i++)
        assert_int_equal(
            pthread_create(&thread[i], NULL, i < RUNNERS ? run_often : work[i], &job[i]), 0);
    for (int i = 0; i < RUNNERS + 2; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < RUNNERS + 2; i++)
        if (job[i].status != SEQTUNE_OK) fail_msg("thread %d: %s", i, job[i].text);
}

static void check_threads(const seqtune_rnn_desc *d, const int64_t *lens) {
    Bench b = bench_of(d, lens);
    Result alone = run_whole(&b);
    check_reference(&b, &alone);
    Job job[RUNNERS + 2];
    bool pushed = false;
    assert_int_equal(driver_enter(ctx->driver, ctx->device.context, &pushed), CUDA_SUCCESS);
    for (int i = 0; i < RUNNERS + 2; i++) {
        job[i] = (Job){.b = &b, .rig = rig_of(&b, d)};
        assert_int_equal(ctx->driver->StreamCreate(&job[i].stream, CU_STREAM_NON_BLOCKING), 0);
    }
    seqtune_plan *own[RUNNERS + 2];
    for (int i = 0; i < RUNNERS + 2; i++) {
        own[i] = job[i].rig.plan;
        job[i].rig.plan = own[0];
    }
    run_threads(job);
    for (int i = 0; i < RUNNERS + 2; i++) {
        if (i < RUNNERS) {
            Result r = fetch(&b, &job[i].rig, 0);
            assert_same(&r, &alone);
            result_end(&r);
        }
        assert_int_equal(ctx->driver->StreamDestroy(job[i].stream), CUDA_SUCCESS);
        job[i].rig.plan = own[i];
        rig_end(&job[i].rig);
    }
    driver_leave(ctx->driver, pushed);
    result_end(&alone);
    bench_end(&b);
}

static void threads_share_a_plan_of_bidirectional_layers(void **state) {
    (void)state;
    static const int64_t lens[] = {5, 0, 2};
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.batch = 3;
    d.input = 20;
    d.hidden = 24;
    d.layers = 2;
    d.max_steps = 5;
    d.chunk_steps = 2;
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    d.device_lengths = 1;
    check_threads(&d, lens);
    d.flags = SEQTUNE_CHECKED;
    check_threads(&d, lens);
}

/* Runs of one launch each of whose blocks wait for each other, and of single steps. */
static void threads_share_a_plan_whose_blocks_wait(void **state) {
    (void)state;
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.cell = SEQTUNE_GRU;
    d.layers = 1;
    d.batch = 2;
    d.input = 16;
    d.hidden = 288; /* more than one SM holds */
    d.max_steps = 3;
    check_threads(&d, NULL);
    d.max_steps = 1;
    check_threads(&d, NULL);
}

static void threads_share_a_plan_with_a_wavefront(void **state) {
    (void)state;
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.batch = 1;
    d.input = d.hidden = 32;
    d.layers = 2;
    d.max_steps = 129;
    check_threads(&d, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_plan_of_bidirectional_layers),
        cmocka_unit_test(threads_share_a_plan_whose_blocks_wait),
        cmocka_unit_test(threads_share_a_plan_with_a_wavefront),
    };
    return cmocka_run_group_tests(tests, rnn_setup, rnn_teardown);
}
