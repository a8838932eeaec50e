/* Recurrent layers through the public functions on the software GPU, or on a real one
 * (SEQTUNE_TEST_GPU=0): layers, directions, lengths and chunks against the fp64 reference, and
 * against each other bit for bit. */
#include "tests/runtime/test.h"

#include <math.h>

#include "base/log.h"
#include "runtime/seqtune.h"
#include "tuner/verify/rnn_reference.h"

static seqtune_context *ctx;
static char *cache;

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != SEQTUNE_OK) fail_msg("%s: %s", #call, seqtune_last_error(ctx));              \
    } while (0)

enum { MAX_BLOCKS = 6, GUARD = 64 }; /* layers * directions; bytes behind each output */

/* A description, its weights for packing and for the reference, inputs and results. */
typedef struct Bench {
    seqtune_rnn_desc d;
    const int64_t *lens; /* NULL: all steps */
    Dtype type;
    int64_t gates, state, directions, blocks, tokens;
    float *host[MAX_BLOCKS][4];   /* w, r, bias_w, bias_r */
    double *exact[MAX_BLOCKS][4]; /* the same in double */
    double *x;                    /* [batch, steps, input] */
    double *h_in, *c_in;          /* [blocks, batch, state / hidden] */
    seqtune_device_ptr weights, at_x, at_h, at_c, at_lens, at_cu;
} Bench;

/* What a run gives: y in the caller's layout, h and c. */
typedef struct Result {
    char *y, *h, *c;
    size_t y_bytes, h_bytes, c_bytes;
} Result;

static void *make(size_t bytes) {
    void *p = calloc(1, bytes + 1);
    assert_non_null(p);
    return p;
}

static double uniform(void) {
    static uint64_t seed = 1;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-52 - 1;
}

static size_t element(const Bench *b) {
    return dtype_bytes(b->type);
}

static seqtune_device_ptr to_device(const void *data, size_t bytes) {
    seqtune_device_ptr out = 0;
    CHECK(seqtune_device_alloc(ctx, bytes, &out));
    CHECK(seqtune_device_upload(ctx, out, data, bytes));
    return out;
}

/* Numbers of the type, within `range`. */
static double *numbers(Dtype type, int64_t n, double range) {
    double *out = make((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++) out[i] = dtype_round(type, range * uniform());
    return out;
}

static seqtune_device_ptr upload(Dtype type, const double *from, int64_t n) {
    void *coded = make((size_t)n * dtype_bytes(type));
    for (int64_t i = 0; i < n; i++) dtype_store(type, coded, i, from[i]);
    const seqtune_device_ptr out = to_device(coded, (size_t)n * dtype_bytes(type));
    free(coded);
    return out;
}

static float *as_floats(const double *from, int64_t n) {
    float *out = make((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++) out[i] = (float)from[i];
    return out;
}

static void make_block(Bench *b, int64_t block) {
    const int64_t layer = block / b->directions, n = b->gates * b->d.hidden;
    const int64_t input = layer == 0 ? b->d.input : b->directions * b->state;
    const double range = 1 / sqrt((double)b->d.hidden);
    const int64_t sizes[4] = {n * input, n * b->state, n, n};
    for (int i = 0; i < 4; i++) {
        b->exact[block][i] = numbers(i < 2 ? b->type : DTYPE_F32, sizes[i], 2 * range);
        b->host[block][i] = as_floats(b->exact[block][i], sizes[i]);
    }
}

static void make_weights(Bench *b) {
    seqtune_rnn_weights w[MAX_BLOCKS];
    size_t bytes = 0;
    for (int64_t k = 0; k < b->blocks; k++) {
        make_block(b, k);
        w[k] = (seqtune_rnn_weights)SEQTUNE_RNN_WEIGHTS_INIT;
        w[k].w = b->host[k][0];
        w[k].r = b->host[k][1];
        w[k].bias_w = b->host[k][2];
        w[k].bias_r = b->host[k][3];
    }
    assert_int_equal(seqtune_rnn_weights_bytes(&b->d, &bytes), SEQTUNE_OK);
    void *packed = make(bytes);
    if (seqtune_rnn_pack_weights(&b->d, SEQTUNE_RNN_PYTORCH, w, packed) != SEQTUNE_OK)
        fail_msg("%s", seqtune_open_error());
    b->weights = to_device(packed, bytes);
    free(packed);
}

static int64_t length(const Bench *b, int64_t sequence) {
    return b->lens != NULL ? b->lens[sequence] : b->d.max_steps;
}

/* Row of a token in x and y of the caller; -1: a padded token that packed sequences lack. */
static int64_t row_of(const Bench *b, int64_t sequence, int64_t token) {
    int64_t row = token;
    if (!b->d.packed) return token * b->d.batch + sequence;
    for (int64_t k = 0; k < sequence; k++) row += length(b, k);
    return token < length(b, sequence) ? row : -1;
}

static void make_inputs(Bench *b) {
    const int64_t n = b->d.batch * b->d.max_steps;
    b->x = numbers(b->type, n * b->d.input, 1);
    b->h_in = numbers(b->type, b->blocks * b->d.batch * b->state, 0.5);
    b->c_in = numbers(DTYPE_F32, b->blocks * b->d.batch * b->d.hidden, 0.5);
    double *rows = make((size_t)(n * b->d.input) * sizeof *rows);
    int32_t lens[64] = {0}, cu[65] = {0};
    b->tokens = b->d.packed ? 0 : n;
    for (int64_t s = 0; s < b->d.batch; s++) {
        lens[s] = (int32_t)length(b, s);
        cu[s + 1] = cu[s] + lens[s];
        if (b->d.packed) b->tokens += lens[s];
        for (int64_t t = 0; t < b->d.max_steps; t++) {
            const double *from = &b->x[(s * b->d.max_steps + t) * b->d.input];
            if (row_of(b, s, t) >= 0)
                memcpy(&rows[row_of(b, s, t) * b->d.input], from,
                       (size_t)b->d.input * sizeof *from);
        }
    }
    b->at_x = upload(b->type, rows, b->tokens * b->d.input);
    b->at_h = upload(b->type, b->h_in, b->blocks * b->d.batch * b->state);
    b->at_c = upload(DTYPE_F32, b->c_in, b->blocks * b->d.batch * b->d.hidden);
    b->at_lens = to_device(lens, sizeof lens);
    b->at_cu = to_device(cu, sizeof cu);
    free(rows);
}

static Bench bench_of(const seqtune_rnn_desc *d, const int64_t *lens) {
    Bench b = {.d = *d, .lens = lens};
    b.type = d->dtype == SEQTUNE_F32    ? DTYPE_F32
             : d->dtype == SEQTUNE_BF16 ? DTYPE_BF16
                                        : DTYPE_F16;
    b.gates = d->cell == SEQTUNE_GRU ? 3 : 4;
    b.state = d->projection > 0 ? d->projection : d->hidden;
    b.directions = d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2 : 1;
    b.blocks = d->layers * b.directions;
    make_weights(&b);
    make_inputs(&b);
    return b;
}

static void bench_end(Bench *b) {
    const seqtune_device_ptr all[] = {b->weights, b->at_x, b->at_h, b->at_c, b->at_lens, b->at_cu};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) CHECK(seqtune_device_free(ctx, all[i]));
    for (int64_t k = 0; k < b->blocks; k++)
        for (int i = 0; i < 4; i++) {
            free(b->host[k][i]);
            free(b->exact[k][i]);
        }
    free(b->x);
    free(b->h_in);
    free(b->c_in);
}

/* ---- runs ---- */

static Result result_of(const Bench *b) {
    Result r = {.y_bytes = (size_t)(b->tokens * b->directions * b->state) * element(b),
                .h_bytes = (size_t)(b->blocks * b->d.batch * b->state) * element(b),
                .c_bytes = (size_t)(b->blocks * b->d.batch * b->d.hidden) * 4};
    r.y = make(r.y_bytes + GUARD);
    r.h = make(r.h_bytes + GUARD);
    r.c = make(r.c_bytes + GUARD);
    return r;
}

static void result_end(Result *r) {
    free(r->y);
    free(r->h);
    free(r->c);
}

static void assert_guard(const char *data, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++) assert_int_equal((unsigned char)data[bytes + i], 0xa5);
}

static void assert_same(const Result *a, const Result *b) {
    assert_memory_equal(a->y, b->y, a->y_bytes);
    assert_memory_equal(a->h, b->h, a->h_bytes);
    assert_memory_equal(a->c, b->c, a->c_bytes);
}

/* A buffer for an output: 0xa5, which is a number of every type, and a guard. */
static seqtune_device_ptr dirty(size_t bytes) {
    char *fill = make(bytes + GUARD);
    memset(fill, 0xa5, bytes + GUARD);
    const seqtune_device_ptr out = to_device(fill, bytes + GUARD);
    free(fill);
    return out;
}

/* Runs of at most `piece` steps one after the other, by a plan of `d`, states in two buffers in
 * turn. */
static Result run_pieces(const Bench *b, const seqtune_rnn_desc *d, int64_t piece) {
    const bool lstm = d->cell == SEQTUNE_LSTM;
    const size_t row = (size_t)(b->d.batch) * element(b);
    Result r = result_of(b);
    seqtune_plan *plan = NULL;
    seqtune_device_ptr workspace = 0, y = dirty(r.y_bytes), h[2], c[2];
    for (int i = 0; i < 2; i++) {
        h[i] = dirty(r.h_bytes);
        c[i] = dirty(r.c_bytes);
    }
    CHECK(seqtune_plan_rnn(ctx, d, &plan));
    CHECK(seqtune_device_alloc(ctx, seqtune_plan_workspace(plan), &workspace));
    int turn = 0;
    for (int64_t first = 0; first < b->d.max_steps; first += piece, turn = 1 - turn) {
        seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
        const int64_t left = b->d.max_steps - first;
        a.weights = b->weights;
        a.x = b->at_x + (uint64_t)first * row * (size_t)b->d.input;
        a.y = y + (uint64_t)first * row * (size_t)(b->directions * b->state);
        a.h_in = first == 0 ? b->at_h : h[1 - turn];
        a.h_out = h[turn];
        if (lstm) {
            a.c_in = first == 0 ? b->at_c : c[1 - turn];
            a.c_out = c[turn];
        }
        a.lens = d->device_lengths ? b->at_lens : 0;
        a.cu_seqlens = d->packed ? b->at_cu : 0;
        a.steps = left < piece ? left : piece;
        CHECK(seqtune_run_rnn(plan, &a, workspace, NULL));
    }
    CHECK(seqtune_device_download(ctx, r.y, y, r.y_bytes + GUARD));
    CHECK(seqtune_device_download(ctx, r.h, h[1 - turn], r.h_bytes + GUARD));
    CHECK(seqtune_device_download(ctx, r.c, c[1 - turn], r.c_bytes + GUARD));
    assert_guard(r.y, r.y_bytes);
    assert_guard(r.h, r.h_bytes);
    assert_guard(r.c, r.c_bytes);
    const seqtune_device_ptr all[] = {workspace, y, h[0], h[1], c[0], c[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) CHECK(seqtune_device_free(ctx, all[i]));
    seqtune_plan_destroy(plan);
    return r;
}

static Result run_whole(const Bench *b) {
    return run_pieces(b, &b->d, b->d.max_steps);
}

/* ---- against the reference ---- */

static void near(const Bench *b, const char *what, int64_t i, double got, double want) {
    /* f32: the contract of recurrent kernels. 16 bit: a few roundings of h, |h| <= 1, per layer
     * (the strict rule is the verifier's). */
    const double limit = b->type == DTYPE_F32 ? 5e-5 : b->type == DTYPE_F16 ? 4e-3 : 3e-2;
    if (!(fabs(got - want) <= limit))
        fail_msg("%s[%lld] is %.9g, the reference %.9g", what, (long long)i, got, want);
}

static void compare(const Bench *b, const Result *r, const double *y, const double *h,
                    const double *c) {
    const int64_t features = b->directions * b->state;
    for (int64_t s = 0; s < b->d.batch; s++)
        for (int64_t t = 0; t < b->d.max_steps; t++) {
            const int64_t row = row_of(b, s, t);
            for (int64_t k = 0; k < features && row >= 0; k++) {
                const double got = dtype_load(b->type, r->y, row * features + k);
                if (t >= length(b, s))
                    assert_true(got == 0);
                else
                    near(b, "y", row * features + k, got,
                         y[(s * b->d.max_steps + t) * features + k]);
            }
        }
    for (int64_t i = 0; i < b->blocks * b->d.batch * b->state; i++)
        near(b, "h", i, dtype_load(b->type, r->h, i), h[i]);
    for (int64_t i = 0; i < b->blocks * b->d.batch * b->d.hidden && b->gates == 4; i++)
        near(b, "c", i, dtype_load(DTYPE_F32, r->c, i), c[i]);
}

static void check_reference(const Bench *b, const Result *r) {
    RefRnnWeights w[MAX_BLOCKS];
    Error err = {0};
    const int64_t states = b->blocks * b->d.batch;
    double *y = make((size_t)(b->d.batch * b->d.max_steps * b->directions * b->state) * sizeof *y);
    double *h = make((size_t)(states * b->state) * sizeof *h);
    double *c = make((size_t)(states * b->d.hidden) * sizeof *c);
    for (int64_t k = 0; k < b->blocks; k++)
        w[k] = (RefRnnWeights){.w = b->exact[k][0],
                               .r = b->exact[k][1],
                               .bias = b->exact[k][2],
                               .hidden_bias = b->exact[k][3]};
    const RefRnnStack stack = {.first = {.gru = b->gates == 3,
                                         .batch = b->d.batch,
                                         .steps = b->d.max_steps,
                                         .input = b->d.input,
                                         .hidden = b->d.hidden,
                                         .projection = b->d.projection,
                                         .lens = b->lens,
                                         .x = b->x},
                               .layers = b->d.layers,
                               .directions = b->directions,
                               .weights = w,
                               .h_in = b->h_in,
                               .c_in = b->gates == 4 ? b->c_in : NULL};
    if (b->d.direction == SEQTUNE_RNN_REVERSE) { /* of one layer: a stack has no such thing */
        RefRnn one = stack.first;
        one.reverse = true;
        one.weights = w;
        one.h_in = stack.h_in;
        one.c_in = stack.c_in;
        const RefRnnOut out = {.y = y, .h = h, .c = c};
        assert_ok(ref_rnn(&one, &out, &err), err);
    } else {
        assert_ok(ref_rnn_stack(&stack, y, h, b->gates == 4 ? c : NULL, &err), err);
    }
    compare(b, r, y, h, c);
    free(y);
    free(h);
    free(c);
}

static seqtune_rnn_desc layers_of(seqtune_rnn_cell cell, seqtune_dtype dtype, int64_t layers) {
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    d.cell = cell;
    d.dtype = dtype;
    d.layers = layers;
    d.batch = 5;
    d.input = 20;
    d.hidden = 24;
    d.max_steps = 7;
    return d;
}

static void check_case(const seqtune_rnn_desc *d, const int64_t *lens) {
    Bench b = bench_of(d, lens);
    Result r = run_whole(&b);
    check_reference(&b, &r);
    result_end(&r);
    bench_end(&b);
}

static const int64_t lens[5] = {7, 0, 1, 5, 7};

static void two_bidirectional_layers_of_padded_sequences(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F16, 2);
        d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
        d.device_lengths = 1;
        check_case(&d, lens);
    }
}

static void two_bidirectional_layers_of_packed_sequences(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_BF16, 2);
        d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
        d.packed = 1;
        d.total_tokens = 20;
        check_case(&d, lens);
    }
}

static void three_layers_of_odd_sizes_in_f32(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F32, 3);
        d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
        d.batch = 3;
        d.input = 9;
        d.hidden = 7;
        check_case(&d, NULL);
        d.dtype = SEQTUNE_F16; /* y of the second direction begins at an odd element */
        check_case(&d, NULL);
    }
}

static void a_reverse_layer(void **state) {
    (void)state;
    seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 1);
    d.direction = SEQTUNE_RNN_REVERSE;
    d.device_lengths = 1;
    check_case(&d, lens);
}

/* ---- against each other ---- */

static void chunks_of_the_plan_give_the_bits_of_the_whole(void **state) {
    (void)state;
    seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 2);
    d.direction = SEQTUNE_RNN_BIDIRECTIONAL;
    d.device_lengths = 1;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        d.cell = (seqtune_rnn_cell)cell;
        Bench b = bench_of(&d, lens);
        Result whole = run_whole(&b);
        for (int64_t chunk = 1; chunk <= 5; chunk += 2) {
            seqtune_rnn_desc chunked = d;
            chunked.chunk_steps = chunk;
            Result r = run_pieces(&b, &chunked, d.max_steps);
            assert_same(&r, &whole);
            result_end(&r);
        }
        result_end(&whole);
        bench_end(&b);
    }
}

static void pieces_and_single_steps_give_the_bits_of_the_whole(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++)
        for (int dtype = SEQTUNE_F16; dtype <= SEQTUNE_F32; dtype += 2) {
            const seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, (seqtune_dtype)dtype, 2);
            seqtune_rnn_desc step = d;
            Bench b = bench_of(&d, NULL);
            Result whole = run_whole(&b);
            Result pieces = run_pieces(&b, &d, 3);
            assert_same(&pieces, &whole);
            step.max_steps = 1;
            step.flags = SEQTUNE_RNN_SEQUENCE_ORDER;
            step.order_steps = d.max_steps;
            Result steps = run_pieces(&b, &step, 1);
            assert_same(&steps, &whole);
            result_end(&whole);
            result_end(&pieces);
            result_end(&steps);
            bench_end(&b);
        }
}

static void steps_of_the_cell_kernel_agree_with_the_reference(void **state) {
    (void)state;
    for (int cell = SEQTUNE_LSTM; cell <= SEQTUNE_GRU; cell++) {
        const seqtune_rnn_desc d = layers_of((seqtune_rnn_cell)cell, SEQTUNE_F16, 2);
        seqtune_rnn_desc step = d;
        Bench b = bench_of(&d, NULL);
        step.max_steps = 1;
        Result r = run_pieces(&b, &step, 1);
        check_reference(&b, &r);
        result_end(&r);
        bench_end(&b);
    }
}

static void what_is_not_wanted_is_not_written(void **state) {
    (void)state;
    const seqtune_rnn_desc d = layers_of(SEQTUNE_LSTM, SEQTUNE_F16, 1);
    Bench b = bench_of(&d, NULL);
    Result r = run_whole(&b);
    seqtune_plan *plan = NULL;
    seqtune_device_ptr workspace = 0, h = dirty(r.h_bytes);
    CHECK(seqtune_plan_rnn(ctx, &d, &plan));
    CHECK(seqtune_device_alloc(ctx, seqtune_plan_workspace(plan), &workspace));
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    a.weights = b.weights;
    a.x = b.at_x;
    a.h_in = b.at_h;
    a.c_in = b.at_c;
    a.h_out = h; /* no y, no c */
    CHECK(seqtune_run_rnn(plan, &a, workspace, NULL));
    char *got = make(r.h_bytes);
    CHECK(seqtune_device_download(ctx, got, h, r.h_bytes));
    assert_memory_equal(got, r.h, r.h_bytes);
    free(got);
    CHECK(seqtune_device_free(ctx, workspace));
    CHECK(seqtune_device_free(ctx, h));
    seqtune_plan_destroy(plan);
    result_end(&r);
    bench_end(&b);
}

static int setup(void **state) {
    (void)state;
    const char *gpu = getenv("SEQTUNE_TEST_GPU");
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    log_set_level(LOG_OFF);
    cache = scratch_make();
    setenv("SOFTGPU_CHECKS", "all", 0);
    options.driver = gpu != NULL ? "cuda" : "soft";
    options.device = gpu != NULL ? atoi(gpu) : 0;
    options.database = "";
    options.cache_dir = cache;
    if (seqtune_open(&ctx, &options) == SEQTUNE_OK) return 0;
    print_error("%s\n", seqtune_open_error());
    return -1;
}

static int teardown(void **state) {
    (void)state;
    seqtune_close(ctx);
    scratch_remove(cache);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_bidirectional_layers_of_padded_sequences),
        cmocka_unit_test(two_bidirectional_layers_of_packed_sequences),
        cmocka_unit_test(three_layers_of_odd_sizes_in_f32),
        cmocka_unit_test(a_reverse_layer),
        cmocka_unit_test(chunks_of_the_plan_give_the_bits_of_the_whole),
        cmocka_unit_test(pieces_and_single_steps_give_the_bits_of_the_whole),
        cmocka_unit_test(steps_of_the_cell_kernel_agree_with_the_reference),
        cmocka_unit_test(what_is_not_wanted_is_not_written),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
