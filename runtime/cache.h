/* Artifacts on disk: one directory per key, source beside binary.
 *
 *   <dir>/artifacts/<hex key>/manifest  source.cu  kernel.ptx.zst  kernel.cubin.zst
 * compiler.log.zst
 *
 * Invariant: a reader sees a whole entry or none (published by rename of the directory), and only
 * bytes whose hashes the manifest holds. Two processes may use one directory at once. A directory
 * that others may write is not used; one that cannot be written is read only. Both are said once
 * in the log. There is no limit on the size yet (the caller may delete the directory). */
#ifndef SEQTUNE_RUNTIME_CACHE_H
#define SEQTUNE_RUNTIME_CACHE_H

#include "runtime/build.h"

typedef struct Cache Cache;

/* `dir` NULL: files_cache_dir(); "": no cache (all look-ups miss). Fails only without memory. */
Status cache_open(const char *dir, Cache **out, Error *err);
void cache_close(Cache *cache);
const char *cache_dir(const Cache *cache); /* "" when there is none */

/* True when the entry is there and whole. A corrupt one is logged, removed and counts as absent. */
bool cache_get(Cache *cache, const Hash *key, Arena *arena, Artifact *out);
/* Best effort; what goes wrong is logged once per Cache. True when the entry is on disk. */
bool cache_put(Cache *cache, const Artifact *artifact);

#endif
