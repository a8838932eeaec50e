/* The side door of the software GPU: symbols beside the CUDA driver ABI, looked up by name.
 *
 * libcuda has none of them; a program that finds softgpuGetTraits absent knows that its times are
 * measured. This header documents the ABI for others; inside this project nobody includes it:
 * runtime/driver.h declares the same struct (a test compares the two byte for byte). */
#ifndef SEQTUNE_SOFTGPU_H
#define SEQTUNE_SOFTGPU_H

#include <stddef.h>

typedef struct SoftgpuTraits {
    size_t size;          /* set by the caller to sizeof(SoftgpuTraits) */
    int modelled;         /* 1: event times are modelled */
    int deterministic;    /* 1: one repetition tells all */
    int can_sample;       /* 1: softgpuSetLaunchMode(1) is worth calling */
    char model[32];       /* "a100" */
    char description[96]; /* "NVIDIA A100-SXM4-80GB (modelled)" */
    double factor;        /* on the modelled time of an SM; 1: uncalibrated */
} SoftgpuTraits;

enum { SOFTGPU_FULL = 0, SOFTGPU_TIMING = 1 };

#pragma GCC visibility push(default)

/* `device`: ordinal. CUresult. */
int softgpuGetTraits(int device, SoftgpuTraits *traits);
/* For the calling thread's current context. TIMING executes sampled blocks only: results are
 * meaningless, times are not. */
int softgpuSetLaunchMode(int mode);
/* Text of the last fault of the current context: kernel, place, thread, address, allocation. */
int softgpuLastFault(char *text, size_t size);

/* Findings of the last launch that did not stop it, one per line (SOFTGPU_CHECKS: sync, address).
 */
int softgpuWarnings(char *text, size_t size);

typedef struct SoftgpuLaunchStats {
    size_t size;
    double seconds;
    char bound[16];
    double waves;
    int blocks_per_sm;
    char limiter[16];
    unsigned long long blocks, blocks_run, warp_instructions, mma, ldmatrix, cp_async;
    unsigned long long shared_wavefronts, shared_conflicts, global_sectors, dram_bytes;
    unsigned long long local_access, barriers, max_async_groups;
} SoftgpuLaunchStats;

/* Figures of the last launch that completed in the current context. */
int softgpuLastLaunch(SoftgpuLaunchStats *stats);

#pragma GCC visibility pop

#endif
