/* A step of decoding in a captured graph: kv_append, attn_decode and its merge are captured once
 * and replayed while everything that a server changes between steps changes on the device:
 * lengths, slots, block tables, the pages themselves. Every replay must give what the fp64
 * reference gives for the keys that there are then, from none to the plan's capacity. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/context.h"
#include "tests/verify/devices.h"
#include "tuner/verify/accept.h"
#include "tuner/verify/reference.h"

enum {
    BATCH = 3,
    HEADS_Q = 6, /* groups of 3 */
    HEADS_KV = 2,
    DIM = 64,
    PAGE = 16,
    CAPACITY = 2048,
    PAGES_EACH = CAPACITY / PAGE,
    PAGES = BATCH * PAGES_EACH + 5,
    ROW = HEADS_KV * DIM, /* elements of one token in K or V */
    POOL = PAGES * PAGE * ROW,
    QUERY = HEADS_Q * DIM,
    NOTHING = 0x7e00 /* NaN, in slots that no token has */
};

/* Keys of each sequence in each replay, the appended one included. A sequence that has none, or as
 * many as before, gets no token: its slot is -1. */
static const int lengths[][BATCH] = {
    {1, 0, 31},     {2, 0, 32},         {17, 1, 33},       {130, 130, 33},
    {600, 2, 1025}, {1500, 2048, 1025}, {2048, 2048, 512}, {3, 700, 2047},
};
enum { STEPS = sizeof lengths / sizeof *lengths };

typedef struct Step {
    seqtune_context *ctx;
    seqtune_plan *append, *attend;
    seqtune_kv_args kv;
    seqtune_attention_args attention;
    seqtune_device_ptr workspace;
    CuStream stream;
    CuGraphExec exec;
    uint16_t *keys[2]; /* K, V by sequence and token: what the cache means */
    uint16_t *pool;    /* of K or V as it lies in pages */
    uint64_t random;
} Step;

static void must(seqtune_context *ctx, seqtune_status status) {
    if (status != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
}

static void cuda(CuResult result) {
    assert_int_equal(result, CUDA_SUCCESS);
}

static seqtune_device_ptr device(seqtune_context *ctx, size_t bytes) {
    seqtune_device_ptr at = 0;
    must(ctx, seqtune_device_alloc(ctx, bytes, &at));
    return at;
}

/* Knuth, MMIX. */
static uint32_t next(Step *s) {
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s->random >> 33);
}

static uint16_t next_half(Step *s) {
    return dtype_encode(DTYPE_F16, (double)(next(s) % 4096) / 1024 - 2);
}

static void make_plans(Step *s) {
    seqtune_kv_desc k = SEQTUNE_KV_DESC_INIT;
    seqtune_attention_desc a = SEQTUNE_ATTENTION_DESC_INIT;
    k.max_tokens = BATCH;
    k.heads_kv = a.heads_kv = HEADS_KV;
    k.head_dim = a.head_dim = DIM;
    k.page_size = a.page_size = PAGE;
    k.pages = a.pages = PAGES;
    a.batch = BATCH;
    a.heads_q = HEADS_Q;
    a.max_len_q = 1;
    a.max_len_kv = CAPACITY;
    a.mask = SEQTUNE_MASK_CAUSAL;
    a.kv = SEQTUNE_KV_PAGED;
    a.device_lengths = 1;
    a.want_lse = 1;
    must(s->ctx, seqtune_plan_kv(s->ctx, &k, &s->append));
    must(s->ctx, seqtune_plan_attention(s->ctx, &a, &s->attend));
}

static void make_buffers(Step *s) {
    s->kv = (seqtune_kv_args)SEQTUNE_KV_ARGS_INIT;
    s->attention = (seqtune_attention_args)SEQTUNE_ATTENTION_ARGS_INIT;
    s->kv.new_k = device(s->ctx, BATCH * ROW * 2);
    s->kv.new_v = device(s->ctx, BATCH * ROW * 2);
    s->kv.slots = device(s->ctx, BATCH * sizeof(int64_t));
    s->attention.k = s->kv.k = device(s->ctx, POOL * 2);
    s->attention.v = s->kv.v = device(s->ctx, POOL * 2);
    s->attention.q = device(s->ctx, BATCH * QUERY * 2);
    s->attention.o = device(s->ctx, BATCH * QUERY * 2);
    s->attention.lse = device(s->ctx, BATCH * HEADS_Q * 4);
    s->attention.lens_kv = device(s->ctx, BATCH * 4);
    s->attention.block_table = device(s->ctx, BATCH * PAGES_EACH * 4);
    const size_t bytes = seqtune_plan_workspace(s->attend);
    assert_true(bytes > 0); /* keys are split, so that the merge is part of the graph */
    s->workspace = device(s->ctx, bytes);
    for (int i = 0; i < 2; i++) {
        s->keys[i] = malloc((size_t)BATCH * CAPACITY * ROW * 2);
        assert_non_null(s->keys[i]);
        for (int n = 0; n < BATCH * CAPACITY * ROW; n++) s->keys[i][n] = next_half(s);
    }
    s->pool = malloc(POOL * 2);
    assert_non_null(s->pool);
}

static void capture(Step *s) {
    const Driver *cu = s->ctx->driver;
    CuGraph graph = NULL;
    cuda(cu->StreamCreate(&s->stream, CU_STREAM_NON_BLOCKING));
    cuda(cu->StreamBeginCapture(s->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    must(s->ctx, seqtune_run_kv(s->append, &s->kv, 0, s->stream));
    must(s->ctx, seqtune_run_attention(s->attend, &s->attention, s->workspace, s->stream));
    cuda(cu->StreamEndCapture(s->stream, &graph));
    cuda(cu->GraphInstantiate(&s->exec, graph, 0));
    cuda(cu->GraphDestroy(graph));
}

/* Pages in a new order for every step. */
static void shuffle(Step *s, int *table) {
    int page[PAGES];
    for (int i = 0; i < PAGES; i++) page[i] = i;
    for (int i = PAGES - 1; i > 0; i--) {
        const int j = (int)(next(s) % (uint32_t)(i + 1)), other = page[j];
        page[j] = page[i];
        page[i] = other;
    }
    memcpy(table, page, BATCH * PAGES_EACH * sizeof *table);
}

static bool appends(int step, int sequence) {
    const int now = lengths[step][sequence];
    return now > 0 && (step == 0 || lengths[step - 1][sequence] != now);
}

static int64_t slot_of(const int *table, int sequence, int token) {
    return (int64_t)table[sequence * PAGES_EACH + token / PAGE] * PAGE + token % PAGE;
}

/* K (0) or V (1) as the step finds them: all tokens but those that it appends. */
static void upload_cache(Step *s, int kind, int step, const int *table) {
    uint16_t new[BATCH * ROW];
    for (int i = 0; i < POOL; i++) s->pool[i] = NOTHING;
    for (int b = 0; b < BATCH; b++) {
        const uint16_t *const rows = s->keys[kind] + (size_t)b * CAPACITY * ROW;
        const int last = lengths[step][b] - (appends(step, b) ? 1 : 0);
        for (int t = 0; t < last; t++)
            memcpy(s->pool + slot_of(table, b, t) * ROW, rows + (size_t)t * ROW, ROW * 2);
        memcpy(new + b *ROW, rows + (size_t)(last < CAPACITY ? last : 0) * ROW, ROW * 2);
    }
    must(s->ctx, seqtune_device_upload(s->ctx, kind ? s->kv.v : s->kv.k, s->pool, POOL * 2));
    must(s->ctx, seqtune_device_upload(s->ctx, kind ? s->kv.new_v : s->kv.new_k, new, sizeof new));
}

static void upload_step(Step *s, int step, uint16_t *q) {
    int table[BATCH * PAGES_EACH];
    int64_t slots[BATCH];
    shuffle(s, table);
    for (int b = 0; b < BATCH; b++)
        slots[b] = appends(step, b) ? slot_of(table, b, lengths[step][b] - 1) : -1;
    for (int kind = 0; kind < 2; kind++) upload_cache(s, kind, step, table);
    for (int i = 0; i < BATCH * QUERY; i++) q[i] = next_half(s);
    must(s->ctx, seqtune_device_upload(s->ctx, s->attention.q, q, BATCH * QUERY * 2));
    must(s->ctx, seqtune_device_upload(s->ctx, s->kv.slots, slots, sizeof slots));
    must(s->ctx, seqtune_device_upload(s->ctx, s->attention.block_table, table, sizeof table));
    must(s->ctx,
         seqtune_device_upload(s->ctx, s->attention.lens_kv, lengths[step], sizeof lengths[step]));
}

/* The largest sum of |q k| * scale that a score of this head went through. */
static double magnitude(const double *q, const double *k, int len, double scale) {
    double most = 0;
    for (int t = 0; t < len; t++) {
        double sum = 0;
        for (int i = 0; i < DIM; i++) sum += fabs(q[i] * k[t * ROW + i]);
        most = fmax(most, sum * scale);
    }
    return most;
}

static void compare_sequence(Step *s, int step, int b, const uint16_t *q, const uint16_t *o,
                             const float *lse) {
    const int len = lengths[step][b];
    double *k = malloc((size_t)(len + 1) * ROW * sizeof *k);
    double *v = malloc((size_t)(len + 1) * ROW * sizeof *v);
    double query[QUERY], out[QUERY], want[QUERY], naive[QUERY], want_lse[HEADS_Q];
    Error err;
    assert_true(k != NULL && v != NULL);
    for (int i = 0; i < len * ROW; i++) {
        k[i] = dtype_decode(DTYPE_F16, s->keys[0][b * CAPACITY * ROW + i]);
        v[i] = dtype_decode(DTYPE_F16, s->keys[1][b * CAPACITY * ROW + i]);
    }
    for (int i = 0; i < QUERY; i++) {
        query[i] = dtype_decode(DTYPE_F16, q[b * QUERY + i]);
        out[i] = dtype_decode(DTYPE_F16, o[b * QUERY + i]);
    }
    const double scale = 1 / sqrt((double)DIM);
    const RefAttention ref = {.batch = 1,
                              .heads_q = HEADS_Q,
                              .heads_kv = HEADS_KV,
                              .head_dim = DIM,
                              .len_q = 1,
                              .len_kv = len,
                              .window_left = -1,
                              .scale = scale,
                              .q = query,
                              .k = k,
                              .v = v};
    assert_int_equal(ref_attention(&ref, want, want_lse, &err), ST_OK);
    assert_int_equal(ref_attention_naive(&ref, DTYPE_F16, naive, &err), ST_OK);
    for (int h = 0; h < HEADS_Q; h++) {
        const int at = h * DIM, kv = h / (HEADS_Q / HEADS_KV) * DIM;
        const double worst =
            accept_row(DTYPE_F16, ACCEPT_FACTOR, out + at, want + at, naive + at, DIM, NULL);
        const double off = accept_lse((double)lse[b * HEADS_Q + h], want_lse[h],
                                      magnitude(query + at, k + kv, len, scale), 0);
        if (!(worst <= 1 && off <= 1))
            fail_msg("replay %d, sequence %d of %d keys, head %d: O is off by %g, LSE by %g times "
                     "its limit",
                     step, b, len, h, worst, off);
    }
    free(k);
    free(v);
}

static void replay(Step *s, int step) {
    static uint16_t q[BATCH * QUERY], o[BATCH * QUERY];
    float lse[BATCH * HEADS_Q];
    upload_step(s, step, q);
    cuda(s->ctx->driver->GraphLaunch(s->exec, s->stream));
    cuda(s->ctx->driver->StreamSynchronize(s->stream));
    must(s->ctx, seqtune_device_download(s->ctx, o, s->attention.o, sizeof o));
    must(s->ctx, seqtune_device_download(s->ctx, lse, s->attention.lse, sizeof lse));
    for (int b = 0; b < BATCH; b++) compare_sequence(s, step, b, q, o, lse);
}

static void release(Step *s) {
    const Driver *cu = s->ctx->driver;
    const seqtune_device_ptr all[] = {
        s->kv.new_k,
        s->kv.new_v,
        s->kv.slots,
        s->kv.k,
        s->kv.v,
        s->attention.q,
        s->attention.o,
        s->attention.lse,
        s->workspace,
        s->attention.lens_kv,
        s->attention.block_table,
    };
    cuda(cu->GraphExecDestroy(s->exec));
    cuda(cu->StreamDestroy(s->stream));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        must(s->ctx, seqtune_device_free(s->ctx, all[i]));
    seqtune_plan_destroy(s->append);
    seqtune_plan_destroy(s->attend);
    free(s->keys[0]);
    free(s->keys[1]);
    free(s->pool);
}

static void a_captured_step_serves_sequences_that_grow_and_move(void **state) {
    (void)state;
    for (int i = 0; i < devices.count; i++) {
        Step s = {.ctx = devices.ctx[i], .random = 20261122};
        bool pushed = false;
        make_plans(&s);
        make_buffers(&s);
        cuda(driver_enter(s.ctx->driver, s.ctx->device.context, &pushed));
        capture(&s);
        for (int step = 0; step < STEPS; step++) replay(&s, step);
        release(&s);
        driver_leave(s.ctx->driver, pushed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_captured_step_serves_sequences_that_grow_and_move),
    };
    return _cmocka_run_group_tests("growth", tests, sizeof tests / sizeof *tests, devices_setup,
                                   devices_teardown);
}
