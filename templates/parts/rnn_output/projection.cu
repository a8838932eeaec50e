// Slot output: h = P (o tanh(c)). A warp has some m16 tiles of P's rows, all in shared memory.
//
//   barrier    what cells give is visible, and all have read h
//   P times it; h over the old h, except where a sequence has ended
enum : int {
    cell_blocks = (units_pad + 31) / 32,                             // of 32 k
    output_tiles = (state + 15) / 16,                                // of P
    warp_outputs = (output_tiles + warp_count - 1) / warp_count * 2, // groups of eight rows
    output_base = slots_base + cells_bytes_own
};
static_assert(!cells_in_place, "the old h is still read by the products");

struct Output {
    Resident<warp_outputs, cell_blocks, 0> p;
};

enum : int { output_bytes = warp_count * Resident<warp_outputs, cell_blocks, 0>::shared_bytes };

__device__ __forceinline__ void output_begin(Output &output, const RnnDirection &d,
                                             const Lane &own) {
    load_resident(output.p, d.projection, cell_blocks * 32, own.warp * warp_outputs,
                  output_tiles * 2,
                  own.shared + output_base + u32(own.warp * int(output.p.shared_bytes)), own.lane);
}

__device__ __forceinline__ void make_output(const Output &output, const Lane &own, u32 &h,
                                            u32 &made, int step) {
    __syncthreads(); // what cells give is visible, h has been read
    if (own.warp * warp_outputs >= output_tiles * 2) return;
    float sums[column_tiles][warp_outputs * 2];
    product<warp_outputs, 2, cell_row_bytes>(sums, output.p, made, own.columns, own.lane,
                                             [](int i) { return i; });
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_outputs; ++i) {
        const int n = i / (2 * warp_outputs), e = i / warp_outputs % 2, group = i % warp_outputs;
        const int k = (own.warp * warp_outputs + group) * 8 + own.lane / 4;
        if (k < state && takes_step(own, n, e, step))
            store_shared_element(h + h_offset(n * 8 + own.lane % 4 * 2 + e, k),
                                 sums[n][group * 2 + e]);
    }
}
