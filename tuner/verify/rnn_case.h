/* One case of rnn_input, rnn_seq or rnn_cell: shape, weights, buffers, inputs.
 *
 * Invariant: the doubles in `ref` are exactly the numbers that the device buffers hold; what no
 * kernel may read (pre and x of inactive steps, gaps, parts' ends) is NaN, the paddings of packed
 * weights and pre are 0. */
#ifndef SEQTUNE_TUNER_VERIFY_RNN_CASE_H
#define SEQTUNE_TUNER_VERIFY_RNN_CASE_H

#include "tuner/verify/check.h"
#include "tuner/verify/rnn_pack.h"
#include "tuner/verify/rnn_reference.h"

typedef enum RnnStates {
    RNN_NO_STATE,
    RNN_STATE_OUT,
    RNN_STATE_BOTH,
    RNN_STATE_IN_PLACE
} RnnStates;

typedef enum RnnNumbers {
    RNN_NORMAL,
    RNN_SPARSE, /* one weight per row and gate, each column somewhere: what is dropped or mixed up
                   is off by its whole value */
    RNN_WIDE    /* gates far in saturation: exponentials at the ends of their range */
} RnnNumbers;

/* How the case is run again, to the same bits. */
typedef enum RnnAgain { RNN_AGAIN_WHOLE, RNN_AGAIN_SINGLE_STEPS, RNN_AGAIN_CHUNKS } RnnAgain;

typedef enum RnnLayout { RNN_STEP_OUTER, RNN_STEP_OUTER_GAPS, RNN_BATCH_OUTER_GAPS } RnnLayout;

typedef struct RnnCase {
    int64_t batch, steps, directions;
    int64_t input, hidden; /* where the spec leaves them to the run */
    int reverse;           /* bit per direction */
    RnnStates states;
    RnnNumbers numbers;
    RnnAgain again;
    RnnLayout layout;
    bool no_y;
    int64_t spare; /* steps of the plan that the run does not take */
} RnnCase;

enum {
    RNN_AT_X,
    RNN_AT_W,
    RNN_AT_R,
    RNN_AT_BIAS,
    RNN_AT_HIDDEN_BIAS,
    RNN_AT_PEEPHOLE,
    RNN_AT_PROJECTION,
    RNN_AT_NORM,
    RNN_AT_LENS,
    RNN_AT_CU,
    RNN_AT_H_IN, /* from here on a kernel may write */
    RNN_AT_C_IN,
    RNN_AT_H_OUT,
    RNN_AT_C_OUT,
    RNN_AT_Y,
    RNN_AT_GATES,
    RNN_AT_PRE,
    RNN_AT_ERROR,
    RNN_AT_WORKSPACE,
    RNN_BUFFERS
};

typedef enum RnnLengths { RNN_UNIFORM, RNN_PADDED, RNN_PACKED } RnnLengths;

/* The truth, per direction. */
typedef struct RnnTruth {
    RefRnnWeights weights;
    double *pre;         /* [steps, batch, gates, hidden]; NULL: x is given */
    double *h_in, *c_in; /* NULL: zeros */
} RnnTruth;

typedef struct RnnRun {
    Check *check;
    const RnnCase *c;
    char text[400];
    RnnOp op;
    bool gru, peephole, layer_norm, reset_before, store_gates, clip, has_x;
    RnnLengths lengths;
    Dtype type;
    seqtune_dtype api_type;
    RnnPacking pack;
    int64_t input, hidden, projection, state, parts, part, part_pitch, state_pitch;
    int64_t x_row, x_step, x_batch, y_row, y_step, y_batch; /* elements */
    int64_t *len, *first_row;                               /* [batch]; first_row: packed */
    double *x; /* [batch, steps, input] by token; NULL: pre is given */
    RnnTruth ref[2];
    Guarded b[RNN_BUFFERS];
    size_t each[RNN_BUFFERS];          /* bytes per direction */
    unsigned char *start[RNN_BUFFERS]; /* of those that kernels write: before a run */
    unsigned char *want[RNN_BUFFERS];  /* and after it */
    seqtune_plan *plan;
} RnnRun;

/* Clip of a clipped cell, and the epsilon of layer norm. */
#define RNN_CASE_CLIP 0.5
#define RNN_CASE_EPS  0.0078125

/* Dimensions of the problem and the shape of the case. */
Status rnn_case_shape(RnnRun *r, Error *err);
void rnn_case_describe(const RnnRun *r, PlanDesc *out);
/* Allocates the buffers and fills them; rnn_case_free releases them and the plan. */
Status rnn_case_fill(RnnRun *r, Error *err);
void rnn_case_free(RnnRun *r);

int64_t rnn_case_token(const RnnRun *r, int64_t direction, int64_t b, int64_t step);
/* Element of a row of x or y. */
int64_t rnn_case_x_row(const RnnRun *r, int64_t b, int64_t token);
int64_t rnn_case_y_row(const RnnRun *r, int64_t direction, int64_t b, int64_t token);

/* Puts steps first .. first + steps - 1 of the true pre into the image of its buffer. */
void rnn_case_pre(RnnRun *r, int64_t first, int64_t steps);

/* The problem of the reference for one direction. */
RefRnn rnn_case_reference(const RnnRun *r, int64_t direction);

#endif
