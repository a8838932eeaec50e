/* The texts that are known to compile without a warning and without spills: a file of keys, one
 * line each, so that a sweep of hours can be interrupted and goes on.
 *
 * Invariant: a key is in the file only after its text compiled well. Several processes may add at
 * once (one write per line, appended); what another adds is seen at the next open. */
#ifndef SEQTUNE_TESTS_KERNELS_COMPILED_H
#define SEQTUNE_TESTS_KERNELS_COMPILED_H

#include <stdbool.h>

#include "base/hash.h"

typedef struct Compiled Compiled;

Compiled *compiled_open(const char *path); /* made when absent; NULL says why on stderr */
void compiled_close(Compiled *compiled);   /* NULL is fine */
bool compiled_has(const Compiled *compiled, const Hash *key);
bool compiled_add(Compiled *compiled, const Hash *key);

#endif
