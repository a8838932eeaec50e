/* Decoding of atom and red. */
#include "softgpu/exec/decode_memory.h"

static const char *const atom_ops[] = {"add", "and",  "or",  "xor", "min",
                                       "max", "exch", "cas", "inc", "dec"};

int dec_atom_op(const Decode *d) {
    return dec_word_index(d, atom_ops, 10);
}

void dec_atom(Decode *d) {
    static const char *const types[] = {"b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"};
    const bool red = ptx_words_are(&d->words, 0, "red");
    const int op = dec_atom_op(d), type = dec_word_index(d, types, 8), at = red ? 0 : 1;
    const bool cas = op == 7, is_float = type == 3 || type == 7;
    const PtxClass class = type >= 4 ? PTX_B64 : PTX_B32;
    Ir tmp = {0};
    bool address64 = false;
    if (is_float && op != 0) dec_fail(d, ST_UNSUPPORTED, "this atomic is not emulated");
    if (d->in->operand_count < at + (cas ? 3 : 2)) dec_fail(d, ST_SYNTAX, "operands are missing");
    if (d->status != ST_OK) return;
    tmp.o[0] = NO_ROW;
    if (!red) dec_def(&tmp, 0, dec_dest(d, dec_operand(d, 0), class));
    dec_address_row(d, &tmp, dec_operand(d, at), 4, 12, &address64);
    dec_use(&tmp, 6, dec_source(d, dec_operand(d, at + 1), class, is_float));
    if (cas) dec_use(&tmp, 7, dec_source(d, dec_operand(d, at + 2), class, is_float));
    tmp.o[5] = address64 ? ACC_ADDR64 : 0;
    tmp.o[8] = (uint32_t)op;
    tmp.o[9] = (uint32_t)type;
    const PtxSpace space = dec_space(d);
    tmp.o[10] = space == PTX_SHARED ? 1 : space == PTX_GLOBAL ? 2 : 0;
    dec_emit_from(d, &tmp, dec_form_handler(d), PIPE_ATOMIC);
}
