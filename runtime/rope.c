/* RoPE: description <-> problem <-> parameters, the table builder, and the arguments of a run. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/round.h"
#include "runtime/plan_internal.h"

typedef seqtune_rope_desc Desc;

#define FIELD(field, low, required, length, fallback, text)                                        \
    { #field, offsetof(Desc, field), low, 0x7fffffff, required, length, fallback, text }

static const PlanField fields[] = {
    FIELD(max_tokens, 0, true, true, SIZE_MAX, "largest number of tokens"),
    FIELD(heads, 1, true, false, SIZE_MAX, "number of heads"),
    FIELD(head_dim, 2, true, false, SIZE_MAX, "elements per head"),
    FIELD(rotary_dim, 2, false, false, offsetof(Desc, head_dim), "rotated elements per head"),
    FIELD(rotary_offset, 0, false, false, SIZE_MAX, "first rotated element"),
    FIELD(table_rows, 1, true, false, SIZE_MAX, "positions the tables hold"),
};

static Status check_strides(Desc *d, Error *err) {
    int64_t half = d->rotary_dim / 2;
    const PlanTensor tensors[] = {
        plan_rows("x", d->max_tokens, &d->x_stride_token, d->heads, &d->x_stride_head, d->head_dim,
                  1, false),
        plan_rows("out", d->max_tokens, &d->out_stride_token, d->heads, &d->out_stride_head,
                  d->head_dim, 1, true),
        {"table", {"row"}, {d->table_rows}, {&d->table_stride}, 1, half, 1, false},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        Status st = plan_check_tensor(&tensors[i], err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    Desc *d = &out->u.rope;
    Status st =
        plan_check_size("rope description", d->size, sizeof *d, "SEQTUNE_ROPE_DESC_INIT", err);
    if (st == ST_OK)
        st = plan_check_fields(d, fields, sizeof fields / sizeof fields[0], "rope", err);
    if (st != ST_OK) return st;
    const PlanEnum enums[] = {
        {"dtype", (int)d->dtype, SEQTUNE_BF16, "SEQTUNE_F16 or SEQTUNE_BF16"},
        {"style", (int)d->style, SEQTUNE_ROPE_INTERLEAVED,
         "SEQTUNE_ROPE_NEOX or SEQTUNE_ROPE_INTERLEAVED"},
    };
    st = plan_check_enums(enums, sizeof enums / sizeof enums[0], err);
    if (st != ST_OK) return st;
    if (d->rotary_dim % 2 != 0)
        return err_set(err, ST_INVALID, "rotary_dim is %lld: must be even",
                       (long long)d->rotary_dim);
    if (d->rotary_offset + d->rotary_dim > d->head_dim)
        return err_set(
            err, ST_INVALID, "rotary_offset %lld + rotary_dim %lld is above head_dim %lld",
            (long long)d->rotary_offset, (long long)d->rotary_dim, (long long)d->head_dim);
    if (d->dtype == SEQTUNE_DTYPE_DEFAULT) d->dtype = SEQTUNE_F16;
    return check_strides(d, err);
}

/* Largest of 8, 4, 2, 1 that divides the offset and every stride: what vector accesses may use. */
static int64_t alignment(const Desc *d) {
    int64_t all = d->rotary_offset | d->x_stride_token | d->x_stride_head | d->out_stride_token |
                  d->out_stride_head | d->table_stride | 8;
    return all & -all;
}

static Status set_problem(const PlanDesc *desc, GenProblem *out, Error *err) {
    const Desc *d = &desc->u.rope;
    Status st = gen_problem_set_word(out, "dtype", d->dtype == SEQTUNE_BF16 ? "bf16" : "f16", err);
    if (st == ST_OK)
        st = gen_problem_set_word(
            out, "style", d->style == SEQTUNE_ROPE_INTERLEAVED ? "interleaved" : "neox", err);
    const PlanDim dims[] = {
        {"head_dim", d->head_dim},
        {"rotary_dim", d->rotary_dim},
        {"rotary_offset", d->rotary_offset},
        {"tokens", d->max_tokens},
        {"heads", d->heads},
        {"align", alignment(d)},
    };
    return st != ST_OK ? st : plan_set_dims(out, dims, sizeof dims / sizeof dims[0], err);
}

/* Strides of exactly the problem's alignment, packed where packed has it. */
static void align_strides(Desc *d, int64_t align) {
    d->x_stride_head = d->out_stride_head = round_up(d->head_dim, align);
    d->x_stride_token = d->out_stride_token = d->heads * d->x_stride_head;
    d->table_stride = round_up(d->rotary_dim / 2, align);
    if (alignment(d) > align) d->x_stride_token += align;
}

static Status describe(const GenProblem *problem, PlanDesc *out, Error *err) {
    enum { DEFAULT_ROWS = 8192 };
    *out = (PlanDesc){.kind = PLAN_ROPE, .u.rope = SEQTUNE_ROPE_DESC_INIT};
    Desc *d = &out->u.rope;
    int64_t tokens = plan_dim(problem, "tokens"), align = plan_dim(problem, "align");
    d->dtype = plan_dim_is(problem, "dtype", "bf16") ? SEQTUNE_BF16 : SEQTUNE_F16;
    d->style =
        plan_dim_is(problem, "style", "interleaved") ? SEQTUNE_ROPE_INTERLEAVED : SEQTUNE_ROPE_NEOX;
    d->max_tokens = tokens == 0 ? SEQTUNE_LENGTH_ZERO : tokens;
    d->heads = plan_dim(problem, "heads");
    d->head_dim = plan_dim(problem, "head_dim");
    d->rotary_dim = plan_dim(problem, "rotary_dim");
    d->rotary_offset = plan_dim(problem, "rotary_offset");
    d->table_rows = tokens > DEFAULT_ROWS ? tokens : DEFAULT_ROWS;
    align_strides(d, align > 0 ? align : 1);
    if (align > 0 && alignment(d) != align)
        return err_set(err, ST_INVALID, "align is %lld, but rotary_offset %lld allows %lld only",
                       (long long)align, (long long)d->rotary_offset, (long long)alignment(d));
    return ST_OK;
}

static void set_params(const PlanDesc *desc, PlanParams *out) {
    const Desc *d = &desc->u.rope;
    out->rope = (RopeParams){
        .x_token = d->x_stride_token,
        .x_head = d->x_stride_head,
        .out_token = d->out_stride_token,
        .out_head = d->out_stride_head,
        .table_stride = d->table_stride,
        .heads = (int)d->heads,
        .rotary_offset = (int)d->rotary_offset,
        .table_rows = (int)d->table_rows,
    };
}

/* ---- the arguments of a run ---- */

static Status check_args(const seqtune_plan *plan, const seqtune_rope_args *args, int64_t *tokens,
                         Error *err) {
    const Desc *d = &plan->desc.u.rope;
    Status st = plan_take_length("tokens", args->tokens, d->max_tokens, tokens, err);
    if (st != ST_OK || *tokens == 0) return st;
    const struct {
        const char *name;
        seqtune_device_ptr address;
    } pointers[] = {{"x", args->x}, {"out", args->out}, {"cos", args->cos}, {"sin", args->sin}};
    for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++) {
        st = plan_check_pointer(pointers[i].name, pointers[i].address, 16, err);
        if (st != ST_OK) return st;
    }
    if (args->x == args->out &&
        (d->x_stride_token != d->out_stride_token || d->x_stride_head != d->out_stride_head))
        return err_set(err, ST_INVALID,
                       "out is x, but their strides differ: in place needs equal strides");
    if (args->positions != 0) return plan_check_pointer("positions", args->positions, 8, err);
    if (args->first_position < 0)
        return err_set(err, ST_INVALID, "first_position is %lld: must be at least 0",
                       (long long)args->first_position);
    if (args->first_position > d->table_rows - *tokens)
        return err_set(
            err, ST_INVALID, "first_position %lld + tokens %lld is above table_rows %lld",
            (long long)args->first_position, (long long)*tokens, (long long)d->table_rows);
    return ST_OK;
}

static Status take_args(const seqtune_plan *plan, const void *given, seqtune_device_ptr workspace,
                        PlanCall *call, Error *err) {
    (void)workspace; /* RoPE uses none */
    const seqtune_rope_args *args = given;
    Status st = check_args(plan, args, &call->length[0], err);
    if (st != ST_OK) return st;
    call->empty = call->length[0] == 0;
    RopeParams *p = &call->params.rope;
    p->x = args->x;
    p->out = args->out;
    p->cos = args->cos;
    p->sin = args->sin;
    p->positions = args->positions;
    p->first_position = args->first_position;
    p->tokens = (int)call->length[0];
    return ST_OK;
}

static const char *const *specs(const PlanDesc *desc) {
    static const char *const names[] = {"rope", NULL};
    (void)desc;
    return names;
}

const PlanFamily *rope_family(void) {
    static const char *const lengths[] = {"tokens"};
    static const PlanFamily family = {
        .name = "rope",
        .params = "rope",
        .desc_size = sizeof(seqtune_rope_desc),
        .args_size = sizeof(seqtune_rope_args),
        .args_init = "SEQTUNE_ROPE_ARGS_INIT",
        .lengths = lengths,
        .length_count = 1,
        .specs = specs,
        .normalise = normalise,
        .set_problem = set_problem,
        .describe = describe,
        .set_params = set_params,
        .take_args = take_args,
    };
    return &family;
}

/* ---- tables ---- */

seqtune_status seqtune_rope_table(int64_t rows, int64_t rotary_dim, double theta, float *cos_out,
                                  float *sin_out) {
    if (rows < 0 || rotary_dim < 2 || rotary_dim % 2 != 0 || !(theta > 0) || !isfinite(theta) ||
        (rows > 0 && (cos_out == NULL || sin_out == NULL)))
        return SEQTUNE_INVALID;
    int64_t half = rotary_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        /* The phase in double: float loses a radian's third digit at position 10^5. */
        double frequency = pow(theta, -2.0 * (double)i / (double)rotary_dim);
        for (int64_t row = 0; row < rows; row++) {
            double phase = (double)row * frequency;
            cos_out[row * half + i] = (float)cos(phase);
            sin_out[row * half + i] = (float)sin(phase);
        }
    }
    return SEQTUNE_OK;
}
