/* RoPE cases: rotated elements against fp64, all others bit for bit, in place equal to out of
 * place. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/round.h"
#include "tuner/verify/accept.h"
#include "tuner/verify/check.h"
#include "tuner/verify/random.h"
#include "tuner/verify/reference.h"

typedef struct RopeCase {
    int64_t tokens, heads;
    int64_t spare;    /* capacity beyond the tokens */
    int64_t gap;      /* between heads, tokens and table rows, in units of the alignment */
    bool heads_outer; /* [head, token, dim] */
    bool positions;   /* an array, with entries outside the table; else first_position */
    int64_t first_position;
} RopeCase;

static const RopeCase quick_cases[] = {
    {67, 3, 2, 1, false, true, 0},
    {5, 2, 0, 0, false, false, 3},
    {0, 2, 1, 0, false, false, 0},
};

static const RopeCase full_cases[] = {
    {67, 3, 2, 1, false, true, 0},  {5, 2, 0, 0, false, false, 3},  {0, 2, 1, 0, false, false, 0},
    {1, 1, 0, 0, false, true, 0},   {1, 8, 3, 2, true, false, 90},  {2, 5, 1, 3, false, true, 0},
    {7, 32, 0, 1, true, true, 0},   {8, 32, 0, 0, false, true, 0},  {9, 31, 7, 1, false, true, 0},
    {31, 4, 1, 0, true, false, 66}, {32, 4, 0, 1, false, true, 0},  {33, 4, 2, 0, false, true, 0},
    {64, 1, 0, 2, false, true, 0},  {65, 1, 5, 0, true, false, 32}, {127, 2, 0, 1, false, true, 0},
    {128, 2, 1, 0, false, true, 0}, {129, 2, 0, 1, true, true, 0},  {300, 7, 9, 1, false, true, 0},
};

enum { TABLE_ROWS = 97 };

/* A case in flight. */
typedef struct Run {
    Check *check;
    const RopeCase *c;
    char text[256];
    Dtype type;
    seqtune_dtype api_type;
    RefRope ref;
    int64_t table_stride;
    View x_view, out_view;
    Guarded x, out, cos, sin, positions, workspace;
    double *x_values, *ref_values, *cos_values, *sin_values;
    int64_t *position_values;
    seqtune_plan *plan;
} Run;

/* ---- inputs ---- */

static bool rotated(const Run *r, int64_t token, int64_t d) {
    const int64_t at = d - r->ref.rotary_offset;
    return ref_rope_row(&r->ref, token) >= 0 && at >= 0 && at < r->ref.rotary_dim;
}

/* Elements that only pass through hold any bits: NaNs with payload, infinities, -0. */
static void fill_x(Run *r, Random *rng) {
    uint16_t *image = guarded_image(&r->x);
    double *value = r->x_values;
    for (int64_t t = 0; t < r->c->tokens; t++) {
        for (int64_t h = 0; h < r->c->heads; h++) {
            for (int64_t d = 0; d < r->ref.head_dim; d++, value++) {
                uint16_t code = (uint16_t)random_bits(rng);
                if (rotated(r, t, d)) code = dtype_encode(r->type, 2 * random_normal(rng));
                image[view_offset(&r->x_view, 0, t, h) + d] = code;
                *value = dtype_decode(r->type, code);
            }
        }
    }
}

static void fill_tables(Run *r) {
    const int64_t half = r->ref.rotary_dim / 2;
    float *cos_image = guarded_image(&r->cos), *sin_image = guarded_image(&r->sin);
    for (int64_t row = 0; row < TABLE_ROWS; row++) {
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)row * pow(1e4, -(double)i / (double)half);
            const float c = (float)cos(angle), s = (float)sin(angle);
            cos_image[row * r->table_stride + i] = c;
            sin_image[row * r->table_stride + i] = s;
            r->cos_values[row * half + i] = (double)c;
            r->sin_values[row * half + i] = (double)s;
        }
    }
}

static void fill_positions(Run *r, Random *rng) {
    static const int64_t outside[] = {-1, TABLE_ROWS, TABLE_ROWS - 1, 0, INT64_MIN, INT64_MAX};
    const int64_t special = (int64_t)(sizeof outside / sizeof *outside);
    for (int64_t t = 0; t < r->c->tokens; t++) {
        r->position_values[t] =
            t > 0 && t <= special ? outside[t - 1] : random_below(rng, TABLE_ROWS);
    }
    memcpy(guarded_image(&r->positions), r->position_values, r->positions.bytes);
}

/* ---- setting up ---- */

/* Strides that are multiples of `align` elements, with `gaps` of that size between rows. */
static View view_with_gaps(const RopeCase *c, int64_t dim, int64_t align, int64_t gaps) {
    const int64_t capacity = c->tokens + c->spare, gap = gaps * align;
    const int64_t pitch = round_up(dim, align) + gap;
    View v = {.batch = 1, .tokens = capacity, .heads = c->heads, .dim = dim};
    if (c->heads_outer) {
        v.stride_token = pitch;
        v.stride_head = round_up(capacity * pitch, align) + gap;
    } else {
        v.stride_head = pitch;
        v.stride_token = c->heads * v.stride_head + 2 * gap;
    }
    return v;
}

static Status read_dims(Run *r, int64_t *align, Error *err) {
    Check *check = r->check;
    const char *style = gen_problem_word(check->problem, "style");
    if (!style)
        return err_set(err, ST_INVALID, "verify: %s has no dimension 'style'", check->spec_name);
    r->ref.interleaved = strcmp(style, "interleaved") == 0;
    r->ref.tokens = r->c->tokens;
    r->ref.heads = r->c->heads;
    r->ref.table_rows = TABLE_ROWS;
    r->ref.first_position = r->c->first_position;
    if (!gen_problem_get(check->problem, "align", align)) *align = 8;
    Status status = check_dtype(check, &r->type, &r->api_type, err);
    if (status == ST_OK) status = check_dim(check, "head_dim", &r->ref.head_dim, err);
    if (status == ST_OK) status = check_dim(check, "rotary_dim", &r->ref.rotary_dim, err);
    if (status == ST_OK) status = check_dim(check, "rotary_offset", &r->ref.rotary_offset, err);
    return status;
}

static Status allocate(Run *r, Error *err) {
    const size_t n = (size_t)(r->c->tokens * r->c->heads * r->ref.head_dim);
    const size_t table = (size_t)(TABLE_ROWS * r->ref.rotary_dim / 2);
    Arena *arena = r->check->arena;
    r->x_values = ARENA_ARRAY(arena, double, n + 1);
    r->ref_values = ARENA_ARRAY(arena, double, n + 1);
    r->cos_values = ARENA_ARRAY(arena, double, table);
    r->sin_values = ARENA_ARRAY(arena, double, table);
    r->position_values = ARENA_ARRAY(arena, int64_t, (size_t)r->c->tokens + 1);
    if (!r->x_values || !r->ref_values || !r->cos_values || !r->sin_values || !r->position_values) {
        return err_no_memory(err, 2 * n * sizeof(double));
    }
    const size_t rows = (size_t)((TABLE_ROWS - 1) * r->table_stride + r->ref.rotary_dim / 2);
    const struct {
        Guarded *g;
        const char *name;
        size_t bytes;
    } buffers[] = {
        {&r->x, "x", view_elements(&r->x_view) * 2},
        {&r->out, "out", view_elements(&r->out_view) * 2},
        {&r->cos, "cos", rows * sizeof(float)},
        {&r->sin, "sin", rows * sizeof(float)},
        {&r->positions, "positions", (size_t)r->c->tokens * sizeof(int64_t)},
        {&r->workspace, "workspace", seqtune_plan_workspace(r->plan)},
    };
    Status status = ST_OK;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers && status == ST_OK; i++) {
        status = guarded_init(r->check->ctx, buffers[i].name, buffers[i].bytes, buffers[i].g, err);
    }
    return status;
}

static void fill(Run *r) {
    Random rng = {(uint64_t)(r->c->tokens * 1000003 + r->c->heads)};
    fill_tables(r);
    fill_positions(r, &rng);
    r->ref.x = r->x_values;
    r->ref.cos = r->cos_values;
    r->ref.sin = r->sin_values;
    r->ref.positions = r->c->positions ? r->position_values : NULL;
    fill_x(r, &rng);
    ref_rope(&r->ref, r->ref_values);
}

static void describe(const Run *r, const View *out, PlanDesc *desc) {
    *desc = (PlanDesc){.kind = PLAN_ROPE};
    seqtune_rope_desc *d = &desc->u.rope;
    *d = (seqtune_rope_desc)SEQTUNE_ROPE_DESC_INIT;
    const int64_t capacity = r->c->tokens + r->c->spare;
    d->dtype = r->api_type;
    d->style = r->ref.interleaved ? SEQTUNE_ROPE_INTERLEAVED : SEQTUNE_ROPE_NEOX;
    d->max_tokens = capacity ? capacity : SEQTUNE_LENGTH_ZERO;
    d->heads = r->c->heads;
    d->head_dim = r->ref.head_dim;
    d->rotary_dim = r->ref.rotary_dim;
    d->rotary_offset = r->ref.rotary_offset;
    d->x_stride_token = r->x_view.stride_token;
    d->x_stride_head = r->x_view.stride_head;
    d->out_stride_token = out->stride_token;
    d->out_stride_head = out->stride_head;
    d->table_stride = r->table_stride;
    d->table_rows = TABLE_ROWS;
}

/* ---- running and comparing ---- */

static Status launch(Run *r, const seqtune_plan *plan, Guarded *out, Error *err) {
    Guarded *const all[] = {&r->x, &r->cos, &r->sin, &r->positions, &r->workspace, out};
    const size_t count = sizeof all / sizeof *all;
    Status status = ST_OK;
    for (size_t i = 0; i < count && status == ST_OK; i++) status = guarded_upload(all[i], err);
    if (status != ST_OK) return status;
    seqtune_rope_args args = SEQTUNE_ROPE_ARGS_INIT;
    args.x = guarded_address(&r->x);
    args.out = guarded_address(out);
    args.cos = guarded_address(&r->cos);
    args.sin = guarded_address(&r->sin);
    args.positions = r->c->positions ? guarded_address(&r->positions) : 0;
    args.first_position = r->c->first_position;
    args.tokens = r->c->tokens ? r->c->tokens : SEQTUNE_LENGTH_ZERO;
    seqtune_status s = seqtune_run_rope(plan, &args, guarded_address(&r->workspace), NULL);
    if (s == SEQTUNE_OK) s = seqtune_device_synchronize(r->check->ctx);
    if (s != SEQTUNE_OK) return err_set(err, (Status)s, "%s", seqtune_last_error(r->check->ctx));
    for (size_t i = 0; i < count && status == ST_OK; i++) status = guarded_download(all[i], err);
    memcpy(guarded_image(&r->workspace), guarded_result(&r->workspace), r->workspace.bytes);
    return status;
}

/* Sum of the absolute terms of each rotated element: what its fp32 arithmetic went through. */
static double magnitude(const Run *r, int64_t token, const double *x, int64_t d) {
    const int64_t half = r->ref.rotary_dim / 2, row = ref_rope_row(&r->ref, token);
    const int64_t at = d - r->ref.rotary_offset;
    const int64_t i = r->ref.interleaved ? at / 2 : at % half;
    const bool second = r->ref.interleaved ? at % 2 : at >= half;
    int64_t a, b;
    ref_rope_pair(&r->ref, i, &a, &b);
    const double c = fabs(r->cos_values[row * half + i]), s = fabs(r->sin_values[row * half + i]);
    return second ? fabs(x[b]) * c + fabs(x[a]) * s : fabs(x[a]) * c + fabs(x[b]) * s;
}

static Status compare_element(Run *r, int64_t t, int64_t h, int64_t d, uint16_t out, uint16_t in,
                              Error *err) {
    const int64_t at = (t * r->c->heads + h) * r->ref.head_dim;
    double ratio = out == in ? 0 : (double)INFINITY;
    if (rotated(r, t, d)) {
        const double value = dtype_decode(r->type, out), want = r->ref_values[at + d];
        double *worst = &r->check->result->max_abs_error;
        *worst = fmax(*worst, fabs(value - want));
        ratio = accept_rope(r->type, value, want, magnitude(r, t, r->x_values + at, d));
    }
    if (!check_ratio(r->check, ratio)) return ST_OK;
    return check_fail(r->check, r->text, err,
                      "element %" PRId64 " of head %" PRId64 ", token %" PRId64
                      " (%s) is 0x%04x: off by %.3g times its limit",
                      d, h, t, rotated(r, t, d) ? "rotated" : "to be copied", out, ratio);
}

/* Compares every element of `out` and accepts it into the image. `codes`: the input, packed. */
static Status compare(Run *r, const View *view, Guarded *out, const uint16_t *codes, Error *err) {
    const uint16_t *result = guarded_result(out);
    uint16_t *image = guarded_image(out);
    for (int64_t t = 0; t < r->c->tokens; t++) {
        for (int64_t h = 0; h < r->c->heads; h++) {
            for (int64_t d = 0; d < r->ref.head_dim; d++) {
                const int64_t at = view_offset(view, 0, t, h) + d;
                const Status status = compare_element(r, t, h, d, result[at], *codes++, err);
                if (status != ST_OK) return status;
                image[at] = result[at];
            }
        }
    }
    return ST_OK;
}

static Status untouched(Run *r, const Guarded *out, Error *err) {
    const Guarded *const all[] = {&r->x, &r->cos, &r->sin, &r->positions, &r->workspace, out};
    Status status = ST_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == ST_OK; i++) {
        status = check_untouched(r->check, r->text, all[i], err);
    }
    return status;
}

static uint16_t *input_codes(const Run *r) {
    const int64_t row = r->ref.head_dim;
    const int64_t n = r->c->tokens * r->c->heads * row;
    uint16_t *codes = ARENA_ARRAY(r->check->arena, uint16_t, (size_t)n + 1);
    if (!codes) return NULL;
    const uint16_t *image = guarded_image(&r->x);
    for (int64_t i = 0; i < r->c->tokens * r->c->heads; i++) {
        const int64_t at = view_offset(&r->x_view, 0, i / r->c->heads, i % r->c->heads);
        memcpy(codes + i * row, image + at, (size_t)row * sizeof *codes);
    }
    return codes;
}

/* out = x: the same bits as out of place. The plan differs in its strides only. */
static Status in_place(Run *r, const uint16_t *codes, Error *err) {
    PlanDesc desc;
    seqtune_plan *plan = NULL;
    describe(r, &r->x_view, &desc);
    Status status = check_plan(r->check, &desc, &plan, err);
    if (status != ST_OK || !plan) return status;
    status = launch(r, plan, &r->x, err);
    seqtune_plan_destroy(plan);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    const uint16_t *out = guarded_result(&r->out), *x = guarded_result(&r->x);
    for (int64_t i = 0; i < r->c->tokens * r->c->heads; i++) {
        const int64_t t = i / r->c->heads, h = i % r->c->heads;
        const size_t bytes = (size_t)r->ref.head_dim * sizeof *x;
        if (memcmp(x + view_offset(&r->x_view, 0, t, h), out + view_offset(&r->out_view, 0, t, h),
                   bytes) == 0) {
            continue;
        }
        check_ratio(r->check, (double)INFINITY);
        return check_fail(r->check, r->text, err,
                          "in place differs from out of place: token %" PRId64 ", head %" PRId64, t,
                          h);
    }
    status = compare(r, &r->x_view, &r->x, codes, err);
    if (status == ST_OK) status = untouched(r, &r->x, err);
    return status;
}

static Status judge(Run *r, Error *err) {
    Status status = allocate(r, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    fill(r);
    const uint16_t *codes = input_codes(r);
    if (!codes) return err_no_memory(err, r->x.bytes);
    status = launch(r, r->plan, &r->out, err);
    if (status != ST_OK) return check_broken(r->check, r->text, status, err);
    status = compare(r, &r->out_view, &r->out, codes, err);
    if (status == ST_OK) status = untouched(r, &r->out, err);
    if (status == ST_OK) status = in_place(r, codes, err);
    return status;
}

/* ---- the case ---- */

static void free_run(Run *r) {
    Guarded *const all[] = {&r->x, &r->out, &r->cos, &r->sin, &r->positions, &r->workspace};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) guarded_free(all[i]);
    seqtune_plan_destroy(r->plan);
}

static Status check_case(Check *check, const RopeCase *c, size_t number, Error *err) {
    Run r = {.check = check, .c = c};
    int64_t align;
    Status status = read_dims(&r, &align, err);
    if (status != ST_OK) return status;
    /* Every other case rotates the end of the head instead of the problem's place. */
    const int64_t last = r.ref.head_dim - r.ref.rotary_dim;
    if (number % 2 == 1 && last % align == 0) r.ref.rotary_offset = last;
    r.x_view = view_with_gaps(c, r.ref.head_dim, align, c->gap);
    r.out_view = view_with_gaps(c, r.ref.head_dim, align, c->gap + 1);
    r.table_stride = round_up(r.ref.rotary_dim / 2, align) + c->gap * align;
    snprintf(r.text, sizeof r.text,
             "%s case %zu (dtype=%s style=%s head_dim=%" PRId64 " rotary_dim=%" PRId64
             " rotary_offset=%" PRId64 " tokens=%" PRId64 " heads=%" PRId64 " gap=%" PRId64
             " heads_outer=%d positions=%d)",
             check->spec_name, number, dtype_name(r.type),
             r.ref.interleaved ? "interleaved" : "neox", r.ref.head_dim, r.ref.rotary_dim,
             r.ref.rotary_offset, c->tokens, c->heads, c->gap * align, c->heads_outer,
             c->positions);
    PlanDesc desc;
    describe(&r, &r.out_view, &desc);
    status = check_plan(check, &desc, &r.plan, err);
    if (status != ST_OK) status = check_broken(check, r.text, status, err);
    if (status == ST_OK && r.plan) {
        check->result->cases++;
        status = judge(&r, err);
    }
    free_run(&r);
    arena_reset(check->arena);
    return status;
}

Status check_rope(Check *check, Error *err) {
    const bool full = check->level == VERIFY_FULL;
    const RopeCase *cases = full ? full_cases : quick_cases;
    const size_t count =
        full ? sizeof full_cases / sizeof *full_cases : sizeof quick_cases / sizeof *quick_cases;
    Status status = ST_OK;
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        status = check_case(check, &cases[i], i, err);
    }
    return status;
}
