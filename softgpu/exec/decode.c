/* Decoding, step 1: the frame of a function, operands by shape, constants, symbols. */
#include "softgpu/exec/decode.h"
#include "softgpu/ptx/feature.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_IR = 8 << 20 };

void dec_fail(Decode *d, Status status, const char *fmt, ...) {
    if (d->status != ST_OK) return;
    char text[512], place[256] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (d->in) ptx_place(d->module->ptx, d->in->loc_file, d->in->loc_line, place, sizeof place);
    d->status = err_set(d->err, status, "%s: PTX line %d%s%s%s: %s: %s", d->entry->name,
                        d->in ? d->in->line : d->entry->line, place[0] ? " (" : "", place,
                        place[0] ? ")" : "", d->in ? d->in->form : "entry", text);
}

void *dec_grow(Decode *d, void *data, int count, int *cap, size_t item) {
    if (count < *cap) return data;
    const int n = *cap ? *cap * 2 : 64;
    void *more = arena_array(d->scratch, (size_t)n, item);
    if (!more) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (count) memcpy(more, data, (size_t)count * item);
    *cap = n;
    return more;
}

Ir *dec_emit(Decode *d, Handler fn, SgPipe pipe) {
    if (d->ir_count >= MAX_IR) dec_fail(d, ST_LIMIT, "more than %d records after inlining", MAX_IR);
    Ir *list = dec_grow(d, d->ir, d->ir_count, &d->ir_cap, sizeof *list);
    if (list) d->ir = list;
    Ir *const ir = d->status == ST_OK ? &d->ir[d->ir_count++] : &d->trash;
    *ir = (Ir){.fn = fn, .target = -1, .pipe = (uint8_t)pipe, .from = d->in, .table = -1};
    return ir;
}

Handler dec_lane(const Decode *d, int extra) {
    return d->handlers->lane_extra[extra];
}
Handler dec_tensor(const Decode *d, int extra) {
    return d->handlers->tensor_extra[extra];
}
Handler dec_control(int extra) {
    return sg_control_extras[extra];
}
Handler dec_form_handler(const Decode *d) {
    const int i = ptx_form_index(d->form);
    return d->form->group == PTX_LANE     ? d->handlers->lane[i]
           : d->form->group == PTX_TENSOR ? d->handlers->tensor[i]
                                          : sg_control_handlers[i];
}
SgPipe dec_pipe(const Decode *d) {
    static const char *const names[] = {
#define PIPE(name) #name,
        SG_PIPES
#undef PIPE
    };
    for (int i = 0; i < PIPE_COUNT; i++)
        if (strcmp(names[i], d->form->pipe) == 0) return (SgPipe)i;
    return PIPE_OTHER;
}

void dec_def(Ir *ir, int k, int vreg) {
    ir->o[k] = (uint32_t)vreg;
    ir->defs = (uint16_t)(ir->defs | 1u << k);
}
void dec_use(Ir *ir, int k, int vreg) {
    ir->o[k] = (uint32_t)vreg;
    ir->uses = (uint16_t)(ir->uses | 1u << k);
}

static int new_vreg(Decode *d, PtxClass class, VregKind kind, uint64_t value) {
    Vreg *list = dec_grow(d, d->vregs, d->vreg_count, &d->vreg_cap, sizeof *list);
    if (!list) return 0;
    d->vregs = list;
    list[d->vreg_count] = (Vreg){.class = (uint8_t) class, .kind = (uint8_t)kind, .value = value};
    return d->vreg_count++;
}

int dec_vreg(Decode *d, PtxClass class) {
    return new_vreg(d, class, VREG_PLAIN, 0);
}

static int interned(Decode *d, PtxClass class, VregKind kind, uint64_t value) {
    char key[48];
    snprintf(key, sizeof key, "%d %d %llx", (int)class, (int)kind, (unsigned long long)value);
    const intptr_t old = (intptr_t)map_get(d->constants, key);
    if (old) return (int)(old - 1);
    const int v = new_vreg(d, class, kind, value);
    if (!map_put(d->constants, key, (void *)(intptr_t)(v + 1)))
        dec_fail(d, ST_NO_MEMORY, "out of memory");
    return v;
}

int dec_constant(Decode *d, PtxClass class, uint64_t value) {
    return interned(d, class, VREG_CONST, class == PTX_B32 ? (uint32_t)value : value);
}

const PtxOperand *dec_operand(Decode *d, int i) {
    static const PtxOperand none = {.kind = PTX_NONE, .reg = -1, .second = -1};
    if (i < d->in->operand_count) return &d->in->operands[i];
    dec_fail(d, ST_SYNTAX, "operand %d is missing", i + 1);
    return &none;
}

int dec_reg(Decode *d, int reg) {
    const int alias = d->frame->alias[reg];
    return alias >= 0 ? alias : d->frame->vreg_base + reg;
}

PtxClass dec_class(Decode *d, const PtxOperand *o) {
    if (o->kind == PTX_REG) return (PtxClass)d->frame->func->regs[o->reg].class;
    if (o->kind == PTX_SPECIAL) return ptx_special_class(o->reg);
    return PTX_CLASS_COUNT;
}

static const char *const class_names[] = {"predicate", "32-bit", "64-bit", "no"};

static bool is_dynamic(int special) {
    return special >= PTX_SR_CLOCK && special <= PTX_SR_GLOBALTIMER_HI;
}

static int special_source(Decode *d, int special, PtxClass class) {
    if (!is_dynamic(special)) return interned(d, class, VREG_SPECIAL, (uint64_t)special);
    const int v = dec_vreg(d, class);
    Ir *ir = dec_emit(d, dec_control(CONTROL_special), PIPE_OTHER);
    dec_def(ir, 0, v);
    ir->o[1] = (uint32_t)special;
    return v;
}

static uint64_t float_bits(const PtxOperand *o, PtxClass class) {
    if (o->width == (class == PTX_B64 ? 64 : 32)) return (uint64_t)o->imm;
    double wide = 0;
    float narrow = 0;
    uint64_t bits = 0;
    if (o->width == 64) { /* a decimal constant in an f32 instruction */
        memcpy(&wide, &o->imm, 8);
        narrow = (float)wide;
        memcpy(&bits, &narrow, 4);
    } else {
        const uint32_t low = (uint32_t)o->imm;
        memcpy(&narrow, &low, 4);
        wide = (double)narrow;
        memcpy(&bits, &wide, 8);
    }
    return bits;
}

/* The operand `reg + constant`, which ptxas takes outside of addresses too. */
static int register_sum(Decode *d, const PtxOperand *o, PtxClass class) {
    if (class == PTX_PRED) dec_fail(d, ST_SYNTAX, "a predicate is not added to");
    const int offset = dec_constant(d, class, (uint64_t)o->imm), v = dec_vreg(d, class);
    Ir *const ir =
        dec_emit(d, dec_lane(d, class == PTX_B64 ? LANE_add_window : LANE_add_offset), PIPE_ALU);
    dec_def(ir, 0, v);
    dec_use(ir, 1, dec_reg(d, o->reg));
    dec_use(ir, 2, offset);
    return v;
}

/* Does `var` lie in the frame of a routine? */
static bool in_frame(const Decode *d, const PtxVar *var) {
    return d->routine && (var->space == PTX_LOCAL || (var->space == PTX_PARAM && !var->entry));
}

static int frame_address(Decode *d, uint64_t offset, PtxClass class) {
    const int wide = dec_vreg(d, PTX_B64);
    Ir *ir = dec_emit(d, dec_lane(d, LANE_add_window), PIPE_ALU);
    dec_def(ir, 0, wide);
    dec_use(ir, 1, d->frame_row);
    dec_use(ir, 2, dec_constant(d, PTX_B64, offset));
    if (class == PTX_B64) return wide;
    const int low = dec_vreg(d, PTX_B32), high = dec_vreg(d, PTX_B32);
    ir = dec_emit(d, dec_lane(d, LANE_unpack64), PIPE_MOVE);
    dec_def(ir, 0, low);
    dec_def(ir, 1, high);
    dec_use(ir, 2, wide);
    return low;
}

int dec_source(Decode *d, const PtxOperand *o, PtxClass class, bool is_float) {
    switch (o->kind) {
    case PTX_REG:
        if (dec_class(d, o) == class && o->second < 0)
            return o->imm ? register_sum(d, o, class) : dec_reg(d, o->reg);
        break;
    case PTX_SPECIAL:
        if (dec_class(d, o) == class || (class == PTX_B64 && dec_class(d, o) == PTX_B32))
            return special_source(d, o->reg, class);
        break;
    case PTX_INT:
        if (class != PTX_PRED && !is_float) return dec_constant(d, class, (uint64_t)o->imm);
        if (class == PTX_PRED) return dec_constant(d, class, o->imm ? UINT32_MAX : 0);
        break;
    case PTX_FLOAT:
        if (class != PTX_PRED) return dec_constant(d, class, float_bits(o, class));
        break;
    case PTX_SYMBOL:
        if (in_frame(d, o->var) && (class == PTX_B64 || class == PTX_B32))
            return frame_address(d, dec_symbol(d, o->var) + (uint64_t)o->imm, class);
        if (class == PTX_B64 || (class == PTX_B32 && o->var->space != PTX_GLOBAL))
            return dec_constant(d, class, dec_symbol(d, o->var) + (uint64_t)o->imm);
        break;
    case PTX_NAME: { /* a function's address */
        const uint64_t at = class == PTX_B64 ? sg_function_address(d->module, o->name) : 0;
        if (at) return dec_constant(d, class, at);
        break;
    }
    default: break;
    }
    dec_fail(d, ST_SYNTAX, "a source operand is not a %s %svalue", class_names[class],
             is_float ? "floating-point " : "");
    return 0;
}

int dec_dest(Decode *d, const PtxOperand *o, PtxClass class) {
    if (o->kind == PTX_NONE) return dec_vreg(d, class);
    if (o->kind == PTX_REG && dec_class(d, o) == class && !o->negate) return dec_reg(d, o->reg);
    dec_fail(d, ST_SYNTAX, "the destination is not a %s register", class_names[class]);
    return 0;
}

int dec_pred(Decode *d, const PtxOperand *o, uint32_t *negate) {
    *negate = o->negate ? UINT32_MAX : 0;
    return dec_source(d, o, PTX_PRED, false);
}

uint64_t dec_symbol(Decode *d, const PtxVar *var) {
    for (int i = d->binding_count - 1; i >= d->frame->binding_base; i--)
        if (d->bindings[i].var == var) return d->bindings[i].offset;
    if (var->space == PTX_PARAM) {
        if (var->entry) return var->offset;
        dec_fail(d, ST_UNSUPPORTED, "parameter '%s' is out of scope", var->name);
        return 0;
    }
    for (int i = 0; var->space == PTX_SHARED && i < d->shared_count; i++)
        if (d->shared[i].var == var) return d->shared[i].offset;
    if (var->space == PTX_GLOBAL || var->space == PTX_CONST)
        return sg_global_address(d->module, var);
    dec_fail(d, ST_INTERNAL, "variable '%s' has no place", var->name);
    return 0;
}

int dec_address(Decode *d, const PtxOperand *o, uint64_t *offset, const PtxVar **var) {
    *offset = (uint64_t)o->imm;
    *var = o->var;
    if (o->kind != PTX_ADDRESS || o->item_count) {
        dec_fail(d, ST_SYNTAX, "an address in brackets%s is expected",
                 o->item_count ? ", without coordinates," : "");
        return -1;
    }
    if (o->var) *offset += dec_symbol(d, o->var);
    if (o->reg < 0) return o->var && in_frame(d, o->var) ? d->frame_row : -1;
    if (d->frame->func->regs[o->reg].class == PTX_PRED)
        dec_fail(d, ST_SYNTAX, "a predicate is no address");
    return dec_reg(d, o->reg);
}

/* One operand by its shape letter into o[k]. */
static void shaped(Decode *d, Ir *ir, int k, char letter) {
    const PtxOperand *const o = dec_operand(d, k);
    uint32_t negate = 0;
    int v = 0;
    switch (letter) {
    case 'r': dec_def(ir, k, dec_dest(d, o, PTX_B32)); break;
    case 'R': dec_def(ir, k, dec_dest(d, o, PTX_B64)); break;
    case 'P': dec_def(ir, k, dec_dest(d, o, PTX_PRED)); break;
    case 'i':
        if (o->kind != PTX_INT) dec_fail(d, ST_SYNTAX, "operand %d is not an integer", k + 1);
        ir->o[k] = (uint32_t)o->imm;
        break;
    case 'p':
        v = dec_pred(d, o, &negate);
        dec_use(ir, k, v);
        ir->o[k + 4] = negate;
        break;
    default: {
        const bool is_float = letter == 'f' || letter == 'F';
        v = dec_source(d, o, letter == 'A' || letter == 'F' ? PTX_B64 : PTX_B32, is_float);
        dec_use(ir, k, v);
    }
    }
}

static FuseKind fuse_kind(const Decode *d) {
    static const struct {
        const char *base, *type;
        FuseKind kind;
    } rows[] = {{"mul", "f32", FUSE_FMUL},  {"add", "f32", FUSE_FADD}, {"sub", "f32", FUSE_FADD},
                {"shl", "b32", FUSE_IMUL},  {"mul", "s32", FUSE_IMUL}, {"mul", "u32", FUSE_IMUL},
                {"add", "s32", FUSE_IADD},  {"add", "u32", FUSE_IADD}, {"sub", "s32", FUSE_IADD},
                {"add", "s64", FUSE_IADD},  {"add", "u64", FUSE_IADD}, {"shl", "b64", FUSE_IMUL},
                {"and", "b32", FUSE_LOGIC}, {"or", "b32", FUSE_LOGIC}, {"xor", "b32", FUSE_LOGIC},
                {"not", "b32", FUSE_LOGIC}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ptx_words_are(&d->words, 0, rows[i].base) &&
            ptx_words_are(&d->words, d->words.count - 1, rows[i].type) &&
            !ptx_words_have(&d->words, "hi") && !ptx_words_have(&d->words, "wide"))
            return rows[i].kind;
    return FUSE_NONE;
}

static void emit_shape(Decode *d) {
    const char *const shape = d->form->shape;
    const int n = (int)strlen(shape);
    Ir tmp = {0};
    if (d->in->operand_count != n)
        dec_fail(d, ST_SYNTAX, "%d operands; it takes %d", d->in->operand_count, n);
    for (int k = 0; k < n && d->status == ST_OK; k++) shaped(d, &tmp, k, shape[k]);
    dec_overflow_check(d, &tmp);
    const Handler noisy = d->module->noise ? dec_noisy_handler(d) : NULL;
    Ir *const ir = dec_emit(d, noisy ? noisy : dec_form_handler(d), dec_pipe(d));
    memcpy(ir->o, tmp.o, sizeof ir->o);
    ir->defs = tmp.defs;
    ir->uses = tmp.uses;
    ir->fuse = (uint8_t)fuse_kind(d);
    if (d->form->group == PTX_CONTROL && dec_pipe(d) == PIPE_BRANCH) ir->ends = true; /* exit */
}

/* .sat of f32 and f64 works on the rounded result. */
static void emit_after(Decode *d) {
    if (!d->saturate || d->status != ST_OK) return;
    const Ir last = d->ir[d->ir_count - 1];
    if (!(last.defs & 1)) return;
    const bool wide = ptx_words_are(&d->words, d->words.count - 1, "f64");
    Ir *const ir = dec_emit(d, dec_lane(d, wide ? LANE_sat_f64 : LANE_sat_f32),
                            PIPE_MOVE); /* a modifier in hardware */
    dec_def(ir, 0, (int)last.o[0]);
    dec_use(ir, 1, (int)last.o[0]);
}

/* A form newer than the module's own .version or .target is refused, as ptxas does. */
static void check_needs(Decode *d) {
    const PtxWords words = d->words;
    const PtxNeeds needs = ptx_needs(&words);
    const SgModule *const m = d->module;
    if (needs.version > m->ptx->version)
        dec_fail(d, ST_UNSUPPORTED, "needs .version %d.%d or later; the module says %d.%d",
                 needs.version / 10, needs.version % 10, m->ptx->version / 10,
                 m->ptx->version % 10);
    else if (needs.target > m->target || (needs.special && !m->target_suffix))
        dec_fail(d, ST_UNSUPPORTED, "needs .target sm_%d%s or later; the module says %s",
                 needs.target, needs.special ? "a" : "", m->ptx->target);
}

static const PtxForm *find_form(Decode *d) {
    d->saturate = false;
    if (!ptx_words(d->in->form, &d->words)) return NULL;
    const PtxWords all = d->words;
    const char *const key = d->in->form;
    const PtxForm *form = map_get(d->forms, key);
    if (!form) check_needs(d);
    if (!form && ptx_refused(&all)) return NULL;
    if (!form) form = ptx_form_find(&all);
    if (!form) {
        const int type = d->words.count - 1;
        if (!ptx_words_have(&d->words, "sat") ||
            (!ptx_words_are(&all, type, "f32") && !ptx_words_are(&all, type, "f64")))
            return NULL;
        d->saturate = true;
        ptx_words_drop(&d->words, "sat");
        return ptx_form_find(&d->words);
    }
    if (!map_put(d->forms, key, (void *)(uintptr_t)form))
        dec_fail(d, ST_NO_MEMORY, "out of memory");
    return form;
}

static void instruction(Decode *d, const PtxInstr *in) {
    d->in = in;
    d->form = find_form(d);
    if (!d->form) {
        const char *const why = ptx_refused(&d->words);
        dec_fail(d, ST_UNSUPPORTED, "%s", why ? why : "this instruction is not emulated");
        return;
    }
    const int first = d->ir_count;
    /* Branches take their guards themselves. */
    const bool branch = d->form->group == PTX_CONTROL && d->form->shape[0] == '=' &&
                        strcmp(d->form->pipe, "BRANCH") == 0;
    if (in->guard >= 0 && !branch) {
        /* The guard goes before each record the instruction becomes, so decode it on the side. */
        const int v = dec_reg(d, in->guard);
        if (d->form->shape[0] == '=')
            dec_family(d);
        else
            emit_shape(d);
        emit_after(d);
        const int n = d->ir_count - first;
        if (d->status != ST_OK) return;
        for (int i = 0; i < n && d->status == ST_OK; i++) dec_emit(d, NULL, PIPE_MOVE);
        if (d->status != ST_OK) return;
        for (int i = n - 1; i >= 0; i--) {
            Ir *const at = &d->ir[first + 2 * i];
            at[1] = d->ir[first + i];
            at[1].guarded = true;
            at[0] = (Ir){.fn = dec_control(CONTROL_guard),
                         .target = -1,
                         .pipe = PIPE_MOVE,
                         .from = in,
                         .table = -1};
            dec_use(&at[0], 0, v);
            at[0].o[1] = in->guard_negate ? UINT32_MAX : 0;
        }
        return;
    }
    if (d->form->shape[0] == '=')
        dec_family(d);
    else
        emit_shape(d);
    emit_after(d);
}

static void count_defs(const PtxOperand *o, int *defs, int depth) {
    if (o->kind == PTX_REG) defs[o->reg]++;
    if ((o->kind == PTX_REG || o->kind == PTX_NONE) && o->second >= 0) defs[o->second]++;
    const bool items = o->kind == PTX_VECTOR || o->kind == PTX_LIST;
    for (int k = 0; items && depth < 8 && k < o->item_count; k++)
        count_defs(&o->items[k], defs, depth + 1);
}
/* Formals that are registers are written, or read, by the caller. */
static void count_formals(PtxVar *const *list, int n, int *defs) {
    for (int i = 0; i < n; i++)
        for (int k = 0; k < list[i]->reg_count; k++) defs[list[i]->reg + k]++;
}

/* Registers with one definition that is a plain mov of something constant or of another such
 * register need no row of their own: their uses read the source. A single definition reaches
 * every use, in loops too, or the program reads an undefined register. */
static int *find_aliases(Decode *d, const PtxFunc *f, int base) {
    int *const alias = arena_array(d->scratch, (size_t)f->reg_count + 1, sizeof *alias);
    int *const defs = arena_array(d->scratch, (size_t)f->reg_count + 1, sizeof *defs);
    if (!alias || !defs) {
        dec_fail(d, ST_NO_MEMORY, "out of memory");
        return NULL;
    }
    for (int i = 0; i < f->reg_count; i++) alias[i] = -1;
    for (int i = 0; i < f->instr_count; i++) {
        const PtxInstr *const in = &f->instrs[i];
        if (in->operand_count) count_defs(&in->operands[0], defs, 0);
    }
    count_formals(f->params, f->param_count, defs);
    count_formals(f->rets, f->ret_count, defs);
    for (int i = 0; i < f->instr_count; i++) {
        const PtxInstr *const in = &f->instrs[i];
        if (strncmp(in->form, "mov.", 4) != 0 || in->guard >= 0 || in->operand_count != 2) continue;
        const PtxOperand *const o = &in->operands[0], *const s = &in->operands[1];
        if (o->kind != PTX_REG || o->second >= 0 || defs[o->reg] != 1) continue;
        const PtxReg *const reg = &f->regs[o->reg];
        if (reg->class == PTX_PRED || s->negate || (s->kind == PTX_REG && s->imm)) continue;
        if (s->kind == PTX_REG && s->reg != o->reg && defs[s->reg] == 1 &&
            f->regs[s->reg].class == reg->class)
            alias[o->reg] = alias[s->reg] >= 0 ? alias[s->reg] : base + s->reg;
        else if (s->kind == PTX_INT)
            alias[o->reg] = dec_constant(d, (PtxClass)reg->class, (uint64_t)s->imm);
        else if (s->kind == PTX_FLOAT)
            alias[o->reg] =
                dec_constant(d, (PtxClass)reg->class, float_bits(s, (PtxClass)reg->class));
        else if (s->kind == PTX_SPECIAL && !is_dynamic(s->reg) &&
                 (ptx_special_class(s->reg) == (PtxClass)reg->class))
            alias[o->reg] = interned(d, (PtxClass)reg->class, VREG_SPECIAL, (uint64_t)s->reg);
    }
    return alias;
}

/* Branch targets become Ir indices once the frame's labels are known. */
static void patch(Decode *d, const Frame *frame, int first) {
    for (int i = first; i < d->ir_count; i++) {
        Ir *const ir = &d->ir[i];
        if (ir->target < 0 || ir->resolved) continue;
        if (ir->from < frame->func->instrs ||
            ir->from >= frame->func->instrs + frame->func->instr_count)
            continue; /* of a function inlined here: done */
        ir->target = frame->label[ir->target];
        for (int k = 0; ir->table >= 0 && k < ir->table_count; k++)
            d->jumps[ir->table + k] = frame->label[d->jumps[ir->table + k]];
    }
}

/* Formals of a routine that are registers, from or to what carries them. */
static void carry(Decode *d, const Routine *r, PtxVar *const *list, int n, bool in) {
    for (int i = 0; i < n && d->status == ST_OK; i++)
        for (int k = 0; k < list[i]->reg_count; k++) {
            const int reg = list[i]->reg + k, inside = d->frame->vreg_base + reg;
            dec_move(d, (PtxClass)r->func->regs[reg].class, in ? inside : r->carry[reg],
                     in ? r->carry[reg] : inside);
        }
}

static void end_function(Decode *d, const PtxFunc *f, const Routine *routine) {
    if (routine) carry(d, routine, f->rets, f->ret_count, false);
    const int extra = f->entry ? CONTROL_exit : routine ? CONTROL_ret : CONTROL_nop;
    Ir *const end = dec_emit(d, dec_control(extra), routine ? PIPE_BRANCH : PIPE_MOVE);
    end->ends = true;
    end->stays = f->entry || routine;
    if (routine) dec_use(end, 0, d->frame_row);
}

void dec_function(Decode *d, const PtxFunc *f, const uint64_t *args, const uint64_t *rets,
                  const Routine *routine) {
    Frame frame = {.func = f, .vreg_base = d->vreg_count, .binding_base = d->binding_count};
    for (int i = 0; i < f->reg_count && d->status == ST_OK; i++)
        dec_vreg(d, (PtxClass)f->regs[i].class);
    frame.label = arena_array(d->scratch, (size_t)f->instr_count + 1, sizeof *frame.label);
    Frame *const outer = d->frame;
    const PtxInstr *const in = d->in;
    d->frame = &frame;
    frame.alias = find_aliases(d, f, frame.vreg_base);
    dec_bind_variables(d, f, args, rets);
    const int first = d->ir_count;
    if (routine && f->instr_count) d->in = &f->instrs[0];
    if (routine) carry(d, routine, f->params, f->param_count, true);
    for (int i = 0; i < f->instr_count && d->status == ST_OK; i++) {
        frame.label[i] = d->ir_count;
        instruction(d, &f->instrs[i]);
        if (d->status == ST_OK && d->ir_count > frame.label[i])
            d->ir[frame.label[i]].begins |= d->ir[frame.label[i]].from == &f->instrs[i];
    }
    d->in = f->instr_count ? &f->instrs[f->instr_count - 1] : in;
    if (d->status == ST_OK) {
        frame.label[f->instr_count] = d->ir_count;
        if (f->entry) d->entry_label = frame.label;
        if (f->entry) dec_keep_variables(d, f);
        end_function(d, f, routine);
        patch(d, &frame, first);
    }
    d->binding_count = frame.binding_base;
    d->frame = outer;
    d->in = in;
}

Status sg_decode(SgModule *module, const PtxFunc *entry, SgKernel *kernel, Error *err) {
    Decode d = {
        .module = module, .entry = entry, .kernel = kernel, .err = err, .scratch = arena_new()};
    if (!d.scratch) return err_no_memory(err, 1);
    d.status = sg_handlers(module->checks & SG_CHECK_ACCESS, &d.handlers, err);
    d.constants = map_new(d.scratch);
    d.forms = map_new(d.scratch);
    if (!d.constants || !d.forms) dec_fail(&d, ST_NO_MEMORY, "out of memory");
    if (d.status == ST_OK) dec_calls(&d, entry);
    if (d.status == ST_OK) dec_layout_shared(&d, entry);
    dec_routines(&d);
    d.entry_first = d.ir_count;
    if (d.status == ST_OK) dec_function(&d, entry, NULL, NULL, NULL);
    dec_link_calls(&d);
    dec_overflow(&d);
    if (d.status == ST_OK) {
        kernel->info.static_smem = (int)d.shared_size;
        kernel->local_bytes = (uint32_t)((d.local_size + 15) & ~UINT64_C(15));
        kernel->info.local_bytes = (int)kernel->local_bytes;
        d.status = sg_flow(&d);
    }
    arena_free(d.scratch);
    return d.status;
}
