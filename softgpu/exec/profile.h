/* The detailed counts of a profiled launch (SgLaunch.profile): per launch, per PTX instruction.
 *
 * A profiled launch runs a copy of the decoded code in which memory instructions, branches, guards,
 * barriers and basic blocks' first records go through a handler that counts around the real one;
 * other launches run the code as it is, at no cost. Counts do not depend on the number of host
 * threads. PTX warp instructions are meant throughout; `counters` in rows are after folding. */
#ifndef SEQTUNE_SOFTGPU_EXEC_PROFILE_H
#define SEQTUNE_SOFTGPU_EXEC_PROFILE_H

#include "softgpu/cache.h"
#include "softgpu/exec/exec.h"

/* CLASS(id, name): what an instruction is; one of them each. */
#define SG_CLASSES                                                                                 \
    CLASS(MOVE, "move")                                                                            \
    CLASS(INTEGER, "integer")                                                                      \
    CLASS(FLOAT, "float")                                                                          \
    CLASS(DOUBLE, "double")                                                                        \
    CLASS(SFU, "sfu")                                                                              \
    CLASS(CONVERT, "convert")                                                                      \
    CLASS(TENSOR, "tensor")                                                                        \
    CLASS(LDMATRIX, "ldmatrix")                                                                    \
    CLASS(SHARED_LOAD, "shared load")                                                              \
    CLASS(SHARED_STORE, "shared store")                                                            \
    CLASS(LOAD, "global load")                                                                     \
    CLASS(STORE, "global store")                                                                   \
    CLASS(ATOMIC, "atomic")                                                                        \
    CLASS(CP_ASYNC, "cp.async")                                                                    \
    CLASS(LOCAL, "local")                                                                          \
    CLASS(SHUFFLE, "shuffle")                                                                      \
    CLASS(BRANCH, "branch")                                                                        \
    CLASS(BARRIER, "barrier")                                                                      \
    CLASS(OTHER, "other")

typedef enum SgClass {
#define CLASS(id, name) SG_CLASS_##id,
    SG_CLASSES
#undef CLASS
        SG_CLASS_COUNT
} SgClass;

/* Element type of A of an mma. */
typedef enum SgTensorType {
    SG_TENSOR_F16,
    SG_TENSOR_BF16,
    SG_TENSOR_TF32,
    SG_TENSOR_F64,
    SG_TENSOR_INT8,
    SG_TENSOR_FP8,
    SG_TENSOR_COUNT
} SgTensorType;

typedef enum SgMover { /* what moves data */
                       SG_LOADS,
                       SG_STORES,
                       SG_ATOMICS,
                       SG_MATRICES, /* ldmatrix */
                       SG_COPIES,   /* cp.async */
                       SG_MOVERS
} SgMover;

const char *sg_class_name(SgClass class);

/* Only uint64_t, so that details add up like arrays. */
typedef struct SgDetail {
    uint64_t instructions;        /* of all classes */
    uint64_t thread_instructions; /* lanes, those that the guard holds back left out */
    uint64_t class[SG_CLASS_COUNT];
    uint64_t tensor[SG_TENSOR_COUNT];
    uint64_t shared_requests[SG_MOVERS], shared_wavefronts[SG_MOVERS], shared_conflicts[SG_MOVERS];
    uint64_t global_requests[SG_MOVERS], global_sectors[SG_MOVERS];
    uint64_t branches, divergent_branches;
    uint64_t local_loads, local_stores;
    uint64_t barriers;     /* arrivals of warps at aligned barriers */
    uint64_t barrier_idle; /* how many instructions fewer than the slowest warp of its barrier each
                              had executed since its last one: issue slots lost if all run alike */
    uint64_t async_waits;  /* cp.async.wait_* that had a group to wait for */
    uint64_t async_distance; /* instructions of the warp between that group's commit and the wait */
} SgDetail;

typedef struct SgRow { /* one PTX instruction, executed at least once */
    const struct PtxInstr *instr;
    SgClass class;
    uint64_t warps, lanes;
    uint64_t wavefronts, conflicts, sectors, divergent;
    SgCounters counters; /* after folding; for the clock's share */
} SgRow;

typedef struct SgProfile { /* all from the launch's arena */
    SgDetail detail;
    SgCacheCounts cache; /* of the L2 model, over the blocks that ran */
    SgRow *rows;         /* by line of the PTX */
    size_t row_count;
} SgProfile;

/* "attn/prefill_mma.cu:118" of a row's .loc; "" without one. Returns `out`. */
const char *sg_row_place(const SgKernel *kernel, const SgRow *row, char *out, size_t size);
/* The same of the line that called the function, where the compiler inlined it. */
const char *sg_row_caller(const SgKernel *kernel, const SgRow *row, char *out, size_t size);

#endif
