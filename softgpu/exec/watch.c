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

bool watch_start(Block *b, uint8_t *local, size_t local_bytes) {
    const SgLaunch *const user = b->launch->user;
    if (!(b->launch->kernel->module->checks & SG_CHECK_ACCESS) || user->mode == SG_TIMING)
        return true;
    if (!b->watch) b->watch = watch_new(b, local, local_bytes);
    if (!b->watch) return false;
    Watch *const watch = b->watch;
    if (watch->shadow) memset(watch->shadow, 0, watch->shared_bytes + watch->local_bytes);
    return true;
}

void watch_free(Watch *watch) {
    if (!watch) return;
    mem_free(watch->shadow);
    mem_free(watch);
}

void watch_wrote_shared(Block *b, uint32_t offset, uint32_t bytes) {
    const Watch *const watch = b->watch;
    if (watch && watch->shadow) memset(watch->shadow + offset, 0xff, bytes);
}

void watch_wrote_local(Block *b, const uint8_t *address, uint32_t bytes) {
    const Watch *const watch = b->watch;
    if (watch && watch->shadow)
        memset((void *)((uintptr_t)address + (uintptr_t)watch->local_shadow), 0xff, bytes);
}

void watch_landed(Warp *w, const AsyncCopy *copy, uint32_t lanes) {
    for (; lanes; lanes &= lanes - 1)
        watch_wrote_shared(w->block, copy->dst[__builtin_ctz(lanes)], copy->bytes);
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
