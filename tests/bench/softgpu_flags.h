/* A barrier over the grid made of a counter in global memory: what waiting costs. */
#ifndef SEQTUNE_TESTS_BENCH_SOFTGPU_FLAGS_H
#define SEQTUNE_TESTS_BENCH_SOFTGPU_FLAGS_H

#include "runtime/driver.h"

enum { FLAG_BLOCKS = 108, FLAG_STEPS = 1000 };

/* One launch of FLAG_BLOCKS blocks that meet FLAG_STEPS times, in the current context; an error
 * also when the counter does not hold what it must afterwards. */
Status bench_flags(const Driver *driver, Error *err);

#endif
