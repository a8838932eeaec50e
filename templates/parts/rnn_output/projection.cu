// Slot output: h = P (o tanh(c)). A warp has some m16 tiles of P's rows, all in shared memory.
//
//   barrier    what cells give is visible, and all have read h
//   P times it; h over the old h, except where a sequence has ended
enum : int {
    cell_blocks = narrow ? units_pad / 16 : (units_pad + 31) / 32,   // of k: narrow of 16, else 32
    output_tiles = (state + 15) / 16,                                // of P
    warp_outputs = (output_tiles + warp_count - 1) / warp_count * 2, // groups of eight rows
    output_base = slots_base + cells_bytes_own,
    first_columns = narrow ? int(batch_tile) : 4 // lanes of a quad that have sequences of their own
};
static_assert(!cells_in_place, "the old h is still read by the products");

struct Output {
    Resident<warp_outputs, cell_blocks, 0, Weights::chunks> p;
};

enum : int { output_bytes = warp_count * decltype(Output::p)::shared_bytes };
static_assert(quad_blocks == 1, "rows of P are no blocks of units");

__device__ __forceinline__ void output_begin(Output &output, const RnnDirection &d,
                                             const Lane &own) {
    load_resident(output.p, d.projection, (units_pad + 31) / 32 * 32, own.warp * warp_outputs,
                  output_tiles * 2,
                  own.shared + output_base + u32(own.warp * int(output.p.shared_bytes)), own.lane);
}

__device__ __forceinline__ void make_output(const Output &output, const Lane &own, u32 &h,
                                            u32 &made, int step) {
    __syncthreads(); // what cells give is visible, h has been read
    if (own.warp * warp_outputs >= output_tiles * 2) return;
    float sums[column_tiles][warp_outputs * lane_columns];
    //% if narrow == 1
    narrow_product<cell_row_bytes>(sums[0], output.p, made, own.lane, [](int i) { return i; });
    //% else
    product<warp_outputs, 2, cell_row_bytes>(sums, output.p, made, own.columns, own.lane,
                                             [](int i) { return i; });
    //% end
#pragma unroll
    for (int i = 0; i < column_tiles * lane_columns * warp_outputs; ++i) {
        const int n = i / (lane_columns * warp_outputs), e = i / warp_outputs % lane_columns;
        const int group = i % warp_outputs;
        const int k = (own.warp * warp_outputs + group) * 8 + own.lane / 4;
        if (k < state && own.lane % 4 < first_columns && takes_step(own, n, e, step))
            store_shared_element(h + h_offset(lane_column(own.lane) + n * 8 + e, k),
                                 sums[n][group * lane_columns + e]);
    }
}
