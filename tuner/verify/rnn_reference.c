/* fp64 recurrent cells; see the header. */
#include "tuner/verify/rnn_reference.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { LSTM_I, LSTM_F, LSTM_G, LSTM_O };
enum { GRU_R, GRU_Z, GRU_N };

/* The work space of a run. Rows of inactive sequences are left out: row i of xs, hs, from_x and
 * from_h belongs to sequence active[i]. */
typedef struct Work {
    const RefRnn *a;
    const Dtype *type; /* NULL: nothing is rounded */
    int64_t gates, state, rows;
    double *h, *c;           /* [batch, state], [batch, hidden] */
    double *xs, *hs;         /* [batch, input], [batch, max(state, hidden)] */
    double *from_x, *from_h; /* [batch, gates, hidden]; from_x becomes the gates */
    double *cell;            /* [batch, hidden]: what is projected or becomes h */
    int64_t *active, *len;   /* [batch] */
    void *memory;
} Work;

int64_t ref_rnn_gates(const RefRnn *a) {
    return a->gru ? 3 : 4;
}

int64_t ref_rnn_state(const RefRnn *a) {
    return a->projection ? a->projection : a->hidden;
}

static double rounded(const Work *w, double x) {
    return w->type ? dtype_round(*w->type, x) : x;
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* ---- products ---- */

/* Eight rows of `a` at a time: eight sums that do not wait for each other, each in index order. */
static void multiply8(const double *a, int64_t k, const double *x, double *out) {
    double s[8] = {0};
    for (int64_t i = 0; i < k; i++)
        for (int j = 0; j < 8; j++) s[j] += a[j * k + i] * x[i];
    memcpy(out, s, sizeof s);
}

/* out[b, r] = sum over i of a[r, i] x[b, i]; rows of x and out are `x_pitch`, `out_pitch` apart. */
static void multiply(const double *a, int64_t rows, int64_t k, const double *x, int64_t x_pitch,
                     int64_t batch, double *out, int64_t out_pitch) {
    for (int64_t r = 0; r < rows; r += 8)
        for (int64_t b = 0; b < batch; b++) {
            double *to = out + b * out_pitch + r;
            const double *from = x + b * x_pitch;
            if (rows - r >= 8) {
                multiply8(a + r * k, k, from, to);
                continue;
            }
            for (int64_t j = 0; j < rows - r; j++) {
                to[j] = 0;
                for (int64_t i = 0; i < k; i++) to[j] += a[(r + j) * k + i] * from[i];
            }
        }
}

void ref_rnn_project(int64_t rows, int64_t input, int64_t outputs, const double *w,
                     const double *bias, const double *x, double *out) {
    multiply(w, outputs, input, x, input, rows, out, outputs);
    for (int64_t i = 0; bias && i < rows * outputs; i++) out[i] += bias[i % outputs];
}

/* ---- layer norm ---- */

/* In place over all n elements; eps keeps a constant row finite. */
static void normalise(double *x, int64_t n, const double *gain, const double *shift, double eps) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i];
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
    const double inverse = 1 / sqrt(variance / (double)n + eps);
    for (int64_t i = 0; i < n; i++) x[i] = (x[i] - mean) * inverse * gain[i] + shift[i];
}

/* ---- one step ---- */

static void gather(Work *w, int64_t step, int64_t n) {
    const RefRnn *a = w->a;
    const int64_t rows = w->rows;
    for (int64_t i = 0; i < n; i++) {
        const int64_t b = w->active[i];
        const int64_t token = a->reverse ? w->len[b] - 1 - step : step;
        memcpy(w->hs + i * w->state, w->h + b * w->state, (size_t)w->state * sizeof(double));
        if (a->pre)
            memcpy(w->from_x + i * rows, a->pre + (step * a->batch + b) * rows,
                   (size_t)rows * sizeof(double));
        else
            memcpy(w->xs + i * a->input, a->x + (b * a->steps + token) * a->input,
                   (size_t)a->input * sizeof(double));
    }
}

/* The products of a step; the GRU's R h of n before the reset is not used by reset-before. */
static void products(Work *w, int64_t n) {
    const RefRnn *a = w->a;
    const RefRnnWeights *k = a->weights;
    const int64_t rows = w->rows;
    if (!a->pre) multiply(k->w, rows, a->input, w->xs, a->input, n, w->from_x, rows);
    multiply(k->r, rows, w->state, w->hs, w->state, n, w->from_h, rows);
    for (int64_t i = 0; i < n; i++) {
        double *x = w->from_x + i * rows, *h = w->from_h + i * rows;
        if (k->norm_gain) {
            normalise(x, rows, k->norm_gain, k->norm_shift, a->norm_eps);
            normalise(h, rows, k->norm_gain + rows, k->norm_shift + rows, a->norm_eps);
        }
        for (int64_t r = 0; r < rows; r++) {
            /* `pre` has the bias in it already, but for layer norm, which goes in between. */
            if (k->bias && (!a->pre || k->norm_gain)) x[r] += k->bias[r];
            if (k->hidden_bias) h[r] += k->hidden_bias[r];
            x[r] = rounded(w, x[r]);
            h[r] = rounded(w, h[r]);
        }
    }
}

static void lstm_row(Work *w, double *x, const double *h, double *c, double *cell) {
    const RefRnn *a = w->a;
    const RefRnnWeights *k = a->weights;
    const int64_t n = a->hidden;
    double *gate[4] = {x, x + n, x + 2 * n, x + 3 * n};
    for (int64_t u = 0; u < n; u++) {
        for (int g = 0; g < 4; g++) gate[g][u] += h[g * n + u];
        gate[LSTM_F][u] += a->forget_bias;
        if (k->peephole) {
            gate[LSTM_I][u] += k->peephole[u] * c[u];
            gate[LSTM_F][u] += k->peephole[n + u] * c[u];
        }
        const double i = sigmoid(rounded(w, gate[LSTM_I][u]));
        const double f = sigmoid(rounded(w, gate[LSTM_F][u]));
        const double g = tanh(rounded(w, gate[LSTM_G][u]));
        c[u] = f * c[u] + i * g;
        if (a->cell_clip > 0) c[u] = fmax(fmin(c[u], a->cell_clip), -a->cell_clip);
        c[u] = rounded(w, c[u]);
        if (k->peephole) gate[LSTM_O][u] += k->peephole[2 * n + u] * c[u];
        gate[LSTM_I][u] = i;
        gate[LSTM_F][u] = f;
        gate[LSTM_G][u] = g;
        gate[LSTM_O][u] = sigmoid(rounded(w, gate[LSTM_O][u]));
        cell[u] = c[u];
    }
    if (k->cell_gain) normalise(cell, n, k->cell_gain, k->cell_shift, a->norm_eps);
    for (int64_t u = 0; u < n; u++)
        cell[u] = rounded(w, gate[LSTM_O][u] * tanh(rounded(w, cell[u])));
}

/* r and z, and r h where the reset comes before the product. */
static void gru_reset(Work *w, double *x, const double *h, double *old) {
    const int64_t n = w->a->hidden;
    for (int64_t u = 0; u < 2 * n; u++) x[u] = sigmoid(rounded(w, x[u] + h[u]));
    for (int64_t u = 0; u < n && w->a->reset_before; u++) old[u] = rounded(w, x[u] * old[u]);
}

static void gru_row(Work *w, double *x, const double *h, double *state) {
    const RefRnn *a = w->a;
    const int64_t n = a->hidden;
    for (int64_t u = 0; u < n; u++) {
        const double r = x[u], z = x[n + u], keep = a->z_takes_new ? 1 - z : z;
        const double inner = a->reset_before ? h[2 * n + u] : r * h[2 * n + u];
        const double fresh = tanh(rounded(w, x[2 * n + u] + inner));
        x[2 * n + u] = fresh;
        state[u] = rounded(w, keep * state[u] + (1 - keep) * fresh);
    }
}

/* R (r h) + b_h instead of R h + b_h: needs every r of a sequence. */
static void gru_product_after_reset(Work *w, int64_t n) {
    const RefRnn *a = w->a;
    const RefRnnWeights *k = a->weights;
    const int64_t rows = w->rows, at = GRU_N * a->hidden;
    multiply(k->r + at * w->state, a->hidden, w->state, w->hs, w->state, n, w->from_h + at, rows);
    for (int64_t i = 0; i < n; i++)
        for (int64_t u = at; u < rows; u++) {
            double *h = &w->from_h[i * rows + u];
            if (k->hidden_bias) *h += k->hidden_bias[u];
            *h = rounded(w, *h);
        }
}

static void gru_step(Work *w, int64_t n) {
    const int64_t rows = w->rows, state = w->state;
    for (int64_t i = 0; i < n; i++)
        gru_reset(w, w->from_x + i * rows, w->from_h + i * rows, w->hs + i * state);
    if (w->a->reset_before) gru_product_after_reset(w, n);
    for (int64_t i = 0; i < n; i++)
        gru_row(w, w->from_x + i * rows, w->from_h + i * rows, w->h + w->active[i] * state);
}

static void lstm_step(Work *w, int64_t n) {
    const RefRnn *a = w->a;
    const int64_t rows = w->rows, hidden = a->hidden, state = w->state;
    for (int64_t i = 0; i < n; i++)
        lstm_row(w, w->from_x + i * rows, w->from_h + i * rows, w->c + w->active[i] * hidden,
                 w->cell + i * hidden);
    if (a->projection)
        multiply(a->weights->projection, state, hidden, w->cell, hidden, n, w->hs, state);
    const double *from = a->projection ? w->hs : w->cell;
    for (int64_t i = 0; i < n; i++)
        for (int64_t u = 0; u < state; u++)
            w->h[w->active[i] * state + u] = rounded(w, from[i * state + u]);
}

static void one_step(Work *w, int64_t step, const RefRnnOut *out) {
    const RefRnn *a = w->a;
    int64_t n = 0;
    for (int64_t b = 0; b < a->batch; b++)
        if (step < w->len[b]) w->active[n++] = b;
    gather(w, step, n);
    products(w, n);
    (a->gru ? gru_step : lstm_step)(w, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t b = w->active[i], token = a->reverse ? w->len[b] - 1 - step : step;
        if (out->y)
            memcpy(out->y + (b * a->steps + token) * w->state, w->h + b * w->state,
                   (size_t)w->state * sizeof(double));
        if (out->gates)
            memcpy(out->gates + (step * a->batch + b) * w->rows, w->from_x + i * w->rows,
                   (size_t)w->rows * sizeof(double));
    }
    if (out->c_steps)
        memcpy(out->c_steps + step * a->batch * a->hidden, w->c,
               (size_t)(a->batch * a->hidden) * sizeof(double));
}

/* ---- a run ---- */

static Status make_work(const RefRnn *a, const Dtype *type, Work *w, Error *err) {
    *w = (Work){.a = a, .type = type, .gates = ref_rnn_gates(a), .state = ref_rnn_state(a)};
    w->rows = w->gates * a->hidden;
    const struct {
        double **at;
        int64_t each;
    } parts[] = {{&w->h, w->state},    {&w->c, a->hidden},    {&w->xs, a->pre ? 0 : a->input},
                 {&w->hs, w->state},   {&w->from_x, w->rows}, {&w->from_h, w->rows},
                 {&w->cell, a->hidden}};
    size_t doubles = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        doubles += (size_t)(a->batch * parts[i].each);
    const size_t bytes = (doubles + 2 * (size_t)a->batch) * sizeof(double) + 8;
    double *at = w->memory = mem_alloc(bytes);
    if (!at) return err_no_memory(err, bytes);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].at = at;
        at += a->batch * parts[i].each;
    }
    w->active = (int64_t *)(void *)at;
    w->len = w->active + a->batch;
    for (int64_t b = 0; b < a->batch; b++) w->len[b] = a->lens ? a->lens[b] : a->steps;
    const size_t h = (size_t)(a->batch * w->state), c = (size_t)(a->batch * a->hidden);
    for (size_t i = 0; a->h_in && i < h; i++) w->h[i] = rounded(w, a->h_in[i]);
    for (size_t i = 0; a->c_in && i < c; i++) w->c[i] = rounded(w, a->c_in[i]);
    return ST_OK;
}

static Status run(const RefRnn *a, const Dtype *type, const RefRnnOut *out, Error *err) {
    Work w;
    const Status status = make_work(a, type, &w, err);
    if (status != ST_OK) return status;
    const size_t tokens = (size_t)(a->batch * a->steps);
    if (out->y) memset(out->y, 0, tokens * (size_t)w.state * sizeof(double));
    if (out->gates) memset(out->gates, 0, tokens * (size_t)w.rows * sizeof(double));
    for (int64_t s = 0; s < a->steps; s++) one_step(&w, s, out);
    if (out->h) memcpy(out->h, w.h, (size_t)(a->batch * w.state) * sizeof(double));
    if (out->c) memcpy(out->c, w.c, (size_t)(a->batch * a->hidden) * sizeof(double));
    mem_free(w.memory);
    return ST_OK;
}

Status ref_rnn(const RefRnn *a, const RefRnnOut *out, Error *err) {
    return run(a, NULL, out, err);
}

Status ref_rnn_naive(const RefRnn *a, Dtype type, const RefRnnOut *out, Error *err) {
    return run(a, &type, out, err);
}

/* ---- layers and directions ---- */

/* Places one direction's y [batch, steps, state] among `directions`. */
static void interleave(const double *y, int64_t tokens, int64_t state, int64_t directions,
                       int64_t direction, double *to) {
    for (int64_t t = 0; t < tokens; t++)
        memcpy(to + (t * directions + direction) * state, y + t * state,
               (size_t)state * sizeof(double));
}

static Status layer(const RefRnnStack *s, int64_t l, const double *x, double *one, double *y,
                    double *h, double *c, Error *err) {
    RefRnn a = s->first;
    const int64_t state = ref_rnn_state(&a), each_h = a.batch * state, each_c = a.batch * a.hidden;
    a.x = x;
    if (l > 0) a.input = s->directions * state;
    Status status = ST_OK;
    for (int64_t d = 0; d < s->directions && status == ST_OK; d++) {
        const int64_t i = l * s->directions + d;
        a.weights = &s->weights[i];
        a.reverse = d == 1;
        a.h_in = s->h_in ? s->h_in + i * each_h : NULL;
        a.c_in = s->c_in ? s->c_in + i * each_c : NULL;
        const RefRnnOut out = {
            .y = one, .h = h ? h + i * each_h : NULL, .c = c ? c + i * each_c : NULL};
        status = run(&a, s->naive, &out, err);
        interleave(one, a.batch * a.steps, state, s->directions, d, y);
    }
    return status;
}

Status ref_rnn_stack(const RefRnnStack *s, double *y, double *h, double *c, Error *err) {
    const RefRnn *a = &s->first;
    const size_t wide = (size_t)(a->batch * a->steps * s->directions * ref_rnn_state(a));
    double *space = mem_alloc((3 * wide + 1) * sizeof(double));
    if (!space) return err_no_memory(err, (3 * wide + 1) * sizeof(double));
    double *one = space, *layers[2] = {space + wide, space + 2 * wide};
    Status status = ST_OK;
    const double *x = a->x;
    for (int64_t l = 0; l < s->layers && status == ST_OK; l++) {
        status = layer(s, l, x, one, layers[l % 2], h, c, err);
        x = layers[l % 2];
    }
    if (status == ST_OK && y) memcpy(y, x, wide * sizeof(double));
    mem_free(space);
    return status;
}
