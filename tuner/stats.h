/* Statistics of repeated times: median, a confidence interval that assumes no distribution, and
 * the paired ratio of two kernels timed in turn. Pure functions; seconds in, seconds out. */
#ifndef SEQTUNE_TUNER_STATS_H
#define SEQTUNE_TUNER_STATS_H

#include <stddef.h>

enum { STATS_MAX = 256 }; /* repetitions that are looked at; the rest is ignored */

typedef struct Spread {
    double median;
    double low, high; /* 95 % interval of the median; equal to it with one value */
} Spread;

/* Zeros when count is 0. */
Spread stats_spread(const double *values, size_t count);
/* Of a[i] / b[i]: rounds i where both were timed side by side. */
Spread stats_ratio(const double *a, const double *b, size_t count);

#endif
