/* The 64-bit word of an mbarrier object and how to read it; see exec/mbarrier.h for what it does.
 */
#ifndef SEQTUNE_SOFTGPU_EXEC_MBARRIER_WORD_H
#define SEQTUNE_SOFTGPU_EXEC_MBARRIER_WORD_H

#include <stdbool.h>
#include <stdint.h>

enum { MB_BITS = 20, MB_EXPECTED = 20, MB_TX = 40, MB_TX_BITS = 21, MB_PHASE = 61 };
#define MB_FIELD ((UINT64_C(1) << MB_BITS) - 1)
#define MB_MARK  (UINT64_C(2) << 62)
#define MB_MOST  ((1 << 20) - 1) /* of arrivals and of bytes */

typedef struct MBarrier {
    int64_t pending, expected, tx;
    uint32_t phase;
} MBarrier;

static inline bool mb_unpack(uint64_t v, MBarrier *m) {
    m->pending = (int64_t)(v & MB_FIELD);
    m->expected = (int64_t)(v >> MB_EXPECTED & MB_FIELD);
    m->tx = (int64_t)(v << (64 - MB_TX - MB_TX_BITS)) >> (64 - MB_TX_BITS);
    m->phase = (uint32_t)(v >> MB_PHASE & 1);
    return v >> 62 == 2;
}

#endif
