/* The content checks of loads and stores, on host addresses that passed every other check; included
 * by access.h only. Without SG_CHECKED it is a function that says yes.
 *
 * A full warp on consecutive elements is checked as one piece of memory, other accesses lane by
 * lane. */
#include "softgpu/exec/watch.h"

/* A set of: reads, writes; .volatile, .relaxed or stronger; acquires; releases; is a cp.async; is
 * done by the warp as one; the record holds the values as in access.h. */
typedef enum AccKind {
    ACC_READ = 1,
    ACC_WRITE = 2,
    ACC_UPDATE = 3,
    ACC_STRONG = 4,
    ACC_ACQUIRE = 8,
    ACC_RELEASE = 16,
    ACC_COPY = 32,
    ACC_WHOLE = 64,
    ACC_VALUES = 128,
} AccKind;

/* How ld, st, atom and red order other accesses. */
static inline AccKind order_kind(const Rec *r) {
    return (AccKind)(SG_CHECKED ? (r->o[5] >> ACC_ORDER & 7) * ACC_STRONG : 0);
}

#if SG_CHECKED

/* What the device calls the host address 0 in lane l's view of a space. */
static u64 space_origin(const Warp *w, AccSpace space, int l) {
    const Block *const b = w->block;
    return space == ACC_SHARED  ? b->shared_base - (u64)(uintptr_t)b->shared
           : space == ACC_LOCAL ? 0 - (u64)(uintptr_t)w->local - (u64)l * warp_local_bytes(w)
           : space == ACC_PARAM ? 0 - (u64)(uintptr_t)b->launch->params
                                : 0;
}

static inline u64 load_u64(const u8 *p) {
    u64 v;
    __builtin_memcpy(&v, p, 8);
    return v;
}

static inline const u8 *shadow_at(u64 address, u64 distance) {
    return (const u8 *)(uintptr_t)(address + distance);
}

static inline bool bytes_written(const u8 *p, u32 size) {
    u64 all = UINT64_MAX;
    u32 i = 0;
    for (; i + 8 <= size; i += 8) all &= load_u64(p + i);
    for (; i < size; i++) all &= p[i] ? UINT64_MAX : 0;
    return all == UINT64_MAX;
}

/* Atomics and strong accesses: other blocks may do the same to these bytes at this moment. */
static inline bool is_contended(AccKind kind) {
    return kind & ACC_STRONG;
}

static bool contended_bytes_written(const u8 *p, u32 size) {
    bool all = true;
    for (u32 i = 0; i < size; i++) all &= __atomic_load_n(p + i, __ATOMIC_RELAXED) == 0xff;
    return all;
}

/* Lanes of `m` that read a byte which nothing wrote. */
static u32 unwritten_lanes(const u64 a[LANES], u32 m, u32 size, u64 distance, AccKind kind) {
    if (is_contended(kind)) {
        u32 bad = 0;
        FOR_LANES if (m >> l & 1) bad |=
            (u32)!contended_bytes_written(shadow_at(a[l], distance), size) << l;
        return bad;
    }
    if (m == FULL_MASK && linear(a, size) && bytes_written(shadow_at(a[0], distance), LANES * size))
        return 0;
    u32 bad = 0;
    if (size == 16) { /* rows of matrices, copies */
        FOR_LANES if (m >> l & 1) bad |= (u32)!bytes_written(shadow_at(a[l], distance), 16) << l;
        return bad;
    }
    FOR_LANES if (m >> l & 1) bad |= (u32)!bytes_written(shadow_at(a[l], distance), size) << l;
    return bad;
}

static void mark_written(const u64 a[LANES], u32 m, u32 size, u64 distance, AccKind kind) {
    if (is_contended(kind)) {
        FOR_LANES if (m >> l & 1) {
            u8 *const p = (u8 *)(uintptr_t)(a[l] + distance);
            for (u32 i = 0; i < size; i++) __atomic_store_n(p + i, 0xff, __ATOMIC_RELAXED);
        }
        return;
    }
    if (m == FULL_MASK && linear(a, size)) {
        __builtin_memset((void *)(uintptr_t)(a[0] + distance), 0xff, LANES * size);
        return;
    }
    FOR_LANES if (m >> l & 1) {
        u8 *const p = (u8 *)(uintptr_t)(a[l] + distance);
        switch (size) {
        case 4: __builtin_memset(p, 0xff, 4); break;
        case 8: __builtin_memset(p, 0xff, 8); break;
        case 16: __builtin_memset(p, 0xff, 16); break;
        default: __builtin_memset(p, 0xff, size);
        }
    }
}

/* Where a copy reads from until it lands, for check_sources. */
static void watch_copy(Warp *w, const Rec *r, AsyncCopy *copy, u32 reading) {
    const Watch *const watch = w->block->watch;
    copy->low = copy->high = 0;
    if (!watch || !watch->races || !reading) return;
    u64 bits;
    address_bounds(copy->src, reading, &copy->low, &copy->high, &bits);
    copy->high += copy->bytes;
    copy->rec = r;
    copy->clock = watch->order.warps[w->index].now;
}

#include "softgpu/exec/race_access.h"

static u64 space_shadow(const Watch *watch, AccSpace space) {
    return space == ACC_GLOBAL   ? watch->global_shadow
           : space == ACC_SHARED ? watch->shared_shadow
           : space == ACC_LOCAL  ? watch->local_shadow
                                 : 0;
}

/* Structures are copied with their padding, so a load from local memory is at fault only when it
 * gets nothing that was written; untracked allocations count as written. */
static bool excused(AccSpace space, u64 address, u32 size, u64 distance) {
    if (space == ACC_LOCAL)
        for (u32 i = 0; i < size; i++)
            if (*shadow_at(address + i, distance)) return true;
    if (space != ACC_GLOBAL) return false;
    const SgAllocation *const a = sg_mem_find(address);
    return !a || !__atomic_load_n(&a->tracked, __ATOMIC_RELAXED);
}

static bool check_written(Warp *w, const Rec *r, AccSpace space, const u64 a[LANES], u32 m,
                          u32 size, u64 distance, AccKind kind) {
    for (u32 bad = unwritten_lanes(a, m, size, distance, kind); bad; bad &= bad - 1) {
        const int l = __builtin_ctz(bad);
        char where[320], which[80];
        if (excused(space, a[l], size, distance)) continue;
        watch_name_unwritten(shadow_at(a[l], distance), size, which, sizeof which);
        name_bytes(w, space, a[l] + space_origin(w, space, l), size, where, sizeof where);
        /* warps run one after the other: the store that should have come first may come yet */
        const bool later = space == ACC_SHARED && w->block->warp_count > 1;
        warp_fault(w, r, 719, 1u << l, "read of uninitialised memory: %s: %s%s", where, which,
                   later ? " so far; where another thread or a copy writes them, a barrier or a "
                           "wait before this read is missing"
                         : "");
        return false;
    }
    return true;
}

/* The lanes whose address has a shadow: registered host memory lies outside the range. */
static u32 shadowed_lanes(const u64 a[LANES], u32 m) {
    if (!sg_mem_any_registered()) return m;
    FOR_LANES if ((m >> l & 1) && !sg_mem_in_range(a[l])) m &= ~(1u << l);
    return m;
}

/* One access of the lanes in `m` at host addresses a[]. False after a fault. */
KERNEL_DATA static bool watch_access(Warp *w, const Rec *r, AccSpace space, const u64 a[LANES],
                                     u32 m, u32 size, AccKind kind) {
    const Watch *const watch = w->block->watch;
    if (!watch) return true;
    if (watch->races && space <= ACC_SHARED) {
        if (!check_race(w, r, space, a, m, size, kind)) return false;
        if ((kind & ACC_STRONG) && (kind & ACC_WRITE) && order_has_signals(w, kind & ACC_RELEASE))
            FOR_LANES if (m >> l & 1) order_publish(w, a[l], kind & ACC_RELEASE);
    }
    const u64 distance = space_shadow(watch, space);
    if (space == ACC_GLOBAL) m = shadowed_lanes(a, m);
    if (distance && (kind & ACC_READ) && !check_written(w, r, space, a, m, size, distance, kind))
        return false;
    if (distance && (kind & ACC_WRITE) && !(kind & ACC_COPY))
        mark_written(a, m, size, distance, kind);
    return true;
}

/* After a load or atomic: what its lanes learn. */
static void watch_observe(Warp *w, const u64 a[LANES], u32 m, AccKind kind) {
    const Watch *const watch = w->block->watch;
    if (!(kind & ACC_STRONG) || !(kind & ACC_READ) || !watch || !watch->races) return;
    if (!order_has_signals(w, false)) return;
    FOR_LANES if (m >> l & 1) order_observe(w, a[l], kind & ACC_ACQUIRE);
}

#else
static inline void watch_copy(Warp *w, const Rec *r, AsyncCopy *copy, u32 reading) {
    (void)w, (void)r, (void)copy, (void)reading;
}
static inline void watch_observe(Warp *w, const u64 a[LANES], u32 m, AccKind kind) {
    (void)w, (void)a, (void)m, (void)kind;
}
static inline bool watch_access(Warp *w, const Rec *r, AccSpace space, const u64 a[LANES], u32 m,
                                u32 size, AccKind kind) {
    (void)w, (void)r, (void)space, (void)a, (void)m, (void)size, (void)kind;
    return true;
}
#endif
