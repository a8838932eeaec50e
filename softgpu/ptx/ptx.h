/* The parsed form of a PTX module: variables, functions, instructions with resolved operands.
 *
 * Invariant: every register, variable and label that an operand names exists; every index is in
 * range; nothing here depends on the device. What an instruction means is not decided here
 * (ptx/form.h finds its record, exec/decode.c its handler). Section numbers: PTX ISA 9.0. */
#ifndef SEQTUNE_SOFTGPU_PTX_PTX_H
#define SEQTUNE_SOFTGPU_PTX_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

/* Storage class of a register: what one lane needs. 16-bit registers live in 32-bit lanes. */
typedef enum PtxClass { PTX_PRED, PTX_B32, PTX_B64, PTX_CLASS_COUNT } PtxClass;

typedef enum PtxSpace {
    PTX_GENERIC,
    PTX_GLOBAL,
    PTX_CONST,
    PTX_SHARED,
    PTX_LOCAL,
    PTX_PARAM, /* of an entry, or of a call (then it lives with the locals) */
} PtxSpace;

typedef struct PtxReg {
    uint8_t class; /* PtxClass */
    uint8_t width; /* bits as declared: 1, 16, 32, 64 */
} PtxReg;

typedef struct PtxReloc { /* a variable initialised with an address */
    uint64_t offset;
    const struct PtxVar *target; /* NULL: the address of function `func` */
    const char *func;
    int64_t addend;
    bool generic;
} PtxReloc;

typedef struct PtxVar {
    const char *name;
    PtxSpace space;
    uint32_t align;
    uint64_t size; /* bytes; 0: the unsized array of dynamic shared memory */
    bool external;
    bool formal;   /* parameter or return value of a function */
    bool entry;    /* formal of an entry: lies in the launch's parameter block */
    uint8_t *init; /* size bytes or NULL */
    PtxReloc *relocs;
    size_t reloc_count;
    uint64_t offset;    /* in its space, set by the layout: shared, entry parameter */
    int reg, reg_count; /* formal declared with .reg: its registers; count 0: a .param variable */
    int index;          /* among the variables of its function or module */
} PtxVar;

typedef enum PtxOperandKind {
    PTX_NONE,    /* the sink _ */
    PTX_REG,     /* reg, negate for !p; second >= 0 for a|b */
    PTX_INT,     /* imm */
    PTX_FLOAT,   /* imm holds the bits, width 32 or 64 */
    PTX_SPECIAL, /* reg: index into special.def */
    PTX_SYMBOL,  /* var + imm */
    PTX_NAME,    /* a function */
    PTX_LABEL,   /* reg: index of the target instruction, or of the branch table */
    PTX_ADDRESS, /* [reg + imm], [var + imm] or [imm]; item_count coordinates, not kept */
    PTX_VECTOR,  /* items in braces */
    PTX_LIST,    /* items in parentheses */
} PtxOperandKind;

typedef struct PtxOperand {
    uint8_t kind;
    uint8_t width;
    bool negate;
    int reg; /* -1: none */
    int second;
    int64_t imm;
    const PtxVar *var;
    const char *name;
    struct PtxOperand *items;
    int item_count;
} PtxOperand;

enum { PTX_MAX_OPERANDS = 12, PTX_MAX_ITEMS = 64 };

typedef struct PtxInstr {
    const char *form; /* "add.s32" */
    PtxOperand *operands;
    int operand_count;
    int guard; /* predicate register or -1 */
    bool guard_negate;
    int line;     /* in the PTX text */
    int loc_file; /* by .loc; 0: none */
    int loc_line;
    int call_file, call_line; /* where its function was inlined: the innermost call; 0: nowhere */
} PtxInstr;

typedef struct PtxTable { /* .branchtargets */
    int *targets;
    int count;
} PtxTable;

typedef struct PtxProto { /* of an indirect call: .callprototype, or .calltargets */
    const char *name;
    PtxVar **params, **rets;
    int param_count, ret_count;
    const char **targets; /* functions by name; count 0: a prototype */
    int target_count;
} PtxProto;

typedef struct PtxFunc {
    const char *name;
    bool entry;
    bool body;
    PtxVar **params;
    int param_count;
    PtxVar **rets;
    int ret_count;
    PtxReg *regs;
    int reg_count;
    PtxInstr *instrs;
    int instr_count;
    PtxTable *tables;
    int table_count;
    PtxProto *protos;
    int proto_count;
    bool taken;    /* its address is in a register or a variable */
    PtxVar **vars; /* declared in the body */
    int var_count;
    int maxntid[3]; /* 0: not given */
    int reqntid[3];
    int min_blocks;
    int max_registers; /* .maxnreg; 0: not given */
    int line;
} PtxFunc;

typedef struct PtxModule {
    Arena *arena;
    int version; /* 10 * major + minor */
    const char *target;
    PtxVar **vars;
    int var_count;
    PtxFunc **funcs;
    int func_count;
    const char **files; /* by .file number; NULL where unused */
    int file_count;
} PtxModule;

/* Parses `text` (not changed, not kept). ST_SYNTAX with the line, ST_LIMIT, ST_NO_MEMORY. */
Status ptx_parse(const char *text, size_t size, Arena *arena, PtxModule **out, Error *err);

const PtxFunc *ptx_func(const PtxModule *module, const char *name);
/* "attn/prefill_mma.cu:118" from a .loc, "" when there is none; of a name too long the end. Returns
 * `out`. */
const char *ptx_place(const PtxModule *module, int file, int line, char *out, size_t size);

typedef enum PtxSpecial {
#define SPECIAL(name, id, class) PTX_SR_##id,
#include "softgpu/ptx/special.def"
#undef SPECIAL
    PTX_SR_COUNT
} PtxSpecial;

PtxClass ptx_special_class(int special);
int ptx_special_find(const char *name, size_t length); /* -1 when unknown */

#endif
