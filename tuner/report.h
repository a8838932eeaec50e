/* The result of a tuning session: the final table for people, one JSON object for programs. */
#ifndef SEQTUNE_TUNER_REPORT_H
#define SEQTUNE_TUNER_REPORT_H

#include "base/str.h"
#include "tuner/json.h"
#include "tuner/tune.h"

/* "measured", or "modelled (a100)" */
void report_evidence(const Target *target, char *out, size_t size);
/* What is tuned, for how long, where to: printed before the first trial. */
void report_head(const GenWorkload *workload, size_t problems, const Targets *targets,
                 const TuneSettings *settings, const char *db_path, Str *out);
void report_table(const Tune *tune, Str *out);
/* One object: GPU, counts, results. */
void report_json(const Tune *tune, Json *out);
/* "182 TFLOP/s" or "1403 GB/s", by which one the problem can be limited. */
void report_rate(double flops, double bytes, double seconds, char *out, size_t size);
/* From sm_90 on the hardware has pipelines (wgmma, TMA, tcgen05) that no template uses yet. */
bool report_portable(const char *gpu_key);
size_t report_unserved(const Tune *tune); /* problems without a winner */

#endif
