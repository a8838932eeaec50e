/* Cases of kv_append and kv_gather; see the header. */
#include "tuner/verify/kv_case.h"

#include <math.h>
#include <string.h>

#include "tuner/verify/kv8.h"

size_t kv_case_element(const KvRun *r) {
    return r->kv_type == SEQTUNE_KV_SAME ? 2 : 1;
}

bool kv_case_norms(const KvRun *r, int at) {
    return r->norm && at != AT_V;
}

bool kv_case_turns(const KvRun *r, int at, int64_t token) {
    const int64_t position = r->place[token].position;
    return r->rotary_dim > 0 && at != AT_V && position >= 0 && position < KV_TABLE_ROWS;
}

double kv_case_scale(const KvRun *r, int at, int64_t head) {
    const float *scales = guarded_image(&r->b[at == AT_K ? AT_K_SCALE : AT_V_SCALE]);
    if (r->kv_type == SEQTUNE_KV_SAME || !r->c->scales) return 1;
    return (double)scales[r->c->per_head ? head : 0];
}

/* ---- the shape ---- */

static Status read_dims(KvRun *r, Error *err) {
    Check *check = r->check;
    const char *kv = gen_problem_word(check->problem, "kv_dtype");
    const char *rope = gen_problem_word(check->problem, "rope");
    int64_t norm = 0;
    if (!kv)
        return err_set(err, ST_INVALID, "verify: %s has no dimension 'kv_dtype'", check->spec_name);
    r->gather = rope == NULL; /* only an append has this dimension */
    r->interleaved = rope && strcmp(rope, "interleaved") == 0;
    r->kv_type = strcmp(kv, "e4m3") == 0   ? SEQTUNE_KV_E4M3
                 : strcmp(kv, "int8") == 0 ? SEQTUNE_KV_INT8
                                           : SEQTUNE_KV_SAME;
    Status status = check_dtype(check, &r->type, &r->api_type, err);
    if (status == ST_OK) status = check_dim(check, "head_dim", &r->head_dim, err);
    if (status != ST_OK || r->gather) return status;
    status = check_dim(check, "rotary_dim", &r->rotary_dim, err);
    if (status == ST_OK) status = check_dim(check, "qk_norm", &norm, err);
    r->norm = norm != 0;
    r->norm_eps = r->norm ? 1e-3f : 0; /* large enough that leaving it out is seen */
    return status;
}

Status kv_case_shape(KvRun *r, Error *err) {
    const KvCase *c = r->c;
    Status status = read_dims(r, err);
    if (status != ST_OK) return status;
    const int64_t capacity = c->tokens + c->spare;
    r->batch = c->placing == KV_BY_SLOT ? 0 : KV_MAX_BATCH;
    r->table_stride = c->tokens / c->page_size + 3;
    r->pages = c->placing == KV_BY_SLOT       ? c->tokens * 2 / c->page_size + 2
               : c->placing == KV_DENSE_BATCH ? r->batch
                                              : r->batch * r->table_stride + 3;
    r->entries = r->batch * r->table_stride;
    const Layout other = (Layout)((c->layout + 1) % LAYOUT_COUNT);
    const int64_t heads_q = r->gather ? 0 : c->heads_q;
    r->q = view_make(LAYOUT_PADDED, 8, 1, capacity, heads_q, r->head_dim);
    r->new_k = view_make(other, 8, 1, capacity, c->heads_kv, r->head_dim);
    r->new_v = view_make(LAYOUT_PADDED, 8, 1, capacity, c->heads_kv, r->head_dim);
    r->k = view_make(c->layout, 8, r->pages, c->page_size, c->heads_kv, r->head_dim);
    r->v = view_make(other, 8, r->pages, c->page_size, c->heads_kv, r->head_dim);
    return ST_OK;
}

void kv_case_describe(const KvRun *r, PlanDesc *out) {
    const KvCase *c = r->c;
    const int64_t capacity = c->tokens + c->spare;
    *out = (PlanDesc){.kind = PLAN_KV, .u.kv = SEQTUNE_KV_DESC_INIT};
    seqtune_kv_desc *d = &out->u.kv;
    d->op = r->gather ? SEQTUNE_KV_GATHER : SEQTUNE_KV_APPEND;
    d->dtype = r->api_type;
    d->kv_dtype = r->kv_type;
    d->max_tokens = capacity ? capacity : SEQTUNE_LENGTH_ZERO;
    d->heads_q = r->gather ? 0 : c->heads_q;
    d->heads_kv = c->heads_kv;
    d->head_dim = r->head_dim;
    d->page_size = c->page_size;
    d->pages = r->pages;
    d->page_table = c->placing == KV_BY_CSR ? SEQTUNE_PAGES_CSR : SEQTUNE_PAGES_TABLE;
    d->batch = r->batch;
    d->block_table_stride = c->placing == KV_BY_TABLE ? r->table_stride : 0;
    d->rope = r->rotary_dim > 0;
    d->rope_style = r->interleaved ? SEQTUNE_ROPE_INTERLEAVED : SEQTUNE_ROPE_NEOX;
    d->rotary_dim = r->rotary_dim;
    d->table_rows = d->rope ? KV_TABLE_ROWS : 0;
    d->qk_norm = r->norm;
    d->norm_eps = r->norm_eps;
    d->scale_per_head = c->per_head && r->kv_type != SEQTUNE_KV_SAME;
    d->q_stride_token = r->q.stride_token;
    d->q_stride_head = r->q.stride_head;
    d->new_k_stride_token = r->new_k.stride_token;
    d->new_k_stride_head = r->new_k.stride_head;
    d->new_v_stride_token = r->new_v.stride_token;
    d->new_v_stride_head = r->new_v.stride_head;
    d->k_stride_batch = r->k.stride_batch;
    d->k_stride_token = r->k.stride_token;
    d->k_stride_head = r->k.stride_head;
    d->v_stride_batch = r->v.stride_batch;
    d->v_stride_token = r->v.stride_token;
    d->v_stride_head = r->v.stride_head;
}

/* ---- places ---- */

/* Slots in an order that neighbours do not share; every seventh token has none. */
static void place_by_slot(KvRun *r) {
    const int64_t size = r->c->page_size, all = r->pages * size;
    int64_t *slots = guarded_image(&r->b[AT_SLOTS]);
    const int64_t step = all % 17 == 0 ? 1 : 17; /* a prime */
    for (int64_t t = 0; t < r->c->tokens; t++) {
        const int64_t slot = t % 7 == 3 ? -1 : (t * step + 5) % all;
        slots[t] = slot;
        r->place[t] = (KvTokenPlace){true, slot >= 0, slot / size, slot % size, -1};
    }
}

/* Half of the tokens, none, all but a few of the rest; the last few of a long input belong to no
 * sequence. */
static void split_tokens(const KvRun *r, int *cu) {
    const int64_t n = r->c->tokens, orphans = n > 20 ? 3 : 0;
    const int64_t cut[KV_MAX_BATCH + 1] = {0, n / 2, n / 2, n - orphans - n / 9, n - orphans};
    for (int i = 0; i <= KV_MAX_BATCH; i++) cu[i] = (int)cut[i];
}

static int64_t page_of(const KvRun *r, int64_t b, int64_t index) {
    if (r->c->placing == KV_DENSE_BATCH) return b;
    /* The pool has a few pages more than entries; the order is nobody's. 7 is a prime. */
    return (b * r->table_stride + index) * (r->pages % 7 == 0 ? 1 : 7) % r->pages;
}

static void place_sequence(KvRun *r, int64_t b, int64_t from, int64_t end, int64_t first) {
    const int64_t size = r->c->page_size;
    int *table = guarded_image(&r->b[AT_TABLE]);
    const bool dense = r->c->placing == KV_DENSE_BATCH;
    const int64_t row = dense ? 1 : r->table_stride;
    for (int64_t t = from; t < end; t++) {
        const int64_t position = first + t - from, index = position / size;
        KvTokenPlace *place = &r->place[t];
        *place = (KvTokenPlace){true, index < row, 0, position % size, position};
        if (!place->exists) continue;
        place->page = page_of(r, b, index);
        if (!dense) table[b * r->table_stride + index] = (int)place->page;
    }
}

static void place_by_position(KvRun *r) {
    const int64_t size = r->c->page_size;
    int *cu = guarded_image(&r->b[AT_CU]), *lens = guarded_image(&r->b[AT_LENS]);
    int *indptr = guarded_image(&r->b[AT_INDPTR]);
    split_tokens(r, cu);
    for (int64_t t = 0; t < r->c->tokens; t++) r->place[t] = (KvTokenPlace){.position = -1};
    for (int64_t b = 0; b < r->batch; b++) {
        const int64_t row = (r->c->placing == KV_DENSE_BATCH ? 1 : r->table_stride) * size;
        const int64_t most = row - (cu[b + 1] - cu[b]);
        int64_t first = b == 0 ? size - 1 : b * 3;
        if (first > most) first = most;
        if (r->c->overflow && b == r->batch - 1) first = most + 2;
        lens[b] = (int)(first > 0 ? first : 0);
        place_sequence(r, b, cu[b], cu[b + 1], lens[b]);
    }
    for (int64_t b = 0; r->c->placing == KV_BY_CSR && b <= r->batch; b++)
        indptr[b] = (int)(b * r->table_stride);
}

/* Positions of their own, some outside of the tables. */
static void fill_positions(KvRun *r, Random *rng) {
    static const int64_t outside[] = {-1, KV_TABLE_ROWS, KV_TABLE_ROWS - 1,
                                      0,  INT64_MIN,     INT64_MAX};
    const int64_t special = (int64_t)(sizeof outside / sizeof *outside);
    if (r->b[AT_POSITIONS].bytes == 0) return;
    int64_t *positions = guarded_image(&r->b[AT_POSITIONS]);
    for (int64_t t = 0; t < r->c->tokens; t++) {
        positions[t] = t > 0 && t <= special ? outside[t - 1] : random_below(rng, KV_TABLE_ROWS);
        r->place[t].position = positions[t];
    }
}

/* ---- contents ---- */

/* A row of 16-bit elements: numbers in the first `computed`, which something is computed of, then
 * every code in turn, NaNs and their bits too. */
static void fill_row(const KvRun *r, uint16_t *row, int64_t computed, uint64_t number,
                     Random *rng) {
    for (int64_t d = 0; d < r->head_dim; d++) {
        row[d] = d < computed ? dtype_encode(r->type, 2 * random_normal(rng))
                              : (uint16_t)(number * (uint64_t)r->head_dim + (uint64_t)d);
    }
}

static void fill_tokens(KvRun *r, int at, const View *view, int cache, Random *rng) {
    uint16_t *image = guarded_image(&r->b[at]);
    uint64_t number = 0;
    for (int64_t t = 0; t < r->c->tokens; t++)
        for (int64_t h = 0; h < view->heads; h++) {
            const int64_t turned = cache == AT_V ? 0 : r->rotary_dim;
            const int64_t computed = kv_case_norms(r, cache) ? r->head_dim : turned;
            fill_row(r, image + view_offset(view, 0, t, h), computed, number++, rng);
        }
}

/* All of the cache's elements hold a code, also in slots that no token has. */
static void fill_cache(KvRun *r, int at, const View *view, Random *rng) {
    const size_t each = kv_case_element(r);
    for (int64_t page = 0; page < view->batch; page++)
        for (int64_t t = 0; t < view->tokens; t++)
            for (int64_t h = 0; h < view->heads; h++) {
                uint8_t *row = (uint8_t *)guarded_image(&r->b[at]) +
                               (size_t)view_offset(view, page, t, h) * each;
                for (size_t i = 0; i < (size_t)r->head_dim * each; i++)
                    row[i] = (uint8_t)random_bits(rng);
            }
}

static void fill_tables(KvRun *r, Random *rng) {
    const int64_t half = r->rotary_dim / 2;
    float *c = guarded_image(&r->b[AT_COS]), *s = guarded_image(&r->b[AT_SIN]);
    for (int64_t i = 0; i < KV_TABLE_ROWS * half; i++) {
        const double angle = (double)(i / half) * pow(1e4, -(double)(i % half) / (double)half);
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    for (int at = AT_Q_NORM; at <= AT_K_NORM; at++)
        for (size_t i = 0; i < r->b[at].bytes / 2; i++)
            ((uint16_t *)guarded_image(&r->b[at]))[i] =
                dtype_encode(r->type, 1 + 0.3 * random_normal(rng));
    for (int at = AT_K_SCALE; at <= AT_V_SCALE; at++)
        for (size_t i = 0; i < r->b[at].bytes / 4; i++)
            ((float *)guarded_image(&r->b[at]))[i] =
                (float)(0.02 + 0.01 * (double)i + (at == AT_V_SCALE ? 0.005 : 0));
}

static Status allocate(KvRun *r, Error *err) {
    const KvCase *c = r->c;
    const bool by_slot = c->placing == KV_BY_SLOT, csr = c->placing == KV_BY_CSR;
    const bool table = csr || c->placing == KV_BY_TABLE, q = !r->gather && c->heads_q > 0;
    const bool positions = r->rotary_dim > 0 && (by_slot || c->positions);
    const bool scales = r->kv_type != SEQTUNE_KV_SAME && c->scales;
    const size_t each = kv_case_element(r), angles = (size_t)(KV_TABLE_ROWS * r->rotary_dim / 2);
    const size_t scale_count = c->per_head ? (size_t)c->heads_kv : 1;
    const size_t tokens = (size_t)c->tokens, batch = (size_t)r->batch;
    const struct {
        const char *name;
        size_t bytes;
    } rows[KV_BUFFERS] = {
        [AT_Q] = {"q", view_elements(&r->q) * 2},
        [AT_Q_OUT] = {"q_out", c->in_place ? 0 : view_elements(&r->q) * 2},
        [AT_NEW_K] = {"new_k", view_elements(&r->new_k) * 2},
        [AT_NEW_V] = {"new_v", view_elements(&r->new_v) * 2},
        [AT_K] = {"k", view_elements(&r->k) * each},
        [AT_V] = {"v", view_elements(&r->v) * each},
        [AT_SLOTS] = {"slots", by_slot ? tokens * 8 : 0},
        [AT_CU] = {"cu_seqlens", by_slot ? 0 : (batch + 1) * 4},
        [AT_LENS] = {"lens_kv", batch * 4},
        [AT_TABLE] = {"block_table", table ? (size_t)r->entries * 4 : 0},
        [AT_INDPTR] = {"page_indptr", csr ? (batch + 1) * 4 : 0},
        [AT_POSITIONS] = {"positions", positions ? tokens * 8 : 0},
        [AT_COS] = {"cos", angles * 4},
        [AT_SIN] = {"sin", angles * 4},
        [AT_Q_NORM] = {"q_norm", r->norm && q ? (size_t)r->head_dim * 2 : 0},
        [AT_K_NORM] = {"k_norm", r->norm ? (size_t)r->head_dim * 2 : 0},
        [AT_K_SCALE] = {"k_scale", scales ? scale_count * 4 : 0},
        [AT_V_SCALE] = {"v_scale", scales ? scale_count * 4 : 0},
        [AT_WORKSPACE] = {"workspace", seqtune_plan_workspace(r->plan)},
    };
    r->place = ARENA_ARRAY(r->check->arena, KvTokenPlace, tokens + 1);
    if (!r->place) return err_no_memory(err, tokens * sizeof *r->place);
    Status status = ST_OK;
    for (int i = 0; i < KV_BUFFERS && status == ST_OK; i++)
        status = guarded_init(r->check->ctx, rows[i].name, rows[i].bytes, &r->b[i], err);
    return status;
}

Status kv_case_fill(KvRun *r, Error *err) {
    Random rng = {(uint64_t)(r->c->tokens * 1000003 + r->c->heads_kv)};
    Status status = allocate(r, err);
    if (status != ST_OK) return status;
    if (r->c->placing == KV_BY_SLOT)
        place_by_slot(r);
    else
        place_by_position(r);
    fill_positions(r, &rng);
    fill_tables(r, &rng);
    fill_cache(r, AT_K, &r->k, &rng);
    fill_cache(r, AT_V, &r->v, &rng);
    if (r->gather) return ST_OK;
    fill_tokens(r, AT_Q, &r->q, AT_Q, &rng);
    fill_tokens(r, AT_NEW_K, &r->new_k, AT_K, &rng);
    fill_tokens(r, AT_NEW_V, &r->new_v, AT_V, &rng);
    return ST_OK;
}

void kv_case_free(KvRun *r) {
    for (int i = 0; i < KV_BUFFERS; i++) guarded_free(&r->b[i]);
    seqtune_plan_destroy(r->plan);
}
