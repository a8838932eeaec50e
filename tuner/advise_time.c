/* Times of the compared layers; see the header. */
#include "tuner/advise_time.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/rnn.h"
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

/* W x of `steps` tokens of every sequence, in the chunks that the plan of a layer makes. */
static Status time_projection(seqtune_context *ctx, const AdviseAsk *a, const char *cell,
                              int64_t steps, double *seconds, Error *err) {
    LayerTime time;
    /* Floats of 4 gates. */
    const int64_t chunk = rnn_chunk_steps(4 * 4 * a->hidden * a->batch, steps);
    Status st = time_text(ctx, "rnn_input", &time, err,
                          "cell=%s dtype=f16 hidden=%lld input=%lld batch=%lld steps=%lld", cell,
                          (long long)a->hidden, (long long)a->hidden, (long long)a->batch,
                          (long long)chunk);
    *seconds = time.seconds * (double)((steps + chunk - 1) / chunk);
    return st;
}

static Status time_recurrent(seqtune_context *ctx, const AdviseAsk *a, AdviseModel m,
                             AdviseTimes *t, Error *err) {
    const char *const cell = m == ADVISE_GRU ? "gru" : "lstm";
    if (a->streaming)
        return time_text(ctx, "rnn_cell", &t->kernel[m], err,
                         "cell=%s dtype=f16 hidden=%lld input=%lld batch=%lld", cell,
                         (long long)a->hidden, (long long)a->hidden, (long long)a->batch);
    Status st = time_projection(ctx, a, cell, a->length, &t->projection[m], err);
    if (st != ST_OK) return st;
    return time_text(ctx, "rnn_seq", &t->kernel[m], err,
                     "cell=%s dtype=f16 hidden=%lld batch=%lld steps=%lld", cell,
                     (long long)a->hidden, (long long)a->batch, (long long)a->length);
}

/* Q, K, V and O are 4 H x H, as an LSTM's W is: the same product. */
static Status time_attention(seqtune_context *ctx, const AdviseAsk *a, AdviseTimes *t, Error *err) {
    const int64_t dim = layer_head_dim(a->hidden);
    const long long heads = dim > 0 ? a->hidden / dim : 0, length = a->length, batch = a->batch;
    if (dim == 0)
        return err_set(err, ST_UNSUPPORTED,
                       "no head dimension of attn_prefill divides hidden %lld (64, 96, 128, 192, "
                       "256)",
                       (long long)a->hidden);
    Status st = time_projection(ctx, a, "lstm", a->streaming ? 1 : length,
                                &t->projection[ADVISE_ATTENTION], err);
    if (st != ST_OK) return st;
    return time_text(ctx, a->streaming ? "attn_decode" : "attn_prefill",
                     &t->kernel[ADVISE_ATTENTION], err,
                     "dtype=f16 head_dim=%lld mask=causal batch=%lld heads_q=%lld heads_kv=%lld "
                     "len_q=%lld len_kv=%lld",
                     (long long)dim, batch, heads, heads, a->streaming ? 1LL : length, length);
}

void advise_times(seqtune_context *ctx, const AdviseAsk *ask, AdviseTimes *out) {
    memset(out, 0, sizeof *out);
    for (int m = 0; m < ADVISE_MODELS; m++) {
        Error *const err = &out->why_not[m];
        const Status st = m == ADVISE_ATTENTION
                              ? time_attention(ctx, ask, out, err)
                              : time_recurrent(ctx, ask, (AdviseModel)m, out, err);
        out->known[m] = st == ST_OK;
        out->rest[m] = out->kernel[m].seconds;
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
    static const char *const whole[] = {"rnn_seq", "rnn_seq", "attn_prefill"};
    static const char *const step[] = {"rnn_cell", "rnn_cell", "attn_decode"};
    for (int m = 0; m < ADVISE_MODELS; m++) {
        const LayerTime *const k = &t->kernel[m];
        put(line, "%s%s: ", m > 0 ? "; " : "", names[m]);
        if (!t->known[m]) {
            put(line, "not timed: %s", t->why_not[m].message);
            continue;
        }
        put(line, "%s %s (%s)", ask->streaming ? step[m] : whole[m], k->config, k->by);
        if (k->line)
            put(line, ", the line through runs of %lld and %lld steps", (long long)k->ran[0],
                (long long)k->ran[1]);
    }
}

size_t advise_time_lines(const AdviseAsk *ask, const AdviseTimes *t, const char *evidence,
                         AdviseLine *out) {
    const AdviseSide faster = advise_faster(t);
    out[0] =
        (AdviseLine){.what = ask->streaming ? "time, projections" : "time, W x or projections"};
    put(&out[0],
        "%s; rnn_input in chunks of %d MiB of results; Q, K, V and O are one product of the "
        "size of an LSTM's W%s",
        evidence, RNN_PRE_BYTES >> 20, ask->streaming ? "; a cell step has W x fused" : "");
    time_cells(&out[0], t, t->projection);
    out[1] = (AdviseLine){.what = ask->streaming ? "time, cell or attention of a step"
                                                 : "time, steps or attention"};
    time_cells(&out[1], t, t->rest);
    put(&out[1], "%s. ", evidence);
    put_kernels(ask, t, &out[1]);
    out[2] = (AdviseLine){.what = "time of the layer", .better = faster};
    time_cells(&out[2], t, t->total);
    put(&out[2], "%s; %s", evidence,
        ask->streaming ? "one token of every sequence" : "all tokens of all sequences");
    return 3;
}
