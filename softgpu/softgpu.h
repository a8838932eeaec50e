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
    int can_sample;       /* 1: softgpuSetLaunchMode is worth calling */
    char model[32];       /* "a100" */
    char description[96]; /* "NVIDIA A100-SXM4-80GB (modelled)" */
    double factor;        /* on the modelled time of an SM; 1: uncalibrated */
} SoftgpuTraits;

enum { SOFTGPU_FULL = 0, SOFTGPU_TIMING = 1, SOFTGPU_UNTIMED = 2 };

#pragma GCC visibility push(default)

/* `device`: ordinal. CUresult. */
int softgpuGetTraits(int device, SoftgpuTraits *traits);
/* For the calling thread's current context. TIMING executes sampled blocks only: results are
 * meaningless, times are not. UNTIMED executes all blocks and leaves out the clock, which takes
 * longer than a small kernel: results are whole, kernels take 0 s on the time line. */
int softgpuSetLaunchMode(int mode);
/* Text of the last fault of the current context: kernel, place, thread, address, allocation; where
 * there was none, why the last launch was refused. */
int softgpuLastFault(char *text, size_t size);

/* Findings of the last launch that did not stop it, one per line (SOFTGPU_CHECKS: sync, address).
 */
int softgpuWarnings(char *text, size_t size);

/* Waits until `stream` (a CUstream) has done what it was given, then copies device memory to the
 * host: no operation of the time line, for callers that look at what a kernel will read.
 * CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, and the capture goes on, while the stream captures;
 * CUDA_ERROR_NOT_SUPPORTED unless launches are FULL; CUDA_ERROR_NOT_READY, without waiting, while
 * something is pending that the caller's own thread may have to release (a host function, a wait
 * for a value, a graph); CUDA_ERROR_INVALID_VALUE for bytes that do not lie in one allocation. */
int softgpuPeek(void *stream, void *to, unsigned long long from, size_t bytes);

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
    /* modelled seconds: by the busiest unit, by all units, by the issue model and its range */
    double at_least, estimate, mean, low, high;
} SoftgpuLaunchStats;

/* Figures of the last launch that completed in the current context. A caller of an older header
 * gives a smaller `size` and gets the fields that it knows. */
int softgpuLastLaunch(SoftgpuLaunchStats *stats);

/* 1: launches of the current context that begin from now on are counted in detail, which makes them
 * slower and changes neither results nor modelled times. SOFTGPU_PROFILE=1: from the start. */
int softgpuSetProfile(int on);

typedef struct SoftgpuCounter {
    char name[40]; /* "shared.load.conflicts"; the list stands in docs/softgpu.md */
    char unit[24];
    int modelled; /* 0: counted exactly, over the blocks that ran */
    int adds;     /* 1: the values of several launches add up; 0: a ratio, a limit */
    double value;
} SoftgpuCounter;

typedef struct SoftgpuLine { /* one executed PTX instruction */
    char place[160];         /* "file:line" by .loc; "" when the text has none */
    char instruction[80];    /* "ld.global.v4.u32" */
    char kind[16];           /* "global load" */
    int ptx_line;
    unsigned long long warps;      /* executions by a warp */
    unsigned long long lanes;      /* executions by a thread */
    unsigned long long wavefronts; /* of shared memory */
    unsigned long long conflicts;  /* of these, beyond the least */
    unsigned long long sectors;    /* of global memory, 32 bytes each */
    unsigned long long divergent;  /* branches after which lanes went apart */
    double share;                  /* modelled: its part of the work, 1 over all lines */
    char caller[160]; /* "file:line" of the call, where the compiler inlined a function; or "" */
} SoftgpuLine;

/* Both: of the last launch of the current context that completed, if it was profiled
 * (CUDA_ERROR_NOT_FOUND otherwise). *count: room on entry, 0 with NULL to ask; how many there are
 * on return. Lines stand in the order of the PTX. */
int softgpuLastCounters(SoftgpuCounter *counters, size_t *count);
int softgpuLastProfile(SoftgpuLine *lines, size_t *count);

/* Lets softgpuLastLaunch, LastCounters and LastProfile tell of another profiled launch of the
 * current context, until the next launch: `index` 0 is the first one after softgpuSetProfile(1), or
 * the oldest of the 16 that are kept. entry (or NULL) gets its kernel's name.
 * CUDA_ERROR_NOT_FOUND behind the newest. */
int softgpuSelectLaunch(size_t index, char *entry, size_t size);

/* Fault injection: in every launch of `kernel` from now on, block `block` (x + grid x * (y + grid y
 * * z)) ends once it has executed so many warp instructions, to the end of a basic block, as if its
 * threads had exited. NULL: no more. SOFTGPU_KILL_BLOCK=kernel:block[:instructions] does the same
 * from the start. */
int softgpuKillBlock(const char *kernel, unsigned long long block, unsigned long long instructions);

#pragma GCC visibility pop

#endif
