/* Descriptions of recurrent layers: every field checked, defaults filled in. */
#include <math.h>
#include <stddef.h>

#include "runtime/plan_internal.h"
#include "runtime/rnn.h"

typedef seqtune_rnn_desc Desc;

#define FIELD(field, low, high, required, text)                                                    \
    { #field, offsetof(Desc, field), low, high, required, false, SIZE_MAX, text }

static const PlanField cell_fields[] = {
    FIELD(input, 1, RNN_MAX_SIZE, true, "features of x"),
    FIELD(hidden, 1, RNN_MAX_SIZE, true, "number of units"),
    FIELD(layers, 1, RNN_MAX_LAYERS, false, "number of layers"),
    FIELD(projection, 0, RNN_MAX_SIZE, false, "length of the projected h"),
};

static const PlanField run_fields[] = {
    FIELD(batch, 1, RNN_MAX_BATCH, false, "number of sequences"),
    FIELD(max_steps, 1, 0x7fffffff, true, "largest number of steps"),
    FIELD(total_tokens, 0, RNN_MAX_TOKENS, false, "tokens of all sequences"),
    FIELD(order_steps, 0, 0x7fffffff, false, "steps of the plan whose order is wanted"),
    FIELD(chunk_steps, 0, 0x7fffffff, false, "steps of a launch"),
};

static Status only(bool wrong, const char *field, const char *whose, Error *err) {
    if (!wrong) return ST_OK;
    return err_set(err, ST_INVALID, "%s: %s", field, whose);
}

Status rnn_check_cell(Desc *d, Error *err) {
    const PlanEnum enums[] = {
        {"cell", (int)d->cell, SEQTUNE_GRU, "SEQTUNE_LSTM or SEQTUNE_GRU"},
        {"dtype", (int)d->dtype, SEQTUNE_F32, "SEQTUNE_F16, SEQTUNE_BF16 or SEQTUNE_F32"},
        {"direction", (int)d->direction, SEQTUNE_RNN_BIDIRECTIONAL,
         "SEQTUNE_RNN_FORWARD, SEQTUNE_RNN_REVERSE or SEQTUNE_RNN_BIDIRECTIONAL"},
        {"peephole", d->peephole, 1, "0 or 1"},
        {"layer_norm", d->layer_norm, 1, "0 or 1"},
        {"reset_before", d->reset_before, 1, "0 or 1"},
    };
    Status st =
        plan_check_size("rnn description", d->size, sizeof *d, "SEQTUNE_RNN_DESC_INIT", err);
    if (st == ST_OK) st = plan_check_enums(enums, sizeof enums / sizeof enums[0], err);
    if (st != ST_OK) return st;
    if (d->layers == 0) d->layers = 1;
    if (d->dtype == SEQTUNE_DTYPE_DEFAULT) d->dtype = SEQTUNE_F16;
    st = plan_check_fields(d, cell_fields, sizeof cell_fields / sizeof cell_fields[0], "rnn", err);
    const bool gru = d->cell == SEQTUNE_GRU;
    if (st == ST_OK) st = only(gru && d->projection != 0, "projection", "a GRU has none", err);
    if (st == ST_OK && d->projection > d->hidden)
        st = err_set(err, ST_INVALID,
                     "projection (length of the projected h) is %lld: must be 1..%lld, hidden "
                     "(0: none)",
                     (long long)d->projection, (long long)d->hidden);
    if (st == ST_OK) st = only(gru && d->peephole, "peephole", "a GRU has none", err);
    if (st == ST_OK) st = only(!gru && d->reset_before, "reset_before", "an LSTM has none", err);
    return st;
}

static Status check_floats(const Desc *d, Error *err) {
    const struct {
        const char *name;
        float value;
    } rows[] = {{"cell_clip", d->cell_clip}, {"norm_eps", d->norm_eps}};
    for (size_t i = 0; i < 2; i++)
        if (!(rows[i].value >= 0) || !isfinite(rows[i].value))
            return err_set(err, ST_INVALID, "%s is %g: must be finite and not negative (0: %s)",
                           rows[i].name, (double)rows[i].value, i == 0 ? "no limit" : "1e-5");
    return only(d->cell == SEQTUNE_GRU && d->cell_clip != 0, "cell_clip", "a GRU has no c", err);
}

static Status check_flags(const Desc *d, Error *err) {
    const bool order = (d->flags & SEQTUNE_RNN_SEQUENCE_ORDER) != 0;
    if ((d->flags & ~(SEQTUNE_RNN_SEQUENCE_ORDER | SEQTUNE_CHECKED | SEQTUNE_RNN_GIVEN_INPUT)) != 0)
        return err_set(err, ST_INVALID,
                       "flags is 0x%x: must be SEQTUNE_RNN_SEQUENCE_ORDER, SEQTUNE_CHECKED, "
                       "SEQTUNE_RNN_GIVEN_INPUT, some of them or 0",
                       (unsigned)d->flags);
    if (order && d->max_steps != 1)
        return err_set(
            err, ST_INVALID,
            "SEQTUNE_RNN_SEQUENCE_ORDER with max_steps %lld: it is for plans of one step",
            (long long)d->max_steps);
    if (order != (d->order_steps > 0))
        return err_set(err, ST_INVALID,
                       "order_steps is %lld: must be given with SEQTUNE_RNN_SEQUENCE_ORDER, else 0",
                       (long long)d->order_steps);
    if (d->packed && d->device_lengths)
        return err_set(err, ST_INVALID,
                       "packed and device_lengths: cu_seqlens of packed sequences tells the "
                       "lengths, set one of the two");
    if (!d->packed && d->total_tokens != 0)
        return err_set(err, ST_INVALID, "total_tokens is %lld: only packed sequences have it",
                       (long long)d->total_tokens);
    return ST_OK;
}

static Status check_strides(Desc *d, Error *err) {
    const RnnShape s = rnn_shape(d);
    int64_t unused[2] = {0, 0};
    const int64_t rows = d->packed ? d->total_tokens : d->max_steps;
    const int64_t batch = d->packed ? 1 : d->batch;
    const PlanTensor tensors[] = {
        {"x",
         {"step", "batch"},
         {rows, batch},
         {&d->x_stride_step, d->packed ? &unused[0] : &d->x_stride_batch},
         2,
         d->input,
         1,
         false},
        {"y",
         {"step", "batch"},
         {rows, batch},
         {&d->y_stride_step, d->packed ? &unused[1] : &d->y_stride_batch},
         2,
         s.directions * s.state,
         1,
         true},
    };
    Status st = ST_OK;
    for (size_t i = 0; i < 2 && st == ST_OK; i++) st = plan_check_tensor(&tensors[i], err);
    return st;
}

static Status check_tokens(Desc *d, Error *err) {
    const int64_t most = d->batch * d->max_steps; /* both within 32 bits */
    if (d->total_tokens == 0) d->total_tokens = most;
    if (d->total_tokens <= RNN_MAX_TOKENS) return ST_OK;
    return err_set(err, ST_INVALID,
                   "batch %lld * max_steps %lld is %lld tokens: must be at most %d%s",
                   (long long)d->batch, (long long)d->max_steps, (long long)most, RNN_MAX_TOKENS,
                   d->packed ? ", or give total_tokens" : "; run the sequences in pieces");
}

/* One layer, and x has no strides of its own. */
static Status check_given(const Desc *d, Error *err) {
    const struct {
        const char *name;
        int64_t value, must;
    } rows[] = {{"layers", d->layers, 1},
                {"x_stride_step", d->x_stride_step, 0},
                {"x_stride_batch", d->x_stride_batch, 0},
                {"chunk_steps", d->chunk_steps, 0}};
    if (!rnn_input_given(d)) return ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value != rows[i].must)
            return err_set(err, ST_INVALID,
                           "%s is %lld: with SEQTUNE_RNN_GIVEN_INPUT, where x is W x + bias of all "
                           "steps of one layer, it must be %lld",
                           rows[i].name, (long long)rows[i].value, (long long)rows[i].must);
    return ST_OK;
}

Status rnn_check_desc(Desc *d, Error *err) {
    const PlanEnum enums[] = {
        {"packed", d->packed, 1, "0 or 1"},
        {"device_lengths", d->device_lengths, 1, "0 or 1"},
        {"store_gates", d->store_gates, 1, "0 or 1"},
    };
    Status st = rnn_check_cell(d, err);
    if (st == ST_OK) st = plan_check_enums(enums, sizeof enums / sizeof enums[0], err);
    if (st == ST_OK) st = check_flags(d, err);
    if (st == ST_OK) st = check_given(d, err);
    if (st == ST_OK) st = check_floats(d, err);
    if (st != ST_OK) return st;
    if (d->batch == 0) d->batch = 1;
    if (d->norm_eps == 0) d->norm_eps = 1e-5f;
    st = plan_check_fields(d, run_fields, sizeof run_fields / sizeof run_fields[0], "rnn", err);
    if (st == ST_OK) st = check_tokens(d, err);
    return st == ST_OK ? check_strides(d, err) : st;
}
