/* fp64 references; see the header. */
#include "tuner/verify/reference.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* ---- attention ---- */

bool ref_attention_sees(const RefAttention *a, int64_t i, int64_t j) {
    /* Bottom-right: the last query's own key is the last one. */
    const int64_t centre = a->top_left ? i : i + a->len_kv - a->len_q;
    if (a->window_left >= 0 && j < centre - a->window_left) return false;
    if (a->window_right >= 0 && j > centre + a->window_right) return false;
    return true;
}

int64_t ref_attention_count(const RefAttention *a, int64_t i) {
    int64_t n = 0;
    for (int64_t j = 0; j < a->len_kv; j++) n += ref_attention_sees(a, i, j);
    return n;
}

static double rounded(const Dtype *type, double x) {
    return type ? dtype_round(*type, x) : x;
}

/* scores[j] for the keys that the query sees, -inf for the others; returns their maximum. */
static double score_row(const RefAttention *a, int64_t b, int64_t h, int64_t i, const Dtype *type,
                        double *scores) {
    const int64_t group = a->heads_q / a->heads_kv;
    const double *q = a->q + ((b * a->len_q + i) * a->heads_q + h) * a->head_dim;
    double top = -(double)INFINITY;
    for (int64_t j = 0; j < a->len_kv; j++) {
        scores[j] = -(double)INFINITY;
        if (!ref_attention_sees(a, i, j)) continue;
        const double *k = a->k + ((b * a->len_kv + j) * a->heads_kv + h / group) * a->head_dim;
        double dot = 0;
        for (int64_t d = 0; d < a->head_dim; d++) dot += q[d] * k[d];
        dot *= a->scale;
        if (a->soft_cap > 0) dot = a->soft_cap * tanh(dot / a->soft_cap);
        scores[j] = rounded(type, dot);
        top = fmax(top, scores[j]);
    }
    return top;
}

/* One row of O and its LSE; S and P are rounded to *type when it is not NULL. */
static double attend_row(const RefAttention *a, int64_t b, int64_t h, int64_t i, const Dtype *type,
                         double *scores, double *o) {
    const int64_t group = a->heads_q / a->heads_kv;
    memset(o, 0, (size_t)a->head_dim * sizeof *o);
    const double top = score_row(a, b, h, i, type, scores);
    if (top == -(double)INFINITY) return top;
    double sum = 0;
    for (int64_t j = 0; j < a->len_kv; j++) sum += exp(scores[j] - top);
    for (int64_t j = 0; j < a->len_kv; j++) {
        if (scores[j] == -(double)INFINITY) continue; /* an excluded V may be NaN */
        const double p = rounded(type, exp(scores[j] - top) / sum);
        const double *v = a->v + ((b * a->len_kv + j) * a->heads_kv + h / group) * a->head_dim;
        for (int64_t d = 0; d < a->head_dim; d++) o[d] += p * v[d];
    }
    return top + log(sum);
}

static Status attend(const RefAttention *a, const Dtype *type, double *o, double *lse, Error *err) {
    const size_t bytes = (size_t)(a->len_kv + 1) * sizeof(double);
    double *scores = mem_alloc(bytes);
    if (!scores) return err_no_memory(err, bytes);
    for (int64_t b = 0; b < a->batch; b++) {
        for (int64_t h = 0; h < a->heads_q; h++) {
            for (int64_t i = 0; i < a->len_q; i++) {
                double *row = o + ((b * a->len_q + i) * a->heads_q + h) * a->head_dim;
                const double value = attend_row(a, b, h, i, type, scores, row);
                if (lse) lse[(b * a->heads_q + h) * a->len_q + i] = value;
            }
        }
    }
    mem_free(scores);
    return ST_OK;
}

Status ref_attention(const RefAttention *a, double *o, double *lse, Error *err) {
    return attend(a, NULL, o, lse, err);
}

Status ref_attention_naive(const RefAttention *a, Dtype type, double *o, Error *err) {
    return attend(a, &type, o, NULL, err);
}

/* ---- merge ---- */

static void merge_row(const RefMerge *m, int64_t row, double *o, double *lse, double *magnitude) {
    double top = -(double)INFINITY, sum = 0;
    for (int64_t p = 0; p < m->parts; p++) top = fmax(top, m->lse[p * m->rows + row]);
    for (int64_t d = 0; d < m->head_dim; d++) o[d] = magnitude[d] = 0;
    *lse = top;
    if (isinf(top)) return;
    for (int64_t p = 0; p < m->parts; p++) {
        const double part = m->lse[p * m->rows + row];
        if (isinf(part)) continue;
        const double weight = exp(part - top);
        const double *x = m->o + (p * m->rows + row) * m->head_dim;
        sum += weight;
        for (int64_t d = 0; d < m->head_dim; d++) {
            o[d] += weight * x[d];
            magnitude[d] += weight * fabs(x[d]);
        }
    }
    for (int64_t d = 0; d < m->head_dim; d++) o[d] /= sum, magnitude[d] /= sum;
    *lse = top + log(sum);
}

void ref_merge(const RefMerge *m, double *o, double *lse, double *magnitude) {
    for (int64_t row = 0; row < m->rows; row++)
        merge_row(m, row, o + row * m->head_dim, lse + row, magnitude + row * m->head_dim);
}

/* ---- RoPE ---- */

void ref_rope_pair(const RefRope *r, int64_t i, int64_t *a, int64_t *b) {
    *a = r->rotary_offset + (r->interleaved ? 2 * i : i);
    *b = r->rotary_offset + (r->interleaved ? 2 * i + 1 : i + r->rotary_dim / 2);
}

int64_t ref_rope_row(const RefRope *r, int64_t token) {
    const int64_t position = r->positions ? r->positions[token] : r->first_position + token;
    return position >= 0 && position < r->table_rows ? position : -1;
}

void ref_rope(const RefRope *r, double *out) {
    const int64_t half = r->rotary_dim / 2;
    memcpy(out, r->x, (size_t)(r->tokens * r->heads * r->head_dim) * sizeof *out);
    for (int64_t t = 0; t < r->tokens; t++) {
        const int64_t row = ref_rope_row(r, t);
        if (row < 0) continue;
        for (int64_t h = 0; h < r->heads; h++) {
            const double *x = r->x + (t * r->heads + h) * r->head_dim;
            double *y = out + (t * r->heads + h) * r->head_dim;
            for (int64_t i = 0; i < half; i++) {
                const double c = r->cos[row * half + i], s = r->sin[row * half + i];
                int64_t a, b;
                ref_rope_pair(r, i, &a, &b);
                y[a] = x[a] * c - x[b] * s;
                y[b] = x[b] * c + x[a] * s;
            }
        }
    }
}
