/* The clock (contract in clock.h): occupancy, demands per block, dispatch.
 *
 * Sources: occupancy as cuda_occupancy.h of the toolkit defines it; rates and latencies from the
 * GPU table (base/gpus.def); the rest is said where it stands. */
#include "softgpu/clock.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

typedef enum Pipe { TENSOR, SHARED, ALU, FP32, SFU, ISSUE, PIPES } Pipe;

static const char *const pipe_names[PIPES] = {"tensor", "shared", "alu", "fp32", "sfu", "issue"};

enum {
    WARP = 32,
    SUB_CORES = 4,
    REGISTER_UNIT = 256, /* registers are given to a warp in units of 256 */
    SHARED_UNIT = 128, /* shared memory is given to a block in units of 128 bytes (256 on sm_75) */
    SHARED_UNIT_75 = 256,
    BINS = 1024,        /* distinct demands that are told apart along a grid dimension */
    SIMULATED = 1 << 15 /* blocks dispatched one by one; those before run at full occupancy */
};

/* A spill is one 4-byte LDL or STL; in the loop it costs two cycles of the shared-memory port
 * (a ldmatrix.x4 costs four). Heavy spilling sits more in the loop than its share of the text:
 * above 1200 bytes of loads and stores half as much again. Both from published A100 tile times. */
static const double SPILL_CYCLES = 2, SPILL_HEAVY = 1.5;
static const int SPILL_HEAVY_BYTES = 1200;

/* With one block on the SM nobody fills the gap at its barriers. The size is fitted: FA2's authors
 * give 18 % (d64) and 28 % (d128) for their 8-warp tiles on A100, this gives 18 % and 21 %. */
static const double LONE_BLOCK = 0.875;

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
    const char *next = strstr(at, ".entry");
    const char *end = next == NULL ? at + strlen(at) : next;
    for (; at < end; at++) {
        if (*at == ';') text.instructions++;
        if (*at == 'm' && strncmp(at, "mma.sync", 8) == 0) text.mma++;
    }
    return text;
}

/* Demands --------------------------------------------------------------------- */

typedef struct Demand {
    double cycles[PIPES]; /* of one SM */
} Demand;

/* Spill instructions that one executed unit (mma, or instruction without any) stands for. */
static double spill_rate(const SgKernelInfo *info, const SgText *text) {
    const int bytes = info->ptxas.spill_stores + info->ptxas.spill_loads;
    const uint64_t units = text->mma > 0 ? text->mma : text->instructions;
    if (!info->ptxas.known || bytes <= 0 || units == 0) return 0;
    return bytes / 4.0 / (double)units * (bytes > SPILL_HEAVY_BYTES ? SPILL_HEAVY : 1);
}

static Demand demand_of(const SgCounters *c, const GpuModel *m, double spills_per_unit,
                        const SgText *text) {
    const double spills = spills_per_unit * (double)(text->mma > 0 ? c->mma : c->warp_instructions);
    const double rate = m->mma_f16_f32 > 0 ? m->mma_f16_f32 : 1;
    Demand d;
    d.cycles[TENSOR] = (double)c->mma_flops / rate;
    /* Shuffles go through the same port, one wavefront each; so do global accesses. */
    d.cycles[SHARED] = ((double)c->shared_wavefronts * 128 / m->smem_bytes_clk) +
                       (double)(c->shuffle + c->global_load + c->global_store + c->local_access) +
                       SPILL_CYCLES * spills;
    d.cycles[ALU] = (double)(c->alu + c->convert) * WARP / m->alu_lanes;
    d.cycles[FP32] = (double)c->fma * WARP / m->fp32_lanes;
    d.cycles[SFU] = (double)c->sfu * WARP / m->sfu_lanes;
    d.cycles[ISSUE] = ((double)c->warp_instructions + spills) / SUB_CORES;
    return d;
}

static Demand demand_scale(const Demand *a, double factor) {
    Demand d;
    for (int p = 0; p < PIPES; p++) d.cycles[p] = a->cycles[p] * factor;
    return d;
}

static Demand demand_mix(const Demand *a, const Demand *b, double t) {
    Demand d;
    for (int p = 0; p < PIPES; p++) d.cycles[p] = a->cycles[p] + (b->cycles[p] - a->cycles[p]) * t;
    return d;
}

static double demand_largest(const Demand *d) {
    double most = 0;
    for (int p = 0; p < PIPES; p++) most = fmax(most, d->cycles[p]);
    return most;
}

/* (sum of cycles^q)^(1/q), scaled by the largest so that nothing overflows. */
static double demand_norm(const Demand *d, double q) {
    const double most = demand_largest(d);
    double sum = 0;
    if (most <= 0) return 0;
    for (int p = 0; p < PIPES; p++) sum += pow(d->cycles[p] / most, q);
    return most * pow(sum, 1 / q);
}

/* Profile: demand along the grid dimension that explains the samples best --- */

typedef struct Profile {
    int dimension; /* 0..2 */
    size_t bins;
    Demand *bin; /* owned */
    const uint32_t *grid;
} Profile;

static uint32_t coordinate(const uint32_t grid[3], uint64_t block, int dimension) {
    if (dimension == 0) return (uint32_t)(block % grid[0]);
    if (dimension == 1) return (uint32_t)(block / grid[0] % grid[1]);
    return (uint32_t)(block / grid[0] / grid[1]);
}

static size_t bin_of(const Profile *p, uint64_t block) {
    const uint32_t at = coordinate(p->grid, block, p->dimension), n = p->grid[p->dimension];
    return (size_t)((uint64_t)at * p->bins / n);
}

typedef struct Point {
    uint32_t at;
    double weight; /* samples averaged */
    Demand demand;
} Point;

/* Samples along one dimension, sorted, those of equal coordinate averaged. Returns how many;
 * *roughness: how much the largest demand jumps between neighbours and within a coordinate. */
static size_t points_along(const SgLaunch *launch, const Demand *samples, int dimension,
                           Point *points, double *roughness) {
    size_t count = 0;
    *roughness = 0;
    for (size_t i = 0; i < launch->sample_count; i++) {
        const uint32_t at = coordinate(launch->grid, launch->samples[i].block, dimension);
        size_t k = count;
        while (k > 0 && points[k - 1].at >= at) k--;
        if (k < count && points[k].at == at) {
            Point *p = &points[k];
            const double step = demand_largest(&p->demand) - demand_largest(&samples[i]);
            *roughness += step * step;
            p->demand = demand_mix(&p->demand, &samples[i], 1 / (p->weight + 1));
            p->weight += 1;
            continue;
        }
        memmove(points + k + 1, points + k, (count - k) * sizeof *points);
        points[k] = (Point){.at = at, .weight = 1, .demand = samples[i]};
        count++;
    }
    for (size_t k = 1; k < count; k++) {
        const double step =
            demand_largest(&points[k].demand) - demand_largest(&points[k - 1].demand);
        *roughness += step * step;
    }
    return count;
}

static Demand points_at(const Point *points, size_t count, double at) {
    if (at <= points[0].at) return points[0].demand;
    for (size_t k = 1; k < count; k++)
        if (at <= points[k].at)
            return demand_mix(&points[k - 1].demand, &points[k].demand,
                              (at - points[k - 1].at) / (points[k].at - points[k - 1].at));
    return points[count - 1].demand;
}

static void profile_fill(Profile *p, const Point *points, size_t count) {
    const double n = p->grid[p->dimension];
    for (size_t i = 0; i < p->bins; i++) {
        const double middle = ((double)i + 0.5) * n / (double)p->bins - 0.5;
        p->bin[i] = points_at(points, count, middle);
    }
}

/* Every coordinate has the same number of blocks, so the grid's demand is the bins' mean times the
 * number of blocks; it must be what was counted when all blocks ran. */
static void profile_match(Profile *p, const SgLaunch *launch, const Demand *counted) {
    const double blocks = (double)launch->counters.blocks;
    for (int pipe = 0; pipe < PIPES; pipe++) {
        double sum = 0;
        for (size_t i = 0; i < p->bins; i++) sum += p->bin[i].cycles[pipe];
        const double have = sum / (double)p->bins * blocks;
        const double factor = have > 0 ? counted->cycles[pipe] / have : 0;
        for (size_t i = 0; i < p->bins; i++)
            p->bin[i].cycles[pipe] =
                have > 0 ? p->bin[i].cycles[pipe] * factor : counted->cycles[pipe] / blocks;
    }
}

/* False: no memory. */
static bool profile_make(Profile *p, const SgLaunch *launch, const SgText *text, double spills) {
    const size_t n = launch->sample_count;
    const SgCounters *all = &launch->counters;
    const double ran = all->blocks_run > 0 ? (double)all->blocks_run : (double)all->blocks;
    const Demand counted = demand_of(all, launch->model, spills, text);
    Demand *samples = mem_alloc((n + 1) * sizeof *samples);
    Point *points = mem_alloc((n + 1) * sizeof *points);
    *p = (Profile){.grid = launch->grid};
    double best = INFINITY;
    for (size_t i = 0; samples != NULL && i < n; i++)
        samples[i] = demand_of(&launch->samples[i].counters, launch->model, spills, text);
    for (int d = 0; samples != NULL && points != NULL && n > 0 && d < 3; d++) {
        double roughness;
        if (launch->grid[d] < 2) continue;
        points_along(launch, samples, d, points, &roughness);
        if (roughness >= best) continue;
        best = roughness;
        p->dimension = d;
    }
    const uint32_t extent = launch->grid[p->dimension];
    p->bins = n == 0 ? 1 : extent < BINS ? extent : BINS;
    p->bin = mem_alloc(p->bins * sizeof *p->bin);
    const bool ok = samples != NULL && points != NULL && p->bin != NULL;
    if (ok && n == 0) {
        p->bin[0] = demand_scale(&counted, 1 / ran);
    } else if (ok) {
        double unused;
        const size_t count = points_along(launch, samples, p->dimension, points, &unused);
        profile_fill(p, points, count);
        if (all->blocks_run >= all->blocks) profile_match(p, launch, &counted);
    }
    mem_free(samples);
    mem_free(points);
    return ok;
}

/* Dispatch -------------------------------------------------------------------- */

typedef struct Sm {
    double now, next; /* cycles; next: when its first block ends, INFINITY when idle */
    int count;
    struct {
        size_t bin;
        double left; /* part of the block that is not done */
    } block[32];
} Sm;

typedef struct Dispatch {
    const Profile *profile;
    double *cost; /* [bins][slots]: cycles of a block while m share the SM; owned */
    int slots;
    Sm *sm; /* owned */
    int sms, heap_size;
    int *heap;  /* SMs by `next`, smallest first; owned */
    int *ready; /* SMs that were taken off the heap; owned */
} Dispatch;

/* Warps per sub-core that overlap when `m` blocks of `warps` are on the SM. */
static double overlap(int m, int warps) {
    const double q = (double)m * warps / SUB_CORES * (m == 1 ? LONE_BLOCK : 1);
    return q < 1 ? 1 : q;
}

static double cost_of(const Dispatch *d, size_t bin, int m) {
    return d->cost[bin * (size_t)d->slots + (size_t)m - 1];
}

static void sm_plan(const Dispatch *d, Sm *sm) {
    sm->next = INFINITY;
    for (int i = 0; i < sm->count; i++)
        sm->next =
            fmin(sm->next, sm->now + sm->block[i].left * cost_of(d, sm->block[i].bin, sm->count));
}

/* Lets the SM run until `sm->next`, when at least one block ends. */
static void sm_advance(const Dispatch *d, Sm *sm) {
    const double step = sm->next - sm->now;
    const int before = sm->count;
    int kept = 0;
    for (int i = 0; i < before; i++) {
        const double cost = cost_of(d, sm->block[i].bin, before);
        const double left = sm->block[i].left - (cost > 0 ? step / cost : 1);
        if (left <= 1e-9) continue;
        sm->block[kept] = sm->block[i];
        sm->block[kept++].left = left;
    }
    sm->now = sm->next;
    sm->count = kept;
}

static void sm_give(Sm *sm, size_t bin) {
    sm->block[sm->count].bin = bin;
    sm->block[sm->count++].left = 1;
}

static bool sooner(const Dispatch *d, int a, int b) {
    return d->sm[d->heap[a]].next < d->sm[d->heap[b]].next;
}

static void heap_swap(Dispatch *d, int a, int b) {
    const int swap = d->heap[a];
    d->heap[a] = d->heap[b];
    d->heap[b] = swap;
}

static void heap_push(Dispatch *d, int sm) {
    int at = d->heap_size++;
    d->heap[at] = sm;
    for (; at > 0 && sooner(d, at, (at - 1) / 2); at = (at - 1) / 2) heap_swap(d, at, (at - 1) / 2);
}

static int heap_pop(Dispatch *d) {
    const int sm = d->heap[0];
    d->heap[0] = d->heap[--d->heap_size];
    for (int at = 0, least = 0;; at = least) {
        for (int child = 2 * at + 1; child <= 2 * at + 2 && child < d->heap_size; child++)
            if (sooner(d, child, least)) least = child;
        if (least == at) return sm;
        heap_swap(d, at, least);
    }
}

/* Gives blocks to the SMs of `ready`, one each in turn while there is room. */
static uint64_t hand_out(Dispatch *d, int ready, uint64_t next, uint64_t blocks) {
    for (int load = 0; load < d->slots; load++)
        for (int i = 0; i < ready && next < blocks; i++)
            if (d->sm[d->ready[i]].count == load)
                sm_give(&d->sm[d->ready[i]], bin_of(d->profile, next++));
    for (int i = 0; i < ready; i++) {
        sm_plan(d, &d->sm[d->ready[i]]);
        heap_push(d, d->ready[i]);
    }
    return next;
}

/* Blocks [first, blocks) over the SMs; returns the cycle at which the last one ends. */
static double dispatch_run(Dispatch *d, uint64_t first, uint64_t blocks) {
    for (int i = 0; i < d->sms; i++) d->ready[i] = i;
    uint64_t next = hand_out(d, d->sms, first, blocks);
    double end = 0;
    while (!isinf(d->sm[d->heap[0]].next)) {
        end = d->sm[d->heap[0]].next;
        /* Blocks that end together leave their places together. */
        int ready = 0;
        while (d->heap_size > 0 && d->sm[d->heap[0]].next <= end * (1 + 1e-9)) {
            d->ready[ready] = heap_pop(d);
            sm_advance(d, &d->sm[d->ready[ready++]]);
        }
        next = hand_out(d, ready, next, blocks);
    }
    return end;
}

/* Cycles a block takes while m of them share an SM: m times its own norm, and once the latency of
 * its first and last trip to DRAM and of its start, which costs no pipe anything. */
static void cost_fill(Dispatch *d, const SgLaunch *launch, int warps) {
    const GpuModel *m = launch->model;
    const double latency = 2.0 * m->dram_latency + m->block_us * m->clock_mhz;
    for (size_t bin = 0; bin < d->profile->bins; bin++)
        for (int n = 1; n <= d->slots; n++)
            d->cost[bin * (size_t)d->slots + (size_t)n - 1] =
                n * demand_norm(&d->profile->bin[bin], overlap(n, warps)) + latency;
}

/* Cycles of the whole grid on its SMs; negative: no memory. */
static double grid_cycles(const SgLaunch *launch, const Profile *profile, int slots, int warps) {
    Dispatch d = {.profile = profile, .slots = slots, .sms = launch->model->sms};
    d.cost = mem_alloc(profile->bins * (size_t)slots * sizeof *d.cost);
    d.sm = mem_alloc((size_t)d.sms * sizeof *d.sm);
    d.heap = mem_alloc((size_t)d.sms * sizeof *d.heap);
    d.ready = mem_alloc((size_t)d.sms * sizeof *d.ready);
    double cycles = -1;
    if (d.cost != NULL && d.sm != NULL && d.heap != NULL && d.ready != NULL) {
        cost_fill(&d, launch, warps);
        const uint64_t blocks = launch->counters.blocks;
        const uint64_t bulk = blocks > SIMULATED ? blocks - SIMULATED : 0;
        double work = 0; /* of the bulk, at full occupancy: slots blocks take cost cycles */
        for (uint64_t b = 0; b < bulk; b++) work += cost_of(&d, bin_of(profile, b), slots) / slots;
        cycles = work / d.sms + dispatch_run(&d, bulk, blocks);
    }
    mem_free(d.cost);
    mem_free(d.sm);
    mem_free(d.heap);
    mem_free(d.ready);
    return cycles;
}

/* The busiest pipe over the whole grid. */
static const char *busiest(const Profile *profile) {
    Demand sum = {{0}};
    for (size_t i = 0; i < profile->bins; i++)
        for (int p = 0; p < PIPES; p++) sum.cycles[p] += profile->bin[i].cycles[p];
    int best = 0;
    for (int p = 1; p < PIPES; p++)
        if (sum.cycles[p] > sum.cycles[best]) best = p;
    return pipe_names[best];
}

Status sg_clock(const SgLaunch *launch, const SgKernelInfo *info, const SgText *text, SgTime *time,
                Error *err) {
    const GpuModel *m = launch->model;
    const SgCounters *c = &launch->counters;
    const int threads = (int)(launch->block[0] * launch->block[1] * launch->block[2]);
    const SgOccupancy fit = sg_occupancy(m, info, threads, launch->dynamic_smem);
    const double launch_s = m->launch_us * 1e-6;
    *time = (SgTime){.seconds = launch_s * m->factor, .bound = "launch"};
    if (fit.blocks == 0 || c->blocks == 0) return ST_OK;
    Profile profile;
    const bool made = profile_make(&profile, launch, text, spill_rate(info, text));
    const double cycles =
        made ? grid_cycles(launch, &profile, fit.blocks, (threads + WARP - 1) / WARP) : -1;
    if (cycles < 0) {
        mem_free(profile.bin);
        return err_no_memory(err, BINS * sizeof(Demand));
    }
    const double sampled = c->blocks_run > 0 ? (double)c->blocks / (double)c->blocks_run : 1;
    const double pipes_s = cycles / (m->clock_mhz * 1e6);
    const double l2_s = (double)c->global_sectors * 32 * sampled / (m->l2_gbs * 1e9);
    const double dram_s = (double)c->dram_bytes / (m->dram_gbs * 1e9);
    const double body = fmax(pipes_s, fmax(l2_s, dram_s));
    time->waves = (double)c->blocks / ((double)fit.blocks * m->sms);
    time->seconds = (launch_s + body) * m->factor;
    time->bound = launch_s > body  ? "launch"
                  : dram_s >= body ? "dram"
                  : l2_s >= body   ? "l2"
                                   : busiest(&profile);
    mem_free(profile.bin);
    return ST_OK;
}
