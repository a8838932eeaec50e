/* See block.h.
 *
 * Warps of a block take turns until each waits, ends or has used its fuel; a block whose warps all
 * wait for each other is deadlocked and says who waits for what. The order of warps changes from
 * turn to turn by a hash of block and turn: a missing barrier must not be hidden by warp 0 always
 * being first. Shared memory starts as 0xff bytes (NaN in every float type): what was never written
 * shows in the results. */
#include "softgpu/exec/block.h"
#include "softgpu/exec/countdown.h"
#include "softgpu/exec/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/round.h"
#include "softgpu/exec/probe.h"

/* Instructions per warp turn; turns without giving way; what a turn costs besides instructions. */
enum { FUEL = 1 << 14, FAIR = 1 << 12, TURN_COST = 64 };

typedef struct Layout {
    size_t warps, regs, local, shared, counts, total;
} Layout;

static Layout layout(const Launch *launch) {
    const SgKernel *const k = launch->kernel;
    const size_t n = (size_t)launch->warp_count;
    Layout l = {.warps = round_up_u64(sizeof(Block), 128)};
    l.regs = round_up_u64(l.warps + n * sizeof(Warp), 128);
    l.local = l.regs + n * k->reg_bytes;
    l.shared = round_up_u64(l.local + n * LANES * launch->local_bytes, 1024);
    const size_t shared = (size_t)k->info.static_smem + launch->user->dynamic_smem;
    l.counts = round_up_u64(l.shared + shared, 128);
    l.total = round_up_u64(l.counts + (size_t)k->block_count * sizeof(uint64_t), 1024);
    return l;
}

size_t block_bytes(const Launch *launch) {
    return layout(launch).total;
}

static uint32_t special_value(const Block *b, int warp, int lane, int special) {
    const SgLaunch *const u = b->launch->user;
    const uint32_t *const d = u->block;
    const uint32_t t = (uint32_t)warp * LANES + (uint32_t)lane, bit = 1u << lane;
    switch (special) {
    case PTX_SR_TID_X: return t % d[0];
    case PTX_SR_TID_Y: return t / d[0] % d[1];
    case PTX_SR_TID_Z: return t / d[0] / d[1];
    case PTX_SR_NTID_X:
    case PTX_SR_NTID_Y:
    case PTX_SR_NTID_Z: return d[special - PTX_SR_NTID_X];
    case PTX_SR_CTAID_X:
    case PTX_SR_CTAID_Y:
    case PTX_SR_CTAID_Z: return b->id[special - PTX_SR_CTAID_X];
    case PTX_SR_NCTAID_X:
    case PTX_SR_NCTAID_Y:
    case PTX_SR_NCTAID_Z: return u->grid[special - PTX_SR_NCTAID_X];
    case PTX_SR_LANEID: return (uint32_t)lane;
    case PTX_SR_WARPID: return (uint32_t)warp;
    case PTX_SR_NWARPID: return (uint32_t)b->warp_count;
    case PTX_SR_SMID:
        return u->model && u->model->sms > 0 ? (uint32_t)(b->linear % (uint64_t)u->model->sms) : 0;
    case PTX_SR_NSMID: return u->model && u->model->sms > 0 ? (uint32_t)u->model->sms : 1;
    case PTX_SR_LANEMASK_EQ: return bit;
    case PTX_SR_LANEMASK_LE: return bit | (bit - 1);
    case PTX_SR_LANEMASK_LT: return bit - 1;
    case PTX_SR_LANEMASK_GE: return ~(bit - 1);
    case PTX_SR_LANEMASK_GT: return ~(bit | (bit - 1));
    case PTX_SR_DYNAMIC_SMEM: return u->dynamic_smem;
    case PTX_SR_TOTAL_SMEM: return b->shared_size;
    case PTX_SR_ENVREG1: return (uint32_t)(b->launch->workspace >> 32);
    case PTX_SR_ENVREG2: return (uint32_t)b->launch->workspace;
    case PTX_SR_WARP_SZ: return LANES;
    default: return 0;
    }
}

static void fill_specials(Block *b, Warp *w) {
    const SgKernel *const k = b->launch->kernel;
    for (int i = 0; i < k->special_count; i++) {
        const bool wide = k->specials[i].special >> 16 == PTX_B64;
        uint8_t *const row = w->regs + k->specials[i].row;
        for (int l = 0; l < LANES; l++) {
            const uint64_t v = special_value(b, w->index, l, k->specials[i].special & 0xffff);
            const uint32_t low = (uint32_t)v;
            if (wide)
                memcpy(row + (size_t)l * 8, &v, 8);
            else
                memcpy(row + (size_t)l * 4, &low, 4);
        }
    }
}

static void stack_clear(LaneStack *s) {
    s->used = s->depth = 0;
    s->bytes = 0;
}

static void warp_start(Block *b, int index, const Layout *l) {
    const SgKernel *const k = b->launch->kernel;
    uint8_t *const memory = (uint8_t *)b;
    Warp *const w = &b->warps[index];
    AsyncCopy *const async = w->async; /* kept from the block that used this memory before */
    const int cap = w->async_cap;
    LaneStack *const stacks = w->stacks;
    for (int i = 0; stacks && i < LANES; i++) stack_clear(&stacks[i]);
    *w = (Warp){.regs = memory + l->regs + (size_t)index * k->reg_bytes,
                .local = memory + l->local + (size_t)index * LANES * b->launch->local_bytes,
                .block = b,
                .index = index,
                .counts = b->counts,
                .resume = k->code + k->first,
                .stacks = stacks,
                .async = async,
                .async_cap = cap};
    const uint32_t *const d = b->launch->user->block;
    const uint64_t threads = (uint64_t)d[0] * d[1] * d[2], first = (uint64_t)index * LANES;
    w->live = threads - first >= LANES ? FULL_MASK : (1u << (threads - first)) - 1;
    w->active = w->mask = w->born = w->live;
    w->checks = (uint32_t)k->module->checks;
    memset(w->regs, 0, k->constant_row);
    memcpy(w->regs + k->constant_row, k->constants, k->constant_bytes);
    fill_specials(b, w);
}

Block *block_start(Launch *launch, uint64_t linear, Block *spare) {
    const Layout l = layout(launch);
    Block *b = spare;
    if (!b) {
        b = aligned_alloc(1024, l.total);
        if (!b) return NULL;
        memset(b, 0, l.regs);
    }
    const uint32_t *const g = launch->user->grid;
    AsyncArrival *const arrivals = spare ? spare->arrivals : NULL; /* memory is kept */
    BlockProfile *const profile = spare ? spare->profile : NULL;
    const int arrival_cap = spare ? spare->arrival_cap : 0;
    Watch *const watch = spare ? spare->watch : NULL;
    *b = (Block){.launch = launch,
                 .linear = linear,
                 .id = {(uint32_t)(linear % g[0]), (uint32_t)(linear / g[0] % g[1]),
                        (uint32_t)(linear / g[0] / g[1])},
                 .warp_count = launch->warp_count,
                 .arrivals = arrivals,
                 .profile = profile,
                 .arrival_cap = arrival_cap,
                 .watch = watch,
                 .warps = (Warp *)(void *)((uint8_t *)b + l.warps),
                 .shared = (uint8_t *)b + l.shared,
                 .shared_size =
                     (uint32_t)launch->kernel->info.static_smem + launch->user->dynamic_smem,
                 .shared_base = launch->kernel->shared_base,
                 .counts = (uint64_t *)(void *)((uint8_t *)b + l.counts)};
    memset(b->shared, 0xff, b->shared_size);
    memset(b->counts, 0, (size_t)launch->kernel->block_count * sizeof *b->counts);
    const size_t local_bytes = (size_t)b->warp_count * LANES * launch->local_bytes;
    if (!launch->stack_bytes)
        memset((uint8_t *)b + l.local, 0xff, local_bytes);
    else /* frames are filled by calls */
        for (size_t i = 0; i < (size_t)b->warp_count * LANES; i++)
            memset((uint8_t *)b + l.local + i * launch->local_bytes, 0xff,
                   launch->kernel->local_bytes);
    for (int i = 0; i < b->warp_count; i++) warp_start(b, i, &l);
    const bool counts =
        !launch->profile || b->profile || (b->profile = probe_block_new(launch->kernel)) != NULL;
    if (!counts || !watch_start(b, (uint8_t *)b + l.local, local_bytes)) {
        block_free(b);
        return NULL;
    }
    return b;
}

void block_free(Block *b) {
    if (!b) return;
    watch_end(b);
    for (int i = 0; i < b->warp_count; i++) {
        mem_free(b->warps[i].async);
        for (int k = 0; b->warps[i].stacks && k < LANES; k++) mem_free(b->warps[i].stacks[k].words);
        mem_free(b->warps[i].stacks);
    }
    mem_free(b->arrivals);
    watch_free(b->watch);
    probe_block_free(b->profile);
    free(b); /* aligned_alloc */
}

uint32_t block_live_threads(const Block *b) {
    uint32_t n = 0;
    for (int i = 0; i < b->warp_count; i++) n += b->warps[i].state == WARP_DONE ? 0 : LANES;
    return n;
}

static bool release(Block *b, Barrier *bar) {
    const uint32_t expected = bar->expected ? bar->expected : block_live_threads(b);
    if (!bar->arrived || bar->arrived < expected) return false;
    for (uint32_t waiting = bar->waiting; waiting; waiting &= waiting - 1) {
        Warp *const w = &b->warps[__builtin_ctz(waiting)];
        w->state = WARP_READY;
        w->barrier_sum = bar->sum;
    }
    watch_release(b, (int)(bar - b->barriers), bar->waiting);
    *bar = (Barrier){0};
    b->progress = true;
    return true;
}

void block_check_barriers(Block *b) {
    for (int i = 0; i < BARRIERS; i++) release(b, &b->barriers[i]);
}

/* True: go on at once (arrive only, or the last to come). */
bool block_barrier(Warp *w, const Rec *r, int id, uint32_t threads, bool wait) {
    Barrier *const bar = &w->block->barriers[id];
    bar->expected = threads;
    bar->arrived += LANES;
    watch_arrive(w, id);
    if (wait) {
        bar->waiting |= 1u << w->index;
        w->state = WARP_BARRIER;
        w->barrier = id;
        w->waits = r;
    }
    release(w->block, bar);
    return w->state == WARP_READY;
}

static bool all_done(const Block *b) {
    for (int i = 0; i < b->warp_count; i++)
        if (b->warps[i].state != WARP_DONE) return false;
    return true;
}

static bool any_ready(const Block *b) {
    for (int i = 0; i < b->warp_count; i++)
        if (b->warps[i].state == WARP_READY) return true;
    return false;
}

static int warp_at(const Block *b, int position) {
    uint64_t h =
        b->linear * UINT64_C(0x9e3779b97f4a7c15) + b->serial * UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 29;
    if (b->launch->user->seed) h = sg_mix(b->launch->user->seed, b->linear, b->serial);
    const int n = b->warp_count, start = (int)((h >> 8) % (uint64_t)n);
    const int step = h & 1 ? position : n - 1 - position;
    return (start + step) % n;
}

/* With a seed: slices of 64 to FUEL instructions, and in one turn of four copies that were put off
 * land now, as they may at any moment before their wait. */
static void random_turn(Block *b, Warp *w) {
    const uint64_t seed = b->launch->user->seed;
    const uint64_t h = sg_mix(seed, b->linear << 5 | (uint64_t)w->index, ~(uint64_t)b->serial);
    w->fuel = INT64_C(64) << h % 9;
    if (w->async_count && (h >> 8 & 3) == 0 && !(b->watch && b->watch->races))
        async_land(w, FULL_MASK);
}

/* A grid that goes on beyond its limit of instructions has run out of time. */
static bool out_of_time(Block *b, uint64_t more) {
    Launch *const l = b->launch;
    const uint64_t limit = l->user->instruction_limit;
    if (!limit || atomic_fetch_add(&l->executed, more) + more <= limit) return false;
    for (int i = 0; i < b->warp_count; i++) {
        Warp *const w = &b->warps[i];
        if (w->state == WARP_DONE) continue;
        warp_fault(w, w->resume, 702, w->live, "time-out: more than %llu instructions",
                   (unsigned long long)limit);
        return true;
    }
    return false;
}

/* Lanes that sleep look again when memory changed since they did. */
static void wake_warps(Block *b) {
    for (int i = 0; i < b->warp_count; i++) {
        Warp *const w = &b->warps[i];
        if (!w->asleep || w->state == WARP_DONE) continue;
        if (w->sleep_block != b->epoch ||
            (w->sleep_global && w->sleep_world != atomic_load(&b->launch->world))) {
            w->tries = 0;
            warp_wake(w);
        }
    }
}

static bool doomed(const Block *b) {
    const SgLaunch *const u = b->launch->user;
    return u->kill && u->kill_block == b->linear;
}

/* What is left to execute; false: nothing, the block is dead. */
static bool fuel_of_doomed(Block *b, Warp *w) {
    const uint64_t after = b->launch->user->kill_after;
    const uint64_t left = after > b->executed ? after - b->executed : 0;
    if (left < (uint64_t)w->fuel) w->fuel = (int64_t)left;
    for (int i = 0; left == 0 && i < b->warp_count; i++) b->warps[i].state = WARP_DONE;
    return left > 0;
}

/* A basic block that is longer than what is left ends it, too. */
static void count_of_doomed(Block *b, const Warp *w, uint64_t did) {
    b->executed = did || w->state != WARP_READY ? b->executed + did : UINT64_MAX;
}

/* One slice of every warp that can run; false after a fault. */
static bool round_of_warps(Block *b, uint64_t *executed, bool *ran) {
    b->progress = b->moved = *ran = false;
    b->serial++;
    wake_warps(b);
    for (int i = 0; i < b->warp_count; i++) {
        Warp *const w = &b->warps[warp_at(b, i)];
        if (w->state != WARP_READY) continue;
        *ran = true;
        const uint64_t clock = w->clock;
        w->fuel = FUEL;
        if (b->launch->user->seed) random_turn(b, w);
        if (doomed(b) && !fuel_of_doomed(b, w)) break;
        warp_run(w);
        if (doomed(b)) count_of_doomed(b, w, w->clock - clock);
        *executed += w->clock - clock + TURN_COST;
        if (w->state == WARP_FAULT || atomic_load_explicit(&b->launch->stop, memory_order_relaxed))
            return false;
    }
    block_epoch(b);
    if (b->moved && b->launch->kernel->spins) launch_publish(b->launch);
    return true;
}

/* No warp is ready: does one wait for other blocks? What it has seen goes to `wait_world`. */
static bool waits_for_world(Block *b) {
    bool waits = false;
    for (int i = 0; i < b->warp_count; i++) {
        const Warp *const w = &b->warps[i];
        if (w->state != WARP_SPIN || !w->sleep_global) continue;
        if (!waits || w->sleep_world < b->wait_world) b->wait_world = w->sleep_world;
        waits = true;
    }
    return waits;
}

bool block_countdown(Block *b) {
    bool any = false;
    for (int i = 0; i < b->warp_count; i++)
        any |= b->warps[i].state == WARP_SPIN && warp_countdown(&b->warps[i]);
    return any;
}

Turn block_turn(Block *b, uint64_t *executed) {
    for (int turns = 0; turns < FAIR; turns++) {
        const uint64_t before = *executed;
        bool ran = false;
        if (!round_of_warps(b, executed, &ran)) return TURN_FAULT;
        if (all_done(b)) return TURN_DONE;
        if (out_of_time(b, *executed - before)) return TURN_FAULT;
        if (!ran) {
            if (waits_for_world(b)) return TURN_PARK;
            if (block_countdown(b)) continue;
            deadlock_fault(b, "");
            return TURN_FAULT;
        }
        if (!b->moved && any_ready(b)) return TURN_SPIN;
    }
    return TURN_SPIN;
}

void pipes_count(const uint64_t pipe[PIPE_COUNT], SgCounters *out) {
    /* 64-bit ALU operations are two 32-bit ones, 64-bit products three (rules of the fold); a
     * division expands to about 16 instructions. */
    const uint64_t alu =
        pipe[PIPE_ALU] + 2 * pipe[PIPE_ALU2] + 3 * pipe[PIPE_ALU3] + 16 * pipe[PIPE_DIV];
    for (int p = PIPE_MOVE + 1; p < PIPE_COUNT; p++) out->warp_instructions += pipe[p];
    out->warp_instructions += pipe[PIPE_ALU2] + 2 * pipe[PIPE_ALU3] + 15 * pipe[PIPE_DIV];
    out->alu += alu;
    out->fma += pipe[PIPE_FMA] + pipe[PIPE_FMA64];
    out->sfu += pipe[PIPE_SFU];
    out->convert += pipe[PIPE_CVT];
    out->branch += pipe[PIPE_BRANCH];
    out->barrier += pipe[PIPE_BARRIER];
    out->shuffle += pipe[PIPE_SHUFFLE];
    out->ldmatrix += pipe[PIPE_LDMATRIX];
    out->shared_load += pipe[PIPE_LOAD_SHARED];
    out->shared_store += pipe[PIPE_STORE_SHARED];
    out->global_load += pipe[PIPE_LOAD];
    out->global_store += pipe[PIPE_STORE] + pipe[PIPE_ATOMIC];
    out->cp_async += pipe[PIPE_CP_ASYNC];
    out->local_access += pipe[PIPE_LOCAL];
}

void block_count(Block *b, SgCounters *out) {
    const SgKernel *const k = b->launch->kernel;
    uint64_t pipe[PIPE_COUNT] = {0};
    for (int i = 0; k->spins && i < k->block_count; i++)
        if (k->spin_of[i] >= 0) b->counts[i] = b->counts[k->spin_of[i]];
    for (int i = 0; i < k->block_count; i++) {
        const uint64_t n = b->counts[i];
        if (!n) continue;
        for (int p = 0; p < PIPE_COUNT; p++) pipe[p] += n * k->costs[i].pipe[p];
        out->mma_flops += n * k->costs[i].mma_flops;
        out->mma += n * k->costs[i].mma;
    }
    pipes_count(pipe, out);
    out->shared_wavefronts += b->dynamic.shared_wavefronts;
    out->shared_conflicts += b->dynamic.shared_conflicts;
    uint64_t waits = 0;
    for (int i = 0; i < b->warp_count; i++) {
        out->global_sectors += b->warps[i].sectors;
        if (b->warps[i].world_waits > waits) waits = b->warps[i].world_waits;
    }
    out->waits += waits;
    if (b->dynamic.max_async_groups > out->max_async_groups)
        out->max_async_groups = b->dynamic.max_async_groups;
    out->blocks_run++;
}
