/* kv_append and kv_gather: what is only moved or quantised bit for bit, norm and RoPE against fp64,
 * all other bytes as they were. Launched twice: in place only once, for the second would rotate
 * again. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuner/verify/accept.h"
#include "tuner/verify/kv8.h"
#include "tuner/verify/kv_case.h"

static const KvCase quick_cases[] = {
    {37, 3, 2, 2, 16, KV_BY_SLOT, LAYOUT_PADDED, false, true, true, true, false},
    {41, 2, 2, 0, 5, KV_BY_TABLE, LAYOUT_HEADS_OUTER, true, false, true, false, true},
    {0, 2, 2, 0, 16, KV_BY_SLOT, LAYOUT_PACKED, false, true, false, false, false},
};

static const KvCase full_cases[] = {
    {37, 3, 2, 2, 16, KV_BY_SLOT, LAYOUT_PADDED, false, true, true, true, false},
    {41, 2, 2, 0, 5, KV_BY_TABLE, LAYOUT_HEADS_OUTER, true, false, true, false, true},
    {0, 2, 2, 0, 16, KV_BY_SLOT, LAYOUT_PACKED, false, true, false, false, false},
    {1, 1, 1, 0, 1, KV_BY_SLOT, LAYOUT_PACKED, false, true, false, false, false},
    {1, 0, 3, 4, 16, KV_BY_TABLE, LAYOUT_PACKED, false, false, true, true, false},
    {17, 7, 1, 0, 1, KV_BY_CSR, LAYOUT_PADDED, true, false, true, false, false},
    {40, 5, 2, 3, 3, KV_BY_CSR, LAYOUT_HEADS_OUTER, false, true, true, true, true},
    {29, 4, 4, 0, 64, KV_DENSE_BATCH, LAYOUT_PADDED, true, false, false, false, false},
    {33, 2, 1, 1, 24, KV_DENSE_BATCH, LAYOUT_HEADS_OUTER, false, true, true, true, true},
    {64, 1, 2, 0, 16, KV_BY_TABLE, LAYOUT_PADDED, false, true, false, false, false},
    {65, 8, 1, 7, 128, KV_BY_SLOT, LAYOUT_HEADS_OUTER, true, true, true, false, false},
    /* Every code of the dtype where head_dim is 64 or more. */
    {128, 0, 8, 0, 16, KV_BY_SLOT, LAYOUT_PACKED, false, true, false, false, false},
};

/* ---- what is expected of one row ---- */

/* In fp64: the row after norm and RoPE, and the absolute terms that each element went through. */
typedef struct Expected {
    double value[1024], magnitude[1024];
    bool computed[1024];
    double steps; /* ulp of fp32 that the arithmetic may be off */
} Expected;

static void expect_norm(const KvRun *r, int at, Expected *e) {
    const uint16_t *weights = guarded_image(&r->b[at == AT_Q ? AT_Q_NORM : AT_K_NORM]);
    double sum = 0;
    for (int64_t d = 0; d < r->head_dim; d++) sum += e->value[d] * e->value[d];
    const double inverse = 1 / sqrt(sum / (double)r->head_dim + (double)r->norm_eps);
    for (int64_t d = 0; d < r->head_dim; d++) {
        e->value[d] *= inverse * dtype_decode(r->type, weights[d]);
        e->computed[d] = true;
    }
    /* A sum of squares in fp32: every addition is off by half an ulp of a sum that only grows. */
    e->steps += 8 + (double)r->head_dim / 16;
}

static void expect_turn(const KvRun *r, int64_t position, Expected *e) {
    const int64_t half = r->rotary_dim / 2;
    const float *cos_row = (const float *)guarded_image(&r->b[AT_COS]) + position * half;
    const float *sin_row = (const float *)guarded_image(&r->b[AT_SIN]) + position * half;
    for (int64_t i = 0; i < half; i++) {
        const int64_t a = r->interleaved ? 2 * i : i, b = r->interleaved ? 2 * i + 1 : i + half;
        const double x = e->value[a], y = e->value[b];
        const double c = (double)cos_row[i], s = (double)sin_row[i];
        e->value[a] = x * c - y * s;
        e->value[b] = y * c + x * s;
        e->magnitude[a] = fabs(x * c) + fabs(y * s);
        e->magnitude[b] = fabs(y * c) + fabs(x * s);
        e->computed[a] = e->computed[b] = true;
    }
    e->steps += 4;
}

static void expect_row(const KvRun *r, int at, int64_t token, const uint16_t *codes, Expected *e) {
    *e = (Expected){.steps = 0};
    for (int64_t d = 0; d < r->head_dim; d++) e->value[d] = dtype_decode(r->type, codes[d]);
    if (kv_case_norms(r, at)) expect_norm(r, at, e);
    for (int64_t d = 0; d < r->head_dim; d++) e->magnitude[d] = fabs(e->value[d]);
    if (kv_case_turns(r, at, token)) expect_turn(r, r->place[token].position, e);
}

/* ---- one element ---- */

static uint8_t encode8(const KvRun *r, double value) {
    if (isnan(value)) return r->kv_type == SEQTUNE_KV_E4M3 ? 0x7f : 0;
    return kv8_encode(r->kv_type, value);
}

/* Half the distance of the codes around `value`, which is within their range. */
static double half_step8(const KvRun *r, double value) {
    if (r->kv_type == SEQTUNE_KV_INT8) return 0.5;
    const double size = fabs(value);
    return ldexp(0.5, (size < 0x1p-6 ? -6 : ilogb(size)) - 3);
}

static double quantised_ratio(const KvRun *r, uint8_t out, double ref, double magnitude,
                              double steps) {
    const bool e4m3 = r->kv_type == SEQTUNE_KV_E4M3;
    const double want = fmax(fmin(ref, e4m3 ? 448 : 127), e4m3 ? -448 : -128);
    const double error = fabs(kv8_decode(r->kv_type, out) - want);
    if (isnan(error)) return (double)INFINITY;
    return error / (half_step8(r, want) + steps * 0x1p-23 * magnitude);
}

/* error / limit of element d of an appended row. */
static double append_ratio(const KvRun *r, int at, const Expected *e, int64_t d, uint16_t in,
                           uint16_t out, double scale) {
    const bool eight = at != AT_Q && r->kv_type != SEQTUNE_KV_SAME;
    if (!eight && !e->computed[d]) return in == out ? 0 : (double)INFINITY;
    if (!eight)
        return accept_rounded(r->type, dtype_decode(r->type, out), e->value[d], e->magnitude[d],
                              e->steps);
    /* The quotient of two fp32 numbers, rounded to fp32, is what the code is of. */
    if (!e->computed[d]) {
        const float quotient = (float)e->value[d] / (float)scale;
        return encode8(r, (double)quotient) == out ? 0 : (double)INFINITY;
    }
    return quantised_ratio(r, (uint8_t)out, e->value[d] / scale, e->magnitude[d] / scale,
                           e->steps + 1);
}

static double gather_ratio(const KvRun *r, uint16_t in, uint16_t out, double scale) {
    if (r->kv_type == SEQTUNE_KV_SAME) return in == out ? 0 : (double)INFINITY;
    const float value = (float)kv8_decode(r->kv_type, (uint8_t)in) * (float)scale;
    return dtype_encode(r->type, (double)value) == out ? 0 : (double)INFINITY;
}

/* ---- a row, a run ---- */

static uint16_t code_at(const void *row, size_t each, int64_t d) {
    return each == 1 ? ((const uint8_t *)row)[d] : ((const uint16_t *)row)[d];
}

/* Compares a row from `from` (an image) to `to` (a result) and accepts it into `image`. */
static Status compare_row(KvRun *r, int at, int64_t token, int64_t head, const void *from,
                          const void *to, void *image, Error *err) {
    const size_t cache = kv_case_element(r);
    const size_t in_each = r->gather ? cache : 2, out_each = r->gather || at == AT_Q ? 2 : cache;
    const double scale = at == AT_Q ? 1 : kv_case_scale(r, at, head);
    Expected e = {.steps = 0};
    if (!r->gather) expect_row(r, at, token, from, &e);
    for (int64_t d = 0; d < r->head_dim; d++) {
        const uint16_t in = code_at(from, in_each, d), out = code_at(to, out_each, d);
        const double ratio = r->gather ? gather_ratio(r, in, out, scale)
                                       : append_ratio(r, at, &e, d, in, out, scale);
        if (check_ratio(r->check, ratio))
            return check_fail(r->check, r->text, err,
                              "element %" PRId64 " of head %" PRId64 " of %s, token %" PRId64
                              ", is 0x%04x (input 0x%04x): off by %.3g times its limit",
                              d, head, r->b[at].name, token, out, in, ratio);
    }
    memcpy(image, to, (size_t)r->head_dim * out_each);
    return ST_OK;
}

static Status compare_cache_row(KvRun *r, int at, int64_t token, int64_t head, Error *err) {
    const bool is_k = at == AT_K;
    const int contiguous = is_k ? AT_NEW_K : AT_NEW_V;
    const View *new_view = is_k ? &r->new_k : &r->new_v, *view = is_k ? &r->k : &r->v;
    const KvTokenPlace *place = &r->place[token];
    const size_t new_at = (size_t)view_offset(new_view, 0, token, head) * 2;
    const size_t cache_at =
        (size_t)view_offset(view, place->page, place->in_page, head) * kv_case_element(r);
    const int source = r->gather ? at : contiguous, target = r->gather ? contiguous : at;
    const size_t from = r->gather ? cache_at : new_at, to = r->gather ? new_at : cache_at;
    return compare_row(r, at, token, head, (char *)guarded_image(&r->b[source]) + from,
                       (char *)guarded_result(&r->b[target]) + to,
                       (char *)guarded_image(&r->b[target]) + to, err);
}

static Status compare_token(KvRun *r, int64_t token, const uint16_t *q, Error *err) {
    const KvTokenPlace *place = &r->place[token];
    const int out = r->c->in_place ? AT_Q : AT_Q_OUT;
    Status status = ST_OK;
    for (int64_t h = 0; h < r->q.heads && place->token && status == ST_OK; h++) {
        const int64_t at = view_offset(&r->q, 0, token, h);
        status = compare_row(r, AT_Q, token, h, q + at, (uint16_t *)guarded_result(&r->b[out]) + at,
                             (uint16_t *)guarded_image(&r->b[out]) + at, err);
    }
    for (int64_t h = 0; h < r->c->heads_kv && place->exists && status == ST_OK; h++) {
        status = compare_cache_row(r, AT_K, token, h, err);
        if (status == ST_OK) status = compare_cache_row(r, AT_V, token, h, err);
    }
    return status;
}

static seqtune_device_ptr address(const KvRun *r, int at) {
    return r->b[at].bytes ? guarded_address(&r->b[at]) : 0;
}

static Status launch(KvRun *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < KV_BUFFERS && status == ST_OK; i++) status = guarded_upload(&r->b[i], err);
    if (status != ST_OK) return status;
    const bool csr = r->c->placing == KV_BY_CSR;
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.q = address(r, AT_Q);
    a.q_out = r->c->in_place ? a.q : address(r, AT_Q_OUT);
    a.new_k = guarded_address(&r->b[AT_NEW_K]);
    a.new_v = guarded_address(&r->b[AT_NEW_V]);
    a.k = guarded_address(&r->b[AT_K]);
    a.v = guarded_address(&r->b[AT_V]);
    a.slots = address(r, AT_SLOTS);
    a.cu_seqlens = address(r, AT_CU);
    a.lens_kv = address(r, AT_LENS);
    a.block_table = csr ? 0 : address(r, AT_TABLE);
    a.page_indices = csr ? address(r, AT_TABLE) : 0;
    a.page_indptr = address(r, AT_INDPTR);
    a.positions = address(r, AT_POSITIONS);
    a.cos = address(r, AT_COS);
    a.sin = address(r, AT_SIN);
    a.q_norm = address(r, AT_Q_NORM);
    a.k_norm = address(r, AT_K_NORM);
    a.k_scale = address(r, AT_K_SCALE);
    a.v_scale = address(r, AT_V_SCALE);
    a.tokens = r->c->tokens ? r->c->tokens : SEQTUNE_LENGTH_ZERO;
    seqtune_status s = seqtune_run_kv(r->plan, &a, address(r, AT_WORKSPACE), NULL);
    if (s == SEQTUNE_OK) s = seqtune_device_synchronize(r->check->ctx);
    if (s != SEQTUNE_OK) return err_set(err, (Status)s, "%s", seqtune_last_error(r->check->ctx));
    for (int i = 0; i < KV_BUFFERS && status == ST_OK; i++)
        status = guarded_download(&r->b[i], err);
    memcpy(guarded_image(&r->b[AT_WORKSPACE]), guarded_result(&r->b[AT_WORKSPACE]),
           r->b[AT_WORKSPACE].bytes);
    return status;
}

static Status untouched(KvRun *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < KV_BUFFERS && status == ST_OK; i++)
        status = check_untouched(r->check, r->text, &r->b[i], err);
    return status;
}

static Status judge(KvRun *r, Error *err) {
    Status status = kv_case_fill(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    /* In place, the image of Q becomes the result while rows are compared. */
    uint16_t *q = ARENA_ARRAY(r->check->arena, uint16_t, r->b[AT_Q].bytes / 2 + 1);
    if (!q) return err_no_memory(err, r->b[AT_Q].bytes);
    memcpy(q, guarded_image(&r->b[AT_Q]), r->b[AT_Q].bytes);
    status = launch(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    for (int64_t t = 0; t < r->c->tokens && status == ST_OK; t++)
        status = compare_token(r, t, q, err);
    if (status == ST_OK) status = untouched(r, err);
    if (status != ST_OK || (r->c->in_place && r->q.heads > 0)) return status;
    /* Again: the images hold the result, which must come out bit for bit. */
    status = launch(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    return untouched(r, err);
}

static Status check_case(Check *check, const KvCase *c, size_t number, Error *err) {
    static const char *const placings[] = {"slots", "table", "csr", "dense"};
    KvRun r = {.check = check, .c = c};
    Status status = kv_case_shape(&r, err);
    if (status != ST_OK) return status;
    snprintf(r.text, sizeof r.text,
             "%s case %zu (dtype=%s kv_dtype=%d head_dim=%" PRId64 " rotary_dim=%" PRId64
             " interleaved=%d norm=%d tokens=%" PRId64 " heads=%" PRId64 "/%" PRId64
             " page_size=%" PRId64 " by=%s layout=%s in_place=%d)",
             check->spec_name, number, dtype_name(r.type), (int)r.kv_type, r.head_dim, r.rotary_dim,
             r.interleaved, r.norm, c->tokens, c->heads_q, c->heads_kv, c->page_size,
             placings[c->placing], layout_name(c->layout), c->in_place);
    PlanDesc desc;
    kv_case_describe(&r, &desc);
    status = check_plan(check, &desc, &r.plan, err);
    if (status != ST_OK) status = check_broken(check, r.text, status, err);
    if (status == ST_OK && r.plan) {
        check->result->cases++;
        status = judge(&r, err);
    }
    kv_case_free(&r);
    arena_reset(check->arena);
    return status;
}

Status check_kv(Check *check, Error *err) {
    const bool full = check->level == VERIFY_FULL;
    const KvCase *cases = full ? full_cases : quick_cases;
    const size_t count =
        full ? sizeof full_cases / sizeof *full_cases : sizeof quick_cases / sizeof *quick_cases;
    Status status = ST_OK;
    for (size_t i = 0; i < count && status == ST_OK; i++)
        status = check_case(check, &cases[i], i, err);
    return status;
}
