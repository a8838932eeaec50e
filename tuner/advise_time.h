/* Times of the layers that advise compares, on one GPU: recurrent ones as their kernels take them
 * (input projection, then the steps; one cell step when streaming), attention as its four
 * projections and the attention itself. f16, as every GPU has it. */
#ifndef SEQTUNE_TUNER_ADVISE_TIME_H
#define SEQTUNE_TUNER_ADVISE_TIME_H

#include "tuner/advise.h"
#include "tuner/layer_time.h"

typedef struct AdviseTimes {
    bool known[ADVISE_MODELS];
    double
        projection[ADVISE_MODELS]; /* seconds; streaming: of attention only, a cell has W fused */
    double rest[ADVISE_MODELS];
    double total[ADVISE_MODELS];
    LayerTime kernel[ADVISE_MODELS]; /* of `rest` */
    Error why_not[ADVISE_MODELS];    /* where not known */
} AdviseTimes;

/* Models without a kernel for the shape are told, not errors. */
void advise_times(seqtune_context *ctx, const AdviseAsk *ask, AdviseTimes *out);

/* Who takes less: the better of the recurrent ones against attention; EITHER when it is within 5 %
 * or not known. */
AdviseSide advise_faster(const AdviseTimes *times);

/* The lines of the decision table; returns their number, at most 3. `evidence`: "measured" or
 * "modelled (a100)". */
size_t advise_time_lines(const AdviseAsk *ask, const AdviseTimes *times, const char *evidence,
                         AdviseLine *out);

#endif
