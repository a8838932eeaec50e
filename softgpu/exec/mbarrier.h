/* mbarrier objects in shared memory (PTX ISA, "mbarrier"); included by tensor.c only.
 *
 * The 64-bit word, opaque to kernels: pending arrivals, expected arrivals, bytes still to come
 * (signed: complete_tx may precede expect_tx), the parity of the current phase, a mark that tells
 * an object from other data (shared memory starts as 0xff bytes). A block runs on one host thread
 * at a time, so plain accesses do. The state that arrive returns is the word before it.
 *
 * Arrivals of cp.async.mbarrier.arrive happen as late as they may: when a thread waits on the
 * object. Then the copies land too, so that a missing wait shows as stale data. */

#include "softgpu/exec/mbarrier_word.h"

static u64 mb_pack(const MBarrier *m) {
    return MB_MARK | (u64)m->phase << MB_PHASE |
           ((u64)m->tx & ((UINT64_C(1) << MB_TX_BITS) - 1)) << MB_TX |
           (u64)m->expected << MB_EXPECTED | (u64)m->pending;
}
static void mb_complete(MBarrier *m) {
    if (m->pending || m->tx) return;
    m->phase ^= 1;
    m->pending = m->expected;
}

static u64 *mb_at(Warp *w, u64 offset) {
    return (u64 *)(void *)(w->block->shared + offset);
}

/* What is wrong with adding `tx` bytes and taking `count` arrivals; NULL when nothing. */
static const char *mb_change(MBarrier *m, s64 tx, s64 count, u32 flags) {
    m->tx += tx;
    if (m->tx > MB_MOST || m->tx < -MB_MOST) return "its bytes to come leave +-(2^20 - 1)";
    if (count > m->pending || count < 0) return "more arrivals than it still expects";
    m->pending -= count;
    if (flags & MB_DROP) m->expected -= count;
    if ((flags & MB_NO_COMPLETE) && !m->pending && count)
        return "arrive.noComplete completes the phase";
    if (m->expected < 0) return "more drops than it expects arrivals";
    mb_complete(m);
    return NULL;
}

static const Rec *mb_fault(Warp *w, const Rec *r, int lane, u64 offset, const char *why) {
    return warp_fault(w, r, 715, 1u << lane, "mbarrier at shared 0x%llx: %s",
                      (unsigned long long)(offset + w->block->shared_base), why);
}

static bool mb_locate(Warp *w, const Rec *r, u64 a[LANES]) {
    address_row(w, r->o[4], r->o[5] & ACC_ADDR64, rec_offset(r, 12), a);
    return locate_window(w, r, ACC_SHARED, a, w->mask, 8, w->block->shared_base,
                         w->block->shared_size);
}

/* o[0] state row or NO_ROW, o[6] row of the count or bytes, o[8] MB_* flags; the address as in
 * access.h. MB_INIT and MB_INVAL make and end objects. */
HANDLER(mbarrier) {
    u64 a[LANES];
    const u32 flags = r->o[8];
    if (!mb_locate(w, r, a)) return NULL;
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        u64 *const p = mb_at(w, a[l]);
        const u64 old = *p;
        const s64 n = (s32)ROW(u32, 6)[l];
        MBarrier m;
        const bool valid = mb_unpack(old, &m);
        if (flags & (MB_INIT | MB_INVAL)) {
            if ((flags & MB_INIT) && (n < 1 || n > MB_MOST))
                return mb_fault(w, r, l, a[l], "the count is not in 1 .. 2^20 - 1");
            m = (MBarrier){.pending = n, .expected = n};
            *p = flags & MB_INIT ? mb_pack(&m) : 0;
            if (SG_CHECKED) watch_wrote_shared(w->block, (u32)a[l], 8);
            continue;
        }
        if (!valid) return mb_fault(w, r, l, a[l], "was not initialised, or overwritten");
        const s64 tx = flags & MB_EXPECT ? n : flags & MB_COMPLETE ? -n : 0;
        const s64 count = !(flags & MB_ARRIVE) ? 0 : flags & MB_EXPECT ? 1 : n;
        const char *const wrong = mb_change(&m, tx, count, flags);
        if (wrong) return mb_fault(w, r, l, a[l], wrong);
        *p = mb_pack(&m);
        if (SG_CHECKED && (flags & MB_ARRIVE)) watch_mb_arrive(w, (u32)a[l]);
        if (SG_CHECKED && ((old ^ *p) >> MB_PHASE & 1)) watch_mb_phase(w->block, (u32)a[l]);
        if (r->o[0] != NO_ROW) ROW(u64, 0)[l] = old;
    }
    w->block->progress = true;
    return r + 1;
}

/* The arrivals put off until somebody waits on the object at `offset`. */
static const char *mb_settle(Warp *w, u64 offset) {
    Block *const b = w->block;
    const char *wrong = NULL;
    int kept = 0;
    for (int i = 0; i < b->arrival_count; i++) {
        const AsyncArrival arrival = b->arrivals[i];
        if (arrival.offset != offset) {
            b->arrivals[kept++] = arrival;
            continue;
        }
        MBarrier m;
        u64 *const p = mb_at(w, offset), old = *p;
        async_land(&b->warps[arrival.warp], arrival.lanes);
        if (!mb_unpack(*p, &m)) continue;
        wrong = mb_change(&m, 0, __builtin_popcount(arrival.lanes), 0);
        if (wrong) break;
        *p = mb_pack(&m);
        if (SG_CHECKED && ((old ^ *p) >> MB_PHASE & 1)) watch_mb_phase(b, (u32)offset);
        b->progress = true;
    }
    if (!wrong) b->arrival_count = kept;
    return wrong;
}

/* cp.async.mbarrier.arrive: o[8] MB_NO_INC or 0. Without it the arrival is expected besides the
 * count of the object. */
HANDLER(cp_mbarrier_arrive) {
    u64 a[LANES];
    if (!mb_locate(w, r, a)) return NULL;
    for (u32 left = w->mask; left;) {
        const int l = __builtin_ctz(left);
        u32 same = 0;
        for (int i = l; i < LANES; i++)
            if ((left >> i & 1) && a[i] == a[l]) same |= 1u << i;
        left &= ~same;
        MBarrier m;
        u64 *const p = mb_at(w, a[l]);
        if (!mb_unpack(*p, &m))
            return mb_fault(w, r, l, a[l], "was not initialised, or overwritten");
        if (!(r->o[8] & MB_NO_INC)) m.pending += __builtin_popcount(same);
        if (m.pending > MB_MOST) return mb_fault(w, r, l, a[l], "its count leaves 2^20 - 1");
        *p = mb_pack(&m);
        if (SG_CHECKED) watch_mb_arrive(w, (u32)a[l]);
        if (!async_arrival(w, (u32)a[l], same))
            return warp_fault(w, r, 719, same, "out of memory for cp.async.mbarrier.arrive");
    }
    w->block->progress = true;
    return r + 1;
}

/* test_wait and try_wait: o[0] predicate, o[6] state (64-bit) or parity row, o[8] MB_PARITY or 0.
 * Lanes that must wait give way to others of their warp and to other warps: neither form blocks. */
HANDLER(mbarrier_wait) {
    u64 a[LANES];
    u32 done = 0;
    if (!mb_locate(w, r, a)) return NULL;
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        MBarrier m;
        const char *const wrong = w->block->arrival_count ? mb_settle(w, a[l]) : NULL;
        if (wrong) return mb_fault(w, r, l, a[l], wrong);
        if (!mb_unpack(*mb_at(w, a[l]), &m))
            return mb_fault(w, r, l, a[l], "was not initialised, or overwritten");
        const u32 phase =
            r->o[8] & MB_PARITY ? ROW(u32, 6)[l] & 1 : (u32)(ROW(u64, 6)[l] >> MB_PHASE & 1);
        done |= (u32)(m.phase != phase) << l;
        if (SG_CHECKED && m.phase != phase) watch_mb_wait(w, (u32)a[l]);
    }
    PRED(0) = (PRED(0) & ~w->mask) | done;
    if (done != w->mask) {
        w->fuel = 0;
        w->budget = 0;
    }
    return r + 1;
}

HANDLER(mbarrier_pending) {
    u32 *const d = ROW(u32, 0);
    const u64 *const a = ROW(u64, 1);
    FOR_LANES if (w->mask >> l & 1) d[l] = (u32)(a[l] & MB_FIELD);
    return r + 1;
}
