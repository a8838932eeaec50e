/* Recurrent kernels as the program's commands see them, and the times that advise compares. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/plan.h"
#include "tests/tuner/program.h"
#include "tuner/bench.h"
#include "tuner/layer_time.h"
#include "tuner/options.h"

#define SMALL "--gpu @GPU --problem 'hidden=40 batch=3 steps=12' "

typedef struct Row {
    const char *args;
    int code;
    const char *text;
} Row;

static void every_command_knows_recurrent_kernels(void **state) {
    (void)state;
    static const Row rows[] = {
        {"list --op rnn_seq", EXIT_OK, "axis  tier"},
        {"list --op rnn_input", EXIT_OK, "dim   parts"},
        {"explain --op rnn_seq " SMALL, EXIT_OK, "legal"},
        {"explain --op rnn_input " SMALL, EXIT_OK, "legal"},
        {"explain --op rnn_seq --gpu soft:a100 --problem 'cell=gru peephole=1'", EXIT_USAGE,
         "peepholes belong to the LSTM"},
        {"emit --op rnn_seq " SMALL, EXIT_OK, "extern \"C\" __global__"},
        {"emit --op rnn_input " SMALL, EXIT_OK, "extern \"C\" __global__"},
        {"why --op rnn_seq " SMALL "--db none.db", EXIT_STORAGE, "there is no database none.db"},
        {"profile --op rnn_seq " SMALL, EXIT_OK, " us a step\n"},
        {"profile --op rnn_input " SMALL, EXIT_OK, "time.seconds"},
        /* R of 256 MiB is streamed: a launch per step. */
        {"profile --op rnn_seq --gpu soft:a100 --problem 'dtype=f32 hidden=4096 batch=1 steps=20'",
         EXIT_OK, ", the newest 16 launches below, "},
        {"list --op rnn_cell", EXIT_OK, "dim   fused"},
        {"emit --op rnn_cell --gpu @GPU", EXIT_OK, "extern \"C\" __global__"},
        {"profile --op rnn_cell --gpu @GPU --problem batch=1", EXIT_OK, "time.seconds"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran = program_run("%s", rows[i].args);
        program_expect(&ran, rows[i].code, rows[i].text);
        program_free(&ran);
    }
}

/* Every kind of buffer is given where the description wants it, and nowhere else. */
static void every_kind_of_layer_can_be_timed(void **state) {
    (void)state;
    static const char *const problems[] = {
        "rnn_seq cell=lstm peephole=1 clip=1 store_gates=1 lengths=padded",
        "rnn_seq cell=lstm dtype=f32 lengths=packed directions=2",
        "rnn_seq cell=gru dtype=bf16 store_gates=1",
        "rnn_input cell=gru dtype=bf16 input=24 lengths=packed directions=2",
        "rnn_input cell=lstm dtype=f32 input=24 lengths=padded align=2",
        "rnn_input cell=lstm dtype=f16 input=80 parts=2",
        "rnn_cell cell=lstm peephole=1 clip=1 store_gates=1 input=24",
        "rnn_cell cell=gru dtype=f32 input=64 parts=2 directions=2",
        "rnn_cell cell=lstm dtype=bf16 fused=0",
    };
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        char op[16];
        int used = 0;
        assert_int_equal(sscanf(problems[i], "%15s %n", op, &used), 1);
        Ran ran =
            program_run("profile --gpu @GPU --full --op %s --problem '%s hidden=40 batch=3%s'", op,
                        problems[i] + used, strcmp(op, "rnn_cell") ? " steps=5" : "");
        program_expect(&ran, EXIT_OK, "time.seconds");
        program_free(&ran);
    }
}

static void assert_ok(Status st, const Error *err) {
    if (st != ST_OK) fail_msg("%s", err->message);
}

static double time_whole(seqtune_context *ctx, const GenProblem *p, const char *config) {
    Bench *bench = NULL;
    GenConfig c;
    Error err = {0};
    size_t index = 0;
    double seconds = 0;
    assert_ok(gen_config_parse(p->spec, config, &c, &err), &err);
    assert_ok(bench_open(ctx, p, true, &bench, &err), &err);
    assert_ok(bench_add(bench, &c, &index, &err), &err);
    assert_ok(bench_launch(bench, index, &seconds, &err), &err);
    bench_close(bench);
    return seconds;
}

static void the_line_through_two_short_runs_meets_a_long_run(void **state) {
    (void)state;
    static const char *const problems[] = {"hidden=40 batch=3 steps=400",
                                           "hidden=128 batch=16 steps=300 cell=gru"};
    seqtune_context *ctx = NULL;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    Error err = {0};
    options.driver = "soft:a100";
    options.database = "";
    assert_ok(context_open(&options, &ctx, &err), &err);
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        GenProblem p;
        LayerTime t;
        assert_ok(layer_problem(ctx, "rnn_seq", problems[i], &p, &err), &err);
        assert_ok(layer_time(ctx, &p, NULL, &t, &err), &err);
        assert_true(t.line);
        assert_true(t.ran[0] < t.ran[1] && t.ran[1] < 200);
        assert_string_equal(t.by, "default");
        const double whole = time_whole(ctx, &p, t.config);
        if (fabs(t.seconds / whole - 1) > 0.02)
            fail_msg("%s: %.3g s by the line, %.3g s by a run of all steps", problems[i], t.seconds,
                     whole);
    }
    seqtune_close(ctx);
}

/* Seconds of a whole run between two events. */
static double time_run(seqtune_context *ctx, const seqtune_plan *plan, const seqtune_rnn_args *a,
                       seqtune_device_ptr workspace) {
    const Driver *const cu = ctx->driver;
    CuEvent begin = NULL, end = NULL;
    Error err = {0};
    float ms = 0;
    assert_int_equal(cu->EventCreate(&begin, 0), CUDA_SUCCESS);
    assert_int_equal(cu->EventCreate(&end, 0), CUDA_SUCCESS);
    assert_ok(driver_set_mode(cu, LAUNCH_TIMING, &err), &err);
    assert_int_equal(cu->EventRecord(begin, NULL), CUDA_SUCCESS);
    assert_int_equal(seqtune_run_rnn(plan, a, workspace, NULL), SEQTUNE_OK);
    assert_int_equal(cu->EventRecord(end, NULL), CUDA_SUCCESS);
    assert_int_equal(cu->EventSynchronize(end), CUDA_SUCCESS);
    assert_ok(driver_set_mode(cu, LAUNCH_FULL, &err), &err);
    assert_int_equal(cu->EventElapsedTime(&ms, begin, end), CUDA_SUCCESS);
    (void)cu->EventDestroy(begin);
    (void)cu->EventDestroy(end);
    return (double)ms * 1e-3;
}

/* Zeros: the time does not depend on the numbers. */
static double time_plan(seqtune_context *ctx, const seqtune_rnn_desc *d) {
    const size_t row = (size_t)d->hidden * 2, rows = (size_t)(d->max_steps * d->batch);
    seqtune_plan *plan = NULL;
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    seqtune_device_ptr workspace = 0;
    size_t weights = 0;
    bool pushed = false;
    assert_int_equal(seqtune_plan_rnn(ctx, d, &plan), SEQTUNE_OK);
    assert_int_equal(seqtune_rnn_weights_bytes(d, &weights), SEQTUNE_OK);
    assert_int_equal(driver_enter(ctx->driver, ctx->device.context, &pushed), CUDA_SUCCESS);
    const struct {
        seqtune_device_ptr *at;
        size_t bytes;
    } all[] = {{&a.weights, weights},
               {&a.x, row * rows},
               {&a.y, row * rows},
               {&a.h_in, row * (size_t)d->batch},
               {&a.h_out, row * (size_t)d->batch},
               {&a.c_in, 2 * row * (size_t)d->batch},
               {&workspace, seqtune_plan_workspace(plan)}};
    const size_t count = sizeof all / sizeof all[0];
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(seqtune_device_alloc(ctx, all[i].bytes, all[i].at), SEQTUNE_OK);
        assert_int_equal(ctx->driver->MemsetD8(*all[i].at, 0, all[i].bytes), CUDA_SUCCESS);
    }
    a.c_out = a.c_in;
    const double seconds = time_run(ctx, plan, &a, workspace);
    for (size_t i = 0; i < count; i++) (void)seqtune_device_free(ctx, *all[i].at);
    driver_leave(ctx->driver, pushed);
    seqtune_plan_destroy(plan);
    return seconds;
}

/* In chunks, of rows whose alignment is not the largest, by a kernel whose blocks wait, by single
 * steps, and long enough for the line. */
static void the_launches_of_a_plan_add_up_to_its_run(void **state) {
    (void)state;
    static const struct {
        int64_t hidden, batch, steps, chunk;
    } rows[] = {{40, 3, 50, 20}, {100, 2, 12, 0}, {320, 4, 10, 0}, {64, 1, 1, 0}, {64, 4, 400, 0}};
    seqtune_context *ctx = NULL;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    Error err = {0};
    options.driver = "soft:a100";
    options.database = "";
    assert_ok(context_open(&options, &ctx, &err), &err);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
        LayerPlanTime t;
        d.batch = rows[i].batch;
        d.input = d.hidden = rows[i].hidden;
        d.max_steps = rows[i].steps;
        d.chunk_steps = rows[i].chunk;
        assert_ok(layer_plan_time(ctx, &d, &t, &err), &err);
        assert_true((t.input > 0) == (d.max_steps > 1));
        const double run = time_plan(ctx, &d), sum = t.input + t.steps;
        if (fabs(sum / run - 1) > 0.01)
            fail_msg("row %zu: the launches take %.4g s, a run %.4g s", i, sum, run);
    }
    seqtune_close(ctx);
}

static void a_short_sequence_runs_as_it_is(void **state) {
    (void)state;
    seqtune_context *ctx = NULL;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    Error err = {0};
    GenProblem p;
    LayerTime t;
    options.driver = "soft:a100";
    options.database = "";
    assert_ok(context_open(&options, &ctx, &err), &err);
    assert_ok(layer_problem(ctx, "rnn_seq", "hidden=40 batch=3 steps=20", &p, &err), &err);
    assert_ok(layer_time(ctx, &p, NULL, &t, &err), &err);
    assert_false(t.line);
    assert_true(t.step > 0 && fabs(20 * t.step / t.seconds - 1) < 1e-9);
    assert_int_equal(layer_problem(ctx, "rnn_seq", "hidden=0", &p, &err), ST_INVALID);
    assert_int_equal(layer_problem(ctx, "rnn_sequence", "", &p, &err), ST_UNSUPPORTED);
    seqtune_close(ctx);
}

static void advice_has_the_times_of_the_layers_kernels(void **state) {
    (void)state;
    Ran ran = program_run("advise --len 256 --hidden 64 --batch 4 --gpu soft:a100 --json");
    program_expect(&ran, EXIT_OK, NULL);
    assert_string_equal(json_at(&ran, "$.evidence"), "modelled (a100, factor 1.192)");
    assert_string_equal(json_at(&ran, "$.not_timed"), "");
    const double lstm = json_number(&ran, "$.seconds.lstm");
    const double attention = json_number(&ran, "$.seconds.attention");
    /* 256 steps of at least a tenth of a microsecond against two launches. */
    assert_true(lstm > 256 * 1e-7 && attention > 2e-6 && lstm > attention);
    assert_true(json_number(&ran, "$.seconds.gru") > 0);
    assert_non_null(strstr(json_at(&ran, "$.conclusion"), "take attention: cheaper by the times"));
    program_free(&ran);
    /* One step: a launch of rnn_cell against two. */
    ran = program_run("advise --len 4k --hidden 256 --streaming --gpu soft:a100 --json");
    program_expect(&ran, EXIT_OK, NULL);
    assert_true(json_number(&ran, "$.seconds.lstm") > 2e-6);
    assert_true(json_number(&ran, "$.seconds.attention") > json_number(&ran, "$.seconds.lstm"));
    assert_non_null(strstr(json_at(&ran, "$.conclusion"), "recurrent is cheaper by the times"));
    program_free(&ran);
    /* 40 is no multiple of a head dimension: the recurrent layers are timed all the same. */
    ran = program_run("advise --len 32 --hidden 40 --gpu soft:a100");
    program_expect(&ran, EXIT_OK, "attention: not timed: no head dimension of attn_prefill");
    program_expect(&ran, EXIT_OK, "LSTM: rnn_seq tier=1");
    program_expect(&ran, EXIT_OK, "time of a step in sequence");
    program_free(&ran);
    /* A width that no kernel in the cache is for. */
    ran = program_run_in("SEQTUNE_NVRTC=/nonexistent/libnvrtc.so ",
                         "advise --len 64 --hidden 192 --gpu soft:a100");
    program_expect(&ran, EXIT_OK, "/nonexistent/libnvrtc.so");
    program_expect(&ran, EXIT_OK, "so: take attention: cheaper by steps in sequence");
    program_free(&ran);
}

static void write_file(const char *name, const char *text) {
    FILE *const file = fopen(name, "w"); /* in the home that program_setup made */
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void layers_are_tuned_verified_and_dispatched(void **state) {
    (void)state;
    write_file("rnn.lua",
               "workload \"rnn\" { title = \"t\", items = {\n"
               "  item { op = \"rnn_input\", label = \"W x\", source = \"s\", cell = \"lstm\",\n"
               "         hidden = 40, input = 24, batch = 3, steps = 9 },\n"
               "  item { op = \"rnn_seq\", label = \"steps\", source = \"s\", cell = \"lstm\",\n"
               "         hidden = 40, batch = 3, steps = 9 },\n"
               "  item { op = \"rnn_cell\", label = \"a step\", source = \"s\", cell = \"gru\",\n"
               "         dtype = \"f32\", hidden = 32, input = 24, batch = 2 } } }\n");
    Ran ran = program_run("--gpu @GPU --workload ./rnn.lua --effort 1 --jobs 2 --budget 10m "
                          "--db rnn.db --json");
    program_expect(&ran, EXIT_OK, NULL);
    assert_true(json_number(&ran, "$.gpus[0].counts.failed") == 0);
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "$.gpus[0].results[%d].time_us", i);
        assert_true(json_number(&ran, path) > 0);
        snprintf(path, sizeof path, "$.gpus[0].results[%d].verify_error", i);
        assert_true(json_number(&ran, path) > 0 && json_number(&ran, path) <= 1);
    }
    program_free(&ran);
    ran = program_run("why --op rnn_seq --gpu @GPU --db rnn.db --problem 'hidden=40 batch=3 "
                      "steps=9'");
    program_expect(&ran, EXIT_OK, "step     exact");
    program_free(&ran);
    /* What was tuned for 9 steps serves 1000. */
    ran = program_run("why --op rnn_seq --gpu @GPU --db rnn.db --problem 'hidden=40 batch=3 "
                      "steps=1000'");
    program_expect(&ran, EXIT_OK, "step     nearest");
    program_free(&ran);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_knows_recurrent_kernels),
        cmocka_unit_test(every_kind_of_layer_can_be_timed),
        cmocka_unit_test(the_line_through_two_short_runs_meets_a_long_run),
        cmocka_unit_test(the_launches_of_a_plan_add_up_to_its_run),
        cmocka_unit_test(a_short_sequence_runs_as_it_is),
        cmocka_unit_test(layers_are_tuned_verified_and_dispatched),
        cmocka_unit_test(advice_has_the_times_of_the_layers_kernels),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
