/* Parameters of rope: out = rotate(x) for `tokens` rows of `heads` heads.
 *
 * x and out are [token, head, head_dim] with a contiguous last dimension (out may be x). The
 * first rotary_dim elements of a head from rotary_offset on are rotated, the others copied bit for
 * bit. cos and sin are float [position, rotary_dim / 2] with row stride table_stride. The position
 * of token t is positions[t] (int64) or first_position + t when positions is 0. */
#ifndef SEQTUNE_PARAMS_ROPE_H
#define SEQTUNE_PARAMS_ROPE_H

typedef struct RopeParams {
    st_address x, out;
    st_address cos, sin;
    st_address positions;
    st_stride x_token, x_head;
    st_stride out_token, out_head;
    st_stride table_stride;
    long long first_position;
    int tokens, heads;
    int rotary_offset;
    int table_rows; /* positions outside 0..table_rows-1 leave the token unrotated */
} RopeParams;

#endif
