/* Parameters of attn_prefill and attn_naive.
 *
 * Q and O are [batch, token, head, head_dim], K and V the same with heads_kv, any strides with a
 * contiguous last dimension; LSE is float [batch, head, token]. Query i of a sequence sees keys j
 * with i + len_kv - len_q - window_left <= j <= i + len_kv - len_q + window_right; -1 is open.
 * Causal is window_right = 0 (bottom-right aligned). */
#ifndef SEQTUNE_PARAMS_ATTN_H
#define SEQTUNE_PARAMS_ATTN_H

typedef struct AttnParams {
    st_address q, k, v, o;
    st_address lse;       /* 0: not written */
    st_address workspace; /* attn_naive's scores */
    st_stride q_batch, q_token, q_head;
    st_stride k_batch, k_token, k_head;
    st_stride v_batch, v_token, v_head;
    st_stride o_batch, o_token, o_head;
    st_stride lse_batch, lse_head;
    int batch, heads_q, heads_kv, group; /* group = heads_q / heads_kv */
    int len_q, len_kv;
    int window_left, window_right;
    float scale;      /* on Q K^T, natural; positive and finite */
    float scale_log2; /* scale * log2(e) */
} AttnParams;

#endif
