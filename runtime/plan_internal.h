/* A plan from inside, and what a family of kernels adds to it.
 *
 * Invariant: a plan is immutable once plan_create returned it; its run function reads only the
 * plan, its arguments and the driver table. */
#ifndef SEQTUNE_RUNTIME_PLAN_INTERNAL_H
#define SEQTUNE_RUNTIME_PLAN_INTERNAL_H

#include "runtime/dispatch.h"
#include "runtime/params/types.h"
#include "runtime/params/attn.h"
#include "runtime/params/rope.h"
#include "runtime/plan.h"

typedef union PlanParams {
    AttnParams attn;
    RopeParams rope;
} PlanParams;

struct seqtune_plan {
    seqtune_context *ctx;
    PlanDesc desc;      /* normalised: defaults and strides filled in */
    GenProblem problem; /* at the description's maxima */
    DispatchChoice choice;
    GenLaunch launches[GEN_MAX_STEPS];
    size_t count; /* 0: the problem is empty and nothing is ever launched */
    int64_t workspace;
    PlanParams params;    /* all but what run is given */
    LoadedKernel *kernel; /* NULL when count is 0 */
    Arena *arena;         /* owns the texts */
    const char *pipeline, *config_text, *problem_text, *key_text;
};

typedef struct PlanFamily {
    const char *params; /* what its specs name: runtime/params/NAME.h */
    /* The specs that may serve a normalised description, best first, NULL-terminated: a plan takes
     * the first that does. */
    const char *const *(*specs)(const PlanDesc *desc);
    /* Checks every field and fills in defaults and packed strides. */
    Status (*normalise)(const PlanDesc *desc, PlanDesc *out, Error *err);
    /* From a normalised description to the dimensions, before gen_problem_check. */
    Status (*set_problem)(const PlanDesc *desc, GenProblem *out, Error *err);
    Status (*describe)(const GenProblem *problem, PlanDesc *out, Error *err);
    void (*set_params)(const PlanDesc *desc, PlanParams *out);
    /* Where descriptions must share one configuration: turns their problem into the one for which
     * it is chosen. NULL: each has its own. */
    Status (*canonical)(const PlanDesc *desc, GenProblem *problem, Error *err);
} PlanFamily;

/* The most queries per sequence for which attention takes a kernel that splits the keys. */
enum { PLAN_DECODE_QUERIES = 16 };

const PlanFamily *attention_family(void);
const PlanFamily *rope_family(void);

/* One field of a description: a range, and what 0 means. */
typedef struct PlanField {
    const char *name;
    size_t offset; /* of an int64_t */
    int64_t min, max;
    bool required;    /* 0 is an error */
    bool length;      /* SEQTUNE_LENGTH_ZERO stands for 0 */
    size_t fallback;  /* offset of the int64_t whose value replaces 0; SIZE_MAX: none */
    const char *what; /* for the message: "number of query heads" */
} PlanField;

/* Checks and completes the int64_t fields of the struct at `base` in the order of the table. */
Status plan_check_fields(void *base, const PlanField *fields, size_t n, const char *what,
                         Error *err);

/* "SIZE_INIT": the size check of a struct that begins with its size. */
Status plan_check_size(const char *name, size_t got, size_t want, const char *init, Error *err);

/* A strided tensor for messages and checks: count[i] steps of stride[i], slowest first. */
typedef struct PlanTensor {
    const char *name;
    const char *axis[3];
    int64_t count[3];
    int64_t *stride[3];
    int dims;
    int64_t row;   /* contiguous elements of the last dimension */
    int64_t align; /* strides are multiples of this */
    bool written;  /* no two rows may overlap */
} PlanTensor;

/* Fills in packed strides where they are 0, checks the others. */
Status plan_check_tensor(const PlanTensor *tensor, Error *err);

Status plan_check_pointer(const char *name, seqtune_device_ptr address, int align, Error *err);

/* Run time: launches `count` steps with a copy of the parameters. */
Status plan_launch(const seqtune_plan *plan, const GenLaunch *launches, size_t count,
                   PlanParams *params, seqtune_stream stream, Error *err);

/* The launches for smaller lengths than the plan's: `names` are dimensions, `values` theirs.
 * Returns the plan's own when nothing differs, else fills `space`. No allocation. */
Status plan_launches_for(const seqtune_plan *plan, const char *const *names, const int64_t *values,
                         size_t n, GenLaunch space[GEN_MAX_STEPS], const GenLaunch **out,
                         size_t *count, Error *err);

Status plan_check_workspace(const seqtune_plan *plan, seqtune_device_ptr workspace, Error *err);

#endif
