/* Decoding of wmma: fragments are those of mma.sync, and wmma.mma becomes one or more of these.
 *
 *   m16n16k16, m16n16k8   A one block of 16 rows, B and C two blocks side by side
 *   m32n8k16              A and C two blocks of 16 rows, B one
 *   m8n32k16              as m32n8k16 of the transposes: D^T = B^T A^T + C^T
 *   m8n8k4                one mma
 *
 * The ISA allows any such choice: how a fragment's elements lie in registers is not specified. */
#include "softgpu/exec/decode_memory.h"

#include <stdio.h>
#include <string.h>

typedef struct Shape {
    const char *name;
    int a_blocks, b_blocks;
    bool transposed;
} Shape;

static const Shape shapes[] = {{"m16n16k16", 1, 2, false},
                               {"m16n16k8", 1, 2, false},
                               {"m32n8k16", 2, 1, false},
                               {"m8n32k16", 2, 1, true},
                               {"m8n8k4", 1, 1, false}};

typedef struct Type {
    const char *name;
    int log;            /* of an element's bytes */
    int a_regs, b_regs; /* of a block; 0: not a multiplicand */
    int c_regs;         /* of a block; 0: not an accumulator */
} Type;

static const Type types[] = {{"f16", 1, 4, 2, 2}, {"bf16", 1, 4, 2, 0}, {"s8", 0, 2, 1, 0},
                             {"u8", 0, 2, 1, 0},  {"tf32", 2, 4, 2, 0}, {"f32", 2, 0, 0, 4},
                             {"s32", 2, 0, 0, 4}, {"f64", 3, 1, 1, 2}};

static const Shape *shape_of(const Decode *d) {
    const Shape *s = shapes;
    while (!ptx_words_have(&d->words, s->name)) s++; /* the form's pattern names one of them */
    return s;
}

static const Type *type_at(const Decode *d, int word) {
    const Type *t = types;
    while (!ptx_words_are(&d->words, word, t->name)) t++;
    return t;
}

static PtxClass class_of(const Type *t) {
    return t->log == 3 ? PTX_B64 : PTX_B32;
}

/* Registers that a fragment has and, of them, the different ones; f16 multiplicands have eight. */
typedef struct Fragment {
    int kind; /* WM_A, WM_B, WM_C as mma.sync has it */
    int regs, used, block;
} Fragment;

static Fragment fragment(const Shape *s, const Type *t, char matrix) {
    const bool a = matrix == 'a', c = matrix == 'c' || matrix == 'd';
    const int kind = c ? WM_C : a != s->transposed ? WM_A : WM_B;
    const int blocks = kind == WM_C   ? s->a_blocks * s->b_blocks
                       : kind == WM_A ? s->a_blocks
                                      : s->b_blocks;
    Fragment f = {.kind = kind};
    f.block = kind == WM_C ? t->c_regs : kind == WM_A ? t->a_regs : t->b_regs;
    f.used = blocks * f.block;
    f.regs = !c && strcmp(t->name, "f16") == 0 ? 8 : f.used;
    return f;
}

/* The registers of operand `i`; false after an error. */
static bool registers(Decode *d, int i, int n, PtxClass class, bool dest, int *out) {
    const PtxOperand *const v = dec_operand(d, i);
    if ((v->kind == PTX_VECTOR ? v->item_count : 1) != n) {
        dec_fail(d, ST_SYNTAX, "operand %d must have %d registers", i + 1, n);
        return false;
    }
    for (int k = 0; k < n; k++) {
        const PtxOperand *const o = v->kind == PTX_VECTOR ? &v->items[k] : v;
        out[k] = dest ? dec_dest(d, o, class) : dec_source(d, o, class, false);
    }
    return d->status == ST_OK;
}

/* What lies side by side when no stride is given: the whole line (PTX ISA, wmma.load). */
static uint32_t natural_stride(const Decode *d, char matrix, bool row) {
    int m = 0, n = 0, k = 0;
    if (sscanf(shape_of(d)->name, "m%dn%dk%d", &m, &n, &k) != 3) return 0;
    return (uint32_t)(matrix == 'a' ? (row ? k : m) : matrix == 'b' ? (row ? n : k) : row ? n : m);
}

/* wmma.load.a d, [p]{, stride} and wmma.store.d [p], d{, stride} */
static void access(Decode *d, bool store) {
    const char matrix = d->words.text[2][0];
    const Shape *const s = shape_of(d);
    const Type *const t = type_at(d, d->words.count - 1);
    const Fragment f = fragment(s, t, matrix);
    const bool row = ptx_words_are(&d->words, 5, "row");
    int reg[8];
    Ir tmp = {0};
    bool address64 = false;
    if (d->in->operand_count > 3) dec_fail(d, ST_SYNTAX, "%d operands", d->in->operand_count);
    if (!registers(d, store ? 1 : 0, f.regs, class_of(t), !store, reg)) return;
    for (int k = 0; k < f.regs; k++) (store ? dec_use : dec_def)(&tmp, k, reg[k]);
    dec_address_row(d, &tmp, dec_operand(d, store ? 0 : 1), 8, 12, &address64);
    dec_use(&tmp, 9,
            d->in->operand_count > 2 ? dec_source(d, dec_operand(d, 2), PTX_B32, false)
                                     : dec_constant(d, PTX_B32, natural_stride(d, matrix, row)));
    const PtxSpace space = dec_space(d);
    tmp.o[10] = (uint32_t)(f.kind | (row != s->transposed ? WM_ROWS : 0) |
                           (s->b_blocks > 1 ? WM_RIGHT : 0) | (address64 ? WM_ADDR64 : 0) |
                           (space == PTX_SHARED   ? 1
                            : space == PTX_GLOBAL ? 2
                                                  : 0)
                               << WM_SPACE |
                           t->log << WM_LOG);
    tmp.o[11] = (uint32_t)(f.regs | f.used << 8 | f.block << 16);
    const bool shared = space == PTX_SHARED;
    if (d->status == ST_OK)
        dec_emit_from(d, &tmp, dec_form_handler(d),
                      store ? (shared ? PIPE_STORE_SHARED : PIPE_STORE)
                            : (shared ? PIPE_LOAD_SHARED : PIPE_LOAD));
}

static Ir *step(Decode *d, int extra, int dest, int source) {
    Ir *const ir = dec_emit(d, dec_lane(d, extra), PIPE_MOVE);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    return ir;
}

/* An f16 accumulator as f32: register i holds those of registers 2i and 2i + 1. */
static void widen(Decode *d, int *reg, int n) {
    for (int i = n - 1; i >= 0; i--) {
        const int half[2] = {dec_vreg(d, PTX_B32), dec_vreg(d, PTX_B32)};
        Ir *const ir = dec_emit(d, dec_lane(d, LANE_unpack32), PIPE_MOVE);
        dec_def(ir, 0, half[0]);
        dec_def(ir, 1, half[1]);
        dec_use(ir, 2, reg[i]);
        for (int e = 0; e < 2; e++) {
            reg[2 * i + e] = dec_vreg(d, PTX_B32);
            step(d, LANE_f32_f16, reg[2 * i + e], half[e]);
        }
    }
}

/* The mma.sync that a block becomes, as an opcode. Turing has no k16 of halves (PTX ISA, mma). */
static void equivalent(const Decode *d, bool wide, bool k8, char *out, size_t size) {
    const int last = d->words.count - 1;
    const bool saturate = ptx_words_are(&d->words, last, "satfinite");
    const bool halves = ptx_words_are(&d->words, last - 2, shape_of(d)->name);
    const Type *const t = halves ? types : type_at(d, last - 1 - saturate);
    const char *const c = halves        ? (wide ? "f32" : "f16")
                          : t->log == 0 ? "s32"
                          : t->log == 3 ? "f64"
                                        : "f32";
    const char *const shape = t->log == 3 ? "m8n8k4" : t->log == 2 || k8 ? "m16n8k8" : "m16n8k16";
    snprintf(out, size, "mma.sync.aligned.%s.row.col%s.%s.%s.%s.%s", shape,
             saturate ? ".satfinite" : "", c, t->name, t->name, c);
}

static bool member(int v, const int *list, int n) {
    for (int i = 0; i < n; i++)
        if (list[i] == v) return true;
    return false;
}

/* Blocks in turn; d->form and d->words are those of the mma.sync. D of one mma must not overwrite
 * what a later one reads. */
static void blocks(Decode *d, const Shape *s, const DecMma *in, const int regs[4], bool k8) {
    DecMma m = *in;
    const int n = s->a_blocks * s->b_blocks, early = k8 ? n * regs[0] : (n - 1) * regs[0];
    const PtxClass class = ptx_words_have(&d->words, "f64") ? PTX_B64 : PTX_B32;
    for (int i = 0; i < early; i++)
        if (member(m.reg[0][i], m.reg[1], 8) || member(m.reg[0][i], m.reg[2], 8) ||
            member(m.reg[0][i], m.reg[3] + regs[3], 8 - regs[3]))
            m.reg[0][i] = dec_vreg(d, class);
    for (int b = 0; b < n; b++) {
        int at[4] = {b * regs[0], s->a_blocks > 1 ? b * regs[1] : 0,
                     s->b_blocks > 1 ? b * regs[2] : 0, b * regs[3]};
        dec_emit_mma(d, &m, at);
        if (!k8) continue;
        memcpy(m.reg[3] + at[3], m.reg[0] + at[0], (size_t)regs[0] * sizeof(int));
        at[1] += 2;
        at[2] += 1;
        dec_emit_mma(d, &m, at);
        memcpy(m.reg[3] + at[3], in->reg[3] + at[3], (size_t)regs[3] * sizeof(int));
    }
    for (int i = 0; i < early; i++)
        if (m.reg[0][i] != in->reg[0][i])
            step(d, class == PTX_B64 ? LANE_mov_b64 : LANE_mov_lane, in->reg[0][i], m.reg[0][i]);
}

/* wmma.mma d, a, b, c: see the head of this file. */
static void multiply(Decode *d) {
    const Shape *const s = shape_of(d);
    const int last = d->words.count - 1 - ptx_words_have(&d->words, "satfinite");
    const bool halves = ptx_words_are(&d->words, last - 2, s->name);
    const Type *const tc = type_at(d, last), *const td = type_at(d, halves ? last - 1 : last);
    const Type *const ta = halves ? types : type_at(d, last - 1);
    const Fragment f[4] = {fragment(s, td, 'd'), fragment(s, ta, 'a'), fragment(s, ta, 'b'),
                           fragment(s, tc, 'c')};
    const Type *const type[4] = {td, ta, ta, tc};
    DecMma m = {0};
    if (d->in->operand_count != 4) {
        dec_fail(d, ST_SYNTAX, "D, A, B, C are expected");
        return;
    }
    memset(&m, 0xff, sizeof m); /* -1: no register */
    for (int i = 0; i < 4; i++) {
        const int into = s->transposed && (i == 1 || i == 2) ? 3 - i : i;
        if (!registers(d, i, f[i].regs, class_of(type[i]), i == 0, m.reg[into])) return;
    }
    const bool wide = tc->log != 1 || td->log != 1; /* mixed accumulators are added in f32 */
    const bool k8 = halves && d->module->arch->cc < 80;
    int narrow[4];
    memcpy(narrow, m.reg[0], sizeof narrow);
    if (tc->log == 1 && wide) widen(d, m.reg[3], f[3].used);
    for (int i = 0; td->log == 1 && wide && i < 8; i++) m.reg[0][i] = dec_vreg(d, PTX_B32);
    char text[96];
    const PtxForm *const form = d->form;
    const PtxWords words = d->words;
    equivalent(d, wide, k8, text, sizeof text);
    if (ptx_words(text, &d->words)) d->form = ptx_form_find(&d->words);
    const int c = wide && class_of(td) == PTX_B32 ? 4 : td->c_regs;
    const int regs[4] = {c, ta->a_regs, ta->b_regs, c};
    blocks(d, s, &m, regs, k8);
    d->form = form;
    d->words = words;
    for (int i = 0; td->log == 1 && wide && i < 4; i++) {
        Ir *const ir = step(d, LANE_f16x2_f32, narrow[i], m.reg[0][2 * i + 1]);
        dec_use(ir, 2, m.reg[0][2 * i]); /* the first source is the high half */
    }
}

void dec_wmma(Decode *d) {
    const char *const name = d->form->shape;
    if (strcmp(name, "=wmma_mma") == 0)
        multiply(d);
    else
        access(d, strcmp(name, "=wmma_store") == 0);
}
