/* One attention case after the other: run, compare every row, look at every other byte. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "tuner/verify/accept.h"
#include "tuner/verify/attention_trial.h"
#include "tuner/verify/reference.h"

enum { DEFAULT_BLOCK = 64 }; /* for specs without tiles (attn_naive) */

/* ---- comparing ---- */

/* Sequence b alone, at its own lengths. */
static RefAttention reference_of(const Trial *r, int64_t b) {
    RefAttention a = {.batch = 1,
                      .heads_q = r->heads_q,
                      .heads_kv = r->c->heads_kv,
                      .head_dim = r->dim,
                      .len_q = r->lens_q[b],
                      .len_kv = r->lens_kv[b],
                      .top_left = r->c->mask == SEQTUNE_MASK_CAUSAL_TOP_LEFT,
                      .scale = (double)r->scale,
                      .q = r->q_values + b * r->c->len_q * r->heads_q * r->dim,
                      .k = r->k_values + b * r->c->len_kv * r->c->heads_kv * r->dim,
                      .v = r->v_values + b * r->c->len_kv * r->c->heads_kv * r->dim};
    attention_case_window(r->c, &a.window_left, &a.window_right);
    return a;
}

/* error / limit of one row of O. */
static double row_ratio(Trial *r, const RefAttention *a, int64_t b, int64_t i, int64_t h) {
    const int64_t at = ((b * r->c->len_q + i) * r->heads_q + h) * r->dim;
    const double *out = r->out + at;
    const int64_t count = ref_attention_count(a, i);
    const int64_t head_kv = h / r->c->group;
    double worst = 0;
    if (count > 0 && r->c->input != INPUT_PROBE && r->c->input != INPUT_ONES) {
        return accept_row(r->type, ACCEPT_FACTOR, out, r->ref + at, r->naive + at, (size_t)r->dim,
                          &r->check->result->max_abs_error);
    }
    for (int64_t d = 0; d < r->dim; d++) {
        bool zero = count == 0;
        if (r->c->input == INPUT_PROBE && count > 0) {
            const int64_t column = (b * r->c->heads_kv + head_kv) * r->dim + d;
            const int64_t key = trial_probed_key(r, column);
            zero = key >= a->len_kv || !ref_attention_sees(a, i, key);
        }
        const double share = r->c->input == INPUT_PROBE ? (double)count : 1;
        const double off =
            zero ? (out[d] == 0 ? 0 : (double)INFINITY) : accept_share(r->type, out[d], share);
        worst = fmax(worst, off);
    }
    return worst;
}

static double norm(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t d = 0; d < n; d++) sum += x[d] * x[d];
    return sqrt(sum);
}

/* At least the largest sum of |q k| * scale of a row (Cauchy-Schwarz): for accept_lse. */
static double lse_magnitude(const Trial *r, int64_t b, int64_t i, int64_t h, double longest_key) {
    const double *q = r->q_values + ((b * r->c->len_q + i) * r->heads_q + h) * r->dim;
    return norm(q, r->dim) * longest_key * (double)r->scale;
}

static Status compare_row(Trial *r, const RefAttention *a, int64_t b, int64_t i, int64_t h,
                          double longest_key, Error *err) {
    const double ratio = row_ratio(r, a, b, i, h);
    if (check_ratio(r->check, ratio)) {
        return check_fail(r->check, r->text, err,
                          "O of query %" PRId64 ", head %" PRId64 ", batch %" PRId64
                          " (sees %" PRId64 " keys) is off by %.3g times its limit",
                          i, h, b, ref_attention_count(a, i), ratio);
    }
    if (!r->c->lse) return ST_OK;
    const int64_t at = (b * r->heads_q + h) * r->c->len_q + i;
    const double want = r->lse_ref[b * r->heads_q * r->c->len_q + h * a->len_q + i];
    const double magnitude = lse_magnitude(r, b, i, h, longest_key);
    const double rounding = r->scores_in_dtype ? 0.5 * dtype_ulp(r->type, magnitude) : 0;
    const double off = accept_lse(r->lse_out[at], want, magnitude, rounding);
    if (!check_ratio(r->check, off)) return ST_OK;
    return check_fail(r->check, r->text, err,
                      "LSE of query %" PRId64 ", head %" PRId64 ", batch %" PRId64
                      " is %.9g, the reference %.9g: off by %.3g times its limit",
                      i, h, b, r->lse_out[at], want, off);
}

static Status compare_twins(Trial *r, Error *err) {
    const int64_t row = r->heads_q * r->dim;
    for (int64_t b = 0; b < r->c->batch; b++) {
        for (int64_t i = 0; i < r->c->len_q * r->heads_q; i++) {
            const double *mine = r->out + (b * r->c->len_q * r->heads_q + i) * r->dim;
            const double *first = r->out + i / r->heads_q * row;
            if (memcmp(mine, first, (size_t)r->dim * sizeof *mine) == 0) continue;
            check_ratio(r->check, (double)INFINITY);
            return check_fail(r->check, r->text, err,
                              "equal inputs gave unequal bits: query %" PRId64 ", head %" PRId64
                              ", batch %" PRId64 " against head 0, batch 0",
                              i / r->heads_q, i % r->heads_q, b);
        }
    }
    return ST_OK;
}

/* What the dtype itself costs, for the report. */
static void note_naive_error(Trial *r, int64_t b) {
    const int64_t first = b * r->c->len_q * r->heads_q * r->dim;
    double *worst = &r->check->result->max_naive_error;
    for (int64_t i = first; i < first + r->lens_q[b] * r->heads_q * r->dim; i++)
        *worst = fmax(*worst, fabs(r->naive[i] - r->ref[i]));
}

static Status compare_sequence(Trial *r, int64_t b, double longest, Error *err) {
    const AttentionCase *c = r->c;
    const RefAttention a = reference_of(r, b);
    const int64_t first = b * c->len_q * r->heads_q;
    double *lse = r->lse_ref + first;
    const bool judged = c->input != INPUT_PROBE && c->input != INPUT_ONES;
    Status status = ref_attention(&a, r->ref + first * r->dim, lse, err);
    if (status == ST_OK && c->input != INPUT_PROBE)
        status = ref_attention_naive(&a, r->type, r->naive + first * r->dim, err);
    for (int64_t i = 0; i < a.len_q && status == ST_OK; i++)
        for (int64_t h = 0; h < r->heads_q && status == ST_OK; h++)
            status = compare_row(r, &a, b, i, h, longest, err);
    if (status == ST_OK && judged) note_naive_error(r, b);
    return status;
}

static Status compare(Trial *r, Error *err) {
    const AttentionCase *c = r->c;
    double longest = 0;
    for (int64_t j = 0; j < c->batch * c->len_kv * c->heads_kv; j++)
        longest = fmax(longest, norm(r->k_values + j * r->dim, r->dim));
    Status status = ST_OK;
    for (int64_t b = 0; b < c->batch && status == ST_OK; b++)
        status = compare_sequence(r, b, longest, err);
    return status == ST_OK && c->input == INPUT_TWINS ? compare_twins(r, err) : status;
}

static Status untouched(Trial *r, Error *err) {
    Status status = ST_OK;
    for (int i = 0; i < TRIAL_BUFFERS && status == ST_OK; i++)
        if (r->buffer[i].ctx) status = check_untouched(r->check, r->text, &r->buffer[i], err);
    return status;
}

/* The same launch again into fresh buffers; what it leaves must be the same bits. After the first
 * run the images hold its whole result (untouched() said so). */
static Status run_again(Trial *r, Error *err) {
    Guarded *o = &r->buffer[TRIAL_O], *lse = &r->buffer[TRIAL_LSE];
    Guarded first_o = *o, first_lse = *lse;
    *o = *lse = (Guarded){0};
    Status status = guarded_init(r->check->ctx, "O", first_o.bytes, o, err);
    if (status == ST_OK) status = guarded_init(r->check->ctx, "LSE", first_lse.bytes, lse, err);
    if (status == ST_OK) status = trial_launch(r, err);
    if (status == ST_OK && (memcmp(guarded_result(o), guarded_image(&first_o), o->bytes) ||
                            memcmp(guarded_result(lse), guarded_image(&first_lse), lse->bytes))) {
        check_ratio(r->check, (double)INFINITY);
        status = check_fail(r->check, r->text, err, "a second run gave other bits than the first");
    }
    guarded_free(&first_o);
    guarded_free(&first_lse);
    return status;
}

/* ---- the case ---- */

static Status judge(Trial *r, bool again, Error *err) {
    trial_fill(r);
    Status status = trial_buffers(r, err);
    if (status == ST_OK) status = trial_launch(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    trial_results(r);
    status = compare(r, err);
    if (status == ST_OK) status = untouched(r, err);
    if (status == ST_OK && again) status = run_again(r, err);
    return status;
}

static Status name_case(Trial *r, size_t number, Error *err) {
    Str text = {0};
    str_printf(&text, "%s case %zu (dtype=%s head_dim=%" PRId64 " ", r->check->spec_name, number,
               dtype_name(r->type), r->dim);
    attention_case_text(r->c, &text);
    str_putc(&text, ')');
    const bool failed = text.failed;
    snprintf(r->text, sizeof r->text, "%s", str_text(&text));
    str_free(&text);
    return failed ? err_no_memory(err, sizeof r->text) : ST_OK;
}

/* 0 where the spec has no such dimension. */
static int64_t optional_dim(const Check *check, const char *name) {
    int64_t value = 0;
    return gen_problem_get(check->problem, name, &value) ? value : 0;
}

static Status check_case(Check *check, const AttentionCase *c, size_t number,
                         const AttentionShape *shape, bool again, Error *err) {
    Trial r = {.check = check,
               .c = c,
               .heads_q = c->heads_kv * c->group,
               .block_n = shape->block_n,
               .part = shape->part,
               .scores_in_dtype =
                   strcmp(gen_spec_reference(check->problem->spec), "attention_textbook") == 0};
    Status status = check_dtype(check, &r.type, &r.api_type, err);
    if (status == ST_OK) status = check_dim(check, "head_dim", &r.dim, err);
    if (status == ST_OK) status = name_case(&r, number, err);
    r.kv_dtype = (seqtune_kv_dtype)optional_dim(check, "kv_dtype"); /* in the API's order */
    if (status == ST_OK) status = trial_arrange(&r, err);
    if (status != ST_OK) return status;
    r.scale = c->scale > 0 ? c->scale : (float)(1 / sqrt((double)r.dim));
    r.columns = c->batch * c->heads_kv * r.dim;
    PlanDesc desc;
    trial_describe(&r, &desc);
    status = check_plan(check, &desc, &r.plan, err);
    if (status != ST_OK) status = check_broken(check, r.text, status, err);
    if (status == ST_OK && r.plan) {
        check->result->cases++;
        status = judge(&r, again, err);
    }
    trial_free(&r);
    arena_reset(check->arena);
    return status;
}

/* Kernels that split keys: tiles of the warps side by side, and the smallest part (attn_decode.lua:
 * least_tiles, fixed_chunk). */
static void set_parts(const Check *check, AttentionShape *shape) {
    const GenSpec *spec = check->problem->spec;
    int64_t warps = 1, keys = 1, unused;
    if (!gen_problem_get(check->problem, "max_splits", &unused)) return;
    gen_config_get(spec, check->config, "warps", &warps);
    gen_config_get(spec, check->config, "warp_keys", &keys);
    shape->block_n = warps * keys;
    shape->part = shape->block_n > 128 ? shape->block_n : 128;
    if (shape->invariant) shape->part = 1024;
}

static Status shape_of(const Check *check, AttentionShape *shape, Error *err) {
    static const char *const words[] = {"none", "causal", "window"};
    const char *mask = gen_problem_word(check->problem, "mask");
    int kind = 0;
    while (kind < 3 && !(mask && strcmp(mask, words[kind]) == 0)) kind++;
    if (kind == 3) {
        return err_set(err, ST_INVALID,
                       "verify: mask '%s' of %s is not one of none, causal, window",
                       mask ? mask : "(none)", check->spec_name);
    }
    int64_t heads_q, heads_kv;
    Status status = check_dim(check, "heads_q", &heads_q, err);
    if (status == ST_OK) status = check_dim(check, "heads_kv", &heads_kv, err);
    if (status != ST_OK) return status;
    *shape = (AttentionShape){.mask = (MaskKind)kind, .group = heads_q / heads_kv};
    const char *kv = gen_problem_word(check->problem, "kv");
    const char *lengths = gen_problem_word(check->problem, "lengths");
    shape->paged = kv && strcmp(kv, "paged") == 0;
    shape->device_lengths = lengths && strcmp(lengths, "device") == 0;
    int64_t unused;
    shape->top_left = gen_problem_get(check->problem, "top_left", &unused);
    shape->page_size = optional_dim(check, "page_size");
    shape->invariant = optional_dim(check, "invariant") != 0;
    size_t count;
    const GenDim *dims = gen_dims(check->problem->spec, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(dims[i].name, "group") == 0) shape->group_static = dims[i].is_static;
    }
    const GenSpec *spec = check->problem->spec;
    if (!gen_config_get(spec, check->config, "block_m", &shape->block_m)) {
        shape->block_m = DEFAULT_BLOCK;
    }
    if (!gen_config_get(spec, check->config, "block_n", &shape->block_n)) {
        shape->block_n = DEFAULT_BLOCK;
    }
    set_parts(check, shape);
    return ST_OK;
}

Status check_attention_case(Check *check, const AttentionCase *c, Error *err) {
    AttentionShape shape;
    const Status status = shape_of(check, &shape, err);
    return status == ST_OK ? check_case(check, c, 0, &shape, true, err) : status;
}

Status check_attention(Check *check, Error *err) {
    AttentionShape shape;
    Status status = shape_of(check, &shape, err);
    if (status != ST_OK) return status;
    AttentionCase *cases = mem_alloc(MAX_ATTENTION_CASES * sizeof *cases);
    if (!cases) return err_no_memory(err, MAX_ATTENTION_CASES * sizeof *cases);
    const size_t count = attention_cases(&shape, check->level, cases);
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        const bool again = i == 0 || check->level == VERIFY_FULL;
        status = check_case(check, &cases[i], i, &shape, again, err);
    }
    mem_free(cases);
    return status;
}
