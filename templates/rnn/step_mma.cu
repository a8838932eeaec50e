// One step on tensor cores (lib rnn_step says of what): rows of weights are the m side, straight
// from global memory, sequences the n side (lib rnn_tile).
//
// A block has step_units units of batch_tile sequences: `groups` warps side by side, warp_units
// each, times k_splits warps that share out k in whole blocks of 32. Their sums meet in shared
// memory and are added in the order of the splits, by the threads that then finish a unit of a
// sequence each. Loads of `depth` blocks of k are under way at a time, since weights are read once
// and all that hides their latency is how many are asked for.
//
// A tile of 16 rows is two blocks of eight; which ones is free (half_row), as lanes address their
// own rows. So r and z alone, or n alone, are whole tiles of a GRU, too.
//% lib types
//% lib math
//% lib shared
//% lib rnn_load
//% lib rnn_tile
//% lib rnn_step
//% if layer_norm == 1
//% lib rnn_norm
//% end

enum : int {
    columns = batch_tile / 8,
    unit_blocks = warp_units / 8,
    tiles = warp_units * gates / 16
};
static_assert(warp_units * gates % 16 == 0, "whole tiles");

template <int part> __device__ constexpr int part_tiles() {
    return part == reset_and_update ? unit_blocks : (part == only_n ? unit_blocks / 2 : int(tiles));
}

// First of the eight rows that are half a tile, from the warp's first row on.
template <int part> __device__ constexpr int half_row(int tile, int half) {
    if (part == reset_and_update) return (tile * gates + half) * 8;
    if (part == only_n) return ((tile * 2 + half) * gates + 2) * 8;
    return tile * 16 + half * 8;
}

// Sums of one column block: of tile t, [t][half of the tile][2 sequences].
template <int part> struct Sums { float acc[columns][part_tiles<part>() * 4]; };

template <int part> __device__ __forceinline__ void zero(Sums<part> &sums) {
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
        for (int i = 0; i < part_tiles<part>() * 4; ++i) sums.acc[n][i] = 0.0f;
}

// The lane's own row and first k: of weights from the warp's first row on, and of each column.
struct Operands {
    u64 weights;
    int pitch;
    int rows_left; // from row0 on; of P only: the other matrices end with a warp's rows
    u64 column[columns];
};

template <int source>
__device__ __forceinline__ Operands operands(const RnnParams &p, int row0, int sequence0,
                                             int lane) {
    const StepState w = source_weights<source>(p);
    Operands o;
    o.pitch = w.pitch;
    o.rows_left = (state + 15) / 16 * 16 - row0;
    o.weights = w.address + u64((i64(row0 + lane / 4) * w.pitch + lane % 4 * 8) * element);
#pragma unroll
    for (int n = 0; n < columns; ++n)
        o.column[n] =
            source_row<source>(p, sequence0 + n * 8 + lane / 4) + lane % 4 * (8 * element);
    return o;
}

// `whole`: all 32 elements of a sequence exist.
template <int source, bool whole>
__device__ __forceinline__ Bytes16 load_column(const RnnParams &p, u64 row, int block, int lane) {
    const int count = whole ? 8 : elements_left<source>(p, block * 32 + lane % 4 * 8);
    return load_piece<source_align<source>()>(row + u64(block) * (32 * element), count);
}

// `count` blocks of k from `block` on.
template <int source, int part, bool whole, int count>
__device__ __forceinline__ void products(const RnnParams &p, Sums<part> &sums, const Operands &o,
                                         int block, int lane) {
    WeightBlock weights[count][part_tiles<part>()];
    Bytes16 column[count][columns];
#pragma unroll
    for (int i = 0; i < count; ++i) {
        const u64 from = o.weights + u64(block + i) * (32 * element);
#pragma unroll
        for (int t = 0; t < part_tiles<part>(); ++t) {
            int low = half_row<part>(t, 0), high = half_row<part>(t, 1);
            if (part == plain_rows && o.rows_left < tiles * 16) { // the last ones once more
                low = min(low, o.rows_left - 8);
                high = min(high, o.rows_left - 8);
            }
            weights[i][t].low = load_global_16(from + u64(i64(low) * o.pitch * element));
            weights[i][t].high = load_global_16(from + u64(i64(high) * o.pitch * element));
        }
#pragma unroll
        for (int n = 0; n < columns; ++n)
            column[i][n] = load_column<source, whole>(p, o.column[n], block + i, lane);
    }
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
        for (int n = 0; n < columns; ++n)
#pragma unroll
            for (int t = 0; t < part_tiles<part>(); ++t)
                mma_32(tile_sums(sums.acc[n], t), weights[i][t], column[i][n]);
}

// This warp's share of the k of one matrix.
template <int source, int part>
__device__ __forceinline__ void all_products(const RnnParams &p, Sums<part> &sums, int row0,
                                             int sequence0, int split, int lane) {
    if (source_missing<source>(p)) return;
    const Operands o = operands<source>(p, row0, sequence0, lane);
    const int each = (o.pitch / 32 + k_splits - 1) / k_splits;
    int block = split * each;
    const int end = min(block + each, o.pitch / 32);
    // The middle of two parts has a tail of its own.
    const int whole =
        min(end, source == from_x && p.parts > 1 ? 0 : elements_left<source>(p, 0) / 32);
#pragma unroll 1
    for (; block + depth <= whole; block += depth)
        products<source, part, true, depth>(p, sums, o, block, lane);
    if constexpr (depth > 1) {
#pragma unroll 1
        for (; block < whole; ++block) products<source, part, true, 1>(p, sums, o, block, lane);
    }
#pragma unroll 1
    for (; block < end; ++block) products<source, part, false, 1>(p, sums, o, block, lane);
}

// ---- the sums of all splits ----
// In shared memory: [split][group][column][slot][lane] floats; a warp's slots are its blocks of
// eight units (or rows), times `sums` each, times the lane's two sequences.

template <int blocks, int sums>
__device__ __forceinline__ u32 slot_address(u32 shared, int split, int group, int column, int slot,
                                            int lane) {
    const int index = ((split * groups + group) * columns + column) * (blocks * sums * 2) + slot;
    return shared + (index * 32 + lane) * 4;
}

template <int blocks, int sums>
__device__ __forceinline__ void publish(u32 shared,
                                        const float (&values)[columns][blocks * sums * 2],
                                        int group, int split, int lane) {
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
        for (int i = 0; i < blocks * sums * 2; ++i)
            store_shared_f32(slot_address<blocks, sums>(shared, split, group, n, i, lane),
                             values[n][i]);
}

// An item is a unit (or row) of a sequence: unit % 8 and a pair of sequences by the lane of the
// sums, then which of the pair, the column, the block of eight.
struct Item {
    int unit, sequence; // within the block of threads
};

enum : int { block_items = step_units * batch_tile };

__device__ __forceinline__ Item item_place(int item) {
    const int lane = item % 32, part = item / 64;
    return Item{part / columns * 8 + lane / 4, part % columns * 8 + lane % 4 * 2 + item / 32 % 2};
}

template <int blocks, int sums>
__device__ __forceinline__ void item_sums(float (&total)[sums], u32 shared, int item) {
    const int part = item / 64, block = part / columns;
#pragma unroll
    for (int i = 0; i < sums; ++i) {
        const int slot = (block % blocks * sums + i) * 2 + item / 32 % 2;
#pragma unroll
        for (int split = 0; split < k_splits; ++split) {
            const float v = load_shared_f32(slot_address<blocks, sums>(
                shared, split, block / blocks, part % columns, slot, item % 32));
            total[i] = split == 0 ? v : total[i] + v;
        }
    }
}

// ---- kernels ----

struct Place {
    int lane, group, split; // warp `group` of split `split`
    int unit0, sequence0;   // of the block
};

__device__ __forceinline__ Place place() {
    const int warp = int(threadIdx.x) / 32;
    return Place{int(threadIdx.x) % 32, warp % groups, warp / groups, int(blockIdx.x) * step_units,
                 int(blockIdx.y) * batch_tile};
}

// The sums of a unit as step_finish wants them, from those of R h and W x.
__device__ __forceinline__ void publish_units(u32 shared, const Sums<all_gates> &sums,
                                              const Sums<reset_and_update> &of_h,
                                              const float (&x_of_n)[columns][unit_blocks * 2],
                                              const Place &at) {
    float values[columns][unit_blocks * unit_sums * 2];
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
        for (int i = 0; i < unit_blocks * unit_sums * 2; ++i) {
            const int unit = i / (unit_sums * 2), sum = i / 2 % unit_sums, which = i % 2;
            const float own = sums.acc[n][(unit * gates + sum % gates) * 2 + which];
            if (resets_before)
                values[n][i] = sum == 2 ? own : own + of_h.acc[n][(unit * 2 + sum % 2) * 2 + which];
            else
                values[n][i] = sum < gates ? own : x_of_n[n][unit * 2 + which];
        }
    publish<unit_blocks, unit_sums>(shared, values, at.group, at.split, at.lane);
}

// W x on its own, for layer norm.
__device__ __forceinline__ void x_step(const RnnParams &p, u32 shared, const Place &at, int row0) {
    if (at.unit0 + at.group * warp_units < units_pad) {
        Sums<all_gates> sums;
        zero(sums);
        all_products<from_x, all_gates>(p, sums, row0, at.sequence0, at.split, at.lane);
        publish<unit_blocks, gates>(shared, sums.acc, at.group, at.split, at.lane);
    }
    __syncthreads(); // the sums of all splits are visible
    for (int item = int(threadIdx.x); item < block_items; item += threads) {
        const Item i = item_place(item);
        const StepUnit u = step_unit(p, at.unit0 + i.unit, at.sequence0 + i.sequence);
        if (!u.exists) continue;
        float total[gates];
        item_sums<unit_blocks, gates>(total, shared, item);
        finish_sums(p, u, total, true);
    }
    __syncthreads(); // they have been read
}

enum : int { unit_items = (block_items + threads - 1) / threads };

extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_step(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const Place at = place();
    const int unit = at.unit0 + at.group * warp_units, row0 = gate_row(unit, 0);
    if constexpr (layer_norm && fused) x_step(p, shared, at, row0);
    StepUnit own[unit_items];
#pragma unroll
    for (int i = 0; i < unit_items; ++i) {
        const int item = int(threadIdx.x) + i * threads;
        const Item place = item_place(item);
        own[i] = step_unit(p, item < block_items ? at.unit0 + place.unit : int(units_pad),
                           at.sequence0 + place.sequence);
    }
    if (unit < units_pad) {
        Sums<all_gates> sums;
        Sums<reset_and_update> of_h;
        float x_of_n[columns][unit_blocks * 2];
        zero(sums);
        zero(of_h);
        if constexpr (fused && !layer_norm)
            all_products<from_x, all_gates>(p, sums, row0, at.sequence0, at.split, at.lane);
#pragma unroll
        for (int n = 0; n < columns; ++n)
#pragma unroll
            for (int i = 0; i < unit_blocks * 2; ++i) {
                x_of_n[n][i] = 0.0f;
                if constexpr (splits_n) {
                    float &sum = sums.acc[n][(i / 2 * gates + 2) * 2 + i % 2];
                    x_of_n[n][i] = sum;
                    sum = 0.0f;
                }
            }
        if constexpr (resets_before)
            all_products<from_h, reset_and_update>(p, of_h, row0, at.sequence0, at.split, at.lane);
        else
            all_products<from_h, all_gates>(p, sums, row0, at.sequence0, at.split, at.lane);
        publish_units(shared, sums, of_h, x_of_n, at);
    }
    __syncthreads(); // the sums of all splits are visible
#pragma unroll
    for (int i = 0; i < unit_items; ++i) {
        if (!own[i].exists) continue;
        float total[unit_sums];
        item_sums<unit_blocks, unit_sums>(total, shared, int(threadIdx.x) + i * threads);
        step_finish(p, own[i], total);
    }
}

//% if reset == 'before'
extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_reset_n(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const Place at = place();
    const int unit = at.unit0 + at.group * warp_units;
    if (unit < units_pad) {
        Sums<only_n> sums;
        zero(sums);
        all_products<from_product, only_n>(p, sums, gate_row(unit, 0), at.sequence0, at.split,
                                           at.lane);
        publish<unit_blocks, 1>(shared, sums.acc, at.group, at.split, at.lane);
    }
    __syncthreads(); // the sums of all splits are visible
    for (int item = int(threadIdx.x); item < block_items; item += threads) {
        const Item i = item_place(item);
        if (at.unit0 + i.unit >= hidden) continue;
        float total[1];
        item_sums<unit_blocks, 1>(total, shared, item);
        finish_n(p, at.unit0 + i.unit, at.sequence0 + i.sequence, total[0]);
    }
}
//% end

//% if projection > 0
// Rows of P instead of units: a block has as many as it has gates of units elsewhere.
extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_project(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const Place at = place();
    const int first = int(blockIdx.x) * (step_units * gates);
    const int row0 = first + at.group * (tiles * 16);
    if (row0 < state) {
        Sums<plain_rows> sums;
        zero(sums);
        all_products<from_product, plain_rows>(p, sums, row0, at.sequence0, at.split, at.lane);
        publish<tiles * 2, 1>(shared, sums.acc, at.group, at.split, at.lane);
    }
    __syncthreads(); // the sums of all splits are visible
    for (int item = int(threadIdx.x); item < block_items * gates; item += threads) {
        const Item i = item_place(item);
        if (first + i.unit >= state) continue;
        float total[1];
        item_sums<tiles * 2, 1>(total, shared, item);
        finish_projection(p, first + i.unit, at.sequence0 + i.sequence, total[0]);
    }
}
//% end

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_step_begin(const __grid_constant__ RnnParams p) {
    stream_begin(p);
}
//% if layer_norm == 1

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_norm(const __grid_constant__ RnnParams p) {
    normalised_step(p, shared_base());
}
//% end
