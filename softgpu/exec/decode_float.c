/* Decoding of floating-point arithmetic that is more than one record: modifiers of halves and of
 * min and max (.ftz .sat .relu .xorsign.abs), min and max of three operands, sums and products of
 * f32 with halves, directed rounding.
 *
 * A modifier is a step before or after the plain instruction, which costs nothing, as in hardware.
 */
#include "softgpu/exec/decode.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SOURCES = 3 };

/* One source to one destination, at no cost. */
static Ir *step_to(Decode *d, int extra, int dest, int source) {
    Ir *const ir = dec_emit(d, dec_lane(d, extra), PIPE_MOVE);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
    return ir;
}
static int step(Decode *d, int extra, int source) {
    const int dest = dec_vreg(d, PTX_B32);
    (void)step_to(d, extra, dest, source);
    return dest;
}

/* The last record is no operation of its own to the counters. */
static void free_of_charge(Decode *d) {
    if (d->status == ST_OK && d->ir_count > 0) d->ir[d->ir_count - 1].pipe = PIPE_MOVE;
}

/* The instruction of a table's record, on virtual registers. */
static void plain(Decode *d, const PtxWords *words, int dest, const int *source, int n) {
    const PtxForm *const form = d->form;
    d->form = ptx_form_find(words);
    if (!d->form) {
        d->form = form;
        dec_fail(d, ST_UNSUPPORTED, "this instruction is not emulated");
        return;
    }
    Ir *const ir = dec_emit(d, dec_form_handler(d), dec_pipe(d));
    dec_def(ir, 0, dest);
    for (int i = 0; i < n; i++) dec_use(ir, 1 + i, source[i]);
    d->form = form;
}

static int absolute(Decode *d, const char *type, size_t length, int source) {
    char text[16];
    PtxWords words;
    snprintf(text, sizeof text, "abs.%.*s", (int)length, type);
    const int dest = dec_vreg(d, PTX_B32);
    if (ptx_words(text, &words)) plain(d, &words, dest, &source, 1);
    free_of_charge(d); /* a modifier of the operand */
    return dest;
}

typedef struct Modifiers {
    bool ftz, sat, relu, xorsign, abs; /* as steps of their own */
    bool half, pair;
    uint32_t inf; /* of a half */
} Modifiers;

/* Takes the modifiers that are steps out of `words`; .ftz and .NaN of f32 stay. */
static Modifiers take_modifiers(PtxWords *words) {
    const int type = words->count - 1;
    Modifiers m = {.pair =
                       ptx_words_are(words, type, "f16x2") || ptx_words_are(words, type, "bf16x2"),
                   .inf = 0x7c00};
    m.half = !ptx_words_are(words, type, "f32");
    if (ptx_words_are(words, type, "bf16") || ptx_words_are(words, type, "bf16x2")) m.inf = 0x7f80;
    const struct {
        const char *word;
        bool *flag, is_step;
    } rows[] = {{"ftz", &m.ftz, m.half},
                {"sat", &m.sat, true},
                {"relu", &m.relu, true},
                {"xorsign", &m.xorsign, true},
                {"abs", &m.abs, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].is_step && ptx_words_have(words, rows[i].word)) {
            *rows[i].flag = true;
            ptx_words_drop(words, rows[i].word);
        }
    return m;
}

static void after(Decode *d, const Modifiers *m, int dest) {
    if (m->ftz) step_to(d, m->pair ? LANE_ftz_f16x2 : LANE_ftz_f16, dest, dest);
    if (m->sat) step_to(d, m->pair ? LANE_sat_f16x2 : LANE_sat_f16, dest, dest);
    if (m->relu) step_to(d, m->pair ? LANE_relu_f16x2 : LANE_relu_f16, dest, dest)->o[2] = m->inf;
}

/* min and max of three came with PTX 8.8 and sm_100; the opcode does not show it. */
static bool three_operands(Decode *d, const Modifiers *m) {
    if (m->half || m->xorsign) {
        dec_fail(d, ST_SYNTAX, "%d operands; it takes 3", d->in->operand_count);
        return false;
    }
    if (d->module->ptx->version < 88 || d->module->target < 100) {
        dec_fail(d, ST_UNSUPPORTED, "three sources need .version 8.8 and .target sm_100 or later");
        return false;
    }
    return true;
}

/* The form without its modifiers, and they as steps. */
static void modified(Decode *d) {
    PtxWords words = d->words;
    const Modifiers m = take_modifiers(&words);
    const char *const type = words.text[words.count - 1];
    const size_t length = words.length[words.count - 1];
    const int n = d->in->operand_count - 1;
    const bool pick = ptx_words_are(&words, 0, "min") || ptx_words_are(&words, 0, "max");
    const bool single = ptx_words_are(&words, 0, "abs") || ptx_words_are(&words, 0, "neg");
    const int natural = single ? 1 : ptx_words_are(&words, 0, "fma") ? 3 : 2;
    int source[MAX_SOURCES], given[MAX_SOURCES];
    if (n != natural && !(pick && n == 3)) {
        dec_fail(d, ST_SYNTAX, "%d operands; it takes %d", n + 1, natural + 1);
        return;
    }
    if (pick && n == 3 && !three_operands(d, &m)) return;
    if (m.abs != m.xorsign && n != 3) {
        dec_fail(d, ST_SYNTAX, ".abs and .xorsign go together");
        return;
    }
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B32);
    for (int i = 0; i < n; i++) {
        given[i] = dec_source(d, dec_operand(d, i + 1), PTX_B32, !m.half);
        source[i] = given[i];
        if (m.ftz) source[i] = step(d, m.pair ? LANE_ftz_f16x2 : LANE_ftz_f16, source[i]);
        if (m.abs) source[i] = absolute(d, type, length, source[i]);
    }
    const bool last = !m.xorsign && !(pick && n == 3);
    const int result = last ? dest : dec_vreg(d, PTX_B32);
    plain(d, &words, result, source, pick ? 2 : n);
    if (pick && n == 3) { /* one instruction of the machine */
        const int rest[2] = {result, source[2]};
        plain(d, &words, dest, rest, 2);
        free_of_charge(d);
    }
    if (m.xorsign) {
        Ir *const ir = step_to(d,
                               !m.half  ? LANE_xorsign_f32
                               : m.pair ? LANE_xorsign_hx2
                                        : LANE_xorsign_h,
                               dest, result);
        dec_use(ir, 2, given[0]);
        dec_use(ir, 3, given[1]);
        ir->o[4] = m.inf;
    }
    after(d, &m, dest);
}

/* Directed rounding: the record is in exec/directed.h. */
static int directed_op(const Decode *d) {
    static const char *const ops[] = {"add", "sub", "mul", "div", "fma", "rcp", "sqrt"};
    for (int i = 0; i < 7; i++)
        if (ptx_words_are(&d->words, 0, ops[i])) return i;
    return 4; /* mad */
}
static uint32_t directed_mode(const Decode *d) { /* 0: to nearest */
    return ptx_words_have(&d->words, "rz")   ? 1
           : ptx_words_have(&d->words, "rm") ? 2
           : ptx_words_have(&d->words, "rp") ? 3
                                             : 0;
}

static void emit_directed(Decode *d, bool wide, int dest, const int source[MAX_SOURCES]) {
    Ir *const ir = dec_emit(d, dec_lane(d, LANE_directed), wide ? PIPE_FMA64 : PIPE_FMA);
    dec_def(ir, 0, dest);
    for (int i = 0; i < MAX_SOURCES; i++) dec_use(ir, 1 + i, source[i]);
    ir->o[4] = (uint32_t)directed_op(d);
    ir->o[5] = directed_mode(d);
    ir->o[6] = ptx_words_have(&d->words, "ftz");
    ir->o[7] = wide;
}

static int source_count(const Decode *d) {
    static const int counts[] = {2, 2, 2, 2, 3, 1, 1};
    return counts[directed_op(d)];
}

static bool operands_fit(Decode *d) {
    if (d->in->operand_count == source_count(d) + 1) return true;
    dec_fail(d, ST_SYNTAX, "%d operands", d->in->operand_count);
    return false;
}

/* f32x2: each half by itself. */
static void directed_pair(Decode *d) {
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B64);
    int part[2][MAX_SOURCES], out[2];
    for (int i = 0; i < MAX_SOURCES; i++) {
        const int from = i < source_count(d) ? i + 1 : 1; /* missing sources repeat the first */
        const int source = dec_source(d, dec_operand(d, from), PTX_B64, false);
        for (int h = 0; h < 2; h++) part[h][i] = dec_vreg(d, PTX_B32);
        Ir *const ir = dec_emit(d, dec_lane(d, LANE_unpack64), PIPE_MOVE);
        dec_def(ir, 0, part[0][i]);
        dec_def(ir, 1, part[1][i]);
        dec_use(ir, 2, source);
    }
    for (int h = 0; h < 2; h++) {
        out[h] = dec_vreg(d, PTX_B32);
        emit_directed(d, false, out[h], part[h]);
    }
    free_of_charge(d); /* one instruction of the machine */
    Ir *const ir = step_to(d, LANE_pack64, dest, out[0]);
    dec_use(ir, 2, out[1]);
}

static void directed(Decode *d) {
    if (!operands_fit(d)) return;
    if (ptx_words_have(&d->words, "f32x2")) {
        directed_pair(d);
        return;
    }
    const bool wide = ptx_words_have(&d->words, "f64");
    const PtxClass class = wide ? PTX_B64 : PTX_B32;
    int source[MAX_SOURCES];
    const int dest = dec_dest(d, dec_operand(d, 0), class);
    for (int i = 0; i < MAX_SOURCES; i++)
        source[i] = dec_source(d, dec_operand(d, i < source_count(d) ? i + 1 : 1), class, true);
    emit_directed(d, wide, dest, source);
}

/* add.f32.f16 d, a, c and fma.rn.f32.f16 d, a, b, c: the last source is f32. */
static void mixed(Decode *d) {
    const int last = d->words.count - 1, n = source_count(d);
    const bool bf = ptx_words_are(&d->words, last, "bf16");
    if (!operands_fit(d)) return;
    int source[MAX_SOURCES];
    const int dest = dec_dest(d, dec_operand(d, 0), PTX_B32);
    for (int i = 0; i < MAX_SOURCES; i++) {
        const bool half = i < n - 1;
        source[i] = i < n ? dec_source(d, dec_operand(d, i + 1), PTX_B32, !half) : source[0];
        if (half) source[i] = step(d, bf ? LANE_f32_bf16 : LANE_f32_f16, source[i]);
    }
    emit_directed(d, false, dest, source);
    if (ptx_words_have(&d->words, "sat")) step_to(d, LANE_sat_f32, dest, dest);
}

bool dec_float_family(Decode *d, const char *name) {
    if (strcmp(name, "modified") == 0)
        modified(d);
    else if (strcmp(name, "directed") == 0)
        directed(d);
    else if (strcmp(name, "mixed") == 0)
        mixed(d);
    else
        return false;
    return true;
}

/* SOFTGPU_APPROX=noise: the handler of an approximate instruction, NULL for others (f64 too). */
Handler dec_noisy_handler(const Decode *d) {
    static const struct {
        const char *base, *type;
        int plain, ftz;
    } rows[] = {
#define F32(name) {#name, "f32", LANE_noise_##name##_f32, LANE_noise_##name##_ftz_f32}
#define HALF(name, type)                                                                           \
    {#name, #type, LANE_noise_##name##_##type, LANE_noise_##name##_##type}, {                      \
#name, #type "x2", LANE_noise_##name##_##type##x2, LANE_noise_##name##_##type##x2          \
    }
        F32(div),       F32(rcp),         F32(sqrt),       F32(rsqrt), F32(sin),
        F32(cos),       F32(lg2),         F32(ex2),        F32(tanh),  HALF(tanh, f16),
        HALF(ex2, f16), HALF(tanh, bf16), HALF(ex2, bf16),
    };
    const PtxWords *const words = &d->words;
    if (!ptx_words_have(words, "approx") && !ptx_words_have(words, "full")) return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ptx_words_are(words, 0, rows[i].base) &&
            ptx_words_are(words, words->count - 1, rows[i].type))
            return dec_lane(d, ptx_words_have(words, "ftz") ? rows[i].ftz : rows[i].plain);
    return NULL;
}
