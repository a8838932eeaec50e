/* What a KV cache costs: bytes per token, waste by page size, what fits a GPU.
 *
 * Pure arithmetic on a model's shape: bytes of a token = 2 (K and V) * layers * heads_kv * head_dim
 * * bytes of an element (Pope et al., arXiv 2211.05102, 3.3). Nothing here knows a device. */
#ifndef SEQTUNE_TUNER_KV_PLAN_H
#define SEQTUNE_TUNER_KV_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct KvModel {
    const char *name;
    int64_t layers, heads_q, heads_kv, head_dim;
    int64_t window; /* keys per query, 0: all */
    int64_t parameters;
    const char *source;
} KvModel;

/* NULL with an error that lists the known ones. */
const KvModel *kv_model_find(const char *name, Error *err);

typedef struct KvShape {
    int64_t layers, heads_kv, head_dim, window;
    int64_t element_bytes; /* 1 or 2 */
} KvShape;

KvShape kv_shape(const KvModel *model, int64_t element_bytes);
int64_t kv_token_bytes(const KvShape *shape);
/* Tokens that a sequence of `context` keeps: min(context, window). */
int64_t kv_tokens_kept(const KvShape *shape, int64_t context);

typedef struct KvPages {
    int64_t page_size;
    int64_t page_bytes;  /* of one page over all layers */
    int64_t pages;       /* of one sequence: of a window the most that it touches as it slides */
    int64_t wasted;      /* bytes of them that hold no token that is kept */
    double mean_wasted;  /* bytes, over all remainders: (page_size - 1) / 2 tokens at each end that
                            moves: the last page's, of a window that slides the first one's, too */
    int64_t table_bytes; /* int32 per page */
} KvPages;

KvPages kv_pages(const KvShape *shape, int64_t context, int64_t page_size);

typedef struct KvFit {
    int64_t weights;   /* bytes of 16-bit weights */
    int64_t free;      /* for the cache: 90 % of the memory less the weights; negative: none */
    int64_t sequences; /* of `context`, in whole pages */
    int64_t longest;   /* tokens of one sequence alone; -1: any, as a window keeps no more */
} KvFit;

/* 90 %: what serving systems give to weights and cache by default (vLLM's gpu_memory_utilization);
 * the rest is activations and the driver's. */
KvFit kv_fit(const KvModel *model, const KvShape *shape, int64_t context, int64_t page_size,
             int64_t gpu_bytes);

#endif
