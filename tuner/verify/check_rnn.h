/* The recurrent families for verify.c, and single cases for the tests. */
#ifndef SEQTUNE_TUNER_VERIFY_CHECK_RNN_H
#define SEQTUNE_TUNER_VERIFY_CHECK_RNN_H

#include "tuner/verify/rnn_case.h"

/* All cases of a kernel that does `op`. */
Status check_rnn(Check *check, RnnOp op, Error *err);

Status check_rnn_case(Check *check, const RnnCase *c, Error *err);

/* One case of the tests' own, as verify_variant runs those of a level. */
Status verify_rnn_case(seqtune_context *ctx, const char *spec_name, const GenProblem *problem,
                       const GenConfig *config, const RnnCase *c, VerifyResult *out, Error *err);

#endif
