/* See probe.h: the handlers that count, and the copy of a kernel that runs them.
 *
 * What a memory instruction does is the difference of the block's dynamic counters around its
 * handler; the sectors it touches come in through footprint_touch. */
#include "softgpu/exec/probe.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/exec/footprint.h"
#include "softgpu/exec/lanes.h"
#include "softgpu/ptx/form.h"

bool sg_is_jump_if(Handler fn) {
    return fn == sg_control_extras[CONTROL_bra_if] || fn == sg_control_extras[CONTROL_spin_back_if];
}

static const Probe *probe_of(const Warp *w, const Rec *r) {
    const SgKernel *const k = w->block->launch->kernel;
    return &k->probes[r - k->code];
}

static RecCounts *counts_of(const Warp *w, const Rec *r) {
    return &w->block->profile->recs[r - w->block->launch->kernel->code];
}

/* Instructions that the warp has executed before `r`; Warp.clock counts whole basic blocks. */
static uint64_t now(const Warp *w, const Rec *r, const Probe *p) {
    (void)r;
    return w->clock - p->left;
}

static void run_add(void *context, uint64_t first, uint64_t last) {
    BlockProfile *const b = context;
    const uint64_t count = last - first + 1;
    Run *const old = b->run_count ? &b->runs[b->run_count - 1] : NULL;
    if (old && old->first + old->count == first && old->reads == b->reads &&
        old->writes == b->writes && old->count < UINT32_MAX / 2) {
        old->count += (uint32_t)count;
        return;
    }
    if (b->run_count == b->run_cap) {
        const size_t cap = b->run_cap ? b->run_cap * 2 : 256;
        Run *const more = mem_realloc(b->runs, cap * sizeof *more);
        b->no_memory |= !more;
        if (!more) return;
        b->runs = more;
        b->run_cap = cap;
    }
    b->runs[b->run_count++] = (Run){first, (uint32_t)count, b->reads, b->writes};
}

HANDLER(probe_leader) {
    const Rec *const next = probe_of(w, r)->real(w, r);
    if (next == r + 1) counts_of(w, r)->lanes += (uint64_t)__builtin_popcount(w->active);
    return next;
}

HANDLER(probe_guard) {
    counts_of(w, r)->lanes += (uint64_t)__builtin_popcount(w->mask & (PRED(0) ^ r->o[1]));
    return probe_of(w, r)->real(w, r);
}

/* Lanes that the guard of the instruction lets through, which a jump takes or goes around. */
static void count_guarded(const Warp *w, const Rec *r, const Probe *p) {
    const uint32_t through = w->mask & (PRED(1) ^ p->negated);
    counts_of(w, r)->lanes += (uint64_t)__builtin_popcount(through);
}

HANDLER(probe_jump_if) {
    const Probe *const p = probe_of(w, r);
    count_guarded(w, r, p);
    return p->real(w, r);
}

HANDLER(probe_branch) {
    const uint32_t before = w->active;
    if (sg_is_jump_if(probe_of(w, r)->real)) count_guarded(w, r, probe_of(w, r));
    const Rec *const next = probe_of(w, r)->real(w, r);
    if (next && w->active != before) {
        counts_of(w, r)->divergent++;
        w->block->profile->detail.divergent_branches++;
    }
    return next;
}

HANDLER(probe_memory) {
    const Probe *const p = probe_of(w, r);
    BlockProfile *const b = w->block->profile;
    const DynamicCounters before = w->block->dynamic;
    const uint64_t sectors_before = w->sectors;
    b->reads = p->reads;
    b->writes = p->writes;
    footprint_listen(run_add, b);
    const Rec *const next = p->real(w, r);
    footprint_listen(NULL, NULL);
    const DynamicCounters *const after = &w->block->dynamic;
    const uint64_t wavefronts = after->shared_wavefronts - before.shared_wavefronts;
    const uint64_t conflicts = after->shared_conflicts - before.shared_conflicts;
    const uint64_t sectors = w->sectors - sectors_before;
    RecCounts *const c = counts_of(w, r);
    c->wavefronts += wavefronts;
    c->conflicts += conflicts;
    c->sectors += sectors;
    b->detail.shared_requests[p->mover] += wavefronts != 0;
    b->detail.shared_wavefronts[p->mover] += wavefronts;
    b->detail.shared_conflicts[p->mover] += conflicts;
    b->detail.global_requests[p->mover] += sectors != 0;
    b->detail.global_sectors[p->mover] += sectors;
    return next;
}

/* All warps of a barrier are taken to have left the one before together: one that executed fewer
 * instructions since then waits for the one that executed most. */
static void arrive(Warp *w, uint64_t at, int id, bool released) {
    BlockProfile *const b = w->block->profile;
    BarrierPhase *const phase = &b->barriers[id];
    WarpPhase *const mine = &b->warps[w->index];
    const uint64_t did = at - mine->barrier_at;
    mine->barrier_at = at;
    phase->sum += did;
    phase->warps++;
    if (did > phase->most) phase->most = did;
    b->detail.barriers++;
    if (!released) return;
    b->detail.barrier_idle += phase->most * phase->warps - phase->sum;
    *phase = (BarrierPhase){0};
}

HANDLER(probe_barrier) {
    const Probe *const p = probe_of(w, r);
    const uint64_t at = now(w, r, p);
    const u32 n = ROW(u32, 0)[__builtin_ctz(w->mask)];
    const bool again = w->barrier_done; /* bar.red comes twice */
    const Barrier *const bar = n < BARRIERS ? &w->block->barriers[n] : NULL;
    const uint32_t before = bar ? bar->arrived : 0;
    const bool alone = w->block->warp_count == 1;
    const Rec *const next = p->real(w, r);
    if (bar && !again && (bar->arrived != before || alone))
        arrive(w, at, (int)n, bar->arrived < before || bar->arrived == 0);
    return next;
}

HANDLER(probe_commit) {
    const Probe *const p = probe_of(w, r);
    WarpPhase *const mine = &w->block->profile->warps[w->index];
    mine->commit_at[mine->commits++ % COMMITS] = now(w, r, p);
    return p->real(w, r);
}

static void waits(Warp *w, const Rec *r, const Probe *p, uint32_t newest_left) {
    BlockProfile *const b = w->block->profile;
    WarpPhase *const mine = &b->warps[w->index];
    if (newest_left >= mine->commits || newest_left >= COMMITS) return;
    const uint64_t due = mine->commits - newest_left; /* groups that must be complete */
    if (due <= mine->waited) return;
    mine->waited = due;
    b->detail.async_waits++;
    b->detail.async_distance += now(w, r, p) - mine->commit_at[(due - 1) % COMMITS];
}

HANDLER(probe_wait) {
    const Probe *const p = probe_of(w, r);
    waits(w, r, p, r->o[0]);
    return p->real(w, r);
}

HANDLER(probe_wait_all) {
    const Probe *const p = probe_of(w, r);
    waits(w, r, p, 0);
    return p->real(w, r);
}

static bool is(const char *form, const char *begin) {
    return form && strncmp(form, begin, strlen(begin)) == 0;
}

/* A barrier.sync or bar.warp.sync whose lanes may come by different instructions knows the others
 * by their handlers (barrier.h), so it stays as it is, and so does its guard. */
static bool apart(const RecPlace *place) {
    if (is(place->form, "bar.warp.sync")) return true;
    return place->raw == PIPE_BARRIER && is(place->form, "barrier.") &&
           !strstr(place->form, ".aligned");
}

static Handler memory_probe(const RecPlace *place, Probe *p) {
    switch ((SgPipe)place->raw) {
    case PIPE_LOAD:
    case PIPE_LOAD_SHARED: p->mover = SG_LOADS; break;
    case PIPE_STORE:
    case PIPE_STORE_SHARED: p->mover = SG_STORES; break;
    case PIPE_ATOMIC: p->mover = SG_ATOMICS; break;
    case PIPE_LDMATRIX: p->mover = SG_MATRICES; break;
    case PIPE_CP_ASYNC: p->mover = SG_COPIES; break;
    default: return NULL;
    }
    p->reads = p->mover != SG_STORES;
    p->writes = p->mover == SG_STORES || p->mover == SG_ATOMICS;
    return h_probe_memory;
}

bool sg_is_leader(Handler fn) {
    return fn == sg_control_extras[CONTROL_leader] || fn == sg_control_extras[CONTROL_spin_head];
}

static Handler choose(const SgKernel *k, int i, Probe *p) {
    const RecPlace *const place = &k->places[i];
    const Handler fn = k->code[i].fn;
    if (sg_is_leader(fn)) return h_probe_leader;
    if (fn == sg_control_extras[CONTROL_guard])
        return i + 1 < k->rec_count && apart(place + 1) ? NULL : h_probe_guard;
    const bool bra = is(place->form, "bra"), brx = is(place->form, "brx");
    p->negated = place->from && place->from->guard_negate ? UINT32_MAX : 0;
    if (sg_is_jump_if(fn) && !bra) return h_probe_jump_if;
    if (place->raw == PIPE_BRANCH && (bra || brx)) return h_probe_branch;
    if (place->raw == PIPE_BARRIER) return apart(place) ? NULL : h_probe_barrier;
    if (is(place->form, "cp.async.commit_group")) return h_probe_commit;
    if (is(place->form, "cp.async.wait_group")) return h_probe_wait;
    if (is(place->form, "cp.async.wait_all")) return h_probe_wait_all;
    return memory_probe(place, p);
}

Handler sg_rec_handler(const SgKernel *kernel, const Rec *r) {
    return kernel->probes ? kernel->probes[r - kernel->code].real : r->fn;
}

SgKernel *probe_kernel(const SgKernel *kernel) {
    SgKernel *const k = mem_alloc(sizeof *k);
    if (!k) return NULL;
    *k = *kernel;
    const size_t n = (size_t)k->rec_count;
    k->code = aligned_alloc(64, n * sizeof *k->code);
    k->probes = mem_alloc(n * sizeof *k->probes);
    if (!k->code || !k->probes) {
        probe_kernel_free(k);
        return NULL;
    }
    memcpy(k->code, kernel->code, n * sizeof *k->code);
    uint32_t left = 0;
    for (size_t i = 0; i < n; i++) {
        Probe *const p = &k->probes[i];
        left = sg_is_leader(kernel->code[i].fn) ? kernel->code[i].o[1] : left - 1;
        *p = (Probe){.real = kernel->code[i].fn, .left = left};
        const Handler fn = choose(kernel, (int)i, p);
        if (fn) k->code[i].fn = fn;
    }
    return k;
}

void probe_kernel_free(SgKernel *kernel) {
    if (!kernel) return;
    free(kernel->code); /* aligned_alloc */
    mem_free(kernel->probes);
    mem_free(kernel);
}

BlockProfile *probe_block_new(const SgKernel *kernel) {
    BlockProfile *const p = mem_alloc(sizeof *p);
    if (!p) return NULL;
    p->recs = mem_alloc((size_t)kernel->rec_count * sizeof *p->recs);
    if (p->recs) return p;
    mem_free(p);
    return NULL;
}

void probe_block_free(BlockProfile *p) {
    if (!p) return;
    mem_free(p->recs);
    mem_free(p->runs);
    mem_free(p);
}
