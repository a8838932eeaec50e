/* Which configurations of a problem are tried, in which order: default, seeds, then by the score
 * of the spec's resource model. What the limit leaves untried is counted, never hidden. */
#ifndef SEQTUNE_TUNER_CANDIDATES_H
#define SEQTUNE_TUNER_CANDIDATES_H

#include "base/arena.h"
#include "generator/gen.h"

typedef struct Candidate {
    GenConfig config;
    GenResources resources;
    bool is_default;
    bool is_seed;
} Candidate;

typedef struct Candidates {
    Candidate *items; /* in the order to try; default first */
    size_t count;
    size_t enumerated; /* the whole space */
    size_t ruled_out;  /* by rules or limits of the GPU */
    size_t untried;    /* legal, beyond `effort` */
} Candidates;

/* `effort`: how many by score, besides default and seeds. ST_UNSUPPORTED when none is legal. */
Status candidates_choose(const GenProblem *problem, const GpuInfo *gpu, size_t effort, Arena *arena,
                         Candidates *out, Error *err);

#endif
