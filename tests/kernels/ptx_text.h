/* Just enough PTX reading for tests: lines, the hottest loop, counts of instructions in it. */
#ifndef SEQTUNE_TESTS_KERNELS_PTX_TEXT_H
#define SEQTUNE_TESTS_KERNELS_PTX_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct PtxLoop {
    char **lines; /* instructions only, guards removed, borrowed from the text */
    size_t count;
    size_t mma;
} PtxLoop;

typedef struct PtxText {
    char *text;   /* a copy, cut into lines */
    char **lines; /* stripped, with labels and directives */
    size_t count;
} PtxText;

bool ptx_text_open(const char *ptx, PtxText *out);
void ptx_text_close(PtxText *t);

/* The last loop (backward branch) of those that hold the most mma: the generator emits the loop
 * over cut tiles before the one over whole tiles. lines[] is owned by *out (ptx_loop_close). */
bool ptx_hot_loop(const PtxText *t, PtxLoop *out);
void ptx_loop_close(PtxLoop *loop);

/* Instructions of the loop whose opcode starts with `prefix`. */
size_t ptx_count(const PtxLoop *loop, const char *prefix);
/* Instructions that ptxas keeps: all but moves and additions of a constant that only form an
 * address (folded into the access). */
size_t ptx_count_kept(const PtxLoop *loop);

#endif
