/* See countdown.h.
 *
 * A counter is a register that lives into the head and whose one definition in the loop leads,
 * through moves and additions of constants, back to itself. Whether a use stands before or behind
 * that definition in a round is not asked for: the later value is assumed, which costs a round. */
#include "softgpu/exec/countdown.h"

#include <string.h>

enum { CHAIN = 8, TRIES = 4 /* rounds executed where no limit lies ahead, before that counts */ };

typedef struct Found { /* a counter by its virtual register */
    uint32_t vreg;
    int64_t step;
} Found;

static bool form_is(const Ir *ir, const char *const *forms, size_t n) {
    for (size_t i = 0; ir->from && i < n; i++)
        if (strcmp(ir->from->form, forms[i]) == 0) return true;
    return false;
}

/* The one definition of `v` in the loop; NULL: none. *several: there are more. */
static const Ir *definition(const Flow *f, const SpinLoop *loop, uint32_t v, bool *several) {
    const Ir *found = NULL;
    *several = false;
    for (int i = 0; i < loop->count; i++)
        for (int k = f->blocks[loop->blocks[i]].first; k < f->blocks[loop->blocks[i]].end; k++) {
            const Ir *const ir = &f->d->ir[k];
            for (int o = 0; o < 14; o++) {
                if (!(ir->defs >> o & 1) || ir->o[o] != v) continue;
                *several |= found != NULL;
                found = ir;
            }
        }
    return found;
}

static int64_t constant(const Vreg *v) {
    return v->class == PTX_B64 ? (int64_t)v->value : (int32_t)(uint32_t)v->value;
}

/* One link back: the register that `ir` moves or adds a constant to. */
static bool link_back(const Flow *f, const Ir *ir, uint32_t *v, int64_t *ahead) {
    static const char *const moves[] = {"mov.b32", "mov.u32", "mov.s32",
                                        "mov.b64", "mov.u64", "mov.s64"};
    static const char *const adds[] = {"add.s32", "add.u32", "add.s64", "add.u64"};
    static const char *const subs[] = {"sub.s32", "sub.u32", "sub.s64", "sub.u64"};
    const Vreg *const vregs = f->d->vregs;
    if (ir->guarded || !ir->begins || ir->defs != 1) return false;
    if (form_is(ir, moves, sizeof moves / sizeof *moves)) {
        *v = ir->o[1];
        return ir->uses == 2;
    }
    if (ir->uses != 6) return false;
    const bool minus = form_is(ir, subs, sizeof subs / sizeof *subs);
    if (!minus && !form_is(ir, adds, sizeof adds / sizeof *adds)) return false;
    const bool first = vregs[ir->o[1]].kind == VREG_CONST && !minus;
    const Vreg *const by = &vregs[ir->o[first ? 1 : 2]];
    if (by->kind != VREG_CONST) return false;
    *v = ir->o[first ? 2 : 1];
    *ahead += minus ? -constant(by) : constant(by);
    return true;
}

/* The counter that `v` is a later value of; *ahead: by how much. A counter itself counts as the
 * value behind its definition. */
static int counter_of(const Flow *f, const SpinLoop *loop, const Found *counter, int n, uint32_t v,
                      int64_t *ahead) {
    *ahead = 0;
    for (int i = 0; i < CHAIN; i++) {
        bool several;
        for (int c = 0; c < n; c++) {
            if (counter[c].vreg != v) continue;
            if (i == 0) *ahead = counter[c].step;
            return c;
        }
        const Ir *const ir = definition(f, loop, v, &several);
        if (!ir || several || !link_back(f, ir, &v, ahead)) return -1;
    }
    return -1;
}

/* The step of `v`, a register that a round hands to the next; 0: it is no counter. */
static int64_t step_of(const Flow *f, const SpinLoop *loop, uint32_t v) {
    int64_t step = 0;
    uint32_t at = v;
    for (int i = 0; i < CHAIN; i++) {
        bool several;
        const Ir *const ir = definition(f, loop, at, &several);
        if (!ir || several || !link_back(f, ir, &at, &step)) return 0;
        if (at == v) return step;
    }
    return 0;
}

/* Every register that lives into the head and changes in the loop; negative: one is no counter. */
static int find_counters(const Flow *f, const SpinLoop *loop, int head, Found found[COUNTERS]) {
    int n = 0;
    for (int i = 0; i < loop->count; i++)
        for (int k = f->blocks[loop->blocks[i]].first; k < f->blocks[loop->blocks[i]].end; k++)
            for (int o = 0; o < 14; o++) {
                const Ir *const ir = &f->d->ir[k];
                if (!(ir->defs >> o & 1) || !flow_test(f, f->live_in, head, ir->o[o])) continue;
                const int64_t step = step_of(f, loop, ir->o[o]);
                if (step == 0 || n == COUNTERS) return -1;
                found[n++] = (Found){ir->o[o], step};
            }
    return n;
}

/* A comparison: 0 equal, 1 less; -1: something else. */
static int comparison(const Decode *d, const Ir *ir, bool *is_signed, bool *wide) {
    static const struct {
        int extra, less;
        bool is_signed, wide;
    } rows[] = {{LANE_eq_u32, 0, false, false}, {LANE_lt_u32, 1, false, false},
                {LANE_lt_s32, 1, true, false},  {LANE_eq_u64, 0, false, true},
                {LANE_lt_u64, 1, false, true},  {LANE_lt_s64, 1, true, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ir->fn == dec_lane(d, rows[i].extra)) {
            *is_signed = rows[i].is_signed;
            *wide = rows[i].wide;
            return rows[i].less;
        }
    return -1;
}

/* What `ir`, which decides something, does with counters: nothing, a step, or a test. */
static bool add_test(const Flow *f, const SpinLoop *loop, const Ir *ir, const Found *found,
                     Countdown *out) {
    int64_t ahead = 0, other = 0;
    int counter = -1, at = 0;
    for (int o = 0; o < 14; o++) {
        if (!(ir->uses >> o & 1)) continue;
        const int c = counter_of(f, loop, found, out->counters, ir->o[o], &other);
        if (c < 0) continue;
        if (counter >= 0) return false;
        counter = c;
        at = o;
        ahead = other;
    }
    uint32_t next;
    bool is_signed = false, wide = false, several;
    if (counter < 0 || link_back(f, ir, &next, &other)) return true;
    const int kind = comparison(f->d, ir, &is_signed, &wide);
    if (kind < 0 || (at != 1 && at != 2) || out->tests == COUNT_TESTS) return false;
    const uint32_t limit = ir->o[3 - at];
    if (definition(f, loop, limit, &several) || wide != out->counter[counter].wide) return false;
    const int less = kind == 0 ? 0 : at;
    out->test[out->tests].counter = counter;
    out->test[out->tests].ahead = ahead;
    out->test[out->tests].limit = f->d->vregs[limit].row;
    out->test[out->tests].less = (uint8_t)less;
    out->test[out->tests].is_signed = is_signed;
    out->test[out->tests++].wide = wide;
    return true;
}

static bool decides(const SpinLoop *loop, const Ir *ir) {
    for (int o = 0; o < 14; o++)
        if ((ir->defs >> o & 1) && loop->decides[ir->o[o]] == loop->round) return true;
    return ir->ends;
}

static bool reads_memory(const Ir *ir) {
    const char *const form = ir->from ? ir->from->form : "";
    return ir->pipe == PIPE_LOAD || ir->pipe == PIPE_LOAD_SHARED || ir->pipe == PIPE_ATOMIC ||
           strncmp(form, "mbarrier.t", 10) == 0;
}

bool countdown_of(const Flow *f, const SpinLoop *loop, int head, Countdown *out) {
    Found found[COUNTERS];
    *out = (Countdown){.counters = find_counters(f, loop, head, found)};
    for (int c = 0; c < out->counters; c++) {
        const Vreg *const v = &f->d->vregs[found[c].vreg];
        out->counter[c].row = v->row;
        out->counter[c].wide = v->class == PTX_B64;
        out->counter[c].step = found[c].step;
    }
    bool polls = false; /* a loop that only counts waits for nobody */
    if (out->counters <= 0) return false;
    for (int i = 0; i < loop->count; i++)
        for (int k = f->blocks[loop->blocks[i]].first; k < f->blocks[loop->blocks[i]].end; k++) {
            const Ir *const ir = &f->d->ir[k];
            if (!decides(loop, ir)) continue;
            if (!add_test(f, loop, ir, found, out)) return false;
            polls |= reads_memory(ir);
        }
    return polls && out->tests > 0;
}

void countdown_keep(Flow *f, int head, const Countdown *count) {
    Arena *const arena = f->d->module->arena;
    SgKernel *const k = f->d->kernel;
    Countdown *const kept = ARENA_ARRAY(arena, Countdown, 1);
    if (!k->countdowns) k->countdowns = ARENA_ARRAY(arena, const Countdown *, (size_t)f->count);
    if (!kept || !k->countdowns) {
        dec_fail(f->d, ST_NO_MEMORY, "out of memory");
        return;
    }
    *kept = *count;
    k->countdowns[head] = kept;
}

/* --- while a kernel runs --- */

static uint64_t read_row(const Warp *w, uint32_t row, int lane, bool wide) {
    uint64_t big = 0;
    uint32_t small = 0;
    if (wide)
        memcpy(&big, w->regs + row + (size_t)lane * 8, 8);
    else
        memcpy(&small, w->regs + row + (size_t)lane * 4, 4);
    return wide ? big : small;
}

static void write_row(const Warp *w, uint32_t row, int lane, bool wide, uint64_t value) {
    const uint32_t small = (uint32_t)value;
    if (wide)
        memcpy(w->regs + row + (size_t)lane * 8, &value, 8);
    else
        memcpy(w->regs + row + (size_t)lane * 4, &small, 4);
}

/* Rounds until `x`, as the coming round compares it, is on the other side of `limit` or meets it;
 * 0: never, or at once. `step` is not 0. */
static uint64_t rounds_to(uint64_t x, uint64_t limit, int64_t step, int less, uint64_t mask) {
    const uint64_t size = step < 0 ? (uint64_t)-step : (uint64_t)step;
    const uint64_t gap = step < 0 ? (x - limit) & mask : (limit - x) & mask;
    if (less == 0) return gap % size == 0 ? gap / size : 0;
    /* x < limit, or limit < x, comes out differently once x has passed or met the limit. */
    if (step > 0) return x > limit ? 0 : gap / size;
    return x < limit ? 0 : gap / size;
}

static uint64_t rounds(const Warp *w, const Countdown *c, int lane) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < c->tests; i++) {
        const bool wide = c->test[i].wide;
        const int of = c->test[i].counter;
        const uint64_t mask = wide ? UINT64_MAX : UINT32_MAX;
        const uint64_t bias = c->test[i].is_signed ? mask / 2 + 1 : 0;
        const uint64_t x = read_row(w, c->counter[of].row, lane, wide) + (uint64_t)c->test[i].ahead;
        const uint64_t limit = read_row(w, c->test[i].limit, lane, wide);
        const uint64_t n = rounds_to(((x & mask) ^ bias), limit ^ bias, c->counter[of].step,
                                     c->test[i].less, mask);
        if (n && n < least) least = n;
    }
    return least == UINT64_MAX ? 0 : least;
}

bool warp_countdown(Warp *w) {
    const SgKernel *const k = w->block->launch->kernel;
    bool more = false;
    if (!k->countdowns) return false;
    for (uint32_t left = w->asleep; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        const Countdown *const c = k->countdowns[w->pc[lane]->o[0]];
        if (!c) continue;
        const uint64_t n = rounds(w, c, lane);
        if (n) w->tries = 0;
        more |= w->tries < TRIES;
        for (int i = 0; i < c->counters; i++) {
            const bool wide = c->counter[i].wide;
            const uint64_t old = read_row(w, c->counter[i].row, lane, wide);
            write_row(w, c->counter[i].row, lane, wide, old + n * (uint64_t)c->counter[i].step);
        }
    }
    if (!more) return false;
    w->tries++;
    warp_wake(w);
    return true;
}
