/* What the parts of the parser share: the token under the cursor, scopes, growing lists.
 *
 * Invariant: after the first error every parse function returns at once (p->status). */
#ifndef SEQTUNE_SOFTGPU_PTX_PARSE_STATE_H
#define SEQTUNE_SOFTGPU_PTX_PARSE_STATE_H

#include "base/map.h"
#include "softgpu/ptx/lex.h"
#include "softgpu/ptx/ptx.h"

/* Bounds on hostile text; far above what NVRTC emits. */
enum {
    PTX_MAX_TEXT = 64 << 20,
    PTX_MAX_REGS = 1 << 20,
    PTX_MAX_INSTRS = 4 << 20,
    PTX_MAX_DEPTH = 64,
    PTX_MAX_PARAMS = 256,
    PTX_MAX_FILES = 1 << 16,
};

typedef struct PtxList { /* growing array of pointers or structs, memory from the arena */
    void *data;
    int count, cap;
    size_t item;
} PtxList;

typedef struct PtxDecl { /* .reg name or .reg name<count> */
    const char *name;
    size_t length;
    int first, count; /* count < 0: a single register */
    int lanes;        /* elements of a vector register (.v2, .v4), else 1 */
} PtxDecl;

typedef struct PtxLabel {
    const char *name;
    size_t length;
    int scope;
    int target; /* instruction or table */
    bool table;
} PtxLabel;

typedef struct PtxUse { /* a label name to be resolved when the function is complete */
    const char *name;
    size_t length;
    int scope, line;
    int *where;
    bool table;
} PtxUse;

typedef struct PtxParser {
    PtxLexer lexer;
    PtxToken tok;
    Arena *arena;
    PtxModule *module;
    Status status;
    Error *err;
    int loc_file, loc_line, call_file, call_line;
    Map *vars; /* module scope */
    Map *funcs;
    PtxList module_vars, module_funcs, files;
    /* the function being parsed */
    PtxFunc *func;
    PtxList regs, instrs, decls, labels, uses, local_vars, tables, protos;
    PtxList scopes; /* their parents */
    int scope, depth;
    int decl_base[PTX_MAX_DEPTH], var_base[PTX_MAX_DEPTH];
} PtxParser;

void ptx_next(PtxParser *p);
/* Records the first error, with the line of the token under the cursor. */
void ptx_fail(PtxParser *p, Status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool ptx_accept(PtxParser *p, char punct);
bool ptx_expect(PtxParser *p, char punct);
bool ptx_at(const PtxParser *p, char punct);
/* ".reg.v4.u16" without blanks: leaves ".reg" under the cursor and ".v4" next. */
void ptx_split(PtxParser *p);
/* .reg and its type, the first under the cursor; one declaration of a formal. */
PtxVar *ptx_reg_formal(PtxParser *p);
char *ptx_word(PtxParser *p, const char *what);      /* copies a word and moves on; NULL on error */
int64_t ptx_integer(PtxParser *p, const char *what); /* with sign */
void *ptx_push(PtxParser *p, PtxList *list);         /* a zeroed item; NULL on error */

/* A variable after its space word: [.align N] .type name[N] [= init]. NULL on error. */
PtxVar *ptx_variable(PtxParser *p, PtxSpace space, bool external);
/* Parameters in parentheses; returns how many. */
int ptx_formals(PtxParser *p, PtxVar ***out, bool entry);
bool ptx_space_word(const PtxToken *tok, PtxSpace *space);

/* The body between braces, the opening one under the cursor. */
void ptx_body(PtxParser *p);
void ptx_loc(PtxParser *p);

#endif
