/* What a run of one kernel of a recurrent layer needs on the device when it is timed (see
 * bench_inputs.h): every sequence at its full length, no chunks. */
#ifndef SEQTUNE_TUNER_BENCH_RNN_H
#define SEQTUNE_TUNER_BENCH_RNN_H

#include "tuner/bench_inputs.h"

Status bench_rnn_inputs(const RnnKernelDesc *desc, Arena *arena, BenchBuffer *out, Error *err);

Status bench_rnn_run(const RnnKernelDesc *desc, const seqtune_plan *plan, const CuDeviceptr *at,
                     CuDeviceptr workspace, CuStream stream, Error *err);

#endif
