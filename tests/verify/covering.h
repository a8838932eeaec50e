/* Covering arrays: few rows in which every pair of axis values occurs, and every triple of the axes
 * that are named to interact. Greedy and seeded: the same input gives the same rows.
 *
 * Invariant: each tuple is covered by some row, or no legal row with it was found in COVER_DRAWS
 * random completions (counted as impossible; tests/verify/covering_test.c checks this against
 * enumeration). Tuples of expensive axes are covered first; all others preferably by rows that
 * repeat an expensive combination. Knows nothing of kernels. */
#ifndef SEQTUNE_TESTS_VERIFY_COVERING_H
#define SEQTUNE_TESTS_VERIFY_COVERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COVER_MAX_AXES = 32, COVER_MAX_TRIPLES = 16, COVER_DRAWS = 600 };

typedef struct CoverAxis {
    const char *name;
    int count; /* values are 0 .. count - 1 */
} CoverAxis;

typedef struct CoverRow {
    int value[COVER_MAX_AXES];
} CoverRow;

typedef struct CoverSpec {
    CoverAxis axes[COVER_MAX_AXES];
    int axis_count;
    int expensive; /* the first so many axes make a row costly: reuse their combinations */
    int triples[COVER_MAX_TRIPLES][3]; /* axis numbers */
    int triple_count;
    bool (*legal)(const void *context, const CoverRow *row);
    const void *context;
    uint64_t seed;
} CoverSpec;

typedef struct CoverSet {
    CoverRow *rows;
    size_t count;
    size_t tuples;     /* pairs and triples asked for */
    size_t impossible; /* that no legal row has */
    size_t variants;   /* distinct combinations of the expensive axes */
    double product;    /* rows of the whole cross product, illegal ones included */
} CoverSet;

/* False when there is no memory. Release with covering_free. */
bool covering_build(const CoverSpec *spec, CoverSet *out);
void covering_free(CoverSet *set);

#endif
