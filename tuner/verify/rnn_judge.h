/* Judges what one run of a recurrent kernel wrote (docs/verification.md has the rules).
 *
 * Invariant: afterwards r->want holds what was accepted, and of everything else what it was. */
#ifndef SEQTUNE_TUNER_VERIFY_RNN_JUDGE_H
#define SEQTUNE_TUNER_VERIFY_RNN_JUDGE_H

#include "tuner/verify/rnn_case.h"

/* y, h, c and gates of rnn_seq and rnn_cell. */
Status rnn_judge_steps(RnnRun *r, Error *err);

/* pre of rnn_input. */
Status rnn_judge_projection(RnnRun *r, Error *err);

/* The buffer with the state after a run (RNN_AT_H_IN, RNN_AT_H_OUT or the same of c), or -1. */
int rnn_after(const RnnRun *r, int in, int out);

unsigned char *rnn_want(const RnnRun *r, int at, int64_t direction);

#endif
