/* cp.async: copies that land between issue and wait.
 *
 * Hardware may complete a copy at any moment between the instruction and the wait for its group.
 * Here half of the copies land at once and half as late as allowed, by a hash of where they are:
 * a missing wait shows as stale data in the late half, a missing barrier (a stage overwritten
 * while others still read it) in the early half. Groups are counted per thread (PTX ISA,
 * cp.async.wait_group); data of one thread's groups say nothing of another's. */
#include "softgpu/exec/watch.h"

#include <string.h>

#include "base/mem.h"

/* no_sanitize: as in access.h, races on device memory are the kernel's. */
__attribute__((no_sanitize("thread"))) static void land(Warp *w, AsyncCopy *c, uint32_t lanes,
                                                        bool waited) {
    lanes &= c->mask;
    c->mask &= ~lanes;
    if (w->block->watch) watch_landed(w, c, lanes, waited);
    if (c->bytes == 16) { /* the usual case, without calls of memcpy */
        uint32_t whole = 0;
        for (int l = 0; l < LANES; l++) whole |= (uint32_t)(c->take[l] == 16) << l;
        for (uint32_t left = whole & lanes; left; left &= left - 1) {
            const int l = __builtin_ctz(left);
            memcpy(w->block->shared + c->dst[l], (const void *)(uintptr_t)c->src[l], 16);
        }
        lanes &= ~whole;
    }
    for (; lanes; lanes &= lanes - 1) {
        const int l = __builtin_ctz(lanes);
        uint8_t *const dst = w->block->shared + c->dst[l];
        const uint32_t take = c->take[l];
        if (take) memcpy(dst, (const void *)(uintptr_t)c->src[l], take);
        if (take < c->bytes) memset(dst + take, 0, c->bytes - take);
    }
}

/* A copy that is watched lands when it must: what comes too early for it is found by name. */
static bool early(const Warp *w) {
    if (w->block->watch && w->block->watch->races) return false;
    const uint64_t seed = w->block->launch->user->seed;
    if (seed) return sg_mix(seed, w->block->linear << 5 | (uint64_t)w->index, w->async_serial) & 1;
    uint64_t h = w->block->linear * UINT64_C(0x9e3779b97f4a7c15) +
                 w->async_serial * UINT64_C(0xff51afd7ed558ccd) + (uint64_t)w->index;
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h >> 63;
}

AsyncCopy *async_next(Warp *w) {
    if (w->async_count == w->async_cap) {
        const int cap = w->async_cap ? w->async_cap * 2 : 16;
        AsyncCopy *const list = mem_realloc(w->async, (size_t)cap * sizeof *list);
        if (!list) return NULL;
        w->async = list;
        w->async_cap = cap;
    }
    return &w->async[w->async_count];
}

void async_push(Warp *w) {
    AsyncCopy *const c = &w->async[w->async_count];
    w->async_serial++;
    w->group_copies++;
    if (early(w)) {
        land(w, c, c->mask, false);
        return;
    }
    memcpy(c->group, w->committed, sizeof c->group);
    w->async_count++;
}

void async_commit(Warp *w) {
    for (int l = 0; l < LANES; l++) w->committed[l] += w->mask >> l & 1;
    w->group_history = w->group_history << 1 | (w->group_copies != 0);
    w->group_copies = 0;
    if (w->groups_open < 63) w->groups_open++;
    const uint64_t open = w->group_history & ((UINT64_C(1) << w->groups_open) - 1);
    const uint64_t n = (uint64_t)__builtin_popcountll(open);
    if (n > w->block->dynamic.max_async_groups) w->block->dynamic.max_async_groups = n;
}

/* Lands what is older than the `newest_left` newest committed groups of each lane. */
void async_wait(Warp *w, uint32_t newest_left) {
    if (newest_left < w->groups_open) w->groups_open = newest_left;
    int kept = 0;
    for (int i = 0; i < w->async_count; i++) {
        AsyncCopy *const c = &w->async[i];
        uint32_t due = 0;
        for (int l = 0; l < LANES; l++)
            due |= (uint32_t)(c->group[l] + newest_left < w->committed[l]) << l;
        land(w, c, due & w->mask, true);
        if (!c->mask) continue;
        if (kept != i) w->async[kept] = *c;
        kept++;
    }
    w->async_count = kept;
}

void async_wait_all(Warp *w) {
    int kept = 0;
    w->groups_open = 0;
    w->group_copies = 0;
    for (int i = 0; i < w->async_count; i++) {
        land(w, &w->async[i], w->mask, true);
        if (w->async[i].mask) w->async[kept++] = w->async[i];
    }
    w->async_count = kept;
}

void async_land(Warp *w, uint32_t lanes) {
    int kept = 0;
    for (int i = 0; i < w->async_count; i++) {
        land(w, &w->async[i], lanes, false);
        if (w->async[i].mask) w->async[kept++] = w->async[i];
    }
    w->async_count = kept;
}

bool async_arrival(Warp *w, uint32_t offset, uint32_t lanes) {
    Block *const b = w->block;
    if (b->arrival_count == b->arrival_cap) {
        const int cap = b->arrival_cap ? b->arrival_cap * 2 : 16;
        AsyncArrival *const list = mem_realloc(b->arrivals, (size_t)cap * sizeof *list);
        if (!list) return false;
        b->arrivals = list;
        b->arrival_cap = cap;
    }
    b->arrivals[b->arrival_count++] =
        (AsyncArrival){.offset = offset, .lanes = lanes, .warp = w->index};
    return true;
}
