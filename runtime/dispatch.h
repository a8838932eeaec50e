/* The dispatch ladder: which configuration serves a problem, and why.
 *
 * For this GPU's key, the user database over the fleet's over the system's, in each the exact
 * bucket, else the nearest legal one; then, in the same order of databases, the nearest GPU of the
 * same architecture; then the spec's default. A row counts only when its generation is the spec's
 * and its configuration passes the rules for this problem on this GPU. */
#ifndef SEQTUNE_RUNTIME_DISPATCH_H
#define SEQTUNE_RUNTIME_DISPATCH_H

#include "generator/gen.h"
#include "runtime/context.h"

typedef struct DispatchChoice {
    GenConfig config;
    seqtune_rung rung;
    int64_t row;        /* of the winner; 0 for none */
    char database[512]; /* path; "" for none */
    char row_key[512];
    char row_gpu[256];
    bool modelled;     /* the row's evidence */
    double time_us;    /* recorded; 0 when unknown */
    double distance;   /* of the buckets: sum of |log2 ratio| */
    char policy[64];   /* of the row */
    char dropped[512]; /* why a database that cannot be read was left out; "": none was */
} DispatchChoice;

/* Compiles nothing. Takes ctx->lock. ST_UNSUPPORTED when no configuration is legal. */
Status dispatch_choose(seqtune_context *ctx, const GenProblem *problem, DispatchChoice *out,
                       Error *err);

const char *dispatch_rung_name(seqtune_rung rung); /* "exact", "nearest", ... */

/* Distance of two GPU keys of the same compute capability: sum of |log2 ratio| of SMs, clock,
 * memory rate, L2 and shared memory; negative when the architectures differ or a key is not one. */
double dispatch_gpu_distance(const char *key_a, const char *key_b);

#endif
