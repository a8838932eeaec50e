/* Scheduling: the folded loop in an order like ptxas's, one basic block after the other.
 *
 * Order edges are apart from data edges: a barrier waits for no result, so it must not keep values
 * alive. Among the operations that may come next, the one that can start earliest is taken, then
 * the one with the longest path behind it. What would hold more values than there are registers
 * is passed over; when that would cost a long stall, the file's order decides. */
#include <math.h>

#include "softgpu/clock/code.h"

enum {
    LONG_STALL = 16,  /* cycles: half of what a ldmatrix takes to come back */
    RELOAD_AHEAD = 6, /* operations between a reload and its reader */
    LSU_QUEUE = 64,   /* cycles of work that the pipe takes in before it blocks issue */
    SFU_QUEUE = 32,
};

/* Spills and order edges ------------------------------------------------------- */

typedef struct Build {
    Arena *arena;
    CodeOp *ops;
    int count;
    Error *err;
} Build;

static bool is_memory(int kind) {
    return kind == CODE_LDMATRIX || (kind >= CODE_SHARED_LOAD && kind <= CODE_ASYNC) ||
           kind == CODE_OTHER;
}

static int size_of(const CodeOp *op) {
    switch (op->kind) {
    case CODE_MMA: return 4;
    case CODE_LDMATRIX: return op->matrices;
    case CODE_SPILL_STORE:
    case CODE_SPILL_LOAD: /* not in a register but around its use */
    case CODE_BARRIER:
    case CODE_BRANCH:
    case CODE_COPY:
    case CODE_ASYNC:
    case CODE_OTHER:
    case CODE_SHARED_STORE:
    case CODE_GLOBAL_STORE: return 0;
    default: return op->slots > 2 ? 2 : op->slots;
    }
}

static bool add_edge(Build *b, int to, CodeEdge edge) {
    CodeOp *op = &b->ops[to];
    for (int i = 0; i < op->edge_count; i++)
        if (op->edges[i].from == edge.from && !op->edges[i].carried) return true;
    CodeEdge *edges = ARENA_ARRAY(b->arena, CodeEdge, (size_t)op->edge_count + 1);
    if (edges == NULL) return false;
    for (int i = 0; i < op->edge_count; i++) edges[i] = op->edges[i];
    edges[op->edge_count++] = edge;
    op->edges = edges;
    return true;
}

/* Copies the loop with `loads` and `stores` spread evenly over it. */
static bool add_spills(Build *b, const CodeRegion *region, int loads, int stores) {
    const int total = region->count + loads + stores;
    int *moved = ARENA_ARRAY(b->arena, int, (size_t)region->count + 1);
    b->ops = ARENA_ARRAY(b->arena, CodeOp, (size_t)total + 1);
    if (moved == NULL || b->ops == NULL) return false;
    const int spills = loads + stores;
    for (int i = 0, done = 0; i < region->count; i++) {
        /* After op i there are spills * (i + 1) / count of them; loads and stores in turn. */
        moved[i] = b->count;
        b->ops[b->count++] = region->ops[i];
        const int due = (int)((int64_t)spills * (i + 1) / region->count);
        for (; done < due; done++) {
            const bool store =
                (int64_t)stores * (done + 1) / spills > (int64_t)stores * done / spills;
            b->ops[b->count++] = (CodeOp){.kind = store ? CODE_SPILL_STORE : CODE_SPILL_LOAD,
                                          .slots = 1,
                                          .block = region->ops[i].block,
                                          .instr = -1};
        }
    }
    for (int i = 0; i < region->count; i++) {
        CodeOp *op = &b->ops[moved[i]];
        op->edges = ARENA_ARRAY(b->arena, CodeEdge, (size_t)op->edge_count + 1);
        if (op->edges == NULL) return false;
        for (int k = 0; k < op->edge_count; k++) {
            op->edges[k] = region->ops[i].edges[k];
            op->edges[k].from = moved[op->edges[k].from];
        }
    }
    return true;
}

/* A store takes what was computed before it; a reload is read a few operations on. They keep their
 * order: where ptxas puts them is where the values are. */
static bool tie_spills(Build *b) {
    for (int i = 0, last = -1; i < b->count; i++) {
        const int near = b->ops[i].kind == CODE_SPILL_STORE  ? i - 1
                         : b->ops[i].kind == CODE_SPILL_LOAD ? i + RELOAD_AHEAD
                                                             : -1;
        if (near < 0 && b->ops[i].kind != CODE_SPILL_STORE) continue;
        if (last >= 0 && !add_edge(b, i, (CodeEdge){.from = last, .order = true})) return false;
        last = i;
        if (near < 0 || near >= b->count || b->ops[near].block != b->ops[i].block) continue;
        if (near < i && size_of(&b->ops[near]) == 0) continue;
        const CodeEdge edge = {.from = near < i ? near : i};
        if (!add_edge(b, near < i ? i : near, edge)) return false;
    }
    return true;
}

/* Barriers keep accesses on their side; async copies stay in order and behind the reads of the
 * buffer that they overwrite; shared stores and loads keep their order. A wait for copies is not
 * hoisted above the mma that hide them. */
static bool add_order(Build *b) {
    int barrier = -1, async = -1, store = -1, wait = -1;
    for (int i = 0; i < b->count; i++) {
        const int kind = b->ops[i].kind;
        bool ok = true;
        if (kind == CODE_BARRIER || kind == CODE_COPY || kind == CODE_SHARED_STORE)
            for (int k = i - 1; k > barrier && ok; k--) {
                const int before = b->ops[k].kind;
                const bool read = before == CODE_LDMATRIX || before == CODE_SHARED_LOAD;
                if (kind == CODE_BARRIER ? is_memory(before) : read)
                    ok = add_edge(b, i, (CodeEdge){.from = k, .order = true});
            }
        if (kind == CODE_ASYNC && b->ops[i].groups >= 0)
            for (int k = i - 1; k > wait && ok; k--)
                if (b->ops[k].kind == CODE_MMA)
                    ok = add_edge(b, i, (CodeEdge){.from = k, .order = true});
        const bool copies = kind == CODE_COPY || kind == CODE_ASYNC;
        const bool reads = kind == CODE_LDMATRIX || kind == CODE_SHARED_LOAD;
        if (ok && barrier >= 0 && (is_memory(kind) || kind == CODE_BARRIER))
            ok = add_edge(b, i, (CodeEdge){.from = barrier, .order = true});
        if (ok && copies && async >= 0) ok = add_edge(b, i, (CodeEdge){async, false, true});
        if (ok && reads && store >= 0) ok = add_edge(b, i, (CodeEdge){store, false, true});
        if (!ok) return false;
        if (kind == CODE_BARRIER) barrier = i;
        if (copies) async = i;
        if (kind == CODE_ASYNC && b->ops[i].groups >= 0) wait = i;
        if (kind == CODE_SHARED_STORE) store = i;
    }
    return true;
}

/* Registers -------------------------------------------------------------------- */

typedef struct Pressure {
    const CodeOp *ops;
    int *readers;  /* of this iteration's value, not yet issued */
    int *carriers; /* readers of the last iteration's value, not yet issued */
    bool *kept;    /* read by the next iteration */
    int live;
} Pressure;

static bool pressure_new(Pressure *p, const Build *b) {
    const size_t n = (size_t)b->count + 1;
    *p = (Pressure){.ops = b->ops,
                    .readers = ARENA_ARRAY(b->arena, int, n),
                    .carriers = ARENA_ARRAY(b->arena, int, n),
                    .kept = ARENA_ARRAY(b->arena, bool, n)};
    return p->readers != NULL && p->carriers != NULL && p->kept != NULL;
}

static void pressure_start(Pressure *p, int count) {
    p->live = 0;
    for (int i = 0; i < count; i++) p->readers[i] = p->carriers[i] = 0;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < p->ops[i].edge_count; k++) {
            const CodeEdge *e = &p->ops[i].edges[k];
            if (e->order) continue;
            if (e->carried) {
                p->live += p->carriers[e->from]++ == 0 ? size_of(&p->ops[e->from]) : 0;
                p->kept[e->from] = true;
            } else {
                p->readers[e->from]++;
            }
        }
}

/* By how much op `i` would change the number of live registers; `apply`: it is issued. */
static int pressure_change(Pressure *p, int i, bool apply) {
    int change = p->readers[i] > 0 || p->kept[i] ? size_of(&p->ops[i]) : 0;
    for (int k = 0; k < p->ops[i].edge_count; k++) {
        const CodeEdge *e = &p->ops[i].edges[k];
        if (e->order) continue;
        int *left = e->carried ? p->carriers : p->readers;
        if (left[e->from] == 1 && (e->carried || !p->kept[e->from]))
            change -= size_of(&p->ops[e->from]);
        if (apply) left[e->from]--;
    }
    if (apply) p->live += change;
    return change;
}

static int pressure_peak(Pressure *p, int count) {
    int peak = 0;
    pressure_start(p, count);
    for (int i = 0; i < count; i++) {
        pressure_change(p, i, true);
        if (p->live > peak) peak = p->live;
    }
    return peak;
}

/* List scheduling -------------------------------------------------------------- */

typedef struct List {
    Build *b;
    const CodeCosts *costs;
    const CodeSetting *setting;
    Pressure pressure;
    int limit;
    double *path;  /* cycles behind the op in its block */
    double *start; /* cycle at which it was issued */
    double *from;  /* cycle from which its operands are there; set when its last input is issued */
    int *waits;    /* edges from ops of its block that were not issued */
    int **readers; /* ops of its block that wait for it */
    int *reader_count;
    int *ready;
    int ready_count;
    double now, lsu, sfu, tensor, ldmatrix; /* when each is free */
    int *order;
    int issued;
} List;

/* Cycles from the issue of e->from until `to` may issue, as far as a compiler knows. */
static double done_after(const List *l, const CodeEdge *e, const CodeOp *to) {
    const CodeOp *from = &l->b->ops[e->from];
    const bool closes = from->kind == CODE_ASYNC && from->groups < 0;
    if (closes && to->kind == CODE_ASYNC && to->groups >= 0) return l->costs->latency[CODE_COPY];
    if (e->order) return 1;
    return l->costs->latency[from->kind] + code_interval(l->costs, from);
}

static double later(double a, double b) {
    return a > b ? a : b;
}

static double operands_at(const List *l, int i) {
    const CodeOp *op = &l->b->ops[i];
    double at = 0;
    for (int k = 0; k < op->edge_count; k++)
        if (!op->edges[k].carried)
            at = later(at, l->start[op->edges[k].from] + done_after(l, &op->edges[k], op));
    return at;
}

static double earliest(const List *l, int i) {
    const int kind = l->b->ops[i].kind;
    double at = later(l->now, l->from[i]);
    if (kind == CODE_MMA) at = later(at, l->tensor);
    if (kind == CODE_SFU) at = later(at, l->sfu - SFU_QUEUE);
    if (code_port(kind) == SHARED) at = later(at, l->lsu - LSU_QUEUE);
    if (kind == CODE_LDMATRIX) at = later(at, l->ldmatrix);
    return at;
}

static void make_ready(List *l, int i) {
    l->from[i] = operands_at(l, i);
    l->ready[l->ready_count++] = i;
}

static void issue(List *l, int at, double when) {
    const int i = l->ready[at];
    const CodeOp *op = &l->b->ops[i];
    const double busy = code_interval(l->costs, op);
    l->start[i] = when;
    l->now = when + op->slots;
    if (op->kind == CODE_MMA) l->tensor = when + busy;
    if (op->kind == CODE_SFU) l->sfu = later(l->sfu, when) + busy;
    if (code_port(op->kind) == SHARED) l->lsu = later(l->lsu, when) + busy;
    if (op->kind == CODE_LDMATRIX) l->ldmatrix = when + l->setting->spacing;
    pressure_change(&l->pressure, i, true);
    l->order[l->issued++] = i;
    l->ready[at] = l->ready[--l->ready_count];
    for (int k = 0; k < l->reader_count[i]; k++)
        if (--l->waits[l->readers[i][k]] == 0) make_ready(l, l->readers[i][k]);
}

static void choose(List *l) {
    int best = -1, first = -1;
    double best_at = 0, first_at = 0;
    for (int r = 0; r < l->ready_count; r++) {
        const int i = l->ready[r];
        const double at = earliest(l, i);
        if (first < 0 || i < l->ready[first]) {
            first = r;
            first_at = at;
        }
        const int change = pressure_change(&l->pressure, i, false);
        if (change > 0 && l->pressure.live + change > l->limit) continue;
        const int than = best < 0 ? -1 : l->ready[best];
        if (best >= 0 &&
            (at > best_at || (at == best_at && (l->path[i] < l->path[than] ||
                                                (l->path[i] == l->path[than] && i > than)))))
            continue;
        best = r;
        best_at = at;
    }
    if (best < 0 || (best_at > l->now + LONG_STALL && first_at < best_at)) {
        best = first;
        best_at = first_at;
    }
    issue(l, best, best_at);
}

/* The branch that ends a block comes last, whatever else is ready. */
static bool list_block(List *l, int first, int end) {
    Build *b = l->b;
    for (int i = end - 1; i >= first; i--) {
        CodeOp *op = &b->ops[i];
        if (op->kind == CODE_BRANCH && i == end - 1)
            for (int k = first; k < i; k++)
                if (!add_edge(b, i, (CodeEdge){k, false, true})) return false;
    }
    for (int i = first; i < end; i++) {
        const CodeOp *op = &b->ops[i];
        for (int k = 0; k < op->edge_count; k++)
            l->waits[i] += !op->edges[k].carried && op->edges[k].from >= first;
        for (int k = 0; k < op->edge_count; k++)
            if (!op->edges[k].carried && op->edges[k].from >= first)
                l->reader_count[op->edges[k].from]++;
    }
    for (int i = first; i < end; i++) {
        l->readers[i] = ARENA_ARRAY(b->arena, int, (size_t)l->reader_count[i] + 1);
        if (l->readers[i] == NULL) return false;
        l->reader_count[i] = 0;
    }
    for (int i = end - 1; i >= first; i--) {
        const CodeOp *op = &b->ops[i];
        for (int k = 0; k < op->edge_count; k++) {
            const CodeEdge *e = &op->edges[k];
            if (e->carried || e->from < first) continue;
            l->path[e->from] = later(l->path[e->from], l->path[i] + done_after(l, e, op));
            l->readers[e->from][l->reader_count[e->from]++] = i;
        }
    }
    l->ready_count = 0;
    for (int i = first; i < end; i++)
        if (l->waits[i] == 0) make_ready(l, i);
    while (l->ready_count > 0) choose(l);
    return true;
}

static bool list_new(List *l, Build *b, const CodeCosts *costs, const CodeSetting *setting) {
    const size_t n = (size_t)b->count + 1;
    *l = (List){.b = b, .costs = costs, .setting = setting};
    l->path = ARENA_ARRAY(b->arena, double, n);
    l->start = ARENA_ARRAY(b->arena, double, n);
    l->from = ARENA_ARRAY(b->arena, double, n);
    l->waits = ARENA_ARRAY(b->arena, int, n);
    l->readers = ARENA_ARRAY(b->arena, int *, n);
    l->reader_count = ARENA_ARRAY(b->arena, int, n);
    l->ready = ARENA_ARRAY(b->arena, int, n);
    l->order = ARENA_ARRAY(b->arena, int, n);
    return l->path != NULL && l->start != NULL && l->from != NULL && l->waits != NULL &&
           l->readers != NULL && l->reader_count != NULL && l->ready != NULL && l->order != NULL &&
           pressure_new(&l->pressure, b);
}

/* Ops in the order issued, edges renamed. */
static bool list_emit(const List *l, CodeRegion *out) {
    const Build *b = l->b;
    int *at = ARENA_ARRAY(b->arena, int, (size_t)b->count + 1);
    out->ops = ARENA_ARRAY(b->arena, CodeOp, (size_t)b->count + 1);
    if (at == NULL || out->ops == NULL) return false;
    for (int i = 0; i < b->count; i++) at[l->order[i]] = i;
    for (int i = 0; i < b->count; i++) {
        CodeOp *op = &out->ops[i];
        *op = b->ops[l->order[i]];
        for (int k = 0; k < op->edge_count; k++) op->edges[k].from = at[op->edges[k].from];
    }
    out->count = b->count;
    return true;
}

Status code_schedule(const CodeRegion *region, const CodeCosts *costs, const CodeSetting *setting,
                     Arena *arena, CodeRegion *out, Error *err) {
    Build b = {.arena = arena, .err = err};
    List l;
    *out = *region;
    bool ok =
        region->count == 0 || (add_spills(&b, region, (int)lround(setting->spill_loads),
                                          (int)lround(setting->spill_stores)) &&
                               tie_spills(&b) && add_order(&b) && list_new(&l, &b, costs, setting));
    if (!ok) return err_no_memory(err, (size_t)region->count * sizeof(CodeOp));
    if (region->count == 0) return ST_OK;
    out->live = pressure_peak(&l.pressure, b.count);
    l.limit = setting->registers - setting->reserved + (int)lround(setting->spill_stores);
    pressure_start(&l.pressure, b.count);
    for (int first = 0, end; ok && first < b.count; first = end) {
        for (end = first; end < b.count && b.ops[end].block == b.ops[first].block;) end++;
        ok = list_block(&l, first, end);
    }
    ok = ok && list_emit(&l, out);
    return ok ? ST_OK : err_no_memory(err, (size_t)region->count * sizeof(CodeOp));
}
