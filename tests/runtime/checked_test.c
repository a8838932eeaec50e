/* SEQTUNE_CHECKED on the software GPU: what a run refuses before it launches, and that it runs
 * when the tables are right. Page ids are looked at there without the flag. */
#include "tests/runtime/test.h"

#include "runtime/context.h"

enum { BATCH = 2, PAGES = 6, PAGE = 16, CAPACITY = 48, DIM = 64, ROW = 3 };

static seqtune_context *ctx;

static seqtune_device_ptr device_ints(const int *values, size_t count) {
    seqtune_device_ptr at = 0;
    assert_int_equal(seqtune_device_alloc(ctx, count * sizeof *values, &at), SEQTUNE_OK);
    assert_int_equal(seqtune_device_upload(ctx, at, values, count * sizeof *values), SEQTUNE_OK);
    return at;
}

static seqtune_device_ptr device_zeros(size_t bytes) {
    seqtune_device_ptr at = 0;
    void *zeros = calloc(1, bytes);
    assert_non_null(zeros);
    assert_int_equal(seqtune_device_alloc(ctx, bytes, &at), SEQTUNE_OK);
    assert_int_equal(seqtune_device_upload(ctx, at, zeros, bytes), SEQTUNE_OK);
    free(zeros);
    return at;
}

static seqtune_plan *paged_plan(seqtune_page_table table) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 1;
    d.head_dim = DIM;
    d.batch = BATCH;
    d.max_len_q = 32;
    d.max_len_kv = CAPACITY;
    d.kv = SEQTUNE_KV_PAGED;
    d.page_size = PAGE;
    d.pages = PAGES;
    d.page_table = table;
    d.flags = SEQTUNE_CHECKED;
    seqtune_plan *plan = NULL;
    if (seqtune_plan_attention(ctx, &d, &plan) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    return plan;
}

typedef struct Row {
    int lens[BATCH];
    int pages[BATCH * ROW];
    int indptr[BATCH + 1]; /* CSR rows only */
    const char *part;      /* of the error; NULL: runs */
} Row;

static void run_rows(seqtune_page_table table, const Row *rows, size_t count) {
    seqtune_plan *plan = paged_plan(table);
    const size_t pool = (size_t)PAGES * PAGE * DIM * 2, queries = (size_t)BATCH * 32 * DIM * 2;
    for (size_t i = 0; i < count; i++) {
        seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
        a.q = device_zeros(queries);
        a.o = device_zeros(queries);
        a.k = device_zeros(pool);
        a.v = device_zeros(pool);
        a.lens_kv = device_ints(rows[i].lens, BATCH);
        const seqtune_device_ptr pages = device_ints(rows[i].pages, BATCH * ROW);
        if (table == SEQTUNE_PAGES_CSR) {
            a.page_indptr = device_ints(rows[i].indptr, BATCH + 1);
            a.page_indices = pages;
        } else {
            a.block_table = pages;
        }
        const seqtune_status got = seqtune_run_attention(plan, &a, 0, NULL);
        if (rows[i].part == NULL) {
            if (got != SEQTUNE_OK) fail_msg("row %zu: %s", i, seqtune_last_error(ctx));
            assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_OK);
        } else {
            if (got != SEQTUNE_INVALID) fail_msg("row %zu was run", i);
            assert_has(seqtune_last_error(ctx), rows[i].part);
        }
        const seqtune_device_ptr all[] = {a.q, a.k, a.v, a.o, a.lens_kv, pages, a.page_indptr};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) seqtune_device_free(ctx, all[k]);
    }
    seqtune_plan_destroy(plan);
}

static void bad_block_tables_are_refused_with_their_place(void **state) {
    (void)state;
    static const Row rows[] = {
        {{48, 17}, {0, 5, 2, 3, 4, -1}, {0}, NULL}, /* the entry past the length is nobody's */
        {{48, 17}, {0, 6, 2, 3, 4, 1}, {0}, "block_table: page 1 of sequence 0 is 6: must be 0..5"},
        {{48, 17}, {0, 5, 2, 3, -7, 1}, {0}, "page 1 of sequence 1 is -7"},
        {{49, 17}, {0, 1, 2, 3, 4, 5}, {0}, "lens_kv[0] is 49: must be 0..48"},
        {{0, -1}, {0, 1, 2, 3, 4, 5}, {0}, "lens_kv[1] is -1"},
    };
    run_rows(SEQTUNE_PAGES_TABLE, rows, sizeof rows / sizeof rows[0]);
}

static void bad_page_rows_are_refused_with_their_place(void **state) {
    (void)state;
    static const Row rows[] = {
        {{20, 17}, {0, 5, 2, 3}, {0, 2, 4}, NULL},
        {{33, 17}, {0, 5, 2, 3}, {0, 2, 4}, "gives sequence 0 2 pages, its length 33 needs 3"},
        {{20, 17}, {0, 5, 2, 3}, {0, 2, 1}, "page_indptr[1] is 2 and page_indptr[2] is 1"},
        {{20, 17}, {0, 5, 9, 3}, {0, 2, 4}, "page_indices: page 0 of sequence 1 is 9"},
    };
    run_rows(SEQTUNE_PAGES_CSR, rows, sizeof rows / sizeof rows[0]);
}

/* Two sequences of up to 32 tokens, 40 tokens of Q and 64 of K and V in all. */
static void bad_offsets_of_ragged_sequences_are_refused(void **state) {
    (void)state;
    static const struct {
        int q[BATCH + 1], kv[BATCH + 1];
        const char *part;
    } rows[] = {
        {{0, 32, 40}, {0, 32, 64}, NULL},
        {{0, 0, 0}, {0, 0, 1}, NULL},
        {{8, 40, 72}, {0, 32, 64}, "cu_seqlens_q[0] is 8: must be 0"},
        {{0, 32, 41}, {0, 32, 64}, "cu_seqlens_q[2] is 41: must be at most 40, the tokens"},
        {{0, 32, 31}, {0, 32, 64}, "cu_seqlens_q[1] is 32 and cu_seqlens_q[2] is 31"},
        {{0, 33, 40}, {0, 32, 64}, "offsets ascend from 0 by at most 32"},
        {{0, 32, 40}, {1, 32, 64}, "cu_seqlens_kv[0] is 1: must be 0"},
        {{0, 32, 40}, {0, 32, 65}, "cu_seqlens_kv[1] is 32 and cu_seqlens_kv[2] is 65"},
    };
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 1;
    d.head_dim = DIM;
    d.batch = BATCH;
    d.max_len_q = d.max_len_kv = 32;
    d.ragged_q = 1;
    d.total_q = 40;
    d.kv = SEQTUNE_KV_RAGGED;
    d.flags = SEQTUNE_CHECKED;
    seqtune_plan *plan = NULL;
    if (seqtune_plan_attention(ctx, &d, &plan) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = device_zeros(40 * DIM * 2), a.o = device_zeros(40 * DIM * 2);
    a.k = device_zeros(64 * DIM * 2), a.v = device_zeros(64 * DIM * 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        a.cu_seqlens_q = device_ints(rows[i].q, BATCH + 1);
        a.cu_seqlens_kv = device_ints(rows[i].kv, BATCH + 1);
        const seqtune_status got = seqtune_run_attention(plan, &a, 0, NULL);
        if (got != (rows[i].part != NULL ? SEQTUNE_INVALID : SEQTUNE_OK))
            fail_msg("row %zu: status %d", i, (int)got);
        if (rows[i].part != NULL) assert_has(seqtune_last_error(ctx), rows[i].part);
        assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_OK);
        seqtune_device_free(ctx, a.cu_seqlens_q), seqtune_device_free(ctx, a.cu_seqlens_kv);
    }
    seqtune_plan_destroy(plan);
    const seqtune_device_ptr all[] = {a.q, a.k, a.v, a.o};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) seqtune_device_free(ctx, all[i]);
}

static void missing_arrays_are_named(void **state) {
    (void)state;
    seqtune_plan *plan = paged_plan(SEQTUNE_PAGES_TABLE);
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = a.k = a.v = a.o = 0x10000;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "lens_kv is a null device pointer");
    a.lens_kv = 0x10000;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "block_table is a null device pointer");
    a.block_table = 0x10002;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "must be 4-byte aligned");
    a.block_table = 0x10000;
    a.cu_seqlens_q = 0x10000;
    assert_int_equal(seqtune_run_attention(plan, &a, 0, NULL), SEQTUNE_INVALID);
    assert_has(seqtune_last_error(ctx), "cu_seqlens_q is given, but the description has no");
    seqtune_plan_destroy(plan);
}

/* Two sequences, a page of 16 keys each, no table. */
static void appends_past_a_dense_cache_are_refused(void **state) {
    (void)state;
    static const struct {
        int cu[BATCH + 1], lens[BATCH];
        const char *part;
    } rows[] = {
        {{0, 2, 4}, {14, 3}, NULL},
        {{0, 0, 4}, {99, 12}, "lens_kv[0] is 99"},
        {{0, 0, 4}, {16, 12}, NULL}, /* full, and nothing to append */
        {{0, 2, 4}, {15, 3}, "sequence 0 has keys 15..16 in this run: must be below 16"},
        {{0, 1, 4}, {0, 14}, "sequence 1 has keys 14..16 in this run"},
    };
    seqtune_kv_desc d = SEQTUNE_KV_DESC_INIT;
    d.max_tokens = 4;
    d.heads_kv = 1;
    d.head_dim = DIM;
    d.page_size = PAGE;
    d.pages = d.batch = BATCH;
    d.flags = SEQTUNE_CHECKED;
    seqtune_plan *plan = NULL;
    if (seqtune_plan_kv(ctx, &d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = a.new_v = device_zeros(4 * DIM * 2);
    a.k = device_zeros(BATCH * PAGE * DIM * 2), a.v = device_zeros(BATCH * PAGE * DIM * 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        a.cu_seqlens = device_ints(rows[i].cu, BATCH + 1);
        a.lens_kv = device_ints(rows[i].lens, BATCH);
        const seqtune_status got = seqtune_run_kv(plan, &a, 0, NULL);
        if (got != (rows[i].part != NULL ? SEQTUNE_INVALID : SEQTUNE_OK))
            fail_msg("row %zu: status %d", i, (int)got);
        if (rows[i].part != NULL) assert_has(seqtune_last_error(ctx), rows[i].part);
        assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_OK);
        seqtune_device_free(ctx, a.cu_seqlens), seqtune_device_free(ctx, a.lens_kv);
    }
    seqtune_plan_destroy(plan);
    const seqtune_device_ptr all[] = {a.new_k, a.k, a.v};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) seqtune_device_free(ctx, all[i]);
}

/* ---- recurrent layers ---- */

static seqtune_plan *layers_plan(int packed) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    seqtune_plan *plan = NULL;
    d.cell = SEQTUNE_GRU;
    d.batch = BATCH;
    d.input = d.hidden = 16;
    d.layers = 2;
    d.max_steps = 5;
    d.packed = packed;
    d.total_tokens = packed ? 8 : 0;
    d.device_lengths = !packed;
    d.flags = SEQTUNE_CHECKED;
    if (seqtune_plan_rnn(ctx, &d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    return plan;
}

/* Lengths, or offsets where there are more. */
typedef struct Steps {
    int values[BATCH + 1];
    const char *part; /* of the error; NULL: runs */
} Steps;

static void run_steps(int packed, const Steps *rows, size_t count) {
    enum { TOKENS = 10, WEIGHTS = 1 << 16 };
    seqtune_plan *plan = layers_plan(packed);
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    a.weights = device_zeros(WEIGHTS);
    a.x = device_zeros(TOKENS * 16 * 2);
    a.y = device_zeros(TOKENS * 16 * 2);
    const seqtune_device_ptr workspace = device_zeros(seqtune_plan_workspace(plan));
    for (size_t i = 0; i < count; i++) {
        const seqtune_device_ptr values = device_ints(rows[i].values, BATCH + 1);
        *(packed ? &a.cu_seqlens : &a.lens) = values;
        const seqtune_status got = seqtune_run_rnn(plan, &a, workspace, NULL);
        if (got != (rows[i].part != NULL ? SEQTUNE_INVALID : SEQTUNE_OK))
            fail_msg("row %zu: status %d: %s", i, (int)got, seqtune_last_error(ctx));
        if (rows[i].part != NULL) assert_has(seqtune_last_error(ctx), rows[i].part);
        assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_OK);
        seqtune_device_free(ctx, values);
    }
    const seqtune_device_ptr all[] = {a.weights, a.x, a.y, workspace};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) seqtune_device_free(ctx, all[i]);
    seqtune_plan_destroy(plan);
}

static void bad_lengths_of_recurrent_layers_are_refused_with_their_place(void **state) {
    (void)state;
    static const Steps rows[] = {
        {{0, 5}, NULL},
        {{5, 6}, "seqtune_run_rnn: lens[1] is 6: must be 0..5, max_steps"},
        {{-1, 2}, "lens[0] is -1: must be 0..5, max_steps"},
    };
    run_steps(0, rows, sizeof rows / sizeof rows[0]);
}

static void bad_offsets_of_packed_sequences_are_refused_with_their_place(void **state) {
    (void)state;
    static const Steps rows[] = {
        {{0, 5, 8}, NULL},
        {{2, 2, 7}, NULL}, /* tokens before the first are nobody's */
        {{0, 3, 2}, "cu_seqlens[1] is 3 and cu_seqlens[2] is 2: offsets ascend from 0 by at most"},
        {{-1, 3, 5}, "cu_seqlens[0] is -1"},
        {{0, 6, 8}, "cu_seqlens[1] is 6: offsets ascend from 0 by at most 5"},
        {{0, 4, 9}, "cu_seqlens[2] is 9: must be at most 8, the tokens"},
    };
    run_steps(1, rows, sizeof rows / sizeof rows[0]);
}

/* ---- without the flag ---- */

/* One sequence of 32 keys in pages of 16: its table is {1, id}. */
enum { MANY = 2048, PAGE_BYTES = PAGE * DIM * 2 };

typedef struct Pools {
    seqtune_device_ptr k, v, q, o, lens, table, offsets, workspace;
    int neighbour; /* page id of K's pool at which V's lies */
} Pools;

static Pools make_pools(int id, size_t workspace) {
    static const int len = 32, offsets[] = {0, 32};
    const size_t bytes = (size_t)MANY * PAGE_BYTES;
    Pools p = {.k = device_zeros(bytes),
               .v = device_zeros(3 * bytes), /* the neighbour of V's pool is somebody's too */
               .q = device_zeros(32 * DIM * 2),
               .o = device_zeros(32 * DIM * 2),
               .lens = device_ints(&len, 1),
               .offsets = device_ints(offsets, 2),
               .workspace = workspace ? device_zeros(workspace) : 0};
    assert_true(p.v > p.k && p.v - p.k <= 2 * bytes && (p.v - p.k) % PAGE_BYTES == 0);
    p.neighbour = (int)((p.v - p.k) / PAGE_BYTES);
    p.table = device_ints((const int[]){1, id == MANY + 1 ? p.neighbour : id}, 2);
    return p;
}

static void free_pools(const Pools *p) {
    const seqtune_device_ptr all[] = {p->k,    p->v,     p->q,       p->o,
                                      p->lens, p->table, p->offsets, p->workspace};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) seqtune_device_free(ctx, all[i]);
}

static seqtune_attention_desc many_pages(int64_t queries) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 1;
    d.head_dim = DIM;
    d.max_len_q = queries;
    d.max_len_kv = 32;
    d.kv = SEQTUNE_KV_PAGED;
    d.page_size = PAGE;
    d.pages = MANY;
    return d;
}

static seqtune_status attend(const seqtune_attention_desc *d, int id, seqtune_stream stream) {
    seqtune_plan *plan = NULL;
    if (seqtune_plan_attention(ctx, d, &plan) != SEQTUNE_OK)
        fail_msg("%s", seqtune_last_error(ctx));
    const Pools p = make_pools(id, seqtune_plan_workspace(plan));
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = p.q, a.k = p.k, a.v = p.v, a.o = p.o, a.lens_kv = p.lens, a.block_table = p.table;
    const seqtune_status got = seqtune_run_attention(plan, &a, p.workspace, stream);
    if (stream == NULL) assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_OK);
    free_pools(&p);
    seqtune_plan_destroy(plan);
    return got;
}

static seqtune_status move(seqtune_kv_op op, int id) {
    seqtune_kv_desc d = SEQTUNE_KV_DESC_INIT;
    seqtune_plan *plan = NULL;
    d.op = op;
    d.max_tokens = 32;
    d.heads_kv = 1;
    d.head_dim = DIM;
    d.page_size = PAGE;
    d.pages = MANY;
    d.batch = 1;
    d.block_table_stride = 2;
    if (seqtune_plan_kv(ctx, &d, &plan) != SEQTUNE_OK) fail_msg("%s", seqtune_last_error(ctx));
    const Pools p = make_pools(id, 0);
    seqtune_kv_args a = SEQTUNE_KV_ARGS_INIT;
    a.new_k = p.q, a.new_v = p.o, a.k = p.k, a.v = p.v, a.block_table = p.table;
    a.cu_seqlens = p.offsets;
    const seqtune_status got = seqtune_run_kv(plan, &a, 0, NULL);
    assert_int_equal(seqtune_device_synchronize(ctx), SEQTUNE_OK);
    free_pools(&p);
    seqtune_plan_destroy(plan);
    return got;
}

/* MANY + 1 stands for the page of K's pool that is V's first. */
static void page_ids_outside_of_the_pool_are_refused_without_the_flag(void **state) {
    (void)state;
    static const int ids[] = {MANY - 1, MANY, -1, MANY + 1};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        const seqtune_attention_desc decode = many_pages(1), prefill = many_pages(20);
        const seqtune_status got[] = {attend(&decode, ids[i], NULL), attend(&prefill, ids[i], NULL),
                                      move(SEQTUNE_KV_APPEND, ids[i]),
                                      move(SEQTUNE_KV_GATHER, ids[i])};
        for (int k = 0; k < 4; k++)
            if (got[k] != (ids[i] == MANY - 1 ? SEQTUNE_OK : SEQTUNE_INVALID))
                fail_msg("page id %d, operation %d: status %d", ids[i], k, (int)got[k]);
        if (i > 0) assert_has(seqtune_last_error(ctx), "block_table: page 1 of sequence 0 is ");
    }
}

/* What a kernel need not read is nobody's mistake: those ids are V's first page, so that the run
 * has no fault either. */
static void ids_that_no_query_sees_are_not_looked_at(void **state) {
    (void)state;
    seqtune_attention_desc d = many_pages(1);
    d.mask = SEQTUNE_MASK_CAUSAL_TOP_LEFT; /* the query sees key 0 */
    assert_int_equal(attend(&d, MANY + 1, NULL), SEQTUNE_OK);
    d.mask = SEQTUNE_MASK_NONE;
    d.window = (seqtune_window){SEQTUNE_WINDOW_BOTH, 3, 0}; /* keys 28 .. 31 */
    assert_int_equal(attend(&d, MANY + 1, NULL), SEQTUNE_INVALID);
    d.mask = SEQTUNE_MASK_CAUSAL_TOP_LEFT;
    assert_int_equal(attend(&d, MANY + 1, NULL), SEQTUNE_OK);
}

/* Captured runs serve tables of later; a sample of the blocks gives times alone. */
static void captured_and_sampled_runs_are_not_looked_at(void **state) {
    (void)state;
    enum { RELAXED = 2 }; /* the capture mode in which this thread may allocate */
    const Driver *driver = ctx->driver;
    const seqtune_attention_desc d = many_pages(20);
    CuStream stream = NULL;
    CuGraph graph = NULL;
    Error err;
    assert_int_equal(driver->CtxPushCurrent(ctx->device.context), CUDA_SUCCESS);
    assert_int_equal(driver->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    assert_int_equal(driver->StreamBeginCapture(stream, RELAXED), CUDA_SUCCESS);
    assert_int_equal(attend(&d, MANY + 1, stream), SEQTUNE_OK);
    assert_int_equal(driver->StreamEndCapture(stream, &graph), CUDA_SUCCESS);
    assert_int_equal(driver->GraphDestroy(graph), CUDA_SUCCESS);
    assert_int_equal(attend(&d, MANY + 1, stream), SEQTUNE_INVALID);
    assert_int_equal(driver->StreamDestroy(stream), CUDA_SUCCESS);
    assert_int_equal(driver_set_mode(driver, LAUNCH_TIMING, &err), ST_OK);
    assert_int_equal(attend(&d, MANY + 1, NULL), SEQTUNE_OK);
    assert_int_equal(driver_set_mode(driver, LAUNCH_FULL, &err), ST_OK);
    CuContext popped = NULL;
    assert_int_equal(driver->CtxPopCurrent(&popped), CUDA_SUCCESS);
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
        cmocka_unit_test(bad_block_tables_are_refused_with_their_place),
        cmocka_unit_test(bad_page_rows_are_refused_with_their_place),
        cmocka_unit_test(bad_offsets_of_ragged_sequences_are_refused),
        cmocka_unit_test(missing_arrays_are_named),
        cmocka_unit_test(appends_past_a_dense_cache_are_refused),
        cmocka_unit_test(bad_lengths_of_recurrent_layers_are_refused_with_their_place),
        cmocka_unit_test(bad_offsets_of_packed_sequences_are_refused_with_their_place),
        cmocka_unit_test(page_ids_outside_of_the_pool_are_refused_without_the_flag),
        cmocka_unit_test(ids_that_no_query_sees_are_not_looked_at),
        cmocka_unit_test(captured_and_sampled_runs_are_not_looked_at),
    };
    return cmocka_run_group_tests(tests, open_soft, close_soft);
}
