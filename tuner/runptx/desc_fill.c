/* fill = ..., equals = ...: contents from numbers, words, lists, functions, files. */
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "tuner/runptx/desc_read.h"

enum { MAX_FILE = 1 << 30, MAX_EVALUATED = 1 << 28 };

bool desc_number(lua_State *L, int index, Number *out) {
    if (lua_type(L, index) != LUA_TNUMBER) return false;
    if (lua_isinteger(L, index))
        *out = (Number){.integral = true, .i = lua_tointeger(L, index)};
    else
        *out = (Number){.d = lua_tonumber(L, index)};
    return true;
}

static void push_number(lua_State *L, Number value) {
    if (value.integral)
        lua_pushinteger(L, value.i);
    else
        lua_pushnumber(L, value.d);
}

/* An integer type gets an integral number, which is not a matter of course: 3.0 is a float. */
static Number fit(DescReader *r, Element type, Number value, TextPos pos, const char *what) {
    unsigned char bytes[8];
    if (element_encode(type, value, bytes))
        return element_is_float(type) ? value : element_decode(type, bytes);
    char text[40];
    number_text(value, text, sizeof text);
    host_fail(&r->host, pos, "%s: %s is not a number that %s can hold", what, text,
              element_name(type));
}

/* {a, b} of `key`; raises unless it is a pair of numbers. */
static void read_pair(DescReader *r, int table, const char *key, TextPos pos, const char *what,
                      Number *a, Number *b) {
    lua_State *L = r->host.L;
    lua_getfield(L, table, key);
    bool good = lua_istable(L, -1) && lua_rawlen(L, -1) == 2;
    if (good) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        good = desc_number(L, -2, a) && desc_number(L, -1, b);
        lua_pop(L, 2);
    }
    if (!good)
        host_fail(&r->host, host_place_key(pos, key), "%s: '%s' wants two numbers { a, b }", what,
                  key);
    lua_pop(L, 1);
}

static const struct {
    const char *word;
    FillKind kind;
} rules[] = {
    {"iota", FILL_IOTA},
    {"uniform", FILL_UNIFORM},
    {"normal", FILL_NORMAL},
};

static Number whole(int64_t i) {
    return (Number){.integral = true, .i = i};
}

/* The rule without its numbers: 0, 1, 2 ...; -1 to 1; mean 0 and deviation 1. */
static Fill preset(FillKind kind) {
    switch (kind) {
    case FILL_IOTA: return (Fill){.kind = kind, .a = whole(0), .b = whole(1)};
    case FILL_UNIFORM: return (Fill){.kind = kind, .a = whole(-1), .b = whole(1)};
    case FILL_NORMAL: return (Fill){.kind = kind, .a = whole(0), .b = whole(1)};
    default: return (Fill){.kind = kind, .a = whole(0)};
    }
}

static Fill by_word(DescReader *r, const char *word, TextPos pos, const char *what) {
    if (strcmp(word, "zeros") == 0) return preset(FILL_CONSTANT);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rules[i].word, word) == 0) return preset(rules[i].kind);
    host_fail(&r->host, host_place_text(pos, word),
              "%s: '%.40s' is no rule; legal: zeros, iota, uniform, normal, a number, a list, a "
              "function of the index, { file = \"name\" }",
              what, word);
}

static void want_count(DescReader *r, uint64_t count, TextPos pos, const char *what) {
    if (count == 0)
        host_fail(&r->host, pos, "%s: how many elements? give count = n or shape = { ... }", what);
    if (count > MAX_EVALUATED)
        host_fail(&r->host, pos, "%s: %llu elements are too many for a function or list (%d)", what,
                  (unsigned long long)count, MAX_EVALUATED);
}

/* The value on top of the stack as element `i`; pops it. */
static void store(DescReader *r, Element type, uint64_t i, unsigned char *bytes, TextPos pos,
                  const char *what) {
    Number value;
    unsigned char *to = bytes + i * element_bytes(type);
    if (!desc_number(r->host.L, -1, &value))
        host_fail(&r->host, pos, "%s: element %llu is a %s, not a number", what,
                  (unsigned long long)i, luaL_typename(r->host.L, -1));
    if (!element_encode(type, value, to)) {
        char name[128];
        snprintf(name, sizeof name, "%.80s: element %llu", what, (unsigned long long)i);
        (void)fit(r, type, value, pos, name); /* raises */
    }
    lua_pop(r->host.L, 1);
}

/* A function or list at the stack index `from`. */
static Fill evaluated(DescReader *r, int from, Element type, uint64_t count, TextPos pos,
                      const char *what) {
    lua_State *L = r->host.L;
    const bool list = lua_istable(L, from);
    want_count(r, count, pos, what);
    unsigned char *bytes = host_alloc(&r->host, count, element_bytes(type));
    for (uint64_t i = 0; i < count; i++) {
        if (list) {
            lua_rawgeti(L, from, (lua_Integer)i + 1);
        } else {
            lua_pushvalue(L, from);
            lua_pushinteger(L, (lua_Integer)i);
            lua_call(L, 1, 1);
        }
        store(r, type, i, bytes, pos, what);
    }
    return (Fill){.kind = FILL_BYTES, .bytes = bytes};
}

static Fill from_list(DescReader *r, int table, Element type, uint64_t *count, TextPos pos,
                      const char *what) {
    const uint64_t n = lua_rawlen(r->host.L, table);
    host_check_keys(&r->host, table, pos, what, NULL, 0, true);
    if (*count == 0) *count = n;
    if (n != *count)
        host_fail(&r->host, pos, "%s: a list of %llu elements, not %llu", what,
                  (unsigned long long)n, (unsigned long long)*count);
    return evaluated(r, table, type, n, pos, what);
}

static Fill from_file(DescReader *r, int table, Element type, uint64_t *count, TextPos pos,
                      const char *what) {
    char *bytes;
    size_t size;
    const char *name = host_string(&r->host, table, "file", pos, what);
    const int64_t offset = host_integer(&r->host, table, "offset", pos, what, 0);
    const TextPos place = host_place_text(pos, name);
    const char *path = desc_path(r, name, place, what);
    Error cause = {0};
    Status st = files_read(r->host.arena, path, MAX_FILE, &bytes, &size, &cause);
    if (st != ST_OK) host_fail(&r->host, place, "%s: %.900s", what, cause.message);
    if (offset < 0 || (uint64_t)offset > size)
        host_fail(&r->host, place, "%s: offset %lld is not within the file's %zu bytes", what,
                  (long long)offset, size);
    const uint64_t there = (size - (uint64_t)offset) / element_bytes(type);
    if (*count == 0) *count = there;
    if (*count > there)
        host_fail(&r->host, place, "%s: %llu elements of %s wanted, the file holds %llu", what,
                  (unsigned long long)*count, element_name(type), (unsigned long long)there);
    return (Fill){.kind = FILL_BYTES, .bytes = (const unsigned char *)bytes + offset};
}

/* { uniform = {lo, hi}, seed = n }, { file = "name", offset = n }, { 1, 2, 3 } */
static Fill by_table(DescReader *r, int table, Element type, uint64_t *count, TextPos pos,
                     const char *what) {
    static const Field fields[] = {{"iota", false}, {"uniform", false}, {"normal", false},
                                   {"seed", false}, {"file", false},    {"offset", false}};
    lua_State *L = r->host.L;
    if (lua_rawlen(L, table) > 0) return from_list(r, table, type, count, pos, what);
    host_check_keys(&r->host, table, pos, what, fields, sizeof fields / sizeof fields[0], false);
    Fill fill = {0};
    int given = 0;
    if (lua_getfield(L, table, "file") != LUA_TNIL) {
        fill = from_file(r, table, type, count, pos, what);
        given++;
    }
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const bool there = lua_getfield(L, table, rules[i].word) != LUA_TNIL;
        lua_pop(L, 1);
        if (!there) continue;
        fill.kind = rules[i].kind;
        read_pair(r, table, rules[i].word, pos, what, &fill.a, &fill.b);
        given++;
    }
    if (given != 1)
        host_fail(&r->host, pos,
                  "%s: one of iota, uniform, normal, file or a list is wanted, not %d", what,
                  given);
    if (fill.kind != FILL_BYTES)
        fill.seed = (uint64_t)host_integer(&r->host, table, "seed", pos, what, 0);
    return fill;
}

/* The numbers of a rule must be of the type, and a range must have an inside. */
static void check_rule(DescReader *r, Fill *fill, Element type, TextPos pos, const char *what) {
    if (fill->kind == FILL_NONE || fill->kind == FILL_BYTES) return;
    if (fill->kind == FILL_NORMAL && !element_is_float(type))
        host_fail(&r->host, pos, "%s: normal is for floats, not for %s", what, element_name(type));
    fill->a = fit(r, type, fill->a, pos, what);
    if (fill->kind == FILL_IOTA && !element_is_float(type)) {
        Number step = fit(r, ELEMENT_i64, fill->b, pos, what); /* may go down in unsigned ones */
        fill->b = step;
    } else if (fill->kind != FILL_CONSTANT) {
        fill->b = fit(r, type, fill->b, pos, what);
    }
    if (fill->kind == FILL_UNIFORM && number_double(type, fill->a) > number_double(type, fill->b))
        host_fail(&r->host, pos, "%s: uniform wants { least, most }", what);
}

Fill desc_fill(DescReader *r, int table, const char *key, Element type, uint64_t *count,
               TextPos pos, const char *what) {
    lua_State *L = r->host.L;
    Fill fill = {0};
    Number value;
    const TextPos place = host_place_key(pos, key);
    luaL_checkstack(L, 16, "nested too deep");
    lua_getfield(L, table, key);
    const int top = lua_gettop(L);
    if (desc_number(L, top, &value)) {
        fill = (Fill){.kind = FILL_CONSTANT, .a = value};
    } else if (lua_type(L, top) == LUA_TSTRING) {
        fill = by_word(r, lua_tostring(L, top), place, what);
    } else if (lua_isfunction(L, top)) {
        fill = evaluated(r, top, type, *count, place, what);
    } else if (lua_istable(L, top)) {
        fill = by_table(r, top, type, count, place, what);
    } else if (!lua_isnil(L, top)) {
        host_fail(&r->host, place,
                  "%s: '%s' is a %s; a number, a word, a function or a table is "
                  "wanted",
                  what, key, luaL_typename(L, top));
    }
    lua_settop(L, top - 1);
    check_rule(r, &fill, type, place, what);
    return fill;
}

/* Called for every element of a reference: looks for its place only when there is an error. */
int desc_word_at(lua_State *L) {
    DescReader *r = desc_reader(L);
    if (lua_type(L, 1) != LUA_TSTRING || !lua_isinteger(L, 2) || lua_gettop(L) != 2)
        host_fail(&r->host, host_caller(&r->host),
                  "at wants a buffer's name and an index: at(\"x\", i)");
    const char *name = lua_tostring(L, 1);
    const Buffer *b = desc_find(r, name);
    if (!b) b = &r->out->buffers[desc_buffer(r, name, host_caller(&r->host), "at")]; /* raises */
    const lua_Integer i = lua_tointeger(L, 2);
    unsigned char bytes[8];
    if (i < 0 || (uint64_t)i >= b->count)
        host_fail(&r->host, host_caller(&r->host), "at: element %lld of '%s', which has %llu",
                  (long long)i, b->name, (unsigned long long)b->count);
    if (b->fill.kind == FILL_NONE)
        host_fail(&r->host, host_caller(&r->host), "at: '%s' has no first contents (no fill)",
                  b->name);
    fill_write(&b->fill, b->type, (uint64_t)i, 1, bytes);
    push_number(L, element_decode(b->type, bytes));
    return 1;
}

int desc_word_as(lua_State *L) {
    DescReader *r = desc_reader(L);
    const TextPos pos = host_caller(&r->host);
    Element type;
    Number value;
    unsigned char bytes[8];
    if (lua_type(L, 1) != LUA_TSTRING || !element_find(lua_tostring(L, 1), &type) ||
        !desc_number(L, 2, &value))
        host_fail(&r->host, pos, "as wants a type and a number: as(\"f16\", x)");
    value = fit(r, type, value, pos, "as");
    (void)element_encode(type, value, bytes);
    push_number(L, element_decode(type, bytes));
    return 1;
}
