// A recurrent layer over all steps of a launch by blocks that wait for each other: R lies once in
// the registers and shared memory of the whole GPU, part_units units with all their gates in each
// block, and h goes round through L2.
//
// A block has `batch_tile` sequences; the blocks of a (batch tile, direction) share a counter and
// two buffers of h, [sequence][state_pitch], in the workspace. Of a block, `k_splits` warps share
// out the k of warp_units units, each with its part of R. Step s:
//
//   R h              each warp its k, straight from the one buffer in L2 to mma operands; f32 from a
//                    copy in shared memory, since its lanes all read the same h (barrier 0)
//   sums             with k_splits > 1 through shared memory, added in the order of the warps;
//                    barrier 1: the parts are visible
//   gates, c, h      each warp some 8x8 blocks of (unit, sequence); h to the other buffer
//   barrier 2        all of the block's h is stored, and the parts have been read;
//                    warp 0 arrives (lib grid_barrier)
//   y, next pre      under the latency of the barrier
//   warp 0 waits     for all blocks' h; barrier 3. The buffer that step s + 1 writes has been read
//                    by everybody: each read it before it arrived
//
// Steps end with the longest sequence of the batch tile, the same in all its blocks. After the last
// step nobody waits. A wait that fails sets the error word, and every block leaves; outputs are then
// undefined. rnn_reset, the launch before, makes the counters 0 and the first buffer h_in.
//
// Sequences past the batch are computed with pre = 0 and stored in the workspace only.
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
//% lib grid_barrier

enum : int {
    warp_blocks = warp_units / 8,     // blocks of eight units of a warp
    row_groups = warp_blocks * gates, // of eight rows: one gate of a block
    row_tiles = row_groups / 2,       // m16 tiles
    column_tiles = batch_tile / 8,    // n8 tiles of sequences
    k_blocks = state_pitch / 32,
    register_blocks = part_blocks - shared_blocks, // of part_blocks; the last part may have fewer
    lane_sums = row_groups * 2,                    // of eight sequences
    cell_blocks = warp_blocks * column_tiles, // 8 units x 8 sequences, of k_splits warps together
    own_cells = (cell_blocks + k_splits - 1) / k_splits,
    // Blocks of k whose h is on its way at once.
    load_blocks = column_tiles >= 8 ? 1 : 8 / column_tiles,
    column_group = 2, // f32: sequences that one branch leaves out
    kept_chunks = row_groups * register_blocks * lane_chunks,
    warp_weight_bytes = row_groups * shared_blocks * lane_chunks * 512,
    h_base = threads / 32 * warp_weight_bytes, // f32: h of the block's sequences
    h_row_size = state_pitch * element,
    sums_base = h_base + (dtype == dtype_f32 ? batch_tile * h_row_size : 0),
    cell_block_bytes = gates * 32 * 8, // of sums: two sequences per lane
    warp_sum_bytes = k_splits > 1 ? cell_blocks * cell_block_bytes : 0,
    h_bytes = batch_tile * state_pitch * element, // one buffer
    counter_bytes = 128,                          // a line of its own for each counter
    tile_bytes = counter_bytes + 2 * h_bytes
};

static_assert(part_units % warp_units == 0 && units_pad % part_units == 0, "whole warps");
static_assert(dtype == dtype_f32 ? warp_blocks == 1 : row_groups % 2 == 0, "whole m16 tiles");
static_assert(batch_tile % 8 == 0, "whole n8 tiles");
static_assert(sums_base + threads / 32 * warp_sum_bytes == smem, "the spec counts shared memory");

using Sums = float[column_tiles][lane_sums];

// Of batch tile `tile` of a direction.
__device__ __forceinline__ u64 tile_counter(const RnnParams &p, int tile, int direction) {
    const int tiles = (p.batch + batch_tile - 1) / batch_tile;
    return p.workspace + u64(direction * tiles + tile) * tile_bytes;
}

// ---- R ----

struct Place {
    int direction, tile;  // of the batch
    int warp, lane, part; // part: of k
    int unit;             // the lane's, in the first block of its warp
    int block;            // first block of k
};

struct Weights {
    Bytes16 kept[kept_chunks > 0 ? kept_chunks : 1];
    u32 shared; // this lane's first 16 bytes
};

__device__ constexpr int kept_index(int group, int block, int part) {
    return (group * register_blocks + block) * lane_chunks + part;
}

__device__ __forceinline__ u32 shared_chunk(const Weights &w, int group, int block, int part) {
    return w.shared + u32((block * row_groups + group) * lane_chunks + part) * 512;
}

// Chunk `chunk` of the lane's 8 of 32 k of row lane / 4 of a group, in the warp's block of k.
__device__ __forceinline__ Bytes16 weight_chunk(const Weights &w, int group, int block, int chunk) {
    if (block >= register_blocks)
        return load_shared_16(shared_chunk(w, group, block - register_blocks, chunk));
    return w.kept[kept_index(group, block, chunk)];
}

// Past the last k they are 0.
__device__ __forceinline__ void load_part(Weights &w, u64 r, u32 shared, const Place &place) {
    w.shared = shared + place.warp * warp_weight_bytes + place.lane * 16;
    const i64 row = gate_row(place.unit, 0);
    const u64 at = r + u64(row * state_pitch + place.block * 32 + place.lane % 4 * 8) * element;
#pragma unroll
    for (int group = 0; group < row_groups; ++group) {
#pragma unroll
        for (int block = 0; block < part_blocks; ++block) {
#pragma unroll
            for (int chunk = 0; chunk < lane_chunks; ++chunk) {
                Bytes16 v = {{0, 0, 0, 0}};
                if (place.block + block < k_blocks)
                    v = load_global_16(
                        at + u64((group * 8 * state_pitch + block * 32) * element + chunk * 16));
                if (block < register_blocks)
                    w.kept[kept_index(group, block, chunk)] = v;
                else
                    store_shared_16(shared_chunk(w, group, block - register_blocks, chunk), v);
            }
        }
    }
}

// ---- the product ----

// The lane's 8 of 32 k of a sequence. Past the last k: 0.
__device__ __forceinline__ Bytes16 load_h_chunk(u64 h, const Place &place, int sequence,
                                                int block) {
    Bytes16 v = {{0, 0, 0, 0}};
    const int k = (place.block + block) * 32 + place.lane % 4 * 8;
    if (k < state_pitch) v = load_l2_16(h + u64(sequence * state_pitch + k) * element);
    return v;
}

__device__ __forceinline__ void product_mma(Sums &sums, const Weights &w, u64 h,
                                            const Place &place) {
#pragma unroll
    for (int i = 0; i < column_tiles * lane_sums; ++i) (&sums[0][0])[i] = 0.0f;
#pragma unroll
    for (int first = 0; first < part_blocks; first += load_blocks) {
        Bytes16 column[load_blocks][column_tiles];
#pragma unroll
        for (int i = 0; i < load_blocks; ++i)
#pragma unroll
            for (int n = 0; n < column_tiles; ++n)
                if (first + i < part_blocks)
                    column[i][n] = load_h_chunk(h, place, n * 8 + place.lane / 4, first + i);
#pragma unroll
        for (int i = 0; i < load_blocks; ++i) {
            const int block = first + i;
            if (block >= part_blocks) break;
            // A basic block for each of those in shared memory: of one basic block ptxas moves all
            // loads to the head, and spills for them.
            if (block >= register_blocks && place.block + block >= k_blocks) continue;
#pragma unroll
            for (int tile = 0; tile < row_tiles; ++tile) {
                const WeightBlock rows_of_tile = {weight_chunk(w, tile * 2, block, 0),
                                                  weight_chunk(w, tile * 2 + 1, block, 0)};
#pragma unroll
                for (int n = 0; n < column_tiles; ++n)
                    mma_32(tile_sums(sums[n], tile), rows_of_tile, column[i][n]);
            }
        }
    }
}

__device__ __forceinline__ WeightRow row_of_chunks(const Bytes16 &low, const Bytes16 &high) {
    WeightRow row;
#pragma unroll
    for (int i = 0; i < 8; ++i) row.k[i] = __uint_as_float(i < 4 ? low.word[i] : high.word[i - 4]);
    return row;
}

// h of the sequences that product_fma reads to shared memory, by all threads: of each several loads
// on their way at once.
__device__ __forceinline__ void copy_h(u64 h, u32 shared, int columns) {
    constexpr int all = batch_tile * h_row_size / 16, wanted = (all + threads - 1) / threads;
    constexpr int batch = wanted < 8 ? wanted : 8;
    const int rows_read = (columns + column_group - 1) / column_group * column_group;
    const int chunks = min(batch_tile, rows_read) * (h_row_size / 16);
#pragma unroll 1
    for (int first = int(threadIdx.x); first < chunks; first += batch * threads) {
        Bytes16 v[batch];
#pragma unroll
        for (int i = 0; i < batch; ++i)
            if (first + i * threads < chunks) v[i] = load_l2_16(h + u64(first + i * threads) * 16);
#pragma unroll
        for (int i = 0; i < batch; ++i)
            if (first + i * threads < chunks)
                store_shared_16(shared + h_base + u32(first + i * threads) * 16, v[i]);
    }
}

// `columns`: sequences that there are; the others' sums are of no use.
__device__ __forceinline__ void product_fma(Sums &sums, const Weights &w, u32 shared,
                                            const Place &place, int columns) {
    const u32 h = shared + h_base + place.block * 128;
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) {
        float parts[gates][8];
#pragma unroll
        for (int i = 0; i < gates * 8; ++i) (&parts[0][0])[i] = 0.0f;
#pragma unroll
        for (int block = 0; block < part_blocks; ++block) {
            if (place.block + block >= k_blocks) continue;
            WeightRow row[gates];
#pragma unroll
            for (int gate = 0; gate < gates; ++gate)
                row[gate] = row_of_chunks(weight_chunk(w, gate, block, 0),
                                          weight_chunk(w, gate, block, lane_chunks - 1));
#pragma unroll
            for (int column = 0; column < 8; ++column) {
                if (column % column_group == 0 && n * 8 + column >= columns) break;
                const WeightRow v = load_h_f32<h_row_size>(h, n * 8 + column, block, place.lane);
#pragma unroll
                for (int gate = 0; gate < gates; ++gate) fma_8(parts[gate][column], row[gate], v);
            }
        }
#pragma unroll
        for (int gate = 0; gate < gates; ++gate) {
            float kept[2];
            quad_columns(kept, parts[gate], place.lane);
            sums[n][gate * 2] = kept[0];
            sums[n][gate * 2 + 1] = kept[1];
        }
    }
}

// ---- sums over the parts of k ----

// A lane's two sums of (warp, cell block, gate).
__device__ __forceinline__ u32 sum_address(u32 shared, int warp, int cell_block, int gate,
                                           int lane) {
    return shared + sums_base + warp * warp_sum_bytes + cell_block * cell_block_bytes +
           (gate * 32 + lane) * 8;
}

__device__ __forceinline__ void store_sums(const Sums &sums, u32 shared, const Place &place) {
#pragma unroll
    for (int i = 0; i < cell_blocks; ++i) {
#pragma unroll
        for (int gate = 0; gate < gates; ++gate) {
            const int at = (i % warp_blocks * gates + gate) * 2;
            store_shared_f32x2(sum_address(shared, place.warp, i, gate, place.lane),
                               sums[i / warp_blocks][at], sums[i / warp_blocks][at + 1]);
        }
    }
}

// product[e][gate] of a cell block, parts in order.
__device__ __forceinline__ void add_parts(float (&product)[2][gates], u32 shared,
                                          const Place &place, int cell_block) {
    const int warp0 = place.warp - place.part;
#pragma unroll
    for (int gate = 0; gate < gates; ++gate) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            float sum = 0.0f;
#pragma unroll
            for (int part = 0; part < k_splits; ++part)
                sum += load_shared_f32(
                    sum_address(shared, warp0 + part, cell_block, gate, place.lane) + e * 4);
            product[e][gate] = sum;
        }
    }
}

// ---- cells ----

// What a lane carries from step to step of one cell block: two sequences of one unit.
struct Cell {
    int unit, column; // of e = 0, in the batch tile
    bool used;        // the same in the whole warp
    UnitWeights weights;
    float c[2], h[2]; // h as rounded
    float pre[2][gates];
    RnnSequence sequence[2]; // those past the batch have no steps
    bool exists[2];
};

__device__ __forceinline__ void begin_cell(Cell &cell_of, const RnnParams &p, const RnnDirection &d,
                                           const Place &place, int index) {
    const int i = k_splits == 1 ? index : place.part + index * k_splits;
    cell_of.used = k_splits == 1 || i < cell_blocks;
    cell_of.unit = place.unit + i % warp_blocks * 8;
    cell_of.column = i / warp_blocks * 8 + place.lane % 4 * 2;
    cell_of.weights = UnitWeights{{0.0f, 0.0f, 0.0f}, 0.0f};
    if (cell_of.used) cell_of.weights = unit_weights(d, cell_of.unit);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const int b = place.tile * batch_tile + cell_of.column + e;
        cell_of.exists[e] = cell_of.used && b < p.batch;
        cell_of.sequence[e] = RnnSequence{0, 0, 0};
        if (cell_of.exists[e]) cell_of.sequence[e] = rnn_sequence(p, b);
        cell_of.c[e] = cell_of.h[e] = 0.0f;
#pragma unroll
        for (int gate = 0; gate < gates; ++gate) cell_of.pre[e][gate] = 0.0f;
        if (!cell_of.exists[e] || cell_of.unit >= hidden) continue;
        if (d.c_in != 0 && cell == cell_lstm)
            cell_of.c[e] = load_f32(d.c_in + (u64(b) * hidden + cell_of.unit) * 4);
        if (d.h_in != 0)
            cell_of.h[e] = load_element(d.h_in + (u64(b) * state + cell_of.unit) * element);
    }
}

// Only of sequences that are active in that step: `pre` of others may be unwritten.
__device__ __forceinline__ void load_pre(Cell &cell_of, const RnnParams &p, const Place &place,
                                         int step) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        if (!rnn_active(cell_of.sequence[e], step)) continue;
        const int b = place.tile * batch_tile + cell_of.column + e;
        const i64 row = rnn_pre_row(p, place.direction, step, b, rows);
#pragma unroll
        for (int gate = 0; gate < gates; ++gate)
            cell_of.pre[e][gate] = load_f32(p.pre + u64(row + gate_row(cell_of.unit, gate)) * 4);
    }
}

__device__ __forceinline__ void store_gate_row(const RnnParams &p, const RnnDirection &d, int step,
                                               int sequence, int unit, const float (&gate)[gates]) {
    const i64 row = (i64(step) * p.batch + sequence) * rows;
#pragma unroll
    for (int i = 0; i < gates; ++i)
        store_element(d.gates + u64(row + gate_row(unit, i)) * element, gate[i]);
}

// The cell's step; h to the next buffer.
__device__ __forceinline__ void step_cell(Cell &cell_of, const float (&product)[2][gates],
                                          const RnnParams &p, const RnnDirection &d,
                                          const Place &place, u64 next, int step) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        float gate[gates], c = cell_of.c[e];
        const bool active = rnn_active(cell_of.sequence[e], step);
        const float value = round_h(unit_step(gate, product[e], cell_of.pre[e], c, cell_of.h[e],
                                              cell_of.weights, p.cell_clip));
        if (active) cell_of.c[e] = c;
        if (active) cell_of.h[e] = value;
        const int column = cell_of.column + e;
        store_element(next + u64(column * state_pitch + cell_of.unit) * element, cell_of.h[e]);
        if (store_gates && active)
            store_gate_row(p, d, step, place.tile * batch_tile + column, cell_of.unit, gate);
    }
}

// y of a step: h, or 0 for a token past the end.
__device__ __forceinline__ void store_y(const Cell &cell_of, const RnnParams &p,
                                        const RnnDirection &d, const Place &place, int step) {
    if (d.y == 0 || cell_of.unit >= hidden) return;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const RnnSequence &sequence = cell_of.sequence[e];
        if (!cell_of.exists[e] || !rnn_has_row(p, sequence, step)) continue;
        const i64 row = rnn_y_row(p, sequence, place.direction, step);
        store_element(d.y + u64(row + cell_of.unit) * element,
                      rnn_active(sequence, step) ? cell_of.h[e] : 0.0f);
    }
}

__device__ __forceinline__ void end_cell(const Cell &cell_of, const RnnDirection &d,
                                         const Place &place) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const u64 b = u64(place.tile * batch_tile + cell_of.column + e);
        if (!cell_of.exists[e] || cell_of.unit >= hidden) continue;
        if (d.c_out != 0 && cell == cell_lstm)
            store_global_f32(d.c_out + (b * hidden + cell_of.unit) * 4, cell_of.c[e]);
        if (d.h_out != 0)
            store_element(d.h_out + (b * state + cell_of.unit) * element, cell_of.h[e]);
    }
}

// The longest sequence of the batch tile, in every lane.
__device__ __forceinline__ int longest(const RnnParams &p, const Place &place) {
    if (lengths == lengths_none) return p.total_steps;
    int steps = 0;
#pragma unroll 1
    for (int i = place.lane % 4; i < batch_tile; i += 4) {
        const int b = place.tile * batch_tile + i;
        if (b < p.batch) steps = max(steps, rnn_sequence(p, b).length);
    }
    return quad_max(steps);
}

// ---- kernels ----

// The launch before: counters 0, the first buffers h_in, zeros in the second. A thread per element;
// the counters by the first block, which runs even where a device times a sample of blocks only.
extern "C" __global__ void __launch_bounds__(threads)
    rnn_reset(const __grid_constant__ RnnParams p) {
    const int direction = int(blockIdx.z), index = int(blockIdx.x) * threads + int(threadIdx.x);
    const int tile = index / (batch_tile * state_pitch), i = index % (batch_tile * state_pitch);
    const int b = tile * batch_tile + i / state_pitch, k = i % state_pitch;
    const int counters = (p.batch + batch_tile - 1) / batch_tile * int(gridDim.z);
    if (index < threads && direction == 0)
#pragma unroll 1
        for (int c = index; c < counters; c += threads)
            store_global_u32(p.workspace + u64(c) * tile_bytes, 0);
    if (tile * batch_tile >= p.batch) return;
    const RnnDirection &d = p.dir[direction];
    const u64 h = tile_counter(p, tile, direction) + counter_bytes;
    float v = 0.0f;
    if (b < p.batch && k < state && d.h_in != 0)
        v = load_element(d.h_in + (u64(b) * state + k) * element);
    store_element(h + u64(i) * element, v);
    store_element(h + h_bytes + u64(i) * element, 0.0f);
}

// Warp 0 waits; true: every warp leaves.
__device__ __forceinline__ bool wait_fails(const RnnParams &p, const Place &place, u64 counter,
                                           u32 target, int step) {
    bool failed = false;
    if (place.warp == 0) {
        const GridWait how = grid_wait(counter, target, p.spin_limit);
        failed = how != grid_passed;
        if (how == grid_timed_out && place.lane == 0) {
            grid_give_up(counter);
            note_error(p.error, u32(step) + 1);
        }
    }
    return __syncthreads_or(failed) != 0; // the other blocks' h may be read
}

// A run whose earlier launch gave up is over: nobody shall wait for this block.
__device__ __forceinline__ bool run_is_over(const RnnParams &p, const Place &place, u64 counter) {
    bool over = false;
    if (place.warp == 0 && p.error != 0) over = load_relaxed_u32(p.error) != 0;
    if (__syncthreads_or(over) == 0) return false;
    if (threadIdx.x == 0) grid_give_up(counter);
    return true;
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_seq_grid(const __grid_constant__ RnnParams p) {
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const int part = warp % k_splits;
    int first_block = part * part_blocks;
    opaque(first_block); // its range would show that no part is short
    const Place place = {int(blockIdx.z),
                         int(blockIdx.y),
                         warp,
                         lane,
                         part,
                         int(blockIdx.x) * part_units + warp / k_splits * warp_units + lane / 4,
                         first_block};
    const RnnDirection &d = p.dir[place.direction];
    const u32 shared = shared_base(), blocks = gridDim.x;
    const u64 counter = tile_counter(p, place.tile, place.direction);
    u64 h = counter + counter_bytes, next = h + h_bytes;
    if (run_is_over(p, place, counter)) return;
    Weights weights;
    load_part(weights, d.r, shared, place);
    Cell cells[own_cells];
#pragma unroll
    for (int i = 0; i < own_cells; ++i) begin_cell(cells[i], p, d, place, i);
    const int launch_end = p.first_step + p.steps;
    const int end = min(launch_end, longest(p, place));
    if (p.first_step < end)
#pragma unroll
        for (int i = 0; i < own_cells; ++i) load_pre(cells[i], p, place, p.first_step);
    const int columns = p.batch - place.tile * batch_tile;
    u32 target = 0;
#pragma unroll 1
    for (int step = p.first_step; step < end; ++step) {
        Sums sums;
        if constexpr (dtype == dtype_f32) {
            copy_h(h, shared, columns);
            __syncthreads(); // 0: h is there
            product_fma(sums, weights, shared, place, columns);
        } else {
            product_mma(sums, weights, h, place);
        }
        if constexpr (k_splits > 1) {
            store_sums(sums, shared, place);
            __syncthreads(); // 1: the parts are visible
        }
#pragma unroll
        for (int i = 0; i < own_cells; ++i) {
            if (!cells[i].used) continue;
            float product[2][gates];
            if constexpr (k_splits > 1) {
                add_parts(product, shared, place, place.part + i * k_splits);
            } else {
#pragma unroll
                for (int g = 0; g < 2 * gates; ++g)
                    product[g % 2][g / 2] = sums[i / warp_blocks][i % warp_blocks * gates * 2 + g];
            }
            step_cell(cells[i], product, p, d, place, next, step);
        }
        const bool last = step + 1 == end;
        if (!last) {
            __syncthreads(); // 2: the block's h is stored, the parts have been read
            if (place.warp == 0) grid_arrive(counter, lane);
        }
#pragma unroll
        for (int i = 0; i < own_cells; ++i) {
            if (!cells[i].used) continue;
            if (!last) load_pre(cells[i], p, place, step + 1);
            store_y(cells[i], p, d, place, step);
        }
        target += blocks;
        if (!last && wait_fails(p, place, counter, target, step)) return;
        const u64 swap = h;
        h = next;
        next = swap;
    }
    for (int step = max(end, p.first_step); lengths == lengths_padded && step < launch_end; ++step)
#pragma unroll
        for (int i = 0; i < own_cells; ++i)
            if (cells[i].used) store_y(cells[i], p, d, place, step);
#pragma unroll
    for (int i = 0; i < own_cells; ++i)
        if (cells[i].used) end_cell(cells[i], d, place);
}
