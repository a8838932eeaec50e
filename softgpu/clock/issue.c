/* Issue: one sub-core of an SM executes the scheduled region with the warps that it holds.
 *
 * Each warp issues in order, one instruction per cycle and sub-core; an instruction waits for its
 * operands, for its pipe, for the async copies that it names and, at a barrier, for its block's
 * other warps on the sub-core (those of other sub-cores are taken to be in step). The shared-memory
 * port and the way to L2 serve four sub-cores, so each use holds a quarter's share. A basic block
 * that is on the path in part of the executions is executed as often, evenly. Progress is counted
 * in fractions of an execution over a common window: whole ones would be off by several per cent.
 *
 * Stalls: a cycle without an issue is shared out in equal parts over the warps, to what each of
 * them waits for. The second slot of a 64-bit operation is no stall. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/clock/code.h"

enum {
    MAX_WARPS = 16,
    WARM_UP = 512,  /* instructions per warp that are not counted, and one execution */
    LSU_QUEUE = 64, /* cycles of work that a pipe takes in before it blocks issue */
    SFU_QUEUE = 32,
    GROUPS = 8, /* async copy groups told apart; the ISA sets no limit, kernels use up to 4 */
};

static double later(double a, double b) {
    return a > b ? a : b;
}

static const double queue_of[PORTS] = {[SFU] = SFU_QUEUE, [SHARED] = LSU_QUEUE};

typedef struct Runner {
    int at, turn;
    double ready;    /* operands of the next op */
    CodeStall why;   /* what `ready` waits for; STALLS: nothing but the warp's own issue */
    double *done[2]; /* per op: result, of this and of the last execution */
    int barriers;    /* passed or waiting at */
    bool waiting;
    double group[GROUPS]; /* when the copies of a closed group have arrived; a ring */
    int groups;
    double open; /* the same of the group that is not closed */
} Runner;

typedef struct Core {
    const CodeRegion *region;
    const CodeCosts *costs;
    const CodeShare *share;
    Runner warp[MAX_WARPS];
    int warps;
    double now, free[PORTS], l2;
    int last;       /* warp that issued last */
    int64_t issued; /* by all warps */
    double stall[STALLS + 1];
    double *memory;
} Core;

/* True when the path of this execution leads through the block: floor(weight * turns) of them. */
static bool on_path(const Core *c, const Runner *w, int block) {
    const double weight = c->region->weight[block];
    return weight >= 1 || floor(weight * (w->turn + 1) + 1e-9) > floor(weight * w->turn + 1e-9);
}

static void wait_until(Runner *w, double time, CodeStall why) {
    if (time <= w->ready) return;
    w->ready = time;
    w->why = why;
}

static void wait_for_groups(Runner *w, int in_flight) {
    for (int i = 0; i < GROUPS - in_flight && i < w->groups - in_flight; i++)
        wait_until(w, w->group[(w->groups - in_flight - 1 - i) % GROUPS], STALL_ASYNC);
}

static void operands(Core *c, Runner *w) {
    const CodeOp *op = &c->region->ops[w->at];
    for (int k = 0; k < op->edge_count; k++) {
        const CodeEdge *e = &op->edges[k];
        if (e->order || (e->carried && w->turn == 0)) continue;
        const CodePort port = code_port(c->region->ops[e->from].kind);
        wait_until(w, w->done[(w->turn - e->carried) & 1][e->from],
                   port == SHARED ? STALL_MEMORY : STALL_DEPENDENCE);
    }
    if (op->kind == CODE_ASYNC && op->groups >= 0) wait_for_groups(w, op->groups);
}

static void enter(Core *c, Runner *w) {
    const CodeRegion *r = c->region;
    for (;;) {
        if (w->at == r->count) {
            w->at = 0;
            w->turn++;
        }
        const int block = r->ops[w->at].block;
        if ((w->at > 0 && r->ops[w->at - 1].block == block) || on_path(c, w, block)) break;
        while (w->at < r->count && r->ops[w->at].block == block) w->at++;
    }
    operands(c, w);
}

static void advance(Core *c, Runner *w) {
    w->at++;
    enter(c, w);
}

static void meet(Core *c, int index) {
    const int first = index / c->share->warps * c->share->warps;
    Runner *mates = &c->warp[first];
    for (int i = 0; i < c->share->warps; i++)
        if (!mates[i].waiting || mates[i].barriers != mates[0].barriers) return;
    for (int i = 0; i < c->share->warps; i++) {
        mates[i].waiting = false;
        mates[i].ready = c->now + c->costs->barrier;
        mates[i].why = STALL_BARRIER;
        advance(c, &mates[i]);
    }
}

/* Async copies: when they have arrived; commit closes their group. */
static void track(Core *c, Runner *w, const CodeOp *op, double begin) {
    if (op->bytes > 0) {
        c->l2 = later(c->l2, begin) + c->costs->l2 * op->bytes;
        const double arrival = c->l2 + c->costs->latency[op->kind];
        if (op->kind == CODE_COPY)
            w->open = later(w->open, arrival); /* no register to wait for */
        else
            w->done[w->turn & 1][w->at] = arrival;
    }
    if (op->kind == CODE_ASYNC && op->groups < 0) {
        w->group[w->groups++ % GROUPS] = w->open;
        w->open = 0;
    }
}

static void start_op(Core *c, int index) {
    Runner *w = &c->warp[index];
    const CodeOp *op = &c->region->ops[w->at];
    const CodePort port = code_port(op->kind);
    const double busy = code_interval(c->costs, op);
    const double begin = later(c->now, port == FREE ? 0 : c->free[port]);
    if (port != FREE) c->free[port] = begin + busy;
    w->done[w->turn & 1][w->at] = begin + busy + c->costs->latency[op->kind];
    track(c, w, op, begin + busy);
    w->ready = c->now + op->slots;
    w->why = STALLS;
    c->last = index;
    c->issued++;
    if (op->kind != CODE_BARRIER) {
        advance(c, w);
        return;
    }
    w->waiting = true;
    w->barriers++;
    meet(c, index);
}

/* When the warp's next op may issue. */
static double issue_time(const Core *c, const Runner *w) {
    if (w->waiting) return INFINITY;
    const CodePort port = code_port(c->region->ops[w->at].kind);
    return port == FREE ? w->ready : later(w->ready, c->free[port] - queue_of[port]);
}

static int candidate(const Core *c, int i) {
    switch (c->share->policy) {
    case CODE_OLDEST: return i;
    case CODE_ROUND_ROBIN: return (c->last + 1 + i) % c->warps;
    default: return (c->last + i) % c->warps;
    }
}

/* What a warp that cannot issue yet waits for. */
static CodeStall reason(const Core *c, const Runner *w) {
    if (w->waiting) return STALL_BARRIER;
    return issue_time(c, w) > w->ready ? STALL_PIPE : w->why;
}

/* One instruction of some warp; time moves on to when one may issue. */
static void step(Core *c) {
    double soonest = INFINITY;
    int chosen = 0;
    for (int i = 0; i < c->warps; i++) {
        const int index = candidate(c, i);
        const double at = later(issue_time(c, &c->warp[index]), c->now);
        if (at >= soonest) continue;
        soonest = at;
        chosen = index;
    }
    const double idle = ceil(soonest) - c->now;
    for (int i = 0; idle > 0 && i < c->warps; i++)
        c->stall[reason(c, &c->warp[i])] += idle / c->warps;
    c->now = ceil(soonest);
    start_op(c, chosen);
    c->now += 1;
}

/* What the busiest pipe needs for one execution by one warp. */
static double busiest(const CodeRegion *region, const CodeCosts *costs) {
    double sum[PORTS] = {0}, most = 0;
    for (int i = 0; i < region->count; i++) {
        const CodeOp *op = &region->ops[i];
        sum[code_port(op->kind)] += region->weight[op->block] * code_interval(costs, op);
    }
    for (int p = 0; p < FREE; p++) most = later(most, sum[p]);
    return most;
}

/* Operations of one execution, on average. */
static double length(const CodeRegion *region) {
    double sum = 0;
    for (int i = 0; i < region->count; i++) sum += fmin(1, region->weight[region->ops[i].block]);
    return sum;
}

static bool core_new(Core *c, const CodeRegion *region, const CodeCosts *costs,
                     const CodeShare *share) {
    const size_t n = (size_t)region->count;
    *c = (Core){.region = region, .costs = costs, .share = share};
    c->warps = share->warps * share->blocks;
    if (c->warps > MAX_WARPS) c->warps = MAX_WARPS / share->warps * share->warps;
    c->memory = mem_alloc((size_t)c->warps * 2 * n * sizeof *c->memory);
    if (c->memory == NULL) return false;
    const double period = busiest(region, costs) * share->warps;
    for (int i = 0; i < c->warps; i++) {
        Runner *w = &c->warp[i];
        w->done[0] = c->memory + (size_t)i * 2 * n;
        w->done[1] = w->done[0] + n;
        w->ready = floor(i / share->warps * share->phase * period);
        w->why = STALLS;
        enter(c, w);
    }
    return true;
}

double code_issue(const CodeRegion *region, const CodeCosts *costs, const CodeShare *share,
                  double stall[STALLS]) {
    Core c;
    const double each = length(region);
    if (stall != NULL) memset(stall, 0, STALLS * sizeof *stall);
    if (each < 1) return 0;
    if (!core_new(&c, region, costs, share)) return -1;
    /* Each op is its part of an execution. A policy may starve a warp, so that no warp's own
     * progress may end this. */
    const double once = c.warps * each;
    const int64_t warm_up = (int64_t)(once * (1 + (int)(WARM_UP / each)));
    while (c.issued < warm_up) step(&c);
    const double from = c.now;
    memset(c.stall, 0, sizeof c.stall);
    const int64_t until = c.issued + (int64_t)(share->turns * once);
    const double counted = (double)(until - c.issued) / once;
    while (c.issued < until) step(&c);
    const double scale = share->warps * share->blocks / (counted * c.warps);
    for (int i = 0; stall != NULL && i < STALLS; i++) stall[i] = c.stall[i] * scale;
    mem_free(c.memory);
    return (c.now - from) * scale;
}
