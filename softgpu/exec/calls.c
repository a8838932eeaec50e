/* What a kernel calls, looked at before anything is decoded.
 *
 * Calls are inlined, so that a text of one kilobyte could ask for 4^16 copies of a function. Those
 * that call themselves, directly or not, and those that would make a body too large or too deep
 * become routines (routine.c). Invariant: after dec_calls without an error every cycle of calls has
 * a routine, chains of inlined calls are at most MAX_INLINE_DEPTH long, and all bodies together
 * have at most MAX_INSTRUCTIONS. Each function is visited once. */
#include "softgpu/exec/decode.h"

#include <string.h>

enum {
    MAX_INSTRUCTIONS = 1 << 20,
    MAX_BODY = 1 << 16, /* with what is inlined; beyond it functions above SMALL are called */
    SMALL = 256,
    MAX_INLINE_DEPTH = 16,
    MAX_CHAIN = 256 /* of calls in the text */
};

typedef enum CallState { CALLS_NEW, CALLS_OPEN, CALLS_KNOWN } CallState;

typedef struct CallInfo {
    CallState state;
    bool laid; /* dec_first_layout was asked */
    bool routine;
    uint64_t instructions; /* with all that is inlined */
    int depth;             /* longest chain of inlined calls below */
} CallInfo;

static CallInfo *info_of(Decode *d, const PtxFunc *f) {
    CallInfo *info = map_get(d->calls, f->name);
    if (info) return info;
    info = ARENA_NEW(d->scratch, CallInfo);
    if (!info || !map_put(d->calls, f->name, info)) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return NULL;
    }
    return info;
}

static bool same_formals(PtxVar *const *a, int a_count, PtxVar *const *b, int b_count) {
    if (a_count != b_count) return false;
    for (int i = 0; i < a_count; i++)
        if (a[i]->size != b[i]->size || a[i]->reg_count != b[i]->reg_count) return false;
    return true;
}

static bool fits(const PtxProto *p, const PtxFunc *f) {
    for (int i = 0; i < p->target_count; i++)
        if (strcmp(p->targets[i], f->name) == 0) return f->body && !f->entry;
    return !p->target_count && f->taken && f->body && !f->entry &&
           same_formals(p->params, p->param_count, f->params, f->param_count) &&
           same_formals(p->rets, p->ret_count, f->rets, f->ret_count);
}

int dec_targets(Decode *d, const PtxFunc *f, const PtxInstr *in, const PtxFunc *out[MAX_TARGETS]) {
    const PtxModule *const m = d->module->ptx;
    const PtxOperand *const o = in->operands;
    const int k = in->operand_count && o[0].kind == PTX_LIST, last = in->operand_count - 1;
    if (strncmp(in->form, "call", 4) != 0 || k > last) return 0;
    if (o[k].kind == PTX_NAME) {
        out[0] = ptx_func(m, o[k].name);
        return out[0] && out[0]->body;
    }
    const PtxProto *proto = NULL;
    for (int i = 0; o[last].kind == PTX_NAME && i < f->proto_count; i++)
        if (strcmp(f->protos[i].name, o[last].name) == 0) proto = &f->protos[i];
    int n = 0;
    for (int i = 0; proto && i < m->func_count; i++) {
        if (!fits(proto, m->funcs[i])) continue;
        if (n == MAX_TARGETS) {
            dec_fail(d, ST_LIMIT, "an indirect call has more than %d possible targets",
                     MAX_TARGETS);
            return 0;
        }
        out[n++] = m->funcs[i];
    }
    return n;
}

/* `callee` is called by `f`; `decide`: it may become a routine. */
static void add_callee(Decode *d, CallInfo *f, const PtxFunc *callee, bool decide) {
    CallInfo *const below = info_of(d, callee);
    if (!below) return;
    const bool much =
        below->instructions > SMALL && f->instructions + below->instructions > MAX_BODY;
    if (decide && !below->routine &&
        (below->state == CALLS_OPEN || below->depth + 1 > MAX_INLINE_DEPTH || much)) {
        below->routine = true;
        dec_add_routine(d, callee);
    }
    if (below->routine) return;
    f->instructions += below->instructions;
    if (below->depth + 1 > f->depth) f->depth = below->depth + 1;
}

static void visit(Decode *d, const PtxFunc *f, int chain);

/* What `f` calls: visited and chosen at first, then added up. */
static void callees_of(Decode *d, CallInfo *info, const PtxFunc *f, int chain, bool first) {
    info->instructions = (uint64_t)f->instr_count;
    info->depth = 0;
    for (int i = 0; i < f->instr_count && d->status == ST_OK; i++) {
        d->in = &f->instrs[i];
        const PtxFunc *callees[MAX_TARGETS];
        const int n = dec_targets(d, f, &f->instrs[i], callees);
        for (int k = 0; k < n && d->status == ST_OK; k++) {
            if (first) visit(d, callees[k], chain + 1);
            if (d->status == ST_OK) add_callee(d, info, callees[k], first);
        }
        if (!first && info->instructions > MAX_INSTRUCTIONS)
            dec_fail(d, ST_LIMIT, "function '%s': more than %d instructions with what is inlined",
                     f->name, MAX_INSTRUCTIONS);
    }
}

/* `chain` is the number of calls that led here. */
static void visit(Decode *d, const PtxFunc *f, int chain) {
    CallInfo *const info = info_of(d, f);
    if (!info || info->state != CALLS_NEW) return;
    if (chain > MAX_CHAIN) {
        dec_fail(d, ST_LIMIT, "function '%s': more than %d functions call one another in a row",
                 f->name, MAX_CHAIN);
        return;
    }
    info->state = CALLS_OPEN;
    callees_of(d, info, f, chain, true);
    callees_of(d, info, f, chain, false);
    info->state = CALLS_KNOWN;
    if (d->status == ST_OK) d->in = NULL;
}

void dec_calls(Decode *d, const PtxFunc *entry) {
    d->calls = map_new(d->scratch);
    if (!d->calls)
        dec_fail(d, ST_NO_MEMORY, "out of memory");
    else
        visit(d, entry, 0);
    if (d->status != ST_OK) return;
    uint64_t total = info_of(d, entry)->instructions;
    for (int i = 0; i < d->routine_count; i++)
        total += info_of(d, d->routines[i]->func)->instructions;
    if (total > MAX_INSTRUCTIONS)
        dec_fail(d, ST_LIMIT, "more than %d instructions with all functions that are called",
                 MAX_INSTRUCTIONS);
}

bool dec_first_layout(Decode *d, const PtxFunc *f) {
    CallInfo *const info = info_of(d, f);
    if (!info || info->laid) return false;
    info->laid = true;
    return true;
}
