/* Attention and RoPE through the public functions alone, on the software GPU, or on a real one:
 * SEQTUNE_TEST_GPU=0 runs the same tests on CUDA device 0. */
#include "tests/runtime/test.h"

#include <math.h>

#include "base/log.h"
#include "db/db.h"
#include "runtime/context.h"

static seqtune_context *ctx;
static char *cache;

static seqtune_context *open_context(const char *database) {
    const char *gpu = getenv("SEQTUNE_TEST_GPU");
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *out = NULL;
    setenv("SOFTGPU_CHECKS", "all", 0);
    options.driver = gpu != NULL ? "cuda" : "soft";
    options.device = gpu != NULL ? atoi(gpu) : 0;
    options.database = database;
    options.cache_dir = cache;
    if (seqtune_open(&out, &options) != SEQTUNE_OK) print_error("%s\n", seqtune_open_error());
    return out;
}

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != SEQTUNE_OK) fail_msg("%s: %s", #call, seqtune_last_error(ctx));              \
    } while (0)

/* ---- f16 ---- */

static uint16_t to_half(double x) {
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    int exponent = 0;
    double m = frexp(fabs(x), &exponent); /* m in [0.5, 1) */
    if (m == 0 || exponent < -13) return (uint16_t)(sign + lrint(ldexp(fabs(x), 24)));
    long fraction = lrint(ldexp(m, 11)); /* 1024..2048 */
    return (uint16_t)(sign + ((exponent + 14) << 10) + (fraction - 1024));
}

static double from_half(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -x : x;
}

static void fill(uint16_t *out, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = to_half((double)(seed >> 8) / 8388608.0 - 1.0);
    }
}

static seqtune_device_ptr to_device(const void *data, size_t bytes) {
    seqtune_device_ptr out = 0;
    CHECK(seqtune_device_alloc(ctx, bytes, &out));
    CHECK(seqtune_device_upload(ctx, out, data, bytes));
    return out;
}

/* ---- attention ---- */

typedef struct Case {
    int batch, heads_q, heads_kv, dim, max_q, max_kv, len_q, len_kv; /* len -1: zero */
    seqtune_mask mask;
    seqtune_window window;
} Case;

static bool visible(const Case *c, int i, int j, int len_q, int len_kv) {
    int own = i + len_kv - len_q;
    bool seen = c->mask != SEQTUNE_MASK_CAUSAL || j <= own;
    if (c->window.kind != SEQTUNE_WINDOW_OFF && c->window.left >= 0)
        seen = seen && j >= own - c->window.left;
    if (c->window.kind == SEQTUNE_WINDOW_BOTH && c->window.right >= 0)
        seen = seen && j <= own + c->window.right;
    return seen;
}

/* One row in double: out[dim], returns the LSE. q, k, v point at the row and at key 0. */
static double reference(const Case *c, const uint16_t *q, const uint16_t *k, const uint16_t *v,
                        int i, int len_q, int len_kv, double *out) {
    double weight[1024], most = -INFINITY, sum = 0;
    size_t step = (size_t)(c->heads_kv * c->dim);
    for (int j = 0; j < len_kv; j++) {
        weight[j] = 0;
        for (int e = 0; e < c->dim; e++)
            weight[j] += from_half(q[e]) * from_half(k[(size_t)j * step + (size_t)e]);
        weight[j] = visible(c, i, j, len_q, len_kv) ? weight[j] / sqrt(c->dim) : -INFINITY;
        if (weight[j] > most) most = weight[j];
    }
    memset(out, 0, (size_t)c->dim * sizeof *out);
    for (int j = 0; j < len_kv; j++) {
        double w = most == -INFINITY ? 0 : exp(weight[j] - most);
        sum += w;
        for (int e = 0; e < c->dim; e++) out[e] += w * from_half(v[(size_t)j * step + (size_t)e]);
    }
    for (int e = 0; e < c->dim && sum > 0; e++) out[e] /= sum;
    return sum > 0 ? most + log(sum) : -INFINITY;
}

typedef struct Buffers {
    uint16_t *q, *k, *v, *o;
    float *lse;
    size_t q_count, kv_count, lse_count;
} Buffers;

static Buffers make_buffers(const Case *c) {
    Buffers b = {.q_count = (size_t)(c->batch * c->max_q * c->heads_q * c->dim),
                 .kv_count = (size_t)(c->batch * c->max_kv * c->heads_kv * c->dim),
                 .lse_count = (size_t)(c->batch * c->heads_q * c->max_q)};
    b.q = malloc(b.q_count * 2);
    b.k = malloc(b.kv_count * 2);
    b.v = malloc(b.kv_count * 2);
    b.o = malloc(b.q_count * 2);
    b.lse = malloc(b.lse_count * 4);
    assert_true(b.q && b.k && b.v && b.o && b.lse);
    fill(b.q, b.q_count, 1);
    fill(b.k, b.kv_count, 2);
    fill(b.v, b.kv_count, 3);
    memset(b.o, 0x7e, b.q_count * 2); /* NaN */
    memset(b.lse, 0x7f, b.lse_count * 4);
    return b;
}

static void free_buffers(Buffers *b) {
    free(b->q);
    free(b->k);
    free(b->v);
    free(b->o);
    free(b->lse);
}

static void compare(const Case *c, const Buffers *b, int len_q, int len_kv) {
    double want[256];
    for (int n = 0; n < c->batch; n++)
        for (int i = 0; i < c->max_q; i++)
            for (int h = 0; h < c->heads_q; h++) {
                size_t row =
                    ((size_t)(n * c->max_q + i) * (size_t)c->heads_q + (size_t)h) * (size_t)c->dim;
                size_t key = ((size_t)(n * c->max_kv) * (size_t)c->heads_kv +
                              (size_t)(h / (c->heads_q / c->heads_kv))) *
                             (size_t)c->dim;
                float lse = b->lse[(size_t)(n * c->heads_q + h) * (size_t)c->max_q + (size_t)i];
                if (i >= len_q) { /* rows beyond the run's length stay untouched */
                    assert_int_equal(b->o[row], 0x7e7e);
                    continue;
                }
                double want_lse =
                    reference(c, b->q + row, b->k + key, b->v + key, i, len_q, len_kv, want);
                for (int e = 0; e < c->dim; e++) {
                    double got = from_half(b->o[row + (size_t)e]);
                    if (!(fabs(got - want[e]) <= 2e-3))
                        fail_msg("batch %d row %d head %d element %d: %g instead of %g", n, i, h, e,
                                 got, want[e]);
                }
                if (want_lse == -INFINITY ? lse != -INFINITY : !(fabs(lse - want_lse) <= 1e-3))
                    fail_msg("batch %d row %d head %d: LSE %g instead of %g", n, i, h, (double)lse,
                             want_lse);
            }
}

static void run_case(const Case *c) {
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.batch = c->batch;
    d.heads_q = c->heads_q;
    d.heads_kv = c->heads_kv;
    d.head_dim = c->dim;
    d.max_len_q = c->max_q;
    d.max_len_kv = c->max_kv;
    d.mask = c->mask;
    d.window = c->window;
    d.want_lse = 1;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_supports_attention(ctx, &d));
    CHECK(seqtune_plan_attention(ctx, &d, &plan));
    Buffers b = make_buffers(c);
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = to_device(b.q, b.q_count * 2);
    a.k = to_device(b.k, b.kv_count * 2);
    a.v = to_device(b.v, b.kv_count * 2);
    a.o = to_device(b.o, b.q_count * 2);
    a.lse = to_device(b.lse, b.lse_count * 4);
    a.len_q = c->len_q;
    a.len_kv = c->len_kv;
    CHECK(seqtune_run_attention(plan, &a, 0, NULL));
    CHECK(seqtune_device_synchronize(ctx));
    CHECK(seqtune_device_download(ctx, b.o, a.o, b.q_count * 2));
    CHECK(seqtune_device_download(ctx, b.lse, a.lse, b.lse_count * 4));
    int len_q = c->len_q == 0 ? c->max_q : c->len_q < 0 ? 0 : c->len_q;
    int len_kv = c->len_kv == 0 ? c->max_kv : c->len_kv < 0 ? 0 : c->len_kv;
    compare(c, &b, len_q, len_kv);
    const seqtune_device_ptr all[] = {a.q, a.k, a.v, a.o, a.lse};
    for (size_t i = 0; i < 5; i++) CHECK(seqtune_device_free(ctx, all[i]));
    seqtune_plan_destroy(plan);
    free_buffers(&b);
}

static const seqtune_window off = {SEQTUNE_WINDOW_OFF, 0, 0};

static void causal_grouped_attention_equals_its_definition(void **state) {
    (void)state;
    run_case(&(Case){2, 4, 2, 64, 100, 100, 0, 0, SEQTUNE_MASK_CAUSAL, off});
}

static void causal_is_bottom_right_aligned(void **state) {
    (void)state;
    run_case(&(Case){1, 4, 2, 64, 100, 100, 5, 70, SEQTUNE_MASK_CAUSAL, off});
    run_case(&(Case){1, 4, 2, 64, 100, 100, 90, 40, SEQTUNE_MASK_CAUSAL, off});
}

static void a_window_is_inclusive_on_both_sides(void **state) {
    (void)state;
    run_case(&(Case){1, 2, 1, 64, 96, 96, 0, 0, SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_BOTH, 9, 3}});
}

static void no_keys_give_zero_and_minus_infinity(void **state) {
    (void)state;
    run_case(&(Case){1, 4, 2, 64, 100, 100, 0, -1, SEQTUNE_MASK_CAUSAL, off});
}

static void no_queries_touch_nothing(void **state) {
    (void)state;
    run_case(&(Case){1, 4, 2, 64, 100, 100, -1, 0, SEQTUNE_MASK_CAUSAL, off});
}

/* ---- rope ---- */

enum { TOKENS = 50, HEADS = 3, DIM = 64, ROTARY = 48, OFFSET = 8, ROWS = 128, FIRST = 70 };

static void rotate(const uint16_t *x, double *out, int position, bool interleaved) {
    for (int e = 0; e < DIM; e++) out[e] = from_half(x[e]);
    for (int p = 0; p < ROTARY / 2; p++) {
        int a = OFFSET + (interleaved ? 2 * p : p);
        int b = OFFSET + (interleaved ? 2 * p + 1 : p + ROTARY / 2);
        double phase = position * pow(10000.0, -2.0 * p / ROTARY);
        double u = from_half(x[a]), w = from_half(x[b]);
        out[a] = u * cos(phase) - w * sin(phase);
        out[b] = u * sin(phase) + w * cos(phase);
    }
}

static void run_rope(bool interleaved, bool in_place, bool with_positions) {
    static uint16_t x[TOKENS * HEADS * DIM], got[TOKENS * HEADS * DIM];
    static float c[ROWS * ROTARY / 2], s[ROWS * ROTARY / 2];
    int64_t positions[TOKENS];
    for (int t = 0; t < TOKENS; t++) positions[t] = (t * 37 + 5) % ROWS;
    fill(x, TOKENS * HEADS * DIM, 7);
    assert_int_equal(seqtune_rope_table(ROWS, ROTARY, 10000.0, c, s), SEQTUNE_OK);
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.style = interleaved ? SEQTUNE_ROPE_INTERLEAVED : SEQTUNE_ROPE_NEOX;
    d.max_tokens = TOKENS;
    d.heads = HEADS;
    d.head_dim = DIM;
    d.rotary_dim = ROTARY;
    d.rotary_offset = OFFSET;
    d.table_rows = ROWS;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_rope(ctx, &d, &plan));
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = to_device(x, sizeof x);
    a.out = in_place ? a.x : to_device(got, sizeof got);
    a.cos = to_device(c, sizeof c);
    a.sin = to_device(s, sizeof s);
    a.positions = with_positions ? to_device(positions, sizeof positions) : 0;
    a.first_position = with_positions ? 0 : FIRST;
    CHECK(seqtune_run_rope(plan, &a, 0, NULL));
    CHECK(seqtune_device_synchronize(ctx));
    CHECK(seqtune_device_download(ctx, got, a.out, sizeof got));
    for (int t = 0; t < TOKENS; t++)
        for (int h = 0; h < HEADS; h++) {
            const uint16_t *row = x + (t * HEADS + h) * DIM;
            double want[DIM];
            rotate(row, want, with_positions ? (int)positions[t] : FIRST + t, interleaved);
            for (int e = 0; e < DIM; e++) {
                uint16_t bits = got[(t * HEADS + h) * DIM + e];
                bool copied = e < OFFSET || e >= OFFSET + ROTARY;
                if (copied ? bits != row[e] : !(fabs(from_half(bits) - want[e]) <= 1e-3))
                    fail_msg("token %d head %d element %d: %g instead of %g", t, h, e,
                             from_half(bits), want[e]);
            }
        }
    const seqtune_device_ptr all[] = {a.x, in_place ? 0 : a.out, a.cos, a.sin, a.positions};
    for (size_t i = 0; i < 5; i++) CHECK(seqtune_device_free(ctx, all[i]));
    seqtune_plan_destroy(plan);
}

static void rope_equals_its_definition_in_both_styles(void **state) {
    (void)state;
    run_rope(false, false, false);
    run_rope(true, false, false);
}

static void rope_works_in_place_and_with_given_positions(void **state) {
    (void)state;
    run_rope(false, true, false);
    run_rope(true, true, true);
}

/* ---- the library ---- */

static void the_second_context_compiles_nothing(void **state) {
    (void)state;
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.heads_q = 4;
    d.heads_kv = 2;
    d.head_dim = 64;
    d.max_len_q = 100;
    d.mask = SEQTUNE_MASK_CAUSAL;
    for (int i = 0; i < 2; i++) {
        seqtune_context *other = open_context("");
        assert_non_null(other);
        seqtune_plan *plan = NULL;
        if (seqtune_plan_attention(other, &d, &plan) != SEQTUNE_OK)
            fail_msg("%s", seqtune_last_error(other));
        seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
        assert_int_equal(seqtune_plan_get_info(plan, &info), SEQTUNE_OK);
        if (i == 1) assert_int_equal(info.from_cache, 1);
        assert_string_equal(info.kernel, "attn_prefill");
        assert_has(info.pipeline, "attn/prefill");
        assert_int_equal(info.spill_bytes, 0);
        seqtune_plan_destroy(plan);
        seqtune_close(other);
    }
}

static void a_recorded_row_decides_and_is_told(void **state) {
    (void)state;
    Error err = {0};
    Db *db = NULL;
    char *dir = scratch_make(), path[4200];
    snprintf(path, sizeof path, "%s/tune.db", dir);
    seqtune_device_info device = SEQTUNE_DEVICE_INFO_INIT;
    CHECK(seqtune_get_device_info(ctx, &device));
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = 64;
    d.heads = 8;
    d.head_dim = 64;
    d.table_rows = 64;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_rope(ctx, &d, &plan));
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    CHECK(seqtune_plan_get_info(plan, &info));
    assert_int_equal(info.rung, SEQTUNE_RUNG_DEFAULT);
    static const char config[] = "vec_bytes=8 block_threads=256 head_sequential=1";
    const DbVerdict v = {.key = {.kernel = "rope",
                                 .problem_key = info.key,
                                 .gpu_key = device.key,
                                 .policy = "eager cold",
                                 .generation = 1},
                         .problem = info.problem,
                         .gpu_name = device.name,
                         .spec_hash = "00",
                         .config = config,
                         .default_config = info.config,
                         .time_s = 2.5e-6,
                         .default_time_s = 5e-6,
                         .ratio = 0.5,
                         .ratio_low = 0.5,
                         .ratio_high = 0.5,
                         .effort = 3,
                         .session = "test",
                         .unix_ms = 1,
                         .tool = "test"};
    assert_ok(db_open(path, DB_WRITE, &db, &err), err);
    assert_ok(db_record_verdict(db, &v, &err), err);
    db_close(db);
    seqtune_plan_destroy(plan);

    seqtune_context *plain = ctx;
    ctx = open_context(path);
    CHECK(seqtune_plan_rope(ctx, &d, &plan));
    info = (seqtune_plan_info)SEQTUNE_PLAN_INFO_INIT;
    CHECK(seqtune_plan_get_info(plan, &info));
    assert_int_equal(info.rung, SEQTUNE_RUNG_EXACT);
    assert_string_equal(info.config, config);
    assert_string_equal(info.database, path);
    assert_true(info.row > 0);
    assert_string_equal(info.row_gpu, device.key);
    assert_int_equal(info.modelled, device.modelled);
    assert_true(info.time_us > 2.49 && info.time_us < 2.51);
    seqtune_plan_destroy(plan);
    seqtune_close(ctx);
    ctx = plain;
    scratch_remove(dir);
}

static void device_memory_is_checked(void **state) {
    (void)state;
    seqtune_device_ptr p = 0;
    char text[4] = "";
    CHECK(seqtune_device_alloc(ctx, 0, &p)); /* an empty tensor has an address too */
    assert_true(p != 0);
    CHECK(seqtune_device_free(ctx, p));
    CHECK(seqtune_device_free(ctx, 0));
    CHECK(seqtune_device_alloc(ctx, 4, &p));
    CHECK(seqtune_device_upload(ctx, p, "abc", 4));
    CHECK(seqtune_device_download(ctx, text, p, 4));
    assert_string_equal(text, "abc");
    CHECK(seqtune_device_free(ctx, p));
    assert_int_equal(seqtune_device_alloc(ctx, (size_t)1 << 50, &p), SEQTUNE_NO_MEMORY);
    assert_has(seqtune_last_error(ctx), "cuMemAlloc");
    assert_int_equal(p, 0);
}

static void a_run_can_be_captured_into_a_graph_and_replayed(void **state) {
    (void)state;
    enum { COUNT = 64 * 64 };
    static uint16_t x[COUNT], got[COUNT];
    static float c[64 * 32], s[64 * 32];
    const Driver *cu = ctx->driver;
    for (int i = 0; i < 64 * 32; i++) {
        c[i] = 2.0f; /* a factor of two per replay */
        s[i] = 0.0f;
    }
    fill(x, COUNT, 9);
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = 64;
    d.heads = 1;
    d.head_dim = 64;
    d.table_rows = 64;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_rope(ctx, &d, &plan));
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = a.out = to_device(x, sizeof x);
    a.cos = to_device(c, sizeof c);
    a.sin = to_device(s, sizeof s);
    CuStream stream = NULL;
    CuGraph graph = NULL;
    CuGraphExec exec = NULL;
    bool pushed = false;
    assert_int_equal(driver_enter(cu, ctx->device.context, &pushed), 0);
    assert_int_equal(cu->StreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
    assert_int_equal(cu->StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), 0);
    CHECK(seqtune_run_rope(plan, &a, 0, stream)); /* the plan's first run */
    assert_int_equal(cu->StreamEndCapture(stream, &graph), 0);
    assert_int_equal(cu->GraphInstantiate(&exec, graph, 0), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(cu->GraphLaunch(exec, stream), 0);
    assert_int_equal(cu->StreamSynchronize(stream), 0);
    CHECK(seqtune_device_download(ctx, got, a.x, sizeof got));
    for (int i = 0; i < COUNT; i++) assert_true(from_half(got[i]) == 8 * from_half(x[i]));
    assert_int_equal(cu->GraphExecDestroy(exec), 0);
    assert_int_equal(cu->GraphDestroy(graph), 0);
    assert_int_equal(cu->StreamDestroy(stream), 0);
    driver_leave(cu, pushed);
    CHECK(seqtune_device_free(ctx, a.x));
    CHECK(seqtune_device_free(ctx, a.cos));
    CHECK(seqtune_device_free(ctx, a.sin));
    seqtune_plan_destroy(plan);
}

/* Milliseconds of one run between two events, in full or, where the device can, sampled. */
static float event_ms(const seqtune_plan *plan, const seqtune_rope_args *args, bool timing) {
    Error err = {0};
    const Driver *cu = ctx->driver;
    CuEvent begin = NULL, end = NULL;
    float ms = -1;
    bool pushed = false;
    assert_int_equal(driver_enter(cu, ctx->device.context, &pushed), 0);
    assert_int_equal(cu->EventCreate(&begin, 0), 0);
    assert_int_equal(cu->EventCreate(&end, 0), 0);
    assert_ok(driver_set_mode(cu, timing ? LAUNCH_TIMING : LAUNCH_FULL, &err), err);
    assert_int_equal(cu->EventRecord(begin, NULL), 0);
    CHECK(seqtune_run_rope(plan, args, 0, NULL));
    assert_int_equal(cu->EventRecord(end, NULL), 0);
    assert_int_equal(cu->EventSynchronize(end), 0);
    assert_int_equal(cu->EventElapsedTime(&ms, begin, end), 0);
    assert_ok(driver_set_mode(cu, LAUNCH_FULL, &err), err);
    assert_int_equal(cu->EventDestroy(begin), 0);
    assert_int_equal(cu->EventDestroy(end), 0);
    driver_leave(cu, pushed);
    return ms;
}

static void events_time_a_run_and_more_work_takes_no_less(void **state) {
    (void)state;
    enum { TOKENS_MAX = 4096, HEADS_ALL = 8, D = 64 };
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = TOKENS_MAX;
    d.heads = HEADS_ALL;
    d.head_dim = D;
    d.table_rows = TOKENS_MAX;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_rope(ctx, &d, &plan));
    size_t x_bytes = (size_t)TOKENS_MAX * HEADS_ALL * D * 2, table_bytes = TOKENS_MAX * D / 2 * 4;
    void *zeros = calloc(1, x_bytes);
    assert_non_null(zeros);
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = a.out = to_device(zeros, x_bytes);
    a.cos = to_device(zeros, table_bytes);
    a.sin = to_device(zeros, table_bytes);
    for (int timing = 0; timing < 2; timing++) {
        a.tokens = 16;
        float few = event_ms(plan, &a, timing != 0);
        a.tokens = 0;
        float all = event_ms(plan, &a, timing != 0);
        /* A launch costs over half a microsecond on any GPU; noise is a tenth at most. */
        if (!(few > 0.0005f && all > few * 0.9f))
            fail_msg("%g ms for 16 tokens, %g ms for %d", (double)few, (double)all, TOKENS_MAX);
    }
    CHECK(seqtune_device_free(ctx, a.x));
    CHECK(seqtune_device_free(ctx, a.cos));
    CHECK(seqtune_device_free(ctx, a.sin));
    free(zeros);
    seqtune_plan_destroy(plan);
}

/* Last: the fault stays with the CUDA context until the process ends. */
static void a_fault_of_a_kernel_is_told_by_the_next_wait(void **state) {
    (void)state;
    seqtune_rope_desc d = SEQTUNE_ROPE_DESC_INIT;
    d.max_tokens = 16;
    d.heads = 1;
    d.head_dim = 64;
    d.table_rows = 16;
    seqtune_plan *plan = NULL;
    CHECK(seqtune_plan_rope(ctx, &d, &plan));
    seqtune_rope_args a = SEQTUNE_ROPE_ARGS_INIT;
    a.x = a.out = a.cos = a.sin = 0x1000; /* device memory of nobody */
    seqtune_status st = seqtune_run_rope(plan, &a, 0, NULL);
    if (st == SEQTUNE_OK) st = seqtune_device_synchronize(ctx);
    assert_int_equal(st, SEQTUNE_DRIVER);
    assert_has(seqtune_last_error(ctx), "CUDA_ERROR_");
    seqtune_plan_destroy(plan);
}

static int setup(void **state) {
    (void)state;
    unsetenv("SOFTGPU_DEVICES");
    log_set_level(LOG_ERROR);
    cache = scratch_make();
    ctx = open_context("");
    return ctx == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    seqtune_close(ctx);
    scratch_remove(cache);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_equals_its_definition_in_both_styles),
        cmocka_unit_test(rope_works_in_place_and_with_given_positions),
        cmocka_unit_test(causal_grouped_attention_equals_its_definition),
        cmocka_unit_test(causal_is_bottom_right_aligned),
        cmocka_unit_test(a_window_is_inclusive_on_both_sides),
        cmocka_unit_test(no_keys_give_zero_and_minus_infinity),
        cmocka_unit_test(no_queries_touch_nothing),
        cmocka_unit_test(the_second_context_compiles_nothing),
        cmocka_unit_test(a_recorded_row_decides_and_is_told),
        cmocka_unit_test(device_memory_is_checked),
        cmocka_unit_test(a_run_can_be_captured_into_a_graph_and_replayed),
        cmocka_unit_test(events_time_a_run_and_more_work_takes_no_less),
        cmocka_unit_test(a_fault_of_a_kernel_is_told_by_the_next_wait),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
