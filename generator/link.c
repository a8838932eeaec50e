/* Linking a spec to its templates: files there, slots filled, names known, one hash over all.
 *
 * A fault here is stored in the spec and said when the spec is used, so that one family whose
 * template is missing does not take the others along. Only lack of memory fails gen_open. */
#include "generator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

typedef struct Linker {
    GenLibrary *lib;
    GenSpec *spec;
    Map *seen;  /* path -> template: every text the spec can use, in order of first use */
    Map *slots; /* slots met in any pipeline's template */
    Error *err;
} Linker;

static const GenPart *find_part(const GenSpec *spec, const char *slot) {
    for (size_t i = 0; i < spec->part_count; i++)
        if (strcmp(spec->parts[i].slot, slot) == 0) return &spec->parts[i];
    return NULL;
}

/* Parses a text once per spec; `user` is the place that names it. */
static Status load(Linker *l, const char *path, TextPos user, const GenTemplate **out) {
    union {
        const void *in;
        void *out;
    } cast;
    *out = map_get(l->seen, path);
    if (*out) return ST_OK;
    const GenFile *file = gen_tree_find(&l->lib->tree, path);
    if (!file) return err_at(l->err, ST_NOT_FOUND, user, "there is no file %s", path);
    Status status = gen_template_parse(l->lib->arena, file, out, l->err);
    if (status != ST_OK) return status;
    cast.in = *out;
    return map_put(l->seen, path, cast.out) ? ST_OK : err_no_memory(l->err, 64);
}

static Status check_formula(Linker *l, const Expr *expr, TextPos pos, const char *const *loops,
                            size_t loop_count) {
    GenScope scope = {.spec = l->spec,
                      .kinds = 0xff | GEN_SEE_GPU | GEN_SEE_STATIC_ONLY,
                      .dim_limit = GEN_MAX_DIMS,
                      .let_limit = GEN_MAX_LETS,
                      .resource_limit = GEN_RES_COUNT,
                      .extra = loops,
                      .extra_count = loop_count};
    return gen_check_names(&scope, expr, pos, "control line", NULL, l->err);
}

/* Names of the control lines, with the loop variables that are open at each. */
static Status check_controls(Linker *l, const GenTemplate *tmpl) {
    const char *loops[8];
    size_t ends[8], open = 0;
    for (size_t i = 0; i < tmpl->count; i++) {
        const GenNode *node = &tmpl->nodes[i];
        while (open && ends[open - 1] <= i) open--;
        if (node->a) {
            Status status = check_formula(l, node->a, node->pos_a, loops, open);
            if (status != ST_OK) return status;
        }
        if (node->kind != GEN_NODE_FOR) continue;
        Status status = check_formula(l, node->b, node->pos_b, loops, open);
        if (status != ST_OK) return status;
        if (gen_name_find(l->spec, node->name) || open == 4)
            return err_at(l->err, ST_SYNTAX, node->pos_a, "loop variable '%s': %s", node->name,
                          open == 4 ? "more than 4 loops nest" : "the spec has that name");
        loops[open] = node->name;
        ends[open++] = node->next;
    }
    return ST_OK;
}

typedef enum Role { ROLE_TEMPLATE, ROLE_PART, ROLE_LIB } Role;

static Status link_text(Linker *l, const GenTemplate *tmpl, Role role, int depth);

static Status link_lib(Linker *l, const GenNode *node, int depth) {
    char path[96];
    const GenTemplate *lib = NULL;
    snprintf(path, sizeof path, "templates/lib/%s.cuh", node->name);
    if (depth > 16)
        return err_at(l->err, ST_SYNTAX, node->pos_a, "libs need each other in a circle");
    Status status = load(l, path, node->pos_a, &lib);
    return status == ST_OK ? link_text(l, lib, ROLE_LIB, depth + 1) : status;
}

static Status link_slot(Linker *l, const GenTemplate *tmpl, const GenNode *node, Role role) {
    static char present[] = "";
    if (role != ROLE_TEMPLATE)
        return err_at(l->err, ST_SYNTAX, node->pos_a, "a part or lib has no slots of its own");
    if (!find_part(l->spec, node->name))
        return err_at(l->err, ST_SYNTAX, node->pos_a,
                      "slot '%s' of %s has no part in %s (its 'parts' name none)", node->name,
                      tmpl->file->path, l->spec->file->path);
    return map_put(l->slots, node->name, present) ? ST_OK : err_no_memory(l->err, 64);
}

static Status link_text(Linker *l, const GenTemplate *tmpl, Role role, int depth) {
    Status status = check_controls(l, tmpl);
    for (size_t i = 0; status == ST_OK && i < tmpl->count; i++) {
        const GenNode *node = &tmpl->nodes[i];
        if (node->kind == GEN_NODE_LIB) status = link_lib(l, node, depth);
        if (node->kind == GEN_NODE_SLOT) status = link_slot(l, tmpl, node, role);
    }
    return status;
}

/* Is `word` in the text, not as a piece of a longer word? */
static bool has_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word)) {
        char before = p > text ? p[-1] : ' ', after = p[n];
        if (before != '_' && after != '_' && !(before >= '0' && before <= 'z' && before != '[') &&
            !(after >= '0' && after <= '9') && !(after >= 'A' && after <= 'z' && after != '['))
            return true;
    }
    return false;
}

static Status link_pipes(Linker *l, GenPipe *pipes) {
    for (size_t i = 0; i < l->spec->pipe_count; i++) {
        GenPipe *pipe = &pipes[i];
        Status status = load(l, pipe->path, pipe->pos, &pipe->tmpl);
        if (status == ST_OK) status = link_text(l, pipe->tmpl, ROLE_TEMPLATE, 0);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

static Status link_parts(Linker *l, GenPart *parts) {
    for (size_t i = 0; i < l->spec->part_count; i++) {
        const GenPart *part = &parts[i];
        GenPartChoice *choices = ARENA_ARRAY(l->lib->arena, GenPartChoice, part->count);
        if (!choices) return err_no_memory(l->err, part->count * sizeof *choices);
        memcpy(choices, part->choices, part->count * sizeof *choices);
        parts[i].choices = choices;
        if (!map_has(l->slots, part->slot))
            return err_at(l->err, ST_SYNTAX, part->pos, "part '%s' has no slot in %s%s", part->slot,
                          l->spec->pipes[0].path,
                          l->spec->pipe_count > 1 ? " nor in the other templates" : "");
        for (size_t k = 0; k < part->count; k++) {
            if (!choices[k].path) continue;
            Status status = load(l, choices[k].path, part->pos, &choices[k].tmpl);
            if (status == ST_OK) status = link_text(l, choices[k].tmpl, ROLE_PART, 0);
            if (status != ST_OK) return status;
        }
    }
    return ST_OK;
}

/* An entry may stand in a template or in one of the parts. */
static Status check_entries(Linker *l) {
    for (size_t k = 0; k < l->spec->step_count; k++) {
        const GenStep *step = &l->spec->steps[k];
        bool found = false;
        for (size_t i = 0; i < map_count(l->seen) && !found; i++) {
            const GenTemplate *tmpl = map_value(l->seen, i);
            found = has_word(tmpl->file->text, step->entry);
        }
        if (!found)
            return err_at(l->err, ST_SYNTAX, step->pos, "neither %s nor a part has an entry '%s'",
                          l->spec->pipes[0].path, step->entry);
    }
    return ST_OK;
}

/* Emission finds libs by name again. */
static Status keep_libs(Linker *l) {
    const GenTemplate **libs = ARENA_ARRAY(l->lib->arena, const GenTemplate *, map_count(l->seen));
    size_t n = 0;
    if (!libs) return err_no_memory(l->err, map_count(l->seen) * sizeof *libs);
    for (size_t i = 0; i < map_count(l->seen); i++)
        if (str_starts(map_key(l->seen, i), "templates/lib/")) libs[n++] = map_value(l->seen, i);
    l->spec->libs = libs;
    l->spec->lib_count = n;
    return ST_OK;
}

static Status link_all(Linker *l) {
    GenSpec *spec = l->spec;
    char params[96];
    GenPipe *pipes = ARENA_ARRAY(l->lib->arena, GenPipe, spec->pipe_count);
    GenPart *parts = ARENA_ARRAY(l->lib->arena, GenPart, spec->part_count + 1);
    if (!pipes || !parts) return err_no_memory(l->err, sizeof *pipes);
    memcpy(pipes, spec->pipes, spec->pipe_count * sizeof *pipes);
    if (spec->part_count) memcpy(parts, spec->parts, spec->part_count * sizeof *parts);
    spec->pipes = pipes;
    spec->parts = parts;
    snprintf(params, sizeof params, "runtime/params/%s.h", spec->params);
    const char *const headers[] = {"runtime/params/types.h", params};
    for (int i = 0; i < 2; i++)
        if (!gen_tree_find(&l->lib->tree, headers[i]))
            return err_at(l->err, ST_NOT_FOUND, spec->pos, "%s: there is no file %s", spec->name,
                          headers[i]);
    Status status = link_pipes(l, pipes);
    if (status == ST_OK) status = link_parts(l, parts);
    if (status == ST_OK) status = check_entries(l);
    return status == ST_OK ? keep_libs(l) : status;
}

static void hash_file(HashState *state, const GenTree *tree, const char *path) {
    const GenFile *file = gen_tree_find(tree, path);
    hash_text(state, path);
    if (file)
        hash_field(state, file->text, file->size);
    else
        hash_text(state, "(missing)");
}

static int by_key(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Status hash_spec(Linker *l) {
    HashState state;
    char params[96];
    size_t n = map_count(l->seen);
    const char **paths = ARENA_ARRAY(l->lib->arena, const char *, n + 1);
    if (!paths) return err_no_memory(l->err, n * sizeof *paths);
    for (size_t i = 0; i < n; i++) paths[i] = map_key(l->seen, i);
    qsort(paths, n, sizeof *paths, by_key);
    snprintf(params, sizeof params, "runtime/params/%s.h", l->spec->params);
    hash_begin(&state);
    hash_text(&state, "seqtune spec 1"); /* format of canonical text and of the emitted frame */
    hash_text(&state, l->spec->canonical);
    hash_file(&state, &l->lib->tree, "runtime/params/types.h");
    hash_file(&state, &l->lib->tree, params);
    for (size_t i = 0; i < n; i++) hash_file(&state, &l->lib->tree, paths[i]);
    l->spec->hash = hash_end(&state);
    return ST_OK;
}

Status gen_spec_link(GenLibrary *lib, GenSpec *spec, Error *err) {
    Error fault = {.status = ST_OK};
    Linker l = {.lib = lib, .spec = spec, .err = &fault};
    l.seen = map_new(lib->arena);
    l.slots = map_new(lib->arena);
    if (!l.seen || !l.slots) return err_no_memory(err, 64);
    Status status = link_all(&l);
    if (status == ST_OK || status == ST_NO_MEMORY) {
        if (status == ST_OK) status = hash_spec(&l);
        if (status != ST_OK && err) *err = fault;
        return status;
    }
    spec->fault_status = status;
    spec->fault = arena_strdup(lib->arena, fault.message);
    if (!spec->fault) return err_no_memory(err, sizeof fault);
    l.err = err;
    return hash_spec(&l);
}
