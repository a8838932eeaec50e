/* Demand: counters of sampled blocks to cycles per pipe, interpolated along the grid. */
#include "softgpu/clock/profile.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/share.h"

enum { SUB_CORES = 4, BINS = 1024 /* demands told apart along a dimension */ };

static Demand by_code(const DemandSource *s, const uint64_t *visits) {
    Demand d = {{0}};
    for (int r = 0; r < s->code->count; r++) {
        const RegionTime *t = &s->code->region[r];
        const double turns = (double)visits[t->header], each = turns / s->warps;
        for (int p = 0; p < PIPES; p++) d.cycles[p] += turns * t->pipe[p];
        d.cycles[ALONE] += each * t->one.mean;
        d.cycles[TOGETHER] += each * t->all.mean;
        d.cycles[TOGETHER_LOW] += each * t->all.low;
        d.cycles[TOGETHER_HIGH] += each * t->all.high;
    }
    return d;
}

/* Without code nothing can be folded: integer operations as PTX has them. */
_Static_assert((int)PIPES == (int)SG_UNITS && (int)PIPE_SHARED == (int)SG_UNIT_SHARED &&
                   (int)PIPE_ISSUE == (int)SG_UNIT_ISSUE,
               "pipes are the units of softgpu/share.h");

static Demand by_counters(const DemandSource *s, const SgCounters *c) {
    const GpuModel *m = s->launch->model;
    const double spills = s->spills * (double)(s->spills_by_mma ? c->mma : c->warp_instructions);
    Demand d = {{0}};
    sg_unit_cycles(c, m, d.cycles);
    d.cycles[PIPE_SHARED] += m->spill_port * spills;
    d.cycles[PIPE_ISSUE] += spills / SUB_CORES;
    return d;
}

static Demand demand_of(const DemandSource *s, const SgCounters *c, const uint64_t *visits) {
    Demand d = s->code->count > 0 && visits != NULL ? by_code(s, visits) : by_counters(s, c);
    d.cycles[WAITS] = (double)c->waits;
    return d;
}

static Demand demand_scale(const Demand *a, double factor) {
    Demand d;
    for (int p = 0; p < DEMANDS; p++) d.cycles[p] = a->cycles[p] * factor;
    return d;
}

static Demand demand_mix(const Demand *a, const Demand *b, double t) {
    Demand d;
    for (int p = 0; p < DEMANDS; p++)
        d.cycles[p] = a->cycles[p] + (b->cycles[p] - a->cycles[p]) * t;
    return d;
}

double demand_largest(const Demand *d) {
    double most = 0;
    for (int p = 0; p < PIPES; p++) most = fmax(most, d->cycles[p]);
    return most;
}

double demand_norm(const Demand *d) {
    double sum = 0;
    for (int p = 0; p < PIPES; p++) sum += d->cycles[p] * d->cycles[p];
    return sqrt(sum);
}

/* Along the grid: demand along the grid dimension that explains the samples best --- */

static uint32_t coordinate(const uint32_t grid[3], uint64_t block, int dimension) {
    if (dimension == 0) return (uint32_t)(block % grid[0]);
    if (dimension == 1) return (uint32_t)(block / grid[0] % grid[1]);
    return (uint32_t)(block / grid[0] / grid[1]);
}

size_t profile_bin(const Profile *p, uint64_t block) {
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
    for (int pipe = 0; pipe < DEMANDS; pipe++) {
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
bool profile_make(Profile *p, const DemandSource *source) {
    const SgLaunch *launch = source->launch;
    const size_t n = launch->sample_count;
    const SgCounters *all = &launch->counters;
    const double ran = all->blocks_run > 0 ? (double)all->blocks_run : (double)all->blocks;
    const Demand counted = demand_of(source, all, launch->visits);
    Demand *samples = mem_alloc((n + 1) * sizeof *samples);
    Point *points = mem_alloc((n + 1) * sizeof *points);
    *p = (Profile){.grid = launch->grid};
    double best = INFINITY;
    for (size_t i = 0; samples != NULL && i < n; i++)
        samples[i] = demand_of(source, &launch->samples[i].counters, launch->samples[i].visits);
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

Demand profile_sum(const Profile *p) {
    Demand sum = {{0}};
    for (size_t i = 0; i < p->bins; i++)
        for (int k = 0; k < DEMANDS; k++) sum.cycles[k] += p->bin[i].cycles[k];
    return sum;
}
