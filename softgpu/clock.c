/* The clock (contract in clock.h): occupancy, demands per block, dispatch.
 *
 * Sources: occupancy as cuda_occupancy.h of the toolkit defines it; rates and latencies from the
 * GPU table (base/gpus.def); the rest is said where it stands. */
#include "softgpu/clock.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/clock/profile.h"

static const char *const pipe_names[PIPES] = {
    [PIPE_TENSOR] = "tensor", [PIPE_SHARED] = "shared", [PIPE_ALU] = "alu",
    [PIPE_FP32] = "fp32",     [PIPE_SFU] = "sfu",       [PIPE_ISSUE] = "issue",
};

enum {
    WARP = 32,
    SUB_CORES = 4,
    REGISTER_UNIT = 256, /* registers are given to a warp in units of 256 */
    SHARED_UNIT = 128, /* shared memory is given to a block in units of 128 bytes (256 on sm_75) */
    SHARED_UNIT_75 = 256,
};

/* Occupancy ------------------------------------------------------------------- */

int sg_warps_by_registers(const GpuArch *arch, int registers) {
    const int per_thread = registers < 1 ? 1 : registers;
    const int per_warp = (per_thread * WARP + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT;
    return arch->regs_sm / SUB_CORES / per_warp * SUB_CORES;
}

static void limit(SgOccupancy *fit, int blocks, const char *limiter) {
    if (blocks >= fit->blocks) return;
    fit->blocks = blocks;
    fit->limiter = limiter;
}

SgOccupancy sg_occupancy(const GpuModel *model, const SgKernelInfo *kernel, int threads,
                         uint32_t dynamic_smem) {
    const GpuArch *arch = model->arch;
    const int warps = (threads + WARP - 1) / WARP;
    SgOccupancy fit = {.blocks = arch->blocks_sm, .limiter = "blocks"};
    if (threads <= 0) return (SgOccupancy){0, "threads"};
    limit(&fit, arch->warps_sm / warps, "threads");
    /* The check at launch counts a block's warps in fours, one for each sub-core; how many blocks
     * then fit is a matter of warps alone. */
    const int by_registers = sg_warps_by_registers(arch, kernel->ptxas.registers);
    const int assumed = (warps + SUB_CORES - 1) / SUB_CORES * SUB_CORES;
    limit(&fit, assumed > by_registers ? 0 : by_registers / warps, "registers");
    const int64_t asked = (int64_t)kernel->static_smem + dynamic_smem;
    const int64_t unit = arch->cc < 80 ? SHARED_UNIT_75 : SHARED_UNIT;
    const int64_t given = (asked + arch->smem_reserved + unit - 1) / unit * unit;
    if (asked > arch->smem_block)
        limit(&fit, 0, "shared memory");
    else if (given > 0)
        limit(&fit, (int)(arch->smem_sm / given), "shared memory");
    return fit;
}

/* Text ------------------------------------------------------------------------ */

SgText sg_text_of(const char *ptx, const char *name) {
    SgText text = {0};
    const size_t n = strlen(name);
    const char *at = ptx;
    while ((at = strstr(at, ".entry")) != NULL) {
        at += strlen(".entry");
        while (isspace((unsigned char)*at)) at++;
        if (strncmp(at, name, n) == 0 && !isalnum((unsigned char)at[n]) && at[n] != '_' &&
            at[n] != '$')
            break;
    }
    if (at == NULL) return text;
    text.code = code_open(); /* without it: the estimate */
    const char *next = strstr(at, ".entry");
    const char *end = next == NULL ? at + strlen(at) : next;
    for (; at < end; at++) {
        if (*at == ';') text.instructions++;
        if (*at == 'm' && strncmp(at, "mma.sync", 8) == 0) text.mma++;
    }
    return text;
}

void sg_text_close(SgText *text) {
    code_close(text->code);
    text->code = NULL;
}

/* Time ------------------------------------------------------------------------ */

static int warps_of(const SgLaunch *launch) {
    return (int)((launch->block[0] * launch->block[1] * launch->block[2] + WARP - 1) / WARP);
}

/* Spill instructions that one executed unit (mma, or instruction without any) stands for. */
static double spill_rate(const SgKernelInfo *info, const SgText *text) {
    const int bytes = info->ptxas.spill_stores + info->ptxas.spill_loads;
    const uint64_t units = text->mma > 0 ? text->mma : text->instructions;
    if (!info->ptxas.known || bytes <= 0 || units == 0) return 0;
    return bytes / 4.0 / (double)units;
}

/* How often each instruction was executed, polls left out: what a wait costs is no work. */
static const uint64_t *without_polls(const SgLaunch *launch, const PtxFunc *func, Arena *arena) {
    const size_t n = (size_t)func->instr_count;
    uint64_t *work = launch->counters.waits > 0 ? ARENA_ARRAY(arena, uint64_t, n + 1) : NULL;
    if (launch->counters.waits == 0) return launch->visits;
    for (size_t i = 0; work != NULL && i < n; i++)
        work[i] = sg_kernel_polls(launch->kernel, i) ? 0 : launch->visits[i];
    return work;
}

static Status time_code(const SgLaunch *launch, const SgKernelInfo *info, const SgText *text,
                        int slots, Arena *arena, CodeTime *code, Error *err) {
    const PtxFunc *func = launch->kernel == NULL ? NULL : sg_kernel_func(launch->kernel);
    const SgCounters *c = &launch->counters;
    *code = (CodeTime){0};
    if (text->code == NULL || func == NULL || launch->visits == NULL) return ST_OK;
    const double free = (double)c->shared_wavefronts - (double)c->shared_conflicts;
    const CodeKey key = {
        .model = launch->model,
        .registers = info->ptxas.registers,
        .spill_loads = info->ptxas.known ? info->ptxas.spill_loads : 0,
        .spill_stores = info->ptxas.known ? info->ptxas.spill_stores : 0,
        .warps = warps_of(launch),
        .blocks = slots,
        .wavefronts = free > 0 ? (int)lround(16 * (double)c->shared_wavefronts / free) : 16,
    };
    const uint64_t *work = without_polls(launch, func, arena);
    if (work == NULL) return err_no_memory(err, sizeof *work);
    return code_time(text->code, func, work, &key, arena, code, err);
}

typedef enum Method { BOUND, ESTIMATE, MEAN, LOW, HIGH, METHODS } Method;

typedef struct Grid {
    const SgLaunch *launch;
    const Profile *profile;
    bool code; /* the issue model has been asked */
    int slots;
} Grid;

/* Cycles from the moment when the last of the blocks that one waits for has stored its data until
 * the wait is over, in round trips to L2: its stores are acknowledged before the release goes out
 * (1, 0 when they had arrived); the release gets there (1/2); the poll that finds it gets there a
 * part of a poll's round trip later (1/2 on average, 0 to 1) and back (1/2). Source of the
 * latency: base/gpus.def; of the path: PTX ISA, memory consistency model (a release makes all
 * earlier stores visible first), a poll is sent when the one before has come back. */
static double wait_cycles(const GpuModel *m, Method method) {
    static const double trips[METHODS] = {
        [BOUND] = 1, [ESTIMATE] = 2.5, [MEAN] = 2.5, [LOW] = 1.5, [HIGH] = 3};
    return trips[method] * m->l2_latency;
}

/* Cycles a block takes while n of them share an SM. To the demands come the latency of its first
 * and last trip to DRAM; the issue model has them, so a bound beside it goes without. */
static double block_cycles(const Grid *g, const Demand *demand, int n, Method method) {
    static const int together[METHODS] = {
        [MEAN] = TOGETHER, [LOW] = TOGETHER_LOW, [HIGH] = TOGETHER_HIGH};
    const GpuModel *m = g->launch->model;
    /* Waits are round trips that were measured: the factor is not on them. */
    const double waits = demand->cycles[WAITS] * wait_cycles(m, method) / m->factor;
    const double start = m->block_us * m->clock_mhz + waits, trips = 2.0 * m->dram_latency;
    if (method == BOUND) return n * demand_largest(demand) + start + (g->code ? 0 : trips);
    if (method == ESTIMATE || !g->code) return n * demand_norm(demand) + start + trips;
    const double share = g->slots > 1 ? (n - 1.0) / (g->slots - 1) : 1;
    const double all = demand->cycles[together[method]];
    const double alone = fmin(demand->cycles[ALONE], all);
    return alone + (all - alone) * share + start;
}

/* Cycles of the whole grid on its SMs; negative: no memory. */
static double grid_cycles(const Grid *g, Method method) {
    const size_t slots = (size_t)g->slots;
    double *cost = mem_alloc(g->profile->bins * slots * sizeof *cost);
    if (cost == NULL) return -1;
    for (size_t bin = 0; bin < g->profile->bins; bin++)
        for (int n = 1; n <= g->slots; n++)
            cost[bin * slots + (size_t)n - 1] = block_cycles(g, &g->profile->bin[bin], n, method);
    const double cycles =
        waves_cycles(g->profile, cost, g->slots, g->launch->model->sms, g->launch->counters.blocks);
    mem_free(cost);
    return cycles;
}

/* The busiest pipe over the whole grid. */
static const char *busiest(const Profile *profile) {
    const Demand sum = profile_sum(profile);
    int best = 0;
    for (int p = 1; p < PIPES; p++)
        if (sum.cycles[p] > sum.cycles[best]) best = p;
    return pipe_names[best];
}

/* Seconds from cycles per method. The factor is on what an SM does; the rates of memory and the
 * cost of a launch are measured ones. */
static void fill(SgTime *time, const Grid *g, const double cycles[METHODS]) {
    const GpuModel *m = g->launch->model;
    const SgCounters *c = &g->launch->counters;
    const double sampled = c->blocks_run > 0 ? (double)c->blocks / (double)c->blocks_run : 1;
    const double l2_s = (double)c->global_sectors * 32 * sampled / (m->l2_gbs * 1e9);
    const double dram_s = (double)c->dram_bytes / (m->dram_gbs * 1e9);
    const double moved = fmax(l2_s, dram_s), launch_s = m->launch_us * 1e-6;
    double *const out[METHODS] = {&time->at_least, &time->estimate, &time->mean, &time->low,
                                  &time->high};
    for (int i = 0; i < METHODS; i++)
        *out[i] = launch_s + fmax(cycles[i] * m->factor / (m->clock_mhz * 1e6), moved);
    time->waves = (double)c->blocks / ((double)g->slots * m->sms);
    time->seconds = time->mean;
    time->cycles = cycles[MEAN] * m->factor;
    const double body = time->mean - launch_s;
    const double waits = c->blocks_run > 0 ? (double)c->waits / (double)c->blocks_run : 0;
    const double waits_s = waits * wait_cycles(m, MEAN) / (m->clock_mhz * 1e6);
    time->bound = launch_s > body       ? "launch"
                  : 2 * waits_s >= body ? "waits"
                  : dram_s >= body      ? "dram"
                  : l2_s >= body        ? "l2"
                                        : busiest(g->profile);
}

/* Where the cycles went: each region's, as often as it was executed, with as many blocks on an SM
 * as the grid puts there. */
static void cycles_fill(SgTime *time, const Grid *g, const CodeTime *code) {
    _Static_assert((int)SG_CYCLE_BARRIER == (int)STALL_BARRIER + 1 &&
                       (int)SG_CYCLE_PIPE == (int)STALL_PIPE + 1,
                   "SgCycle is CodeStall behind issue");
    const uint64_t sms = (uint64_t)g->launch->model->sms;
    const double here = fmin(g->slots, (double)((g->launch->counters.blocks + sms - 1) / sms));
    const double full = g->slots > 1 ? (here - 1) / (g->slots - 1) : 1;
    double sum = 0;
    for (int r = 0; r < code->count; r++) {
        const RegionTime *t = &code->region[r];
        const double turns = (double)g->launch->visits[t->header];
        const double all = turns * (t->one.mean + (t->all.mean - t->one.mean) * full);
        double issued = all;
        sum += all;
        for (int i = 0; i < STALLS; i++) {
            const double stall =
                turns * (t->one.stall[i] + (t->all.stall[i] - t->one.stall[i]) * full);
            time->part[SG_CYCLE_BARRIER + i] += stall;
            issued -= stall;
        }
        time->part[t->one.count > 0 ? SG_CYCLE_ISSUE : SG_CYCLE_UNTOLD] += issued;
    }
    const double waits = (double)g->launch->counters.waits * warps_of(g->launch) *
                         wait_cycles(g->launch->model, MEAN) / g->launch->model->factor;
    sum += waits;
    time->part[SG_CYCLE_BARRIER] += waits;
    for (int i = 0; i < SG_CYCLES; i++) time->part[i] = sum > 0 ? time->part[i] / sum : 0;
    if (sum <= 0) time->part[SG_CYCLE_UNTOLD] = 1;
}

static void spills_fill(SgTime *time, const DemandSource *source, const SgKernelInfo *info) {
    const SgCounters *c = &source->launch->counters;
    for (int r = 0; r < source->code->count; r++) {
        const RegionTime *t = &source->code->region[r];
        const double turns = (double)source->launch->visits[t->header];
        time->spill_loads += turns * t->spill_loads;
        time->spill_stores += turns * t->spill_stores;
    }
    if (source->code->count > 0 || source->spills <= 0) return;
    const double all =
        source->spills * (double)(source->spills_by_mma ? c->mma : c->warp_instructions);
    const double bytes = info->ptxas.spill_loads + info->ptxas.spill_stores;
    time->spill_loads = all * info->ptxas.spill_loads / bytes;
    time->spill_stores = all * info->ptxas.spill_stores / bytes;
}

static Status time_grid(const SgLaunch *launch, const SgKernelInfo *info, const SgText *text,
                        int slots, Arena *arena, SgTime *time, Error *err) {
    CodeTime code;
    Status st = time_code(launch, info, text, slots, arena, &code, err);
    if (st != ST_OK) return st;
    const DemandSource source = {.launch = launch,
                                 .code = &code,
                                 .spills = spill_rate(info, text),
                                 .spills_by_mma = text->mma > 0,
                                 .warps = warps_of(launch)};
    Profile profile = {0};
    bool ok = profile_make(&profile, &source);
    const Grid grid = {launch, &profile, code.count > 0, slots};
    double cycles[METHODS] = {0};
    for (int i = 0; i < METHODS && ok; i++) {
        cycles[i] = grid_cycles(&grid, (Method)i);
        ok = cycles[i] >= 0;
    }
    if (ok) {
        fill(time, &grid, cycles);
        cycles_fill(time, &grid, &code);
        spills_fill(time, &source, info);
    }
    mem_free(profile.bin);
    return ok ? ST_OK : err_no_memory(err, sizeof(Demand));
}

Status sg_clock(const SgLaunch *launch, const SgKernelInfo *info, const SgText *text, SgTime *time,
                Error *err) {
    const GpuModel *m = launch->model;
    const int threads = (int)(launch->block[0] * launch->block[1] * launch->block[2]);
    const SgOccupancy fit = sg_occupancy(m, info, threads, launch->dynamic_smem);
    const double least = m->launch_us * 1e-6;
    *time = (SgTime){.seconds = least,
                     .bound = "launch",
                     .at_least = least,
                     .estimate = least,
                     .mean = least,
                     .low = least,
                     .high = least};
    if (fit.blocks == 0 || launch->counters.blocks == 0) return ST_OK;
    Arena *arena = arena_new();
    if (arena == NULL) return err_no_memory(err, sizeof *time);
    const Status st = time_grid(launch, info, text, fit.blocks, arena, time, err);
    arena_free(arena);
    return st;
}
