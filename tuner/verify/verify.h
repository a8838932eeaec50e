/* Runs one variant on a device and judges every number it writes (docs/verification.md).
 *
 * A variant is a spec, its static dimensions and a configuration; lengths, strides, windows and
 * inputs come from the cases here. It runs through plan_create and the public run functions, as an
 * application's would. Invariant: a pass means that every written element was compared and every
 * other byte of the outputs, the gaps and the guards is what it was before. Nothing here compiles,
 * measures time or knows what kind of device it is.
 *
 * Threads: calls with different contexts may run at once. */
#ifndef SEQTUNE_TUNER_VERIFY_VERIFY_H
#define SEQTUNE_TUNER_VERIFY_VERIFY_H

#include <stdint.h>

#include "base/status.h"
#include "generator/gen.h"
#include "runtime/seqtune.h"

typedef enum VerifyLevel {
    VERIFY_QUICK, /* while tuning: few launches, ragged tails, one probe per mask edge, guards */
    VERIFY_FULL   /* tests: both sides of every tile, window and diagonal edge; properties */
} VerifyLevel;

typedef struct VerifyResult {
    double worst_ratio;     /* error / limit over everything compared; up to 1 passes */
    double max_abs_error;   /* of O (attention) or out (rope) on random inputs */
    double max_naive_error; /* of the textbook algorithm in the dtype on the same inputs; 0: rope */
    int64_t cases;          /* run and judged */
    int64_t refused;        /* whose problem the spec's rules keep from this configuration */
    char failed_case[512];  /* "" when all passed; else the case, the place, the numbers */
} VerifyResult;

/* `problem`: its static dimensions and its group (heads_q / heads_kv) are used, lengths are not.
 * ST_OK: every case passed. ST_WRONG: one did not; out->failed_case and *err tell which and where.
 * Other statuses: the device, the compiler or the plan failed; ST_UNSUPPORTED when no case at all
 * could be planned. *out is filled in every case. */
Status verify_variant(seqtune_context *ctx, const char *spec_name, const GenProblem *problem,
                      const GenConfig *config, VerifyLevel level, VerifyResult *out, Error *err);

#endif
