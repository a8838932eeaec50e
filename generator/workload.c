/* Workloads: lists of problems with a label and the source of their shape.
 *
 * A workload names operations and dimensions of the library's specs; each mistake is said with the
 * item's place. Every problem that leaves here is checked. */
#include "generator/host.h"

#include <stdio.h>
#include <string.h>

#include "base/files.h"

enum { MAX_ITEMS = 10000 };

typedef struct WorkloadReader {
    Host host;
    const GenLibrary *lib;
    GenWorkload *out;
} WorkloadReader;

static const GenSpec *item_spec(WorkloadReader *r, int table, TextPos pos) {
    const char *op = host_string(&r->host, table, "op", pos, "item");
    if (!op) host_fail(&r->host, pos, "item: 'op' is missing: the name of a kernel family");
    const GenSpec *spec = gen_spec_find(r->lib, op);
    if (spec) return spec;
    const char *names[256];
    size_t n = 0;
    for (; n < r->lib->spec_count && n < 256; n++) names[n] = r->lib->specs[n]->name;
    const char *best = str_nearest(op, names, n);
    host_fail(&r->host, host_place_text(pos, op), "item: unknown op '%.60s'%s%s%s", op,
              best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
}

static void set_dim(WorkloadReader *r, GenProblem *problem, int table, const GenDim *dim,
                    TextPos pos) {
    lua_State *L = r->host.L;
    lua_pushstring(L, dim->name);
    int type = lua_rawget(L, table);
    TextPos at = host_place_key(pos, dim->name);
    Error cause;
    Status status = ST_OK;
    if (type == LUA_TSTRING)
        status = gen_problem_set_word(problem, dim->name, lua_tostring(L, -1), &cause);
    else if (lua_isinteger(L, -1))
        status = gen_problem_set(problem, dim->name, lua_tointeger(L, -1), &cause);
    else if (type != LUA_TNIL)
        host_fail(&r->host, at, "item: '%s' must be an integer or a word, not a %s", dim->name,
                  luaL_typename(L, -1));
    if (status != ST_OK) host_fail(&r->host, at, "%.900s", cause.message);
    if (type != LUA_TNIL && lua_isinteger(L, -1) && dim->kind == GEN_DIM_ENUM)
        host_fail(&r->host, at, "item: '%s' is one of its words, not a number", dim->name);
    lua_pop(L, 1);
}

static void read_item(WorkloadReader *r, GenWorkItem *item, const Entry *entry, int table) {
    const GenSpec *spec = item_spec(r, table, entry->pos);
    Field fields[GEN_MAX_DIMS + 3] = {{"op", true}, {"label", true}, {"source", true}};
    for (size_t i = 0; i < spec->dim_count; i++) fields[3 + i] = (Field){spec->dims[i].name, false};
    char what[80];
    snprintf(what, sizeof what, "item of %.48s", spec->name);
    host_check_keys(&r->host, table, entry->pos, what, fields, 3 + spec->dim_count, false);
    item->label = host_string(&r->host, table, "label", entry->pos, what);
    item->source = host_string(&r->host, table, "source", entry->pos, what);
    gen_problem_init(spec, &item->problem);
    for (size_t i = 0; i < spec->dim_count; i++)
        set_dim(r, &item->problem, table, &spec->dims[i], entry->pos);
    Error cause;
    if (gen_problem_check(&item->problem, &cause) != ST_OK)
        host_fail(&r->host, entry->pos, "%s: %.900s", item->label, cause.message);
}

static void read_workload(Host *host, const Entry *entry, int table) {
    static const Field fields[] = {{"title", true}, {"items", true}};
    WorkloadReader *r = host->context;
    lua_State *L = host->L;
    char what[80];
    snprintf(what, sizeof what, "workload '%.48s'", entry->name);
    host_check_keys(host, table, entry->pos, what, fields, 2, false);
    r->out->name = entry->name;
    r->out->title = host_string(host, table, "title", entry->pos, what);
    host_table(host, table, "items", entry->pos, what);
    int array = lua_gettop(L);
    TextPos pos = host_place_key(entry->pos, "items");
    host_check_keys(host, array, pos, "items", NULL, 0, true);
    size_t n = lua_rawlen(L, array);
    if (n < 1 || n > MAX_ITEMS)
        host_fail(host, pos, "%s: %zu items, not 1..%d", what, n, MAX_ITEMS);
    GenWorkItem *items = host_alloc(host, n, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        const Entry *item = host_element(host, array, (int)i + 1, ENTRY_ITEM, pos, "items");
        read_item(r, &items[i], item, lua_gettop(L));
        for (size_t k = 0; k < i; k++)
            if (items[k].problem.spec == items[i].problem.spec &&
                strcmp(items[k].label, items[i].label) == 0)
                host_fail(host, item->pos, "item of %.48s: label '%.200s' is there twice",
                          items[i].problem.spec->name, items[i].label);
        lua_settop(L, array);
    }
    lua_pop(L, 1);
    r->out->items = items;
    r->out->count = n;
}

static Status unknown_workload(const GenLibrary *lib, const char *name, Error *err) {
    Str all = {0};
    for (size_t i = 0; i < lib->workload_count; i++)
        str_printf(&all, "%s%s", i ? ", " : "", lib->workloads[i]);
    const char *best = str_nearest(name, lib->workloads, lib->workload_count);
    Status status = err_set(err, ST_NOT_FOUND,
                            "there is no workload '%.60s'%s%s%s; built in: %s; a file of your own "
                            "is named with a '/' or by its ending .lua",
                            name, best ? "; did you mean '" : "", best ? best : "",
                            best ? "'?" : "", str_text(&all));
    str_free(&all);
    return status;
}

static Status find_file(const GenLibrary *lib, const char *name, Arena *arena, const GenFile **out,
                        Error *err) {
    if (!strchr(name, '/') && !str_ends(name, ".lua")) {
        char path[160];
        snprintf(path, sizeof path, "scripts/workloads/%.100s.lua", name);
        *out = gen_tree_find(&lib->tree, path);
        return *out ? ST_OK : unknown_workload(lib, name, err);
    }
    GenFile *file = ARENA_NEW(arena, GenFile);
    char *text = NULL;
    size_t size = 0;
    if (!file) return err_no_memory(err, sizeof *file);
    Status status = files_read(arena, name, 1 << 20, &text, &size, err);
    if (status != ST_OK) return status;
    *file = (GenFile){.path = arena_strdup(arena, name), .text = text, .size = size};
    *out = file;
    return file->path ? ST_OK : err_no_memory(err, strlen(name));
}

Status gen_workload_load(const GenLibrary *lib, const char *name, Arena *arena, GenWorkload *out,
                         Error *err) {
    const GenFile *file = NULL;
    memset(out, 0, sizeof *out);
    Status status = find_file(lib, name, arena, &file, err);
    if (status != ST_OK) return status;
    WorkloadReader *r = ARENA_NEW(arena, WorkloadReader);
    if (!r) return err_no_memory(err, sizeof *r);
    r->lib = lib;
    r->out = out;
    r->host =
        (Host){.arena = arena, .tree = &lib->tree, .on_workload = read_workload, .context = r};
    status = host_run(&r->host, file, err);
    if (status == ST_OK && !out->items)
        return err_set(err, ST_SYNTAX,
                       "%s: describes no workload; it wants workload \"name\" { ... }", file->path);
    return status;
}
