/* Times of layers; see the header. */
#include "tuner/layer_time.h"

#include <stdio.h>
#include <string.h>

#include "runtime/plan_internal.h"
#include "runtime/rnn.h"
#include "tuner/bench.h"
#include "tuner/stats.h"

/* Steps of the two short runs: enough for the line, few enough for a software GPU. */
enum { MOST_STEPS = 192, LEAST_STEPS = 6, FILLS = 7 };
static const double short_flops = 4e9;

int64_t layer_head_dim(int64_t hidden) {
    static const int64_t dims[] = {128, 64, 96, 256, 192};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        if (hidden % dims[i] == 0) return dims[i];
    return 0;
}

Status layer_problem(const seqtune_context *ctx, const char *spec, const char *text,
                     GenProblem *out, Error *err) {
    const GenSpec *const found = gen_spec_find(ctx->library, spec);
    if (found == NULL) return err_set(err, ST_UNSUPPORTED, "there is no kernel %s", spec);
    gen_problem_init(found, out);
    Status st = gen_problem_parse(out, text, err);
    return st == ST_OK ? gen_problem_check(out, err) : st;
}

static const char *chosen_by(const seqtune_plan *plan) {
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    (void)seqtune_plan_get_info(plan, &info); /* fails for a wrong size alone */
    return info.rung == SEQTUNE_RUNG_EXACT     ? "tuned"
           : info.rung == SEQTUNE_RUNG_DEFAULT ? "default"
                                               : "near";
}

/* The configuration and who chose it, from a plan of the whole problem: no buffers are needed. */
static Status choose(seqtune_context *ctx, const GenProblem *problem, GenConfig *config,
                     LayerTime *out, Error *err) {
    PlanDesc desc;
    seqtune_plan *plan = NULL;
    Status st = plan_desc_of_problem(problem, &desc, err);
    if (st == ST_OK) st = plan_create(ctx, gen_spec_name(problem->spec), &desc, NULL, &plan, err);
    if (st != ST_OK) return st;
    *config = *plan_get_config(plan);
    out->by = chosen_by(plan);
    seqtune_plan_destroy(plan);
    return ST_OK;
}

static Status run(seqtune_context *ctx, const GenProblem *problem, const GenConfig *config,
                  double *seconds, Error *err) {
    Bench *bench = NULL;
    size_t index = 0, count = 0;
    double each[STATS_MAX];
    Status st = bench_open(ctx, problem, false, &bench, err);
    if (st == ST_OK) st = bench_add(bench, config, &index, err);
    if (st == ST_OK) st = bench_time(bench, index, 0, each, STATS_MAX, &count, err);
    if (st == ST_OK) *seconds = stats_spread(each, count).median;
    bench_close(bench);
    return st;
}

static Status run_steps(seqtune_context *ctx, const GenProblem *problem, const GenConfig *config,
                        int64_t steps, double *seconds, Error *err) {
    GenProblem cut = *problem;
    Status st = gen_problem_set(&cut, "steps", steps, err);
    if (st == ST_OK) st = gen_problem_check(&cut, err);
    return st == ST_OK ? run(ctx, &cut, config, seconds, err) : st;
}

static Status by_line(seqtune_context *ctx, const GenProblem *problem, const GenConfig *config,
                      int64_t steps, LayerTime *out, Error *err) {
    double few = 0, more = 0;
    Status st = run_steps(ctx, problem, config, out->ran[0], &few, err);
    if (st == ST_OK) st = run_steps(ctx, problem, config, out->ran[1], &more, err);
    if (st != ST_OK) return st;
    out->line = true;
    out->step = (more - few) / (double)(out->ran[1] - out->ran[0]);
    out->fixed = few - out->step * (double)out->ran[0];
    out->seconds = out->fixed + out->step * (double)steps;
    return ST_OK;
}

int64_t layer_steps(const GenProblem *problem) {
    int64_t steps = 0;
    if (strcmp(gen_spec_reference(problem->spec), "rnn_seq") != 0) return 0;
    return gen_problem_get(problem, "steps", &steps) ? steps : 0;
}

static Status time_steps(seqtune_context *ctx, const GenProblem *problem, const GenConfig *config,
                         int64_t steps, LayerTime *out, Error *err) {
    double flops = 0, bytes = 0;
    Status st = gen_problem_flops(problem, &flops, &bytes, err);
    if (st != ST_OK) return st;
    const double many = short_flops / (flops / (double)steps + 1);
    out->ran[1] = many > MOST_STEPS ? MOST_STEPS : many < LEAST_STEPS ? LEAST_STEPS : (int64_t)many;
    out->ran[0] = out->ran[1] / 3;
    if (ctx->device.traits.deterministic && steps > out->ran[1])
        return by_line(ctx, problem, config, steps, out, err);
    st = run(ctx, problem, config, &out->seconds, err);
    out->step = out->seconds / (double)steps;
    return st;
}

Status layer_time(seqtune_context *ctx, const GenProblem *problem, const GenConfig *config,
                  LayerTime *out, Error *err) {
    const int64_t steps = layer_steps(problem);
    GenConfig chosen;
    Str text = {0};
    Status st = ST_OK;
    *out = (LayerTime){.by = "forced"};
    if (config != NULL)
        chosen = *config;
    else
        st = choose(ctx, problem, &chosen, out, err);
    if (st != ST_OK) return st;
    gen_config_text(problem->spec, &chosen, &text);
    snprintf(out->config, sizeof out->config, "%s", str_text(&text));
    str_free(&text);
    return steps > 0 ? time_steps(ctx, problem, &chosen, steps, out, err)
                     : run(ctx, problem, &chosen, &out->seconds, err);
}

/* ---- plans ---- */

/* A fill of one word, as a run of kernels that wait begins with. */
static Status fill_word(const Driver *cu, CuDeviceptr word, CuEvent begin, CuEvent end,
                        double *seconds, Error *err) {
    float ms = 0;
    Status st = driver_check(cu, cu->EventRecord(begin, NULL), "cuEventRecord", err);
    if (st == ST_OK)
        st = driver_check(cu, cu->MemsetD32Async(word, 0, 1, NULL), "cuMemsetD32Async", err);
    if (st == ST_OK) st = driver_check(cu, cu->EventRecord(end, NULL), "cuEventRecord", err);
    if (st == ST_OK) st = driver_check(cu, cu->EventSynchronize(end), "cuEventSynchronize", err);
    if (st == ST_OK)
        st = driver_check(cu, cu->EventElapsedTime(&ms, begin, end), "cuEventElapsedTime", err);
    *seconds = 1e-3 * (double)ms;
    return st;
}

static Status time_fill(seqtune_context *ctx, double *seconds, Error *err) {
    const Driver *const cu = ctx->driver;
    CuDeviceptr word = 0;
    CuEvent begin = NULL, end = NULL;
    double each[FILLS];
    bool pushed = false;
    Status st =
        driver_check(cu, driver_enter(cu, ctx->device.context, &pushed), "cuCtxPushCurrent", err);
    if (st == ST_OK) st = driver_check(cu, cu->MemAlloc(&word, sizeof(int)), "cuMemAlloc", err);
    if (st == ST_OK) st = driver_check(cu, cu->EventCreate(&begin, 0), "cuEventCreate", err);
    if (st == ST_OK) st = driver_check(cu, cu->EventCreate(&end, 0), "cuEventCreate", err);
    for (int i = 0; i < FILLS && st == ST_OK; i++)
        st = fill_word(cu, word, begin, end, &each[i], err);
    if (st == ST_OK) *seconds = stats_spread(each, FILLS).median;
    if (begin != NULL) (void)cu->EventDestroy(begin);
    if (end != NULL) (void)cu->EventDestroy(end);
    if (word != 0) (void)cu->MemFree(word);
    driver_leave(cu, pushed);
    return st;
}

/* One launch of `steps` of a plan's kernel. */
static Status time_launch(seqtune_context *ctx, const seqtune_plan *kernel, int64_t steps,
                          LayerTime *out, Error *err) {
    GenProblem problem = *plan_get_problem(kernel);
    int64_t unused = 0;
    Status st = ST_OK;
    if (gen_problem_get(&problem, "steps", &unused)) {
        st = gen_problem_set(&problem, "steps", steps, err);
        if (st == ST_OK) st = gen_problem_check(&problem, err);
    }
    if (st == ST_OK) st = layer_time(ctx, &problem, plan_get_config(kernel), out, err);
    out->by = chosen_by(kernel);
    return st;
}

/* All launches of it in a run of `steps`; *out is one of the largest. */
static Status time_launches(seqtune_context *ctx, const seqtune_plan *kernel, int64_t steps,
                            int64_t chunk, double *seconds, LayerTime *out, Error *err) {
    const int64_t left = steps % chunk;
    LayerTime rest = {0};
    Status st = time_launch(ctx, kernel, chunk, out, err);
    if (st == ST_OK && left > 0) st = time_launch(ctx, kernel, left, &rest, err);
    *seconds = out->seconds * (double)(steps / chunk) + rest.seconds;
    return st;
}

Status layer_plan_time(seqtune_context *ctx, const seqtune_rnn_desc *desc, LayerPlanTime *out,
                       Error *err) {
    const PlanDesc any = {.kind = PLAN_RNN, .u.rnn = *desc};
    seqtune_plan *plan = NULL;
    LayerTime input;
    *out = (LayerPlanTime){0};
    Status st = plan_create(ctx, NULL, &any, NULL, &plan, err);
    if (st != ST_OK) return st;
    const seqtune_plan *const first = plan->child[2 * RNN_FIRST];
    const seqtune_plan *const second = plan->child[2 * RNN_FIRST + 1];
    const int64_t steps = plan->desc.u.rnn.max_steps;
    out->chunk = plan->rnn->chunk;
    snprintf(out->name, sizeof out->name, "%s", gen_spec_name(plan_get_problem(second)->spec));
    if (first != NULL) st = time_launches(ctx, first, steps, out->chunk, &out->input, &input, err);
    if (st == ST_OK)
        st = time_launches(ctx, second, steps, out->chunk, &out->steps, &out->kernel, err);
    double fill = 0;
    if (st == ST_OK && plan->rnn->may_wait) st = time_fill(ctx, &fill, err);
    out->steps += fill;
    seqtune_plan_destroy(plan);
    return st;
}
