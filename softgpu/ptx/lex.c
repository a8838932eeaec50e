/* See lex.h. Number forms: PTX ISA 4.5 (decimal, 0x, octal, 0b, suffix U; 0f and 0d bit patterns;
 * decimal floating point). */
#include "softgpu/ptx/lex.h"

#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' ||
           c == '.';
}

static bool is_word(char c) {
    return is_word_start(c) || is_digit(c);
}

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static void skip_block_comment(PtxLexer *lx) {
    lx->p += 2;
    while (lx->p < lx->end && !(lx->p[0] == '*' && lx->p + 1 < lx->end && lx->p[1] == '/')) {
        if (*lx->p == '\n') lx->line++;
        lx->p++;
    }
    lx->p = lx->end - lx->p > 2 ? lx->p + 2 : lx->end;
}

static void skip_blanks(PtxLexer *lx) {
    while (lx->p < lx->end) {
        const char c = *lx->p;
        const char d = lx->p + 1 < lx->end ? lx->p[1] : '\0';
        if (c == '\n') {
            lx->line++;
            lx->p++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\0') {
            lx->p++;
        } else if (c == '/' && d == '/') {
            while (lx->p < lx->end && *lx->p != '\n') lx->p++;
        } else if (c == '/' && d == '*') {
            skip_block_comment(lx);
        } else {
            return;
        }
    }
}

/* Digits of `base` from lx->p; TOK_BAD when there are none or they do not fit in 64 bits. */
static void lex_digits(PtxLexer *lx, PtxToken *t, unsigned base) {
    const char *first = lx->p;
    uint64_t v = 0;
    for (; lx->p < lx->end; lx->p++) {
        const int d = hex_digit(*lx->p);
        if (d < 0 || (unsigned)d >= base) break;
        if (v > (UINT64_MAX - (uint64_t)d) / base) t->kind = TOK_BAD;
        v = v * base + (uint64_t)d;
    }
    if (lx->p == first) t->kind = TOK_BAD;
    t->value = v;
}

static bool lex_decimal_float(PtxLexer *lx, PtxToken *t) {
    const char *q = lx->p;
    while (q < lx->end && is_digit(*q)) q++;
    if (q >= lx->end || *q != '.') return false;
    q++;
    while (q < lx->end && is_digit(*q)) q++;
    if (q < lx->end && (*q == 'e' || *q == 'E')) {
        q++;
        if (q < lx->end && (*q == '+' || *q == '-')) q++;
        while (q < lx->end && is_digit(*q)) q++;
    }
    char buffer[64];
    const size_t n = (size_t)(q - lx->p);
    if (n >= sizeof buffer) {
        t->kind = TOK_BAD;
        return true;
    }
    memcpy(buffer, lx->p, n);
    buffer[n] = '\0';
    const double d = strtod(buffer, NULL);
    memcpy(&t->value, &d, sizeof d);
    t->kind = TOK_F64;
    lx->p = q;
    return true;
}

static void lex_number(PtxLexer *lx, PtxToken *t) {
    const char c = *lx->p;
    const char d = lx->p + 1 < lx->end ? lx->p[1] : '\0';
    t->kind = TOK_INT;
    if (c == '0' && (d == 'x' || d == 'X')) {
        lx->p += 2;
        lex_digits(lx, t, 16);
    } else if (c == '0' && (d == 'f' || d == 'F' || d == 'd' || d == 'D')) {
        const bool wide = d == 'd' || d == 'D';
        const char *first = lx->p += 2;
        lex_digits(lx, t, 16);
        if (lx->p - first != (wide ? 16 : 8)) t->kind = TOK_BAD;
        if (t->kind != TOK_BAD) t->kind = wide ? TOK_F64 : TOK_F32;
        return;
    } else if (c == '0' && (d == 'b' || d == 'B')) {
        lx->p += 2;
        lex_digits(lx, t, 2);
    } else if (lex_decimal_float(lx, t)) {
        return;
    } else {
        lex_digits(lx, t, c == '0' ? 8 : 10);
    }
    if (lx->p < lx->end && *lx->p == 'U') lx->p++;
}

static void lex_word(PtxLexer *lx) {
    while (lx->p < lx->end) {
        if (is_word(*lx->p)) {
            lx->p++;
        } else if (lx->end - lx->p > 2 && lx->p[0] == ':' && lx->p[1] == ':' && is_word(lx->p[2])) {
            lx->p += 2;
        } else {
            return;
        }
    }
}

PtxToken ptx_lex(PtxLexer *lx) {
    skip_blanks(lx);
    PtxToken t = {.kind = TOK_END, .start = lx->p, .line = lx->line};
    if (lx->p >= lx->end) return t;
    const char c = *lx->p;
    if (is_digit(c)) {
        lex_number(lx, &t);
    } else if (is_word_start(c)) {
        t.kind = TOK_WORD;
        lex_word(lx);
    } else if (c == '"') {
        t.kind = TOK_STRING;
        t.start = ++lx->p;
        while (lx->p < lx->end && *lx->p != '"' && *lx->p != '\n') lx->p++;
        t.length = (size_t)(lx->p - t.start);
        if (lx->p >= lx->end || *lx->p != '"')
            t.kind = TOK_BAD;
        else
            lx->p++;
        return t;
    } else {
        t.kind = TOK_PUNCT;
        t.value = (unsigned char)c;
        lx->p++;
    }
    t.length = (size_t)(lx->p - t.start);
    return t;
}

bool ptx_token_is(const PtxToken *token, const char *word) {
    return token->kind == TOK_WORD && strlen(word) == token->length &&
           memcmp(token->start, word, token->length) == 0;
}
