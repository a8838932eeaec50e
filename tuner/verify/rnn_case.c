/* Cases of the recurrent families; see the header. */
#include "tuner/verify/rnn_case.h"

#include <math.h>
#include <string.h>

#include "base/round.h"
#include "tuner/verify/random.h"

/* ---- the shape ---- */

static int64_t dim_or(const Check *check, const char *name, int64_t other) {
    int64_t value;
    return gen_problem_get(check->problem, name, &value) ? value : other;
}

static bool word_is(const Check *check, const char *name, const char *word) {
    const char *is = gen_problem_word(check->problem, name);
    return is && strcmp(is, word) == 0;
}

/* A static dimension is the problem's, any other the case's (0: the problem's too). */
static int64_t dim_of(const Check *check, const char *name, int64_t of_case) {
    size_t count;
    const GenDim *dims = gen_dims(check->problem->spec, &count);
    const int64_t value = dim_or(check, name, 0);
    for (size_t i = 0; i < count; i++)
        if (strcmp(dims[i].name, name) == 0 && dims[i].is_static) return value;
    return of_case ? of_case : value;
}

static Status read_dims(RnnRun *r, Error *err) {
    const Check *check = r->check;
    static const char *const ops[RNN_OPS] = {"rnn_input", "rnn_seq", "rnn_cell"};
    const char *reference = gen_spec_reference(check->problem->spec);
    int op = 0;
    while (op < RNN_OPS && strcmp(ops[op], reference) != 0) op++;
    if (op == RNN_OPS)
        return err_set(err, ST_INVALID, "verify: the reference '%s' of %s is none of cells",
                       reference, check->spec_name);
    r->op = (RnnOp)op;
    r->gru = word_is(check, "cell", "gru");
    r->lengths = word_is(check, "lengths", "packed")   ? RNN_PACKED
                 : word_is(check, "lengths", "padded") ? RNN_PADDED
                                                       : RNN_UNIFORM;
    r->peephole = dim_or(check, "peephole", 0) != 0;
    r->layer_norm = dim_or(check, "layer_norm", 0) != 0;
    r->reset_before = word_is(check, "reset", "before");
    r->store_gates = dim_or(check, "store_gates", 0) != 0;
    r->clip = dim_or(check, "clip", 0) != 0;
    r->projection = dim_or(check, "projection", 0);
    r->hidden = dim_of(check, "hidden", r->c->hidden);
    r->has_x = r->op == RNN_INPUT || (r->op == RNN_CELL && dim_or(check, "fused", 1) != 0);
    r->input = r->has_x ? dim_of(check, "input", r->c->input) : 0;
    r->parts = r->has_x ? dim_or(check, "parts", 1) : 1;
    return check_dtype(check, &r->type, &r->api_type, err);
}

/* The least stride from n on whose greatest divisor among 8, 4, 2, 1 is `align`. */
static int64_t stride_of(int64_t n, int64_t align) {
    const int64_t stride = round_up(n, align);
    return align < 8 && stride % (2 * align) == 0 ? stride + align : stride;
}

static void lay_out(RnnRun *r) {
    const RnnCase *c = r->c;
    const int64_t align = dim_or(r->check, "align", 8), capacity = c->steps + c->spare;
    const int64_t gap = c->layout == RNN_STEP_OUTER ? 0 : 1;
    r->input = round_up(r->input, r->parts);
    r->part = r->input / r->parts;
    r->part_pitch = round_up(r->part, 32);
    r->x_row = r->input ? (r->parts - 1) * r->part_pitch + r->part : 0;
    r->y_row = c->directions * r->state;
    const int64_t x = stride_of(r->x_row + gap * 2 * align, align), y = r->y_row + 3 * gap;
    if (c->layout == RNN_BATCH_OUTER_GAPS || r->lengths == RNN_PACKED) {
        r->x_step = x;
        r->y_step = y;
        r->x_batch = capacity * x + gap * 3 * align;
        r->y_batch = capacity * y + 5 * gap;
    } else {
        r->x_batch = x;
        r->y_batch = y;
        r->x_step = c->batch * x + gap * 3 * align;
        r->y_step = c->batch * y + 5 * gap;
    }
}

/* All steps, none, one, all but one, half, and the like, by turns. Where there are enough sequences
 * the longest is not among the first, so that no block can take the first for it. */
static int64_t length_of(const RnnRun *r, int64_t b) {
    const int64_t all = r->c->steps;
    const int64_t few[] = {all, 0, 1, all - 1, all / 2};
    const int64_t many[] = {1, all - 1, 0, all / 2, (all + 2) / 3, all, all - 1};
    if (r->lengths == RNN_UNIFORM) return all;
    if (r->c->batch == 1) return all - all / 3;
    const int64_t n = r->c->batch <= 5 ? few[b] : many[b % 7];
    return n < 0 ? 0 : n > all ? all : n;
}

Status rnn_case_shape(RnnRun *r, Error *err) {
    const RnnCase *c = r->c;
    const Status status = read_dims(r, err);
    if (status != ST_OK) return status;
    r->state = r->projection ? r->projection : r->hidden;
    r->state_pitch = round_up(r->state, 32);
    r->pack = rnn_packing(r->type, r->gru ? 3 : 4, r->hidden);
    lay_out(r);
    r->len = ARENA_ARRAY(r->check->arena, int64_t, (size_t)c->batch);
    r->first_row = ARENA_ARRAY(r->check->arena, int64_t, (size_t)c->batch + 1);
    if (!r->len || !r->first_row) return err_no_memory(err, (size_t)c->batch * sizeof *r->len);
    for (int64_t b = 0; b < c->batch; b++) {
        r->len[b] = length_of(r, b);
        r->first_row[b + 1] = r->first_row[b] + r->len[b];
    }
    return ST_OK;
}

void rnn_case_describe(const RnnRun *r, PlanDesc *out) {
    const RnnCase *c = r->c;
    *out = (PlanDesc){.kind = PLAN_RNN_KERNEL};
    out->u.rnn_kernel = (RnnKernelDesc){.size = sizeof(RnnKernelDesc),
                                        .op = r->op,
                                        .gru = r->gru,
                                        .dtype = r->api_type,
                                        .batch = c->batch,
                                        .input = r->input,
                                        .hidden = r->hidden,
                                        .projection = r->projection,
                                        .steps = c->steps + c->spare,
                                        .directions = c->directions,
                                        .parts = r->parts,
                                        .packed = r->lengths == RNN_PACKED,
                                        .lengths = r->lengths == RNN_PADDED,
                                        .peephole = r->peephole,
                                        .layer_norm = r->layer_norm,
                                        .reset_before = r->reset_before,
                                        .store_gates = r->store_gates,
                                        .clip = r->clip,
                                        .x_stride_step = r->has_x ? r->x_step : 0,
                                        .x_stride_batch = r->has_x ? r->x_batch : 0,
                                        .y_stride_step = r->y_step,
                                        .y_stride_batch = r->y_batch};
}

/* ---- places ---- */

int64_t rnn_case_token(const RnnRun *r, int64_t direction, int64_t b, int64_t step) {
    const bool turned = (r->c->reverse >> direction & 1) && step < r->len[b];
    return turned ? r->len[b] - 1 - step : step;
}

int64_t rnn_case_x_row(const RnnRun *r, int64_t b, int64_t token) {
    return r->lengths == RNN_PACKED ? (r->first_row[b] + token) * r->x_step
                                    : token * r->x_step + b * r->x_batch;
}

int64_t rnn_case_y_row(const RnnRun *r, int64_t direction, int64_t b, int64_t token) {
    const int64_t row = r->lengths == RNN_PACKED ? (r->first_row[b] + token) * r->y_step
                                                 : token * r->y_step + b * r->y_batch;
    return row + direction * r->state;
}

/* Elements up to the end of the last row. */
static int64_t extent(const RnnRun *r, int64_t step, int64_t batch, int64_t row) {
    const RnnCase *c = r->c;
    const int64_t packed = r->first_row[c->batch];
    if (row == 0 || c->steps == 0) return 0;
    if (r->lengths == RNN_PACKED) return packed ? (packed - 1) * step + row : 0;
    return (c->steps - 1) * step + (c->batch - 1) * batch + row;
}

/* ---- numbers ---- */

/* Of the dtype, or (f32) of fp32. */
static void normals(double *to, size_t n, Dtype type, double mean, double spread, Random *rng) {
    for (size_t i = 0; i < n; i++) to[i] = dtype_round(type, mean + spread * random_normal(rng));
}

static bool divides(int64_t a, int64_t n) {
    return n % a == 0;
}

/* One number per row, in columns that run through all of them; wider matrices have several. */
static void sparse(double *to, int64_t rows, int64_t columns, Random *rng) {
    static const int64_t primes[] = {7, 11, 13, 17, 19, 23, 29, 31};
    int64_t stride = 1;
    for (size_t i = 0; i < sizeof primes / sizeof *primes && stride == 1; i++)
        if (!divides(primes[i], columns)) stride = primes[i];
    double several = 1; /* a power of two from the numbers of a row on: sums stay small */
    while (several * (double)rows < (double)columns) several *= 2;
    memset(to, 0, (size_t)(rows * columns) * sizeof *to);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t turn = row; turn < columns || turn == row; turn += rows) {
            const int64_t eighths = 8 + random_below(rng, 8);
            const double sign = random_below(rng, 2) ? 1 : -1;
            to[row * columns + (turn * stride + row / columns) % columns] =
                sign * (double)eighths / 8 / several;
        }
}

static double *matrix(RnnRun *r, int64_t rows, int64_t columns, double spread, Random *rng) {
    double *to = ARENA_ARRAY(r->check->arena, double, (size_t)(rows * columns));
    if (to && r->c->numbers == RNN_SPARSE) sparse(to, rows, columns, rng);
    if (to && r->c->numbers != RNN_SPARSE)
        normals(to, (size_t)(rows * columns), r->type, 0, spread / sqrt((double)columns), rng);
    return to;
}

/* Spread of what the gates see: e^-x of 40 times 3.5 is beyond fp32. */
static double wide(const RnnRun *r) {
    return r->c->numbers == RNN_WIDE ? 40 : 1;
}

static double *vector(RnnRun *r, int64_t n, Dtype type, double mean, double spread, Random *rng) {
    double *to = ARENA_ARRAY(r->check->arena, double, (size_t)n);
    if (to) normals(to, (size_t)n, type, mean, spread, rng);
    return to;
}

/* ---- filling ---- */

/* Direction d's part of a buffer's image. */
static void *image(const RnnRun *r, int at, int64_t direction) {
    return (unsigned char *)guarded_image(&r->b[at]) + (size_t)direction * r->each[at];
}

static void zero(const RnnRun *r, int at) {
    memset(guarded_image(&r->b[at]), 0, r->b[at].bytes);
}

static bool has(const RnnRun *r, int at) {
    return r->b[at].bytes > 0;
}

static Status fill_matrices(RnnRun *r, int64_t d, Random *rng) {
    RefRnnWeights *k = &r->ref[d].weights;
    const int64_t rows = r->pack.gates * r->hidden;
    if (has(r, RNN_AT_W)) {
        k->w = matrix(r, rows, r->input, 1, rng);
        if (!k->w) return ST_NO_MEMORY;
        rnn_pack_matrix(&r->pack, k->w, r->parts, r->part, r->part_pitch, image(r, RNN_AT_W, d));
    }
    if (has(r, RNN_AT_R)) {
        k->r = matrix(r, rows, r->state, 1.2, rng);
        if (!k->r) return ST_NO_MEMORY;
        rnn_pack_matrix(&r->pack, k->r, 1, r->state, r->state_pitch, image(r, RNN_AT_R, d));
    }
    if (has(r, RNN_AT_PROJECTION)) {
        k->projection = matrix(r, r->state, r->hidden, 1.5, rng);
        if (!k->projection) return ST_NO_MEMORY;
        rnn_pack_projection(&r->pack, k->projection, r->state, image(r, RNN_AT_PROJECTION, d));
    }
    return ST_OK;
}

/* Gains of W x and R h, gain and shift of c. */
static Status fill_norm(RnnRun *r, int64_t d, Random *rng) {
    RefRnnWeights *k = &r->ref[d].weights;
    const int64_t rows = r->pack.gates * r->hidden;
    float *to = image(r, RNN_AT_NORM, d);
    double *gain = vector(r, 2 * rows, DTYPE_F32, 1, 0.3, rng);
    k->norm_gain = gain;
    k->norm_shift = ARENA_ARRAY(r->check->arena, double, (size_t)(2 * rows));
    if (!gain || !k->norm_shift) return ST_NO_MEMORY;
    /* R h of any size becomes one of size 1, errors with it: with gains of 1 the layer would be
     * chaotic, and no rule could tell right from wrong after some steps. */
    normals(gain + rows, (size_t)rows, DTYPE_F32, 0.3, 0.1, rng);
    rnn_pack_rows(&r->pack, k->norm_gain, to);
    rnn_pack_rows(&r->pack, k->norm_gain + rows, to + r->pack.rows);
    if (r->gru) return ST_OK;
    k->cell_gain = vector(r, r->hidden, DTYPE_F32, 1, 0.3, rng);
    k->cell_shift = vector(r, r->hidden, DTYPE_F32, 0, 0.3, rng);
    if (!k->cell_gain || !k->cell_shift) return ST_NO_MEMORY;
    rnn_pack_units(&r->pack, k->cell_gain, 1, to + 2 * r->pack.rows);
    rnn_pack_units(&r->pack, k->cell_shift, 1, to + 2 * r->pack.rows + r->pack.units_pad);
    return ST_OK;
}

static Status fill_vectors(RnnRun *r, int64_t d, Random *rng) {
    RefRnnWeights *k = &r->ref[d].weights;
    const int64_t rows = r->pack.gates * r->hidden, at_n = 2 * r->hidden;
    if (has(r, RNN_AT_BIAS)) {
        k->bias = vector(r, rows, DTYPE_F32, 0, 0.5, rng);
        if (!k->bias) return ST_NO_MEMORY;
        rnn_pack_rows(&r->pack, k->bias, image(r, RNN_AT_BIAS, d));
    }
    if (has(r, RNN_AT_HIDDEN_BIAS)) {
        double *bias = ARENA_ARRAY(r->check->arena, double, (size_t)rows);
        if (!bias) return ST_NO_MEMORY;
        normals(bias + at_n, (size_t)r->hidden, DTYPE_F32, 0, 0.5, rng);
        rnn_pack_units(&r->pack, bias + at_n, 1, image(r, RNN_AT_HIDDEN_BIAS, d));
        k->hidden_bias = bias;
    }
    if (has(r, RNN_AT_PEEPHOLE)) {
        k->peephole = vector(r, 3 * r->hidden, DTYPE_F32, 0, 0.7, rng);
        if (!k->peephole) return ST_NO_MEMORY;
        rnn_pack_units(&r->pack, k->peephole, 3, image(r, RNN_AT_PEEPHOLE, d));
    }
    return has(r, RNN_AT_NORM) ? fill_norm(r, d, rng) : ST_OK;
}

static Status fill_state(RnnRun *r, int64_t d, Random *rng) {
    const int64_t h = r->c->batch * r->state, c = r->c->batch * r->hidden;
    if (has(r, RNN_AT_H_IN)) {
        double *to = r->ref[d].h_in = vector(r, h, r->type, 0, 0.5, rng);
        if (!to) return ST_NO_MEMORY;
        for (int64_t i = 0; i < h; i++) dtype_store(r->type, image(r, RNN_AT_H_IN, d), i, to[i]);
    }
    if (has(r, RNN_AT_C_IN)) {
        double *to = r->ref[d].c_in = vector(r, c, DTYPE_F32, 0, 0.7, rng);
        if (!to) return ST_NO_MEMORY;
        for (int64_t i = 0; i < c; i++) ((float *)image(r, RNN_AT_C_IN, d))[i] = (float)to[i];
    }
    return ST_OK;
}

/* Rows of x by token. */
static Status fill_x(RnnRun *r, Random *rng) {
    const RnnCase *c = r->c;
    r->x = vector(r, c->batch * c->steps * r->input, r->type, 0, wide(r), rng);
    if (!r->x) return ST_NO_MEMORY;
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t t = 0; t < r->len[b]; t++)
            for (int64_t i = 0; i < r->input; i++) {
                const int64_t at = i / r->part * r->part_pitch + i % r->part;
                dtype_store(r->type, guarded_image(&r->b[RNN_AT_X]), rnn_case_x_row(r, b, t) + at,
                            r->x[(b * c->steps + t) * r->input + i]);
            }
    return ST_OK;
}

void rnn_case_pre(RnnRun *r, int64_t first, int64_t steps) {
    const RnnCase *c = r->c;
    const int64_t plain = r->pack.gates * r->hidden;
    float *to = guarded_image(&r->b[RNN_AT_PRE]);
    memset(to, 0xff, r->b[RNN_AT_PRE].bytes);
    for (int64_t d = 0; d < c->directions; d++)
        for (int64_t s = first; s < first + steps; s++)
            for (int64_t b = 0; b < c->batch; b++, to += r->pack.rows) {
                if (s >= r->len[b]) continue; /* inactive: stays NaN */
                memset(to, 0, (size_t)r->pack.rows * sizeof *to);
                rnn_pack_rows(&r->pack, r->ref[d].pre + (s * c->batch + b) * plain, to);
            }
}

static void fill_lengths(RnnRun *r) {
    for (int64_t b = 0; b < r->c->batch && has(r, RNN_AT_LENS); b++)
        ((int *)guarded_image(&r->b[RNN_AT_LENS]))[b] = (int)r->len[b];
    for (int64_t b = 0; b <= r->c->batch && has(r, RNN_AT_CU); b++)
        ((int *)guarded_image(&r->b[RNN_AT_CU]))[b] = (int)r->first_row[b];
}

static Status allocate(RnnRun *r, Error *err) {
    const RnnCase *c = r->c;
    const size_t element = dtype_bytes(r->type), batch = (size_t)c->batch;
    const size_t rows = (size_t)r->pack.rows, units = (size_t)r->pack.units_pad;
    const size_t h = batch * (size_t)r->state * element, steps = (size_t)c->steps;
    const bool cell = r->op != RNN_INPUT, lstm = cell && !r->gru;
    const bool in = cell && c->states >= RNN_STATE_BOTH;
    const bool out = cell && (c->states == RNN_STATE_OUT || c->states == RNN_STATE_BOTH);
    const size_t c_bytes = batch * (size_t)r->hidden * 4,
                 input = (size_t)(r->parts * r->part_pitch);
    /* Packed and padded batches of which every sequence is empty still need an address. */
    const size_t y = (size_t)extent(r, r->y_step, r->y_batch, r->y_row) * element;
    const size_t x = (size_t)extent(r, r->x_step, r->x_batch, r->x_row) * element;
    /* The projection of a layer with layer norm has none: cases without state stand for it. */
    const bool bias = r->op == RNN_INPUT ? c->states != RNN_NO_STATE : r->has_x || r->layer_norm;
    const bool hidden_bias = cell && r->gru && !r->reset_before;
    const size_t projected =
        (size_t)(round_up(r->state, 16)) * (size_t)round_up(r->pack.units_pad, 32) * element;
    const struct {
        const char *name;
        size_t each; /* bytes per direction */
        bool shared; /* by the directions */
    } parts[RNN_BUFFERS] = {
        [RNN_AT_X] = {"x", x, true},
        [RNN_AT_W] = {"w", r->has_x ? rows * input * element : 0, false},
        [RNN_AT_R] = {"r", cell ? rows * (size_t)r->state_pitch * element : 0, false},
        [RNN_AT_BIAS] = {"bias", bias ? rows * 4 : 0, false},
        [RNN_AT_HIDDEN_BIAS] = {"hidden_bias", hidden_bias ? units * 4 : 0, false},
        [RNN_AT_PEEPHOLE] = {"peephole", lstm && r->peephole ? 3 * units * 4 : 0, false},
        [RNN_AT_PROJECTION] = {"projection", lstm && r->projection ? projected : 0, false},
        [RNN_AT_NORM] = {"norm", cell && r->layer_norm ? (rows + units) * 8 : 0, false},
        [RNN_AT_LENS] = {"lens", r->lengths == RNN_PADDED ? batch * 4 : 0, true},
        [RNN_AT_CU] = {"cu_seqlens", r->lengths == RNN_PACKED ? (batch + 1) * 4 : 0, true},
        [RNN_AT_H_IN] = {"h_in", in ? h : 0, false},
        [RNN_AT_C_IN] = {"c_in", in && lstm ? c_bytes : 0, false},
        [RNN_AT_H_OUT] = {"h_out", out ? h : 0, false},
        [RNN_AT_C_OUT] = {"c_out", out && lstm ? c_bytes : 0, false},
        [RNN_AT_Y] = {"y", cell && !c->no_y ? y : 0, true},
        [RNN_AT_GATES] = {"gates", r->store_gates ? steps * batch * rows * element : 0, false},
        [RNN_AT_PRE] = {"pre", r->op != RNN_CELL || !r->has_x ? steps * batch * rows * 4 : 0,
                        false},
        [RNN_AT_ERROR] = {"error", cell ? 4 : 0, true},
        [RNN_AT_WORKSPACE] = {"workspace", seqtune_plan_workspace(r->plan), true},
    };
    Status status = ST_OK;
    for (int i = 0; i < RNN_BUFFERS && status == ST_OK; i++) {
        r->each[i] = parts[i].each;
        const size_t bytes = parts[i].each * (parts[i].shared ? 1 : (size_t)c->directions);
        status = guarded_init(r->check->ctx, parts[i].name, bytes, &r->b[i], err);
    }
    return status;
}

/* Copies of what kernels write, as it is before a run. */
static Status keep_start(RnnRun *r, Error *err) {
    for (int i = RNN_AT_H_IN; i < RNN_BUFFERS; i++) {
        const size_t bytes = r->b[i].bytes;
        r->start[i] = ARENA_ARRAY(r->check->arena, unsigned char, bytes + 1);
        r->want[i] = ARENA_ARRAY(r->check->arena, unsigned char, bytes + 1);
        if (!r->start[i] || !r->want[i]) return err_no_memory(err, bytes);
        memcpy(r->start[i], guarded_image(&r->b[i]), bytes);
        memcpy(r->want[i], guarded_image(&r->b[i]), bytes);
    }
    return ST_OK;
}

static Status fill_numbers(RnnRun *r, Random *rng) {
    const RnnCase *c = r->c;
    const int64_t rows = r->pack.gates * r->hidden;
    Status status = r->has_x ? fill_x(r, rng) : ST_OK;
    for (int64_t d = 0; d < c->directions && status == ST_OK; d++) {
        status = fill_matrices(r, d, rng);
        if (status == ST_OK) status = fill_vectors(r, d, rng);
        if (status == ST_OK) status = fill_state(r, d, rng);
        if (r->has_x || status != ST_OK) continue;
        r->ref[d].pre = vector(r, c->steps * c->batch * rows, DTYPE_F32, 0, wide(r), rng);
        if (!r->ref[d].pre) status = ST_NO_MEMORY;
    }
    return status;
}

Status rnn_case_fill(RnnRun *r, Error *err) {
    Random rng = {(uint64_t)(r->hidden * 1000003 + r->c->batch * 1009 + r->c->steps)};
    Status status = allocate(r, err);
    if (status != ST_OK) return status;
    for (int at = RNN_AT_W; at <= RNN_AT_NORM; at++) zero(r, at);
    zero(r, RNN_AT_ERROR);
    fill_lengths(r);
    status = fill_numbers(r, &rng);
    if (status != ST_OK) return err_no_memory(err, (size_t)(r->pack.rows * r->state_pitch) * 8);
    if (r->op != RNN_INPUT && has(r, RNN_AT_PRE)) rnn_case_pre(r, 0, r->c->steps);
    return keep_start(r, err);
}

void rnn_case_free(RnnRun *r) {
    for (int i = 0; i < RNN_BUFFERS; i++) guarded_free(&r->b[i]);
    seqtune_plan_destroy(r->plan);
}

RefRnn rnn_case_reference(const RnnRun *r, int64_t direction) {
    const RnnTruth *truth = &r->ref[direction];
    return (RefRnn){.gru = r->gru,
                    .batch = r->c->batch,
                    .steps = r->c->steps,
                    .input = r->input,
                    .hidden = r->hidden,
                    .projection = r->projection,
                    .reset_before = r->reset_before,
                    .reverse = r->c->reverse >> direction & 1,
                    .cell_clip = r->clip ? RNN_CASE_CLIP : 0,
                    .norm_eps = RNN_CASE_EPS,
                    .lens = r->len,
                    .weights = &truth->weights,
                    .x = r->x,
                    .pre = truth->pre,
                    .h_in = truth->h_in,
                    .c_in = truth->c_in};
}
