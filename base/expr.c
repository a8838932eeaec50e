/* Formulas: evaluation of the postfix code with checked 64-bit arithmetic.
 *
 * Invariant: a value equals the one that Lua 5.4 computes. Lua's `/` gives a float; such a value
 * and all that is computed from it is marked, and refused beyond 2^53 where a float is inexact. */
#include "base/expr_code.h"

#include <string.h>

#include "base/str.h"

typedef struct Value {
    ExprValue v;
    bool is_float; /* a float in Lua */
} Value;

#define FLOAT_EXACT (INT64_C(1) << 53)

typedef struct Run {
    const Expr *expr;
    const ExprEnv *env;
    Error *err;
    const ExprInstr *in; /* the current one */
} Run;

#define FAIL(r, ...)                                                                               \
    expr_error((r)->expr->text, (r)->expr->where, (r)->in->at, ST_INVALID, (r)->err, __VA_ARGS__)

static const char *const kind_names[] = {"an integer", "a boolean", "a string"};

static bool truthy(const Value *a) {
    return a->v.kind != EXPR_BOOL || a->v.i != 0;
}

static Status need_ints(Run *r, const Value *a, const Value *b) {
    const Value *bad = a->v.kind != EXPR_INT ? a : b->v.kind != EXPR_INT ? b : NULL;
    return bad ? FAIL(r, "this needs integers, not %s", kind_names[bad->v.kind]) : ST_OK;
}

static bool exact(int64_t i) {
    return i >= -FLOAT_EXACT && i <= FLOAT_EXACT;
}

static int64_t floor_div(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/* q rounded up, for cdiv; b > 0. */
static int64_t ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b > 0);
}

/* One arithmetic operator on two integers; b != 0 where it divides. False on overflow. */
static bool arithmetic(ExprOp op, int64_t a, int64_t b, int64_t *out) {
    bool divides = op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD || op == OP_CDIV;
    if (divides && a == INT64_MIN && b == -1) {
        *out = 0;
        return op == OP_MOD; /* the quotient 2^63 does not fit, the remainder is 0 */
    }
    switch (op) {
    case OP_ADD: return !__builtin_add_overflow(a, b, out);
    case OP_SUB: return !__builtin_sub_overflow(a, b, out);
    case OP_MUL: return !__builtin_mul_overflow(a, b, out);
    case OP_DIV: *out = a / b; return true;
    case OP_FLOORDIV: *out = floor_div(a, b); return true;
    case OP_MOD: *out = a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0); return true;
    default: *out = ceil_div(a, b); return true;
    }
}

/* a = a op b. */
static Status run_arithmetic(Run *r, Value *a, const Value *b) {
    ExprOp op = (ExprOp)r->in->op;
    Status st = need_ints(r, a, b);
    if (st != ST_OK) return st;
    long long x = a->v.i, y = b->v.i;
    bool divides = op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD || op == OP_CDIV;
    if (divides && y == 0) return FAIL(r, "division of %lld by zero", x);
    if (op == OP_CDIV && y < 0) return FAIL(r, "cdiv by the negative %lld", y);
    if (op == OP_DIV && y != -1 && x % y != 0) {
        return FAIL(r, "%lld / %lld is not whole; write // or cdiv", x, y);
    }
    bool is_float = a->is_float || b->is_float || op == OP_DIV;
    int64_t result;
    if (!arithmetic(op, x, y, &result)) return FAIL(r, "overflow: %lld and %lld", x, y);
    if (is_float && !(exact(x) && exact(y) && exact(result))) {
        return FAIL(r, "after a '/' values are limited to 2^53; write // instead");
    }
    *a = (Value){expr_int(result), is_float};
    return ST_OK;
}

static Status run_order(Run *r, Value *a, const Value *b) {
    int order;
    if (a->v.kind != b->v.kind || a->v.kind == EXPR_BOOL) {
        return FAIL(r, "cannot order %s and %s", kind_names[a->v.kind], kind_names[b->v.kind]);
    }
    if (a->v.kind == EXPR_INT)
        order = (a->v.i > b->v.i) - (a->v.i < b->v.i);
    else
        order = strcmp(a->v.s, b->v.s);
    bool result = false;
    switch ((ExprOp)r->in->op) {
    case OP_LT: result = order < 0; break;
    case OP_GT: result = order > 0; break;
    case OP_LE: result = order <= 0; break;
    default: result = order >= 0; break;
    }
    *a = (Value){.v = expr_bool(result)};
    return ST_OK;
}

static bool same(const Value *a, const Value *b) {
    if (a->v.kind != b->v.kind) return false;
    return a->v.kind == EXPR_STR ? strcmp(a->v.s, b->v.s) == 0 : a->v.i == b->v.i;
}

/* min and max keep the first of equals, as math.min and math.max do. */
static Status run_min_max(Run *r, Value *a, const Value *b) {
    Status st = need_ints(r, a, b);
    if (st != ST_OK) return st;
    bool take = r->in->op == OP_MIN ? b->v.i < a->v.i : b->v.i > a->v.i;
    if (take) *a = *b;
    return ST_OK;
}

static Status run_binary(Run *r, Value *a, const Value *b) {
    switch ((ExprOp)r->in->op) {
    case OP_LT:
    case OP_GT:
    case OP_LE:
    case OP_GE: return run_order(r, a, b);
    case OP_NE:
    case OP_EQ: *a = (Value){.v = expr_bool(same(a, b) == (r->in->op == OP_EQ))}; return ST_OK;
    case OP_MIN:
    case OP_MAX: return run_min_max(r, a, b);
    default: return run_arithmetic(r, a, b);
    }
}

static Status run_unary(Run *r, Value *a) {
    ExprOp op = (ExprOp)r->in->op;
    if (op == OP_NOT) {
        *a = (Value){.v = expr_bool(!truthy(a))};
        return ST_OK;
    }
    if (a->v.kind != EXPR_INT) {
        return FAIL(r, "this needs an integer, not %s", kind_names[a->v.kind]);
    }
    if (op == OP_NEG) {
        if (a->v.i == INT64_MIN) return FAIL(r, "overflow: -(%lld)", (long long)a->v.i);
        a->v.i = -a->v.i;
    } else if (op == OP_ILOG2) {
        if (a->v.i <= 0) return FAIL(r, "ilog2 of %lld; it must be positive", (long long)a->v.i);
        *a = (Value){.v = expr_int(63 - __builtin_clzll((unsigned long long)a->v.i))};
    }
    return ST_OK; /* OP_ORDERED: the kind was all */
}

static Status run_name(Run *r, Value *out) {
    const char *name = r->expr->names[r->in->value];
    const ExprEnv *env = r->env;
    if (env && env->lookup && env->lookup(env->context, name, &out->v)) {
        out->is_float = false;
        return ST_OK;
    }
    const char *near = env && env->names ? str_nearest(name, env->names, env->name_count) : NULL;
    if (near) return FAIL(r, "unknown name '%s'; did you mean '%s'?", name, near);
    return FAIL(r, "unknown name '%s'", name);
}

static Status run_push(Run *r, Value *out) {
    switch ((ExprOp)r->in->op) {
    case OP_INT: *out = (Value){.v = expr_int(r->in->value)}; return ST_OK;
    case OP_BOOL: *out = (Value){.v = expr_bool(r->in->value != 0)}; return ST_OK;
    case OP_STR: *out = (Value){.v = expr_str(r->expr->strings[r->in->value])}; return ST_OK;
    default: return run_name(r, out);
    }
}

Status expr_eval(const Expr *expr, const ExprEnv *env, ExprValue *out, Error *err) {
    Value stack[EXPR_STACK];
    size_t top = 0; /* values on the stack */
    Run r = {.expr = expr, .env = env, .err = err};
    for (size_t pc = 0; pc < expr->code_len; pc++) {
        r.in = &expr->code[pc];
        Status st = ST_OK;
        switch ((ExprOp)r.in->op) {
        case OP_INT:
        case OP_BOOL:
        case OP_STR:
        case OP_NAME: st = run_push(&r, &stack[top++]); break;
        case OP_NOT:
        case OP_NEG:
        case OP_ILOG2:
        case OP_ORDERED: st = run_unary(&r, &stack[top - 1]); break;
        case OP_AND:
        case OP_OR:
            if (truthy(&stack[top - 1]) == (r.in->op == OP_OR))
                pc = (size_t)r.in->value - 1;
            else
                top--;
            break;
        default: top--, st = run_binary(&r, &stack[top - 1], &stack[top]); break;
        }
        if (st != ST_OK) return st;
    }
    *out = stack[0].v;
    return ST_OK;
}

static Status eval_kind(const Expr *expr, const ExprEnv *env, ExprKind kind, int64_t *out,
                        Error *err) {
    ExprValue value;
    Status st = expr_eval(expr, env, &value, err);
    if (st != ST_OK) return st;
    if (value.kind != kind) {
        return expr_error(expr->text, expr->where, 0, ST_INVALID, err,
                          "this formula gives %s, %s is needed", kind_names[value.kind],
                          kind_names[kind]);
    }
    *out = value.i;
    return ST_OK;
}

Status expr_eval_int(const Expr *expr, const ExprEnv *env, int64_t *out, Error *err) {
    return eval_kind(expr, env, EXPR_INT, out, err);
}

Status expr_eval_bool(const Expr *expr, const ExprEnv *env, bool *out, Error *err) {
    int64_t value = 0;
    Status st = eval_kind(expr, env, EXPR_BOOL, &value, err);
    if (st == ST_OK) *out = value != 0;
    return st;
}

const char *expr_text(const Expr *expr) {
    return expr->text;
}

void expr_names(const Expr *expr, void (*visit)(void *context, const char *name), void *context) {
    for (size_t i = 0; i < expr->name_count; i++) visit(context, expr->names[i]);
}
