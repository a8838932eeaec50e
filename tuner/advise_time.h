/* Times of the layers that advise compares, on one GPU: of a recurrent layer what its plan launches
 * (input projection and steps in chunks; streaming: a cell step), of an attention layer the product
 * of Q, K and V, the attention, and the product of O, each with rnn_input's kernel. f16, as every
 * GPU has it. */
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
    LayerTime kernel[ADVISE_MODELS]; /* of one launch of `rest` */
    char name[ADVISE_MODELS][32];    /* that kernel */
    int64_t chunk[ADVISE_MODELS];    /* steps of such a launch; attention: 0 */
    Error why_not[ADVISE_MODELS];    /* where not known */
} AdviseTimes;

/* Models without a kernel for the shape are told, not errors. */
void advise_times(seqtune_context *ctx, const AdviseAsk *ask, AdviseTimes *out);

/* Who takes less: the better of the recurrent ones against attention; EITHER when it is within 5 %
 * or not known. */
AdviseSide advise_faster(const AdviseTimes *times);

/* The lines of the decision table; returns their number, at most 4. `evidence`: "measured" or
 * "modelled (a100)". */
size_t advise_time_lines(const AdviseAsk *ask, const AdviseTimes *times, const char *evidence,
                         AdviseLine *out);

#endif
