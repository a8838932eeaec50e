/* What a kernel calls, looked at before anything is inlined.
 *
 * Calls are inlined, so that a text of one kilobyte could ask for 4^16 copies of a function.
 * Invariant: after dec_calls without an error no function calls itself, chains are at most
 * MAX_INLINE_DEPTH long, and all copies together have at most MAX_INLINED instructions. Each
 * function is visited once. */
#include "softgpu/exec/decode.h"

#include <string.h>

enum { MAX_INLINED = 1 << 20 };

typedef enum CallState { CALLS_NEW, CALLS_OPEN, CALLS_KNOWN } CallState;

typedef struct CallInfo {
    CallState state;
    bool laid;             /* dec_first_layout was asked */
    uint64_t instructions; /* with all that is inlined */
    int depth;             /* longest chain of calls below */
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

/* Adds up what `f` and its callees have; `chain` is the number of calls that led here. */
static const CallInfo *visit(Decode *d, const PtxFunc *f, int chain) {
    CallInfo *const info = info_of(d, f);
    if (!info || info->state == CALLS_KNOWN) return info;
    if (info->state == CALLS_OPEN || chain > MAX_INLINE_DEPTH) {
        dec_fail(d, ST_UNSUPPORTED, "function '%s': %s", f->name,
                 info->state == CALLS_OPEN ? "recursion is not emulated"
                                           : "calls are nested deeper than 16");
        return NULL;
    }
    info->state = CALLS_OPEN;
    info->instructions = (uint64_t)f->instr_count;
    for (int i = 0; i < f->instr_count; i++) {
        d->in = &f->instrs[i];
        const PtxFunc *callees[MAX_TARGETS];
        const int n = dec_targets(d, f, &f->instrs[i], callees);
        for (int k = 0; k < n; k++) {
            const CallInfo *const below = visit(d, callees[k], chain + 1);
            if (!below) return NULL;
            info->instructions += below->instructions;
            if (below->depth + 1 > info->depth) info->depth = below->depth + 1;
            if (info->instructions <= MAX_INLINED && chain + info->depth <= MAX_INLINE_DEPTH)
                continue;
            dec_fail(d, ST_LIMIT,
                     "function '%s' with all that it calls: more than %d instructions, or calls "
                     "nested deeper than %d",
                     f->name, MAX_INLINED, MAX_INLINE_DEPTH);
            return NULL;
        }
    }
    d->in = NULL;
    info->state = CALLS_KNOWN;
    return info;
}

void dec_calls(Decode *d, const PtxFunc *entry) {
    d->calls = map_new(d->scratch);
    if (!d->calls)
        dec_fail(d, ST_NO_MEMORY, "out of memory");
    else
        (void)visit(d, entry, 0);
}

bool dec_first_layout(Decode *d, const PtxFunc *f) {
    CallInfo *const info = info_of(d, f);
    if (!info || info->laid) return false;
    info->laid = true;
    return true;
}
