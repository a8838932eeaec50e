/* Order statistics: the interval of the median is made of two of the sorted values themselves, so
 * that a heavy tail (a clock drop, another process) cannot widen or shift it as it would a mean. */
#include "tuner/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rank k (0-based) such that [x_k, x_(n-1-k)] holds the median with at least 95 %: the binomial
 * distribution B(n, 1/2) puts at most 2.5 % below k. Below 6 values no such rank exists: 0. */
static size_t interval_rank(size_t n) {
    double term = pow(0.5, (double)n), tail = term;
    size_t k = 0;
    while (tail <= 0.025 && k + 1 < n / 2) {
        term = term * (double)(n - k) / (double)(k + 1);
        if (tail + term > 0.025) break;
        tail += term;
        k++;
    }
    return k;
}

Spread stats_spread(const double *values, size_t count) {
    double sorted[STATS_MAX];
    if (count == 0) return (Spread){0};
    if (count > STATS_MAX) count = STATS_MAX;
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    size_t k = interval_rank(count);
    double median =
        count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
    return (Spread){.median = median, .low = sorted[k], .high = sorted[count - 1 - k]};
}

Spread stats_ratio(const double *a, const double *b, size_t count) {
    double ratios[STATS_MAX];
    if (count > STATS_MAX) count = STATS_MAX;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (b[i] > 0) ratios[n++] = a[i] / b[i];
    }
    return stats_spread(ratios, n);
}
