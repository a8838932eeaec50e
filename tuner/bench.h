/* Timing on the device: buffers of one problem, plans of its configurations, cold launches.
 *
 * The policy is "eager cold": each timed launch is a plain launch after the L2 cache was
 * overwritten, between two events. Branches on traits only: a deterministic device is asked once
 * and not warmed up; one that can sample runs in timing mode, where contents do not matter.
 * Runs in the execution worker. Not thread-safe. */
#ifndef SEQTUNE_TUNER_BENCH_H
#define SEQTUNE_TUNER_BENCH_H

#include "base/status.h"
#include "generator/gen.h"
#include "runtime/context.h"

typedef struct Bench Bench;

enum { BENCH_MAX_PLANS = 8 };

/* Allocates and fills the buffers of `problem`. `full`: every block runs, on a device that could
 * sample too. *out is released with bench_close. */
Status bench_open(seqtune_context *ctx, const GenProblem *problem, bool full, Bench **out,
                  Error *err);
void bench_close(Bench *bench); /* NULL is fine; frees plans and device memory */
/* Adds a configuration; *index counts from 0. */
Status bench_add(Bench *bench, const GenConfig *config, size_t *index, Error *err);
/* Owned by the bench. */
const seqtune_plan *bench_plan(const Bench *bench, size_t index);
/* Keys of every sequence from now on, at most the problem's; where lengths are on the device. Every
 * block runs then: a sample says little of the rest where most blocks end at once. */
Status bench_set_keys(Bench *bench, int64_t len_kv, Error *err);
/* Seconds of one launch of plan `index`. */
Status bench_launch(Bench *bench, size_t index, double *seconds, Error *err);
/* Warm-up and repetitions of one plan: stops early when the interval's low end is above `limit_s`
 * (0: no limit) after `bench_min_rounds`. Returns the number of repetitions through *count. */
Status bench_time(Bench *bench, size_t index, double limit_s, double *seconds, size_t max,
                  size_t *count, Error *err);
/* Interleaved rounds over all plans, the first one rotating: seconds[plan * max + round]. */
Status bench_rounds(Bench *bench, double *seconds, size_t max, size_t *rounds, Error *err);

#endif
