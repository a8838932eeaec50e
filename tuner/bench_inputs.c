/* Buffers and arguments per family; see the header. */
#include "tuner/bench_inputs.h"

#include "tuner/bench_rnn.h"

/* ---- attention ---- */

enum { AT_Q, AT_K, AT_V, AT_O, AT_LSE, AT_LENS, AT_PAGES };

static int64_t positive(int64_t n) {
    return n > 0 ? n : 0;
}

static double kv_bytes(const seqtune_attention_desc *d) {
    const double element = d->kv_dtype == SEQTUNE_KV_SAME ? 2 : 1;
    const double row = (double)d->heads_kv * (double)d->head_dim * element;
    if (d->kv == SEQTUNE_KV_PAGED) return (double)d->pages * (double)d->page_size * row;
    return (double)d->batch * (double)positive(d->max_len_kv) * row;
}

/* Pages in an order that neighbours do not share: multiples of a number without common factor. */
static Status page_table(const seqtune_attention_desc *d, Arena *arena, BenchBuffer *out,
                         Error *err) {
    const int64_t each = (positive(d->max_len_kv) + d->page_size - 1) / d->page_size;
    const int64_t count = d->batch * (each > 0 ? each : 1);
    int *table = ARENA_ARRAY(arena, int, (size_t)count);
    if (table == NULL) return err_no_memory(err, (size_t)count * sizeof *table);
    const int64_t step = d->pages % 7919 == 0 ? 1 : 7919; /* a prime */
    for (int64_t i = 0; i < count; i++) table[i] = (int)(i * step % d->pages);
    *out = (BenchBuffer){(double)count * sizeof *table, table};
    return ST_OK;
}

static Status attention_inputs(seqtune_attention_desc *d, Arena *arena, BenchBuffer *out,
                               Error *err) {
    if (d->batch == 0) d->batch = 1;
    if (d->heads_kv == 0) d->heads_kv = d->heads_q;
    if (d->max_len_kv == 0) d->max_len_kv = d->max_len_q;
    const double queries = (double)d->batch * (double)d->heads_q * (double)positive(d->max_len_q);
    out[AT_Q].bytes = out[AT_O].bytes = queries * (double)d->head_dim * 2;
    out[AT_K].bytes = out[AT_V].bytes = kv_bytes(d);
    out[AT_LSE].bytes = d->want_lse ? queries * 4 : 0;
    if (!d->device_lengths) return ST_OK;
    int *lens = ARENA_ARRAY(arena, int, (size_t)d->batch);
    if (lens == NULL) return err_no_memory(err, (size_t)d->batch * sizeof *lens);
    for (int64_t b = 0; b < d->batch; b++) lens[b] = (int)positive(d->max_len_kv);
    out[AT_LENS] = (BenchBuffer){(double)d->batch * sizeof *lens, lens};
    return d->kv == SEQTUNE_KV_PAGED ? page_table(d, arena, &out[AT_PAGES], err) : ST_OK;
}

static seqtune_status attention_run(const seqtune_plan *plan, const CuDeviceptr *at,
                                    CuDeviceptr workspace, CuStream stream) {
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = at[AT_Q];
    a.k = at[AT_K];
    a.v = at[AT_V];
    a.o = at[AT_O];
    a.lse = at[AT_LSE];
    a.lens_kv = at[AT_LENS];
    a.block_table = at[AT_PAGES];
    return seqtune_run_attention(plan, &a, workspace, stream);
}

/* ---- merge ---- */

enum { AT_O_PARTS, AT_LSE_PARTS, AT_MERGED_O, AT_MERGED_LSE };

static Status merge_inputs(const seqtune_merge_desc *d, BenchBuffer *out) {
    const double rows = (double)positive(d->max_tokens) * (double)d->heads;
    const double parts = (double)d->max_parts, dim = (double)d->head_dim;
    out[AT_O_PARTS].bytes = parts * rows * dim * (d->parts_f32 ? 4 : 2);
    out[AT_LSE_PARTS].bytes = parts * rows * 4;
    out[AT_MERGED_O].bytes = rows * dim * 2;
    out[AT_MERGED_LSE].bytes = d->want_lse ? rows * 4 : 0;
    return ST_OK;
}

static seqtune_status merge_run(const seqtune_plan *plan, const CuDeviceptr *at,
                                CuDeviceptr workspace, CuStream stream) {
    seqtune_merge_args a = SEQTUNE_MERGE_ARGS_INIT;
    a.o_parts = at[AT_O_PARTS];
    a.lse_parts = at[AT_LSE_PARTS];
    a.o = at[AT_MERGED_O];
    a.lse = at[AT_MERGED_LSE];
    return seqtune_run_merge(plan, &a, workspace, stream);
}

/* ---- the KV cache ---- */

enum {
    AT_NEW_Q, /* in place */
    AT_NEW_K,
    AT_NEW_V,
    AT_CACHE_K,
    AT_CACHE_V,
    AT_SLOTS,
    AT_CU,
    AT_TABLE,
    AT_KV_COS,
    AT_KV_SIN,
    AT_POSITIONS,
    AT_NORM /* of Q and K */
};

/* 64-bit integers as the pairs that a BenchBuffer holds. */
static Status longs(Arena *arena, int64_t count, int64_t step, int64_t below, BenchBuffer *out,
                    Error *err) {
    int64_t *values = ARENA_ARRAY(arena, int64_t, (size_t)count + 1);
    if (values == NULL) return err_no_memory(err, (size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = i * step % below;
    *out = (BenchBuffer){(double)count * sizeof *values, (const int *)values};
    return ST_OK;
}

static Status kv_sequences(const seqtune_kv_desc *d, int64_t tokens, Arena *arena, BenchBuffer *out,
                           Error *err) {
    int *cu = ARENA_ARRAY(arena, int, (size_t)d->batch + 1);
    const int64_t entries = d->batch * d->block_table_stride;
    int *table = ARENA_ARRAY(arena, int, (size_t)entries + 1);
    if (cu == NULL || table == NULL) return err_no_memory(err, (size_t)entries * sizeof *table);
    for (int64_t b = 0; b <= d->batch; b++) cu[b] = (int)(tokens * b / d->batch);
    for (int64_t i = 0; i < entries; i++) table[i] = (int)(i % d->pages);
    out[AT_CU] = (BenchBuffer){(double)(d->batch + 1) * sizeof *cu, cu};
    out[AT_TABLE] = (BenchBuffer){(double)entries * sizeof *table, table};
    return ST_OK;
}

static Status kv_inputs(const seqtune_kv_desc *d, Arena *arena, BenchBuffer *out, Error *err) {
    const int64_t tokens = positive(d->max_tokens), slots = d->pages * d->page_size;
    const double row = (double)d->head_dim * (double)d->heads_kv;
    out[AT_NEW_Q].bytes = (double)tokens * (double)d->heads_q * (double)d->head_dim * 2;
    out[AT_NEW_K].bytes = out[AT_NEW_V].bytes = (double)tokens * row * 2;
    out[AT_CACHE_K].bytes = out[AT_CACHE_V].bytes =
        (double)slots * row * (d->kv_dtype == SEQTUNE_KV_SAME ? 2 : 1);
    out[AT_KV_COS].bytes = out[AT_KV_SIN].bytes =
        (double)d->table_rows * (double)(d->rotary_dim / 2) * 4;
    out[AT_NORM].bytes = d->qk_norm ? (double)d->head_dim * 2 : 0;
    if (d->batch > 0) return kv_sequences(d, tokens, arena, out, err);
    const int64_t step = slots % 7919 == 0 ? 1 : 7919; /* a prime: neighbours lie apart */
    Status st = longs(arena, tokens, step, slots, &out[AT_SLOTS], err);
    if (st != ST_OK || !d->rope) return st;
    return longs(arena, tokens, 1, d->table_rows, &out[AT_POSITIONS], err);
}

static seqtune_status kv_run(const seqtune_kv_desc *d, const seqtune_plan *plan,
                             const CuDeviceptr *at, CuDeviceptr workspace, CuStream stream) {
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.q = a.q_out = at[AT_NEW_Q];
    a.new_k = at[AT_NEW_K];
    a.new_v = at[AT_NEW_V];
    a.k = at[AT_CACHE_K];
    a.v = at[AT_CACHE_V];
    a.slots = at[AT_SLOTS];
    a.cu_seqlens = at[AT_CU];
    a.block_table = at[AT_TABLE];
    a.cos = at[AT_KV_COS];
    a.sin = at[AT_KV_SIN];
    a.positions = at[AT_POSITIONS];
    a.q_norm = d->heads_q > 0 ? at[AT_NORM] : 0;
    a.k_norm = at[AT_NORM];
    return seqtune_run_kv(plan, &a, workspace, stream);
}

/* ---- rope ---- */

enum { AT_X, AT_OUT, AT_COS, AT_SIN };

static Status rope_inputs(const seqtune_rope_desc *d, BenchBuffer *out) {
    const int64_t rotary = d->rotary_dim ? d->rotary_dim : d->head_dim;
    const int64_t rows = d->table_rows ? d->table_rows : d->max_tokens;
    out[AT_X].bytes = out[AT_OUT].bytes =
        (double)positive(d->max_tokens) * (double)d->heads * (double)d->head_dim * 2;
    out[AT_COS].bytes = out[AT_SIN].bytes = (double)rows * (double)(rotary / 2) * 4;
    return ST_OK;
}

static seqtune_status rope_run(const seqtune_plan *plan, const CuDeviceptr *at,
                               CuDeviceptr workspace, CuStream stream) {
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = at[AT_X];
    a.out = at[AT_OUT];
    a.cos = at[AT_COS];
    a.sin = at[AT_SIN];
    return seqtune_run_rope(plan, &a, workspace, stream);
}

/* ---- all ---- */

Status bench_inputs(PlanDesc *desc, Arena *arena, BenchBuffer *out, Error *err) {
    switch (desc->kind) {
    case PLAN_ATTENTION: return attention_inputs(&desc->u.attention, arena, out, err);
    case PLAN_MERGE: return merge_inputs(&desc->u.merge, out);
    case PLAN_KV: return kv_inputs(&desc->u.kv, arena, out, err);
    case PLAN_ROPE: return rope_inputs(&desc->u.rope, out);
    case PLAN_RNN_KERNEL: return bench_rnn_inputs(&desc->u.rnn_kernel, arena, out, err);
    case PLAN_RNN: /* no spec's */
    case PLAN_KINDS: break;
    }
    return err_set(err, ST_INTERNAL, "no inputs for plans of kind %d", (int)desc->kind);
}

CuDeviceptr bench_lengths(const PlanDesc *desc, const CuDeviceptr *at, int64_t *count) {
    if (desc->kind != PLAN_ATTENTION) return 0;
    *count = desc->u.attention.batch;
    return at[AT_LENS];
}

static seqtune_status public_run(const PlanDesc *desc, const seqtune_plan *plan,
                                 const CuDeviceptr *at, CuDeviceptr workspace, CuStream stream) {
    switch (desc->kind) {
    case PLAN_ATTENTION: return attention_run(plan, at, workspace, stream);
    case PLAN_MERGE: return merge_run(plan, at, workspace, stream);
    case PLAN_KV: return kv_run(&desc->u.kv, plan, at, workspace, stream);
    case PLAN_ROPE: return rope_run(plan, at, workspace, stream);
    case PLAN_RNN_KERNEL:
    case PLAN_RNN:
    case PLAN_KINDS: break;
    }
    return SEQTUNE_INTERNAL;
}

Status bench_run(seqtune_context *ctx, const PlanDesc *desc, const seqtune_plan *plan,
                 const CuDeviceptr *at, CuDeviceptr workspace, CuStream stream, Error *err) {
    if (desc->kind == PLAN_RNN_KERNEL)
        return bench_rnn_run(&desc->u.rnn_kernel, plan, at, workspace, stream, err);
    const seqtune_status rc = public_run(desc, plan, at, workspace, stream);
    if (rc == SEQTUNE_OK) return ST_OK;
    return err_set(err, (Status)rc, "%s", seqtune_last_error(ctx));
}
