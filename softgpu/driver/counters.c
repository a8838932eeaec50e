/* Profiles of launches for the side door: made when a profiled launch ends; its context keeps the
 * newest of them. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "softgpu/ptx/ptx.h"
#include "softgpu/share.h"

typedef struct Extra {
    double warps_per_sm, occupancy;
    int spill_loads, spill_stores;
} Extra;

enum { EXACT, MODELLED, RATIO }; /* RATIO is a bit beside the others */

#define COUNTER(name, unit, kind, value) +1
enum {
    COUNTERS = 0
#include "softgpu/counters.def"
};
#undef COUNTER

static double ratio(uint64_t a, uint64_t b) {
    return b ? (double)a / (double)b : 0;
}

/* Parts of the modelled time in which each unit would be busy at its full rate. */
static void utilisation(const SgLaunch *launch, const SgTime *t, double busy[SG_UNITS]) {
    const SgCounters *const c = &launch->counters;
    const GpuModel *const m = launch->model;
    const double scale = ratio(c->blocks, c->blocks_run);
    const double cycles = t->seconds / m->factor * m->clock_mhz * 1e6 * m->sms;
    sg_unit_cycles(c, m, busy);
    for (int u = 0; u < SG_UNITS; u++) busy[u] = cycles > 0 ? busy[u] * scale / cycles : 0;
}

static void counters_fill(SoftgpuCounter *out, const SgLaunch *launch, const SgKernelInfo *info,
                          SgOccupancy fit, const SgTime *t) {
    const SgCounters *const c = &launch->counters;
    const SgDetail *const d = &launch->detail->detail;
    const SgCacheCounts *const l2 = &launch->detail->cache;
    const int threads = (int)(launch->block[0] * launch->block[1] * launch->block[2]);
    const int warps = fit.blocks * ((threads + 31) / 32);
    const int most = launch->model->arch->warps_sm;
    const Extra extra = {warps, most > 0 ? 100.0 * warps / most : 0, info->ptxas.spill_loads,
                         info->ptxas.spill_stores};
    const Extra *const x = &extra;
    double busy[SG_UNITS];
    utilisation(launch, t, busy);
#define COUNTER(counter, its_unit, kind, its_value)                                                \
    snprintf(out->name, sizeof out->name, "%s", counter);                                          \
    snprintf(out->unit, sizeof out->unit, "%s", its_unit);                                         \
    out->modelled = ((kind)&MODELLED) != 0;                                                        \
    out->adds = ((kind)&RATIO) == 0;                                                               \
    out++->value = (double)(its_value);
#include "softgpu/counters.def"
#undef COUNTER
}

static void line_fill(SoftgpuLine *out, const SgLaunch *launch, const SgRow *row, double share) {
    const PtxInstr *const in = row->instr;
    *out = (SoftgpuLine){.ptx_line = in->line,
                         .warps = row->warps,
                         .lanes = row->lanes,
                         .wavefronts = row->wavefronts,
                         .conflicts = row->conflicts,
                         .sectors = row->sectors,
                         .divergent = row->divergent,
                         .share = share};
    sg_row_place(launch->kernel, row, out->place, sizeof out->place);
    sg_row_caller(launch->kernel, row, out->caller, sizeof out->caller);
    snprintf(out->instruction, sizeof out->instruction, "%s", in->form);
    snprintf(out->kind, sizeof out->kind, "%s", sg_class_name(row->class));
}

static void profiled_free(Profiled *p) {
    mem_free(p->counters);
    mem_free(p->lines);
    *p = (Profiled){0};
}

void profile_clear(Context *context) {
    for (size_t i = 0; i < context->profiled_count; i++) profiled_free(&context->profiled[i]);
    mem_free(context->profiled);
    context->profiled = NULL;
    context->profiled_count = 0;
    context->shown = NULL;
}

static bool profiled_fill(Profiled *out, const SgLaunch *launch, const SgKernelInfo *info,
                          SgOccupancy fit, const SgTime *time) {
    const size_t n = launch->detail->row_count;
    double *shares = mem_alloc((n + 1) * sizeof *shares);
    out->counters = mem_alloc((size_t)COUNTERS * sizeof *out->counters);
    out->lines = mem_alloc((n + 1) * sizeof *out->lines);
    const bool ok = shares != NULL && out->counters != NULL && out->lines != NULL;
    if (ok) {
        counters_fill(out->counters, launch, info, fit, time);
        sg_row_shares(launch->detail->rows, n, launch->model, shares);
        for (size_t i = 0; i < n; i++)
            line_fill(&out->lines[i], launch, &launch->detail->rows[i], shares[i]);
        out->counter_count = COUNTERS;
        out->line_count = n;
    }
    mem_free(shares);
    return ok;
}

bool profile_keep(Context *context, const SgLaunch *launch, const SgKernelInfo *info,
                  SgOccupancy fit, const SgTime *time) {
    context->shown = NULL;
    if (launch->detail == NULL) return true;
    if (context->profiled == NULL)
        context->profiled = mem_alloc(PROFILED * sizeof *context->profiled);
    if (context->profiled == NULL) return false;
    Profiled made = {.stats = context->last};
    const PtxFunc *func = sg_kernel_func(launch->kernel);
    snprintf(made.entry, sizeof made.entry, "%s", func->name);
    if (!profiled_fill(&made, launch, info, fit, time)) {
        profiled_free(&made);
        return false;
    }
    if (context->profiled_count == PROFILED) {
        profiled_free(&context->profiled[0]);
        memmove(context->profiled, context->profiled + 1, (PROFILED - 1) * sizeof made);
        context->profiled_count--;
    }
    context->profiled[context->profiled_count] = made;
    context->shown = &context->profiled[context->profiled_count++];
    return true;
}

int softgpuSetProfile(int on) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    if (on != 0 && on != 1) return (int)leave(CUDA_ERROR_INVALID_VALUE);
    if (on == 1) profile_clear(context);
    context->profile = on == 1;
    return (int)leave(CUDA_SUCCESS);
}

/* Copies at most *count items of `size` bytes; *count becomes how many there are. */
static CUresult copy_out(void *out, size_t *count, const void *items, size_t have, size_t size) {
    if (count == NULL || (out == NULL && *count != 0)) return CUDA_ERROR_INVALID_VALUE;
    if (have == 0) return CUDA_ERROR_NOT_FOUND;
    const size_t n = *count < have ? *count : have;
    if (n > 0) memcpy(out, items, n * size);
    *count = have;
    return CUDA_SUCCESS;
}

int softgpuLastCounters(SoftgpuCounter *counters, size_t *count) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    const Profiled none = {.counters = NULL}, *p = context->shown ? context->shown : &none;
    return (int)leave(copy_out(counters, count, p->counters, p->counter_count, sizeof *counters));
}

int softgpuLastProfile(SoftgpuLine *lines, size_t *count) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    const Profiled none = {.lines = NULL}, *p = context->shown ? context->shown : &none;
    return (int)leave(copy_out(lines, count, p->lines, p->line_count, sizeof *lines));
}

int softgpuSelectLaunch(size_t index, char *entry, size_t size) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    if (entry != NULL && size == 0) return (int)leave(CUDA_ERROR_INVALID_VALUE);
    if (index >= context->profiled_count) return (int)leave(CUDA_ERROR_NOT_FOUND);
    context->shown = &context->profiled[index];
    context->last = context->shown->stats;
    if (entry != NULL) snprintf(entry, size, "%s", context->shown->entry);
    return (int)leave(CUDA_SUCCESS);
}
