/* Recurrent layers against attention layers of the same width: what each costs by arithmetic, what
 * published work says about quality, and what follows.
 *
 * One layer maps [batch, length, hidden] to the same shape with 16-bit weights: an LSTM or GRU
 * (input and recurrent matrices, no projection), or causal self-attention with its four square
 * projections and as many K/V heads as query heads; what stands between layers (MLP, norms) is the
 * same for all and left out. Nothing here knows a device but for its memory, or a time. */
#ifndef SEQTUNE_TUNER_ADVISE_H
#define SEQTUNE_TUNER_ADVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum AdviseModel { ADVISE_LSTM, ADVISE_GRU, ADVISE_ATTENTION, ADVISE_MODELS } AdviseModel;

typedef struct AdviseAsk {
    int64_t length; /* of a sequence; streaming: tokens seen when the step is made */
    int64_t hidden, batch;
    int64_t data;   /* tokens to train on; 0: not told */
    int64_t memory; /* bytes of the GPU; 0: not judged */
    bool streaming; /* one token at a time as it arrives, not a whole sequence at once */
} AdviseAsk;

/* Of one layer; 16-bit weights, h, K and V, 32-bit c. */
typedef struct AdviseCost {
    double path;        /* states between the first token and what the last one computes */
    double steps;       /* that must follow each other: of the sequence, streaming: of a token */
    double weights;     /* elements */
    double flops;       /* per token: mean of the sequence, streaming: of this token */
    double state_bytes; /* of a sequence: what computing the next token needs of the past */
    double reuse;       /* rows that one read of a weight can serve */
    double step_bytes;  /* streaming: weights once, states of the batch read */
} AdviseCost;

AdviseCost advise_cost(AdviseModel model, const AdviseAsk *ask);

typedef enum AdviseSide { ADVISE_EITHER, ADVISE_TAKE_RECURRENT, ADVISE_TAKE_ATTENTION } AdviseSide;

const char *advise_side_name(AdviseSide side); /* "either", "recurrent", "attention" */

enum { ADVISE_CELL = 32, ADVISE_WHY = 1024, ADVISE_MAX_LINES = 16 };

typedef struct AdviseLine {
    const char *what;
    char cell[ADVISE_MODELS][ADVISE_CELL]; /* "": the line has no figure per model */
    AdviseSide better;
    bool quality; /* about results, else about cost */
    char why[ADVISE_WHY];
    int source, also; /* of advise_source; 0: arithmetic, none */
} AdviseLine;

/* The decision table without times; returns the number of lines, at most ADVISE_MAX_LINES. */
size_t advise_lines(const AdviseAsk *ask, AdviseLine *out);

/* NULL past the last; numbered from 1. */
const char *advise_source(int number);

/* Whether K and V of the batch, one layer of them, leave the GPU's memory. */
bool advise_overflows(const AdviseAsk *ask);

/* What cost decides when no times are known: bytes of a step, or the steps of a sequence. */
AdviseSide advise_speed(const AdviseAsk *ask);

/* What follows, in one sentence or two, from who is faster and from the lines on quality. */
void advise_conclusion(const AdviseAsk *ask, AdviseSide faster, const char *faster_by,
                       char out[ADVISE_WHY]);

#endif
