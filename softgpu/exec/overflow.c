/* The check `address`: 32-bit arithmetic that wraps on its way into a 64-bit address.
 *
 * While decoding, every 32-bit mul.lo, mad.lo, shl, add and sub gets a check record before it. Once
 * the entry is decoded, a backward pass over definitions and uses keeps those whose result becomes
 * part of a global or generic address: through 32-bit sums, products, moves and selections to the
 * instruction that widens it (cvt, mul.wide, mad.wide), and through 64-bit sums to the address. How
 * it is widened says which overflow counts: sign-extended, what does not fit 32 bits with sign;
 * zero-extended, a product that fits neither with nor without sign (sums are left alone there:
 * adding 0xffffffff is how compilers subtract one). What goes through masks, shifts right,
 * remainders or memory is not followed: hashes and random numbers wrap by intent. Addresses of 32
 * bits (shared memory) are not looked at: beyond their window they fault anyway. */
#include "softgpu/exec/decode.h"

#include <string.h>

enum { FLOWS_SIGNED = 1, FLOWS_UNSIGNED = 2, FLOWS_ADDRESS = 4, MAX_PASSES = 64 };

static bool is_check(const Ir *ir) {
    return ir->fn == dec_control(CONTROL_overflow);
}

static bool is_int32(const Decode *d) {
    const int last = d->words.count - 1;
    return ptx_words_are(&d->words, last, "s32") || ptx_words_are(&d->words, last, "u32") ||
           ptx_words_are(&d->words, last, "b32");
}

void dec_overflow_check(Decode *d, const Ir *instr) {
    static const struct {
        const char *base;
        int words; /* of the whole form: others have .hi, .wide, .cc, .sat */
        OverflowKind kind;
        int sources;
    } rows[] = {{"mul", 3, OVERFLOW_MUL, 2},
                {"mad", 3, OVERFLOW_MAD, 3},
                {"shl", 2, OVERFLOW_SHL, 2},
                {"add", 2, OVERFLOW_ADD, 2},
                {"sub", 2, OVERFLOW_SUB, 2}};
    if (!(d->module->checks & SG_CHECK_ADDRESS) || !is_int32(d)) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!ptx_words_are(&d->words, 0, rows[i].base) || d->words.count != rows[i].words ||
            (rows[i].words == 3 && !ptx_words_are(&d->words, 1, "lo")))
            continue;
        Ir *const ir = dec_emit(d, dec_control(CONTROL_overflow), PIPE_MOVE);
        ir->o[0] = rows[i].kind;
        for (int k = 1; k <= rows[i].sources; k++) dec_use(ir, k, (int)instr->o[k]);
        ir->o[4] = instr->o[0]; /* the result; later what to ask of it */
        return;
    }
}

static bool starts_any(const char *form, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strncmp(form, list[i], strlen(list[i])) == 0) return true;
    return false;
}

/* How use `k` of an instruction takes part in its result, which flows on as `result` says. */
static uint8_t flows(const Decode *d, const Ir *ir, int k, uint8_t result) {
    static const char *const wide[] = {"add.", "sub.",  "mad.lo.", "mul.lo.",  "shl.",
                                       "mov.", "cvta.", "selp.",   "mad.wide", "cvta"};
    static const char *const narrow[] = {"add.", "sub.", "mad.lo.", "mul.lo.", "shl.b32",
                                         "mov.", "selp", "min.",    "max."};
    const char *const form = ir->from->form;
    const int class = d->vregs[ir->o[k]].class;
    if (class == PTX_PRED || (k == 2 && strncmp(form, "shl", 3) == 0)) return 0;
    if (class == PTX_B64)
        return result & FLOWS_ADDRESS && starts_any(form, wide, sizeof wide / sizeof *wide)
                   ? FLOWS_ADDRESS
                   : 0;
    if (!(result & FLOWS_ADDRESS))
        return starts_any(form, narrow, sizeof narrow / sizeof *narrow)
                   ? (uint8_t)(result & (FLOWS_SIGNED | FLOWS_UNSIGNED))
                   : 0;
    static const char *const widens[] = {"mul.wide", "mad.wide", "cvt."};
    if (!starts_any(form, widens, 3)) return 0;
    const size_t n = strlen(form);
    return n > 3 && strcmp(form + n - 3, "s32") == 0   ? FLOWS_SIGNED
           : n > 3 && strcmp(form + n - 3, "u32") == 0 ? FLOWS_UNSIGNED
                                                       : 0;
}

static bool add_flow(uint8_t *to, uint8_t bits) {
    const bool more = bits & ~*to;
    *to |= bits;
    return more;
}

/* One backward pass; true when it found more. */
static bool pass(const Decode *d, uint8_t *flow) {
    bool more = false;
    for (int i = d->ir_count - 1; i >= 0; i--) {
        const Ir *const ir = &d->ir[i];
        if (!ir->from || is_check(ir)) continue;
        uint8_t result = 0;
        for (int k = 0; k < 14; k++)
            if (ir->defs >> k & 1) result |= flow[ir->o[k]];
        for (int k = 0; k < 14; k++) {
            if (!(ir->uses >> k & 1)) continue;
            uint8_t *const to = &flow[ir->o[k]];
            if ((ir->address >> k & 1) && d->vregs[ir->o[k]].class == PTX_B64)
                more |= add_flow(to, FLOWS_ADDRESS);
            if (result) more |= add_flow(to, flows(d, ir, k, result));
        }
    }
    return more;
}

/* What a check must ask of its instruction's result; 0: nothing, it goes. */
static uint32_t asks(const Ir *check, uint8_t flow) {
    if (flow & FLOWS_SIGNED) return flow & FLOWS_UNSIGNED ? OVERFLOW_BOTH : OVERFLOW_SIGNED;
    const bool sum = check->o[0] == OVERFLOW_ADD || check->o[0] == OVERFLOW_SUB;
    return flow & FLOWS_UNSIGNED && !sum ? OVERFLOW_BOTH : 0;
}

/* Leaves out the checks that nothing asks for, and their guards; what follows begins the
 * instruction in their place. */
static void compact(Decode *d, const uint8_t *flow, int *at) {
    int kept = 0;
    for (int i = 0; i < d->ir_count; i++) {
        Ir *const ir = &d->ir[i];
        at[i] = kept;
        if (is_check(ir)) {
            ir->o[4] = asks(ir, flow[ir->o[4]]);
            if (!ir->o[4]) {
                d->ir[i + 1].begins |= d->ir[i - ir->guarded].begins;
                kept -= ir->guarded;
                continue;
            }
        }
        d->ir[kept++] = *ir;
    }
    at[d->ir_count] = kept;
    d->ir_count = kept;
}

void dec_overflow(Decode *d) {
    if (!(d->module->checks & SG_CHECK_ADDRESS) || d->status != ST_OK) return;
    const int before = d->ir_count;
    uint8_t *const flow = arena_array(d->scratch, (size_t)d->vreg_count + 1, 1);
    int *const at = arena_array(d->scratch, (size_t)before + 1, sizeof *at);
    if (!flow || !at) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return;
    }
    for (int i = 0; i < MAX_PASSES && pass(d, flow); i++) continue;
    compact(d, flow, at);
    for (int i = 0; i < d->ir_count; i++)
        if (d->ir[i].target >= 0) d->ir[i].target = at[d->ir[i].target];
    for (int i = 0; i < d->jump_count; i++) d->jumps[i] = at[d->jumps[i]];
    d->entry_first = at[d->entry_first];
    for (int i = 0; i <= d->entry->instr_count; i++) d->entry_label[i] = at[d->entry_label[i]];
}
