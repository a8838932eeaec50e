/* Buffers and arguments of rnn_input, rnn_seq and rnn_cell; see the header.
 *
 * Sizes are those of runtime/params/rnn.h; a buffer holds both directions, one after the other at a
 * multiple of 16 bytes. */
#include "tuner/bench_rnn.h"

#include "base/round.h"
#include "runtime/plan_internal.h"

enum {
    AT_X,
    AT_PRE,
    AT_W,
    AT_R,
    AT_FLOATS, /* bias, hidden_bias, peephole, norm */
    AT_PROJECTION,
    AT_STATES, /* h before, h after, c */
    AT_Y,
    AT_GATES,
    AT_LENGTHS,
    AT_ERROR
};

/* Bytes of one direction, by buffer; of AT_FLOATS and AT_STATES also where the parts begin. */
typedef struct Sizes {
    double element, rows, units, state, tokens;
    double w, r, projection, h, c, gates;
    double bias, hidden_bias, peephole, norm, floats;
} Sizes;

static double padded(double bytes) {
    return (double)round_up((int64_t)bytes, 16);
}

static double up(int64_t n, int64_t step) {
    return (double)round_up(n, step);
}

static Sizes sizes_of(const RnnKernelDesc *d) {
    const int64_t state = d->projection > 0 ? d->projection : d->hidden;
    const double part = d->parts > 0 ? up(d->input / d->parts, 32) * (double)d->parts : 0;
    Sizes s = {.element = d->dtype == SEQTUNE_F32 ? 4 : 2,
               .units = up(d->hidden, 16),
               .state = (double)state,
               .tokens = (double)d->steps * (double)d->batch};
    s.rows = s.units * (d->gru ? 3 : 4);
    s.w = s.rows * part * s.element;
    s.r = s.rows * up(state, 32) * s.element;
    s.projection = d->projection > 0 ? up(state, 16) * up(d->hidden, 32) * s.element : 0;
    s.h = padded((double)d->batch * s.state * s.element);
    s.c = d->gru ? 0 : padded((double)d->batch * (double)d->hidden * 4);
    s.gates = d->store_gates ? s.tokens * s.rows * s.element : 0;
    s.bias = 4 * s.rows;
    s.hidden_bias = d->gru ? 4 * s.units : 0;
    s.peephole = d->peephole ? 12 * s.units : 0;
    s.norm = d->layer_norm ? 8 * s.rows + 8 * s.units : 0;
    s.floats = s.bias + s.hidden_bias + s.peephole + s.norm;
    return s;
}

/* lens[b] = steps, or cu_seqlens[b] = b * steps. */
static Status lengths(const RnnKernelDesc *d, Arena *arena, BenchBuffer *out, Error *err) {
    const int64_t count = d->batch + (d->packed ? 1 : 0);
    int *const values = ARENA_ARRAY(arena, int, (size_t)count);
    if (values == NULL) return err_no_memory(err, (size_t)count * sizeof *values);
    for (int64_t b = 0; b < count; b++) values[b] = (int)(d->packed ? b * d->steps : d->steps);
    *out = (BenchBuffer){(double)count * sizeof *values, values};
    return ST_OK;
}

Status bench_rnn_inputs(const RnnKernelDesc *d, Arena *arena, BenchBuffer *out, Error *err) {
    static const int no_error[4];
    const double n = (double)d->directions;
    const Sizes s = sizes_of(d);
    if (d->input > 0) {
        out[AT_X].bytes =
            (d->packed ? s.tokens : (double)d->steps) * (double)d->x_stride_step * s.element;
        out[AT_W].bytes = n * padded(s.w);
    }
    if (d->op != RNN_CELL || d->input == 0) out[AT_PRE].bytes = n * s.tokens * s.rows * 4;
    out[AT_FLOATS].bytes = n * padded(s.floats);
    if (d->op != RNN_INPUT) {
        out[AT_R].bytes = n * padded(s.r);
        out[AT_PROJECTION].bytes = n * padded(s.projection);
        out[AT_STATES].bytes = n * (2 * s.h + s.c);
        out[AT_Y].bytes = n * s.tokens * s.state * s.element;
        out[AT_GATES].bytes = n * padded(s.gates);
    }
    out[AT_ERROR] = (BenchBuffer){sizeof no_error, no_error};
    return d->packed || d->lengths ? lengths(d, arena, &out[AT_LENGTHS], err) : ST_OK;
}

static RnnDirection direction(const RnnKernelDesc *d, const CuDeviceptr *at, int k) {
    const Sizes s = sizes_of(d);
    const bool bias = d->op == RNN_INPUT ? !d->layer_norm : d->input > 0 || d->layer_norm;
    const CuDeviceptr floats = at[AT_FLOATS] + (CuDeviceptr)(k * padded(s.floats));
    const CuDeviceptr states = at[AT_STATES] + (CuDeviceptr)(k * (2 * s.h + s.c));
    RnnDirection a = {.bias = bias ? floats : 0};
    if (d->input > 0) a.w = at[AT_W] + (CuDeviceptr)(k * padded(s.w));
    if (d->op == RNN_INPUT) return a;
    a.r = at[AT_R] + (CuDeviceptr)(k * padded(s.r));
    const CuDeviceptr hidden_bias = floats + (CuDeviceptr)s.bias;
    const CuDeviceptr peephole = hidden_bias + (CuDeviceptr)s.hidden_bias;
    if (d->gru && !d->reset_before) a.hidden_bias = hidden_bias;
    if (d->peephole) a.peephole = peephole;
    if (d->layer_norm) a.norm = peephole + (CuDeviceptr)s.peephole;
    if (d->projection > 0)
        a.projection = at[AT_PROJECTION] + (CuDeviceptr)(k * padded(s.projection));
    a.h_in = states;
    a.h_out = states + (CuDeviceptr)s.h;
    if (!d->gru) a.c_in = a.c_out = states + (CuDeviceptr)(2 * s.h);
    a.y = at[AT_Y] + (CuDeviceptr)(k * s.state * s.element);
    if (d->store_gates) a.gates = at[AT_GATES] + (CuDeviceptr)(k * padded(s.gates));
    return a;
}

Status bench_rnn_run(const RnnKernelDesc *d, const seqtune_plan *plan, const CuDeviceptr *at,
                     CuDeviceptr workspace, CuStream stream, Error *err) {
    RnnKernelArgs a = {.size = sizeof a,
                       .x = at[AT_X],
                       .pre = at[AT_PRE],
                       .lens = d->lengths ? at[AT_LENGTHS] : 0,
                       .cu_seqlens = d->packed ? at[AT_LENGTHS] : 0,
                       .error = at[AT_ERROR],
                       .cell_clip = d->clip ? 50.0f : 0}; /* never reached by c of such inputs */
    for (int k = 0; k < d->directions; k++) a.dir[k] = direction(d, at, k);
    a.reverse = d->directions == 2 ? 2 : 0;
    return plan_run_rnn_kernel(plan, &a, workspace, stream, err);
}
