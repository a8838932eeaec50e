/* Plans, seen from inside: what the public plan functions, the tuner and the tests share.
 *
 * A PlanDesc is one description of any family; it turns into a problem of a spec and back. A plan
 * made with a forced configuration runs through the very same code as the application's. */
#ifndef SEQTUNE_RUNTIME_PLAN_H
#define SEQTUNE_RUNTIME_PLAN_H

#include "base/status.h"
#include "generator/gen.h"
#include "runtime/driver.h"
#include "runtime/seqtune.h"

typedef enum PlanKind {
    PLAN_ATTENTION,
    PLAN_MERGE,
    PLAN_KV,
    PLAN_ROPE,
    PLAN_RNN,
    PLAN_RNN_KERNEL, /* one kernel of a recurrent layer; seqtune_plan_rnn is composed of them */
    PLAN_KINDS
} PlanKind;

/* What a kernel of the rnn family does; its spec says which by verify.reference. */
typedef enum RnnOp {
    RNN_INPUT, /* pre = W x + bias for all steps; reference "rnn_input" */
    RNN_SEQ,   /* steps from pre; "rnn_seq" */
    RNN_CELL,  /* one step, W x fused or (input = 0) pre given; "rnn_cell" */
    RNN_OPS
} RnnOp;

/* One direction or both of one layer. Flags are 0 or 1; strides in elements, 0: packed rows
 * [step, batch, features] (a packed batch: [token, features]). */
typedef struct RnnKernelDesc {
    size_t size;
    RnnOp op;
    int gru; /* 1: GRU, 0: LSTM */
    seqtune_dtype dtype;
    int64_t batch;
    int64_t input; /* elements of a row of x, both parts */
    int64_t hidden;
    int64_t projection; /* 0: none */
    int64_t steps;
    int64_t directions; /* 1, 2 */
    int64_t parts;      /* of x: 1, 2 */
    int packed;         /* cu_seqlens */
    int lengths;        /* lens */
    int peephole, layer_norm, reset_before, store_gates;
    int clip; /* args.cell_clip is used */
    int64_t x_stride_step, x_stride_batch, y_stride_step, y_stride_batch;
    int64_t order_steps; /* take the configuration of a plan of so many; 0: of `steps` */
} RnnKernelDesc;

typedef struct PlanDesc {
    PlanKind kind;
    union {
        seqtune_attention_desc attention;
        seqtune_merge_desc merge;
        seqtune_kv_desc kv;
        seqtune_rope_desc rope;
        seqtune_rnn_desc rnn;
        RnnKernelDesc rnn_kernel;
    } u;
} PlanDesc;

/* The spec's problem for a description, checked; ST_UNSUPPORTED or ST_INVALID with the field. */
Status plan_problem(const GenSpec *spec, const PlanDesc *desc, GenProblem *out, Error *err);

/* The packed description of a problem (a workload's, a test's). */
Status plan_desc_of_problem(const GenProblem *problem, PlanDesc *out, Error *err);

/* How launches of the context's plans run from now on (driver_set_mode). */
Status plan_set_mode(seqtune_context *ctx, LaunchMode mode, Error *err);

/* `spec_name` NULL: the family's own spec; "attn_naive" takes an attention description.
 * `forced` NULL: the dispatch ladder decides. *out is released with seqtune_plan_destroy. */
Status plan_create(seqtune_context *ctx, const char *spec_name, const PlanDesc *desc,
                   const GenConfig *forced, seqtune_plan **out, Error *err);

/* ST_OK when some configuration is legal for desc on ctx's GPU; compiles nothing. */
Status plan_supported(seqtune_context *ctx, const PlanDesc *desc, Error *err);

/* What a plan was made of, for the tuner and tests. Owned by the plan or context. */
const GenProblem *plan_get_problem(const seqtune_plan *plan);
const GenConfig *plan_get_config(const seqtune_plan *plan);

#endif
