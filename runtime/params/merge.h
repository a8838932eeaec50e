/* Parameters of attn_combine: parts of attention over disjoint keys to the whole.
 *
 * o_parts is [part, token, head, head_dim], packed within a part; lse_parts float (natural log),
 * element (part, head, token) at part * part_lse + head * lse_head + token * lse_token. o is
 * [token, head, head_dim], packed; lse has the strides of one part. */
#ifndef SEQTUNE_PARAMS_MERGE_H
#define SEQTUNE_PARAMS_MERGE_H

typedef struct MergeParams {
    st_address o_parts, lse_parts;
    st_address o;
    st_address lse; /* 0: not written */
    st_stride part_o, part_lse;
    st_stride lse_head, lse_token;
    int parts, tokens, heads;
} MergeParams;

#endif
