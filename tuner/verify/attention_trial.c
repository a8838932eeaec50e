/* Places, buffers and the launch of an attention case; see the header. */
#include "tuner/verify/attention_trial.h"

#include <math.h>
#include <string.h>

#include "tuner/verify/kv8.h"

static bool ragged(const Trial *t) {
    return t->c->serving == SERVING_RAGGED;
}

static bool paged(const Trial *t) {
    return t->c->serving == SERVING_PAGED || t->c->serving == SERVING_CSR;
}

static bool ragged_q(const Trial *t) {
    return ragged(t) || t->c->serving == SERVING_CSR;
}

/* ---- lengths and pages ---- */

/* Sequences of one case differ as much as they can: whole, two thirds, no keys, no queries. */
static void set_lengths(Trial *t) {
    const AttentionCase *c = t->c;
    const bool differ = c->serving != SERVING_UNIFORM && c->input != INPUT_TWINS;
    for (int64_t b = 0; b < c->batch; b++) {
        t->lens_q[b] = c->len_q;
        t->lens_kv[b] = c->len_kv;
        if (!differ || b == 0) continue;
        if (b % 4 == 1) t->lens_kv[b] = c->len_kv * 2 / 3;
        if (b % 4 == 2) t->lens_kv[b] = 0;
        if (!ragged_q(t)) continue;
        t->lens_q[b] = b % 4 == 1 ? 1 : b % 4 == 2 ? c->len_q / 2 + 1 : 0;
        if (t->lens_q[b] > c->len_q) t->lens_q[b] = c->len_q;
    }
    for (int64_t b = 0; b < c->batch; b++) {
        t->cu_q[b + 1] = t->cu_q[b] + (int)t->lens_q[b];
        t->cu_kv[b + 1] = t->cu_kv[b] + (int)t->lens_kv[b];
    }
}

/* Pages are dealt in an order that is neither ascending nor the sequences', from a pool with as
 * many unused ones. Block tables have room for the capacity; CSR rows end with the length. */
static Status set_pages(Trial *t, Error *err) {
    const AttentionCase *c = t->c;
    const int64_t size = c->page_size, each = (c->len_kv + c->spare + size - 1) / size;
    const bool csr = c->serving == SERVING_CSR;
    t->table_stride = each > 0 ? each : 1;
    t->page_entries = t->table_stride * c->batch;
    t->page_count = 2 * t->page_entries + 1;
    t->pages = ARENA_ARRAY(t->check->arena, int, (size_t)t->page_entries + 1);
    if (!t->pages) return err_no_memory(err, (size_t)t->page_entries);
    for (int64_t i = 0; i <= t->page_entries; i++) t->pages[i] = -1;
    int64_t dealt = 0, next = 0;
    for (int64_t b = 0; b < c->batch; b++) {
        const int64_t used = (t->lens_kv[b] + size - 1) / size;
        t->table[b] = csr ? next : b * t->table_stride;
        t->indptr[b] = (int)t->table[b];
        for (int64_t i = 0; i < used; i++, dealt++) /* 2 and 2n + 1 have no common factor */
            t->pages[t->table[b] + i] = (int)((2 * dealt + 1) % t->page_count);
        next += used;
    }
    t->indptr[c->batch] = (int)next;
    return ST_OK;
}

/* Scales of 8-bit K and V: none (each is 1), one each, or one per head, by turns. Those of V are
 * powers of two, so that a probe's 1 is exact; those of K are not. */
static void set_scales(Trial *t) {
    const int64_t heads = t->c->heads_kv, turn = (t->c->len_q + t->c->len_kv) % 3;
    t->v_scale = t->k_scale + heads;
    t->scales = t->kv_dtype == SEQTUNE_KV_SAME || turn == 0 ? 0
                : turn == 1 || t->c->input == INPUT_TWINS   ? 1
                                                            : (int)heads;
    for (int64_t h = 0; h < heads; h++) {
        const int64_t own = t->scales > 1 ? h : 0;
        t->k_scale[h] = t->scales == 0 ? 1.0F : 0.1F * (float)(own % 3 + 1);
        t->v_scale[h] = t->scales == 0 ? 1.0F : ldexpf(1.0F, -1 - (int)(own % 3));
    }
}

/* ---- places ---- */

static int64_t place(const Places *p, int64_t b, int64_t token, int64_t head) {
    if (p->first) return view_offset(&p->view, 0, p->first[b] + token, head);
    if (!p->pages) return view_offset(&p->view, b, token, head);
    const int64_t page = p->pages[p->table[b] + token / p->page_size];
    return view_offset(&p->view, page, token % p->page_size, head);
}

static int64_t kv_bytes(const Trial *t) {
    return t->kv_dtype == SEQTUNE_KV_SAME ? 2 : 1;
}

/* Elements of 16 bytes. */
static int64_t kv_gap(const Trial *t) {
    return 16 / kv_bytes(t);
}

static Places place_rows(const Trial *t, Layout layout, int64_t gap, const int *first,
                         int64_t tokens, int64_t heads) {
    const int64_t spare = t->c->spare;
    if (!first) return (Places){.view = view_make(layout, gap, t->c->batch, tokens, heads, t->dim)};
    return (Places){.view = view_make(layout, gap, 1, first[t->c->batch] + spare, heads, t->dim),
                    .first = first};
}

static Places place_keys(const Trial *t, Layout layout) {
    const int64_t cap = t->c->len_kv + t->c->spare, heads = t->c->heads_kv;
    if (!paged(t)) return place_rows(t, layout, kv_gap(t), ragged(t) ? t->cu_kv : NULL, cap, heads);
    return (Places){.view =
                        view_make(layout, kv_gap(t), t->page_count, t->c->page_size, heads, t->dim),
                    .pages = t->pages,
                    .table = t->table,
                    .page_size = t->c->page_size};
}

/* Q, K, V and O lie differently, so that no stride can stand in for another. */
static void set_places(Trial *t) {
    const AttentionCase *c = t->c;
    const Layout other = (Layout)((c->layout + 1) % LAYOUT_COUNT);
    const int *first = ragged_q(t) ? t->cu_q : NULL;
    t->q_at = place_rows(t, c->layout, 8, first, c->len_q + c->spare, t->heads_q);
    t->o_at = place_rows(t, other, 8, first, c->len_q + c->spare, t->heads_q);
    t->k_at = place_keys(t, c->layout);
    t->v_at = place_keys(t, other);
}

Status trial_arrange(Trial *t, Error *err) {
    const AttentionCase *c = t->c;
    Arena *arena = t->check->arena;
    const size_t rows = (size_t)(c->batch * c->len_q * t->heads_q), dim = (size_t)t->dim;
    const size_t keys = (size_t)(c->batch * c->len_kv * c->heads_kv), batch = (size_t)c->batch;
    double **const arrays[] = {&t->q_values, &t->out,     &t->ref,      &t->naive,
                               &t->lse_out,  &t->lse_ref, &t->k_values, &t->v_values};
    const size_t sizes[] = {rows * dim, rows * dim, rows * dim, rows * dim,
                            rows,       rows,       keys * dim, keys * dim};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *arrays[i] = ARENA_ARRAY(arena, double, sizes[i] + 1);
        if (!*arrays[i]) return err_no_memory(err, sizes[i] * sizeof(double));
    }
    t->lens_q = ARENA_ARRAY(arena, int64_t, 3 * batch);
    t->cu_q = ARENA_ARRAY(arena, int, 3 * (batch + 1));
    if (!t->lens_q || !t->cu_q) return err_no_memory(err, batch);
    t->lens_kv = t->lens_q + batch;
    t->table = t->lens_kv + batch;
    t->cu_kv = t->cu_q + batch + 1;
    t->indptr = t->cu_kv + batch + 1;
    t->k_scale = ARENA_ARRAY(arena, float, 2 * (size_t)c->heads_kv);
    if (!t->k_scale) return err_no_memory(err, (size_t)c->heads_kv);
    set_lengths(t);
    set_scales(t);
    if (paged(t)) {
        const Status status = set_pages(t, err);
        if (status != ST_OK) return status;
    }
    set_places(t);
    return ST_OK;
}

/* ---- the description ---- */

static int64_t length(int64_t n) {
    return n == 0 ? SEQTUNE_LENGTH_ZERO : n;
}

static void describe_serving(const Trial *t, seqtune_attention_desc *d) {
    d->ragged_q = ragged_q(t);
    d->device_lengths = t->c->serving != SERVING_UNIFORM;
    if (d->ragged_q) d->total_q = t->cu_q[t->c->batch] + t->c->spare;
    if (ragged(t)) d->kv = SEQTUNE_KV_RAGGED;
    if (!paged(t)) return;
    d->kv = SEQTUNE_KV_PAGED;
    d->page_size = t->c->page_size;
    d->pages = t->page_count;
    if (t->c->serving == SERVING_CSR)
        d->page_table = SEQTUNE_PAGES_CSR;
    else
        d->block_table_stride = t->table_stride;
}

void trial_describe(const Trial *t, PlanDesc *desc) {
    const AttentionCase *c = t->c;
    *desc = (PlanDesc){.kind = PLAN_ATTENTION};
    seqtune_attention_desc *d = &desc->u.attention;
    *d = (seqtune_attention_desc)SEQTUNE_ATTENTION_DESC_INIT;
    d->dtype = t->api_type;
    d->batch = c->batch;
    d->heads_q = t->heads_q;
    d->heads_kv = c->heads_kv;
    d->head_dim = t->dim;
    d->max_len_q = length(c->len_q + c->spare);
    d->max_len_kv = length(c->len_kv + c->spare);
    d->mask = c->mask;
    d->window = c->window;
    d->scale = c->scale;
    d->want_lse = c->lse;
    d->kv_dtype = t->kv_dtype;
    if (c->invariant) d->flags = SEQTUNE_BATCH_INVARIANT;
    d->scale_per_head = t->scales > 1;
    const View *const views[] = {&t->q_at.view, &t->k_at.view, &t->v_at.view, &t->o_at.view};
    int64_t *const strides[] = {&d->q_stride_batch, &d->k_stride_batch, &d->v_stride_batch,
                                &d->o_stride_batch};
    for (int i = 0; i < 4; i++) { /* batch, token, head follow each other in the description */
        strides[i][0] = views[i]->stride_batch;
        strides[i][1] = views[i]->stride_token;
        strides[i][2] = views[i]->stride_head;
    }
    describe_serving(t, d);
}

/* ---- buffers ---- */

static void store(const Trial *t, const Places *p, TrialBuffer to, const int64_t *lens, int64_t cap,
                  const double *values) {
    uint16_t *image = guarded_image(&t->buffer[to]);
    const int64_t heads = p->view.heads;
    for (int64_t b = 0; b < t->c->batch; b++) {
        for (int64_t i = 0; i < lens[b] * heads; i++) {
            const double *from = values + (b * cap * heads + i) * t->dim;
            uint16_t *row = image + place(p, b, i / heads, i % heads);
            for (int64_t d = 0; d < t->dim; d++) row[d] = dtype_encode(t->type, from[d]);
        }
    }
}

/* K or V of 8 bits: the values are codes times the head's scale. */
static void store_kv8(const Trial *t, const Places *p, TrialBuffer to, const float *scale,
                      const double *values) {
    uint8_t *image = guarded_image(&t->buffer[to]);
    const int64_t heads = p->view.heads;
    for (int64_t b = 0; b < t->c->batch; b++) {
        for (int64_t i = 0; i < t->lens_kv[b] * heads; i++) {
            const double *from = values + (b * t->c->len_kv * heads + i) * t->dim;
            uint8_t *row = image + place(p, b, i / heads, i % heads);
            for (int64_t d = 0; d < t->dim; d++)
                row[d] = kv8_encode(t->kv_dtype, from[d] / (double)scale[i % heads]);
        }
    }
}

static void store_keys(const Trial *t) {
    if (t->kv_dtype == SEQTUNE_KV_SAME) {
        store(t, &t->k_at, TRIAL_K, t->lens_kv, t->c->len_kv, t->k_values);
        store(t, &t->v_at, TRIAL_V, t->lens_kv, t->c->len_kv, t->v_values);
        return;
    }
    store_kv8(t, &t->k_at, TRIAL_K, t->k_scale, t->k_values);
    store_kv8(t, &t->v_at, TRIAL_V, t->v_scale, t->v_values);
    memcpy(guarded_image(&t->buffer[TRIAL_K_SCALE]), t->k_scale, t->buffer[TRIAL_K_SCALE].bytes);
    memcpy(guarded_image(&t->buffer[TRIAL_V_SCALE]), t->v_scale, t->buffer[TRIAL_V_SCALE].bytes);
}

static int64_t lse_at(const Trial *t, int64_t b, int64_t h, int64_t i) {
    if (ragged_q(t)) return h * (t->cu_q[t->c->batch] + t->c->spare) + t->cu_q[b] + i;
    return (b * t->heads_q + h) * (t->c->len_q + t->c->spare) + i;
}

static size_t lse_bytes(const Trial *t) {
    if (!t->c->lse) return 0;
    if (ragged_q(t))
        return (size_t)(t->heads_q * (t->cu_q[t->c->batch] + t->c->spare)) * sizeof(float);
    return (size_t)(t->c->batch * t->heads_q * (t->c->len_q + t->c->spare)) * sizeof(float);
}

static void store_ints(const Trial *t, TrialBuffer to, const int *values) {
    const size_t bytes = t->buffer[to].bytes;
    if (bytes > 0) memcpy(guarded_image(&t->buffer[to]), values, bytes);
}

static void store_tables(const Trial *t) {
    int *lens = guarded_image(&t->buffer[TRIAL_LENS]);
    for (size_t b = 0; b < t->buffer[TRIAL_LENS].bytes / sizeof *lens; b++)
        lens[b] = (int)t->lens_kv[b];
    store_ints(t, TRIAL_CU_Q, t->cu_q);
    store_ints(t, TRIAL_CU_KV, t->cu_kv);
    store_ints(t, TRIAL_PAGES, t->pages);
    store_ints(t, TRIAL_INDPTR, t->indptr);
}

Status trial_buffers(Trial *t, Error *err) {
    const size_t batch = (size_t)t->c->batch, each = sizeof(int);
    const bool lens = paged(t) || t->c->serving == SERVING_LENGTHS;
    const struct {
        const char *name;
        size_t bytes;
    } rows[] = {
        [TRIAL_Q] = {"Q", view_elements(&t->q_at.view) * 2},
        [TRIAL_K] = {"K", view_elements(&t->k_at.view) * (size_t)kv_bytes(t)},
        [TRIAL_V] = {"V", view_elements(&t->v_at.view) * (size_t)kv_bytes(t)},
        [TRIAL_O] = {"O", view_elements(&t->o_at.view) * 2},
        [TRIAL_LSE] = {"LSE", lse_bytes(t)},
        [TRIAL_WORKSPACE] = {"workspace", seqtune_plan_workspace(t->plan)},
        [TRIAL_CU_Q] = {"cu_seqlens_q", ragged_q(t) ? (batch + 1) * each : 0},
        [TRIAL_CU_KV] = {"cu_seqlens_kv", ragged(t) ? (batch + 1) * each : 0},
        [TRIAL_LENS] = {"lens_kv", lens ? batch * each : 0},
        [TRIAL_PAGES] = {"the page table", paged(t) ? (size_t)t->page_entries * each : 0},
        [TRIAL_INDPTR] = {"page_indptr", t->c->serving == SERVING_CSR ? (batch + 1) * each : 0},
        [TRIAL_K_SCALE] = {"k_scale", (size_t)t->scales * sizeof(float)},
        [TRIAL_V_SCALE] = {"v_scale", (size_t)t->scales * sizeof(float)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Status status =
            guarded_init(t->check->ctx, rows[i].name, rows[i].bytes, &t->buffer[i], err);
        if (status != ST_OK) return status;
    }
    store(t, &t->q_at, TRIAL_Q, t->lens_q, t->c->len_q, t->q_values);
    store_keys(t);
    store_tables(t);
    return ST_OK;
}

/* ---- the launch ---- */

static seqtune_device_ptr address(const Trial *t, TrialBuffer which) {
    return t->buffer[which].bytes > 0 ? guarded_address(&t->buffer[which]) : 0;
}

static seqtune_attention_args arguments(const Trial *t) {
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    const bool uniform = t->c->serving == SERVING_UNIFORM;
    args.q = guarded_address(&t->buffer[TRIAL_Q]);
    args.k = guarded_address(&t->buffer[TRIAL_K]);
    args.v = guarded_address(&t->buffer[TRIAL_V]);
    args.o = guarded_address(&t->buffer[TRIAL_O]);
    args.lse = t->c->lse ? guarded_address(&t->buffer[TRIAL_LSE]) : 0;
    /* Without spare capacity, or with lengths on the device, 0 says the description's. */
    args.len_q = t->c->spare && !ragged_q(t) ? length(t->c->len_q) : 0;
    args.len_kv = t->c->spare && uniform ? length(t->c->len_kv) : 0;
    args.cu_seqlens_q = address(t, TRIAL_CU_Q);
    args.cu_seqlens_kv = address(t, TRIAL_CU_KV);
    args.lens_kv = address(t, TRIAL_LENS);
    args.page_indptr = address(t, TRIAL_INDPTR);
    args.k_scale = address(t, TRIAL_K_SCALE);
    args.v_scale = address(t, TRIAL_V_SCALE);
    if (t->c->serving == SERVING_CSR)
        args.page_indices = address(t, TRIAL_PAGES);
    else
        args.block_table = address(t, TRIAL_PAGES);
    return args;
}

Status trial_launch(Trial *t, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < TRIAL_BUFFERS && status == ST_OK; i++)
        if (t->buffer[i].ctx) status = guarded_upload(&t->buffer[i], err);
    if (status != ST_OK) return status;
    const seqtune_attention_args args = arguments(t);
    seqtune_status s =
        seqtune_run_attention(t->plan, &args, guarded_address(&t->buffer[TRIAL_WORKSPACE]), NULL);
    if (s == SEQTUNE_OK) s = seqtune_device_synchronize(t->check->ctx);
    if (s != SEQTUNE_OK) return err_set(err, (Status)s, "%s", seqtune_last_error(t->check->ctx));
    for (int i = 0; i < TRIAL_BUFFERS && status == ST_OK; i++)
        if (t->buffer[i].ctx) status = guarded_download(&t->buffer[i], err);
    return status;
}

static void take_lse(Trial *t, int64_t b, int64_t h) {
    float *image = guarded_image(&t->buffer[TRIAL_LSE]);
    const float *result = guarded_result(&t->buffer[TRIAL_LSE]);
    for (int64_t i = 0; i < t->lens_q[b]; i++) {
        const int64_t at = lse_at(t, b, h, i);
        memcpy(&image[at], &result[at], sizeof *image); /* bits: may be a NaN */
        t->lse_out[(b * t->heads_q + h) * t->c->len_q + i] = (double)result[at];
    }
}

static void take_row(Trial *t, int64_t b, int64_t i, int64_t h) {
    const int64_t at = place(&t->o_at, b, i, h);
    uint16_t *image = (uint16_t *)guarded_image(&t->buffer[TRIAL_O]) + at;
    const uint16_t *result = (const uint16_t *)guarded_result(&t->buffer[TRIAL_O]) + at;
    double *out = t->out + ((b * t->c->len_q + i) * t->heads_q + h) * t->dim;
    for (int64_t d = 0; d < t->dim; d++) out[d] = dtype_decode(t->type, result[d]);
    memcpy(image, result, (size_t)t->dim * sizeof *image);
}

void trial_results(Trial *t) {
    Guarded *workspace = &t->buffer[TRIAL_WORKSPACE];
    memcpy(guarded_image(workspace), guarded_result(workspace), workspace->bytes);
    for (int64_t b = 0; b < t->c->batch; b++) {
        for (int64_t h = 0; h < t->heads_q; h++) {
            for (int64_t i = 0; i < t->lens_q[b]; i++) take_row(t, b, i, h);
            if (t->c->lse) take_lse(t, b, h);
        }
    }
}

void trial_free(Trial *t) {
    for (int i = 0; i < TRIAL_BUFFERS; i++) guarded_free(&t->buffer[i]);
    seqtune_plan_destroy(t->plan);
}
