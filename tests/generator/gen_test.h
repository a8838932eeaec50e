/* Shared by the tests of generator/: the probe tree, with files replaced or added in memory. */
#ifndef SEQTUNE_TESTS_GENERATOR_GEN_TEST_H
#define SEQTUNE_TESTS_GENERATOR_GEN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generator/internal.h"

#define PROBE_TREE SEQTUNE_SOURCE_DIR "/tests/generator/tree"

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("this text:\n%s\ndoes not contain:\n%s", (text), (part));                     \
    } while (0)

#define assert_ok(status, err)                                                                     \
    do {                                                                                           \
        if ((status) != ST_OK) fail_msg("%s", (err).message);                                      \
    } while (0)

/* A tree to edit: the probe tree's texts, then changes. Freed by edit_free. */
typedef struct Edit {
    Arena *arena;
    GenTree tree;
} Edit;

static inline Edit edit_new(void) {
    Edit edit = {.arena = arena_new()};
    Error err;
    assert_non_null(edit.arena);
    assert_ok(gen_tree_load(edit.arena, PROBE_TREE, &edit.tree, &err), err);
    return edit;
}

static inline int edit_by_path(const void *a, const void *b) {
    return strcmp(((const GenFile *)a)->path, ((const GenFile *)b)->path);
}

/* Adds or replaces a file; text NULL removes it. */
static inline void edit_put(Edit *edit, const char *path, const char *text) {
    GenFile *files = ARENA_ARRAY(edit->arena, GenFile, edit->tree.count + 1);
    size_t n = 0;
    assert_non_null(files);
    for (size_t i = 0; i < edit->tree.count; i++)
        if (strcmp(edit->tree.files[i].path, path) != 0) files[n++] = edit->tree.files[i];
    if (text) files[n++] = (GenFile){.path = path, .text = text, .size = strlen(text)};
    qsort(files, n, sizeof *files, edit_by_path);
    edit->tree = (GenTree){.files = files, .count = n};
}

/* Replaces the first `from` of a file by `to`. */
static inline void edit_replace(Edit *edit, const char *path, const char *from, const char *to) {
    const GenFile *file = gen_tree_find(&edit->tree, path);
    if (!file || !from || !to) { /* fail does not return, which the compiler cannot know */
        fail_msg("there is no %s", path);
        return;
    }
    const char *at = strstr(file->text, from);
    if (!at) fail_msg("%s does not contain \"%s\"", path, from);
    char *text = arena_printf(edit->arena, "%.*s%s%s", (int)(at - file->text), file->text, to,
                              at + strlen(from));
    assert_non_null(text);
    edit_put(edit, path, text);
}

static inline void edit_free(Edit *edit) {
    arena_free(edit->arena);
}

static inline GenLibrary *open_probe(void) {
    GenLibrary *lib = NULL;
    Error err;
    assert_ok(gen_open(PROBE_TREE, &lib, &err), err);
    assert_ok(gen_check(lib, &err), err);
    return lib;
}

static inline GpuInfo gpu_of(const char *arch) {
    assert_non_null(gpu_arch_find(arch));
    return gpu_info_of_arch(gpu_arch_find(arch));
}

/* A checked problem of the probe family. */
static inline GenProblem problem_of(const GenLibrary *lib, const char *text) {
    GenProblem problem;
    Error err;
    gen_problem_init(gen_spec_find(lib, "probe"), &problem);
    assert_ok(gen_problem_parse(&problem, text, &err), err);
    assert_ok(gen_problem_check(&problem, &err), err);
    return problem;
}

static inline GenConfig config_of(const GenLibrary *lib, const char *text) {
    GenConfig config;
    Error err;
    assert_ok(gen_config_parse(gen_spec_find(lib, "probe"), text, &config, &err), err);
    return config;
}

#endif
