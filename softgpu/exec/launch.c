/* One launch: a pool of host threads over the blocks of a grid.
 *
 * A worker runs a block until it ends or only spins; then the block goes to the tail of a queue and
 * the worker starts another block, as long as no more than `resident` are live, or takes the head
 * of the queue. So memory is used for blocks that need each other to go on, and every live block
 * gets turns. When nobody made progress for `spin_limit` instructions, it is a hang.
 *
 * A block that waits for memory that others write is parked. No wake-up is lost: who writes counts
 * `world` up and then looks for parked blocks; who parks is counted first and then compares `world`
 * with what its warps had seen. When all live blocks are parked, only something outside of the
 * launch can change memory: after `patience_ms` without that it is a deadlock. */
#include "softgpu/exec/block.h"
#include "softgpu/exec/footprint.h"
#include "softgpu/exec/module.h"
#include "softgpu/exec/probe.h"
#include "softgpu/exec/watch.h"
#include "softgpu/written.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum { TIMING_BLOCKS = 8, MAX_WORKERS = 256 };
static const uint64_t SPIN_LIMIT = UINT64_C(1) << 28; /* about a second of nothing but spinning */

/* Launches of this process, and those of them whose blocks are all parked: while another one runs,
 * it may write what a parked block waits for. The one state that launches share. */
static _Atomic int launches_running, launches_idle;
/* Between looks at memory when everybody is parked; before counts of polls run down: the program
 * has told how long it wants to wait, and its polls take about a microsecond each. */
enum { POLL_MS = 2, COUNT_MS = 20 };

static void add_counters(SgCounters *to, const SgCounters *from) {
    const uint64_t groups = to->max_async_groups > from->max_async_groups ? to->max_async_groups
                                                                          : from->max_async_groups;
    uint64_t *const a = (uint64_t *)to;
    const uint64_t *const b = (const uint64_t *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *a; i++) a[i] += b[i];
    to->max_async_groups = groups;
}

static Block *take(BlockQueue *q) {
    Block *const b = q->head;
    if (!b) return NULL;
    q->head = b->next;
    if (!q->head) q->tail = NULL;
    b->next = NULL;
    return b;
}

static void put(BlockQueue *q, Block *b) {
    b->next = NULL;
    if (q->tail)
        q->tail->next = b;
    else
        q->head = b;
    q->tail = b;
}

static void fail(Launch *l, Status status) {
    l->status = status;
    atomic_store(&l->stop, true);
}

/* Under the lock; starting is done outside it by the caller. */
static bool may_start(const Launch *l) {
    return l->started < l->block_total && l->live < l->resident;
}

/* Executions per basic block to executions per instruction of the entry. */
static void spread(const SgKernel *k, const uint64_t *counts, uint64_t *visits) {
    for (int i = 0; i < k->func->instr_count; i++) visits[i] = counts[k->instr_block[i]];
}

/* The place of a block in the order of dispatch. */
static uint64_t dispatch_index(const Launch *l, uint64_t linear) {
    uint64_t i = 0;
    if (!l->order) return linear;
    while (l->order[i] != linear) i++;
    return i;
}

static void finish(Launch *l, Block *b) {
    SgCounters counters = {0};
    block_count(b, &counters);
    watch_end(b);
    pthread_mutex_lock(&l->lock);
    add_counters(&l->total, &counters);
    for (int i = 0; i < l->kernel->block_count; i++) l->counts[i] += b->counts[i];
    for (uint64_t i = 0; i < l->sample_count; i++)
        if (l->sample_of[i] == b->linear) {
            l->samples[i].block = b->linear;
            l->samples[i].counters = counters;
            spread(l->kernel, b->counts, l->samples[i].visits);
        }
    if (l->profile && !launch_profile_take(l->profile, dispatch_index(l, b->linear), b->profile))
        fail(l, ST_NO_MEMORY);
    l->finished++;
    l->live--;
    l->stalled = 0;
    b->next = l->spare;
    l->spare = b;
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static void not_started(const Launch *l, char *out, size_t size) {
    const uint64_t waiting = l->block_total - l->started;
    out[0] = '\0';
    if (waiting)
        snprintf(out, size,
                 "; %llu blocks are not started and cannot before one of the %d resident ends",
                 (unsigned long long)waiting, l->resident);
}

static void report_hang(Launch *l, Block *b) {
    for (int i = 0; i < b->warp_count; i++) {
        Warp *const w = &b->warps[i];
        if (w->state != WARP_READY) continue;
        char more[160];
        not_started(l, more, sizeof more);
        pthread_mutex_unlock(&l->lock);
        warp_fault(w, w->resume, 702, w->live,
                   "hang: no block made progress for %llu instructions, "
                   "this warp loops here%s",
                   (unsigned long long)l->spin_limit, more);
        pthread_mutex_lock(&l->lock);
        return;
    }
}

/* Under the lock: all parked blocks go to the queue. */
static void unpark(Launch *l) {
    for (Block *b = take(&l->parked); b; b = take(&l->parked)) {
        atomic_fetch_sub(&l->parked_count, 1);
        put(&l->queue, b);
    }
    pthread_cond_broadcast(&l->wake);
}

void launch_publish(Launch *l) {
    atomic_fetch_add(&l->world, 1);
    if (atomic_load(&l->parked_count) == 0) return;
    pthread_mutex_lock(&l->lock);
    unpark(l);
    pthread_mutex_unlock(&l->lock);
}

/* The block waits for others; but it goes on when memory changed since it looked. */
static void park_block(Launch *l, Block *b) {
    pthread_mutex_lock(&l->lock);
    atomic_fetch_add(&l->parked_count, 1);
    if (atomic_load(&l->world) == b->wait_world) {
        put(&l->parked, b);
    } else {
        atomic_fetch_sub(&l->parked_count, 1);
        put(&l->queue, b);
        pthread_cond_signal(&l->wake);
    }
    pthread_mutex_unlock(&l->lock);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void report_parked(Launch *l) {
    Block *const list = l->parked.head;
    char more[160];
    not_started(l, more, sizeof more);
    atomic_store(&l->stop, true); /* before the lock is left: nobody takes the list again */
    pthread_mutex_unlock(&l->lock);
    deadlock_fault(list, more);
    pthread_mutex_lock(&l->lock);
}

/* Under the lock, all live blocks parked: the counts of those that wait with a time-out run down,
 * and all go on. */
static bool run_down(Launch *l) {
    bool any = false;
    for (Block *b = l->parked.head; b; b = b->next) any |= block_countdown(b);
    if (any) unpark(l);
    return any;
}

/* Under the lock, all live blocks parked: looks at memory now and then until patience ends. */
static void wait_outside(Launch *l) {
    const uint64_t now = now_ns(), world = atomic_load(&l->world);
    const bool others = atomic_load(&launches_running) > atomic_load(&launches_idle) + 1;
    if (!l->idle_since || l->idle_world != world || others) l->idle_since = now;
    l->idle_world = world;
    const uint64_t waited = (now - l->idle_since) / 1000000u;
    const uint64_t patience = (uint64_t)l->user->patience_ms;
    if (!others && waited >= (patience < COUNT_MS ? patience : COUNT_MS) && run_down(l)) return;
    if (!others && waited >= patience) {
        report_parked(l);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += POLL_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    l->watched = true;
    atomic_fetch_add(&launches_idle, 1);
    pthread_cond_timedwait(&l->wake, &l->lock, &until);
    atomic_fetch_sub(&launches_idle, 1);
    l->watched = false;
    if (atomic_load(&l->stop)) return;
    if (atomic_load(&l->world) == world) l->idle_world = atomic_fetch_add(&l->world, 1) + 1;
    unpark(l);
}

/* A block that only spun: back into the queue, unless everybody has been spinning for too long. */
static void yield_block(Launch *l, Block *b, uint64_t executed) {
    pthread_mutex_lock(&l->lock);
    l->stalled = b->moved ? 0 : l->stalled + executed;
    if (l->stalled > l->spin_limit && !may_start(l)) report_hang(l, b);
    put(&l->queue, b);
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

static uint64_t common_factor(uint64_t a, uint64_t b) {
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The i-th block to start: with a seed, a permutation by a step that shares no factor with the
 * number of blocks. */
static uint64_t shuffled(const Launch *l, uint64_t i) {
    const uint64_t n = l->block_total, seed = l->user->seed;
    if (!seed || n < 2 || n > UINT32_MAX) return i; /* i * step stays within 64 bits */
    uint64_t step = sg_mix(seed, n, 1) % n;
    while (common_factor(n, step) != 1) step = (step + 1) % n;
    return (i * step + sg_mix(seed, n, 2) % n) % n;
}

/* A block to run; NULL when the launch is over for this worker. New blocks go before spinning
 * ones: what a block spins on may be the work of one that has not started. */
static Block *next_block(Launch *l) {
    pthread_mutex_lock(&l->lock);
    Block *b = NULL;
    while (!atomic_load(&l->stop) && l->finished < l->block_total) {
        if (may_start(l)) {
            const uint64_t i = l->started++;
            Block *const spare = l->spare;
            if (spare) l->spare = spare->next;
            l->live++;
            pthread_mutex_unlock(&l->lock);
            b = block_start(l, l->order ? l->order[i] : shuffled(l, i), spare);
            if (!b) fail(l, ST_NO_MEMORY);
            return b;
        }
        b = take(&l->queue);
        if (b) break;
        if (l->live == 0) break;
        if (!l->watched && atomic_load(&l->parked_count) == l->live)
            wait_outside(l);
        else
            pthread_cond_wait(&l->wake, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return b;
}

static void *worker(void *arg) {
    Launch *const l = arg;
    for (;;) {
        Block *const b = next_block(l);
        if (!b) break;
        uint64_t executed = 0;
        const Turn turn = block_turn(b, &executed);
        if (turn == TURN_DONE)
            finish(l, b);
        else if (turn == TURN_SPIN)
            yield_block(l, b, executed);
        else if (turn == TURN_PARK)
            park_block(l, b);
        if (turn == TURN_FAULT) {
            block_free(b);
            break;
        }
    }
    pthread_mutex_lock(&l->lock);
    pthread_cond_broadcast(&l->wake);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void run_workers(Launch *l, int threads) {
    pthread_t ids[MAX_WORKERS];
    int n = 0;
    while (n + 1 < threads && pthread_create(&ids[n], NULL, worker, l) == 0) n++;
    worker(l);
    for (int i = 0; i < n; i++) pthread_join(ids[i], NULL);
}

/* First, last and evenly spaced blocks between, each once. */
static uint64_t choose_samples(uint64_t total, uint64_t out[TIMING_BLOCKS]) {
    uint64_t n = 0;
    const uint64_t want = total < TIMING_BLOCKS ? total : TIMING_BLOCKS;
    for (uint64_t i = 0; i < want; i++) {
        const uint64_t at = want == 1 ? 0 : i * (total - 1) / (want - 1);
        if (!n || out[n - 1] != at) out[n++] = at;
    }
    return n;
}

static Status check_launch(const SgLaunch *u, Error *err) {
    const SgKernelInfo *const info = sg_kernel_info(u->kernel);
    const uint64_t threads = (uint64_t)u->block[0] * u->block[1] * u->block[2];
    if (!threads || threads > 1024)
        return err_set(err, ST_INVALID, "%s: a block of %llu threads; 1 to 1024 are possible",
                       info->name, (unsigned long long)threads);
    for (int i = 0; i < 3; i++)
        if (!u->grid[i])
            return err_set(err, ST_INVALID, "%s: grid dimension %d is 0", info->name, i);
    if (u->dynamic_smem > (1u << 20))
        return err_set(err, ST_LIMIT, "%s: %u bytes of dynamic shared memory", info->name,
                       u->dynamic_smem);
    return ST_OK;
}

static int worker_count(const SgLaunch *u, uint64_t blocks) {
    cpu_set_t allowed; /* of this thread: a program bound to some cores stays on them */
    const bool known = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
    long n = u->threads > 0 ? u->threads
             : known        ? CPU_COUNT(&allowed)
                            : sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1) n = 1;
    if (n > MAX_WORKERS) n = MAX_WORKERS;
    return (uint64_t)n < blocks ? (int)n : (int)blocks;
}

bool launch_wants_workspace(const SgKernel *k) {
    for (int i = 0; i < k->special_count; i++)
        if ((k->specials[i].special & 0xffff) == PTX_SR_ENVREG1) return true;
    return false;
}

/* Cooperative groups find the words of their grid barrier by %envreg1 and 2, the halves of an
 * address; what lies there before the first barrier is 0. */
static Status make_workspace(Launch *l, Error *err) {
    enum { BYTES = 64 };
    if (!l->user->cooperative || !launch_wants_workspace(l->kernel)) return ST_OK;
    const Status st = sg_mem_alloc(0, l, BYTES, UINT64_MAX, &l->workspace, err);
    if (st == ST_OK) sg_written_mark(l->workspace, BYTES);
    return st;
}

static void cleanup(Launch *l) {
    if (l->workspace) sg_mem_free(l->workspace, NULL);
    unpark(l);
    for (Block *b = take(&l->queue); b; b = take(&l->queue)) block_free(b);
    while (l->spare) {
        Block *const b = l->spare;
        l->spare = b->next;
        block_free(b);
    }
    footprint_free(l->footprint);
    order_launch_free(l->order_between);
    race_launch_free(l->race);
    mem_free(l->counts);
    launch_profile_free(l->profile);
    if (l->kernel != l->user->kernel) probe_kernel_free((SgKernel *)(uintptr_t)l->kernel);
    mem_free((void *)(uintptr_t)l->params);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->wake);
}

static void results(Launch *l, uint64_t blocks) {
    SgLaunch *const u = l->user;
    u->counters = l->total;
    u->counters.blocks = blocks;
    const double scale = l->total.blocks_run ? (double)blocks / (double)l->total.blocks_run : 1;
    u->counters.dram_bytes = footprint_bytes(l->footprint, scale);
    u->samples = l->samples;
    u->sample_count = l->sample_count;
    u->warnings = l->warnings;
    u->warning_count = l->warning_count;
    spread(l->kernel, l->counts, u->visits);
}

/* False: no memory. */
static bool make_results(Launch *l, Arena *arena) {
    SgLaunch *const u = l->user;
    const size_t n = (size_t)l->kernel->func->instr_count, rows = (size_t)l->sample_count + 1;
    l->samples = ARENA_ARRAY(arena, SgBlockSample, rows);
    u->visits = arena_array(arena, rows, (n + 1) * sizeof *u->visits);
    l->counts = mem_alloc((size_t)l->kernel->block_count * sizeof *l->counts);
    u->visit_count = u->visits ? n : 0;
    l->warnings = ARENA_ARRAY(arena, SgWarning, SG_MAX_WARNINGS);
    l->warned = ARENA_ARRAY(arena, const Rec *, SG_MAX_WARNINGS);
    if (!l->samples || !u->visits || !l->counts || !l->warnings || !l->warned) return false;
    for (size_t i = 0; i + 1 < rows; i++) l->samples[i].visits = u->visits + (i + 1) * (n + 1);
    return true;
}

/* False: no memory. */
static bool start_profile(Launch *l) {
    const SgLaunch *const u = l->user;
    if (!u->profile) return true;
    SgKernel *const counting = probe_kernel(u->kernel);
    if (!counting) return false;
    l->kernel = counting;
    footprint_hear(l->footprint);
    l->profile =
        launch_profile_new(counting, u->model, l->block_total, (uint64_t)(unsigned)l->resident);
    return l->profile != NULL;
}

/* False: no memory. */
static bool end_profile(Launch *l, Arena *arena) {
    if (!l->profile || l->user->fault.faulted) return true;
    l->user->detail = launch_profile_result(l->profile, l->counts, arena);
    return l->user->detail != NULL;
}

/* At most what a thread has of local memory (CUDA programming guide, technical specifications). */
static uint64_t stack_bytes(const SgLaunch *launch) {
    enum { DEFAULT_STACK = 1024, MOST_LOCAL = 512 << 10 };
    const uint64_t n = launch->stack_bytes ? launch->stack_bytes : DEFAULT_STACK;
    return n < MOST_LOCAL ? n : MOST_LOCAL;
}

Status sg_execute(SgLaunch *launch, Arena *arena, Error *err) {
    Status st = check_launch(launch, err);
    if (st != ST_OK) return st;
    const SgKernel *const k = launch->kernel;
    const uint64_t blocks = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    const uint64_t threads = (uint64_t)launch->block[0] * launch->block[1] * launch->block[2];
    uint64_t order[TIMING_BLOCKS];
    launch->fault = (SgFault){0};
    sg_mem_launch();
    /* Blocks that wait for each other cannot be sampled. */
    const bool sampled = launch->mode == SG_TIMING && !k->waits && !launch->cooperative;
    if (!(k->module->checks & SG_CHECK_INIT) || sampled) sg_written_give_up();
    launch->counters = (SgCounters){0};
    launch->warnings = NULL;
    launch->warning_count = 0;
    launch->detail = NULL;
    Launch l = {.user = launch,
                .kernel = k,
                .params = mem_alloc((size_t)k->info.param_bytes + 16),
                .spin_limit = launch->spin_limit ? launch->spin_limit : SPIN_LIMIT,
                .block_total = blocks,
                .resident = launch->resident > 0 ? launch->resident : 1,
                .warp_count = (int)((threads + LANES - 1) / LANES),
                .footprint = footprint_new()};
    if (k->call_count) l.stack_bytes = stack_bytes(launch);
    l.local_bytes = k->local_bytes + ((l.stack_bytes + 15) & ~UINT64_C(15));
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.wake, NULL);
    /* Both modes report the same blocks, so that both are timed alike. */
    l.sample_count = choose_samples(blocks, order);
    l.sample_of = order;
    if (sampled && blocks > TIMING_BLOCKS) {
        l.block_total = l.sample_count;
        l.order = order;
    }
    if (!l.params || !l.footprint || !make_results(&l, arena) || !start_profile(&l) ||
        !watch_launch(&l, blocks)) {
        st = err_no_memory(err, block_bytes(&l));
    } else if ((st = make_workspace(&l, err)) == ST_OK) {
        if (k->info.param_bytes)
            memcpy((void *)(uintptr_t)l.params, launch->params, (size_t)k->info.param_bytes);
        atomic_fetch_add(&launches_running, 1);
        run_workers(&l, worker_count(launch, l.block_total));
        atomic_fetch_sub(&launches_running, 1);
        results(&l, blocks);
        if (l.status == ST_OK && !end_profile(&l, arena)) l.status = ST_NO_MEMORY;
        if (l.status != ST_OK) st = err_no_memory(err, block_bytes(&l));
    }
    cleanup(&l);
    return st;
}
