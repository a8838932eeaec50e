// Online softmax over one tile of scores (Milakov and Gimelshein, arXiv 1805.02867).
//
// Kept per row: top = the largest score so far (before the scale), sum = sum of exp2(scale_log2 *
// (score - top)) over the lane's own columns; the four lanes of a row are added up at the end.
// exp2(scale_log2 * (s - top)) is one fused multiply-add and one ex2 per score: the product
// scale_log2 * top is formed once per row. A row that has seen no key has top = -inf; only a cut
// tile can leave it so, and there the difference is taken to 0 (-inf - 0 stays -inf, exp2 gives
// 0, no NaN), which is why a whole tile needs no such test.
struct RowState {
    float top[lane_rows];
    float sum[lane_rows];
};

__device__ __forceinline__ void softmax_begin(RowState &rows) {
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        rows.top[r] = -infinity();
        rows.sum[r] = 0.0f;
    }
}

// s: scores in, weights exp2(...) out; o is rescaled to the new top. When no row of the warp found
// a larger score, every factor is exactly 1 and the products are left out: the same bits, and after
// the first tiles the usual case.
template <bool cut>
__device__ __forceinline__ void softmax_tile(float (&s)[S_regs], float (&o)[O_regs], RowState &rows,
                                             float scale_log2) {
    constexpr int s_row = S_regs / (lane_rows / 2); // registers of a block of 16 rows
    constexpr int o_row = O_regs / (lane_rows / 2);
    float shift[lane_rows], rescale[lane_rows];
    bool grown = false;
    // Registers 0, 1 of an accumulator block are of row lane / 4, registers 2, 3 of 8 + that.
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        const int s0 = (r / 2) * s_row + (r % 2) * 2;
        float top = rows.top[r];
#pragma unroll
        for (int c = 0; c < s_row; c += 4) top = fmaxf(top, fmaxf(s[s0 + c], s[s0 + c + 1]));
        top = quad_max(top);
        shift[r] = -scale_log2 * (cut && top == -infinity() ? 0.0f : top);
        // Exactly 1 when the top stays: `shift` is a rounded product, and exp2 of what it lacks
        // would add up over the tiles.
        rescale[r] = top == rows.top[r] ? 1.0f
                                        : exp2_approx(fmaf(rows.top[r], scale_log2, shift[r]));
        grown = grown || !(top == rows.top[r]);
        rows.top[r] = top;
    }
    if (warp_any(grown)) {
#pragma unroll
        for (int r = 0; r < lane_rows; ++r) {
            const int o0 = (r / 2) * o_row + (r % 2) * 2;
#pragma unroll
            for (int c = 0; c < o_row; c += 4) {
                o[o0 + c] *= rescale[r];
                o[o0 + c + 1] *= rescale[r];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        const int s0 = (r / 2) * s_row + (r % 2) * 2;
        float sum = rows.sum[r] * rescale[r];
#pragma unroll
        for (int c = 0; c < s_row; c += 4) {
            s[s0 + c] = exp2_approx(fmaf(s[s0 + c], scale_log2, shift[r]));
            s[s0 + c + 1] = exp2_approx(fmaf(s[s0 + c + 1], scale_log2, shift[r]));
            sum += s[s0 + c];
            sum += s[s0 + c + 1];
        }
        rows.sum[r] = sum;
    }
}

// Adds up the lanes of each row.
__device__ __forceinline__ void softmax_end(RowState &rows) {
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) rows.sum[r] = quad_sum(rows.sum[r]);
}
