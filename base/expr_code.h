/* Private to expr_parse.c and expr.c: a formula as postfix code.
 *
 * Invariant: code of a parsed Expr never underflows and never exceeds EXPR_STACK values. */
#ifndef SEQTUNE_BASE_EXPR_CODE_H
#define SEQTUNE_BASE_EXPR_CODE_H

#include "base/expr.h"

enum { EXPR_MAX_TEXT = 2000, EXPR_MAX_DEPTH = 64, EXPR_STACK = EXPR_MAX_DEPTH + 2 };

typedef enum ExprOp {
    OP_INT,  /* push value */
    OP_BOOL, /* push value */
    OP_STR,  /* push strings[value] */
    OP_NAME, /* push what names[value] stands for */
    OP_NOT,
    OP_NEG,
    OP_AND, /* top false: keep it, jump to value; else drop it */
    OP_OR,  /* top not false: keep it, jump to value; else drop it */
    OP_LT,
    OP_GT,
    OP_LE,
    OP_GE,
    OP_NE,
    OP_EQ,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_CDIV,
    OP_MIN,
    OP_MAX,
    OP_ILOG2,
    OP_ORDERED /* min and max of one argument: it must be a number */
} ExprOp;

typedef struct ExprInstr {
    uint16_t op;
    uint16_t at; /* offset in the text, for messages */
    int64_t value;
} ExprInstr;

struct Expr {
    const char *text;
    TextPos where;
    const ExprInstr *code;
    size_t code_len;
    const char *const *names;
    size_t name_count;
    const char *const *strings;
};

/* ST_SYNTAX or `status`: "file:line: message", then the formula with a caret at `at`. */
Status expr_error(const char *text, TextPos where, size_t at, Status status, Error *err,
                  const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
