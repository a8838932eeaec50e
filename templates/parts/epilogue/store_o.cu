// O / sum to global memory through the warp's own rows of the tile at `o_tile` (16-byte accesses,
// whole lines per row), and the log-sum-exp when it is wanted. A row that saw no key has sum 0:
// its output is 0, its LSE -inf.
//% lib convert
//% lib shared
//% lib global
//% lib attn_rows

__device__ __forceinline__ void store_lse(const AttnParams &p, const BlockWork &work, int warp_row,
                                          int lane, const RowState &rows) {
    if (p.lse == 0 || lane % 4 != 0) return;
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        const int row = warp_row + (r / 2) * 16 + (r % 2) * 8 + lane / 4;
        // ln(sum * exp(scale * top)): top is unscaled, log2 and scale_log2 share the factor ln 2.
        const float lse = ln2() * fmaf(rows.top[r], p.scale_log2, log2_approx(rows.sum[r]));
        if (row < work.rows)
            store_global_f32(lse_address(p, work, row), rows.sum[r] == 0.0f ? -infinity() : lse);
    }
}

__device__ __forceinline__ void store_output(const AttnParams &p, const BlockWork &work,
                                             int warp_row, int lane, u32 o_tile,
                                             const float (&o)[O_regs], const RowState &rows) {
    float inverse[lane_rows];
#pragma unroll
    for (int r = 0; r < lane_rows; ++r)
        inverse[r] = rows.sum[r] == 0.0f ? 0.0f : reciprocal_approx(rows.sum[r]);
        // Two columns of one row are neighbours in a lane: one 4-byte store. Eight rows of one
        // 16-byte chunk column lie in different bank groups by the swizzle, so a warp's store is
        // conflict-free.
#pragma unroll
    for (int i = 0; i < O_regs; i += 2) {
        const float scale = inverse[O_row(i, 0) / 8];
        const u32 pair = half2_of_f32(o[i] * scale, o[i + 1] * scale);
        const int column = O_col(i, lane);
        store_shared_u32(o_tile + Q_offset(O_row(i, lane), column & ~7) + (column & 7) * 2, pair);
    }
    __syncwarp(); // the chunks below were written by other lanes of this warp
    const int chunk_row = lane / span_chunks;
    const int chunk = lane % span_chunks;
#pragma unroll
    for (int first = 0; first < rows_per_warp; first += 32 / span_chunks) {
        const int row = first + chunk_row;
        if (warp_row + row >= work.rows) continue;
        const u64 to = output_address(p, work, warp_row + row) + u64(chunk) * 16;
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols)
            store_global_16(to + u64(column) * 2,
                            load_shared_16(o_tile + Q_offset(row, column + chunk * 8)));
    }
}
