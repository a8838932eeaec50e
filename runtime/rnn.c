/* Recurrent layers: a plan composed of kernels for the first, the inner and the last layer
 * (runtime/rnn_run.c runs it).
 *
 * A plan of one step has one kernel per layer where rnn_cell serves it; else a layer has the input
 * projection and the steps, in chunks of as many steps as `pre` holds. Layers that leave most of
 * the GPU idle also get a kernel that does two of them at once.
 *
 * What it does not do: overlap layers or directions on several streams. */
#include "base/mem.h"
#include "base/round.h"
#include "runtime/plan_internal.h"
#include "runtime/rnn.h"

typedef seqtune_rnn_desc Desc;

enum { WORKSPACE_ALIGN = 256 };

RnnSlot rnn_slot(const Desc *d, int64_t layer) {
    return layer == 0 ? RNN_FIRST : layer == d->layers - 1 ? RNN_LAST : RNN_INNER;
}

/* ---- descriptions of the kernels ---- */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t rnn_chunk_steps(int64_t step_bytes, int64_t steps) {
    const int64_t most = RNN_PRE_BYTES / step_bytes > 0 ? RNN_PRE_BYTES / step_bytes : 1;
    const int64_t chunks = (steps + most - 1) / most;
    return (steps + chunks - 1) / chunks; /* no short one at the end */
}

/* Steps of a launch of a plan of `steps`: all where nothing of them is in the workspace. */
static int64_t chunk_of(const Desc *d, const RnnShape *s, int64_t steps) {
    if (rnn_input_given(d)) return steps;
    return rnn_chunk_steps(s->directions * d->batch * s->rows * 4, steps);
}

static RnnKernelDesc kernel_desc(const Desc *d, const RnnWork *work, RnnOp op, int64_t layer) {
    const bool steps = op != RNN_INPUT, first = layer == 0, last = layer == d->layers - 1;
    const bool takes_x = op != RNN_SEQ && !rnn_input_given(d);
    RnnKernelDesc k = {
        .size = sizeof k,
        .op = op,
        .gru = d->cell == SEQTUNE_GRU,
        .dtype = d->dtype,
        .batch = d->batch,
        .input = takes_x ? rnn_input_size(d, layer) : 0,
        .hidden = d->hidden,
        .projection = d->projection,
        .steps = work->chunk,
        .directions = work->shape.directions,
        .parts = takes_x ? rnn_input_parts(d, layer) : 1,
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
    out[1] = kernel_desc(d, w, RNN_SEQ, layer);
    if (rnn_input_given(d)) return 1;
    out[0] = kernel_desc(d, w, RNN_INPUT, layer);
    return 2;
}

/* One layer per slot that is used. */
static bool slot_layer(const Desc *d, int slot, int64_t *layer) {
    *layer = slot == RNN_FIRST ? 0 : slot == RNN_INNER ? 1 : d->layers - 1;
    return rnn_slot(d, *layer) == (RnnSlot)slot;
}

static Status supported(seqtune_context *ctx, const Desc *d, bool cell, Error *err) {
    const RnnWork w = work_of(d);
    Status st = ST_OK;
    for (int slot = 0; slot < RNN_SLOTS && st == ST_OK; slot++) {
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
    if (wanted) *end += round_up(bytes, WORKSPACE_ALIGN);
    return at;
}

static void lay_out(seqtune_plan *plan, RnnWork *w) {
    const Desc *d = &plan->desc.u.rnn;
    const RnnShape *s = &w->shape;
    const bool chunks = w->chunk < d->max_steps || w->pair > 0;
    const bool input = plan->child[2 * RNN_FIRST] != NULL;
    const int64_t states = (w->pair > 0 ? 2 : s->directions) * d->batch;
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

/* Blocks of the plan's widest launch: on as many SMs they run side by side. */
static int64_t blocks_of(const seqtune_plan *plan) {
    int64_t most = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const int64_t *grid = plan->launches[i].grid;
        if (grid[0] * grid[1] * grid[2] > most) most = grid[0] * grid[1] * grid[2];
    }
    return most;
}

/* The kernel of the steps once more, for two layers as its two directions, in the configuration
 * that it has for one, so that a run's bits do not depend on which of them does a step. Without
 * lengths only: the upper layer is some steps behind, which a kernel has no word for. */
static Status make_pair(seqtune_plan *plan, RnnWork *w, Error *err) {
    const Desc *d = &plan->desc.u.rnn;
    const seqtune_plan *one = plan->child[2 * RNN_FIRST + 1];
    const int64_t most = w->chunk / 2; /* two layers' W x is in the place of one's */
    PlanDesc any = {.kind = PLAN_RNN_KERNEL, .u.rnn_kernel = kernel_desc(d, w, RNN_SEQ, 0)};
    Error unused = {0};
    if (d->layers < 2 || d->direction != SEQTUNE_RNN_FORWARD || d->packed || d->device_lengths ||
        plan->child[2 * RNN_FIRST] == NULL || rnn_pair_steps(d->max_steps, most) == 0 ||
        2 * blocks_of(one) > plan->ctx->device.gpu.sms)
        return ST_OK;
    any.u.rnn_kernel.directions = 2;
    any.u.rnn_kernel.steps = most;
    const Status st =
        plan_create(plan->ctx, NULL, &any, &one->choice.config, &plan->child[RNN_PAIR], &unused);
    if (st == ST_NO_MEMORY) return err_no_memory(err, 1);
    if (st == ST_OK) w->pair = most;
    return ST_OK; /* else layer after layer */
}

static Status compose(seqtune_plan *plan, Error *err) {
    const Desc *d = &plan->desc.u.rnn;
    const bool cell = takes_cell(plan->ctx, d);
    RnnWork *w = arena_alloc(plan->arena, sizeof *w);
    if (w == NULL) return err_no_memory(err, sizeof *w);
    *w = work_of(d);
    Status st = ST_OK;
    for (int slot = 0; slot < RNN_SLOTS && st == ST_OK; slot++)
        st = make_layer(plan, w, cell, slot, err);
    if (st == ST_OK) st = make_pair(plan, w, err);
    if (st != ST_OK) return st;
    lay_out(plan, w);
    plan->rnn = w;
    return ST_OK;
}

static Status normalise(const PlanDesc *desc, PlanDesc *out, Error *err) {
    *out = *desc;
    return rnn_check_desc(&out->u.rnn, err);
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
        .run = rnn_run,
    };
    return &family;
}
