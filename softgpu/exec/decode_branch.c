/* Decoding of branches, branch tables, calls and returns. */
#include "softgpu/exec/decode.h"

#include <string.h>

#define NO_ROW UINT32_MAX

/* A jump to instruction `target` of the frame under the current guard, or its negation. */
static Ir *jump(Decode *d, int target, bool unless) {
    const PtxInstr *const in = d->in;
    const bool cond = in->guard >= 0;
    const int p = cond ? dec_reg(d, in->guard) : -1;
    Ir *const ir = dec_emit(d, dec_control(cond ? CONTROL_bra_if : CONTROL_bra), PIPE_BRANCH);
    ir->target = target;
    ir->ends = true;
    ir->stays = !cond;
    if (cond) {
        dec_use(ir, 1, p);
        ir->o[2] = in->guard_negate != unless ? UINT32_MAX : 0;
    }
    return ir;
}

static int here(const Decode *d) {
    return (int)(d->in - d->frame->func->instrs);
}

static void bra(Decode *d) {
    const PtxOperand *const o = dec_operand(d, 0);
    if (o->kind != PTX_LABEL)
        dec_fail(d, ST_SYNTAX, "a label is expected");
    else
        jump(d, o->reg, false);
}

static void brx(Decode *d) {
    const PtxOperand *const t = dec_operand(d, 1);
    if (d->in->guard >= 0) jump(d, here(d) + 1, true);
    const int index = dec_source(d, dec_operand(d, 0), PTX_B32, false);
    if (t->kind != PTX_LABEL || t->reg < 0 || t->reg >= d->frame->func->table_count) {
        dec_fail(d, ST_SYNTAX, "a .branchtargets label is expected");
        return;
    }
    const PtxTable *const table = &d->frame->func->tables[t->reg];
    int *const jumps =
        arena_array(d->scratch, (size_t)(d->jump_count + table->count), sizeof *jumps);
    if (!jumps) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return;
    }
    if (d->jump_count) memcpy(jumps, d->jumps, (size_t)d->jump_count * sizeof *jumps);
    memcpy(jumps + d->jump_count, table->targets, (size_t)table->count * sizeof *jumps);
    d->jumps = jumps;
    Ir *const ir = dec_emit(d, dec_control(CONTROL_brx), PIPE_BRANCH);
    dec_use(ir, 1, index);
    ir->table = d->jump_count;
    ir->table_count = table->count;
    ir->target = here(d); /* only marks it for patching */
    ir->ends = ir->stays = true;
    d->jump_count += table->count;
}

enum { MAX_ARGS = 64 };

static bool is_param(const PtxOperand *o) {
    return o->kind == PTX_SYMBOL && o->var->space == PTX_PARAM && !o->var->entry;
}

/* Where the .param variables of a list lie; items that are registers get 0. */
static int list_offsets(Decode *d, const PtxOperand *list, uint64_t *out) {
    if (list->kind != PTX_LIST || list->item_count > MAX_ARGS) {
        dec_fail(d, ST_UNSUPPORTED, "this argument list is not emulated");
        return 0;
    }
    for (int i = 0; i < list->item_count; i++)
        out[i] = is_param(&list->items[i]) ? dec_symbol(d, list->items[i].var) : 0;
    return list->item_count;
}

typedef struct RegArg { /* one element of a formal that is a register */
    const PtxOperand *actual;
    PtxClass class;
    int reg, source;
} RegArg;

/* Pairs registers of formals with the operands of a call; `n` of them into out[]. */
static int pair_regs(Decode *d, PtxVar *const *formals, int count, const PtxOperand *list,
                     const PtxFunc *f, RegArg *out, int limit) {
    int n = 0;
    for (int i = 0; i < count; i++) {
        const PtxOperand *const o = &list->items[i];
        const int lanes = formals[i]->reg_count;
        if (!lanes && is_param(o) && o->var->size >= formals[i]->size) continue;
        if (!lanes || is_param(o) || (o->kind == PTX_VECTOR ? o->item_count : 1) != lanes ||
            n + lanes > limit) {
            dec_fail(d, ST_SYNTAX, "argument %d does not fit '%s' of '%s'", i + 1, formals[i]->name,
                     f->name);
            return 0;
        }
        for (int k = 0; k < lanes; k++)
            out[n++] = (RegArg){.actual = o->kind == PTX_VECTOR ? &o->items[k] : o,
                                .class = (PtxClass)f->regs[formals[i]->reg + k].class,
                                .reg = formals[i]->reg + k};
    }
    return n;
}

void dec_move(Decode *d, PtxClass class, int dest, int source) {
    static const int extra[] = {LANE_mov_pred, LANE_mov_lane, LANE_mov_b64};
    Ir *const ir = dec_emit(d, dec_lane(d, extra[class]), PIPE_MOVE);
    dec_def(ir, 0, dest);
    dec_use(ir, 1, source);
}

typedef struct CallSite {
    const PtxOperand *args, *rets; /* lists */
    uint64_t arg_at[MAX_ARGS], ret_at[MAX_ARGS];
    int arg_count, ret_count;
} CallSite;

/* Inlined, the callee's registers follow those that exist when its frame is made (dec_function),
 * and its formals in memory are the caller's variables themselves. */
static void make_call(Decode *d, const PtxFunc *f, const CallSite *c) {
    enum { LIMIT = 4 * MAX_ARGS };
    RegArg in[LIMIT], out[LIMIT];
    const Routine *const to = dec_routine(d, f);
    const int ins = pair_regs(d, f->params, f->param_count, c->args, f, in, LIMIT);
    const int outs = pair_regs(d, f->rets, f->ret_count, c->rets, f, out, LIMIT);
    for (int i = 0; i < ins && d->status == ST_OK; i++)
        in[i].source = dec_source(d, in[i].actual, in[i].class, false);
    const int base = d->vreg_count;
    for (int i = 0; i < ins && d->status == ST_OK; i++)
        dec_move(d, in[i].class, to ? to->carry[in[i].reg] : base + in[i].reg, in[i].source);
    if (d->status == ST_OK && to)
        dec_call(d, to, c->arg_at, c->ret_at);
    else if (d->status == ST_OK)
        dec_function(d, f, c->arg_at, c->ret_at, NULL);
    for (int i = 0; i < outs && d->status == ST_OK; i++)
        dec_move(d, out[i].class, dec_dest(d, out[i].actual, out[i].class),
                 to ? to->carry[out[i].reg] : base + out[i].reg);
}

static bool has_size(const PtxOperand *list, int i, uint64_t size) {
    return i < list->item_count && is_param(&list->items[i]) && list->items[i].var->size >= size;
}

/* vprintf and __assertfail, which no module defines. False: another function. */
static bool system_call(Decode *d, const char *name, const PtxOperand *arg_list,
                        const PtxOperand *ret_list, const uint64_t *args, const uint64_t *rets) {
    const bool print = strcmp(name, "vprintf") == 0;
    if (!print && strcmp(name, "__assertfail") != 0) return false;
    const int n = print ? 2 : 3;
    for (int i = 0; i < n; i++)
        if (!has_size(arg_list, i, i < 2 ? 8 : 4)) {
            dec_fail(d, ST_SYNTAX, "%s takes %s as .param variables", name,
                     print ? "a format and a buffer" : "message, file, line, function and size");
            return true;
        }
    Ir *const ir = dec_emit(d, dec_control(print ? CONTROL_vprintf : CONTROL_assert), PIPE_OTHER);
    for (int i = 0; i < n; i++) ir->o[i] = (uint32_t)args[i];
    ir->o[3] = NO_ROW;
    if (d->routine) dec_use(ir, 3, d->frame_row);
    if (print) ir->o[2] = has_size(ret_list, 0, 4) ? (uint32_t)rets[0] : NO_ROW;
    return true;
}

static void call_one(Decode *d, const PtxFunc *f, const CallSite *c) {
    if (!f->body || f->entry)
        dec_fail(d, ST_UNSUPPORTED, "function '%s' has no body here", f->name);
    else if (f->param_count != c->arg_count || f->ret_count != c->ret_count)
        dec_fail(d, ST_SYNTAX, "'%s' takes %d arguments and returns %d values", f->name,
                 f->param_count, f->ret_count);
    else
        make_call(d, f, c);
}

/* A jump whose target is set later, as an Ir; taken when predicate `p` is false, always for -1. */
static int open_jump(Decode *d, int p) {
    Ir *const ir = dec_emit(d, dec_control(p >= 0 ? CONTROL_bra_if : CONTROL_bra), PIPE_BRANCH);
    ir->ends = ir->resolved = true;
    ir->stays = p < 0;
    if (p >= 0) {
        dec_use(ir, 1, p);
        ir->o[2] = UINT32_MAX;
    }
    return d->ir_count - 1;
}

/* call (rets), %rd, (args), prototype: one of the functions that the prototype fits, each inlined
 * behind a comparison with its address. Any other value is a fault. */
static void indirect_call(Decode *d, const PtxOperand *to, const CallSite *c) {
    const PtxFunc *f[MAX_TARGETS];
    int end[MAX_TARGETS];
    const int n = dec_targets(d, d->frame->func, d->in, f);
    const int address = dec_source(d, to, PTX_B64, false);
    if (d->status == ST_OK && n == 0)
        dec_fail(d, ST_UNSUPPORTED, "no function whose address is taken fits this indirect call");
    for (int i = 0; i < n && d->status == ST_OK; i++) {
        const int p = dec_vreg(d, PTX_PRED);
        Ir *const ir = dec_emit(d, dec_lane(d, LANE_eq_u64), PIPE_ALU);
        dec_def(ir, 0, p);
        dec_use(ir, 1, address);
        dec_use(ir, 2, dec_constant(d, PTX_B64, sg_function_address(d->module, f[i]->name)));
        const int next = open_jump(d, p);
        call_one(d, f[i], c);
        end[i] = open_jump(d, -1);
        if (d->status == ST_OK) d->ir[next].target = d->ir_count;
    }
    if (d->status != ST_OK) return;
    Ir *const ir = dec_emit(d, dec_control(CONTROL_bad_call), PIPE_OTHER);
    dec_use(ir, 0, address);
    for (int i = 0; i < n; i++) d->ir[end[i]].target = d->ir_count;
    dec_emit(d, dec_control(CONTROL_nop), PIPE_MOVE); /* where all meet */
}

/* call [(rets),] name[, (args)]: inlined, or a call of a routine. */
static void call(Decode *d) {
    static const PtxOperand none = {.kind = PTX_LIST, .reg = -1, .second = -1};
    CallSite c = {.args = &none, .rets = &none};
    int k = 0;
    if (d->in->guard >= 0) jump(d, here(d) + 1, true);
    if (dec_operand(d, k)->kind == PTX_LIST) c.rets = dec_operand(d, k++);
    const PtxOperand *const to = dec_operand(d, k++);
    if (k < d->in->operand_count && dec_operand(d, k)->kind == PTX_LIST) c.args = dec_operand(d, k);
    c.ret_count = list_offsets(d, c.rets, c.ret_at);
    c.arg_count = list_offsets(d, c.args, c.arg_at);
    if (d->status != ST_OK) return;
    if (to->kind != PTX_NAME) {
        indirect_call(d, to, &c);
        return;
    }
    if (system_call(d, to->name, c.args, c.rets, c.arg_at, c.ret_at)) return;
    const PtxFunc *const callee = ptx_func(d->module->ptx, to->name);
    if (callee)
        call_one(d, callee, &c);
    else
        dec_fail(d, ST_UNSUPPORTED, "function '%s' has no body here", to->name);
}

static void ret(Decode *d) {
    const PtxFunc *const f = d->frame->func;
    jump(d, f->instr_count, false); /* the exit, or the end of the inlined body */
}

bool dec_branch_family(Decode *d, const char *name) {
    static const struct {
        const char *name;
        void (*fn)(Decode *);
    } rows[] = {{"bra", bra}, {"brx", brx}, {"call", call}, {"ret", ret}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0) {
            rows[i].fn(d);
            return true;
        }
    return false;
}
