// Slot cells: GRU with the reset before the product, n = tanh(W x + b + R (r h) + b_h). Two
// products, so that the rows of n wait for every r:
//
//   sums of r and z from R h; r h to `to`
//   barrier                   r h is visible, and all products have read h
//   sum of n from R (r h); h' over the old h, of which a lane reads only its own cells now
//
// The barrier at the end of the step lets the next one write r h again.
enum : int { cells_in_place = 1, cells_bytes_own = 0 };

static_assert(cell == cell_gru, "a reset");

__device__ __forceinline__ void cells_begin(const RnnDirection &, const Lane &) {}

__device__ __forceinline__ void make_cells(const RnnParams &p, const RnnDirection &d, Lane &own,
                                           const Weights &weights, u32 from, u32 to, int step) {
    float z[column_tiles][2][warp_blocks];
    {
        float sums[column_tiles][warp_blocks * 4];
        product<warp_blocks * 2, 2>(sums, weights, from, own.columns, own.lane,
                                    [](int i) { return i / 2 * gates + i % 2; });
        if (step > p.first_step) store_y(p, d, own, from, step - 1);
#pragma unroll
        for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i) {
            const int n = i / (2 * warp_blocks), e = i / warp_blocks % 2, b = i % warp_blocks;
            const u32 at = cell_offset<h_row_bytes>(own, n, b, e);
            const float r = sigmoid_f32(sums[n][b * 4 + e] + own.pre[n][e][b][0]);
            z[n][e][b] = sums[n][b * 4 + 2 + e] + own.pre[n][e][b][1];
            own.pre[n][e][b][0] = r; // for store_gates
            if (has_unit(own, b)) store_shared_element(to + at, r * load_shared_element(from + at));
        }
    }
    __syncthreads(); // r h is visible, h has been read
    float sums[column_tiles][warp_blocks * 2];
    product<warp_blocks, 1>(sums, weights, to, own.columns, own.lane,
                            [](int i) { return i * gates + 2; });
    const u64 next_pre = pre_address(p, own, step + 1);
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i) {
        const int n = i / (2 * warp_blocks), e = i / warp_blocks % 2, b = i % warp_blocks;
        const u32 at = cell_offset<h_row_bytes>(own, n, b, e);
        const bool exists = has_unit(own, b);
        GruGates gate = {own.pre[n][e][b][0], z[n][e][b],
                         sums[n][b * 2 + e] + own.pre[n][e][b][2] + own.units[b].hidden_bias};
        load_pre(own, next_pre, step + 1, n, b, e);
        const float next = gru_mix(gate, exists ? load_shared_element(from + at) : 0.0f);
        if (exists && takes_step(own, n, e, step)) store_shared_element(from + at, next);
        if (store_gates && exists && step < own.end[n][e]) {
            const float all[3] = {gate.r, gate.z, gate.n};
            store_gate_rows(p, d, own, step, n, b, e, all);
        }
    }
}
