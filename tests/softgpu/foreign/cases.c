/* The table of tests (contract in cases.h). */
#include "tests/softgpu/foreign/cases.h"

#include <ctype.h>
#include <string.h>

#include "base/files.h"

static const struct {
    const char *name;
    int threads;
    int arrays;
} macros[] = {
    {"test_ptx", 1, 2},
    {"test_ptx_with_32", 1, 2}, /* its 32-bit twin is not asserted on NVIDIA's driver */
    {"test_ptx_warp", 64, 1},
};

static size_t word_length(const char *at) {
    size_t n = 0;
    while (isalnum((unsigned char)at[n]) || at[n] == '_') n++;
    return n;
}

/* Behind a string or character literal; lifetimes ('a) are left to the caller as words. */
static const char *skip_quoted(const char *at) {
    const char quote = *at;
    if (quote == '\'' && at[1] != '\\' && !(at[1] && at[2] == '\'')) return at + 1;
    for (at++; *at && *at != quote; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

/* Behind the bracket that closes the one at `at`. */
static const char *skip_brackets(const char *at) {
    int depth = 0;
    do {
        at = literal_skip(at);
        if (*at == '"' || *at == '\'') {
            at = skip_quoted(at);
            continue;
        }
        if (*at && strchr("([{", *at)) depth++;
        if (*at && strchr(")]}", *at)) depth--;
        at += *at ? 1 : 0;
    } while (*at && depth > 0);
    return at;
}

static bool take(const char **at, char c) {
    *at = literal_skip(*at);
    if (**at != c) return false;
    ++*at;
    return true;
}

/* (name) or (name, [..], [..]): `at` is behind the opening parenthesis. */
static void read_call(const char *at, int arrays, Arena *arena, ForeignCase *c) {
    Error err = {.message = "no name"};
    Status st = ST_OK;
    at = literal_skip(at);
    const size_t n = word_length(at);
    c->name = n ? arena_strndup(arena, at, n) : "unnamed";
    at += n;
    c->has_values = n && take(&at, ',');
    c->has_input = c->has_values && arrays == 2;
    if (c->has_input) {
        at = literal_skip(at);
        st = literal_array(&at, arena, &c->input, &err);
        if (st == ST_OK && !take(&at, ','))
            st = err_set(&err, ST_UNSUPPORTED, "no ',' behind the input");
    }
    if (st == ST_OK && c->has_values) {
        at = literal_skip(at);
        st = literal_array(&at, arena, &c->expected, &err);
        take(&at, ',');
    }
    if (st == ST_OK && !take(&at, ')')) st = err_set(&err, ST_UNSUPPORTED, "no ')' at '%.40s'", at);
    if (st == ST_OK && c->has_values && c->expected.count == 0)
        st = err_set(&err, ST_UNSUPPORTED, "no expected values");
    if (st != ST_OK || !n) c->problem = arena_strdup(arena, err.message);
}

static int line_of(const char *text, const char *at) {
    int line = 1;
    for (; text < at; text++) line += *text == '\n';
    return line;
}

/* The macro called at `at` ("test_ptx ! ("), -1 when it is none; *open gets the parenthesis. */
static int call_at(const char *at, size_t n, const char **open) {
    for (int i = 0; i < (int)(sizeof macros / sizeof *macros); i++) {
        if (n != strlen(macros[i].name) || strncmp(at, macros[i].name, n) != 0) continue;
        const char *p = at + n;
        if (!take(&p, '!')) return -1;
        *open = literal_skip(p);
        return **open == '(' ? i : -1;
    }
    return -1;
}

static void scan(const char *text, Arena *arena, const char *directory, ForeignCases *out) {
    for (const char *at = literal_skip(text); *at; at = literal_skip(at)) {
        const size_t n = word_length(at);
        const char *open = NULL;
        const int which = n ? call_at(at, n, &open) : -1;
        if (which >= 0 && out->count < FOREIGN_MAX_CASES) {
            ForeignCase *const c = &out->items[out->count++];
            *c = (ForeignCase){.directory = directory,
                               .line = line_of(text, at),
                               .threads = macros[which].threads};
            read_call(open + 1, macros[which].arrays, arena, c);
            at = skip_brackets(open);
        } else if (*at == '{') { /* bodies of functions and macro definitions hold no cases */
            at = skip_brackets(at);
        } else if (*at == '"' || *at == '\'') {
            at = skip_quoted(at);
        } else {
            at += n ? n : 1;
        }
    }
}

Status foreign_cases(const char *directory, Arena *arena, ForeignCases *out, Error *err) {
    char *text;
    size_t size;
    const char *const path = arena_printf(arena, "%s/mod.rs", directory);
    *out = (ForeignCases){.items = ARENA_ARRAY(arena, ForeignCase, FOREIGN_MAX_CASES)};
    if (!path || !out->items) return err_no_memory(err, FOREIGN_MAX_CASES * sizeof *out->items);
    const Status st = files_read(arena, path, 16 << 20, &text, &size, err);
    if (st != ST_OK) return st;
    scan(text, arena, arena_strdup(arena, directory), out);
    if (out->count == 0) return err_set(err, ST_INVALID, "%s: holds no test_ptx! call", path);
    return ST_OK;
}
