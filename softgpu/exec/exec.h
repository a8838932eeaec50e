/* The executor: runs a grid of a parsed PTX module on the host's cores.
 *
 * All blocks within the modelled occupancy (`resident`) are live at once and progress fairly; a
 * block beyond it starts when one ends. Within a block, warps are preempted at barriers, at spins
 * (loops that only wait for memory: see exec/spin.c) and after a slice of instructions; lanes of a
 * warp diverge and reconverge per lane (sm_70+ progress). Results do not depend on the number of
 * threads, nor on the seed. */
#ifndef SEQTUNE_SOFTGPU_EXEC_H
#define SEQTUNE_SOFTGPU_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/gpus.h"
#include "base/status.h"

typedef struct SgModule SgModule; /* immutable after load, but for global variables' memory */
typedef struct SgKernel SgKernel;

/* ptxas figures of one entry, from the comment lines that seqtune appends to its PTX:
 *   // seqtune-ptxas: entry=NAME registers=N stack=N spill_stores=N spill_loads=N smem=N
 * known = false when the text had none (then registers is an estimate from PTX liveness). */
typedef struct SgPtxas {
    bool known;
    int registers, stack, spill_stores, spill_loads, smem;
} SgPtxas;

/* Parses and checks `text` for `arch` (.target must not be newer). `driver_version` as of
 * cuDriverGetVersion (13000): a newer .version is refused. `device`: whose memory its variables are.
 * Errors name line and instruction. */
Status sg_module_load(const char *text, size_t size, const GpuArch *arch, int driver_version,
                      int device, SgModule **out, Error *err);
void sg_module_free(SgModule *module);
const SgKernel *sg_module_kernel(const SgModule *module, const char *name);
size_t sg_module_kernel_count(const SgModule *module);
const SgKernel *sg_module_kernel_at(const SgModule *module, size_t i); /* in the text's order */

typedef struct SgKernelInfo {
    const char *name;
    int static_smem;
    int local_bytes;
    int param_bytes;
    size_t param_count;
    const uint32_t *param_offset; /* of each parameter in the parameter block */
    const uint32_t *param_size;
    int max_threads; /* .maxntid product, else 1024 */
    int min_blocks;  /* .minnctapersm, else 0 */
    SgPtxas ptxas;
} SgKernelInfo;

const SgKernelInfo *sg_kernel_info(const SgKernel *kernel);
/* The parsed entry, which lives as long as the module. */
const struct PtxFunc *sg_kernel_func(const SgKernel *kernel);
/* Does instruction `i` of the entry stand in a loop that only waits for what other blocks write?
 * Such loops are executed as often as somebody waits, not as often as they poll. */
bool sg_kernel_polls(const SgKernel *kernel, size_t i);
/* Global variables of the module. False when unknown. */
bool sg_module_global(const SgModule *module, const char *name, uint64_t *address, uint64_t *size);

/* SG_TIMING: a sample of the blocks runs, unless they wait for each other (a cooperative launch, or
 * a kernel with a loop that waits for memory which other blocks write). SG_UNTIMED: all blocks run,
 * and nobody asks the clock. */
typedef enum SgMode { SG_FULL, SG_TIMING, SG_UNTIMED } SgMode;

/* What was executed, added up over blocks; the clock turns it into time. Warp instructions
 * unless said otherwise. In SG_TIMING only sampled blocks ran: `blocks_run` of `blocks`. */
typedef struct SgCounters {
    uint64_t blocks, blocks_run;
    uint64_t warp_instructions; /* after folding what ptxas drops: mov, cvta, ... */
    uint64_t mma_flops;         /* 2 m n k per mma.sync */
    uint64_t mma;               /* mma.sync instructions */
    uint64_t alu, fma, sfu, convert, branch, barrier, shuffle;
    uint64_t ldmatrix, shared_load, shared_store;
    uint64_t shared_wavefronts; /* 128-byte port cycles, conflicts included */
    uint64_t shared_conflicts;  /* wavefronts beyond the conflict-free number */
    uint64_t global_load, global_store, cp_async;
    uint64_t global_sectors; /* 32-byte sectors touched, L1 not modelled */
    uint64_t dram_bytes;     /* distinct bytes touched by the grid, estimated in SG_TIMING */
    uint64_t local_access;
    uint64_t waits; /* for memory that other blocks write, one after another in a warp: the most of
                       any warp, added up over blocks; a wait that polls counts once */
    uint64_t max_async_groups; /* most cp.async groups in flight in any thread */
} SgCounters;

/* One sampled block's counters, so that the clock can weigh uneven blocks. */
typedef struct SgBlockSample {
    uint64_t block; /* linear index x + gx * (y + gy * z) */
    SgCounters counters;
    uint64_t *visits; /* as SgLaunch.visits, of this block */
} SgBlockSample;

typedef struct SgFault {
    bool faulted;
    int cuda_result; /* 700 illegal address, 716 misaligned, 715 illegal instruction, 719 launch
                        failed, 702 timeout (deadlock), 710 assert */
    char text[2048]; /* kernel, place ("attn/prefill_mma.cu:118"), thread, address, allocation */
} SgFault;

typedef enum SgWarningKind { SG_WARN_ADDRESS, SG_WARN_SYNC } SgWarningKind;

typedef struct SgWarning { /* a finding that does not stop the kernel; one per instruction */
    SgWarningKind kind;
    char text[512];
} SgWarning;

typedef struct SgLaunch {
    const SgKernel *kernel;
    uint32_t grid[3], block[3];
    uint32_t dynamic_smem;
    const void *params; /* param_bytes */
    SgMode mode;
    bool cooperative; /* all blocks are resident, grid.sync() of cooperative groups works */
    int resident;     /* blocks that may be live at once: SMs x occupancy */
    int threads;      /* host threads; 0: all */
    const GpuModel *model;
    uint64_t spin_limit;  /* 0: default; instructions without progress before a hang is reported */
    bool profile;         /* counts in detail: slower, see exec/profile.h */
    uint64_t stack_bytes; /* per thread, for calls that are not inlined; 0: 1024 */
    uint64_t instruction_limit; /* 0: none; warp instructions of the whole grid, then a time-out */
    uint64_t
        seed; /* 0: the usual order; else another of blocks, warps, lanes, time slices, copies */
    /* Fault injection: the block of linear index `kill_block` ends, as if its threads had exited,
     * once it has executed `kill_after` warp instructions. */
    bool kill;
    uint64_t kill_block, kill_after;
    /* Devices whose memory the kernel may use, a bit each (peer access); 0: all. */
    uint32_t reach;
    /* How long memory may still be changed from outside (copies, other launches) once every block
     * waits for it; then it is a deadlock. 0: nobody else changes it. */
    int patience_ms;
    /* results */
    SgCounters counters;
    SgBlockSample *samples; /* from `arena`; blocks_run of them at most 64 */
    size_t sample_count;
    /* Warp executions of each PTX instruction of the entry (index in PtxFunc.instrs), one whose
     * guard is false for all lanes included; what called functions execute is not in it. Of the
     * blocks that ran, like `counters`. From `arena`. */
    uint64_t *visits;
    size_t visit_count;
    struct SgProfile *detail; /* NULL unless `profile`; of the blocks that ran; from `arena` */
    SgFault fault;
    SgWarning *warnings; /* from `arena`; the first SG_MAX_WARNINGS instructions that warned */
    size_t warning_count;
} SgLaunch;

enum { SG_MAX_WARNINGS = 32 };

/* ST_OK also when the kernel faulted (see launch->fault). Memory for results from `arena`. */
Status sg_execute(SgLaunch *launch, Arena *arena, Error *err);

#endif
