/* Configurations that won elsewhere: on other GPUs, and modelled ones on a real GPU. They are
 * worth a try early (on public data the top of one GPU's list holds another's near-best nearly
 * always, its very winner much less often); they decide nothing. */
#ifndef SEQTUNE_TUNER_KNOWN_H
#define SEQTUNE_TUNER_KNOWN_H

#include "db/db.h"
#include "generator/gen.h"

/* The nearest `max` distinct configurations, nearest first: winners of the same kernel and
 * generation for buckets that differ in lengths only, on GPU keys other than `gpu_key` (rows of
 * this GPU are trials to resume, not seeds: else every run would breed new ones). */
Status known_seeds(Db *db, const GenProblem *problem, const char *gpu_key, GenConfig *out,
                   size_t max, size_t *count, Error *err);

#endif
