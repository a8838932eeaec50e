/* Attention: description <-> problem <-> parameters. The arguments of a run: attention_run.c. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/table_check.h"

typedef seqtune_attention_desc Desc;

/* Token positions are 32-bit in the kernels. */
static const int64_t int_max = 0x7fffffff;

#define FIELD(field, low, required, length, fallback, text)                                        \
    { #field, offsetof(Desc, field), low, 0x7fffffff, required, length, fallback, text }

static const PlanField fields[] = {
    FIELD(heads_q, 1, true, false, SIZE_MAX, "number of query heads"),
    FIELD(heads_kv, 1, false, false, offsetof(Desc, heads_q), "number of K/V heads"),
    FIELD(head_dim, 1, true, false, SIZE_MAX, "elements per head"),
    FIELD(max_len_q, 0, true, true, SIZE_MAX, "longest query sequence"),
    FIELD(max_len_kv, 0, false, true, offsetof(Desc, max_len_q), "longest key sequence"),
};

static Status check_enums(const Desc *d, Error *err) {
    const PlanEnum rows[] = {
        {"dtype", (int)d->dtype, SEQTUNE_BF16, "SEQTUNE_F16 or SEQTUNE_BF16"},
        {"mask", (int)d->mask, SEQTUNE_MASK_CAUSAL_TOP_LEFT,
         "SEQTUNE_MASK_NONE, _CAUSAL or _CAUSAL_TOP_LEFT"},
        {"window.kind", (int)d->window.kind, SEQTUNE_WINDOW_BOTH,
         "SEQTUNE_WINDOW_OFF, _LEFT or _BOTH"},
        {"want_lse", d->want_lse, 1, "0 or 1"},
        {"kv", (int)d->kv, SEQTUNE_KV_PAGED, "SEQTUNE_KV_DENSE, _RAGGED or _PAGED"},
        {"kv_dtype", (int)d->kv_dtype, SEQTUNE_KV_INT8, "SEQTUNE_KV_SAME, _E4M3 or _INT8"},
        {"ragged_q", d->ragged_q, 1, "0 or 1"},
        {"device_lengths", d->device_lengths, 1, "0 or 1"},
        {"page_table", (int)d->page_table, SEQTUNE_PAGES_CSR,
         "SEQTUNE_PAGES_TABLE or SEQTUNE_PAGES_CSR"},
        {"page_order", (int)d->page_order, SEQTUNE_PAGES_HND,
         "SEQTUNE_PAGES_NHD or SEQTUNE_PAGES_HND"},
        {"scale_per_head", d->scale_per_head, 1, "0 or 1"},
        {"flags", d->flags, SEQTUNE_BATCH_INVARIANT | SEQTUNE_CHECKED,
         "SEQTUNE_BATCH_INVARIANT, SEQTUNE_CHECKED or both"},
    };
    Status st = plan_check_enums(rows, sizeof rows / sizeof rows[0], err);
    if (st != ST_OK) return st;
    if (!isfinite(d->scale) || d->scale < 0)
        return err_set(err, ST_INVALID,
                       "scale is %g: must be positive and finite, or 0 for 1 / sqrt(head_dim)",
                       (double)d->scale);
    return ST_OK;
}

static Status check_window(Desc *d, Error *err) {
    seqtune_window *w = &d->window;
    /* Longer than any sequence is the same as that long, and fits the kernels' 32 bits. */
    static const int64_t longest = 1048576;
    if (w->kind != SEQTUNE_WINDOW_BOTH && w->right != 0)
        return err_set(err, ST_INVALID,
                       "window.right is %lld, but window.kind is not SEQTUNE_WINDOW_BOTH",
                       (long long)w->right);
    if (w->kind == SEQTUNE_WINDOW_OFF && w->left != 0)
        return err_set(err, ST_INVALID,
                       "window.left is %lld, but window.kind is SEQTUNE_WINDOW_OFF",
                       (long long)w->left);
    if (w->left < -1 || w->right < -1)
        return err_set(err, ST_INVALID,
                       "window.left is %lld, window.right %lld: must be at least 0, or -1 for open",
                       (long long)w->left, (long long)w->right);
    bool right_open = w->kind == SEQTUNE_WINDOW_LEFT || w->right == -1;
    if (w->kind != SEQTUNE_WINDOW_OFF && w->left == -1 && right_open)
        return err_set(err, ST_INVALID,
                       "window is open on both sides: use SEQTUNE_WINDOW_OFF for no window");
    if (w->left > longest) w->left = longest;
    if (w->right > longest) w->right = longest;
    return ST_OK;
}

/* Where K and V are. Fills in the table's stride; lengths of ragged and paged ones are always read
 * on the device. */
static Status check_kv(Desc *d, Error *err) {
    const bool paged = d->kv == SEQTUNE_KV_PAGED;
    if (!paged && (d->page_size != 0 || d->pages != 0 || d->block_table_stride != 0))
        return err_set(
            err, ST_INVALID,
            "page_size is %lld, pages %lld, block_table_stride %lld: they belong to kv = "
            "SEQTUNE_KV_PAGED",
            (long long)d->page_size, (long long)d->pages, (long long)d->block_table_stride);
    if (d->ragged_q || d->kv != SEQTUNE_KV_DENSE) d->device_lengths = 1;
    if (d->total_q == 0 && d->ragged_q) d->total_q = d->batch * d->max_len_q;
    if (d->total_q < 0 || (d->total_q != 0 && !d->ragged_q))
        return err_set(err, ST_INVALID,
                       "total_q is %lld: it belongs to ragged_q, where it is "
                       "the number of tokens of Q (0: batch * max_len_q)",
                       (long long)d->total_q);
    if (!paged) return ST_OK;
    if (d->page_size < 1 || d->page_size > 65536)
        return err_set(err, ST_INVALID, "page_size is %lld: must be 1..65536 tokens",
                       (long long)d->page_size);
    if (d->pages < 1 || d->pages > int_max)
        return err_set(err, ST_INVALID, "pages is %lld: must be 1..%lld", (long long)d->pages,
                       (long long)int_max);
    const int64_t each = (d->max_len_kv + d->page_size - 1) / d->page_size;
    if (d->block_table_stride == 0) d->block_table_stride = each > 0 ? each : 1;
    if (d->page_table == SEQTUNE_PAGES_TABLE && d->block_table_stride < each)
        return err_set(err, ST_INVALID,
                       "block_table_stride is %lld: max_len_kv %lld in pages of %lld needs %lld "
                       "entries",
                       (long long)d->block_table_stride, (long long)d->max_len_kv,
                       (long long)d->page_size, (long long)each);
    return ST_OK;
}

/* Ragged tensors have no batch axis, those of pages a page axis in its place. */
static PlanTensor tensor_of(const char *name, int64_t batch, int64_t tokens, int64_t heads,
                            int64_t *stride_batch, int64_t *stride_token, int64_t *stride_head,
                            const Desc *d, bool hnd) {
    PlanTensor t = {name,
                    {"batch", "token", "head"},
                    {batch, tokens, heads},
                    {stride_batch, stride_token, stride_head},
                    3,
                    d->head_dim,
                    8, /* 16-byte rows for 16-byte copies */
                    false};
    if (hnd) {
        t.axis[1] = "head", t.axis[2] = "token";
        t.count[1] = heads, t.count[2] = tokens;
        t.stride[1] = stride_head, t.stride[2] = stride_token;
    }
    return t;
}

/* Kernels find a row by products of 32 bits (parts/rows/paged.cu). */
static Status check_page_strides(const Desc *d, Error *err) {
    const int64_t most = INT64_C(0xffffffff) / 2; /* elements of 16 bits below 4 GiB */
    const struct {
        const char *name;
        int64_t stride;
    } rows[] = {{"k_stride_batch", d->k_stride_batch},
                {"k_stride_token", d->k_stride_token},
                {"v_stride_batch", d->v_stride_batch},
                {"v_stride_token", d->v_stride_token}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].stride > most)
            return err_set(err, ST_INVALID,
                           "%s is %lld: paged K/V needs strides below 4 GiB, %lld elements",
                           rows[i].name, (long long)rows[i].stride, (long long)most);
    return ST_OK;
}

static Status check_strides(Desc *d, Error *err) {
    const bool paged = d->kv == SEQTUNE_KV_PAGED;
    const bool hnd = paged && d->page_order == SEQTUNE_PAGES_HND;
    const bool ragged_kv = d->kv == SEQTUNE_KV_RAGGED;
    const int64_t q_batch = d->ragged_q ? 1 : d->batch;
    const int64_t q_tokens = d->ragged_q ? d->total_q : d->max_len_q;
    const int64_t kv_batch = paged ? d->pages : ragged_kv ? 1 : d->batch;
    const int64_t kv_tokens = paged       ? d->page_size
                              : ragged_kv ? d->batch * d->max_len_kv
                                          : d->max_len_kv;
    PlanTensor tensors[] = {
        tensor_of("q", q_batch, q_tokens, d->heads_q, &d->q_stride_batch, &d->q_stride_token,
                  &d->q_stride_head, d, false),
        tensor_of("k", kv_batch, kv_tokens, d->heads_kv, &d->k_stride_batch, &d->k_stride_token,
                  &d->k_stride_head, d, hnd),
        tensor_of("v", kv_batch, kv_tokens, d->heads_kv, &d->v_stride_batch, &d->v_stride_token,
                  &d->v_stride_head, d, hnd),
        tensor_of("o", q_batch, q_tokens, d->heads_q, &d->o_stride_batch, &d->o_stride_token,
                  &d->o_stride_head, d, false),
    };
    if (d->kv_dtype != SEQTUNE_KV_SAME) tensors[1].align = tensors[2].align = 16;
    tensors[3].written = true;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        Status st = plan_check_tensor(&tensors[i], err);
        if (st != ST_OK) return st;
    }
    if (paged) {
        Status st = check_page_strides(d, err);
        if (st != ST_OK) return st;
    }
    if (d->ragged_q) d->q_stride_batch = d->o_stride_batch = 0;
    if (ragged_kv) d->k_stride_batch = d->v_stride_batch = 0;
    return ST_OK;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    Desc *d = &out->u.attention;
    Status st = plan_check_size("attention description", d->size, sizeof *d,
                                "SEQTUNE_ATTENTION_DESC_INIT", err);
    if (st != ST_OK) return st;
    if (d->batch == 0) d->batch = 1;
    if (d->batch < 0 || d->batch > int_max)
        return err_set(err, ST_INVALID, "batch is %lld: must be 1..%lld", (long long)d->batch,
                       (long long)int_max);
    st = plan_check_fields(d, fields, sizeof fields / sizeof fields[0], "attention", err);
    if (st == ST_OK) st = check_enums(d, err);
    if (st == ST_OK) st = check_window(d, err);
    if (st == ST_OK) st = check_kv(d, err);
    if (st != ST_OK) return st;
    if (d->splits < 0 || d->splits > 1024)
        return err_set(err, ST_INVALID, "splits is %lld: must be 0..1024", (long long)d->splits);
    if (d->splits > 0 && (d->flags & SEQTUNE_BATCH_INVARIANT))
        return err_set(err, ST_INVALID,
                       "splits is %lld: the parts of SEQTUNE_BATCH_INVARIANT have a fixed size, "
                       "leave it 0",
                       (long long)d->splits);
    if (d->heads_q % d->heads_kv != 0)
        return err_set(err, ST_INVALID, "heads_kv is %lld: must divide heads_q (%lld)",
                       (long long)d->heads_kv, (long long)d->heads_q);
    if (d->dtype == SEQTUNE_DTYPE_DEFAULT) d->dtype = SEQTUNE_F16;
    if (d->scale == 0) d->scale = (float)(1.0 / sqrt((double)d->head_dim));
    return check_strides(d, err);
}

/* The window of the kernels and of the problem: inclusive extents, -1 is open. */
static void window_of(const Desc *d, int64_t *left, int64_t *right) {
    *left = d->window.kind == SEQTUNE_WINDOW_OFF ? -1 : d->window.left;
    *right = d->window.kind == SEQTUNE_WINDOW_BOTH ? d->window.right : -1;
    if (d->mask != SEQTUNE_MASK_NONE) *right = 0;
}

/* A dimension that only some kernels have: the others serve its first value only. */
static Status set_optional(GenProblem *out, const char *name, int64_t value, const char *what,
                           Error *err) {
    int64_t preset = 0;
    if (gen_problem_get(out, name, &preset)) return gen_problem_set(out, name, value, err);
    if (value == 0) return ST_OK;
    return err_set(err, ST_UNSUPPORTED, "%s has no %s", gen_spec_name(out->spec), what);
}

static Status set_serving(const Desc *d, GenProblem *out, Error *err) {
    const struct {
        const char *name;
        int64_t value;
        const char *what;
    } rows[] = {
        {"kv", d->kv == SEQTUNE_KV_PAGED, "paged K/V"},
        {"lengths", d->device_lengths, "lengths on the device"},
        {"page_size", d->page_size, "paged K/V"},
        {"top_left", d->mask == SEQTUNE_MASK_CAUSAL_TOP_LEFT, "top-left causal mask"},
        {"kv_dtype", (int64_t)d->kv_dtype, "8-bit K/V"},
        {"invariant", (d->flags & SEQTUNE_BATCH_INVARIANT) != 0, NULL},
        {"max_splits", d->splits, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t unused = 0;
        if (rows[i].what == NULL && !gen_problem_get(out, rows[i].name, &unused)) continue;
        Status st = set_optional(out, rows[i].name, rows[i].value, rows[i].what, err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static Status set_problem(const PlanDesc *desc, GenProblem *out, Error *err) {
    const Desc *d = &desc->u.attention;
    bool window = d->window.kind != SEQTUNE_WINDOW_OFF;
    int64_t left = -1, right = -1;
    if (window) window_of(d, &left, &right);
    const char *mask = window ? "window" : d->mask != SEQTUNE_MASK_NONE ? "causal" : "none";
    Status st = gen_problem_set_word(out, "dtype", d->dtype == SEQTUNE_BF16 ? "bf16" : "f16", err);
    if (st == ST_OK) st = gen_problem_set_word(out, "mask", mask, err);
    const PlanDim dims[] = {
        {"head_dim", d->head_dim}, {"batch", d->batch},     {"heads_q", d->heads_q},
        {"heads_kv", d->heads_kv}, {"len_q", d->max_len_q}, {"len_kv", d->max_len_kv},
        {"window_left", left},     {"window_right", right},
    };
    if (st == ST_OK) st = plan_set_dims(out, dims, sizeof dims / sizeof dims[0], err);
    return st != ST_OK ? st : set_serving(d, out, err);
}

static int64_t length_of(int64_t value) {
    return value == 0 ? SEQTUNE_LENGTH_ZERO : value;
}

static Status describe(const GenProblem *problem, PlanDesc *out, Error *err) {
    (void)err;
    *out = (PlanDesc){.kind = PLAN_ATTENTION, .u.attention = SEQTUNE_ATTENTION_DESC_INIT};
    Desc *d = &out->u.attention;
    d->dtype = plan_dim_is(problem, "dtype", "bf16") ? SEQTUNE_BF16 : SEQTUNE_F16;
    d->batch = plan_dim(problem, "batch");
    d->heads_q = plan_dim(problem, "heads_q");
    d->heads_kv = plan_dim(problem, "heads_kv");
    d->head_dim = plan_dim(problem, "head_dim");
    d->max_len_q = length_of(plan_dim(problem, "len_q"));
    d->max_len_kv = length_of(plan_dim(problem, "len_kv"));
    d->mask = plan_dim_is(problem, "mask", "causal") ? SEQTUNE_MASK_CAUSAL : SEQTUNE_MASK_NONE;
    if (plan_dim_is(problem, "mask", "window"))
        d->window = (seqtune_window){SEQTUNE_WINDOW_BOTH, plan_dim(problem, "window_left"),
                                     plan_dim(problem, "window_right")};
    if (plan_dim(problem, "top_left")) d->mask = SEQTUNE_MASK_CAUSAL_TOP_LEFT;
    d->device_lengths = plan_dim_is(problem, "lengths", "device");
    d->kv_dtype = (seqtune_kv_dtype)plan_dim(problem, "kv_dtype");
    if (plan_dim(problem, "invariant")) d->flags = SEQTUNE_BATCH_INVARIANT;
    d->splits = plan_dim(problem, "max_splits");
    if (plan_dim_is(problem, "kv", "paged")) {
        d->kv = SEQTUNE_KV_PAGED;
        d->page_size = plan_dim(problem, "page_size");
        d->pages = d->batch * ((plan_dim(problem, "len_kv") + d->page_size - 1) / d->page_size);
        if (d->pages == 0) d->pages = 1;
    }
    return ST_OK;
}

static void set_params(const PlanDesc *desc, PlanParams *out) {
    const Desc *d = &desc->u.attention;
    int64_t left = -1, right = -1;
    window_of(d, &left, &right);
    out->attn = (AttnParams){
        .q_batch = d->q_stride_batch,
        .q_token = d->q_stride_token,
        .q_head = d->q_stride_head,
        .k_batch = d->k_stride_batch,
        .k_token = d->k_stride_token,
        .k_head = d->k_stride_head,
        .v_batch = d->v_stride_batch,
        .v_token = d->v_stride_token,
        .v_head = d->v_stride_head,
        .o_batch = d->o_stride_batch,
        .o_token = d->o_stride_token,
        .o_head = d->o_stride_head,
        .lse_batch = d->ragged_q ? 0 : d->heads_q * d->max_len_q,
        .lse_head = d->ragged_q ? d->total_q : d->max_len_q,
        .table_stride = d->block_table_stride,
        .batch = (int)d->batch,
        .heads_q = (int)d->heads_q,
        .heads_kv = (int)d->heads_kv,
        .group = (int)(d->heads_q / d->heads_kv),
        .window_left = (int)left,
        .window_right = (int)right,
        .top_left = d->mask == SEQTUNE_MASK_CAUSAL_TOP_LEFT,
        .scale_heads = d->scale_per_head,
        .scale = d->scale,
        .scale_log2 = (float)((double)d->scale * 1.4426950408889634), /* log2(e) */
    };
}

/* Few queries: a kernel that splits the keys, if it takes the description. */
static const char *const *specs(const PlanDesc *desc) {
    static const char *const few[] = {"attn_decode", "attn_prefill", NULL};
    const bool short_q = desc->u.attention.max_len_q <= PLAN_DECODE_QUERIES;
    return short_q ? few : few + 1;
}

/* SEQTUNE_BATCH_INVARIANT: what a plan may be made for and a sequence must not notice (the batch,
 * the longest lengths) takes one value for all. */
static Status canonical(const PlanDesc *desc, GenProblem *problem, Error *err) {
    const Desc *d = &desc->u.attention;
    if (!(d->flags & SEQTUNE_BATCH_INVARIANT)) return ST_OK;
    const bool decode = strcmp(gen_spec_name(problem->spec), "attn_decode") == 0;
    Status st = gen_problem_set(problem, "batch", 1, err);
    if (st == ST_OK) st = gen_problem_set(problem, "len_q", decode ? 1 : 2048, err);
    if (st == ST_OK) st = gen_problem_set(problem, "len_kv", 4096, err);
    return st != ST_OK ? st : gen_problem_check(problem, err);
}

const PlanFamily *attention_family(void) {
    static const char *const lengths[] = {"len_q", "len_kv"};
    static const PlanFamily family = {
        .name = "attention",
        .params = "attn",
        .desc_size = sizeof(seqtune_attention_desc),
        .args_size = sizeof(seqtune_attention_args),
        .args_init = "SEQTUNE_ATTENTION_ARGS_INIT",
        .lengths = lengths,
        .length_count = 2,
        .specs = specs,
        .normalise = normalise,
        .set_problem = set_problem,
        .describe = describe,
        .set_params = set_params,
        .canonical = canonical,
        .take_args = attention_take_args,
        .check_tables = attention_check_tables,
    };
    return &family;
}
