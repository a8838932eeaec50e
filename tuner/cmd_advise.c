/* advise: recurrent or attention layers for a problem: the decision table, each line with its
 * reason. */
#include <stdio.h>
#include <string.h>

#include "runtime/context.h"
#include "tuner/advise_time.h"
#include "tuner/amounts.h"
#include "tuner/command.h"
#include "tuner/json.h"
#include "tuner/report.h"
#include "tuner/target.h"

typedef struct Advice {
    AdviseAsk ask;
    GpuInfo gpu;
    const char *notice;
    AdviseLine lines[ADVISE_MAX_LINES];
    size_t count;
    AdviseTimes times;
    char evidence[64]; /* of the times; "": none */
    Error not_timed;   /* "": they are */
    char conclusion[ADVISE_WHY];
} Advice;

static const char *const model_names[ADVISE_MODELS] = {"LSTM", "GRU", "attention"};
static const char *const model_keys[ADVISE_MODELS] = {"lstm", "gru", "attention"};

static Status read_ask(App *app, Advice *a, Error *err) {
    const Options *o = app->options;
    if (o->len == NULL || o->hidden == 0)
        return err_set(err, ST_INVALID,
                       "advise needs --len L and --hidden H, as in --len 1024 --hidden 768");
    Status st = amount_tokens("--len", o->len, 1024, INT64_C(1) << 30, &a->ask.length, err);
    if (st == ST_OK && o->data != NULL)
        st = amount_tokens("--data", o->data, 1000, INT64_C(1) << 60, &a->ask.data, err);
    a->ask.hidden = o->hidden;
    a->ask.batch = o->batch ? o->batch : 1;
    a->ask.streaming = o->streaming;
    return st == ST_OK ? target_info(o->gpu, app->arena, &a->gpu, &a->notice, err) : st;
}

/* Without a driver or a compiler the table still stands: what is missing is said in it. */
static Status time_layers(App *app, Advice *a, Error *err) {
    Targets targets = {0};
    seqtune_context *ctx = NULL;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    Status st = targets_resolve(app->options->gpu, app->arena, &targets, err);
    if (st != ST_OK) return st;
    options.driver = targets.items[0].driver;
    options.device = targets.items[0].ordinal;
    options.database = app->options->db;
    st = context_open(&options, &ctx, err);
    if (st != ST_OK) return st;
    report_evidence(&targets.items[0], a->evidence, sizeof a->evidence);
    advise_times(ctx, &a->ask, &a->times);
    seqtune_close(ctx);
    return ST_OK;
}

static void conclude(App *app, Advice *a) {
    a->ask.memory = a->gpu.dram_bytes;
    a->count = advise_lines(&a->ask, a->lines);
    if (app->options->no_times)
        err_set(&a->not_timed, ST_CANCELLED, "--no-times");
    else if (time_layers(app, a, &a->not_timed) == ST_OK)
        a->count += advise_time_lines(&a->ask, &a->times, a->evidence, &a->lines[a->count]);
    const bool timed = a->times.known[ADVISE_ATTENTION] &&
                       (a->times.known[ADVISE_LSTM] || a->times.known[ADVISE_GRU]);
    advise_conclusion(&a->ask, timed ? advise_faster(&a->times) : advise_speed(&a->ask),
                      timed              ? "by the times of this GPU"
                      : a->ask.streaming ? "by bytes per step"
                                         : "by steps in sequence",
                      a->conclusion);
}

/* ---- text ---- */

static void put_lines(const Advice *a, Str *out) {
    bool cited[64] = {false};
    str_printf(out, "%-40s %12s %12s %12s  better\n", "", model_names[0], model_names[1],
               model_names[2]);
    for (size_t i = 0; i < a->count; i++) {
        const AdviseLine *const l = &a->lines[i];
        str_printf(out, "%-40s %12s %12s %12s  %s\n    %s", l->what, l->cell[0], l->cell[1],
                   l->cell[2], advise_side_name(l->better), l->why);
        if (l->source > 0) str_printf(out, " [%d]", l->source);
        if (l->also > 0) str_printf(out, " [%d]", l->also);
        str_putc(out, '\n');
        cited[l->source] = cited[l->also] = true;
    }
    if (a->not_timed.message[0]) str_printf(out, "not timed: %s\n", a->not_timed.message);
    str_printf(out, "\nso: %s\n\nsources\n", a->conclusion);
    for (int n = 1; advise_source(n) != NULL; n++)
        if (cited[n]) str_printf(out, "[%d] %s\n", n, advise_source(n));
}

static void advice_text(const Advice *a, Str *out) {
    char data[AMOUNT_TEXT];
    if (a->notice) str_printf(out, "%s\n", a->notice);
    str_printf(out, "one layer of width %lld, 16-bit weights, %lld sequence%s of %lld tokens, %s",
               (long long)a->ask.hidden, (long long)a->ask.batch, a->ask.batch == 1 ? "" : "s",
               (long long)a->ask.length,
               a->ask.streaming ? "one token at a time (the last of them)" : "whole");
    if (a->ask.data > 0)
        str_printf(out, ", %s tokens to train on", amount_count((double)a->ask.data, data));
    str_puts(out, "\n\n");
    put_lines(a, out);
}

/* ---- JSON ---- */

static void costs_json(const Advice *a, Json *j) {
    json_open(j, "costs", '{');
    for (int m = 0; m < ADVISE_MODELS; m++) {
        const AdviseCost c = advise_cost((AdviseModel)m, &a->ask);
        json_open(j, model_keys[m], '{');
        json_num(j, "path", c.path);
        json_num(j, "steps", c.steps);
        json_num(j, "weights", c.weights);
        json_num(j, "flops_per_token", c.flops);
        json_num(j, "bytes_per_sequence", c.state_bytes);
        json_num(j, "bytes_per_step", c.step_bytes);
        json_num(j, "rows_per_weight_read", c.reuse);
        json_close(j);
    }
    json_close(j);
}

static void advice_json(const Advice *a, Json *j) {
    json_open(j, NULL, '{');
    json_int(j, "length", a->ask.length);
    json_int(j, "hidden", a->ask.hidden);
    json_int(j, "batch", a->ask.batch);
    json_bool(j, "streaming", a->ask.streaming);
    json_int(j, "data", a->ask.data);
    json_text(j, "gpu", a->gpu.name);
    costs_json(a, j);
    json_open(j, "lines", '[');
    for (size_t i = 0; i < a->count; i++) {
        const AdviseLine *const l = &a->lines[i];
        json_open(j, NULL, '{');
        json_text(j, "what", l->what);
        for (int m = 0; m < ADVISE_MODELS; m++)
            json_text(j, model_keys[m], l->cell[m][0] ? l->cell[m] : NULL);
        json_text(j, "better", advise_side_name(l->better));
        json_text(j, "why", l->why);
        json_open(j, "sources", '[');
        if (l->source > 0) json_text(j, NULL, advise_source(l->source));
        if (l->also > 0) json_text(j, NULL, advise_source(l->also));
        json_close(j);
        json_close(j);
    }
    json_close(j);
    json_text(j, "evidence", a->evidence[0] ? a->evidence : NULL);
    json_open(j, "seconds", '{');
    for (int m = 0; m < ADVISE_MODELS; m++)
        if (a->times.known[m]) json_num(j, model_keys[m], a->times.total[m]);
    json_close(j);
    json_text(j, "not_timed", a->not_timed.message[0] ? a->not_timed.message : NULL);
    json_text(j, "conclusion", a->conclusion);
    json_close(j);
}

ExitCode command_advise(App *app) {
    Advice a = {0};
    Error err = {0};
    if (read_ask(app, &a, &err) != ST_OK) return fail_status(&err);
    conclude(app, &a);
    Json j = {0};
    if (app->options->json)
        advice_json(&a, &j);
    else
        advice_text(&a, &j.text);
    const ExitCode code = print_text(&j.text);
    str_free(&j.text);
    return code;
}
