/* One case of kv_append or kv_gather: buffers, places of the tokens, inputs.
 *
 * Invariant: `place` is the truth that slots, offsets and tables were made from; nothing is
 * computed back from them. Entries of the tables that no kernel may read are -1. */
#ifndef SEQTUNE_TUNER_VERIFY_KV_CASE_H
#define SEQTUNE_TUNER_VERIFY_KV_CASE_H

#include "tuner/verify/check.h"
#include "tuner/verify/random.h"

/* How the tokens' places are told. */
typedef enum KvPlacing { KV_BY_SLOT, KV_BY_TABLE, KV_BY_CSR, KV_DENSE_BATCH } KvPlacing;

typedef struct KvCase {
    int64_t tokens, heads_q, heads_kv;
    int64_t spare; /* capacity beyond the tokens */
    int64_t page_size;
    KvPlacing placing;
    Layout layout;  /* of the cache's K; V and the contiguous side have others */
    bool in_place;  /* q_out = q */
    bool positions; /* an array, with entries outside of the table, else counted */
    bool scales;    /* given, else 1 */
    bool per_head;  /* scales */
    bool overflow;  /* the last sequence goes past its row of the table */
} KvCase;

enum {
    AT_Q,
    AT_Q_OUT,
    AT_NEW_K,
    AT_NEW_V,
    AT_K,
    AT_V,
    AT_SLOTS,
    AT_CU,
    AT_LENS,
    AT_TABLE,
    AT_INDPTR,
    AT_POSITIONS,
    AT_COS,
    AT_SIN,
    AT_Q_NORM,
    AT_K_NORM,
    AT_K_SCALE,
    AT_V_SCALE,
    AT_WORKSPACE,
    KV_BUFFERS
};

enum { KV_TABLE_ROWS = 97, KV_MAX_BATCH = 4 };

typedef struct KvTokenPlace {
    bool token;  /* of a sequence (by slot: always) */
    bool exists; /* has a slot */
    int64_t page, in_page;
    int64_t position; /* for RoPE; outside of 0 .. KV_TABLE_ROWS-1: not rotated */
} KvTokenPlace;

typedef struct KvRun {
    Check *check;
    const KvCase *c;
    char text[320];
    Dtype type;
    seqtune_dtype api_type;
    seqtune_kv_dtype kv_type;
    bool gather, interleaved, norm;
    int64_t head_dim, rotary_dim; /* 0: no RoPE */
    int64_t batch, pages, table_stride, entries;
    float norm_eps;
    View q, new_k, new_v, k, v;
    KvTokenPlace *place; /* [tokens] */
    Guarded b[KV_BUFFERS];
    seqtune_plan *plan;
} KvRun;

/* Dimensions of the problem and the shape of the case. */
Status kv_case_shape(KvRun *r, Error *err);
void kv_case_describe(const KvRun *r, PlanDesc *out);
/* Allocates the buffers and fills them; kv_case_free releases them and the plan. */
Status kv_case_fill(KvRun *r, Error *err);
void kv_case_free(KvRun *r);

/* Whether the kernel computes on rows of this buffer (AT_Q, AT_K, AT_V): RoPE, norm. */
bool kv_case_norms(const KvRun *r, int at);
bool kv_case_turns(const KvRun *r, int at, int64_t token);

size_t kv_case_element(const KvRun *r); /* bytes of an element of the cache */
double kv_case_scale(const KvRun *r, int at, int64_t head);

#endif
