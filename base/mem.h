/* The one door to the heap, so that tests can make the n-th allocation fail.
 *
 * Thread-safe. mem_free(NULL) does nothing. */
#ifndef SEQTUNE_BASE_MEM_H
#define SEQTUNE_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size); /* zeroed; NULL when there is no memory */
void *mem_realloc(void *p, size_t size);
void mem_free(void *p);
char *mem_strdup(const char *s);

/* Test hook: the n-th allocation from now on (1 = the next one) and all later ones fail;
 * 0 = off. Returns how many allocations were made since the last call. */
unsigned long mem_fail_after(unsigned long n);

#endif
