/* The clock: executions, counters, code and ptxas figures to modelled time on a GpuModel.
 *
 * Each block asks every pipe of its SM for some cycles (tensor, shared-memory port with spills,
 * ALU, FP32, SFU, issue). Three times come of it: `bound`, the largest demand; `estimate`, the
 * root of their squares' sum; `mean`, what the runs of an issue model of the code's regions take on
 * average (clock/code.h), where the executor told how often each instruction was executed. Blocks,
 * uneven ones too, are dispatched in order over SMs x occupancy; the model's factor scales their
 * cycles; L2 and DRAM bound the whole grid; launch cost on top. Not modelled: contention between
 * kernels, clock and power, L1 hits. */
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
    struct SgCode *code; /* owned: times that were found; NULL: the counters alone tell */
} SgText;

/* Counts from the PTX text of entry `name`; zeros when there is no such entry. The
 * result is freed by sg_text_close. */
SgText sg_text_of(const char *ptx, const char *name);
void sg_text_close(SgText *text);

/* What the cycles of a sub-core go to, as the issue model has it. */
typedef enum SgCycle {
    SG_CYCLE_ISSUE,      /* a warp issues */
    SG_CYCLE_BARRIER,    /* none does, they wait for other warps of their block or other blocks; */
    SG_CYCLE_ASYNC,      /* for async copies; */
    SG_CYCLE_MEMORY,     /* for results of loads, ldmatrix, shuffles, spills; */
    SG_CYCLE_DEPENDENCE, /* for other results; */
    SG_CYCLE_PIPE,       /* for a busy pipe */
    SG_CYCLE_UNTOLD,     /* regions that were not issued: too small, or counters alone */
    SG_CYCLES
} SgCycle;

typedef struct SgTime {
    double seconds;    /* modelled, with model->factor: `mean` */
    const char *bound; /* "tensor", "shared", "alu", "fp32", "sfu", "issue", "l2", "dram",
                          "launch" */
    double waves;
    double at_least, estimate;        /* seconds by the largest demand, by the root of squares */
    double mean, low, high;           /* of the ensemble; all `estimate` without code */
    double cycles;                    /* of an SM, from the first block to the last; of `mean` */
    double part[SG_CYCLES];           /* of them; 1 together */
    double spill_loads, spill_stores; /* warp instructions of the blocks that ran: the text's
                                         spills, spread over its mma or its instructions */
} SgTime;

/* `info` is sg_kernel_info(launch->kernel). Needs no lock. On failure (no memory) ST_NO_MEMORY. */
Status sg_clock(const SgLaunch *launch, const SgKernelInfo *info, const SgText *text, SgTime *time,
                Error *err);

#endif
