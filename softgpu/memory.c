/* Device memory (contract in memory.h).
 *
 *   range   | chunk 0 | chunk 1 | chunk 2 ...            2 MiB each, one table entry per chunk
 *   entry   0: never used | Record *: part of one large allocation | SmallChunk * + 1: granules
 *   small   | A A A . . . . . . . . B B . . . . . . . .  512-byte granules, bump-allocated
 *
 * Invariant: an entry is published (release) after the record it names is complete, and records
 * and small chunks are recycled but never returned to the heap, so that a reader without the lock
 * sees old or new figures, never freed memory. Chunks are handed out round the whole range before
 * one is used again: an access through a stale pointer keeps finding the dead record.
 * Committed pages stay readable and writable after release (their content goes back to the host):
 * a kernel that loses a race against cuMemFree reads zeros instead of killing the process.
 * Not here: who may free what, and initialised-ness of bytes. */
#include "softgpu/memory.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "softgpu/written.h"

enum {
    GRANULE = 512, /* cuMemAlloc promises 256; pitch and texture rules want 512 */
    CHUNK_SHIFT = 21,
    GRANULES = (1 << CHUNK_SHIFT) / GRANULE,
    SMALL_GUARD =
        4096 / GRANULE, /* dead granules behind each small allocation: overruns land there */
    DEVICES = 64,
    RECORDS_PER_SLAB = 64,
    NEAR = 1 << 20 /* "N bytes past the end of" is said up to this distance */
};
static const uint64_t CHUNK = UINT64_C(1) << CHUNK_SHIFT;
static const uint64_t SMALL_MAX = UINT64_C(1) << 20;
/* Largest modelled DRAM is 192 GB; twice that leaves room for delayed reuse. */
static const uint64_t RANGE_MAX = UINT64_C(1) << 39;
static const uint64_t RANGE_MIN = UINT64_C(1) << 30;

typedef struct Record {
    SgAllocation pub;           /* first: SgAllocation * and Record * convert */
    size_t first_chunk, chunks; /* large only */
    size_t chunks_left;         /* entries that still name this record */
    struct Record *next_free;
    struct Record *older, *newer; /* among the live ones */
} Record;

typedef struct SmallChunk {
    Record *granule[GRANULES]; /* accessed with __atomic_* */
    size_t used;               /* bump position, granules */
    size_t live;
    struct SmallChunk *next_free;
} SmallChunk;

static struct {
    pthread_mutex_t lock;
    uint64_t base, size; /* written once under the lock; base 0: not reserved yet */
    size_t chunk_count;
    uintptr_t *entry; /* per chunk, accessed with __atomic_* */
    size_t cursor;    /* next chunk to try */
    size_t small;     /* chunk that takes small allocations; chunk_count: none */
    Record *free_records;
    Record *newest; /* of the live records */
    SmallChunk *free_small;
    uint32_t next_id;
    uint64_t launches; /* accessed with __atomic_* */
    uint64_t used[DEVICES];
} mem = {.lock = PTHREAD_MUTEX_INITIALIZER, .next_id = 1};

static uint64_t round_up(uint64_t value, uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

static SmallChunk *entry_small(uintptr_t entry) {
    return (entry & 1) != 0 ? (SmallChunk *)(entry - 1) : NULL;
}

static Record *entry_large(uintptr_t entry) {
    return (entry & 1) == 0 ? (Record *)entry : NULL;
}

static bool record_live(const Record *record) {
    return __atomic_load_n(&record->pub.live, __ATOMIC_ACQUIRE);
}

/* Reserves the range; halves the wish while the host refuses (RLIMIT_AS). */
static Status reserve(Error *err) {
    if (mem.base != 0) return ST_OK;
    for (uint64_t size = RANGE_MAX; size >= RANGE_MIN; size /= 2) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *at = mmap(NULL, size + CHUNK, PROT_NONE, flags, -1, 0);
        if (at == MAP_FAILED) continue;
        const size_t count = size / CHUNK;
        uintptr_t *entry = mem_alloc(count * sizeof *entry);
        if (entry == NULL) {
            munmap(at, size + CHUNK);
            return err_no_memory(err, count * sizeof *entry);
        }
        madvise(at, size + CHUNK, MADV_DONTFORK); /* a forked child may not use the driver */
        madvise(at, size + CHUNK, MADV_DONTDUMP);
        mem.entry = entry;
        mem.chunk_count = count;
        mem.small = count;
        mem.size = size;
        __atomic_store_n(&mem.base, round_up((uint64_t)(uintptr_t)at, CHUNK), __ATOMIC_RELEASE);
        return ST_OK;
    }
    return err_set(err, ST_NO_MEMORY,
                   "device memory: the host refuses %" PRIu64
                   " MiB of address space (see ulimit -v)",
                   RANGE_MIN >> 20);
}

static Record *record_take(void) {
    if (mem.free_records == NULL) {
        Record *slab = mem_alloc(RECORDS_PER_SLAB * sizeof *slab);
        if (slab == NULL) return NULL;
        for (size_t i = 0; i < RECORDS_PER_SLAB; i++) {
            slab[i].next_free = mem.free_records;
            mem.free_records = &slab[i];
        }
    }
    Record *record = mem.free_records;
    mem.free_records = record->next_free;
    return record;
}

static void record_drop(Record *record) {
    record->next_free = mem.free_records;
    mem.free_records = record;
}

static void record_fill(Record *record, int device, void *owner, uint64_t base, uint64_t size) {
    __atomic_store_n(&record->pub.base, base, __ATOMIC_RELAXED);
    __atomic_store_n(&record->pub.size, size, __ATOMIC_RELAXED);
    record->pub.id = mem.next_id++;
    record->pub.device = device;
    record->pub.owner = owner;
    record->pub.tracked = sg_written_wanted();
    record->pub.born = __atomic_load_n(&mem.launches, __ATOMIC_RELAXED);
    __atomic_store_n(&record->pub.live, true, __ATOMIC_RELEASE);
}

/* Number of chunks at `i` that belong together, *free_now = whether they may be handed out. */
static size_t chunk_span(size_t i, bool *free_now) {
    const uintptr_t entry = mem.entry[i];
    const SmallChunk *small = entry_small(entry);
    const Record *large = entry_large(entry);
    *free_now = true;
    if (small != NULL) *free_now = small->live == 0 && i != mem.small;
    if (large == NULL || !record_live(large)) return 1;
    *free_now = false;
    return large->first_chunk + large->chunks - i;
}

/* First of `count` neighbouring free chunks in [from, to); chunk_count when there are none. */
static size_t run_find(size_t from, size_t to, size_t count) {
    for (size_t start = from, at = from; at < to;) {
        bool free_now;
        at += chunk_span(at, &free_now);
        if (!free_now)
            start = at;
        else if (at - start >= count)
            return start;
    }
    return mem.chunk_count;
}

/* Goes round from the cursor, so that addresses are used again as late as possible. */
static size_t chunks_find(size_t count) {
    const size_t ahead = run_find(mem.cursor, mem.chunk_count, count);
    return ahead < mem.chunk_count ? ahead : run_find(0, mem.chunk_count, count);
}

/* Forgets what the chunk held: dead records whose last entry this was are recycled. */
static void chunk_clear(size_t i) {
    const uintptr_t entry = mem.entry[i];
    SmallChunk *small = entry_small(entry);
    Record *large = entry_large(entry);
    __atomic_store_n(&mem.entry[i], 0, __ATOMIC_RELEASE);
    if (large != NULL && --large->chunks_left == 0) record_drop(large);
    if (small == NULL) return;
    Record *last = NULL;
    for (size_t g = 0; g < GRANULES; g++) {
        Record *record = small->granule[g];
        __atomic_store_n(&small->granule[g], NULL, __ATOMIC_RELEASE);
        if (record != NULL && record != last) record_drop(record);
        if (record != NULL) last = record;
    }
    small->next_free = mem.free_small;
    mem.free_small = small;
}

/* Chunks [*first, *first + count), zeroed and writable. */
static Status chunks_take(size_t count, size_t *first, Error *err) {
    const size_t at = chunks_find(count);
    if (at == mem.chunk_count)
        return err_set(err, ST_NO_MEMORY,
                       "device memory: no %zu MiB of neighbouring addresses free in %" PRIu64
                       " MiB",
                       count << (CHUNK_SHIFT - 20), mem.size >> 20);
    uint8_t *address = (uint8_t *)(uintptr_t)(mem.base + at * CHUNK);
    if (mprotect(address, count * CHUNK, PROT_READ | PROT_WRITE) != 0)
        return err_set(err, ST_NO_MEMORY, "device memory: the host refuses %zu MiB",
                       count << (CHUNK_SHIFT - 20));
    bool used_before = false;
    for (size_t i = at; i < at + count; i++) {
        used_before |= mem.entry[i] != 0;
        if (mem.entry[i] != 0) chunk_clear(i);
    }
    if (used_before) {
        madvise(address, count * CHUNK, MADV_DONTNEED);
        sg_written_forget(mem.base + at * CHUNK, count * CHUNK);
    }
    mem.cursor = at + count < mem.chunk_count ? at + count : 0;
    *first = at;
    return ST_OK;
}

static Status alloc_large(Record *record, int device, void *owner, uint64_t size, Error *err) {
    /* One byte more than asked, so that a chunk-sized allocation has a guard behind it too. */
    const size_t count = size / CHUNK + 1;
    size_t first = 0;
    const Status st = chunks_take(count, &first, err);
    if (st != ST_OK) return st;
    record->first_chunk = first;
    record->chunks = record->chunks_left = count;
    record_fill(record, device, owner, mem.base + first * CHUNK, size);
    for (size_t i = first; i < first + count; i++)
        __atomic_store_n(&mem.entry[i], (uintptr_t)record, __ATOMIC_RELEASE);
    return ST_OK;
}

/* A chunk with room for `granules` and the guard; NULL when there is none. */
static SmallChunk *small_chunk(size_t granules, Error *err) {
    if (mem.small < mem.chunk_count) {
        SmallChunk *small = entry_small(mem.entry[mem.small]);
        if (small->used + granules + SMALL_GUARD <= GRANULES) return small;
    }
    SmallChunk *small = mem.free_small;
    if (small != NULL) mem.free_small = small->next_free;
    if (small == NULL) small = mem_alloc(sizeof *small);
    if (small == NULL) {
        err_no_memory(err, sizeof *small);
        return NULL;
    }
    size_t first = 0;
    if (chunks_take(1, &first, err) != ST_OK) {
        small->next_free = mem.free_small;
        mem.free_small = small;
        return NULL;
    }
    small->used = small->live = 0;
    mem.small = first;
    __atomic_store_n(&mem.entry[first], (uintptr_t)small + 1, __ATOMIC_RELEASE);
    return small;
}

static Status alloc_small(Record *record, int device, void *owner, uint64_t size, Error *err) {
    const size_t granules = (size_t)(round_up(size, GRANULE) / GRANULE);
    SmallChunk *small = small_chunk(granules, err);
    if (small == NULL) return ST_NO_MEMORY;
    record->chunks = 0;
    record_fill(record, device, owner, mem.base + mem.small * CHUNK + small->used * GRANULE, size);
    for (size_t g = small->used; g < small->used + granules; g++)
        __atomic_store_n(&small->granule[g], record, __ATOMIC_RELEASE);
    small->used += granules + SMALL_GUARD;
    small->live++;
    return ST_OK;
}

static void link_live(Record *record) {
    record->newer = NULL;
    record->older = mem.newest;
    if (mem.newest != NULL) mem.newest->newer = record;
    mem.newest = record;
}

static void unlink_live(Record *record) {
    if (record->older != NULL) record->older->newer = record->newer;
    if (record->newer != NULL) record->newer->older = record->older;
    if (mem.newest == record) mem.newest = record->older;
}

Status sg_mem_alloc(int device, void *owner, uint64_t size, uint64_t device_bytes,
                    uint64_t *address, Error *err) {
    if (size == 0 || device < 0 || device >= DEVICES)
        return err_set(err, ST_INVALID, "device memory: %" PRIu64 " bytes on device %d", size,
                       device);
    pthread_mutex_lock(&mem.lock);
    const uint64_t charged = round_up(size, GRANULE);
    Status st = reserve(err);
    Record *record = NULL;
    if (st == ST_OK &&
        (charged < size || charged > device_bytes || mem.used[device] > device_bytes - charged))
        st = err_set(err, ST_NO_MEMORY,
                     "device memory: %" PRIu64 " bytes asked, %" PRIu64 " of %" PRIu64 " in use",
                     size, mem.used[device], device_bytes);
    if (st == ST_OK && sg_written_wanted()) st = sg_written_reserve(mem.base, mem.size, err);
    if (st == ST_OK && (record = record_take()) == NULL) st = err_no_memory(err, sizeof *record);
    if (st == ST_OK)
        st = size > SMALL_MAX ? alloc_large(record, device, owner, size, err)
                              : alloc_small(record, device, owner, size, err);
    if (st == ST_OK) {
        link_live(record);
        mem.used[device] += charged;
        *address = record->pub.base;
    } else if (record != NULL) {
        record_drop(record);
    }
    pthread_mutex_unlock(&mem.lock);
    return st;
}

/* Gives the pages back: whole large allocations, and small chunks once nothing in them lives. */
static void release(Record *record) {
    unlink_live(record);
    __atomic_store_n(&record->pub.live, false, __ATOMIC_RELEASE);
    record->pub.freed = __atomic_load_n(&mem.launches, __ATOMIC_RELAXED);
    mem.used[record->pub.device] -= round_up(record->pub.size, GRANULE);
    uint64_t start = record->pub.base, bytes = record->chunks * CHUNK;
    if (record->chunks == 0) {
        const size_t chunk = (record->pub.base - mem.base) / CHUNK;
        SmallChunk *small = entry_small(mem.entry[chunk]);
        if (--small->live > 0) return;
        /* Granules above `used` stay zero, and those below are never handed out twice. */
        start = mem.base + chunk * CHUNK;
        bytes = CHUNK;
    }
    madvise((void *)(uintptr_t)start, bytes, MADV_DONTNEED);
    sg_written_forget(start, bytes);
}

Status sg_mem_free(uint64_t address, Error *err) {
    pthread_mutex_lock(&mem.lock);
    Status st = ST_OK;
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live || found->base != address)
        st = err_set(err, ST_INVALID, "device memory: 0x%" PRIx64 " is %s", address,
                     found == NULL  ? "no device address"
                     : !found->live ? "already freed"
                                    : "not the start of its allocation");
    else
        release((Record *)(uintptr_t)found);
    pthread_mutex_unlock(&mem.lock);
    return st;
}

void sg_mem_free_owner(const void *owner) {
    pthread_mutex_lock(&mem.lock);
    for (Record *record = mem.newest, *older; record != NULL; record = older) {
        older = record->older;
        if (record->pub.owner == owner) release(record);
    }
    pthread_mutex_unlock(&mem.lock);
}

void sg_mem_untrack(void) {
    pthread_mutex_lock(&mem.lock);
    for (Record *record = mem.newest; record != NULL; record = record->older)
        __atomic_store_n(&record->pub.tracked, false, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&mem.lock);
}

uint64_t sg_mem_launch(void) {
    return __atomic_add_fetch(&mem.launches, 1, __ATOMIC_RELAXED);
}

static Record *find(uint64_t address) {
    if (!sg_mem_in_range(address)) return NULL;
    const uint64_t offset = address - mem.base;
    const uintptr_t entry = __atomic_load_n(&mem.entry[offset >> CHUNK_SHIFT], __ATOMIC_ACQUIRE);
    if ((entry & 1) == 0) return entry_large(entry);
    return __atomic_load_n(&entry_small(entry)->granule[(offset & (CHUNK - 1)) / GRANULE],
                           __ATOMIC_ACQUIRE);
}

bool sg_mem_in_range(uint64_t address) {
    const uint64_t base = __atomic_load_n(&mem.base, __ATOMIC_ACQUIRE);
    return base != 0 && address >= base && address - base < mem.size;
}

const SgAllocation *sg_mem_find(uint64_t address) {
    const Record *record = find(address);
    if (record == NULL) return NULL;
    /* A large record also covers the rest of its last chunk, which is nobody's. */
    const uint64_t size = __atomic_load_n(&record->pub.size, __ATOMIC_RELAXED);
    const uint64_t base = __atomic_load_n(&record->pub.base, __ATOMIC_RELAXED);
    return address - base < round_up(size, GRANULE) ? &record->pub : NULL;
}

bool sg_mem_ok(uint64_t address, uint64_t size) {
    const Record *record = find(address);
    if (record == NULL || !record_live(record)) return false;
    const uint64_t base = __atomic_load_n(&record->pub.base, __ATOMIC_RELAXED);
    const uint64_t total = __atomic_load_n(&record->pub.size, __ATOMIC_RELAXED);
    const uint64_t offset = address - base;
    return offset <= total && size <= total - offset;
}

/* The allocation that ends nearest below, or begins nearest above, `address`. */
static const SgAllocation *neighbour(uint64_t address) {
    const Record *at = find(address);
    if (at != NULL) return &at->pub;
    const uint64_t low = address > mem.base + NEAR ? address - NEAR : mem.base;
    for (uint64_t a = address; a >= low + GRANULE; a -= GRANULE)
        if ((at = find(a)) != NULL) return &at->pub;
    for (uint64_t a = address; a < address + NEAR; a += GRANULE)
        if ((at = find(a)) != NULL) return &at->pub;
    return NULL;
}

/* "allocation 3 (4096 bytes, allocated before launch 2, freed after launch 5)". */
static void name_allocation(const SgAllocation *a, char *out, size_t size) {
    const int n = snprintf(
        out, size, "allocation %" PRIu32 " (%" PRIu64 " bytes, allocated before launch %" PRIu64,
        a->id, a->size, a->born + 1);
    char freed[48] = "";
    if (!a->live && a->freed > a->born)
        snprintf(freed, sizeof freed, ", freed after launch %" PRIu64, a->freed);
    else if (!a->live)
        snprintf(freed, sizeof freed, ", freed before any launch");
    if (n > 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, "%s)", freed);
}

void sg_mem_describe(uint64_t address, uint64_t size, char *out, size_t out_size) {
    char head[96], name[192];
    snprintf(head, sizeof head, "%" PRIu64 " bytes at 0x%" PRIx64, size, address);
    if (!sg_mem_in_range(address)) {
        snprintf(out, out_size, "not device memory: %s%s", head,
                 address < 4096 ? " (null pointer)" : " (a host pointer, or never allocated)");
        return;
    }
    pthread_mutex_lock(&mem.lock);
    const SgAllocation *near = neighbour(address);
    if (near == NULL) {
        snprintf(out, out_size, "out of bounds: %s: no allocation near", head);
        pthread_mutex_unlock(&mem.lock);
        return;
    }
    name_allocation(near, name, sizeof name);
    const uint64_t offset = address - near->base;
    if (address < near->base)
        snprintf(out, out_size, "out of bounds: %s: %" PRIu64 " bytes before %s", head,
                 near->base - address, name);
    else if (!near->live && offset < near->size)
        snprintf(out, out_size, "use after free: %s: offset %" PRIu64 " of %s", head, offset, name);
    else if (offset + size <= near->size)
        snprintf(out, out_size, "%s: offset %" PRIu64 " of %s", head, offset, name);
    else if (offset < near->size)
        snprintf(out, out_size, "out of bounds: %s: crosses the end of %s", head, name);
    else
        snprintf(out, out_size, "out of bounds: %s: %" PRIu64 " bytes past the end of %s", head,
                 offset - near->size, name);
    pthread_mutex_unlock(&mem.lock);
}

uint64_t sg_mem_used(int device) {
    if (device < 0 || device >= DEVICES) return 0;
    pthread_mutex_lock(&mem.lock);
    const uint64_t used = mem.used[device];
    pthread_mutex_unlock(&mem.lock);
    return used;
}
