// A recurrent layer over all steps of a launch by one block per `batch_tile` sequences and
// direction: R stays on the SM, `register_blocks` blocks of 32 k of it in registers and the rest in
// shared memory, c and h in registers, and a step costs one barrier.
//
// A warp has warp_units units with all their gates, and of them every lane whole cells (lib
// rnn_tile), so that nothing but h crosses lanes. h has two buffers in shared memory. Step s:
//
//   R h                 from the one buffer, which the barrier of step s - 1 made visible
//   y of step s - 1     from that buffer, in 16-byte pieces while the product is under way
//   gates, c, h         in registers; what step s + 1 needs of `pre` is loaded as soon as a unit's
//                       has been used, so that its way from memory lies under barrier and product
//   h to the other buffer
//   barrier             h is visible; and the first buffer has been read by all, so that step s + 1
//                       may write it
//
// With `split` a warp takes its units in passes, each product followed by its cells: fewer sums are
// live, and R has more registers. The shared part of R is read by the very lanes that wrote it: no
// barrier concerns it. Steps end with the longest sequence of the block; then y of padded tokens is
// zeroed. Sequences past the batch are computed with pre = 0 and stored nowhere.
//% lib types
//% lib convert
//% lib shuffle
//% lib shared
//% lib global
//% lib vector
//% lib mma
//% lib rnn_rows
//% lib rnn_gates
//% lib rnn_tile
//% lib rnn_unit

enum : int {
    warp_blocks = warp_units / 8,     // blocks of eight units of a warp
    row_groups = warp_blocks * gates, // of eight rows: one gate of a block
    column_tiles = batch_tile / 8,    // n8 tiles of sequences
    k_blocks = state_pitch / 32,
    register_blocks = k_blocks - shared_blocks,
    // A pass is whole m16 tiles: one block of units of an LSTM, two of a GRU. FMA knows no tiles.
    pass_blocks = dtype == dtype_f32 ? 1
                  : split            ? 2 - (gates + 1) % 2
                                     : warp_blocks,
    pass_groups = pass_blocks * gates,
    pass_tiles = pass_groups / 2,
    pass_sums = pass_groups * 2, // a lane's, of eight sequences
    kept_chunks = row_groups * register_blocks * lane_chunks,
    warp_weight_bytes = row_groups * shared_blocks * lane_chunks * 512,
    h_base = threads / 32 * warp_weight_bytes,
    h_bytes = batch_tile * h_row_bytes,
    table_base = h_base + 2 * h_bytes, // 16 bytes for every sequence of the block
    row_elements = 16 / element,       // of a piece of y
    row_pieces = (state + row_elements - 1) / row_elements,
    one_piece = batch_tile * row_pieces <= threads, // at most, of the block's rows, for a thread
    ragged = threads / 32 * warp_units != units_pad // the last warp has fewer units
};

static_assert(warp_units % 8 == 0 && warp_blocks % pass_blocks == 0, "whole passes");
static_assert(dtype == dtype_f32 || pass_groups % 2 == 0, "whole m16 tiles");
static_assert(batch_tile % 8 == 0, "whole n8 tiles");
static_assert(table_base + batch_tile * 16 == smem, "the spec counts shared memory as it is used");

using Sums = float[column_tiles][pass_sums];
using Gates = float[column_tiles][2][warp_blocks][gates];
using Cells = float[column_tiles][warp_blocks][2];

// The thread's piece of y, where it has at most one: y of the next active step.
struct Piece {
    RnnSequence sequence;
    u64 at;
    i64 move;   // bytes from one step to the next
    bool whole; // 16 aligned bytes in every step
};

// Who a lane is and what it carries. Its sequences are columns n * 8 + 2 * (lane % 4) + e of the
// block; those past the batch have no steps.
struct Lane {
    int direction, warp, lane;
    int unit;                 // of the warp's first block
    int sequence;             // of column (0, 0)
    int end[column_tiles][2]; // of the steps of each, within this launch; -1: past the batch
    u32 table;
    Piece piece;
    UnitWeights units[warp_blocks];
    Cells c;
    Gates pre; // of the step to come
};

// Whether there is such a unit: where not, its sums are 0 and it has no place in a buffer of h.
__device__ __forceinline__ bool has_unit(const Lane &own, int b) {
    return !ragged || own.unit + b * 8 < units_pad;
}

// Offset in a buffer of h of the lane's unit in block b, column (n, e).
__device__ __forceinline__ u32 cell_offset(const Lane &own, int n, int b, int e) {
    return u32(h_offset(n * 8 + own.lane % 4 * 2 + e, own.unit + b * 8));
}

// ---- R ----

struct Weights {
    Bytes16 kept[kept_chunks > 0 ? kept_chunks : 1];
    u32 shared; // this lane's first 16 bytes
};

__device__ constexpr int kept_index(int group, int block, int part) {
    return (group * register_blocks + block) * lane_chunks + part;
}

// Chunk `part` of the lane's 8 of 32 k of row lane / 4 of a group. `block` counts those in shared
// memory.
__device__ __forceinline__ u32 shared_chunk(const Weights &w, int group, int block, int part) {
    return w.shared + u32((block * row_groups + group) * lane_chunks + part) * 512;
}

template <bool in_shared>
__device__ __forceinline__ Bytes16 weight_chunk(const Weights &w, int group, int block, int part) {
    if constexpr (in_shared) return load_shared_16(shared_chunk(w, group, block, part));
    return w.kept[kept_index(group, block, part)];
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
                Bytes16 v = {{0, 0, 0, 0}};
                if (!ragged || warp * row_groups + group < rows / 8)
                    v = load_global_16(
                        at + u64((group * 8 * state_pitch + block * 32) * element + part * 16));
                if (block < register_blocks)
                    w.kept[kept_index(group, block, part)] = v;
                else
                    store_shared_16(shared_chunk(w, group, block - register_blocks, part), v);
            }
        }
    }
}

// ---- the product ----

// Sums of a pass; blocks of k in turn go to each of `chains` chains.
using Chains = float[chains][column_tiles][pass_sums];

template <bool in_shared>
__device__ __forceinline__ void mma_block(Chains &chain, const Weights &w, u32 h, int group0,
                                          int block, int which, int lane) {
    Bytes16 column[column_tiles];
    const int k_block = block + (in_shared ? register_blocks : 0);
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) column[n] = load_h(h, n * 8, k_block, lane);
#pragma unroll
    for (int tile = 0; tile < pass_tiles; ++tile) {
        const int group = group0 + tile * 2;
        const WeightBlock tile_rows = {weight_chunk<in_shared>(w, group, block, 0),
                                       weight_chunk<in_shared>(w, group + 1, block, 0)};
#pragma unroll
        for (int n = 0; n < column_tiles; ++n)
            mma_32(tile_sums(chain[which][n], tile), tile_rows, column[n]);
    }
}

__device__ __forceinline__ void product_mma(Sums &sums, const Weights &w, u32 h, int group0,
                                            int lane) {
    Chains chain;
#pragma unroll
    for (int i = 0; i < chains * column_tiles * pass_sums; ++i) (&chain[0][0][0])[i] = 0.0f;
#pragma unroll
    for (int block = 0; block < register_blocks; ++block)
        mma_block<false>(chain, w, h, group0, block, block % chains, lane);
        // A loop, since ptxas moves all loads of a basic block to its head, and spills for them.
#pragma unroll 1
    for (int block = 0; block < shared_blocks; block += loop_blocks) {
#pragma unroll
        for (int i = 0; i < loop_blocks; ++i)
            if (shared_blocks % loop_blocks == 0 || block + i < shared_blocks)
                mma_block<true>(chain, w, h, group0, block + i, i % chains, lane);
    }
#pragma unroll
    for (int n = 0; n < column_tiles; ++n)
#pragma unroll
        for (int i = 0; i < pass_sums; ++i)
            sums[n][i] = chains == 1 ? chain[0][n][i] : chain[0][n][i] + chain[chains - 1][n][i];
}

__device__ __forceinline__ WeightRow row_of_chunks(const Bytes16 &low, const Bytes16 &high) {
    WeightRow row;
#pragma unroll
    for (int i = 0; i < 8; ++i) row.k[i] = __uint_as_float(i < 4 ? low.word[i] : high.word[i - 4]);
    return row;
}

template <bool in_shared>
__device__ __forceinline__ void fma_block(float (&parts)[gates][8], const Weights &w, u32 h,
                                          int group0, int block, int column0, int columns,
                                          int lane) {
    WeightRow row[gates];
#pragma unroll
    for (int gate = 0; gate < gates; ++gate)
        row[gate] =
            row_of_chunks(weight_chunk<in_shared>(w, group0 + gate, block, 0),
                          weight_chunk<in_shared>(w, group0 + gate, block, lane_chunks - 1));
    const int k_block = block + (in_shared ? register_blocks : 0);
#pragma unroll
    for (int column = 0; column < 8; ++column) {
        if (column0 + column >= columns) break;
        const WeightRow v = load_h_f32(h, column0 + column, k_block, lane);
#pragma unroll
        for (int gate = 0; gate < gates; ++gate) fma_8(parts[gate][column], row[gate], v);
    }
}

// `columns`: sequences that there are; the others' sums are 0.
__device__ __forceinline__ void product_fma(Sums &sums, const Weights &w, u32 h, int group0,
                                            int columns, int lane) {
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) {
        float parts[gates][8];
#pragma unroll
        for (int i = 0; i < gates * 8; ++i) (&parts[0][0])[i] = 0.0f;
#pragma unroll
        for (int block = 0; block < register_blocks; ++block)
            fma_block<false>(parts, w, h, group0, block, n * 8, columns, lane);
#pragma unroll 1
        for (int block = 0; block < shared_blocks; ++block)
            fma_block<true>(parts, w, h, group0, block, n * 8, columns, lane);
#pragma unroll
        for (int gate = 0; gate < gates; ++gate) {
            float kept[2];
            quad_columns(kept, parts[gate], lane);
            sums[n][gate * 2] = kept[0];
            sums[n][gate * 2 + 1] = kept[1];
        }
    }
}

// ---- sequences and rows ----

// Length (-1: past the batch) and y of every sequence of the block, for whoever stores a piece of
// its rows.
__device__ __forceinline__ void write_table(const RnnParams &p, u32 table) {
    const int b = int(blockIdx.x) * batch_tile + int(threadIdx.x);
    if (threadIdx.x >= batch_tile) return;
    RnnSequence s = {-1, 0, 0};
    if (b < p.batch) s = rnn_sequence(p, b);
    store_shared_16(table + threadIdx.x * 16,
                    Bytes16{{u32(s.length), 0, u32(s.y), u32(u64(s.y) >> 32)}});
}

__device__ __forceinline__ RnnSequence table_entry(u32 table, int column) {
    const Bytes16 v = load_shared_16(table + u32(column) * 16);
    return RnnSequence{int(v.word[0]), 0, i64(u64(v.word[3]) << 32 | v.word[2])};
}

// The longest sequence of the block, in every lane: a quad has one of each column.
__device__ __forceinline__ int longest(const Lane &own) {
    int steps = 0;
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) steps = max(steps, max(own.end[n][0], own.end[n][1]));
    return quad_max(steps);
}

// Elements k .. of a row of `state` elements, wherever it begins.
__device__ __forceinline__ void store_piece(u64 row, int k, const Bytes16 &v) {
    if (state % row_elements == 0 && row % 16 == 0) {
        store_global_16(row + u64(k) * element, v);
        return;
    }
#pragma unroll
    for (int i = 0; i < row_elements; ++i) {
        Vector<element> one;
        one.word[0] = element == 4 ? v.word[i % 4] : v.word[i / 2 % 4] >> (i % 2 * 16);
        if (k + i < state) store_vector<element>(row + u64(k + i) * element, one);
    }
}

// Calls use(column, k, sequence) for the thread's pieces of the block's rows of h.
template <typename Use> __device__ __forceinline__ void each_piece(const Lane &own, Use use) {
    const int first = int(threadIdx.x);
    if constexpr (one_piece) {
        if (first < batch_tile * row_pieces)
            use(first / row_pieces, first % row_pieces * row_elements, own.piece.sequence);
    } else {
#pragma unroll 1
        for (int i = first; i < batch_tile * row_pieces; i += threads)
            use(i / row_pieces, i % row_pieces * row_elements,
                table_entry(own.table, i / row_pieces));
    }
}

__device__ __forceinline__ void find_piece(const RnnParams &p, const RnnDirection &d, Lane &own) {
    const int column = min(int(threadIdx.x) / row_pieces, batch_tile - 1);
    Piece &piece = own.piece;
    piece.sequence = table_entry(own.table, column);
    const i64 step = (p.reverse >> own.direction & 1) != 0 ? -p.y_step : p.y_step;
    const i64 row = rnn_y_row(p, piece.sequence, own.direction, p.first_step);
    piece.at = d.y + u64(row + int(threadIdx.x) % row_pieces * row_elements) * element;
    piece.move = step * element;
    piece.whole = state % row_elements == 0 && ((piece.at | u64(piece.move)) & 15) == 0;
}

// y of a step, whose h is in buffer `h`; 0 where the sequence has ended.
__device__ __forceinline__ void store_y(const RnnParams &p, const RnnDirection &d, Lane &own, u32 h,
                                        int step) {
    if (d.y == 0) return;
    each_piece(own, [&](int column, int k, const RnnSequence &s) {
        const bool active = rnn_active(s, step);
        if (one_piece && active && own.piece.whole) {
            store_global_16(own.piece.at, load_shared_16(h + h_chunk(column, k)));
            own.piece.at += u64(own.piece.move);
            return;
        }
        if (s.length < 0 || !rnn_has_row(p, s, step)) return;
        Bytes16 v = {{0, 0, 0, 0}};
        if (active) v = load_shared_16(h + h_chunk(column, k));
        store_piece(d.y + u64(rnn_y_row(p, s, own.direction, step)) * element, k, v);
    });
}

// ---- a step ----

// pre of the lane's first unit and sequence in a step.
__device__ __forceinline__ u64 pre_address(const RnnParams &p, const Lane &own, int step) {
    const i64 row = rnn_pre_row(p, own.direction, step, own.sequence, rows);
    return p.pre + u64(row + gate_row(own.unit, 0)) * 4;
}

// Of column (n, e) and block b, where the sequence is active in that step: else it may be
// unwritten.
__device__ __forceinline__ void load_pre(Lane &own, u64 at, int step, int n, int b, int e) {
    const bool wanted = step < own.end[n][e] && has_unit(own, b);
    load_gates_if<32>(own.pre[n][e][b], at + u64(((n * 8 + e) * rows + b * gates * 8) * 4), wanted);
}

__device__ __forceinline__ void store_gate_rows(const RnnParams &p, const RnnDirection &d,
                                                const Lane &own, int step, int n, int b, int e,
                                                const float (&gate)[gates]) {
    const i64 row = (i64(step) * p.batch + own.sequence) * rows + gate_row(own.unit, 0);
    const u64 at = d.gates + u64(row) * element;
#pragma unroll
    for (int i = 0; i < gates; ++i)
        store_element(at + u64(((n * 8 + e) * rows + (b * gates + i) * 8) * element), gate[i]);
}

// Gates, c and h of a pass's cells from their sums, h to buffer `to`; `pre` of the next step.
// Where a sequence has ended, c and h (in buffer `from`) stay.
__device__ __forceinline__ void finish_cells(const RnnParams &p, const RnnDirection &d, Lane &own,
                                             const Sums &sums, u32 from, u32 to, int block0,
                                             int step) {
    const u64 next_pre = pre_address(p, own, step + 1);
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * pass_blocks; ++i) {
        const int n = i / (2 * pass_blocks), e = i / pass_blocks % 2, in_pass = i % pass_blocks;
        const int b = block0 + in_pass;
        const bool active = lengths == lengths_none || step < own.end[n][e];
        const u32 at = cell_offset(own, n, b, e);
        float product[gates], pre[gates], gate[gates];
#pragma unroll
        for (int j = 0; j < gates; ++j) {
            product[j] = sums[n][(in_pass * gates + j) * 2 + e];
            pre[j] = own.pre[n][e][b][j];
        }
        load_pre(own, next_pre, step + 1, n, b, e);
        float h = 0.0f, c = own.c[n][b][e];
        const bool exists = has_unit(own, b);
        if (exists && (cell == cell_gru || lengths != lengths_none))
            h = load_shared_element(from + at);
        const float next = unit_step(gate, product, pre, c, h, own.units[b], p.cell_clip);
        if (active) own.c[n][b][e] = c;
        if (exists) store_shared_element(to + at, active ? next : h);
        if (store_gates && exists && step < own.end[n][e])
            store_gate_rows(p, d, own, step, n, b, e, gate);
    }
}

// ---- begin and end ----

// Both buffers of h to zeros, then the first to h_in; c_in. Past the last unit all stays zero.
__device__ __forceinline__ void begin_state(const RnnParams &p, const RnnDirection &d, Lane &own,
                                            u32 h) {
    write_table(p, own.table);
    for (int i = int(threadIdx.x) * 16; i < 2 * h_bytes; i += threads * 16)
        store_shared_16(h + i, Bytes16{{0, 0, 0, 0}});
    __syncthreads(); // zeros and the table are written
    find_piece(p, d, own);
#pragma unroll
    for (int i = 0; i < column_tiles * 2; ++i)
        own.end[i / 2][i % 2] =
            min(table_entry(own.table, i / 2 * 8 + own.lane % 4 * 2 + i % 2).length,
                p.first_step + p.steps);
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i) {
        const int n = i / (2 * warp_blocks), e = i / warp_blocks % 2, b = i % warp_blocks;
        const int unit = own.unit + b * 8, sequence = own.sequence + n * 8 + e;
        const bool exists = sequence < p.batch;
        own.c[n][b][e] = 0.0f;
        if (exists && unit < hidden && d.c_in != 0 && cell == cell_lstm)
            own.c[n][b][e] = load_f32(d.c_in + (u64(sequence) * hidden + unit) * 4);
        if (exists && unit < state && d.h_in != 0)
            store_shared_element(h + cell_offset(own, n, b, e),
                                 load_element(d.h_in + (u64(sequence) * state + unit) * element));
    }
    __syncthreads(); // h_in is visible
}

__device__ __forceinline__ void end_state(const RnnParams &p, const RnnDirection &d,
                                          const Lane &own, u32 h) {
    if (d.h_out != 0)
        each_piece(own, [&](int column, int k, const RnnSequence &) {
            const int sequence = int(blockIdx.x) * batch_tile + column;
            if (sequence < p.batch)
                store_piece(d.h_out + u64(sequence) * state * element, k,
                            load_shared_16(h + h_chunk(column, k)));
        });
    if (d.c_out == 0 || cell == cell_gru) return;
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i) {
        const int n = i / (2 * warp_blocks), e = i / warp_blocks % 2, b = i % warp_blocks;
        const int unit = own.unit + b * 8, sequence = own.sequence + n * 8 + e;
        if (sequence < p.batch && unit < hidden)
            store_global_f32(d.c_out + (u64(sequence) * hidden + unit) * 4, own.c[n][b][e]);
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_seq_block(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    Lane own;
    own.direction = int(blockIdx.z);
    own.warp = int(threadIdx.x) / 32;
    own.lane = int(threadIdx.x) % 32;
    own.unit = own.warp * warp_units + own.lane / 4;
    own.sequence = int(blockIdx.x) * batch_tile + own.lane % 4 * 2;
    own.table = shared + table_base;
    const RnnDirection &d = p.dir[own.direction];
    Weights weights;
    load_all_weights(weights, d.r, shared, own.warp, own.lane);
#pragma unroll
    for (int b = 0; b < warp_blocks; ++b)
        own.units[b] = unit_weights(d, has_unit(own, b) ? own.unit + b * 8 : 0);
    u32 h = shared + h_base, other = h + h_bytes;
    begin_state(p, d, own, h);

    const int launch_end = p.first_step + p.steps;
    const int end = longest(own);
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * row_groups; ++i) (&own.pre[0][0][0][0])[i] = 0.0f;
    const u64 first_pre = pre_address(p, own, p.first_step);
#pragma unroll
    for (int i = 0; i < column_tiles * 2 * warp_blocks; ++i)
        load_pre(own, first_pre, p.first_step, i / (2 * warp_blocks), i % warp_blocks,
                 i / warp_blocks % 2);
    const int columns_here = p.batch - int(blockIdx.x) * batch_tile;
#pragma unroll 1
    for (int step = p.first_step; step < end; ++step) {
#pragma unroll
        for (int b = 0; b < warp_blocks; b += pass_blocks) {
            Sums sums;
            if constexpr (dtype == dtype_f32)
                product_fma(sums, weights, h, b * gates, columns_here, own.lane);
            else
                product_mma(sums, weights, h, b * gates, own.lane);
            if (b == 0 && step > p.first_step) store_y(p, d, own, h, step - 1);
            finish_cells(p, d, own, sums, h, other, b, step);
        }
        __syncthreads(); // h is visible, the old h has been read
        const u32 swap = h;
        h = other;
        other = swap;
    }
    const int last = max(end, p.first_step); // past the block's last step all is zero
#pragma unroll 1
    for (int step = max(last - 1, p.first_step); step < launch_end; ++step)
        store_y(p, d, own, h, step);
    end_state(p, d, own, h);
}
