/* Rounding up to a multiple. Inline and nothing else; `unit` is positive, nothing is checked for
 * overflow. */
#ifndef SEQTUNE_BASE_ROUND_H
#define SEQTUNE_BASE_ROUND_H

#include <stdint.h>

/* The least multiple of `unit` that is at least n; n is not negative. */
static inline int64_t round_up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* The same of addresses and sizes. */
static inline uint64_t round_up_u64(uint64_t n, uint64_t unit) {
    return (n + unit - 1) / unit * unit;
}

#endif
