/* See cache.h. The ways of a set stand in order of use, the latest first. */
#include "softgpu/cache.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"

enum { WAYS = 16, LINE_BYTES = 128, LINE_SECTORS = 4 };

typedef struct Line {
    uint64_t tag; /* line address + 1; 0: free */
    uint8_t valid, dirty;
} Line;

struct SgCache {
    uint64_t sets;
    SgCacheCounts counts;
    Line lines[];
};

SgCache *sg_cache_new(int64_t bytes) {
    const uint64_t lines = bytes > 0 ? (uint64_t)bytes / LINE_BYTES : 0;
    const uint64_t sets = lines < WAYS ? 1 : lines / WAYS;
    SgCache *const c = mem_alloc(sizeof *c + (size_t)sets * WAYS * sizeof(Line));
    if (c) c->sets = sets;
    return c;
}

void sg_cache_free(SgCache *cache) {
    mem_free(cache);
}

/* The line of `address`, first of its set; a new one has no valid sector. */
static Line *line_of(SgCache *c, uint64_t address) {
    uint64_t h = address * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
    Line *const set = c->lines + h % c->sets * WAYS;
    int way = 0;
    while (way < WAYS - 1 && set[way].tag != address + 1) way++;
    Line line = set[way];
    if (line.tag != address + 1) {
        c->counts.written_back += (uint64_t)__builtin_popcount(line.dirty);
        line = (Line){.tag = address + 1};
    }
    memmove(set + 1, set, (size_t)way * sizeof *set);
    set[0] = line;
    return set;
}

static void touch(SgCache *c, uint64_t first, uint64_t count, bool write) {
    for (uint64_t end = first + count; first < end;) {
        Line *const line = line_of(c, first / LINE_SECTORS);
        for (uint64_t left = LINE_SECTORS - first % LINE_SECTORS; left && first < end;
             left--, first++) {
            const uint8_t bit = (uint8_t)(1u << first % LINE_SECTORS);
            const bool hit = line->valid & bit;
            line->valid |= bit;
            if (write) line->dirty |= bit;
            if (write) {
                c->counts.writes++;
                c->counts.write_hits += hit;
            } else {
                c->counts.reads++;
                c->counts.read_hits += hit;
            }
        }
    }
}

void sg_cache_read(SgCache *cache, uint64_t first, uint64_t count) {
    touch(cache, first, count, false);
}

void sg_cache_write(SgCache *cache, uint64_t first, uint64_t count) {
    touch(cache, first, count, true);
}

SgCacheCounts sg_cache_counts(const SgCache *cache) {
    SgCacheCounts counts = cache->counts;
    for (uint64_t i = 0; i < cache->sets * WAYS; i++)
        counts.written_back += (uint64_t)__builtin_popcount(cache->lines[i].dirty);
    return counts;
}
