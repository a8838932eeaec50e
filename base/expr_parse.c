/* Formulas: text to postfix code, by precedence climbing (as Lua's own grammar, so that the depth
 * limit keeps us inside Lua's).
 *
 * Refused although Lua takes them, since they would mean something else or nothing here: floats,
 * integers beyond 63 bits (Lua: a float), escapes in strings, comments (`--`), nil. */
#include "base/expr_code.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

typedef enum TokenKind { TOK_END, TOK_INT, TOK_STR, TOK_NAME, TOK_SYMBOL } TokenKind;

typedef struct Token {
    TokenKind kind;
    size_t at, len;
    int64_t value; /* TOK_INT */
} Token;

typedef struct Parser {
    Arena *arena;
    const char *text;
    TextPos where;
    Error *err;
    Token token; /* the next one, not yet used */
    ExprInstr *code;
    size_t code_len;
    const char **names, **strings;
    size_t name_count, string_count;
    int depth;
} Parser;

typedef struct Operator {
    const char *text;
    ExprOp op;
    int priority; /* all are left-associative; unary binds at UNARY */
} Operator;

enum { UNARY = 6 };

static const Operator binary_operators[] = {
    {"or", OP_OR, 1}, {"and", OP_AND, 2},     {"<=", OP_LE, 3}, {">=", OP_GE, 3}, {"~=", OP_NE, 3},
    {"==", OP_EQ, 3}, {"<", OP_LT, 3},        {">", OP_GT, 3},  {"+", OP_ADD, 4}, {"-", OP_SUB, 4},
    {"*", OP_MUL, 5}, {"//", OP_FLOORDIV, 5}, {"/", OP_DIV, 5}, {"%", OP_MOD, 5},
};

static const struct Function {
    const char *name;
    ExprOp op;
    int args; /* 0: one or more */
} functions[] = {
    {"cdiv", OP_CDIV, 2}, {"min", OP_MIN, 0}, {"max", OP_MAX, 0}, {"ilog2", OP_ILOG2, 1}};

enum { FUNCTION_COUNT = sizeof functions / sizeof functions[0] };

/* Words that Lua reserves and that mean nothing here. */
static const char *const lua_words[] = {"break",    "do",     "else", "elseif", "end",   "for",
                                        "function", "goto",   "if",   "in",     "local", "nil",
                                        "repeat",   "return", "then", "until",  "while"};
/* Those that are operators and values here: no part of a name with dots. */
static const char *const own_words[] = {"and", "or", "not", "true", "false"};

Status expr_error(const char *text, TextPos where, size_t at, Status status, Error *err,
                  const char *fmt, ...) {
    if (!err) return status;
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    /* The caret is in the formula, not in the file: escapes or line joins may shift columns there.
     */
    TextPos in_text = {.text = text, .line = 1, .column = 1};
    for (size_t i = 0; i < at; i++) {
        in_text.column++;
        if (text[i] == '\n') in_text.line++, in_text.column = 1;
    }
    err_at(err, status, in_text, "%s", message);
    if (where.file && where.column > 0 && in_text.line == 1) {
        err_wrap(err, "%.900s:%d:%d", where.file, where.line, where.column + in_text.column - 1);
    } else if (where.file) {
        err_wrap(err, "%.900s:%d", where.file, where.line + in_text.line - 1);
    }
    return status;
}

#define FAIL(p, at, ...) expr_error((p)->text, (p)->where, (at), ST_SYNTAX, (p)->err, __VA_ARGS__)

static bool is_name_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static bool token_is(const Parser *p, const char *text) {
    size_t n = strlen(text);
    bool fits = p->token.kind == TOK_SYMBOL || p->token.kind == TOK_NAME;
    return fits && p->token.len == n && memcmp(p->text + p->token.at, text, n) == 0;
}

/* Decimal or 0x; what follows must not be a letter, a digit or a dot. */
static Status lex_number(Parser *p, size_t at) {
    const char *s = p->text + at;
    bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    size_t n = hex ? 2 : 0, first = n;
    int64_t value = 0;
    for (; isxdigit((unsigned char)s[n]) && (hex || isdigit((unsigned char)s[n])); n++) {
        int digit =
            isdigit((unsigned char)s[n]) ? s[n] - '0' : tolower((unsigned char)s[n]) - 'a' + 10;
        if (__builtin_mul_overflow(value, (int64_t)(hex ? 16 : 10), &value) ||
            __builtin_add_overflow(value, (int64_t)digit, &value)) {
            return FAIL(p, at, "integer is larger than 9223372036854775807");
        }
    }
    if (s[n] == '.') return FAIL(p, at, "only integers are allowed, no fractions");
    if (n == first || is_name_char(s[n])) return FAIL(p, at, "malformed number");
    p->token = (Token){TOK_INT, at, n, value};
    return ST_OK;
}

static Status lex_string(Parser *p, size_t at) {
    char quote = p->text[at];
    size_t n = 1;
    for (; p->text[at + n] != quote; n++) {
        char c = p->text[at + n];
        if (c == '\\') return FAIL(p, at + n, "escapes are not allowed in strings");
        if (c == '\0' || c == '\n' || c == '\r') return FAIL(p, at, "unfinished string");
    }
    p->token = (Token){.kind = TOK_STR, .at = at, .len = n + 1};
    return ST_OK;
}

/* The word of the list that the text is, or NULL. */
static const char *word_of(const char *const *list, size_t count, const char *text, size_t len) {
    for (size_t i = 0; i < count; i++)
        if (strlen(list[i]) == len && !memcmp(text, list[i], len)) return list[i];
    return NULL;
}

/* Each part between dots is a Lua name: a letter or _ first, and no reserved word. */
static Status lex_name(Parser *p, size_t at) {
    const char *s = p->text + at;
    size_t n = 0, part = 0;
    for (;; n++) {
        if (n == part && !isalpha((unsigned char)s[n]) && s[n] != '_') {
            return FAIL(p, at + n, "a name must go on with a letter after '.'");
        }
        if (is_name_char(s[n]) && s[n] != '.') continue;
        const char *word =
            word_of(lua_words, sizeof lua_words / sizeof lua_words[0], s + part, n - part);
        if (!word && (part > 0 || s[n] == '.'))
            word = word_of(own_words, sizeof own_words / sizeof own_words[0], s + part, n - part);
        if (word) return FAIL(p, at + part, "'%s' is a reserved word", word);
        if (s[n] != '.') break;
        part = n + 1;
    }
    p->token = (Token){.kind = TOK_NAME, .at = at, .len = n};
    return ST_OK;
}

static Status next(Parser *p) {
    size_t at = p->token.at + p->token.len;
    while (p->text[at] && strchr(" \t\n\r\v\f", p->text[at])) at++;
    const char *s = p->text + at;
    if (*s == '\0') {
        p->token = (Token){.kind = TOK_END, .at = at};
        return ST_OK;
    }
    if (isdigit((unsigned char)*s)) return lex_number(p, at);
    if (*s == '\'' || *s == '"') return lex_string(p, at);
    if (isalpha((unsigned char)*s) || *s == '_') return lex_name(p, at);
    if (s[0] == '-' && s[1] == '-') return FAIL(p, at, "'--' starts a comment; write '- -'");
    size_t n = 0;
    if (strchr("<>=~", *s) && s[1] == '=')
        n = 2;
    else if (s[0] == '/' && s[1] == '/')
        n = 2;
    else if (strchr("+-*/%<>(),", *s))
        n = 1;
    if (n == 0 && *s == '=') return FAIL(p, at, "'=' assigns; to compare, write '=='");
    if (n == 0 && s[0] == '!' && s[1] == '=') return FAIL(p, at, "'not equal' is written '~='");
    if (n == 0 && isprint((unsigned char)*s)) return FAIL(p, at, "unexpected '%c'", *s);
    if (n == 0) return FAIL(p, at, "unexpected byte 0x%02x", (unsigned)(unsigned char)*s);
    p->token = (Token){.kind = TOK_SYMBOL, .at = at, .len = n};
    return ST_OK;
}

static ExprInstr *emit(Parser *p, ExprOp op, size_t at, int64_t value) {
    /* The array has a place per byte of text plus one: each instruction uses up at least one. */
    ExprInstr *in = &p->code[p->code_len++];
    *in = (ExprInstr){.op = (uint16_t)op, .at = (uint16_t)at, .value = value};
    return in;
}

static Status expected(Parser *p, const char *what) {
    const Token *t = &p->token;
    if (t->kind == TOK_END) return FAIL(p, t->at, "%s expected at the end", what);
    return FAIL(p, t->at, "%s expected near '%.*s'", what, (int)t->len, p->text + t->at);
}

static Status take(Parser *p, const char *symbol) {
    char what[8];
    snprintf(what, sizeof what, "'%s'", symbol);
    return token_is(p, symbol) ? next(p) : expected(p, what);
}

static Status parse_binary(Parser *p, int limit);

static Status parse_call(Parser *p, const struct Function *f) {
    size_t at = p->token.at;
    Status st = next(p);
    if (st == ST_OK) st = take(p, "(");
    int args = 0;
    for (bool more = true; st == ST_OK && more;) {
        st = parse_binary(p, 0);
        if (st != ST_OK) break;
        if (++args > 1 && f->args == 0) emit(p, f->op, at, 0);
        more = token_is(p, ",");
        if (more) st = next(p);
    }
    if (st == ST_OK) st = take(p, ")");
    if (st != ST_OK) return st;
    if (f->args && args != f->args) {
        return FAIL(p, at, "%s takes %d argument%s, not %d", f->name, f->args,
                    f->args == 1 ? "" : "s", args);
    }
    if (f->args == 0 && args > 1) return ST_OK;
    emit(p, f->args ? f->op : OP_ORDERED, at, 0);
    return ST_OK;
}

static Status copy_text(Parser *p, const char **list, size_t *count, size_t at, size_t len) {
    const char *copy = arena_strndup(p->arena, p->text + at, len);
    if (!copy) return err_no_memory(p->err, len + 1);
    list[(*count)++] = copy;
    return ST_OK;
}

static Status parse_name(Parser *p) {
    Token t = p->token;
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        if (token_is(p, functions[i].name)) return parse_call(p, &functions[i]);
    }
    if (token_is(p, "true") || token_is(p, "false")) {
        emit(p, OP_BOOL, t.at, token_is(p, "true"));
        return next(p);
    }
    if (token_is(p, "and") || token_is(p, "or")) return expected(p, "a value");
    size_t i = 0;
    while (i < p->name_count &&
           (strlen(p->names[i]) != t.len || memcmp(p->names[i], p->text + t.at, t.len) != 0)) {
        i++;
    }
    Status st = next(p);
    if (st == ST_OK && token_is(p, "(")) {
        return FAIL(p, t.at, "unknown function '%.*s'; there are cdiv, min, max, ilog2", (int)t.len,
                    p->text + t.at);
    }
    if (st == ST_OK && i == p->name_count) st = copy_text(p, p->names, &p->name_count, t.at, t.len);
    if (st == ST_OK) emit(p, OP_NAME, t.at, (int64_t)i);
    return st;
}

static Status parse_primary(Parser *p) {
    Token t = p->token;
    if (token_is(p, "(")) {
        Status st = next(p);
        if (st == ST_OK) st = parse_binary(p, 0);
        return st == ST_OK ? take(p, ")") : st;
    }
    switch (t.kind) {
    case TOK_INT: emit(p, OP_INT, t.at, t.value); return next(p);
    case TOK_NAME: return parse_name(p);
    case TOK_STR: {
        emit(p, OP_STR, t.at, (int64_t)p->string_count);
        Status st = copy_text(p, p->strings, &p->string_count, t.at + 1, t.len - 2);
        return st == ST_OK ? next(p) : st;
    }
    case TOK_END:
    case TOK_SYMBOL: break;
    }
    return expected(p, "a value");
}

static const Operator *binary_operator(const Parser *p) {
    for (size_t i = 0; i < sizeof binary_operators / sizeof binary_operators[0]; i++) {
        if (token_is(p, binary_operators[i].text)) return &binary_operators[i];
    }
    return NULL;
}

/* Operators of a priority above `limit`. Each call costs one level of depth, as in Lua, and adds
 * at most one value to the stack that waits for its right side: so depth bounds the stack. */
static Status parse_binary(Parser *p, int limit) {
    if (++p->depth > EXPR_MAX_DEPTH) {
        return FAIL(p, p->token.at, "nested deeper than %d levels", EXPR_MAX_DEPTH);
    }
    Status st;
    size_t at = p->token.at;
    bool is_not = token_is(p, "not");
    if (is_not || token_is(p, "-")) {
        if ((st = next(p)) != ST_OK || (st = parse_binary(p, UNARY)) != ST_OK) return st;
        emit(p, is_not ? OP_NOT : OP_NEG, at, 0);
    } else if ((st = parse_primary(p)) != ST_OK) {
        return st;
    }
    for (const Operator *o; (o = binary_operator(p)) && o->priority > limit;) {
        at = p->token.at;
        if ((st = next(p)) != ST_OK) return st;
        bool jumps = o->op == OP_AND || o->op == OP_OR;
        ExprInstr *jump = jumps ? emit(p, o->op, at, 0) : NULL;
        if ((st = parse_binary(p, o->priority)) != ST_OK) return st;
        if (jump)
            jump->value = (int64_t)p->code_len;
        else
            emit(p, o->op, at, 0);
    }
    p->depth--;
    return ST_OK;
}

static Status parse_all(Parser *p, size_t len) {
    if (len > EXPR_MAX_TEXT) {
        return FAIL(p, 0, "formula of %zu bytes is longer than the limit of %d", len,
                    EXPR_MAX_TEXT);
    }
    p->code = ARENA_ARRAY(p->arena, ExprInstr, len + 1);
    p->names = ARENA_ARRAY(p->arena, const char *, len + 1);
    p->strings = ARENA_ARRAY(p->arena, const char *, len + 1);
    if (!p->code || !p->names || !p->strings) return err_no_memory(p->err, len * sizeof *p->code);
    Status st = next(p);
    if (st == ST_OK) st = parse_binary(p, 0);
    if (st == ST_OK && p->token.kind != TOK_END) st = expected(p, "an operator or the end");
    return st;
}

Status expr_parse(Arena *arena, const char *text, TextPos where, const Expr **out, Error *err) {
    size_t len = strlen(text);
    const char *copy = arena_strndup(arena, text, len);
    const char *file = where.file ? arena_strdup(arena, where.file) : NULL;
    Expr *expr = ARENA_NEW(arena, Expr);
    if (!copy || !expr || (where.file && !file)) return err_no_memory(err, len + sizeof *expr);
    where.file = file;
    where.text = NULL;
    Parser p = {.arena = arena, .text = copy, .where = where, .err = err};
    Status st = parse_all(&p, len);
    if (st != ST_OK) return st;
    *expr = (Expr){.text = copy,
                   .where = where,
                   .code = p.code,
                   .code_len = p.code_len,
                   .names = p.names,
                   .name_count = p.name_count,
                   .strings = p.strings};
    *out = expr;
    return ST_OK;
}
