/* Times of layers; see the header. */
#include "tuner/layer_time.h"

#include <stdio.h>
#include <string.h>

#include "runtime/plan.h"
#include "tuner/bench.h"
#include "tuner/stats.h"

/* Steps of the two short runs: enough for the line, few enough for a software GPU. */
enum { MOST_STEPS = 192, LEAST_STEPS = 6 };
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

/* The configuration and who chose it, from a plan of the whole problem: no buffers are needed. */
static Status choose(seqtune_context *ctx, const GenProblem *problem, GenConfig *config,
                     LayerTime *out, Error *err) {
    PlanDesc desc;
    seqtune_plan *plan = NULL;
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    Status st = plan_desc_of_problem(problem, &desc, err);
    if (st == ST_OK) st = plan_create(ctx, gen_spec_name(problem->spec), &desc, NULL, &plan, err);
    if (st != ST_OK) return st;
    *config = *plan_get_config(plan);
    if (seqtune_plan_get_info(plan, &info) == SEQTUNE_OK)
        out->by = info.rung == SEQTUNE_RUNG_EXACT     ? "tuned"
                  : info.rung == SEQTUNE_RUNG_DEFAULT ? "default"
                                                      : "near";
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
