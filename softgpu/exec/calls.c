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

const PtxFunc *dec_callee(const Decode *d, const PtxInstr *instr, int operand) {
    const PtxOperand *const o = &instr->operands[operand];
    if (o->kind != PTX_NAME || strncmp(instr->form, "call", 4) != 0) return NULL;
    return ptx_func(d->module->ptx, o->name);
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
        for (int k = 0; k < f->instrs[i].operand_count; k++) {
            const PtxFunc *const callee = dec_callee(d, &f->instrs[i], k);
            if (!callee || !callee->body) continue;
            const CallInfo *const below = visit(d, callee, chain + 1);
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
