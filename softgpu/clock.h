/* The clock: counters and ptxas figures to modelled time on a GpuModel.
 *
 * Version 1. Each block asks every pipe of its SM for some cycles (tensor, shared-memory port with
 * spills, ALU, FP32, SFU, issue). A block's time is the q-norm of those demands with q = warps per
 * sub-core that can fill each other's gaps: one warp adds its phases up, many warps overlap until
 * only the busiest pipe counts (q to infinity is the maximum over pipes). Blocks, uneven ones too,
 * are dispatched in order over SMs x occupancy; L2 and DRAM bound the whole grid; launch cost on
 * top. Not modelled: contention between kernels, clock and power, L1 hits, dependence latencies. */
#ifndef SEQTUNE_SOFTGPU_CLOCK_H
#define SEQTUNE_SOFTGPU_CLOCK_H

#include "softgpu/exec/exec.h"

typedef struct SgOccupancy {
    int blocks;          /* per SM; 0 when the block does not fit */
    const char *limiter; /* "registers", "shared memory", "threads", "blocks" */
} SgOccupancy;

SgOccupancy sg_occupancy(const GpuModel *model, const SgKernelInfo *kernel, int threads,
                         uint32_t dynamic_smem);

/* Most warps that one SM can hold with so many registers per thread. */
int sg_warps_by_registers(const GpuArch *arch, int registers);

/* What the text of a kernel holds, to spread its spills over what was executed. */
typedef struct SgText {
    uint64_t instructions, mma;
} SgText;

/* Counts from the PTX text of entry `name`; zeros when there is no such entry. */
SgText sg_text_of(const char *ptx, const char *name);

typedef struct SgTime {
    double seconds; /* modelled, with model->factor */
    const char
        *bound; /* "tensor", "shared", "alu", "fp32", "sfu", "issue", "l2", "dram", "launch" */
    double waves;
} SgTime;

/* `info` is sg_kernel_info(launch->kernel). Needs no lock. On failure (no memory) ST_NO_MEMORY. */
Status sg_clock(const SgLaunch *launch, const SgKernelInfo *info, const SgText *text, SgTime *time,
                Error *err);

#endif
