/* Which configurations of a problem are tried, in which order: default, seeds, what won elsewhere,
 * then by the score of the spec's resource model. What the limit leaves untried is counted, never
 * hidden. */
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

/* `known`: configurations worth a try (illegal ones are left out). `effort`: how many by score,
 * besides default, seeds and known ones. ST_UNSUPPORTED when none is legal. */
Status candidates_choose(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *known,
                         size_t known_count, size_t effort, Arena *arena, Candidates *out,
                         Error *err);

#endif
