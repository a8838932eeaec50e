/* Recurrent layers on the device and in fp64: a description with random weights and inputs, its
 * runs by the public functions, and the comparison with the reference. */
#ifndef SEQTUNE_TESTS_RUNTIME_RNN_FIXTURE_H
#define SEQTUNE_TESTS_RUNTIME_RNN_FIXTURE_H

#include "tests/runtime/test.h"

#include "runtime/context.h"
#include "tuner/verify/rnn_reference.h"

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != SEQTUNE_OK) fail_msg("%s: %s", #call, seqtune_last_error(ctx));              \
    } while (0)

enum Weight { W, R, BIAS_W, BIAS_R, PEEPHOLE, PROJECTION, GAINS, GAIN_C, SHIFT_C, WEIGHTS };

enum { MAX_BLOCKS = 6, GUARD = 64 }; /* layers * directions; bytes behind each output */

/* A description, its weights for packing and for the reference, inputs and results. */
typedef struct Bench {
    seqtune_rnn_desc d;
    const int64_t *lens; /* NULL: all steps */
    bool update_new;     /* GRU: z weighs the new value */
    float forget_bias;   /* LSTM */
    Dtype type;
    int64_t gates, state, directions, blocks, tokens, rows; /* rows: of gates in one step */
    float *host[MAX_BLOCKS][WEIGHTS];                       /* what the description has not: NULL */
    double *exact[MAX_BLOCKS][WEIGHTS];
    double *zeros;       /* shifts of layer norm that are in the bias */
    double *x;           /* [batch, steps, input] */
    double *h_in, *c_in; /* [blocks, batch, state / hidden] */
    seqtune_device_ptr weights, at_x, at_h, at_c, at_lens, at_cu;
} Bench;

/* What a run gives: y in the caller's layout, h and c, with store_gates the gates. */
typedef struct Result {
    char *y, *h, *c, *gates;
    size_t y_bytes, h_bytes, c_bytes, gates_bytes;
} Result;

/* A plan with its buffers on the device. */
typedef struct Rig {
    seqtune_plan *plan;
    seqtune_device_ptr workspace, y, h[2], c[2], gates;
} Rig;

extern seqtune_context *ctx;

int rnn_setup(void **state); /* opens ctx */
int rnn_teardown(void **state);

void seed_numbers(uint64_t from); /* of weights and inputs made from now on */
seqtune_device_ptr to_device(const void *data, size_t bytes);
/* A dirty buffer is 0xa5 everywhere, which is a number in every type. */
Bench bench_of(const seqtune_rnn_desc *d, const int64_t *lens); /* strides alone may be 0 */
Bench bench_with(const seqtune_rnn_desc *d, const int64_t *lens, bool update_new,
                 float forget_bias);
void bench_end(Bench *b);
Rig rig_of(const Bench *b, const seqtune_rnn_desc *d);
void rig_end(Rig *r);
/* Steps `first` .. of at most `piece`; the state is in buffer 1 - turn and goes to `turn`. */
seqtune_rnn_args args_of(const Bench *b, const Rig *r, int64_t first, int64_t piece, int turn);
/* What the last run into buffer `turn` left; checks the guards. */
Result fetch(const Bench *b, const Rig *rig, int turn);
/* Runs of at most `piece` steps one after the other, by a plan of `d`, states in two buffers in
 * turn. */
Result run_pieces(const Bench *b, const seqtune_rnn_desc *d, int64_t piece);
Result run_whole(const Bench *b);
void result_end(Result *r);
void assert_same(const Result *a, const Result *b);
/* y, also that it is 0 past lengths and as it was between rows, h and c. */
void check_reference(const Bench *b, const Result *r);
/* The same, and the gates of a run of all steps. */
void check_reference_and_gates(const Bench *b, const Result *r);

#endif
