/* Fuzz target: any bytes as a formula, parsed and evaluated.
 *
 * Properties checked besides memory safety: a failure has a message and a status, evaluation is
 * repeatable, and a text that parses parses again from its own copy. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lookup(const void *context, const char *name, ExprValue *out) {
    (void)context;
    switch (name[0]) {
    case 'a': *out = expr_int(7); return true;
    case 'b': *out = expr_bool(true); return true;
    case 's': *out = expr_str("text"); return true;
    case 'm': *out = expr_int(INT64_MIN); return true;
    default: return false;
    }
}

static void check(bool condition) {
    if (!condition) abort();
}

static bool same(const ExprValue *x, const ExprValue *y) {
    if (x->kind != y->kind) return false;
    return x->kind == EXPR_STR ? strcmp(x->s, y->s) == 0 : x->i == y->i;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096) return 0;
    Arena *arena = arena_new();
    char *text = arena ? arena_strndup(arena, (const char *)data, size) : NULL;
    if (!text) {
        if (arena) arena_free(arena);
        return 0;
    }
    static const char *const names[] = {"alpha", "beta", "gpu.cp_async"};
    const ExprEnv env = {.lookup = lookup, .names = names, .name_count = 3};
    const TextPos where = {.file = "fuzz.lua", .line = 3, .column = 5};
    const Expr *expr = NULL, *again = NULL;
    Error err = {.status = ST_OK, .message = ""};
    Status st = expr_parse(arena, text, where, &expr, &err);
    check(st == err.status && (st == ST_OK || err.message[0]));
    if (st == ST_OK) {
        ExprValue x = {.kind = EXPR_INT}, y = {.kind = EXPR_INT};
        st = expr_eval(expr, &env, &x, &err);
        check(st == err.status && (st == ST_OK || err.message[0]));
        check(expr_eval(expr, &env, &y, NULL) == st);
        check(expr_parse(arena, expr_text(expr), where, &again, NULL) == ST_OK);
        if (st == ST_OK) check(same(&x, &y));
    }
    arena_free(arena);
    return 0;
}
