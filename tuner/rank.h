/* Who wins: pure rules over timed configurations, apart from how they were timed.
 *
 *   fastest -> all within the tie gap of it -> the default if it is among them
 *           -> else fewest registers x threads -> fewest bytes of shared memory -> smaller text
 *
 * Invariant: the answer does not depend on the order of the entries, and a winner that is not the
 * default is faster than the default by more than the gap. */
#ifndef SEQTUNE_TUNER_RANK_H
#define SEQTUNE_TUNER_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Timed {
    const char *config; /* canonical text */
    double time;        /* seconds; median */
    double low, high;   /* 95 % interval; equal to time when the device is deterministic */
    int64_t registers;  /* per thread */
    int64_t threads;
    int64_t smem;
    bool is_default;
} Timed;

/* A model that is right to a few percent cannot tell times apart that differ by less than 1 %. */
static const double rank_modelled_gap = 0.01;
/* Two measured medians closer than this are one: clocks step by about 0.5 % on current GPUs. */
static const double rank_measured_gap = 0.005;

/* Two entries that cannot be told apart: within `gap`, or with overlapping intervals. */
bool rank_tied(const Timed *a, const Timed *b, double gap);
/* Index of the winner; `count` when count is 0. */
size_t rank_winner(const Timed *entries, size_t count, double gap);
/* Could an entry with these first repetitions still win against `best`? (racing) */
bool rank_may_win(const Timed *entry, const Timed *best, double gap);

#endif
