/* LSTM and GRU in plain C with fp64: the definition of right for recurrent kernels.
 *
 * Weights are those of frameworks, gate after gate (LSTM: i, f, g, o; GRU: r, z, n), not our
 * packing. In step s sequence b is active while s < lens[b]; its token is s, or lens[b] - 1 - s in
 * a reverse direction; an inactive step leaves h and c as they are. Invariant: results depend on
 * the arguments alone (sums run in index order, one thread). Nothing here knows tiles or devices.
 *
 *   LSTM  i, f, o = sigmoid(.), g = tanh(.) of  W x + R h + bias  (i, f: + p c_old; o: + p c)
 *         c = clip(f c_old + i g),  h = P (o tanh(c));   f's bias has forget_bias on top
 *         with layer norm (arXiv 1607.06450, eq. 20-22): LN(W x) + LN(R h) + bias, both over all
 *         four gates, and tanh(LN(c))
 *   GRU   r, z = sigmoid(W x + R h + bias);  h = z h_old + (1 - z) n  (z_takes_new: the reverse)
 *         n = tanh(W x + b + r (R h + b_h))  or, reset-before,  tanh(W x + b + R (r h) + b_h) */
#ifndef SEQTUNE_TUNER_VERIFY_RNN_REFERENCE_H
#define SEQTUNE_TUNER_VERIFY_RNN_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "tuner/verify/dtype.h"

/* One layer and direction. What a cell lacks is NULL. */
typedef struct RefRnnWeights {
    const double *w;           /* [gates, hidden, input]; unused when `pre` is given */
    const double *r;           /* [gates, hidden, state] */
    const double *bias;        /* [gates, hidden] */
    const double *hidden_bias; /* [gates, hidden]; of the GRU's n inside the reset product */
    const double *peephole;    /* [3, hidden]: i, f, o */
    const double *projection;  /* [state, hidden] */
    /* Layer norm, all or none: [2, gates, hidden]: of W x, of R h; [hidden]: of c. */
    const double *norm_gain, *norm_shift, *cell_gain, *cell_shift;
} RefRnnWeights;

typedef struct RefRnn {
    bool gru;
    int64_t batch, steps, input, hidden;
    int64_t projection; /* 0: none; `state` is projection or hidden: the length of h */
    bool reset_before, z_takes_new, reverse;
    double forget_bias;
    double cell_clip; /* 0: none */
    double norm_eps;
    const int64_t *lens; /* [batch], 0 .. steps; NULL: all steps */
    const RefRnnWeights *weights;
    const double *x;           /* [batch, steps, input], by token */
    const double *pre;         /* instead of x: W x + bias, [steps, batch, gates, hidden], by step
                                  (with layer norm: W x alone) */
    const double *h_in, *c_in; /* [batch, state], [batch, hidden]; NULL: zeros */
} RefRnn;

/* Memory of the caller; what is NULL is not wanted. */
typedef struct RefRnnOut {
    double *y;       /* [batch, steps, state], by token; 0 past the length */
    double *h, *c;   /* [batch, state], [batch, hidden]: after the last step */
    double *gates;   /* [steps, batch, gates, hidden], after activation; 0 where inactive */
    double *c_steps; /* [steps, batch, hidden]: c after each step */
} RefRnnOut;

int64_t ref_rnn_gates(const RefRnn *a);
int64_t ref_rnn_state(const RefRnn *a);

/* ST_NO_MEMORY for the work space of one step. */
Status ref_rnn(const RefRnn *a, const RefRnnOut *out, Error *err);

/* The textbook algorithm with h, the pre-activations, c and what goes into a product kept in
 * `type`: its distance from ref_rnn is what the dtype itself costs. */
Status ref_rnn_naive(const RefRnn *a, Dtype type, const RefRnnOut *out, Error *err);

/* W x + bias of each token: out [rows, gates * hidden], x [rows, input]. */
void ref_rnn_project(int64_t rows, int64_t input, int64_t outputs, const double *w,
                     const double *bias, const double *x, double *out);

/* Layers and directions: layer l reads the y of layer l - 1, its directions one after the other;
 * direction 1 is reversed. `first` has all but what is listed here. */
typedef struct RefRnnStack {
    RefRnn first; /* of layer 0; weights, reverse, h_in and c_in are not used */
    int64_t layers, directions;
    const RefRnnWeights *weights; /* [layers * directions] */
    const double *h_in, *c_in;    /* [layers * directions, batch, state / hidden]; NULL: zeros */
    const Dtype *naive;           /* NULL: ref_rnn */
} RefRnnStack;

/* y: [batch, steps, directions * state]; h, c: as h_in, c_in; NULL: not wanted. */
Status ref_rnn_stack(const RefRnnStack *s, double *y, double *h, double *c, Error *err);

#endif
