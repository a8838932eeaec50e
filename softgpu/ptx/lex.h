/* The lexer of PTX text: one token at a time, never reads past `end`.
 *
 * A word is an identifier, a directive (".reg"), an opcode with its modifiers ("add.s32") or a
 * register ("%tid.x"); "::" inside a word belongs to it ("L2::128B"). */
#ifndef SEQTUNE_SOFTGPU_PTX_LEX_H
#define SEQTUNE_SOFTGPU_PTX_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum PtxTokenKind {
    TOK_END,
    TOK_WORD,
    TOK_INT,
    TOK_F32, /* 0fXXXXXXXX: bits in `value` */
    TOK_F64, /* 0dX..., or decimal with a point: bits in `value` */
    TOK_STRING,
    TOK_PUNCT, /* one character, in `value` */
    TOK_BAD,
} PtxTokenKind;

typedef struct PtxToken {
    PtxTokenKind kind;
    const char *start; /* text; of a string without its quotes */
    size_t length;
    uint64_t value;
    int line;
} PtxToken;

typedef struct PtxLexer {
    const char *p, *end;
    int line;
} PtxLexer;

PtxToken ptx_lex(PtxLexer *lexer);
bool ptx_token_is(const PtxToken *token, const char *word);

#endif
