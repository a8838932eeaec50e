/* Where everything lies in the packed weights of recurrent layers: the one place that knows. */
#include "runtime/rnn.h"

#include <stdbool.h>

#include "base/round.h"

enum { BLOCK_ALIGN = 256 };

RnnShape rnn_shape(const seqtune_rnn_desc *d) {
    RnnShape s = {
        .directions = d->direction == SEQTUNE_RNN_BIDIRECTIONAL ? 2 : 1,
        .gates = d->cell == SEQTUNE_GRU ? 3 : 4,
        .element = d->dtype == SEQTUNE_F32 ? 4 : 2,
        .units_pad = round_up(d->hidden, RNN_UNITS),
        .state = d->projection > 0 ? d->projection : d->hidden,
        .cell = d->cell == SEQTUNE_GRU ? 0 : d->hidden,
    };
    s.rows = s.units_pad * s.gates;
    s.state_pitch = round_up(s.state, RNN_PITCH);
    if (d->projection > 0) {
        s.projection_rows = round_up(d->projection, RNN_UNITS);
        s.units_pitch = round_up(s.units_pad, RNN_PITCH);
    }
    return s;
}

bool rnn_input_given(const seqtune_rnn_desc *d) {
    return (d->flags & SEQTUNE_RNN_GIVEN_INPUT) != 0;
}

int64_t rnn_row(const RnnShape *shape, int64_t unit, int64_t gate) {
    return unit / 8 * 8 * shape->gates + gate * 8 + unit % 8;
}

int64_t rnn_input_parts(const seqtune_rnn_desc *d, int64_t layer) {
    return layer == 0 ? 1 : rnn_shape(d).directions;
}

int64_t rnn_input_size(const seqtune_rnn_desc *d, int64_t layer) {
    const RnnShape s = rnn_shape(d);
    return layer == 0 ? d->input : s.directions * s.state;
}

int64_t rnn_input_pitch(const seqtune_rnn_desc *d, int64_t layer) {
    const int64_t parts = rnn_input_parts(d, layer);
    return parts * round_up(rnn_input_size(d, layer) / parts, RNN_PITCH);
}

static int64_t place(int64_t *end, bool wanted, int64_t bytes) {
    const int64_t at = *end;
    if (!wanted) return -1;
    *end += round_up(bytes, BLOCK_ALIGN);
    return at;
}

/* A block at offset 0. */
static RnnBlock block_of(const seqtune_rnn_desc *d, int64_t layer) {
    const RnnShape s = rnn_shape(d);
    const bool gru = d->cell == SEQTUNE_GRU;
    const int64_t norms = 2 * s.rows + (gru ? 0 : 2 * s.units_pad);
    RnnBlock b = {0};
    b.w = place(&b.end, true, s.rows * rnn_input_pitch(d, layer) * s.element);
    b.r = place(&b.end, true, s.rows * s.state_pitch * s.element);
    b.bias = place(&b.end, true, s.rows * 4);
    b.hidden_bias = place(&b.end, gru && !d->reset_before, s.units_pad * 4);
    b.peephole = place(&b.end, d->peephole != 0, 3 * s.units_pad * 4);
    b.projection = place(&b.end, d->projection > 0, s.projection_rows * s.units_pitch * s.element);
    b.norm = place(&b.end, d->layer_norm != 0, norms * 4);
    return b;
}

RnnBlock rnn_block(const seqtune_rnn_desc *d, int64_t layer, int64_t direction) {
    const int64_t directions = rnn_shape(d).directions;
    const int64_t first = block_of(d, 0).end, other = block_of(d, 1).end;
    const int64_t base = layer == 0
                             ? direction * first
                             : directions * first + ((layer - 1) * directions + direction) * other;
    RnnBlock b = block_of(d, layer);
    int64_t *const places[] = {&b.w,        &b.r,          &b.bias, &b.hidden_bias,
                               &b.peephole, &b.projection, &b.norm, &b.end};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (*places[i] >= 0) *places[i] += base;
    return b;
}

int64_t rnn_weights_size(const seqtune_rnn_desc *d) {
    return rnn_block(d, d->layers - 1, rnn_shape(d).directions - 1).end;
}
