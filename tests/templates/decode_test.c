/* What attn_decode promises beyond right results (tests/verify): every 8-bit code converted
 * exactly, the same bits in every batch when asked for, and, by the clock of the software GPU, the
 * memory's bandwidth, pages that cost little, and one plan that serves growing sequences. */
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
#include "tuner/verify/dtype.h"
#include "tuner/verify/kv8.h"

static void must(seqtune_context *ctx, seqtune_status status) {
    if (status != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
}

static void cuda(CuResult result) {
    assert_int_equal(result, CUDA_SUCCESS);
}

/* Device memory with `values` in it, or as it comes. */
static seqtune_device_ptr device(seqtune_context *ctx, const void *values, size_t bytes) {
    seqtune_device_ptr at = 0;
    must(ctx, seqtune_device_alloc(ctx, bytes, &at));
    if (values != NULL) must(ctx, seqtune_device_upload(ctx, at, values, bytes));
    return at;
}

static void run_plan(seqtune_context *ctx, const seqtune_plan *plan,
                     const seqtune_attention_args *args) {
    const size_t bytes = seqtune_plan_workspace(plan);
    const seqtune_device_ptr workspace = bytes > 0 ? device(ctx, NULL, bytes) : 0;
    must(ctx, seqtune_run_attention(plan, args, workspace, NULL));
    must(ctx, seqtune_device_synchronize(ctx));
    must(ctx, seqtune_device_free(ctx, workspace));
}

static void release(seqtune_context *ctx, const seqtune_attention_args *a) {
    const seqtune_device_ptr all[] = {a->q, a->k, a->v, a->o, a->lse, a->lens_kv, a->block_table};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        must(ctx, seqtune_device_free(ctx, all[i]));
}

/* ---- conversion ---- */

enum { CODE_DIM = 128, CODE_HEADS = 2, CODE_TOKENS = 16, CODE_GROUP = 8 };

/* One key, so that O is V. Row r of a head has a 1 at element r: its score, so its LSE, is K's
 * element r. Two K/V heads of 128 elements hold the 256 codes. */
static void codes_on(seqtune_context *ctx, seqtune_dtype dtype, seqtune_kv_dtype kv_dtype) {
    enum { ROWS = CODE_TOKENS * CODE_GROUP * CODE_HEADS };
    static uint16_t q[ROWS * CODE_DIM], o[ROWS * CODE_DIM];
    static uint8_t k[256], v[256];
    static float lse[ROWS];
    const Dtype type = dtype == SEQTUNE_BF16 ? DTYPE_BF16 : DTYPE_F16;
    memset(q, 0, sizeof q);
    for (int t = 0; t < CODE_TOKENS; t++)
        for (int h = 0; h < CODE_GROUP * CODE_HEADS; h++)
            q[((t * CODE_GROUP * CODE_HEADS) + h) * CODE_DIM + t * CODE_GROUP + h % CODE_GROUP] =
                dtype_encode(type, 1);
    for (int i = 0; i < 256; i++) {
        const bool nan = isnan(kv8_decode(kv_dtype, (uint8_t)i));
        v[i] = (uint8_t)i;
        k[i] = nan ? 0 : (uint8_t)i; /* a NaN would be in every dot product */
    }
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_plan *plan = NULL;
    d.dtype = dtype;
    d.heads_q = CODE_GROUP * CODE_HEADS;
    d.heads_kv = CODE_HEADS;
    d.head_dim = CODE_DIM;
    d.max_len_q = CODE_TOKENS;
    d.max_len_kv = 1;
    d.scale = 1;
    d.want_lse = 1;
    d.kv_dtype = kv_dtype;
    must(ctx, seqtune_plan_attention(ctx, &d, &plan));
    a.q = device(ctx, q, sizeof q);
    a.k = device(ctx, k, sizeof k);
    a.v = device(ctx, v, sizeof v);
    a.o = device(ctx, NULL, sizeof o);
    a.lse = device(ctx, NULL, sizeof lse);
    run_plan(ctx, plan, &a);
    must(ctx, seqtune_device_download(ctx, o, a.o, sizeof o));
    must(ctx, seqtune_device_download(ctx, lse, a.lse, sizeof lse));
    for (int i = 0; i < ROWS * CODE_DIM; i++) {
        const int head = i / CODE_DIM % (CODE_GROUP * CODE_HEADS) / CODE_GROUP;
        const double want = kv8_decode(kv_dtype, (uint8_t)(head * CODE_DIM + i % CODE_DIM));
        const double got = dtype_decode(type, o[i]);
        if (got != want && !(isnan(got) && isnan(want)))
            fail_msg("code %d gives %g, not %g", head * CODE_DIM + i % CODE_DIM, got, want);
    }
    for (int row = 0; row < ROWS; row++) { /* [head, token] */
        const int head = row / CODE_TOKENS, token = row % CODE_TOKENS;
        const int code = head / CODE_GROUP * CODE_DIM + token * CODE_GROUP + head % CODE_GROUP;
        const double want = kv8_decode(kv_dtype, k[code]);
        if (!(fabs((double)lse[row] - want) <= 1e-6 * fabs(want)))
            fail_msg("code %d of K scores %g, not %g", code, (double)lse[row], want);
    }
    release(ctx, &a);
    seqtune_plan_destroy(plan);
}

static void every_code_of_8_bit_keys_and_values_is_converted_exactly(void **state) {
    (void)state;
    for (int i = 0; i < devices.count; i++) {
        const bool turing = strcmp(devices.name[i], "t4") == 0;
        for (int kv = SEQTUNE_KV_E4M3; kv <= SEQTUNE_KV_INT8; kv++) {
            codes_on(devices.ctx[i], SEQTUNE_F16, (seqtune_kv_dtype)kv);
            if (!turing) codes_on(devices.ctx[i], SEQTUNE_BF16, (seqtune_kv_dtype)kv);
        }
    }
}

/* ---- who serves what ---- */

static seqtune_attention_desc few_queries(int64_t max_len_q) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 8;
    d.heads_kv = 2;
    d.head_dim = 128;
    d.max_len_q = max_len_q;
    d.max_len_kv = 3000;
    return d;
}

static void expect_kernel(seqtune_context *ctx, const seqtune_attention_desc *d, const char *name) {
    seqtune_plan *plan = NULL;
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    must(ctx, seqtune_plan_attention(ctx, d, &plan));
    must(ctx, seqtune_plan_get_info(plan, &info));
    assert_string_equal(info.kernel, name);
    seqtune_plan_destroy(plan);
}

static void expect_refused(seqtune_context *ctx, const seqtune_attention_desc *d, const char *why) {
    assert_int_not_equal(seqtune_supports_attention(ctx, d), SEQTUNE_OK);
    if (strstr(seqtune_last_error(ctx), why) == NULL)
        fail_msg("\"%s\" does not say: %s", seqtune_last_error(ctx), why);
}

static void up_to_16_queries_are_for_the_kernel_that_splits_keys(void **state) {
    (void)state;
    seqtune_context *ctx = devices.ctx[0];
    seqtune_attention_desc d = few_queries(16);
    expect_kernel(ctx, &d, "attn_decode");
    d = few_queries(17);
    expect_kernel(ctx, &d, "attn_prefill");
    d.kv_dtype = SEQTUNE_KV_INT8;
    expect_refused(ctx, &d, "attn_prefill has no 8-bit K/V");
    d = few_queries(1);
    d.splits = 4;
    expect_kernel(ctx, &d, "attn_decode");
    d.flags = SEQTUNE_BATCH_INVARIANT;
    expect_refused(ctx, &d, "have a fixed size");
    d.splits = 0;
    expect_kernel(ctx, &d, "attn_decode");
}

/* ---- batch invariance ---- */

enum { HEADS = 4, HEADS_KV = 2, DIM = 64, MOST = 4 };

/* f16 between 0.5 and 1, by the place in the sequence alone. */
static void fill(uint16_t *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) values[i] = (uint16_t)(0x3800 + i * 37 % 1009);
}

/* O of sequence 0 among `batch` sequences of these lengths, in memory for `cap` keys. */
static void first_output(seqtune_context *ctx, int64_t len_q, int64_t batch, const int *lens,
                         int64_t cap, uint16_t *out) {
    const int64_t q_each = len_q * HEADS * DIM, kv_each = cap * HEADS_KV * DIM;
    uint16_t *q = malloc((size_t)(batch * q_each) * 2), *kv = malloc((size_t)(batch * kv_each) * 2);
    assert_true(q != NULL && kv != NULL);
    for (int64_t b = 0; b < batch; b++) {
        fill(q + b * q_each, q_each);
        fill(kv + b * kv_each, kv_each);
    }
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_plan *plan = NULL;
    d.batch = batch;
    d.heads_q = HEADS;
    d.heads_kv = HEADS_KV;
    d.head_dim = DIM;
    d.max_len_q = len_q;
    d.max_len_kv = cap;
    d.mask = SEQTUNE_MASK_CAUSAL;
    d.device_lengths = 1;
    d.flags = SEQTUNE_BATCH_INVARIANT;
    must(ctx, seqtune_plan_attention(ctx, &d, &plan));
    a.q = device(ctx, q, (size_t)(batch * q_each) * 2);
    a.k = device(ctx, kv, (size_t)(batch * kv_each) * 2);
    a.v = device(ctx, kv, (size_t)(batch * kv_each) * 2);
    a.o = device(ctx, NULL, (size_t)(batch * q_each) * 2);
    a.lens_kv = device(ctx, lens, (size_t)batch * sizeof *lens);
    run_plan(ctx, plan, &a);
    must(ctx, seqtune_device_download(ctx, out, a.o, (size_t)q_each * 2));
    release(ctx, &a);
    seqtune_plan_destroy(plan);
    free(q);
    free(kv);
}

static void a_sequence_has_the_same_bits_alone_and_in_any_batch(void **state) {
    (void)state;
    static const int own[] = {1, 700, 1024, 1025, 2500};
    static const int others[][MOST - 1] = {{1, 1, 1}, {2500, 90, 5000}, {0, 5000, 5000}};
    static const int64_t queries[] = {1, 7, 40}; /* 40: attn_prefill */
    static uint16_t alone[40 * HEADS * DIM], together[40 * HEADS * DIM];
    for (int i = 0; i < devices.count; i++) {
        for (size_t n = 0; n < sizeof own / sizeof *own; n++) {
            const int64_t len_q = queries[n % 3];
            const size_t bytes = (size_t)(len_q * HEADS * DIM) * 2;
            first_output(devices.ctx[i], len_q, 1, &own[n], own[n], alone);
            const int *other = others[n % 3];
            const int lens[MOST] = {own[n], other[0], other[1], other[2]};
            for (int64_t batch = 2; batch <= MOST; batch += 2) {
                first_output(devices.ctx[i], len_q, batch, lens, 5000, together);
                if (memcmp(alone, together, bytes) != 0)
                    fail_msg("%s: %d keys, %lld queries: other bits in a batch of %lld",
                             devices.name[i], own[n], (long long)len_q, (long long)batch);
            }
        }
    }
}

/* ---- time ---- */

typedef struct Timed {
    int64_t batch, capacity;
    int length; /* of every sequence */
    int64_t page_size;
} Timed;

static double timed_run(seqtune_context *ctx, const seqtune_plan *plan,
                        const seqtune_attention_args *args, seqtune_device_ptr workspace) {
    const Driver *d = ctx->driver;
    CuEvent begin, end;
    CuContext popped;
    float ms = 0;
    Error err;
    cuda(d->CtxPushCurrent(ctx->device.context));
    assert_int_equal(driver_set_mode(d, LAUNCH_TIMING, &err), ST_OK);
    cuda(d->EventCreate(&begin, 0));
    cuda(d->EventCreate(&end, 0));
    cuda(d->EventRecord(begin, NULL));
    must(ctx, seqtune_run_attention(plan, args, workspace, NULL));
    cuda(d->EventRecord(end, NULL));
    cuda(d->EventSynchronize(end));
    cuda(d->EventElapsedTime(&ms, begin, end));
    cuda(d->EventDestroy(begin));
    cuda(d->EventDestroy(end));
    assert_int_equal(driver_set_mode(d, LAUNCH_FULL, &err), ST_OK);
    cuda(d->CtxPopCurrent(&popped));
    return (double)ms * 1e-3;
}

/* Modelled seconds of llama-3-8b's decode step (32 heads, 8 K/V heads, head_dim 128, bf16). */
static double decode_seconds(seqtune_context *ctx, const Timed *t) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    seqtune_plan *plan = NULL;
    d.dtype = SEQTUNE_BF16;
    d.batch = t->batch;
    d.heads_q = 32;
    d.heads_kv = 8;
    d.head_dim = 128;
    d.max_len_q = 1;
    d.max_len_kv = t->capacity;
    d.mask = SEQTUNE_MASK_CAUSAL;
    d.device_lengths = 1;
    const int64_t pages = t->page_size > 0 ? t->capacity / t->page_size * t->batch : 0;
    if (pages > 0) {
        d.kv = SEQTUNE_KV_PAGED;
        d.page_size = t->page_size;
        d.pages = pages;
    }
    must(ctx, seqtune_plan_attention(ctx, &d, &plan));
    int *lens = malloc((size_t)t->batch * sizeof *lens);
    int *table = malloc((size_t)(pages + 1) * sizeof *table);
    assert_true(lens != NULL && table != NULL);
    for (int64_t b = 0; b < t->batch; b++) lens[b] = t->length;
    for (int64_t i = 0; i < pages; i++) table[i] = (int)(i * 7919 % pages);
    a.q = device(ctx, NULL, (size_t)t->batch * 32 * 128 * 2);
    a.o = device(ctx, NULL, (size_t)t->batch * 32 * 128 * 2);
    a.k = device(ctx, NULL, (size_t)(t->batch * t->capacity) * 8 * 128 * 2);
    a.v = device(ctx, NULL, (size_t)(t->batch * t->capacity) * 8 * 128 * 2);
    a.lens_kv = device(ctx, lens, (size_t)t->batch * sizeof *lens);
    if (pages > 0) a.block_table = device(ctx, table, (size_t)pages * sizeof *table);
    const size_t bytes = seqtune_plan_workspace(plan);
    const seqtune_device_ptr workspace = bytes > 0 ? device(ctx, NULL, bytes) : 0;
    const double seconds = timed_run(ctx, plan, &a, workspace);
    must(ctx, seqtune_device_free(ctx, workspace));
    release(ctx, &a);
    seqtune_plan_destroy(plan);
    free(lens);
    free(table);
    return seconds;
}

static void a_batch_of_64_reads_at_85_percent_of_the_bandwidth(void **state) {
    (void)state;
    const double peak = 1e9 * gpu_model_find("a100")->dram_gbs;
    for (int length = 4096; length <= 32768; length *= 2) {
        const Timed t = {64, length, length, 0};
        const double seconds = decode_seconds(devices.ctx[0], &t);
        const double bytes = 2.0 * 2 * 64 * length * 8 * 128;
        printf("# 64 x %d keys: %.1f us modelled, %.1f %% of the model's DRAM\n", length,
               seconds * 1e6, 100 * bytes / seconds / peak);
        assert_true(bytes / seconds > 0.85 * peak);
    }
}

static void pages_of_any_size_cost_at_most_5_percent(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 16, 64, 128, 256};
    static const Timed dense[] = {
        {1, 1024, 1024, 0},  {1, 2048, 2048, 0},  {1, 4096, 4096, 0},
        {16, 4096, 4096, 0}, {64, 4096, 4096, 0},
    };
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++) {
        const double own = decode_seconds(devices.ctx[0], &dense[i]);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            Timed paged = dense[i];
            paged.page_size = sizes[k];
            const double ratio = decode_seconds(devices.ctx[0], &paged) / own;
            printf("# %d x %d keys in pages of %d: %.3f of dense\n", (int)paged.batch, paged.length,
                   (int)paged.page_size, ratio);
            assert_true(ratio < 1.05);
        }
    }
}

static void a_plan_for_64_times_the_length_costs_at_most_1_3_times_its_own(void **state) {
    (void)state;
    static const int lengths[] = {256, 512, 1024, 2048};
    for (int64_t batch = 1; batch <= 64; batch *= 8) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            const Timed large = {batch, 64 * lengths[i], lengths[i], 0};
            const Timed own = {batch, lengths[i], lengths[i], 0};
            const double a = decode_seconds(devices.ctx[0], &large);
            const double b = decode_seconds(devices.ctx[0], &own);
            printf("# %d x %d keys: %.1f us by a plan for 64 times as many, %.1f us by their own: "
                   "%.2f\n",
                   (int)batch, lengths[i], a * 1e6, b * 1e6, a / b);
            assert_true(a < 1.3 * b);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_of_8_bit_keys_and_values_is_converted_exactly),
        cmocka_unit_test(up_to_16_queries_are_for_the_kernel_that_splits_keys),
        cmocka_unit_test(a_sequence_has_the_same_bits_alone_and_in_any_batch),
        cmocka_unit_test(a_batch_of_64_reads_at_85_percent_of_the_bandwidth),
        cmocka_unit_test(pages_of_any_size_cost_at_most_5_percent),
        cmocka_unit_test(a_plan_for_64_times_the_length_costs_at_most_1_3_times_its_own),
    };
    return _cmocka_run_group_tests("decode", tests, sizeof tests / sizeof *tests, devices_setup,
                                   devices_teardown);
}
