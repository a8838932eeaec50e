/* Decoding of loads, stores, copies, exchange instructions and mbarrier. */
#include "softgpu/exec/decode_memory.h"

#include <string.h>

Ir *dec_emit_from(Decode *d, const Ir *tmp, Handler fn, SgPipe pipe) {
    Ir *const ir = dec_emit(d, fn, pipe);
    memcpy(ir->o, tmp->o, sizeof ir->o);
    ir->defs = tmp->defs;
    ir->uses = tmp->uses;
    ir->address = tmp->address;
    ir->flops = tmp->flops;
    ir->or4 = tmp->or4;
    return ir;
}

const PtxVar *dec_address_row(Decode *d, Ir *ir, const PtxOperand *o, int k, int at, bool *wide) {
    uint64_t offset = 0;
    const PtxVar *var = NULL;
    const int row = dec_address(d, o, &offset, &var);
    ir->o[k] = NO_ROW;
    *wide = false;
    if (row >= 0) {
        dec_use(ir, k, row);
        ir->address = (uint16_t)(ir->address | 1u << k);
        *wide = d->vregs[row].class == PTX_B64;
    }
    ir->o[at] = (uint32_t)offset;
    ir->o[at + 1] = (uint32_t)(offset >> 32);
    return var;
}

typedef struct Element {
    const char *name;
    uint32_t bytes;
    bool is_signed, is_float;
} Element;

static const Element elements[] = {
    {"b8", 1, false, false},   {"u8", 1, false, false},  {"s8", 1, true, false},
    {"b16", 2, false, false},  {"u16", 2, false, false}, {"s16", 2, true, false},
    {"f16", 2, false, true},   {"bf16", 2, false, true}, {"b32", 4, false, false},
    {"u32", 4, false, false},  {"s32", 4, true, false},  {"f32", 4, false, true},
    {"f16x2", 4, false, true}, {"b64", 8, false, false}, {"u64", 8, false, false},
    {"s64", 8, true, false},   {"f64", 8, false, true},  {"b128", 8, false, false}};

static const Element *element(const Decode *d) {
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (ptx_words_are(&d->words, d->words.count - 1, elements[i].name)) return &elements[i];
    return &elements[9];
}

PtxSpace dec_space(const Decode *d) {
    static const struct {
        const char *word;
        PtxSpace space;
    } rows[] = {{"global", PTX_GLOBAL},      {"shared", PTX_SHARED},    {"shared::cta", PTX_SHARED},
                {"local", PTX_LOCAL},        {"const", PTX_CONST},      {"param", PTX_PARAM},
                {"param::entry", PTX_PARAM}, {"param::func", PTX_PARAM}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ptx_words_have(&d->words, rows[i].word)) return rows[i].space;
    return PTX_GENERIC;
}

/* Data operands of ld and st into o[0..3], `count` from number `at` on; wider registers than the
 * type are allowed. A b128 is two registers of 64 bits. */
static void data_rows(Decode *d, Ir *ir, const PtxOperand *o, const Element *e, bool load, int at,
                      int count, bool *wide) {
    const bool vector = o->kind == PTX_VECTOR;
    *wide = e->bytes == 8;
    for (int i = 0; i < count; i++) {
        const PtxOperand *const item = vector ? &o->items[at + i] : o;
        if (item->kind == PTX_REG && dec_class(d, item) == PTX_B64) *wide = true;
    }
    for (int i = 0; i < count; i++) {
        const PtxOperand *const item = vector ? &o->items[at + i] : o;
        const PtxClass class = *wide ? PTX_B64 : PTX_B32;
        if (load)
            dec_def(ir, i, dec_dest(d, item, class));
        else
            dec_use(ir, i, dec_source(d, item, class, e->is_float && item->kind != PTX_INT));
    }
}

int dec_word_index(const Decode *d, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (ptx_words_have(&d->words, names[i])) return i;
    return -1;
}

/* Elements that the instruction moves; 0 after an error. */
static int data_count(Decode *d, const PtxOperand *o, const Element *e) {
    static const char *const vectors[] = {"v2", "v4", "v8"};
    const int v = dec_word_index(d, vectors, 3), n = v < 0 ? 1 : 2 << v;
    const bool wide = ptx_words_are(&d->words, d->words.count - 1, "b128");
    const int want = wide ? 2 : n;
    const PtxSpace space = dec_space(d);
    const uint32_t bytes = e->bytes * (uint32_t)want;
    if ((o->kind == PTX_VECTOR ? o->item_count : 1) != want) {
        dec_fail(d, ST_SYNTAX, "%d elements; it moves %d",
                 o->kind == PTX_VECTOR ? o->item_count : 1, want);
        return 0;
    }
    if (n == 8 && e->bytes != 4) {
        dec_fail(d, ST_SYNTAX, ".v8 moves elements of 32 bits");
        return 0;
    }
    if (bytes > 32 || (wide && v >= 0) ||
        (bytes > 16 && space != PTX_GENERIC && space != PTX_GLOBAL)) {
        dec_fail(d, ST_SYNTAX, "%u bytes at once; up to 16, on .global 32", bytes);
        return 0;
    }
    return want;
}

static void access_part(Decode *d, const Element *e, bool load, int at, int count, uint32_t align);

uint32_t dec_order(const Decode *d) {
    static const struct {
        const char *word;
        uint32_t bits;
    } rows[] = {{"volatile", 1}, {"relaxed", 1}, {"mmio", 1},
                {"acquire", 3},  {"release", 5}, {"acq_rel", 7}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ptx_words_have(&d->words, rows[i].word)) return rows[i].bits;
    return 0;
}

static void load_store(Decode *d, bool load) {
    const Element *const e = element(d);
    if (d->in->operand_count < 2) {
        dec_fail(d, ST_SYNTAX, "an address and a value are expected");
        return;
    }
    const int count = data_count(d, dec_operand(d, load ? 0 : 1), e);
    const uint32_t bytes = e->bytes * (uint32_t)count;
    if (count == 8 || bytes > 16) { /* two accesses of half the elements */
        access_part(d, e, load, 0, count / 2, bytes);
        access_part(d, e, load, count / 2, count / 2, 0);
    } else if (count) {
        access_part(d, e, load, 0, count, 0);
    }
}

/* Up to four elements from number `at` on; `align`: what the address must be a multiple of, 0: the
 * bytes of this part. */
static void access_part(Decode *d, const Element *e, bool load, int at, int count, uint32_t align) {
    PtxSpace space = dec_space(d);
    Ir tmp = {0};
    bool wide = false, address64 = false;
    data_rows(d, &tmp, dec_operand(d, load ? 0 : 1), e, load, at, count, &wide);
    const PtxVar *const var =
        dec_address_row(d, &tmp, dec_operand(d, load ? 1 : 0), 4, 12, &address64);
    const uint32_t skip = e->bytes * (uint32_t)at;
    tmp.o[12] += skip;
    if (tmp.o[12] < skip) tmp.o[13]++;
    tmp.o[5] = e->bytes | (e->is_signed ? ACC_SIGNED : 0u) | (wide ? ACC_WIDE : 0u) |
               (address64 ? ACC_ADDR64 : 0u) | (uint32_t)count << ACC_COUNT |
               dec_order(d) << ACC_ORDER;
    if (space == PTX_GENERIC && var) space = var->space; /* a named variable knows its own */
    if (d->status != ST_OK) return;
    if (align) dec_check_align(d, &tmp, align);
    int extra = load ? TENSOR_ld_generic : TENSOR_st_generic;
    SgPipe pipe = load ? PIPE_LOAD : PIPE_STORE;
    switch (space) {
    case PTX_GLOBAL:
    case PTX_CONST: extra = load ? TENSOR_ld_global : TENSOR_st_global; break;
    case PTX_SHARED:
        extra = load ? TENSOR_ld_shared : TENSOR_st_shared;
        pipe = load ? PIPE_LOAD_SHARED : PIPE_STORE_SHARED;
        break;
    case PTX_LOCAL:
        extra = load ? TENSOR_ld_local : TENSOR_st_local;
        pipe = PIPE_LOCAL;
        break;
    case PTX_PARAM:
        pipe = PIPE_ALU; /* a read of the constant bank */
        if (var && !var->entry) {
            extra = load ? TENSOR_ld_local : TENSOR_st_local;
            pipe = PIPE_MOVE;
        } else if (!load) {
            dec_fail(d, ST_SYNTAX, "store to a kernel parameter");
        } else if (tmp.o[4] == NO_ROW) {
            const uint64_t end =
                ((uint64_t)tmp.o[13] << 32 | tmp.o[12]) + e->bytes * (uint32_t)count;
            extra = TENSOR_ld_uniform;
            pipe = PIPE_MOVE; /* ptxas uses the constant bank as an operand */
            if (tmp.o[13] || end > (uint64_t)d->kernel->info.param_bytes)
                dec_fail(d, ST_SYNTAX, "reads past the %d bytes of parameters",
                         d->kernel->info.param_bytes);
        } else {
            extra = TENSOR_ld_param;
        }
        break;
    default: break;
    }
    dec_emit_from(d, &tmp, dec_tensor(d, extra), pipe);
}

/* cp.async dst, src, cp-size[, src-size | , ignore-src][, cache-policy] */
static void cp_async(Decode *d) {
    Ir tmp = {0};
    bool dst64 = false, src64 = false;
    const int n = d->in->operand_count - (ptx_words_have(&d->words, "L2::cache_hint") ? 1 : 0);
    dec_address_row(d, &tmp, dec_operand(d, 0), 0, 6, &dst64);
    dec_address_row(d, &tmp, dec_operand(d, 1), 1, 12, &src64);
    const PtxOperand *const size = dec_operand(d, 2);
    const bool cg = ptx_words_have(&d->words, "cg");
    if (size->kind != PTX_INT || (size->imm != 16 && (cg || (size->imm != 4 && size->imm != 8))))
        dec_fail(d, ST_SYNTAX, "cp-size must be %s", cg ? "16" : "4, 8 or 16");
    if (tmp.o[1] != NO_ROW && !src64) dec_fail(d, ST_SYNTAX, "the source address is not 64-bit");
    tmp.o[2] = (uint32_t)size->imm;
    tmp.o[3] = tmp.o[4] = NO_ROW;
    tmp.o[5] = dst64 ? ACC_ADDR64 : 0;
    if (n >= 4) {
        const PtxOperand *const o = dec_operand(d, 3);
        if (o->kind == PTX_REG && dec_class(d, o) == PTX_PRED)
            dec_use(&tmp, 4, dec_pred(d, o, &tmp.o[8]));
        else if (o->kind == PTX_INT && (o->imm < 0 || o->imm > size->imm))
            dec_fail(d, ST_SYNTAX, "src-size above cp-size");
        else
            dec_use(&tmp, 3, dec_source(d, o, PTX_B32, false));
    }
    if (d->status == ST_OK) dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_CP_ASYNC);
}

/* A destination d[|p] into o[0], o[1]. */
static void dest_pair(Decode *d, Ir *ir) {
    const PtxOperand *const o = dec_operand(d, 0);
    ir->o[1] = NO_ROW;
    dec_def(ir, 0, dec_dest(d, o, PTX_B32));
    if (o->second < 0) return;
    if (d->frame->func->regs[o->second].class != PTX_PRED)
        dec_fail(d, ST_SYNTAX, "the second destination is not a predicate");
    dec_def(ir, 1, dec_reg(d, o->second));
}

static void shfl(Decode *d) {
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    Ir tmp = {0};
    dest_pair(d, &tmp);
    for (int i = 1; i <= 4; i++)
        dec_use(&tmp, i + 1, dec_source(d, dec_operand(d, i), PTX_B32, false));
    tmp.o[6] = (uint32_t)dec_word_index(d, modes, 4);
    if (d->status == ST_OK) dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_SHUFFLE);
}

static void vote(Decode *d) {
    static const char *const modes[] = {"all", "any", "uni", "ballot"};
    Ir tmp = {0};
    tmp.o[3] = (uint32_t)dec_word_index(d, modes, 4);
    dec_def(&tmp, 0, dec_dest(d, dec_operand(d, 0), tmp.o[3] == 3 ? PTX_B32 : PTX_PRED));
    dec_use(&tmp, 1, dec_pred(d, dec_operand(d, 1), &tmp.o[5]));
    dec_use(&tmp, 2, dec_source(d, dec_operand(d, 2), PTX_B32, false));
    if (d->status == ST_OK) dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_ALU);
}

static void match(Decode *d) {
    Ir tmp = {0};
    dest_pair(d, &tmp);
    tmp.o[6] = ptx_words_have(&d->words, "b64");
    tmp.o[7] = ptx_words_have(&d->words, "all");
    dec_use(&tmp, 2, dec_source(d, dec_operand(d, 1), tmp.o[6] ? PTX_B64 : PTX_B32, false));
    dec_use(&tmp, 3, dec_source(d, dec_operand(d, 2), PTX_B32, false));
    if (d->status == ST_OK) dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_SHUFFLE);
}

static void redux(Decode *d) {
    Ir tmp = {0};
    dec_def(&tmp, 0, dec_dest(d, dec_operand(d, 0), PTX_B32));
    dec_use(&tmp, 1, dec_source(d, dec_operand(d, 1), PTX_B32, false));
    dec_use(&tmp, 2, dec_source(d, dec_operand(d, 2), PTX_B32, false));
    tmp.o[3] = (uint32_t)dec_atom_op(d);
    tmp.o[4] = ptx_words_have(&d->words, "s32") || ptx_words_have(&d->words, "NaN");
    tmp.o[4] |= ptx_words_have(&d->words, "abs") ? 2u : 0u;
    if (d->status == ST_OK) dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_SHUFFLE);
}

/* mbarrier.*, cp.async.mbarrier.arrive: see exec/mbarrier.h for the record. */
static void mbarrier(Decode *d) {
    static const struct {
        const char *word;
        uint32_t flag;
    } rows[] = {{"init", MB_INIT},
                {"inval", MB_INVAL},
                {"arrive", MB_ARRIVE},
                {"arrive_drop", MB_ARRIVE | MB_DROP},
                {"expect_tx", MB_EXPECT},
                {"complete_tx", MB_COMPLETE},
                {"noComplete", MB_NO_COMPLETE},
                {"parity", MB_PARITY},
                {"noinc", MB_NO_INC}};
    Ir tmp = {0};
    bool address64 = false;
    const bool copy = ptx_words_are(&d->words, 0, "cp");
    const bool wait =
        ptx_words_have(&d->words, "test_wait") || ptx_words_have(&d->words, "try_wait");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ptx_words_have(&d->words, rows[i].word)) tmp.o[8] |= rows[i].flag;
    const bool state = !copy && (tmp.o[8] & MB_ARRIVE), first = wait || state;
    const int at = first ? 1 : 0, n = d->in->operand_count;
    const bool optional = (state && !(tmp.o[8] & (MB_EXPECT | MB_NO_COMPLETE))) || wait || copy ||
                          (tmp.o[8] & MB_INVAL);
    const int least = at + (wait ? 2 : optional ? 1 : 2);
    const int most = at + (wait ? 3 : copy || (tmp.o[8] & MB_INVAL) ? 1 : 2);
    if (n < least || n > most) {
        dec_fail(d, ST_SYNTAX, "%d operands", n);
        return;
    }
    tmp.o[0] = NO_ROW;
    if (wait)
        dec_def(&tmp, 0, dec_dest(d, dec_operand(d, 0), PTX_PRED));
    else if (state && dec_operand(d, 0)->kind != PTX_NONE)
        dec_def(&tmp, 0, dec_dest(d, dec_operand(d, 0), PTX_B64));
    dec_address_row(d, &tmp, dec_operand(d, at), 4, 12, &address64);
    tmp.o[5] = address64 ? ACC_ADDR64 : 0;
    if (dec_space(d) == PTX_GENERIC && address64 && !ptx_words_have(&d->words, "shared::cluster"))
        tmp.o[13] -= (uint32_t)(WINDOW_SHARED >> 32);
    const PtxClass class = wait && !(tmp.o[8] & MB_PARITY) ? PTX_B64 : PTX_B32;
    if (n > at + 1)
        dec_use(&tmp, 6, dec_source(d, dec_operand(d, at + 1), class, false));
    else
        dec_use(&tmp, 6, dec_constant(d, class, 1));
    if (d->status == ST_OK) dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_OTHER);
}

void dec_memory_family(Decode *d, const char *name) {
    if (strcmp(name, "ld") == 0 || strcmp(name, "st") == 0)
        load_store(d, name[0] == 'l');
    else if (strcmp(name, "atom") == 0)
        dec_atom(d);
    else if (strcmp(name, "cp_async") == 0)
        cp_async(d);
    else if (strcmp(name, "shfl") == 0)
        shfl(d);
    else if (strcmp(name, "vote") == 0)
        vote(d);
    else if (strcmp(name, "match") == 0)
        match(d);
    else if (strcmp(name, "mbarrier") == 0)
        mbarrier(d);
    else if (strcmp(name, "redux") == 0)
        redux(d);
    else if (!dec_matrix_family(d, name) && strcmp(name, "hint") != 0)
        dec_fail(d, ST_INTERNAL, "no family '%s'", name);
}
