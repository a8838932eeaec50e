/* See order.h. */
#include "softgpu/exec/order.h"

#include <string.h>

#include "base/mem.h"
#include "softgpu/exec/watch.h"

/* Beyond so many blocks a synchronised block is taken to know of all others: each publication costs
 * four bytes per block. */
enum { MOST_BLOCKS = 1 << 14, VAR_SLOTS = 64 };
static const uint32_t LAST_CLOCK = (1u << CELL_CLOCK_BITS) - 1;

struct Outside {
    atomic_uint refs;
    uint32_t seen[]; /* of each block */
};

typedef struct BlockLog { /* row i: what publication i + 1 of the block told of its warps */
    uint32_t (*rows)[MAX_WARPS];
    uint32_t count, cap;
} BlockLog;

typedef struct GlobalVar {
    uint64_t address;
    Outside *outside;
} GlobalVar;

struct OrderLaunch {
    pthread_mutex_t lock; /* of everything below */
    uint64_t blocks;
    BlockLog *logs;
    GlobalVar *vars; /* open addressing by address */
    uint32_t var_count, var_cap;
    atomic_bool published;
    Outside all; /* stands for: everything of every block */
};

static Order *order_of(const Warp *w) {
    return &w->block->watch->order;
}
static WarpOrder *warp_order(const Warp *w) {
    return &order_of(w)->warps[w->index];
}
static OrderLaunch *launch_of(const Block *b) {
    return b->launch->order_between;
}

OrderLaunch *order_launch_new(uint64_t blocks) {
    OrderLaunch *const l = mem_alloc(sizeof *l);
    if (!l) return NULL;
    memset(l, 0, sizeof *l);
    l->blocks = blocks;
    l->all.refs = 1;
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

static void drop(const OrderLaunch *l, Outside *o) {
    if (o && o != &l->all && atomic_fetch_sub(&o->refs, 1) == 1) mem_free(o);
}
static Outside *keep(Outside *o) {
    if (o) atomic_fetch_add(&o->refs, 1);
    return o;
}

void order_launch_free(OrderLaunch *l) {
    if (!l) return;
    for (uint64_t i = 0; l->logs && i < l->blocks; i++) mem_free(l->logs[i].rows);
    for (uint32_t i = 0; i < l->var_cap; i++) drop(l, l->vars[i].outside);
    mem_free(l->logs);
    mem_free(l->vars);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

static Outside *outside_new(const OrderLaunch *l) {
    Outside *const o = mem_alloc(sizeof *o + (size_t)l->blocks * sizeof o->seen[0]);
    if (!o) return NULL;
    memset(o, 0, sizeof *o + (size_t)l->blocks * sizeof o->seen[0]);
    o->refs = 1;
    return o;
}

/* *to also knows what `from` knows; a new value unless one of the two says it all. */
static void outside_join(OrderLaunch *l, Outside **to, Outside *from) {
    Outside *const old = *to;
    if (!from || from == old || old == &l->all) return;
    bool less = from == &l->all || !old, more = false;
    for (uint64_t i = 0; i < l->blocks && !less && !more; i++) more = from->seen[i] > old->seen[i];
    if (!less && !more) return;
    less = less || !old;
    for (uint64_t i = 0; i < l->blocks && !less; i++) {
        if (old->seen[i] > from->seen[i]) break;
        less = i + 1 == l->blocks;
    }
    Outside *next = less ? keep(from) : outside_new(l);
    if (!next) next = keep(&l->all); /* no memory: fewer findings */
    if (!less && next != &l->all)
        for (uint64_t i = 0; i < l->blocks; i++)
            next->seen[i] = old->seen[i] > from->seen[i] ? old->seen[i] : from->seen[i];
    drop(l, old);
    *to = next;
}

static void join(OrderLaunch *l, Clocks *to, const Clocks *from) {
    for (int i = 0; i < MAX_WARPS; i++)
        to->of[i] = to->of[i] > from->of[i] ? to->of[i] : from->of[i];
    outside_join(l, &to->outside, from->outside);
}
static void clear(const OrderLaunch *l, Clocks *c) {
    drop(l, c->outside);
    *c = (Clocks){0};
}

static void refresh(const Block *b, WarpOrder *o) {
    int64_t floor = INT64_MAX;
    for (int i = 0; i < MAX_WARPS; i++) {
        o->limit[i] = (int64_t)(o->known.of[i] + 1) << CELL_CLOCK;
        if (i < b->warp_count && o->limit[i] < floor) floor = o->limit[i];
    }
    o->floor = floor;
}

static void tick(WarpOrder *o) {
    if (o->now < LAST_CLOCK - 1) o->now++; /* at the end of time everything is ordered */
}

/* What the warp knows and did, and a new time for what it does next. */
static Clocks told(const Warp *w) {
    WarpOrder *const o = warp_order(w);
    Clocks c = o->known;
    c.of[w->index] = o->now;
    tick(o);
    return c;
}

void order_reset(Order *o, int warps) {
    for (int i = 0; i < warps; i++) {
        WarpOrder *const w = &o->warps[i];
        *w = (WarpOrder){.now = 1, .floor = INT64_C(1) << CELL_CLOCK};
        for (int k = 0; k < MAX_WARPS; k++) w->limit[k] = w->floor;
    }
    memset(o->barriers, 0, sizeof o->barriers);
    if (o->vars) memset(o->vars, 0, o->var_cap * sizeof *o->vars);
    o->var_count = 0;
}

void order_end(const Block *b, Order *o) {
    const OrderLaunch *const l = launch_of(b);
    for (int i = 0; i < b->warp_count; i++) {
        drop(l, o->warps[i].known.outside);
        drop(l, o->warps[i].fence.outside);
        drop(l, o->warps[i].seen.outside);
        o->warps[i].known.outside = o->warps[i].fence.outside = o->warps[i].seen.outside = NULL;
    }
    for (int i = 0; i < BARRIERS; i++) clear(l, &o->barriers[i]);
    for (uint32_t i = 0; i < o->var_cap; i++) {
        clear(l, &o->vars[i].arriving);
        clear(l, &o->vars[i].done);
    }
}

void order_free(Order *o) {
    mem_free(o->vars);
}

void order_warp_met(Warp *w) {
    WarpOrder *const o = warp_order(w);
    o->known.of[w->index] = o->now;
    o->limit[w->index] = (int64_t)(o->now + 1) << CELL_CLOCK;
    tick(o);
}

void order_arrive(Warp *w, int id) {
    const Clocks c = told(w);
    join(launch_of(w->block), &order_of(w)->barriers[id], &c);
}

/* After a barrier of all warps that have not ended, all clocks are made equal: then one comparison
 * tells that everything before it is ordered. A warp that ended without it is not. */
static void level(Block *b) {
    Order *const o = &b->watch->order;
    uint32_t most = 0;
    for (int i = 0; i < b->warp_count; i++) most = o->warps[i].now > most ? o->warps[i].now : most;
    for (int i = 0; i < b->warp_count; i++) {
        WarpOrder *const w = &o->warps[i];
        if (b->warps[i].state == WARP_DONE) continue;
        w->now = most;
        for (int k = 0; k < b->warp_count; k++)
            if (b->warps[k].state != WARP_DONE) w->known.of[k] = most;
        tick(w);
    }
}

void order_release(Block *b, int id, uint32_t waiting) {
    OrderLaunch *const l = launch_of(b);
    Order *const o = &b->watch->order;
    bool whole = true;
    for (int i = 0; i < b->warp_count; i++) {
        if (waiting >> i & 1)
            join(l, &o->warps[i].known, &o->barriers[id]);
        else if (b->warps[i].state != WARP_DONE)
            whole = false;
    }
    if (whole) level(b);
    for (int i = 0; i < b->warp_count; i++)
        if (waiting >> i & 1) refresh(b, &o->warps[i]);
    clear(l, &o->barriers[id]);
}

void order_fence(Warp *w) {
    OrderLaunch *const l = launch_of(w->block);
    WarpOrder *const o = warp_order(w);
    if (o->has_seen) {
        join(l, &o->known, &o->seen);
        clear(l, &o->seen);
        o->has_seen = false;
        refresh(w->block, o);
    }
    Outside *const old = o->fence.outside;
    o->fence = told(w);
    keep(o->fence.outside);
    drop(l, old);
    o->has_fence = true;
}

/* The variable at `offset`, made when there is none; NULL: no memory. */
static SyncVar *shared_var(Order *o, uint32_t offset, bool make) {
    if (make && o->var_count * 2 >= o->var_cap) {
        const uint32_t cap = o->var_cap ? o->var_cap * 2 : VAR_SLOTS;
        SyncVar *const more = mem_alloc(cap * sizeof *more);
        if (!more) return NULL;
        memset(more, 0, cap * sizeof *more);
        for (uint32_t i = 0; i < o->var_cap; i++) {
            if (!o->vars[i].used) continue;
            uint32_t at = o->vars[i].offset * 0x9e3779b1u % cap;
            while (more[at].used) at = (at + 1) % cap;
            more[at] = o->vars[i];
        }
        mem_free(o->vars);
        o->vars = more;
        o->var_cap = cap;
    }
    if (!o->var_cap) return NULL;
    uint32_t at = offset * 0x9e3779b1u % o->var_cap;
    while (o->vars[at].used && o->vars[at].offset != offset) at = (at + 1) % o->var_cap;
    if (o->vars[at].used) return &o->vars[at];
    if (!make) return NULL;
    o->var_count++;
    o->vars[at] = (SyncVar){.offset = offset, .used = true};
    return &o->vars[at];
}

void order_mb_arrive(Warp *w, uint32_t offset) {
    SyncVar *const v = shared_var(order_of(w), offset, true);
    const Clocks c = told(w);
    if (v) join(launch_of(w->block), &v->arriving, &c);
}

void order_mb_phase(Block *b, uint32_t offset) {
    SyncVar *const v = shared_var(&b->watch->order, offset, true);
    if (!v) return;
    join(launch_of(b), &v->done, &v->arriving);
    clear(launch_of(b), &v->arriving);
}

void order_mb_wait(Warp *w, uint32_t offset) {
    const SyncVar *const v = shared_var(order_of(w), offset, false);
    if (!v) return;
    WarpOrder *const o = warp_order(w);
    join(launch_of(w->block), &o->known, &v->done);
    refresh(w->block, o);
}

static uint64_t var_slot(const OrderLaunch *l, uint64_t address) {
    return (address * UINT64_C(0x9e3779b97f4a7c15) >> 32) % l->var_cap;
}

/* Under the lock. */
static GlobalVar *global_var(OrderLaunch *l, uint64_t address, bool make) {
    if (make && l->var_count * 2 >= l->var_cap) {
        const uint32_t old_cap = l->var_cap, cap = old_cap ? old_cap * 2 : VAR_SLOTS;
        GlobalVar *const more = mem_alloc(cap * sizeof *more), *const old = l->vars;
        if (!more) return NULL;
        memset(more, 0, cap * sizeof *more);
        l->vars = more;
        l->var_cap = cap;
        for (uint32_t i = 0; i < old_cap; i++) {
            if (!old[i].address) continue;
            uint64_t at = var_slot(l, old[i].address);
            while (more[at].address) at = (at + 1) % cap;
            more[at] = old[i];
        }
        mem_free(old);
    }
    if (!l->var_cap) return NULL;
    uint64_t at = var_slot(l, address);
    while (l->vars[at].address && l->vars[at].address != address) at = (at + 1) % l->var_cap;
    if (l->vars[at].address) return &l->vars[at];
    if (!make) return NULL;
    l->var_count++;
    l->vars[at].address = address;
    return &l->vars[at];
}

/* Under the lock: the number of a new publication of the block, 0: no memory. It tells what the
 * ones before it told, too. */
static uint32_t log_publication(OrderLaunch *l, uint64_t block, const uint32_t of[MAX_WARPS]) {
    if (!l->logs) {
        l->logs = mem_alloc((size_t)l->blocks * sizeof *l->logs);
        if (!l->logs) return 0;
        memset(l->logs, 0, (size_t)l->blocks * sizeof *l->logs);
    }
    BlockLog *const log = &l->logs[block];
    if (log->count && memcmp(log->rows[log->count - 1], of, sizeof *log->rows) == 0)
        return log->count;
    if (log->count == log->cap) {
        const uint32_t cap = log->cap ? log->cap * 2 : 4;
        void *const rows = mem_realloc(log->rows, cap * sizeof *log->rows);
        if (!rows) return 0;
        log->rows = rows;
        log->cap = cap;
    }
    for (int i = 0; i < MAX_WARPS; i++) {
        const uint32_t before = log->count ? log->rows[log->count - 1][i] : 0;
        log->rows[log->count][i] = of[i] > before ? of[i] : before;
    }
    return ++log->count;
}

static void publish_global(Warp *w, uint64_t address, const Clocks *c) {
    OrderLaunch *const l = launch_of(w->block);
    pthread_mutex_lock(&l->lock);
    GlobalVar *const v = global_var(l, address, true);
    const bool few = l->blocks <= MOST_BLOCKS;
    Outside *own = few ? outside_new(l) : NULL;
    if (v && own) {
        const uint32_t number = log_publication(l, w->block->linear, c->of);
        outside_join(l, &v->outside, c->outside);
        if (v->outside && v->outside != &l->all)
            memcpy(own->seen, v->outside->seen, (size_t)l->blocks * sizeof own->seen[0]);
        if (own->seen[w->block->linear] < number) own->seen[w->block->linear] = number;
        outside_join(l, &v->outside, own);
    } else if (v) {
        outside_join(l, &v->outside, &l->all);
    }
    drop(l, own);
    atomic_store(&l->published, true);
    pthread_mutex_unlock(&l->lock);
}

static bool in_shared(const Block *b, uint64_t address) {
    return address - (uint64_t)(uintptr_t)b->shared < b->shared_size;
}

bool order_has_signals(const Warp *w, bool release) {
    return release || warp_order(w)->has_fence || order_of(w)->var_count ||
           atomic_load_explicit(&launch_of(w->block)->published, memory_order_relaxed);
}

void order_publish(Warp *w, uint64_t address, bool release) {
    WarpOrder *const o = warp_order(w);
    if (!release && !o->has_fence) return;
    const Clocks c = release ? told(w) : o->fence;
    if (!in_shared(w->block, address)) {
        publish_global(w, address, &c);
        return;
    }
    const uint32_t offset = (uint32_t)(address - (uint64_t)(uintptr_t)w->block->shared);
    SyncVar *const v = shared_var(order_of(w), offset, true);
    if (v) join(launch_of(w->block), &v->done, &c);
}

/* Under the lock: what `outside` tells, also of the block's own warps. */
static void learn(OrderLaunch *l, const Block *b, Clocks *to, Outside *outside) {
    outside_join(l, &to->outside, outside);
    if (outside == &l->all || !l->logs || !outside->seen[b->linear]) return;
    const uint32_t *const row = l->logs[b->linear].rows[outside->seen[b->linear] - 1];
    for (int i = 0; i < MAX_WARPS; i++) to->of[i] = to->of[i] > row[i] ? to->of[i] : row[i];
}

void order_observe(Warp *w, uint64_t address, bool acquire) {
    WarpOrder *const o = warp_order(w);
    OrderLaunch *const l = launch_of(w->block);
    Clocks *const to = acquire ? &o->known : &o->seen;
    if (in_shared(w->block, address)) {
        const uint32_t offset = (uint32_t)(address - (uint64_t)(uintptr_t)w->block->shared);
        const SyncVar *const v = shared_var(order_of(w), offset, false);
        if (!v) return;
        join(l, to, &v->done);
    } else {
        if (!atomic_load_explicit(&l->published, memory_order_relaxed)) return;
        pthread_mutex_lock(&l->lock);
        const GlobalVar *const v = global_var(l, address, false);
        if (v && v->outside) learn(l, w->block, to, v->outside);
        pthread_mutex_unlock(&l->lock);
        if (!v) return;
    }
    if (!acquire) o->has_seen = true;
    if (acquire) refresh(w->block, o);
}

bool order_before(const Warp *w, uint64_t block, int warp, uint32_t clock) {
    const WarpOrder *const o = warp_order(w);
    if (block == w->block->linear) return clock <= o->known.of[warp];
    OrderLaunch *const l = launch_of(w->block);
    const Outside *const outside = o->known.outside;
    if (!outside) return false;
    if (outside == &l->all) return true;
    const uint32_t number = outside->seen[block];
    if (!number) return false;
    pthread_mutex_lock(&l->lock);
    const bool before = clock <= l->logs[block].rows[number - 1][warp];
    pthread_mutex_unlock(&l->lock);
    return before;
}
