/* From weights gate after gate to the packing of runtime/params/rnn.h, written from that contract
 * alone: what the kernels read here was not packed by the library that ships them.
 *
 * Invariant: whatever is not written is left as it is; targets begin zeroed. */
#ifndef SEQTUNE_TUNER_VERIFY_RNN_PACK_H
#define SEQTUNE_TUNER_VERIFY_RNN_PACK_H

#include <stdint.h>

#include "tuner/verify/dtype.h"

typedef struct RnnPacking {
    Dtype type;
    int64_t gates, hidden;
    int64_t units_pad, rows; /* units_pad * gates */
} RnnPacking;

RnnPacking rnn_packing(Dtype type, int64_t gates, int64_t hidden);

/* Row of a unit's gate. */
int64_t rnn_pack_row(const RnnPacking *p, int64_t unit, int64_t gate);

/* [gates, hidden, parts * part] to [rows, parts * pitch]; part k of a row begins at k * pitch. */
void rnn_pack_matrix(const RnnPacking *p, const double *from, int64_t parts, int64_t part,
                     int64_t pitch, void *to);

/* [gates, hidden] to float [rows]. */
void rnn_pack_rows(const RnnPacking *p, const double *from, float *to);

/* [count, hidden] to float [count, units_pad]. */
void rnn_pack_units(const RnnPacking *p, const double *from, int64_t count, float *to);

/* [state, hidden] to [state rounded up to 16, units_pad rounded up to 32]. */
void rnn_pack_projection(const RnnPacking *p, const double *from, int64_t state, void *to);

#endif
