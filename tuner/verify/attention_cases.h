/* Which launches judge an attention variant: pure data, no device.
 *
 * Invariant: the list depends on the shape and the level alone, so a failing case can be run again
 * by its number. */
#ifndef SEQTUNE_TUNER_VERIFY_ATTENTION_CASES_H
#define SEQTUNE_TUNER_VERIFY_ATTENTION_CASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "tuner/verify/tensor.h"
#include "tuner/verify/verify.h"

/* What Q, K and V hold. */
typedef enum Input {
    INPUT_RANDOM, /* normal */
    INPUT_SHARP,  /* scores spread wide: few keys matter */
    INPUT_RISING, /* later keys score higher for even queries, lower for odd ones */
    INPUT_OFFSET, /* all scores lie near 90: rounding of the large exponents may not add up */
    INPUT_TWINS,  /* all batches and heads hold the same: equal outputs, bit for bit */
    INPUT_ONES,   /* V = 1: every row that sees a key gives 1 */
    INPUT_PROBE,  /* Q = 0; each column of V is 1 at one key, else 0: exactly 0 or 1 / count */
    INPUT_COUNT
} Input;

typedef enum MaskKind { MASK_KIND_NONE, MASK_KIND_CAUSAL, MASK_KIND_WINDOW } MaskKind;

/* How lengths and places of K and V are told. */
typedef enum Serving {
    SERVING_UNIFORM, /* by the description: all sequences alike */
    SERVING_LENGTHS, /* dense K/V, lens_kv on the device */
    SERVING_RAGGED,  /* cu_seqlens of Q and of K/V */
    SERVING_PAGED,   /* block table */
    SERVING_CSR,     /* page_indptr and page_indices, ragged Q */
    SERVING_COUNT
} Serving;

/* What the cases of a variant depend on. */
typedef struct AttentionShape {
    MaskKind mask;
    int64_t group;    /* query heads per K/V head */
    int group_static; /* 1: the source is for this group only */
    int64_t block_m, block_n;
    bool device_lengths, paged;
    bool top_left; /* the spec has that alignment too */
    int64_t page_size;
    int64_t part; /* keys from which on a sequence may be split; 0: the kernel splits none, and has
                     queries without limit */
    bool invariant;
} AttentionShape;

typedef struct AttentionCase {
    int64_t batch, heads_kv, group, len_q, len_kv;
    int64_t spare; /* capacity beyond the lengths */
    seqtune_mask mask;
    seqtune_window window;
    Layout layout; /* of K, V, Q and O alike */
    Input input;
    float scale; /* 0: 1 / sqrt(head_dim) */
    int lse;     /* 1: wanted */
    Serving serving;
    int64_t page_size;
    bool invariant; /* SEQTUNE_BATCH_INVARIANT */
} AttentionCase;

/* The most queries of a kernel that splits keys, scripts/lib/attention.lua's max_len_q. */
enum { DECODE_QUERIES = 16 };

enum { MAX_ATTENTION_CASES = 256 };

/* Fills out[] and returns how many. */
size_t attention_cases(const AttentionShape *shape, VerifyLevel level,
                       AttentionCase out[MAX_ATTENTION_CASES]);

/* verify_variant with this one case: the tests' covering arrays. *out accumulates (zero it first).
 */
Status verify_attention_case(seqtune_context *ctx, const char *spec_name, const GenProblem *problem,
                             const GenConfig *config, const AttentionCase *c, VerifyResult *out,
                             Error *err);

/* "mask=causal len_q=65 len_kv=130 ... input=probe". */
void attention_case_text(const AttentionCase *c, Str *out);

/* The window as runtime/params/attn.h has it: -1 is open. */
void attention_case_window(const AttentionCase *c, int64_t *left, int64_t *right);

#endif
