/* Control flow of a warp: branches, divergence, guards, exits, barriers, faults.
 *
 * Lanes that part company keep their own pc[]. The group with the lowest pc runs (so that lanes
 * meet again where paths join, since compilers lay out joins below their branches), but after
 * DIVERGED_BLOCKS basic blocks the others get a turn: a lane that spins on another lane of its
 * warp cannot starve it (sm_70+ forward progress). Groups switch only at the first record of a
 * basic block (`leader`) or where they park for an instruction that needs more lanes. */
#include "softgpu/exec/block.h"
#include "softgpu/exec/lanes.h"
#include "softgpu/exec/module.h"
#include "softgpu/exec/watch.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { DIVERGED_BLOCKS = 64, NO_ROW32 = -1 };
#define NO_ROW UINT32_MAX

void warp_text(const Warp *w, const Rec *r, uint32_t lanes, const char *kind, const char *what,
               char *out, size_t size) {
    const Launch *const launch = w->block->launch;
    const SgKernel *const k = launch->kernel;
    if (w->apart) r = w->pc[__builtin_ctz(lanes)]; /* its own of several */
    const RecPlace *const p = &k->places[r - k->code];
    const uint32_t *const d = launch->user->block;
    const uint32_t thread = (uint32_t)w->index * LANES + (uint32_t)__builtin_ctz(lanes | 1u << 31);
    char place[256];
    ptx_place(k->module->ptx, p->loc_file, p->loc_line, place, sizeof place);
    snprintf(out, size, "%s: %s%s%s: %s (PTX line %d, %s, thread (%u,%u,%u) of block (%u,%u,%u))",
             k->info.name, place, place[0] ? ": " : "", kind, what, p->line,
             p->form ? p->form : "?", thread % d[0], thread / d[0] % d[1], thread / d[0] / d[1],
             w->block->id[0], w->block->id[1], w->block->id[2]);
}

const Rec *warp_fault(Warp *w, const Rec *r, int cuda_result, uint32_t lanes, const char *fmt,
                      ...) {
    Launch *const launch = w->block->launch;
    w->state = WARP_FAULT;
    pthread_mutex_lock(&launch->lock);
    SgFault *const f = &launch->user->fault;
    if (!f->faulted) {
        char what[1600];
        va_list args;
        va_start(args, fmt);
        vsnprintf(what, sizeof what, fmt, args);
        va_end(args);
        f->faulted = true;
        f->cuda_result = cuda_result;
        warp_text(w, r, lanes, "fault", what, f->text, sizeof f->text);
    }
    pthread_mutex_unlock(&launch->lock);
    atomic_store(&launch->stop, true);
    return NULL;
}

/* Leaves pc[] of the running lanes at `r`. */
static void set_pc(Warp *w, uint32_t lanes, const Rec *r) {
    FOR_LANES if (lanes >> l & 1) w->pc[l] = r;
}

bool warp_split(Warp *w, const Rec *r, const uint32_t *masks, const Rec **next) {
    const int lane = __builtin_ctz(w->mask);
    const uint32_t mask = masks[lane];
    uint32_t same = 0;
    FOR_LANES if ((w->mask >> l & 1) && masks[l] == mask) same |= 1u << l;
    if (same & ~mask) {
        *next = warp_fault(w, r, 715, same & ~mask,
                           "lane %d is not in its membermask 0x%08x; nor are others of 0x%08x",
                           __builtin_ctz(same & ~mask), mask, same & ~mask);
        return false;
    }
    set_pc(w, w->active & ~w->mask, r + 1); /* held back by the guard */
    set_pc(w, w->mask & ~same, w->guard ? w->guard : r);
    w->active = w->mask = same;
    return true;
}

bool warp_check_members(Warp *w, const Rec *r, const uint32_t *masks, const Rec **next) {
    const uint32_t mask = masks[__builtin_ctz(w->mask)], exited = mask & w->born & ~w->live;
    uint32_t other = 0;
    FOR_LANES if ((w->mask >> l & 1) && masks[l] != mask) other |= 1u << l;
    if (other) {
        const int l = __builtin_ctz(other);
        *next = warp_fault(w, r, 715, other,
                           "lanes disagree: membermask 0x%08x names lane %d, whose own is 0x%08x",
                           mask, l, masks[l]);
        return false;
    }
    if (exited)
        warp_warn(w, r, SG_WARN_SYNC, w->mask, "membermask 0x%08x names lanes 0x%08x, which exited",
                  mask, exited);
    return true;
}

const char *warp_place(const Warp *w, const Rec *r, char *out, size_t size) {
    const SgKernel *const k = w->block->launch->kernel;
    const RecPlace *const p = &k->places[r - k->code];
    char number[32];
    const size_t tail = (size_t)snprintf(number, sizeof number, "PTX line %d", p->line) + 2;
    ptx_place(k->module->ptx, p->loc_file, p->loc_line, out, size - tail);
    const size_t n = strlen(out);
    snprintf(out + n, size - n, "%s%s", n ? ", " : "", number);
    return out;
}

/* Parked lanes that never run again: each waits for one that waits elsewhere for one of them. Lanes
 * that stand where they can meet are not `missing` to each other. */
static uint32_t never_meet(const Warp *w) {
    uint32_t stuck = w->parked;
    for (uint32_t old = 0; old != stuck;) {
        old = stuck;
        FOR_LANES if (!(w->missing[l] & old)) stuck &= ~(1u << l);
    }
    return stuck;
}

static const Rec *apart_for_good(Warp *w, uint32_t lanes) {
    const SgKernel *const k = w->block->launch->kernel;
    const Rec *const first = w->pc[__builtin_ctz(lanes)];
    char text[1200], place[288];
    size_t n = 0;
    for (uint32_t left = lanes; left && n < sizeof text - 400;) {
        const int lane = __builtin_ctz(left);
        const Rec *const at = w->pc[lane];
        const char *const form = k->places[at - k->code].form;
        uint32_t same = 0;
        FOR_LANES if ((left >> l & 1) && w->pc[l] == at) same |= 1u << l;
        left &= ~same;
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "%slanes 0x%08x wait at %s (%.40s) for lanes 0x%08x", n ? ", " : "",
                              same, warp_place(w, at, place, sizeof place), form ? form : "?",
                              w->missing[lane]);
    }
    return warp_fault(
        w, first, 719, lanes,
        "divergent lanes wait for each other at a warp-wide instruction or barrier: %s", text);
}

/* That some can never meet is told at once: others may go on spinning. */
const Rec *warp_park(Warp *w, uint32_t lanes, const Rec *at, uint32_t missing) {
    set_pc(w, lanes, at);
    w->parked |= lanes;
    FOR_LANES if (lanes >> l & 1) w->missing[l] = missing;
    const uint32_t stuck = never_meet(w);
    return stuck ? apart_for_good(w, stuck) : warp_select(w);
}

/* With a seed: one choice in four goes to the group of a random lane, so that lanes still meet. */
static int random_lane(Warp *w, uint32_t ready) {
    const uint64_t seed = w->block->launch->user->seed;
    if (!seed) return -1;
    const uint64_t h = sg_mix(seed, w->block->linear << 5 | (uint64_t)w->index, w->choices++);
    if (h & 3) return -1;
    uint32_t left = ready;
    for (uint64_t n = (h >> 8) % (uint64_t)__builtin_popcount(ready); n; n--) left &= left - 1;
    return __builtin_ctz(left);
}

const Rec *warp_select(Warp *w) {
    const uint32_t all = w->live & ~w->parked & ~w->asleep;
    if (!all && w->asleep) {
        w->state = WARP_SPIN;
        w->resume = w->pc[__builtin_ctz(w->asleep)];
        return NULL;
    }
    assert(all); /* who parks last sees that nobody is left (warp_park) */
    if (!(all & ~w->behind)) w->behind = 0;
    const uint32_t ready = all & ~w->behind;
    const int any = random_lane(w, ready);
    const Rec *best = any >= 0 ? w->pc[any] : NULL;
    if (any < 0) FOR_LANES if ((ready >> l & 1) && (!best || w->pc[l] < best)) best = w->pc[l];
    uint32_t group = 0;
    FOR_LANES if ((all >> l & 1) && w->pc[l] == best) group |= 1u << l;
    if (group != w->active) w->budget = DIVERGED_BLOCKS;
    w->active = w->mask = group;
    return best;
}

bool warp_gather(Warp *w, const Rec *r, uint32_t required, const Rec **next) {
    if ((required & ~w->mask) == 0) return true;
    const Rec *const here = w->guard ? w->guard : r;
    uint32_t met = 0;
    FOR_LANES if ((w->parked >> l & 1) && w->pc[l] == here) met |= 1u << l;
    if (met) {
        w->parked &= ~met;
        w->active |= met;
        w->mask = w->active;
        *next = here;
        return false;
    }
    set_pc(w, w->active & ~w->mask, r + 1); /* held back by the guard: they go on */
    *next = warp_park(w, w->mask, here, required & ~w->mask);
    return false;
}

void warp_exit_lanes(Warp *w, uint32_t lanes) {
    w->live &= ~lanes;
    w->active &= ~lanes;
    w->mask = w->active;
    w->parked = 0; /* who waited for these lanes looks again */
    w->block->progress = true;
    if (w->live) return;
    w->state = WARP_DONE;
    block_check_barriers(w->block);
}

HANDLER(exit) {
    warp_exit_lanes(w, w->mask);
    if (!w->live) return NULL;
    return w->active ? r + 1 : warp_select(w);
}

/* At the first record of a basic block other lanes may get a turn: false, and *next is where to go
 * on. */
static bool keep_lanes(Warp *w, const Rec *r, const Rec **next) {
    if (w->active == w->live) return true;
    set_pc(w, w->active, r);
    if (--w->budget < 0) {
        w->behind |= w->active;
        w->budget = DIVERGED_BLOCKS;
    }
    *next = warp_select(w);
    return *next == r;
}

/* Enters the basic block, or gives way to other warps. */
static const Rec *enter_block(Warp *w, const Rec *r, bool counted) {
    w->fuel -= r->o[1];
    if (w->fuel < 0) {
        w->resume = r;
        return NULL;
    }
    w->clock += r->o[1];
    w->counts[r->o[0]] += counted;
    return r + 1;
}

/* A wait counts once, however often it polls. */
static const Rec *enter_round(Warp *w, const Rec *r) {
    const bool fresh = (w->active & ~w->spinning) != 0;
    const Rec *const next = enter_block(w, r, fresh);
    w->round_sectors = w->sectors;
    if (!next) return NULL;
    w->spinning &= ~w->active;
    w->world_waits += fresh && r->o[2];
    return next;
}

HANDLER(leader) {
    const Rec *next = NULL;
    return keep_lanes(w, r, &next) ? enter_block(w, r, true) : next;
}

/* The head of a loop that only waits (spin.c), o[2] 1: for global memory too. Lanes that come back
 * to it when nothing changed since they read memory sleep until something does. */
HANDLER(spin_head) {
    const Rec *next = NULL;
    if (!keep_lanes(w, r, &next)) return next;
    Block *const b = w->block;
    const bool again = w->back == r && w->back_lanes == w->active;
    const SpinRound old = w->round, now = {.head = r,
                                           .lanes = w->active,
                                           .block = block_epoch(b),
                                           .world = r->o[2] ? atomic_load(&b->launch->world) : 0};
    const bool same = again && old.head == r && old.lanes == now.lanes;
    w->back = NULL;
    w->round = now;
    if (same) w->sectors = w->round_sectors; /* what the poll read is taken back */
    if (!same || old.block != now.block || old.world != now.world) return enter_round(w, r);
    const bool global = w->asleep && w->sleep_global;
    if (!w->asleep || now.block < w->sleep_block) w->sleep_block = now.block;
    if (r->o[2] && (!global || now.world < w->sleep_world)) w->sleep_world = now.world;
    w->sleep_global = r->o[2] || global;
    w->asleep |= w->active;
    set_pc(w, w->active, r);
    return warp_select(w);
}

void warp_wake(Warp *w) {
    w->asleep = 0;
    if (w->state != WARP_SPIN) return;
    w->state = WARP_READY;
    w->resume = warp_select(w);
}

HANDLER(guard) {
    const u32 m = w->mask & (PRED(0) ^ r->o[1]);
    if (!m) return r + 2;
    w->mask = m;
    w->guard = r;
    const Rec *const next = r[1].fn(w, r + 1);
    w->guard = NULL;
    w->mask = w->active;
    return next;
}

HANDLER(bra) {
    (void)w;
    return r + (int32_t)r->o[0];
}

HANDLER(bra_if) {
    const u32 taken = w->mask & (PRED(1) ^ r->o[2]);
    if (taken == w->mask) return r + (int32_t)r->o[0];
    if (taken == 0) return r + 1;
    set_pc(w, taken, r + (int32_t)r->o[0]);
    set_pc(w, w->mask & ~taken, r + 1);
    return warp_select(w);
}

/* The jumps back to a spin_head; targets and predicates as bra and bra_if. */
HANDLER(spin_back) {
    w->back = r + (int32_t)r->o[0];
    w->back_lanes = w->mask;
    w->spinning |= w->mask;
    return w->back;
}
HANDLER(spin_back_if) {
    w->back = r + (int32_t)r->o[0];
    w->back_lanes = w->mask & (PRED(1) ^ r->o[2]);
    w->spinning |= w->back_lanes;
    return h_bra_if(w, r);
}

HANDLER(brx) {
    const SgKernel *const k = w->block->launch->kernel;
    const u32 *const index = ROW(u32, 1);
    const Rec *same = NULL;
    bool uniform = true;
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        if (index[l] >= r->o[2])
            return warp_fault(w, r, 715, 1u << l, "brx.idx %u of %u targets", index[l], r->o[2]);
        w->pc[l] = r + k->jumps[r->o[0] + index[l]];
        uniform &= !same || same == w->pc[l];
        same = w->pc[l];
    }
    return uniform ? same : warp_select(w);
}

HANDLER(trap) {
    const Launch *const l = w->block->launch;
    const bool grid = !l->workspace && launch_wants_workspace(l->kernel);
    return warp_fault(w, r, 719, w->mask, "trap%s",
                      grid ? "; grid.sync() needs a cooperative launch, this is none" : "");
}
HANDLER(brkpt) {
    return warp_fault(w, r, 719, w->mask, "breakpoint");
}
HANDLER(nop) {
    (void)w;
    return r + 1;
}
HANDLER(fence) {
    watch_fence(w);
    atomic_thread_fence(memory_order_seq_cst);
    return r + 1;
}
HANDLER(nanosleep) {
    w->fuel = 0; /* gives way at the next basic block */
    return r + 1;
}

#include "softgpu/exec/barrier.h"
#include "softgpu/exec/frame.h"

HANDLER(activemask) {
    u32 *const d = ROW(u32, 0);
    FOR_LANES if (w->mask >> l & 1) d[l] = w->mask;
    return r + 1;
}

/* One lane, always the same for a membermask (PTX ISA, elect.sync); with a seed not the lowest. */
static u32 elected(const Warp *w, u32 mask) {
    const uint64_t seed = w->block->launch->user->seed;
    u32 left = mask & w->mask;
    if (seed)
        for (uint64_t n = sg_mix(seed, mask, 3) % (uint64_t)__builtin_popcount(left); n; n--)
            left &= left - 1;
    return (u32)__builtin_ctz(left);
}

/* o[0] lane row or NO_ROW, o[1] predicate, o[2] membermask. */
HANDLER(elect) {
    const Rec *next = NULL;
    u32 mask = 0;
    static const ExchangeRows rows = {.kind = {EX_OUT, EX_OUT_PRED, EX_MEMBERS}};
    if (!warp_members(w, r, ROW(u32, 2), &mask, &next)) return next;
    if (mask & w->live & ~w->mask) return warp_exchange(w, r, mask, &rows);
    const u32 leader = elected(w, mask);
    if (r->o[0] != NO_ROW) FOR_LANES if (w->mask >> l & 1) ROW(u32, 0)[l] = leader;
    PRED(1) = (PRED(1) & ~w->mask) | 1u << leader;
    return r + 1;
}

/* o[0] predicate, o[1] address row, o[2] window. */
HANDLER(isspacep) {
    const u64 *const a = ROW(u64, 1);
    u32 bits = 0;
    FOR_LANES bits |= (u32)((a[l] >> WINDOW_SHIFT) == r->o[2]) << l;
    PRED(0) = (PRED(0) & ~w->mask) | (bits & w->mask);
    return r + 1;
}

HANDLER(special) {
    const u64 t = w->clock;
    const bool wide = ptx_special_class((int)r->o[1]) == PTX_B64;
    const bool high = r->o[1] == PTX_SR_CLOCK_HI || r->o[1] == PTX_SR_GLOBALTIMER_HI;
    w->clock += 1; /* two readings differ */
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        if (wide)
            ROW(u64, 0)[l] = t;
        else
            ROW(u32, 0)[l] = (u32)(high ? t >> 32 : t);
    }
    return r + 1;
}

/* The result that 32 bits do not hold, with sign and without. */
static void exact(OverflowKind kind, u32 a, u32 b, u32 c, s64 *with, u64 *without) {
    const s64 x = (s32)a, y = (s32)b, z = (s32)c;
    switch (kind) {
    case OVERFLOW_MUL: *with = x * y, *without = (u64)a * b; return;
    case OVERFLOW_MAD: *with = x * y + z, *without = (u64)a * b + c; return;
    case OVERFLOW_SHL: /* by 32 and more: 0 */
        *with = b < 32 ? x * (INT64_C(1) << b) : x ? INT64_MAX : 0;
        *without = b < 32 ? (u64)a << b : a ? UINT64_MAX : 0;
        return;
    case OVERFLOW_ADD: *with = x + y, *without = (u64)a + b; return;
    default: *with = x - y, *without = (u64)a - b; return;
    }
}

/* o[0] OverflowKind, o[1..3] sources, o[4] OVERFLOW_SIGNED or _BOTH. */
HANDLER(overflow) {
    static const char *const names[] = {"*", "*", "<<", "+", "-"};
    const OverflowKind kind = (OverflowKind)r->o[0];
    const u32 *const a = ROW(u32, 1), *const b = ROW(u32, 2);
    const u32 *const c = kind == OVERFLOW_MAD ? ROW(u32, 3) : a;
    u32 wraps = 0;
    FOR_LANES {
        s64 with;
        u64 without;
        exact(kind, a[l], b[l], c[l], &with, &without);
        const bool bad = with != (s32)with && (r->o[4] == OVERFLOW_SIGNED || without >> 32);
        wraps |= (u32)bad << l;
    }
    wraps &= w->mask;
    if (!wraps || w->warned == r) return r + 1;
    const int l = __builtin_ctz(wraps);
    s64 with;
    u64 without;
    char more[24] = "";
    exact(kind, a[l], b[l], c[l], &with, &without);
    if (kind == OVERFLOW_MAD) snprintf(more, sizeof more, " + %d", (s32)c[l]);
    w->warned = r;
    warp_warn(w, r, SG_WARN_ADDRESS, wraps,
              "%d %s %d%s = %lld wraps to %d on its way into an address: compute it in 64 bits",
              (s32)a[l], names[kind], (s32)b[l], more, (long long)with, (s32)(u32)with);
    return r + 1;
}

/* A string in device memory, at most size - 1 characters of it. */
static void device_string(uint64_t address, char *out, size_t size) {
    size_t n = 0;
    while (n + 1 < size && sg_mem_ok(address + n, 1)) {
        const char c = *(const char *)(uintptr_t)(address + n);
        if (!c) break;
        out[n++] = c;
    }
    out[n] = '\0';
}

HANDLER(assert) {
    char message[160], file[160];
    const int lane = __builtin_ctz(w->mask);
    u64 address[2];
    const uint8_t *const frame = frame_of(w, lane, r->o[3]);
    for (int i = 0; i < 2; i++) __builtin_memcpy(&address[i], frame + r->o[i], 8);
    u32 line = 0;
    __builtin_memcpy(&line, frame + r->o[2], 4);
    device_string(address[0], message, sizeof message);
    device_string(address[1], file, sizeof file);
    return warp_fault(w, r, 710, w->mask, "%s:%u: assertion `%s' failed", file, line, message);
}

HANDLER(bad_call) {
    const int lane = __builtin_ctz(w->mask);
    return warp_fault(w, r, 700, w->mask,
                      "indirect call of 0x%llx, where no function of this prototype is",
                      (unsigned long long)ROW(u64, 0)[lane]);
}

/* vprintf: o[0], o[1] where its parameters lie in the frame o[3], o[2] where its result goes or
 * NO_ROW. */
HANDLER(vprintf) {
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        uint8_t *const local = frame_of(w, l, r->o[3]);
        u64 param[2];
        for (int i = 0; i < 2; i++) __builtin_memcpy(&param[i], local + r->o[i], 8);
        const int n = kernel_print(w, l, param[0], param[1]);
        if (r->o[2] == NO_ROW) continue;
        __builtin_memcpy(local + r->o[2], &n, 4);
        watch_wrote_local(w->block, local + r->o[2], 4);
    }
    w->block->progress = true;
    return r + 1;
}

void warp_run(Warp *w) {
    const Rec *r = w->resume;
    while (r) r = r->fn(w, r);
}

uint64_t warp_local_bytes(const Warp *w) {
    return w->block->launch->local_bytes;
}

uint64_t warp_param_bytes(const Warp *w) {
    return (uint64_t)w->block->launch->kernel->info.param_bytes;
}

bool warp_range(Warp *w, uint64_t low, uint64_t high) {
    for (int i = 0; i < RANGES; i++)
        if (low >= w->ranges[i].low && high <= w->ranges[i].high) return true;
    const SgAllocation *const a = sg_mem_find(low);
    if (!a || !a->live || low < a->base || high > a->base + a->size || high < low) return false;
    if (!sg_mem_reached(a, w->block->launch->user->reach)) return false;
    w->ranges[w->range_next++ % RANGES] = (AddressRange){a->base, a->base + a->size};
    return true;
}

bool warp_may_use(Warp *w, const Rec *r, int lane, uint64_t address, uint32_t size) {
    char text[320];
    const SgAllocation *const a = sg_mem_find(address);
    const bool memory = sg_mem_ok(address, size);
    if (memory && (!a || sg_mem_reached(a, w->block->launch->user->reach))) return true;
    sg_mem_describe(address, size, text, sizeof text);
    if (memory)
        warp_fault(w, r, 700, 1u << lane,
                   "%s of device %d, whose memory this context may not use: "
                   "cuCtxEnablePeerAccess was not called",
                   text, a->device);
    else
        warp_fault(w, r, 700, 1u << lane, "%s", text);
    return false;
}

const Handler sg_control_handlers[] = {
#define OP(form, shape, pipe, handler) h_##handler,
#define EXTRA(handler)
#include "softgpu/ptx/ops_control.def"
#undef OP
#undef EXTRA
};
const Handler sg_control_extras[] = {
#define OP(form, shape, pipe, handler)
#define EXTRA(handler) h_##handler,
#include "softgpu/ptx/ops_control.def"
#undef OP
#undef EXTRA
};
