/* Compilation: one emitted text to PTX, cubin and the figures of ptxas.
 *
 * Invariant: an Artifact's PTX ends in one comment line per entry,
 *   // seqtune-ptxas: entry=NAME registers=N stack=N spill_stores=N spill_loads=N smem=N
 * for readers of PTX that have no ptxas. Needs no device and no driver. Thread-safe. */
#ifndef SEQTUNE_RUNTIME_BUILD_H
#define SEQTUNE_RUNTIME_BUILD_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/str.h"
#include "generator/gen.h"
#include "runtime/nvrtc.h"

/* C++ kernels of others have mangled names of hundreds of bytes. */
enum { ARTIFACT_MAX_ENTRIES = 8, ARTIFACT_NAME = 512 };

typedef struct ArtifactEntry {
    char name[ARTIFACT_NAME];
    int registers, stack, spill_stores, spill_loads, smem; /* bytes but for registers */
} ArtifactEntry;

/* Texts are NUL-terminated (sizes without the NUL) and live in the arena given. */
typedef struct Artifact {
    Hash key; /* build_key */
    const char *source;
    size_t source_size;
    const char *ptx;
    size_t ptx_size;
    const void *cubin;
    size_t cubin_size; /* 0: none was made */
    const char *log;   /* the compiler's, places named as in templates/ */
    size_t log_size;
    ArtifactEntry entries[ARTIFACT_MAX_ENTRIES];
    size_t entry_count;
    double seconds;     /* compilation */
    char toolchain[64]; /* "nvrtc 13.0" */
    bool from_cache;
} Artifact;

/* Of source, options, architecture and toolchain. */
Hash build_key(const GenOutput *output, const char *toolchain);

/* ST_COMPILE with the compiler's messages at template lines. */
Status build_compile(const Nvrtc *nvrtc, const GenOutput *output, Arena *arena, Artifact *out,
                     Error *err);

/* Reads ptxas -v text: fills out[0..max) and returns how many entries there are (ST_LIMIT above
 * max, ST_CORRUPT when a line of an entry cannot be read). Order as in the text. */
Status build_parse_ptxas(const char *log, ArtifactEntry *out, size_t max, size_t *count,
                         Error *err);
/* The same from the comment lines of a PTX text. */
Status build_parse_comments(const char *ptx, ArtifactEntry *out, size_t max, size_t *count,
                            Error *err);

/* Appends the comment line of one entry. */
void build_put_comment(Str *ptx, const ArtifactEntry *entry);

/* Largest over entries. */
int artifact_registers(const Artifact *artifact);
int artifact_spill_bytes(const Artifact *artifact); /* stores + loads */
int artifact_smem(const Artifact *artifact);        /* static */

#endif
