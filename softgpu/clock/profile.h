/* What the blocks of a grid ask of the pipes of an SM, along the grid. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_PROFILE_H
#define SEQTUNE_SOFTGPU_CLOCK_PROFILE_H

#include "softgpu/clock/ensemble.h"
#include "softgpu/exec/exec.h"

/* Behind the pipes: cycles that a block takes by the issue model, on an SM of its own and among as
 * many as fit, and the least and the most of the ensemble; 0 without code. WAITS: how often it waits
 * for other blocks, no cycles. */
enum { ALONE = PIPES, TOGETHER, TOGETHER_LOW, TOGETHER_HIGH, WAITS, DEMANDS };

typedef struct Demand {
    double cycles[DEMANDS]; /* of one SM */
} Demand;

typedef struct Profile {
    int dimension; /* 0..2: the one that explains the samples best */
    size_t bins;
    Demand *bin; /* of a block in each bin of that dimension; owned: mem_free */
    const uint32_t *grid;
} Profile;

typedef struct DemandSource { /* what turns counts into cycles */
    const SgLaunch *launch;
    const CodeTime *code; /* its regions and their executions; count 0: the counters alone */
    double spills;        /* without code: spill instructions per mma, or per instruction */
    bool spills_by_mma;
    int warps; /* of a block */
} DemandSource;

/* False: no memory (profile->bin may be set all the same). */
bool profile_make(Profile *profile, const DemandSource *source);
size_t profile_bin(const Profile *profile, uint64_t block);
Demand profile_sum(const Profile *profile);

double demand_largest(const Demand *demand); /* over pipes */
double demand_norm(const Demand *demand);    /* root of the sum of squares over pipes */

/* Waves: blocks in order over `sms` SMs with `slots` places each. cost[bin * slots + m - 1]: cycles
 * of a block of that bin while m blocks share its SM. Cycles until the last one ends; negative: no
 * memory. */
double waves_cycles(const Profile *profile, const double *cost, int slots, int sms,
                    uint64_t blocks);

#endif
