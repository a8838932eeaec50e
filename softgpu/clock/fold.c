/* Folding: what of a region is left when ptxas has compiled it.
 *
 * Every instruction on the path becomes a node with the nodes that it reads. A fold makes a node
 * transparent (THROUGH: whoever reads it reads what it reads) or takes it away (GONE). The rules,
 * with the reason that each exists, stand at the functions fold_*; counts of mma, ldmatrix, sfu,
 * fp32, convert, min/max and shuffle are then those of the machine code (docs/softgpu.md).
 * Instructions are read in the file's order, blocks that are jumped over included. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/clock/classify.h"

typedef enum State { KEEP, THROUGH, GONE } State;

typedef struct Use {
    int node; /* or ENTRY + register, until the end of the loop is known */
    bool carried;
    bool address; /* read as an address */
} Use;

typedef struct Node {
    uint8_t kind, slots, state, matrices, role;
    bool side_effect, guarded;
    bool immediate;   /* one operand is a constant */
    bool contracts;   /* no rounding is asked for: may become part of an fma */
    bool merged;      /* already three operands */
    bool sole;        /* the only definition of what it defines */
    int instr, block; /* block: basic block of the loop */
    uint32_t flops, bytes;
    uint8_t rate;
    int8_t groups;
    Use *uses;
    int use_count;
    int readers, address_readers;
    bool escapes; /* read after the loop or by the next iteration */
} Node;

typedef struct Fold {
    const PtxFunc *func;
    const int *owner; /* region of each instruction */
    int id;
    const uint64_t *visits; /* or NULL: all are on the path */
    Arena *arena;
    CodeRegion *region;
    Node *nodes;
    int count;
    int *producer; /* per register: the node that defined it last, or NONE */
    int *defs;     /* per register: definitions in the loop */
    bool *outside; /* per register: read outside the loop */
    Use uses[160]; /* of the instruction being read */
    int use_count;
} Fold;

enum { NONE = -1, ENTRY = 1 << 28, DEPTH = 12 };

/* Reading ---------------------------------------------------------------------- */

static bool has_result(const PtxInstr *in) {
    static const char *const without[] = {"st",     "red",     "bra",      "brx",      "ret",
                                          "exit",   "cp",      "bar",      "call",     "fence",
                                          "membar", "barrier", "stmatrix", "nanosleep"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (form_is(in->form, without[i]))
            return form_is(in->form, "bar") && form_has(in->form, "red");
    return in->operand_count > 0;
}

typedef void (*Visit)(Fold *f, int reg, bool address);

static void visit(Fold *f, const PtxOperand *o, Visit each) {
    const bool address = o->kind == PTX_ADDRESS;
    if ((address || o->kind == PTX_REG) && o->reg >= 0) each(f, o->reg, address);
    if (o->kind == PTX_REG && o->second >= 0) each(f, o->second, false);
    for (int i = 0; i < o->item_count; i++) visit(f, &o->items[i], each);
}

static void visit_sources(Fold *f, const PtxInstr *in, Visit each) {
    for (int i = has_result(in) ? 1 : 0; i < in->operand_count; i++)
        visit(f, &in->operands[i], each);
    if (in->guard >= 0) each(f, in->guard, false);
}

static void visit_results(Fold *f, const PtxInstr *in, Visit each) {
    if (has_result(in)) visit(f, &in->operands[0], each);
}

static void mark_outside(Fold *f, int reg, bool address) {
    (void)address;
    f->outside[reg] = true;
}

static void count_def(Fold *f, int reg, bool address) {
    (void)address;
    f->defs[reg]++;
}

static void add_use(Fold *f, int reg, bool address) {
    if (f->use_count == (int)(sizeof f->uses / sizeof *f->uses)) return;
    if (f->producer[reg] != NONE)
        f->uses[f->use_count++] = (Use){f->producer[reg], false, address};
    else if (f->defs[reg] > 0) /* by a later instruction: of the iteration before */
        f->uses[f->use_count++] = (Use){ENTRY + reg, true, address};
}

static void set_producer(Fold *f, int reg, bool address) {
    (void)address;
    f->producer[reg] = f->count;
}

static void check_sole(Fold *f, int reg, bool address) {
    (void)address;
    if (f->defs[reg] != 1) f->nodes[f->count].sole = false;
}

static bool has_constant(const PtxInstr *in) {
    for (int i = 1; i < in->operand_count; i++)
        if (in->operands[i].kind == PTX_INT) return true;
    return false;
}

static bool packs(const PtxInstr *in) {
    for (int i = 0; i < in->operand_count; i++)
        if (in->operands[i].kind == PTX_VECTOR) return form_width(form_type(in->form)) == 32;
    return false;
}

static Status read_node(Fold *f, int i, int block, Error *err) {
    const PtxInstr *in = &f->func->instrs[i];
    Node *n = &f->nodes[f->count];
    const CodeKind kind = form_kind(in->form);
    *n = (Node){.kind = kind, .instr = i, .block = block, .guarded = in->guard >= 0, .sole = true};
    /* A move under a guard, or of two halves into a register, is an operation. */
    if (kind == CODE_MOVE && !form_is(in->form, "ld") && (n->guarded || packs(in)))
        n->kind = CODE_ALU;
    n->slots = (uint8_t)form_slots(in->form, n->kind);
    n->role = (uint8_t)form_role(in->form, n->kind);
    n->immediate = has_constant(in);
    n->contracts =
        !form_has(in->form, "rn") && !form_has(in->form, "rz") && !form_has(in->form, "sat");
    n->matrices = form_has(in->form, "x4") ? 4 : form_has(in->form, "x2") ? 2 : 1;
    if (form_has(in->form, "m16n16")) n->matrices = (uint8_t)(2 * n->matrices); /* of 256 bytes */
    n->flops = kind == CODE_MMA ? form_flops(in->form) : 0;
    n->rate = kind == CODE_MMA ? (uint8_t)form_rate(in->form) : 0;
    n->bytes = instr_bytes(in, kind);
    n->groups = kind == CODE_ASYNC ? (int8_t)instr_groups(in) : 0;
    n->side_effect = !has_result(in) || kind == CODE_BARRIER || kind == CODE_OTHER ||
                     form_is(in->form, "atom") || form_is(in->form, "mbarrier") ||
                     form_has(in->form, "volatile");
    f->use_count = 0;
    visit_sources(f, in, add_use);
    if (n->guarded) visit_results(f, in, add_use); /* what stays when the guard is false */
    visit_results(f, in, check_sole);
    n->use_count = f->use_count;
    n->uses = ARENA_ARRAY(f->arena, Use, (size_t)f->use_count + 1);
    if (n->uses == NULL) return err_no_memory(err, sizeof(Use));
    memcpy(n->uses, f->uses, (size_t)f->use_count * sizeof(Use));
    visit_results(f, in, set_producer);
    f->count++;
    return ST_OK;
}

static bool is_branch(const PtxInstr *in) {
    return form_is(in->form, "bra") && in->operand_count > 0 && in->operands[0].kind == PTX_LABEL;
}

static bool on_path(const Fold *f, int i) {
    return f->owner[i] == f->id && (f->visits == NULL || f->visits[i] > 0);
}

/* Uses of what a later instruction defines are of the execution before; what is outside of all
 * loops has none. */
static void tie_carried(Fold *f) {
    for (int i = 0; i < f->count; i++) {
        Node *n = &f->nodes[i];
        int kept = 0;
        for (int k = 0; k < n->use_count; k++) {
            Use use = n->uses[k];
            if (use.node >= ENTRY) {
                if (f->region->parent < 0) continue;
                use.node = f->producer[use.node - ENTRY];
                f->nodes[use.node].escapes = true;
            }
            n->uses[kept++] = use;
        }
        n->use_count = kept;
    }
}

static Status read_region(Fold *f, Error *err) {
    const PtxFunc *func = f->func;
    CodeRegion *region = f->region;
    bool *leader = ARENA_ARRAY(f->arena, bool, (size_t)func->instr_count + 1);
    if (leader == NULL) return err_no_memory(err, sizeof *leader);
    for (int i = 0; i < func->instr_count; i++) {
        const PtxInstr *in = &func->instrs[i];
        if (is_branch(in)) leader[in->operands[0].reg] = leader[i + 1] = true;
        if (on_path(f, i))
            visit_results(f, in, count_def);
        else
            visit_sources(f, in, mark_outside);
    }
    int block = -1;
    bool fresh = true; /* an instruction of another region lies between */
    for (int i = region->first; i < region->end; i++) {
        fresh |= leader[i] || !on_path(f, i);
        if (!on_path(f, i)) continue;
        if (fresh)
            region->weight[++block] =
                f->visits == NULL ? 1 : (double)f->visits[i] / region->executions;
        fresh = false;
        const Status st = read_node(f, i, block, err);
        if (st != ST_OK) return st;
    }
    region->blocks = block + 1;
    tie_carried(f);
    for (int r = 0; r < func->reg_count; r++)
        if (f->outside[r] && f->producer[r] != NONE) f->nodes[f->producer[r]].escapes = true;
    return ST_OK;
}

/* Folds ------------------------------------------------------------------------ */

/* What does not change in the loop is computed before it. */
static void fold_invariant(Fold *f) {
    for (int i = 0; i < f->count; i++) {
        Node *n = &f->nodes[i];
        const bool computes = n->kind == CODE_MOVE || n->kind == CODE_ALU ||
                              n->kind == CODE_MINMAX || n->kind == CODE_FP32 ||
                              n->kind == CODE_CONVERT || n->kind == CODE_SFU;
        bool fixed = computes && !n->side_effect && !n->guarded && n->sole;
        for (int k = 0; k < n->use_count; k++)
            fixed &= !n->uses[k].carried && f->nodes[n->uses[k].node].state == GONE;
        if (fixed) n->state = GONE;
    }
}

/* Counts readers from the last node to the first, so that a node's own are known when it is
 * reached; moves pass theirs on. On the way: what nobody reads is dead, and a constant added to
 * what is only an address becomes the offset of the access. */
static void fold_unread(Fold *f) {
    for (int i = 0; i < f->count; i++) f->nodes[i].readers = f->nodes[i].address_readers = 0;
    for (int i = f->count - 1; i >= 0; i--) {
        Node *n = &f->nodes[i];
        if (n->state == GONE) continue;
        if (n->readers == 0 && !n->escapes && !n->side_effect) {
            n->state = GONE;
            continue;
        }
        if (n->kind == CODE_MOVE) n->state = THROUGH;
        if (n->kind == CODE_ALU && n->role == ROLE_SUM && n->immediate && !n->escapes &&
            !n->guarded && n->readers == n->address_readers)
            n->state = THROUGH;
        for (int k = 0; k < n->use_count; k++) {
            Node *from = &f->nodes[n->uses[k].node];
            if (n->uses[k].carried) continue;
            if (n->state == THROUGH) {
                from->readers += n->readers;
                from->address_readers += n->address_readers;
                from->escapes |= n->escapes;
            } else {
                from->readers++;
                from->address_readers += n->uses[k].address;
            }
        }
    }
}

/* The operation behind moves; NULL when it is none of this iteration's. */
static Node *behind(Fold *f, const Use *use) {
    for (int depth = 0; depth < DEPTH; depth++) {
        if (use->carried) return NULL;
        Node *n = &f->nodes[use->node];
        if (n->state == GONE) return NULL;
        if (n->state == KEEP) return n;
        if (n->kind != CODE_MOVE || n->use_count != 1) return NULL;
        use = &n->uses[0];
    }
    return NULL;
}

static bool joins(const Node *into, const Node *from, unsigned roles) {
    return from != NULL && from != into && (roles >> from->role & 1) && from->readers == 1 &&
           !from->escapes && !from->guarded && !into->guarded && from->block == into->block &&
           !into->merged && !from->merged;
}

/* Joins each node of `role` with one input of `roles`: the input's work is done by the node. */
static void fold_pairs(Fold *f, CodeKind kind, CodeRole role, unsigned roles) {
    for (int i = 0; i < f->count; i++) {
        Node *n = &f->nodes[i];
        if (n->state != KEEP || n->kind != kind || n->role != role) continue;
        for (int k = 0; k < n->use_count; k++) {
            Node *from = behind(f, &n->uses[k]);
            if (!joins(n, from, roles) || from->kind != kind) continue;
            if (kind == CODE_FP32 && !(from->contracts && n->contracts)) continue;
            if (from->role == ROLE_SHIFT && !from->immediate) continue;
            if (from->role == ROLE_PRODUCT && from->slots > 1) continue; /* 64-bit: not one IMAD */
            if (from->role == ROLE_WIDE_PRODUCT) n->slots = 1; /* IMAD.WIDE adds 64 bits at once */
            from->state = THROUGH;
            n->merged = true;
            break;
        }
    }
}

/* Result ----------------------------------------------------------------------- */

typedef struct Edges {
    CodeEdge at[256];
    int count;
} Edges;

static void resolve(const Fold *f, const int *index, const Use *use, bool carried, int depth,
                    Edges *edges) {
    const Node *n = &f->nodes[use->node];
    carried |= use->carried;
    if (n->state == GONE || depth == DEPTH) return;
    if (n->state == THROUGH) {
        for (int k = 0; k < n->use_count; k++)
            resolve(f, index, &n->uses[k], carried, depth + 1, edges);
        return;
    }
    const CodeEdge edge = {.from = index[use->node], .carried = carried};
    for (int i = 0; i < edges->count; i++)
        if (edges->at[i].from == edge.from && edges->at[i].carried == carried) return;
    if (edges->count < (int)(sizeof edges->at / sizeof *edges->at))
        edges->at[edges->count++] = edge;
}

static Status emit(const Fold *f, Error *err) {
    CodeRegion *region = f->region;
    int *index = ARENA_ARRAY(f->arena, int, (size_t)f->count + 1);
    region->ops = ARENA_ARRAY(f->arena, CodeOp, (size_t)f->count + 1);
    if (index == NULL || region->ops == NULL) return err_no_memory(err, sizeof(CodeOp));
    int kept = 0;
    for (int i = 0; i < f->count; i++) index[i] = f->nodes[i].state == KEEP ? kept++ : NONE;
    for (int i = 0; i < f->count; i++) {
        const Node *n = &f->nodes[i];
        if (n->state != KEEP) continue;
        Edges edges = {.count = 0};
        for (int k = 0; k < n->use_count; k++) resolve(f, index, &n->uses[k], false, 0, &edges);
        CodeOp *op = &region->ops[region->count++];
        *op = (CodeOp){.kind = n->kind,
                       .slots = n->slots,
                       .matrices = n->matrices,
                       .block = (uint16_t)n->block,
                       .flops = n->flops,
                       .rate = n->rate,
                       .bytes = n->bytes,
                       .groups = n->groups,
                       .instr = n->instr,
                       .edge_count = edges.count};
        op->edges = ARENA_ARRAY(f->arena, CodeEdge, (size_t)edges.count + 1);
        if (op->edges == NULL) return err_no_memory(err, sizeof(CodeEdge));
        memcpy(op->edges, edges.at, (size_t)edges.count * sizeof(CodeEdge));
        region->mma += n->kind == CODE_MMA;
        region->mma_flops += n->flops;
    }
    return ST_OK;
}

static void count_slots(const Fold *f, uint32_t counts[CODE_KINDS]) {
    for (int i = 0; i < f->count; i++)
        if (f->nodes[i].state == KEEP && f->nodes[i].kind != CODE_MOVE)
            counts[f->nodes[i].kind] += f->nodes[i].slots;
}

static bool fold_new(Fold *f) {
    const size_t regs = (size_t)f->func->reg_count + 1;
    const size_t instrs = (size_t)(f->region->end - f->region->first) + 1;
    f->nodes = ARENA_ARRAY(f->arena, Node, instrs);
    f->producer = ARENA_ARRAY(f->arena, int, regs);
    f->defs = ARENA_ARRAY(f->arena, int, regs);
    f->outside = ARENA_ARRAY(f->arena, bool, regs);
    f->region->weight = ARENA_ARRAY(f->arena, double, instrs);
    if (f->nodes == NULL || f->producer == NULL || f->defs == NULL || f->outside == NULL ||
        f->region->weight == NULL)
        return false;
    for (size_t r = 0; r < regs; r++) f->producer[r] = NONE;
    return true;
}

Status code_fold(const PtxFunc *func, const int *owner, int id, const uint64_t *visits,
                 Arena *arena, CodeRegion *region, Error *err) {
    Fold f = {
        .func = func, .owner = owner, .id = id, .visits = visits, .arena = arena, .region = region};
    if (!fold_new(&f)) return err_no_memory(err, (size_t)func->reg_count * sizeof(int));
    const Status st = read_region(&f, err);
    if (st != ST_OK) return st;
    count_slots(&f, region->raw);
    if (region->parent >= 0) fold_invariant(&f);
    fold_unread(&f);
    fold_pairs(&f, CODE_FP32, ROLE_SUM, 1u << ROLE_PRODUCT);
    fold_pairs(&f, CODE_ALU, ROLE_SUM,
               1u << ROLE_PRODUCT | 1u << ROLE_WIDE_PRODUCT | 1u << ROLE_SHIFT);
    fold_pairs(&f, CODE_ALU, ROLE_SUM, 1u << ROLE_SUM);
    fold_pairs(&f, CODE_ALU, ROLE_LOGIC, 1u << ROLE_LOGIC);
    count_slots(&f, region->folded);
    return emit(&f, err);
}
