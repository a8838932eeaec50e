// One step on tensor cores (lib rnn_step says of what): rows of gates are the m side, straight from
// global memory, sequences the n side (lib rnn_tile).
//
// A block has `block_units` units of batch_tile sequences: `groups` warps side by side, warp_units
// each, times `k_splits` warps that share out k in whole blocks of 32. Their sums meet in shared
// memory and are added in the order of the k_splits, by the threads that then finish a unit of a
// sequence each. Loads of `depth` blocks of k are under way at a time, since weights are read once
// and all that hides their latency is how many are asked for.
//% lib types
//% lib math
//% lib shared
//% lib rnn_load
//% lib rnn_tile
//% lib rnn_step

enum : int {
    columns = batch_tile / 8,
    unit_blocks = warp_units / 8,
    tiles = warp_units * gates / 16,
    sum_count = unit_blocks * gates * 2, // of one column block
    slots = groups * unit_blocks * columns * unit_sums * 2,
    unit_items = (block_units * batch_tile + threads - 1) / threads
};
static_assert(warp_units * gates % 16 == 0, "whole tiles");

struct Sums {
    float acc[columns][sum_count];
    float x_of_n[columns][cell == cell_gru && fused ? unit_blocks * 2 : 1];
};

// The other operand: sequences of x or h. Of a row, `left` elements exist from column k on.
struct Rows {
    u64 address[columns]; // at the lane's first column; 0: zeros
};

template <bool is_x> __device__ __forceinline__ int elements_left(const RnnParams &p, int k) {
    if constexpr (is_x) return x_left(p, k);
    return (streamed ? int(state_pitch) : int(state)) - k;
}

// `whole`: 32 elements exist.
template <bool is_x, bool whole>
__device__ __forceinline__ Bytes16 load_column(const RnnParams &p, u64 row, int block, int lane) {
    const int count = whole ? 8 : elements_left<is_x>(p, block * 32 + lane % 4 * 8);
    const u64 at = row + u64(block) * (32 * element);
    return load_piece < is_x ? int(x_align) : int(h_align) > (at, row != 0 ? count : 0);
}

// `count` blocks of k from `block` on.
template <bool is_x, bool whole, int count>
__device__ __forceinline__ void products(const RnnParams &p, Sums &sums, u64 matrix, int pitch,
                                         int tile0, const Rows &b, int block, int lane) {
    WeightBlock weights[count][tiles];
    Bytes16 column[count][columns];
#pragma unroll
    for (int i = 0; i < count; ++i) {
#pragma unroll
        for (int t = 0; t < tiles; ++t)
            weights[i][t] = load_weights(matrix, pitch, tile0 + t, block + i, lane);
#pragma unroll
        for (int n = 0; n < columns; ++n)
            column[i][n] = load_column<is_x, whole>(p, b.address[n], block + i, lane);
    }
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
        for (int n = 0; n < columns; ++n)
#pragma unroll
            for (int t = 0; t < tiles; ++t)
                mma_32(tile_sums(sums.acc[n], t), weights[i][t], column[i][n]);
}

// This warp's share of the k of one matrix.
template <bool is_x>
__device__ __forceinline__ void all_products(const RnnParams &p, Sums &sums, u64 matrix, int pitch,
                                             int tile0, const Rows &b, int split, int lane) {
    const int each = (pitch / 32 + k_splits - 1) / k_splits;
    const int begin = split * each;
    const int end = min(begin + each, pitch / 32);
    int block = begin;
    if (is_x && p.parts > 1) { // the middle has a tail of its own
#pragma unroll 1
        for (; block < end; ++block)
            products<is_x, false, 1>(p, sums, matrix, pitch, tile0, b, block, lane);
        return;
    }
    const int whole_end = min(end, elements_left<is_x>(p, 0) / 32);
#pragma unroll 1
    for (; block + depth <= whole_end; block += depth)
        products<is_x, true, depth>(p, sums, matrix, pitch, tile0, b, block, lane);
#pragma unroll 1
    for (; block < whole_end; ++block)
        products<is_x, true, 1>(p, sums, matrix, pitch, tile0, b, block, lane);
    if (block < end) products<is_x, false, 1>(p, sums, matrix, pitch, tile0, b, block, lane);
}

// W x: its rows of n are kept apart from those of R h, which the reset gate will multiply.
__device__ __forceinline__ void x_products(const RnnParams &p, Sums &sums, int sequence0, int tile0,
                                           int split, int lane) {
    Rows x;
#pragma unroll
    for (int n = 0; n < columns; ++n) {
        x.address[n] = x_address(p, sequence0 + n * 8 + lane / 4);
        if (x.address[n] != 0) x.address[n] += lane % 4 * 8 * element;
    }
    all_products<true>(p, sums, p.dir[blockIdx.z].w, x_pitch(p), tile0, x, split, lane);
    if constexpr (cell == cell_gru) {
#pragma unroll
        for (int n = 0; n < columns; ++n)
#pragma unroll
            for (int i = 0; i < unit_blocks * 2; ++i) {
                const int at = (i / 2 * gates + 2) * 2 + i % 2;
                sums.x_of_n[n][i] = sums.acc[n][at];
                sums.acc[n][at] = 0.0f;
            }
    }
}

__device__ __forceinline__ void h_products(const RnnParams &p, Sums &sums, int sequence0, int tile0,
                                           int split, int lane) {
    const StepState h = state_before(p, int(blockIdx.z));
    if (h.address == 0) return;
    Rows rows_of_h;
#pragma unroll
    for (int n = 0; n < columns; ++n) {
        const int sequence = sequence0 + n * 8 + lane / 4;
        rows_of_h.address[n] =
            sequence < p.batch ? h.address + u64((i64(sequence) * h.pitch + lane % 4 * 8) * element)
                               : 0;
    }
    all_products<false>(p, sums, p.dir[blockIdx.z].r, state_pitch, tile0, rows_of_h, split, lane);
}

// Sums in shared memory: [split][slot][lane] floats, slot = ((unit block * columns + column) *
// unit_sums + sum) * 2 + which of the lane's two sequences.
__device__ __forceinline__ u32 slot_address(u32 shared, int split, int slot, int lane) {
    return shared + ((split * slots + slot) * 32 + lane) * 4;
}

__device__ __forceinline__ void publish(u32 shared, const Sums &sums, int group, int split,
                                        int lane) {
#pragma unroll
    for (int u = 0; u < unit_blocks; ++u)
#pragma unroll
        for (int n = 0; n < columns; ++n)
#pragma unroll
            for (int i = 0; i < unit_sums * 2; ++i) {
                const int slot = ((group * unit_blocks + u) * columns + n) * (unit_sums * 2) + i;
                const float v =
                    i < gates * 2
                        ? sums.acc[n][u * gates * 2 + i]
                        : sums.x_of_n[n][(u * 2 + i % 2) % int(sizeof sums.x_of_n[0] / 4)];
                store_shared_f32(slot_address(shared, split, slot, lane), v);
            }
}

// Item -> lane of the sums (unit of 8, pair of sequences), which of the pair, column, unit block.
__device__ __forceinline__ StepUnit item_unit(const RnnParams &p, int item, int unit0,
                                              int sequence0) {
    const int lane = item % 32, part = item / 64;
    if (item >= block_units * batch_tile) return step_unit(p, units_pad, 0);
    return step_unit(p, unit0 + part / columns * 8 + lane / 4,
                     sequence0 + part % columns * 8 + lane % 4 * 2 + item / 32 % 2);
}

__device__ __forceinline__ void item_sums(float (&total)[unit_sums], u32 shared, int item) {
#pragma unroll
    for (int i = 0; i < unit_sums; ++i) {
        const int slot = item / 64 * (unit_sums * 2) + i * 2 + item / 32 % 2;
        total[i] = load_shared_f32(slot_address(shared, 0, slot, item % 32));
#pragma unroll
        for (int split = 1; split < k_splits; ++split)
            total[i] += load_shared_f32(slot_address(shared, split, slot, item % 32));
    }
}

extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_step(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const int group = warp % groups, split = warp / groups;
    const int unit0 = int(blockIdx.x) * block_units, sequence0 = int(blockIdx.y) * batch_tile;
    StepUnit item[unit_items];
#pragma unroll
    for (int i = 0; i < unit_items; ++i)
        item[i] = item_unit(p, int(threadIdx.x) + i * threads, unit0, sequence0);

    Sums sums;
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
        for (int i = 0; i < sum_count; ++i) sums.acc[n][i] = 0.0f;
    const int warp_unit0 = unit0 + group * warp_units;
    if (warp_unit0 < units_pad) {
        const int tile0 = warp_unit0 / 8 * gates / 2;
        if constexpr (fused) x_products(p, sums, sequence0, tile0, split, lane);
        h_products(p, sums, sequence0, tile0, split, lane);
        publish(shared, sums, group, split, lane);
    }
    __syncthreads(); // the sums of all k_splits are visible
#pragma unroll
    for (int i = 0; i < unit_items; ++i) {
        if (!item[i].exists) continue;
        float total[unit_sums];
        item_sums(total, shared, int(threadIdx.x) + i * threads);
        step_finish(p, item[i], total);
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_step_begin(const __grid_constant__ RnnParams p) {
    stream_begin(p);
}
