/* The fault of blocks whose warps all wait for each other: who waits for what.
 *
 * Groups of lanes that spin go round their loop once more, record by record: then the addresses and
 * what they hold are what the loop itself reads. The blocks are run by nobody else meanwhile. The
 * text is bounded: MAX_TOLD warps, then a number. */
#include "softgpu/exec/block.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "softgpu/exec/mbarrier_word.h"
#include "softgpu/ptx/form.h"

enum { MAX_TOLD = 12, MAX_STEPS = 512, ROOM = 1200 };
#define ADDRESS_WIDE 0x40 /* ACC_ADDR64 of exec/access.h */

typedef struct Text {
    char out[ROOM];
    size_t used;
    int told, untold;
} Text;

__attribute__((format(printf, 2, 3))) static void say(Text *t, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(t->out + t->used, sizeof t->out - t->used, fmt, args);
    va_end(args);
    t->used += n < 0 ? 0 : (size_t)n;
    if (t->used >= sizeof t->out) t->used = sizeof t->out - 1;
}

static void say_place(Text *t, const Warp *w, const Rec *r) {
    char place[288];
    say(t, "%s", warp_place(w, r, place, sizeof place));
}

/* What a record reads memory by, NULL when it does not. All such records keep the row of the
 * address in o[4], its flags in o[5], the offset in o[12..13] (exec/access.h). */
static const char *reading(const Warp *w, const Rec *r) {
    static const char *const forms[] = {"ld.", "atom.", "mbarrier.test_wait", "mbarrier.try_wait"};
    const SgKernel *const k = w->block->launch->kernel;
    const char *const form = k->places[r - k->code].form;
    if (!form || (r->o[4] != UINT32_MAX && r->o[4] + 8 * LANES > k->reg_bytes)) return NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strncmp(form, forms[i], strlen(forms[i])) == 0) return form;
    return NULL;
}

static uint64_t address_of(const Warp *w, const Rec *r, int lane) {
    const uint64_t offset = (uint64_t)r->o[13] << 32 | r->o[12];
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (r->o[4] == UINT32_MAX) return offset;
    const uint8_t *const row = w->regs + r->o[4];
    if (r->o[5] & ADDRESS_WIDE) {
        memcpy(&wide, row + (size_t)lane * 8, 8);
        return wide + offset;
    }
    memcpy(&narrow, row + (size_t)lane * 4, 4);
    return narrow + offset;
}

/* Others (copies, launches of other streams) may write the word meanwhile. */
static uint64_t value_at(const void *p, uint32_t bytes) {
    switch (bytes) {
    case 1: return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
    case 2: return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
    case 8: return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
    default: return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
    }
}

static void say_mbarrier(Text *t, uint64_t address, uint64_t word) {
    MBarrier m;
    mb_unpack(word, &m);
    say(t,
        " for mbarrier at shared 0x%llx (phase %u, %lld of %lld arrivals and %lld bytes to come)",
        (unsigned long long)address, (unsigned)m.phase, (long long)m.pending, (long long)m.expected,
        (long long)m.tx);
}

static void say_global(Text *t, uint64_t address, uint32_t bytes) {
    const SgAllocation *const a = sg_mem_find(address);
    say(t, " on global 0x%llx", (unsigned long long)address);
    if (!sg_mem_ok(address, bytes) || !a) return;
    say(t, " (byte %llu of the %llu allocated at 0x%llx) = %llu",
        (unsigned long long)(address - a->base), (unsigned long long)a->size,
        (unsigned long long)a->base,
        (unsigned long long)value_at((const void *)(uintptr_t)address, bytes));
}

/* What lane `lane` reads with this record, before it does. */
static void say_read(Text *t, const Warp *w, const Rec *r, const char *form, int lane) {
    const Block *const b = w->block;
    const bool mbarrier = strncmp(form, "mbarrier", 8) == 0, atom = strncmp(form, "atom", 4) == 0;
    const uint32_t bytes = mbarrier ? 8 : atom ? (strstr(form, "64") ? 8 : 4) : r->o[5] & 15;
    uint64_t address = address_of(w, r, lane);
    if (address >> WINDOW_SHIFT == WINDOW_SHARED >> WINDOW_SHIFT)
        address -= WINDOW_SHARED;
    else if (!mbarrier && !strstr(form, ".shared")) {
        say_global(t, address, bytes);
        return;
    }
    const uint64_t offset = address - b->shared_base;
    if (offset > b->shared_size || b->shared_size - offset < bytes || offset % (bytes | !bytes)) {
        say(t, " on shared 0x%llx", (unsigned long long)address);
        return;
    }
    const uint64_t value = value_at(b->shared + offset, bytes);
    if (mbarrier)
        say_mbarrier(t, address, value);
    else
        say(t, " on shared 0x%llx = %llu", (unsigned long long)address, (unsigned long long)value);
}

/* One round of the loop at `head`, to the end of the basic block of its first read: there the
 * lanes are still in the loop. */
static bool say_round(Text *t, Warp *w, const Rec *head, uint32_t lanes) {
    const Handler leader = sg_control_extras[CONTROL_leader],
                  first = sg_control_extras[CONTROL_spin_head],
                  guard = sg_control_extras[CONTROL_guard];
    const uint32_t live = w->live;
    const int lane = __builtin_ctz(lanes);
    int reads = 0, steps = 0;
    w->live = w->active = w->mask = lanes;
    w->asleep = w->parked = w->behind = 0;
    w->back = NULL;
    w->fuel = INT64_MAX;
    for (const Rec *r = head; r && steps < MAX_STEPS; steps++) {
        const Handler fn = sg_rec_handler(w->block->launch->kernel, r);
        const bool entry = fn == leader || fn == first;
        if (entry && (reads || (steps && r == head))) break;
        const Rec *const at = fn == guard ? r + 1 : r;
        const char *const form = entry ? NULL : reading(w, at);
        if (form && reads++ < 2) say_read(t, w, at, form, lane);
        r = r->fn(w, r);
    }
    w->live = live;
    return reads > 0;
}

static uint32_t lanes_at(const Warp *w, uint32_t of, const Rec *r) {
    uint32_t same = 0;
    for (int l = 0; l < LANES; l++)
        if ((of >> l & 1) && w->pc[l] == r) same |= 1u << l;
    return same;
}

static bool begin(Text *t, const Block *b, const Warp *w, uint32_t lanes) {
    if (t->told >= MAX_TOLD || t->used > sizeof t->out - 240) {
        t->untold++;
        return false;
    }
    say(t, "%swarp %d", t->told++ ? "; " : "", w->index);
    if (b->launch->block_total > 1) say(t, " of block %llu", (unsigned long long)b->linear);
    if (lanes != w->live) say(t, " lanes 0x%08x", lanes);
    return true;
}

static void say_spins(Text *t, Block *b, Warp *w) {
    const uint32_t parked = w->parked;
    for (uint32_t left = w->asleep; left;) {
        const Rec *const head = w->pc[__builtin_ctz(left)];
        const uint32_t lanes = lanes_at(w, left, head);
        left &= ~lanes;
        if (!begin(t, b, w, lanes)) continue;
        say(t, " spins at ");
        say_place(t, w, head);
        if (!say_round(t, w, head, lanes)) say(t, ", a loop that nothing ends");
    }
    for (uint32_t left = parked & w->live; left;) {
        const Rec *const at = w->pc[__builtin_ctz(left)];
        const uint32_t lanes = lanes_at(w, left, at);
        left &= ~lanes;
        if (!begin(t, b, w, lanes)) continue;
        say(t, " waits for the others of its warp at ");
        say_place(t, w, at);
    }
}

static void say_barrier(Text *t, Block *b, const Warp *w) {
    const Barrier *const bar = &b->barriers[w->barrier];
    if (!begin(t, b, w, w->live)) return;
    say(t, " waits at barrier %d (", w->barrier);
    say_place(t, w, w->waits);
    say(t, ", %u of %u threads came)", bar->arrived,
        bar->expected ? bar->expected : block_live_threads(b));
}

void deadlock_fault(Block *blocks, const char *more) {
    Text t = {.used = 0};
    Warp *first = NULL;
    const Rec *at = NULL;
    uint32_t lanes = 0;
    for (Block *b = blocks; b; b = b->next)
        for (int i = 0; i < b->warp_count; i++) {
            Warp *const w = &b->warps[i];
            if (w->state != WARP_BARRIER && w->state != WARP_SPIN) continue;
            if (!first) {
                first = w;
                lanes = w->state == WARP_SPIN ? w->asleep : w->live;
                at = w->state == WARP_SPIN ? w->resume : w->waits;
            }
            if (w->state == WARP_BARRIER)
                say_barrier(&t, b, w);
            else
                say_spins(&t, b, w);
        }
    if (t.untold) say(&t, "; and %d more", t.untold);
    if (first) warp_fault(first, at, 702, lanes, "deadlock: %s%s", t.out, more);
}
