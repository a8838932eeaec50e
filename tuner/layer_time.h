/* Times of the kernels of one recurrent or attention layer on an open context, as dispatch plans
 * them: measured or modelled, as the device is, never computed from a formula.
 *
 * The steps of a sequence all execute the same code, so on a device whose times are deterministic
 * (a model) a long sequence is timed by two short runs and the line through them: `line` is set and
 * the steps that ran are told. A device that measures runs all steps. */
#ifndef SEQTUNE_TUNER_LAYER_TIME_H
#define SEQTUNE_TUNER_LAYER_TIME_H

#include "base/status.h"
#include "generator/gen.h"
#include "runtime/context.h"

typedef struct LayerTime {
    double seconds;     /* of the whole problem */
    double step, fixed; /* rnn_seq: seconds = fixed + steps * step */
    bool line;          /* from two shorter runs */
    int64_t ran[2];     /* their steps */
    char config[256];   /* what was chosen */
    const char *by;     /* "tuned", "near", "default", "forced" */
} LayerTime;

/* `config` NULL: what dispatch chooses for the whole problem, all its steps. */
Status layer_time(seqtune_context *ctx, const GenProblem *problem, const GenConfig *config,
                  LayerTime *out, Error *err);

/* What a plan of one recurrent layer and direction launches in a run of all its steps, every launch
 * timed apart and added up: the input projection in the plan's chunks, the steps, and the fill of an
 * error word. On a device
 * whose times are modelled that is the time of the run; one that measures begins each launch with a
 * cold L2, which the second kernel of a run would not. */
typedef struct LayerPlanTime {
    double input; /* 0: the steps' kernel has W x fused */
    double steps; /* with what sets the error word of kernels that wait */
    int64_t chunk;    /* steps of a launch */
    LayerTime kernel; /* of one launch of the steps' kernel */
    char name[32];    /* that kernel */
} LayerPlanTime;

Status layer_plan_time(seqtune_context *ctx, const seqtune_rnn_desc *desc, LayerPlanTime *out,
                       Error *err);

/* A problem of the named kernel with the dimensions of `text` ("hidden=512 ..."), checked. */
Status layer_problem(const seqtune_context *ctx, const char *spec, const char *text,
                     GenProblem *out, Error *err);

/* Steps that follow each other in a problem of rnn_seq; 0: it is no sequence. */
int64_t layer_steps(const GenProblem *problem);

/* The largest head dimension of attn_prefill that divides `hidden`; 0: none. */
int64_t layer_head_dim(int64_t hidden);

#endif
