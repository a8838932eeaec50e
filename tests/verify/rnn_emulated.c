#include "tests/verify/rnn_emulated.h"

#include <math.h>
#include <string.h>

#include "tuner/verify/accept.h"

/* ---- numbers ---- */

void emulated_weights(Emulated *q, const Inputs *in, Random *rng) {
    const int rows = q->gates * q->hidden;
    const double spread = in->weights / sqrt((double)q->hidden);
    for (int i = 0; i < rows * q->hidden; i++)
        q->r[i] = dtype_round(q->type, spread * random_normal(rng));
    for (int i = 0; i < rows; i++)
        q->bias[i] = q->gru && i >= 2 * q->hidden ? (double)(float)(0.3 * random_normal(rng)) : 0;
    memset(q->in_pre, 0, sizeof q->in_pre);
    memset(q->h_in, 0, sizeof q->h_in), memset(q->c_in, 0, sizeof q->c_in);
}

void emulated_pre(Emulated *q, const Inputs *in, Random *rng) {
    const int rows = q->gates * q->hidden;
    for (int i = 0; i < q->steps * rows; i++) {
        const bool keeps = i % rows / q->hidden == 1; /* f, or z */
        const double value = in->pre * random_normal(rng) + (keeps ? in->forget : 0);
        q->pre[i] = (double)(float)(value + q->in_pre[i % rows]);
    }
}

void emulated_start(Emulated *q, Random *rng) {
    for (int i = 0; i < q->gates * q->hidden; i++)
        q->in_pre[i] = (double)(float)(0.5 * random_normal(rng));
    for (int u = 0; u < q->hidden; u++) {
        q->h_in[u] = dtype_round(q->type, 0.5 * random_normal(rng));
        q->c_in[u] = (double)(float)(0.7 * random_normal(rng));
    }
}

/* ---- the kernel ---- */

static float sigmoid32(float x) {
    return 1 / (1 + expf(-x));
}

/* Rows first .. last - 1 of R h. */
static void sums(const Emulated *q, int first, int last, const float *h, const float *before,
                 Defect defect, float *out) {
    const int n = q->hidden;
    for (int row = first; row < last; row++) {
        float sum = 0;
        const bool stale = defect == H_OF_STEP_BEFORE && row % n == 0;
        for (int k = 0; k < n - (defect == DROP_ONE_UNIT); k++)
            sum += (float)q->r[row * n + k] * (stale ? before : h)[k];
        out[row] = sum;
    }
}

/* The gates go to x. */
static float lstm_unit(const Emulated *q, float *x, const float *h, int u, float *c,
                       Defect defect) {
    const int n = q->hidden;
    float a[4];
    for (int g = 0; g < 4; g++) a[g] = x[g * n + u] + h[g * n + u];
    const bool swapped = defect == GATES_SWAPPED && u == 0;
    const float i = sigmoid32(a[0]), g = tanhf(a[2]);
    const float f = sigmoid32(a[swapped ? 3 : 1]), o = sigmoid32(a[swapped ? 1 : 3]);
    *c = f * *c + i * g;
    if (defect == C_IN_DTYPE) *c = (float)dtype_round(accept_coarse(q->type), (double)*c);
    x[u] = i, x[n + u] = f, x[2 * n + u] = g, x[3 * n + u] = o;
    return o * tanhf(*c);
}

/* r and z of every unit go to x; `reset` becomes r h, as it goes into a product. */
static void gru_reset(const Emulated *q, float *x, const float *from_h, const float *h,
                      float *reset, Defect defect) {
    const int n = q->hidden;
    for (int u = 0; u < n; u++) {
        const float a = sigmoid32(x[u] + from_h[u]), b = sigmoid32(x[n + u] + from_h[n + u]);
        const bool swapped = defect == GATES_SWAPPED && u == 0;
        x[u] = swapped ? b : a;
        x[n + u] = swapped ? a : b;
        reset[u] = (float)dtype_round(q->type, (double)(x[u] * h[u]));
    }
}

static float gru_unit(const Emulated *q, float *x, const float *from_h, int u, float old,
                      Defect defect) {
    const int at = 2 * q->hidden + u;
    const float bias = defect == BIAS_LEFT_OUT && u == 0 ? 0 : (float)q->bias[at];
    const float inner = q->reset_before ? from_h[at] + bias : x[u] * (from_h[at] + bias);
    x[at] = tanhf(x[at] + inner);
    return x[q->hidden + u] * old + (1 - x[q->hidden + u]) * x[at];
}

void emulated_run(const Emulated *q, Defect defect, double *y, double *c, double *gates) {
    static float h[MAX_HIDDEN], before[MAX_HIDDEN], reset[MAX_HIDDEN], cell[MAX_HIDDEN];
    static float from_h[MAX_ROWS], x[MAX_ROWS];
    const int n = q->hidden, rows = q->gates * n;
    memset(before, 0, sizeof before);
    for (int u = 0; u < n; u++) h[u] = (float)q->h_in[u], cell[u] = (float)q->c_in[u];
    for (int s = 0; s < q->steps; s++) {
        sums(q, 0, rows, h, before, defect, from_h);
        for (int i = 0; i < rows; i++) x[i] = (float)q->pre[s * rows + i];
        if (defect == BIAS_LEFT_OUT && !q->gru) x[n] -= (float)q->in_pre[n];
        if (q->gru) gru_reset(q, x, from_h, h, reset, defect);
        if (q->reset_before) sums(q, 2 * n, rows, reset, before, defect, from_h);
        memcpy(before, h, sizeof h);
        for (int u = 0; u < n; u++) {
            const float fresh = q->gru ? gru_unit(q, x, from_h, u, h[u], defect)
                                       : lstm_unit(q, x, from_h, u, &cell[u], defect);
            h[u] = (float)(y[s * n + u] = dtype_round(q->type, (double)fresh));
            if (c) c[s * n + u] = (double)cell[u];
        }
        for (int i = 0; gates && i < rows; i++)
            gates[s * rows + i] = dtype_round(q->type, (double)x[i]);
    }
}

RefRnn emulated_problem(const Emulated *q, RefRnnWeights *weights) {
    *weights = (RefRnnWeights){.r = q->r, .hidden_bias = q->bias};
    return (RefRnn){.gru = q->gru,
                    .reset_before = q->reset_before,
                    .batch = 1,
                    .steps = q->steps,
                    .hidden = q->hidden,
                    .weights = weights,
                    .pre = q->pre,
                    .h_in = q->h_in,
                    .c_in = q->c_in};
}
