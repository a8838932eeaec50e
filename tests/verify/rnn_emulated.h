/* An emulated recurrent kernel that is right (fp32 sums, c and pre-activations, h rounded once per
 * step), or has one defect: what the acceptance rule for recurrent cells is tried on.
 *
 * Gates in rows of `hidden`: LSTM i, f, g, o; GRU r, z, n. One sequence, one direction. */
#ifndef SEQTUNE_TESTS_VERIFY_RNN_EMULATED_H
#define SEQTUNE_TESTS_VERIFY_RNN_EMULATED_H

#include "tuner/verify/random.h"
#include "tuner/verify/rnn_reference.h"

enum { MAX_HIDDEN = 128, MAX_STEPS = 512, MAX_ROWS = 4 * MAX_HIDDEN };

typedef enum Defect {
    NONE,
    DROP_ONE_UNIT,    /* the last of a product */
    H_OF_STEP_BEFORE, /* for one unit */
    C_IN_DTYPE,       /* in f16 where that is fp32 */
    GATES_SWAPPED,    /* of one unit: f and o, r and z */
    BIAS_LEFT_OUT,    /* of one unit: of f, or inside the reset product */
    DEFECTS
} Defect;

/* How far weights reach: a fading memory, one that lasts, one that is nearly chaotic. */
typedef struct Inputs {
    const char *name;
    double weights, pre, forget;
} Inputs;

typedef struct Emulated {
    Dtype type;
    bool gru, reset_before;
    int hidden, steps, gates;
    double r[MAX_ROWS * MAX_HIDDEN], pre[MAX_STEPS * MAX_ROWS];
    double bias[MAX_ROWS];                     /* GRU: of n, inside the reset product */
    double in_pre[MAX_ROWS];                   /* bias that is in pre already */
    double h_in[MAX_HIDDEN], c_in[MAX_HIDDEN]; /* of the dtype, fp32 */
} Emulated;

/* Numbers a kernel would get: R of the dtype, the rest fp32; h and c begin with 0. */
void emulated_weights(Emulated *q, const Inputs *in, Random *rng);
void emulated_pre(Emulated *q, const Inputs *in, Random *rng);
/* Bias of one half in pre, and an h and c to begin with. */
void emulated_start(Emulated *q, Random *rng);

/* y [steps, hidden]; c [steps, hidden] and gates [steps, gates, hidden], rounded as stored ones
 * are, may be NULL. */
void emulated_run(const Emulated *q, Defect defect, double *y, double *c, double *gates);

/* The same problem for the references. */
RefRnn emulated_problem(const Emulated *q, RefRnnWeights *weights);

#endif
