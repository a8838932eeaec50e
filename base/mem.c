/* The heap behind one door, with a countdown that makes allocations fail in tests.
 *
 * Invariant: with the countdown off, the only cost is one relaxed atomic increment. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Test hook only: not state of the library. */
static atomic_ulong made;    /* allocations since the last mem_fail_after */
static atomic_ulong fail_at; /* 0: never */

static bool refused(void) {
    unsigned long n = atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) + 1;
    unsigned long limit = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return limit != 0 && n >= limit;
}

void *mem_alloc(size_t size) {
    if (refused()) return NULL;
    return calloc(1, size ? size : 1);
}

void *mem_realloc(void *p, size_t size) {
    if (refused()) return NULL;
    return realloc(p, size ? size : 1);
}

void mem_free(void *p) {
    free(p);
}

char *mem_strdup(const char *s) {
    size_t size = strlen(s) + 1;
    char *copy = mem_alloc(size);
    if (copy) memcpy(copy, s, size);
    return copy;
}

unsigned long mem_fail_after(unsigned long n) {
    atomic_store(&fail_at, 0);
    unsigned long count = atomic_exchange(&made, 0);
    atomic_store(&fail_at, n);
    return count;
}
