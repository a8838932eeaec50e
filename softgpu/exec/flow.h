/* The control flow of one entry while it is decoded: basic blocks and what lives into them. */
#ifndef SEQTUNE_SOFTGPU_EXEC_FLOW_H
#define SEQTUNE_SOFTGPU_EXEC_FLOW_H

#include "softgpu/exec/decode.h"

typedef struct Basic {
    int first, end; /* Ir */
    int next[2];    /* successors, -1 */
} Basic;

/* Is a basic block the head of a loop that only waits, and for what? */
typedef enum SpinKind { SPIN_NONE, SPIN_SHARED, SPIN_GLOBAL } SpinKind;

typedef struct Flow {
    Decode *d;
    Basic *blocks;
    int count;
    int *block_of;                               /* per Ir */
    uint64_t *live_in, *live_out, *uses, *kills; /* NULL: too large to know */
    size_t words;
    int *start, *end; /* interval per virtual register: 2i reads, 2i + 1 writes of Ir i */
    uint8_t *spins;   /* SpinKind per basic block */
} Flow;

static inline void flow_set(const Flow *f, uint64_t *base, int block, uint32_t v) {
    base[(size_t)block * f->words + v / 64] |= UINT64_C(1) << (v % 64);
}
static inline bool flow_test(const Flow *f, const uint64_t *base, int block, uint32_t v) {
    return base[(size_t)block * f->words + v / 64] >> (v % 64) & 1;
}

/* What calls of routines save: fills the kernel's `calls`. See routine.c. */
void flow_calls(Flow *f);
/* Finds the loops that only wait: fills f->spins, marks the jumps back. See spin.c. */
void flow_spins(Flow *f);

#endif
