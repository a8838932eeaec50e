/* See profile.h and probe.h: what blocks counted, added up, replayed through the L2 model and
 * turned into rows per PTX instruction.
 *
 * The L2 model sees the blocks in waves: as many as are resident at once, one access of each in
 * turn, then the next wave. So what it says depends neither on the number of host threads nor on
 * which block was faster on the host. */
#include "softgpu/exec/profile.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/exec/block.h"
#include "softgpu/exec/probe.h"
#include "softgpu/ptx/form.h"

typedef struct Trace {
    Run *runs;
    size_t count;
    bool taken;
} Trace;

struct LaunchProfile {
    const SgKernel *kernel;
    RecCounts *recs;
    SgDetail detail;
    SgCache *cache;
    Trace *traces; /* of each block, until its wave is replayed */
    uint64_t blocks, resident;
    uint64_t replayed; /* blocks; a multiple of `resident` until the end */
    uint64_t ready;    /* of the next wave */
};

LaunchProfile *launch_profile_new(const SgKernel *kernel, const GpuModel *model, uint64_t blocks,
                                  uint64_t resident) {
    LaunchProfile *const lp = mem_alloc(sizeof *lp);
    if (!lp) return NULL;
    lp->kernel = kernel;
    lp->recs = mem_alloc((size_t)kernel->rec_count * sizeof *lp->recs);
    lp->cache = sg_cache_new(model ? model->l2_bytes : 0);
    lp->traces = mem_alloc((size_t)blocks * sizeof *lp->traces);
    lp->blocks = blocks;
    lp->resident = resident;
    if (lp->recs && lp->cache && lp->traces) return lp;
    launch_profile_free(lp);
    return NULL;
}

void launch_profile_free(LaunchProfile *lp) {
    if (!lp) return;
    for (uint64_t i = 0; lp->traces && i < lp->blocks; i++) mem_free(lp->traces[i].runs);
    mem_free(lp->traces);
    sg_cache_free(lp->cache);
    mem_free(lp->recs);
    mem_free(lp);
}

static void replay_run(SgCache *cache, const Run *run) {
    if (run->reads) sg_cache_read(cache, run->first, run->count);
    if (run->writes) sg_cache_write(cache, run->first, run->count);
}

static uint64_t wave_end(const LaunchProfile *lp) {
    return lp->blocks - lp->replayed < lp->resident ? lp->blocks : lp->replayed + lp->resident;
}

static void replay_wave(LaunchProfile *lp) {
    const uint64_t end = wave_end(lp);
    bool more = true;
    for (size_t k = 0; more; k++) {
        more = false;
        for (uint64_t i = lp->replayed; i < end; i++) {
            if (k >= lp->traces[i].count) continue;
            replay_run(lp->cache, &lp->traces[i].runs[k]);
            more = true;
        }
    }
    for (uint64_t i = lp->replayed; i < end; i++) {
        mem_free(lp->traces[i].runs);
        lp->traces[i].runs = NULL;
    }
    lp->replayed = end;
    lp->ready = 0;
    for (uint64_t i = end; i < wave_end(lp); i++) lp->ready += lp->traces[i].taken;
}

bool launch_profile_take(LaunchProfile *lp, uint64_t index, BlockProfile *p) {
    const uint64_t *const from = (const uint64_t *)(const void *)&p->detail;
    uint64_t *const to = (uint64_t *)(void *)&lp->detail;
    for (size_t i = 0; i < sizeof p->detail / sizeof *to; i++) to[i] += from[i];
    for (int i = 0; i < lp->kernel->rec_count; i++) {
        RecCounts *const r = &lp->recs[i];
        r->lanes += p->recs[i].lanes;
        r->wavefronts += p->recs[i].wavefronts;
        r->conflicts += p->recs[i].conflicts;
        r->sectors += p->recs[i].sectors;
        r->divergent += p->recs[i].divergent;
    }
    const bool ok = !p->no_memory;
    lp->traces[index] = (Trace){p->runs, p->run_count, true};
    RecCounts *const recs = p->recs;
    memset(recs, 0, (size_t)lp->kernel->rec_count * sizeof *recs);
    *p = (BlockProfile){.recs = recs};
    lp->ready += index < wave_end(lp);
    while (lp->replayed < lp->blocks && lp->ready == wave_end(lp) - lp->replayed) replay_wave(lp);
    return ok;
}

/* --- rows --- */

static const SgClass class_of_pipe[PIPE_COUNT] = {
    [PIPE_MOVE] = SG_CLASS_MOVE,
    [PIPE_ALU] = SG_CLASS_INTEGER,
    [PIPE_ALU2] = SG_CLASS_INTEGER,
    [PIPE_ALU3] = SG_CLASS_INTEGER,
    [PIPE_FMA] = SG_CLASS_INTEGER,
    [PIPE_FMA64] = SG_CLASS_INTEGER,
    [PIPE_DIV] = SG_CLASS_INTEGER,
    [PIPE_SFU] = SG_CLASS_SFU,
    [PIPE_CVT] = SG_CLASS_CONVERT,
    [PIPE_MMA] = SG_CLASS_TENSOR,
    [PIPE_LDMATRIX] = SG_CLASS_LDMATRIX,
    [PIPE_LOAD] = SG_CLASS_LOAD,
    [PIPE_STORE] = SG_CLASS_STORE,
    [PIPE_LOAD_SHARED] = SG_CLASS_SHARED_LOAD,
    [PIPE_STORE_SHARED] = SG_CLASS_SHARED_STORE,
    [PIPE_LOCAL] = SG_CLASS_LOCAL,
    [PIPE_ATOMIC] = SG_CLASS_ATOMIC,
    [PIPE_CP_ASYNC] = SG_CLASS_CP_ASYNC,
    [PIPE_SHUFFLE] = SG_CLASS_SHUFFLE,
    [PIPE_BRANCH] = SG_CLASS_BRANCH,
    [PIPE_BARRIER] = SG_CLASS_BARRIER,
    [PIPE_OTHER] = SG_CLASS_OTHER,
};

/* Of arithmetic, which pipes of several types do, the type decides. */
static SgClass class_of(SgPipe pipe, const char *form) {
    const SgClass class = class_of_pipe[pipe];
    if (class != SG_CLASS_INTEGER) return class;
    if (strstr(form, ".f64")) return SG_CLASS_DOUBLE;
    return strstr(form, ".f32") || strstr(form, ".f16") || strstr(form, ".bf16") ? SG_CLASS_FLOAT
                                                                                 : class;
}

static SgTensorType tensor_type(const char *form) {
    static const struct {
        const char *word;
        SgTensorType type;
    } rows[] = {{".bf16", SG_TENSOR_BF16}, {".tf32", SG_TENSOR_TF32}, {".f64", SG_TENSOR_F64},
                {".s8", SG_TENSOR_INT8},   {".u8", SG_TENSOR_INT8},   {".e4m3", SG_TENSOR_FP8},
                {".e5m2", SG_TENSOR_FP8}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strstr(form, rows[i].word)) return rows[i].type;
    return SG_TENSOR_F16;
}

typedef struct Order { /* a record and where its instruction stands */
    int rec;
    const PtxInstr *instr;
} Order;

static int by_instruction(const void *a, const void *b) {
    const Order *const x = a, *const y = b;
    if (x->instr->line != y->instr->line) return x->instr->line < y->instr->line ? -1 : 1;
    if (x->instr != y->instr) return x->instr < y->instr ? -1 : 1;
    return x->rec - y->rec;
}

typedef struct Context {
    const LaunchProfile *lp;
    const uint64_t *counts; /* per basic block */
    const int *leader_of;   /* per record */
    SgProfile *out;
} Context;

/* One record of the row's instruction. */
static void row_add(const Context *c, SgRow *row, int rec) {
    const LaunchProfile *const lp = c->lp;
    const SgKernel *const k = lp->kernel;
    const RecPlace *const place = &k->places[rec];
    const int leader = c->leader_of[rec];
    const uint64_t n = c->counts[k->code[leader].o[0]];
    const RecCounts *const r = &lp->recs[rec];
    if (place->begins) {
        row->warps += n;
        const Handler fn = k->probes[rec].real;
        const bool guarded = fn == sg_control_extras[CONTROL_guard] || sg_is_jump_if(fn);
        row->lanes += guarded ? r->lanes : lp->recs[leader].lanes;
    }
    if (place->raw != PIPE_MOVE) row->class = class_of((SgPipe)place->raw, place->form);
    row->wavefronts += r->wavefronts;
    row->conflicts += r->conflicts;
    row->sectors += r->sectors;
    row->divergent += r->divergent;
    uint64_t pipe[PIPE_COUNT] = {0};
    pipe[place->pipe] = n;
    pipes_count(pipe, &row->counters);
    row->counters.mma += place->flops ? n : 0;
    row->counters.mma_flops += n * place->flops;
    row->counters.shared_wavefronts += r->wavefronts;
    row->counters.shared_conflicts += r->conflicts;
    row->counters.global_sectors += r->sectors;
}

/* What follows from the rows. */
static void detail_add(SgDetail *d, const SgRow *row) {
    const char *const form = row->instr->form;
    d->instructions += row->warps;
    d->thread_instructions += row->lanes;
    d->class[row->class] += row->warps;
    if (row->class == SG_CLASS_TENSOR) d->tensor[tensor_type(form)] += row->warps;
    if (strncmp(form, "bra", 3) == 0 || strncmp(form, "brx", 3) == 0) d->branches += row->warps;
    if (row->class == SG_CLASS_LOCAL && strncmp(form, "st", 2) == 0) d->local_stores += row->warps;
    if (row->class == SG_CLASS_LOCAL && strncmp(form, "ld", 2) == 0) d->local_loads += row->warps;
}

static void make_rows(const Context *c, const Order *order, size_t n) {
    SgProfile *const out = c->out;
    for (size_t i = 0; i < n;) {
        SgRow row = {.instr = order[i].instr};
        for (const PtxInstr *const instr = row.instr; i < n && order[i].instr == instr; i++)
            row_add(c, &row, order[i].rec);
        if (!row.warps) continue;
        detail_add(&out->detail, &row);
        out->rows[out->row_count++] = row;
    }
}

SgProfile *launch_profile_result(const LaunchProfile *lp, const uint64_t *counts, Arena *arena) {
    const SgKernel *const k = lp->kernel;
    const size_t records = (size_t)k->rec_count;
    SgProfile *const out = ARENA_NEW(arena, SgProfile);
    Order *const order = mem_alloc(records * sizeof *order);
    int *const leader_of = mem_alloc(records * sizeof *leader_of);
    if (out) out->rows = ARENA_ARRAY(arena, SgRow, records);
    const bool ok = out && out->rows && order && leader_of;
    size_t n = 0;
    int leader = 0;
    for (int i = 0; ok && i < k->rec_count; i++) {
        if (sg_is_leader(k->probes[i].real)) leader = i;
        leader_of[i] = leader;
        if (i != leader && k->places[i].from) order[n++] = (Order){i, k->places[i].from};
    }
    if (ok) {
        qsort(order, n, sizeof *order, by_instruction);
        out->detail = lp->detail;
        out->cache = sg_cache_counts(lp->cache);
        make_rows(&(Context){lp, counts, leader_of, out}, order, n);
    }
    mem_free(order);
    mem_free(leader_of);
    return ok ? out : NULL;
}
