/* The words of docs/spec.md as Lua functions: each makes an entry that remembers its caller's line.
 *
 * Entries and layouts are userdata without fields, so a script can neither read nor forge them.
 * What an entry means is decided where it is read (spec_read.c, workload.c). */
#include "generator/host.h"

#include <string.h>

static const char entry_type[] = "description";
static const char layout_type[] = "layout";

/* How a word is called. */
typedef enum Shape {
    SHAPE_NAMED,   /* dim "name" { ... } */
    SHAPE_TABLE,   /* step { ... } */
    SHAPE_FORMULA, /* rule("formula", "reason") */
    SHAPE_DEFINE,  /* let("name", "formula") */
} Shape;

static const struct {
    const char *word;
    Shape shape;
} words[ENTRY_KINDS] = {
    [ENTRY_KERNEL] = {"kernel", SHAPE_NAMED}, [ENTRY_DIM] = {"dim", SHAPE_NAMED},
    [ENTRY_AXIS] = {"axis", SHAPE_NAMED},     [ENTRY_LET] = {"let", SHAPE_DEFINE},
    [ENTRY_RULE] = {"rule", SHAPE_FORMULA},   [ENTRY_NEED] = {"need", SHAPE_FORMULA},
    [ENTRY_PIPE] = {"pipe", SHAPE_NAMED},     [ENTRY_STEP] = {"step", SHAPE_TABLE},
    [ENTRY_SEED] = {"seed", SHAPE_TABLE},     [ENTRY_WORKLOAD] = {"workload", SHAPE_NAMED},
    [ENTRY_ITEM] = {"item", SHAPE_TABLE},
};

const char *host_kind_name(EntryKind kind) {
    return words[kind].word;
}

static TextPos first_column(TextPos pos) {
    const char *line = pos.text;
    for (int i = 1; line && i < pos.line; i++) {
        line = strchr(line, '\n');
        if (line) line++;
    }
    pos.column = line ? (int)strspn(line, " \t") + 1 : 0;
    return pos;
}

/* The innermost line of the script itself: a function of scripts/lib works for its caller, whose
 * line is the one to mend. While a module is being loaded, the module's own line. */
TextPos host_caller(Host *host) {
    lua_Debug ar;
    TextPos pos = {.file = host->files[0]->path, .text = host->files[0]->text, .line = 1};
    bool found = false;
    for (int level = 1; lua_getstack(host->L, level, &ar); level++) {
        lua_getinfo(host->L, "Sl", &ar);
        if (ar.currentline < 1 || ar.source[0] != '@') continue;
        int i = 0;
        while (i < host->file_count && strcmp(host->files[i]->path, ar.source + 1) != 0) i++;
        if (i == host->file_count) continue;
        bool last = i == 0 || strcmp(ar.what, "main") == 0;
        if (!found || last)
            pos = (TextPos){
                .file = host->files[i]->path, .text = host->files[i]->text, .line = ar.currentline};
        found = true;
        if (last) break;
    }
    return first_column(pos);
}

const Entry *host_entry(Host *host, int index) {
    return luaL_testudata(host->L, index, entry_type);
}

/* Makes an entry whose argument table is on top of the stack; replaces it. */
static Entry *push_entry(Host *host, EntryKind kind, const char *name, TextPos pos) {
    lua_State *L = host->L;
    Entry *entry = lua_newuserdatauv(L, sizeof *entry, 1);
    *entry = (Entry){.kind = kind, .name = name, .pos = pos};
    luaL_setmetatable(L, entry_type);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    return entry;
}

static void finish(Host *host, const Entry *entry) {
    if (entry->kind != ENTRY_KERNEL && entry->kind != ENTRY_WORKLOAD) return;
    void (*call)(Host *, const Entry *, int) =
        entry->kind == ENTRY_KERNEL ? host->on_kernel : host->on_workload;
    if (!call)
        host_fail(host, entry->pos, "'%s' has no place in this kind of script",
                  words[entry->kind].word);
    if (host->calls++)
        host_fail(host, entry->pos, "a second '%s'; a script describes one",
                  words[entry->kind].word);
    lua_getiuservalue(host->L, -1, 1);
    call(host, entry, lua_gettop(host->L));
    lua_pop(host->L, 1);
}

static int named_table(lua_State *L) {
    Host *host = host_of(L);
    EntryKind kind = (EntryKind)lua_tointeger(L, lua_upvalueindex(1));
    const char *name = lua_tostring(L, lua_upvalueindex(2));
    TextPos pos = host_place_text(host_caller(host), name);
    if (!lua_istable(L, 1) || lua_gettop(L) != 1)
        host_fail(host, pos, "%s \"%s\" wants one table { ... }, not a %s", words[kind].word, name,
                  luaL_typename(L, 1));
    finish(host, push_entry(host, kind, host_copy(host, name), pos));
    return 1;
}

static int word(lua_State *L) {
    Host *host = host_of(L);
    EntryKind kind = (EntryKind)lua_tointeger(L, lua_upvalueindex(1));
    const char *w = words[kind].word;
    TextPos pos = host_caller(host);
    int n = lua_gettop(L);
    switch (words[kind].shape) {
    case SHAPE_NAMED:
        if (n != 1 || lua_type(L, 1) != LUA_TSTRING)
            host_fail(host, pos, "%s wants a name in quotes, then a table: %s \"name\" { ... }", w,
                      w);
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushvalue(L, 1);
        lua_pushcclosure(L, named_table, 2);
        return 1;
    case SHAPE_TABLE:
        if (n != 1 || !lua_istable(L, 1))
            host_fail(host, pos, "%s wants one table: %s { ... }, not a %s", w, w,
                      luaL_typename(L, 1));
        push_entry(host, kind, NULL, pos);
        return 1;
    case SHAPE_FORMULA:
    case SHAPE_DEFINE: break;
    }
    bool define = words[kind].shape == SHAPE_DEFINE;
    if (n != 2 || lua_type(L, 1) != LUA_TSTRING ||
        (lua_type(L, 2) != LUA_TSTRING && !(define && lua_isinteger(L, 2))))
        host_fail(host, pos, "%s wants two texts: %s(%s)", w, w,
                  define ? "\"name\", \"formula\"" : "\"formula\", \"why it must hold\"");
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 2);
    push_entry(host, kind, NULL, pos);
    return 1;
}

/* ---- layouts ---- */

const GenLayoutDef *host_layout(Host *host, int index) {
    const GenLayoutDef *const *p = luaL_testudata(host->L, index, layout_type);
    return p ? *p : NULL;
}

static int push_layout(Host *host, const GenLayoutDef *def) {
    const GenLayoutDef **p = lua_newuserdatauv(host->L, sizeof(const GenLayoutDef *), 0);
    *p = def;
    luaL_setmetatable(host->L, layout_type);
    return 1;
}

static int repeat(lua_State *L) {
    Host *host = host_of(L);
    bool rows = lua_toboolean(L, lua_upvalueindex(1));
    const char *what = rows ? "rep_row" : "rep_col";
    TextPos pos = host_caller(host);
    const GenLayoutDef *from = host_layout(host, 1);
    if (!from || lua_gettop(L) != 2)
        host_fail(host, pos, "%s wants a layout and a count: layout:%s(\"block_n // 8\")", what,
                  what);
    if (!from->atom) host_fail(host, pos, "%s: a shared tile has no register blocks", what);
    if (from->rep_count == GEN_LAYOUT_REPS)
        host_fail(host, pos, "%s: more than %d repetitions", what, GEN_LAYOUT_REPS);
    GenLayoutDef *def = host_alloc(host, 1, sizeof *def);
    *def = *from;
    lua_pushvalue(L, 2);
    def->reps[def->rep_count++] =
        (GenRep){.rows = rows, .count = host_formula_top(host, pos, what)};
    return push_layout(host, def);
}

static int read_bases(Host *host, int table, const char *key, TextPos pos, GenBasis *out, int max) {
    lua_State *L = host->L;
    if (!host_table(host, table, key, pos, "layout")) return 0;
    int n = (int)lua_rawlen(L, -1);
    if (n > max) host_fail(host, pos, "layout: '%s' has %d bits, at most %d", key, n, max);
    for (int i = 0; i < n; i++) {
        int64_t pair[2];
        bool good = lua_rawgeti(L, -1, i + 1) == LUA_TTABLE && lua_rawlen(L, -1) == 2;
        for (int k = 0; good && k < 2; k++) {
            good = lua_rawgeti(L, -1, k + 1) == LUA_TNUMBER && lua_isinteger(L, -1);
            pair[k] = lua_tointeger(L, -1);
            good = good && pair[k] >= 0 && pair[k] < 1024;
            lua_pop(L, 1);
        }
        if (!good)
            host_fail(host, host_place_key(pos, key),
                      "layout: %s[%d] wants {row, col}, two integers of 0..1023", key, i + 1);
        lua_pop(L, 1);
        out[i] = (GenBasis){.row = (int)pair[0], .col = (int)pair[1]};
    }
    lua_pop(L, 1);
    return n;
}

/* register_layout { atom = "acc_m16n8", rows = 16, cols = 8, reg = {{0,1},..}, lane = {..} } */
static int register_layout(lua_State *L) {
    static const Field fields[] = {
        {"atom", true}, {"rows", true}, {"cols", true}, {"reg", true}, {"lane", true}};
    Host *host = host_of(L);
    TextPos pos = host_caller(host);
    if (!lua_istable(L, 1)) host_fail(host, pos, "register_layout wants one table");
    host_check_keys(host, 1, pos, "register_layout", fields, 5, false);
    GenLayoutDef *def = host_alloc(host, 1, sizeof *def);
    def->atom = host_string(host, 1, "atom", pos, "register_layout");
    def->atom_rows = (int)host_integer(host, 1, "rows", pos, "register_layout", 0);
    def->atom_cols = (int)host_integer(host, 1, "cols", pos, "register_layout", 0);
    if (def->atom_rows < 1 || def->atom_rows > 1024 || def->atom_cols < 1 || def->atom_cols > 1024)
        host_fail(host, pos, "register_layout: rows and cols must be 1..1024");
    def->reg_bits = read_bases(host, 1, "reg", pos, def->reg, GEN_LAYOUT_BITS);
    int lanes = read_bases(host, 1, "lane", pos, def->lane, 5);
    if (lanes != 5) host_fail(host, pos, "register_layout: a warp has 5 lane bits, not %d", lanes);
    return push_layout(host, def);
}

/* shared_tile(rows, cols, elem_bytes): formulas or integers. */
static int shared_tile(lua_State *L) {
    static const char *const names[] = {"shared_tile rows", "shared_tile cols",
                                        "shared_tile elem_bytes"};
    Host *host = host_of(L);
    TextPos pos = host_caller(host);
    if (lua_gettop(L) != 3)
        host_fail(host, pos, "a shared tile wants (rows, cols, elem_bytes), not %d arguments",
                  lua_gettop(L));
    GenLayoutDef *def = host_alloc(host, 1, sizeof *def);
    GenFormula *const to[] = {&def->rows, &def->cols, &def->elem_bytes};
    for (int i = 0; i < 3; i++) {
        lua_pushvalue(L, i + 1);
        *to[i] = host_formula_top(host, pos, names[i]);
    }
    return push_layout(host, def);
}

static void add_layouts(lua_State *L) {
    luaL_newmetatable(L, layout_type);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_createtable(L, 0, 2);
    lua_pushboolean(L, true);
    lua_pushcclosure(L, repeat, 1);
    lua_setfield(L, -2, "rep_row");
    lua_pushboolean(L, false);
    lua_pushcclosure(L, repeat, 1);
    lua_setfield(L, -2, "rep_col");
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, register_layout);
    lua_setglobal(L, "register_layout");
    lua_pushcfunction(L, shared_tile);
    lua_setglobal(L, "shared_tile");
}

void host_add_vocabulary(Host *host) {
    lua_State *L = host->L;
    luaL_newmetatable(L, entry_type);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    add_layouts(L);
    for (int kind = 0; kind < ENTRY_KINDS; kind++) {
        lua_pushinteger(L, kind);
        lua_pushcclosure(L, word, 1);
        lua_setglobal(L, words[kind].word);
    }
}
