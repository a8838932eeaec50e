/* An independent packer; see the header. */
#include "tuner/verify/rnn_pack.h"

#include "base/round.h"

RnnPacking rnn_packing(Dtype type, int64_t gates, int64_t hidden) {
    const int64_t units_pad = round_up(hidden, 16);
    return (RnnPacking){type, gates, hidden, units_pad, units_pad * gates};
}

int64_t rnn_pack_row(const RnnPacking *p, int64_t unit, int64_t gate) {
    return unit / 8 * 8 * p->gates + gate * 8 + unit % 8;
}

void rnn_pack_matrix(const RnnPacking *p, const double *from, int64_t parts, int64_t part,
                     int64_t pitch, void *to) {
    for (int64_t g = 0; g < p->gates; g++)
        for (int64_t u = 0; u < p->hidden; u++) {
            const int64_t row = rnn_pack_row(p, u, g) * parts * pitch;
            for (int64_t k = 0; k < parts; k++)
                for (int64_t i = 0; i < part; i++)
                    dtype_store(p->type, to, row + k * pitch + i, *from++);
        }
}

void rnn_pack_rows(const RnnPacking *p, const double *from, float *to) {
    for (int64_t g = 0; g < p->gates; g++)
        for (int64_t u = 0; u < p->hidden; u++) to[rnn_pack_row(p, u, g)] = (float)*from++;
}

void rnn_pack_units(const RnnPacking *p, const double *from, int64_t count, float *to) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t u = 0; u < p->hidden; u++) to[i * p->units_pad + u] = (float)*from++;
}

void rnn_pack_projection(const RnnPacking *p, const double *from, int64_t state, void *to) {
    const int64_t pitch = round_up(p->units_pad, 32);
    for (int64_t s = 0; s < state; s++)
        for (int64_t u = 0; u < p->hidden; u++) dtype_store(p->type, to, s * pitch + u, *from++);
}
