/* One attention case in flight: its values, the buffers they lie in, its plan and its launch.
 *
 * Values are packed [batch, len, heads, dim] arrays at the case's lengths; a sequence that is
 * shorter (lens_q, lens_kv) uses the first tokens of its part, and nothing of the rest reaches the
 * device. Invariant: bytes that belong to no element are 0xff (a NaN) before a launch. */
#ifndef SEQTUNE_TUNER_VERIFY_ATTENTION_TRIAL_H
#define SEQTUNE_TUNER_VERIFY_ATTENTION_TRIAL_H

#include "tuner/verify/attention_cases.h"
#include "tuner/verify/check.h"

/* Where the rows of one operand lie. */
typedef struct Places {
    View view;            /* ragged: of one batch; paged: [page, token in page, head, dim] */
    const int *first;     /* ragged: first token of each sequence; NULL */
    const int *pages;     /* paged: of sequence b from table[b] on; NULL */
    const int64_t *table; /* index of a sequence's first page in `pages` */
    int64_t page_size;
} Places;

enum { TRIAL_BUFFERS = 13 };
typedef enum TrialBuffer {
    TRIAL_Q,
    TRIAL_K,
    TRIAL_V,
    TRIAL_O,
    TRIAL_LSE,
    TRIAL_WORKSPACE,
    TRIAL_CU_Q,
    TRIAL_CU_KV,
    TRIAL_LENS,
    TRIAL_PAGES,
    TRIAL_INDPTR,
    TRIAL_K_SCALE,
    TRIAL_V_SCALE
} TrialBuffer;

typedef struct Trial {
    Check *check;
    const AttentionCase *c;
    char text[400];
    Dtype type;
    seqtune_dtype api_type;
    seqtune_kv_dtype kv_dtype;
    int scales;                    /* of 8-bit K and V: 0 none, 1 one each, heads_kv: per head */
    float *k_scale, *v_scale;      /* per K/V head, whatever the kernel is told */
    int64_t dim, heads_q, columns; /* columns: of V over batches and heads, for probes */
    int64_t block_n, part;         /* of AttentionShape */
    float scale;
    bool scores_in_dtype;      /* the textbook kernels store S so: part of their definition */
    int64_t *lens_q, *lens_kv; /* of each sequence */
    int *cu_q, *cu_kv;         /* their running sums, batch + 1 */
    int *pages, *indptr;       /* page table with entries that nobody may read set to -1 */
    int64_t *table, table_stride, page_count, page_entries;
    Places q_at, k_at, v_at, o_at;
    Guarded buffer[TRIAL_BUFFERS];
    double *q_values, *k_values, *v_values;
    double *out, *ref, *naive, *lse_out, *lse_ref;
    seqtune_plan *plan;
} Trial;

/* Fields up to `scale` are set; arrays and places from the check's arena. */
Status trial_arrange(Trial *t, Error *err);
void trial_describe(const Trial *t, PlanDesc *desc);
/* The key that a column of V probes: edges of tiles, of the sequence, of a page and of
 * a part first, then all in order. */
int64_t trial_probed_key(const Trial *t, int64_t column);
/* Values that the operands can hold: 8-bit K and V are code * scale. */
void trial_fill(const Trial *t);
Status trial_buffers(Trial *t, Error *err);
/* Uploads, runs, waits, downloads. */
Status trial_launch(Trial *t, Error *err);
/* O and LSE to arrays; what belongs to them is accepted into the images. */
void trial_results(Trial *t);
void trial_free(Trial *t);

#endif
