#include "tests/verify/fake_runtime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tuner/verify/dtype.h"
#include "tuner/verify/reference.h"

/* ---- device and plans ---- */

seqtune_status seqtune_device_alloc(seqtune_context *ctx, size_t bytes, seqtune_device_ptr *out) {
    /* A device does not end where an allocation does: defective kernels walk on. */
    const size_t beyond = 1 << 20;
    const size_t whole = (bytes + beyond + 255) / 256 * 256;
    void *p = aligned_alloc(256, whole);
    if (!p) return SEQTUNE_NO_MEMORY;
    memset(p, 0xff, whole);
    ctx->blocks++;
    *out = (seqtune_device_ptr)(uintptr_t)p;
    return SEQTUNE_OK;
}

seqtune_status seqtune_device_free(seqtune_context *ctx, seqtune_device_ptr address) {
    ctx->blocks--;
    free((void *)(uintptr_t)address);
    return SEQTUNE_OK;
}

seqtune_status seqtune_device_upload(seqtune_context *ctx, seqtune_device_ptr to, const void *from,
                                     size_t bytes) {
    (void)ctx;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return SEQTUNE_OK;
}

seqtune_status seqtune_device_download(seqtune_context *ctx, void *to, seqtune_device_ptr from,
                                       size_t bytes) {
    (void)ctx;
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return SEQTUNE_OK;
}

seqtune_status seqtune_device_synchronize(seqtune_context *ctx) {
    return ctx->defect == DEFECT_FAULT ? SEQTUNE_DRIVER : SEQTUNE_OK;
}

const char *seqtune_last_error(const seqtune_context *ctx) {
    return ctx->defect == DEFECT_FAULT ? "an illegal memory access was encountered" : "";
}

Status plan_desc_of_problem(const GenProblem *problem, PlanDesc *out, Error *err) {
    static const struct {
        const char *reference;
        PlanKind kind;
    } kinds[] = {{"rope", PLAN_ROPE}, {"merge", PLAN_MERGE}, {"kv", PLAN_KV}};
    (void)err;
    *out = (PlanDesc){.kind = PLAN_ATTENTION};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(gen_spec_reference(problem->spec), kinds[i].reference) == 0)
            out->kind = kinds[i].kind;
    return ST_OK;
}

Status plan_set_mode(seqtune_context *ctx, LaunchMode mode, Error *err) {
    (void)ctx, (void)mode, (void)err; /* results are all there is */
    return ST_OK;
}

Status plan_create(seqtune_context *ctx, const char *spec_name, const PlanDesc *desc,
                   const GenConfig *forced, seqtune_plan **out, Error *err) {
    (void)spec_name, (void)forced;
    *out = NULL;
    if (ctx->refuse) return err_set(err, ST_UNSUPPORTED, "refused as asked");
    *out = mem_alloc(sizeof **out);
    if (!*out) return err_no_memory(err, sizeof **out);
    **out = (seqtune_plan){ctx, *desc};
    return ST_OK;
}

const GenProblem *plan_get_problem(const seqtune_plan *plan) {
    return plan->ctx->problem;
}

size_t seqtune_plan_workspace(const seqtune_plan *plan) {
    (void)plan;
    return 64;
}

void seqtune_plan_destroy(seqtune_plan *plan) {
    mem_free(plan);
}

/* ---- attention ---- */

static int64_t length(int64_t given, int64_t planned) {
    const int64_t n = given == 0 ? planned : given;
    return n == SEQTUNE_LENGTH_ZERO ? 0 : n;
}

static int64_t positive(int64_t n) {
    return n == SEQTUNE_LENGTH_ZERO ? 0 : n;
}

typedef struct Strides {
    int64_t batch, token, head;
} Strides;

/* Packed doubles of a strided device tensor; mem_free. */
static double *gather(seqtune_device_ptr from, Dtype type, int64_t batch, int64_t len,
                      int64_t heads, int64_t dim, Strides s) {
    const uint16_t *data = (const uint16_t *)(uintptr_t)from;
    double *out = mem_alloc((size_t)(batch * len * heads * dim + 1) * sizeof *out), *to = out;
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t t = 0; t < len; t++) {
            for (int64_t h = 0; h < heads; h++) {
                const uint16_t *row = data + b * s.batch + t * s.token + h * s.head;
                for (int64_t d = 0; d < dim; d++) *to++ = dtype_decode(type, row[d]);
            }
        }
    }
    return out;
}

/* What the defect makes of the reference's question. */
static void spoil_question(Defect defect, RefAttention *a) {
    if (defect == DEFECT_LEFT_ONE_MORE && a->window_left >= 0) a->window_left++;
    if (defect == DEFECT_RIGHT_ONE_MORE && a->window_right >= 0) a->window_right++;
    if (defect == DEFECT_SCALE_TWICE) a->scale *= a->scale;
    if (defect == DEFECT_TOP_LEFT && a->window_right >= 0) {
        a->window_right += a->len_q - a->len_kv; /* may turn negative: nobody sees anything */
        if (a->window_right < 0) a->len_kv = 0;
    }
}

/* The heads of K in the other order. */
static void reverse_heads(const RefAttention *a, const double *from, double *to) {
    for (int64_t t = 0; t < a->batch * a->len_kv; t++) {
        for (int64_t h = 0; h < a->heads_kv; h++) {
            memcpy(to + (t * a->heads_kv + h) * a->head_dim,
                   from + (t * a->heads_kv + a->heads_kv - 1 - h) * a->head_dim,
                   (size_t)a->head_dim * sizeof *to);
        }
    }
}

typedef struct Answer {
    const seqtune_attention_desc *d;
    const seqtune_attention_args *args;
    RefAttention a;
    Dtype type;
    double *o, *lse;
} Answer;

static void write_lse(const Answer *w, Defect defect) {
    float *lse = (float *)(uintptr_t)w->args->lse;
    const int64_t max_q = positive(w->d->max_len_q), rows = w->a.batch * w->a.heads_q;
    if (!lse) return;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < w->a.len_q; i++) {
            const double value = w->lse[r * w->a.len_q + i];
            lse[r * max_q + i] = (float)(defect == DEFECT_LSE_BASE_TWO ? value / log(2) : value);
        }
    }
    if (defect == DEFECT_LSE_PAST_THE_END) lse[(rows - 1) * max_q + w->a.len_q] = 0;
}

static void write_o(const Answer *w, Defect defect, int run) {
    const RefAttention *a = &w->a;
    const seqtune_attention_desc *d = w->d;
    uint16_t *o = (uint16_t *)(uintptr_t)w->args->o;
    const int64_t batch_stride = defect == DEFECT_BATCH_STRIDE_IGNORED ? 0 : d->o_stride_batch;
    const int64_t rows = a->len_q + (defect == DEFECT_ROW_PAST_THE_END);
    for (int64_t b = 0; b < a->batch; b++) {
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t h = 0; h < a->heads_q; h++) {
                const int64_t from = i < a->len_q ? i : 0;
                const double *value = w->o + ((b * a->len_q + from) * a->heads_q + h) * a->head_dim;
                uint16_t *row = o + b * batch_stride + i * d->o_stride_token + h * d->o_stride_head;
                for (int64_t e = 0; e < a->head_dim; e++) row[e] = dtype_encode(w->type, value[e]);
                if (defect == DEFECT_EVERY_RUN_DIFFERS && run % 2) row[0] ^= 1;
                if (defect == DEFECT_HEADS_DIFFER && h == 1 && i == 0 && row[0]) row[0] ^= 1;
                if (defect == DEFECT_EMPTY_ROW_NAN && ref_attention_count(a, from) == 0) {
                    row[a->head_dim - 1] = 0x7fff;
                }
            }
        }
    }
    if (defect == DEFECT_WRITES_BEFORE_O) o[-1] = 0;
    if (defect == DEFECT_WRITES_INTO_A_GAP && d->o_stride_head > a->head_dim) o[a->head_dim] = 0;
}

static void answer(Answer *w, seqtune_context *ctx, const double *v) {
    RefAttention *a = &w->a;
    const RefAttention original = *a;
    spoil_question(ctx->defect, a);
    ref_attention(a, w->o, w->lse, NULL);
    *a = original;
    /* 0 * NaN, as a product over a whole tile would do it. */
    const double past = v[(a->batch * a->len_kv) * a->heads_kv * a->head_dim];
    if (ctx->defect == DEFECT_USES_ROW_PAST_KV && a->len_q > 0 && isnan(past)) w->o[0] += 0 * past;
    write_o(w, ctx->defect, ctx->runs++);
    write_lse(w, ctx->defect);
    if (ctx->defect == DEFECT_WRITES_K) *(uint16_t *)(uintptr_t)w->args->k ^= 1;
}

seqtune_status seqtune_run_attention(const seqtune_plan *plan, const seqtune_attention_args *args,
                                     seqtune_device_ptr workspace, seqtune_stream stream) {
    (void)workspace, (void)stream;
    const seqtune_attention_desc *d = &plan->desc.u.attention;
    const Defect defect = plan->ctx->defect;
    Answer w = {.d = d, .args = args, .type = d->dtype == SEQTUNE_BF16 ? DTYPE_BF16 : DTYPE_F16};
    RefAttention *a = &w.a;
    *a = (RefAttention){.batch = d->batch,
                        .heads_q = d->heads_q,
                        .heads_kv = d->heads_kv,
                        .head_dim = d->head_dim,
                        .len_q = length(args->len_q, d->max_len_q),
                        .len_kv = length(args->len_kv, d->max_len_kv)};
    a->window_left = d->window.kind == SEQTUNE_WINDOW_OFF ? -1 : d->window.left;
    a->window_right = d->window.kind == SEQTUNE_WINDOW_BOTH ? d->window.right : -1;
    if (d->mask != SEQTUNE_MASK_NONE) a->window_right = 0;
    a->top_left = d->mask == SEQTUNE_MASK_CAUSAL_TOP_LEFT;
    a->scale = d->scale > 0 ? (double)d->scale : (double)(float)(1 / sqrt((double)d->head_dim));
    const Strides qs = {d->q_stride_batch, d->q_stride_token, d->q_stride_head};
    const Strides ks = {d->k_stride_batch, d->k_stride_token, d->k_stride_head};
    const Strides vs = {d->v_stride_batch, d->v_stride_token, d->v_stride_head};
    double *q = gather(args->q, w.type, a->batch, a->len_q, a->heads_q, a->head_dim, qs);
    double *k = gather(args->k, w.type, a->batch, a->len_kv, a->heads_kv, a->head_dim, ks);
    double *v = gather(args->v, w.type, a->batch, a->len_kv, a->heads_kv, a->head_dim,
                       defect == DEFECT_V_WALKED_WITH_K_STRIDES ? ks : vs);
    /* The row behind the last one of K/V, where there is capacity for it. */
    if (positive(d->max_len_kv) > a->len_kv) {
        v[a->batch * a->len_kv * a->heads_kv * a->head_dim] =
            dtype_decode(w.type, ((const uint16_t *)(uintptr_t)args->v)[a->len_kv * vs.token]);
    }
    double *mixed = mem_alloc((size_t)(a->batch * a->len_kv * a->heads_kv * a->head_dim + 1) * 8);
    reverse_heads(a, k, mixed);
    a->q = q;
    a->k = defect == DEFECT_K_HEADS_REVERSED ? mixed : k;
    a->v = v;
    w.o = mem_alloc((size_t)(a->batch * a->len_q * a->heads_q * a->head_dim + 1) * sizeof *w.o);
    w.lse = mem_alloc((size_t)(a->batch * a->len_q * a->heads_q + 1) * sizeof *w.lse);
    answer(&w, plan->ctx, v);
    double *const blocks[] = {q, k, v, mixed, w.o, w.lse};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) mem_free(blocks[i]);
    return SEQTUNE_OK;
}

/* ---- rope ---- */

typedef struct RopeRun {
    const seqtune_rope_desc *d;
    const seqtune_rope_args *args;
    Dtype type;
    Defect defect;
} RopeRun;

/* One head of one token, from copies, so that in place works. */
static void rope_head(const RopeRun *r, const RefRope *ref, int64_t t, int64_t h) {
    const seqtune_rope_desc *d = r->d;
    const uint16_t *x = (const uint16_t *)(uintptr_t)r->args->x;
    uint16_t *out = (uint16_t *)(uintptr_t)r->args->out, in[1024];
    memcpy(in, x + t * d->x_stride_token + h * d->x_stride_head, (size_t)d->head_dim * 2);
    uint16_t *to = out + t * d->out_stride_token + h * d->out_stride_head;
    for (int64_t e = 0; e < d->head_dim; e++) {
        const bool by_value = r->defect == DEFECT_ROPE_COPIES_VALUES;
        to[e] = by_value ? dtype_encode(r->type, dtype_decode(r->type, in[e])) : in[e];
    }
    const int64_t row = ref_rope_row(ref, t);
    if (row < 0) return;
    const float *cos = (const float *)(uintptr_t)r->args->cos + row * d->table_stride;
    const float *sin = (const float *)(uintptr_t)r->args->sin + row * d->table_stride;
    for (int64_t i = 0; i < d->rotary_dim / 2; i++) {
        int64_t a, b;
        ref_rope_pair(ref, i, &a, &b);
        const double x0 = dtype_decode(r->type, in[a]), x1 = dtype_decode(r->type, in[b]);
        const double s = r->defect == DEFECT_ROPE_WRONG_SIGN ? -(double)sin[i] : (double)sin[i];
        to[a] = dtype_encode(r->type, x0 * (double)cos[i] - x1 * s);
        to[b] = dtype_encode(r->type, x1 * (double)cos[i] + x0 * s);
    }
    const bool in_place = r->args->x == r->args->out;
    if (r->defect == DEFECT_ROPE_IN_PLACE_DIFFERS && in_place) to[ref->rotary_offset] ^= 1;
}

seqtune_status seqtune_run_rope(const seqtune_plan *plan, const seqtune_rope_args *args,
                                seqtune_device_ptr workspace, seqtune_stream stream) {
    (void)workspace, (void)stream;
    const seqtune_rope_desc *d = &plan->desc.u.rope;
    const Defect defect = plan->ctx->defect;
    const RopeRun r = {d, args, d->dtype == SEQTUNE_BF16 ? DTYPE_BF16 : DTYPE_F16, defect};
    RefRope ref = {.head_dim = d->head_dim,
                   .rotary_dim = d->rotary_dim,
                   .rotary_offset = d->rotary_offset,
                   .table_rows = d->table_rows,
                   .positions = (const int64_t *)(uintptr_t)args->positions,
                   .first_position = args->first_position};
    ref.interleaved = (d->style == SEQTUNE_ROPE_INTERLEAVED) != (defect == DEFECT_ROPE_OTHER_STYLE);
    if (defect == DEFECT_ROPE_ROW_PAST_THE_TABLE) ref.table_rows++;
    const int64_t tokens = length(args->tokens, d->max_tokens);
    const bool more = defect == DEFECT_ROPE_TOKEN_PAST_THE_END && positive(d->max_tokens) > tokens;
    if (more && ref.positions) ref.positions = NULL;
    for (int64_t t = 0; t < tokens + more; t++) {
        for (int64_t h = 0; h < d->heads; h++) rope_head(&r, &ref, t, h);
    }
    return SEQTUNE_OK;
}

/* ---- recurrent cells: no stand-in, their checks are proved by mutants ---- */

/* As in runtime/plan_internal.h, whose plans and contexts are others than those here. */
struct RnnKernelArgs;
Status plan_run_rnn_kernel(const seqtune_plan *plan, const struct RnnKernelArgs *args,
                           seqtune_device_ptr workspace, seqtune_stream stream, Error *err);

Status plan_run_rnn_kernel(const seqtune_plan *plan, const struct RnnKernelArgs *args,
                           seqtune_device_ptr workspace, seqtune_stream stream, Error *err) {
    (void)plan, (void)args, (void)workspace, (void)stream;
    return err_set(err, ST_INTERNAL, "the fake runtime has no recurrent kernels");
}
