/* One kernel of a recurrent layer: description <-> problem <-> parameters, and the arguments of a
 * run. Inside the library only: seqtune_plan_rnn (runtime/rnn.c) is composed of such plans.
 *
 * What it does not do: choose between kernels, place weights or carry states between launches. */
#include <stddef.h>
#include <string.h>

#include "base/round.h"
#include "runtime/plan_internal.h"
#include "runtime/rnn.h"

typedef RnnKernelDesc Desc;

static int64_t state_of(const Desc *d) {
    return d->projection > 0 ? d->projection : d->hidden;
}

/* ---- description ---- */

#define FIELD(field, low, high, required, text)                                                    \
    { #field, offsetof(Desc, field), low, high, required, false, SIZE_MAX, text }

static const PlanField fields[] = {
    FIELD(batch, 1, RNN_MAX_BATCH, true, "number of sequences"),
    FIELD(input, 0, 2 * RNN_MAX_SIZE, false, "elements of an input row"),
    FIELD(hidden, 1, RNN_MAX_SIZE, true, "number of units"),
    FIELD(projection, 0, RNN_MAX_SIZE, false, "elements of the projected state"),
    FIELD(steps, 0, 0x7fffffff, false, "steps of a run"),
    FIELD(directions, 1, 2, true, "directions"),
    FIELD(parts, 1, 2, true, "parts of an input row"),
};

static Status check_op(const Desc *d, Error *err) {
    const char *op = d->op == RNN_INPUT ? "rnn_input" : d->op == RNN_SEQ ? "rnn_seq" : "rnn_cell";
    if (d->op == RNN_INPUT && d->input == 0)
        return err_set(err, ST_INVALID, "%s: input is 0: there is nothing to project", op);
    if (d->op == RNN_SEQ && d->input != 0)
        return err_set(err, ST_INVALID, "%s: input is %lld: steps of a sequence take pre, not x",
                       op, (long long)d->input);
    if (d->op == RNN_CELL && d->steps != 1)
        return err_set(err, ST_INVALID, "%s: steps is %lld: must be 1", op, (long long)d->steps);
    if (d->input % d->parts != 0)
        return err_set(err, ST_INVALID, "%s: input %lld is not %lld parts of one length", op,
                       (long long)d->input, (long long)d->parts);
    if (d->gru && (d->projection != 0 || d->peephole || d->clip))
        return err_set(err, ST_INVALID,
                       "%s: projection, peephole and clip are an LSTM's, the cell is a GRU", op);
    if (!d->gru && d->reset_before)
        return err_set(err, ST_INVALID, "%s: reset_before is a GRU's, the cell is an LSTM", op);
    return ST_OK;
}

/* A row of x: parts at multiples of RNN_PITCH, the last without padding. */
static int64_t x_row(const Desc *d) {
    const int64_t part = d->input / d->parts;
    return (d->parts - 1) * round_up(part, RNN_PITCH) + part;
}

static Status check_strides(Desc *d, Error *err) {
    PlanTensor tensors[] = {
        {"x",
         {"step", "batch"},
         {d->steps, d->batch},
         {&d->x_stride_step, &d->x_stride_batch},
         2,
         x_row(d),
         1,
         false},
        /* Not "written": the two directions of a layer share rows. */
        {"y",
         {"step", "batch"},
         {d->steps, d->batch},
         {&d->y_stride_step, &d->y_stride_batch},
         2,
         d->directions * state_of(d),
         1,
         false},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < 2 && st == ST_OK; i++) {
        if (d->packed) { /* rows one after the other: "step" is the token */
            tensors[i].count[1] = 1;
            *tensors[i].stride[1] = tensors[i].row;
        }
        st = plan_check_tensor(&tensors[i], err);
    }
    return st;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    Desc *d = &out->u.rnn_kernel;
    Status st = plan_check_size("rnn kernel description", d->size, sizeof *d, "its size", err);
    if (st != ST_OK) return st;
    const PlanEnum enums[] = {
        {"op", (int)d->op, RNN_OPS - 1, "RNN_INPUT, RNN_SEQ or RNN_CELL"},
        {"gru", d->gru, 1, "0 or 1"},
        {"dtype", (int)d->dtype, SEQTUNE_F32, "SEQTUNE_F16, SEQTUNE_BF16 or SEQTUNE_F32"},
        {"packed", d->packed, 1, "0 or 1"},
        {"lengths", d->lengths, 1, "0 or 1"},
        {"peephole", d->peephole, 1, "0 or 1"},
        {"layer_norm", d->layer_norm, 1, "0 or 1"},
        {"reset_before", d->reset_before, 1, "0 or 1"},
        {"store_gates", d->store_gates, 1, "0 or 1"},
        {"clip", d->clip, 1, "0 or 1"},
    };
    if (d->directions == 0) d->directions = 1;
    if (d->parts == 0) d->parts = 1;
    if (d->dtype == SEQTUNE_DTYPE_DEFAULT) d->dtype = SEQTUNE_F16;
    st = plan_check_enums(enums, sizeof enums / sizeof enums[0], err);
    if (st == ST_OK)
        st = plan_check_fields(d, fields, sizeof fields / sizeof fields[0], "rnn kernel", err);
    if (st == ST_OK) st = check_op(d, err);
    return st == ST_OK ? check_strides(d, err) : st;
}

/* ---- problem ---- */

/* What vector accesses to rows of x may use: the largest of 8, 4, 2, 1 elements that divides the
 * strides. Packed rows have one, that of tokens. */
static int64_t alignment(const Desc *d) {
    const int64_t all = d->x_stride_step | (d->packed ? 0 : d->x_stride_batch) | 8;
    return all & -all;
}

static const char *dtype_word(seqtune_dtype dtype) {
    return dtype == SEQTUNE_F32 ? "f32" : dtype == SEQTUNE_BF16 ? "bf16" : "f16";
}

static bool has_dim(const GenProblem *problem, const char *name) {
    int64_t unused = 0;
    return gen_problem_get(problem, name, &unused);
}

/* A dimension that a spec may lack: then only `none` is served, unless the operation has no use
 * for it. */
static Status set_optional(GenProblem *out, const char *name, int64_t value, bool used,
                           Error *err) {
    if (has_dim(out, name)) return gen_problem_set(out, name, value, err);
    if (value == 0 || !used) return ST_OK;
    return err_set(err, ST_UNSUPPORTED, "%s has no %s", gen_spec_name(out->spec), name);
}

static Status set_word(GenProblem *out, const char *name, const char *word, const char *none,
                       bool used, Error *err) {
    if (has_dim(out, name)) return gen_problem_set_word(out, name, word, err);
    if (strcmp(word, none) == 0 || !used) return ST_OK;
    return err_set(err, ST_UNSUPPORTED, "%s has no %s = '%s'", gen_spec_name(out->spec), name,
                   word);
}

static const char *lengths_word(const Desc *d) {
    return d->packed ? "packed" : d->lengths ? "padded" : "none";
}

static Status set_problem(const PlanDesc *desc, GenProblem *out, Error *err) {
    const Desc *d = &desc->u.rnn_kernel;
    const bool steps = d->op != RNN_INPUT; /* the input projection knows nothing of the cell */
    const struct {
        const char *name;
        int64_t value;
        bool used;
    } dims[] = {
        {"hidden", d->hidden, true},
        {"input", d->input, true},
        {"parts", d->parts, d->parts > 1},
        {"projection", d->projection, steps},
        {"peephole", d->peephole, steps},
        {"layer_norm", d->layer_norm, steps},
        {"store_gates", d->store_gates, steps},
        {"clip", d->clip, steps},
        {"batch", d->batch, true},
        {"steps", d->steps, d->op != RNN_CELL},
        {"directions", d->directions, d->directions > 1},
        {"align", alignment(d), false},
        {"fused", d->input > 0, false},
    };
    Status st = gen_problem_set_word(out, "cell", d->gru ? "gru" : "lstm", err);
    if (st == ST_OK) st = gen_problem_set_word(out, "dtype", dtype_word(d->dtype), err);
    if (st == ST_OK)
        st = set_word(out, "reset", d->reset_before ? "before" : "after", "after", steps, err);
    if (st == ST_OK) st = set_word(out, "lengths", lengths_word(d), "none", true, err);
    for (size_t i = 0; i < sizeof dims / sizeof dims[0] && st == ST_OK; i++)
        st = set_optional(out, dims[i].name, dims[i].value, dims[i].used, err);
    return st;
}

static Status op_of(const GenProblem *problem, RnnOp *out, Error *err) {
    static const char *const names[RNN_OPS] = {"rnn_input", "rnn_seq", "rnn_cell"};
    const char *reference = gen_spec_reference(problem->spec);
    for (int op = 0; op < RNN_OPS; op++)
        if (strcmp(reference, names[op]) == 0) {
            *out = (RnnOp)op;
            return ST_OK;
        }
    return err_set(err, ST_INVALID,
                   "%s takes rnn parameters, its verify.reference '%s' is none of rnn_input, "
                   "rnn_seq, rnn_cell",
                   gen_spec_name(problem->spec), reference);
}

static int64_t dim_or(const GenProblem *problem, const char *name, int64_t other) {
    return has_dim(problem, name) ? plan_dim(problem, name) : other;
}

/* Rows of x whose strides have exactly the problem's alignment. */
static void align_strides(Desc *d, const GenProblem *problem) {
    const int64_t align = dim_or(problem, "align", 1);
    d->x_stride_batch = round_up(x_row(d), align);
    if (align < 8 && d->x_stride_batch % (2 * align) == 0) d->x_stride_batch += align;
    d->x_stride_step = d->packed ? d->x_stride_batch : d->batch * d->x_stride_batch;
}

static Status describe(const GenProblem *problem, PlanDesc *out, Error *err) {
    *out = (PlanDesc){.kind = PLAN_RNN_KERNEL};
    Desc *d = &out->u.rnn_kernel;
    d->size = sizeof *d;
    const Status st = op_of(problem, &d->op, err);
    d->gru = plan_dim_is(problem, "cell", "gru");
    d->dtype = plan_dim_is(problem, "dtype", "f32")    ? SEQTUNE_F32
               : plan_dim_is(problem, "dtype", "bf16") ? SEQTUNE_BF16
                                                       : SEQTUNE_F16;
    d->batch = plan_dim(problem, "batch");
    d->input = dim_or(problem, "fused", 1) ? plan_dim(problem, "input") : 0;
    d->hidden = plan_dim(problem, "hidden");
    d->projection = plan_dim(problem, "projection");
    d->steps = d->op == RNN_CELL ? 1 : plan_dim(problem, "steps");
    d->directions = dim_or(problem, "directions", 1);
    d->parts = dim_or(problem, "parts", 1);
    d->packed = plan_dim_is(problem, "lengths", "packed");
    d->lengths = plan_dim_is(problem, "lengths", "padded");
    d->peephole = plan_dim(problem, "peephole") != 0;
    d->layer_norm = plan_dim(problem, "layer_norm") != 0;
    d->reset_before = plan_dim_is(problem, "reset", "before");
    d->store_gates = plan_dim(problem, "store_gates") != 0;
    d->clip = plan_dim(problem, "clip") != 0;
    if (st == ST_OK && d->input > 0) align_strides(d, problem);
    return st;
}

/* A plan of one step that must have the bits of a longer one has its configuration. */
static Status canonical(const PlanDesc *desc, GenProblem *problem, Error *err) {
    const int64_t steps = desc->u.rnn_kernel.order_steps;
    if (steps == 0 || !has_dim(problem, "steps")) return ST_OK;
    const Status st = gen_problem_set(problem, "steps", steps, err);
    return st != ST_OK ? st : gen_problem_check(problem, err);
}

static void set_params(const PlanDesc *desc, PlanParams *out) {
    const Desc *d = &desc->u.rnn_kernel;
    out->rnn = (RnnParams){
        .x_step = d->x_stride_step,
        .x_batch = d->x_stride_batch,
        .y_step = d->y_stride_step,
        .y_batch = d->y_stride_batch,
        .batch = (int)d->batch,
        .hidden = (int)d->hidden,
        .state = (int)state_of(d),
        .input = (int)d->input,
        .parts = (int)d->parts,
    };
}

static void set_round(PlanParams *params, int64_t round) {
    params->rnn.round = (int)round;
}

/* ---- the arguments of a run ---- */

static Status check_direction(const Desc *d, const RnnDirection *a, Error *err) {
    const bool input = d->op == RNN_INPUT, x = d->input > 0;
    const int element = d->dtype == SEQTUNE_F32 ? 4 : 2;
    const int64_t h = (state_of(d) * element) | 16; /* rows of h are read in pieces of so many */
    const int h_align = (int)(h & -h);
    const PlanArray rows[] = {
        {"w", a->w, 16, x, false, "input"},
        {"r", a->r, 16, !input, false, "steps"},
        {"bias", a->bias, 16, false, true, NULL},
        {"hidden_bias", a->hidden_bias, 16, !input && d->gru && !d->reset_before, true, NULL},
        {"peephole", a->peephole, 16, !input && d->peephole, false, "peephole = 1"},
        {"projection", a->projection, 16, !input && d->projection > 0, false, "projection"},
        {"norm", a->norm, 16, !input && d->layer_norm, false, "layer_norm = 1"},
        {"h_in", a->h_in, h_align, false, !input, "steps"},
        {"c_in", a->c_in, 4, false, !input && !d->gru, "LSTM"},
        {"h_out", a->h_out, h_align, false, !input, "steps"},
        {"c_out", a->c_out, 4, false, !input && !d->gru, "LSTM"},
        {"y", a->y, element, false, !input, "steps"},
        {"gates", a->gates, 16, !input && d->store_gates, false, "store_gates = 1"},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = plan_check_array(&rows[i], err);
    return st;
}

/* Vector accesses go by the strides' alignment. */
static int x_align(const Desc *d) {
    const int64_t bytes = alignment(d) * (d->dtype == SEQTUNE_F32 ? 4 : 2);
    return bytes < 16 ? (int)bytes : 16;
}

static Status check_args(const Desc *d, const RnnKernelArgs *a, Error *err) {
    const PlanArray rows[] = {
        {"x", a->x, x_align(d), d->input > 0, false, "input"},
        {"pre", a->pre, 16, d->op != RNN_CELL || d->input == 0, false, "given pre-activations"},
        {"lens", a->lens, 4, d->lengths, false, "lengths = 1"},
        {"cu_seqlens", a->cu_seqlens, 4, d->packed, false, "packed = 1"},
        {"error", a->error, 4, false, true, NULL},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = plan_check_array(&rows[i], err);
    for (int64_t k = 0; k < d->directions && st == ST_OK; k++)
        st = check_direction(d, &a->dir[k], err);
    return st;
}

static Status take_args(const seqtune_plan *plan, const void *given, seqtune_device_ptr workspace,
                        PlanCall *call, Error *err) {
    const Desc *d = &plan->desc.u.rnn_kernel;
    const RnnKernelArgs *a = given;
    Status st = plan_take_length("steps", a->steps, d->steps, &call->length[0], err);
    call->empty = st == ST_OK && call->length[0] == 0;
    if (st != ST_OK || call->empty) return st;
    if (a->first_step < 0 || a->first_step + call->length[0] > INT32_MAX)
        return err_set(err, ST_INVALID, "first_step %lld + steps %lld is not 0..%d",
                       (long long)a->first_step, (long long)call->length[0], INT32_MAX);
    st = check_args(d, a, err);
    if (st != ST_OK) return st;
    call->whole = !has_dim(&plan->problem, "steps");
    RnnParams *p = &call->params.rnn;
    memcpy(p->dir, a->dir, sizeof p->dir);
    p->x = a->x;
    p->pre = a->pre;
    p->lens = a->lens;
    p->cu_seqlens = a->cu_seqlens;
    p->workspace = workspace;
    p->error = a->error;
    p->steps = (int)call->length[0];
    p->first_step = (int)a->first_step;
    p->total_steps = a->total_steps > 0 ? (int)a->total_steps : p->first_step + p->steps;
    p->reverse = a->reverse;
    p->cell_clip = a->cell_clip;
    p->norm_eps = a->norm_eps > 0 ? a->norm_eps : 1e-5f;
    p->spin_limit = a->spin_limit > 0 ? a->spin_limit : RNN_SPIN_LIMIT;
    return ST_OK;
}

static const char *const *specs(const PlanDesc *desc) {
    static const char *const names[RNN_OPS][2] = {
        {"rnn_input", NULL}, {"rnn_seq", NULL}, {"rnn_cell", NULL}};
    return names[desc->u.rnn_kernel.op];
}

const PlanFamily *rnn_kernel_family(void) {
    static const char *const lengths[] = {"steps"};
    static const PlanFamily family = {
        .name = "rnn_kernel",
        .params = "rnn",
        .desc_size = sizeof(RnnKernelDesc),
        .args_size = sizeof(RnnKernelArgs),
        .args_init = "its size",
        .lengths = lengths,
        .length_count = 1,
        .specs = specs,
        .normalise = normalise,
        .set_problem = set_problem,
        .describe = describe,
        .set_params = set_params,
        .canonical = canonical,
        .take_args = take_args,
        .set_round = set_round,
    };
    return &family;
}
