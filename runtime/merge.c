/* Merge of partial attention: description <-> problem <-> parameters, and the arguments of a run.
 */
#include <stddef.h>

#include "runtime/plan_internal.h"

typedef seqtune_merge_desc Desc;

enum { MAX_PARTS = 1024 };

#define FIELD(field, low, high, required, length, text)                                            \
    { #field, offsetof(Desc, field), low, high, required, length, SIZE_MAX, text }

static const PlanField fields[] = {
    FIELD(max_parts, 1, MAX_PARTS, true, false, "largest number of parts"),
    FIELD(max_tokens, 0, 0x7fffffff, true, true, "largest number of tokens"),
    FIELD(heads, 1, 0x7fffffff, true, false, "number of heads"),
    FIELD(head_dim, 1, 0x7fffffff, true, false, "elements per head"),
};

static Status check_strides(Desc *d, Error *err) {
    int64_t part = 0;
    if (__builtin_mul_overflow(d->max_tokens * d->heads, d->head_dim, &part))
        return err_set(err, ST_INVALID, "o_parts: a part reaches beyond 2^63 elements");
    const PlanTensor tensors[] = {
        {"o", {"part"}, {d->max_parts}, {&d->o_stride_part}, 1, part, 8, false},
        {"lse",
         {"part", "head", "token"},
         {d->max_parts, d->heads, d->max_tokens},
         {&d->lse_stride_part, &d->lse_stride_head, &d->lse_stride_token},
         3,
         1,
         1,
         false},
        /* What is written is one part. */
        {"lse",
         {"head", "token"},
         {d->heads, d->max_tokens},
         {&d->lse_stride_head, &d->lse_stride_token},
         2,
         1,
         1,
         true},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0] && st == ST_OK; i++)
        st = plan_check_tensor(&tensors[i], err);
    return st;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    Desc *d = &out->u.merge;
    const PlanEnum enums[] = {
        {"dtype", (int)d->dtype, SEQTUNE_BF16, "SEQTUNE_F16 or SEQTUNE_BF16"},
        {"parts_f32", d->parts_f32, 1, "0 or 1"},
        {"want_lse", d->want_lse, 1, "0 or 1"},
    };
    Status st =
        plan_check_size("merge description", d->size, sizeof *d, "SEQTUNE_MERGE_DESC_INIT", err);
    if (st == ST_OK)
        st = plan_check_fields(d, fields, sizeof fields / sizeof fields[0], "merge", err);
    if (st == ST_OK) st = plan_check_enums(enums, sizeof enums / sizeof enums[0], err);
    if (st != ST_OK) return st;
    if (d->dtype == SEQTUNE_DTYPE_DEFAULT) d->dtype = SEQTUNE_F16;
    return check_strides(d, err);
}

static Status set_problem(const PlanDesc *desc, GenProblem *out, Error *err) {
    const Desc *d = &desc->u.merge;
    const PlanDim dims[] = {
        {"head_dim", d->head_dim},
        {"parts", d->max_parts},
        {"tokens", d->max_tokens},
        {"heads", d->heads},
    };
    Status st = gen_problem_set_word(out, "dtype", d->dtype == SEQTUNE_BF16 ? "bf16" : "f16", err);
    if (st == ST_OK)
        st = gen_problem_set_word(out, "part_type", d->parts_f32 ? "f32" : "same", err);
    return st != ST_OK ? st : plan_set_dims(out, dims, sizeof dims / sizeof dims[0], err);
}

static Status describe(const GenProblem *problem, PlanDesc *out, Error *err) {
    (void)err;
    *out = (PlanDesc){.kind = PLAN_MERGE, .u.merge = SEQTUNE_MERGE_DESC_INIT};
    Desc *d = &out->u.merge;
    const int64_t tokens = plan_dim(problem, "tokens");
    d->dtype = plan_dim_is(problem, "dtype", "bf16") ? SEQTUNE_BF16 : SEQTUNE_F16;
    d->parts_f32 = plan_dim_is(problem, "part_type", "f32");
    d->max_parts = plan_dim(problem, "parts");
    d->max_tokens = tokens == 0 ? SEQTUNE_LENGTH_ZERO : tokens;
    d->heads = plan_dim(problem, "heads");
    d->head_dim = plan_dim(problem, "head_dim");
    d->want_lse = 1;
    return ST_OK;
}

static void set_params(const PlanDesc *desc, PlanParams *out) {
    const Desc *d = &desc->u.merge;
    out->merge = (MergeParams){
        .part_o = d->o_stride_part,
        .part_lse = d->lse_stride_part,
        .lse_head = d->lse_stride_head,
        .lse_token = d->lse_stride_token,
        .heads = (int)d->heads,
    };
}

static Status take_args(const seqtune_plan *plan, const void *given, seqtune_device_ptr workspace,
                        PlanCall *call, Error *err) {
    (void)workspace; /* a merge uses none */
    const Desc *d = &plan->desc.u.merge;
    const seqtune_merge_args *a = given;
    Status st = plan_take_length("parts", a->parts, d->max_parts, &call->length[0], err);
    if (st == ST_OK)
        st = plan_take_length("tokens", a->tokens, d->max_tokens, &call->length[1], err);
    if (st != ST_OK) return st;
    call->empty = call->length[1] == 0;
    if (call->empty) return ST_OK;
    const bool parts = call->length[0] > 0;
    const PlanArray rows[] = {
        {"o_parts", a->o_parts, 16, parts, true, NULL},
        {"lse_parts", a->lse_parts, 4, parts, true, NULL},
        {"o", a->o, 16, true, false, NULL},
        {"lse", a->lse, 4, d->want_lse, false, "want_lse = 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = plan_check_array(&rows[i], err);
    MergeParams *p = &call->params.merge;
    p->o_parts = a->o_parts;
    p->lse_parts = a->lse_parts;
    p->o = a->o;
    p->lse = a->lse;
    p->parts = (int)call->length[0];
    p->tokens = (int)call->length[1];
    return st;
}

static const char *const *specs(const PlanDesc *desc) {
    static const char *const names[] = {"attn_combine", NULL};
    (void)desc;
    return names;
}

const PlanFamily *merge_family(void) {
    static const char *const lengths[] = {"parts", "tokens"};
    static const PlanFamily family = {
        .name = "merge",
        .params = "merge",
        .desc_size = sizeof(seqtune_merge_desc),
        .args_size = sizeof(seqtune_merge_args),
        .args_init = "SEQTUNE_MERGE_ARGS_INIT",
        .lengths = lengths,
        .length_count = 2,
        .specs = specs,
        .normalise = normalise,
        .set_problem = set_problem,
        .describe = describe,
        .set_params = set_params,
        .take_args = take_args,
    };
    return &family;
}
