/* Loops that wait with a time-out: what they count, found while decoding, and how the count is run
 * down once nobody else can go on.
 *
 * A real machine may poll any number of times while others do nothing, so polls may be left out of
 * the execution and made up for in one step: the counters advance by as many rounds as it takes
 * until a comparison with a limit comes out differently (an overestimate never: the last rounds are
 * executed). */
#ifndef SEQTUNE_SOFTGPU_EXEC_COUNTDOWN_H
#define SEQTUNE_SOFTGPU_EXEC_COUNTDOWN_H

#include "softgpu/exec/flow.h"

enum { SPIN_BLOCKS = 32, COUNTERS = 4, COUNT_TESTS = 4 };

typedef struct SpinLoop { /* while it is decoded: see spin.c */
    int blocks[SPIN_BLOCKS];
    int count, irs;
    int round;         /* marks of this loop in the arrays below */
    int *inside;       /* per basic block */
    int *decides;      /* per virtual register: what leaving depends on */
    int *first_before; /* predecessors of block b: list[first_before[b] ...] */
    int *before;
} SpinLoop;

typedef struct Countdown { /* rows as in records */
    struct {
        uint32_t row;
        bool wide; /* 64 bits */
        int64_t step;
    } counter[COUNTERS];
    struct {         /* a comparison of a counter with what the loop does not change */
        int counter; /* ... plus `ahead`, as the coming round sees it */
        int64_t ahead;
        uint32_t limit; /* row */
        uint8_t less;   /* 0: equal; 1: counter < limit; 2: limit < counter */
        bool is_signed, wide;
    } test[COUNT_TESTS];
    int counters, tests;
} Countdown;

/* Are counters all that a round hands to the next, and do only comparisons with limits decide by
 * them? Then fills *out. */
bool countdown_of(const Flow *f, const SpinLoop *loop, int head, Countdown *out);
/* Keeps it for the head's basic block, with the kernel. */
void countdown_keep(Flow *f, int head, const Countdown *count);

/* Lanes asleep in loops that count: their counts run down and they are awake. False: none are, or
 * none has a limit ahead. */
bool warp_countdown(Warp *w);

#endif
