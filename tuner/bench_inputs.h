/* What a run of each family needs on the device when it is timed: packed tensors of the
 * description, every length at its maximum, pages in an order of their own. */
#ifndef SEQTUNE_TUNER_BENCH_INPUTS_H
#define SEQTUNE_TUNER_BENCH_INPUTS_H

#include "base/arena.h"
#include "base/status.h"
#include "runtime/driver.h"
#include "runtime/plan.h"

enum { BENCH_MAX_BUFFERS = 12 };

typedef struct BenchBuffer {
    double bytes;    /* 0: not needed */
    const int *ints; /* contents that a run reads even when sampled; NULL: any numbers */
} BenchBuffer;

/* Fills out[BENCH_MAX_BUFFERS], in the family's own order; ints from `arena`. Completes *desc. */
Status bench_inputs(PlanDesc *desc, Arena *arena, BenchBuffer *out, Error *err);

/* Of those buffers, the keys of each of *count sequences, int32; 0: the family has none. */
CuDeviceptr bench_lengths(const PlanDesc *desc, const CuDeviceptr *at, int64_t *count);

/* One run on buffers made so, at[i] parallel to them. */
Status bench_run(seqtune_context *ctx, const PlanDesc *desc, const seqtune_plan *plan,
                 const CuDeviceptr *at, CuDeviceptr workspace, CuStream stream, Error *err);

#endif
