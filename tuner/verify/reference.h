/* The definition of right: attention, merges and RoPE in plain C with fp64, no blocking, no tricks.
 *
 * Masks and shapes are those of runtime/params/attn.h and rope.h. Tensors are packed doubles.
 * Invariant: results depend on the arguments alone (sums run in index order, one thread). Nothing
 * here knows tiles, devices or variants; speed is not a goal. */
#ifndef SEQTUNE_TUNER_VERIFY_REFERENCE_H
#define SEQTUNE_TUNER_VERIFY_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "tuner/verify/dtype.h"

typedef struct RefAttention {
    int64_t batch, heads_q, heads_kv; /* heads_kv divides heads_q */
    int64_t head_dim, len_q, len_kv;
    int64_t window_left, window_right; /* -1: open; causal is right = 0 */
    bool top_left;                     /* own position of query i is key i, else bottom-right */
    double scale;
    double soft_cap; /* s -> cap * tanh(s / cap); 0: none */
    const double *q; /* [batch, len_q, heads_q, head_dim] */
    const double *k; /* [batch, len_kv, heads_kv, head_dim] */
    const double *v;
} RefAttention;

/* Whether query i sees key j (0 <= j < len_kv is the caller's business). */
bool ref_attention_sees(const RefAttention *a, int64_t i, int64_t j);

/* How many keys query i sees. */
int64_t ref_attention_count(const RefAttention *a, int64_t i);

/* o: [batch, len_q, heads_q, head_dim]; lse (may be NULL): [batch, heads_q, len_q], natural log. A
 * row that sees no key gives 0 and -inf. Memory of the caller. ST_NO_MEMORY for one row of scores.
 */
Status ref_attention(const RefAttention *a, double *o, double *lse, Error *err);

/* The textbook algorithm with S and P kept in `type`: its distance from ref_attention is what the
 * dtype itself costs and scales the acceptance rule. O is not rounded. */
Status ref_attention_naive(const RefAttention *a, Dtype type, double *o, Error *err);

typedef struct RefRope {
    int64_t tokens, heads, head_dim;
    int64_t rotary_dim, rotary_offset;
    bool interleaved;        /* pairs (2i, 2i + 1), else (i, i + rotary_dim / 2) */
    const double *x;         /* [tokens, heads, head_dim] */
    const double *cos, *sin; /* [table_rows, rotary_dim / 2] */
    int64_t table_rows;
    const int64_t *positions; /* per token; NULL: first_position + token */
    int64_t first_position;
} RefRope;

/* Parts of attention over disjoint keys. */
typedef struct RefMerge {
    int64_t parts, rows, head_dim;
    const double *o;   /* [parts, rows, head_dim]; of a part with lse = -inf: not used */
    const double *lse; /* [parts, rows], natural log; -inf: the part has no keys */
} RefMerge;

/* o: [rows, head_dim], lse: [rows]; a row without keys gives 0 and -inf. magnitude: [rows,
 * head_dim], the sum of the absolute terms of o. Memory of the caller. */
void ref_merge(const RefMerge *m, double *o, double *lse, double *magnitude);

/* Elements of pair i of a head: *a rotates towards *b. */
void ref_rope_pair(const RefRope *r, int64_t i, int64_t *a, int64_t *b);

/* The table row of a token, -1 when its position has none (the token stays as it is). */
int64_t ref_rope_row(const RefRope *r, int64_t token);

/* out: [tokens, heads, head_dim], memory of the caller, not x. */
void ref_rope(const RefRope *r, double *out);

#endif
