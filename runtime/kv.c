/* The KV cache: description <-> problem <-> parameters, and the arguments of a run. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/table_check.h"

typedef seqtune_kv_desc Desc;

/* Slots are 32-bit in the kernels, and so are positions. */
static const int64_t int_max = 0x7fffffff;

#define FIELD(field, low, required, length, text)                                                  \
    { #field, offsetof(Desc, field), low, 0x7fffffff, required, length, SIZE_MAX, text }

static const PlanField fields[] = {
    FIELD(max_tokens, 0, true, true, "largest number of tokens"),
    FIELD(heads_q, 0, false, false, "number of query heads"),
    FIELD(heads_kv, 1, true, false, "number of K/V heads"),
    FIELD(head_dim, 1, true, false, "elements per head"),
    FIELD(page_size, 1, true, false, "tokens of a page"),
    FIELD(pages, 1, true, false, "pages of the cache"),
    FIELD(batch, 0, false, false, "sequences, by position"),
    FIELD(block_table_stride, 0, false, false, "entries of a row of the block table"),
    FIELD(rotary_dim, 0, false, false, "rotated elements per head"),
    FIELD(table_rows, 0, false, false, "positions the tables hold"),
};

static Status check_enums(const Desc *d, Error *err) {
    const PlanEnum rows[] = {
        {"op", (int)d->op, SEQTUNE_KV_SCATTER, "SEQTUNE_KV_APPEND, _GATHER or _SCATTER"},
        {"dtype", (int)d->dtype, SEQTUNE_BF16, "SEQTUNE_F16 or SEQTUNE_BF16"},
        {"kv_dtype", (int)d->kv_dtype, SEQTUNE_KV_INT8, "SEQTUNE_KV_SAME, _E4M3 or _INT8"},
        {"page_order", (int)d->page_order, SEQTUNE_PAGES_HND,
         "SEQTUNE_PAGES_NHD or SEQTUNE_PAGES_HND"},
        {"page_table", (int)d->page_table, SEQTUNE_PAGES_CSR,
         "SEQTUNE_PAGES_TABLE or SEQTUNE_PAGES_CSR"},
        {"rope", d->rope, 1, "0 or 1"},
        {"rope_style", (int)d->rope_style, SEQTUNE_ROPE_INTERLEAVED,
         "SEQTUNE_ROPE_NEOX or SEQTUNE_ROPE_INTERLEAVED"},
        {"qk_norm", d->qk_norm, 1, "0 or 1"},
        {"scale_per_head", d->scale_per_head, 1, "0 or 1"},
        {"flags", d->flags == SEQTUNE_CHECKED ? 0 : d->flags, 0, "0 or SEQTUNE_CHECKED"},
    };
    return plan_check_enums(rows, sizeof rows / sizeof rows[0], err);
}

/* What only an append computes. */
static Status check_arithmetic(Desc *d, Error *err) {
    if (d->op != SEQTUNE_KV_APPEND && (d->rope || d->qk_norm || d->heads_q != 0))
        return err_set(err, ST_INVALID,
                       "rope is %d, qk_norm %d, heads_q %lld: they belong to op = "
                       "SEQTUNE_KV_APPEND",
                       d->rope, d->qk_norm, (long long)d->heads_q);
    if (!d->rope && (d->rotary_dim != 0 || d->table_rows != 0))
        return err_set(err, ST_INVALID,
                       "rotary_dim is %lld, table_rows %lld: they belong to rope = 1",
                       (long long)d->rotary_dim, (long long)d->table_rows);
    if (d->rope && d->rotary_dim == 0) d->rotary_dim = d->head_dim;
    if (d->rotary_dim > d->head_dim)
        return err_set(err, ST_INVALID, "rotary_dim is %lld: must be at most head_dim (%lld)",
                       (long long)d->rotary_dim, (long long)d->head_dim);
    if (d->rope && d->table_rows == 0)
        return err_set(err, ST_INVALID,
                       "table_rows is 0: rope = 1 needs the number of positions the tables hold");
    if (!isfinite(d->norm_eps) || d->norm_eps < 0 || (d->norm_eps != 0 && !d->qk_norm))
        return err_set(err, ST_INVALID,
                       "norm_eps is %g: must be positive and finite, or 0 for 1e-6, and belongs to "
                       "qk_norm = 1",
                       (double)d->norm_eps);
    if (d->qk_norm && d->norm_eps == 0) d->norm_eps = 1e-6f;
    if (d->scale_per_head && d->kv_dtype == SEQTUNE_KV_SAME)
        return err_set(err, ST_INVALID, "scale_per_head is 1: it belongs to an 8-bit kv_dtype");
    return ST_OK;
}

static Status check_places(Desc *d, Error *err) {
    if (d->pages * d->page_size > int_max)
        return err_set(err, ST_INVALID,
                       "pages %lld * page_size %lld is above %lld, the most slots of a cache",
                       (long long)d->pages, (long long)d->page_size, (long long)int_max);
    const bool table = d->batch > 0 && d->page_table == SEQTUNE_PAGES_TABLE;
    if (!table && d->block_table_stride != 0)
        return err_set(err, ST_INVALID,
                       "block_table_stride is %lld: it belongs to batch > 0 and page_table = "
                       "SEQTUNE_PAGES_TABLE",
                       (long long)d->block_table_stride);
    const bool dense = d->pages == d->batch;
    if (table && d->block_table_stride == 0 && !dense)
        return err_set(err, ST_INVALID,
                       "block_table_stride is 0: by position it is the number of entries per "
                       "sequence (0 means 1 where pages = batch, a dense cache); pages is %lld, "
                       "batch %lld",
                       (long long)d->pages, (long long)d->batch);
    if (table && d->block_table_stride == 0) d->block_table_stride = 1;
    return ST_OK;
}

static PlanTensor cache_tensor(const char *name, Desc *d, int64_t *page, int64_t *token,
                               int64_t *head) {
    PlanTensor t = {name,
                    {"batch", "token", "head"},
                    {d->pages, d->page_size, d->heads_kv},
                    {page, token, head},
                    3,
                    d->head_dim,
                    8,
                    d->op != SEQTUNE_KV_GATHER};
    if (d->page_order == SEQTUNE_PAGES_NHD) return t;
    t.axis[1] = "head", t.axis[2] = "token";
    t.count[1] = d->heads_kv, t.count[2] = d->page_size;
    t.stride[1] = head, t.stride[2] = token;
    return t;
}

static Status check_strides(Desc *d, Error *err) {
    const bool gather = d->op == SEQTUNE_KV_GATHER;
    const int64_t n = d->max_tokens, kv = d->heads_kv, dim = d->head_dim;
    const PlanTensor tensors[] = {
        plan_rows("q", n, &d->q_stride_token, d->heads_q, &d->q_stride_head, dim, 8, true),
        plan_rows("new_k", n, &d->new_k_stride_token, kv, &d->new_k_stride_head, dim, 8, gather),
        plan_rows("new_v", n, &d->new_v_stride_token, kv, &d->new_v_stride_head, dim, 8, gather),
        cache_tensor("k", d, &d->k_stride_batch, &d->k_stride_token, &d->k_stride_head),
        cache_tensor("v", d, &d->v_stride_batch, &d->v_stride_token, &d->v_stride_head),
    };
    Status st = ST_OK;
    const size_t first = d->heads_q > 0 ? 0 : 1; /* without Q its strides are nobody's */
    for (size_t i = first; i < sizeof tensors / sizeof tensors[0] && st == ST_OK; i++)
        st = plan_check_tensor(&tensors[i], err);
    return st;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    Desc *d = &out->u.kv;
    Status st = plan_check_size("kv description", d->size, sizeof *d, "SEQTUNE_KV_DESC_INIT", err);
    if (st == ST_OK) st = plan_check_fields(d, fields, sizeof fields / sizeof fields[0], "kv", err);
    if (st == ST_OK) st = check_enums(d, err);
    if (st == ST_OK) st = check_arithmetic(d, err);
    if (st == ST_OK) st = check_places(d, err);
    if (st != ST_OK) return st;
    if (d->dtype == SEQTUNE_DTYPE_DEFAULT) d->dtype = SEQTUNE_F16;
    return check_strides(d, err);
}

/* ---- problems ---- */

static const char *const kv_types[] = {"same", "e4m3", "int8"};

static const char *rope_word(const Desc *d) {
    if (!d->rope) return "none";
    return d->rope_style == SEQTUNE_ROPE_INTERLEAVED ? "interleaved" : "neox";
}

static Status set_problem(const PlanDesc *desc, GenProblem *out, Error *err) {
    const Desc *d = &desc->u.kv;
    const PlanDim places[] = {
        {"head_dim", d->head_dim},   {"tokens", d->max_tokens}, {"heads_kv", d->heads_kv},
        {"page_size", d->page_size}, {"batch", d->batch},
    };
    const PlanDim computed[] = {
        {"rotary_dim", d->rotary_dim},
        {"qk_norm", d->qk_norm},
        {"heads_q", d->heads_q},
    };
    Status st = gen_problem_set_word(out, "dtype", d->dtype == SEQTUNE_BF16 ? "bf16" : "f16", err);
    if (st == ST_OK) st = gen_problem_set_word(out, "kv_dtype", kv_types[d->kv_dtype], err);
    if (st == ST_OK) st = plan_set_dims(out, places, sizeof places / sizeof places[0], err);
    if (st != ST_OK || d->op == SEQTUNE_KV_GATHER) return st;
    st = gen_problem_set_word(out, "rope", rope_word(d), err);
    return st != ST_OK ? st
                       : plan_set_dims(out, computed, sizeof computed / sizeof computed[0], err);
}

static seqtune_kv_dtype type_of(const GenProblem *problem) {
    if (plan_dim_is(problem, "kv_dtype", "e4m3")) return SEQTUNE_KV_E4M3;
    return plan_dim_is(problem, "kv_dtype", "int8") ? SEQTUNE_KV_INT8 : SEQTUNE_KV_SAME;
}

/* Room for every token, sequences of equal length. */
static void describe_cache(const GenProblem *problem, int64_t tokens, Desc *d) {
    d->page_size = plan_dim(problem, "page_size");
    d->batch = plan_dim(problem, "batch");
    const int64_t sequences = d->batch > 0 ? d->batch : 1;
    const int64_t each = (tokens + sequences - 1) / sequences;
    const int64_t pages = (each + d->page_size - 1) / d->page_size;
    d->pages = sequences * (pages > 0 ? pages : 1);
    if (d->batch > 0) d->block_table_stride = d->pages / d->batch;
}

static Status describe(const GenProblem *problem, PlanDesc *out, Error *err) {
    enum { DEFAULT_ROWS = 8192 };
    (void)err;
    *out = (PlanDesc){.kind = PLAN_KV, .u.kv = SEQTUNE_KV_DESC_INIT};
    Desc *d = &out->u.kv;
    const int64_t tokens = plan_dim(problem, "tokens");
    d->op = strcmp(gen_spec_name(problem->spec), "kv_gather") == 0 ? SEQTUNE_KV_GATHER
                                                                   : SEQTUNE_KV_APPEND;
    d->dtype = plan_dim_is(problem, "dtype", "bf16") ? SEQTUNE_BF16 : SEQTUNE_F16;
    d->kv_dtype = type_of(problem);
    d->max_tokens = tokens == 0 ? SEQTUNE_LENGTH_ZERO : tokens;
    d->heads_q = plan_dim(problem, "heads_q");
    d->heads_kv = plan_dim(problem, "heads_kv");
    d->head_dim = plan_dim(problem, "head_dim");
    d->qk_norm = plan_dim(problem, "qk_norm") != 0;
    d->rotary_dim = plan_dim(problem, "rotary_dim");
    d->rope = d->rotary_dim > 0;
    if (plan_dim_is(problem, "rope", "interleaved")) d->rope_style = SEQTUNE_ROPE_INTERLEAVED;
    if (d->rope) d->table_rows = DEFAULT_ROWS;
    describe_cache(problem, tokens, d);
    return ST_OK;
}

static void set_params(const PlanDesc *desc, PlanParams *out) {
    const Desc *d = &desc->u.kv;
    out->kv = (KvParams){
        .q_token = d->q_stride_token,
        .q_head = d->q_stride_head,
        .new_k_token = d->new_k_stride_token,
        .new_k_head = d->new_k_stride_head,
        .new_v_token = d->new_v_stride_token,
        .new_v_head = d->new_v_stride_head,
        .k_batch = d->k_stride_batch,
        .k_token = d->k_stride_token,
        .k_head = d->k_stride_head,
        .v_batch = d->v_stride_batch,
        .v_token = d->v_stride_token,
        .v_head = d->v_stride_head,
        .table_stride = d->block_table_stride,
        .batch = (int)d->batch,
        .heads_q = (int)d->heads_q,
        .heads_kv = (int)d->heads_kv,
        .page_size = (int)d->page_size,
        .table_rows = (int)d->table_rows,
        .scale_heads = d->scale_per_head,
        .norm_eps = d->norm_eps,
    };
}

/* ---- the arguments of a run ---- */

static Status check_arrays(const Desc *d, const seqtune_kv_args *a, Error *err) {
    const bool q = d->heads_q > 0, norm = d->qk_norm, scales = d->kv_dtype != SEQTUNE_KV_SAME;
    const bool by_slot = d->batch == 0, csr = !by_slot && d->page_table == SEQTUNE_PAGES_CSR;
    const bool table = !by_slot && !csr;
    const PlanArray rows[] = {
        {"q", a->q, 16, q, false, "heads_q"},
        {"q_out", a->q_out, 16, q, false, "heads_q"},
        {"new_k", a->new_k, 16, true, false, NULL},
        {"new_v", a->new_v, 16, true, false, NULL},
        {"k", a->k, 16, true, false, NULL},
        {"v", a->v, 16, true, false, NULL},
        {"slots", a->slots, 8, by_slot, false, "batch = 0"},
        {"cu_seqlens", a->cu_seqlens, 4, !by_slot, false, "batch > 0"},
        {"lens_kv", a->lens_kv, 4, false, !by_slot, "batch > 0"},
        {"block_table", a->block_table, 4, table && d->pages != d->batch, table,
         "batch > 0 with page_table = SEQTUNE_PAGES_TABLE"},
        {"page_indptr", a->page_indptr, 4, csr, false, "page_table = SEQTUNE_PAGES_CSR"},
        {"page_indices", a->page_indices, 4, csr, false, "page_table = SEQTUNE_PAGES_CSR"},
        {"positions", a->positions, 8, d->rope && by_slot, d->rope, "rope = 1"},
        {"cos", a->cos, 16, d->rope, false, "rope = 1"},
        {"sin", a->sin, 16, d->rope, false, "rope = 1"},
        {"q_norm", a->q_norm, 16, norm && q, false, "qk_norm = 1 with heads_q"},
        {"k_norm", a->k_norm, 16, norm, false, "qk_norm = 1"},
        {"k_scale", a->k_scale, 4, false, scales, "8-bit kv_dtype"},
        {"v_scale", a->v_scale, 4, false, scales, "8-bit kv_dtype"},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = plan_check_array(&rows[i], err);
    return st;
}

static Status take_args(const seqtune_plan *plan, const void *given, seqtune_device_ptr workspace,
                        PlanCall *call, Error *err) {
    (void)workspace; /* neither kernel uses any */
    const Desc *d = &plan->desc.u.kv;
    const seqtune_kv_args *a = given;
    Status st = plan_take_length("tokens", a->tokens, d->max_tokens, &call->length[0], err);
    call->empty = call->length[0] == 0;
    if (st != ST_OK || call->empty) return st;
    st = check_arrays(d, a, err);
    KvParams *p = &call->params.kv;
    p->q = a->q;
    p->q_out = a->q_out;
    p->new_k = a->new_k;
    p->new_v = a->new_v;
    p->k = a->k;
    p->v = a->v;
    p->slots = a->slots;
    p->cu_seqlens = a->cu_seqlens;
    p->lens_kv = a->lens_kv;
    p->pages = a->page_indices != 0 ? a->page_indices : a->block_table;
    p->page_indptr = a->page_indptr;
    p->positions = a->positions;
    p->cos = a->cos;
    p->sin = a->sin;
    p->q_norm = a->q_norm;
    p->k_norm = a->k_norm;
    p->k_scale = a->k_scale;
    p->v_scale = a->v_scale;
    p->tokens = (int)call->length[0];
    return st;
}

static const char *const *specs(const PlanDesc *desc) {
    static const char *const append[] = {"kv_append", NULL}, *const gather[] = {"kv_gather", NULL};
    return desc->u.kv.op == SEQTUNE_KV_GATHER ? gather : append;
}

const PlanFamily *kv_family(void) {
    static const char *const lengths[] = {"tokens"};
    static const PlanFamily family = {
        .name = "kv",
        .params = "kv",
        .desc_size = sizeof(seqtune_kv_desc),
        .args_size = sizeof(seqtune_kv_args),
        .args_init = "SEQTUNE_KV_ARGS_INIT",
        .lengths = lengths,
        .length_count = 1,
        .specs = specs,
        .normalise = normalise,
        .set_problem = set_problem,
        .describe = describe,
        .set_params = set_params,
        .take_args = take_args,
        .check_tables = kv_check_tables,
    };
    return &family;
}
