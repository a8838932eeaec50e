/* How attention comes by a sequence's keys changes no bit where that is promised, and nothing that
 * matters elsewhere: SEQTUNE_BATCH_INVARIANT over ragged queries and pages of 5 (decode_test.c has
 * the dense case), and every number of parts that `splits` allows against fp64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/verify/devices.h"
#include "tuner/verify/dtype.h"

static seqtune_context *ctx;

static void must(seqtune_status status) {
    if (status != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
}

/* Device memory with `values` in it, or as it comes. */
static seqtune_device_ptr device(const void *values, size_t bytes) {
    seqtune_device_ptr at = 0;
    must(seqtune_device_alloc(ctx, bytes > 0 ? bytes : 16, &at));
    if (values != NULL) must(seqtune_device_upload(ctx, at, values, bytes));
    return at;
}

static void run_plan(const seqtune_plan *plan, const seqtune_attention_args *args) {
    const size_t bytes = seqtune_plan_workspace(plan);
    const seqtune_device_ptr workspace = bytes > 0 ? device(NULL, bytes) : 0;
    must(seqtune_run_attention(plan, args, workspace, NULL));
    must(seqtune_device_synchronize(ctx));
    must(seqtune_device_free(ctx, workspace));
}

static void release(const seqtune_attention_args *a) {
    const seqtune_device_ptr all[] = {a->q,           a->k,       a->v,           a->o,
                                      a->lse,         a->lens_kv, a->page_indptr, a->page_indices,
                                      a->cu_seqlens_q};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) must(seqtune_device_free(ctx, all[i]));
}

/* Normal f16 numbers of either sign, 2^-3 to 2, by the place alone. */
static uint16_t half_at(uint32_t i) {
    i = i * 2654435761u;
    return (uint16_t)((i >> 16 & 0x8000) | (0x3000 + (i >> 8 & 0xfff)));
}

/* ---- batch invariance ---- */

enum { HEADS = 6, HEADS_KV = 2, DIM = 64, PAGE = 5, MOST = 4, MOST_KEYS = 2500, MOST_ROWS = 40 };

/* Sequence 0 among others, which share nothing but the pool. */
typedef struct Batch {
    int count;
    int max_q, max_kv; /* of the description */
    int q[MOST], kv[MOST];
    seqtune_kv_dtype type;
    int window; /* 0: none */
} Batch;

typedef struct Pool {
    int cu_q[MOST + 1], indptr[MOST + 1];
    int *pages; /* of all sequences, one after the other, from the last of the pool down */
    uint16_t *q;
    unsigned char *k, *v;
    size_t q_bytes, bytes; /* of q, of k and v each */
} Pool;

typedef struct Result {
    uint16_t o[MOST_ROWS * HEADS * DIM];
    float lse[HEADS * MOST_ROWS];
} Result;

/* K and V of token t of sequence b, by b and t alone. What no token has is NaN or 127. */
static void fill_sequence(const Batch *batch, const Pool *p, int b) {
    for (int i = 0; i < batch->q[b] * HEADS * DIM; i++)
        p->q[p->cu_q[b] * HEADS * DIM + i] = half_at((uint32_t)(b * 7777777 + i));
    for (int t = 0; t < batch->kv[b]; t++) {
        const size_t row = (size_t)p->pages[p->indptr[b] + t / PAGE] * PAGE + (size_t)(t % PAGE);
        for (int i = 0; i < HEADS_KV * DIM; i++) {
            const size_t at = row * HEADS_KV * DIM + (size_t)i;
            const uint32_t seed = (uint32_t)(b * 99991 + t * HEADS_KV * DIM + i);
            const uint16_t k = half_at(seed), v = half_at(seed + 3);
            if (batch->type == SEQTUNE_KV_SAME) {
                memcpy(p->k + 2 * at, &k, 2);
                memcpy(p->v + 2 * at, &v, 2);
            } else {
                p->k[at] = (unsigned char)(k % 5);
                p->v[at] = (unsigned char)(v % 7);
            }
        }
    }
}

static Pool make_pool(const Batch *batch) {
    Pool p = {.pages = NULL};
    int pages = 0;
    for (int b = 0; b < batch->count; b++) {
        p.cu_q[b + 1] = p.cu_q[b] + batch->q[b];
        pages += (batch->kv[b] + PAGE - 1) / PAGE;
        p.indptr[b + 1] = pages;
    }
    p.q_bytes = (size_t)p.cu_q[batch->count] * HEADS * DIM * 2;
    p.bytes = (size_t)pages * PAGE * HEADS_KV * DIM * (batch->type == SEQTUNE_KV_SAME ? 2 : 1);
    p.pages = malloc((size_t)(pages + 1) * sizeof *p.pages);
    p.q = malloc(p.q_bytes);
    p.k = malloc(p.bytes + 1);
    p.v = malloc(p.bytes + 1);
    assert_true(p.pages != NULL && p.q != NULL && p.k != NULL && p.v != NULL);
    for (int i = 0; i < pages; i++) p.pages[i] = pages - 1 - i;
    memset(p.k, 0x7f, p.bytes);
    memset(p.v, 0x7f, p.bytes);
    for (int b = 0; b < batch->count; b++) fill_sequence(batch, &p, b);
    return p;
}

static seqtune_plan *invariant_plan(const Batch *batch, const Pool *p) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_plan *plan = NULL;
    d.batch = batch->count;
    d.heads_q = HEADS;
    d.heads_kv = HEADS_KV;
    d.head_dim = DIM;
    d.max_len_q = batch->max_q;
    d.max_len_kv = batch->max_kv;
    d.ragged_q = 1;
    d.total_q = p->cu_q[batch->count];
    d.kv = SEQTUNE_KV_PAGED;
    d.kv_dtype = batch->type;
    d.page_size = PAGE;
    d.pages = p->indptr[batch->count];
    d.page_table = SEQTUNE_PAGES_CSR;
    d.want_lse = 1;
    d.mask = SEQTUNE_MASK_CAUSAL;
    if (batch->window > 0) d.window = (seqtune_window){SEQTUNE_WINDOW_LEFT, batch->window, 0};
    d.flags = SEQTUNE_BATCH_INVARIANT;
    must(seqtune_plan_attention(ctx, &d, &plan));
    return plan;
}

/* O and LSE of sequence 0. */
static void run_batch(const Batch *batch, Result *out) {
    Pool p = make_pool(batch);
    seqtune_plan *plan = invariant_plan(batch, &p);
    const int n = batch->count, total = p.cu_q[n], own = batch->q[0];
    float *lse = malloc((size_t)total * HEADS * sizeof *lse);
    assert_non_null(lse);
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = device(p.q, p.q_bytes);
    a.k = device(p.k, p.bytes);
    a.v = device(p.v, p.bytes);
    a.o = device(NULL, p.q_bytes);
    a.lse = device(NULL, (size_t)total * HEADS * sizeof *lse);
    a.cu_seqlens_q = device(p.cu_q, (size_t)(n + 1) * sizeof(int));
    a.page_indptr = device(p.indptr, (size_t)(n + 1) * sizeof(int));
    a.page_indices = device(p.pages, (size_t)p.indptr[n] * sizeof(int));
    a.lens_kv = device(batch->kv, (size_t)n * sizeof(int));
    run_plan(plan, &a);
    memset(out, 0, sizeof *out);
    must(seqtune_device_download(ctx, out->o, a.o, (size_t)(own * HEADS * DIM) * 2));
    must(seqtune_device_download(ctx, lse, a.lse, (size_t)total * HEADS * sizeof *lse));
    for (int h = 0; h < HEADS; h++)
        memcpy(out->lse + h * own, lse + h * total, (size_t)own * sizeof *lse);
    release(&a);
    seqtune_plan_destroy(plan);
    free(lse), free(p.pages), free(p.q), free(p.k), free(p.v);
}

/* Rows of up to 16 queries are attn_decode's, the last is attn_prefill's. */
static void a_ragged_sequence_in_pages_has_the_same_bits_in_any_batch(void **state) {
    (void)state;
    static const Batch rows[] = {
        {MOST, 16, MOST_KEYS, {1, 16, 0, 3}, {2100, 40, MOST_KEYS, 0}, SEQTUNE_KV_SAME, 0},
        {MOST, 16, MOST_KEYS, {7, 1, 16, 2}, {1030, 1300, 1, 9}, SEQTUNE_KV_SAME, 0},
        {MOST, 40, MOST_KEYS, {40, 1, 33, 0}, {300, 700, 0, 5}, SEQTUNE_KV_SAME, 0},
    };
    static Result alone, together;
    for (int i = 0; i < 2 * 2 * 3 * devices.count; i++) {
        ctx = devices.ctx[i / 12];
        Batch batch = rows[i % 3];
        if (i / 3 % 2 == 1) batch.type = SEQTUNE_KV_INT8;
        if (i / 6 % 2 == 1) batch.window = 301;
        if (batch.type != SEQTUNE_KV_SAME && batch.max_q > 16) continue; /* unsupported */
        run_batch(&batch, &together);
        batch.count = 1;
        batch.max_kv = batch.kv[0];
        run_batch(&batch, &alone);
        if (memcmp(alone.o, together.o, sizeof alone.o) != 0)
            fail_msg("%s, row %d, type %d, window %d: other bits of O in a batch",
                     devices.name[i / 12], i % 3, (int)batch.type, batch.window);
        if (memcmp(alone.lse, together.lse, sizeof alone.lse) != 0)
            fail_msg("%s, row %d, type %d, window %d: other bits of LSE in a batch",
                     devices.name[i / 12], i % 3, (int)batch.type, batch.window);
        assert_true(fabsf(together.lse[0]) < 100); /* written, and by numbers */
    }
}

/* ---- splits ---- */

enum { QUERIES = 3, KEYS = 1500, GROUP = HEADS / HEADS_KV, ROWS = QUERIES * HEADS };

typedef struct Dense {
    uint16_t q[ROWS * DIM], k[KEYS * HEADS_KV * DIM], v[KEYS * HEADS_KV * DIM], o[ROWS * DIM];
    float lse[ROWS]; /* [head, query] */
} Dense;

static double number(uint16_t half) {
    return dtype_decode(DTYPE_F16, half);
}

/* O in fp64 of query i and a head, causal; returns LSE. */
static double expected(const Dense *d, int i, int head, double out[DIM]) {
    static double score[KEYS];
    const int end = i + KEYS - QUERIES + 1;
    double most = -INFINITY, sum = 0;
    for (int j = 0; j < end; j++) {
        score[j] = 0;
        for (int e = 0; e < DIM; e++)
            score[j] += number(d->q[(i * HEADS + head) * DIM + e]) *
                        number(d->k[(j * HEADS_KV + head / GROUP) * DIM + e]);
        score[j] /= sqrt(DIM);
        most = fmax(most, score[j]);
    }
    for (int e = 0; e < DIM; e++) out[e] = 0;
    for (int j = 0; j < end; j++) sum += exp(score[j] - most);
    for (int j = 0; j < end; j++)
        for (int e = 0; e < DIM; e++)
            out[e] +=
                exp(score[j] - most) / sum * number(d->v[(j * HEADS_KV + head / GROUP) * DIM + e]);
    return most + log(sum);
}

/* Returns the workspace's bytes. */
static size_t run_splits(Dense *data, int64_t splits) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_plan *plan = NULL;
    d.heads_q = HEADS;
    d.heads_kv = HEADS_KV;
    d.head_dim = DIM;
    d.max_len_q = QUERIES;
    d.max_len_kv = KEYS;
    d.mask = SEQTUNE_MASK_CAUSAL;
    d.want_lse = 1;
    d.splits = splits;
    must(seqtune_plan_attention(ctx, &d, &plan));
    a.q = device(data->q, sizeof data->q);
    a.k = device(data->k, sizeof data->k);
    a.v = device(data->v, sizeof data->v);
    a.o = device(NULL, sizeof data->o);
    a.lse = device(NULL, sizeof data->lse);
    run_plan(plan, &a);
    must(seqtune_device_download(ctx, data->o, a.o, sizeof data->o));
    must(seqtune_device_download(ctx, data->lse, a.lse, sizeof data->lse));
    release(&a);
    const size_t bytes = seqtune_plan_workspace(plan);
    seqtune_plan_destroy(plan);
    return bytes;
}

/* Weights are rounded to f16 (their sum is 1, |V| < 2), O to f16 (|O| < 1); LSE is fp32. */
static void any_number_of_splits_gives_attention_in_fp64(void **state) {
    (void)state;
    enum { COUNT = 5 };
    static const int64_t splits[COUNT] = {1, 2, 3, 7, 1024};
    static Dense data;
    static double want[ROWS][DIM], want_lse[ROWS];
    for (uint32_t i = 0; i < ROWS * DIM; i++) data.q[i] = half_at(i);
    for (uint32_t i = 0; i < KEYS * HEADS_KV * DIM; i++) {
        data.k[i] = half_at(1000003 + i);
        data.v[i] = half_at(2000003 + i);
    }
    for (int row = 0; row < ROWS; row++)
        want_lse[row] = expected(&data, row / HEADS, row % HEADS, want[row]);
    for (int n = 0; n < COUNT * devices.count; n++) {
        ctx = devices.ctx[n / COUNT];
        static size_t workspace[COUNT];
        workspace[n % COUNT] = run_splits(&data, splits[n % COUNT]);
        if (n % COUNT > 0) assert_true(workspace[n % COUNT] > workspace[n % COUNT - 1]);
        for (int i = 0; i < ROWS * DIM; i++)
            if (!(fabs(number(data.o[i]) - want[i / DIM][i % DIM]) <= 3 * 0x1p-11))
                fail_msg("%s, %d splits: O[%d] is %g, not %g", devices.name[n / COUNT],
                         (int)splits[n % COUNT], i, number(data.o[i]), want[i / DIM][i % DIM]);
        for (int row = 0; row < ROWS; row++) {
            const double lse = (double)data.lse[row % HEADS * QUERIES + row / HEADS];
            if (!(fabs(lse - want_lse[row]) <= 1e-5 * fabs(want_lse[row])))
                fail_msg("%s, %d splits: LSE of row %d is %.8g, not %.8g", devices.name[n / COUNT],
                         (int)splits[n % COUNT], row, lse, want_lse[row]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_splits_gives_attention_in_fp64),
        cmocka_unit_test(a_ragged_sequence_in_pages_has_the_same_bits_in_any_batch),
    };
    return _cmocka_run_group_tests("split", tests, sizeof tests / sizeof *tests, devices_setup,
                                   devices_teardown);
}
