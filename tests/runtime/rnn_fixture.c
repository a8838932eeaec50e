/* See the header. */
#include "tests/runtime/rnn_fixture.h"

#include <math.h>

#include "base/log.h"

seqtune_context *ctx;
static char *cache;

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

seqtune_device_ptr to_device(const void *data, size_t bytes) {
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
    const bool norm = b->d.layer_norm, lstm = b->gates == 4;
    const struct {
        int64_t n;
        double range, around;
    } sizes[WEIGHTS] = {
        [W] = {n * input, 2 * range, 0},
        [R] = {n * b->state, 2 * range, 0},
        [BIAS_W] = {n, 2 * range, 0},
        [BIAS_R] = {n, 2 * range, 0},
        [PEEPHOLE] = {b->d.peephole ? 3 * b->d.hidden : 0, 0.5, 0},
        [PROJECTION] = {b->d.projection * b->d.hidden, 2 * range, 0},
        [GAINS] = {norm ? 2 * n : 0, 0.5, 1},
        [GAIN_C] = {norm && lstm ? b->d.hidden : 0, 0.5, 1},
        [SHIFT_C] = {norm && lstm ? b->d.hidden : 0, 0.5, 0},
    };
    for (int i = 0; i < WEIGHTS; i++) {
        const bool matrix = i == W || i == R || i == PROJECTION;
        if (sizes[i].n == 0) continue;
        b->exact[block][i] = numbers(matrix ? b->type : DTYPE_F32, sizes[i].n, sizes[i].range);
        for (int64_t k = 0; k < sizes[i].n && sizes[i].around != 0; k++)
            b->exact[block][i][k] = (float)(b->exact[block][i][k] + sizes[i].around);
        b->host[block][i] = as_floats(b->exact[block][i], sizes[i].n);
    }
}

static void make_weights(Bench *b) {
    seqtune_rnn_weights w[MAX_BLOCKS];
    size_t bytes = 0;
    for (int64_t k = 0; k < b->blocks; k++) {
        make_block(b, k);
        w[k] = (seqtune_rnn_weights)SEQTUNE_RNN_WEIGHTS_INIT;
        w[k].w = b->host[k][W];
        w[k].r = b->host[k][R];
        w[k].bias_w = b->host[k][BIAS_W];
        w[k].bias_r = b->host[k][BIAS_R];
        w[k].peephole = b->host[k][PEEPHOLE];
        w[k].projection = b->host[k][PROJECTION];
        w[k].norm_w = b->host[k][GAINS];
        w[k].norm_r = b->d.layer_norm ? b->host[k][GAINS] + b->gates * b->d.hidden : NULL;
        w[k].norm_c = b->host[k][GAIN_C];
        w[k].norm_c_shift = b->host[k][SHIFT_C];
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

Bench bench_of(const seqtune_rnn_desc *d, const int64_t *lens) {
    Bench b = {.d = *d, .lens = lens};
    b.type = d->dtype == SEQTUNE_F32    ? DTYPE_F32
             : d->dtype == SEQTUNE_BF16 ? DTYPE_BF16
                                        : DTYPE_F16;
    b.gates = d->cell == SEQTUNE_GRU ? 3 : 4;
    b.state = d->projection > 0 ? d->projection : d->hidden;
    b.directions = d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2 : 1;
    b.blocks = d->layers * b.directions;
    b.zeros = make((size_t)(2 * b.gates * b.d.hidden) * sizeof(double));
    make_weights(&b);
    make_inputs(&b);
    return b;
}

void bench_end(Bench *b) {
    const seqtune_device_ptr all[] = {b->weights, b->at_x, b->at_h, b->at_c, b->at_lens, b->at_cu};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) CHECK(seqtune_device_free(ctx, all[i]));
    for (int64_t k = 0; k < b->blocks; k++)
        for (int i = 0; i < WEIGHTS; i++) {
            free(b->host[k][i]);
            free(b->exact[k][i]);
        }
    free(b->zeros);
    free(b->x);
    free(b->h_in);
    free(b->c_in);
}

/* ---- runs ---- */

static Result sizes_of(const Bench *b) {
    return (Result){.y_bytes = (size_t)(b->tokens * b->directions * b->state) * element(b),
                    .h_bytes = (size_t)(b->blocks * b->d.batch * b->state) * element(b),
                    .c_bytes = (size_t)(b->blocks * b->d.batch * b->d.hidden) * 4};
}

void result_end(Result *r) {
    free(r->y);
    free(r->h);
    free(r->c);
}

static void assert_guard(const char *data, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++) assert_int_equal((unsigned char)data[bytes + i], 0xa5);
}

void assert_same(const Result *a, const Result *b) {
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

Rig rig_of(const Bench *b, const seqtune_rnn_desc *d) {
    const Result sizes = sizes_of(b);
    Rig r = {.y = dirty(sizes.y_bytes)};
    for (int i = 0; i < 2; i++) {
        r.h[i] = dirty(sizes.h_bytes);
        r.c[i] = dirty(sizes.c_bytes);
    }
    CHECK(seqtune_plan_rnn(ctx, d, &r.plan));
    CHECK(seqtune_device_alloc(ctx, seqtune_plan_workspace(r.plan), &r.workspace));
    return r;
}

void rig_end(Rig *r) {
    const seqtune_device_ptr all[] = {r->workspace, r->y, r->h[0], r->h[1], r->c[0], r->c[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) CHECK(seqtune_device_free(ctx, all[i]));
    seqtune_plan_destroy(r->plan);
}

seqtune_rnn_args args_of(const Bench *b, const Rig *r, int64_t first, int64_t piece, int turn) {
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    const size_t row = (size_t)(b->d.batch) * element(b);
    const int64_t left = b->d.max_steps - first;
    a.weights = b->weights;
    a.x = b->at_x + (uint64_t)first * row * (size_t)b->d.input;
    a.y = r->y + (uint64_t)first * row * (size_t)(b->directions * b->state);
    a.h_in = first == 0 ? b->at_h : r->h[1 - turn];
    a.h_out = r->h[turn];
    if (b->gates == 4) {
        a.c_in = first == 0 ? b->at_c : r->c[1 - turn];
        a.c_out = r->c[turn];
    }
    a.lens = b->d.device_lengths ? b->at_lens : 0;
    a.cu_seqlens = b->d.packed ? b->at_cu : 0;
    a.steps = left < piece ? left : piece;
    return a;
}

Result fetch(const Bench *b, const Rig *rig, int turn) {
    Result r = sizes_of(b);
    r.y = make(r.y_bytes + GUARD);
    r.h = make(r.h_bytes + GUARD);
    r.c = make(r.c_bytes + GUARD);
    CHECK(seqtune_device_download(ctx, r.y, rig->y, r.y_bytes + GUARD));
    CHECK(seqtune_device_download(ctx, r.h, rig->h[turn], r.h_bytes + GUARD));
    CHECK(seqtune_device_download(ctx, r.c, rig->c[turn], r.c_bytes + GUARD));
    assert_guard(r.y, r.y_bytes);
    assert_guard(r.h, r.h_bytes);
    assert_guard(r.c, r.c_bytes);
    return r;
}

Result run_pieces(const Bench *b, const seqtune_rnn_desc *d, int64_t piece) {
    Rig rig = rig_of(b, d);
    int turn = 0;
    for (int64_t first = 0; first < b->d.max_steps; first += piece, turn = 1 - turn) {
        const seqtune_rnn_args a = args_of(b, &rig, first, piece, turn);
        CHECK(seqtune_run_rnn(rig.plan, &a, rig.workspace, NULL));
    }
    const Result r = fetch(b, &rig, 1 - turn);
    rig_end(&rig);
    return r;
}

Result run_whole(const Bench *b) {
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

void check_reference(const Bench *b, const Result *r) {
    RefRnnWeights w[MAX_BLOCKS];
    Error err = {0};
    const int64_t states = b->blocks * b->d.batch;
    double *y = make((size_t)(b->d.batch * b->d.max_steps * b->directions * b->state) * sizeof *y);
    double *h = make((size_t)(states * b->state) * sizeof *h);
    double *c = make((size_t)(states * b->d.hidden) * sizeof *c);
    for (int64_t k = 0; k < b->blocks; k++)
        w[k] = (RefRnnWeights){.w = b->exact[k][W],
                               .r = b->exact[k][R],
                               .bias = b->exact[k][BIAS_W],
                               .hidden_bias = b->exact[k][BIAS_R],
                               .peephole = b->exact[k][PEEPHOLE],
                               .projection = b->exact[k][PROJECTION],
                               .norm_gain = b->exact[k][GAINS],
                               .norm_shift = b->d.layer_norm ? b->zeros : NULL,
                               .cell_gain = b->exact[k][GAIN_C],
                               .cell_shift = b->exact[k][SHIFT_C]};
    const RefRnnStack stack = {.first = {.gru = b->gates == 3,
                                         .batch = b->d.batch,
                                         .steps = b->d.max_steps,
                                         .input = b->d.input,
                                         .hidden = b->d.hidden,
                                         .projection = b->d.projection,
                                         .reset_before = b->d.reset_before,
                                         .cell_clip = b->d.cell_clip,
                                         .norm_eps = 1e-5,
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

/* ---- the context ---- */

int rnn_setup(void **state) {
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

int rnn_teardown(void **state) {
    (void)state;
    seqtune_close(ctx);
    scratch_remove(cache);
    return 0;
}
