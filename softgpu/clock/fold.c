/* Folding: what of a PTX loop is left when ptxas has compiled it.
 *
 * Every instruction of the loop becomes a node with the nodes that it reads. A fold makes a node
 * transparent (THROUGH: whoever reads it reads what it reads) or takes it away (GONE). The rules,
 * with the reason that each exists, stand at the functions fold_*; counts of mma, ldmatrix, sfu,
 * fp32, convert, min/max and shuffle are then those of the machine code (docs/softgpu.md).
 * Instructions are read in the file's order, blocks that are jumped over included. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/clock/code.h"

typedef enum State { KEEP, THROUGH, GONE } State;

typedef struct Use {
    int node; /* or ENTRY + register, until the end of the loop is known */
    bool carried;
    bool address; /* read as an address */
} Use;

typedef enum Role { PLAIN, PRODUCT, WIDE_PRODUCT, SHIFT, SUM, LOGIC } Role;

typedef struct Node {
    uint8_t kind, slots, state, matrices, role;
    bool side_effect, guarded;
    bool immediate;   /* one operand is a constant */
    bool contracts;   /* no rounding is asked for: may become part of an fma */
    bool merged;      /* already three operands */
    bool sole;        /* the only definition of what it defines */
    int instr, block; /* block: basic block of the loop */
    uint32_t flops;
    Use *uses;
    int use_count;
    int readers, address_readers;
    bool escapes; /* read after the loop or by the next iteration */
} Node;

typedef struct Fold {
    const PtxFunc *func;
    Arena *arena;
    CodeLoop *loop;
    Node *nodes;
    int count;
    int *producer; /* per register: the node that defined it last, or NONE */
    int *defs;     /* per register: definitions in the loop */
    bool *outside; /* per register: read outside the loop */
    Use uses[160]; /* of the instruction being read */
    int use_count;
} Fold;

enum { NONE = -1, ENTRY = 1 << 28, DEPTH = 12 };

/* Classes ---------------------------------------------------------------------- */

static bool is(const char *form, const char *root) {
    const size_t n = strlen(root);
    return strncmp(form, root, n) == 0 && (form[n] == '.' || form[n] == '\0');
}

/* A modifier that begins so: "shared" finds .shared and .shared::cta. */
static bool has(const char *form, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = strchr(form, '.'); at != NULL; at = strchr(at + 1, '.'))
        if (strncmp(at + 1, word, n) == 0) return true;
    return false;
}

static const char *last_word(const char *form) {
    const char *dot = strrchr(form, '.');
    return dot == NULL ? form : dot + 1;
}

static int width_of(const char *type) {
    while (*type != '\0' && (*type < '0' || *type > '9')) type++;
    return atoi(type);
}

/* f16, bf16x2, tf32, e4m3x2 against s32, u32, b32. */
static bool is_float(const char *type) {
    return strchr("fte", type[0]) != NULL || strncmp(type, "bf", 2) == 0;
}

static CodeKind convert_kind(const char *form) {
    const char *from = last_word(form);
    const char *to = from - 1;
    while (to > form && to[-1] != '.') to--;
    if (is_float(from) && is_float(to))
        return to[0] == 'f' && from[0] == 'f' && width_of(to) == width_of(from) ? CODE_SFU
                                                                                : CODE_CONVERT;
    if (is_float(from) || is_float(to)) return CODE_SFU;
    if (width_of(to) > width_of(from)) return from[0] == 's' ? CODE_ALU : CODE_MOVE;
    return width_of(to) < 32 && width_of(from) >= 32 ? CODE_ALU : CODE_MOVE;
}

static CodeKind memory_kind(const char *form, bool store) {
    if (has(form, "shared")) return store ? CODE_SHARED_STORE : CODE_SHARED_LOAD;
    if (has(form, "local")) return store ? CODE_SPILL_STORE : CODE_SPILL_LOAD;
    if (has(form, "param") || has(form, "const")) return CODE_MOVE; /* constant-bank operand */
    return store ? CODE_GLOBAL_STORE : CODE_GLOBAL_LOAD;
}

static const struct {
    const char *root;
    CodeKind kind;
} roots[] = {
    {"mma", CODE_MMA},
    {"ldmatrix", CODE_LDMATRIX},
    {"ex2", CODE_SFU},
    {"lg2", CODE_SFU},
    {"rcp", CODE_SFU},
    {"rsqrt", CODE_SFU},
    {"sqrt", CODE_SFU},
    {"sin", CODE_SFU},
    {"cos", CODE_SFU},
    {"tanh", CODE_SFU},
    {"min", CODE_MINMAX},
    {"max", CODE_MINMAX},
    {"shfl", CODE_SHUFFLE},
    {"redux", CODE_SHUFFLE},
    {"barrier", CODE_BARRIER},
    {"bra", CODE_BRANCH},
    {"brx", CODE_BRANCH},
    {"ret", CODE_BRANCH},
    {"exit", CODE_BRANCH},
    {"call", CODE_BRANCH},
    {"mov", CODE_MOVE},
    {"cvta", CODE_MOVE},
    {"membar", CODE_OTHER},
    {"fence", CODE_OTHER},
    {"nanosleep", CODE_OTHER},
    {"mbarrier", CODE_SHARED_STORE},
    {"atom", CODE_GLOBAL_STORE},
    {"red", CODE_GLOBAL_STORE},
    {"stmatrix", CODE_SHARED_STORE},
    {"movmatrix", CODE_SHUFFLE},
};

static CodeKind kind_of(const char *form) {
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (is(form, roots[i].root)) return roots[i].kind;
    if (is(form, "wmma"))
        return has(form, "mma")    ? CODE_MMA
               : has(form, "load") ? CODE_SHARED_LOAD
                                   : CODE_SHARED_STORE;
    if (is(form, "cvt")) return convert_kind(form);
    if (is(form, "ld") || is(form, "ldu")) return memory_kind(form, false);
    if (is(form, "st")) return memory_kind(form, true);
    if (is(form, "cp")) return has(form, "commit") || has(form, "wait") ? CODE_ASYNC : CODE_COPY;
    if (is(form, "bar")) return has(form, "warp") ? CODE_OTHER : CODE_BARRIER;
    const char *type = last_word(form);
    /* A sign is an operand modifier of the machine's instructions. */
    if ((is(form, "neg") || is(form, "abs")) && is_float(type)) return CODE_MOVE;
    if (is(form, "setp") || is(form, "set") || is(form, "selp")) return CODE_ALU;
    return is_float(type) ? CODE_FP32 : CODE_ALU;
}

/* 32-bit operations that a 64-bit one is made of. */
static int slots_of(const char *form, CodeKind kind) {
    if (is(form, "div") || is(form, "rem")) return kind == CODE_FP32 ? 8 : 16;
    if (kind != CODE_ALU && kind != CODE_MINMAX) return 1;
    if (width_of(last_word(form)) != 64 || is(form, "cvt")) return 1;
    return (is(form, "mul") || is(form, "mad")) && has(form, "lo") ? 3 : 2;
}

static Role role_of(const char *form, CodeKind kind) {
    if (kind == CODE_FP32)
        return is(form, "mul") ? PRODUCT : is(form, "add") || is(form, "sub") ? SUM : PLAIN;
    if (kind != CODE_ALU) return PLAIN;
    if (is(form, "mul"))
        return has(form, "wide") ? WIDE_PRODUCT : has(form, "lo") ? PRODUCT : PLAIN;
    if (is(form, "shl")) return SHIFT;
    if (is(form, "add") || is(form, "sub")) return has(form, "cc") ? PLAIN : SUM;
    if (is(form, "and") || is(form, "or") || is(form, "xor") || is(form, "not"))
        return width_of(last_word(form)) == 32 ? LOGIC : PLAIN;
    return PLAIN;
}

/* Reading ---------------------------------------------------------------------- */

static bool has_result(const PtxInstr *in) {
    static const char *const without[] = {"st",     "red",     "bra",      "brx",      "ret",
                                          "exit",   "cp",      "bar",      "call",     "fence",
                                          "membar", "barrier", "stmatrix", "nanosleep"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (is(in->form, without[i])) return is(in->form, "bar") && has(in->form, "red");
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
        if (in->operands[i].kind == PTX_VECTOR) return width_of(last_word(in->form)) == 32;
    return false;
}

static uint32_t flops_of(const char *form) {
    unsigned m, n, k;
    const char *at = strstr(form, ".m");
    return at != NULL && sscanf(at, ".m%un%uk%u", &m, &n, &k) == 3 ? 2 * m * n * k : 0;
}

static Status read_node(Fold *f, int i, int block, Error *err) {
    const PtxInstr *in = &f->func->instrs[i];
    Node *n = &f->nodes[f->count];
    const CodeKind kind = kind_of(in->form);
    *n = (Node){.kind = kind, .instr = i, .block = block, .guarded = in->guard >= 0, .sole = true};
    /* A move under a guard, or of two halves into a register, is an operation. */
    if (kind == CODE_MOVE && !is(in->form, "ld") && (n->guarded || packs(in))) n->kind = CODE_ALU;
    n->slots = (uint8_t)slots_of(in->form, n->kind);
    n->role = (uint8_t)role_of(in->form, n->kind);
    n->immediate = has_constant(in);
    n->contracts = !has(in->form, "rn") && !has(in->form, "rz") && !has(in->form, "sat");
    n->matrices = has(in->form, "x4") ? 4 : has(in->form, "x2") ? 2 : 1;
    n->flops = kind == CODE_MMA ? flops_of(in->form) : 0;
    n->side_effect = !has_result(in) || kind == CODE_BARRIER || kind == CODE_OTHER ||
                     is(in->form, "atom") || is(in->form, "mbarrier") || has(in->form, "volatile");
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
    return is(in->form, "bra") && in->operand_count > 0 && in->operands[0].kind == PTX_LABEL;
}

static Status read_loop(Fold *f, Error *err) {
    const PtxFunc *func = f->func;
    CodeLoop *loop = f->loop;
    bool *leader = ARENA_ARRAY(f->arena, bool, (size_t)func->instr_count + 1);
    if (leader == NULL) return err_no_memory(err, sizeof *leader);
    for (int i = 0; i < func->instr_count; i++) {
        const PtxInstr *in = &func->instrs[i];
        const bool inside = i >= loop->first && i < loop->end;
        if (is_branch(in)) leader[in->operands[0].reg] = leader[i + 1] = true;
        if (inside)
            visit_results(f, in, count_def);
        else
            visit_sources(f, in, mark_outside);
    }
    int block = 0;
    for (int i = loop->first; i < loop->end; i++) {
        if (leader[i] && i > loop->first) block++;
        const Status st = read_node(f, i, block, err);
        if (st != ST_OK) return st;
    }
    loop->blocks = block + 1;
    for (int i = 0; i < f->count; i++)
        for (int k = 0; k < f->nodes[i].use_count; k++) {
            Use *use = &f->nodes[i].uses[k];
            if (!use->carried) continue;
            use->node = f->producer[use->node - ENTRY];
            f->nodes[use->node].escapes = true;
        }
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
        if (n->kind == CODE_ALU && n->role == SUM && n->immediate && !n->escapes && !n->guarded &&
            n->readers == n->address_readers)
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
static void fold_pairs(Fold *f, CodeKind kind, Role role, unsigned roles) {
    for (int i = 0; i < f->count; i++) {
        Node *n = &f->nodes[i];
        if (n->state != KEEP || n->kind != kind || n->role != role) continue;
        for (int k = 0; k < n->use_count; k++) {
            Node *from = behind(f, &n->uses[k]);
            if (!joins(n, from, roles) || from->kind != kind) continue;
            if (kind == CODE_FP32 && !(from->contracts && n->contracts)) continue;
            if (from->role == SHIFT && !from->immediate) continue;
            if (from->role == PRODUCT && from->slots > 1) continue; /* 64-bit: not one IMAD */
            if (from->role == WIDE_PRODUCT) n->slots = 1; /* IMAD.WIDE adds 64 bits at once */
            from->state = THROUGH;
            n->merged = true;
            break;
        }
    }
}

static void count_slots(const Fold *f, uint32_t counts[CODE_KINDS]) {
    for (int i = 0; i < f->count; i++)
        if (f->nodes[i].state == KEEP && f->nodes[i].kind != CODE_MOVE)
            counts[f->nodes[i].kind] += f->nodes[i].slots;
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
    CodeLoop *loop = f->loop;
    int *index = ARENA_ARRAY(f->arena, int, (size_t)f->count + 1);
    loop->ops = ARENA_ARRAY(f->arena, CodeOp, (size_t)f->count + 1);
    if (index == NULL || loop->ops == NULL) return err_no_memory(err, sizeof(CodeOp));
    int kept = 0;
    for (int i = 0; i < f->count; i++) index[i] = f->nodes[i].state == KEEP ? kept++ : NONE;
    for (int i = 0; i < f->count; i++) {
        const Node *n = &f->nodes[i];
        if (n->state != KEEP) continue;
        Edges edges = {.count = 0};
        for (int k = 0; k < n->use_count; k++) resolve(f, index, &n->uses[k], false, 0, &edges);
        CodeOp *op = &loop->ops[loop->count++];
        *op = (CodeOp){.kind = n->kind,
                       .slots = n->slots,
                       .matrices = n->matrices,
                       .block = (uint16_t)n->block,
                       .flops = n->flops,
                       .instr = n->instr,
                       .edge_count = edges.count};
        op->edges = ARENA_ARRAY(f->arena, CodeEdge, (size_t)edges.count + 1);
        if (op->edges == NULL) return err_no_memory(err, sizeof(CodeEdge));
        memcpy(op->edges, edges.at, (size_t)edges.count * sizeof(CodeEdge));
        loop->mma += n->kind == CODE_MMA;
        loop->mma_flops += n->flops;
    }
    return ST_OK;
}

static bool find_loop(const PtxFunc *func, CodeLoop *loop) {
    int most = -1, extent = 0;
    for (int i = 0; i < func->instr_count; i++) {
        const PtxInstr *in = &func->instrs[i];
        if (!is_branch(in) || in->operands[0].reg > i) continue;
        const int first = in->operands[0].reg;
        int mma = 0;
        for (int k = first; k <= i; k++) mma += kind_of(func->instrs[k].form) == CODE_MMA;
        if (mma < most || (mma == most && i + 1 - first >= extent)) continue;
        most = mma;
        extent = i + 1 - first;
        loop->first = first;
        loop->end = i + 1;
    }
    return most >= 0;
}

const char *code_kind_name(CodeKind kind) {
    static const char *const names[] = {
#define KIND(id, name) name,
#include "softgpu/clock/kinds.def"
#undef KIND
    };
    return names[kind];
}

Status code_fold(const PtxFunc *func, Arena *arena, CodeLoop *loop, Error *err) {
    *loop = (CodeLoop){0};
    if (!find_loop(func, loop)) return ST_OK;
    const size_t regs = (size_t)func->reg_count + 1;
    Fold f = {.func = func, .arena = arena, .loop = loop};
    f.nodes = ARENA_ARRAY(arena, Node, (size_t)(loop->end - loop->first) + 1);
    f.producer = ARENA_ARRAY(arena, int, regs);
    f.defs = ARENA_ARRAY(arena, int, regs);
    f.outside = ARENA_ARRAY(arena, bool, regs);
    if (f.nodes == NULL || f.producer == NULL || f.defs == NULL || f.outside == NULL)
        return err_no_memory(err, regs * sizeof(int));
    for (size_t r = 0; r < regs; r++) f.producer[r] = NONE;
    const Status st = read_loop(&f, err);
    if (st != ST_OK) return st;
    count_slots(&f, loop->raw);
    fold_invariant(&f);
    fold_unread(&f);
    fold_pairs(&f, CODE_FP32, SUM, 1u << PRODUCT);
    fold_pairs(&f, CODE_ALU, SUM, 1u << PRODUCT | 1u << WIDE_PRODUCT | 1u << SHIFT);
    fold_pairs(&f, CODE_ALU, SUM, 1u << SUM);
    fold_pairs(&f, CODE_ALU, LOGIC, 1u << LOGIC);
    count_slots(&f, loop->folded);
    return emit(&f, err);
}
