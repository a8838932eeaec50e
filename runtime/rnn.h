/* Recurrent plans from inside: shapes and the packed weights, as kernels, packing and plan see them
 * (runtime/params/rnn.h says what the rows and paddings are).
 *
 * All functions here take a description that rnn_check_cell has completed. */
#ifndef SEQTUNE_RUNTIME_RNN_H
#define SEQTUNE_RUNTIME_RNN_H

#include <stdbool.h>

#include "base/status.h"
#include "runtime/seqtune.h"

/* Paddings: units to two blocks of eight, contracted dimensions to what a step of two k blocks
 * takes. */
enum { RNN_UNITS = 16, RNN_PITCH = 32, RNN_MAX_SIZE = 16384, RNN_MAX_LAYERS = 64 };
/* Sequences: what grids and the specs' dimension allow. Tokens: counted in 32 bits. */
enum { RNN_MAX_BATCH = 65535, RNN_MAX_TOKENS = 0x7fffffff };

/* Gates by their internal number. */
enum { LSTM_I, LSTM_F, LSTM_G, LSTM_O, GRU_R = 0, GRU_Z, GRU_N };

typedef struct RnnShape {
    int64_t directions, gates, element; /* bytes of dtype */
    int64_t units_pad, rows;
    int64_t state, state_pitch;           /* of h, and of a row of R */
    int64_t projection_rows, units_pitch; /* of the projection; 0 without */
    int64_t cell;                         /* floats of c per sequence: hidden or (GRU) 0 */
} RnnShape;

/* Byte offsets in the packed weights, 256-byte aligned; -1: the cell has none. */
typedef struct RnnBlock {
    int64_t w, r, bias, hidden_bias, peephole, projection, norm;
    int64_t end;
} RnnBlock;

/* Checks what the packed weights depend on and fills in its defaults. */
Status rnn_check_cell(seqtune_rnn_desc *d, Error *err);
/* Checks a whole description and fills in all defaults. */
Status rnn_check_desc(seqtune_rnn_desc *d, Error *err);

/* SEQTUNE_RNN_GIVEN_INPUT: x is W x + bias. */
bool rnn_input_given(const seqtune_rnn_desc *d);
RnnShape rnn_shape(const seqtune_rnn_desc *d);
int64_t rnn_row(const RnnShape *shape, int64_t unit, int64_t gate);
/* Of a layer's input: its elements, its parts (a bidirectional layer below gives 2), and the pitch
 * of a row of W. */
int64_t rnn_input_size(const seqtune_rnn_desc *d, int64_t layer);
int64_t rnn_input_parts(const seqtune_rnn_desc *d, int64_t layer);
int64_t rnn_input_pitch(const seqtune_rnn_desc *d, int64_t layer);
RnnBlock rnn_block(const seqtune_rnn_desc *d, int64_t layer, int64_t direction);
int64_t rnn_weights_size(const seqtune_rnn_desc *d);

/* Which layer a child of the plan serves; its kernels are child[2 * slot] (the input projection, or
 * none) and child[2 * slot + 1] (the steps). */
typedef enum RnnSlot { RNN_FIRST, RNN_INNER, RNN_LAST, RNN_SLOTS } RnnSlot;

/* The child that does steps of two layers at once, or NULL. */
enum { RNN_PAIR = 2 * RNN_SLOTS };

RnnSlot rnn_slot(const seqtune_rnn_desc *d, int64_t layer);

/* What a run needs to know beyond the description. */
typedef struct RnnWork {
    RnnShape shape;
    int64_t chunk;     /* most steps of a launch */
    int64_t pair;      /* most steps of a launch for two layers; 0: layer after layer */
    int64_t inner_row; /* elements of a row of a lower layer's output */
    bool may_wait;     /* some kernel has blocks that wait for each other */
    /* Offsets in the workspace; sizes are rounded up to 256. */
    int64_t error, pre, h[2], c, inner[2], kernel;
} RnnWork;

/* Pre-activations in the workspace at once, bytes: enough for the projection to fill a GPU. */
enum { RNN_PRE_BYTES = 64 << 20 };
/* rnn.c: steps of a launch whose pre-activations take `step_bytes` each: at least 1, at most
 * `steps`. */
int64_t rnn_chunk_steps(int64_t step_bytes, int64_t steps);
/* rnn_run.c: steps of a launch for two layers, in a run of `steps`, at most `most`; 0: not worth
 * it. */
int64_t rnn_pair_steps(int64_t steps, int64_t most);
/* A run of a composed plan (PlanFamily). */
Status rnn_run(const seqtune_plan *plan, const void *args, seqtune_device_ptr workspace,
               seqtune_stream stream, Error *err);

#endif
