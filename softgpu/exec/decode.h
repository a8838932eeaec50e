/* Decoding: PTX instructions of one entry, calls inlined, to records in three steps.
 *
 *   1 decode*.c  each PTX instruction becomes one or more Ir on virtual registers
 *   2 flow.c     basic blocks, liveness, rows for virtual registers
 *   3 flow.c     Ir to Rec with row offsets, branch distances, leaders; costs per block
 *
 * A virtual register is written by several Ir at will; constants and special registers are
 * virtual registers of their own, filled when a warp starts. */
#ifndef SEQTUNE_SOFTGPU_EXEC_DECODE_H
#define SEQTUNE_SOFTGPU_EXEC_DECODE_H

#include "base/map.h"
#include "softgpu/exec/module.h"
#include "softgpu/ptx/form.h"

typedef enum VregKind { VREG_PLAIN, VREG_CONST, VREG_SPECIAL } VregKind;

typedef struct Vreg {
    uint8_t class; /* PtxClass */
    uint8_t kind;
    bool carries;   /* a formal into or out of a routine */
    uint64_t value; /* constant, or number of the special register */
    uint32_t row;   /* byte offset, by flow.c */
} Vreg;

typedef struct Ir {
    Handler fn;
    uint32_t o[14];
    uint16_t defs, uses;    /* bit k: o[k] is a virtual register */
    uint16_t address;       /* bit k: o[k] is an address row */
    bool resolved;          /* target is an Ir already */
    int target;             /* branch: instruction of the frame, then Ir; -1 */
    bool ends;              /* a basic block ends here */
    bool stays;             /* ... and its end does not fall through */
    bool guarded;           /* the Ir before is its guard */
    uint8_t or4;            /* low bits of o[4] (8-bit mma) */
    uint8_t pipe;           /* SgPipe */
    uint8_t raw;            /* ... before folding */
    bool begins;            /* the first Ir of `from` */
    uint8_t fuse;           /* FuseKind for folding */
    uint32_t flops;         /* of an mma */
    int table, table_count; /* brx: entries in Decode.jumps */
    int call;               /* number + 1 of a call of a routine; 0: none */
    const PtxInstr *from;
} Ir;

typedef enum FuseKind {
    FUSE_NONE,
    FUSE_FMUL,
    FUSE_FADD,
    FUSE_IMUL,
    FUSE_IADD,
    FUSE_LOGIC
} FuseKind;

typedef struct Binding { /* where a variable of an inlined function lies */
    const PtxVar *var;
    uint64_t offset;
} Binding;

typedef struct Routine { /* a function that is called, not inlined: see routine.c */
    const PtxFunc *func;
    int *carry; /* per register: the virtual one that brings a formal in or out, or -1 */
    uint64_t *arg_at, *ret_at;    /* formals in memory: offsets in the frame */
    uint64_t formal_bytes, bytes; /* of the formals, of a frame */
    int first;                    /* Ir */
} Routine;

typedef struct RoutineCall {  /* a call of one */
    const Routine *from, *to; /* NULL: from the entry */
    LocalCopy *args, *rets;
    int arg_count, ret_count;
} RoutineCall;

typedef struct Frame { /* the entry, a routine or an inlined function */
    const PtxFunc *func;
    int vreg_base;
    const int *alias; /* per register: the virtual register that replaces it, or -1 */
    int *label;       /* Ir index of each instruction and of the end */
    int binding_base;
} Frame;

typedef struct Decode {
    SgModule *module;
    const PtxFunc *entry;
    int entry_first;  /* Ir */
    int *entry_label; /* Ir index of each instruction of the entry */
    SgKernel *kernel;
    Arena *scratch;
    Error *err;
    Status status;
    Ir *ir;
    int ir_count, ir_cap;
    Vreg *vregs;
    int vreg_count, vreg_cap;
    Map *constants; /* by class and value */
    Map *forms;     /* by opcode: PtxForm */
    Map *calls;     /* by function: see calls.c */
    Binding *bindings;
    int binding_count, binding_cap;
    Binding *shared; /* static shared variables */
    int shared_count, shared_cap;
    uint64_t shared_size, shared_align, local_size;
    Routine **routines;
    int routine_count, routine_cap;
    RoutineCall *routine_calls;
    int routine_call_count, routine_call_cap;
    Routine *routine; /* that is decoded now; NULL: the entry */
    int frame_row;    /* virtual register of the frame's address, when there are routines */
    int *jumps;       /* brx targets: instructions, then Ir */
    int jump_count, jump_cap;
    const HandlerSet *handlers;
    Frame *frame;
    const PtxInstr *in;
    PtxWords words;
    const PtxForm *form;
    Ir trash;      /* what is emitted after an error */
    bool saturate; /* stripped from the opcode, done after it */
} Decode;

void dec_fail(Decode *d, Status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Doubles a scratch array that is full; NULL on failure. */
void *dec_grow(Decode *d, void *data, int count, int *cap, size_t item);
/* A new Ir for the current instruction; never NULL (after an error: a scratch one). */
Ir *dec_emit(Decode *d, Handler fn, SgPipe pipe);
Handler dec_lane(const Decode *d, int extra);
Handler dec_tensor(const Decode *d, int extra);
Handler dec_control(int extra);
Handler dec_form_handler(const Decode *d);
Handler dec_noisy_handler(const Decode *d);
SgPipe dec_pipe(const Decode *d);
void dec_def(Ir *ir, int k, int vreg);
void dec_use(Ir *ir, int k, int vreg);
int dec_vreg(Decode *d, PtxClass class);
int dec_constant(Decode *d, PtxClass class, uint64_t value);
/* Operand `i` as source or destination of a class; checks kind and class. */
const PtxOperand *dec_operand(Decode *d, int i);
int dec_source(Decode *d, const PtxOperand *o, PtxClass class, bool is_float);
int dec_dest(Decode *d, const PtxOperand *o, PtxClass class);
int dec_pred(Decode *d, const PtxOperand *o, uint32_t *negate);
int dec_reg(Decode *d, int reg);
PtxClass dec_class(Decode *d, const PtxOperand *o); /* of a register operand */
/* Address operand: vreg of the row or -1, constant offset, space of the symbol it names. */
int dec_address(Decode *d, const PtxOperand *o, uint64_t *offset, const PtxVar **var);
uint64_t dec_symbol(Decode *d, const PtxVar *var); /* its address within its space */

void dec_family(Decode *d); /* shapes "=name" */
void dec_memory_family(Decode *d, const char *name);
void dec_convert(Decode *d);
bool dec_float_family(Decode *d, const char *name);  /* false: not one of them */
bool dec_branch_family(Decode *d, const char *name); /* false: not one of them */
/* Finds the functions that become routines; see calls.c. */
void dec_calls(Decode *d, const PtxFunc *entry);
enum { MAX_TARGETS = 64 };
/* What a call in `f` may reach: the function it names, or through a register all functions of its
 * prototype whose address is taken, or its .calltargets. Returns how many. */
int dec_targets(Decode *d, const PtxFunc *f, const PtxInstr *in, const PtxFunc *out[MAX_TARGETS]);
/* True the first time that it is asked about `f`. */
bool dec_first_layout(Decode *d, const PtxFunc *f);

/* The body of the entry, of a function that is inlined, or of a `routine` (else NULL). `args` and
 * `rets`: where formals in memory lie. */
void dec_function(Decode *d, const PtxFunc *func, const uint64_t *args, const uint64_t *rets,
                  const Routine *routine);
void dec_move(Decode *d, PtxClass class, int dest, int source);

/* Variables, see decode_layout.c. */
void dec_bind_variables(Decode *d, const PtxFunc *f, const uint64_t *args, const uint64_t *rets);
void dec_layout_shared(Decode *d, const PtxFunc *entry);
/* Keeps where the variables lie that sg_window_text names; while those of the entry are bound. */
void dec_keep_variables(Decode *d, const PtxFunc *entry);

/* Routines, see routine.c. NULL: `f` is inlined. */
Routine *dec_routine(const Decode *d, const PtxFunc *f);
void dec_add_routine(Decode *d, const PtxFunc *f);
void dec_routines(Decode *d); /* decodes them, before the entry */
/* Calls one; the actual parameters in memory lie at args[] and rets[] of the caller's frame. */
void dec_call(Decode *d, const Routine *to, const uint64_t *args, const uint64_t *rets);
void dec_link_calls(Decode *d); /* once all is decoded */

/* The check `address`, see overflow.c: for the instruction about to be emitted, and once all are.
 */
void dec_overflow_check(Decode *d, const Ir *instr);
void dec_overflow(Decode *d);

Status sg_flow(Decode *d);

#endif
