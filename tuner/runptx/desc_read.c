/* The words buffer, global, launch, expect, output; the settings; the run of the script. */
#include <libgen.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/str.h"
#include "tuner/runptx/desc_read.h"

enum {
    MAX_SCRIPT = 4 << 20,
    MAX_SECONDS = 600,  /* the worker's own limit comes first */
    MAX_ALIGN = 1 << 21 /* what a driver aligns large allocations to */
};
static const long long max_instructions = 20000000000; /* functions of 10^8 indices */
static const uint64_t max_count = (uint64_t)1 << 40;

/* ---- names ---- */

const Buffer *desc_find(const DescReader *r, const char *name) {
    for (size_t i = 0; i < r->out->buffer_count; i++)
        if (strcmp(r->out->buffers[i].name, name) == 0) return &r->out->buffers[i];
    return NULL;
}

size_t desc_buffer(DescReader *r, const char *name, TextPos pos, const char *what) {
    const char *names[DESC_MAX_BUFFERS];
    const Buffer *found = desc_find(r, name);
    if (found) return (size_t)(found - r->out->buffers);
    for (size_t i = 0; i < r->out->buffer_count; i++) names[i] = r->out->buffers[i].name;
    const char *near = str_nearest(name, names, r->out->buffer_count);
    host_fail(&r->host, pos, "%s: there is no buffer '%.60s' above this line%s%s%s", what, name,
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

const char *desc_path(DescReader *r, const char *name, TextPos pos, const char *what) {
    bool leaves = name[0] == '/' || name[0] == '\0';
    for (const char *p = name; *p != '\0'; p += strcspn(p, "/"), p += *p == '/')
        leaves = leaves || (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'));
    if (leaves)
        host_fail(&r->host, pos,
                  "%s: '%.200s' must be a path below %s (--files names another directory)", what,
                  name, r->files);
    const char *path = arena_printf(r->host.arena, "%s/%s", r->files, name);
    if (!path) host_no_memory(&r->host);
    return path;
}

/* ---- fields ---- */

static uint64_t read_count(DescReader *r, int table, const char *key, TextPos pos, const char *what,
                           uint64_t missing, uint64_t most) {
    const int64_t n = host_integer(&r->host, table, key, pos, what, (int64_t)missing);
    if (n < 0 || (uint64_t)n > most)
        host_fail(&r->host, host_place_key(pos, key), "%s: %s = %lld is not within 0..%llu", what,
                  key, (long long)n, (unsigned long long)most);
    return (uint64_t)n;
}

static double read_float(DescReader *r, int table, const char *key, TextPos pos, const char *what) {
    Number value = {0};
    lua_State *L = r->host.L;
    if (lua_getfield(L, table, key) != LUA_TNIL &&
        (!desc_number(L, -1, &value) || !(number_double(ELEMENT_f64, value) >= 0)))
        host_fail(&r->host, host_place_key(pos, key), "%s: '%s' must be a number of 0 or more",
                  what, key);
    lua_pop(L, 1);
    return number_double(ELEMENT_f64, value);
}

/* The product of shape = { a, b, ... }; 0 when there is none. */
static uint64_t read_shape(DescReader *r, int table, TextPos pos, const char *what) {
    lua_State *L = r->host.L;
    uint64_t product = 1;
    const TextPos place = host_place_key(pos, "shape");
    if (!host_table(&r->host, table, "shape", pos, what)) return 0;
    const int n = (int)lua_rawlen(L, -1);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        const lua_Integer extent = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (extent < 1 || (uint64_t)extent > max_count / product)
            host_fail(&r->host, place,
                      "%s: shape[%d] must be an integer of 1 or more, the product "
                      "at most 2^40",
                      what, i);
        product *= (uint64_t)extent;
        lua_pop(L, 1);
    }
    if (n == 0) host_fail(&r->host, place, "%s: shape is empty", what);
    lua_pop(L, 1);
    return product;
}

/* 7 or { 7 } or { 7, 1, 1 }. */
static void read_extent(DescReader *r, int table, const char *key, TextPos pos, uint32_t out[3]) {
    lua_State *L = r->host.L;
    const TextPos place = host_place_key(pos, key);
    const int type = lua_getfield(L, table, key);
    const int n = type == LUA_TTABLE ? (int)lua_rawlen(L, -1) : 1;
    for (int i = 0; i < 3; i++) out[i] = 1;
    if (n < 1 || n > 3) host_fail(&r->host, place, "launch: '%s' has one to three numbers", key);
    for (int i = 0; i < n; i++) {
        if (type == LUA_TTABLE)
            lua_rawgeti(L, -1, i + 1);
        else
            lua_pushvalue(L, -1);
        const lua_Integer v = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
        if (v < 1 || v > INT32_MAX)
            host_fail(&r->host, place, "launch: '%s' wants integers from 1 to 2147483647, not %s",
                      key, lua_isnumber(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1));
        out[i] = (uint32_t)v;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- words ---- */

static void read_buffer(DescReader *r, Buffer *b, int table, const char *what) {
    Host *host = &r->host;
    const char *type = host_string(host, table, "dtype", b->pos, what);
    if (!element_find(type, &b->type)) {
        const char *near = str_nearest(type, element_names(), ELEMENT_COUNT);
        host_fail(host, host_place_text(b->pos, type),
                  "%s: unknown dtype '%.40s'%s%s%s; legal: i8..i64, u8..u64, f16, bf16, f32, f64",
                  what, type, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    const uint64_t shape = read_shape(r, table, b->pos, what);
    b->count = read_count(r, table, "count", b->pos, what, shape, max_count);
    if (shape && b->count != shape)
        host_fail(host, host_place_key(b->pos, "count"), "%s: count = %llu, but shape holds %llu",
                  what, (unsigned long long)b->count, (unsigned long long)shape);
    b->fill = desc_fill(r, table, "fill", b->type, &b->count, b->pos, what);
    if (b->count == 0)
        host_fail(host, b->pos, "%s: how many elements? give count = n or shape = { ... }", what);
    b->align = read_count(r, table, "align", b->pos, what, 1, MAX_ALIGN);
    b->offset = read_count(r, table, "offset", b->pos, what, 0, MAX_ALIGN);
    b->guard = read_count(r, table, "guard", b->pos, what, 0, MAX_ALIGN);
    if (b->align == 0 || (b->align & (b->align - 1)) != 0)
        host_fail(host, host_place_key(b->pos, "align"), "%s: align must be a power of two", what);
    if (host_table(host, table, "patch", b->pos, what)) {
        const size_t bytes = b->count * element_bytes(b->type);
        b->patches = desc_patches(r, lua_gettop(host->L), bytes, b->pos, "patch", &b->patch_count);
        lua_pop(host->L, 1);
    }
}

typedef struct NamedWord {
    const char *word, *example;
    void (*take)(DescReader *r, const char *name, TextPos pos, int table);
} NamedWord;

static void take_buffer(DescReader *r, const char *name, TextPos pos, int table, bool global) {
    static const Field fields[] = {{"dtype", true},   {"count", false}, {"shape", false},
                                   {"fill", false},   {"patch", false}, {"align", false},
                                   {"offset", false}, {"guard", false}};
    enum { FOR_GLOBALS = 5 }; /* the module places its own variables */
    RunDesc *out = r->out;
    char what[96];
    snprintf(what, sizeof what, "%s '%.60s'", global ? "global" : "buffer", name);
    if (desc_find(r, name)) host_fail(&r->host, pos, "%s: the name is taken", what);
    if (out->buffer_count == DESC_MAX_BUFFERS)
        host_fail(&r->host, pos, "%s: more than %d buffers", what, DESC_MAX_BUFFERS);
    host_check_keys(&r->host, table, pos, what, fields,
                    global ? FOR_GLOBALS : sizeof fields / sizeof fields[0], false);
    Buffer b = {.name = name, .is_global = global, .pos = pos};
    read_buffer(r, &b, table, what);
    out->buffers[out->buffer_count++] = b;
}

static void buffer_word(DescReader *r, const char *name, TextPos pos, int table) {
    take_buffer(r, name, pos, table, false);
}

static void global_word(DescReader *r, const char *name, TextPos pos, int table) {
    take_buffer(r, name, pos, table, true);
}

static void expect_word(DescReader *r, const char *name, TextPos pos, int table) {
    static const Field fields[] = {
        {"equals", true}, {"abs", false}, {"rel", false}, {"from", false}, {"count", false}};
    char what[96];
    snprintf(what, sizeof what, "expect '%.60s'", name);
    if (r->out->expect_count == DESC_MAX_CHECKS)
        host_fail(&r->host, pos, "%s: more than %d expectations", what, DESC_MAX_CHECKS);
    Expect e = {.buffer = desc_buffer(r, name, pos, "expect"), .pos = pos};
    const Buffer *b = &r->out->buffers[e.buffer];
    host_check_keys(&r->host, table, pos, what, fields, sizeof fields / sizeof fields[0], false);
    e.first = read_count(r, table, "from", pos, what, 0, b->count);
    e.count = read_count(r, table, "count", pos, what, b->count - e.first, b->count - e.first);
    e.abs = read_float(r, table, "abs", pos, what);
    e.rel = read_float(r, table, "rel", pos, what);
    if (e.count > 0) e.want = desc_fill(r, table, "equals", b->type, &e.count, pos, what);
    r->out->expects[r->out->expect_count++] = e;
}

static void output_word(DescReader *r, const char *name, TextPos pos, int table) {
    static const Field fields[] = {
        {"first", false}, {"from", false}, {"stats", false}, {"hash", false}, {"save", false}};
    char what[96];
    snprintf(what, sizeof what, "output '%.60s'", name);
    if (r->out->output_count == DESC_MAX_CHECKS)
        host_fail(&r->host, pos, "%s: more than %d outputs", what, DESC_MAX_CHECKS);
    Output o = {.buffer = desc_buffer(r, name, pos, "output"), .pos = pos};
    const Buffer *b = &r->out->buffers[o.buffer];
    host_check_keys(&r->host, table, pos, what, fields, sizeof fields / sizeof fields[0], false);
    o.from = read_count(r, table, "from", pos, what, 0, b->count);
    o.first = read_count(r, table, "first", pos, what, 0, 1 << 20);
    if (o.first > b->count - o.from) o.first = b->count - o.from;
    o.stats = host_boolean(&r->host, table, "stats", pos, what);
    o.hash = host_boolean(&r->host, table, "hash", pos, what);
    const char *save = host_string(&r->host, table, "save", pos, what);
    if (save) o.save = desc_path(r, save, host_place_text(pos, save), what);
    r->out->outputs[r->out->output_count++] = o;
}

static const NamedWord named_words[] = {
    {"buffer", "{ dtype = \"f32\", count = 1000, fill = 0 }", buffer_word},
    {"global", "{ dtype = \"f32\", count = 1, fill = 0 }", global_word},
    {"expect", "{ equals = 0, abs = 1e-6 }", expect_word},
    {"output", "{ first = 8, stats = true }", output_word},
};

/* buffer "x" { ... }: the name's call returns a function that takes the table; that gives the name,
 * so that `local x = buffer "x" { ... }` serves ptr(x). */
static int named_table(lua_State *L) {
    DescReader *r = desc_reader(L);
    const NamedWord *w = &named_words[lua_tointeger(L, lua_upvalueindex(1))];
    const char *name = host_copy(&r->host, lua_tostring(L, lua_upvalueindex(2)));
    const TextPos pos = host_caller(&r->host);
    if (!lua_istable(L, 1) || lua_gettop(L) != 1)
        host_fail(&r->host, pos, "%s \"%s\" wants one table %s", w->word, name, w->example);
    w->take(r, name, pos, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    return 1;
}

static int named_word(lua_State *L) {
    DescReader *r = desc_reader(L);
    const NamedWord *w = &named_words[lua_tointeger(L, lua_upvalueindex(1))];
    if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING || lua_rawlen(L, 1) == 0)
        host_fail(&r->host, host_caller(&r->host),
                  "%s wants a name in quotes, then a table: %s "
                  "\"name\" %s",
                  w->word, w->word, w->example);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, named_table, 2);
    return 1;
}

static int word_launch(lua_State *L) {
    static const Field fields[] = {{"entry", false}, {"grid", true},         {"block", true},
                                   {"smem", false},  {"cooperative", false}, {"params", false}};
    DescReader *r = desc_reader(L);
    Launch launch = {.pos = host_caller(&r->host)};
    if (!lua_istable(L, 1) || lua_gettop(L) != 1)
        host_fail(&r->host, launch.pos,
                  "launch wants one table: launch { grid = { 4 }, block = { "
                  "128 }, params = { ptr \"x\", i32(5) } }");
    if (r->out->launch_count == DESC_MAX_LAUNCHES)
        host_fail(&r->host, launch.pos, "more than %d launches", DESC_MAX_LAUNCHES);
    host_check_keys(&r->host, 1, launch.pos, "launch", fields, sizeof fields / sizeof fields[0],
                    false);
    launch.entry = host_string(&r->host, 1, "entry", launch.pos, "launch");
    read_extent(r, 1, "grid", launch.pos, launch.grid);
    read_extent(r, 1, "block", launch.pos, launch.block);
    launch.smem = (uint32_t)read_count(r, 1, "smem", launch.pos, "launch", 0, INT32_MAX);
    launch.cooperative = host_boolean(&r->host, 1, "cooperative", launch.pos, "launch");
    if (host_table(&r->host, 1, "params", launch.pos, "launch"))
        launch.params =
            desc_values(r, host_place_key(launch.pos, "params"), "params", &launch.param_count);
    r->out->launches[r->out->launch_count++] = launch;
    return 0;
}

static int word_cdiv(lua_State *L) {
    DescReader *r = desc_reader(L);
    if (!lua_isinteger(L, 1) || !lua_isinteger(L, 2) || lua_tointeger(L, 1) < 0 ||
        lua_tointeger(L, 2) < 1)
        host_fail(&r->host, host_caller(&r->host), "cdiv wants an integer and a positive one");
    const lua_Integer a = lua_tointeger(L, 1), b = lua_tointeger(L, 2);
    lua_pushinteger(L, a / b + (a % b != 0));
    return 1;
}

/* ---- settings ---- */

/* "seqlen=8192 mask=causal": numbers as numbers, the rest as text. Raises inside Lua. */
static void add_settings(DescReader *r) {
    lua_State *L = r->host.L;
    lua_newtable(L);
    for (const char *p = r->settings ? r->settings : ""; *(p += strspn(p, " ")) != '\0';) {
        const size_t size = strcspn(p, " "), name = strcspn(p, "= ");
        if (name == 0 || name >= size) {
            err_set(&r->host.error, ST_INVALID, "--set: '%.*s' is not name=value", (int)size, p);
            host_raise(&r->host);
        }
        lua_pushlstring(L, p, name);
        lua_pushlstring(L, p + name + 1, size - name - 1);
        if (lua_stringtonumber(L, lua_tostring(L, -1)) != 0) lua_remove(L, -2);
        lua_rawset(L, -3);
        p += size;
    }
    lua_setglobal(L, "set");
}

static void add_words(Host *host) {
    lua_State *L = host->L;
    static const struct {
        const char *name;
        lua_CFunction function;
    } words[] = {
        {"launch", word_launch}, {"cdiv", word_cdiv}, {"at", desc_word_at}, {"as", desc_word_as}};
    for (size_t i = 0; i < sizeof named_words / sizeof named_words[0]; i++) {
        lua_pushinteger(L, (lua_Integer)i);
        lua_pushcclosure(L, named_word, 1);
        lua_setglobal(L, named_words[i].word);
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        lua_pushcfunction(L, words[i].function);
        lua_setglobal(L, words[i].name);
    }
    desc_add_values(L);
    add_settings(host->context);
}

/* ---- the run ---- */

static Status own_directory(Arena *arena, const char *path, const char **out, Error *err) {
    char *copy = arena_strdup(arena, path);
    if (!copy) return err_no_memory(err, strlen(path));
    *out = dirname(copy); /* writes to its argument only */
    return ST_OK;
}

static Status allocate(Arena *arena, RunDesc *out, Error *err) {
    out->buffers = ARENA_ARRAY(arena, Buffer, DESC_MAX_BUFFERS);
    out->launches = ARENA_ARRAY(arena, Launch, DESC_MAX_LAUNCHES);
    out->expects = ARENA_ARRAY(arena, Expect, DESC_MAX_CHECKS);
    out->outputs = ARENA_ARRAY(arena, Output, DESC_MAX_CHECKS);
    if (out->buffers && out->launches && out->expects && out->outputs) return ST_OK;
    return err_no_memory(err, sizeof(Launch) * DESC_MAX_LAUNCHES);
}

Status desc_load(Arena *arena, const char *path, const char *files, const char *settings,
                 RunDesc *out, Error *err) {
    static const GenTree no_modules = {0};
    GenFile *file = ARENA_NEW(arena, GenFile); /* places in errors point to it */
    DescReader *r = ARENA_NEW(arena, DescReader);
    char *text = NULL;
    size_t size = 0;
    *out = (RunDesc){0};
    if (!file || !r) return err_no_memory(err, sizeof *r);
    Status st = files_read(arena, path, MAX_SCRIPT, &text, &size, err);
    if (st == ST_OK) st = allocate(arena, out, err);
    if (st == ST_OK && !files) st = own_directory(arena, path, &files, err);
    if (st != ST_OK) return st;
    *file = (GenFile){.path = arena_strdup(arena, path), .text = text, .size = size};
    if (!file->path) return err_no_memory(err, strlen(path));
    *r = (DescReader){.out = out, .files = files, .settings = settings};
    r->host = (Host){.arena = arena,
                     .tree = &no_modules,
                     .context = r,
                     .add_words = add_words,
                     .float_math = true,
                     .max_instructions = max_instructions,
                     .max_seconds = MAX_SECONDS};
    st = host_run(&r->host, file, err);
    if (st == ST_OK && out->launch_count == 0)
        return err_set(err, ST_SYNTAX, "%s: there is no launch { ... } in it", path);
    return st;
}
