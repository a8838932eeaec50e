/* The public functions of attention: arguments to parameters, and the launch. */
#include "runtime/attention_check.h"
#include "runtime/plan_internal.h"

typedef seqtune_attention_desc Desc;

/* A length argument: 0 is the plan's, SEQTUNE_LENGTH_ZERO is 0. */
static Status take_length(const char *name, int64_t given, int64_t max, int64_t *out, Error *err) {
    *out = given == 0 ? max : given == SEQTUNE_LENGTH_ZERO ? 0 : given;
    if (*out < 0 || *out > max)
        return err_set(err, ST_INVALID, "%s is %lld: must be 0..%lld, what the plan was made for",
                       name, (long long)given, (long long)max);
    return ST_OK;
}

/* A device array that the description asks for, or forbids. */
static Status check_array(const char *name, seqtune_device_ptr address, int align, bool wanted,
                          const char *when, Error *err) {
    if (!wanted && address != 0)
        return err_set(err, ST_INVALID, "%s is given, but the description has no %s", name, when);
    return wanted ? plan_check_pointer(name, address, align, err) : ST_OK;
}

static Status check_arrays(const Desc *d, const seqtune_attention_args *a, Error *err) {
    const bool paged = d->kv == SEQTUNE_KV_PAGED, ragged_kv = d->kv == SEQTUNE_KV_RAGGED;
    const bool csr = paged && d->page_table == SEQTUNE_PAGES_CSR;
    /* Lengths of a dense K/V may stay those of the description when only Q is ragged. */
    const bool lens = paged || (d->device_lengths && !d->ragged_q && !ragged_kv);
    const bool scales = d->kv_dtype != SEQTUNE_KV_SAME;
    const struct {
        const char *name;
        seqtune_device_ptr address;
        int align;
        bool wanted, optional;
        const char *when;
    } rows[] = {
        {"lse", a->lse, 4, d->want_lse, false, "want_lse = 1"},
        {"cu_seqlens_q", a->cu_seqlens_q, 4, d->ragged_q, false, "ragged_q = 1"},
        {"cu_seqlens_kv", a->cu_seqlens_kv, 4, ragged_kv, false, "kv = SEQTUNE_KV_RAGGED"},
        {"lens_kv", a->lens_kv, 4, lens, d->device_lengths && !ragged_kv, "device_lengths = 1"},
        {"block_table", a->block_table, 4, paged && !csr, false, "block table"},
        {"page_indptr", a->page_indptr, 4, csr, false, "page_table = SEQTUNE_PAGES_CSR"},
        {"page_indices", a->page_indices, 4, csr, false, "page_table = SEQTUNE_PAGES_CSR"},
        {"k_scale", a->k_scale, 4, scales && a->k_scale != 0, scales, "8-bit kv_dtype"},
        {"v_scale", a->v_scale, 4, scales && a->v_scale != 0, scales, "8-bit kv_dtype"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const bool wanted = rows[i].wanted || (rows[i].optional && rows[i].address != 0);
        Status st =
            check_array(rows[i].name, rows[i].address, rows[i].align, wanted, rows[i].when, err);
        if (st != ST_OK) return st;
    }
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
    p->own_first = p->top_left ? 0 : p->len_kv - p->len_q;
    if (len_q == 0) return ST_OK;
    st = plan_check_pointer("q", args->q, 16, err);
    if (st == ST_OK) st = plan_check_pointer("o", args->o, 16, err);
    if (st == ST_OK && len_kv > 0) st = plan_check_pointer("k", args->k, 16, err);
    if (st == ST_OK && len_kv > 0) st = plan_check_pointer("v", args->v, 16, err);
    return st != ST_OK ? st : check_arrays(d, args, err);
}

static void take_args(const seqtune_attention_args *a, seqtune_device_ptr workspace,
                      AttnParams *p) {
    p->q = a->q;
    p->k = a->k;
    p->v = a->v;
    p->o = a->o;
    p->lse = a->lse;
    p->workspace = workspace;
    p->cu_seqlens_q = a->cu_seqlens_q;
    p->cu_seqlens_kv = a->cu_seqlens_kv;
    p->lens_kv = a->lens_kv;
    p->pages = a->page_indices != 0 ? a->page_indices : a->block_table;
    p->page_indptr = a->page_indptr;
    p->k_scale = a->k_scale;
    p->v_scale = a->v_scale;
}

/* Kernels that split the keys do so on the device, within the grid of the plan's capacities, for
 * which the workspace was made; the others have a grid per length. */
static Status choose_launches(const seqtune_plan *plan, AttnParams *p,
                              GenLaunch space[GEN_MAX_STEPS], const GenLaunch **out, size_t *count,
                              Error *err) {
    static const char *const names[] = {"len_q", "len_kv"};
    const int64_t values[] = {p->len_q, p->len_kv};
    int64_t unused = 0;
    if (!gen_problem_get(&plan->problem, "max_splits", &unused))
        return plan_launches_for(plan, names, values, 2, space, out, count, err);
    *out = plan->launches;
    *count = plan->count;
    if (plan->count > 0) p->splits = (int)plan->launches[0].grid[0];
    return ST_OK;
}

static Status run(const seqtune_plan *plan, const seqtune_attention_args *args,
                  seqtune_device_ptr workspace, seqtune_stream stream, Error *err) {
    if (plan->desc.kind != PLAN_ATTENTION)
        return err_set(err, ST_INVALID, "the plan is not one of seqtune_plan_attention");
    if (args == NULL) return err_set(err, ST_INVALID, "args is NULL");
    Status st = plan_check_size("attention arguments", args->size, sizeof *args,
                                "SEQTUNE_ATTENTION_ARGS_INIT", err);
    PlanParams params = plan->params;
    if (st == ST_OK) st = check_args(plan, args, &params.attn, err);
    if (st == ST_OK) st = plan_check_workspace(plan, workspace, err);
    if (st != ST_OK || params.attn.len_q == 0) return st;
    take_args(args, workspace, &params.attn);
    if (plan->desc.u.attention.flags & SEQTUNE_CHECKED) {
        st = attention_check_tables(plan, &params.attn, stream, err);
        if (st != ST_OK) return st;
    }
    GenLaunch space[GEN_MAX_STEPS];
    const GenLaunch *launches = NULL;
    size_t count = 0;
    st = choose_launches(plan, &params.attn, space, &launches, &count, err);
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
