/* Decoding, steps 2 and 3: basic blocks, liveness, rows, records.
 *
 * Rows are assigned by linear scan over intervals in program order (an interval covers every
 * block that the register lives through). Two registers that share a row are never live in the
 * same lane at once; divergence does not matter, since rows are per lane and a predicate's bits
 * are too. Constants and special registers have rows of their own behind the others.
 *
 *   row image of a warp:  predicates | 32-bit rows | 64-bit rows | specials | constants */
#include "softgpu/exec/flow.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Bits of the four sets together; beyond it every register keeps its own row. */
enum { MAX_SET_BYTES = 256 << 20 };
static const size_t MAX_REG_BYTES = 16u << 20;

static void *scratch(Flow *f, size_t n, size_t size) {
    void *p = arena_array(f->d->scratch, n ? n : 1, size);
    if (!p) dec_fail(f->d, ST_NO_MEMORY, "out of memory");
    return p;
}

static void find_blocks(Flow *f) {
    Decode *const d = f->d;
    uint8_t *const leader = scratch(f, (size_t)d->ir_count + 1, 1);
    f->block_of = scratch(f, (size_t)d->ir_count + 1, sizeof *f->block_of);
    if (d->status != ST_OK) return;
    leader[0] = 1;
    for (int i = 0; i < d->ir_count; i++) {
        const Ir *const ir = &d->ir[i];
        if (ir->target >= 0 && ir->table < 0) leader[ir->target] = 1;
        for (int k = 0; ir->table >= 0 && k < ir->table_count; k++)
            leader[d->jumps[ir->table + k]] = 1;
        if (ir->ends) leader[i + 1] = 1;
    }
    for (int i = 0; i < d->ir_count; i++) f->count += leader[i];
    f->blocks = scratch(f, (size_t)f->count, sizeof *f->blocks);
    if (d->status != ST_OK) return;
    int b = -1;
    for (int i = 0; i < d->ir_count; i++) {
        if (leader[i]) f->blocks[++b] = (Basic){i, i, {-1, -1}};
        f->block_of[i] = b;
        f->blocks[b].end = i + 1;
    }
    for (b = 0; b < f->count; b++) {
        Basic *const block = &f->blocks[b];
        const Ir *const last = &d->ir[block->end - 1];
        if (!last->stays && b + 1 < f->count) block->next[0] = b + 1;
        if (last->target >= 0 && last->table < 0) block->next[1] = f->block_of[last->target];
    }
}

static bool plain(const Flow *f, const Ir *ir, int k, unsigned set) {
    return (set >> k & 1) && f->d->vregs[ir->o[k]].kind == VREG_PLAIN;
}

#define SET(base, b, v)  flow_set(f, base, b, (uint32_t)(v))
#define TEST(base, b, v) flow_test(f, base, b, (uint32_t)(v))

static void local_sets(Flow *f) {
    Decode *const d = f->d;
    for (int b = 0; b < f->count; b++)
        for (int i = f->blocks[b].first; i < f->blocks[b].end; i++) {
            const Ir *const ir = &d->ir[i];
            for (int k = 0; k < 14; k++)
                if (plain(f, ir, k, ir->uses) && !TEST(f->kills, b, ir->o[k]))
                    SET(f->uses, b, ir->o[k]);
            for (int k = 0; k < 14; k++) {
                if (!plain(f, ir, k, ir->defs)) continue;
                if (!ir->guarded)
                    SET(f->kills, b, ir->o[k]);
                else if (!TEST(f->kills, b, ir->o[k]))
                    SET(f->uses, b, ir->o[k]);
            }
        }
}

static void merge(Flow *f, int b, int successor) {
    if (successor < 0) return;
    for (size_t i = 0; i < f->words; i++)
        f->live_out[(size_t)b * f->words + i] |= f->live_in[(size_t)successor * f->words + i];
}

static void liveness(Flow *f) {
    Decode *const d = f->d;
    for (bool changed = true; changed;) {
        changed = false;
        for (int b = f->count - 1; b >= 0; b--) {
            const Ir *const last = &d->ir[f->blocks[b].end - 1];
            merge(f, b, f->blocks[b].next[0]);
            merge(f, b, f->blocks[b].next[1]);
            for (int k = 0; last->table >= 0 && k < last->table_count; k++)
                merge(f, b, f->block_of[d->jumps[last->table + k]]);
            for (size_t i = 0; i < f->words; i++) {
                const size_t at = (size_t)b * f->words + i;
                const uint64_t in = f->uses[at] | (f->live_out[at] & ~f->kills[at]);
                changed |= in != f->live_in[at];
                f->live_in[at] = in;
            }
        }
    }
}

static void extend(Flow *f, uint32_t v, int at) {
    if (f->start[v] < 0 || at < f->start[v]) f->start[v] = at;
    if (at > f->end[v]) f->end[v] = at;
}

static void intervals(Flow *f) {
    Decode *const d = f->d;
    f->start = scratch(f, (size_t)d->vreg_count, sizeof *f->start);
    f->end = scratch(f, (size_t)d->vreg_count, sizeof *f->end);
    const size_t bytes = (size_t)f->count * (((size_t)d->vreg_count + 63) / 64) * 8 * 4;
    if (d->status != ST_OK) return;
    for (int v = 0; v < d->vreg_count; v++) f->start[v] = f->end[v] = -1;
    const bool sets = bytes <= MAX_SET_BYTES;
    for (int i = 0; i < d->ir_count; i++) {
        const Ir *const ir = &d->ir[i];
        for (int k = 0; k < 14; k++) {
            if (plain(f, ir, k, ir->uses)) extend(f, ir->o[k], 2 * i);
            if (plain(f, ir, k, ir->defs)) extend(f, ir->o[k], 2 * i + 1);
            if (!sets && plain(f, ir, k, ir->uses | ir->defs)) {
                f->start[ir->o[k]] = 0;
                f->end[ir->o[k]] = 2 * d->ir_count;
            }
        }
    }
    if (d->routine_count) { /* the frame's base keeps its row */
        extend(f, (uint32_t)d->frame_row, 0);
        extend(f, (uint32_t)d->frame_row, 2 * d->ir_count);
    }
    if (!sets) return;
    f->words = ((size_t)d->vreg_count + 63) / 64;
    const size_t n = (size_t)f->count * f->words;
    f->live_in = scratch(f, n, 8);
    f->live_out = scratch(f, n, 8);
    f->uses = scratch(f, n, 8);
    f->kills = scratch(f, n, 8);
    if (d->status != ST_OK) return;
    local_sets(f);
    liveness(f);
    for (int b = 0; b < f->count; b++)
        for (int v = 0; v < d->vreg_count; v++) {
            if (TEST(f->live_in, b, v)) extend(f, (uint32_t)v, 2 * f->blocks[b].first);
            if (TEST(f->live_out, b, v)) extend(f, (uint32_t)v, 2 * f->blocks[b].end - 1);
        }
}

typedef struct Interval {
    int vreg, start, end;
} Interval;

static int by_start(const void *a, const void *b) {
    const Interval *const x = a, *const y = b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return x->vreg - y->vreg;
}

/* Slots of one class: a slot is free again when its interval has ended; the one freed last is
 * taken first, so that the working set stays small. Returns the number of slots. */
static int scan(Flow *f, PtxClass class, const Interval *list, int n) {
    Decode *const d = f->d;
    int *const heap = scratch(f, (size_t)n, sizeof *heap); /* active, by end: a binary heap */
    int *const free_slots = scratch(f, (size_t)n, sizeof *free_slots);
    int active = 0, free_count = 0, slots = 0;
    if (d->status != ST_OK) return 0;
    for (int i = 0; i < n; i++) {
        if (d->vregs[list[i].vreg].class != class) continue;
        while (active && f->end[heap[0]] < list[i].start) {
            free_slots[free_count++] = (int)d->vregs[heap[0]].row;
            heap[0] = heap[--active];
            for (int p = 0;;) {
                int c = 2 * p + 1;
                if (c >= active) break;
                if (c + 1 < active && f->end[heap[c + 1]] < f->end[heap[c]]) c++;
                if (f->end[heap[p]] <= f->end[heap[c]]) break;
                const int t = heap[p];
                heap[p] = heap[c];
                heap[c] = t;
                p = c;
            }
        }
        d->vregs[list[i].vreg].row = (uint32_t)(free_count ? free_slots[--free_count] : slots++);
        int p = active++;
        heap[p] = list[i].vreg;
        while (p > 0 && f->end[heap[p]] < f->end[heap[(p - 1) / 2]]) {
            const int q = (p - 1) / 2, t = heap[p];
            heap[p] = heap[q];
            heap[q] = t;
            p = q;
        }
    }
    return slots;
}

static uint32_t class_bytes(PtxClass class) {
    return class == PTX_PRED ? 4 : class == PTX_B32 ? 4 * LANES : 8 * LANES;
}

static void assign_rows(Flow *f) {
    Decode *const d = f->d;
    Interval *const list = scratch(f, (size_t)d->vreg_count, sizeof *list);
    if (d->status != ST_OK) return;
    int n = 0;
    for (int v = 0; v < d->vreg_count; v++)
        if (d->vregs[v].kind == VREG_PLAIN && f->start[v] >= 0)
            list[n++] = (Interval){v, f->start[v], f->end[v]};
    qsort(list, (size_t)n, sizeof *list, by_start);
    size_t base[PTX_CLASS_COUNT], at = 0;
    for (int c = 0; c < PTX_CLASS_COUNT; c++) {
        base[c] = at;
        at += (size_t)scan(f, (PtxClass)c, list, n) * class_bytes((PtxClass)c);
        at = (at + 127) & ~(size_t)127;
    }
    if (d->status != ST_OK) return;
    for (int i = 0; i < n; i++) {
        Vreg *const v = &d->vregs[list[i].vreg];
        v->row = (uint32_t)(base[v->class] + v->row * class_bytes((PtxClass)v->class));
    }
    for (int kind = VREG_SPECIAL; kind >= VREG_CONST; kind--) {
        if (kind == VREG_CONST) d->kernel->constant_row = (uint32_t)at;
        for (int c = PTX_CLASS_COUNT - 1; c >= 0; c--)
            for (int v = 0; v < d->vreg_count; v++) {
                if (d->vregs[v].kind != kind || d->vregs[v].class != c) continue;
                d->vregs[v].row = (uint32_t)at;
                at += class_bytes((PtxClass)c);
                if (kind == VREG_SPECIAL) d->kernel->special_count++;
            }
        at = (at + 127) & ~(size_t)127;
    }
    d->kernel->constant_bytes = (uint32_t)(at - d->kernel->constant_row);
    d->kernel->reg_bytes = at;
    if (at > MAX_REG_BYTES) dec_fail(d, ST_LIMIT, "%zu bytes of registers per warp", at);
}

static void fill_images(Flow *f) {
    Decode *const d = f->d;
    SgKernel *const k = d->kernel;
    k->constants = mem_alloc(k->constant_bytes ? k->constant_bytes : 1);
    k->specials = mem_alloc(((size_t)k->special_count + 1) * sizeof *k->specials);
    if (!k->constants || !k->specials) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return;
    }
    int n = 0;
    for (int i = 0; i < d->vreg_count; i++) {
        const Vreg *const v = &d->vregs[i];
        if (v->kind == VREG_SPECIAL)
            k->specials[n++] = (SpecialRow){(int)v->value | v->class << 16, v->row};
        if (v->kind != VREG_CONST) continue;
        uint8_t *const p = k->constants + (v->row - k->constant_row);
        const size_t bytes = v->class == PTX_B64 ? 8 : 4;
        for (int l = 0; l < (v->class == PTX_PRED ? 1 : LANES); l++)
            memcpy(p + (size_t)l * bytes, &v->value, bytes);
    }
}

/* --- folding: what ptxas drops or fuses (research of FA2: these rules reproduce the counts) --- */

/* A single-use product feeds the add right behind it: fused multiply-add, LEA or IMAD; a single-use
 * sum feeds a sum: IADD3; a single-use logic result feeds logic: LOP3; a sum used only as an
 * address goes into the instruction's offset. */
static void fold(Flow *f) {
    Decode *const d = f->d;
    int *const use = scratch(f, (size_t)d->vreg_count, sizeof *use);   /* count of uses */
    int *const user = scratch(f, (size_t)d->vreg_count, sizeof *user); /* last one */
    int *const as_address = scratch(f, (size_t)d->vreg_count, sizeof *as_address);
    int *const defs = scratch(f, (size_t)d->vreg_count, sizeof *defs);
    uint8_t *const taken = scratch(f, (size_t)d->ir_count, 1); /* already absorbs a producer */
    if (d->status != ST_OK) return;
    for (int i = 0; i < d->ir_count; i++) {
        const Ir *const ir = &d->ir[i];
        if (ir->fn == dec_control(CONTROL_overflow)) continue; /* a check is no use */
        for (int k = 0; k < 14; k++) {
            if (ir->uses >> k & 1) {
                use[ir->o[k]]++;
                user[ir->o[k]] = i;
                as_address[ir->o[k]] += ir->address >> k & 1;
            }
            if (ir->defs >> k & 1) defs[ir->o[k]]++;
        }
    }
    for (int i = 0; i < d->ir_count; i++) {
        Ir *const ir = &d->ir[i];
        ir->raw = ir->pipe;
        if (!ir->fuse || !(ir->defs & 1) || defs[ir->o[0]] != 1) continue;
        const uint32_t v = ir->o[0];
        const bool constant = d->vregs[ir->o[2]].kind == VREG_CONST;
        if (ir->fuse == FUSE_IADD && constant && use[v] > 0 && as_address[v] == use[v]) {
            ir->pipe = PIPE_MOVE;
            continue;
        }
        const int to = user[v];
        if (use[v] != 1 || f->block_of[to] != f->block_of[i] || taken[to]) continue;
        const int with = d->ir[to].fuse;
        const bool fused = (ir->fuse == FUSE_FMUL && with == FUSE_FADD) ||
                           (ir->fuse == FUSE_IMUL && with == FUSE_IADD) ||
                           (ir->fuse == FUSE_IADD && with == FUSE_IADD) ||
                           (ir->fuse == FUSE_LOGIC && with == FUSE_LOGIC);
        if (!fused) continue;
        taken[to] = 1;
        ir->pipe = PIPE_MOVE;
    }
}

static void cost_blocks(Flow *f) {
    Decode *const d = f->d;
    SgKernel *const k = d->kernel;
    k->block_count = f->count;
    k->costs = mem_alloc((size_t)f->count * sizeof *k->costs);
    if (!k->costs) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return;
    }
    for (int i = 0; i < d->ir_count; i++) {
        BlockCost *const c = &k->costs[f->block_of[i]];
        c->pipe[d->ir[i].pipe]++;
        c->mma_flops += d->ir[i].flops;
        c->mma += d->ir[i].flops != 0;
    }
}

/* An instruction that becomes no record is counted with the next one. */
static void place_instructions(Flow *f) {
    Decode *const d = f->d;
    const int n = d->entry->instr_count;
    int *const block = mem_alloc(((size_t)n + 1) * sizeof *block);
    d->kernel->instr_block = block;
    if (!block) dec_fail(d, ST_NO_MEMORY, "out of memory");
    for (int i = 0; block && i < n; i++) block[i] = f->block_of[d->entry_label[i]];
}

/* Ir to records, a leader in front of each block. */
static void write_records(Flow *f) {
    Decode *const d = f->d;
    SgKernel *const k = d->kernel;
    k->rec_count = d->ir_count + f->count;
    k->code = aligned_alloc(64, (size_t)k->rec_count * sizeof *k->code);
    k->places = mem_alloc((size_t)k->rec_count * sizeof *k->places);
    k->jumps = mem_alloc(((size_t)d->jump_count + 1) * sizeof *k->jumps);
    int *const at = scratch(f, (size_t)d->ir_count + 1, sizeof *at); /* record that Ir jumps find */
    if (!k->code || !k->places || !k->jumps) dec_fail(d, ST_NO_MEMORY, "out of memory");
    if (d->status != ST_OK) return;
    /* Block b's leader stands at first + b, its Ir i at i + b + 1. */
    for (int i = 0; i < d->ir_count; i++)
        at[i] = i + f->block_of[i] + (i == f->blocks[f->block_of[i]].first ? 0 : 1);
    k->first = at[d->entry_first];
    for (int b = 0; b < f->count; b++) {
        const Basic *const block = &f->blocks[b];
        const int n = block->end - block->first;
        const int spin = f->spins[b];
        k->code[block->first + b] = (Rec){dec_control(spin ? CONTROL_spin_head : CONTROL_leader),
                                          {(uint32_t)b, (uint32_t)n, spin == SPIN_GLOBAL}};
        for (int i = block->first; i < block->end; i++) {
            const Ir *const ir = &d->ir[i];
            const int pos = i + b + 1;
            Rec *const r = &k->code[pos];
            r->fn = ir->fn;
            for (int o = 0; o < 14; o++)
                r->o[o] = (ir->defs | ir->uses) >> o & 1 ? d->vregs[ir->o[o]].row : ir->o[o];
            r->o[4] |= ir->or4;
            if (ir->table >= 0) {
                r->o[0] = (uint32_t)ir->table;
                r->o[2] = (uint32_t)ir->table_count;
                for (int j = 0; j < ir->table_count; j++)
                    k->jumps[ir->table + j] = at[d->jumps[ir->table + j]] - pos;
            } else if (ir->target >= 0) {
                r->o[0] = (uint32_t)(at[ir->target] - pos);
            }
        }
        for (int i = block->first + b; i <= block->end + b; i++) {
            const int source = i - b - 1 < block->first ? block->first : i - b - 1;
            const Ir *const ir = &d->ir[source];
            const PtxInstr *const in = ir->from;
            if (!in) continue;
            k->places[i] = (RecPlace){in->line,   in->loc_file, in->loc_line, in->form, in,
                                      ir->begins, ir->raw,      ir->pipe,     ir->flops};
        }
    }
}

Status sg_flow(Decode *d) {
    Flow f = {.d = d};
    d->in = NULL;
    find_blocks(&f);
    if (d->status == ST_OK) intervals(&f);
    if (d->status == ST_OK) assign_rows(&f);
    if (d->status == ST_OK) fill_images(&f);
    if (d->status == ST_OK) fold(&f);
    if (d->status == ST_OK) cost_blocks(&f);
    if (d->status == ST_OK) place_instructions(&f);
    if (d->status == ST_OK) flow_spins(&f);
    if (d->status == ST_OK) flow_calls(&f);
    if (d->status == ST_OK) write_records(&f);
    return d->status;
}
