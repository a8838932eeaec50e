/* What Q, K and V of an attention case hold. */
#include <math.h>
#include <string.h>

#include "tuner/verify/attention_trial.h"
#include "tuner/verify/kv8.h"
#include "tuner/verify/random.h"

int64_t trial_probed_key(const Trial *r, int64_t column) {
    const int64_t n = r->c->len_kv, bn = r->block_n, page = r->c->page_size;
    const int64_t edges[] = {0,          n - 1,       bn - 1,  bn,         bn + 1,
                             2 * bn - 1, 2 * bn,      n / 2,   page - 1,   page,
                             page + 1,   r->part - 1, r->part, r->part + 1};
    const int64_t count = (int64_t)(sizeof edges / sizeof *edges);
    if (column < count && edges[column] >= 0 && edges[column] < n) return edges[column];
    /* With fewer columns than keys, spread them; every probed key meets every row's edges. */
    if (r->columns < n) return column * n / r->columns;
    return column % n;
}

static void fill_probe(const Trial *r) {
    const int64_t heads = r->c->heads_kv;
    for (int64_t b = 0; b < r->c->batch; b++) {
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t d = 0; d < r->dim && r->c->len_kv > 0; d++) {
                const int64_t key = trial_probed_key(r, (b * heads + h) * r->dim + d);
                r->v_values[((b * r->c->len_kv + key) * heads + h) * r->dim + d] = 1;
            }
        }
    }
}

static double sign_of(int64_t d) {
    return d % 3 == 0 ? 1 : -1;
}

/* Scores rise with the key for even queries and fall for odd ones: queries lie along a common
 * direction or against it, key j at 4 * (j + 1) / n along it. */
static void tilt_scores(const Trial *r) {
    const int64_t keys = r->c->len_kv * r->c->heads_kv;
    for (int64_t row = 0; row < r->c->batch * r->c->len_q * r->heads_q; row++) {
        const double way = row / r->heads_q % 2 == 0 ? 1 : -1;
        for (int64_t d = 0; d < r->dim; d++) r->q_values[row * r->dim + d] += way * sign_of(d);
    }
    for (int64_t row = 0; row < r->c->batch * keys; row++) {
        const int64_t j = row % keys / r->c->heads_kv;
        const double along = 4.0 * (double)(j + 1) / (double)r->c->len_kv;
        double *k = r->k_values + row * r->dim;
        for (int64_t d = 0; d < r->dim; d++) k[d] = 0.3 * k[d] + along * sign_of(d);
    }
}

/* Scores of 87 + noise: times log2(e) just above 128, where fp32 is coarsest for its size. */
static void offset_scores(const Trial *r) {
    const double along = 87 / sqrt((double)r->dim);
    for (int64_t i = 0; i < r->c->batch * r->c->len_q * r->heads_q * r->dim; i++) {
        r->q_values[i] = 0.05 * r->q_values[i] + sign_of(i % r->dim);
    }
    for (int64_t i = 0; i < r->c->batch * r->c->len_kv * r->c->heads_kv * r->dim; i++) {
        r->k_values[i] += along * sign_of(i % r->dim);
    }
}

/* Every batch and head becomes a copy of the first. */
static void make_twins(double *values, int64_t batch, int64_t len, int64_t heads, int64_t dim) {
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t t = 0; t < len; t++) {
            for (int64_t h = 0; h < heads; h++) {
                double *to = values + ((b * len + t) * heads + h) * dim;
                const double *from = values + t * heads * dim;
                if (to != from) memcpy(to, from, (size_t)dim * sizeof *to);
            }
        }
    }
}

static void normal(double *values, int64_t n, double factor, Random *rng) {
    for (int64_t i = 0; i < n; i++) values[i] = factor * random_normal(rng);
}

static void to_dtype(const Trial *r, double *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) values[i] = dtype_round(r->type, values[i]);
}

/* What K or V can hold. */
static void to_kv_dtype(const Trial *r, double *values, const float *scale) {
    const int64_t rows = r->c->batch * r->c->len_kv * r->c->heads_kv;
    if (r->kv_dtype == SEQTUNE_KV_SAME) {
        to_dtype(r, values, rows * r->dim);
        return;
    }
    for (int64_t i = 0; i < rows * r->dim; i++) {
        const double s = (double)scale[i / r->dim % r->c->heads_kv];
        values[i] = s * kv8_decode(r->kv_dtype, kv8_encode(r->kv_dtype, values[i] / s));
    }
}

void trial_fill(const Trial *r) {
    const AttentionCase *c = r->c;
    const int64_t nq = c->batch * c->len_q * r->heads_q * r->dim;
    const int64_t nkv = c->batch * c->len_kv * c->heads_kv * r->dim;
    Random rng = {(uint64_t)(c->len_q * 1000003 + c->len_kv * 1009 + c->input)};
    const double spread = c->input == INPUT_SHARP ? 6 : 1;
    normal(r->k_values, nkv, 1, &rng);
    if (c->input != INPUT_PROBE) normal(r->q_values, nq, spread, &rng);
    if (c->input == INPUT_RISING) tilt_scores(r);
    if (c->input == INPUT_OFFSET) offset_scores(r);
    if (c->input == INPUT_PROBE) {
        fill_probe(r);
    } else if (c->input == INPUT_ONES) {
        for (int64_t i = 0; i < nkv; i++) r->v_values[i] = 1;
    } else {
        normal(r->v_values, nkv, 1, &rng);
    }
    if (c->input == INPUT_TWINS) {
        make_twins(r->q_values, c->batch, c->len_q, r->heads_q, r->dim);
        make_twins(r->k_values, c->batch, c->len_kv, c->heads_kv, r->dim);
        make_twins(r->v_values, c->batch, c->len_kv, c->heads_kv, r->dim);
    }
    to_dtype(r, r->q_values, nq);
    to_kv_dtype(r, r->k_values, r->k_scale);
    to_kv_dtype(r, r->v_values, r->v_scale);
}
