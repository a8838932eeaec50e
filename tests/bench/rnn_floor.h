/* What a step of a recurrent layer takes at least in a tier of rnn_seq, from the GPU table.
 *
 * In every tier a step's products run at the rate of mma.sync with the batch rounded up to 8
 * columns, as the instruction has them (f32: of FMA, with the batch as it is); before the first
 * stands the latency of reading h, after the last that of the instruction, of four special
 * functions in sequence (ex2 and rcp of a gate, then of tanh(c)) and of the six operations between
 * them. Beyond that:
 * - tier 1: one block per 8 sequences (f32: per sequence while there are SMs), weights in
 *   registers: one barrier of a block;
 * - tier 2: n SMs hold the weights in registers and shared memory (as many as it takes to hold
 *   them, or more; the best n counts); each reads all of h from L2 meanwhile; one barrier of the
 * grid: the write of h is acknowledged, the counter is added to and seen, h is read: three L2
 * latencies and two barriers of a block;
 * - tier 3: weights come from L2, or from DRAM where they exceed it, in every step; one launch.
 * No factor of calibration is on it: it is a bound, not a model. */
#ifndef SEQTUNE_TESTS_BENCH_RNN_FLOOR_H
#define SEQTUNE_TESTS_BENCH_RNN_FLOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/gpus.h"

typedef struct RnnStep {
    bool gru, f32;
    int64_t hidden, batch;
} RnnStep;

/* Seconds of one step. */
double rnn_floor(const GpuModel *model, const RnnStep *step, int tier);

#endif
