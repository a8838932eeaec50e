/* What the decoders of memory, atomic and matrix instructions share. */
#ifndef SEQTUNE_SOFTGPU_EXEC_DECODE_MEMORY_H
#define SEQTUNE_SOFTGPU_EXEC_DECODE_MEMORY_H

#include "softgpu/exec/decode.h"

#define NO_ROW UINT32_MAX
/* As in exec/access.h. */
enum { ACC_SIGNED = 0x10, ACC_WIDE = 0x20, ACC_ADDR64 = 0x40, ACC_COUNT = 8, ACC_ORDER = 12 };

/* The bits of ACC_ORDER: .volatile, .relaxed or stronger; acquires; releases. */
uint32_t dec_order(const Decode *d);

/* A new Ir with the operands of `tmp`, which is collected first: operands may emit Ir themselves.
 */
Ir *dec_emit_from(Decode *d, const Ir *tmp, Handler fn, SgPipe pipe);
/* The address operand `o` into o[k], its offset into o[at], o[at + 1]. The symbol it names. */
const PtxVar *dec_address_row(Decode *d, Ir *ir, const PtxOperand *o, int k, int at, bool *wide);
PtxSpace dec_space(const Decode *d); /* by the opcode's words */
/* Number of the first of `names` among the opcode's words; -1: none. */
int dec_word_index(const Decode *d, const char *const *names, int n);
/* add and or xor min max exch cas inc dec, as AtomOp; -1: none. */
int dec_atom_op(const Decode *d);

/* A record that faults unless the address of `access` (in o[4], o[12..13]) is a multiple. */
void dec_check_align(Decode *d, const Ir *access, uint32_t bytes);

typedef struct DecMma { /* virtual registers of D, A, B, C */
    int reg[4][8];
} DecMma;

/* The mma of d->form and d->words on m->reg[i][at[i]] and on. */
void dec_emit_mma(Decode *d, const DecMma *m, const int at[4]);

void dec_atom(Decode *d);
void dec_wmma(Decode *d);
bool dec_matrix_family(Decode *d, const char *name); /* false: not one of them */

#endif
