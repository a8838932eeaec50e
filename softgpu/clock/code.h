/* What the clock knows of a kernel's code: the loop that holds its tensor work, folded to the
 * operations that ptxas keeps, in an order like ptxas's.
 *
 *   fold.c      PTX instructions of the loop -> operations with data edges
 *   schedule.c  order edges, spills, list scheduling per basic block
 *   issue.c     in-order issue of the scheduled loop by the warps of an SM sub-core
 *
 * Invariant: an edge that is not carried names an operation earlier in the list; a carried one is
 * satisfied by the iteration before. Nothing here depends on the data that a kernel reads. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_CODE_H
#define SEQTUNE_SOFTGPU_CLOCK_CODE_H

#include "base/arena.h"
#include "base/gpus.h"
#include "softgpu/ptx/ptx.h"

typedef enum CodeKind {
#define KIND(id, name) CODE_##id,
#include "softgpu/clock/kinds.def"
#undef KIND
    CODE_KINDS
} CodeKind;

const char *code_kind_name(CodeKind kind);

typedef struct CodeEdge {
    int from;     /* operation */
    bool carried; /* of the iteration before */
    bool order;   /* must issue after `from`, but takes nothing from it */
} CodeEdge;

typedef struct CodeOp {
    uint8_t kind;     /* CodeKind */
    uint8_t slots;    /* issue slots: 64-bit operations are two 32-bit ones */
    uint8_t matrices; /* ldmatrix: 8x8 matrices, one wavefront each */
    uint16_t block;   /* basic block within the loop */
    uint32_t flops;   /* of an mma */
    int instr;        /* in PtxFunc.instrs; -1: a spill */
    CodeEdge *edges;
    int edge_count;
} CodeOp;

typedef struct CodeLoop {
    int first, end; /* PTX instructions [first, end) */
    CodeOp *ops;
    int count, blocks;
    uint32_t raw[CODE_KINDS];    /* issue slots before folding, moves left out */
    uint32_t folded[CODE_KINDS]; /* issue slots that are kept */
    uint32_t mma, mma_flops;
    int live; /* most values alive at once in PTX order, of those that the loop defines */
} CodeLoop;

/* What a pipe and a result cost on one sub-core of a GPU, in cycles. */
typedef struct CodeCosts {
    double interval[CODE_KINDS]; /* of its pipe, per issue slot (ldmatrix: per matrix; mma: per
                                    4096 FLOP) */
    double latency[CODE_KINDS];  /* from issue to a reader's issue, the interval left out */
} CodeCosts;

/* `conflicts`: shared-memory wavefronts counted / conflict-free ones, 1 or more. */
CodeCosts code_costs(const GpuModel *model, double conflicts);
double code_interval(const CodeCosts *costs, const CodeOp *op);
bool code_on_port(int kind); /* of shared memory, which four sub-cores share */

typedef struct CodeSetting {
    int registers;                 /* as ptxas gives a thread */
    int spill_loads, spill_stores; /* instructions in the loop */
    double spacing;                /* least cycles between two ldmatrix of a warp */
} CodeSetting;

/* A copy of `loop` in the order in which ptxas might issue it, spills added, from `arena`. */
Status code_schedule(const CodeLoop *loop, const CodeCosts *costs, const CodeSetting *setting,
                     Arena *arena, CodeLoop *out, Error *err);

typedef enum CodePolicy { CODE_GREEDY, CODE_OLDEST, CODE_ROUND_ROBIN, CODE_POLICIES } CodePolicy;

typedef struct CodeShare {
    int warps;  /* of a block on this sub-core, at least 1 */
    int blocks; /* on the SM */
    CodePolicy policy;
    double phase; /* 0 .. 1: how far apart the blocks start, in parts of an even spread */
} CodeShare;

/* Cycles in which every warp of the sub-core does one iteration, once all run. Negative: no
 * memory. */
double code_issue(const CodeLoop *loop, const CodeCosts *costs, const CodeShare *share);

/* The innermost loop with most mma.sync, folded; loop->count = 0 when the kernel has no loop.
 * Everything from `arena`. ST_NO_MEMORY only. */
Status code_fold(const PtxFunc *func, Arena *arena, CodeLoop *loop, Error *err);

#endif
