// Slot cells: LSTM, or GRU with the reset after the product. No barrier.
enum : int {
    cells_in_place = 0, // `to` is another buffer than `from`
    cells_bytes_own = 0,
    pass_cells = pass_blocks / quad_blocks, // of a lane's units, of a column
    pass_sums = pass_cells * gates * lane_columns
};

__device__ __forceinline__ void cells_begin(const RnnDirection &, Lane &) {}

// Gates and c of a pass's cells from their sums, the results to `to`; `pre` of the next step. Where
// a sequence has ended, c and h stay.
__device__ __forceinline__ void finish_cells(const RnnParams &p, const RnnDirection &d, Lane &own,
                                             const float (&sums)[column_tiles][pass_sums], u32 from,
                                             u32 to, int block0, int step) {
    const u64 next_pre = pre_address(p, own, step + 1);
#pragma unroll
    for (int i = 0; i < column_tiles * lane_columns * pass_cells; ++i) {
        const int n = i / (lane_columns * pass_cells), e = i / pass_cells % lane_columns;
        const int in_pass = i % pass_cells, b = block0 + in_pass;
        float product[gates], pre[gates], gate[gates];
#pragma unroll
        for (int j = 0; j < gates; ++j) {
            product[j] = sums[n][(in_pass * gates + j) * lane_columns + e];
            pre[j] = own.pre[n][e][b][j];
        }
        load_pre(own, next_pre, step + 1, n, b, e);
        const bool exists = has_unit(own, b), active = takes_step(own, n, e, step);
        float h = 0.0f, c = own.c[n][b][e];
        if (exists && projection == 0 && (cell == cell_gru || lengths != lengths_none))
            h = load_shared_element(from + cell_offset<h_row_bytes>(own, n, b, e));
        const float next = unit_step(gate, product, pre, c, h, own.units[b], p.cell_clip);
        if (active) own.c[n][b][e] = c;
        if (exists)
            store_shared_element(to + cell_offset<cell_row_bytes>(own, n, b, e), active ? next : h);
        if (store_gates && exists && step < own.end[n][e])
            store_gate_rows(p, d, own, step, n, b, e, gate);
    }
}

__device__ __forceinline__ void make_cells(const RnnParams &p, const RnnDirection &d, Lane &own,
                                           const Weights &weights, u32 from, u32 to, int step) {
#pragma unroll
    for (int b = 0; b < warp_blocks; b += pass_blocks) {
        float sums[column_tiles][pass_sums];
        //% if narrow == 1
        narrow_product(sums[0], weights, from, own.lane, [&](int i) { return b * gates + i; });
        //% else
        product<pass_blocks * gates, gates>(sums, weights, from, own.columns, own.lane,
                                            [&](int i) { return b * gates + i; });
        //% end
        if (b == 0 && step > p.first_step) store_y(p, d, own, from, step - 1);
        finish_cells(p, d, own, sums, from, to, b / quad_blocks, step);
    }
}
