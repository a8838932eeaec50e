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
    float z[column_tiles][lane_columns][lane_blocks];
    {
        float sums[column_tiles][lane_blocks * 2 * lane_columns];
        //% if narrow == 1
#pragma unroll
        for (int b = 0; b < lane_blocks; ++b)
            narrow_product(pass_rows<2>(sums[0], b), weights, from, own.lane,
                           [&](int i) { return (b * quad_blocks + i / 2) * gates + i % 2; });
        //% else
        product<warp_blocks * 2, 2>(sums, weights, from, own.columns, own.lane,
                                    [](int i) { return i / 2 * gates + i % 2; });
        //% end
        if (step > p.first_step) store_y(p, d, own, from, step - 1);
#pragma unroll
        for (int i = 0; i < lane_cells; ++i) {
            const int n = cell_n(i), e = cell_e(i), b = cell_b(i);
            const u32 at = cell_offset<h_row_bytes>(own, n, b, e);
            const float *sum = &sums[n][b * 2 * lane_columns + e];
            const float r = sigmoid_f32(sum[0] + own.pre[n][e][b][0]);
            z[n][e][b] = sum[lane_columns] + own.pre[n][e][b][1];
            own.pre[n][e][b][0] = r; // for store_gates
            if (has_unit(own, b)) store_shared_element(to + at, r * load_shared_element(from + at));
        }
    }
    __syncthreads(); // r h is visible, h has been read
    float sums[column_tiles][lane_blocks * lane_columns];
    //% if narrow == 1
#pragma unroll
    for (int b = 0; b < lane_blocks; ++b)
        narrow_product(pass_rows<1>(sums[0], b), weights, to, own.lane,
                       [&](int i) { return (b * quad_blocks + i) * gates + 2; });
    //% else
    product<warp_blocks, 1>(sums, weights, to, own.columns, own.lane,
                            [](int i) { return i * gates + 2; });
    //% end
    const u64 next_pre = pre_address(p, own, step + 1);
#pragma unroll
    for (int i = 0; i < lane_cells; ++i) {
        const int n = cell_n(i), e = cell_e(i), b = cell_b(i);
        const u32 at = cell_offset<h_row_bytes>(own, n, b, e);
        const bool exists = has_unit(own, b);
        GruGates gate = {own.pre[n][e][b][0], z[n][e][b],
                         sums[n][b * lane_columns + e] + own.pre[n][e][b][2] +
                             own.units[b].hidden_bias};
        load_pre(own, next_pre, step + 1, n, b, e);
        const float next = gru_mix(gate, exists ? load_shared_element(from + at) : 0.0f);
        if (exists && takes_step(own, n, e, step)) store_shared_element(from + at, next);
        if (store_gates && exists && step < own.end[n][e]) {
            const float all[3] = {gate.r, gate.z, gate.n};
            store_gate_rows(p, d, own, step, n, b, e, all);
        }
    }
}
