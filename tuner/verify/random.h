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

/* Mean 0, variance 1: the sum of twelve uniforms less six, exact arithmetic on every machine. */
static inline double random_normal(Random *r) {
    double sum = -6;
    for (int i = 0; i < 12; i += 3) {
        const uint64_t bits = random_bits(r); /* three uniforms of 21 bits */
        for (int part = 0; part < 3; part++) {
            sum += (double)(bits >> (21 * part) & 0x1fffff) * 0x1p-21;
        }
    }
    return sum;
}

#endif
