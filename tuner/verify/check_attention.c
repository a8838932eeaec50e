/* One attention case after the other: fill, run, compare every row, look at every other byte. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "tuner/verify/accept.h"
#include "tuner/verify/attention_cases.h"
#include "tuner/verify/check.h"
#include "tuner/verify/random.h"
#include "tuner/verify/reference.h"

enum { DEFAULT_BLOCK = 64 }; /* for specs without tiles (attn_naive) */

/* A case in flight. Buffers are owned and freed by free_run, arrays belong to the arena. */
typedef struct Run {
    Check *check;
    const AttentionCase *c;
    char text[320];
    Dtype type;
    seqtune_dtype api_type;
    int64_t dim, heads_q, columns; /* columns: of V over batches and heads, for probes */
    int64_t block_n;
    float scale;
    bool scores_in_dtype; /* the textbook kernels store S so: part of their definition */
    View q_view, k_view, v_view, o_view;
    Guarded q, k, v, o, lse, workspace;
    double *q_values, *k_values, *v_values;
    double *out, *ref, *naive, *lse_out, *lse_ref;
    seqtune_plan *plan;
} Run;

/* ---- inputs ---- */

/* The key that a column of V probes: edges of tiles and of the sequence first, then all in order.
 */
static int64_t probed_key(const Run *r, int64_t column) {
    const int64_t n = r->c->len_kv, bn = r->block_n;
    const int64_t edges[] = {0, n - 1, bn - 1, bn, bn + 1, 2 * bn - 1, 2 * bn, n / 2};
    const int64_t count = (int64_t)(sizeof edges / sizeof *edges);
    if (column < count && edges[column] < n) return edges[column];
    /* With fewer columns than keys, spread them; every probed key meets every row's edges. */
    if (r->columns < n) return column * n / r->columns;
    return column % n;
}

static void fill_probe(const Run *r) {
    const int64_t heads = r->c->heads_kv;
    for (int64_t b = 0; b < r->c->batch; b++) {
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t d = 0; d < r->dim && r->c->len_kv > 0; d++) {
                const int64_t key = probed_key(r, (b * heads + h) * r->dim + d);
                r->v_values[((b * r->c->len_kv + key) * heads + h) * r->dim + d] = 1;
            }
        }
    }
}

static double sign_of(int64_t d) {
    return d % 3 == 0 ? 1 : -1;
}

/* Scores rise with the key for even queries and fall for odd ones: queries lie along a common
 * direction or against it, key j at 4 * (j + 1) / n along it. */
static void tilt_scores(const Run *r) {
    const int64_t keys = r->c->len_kv * r->c->heads_kv;
    for (int64_t row = 0; row < r->c->batch * r->c->len_q * r->heads_q; row++) {
        const double way = row / r->heads_q % 2 == 0 ? 1 : -1;
        for (int64_t d = 0; d < r->dim; d++) r->q_values[row * r->dim + d] += way * sign_of(d);
    }
    for (int64_t row = 0; row < r->c->batch * keys; row++) {
        const int64_t j = row % keys / r->c->heads_kv;
        const double along = 4.0 * (double)(j + 1) / (double)r->c->len_kv;
        double *k = r->k_values + row * r->dim;
        for (int64_t d = 0; d < r->dim; d++) k[d] = 0.3 * k[d] + along * sign_of(d);
    }
}

/* Scores of 87 + noise: times log2(e) just above 128, where fp32 is coarsest for its size. */
static void offset_scores(const Run *r) {
    const double along = 87 / sqrt((double)r->dim);
    for (int64_t i = 0; i < r->c->batch * r->c->len_q * r->heads_q * r->dim; i++) {
        r->q_values[i] = 0.05 * r->q_values[i] + sign_of(i % r->dim);
    }
    for (int64_t i = 0; i < r->c->batch * r->c->len_kv * r->c->heads_kv * r->dim; i++) {
        r->k_values[i] += along * sign_of(i % r->dim);
    }
}

/* Every batch and head becomes a copy of the first. */
static void make_twins(double *values, int64_t batch, int64_t len, int64_t heads, int64_t dim) {
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t t = 0; t < len; t++) {
            for (int64_t h = 0; h < heads; h++) {
                double *to = values + ((b * len + t) * heads + h) * dim;
                const double *from = values + t * heads * dim;
                if (to != from) memcpy(to, from, (size_t)dim * sizeof *to);
            }
        }
    }
}

static void normal(double *values, int64_t n, double factor, Random *rng) {
    for (int64_t i = 0; i < n; i++) values[i] = factor * random_normal(rng);
}

static void to_dtype(const Run *r, double *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) values[i] = dtype_round(r->type, values[i]);
}

static void fill_inputs(const Run *r) {
    const AttentionCase *c = r->c;
    const int64_t nq = c->batch * c->len_q * r->heads_q * r->dim;
    const int64_t nkv = c->batch * c->len_kv * c->heads_kv * r->dim;
    Random rng = {(uint64_t)(c->len_q * 1000003 + c->len_kv * 1009 + c->input)};
    const double spread = c->input == INPUT_SHARP ? 6 : 1;
    normal(r->k_values, nkv, 1, &rng);
    if (c->input != INPUT_PROBE) normal(r->q_values, nq, spread, &rng);
    if (c->input == INPUT_RISING) tilt_scores(r);
    if (c->input == INPUT_OFFSET) offset_scores(r);
    if (c->input == INPUT_PROBE) {
        fill_probe(r);
    } else if (c->input == INPUT_ONES) {
        for (int64_t i = 0; i < nkv; i++) r->v_values[i] = 1;
    } else {
        normal(r->v_values, nkv, 1, &rng);
    }
    if (c->input == INPUT_TWINS) {
        make_twins(r->q_values, c->batch, c->len_q, r->heads_q, r->dim);
        make_twins(r->k_values, c->batch, c->len_kv, c->heads_kv, r->dim);
        make_twins(r->v_values, c->batch, c->len_kv, c->heads_kv, r->dim);
    }
    to_dtype(r, r->q_values, nq);
    to_dtype(r, r->k_values, nkv);
    to_dtype(r, r->v_values, nkv);
}

/* ---- setting up ---- */

static Status allocate_arrays(Run *r, Error *err) {
    const AttentionCase *c = r->c;
    const size_t rows = (size_t)(c->batch * c->len_q * r->heads_q), dim = (size_t)r->dim;
    const size_t keys = (size_t)(c->batch * c->len_kv * c->heads_kv);
    double **const arrays[] = {&r->q_values, &r->out,     &r->ref,      &r->naive,
                               &r->lse_out,  &r->lse_ref, &r->k_values, &r->v_values};
    const size_t sizes[] = {rows * dim, rows * dim, rows * dim, rows * dim,
                            rows,       rows,       keys * dim, keys * dim};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *arrays[i] = ARENA_ARRAY(r->check->arena, double, sizes[i] + 1);
        if (!*arrays[i]) return err_no_memory(err, sizes[i] * sizeof(double));
    }
    return ST_OK;
}

/* Q, K, V and O lie differently, so that no stride can stand in for another. */
static void make_views(Run *r) {
    const AttentionCase *c = r->c;
    const int64_t cap_q = c->len_q + c->spare, cap_kv = c->len_kv + c->spare;
    const Layout other = (Layout)((c->layout + 1) % LAYOUT_COUNT);
    r->q_view = view_make(c->layout, c->batch, cap_q, r->heads_q, r->dim);
    r->k_view = view_make(c->layout, c->batch, cap_kv, c->heads_kv, r->dim);
    r->v_view = view_make(other, c->batch, cap_kv, c->heads_kv, r->dim);
    r->o_view = view_make(other, c->batch, cap_q, r->heads_q, r->dim);
}

static Status make_buffers(Run *r, Error *err) {
    const AttentionCase *c = r->c;
    seqtune_context *ctx = r->check->ctx;
    const size_t lse = (size_t)(c->batch * r->heads_q * (c->len_q + c->spare)) * sizeof(float);
    const struct {
        Guarded *g;
        const char *name;
        size_t bytes;
    } buffers[] = {{&r->q, "Q", view_elements(&r->q_view) * 2},
                   {&r->k, "K", view_elements(&r->k_view) * 2},
                   {&r->v, "V", view_elements(&r->v_view) * 2},
                   {&r->o, "O", view_elements(&r->o_view) * 2},
                   {&r->lse, "LSE", c->lse ? lse : 0},
                   {&r->workspace, "workspace", seqtune_plan_workspace(r->plan)}};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        const Status status =
            guarded_init(ctx, buffers[i].name, buffers[i].bytes, buffers[i].g, err);
        if (status != ST_OK) return status;
    }
    view_store(&r->q_view, &r->q, r->type, c->len_q, r->q_values);
    view_store(&r->k_view, &r->k, r->type, c->len_kv, r->k_values);
    view_store(&r->v_view, &r->v, r->type, c->len_kv, r->v_values);
    return ST_OK;
}

static int64_t length(int64_t n) {
    return n == 0 ? SEQTUNE_LENGTH_ZERO : n;
}

static void describe(const Run *r, PlanDesc *desc) {
    const AttentionCase *c = r->c;
    *desc = (PlanDesc){.kind = PLAN_ATTENTION};
    seqtune_attention_desc *d = &desc->u.attention;
    *d = (seqtune_attention_desc)SEQTUNE_ATTENTION_DESC_INIT;
    d->dtype = r->api_type;
    d->batch = c->batch;
    d->heads_q = r->heads_q;
    d->heads_kv = c->heads_kv;
    d->head_dim = r->dim;
    d->max_len_q = length(c->len_q + c->spare);
    d->max_len_kv = length(c->len_kv + c->spare);
    d->mask = c->mask;
    d->window = c->window;
    d->scale = c->scale;
    d->want_lse = c->lse;
    d->q_stride_batch = r->q_view.stride_batch;
    d->q_stride_token = r->q_view.stride_token;
    d->q_stride_head = r->q_view.stride_head;
    d->k_stride_batch = r->k_view.stride_batch;
    d->k_stride_token = r->k_view.stride_token;
    d->k_stride_head = r->k_view.stride_head;
    d->v_stride_batch = r->v_view.stride_batch;
    d->v_stride_token = r->v_view.stride_token;
    d->v_stride_head = r->v_view.stride_head;
    d->o_stride_batch = r->o_view.stride_batch;
    d->o_stride_token = r->o_view.stride_token;
    d->o_stride_head = r->o_view.stride_head;
}

/* ---- running ---- */

static Status launch(Run *r, Error *err) {
    Guarded *const all[] = {&r->q, &r->k, &r->v, &r->o, &r->lse, &r->workspace};
    const size_t count = sizeof all / sizeof *all;
    Status status = ST_OK;
    for (size_t i = 0; i < count && status == ST_OK; i++) status = guarded_upload(all[i], err);
    if (status != ST_OK) return status;
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    args.q = guarded_address(&r->q);
    args.k = guarded_address(&r->k);
    args.v = guarded_address(&r->v);
    args.o = guarded_address(&r->o);
    args.lse = r->c->lse ? guarded_address(&r->lse) : 0;
    /* Without spare capacity the lengths are the description's: 0 says so. */
    args.len_q = r->c->spare ? length(r->c->len_q) : 0;
    args.len_kv = r->c->spare ? length(r->c->len_kv) : 0;
    seqtune_status s = seqtune_run_attention(r->plan, &args, guarded_address(&r->workspace), NULL);
    if (s == SEQTUNE_OK) s = seqtune_device_synchronize(r->check->ctx);
    if (s != SEQTUNE_OK) return err_set(err, (Status)s, "%s", seqtune_last_error(r->check->ctx));
    for (size_t i = 0; i < count && status == ST_OK; i++) status = guarded_download(all[i], err);
    return status;
}

static void load_results(Run *r) {
    const AttentionCase *c = r->c;
    view_load(&r->o_view, &r->o, r->type, c->len_q, r->out);
    memcpy(guarded_image(&r->workspace), guarded_result(&r->workspace), r->workspace.bytes);
    if (!c->lse) return;
    float *image = guarded_image(&r->lse);
    const float *result = guarded_result(&r->lse);
    for (int64_t row = 0; row < c->batch * r->heads_q; row++) {
        for (int64_t i = 0; i < c->len_q; i++) {
            const int64_t at = row * (c->len_q + c->spare) + i;
            memcpy(&image[at], &result[at], sizeof *image); /* bits: may be a NaN */
            r->lse_out[row * c->len_q + i] = (double)result[at];
        }
    }
}

/* ---- comparing ---- */

static RefAttention reference_of(const Run *r) {
    RefAttention a = {.batch = r->c->batch,
                      .heads_q = r->heads_q,
                      .heads_kv = r->c->heads_kv,
                      .head_dim = r->dim,
                      .len_q = r->c->len_q,
                      .len_kv = r->c->len_kv,
                      .scale = (double)r->scale,
                      .q = r->q_values,
                      .k = r->k_values,
                      .v = r->v_values};
    attention_case_window(r->c, &a.window_left, &a.window_right);
    return a;
}

/* error / limit of one row of O. */
static double row_ratio(Run *r, const RefAttention *a, int64_t b, int64_t i, int64_t h) {
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
            zero = !ref_attention_sees(a, i, probed_key(r, column));
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
static double lse_magnitude(const Run *r, int64_t b, int64_t i, int64_t h, double longest_key) {
    const double *q = r->q_values + ((b * r->c->len_q + i) * r->heads_q + h) * r->dim;
    return norm(q, r->dim) * longest_key * (double)r->scale;
}

static Status compare_row(Run *r, const RefAttention *a, int64_t b, int64_t i, int64_t h,
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
    const double magnitude = lse_magnitude(r, b, i, h, longest_key);
    const double rounding = r->scores_in_dtype ? 0.5 * dtype_ulp(r->type, magnitude) : 0;
    const double off = accept_lse(r->lse_out[at], r->lse_ref[at], magnitude, rounding);
    if (!check_ratio(r->check, off)) return ST_OK;
    return check_fail(r->check, r->text, err,
                      "LSE of query %" PRId64 ", head %" PRId64 ", batch %" PRId64
                      " is %.9g, the reference %.9g: off by %.3g times its limit",
                      i, h, b, r->lse_out[at], r->lse_ref[at], off);
}

static Status compare_twins(Run *r, Error *err) {
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

static Status compare(Run *r, Error *err) {
    const AttentionCase *c = r->c;
    const RefAttention a = reference_of(r);
    Status status = ref_attention(&a, r->ref, r->lse_ref, err);
    if (status == ST_OK && c->input != INPUT_PROBE) {
        status = ref_attention_naive(&a, r->type, r->naive, err);
    }
    double longest = 0;
    for (int64_t j = 0; j < c->batch * c->len_kv * c->heads_kv; j++) {
        longest = fmax(longest, norm(r->k_values + j * r->dim, r->dim));
    }
    for (int64_t b = 0; b < c->batch; b++) {
        for (int64_t i = 0; i < c->len_q && status == ST_OK; i++) {
            for (int64_t h = 0; h < r->heads_q && status == ST_OK; h++) {
                status = compare_row(r, &a, b, i, h, longest, err);
            }
        }
    }
    if (status == ST_OK && c->input == INPUT_TWINS) status = compare_twins(r, err);
    if (c->input == INPUT_PROBE || c->input == INPUT_ONES) return status;
    for (int64_t i = 0; i < c->batch * c->len_q * r->heads_q * r->dim; i++) {
        double *worst = &r->check->result->max_naive_error;
        *worst = fmax(*worst, fabs(r->naive[i] - r->ref[i]));
    }
    return status;
}

static Status untouched(Run *r, Error *err) {
    const Guarded *const all[] = {&r->q, &r->k, &r->v, &r->o, &r->lse, &r->workspace};
    Status status = ST_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == ST_OK; i++) {
        status = check_untouched(r->check, r->text, all[i], err);
    }
    return status;
}

/* The same launch again into fresh buffers; what it leaves must be the same bits. After the first
 * run the images hold its whole result (untouched() said so). */
static Status run_again(Run *r, Error *err) {
    Guarded first_o = r->o, first_lse = r->lse;
    r->o = r->lse = (Guarded){0};
    Status status = guarded_init(r->check->ctx, "O", first_o.bytes, &r->o, err);
    if (status == ST_OK) {
        status = guarded_init(r->check->ctx, "LSE", first_lse.bytes, &r->lse, err);
    }
    if (status == ST_OK) status = launch(r, err);
    if (status == ST_OK &&
        (memcmp(guarded_result(&r->o), guarded_image(&first_o), r->o.bytes) ||
         memcmp(guarded_result(&r->lse), guarded_image(&first_lse), r->lse.bytes))) {
        check_ratio(r->check, (double)INFINITY);
        status = check_fail(r->check, r->text, err, "a second run gave other bits than the first");
    }
    guarded_free(&first_o);
    guarded_free(&first_lse);
    return status;
}

/* ---- the case ---- */

static void free_run(Run *r) {
    guarded_free(&r->q);
    guarded_free(&r->k);
    guarded_free(&r->v);
    guarded_free(&r->o);
    guarded_free(&r->lse);
    guarded_free(&r->workspace);
    seqtune_plan_destroy(r->plan);
}

static Status judge(Run *r, bool again, Error *err) {
    fill_inputs(r);
    Status status = make_buffers(r, err);
    if (status == ST_OK) status = launch(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    load_results(r);
    status = compare(r, err);
    if (status == ST_OK) status = untouched(r, err);
    if (status == ST_OK && again) status = run_again(r, err);
    return status;
}

static Status name_case(Run *r, size_t number, Error *err) {
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

static Status check_case(Check *check, const AttentionCase *c, size_t number, int64_t block_n,
                         bool again, Error *err) {
    Run r = {.check = check,
             .c = c,
             .heads_q = c->heads_kv * c->group,
             .block_n = block_n,
             .scores_in_dtype =
                 strcmp(gen_spec_reference(check->problem->spec), "attention_textbook") == 0};
    Status status = check_dtype(check, &r.type, &r.api_type, err);
    if (status == ST_OK) status = check_dim(check, "head_dim", &r.dim, err);
    if (status == ST_OK) status = name_case(&r, number, err);
    if (status == ST_OK) status = allocate_arrays(&r, err);
    if (status != ST_OK) return status;
    r.scale = c->scale > 0 ? c->scale : (float)(1 / sqrt((double)r.dim));
    r.columns = c->batch * c->heads_kv * r.dim;
    make_views(&r);
    PlanDesc desc;
    describe(&r, &desc);
    status = check_plan(check, &desc, &r.plan, err);
    if (status != ST_OK) status = check_broken(check, r.text, status, err);
    if (status == ST_OK && r.plan) {
        check->result->cases++;
        status = judge(&r, again, err);
    }
    free_run(&r);
    arena_reset(check->arena);
    return status;
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
    return ST_OK;
}

Status check_attention_case(Check *check, const AttentionCase *c, Error *err) {
    AttentionShape shape;
    const Status status = shape_of(check, &shape, err);
    return status == ST_OK ? check_case(check, c, 0, shape.block_n, true, err) : status;
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
        status = check_case(check, &cases[i], i, shape.block_n, again, err);
    }
    mem_free(cases);
    return status;
}
