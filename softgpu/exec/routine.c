/* Functions that are called instead of inlined: those of a call cycle, and large ones.
 *
 * A routine is decoded once, before the entry, so that lanes that parted meet again behind a call
 * (the lowest record runs first). Its variables and the formals in memory lie in a frame of local
 * memory at a base that a register holds per lane (frame_row; 0 in the entry). Formals that are
 * registers travel in virtual registers of their own (carry), copied at once on either side, so
 * that a call of the routine by itself does not overwrite what its caller still needs. A call saves
 * the registers that live behind it; exec/frame.h does the rest. */
#include "softgpu/exec/flow.h"

#include <string.h>

enum { NO_CARRY = -1 };

static void *scratch(Decode *d, size_t n, size_t size) {
    void *const p = arena_array(d->scratch, n + 1, size);
    if (!p) dec_fail(d, ST_NO_MEMORY, "out of memory");
    return p;
}

Routine *dec_routine(const Decode *d, const PtxFunc *f) {
    for (int i = 0; i < d->routine_count; i++)
        if (d->routines[i]->func == f) return d->routines[i];
    return NULL;
}

static void place_formals(Routine *r, PtxVar *const *list, int n, uint64_t *at) {
    for (int i = 0; i < n; i++) {
        if (list[i]->reg_count) continue;
        const uint64_t align = list[i]->align;
        at[i] = (r->formal_bytes + align - 1) & ~(align - 1);
        r->formal_bytes = at[i] + list[i]->size;
    }
}

static void carry_formals(Decode *d, Routine *r, PtxVar *const *list, int n) {
    for (int i = 0; i < n; i++)
        for (int k = 0; k < list[i]->reg_count; k++) {
            const int reg = list[i]->reg + k;
            r->carry[reg] = dec_vreg(d, (PtxClass)r->func->regs[reg].class);
            d->vregs[r->carry[reg]].carries = true;
        }
}

void dec_add_routine(Decode *d, const PtxFunc *f) {
    if (dec_routine(d, f)) return;
    Routine **const list =
        dec_grow(d, d->routines, d->routine_count, &d->routine_cap, sizeof(Routine *));
    Routine *const r = ARENA_NEW(d->scratch, Routine);
    if (!list || !r) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return;
    }
    *r = (Routine){.func = f,
                   .carry = scratch(d, (size_t)f->reg_count, sizeof *r->carry),
                   .arg_at = scratch(d, (size_t)f->param_count, sizeof *r->arg_at),
                   .ret_at = scratch(d, (size_t)f->ret_count, sizeof *r->ret_at)};
    d->routines = list;
    if (d->status != ST_OK) return;
    list[d->routine_count++] = r;
    for (int i = 0; i < f->reg_count; i++) r->carry[i] = NO_CARRY;
    carry_formals(d, r, f->params, f->param_count);
    carry_formals(d, r, f->rets, f->ret_count);
    place_formals(r, f->params, f->param_count, r->arg_at);
    place_formals(r, f->rets, f->ret_count, r->ret_at);
}

void dec_routines(Decode *d) {
    if (!d->routine_count || d->status != ST_OK) return;
    d->frame_row = dec_vreg(d, PTX_B64);
    for (int i = 0; i < d->routine_count && d->status == ST_OK; i++) {
        Routine *const r = d->routines[i];
        d->routine = r;
        d->local_size = r->formal_bytes;
        r->first = d->ir_count;
        dec_function(d, r->func, r->arg_at, r->ret_at, r);
        r->bytes = (d->local_size + 15) & ~UINT64_C(15);
    }
    d->routine = NULL;
    d->local_size = 0;
}

/* What is copied between actual parameters and formals in memory. */
static LocalCopy *copies(Decode *d, PtxVar *const *formals, int n, const uint64_t *from,
                         const uint64_t *to, int *count) {
    LocalCopy *const list = scratch(d, (size_t)n, sizeof *list);
    for (int i = 0; i < n && d->status == ST_OK; i++)
        if (!formals[i]->reg_count)
            list[(*count)++] =
                (LocalCopy){(uint32_t)from[i], (uint32_t)to[i], (uint32_t)formals[i]->size};
    return list;
}

void dec_call(Decode *d, const Routine *to, const uint64_t *args, const uint64_t *rets) {
    RoutineCall *const list =
        dec_grow(d, d->routine_calls, d->routine_call_count, &d->routine_call_cap, sizeof *list);
    if (!list) return;
    d->routine_calls = list;
    RoutineCall *const c = &list[d->routine_call_count++];
    const PtxFunc *const f = to->func;
    *c = (RoutineCall){.from = d->routine, .to = to};
    c->args = copies(d, f->params, f->param_count, args, to->arg_at, &c->arg_count);
    c->rets = copies(d, f->rets, f->ret_count, to->ret_at, rets, &c->ret_count);
    Ir *const ir = dec_emit(d, dec_control(CONTROL_call), PIPE_BRANCH);
    dec_use(ir, 1, d->frame_row);
    ir->o[2] = (uint32_t)(d->routine_call_count - 1);
    ir->call = d->routine_call_count;
    ir->ends = ir->resolved = true;
}

void dec_link_calls(Decode *d) {
    for (int i = 0; i < d->ir_count && d->routine_call_count; i++)
        if (d->ir[i].call) d->ir[i].target = d->routine_calls[d->ir[i].call - 1].to->first;
}

static LocalCopy *keep(const Flow *f, const LocalCopy *list, int n) {
    LocalCopy *const out = arena_array(f->d->module->arena, (size_t)n + 1, sizeof *out);
    if (out && n) memcpy(out, list, (size_t)n * sizeof *out);
    return out;
}

/* The registers that live into block `b`, but for the frame's base and what calls carry. */
static bool save_rows(const Flow *f, CallRecord *c, int b) {
    const Decode *const d = f->d;
    int n = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(c->saved = arena_array(d->module->arena, (size_t)n + 1, sizeof *c->saved)))
            return false;
        n = 0;
        for (int v = 0; v < d->vreg_count; v++) {
            const Vreg *const r = &d->vregs[v];
            if (r->kind != VREG_PLAIN || r->carries || v == d->frame_row ||
                !flow_test(f, f->live_in, b, (uint32_t)v))
                continue;
            if (pass) c->saved[n] = (SavedRow){r->row, r->class};
            if (pass) c->saved_words += r->class == PTX_B64 ? 2 : 1;
            n++;
        }
    }
    c->saved_count = n;
    return true;
}

void flow_calls(Flow *f) {
    Decode *const d = f->d;
    SgKernel *const k = d->kernel;
    if (!d->routine_call_count) return;
    if (!f->live_in) {
        dec_fail(d, ST_LIMIT, "too many registers and branches beside calls that are not inlined");
        return;
    }
    k->calls = arena_array(d->module->arena, (size_t)d->routine_call_count, sizeof *k->calls);
    k->call_count = d->routine_call_count;
    bool ok = k->calls != NULL;
    for (int i = 0; i < d->ir_count && ok; i++) {
        if (!d->ir[i].call) continue;
        const RoutineCall *const from = &d->routine_calls[d->ir[i].call - 1];
        CallRecord *const c = &k->calls[d->ir[i].call - 1];
        *c = (CallRecord){.callee = from->to->func->name,
                          .back = i + f->block_of[i] + 2,
                          .caller_bytes = from->from ? (uint32_t)from->from->bytes : k->local_bytes,
                          .callee_bytes = (uint32_t)from->to->bytes,
                          .args = keep(f, from->args, from->arg_count),
                          .rets = keep(f, from->rets, from->ret_count),
                          .arg_count = from->arg_count,
                          .ret_count = from->ret_count};
        ok = c->args && c->rets && save_rows(f, c, f->block_of[i + 1]);
    }
    if (!ok) dec_fail(d, ST_NO_MEMORY, "out of memory");
}
