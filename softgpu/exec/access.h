/* Loads, stores, copies: address rows to host pointers with every check, then the data;
 * included by tensor.c only.
 *
 * Record: o[0..3] data rows, o[4] address row or NO_ROW, o[5] flags, o[12..13] byte offset. */

#include "softgpu/exec/module.h"

#define NO_ROW UINT32_MAX
enum {
    ACC_BYTES = 0x0f,  /* of one element: 1, 2, 4, 8 */
    ACC_SIGNED = 0x10, /* sign-extend to the register */
    ACC_WIDE = 0x20,   /* data rows have 64-bit lanes */
    ACC_ADDR64 = 0x40, /* address row has 64-bit lanes */
    ACC_COUNT = 8,     /* shift: elements per lane */
    ACC_ORDER = 12,    /* shift: is .volatile or .relaxed or stronger, acquires, releases */
};
typedef enum AccSpace { ACC_GLOBAL, ACC_SHARED, ACC_LOCAL, ACC_PARAM } AccSpace;

static inline u64 rec_offset(const Rec *r, int k) {
    return (u64)r->o[k + 1] << 32 | r->o[k];
}

static inline void address_row(Warp *w, u32 row, bool wide, u64 offset, u64 a[LANES]) {
    if (row == NO_ROW) {
        FOR_LANES a[l] = offset;
    } else if (wide) {
        const u64 *const p = (const u64 *)(w->regs + row);
        IVDEP FOR_LANES a[l] = p[l] + offset;
    } else {
        const u32 *const p = (const u32 *)(w->regs + row);
        IVDEP FOR_LANES a[l] = (u64)p[l] + offset;
    }
}

/* Lowest and highest address of the lanes in `m`, and the OR of all. */
static inline void address_bounds(const u64 a[LANES], u32 m, u64 *low, u64 *high, u64 *bits) {
    u64 lo = UINT64_MAX, hi = 0, any = 0;
    if (m == FULL_MASK) {
        FOR_LANES {
            lo = a[l] < lo ? a[l] : lo;
            hi = a[l] > hi ? a[l] : hi;
            any |= a[l];
        }
    } else {
        FOR_LANES {
            const bool on = m >> l & 1;
            const u64 x = on ? a[l] : UINT64_MAX, y = on ? a[l] : 0;
            lo = x < lo ? x : lo;
            hi = y > hi ? y : hi;
            any |= y;
        }
    }
    *low = lo;
    *high = hi;
    *bits = any;
}

/* Is lane l at a[0] + l * size in all lanes? */
static inline bool linear(const u64 a[LANES], u32 size) {
    u64 off = 0;
    FOR_LANES off |= a[l] - (a[0] + (u64)l * size);
    return off == 0;
}

/* 32-byte sectors of one access: the unit of L2 traffic. Lines are marked for the footprint. */
static u64 count_sectors(Warp *w, const u64 a[LANES], u32 m, u32 size, u64 low, u64 high) {
    Footprint *const f = w->block->launch->footprint;
    const u64 first = low >> 5, last = (high + size - 1) >> 5;
    if (m == FULL_MASK && linear(a, size)) {
        footprint_touch(f, first, last);
        return last - first + 1;
    }
    if (last - first < 64) {
        u64 seen = 0;
        FOR_LANES if (m >> l & 1) {
            seen |= UINT64_C(1) << ((a[l] >> 5) - first);
            seen |= UINT64_C(1) << (((a[l] + size - 1) >> 5) - first);
        }
        for (u64 i = 0; i <= last - first; i++)
            if (seen >> i & 1) footprint_touch(f, first + i, first + i);
        return (u64)__builtin_popcountll(seen);
    }
    u64 table[128] = {0}, n = 0; /* open addressing; at most 64 sectors */
    FOR_LANES if (m >> l & 1) for (u64 s = a[l] >> 5; s <= (a[l] + size - 1) >> 5; s++) {
        u64 slot = (s * UINT64_C(0x9e3779b97f4a7c15)) >> 57;
        while (table[slot] && table[slot] != s + 1) slot = (slot + 1) & 127;
        if (table[slot]) continue;
        table[slot] = s + 1;
        footprint_touch(f, s, s);
        n++;
    }
    return n;
}

/* Cycles of the 128-byte port for lanes [first, first + lanes): the most different words that
 * fall into one of the 32 banks. */
static u32 bank_cycles(const u64 off[LANES], u32 m, int first, int lanes, u32 size) {
    u32 words[32][32], n[32] = {0}, most = 0;
    for (int l = first; l < first + lanes; l++) {
        if (!(m >> l & 1)) continue;
        for (u64 word = off[l] >> 2; word <= (off[l] + size - 1) >> 2; word++) {
            const u32 bank = word & 31;
            u32 i = 0;
            while (i < n[bank] && words[bank][i] != (u32)word) i++;
            if (i < n[bank] || i == 32) continue;
            words[bank][n[bank]++] = (u32)word;
            if (n[bank] > most) most = n[bank];
        }
    }
    return most;
}

/* 8-byte accesses go in two halves of a warp, 16-byte ones in four quarters: 128 bytes at a time.
 * When the lanes of a phase hit every group of banks once, it takes one cycle. */
static u32 phase_cycles(const u64 off[LANES], u32 m, int first, int lanes, u32 size) {
    const u32 shift = size == 16 ? 4 : size == 8 ? 3 : 2;
    u32 groups = 0;
    for (int l = first; l < first + lanes; l++)
        groups |= 1u << (off[l] >> shift & (u32)(lanes - 1));
    const u32 all = lanes == 32 ? FULL_MASK : (1u << lanes) - 1;
    if (m == FULL_MASK && groups == all && size >= 4) return 1;
    u64 apart = 0; /* one address for all: a broadcast */
    for (int l = first; l < first + lanes; l++) apart |= off[l] ^ off[first];
    if (m == FULL_MASK && !apart) return size <= 4 ? 1 : bank_cycles(off, m, first, 1, size);
    return bank_cycles(off, m, first, lanes, size);
}

static void count_banks(Warp *w, const u64 off[LANES], u32 m, u32 size) {
    const int phases = size <= 4 ? 1 : size <= 8 ? 2 : 4, lanes = LANES / phases;
    DynamicCounters *const c = &w->block->dynamic;
    for (int p = 0; p < phases; p++) {
        const u32 cycles = phase_cycles(off, m, p * lanes, lanes, size);
        c->shared_wavefronts += cycles;
        if (cycles > 1) c->shared_conflicts += cycles - 1;
    }
}

static const char *const acc_names[] = {"global", "shared", "local", "parameter"};

/* Bytes in memory as a finding names them: address, and allocation or variable. */
static const char *name_bytes(const Warp *w, AccSpace space, u64 address, u32 size, char *out,
                              size_t out_size) {
    if (space != ACC_GLOBAL)
        return sg_window_text(w->block->launch->kernel, acc_names[space], address, size, out,
                              out_size);
    sg_mem_describe(address, size, out, out_size);
    return out;
}

static void fault_misaligned(Warp *w, const Rec *r, AccSpace space, const u64 a[LANES], u32 m,
                             u32 size) {
    char where[320];
    FOR_LANES if ((m >> l & 1) && (a[l] & (size - 1))) {
        warp_fault(w, r, 716, 1u << l, "misaligned %s access: %s; a multiple of %u is needed",
                   acc_names[space], name_bytes(w, space, a[l], size, where, sizeof where),
                   (unsigned)size);
        return;
    }
}

static bool locate_global(Warp *w, const Rec *r, u64 a[LANES], u32 m, u32 size) {
    u64 low, high, bits;
    address_bounds(a, m, &low, &high, &bits);
    if (bits & (size - 1)) {
        fault_misaligned(w, r, ACC_GLOBAL, a, m, size);
        return false;
    }
    if (high > UINT64_MAX - size || !warp_range(w, low, high + size)) {
        FOR_LANES if ((m >> l & 1) && !warp_may_use(w, r, l, a[l], size)) return false;
    }
    w->sectors += count_sectors(w, a, m, size, low, high);
    return true;
}

/* A window of `limit` bytes at `base`; a[] becomes offsets in it. */
static bool locate_window(Warp *w, const Rec *r, AccSpace space, u64 a[LANES], u32 m, u32 size,
                          u64 base, u64 limit) {
    IVDEP FOR_LANES a[l] -= base;
    u64 low, high, bits;
    address_bounds(a, m, &low, &high, &bits);
    if ((bits + base) & (size - 1)) { /* base is a multiple of any size */
        FOR_LANES a[l] += base;
        fault_misaligned(w, r, space, a, m, size);
        return false;
    }
    if (limit >= size && high <= limit - size) return true;
    char where[320];
    FOR_LANES if ((m >> l & 1) && (a[l] > limit || limit - a[l] < size)) {
        warp_fault(w, r, 700, 1u << l, "out of bounds: %s; the %s has [0x%llx, 0x%llx)",
                   name_bytes(w, space, a[l] + base, size, where, sizeof where),
                   space == ACC_SHARED  ? "block"
                   : space == ACC_LOCAL ? "thread"
                                        : "launch",
                   (unsigned long long)base, (unsigned long long)(base + limit));
        return false;
    }
    return true;
}

/* Lanes of different blocks may race on device memory as their kernel says; that is the kernel's
 * affair, so the thread sanitizer must not look at the data of loads and stores. */
#define KERNEL_DATA __attribute__((no_sanitize("thread")))

#include "softgpu/exec/watch_access.h"

/* Turns device addresses of the lanes in `m` into host pointers; false after a fault. */
static bool place(Warp *w, const Rec *r, AccSpace space, u64 a[LANES], u32 m, u32 size) {
    Block *const b = w->block;
    switch (space) {
    case ACC_GLOBAL: return locate_global(w, r, a, m, size);
    case ACC_SHARED:
        if (!locate_window(w, r, space, a, m, size, b->shared_base, b->shared_size)) return false;
        count_banks(w, a, m, size);
        IVDEP FOR_LANES a[l] += (u64)(uintptr_t)b->shared;
        return true;
    case ACC_LOCAL: {
        const u64 bytes = warp_local_bytes(w), base = (u64)(uintptr_t)w->local;
        if (!locate_window(w, r, space, a, m, size, 0, bytes)) return false;
        IVDEP FOR_LANES a[l] += base + (u64)l * bytes;
        return true;
    }
    default:
        if (!locate_window(w, r, space, a, m, size, 0, warp_param_bytes(w))) return false;
        IVDEP FOR_LANES a[l] += (u64)(uintptr_t)b->launch->params;
        return true;
    }
}

static bool locate(Warp *w, const Rec *r, AccSpace space, u64 a[LANES], u32 m, u32 size,
                   AccKind kind) {
    return place(w, r, space, a, m, size) && watch_access(w, r, space, a, m, size, kind);
}

/* Generic addresses: each window's lanes in turn. */
static bool locate_generic(Warp *w, const Rec *r, u64 a[LANES], u32 m, u32 size, AccKind kind) {
    for (int window = 0; window < 4; window++) {
        u32 lanes = 0;
        FOR_LANES if ((a[l] >> WINDOW_SHIFT) == (u64)window) lanes |= 1u << l;
        lanes &= m;
        if (!lanes) continue;
        m &= ~lanes;
        u64 part[LANES];
        FOR_LANES part[l] = a[l] - ((u64)window << WINDOW_SHIFT);
        if (window == ACC_PARAM && kind != ACC_READ) {
            char where[320];
            const int l = __builtin_ctz(lanes);
            warp_fault(w, r, 700, lanes, "store to kernel parameters: %s",
                       name_bytes(w, ACC_PARAM, part[l], size, where, sizeof where));
            return false;
        }
        if (!locate(w, r, (AccSpace)window, part, lanes, size, kind)) return false;
        FOR_LANES if (lanes >> l & 1) a[l] = part[l];
    }
    if (m)
        warp_fault(w, r, 700, m, "address is in no window: %u bytes at 0x%llx", (unsigned)size,
                   (unsigned long long)a[__builtin_ctz(m)]);
    return m == 0;
}

#define LOAD_LOOP(TD, TS)                                                                          \
    {                                                                                              \
        TD *const d = ROW(TD, k);                                                                  \
        FOR_LANES if (m >> l & 1) {                                                                \
            TS v;                                                                                  \
            __builtin_memcpy(&v, (const u8 *)(uintptr_t)a[l] + (size_t)k * sizeof v, sizeof v);    \
            d[l] = (TD)v;                                                                          \
        }                                                                                          \
    }                                                                                              \
    break;

/* Four words per lane and all lanes: four lanes at a time, as columns of 4 x 4. */
KERNEL_DATA static void load_quads(Warp *w, const Rec *r, const u64 a[LANES]) {
    for (int l = 0; l < LANES; l += 4) {
        F4 m[4];
        for (int i = 0; i < 4; i++) __builtin_memcpy(&m[i], (const void *)(uintptr_t)a[l + i], 16);
        transpose4(m);
        for (int i = 0; i < 4; i++) __builtin_memcpy(ROW(u32, i) + l, &m[i], 16);
    }
}
KERNEL_DATA static void store_quads(Warp *w, const Rec *r, const u64 a[LANES]) {
    for (int l = 0; l < LANES; l += 4) {
        F4 m[4];
        for (int i = 0; i < 4; i++) __builtin_memcpy(&m[i], ROW(u32, i) + l, 16);
        transpose4(m);
        for (int i = 0; i < 4; i++) __builtin_memcpy((void *)(uintptr_t)a[l + i], &m[i], 16);
    }
}
/* Words of all lanes, `count` each. */
KERNEL_DATA static void load_words(Warp *w, const Rec *r, const u64 a[LANES], int count) {
    for (int k = 0; k < count; k++) {
        u32 *const d = ROW(u32, k);
        FOR_LANES __builtin_memcpy(&d[l], (const u8 *)(uintptr_t)a[l] + 4 * k, 4);
    }
}
KERNEL_DATA static void store_words(Warp *w, const Rec *r, const u64 a[LANES], int count) {
    for (int k = 0; k < count; k++) {
        const u32 *const d = ROW(u32, k);
        FOR_LANES __builtin_memcpy((u8 *)(uintptr_t)a[l] + 4 * k, &d[l], 4);
    }
}

KERNEL_DATA static void load_rows(Warp *w, const Rec *r, const u64 a[LANES], u32 m) {
    const u32 flags = r->o[5], bytes = flags & ACC_BYTES;
    const int count = (int)(flags >> ACC_COUNT & 15);
    if (bytes == 4 && !(flags & ACC_WIDE) && m == FULL_MASK) {
        if (count == 4)
            load_quads(w, r, a);
        else if (count == 1 && linear(a, 4))
            __builtin_memcpy(ROW(u32, 0), (const void *)(uintptr_t)a[0], LANES * 4);
        else
            load_words(w, r, a, count);
        return;
    }
    for (int k = 0; k < count; k++) switch (flags & (ACC_BYTES | ACC_SIGNED | ACC_WIDE)) {
        case 1: LOAD_LOOP(u32, u8)
        case 2: LOAD_LOOP(u32, u16)
        case 4:
        case 4 | ACC_SIGNED: LOAD_LOOP(u32, uint32_t)
        case 1 | ACC_SIGNED: LOAD_LOOP(s32, s8)
        case 2 | ACC_SIGNED: LOAD_LOOP(s32, s16)
        case 1 | ACC_WIDE: LOAD_LOOP(u64, u8)
        case 2 | ACC_WIDE: LOAD_LOOP(u64, u16)
        case 4 | ACC_WIDE: LOAD_LOOP(u64, uint32_t)
        case 1 | ACC_WIDE | ACC_SIGNED: LOAD_LOOP(s64, s8)
        case 2 | ACC_WIDE | ACC_SIGNED: LOAD_LOOP(s64, s16)
        case 4 | ACC_WIDE | ACC_SIGNED: LOAD_LOOP(s64, int32_t)
        default: LOAD_LOOP(u64, uint64_t)
        }
}

#define STORE_LOOP(TS)                                                                             \
    FOR_LANES if (m >> l & 1) {                                                                    \
        const TS v = (TS)(wide ? ROW(u64, k)[l] : ROW(u32, k)[l]);                                 \
        __builtin_memcpy((u8 *)(uintptr_t)a[l] + (size_t)k * sizeof v, &v, sizeof v);              \
    }                                                                                              \
    break;

KERNEL_DATA static void store_rows(Warp *w, const Rec *r, const u64 a[LANES], u32 m) {
    const u32 flags = r->o[5], bytes = flags & ACC_BYTES;
    const int count = (int)(flags >> ACC_COUNT & 15);
    const bool wide = flags & ACC_WIDE;
    w->block->progress = true;
    if (bytes == 4 && !wide && m == FULL_MASK) {
        if (count == 4)
            store_quads(w, r, a);
        else if (count == 1 && linear(a, 4))
            __builtin_memcpy((void *)(uintptr_t)a[0], ROW(u32, 0), LANES * 4);
        else
            store_words(w, r, a, count);
        return;
    }
    for (int k = 0; k < count; k++) switch (bytes) {
        case 1: STORE_LOOP(u8)
        case 2: STORE_LOOP(u16)
        case 4: STORE_LOOP(uint32_t)
        default: STORE_LOOP(uint64_t)
        }
}

static inline u32 access_size(const Rec *r) {
    return (r->o[5] & ACC_BYTES) * (r->o[5] >> ACC_COUNT & 15);
}

#define ACCESS(name, LOCATE, MOVE, KIND)                                                           \
    HANDLER(name) {                                                                                \
        u64 a[LANES];                                                                              \
        const u32 m = w->mask, size = access_size(r);                                              \
        address_row(w, r->o[4], r->o[5] & ACC_ADDR64, rec_offset(r, 12), a);                       \
        if (!(LOCATE)) return NULL;                                                                \
        MOVE(w, r, a, m);                                                                          \
        watch_observe(w, a, m, KIND | order_kind(r));                                              \
        return r + 1;                                                                              \
    }
ACCESS(ld_global, locate(w, r, ACC_GLOBAL, a, m, size, ACC_READ | order_kind(r)), load_rows,
       ACC_READ)
ACCESS(ld_shared, locate(w, r, ACC_SHARED, a, m, size, ACC_READ | order_kind(r)), load_rows,
       ACC_READ)
ACCESS(ld_local, locate(w, r, ACC_LOCAL, a, m, size, ACC_READ | order_kind(r)), load_rows, ACC_READ)
ACCESS(ld_param, locate(w, r, ACC_PARAM, a, m, size, ACC_READ | order_kind(r)), load_rows, ACC_READ)
ACCESS(ld_generic, locate_generic(w, r, a, m, size, ACC_READ | order_kind(r)), load_rows, ACC_READ)
ACCESS(st_global, locate(w, r, ACC_GLOBAL, a, m, size, ACC_WRITE | ACC_VALUES | order_kind(r)),
       store_rows, ACC_WRITE)
ACCESS(st_shared, locate(w, r, ACC_SHARED, a, m, size, ACC_WRITE | ACC_VALUES | order_kind(r)),
       store_rows, ACC_WRITE)
ACCESS(st_local, locate(w, r, ACC_LOCAL, a, m, size, ACC_WRITE | ACC_VALUES | order_kind(r)),
       store_rows, ACC_WRITE)
ACCESS(st_generic, locate_generic(w, r, a, m, size, ACC_WRITE | ACC_VALUES | order_kind(r)),
       store_rows, ACC_WRITE)

/* A kernel parameter at a constant offset (checked by decode): the same value in all lanes. */
HANDLER(ld_uniform) {
    const u8 *const p = w->block->launch->params + r->o[12];
    u64 a[LANES];
    FOR_LANES a[l] = (u64)(uintptr_t)p;
    load_rows(w, r, a, w->mask);
    return r + 1;
}

HANDLER(nothing) {
    (void)w;
    return r + 1;
}

/* cp.async: o[0] destination address row, o[1] source address row, o[2] bytes, o[3] src-size row
 * or NO_ROW, o[4] ignore-src predicate or NO_ROW, o[8] its negation, o[5] flags of the
 * destination, o[6..7] destination offset, o[12..13] source offset, o[9] source address 64-bit. */
HANDLER(cp_async) {
    u64 dst[LANES], src[LANES];
    const u32 m = w->mask, bytes = r->o[2];
    AsyncCopy *const copy = async_next(w);
    if (!copy) return warp_fault(w, r, 719, m, "out of memory for cp.async");
    copy->mask = m;
    copy->bytes = bytes;
    address_row(w, r->o[0], r->o[5] & ACC_ADDR64, rec_offset(r, 6), dst);
    address_row(w, r->o[1], true, rec_offset(r, 12), src);
    const u32 ignore = r->o[4] == NO_ROW ? 0 : PRED(4) ^ r->o[8];
    const u32 *const sizes = r->o[3] == NO_ROW ? NULL : ROW(u32, 3);
    u32 reading = 0;
    FOR_LANES {
        const u32 n = sizes ? sizes[l] : bytes;
        copy->take[l] = ignore >> l & 1 ? 0 : n < bytes ? n : bytes;
        copy->src[l] = src[l];
        if (copy->take[l]) reading |= 1u << l;
    }
    if (!locate_window(w, r, ACC_SHARED, dst, m, bytes, w->block->shared_base,
                       w->block->shared_size))
        return NULL;
    count_banks(w, dst, m, bytes);
    FOR_LANES copy->dst[l] = (u32)dst[l];
    for (int l = 0; SG_CHECKED && l < LANES; l++) dst[l] += (u64)(uintptr_t)w->block->shared;
    if (!watch_access(w, r, ACC_SHARED, dst, m, bytes, ACC_WRITE | ACC_COPY)) return NULL;
    reading &= m; /* src-size 0 must not touch the source, nor must a partial one past its end */
    u32 whole = 0;
    FOR_LANES if (copy->take[l] == bytes) whole |= 1u << l;
    if ((whole & reading) && !locate(w, r, ACC_GLOBAL, src, whole & reading, bytes, ACC_READ))
        return NULL;
    for (u32 part = reading & ~whole; part; part &= part - 1) {
        const int l = __builtin_ctz(part);
        if (src[l] & (bytes - 1)) {
            fault_misaligned(w, r, ACC_GLOBAL, src, 1u << l, bytes);
            return NULL;
        }
        if (!warp_may_use(w, r, l, src[l], copy->take[l])) return NULL;
        if (!watch_access(w, r, ACC_GLOBAL, src, 1u << l, copy->take[l], ACC_READ)) return NULL;
        w->sectors++;
        footprint_touch(w->block->launch->footprint, src[l] >> 5, src[l] >> 5);
    }
    watch_copy(w, r, copy, reading);
    async_push(w);
    return r + 1;
}

HANDLER(cp_commit) {
    async_commit(w);
    return r + 1;
}
HANDLER(cp_wait) {
    async_wait(w, r->o[0]);
    return r + 1;
}
HANDLER(cp_wait_all) {
    async_wait_all(w);
    return r + 1;
}
