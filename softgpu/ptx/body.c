/* Function bodies: registers, scopes, labels, instructions, operands.
 *
 * A nested { } (inline assembly) opens a scope for registers, variables and labels. Label uses are
 * resolved when the function is complete, from the scope of the use outwards. */
#include "softgpu/ptx/parse_state.h"

#include <string.h>

static const struct {
    const char *name;
    uint8_t class, width;
} reg_types[] = {
    {".pred", PTX_PRED, 1},   {".b8", PTX_B32, 16},   {".u8", PTX_B32, 16},
    {".s8", PTX_B32, 16},     {".b16", PTX_B32, 16},  {".u16", PTX_B32, 16},
    {".s16", PTX_B32, 16},    {".f16", PTX_B32, 16},  {".b32", PTX_B32, 32},
    {".u32", PTX_B32, 32},    {".s32", PTX_B32, 32},  {".f32", PTX_B32, 32},
    {".b64", PTX_B64, 64},    {".u64", PTX_B64, 64},  {".s64", PTX_B64, 64},
    {".f64", PTX_B64, 64},    {".bf16", PTX_B32, 16}, {".f16x2", PTX_B32, 32},
    {".bf16x2", PTX_B32, 32}, {".b128", PTX_B64, 64},
};

typedef struct RegType {
    uint8_t class, width;
    int lanes;
} RegType;

static void declare(PtxParser *p, const RegType *type) {
    PtxDecl *decl = ptx_push(p, &p->decls);
    if (p->tok.kind != TOK_WORD || !decl) {
        ptx_fail(p, ST_SYNTAX, "register name expected");
        return;
    }
    *decl = (PtxDecl){p->tok.start, p->tok.length, p->regs.count, -1, type->lanes};
    ptx_next(p);
    int64_t n = 1;
    if (ptx_accept(p, '<')) {
        n = ptx_integer(p, "a register count");
        ptx_expect(p, '>');
        decl->count = (int)(n & INT32_MAX);
    }
    n *= n > PTX_MAX_REGS ? 1 : type->lanes;
    if (n < 0 || n > PTX_MAX_REGS - p->regs.count) {
        ptx_fail(p, ST_LIMIT, "more than %d registers in one function", PTX_MAX_REGS);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        PtxReg *reg = ptx_push(p, &p->regs);
        if (!reg) return;
        *reg = (PtxReg){type->class, type->width};
    }
}

/* .reg [.v2 | .v4] .type */
static RegType reg_type(PtxParser *p) {
    RegType type = {.lanes = 1};
    ptx_split(p);
    ptx_next(p);
    ptx_split(p);
    if (ptx_token_is(&p->tok, ".v2") || ptx_token_is(&p->tok, ".v4")) {
        type.lanes = p->tok.start[2] - '0';
        ptx_next(p);
    }
    for (size_t i = 0; i < sizeof reg_types / sizeof *reg_types; i++) {
        if (!ptx_token_is(&p->tok, reg_types[i].name)) continue;
        type.class = reg_types[i].class;
        type.width = reg_types[i].width;
        if (ptx_token_is(&p->tok, ".b128")) type.lanes *= 2; /* a pair of 64-bit registers */
        ptx_next(p);
        return type;
    }
    ptx_fail(p, ST_UNSUPPORTED, "register type '%.*s' is not emulated", (int)(p->tok.length & 63),
             p->tok.start);
    return type;
}

static void reg_directive(PtxParser *p) {
    const RegType type = reg_type(p);
    do declare(p, &type);
    while (p->status == ST_OK && ptx_accept(p, ','));
    ptx_expect(p, ';');
}

/* The registers of formals are declared when the body begins: until then `size` and `align` hold
 * their class and width. */
PtxVar *ptx_reg_formal(PtxParser *p) {
    const RegType type = reg_type(p);
    PtxVar *const var = ARENA_NEW(p->arena, PtxVar);
    if (!var) {
        ptx_fail(p, ST_NO_MEMORY, "out of memory");
        return NULL;
    }
    *var = (PtxVar){.name = ptx_word(p, "a register name"),
                    .space = PTX_PARAM,
                    .reg_count = type.lanes,
                    .size = type.class,
                    .align = type.width};
    return p->status == ST_OK ? var : NULL;
}

/* Registers of the function's formals, before its body. */
static void formal_regs(PtxParser *p) {
    const PtxFunc *const f = p->func;
    for (int i = 0; i < f->param_count + f->ret_count; i++) {
        PtxVar *const v = i < f->param_count ? f->params[i] : f->rets[i - f->param_count];
        if (!v->reg_count) continue;
        PtxDecl *const decl = ptx_push(p, &p->decls);
        v->reg = p->regs.count;
        if (decl) *decl = (PtxDecl){v->name, strlen(v->name), v->reg, -1, v->reg_count};
        for (int k = 0; k < v->reg_count; k++) {
            PtxReg *const reg = ptx_push(p, &p->regs);
            if (reg) *reg = (PtxReg){(uint8_t)v->size, (uint8_t)v->align};
        }
    }
}

/* Index of a declared register, innermost declaration first; -1 when there is none. `lanes`: of
 * the vector register that is named as a whole, else 1. */
static int find_lanes(const PtxParser *p, const char *name, size_t length, int *lanes) {
    const PtxDecl *decls = p->decls.data;
    *lanes = 1;
    for (int i = p->decls.count - 1; i >= 0; i--) {
        const PtxDecl *d = &decls[i];
        if (d->length > length || memcmp(d->name, name, d->length) != 0) continue;
        if (d->count < 0) {
            if (d->length != length) continue;
            *lanes = d->lanes;
            return d->first;
        }
        int64_t n = 0;
        size_t k = d->length;
        for (; k < length && name[k] >= '0' && name[k] <= '9' && n < PTX_MAX_REGS; k++)
            n = n * 10 + (name[k] - '0');
        if (k != length || k == d->length || n >= d->count) continue;
        *lanes = d->lanes;
        return d->first + (int)n * d->lanes;
    }
    return -1;
}

/* A scalar register, or one element of a vector register: name.x (y z w, r g b a). */
static int find_reg(const PtxParser *p, const char *name, size_t length) {
    static const char letters[] = "xyzwrgba";
    int lanes = 1;
    const int reg = find_lanes(p, name, length, &lanes);
    if (reg >= 0) return lanes == 1 ? reg : -1;
    if (length < 3 || name[length - 2] != '.') return -1;
    const char *const letter = memchr(letters, name[length - 1], sizeof letters - 1);
    const int first = letter ? find_lanes(p, name, length - 2, &lanes) : -1;
    const int k = letter ? (int)(letter - letters) & 3 : 0;
    return first >= 0 && k < lanes && lanes > 1 ? first + k : -1;
}

static const PtxVar *find_var(PtxParser *p, const char *name) {
    PtxVar **locals = p->local_vars.data;
    for (int i = p->local_vars.count - 1; i >= 0; i--)
        if (locals[i]->index >= 0 && strcmp(locals[i]->name, name) == 0) return locals[i];
    for (int i = 0; i < p->func->param_count; i++)
        if (!p->func->params[i]->reg_count && strcmp(p->func->params[i]->name, name) == 0)
            return p->func->params[i];
    for (int i = 0; i < p->func->ret_count; i++)
        if (!p->func->rets[i]->reg_count && strcmp(p->func->rets[i]->name, name) == 0)
            return p->func->rets[i];
    return map_get(p->vars, name);
}

/* "|%p" behind a destination, which may itself be the sink: d|p, d|_, _|p. */
static void second_operand(PtxParser *p, PtxOperand *o) {
    if (!ptx_accept(p, '|')) return;
    if (p->tok.kind == TOK_WORD) {
        o->second = find_reg(p, p->tok.start, p->tok.length);
        const bool sink = p->tok.length == 1 && p->tok.start[0] == '_';
        if (o->second >= 0 || sink) {
            ptx_next(p);
            return;
        }
    }
    ptx_fail(p, ST_SYNTAX, "register expected after '|'");
}

/* A word as operand: register, special register, variable, or a name resolved later. */
static void word_operand(PtxParser *p, PtxOperand *o) {
    const PtxToken t = p->tok;
    if (t.length == 1 && t.start[0] == '_') {
        ptx_next(p);
        o->kind = PTX_NONE;
        second_operand(p, o);
        return;
    }
    int lanes = 1;
    const int vector = find_lanes(p, t.start, t.length, &lanes);
    if (lanes > 1) { /* a whole vector register is the list of its elements */
        PtxList list = {.item = sizeof(PtxOperand)};
        for (int i = 0; i < lanes; i++) {
            PtxOperand *const item = ptx_push(p, &list);
            if (!item) return;
            *item = (PtxOperand){.kind = PTX_REG, .reg = vector + i, .second = -1};
        }
        o->kind = PTX_VECTOR;
        o->items = list.data;
        o->item_count = lanes;
        ptx_next(p);
        return;
    }
    o->reg = find_reg(p, t.start, t.length);
    if (o->reg >= 0) {
        o->kind = PTX_REG;
        ptx_next(p);
        if (ptx_accept(p, '+')) o->imm = ptx_integer(p, "an offset");
        second_operand(p, o);
        return;
    }
    const int special = ptx_special_find(t.start, t.length);
    if (special >= 0) {
        o->kind = PTX_SPECIAL;
        o->reg = special;
        ptx_next(p);
        return;
    }
    if (t.start[0] == '%') {
        ptx_fail(p, ST_SYNTAX, "'%.*s' is neither a declared register nor an emulated special one",
                 (int)(t.length & 63), t.start);
        return;
    }
    o->name = ptx_word(p, "an operand");
    o->var = o->name ? find_var(p, o->name) : NULL;
    o->kind = o->var ? PTX_SYMBOL : PTX_NAME;
    if (o->var && ptx_accept(p, '+')) o->imm = ptx_integer(p, "an offset");
}

static void operand(PtxParser *p, PtxOperand *o, int depth);

/* [base], or with coordinates behind it (tensor copies, textures), which nothing here executes:
 * dec_address refuses them. */
static void address_operand(PtxParser *p, PtxOperand *o, int depth) {
    o->kind = PTX_ADDRESS;
    if (p->tok.kind == TOK_WORD) {
        PtxOperand base = {.reg = -1, .second = -1};
        word_operand(p, &base);
        if (base.kind != PTX_REG && base.kind != PTX_SYMBOL) {
            ptx_fail(p, ST_SYNTAX, "'%s' is not an address", base.name ? base.name : "operand");
            return;
        }
        o->reg = base.kind == PTX_REG ? base.reg : -1;
        o->var = base.var;
        o->imm = base.imm;
        if (ptx_accept(p, '+'))
            o->imm += ptx_integer(p, "an offset");
        else if (ptx_at(p, '-'))
            o->imm += ptx_integer(p, "an offset");
    } else {
        o->imm = ptx_integer(p, "an address");
    }
    for (; p->status == ST_OK && ptx_accept(p, ','); o->item_count++) {
        PtxOperand coordinates;
        operand(p, &coordinates, depth + 1);
    }
    ptx_expect(p, ']');
}

static void items(PtxParser *p, PtxOperand *o, char close, int depth) {
    PtxList list = {.item = sizeof(PtxOperand)};
    while (p->status == ST_OK && !ptx_at(p, close)) {
        PtxOperand *item = ptx_push(p, &list);
        if (!item) return;
        operand(p, item, depth + 1);
        if (list.count > PTX_MAX_ITEMS) ptx_fail(p, ST_LIMIT, "more than 64 operands in a list");
        if (!ptx_accept(p, ',')) break;
    }
    ptx_expect(p, close);
    o->items = list.data;
    o->item_count = list.count;
}

static void number_operand(PtxParser *p, PtxOperand *o) {
    const bool minus = ptx_accept(p, '-');
    if (p->tok.kind == TOK_INT) {
        o->kind = PTX_INT;
        o->imm = (int64_t)(minus ? 0 - p->tok.value : p->tok.value);
    } else if (p->tok.kind == TOK_F32 || p->tok.kind == TOK_F64) {
        o->kind = PTX_FLOAT;
        o->width = p->tok.kind == TOK_F32 ? 32 : 64;
        o->imm = (int64_t)(p->tok.value ^ (minus ? UINT64_C(1) << (o->width - 1) : 0));
    } else {
        ptx_fail(p, ST_SYNTAX, "operand expected");
        return;
    }
    ptx_next(p);
}

static void operand(PtxParser *p, PtxOperand *o, int depth) {
    *o = (PtxOperand){.reg = -1, .second = -1};
    if (depth > 4) {
        ptx_fail(p, ST_LIMIT, "operands nested deeper than 4");
    } else if (ptx_accept(p, '[')) {
        address_operand(p, o, depth);
    } else if (ptx_accept(p, '{')) {
        o->kind = PTX_VECTOR;
        items(p, o, '}', depth);
    } else if (ptx_accept(p, '(')) {
        o->kind = PTX_LIST;
        items(p, o, ')', depth);
    } else if (ptx_accept(p, '!')) {
        if (p->tok.kind != TOK_WORD) {
            ptx_fail(p, ST_SYNTAX, "predicate expected after '!'");
            return;
        }
        word_operand(p, o);
        o->negate = true;
        if (o->kind != PTX_REG) ptx_fail(p, ST_SYNTAX, "predicate expected after '!'");
    } else if (p->tok.kind == TOK_WORD) {
        word_operand(p, o);
    } else {
        number_operand(p, o);
    }
}

static void use_label(PtxParser *p, const char *name, int line, int *where, bool table) {
    PtxUse *use = ptx_push(p, &p->uses);
    if (use) *use = (PtxUse){name, strlen(name), p->scope, line, where, table};
}

static void guard(PtxParser *p, PtxInstr *in) {
    in->guard_negate = ptx_accept(p, '!');
    if (p->tok.kind == TOK_WORD) in->guard = find_reg(p, p->tok.start, p->tok.length);
    if (in->guard < 0 || ((PtxReg *)p->regs.data)[in->guard].class != PTX_PRED)
        ptx_fail(p, ST_SYNTAX, "guard is not a predicate register");
    ptx_next(p);
}

static bool starts(const char *form, const char *base) {
    const size_t n = strlen(base);
    return strncmp(form, base, n) == 0 && (form[n] == '\0' || form[n] == '.');
}

static void instruction(PtxParser *p) {
    PtxInstr in = {.guard = -1,
                   .line = p->tok.line,
                   .loc_file = p->loc_file,
                   .loc_line = p->loc_line,
                   .call_file = p->call_file,
                   .call_line = p->call_line};
    if (ptx_accept(p, '@')) guard(p, &in);
    in.form = ptx_word(p, "an instruction");
    if (p->status != ST_OK) return;
    PtxList list = {.item = sizeof(PtxOperand)};
    while (p->status == ST_OK && !ptx_at(p, ';')) {
        PtxOperand *o = ptx_push(p, &list);
        if (!o) return;
        operand(p, o, 0);
        if (list.count > PTX_MAX_OPERANDS) ptx_fail(p, ST_LIMIT, "more than 12 operands");
        if (!ptx_accept(p, ',')) break;
    }
    ptx_expect(p, ';');
    in.operands = list.data;
    in.operand_count = list.count;
    const bool jump = starts(in.form, "bra") || starts(in.form, "brx");
    for (int i = 0; jump && i < in.operand_count; i++) {
        PtxOperand *o = &in.operands[i];
        if (o->kind != PTX_NAME) continue;
        o->kind = PTX_LABEL;
        use_label(p, o->name, in.line, &o->reg, starts(in.form, "brx"));
    }
    if (p->instrs.count >= PTX_MAX_INSTRS) ptx_fail(p, ST_LIMIT, "function too long");
    PtxInstr *slot = ptx_push(p, &p->instrs);
    if (slot) *slot = in;
}

static void branch_targets(PtxParser *p, PtxLabel *label) {
    ptx_next(p);
    PtxList names = {.item = sizeof(char *)};
    do {
        char **slot = ptx_push(p, &names);
        char *name = ptx_word(p, "a label");
        if (slot) *slot = name;
    } while (p->status == ST_OK && ptx_accept(p, ','));
    ptx_expect(p, ';');
    label->table = true;
    label->target = p->tables.count;
    PtxTable *table = ptx_push(p, &p->tables);
    int *targets = ARENA_ARRAY(p->arena, int, (size_t)names.count);
    if (!table || !targets || p->status != ST_OK) {
        ptx_fail(p, ST_NO_MEMORY, "out of memory");
        return;
    }
    *table = (PtxTable){targets, names.count};
    for (int i = 0; i < names.count; i++)
        use_label(p, ((char **)names.data)[i], p->tok.line, &targets[i], false);
}

/* name: .callprototype [(rets)] _ [(params)] [.noreturn]; or name: .calltargets f, g; */
static void prototype(PtxParser *p, const char *name) {
    PtxProto *const proto = ptx_push(p, &p->protos);
    PtxList targets = {.item = sizeof(char *)};
    if (!proto) return;
    *proto = (PtxProto){.name = name};
    if (ptx_token_is(&p->tok, ".calltargets")) {
        ptx_next(p);
        do {
            char **const slot = ptx_push(p, &targets);
            char *const target = ptx_word(p, "a function");
            if (slot) *slot = target;
        } while (p->status == ST_OK && ptx_accept(p, ','));
        proto->targets = targets.data;
        proto->target_count = targets.count;
    } else {
        ptx_next(p);
        if (ptx_at(p, '(')) proto->ret_count = ptx_formals(p, &proto->rets, false);
        ptx_word(p, "'_'");
        if (ptx_at(p, '(')) proto->param_count = ptx_formals(p, &proto->params, false);
        if (ptx_token_is(&p->tok, ".noreturn")) ptx_next(p);
    }
    ptx_expect(p, ';');
}

/* A word followed by ':' is a label. The lexer never joins a single ':' to a word. */
static bool label(PtxParser *p) {
    const PtxToken t = p->tok;
    const char *q = t.start + t.length;
    while (q < p->lexer.end && (*q == ' ' || *q == '\t')) q++;
    if (t.kind != TOK_WORD || t.start[0] == '.' || q >= p->lexer.end || *q != ':') return false;
    ptx_next(p);
    ptx_expect(p, ':');
    if (ptx_token_is(&p->tok, ".callprototype") || ptx_token_is(&p->tok, ".calltargets")) {
        char *const name = arena_strndup(p->arena, t.start, t.length);
        if (!name) ptx_fail(p, ST_NO_MEMORY, "out of memory");
        prototype(p, name);
        return true;
    }
    PtxLabel *l = ptx_push(p, &p->labels);
    if (!l) return true;
    *l = (PtxLabel){t.start, t.length, p->scope, p->instrs.count, false};
    if (ptx_token_is(&p->tok, ".branchtargets")) branch_targets(p, l);
    return true;
}

static void loc_position(PtxParser *p, int *to_file, int *to_line) {
    const int64_t file = ptx_integer(p, "a file number");
    const int64_t line = ptx_integer(p, "a line");
    ptx_integer(p, "a column");
    *to_file = file > 0 && file < PTX_MAX_FILES ? (int)file : 0;
    *to_line = (int)(line & INT32_MAX);
}

void ptx_loc(PtxParser *p) {
    ptx_next(p);
    loc_position(p, &p->loc_file, &p->loc_line);
    p->call_file = p->call_line = 0;
    if (!ptx_accept(p, ',')) return;
    if (!ptx_token_is(&p->tok, "function_name")) ptx_fail(p, ST_SYNTAX, "function_name expected");
    ptx_next(p);
    ptx_word(p, "a label");
    if (ptx_accept(p, '+')) ptx_integer(p, "an offset");
    if (!ptx_accept(p, ',')) return;
    if (!ptx_token_is(&p->tok, "inlined_at")) ptx_fail(p, ST_SYNTAX, "inlined_at expected");
    ptx_next(p);
    loc_position(p, &p->call_file, &p->call_line);
}

static void body_variable(PtxParser *p, PtxSpace space) {
    ptx_next(p);
    PtxVar *var = ptx_variable(p, space, false);
    ptx_expect(p, ';');
    const bool global = space == PTX_GLOBAL || space == PTX_CONST; /* lives with the module's */
    PtxList *const list = global ? &p->module_vars : &p->local_vars;
    if (var && global && map_has(p->vars, var->name))
        ptx_fail(p, ST_SYNTAX, "'%s' is declared twice", var->name);
    PtxVar **slot = ptx_push(p, list);
    if (!var || !slot) return;
    var->index = list->count - 1;
    *slot = var;
    if (global && !map_put(p->vars, var->name, var)) ptx_fail(p, ST_NO_MEMORY, "out of memory");
}

static void open_scope(PtxParser *p) {
    ptx_next(p);
    if (p->depth + 1 >= PTX_MAX_DEPTH) {
        ptx_fail(p, ST_LIMIT, "blocks nested deeper than %d", PTX_MAX_DEPTH);
        return;
    }
    p->decl_base[p->depth] = p->decls.count;
    p->var_base[p->depth] = p->local_vars.count;
    p->depth++;
    int *parent = ptx_push(p, &p->scopes);
    if (!parent) return;
    *parent = p->scope;
    p->scope = p->scopes.count - 1;
}

static void close_scope(PtxParser *p) {
    p->depth--;
    p->decls.count = p->decl_base[p->depth];
    PtxVar **locals = p->local_vars.data; /* kept for the layout, hidden from lookup */
    for (int i = p->var_base[p->depth]; i < p->local_vars.count; i++) locals[i]->index = -1;
    p->scope = ((int *)p->scopes.data)[p->scope];
    if (p->depth > 0) ptx_next(p); /* the last brace is consumed by the caller */
}

static void statement(PtxParser *p) {
    PtxSpace space;
    ptx_split(p);
    if (ptx_at(p, '{')) {
        open_scope(p);
    } else if (ptx_at(p, '}')) {
        close_scope(p);
    } else if (ptx_accept(p, ';')) {
        return;
    } else if (ptx_token_is(&p->tok, ".reg")) {
        reg_directive(p);
    } else if (ptx_token_is(&p->tok, ".loc")) {
        ptx_loc(p);
    } else if (ptx_token_is(&p->tok, ".pragma")) {
        while (p->status == ST_OK && p->tok.kind != TOK_END && !ptx_at(p, ';')) ptx_next(p);
        ptx_expect(p, ';');
    } else if (ptx_space_word(&p->tok, &space)) {
        body_variable(p, space);
    } else if (!label(p)) {
        if (p->tok.kind == TOK_WORD && p->tok.start[0] == '.')
            ptx_fail(p, ST_UNSUPPORTED, "directive '%.*s' is not emulated in a function",
                     (int)(p->tok.length & 63), p->tok.start);
        else
            instruction(p);
    }
}

static void resolve(PtxParser *p, const PtxUse *use) {
    const PtxLabel *labels = p->labels.data;
    for (int scope = use->scope; scope >= 0; scope = ((int *)p->scopes.data)[scope])
        for (int i = 0; i < p->labels.count; i++) {
            const PtxLabel *l = &labels[i];
            if (l->scope != scope || l->table != use->table || l->length != use->length ||
                memcmp(l->name, use->name, l->length) != 0)
                continue;
            *use->where = l->target;
            return;
        }
    p->tok.line = use->line;
    ptx_fail(p, ST_SYNTAX, "label '%s' does not exist", use->name);
}

void ptx_body(PtxParser *p) {
    p->regs = (PtxList){.item = sizeof(PtxReg)};
    p->instrs = (PtxList){.item = sizeof(PtxInstr)};
    p->decls = (PtxList){.item = sizeof(PtxDecl)};
    p->labels = (PtxList){.item = sizeof(PtxLabel)};
    p->uses = (PtxList){.item = sizeof(PtxUse)};
    p->local_vars = (PtxList){.item = sizeof(PtxVar *)};
    p->tables = (PtxList){.item = sizeof(PtxTable)};
    p->scopes = (PtxList){.item = sizeof(int)};
    p->protos = (PtxList){.item = sizeof(PtxProto)};
    p->scope = -1;
    p->depth = 0;
    p->loc_file = p->loc_line = p->call_file = p->call_line = 0;
    open_scope(p);
    formal_regs(p);
    while (p->status == ST_OK && p->depth > 0) {
        if (p->tok.kind == TOK_END)
            ptx_fail(p, ST_SYNTAX, "function body is not closed");
        else
            statement(p);
    }
    ptx_expect(p, '}');
    for (int i = 0; p->status == ST_OK && i < p->uses.count; i++)
        resolve(p, &((PtxUse *)p->uses.data)[i]);
    PtxFunc *f = p->func;
    f->regs = p->regs.data;
    f->reg_count = p->regs.count;
    f->instrs = p->instrs.data;
    f->instr_count = p->instrs.count;
    f->tables = p->tables.data;
    f->table_count = p->tables.count;
    f->protos = p->protos.data;
    f->proto_count = p->protos.count;
    f->vars = p->local_vars.data;
    f->var_count = p->local_vars.count;
    for (int i = 0; i < f->var_count; i++) f->vars[i]->index = i;
}
