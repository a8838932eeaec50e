/* Issue: one sub-core of an SM runs the scheduled loop with the warps that it holds.
 *
 * Each warp issues in order, one instruction per cycle and sub-core; an instruction waits for its
 * operands, for its pipe and, at a barrier, for its block's other warps on the sub-core (those of
 * other sub-cores are taken to be in step). The shared-memory port serves four sub-cores, so each
 * wavefront holds a quarter's share. Progress is counted in fractions of an iteration over a
 * common window: whole iterations would be off by several per cent. */
#include <math.h>

#include "base/mem.h"
#include "softgpu/clock/code.h"

enum {
    MAX_WARPS = 16,
    BARRIER_CYCLES = 15, /* release, measured on sm_90 and sm_120 (FlashGPU-Sim) */
    WARM_UP = 512,       /* instructions per warp that are not counted, and one iteration */
    COUNTED = 4,         /* iterations of each warp in the window */
    LSU_QUEUE = 64,      /* cycles of work that a pipe takes in before it blocks issue */
    SFU_QUEUE = 32,
};

typedef enum Port { TENSOR, VECTOR, FP, SPECIAL, MEMORY, FREE, PORTS } Port;

static const uint8_t port_of[CODE_KINDS] = {
    [CODE_MOVE] = FREE,
    [CODE_MMA] = TENSOR,
    [CODE_LDMATRIX] = MEMORY,
    [CODE_SFU] = SPECIAL,
    [CODE_FP32] = FP,
    [CODE_ALU] = VECTOR,
    [CODE_MINMAX] = VECTOR,
    [CODE_CONVERT] = VECTOR,
    [CODE_SHUFFLE] = MEMORY,
    [CODE_SHARED_LOAD] = MEMORY,
    [CODE_SHARED_STORE] = MEMORY,
    [CODE_GLOBAL_LOAD] = MEMORY,
    [CODE_GLOBAL_STORE] = MEMORY,
    [CODE_COPY] = MEMORY,
    [CODE_ASYNC] = FREE,
    [CODE_SPILL_LOAD] = MEMORY,
    [CODE_SPILL_STORE] = MEMORY,
    [CODE_BARRIER] = FREE,
    [CODE_BRANCH] = FREE,
    [CODE_OTHER] = FREE,
};
static const double queue_of[PORTS] = {[SPECIAL] = SFU_QUEUE, [MEMORY] = LSU_QUEUE};

typedef struct Runner {
    int at, iteration;
    double ready;    /* operands of the next op */
    double *done[2]; /* per op: result, of this and of the last iteration */
    int barriers;    /* passed or waiting at */
    bool waiting;
} Runner;

typedef struct Core {
    const CodeLoop *loop;
    const CodeCosts *costs;
    const CodeShare *share;
    Runner warp[MAX_WARPS];
    int warps;
    double now, free[PORTS];
    int last;       /* warp that issued last */
    int64_t issued; /* by all warps */
    double *memory;
} Core;

static void operands(Core *c, Runner *w) {
    const CodeOp *op = &c->loop->ops[w->at];
    for (int k = 0; k < op->edge_count; k++) {
        const CodeEdge *e = &op->edges[k];
        if (e->order || (e->carried && w->iteration == 0)) continue;
        w->ready = fmax(w->ready, w->done[(w->iteration - e->carried) & 1][e->from]);
    }
}

static void advance(Core *c, Runner *w) {
    if (++w->at == c->loop->count) {
        w->at = 0;
        w->iteration++;
    }
    operands(c, w);
}

static void meet(Core *c, int index) {
    const int first = index / c->share->warps * c->share->warps;
    Runner *mates = &c->warp[first];
    for (int i = 0; i < c->share->warps; i++)
        if (!mates[i].waiting || mates[i].barriers != mates[0].barriers) return;
    for (int i = 0; i < c->share->warps; i++) {
        mates[i].waiting = false;
        mates[i].ready = c->now + BARRIER_CYCLES;
        advance(c, &mates[i]);
    }
}

static void start_op(Core *c, int index) {
    Runner *w = &c->warp[index];
    const CodeOp *op = &c->loop->ops[w->at];
    const int port = port_of[op->kind];
    const double busy = code_interval(c->costs, op);
    const double begin = fmax(c->now, port == FREE ? 0 : c->free[port]);
    if (port != FREE) c->free[port] = begin + busy;
    w->done[w->iteration & 1][w->at] = begin + busy + c->costs->latency[op->kind];
    w->ready = c->now + op->slots;
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
    const int port = port_of[c->loop->ops[w->at].kind];
    return port == FREE ? w->ready : fmax(w->ready, c->free[port] - queue_of[port]);
}

static int candidate(const Core *c, int i) {
    switch (c->share->policy) {
    case CODE_OLDEST: return i;
    case CODE_ROUND_ROBIN: return (c->last + 1 + i) % c->warps;
    default: return (c->last + i) % c->warps;
    }
}

/* One instruction of some warp; time moves on to when one may issue. */
static void step(Core *c) {
    double soonest = INFINITY;
    int chosen = 0;
    for (int i = 0; i < c->warps; i++) {
        const int index = candidate(c, i);
        const double at = fmax(issue_time(c, &c->warp[index]), c->now);
        if (at >= soonest) continue;
        soonest = at;
        chosen = index;
    }
    c->now = ceil(soonest);
    start_op(c, chosen);
    c->now += 1;
}

/* What the busiest pipe needs for one iteration of one warp. */
static double busiest(const CodeLoop *loop, const CodeCosts *costs) {
    double sum[PORTS] = {0}, most = 0;
    for (int i = 0; i < loop->count; i++)
        sum[port_of[loop->ops[i].kind]] += code_interval(costs, &loop->ops[i]);
    for (int p = 0; p < FREE; p++) most = fmax(most, sum[p]);
    return most;
}

double code_issue(const CodeLoop *loop, const CodeCosts *costs, const CodeShare *share) {
    Core c = {.loop = loop, .costs = costs, .share = share};
    const size_t n = (size_t)loop->count;
    c.warps = share->warps * share->blocks;
    if (c.warps > MAX_WARPS) c.warps = MAX_WARPS / share->warps * share->warps;
    c.memory = mem_alloc((size_t)c.warps * 2 * n * sizeof *c.memory);
    if (c.memory == NULL) return -1;
    const double period = busiest(loop, costs) * share->warps;
    for (int i = 0; i < c.warps; i++) {
        Runner *w = &c.warp[i];
        w->done[0] = c.memory + (size_t)i * 2 * n;
        w->done[1] = w->done[0] + n;
        w->ready = floor(i / share->warps * share->phase * period);
        operands(&c, w);
    }
    /* Each op is its part of an iteration. A policy may starve a warp, so that no warp's own
     * progress may end this. */
    const int64_t once = (int64_t)c.warps * loop->count;
    const int64_t warm_up = once * (1 + WARM_UP / loop->count);
    while (c.issued < warm_up) step(&c);
    const double from = c.now;
    const int64_t until = c.issued + COUNTED * once;
    while (c.issued < until) step(&c);
    const double cycles = (c.now - from) / COUNTED;
    mem_free(c.memory);
    return cycles * share->warps * share->blocks / c.warps;
}
