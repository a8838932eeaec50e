/* Recurrent layers: a plan composed of kernels for the first, the inner and the last layer.
 *
 * Layer after layer, each in chunks of steps: the input projection of a chunk (both directions)
 * into `pre`, then its steps. States go through the workspace between chunks, the outputs of lower
 * layers through two buffers there in turn. A plan of one step has one kernel per layer where
 * rnn_cell serves it.
 *
 * Invariant: a run is launches and at most one memset on one stream, whatever the lengths are; it
 * allocates nothing and can be captured. What it does not do: overlap layers or directions on
 * several streams. */
#include <string.h>

#include "base/mem.h"
#include "runtime/plan_internal.h"
#include "runtime/rnn.h"

typedef seqtune_rnn_desc Desc;

enum { PRE_BYTES = 64 << 20, WORKSPACE_ALIGN = 256 };

/* Which layer a child serves; its kernels are child[2 * slot] (the input projection, or none) and
 * child[2 * slot + 1] (the steps). */
typedef enum Slot { SLOT_FIRST, SLOT_INNER, SLOT_LAST, SLOTS } Slot;

/* What a run needs to know beyond the description. */
typedef struct RnnWork {
    RnnShape shape;
    int64_t chunk;     /* steps of a launch */
    int64_t inner_row; /* elements of a row of a lower layer's output */
    bool may_wait;     /* some kernel has blocks that wait for each other */
    /* Offsets in the workspace; sizes are rounded up to WORKSPACE_ALIGN. */
    int64_t error, pre, h[2], c, inner[2], kernel;
} RnnWork;

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

static Slot slot_of(const Desc *d, int64_t layer) {
    return layer == 0 ? SLOT_FIRST : layer == d->layers - 1 ? SLOT_LAST : SLOT_INNER;
}

/* ---- descriptions of the kernels ---- */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Steps of a launch of a plan of `steps`. */
static int64_t chunk_of(const Desc *d, const RnnShape *s, int64_t steps) {
    const int64_t step_bytes = s->directions * d->batch * s->rows * 4;
    const int64_t most = PRE_BYTES / step_bytes;
    return least(steps, most > 0 ? most : 1);
}

static RnnKernelDesc kernel_desc(const Desc *d, const RnnWork *work, RnnOp op, int64_t layer) {
    const bool steps = op != RNN_INPUT, first = layer == 0, last = layer == d->layers - 1;
    RnnKernelDesc k = {
        .size = sizeof k,
        .op = op,
        .gru = d->cell == SEQTUNE_GRU,
        .dtype = d->dtype,
        .batch = d->batch,
        .input = op == RNN_SEQ ? 0 : rnn_input_size(d, layer),
        .hidden = d->hidden,
        .projection = d->projection,
        .steps = work->chunk,
        .directions = work->shape.directions,
        .parts = op == RNN_SEQ ? 1 : rnn_input_parts(d, layer),
        .packed = d->packed,
        .lengths = d->device_lengths,
        .peephole = steps && d->peephole,
        .layer_norm = d->layer_norm,
        .reset_before = steps && d->reset_before,
        .store_gates = steps && d->store_gates,
        .clip = steps && d->cell_clip > 0,
        .order_steps =
            chunk_of(d, &work->shape, d->order_steps > 0 ? d->order_steps : d->max_steps),
    };
    const int64_t batch = work->inner_row, step = d->packed ? batch : d->batch * batch;
    k.x_stride_step = first ? d->x_stride_step : step;
    k.x_stride_batch = first ? d->x_stride_batch : batch;
    k.y_stride_step = last ? d->y_stride_step : step;
    k.y_stride_batch = last ? d->y_stride_batch : batch;
    return k;
}

static RnnWork work_of(const Desc *d) {
    RnnWork w = {.shape = rnn_shape(d)};
    w.chunk = chunk_of(d, &w.shape, d->max_steps);
    if (d->chunk_steps > 0) w.chunk = least(w.chunk, d->chunk_steps);
    w.inner_row = w.shape.directions * w.shape.state_pitch;
    return w;
}

/* The kernels of a layer; both may be looked at before anything is made. */
static size_t layer_kernels(const Desc *d, const RnnWork *w, bool cell, int64_t layer,
                            RnnKernelDesc out[2]) {
    if (cell) {
        out[1] = kernel_desc(d, w, RNN_CELL, layer);
        return 1;
    }
    out[0] = kernel_desc(d, w, RNN_INPUT, layer);
    out[1] = kernel_desc(d, w, RNN_SEQ, layer);
    return 2;
}

/* One layer per slot that is used. */
static bool slot_layer(const Desc *d, int slot, int64_t *layer) {
    *layer = slot == SLOT_FIRST ? 0 : slot == SLOT_INNER ? 1 : d->layers - 1;
    return slot_of(d, *layer) == (Slot)slot;
}

static Status supported(seqtune_context *ctx, const Desc *d, bool cell, Error *err) {
    const RnnWork w = work_of(d);
    Status st = ST_OK;
    for (int slot = 0; slot < SLOTS && st == ST_OK; slot++) {
        int64_t layer = 0;
        PlanDesc any = {.kind = PLAN_RNN_KERNEL};
        RnnKernelDesc kernels[2];
        if (!slot_layer(d, slot, &layer)) continue;
        const size_t n = layer_kernels(d, &w, cell, layer, kernels);
        for (size_t i = 2 - n; i < 2 && st == ST_OK; i++) {
            any.u.rnn_kernel = kernels[i];
            st = plan_supported(ctx, &any, err);
        }
    }
    return st;
}

/* Plans of one step take rnn_cell where it serves them, and the kernels of sequences else. */
static bool takes_cell(seqtune_context *ctx, const Desc *d) {
    Error unused = {0};
    return d->max_steps == 1 && d->order_steps == 0 && supported(ctx, d, true, &unused) == ST_OK;
}

static Status rnn_supported(seqtune_context *ctx, const PlanDesc *desc, Error *err) {
    const Desc *d = &desc->u.rnn;
    return takes_cell(ctx, d) ? ST_OK : supported(ctx, d, false, err);
}

/* ---- making ---- */

static bool waits(const seqtune_plan *plan) {
    for (size_t i = 0; i < plan->count; i++)
        if (plan->launches[i].cooperative) return true;
    return false;
}

static int64_t reserve(int64_t *end, bool wanted, int64_t bytes) {
    const int64_t at = *end;
    if (wanted) *end += rnn_round(bytes, WORKSPACE_ALIGN);
    return at;
}

static void lay_out(seqtune_plan *plan, RnnWork *w) {
    const Desc *d = &plan->desc.u.rnn;
    const RnnShape *s = &w->shape;
    const bool chunks = w->chunk < d->max_steps, input = plan->child[2 * SLOT_FIRST] != NULL;
    const int64_t states = s->directions * d->batch;
    int64_t end = 0, kernel = 0;
    w->error = reserve(&end, w->may_wait, 4);
    w->pre = reserve(&end, input, s->directions * w->chunk * d->batch * s->rows * 4);
    for (int i = 0; i < 2; i++) w->h[i] = reserve(&end, chunks, states * s->state * s->element);
    w->c = reserve(&end, chunks, states * s->cell * 4);
    for (int i = 0; i < 2; i++)
        w->inner[i] = reserve(&end, d->layers > 1 + i, d->total_tokens * w->inner_row * s->element);
    for (size_t i = 0; i < PLAN_MAX_CHILDREN; i++)
        if (plan->child[i] != NULL && plan->child[i]->workspace > kernel)
            kernel = plan->child[i]->workspace;
    w->kernel = reserve(&end, kernel > 0, kernel);
    plan->workspace = end;
}

static Status make_layer(seqtune_plan *plan, RnnWork *w, bool cell, int slot, Error *err) {
    int64_t layer = 0;
    RnnKernelDesc kernels[2];
    Status st = ST_OK;
    if (!slot_layer(&plan->desc.u.rnn, slot, &layer)) return ST_OK;
    const size_t n = layer_kernels(&plan->desc.u.rnn, w, cell, layer, kernels);
    for (size_t i = 2 - n; i < 2 && st == ST_OK; i++) {
        seqtune_plan **child = &plan->child[2 * slot + (int)i];
        PlanDesc any = {.kind = PLAN_RNN_KERNEL, .u.rnn_kernel = kernels[i]};
        st = plan_create(plan->ctx, NULL, &any, NULL, child, err);
        if (st != ST_OK) err_wrap(err, "layer %lld", (long long)layer);
        if (st == ST_OK && waits(*child)) w->may_wait = true;
    }
    plan->shown = plan->child[2 * slot + 1];
    return st;
}

static Status compose(seqtune_plan *plan, Error *err) {
    const Desc *d = &plan->desc.u.rnn;
    const bool cell = takes_cell(plan->ctx, d);
    RnnWork *w = arena_alloc(plan->arena, sizeof *w);
    if (w == NULL) return err_no_memory(err, sizeof *w);
    *w = work_of(d);
    Status st = ST_OK;
    for (int slot = 0; slot < SLOTS && st == ST_OK; slot++)
        st = make_layer(plan, w, cell, slot, err);
    if (st != ST_OK) return st;
    lay_out(plan, w);
    plan->rnn = w;
    return ST_OK;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    return rnn_check_desc(&out->u.rnn, err);
}

/* ---- a run ---- */

static Status check_args(const Desc *d, const seqtune_rnn_args *a, Error *err) {
    const int element = d->dtype == SEQTUNE_F32 ? 4 : 2;
    const bool lstm = d->cell == SEQTUNE_LSTM;
    const PlanArray rows[] = {
        {"weights", a->weights, 256, true, false, NULL},
        {"x", a->x, element, true, false, NULL}, /* the kernel wants more where strides allow */
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
    if (st == ST_OK && a->h_out != 0 && a->h_out == a->h_in)
        return err_set(err, ST_INVALID,
                       "h_out is h_in: blocks read the state that others write; use two buffers in "
                       "turn");
    return st;
}

static seqtune_device_ptr plus(seqtune_device_ptr base, int64_t bytes) {
    return base == 0 || bytes < 0 ? 0 : base + (uint64_t)bytes;
}

/* The states before and after a chunk: the caller's at the ends, the workspace's between. */
static void set_states(const Run *r, int64_t layer, int64_t first, int64_t steps,
                       RnnKernelArgs *k) {
    const RnnShape *s = &r->work->shape;
    const int64_t h_bytes = r->d->batch * s->state * s->element,
                  c_bytes = r->d->batch * s->cell * 4;
    const bool begins = first == 0, ends = first + steps == r->steps;
    const int64_t turn = first / r->work->chunk % 2;
    for (int64_t d = 0; d < s->directions; d++) {
        RnnDirection *to = &k->dir[d];
        const int64_t index = layer * s->directions + d;
        to->h_in = begins ? plus(r->args->h_in, index * h_bytes)
                          : r->workspace + (uint64_t)(r->work->h[1 - turn] + d * h_bytes);
        to->h_out = ends ? plus(r->args->h_out, index * h_bytes)
                         : r->workspace + (uint64_t)(r->work->h[turn] + d * h_bytes);
        if (s->cell == 0) continue;
        to->c_in = begins ? plus(r->args->c_in, index * c_bytes)
                          : r->workspace + (uint64_t)(r->work->c + d * c_bytes);
        to->c_out = ends ? plus(r->args->c_out, index * c_bytes)
                         : r->workspace + (uint64_t)(r->work->c + d * c_bytes);
    }
}

/* What the steps read and write of a direction. */
static void set_steps(const Run *r, int64_t layer, RnnKernelArgs *k) {
    const RnnShape *s = &r->work->shape;
    const bool last = layer == r->d->layers - 1;
    const seqtune_device_ptr y =
        last ? r->args->y : r->workspace + (uint64_t)r->work->inner[layer % 2];
    const int64_t half = last ? s->state : s->state_pitch;
    const int64_t gates = r->steps * r->d->batch * s->rows * s->element;
    for (int64_t d = 0; d < s->directions; d++) {
        const RnnBlock b = rnn_block(r->d, layer, d);
        RnnDirection *to = &k->dir[d];
        to->r = plus(r->args->weights, b.r);
        to->hidden_bias = plus(r->args->weights, b.hidden_bias);
        to->peephole = plus(r->args->weights, b.peephole);
        to->projection = plus(r->args->weights, b.projection);
        to->norm = plus(r->args->weights, b.norm);
        to->y = plus(y, d * half * s->element);
        to->gates = plus(r->args->gates, (layer * s->directions + d) * gates);
    }
}

/* What W x reads of a direction. With layer norm the bias comes after the norm, in the steps. */
static void set_input(const Run *r, int64_t layer, RnnKernelArgs *k) {
    for (int64_t d = 0; d < r->work->shape.directions; d++)
        k->dir[d].w = plus(r->args->weights, rnn_block(r->d, layer, d).w);
    k->x = layer == 0 ? r->args->x : r->workspace + (uint64_t)r->work->inner[(layer - 1) % 2];
}

static void set_bias(const Run *r, int64_t layer, RnnKernelArgs *k) {
    for (int64_t d = 0; d < r->work->shape.directions; d++)
        k->dir[d].bias = plus(r->args->weights, rnn_block(r->d, layer, d).bias);
}

static RnnKernelArgs common_args(const Run *r, int64_t first, int64_t steps, bool pre) {
    const Desc *d = r->d;
    return (RnnKernelArgs){
        .size = sizeof(RnnKernelArgs),
        .pre = pre ? r->workspace + (uint64_t)r->work->pre : 0,
        .lens = r->args->lens,
        .cu_seqlens = r->args->cu_seqlens,
        .error = r->error,
        .steps = steps,
        .first_step = first,
        .total_steps = r->steps,
        .reverse = d->direction == SEQTUNE_RNN_REVERSE         ? 1
                   : d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2
                                                               : 0,
        .cell_clip = d->cell_clip,
        .norm_eps = d->norm_eps,
    };
}

static Status run_chunk(const Run *r, int64_t layer, int64_t first, int64_t steps, Error *err) {
    const int slot = 2 * (int)slot_of(r->d, layer);
    const seqtune_plan *input = r->plan->child[slot], *kernel = r->plan->child[slot + 1];
    const seqtune_device_ptr workspace =
        kernel->workspace > 0 || (input != NULL && input->workspace > 0)
            ? r->workspace + (uint64_t)r->work->kernel
            : 0;
    RnnKernelArgs k = common_args(r, first, steps, input != NULL);
    Status st = ST_OK;
    if (input != NULL) {
        set_input(r, layer, &k);
        if (!r->d->layer_norm) set_bias(r, layer, &k);
        st = plan_run_rnn_kernel(input, &k, workspace, r->stream, err);
        k = common_args(r, first, steps, true);
        if (r->d->layer_norm) set_bias(r, layer, &k);
    } else {
        set_input(r, layer, &k);
        set_bias(r, layer, &k);
    }
    set_steps(r, layer, &k);
    set_states(r, layer, first, steps, &k);
    return st != ST_OK ? st : plan_run_rnn_kernel(kernel, &k, workspace, r->stream, err);
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

static Status run(const seqtune_plan *plan, const void *given, seqtune_device_ptr workspace,
                  seqtune_stream stream, Error *err) {
    const Desc *d = &plan->desc.u.rnn;
    const seqtune_rnn_args *a = given;
    const RnnWork *w = plan->rnn;
    Run r = {plan, d, w, a, workspace, a->error, stream, 0};
    Status st = plan_take_length("steps", a->steps, d->max_steps, &r.steps, err);
    if (st != ST_OK || r.steps == 0) return st;
    st = check_args(d, a, err);
    if (st == ST_OK) st = plan_check_workspace(plan, workspace, err);
    if (st != ST_OK) return st;
    if (r.error == 0 && w->may_wait) r.error = workspace + (uint64_t)w->error;
    st = clear_error(&r, err);
    for (int64_t layer = 0; layer < d->layers && st == ST_OK; layer++)
        for (int64_t first = 0; first < r.steps && st == ST_OK; first += w->chunk)
            st = run_chunk(&r, layer, first, least(w->chunk, r.steps - first), err);
    return st;
}

const PlanFamily *rnn_family(void) {
    static const PlanFamily family = {
        .name = "rnn",
        .params = "", /* no spec is one of a whole plan */
        .desc_size = sizeof(seqtune_rnn_desc),
        .args_size = sizeof(seqtune_rnn_args),
        .args_init = "SEQTUNE_RNN_ARGS_INIT",
        .normalise = normalise,
        .supported = rnn_supported,
        .compose = compose,
        .run = run,
    };
    return &family;
}
