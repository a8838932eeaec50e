/* Decoding of cvt: one or more steps through s64, f32 or f64 temporaries.
 *
 * PTX ISA 9.7.9.21: cvt[.rounding][.ftz][.sat][.relu].DTYPE.STYPE. */
#include "softgpu/exec/decode.h"

#include <string.h>

typedef enum CvtType {
    CV_U8,
    CV_S8,
    CV_U16,
    CV_S16,
    CV_U32,
    CV_S32,
    CV_U64,
    CV_S64, /* order of saturate() */
    CV_F16,
    CV_BF16,
    CV_F32,
    CV_F64,
    CV_F16X2,
    CV_BF16X2,
    CV_TF32,
    CV_COUNT
} CvtType;

static const char *const type_names[] = {"u8",  "s8",  "u16",   "s16",    "u32",
                                         "s32", "u64", "s64",   "f16",    "bf16",
                                         "f32", "f64", "f16x2", "bf16x2", "tf32"};

static CvtType type_of(const PtxWords *w, int i) {
    for (int t = 0; t < CV_COUNT; t++)
        if (ptx_words_are(w, i, type_names[t])) return (CvtType)t;
    return CV_COUNT;
}

static bool is_int(CvtType t) {
    return t <= CV_S64;
}
static bool is_signed(CvtType t) {
    return is_int(t) && (t & 1);
}

typedef struct Cvt {
    CvtType dst, src;
    int rounding; /* 0 rn, 1 rz, 2 rm, 3 rp; also of the integer forms rni... */
    bool integral, ftz, sat, relu, satfinite, rounded;
} Cvt;

static Ir *step(Decode *d, int extra, int dest, int source) {
    Ir *const ir = dec_emit(d, dec_lane(d, extra), dec_pipe(d));
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    return ir;
}

static PtxClass register_class(Decode *d, const PtxOperand *o, PtxClass fallback) {
    const PtxClass c = dec_class(d, o);
    return c == PTX_B32 || c == PTX_B64 ? c : fallback;
}

static PtxClass natural(CvtType t) {
    return t == CV_U64 || t == CV_S64 || t == CV_F64 ? PTX_B64 : PTX_B32;
}

/* Integer to integer; the destination register may be wider than the type. */
static void int_to_int(Decode *d, const Cvt *c, int dest, PtxClass dest_class, int source,
                       PtxClass source_class) {
    CvtType dst = c->dst, src = c->src;
    const int base = LANE_cvt_u8_u8;
    if (source_class == PTX_B64 && natural(src) == PTX_B32) { /* read the low bits first */
        const int low = dec_vreg(d, PTX_B32);
        step(d, base + 8 * CV_U32 + CV_U64, low, source)->pipe = PIPE_MOVE;
        source = low;
    }
    if (c->sat) {
        const int wide = dec_vreg(d, PTX_B64);
        step(d, base + 8 * CV_S64 + (int)src, wide, source)->pipe = PIPE_MOVE;
        Ir *const ir = step(d, LANE_cvt_sat_int, dest, wide);
        ir->o[2] = (uint32_t)dst;
        ir->o[3] = dest_class == PTX_B64;
        ir->o[4] = src == CV_U64;
        return;
    }
    if (dest_class == PTX_B64 && natural(dst) == PTX_B32) {
        const int narrow = dec_vreg(d, PTX_B32);
        step(d, base + 8 * (int)dst + (int)src, narrow, source);
        step(d, base + 8 * CV_S64 + (is_signed(dst) ? CV_S32 : CV_U32), dest, narrow);
        return;
    }
    /* Same width, or widening without sign: an alias or free; the rest is an ALU operation. */
    Ir *const ir = step(d, base + 8 * (int)dst + (int)src, dest, source);
    const bool to64 = natural(dst) == PTX_B64 && natural(src) == PTX_B32;
    const bool to32 = natural(dst) == PTX_B32 && natural(src) == PTX_B64;
    const bool free = ((int)dst | 1) == ((int)src | 1) || (to64 && src == CV_U32) ||
                      (to32 && (dst == CV_U32 || dst == CV_S32));
    ir->pipe = free ? PIPE_MOVE : PIPE_ALU;
}

static void to_half_directed(Decode *d, const Cvt *c, int dest, int f64);

/* f64 holds 32 bits exactly; of 64 what decides the rounding to a half. */
static void int_to_half(Decode *d, const Cvt *c, int dest, CvtType src, int source) {
    const int f64 = dec_vreg(d, PTX_B64);
    const bool wide = natural(src) == PTX_B64;
    Ir *const ir = step(d,
                        wide            ? LANE_f64_odd
                        : src == CV_S32 ? LANE_f64_s32
                                        : LANE_f64_u32,
                        f64, source);
    ir->pipe = PIPE_MOVE;
    ir->o[2] = src == CV_U64;
    if (c->rounding)
        to_half_directed(d, c, dest, f64);
    else
        step(d, c->dst == CV_F16 ? LANE_f16_f64 : LANE_bf16_f64, dest, f64);
}

static void int_to_float(Decode *d, const Cvt *c, int dest, int source) {
    CvtType src = c->src;
    if (src < CV_U32) { /* extend to 32 bits */
        const int wide = dec_vreg(d, PTX_B32);
        const CvtType to = is_signed(src) ? CV_S32 : CV_U32;
        step(d, LANE_cvt_u8_u8 + 8 * (int)to + (int)src, wide, source)->pipe = PIPE_MOVE;
        source = wide;
        src = to;
    }
    if (c->dst == CV_F16 || c->dst == CV_BF16) {
        int_to_half(d, c, dest, src, source);
        return;
    }
    const bool wide = c->dst == CV_F64;
    if (c->rounding) {
        int s64 = source;
        if (natural(src) == PTX_B32) {
            s64 = dec_vreg(d, PTX_B64);
            step(d, LANE_cvt_u8_u8 + 8 * CV_S64 + (int)src, s64, source)->pipe = PIPE_MOVE;
        }
        Ir *const ir = step(d, LANE_directed_cvt, dest, s64);
        ir->o[2] = (uint32_t)c->rounding;
        ir->o[3] = (wide ? 2u : 0u) + (src == CV_U64 ? 1u : 0u);
        return;
    }
    static const int to32[] = {LANE_f32_u32, LANE_f32_s32, LANE_f32_u64, LANE_f32_s64};
    static const int to64[] = {LANE_f64_u32, LANE_f64_s32, LANE_f64_u64, LANE_f64_s64};
    step(d, (wide ? to64 : to32)[src - CV_U32], dest, source);
}

/* f16 and bf16 sources become f32. */
static int widen(Decode *d, CvtType *src, int source) {
    if (*src != CV_F16 && *src != CV_BF16) return source;
    const int wide = dec_vreg(d, PTX_B32);
    step(d, *src == CV_F16 ? LANE_f32_f16 : LANE_f32_bf16, wide, source)->pipe = PIPE_MOVE;
    *src = CV_F32;
    return wide;
}

static int flush(Decode *d, const Cvt *c, CvtType src, int source) {
    if (!c->ftz || src != CV_F32) return source;
    const int flushed = dec_vreg(d, PTX_B32);
    step(d, LANE_ftz_f32, flushed, source)->pipe = PIPE_MOVE;
    return flushed;
}

static void float_to_int(Decode *d, const Cvt *c, int dest, PtxClass dest_class, int source) {
    CvtType src = c->src;
    source = flush(d, c, src, widen(d, &src, source));
    const bool narrow = dest_class == PTX_B64 && natural(c->dst) == PTX_B32;
    const int into = narrow ? dec_vreg(d, PTX_B32) : dest;
    Ir *const ir = step(d, src == CV_F64 ? LANE_int_f64 : LANE_int_f32, into, source);
    ir->o[2] = (uint32_t)c->rounding;
    ir->o[3] = (uint32_t)c->dst;
    if (narrow)
        step(d, LANE_cvt_u8_u8 + 8 * CV_S64 + (is_signed(c->dst) ? CV_S32 : CV_U32), dest, into);
}

static void after(Decode *d, const Cvt *c, int dest) {
    const bool pair = c->dst == CV_F16X2 || c->dst == CV_BF16X2;
    const uint32_t inf = c->dst == CV_BF16 || c->dst == CV_BF16X2 ? 0x7f80 : 0x7c00;
    if (c->sat && c->dst == CV_F32) step(d, LANE_sat_f32, dest, dest)->pipe = PIPE_MOVE;
    if (c->sat && c->dst == CV_F64) step(d, LANE_sat_f64, dest, dest)->pipe = PIPE_MOVE;
    if (c->sat && c->dst == CV_F16) step(d, LANE_sat_f16, dest, dest)->pipe = PIPE_MOVE;
    if (c->satfinite) {
        Ir *const ir = step(d,
                            c->dst == CV_TF32 ? LANE_satfinite_tf32
                            : pair            ? LANE_satfinite_hx2
                                              : LANE_satfinite_h,
                            dest, dest);
        ir->pipe = PIPE_MOVE;
        ir->o[2] = inf;
    }
    if (!c->relu) return;
    Ir *const ir = c->dst == CV_TF32 ? step(d, LANE_relu_f32, dest, dest)
                                     : step(d, pair ? LANE_relu_f16x2 : LANE_relu_f16, dest, dest);
    ir->pipe = PIPE_MOVE;
    ir->o[2] = inf;
}

/* To a half in a directed mode, through f64. */
static void to_half_directed(Decode *d, const Cvt *c, int dest, int f64) {
    Ir *const ir = step(d, LANE_half_directed, dest, f64);
    ir->o[2] = (uint32_t)c->rounding;
    ir->o[3] = c->dst == CV_BF16;
}

static void float_to_float(Decode *d, const Cvt *c, int dest, int source) {
    CvtType src = c->src;
    int v = widen(d, &src, source);
    v = flush(d, c, src, v);
    if (c->integral) { /* cvt.rni.f32.f32 and so on: to an integral value */
        const int into = c->dst == src ? dest : dec_vreg(d, natural(src));
        Ir *const ir = step(d, src == CV_F64 ? LANE_round_f64 : LANE_round_f32, into, v);
        ir->o[2] = (uint32_t)c->rounding;
        v = into;
        if (c->dst == src) return;
    }
    if ((c->dst == CV_F16 || c->dst == CV_BF16) &&
        (c->rounding > 1 || (c->rounding && src == CV_F64))) {
        const int f64 = src == CV_F64 ? v : dec_vreg(d, PTX_B64);
        if (src == CV_F32) step(d, LANE_f64_f32, f64, v)->pipe = PIPE_MOVE;
        to_half_directed(d, c, dest, f64);
        return;
    }
    int extra = -1;
    if (src == CV_F32)
        extra = c->dst == CV_F64    ? LANE_f64_f32
                : c->dst == CV_F16  ? (c->rounding ? LANE_f16_rz_f32 : LANE_f16_f32)
                : c->dst == CV_BF16 ? (c->rounding ? LANE_bf16_rz_f32 : LANE_bf16_f32)
                : c->dst == CV_TF32 ? (c->rounding ? LANE_tf32_rz : LANE_tf32_rn)
                : c->dst == CV_F32  ? -2
                                    : -1;
    else if (c->dst == CV_F32 && c->rounding)
        extra = LANE_directed_cvt;
    else
        extra = c->dst == CV_F32    ? LANE_f32_f64
                : c->dst == CV_F16  ? LANE_f16_f64
                : c->dst == CV_BF16 ? LANE_bf16_f64
                : c->dst == CV_F64  ? LANE_mov_b64
                                    : -1;
    if (extra == -1 || c->rounding > 1) {
        if (extra != LANE_directed_cvt) {
            dec_fail(d, ST_UNSUPPORTED, "this conversion is not emulated");
            return;
        }
    }
    if (ptx_words_have(&d->words, "rna")) extra = LANE_tf32_rna;
    Ir *const ir = extra == -2 ? dec_emit(d, dec_form_handler(d), PIPE_MOVE)
                               : dec_emit(d, dec_lane(d, extra), dec_pipe(d));
    dec_def(ir, 0, dest);
    dec_use(ir, 1, v);
    ir->o[2] = (uint32_t)c->rounding;
    ir->o[3] = 4;
}

/* cvt.rn.f16x2.f32 d, a, b: a is the high half. */
static void pair_convert(Decode *d, const Cvt *c) {
    const bool rz = c->rounding == 1, bf = c->dst == CV_BF16X2;
    if (c->src != CV_F32 || c->rounding > 1 || d->in->operand_count != 3 || c->sat || c->ftz) {
        dec_fail(d, ST_UNSUPPORTED, "this conversion is not emulated");
        return;
    }
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B32);
    const int a = dec_source(d, dec_operand(d, 1), PTX_B32, true);
    const int b = dec_source(d, dec_operand(d, 2), PTX_B32, true);
    Ir *const ir = step(d,
                        bf ? (rz ? LANE_bf16x2_rz_f32 : LANE_bf16x2_f32)
                           : (rz ? LANE_f16x2_rz_f32 : LANE_f16x2_f32),
                        dest, a);
    dec_use(ir, 2, b);
    after(d, c, dest);
}

/* Pairs of fp8, fp6, fp4 and ue8m0, both ways. False: none of these. */
static bool packed_convert(Decode *d) {
    enum { NEVER, ALWAYS, MAY };
    static const struct {
        const char *dst, *src;
        int extra, sources, satfinite;
        bool scale; /* ue8m0: rounded towards zero or up, no .relu */
    } rows[] = {{"e4m3x2", "f32", LANE_e4m3x2_f32, 2, ALWAYS, false},
                {"e5m2x2", "f32", LANE_e5m2x2_f32, 2, ALWAYS, false},
                {"e2m3x2", "f32", LANE_e2m3x2_f32, 2, ALWAYS, false},
                {"e3m2x2", "f32", LANE_e3m2x2_f32, 2, ALWAYS, false},
                {"e2m1x2", "f32", LANE_e2m1x2_f32, 2, ALWAYS, false},
                {"e4m3x2", "f16x2", LANE_e4m3x2_f16x2, 1, ALWAYS, false},
                {"e5m2x2", "f16x2", LANE_e5m2x2_f16x2, 1, ALWAYS, false},
                {"f16x2", "e4m3x2", LANE_f16x2_e4m3x2, 1, NEVER, false},
                {"f16x2", "e5m2x2", LANE_f16x2_e5m2x2, 1, NEVER, false},
                {"f16x2", "e2m3x2", LANE_f16x2_e2m3x2, 1, NEVER, false},
                {"f16x2", "e3m2x2", LANE_f16x2_e3m2x2, 1, NEVER, false},
                {"f16x2", "e2m1x2", LANE_f16x2_e2m1x2, 1, NEVER, false},
                {"ue8m0x2", "f32", LANE_ue8m0x2_f32, 2, MAY, true},
                {"ue8m0x2", "bf16x2", LANE_ue8m0x2_bf16x2, 1, MAY, true},
                {"bf16x2", "ue8m0x2", LANE_bf16x2_ue8m0x2, 1, NEVER, false}};
    const int last = d->words.count - 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!ptx_words_are(&d->words, last - 1, rows[i].dst) ||
            !ptx_words_are(&d->words, last, rows[i].src))
            continue;
        const bool relu = ptx_words_have(&d->words, "relu");
        const bool finite = ptx_words_have(&d->words, "satfinite");
        const bool up = ptx_words_are(&d->words, 1, "rp");
        const bool rounds = rows[i].scale ? up || ptx_words_are(&d->words, 1, "rz")
                                          : ptx_words_are(&d->words, 1, "rn");
        if (!rounds || (rows[i].satfinite != MAY && finite != (rows[i].satfinite == ALWAYS)) ||
            (relu && rows[i].scale) || d->words.count != 4 + relu + finite ||
            d->in->operand_count != rows[i].sources + 1) {
            dec_fail(d, ST_SYNTAX, "cvt.%s%s with %d sources is expected",
                     rows[i].scale ? "rz or cvt.rp" : "rn",
                     rows[i].satfinite == ALWAYS ? ".satfinite{.relu}"
                     : rows[i].scale             ? "{.satfinite}"
                                                 : "",
                     rows[i].sources);
            return true;
        }
        const int dest = dec_dest(d, dec_operand(d, 0), PTX_B32);
        const int a = dec_source(d, dec_operand(d, 1), PTX_B32, false);
        const int b = rows[i].sources > 1 ? dec_source(d, dec_operand(d, 2), PTX_B32, false) : a;
        Ir *const ir = step(d, rows[i].extra, dest, a);
        if (rows[i].sources > 1) dec_use(ir, 2, b);
        ir->o[4] = rows[i].scale ? up : relu;
        ir->o[5] = finite;
        return true;
    }
    return false;
}

/* cvt.pack.sat.TYPE.s32[.b32] d, a, b[, c] */
static void pack_convert(Decode *d) {
    static const struct {
        const char *type;
        uint32_t bits, is_signed;
    } rows[] = {{"u16", 16, 0}, {"s16", 16, 1}, {"u8", 8, 0}, {"s8", 8, 1},
                {"u4", 4, 0},   {"s4", 4, 1},   {"u2", 2, 0}, {"s2", 2, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!ptx_words_are(&d->words, 3, rows[i].type)) continue;
        const bool third = rows[i].bits < 16;
        if (d->words.count != 5 + third || !ptx_words_are(&d->words, 4, "s32") ||
            d->in->operand_count != 3 + third)
            break;
        const int dest = dec_dest(d, dec_operand(d, 0), PTX_B32);
        int source[3];
        for (int k = 0; k < 3; k++)
            source[k] = dec_source(d, dec_operand(d, k < 2 || third ? k + 1 : 1), PTX_B32, false);
        Ir *const ir = step(d, LANE_cvt_pack, dest, source[0]);
        dec_use(ir, 2, source[1]);
        dec_use(ir, 3, source[2]);
        ir->o[4] = rows[i].is_signed;
        ir->o[5] = rows[i].bits;
        return;
    }
    dec_fail(d, ST_UNSUPPORTED, "this conversion is not emulated");
}

static bool modifiers(Decode *d, Cvt *c) {
    static const struct {
        const char *word;
        int rounding;
        bool integral;
    } rounds[] = {{"rn", 0, false}, {"rz", 1, false}, {"rm", 2, false},
                  {"rp", 3, false}, {"rni", 0, true}, {"rzi", 1, true},
                  {"rmi", 2, true}, {"rpi", 3, true}, {"rna", 0, false}};
    const int last = d->words.count - 1;
    for (int i = 1; i < last - 1; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof rounds / sizeof *rounds; k++)
            if (ptx_words_are(&d->words, i, rounds[k].word)) {
                c->rounding = rounds[k].rounding;
                c->integral = rounds[k].integral;
                c->rounded = known = true;
            }
        if (ptx_words_are(&d->words, i, "ftz")) c->ftz = known = true;
        if (ptx_words_are(&d->words, i, "sat")) c->sat = known = true;
        if (ptx_words_are(&d->words, i, "relu")) c->relu = known = true;
        if (ptx_words_are(&d->words, i, "satfinite")) c->satfinite = known = true;
        if (!known) return false;
    }
    return last >= 2;
}

void dec_convert(Decode *d) {
    const int last = d->words.count - 1;
    if (ptx_words_are(&d->words, 1, "pack")) {
        pack_convert(d);
        return;
    }
    if (packed_convert(d)) return;
    Cvt c = {.dst = type_of(&d->words, last - 1), .src = type_of(&d->words, last)};
    if (c.dst == CV_COUNT || c.src >= CV_F16X2 || !modifiers(d, &c)) {
        dec_fail(d, ST_UNSUPPORTED, "this conversion is not emulated");
        return;
    }
    const bool narrow = c.dst == CV_F16 || c.dst == CV_BF16 || c.dst == CV_TF32 ||
                        c.dst == CV_F16X2 || c.dst == CV_BF16X2;
    if (c.satfinite && (c.src != CV_F32 || !narrow)) {
        dec_fail(d, ST_SYNTAX, ".satfinite is for f32 to f16, bf16 and tf32");
        return;
    }
    if (c.dst == CV_F16X2 || c.dst == CV_BF16X2) {
        pair_convert(d, &c);
        return;
    }
    if (d->in->operand_count != 2) {
        dec_fail(d, ST_SYNTAX, "%d operands; it takes 2", d->in->operand_count);
        return;
    }
    const PtxOperand *const to = dec_operand(d, 0), *const from = dec_operand(d, 1);
    const PtxClass dest_class =
        is_int(c.dst) ? register_class(d, to, natural(c.dst)) : natural(c.dst);
    const PtxClass source_class =
        is_int(c.src) ? register_class(d, from, natural(c.src)) : natural(c.src);
    if (dest_class < natural(c.dst) || source_class < natural(c.src)) {
        dec_fail(d, ST_SYNTAX, "an operand is narrower than its type");
        return;
    }
    const int source = dec_source(d, from, source_class, !is_int(c.src));
    const int dest = dec_dest(d, to, dest_class);
    if (is_int(c.src) && is_int(c.dst))
        int_to_int(d, &c, dest, dest_class, source, source_class);
    else if (is_int(c.src))
        int_to_float(d, &c, dest, source);
    else if (is_int(c.dst))
        float_to_int(d, &c, dest, dest_class, source);
    else
        float_to_float(d, &c, dest, source);
    if (!is_int(c.dst)) after(d, &c, dest);
}
