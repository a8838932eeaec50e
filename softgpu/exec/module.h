/* A loaded module: decoded kernels and the memory of global variables. */
#ifndef SEQTUNE_SOFTGPU_EXEC_MODULE_H
#define SEQTUNE_SOFTGPU_EXEC_MODULE_H

#include "softgpu/exec/checks.h"
#include "softgpu/exec/pipes.h"
#include "softgpu/exec/warp.h"
#include "softgpu/ptx/ptx.h"

typedef struct RecPlace { /* beside each record, for messages */
    int line, loc_file, loc_line;
    const char *form;
    const PtxInstr *from; /* NULL: of none */
    bool begins;          /* the first record of its instruction */
    uint8_t raw, pipe;    /* SgPipe before and after folding */
    uint32_t flops;
} RecPlace;

typedef struct LocalCopy { /* of a parameter between frames: offsets in them */
    uint32_t from, to, bytes;
} LocalCopy;

typedef struct SavedRow { /* a register that lives across a call */
    uint32_t row;
    uint8_t class; /* PtxClass */
} SavedRow;

typedef struct CallRecord { /* a call of a routine: see exec/frame.h */
    const char *callee;
    int back;                            /* the record where it returns to */
    uint32_t caller_bytes, callee_bytes; /* of their frames in local memory */
    LocalCopy *args, *rets;
    int arg_count, ret_count;
    SavedRow *saved;
    int saved_count;
    uint32_t saved_words;
} CallRecord;

typedef struct SpecialRow { /* a row filled when a warp starts */
    int special;
    uint32_t row;
} SpecialRow;

typedef struct PlacedVar { /* a variable of a window (shared, local, parameters), for messages */
    const PtxVar *var;
    uint64_t offset; /* in the window: what the device's address is */
} PlacedVar;

struct SgKernel {
    SgKernelInfo info;
    const SgModule *module;
    const PtxFunc *func;
    int *instr_block; /* basic block where each instruction of `func` begins */
    Rec *code;        /* one allocation with the rest */
    RecPlace *places;
    int rec_count;
    BlockCost *costs; /* per basic block */
    int block_count;
    int first;         /* record where a warp starts: routines lie before the entry */
    CallRecord *calls; /* of routines, in the module's arena */
    int call_count;
    PlacedVar *vars; /* of shared memory, and of the entry itself; in the module's arena */
    int var_count;
    int32_t *jumps;     /* brx tables */
    size_t reg_bytes;   /* of a warp, multiple of 128 */
    uint8_t *constants; /* image of the constant rows */
    uint32_t constant_row, constant_bytes;
    SpecialRow *specials;
    int special_count;
    bool spins;   /* has a loop that only waits for memory (spin.c), */
    bool waits;   /* ... for memory that other blocks write */
    int *spin_of; /* per basic block: the head of the loop that only waits around it, or -1; */
    bool *polls;  /* ... whether it waits for memory that other blocks write */
    const struct Countdown **countdowns; /* per basic block: of the heads of those that count */
    uint32_t local_bytes;                /* per thread, multiple of 16 */
    uint32_t shared_base;                /* first legal shared address */
    struct Probe *probes;                /* of a kernel that counts (probe.h); else NULL */
};

typedef struct SgGlobal {
    const char *name;
    uint64_t address, size;
} SgGlobal;

struct SgModule {
    Arena *arena;
    const GpuArch *arch;
    int device; /* of its variables */
    int target; /* number and suffix (a, f, 0) of the .target of the module */
    char target_suffix;
    SgChecks checks;
    bool exact_mma; /* SOFTGPU_MMA=exact: the tensor cores' own sums (mma_exact.h) */
    bool noise;     /* SOFTGPU_APPROX=noise: of the approximate functions (noise.h) */
    PtxModule *ptx;
    SgKernel *kernels;
    int kernel_count;
    SgGlobal *globals;
    int global_count;
};

/* "16 bytes at shared address 0x480 (sh + 128)": an access to a window by the name of its space
 * ("shared", "local", "parameter"), with the variable at or below the address. Returns out. */
const char *sg_window_text(const SgKernel *kernel, const char *space, uint64_t address,
                           uint64_t size, char *out, size_t out_size);
/* What record `r` does, also in a kernel that counts around it. */
Handler sg_rec_handler(const SgKernel *kernel, const Rec *r);
/* What a register or a variable holds for a function: an address of no window. */
uint64_t sg_function_address(const SgModule *module, const char *name); /* 0: unknown */
uint64_t sg_global_address(const SgModule *module, const PtxVar *var);
/* Decodes one entry. */
Status sg_decode(SgModule *module, const PtxFunc *entry, SgKernel *kernel, Error *err);

#endif
