/* Buffers and arguments per family; see the header. */
#include "tuner/bench_inputs.h"

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
    case PLAN_ROPE: return rope_inputs(&desc->u.rope, out);
    }
    return err_set(err, ST_INTERNAL, "no inputs for plans of kind %d", (int)desc->kind);
}

CuDeviceptr bench_lengths(const PlanDesc *desc, const CuDeviceptr *at, int64_t *count) {
    if (desc->kind != PLAN_ATTENTION) return 0;
    *count = desc->u.attention.batch;
    return at[AT_LENS];
}

seqtune_status bench_run(const PlanDesc *desc, const seqtune_plan *plan, const CuDeviceptr *at,
                         CuDeviceptr workspace, CuStream stream) {
    switch (desc->kind) {
    case PLAN_ATTENTION: return attention_run(plan, at, workspace, stream);
    case PLAN_ROPE: return rope_run(plan, at, workspace, stream);
    }
    return SEQTUNE_INTERNAL;
}
