/* Counting around handlers in profiled launches (results: profile.h). */
#ifndef SEQTUNE_SOFTGPU_EXEC_PROBE_H
#define SEQTUNE_SOFTGPU_EXEC_PROBE_H

#include "softgpu/exec/module.h"
#include "softgpu/exec/profile.h"

typedef struct Probe { /* beside each record of a profiled kernel */
    Handler real;
    uint8_t mover; /* SgMover of memory records */
    bool reads, writes;
    uint32_t negated; /* ~0: the guard of the instruction is one of !p */
    uint32_t left;    /* records of the basic block behind this one */
} Probe;

typedef struct RecCounts {
    uint64_t lanes; /* leaders, guards and guarded jumps only */
    uint64_t wavefronts, conflicts, sectors, divergent;
} RecCounts;

typedef struct Run { /* sectors that one access touched, side by side */
    uint64_t first;
    uint32_t count;
    bool reads, writes;
} Run;

typedef struct BarrierPhase {
    uint64_t sum, most, warps;
} BarrierPhase;

enum { COMMITS = 16 }; /* commits remembered per warp: wait_group with a larger N counts nothing */

typedef struct WarpPhase {
    uint64_t barrier_at; /* instructions at the last barrier */
    uint64_t commits, waited;
    uint64_t commit_at[COMMITS];
} WarpPhase;

typedef struct BlockProfile { /* of one live block */
    RecCounts *recs;
    SgDetail detail;
    Run *runs;
    size_t run_count, run_cap;
    bool reads, writes; /* of the access that runs */
    bool no_memory;
    BarrierPhase barriers[BARRIERS];
    WarpPhase warps[MAX_WARPS];
} BlockProfile;

typedef struct LaunchProfile LaunchProfile; /* of a launch */

bool sg_is_jump_if(Handler fn); /* a jump under a guard */
bool sg_is_leader(Handler fn);  /* of the first record of a basic block */
/* A copy of `kernel` that counts, freed with probe_kernel_free; NULL: no memory. */
SgKernel *probe_kernel(const SgKernel *kernel);
void probe_kernel_free(SgKernel *kernel);

BlockProfile *probe_block_new(const SgKernel *kernel); /* NULL: no memory */
void probe_block_free(BlockProfile *p);

/* `blocks` in dispatch order, `resident` of them at once. */
LaunchProfile *launch_profile_new(const SgKernel *kernel, const GpuModel *model, uint64_t blocks,
                                  uint64_t resident);
void launch_profile_free(LaunchProfile *lp);
/* Takes what block number `index` in dispatch order counted; `p` is empty then. Under the launch's
 * lock. False: no memory. */
bool launch_profile_take(LaunchProfile *lp, uint64_t index, BlockProfile *p);
/* `counts`: executions per basic block. NULL: no memory. */
SgProfile *launch_profile_result(const LaunchProfile *lp, const uint64_t *counts, Arena *arena);

#endif
