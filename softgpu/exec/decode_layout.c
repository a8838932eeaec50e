/* Where variables of functions lie: parameters and .local in the frame of what is decoded, .shared
 * once per kernel. Offsets only: what a routine adds to them is its frame (routine.c). */
#include "softgpu/exec/decode.h"

static void bind(Decode *d, const PtxVar *var, uint64_t offset) {
    Binding *list = dec_grow(d, d->bindings, d->binding_count, &d->binding_cap, sizeof *list);
    if (!list) return;
    d->bindings = list;
    list[d->binding_count++] = (Binding){var, offset};
}

static uint64_t local_space(Decode *d, const PtxVar *var) {
    const uint64_t at = (d->local_size + var->align - 1) & ~(uint64_t)(var->align - 1);
    d->local_size = at + var->size;
    if (d->local_size > (512u << 10)) /* the architecture's limit per thread (CUDA guide, table) */
        dec_fail(d, ST_LIMIT, "more than 512 KiB of local memory per thread");
    return at;
}

void dec_bind_variables(Decode *d, const PtxFunc *f, const uint64_t *args, const uint64_t *rets) {
    for (int i = 0; i < f->param_count && !f->entry; i++) bind(d, f->params[i], args[i]);
    for (int i = 0; i < f->ret_count; i++) bind(d, f->rets[i], rets[i]);
    for (int i = 0; i < f->var_count; i++)
        if (f->vars[i]->space == PTX_LOCAL || f->vars[i]->space == PTX_PARAM)
            bind(d, f->vars[i], local_space(d, f->vars[i]));
}

/* Shared variables that the entry or what it calls names, in order of first mention. The dynamic
 * array (no size) starts behind them. */
static void layout_shared(Decode *d, const PtxFunc *f) {
    if (!f->body || !dec_first_layout(d, f)) return;
    for (int i = 0; i < f->instr_count && d->status == ST_OK; i++) {
        const PtxFunc *callees[MAX_TARGETS];
        const int n = dec_targets(d, f, &f->instrs[i], callees);
        for (int k = 0; k < n; k++) layout_shared(d, callees[k]);
        for (int k = 0; k < f->instrs[i].operand_count; k++) {
            const PtxOperand *const o = &f->instrs[i].operands[k];
            const PtxVar *const var = o->var;
            if (!var || var->space != PTX_SHARED) continue;
            bool known = false;
            for (int s = 0; s < d->shared_count; s++) known |= d->shared[s].var == var;
            if (known) continue;
            Binding *list = dec_grow(d, d->shared, d->shared_count, &d->shared_cap, sizeof *list);
            if (!list) return;
            d->shared = list;
            const uint64_t at = (d->shared_size + var->align - 1) & ~(uint64_t)(var->align - 1);
            list[d->shared_count++] = (Binding){var, at};
            if (var->align > d->shared_align) d->shared_align = var->align;
            if (!var->external) d->shared_size = at + var->size;
            if (d->shared_size > (1u << 20))
                dec_fail(d, ST_LIMIT, "static shared memory above 1 MiB");
        }
    }
}

static void place_dynamic(Decode *d) {
    for (int i = 0; i < d->shared_count; i++) {
        if (!d->shared[i].var->external) continue;
        const uint64_t a = d->shared_align > 16 ? d->shared_align : 16;
        if (d->shared_size) d->shared_size = (d->shared_size + a - 1) & ~(a - 1);
    }
    for (int i = 0; i < d->shared_count; i++) {
        if (d->shared[i].var->external) d->shared[i].offset = d->shared_size;
        d->shared[i].offset += d->kernel->shared_base;
    }
}

void dec_keep_variables(Decode *d, const PtxFunc *entry) {
    const int most = d->shared_count + d->binding_count + entry->param_count;
    PlacedVar *const list = arena_array(d->module->arena, (size_t)most + 1, sizeof *list);
    int n = 0;
    if (!list) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return;
    }
    for (int i = 0; i < d->shared_count; i++)
        list[n++] = (PlacedVar){d->shared[i].var, d->shared[i].offset};
    for (int i = 0; i < d->binding_count; i++)
        if (d->bindings[i].var->space == PTX_LOCAL)
            list[n++] = (PlacedVar){d->bindings[i].var, d->bindings[i].offset};
    for (int i = 0; i < entry->param_count; i++)
        list[n++] = (PlacedVar){entry->params[i], entry->params[i]->offset};
    d->kernel->vars = list;
    d->kernel->var_count = n;
}

void dec_layout_shared(Decode *d, const PtxFunc *entry) {
    layout_shared(d, entry);
    place_dynamic(d);
}
