/* FlashAttention-2's forward kernel as PTX that was built elsewhere: SEQTUNE_FA2_PTX names a folder
 * with, for each variant, d64_128x128_4w.ptx (head_dim, block_m x block_n, warps; _causal and _q
 * for Q in registers) and d64_128x128_4w.sm_80.log, what `ptxas -v` said for each architecture.
 * Each file has one entry fa2, whose only parameter is the kernel's own structure. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FA2_VARIANT_H
#define SEQTUNE_TESTS_SOFTGPU_FA2_VARIANT_H

#include "softgpu/clock.h"

typedef struct Variant {
    int head_dim, m, n, warps;
    bool causal, q_in_regs;
} Variant;

typedef struct Shape {
    int batch, heads, length;
} Shape;

typedef struct Outcome {
    SgTime time;
    SgPtxas ptxas;
    int blocks;    /* per SM */
    double cpu_ms; /* of the clock */
} Outcome;

/* NULL: the variable is not set, which the test says before it skips. */
const char *variant_folder(void);
const char *variant_name(const Variant *v, char *out, size_t size);
bool variant_exists(const Variant *v);

/* FLOP by convention: a causal mask halves them. */
double variant_flop(const Variant *v, const Shape *shape);

/* The modelled time of a launch; a sample of blocks runs. Fails the test when it cannot. */
Outcome variant_time(const Variant *v, const char *gpu, const Shape *shape);

/* Runs all blocks; the largest difference of an output from attention in double. Checks as
 * SOFTGPU_CHECKS says; a finding fails the test. */
double variant_error(const Variant *v, const char *gpu, const Shape *shape);

#endif
