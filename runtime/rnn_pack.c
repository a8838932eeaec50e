/* Weights of a framework to the packed weights of recurrent layers.
 *
 * Inside, z of a GRU weighs the old state; where it weighs the new one its row is negated, since
 * sigmoid(-x) = 1 - sigmoid(x). With layer norm the gain and the bias are negated in its place: the
 * mean over all gates must see the values as they are. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/errors.h"
#include "runtime/plan_internal.h"
#include "runtime/rnn.h"

typedef seqtune_rnn_desc Desc;
typedef seqtune_rnn_weights Weights;

enum { LAYOUTS = SEQTUNE_RNN_TF_IFCO + 1, NONE = -1 };

/* Where the framework keeps each gate, in the internal order i f g o and r z n. */
typedef struct Layout {
    const char *name;
    int lstm[4], gru[3]; /* gru[0] NONE: it has no GRU */
    int peephole[3];     /* of i, f, o */
    bool transposed;     /* [input, gates * hidden] */
} Layout;

static const Layout layouts[LAYOUTS] = {
    [SEQTUNE_RNN_PYTORCH] = {"SEQTUNE_RNN_PYTORCH", {0, 1, 2, 3}, {0, 1, 2}, {0, 1, 2}, false},
    [SEQTUNE_RNN_ONNX] = {"SEQTUNE_RNN_ONNX", {0, 2, 3, 1}, {1, 0, 2}, {0, 2, 1}, false},
    [SEQTUNE_RNN_KERAS] = {"SEQTUNE_RNN_KERAS", {0, 1, 2, 3}, {1, 0, 2}, {0, 1, 2}, true},
    [SEQTUNE_RNN_TF_ICFO] = {"SEQTUNE_RNN_TF_ICFO", {0, 2, 1, 3}, {NONE}, {0, 1, 2}, true},
    [SEQTUNE_RNN_TF_IFCO] = {"SEQTUNE_RNN_TF_IFCO", {0, 1, 2, 3}, {NONE}, {0, 1, 2}, true},
};

/* One layer and direction in the making. */
typedef struct Pack {
    const Desc *d;
    const Layout *layout;
    const Weights *from;
    RnnShape shape;
    int64_t layer;
    const char *bad; /* the array with a value that dtype has not */
    float bad_value;
} Pack;

/* ---- numbers ---- */

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static uint16_t to_bf16(float x) {
    const uint32_t u = bits_of(x);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Round to nearest even; |x| is finite. Values below 2^-14 have the spacing of 2^-24. */
static uint16_t to_f16(float x) {
    const uint32_t u = bits_of(x);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    const float magnitude = fabsf(x);
    if (magnitude >= 65520.0f) return sign | 0x7c00; /* halfway to 2^16 and above */
    if (magnitude < 0x1p-14f) /* nearbyint rounds to even in the default mode */
        return sign | (uint16_t)nearbyintf(magnitude * 0x1p24f);
    const uint32_t rounded = (u & 0x7fffffff) + 0xfff + (u >> 13 & 1);
    return sign | (uint16_t)((rounded >> 13) - ((127 - 15) << 10));
}

static void put(Pack *p, const char *what, void *base, int64_t at, float x) {
    const seqtune_dtype dtype = p->d->dtype;
    const uint16_t half = dtype == SEQTUNE_BF16 ? to_bf16(x) : to_f16(x);
    const uint16_t exponent = dtype == SEQTUNE_BF16 ? 0x7f80 : 0x7c00;
    const bool finite = isfinite(x) && (dtype == SEQTUNE_F32 || (half & exponent) != exponent);
    if (!finite && p->bad == NULL) {
        p->bad = what;
        p->bad_value = x;
    }
    if (dtype == SEQTUNE_F32)
        ((float *)base)[at] = x;
    else
        ((uint16_t *)base)[at] = half;
}

static void put_float(Pack *p, const char *what, float *to, float x) {
    if (!isfinite(x) && p->bad == NULL) {
        p->bad = what;
        p->bad_value = x;
    }
    *to = x;
}

/* ---- one layer and direction ---- */

/* First row of a gate in the framework's vectors of gates * hidden. */
static int64_t gate_at(const Pack *p, int64_t gate) {
    const int *order = p->d->cell == SEQTUNE_GRU ? p->layout->gru : p->layout->lstm;
    return order[gate] * p->d->hidden;
}

/* -1 where z has to be negated; `norm`: on what comes after layer norm. */
static float sign_of(const Pack *p, int64_t gate, bool after_norm) {
    const bool z = p->d->cell == SEQTUNE_GRU && gate == GRU_Z && p->from->update_new;
    return z && (p->d->layer_norm == 0 || after_norm) ? -1.0f : 1.0f;
}

/* A matrix of all gates with `columns` columns in `parts` equal parts, to rows of pitch `pitch`. */
static void pack_matrix(Pack *p, const char *what, const float *from, int64_t columns,
                        int64_t parts, int64_t pitch, void *to) {
    const int64_t sources = p->shape.gates * p->d->hidden, part = columns / parts;
    if (from == NULL) return;
    for (int64_t gate = 0; gate < p->shape.gates; gate++)
        for (int64_t unit = 0; unit < p->d->hidden; unit++) {
            const int64_t source = gate_at(p, gate) + unit;
            const int64_t row = rnn_row(&p->shape, unit, gate) * pitch;
            const float sign = sign_of(p, gate, false);
            for (int64_t k = 0; k < columns; k++) {
                const float x =
                    p->layout->transposed ? from[k * sources + source] : from[source * columns + k];
                put(p, what, to, row + k / part * (pitch / parts) + k % part, sign * x);
            }
        }
}

static float value(const float *from, int64_t at, float otherwise) {
    return from == NULL ? otherwise : from[at];
}

static void pack_bias(Pack *p, float *bias, float *hidden_bias) {
    const Desc *d = p->d;
    const bool lstm = d->cell == SEQTUNE_LSTM;
    for (int64_t gate = 0; gate < p->shape.gates; gate++)
        for (int64_t unit = 0; unit < d->hidden; unit++) {
            const int64_t source = gate_at(p, gate) + unit;
            const float w = value(p->from->bias_w, source, 0);
            const float r = value(p->from->bias_r, source, 0);
            const bool apart = hidden_bias != NULL && gate == GRU_N;
            const float forget = lstm && gate == LSTM_F ? p->from->forget_bias : 0;
            if (apart) put_float(p, "bias_r", &hidden_bias[unit], r);
            put_float(p, "bias", &bias[rnn_row(&p->shape, unit, gate)],
                      sign_of(p, gate, true) * (apart ? w : w + r + forget));
        }
}

static void pack_peephole(Pack *p, float *to) {
    for (int64_t k = 0; k < 3 && p->from->peephole != NULL; k++)
        for (int64_t unit = 0; unit < p->d->hidden; unit++)
            put_float(p, "peephole", &to[k * p->shape.units_pad + unit],
                      p->from->peephole[p->layout->peephole[k] * p->d->hidden + unit]);
}

static void pack_projection(Pack *p, void *to) {
    const float *from = p->from->projection;
    const int64_t hidden = p->d->hidden, state = p->d->projection;
    for (int64_t row = 0; row < state && from != NULL; row++)
        for (int64_t unit = 0; unit < hidden; unit++)
            put(p, "projection", to, row * p->shape.units_pitch + unit,
                p->layout->transposed ? from[unit * state + row] : from[row * hidden + unit]);
}

static void pack_norm(Pack *p, float *to) {
    const Weights *from = p->from;
    const int64_t rows = p->shape.rows;
    for (int64_t gate = 0; gate < p->shape.gates; gate++)
        for (int64_t unit = 0; unit < p->d->hidden; unit++) {
            const int64_t source = gate_at(p, gate) + unit, row = rnn_row(&p->shape, unit, gate);
            const float sign = sign_of(p, gate, true);
            put_float(p, "norm_w", &to[row], sign * value(from->norm_w, source, 1));
            put_float(p, "norm_r", &to[rows + row], sign * value(from->norm_r, source, 1));
        }
    for (int64_t unit = 0; unit < p->shape.cell; unit++) {
        float *c = to + 2 * rows + unit;
        put_float(p, "norm_c", c, value(from->norm_c, unit, 1));
        put_float(p, "norm_c_shift", c + p->shape.units_pad, value(from->norm_c_shift, unit, 0));
    }
}

static Status check_weights(const Pack *p, Error *err) {
    const Desc *d = p->d;
    const Weights *w = p->from;
    const bool gru = d->cell == SEQTUNE_GRU;
    const struct {
        const char *name;
        bool given, allowed;
        const char *when;
    } rows[] = {
        {"peephole", w->peephole != NULL, d->peephole, "peephole"},
        {"projection", w->projection != NULL, d->projection > 0, "projection"},
        {"norm_w", w->norm_w != NULL, d->layer_norm, "layer_norm"},
        {"norm_r", w->norm_r != NULL, d->layer_norm, "layer_norm"},
        {"norm_c", w->norm_c != NULL, d->layer_norm && !gru, "layer_norm of an LSTM"},
        {"norm_c_shift", w->norm_c_shift != NULL, d->layer_norm && !gru, "layer_norm of an LSTM"},
        {"forget_bias", w->forget_bias != 0, !gru, "forget gate"},
        {"update_new", w->update_new != 0, gru, "update gate"},
    };
    const PlanEnum update = {"update_new", w->update_new, 1, "0 or 1"};
    Status st = plan_check_size("rnn weights", w->size, sizeof *w, "SEQTUNE_RNN_WEIGHTS_INIT", err);
    if (st == ST_OK) st = plan_check_enums(&update, 1, err);
    if (st != ST_OK) return st;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].given && !rows[i].allowed)
            return err_set(err, ST_INVALID, "%s is given, but the description has no %s",
                           rows[i].name, rows[i].when);
    return ST_OK;
}

static Status pack_one(Pack *p, const RnnBlock *b, char *out, Error *err) {
    const Desc *d = p->d;
    const Status st = check_weights(p, err);
    if (st != ST_OK) return st;
    pack_matrix(p, "w", p->from->w, rnn_input_size(d, p->layer), rnn_input_parts(d, p->layer),
                rnn_input_pitch(d, p->layer), out + b->w);
    pack_matrix(p, "r", p->from->r, p->shape.state, 1, p->shape.state_pitch, out + b->r);
    pack_bias(p, (float *)(void *)(out + b->bias),
              b->hidden_bias < 0 ? NULL : (float *)(void *)(out + b->hidden_bias));
    if (b->peephole >= 0) pack_peephole(p, (float *)(void *)(out + b->peephole));
    if (b->projection >= 0) pack_projection(p, out + b->projection);
    if (b->norm >= 0) pack_norm(p, (float *)(void *)(out + b->norm));
    if (p->bad == NULL) return ST_OK;
    return err_set(err, ST_INVALID, "%s has the value %g, which is not finite in %s", p->bad,
                   (double)p->bad_value,
                   d->dtype == SEQTUNE_F32    ? "f32"
                   : d->dtype == SEQTUNE_BF16 ? "bf16"
                                              : "f16");
}

/* ---- the public functions ---- */

static Status pack_all(const Desc *desc, seqtune_rnn_layout layout, const Weights *weights,
                       void *out, Error *err) {
    const PlanEnum which = {"layout", (int)layout, LAYOUTS - 1, "one of seqtune_rnn_layout"};
    if (desc == NULL || weights == NULL || out == NULL)
        return err_set(err, ST_INVALID, "%s is NULL",
                       desc == NULL      ? "desc"
                       : weights == NULL ? "weights"
                                         : "out");
    Desc d = *desc;
    Status st = rnn_check_cell(&d, err);
    if (st == ST_OK) st = plan_check_enums(&which, 1, err);
    if (st != ST_OK) return st;
    if (d.cell == SEQTUNE_GRU && layouts[layout].gru[0] == NONE)
        return err_set(err, ST_UNSUPPORTED, "%s has no GRU: use SEQTUNE_RNN_KERAS",
                       layouts[layout].name);
    const RnnShape shape = rnn_shape(&d);
    memset(out, 0, (size_t)rnn_weights_size(&d)); /* the paddings */
    for (int64_t layer = 0; layer < d.layers && st == ST_OK; layer++)
        for (int64_t k = 0; k < shape.directions && st == ST_OK; k++) {
            const RnnBlock block = rnn_block(&d, layer, k);
            Pack pack = {.d = &d,
                         .layout = &layouts[layout],
                         .from = &weights[layer * shape.directions + k],
                         .shape = shape,
                         .layer = layer};
            st = pack_one(&pack, &block, out, err);
            if (st != ST_OK)
                err_wrap(err, "layer %lld, direction %lld", (long long)layer, (long long)k);
        }
    return st;
}

static seqtune_status finish(Status st, Error *err, const char *function) {
    if (st == ST_OK) return SEQTUNE_OK;
    err_wrap(err, "%s", function);
    errors_set(ERRORS_OPEN, err);
    return (seqtune_status)st;
}

seqtune_status seqtune_rnn_pack_weights(const seqtune_rnn_desc *desc, seqtune_rnn_layout layout,
                                        const seqtune_rnn_weights *weights, void *out) {
    Error err = {0};
    return finish(pack_all(desc, layout, weights, out, &err), &err, "seqtune_rnn_pack_weights");
}

seqtune_status seqtune_rnn_weights_bytes(const seqtune_rnn_desc *desc, size_t *bytes) {
    Error err = {0};
    if (bytes != NULL) *bytes = 0;
    if (desc == NULL || bytes == NULL)
        return finish(err_set(&err, ST_INVALID, "%s is NULL", desc == NULL ? "desc" : "bytes"),
                      &err, "seqtune_rnn_weights_bytes");
    Desc d = *desc;
    const Status st = rnn_check_cell(&d, &err);
    if (st == ST_OK) *bytes = (size_t)rnn_weights_size(&d);
    return finish(st, &err, "seqtune_rnn_weights_bytes");
}
