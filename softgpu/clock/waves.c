/* Waves: blocks are handed out in order to the SM that has a place first; blocks that share an SM
 * advance together, each at the cost of a block among so many. */
#include <math.h>

#include "base/mem.h"
#include "softgpu/clock/profile.h"

enum { SIMULATED = 1 << 15 /* blocks dispatched one by one; those before run at full occupancy */ };

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
    const double *cost; /* [bins][slots] */
    int slots;
    Sm *sm; /* owned */
    int sms, heap_size;
    int *heap;  /* SMs by `next`, smallest first; owned */
    int *ready; /* SMs that were taken off the heap; owned */
} Dispatch;

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
                sm_give(&d->sm[d->ready[i]], profile_bin(d->profile, next++));
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

double waves_cycles(const Profile *profile, const double *cost, int slots, int sms,
                    uint64_t blocks) {
    Dispatch d = {.profile = profile, .cost = cost, .slots = slots, .sms = sms};
    d.sm = mem_alloc((size_t)d.sms * sizeof *d.sm);
    d.heap = mem_alloc((size_t)d.sms * sizeof *d.heap);
    d.ready = mem_alloc((size_t)d.sms * sizeof *d.ready);
    double cycles = -1;
    if (d.sm != NULL && d.heap != NULL && d.ready != NULL) {
        const uint64_t bulk = blocks > SIMULATED ? blocks - SIMULATED : 0;
        double work = 0; /* of the bulk, at full occupancy: slots blocks take cost cycles */
        for (uint64_t b = 0; b < bulk; b++)
            work += cost_of(&d, profile_bin(profile, b), slots) / slots;
        cycles = work / d.sms + dispatch_run(&d, bulk, blocks);
    }
    mem_free(d.sm);
    mem_free(d.heap);
    mem_free(d.ready);
    return cycles;
}
