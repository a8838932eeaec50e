/* Two recurrent layers by seqtune_plan_rnn: as a wavefront and layer after layer. Prints a table of
 * modelled times. */
#ifndef SEQTUNE_TESTS_BENCH_RNN_LAYERS_H
#define SEQTUNE_TESTS_BENCH_RNN_LAYERS_H

#include "runtime/context.h"

Status rnn_layers(seqtune_context *ctx, Error *err);

#endif
