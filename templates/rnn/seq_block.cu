// A recurrent layer over all steps of a launch by one block per `batch_tile` sequences and
// direction: R stays on the SM, `register_blocks` blocks of 32 k of it in registers and the rest in
// shared memory, c and h in registers, and a step costs one barrier.
//
// A warp has warp_units units with all their gates, and of them every lane whole cells (lib
// rnn_tile), so that nothing but h crosses lanes. h has two buffers in shared memory. Step s:
//
//   R h                 from the one buffer, which the barrier of step s - 1 made visible
//   gates, c, h         in registers; what step s + 1 needs of `pre` is loaded as soon as a unit's
//                       has been used, so that its way from memory lies under barrier and product
//   h to the other buffer, y to global memory
//   barrier             h is visible; and the first buffer has been read by all, so that step s + 1
//                       may write it
//
// The shared part of R is read by the very lanes that wrote it: no barrier concerns it. Steps end
// with the longest sequence of the block; then y of padded tokens is zeroed. Sequences past the
// batch are computed with pre = 0 and stored nowhere.
//% lib types
//% lib convert
//% lib shuffle
//% lib shared
//% lib global
//% lib mma
//% lib rnn_rows
//% lib rnn_gates
//% lib rnn_tile
//% lib rnn_unit

enum : int {
    warp_blocks = warp_units / 8,     // blocks of eight units of a warp
    row_groups = warp_blocks * gates, // of eight rows: one gate of a block
    row_tiles = row_groups / 2,       // m16 tiles
    column_tiles = batch_tile / 8,    // n8 tiles of sequences
    k_blocks = state_pitch / 32,
    register_blocks = k_blocks - shared_blocks,
    lane_sums = row_groups * 2, // of eight sequences
    kept_chunks = row_groups * register_blocks * lane_chunks,
    warp_weight_bytes = row_groups * shared_blocks * lane_chunks * 512,
    h_base = threads / 32 * warp_weight_bytes,
    h_bytes = batch_tile * h_row_bytes
};

static_assert(warp_units % 8 == 0 && row_groups % 2 == 0, "whole m16 tiles");
static_assert(batch_tile % 8 == 0, "whole n8 tiles");
static_assert(h_base + 2 * h_bytes == smem, "the spec counts shared memory as it is used");

using Sums = float[column_tiles][lane_sums];
using Cells = float[column_tiles][warp_blocks][2];

// ---- R ----

struct Weights {
    Bytes16 kept[kept_chunks > 0 ? kept_chunks : 1];
    u32 shared; // this lane's first 16 bytes
};

__device__ constexpr int weight_index(int group, int block, int part, int blocks) {
    return (group * blocks + block) * lane_chunks + part;
}

// Chunk `part` of the lane's 8 of 32 k of row lane / 4 of a group.
__device__ __forceinline__ Bytes16 weight_chunk(const Weights &w, int group, int block, int part) {
    if (block < register_blocks) return w.kept[weight_index(group, block, part, register_blocks)];
    return load_shared_16(w.shared +
                          512 * weight_index(group, block - register_blocks, part, shared_blocks));
}

__device__ __forceinline__ void load_all_weights(Weights &w, u64 r, u32 shared, int warp,
                                                 int lane) {
    w.shared = shared + warp * warp_weight_bytes + lane * 16;
    const u64 at =
        r + u64((warp * row_groups * 8 + lane / 4) * state_pitch + lane % 4 * 8) * element;
#pragma unroll
    for (int group = 0; group < row_groups; ++group) {
#pragma unroll
        for (int block = 0; block < k_blocks; ++block) {
#pragma unroll
            for (int part = 0; part < lane_chunks; ++part) {
                const Bytes16 v = load_global_16(
                    at + u64((group * 8 * state_pitch + block * 32) * element + part * 16));
                if (block < register_blocks)
                    w.kept[weight_index(group, block, part, register_blocks)] = v;
                else
                    store_shared_16(w.shared + 512 * weight_index(group, block - register_blocks,
                                                                  part, shared_blocks),
                                    v);
            }
        }
    }
}

// ---- the product ----

__device__ __forceinline__ void product_mma(Sums &sums, const Weights &w, u32 h, int lane) {
    float chain[chains][column_tiles][lane_sums];
#pragma unroll
    for (int i = 0; i < chains * column_tiles * lane_sums; ++i) (&chain[0][0][0])[i] = 0.0f;
#pragma unroll
    for (int block = 0; block < k_blocks; ++block) {
        Bytes16 column[column_tiles];
#pragma unroll
        for (int n = 0; n < column_tiles; ++n) column[n] = load_h(h, n * 8, block, lane);
#pragma unroll
        for (int tile = 0; tile < row_tiles; ++tile) {
            const WeightBlock rows_of_tile = {weight_chunk(w, tile * 2, block, 0),
                                              weight_chunk(w, tile * 2 + 1, block, 0)};
#pragma unroll
            for (int n = 0; n < column_tiles; ++n)
                mma_32(tile_sums(chain[block % chains][n], tile), rows_of_tile, column[n]);
        }
    }
#pragma unroll
    for (int n = 0; n < column_tiles; ++n)
#pragma unroll
        for (int i = 0; i < lane_sums; ++i)
            sums[n][i] = chains == 1 ? chain[0][n][i] : chain[0][n][i] + chain[chains - 1][n][i];
}

__device__ __forceinline__ WeightRow row_of_chunks(const Bytes16 &low, const Bytes16 &high) {
    WeightRow row;
#pragma unroll
    for (int i = 0; i < 8; ++i) row.k[i] = __uint_as_float(i < 4 ? low.word[i] : high.word[i - 4]);
    return row;
}

// `columns`: sequences that there are; the others' sums are 0.
__device__ __forceinline__ void product_fma(Sums &sums, const Weights &w, u32 h, int columns,
                                            int lane) {
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) {
#pragma unroll
        for (int unit_block = 0; unit_block < warp_blocks; ++unit_block) {
            float parts[gates][8];
#pragma unroll
            for (int i = 0; i < gates * 8; ++i) (&parts[0][0])[i] = 0.0f;
#pragma unroll
            for (int block = 0; block < k_blocks; ++block) {
                WeightRow row[gates];
#pragma unroll
                for (int gate = 0; gate < gates; ++gate) {
                    const int group = unit_block * gates + gate;
                    row[gate] = row_of_chunks(weight_chunk(w, group, block, 0),
                                              weight_chunk(w, group, block, lane_chunks - 1));
                }
#pragma unroll
                for (int column = 0; column < 8; ++column) {
                    if (n * 8 + column >= columns) continue;
                    const WeightRow v = load_h_f32(h, n * 8 + column, block, lane);
#pragma unroll
                    for (int gate = 0; gate < gates; ++gate)
                        fma_8(parts[gate][column], row[gate], v);
                }
            }
#pragma unroll
            for (int gate = 0; gate < gates; ++gate) {
                float kept[2];
                quad_columns(kept, parts[gate], lane);
                sums[n][(unit_block * gates + gate) * 2] = kept[0];
                sums[n][(unit_block * gates + gate) * 2 + 1] = kept[1];
            }
        }
    }
}

// ---- sequences ----

// The lane's sequences: column n * 8 + 2 * (lane % 4) + e of the block. Those past the batch have
// no steps and no rows of y.
struct Columns {
    RnnSequence sequence[column_tiles][2];
    int first; // sequence of (0, 0)
    bool exists[column_tiles][2];
};

__device__ __forceinline__ void find_columns(const RnnParams &p, Columns &columns, int lane) {
    columns.first = int(blockIdx.x) * batch_tile + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int b = columns.first + n * 8 + e;
            columns.exists[n][e] = b < p.batch;
            columns.sequence[n][e] = RnnSequence{0, 0, 0};
            if (b < p.batch) columns.sequence[n][e] = rnn_sequence(p, b);
        }
    }
}

// The longest sequence of the block, in every lane: a quad has one of each column.
__device__ __forceinline__ int longest(const Columns &columns) {
    int steps = 0;
#pragma unroll
    for (int n = 0; n < column_tiles; ++n)
        steps = max(steps, max(columns.sequence[n][0].length, columns.sequence[n][1].length));
    return quad_max(steps);
}

// y of a step whose sequence (n, e) has a row in it: address of unit 0.
__device__ __forceinline__ u64 y_address(const RnnParams &p, const RnnDirection &d,
                                         const RnnSequence &sequence, int direction, int step) {
    return d.y + u64(rnn_y_row(p, sequence, direction, step)) * element;
}

// ---- a step ----

struct Place {
    int direction, warp, lane;
    int unit; // the lane's in the warp's first block
};

// pre of the lane's units, sequence (n, e), in a step.
__device__ __forceinline__ u64 pre_address(const RnnParams &p, const Columns &columns,
                                           const Place &place, int step) {
    const i64 row = rnn_pre_row(p, place.direction, step, columns.first, rows);
    return p.pre + u64(row + gate_row(place.unit, 0)) * 4;
}

// Only of sequences that are active in that step: `pre` of others may be unwritten.
__device__ __forceinline__ void load_pre(Sums &pre, const Columns &columns, u64 at, int step, int n,
                                         int unit_block, int e) {
    if (!rnn_active(columns.sequence[n][e], step)) return;
#pragma unroll
    for (int gate = 0; gate < gates; ++gate) {
        const int group = unit_block * gates + gate;
        pre[n][group * 2 + e] = load_f32(at + u64(((n * 8 + e) * rows + group * 8) * 4));
    }
}

__device__ __forceinline__ void store_gate_row(const RnnParams &p, const RnnDirection &d, int step,
                                               int sequence, int unit, const float (&gate)[gates]) {
    const i64 row = (i64(step) * p.batch + sequence) * rows;
#pragma unroll
    for (int i = 0; i < gates; ++i)
        store_element(d.gates + u64(row + gate_row(unit, i)) * element, gate[i]);
}

// What a lane carries from step to step.
struct State {
    Cells c, h; // h as rounded
    Sums pre;   // of the step to come
};

// Gates, c and h of every cell of the lane, h to shared memory and y; `pre` of the next step.
__device__ __forceinline__ void finish_step(const RnnParams &p, const RnnDirection &d,
                                            const Place &place, const Columns &columns,
                                            const UnitWeights (&units)[warp_blocks],
                                            State &state_of, const Sums &sums, u32 h, int step,
                                            int end) {
    const u64 next_pre = pre_address(p, columns, place, step + 1);
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const RnnSequence &sequence = columns.sequence[n][e];
            const bool active = rnn_active(sequence, step);
            const bool shown = d.y != 0 && columns.exists[n][e] && rnn_has_row(p, sequence, step);
            const u64 y = y_address(p, d, sequence, place.direction, step);
#pragma unroll
            for (int b = 0; b < warp_blocks; ++b) {
                const int unit = place.unit + b * 8;
                float product[gates], pre[gates], gate[gates];
#pragma unroll
                for (int i = 0; i < gates; ++i) {
                    product[i] = sums[n][(b * gates + i) * 2 + e];
                    pre[i] = state_of.pre[n][(b * gates + i) * 2 + e];
                }
                if (step + 1 < end) load_pre(state_of.pre, columns, next_pre, step + 1, n, b, e);
                float &own_c = state_of.c[n][b][e], &own_h = state_of.h[n][b][e];
                float c = own_c;
                const float value =
                    round_h(unit_step(gate, product, pre, c, own_h, units[b], p.cell_clip));
                if (active) own_c = c;
                if (active) own_h = value;
                store_shared_element(h + h_offset(n * 8 + place.lane % 4 * 2 + e, unit), own_h);
                if (shown && unit < hidden)
                    store_element(y + u64(unit) * element, active ? value : 0.0f);
                if (store_gates && active)
                    store_gate_row(p, d, step, columns.first + n * 8 + e, unit, gate);
            }
        }
    }
}

// y of tokens past the ends of their sequences, in the steps that no sequence of the block has.
__device__ __forceinline__ void zero_rest(const RnnParams &p, const RnnDirection &d,
                                          const Place &place, const Columns &columns, int begin,
                                          int end) {
    if (d.y == 0 || lengths != lengths_padded) return;
#pragma unroll 1
    for (int step = begin; step < end; ++step) {
#pragma unroll
        for (int i = 0; i < column_tiles * 2; ++i) {
            const RnnSequence &sequence = columns.sequence[i / 2][i % 2];
            if (!columns.exists[i / 2][i % 2] || !rnn_has_row(p, sequence, step)) continue;
            const u64 y = y_address(p, d, sequence, place.direction, step);
#pragma unroll
            for (int b = 0; b < warp_blocks; ++b)
                if (place.unit + b * 8 < hidden)
                    store_element(y + u64(place.unit + b * 8) * element, 0.0f);
        }
    }
}

// Both buffers of h to zeros, then the first to h_in; c_in. Past the last unit all stays zero.
__device__ __forceinline__ void begin_state(const RnnParams &p, const RnnDirection &d,
                                            const Place &place, const Columns &columns,
                                            State &state_of, u32 h) {
    for (int i = int(threadIdx.x) * 16; i < 2 * h_bytes; i += threads * 16)
        store_shared_16(h + i, Bytes16{{0, 0, 0, 0}});
    __syncthreads(); // zeros are written
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i) {
        const int n = i / (2 * warp_blocks), b = i / 2 % warp_blocks, e = i % 2;
        const int unit = place.unit + b * 8;
        const u64 sequence = u64(columns.first + n * 8 + e);
        const bool exists = columns.exists[n][e] && unit < hidden;
        float &c = state_of.c[n][b][e], &own_h = state_of.h[n][b][e];
        c = own_h = 0.0f;
        if (exists && d.c_in != 0 && cell == cell_lstm)
            c = load_f32(d.c_in + (sequence * hidden + unit) * 4);
        if (exists && d.h_in != 0)
            own_h = load_element(d.h_in + (sequence * state + unit) * element);
        store_shared_element(h + h_offset(n * 8 + place.lane % 4 * 2 + e, unit), own_h);
    }
    __syncthreads(); // h_in is visible
}

__device__ __forceinline__ void end_state(const RnnDirection &d, const Place &place,
                                          const Columns &columns, const State &state_of) {
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i) {
        const int n = i / (2 * warp_blocks), b = i / 2 % warp_blocks, e = i % 2;
        const int unit = place.unit + b * 8;
        const u64 sequence = u64(columns.first + n * 8 + e);
        if (!columns.exists[n][e] || unit >= hidden) continue;
        if (d.c_out != 0 && cell == cell_lstm)
            store_global_f32(d.c_out + (sequence * hidden + unit) * 4, state_of.c[n][b][e]);
        if (d.h_out != 0)
            store_element(d.h_out + (sequence * state + unit) * element, state_of.h[n][b][e]);
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_seq_block(const __grid_constant__ RnnParams p) {
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const Place place = {int(blockIdx.z), warp, lane, warp * warp_units + lane / 4};
    const RnnDirection &d = p.dir[place.direction];
    const u32 shared = shared_base();
    Weights weights;
    load_all_weights(weights, d.r, shared, warp, lane);
    UnitWeights units[warp_blocks];
#pragma unroll
    for (int b = 0; b < warp_blocks; ++b) units[b] = unit_weights(d, place.unit + b * 8);
    Columns columns;
    find_columns(p, columns, lane);

    State state_of;
    u32 h = shared + h_base, other = h + h_bytes;
    begin_state(p, d, place, columns, state_of, h);
    const int launch_end = p.first_step + p.steps;
    const int end = min(launch_end, longest(columns));
#pragma unroll
    for (int i = 0; i < column_tiles * lane_sums; ++i) (&state_of.pre[0][0])[i] = 0.0f;
    if (p.first_step < end) {
        const u64 at = pre_address(p, columns, place, p.first_step);
#pragma unroll
        for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i)
            load_pre(state_of.pre, columns, at, p.first_step, i / (2 * warp_blocks),
                     i / 2 % warp_blocks, i % 2);
    }
#pragma unroll 1
    for (int step = p.first_step; step < end; ++step) {
        Sums sums;
        if constexpr (dtype == dtype_f32)
            product_fma(sums, weights, h, p.batch - int(blockIdx.x) * batch_tile, lane);
        else
            product_mma(sums, weights, h, lane);
        finish_step(p, d, place, columns, units, state_of, sums, other, step, end);
        __syncthreads(); // h is visible, the old h has been read
        const u32 swap = h;
        h = other;
        other = swap;
    }
    zero_rest(p, d, place, columns, max(end, p.first_step), launch_end);
    end_state(d, place, columns, state_of);
}
