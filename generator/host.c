/* The sandbox: which part of Lua a script gets, and how a run ends.
 *
 * Invariant: all Lua code runs inside one lua_pcall, so every way out (error, no memory, a limit)
 * comes back here and the state is closed. Nothing that could leak is held across a Lua call:
 * results go to the arena. */
#include "generator/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { HOOK_EVERY = 100, BIG_BLOCK = 1 << 16 };

static const char failed_marker = 'f';

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

Host *host_of(lua_State *L) {
    return *(Host **)lua_getextraspace(L);
}

/* ---- leaving ---- */

_Noreturn void host_raise(Host *host) {
    host->failed = true;
    lua_pushlightuserdata(host->L, (void *)(uintptr_t)&failed_marker);
    lua_error(host->L);
    abort(); /* lua_error does not return */
}

_Noreturn void host_fail(Host *host, TextPos pos, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_at(&host->error, ST_SYNTAX, pos, "%s", text);
    host_raise(host);
}

_Noreturn void host_no_memory(Host *host) {
    err_no_memory(&host->error, 0);
    host_raise(host);
}

void host_try(Host *host, Status status) {
    if (status != ST_OK) host_raise(host);
}

/* ---- limits ---- */

static void *allocate(void *context, void *p, size_t old_size, size_t size) {
    Host *host = context;
    if (!p) old_size = 0; /* then it is a type code */
    if (size == 0) {
        host->memory -= old_size;
        mem_free(p);
        return NULL;
    }
    /* Copying big strings can take seconds between two runs of the hook: look at the clock. */
    bool late = size > BIG_BLOCK && size > old_size && now_ns() > host->deadline;
    if (host->memory - old_size + size > HOST_MEMORY || late) {
        host->over_memory = !late;
        return NULL;
    }
    void *grown = mem_realloc(p, size);
    if (!grown) return size <= old_size ? p : NULL; /* Lua relies on shrinking to work */
    host->memory += size - old_size;
    return grown;
}

static void tick(lua_State *L, lua_Debug *ar) {
    (void)ar;
    Host *host = host_of(L);
    host->instructions += HOOK_EVERY;
    bool late = now_ns() > host->deadline;
    if (!late && host->instructions <= host->max_instructions) return;
    luaL_where(L, 0); /* the running function itself: a hook has no level of its own */
    if (late)
        lua_pushfstring(L, "the script ran longer than %d seconds", host->max_seconds);
    else
        lua_pushfstring(L, "the script ran more than %I instructions; is there an endless loop?",
                        (LUAI_UACINT)host->max_instructions);
    lua_concat(L, 2);
    lua_error(L);
}

/* ---- the library ---- */

static int lib_rep(lua_State *L) {
    size_t size = 0, sep = 0;
    luaL_checklstring(L, 1, &size);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &sep);
    /* n alone too: rep("", 2^60) makes nothing for a very long time */
    if (n > HOST_STRING || (n > 0 && (size + sep) * (size_t)n > HOST_STRING))
        return luaL_error(L, "string.rep: the result would be longer than %d bytes", HOST_STRING);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int lib_format(lua_State *L) {
    size_t size = 0, total = 0;
    const char *format = luaL_checklstring(L, 1, &size);
    for (size_t i = 0; i + 1 < size; i++) {
        if (format[i] != '%') continue;
        if (format[i + 1] == '%') {
            i++;
            continue;
        }
        size_t j = i + 1 + strspn(format + i + 1, "-+ #0123456789.");
        if (format[j] == 'p')
            return luaL_error(L, "string.format: %%p would differ from run to run");
    }
    for (int i = 2; i <= lua_gettop(L); i++) {
        int type = lua_type(L, i);
        if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TBOOLEAN && type != LUA_TNIL)
            return luaL_error(L, "string.format: argument %d is a %s", i, luaL_typename(L, i));
        total += type == LUA_TSTRING ? lua_rawlen(L, i) : 128;
    }
    if (size + total > HOST_STRING)
        return luaL_error(L, "string.format: the result would be longer than %d bytes",
                          HOST_STRING);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int lib_tostring(lua_State *L) {
    int type = lua_type(L, 1);
    if (type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TBOOLEAN || type == LUA_TNIL)
        luaL_tolstring(L, 1, NULL);
    else
        lua_pushstring(L, luaL_typename(L, 1)); /* an address would differ from run to run */
    return 1;
}

/* pairs in a fixed order: booleans, numbers, texts, each sorted. The state is a
 * snapshot of the keys, so a loop may change the table. */
static int next_pair(lua_State *L) {
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(1)) + 1;
    for (;; i++) {
        if (lua_rawgeti(L, lua_upvalueindex(2), i) == LUA_TNIL) return 1;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(3)) != LUA_TNIL) break;
        lua_pop(L, 2); /* removed meanwhile */
    }
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(1));
    return 2;
}

static int key_less(lua_State *L) {
    int a = lua_type(L, 1), b = lua_type(L, 2);
    bool less = a < b;
    if (a == b && (a == LUA_TNUMBER || a == LUA_TSTRING)) less = lua_compare(L, 1, 2, LUA_OPLT);
    if (a == b && a == LUA_TBOOLEAN) less = lua_toboolean(L, 1) < lua_toboolean(L, 2);
    lua_pushboolean(L, less);
    return 1;
}

static int lib_pairs(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_pushinteger(L, 0);
    lua_newtable(L);
    lua_Integer n = 0;
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        int type = lua_type(L, -2);
        if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TBOOLEAN)
            return luaL_error(L, "pairs: a key is a %s; its order would differ from run to run",
                              luaL_typename(L, -2));
        lua_pushvalue(L, -2);
        lua_rawseti(L, 3, ++n);
    }
    lua_pushvalue(L, lua_upvalueindex(1)); /* table.sort */
    lua_pushvalue(L, 3);
    lua_pushcfunction(L, key_less);
    lua_call(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, next_pair, 3);
    return 1;
}

static int lib_require(lua_State *L) {
    Host *host = host_of(L);
    const char *name = luaL_checkstring(L, 1);
    TextPos pos = host_caller(host);
    pos = host_place_text(pos, name);
    if (!gen_is_word(name)) host_fail(host, pos, "require: '%.60s' is not a module name", name);
    lua_pushvalue(L, lua_upvalueindex(1)); /* loaded modules; false while one is loading */
    if (lua_getfield(L, -1, name) == LUA_TBOOLEAN)
        host_fail(host, pos, "require: module '%s' requires itself", name);
    if (!lua_isnil(L, -1)) return 1;
    lua_pop(L, 1);
    char path[128];
    snprintf(path, sizeof path, "scripts/lib/%s.lua", name);
    const GenFile *file = gen_tree_find(host->tree, path);
    if (!file) host_fail(host, pos, "require: there is no %s", path);
    if (host->file_count == (int)(sizeof host->files / sizeof *host->files))
        host_fail(host, pos, "require: more than %d modules", host->file_count);
    host->files[host->file_count++] = file;
    lua_pushboolean(L, false);
    lua_setfield(L, -2, name);
    const char *chunk = lua_pushfstring(L, "@%s", path);
    if (luaL_loadbufferx(L, file->text, file->size, chunk, "t") != LUA_OK) return lua_error(L);
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1)) host_fail(host, pos, "require: module '%s' returns nothing", name);
    lua_pushvalue(L, -1);
    lua_setfield(L, lua_upvalueindex(1), name);
    return 1;
}

/* Reading a global that does not exist is always a misspelling here. */
static int unknown_global(lua_State *L) {
    const char *names[96];
    size_t n = 0;
    const char *wanted = lua_tostring(L, 2);
    if (!wanted) wanted = "?";
    for (lua_pushnil(L); n < 96 && lua_next(L, 1); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING) names[n++] = lua_tostring(L, -2);
    const char *best = str_nearest(wanted, names, n);
    if (best) return luaL_error(L, "unknown name '%s'; did you mean '%s'?", wanted, best);
    return luaL_error(L, "unknown name '%s'", wanted);
}

static int new_global(lua_State *L) {
    return luaL_error(L, "'%s' would be global; write 'local %s'", luaL_tolstring(L, 2, NULL),
                      luaL_tolstring(L, 2, NULL));
}

/* Removes every field of the table on top of the stack that `keep` does not list. */
static void keep_only(lua_State *L, const char *const *keep) {
    lua_newtable(L);
    for (; *keep; keep++) {
        lua_getfield(L, -2, *keep);
        lua_setfield(L, -2, *keep);
    }
    for (lua_pushnil(L); lua_next(L, -3);) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        bool kept = lua_rawget(L, -3) != LUA_TNIL;
        lua_pop(L, 1);
        if (kept) continue;
        lua_pushvalue(L, -1); /* assigning nil to a field met by lua_next is allowed */
        lua_pushnil(L);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
}

static void wrap(lua_State *L, const char *name, lua_CFunction f) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, f, 1);
    lua_setfield(L, -2, name);
}

/* Lua's own functions that a description needs. The pattern functions (find, match, gmatch, gsub)
 * are missing since the instruction hook never runs inside them; dump, pack and unpack are of no
 * use; table.move can loop 2^63 times over nothing; math.random is not the same twice. */
static void open_libraries(Host *host) {
    static const char *const base[] = {"assert",   "error",  "ipairs", "select", "tonumber", "type",
                                       "tostring", "string", "table",  "math",   NULL};
    static const char *const string[] = {"byte", "char",    "format", "len",   "lower",
                                         "rep",  "reverse", "sub",    "upper", NULL};
    static const char *const table[] = {"concat", "insert", "remove", "sort",
                                        "pack",   "unpack", NULL};
    static const char *const math[] = {"abs",  "ceil",      "floor",      "max",        "min",
                                       "type", "tointeger", "maxinteger", "mininteger", NULL};
    static const char *const float_math[] = {"abs",  "ceil",      "floor",      "max",        "min",
                                             "type", "tointeger", "maxinteger", "mininteger", "cos",
                                             "exp",  "fmod",      "huge",       "log",        "pi",
                                             "sin",  "sqrt",      "tan",        "ult",        NULL};
    lua_State *L = host->L;
    luaL_requiref(L, "_G", luaopen_base, 1);
    luaL_requiref(L, "string", luaopen_string, 1);
    keep_only(L, string);
    wrap(L, "rep", lib_rep);
    wrap(L, "format", lib_format);
    luaL_requiref(L, "table", luaopen_table, 1);
    keep_only(L, table);
    luaL_requiref(L, "math", luaopen_math, 1);
    keep_only(L, host->float_math ? float_math : math);
    lua_settop(L, 0);
    lua_pushnil(L); /* luaL_requiref's own record of modules */
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushglobaltable(L);
    keep_only(L, base);
    lua_pushcfunction(L, lib_tostring);
    lua_setfield(L, -2, "tostring");
    lua_getfield(L, -1, "table");
    lua_getfield(L, -1, "sort");
    lua_remove(L, -2);
    lua_pushcclosure(L, lib_pairs, 1);
    lua_setfield(L, -2, "pairs");
    lua_newtable(L);
    lua_pushcclosure(L, lib_require, 1);
    lua_setfield(L, -2, "require");
    lua_pop(L, 1);
}

static void lock_globals(lua_State *L) {
    lua_pushglobaltable(L);
    lua_newtable(L);
    lua_pushcfunction(L, unknown_global);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, new_global);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

/* ---- a run ---- */

/* Message handler: every message gets a place, also those of C functions called by C functions and
 * objects that are no text. Runs where the error happened. */
static int add_place(lua_State *L) {
    Host *host = host_of(L);
    if (lua_islightuserdata(L, 1)) return 1; /* ours, complete */
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    for (int i = 0; text && i < host->file_count; i++) {
        size_t n = strlen(host->files[i]->path);
        if (strncmp(text, host->files[i]->path, n) == 0 && text[n] == ':') return 1;
    }
    TextPos pos = host_caller(host);
    lua_pushfstring(L, "%s:%d: %s", pos.file, pos.line, text ? text : "error() was given no text");
    return 1;
}

static int run_script(lua_State *L) {
    Host *host = host_of(L);
    const GenFile *file = host->files[0];
    open_libraries(host);
    host_add_vocabulary(host);
    if (host->add_words) host->add_words(host);
    lock_globals(L);
    lua_sethook(L, tick, LUA_MASKCOUNT, HOOK_EVERY);
    const char *chunk = lua_pushfstring(L, "@%s", file->path);
    if (luaL_loadbufferx(L, file->text, file->size, chunk, "t") != LUA_OK) return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

/* Are the n bytes at i a piece of a longer word? */
static bool inside_word(const char *line, size_t i, size_t n, size_t size) {
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    bool head = strchr(word, line[i]) != NULL, tail = strchr(word, line[i + n - 1]) != NULL;
    return (head && i > 0 && strchr(word, line[i - 1])) ||
           (tail && i + n < size && strchr(word, line[i + n]));
}

/* The column of the quoted word in Lua's message ("near 'x'", "(global 'x')"), else of the first
 * byte of the line. */
static int column_of(const TextPos *pos, const char *message) {
    const char *line = pos->text;
    for (int i = 1; line && i < pos->line; i++) {
        line = strchr(line, '\n');
        if (line) line++;
    }
    if (!line) return 0;
    size_t size = strcspn(line, "\n"), first = strspn(line, " \t");
    const char *quote = strchr(message, '\'');
    const char *end = quote ? strchr(quote + 1, '\'') : NULL;
    if (end && end > quote + 1) {
        size_t n = (size_t)(end - quote - 1);
        for (size_t i = 0; i + n <= size; i++)
            if (memcmp(line + i, quote + 1, n) == 0 && !inside_word(line, i, n, size))
                return (int)i + 1;
    }
    return first < size ? (int)first + 1 : 1;
}

/* Lua's text is "file:line: message"; the file is one of ours. */
static Status lua_fault(Host *host, int code, Error *err) {
    if (host->failed) {
        if (err) *err = host->error;
        return host->error.status;
    }
    const GenFile *main_file = host->files[0];
    if (code == LUA_ERRMEM) {
        if (host->over_memory)
            return err_set(err, ST_LIMIT, "%s: the script needs more than %d MiB of memory",
                           main_file->path, HOST_MEMORY >> 20);
        if (now_ns() > host->deadline)
            return err_set(err, ST_LIMIT, "%s: the script ran longer than %d seconds",
                           main_file->path, host->max_seconds);
        return err_no_memory(err, 0);
    }
    const char *text = lua_tostring(host->L, -1); /* add_place made it a string */
    if (!text) text = "unknown error";
    for (int i = 0; i < host->file_count; i++) {
        const GenFile *file = host->files[i];
        size_t n = strlen(file->path);
        char *end = NULL;
        if (strncmp(text, file->path, n) != 0 || text[n] != ':') continue;
        long line = strtol(text + n + 1, &end, 10);
        if (!end || *end != ':' || line < 1 || line > 10000000) continue;
        TextPos pos = {.file = file->path, .text = file->text, .line = (int)line};
        const char *message = end + 1 + strspn(end + 1, " ");
        pos.column = column_of(&pos, message);
        return err_at(err, ST_SYNTAX, pos, "%.900s", message);
    }
    return err_set(err, ST_SYNTAX, "%s: %.900s", main_file->path, text);
}

Status host_run(Host *host, const GenFile *file, Error *err) {
    host->files[0] = file;
    host->file_count = 1;
    host->memory = 0;
    host->instructions = 0;
    host->calls = 0;
    host->failed = host->over_memory = false;
    if (host->max_instructions == 0) host->max_instructions = HOST_INSTRUCTIONS;
    if (host->max_seconds == 0) host->max_seconds = HOST_SECONDS;
    host->deadline = now_ns() + host->max_seconds * 1000000000ll;
    host->L = lua_newstate(allocate, host);
    if (!host->L) return err_no_memory(err, sizeof(void *) * 256);
    *(Host **)lua_getextraspace(host->L) = host;
    lua_pushcfunction(host->L, add_place);
    lua_pushcfunction(host->L, run_script);
    int code = lua_pcall(host->L, 0, 0, 1);
    Status status = code == LUA_OK ? ST_OK : lua_fault(host, code, err);
    lua_close(host->L);
    host->L = NULL;
    return status;
}
