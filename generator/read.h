/* Shared by the files that turn a script's tables into a GenSpec (spec_read.c, spec_tables.c). */
#ifndef SEQTUNE_GENERATOR_READ_H
#define SEQTUNE_GENERATOR_READ_H

#include "generator/host.h"

typedef struct SpecReader {
    Host host;
    GenSpec *spec;
    int kernel; /* stack index of the kernel's table */
    TextPos pos;
    char what[64]; /* the kernel's name, for messages */
} SpecReader;

enum {
    SEE_DIMS = 1 << GEN_NAME_DIM,
    SEE_AXES = 1 << GEN_NAME_AXIS,
    SEE_LETS = 1 << GEN_NAME_LET,
    SEE_RESOURCES = 1 << GEN_NAME_RESOURCE,
    SEE_CONFIG = SEE_DIMS | SEE_AXES | SEE_LETS | GEN_SEE_GPU,
    SEE_ALL = SEE_CONFIG | SEE_RESOURCES
};

/* Checks the names of a formula against what is known so far and marks it static or not. */
void read_check(SpecReader *r, GenFormula *formula, unsigned kinds, const char *what);
/* Field `key` of the kernel as an array pushed on the stack: its length, 0 when absent (then
 * nothing is pushed). */
int read_array(SpecReader *r, const char *key, int max);
/* A name for a dimension, axis or let: a word that is free. */
void read_new_name(SpecReader *r, const char *name, TextPos pos, GenNameKind kind, int index,
                   bool is_static);
/* The text keys of the table on top of the stack, sorted. */
const char **read_sorted_keys(SpecReader *r, TextPos pos, const char *what, size_t *count);

/* spec_tables.c: what refers to the names that spec_read.c has read. */
void read_pipeline(SpecReader *r);
void read_launch(SpecReader *r);
void read_layouts(SpecReader *r);
void read_parts(SpecReader *r);
void read_seeds(SpecReader *r);

#endif
