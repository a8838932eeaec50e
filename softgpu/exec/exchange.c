/* Exchanges (shfl, vote, match, redux, elect) whose lanes come by several instructions.
 *
 * A thread waits until all threads of its membermask have executed the instruction with the same
 * qualifiers and membermask; only .target sm_6x and below asks for the same instruction in
 * convergence (PTX ISA, shfl.sync; vote, match, redux and elect alike). So the last to come takes
 * each lane's operands from the rows that the lane's own instruction names into rows of one record
 * apart, runs that once, and takes the results back to where each lane wants its own. Lanes that
 * are together never come here. */
#include <string.h>

#include "softgpu/exec/lanes.h"
#include "softgpu/exec/module.h"
#include "softgpu/ptx/form.h"

enum { ROW_BYTES = LANES * 8, ANY_TARGET = 70 };
#define NO_ROW UINT32_MAX

/* The exchange of lane l, which stands at it or at its guard. */
static const Rec *own(const Warp *w, int l) {
    const Rec *const at = w->pc[l];
    const bool guard =
        sg_rec_handler(w->block->launch->kernel, at) == sg_control_extras[CONTROL_guard];
    return guard ? at + 1 : at;
}

static uint32_t mask_of(const Warp *w, const Rec *r, const ExchangeRows *rows, int l) {
    int k = 0;
    while (rows->kind[k] != EX_MEMBERS) k++;
    return ((const u32 *)(w->regs + r->o[k]))[l];
}

static bool like(const Rec *a, const Rec *b, const ExchangeRows *rows) {
    if (a->fn != b->fn) return false;
    for (int k = 0; k < REC_WORDS; k++)
        if (rows->kind[k] == EX_SAME && a->o[k] != b->o[k]) return false;
    return true;
}

static void take(const Warp *w, const Rec *r, const ExchangeRows *rows, int l, uint8_t *apart) {
    for (int k = 0; k < EX_WORDS; k++) {
        const uint8_t *const from = w->regs + r->o[k];
        uint8_t *const to = apart + k * ROW_BYTES;
        if (rows->kind[k] == EX_IN || rows->kind[k] == EX_MEMBERS)
            memcpy(to + l * 4, from + l * 4, 4);
        if (rows->kind[k] == EX_IN_WIDE) memcpy(to + l * 8, from + l * 8, 8);
        if (rows->kind[k] == EX_IN_PRED)
            *(u32 *)to |= (*(const u32 *)from ^ r->o[rows->negation]) & 1u << l;
    }
}

static void give(Warp *w, const Rec *r, const ExchangeRows *rows, int l, const uint8_t *apart) {
    for (int k = 0; k < EX_WORDS; k++) {
        if (r->o[k] == NO_ROW) continue;
        const uint8_t *const from = apart + k * ROW_BYTES;
        u32 *const to = (u32 *)(w->regs + r->o[k]);
        if (rows->kind[k] == EX_OUT) memcpy(to + l, from + l * 4, 4);
        if (rows->kind[k] == EX_OUT_PRED) *to = (*to & ~(1u << l)) | (*(const u32 *)from & 1u << l);
    }
}

/* All of `lanes` stand at exchanges like `r`. False after a fault. */
static bool exchange(Warp *w, const Rec *r, uint32_t lanes, const ExchangeRows *rows) {
    _Alignas(64) uint8_t apart[EX_WORDS * ROW_BYTES] = {0};
    const Rec *at[LANES] = {0};
    Rec all = *r;
    for (int k = 0; k < EX_WORDS; k++)
        if (rows->kind[k] != EX_SAME) all.o[k] = (uint32_t)(k * ROW_BYTES);
    if (rows->negation) all.o[rows->negation] = 0; /* take() has applied it */
    FOR_LANES if (lanes >> l & 1) take(w, at[l] = own(w, l), rows, l, apart);
    uint8_t *const regs = w->regs;
    const uint32_t checks = w->checks;
    w->regs = apart;
    w->checks &= ~(uint32_t)SG_CHECK_SYNC; /* each has been checked when it came */
    w->active = w->mask = lanes;
    w->apart = true;
    all.fn(w, &all);
    w->apart = false;
    w->checks = checks;
    w->regs = regs;
    if (w->state == WARP_FAULT) return false;
    FOR_LANES if (lanes >> l & 1) {
        give(w, at[l], rows, l, apart);
        w->pc[l] = at[l] + 1;
    }
    w->parked &= ~lanes;
    return true;
}

/* Lanes parked here take part with those that come: with the same membermask, or in it. */
static bool joins(Warp *w, const Rec *r, const Rec *here, uint32_t mask, const ExchangeRows *rows) {
    uint32_t met = 0;
    FOR_LANES {
        if (!(w->parked >> l & 1) || w->pc[l] != here) continue;
        if ((mask >> l & 1) || mask_of(w, r, rows, l) == mask) met |= 1u << l;
    }
    w->parked &= ~met;
    w->active |= met;
    if (met) w->mask = w->active;
    return met != 0;
}

const Rec *warp_exchange(Warp *w, const Rec *r, uint32_t mask, const ExchangeRows *rows) {
    const Rec *const here = w->guard ? w->guard : r;
    const uint32_t come = w->mask, required = mask & w->live;
    if (joins(w, r, here, mask, rows)) return here;
    uint32_t others = 0;
    if (w->block->launch->kernel->module->target >= ANY_TARGET) FOR_LANES {
            if (!(required & w->parked & ~come & 1u << l)) continue;
            const Rec *const at = own(w, l);
            if (like(at, r, rows) && mask_of(w, at, rows, l) == mask) others |= 1u << l;
        }
    const uint32_t missing = required & ~(come | others);
    FOR_LANES {
        if (others >> l & 1) w->missing[l] = missing;
        if (w->active & ~come & 1u << l) w->pc[l] = r + 1; /* held back by the guard */
        if (come >> l & 1) w->pc[l] = here;
    }
    if (missing) return warp_park(w, come, here, missing);
    return exchange(w, r, come | others, rows) ? warp_select(w) : NULL;
}
