/* From a kernel's Lua table to a GenSpec: problem, space, formulas.
 *
 * Invariant: after gen_read_spec every formula is parsed, every name in it is known and every table
 * key is one of docs/spec.md; what is left to go wrong at use is arithmetic. */
#include "generator/read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void read_check(SpecReader *r, GenFormula *formula, unsigned kinds, const char *what) {
    if (!formula->expr) return;
    int known_resources = 0;
    for (size_t i = 0; i < r->spec->name_count; i++)
        if (r->spec->names[i].kind == GEN_NAME_RESOURCE) known_resources++;
    GenScope scope = {.spec = r->spec,
                      .kinds = kinds,
                      .dim_limit = (int)r->spec->dim_count,
                      .let_limit = (int)r->spec->let_count,
                      .resource_limit = known_resources};
    host_try(&r->host, gen_check_names(&scope, formula->expr, formula->pos, what,
                                       &formula->is_static, &r->host.error));
}

int read_array(SpecReader *r, const char *key, int max) {
    lua_State *L = r->host.L;
    luaL_checkstack(L, 20, "nested too deep");
    if (!host_table(&r->host, r->kernel, key, r->pos, r->what)) return 0;
    int n = (int)lua_rawlen(L, -1);
    TextPos pos = host_place_key(r->pos, key);
    if (n > max)
        host_fail(&r->host, pos, "%s: %d entries in '%s', at most %d", r->what, n, key, max);
    host_check_keys(&r->host, lua_gettop(L), pos, key, NULL, 0, true);
    if (n == 0) lua_pop(L, 1);
    return n;
}

void read_new_name(SpecReader *r, const char *name, TextPos pos, GenNameKind kind, int index,
                   bool is_static) {
    /* Words of C++ and of the formula language, and names that the generator emits itself. */
    static const char *const taken[] = {
        "and",      "or",     "not",      "true",   "false",  "cdiv",      "min",       "max",
        "ilog2",    "gpu",    "threads",  "smem",   "regs",   "score",     "occupancy", "workspace",
        "int",      "char",   "short",    "long",   "float",  "double",    "bool",      "void",
        "if",       "else",   "for",      "while",  "do",     "switch",    "case",      "default",
        "return",   "break",  "continue", "struct", "class",  "enum",      "union",     "const",
        "static",   "inline", "extern",   "auto",   "using",  "namespace", "template",  "typename",
        "operator", "new",    "delete",   "this",   "sizeof", "goto",      "signed",    "unsigned"};
    if (!gen_is_word(name))
        host_fail(&r->host, pos, "'%.60s' is not a name: letters, digits and _, at most 48", name);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(name, taken[i]) == 0)
            host_fail(&r->host, pos, "the name '%s' has a meaning of its own", name);
    if (str_starts(name, "HAS_"))
        host_fail(&r->host, pos, "'%s': names that begin with HAS_ are the GPU's features", name);
    if (!gen_name_add(r->spec, (GenName){name, kind, index, is_static}))
        host_fail(&r->host, pos, "the name '%s' is used twice", name);
}

/* ---- problem ---- */

static GenKeyRule key_rule(SpecReader *r, int table, TextPos pos, const char *what) {
    static const char *const names[] = {"exact", "log2/4", "ignore"};
    const char *text = host_string(&r->host, table, "key", pos, what);
    if (!text) return GEN_KEY_EXACT;
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) return (GenKeyRule)i;
    const char *best = str_nearest(text, names, 3);
    host_fail(&r->host, host_place_text(pos, text),
              "%s: key = '%.40s' is not exact, log2/4 or ignore%s%s%s", what, text,
              best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static void dim_words(SpecReader *r, GenDim *dim, TextPos pos, const char *what) {
    lua_State *L = r->host.L;
    size_t n = lua_rawlen(L, -1);
    host_check_keys(&r->host, lua_gettop(L), pos, "enum", NULL, 0, true);
    if (n < 1 || n > 64) host_fail(&r->host, pos, "%s: enum has %zu words, not 1..64", what, n);
    const char **words = host_alloc(&r->host, n, sizeof *words);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, -1, (lua_Integer)i + 1) != LUA_TSTRING)
            host_fail(&r->host, pos, "%s: enum[%zu] must be a text, not a %s", what, i + 1,
                      luaL_typename(L, -1));
        words[i] = host_copy(&r->host, lua_tostring(L, -1));
        lua_pop(L, 1);
        TextPos at = host_place_text(pos, words[i]);
        if (strspn(words[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") !=
                strlen(words[i]) ||
            !*words[i] || strlen(words[i]) > 32)
            host_fail(&r->host, at, "%s: enum word '%.40s' must be 1..32 letters, digits, _", what,
                      words[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(words[k], words[i]) == 0)
                host_fail(&r->host, at, "%s: enum word '%s' is there twice", what, words[i]);
    }
    dim->kind = GEN_DIM_ENUM;
    dim->words = words;
    dim->count = n;
    dim->min = 0;
    dim->max = (int64_t)n - 1;
}

static const int64_t *integers(SpecReader *r, TextPos pos, const char *what, size_t *count) {
    lua_State *L = r->host.L;
    size_t n = lua_rawlen(L, -1);
    if (n < 1 || n > 256) host_fail(&r->host, pos, "%s: %zu values, not 1..256", what, n);
    int64_t *values = host_alloc(&r->host, n, sizeof *values);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        if (!lua_isinteger(L, -1))
            host_fail(&r->host, pos, "%s: value %zu must be an integer, not a %s", what, i + 1,
                      luaL_typename(L, -1));
        values[i] = lua_tointeger(L, -1);
        lua_pop(L, 1);
        for (size_t k = 0; k < i; k++)
            if (values[k] == values[i])
                host_fail(&r->host, pos, "%s: value %" PRId64 " is there twice", what, values[i]);
    }
    *count = n;
    return values;
}

static void dim_preset(SpecReader *r, GenDim *dim, int table, TextPos pos, const char *what) {
    if (dim->kind == GEN_DIM_ENUM) {
        const char *word = host_string(&r->host, table, "preset", pos, what);
        if (!word) return;
        for (size_t i = 0; i < dim->count; i++)
            if (strcmp(word, dim->words[i]) == 0) {
                dim->preset = (int64_t)i;
                return;
            }
        host_fail(&r->host, host_place_key(pos, "preset"), "%s: preset '%.40s' is not in its enum",
                  what, word);
    }
    int64_t first = dim->ints ? dim->ints[0] : dim->min;
    dim->preset = host_integer(&r->host, table, "preset", pos, what, first);
    bool legal = dim->preset >= dim->min && dim->preset <= dim->max && !dim->ints;
    for (size_t i = 0; dim->ints && i < dim->count; i++) legal |= dim->ints[i] == dim->preset;
    if (!legal)
        host_fail(&r->host, host_place_key(pos, "preset"),
                  "%s: preset %" PRId64 " is not a legal value", what, dim->preset);
}

static void dim_values(SpecReader *r, GenDim *dim, int table, TextPos pos, const char *what) {
    lua_State *L = r->host.L;
    int forms = 0;
    if (host_table(&r->host, table, "enum", pos, what)) {
        dim_words(r, dim, host_place_key(pos, "enum"), what);
        lua_pop(L, 1);
        forms++;
    }
    if (host_table(&r->host, table, "ints", pos, what)) {
        host_check_keys(&r->host, lua_gettop(L), pos, "ints", NULL, 0, true);
        dim->kind = GEN_DIM_INT;
        dim->ints = integers(r, host_place_key(pos, "ints"), what, &dim->count);
        dim->min = dim->max = dim->ints[0];
        for (size_t i = 0; i < dim->count; i++) {
            if (dim->ints[i] < dim->min) dim->min = dim->ints[i];
            if (dim->ints[i] > dim->max) dim->max = dim->ints[i];
        }
        lua_pop(L, 1);
        forms++;
    }
    GenFormula formula = host_formula(&r->host, table, "derive", pos, what);
    if (formula.expr) {
        read_check(r, &formula, SEE_DIMS, what);
        dim->kind = GEN_DIM_DERIVED;
        dim->formula = formula.expr;
        if (dim->is_static && !formula.is_static)
            host_fail(&r->host, pos, "%s: static, but derived from a dimension that is not", what);
        forms++;
    }
    bool min = lua_getfield(L, table, "min") != LUA_TNIL;
    bool max = lua_getfield(L, table, "max") != LUA_TNIL;
    lua_pop(L, 2);
    if (min || max) {
        if (!min || !max) host_fail(&r->host, pos, "%s: min and max belong together", what);
        dim->kind = GEN_DIM_INT;
        dim->min = host_integer(&r->host, table, "min", pos, what, 0);
        dim->max = host_integer(&r->host, table, "max", pos, what, 0);
        if (dim->min > dim->max) host_fail(&r->host, pos, "%s: min is above max", what);
        forms++;
    }
    if (forms != 1)
        host_fail(&r->host, pos, "%s: wants exactly one of enum, ints, min and max, derive", what);
}

static void read_dim(SpecReader *r, int index, const Entry *entry, int table) {
    static const Field fields[] = {{"enum", false}, {"ints", false},   {"min", false},
                                   {"max", false},  {"derive", false}, {"static", false},
                                   {"key", false},  {"preset", false}, {"doc", false}};
    char what[80];
    snprintf(what, sizeof what, "dim '%.48s'", entry->name);
    host_check_keys(&r->host, table, entry->pos, what, fields, 9, false);
    GenDim *dim = &r->spec->dims[index];
    dim->name = entry->name;
    dim->is_static = host_boolean(&r->host, table, "static", entry->pos, what);
    dim->key = key_rule(r, table, entry->pos, what);
    dim->doc = host_string(&r->host, table, "doc", entry->pos, what);
    dim_values(r, dim, table, entry->pos, what);
    if (dim->kind == GEN_DIM_DERIVED) {
        if (lua_getfield(r->host.L, table, "preset") != LUA_TNIL)
            host_fail(&r->host, entry->pos, "%s: a derived dimension has no preset", what);
        lua_pop(r->host.L, 1);
    } else {
        dim_preset(r, dim, table, entry->pos, what);
    }
    if (dim->kind == GEN_DIM_ENUM && dim->key == GEN_KEY_LOG2_4)
        host_fail(&r->host, entry->pos, "%s: words have no log2/4 buckets", what);
    if (dim->is_static && (dim->min < INT32_MIN || dim->max > INT32_MAX))
        host_fail(&r->host, entry->pos, "%s: a static dimension must fit an int", what);
    r->spec->dim_pos[index] = entry->pos;
    read_new_name(r, dim->name, entry->pos, GEN_NAME_DIM, index, dim->is_static);
    r->spec->dim_count = (size_t)index + 1;
}

static void read_problem(SpecReader *r) {
    int n = read_array(r, "problem", GEN_MAX_DIMS);
    if (!n) host_fail(&r->host, r->pos, "%s: 'problem' has no dimensions", r->what);
    int array = lua_gettop(r->host.L);
    for (int i = 0; i < n; i++) {
        const Entry *entry = host_element(&r->host, array, i + 1, ENTRY_DIM,
                                          host_place_key(r->pos, "problem"), "problem");
        read_dim(r, i, entry, lua_gettop(r->host.L));
        lua_settop(r->host.L, array);
    }
    lua_pop(r->host.L, 1);
}

/* ---- space ---- */

static void read_axis(SpecReader *r, int index, const Entry *entry, int table) {
    static const Field fields[] = {{"doc", false}};
    lua_State *L = r->host.L;
    char what[80];
    snprintf(what, sizeof what, "axis '%.48s'", entry->name);
    host_check_keys(&r->host, table, entry->pos, what, fields, 1, true);
    GenAxis *axis = &r->spec->axes[index];
    axis->name = entry->name;
    axis->doc = host_string(&r->host, table, "doc", entry->pos, what);
    axis->is_bool = lua_rawgeti(L, table, 1) == LUA_TBOOLEAN;
    lua_pop(L, 1);
    if (axis->is_bool) { /* false and true, in the order written */
        size_t n = lua_rawlen(L, table);
        int64_t *values = host_alloc(&r->host, 2, sizeof *values);
        for (size_t i = 0; i < n; i++) {
            bool good = n <= 2 && lua_rawgeti(L, table, (lua_Integer)i + 1) == LUA_TBOOLEAN;
            if (good) values[i] = lua_toboolean(L, -1);
            if (!good || (i == 1 && values[0] == values[1]))
                host_fail(&r->host, entry->pos, "%s: booleans are { false, true }", what);
            lua_pop(L, 1);
        }
        axis->values = values;
        axis->count = n;
    } else {
        lua_pushvalue(L, table);
        axis->values = integers(r, entry->pos, what, &axis->count);
        lua_pop(L, 1);
        for (size_t i = 0; i < axis->count; i++)
            if (axis->values[i] < INT32_MIN || axis->values[i] > INT32_MAX)
                host_fail(&r->host, entry->pos, "%s: a value does not fit an int", what);
    }
    r->spec->axis_pos[index] = entry->pos;
    read_new_name(r, axis->name, entry->pos, GEN_NAME_AXIS, index, true);
    r->spec->axis_count = (size_t)index + 1;
}

static void read_space(SpecReader *r) {
    int n = read_array(r, "space", GEN_MAX_AXES), array = lua_gettop(r->host.L);
    int64_t product = 1;
    for (int i = 0; i < n; i++) {
        const Entry *entry = host_element(&r->host, array, i + 1, ENTRY_AXIS,
                                          host_place_key(r->pos, "space"), "space");
        read_axis(r, i, entry, lua_gettop(r->host.L));
        lua_settop(r->host.L, array);
        product *= (int64_t)r->spec->axes[i].count;
        if (product > GEN_MAX_CONFIGS)
            host_fail(&r->host, entry->pos, "%s: the space has more than %d configurations",
                      r->what, GEN_MAX_CONFIGS);
    }
    if (n) lua_pop(r->host.L, 1);
}

/* ---- formulas ---- */

static void read_lets(SpecReader *r) {
    lua_State *L = r->host.L;
    int n = read_array(r, "derive", GEN_MAX_LETS), array = lua_gettop(L);
    for (int i = 0; i < n; i++) {
        const Entry *entry = host_element(&r->host, array, i + 1, ENTRY_LET,
                                          host_place_key(r->pos, "derive"), "derive");
        char what[80];
        GenLet *let = &r->spec->lets[i];
        lua_rawgeti(L, -1, 1);
        let->name = host_copy(&r->host, lua_tostring(L, -1));
        lua_pop(L, 1);
        snprintf(what, sizeof what, "let '%.48s'", let->name);
        lua_rawgeti(L, -1, 2);
        let->formula = host_formula_top(&r->host, entry->pos, what);
        read_check(r, &let->formula, SEE_CONFIG, what);
        read_new_name(r, let->name, host_place_text(entry->pos, let->name), GEN_NAME_LET, i,
                      let->formula.is_static);
        r->spec->let_count = (size_t)i + 1;
        lua_settop(L, array);
    }
    if (n) lua_pop(L, 1);
}

static size_t read_rules(SpecReader *r, const char *key, EntryKind kind, unsigned kinds,
                         const GenRule **out, const TextPos **places) {
    lua_State *L = r->host.L;
    int n = read_array(r, key, 256), array = lua_gettop(L);
    GenRule *rules = host_alloc(&r->host, (size_t)n, sizeof *rules);
    TextPos *at = host_alloc(&r->host, (size_t)n, sizeof *at);
    for (int i = 0; i < n; i++) {
        const Entry *entry =
            host_element(&r->host, array, i + 1, kind, host_place_key(r->pos, key), key);
        lua_rawgeti(L, -1, 1);
        GenFormula formula = host_formula_top(&r->host, entry->pos, host_kind_name(kind));
        read_check(r, &formula, kinds, host_kind_name(kind));
        lua_rawgeti(L, -1, 2);
        rules[i] = (GenRule){.when = formula.expr,
                             .reason = host_copy(&r->host, lua_tostring(L, -1)),
                             .file = entry->pos.file,
                             .line = formula.pos.line};
        at[i] = formula.pos;
        lua_settop(L, array);
    }
    if (n) lua_pop(L, 1);
    *out = rules;
    *places = at;
    return (size_t)n;
}

static void read_resources(SpecReader *r) {
    static const Field fields[] = {
        {"threads", true}, {"smem", true}, {"regs", true}, {"workspace", false}, {"score", false}};
    lua_State *L = r->host.L;
    GenSpec *spec = r->spec;
    if (!host_table(&r->host, r->kernel, "resources", r->pos, r->what)) return;
    int table = lua_gettop(L);
    TextPos pos = host_place_key(r->pos, "resources");
    host_check_keys(&r->host, table, pos, "resources", fields, 5, false);
    GenFormula *const to[] = {&spec->threads, &spec->smem, &spec->regs};
    for (int i = 0; i < 3; i++) { /* in this order: each may use the ones before */
        *to[i] = host_formula(&r->host, table, fields[i].key, pos, "resources");
        read_check(r, to[i], SEE_ALL, fields[i].key);
        gen_name_add(spec, (GenName){fields[i].key, GEN_NAME_RESOURCE, i, to[i]->is_static});
    }
    gen_name_add(spec, (GenName){"occupancy", GEN_NAME_RESOURCE, GEN_RES_OCCUPANCY, false});
    spec->workspace = host_formula(&r->host, table, "workspace", pos, "resources");
    read_check(r, &spec->workspace, SEE_ALL, "workspace");
    spec->score = host_formula(&r->host, table, "score", pos, "resources");
    read_check(r, &spec->score, SEE_ALL, "score");
    lua_pop(L, 1);
}

static void read_head(SpecReader *r) {
    static const Field verify[] = {{"reference", true}};
    GenSpec *spec = r->spec;
    spec->title = host_string(&r->host, r->kernel, "title", r->pos, r->what);
    int64_t generation = host_integer(&r->host, r->kernel, "generation", r->pos, r->what, 0);
    if (generation < 1 || generation > 1000000)
        host_fail(&r->host, host_place_key(r->pos, "generation"),
                  "%s: generation must be 1..1000000", r->what);
    spec->generation = (int)generation;
    spec->params = host_string(&r->host, r->kernel, "params", r->pos, r->what);
    if (!gen_is_word(spec->params))
        host_fail(&r->host, host_place_key(r->pos, "params"),
                  "%s: params '%.60s' is not the name of a header of runtime/params/", r->what,
                  spec->params);
    if (host_table(&r->host, r->kernel, "verify", r->pos, r->what)) {
        TextPos pos = host_place_key(r->pos, "verify");
        host_check_keys(&r->host, lua_gettop(r->host.L), pos, "verify", verify, 1, false);
        spec->reference = host_string(&r->host, lua_gettop(r->host.L), "reference", pos, "verify");
        lua_pop(r->host.L, 1);
    }
}

static void read_kernel(Host *host, const Entry *entry, int table) {
    static const Field fields[] = {{"title", true},    {"generation", true}, {"problem", true},
                                   {"require", false}, {"space", true},      {"pipeline", true},
                                   {"derive", false},  {"rules", false},     {"resources", true},
                                   {"launch", true},   {"layouts", false},   {"parts", false},
                                   {"params", true},   {"flops", true},      {"bytes", true},
                                   {"seeds", false},   {"verify", true}};
    SpecReader *r = host->context;
    r->kernel = table;
    r->pos = r->spec->pos = entry->pos;
    r->spec->name = entry->name;
    snprintf(r->what, sizeof r->what, "kernel '%.48s'", entry->name);
    if (!gen_is_word(entry->name))
        host_fail(host, entry->pos, "'%.60s' is not a name: letters, digits and _", entry->name);
    host_check_keys(host, table, entry->pos, r->what, fields, sizeof fields / sizeof *fields,
                    false);
    read_head(r);
    read_problem(r);
    r->spec->need_count =
        read_rules(r, "require", ENTRY_NEED, SEE_DIMS, &r->spec->needs, &r->spec->need_pos);
    r->spec->flops = host_formula(host, table, "flops", r->pos, r->what);
    read_check(r, &r->spec->flops, SEE_DIMS, "flops");
    r->spec->bytes = host_formula(host, table, "bytes", r->pos, r->what);
    read_check(r, &r->spec->bytes, SEE_DIMS, "bytes");
    read_space(r);
    read_lets(r);
    r->spec->rule_count =
        read_rules(r, "rules", ENTRY_RULE, SEE_CONFIG, &r->spec->rules, &r->spec->rule_pos);
    read_pipeline(r);
    read_resources(r);
    read_launch(r);
    read_layouts(r);
    read_parts(r);
    read_seeds(r);
}

Status gen_read_spec(GenLibrary *lib, const GenFile *file, GenSpec **out, Error *err) {
    SpecReader *r = ARENA_NEW(lib->arena, SpecReader);
    GenSpec *spec = ARENA_NEW(lib->arena, GenSpec);
    if (!r || !spec) return err_no_memory(err, sizeof *spec);
    spec->lib = lib;
    spec->file = file;
    r->spec = spec;
    r->host =
        (Host){.arena = lib->arena, .tree = &lib->tree, .on_kernel = read_kernel, .context = r};
    Status status = host_run(&r->host, file, err);
    if (status != ST_OK) return status;
    if (!spec->name)
        return err_set(err, ST_SYNTAX, "%s: describes no kernel; it wants kernel \"name\" { ... }",
                       file->path);
    *out = spec;
    return ST_OK;
}
