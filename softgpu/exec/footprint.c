/* See footprint.h. An open-addressing table of regions; an entry's key is published last. */
#include "softgpu/exec/footprint.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { REGION_SHIFT = 21, SECTOR_SHIFT = 5, SLOTS = 1 << 14 };
enum { WORDS = 1 << (REGION_SHIFT - SECTOR_SHIFT - 6) };

typedef struct Region {
    uint64_t key; /* address >> REGION_SHIFT */
    _Atomic uint64_t words[WORDS];
} Region;

struct Footprint {
    _Atomic(Region *) slots[SLOTS]; /* 32 GiB of touched memory; beyond it touches go uncounted */
    Region *_Atomic last;
    bool heard; /* set before the launch begins */
};

static _Thread_local FootprintFn listener;
static _Thread_local void *listener_context;

void footprint_listen(FootprintFn fn, void *context) {
    listener = fn;
    listener_context = context;
}

void footprint_hear(Footprint *f) {
    f->heard = true;
}

Footprint *footprint_new(void) {
    return mem_alloc(sizeof(Footprint));
}

void footprint_free(Footprint *f) {
    if (!f) return;
    for (int i = 0; i < SLOTS; i++) mem_free(atomic_load(&f->slots[i]));
    mem_free(f);
}

static Region *region_of(Footprint *f, uint64_t key) {
    Region *const last = atomic_load_explicit(&f->last, memory_order_acquire);
    if (last && last->key == key) return last;
    uint64_t slot = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 50;
    for (int tries = 0; tries < SLOTS; tries++, slot = (slot + 1) & (SLOTS - 1)) {
        Region *r = atomic_load_explicit(&f->slots[slot], memory_order_acquire);
        if (!r) {
            Region *const fresh = mem_alloc(sizeof *fresh);
            if (!fresh) return NULL;
            fresh->key = key;
            if (atomic_compare_exchange_strong(&f->slots[slot], &r, fresh))
                r = fresh;
            else
                mem_free(fresh);
        }
        if (r->key != key) continue;
        atomic_store_explicit(&f->last, r, memory_order_release);
        return r;
    }
    return NULL;
}

static void set_bits(Region *r, uint64_t word, uint64_t bits) {
    if ((atomic_load_explicit(&r->words[word], memory_order_relaxed) & bits) == bits) return;
    atomic_fetch_or_explicit(&r->words[word], bits, memory_order_relaxed);
}

void footprint_touch(Footprint *f, uint64_t first, uint64_t last) {
    enum { REGION_SECTORS = 1 << (REGION_SHIFT - SECTOR_SHIFT) };
    if (f->heard && listener) listener(listener_context, first, last);
    while (first <= last) {
        Region *const r = region_of(f, first >> (REGION_SHIFT - SECTOR_SHIFT));
        if (!r) return;
        const uint64_t s = first & (REGION_SECTORS - 1), word = s >> 6, bit = s & 63;
        const uint64_t n = last - first + 1 < 64 - bit ? last - first + 1 : 64 - bit;
        set_bits(r, word, (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << bit);
        first += n;
    }
}

typedef struct Share {
    const SgAllocation *allocation;
    uint64_t sectors;
} Share;

uint64_t footprint_bytes(const Footprint *f, double scale) {
    enum { MAX_SHARES = 256 };
    Share shares[MAX_SHARES];
    int n = 0;
    uint64_t rest = 0;
    for (int i = 0; i < SLOTS; i++) {
        const Region *const r = atomic_load(&f->slots[i]);
        for (uint64_t word = 0; r && word < WORDS; word++) {
            const uint64_t bits = atomic_load_explicit(&r->words[word], memory_order_relaxed);
            if (!bits) continue;
            const uint64_t address = (r->key << REGION_SHIFT) + (word << (SECTOR_SHIFT + 6)) +
                                     ((uint64_t)__builtin_ctzll(bits) << SECTOR_SHIFT);
            const SgAllocation *const a = sg_mem_find(address);
            int k = 0;
            while (k < n && shares[k].allocation != a) k++;
            if (k == n && n < MAX_SHARES) shares[n++] = (Share){a, 0};
            if (k < n)
                shares[k].sectors += (uint64_t)__builtin_popcountll(bits);
            else
                rest += (uint64_t)__builtin_popcountll(bits);
        }
    }
    uint64_t bytes = rest << SECTOR_SHIFT;
    for (int k = 0; k < n; k++) {
        const uint64_t seen = shares[k].sectors << SECTOR_SHIFT;
        const uint64_t size =
            shares[k].allocation ? (shares[k].allocation->size + 31) & ~UINT64_C(31) : seen;
        const double scaled = (double)seen * scale;
        bytes += scale <= 1 || size < seen ? seen : scaled < (double)size ? (uint64_t)scaled : size;
    }
    return bytes;
}
