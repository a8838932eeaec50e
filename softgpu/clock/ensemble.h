/* The regions of a kernel in cycles: fold, schedule and issue over an ensemble of settings. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_ENSEMBLE_H
#define SEQTUNE_SOFTGPU_CLOCK_ENSEMBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/gpus.h"
#include "base/status.h"
#include "softgpu/clock/code.h"

/* Of an SM; ISSUE: the slots of its four schedulers. */
typedef enum Pipe {
    PIPE_TENSOR,
    PIPE_SHARED,
    PIPE_ALU,
    PIPE_FP32,
    PIPE_SFU,
    PIPE_ISSUE,
    PIPES
} Pipe;

typedef struct Span { /* cycles in which each warp on the SM executes a region once */
    double mean, low, high;
    double stall[STALLS]; /* of the mean: cycles in which no warp of a sub-core issues */
    int count;            /* members; 0: by demand, stalls are not known */
} Span;

typedef struct RegionTime {
    int header;         /* instruction whose executions are those of the region */
    double pipe[PIPES]; /* cycles of the SM for one execution by one warp, spills included */
    double spill_loads, spill_stores; /* instructions in one execution by one warp */
    Span one, all;                    /* with one block on the SM, with all that fit */
} RegionTime;

typedef struct CodeTime {
    RegionTime *region;
    int count;
} CodeTime;

typedef struct CodeKey { /* what the time of code depends on, but for its text */
    const GpuModel *model;
    int registers, spill_loads, spill_stores; /* bytes, as ptxas gives them */
    int warps, blocks;                        /* of a block; on the SM */
    int wavefronts; /* shared-memory wavefronts per 16 that are free of conflicts */
} CodeKey;

typedef struct SgCode SgCode; /* the times found for a kernel; thread-safe */

SgCode *code_open(void); /* NULL: no memory */
void code_close(SgCode *code);

/* Times of all regions, from `arena`. `visits`: executions
 * of each instruction of `func`. ST_NO_MEMORY only. */
Status code_time(SgCode *code, const PtxFunc *func, const uint64_t *visits, const CodeKey *key,
                 Arena *arena, CodeTime *out, Error *err);

#endif
