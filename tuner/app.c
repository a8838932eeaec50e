/* What the commands share: errors, output, the library, the database. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "runtime/context.h"
#include "tuner/command.h"

#define STRING_OF(x) #x
#define STRING(x)    STRING_OF(x)

const char tool_name[] = "seqtune " STRING(SEQTUNE_VERSION_MAJOR) "." STRING(
    SEQTUNE_VERSION_MINOR) "." STRING(SEQTUNE_VERSION_PATCH);

ExitCode fail(ExitCode code, const Error *err) {
    fprintf(stderr, "seqtune: %s\n", err->message);
    return code;
}

ExitCode fail_status(const Error *err) {
    return fail(exit_code_of(err->status), err);
}

ExitCode print_text(const Str *text) {
    if (text->failed) {
        fputs("seqtune: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    if (fwrite(str_text(text), 1, text->len, stdout) != text->len || fflush(stdout) != 0) {
        /* A reader that has seen enough (`| head`) is nobody's mistake. */
        if (errno == EPIPE) return EXIT_OK;
        fprintf(stderr, "seqtune: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_STORAGE;
    }
    return EXIT_OK;
}

ExitCode app_library(App *app, GenLibrary **out) {
    Error err = {0};
    const char *root = app->options->source;
    if (root && !files_exists(root)) {
        err_set(&err, ST_INVALID, "--source: there is no directory '%s'", root);
        return fail(EXIT_USAGE, &err);
    }
    /* Workers and contexts find the tree in the environment, whichever way it was named. */
    if (root && setenv("SEQTUNE_SOURCE", root, 1) != 0) {
        err_set(&err, ST_NO_MEMORY, "cannot set SEQTUNE_SOURCE");
        return fail(EXIT_FAILED, &err);
    }
    Status st = gen_open(root ? root : context_source_root(), out, &err);
    if (st == ST_OK) return EXIT_OK;
    return fail(st == ST_NOT_FOUND ? EXIT_USAGE : EXIT_FAILED, &err);
}

static Status unknown_op(const GenLibrary *lib, const char *word, Error *err) {
    const char *names[256];
    size_t n = gen_spec_count(lib);
    if (n > sizeof names / sizeof names[0]) n = sizeof names / sizeof names[0];
    for (size_t i = 0; i < n; i++) names[i] = gen_spec_name(gen_spec_at(lib, i));
    Str text = {0};
    suggest(&text, word, names, n);
    Status st = err_set(err, ST_INVALID, "unknown kernel '%s' in --op%s", word, str_text(&text));
    str_free(&text);
    return st;
}

static bool listed(const GenSpec *const *specs, size_t count, const GenSpec *spec) {
    for (size_t i = 0; i < count; i++) {
        if (specs[i] == spec) return true;
    }
    return false;
}

ExitCode app_specs(App *app, const GenLibrary *lib, const GenSpec **out, size_t max,
                   size_t *count) {
    Error err = {0};
    *count = 0;
    if (!app->options->op) {
        for (size_t i = 0; i < gen_spec_count(lib) && i < max; i++) {
            out[(*count)++] = gen_spec_at(lib, i);
        }
        return EXIT_OK;
    }
    char *list = arena_strdup(app->arena, app->options->op), *rest = list;
    while (list && (list = strsep(&rest, ","))) {
        const GenSpec *spec = gen_spec_find(lib, list);
        if (!spec) {
            unknown_op(lib, list, &err);
            return fail(EXIT_USAGE, &err);
        }
        if (*count < max && !listed(out, *count, spec)) out[(*count)++] = spec;
    }
    return EXIT_OK;
}

const char *app_db_path(App *app, bool create) {
    Error err = {0};
    if (app->options->db) return app->options->db;
    char *path = context_database_path(app->arena); /* where applications will look */
    char *slash = path ? strrchr(path, '/') : NULL;
    if (!path) {
        err_set(&err, ST_IO, "no place for the database: HOME is not set; give one with --db FILE");
        fail(EXIT_STORAGE, &err);
        return NULL;
    }
    if (create && slash && slash != path) {
        *slash = '\0';
        Status st = files_make_dirs(path, 0755, &err);
        *slash = '/';
        if (st == ST_OK) return path;
        fail(EXIT_STORAGE, &err);
        return NULL;
    }
    return path;
}

ExitCode app_open_db(App *app, const char *path, DbOpen mode, Db **out) {
    Error err = {0};
    (void)app;
    if (mode == DB_READ && !files_exists(path)) {
        err_set(&err, ST_NOT_FOUND, "there is no database %s; seqtune --gpu auto makes one", path);
        return fail(EXIT_STORAGE, &err);
    }
    return db_open(path, mode, out, &err) == ST_OK ? EXIT_OK : fail(EXIT_STORAGE, &err);
}
