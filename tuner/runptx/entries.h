/* The entries of a PTX text and their parameters, read from the text itself.
 *
 * A driver before 12.4 does not tell a function's parameters, and none before that version lists
 * entries; so the heads `.entry name ( .param ... )` are read here (PTX ISA, "Kernel and Function
 * Directives"). Everything else of the text is skipped: whether it is PTX is the driver's to say.
 */
#ifndef SEQTUNE_TUNER_RUNPTX_ENTRIES_H
#define SEQTUNE_TUNER_RUNPTX_ENTRIES_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"

typedef struct PtxParam {
    const char *name;
    const char *type; /* of one element: "u64", "b8" */
    size_t bytes;     /* of all elements */
    bool is_array;    /* a struct by value: .b8 name[N] */
} PtxParam;

typedef struct PtxEntry {
    const char *name;
    int line;
    const PtxParam *params;
    size_t param_count;
} PtxEntry;

typedef struct PtxEntries {
    const PtxEntry *items;
    size_t count;
} PtxEntries;

/* ST_SYNTAX with file and line where an entry's head cannot be read. Texts live in the arena. */
Status entries_read(Arena *arena, const char *file, const char *text, PtxEntries *out, Error *err);
/* The entry of that name, else the only one whose name contains it; NULL name: the only entry.
 * ST_INVALID lists the entries. */
Status entries_find(const PtxEntries *entries, const char *name, const PtxEntry **out, Error *err);

#endif
