/* Seeded pseudo-random numbers for inputs (splitmix64): the same seed gives the same tensor on
 * every machine. Not for anything secret. */
#ifndef SEQTUNE_TUNER_VERIFY_RANDOM_H
#define SEQTUNE_TUNER_VERIFY_RANDOM_H

#include <stdint.h>

typedef struct Random {
    uint64_t state;
} Random;

static inline uint64_t random_bits(Random *r) {
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 <= result < n. */
static inline int64_t random_below(Random *r, int64_t n) {
    return (int64_t)(random_bits(r) % (uint64_t)n);
}

/* Mean 0, variance 1, within +-3.5: four uniforms of 16 bits, centred and scaled. Nearly normal,
 * one draw, and exact arithmetic but for the last product: the same on every machine. */
static inline double random_normal(Random *r) {
    const uint64_t bits = random_bits(r);
    const uint64_t sum =
        (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    return ((double)sum * 0x1p-16 - 2) * 1.7320508075688772;
}

#endif
