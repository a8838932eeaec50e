/* Regions: the loops of a kernel by its backward branches, and what lies outside of all.
 *
 * A loop reaches from the target of a backward branch to the branch; branches to one target are
 * one loop. An instruction belongs to the shortest loop around it. Compilers lay loops out in one
 * piece; what they put elsewhere counts to the region where it stands. */
#include <string.h>

#include "softgpu/clock/classify.h"

typedef struct Loop {
    int first, end;
} Loop;

static bool backward(const PtxInstr *in, int at) {
    return form_is(in->form, "bra") && in->operand_count > 0 && in->operands[0].kind == PTX_LABEL &&
           in->operands[0].reg <= at;
}

/* Fills loop[1..); [0] is the whole kernel. Returns how many. */
static int find_loops(const PtxFunc *func, Loop *loop) {
    int count = 1;
    loop[0] = (Loop){0, func->instr_count};
    for (int i = 0; i < func->instr_count; i++) {
        if (!backward(&func->instrs[i], i)) continue;
        int k = 1;
        while (k < count && loop[k].first != func->instrs[i].operands[0].reg) k++;
        loop[k] = (Loop){func->instrs[i].operands[0].reg, i + 1};
        if (k == count) count++;
    }
    return count;
}

static int length(const Loop *loop) {
    return loop->end - loop->first;
}

/* The shortest loop that holds [first, end), `than` and shorter ones left out. */
static int around(const Loop *loops, int count, int first, int end, int than) {
    int best = 0;
    for (int k = 1; k < count; k++)
        if (k != than && loops[k].first <= first && loops[k].end >= end &&
            length(&loops[k]) < length(&loops[best]))
            best = k;
    return best;
}

static int count_branches(const PtxFunc *func) {
    int count = 0;
    for (int i = 0; i < func->instr_count; i++) count += backward(&func->instrs[i], i);
    return count;
}

static double executions(const uint64_t *visits, const Loop *loop) {
    return visits == NULL ? 1 : (double)visits[loop->first];
}

Status code_regions(const PtxFunc *func, const uint64_t *visits, Arena *arena, CodeRegions *out,
                    Error *err) {
    const size_t n = (size_t)func->instr_count + 1;
    Loop *loops = ARENA_ARRAY(arena, Loop, (size_t)count_branches(func) + 2);
    int *owner = ARENA_ARRAY(arena, int, n);
    *out = (CodeRegions){0};
    if (loops == NULL || owner == NULL) return err_no_memory(err, n * sizeof *owner);
    out->count = find_loops(func, loops);
    out->region = ARENA_ARRAY(arena, CodeRegion, (size_t)out->count);
    if (out->region == NULL) return err_no_memory(err, sizeof *out->region);
    for (int i = 0; i < func->instr_count; i++) owner[i] = around(loops, out->count, i, i + 1, 0);
    for (int k = 0; k < out->count; k++) {
        CodeRegion *r = &out->region[k];
        *r = (CodeRegion){
            .first = loops[k].first,
            .end = loops[k].end,
            .parent = k == 0 ? -1 : around(loops, out->count, loops[k].first, loops[k].end, k),
            .executions = executions(visits, &loops[k])};
        if (r->executions <= 0) continue;
        const Status st = code_fold(func, owner, k, visits, arena, r, err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}
