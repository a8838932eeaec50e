/* Formulas of a spec: a small subset of Lua expressions, evaluated without Lua.
 *
 *   literals    12  0x1f  true  false  'text'  "text"
 *   names       block_m   gpu.cp_async          (dots belong to the name)
 *   operators   or and  < > <= >= ~= ==  + -  * / // %  not -(unary)      precedence as in Lua 5.4
 *   functions   cdiv(a, b)  min(a, ...)  max(a, ...)  ilog2(a)
 *
 * Integers are 64-bit; overflow and division by zero are errors, not wraps. `//` and `%` floor as
 * Lua does; `/` wants a whole quotient and is an error otherwise. `a and b`, `a or b` return an
 * operand, as in Lua; only `false` is false (0 is true). `==` of different kinds is false, `<` of
 * different kinds an error. Length at most 2000 bytes, depth at most 64.
 * Invariant: for every text that evaluates here, Lua 5.4 gives the same value (fuzzed). */
#ifndef SEQTUNE_BASE_EXPR_H
#define SEQTUNE_BASE_EXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

typedef enum ExprKind { EXPR_INT, EXPR_BOOL, EXPR_STR } ExprKind;

typedef struct ExprValue {
    ExprKind kind;
    int64_t i;     /* EXPR_INT; 0 or 1 for EXPR_BOOL */
    const char *s; /* EXPR_STR */
} ExprValue;

typedef struct ExprEnv {
    /* Fills *out and returns true when `name` is known. */
    bool (*lookup)(const void *context, const char *name, ExprValue *out);
    const void *context;
    /* Known names for "did you mean"; may be NULL. */
    const char *const *names;
    size_t name_count;
} ExprEnv;

typedef struct Expr Expr; /* immutable after expr_parse; safe to evaluate from many threads */

/* `where` is the place of the text's first character in its file (column of the opening quote + 1,
 * or 0); errors point there and quote the expression with a caret of their own. Memory and copies
 * of text and names come from `arena`. */
Status expr_parse(Arena *arena, const char *text, TextPos where, const Expr **out, Error *err);
Status expr_eval(const Expr *expr, const ExprEnv *env, ExprValue *out, Error *err);
/* As expr_eval; a result of another kind is an error. */
Status expr_eval_int(const Expr *expr, const ExprEnv *env, int64_t *out, Error *err);
Status expr_eval_bool(const Expr *expr, const ExprEnv *env, bool *out, Error *err);

const char *expr_text(const Expr *expr);
/* Calls visit once per distinct name used, in order of first use. */
void expr_names(const Expr *expr, void (*visit)(void *context, const char *name), void *context);

static inline ExprValue expr_int(int64_t i) {
    return (ExprValue){.kind = EXPR_INT, .i = i};
}
static inline ExprValue expr_bool(bool b) {
    return (ExprValue){.kind = EXPR_BOOL, .i = b};
}
static inline ExprValue expr_str(const char *s) {
    return (ExprValue){.kind = EXPR_STR, .s = s};
}

#endif
