/* i32(5), f16(0.5), ptr("x", 64), struct { size = 472, [0] = ptr "q" }: values with their places.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tuner/runptx/desc_read.h"

enum { MAX_PARAMS = 1024 };

static const char value_type[] = "typed value";

static int push_value(DescReader *r, const Value *value) {
    Value *copy = host_alloc(&r->host, 1, sizeof *copy);
    *copy = *value;
    Value **box = lua_newuserdatauv(r->host.L, sizeof *box, 0);
    *box = copy;
    luaL_setmetatable(r->host.L, value_type);
    return 1;
}

static int word_number(lua_State *L) {
    DescReader *r = desc_reader(L);
    const Element type = (Element)lua_tointeger(L, lua_upvalueindex(1));
    Value value = {.kind = VALUE_NUMBER, .type = type, .size = element_bytes(type)};
    Number number;
    value.pos = host_caller(&r->host);
    if (lua_gettop(L) != 1 || !desc_number(L, 1, &number))
        host_fail(&r->host, value.pos, "%s wants one number, not a %s", element_name(type),
                  luaL_typename(L, 1));
    if (!element_encode(type, number, value.bytes)) {
        char text[40];
        number_text(number, text, sizeof text);
        host_fail(&r->host, value.pos, "%s cannot hold %s", element_name(type), text);
    }
    return push_value(r, &value);
}

static int word_ptr(lua_State *L) {
    DescReader *r = desc_reader(L);
    Value value = {.kind = VALUE_POINTER, .size = 8, .pos = host_caller(&r->host)};
    if (lua_type(L, 1) != LUA_TSTRING || lua_gettop(L) > 2 ||
        (!lua_isnoneornil(L, 2) && !lua_isinteger(L, 2)))
        host_fail(&r->host, value.pos,
                  "ptr wants a buffer's name and perhaps bytes: ptr \"x\", ptr(\"x\", 64)");
    const char *name = lua_tostring(L, 1);
    const TextPos place = host_place_text(value.pos, name);
    value.buffer = desc_buffer(r, name, place.line == value.pos.line ? place : value.pos, "ptr");
    value.offset = lua_tointeger(L, 2);
    return push_value(r, &value);
}

static const Value *value_at(lua_State *L, int index) {
    Value *const *box = luaL_testudata(L, index, value_type);
    return box ? *box : NULL;
}

_Noreturn static void untyped(DescReader *r, int index, TextPos pos, const char *what) {
    host_fail(&r->host, pos,
              "%s is a %s; a value with a type is wanted: i32(5), f32(0.5), ptr \"x\", struct { "
              "size = n, [offset] = value }",
              what, luaL_typename(r->host.L, index));
}

const Value *desc_values(DescReader *r, TextPos pos, const char *what, size_t *count) {
    lua_State *L = r->host.L;
    const int table = lua_gettop(L);
    const size_t n = lua_rawlen(L, table);
    char name[96];
    host_check_keys(&r->host, table, pos, what, NULL, 0, true);
    if (n > MAX_PARAMS) host_fail(&r->host, pos, "%s: more than %d values", what, MAX_PARAMS);
    Value *out = host_alloc(&r->host, n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, table, (lua_Integer)i + 1);
        const Value *value = value_at(L, -1);
        snprintf(name, sizeof name, "%s[%zu]", what, i + 1);
        if (!value) untyped(r, -1, pos, name);
        out[i] = *value;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    *count = n;
    return out;
}

static int by_offset(const void *a, const void *b) {
    const Patch *p = a, *q = b;
    return p->offset < q->offset ? -1 : p->offset > q->offset;
}

static void check_overlap(DescReader *r, const Patch *fields, size_t n, size_t size,
                          const char *what) {
    for (size_t i = 0; i < n; i++) {
        const Patch *f = &fields[i];
        if (f->value.size > size || f->offset > size - f->value.size)
            host_fail(&r->host, f->value.pos, "%s: field at %zu of %zu bytes ends after %zu", what,
                      f->offset, f->value.size, size);
        if (i > 0 && fields[i - 1].offset + fields[i - 1].value.size > f->offset)
            host_fail(&r->host, f->value.pos,
                      "%s: the field at %zu overlaps that at %zu, of %zu "
                      "bytes",
                      what, f->offset, fields[i - 1].offset, fields[i - 1].value.size);
    }
}

const Patch *desc_patches(DescReader *r, int index, size_t size, TextPos pos, const char *what,
                          size_t *count) {
    lua_State *L = r->host.L;
    size_t n = 0, most = 0;
    luaL_checkstack(L, 8, "nested too deep");
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) most++;
    Patch *out = host_alloc(&r->host, most, sizeof *out);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (!lua_isinteger(L, -2)) continue; /* a key, checked by the caller */
        const lua_Integer offset = lua_tointeger(L, -2);
        const Value *value = value_at(L, -1);
        char name[96];
        snprintf(name, sizeof name, "%s[%lld]", what, (long long)offset);
        if (!value) untyped(r, -1, pos, name);
        if (offset < 0) host_fail(&r->host, value->pos, "%s: a negative offset", name);
        out[n++] = (Patch){.offset = (size_t)offset, .value = *value};
    }
    qsort(out, n, sizeof *out, by_offset);
    check_overlap(r, out, n, size, what);
    *count = n;
    return out;
}

/* Refuses text keys but those listed; integer keys are offsets. */
static void check_struct_keys(DescReader *r, TextPos pos) {
    lua_State *L = r->host.L;
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (lua_isinteger(L, -2)) continue;
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(key, "size") != 0)
            host_fail(&r->host, host_place_key(pos, key),
                      "struct: unknown key '%.40s'; legal: size, and [offset] = value", key);
    }
}

static int word_struct(lua_State *L) {
    DescReader *r = desc_reader(L);
    Value value = {.kind = VALUE_STRUCT, .pos = host_caller(&r->host)};
    if (!lua_istable(L, 1) || lua_gettop(L) != 1)
        host_fail(&r->host, value.pos,
                  "struct wants one table: struct { size = 16, [0] = ptr \"x\", [8] = i32(5) }");
    check_struct_keys(r, value.pos);
    const int64_t size = host_integer(&r->host, 1, "size", value.pos, "struct", 0);
    if (size < 1 || size > 32764) /* the largest parameter space, PTX ISA */
        host_fail(&r->host, value.pos, "struct: size = bytes is wanted, 1..32764");
    value.size = (size_t)size;
    value.fields = desc_patches(r, 1, value.size, value.pos, "struct", &value.field_count);
    return push_value(r, &value);
}

void desc_add_values(lua_State *L) {
    luaL_newmetatable(L, value_type);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    for (int type = 0; type < ELEMENT_COUNT; type++) {
        lua_pushinteger(L, type);
        lua_pushcclosure(L, word_number, 1);
        lua_setglobal(L, element_name((Element)type));
    }
    lua_pushcfunction(L, word_ptr);
    lua_setglobal(L, "ptr");
    lua_pushcfunction(L, word_struct);
    lua_setglobal(L, "struct");
}
