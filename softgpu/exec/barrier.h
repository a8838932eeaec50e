/* Barriers of a block and of a warp; included by control.c only.
 *
 * A warp, not a lane, arrives at a barrier: when all its lanes that have not exited are there (PTX
 * ISA, barrier). With .aligned they must come by the same instruction, without it by copies of it
 * that name the same barrier. */

/* bar: o[0] barrier row, o[1] thread count row or NO_ROW, o[2] 1: arrive only, o[3] 1: not
 * aligned: lanes may come from different instructions. */
/* The first lane of w->mask whose value differs from that of the lowest; -1: they agree. */
static int disagrees(const Warp *w, const u32 *values) {
    const u32 first = values[__builtin_ctz(w->mask)];
    u32 other = 0;
    FOR_LANES other |= (u32)(values[l] != first) << l;
    other &= w->mask;
    return other ? __builtin_ctz(other) : -1;
}

static bool barrier_values(Warp *w, const Rec *r, int *id, u32 *threads, const Rec **next) {
    const int lane = __builtin_ctz(w->mask), other = disagrees(w, ROW(u32, 0));
    const u32 n = ROW(u32, 0)[lane];
    *threads = r->o[1] == NO_ROW ? 0 : ROW(u32, 1)[lane];
    *id = (int)(n & 15);
    if (other >= 0)
        *next = warp_fault(w, r, 715, 1u << other, "lanes %d and %d name barriers %u and %u", lane,
                           other, n, ROW(u32, 0)[other]);
    else if (n >= BARRIERS)
        *next = warp_fault(w, r, 715, w->mask, "barrier %u; there are %d", n, BARRIERS);
    else if (*threads % LANES || (r->o[1] != NO_ROW && *threads == 0) ||
             *threads > (u32)w->block->warp_count * LANES)
        *next = warp_fault(w, r, 715, w->mask,
                           "barrier for %u threads in a block of %d; a multiple of 32 is needed",
                           *threads, w->block->warp_count * LANES);
    else
        return true;
    return false;
}

/* What those who come to a barrier must agree on; beyond the count, with the check `sync`. */
static bool barrier_agrees(Warp *w, const Rec *r, int id, u32 threads, bool red, const Rec **next) {
    Barrier *const bar = &w->block->barriers[id];
    const u32 exited = w->born & ~w->live;
    if (bar->arrived && bar->expected != threads) {
        *next = warp_fault(w, r, 719, w->mask, "barrier %d is used with %u and %u threads at once",
                           id, bar->expected, threads);
        return false;
    }
    if (w->checks & SG_CHECK_SYNC) {
        /* "bar.red should not be intermixed with bar.sync or bar.arrive using the same active
         * barrier" (PTX ISA, barrier) */
        if (bar->arrived && bar->red != red)
            *next = warp_fault(
                w, r, 719, w->mask,
                "barrier %d is used by bar.red and by bar.sync or bar.arrive at once", id);
        else if (bar->warps >> w->index & 1)
            *next = warp_fault(w, r, 719, w->mask,
                               "warp %d comes to barrier %d again before it completed; %u of %u "
                               "threads had come, 32 of them this warp's",
                               w->index, id, bar->arrived,
                               threads ? threads : block_live_threads(w->block));
        if (w->state == WARP_FAULT) return false;
        if (exited && !r->o[3])
            warp_warn(w, r, SG_WARN_SYNC, w->mask,
                      "an .aligned barrier without lanes 0x%08x of the warp, which exited", exited);
    }
    bar->red = red;
    bar->warps |= 1u << w->index;
    return true;
}

HANDLER(bar);
HANDLER(guard);

/* The record after the one where lane l is parked, when that one is like `r` and names the same
 * barrier or membermask; else NULL. */
static const Rec *after_like(const Warp *w, int l, const Rec *r, u32 key) {
    if (!(w->parked >> l & 1)) return NULL;
    const Rec *const at = w->pc[l]->fn == h_guard ? w->pc[l] + 1 : w->pc[l];
    if (at->fn != r->fn || at->o[2] != r->o[2] || at->o[3] != r->o[3]) return NULL;
    return *(const u32 *)(w->regs + at->o[0] + (size_t)l * 4) == key ? at + 1 : NULL;
}

/* For instructions that the lanes of a warp may come to by different copies: barrier.sync and
 * .arrive without .aligned, bar.warp.sync (PTX ISA). True when all of `required` are at one; then
 * each has its pc behind its own. False: go to *next. */
static bool gather_apart(Warp *w, const Rec *r, u32 required, const Rec **next) {
    const u32 key = ROW(u32, 0)[__builtin_ctz(w->mask)], here = w->mask;
    u32 met = 0;
    FOR_LANES if ((required >> l & 1) && after_like(w, l, r, key)) met |= 1u << l;
    set_pc(w, w->active & ~here, r + 1); /* held back by the guard */
    const u32 missing = required & ~(here | met);
    if (missing) {
        FOR_LANES if (met >> l & 1) w->missing[l] = missing;
        *next = warp_park(w, here, w->guard ? w->guard : r, missing);
        return false;
    }
    FOR_LANES if (met >> l & 1) w->pc[l] = after_like(w, l, r, key);
    set_pc(w, here, r + 1);
    w->parked &= ~met;
    return true;
}

static bool barrier_arrives(Warp *w, const Rec *r, bool red, int *id, u32 *threads,
                            const Rec **next) {
    return barrier_values(w, r, id, threads, next) &&
           barrier_agrees(w, r, *id, *threads, red, next);
}

HANDLER(bar) {
    const Rec *next = NULL;
    int id = 0;
    u32 threads = 0;
    const bool apart = r->o[3] && (w->live & ~w->mask);
    if (apart ? !gather_apart(w, r, w->live, &next) : !warp_gather(w, r, w->live, &next))
        return next;
    if (!barrier_arrives(w, r, false, &id, &threads, &next)) return next;
    if (w->guard) w->guard = NULL;
    w->resume = apart ? warp_select(w) : r + 1;
    return block_barrier(w, r, id, threads, r->o[2] == 0) ? w->resume : NULL;
}

/* bar.red: o[3] result row, o[4] predicate, o[5] its negation, o[6] 0 and, 1 or, 2 popc. */
HANDLER(bar_red) {
    const Rec *next = NULL;
    int id = 0;
    u32 threads = 0;
    if (!w->barrier_done) {
        if (!warp_gather(w, r, w->live, &next)) return next;
        if (!barrier_arrives(w, r, true, &id, &threads, &next)) return next;
        w->resume = r;
        const u32 p = (PRED(4) ^ r->o[5]) & w->mask;
        /* `and` counts the false ones, so that 0 means true for it */
        w->block->barriers[id].sum += (u32)__builtin_popcount(r->o[6] == 0 ? w->mask & ~p : p);
        w->barrier_done = true;
        if (!block_barrier(w, r, id, threads, true)) return NULL;
    }
    w->barrier_done = false;
    const u32 sum = w->barrier_sum;
    if (r->o[6] == 2) {
        u32 *const d = ROW(u32, 3);
        FOR_LANES if (w->mask >> l & 1) d[l] = sum;
    } else {
        const bool yes = r->o[6] == 0 ? sum == 0 : sum != 0;
        PRED(3) = (PRED(3) & ~w->mask) | (yes ? w->mask : 0);
    }
    return r + 1;
}

/* Lanes of the membermask may come by different copies of the instruction. */
HANDLER(warp_sync) {
    const Rec *next = NULL;
    u32 mask = 0;
    if (!warp_members(w, r, ROW(u32, 0), &mask, &next)) return next;
    const bool apart = mask & w->live & ~w->mask;
    if (apart && !gather_apart(w, r, mask & w->live, &next)) return next;
    watch_met(w);
    return apart ? warp_select(w) : r + 1;
}
