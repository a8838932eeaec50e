/* See race.h. */
#include "softgpu/exec/race.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "softgpu/exec/module.h"

/* SLOTS half full are 64 GiB touched by one launch; what lies beyond is not watched. */
enum { CHUNK_SHIFT = 21, SLOTS = 1 << 16, LOCKS = 256, SPINS = 256, PAGE_SHIFT = 12 };

typedef struct Slot {
    uint64_t number; /* address >> CHUNK_SHIFT; 0: free. Accessed with __atomic_* */
    RaceChunk *chunk;
} Slot;

struct RaceLaunch {
    Slot *slots; /* open addressing */
    uint32_t *used;
    uint32_t count;
    pthread_mutex_t lock; /* for making chunks */
    atomic_flag locks[LOCKS];
};

static void *zeroed(size_t bytes) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *const p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

RaceLaunch *race_launch_new(void) {
    RaceLaunch *const l = mem_alloc(sizeof *l);
    if (!l) return NULL;
    memset(l, 0, sizeof *l);
    l->slots = zeroed(SLOTS * sizeof *l->slots);
    l->used = zeroed(SLOTS / 2 * sizeof *l->used);
    for (int i = 0; i < LOCKS; i++) atomic_flag_clear(&l->locks[i]);
    pthread_mutex_init(&l->lock, NULL);
    if (l->slots && l->used) return l;
    race_launch_free(l);
    return NULL;
}

void race_launch_free(RaceLaunch *l) {
    if (!l) return;
    for (uint32_t i = 0; i < l->count; i++) munmap(l->slots[l->used[i]].chunk, sizeof(RaceChunk));
    if (l->slots) munmap(l->slots, SLOTS * sizeof *l->slots);
    if (l->used) munmap(l->used, SLOTS / 2 * sizeof *l->used);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

static RaceChunk *make(RaceLaunch *l, uint64_t number) {
    RaceChunk *chunk = NULL;
    pthread_mutex_lock(&l->lock);
    uint32_t at = (uint32_t)(number * 0x9e3779b1u) % SLOTS;
    while (l->slots[at].number && l->slots[at].number != number) at = (at + 1) % SLOTS;
    if (l->slots[at].number)
        chunk = l->slots[at].chunk;
    else if (l->count < SLOTS / 2 && (chunk = zeroed(sizeof *chunk)) != NULL) {
        l->used[l->count++] = at;
        l->slots[at].chunk = chunk;
        __atomic_store_n(&l->slots[at].number, number, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&l->lock);
    return chunk;
}

RaceChunk *race_chunk(RaceLaunch *l, uint64_t address) {
    const uint64_t number = address >> CHUNK_SHIFT;
    for (uint32_t at = (uint32_t)(number * 0x9e3779b1u) % SLOTS;; at = (at + 1) % SLOTS) {
        const uint64_t is = __atomic_load_n(&l->slots[at].number, __ATOMIC_ACQUIRE);
        if (is == number) return l->slots[at].chunk;
        if (!is) return make(l, number);
    }
}

void race_lock(RaceLaunch *l, uint64_t address) {
    atomic_flag *const lock = &l->locks[(address >> PAGE_SHIFT) % LOCKS];
    /* It is held for some hundred instructions, unless its owner lost its core. */
    for (int spins = 1; atomic_flag_test_and_set_explicit(lock, memory_order_acquire); spins++)
        if (spins % SPINS == 0) sched_yield();
}
void race_unlock(RaceLaunch *l, uint64_t address) {
    atomic_flag_clear_explicit(&l->locks[(address >> PAGE_SHIFT) % LOCKS], memory_order_release);
}

/* "the load by thread (1,0,0) at FILE:LINE (PTX line 12, ld.shared.u32)". */
static void name_other(const Warp *w, const RaceOther *other, const char *what, char *out,
                       size_t size) {
    const SgKernel *const k = w->block->launch->kernel;
    const uint32_t *const d = w->block->launch->user->block, *const g =
                                                                 w->block->launch->user->grid;
    const uint32_t lane = cell_bits(other->cell, CELL_LANE, 5);
    const uint32_t thread = cell_bits(other->cell, CELL_WARP, 5) * LANES + lane;
    const uint32_t record = cell_bits(other->cell, 0, CELL_MANY);
    char place[200] = "", block[80] = "";
    const RecPlace *const p = record < (uint32_t)k->rec_count ? &k->places[record] : NULL;
    if (p) ptx_place(k->module->ptx, p->loc_file, p->loc_line, place, sizeof place);
    if (other->block != w->block->linear)
        snprintf(block, sizeof block, " of block (%u,%u,%u)", (unsigned)(other->block % g[0]),
                 (unsigned)(other->block / g[0] % g[1]), (unsigned)(other->block / g[0] / g[1]));
    snprintf(out, size, "the %s by thread (%u,%u,%u)%s%s%s (PTX line %d, %s)", what, thread % d[0],
             thread / d[0] % d[1], thread / d[0] / d[1], block, place[0] ? " at " : "", place,
             p ? p->line : 0, p && p->form ? p->form : "?");
}

void race_fault(Warp *w, const Rec *r, int lane, const char *what, const char *where,
                const RaceOther *other, bool other_reads) {
    char text[420];
    const bool copy = cell_bits(other->cell, CELL_KIND, 2) == CELL_COPY;
    name_other(w, other, copy ? "copy" : other_reads ? "load" : "store", text, sizeof text);
    if (other->cell & CELL_PENDING)
        warp_fault(w, r, 719, 1u << lane,
                   "asynchronous copy not waited for: %s of %s, which may still be %s by %s", what,
                   where, other_reads ? "read" : "written", text);
    else
        warp_fault(w, r, 719, 1u << lane, "data race: %s of %s is not ordered after %s", what,
                   where, text);
}
