/* See watch.h. */
#include "softgpu/exec/watch.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/exec/module.h"
#include "softgpu/written.h"

static Watch *watch_new(const Block *b, const uint8_t *local, size_t local_bytes) {
    Watch *const watch = mem_alloc(sizeof *watch);
    if (!watch) return NULL;
    memset(watch, 0, sizeof *watch);
    watch->checks = b->launch->kernel->module->checks;
    watch->shared_bytes = b->shared_size;
    watch->local_bytes = local_bytes;
    watch->races = watch->checks & (SG_CHECK_RACE | SG_CHECK_ASYNC);
    watch->words = b->shared_size / 4 + 1;
    if (watch->races) watch->cells = mem_alloc(CELL_SLOTS * watch->words * sizeof *watch->cells);
    if (watch->races && !watch->cells) {
        watch_free(watch);
        return NULL;
    }
    if (!(watch->checks & SG_CHECK_INIT)) return watch;
    watch->shadow = mem_alloc(b->shared_size + local_bytes + 1);
    if (!watch->shadow) {
        watch_free(watch);
        return NULL;
    }
    watch->shared_shadow = (uint64_t)(uintptr_t)watch->shadow - (uint64_t)(uintptr_t)b->shared;
    watch->local_shadow =
        (uint64_t)(uintptr_t)(watch->shadow + b->shared_size) - (uint64_t)(uintptr_t)local;
    watch->global_shadow = sg_written_distance();
    return watch;
}

bool watch_launch(Launch *l, uint64_t blocks) {
    const SgChecks checks = l->kernel->module->checks;
    if (!(checks & (SG_CHECK_RACE | SG_CHECK_ASYNC)) || l->user->mode == SG_TIMING) return true;
    l->order_between = order_launch_new(blocks);
    l->race = race_launch_new();
    return l->order_between && l->race;
}

bool watch_start(Block *b, uint8_t *local, size_t local_bytes) {
    const SgLaunch *const user = b->launch->user;
    if (!(b->launch->kernel->module->checks & SG_CHECK_ACCESS) || user->mode == SG_TIMING)
        return true;
    if (!b->watch) b->watch = watch_new(b, local, local_bytes);
    if (!b->watch) return false;
    Watch *const watch = b->watch;
    if (watch->shadow) memset(watch->shadow, 0, watch->shared_bytes + watch->local_bytes);
    if (watch->races) {
        memset(watch->cells, 0, CELL_SLOTS * watch->words * sizeof *watch->cells);
        order_reset(&watch->order, b->warp_count);
    }
    return true;
}

void watch_end(Block *b) {
    if (b->watch && b->watch->races) order_end(b, &b->watch->order);
}

void watch_arrive(Warp *w, int barrier) {
    if (w->block->watch && w->block->watch->races) order_arrive(w, barrier);
}
void watch_release(Block *b, int barrier, uint32_t waiting) {
    if (b->watch && b->watch->races) order_release(b, barrier, waiting);
}
void watch_met(Warp *w) {
    if (w->block->watch && w->block->watch->races) order_warp_met(w);
}
void watch_fence(Warp *w) {
    if (w->block->watch && w->block->watch->races) order_fence(w);
}

void watch_free(Watch *watch) {
    if (!watch) return;
    order_free(&watch->order);
    mem_free(watch->cells);
    mem_free(watch->shadow);
    mem_free(watch);
}

void watch_wrote_shared(Block *b, uint32_t offset, uint32_t bytes) {
    const Watch *const watch = b->watch;
    if (watch && watch->shadow) memset(watch->shadow + offset, 0xff, bytes);
}

/* The shadow of `bytes` in local memory; NULL: none is kept. */
static uint8_t *local_shadow(const Block *b, const uint8_t *address) {
    const Watch *const watch = b->watch;
    if (!watch || !watch->shadow) return NULL;
    return (uint8_t *)((uintptr_t)address + (uintptr_t)watch->local_shadow);
}
void watch_wrote_local(Block *b, const uint8_t *address, uint32_t bytes) {
    uint8_t *const shadow = local_shadow(b, address);
    if (shadow) memset(shadow, 0xff, bytes);
}
void watch_new_local(Block *b, const uint8_t *address, uint32_t bytes) {
    uint8_t *const shadow = local_shadow(b, address);
    if (shadow) memset(shadow, 0, bytes);
}
void watch_copied_local(Block *b, const uint8_t *to, const uint8_t *from, uint32_t bytes) {
    uint8_t *const shadow = local_shadow(b, to);
    if (shadow) memcpy(shadow, local_shadow(b, from), bytes);
}

void watch_mb_arrive(Warp *w, uint32_t offset) {
    if (w->block->watch && w->block->watch->races) order_mb_arrive(w, offset);
}
void watch_mb_phase(Block *b, uint32_t offset) {
    if (b->watch && b->watch->races) order_mb_phase(b, offset);
}
void watch_mb_wait(Warp *w, uint32_t offset) {
    if (w->block->watch && w->block->watch->races) order_mb_wait(w, offset);
}

/* Who waited himself has them from now on; an mbarrier was told of them when they were issued. */
static void settle_cells(Warp *w, const AsyncCopy *copy, int lane, bool waited) {
    const Watch *const watch = w->block->watch;
    const Cell now = (Cell)watch->order.warps[w->index].now << CELL_CLOCK;
    const Cell clock = (((Cell)1 << CELL_CLOCK_BITS) - 1) << CELL_CLOCK;
    for (uint32_t i = copy->dst[lane] / 4; i < (copy->dst[lane] + copy->bytes) / 4; i++) {
        Cell *const c = &watch->cells[i];
        if (!(*c & CELL_PENDING) || (int)cell_bits(*c, CELL_WARP, 5) != w->index ||
            (int)cell_bits(*c, CELL_LANE, 5) != lane)
            continue;
        *c &= ~CELL_PENDING;
        if (waited) *c = (*c & ~clock) | now;
    }
}

/* A copy has read its source by the time its thread has waited, no sooner: a store by another
 * thread must be ordered after that. Where others read the word since, they are kept (race.h). */
static void settle_source(Warp *w, RaceChunk *chunk, const AsyncCopy *copy, int lane) {
    const Cell now = (Cell)w->block->watch->order.warps[w->index].now << CELL_CLOCK;
    const Cell clock = (((Cell)1 << CELL_CLOCK_BITS) - 1) << CELL_CLOCK;
    const Cell own = (Cell)w->index << CELL_WARP | (Cell)lane << CELL_LANE;
    const Cell who = (Cell)31 << CELL_WARP | (Cell)31 << CELL_LANE | (Cell)1 << CELL_MANY;
    const uint64_t first = copy->src[lane] >> 2;
    const uint64_t last = (copy->src[lane] + copy->take[lane] - 1) >> 2;
    for (uint64_t i = first; i <= last; i++) {
        Cell *const c = &chunk->cell[CELL_READ][i % CHUNK_WORDS];
        if (*c && (*c & who) == own &&
            chunk->block[CELL_READ][i % CHUNK_WORDS] == (uint32_t)w->block->linear)
            *c = (*c & ~clock) | now;
    }
}

static void settle_sources(Warp *w, const AsyncCopy *copy, uint32_t lanes) {
    RaceLaunch *const launch = w->block->launch->race;
    if (copy->clock == w->block->watch->order.warps[w->index].now) return;
    RaceChunk *chunk = NULL;
    uint64_t page = 0; /* of `held`, plus 1; 0: none is locked */
    uint64_t held = 0;
    for (; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        const uint64_t address = copy->src[lane];
        if (!copy->take[lane]) continue;
        if (page != (address >> 12) + 1) {
            if (page) race_unlock(launch, held);
            chunk = race_chunk(launch, address);
            page = 0;
            if (!chunk) continue;
            race_lock(launch, address);
            page = (address >> 12) + 1;
            held = address;
        }
        settle_source(w, chunk, copy, lane);
    }
    if (page) race_unlock(launch, held);
}

void watch_landed(Warp *w, const AsyncCopy *copy, uint32_t lanes, bool waited) {
    const Watch *const watch = w->block->watch;
    if (waited && watch->races && (watch->checks & SG_CHECK_RACE)) settle_sources(w, copy, lanes);
    for (; lanes; lanes &= lanes - 1) {
        const int lane = __builtin_ctz(lanes);
        watch_wrote_shared(w->block, copy->dst[lane], copy->bytes);
        if (w->block->watch->races) settle_cells(w, copy, lane, waited);
    }
}

void watch_name_unwritten(const uint8_t *shadow, uint32_t size, char *out, size_t out_size) {
    uint32_t first = size, last = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (shadow[i]) continue;
        if (first == size) first = i;
        last = i;
    }
    if (first == 0 && last == size - 1)
        snprintf(out, out_size, "never written");
    else if (first == last)
        snprintf(out, out_size, "byte %u of them was never written", first);
    else
        snprintf(out, out_size, "bytes %u to %u of them were never written", first, last);
}
