/* Stand-ins for merges and the KV cache (fake_runtime.h): what is moved and quantised. Norm and
 * RoPE of an append have none; the mutants prove their checks. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tests/verify/fake_runtime.h"
#include "tuner/verify/dtype.h"
#include "tuner/verify/kv8.h"
#include "tuner/verify/reference.h"

static int64_t length(int64_t given, int64_t planned) {
    const int64_t n = given == 0 ? planned : given;
    return n == SEQTUNE_LENGTH_ZERO ? 0 : n;
}

static Dtype dtype_of(seqtune_dtype type) {
    return type == SEQTUNE_BF16 ? DTYPE_BF16 : DTYPE_F16;
}

static void *host(seqtune_device_ptr address) {
    return (void *)(uintptr_t)address;
}

/* ---- merge ---- */

typedef struct MergeRun {
    const seqtune_merge_desc *d;
    const seqtune_merge_args *args;
    Dtype type;
    Defect defect;
    RefMerge ref; /* rows: token, then head */
    double *o, *lse, *out, *out_lse, *magnitude;
} MergeRun;

static int64_t lse_at(const MergeRun *m, int64_t part, int64_t row) {
    const int64_t token = row / m->d->heads, head = row % m->d->heads;
    const bool swapped = m->defect == DEFECT_MERGE_LSE_STRIDES_SWAPPED;
    const int64_t by_head = swapped ? m->d->lse_stride_token : m->d->lse_stride_head;
    const int64_t by_token = swapped ? m->d->lse_stride_head : m->d->lse_stride_token;
    return part * m->d->lse_stride_part + head * by_head + token * by_token;
}

static double part_element(const MergeRun *m, int64_t at) {
    if (m->d->parts_f32) return (double)((const float *)host(m->args->o_parts))[at];
    return dtype_decode(m->type, ((const uint16_t *)host(m->args->o_parts))[at]);
}

static void merge_load(MergeRun *m) {
    const float *const lse = host(m->args->lse_parts);
    const int64_t dim = m->ref.head_dim;
    for (int64_t p = 0; p < m->ref.parts; p++)
        for (int64_t row = 0; row < m->ref.rows; row++) {
            const int64_t index = p * m->ref.rows + row;
            m->lse[index] = (double)lse[lse_at(m, p, row)];
            if (m->defect == DEFECT_MERGE_EMPTY_PART_COUNTS && isinf(m->lse[index]))
                m->lse[index] = -1e3; /* as a finite stand-in for -inf does */
            for (int64_t e = 0; e < dim; e++)
                m->o[index * dim + e] = part_element(m, p * m->d->o_stride_part + row * dim + e);
        }
}

static void merge_store(const MergeRun *m) {
    uint16_t *const o = host(m->args->o);
    float *const lse = host(m->args->lse);
    const int64_t dim = m->ref.head_dim;
    for (int64_t row = 0; row < m->ref.rows; row++) {
        const bool empty = isinf(m->out_lse[row]);
        const bool nan = empty && m->defect == DEFECT_MERGE_EMPTY_ROW_NAN;
        const double factor = m->defect == DEFECT_MERGE_WEIGHTS_NOT_NORMALISED ? 1.25 : 1;
        for (int64_t e = 0; e < dim; e++)
            o[row * dim + e] =
                dtype_encode(m->type, nan ? (double)NAN : factor * m->out[row * dim + e]);
        const double base = m->defect == DEFECT_MERGE_LSE_BASE_TWO ? log(2.0) : 1;
        lse[lse_at(m, 0, row)] = (float)(m->out_lse[row] / base);
    }
    if (m->defect == DEFECT_MERGE_ROW_PAST_THE_END) o[m->ref.rows * dim] = 0;
}

seqtune_status seqtune_run_merge(const seqtune_plan *plan, const seqtune_merge_args *args,
                                 seqtune_device_ptr workspace, seqtune_stream stream) {
    (void)workspace, (void)stream;
    const seqtune_merge_desc *const d = &plan->desc.u.merge;
    MergeRun m = {.d = d, .args = args, .type = dtype_of(d->dtype), .defect = plan->ctx->defect};
    m.ref.parts = length(args->parts, d->max_parts);
    m.ref.rows = length(args->tokens, d->max_tokens) * d->heads;
    m.ref.head_dim = d->head_dim;
    if (m.defect == DEFECT_MERGE_LAST_PART_LEFT_OUT && m.ref.parts > 0) m.ref.parts--;
    const size_t rows = (size_t)m.ref.rows, parts = (size_t)m.ref.parts, dim = (size_t)d->head_dim;
    double *const blocks[] = {
        m.o = mem_alloc((parts * rows * dim + 1) * 8), m.lse = mem_alloc((parts * rows + 1) * 8),
        m.out = mem_alloc((rows * dim + 1) * 8),       m.out_lse = mem_alloc((rows + 1) * 8),
        m.magnitude = mem_alloc((rows * dim + 1) * 8),
    };
    m.ref.o = m.o;
    m.ref.lse = m.lse;
    merge_load(&m);
    ref_merge(&m.ref, m.out, m.out_lse, m.magnitude);
    merge_store(&m);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) mem_free(blocks[i]);
    return SEQTUNE_OK;
}

/* ---- the KV cache ---- */

typedef struct CacheRun {
    const seqtune_kv_desc *d;
    const seqtune_kv_args *args;
    Dtype type;
    Defect defect;
} CacheRun;

typedef struct Place {
    bool token, exists; /* of a sequence; with a slot */
    int64_t page, in_page;
} Place;

static Place place_of_slot(const CacheRun *r, int64_t token) {
    int64_t slot = ((const int64_t *)host(r->args->slots))[token];
    const bool written = slot < 0 && r->defect == DEFECT_KV_SKIPPED_SLOT_WRITTEN;
    if (written) slot = 0;
    return (Place){true, slot >= 0, slot / r->d->page_size, slot % r->d->page_size};
}

static Place place_in_sequence(const CacheRun *r, int64_t b, int64_t position) {
    const int *const table = host(r->args->block_table), *const ids = host(r->args->page_indices);
    const int *const indptr = host(r->args->page_indptr);
    const int64_t index = position / r->d->page_size;
    Place p = {true, false, b, position % r->d->page_size};
    const int64_t row = r->defect == DEFECT_KV_PAGE_OF_THE_FIRST_SEQUENCE ? 0 : b;
    if (ids) {
        p.exists = index < indptr[row + 1] - indptr[row];
        if (p.exists) p.page = ids[indptr[row] + index];
    } else if (table) {
        p.exists = index < r->d->block_table_stride;
        if (p.exists) p.page = table[row * r->d->block_table_stride + index];
    } else {
        p.exists = index == 0;
        p.page = row;
    }
    if (p.page < 0) p.page = 0; /* an entry that nobody may read: no wild write in this process */
    return p;
}

static Place place_of(const CacheRun *r, int64_t token) {
    const int *const cu = host(r->args->cu_seqlens), *const lens = host(r->args->lens_kv);
    if (r->args->slots) return place_of_slot(r, token);
    for (int64_t b = 0; b < r->d->batch; b++) {
        if (token < cu[b] || token >= cu[b + 1]) continue;
        const int64_t before = lens && r->defect != DEFECT_KV_LENGTH_IGNORED ? lens[b] : 0;
        return place_in_sequence(r, b, before + token - cu[b]);
    }
    return (Place){false, false, 0, 0};
}

static uint8_t quantise(seqtune_kv_dtype type, double value, float scale) {
    if (isnan(value)) return type == SEQTUNE_KV_E4M3 ? 0x7f : 0;
    return kv8_encode(type, (double)((float)value / scale));
}

/* One row between the contiguous side (16 bits) and the cache. */
static void move_row(const CacheRun *r, uint16_t *contiguous, void *cache, float scale) {
    const seqtune_kv_dtype kv = r->d->kv_dtype;
    const bool gather = r->d->op == SEQTUNE_KV_GATHER;
    const int64_t n = r->d->head_dim - (r->defect == DEFECT_KV_LAST_ELEMENT_LEFT_OUT);
    uint8_t *const codes = cache;
    for (int64_t e = 0; e < n; e++) {
        if (kv != SEQTUNE_KV_SAME) {
            if (gather)
                contiguous[e] =
                    dtype_encode(r->type, (double)((float)kv8_decode(kv, codes[e]) * scale));
            else
                codes[e] = quantise(kv, dtype_decode(r->type, contiguous[e]), scale);
            continue;
        }
        uint16_t *const to = gather ? &contiguous[e] : &((uint16_t *)cache)[e];
        const uint16_t from = gather ? ((uint16_t *)cache)[e] : contiguous[e];
        const bool by_value = r->defect == DEFECT_KV_NAN_LOSES_ITS_BITS;
        *to = by_value ? dtype_encode(r->type, dtype_decode(r->type, from)) : from;
    }
}

static void move_token(const CacheRun *r, int64_t token, Place p) {
    const seqtune_kv_desc *const d = r->d;
    const size_t each = d->kv_dtype == SEQTUNE_KV_SAME ? 2 : 1;
    const bool as_keys = r->defect == DEFECT_KV_VALUES_BY_THE_STRIDES_OF_KEYS;
    const float *const scales[] = {host(r->args->k_scale), host(r->args->v_scale)};
    if (r->defect == DEFECT_KV_NEXT_ROW_OF_THE_PAGE) p.in_page = (p.in_page + 1) % d->page_size;
    for (int64_t h = 0; h < d->heads_kv; h++) {
        const int64_t new_k = token * d->new_k_stride_token + h * d->new_k_stride_head;
        const int64_t new_v = token * d->new_v_stride_token + h * d->new_v_stride_head;
        const int64_t k =
            p.page * d->k_stride_batch + p.in_page * d->k_stride_token + h * d->k_stride_head;
        const int64_t v =
            p.page * d->v_stride_batch + p.in_page * d->v_stride_token + h * d->v_stride_head;
        const int64_t scale = d->scale_per_head ? h : 0;
        move_row(r, (uint16_t *)host(r->args->new_k) + new_k,
                 (char *)host(r->args->k) + (size_t)k * each, scales[0] ? scales[0][scale] : 1);
        move_row(r, (uint16_t *)host(r->args->new_v) + new_v,
                 (char *)host(r->args->v) + (size_t)(as_keys ? k : v) * each,
                 scales[1] ? scales[1][scale] : 1);
    }
}

static void move_query(const CacheRun *r, int64_t token) {
    const seqtune_kv_desc *const d = r->d;
    for (int64_t h = 0; h < d->heads_q; h++) {
        const int64_t at = token * d->q_stride_token + h * d->q_stride_head;
        memmove((uint16_t *)host(r->args->q_out) + at, (uint16_t *)host(r->args->q) + at,
                (size_t)d->head_dim * 2);
    }
}

seqtune_status seqtune_run_kv(const seqtune_plan *plan, const seqtune_kv_args *args,
                              seqtune_device_ptr workspace, seqtune_stream stream) {
    (void)workspace, (void)stream;
    const seqtune_kv_desc *const d = &plan->desc.u.kv;
    const CacheRun r = {d, args, dtype_of(d->dtype), plan->ctx->defect};
    const int64_t tokens = length(args->tokens, d->max_tokens);
    for (int64_t t = 0; t < tokens; t++) {
        const Place p = place_of(&r, t);
        if (p.token) move_query(&r, t);
        if (p.exists) move_token(&r, t, p);
    }
    return SEQTUNE_OK;
}
