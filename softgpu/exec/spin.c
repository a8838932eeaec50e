/* Loops that only wait for memory: found while decoding, so that lanes in them can sleep.
 *
 * A loop is one when nothing in it changes memory and when what decides whether it is left depends,
 * from round to round, on memory alone: on no register that a round carries to the next, on no
 * clock. If a round ends where it began and nobody wrote in between, the next one would be the
 * same, so its lanes may sleep until somebody writes (control.c, spin_head). Registers that count
 * rounds without deciding anything (the back-off of a nanosleep) do not matter: a real machine may
 * go round any number of times.
 *
 * A loop with a time-out is one when all that a round hands to the next are counters (countdown.c):
 * its lanes sleep, too, and the count runs down once nothing else can go on. With another time-out
 * (a clock) it gives way and runs its rounds. */
#include "softgpu/exec/countdown.h"

#include <string.h>

enum { MAX_IRS = 256 };

static bool starts(const char *form, const char *with) {
    return strncmp(form, with, strlen(with)) == 0;
}

static bool reads_clock(const Ir *ir) {
    return ir->fn == dec_control(CONTROL_special);
}

/* May be done any number of times: changes no memory (an atomic that does is seen as progress). */
static bool harmless(const Ir *ir) {
    static const char *const others[] = {"fence",          "membar",        "nanosleep",
                                         "mbarrier.test_", "mbarrier.try_", "bar.warp.sync"};
    const char *const form = ir->from ? ir->from->form : "";
    if (ir->call) return false;
    switch ((SgPipe)ir->pipe) {
    case PIPE_MOVE:
    case PIPE_ALU:
    case PIPE_ALU2:
    case PIPE_ALU3:
    case PIPE_FMA:
    case PIPE_FMA64:
    case PIPE_DIV:
    case PIPE_SFU:
    case PIPE_CVT:
    case PIPE_SHUFFLE:
    case PIPE_BRANCH:
    case PIPE_LOAD:
    case PIPE_LOAD_SHARED:
    case PIPE_ATOMIC: return true;
    case PIPE_LOCAL: return starts(form, "ld");
    case PIPE_OTHER: break;
    default: return false;
    }
    if (reads_clock(ir)) return true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (starts(form, others[i])) return true;
    return false;
}

static SpinKind waits_for(const Ir *ir) {
    const char *const form = ir->from ? ir->from->form : "";
    const SgPipe pipe = (SgPipe)ir->pipe;
    if (pipe != PIPE_LOAD && pipe != PIPE_LOAD_SHARED && pipe != PIPE_ATOMIC) return SPIN_SHARED;
    return strstr(form, ".shared") ? SPIN_SHARED : SPIN_GLOBAL;
}

/* The blocks from which `latch` is reached without passing `head`. False: too many. */
static bool collect(const Flow *f, SpinLoop *loop, int head, int latch) {
    loop->count = loop->irs = 0;
    loop->blocks[loop->count++] = head;
    loop->inside[head] = loop->round;
    if (latch != head) loop->blocks[loop->count++] = latch;
    loop->inside[latch] = loop->round;
    for (int i = 1; i < loop->count; i++) {
        const int b = loop->blocks[i];
        for (int k = loop->first_before[b]; k < loop->first_before[b + 1]; k++) {
            const int p = loop->before[k];
            if (loop->inside[p] == loop->round) continue;
            if (loop->count == SPIN_BLOCKS) return false;
            loop->inside[p] = loop->round;
            loop->blocks[loop->count++] = p;
        }
    }
    for (int i = 0; i < loop->count; i++)
        loop->irs += f->blocks[loop->blocks[i]].end - f->blocks[loop->blocks[i]].first;
    return loop->irs <= MAX_IRS;
}

static bool any_decides(const SpinLoop *loop, const Ir *ir) {
    for (int k = 0; k < 14; k++)
        if ((ir->defs >> k & 1) && loop->decides[ir->o[k]] == loop->round) return true;
    return false;
}

static bool add_uses(SpinLoop *loop, const Ir *ir) {
    bool more = false;
    for (int k = 0; k < 14; k++) {
        if (!(ir->uses >> k & 1) || loop->decides[ir->o[k]] == loop->round) continue;
        loop->decides[ir->o[k]] = loop->round;
        more = true;
    }
    return more;
}

/* Everything that the ends of basic blocks depend on, backwards to a fixed point. */
static void slice(const Flow *f, SpinLoop *loop) {
    const Decode *const d = f->d;
    for (bool more = true; more;) {
        more = false;
        for (int i = loop->count - 1; i >= 0; i--)
            for (int k = f->blocks[loop->blocks[i]].end - 1; k >= f->blocks[loop->blocks[i]].first;
                 k--) {
                const Ir *const ir = &d->ir[k];
                if (!ir->ends && !any_decides(loop, ir)) continue;
                more |= add_uses(loop, ir);
                if (ir->guarded) more |= add_uses(loop, &d->ir[k - 1]);
            }
    }
}

/* A head with two jumps back may be given registers by either. */
static bool one_way_back(const Flow *f, int head) {
    int n = 0;
    for (int i = 0; i < f->d->ir_count; i++) {
        const Ir *const ir = &f->d->ir[i];
        n += ir->target >= 0 && ir->target <= i && ir->table < 0 && f->block_of[ir->target] == head;
    }
    return n == 1;
}

/* `count` is filled when the loop has a time-out that it counts. */
static SpinKind classify(const Flow *f, SpinLoop *loop, int head, Countdown *count) {
    const Decode *const d = f->d;
    SpinKind kind = SPIN_SHARED;
    bool counts = false;
    for (int i = 0; i < loop->count; i++)
        for (int k = f->blocks[loop->blocks[i]].first; k < f->blocks[loop->blocks[i]].end; k++) {
            if (!harmless(&d->ir[k])) return SPIN_NONE;
            if (waits_for(&d->ir[k]) == SPIN_GLOBAL) kind = SPIN_GLOBAL;
        }
    slice(f, loop);
    for (int i = 0; i < loop->count; i++)
        for (int k = f->blocks[loop->blocks[i]].first; k < f->blocks[loop->blocks[i]].end; k++) {
            const Ir *const ir = &d->ir[k];
            for (int o = 0; o < 14; o++) {
                if (!(ir->defs >> o & 1) || loop->decides[ir->o[o]] != loop->round) continue;
                if (reads_clock(ir)) return SPIN_NONE;
                counts |= flow_test(f, f->live_in, head, ir->o[o]);
            }
        }
    *count = (Countdown){0};
    if (!counts) return kind;
    return one_way_back(f, head) && countdown_of(f, loop, head, count) ? kind : SPIN_NONE;
}

/* One edge of the graph: counted, and once there is a list, written. Afterwards the predecessors of
 * block b are before[first_before[b]] up to before[first_before[b + 1]]. */
static void edge(SpinLoop *loop, int from, int to) {
    if (to < 0) return;
    if (loop->before)
        loop->before[loop->first_before[to + 1]++] = from;
    else
        loop->first_before[to + 2]++;
}

static int edges(const Flow *f, SpinLoop *loop) {
    const Decode *const d = f->d;
    int n = 0;
    for (int b = 0; b < f->count; b++) {
        const Ir *const last = &d->ir[f->blocks[b].end - 1];
        const int table = last->table >= 0 ? last->table_count : 0;
        for (int k = 0; k < 2; k++) edge(loop, b, f->blocks[b].next[k]);
        for (int k = 0; k < table; k++) edge(loop, b, f->block_of[d->jumps[last->table + k]]);
        n += 2 + table;
    }
    return n;
}

static void *scratch(Flow *f, int n, size_t size) {
    void *const p = arena_array(f->d->scratch, (size_t)n, size);
    if (!p) dec_fail(f->d, ST_NO_MEMORY, "out of memory");
    return p;
}

static void predecessors(Flow *f, SpinLoop *loop) {
    loop->first_before = scratch(f, f->count + 2, sizeof *loop->first_before);
    loop->inside = scratch(f, f->count, sizeof *loop->inside);
    loop->decides = scratch(f, f->d->vreg_count + 1, sizeof *loop->decides);
    if (f->d->status != ST_OK) return;
    const int n = edges(f, loop);
    loop->before = scratch(f, n + 1, sizeof *loop->before);
    if (f->d->status != ST_OK) return;
    for (int b = 0; b < f->count; b++) loop->first_before[b + 2] += loop->first_before[b + 1];
    edges(f, loop);
}

/* The blocks of the loop are executed as often as its head is entered, however often it polls. */
static void mark(Flow *f, const SpinLoop *loop, int head, SpinKind kind) {
    SgKernel *const k = f->d->kernel;
    for (int i = 0; i < loop->count; i++) {
        k->spin_of[loop->blocks[i]] = head;
        k->polls[loop->blocks[i]] |= kind == SPIN_GLOBAL;
    }
    k->spins = true;
    k->waits |= kind == SPIN_GLOBAL;
}

void flow_spins(Flow *f) {
    Decode *const d = f->d;
    SpinLoop loop = {0};
    f->spins = scratch(f, f->count, sizeof *f->spins);
    d->kernel->spin_of = arena_array(d->module->arena, (size_t)f->count, sizeof(int));
    d->kernel->polls = arena_array(d->module->arena, (size_t)f->count, sizeof(bool));
    if (!d->kernel->spin_of || !d->kernel->polls) dec_fail(d, ST_NO_MEMORY, "out of memory");
    for (int b = 0; d->status == ST_OK && b < f->count; b++) d->kernel->spin_of[b] = -1;
    if (d->status == ST_OK && f->live_in) predecessors(f, &loop);
    if (d->status != ST_OK || !f->live_in) return;
    for (int i = 0; i < d->ir_count; i++) {
        Ir *const ir = &d->ir[i];
        if (ir->target < 0 || ir->target > i || ir->table >= 0 || ir->call) continue;
        const int head = f->block_of[ir->target];
        loop.round++;
        if (!collect(f, &loop, head, f->block_of[i])) continue;
        Countdown count;
        const SpinKind kind = classify(f, &loop, head, &count);
        if (kind == SPIN_NONE) continue;
        if (count.counters) countdown_keep(f, head, &count);
        mark(f, &loop, head, kind);
        if (kind > f->spins[head]) f->spins[head] = (uint8_t)kind;
        const bool always = ir->fn == dec_control(CONTROL_bra);
        ir->fn = dec_control(always ? CONTROL_spin_back : CONTROL_spin_back_if);
    }
}
