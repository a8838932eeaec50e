/* The tensor loop of a kernel in cycles: fold, schedule and issue over an ensemble of settings. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_ENSEMBLE_H
#define SEQTUNE_SOFTGPU_CLOCK_ENSEMBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/gpus.h"
#include "base/status.h"

typedef struct LoopSpan { /* cycles in which each warp on the SM does one iteration */
    double mean, low, high;
} LoopSpan;

typedef struct LoopTime {
    bool units_are_mma; /* the kernel's text has mma.sync: spills are spread over them */
    uint32_t mma;       /* mma.sync of one iteration; 0: no such loop, nothing below is set */
    uint32_t raw_alu, kept_alu, raw_fp32, kept_fp32, kept_sfu, raw_all, kept_all; /* slots */
    double port;       /* cycles of the SM's shared-memory port, spills included */
    LoopSpan one, all; /* with one block on the SM, with all that fit */
} LoopTime;

typedef struct LoopKey { /* what the time of a loop depends on, but for its text */
    const GpuModel *model;
    int registers, spill_loads, spill_stores; /* bytes, as ptxas gives them */
    int warps, blocks;                        /* of a block; on the SM */
    int wavefronts; /* shared-memory wavefronts per 16 that are free of conflicts */
} LoopKey;

typedef struct SgCode SgCode; /* a kernel's text and the times found for it; thread-safe */

/* `ptx` and `name` are kept, not copied. NULL: no memory. */
SgCode *code_open(const char *ptx, const char *name);
void code_close(SgCode *code);

/* Text that does not parse or has no tensor loop gives out->mma = 0. ST_NO_MEMORY only. */
Status code_time(SgCode *code, const LoopKey *key, LoopTime *out, Error *err);

#endif
