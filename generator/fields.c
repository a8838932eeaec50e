/* Reading a script's tables: keys that must and may be there, typed values, places for errors.
 *
 * Lua keeps lines of calls only, so the column of a key or text is found by looking for it in the
 * source from its entry's line on; where a text was computed there is no column. */
#include "generator/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *host_alloc(Host *host, size_t count, size_t size) {
    void *p = arena_array(host->arena, count ? count : 1, size);
    if (!p) host_no_memory(host);
    return p;
}

const char *host_copy(Host *host, const char *s) {
    const char *copy = arena_strdup(host->arena, s);
    if (!copy) host_no_memory(host);
    return copy;
}

static bool word_byte(char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool gen_is_word(const char *s) {
    size_t n = 0;
    while (word_byte(s[n])) n++;
    return n > 0 && n <= 48 && s[n] == '\0' && !(s[0] >= '0' && s[0] <= '9');
}

/* ---- places ---- */

static const char *line_start(const TextPos *pos) {
    const char *p = pos->text;
    for (int i = 1; p && i < pos->line; i++) {
        p = strchr(p, '\n');
        if (p) p++;
    }
    return p;
}

/* `at` lies in the text of `pos`, at or after its line. */
static TextPos move_to(TextPos pos, const char *at) {
    const char *line = line_start(&pos);
    for (const char *p = line; p < at; p++) {
        if (*p != '\n') continue;
        pos.line++;
        line = p + 1;
    }
    pos.column = (int)(at - line) + 1;
    return pos;
}

TextPos host_place_key(TextPos pos, const char *key) {
    const char *start = line_start(&pos);
    size_t n = strlen(key);
    for (const char *p = start ? strstr(start, key) : NULL; p; p = strstr(p + 1, key)) {
        if ((p > start && word_byte(p[-1])) || word_byte(p[n])) continue;
        const char *after = p + n + strspn(p + n, " \t\"]");
        if (after[0] == '=' && after[1] != '=') return move_to(pos, p);
    }
    return pos;
}

TextPos host_place_text(TextPos pos, const char *text) {
    const char *start = line_start(&pos);
    size_t n = strlen(text);
    for (const char *p = start && n ? strstr(start, text) : NULL; p; p = strstr(p + 1, text))
        if (p > start && (p[-1] == '"' || p[-1] == '\'') && p[n] == p[-1]) return move_to(pos, p);
    pos.column = 0;
    return pos;
}

/* ---- keys ---- */

static const char *describe_key(lua_State *L, int index, char *buffer, size_t size) {
    if (lua_type(L, index) == LUA_TSTRING)
        snprintf(buffer, size, "%.60s", lua_tostring(L, index));
    else if (lua_isinteger(L, index))
        snprintf(buffer, size, "[%lld]", (long long)lua_tointeger(L, index));
    else
        snprintf(buffer, size, "[a %s]", luaL_typename(L, index));
    return buffer;
}

/* The first unknown key in byte order, so that the message is the same every time. */
static bool unknown_key(Host *host, int table, const Field *fields, size_t count, bool array,
                        char *found, size_t size) {
    lua_State *L = host->L;
    lua_Integer n = array ? (lua_Integer)lua_rawlen(L, table) : 0;
    bool any = false;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        char key[80];
        bool known = false;
        describe_key(L, -2, key, sizeof key);
        if (lua_isinteger(L, -2)) known = lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n;
        for (size_t i = 0; i < count && !known; i++) known = strcmp(key, fields[i].key) == 0;
        if (known || (any && strcmp(key, found) >= 0)) continue;
        snprintf(found, size, "%s", key);
        any = true;
    }
    return any;
}

void host_check_keys(Host *host, int table, TextPos pos, const char *what, const Field *fields,
                     size_t count, bool array) {
    lua_State *L = host->L;
    char found[80];
    const char *names[64];
    for (size_t i = 0; i < count && i < 64; i++) names[i] = fields[i].key;
    if (unknown_key(host, table, fields, count, array, found, sizeof found)) {
        const char *best = str_nearest(found, names, count);
        host_fail(host, host_place_key(pos, found), "%s: unknown key '%s'%s%s%s", what, found,
                  best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
    }
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].required) continue;
        lua_pushstring(L, fields[i].key);
        if (lua_rawget(L, table) == LUA_TNIL)
            host_fail(host, pos, "%s: '%s' is missing", what, fields[i].key);
        lua_pop(L, 1);
    }
}

/* ---- typed fields ---- */

static int raw_field(Host *host, int table, const char *key) {
    lua_pushstring(host->L, key);
    return lua_rawget(host->L, table);
}

static _Noreturn void wrong_type(Host *host, TextPos pos, const char *what, const char *key,
                                 const char *wanted) {
    host_fail(host, host_place_key(pos, key), "%s: '%s' must be %s, not a %s", what, key, wanted,
              luaL_typename(host->L, -1));
}

const char *host_string(Host *host, int table, const char *key, TextPos pos, const char *what) {
    const char *out = NULL;
    int type = raw_field(host, table, key);
    if (type == LUA_TSTRING) {
        out = host_copy(host, lua_tostring(host->L, -1));
        if (strlen(out) != lua_rawlen(host->L, -1))
            host_fail(host, host_place_key(pos, key), "%s: '%s' contains a zero byte", what, key);
    } else if (type != LUA_TNIL) {
        wrong_type(host, pos, what, key, "a text in quotes");
    }
    lua_pop(host->L, 1);
    return out;
}

int64_t host_integer(Host *host, int table, const char *key, TextPos pos, const char *what,
                     int64_t missing) {
    if (raw_field(host, table, key) != LUA_TNIL) {
        if (!lua_isinteger(host->L, -1)) wrong_type(host, pos, what, key, "an integer");
        missing = lua_tointeger(host->L, -1);
    }
    lua_pop(host->L, 1);
    return missing;
}

bool host_boolean(Host *host, int table, const char *key, TextPos pos, const char *what) {
    int type = raw_field(host, table, key);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN) wrong_type(host, pos, what, key, "true or false");
    bool value = lua_toboolean(host->L, -1);
    lua_pop(host->L, 1);
    return value;
}

bool host_table(Host *host, int table, const char *key, TextPos pos, const char *what) {
    int type = raw_field(host, table, key);
    if (type == LUA_TTABLE) return true;
    if (type != LUA_TNIL) wrong_type(host, pos, what, key, "a table");
    lua_pop(host->L, 1);
    return false;
}

GenFormula host_formula_top(Host *host, TextPos pos, const char *what) {
    lua_State *L = host->L;
    GenFormula formula = {.pos = pos};
    if (lua_type(L, -1) != LUA_TSTRING && !lua_isinteger(L, -1))
        host_fail(host, pos, "%s: a formula is a text in quotes or an integer, not a %s", what,
                  luaL_typename(L, -1));
    bool literal = lua_type(L, -1) == LUA_TSTRING;
    const char *text = lua_tostring(L, -1);
    if (literal) formula.pos = host_place_text(pos, text);
    if (strlen(text) != lua_rawlen(L, -1))
        host_fail(host, pos, "%s: the formula contains a zero byte", what);
    Status status = expr_parse(host->arena, text, formula.pos, &formula.expr, &host->error);
    if (status != ST_OK) {
        if (status != ST_NO_MEMORY && formula.pos.column == 0) err_wrap(&host->error, "%s", what);
        host_raise(host);
    }
    lua_pop(L, 1);
    return formula;
}

GenFormula host_formula(Host *host, int table, const char *key, TextPos pos, const char *what) {
    if (raw_field(host, table, key) == LUA_TNIL) {
        lua_pop(host->L, 1);
        return (GenFormula){.pos = pos};
    }
    char label[128];
    snprintf(label, sizeof label, "%s %s", what, key);
    return host_formula_top(host, host_place_key(pos, key), label);
}

const Entry *host_element(Host *host, int table, int i, EntryKind kind, TextPos pos,
                          const char *what) {
    lua_State *L = host->L;
    const char *word = host_kind_name(kind);
    luaL_checkstack(L, 8, "nested too deep");
    lua_rawgeti(L, table, i);
    const Entry *entry = host_entry(host, -1);
    if (lua_isfunction(L, -1))
        host_fail(host, pos, "%s[%d]: its table { ... } is missing after the name", what, i);
    if (!entry)
        host_fail(host, pos, "%s[%d] must be made by '%s', not a %s", what, i, word,
                  luaL_typename(L, -1));
    if (entry->kind != kind)
        host_fail(host, entry->pos, "%s[%d] must be made by '%s', not by '%s'", what, i, word,
                  host_kind_name(entry->kind));
    lua_getiuservalue(L, -1, 1);
    return entry;
}
