/* Merge and KV cache through the public functions alone, on the software GPU: parts merged equal
 * the whole, pages beyond 2^31 elements (also of attention), what SEQTUNE_CHECKED refuses, what is
 * refused without compiling. */
#include "tests/runtime/test.h"

#include <math.h>

#include "runtime/seqtune.h"

static seqtune_context *ctx;

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != SEQTUNE_OK) fail_msg("%s: %s", #call, seqtune_last_error(ctx));              \
    } while (0)

static seqtune_device_ptr device_copy(const void *from, size_t bytes) {
    seqtune_device_ptr at = 0;
    CHECK(seqtune_device_alloc(ctx, bytes, &at));
    CHECK(seqtune_device_upload(ctx, at, from, bytes));
    return at;
}

static seqtune_device_ptr device_new(size_t bytes) {
    seqtune_device_ptr at = 0;
    CHECK(seqtune_device_alloc(ctx, bytes, &at));
    return at;
}

static void free_all(const seqtune_device_ptr *at, size_t count) {
    for (size_t i = 0; i < count; i++) CHECK(seqtune_device_free(ctx, at[i]));
}

/* Normal f16 numbers of either sign, 2^-3 to 2. */
static void fill(uint16_t *out, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (uint16_t)((seed >> 16 & 0x8000) | (0x3000 + (seed >> 8 & 0x0fff)));
    }
}

static double from_half(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -x : x;
}

/* ---- parts merged = the whole ---- */

enum { DIM = 64, HEADS_Q = 4, HEADS_KV = 2, KEYS = 100 };

typedef struct Halves {
    int batch, len_q; /* len_q = 1: tokens of the merge are the sequences, LSE [token, head] */
    int cut;          /* keys of the first part; the second has the rest */
} Halves;

typedef struct Buffers {
    seqtune_device_ptr q, k, v, o, lse, o_parts, lse_parts, merged, merged_lse;
} Buffers;

static void attend(const Halves *h, const Buffers *b, int first, int count, seqtune_device_ptr o,
                   seqtune_device_ptr lse) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.batch = h->batch;
    d.heads_q = HEADS_Q;
    d.heads_kv = HEADS_KV;
    d.head_dim = DIM;
    d.max_len_q = h->len_q;
    d.max_len_kv = KEYS;
    d.want_lse = 1;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_attention(ctx, &d, &plan));
    const size_t bytes = seqtune_plan_workspace(plan);
    const seqtune_device_ptr workspace = bytes ? device_new(bytes) : 0;
    const seqtune_device_ptr skip = (seqtune_device_ptr)first * HEADS_KV * DIM * 2;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = b->q;
    a.k = b->k + skip;
    a.v = b->v + skip;
    a.o = o;
    a.lse = lse;
    a.len_kv = count ? count : SEQTUNE_LENGTH_ZERO;
    CHECK(seqtune_run_attention(plan, &a, workspace, NULL));
    CHECK(seqtune_device_synchronize(ctx));
    CHECK(seqtune_device_free(ctx, workspace));
    seqtune_plan_destroy(plan);
}

static void merge(const Halves *h, const Buffers *b) {
    const bool decode = h->len_q == 1;
    seqtune_merge_desc d = SEQTUNE_MERGE_DESC_INIT;
    d.max_parts = 2;
    d.max_tokens = h->batch * h->len_q;
    d.heads = HEADS_Q;
    d.head_dim = DIM;
    d.want_lse = 1;
    d.lse_stride_head = decode ? 1 : 0;
    d.lse_stride_token = decode ? HEADS_Q : 0;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_merge(ctx, &d, &plan));
    seqtune_merge_args a = SEQTUNE_MERGE_ARGS_INIT;
    a.o_parts = b->o_parts;
    a.lse_parts = b->lse_parts;
    a.o = b->merged;
    a.lse = b->merged_lse;
    CHECK(seqtune_run_merge(plan, &a, 0, NULL));
    CHECK(seqtune_device_synchronize(ctx));
    seqtune_plan_destroy(plan);
}

static void compare_whole(const Halves *h, const Buffers *b) {
    const size_t rows = (size_t)(h->batch * h->len_q * HEADS_Q), n = rows * DIM;
    uint16_t *whole = malloc(n * 2), *merged = malloc(n * 2);
    float *lse = malloc(rows * 4), *merged_lse = malloc(rows * 4);
    CHECK(seqtune_device_download(ctx, whole, b->o, n * 2));
    CHECK(seqtune_device_download(ctx, merged, b->merged, n * 2));
    CHECK(seqtune_device_download(ctx, lse, b->lse, rows * 4));
    CHECK(seqtune_device_download(ctx, merged_lse, b->merged_lse, rows * 4));
    if (h->cut == 0 || h->cut == KEYS) { /* the other part saw nothing: not a bit may change */
        assert_memory_equal(whole, merged, n * 2);
        assert_memory_equal(lse, merged_lse, rows * 4);
    }
    for (size_t i = 0; i < n; i++) /* |O| < 2: each part and both results are rounded to 2^-11 */
        if (!(fabs(from_half(whole[i]) - from_half(merged[i])) <= 3 * 0x1p-11))
            fail_msg("element %zu is %g, not %g", i, from_half(merged[i]), from_half(whole[i]));
    for (size_t i = 0; i < rows; i++)
        if (!(fabsf(lse[i] - merged_lse[i]) <= 1e-5f * (1 + fabsf(lse[i]))))
            fail_msg("LSE %zu is %g, not %g", i, (double)merged_lse[i], (double)lse[i]);
    free(whole), free(merged), free(lse), free(merged_lse);
}

static void keys_split_and_merged_equal_keys_not_split(void **state) {
    (void)state;
    static const Halves rows[] = {{1, 40, 37}, {1, 40, 0}, {1, 40, KEYS}, {3, 1, 64}, {3, 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const Halves *h = &rows[i];
        const size_t queries = (size_t)(h->batch * h->len_q * HEADS_Q);
        const size_t keys = (size_t)h->batch * KEYS * HEADS_KV * DIM;
        uint16_t *data = malloc((queries * DIM + 2 * keys) * 2);
        fill(data, queries * DIM + 2 * keys, 7);
        const Buffers b = {
            device_copy(data, queries * DIM * 2),
            device_copy(data + queries * DIM, keys * 2),
            device_copy(data + queries * DIM + keys, keys * 2),
            device_new(queries * DIM * 2),
            device_new(queries * 4),
            device_new(2 * queries * DIM * 2),
            device_new(2 * queries * 4),
            device_new(queries * DIM * 2),
            device_new(queries * 4),
        };
        attend(h, &b, 0, KEYS, b.o, b.lse);
        attend(h, &b, 0, h->cut, b.o_parts, b.lse_parts);
        attend(h, &b, h->cut, KEYS - h->cut, b.o_parts + queries * DIM * 2,
               b.lse_parts + queries * 4);
        merge(h, &b);
        compare_whole(h, &b);
        free_all(&b.q, sizeof b / sizeof b.q);
        free(data);
    }
}

/* ---- far pages ---- */

static seqtune_kv_desc small_cache(seqtune_kv_op op) {
    seqtune_kv_desc d = SEQTUNE_KV_DESC_INIT;
    d.op = op;
    d.max_tokens = 4;
    d.heads_kv = 2;
    d.head_dim = DIM;
    d.page_size = 16;
    d.pages = 6;
    return d;
}

static void run_cache(const seqtune_kv_desc *d, const seqtune_kv_args *a) {
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_kv(ctx, d, &plan));
    CHECK(seqtune_run_kv(plan, a, 0, NULL));
    CHECK(seqtune_device_synchronize(ctx));
    seqtune_plan_destroy(plan);
}

/* Pages 2^30 elements apart: the last one begins 10 GiB into the pool, of which only what is
 * touched costs memory. */
static void pages_beyond_two_to_31_elements_are_found(void **state) {
    (void)state;
    enum { ROW = 2 * DIM, TOKENS = 3 };
    static const int64_t slots[TOKENS] = {5 * 16 + 3, 4 * 16, 3};
    const int64_t stride = INT64_C(1) << 30;
    uint16_t data[TOKENS * ROW], got[TOKENS * ROW];
    fill(data, TOKENS * ROW, 11);
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = device_copy(data, sizeof data);
    a.new_v = device_copy(data, sizeof data);
    a.k = device_new((size_t)(5 * stride + 16 * ROW) * 2);
    a.v = device_new((size_t)(5 * stride + 16 * ROW) * 2);
    a.slots = device_copy(slots, sizeof slots);
    a.tokens = TOKENS;
    seqtune_kv_desc d = small_cache(SEQTUNE_KV_APPEND);
    d.k_stride_batch = d.v_stride_batch = stride;
    run_cache(&d, &a);
    for (int t = 0; t < TOKENS; t++) {
        const uint64_t at = (uint64_t)(slots[t] / 16 * stride + slots[t] % 16 * ROW) * 2;
        CHECK(seqtune_device_download(ctx, got, a.k + at, ROW * 2));
        assert_memory_equal(got, data + t * ROW, ROW * 2);
    }
    const seqtune_device_ptr from = a.new_k;
    a.new_k = device_new(sizeof data);
    d.op = SEQTUNE_KV_GATHER;
    run_cache(&d, &a);
    CHECK(seqtune_device_download(ctx, got, a.new_k, sizeof got));
    assert_memory_equal(got, data, sizeof data);
    const seqtune_device_ptr all[] = {from, a.new_k, a.new_v, a.k, a.v, a.slots};
    free_all(all, sizeof all / sizeof all[0]);
}

typedef struct Far {
    int queries; /* 20: attn_prefill */
    seqtune_kv_dtype type;
    int page; /* tokens */
} Far;

/* Pages 5, 2 and 4 of a pool whose pages lie 2^30 elements apart, with K = 0 and V = 1, 2 and 6. */
static void fill_far_pages(const Far *f, const int table[3], int64_t stride,
                           const seqtune_attention_args *a) {
    static const uint16_t halves[] = {0x3c00, 0x4000, 0x4600};
    static const uint8_t codes[] = {1, 2, 6};
    const size_t each = f->type == SEQTUNE_KV_SAME ? 2 : 1, bytes = (size_t)f->page * DIM * each;
    unsigned char *row = malloc(bytes);
    for (int i = 0; i < 3; i++) {
        const uint64_t at = (uint64_t)table[i] * (uint64_t)stride * each;
        memset(row, 0, bytes);
        CHECK(seqtune_device_upload(ctx, a->k + at, row, bytes));
        for (size_t k = 0; k < bytes; k += each)
            memcpy(row + k, each == 2 ? (const void *)&halves[i] : &codes[i], each);
        CHECK(seqtune_device_upload(ctx, a->v + at, row, bytes));
    }
    free(row);
}

/* All keys score 0, so that O is the mean of V: 3. */
static void attend_far_pages(const Far *f) {
    static const int table[] = {5, 2, 4};
    static uint16_t zeros[20 * 2 * DIM], out[20 * 2 * DIM];
    const int64_t stride = INT64_C(1) << 30;
    const int len = 3 * f->page;
    const size_t n = (size_t)f->queries * 2 * DIM;
    const size_t pool = (size_t)(5 * stride + f->page * DIM) * (f->type == SEQTUNE_KV_SAME ? 2 : 1);
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 2;
    d.heads_kv = 1;
    d.head_dim = DIM;
    d.max_len_q = f->queries;
    d.max_len_kv = len;
    d.kv = SEQTUNE_KV_PAGED;
    d.kv_dtype = f->type;
    d.page_size = f->page;
    d.pages = 6;
    d.k_stride_batch = d.v_stride_batch = stride;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_attention(ctx, &d, &plan));
    const size_t bytes = seqtune_plan_workspace(plan);
    const seqtune_device_ptr workspace = bytes ? device_new(bytes) : 0;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = device_copy(zeros, n * 2);
    a.o = device_new(n * 2);
    a.k = device_new(pool);
    a.v = device_new(pool);
    a.lens_kv = device_copy(&len, sizeof len);
    a.block_table = device_copy(table, sizeof table);
    fill_far_pages(f, table, stride, &a);
    CHECK(seqtune_run_attention(plan, &a, workspace, NULL));
    CHECK(seqtune_device_synchronize(ctx));
    CHECK(seqtune_device_download(ctx, out, a.o, n * 2));
    for (size_t i = 0; i < n; i++)
        if (out[i] != 0x4200)
            fail_msg("%d queries, pages of %d, type %d: O[%zu] is %g, not 3", f->queries, f->page,
                     (int)f->type, i, from_half(out[i]));
    const seqtune_device_ptr all[] = {a.q, a.o, a.k, a.v, a.lens_kv, a.block_table, workspace};
    free_all(all, sizeof all / sizeof all[0]);
    seqtune_plan_destroy(plan);
}

static void attention_reads_pages_beyond_two_to_31_elements(void **state) {
    (void)state;
    static const Far rows[] = {
        {1, SEQTUNE_KV_SAME, 5},  {1, SEQTUNE_KV_SAME, 16},  {1, SEQTUNE_KV_INT8, 16},
        {20, SEQTUNE_KV_SAME, 5}, {20, SEQTUNE_KV_SAME, 16}, {20, SEQTUNE_KV_SAME, 128},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) attend_far_pages(&rows[i]);
}

static void scatter_undoes_gather(void **state) {
    (void)state;
    enum { ROW = 2 * DIM, TOKENS = 4, POOL = 6 * 16 * ROW };
    static const int64_t slots[TOKENS] = {90, 2, -1, 17};
    uint16_t *pool = malloc(POOL * 2), *got = malloc(POOL * 2);
    memset(got, 0, POOL * 2);
    fill(pool, POOL, 3);
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = device_copy(got, TOKENS * ROW * 2);
    a.new_v = device_copy(got, TOKENS * ROW * 2);
    a.k = device_copy(pool, POOL * 2);
    a.v = device_copy(pool, POOL * 2);
    a.slots = device_copy(slots, sizeof slots);
    seqtune_kv_desc d = small_cache(SEQTUNE_KV_GATHER);
    run_cache(&d, &a);
    CHECK(seqtune_device_upload(ctx, a.k, got, POOL * 2)); /* zeros */
    d.op = SEQTUNE_KV_SCATTER;
    run_cache(&d, &a);
    CHECK(seqtune_device_download(ctx, got, a.k, POOL * 2));
    for (int s = 0; s < 96; s++) {
        const bool moved = s == 90 || s == 2 || s == 17;
        for (int i = 0; i < ROW; i++)
            assert_int_equal(got[s * ROW + i], moved ? pool[s * ROW + i] : 0);
    }
    const seqtune_device_ptr all[] = {a.new_k, a.new_v, a.k, a.v, a.slots};
    free_all(all, sizeof all / sizeof all[0]);
    free(pool), free(got);
}

/* ---- SEQTUNE_CHECKED ---- */

static void bad_slots_are_refused_with_their_place(void **state) {
    (void)state;
    static const struct {
        int64_t slots[4];
        const char *part;
    } rows[] = {
        {{0, 95, -1, 3}, NULL},
        {{0, 96, -1, 3}, "slots[1] is 96: must be 0..95, the pool, or -1"},
        {{0, 1, -1, -2}, "slots[3] is -2"},
    };
    uint16_t zeros[4 * 2 * DIM] = {0};
    seqtune_kv_desc d = small_cache(SEQTUNE_KV_APPEND);
    d.flags = SEQTUNE_CHECKED;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_kv(ctx, &d, &plan));
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = a.new_v = device_copy(zeros, sizeof zeros);
    a.k = device_new(6 * 16 * 2 * DIM * 2);
    a.v = device_new(6 * 16 * 2 * DIM * 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        a.slots = device_copy(rows[i].slots, sizeof rows[i].slots);
        const seqtune_status got = seqtune_run_kv(plan, &a, 0, NULL);
        assert_int_equal(got, rows[i].part ? SEQTUNE_INVALID : SEQTUNE_OK);
        if (rows[i].part) assert_has(seqtune_last_error(ctx), rows[i].part);
        CHECK(seqtune_device_synchronize(ctx));
        CHECK(seqtune_device_free(ctx, a.slots));
    }
    seqtune_plan_destroy(plan);
    const seqtune_device_ptr all[] = {a.new_k, a.k, a.v};
    free_all(all, sizeof all / sizeof all[0]);
}

static void bad_tables_of_an_append_are_refused(void **state) {
    (void)state;
    static const struct {
        int cu[3], lens[2], table[6];
        const char *part;
    } rows[] = {
        {{0, 1, 4}, {16, 14}, {-1, 5, -1, 0, 2, -1}, NULL}, /* pages of old keys are not touched */
        {{0, 1, 4}, {16, 14}, {-1, 6, -1, 0, 2, -1}, "page 1 of sequence 0 is 6: must be 0..5"},
        {{0, 1, 4},
         {47, 46},
         {-1, -1, 5, 0, 2, 1},
         "block_table_stride gives sequence 1 3 pages, its length 49 needs 4"},
        {{0, 1, 5}, {16, 14}, {-1, 5, -1, 0, 2, -1}, "cu_seqlens[2] is 5: must be at most 4"},
        {{0, 3, 1}, {16, 14}, {-1, 5, -1, 0, 2, -1}, "cu_seqlens[1] is 3"},
        {{0, 1, 4}, {16, -1}, {-1, 5, -1, 0, 2, -1}, "lens_kv[1] is -1"},
    };
    uint16_t zeros[4 * 2 * DIM] = {0};
    seqtune_kv_desc d = small_cache(SEQTUNE_KV_APPEND);
    d.batch = 2;
    d.block_table_stride = 3;
    d.flags = SEQTUNE_CHECKED;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_kv(ctx, &d, &plan));
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = a.new_v = device_copy(zeros, sizeof zeros);
    a.k = device_new(6 * 16 * 2 * DIM * 2);
    a.v = device_new(6 * 16 * 2 * DIM * 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        a.cu_seqlens = device_copy(rows[i].cu, sizeof rows[i].cu);
        a.lens_kv = device_copy(rows[i].lens, sizeof rows[i].lens);
        a.block_table = device_copy(rows[i].table, sizeof rows[i].table);
        const seqtune_status got = seqtune_run_kv(plan, &a, 0, NULL);
        if (got != (rows[i].part ? SEQTUNE_INVALID : SEQTUNE_OK))
            fail_msg("row %zu: %s", i, seqtune_last_error(ctx));
        if (rows[i].part) assert_has(seqtune_last_error(ctx), rows[i].part);
        CHECK(seqtune_device_synchronize(ctx));
        const seqtune_device_ptr all[] = {a.cu_seqlens, a.lens_kv, a.block_table};
        free_all(all, 3);
    }
    seqtune_plan_destroy(plan);
    const seqtune_device_ptr all[] = {a.new_k, a.k, a.v};
    free_all(all, sizeof all / sizeof all[0]);
}

/* Without the flag, on the software GPU: slots beyond the pool, also those whose low 32 bits are in
 * it; negative ones are nowhere. */
static void slots_outside_of_the_pool_are_refused_without_the_flag(void **state) {
    (void)state;
    static const int64_t slots[] = {95, -7, 96, (INT64_C(1) << 32) + 5};
    uint16_t zeros[2 * DIM] = {0};
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = a.new_v = device_copy(zeros, sizeof zeros);
    a.k = device_new(6 * 16 * 2 * DIM * 2);
    a.v = device_new(6 * 16 * 2 * DIM * 2);
    a.tokens = 1;
    for (int op = SEQTUNE_KV_APPEND; op <= SEQTUNE_KV_SCATTER; op++) {
        seqtune_kv_desc d = small_cache((seqtune_kv_op)op);
        seqtune_plan *plan = NULL;
        CHECK(seqtune_plan_kv(ctx, &d, &plan));
        for (int i = 0; i < 4; i++) {
            a.slots = device_copy(&slots[i], sizeof slots[i]);
            const seqtune_status got = seqtune_run_kv(plan, &a, 0, NULL);
            assert_int_equal(got, i < 2 ? SEQTUNE_OK : SEQTUNE_INVALID);
            if (i >= 2) assert_has(seqtune_last_error(ctx), "slots[0] is ");
            CHECK(seqtune_device_synchronize(ctx));
            CHECK(seqtune_device_free(ctx, a.slots));
        }
        seqtune_plan_destroy(plan);
    }
    const seqtune_device_ptr all[] = {a.new_k, a.k, a.v};
    free_all(all, sizeof all / sizeof all[0]);
}

/* ---- what no kernel serves ---- */

static void unsupported_shapes_are_refused_with_the_reason(void **state) {
    (void)state;
    seqtune_merge_desc m = SEQTUNE_MERGE_DESC_INIT;
    m.max_parts = 2;
    m.max_tokens = 4;
    m.heads = 1;
    m.head_dim = 12;
    assert_int_equal(seqtune_supports_merge(ctx, &m), SEQTUNE_UNSUPPORTED);
    assert_has(seqtune_last_error(ctx), "whole 16-byte vectors");
    m.head_dim = 16;
    CHECK(seqtune_supports_merge(ctx, &m));
    m.max_parts = 1025;
    assert_int_equal(seqtune_supports_merge(ctx, &m), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "1..1024");
    seqtune_kv_desc d = small_cache(SEQTUNE_KV_APPEND);
    d.rope = 1;
    d.table_rows = 10;
    d.rotary_dim = 6;
    assert_int_equal(seqtune_supports_kv(ctx, &d), SEQTUNE_UNSUPPORTED);
    assert_has(seqtune_last_error(ctx), "rotated halves are whole pairs");
    d.rotary_dim = 8;
    CHECK(seqtune_supports_kv(ctx, &d));
    d.op = SEQTUNE_KV_GATHER;
    assert_int_equal(seqtune_supports_kv(ctx, &d), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "belong to op = SEQTUNE_KV_APPEND");
}

static int open_soft(void **state) {
    (void)state;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = "soft:a100";
    options.database = options.cache_dir = "";
    if (seqtune_open(&ctx, &options) == SEQTUNE_OK) return 0;
    print_error("%s\n", seqtune_open_error());
    return -1;
}

static int close_soft(void **state) {
    (void)state;
    seqtune_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_split_and_merged_equal_keys_not_split),
        cmocka_unit_test(pages_beyond_two_to_31_elements_are_found),
        cmocka_unit_test(attention_reads_pages_beyond_two_to_31_elements),
        cmocka_unit_test(scatter_undoes_gather),
        cmocka_unit_test(bad_slots_are_refused_with_their_place),
        cmocka_unit_test(bad_tables_of_an_append_are_refused),
        cmocka_unit_test(slots_outside_of_the_pool_are_refused_without_the_flag),
        cmocka_unit_test(unsupported_shapes_are_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, open_soft, close_soft);
}
