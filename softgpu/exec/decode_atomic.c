/* Decoding of atom and red. Vectors become an atomic for each element. */
#include "softgpu/exec/decode_memory.h"

#include <string.h>

typedef enum Ops { /* bits: as in AtomOp */
                   OP_ADD = 1,
                   OP_LOGIC = 2 | 4 | 8,
                   OP_ORDER = 16 | 32,
                   OP_EXCH = 64,
                   OP_CAS = 128,
                   OP_WRAP = 256 | 512
} Ops;

/* What a type takes as a scalar and, on .global from sm_90, as a vector (PTX ISA, atom, red). */
static const struct {
    const char *name;
    AtomType type;
    int scalar, vector, most; /* most: elements of a vector */
    bool is_float, noftz;
} types[] = {
    {"b16", AT_B16, OP_CAS, 0, 0, false, false},
    {"f16", AT_F16, OP_ADD, OP_ADD | OP_ORDER, 8, false, true},
    {"bf16", AT_BF16, OP_ADD, OP_ADD | OP_ORDER, 8, false, true},
    {"b32", AT_B32, OP_LOGIC | OP_EXCH | OP_CAS, 0, 0, false, false},
    {"u32", AT_U32, OP_ADD | OP_ORDER | OP_WRAP | OP_EXCH | OP_CAS, 0, 0, false, false},
    {"s32", AT_S32, OP_ADD | OP_ORDER | OP_EXCH | OP_CAS, 0, 0, false, false},
    {"f32", AT_F32, OP_ADD | OP_EXCH, OP_ADD, 4, true, false},
    {"f16x2", AT_F16X2, OP_ADD, OP_ADD | OP_ORDER, 4, false, true},
    {"bf16x2", AT_BF16X2, OP_ADD, OP_ADD | OP_ORDER, 4, false, true},
    {"b64", AT_B64, OP_LOGIC | OP_EXCH | OP_CAS, 0, 0, false, false},
    {"u64", AT_U64, OP_ADD | OP_ORDER | OP_EXCH | OP_CAS, 0, 0, false, false},
    {"s64", AT_S64, OP_ADD | OP_ORDER | OP_EXCH | OP_CAS, 0, 0, false, false},
    {"f64", AT_F64, OP_ADD | OP_EXCH, 0, 0, true, false},
    {"b128", AT_B128, OP_EXCH | OP_CAS, 0, 0, false, false},
};

int dec_atom_op(const Decode *d) {
    static const char *const ops[] = {"add", "and",  "or",  "xor", "min",
                                      "max", "exch", "cas", "inc", "dec"};
    return dec_word_index(d, ops, 10);
}

static int type_of(const Decode *d) {
    for (int i = 0; i < (int)(sizeof types / sizeof *types); i++)
        if (ptx_words_have(&d->words, types[i].name)) return i;
    return 0;
}

static PtxClass class_of(int type) {
    return types[type].type >= AT_B64 ? PTX_B64 : PTX_B32;
}

/* Elements of a vector or of a b128, else 1; 0: the instruction does not exist. */
static int elements(Decode *d, int type, int op) {
    static const char *const vectors[] = {"v2", "v4", "v8"};
    const int v = dec_word_index(d, vectors, 3), n = v < 0 ? 1 : 2 << v;
    const bool noftz = ptx_words_have(&d->words, "noftz");
    const int allowed = v < 0 ? types[type].scalar : types[type].vector;
    if (!(allowed >> op & 1) || (v >= 0 && n > types[type].most) || noftz != types[type].noftz ||
        (v >= 0 && dec_space(d) == PTX_SHARED)) {
        dec_fail(d, ST_UNSUPPORTED, "there is no such atomic of %s", types[type].name);
        return 0;
    }
    return n;
}

static const PtxOperand *item(Decode *d, const PtxOperand *o, int i, int n) {
    if ((o->kind == PTX_VECTOR ? o->item_count : 1) != n) {
        dec_fail(d, ST_SYNTAX, "an operand must have %d elements", n);
        return o;
    }
    return o->kind == PTX_VECTOR ? &o->items[i] : o;
}

static void add_offset(Ir *ir, uint32_t bytes) {
    ir->o[12] += bytes;
    if (ir->o[12] < bytes) ir->o[13]++;
}

void dec_check_align(Decode *d, const Ir *access, uint32_t bytes) {
    Ir tmp = {.address = access->address, .uses = access->uses & (1u << 4)};
    memcpy(tmp.o, access->o, sizeof tmp.o);
    tmp.o[6] = bytes;
    dec_emit_from(d, &tmp, dec_tensor(d, TENSOR_check_align), PIPE_MOVE);
}

/* The halves of a b128 are in the rows that the others leave free. */
static void wide_operands(Decode *d, Ir *ir, int at, bool red, bool cas) {
    const PtxOperand *const to = dec_operand(d, 0), *const b = dec_operand(d, at + 1);
    for (int i = 0; i < 2 && !red; i++) dec_def(ir, i, dec_dest(d, item(d, to, i, 2), PTX_B64));
    for (int i = 0; i < 2; i++)
        dec_use(ir, i ? 2 : 6, dec_source(d, item(d, b, i, 2), PTX_B64, false));
    for (int i = 0; i < 2 && cas; i++)
        dec_use(ir, i ? 3 : 7,
                dec_source(d, item(d, dec_operand(d, at + 2), i, 2), PTX_B64, false));
}

/* Elements are put in registers of their own first: a source may be the destination of another. */
static void vector(Decode *d, const Ir *scalar, int type, int n, int at, bool red) {
    const PtxClass class = class_of(type);
    const uint32_t bytes = types[type].type <= AT_BF16 ? 2 : 4;
    const PtxOperand *const b = dec_operand(d, at + 1);
    int old[8];
    dec_check_align(d, scalar, bytes * (uint32_t)n);
    for (int i = 0; i < n && d->status == ST_OK; i++) {
        Ir tmp = *scalar;
        add_offset(&tmp, bytes * (uint32_t)i);
        old[i] = dec_vreg(d, class);
        if (!red) dec_def(&tmp, 0, old[i]);
        dec_use(&tmp, 6, dec_source(d, item(d, b, i, n), class, types[type].is_float));
        dec_emit_from(d, &tmp, dec_form_handler(d), i ? PIPE_MOVE : PIPE_ATOMIC);
    }
    for (int i = 0; i < n && !red && d->status == ST_OK; i++) {
        Ir *const ir = dec_emit(d, dec_lane(d, LANE_mov_lane), PIPE_MOVE);
        dec_def(ir, 0, dec_dest(d, item(d, dec_operand(d, 0), i, n), class));
        dec_use(ir, 1, old[i]);
    }
}

void dec_atom(Decode *d) {
    const bool red = ptx_words_are(&d->words, 0, "red");
    const int op = dec_atom_op(d), type = type_of(d), at = red ? 0 : 1;
    const bool cas = op == 7, wide = types[type].type == AT_B128;
    const PtxClass class = class_of(type);
    Ir tmp = {0};
    bool address64 = false;
    const int n = elements(d, type, op);
    if (red && (op == 6 || cas)) dec_fail(d, ST_UNSUPPORTED, "red returns nothing to exchange");
    if (d->in->operand_count < at + (cas ? 3 : 2)) dec_fail(d, ST_SYNTAX, "operands are missing");
    if (d->status != ST_OK) return;
    tmp.o[0] = NO_ROW;
    dec_address_row(d, &tmp, dec_operand(d, at), 4, 12, &address64);
    tmp.o[5] = (address64 ? ACC_ADDR64 : 0u) | dec_order(d) << ACC_ORDER;
    tmp.o[8] = (uint32_t)op;
    tmp.o[9] = (uint32_t)types[type].type;
    const PtxSpace space = dec_space(d);
    tmp.o[10] = space == PTX_SHARED ? 1 : space == PTX_GLOBAL ? 2 : 0;
    if (n > 1) {
        vector(d, &tmp, type, n, at, red);
        return;
    }
    if (wide) {
        wide_operands(d, &tmp, at, red, cas);
    } else {
        const bool is_float = types[type].is_float;
        if (!red) dec_def(&tmp, 0, dec_dest(d, dec_operand(d, 0), class));
        dec_use(&tmp, 6, dec_source(d, dec_operand(d, at + 1), class, is_float));
        if (cas) dec_use(&tmp, 7, dec_source(d, dec_operand(d, at + 2), class, is_float));
    }
    dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_ATOMIC);
}
