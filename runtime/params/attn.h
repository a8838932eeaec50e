/* Parameters of attn_prefill, attn_decode and attn_naive.
 *
 * Q and O are [batch, token, head, head_dim], K and V the same with heads_kv, any strides with a
 * contiguous last dimension; LSE is float [batch, head, token]. With cu_seqlens_q sequence b has
 * the tokens cu_seqlens_q[b] .. cu_seqlens_q[b+1]-1 of Q, O and LSE, whose batch strides are 0;
 * cu_seqlens_kv does the same for K and V. Paged K and V: "batch" is the page; token j of a
 * sequence is token j % page_size of page pages[table + j / page_size], with table = page_indptr[b]
 * or b * table_stride.
 *
 * Query i of a sequence sees keys j with own - window_left <= j <= own + window_right, own = i +
 * len_kv - len_q (bottom-right), or i with top_left; -1 is open. Causal is window_right = 0. */
#ifndef SEQTUNE_PARAMS_ATTN_H
#define SEQTUNE_PARAMS_ATTN_H

typedef struct AttnParams {
    st_address q, k, v, o;
    st_address lse;           /* 0: not written */
    st_address workspace;     /* attn_naive's scores, attn_decode's parts */
    st_address cu_seqlens_q;  /* int [batch + 1]; 0: len_q queries each */
    st_address cu_seqlens_kv; /* int [batch + 1]; 0: K and V by batch stride or pages */
    st_address lens_kv;     /* int [batch], at most len_kv; 0: by cu_seqlens_kv, else len_kv each */
    st_address pages;       /* int, page ids; 0: not paged */
    st_address page_indptr; /* int [batch + 1]; 0: by table_stride */
    st_address k_scale;     /* float, 8-bit K and V: value = stored * scale; 0: 1 */
    st_address v_scale;
    st_stride q_batch, q_token, q_head;
    st_stride k_batch, k_token, k_head;
    st_stride v_batch, v_token, v_head;
    st_stride o_batch, o_token, o_head;
    st_stride lse_batch, lse_head;
    st_stride table_stride;
    int batch, heads_q, heads_kv, group; /* group = heads_q / heads_kv */
    int len_q, len_kv;                   /* of every sequence, or the most of any */
    int window_left, window_right;
    int own_first;    /* own position of query 0: len_kv - len_q, or 0 with top_left */
    int top_left;     /* 1: own position of query i is key i */
    int scale_heads;  /* 1: scales are per K/V head, 0: one each */
    int splits;       /* attn_decode: parts of K/V per sequence that the grid has room for */
    float scale;      /* on Q K^T, natural; positive and finite */
    float scale_log2; /* scale * log2(e) */
} AttnParams;

#endif
