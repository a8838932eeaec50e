/* What the clock knows of a kernel's code: its regions, each folded to the operations that ptxas
 * keeps, in an order like ptxas's. A region is a loop without the loops inside it, or what lies
 * outside of all loops.
 *
 *   regions.c   loops of a kernel, executions of each, how often each basic block is on the path
 *   classify.c  PTX forms -> kinds of operation
 *   fold.c      PTX instructions of a region -> operations with data edges
 *   costs.c     what an operation costs on a GPU
 *   schedule.c  order edges, spills, list scheduling per basic block
 *   issue.c     in-order issue of the scheduled region by the warps of an SM sub-core
 *   ensemble.c  which regions are issued, and over which settings they are averaged
 *
 * Invariant: an edge that is not carried names an operation earlier in the list; a carried one is
 * satisfied by the iteration before. Nothing here depends on the data that a kernel reads but
 * through the executions that the functional run counted. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_CODE_H
#define SEQTUNE_SOFTGPU_CLOCK_CODE_H

#include "base/arena.h"
#include "base/gpus.h"
#include "softgpu/ptx/ptx.h"

typedef enum CodeKind {
#define KIND(id, name, port) CODE_##id,
#include "softgpu/clock/kinds.def"
#undef KIND
    CODE_KINDS
} CodeKind;

/* Pipes of a sub-core; MEMORY is its share of the SM's shared-memory port. FREE: none. */
typedef enum CodePort { TENSOR, SHARED, ALU, FP32, SFU, FREE, PORTS } CodePort;

const char *code_kind_name(CodeKind kind);

static inline CodePort code_port(int kind) {
    static const uint8_t ports[] = {
#define KIND(id, name, port) port,
#include "softgpu/clock/kinds.def"
#undef KIND
    };
    return (CodePort)ports[kind];
}

typedef struct CodeEdge {
    int from;     /* operation */
    bool carried; /* of the iteration before */
    bool order;   /* must issue after `from`, but takes nothing from it */
} CodeEdge;

typedef struct CodeOp {
    uint8_t kind;     /* CodeKind */
    uint8_t slots;    /* issue slots: 64-bit operations are two 32-bit ones */
    uint8_t matrices; /* ldmatrix: 8x8 matrices, one wavefront each */
    uint8_t rate;     /* GpuMma of an mma */
    int8_t groups;    /* of an async wait: groups that may stay in flight; -1: closes a group */
    uint16_t block;   /* basic block within the region */
    uint32_t flops;   /* of an mma */
    uint32_t bytes;   /* moved from or to global memory, by one thread */
    int instr;        /* in PtxFunc.instrs; -1: a spill */
    CodeEdge *edges;
    int edge_count;
} CodeOp;

typedef struct CodeRegion {
    int first, end;    /* PTX instructions [first, end), those of inner loops excepted */
    int parent;        /* region around it; -1: what is outside of all loops */
    double executions; /* by all warps of the blocks that ran; 1 when nothing was counted */
    double *weight;    /* per basic block: executions of it per execution of the region */
    CodeOp *ops;
    int count, blocks;
    uint32_t raw[CODE_KINDS];    /* issue slots before folding, moves left out */
    uint32_t folded[CODE_KINDS]; /* issue slots that are kept */
    uint32_t mma, mma_flops;     /* blocks off the path included */
    int live; /* most values alive at once in PTX order, of those that the region defines */
} CodeRegion;

typedef struct CodeRegions {
    CodeRegion *region; /* [0]: what is outside of all loops */
    int count;
} CodeRegions;

/* The regions of `func`, folded; everything from `arena`. `visits`: executions of each instruction
 * by warps; NULL: every region once, every block on the path. ST_NO_MEMORY only. */
Status code_regions(const PtxFunc *func, const uint64_t *visits, Arena *arena, CodeRegions *out,
                    Error *err);

/* Fills ops, counts and live of a region: instructions i of [first, end) with owner[i] == id. */
Status code_fold(const PtxFunc *func, const int *owner, int id, const uint64_t *visits,
                 Arena *arena, CodeRegion *region, Error *err);

/* What a pipe and a result cost on one sub-core of a GPU, in cycles. */
typedef struct CodeCosts {
    double interval[CODE_KINDS]; /* of its pipe, per issue slot (ldmatrix: per matrix) */
    double latency[CODE_KINDS];  /* from issue to a reader's issue, the interval left out */
    double mma[GPU_MMAS];        /* per FLOP */
    double l2;                   /* per byte and thread of a warp, of the SM's share of the L2 */
    double barrier;              /* from the last arrival to the next issue */
} CodeCosts;

/* `conflicts`: shared-memory wavefronts counted / conflict-free ones, 1 or more. `far`: its data
 * come from DRAM, not from L2. */
CodeCosts code_costs(const GpuModel *model, double conflicts, bool far);
double code_interval(const CodeCosts *costs, const CodeOp *op);

typedef struct CodeSetting {
    int registers;                    /* as ptxas gives a thread */
    double spill_loads, spill_stores; /* instructions in one execution of the region */
    int reserved;                     /* of the registers: those that hold no value of the region */
    double spacing;                   /* least cycles between two ldmatrix of a warp */
} CodeSetting;

/* A copy of `region` in the order in which ptxas might issue it, spills added, from `arena`. */
Status code_schedule(const CodeRegion *region, const CodeCosts *costs, const CodeSetting *setting,
                     Arena *arena, CodeRegion *out, Error *err);

typedef enum CodePolicy { CODE_GREEDY, CODE_OLDEST, CODE_ROUND_ROBIN, CODE_POLICIES } CodePolicy;

typedef struct CodeShare {
    int warps;  /* of a block on this sub-core, at least 1 */
    int blocks; /* on the SM */
    CodePolicy policy;
    double phase; /* 0 .. 1: how far apart the blocks start, in parts of an even spread */
    int turns;    /* executions of each warp that are timed, at least 1 */
} CodeShare;

/* What the warps of a sub-core wait for in cycles in which none of them issues. */
typedef enum CodeStall {
    STALL_BARRIER,    /* other warps of the block, and the barrier's own latency */
    STALL_ASYNC,      /* a group of async copies */
    STALL_MEMORY,     /* a result of a load, ldmatrix, shuffle or spill */
    STALL_DEPENDENCE, /* a result of any other operation */
    STALL_PIPE,       /* a pipe that is busy */
    STALLS
} CodeStall;

/* Cycles in which every warp of the sub-core executes the region once, when it does so again and
 * again. Negative: no memory. stall[] (NULL: not wanted) gets those of them in which no warp
 * issues, by reason; a cycle in which warps wait for different things counts for each in part. */
double code_issue(const CodeRegion *region, const CodeCosts *costs, const CodeShare *share,
                  double stall[STALLS]);

#endif
