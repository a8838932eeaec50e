/* See written.h. */
#include "softgpu/written.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "softgpu/exec/checks.h"
#include "softgpu/memory.h"

static uint64_t distance_now; /* accessed with __atomic_* */

static uint8_t *shadow(uint64_t address) {
    return (uint8_t *)(uintptr_t)(address + sg_written_distance());
}

uint64_t sg_written_distance(void) {
    return __atomic_load_n(&distance_now, __ATOMIC_ACQUIRE);
}

bool sg_written_wanted(void) {
    SgChecks checks = SG_CHECK_NONE;
    return sg_checks_from_environment(&checks, NULL) == ST_OK && (checks & SG_CHECK_INIT);
}

Status sg_written_reserve(uint64_t base, uint64_t size, Error *err) {
    if (sg_written_distance() != 0) return ST_OK;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *const at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED)
        return err_set(err, ST_NO_MEMORY,
                       "SOFTGPU_CHECKS=init: the host refuses %" PRIu64
                       " MiB of address space for the record of written bytes",
                       size >> 20);
    madvise(at, size, MADV_DONTFORK);
    madvise(at, size, MADV_DONTDUMP);
    __atomic_store_n(&distance_now, (uint64_t)(uintptr_t)at - base, __ATOMIC_RELEASE);
    return ST_OK;
}

void sg_written_forget(uint64_t address, uint64_t bytes) {
    if (sg_written_distance() != 0) madvise(shadow(address), bytes, MADV_DONTNEED);
}

/* no_sanitize: kernels may write the same bytes at the same time, as written.h allows. */
__attribute__((no_sanitize("thread"))) void sg_written_mark(uint64_t address, uint64_t bytes) {
    if (sg_written_distance() != 0 && sg_mem_in_range(address))
        memset(shadow(address), 0xff, bytes);
}

__attribute__((no_sanitize("thread"))) void sg_written_copy(uint64_t to, uint64_t from,
                                                            uint64_t bytes) {
    if (sg_written_distance() == 0 || !sg_mem_in_range(to)) return;
    const SgAllocation *const source = sg_mem_find(from);
    if (source != NULL && source->tracked)
        memmove(shadow(to), shadow(from), bytes);
    else
        memset(shadow(to), 0xff, bytes);
}

void sg_written_give_up(void) {
    if (sg_written_distance() != 0) sg_mem_untrack();
}
