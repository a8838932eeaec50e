/* The clock: counters and ptxas figures to modelled time on a GpuModel.
 *
 * Version 1: per SM the maximum over pipes (tensor, shared-memory wavefronts, ALU, FP32, SFU,
 * L2/DRAM bytes), with occupancy, waves and launch cost. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_H
#define SEQTUNE_SOFTGPU_CLOCK_H

#include "softgpu/exec/exec.h"

typedef struct SgOccupancy {
    int blocks;          /* per SM; 0 when the block does not fit */
    const char *limiter; /* "registers", "shared memory", "threads", "blocks" */
} SgOccupancy;

SgOccupancy sg_occupancy(const GpuModel *model, const SgKernelInfo *kernel, int threads,
                         uint32_t dynamic_smem);

typedef struct SgTime {
    double seconds;    /* modelled, with model->factor */
    const char *bound; /* "tensor", "shared", "alu", "fp32", "sfu", "l2", "dram", "launch" */
    double waves;
} SgTime;

SgTime sg_clock(const SgLaunch *launch);

#endif
