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

static uint64_t seed = 1;

void seed_numbers(uint64_t from) {
    seed = from;
}

static double uniform(void) {
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
        w[k].update_new = b->update_new;
        w[k].forget_bias = b->forget_bias;
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

/* Strides of x or y with `features`, as given or packed. */
static int64_t step_of(const Bench *b, int64_t given, int64_t features) {
    return given != 0 ? given : b->d.packed ? features : b->d.batch * features;
}

static int64_t x_step(const Bench *b) {
    return step_of(b, b->d.x_stride_step, b->d.input);
}

static int64_t y_step(const Bench *b) {
    return step_of(b, b->d.y_stride_step, b->directions * b->state);
}

/* Where a token's elements begin; -1: packed sequences lack it. */
static int64_t place(const Bench *b, int64_t step, int64_t batch, int64_t features,
                     int64_t sequence, int64_t token) {
    if (b->d.packed) return row_of(b, sequence, token) * step;
    return token * step + sequence * (batch != 0 ? batch : features);
}

static int64_t x_place(const Bench *b, int64_t sequence, int64_t token) {
    return place(b, x_step(b), b->d.x_stride_batch, b->d.input, sequence, token);
}

static int64_t y_place(const Bench *b, int64_t sequence, int64_t token) {
    return place(b, y_step(b), b->d.y_stride_batch, b->directions * b->state, sequence, token);
}

static int64_t extent(const Bench *b, int64_t (*at)(const Bench *, int64_t, int64_t),
                      int64_t features) {
    int64_t end = 0;
    for (int64_t s = 0; s < b->d.batch; s++)
        for (int64_t t = 0; t < b->d.max_steps; t++)
            if (row_of(b, s, t) >= 0 && at(b, s, t) + features > end) end = at(b, s, t) + features;
    return end;
}

static void make_inputs(Bench *b) {
    const int64_t n = b->d.batch * b->d.max_steps, end = extent(b, x_place, b->d.input);
    b->x = numbers(b->type, n * b->d.input, 1);
    b->h_in = numbers(b->type, b->blocks * b->d.batch * b->state, 0.5);
    b->c_in = numbers(DTYPE_F32, b->blocks * b->d.batch * b->d.hidden, 0.5);
    double *rows = make((size_t)end * sizeof *rows);
    int32_t lens[64] = {0}, cu[65] = {0};
    b->tokens = b->d.packed ? 0 : n;
    for (int64_t s = 0; s < b->d.batch; s++) {
        lens[s] = (int32_t)length(b, s);
        cu[s + 1] = cu[s] + lens[s];
        if (b->d.packed) b->tokens += lens[s];
        for (int64_t t = 0; t < b->d.max_steps; t++) {
            const double *from = &b->x[(s * b->d.max_steps + t) * b->d.input];
            if (row_of(b, s, t) >= 0)
                memcpy(&rows[x_place(b, s, t)], from, (size_t)b->d.input * sizeof *from);
        }
    }
    b->at_x = upload(b->type, rows, end);
    b->at_h = upload(b->type, b->h_in, b->blocks * b->d.batch * b->state);
    b->at_c = upload(DTYPE_F32, b->c_in, b->blocks * b->d.batch * b->d.hidden);
    b->at_lens = to_device(lens, sizeof lens);
    b->at_cu = to_device(cu, sizeof cu);
    free(rows);
}

Bench bench_of(const seqtune_rnn_desc *d, const int64_t *lens) {
    return bench_with(d, lens, false, 0);
}

Bench bench_with(const seqtune_rnn_desc *d, const int64_t *lens, bool update_new,
                 float forget_bias) {
    Bench b = {.d = *d, .lens = lens, .update_new = update_new, .forget_bias = forget_bias};
    b.type = d->dtype == SEQTUNE_F32    ? DTYPE_F32
             : d->dtype == SEQTUNE_BF16 ? DTYPE_BF16
                                        : DTYPE_F16;
    b.gates = d->cell == SEQTUNE_GRU ? 3 : 4;
    b.state = d->projection > 0 ? d->projection : d->hidden;
    b.directions = d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2 : 1;
    b.blocks = d->layers * b.directions;
    b.rows = b.gates * ((d->hidden + 15) / 16 * 16);
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
    const int64_t features = b->directions * b->state, states = b->blocks * b->d.batch;
    const int64_t rows = b->d.store_gates ? states * b->d.max_steps * b->rows : 0;
    return (Result){.y_bytes = (size_t)extent(b, y_place, features) * element(b),
                    .h_bytes = (size_t)(states * b->state) * element(b),
                    .c_bytes = (size_t)(states * b->d.hidden) * 4,
                    .gates_bytes = (size_t)rows * element(b)};
}

void result_end(Result *r) {
    free(r->y);
    free(r->h);
    free(r->c);
    free(r->gates);
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
    Rig r = {.y = dirty(sizes.y_bytes), .gates = dirty(sizes.gates_bytes)};
    for (int i = 0; i < 2; i++) {
        r.h[i] = dirty(sizes.h_bytes);
        r.c[i] = dirty(sizes.c_bytes);
    }
    CHECK(seqtune_plan_rnn(ctx, d, &r.plan));
    CHECK(seqtune_device_alloc(ctx, seqtune_plan_workspace(r.plan), &r.workspace));
    return r;
}

void rig_end(Rig *r) {
    const seqtune_device_ptr all[] = {r->workspace, r->y,    r->h[0], r->h[1],
                                      r->c[0],      r->c[1], r->gates};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) CHECK(seqtune_device_free(ctx, all[i]));
    seqtune_plan_destroy(r->plan);
}

seqtune_rnn_args args_of(const Bench *b, const Rig *r, int64_t first, int64_t piece, int turn) {
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    const int64_t left = b->d.max_steps - first;
    a.weights = b->weights;
    a.x = b->at_x + (uint64_t)(first * x_step(b)) * element(b);
    a.y = r->y + (uint64_t)(first * y_step(b)) * element(b);
    a.h_in = first == 0 ? b->at_h : r->h[1 - turn];
    a.h_out = r->h[turn];
    if (b->gates == 4) {
        a.c_in = first == 0 ? b->at_c : r->c[1 - turn];
        a.c_out = r->c[turn];
    }
    a.lens = b->d.device_lengths ? b->at_lens : 0;
    a.cu_seqlens = b->d.packed ? b->at_cu : 0;
    a.gates = b->d.store_gates ? r->gates : 0;
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
    r.gates = make(r.gates_bytes + GUARD);
    CHECK(seqtune_device_download(ctx, r.c, rig->c[turn], r.c_bytes + GUARD));
    CHECK(seqtune_device_download(ctx, r.gates, rig->gates, r.gates_bytes + GUARD));
    assert_guard(r.y, r.y_bytes);
    assert_guard(r.h, r.h_bytes);
    assert_guard(r.c, r.c_bytes);
    assert_guard(r.gates, r.gates_bytes);
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

static void near(const Bench *b, const char *what, int64_t i, double got, double want,
                 double slack) {
    /* f32: the contract of recurrent kernels. 16 bit: a few roundings of h, |h| <= 1, per layer
     * (the strict rule is the verifier's). */
    const double limit = b->type == DTYPE_F32 ? 5e-5 : b->type == DTYPE_F16 ? 4e-3 : 3e-2;
    if (!(fabs(got - want) <= fmax(limit, slack)))
        fail_msg("%s[%lld] is %.9g, the reference %.9g", what, (long long)i, got, want);
}

/* What the reference computes for all layers and directions. */
typedef struct Truth {
    double *y;             /* of the last layer: [batch, steps, directions * state] */
    double *h, *c, *gates; /* [blocks, batch, ..]; gates [blocks, steps, batch, gates, hidden] */
    double slack;          /* twice what the textbook's roundings cost at most */
} Truth;

static void truth_end(Truth *t) {
    free(t->y);
    free(t->h);
    free(t->c);
    free(t->gates);
}

/* One layer and direction: y [batch, steps, state] and the block's part of *t. */
static void compute_block(const Bench *b, int64_t block, const double *x, int64_t input, double *y,
                          bool naive, Truth *t) {
    double *const *const from = (double *const *)b->exact[block];
    const int64_t h = block * b->d.batch * b->state, c = block * b->d.batch * b->d.hidden;
    const RefRnnWeights w = {.w = from[W],
                             .r = from[R],
                             .bias = from[BIAS_W],
                             .hidden_bias = from[BIAS_R],
                             .peephole = from[PEEPHOLE],
                             .projection = from[PROJECTION],
                             .norm_gain = from[GAINS],
                             .norm_shift = b->d.layer_norm ? b->zeros : NULL,
                             .cell_gain = from[GAIN_C],
                             .cell_shift = from[SHIFT_C]};
    const bool second = block % b->directions == 1;
    const RefRnn a = {.gru = b->gates == 3,
                      .batch = b->d.batch,
                      .steps = b->d.max_steps,
                      .input = input,
                      .hidden = b->d.hidden,
                      .projection = b->d.projection,
                      .reset_before = b->d.reset_before,
                      .z_takes_new = b->update_new,
                      .forget_bias = (double)b->forget_bias,
                      .reverse = second || b->d.direction == SEQTUNE_RNN_REVERSE,
                      .cell_clip = (double)b->d.cell_clip,
                      .norm_eps = 1e-5,
                      .lens = b->lens,
                      .weights = &w,
                      .x = x,
                      .h_in = b->h_in + h,
                      .c_in = b->gates == 4 ? b->c_in + c : NULL};
    const RefRnnOut out = {.y = y,
                           .h = t->h + h,
                           .c = b->gates == 4 ? t->c + c : NULL,
                           .gates = t->gates +
                                    block * b->d.max_steps * b->gates * b->d.batch * b->d.hidden};
    Error err = {0};
    assert_ok(naive ? ref_rnn_naive(&a, b->type, &out, &err) : ref_rnn(&a, &out, &err), err);
}

static Truth compute(const Bench *b, bool naive) {
    const int64_t tokens = b->d.batch * b->d.max_steps, features = b->directions * b->state;
    const int64_t states = b->blocks * b->d.batch;
    Truth t = {
        .h = make((size_t)(states * b->state) * sizeof(double)),
        .c = make((size_t)(states * b->d.hidden) * sizeof(double)),
        .gates = make((size_t)(states * b->d.max_steps * b->gates * b->d.hidden) * sizeof(double))};
    double *part = make((size_t)(tokens * b->state) * sizeof *part);
    for (int64_t layer = 0; layer < b->d.layers; layer++) {
        double *y = make((size_t)(tokens * features) * sizeof *y);
        for (int64_t k = 0; k < b->directions; k++) {
            compute_block(b, layer * b->directions + k, layer == 0 ? b->x : t.y,
                          layer == 0 ? b->d.input : features, part, naive, &t);
            for (int64_t i = 0; i < tokens; i++)
                memcpy(&y[i * features + k * b->state], &part[i * b->state],
                       (size_t)b->state * sizeof *y);
        }
        free(t.y);
        t.y = y;
    }
    free(part);
    return t;
}

static double distance(const double *a, const double *b, int64_t n, double most) {
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

/* The largest deviation of what the textbook computes from x moved by less than a rounding of f32,
 * another way each time. */
static double textbook_error(const Bench *b, const Truth *exact, int turn) {
    const int64_t states = b->blocks * b->d.batch, tokens = b->d.batch * b->d.max_steps;
    Bench moved = *b;
    moved.x = make((size_t)(tokens * b->d.input) * sizeof *moved.x);
    for (int64_t i = 0; i < tokens * b->d.input; i++)
        moved.x[i] = b->x[i] * (1 + ldexp((double)((i * 7 + turn * 5) % 11 - 5) * (turn > 0), -27));
    Truth naive = compute(&moved, true);
    double most = distance(exact->y, naive.y, tokens * b->directions * b->state, 0);
    most = distance(exact->h, naive.h, states * b->state, most);
    most = distance(exact->c, naive.c, states * b->d.hidden, most);
    most =
        distance(exact->gates, naive.gates, states * b->d.max_steps * b->gates * b->d.hidden, most);
    truth_end(&naive);
    free(moved.x);
    return most;
}

/* Layer norm makes much of a rounding, of few units with nearly equal sums and step after step; how
 * much is chance, so that f32 with it asks the textbook four times. */
static Truth compute_with_slack(const Bench *b) {
    const int turns = b->type == DTYPE_F32 && b->d.layer_norm ? 4 : 1;
    Truth exact = compute(b, false);
    for (int turn = 0; turn < turns; turn++)
        exact.slack = fmax(exact.slack, 2 * textbook_error(b, &exact, turn));
    return exact;
}

/* What lies between rows is as dirty() left it. */
static void check_gaps(const Bench *b, const Result *r) {
    const int64_t features = b->directions * b->state;
    bool *row = make(r->y_bytes);
    for (int64_t s = 0; s < b->d.batch; s++)
        for (int64_t t = 0; t < b->d.max_steps; t++)
            if (row_of(b, s, t) >= 0)
                memset(row + (size_t)y_place(b, s, t) * element(b), 1,
                       (size_t)features * element(b));
    for (size_t i = 0; i < r->y_bytes; i++)
        if (!row[i]) assert_int_equal((unsigned char)r->y[i], 0xa5);
    free(row);
}

static void compare(const Bench *b, const Result *r, const Truth *want) {
    const int64_t features = b->directions * b->state, states = b->blocks * b->d.batch;
    for (int64_t s = 0; s < b->d.batch; s++)
        for (int64_t t = 0; t < b->d.max_steps; t++) {
            const bool there = row_of(b, s, t) >= 0;
            for (int64_t k = 0; k < features && there; k++) {
                const int64_t at = y_place(b, s, t) + k;
                const double got = dtype_load(b->type, r->y, at);
                if (t >= length(b, s))
                    assert_true(got == 0);
                else
                    near(b, "y", at, got, want->y[(s * b->d.max_steps + t) * features + k],
                         want->slack);
            }
        }
    for (int64_t i = 0; i < states * b->state; i++)
        near(b, "h", i, dtype_load(b->type, r->h, i), want->h[i], want->slack);
    for (int64_t i = 0; i < states * b->d.hidden && b->gates == 4; i++)
        near(b, "c", i, dtype_load(DTYPE_F32, r->c, i), want->c[i], want->slack);
    check_gaps(b, r);
}

/* Rows of gates as docs/recurrent.md has them. Those of inactive steps may hold anything. */
static void compare_gates(const Bench *b, const Result *r, const Truth *want) {
    const int64_t hidden = b->d.hidden, batch = b->d.batch, steps = b->d.max_steps;
    for (int64_t i = 0; i < b->blocks * steps * batch; i++) {
        if (i / batch % steps >= length(b, i % batch)) continue;
        for (int64_t k = 0; k < b->gates * hidden; k++) {
            const int64_t gate = k / hidden, unit = k % hidden;
            const int64_t row = unit / 8 * 8 * b->gates + gate * 8 + unit % 8;
            const double value = want->gates[i * b->gates * hidden + k];
            const bool turned = b->update_new && gate == 1; /* z is stored as the weight of h */
            near(b, "gates", i * b->rows + row, dtype_load(b->type, r->gates, i * b->rows + row),
                 turned ? 1 - value : value, want->slack);
        }
    }
}

void check_reference(const Bench *b, const Result *r) {
    Truth t = compute_with_slack(b);
    compare(b, r, &t);
    truth_end(&t);
}

void check_reference_and_gates(const Bench *b, const Result *r) {
    Truth t = compute_with_slack(b);
    compare(b, r, &t);
    if (b->d.store_gates) compare_gates(b, r, &t);
    truth_end(&t);
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
