/* ZLUDA's table of PTX tests (ptx/src/test/spirv_run/mod.rs) as data: each macro call
 * test_ptx!(name, [input], [output]), test_ptx_with_32!(...) and test_ptx_warp!(name, [output]).
 *
 * The project's own table and PTX files are read from a checkout that the user names; nothing of
 * them is kept here. Calls inside comments and macro definitions are no cases. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FOREIGN_CASES_H
#define SEQTUNE_TESTS_SOFTGPU_FOREIGN_CASES_H

#include <stdbool.h>

#include "tests/softgpu/foreign/literal.h"

typedef struct ForeignCase {
    const char *name; /* of the entry and, with .ptx, of the file */
    const char *directory;
    int line;            /* in the table */
    int threads;         /* 1, or 64 for test_ptx_warp */
    bool has_input;      /* else the kernel gets the output twice */
    bool has_values;     /* else the text has only to load */
    const char *problem; /* why the call could not be read; NULL */
    LiteralArray input, expected;
} ForeignCase;

typedef struct ForeignCases {
    ForeignCase *items;
    size_t count;
} ForeignCases;

enum { FOREIGN_MAX_CASES = 2048 };

/* Reads `directory`/mod.rs. A call that cannot be read is a case with a problem. ST_NOT_FOUND when
 * there is no such file, ST_INVALID when it holds no case. */
Status foreign_cases(const char *directory, Arena *arena, ForeignCases *out, Error *err);

#endif
