/* Decoding of ldmatrix, stmatrix, mma. */
#include "softgpu/exec/decode_memory.h"

#include <stdio.h>
#include <string.h>

/* m16n16 has two registers and 16 addresses per matrix, the other shapes one and eight. */
static void matrix(Decode *d, bool load) {
    const int matrices = ptx_words_have(&d->words, "x4")   ? 4
                         : ptx_words_have(&d->words, "x2") ? 2
                                                           : 1;
    const int count = ptx_words_have(&d->words, "m16n16") ? 2 * matrices : matrices;
    const PtxOperand *const v = dec_operand(d, load ? 0 : 1);
    Ir tmp = {0};
    bool address64 = false;
    if ((v->kind == PTX_VECTOR ? v->item_count : 1) != count) {
        dec_fail(d, ST_SYNTAX, "%d registers are expected", count);
        return;
    }
    for (int i = 0; i < count; i++) {
        const PtxOperand *const o = v->kind == PTX_VECTOR ? &v->items[i] : v;
        if (load)
            dec_def(&tmp, i, dec_dest(d, o, PTX_B32));
        else
            dec_use(&tmp, i, dec_source(d, o, PTX_B32, false));
    }
    dec_address_row(d, &tmp, dec_operand(d, load ? 1 : 0), 4, 12, &address64);
    tmp.o[5] = (uint32_t)count << ACC_COUNT | (address64 ? ACC_ADDR64 : 0u);
    tmp.o[6] = ptx_words_have(&d->words, "trans");
    tmp.o[7] = ptx_words_have(&d->words, "b6x16_p32")   ? 6
               : ptx_words_have(&d->words, "b4x16_p64") ? 4
                                                        : 8;
    /* A generic address less the window is one in shared memory, or far outside of it. */
    if (dec_space(d) == PTX_GENERIC && tmp.o[4] != NO_ROW && address64)
        tmp.o[13] -= (uint32_t)(WINDOW_SHARED >> 32);
    if (d->status == ST_OK)
        dec_emit_from(d, &tmp, dec_form_handler(d), load ? PIPE_LDMATRIX : PIPE_STORE_SHARED);
}

/* Flags of mma_exact.h (MX_*) in the low bits of o[4]; false: not a type it knows. */
static bool mma_flags(const Decode *d, uint8_t *flags) {
    static const char *const types[] = {"f16", "bf16", "tf32", "e4m3", "e5m2"};
    const int n = d->words.count, cc = d->module->arch->cc;
    int a = -1, b = -1;
    for (int i = 0; i < 5; i++) {
        if (ptx_words_are(&d->words, n - 3, types[i])) a = i;
        if (ptx_words_are(&d->words, n - 2, types[i])) b = i;
    }
    if (a < 0 || b < 0) return false;
    const bool fp8 = a >= 3;
    const bool wide = ptx_words_have(&d->words, a == 2 ? "m16n8k8" : "m16n8k16");
    const int unit = cc < 80 ? 0 : cc >= 90 ? 2 : fp8 && cc == 89 ? 3 : 1;
    *flags = (uint8_t)((fp8 ? 3 : a) | ((fp8 ? a == 4 : wide) ? 4 : 0) | (b == 4 ? 8 : 0) |
                       (ptx_words_are(&d->words, n - 1, "f16") ? 16 : 0) | unit << 5);
    return true;
}

/* The operands' registers: counts from "=mma D A B C FLOPS", numbers from the instruction. */
static bool mma_operands(Decode *d, DecMma *m) {
    const PtxClass class = ptx_words_have(&d->words, "f64") ? PTX_B64 : PTX_B32;
    int count[4] = {0};
    if (sscanf(d->form->shape, "=mma %d %d %d %d", &count[0], &count[1], &count[2], &count[3]) !=
            4 ||
        d->in->operand_count != 4) {
        dec_fail(d, ST_SYNTAX, "D, A, B, C are expected");
        return false;
    }
    for (int i = 0; i < 4; i++) {
        const PtxOperand *const v = dec_operand(d, i);
        if ((v->kind == PTX_VECTOR ? v->item_count : 1) != count[i]) {
            dec_fail(d, ST_SYNTAX, "operand %d must have %d registers", i + 1, count[i]);
            return false;
        }
        for (int k = 0; k < count[i]; k++) {
            const PtxOperand *const o = v->kind == PTX_VECTOR ? &v->items[k] : v;
            m->reg[i][k] = i == 0 ? dec_dest(d, o, class) : dec_source(d, o, class, false);
        }
    }
    return true;
}

void dec_emit_mma(Decode *d, const DecMma *m, const int at[4]) {
    static const int first[4] = {0, 4, 8, 10};
    int count[4] = {0}, flops = 0;
    Ir tmp = {0};
    if (sscanf(d->form->shape, "=mma %d %d %d %d %d", &count[0], &count[1], &count[2], &count[3],
               &flops) != 5)
        dec_fail(d, ST_INTERNAL, "no shape of mma");
    if (count[1] == 8) { /* half of a k16 of f64 */
        count[1] /= 2;
        count[2] /= 2;
        flops /= 2;
    }
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < count[i]; k++)
            (i == 0 ? dec_def : dec_use)(&tmp, first[i] + k, m->reg[i][at[i] + k]);
    if (count[2] == 1) tmp.o[9] = NO_ROW;
    const bool floats = mma_flags(d, &tmp.or4), fp8 = floats && (tmp.or4 & 3) == 3;
    const bool exact = floats && d->module->exact_mma;
    if (floats && !fp8 && !exact) tmp.or4 = 0; /* the fast handlers take rows as they are */
    const int n = d->words.count;
    if (ptx_words_are(&d->words, n - 1, "s32"))
        tmp.or4 = (uint8_t)((ptx_words_are(&d->words, n - 3, "s8") ? 1 : 0) |
                            (ptx_words_are(&d->words, n - 2, "s8") ? 2 : 0) |
                            (ptx_words_have(&d->words, "satfinite") ? 4 : 0));
    tmp.flops = (uint32_t)flops;
    if (d->status == ST_OK)
        dec_emit_from(d, &tmp, exact ? dec_tensor(d, TENSOR_mma_exact) : dec_form_handler(d),
                      PIPE_MMA);
}

/* f64 m16n8k16 has more registers than a record: two halves of k, one after the other. */
static void mma_f64_k16(Decode *d, const DecMma *m) {
    static const int low[4] = {0}, high[4] = {0, 4, 2, 0};
    DecMma half = *m;
    for (int i = 0; i < 4; i++) half.reg[0][i] = dec_vreg(d, PTX_B64);
    dec_emit_mma(d, &half, low);
    memcpy(half.reg[3], half.reg[0], sizeof half.reg[3]);
    memcpy(half.reg[0], m->reg[0], sizeof half.reg[0]);
    dec_emit_mma(d, &half, high);
}

static void mma(Decode *d) {
    static const int start[4] = {0};
    DecMma m = {0};
    if (!mma_operands(d, &m)) return;
    if (ptx_words_have(&d->words, "f64") && ptx_words_have(&d->words, "m16n8k16"))
        mma_f64_k16(d, &m);
    else
        dec_emit_mma(d, &m, start);
}

bool dec_matrix_family(Decode *d, const char *name) {
    if (strcmp(name, "ldmatrix") == 0)
        matrix(d, true);
    else if (strcmp(name, "stmatrix") == 0)
        matrix(d, false);
    else if (strncmp(name, "mma ", 4) == 0)
        mma(d);
    else if (strncmp(name, "wmma_", 5) == 0)
        dec_wmma(d);
    else
        return false;
    return true;
}
