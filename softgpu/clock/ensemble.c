/* The ensemble: one run of the issue model is off by 5 to 10 %, as two warps with the same code
 * fall into step or do not by chance. So 24 are averaged: two schedulers (ldmatrix as early as they
 * can be, or spaced as ptxas spaces them), three issue policies, four distances between the blocks.
 */
#include "softgpu/clock/ensemble.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/clock/code.h"

enum {
    KEPT = 4, /* times remembered of one kernel: a plan launches it in few shapes */
    SUB_CORES = 4,
    PHASES = 4,
    SPACING = 32, /* cycles: ptxas emits one ldmatrix, four mma (8 cycles each on A100), ... */
};

struct SgCode {
    const char *ptx, *name;
    pthread_mutex_t lock;
    struct {
        LoopKey key;
        LoopTime time;
    } known[KEPT];
    int count, next;
};

SgCode *code_open(const char *ptx, const char *name) {
    SgCode *code = mem_alloc(sizeof *code);
    if (code == NULL) return NULL;
    *code = (SgCode){.ptx = ptx, .name = name};
    pthread_mutex_init(&code->lock, NULL);
    return code;
}

void code_close(SgCode *code) {
    if (code == NULL) return;
    pthread_mutex_destroy(&code->lock);
    mem_free(code);
}

static void add(LoopSpan *span, double cycles, int members) {
    if (span->low == 0 || cycles < span->low) span->low = cycles;
    if (cycles > span->high) span->high = cycles;
    span->mean += cycles / members;
}

/* All policies and distances of one schedule; false: no memory. */
static bool issue_all(const CodeLoop *loop, const CodeCosts *costs, const LoopKey *key, int blocks,
                      LoopSpan *span) {
    /* A block of fewer than four warps leaves sub-cores to others. */
    const int warps = key->warps < SUB_CORES ? 1 : (key->warps + SUB_CORES - 1) / SUB_CORES;
    const int here =
        key->warps < SUB_CORES ? (blocks * key->warps + SUB_CORES - 1) / SUB_CORES : blocks;
    for (int policy = 0; policy < CODE_POLICIES; policy++)
        for (int phase = 0; phase < PHASES; phase++) {
            const CodeShare share = {.warps = warps,
                                     .blocks = here,
                                     .policy = (CodePolicy)policy,
                                     .phase = (phase + 0.5) / PHASES};
            const double cycles = code_issue(loop, costs, &share);
            if (cycles < 0) return false;
            add(span, cycles, 2 * CODE_POLICIES * PHASES);
        }
    return true;
}

static int mma_of(const PtxFunc *func) {
    int count = 0;
    for (int i = 0; i < func->instr_count; i++)
        count += strncmp(func->instrs[i].form, "mma.", 4) == 0 ||
                 strncmp(func->instrs[i].form, "wmma.mma", 8) == 0;
    return count;
}

static double port_cycles(const CodeLoop *loop, const CodeCosts *costs) {
    double sum = 0;
    for (int i = 0; i < loop->count; i++)
        if (code_on_port(loop->ops[i].kind)) sum += code_interval(costs, &loop->ops[i]);
    return sum / SUB_CORES;
}

static Status simulate(const PtxFunc *func, const CodeLoop *loop, const LoopKey *key, Arena *arena,
                       LoopTime *out, Error *err) {
    const CodeCosts costs = code_costs(key->model, key->wavefronts / 16.0);
    const double part = (double)loop->mma / mma_of(func); /* of the text's spills, in the loop */
    CodeSetting setting = {.registers = key->registers,
                           .spill_loads = (int)(key->spill_loads / 4.0 * part),
                           .spill_stores = (int)(key->spill_stores / 4.0 * part)};
    for (int i = 0; i < 2; i++) {
        CodeLoop order;
        setting.spacing = i * SPACING;
        const Status st = code_schedule(loop, &costs, &setting, arena, &order, err);
        if (st != ST_OK) return st;
        out->port = port_cycles(&order, &costs);
        if (!issue_all(&order, &costs, key, 1, &out->one) ||
            (key->blocks > 1 && !issue_all(&order, &costs, key, key->blocks, &out->all)))
            return err_no_memory(err, sizeof order);
    }
    if (key->blocks <= 1) out->all = out->one;
    return ST_OK;
}

static void counts(const CodeLoop *loop, LoopTime *out) {
    static const CodeKind alu[] = {CODE_ALU, CODE_MINMAX, CODE_CONVERT};
    out->mma = loop->mma;
    for (size_t i = 0; i < sizeof alu / sizeof *alu; i++) {
        out->raw_alu += loop->raw[alu[i]];
        out->kept_alu += loop->folded[alu[i]];
    }
    out->raw_fp32 = loop->raw[CODE_FP32];
    out->kept_fp32 = loop->folded[CODE_FP32];
    out->kept_sfu = loop->folded[CODE_SFU];
    for (int k = 0; k < CODE_KINDS; k++) {
        out->raw_all += loop->raw[k];
        out->kept_all += loop->folded[k];
    }
}

static Status find(const SgCode *code, const LoopKey *key, Arena *arena, LoopTime *out,
                   Error *err) {
    PtxModule *module = NULL;
    CodeLoop loop;
    *out = (LoopTime){0};
    Status st = ptx_parse(code->ptx, strlen(code->ptx), arena, &module, NULL);
    if (st == ST_NO_MEMORY) return err_no_memory(err, strlen(code->ptx));
    const PtxFunc *func = st == ST_OK ? ptx_func(module, code->name) : NULL;
    if (func == NULL || !func->body) return ST_OK;
    out->units_are_mma = mma_of(func) > 0;
    st = code_fold(func, arena, &loop, err);
    if (st != ST_OK || loop.mma == 0) return st;
    counts(&loop, out);
    return simulate(func, &loop, key, arena, out, err);
}

static bool same(const LoopKey *a, const LoopKey *b) {
    return a->model == b->model && a->registers == b->registers &&
           a->spill_loads == b->spill_loads && a->spill_stores == b->spill_stores &&
           a->warps == b->warps && a->blocks == b->blocks && a->wavefronts == b->wavefronts;
}

Status code_time(SgCode *code, const LoopKey *key, LoopTime *out, Error *err) {
    Status st = ST_OK;
    pthread_mutex_lock(&code->lock);
    int i = 0;
    while (i < code->count && !same(&code->known[i].key, key)) i++;
    if (i < code->count) {
        *out = code->known[i].time;
    } else {
        Arena *arena = arena_new();
        st = arena == NULL ? err_no_memory(err, sizeof *out) : find(code, key, arena, out, err);
        arena_free(arena);
        if (st == ST_OK) {
            code->known[code->next].key = *key;
            code->known[code->next].time = *out;
            code->next = (code->next + 1) % KEPT;
            if (code->count < KEPT) code->count++;
        }
    }
    pthread_mutex_unlock(&code->lock);
    return st;
}
