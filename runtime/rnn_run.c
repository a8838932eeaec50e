/* A run of recurrent layers: which launches, in which order, with which addresses.
 *
 * A layer's work is cut into pieces of steps: the input projection of a piece into `pre`, then its
 * steps. Two layers may run as a wavefront, the upper one a piece behind the lower:
 *
 *     lower  0 1 2 3            one launch does piece k of the lower layer and k - 1 of the upper
 *     upper    0 1 2 3          one as if they were two directions of one layer
 *
 * Invariant: a run is launches and at most one memset on one stream, whatever the lengths are (of
 * no steps: copies of states); it allocates nothing and can be captured (but with SEQTUNE_CHECKED).
 * Its bits do not depend on the pieces. */
#include "runtime/plan_internal.h"
#include "runtime/rnn.h"
#include "runtime/table_check.h"

typedef seqtune_rnn_desc Desc;

/* What a piece of a wavefront costs besides its steps (three launches, R loaded again), in steps:
 * modelled on A100 and H100 at 64 to 128 units. A run of T steps takes T + T / n for two layers in
 * n pieces, and n times this: least at n = sqrt(T / PIECE_STEPS). */
enum { PIECE_STEPS = 32 };

/* One run. */
typedef struct Run {
    const seqtune_plan *plan;
    const Desc *d;
    const RnnWork *work;
    const seqtune_rnn_args *args;
    seqtune_device_ptr workspace, error;
    seqtune_stream stream;
    int64_t steps;
} Run;

/* Some steps of one layer. */
typedef struct Piece {
    int64_t layer, first, steps;
    int64_t turn; /* of its states in the workspace: written to h[turn], read from the other */
    int64_t lane; /* 1: the upper layer of a wavefront */
} Piece;

static bool overlap(seqtune_device_ptr a, seqtune_device_ptr b, int64_t bytes) {
    return a != 0 && b != 0 && (a < b ? b - a : a - b) < (uint64_t)bytes;
}

/* An element of c is read and written by one thread, rows of h are read by all blocks. */
static Status check_states(const Desc *d, const seqtune_rnn_args *a, Error *err) {
    const RnnShape s = rnn_shape(d);
    const int64_t rows = d->layers * s.directions * d->batch;
    const int64_t h = rows * s.state * s.element, c = rows * s.cell * 4;
    if (overlap(a->h_in, a->h_out, h))
        return err_set(err, ST_INVALID,
                       "%s: blocks read the state that others write; use two buffers of %lld "
                       "bytes in turn",
                       a->h_out == a->h_in ? "h_out is h_in" : "h_out overlaps h_in", (long long)h);
    if (a->c_out != a->c_in && overlap(a->c_in, a->c_out, c))
        return err_set(err, ST_INVALID,
                       "c_out overlaps c_in: must be c_in, or %lld bytes away from it",
                       (long long)c);
    return ST_OK;
}

static Status check_args(const Desc *d, const seqtune_rnn_args *a, Error *err) {
    const int element = d->dtype == SEQTUNE_F32 ? 4 : 2;
    const bool lstm = d->cell == SEQTUNE_LSTM;
    const PlanArray rows[] = {
        {"weights", a->weights, 256, true, false, NULL},
        /* The kernel wants more where strides allow. */
        {"x", a->x, rnn_input_given(d) ? 16 : element, true, false, NULL},
        {"y", a->y, element, false, true, NULL},
        {"h_in", a->h_in, 16, false, true, NULL},
        {"c_in", a->c_in, 4, false, lstm, "cell = SEQTUNE_LSTM"},
        {"h_out", a->h_out, 16, false, true, NULL},
        {"c_out", a->c_out, 4, false, lstm, "cell = SEQTUNE_LSTM"},
        {"lens", a->lens, 4, d->device_lengths, false, "device_lengths = 1"},
        {"cu_seqlens", a->cu_seqlens, 4, d->packed, false, "packed = 1"},
        {"gates", a->gates, 16, d->store_gates, false, "store_gates = 1"},
        {"error", a->error, 4, false, true, NULL},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && st == ST_OK; i++)
        st = plan_check_array(&rows[i], err);
    return st == ST_OK ? check_states(d, a, err) : st;
}

/* ---- addresses ---- */

/* 0 and "the cell has none" (a negative offset) stay 0. */
static seqtune_device_ptr plus(seqtune_device_ptr base, int64_t bytes) {
    return base == 0 || bytes < 0 ? 0 : base + (uint64_t)bytes;
}

static seqtune_device_ptr at_workspace(const Run *r, int64_t offset) {
    return r->workspace + (uint64_t)offset;
}

/* The output of a layer that is not the last. */
static seqtune_device_ptr inner(const Run *r, int64_t layer) {
    return at_workspace(r, r->work->inner[layer % 2]);
}

/* The states before and after a piece: the caller's at the ends, the workspace's between. */
static void set_states(const Run *r, const Piece *p, int64_t direction, RnnDirection *to) {
    const RnnShape *s = &r->work->shape;
    const int64_t h = r->d->batch * s->state * s->element, c = r->d->batch * s->cell * 4;
    const int64_t index = p->layer * s->directions + direction, slot = p->lane + direction;
    const bool begins = p->first == 0, ends = p->first + p->steps == r->steps;
    const int64_t *buffers = r->work->h;
    to->h_in =
        begins ? plus(r->args->h_in, index * h) : at_workspace(r, buffers[1 - p->turn] + slot * h);
    to->h_out =
        ends ? plus(r->args->h_out, index * h) : at_workspace(r, buffers[p->turn] + slot * h);
    if (s->cell == 0) return;
    to->c_in = begins ? plus(r->args->c_in, index * c) : at_workspace(r, r->work->c + slot * c);
    to->c_out = ends ? plus(r->args->c_out, index * c) : at_workspace(r, r->work->c + slot * c);
}

/* What the steps of a layer read and write of a direction. */
static void set_steps(const Run *r, int64_t layer, int64_t direction, RnnDirection *to) {
    const RnnShape *s = &r->work->shape;
    const bool last = layer == r->d->layers - 1;
    const RnnBlock b = rnn_block(r->d, layer, direction);
    const seqtune_device_ptr weights = r->args->weights;
    const int64_t half = last ? s->state : s->state_pitch;
    const int64_t gates = r->steps * r->d->batch * s->rows * s->element;
    to->r = plus(weights, b.r);
    to->hidden_bias = plus(weights, b.hidden_bias);
    to->peephole = plus(weights, b.peephole);
    to->projection = plus(weights, b.projection);
    to->norm = plus(weights, b.norm);
    to->y = plus(last ? r->args->y : inner(r, layer), direction * half * s->element);
    to->gates = plus(r->args->gates, (layer * s->directions + direction) * gates);
}

/* What W x reads. With layer norm the bias comes after the norm, in the steps. */
static void set_input(const Run *r, int64_t layer, bool bias, RnnKernelArgs *k) {
    for (int64_t d = 0; d < r->work->shape.directions; d++) {
        const RnnBlock b = rnn_block(r->d, layer, d);
        k->dir[d].w = plus(r->args->weights, b.w);
        k->dir[d].bias = bias ? plus(r->args->weights, b.bias) : 0;
    }
    k->x = layer == 0 ? r->args->x : inner(r, layer - 1);
}

static RnnKernelArgs common_args(const Run *r, const Piece *p) {
    const Desc *d = r->d;
    return (RnnKernelArgs){
        .size = sizeof(RnnKernelArgs),
        .lens = r->args->lens,
        .cu_seqlens = r->args->cu_seqlens,
        .error = r->error,
        .steps = p->steps,
        .first_step = p->first,
        .total_steps = r->steps,
        .reverse = d->direction == SEQTUNE_RNN_REVERSE         ? 1
                   : d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2
                                                               : 0,
        .cell_clip = d->cell_clip,
        .norm_eps = d->norm_eps,
    };
}

/* ---- launches ---- */

static seqtune_device_ptr kernel_workspace(const Run *r, const seqtune_plan *kernel) {
    return kernel->workspace > 0 ? at_workspace(r, r->work->kernel) : 0;
}

/* W x of a piece to the place of `position` in pre. */
static Status run_input(const Run *r, const Piece *p, int64_t position, Error *err) {
    const seqtune_plan *kernel = r->plan->child[2 * rnn_slot(r->d, p->layer)];
    const int64_t bytes = p->steps * r->d->batch * r->work->shape.rows * 4;
    RnnKernelArgs k = common_args(r, p);
    set_input(r, p->layer, !r->d->layer_norm, &k);
    k.pre = at_workspace(r, r->work->pre + position * bytes);
    return plan_run_rnn_kernel(kernel, &k, kernel_workspace(r, kernel), r->stream, err);
}

/* A whole piece of a layer: W x and the steps, or the kernel that does both. */
static Status run_piece(const Run *r, const Piece *p, Error *err) {
    const int slot = 2 * (int)rnn_slot(r->d, p->layer);
    const seqtune_plan *kernel = r->plan->child[slot + 1];
    const bool given = rnn_input_given(r->d), fused = !given && r->plan->child[slot] == NULL;
    RnnKernelArgs k = common_args(r, p);
    Status st = ST_OK;
    if (fused)
        set_input(r, p->layer, true, &k);
    else if (!given)
        st = run_input(r, p, 0, err);
    for (int64_t d = 0; d < r->work->shape.directions; d++) {
        set_steps(r, p->layer, d, &k.dir[d]);
        set_states(r, p, d, &k.dir[d]);
        if (r->d->layer_norm)
            k.dir[d].bias = plus(r->args->weights, rnn_block(r->d, p->layer, d).bias);
    }
    if (!fused) k.pre = given ? r->args->x : at_workspace(r, r->work->pre);
    if (st != ST_OK) return st;
    return plan_run_rnn_kernel(kernel, &k, kernel_workspace(r, kernel), r->stream, err);
}

/* Steps of a piece of a layer and of the piece before it of the layer above, which is as long. The
 * kernel knows one first step: the upper layer's addresses are moved instead. */
static Status run_both(const Run *r, const Piece lanes[2], Error *err) {
    const seqtune_plan *kernel = r->plan->child[RNN_PAIR];
    const RnnShape *s = &r->work->shape;
    const int64_t back = lanes[0].first - lanes[1].first;
    const int64_t y_step = kernel->desc.u.rnn_kernel.y_stride_step;
    RnnKernelArgs k = common_args(r, &lanes[0]);
    k.pre = at_workspace(r, r->work->pre);
    for (int i = 0; i < 2; i++) {
        set_steps(r, lanes[i].layer, 0, &k.dir[i]);
        set_states(r, &lanes[i], 0, &k.dir[i]);
        if (r->d->layer_norm)
            k.dir[i].bias = plus(r->args->weights, rnn_block(r->d, lanes[i].layer, 0).bias);
    }
    RnnDirection *upper = &k.dir[1];
    if (upper->y != 0) upper->y -= (uint64_t)(back * y_step * s->element);
    if (upper->gates != 0) upper->gates -= (uint64_t)(back * r->d->batch * s->rows * s->element);
    Status st = run_input(r, &lanes[0], 0, err);
    if (st == ST_OK) st = run_input(r, &lanes[1], 1, err);
    if (st != ST_OK) return st;
    return plan_run_rnn_kernel(kernel, &k, kernel_workspace(r, kernel), r->stream, err);
}

/* ---- order ---- */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static Status run_layer(const Run *r, int64_t layer, Error *err) {
    const int64_t chunk = r->work->chunk;
    Status st = ST_OK;
    for (int64_t first = 0; first < r->steps && st == ST_OK; first += chunk) {
        const Piece p = {layer, first, least(chunk, r->steps - first), first / chunk % 2, 0};
        st = run_piece(r, &p, err);
    }
    return st;
}

int64_t rnn_pair_steps(int64_t steps, int64_t most) {
    int64_t pieces = 1;
    while ((pieces + 1) * (pieces + 1) * PIECE_STEPS <= steps) pieces++;
    const int64_t each = least(steps / pieces, most);
    return pieces < 2 || each < 2 * PIECE_STEPS ? 0 : each;
}

/* `each` steps of the pieces of `layer` and the one above; what is left comes at the end. */
static Status run_pair(const Run *r, int64_t layer, int64_t each, Error *err) {
    const int64_t pieces = r->steps / each, done = pieces * each, left = r->steps - done;
    Status st = ST_OK;
    for (int64_t k = 0; k <= pieces && st == ST_OK; k++) {
        const Piece lanes[2] = {{layer, k * each, each, k % 2, 0},
                                {layer + 1, (k - 1) * each, each, (k + 1) % 2, 1}};
        if (k == 0)
            st = run_piece(r, &lanes[0], err);
        else if (k == pieces)
            st = run_piece(r, &lanes[1], err);
        else
            st = run_both(r, lanes, err);
    }
    for (int64_t lane = 0; lane < 2 && left > 0 && st == ST_OK; lane++) {
        const Piece p = {layer + lane, done, left, pieces % 2, lane};
        st = run_piece(r, &p, err);
    }
    return st;
}

/* Both layers of a launch write y by one pair of strides, those of the workspace. */
static bool pairs(const Run *r, int64_t layer) {
    const Desc *d = r->d;
    const RnnKernelDesc *k = &r->plan->child[RNN_PAIR]->desc.u.rnn_kernel;
    if (layer + 1 >= d->layers) return false;
    return layer + 1 < d->layers - 1 ||
           (d->y_stride_step == k->y_stride_step && d->y_stride_batch == k->y_stride_batch);
}

static Status run_layers(const Run *r, Error *err) {
    const int64_t each = r->work->pair > 0 ? rnn_pair_steps(r->steps, r->work->pair) : 0;
    Status st = ST_OK;
    for (int64_t layer = 0; layer < r->d->layers && st == ST_OK; layer++) {
        if (each > 0 && pairs(r, layer))
            st = run_pair(r, layer++, each, err);
        else
            st = run_layer(r, layer, err);
    }
    return st;
}

/* The error word is the caller's or, where a kernel may give up and later ones must then not wait
 * again, the workspace's. */
static Status clear_error(const Run *r, Error *err) {
    const Driver *driver = r->plan->ctx->driver;
    bool pushed = false;
    if (r->error == 0) return ST_OK;
    CuResult result = driver_enter(driver, r->plan->ctx->device.context, &pushed);
    Status st = driver_check(driver, result, "cuCtxPushCurrent", err);
    if (st == ST_OK)
        st = driver_check(driver, driver->MemsetD32Async(r->error, 0, 1, r->stream),
                          "cuMemsetD32Async", err);
    driver_leave(driver, pushed);
    return st;
}

static Status set_state(const Run *r, seqtune_device_ptr in, seqtune_device_ptr out, int64_t bytes,
                        Error *err) {
    const Driver *driver = r->plan->ctx->driver;
    if (out == 0 || out == in || bytes == 0) return ST_OK;
    if (in == 0)
        return driver_check(driver, driver->MemsetD8Async(out, 0, (size_t)bytes, r->stream),
                            "cuMemsetD8Async", err);
    return driver_check(driver, driver->MemcpyDtoDAsync(out, in, (size_t)bytes, r->stream),
                        "cuMemcpyDtoDAsync", err);
}

/* A run of no steps: the states after it are those before. Its other arguments may be missing. */
static Status run_nothing(const Run *r, Error *err) {
    const Driver *driver = r->plan->ctx->driver;
    const seqtune_rnn_args *a = r->args;
    const RnnShape *s = &r->work->shape;
    const int64_t rows = r->d->layers * s->directions * r->d->batch;
    bool pushed = false;
    Status st = check_states(r->d, a, err);
    if (st == ST_OK) st = clear_error(r, err);
    if (st != ST_OK) return st;
    st = driver_check(driver, driver_enter(driver, r->plan->ctx->device.context, &pushed),
                      "cuCtxPushCurrent", err);
    if (st == ST_OK) st = set_state(r, a->h_in, a->h_out, rows * s->state * s->element, err);
    if (st == ST_OK) st = set_state(r, a->c_in, a->c_out, rows * s->cell * 4, err);
    driver_leave(driver, pushed);
    return st;
}

/* SEQTUNE_CHECKED: waits for the run; a kernel that gave up a wait is an error of the run. */
static Status check_end(const Run *r, Error *err) {
    const Driver *driver = r->plan->ctx->driver;
    bool pushed = false;
    int32_t word = 0;
    CuResult result = driver_enter(driver, r->plan->ctx->device.context, &pushed);
    Status st = driver_check(driver, result, "cuCtxPushCurrent", err);
    if (st == ST_OK)
        st = driver_check(driver, driver->StreamSynchronize(r->stream), "cuStreamSynchronize", err);
    if (st == ST_OK && r->error != 0)
        st = driver_check(driver, driver->MemcpyDtoH(&word, r->error, sizeof word), "cuMemcpyDtoH",
                          err);
    driver_leave(driver, pushed);
    if (st != ST_OK || word == 0) return st;
    return err_set(err, ST_TIMEOUT,
                   "a block waited in vain for others in step %d (error word %d): what the run "
                   "wrote is undefined. All blocks of the kernel must be on the GPU at once: keep "
                   "other work off it",
                   word - 1, word);
}

static Status run_steps(Run *r, Error *err) {
    const bool checked = (r->d->flags & SEQTUNE_CHECKED) != 0;
    Status st = check_args(r->d, r->args, err);
    if (st == ST_OK) st = plan_check_workspace(r->plan, r->workspace, err);
    if (st != ST_OK) return st;
    if (r->error == 0 && r->work->may_wait) r->error = at_workspace(r, r->work->error);
    if (checked) st = rnn_check_tables(r->plan, r->args, r->stream, err);
    if (st == ST_OK) st = clear_error(r, err);
    if (st == ST_OK) st = run_layers(r, err);
    return st == ST_OK && checked ? check_end(r, err) : st;
}

Status rnn_run(const seqtune_plan *plan, const void *args, seqtune_device_ptr workspace,
               seqtune_stream stream, Error *err) {
    const Desc *d = &plan->desc.u.rnn;
    const seqtune_rnn_args *a = args;
    Run r = {plan, d, plan->rnn, a, workspace, a->error, stream, 0};
    Status st = plan_take_length("steps", a->steps, d->max_steps, &r.steps, err);
    if (st != ST_OK) return st;
    return r.steps > 0 ? run_steps(&r, err) : run_nothing(&r, err);
}
