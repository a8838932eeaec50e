/* Parameters of kv_append and kv_gather.
 *
 * The contiguous side is [token, head, head_dim] by strides; the cache is [page, token in page,
 * head, head_dim] by strides, "batch" being the page; a dense cache has one page per sequence.
 * Token t goes to slot slots[t] = page * page_size + token in page (-1: nowhere), or, with
 * cu_seqlens, token cu_seqlens[b] + i to position lens_kv[b] + i of sequence b, whose page is
 * pages[table + position / page_size], table = page_indptr[b] or b * table_stride; with pages 0 it
 * is page b. Positions past the sequence's row of the table go nowhere. */
#ifndef SEQTUNE_PARAMS_KV_H
#define SEQTUNE_PARAMS_KV_H

typedef struct KvParams {
    st_address q, q_out;     /* 0: no Q */
    st_address new_k, new_v; /* the contiguous side */
    st_address k, v;         /* the cache */
    st_address slots;        /* long long [tokens]; 0: by position */
    st_address cu_seqlens;   /* int [batch + 1] */
    st_address lens_kv;      /* int [batch]; 0: all 0 */
    st_address pages, page_indptr;
    st_address positions; /* long long [tokens] for RoPE; 0: lens_kv[b] + i */
    st_address cos, sin;  /* float [table_rows, rotary_dim / 2] */
    st_address q_norm, k_norm;
    st_address k_scale, v_scale; /* float; stored = round(value / scale); 0: 1 */
    st_stride q_token, q_head;   /* of q and q_out */
    st_stride new_k_token, new_k_head, new_v_token, new_v_head;
    st_stride k_batch, k_token, k_head;
    st_stride v_batch, v_token, v_head;
    st_stride table_stride;
    int tokens, batch, heads_q, heads_kv;
    int page_size;
    int table_rows;  /* positions outside 0..table_rows-1 leave the token unrotated */
    int scale_heads; /* 1: scales are per K/V head, 0: one each */
    float norm_eps;
} KvParams;

#endif
