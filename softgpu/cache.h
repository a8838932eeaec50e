/* A simple model of the L2 cache: what of the sectors that blocks touch goes to DRAM.
 *
 * 128-byte lines of four 32-byte sectors, 16 ways, least recently used line of a set replaced; the
 * set is a hash of the line's address. Reads fill one sector at a time; writes fill nothing (a
 * sector is taken as written whole) and go to DRAM when the line is replaced or at the end. Cold
 * at the start. Not modelled: L1, partitions, residency controls, compression, timing. */
#ifndef SEQTUNE_SOFTGPU_CACHE_H
#define SEQTUNE_SOFTGPU_CACHE_H

#include <stdint.h>

typedef struct SgCache SgCache;

typedef struct SgCacheCounts { /* sectors of 32 bytes */
    uint64_t reads, read_hits;
    uint64_t writes, write_hits;
    uint64_t written_back; /* to DRAM; reads - read_hits came from there */
} SgCacheCounts;

/* `bytes`: the capacity, 0 taken as one set. NULL: no memory. */
SgCache *sg_cache_new(int64_t bytes);
void sg_cache_free(SgCache *cache);
/* Sectors first .. first + count - 1 (address / 32). An atomic is a read and a write. */
void sg_cache_read(SgCache *cache, uint64_t first, uint64_t count);
void sg_cache_write(SgCache *cache, uint64_t first, uint64_t count);
/* Counts so far, sectors that wait to be written back counted as if they were. */
SgCacheCounts sg_cache_counts(const SgCache *cache);

#endif
