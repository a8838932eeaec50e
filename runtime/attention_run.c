/* Attention: the arguments of a run, checked against the description, to parameters. */
#include "runtime/plan_internal.h"

typedef seqtune_attention_desc Desc;

static Status check_arrays(const Desc *d, const seqtune_attention_args *a, Error *err) {
    const bool paged = d->kv == SEQTUNE_KV_PAGED, ragged_kv = d->kv == SEQTUNE_KV_RAGGED;
    const bool csr = paged && d->page_table == SEQTUNE_PAGES_CSR;
    /* Lengths of a dense K/V may stay those of the description when only Q is ragged. */
    const bool lens = paged || (d->device_lengths && !d->ragged_q && !ragged_kv);
    const bool scales = d->kv_dtype != SEQTUNE_KV_SAME;
    const PlanArray rows[] = {
        {"lse", a->lse, 4, d->want_lse, false, "want_lse = 1"},
        {"cu_seqlens_q", a->cu_seqlens_q, 4, d->ragged_q, false, "ragged_q = 1"},
        {"cu_seqlens_kv", a->cu_seqlens_kv, 4, ragged_kv, false, "kv = SEQTUNE_KV_RAGGED"},
        {"lens_kv", a->lens_kv, 4, lens, d->device_lengths && !ragged_kv, "device_lengths = 1"},
        {"block_table", a->block_table, 4, paged && !csr, false, "block table"},
        {"page_indptr", a->page_indptr, 4, csr, false, "page_table = SEQTUNE_PAGES_CSR"},
        {"page_indices", a->page_indices, 4, csr, false, "page_table = SEQTUNE_PAGES_CSR"},
        {"k_scale", a->k_scale, 4, false, scales, "8-bit kv_dtype"},
        {"v_scale", a->v_scale, 4, false, scales, "8-bit kv_dtype"},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = plan_check_array(&rows[i], err);
    return st;
}

static Status check_args(const seqtune_plan *plan, const seqtune_attention_args *args,
                         AttnParams *p, Error *err) {
    const Desc *d = &plan->desc.u.attention;
    int64_t len_q = 0, len_kv = 0;
    Status st = plan_take_length("len_q", args->len_q, d->max_len_q, &len_q, err);
    if (st == ST_OK) st = plan_take_length("len_kv", args->len_kv, d->max_len_kv, &len_kv, err);
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

Status attention_take_args(const seqtune_plan *plan, const void *args, seqtune_device_ptr workspace,
                           PlanCall *call, Error *err) {
    AttnParams *p = &call->params.attn;
    Status st = check_args(plan, args, p, err);
    if (st != ST_OK) return st;
    call->length[0] = p->len_q;
    call->length[1] = p->len_kv;
    call->empty = p->len_q == 0;
    /* Kernels that split the keys do so on the device, within the grid of the plan's capacities,
     * for which the workspace was made; the others have a grid per length. */
    int64_t unused = 0;
    call->whole = gen_problem_get(&plan->problem, "max_splits", &unused);
    if (call->whole && plan->count > 0) p->splits = (int)plan->launches[0].grid[0];
    take_args(args, workspace, p);
    return ST_OK;
}
