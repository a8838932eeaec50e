/* Merges of partial attention against fp64: parts with and without keys, rows without any, LSEs
 * that differ by hundreds; O of a part without keys holds NaN. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/round.h"
#include "tuner/verify/accept.h"
#include "tuner/verify/check.h"
#include "tuner/verify/random.h"
#include "tuner/verify/reference.h"

typedef struct MergeCase {
    int64_t parts, tokens, heads;
    int64_t spare;      /* capacity beyond the tokens and the parts */
    bool token_outer;   /* LSE is [token, head], else [head, token] */
    bool gaps;          /* between parts and between LSEs */
    double spread;      /* of the LSEs */
    int64_t empty_each; /* every so many (part, row) has no keys; 0: none */
} MergeCase;

static const MergeCase quick_cases[] = {
    {5, 37, 3, 1, false, true, 3, 3},
    {1, 9, 2, 0, true, false, 1, 4},
    {4, 0, 2, 0, false, false, 1, 0},
};

static const MergeCase full_cases[] = {
    {5, 37, 3, 1, false, true, 3, 3},     {1, 9, 2, 0, true, false, 1, 4},
    {4, 0, 2, 0, false, false, 1, 0},     {0, 5, 3, 2, false, false, 1, 0},
    {2, 1, 1, 0, false, false, 0, 0},     {3, 17, 5, 3, true, true, 40, 2},
    {4, 16, 4, 0, false, false, 300, 5},  {7, 33, 8, 0, true, true, 10, 1},
    {8, 64, 2, 2, false, true, 0, 7},     {9, 5, 7, 0, true, false, 5, 2},
    {64, 3, 4, 1, false, false, 2, 3},    {257, 2, 3, 0, true, true, 8, 6},
    {1024, 1, 2, 0, false, false, 1, 11},
};

enum { AT_O_PARTS, AT_LSE_PARTS, AT_O, AT_LSE, AT_WORKSPACE, BUFFERS };

typedef struct Run {
    Check *check;
    const MergeCase *c;
    char text[256];
    Dtype type;
    seqtune_dtype api_type;
    bool f32;
    RefMerge ref;
    int64_t part_o, part_lse, lse_head, lse_token;
    double *o_values, *lse_values, *o_ref, *lse_ref, *magnitude;
    Guarded b[BUFFERS];
    seqtune_plan *plan;
} Run;

static int64_t lse_at(const Run *r, int64_t part, int64_t token, int64_t head) {
    return part * r->part_lse + head * r->lse_head + token * r->lse_token;
}

static void set_strides(Run *r) {
    const MergeCase *c = r->c;
    const int64_t capacity = c->tokens + c->spare, gap = c->gaps ? 1 : 0;
    r->part_o = round_up(capacity * c->heads * r->ref.head_dim + gap * 8, 8);
    if (c->token_outer) {
        r->lse_head = 1 + gap;
        r->lse_token = c->heads * r->lse_head + gap;
        r->part_lse = capacity * r->lse_token + 3 * gap;
    } else {
        r->lse_token = 1;
        r->lse_head = capacity + gap;
        r->part_lse = c->heads * r->lse_head + 3 * gap;
    }
    if (capacity == 0) r->part_o = r->part_lse = r->lse_head = 8;
}

static void describe(const Run *r, PlanDesc *desc) {
    const MergeCase *c = r->c;
    *desc = (PlanDesc){.kind = PLAN_MERGE, .u.merge = SEQTUNE_MERGE_DESC_INIT};
    seqtune_merge_desc *d = &desc->u.merge;
    const int64_t capacity = c->tokens + c->spare, parts = c->parts + c->spare;
    d->dtype = r->api_type;
    d->parts_f32 = r->f32;
    d->max_parts = parts;
    d->max_tokens = capacity ? capacity : SEQTUNE_LENGTH_ZERO;
    d->heads = c->heads;
    d->head_dim = r->ref.head_dim;
    d->want_lse = 1;
    d->o_stride_part = r->part_o;
    d->lse_stride_part = r->part_lse;
    d->lse_stride_head = r->lse_head;
    d->lse_stride_token = r->lse_token;
}

/* ---- inputs ---- */

static Status allocate(Run *r, Error *err) {
    const MergeCase *c = r->c;
    const size_t rows = (size_t)(c->tokens * c->heads), parts = (size_t)c->parts;
    const size_t row = (size_t)r->ref.head_dim;
    Arena *arena = r->check->arena;
    r->o_values = ARENA_ARRAY(arena, double, parts *rows *row + 1);
    r->lse_values = ARENA_ARRAY(arena, double, parts *rows + 1);
    r->o_ref = ARENA_ARRAY(arena, double, rows *row + 1);
    r->lse_ref = ARENA_ARRAY(arena, double, rows + 1);
    r->magnitude = ARENA_ARRAY(arena, double, rows *row + 1);
    if (!r->o_values || !r->lse_values || !r->o_ref || !r->lse_ref || !r->magnitude)
        return err_no_memory(err, parts * rows * row * sizeof(double));
    const size_t each = r->f32 ? 4 : 2;
    const struct {
        const char *name;
        size_t bytes;
    } buffers[BUFFERS] = {
        [AT_O_PARTS] = {"o_parts", parts * (size_t)r->part_o * each},
        [AT_LSE_PARTS] = {"lse_parts", parts * (size_t)r->part_lse * 4},
        [AT_O] = {"o", rows * row * 2},
        [AT_LSE] = {"lse", rows ? (size_t)r->part_lse * 4 : 0},
        [AT_WORKSPACE] = {"workspace", seqtune_plan_workspace(r->plan)},
    };
    Status status = ST_OK;
    for (int i = 0; i < BUFFERS && status == ST_OK; i++)
        status = guarded_init(r->check->ctx, buffers[i].name, buffers[i].bytes, &r->b[i], err);
    return status;
}

/* A part of a row; its O stays NaN when it has no keys. */
static void fill_part(Run *r, Random *rng, int64_t part, int64_t token, int64_t head) {
    const int64_t dim = r->ref.head_dim, row = token * r->c->heads + head;
    const int64_t index = part * r->c->tokens * r->c->heads + row;
    /* Every fifth row has no keys at all. */
    const bool none = (r->c->empty_each > 0 && index % r->c->empty_each == 0) ||
                      (r->c->empty_each > 0 && row % 5 == 4);
    float lse = none ? -INFINITY : (float)(r->c->spread * random_normal(rng));
    ((float *)guarded_image(&r->b[AT_LSE_PARTS]))[lse_at(r, part, token, head)] = lse;
    r->lse_values[index] = (double)lse;
    for (int64_t d = 0; d < dim; d++) {
        const int64_t at = part * r->part_o + row * dim + d;
        double value = random_normal(rng);
        if (none) continue;
        if (r->f32) {
            value = (double)(float)value;
            ((float *)guarded_image(&r->b[AT_O_PARTS]))[at] = (float)value;
        } else {
            const uint16_t code = dtype_encode(r->type, value);
            value = dtype_decode(r->type, code);
            ((uint16_t *)guarded_image(&r->b[AT_O_PARTS]))[at] = code;
        }
        r->o_values[index * dim + d] = value;
    }
}

static void fill(Run *r) {
    Random rng = {(uint64_t)(r->c->parts * 1000003 + r->c->tokens)};
    for (int64_t part = 0; part < r->c->parts; part++)
        for (int64_t t = 0; t < r->c->tokens; t++)
            for (int64_t h = 0; h < r->c->heads; h++) fill_part(r, &rng, part, t, h);
    r->ref.parts = r->c->parts;
    r->ref.rows = r->c->tokens * r->c->heads;
    r->ref.o = r->o_values;
    r->ref.lse = r->lse_values;
    ref_merge(&r->ref, r->o_ref, r->lse_ref, r->magnitude);
}

/* ---- running and comparing ---- */

static Status launch(Run *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < BUFFERS && status == ST_OK; i++) status = guarded_upload(&r->b[i], err);
    if (status != ST_OK) return status;
    seqtune_merge_args args = SEQTUNE_MERGE_ARGS_INIT;
    args.o_parts = guarded_address(&r->b[AT_O_PARTS]);
    args.lse_parts = guarded_address(&r->b[AT_LSE_PARTS]);
    args.o = guarded_address(&r->b[AT_O]);
    args.lse = guarded_address(&r->b[AT_LSE]);
    args.parts = r->c->parts ? r->c->parts : SEQTUNE_LENGTH_ZERO;
    args.tokens = r->c->tokens ? r->c->tokens : SEQTUNE_LENGTH_ZERO;
    seqtune_status s =
        seqtune_run_merge(r->plan, &args, guarded_address(&r->b[AT_WORKSPACE]), NULL);
    if (s == SEQTUNE_OK) s = seqtune_device_synchronize(r->check->ctx);
    if (s != SEQTUNE_OK) return err_set(err, (Status)s, "%s", seqtune_last_error(r->check->ctx));
    for (int i = 0; i < BUFFERS && status == ST_OK; i++) status = guarded_download(&r->b[i], err);
    memcpy(guarded_image(&r->b[AT_WORKSPACE]), guarded_result(&r->b[AT_WORKSPACE]),
           r->b[AT_WORKSPACE].bytes);
    return status;
}

/* fp32 steps of one element: per part two products, one sum and two ex2 (2 ulp each), whose
 * argument is off by half an ulp of the LSEs' distance. */
static double slack_of(const Run *r) {
    return 8 + (double)r->c->parts + 4 * r->c->spread;
}

static Status compare_row(Run *r, int64_t t, int64_t h, Error *err) {
    const int64_t dim = r->ref.head_dim, row = t * r->c->heads + h;
    const uint16_t *out = guarded_result(&r->b[AT_O]);
    const float *lse = guarded_result(&r->b[AT_LSE]);
    const int64_t at = lse_at(r, 0, t, h);
    for (int64_t d = 0; d < dim; d++) {
        const double got = dtype_decode(r->type, out[row * dim + d]);
        const double want = r->o_ref[row * dim + d];
        double *worst = &r->check->result->max_abs_error;
        *worst = fmax(*worst, fabs(got - want));
        const double ratio = accept_rounded(r->type, got, want, r->magnitude[row * dim + d],
                                            isinf(r->lse_ref[row]) ? 0 : slack_of(r));
        if (check_ratio(r->check, ratio))
            return check_fail(r->check, r->text, err,
                              "o[%" PRId64 "] of head %" PRId64 ", token %" PRId64
                              " is %g, not %g: off by %.3g times its limit",
                              d, h, t, got, want, ratio);
    }
    const double ratio = accept_lse((double)lse[at], r->lse_ref[row], (double)r->c->parts, 0);
    if (check_ratio(r->check, ratio))
        return check_fail(r->check, r->text, err,
                          "lse of head %" PRId64 ", token %" PRId64 " is %g, not %g", h, t,
                          (double)lse[at], r->lse_ref[row]);
    memcpy((uint16_t *)guarded_image(&r->b[AT_O]) + row * dim, out + row * dim, (size_t)dim * 2);
    ((float *)guarded_image(&r->b[AT_LSE]))[at] = lse[at];
    return ST_OK;
}

/* Accepts what is right into the images; what is left must be as it was. */
static Status compare(Run *r, Error *err) {
    Status status = ST_OK;
    for (int64_t t = 0; t < r->c->tokens && status == ST_OK; t++)
        for (int64_t h = 0; h < r->c->heads && status == ST_OK; h++)
            status = compare_row(r, t, h, err);
    for (int i = 0; i < BUFFERS && status == ST_OK; i++)
        status = check_untouched(r->check, r->text, &r->b[i], err);
    return status;
}

static Status judge(Run *r, Error *err) {
    Status status = allocate(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    fill(r);
    status = launch(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    status = compare(r, err);
    if (status != ST_OK) return status;
    /* Again: the images now hold the result, which must come out bit for bit. */
    status = launch(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    for (int i = 0; i < BUFFERS && status == ST_OK; i++)
        status = check_untouched(r->check, r->text, &r->b[i], err);
    return status;
}

static Status read_dims(Run *r, Error *err) {
    const char *word = gen_problem_word(r->check->problem, "part_type");
    if (!word)
        return err_set(err, ST_INVALID, "verify: %s has no dimension 'part_type'",
                       r->check->spec_name);
    r->f32 = strcmp(word, "f32") == 0;
    Status status = check_dtype(r->check, &r->type, &r->api_type, err);
    return status != ST_OK ? status : check_dim(r->check, "head_dim", &r->ref.head_dim, err);
}

static Status check_case(Check *check, const MergeCase *c, size_t number, Error *err) {
    Run r = {.check = check, .c = c};
    Status status = read_dims(&r, err);
    if (status != ST_OK) return status;
    set_strides(&r);
    snprintf(r.text, sizeof r.text,
             "%s case %zu (dtype=%s f32=%d head_dim=%" PRId64 " parts=%" PRId64 " tokens=%" PRId64
             " heads=%" PRId64 " token_outer=%d gaps=%d spread=%g)",
             check->spec_name, number, dtype_name(r.type), r.f32, r.ref.head_dim, c->parts,
             c->tokens, c->heads, c->token_outer, c->gaps, c->spread);
    PlanDesc desc;
    describe(&r, &desc);
    status = check_plan(check, &desc, &r.plan, err);
    if (status != ST_OK) status = check_broken(check, r.text, status, err);
    if (status == ST_OK && r.plan) {
        check->result->cases++;
        status = judge(&r, err);
    }
    for (int i = 0; i < BUFFERS; i++) guarded_free(&r.b[i]);
    seqtune_plan_destroy(r.plan);
    arena_reset(check->arena);
    return status;
}

Status check_merge(Check *check, Error *err) {
    const bool full = check->level == VERIFY_FULL;
    const MergeCase *cases = full ? full_cases : quick_cases;
    const size_t count =
        full ? sizeof full_cases / sizeof *full_cases : sizeof quick_cases / sizeof *quick_cases;
    Status status = ST_OK;
    for (size_t i = 0; i < count && status == ST_OK; i++)
        status = check_case(check, &cases[i], i, err);
    return status;
}
