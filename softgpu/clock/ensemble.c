/* The ensemble: one run of the issue model is off by 5 to 10 %, as two warps with the same code
 * fall into step or do not by chance. So up to 24 are averaged: four schedules (ldmatrix as early
 * as they can be, or spaced as ptxas spaces them; more or fewer registers), three issue policies,
 * two distances between the blocks. Regions that take little are costed by the root of their
 * squared demands. */
#include "softgpu/clock/ensemble.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/clock/code.h"

enum {
    KEPT = 4, /* times remembered of one kernel: a plan launches it in few shapes */
    SUB_CORES = 4,
    PHASES = 2,
    SPACING = 32, /* cycles: ptxas emits one ldmatrix, four mma (8 cycles each on A100), ... */
    ISSUED = 4,   /* regions that are issued at most: host time */
    TURNS = 4,    /* executions timed of a region that takes most of the time; else SHORT */
    SHORT = 2,
    LONG = 1500, /* operations: a region so long evens its chances out by itself */
};
static const double WORTH = 0.03; /* of all cycles: regions below are costed by their demand */
static const double MOST = 0.5;

typedef struct Known {
    CodeKey key;
    uint64_t path; /* hash of the visits */
    CodeTime time; /* region owned */
} Known;

struct SgCode {
    pthread_mutex_t lock;
    Known known[KEPT];
    int count, next;
};

SgCode *code_open(void) {
    SgCode *code = mem_alloc(sizeof *code);
    if (code != NULL) pthread_mutex_init(&code->lock, NULL);
    return code;
}

void code_close(SgCode *code) {
    if (code == NULL) return;
    for (int i = 0; i < code->count; i++) mem_free(code->known[i].time.region);
    pthread_mutex_destroy(&code->lock);
    mem_free(code);
}

/* One kernel --------------------------------------------------------------------- */

typedef struct Costing {
    const CodeKey *key;
    Arena *arena;
    double mma, ops; /* of the text on the path */
    double total;    /* cycles of one SM, by demand */
    Error *err;
} Costing;

static double norm(const double pipe[PIPES]) {
    double sum = 0;
    for (int p = 0; p < PIPES; p++) sum += pipe[p] * pipe[p];
    return sqrt(sum);
}

static void add(Span *span, double cycles, const double stall[STALLS]) {
    if (span->low == 0 || cycles < span->low) span->low = cycles;
    if (cycles > span->high) span->high = cycles;
    span->mean += cycles;
    for (int i = 0; i < STALLS; i++) span->stall[i] += stall[i];
    span->count++;
}

/* The text's spills that lie in the region: spread over mma, or over operations without any. */
static CodeSetting setting_of(const Costing *c, const CodeRegion *r) {
    const double part = c->mma > 0 ? r->mma / c->mma : r->count / fmax(1, c->ops);
    return (CodeSetting){.registers = c->key->registers,
                         .spill_loads = c->key->spill_loads / 4.0 * part,
                         .spill_stores = c->key->spill_stores / 4.0 * part};
}

/* What lies outside of all loops meets data first: they come from DRAM. */
static CodeCosts costs_of(const Costing *c, const CodeRegion *r) {
    return code_costs(c->key->model, c->key->wavefronts / 16.0, r->parent < 0);
}

static void demand(const Costing *c, const CodeRegion *r, double pipe[PIPES]) {
    static const Pipe pipe_of[FREE] = {[TENSOR] = PIPE_TENSOR,
                                       [SHARED] = PIPE_SHARED,
                                       [ALU] = PIPE_ALU,
                                       [FP32] = PIPE_FP32,
                                       [SFU] = PIPE_SFU};
    const CodeCosts costs = costs_of(c, r);
    const CodeSetting setting = setting_of(c, r);
    const double spills = setting.spill_loads + setting.spill_stores;
    for (int i = 0; i < r->count; i++) {
        const CodeOp *op = &r->ops[i];
        const CodePort port = code_port(op->kind);
        const double weight = r->weight[op->block] / SUB_CORES;
        if (port != FREE) pipe[pipe_of[port]] += weight * code_interval(&costs, op);
        pipe[PIPE_ISSUE] += weight * op->slots;
    }
    pipe[PIPE_SHARED] += spills * costs.interval[CODE_SPILL_LOAD] / SUB_CORES;
    pipe[PIPE_ISSUE] += spills / SUB_CORES;
}

/* All policies and distances of one schedule, where they make a difference. */
static Status issue_all(const Costing *c, const CodeRegion *order, const CodeCosts *costs,
                        int blocks, int turns, Span *span) {
    const CodeKey *key = c->key;
    /* A block of fewer than four warps leaves sub-cores to others. */
    const int warps = key->warps < SUB_CORES ? 1 : (key->warps + SUB_CORES - 1) / SUB_CORES;
    const int here =
        key->warps < SUB_CORES ? (blocks * key->warps + SUB_CORES - 1) / SUB_CORES : blocks;
    const int policies = warps * here > 1 ? CODE_POLICIES : 1, phases = here > 1 ? PHASES : 1;
    for (int policy = 0; policy < policies; policy++)
        for (int phase = 0; phase < phases; phase++) {
            const CodeShare share = {.warps = warps,
                                     .blocks = here,
                                     .policy = (CodePolicy)policy,
                                     .phase = (phase + 0.5) / PHASES,
                                     .turns = turns};
            double stall[STALLS];
            const double cycles = code_issue(order, costs, &share, stall);
            if (cycles < 0) return err_no_memory(c->err, sizeof *order);
            add(span, cycles, stall);
        }
    return ST_OK;
}

/* Members of the ensemble: what of the registers holds no value of the region (addresses, bounds,
 * what it only reads: 14 to 43, median 33, over ptxas's figures for FA2's kernels; ptxas is the
 * better scheduler, so half of them have a little more), and whether ldmatrix are spaced. */
static const struct {
    int reserved;
    double spacing;
} schedules[] = {{25, 0}, {33, SPACING}, {25, SPACING}, {33, 0}};
enum { SCHEDULES = sizeof schedules / sizeof *schedules };

static void average(Span *span) {
    if (span->count == 0) return;
    span->mean /= span->count;
    for (int i = 0; i < STALLS; i++) span->stall[i] /= span->count;
}

static Status simulate(const Costing *c, const CodeRegion *r, RegionTime *out) {
    const CodeCosts costs = costs_of(c, r);
    CodeSetting setting = setting_of(c, r);
    const bool most = r->executions * norm(out->pipe) > MOST * c->total;
    const int count =
        r->count + setting.spill_loads + setting.spill_stores > LONG ? SCHEDULES / 2 : SCHEDULES;
    Status st = ST_OK;
    for (int i = 0; i < count && st == ST_OK; i++) {
        CodeRegion order;
        setting.spacing = schedules[i].spacing;
        setting.reserved = schedules[i].reserved;
        st = code_schedule(r, &costs, &setting, c->arena, &order, c->err);
        const int turns = most ? TURNS : SHORT;
        if (st == ST_OK) st = issue_all(c, &order, &costs, 1, turns, &out->one);
        if (st == ST_OK && c->key->blocks > 1)
            st = issue_all(c, &order, &costs, c->key->blocks, turns, &out->all);
    }
    average(&out->one);
    average(&out->all);
    if (c->key->blocks <= 1) out->all = out->one;
    return st;
}

static void by_demand(const Costing *c, RegionTime *out) {
    const double one = c->key->warps * norm(out->pipe), all = one * c->key->blocks;
    out->one = (Span){.mean = one, .low = one, .high = one};
    out->all = (Span){.mean = all, .low = all, .high = all};
}

static double cycles_of(const CodeRegion *r, const RegionTime *t) {
    return r->executions * norm(t->pipe);
}

/* Whether the region is issued: it takes much, and few take more. */
static bool worth(const Costing *c, const CodeRegions *regions, const RegionTime *time, int at) {
    const double mine = cycles_of(&regions->region[at], &time[at]);
    int more = 0;
    for (int i = 0; i < regions->count; i++)
        more += cycles_of(&regions->region[i], &time[i]) > mine;
    return mine >= WORTH * c->total && more < ISSUED;
}

static Status find(Costing *c, const CodeRegions *regions, CodeTime *out) {
    for (int i = 0; i < regions->count; i++) {
        c->mma += regions->region[i].mma;
        c->ops += regions->region[i].count;
    }
    for (int i = 0; i < regions->count; i++) {
        RegionTime *t = &out->region[i];
        const CodeSetting setting = setting_of(c, &regions->region[i]);
        t->header = regions->region[i].first;
        t->spill_loads = setting.spill_loads;
        t->spill_stores = setting.spill_stores;
        demand(c, &regions->region[i], t->pipe);
        c->total += cycles_of(&regions->region[i], t);
    }
    Status st = ST_OK;
    for (int i = 0; i < regions->count && st == ST_OK; i++)
        if (worth(c, regions, out->region, i))
            st = simulate(c, &regions->region[i], &out->region[i]);
        else
            by_demand(c, &out->region[i]);
    return st;
}

/* Cache -------------------------------------------------------------------------- */

/* Visits relative to those of the entry: more blocks on the same path are the same path. */
static uint64_t path_of(const PtxFunc *func, const uint64_t *visits) {
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    const double once = visits[0] > 0 ? (double)visits[0] : 1;
    for (int i = 0; i < func->instr_count; i++) {
        hash ^= (uint64_t)llround((double)visits[i] / once * 4096);
        hash *= UINT64_C(1099511628211);
    }
    return hash;
}

static bool same(const CodeKey *a, const CodeKey *b) {
    return a->model == b->model && a->registers == b->registers &&
           a->spill_loads == b->spill_loads && a->spill_stores == b->spill_stores &&
           a->warps == b->warps && a->blocks == b->blocks && a->wavefronts == b->wavefronts;
}

static bool copy(CodeTime *to, const CodeTime *from, RegionTime *memory) {
    if (memory == NULL) return false;
    memcpy(memory, from->region, (size_t)from->count * sizeof *memory);
    *to = (CodeTime){memory, from->count};
    return true;
}

static Status remember(SgCode *code, const CodeKey *key, uint64_t path, const CodeTime *time,
                       Error *err) {
    const size_t size = (size_t)time->count * sizeof *time->region;
    Known known = {.key = *key, .path = path};
    if (!copy(&known.time, time, mem_alloc(size))) return err_no_memory(err, size);
    if (code->count == KEPT) mem_free(code->known[code->next].time.region);
    code->known[code->next] = known;
    code->next = (code->next + 1) % KEPT;
    if (code->count < KEPT) code->count++;
    return ST_OK;
}

static Status find_new(const PtxFunc *func, const uint64_t *visits, const CodeKey *key,
                       CodeTime *out, Arena *arena, Error *err) {
    Arena *work = arena_new();
    CodeRegions regions;
    if (work == NULL) return err_no_memory(err, sizeof regions);
    Costing c = {.key = key, .arena = work, .err = err};
    Status st = code_regions(func, visits, work, &regions, err);
    if (st == ST_OK) {
        out->count = regions.count;
        out->region = ARENA_ARRAY(arena, RegionTime, (size_t)regions.count);
        st =
            out->region == NULL ? err_no_memory(err, sizeof *out->region) : find(&c, &regions, out);
    }
    arena_free(work);
    return st;
}

Status code_time(SgCode *code, const PtxFunc *func, const uint64_t *visits, const CodeKey *key,
                 Arena *arena, CodeTime *out, Error *err) {
    const uint64_t path = path_of(func, visits);
    Status st = ST_OK;
    pthread_mutex_lock(&code->lock);
    int i = 0;
    while (i < code->count && (code->known[i].path != path || !same(&code->known[i].key, key))) i++;
    if (i < code->count) {
        const CodeTime *known = &code->known[i].time;
        if (!copy(out, known, ARENA_ARRAY(arena, RegionTime, (size_t)known->count)))
            st = err_no_memory(err, sizeof *out->region);
    } else {
        st = find_new(func, visits, key, out, arena, err);
        if (st == ST_OK) st = remember(code, key, path, out, err);
    }
    pthread_mutex_unlock(&code->lock);
    return st;
}
