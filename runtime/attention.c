/* Attention: description <-> problem <-> parameters, and the public functions of the family. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "runtime/plan_internal.h"

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
    if ((int)d->dtype < 0 || d->dtype > SEQTUNE_BF16)
        return err_set(err, ST_INVALID, "dtype is %d: must be SEQTUNE_F16 or SEQTUNE_BF16",
                       (int)d->dtype);
    if ((int)d->mask < 0 || d->mask > SEQTUNE_MASK_CAUSAL)
        return err_set(err, ST_INVALID, "mask is %d: must be SEQTUNE_MASK_NONE or _CAUSAL",
                       (int)d->mask);
    if ((int)d->window.kind < 0 || d->window.kind > SEQTUNE_WINDOW_BOTH)
        return err_set(err, ST_INVALID,
                       "window.kind is %d: must be SEQTUNE_WINDOW_OFF, _LEFT or _BOTH",
                       (int)d->window.kind);
    if (d->want_lse != 0 && d->want_lse != 1)
        return err_set(err, ST_INVALID, "want_lse is %d: must be 0 or 1", d->want_lse);
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

static Status check_strides(Desc *d, Error *err) {
    enum { ALIGN = 8 }; /* 16-byte rows for 16-byte copies */
    const PlanTensor tensors[] = {
        {"q",
         {"batch", "token", "head"},
         {d->batch, d->max_len_q, d->heads_q},
         {&d->q_stride_batch, &d->q_stride_token, &d->q_stride_head},
         3,
         d->head_dim,
         ALIGN,
         false},
        {"k",
         {"batch", "token", "head"},
         {d->batch, d->max_len_kv, d->heads_kv},
         {&d->k_stride_batch, &d->k_stride_token, &d->k_stride_head},
         3,
         d->head_dim,
         ALIGN,
         false},
        {"v",
         {"batch", "token", "head"},
         {d->batch, d->max_len_kv, d->heads_kv},
         {&d->v_stride_batch, &d->v_stride_token, &d->v_stride_head},
         3,
         d->head_dim,
         ALIGN,
         false},
        {"o",
         {"batch", "token", "head"},
         {d->batch, d->max_len_q, d->heads_q},
         {&d->o_stride_batch, &d->o_stride_token, &d->o_stride_head},
         3,
         d->head_dim,
         ALIGN,
         true},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        Status st = plan_check_tensor(&tensors[i], err);
        if (st != ST_OK) return st;
    }
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
    if (st != ST_OK) return st;
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
    if (d->mask == SEQTUNE_MASK_CAUSAL) *right = 0;
}

static Status set_problem(const PlanDesc *desc, GenProblem *out, Error *err) {
    const Desc *d = &desc->u.attention;
    bool window = d->window.kind != SEQTUNE_WINDOW_OFF;
    int64_t left = -1, right = -1;
    if (window) window_of(d, &left, &right);
    const char *mask = window ? "window" : d->mask == SEQTUNE_MASK_CAUSAL ? "causal" : "none";
    Status st = gen_problem_set_word(out, "dtype", d->dtype == SEQTUNE_BF16 ? "bf16" : "f16", err);
    if (st == ST_OK) st = gen_problem_set_word(out, "mask", mask, err);
    const struct {
        const char *name;
        int64_t value;
    } dims[] = {
        {"head_dim", d->head_dim}, {"batch", d->batch},     {"heads_q", d->heads_q},
        {"heads_kv", d->heads_kv}, {"len_q", d->max_len_q}, {"len_kv", d->max_len_kv},
        {"window_left", left},     {"window_right", right},
    };
    for (size_t i = 0; i < sizeof dims / sizeof dims[0] && st == ST_OK; i++)
        st = gen_problem_set(out, dims[i].name, dims[i].value, err);
    return st;
}

static int64_t dim(const GenProblem *problem, const char *name) {
    int64_t value = 0;
    return gen_problem_get(problem, name, &value) ? value : 0;
}

static int64_t length_of(int64_t value) {
    return value == 0 ? SEQTUNE_LENGTH_ZERO : value;
}

static bool is_word(const GenProblem *problem, const char *name, const char *word) {
    const char *got = gen_problem_word(problem, name);
    return got != NULL && strcmp(got, word) == 0;
}

static Status describe(const GenProblem *problem, PlanDesc *out, Error *err) {
    (void)err;
    *out = (PlanDesc){.kind = PLAN_ATTENTION, .u.attention = SEQTUNE_ATTENTION_DESC_INIT};
    Desc *d = &out->u.attention;
    d->dtype = is_word(problem, "dtype", "bf16") ? SEQTUNE_BF16 : SEQTUNE_F16;
    d->batch = dim(problem, "batch");
    d->heads_q = dim(problem, "heads_q");
    d->heads_kv = dim(problem, "heads_kv");
    d->head_dim = dim(problem, "head_dim");
    d->max_len_q = length_of(dim(problem, "len_q"));
    d->max_len_kv = length_of(dim(problem, "len_kv"));
    d->mask = is_word(problem, "mask", "causal") ? SEQTUNE_MASK_CAUSAL : SEQTUNE_MASK_NONE;
    if (is_word(problem, "mask", "window"))
        d->window = (seqtune_window){SEQTUNE_WINDOW_BOTH, dim(problem, "window_left"),
                                     dim(problem, "window_right")};
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
        .lse_batch = d->heads_q * d->max_len_q,
        .lse_head = d->max_len_q,
        .batch = (int)d->batch,
        .heads_q = (int)d->heads_q,
        .heads_kv = (int)d->heads_kv,
        .group = (int)(d->heads_q / d->heads_kv),
        .window_left = (int)left,
        .window_right = (int)right,
        .scale = d->scale,
        .scale_log2 = (float)((double)d->scale * 1.4426950408889634), /* log2(e) */
    };
}

const PlanFamily *attention_family(void) {
    static const PlanFamily family = {"attn_prefill", "attn",   normalise,
                                      set_problem,    describe, set_params};
    return &family;
}

/* ---- run ---- */

/* A length argument: 0 is the plan's, SEQTUNE_LENGTH_ZERO is 0. */
static Status take_length(const char *name, int64_t given, int64_t max, int64_t *out, Error *err) {
    *out = given == 0 ? max : given == SEQTUNE_LENGTH_ZERO ? 0 : given;
    if (*out < 0 || *out > max)
        return err_set(err, ST_INVALID, "%s is %lld: must be 0..%lld, what the plan was made for",
                       name, (long long)given, (long long)max);
    return ST_OK;
}

static Status check_args(const seqtune_plan *plan, const seqtune_attention_args *args,
                         AttnParams *p, Error *err) {
    const Desc *d = &plan->desc.u.attention;
    int64_t len_q = 0, len_kv = 0;
    Status st = take_length("len_q", args->len_q, d->max_len_q, &len_q, err);
    if (st == ST_OK) st = take_length("len_kv", args->len_kv, d->max_len_kv, &len_kv, err);
    if (st != ST_OK) return st;
    p->len_q = (int)len_q;
    p->len_kv = (int)len_kv;
    if (len_q == 0) return ST_OK;
    st = plan_check_pointer("q", args->q, 16, err);
    if (st == ST_OK) st = plan_check_pointer("o", args->o, 16, err);
    if (st == ST_OK && len_kv > 0) st = plan_check_pointer("k", args->k, 16, err);
    if (st == ST_OK && len_kv > 0) st = plan_check_pointer("v", args->v, 16, err);
    if (st == ST_OK && d->want_lse) st = plan_check_pointer("lse", args->lse, 4, err);
    if (st == ST_OK && !d->want_lse && args->lse != 0)
        st = err_set(err, ST_INVALID, "lse is given, but the description had want_lse = 0");
    return st;
}

static Status run(const seqtune_plan *plan, const seqtune_attention_args *args,
                  seqtune_device_ptr workspace, seqtune_stream stream, Error *err) {
    static const char *const names[] = {"len_q", "len_kv"};
    if (plan->desc.kind != PLAN_ATTENTION)
        return err_set(err, ST_INVALID, "the plan is not one of seqtune_plan_attention");
    if (args == NULL) return err_set(err, ST_INVALID, "args is NULL");
    Status st = plan_check_size("attention arguments", args->size, sizeof *args,
                                "SEQTUNE_ATTENTION_ARGS_INIT", err);
    PlanParams params = plan->params;
    if (st == ST_OK) st = check_args(plan, args, &params.attn, err);
    if (st == ST_OK) st = plan_check_workspace(plan, workspace, err);
    if (st != ST_OK || params.attn.len_q == 0) return st;
    params.attn.q = args->q;
    params.attn.k = args->k;
    params.attn.v = args->v;
    params.attn.o = args->o;
    params.attn.lse = args->lse;
    params.attn.workspace = workspace;
    const int64_t values[] = {params.attn.len_q, params.attn.len_kv};
    GenLaunch space[GEN_MAX_STEPS];
    const GenLaunch *launches = NULL;
    size_t count = 0;
    st = plan_launches_for(plan, names, values, 2, space, &launches, &count, err);
    return st != ST_OK ? st : plan_launch(plan, launches, count, &params, stream, err);
}

seqtune_status seqtune_run_attention(const seqtune_plan *plan, const seqtune_attention_args *args,
                                     seqtune_device_ptr workspace, seqtune_stream stream) {
    if (plan == NULL) return SEQTUNE_INVALID;
    Error err;
    Status st = run(plan, args, workspace, stream, &err);
    if (st != ST_OK) err_wrap(&err, "seqtune_run_attention");
    return context_fail(plan->ctx, st, &err);
}

seqtune_status seqtune_plan_attention(seqtune_context *ctx, const seqtune_attention_desc *desc,
                                      seqtune_plan **out) {
    if (out != NULL) *out = NULL;
    if (ctx == NULL || desc == NULL || out == NULL) return SEQTUNE_INVALID;
    Error err = {0};
    PlanDesc any = {.kind = PLAN_ATTENTION, .u.attention = *desc};
    Status st = plan_create(ctx, NULL, &any, NULL, out, &err);
    if (st != ST_OK) err_wrap(&err, "seqtune_plan_attention");
    return context_fail(ctx, st, &err);
}

seqtune_status seqtune_supports_attention(seqtune_context *ctx,
                                          const seqtune_attention_desc *desc) {
    if (ctx == NULL || desc == NULL) return SEQTUNE_INVALID;
    Error err = {0};
    PlanDesc any = {.kind = PLAN_ATTENTION, .u.attention = *desc};
    Status st = plan_supported(ctx, &any, &err);
    if (st != ST_OK) err_wrap(&err, "seqtune_supports_attention");
    return context_fail(ctx, st, &err);
}
