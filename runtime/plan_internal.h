/* A plan from inside, and what a family of kernels adds to it.
 *
 * Invariant: a plan is immutable once plan_create returned it; its run function reads only the
 * plan, its arguments and the driver table. */
#ifndef SEQTUNE_RUNTIME_PLAN_INTERNAL_H
#define SEQTUNE_RUNTIME_PLAN_INTERNAL_H

#include "runtime/dispatch.h"
#include "runtime/params/types.h"
#include "runtime/params/attn.h"
#include "runtime/params/kv.h"
#include "runtime/params/merge.h"
#include "runtime/params/rnn.h"
#include "runtime/params/rope.h"
#include "runtime/plan.h"

typedef union PlanParams {
    AttnParams attn;
    MergeParams merge;
    KvParams kv;
    RopeParams rope;
    RnnParams rnn;
} PlanParams;

enum { PLAN_MAX_CHILDREN = 7 };

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
    /* A composed plan has these in place of a kernel of its own. */
    seqtune_plan *child[PLAN_MAX_CHILDREN]; /* owned; NULL: none */
    const seqtune_plan *shown;              /* the child whose problem and figures it shows */
    const struct RnnWork *rnn;
};

/* One run in the making. */
typedef struct PlanCall {
    PlanParams params; /* begins as the plan's */
    int64_t length[2]; /* parallel to the family's `lengths` */
    bool empty;        /* nothing to do */
    bool whole;        /* the plan's own grid, whatever the lengths */
} PlanCall;

typedef struct PlanFamily {
    const char *name;   /* of the public functions: "rope" in seqtune_plan_rope */
    const char *params; /* what its specs name: runtime/params/NAME.h */
    size_t desc_size, args_size;
    const char *args_init;      /* "SEQTUNE_ROPE_ARGS_INIT", for messages */
    const char *const *lengths; /* dimensions that a run may make smaller */
    size_t length_count;
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
    /* Checks the arguments of a run (a struct of args_size) and completes *call. */
    Status (*take_args)(const seqtune_plan *plan, const void *args, seqtune_device_ptr workspace,
                        PlanCall *call, Error *err);
    /* Tells the kernels of a launch step with rounds which one they are; NULL: no spec of the
     * family has rounds. */
    void (*set_round)(PlanParams *params, int64_t round);
    /* A family of composed plans has, of the above, normalise only, and these; `compose` fills in
     * the children, `supported` takes a normalised description. */
    Status (*supported)(seqtune_context *ctx, const PlanDesc *desc, Error *err);
    Status (*compose)(seqtune_plan *plan, Error *err);
    Status (*run)(const seqtune_plan *plan, const void *args, seqtune_device_ptr workspace,
                  seqtune_stream stream, Error *err);
    /* What SEQTUNE_CHECKED asks for, and what the software GPU looks at always; NULL: the family
     * has no such tables. */
    Status (*check_tables)(const seqtune_plan *plan, const PlanCall *call, seqtune_stream stream,
                           Error *err);
} PlanFamily;

/* The arguments of a kernel of the rnn family: what RnnParams has and the description has not. */
typedef struct RnnKernelArgs {
    size_t size;
    RnnDirection dir[2];
    seqtune_device_ptr x, pre, lens, cu_seqlens, error;
    int64_t steps; /* of this launch; 0: the description's */
    int64_t first_step;
    int64_t total_steps; /* of the whole sequence; 0: first_step + steps */
    int reverse;         /* bit per direction */
    float cell_clip;
    float norm_eps;      /* 0: 1e-5 */
    unsigned spin_limit; /* 0: RNN_SPIN_LIMIT */
} RnnKernelArgs;

/* Polls of a wait before it gives up. A poll is a round trip to L2, some 0.3 to 1 us: seconds in
 * all, which no step comes near, and less than what a display's watchdog allows a kernel (5 s). */
enum { RNN_SPIN_LIMIT = 1 << 22 };

/* The run of one kernel, as a family's public run function is. */
Status plan_run_rnn_kernel(const seqtune_plan *plan, const RnnKernelArgs *args,
                           seqtune_device_ptr workspace, seqtune_stream stream, Error *err);

/* The most queries per sequence for which attention takes a kernel that splits the keys. */
enum { PLAN_DECODE_QUERIES = 16 };

const PlanFamily *attention_family(void);
const PlanFamily *merge_family(void);
const PlanFamily *kv_family(void);
const PlanFamily *rope_family(void);
const PlanFamily *rnn_family(void);
const PlanFamily *rnn_kernel_family(void);
const PlanFamily *plan_family(PlanKind kind);

Status attention_take_args(const seqtune_plan *plan, const void *args, seqtune_device_ptr workspace,
                           PlanCall *call, Error *err);

/* A length argument: 0 is the plan's, SEQTUNE_LENGTH_ZERO is 0. */
Status plan_take_length(const char *name, int64_t given, int64_t max, int64_t *out, Error *err);

/* A device array of the arguments: wanted, allowed or forbidden by the description. */
typedef struct PlanArray {
    const char *name;
    seqtune_device_ptr address;
    int align;
    bool wanted, optional;
    const char *when; /* what the description would have to say */
} PlanArray;

Status plan_check_array(const PlanArray *array, Error *err);

/* An enumerator's range, or that of a flag. */
typedef struct PlanEnum {
    const char *name;
    int value, max;
    const char *names; /* for the message: "0 or 1" */
} PlanEnum;

Status plan_check_enums(const PlanEnum *rows, size_t n, Error *err);

/* A dimension of a problem; 0 when the spec has none of this name. */
int64_t plan_dim(const GenProblem *problem, const char *name);
bool plan_dim_is(const GenProblem *problem, const char *name, const char *word);

/* Sets dimensions in the order of the table. */
typedef struct PlanDim {
    const char *name;
    int64_t value;
} PlanDim;

Status plan_set_dims(GenProblem *out, const PlanDim *dims, size_t n, Error *err);

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

/* [token, head, row] with two strides, as most families have them. */
PlanTensor plan_rows(const char *name, int64_t tokens, int64_t *stride_token, int64_t heads,
                     int64_t *stride_head, int64_t row, int64_t align, bool written);

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
