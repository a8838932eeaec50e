/* A library: every spec of one tree, read once.
 *
 * Invariant: nothing changes after gen_open, so everything may be read from many threads. */
#include "generator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Status check_enumerators(const GenSpec *spec, Error *err) {
    for (size_t i = 0; i < spec->dim_count; i++) {
        const GenDim *dim = &spec->dims[i];
        if (!dim->is_static || dim->kind != GEN_DIM_ENUM) continue;
        for (size_t k = 0; k < dim->count; k++) {
            char name[96];
            snprintf(name, sizeof name, "%s_%s", dim->name, dim->words[k]);
            if (gen_name_find(spec, name))
                return err_at(err, ST_SYNTAX, spec->dim_pos[i],
                              "dim '%s': its word '%s' becomes '%s', which is another name too",
                              dim->name, dim->words[k], name);
        }
    }
    return ST_OK;
}

static Status add_spec(GenLibrary *lib, const GenFile *file, Error *err) {
    GenSpec *spec = NULL;
    Status status = gen_read_spec(lib, file, &spec, err);
    if (status != ST_OK) return status;
    const GenSpec *twin = gen_spec_find(lib, spec->name);
    if (twin)
        return err_at(err, ST_SYNTAX, spec->pos, "kernel '%s' is also described by %s", spec->name,
                      twin->file->path);
    status = check_enumerators(spec, err);
    if (status != ST_OK) return status;
    Str text = {0};
    gen_canonical(spec, &text);
    spec->canonical = text.failed ? NULL : arena_strdup(lib->arena, str_text(&text));
    str_free(&text);
    if (!spec->canonical) return err_no_memory(err, text.cap);
    status = gen_spec_link(lib, spec, err);
    if (status == ST_OK) lib->specs[lib->spec_count++] = spec;
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(GenSpec *const *)a)->name, (*(GenSpec *const *)b)->name);
}

static Status read_specs(GenLibrary *lib, Error *err) {
    static const char folder[] = "scripts/kernels/";
    size_t n = 0, first = gen_tree_range(&lib->tree, folder, &n);
    lib->specs = ARENA_ARRAY(lib->arena, GenSpec *, n + 1);
    if (!lib->specs) return err_no_memory(err, n * sizeof *lib->specs);
    for (size_t i = first; i < first + n; i++) {
        if (strchr(lib->tree.files[i].path + sizeof folder - 1, '/')) continue;
        Status status = add_spec(lib, &lib->tree.files[i], err);
        if (status != ST_OK) return status;
    }
    if (lib->spec_count) qsort(lib->specs, lib->spec_count, sizeof *lib->specs, by_name);
    return gen_tree_names(lib->arena, &lib->tree, "scripts/workloads/", ".lua", &lib->workloads,
                          &lib->workload_count, err);
}

/* Takes over the arena, whatever happens. */
static Status open_in(Arena *arena, const char *root, const GenTree *tree, GenLibrary **out,
                      Error *err) {
    GenLibrary *lib = ARENA_NEW(arena, GenLibrary);
    Status status = lib ? ST_OK : err_no_memory(err, sizeof *lib);
    if (lib) lib->arena = arena;
    if (lib && tree) lib->tree = *tree;
    if (lib && !tree) status = gen_tree_load(arena, root, &lib->tree, err);
    if (status == ST_OK) status = read_specs(lib, err);
    if (status == ST_OK && root && lib->spec_count == 0)
        status = err_set(err, ST_NOT_FOUND,
                         "%s: no scripts/kernels/*.lua; a source tree is a checkout's scripts/, "
                         "templates/ and runtime/params/",
                         root);
    if (status != ST_OK) arena_free(arena);
    *out = status == ST_OK ? lib : NULL;
    return status;
}

Status gen_open(const char *root, GenLibrary **out, Error *err) {
    *out = NULL;
    Arena *arena = arena_new();
    return arena ? open_in(arena, root, NULL, out, err) : err_no_memory(err, sizeof(GenLibrary));
}

Status gen_open_tree(const GenTree *tree, GenLibrary **out, Error *err) {
    *out = NULL;
    Arena *arena = arena_new();
    return arena ? open_in(arena, NULL, tree, out, err) : err_no_memory(err, sizeof(GenLibrary));
}

void gen_close(GenLibrary *lib) {
    if (lib) arena_free(lib->arena);
}

size_t gen_spec_count(const GenLibrary *lib) {
    return lib->spec_count;
}

const GenSpec *gen_spec_at(const GenLibrary *lib, size_t i) {
    return i < lib->spec_count ? lib->specs[i] : NULL;
}

const GenSpec *gen_spec_find(const GenLibrary *lib, const char *name) {
    for (size_t i = 0; i < lib->spec_count; i++)
        if (strcmp(lib->specs[i]->name, name) == 0) return lib->specs[i];
    return NULL;
}

Status gen_check(const GenLibrary *lib, Error *err) {
    for (size_t i = 0; i < lib->spec_count; i++)
        if (lib->specs[i]->fault)
            return err_set(err, lib->specs[i]->fault_status, "%s", lib->specs[i]->fault);
    return ST_OK;
}

const char *gen_spec_name(const GenSpec *spec) {
    return spec->name;
}
const char *gen_spec_title(const GenSpec *spec) {
    return spec->title;
}
const char *gen_spec_file(const GenSpec *spec) {
    return spec->file->path;
}
int gen_spec_generation(const GenSpec *spec) {
    return spec->generation;
}
Hash gen_spec_hash(const GenSpec *spec) {
    return spec->hash;
}
const char *gen_spec_reference(const GenSpec *spec) {
    return spec->reference;
}
const char *gen_spec_params(const GenSpec *spec) {
    return spec->params;
}

const GenDim *gen_dims(const GenSpec *spec, size_t *count) {
    *count = spec->dim_count;
    return spec->dims;
}
const GenAxis *gen_axes(const GenSpec *spec, size_t *count) {
    *count = spec->axis_count;
    return spec->axes;
}
const GenRule *gen_rules(const GenSpec *spec, size_t *count) {
    *count = spec->rule_count;
    return spec->rules;
}

size_t gen_workload_count(const GenLibrary *lib) {
    return lib->workload_count;
}
const char *gen_workload_name(const GenLibrary *lib, size_t i) {
    return i < lib->workload_count ? lib->workloads[i] : NULL;
}
