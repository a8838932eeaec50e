/* Times of the compared layers; see the header. */
#include "tuner/advise_time.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tuner/progress.h"

static Status time_text(seqtune_context *ctx, const char *spec, LayerTime *out, Error *err,
                        const char *format, ...) __attribute__((format(printf, 5, 6)));

static Status time_text(seqtune_context *ctx, const char *spec, LayerTime *out, Error *err,
                        const char *format, ...) {
    char text[512];
    GenProblem problem;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    Status st = layer_problem(ctx, spec, text, &problem, err);
    return st == ST_OK ? layer_time(ctx, &problem, NULL, out, err) : st;
}

static Status time_recurrent(seqtune_context *ctx, const AdviseAsk *a, AdviseModel m,
                             AdviseTimes *t, Error *err) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    LayerPlanTime time;
    d.cell = m == ADVISE_GRU ? SEQTUNE_GRU : SEQTUNE_LSTM;
    d.batch = a->batch;
    d.input = d.hidden = a->hidden;
    d.max_steps = a->streaming ? 1 : a->length;
    const Status st = layer_plan_time(ctx, &d, &time, err);
    t->projection[m] = time.input;
    t->rest[m] = time.steps;
    t->kernel[m] = time.kernel;
    t->chunk[m] = time.chunk;
    snprintf(t->name[m], sizeof t->name[m], "%s", time.name);
    return st;
}

/* x of all tokens times a matrix: that of Q, K and V as a GRU's W of three gates, that of O as an
 * LSTM's W of four gates of hidden / 4 units, which every head dimension divides into. */
static Status time_projections(seqtune_context *ctx, const AdviseAsk *a, double *seconds,
                               Error *err) {
    const long long hidden = a->hidden, batch = a->batch, steps = a->streaming ? 1 : a->length;
    LayerTime qkv, o = {0};
    Status st = time_text(ctx, "rnn_input", &qkv, err,
                          "cell=gru dtype=f16 hidden=%lld input=%lld batch=%lld steps=%lld", hidden,
                          hidden, batch, steps);
    if (st == ST_OK)
        st = time_text(ctx, "rnn_input", &o, err,
                       "cell=lstm dtype=f16 hidden=%lld input=%lld batch=%lld steps=%lld",
                       hidden / 4, hidden, batch, steps);
    *seconds = qkv.seconds + o.seconds;
    return st;
}

static Status time_attention(seqtune_context *ctx, const AdviseAsk *a, AdviseTimes *t, Error *err) {
    const int64_t dim = layer_head_dim(a->hidden);
    const long long heads = dim > 0 ? a->hidden / dim : 0, length = a->length, batch = a->batch;
    const char *const kernel = a->streaming ? "attn_decode" : "attn_prefill";
    if (dim == 0)
        return err_set(err, ST_UNSUPPORTED,
                       "no head dimension of attn_prefill divides hidden %lld (64, 96, 128, 192, "
                       "256)",
                       (long long)a->hidden);
    snprintf(t->name[ADVISE_ATTENTION], sizeof t->name[ADVISE_ATTENTION], "%s", kernel);
    Status st = time_projections(ctx, a, &t->projection[ADVISE_ATTENTION], err);
    if (st == ST_OK)
        st = time_text(ctx, kernel, &t->kernel[ADVISE_ATTENTION], err,
                       "dtype=f16 head_dim=%lld mask=causal batch=%lld heads_q=%lld "
                       "heads_kv=%lld len_q=%lld len_kv=%lld",
                       (long long)dim, batch, heads, heads, a->streaming ? 1LL : length, length);
    t->rest[ADVISE_ATTENTION] = t->kernel[ADVISE_ATTENTION].seconds;
    return st;
}

void advise_times(seqtune_context *ctx, const AdviseAsk *ask, AdviseTimes *out) {
    memset(out, 0, sizeof *out);
    for (int m = 0; m < ADVISE_MODELS; m++) {
        Error *const err = &out->why_not[m];
        const Status st = m == ADVISE_ATTENTION
                              ? time_attention(ctx, ask, out, err)
                              : time_recurrent(ctx, ask, (AdviseModel)m, out, err);
        out->known[m] = st == ST_OK;
        out->total[m] = out->projection[m] + out->rest[m];
    }
}

AdviseSide advise_faster(const AdviseTimes *t) {
    double recurrent = INFINITY;
    for (int m = 0; m < ADVISE_ATTENTION; m++)
        if (t->known[m]) recurrent = fmin(recurrent, t->total[m]);
    const double attention = t->total[ADVISE_ATTENTION];
    if (!t->known[ADVISE_ATTENTION] || isinf(recurrent)) return ADVISE_EITHER;
    if (fabs(recurrent - attention) <= 0.05 * attention) return ADVISE_EITHER;
    return recurrent < attention ? ADVISE_TAKE_RECURRENT : ADVISE_TAKE_ATTENTION;
}

/* ---- lines ---- */

static void put(AdviseLine *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(AdviseLine *line, const char *format, ...) {
    const size_t used = strlen(line->why);
    va_list args;
    va_start(args, format);
    vsnprintf(line->why + used, ADVISE_WHY - used, format, args);
    va_end(args);
}

static void time_cells(AdviseLine *line, const AdviseTimes *t, const double *seconds) {
    for (int m = 0; m < ADVISE_MODELS; m++) {
        if (t->known[m] && seconds[m] > 0)
            format_seconds(seconds[m], line->cell[m], ADVISE_CELL);
        else
            snprintf(line->cell[m], ADVISE_CELL, "-");
    }
}

/* What ran: "rnn_seq tier=2 ... (default), line through runs of 32 and 96 steps". */
static void put_kernels(const AdviseAsk *ask, const AdviseTimes *t, AdviseLine *line) {
    static const char *const names[ADVISE_MODELS] = {"LSTM", "GRU", "attention"};
    for (int m = 0; m < ADVISE_MODELS; m++) {
        const LayerTime *const k = &t->kernel[m];
        put(line, "%s%s: ", m > 0 ? "; " : "", names[m]);
        if (!t->known[m]) {
            put(line, "not timed: %s", t->why_not[m].message);
            continue;
        }
        put(line, "%s %s (%s)", t->name[m], k->config, k->by);
        if (t->chunk[m] > 0 && t->chunk[m] < ask->length && !ask->streaming)
            put(line, ", launches of %lld steps", (long long)t->chunk[m]);
        if (k->line)
            put(line, ", the line through runs of %lld and %lld steps", (long long)k->ran[0],
                (long long)k->ran[1]);
    }
}

static void put_parts(const AdviseAsk *ask, const AdviseTimes *t, const char *evidence,
                      AdviseLine out[2]) {
    out[0] =
        (AdviseLine){.what = ask->streaming ? "time, projections" : "time, W x or projections"};
    put(&out[0],
        "%s; kernel rnn_input, f32 results: W x in the chunks of the plan%s; attention: one "
        "product for Q, K and V, which are taken to be written where attention reads them, one "
        "for O",
        evidence, ask->streaming ? ", or fused into the cell" : "");
    time_cells(&out[0], t, t->projection);
    out[1] = (AdviseLine){.what = ask->streaming ? "time, cell or attention of a step"
                                                 : "time, steps or attention"};
    time_cells(&out[1], t, t->rest);
    put(&out[1], "%s. ", evidence);
    put_kernels(ask, t, &out[1]);
}

size_t advise_time_lines(const AdviseAsk *ask, const AdviseTimes *t, const char *evidence,
                         AdviseLine *out) {
    const AdviseSide faster = advise_faster(t);
    size_t n = 2;
    put_parts(ask, t, evidence, out);
    out[n] = (AdviseLine){.what = "time of the layer", .better = faster};
    time_cells(&out[n], t, t->total);
    put(&out[n++],
        "%s; %s; the launches of a plan timed one by one, each with a cold L2, and added up",
        evidence, ask->streaming ? "one token of every sequence" : "all tokens of all sequences");
    if (ask->streaming) return n;
    double step[ADVISE_MODELS];
    for (int m = 0; m < ADVISE_MODELS; m++)
        step[m] = t->total[m] / (m == ADVISE_ATTENTION ? 1 : (double)ask->length);
    out[n] = (AdviseLine){.what = "time of a step in sequence", .better = ADVISE_EITHER};
    time_cells(&out[n], t, step);
    put(&out[n++], "that, divided by the steps that follow each other; attention has one");
    return n;
}
