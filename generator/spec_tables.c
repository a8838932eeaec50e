/* From a kernel's Lua table to a GenSpec: pipelines, launch steps, layouts, parts, seeds. */
#include "generator/read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **read_sorted_keys(SpecReader *r, TextPos pos, const char *what, size_t *count) {
    lua_State *L = r->host.L;
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) n++;
    if (n > 64) host_fail(&r->host, pos, "%s: more than 64 entries", what);
    const char **keys = host_alloc(&r->host, n, sizeof *keys);
    n = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        char number[32];
        if (lua_isinteger(L, -2)) {
            snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, -2));
            keys[n++] = host_copy(&r->host, number);
        } else if (lua_type(L, -2) == LUA_TSTRING) {
            keys[n++] = host_copy(&r->host, lua_tostring(L, -2));
        } else {
            host_fail(&r->host, pos, "%s: a key is a %s", what, luaL_typename(L, -2));
        }
    }
    qsort(keys, n, sizeof *keys, by_text);
    *count = n;
    return keys;
}

/* Pushes the value of a key that read_sorted_keys has shown as text. */
static int push_key(SpecReader *r, const char *key) {
    lua_State *L = r->host.L;
    lua_pushstring(L, key);
    if (lua_rawget(L, -2) != LUA_TNIL) return lua_type(L, -1);
    lua_pop(L, 1);
    return lua_rawgeti(L, -1, strtoll(key, NULL, 10));
}

/* ---- pipeline ---- */

static uint64_t feature(SpecReader *r, const char *name, TextPos pos, const char *what) {
    const char *names[GPU_FEATURE_COUNT];
    for (int i = 0; i < GPU_FEATURE_COUNT; i++) {
        names[i] = gpu_feature_name((GpuFeature)i);
        if (strcmp(name, names[i]) == 0) return 1ull << i;
    }
    const char *best = str_nearest(name, names, GPU_FEATURE_COUNT);
    host_fail(&r->host, host_place_text(pos, name), "%s: unknown feature '%.40s'%s%s%s", what, name,
              best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static bool good_path(const char *path) {
    return *path && strlen(path) < 100 && path[0] != '/' && !strstr(path, "..") &&
           strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.-") ==
               strlen(path);
}

void read_pipeline(SpecReader *r) {
    static const Field fields[] = {{"needs", false}, {"when", false}};
    lua_State *L = r->host.L;
    int n = read_array(r, "pipeline", GEN_MAX_PIPES), array = lua_gettop(L);
    if (!n) host_fail(&r->host, r->pos, "%s: 'pipeline' names no template", r->what);
    GenPipe *pipes = host_alloc(&r->host, (size_t)n, sizeof *pipes);
    for (int i = 0; i < n; i++) {
        const Entry *entry = host_element(&r->host, array, i + 1, ENTRY_PIPE,
                                          host_place_key(r->pos, "pipeline"), "pipeline");
        int table = lua_gettop(L);
        GenPipe *pipe = &pipes[i];
        char what[140];
        snprintf(what, sizeof what, "pipe '%.100s'", entry->name);
        host_check_keys(&r->host, table, entry->pos, what, fields, 2, false);
        if (!good_path(entry->name))
            host_fail(&r->host, entry->pos, "%s: not a path below templates/", what);
        pipe->path = arena_printf(r->host.arena, "templates/%s.cu", entry->name);
        if (!pipe->path) host_no_memory(&r->host);
        pipe->pos = entry->pos;
        if (host_table(&r->host, table, "needs", entry->pos, what)) {
            host_check_keys(&r->host, lua_gettop(L), entry->pos, "needs", NULL, 0, true);
            for (lua_Integer k = 1; lua_rawgeti(L, -1, k) != LUA_TNIL; k++) {
                if (lua_type(L, -1) != LUA_TSTRING)
                    host_fail(&r->host, entry->pos, "%s: needs[%lld] must be a text", what,
                              (long long)k);
                pipe->needs |= feature(r, lua_tostring(L, -1), entry->pos, what);
                lua_pop(L, 1);
            }
        }
        pipe->when = host_formula(&r->host, table, "when", entry->pos, what);
        read_check(r, &pipe->when, SEE_CONFIG | GEN_SEE_STATIC_ONLY, what);
        lua_settop(L, array);
    }
    lua_pop(L, 1);
    r->spec->pipes = pipes;
    r->spec->pipe_count = (size_t)n;
}

/* ---- launch ---- */

static void read_extent(SpecReader *r, int table, const char *key, TextPos pos, GenFormula out[3]) {
    lua_State *L = r->host.L;
    if (!host_table(&r->host, table, key, pos, "step")) return;
    int n = (int)lua_rawlen(L, -1);
    pos = host_place_key(pos, key);
    host_check_keys(&r->host, lua_gettop(L), pos, key, NULL, 0, true);
    if (n < 1 || n > 3) host_fail(&r->host, pos, "step: %s has %d extents, not 1..3", key, n);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, -1, i + 1);
        out[i] = host_formula_top(&r->host, pos, key);
        read_check(r, &out[i], SEE_ALL, key);
    }
    lua_pop(L, 1);
}

void read_launch(SpecReader *r) {
    static const Field fields[] = {{"entry", true},       {"grid", true},  {"block", true},
                                   {"smem", false},       {"when", false}, {"rounds", false},
                                   {"cooperative", false}};
    lua_State *L = r->host.L;
    int n = read_array(r, "launch", GEN_MAX_STEPS), array = lua_gettop(L);
    if (!n) host_fail(&r->host, r->pos, "%s: 'launch' has no step", r->what);
    for (int i = 0; i < n; i++) {
        const Entry *entry = host_element(&r->host, array, i + 1, ENTRY_STEP,
                                          host_place_key(r->pos, "launch"), "launch");
        int table = lua_gettop(L);
        GenStep *step = &r->spec->steps[i];
        host_check_keys(&r->host, table, entry->pos, "step", fields, 7, false);
        step->pos = entry->pos;
        step->entry = host_string(&r->host, table, "entry", entry->pos, "step");
        if (!gen_is_word(step->entry))
            host_fail(&r->host, entry->pos, "step: entry '%.60s' is not a name", step->entry);
        read_extent(r, table, "grid", entry->pos, step->grid);
        read_extent(r, table, "block", entry->pos, step->block);
        step->smem = host_formula(&r->host, table, "smem", entry->pos, "step");
        read_check(r, &step->smem, SEE_ALL, "smem");
        step->when = host_formula(&r->host, table, "when", entry->pos, "step");
        read_check(r, &step->when, SEE_ALL, "when");
        step->rounds = host_formula(&r->host, table, "rounds", entry->pos, "step");
        read_check(r, &step->rounds, SEE_ALL, "rounds");
        step->cooperative = host_boolean(&r->host, table, "cooperative", entry->pos, "step");
        lua_settop(L, array);
    }
    r->spec->step_count = (size_t)n;
    lua_pop(L, 1);
}

/* ---- layouts ---- */

static void check_layout(SpecReader *r, GenLayoutDef *def) {
    unsigned kinds = SEE_CONFIG | GEN_SEE_STATIC_ONLY;
    for (int i = 0; i < def->rep_count; i++)
        read_check(r, &def->reps[i].count, kinds, def->reps[i].rows ? "rep_row" : "rep_col");
    read_check(r, &def->rows, kinds, "rows");
    read_check(r, &def->cols, kinds, "cols");
    read_check(r, &def->elem_bytes, kinds, "elem_bytes");
}

void read_layouts(SpecReader *r) {
    lua_State *L = r->host.L;
    if (!host_table(&r->host, r->kernel, "layouts", r->pos, r->what)) return;
    TextPos pos = host_place_key(r->pos, "layouts");
    size_t n = 0;
    const char **keys = read_sorted_keys(r, pos, "layouts", &n);
    GenLayout *layouts = host_alloc(&r->host, n, sizeof *layouts);
    for (size_t i = 0; i < n; i++) {
        TextPos at = host_place_key(pos, keys[i]);
        if (!gen_is_word(keys[i]))
            host_fail(&r->host, at, "layouts: '%.60s' is not a name", keys[i]);
        push_key(r, keys[i]);
        const GenLayoutDef *def = host_layout(&r->host, -1);
        if (!def)
            host_fail(&r->host, at, "layouts: '%s' must be a layout of scripts/lib, not a %s",
                      keys[i], luaL_typename(L, -1));
        lua_pop(L, 1);
        GenLayoutDef *own = host_alloc(&r->host, 1, sizeof *own);
        *own = *def;
        check_layout(r, own);
        layouts[i] = (GenLayout){.name = keys[i], .def = own, .pos = at};
    }
    lua_pop(L, 1);
    r->spec->layouts = layouts;
    r->spec->layout_count = n;
}

/* ---- parts ---- */

static const char *part_path(SpecReader *r, TextPos pos, const char *slot) {
    lua_State *L = r->host.L;
    if (lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1)) return NULL;
    if (lua_type(L, -1) != LUA_TSTRING)
        host_fail(&r->host, pos,
                  "parts: '%s' must name a file of templates/parts/, or be false for "
                  "nothing; not a %s",
                  slot, luaL_typename(L, -1));
    const char *name = lua_tostring(L, -1);
    if (!good_path(name))
        host_fail(&r->host, pos, "parts: '%s' = '%.60s' is not a path below templates/parts/", slot,
                  name);
    const char *path = arena_printf(r->host.arena, "templates/parts/%s.cu", name);
    if (!path) host_no_memory(&r->host);
    return path;
}

static bool has_choice(const GenPart *part, const char *value) {
    for (size_t i = 0; i < part->count; i++)
        if (strcmp(part->choices[i].value, value) == 0) return true;
    return false;
}

static ExprValue listed_value(const GenDim *dim, size_t i) {
    return gen_dim_value(dim, dim->kind == GEN_DIM_ENUM ? (int64_t)i : dim->ints[i]);
}

/* Every value that `by` can have must have a file, and no other may. A let's values are not known
 * before it is computed; there a missing one is an error at emission. */
static void check_choices(SpecReader *r, const GenPart *part, const GenName *by) {
    char value[64];
    const GenSpec *spec = r->spec;
    size_t n = 0;
    if (by->kind == GEN_NAME_DIM) n = spec->dims[by->index].count;
    if (by->kind == GEN_NAME_AXIS) n = spec->axes[by->index].count;
    if (n == 0 && by->kind != GEN_NAME_LET)
        host_fail(&r->host, part->pos, "parts: '%s' is chosen by '%s', which has no list of values",
                  part->slot, part->by);
    for (size_t i = 0; i < n; i++) {
        gen_value_text(by->kind == GEN_NAME_DIM ? listed_value(&spec->dims[by->index], i)
                                                : gen_axis_value(&spec->axes[by->index],
                                                                 spec->axes[by->index].values[i]),
                       value, sizeof value);
        if (!has_choice(part, value))
            host_fail(&r->host, part->pos, "parts: '%s' has no file for %s = %s", part->slot,
                      part->by, value);
    }
    if (n && part->count > n)
        host_fail(&r->host, part->pos, "parts: '%s' names a value that '%s' does not have",
                  part->slot, part->by);
}

static void read_choices(SpecReader *r, GenPart *part) {
    lua_State *L = r->host.L;
    part->by = host_string(&r->host, lua_gettop(L), "by", part->pos, "parts");
    if (!part->by)
        host_fail(&r->host, part->pos, "parts: '%s' wants by = \"name\" and a file per value",
                  part->slot);
    const GenName *by = gen_name_find(r->spec, part->by);
    TextPos at = host_place_text(part->pos, part->by);
    if (!by || by->kind == GEN_NAME_RESOURCE)
        host_fail(&r->host, at,
                  "parts: '%s' is chosen by '%.48s', which is no dimension, axis or "
                  "let",
                  part->slot, part->by);
    if (!by->is_static)
        host_fail(&r->host, at, "parts: '%s' is chosen by '%s', which is not static", part->slot,
                  part->by);
    size_t n = 0, used = 0;
    const char **keys = read_sorted_keys(r, part->pos, "parts", &n);
    GenPartChoice *choices = host_alloc(&r->host, n, sizeof *choices);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(keys[i], "by") == 0) continue;
        push_key(r, keys[i]);
        choices[used++] =
            (GenPartChoice){.value = keys[i], .path = part_path(r, part->pos, part->slot)};
        lua_pop(L, 1);
    }
    part->choices = choices;
    part->count = used;
    check_choices(r, part, by);
}

void read_parts(SpecReader *r) {
    lua_State *L = r->host.L;
    if (!host_table(&r->host, r->kernel, "parts", r->pos, r->what)) return;
    TextPos pos = host_place_key(r->pos, "parts");
    size_t n = 0;
    const char **keys = read_sorted_keys(r, pos, "parts", &n);
    GenPart *parts = host_alloc(&r->host, n, sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        parts[i] = (GenPart){.slot = keys[i], .pos = host_place_key(pos, keys[i])};
        if (push_key(r, keys[i]) == LUA_TTABLE) {
            read_choices(r, &parts[i]);
        } else {
            GenPartChoice *one = host_alloc(&r->host, 1, sizeof *one);
            one->path = part_path(r, parts[i].pos, keys[i]);
            parts[i].choices = one;
            parts[i].count = 1;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    r->spec->parts = parts;
    r->spec->part_count = n;
}

/* ---- seeds ---- */

static int64_t seed_value(SpecReader *r, const GenAxis *axis, int table, TextPos pos) {
    lua_State *L = r->host.L;
    lua_pushstring(L, axis->name);
    int type = lua_rawget(L, table);
    if (type == LUA_TNIL) host_fail(&r->host, pos, "seed: axis '%s' is missing", axis->name);
    bool right = axis->is_bool ? type == LUA_TBOOLEAN : lua_isinteger(L, -1);
    if (!right)
        host_fail(&r->host, host_place_key(pos, axis->name), "seed: '%s' must be %s, not a %s",
                  axis->name, axis->is_bool ? "true or false" : "an integer", luaL_typename(L, -1));
    int64_t value = axis->is_bool ? lua_toboolean(L, -1) : lua_tointeger(L, -1);
    lua_pop(L, 1);
    for (size_t i = 0; i < axis->count; i++)
        if (axis->values[i] == value) return value;
    host_fail(&r->host, host_place_key(pos, axis->name),
              "seed: '%s' = %" PRId64 " is not in the space", axis->name, value);
}

void read_seeds(SpecReader *r) {
    lua_State *L = r->host.L;
    Field fields[GEN_MAX_AXES + 1];
    for (size_t i = 0; i < r->spec->axis_count; i++)
        fields[i] = (Field){r->spec->axes[i].name, false};
    fields[r->spec->axis_count] = (Field){"when", false};
    int n = read_array(r, "seeds", 512), array = lua_gettop(L);
    GenSeed *seeds = host_alloc(&r->host, (size_t)n, sizeof *seeds);
    for (int i = 0; i < n; i++) {
        const Entry *entry = host_element(&r->host, array, i + 1, ENTRY_SEED,
                                          host_place_key(r->pos, "seeds"), "seeds");
        int table = lua_gettop(L);
        host_check_keys(&r->host, table, entry->pos, "seed", fields, r->spec->axis_count + 1,
                        false);
        seeds[i].pos = entry->pos;
        for (size_t a = 0; a < r->spec->axis_count; a++)
            seeds[i].config.value[a] = seed_value(r, &r->spec->axes[a], table, entry->pos);
        seeds[i].when = host_formula(&r->host, table, "when", entry->pos, "seed");
        read_check(r, &seeds[i].when, SEE_DIMS | GEN_SEE_GPU, "seed");
        lua_settop(L, array);
    }
    if (n) lua_pop(L, 1);
    r->spec->seeds = seeds;
    r->spec->seed_count = (size_t)n;
}
