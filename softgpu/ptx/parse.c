/* Module-level PTX: directives, variables, function headers. The body is body.c's. */
#include "softgpu/ptx/parse_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void ptx_fail(PtxParser *p, Status status, const char *fmt, ...) {
    if (p->status != ST_OK) return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    p->status = err_set(p->err, status, "PTX line %d: %s", p->tok.line, text);
    p->tok = (PtxToken){.kind = TOK_END, .start = "", .line = p->tok.line};
    p->lexer.p = p->lexer.end;
}

void ptx_next(PtxParser *p) {
    if (p->status != ST_OK) return;
    p->tok = ptx_lex(&p->lexer);
    if (p->tok.kind == TOK_BAD) ptx_fail(p, ST_SYNTAX, "malformed number or string");
}

void ptx_split(PtxParser *p) {
    if (p->tok.kind != TOK_WORD || p->tok.length < 2 || p->tok.start[0] != '.') return;
    const char *const dot = memchr(p->tok.start + 1, '.', p->tok.length - 1);
    if (!dot) return;
    p->tok.length = (size_t)(dot - p->tok.start);
    p->lexer.p = dot;
}

bool ptx_at(const PtxParser *p, char punct) {
    return p->tok.kind == TOK_PUNCT && p->tok.value == (unsigned char)punct;
}

bool ptx_accept(PtxParser *p, char punct) {
    if (!ptx_at(p, punct)) return false;
    ptx_next(p);
    return true;
}

bool ptx_expect(PtxParser *p, char punct) {
    if (ptx_accept(p, punct)) return true;
    const int n = p->tok.length < 40 ? (int)p->tok.length : 40;
    if (p->tok.kind == TOK_END)
        ptx_fail(p, ST_SYNTAX, "'%c' expected at the end of text", punct);
    else
        ptx_fail(p, ST_SYNTAX, "'%c' expected before '%.*s'", punct, n, p->tok.start);
    return false;
}

char *ptx_word(PtxParser *p, const char *what) {
    if (p->tok.kind != TOK_WORD) {
        ptx_fail(p, ST_SYNTAX, "%s expected", what);
        return NULL;
    }
    char *s = arena_strndup(p->arena, p->tok.start, p->tok.length);
    if (!s) ptx_fail(p, ST_NO_MEMORY, "out of memory");
    ptx_next(p);
    return s;
}

int64_t ptx_integer(PtxParser *p, const char *what) {
    const bool minus = ptx_accept(p, '-');
    if (p->tok.kind != TOK_INT) {
        ptx_fail(p, ST_SYNTAX, "%s expected", what);
        return 0;
    }
    const uint64_t v = p->tok.value;
    ptx_next(p);
    return (int64_t)(minus ? 0 - v : v);
}

void *ptx_push(PtxParser *p, PtxList *list) {
    if (p->status != ST_OK) return NULL;
    if (list->count == list->cap) {
        const int cap = list->cap ? list->cap * 2 : 16;
        void *data = arena_array(p->arena, (size_t)cap, list->item);
        if (!data) {
            ptx_fail(p, ST_NO_MEMORY, "out of memory");
            return NULL;
        }
        if (list->count) memcpy(data, list->data, (size_t)list->count * list->item);
        list->data = data;
        list->cap = cap;
    }
    return (char *)list->data + (size_t)list->count++ * list->item;
}

/* ".b32" -> 4, 0 when no type */
static int type_bytes(const char *type, size_t length) {
    static const struct {
        const char *name;
        int bytes;
    } types[] = {{".b8", 1},   {".u8", 1},    {".s8", 1},    {".b16", 2}, {".u16", 2},
                 {".s16", 2},  {".f16", 2},   {".b32", 4},   {".u32", 4}, {".s32", 4},
                 {".f32", 4},  {".b64", 8},   {".u64", 8},   {".s64", 8}, {".f64", 8},
                 {".bf16", 2}, {".f16x2", 4}, {".bf16x2", 4}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strlen(types[i].name) == length && memcmp(types[i].name, type, length) == 0)
            return types[i].bytes;
    return 0;
}

bool ptx_space_word(const PtxToken *tok, PtxSpace *space) {
    static const struct {
        const char *word;
        PtxSpace space;
    } words[] = {{".global", PTX_GLOBAL},
                 {".const", PTX_CONST},
                 {".shared", PTX_SHARED},
                 {".local", PTX_LOCAL},
                 {".param", PTX_PARAM}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ptx_token_is(tok, words[i].word)) {
            *space = words[i].space;
            return true;
        }
    return false;
}

static void init_scalar(PtxParser *p, PtxVar *var, uint64_t at, int bytes, PtxList *relocs) {
    if (at + (uint64_t)bytes > var->size) {
        ptx_fail(p, ST_SYNTAX, "too many initial values for '%s'", var->name);
        return;
    }
    if (p->tok.kind == TOK_WORD) { /* the address of a variable, or generic(variable) */
        bool generic = ptx_token_is(&p->tok, "generic");
        char *name = ptx_word(p, "a name");
        if (generic && ptx_expect(p, '(')) {
            name = ptx_word(p, "a name");
            ptx_expect(p, ')');
        }
        const int64_t addend = ptx_accept(p, '+') ? ptx_integer(p, "an offset") : 0;
        PtxReloc *reloc = ptx_push(p, relocs);
        const PtxVar *target = name ? map_get(p->vars, name) : NULL;
        if (bytes != 8) ptx_fail(p, ST_SYNTAX, "bad address in an initial value");
        if (reloc) /* what is no variable here must be a function when the module is complete */
            *reloc = (PtxReloc){.offset = at,
                                .target = target,
                                .func = target ? NULL : name,
                                .addend = addend,
                                .generic = generic};
        return;
    }
    const bool minus = ptx_accept(p, '-');
    uint64_t bits = p->tok.value;
    if (p->tok.kind == TOK_INT)
        bits = minus ? 0 - bits : bits;
    else if (p->tok.kind == TOK_F32)
        bits ^= minus ? UINT64_C(1) << 31 : 0;
    else if (p->tok.kind == TOK_F64)
        bits ^= minus ? UINT64_C(1) << 63 : 0;
    else
        ptx_fail(p, ST_SYNTAX, "initial value expected");
    for (int i = 0; i < bytes && p->status == ST_OK; i++)
        var->init[at + (uint64_t)i] = (uint8_t)(bits >> (8 * i));
    ptx_next(p);
}

static void init_list(PtxParser *p, PtxVar *var, uint64_t *at, int bytes, PtxList *relocs,
                      int depth) {
    if (depth > 8) {
        ptx_fail(p, ST_LIMIT, "initial values nested deeper than 8");
        return;
    }
    if (!ptx_expect(p, '{')) return;
    while (p->status == ST_OK && !ptx_at(p, '}')) {
        if (ptx_at(p, '{')) {
            init_list(p, var, at, bytes, relocs, depth + 1);
        } else {
            init_scalar(p, var, *at, bytes, relocs);
            *at += (uint64_t)bytes;
        }
        if (!ptx_accept(p, ',')) break;
    }
    ptx_expect(p, '}');
}

static void variable_init(PtxParser *p, PtxVar *var, int bytes) {
    if (!ptx_accept(p, '=')) return;
    if (var->size > (64u << 20)) {
        ptx_fail(p, ST_LIMIT, "'%s': initialised variables above 64 MiB", var->name);
        return;
    }
    PtxList relocs = {.item = sizeof(PtxReloc)};
    var->init = arena_alloc(p->arena, var->size ? (size_t)var->size : 1);
    if (!var->init) {
        ptx_fail(p, ST_NO_MEMORY, "out of memory");
        return;
    }
    uint64_t at = 0;
    if (ptx_at(p, '{'))
        init_list(p, var, &at, bytes, &relocs, 0);
    else
        init_scalar(p, var, 0, bytes, &relocs);
    var->relocs = relocs.data;
    var->reloc_count = (size_t)relocs.count;
}

/* Dimensions after the name; the first may be empty (extern arrays, initialised ones). */
static uint64_t variable_size(PtxParser *p, const char *name, uint64_t bytes) {
    const uint64_t limit = UINT64_C(1) << 40;
    while (ptx_accept(p, '[')) {
        if (ptx_accept(p, ']')) {
            bytes = 0;
            continue;
        }
        const int64_t n = ptx_integer(p, "array size");
        ptx_expect(p, ']');
        if (n < 0 || (bytes && (uint64_t)n > limit / bytes)) {
            ptx_fail(p, ST_LIMIT, "'%s' is too large", name);
            return 0;
        }
        bytes *= (uint64_t)n;
    }
    return bytes;
}

PtxVar *ptx_variable(PtxParser *p, PtxSpace space, bool external) {
    PtxVar *var = ARENA_NEW(p->arena, PtxVar);
    if (!var) {
        ptx_fail(p, ST_NO_MEMORY, "out of memory");
        return NULL;
    }
    var->space = space;
    var->external = external;
    uint64_t vector = 1, bytes = 0;
    while (p->tok.kind == TOK_WORD && p->tok.start[0] == '.') {
        ptx_split(p);
        const int type = type_bytes(p->tok.start, p->tok.length);
        if (ptx_token_is(&p->tok, ".align")) {
            ptx_next(p);
            const int64_t a = ptx_integer(p, "alignment");
            if (a < 1 || a > 4096 || (a & (a - 1))) ptx_fail(p, ST_SYNTAX, "bad alignment");
            var->align = (uint32_t)a;
            continue;
        }
        if (ptx_token_is(&p->tok, ".v2"))
            vector = 2;
        else if (ptx_token_is(&p->tok, ".v4"))
            vector = 4;
        else if (type)
            bytes = (uint64_t)type;
        else if (!ptx_token_is(&p->tok, ".ptr") && !ptx_token_is(&p->tok, ".global") &&
                 !ptx_token_is(&p->tok, ".const") && !ptx_token_is(&p->tok, ".shared") &&
                 !ptx_token_is(&p->tok, ".local") && !ptx_token_is(&p->tok, ".managed") &&
                 !ptx_token_is(&p->tok, ".attribute"))
            ptx_fail(p, ST_SYNTAX, "unknown type '%.*s'", (int)(p->tok.length & 63), p->tok.start);
        const bool pointer = ptx_token_is(&p->tok, ".ptr");
        ptx_next(p);
        if (pointer) { /* .ptr [.space] .align N: a promise about the pointee, not the parameter */
            PtxSpace ignored;
            if (ptx_space_word(&p->tok, &ignored)) ptx_next(p);
            if (ptx_token_is(&p->tok, ".align")) {
                ptx_next(p);
                ptx_integer(p, "alignment");
            }
        }
    }
    var->name = ptx_word(p, "a variable name");
    if (!bytes) ptx_fail(p, ST_SYNTAX, "variable without a type");
    if (p->status != ST_OK) return NULL;
    if (!var->align) var->align = (uint32_t)(bytes * vector);
    var->size = variable_size(p, var->name, bytes * vector);
    variable_init(p, var, (int)bytes);
    return p->status == ST_OK ? var : NULL;
}

static void module_variable(PtxParser *p, PtxSpace space, bool external) {
    ptx_next(p);
    PtxVar *var = ptx_variable(p, space, external);
    ptx_expect(p, ';');
    if (!var || p->status != ST_OK) return;
    if (map_has(p->vars, var->name)) {
        ptx_fail(p, ST_SYNTAX, "'%s' is declared twice", var->name);
        return;
    }
    PtxVar **slot = ptx_push(p, &p->module_vars);
    if (!slot) return;
    var->index = p->module_vars.count - 1;
    *slot = var;
    if (!map_put(p->vars, var->name, var)) ptx_fail(p, ST_NO_MEMORY, "out of memory");
}

int ptx_formals(PtxParser *p, PtxVar ***out, bool entry) {
    PtxList list = {.item = sizeof(PtxVar *)};
    ptx_expect(p, '(');
    while (p->status == ST_OK && !ptx_at(p, ')')) {
        ptx_split(p);
        const bool reg = ptx_token_is(&p->tok, ".reg");
        if (!ptx_token_is(&p->tok, ".param") && (entry || !reg)) {
            ptx_fail(p, ST_SYNTAX, "a parameter starts with .param");
            break;
        }
        if (!reg) ptx_next(p);
        PtxVar *var = reg ? ptx_reg_formal(p) : ptx_variable(p, PTX_PARAM, false);
        PtxVar **slot = ptx_push(p, &list);
        if (!var || !slot) break;
        var->formal = true;
        var->entry = entry;
        var->index = list.count - 1;
        *slot = var;
        if (list.count > PTX_MAX_PARAMS) ptx_fail(p, ST_LIMIT, "more than 256 parameters");
        if (!ptx_accept(p, ',')) break;
    }
    ptx_expect(p, ')');
    *out = list.data;
    return list.count;
}

static void triple(PtxParser *p, int out[3]) {
    for (int i = 0; i < 3; i++) {
        const int64_t v = i == 0 || ptx_accept(p, ',') ? ptx_integer(p, "a dimension") : 1;
        if (v < 1 || v > INT32_MAX) ptx_fail(p, ST_SYNTAX, "bad dimension");
        out[i] = (int)v;
    }
}

/* Performance directives between header and body (PTX ISA 11.4). */
static void function_directives(PtxParser *p, PtxFunc *f) {
    while (p->tok.kind == TOK_WORD) {
        if (ptx_token_is(&p->tok, ".maxntid")) {
            ptx_next(p);
            triple(p, f->maxntid);
        } else if (ptx_token_is(&p->tok, ".reqntid")) {
            ptx_next(p);
            triple(p, f->reqntid);
        } else if (ptx_token_is(&p->tok, ".minnctapersm")) {
            ptx_next(p);
            f->min_blocks = (int)(ptx_integer(p, "a count") & 0xffff);
        } else if (ptx_token_is(&p->tok, ".maxnreg")) {
            ptx_next(p);
            f->max_registers = (int)(ptx_integer(p, "a count") & 0xffff);
        } else if (ptx_token_is(&p->tok, ".maxnctapersm")) {
            ptx_next(p);
            ptx_integer(p, "a count");
        } else if (ptx_token_is(&p->tok, ".pragma")) {
            while (p->status == ST_OK && p->tok.kind != TOK_END && !ptx_at(p, ';')) ptx_next(p);
            ptx_expect(p, ';');
        } else if (ptx_token_is(&p->tok, ".noreturn")) {
            ptx_next(p);
        } else {
            ptx_fail(p, ST_UNSUPPORTED, "function directive '%.*s' is not emulated",
                     (int)(p->tok.length & 63), p->tok.start);
        }
    }
}

static void function(PtxParser *p, bool entry) {
    ptx_next(p);
    PtxFunc *f = ARENA_NEW(p->arena, PtxFunc);
    if (!f) {
        ptx_fail(p, ST_NO_MEMORY, "out of memory");
        return;
    }
    f->entry = entry;
    f->line = p->tok.line;
    if (!entry && ptx_at(p, '(')) f->ret_count = ptx_formals(p, &f->rets, false);
    f->name = ptx_word(p, "a function name");
    if (ptx_at(p, '(')) f->param_count = ptx_formals(p, &f->params, entry);
    function_directives(p, f);
    if (p->status != ST_OK) return;
    const PtxFunc *old = map_get(p->funcs, f->name);
    if (old && old->body && ptx_at(p, '{')) {
        ptx_fail(p, ST_SYNTAX, "'%s' is defined twice", f->name);
        return;
    }
    if (ptx_at(p, '{')) {
        f->body = true;
        p->func = f;
        ptx_body(p);
        p->func = NULL;
    } else {
        ptx_expect(p, ';');
    }
    if (p->status != ST_OK || (old && old->body)) return;
    PtxFunc **slot = ptx_push(p, &p->module_funcs);
    if (slot) *slot = f;
    if (!map_put(p->funcs, f->name, f)) ptx_fail(p, ST_NO_MEMORY, "out of memory");
}

static void file_directive(PtxParser *p) {
    ptx_next(p);
    const int64_t n = ptx_integer(p, "a file number");
    if (p->tok.kind != TOK_STRING || n < 0 || n >= PTX_MAX_FILES) {
        ptx_fail(p, ST_SYNTAX, "bad .file");
        return;
    }
    while (p->files.count <= n)
        if (!ptx_push(p, &p->files)) return;
    ((const char **)p->files.data)[n] = arena_strndup(p->arena, p->tok.start, p->tok.length);
    ptx_next(p);
    while (ptx_accept(p, ',')) ptx_integer(p, "a number"); /* timestamp, size */
}

/* .section NAME { ... }: debug information; nothing in it changes what is computed. */
static void section(PtxParser *p) {
    ptx_next(p);
    ptx_word(p, "a section name");
    if (!ptx_expect(p, '{')) return;
    while (p->status == ST_OK && p->tok.kind != TOK_END && !ptx_at(p, '}')) ptx_next(p);
    ptx_expect(p, '}');
}

static void version(PtxParser *p) {
    ptx_next(p);
    double v = 0;
    if (p->tok.kind != TOK_F64) {
        ptx_fail(p, ST_SYNTAX, ".version M.N expected");
        return;
    }
    memcpy(&v, &p->tok.value, sizeof v);
    if (!(v >= 1.0 && v < 100.0))
        ptx_fail(p, ST_SYNTAX, "bad .version");
    else
        p->module->version = (int)(v * 10 + 0.5);
    ptx_next(p);
}

static void target(PtxParser *p) {
    ptx_next(p);
    p->module->target = ptx_word(p, "a target");
    while (ptx_accept(p, ',')) ptx_word(p, "a target option");
}

static void directive(PtxParser *p) {
    bool external = false;
    while (ptx_token_is(&p->tok, ".extern") || ptx_token_is(&p->tok, ".visible") ||
           ptx_token_is(&p->tok, ".weak") || ptx_token_is(&p->tok, ".common")) {
        external |= ptx_token_is(&p->tok, ".extern");
        ptx_next(p);
    }
    PtxSpace space;
    ptx_split(p);
    if (ptx_token_is(&p->tok, ".version")) {
        version(p);
    } else if (ptx_token_is(&p->tok, ".target")) {
        target(p);
    } else if (ptx_token_is(&p->tok, ".address_size")) {
        ptx_next(p);
        if (ptx_integer(p, "an address size") != 64)
            ptx_fail(p, ST_UNSUPPORTED, "only .address_size 64 is emulated");
    } else if (ptx_token_is(&p->tok, ".file")) {
        file_directive(p);
    } else if (ptx_token_is(&p->tok, ".loc")) {
        ptx_loc(p);
    } else if (ptx_token_is(&p->tok, ".section")) {
        section(p);
    } else if (ptx_token_is(&p->tok, ".entry") || ptx_token_is(&p->tok, ".func")) {
        function(p, ptx_token_is(&p->tok, ".entry"));
    } else if (ptx_space_word(&p->tok, &space)) {
        module_variable(p, space, external);
    } else if (ptx_token_is(&p->tok, ".pragma")) {
        while (p->status == ST_OK && p->tok.kind != TOK_END && !ptx_at(p, ';')) ptx_next(p);
        ptx_expect(p, ';');
    } else {
        ptx_fail(p, ST_SYNTAX, "unknown directive '%.*s'", (int)(p->tok.length & 63), p->tok.start);
    }
}

/* Functions whose address a register or a variable holds: what indirect calls can reach. */
static void take_addresses(PtxParser *p) {
    PtxVar *const *const vars = p->module_vars.data;
    PtxFunc *const *const funcs = p->module_funcs.data;
    for (int i = 0; i < p->module_vars.count; i++)
        for (size_t k = 0; k < vars[i]->reloc_count; k++) {
            const char *const name = vars[i]->relocs[k].func;
            PtxFunc *const f = name ? map_get(p->funcs, name) : NULL;
            if (f) f->taken = true;
            if (name && !f)
                ptx_fail(p, ST_SYNTAX, "'%s' in an initial value is neither variable nor function",
                         name);
        }
    for (int i = 0; i < p->module_funcs.count; i++)
        for (int k = 0; k < funcs[i]->instr_count; k++) {
            const PtxInstr *const in = &funcs[i]->instrs[k];
            for (int o = 0; o < in->operand_count && strncmp(in->form, "call", 4) != 0; o++) {
                if (in->operands[o].kind != PTX_NAME) continue;
                PtxFunc *const f = map_get(p->funcs, in->operands[o].name);
                if (f) f->taken = true;
            }
        }
}

static Status finish(PtxParser *p) {
    PtxModule *m = p->module;
    take_addresses(p);
    if (p->status == ST_OK && (!m->version || !m->target))
        ptx_fail(p, ST_SYNTAX, "no %s directive", m->version ? ".target" : ".version");
    m->vars = p->module_vars.data;
    m->var_count = p->module_vars.count;
    m->funcs = p->module_funcs.data;
    m->func_count = p->module_funcs.count;
    m->files = p->files.data;
    m->file_count = p->files.count;
    return p->status;
}

Status ptx_parse(const char *text, size_t size, Arena *arena, PtxModule **out, Error *err) {
    if (size > PTX_MAX_TEXT)
        return err_set(err, ST_LIMIT, "PTX of %zu bytes; at most 64 MiB are taken", size);
    PtxParser *p = ARENA_NEW(arena, PtxParser);
    PtxModule *module = ARENA_NEW(arena, PtxModule);
    if (!p || !module) return err_no_memory(err, sizeof *p);
    *p = (PtxParser){.lexer = {.p = text, .end = text + size, .line = 1},
                     .arena = arena,
                     .module = module,
                     .err = err,
                     .vars = map_new(arena),
                     .funcs = map_new(arena),
                     .module_vars.item = sizeof(PtxVar *),
                     .module_funcs.item = sizeof(PtxFunc *),
                     .files.item = sizeof(const char *)};
    if (!p->vars || !p->funcs) return err_no_memory(err, sizeof *p);
    module->arena = arena;
    ptx_next(p);
    while (p->status == ST_OK && p->tok.kind != TOK_END) directive(p);
    const Status st = finish(p);
    if (st == ST_OK) *out = module;
    return st;
}

const PtxFunc *ptx_func(const PtxModule *module, const char *name) {
    const PtxFunc *found = NULL;
    for (int i = 0; i < module->func_count; i++)
        if (strcmp(module->funcs[i]->name, name) == 0 && (!found || module->funcs[i]->body))
            found = module->funcs[i];
    return found;
}

const char *ptx_place(const PtxModule *module, int file, int line, char *out, size_t size) {
    static const char root[] = "/seqtune/"; /* the rooted virtual name in #line (design 4.6) */
    out[0] = '\0';
    if (file <= 0 || file >= module->file_count || !module->files[file]) return out;
    const char *name = module->files[file];
    if (strncmp(name, root, sizeof root - 1) == 0) name += sizeof root - 1;
    char number[16];
    const size_t digits = (size_t)snprintf(number, sizeof number, ":%d", line);
    const size_t length = strlen(name), room = size > digits ? size - digits - 1 : 0;
    if (length > room) name += length - room;
    snprintf(out, size, "%s%s", name, number);
    return out;
}
