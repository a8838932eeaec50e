/* Contents of a buffer as a rule: any element can be computed by itself.
 *
 * Invariant: the same fill gives the same bytes on every machine, in any order and any portions.
 */
#ifndef SEQTUNE_TUNER_RUNPTX_CONTENTS_H
#define SEQTUNE_TUNER_RUNPTX_CONTENTS_H

#include "tuner/runptx/element.h"

typedef enum FillKind {
    FILL_NONE,     /* not written at all */
    FILL_CONSTANT, /* a */
    FILL_IOTA,     /* a + i * b; integers wrap around */
    FILL_UNIFORM,  /* floats: a <= x < b; integers: a <= x <= b */
    FILL_NORMAL,   /* mean a, deviation b, cut at 3.5 deviations */
    FILL_BYTES     /* as given: a function's values, a list, a file */
} FillKind;

typedef struct Fill {
    FillKind kind;
    Number a, b;
    uint64_t seed;
    const unsigned char *bytes;
} Fill;

/* Writes elements [first, first + count) to out. */
void fill_write(const Fill *fill, Element type, uint64_t first, size_t count, unsigned char *out);

#endif
