/* Decoding of moves, comparisons, barriers and address conversion. */
#include "softgpu/exec/decode.h"

#include <string.h>

#define NO_ROW UINT32_MAX

static Ir *emit1(Decode *d, int lane_extra, SgPipe pipe, int dest, int source) {
    Ir *const ir = dec_emit(d, dec_lane(d, lane_extra), pipe);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    return ir;
}

/* mov.v4.u16 {a, b, c, d}, {e, f, g, h} and mov.b128 (a pair of 64-bit registers): all sources are
 * read before the first is written. */
static void mov_elements(Decode *d, const PtxOperand *dst, const PtxOperand *src) {
    int value[PTX_MAX_ITEMS];
    const int n = dst->item_count;
    const PtxClass class = ptx_words_are(&d->words, 1, "b128")  ? PTX_B64
                           : ptx_words_are(&d->words, 2, "b64") ? PTX_B64
                           : ptx_words_are(&d->words, 2, "u64") ||
                                   ptx_words_are(&d->words, 2, "s64") ||
                                   ptx_words_are(&d->words, 2, "f64")
                               ? PTX_B64
                               : PTX_B32;
    const bool two = ptx_words_are(&d->words, 1, "v2"), four = ptx_words_are(&d->words, 1, "v4");
    const bool b128 = ptx_words_are(&d->words, 1, "b128") && d->words.count == 2;
    if (n != src->item_count ||
        (!b128 && (d->words.count != 3 || n != (two    ? 2
                                                : four ? 4
                                                       : -1))) ||
        (b128 && n != 2)) {
        dec_fail(d, ST_SYNTAX, "mov from %d to %d elements", src->item_count, n);
        return;
    }
    const int extra = class == PTX_B64 ? LANE_mov_b64 : -1;
    const Handler fn = extra < 0 ? dec_form_handler(d) : dec_lane(d, extra);
    for (int i = 0; i < 2 * n && d->status == ST_OK; i++) {
        const int source = i < n ? dec_source(d, &src->items[i], class, false) : value[i - n];
        const int dest = i < n ? dec_vreg(d, class) : dec_dest(d, &dst->items[i - n], class);
        if (i < n) value[i] = dest;
        Ir *const ir = dec_emit(d, fn, PIPE_MOVE);
        dec_def(ir, 0, dest);
        dec_use(ir, 1, source);
    }
}

/* mov {a, b}, c and mov c, {a, b}: 2 x b32 or 4 x b16 in b64, 2 x b16 or 4 x b8 in b32, 2 x b8 in
 * b16. */
static void mov_vector(Decode *d, const PtxOperand *dst, const PtxOperand *src) {
    static const struct {
        const char *type;
        int items, pack, unpack;
    } rows[] = {{"b64", 2, LANE_pack64, LANE_unpack64},
                {"b64", 4, LANE_pack64h, LANE_unpack64h},
                {"b32", 2, LANE_pack32, LANE_unpack32},
                {"b32", 4, LANE_pack32b, LANE_unpack32b},
                {"b16", 2, LANE_pack16b, LANE_unpack16b}};
    const bool unpack = dst->kind == PTX_VECTOR;
    const PtxOperand *const v = unpack ? dst : src, *const s = unpack ? src : dst;
    size_t i = 0;
    while (i < sizeof rows / sizeof *rows &&
           !(ptx_words_are(&d->words, 1, rows[i].type) && v->item_count == rows[i].items))
        i++;
    if (i == sizeof rows / sizeof *rows) {
        dec_fail(d, ST_UNSUPPORTED, "mov of this vector is not emulated");
        return;
    }
    const PtxClass class = i < 2 ? PTX_B64 : PTX_B32;
    Ir tmp = {0};
    if (unpack) dec_use(&tmp, v->item_count, dec_source(d, s, class, false));
    if (!unpack) dec_def(&tmp, 0, dec_dest(d, s, class));
    for (int k = 0; k < v->item_count; k++)
        if (unpack)
            dec_def(&tmp, k, dec_dest(d, &v->items[k], PTX_B32));
        else
            dec_use(&tmp, k + 1, dec_source(d, &v->items[k], PTX_B32, false));
    Ir *const ir = dec_emit(d, dec_lane(d, unpack ? rows[i].unpack : rows[i].pack), PIPE_MOVE);
    memcpy(ir->o, tmp.o, sizeof ir->o);
    ir->defs = tmp.defs;
    ir->uses = tmp.uses;
}

static void mov(Decode *d) {
    const PtxOperand *const dst = dec_operand(d, 0), *const src = dec_operand(d, 1);
    if (dst->kind == PTX_VECTOR && src->kind == PTX_VECTOR) {
        mov_elements(d, dst, src);
        return;
    }
    if (dst->kind == PTX_VECTOR || src->kind == PTX_VECTOR) {
        mov_vector(d, dst, src);
        return;
    }
    if (dst->kind != PTX_REG || d->words.count != 2) {
        dec_fail(d, ST_SYNTAX, "the destination is not a register");
        return;
    }
    const PtxClass class = dec_class(d, dst);
    uint32_t negate = 0;
    const int source =
        class == PTX_PRED ? dec_pred(d, src, &negate) : dec_source(d, src, class, false);
    const int dest = dec_dest(d, dst, class);
    const int extra = class == PTX_PRED ? LANE_mov_pred : class == PTX_B64 ? LANE_mov_b64 : -1;
    Ir *const ir = extra < 0 ? dec_emit(d, dec_form_handler(d), PIPE_MOVE)
                             : dec_emit(d, dec_lane(d, extra), PIPE_MOVE);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    ir->o[5] = negate;
}

typedef struct CompareOp { /* eq and lt (le for floats) make all others */
    const char *name;
    char base; /* 'e' eq, 'l' lt, 'm' le, 'n' num */
    bool swap, negate;
    bool floats, integers;
} CompareOp;

/* Unordered comparisons are the negations of the ordered opposite: a NaN makes them true. */
static const CompareOp compare_ops[] = {
    {"eq", 'e', false, false, true, true},   {"ne", 'e', false, true, false, true},
    {"lt", 'l', false, false, true, true},   {"gt", 'l', true, false, true, true},
    {"le", 'l', true, true, false, true},    {"ge", 'l', false, true, false, true},
    {"lo", 'l', false, false, false, true},  {"hi", 'l', true, false, false, true},
    {"ls", 'l', true, true, false, true},    {"hs", 'l', false, true, false, true},
    {"le", 'm', false, false, true, false},  {"ge", 'm', true, false, true, false},
    {"equ", 'u', false, true, true, false},  {"neu", 'e', false, true, true, false},
    {"ltu", 'm', true, true, true, false},   {"gtu", 'm', false, true, true, false},
    {"leu", 'l', true, true, true, false},   {"geu", 'l', false, true, true, false},
    {"num", 'n', false, false, true, false}, {"nan", 'n', false, true, true, false},
    {"ne", 'o', false, false, true, false},
};

typedef struct CompareType {
    const char *name;
    PtxClass class;
    bool is_float;
    int eq, lt, le, num;
} CompareType;

static const CompareType compare_types[] = {
    {"u32", PTX_B32, false, LANE_eq_u32, LANE_lt_u32, -1, -1},
    {"s32", PTX_B32, false, LANE_eq_u32, LANE_lt_s32, -1, -1},
    {"b32", PTX_B32, false, LANE_eq_u32, -1, -1, -1},
    {"u64", PTX_B64, false, LANE_eq_u64, LANE_lt_u64, -1, -1},
    {"s64", PTX_B64, false, LANE_eq_u64, LANE_lt_s64, -1, -1},
    {"b64", PTX_B64, false, LANE_eq_u64, -1, -1, -1},
    {"u16", PTX_B32, false, LANE_eq_u16, LANE_lt_u16, -1, -1},
    {"s16", PTX_B32, false, LANE_eq_u16, LANE_lt_s16, -1, -1},
    {"b16", PTX_B32, false, LANE_eq_u16, -1, -1, -1},
    {"f32", PTX_B32, true, LANE_eq_f32, LANE_lt_f32, LANE_le_f32, LANE_num_f32},
    {"f64", PTX_B64, true, LANE_eq_f64, LANE_lt_f64, LANE_le_f64, LANE_num_f64},
    {"f16", PTX_B32, true, LANE_eq_f32, LANE_lt_f32, LANE_le_f32, LANE_num_f32},
    {"bf16", PTX_B32, true, LANE_eq_f32, LANE_lt_f32, LANE_le_f32, LANE_num_f32},
};

static int half_to_float(Decode *d, int v, const char *type) {
    if (strcmp(type, "f16") != 0 && strcmp(type, "bf16") != 0) return v;
    if (ptx_words_have(&d->words, "ftz") && type[0] == 'f') {
        const int flushed = dec_vreg(d, PTX_B32);
        emit1(d, LANE_ftz_f16, PIPE_MOVE, flushed, v);
        v = flushed;
    }
    const int wide = dec_vreg(d, PTX_B32);
    emit1(d, type[0] == 'b' ? LANE_f32_bf16 : LANE_f32_f16, PIPE_MOVE, wide, v);
    return wide;
}

static int compare_base(Decode *d, const CompareType *t, char base, bool ftz, int a, int b,
                        uint32_t negate) {
    int extra = base == 'e' ? t->eq : base == 'l' ? t->lt : base == 'm' ? t->le : t->num;
    if (extra < 0) {
        dec_fail(d, ST_UNSUPPORTED, "this comparison of %s is not emulated", t->name);
        return 0;
    }
    if (ftz && t->is_float && t->class == PTX_B32) extra += LANE_eq_ftz_f32 - LANE_eq_f32;
    const int p = dec_vreg(d, PTX_PRED);
    Ir *const ir = dec_emit(d, dec_lane(d, extra), PIPE_ALU);
    dec_def(ir, 0, p);
    dec_use(ir, 1, a);
    dec_use(ir, 2, b);
    ir->o[3] = negate;
    return p;
}

static int pred_op(Decode *d, int extra, int a, int b, uint32_t negate_b, int into) {
    const int p = into >= 0 ? into : dec_vreg(d, PTX_PRED);
    Ir *const ir = dec_emit(d, dec_lane(d, extra), PIPE_MOVE);
    dec_def(ir, 0, p);
    dec_use(ir, 1, a);
    if (b >= 0) dec_use(ir, 2, b);
    ir->o[6] = negate_b;
    return p;
}

static int compare_values(Decode *d, const CompareType *t, int a, int b);

static const CompareType *compare_type(const char *word, size_t length) {
    for (size_t i = 0; i < sizeof compare_types / sizeof *compare_types; i++)
        if (strlen(compare_types[i].name) == length &&
            memcmp(compare_types[i].name, word, length) == 0)
            return &compare_types[i];
    return NULL;
}

/* The comparison of operands `first`, `first` + 1 named by word 1, as a fresh predicate. */
static int compare(Decode *d, int first, const char *type_word, size_t type_length) {
    const CompareType *const t = compare_type(type_word, type_length);
    if (!t) {
        dec_fail(d, ST_UNSUPPORTED, "this comparison is not emulated");
        return 0;
    }
    const int a = dec_source(d, dec_operand(d, first), t->class, t->is_float);
    const int b = dec_source(d, dec_operand(d, first + 1), t->class, t->is_float);
    return compare_values(d, t, a, b);
}

static int compare_values(Decode *d, const CompareType *t, int a, int b) {
    const CompareOp *op = NULL;
    for (size_t i = 0; i < sizeof compare_ops / sizeof *compare_ops; i++)
        if (ptx_words_are(&d->words, 1, compare_ops[i].name) &&
            (t->is_float ? compare_ops[i].floats : compare_ops[i].integers))
            op = &compare_ops[i];
    if (!op) {
        dec_fail(d, ST_UNSUPPORTED, "this comparison is not emulated");
        return 0;
    }
    a = half_to_float(d, a, t->name);
    b = half_to_float(d, b, t->name);
    const bool ftz = ptx_words_have(&d->words, "ftz");
    if (op->base == 'u' || op->base == 'o') { /* equ = eq or nan; ne = !(eq or nan) */
        const int eq = compare_base(d, t, 'e', ftz, a, b, 0);
        const int nan = compare_base(d, t, 'n', ftz, a, b, UINT32_MAX);
        const int either = pred_op(d, LANE_or_pred, eq, nan, 0, -1);
        return op->base == 'u' ? either : pred_op(d, LANE_not_pred, either, -1, 0, -1);
    }
    return compare_base(d, t, op->base, ftz, op->swap ? b : a, op->swap ? a : b,
                        op->negate ? UINT32_MAX : 0);
}

static int bool_op(const Decode *d) {
    return ptx_words_are(&d->words, 2, "and")   ? LANE_and_pred
           : ptx_words_are(&d->words, 2, "or")  ? LANE_or_pred
           : ptx_words_are(&d->words, 2, "xor") ? LANE_xor_pred
                                                : -1;
}

static int unpack_half(Decode *d, int v, int half) {
    const int out[2] = {dec_vreg(d, PTX_B32), dec_vreg(d, PTX_B32)};
    Ir *const ir = dec_emit(d, dec_lane(d, LANE_unpack32), PIPE_MOVE);
    dec_def(ir, 0, out[0]);
    dec_def(ir, 1, out[1]);
    dec_use(ir, 2, v);
    return out[half];
}

/* set and setp of f16x2 and bf16x2: one comparison per half; p[0] of the low, p[1] of the high. */
static void compare_pair(Decode *d, int op, int p[2]) {
    const bool bf = ptx_words_are(&d->words, d->words.count - 1, "bf16x2");
    const CompareType *const t = bf ? compare_type("bf16", 4) : compare_type("f16", 3);
    const int a = dec_source(d, dec_operand(d, 1), PTX_B32, true);
    const int b = dec_source(d, dec_operand(d, 2), PTX_B32, true);
    uint32_t negate = 0;
    const int c = op >= 0 ? dec_pred(d, dec_operand(d, 3), &negate) : -1;
    for (int half = 0; half < 2 && d->status == ST_OK; half++) {
        p[half] = compare_values(d, t, unpack_half(d, a, half), unpack_half(d, b, half));
        if (op >= 0) p[half] = pred_op(d, op, p[half], c, negate, -1);
    }
}
static bool is_pair(const Decode *d) {
    const int last = d->words.count - 1;
    return ptx_words_are(&d->words, last, "f16x2") || ptx_words_are(&d->words, last, "bf16x2");
}

/* setp.CMP[.BOOL][.ftz].TYPE p[|q], a, b[, c]: q is the same with the comparison negated. */
static void setp(Decode *d) {
    const int last = d->words.count - 1, op = bool_op(d);
    const PtxOperand *const dst = dec_operand(d, 0);
    if (d->in->operand_count != (op >= 0 ? 4 : 3) || last < 2) {
        dec_fail(d, ST_SYNTAX, "%d operands", d->in->operand_count);
        return;
    }
    if (is_pair(d)) { /* setp.f16x2 p|q: q is that of the high half */
        int p[2] = {0};
        compare_pair(d, op, p);
        pred_op(d, LANE_mov_pred, p[0], -1, 0, dec_dest(d, dst, PTX_PRED));
        if (dst->second >= 0 && d->frame->func->regs[dst->second].class != PTX_PRED)
            dec_fail(d, ST_SYNTAX, "the second destination is not a predicate");
        else if (dst->second >= 0)
            pred_op(d, LANE_mov_pred, p[1], -1, 0, dec_reg(d, dst->second));
        return;
    }
    uint32_t negate = 0;
    const int c = op >= 0 ? dec_pred(d, dec_operand(d, 3), &negate) : -1;
    const int t = compare(d, 1, d->words.text[last], d->words.length[last]);
    const int p = dec_dest(d, dst, PTX_PRED);
    if (op < 0 && dst->second < 0 && d->status == ST_OK) {
        d->ir[d->ir_count - 1].o[0] = (uint32_t)p; /* write the register itself */
        return;
    }
    const int q = dst->second < 0 ? -1 : dec_reg(d, dst->second);
    if (q >= 0 && d->frame->func->regs[dst->second].class != PTX_PRED)
        dec_fail(d, ST_SYNTAX, "the second destination is not a predicate");
    const int not_t = q >= 0 ? pred_op(d, LANE_not_pred, t, -1, 0, -1) : -1;
    const int copy = op >= 0 && q >= 0 ? dec_vreg(d, PTX_PRED) : c; /* c may be p */
    if (copy != c) pred_op(d, LANE_mov_pred, c, -1, 0, copy);
    pred_op(d, op >= 0 ? op : LANE_mov_pred, t, op >= 0 ? c : -1, negate, p);
    if (q >= 0) pred_op(d, op >= 0 ? op : LANE_mov_pred, not_t, op >= 0 ? copy : -1, negate, q);
}

/* What `set` writes for true: all ones in an integer, 1.0 in a float type. */
static uint32_t set_one(const Decode *d, int word) {
    static const struct {
        const char *type;
        uint32_t one;
    } rows[] = {{"u32", 0xffffffff}, {"s32", 0xffffffff},   {"f32", 0x3f800000},
                {"u16", 0xffff},     {"s16", 0xffff},       {"f16", 0x3c00},
                {"bf16", 0x3f80},    {"f16x2", 0x3c003c00}, {"bf16x2", 0x3f803f80}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ptx_words_are(&d->words, word, rows[i].type)) return rows[i].one;
    return 0;
}

static void set_pair(Decode *d, int op, uint32_t one) {
    int p[2] = {0}, half[2];
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B32);
    compare_pair(d, op, p);
    for (int i = 0; i < 2; i++) {
        half[i] = dec_vreg(d, PTX_B32);
        emit1(d, LANE_set_b32, PIPE_ALU, half[i], p[i])->o[2] = one & 0xffff;
    }
    Ir *const ir = emit1(d, LANE_pack32, PIPE_MOVE, dest, half[0]);
    dec_use(ir, 2, half[1]);
}

/* set.CMP[.BOOL][.ftz].DTYPE.STYPE d, a, b[, c] */
static void set(Decode *d) {
    const int last = d->words.count - 1, op = bool_op(d);
    if (d->in->operand_count != (op >= 0 ? 4 : 3) || last < 3) {
        dec_fail(d, ST_SYNTAX, "%d operands", d->in->operand_count);
        return;
    }
    const uint32_t one = set_one(d, last - 1);
    if (is_pair(d) && (one == 0xffffffff || one >> 16 == (one & 0xffff))) {
        set_pair(d, op, one);
        return;
    }
    if (!one || is_pair(d) || (one > 0xffff && one >> 16 == (one & 0xffff) && one != 0xffffffff)) {
        dec_fail(d, ST_UNSUPPORTED, "set to this type is not emulated");
        return;
    }
    int p = compare(d, 1, d->words.text[last], d->words.length[last]);
    uint32_t negate = 0;
    if (op >= 0) {
        const int c = dec_pred(d, dec_operand(d, 3), &negate);
        p = pred_op(d, op, p, c, negate, -1);
    }
    emit1(d, LANE_set_b32, PIPE_ALU, dec_dest(d, dec_operand(d, 0), PTX_B32), p)->o[2] = one;
}

/* createpolicy: cache policies are accepted and change nothing; every one is 0. */
static void policy(Decode *d) {
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B64);
    emit1(d, LANE_mov_b64, PIPE_ALU, dest, dec_constant(d, PTX_B64, 0));
}

static void barrier(Decode *d, bool red) {
    const int first = red ? 1 : 0; /* red has a destination before and a predicate at the end */
    const int n = d->in->operand_count - first - (red ? 1 : 0);
    const bool arrive = ptx_words_have(&d->words, "arrive");
    if (n < 1 || n > 2 || (arrive && n != 2)) {
        dec_fail(d, ST_SYNTAX, "%d operands", d->in->operand_count);
        return;
    }
    Ir tmp = {0};
    dec_use(&tmp, 0, dec_source(d, dec_operand(d, first), PTX_B32, false));
    tmp.o[1] = NO_ROW;
    if (n == 2) dec_use(&tmp, 1, dec_source(d, dec_operand(d, first + 1), PTX_B32, false));
    if (red) {
        const bool popc = ptx_words_have(&d->words, "popc");
        dec_def(&tmp, 3, dec_dest(d, dec_operand(d, 0), popc ? PTX_B32 : PTX_PRED));
        dec_use(&tmp, 4, dec_pred(d, dec_operand(d, d->in->operand_count - 1), &tmp.o[5]));
        tmp.o[6] = popc ? 2 : ptx_words_have(&d->words, "or") ? 1 : 0;
    } else {
        tmp.o[2] = arrive;
        tmp.o[3] = ptx_words_are(&d->words, 0, "barrier") && !ptx_words_have(&d->words, "aligned");
    }
    Ir *const ir = dec_emit(d, dec_form_handler(d), PIPE_BARRIER);
    memcpy(ir->o, tmp.o, sizeof ir->o);
    ir->defs = tmp.defs;
    ir->uses = tmp.uses;
}

static void elect(Decode *d) {
    const PtxOperand *const dst = dec_operand(d, 0);
    Ir tmp = {0};
    tmp.o[0] = NO_ROW;
    if (dst->kind == PTX_REG) dec_def(&tmp, 0, dec_dest(d, dst, PTX_B32));
    if (dst->second < 0 || d->frame->func->regs[dst->second].class != PTX_PRED) {
        dec_fail(d, ST_SYNTAX, "a predicate destination is expected");
        return;
    }
    dec_def(&tmp, 1, dec_reg(d, dst->second));
    dec_use(&tmp, 2, dec_source(d, dec_operand(d, 1), PTX_B32, false));
    Ir *const ir = dec_emit(d, dec_form_handler(d), PIPE_ALU);
    memcpy(ir->o, tmp.o, sizeof ir->o);
    ir->defs = tmp.defs;
    ir->uses = tmp.uses;
}

/* lop3.and/or.b32 d|p, a, b, c, lut, q: p is (d != 0) and/or q. */
static void lop3(Decode *d) {
    const PtxOperand *const dst = dec_operand(d, 0), *const lut = dec_operand(d, 4);
    if (d->in->operand_count != 6 || lut->kind != PTX_INT || dst->second < 0 ||
        d->frame->func->regs[dst->second].class != PTX_PRED) {
        dec_fail(d, ST_SYNTAX, "d|p, three sources, a constant and a predicate are expected");
        return;
    }
    Ir tmp = {0};
    uint32_t negate = 0;
    const int value = dec_dest(d, dst, PTX_B32), test = dec_vreg(d, PTX_PRED);
    for (int i = 1; i <= 3; i++) dec_use(&tmp, i, dec_source(d, dec_operand(d, i), PTX_B32, false));
    const int q = dec_pred(d, dec_operand(d, 5), &negate), zero = dec_constant(d, PTX_B32, 0);
    Ir *ir = dec_emit(d, dec_form_handler(d), PIPE_ALU);
    memcpy(ir->o, tmp.o, sizeof ir->o);
    ir->uses = tmp.uses;
    ir->o[4] = (uint32_t)lut->imm;
    dec_def(ir, 0, value);
    ir = dec_emit(d, dec_lane(d, LANE_eq_u32), PIPE_MOVE); /* a part of the instruction */
    dec_def(ir, 0, test);
    dec_use(ir, 1, value);
    dec_use(ir, 2, zero);
    ir->o[3] = UINT32_MAX;
    const bool both = ptx_words_are(&d->words, 1, "and");
    pred_op(d, both ? LANE_and_pred : LANE_or_pred, test, q, negate, dec_reg(d, dst->second));
}

static uint64_t window_of(const PtxWords *words) {
    if (ptx_words_have(words, "shared") || ptx_words_have(words, "shared::cta"))
        return WINDOW_SHARED;
    if (ptx_words_have(words, "local")) return WINDOW_LOCAL;
    if (ptx_words_have(words, "param") || ptx_words_have(words, "param::entry"))
        return WINDOW_PARAM;
    return 0;
}

/* cvta adds the window of its space, cvta.to takes it away; global addresses are generic. */
static void cvta(Decode *d) {
    uint64_t window = window_of(&d->words);
    if (ptx_words_have(&d->words, "to")) window = 0 - window;
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B64);
    const int source = dec_source(d, dec_operand(d, 1), PTX_B64, false);
    if (!window) {
        emit1(d, LANE_mov_b64, PIPE_MOVE, dest, source);
        return;
    }
    const int offset = dec_constant(d, PTX_B64, window);
    Ir *const ir = dec_emit(d, dec_lane(d, LANE_add_window), PIPE_MOVE);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    dec_use(ir, 2, offset);
}

static void isspacep(Decode *d) {
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_PRED);
    const int source = dec_source(d, dec_operand(d, 1), PTX_B64, false);
    Ir *const ir = dec_emit(d, dec_form_handler(d), PIPE_ALU);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    ir->o[2] = (uint32_t)(window_of(&d->words) >> WINDOW_SHIFT);
}

static void control_family(Decode *d, const char *name) {
    static const struct {
        const char *name;
        void (*fn)(Decode *);
    } rows[] = {{"mov", mov},     {"setp", setp}, {"set", set},           {"cvt", dec_convert},

                {"elect", elect}, {"cvta", cvta}, {"isspacep", isspacep}, {"policy", policy},
                {"lop3", lop3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0) {
            rows[i].fn(d);
            return;
        }
    if (dec_branch_family(d, name) || dec_float_family(d, name)) return;
    if (strcmp(name, "barrier") == 0)
        barrier(d, false);
    else if (strcmp(name, "barrier_red") == 0)
        barrier(d, true);
    else
        dec_memory_family(d, name);
}

void dec_family(Decode *d) {
    control_family(d, d->form->shape + 1);
}
