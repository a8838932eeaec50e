/* See the header. What keeps a plan from the wavefront is a y whose rows lie apart. */
#include "tests/bench/rnn_layers.h"

#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 2 };

typedef struct Shape {
    int64_t hidden, batch, steps;
} Shape;

/* Device memory of a run, zeros: the time does not depend on the numbers. */
typedef struct Buffers {
    seqtune_device_ptr weights, x, y, workspace;
} Buffers;

static Status public_error(seqtune_context *ctx, seqtune_status status, Error *err) {
    return status == SEQTUNE_OK ? ST_OK
                                : err_set(err, (Status)status, "%s", seqtune_last_error(ctx));
}

static Status zeros(seqtune_context *ctx, size_t bytes, seqtune_device_ptr *out, Error *err) {
    Status st = public_error(ctx, seqtune_device_alloc(ctx, bytes, out), err);
    if (st != ST_OK || bytes == 0) return st;
    return driver_check(ctx->driver, ctx->driver->MemsetD8(*out, 0, bytes), "cuMemsetD8", err);
}

static Status make_buffers(seqtune_context *ctx, const seqtune_rnn_desc *d,
                           const seqtune_plan *plan, Buffers *out, Error *err) {
    size_t weights = 0;
    const size_t rows = (size_t)(d->max_steps * d->y_stride_step) * 2;
    if (seqtune_rnn_weights_bytes(d, &weights) != SEQTUNE_OK)
        return err_set(err, ST_INVALID, "%s", seqtune_open_error());
    Status st = zeros(ctx, weights, &out->weights, err);
    if (st == ST_OK) st = zeros(ctx, rows, &out->x, err);
    if (st == ST_OK) st = zeros(ctx, rows, &out->y, err);
    if (st == ST_OK) st = zeros(ctx, seqtune_plan_workspace(plan), &out->workspace, err);
    return st;
}

/* Modelled seconds of one run, the device's events around it. */
static Status time_run(seqtune_context *ctx, const seqtune_plan *plan, const Buffers *at,
                       double *seconds, Error *err) {
    const Driver *cu = ctx->driver;
    CuEvent begin = NULL, end = NULL;
    float ms = 0;
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    a.weights = at->weights;
    a.x = at->x;
    a.y = at->y;
    Status st = driver_check(cu, cu->EventCreate(&begin, 0), "cuEventCreate", err);
    if (st == ST_OK) st = driver_check(cu, cu->EventCreate(&end, 0), "cuEventCreate", err);
    if (st == ST_OK) st = driver_set_mode(cu, LAUNCH_TIMING, err);
    if (st == ST_OK) st = driver_check(cu, cu->EventRecord(begin, NULL), "cuEventRecord", err);
    if (st == ST_OK) st = public_error(ctx, seqtune_run_rnn(plan, &a, at->workspace, NULL), err);
    if (st == ST_OK) st = driver_check(cu, cu->EventRecord(end, NULL), "cuEventRecord", err);
    if (st == ST_OK) st = driver_check(cu, cu->EventSynchronize(end), "cuEventSynchronize", err);
    if (st == ST_OK)
        st = driver_check(cu, cu->EventElapsedTime(&ms, begin, end), "cuEventElapsedTime", err);
    (void)driver_set_mode(cu, LAUNCH_FULL, NULL);
    if (begin != NULL) (void)cu->EventDestroy(begin);
    if (end != NULL) (void)cu->EventDestroy(end);
    *seconds = (double)ms * 1e-3;
    return st;
}

static Status time_layers(seqtune_context *ctx, const Shape *s, bool wavefront, double *seconds,
                          Error *err) {
    enum { APART = 32 };
    seqtune_rnn_desc d = SEQTUNE_RNN_DESC_INIT;
    seqtune_plan *plan = NULL;
    Buffers at = {0};
    bool pushed = false;
    d.batch = s->batch;
    d.input = d.hidden = s->hidden;
    d.layers = LAYERS;
    d.max_steps = s->steps;
    d.y_stride_batch = s->hidden + (wavefront ? 0 : APART);
    d.y_stride_step = s->batch * d.y_stride_batch;
    Status st = public_error(ctx, seqtune_plan_rnn(ctx, &d, &plan), err);
    if (st != ST_OK) return st;
    (void)driver_enter(ctx->driver, ctx->device.context, &pushed);
    st = make_buffers(ctx, &d, plan, &at, err);
    if (st == ST_OK) st = time_run(ctx, plan, &at, seconds, err);
    driver_leave(ctx->driver, pushed);
    const seqtune_device_ptr all[] = {at.weights, at.x, at.y, at.workspace};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) (void)seqtune_device_free(ctx, all[i]);
    seqtune_plan_destroy(plan);
    return st;
}

Status rnn_layers(seqtune_context *ctx, Error *err) {
    static const Shape shapes[] = {{32, 20, 1024}, {64, 1, 512}, {128, 16, 512}, {192, 8, 256}};
    Status st = ST_OK;
    printf(
        "\ntwo LSTM layers, f16, with W x, as a wavefront and layer after layer; us per step and "
        "layer\n%6s %6s %6s  %9s  %9s\n",
        "hidden", "batch", "steps", "wavefront", "after");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0] && st == ST_OK; i++) {
        const Shape *s = &shapes[i];
        double seconds[2] = {0};
        for (int k = 0; k < 2 && st == ST_OK; k++)
            st = time_layers(ctx, s, k == 0, &seconds[k], err);
        const double each = 1e6 / (double)(s->steps * LAYERS);
        if (st == ST_OK)
            printf("%6lld %6lld %6lld  %9.3f  %9.3f\n", (long long)s->hidden, (long long)s->batch,
                   (long long)s->steps, seconds[0] * each, seconds[1] * each);
    }
    return st;
}
