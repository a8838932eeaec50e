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
#include "base/round.h"
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
    struct Record *older, *newer;   /* among the live ones */
    struct Record *next_registered; /* accessed with __atomic_* */
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
    Record *newest;     /* of the live records */
    Record *registered; /* the program's own memory, few pieces; accessed with __atomic_* */
    SmallChunk *free_small;
    uint32_t next_id;
    bool any_registered; /* ever; accessed with __atomic_* */
    uint64_t launches;   /* accessed with __atomic_* */
    uint64_t used[DEVICES];
} mem = {.lock = PTHREAD_MUTEX_INITIALIZER, .next_id = 1};

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
        __atomic_store_n(&mem.base, round_up_u64((uint64_t)(uintptr_t)at, CHUNK), __ATOMIC_RELEASE);
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

/* Who asks for what. */
typedef struct Wish {
    SgMemKind kind;
    int device;
    void *owner;
    uint64_t size;
    uint32_t flags;
    bool reserved; /* addresses alone */
} Wish;

static void record_fill(Record *record, const Wish *wish, uint64_t base) {
    __atomic_store_n(&record->pub.base, base, __ATOMIC_RELAXED);
    __atomic_store_n(&record->pub.size, wish->size, __ATOMIC_RELAXED);
    record->pub.id = mem.next_id++;
    record->pub.device = wish->device;
    record->pub.owner = wish->owner;
    record->pub.kind = wish->kind;
    record->pub.flags = wish->flags;
    record->pub.note = NULL;
    __atomic_store_n(&record->pub.devices, 0, __ATOMIC_RELAXED);
    record->pub.tracked = wish->kind == SG_MEM_DEVICE && sg_written_wanted();
    record->pub.born = __atomic_load_n(&mem.launches, __ATOMIC_RELAXED);
    __atomic_store_n(&record->pub.live, !wish->reserved, __ATOMIC_RELEASE);
}

/* Number of chunks at `i` that belong together, *free_now = whether they may be handed out. */
static size_t chunk_span(size_t i, bool *free_now) {
    const uintptr_t entry = mem.entry[i];
    const SmallChunk *small = entry_small(entry);
    const Record *large = entry_large(entry);
    *free_now = true;
    if (small != NULL) *free_now = small->live == 0 && i != mem.small;
    if (large == NULL || (!record_live(large) && !large->pub.reserved)) return 1;
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

static Status alloc_large(Record *record, const Wish *wish, Error *err) {
    /* One byte more than asked, so that a chunk-sized allocation has a guard behind it too. */
    const size_t count = wish->size / CHUNK + 1;
    size_t first = 0;
    const Status st = chunks_take(count, &first, err);
    if (st != ST_OK) return st;
    record->first_chunk = first;
    record->chunks = record->chunks_left = count;
    record_fill(record, wish, mem.base + first * CHUNK);
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

static Status alloc_small(Record *record, const Wish *wish, Error *err) {
    const size_t granules = (size_t)(round_up_u64(wish->size, GRANULE) / GRANULE);
    SmallChunk *small = small_chunk(granules, err);
    if (small == NULL) return ST_NO_MEMORY;
    record->chunks = 0;
    record_fill(record, wish, mem.base + mem.small * CHUNK + small->used * GRANULE);
    for (size_t g = small->used; g < small->used + granules; g++)
        __atomic_store_n(&small->granule[g], record, __ATOMIC_RELEASE);
    small->used += granules + SMALL_GUARD;
    small->live++;
    return ST_OK;
}

/* Bytes that the device's own memory loses to an allocation. */
static uint64_t charge_of(SgMemKind kind, uint64_t size) {
    return kind == SG_MEM_DEVICE ? round_up_u64(size, GRANULE) : 0;
}

static void link_live(Record *record) {
    record->newer = NULL;
    record->older = mem.newest;
    if (mem.newest != NULL) mem.newest->newer = record;
    mem.newest = record;
}

static void live_begin(Record *record) {
    link_live(record);
    mem.used[record->pub.device] += charge_of(record->pub.kind, record->pub.size);
}

static void unlink_live(Record *record) {
    if (record->older != NULL) record->older->newer = record->newer;
    if (record->newer != NULL) record->newer->older = record->older;
    if (mem.newest == record) mem.newest = record->older;
}

static Status check_wish(const Wish *wish, uint64_t device_bytes, Error *err) {
    if (wish->size == 0 || wish->device < 0 || wish->device >= DEVICES)
        return err_set(err, ST_INVALID, "device memory: %" PRIu64 " bytes on device %d", wish->size,
                       wish->device);
    const uint64_t charged = charge_of(wish->kind, wish->size);
    if (wish->size <= UINT64_MAX - GRANULE && charged <= device_bytes &&
        mem.used[wish->device] <= device_bytes - charged)
        return ST_OK;
    return err_set(err, ST_NO_MEMORY,
                   "device memory: %" PRIu64 " bytes asked, %" PRIu64 " of %" PRIu64 " in use",
                   wish->size, mem.used[wish->device], device_bytes);
}

/* Pinned and managed memory has chunks of its own, which a forked child keeps: the program's data
 * is in it. Reserved memory has, too: it is kept while others come and go. */
static Status place(Record *record, const Wish *wish, Error *err) {
    if (wish->kind == SG_MEM_DEVICE)
        return wish->size > SMALL_MAX || wish->reserved ? alloc_large(record, wish, err)
                                                        : alloc_small(record, wish, err);
    const Status st = alloc_large(record, wish, err);
    if (st == ST_OK)
        madvise((void *)(uintptr_t)record->pub.base, record->chunks * CHUNK, MADV_DOFORK);
    return st;
}

static Status allocate(const Wish *wish, uint64_t device_bytes, uint64_t *address, Error *err) {
    pthread_mutex_lock(&mem.lock);
    Status st = check_wish(wish, device_bytes, err);
    Record *record = NULL;
    if (st == ST_OK) st = reserve(err);
    if (st == ST_OK && sg_written_wanted()) st = sg_written_reserve(mem.base, mem.size, err);
    if (st == ST_OK && (record = record_take()) == NULL) st = err_no_memory(err, sizeof *record);
    if (st == ST_OK) st = place(record, wish, err);
    if (st == ST_OK) {
        record->pub.reserved = wish->reserved;
        if (!wish->reserved) live_begin(record);
        *address = record->pub.base;
    } else if (record != NULL) {
        record_drop(record);
    }
    pthread_mutex_unlock(&mem.lock);
    return st;
}

Status sg_mem_alloc(int device, void *owner, uint64_t size, uint64_t device_bytes,
                    uint64_t *address, Error *err) {
    const Wish wish = {SG_MEM_DEVICE, device, owner, size, 0, false};
    return allocate(&wish, device_bytes, address, err);
}

Status sg_mem_alloc_shared(SgMemKind kind, int device, void *owner, uint64_t size, uint32_t flags,
                           uint64_t *address, Error *err) {
    const Wish wish = {kind, device, owner, size, flags, false};
    return allocate(&wish, UINT64_MAX, address, err);
}

/* Reserved addresses ---------------------------------------------------------- */

static Record *find_reserved(uint64_t address) {
    const SgAllocation *found = sg_mem_in_range(address) ? sg_mem_find(address) : NULL;
    if (found == NULL || !found->reserved || found->base != address) return NULL;
    return (Record *)(uintptr_t)found;
}

Status sg_mem_reserve(int device, uint64_t size, uint64_t *address, Error *err) {
    const Wish wish = {SG_MEM_DEVICE, device, NULL, size, 0, true};
    return allocate(&wish, UINT64_MAX, address, err);
}

Status sg_mem_back(uint64_t address, void *owner, uint64_t device_bytes, Error *err) {
    pthread_mutex_lock(&mem.lock);
    Record *record = find_reserved(address);
    Status st = ST_OK;
    if (record == NULL || record_live(record))
        st = err_set(err, ST_INVALID, "device memory: 0x%" PRIx64 " is %s", address,
                     record == NULL ? "not reserved" : "allocated already");
    if (st == ST_OK) {
        const Wish wish = {SG_MEM_DEVICE, record->pub.device, owner, record->pub.size, 0, false};
        st = check_wish(&wish, device_bytes, err);
        if (st == ST_OK) {
            record_fill(record, &wish, address);
            live_begin(record);
        }
    }
    pthread_mutex_unlock(&mem.lock);
    return st;
}

void sg_mem_unreserve(uint64_t address) {
    pthread_mutex_lock(&mem.lock);
    Record *record = find_reserved(address);
    if (record != NULL) record->pub.reserved = false;
    pthread_mutex_unlock(&mem.lock);
}

/* Registered memory ----------------------------------------------------------- */

static Record *next_registered(const Record *record) {
    return __atomic_load_n(&record->next_registered, __ATOMIC_ACQUIRE);
}

static Record *find_registered(uint64_t address) {
    Record *record = __atomic_load_n(&mem.registered, __ATOMIC_ACQUIRE);
    for (; record != NULL; record = next_registered(record)) {
        const uint64_t base = __atomic_load_n(&record->pub.base, __ATOMIC_RELAXED);
        const uint64_t size = __atomic_load_n(&record->pub.size, __ATOMIC_RELAXED);
        if (address - base < size) return record;
    }
    return NULL;
}

bool sg_mem_any_registered(void) {
    return __atomic_load_n(&mem.any_registered, __ATOMIC_ACQUIRE);
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
    return a < b + b_size && b < a + a_size;
}

Status sg_mem_register(int device, void *owner, uint64_t address, uint64_t size, uint32_t flags,
                       Error *err) {
    const Wish wish = {SG_MEM_REGISTERED, device, owner, size, flags, false};
    pthread_mutex_lock(&mem.lock);
    Status st = check_wish(&wish, UINT64_MAX, err);
    if (st == ST_OK && (address > UINT64_MAX - size || overlaps(address, size, mem.base, mem.size)))
        st = err_set(err, ST_INVALID, "0x%" PRIx64 " is device memory already", address);
    for (const Record *r = mem.registered; st == ST_OK && r != NULL; r = r->next_registered)
        if (overlaps(address, size, r->pub.base, r->pub.size))
            st = err_set(err, ST_INVALID, "0x%" PRIx64 " is registered already", address);
    Record *record = NULL;
    if (st == ST_OK && (record = record_take()) == NULL) st = err_no_memory(err, sizeof *record);
    if (st == ST_OK) {
        record_fill(record, &wish, address);
        link_live(record);
        __atomic_store_n(&mem.any_registered, true, __ATOMIC_RELEASE);
        __atomic_store_n(&record->next_registered, mem.registered, __ATOMIC_RELEASE);
        __atomic_store_n(&mem.registered, record, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&mem.lock);
    return st;
}

static Record *find(uint64_t address) {
    if (!sg_mem_in_range(address)) return find_registered(address);
    const uint64_t offset = address - mem.base;
    const uintptr_t entry = __atomic_load_n(&mem.entry[offset >> CHUNK_SHIFT], __ATOMIC_ACQUIRE);
    if ((entry & 1) == 0) return entry_large(entry);
    return __atomic_load_n(&entry_small(entry)->granule[(offset & (CHUNK - 1)) / GRANULE],
                           __ATOMIC_ACQUIRE);
}

/* A reader without the lock may still stand on the record: its link stays as it is. */
static void unregister(Record *record) {
    Record **link = &mem.registered;
    while (*link != record) link = &(*link)->next_registered;
    __atomic_store_n(link, record->next_registered, __ATOMIC_RELEASE);
    record_drop(record);
}

/* Gives the pages back: whole large allocations, and small chunks once nothing in them lives. */
static void release(Record *record) {
    unlink_live(record);
    __atomic_store_n(&record->pub.live, false, __ATOMIC_RELEASE);
    record->pub.freed = __atomic_load_n(&mem.launches, __ATOMIC_RELAXED);
    mem.used[record->pub.device] -= charge_of(record->pub.kind, record->pub.size);
    if (record->pub.kind == SG_MEM_REGISTERED) {
        unregister(record);
        return;
    }
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
    if (record->pub.kind != SG_MEM_DEVICE) madvise((void *)(uintptr_t)start, bytes, MADV_DONTFORK);
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

void sg_mem_note(uint64_t address, void *note) {
    pthread_mutex_lock(&mem.lock);
    Record *record = find(address);
    if (record != NULL && record_live(record)) record->pub.note = note;
    pthread_mutex_unlock(&mem.lock);
}

void sg_mem_share(uint64_t address, uint32_t devices) {
    pthread_mutex_lock(&mem.lock);
    Record *record = find(address);
    if (record != NULL && record_live(record))
        __atomic_store_n(&record->pub.devices, devices, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&mem.lock);
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
    const uint64_t unit = sg_mem_in_range(address) ? GRANULE : 1;
    return address - base < round_up_u64(size, unit) ? &record->pub : NULL;
}

bool sg_mem_ok(uint64_t address, uint64_t size) {
    const Record *record = find(address);
    if (record == NULL || !record_live(record)) return false;
    const uint64_t base = __atomic_load_n(&record->pub.base, __ATOMIC_RELAXED);
    const uint64_t total = __atomic_load_n(&record->pub.size, __ATOMIC_RELAXED);
    const uint64_t offset = address - base;
    return offset <= total && size <= total - offset;
}

bool sg_mem_may_become_ok(uint64_t address, uint64_t size) {
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->reserved) return sg_mem_ok(address, size);
    const uint64_t offset = address - found->base;
    return offset <= found->size && size <= found->size - offset;
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

bool sg_mem_near(uint64_t address, SgAllocation *out) {
    pthread_mutex_lock(&mem.lock);
    const SgAllocation *near = neighbour(address);
    if (near != NULL) *out = *near;
    pthread_mutex_unlock(&mem.lock);
    return near != NULL;
}

uint64_t sg_mem_used(int device) {
    if (device < 0 || device >= DEVICES) return 0;
    pthread_mutex_lock(&mem.lock);
    const uint64_t used = mem.used[device];
    pthread_mutex_unlock(&mem.lock);
    return used;
}
