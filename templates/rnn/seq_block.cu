// A recurrent layer over all steps of a launch by one block per `batch_tile` sequences and
// direction: R stays on the SM (lib rnn_resident), c in registers, h in shared memory.
//
// A warp has warp_units units with all their gates, and of them every lane whole cells (lib
// rnn_tile; below eight sequences, f32, lib rnn_narrow), so that nothing but h crosses lanes. A
// step is two slots. `cells` makes what cells give from the buffer `from` (h of the step before) in
// the buffer `to`; `output` makes h of it:
//
//   cells    plain         R h, cells; h to the other buffer
//            reset_before  two products with a barrier between (GRU)
//            norm          barriers where layer norm adds over warps
//   output   direct        what cells give is h: the buffers change places
//            projection    a barrier, a second product, h to the buffer where it was
//
// and a barrier at the end of each. In the plain case that is the only one: it makes h visible, and
// says that all have read the old h, whose buffer step s + 1 may write. What step s + 1 needs of
// `pre` is loaded as soon as a cell has used its own, so that its way from memory lies under
// barrier and product; y of step s - 1 leaves in 16-byte pieces while the product of step s is
// under way.
//
// With `split` a warp takes its units in passes, each product followed by its cells: fewer sums are
// live, and R has more registers. Steps end with the longest sequence of the block; then y of
// padded tokens is zeroed. Sequences past the batch are computed with pre = 0 and stored nowhere.
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
    // A pass is whole m16 tiles: one block of units of an LSTM, two of a GRU. FMA knows no tiles.
    pass_blocks = dtype == dtype_f32 ? quad_blocks
                  : split            ? 2 - (gates + 1) % 2
                                     : warp_blocks,
    lane_columns = narrow ? 1 : 2,           // of a tile of sequences
    lane_blocks = warp_blocks / quad_blocks, // of units, of which the lane has a cell per column
    cell_elements = projection > 0 ? int(units_pad) : int(state), // of a row of the buffer `to`
    warp_count = threads / 32,
    row_elements = 16 / element, // of a piece of y
    row_pieces = (state + row_elements - 1) / row_elements,
    one_piece = batch_tile * row_pieces <= threads, // at most, of the block's rows, for a thread
    ragged = warp_count * warp_units != units_pad   // the last warp has fewer units
};

static_assert(warp_units % 8 == 0 && warp_blocks % pass_blocks == 0, "whole passes");
static_assert(batch_tile % 8 == 0 || (narrow && dtype == dtype_f32), "whole n8 tiles");

//% lib rnn_resident
//% if narrow == 1
//% lib rnn_narrow
//% end

using Weights = Resident<row_groups, r_blocks, r_blocks - shared_blocks, narrow ? 1 : lane_chunks>;

// Shared memory: R, h, what cells give (or the other h), the sequences, the slots' own.
enum : int {
    cell_row_bytes = operand_row_bytes(cell_elements),
    h_base = warp_count * Weights::shared_bytes,
    h_bytes = batch_tile * h_row_bytes,
    cells_base = h_base + h_bytes,
    cells_bytes = batch_tile * cell_row_bytes,
    table_base = cells_base + cells_bytes, // 16 bytes for every sequence of the block
    slots_base = table_base + batch_tile * 16
};
static_assert(h_row_bytes == operand_row_bytes(state_pitch), "rows of h");

using Cells = float[column_tiles][lane_blocks][lane_columns];
using Gates = float[column_tiles][lane_columns][lane_blocks][gates];

// The thread's piece of y, where it has at most one: y of the next active step.
struct Piece {
    RnnSequence sequence;
    u64 at;
    i64 move;   // bytes from one step to the next
    bool whole; // 16 aligned bytes in every step
};

// A lane's cell i is of unit b, column (n, e).
static_assert(lane_cells == column_tiles * lane_columns * lane_blocks, "the spec counts cells");

__device__ constexpr int cell_n(int i) {
    return i / (lane_columns * lane_blocks);
}
__device__ constexpr int cell_e(int i) {
    return i / lane_blocks % lane_columns;
}
__device__ constexpr int cell_b(int i) {
    return i % lane_blocks;
}

// Who a lane is and what it carries. Its sequences are columns lane_column + n * 8 + e of the
// block, its units `unit` + b * units_apart.
struct Lane {
    int direction, warp, lane;
    int unit;                            // the first
    int sequence;                        // of column (0, 0)
    int columns;                         // sequences that the block has
    int end[column_tiles][lane_columns]; // of the steps of each, within this launch; -1: past the
                                         // batch
    u32 shared, table;
    Piece piece;
    UnitWeights units[lane_blocks];
    Cells c;
    Gates pre; // of the step to come
};

enum : int { units_apart = quad_blocks * 8 };

// The lane's first column.
__device__ __forceinline__ int lane_column(int lane) {
    return narrow ? lane % 4 % batch_tile : lane % 4 * 2;
}

// Of the warp's units the lane's first.
__device__ __forceinline__ int lane_unit(int lane) {
    return lane / 4 + (narrow ? lane % 4 / batch_tile % quad_blocks * 8 : 0);
}

// Whether the lane has such a unit: where there is none, its sums are 0 and it has no place in a
// buffer; of a narrow block the lanes of a quad past its items have the cells of other lanes.
__device__ __forceinline__ bool has_unit(const Lane &own, int b) {
    if (narrow && batch_tile * quad_blocks < 4 && own.lane % 4 >= batch_tile * quad_blocks)
        return false;
    return !ragged || own.unit + b * units_apart < units_pad;
}

// Offset of the lane's unit in block b, column (n, e), in a buffer of h or of what cells give.
template <int row_bytes>
__device__ __forceinline__ u32 cell_offset(const Lane &own, int n, int b, int e) {
    return u32(h_offset<row_bytes>(lane_column(own.lane) + n * 8 + e, own.unit + b * units_apart));
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
    for (int n = 0; n < column_tiles; ++n)
        steps = max(steps, max(own.end[n][0], own.end[n][lane_columns - 1]));
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
    load_gates_if<32>(own.pre[n][e][b],
                      at + u64(((n * 8 + e) * rows + b * gates * units_apart) * 4), wanted);
}

__device__ __forceinline__ void store_gate_rows(const RnnParams &p, const RnnDirection &d,
                                                const Lane &own, int step, int n, int b, int e,
                                                const float (&gate)[gates]) {
    const i64 row = (i64(step) * p.batch + own.sequence) * rows + gate_row(own.unit, 0);
    const u64 at = d.gates + u64(row) * element;
#pragma unroll
    for (int i = 0; i < gates; ++i)
        store_element(at + u64(((n * 8 + e) * rows + b * gates * units_apart + i * 8) * element),
                      gate[i]);
}

// Whether the cell's values of this step count: else c and h stay as they are.
__device__ __forceinline__ bool takes_step(const Lane &own, int n, int e, int step) {
    return lengths == lengths_none || step < own.end[n][e];
}

//% slot cells
//% slot output

static_assert(slots_base + cells_bytes_own + output_bytes == smem,
              "the spec counts shared memory as it is used");

// ---- begin and end ----

// Both buffers to zeros, then h_in and c_in. Past the last element of a row all stays zero.
__device__ __forceinline__ void begin_state(const RnnParams &p, const RnnDirection &d, Lane &own,
                                            u32 h) {
    write_table(p, own.table);
    for (int i = int(threadIdx.x) * 16; i < h_bytes + cells_bytes; i += threads * 16)
        store_shared_16(h + i, Bytes16{{0, 0, 0, 0}});
    __syncthreads(); // zeros and the table are written
    find_piece(p, d, own);
#pragma unroll
    for (int i = 0; i < column_tiles * lane_columns; ++i) {
        const int n = i / lane_columns, e = i % lane_columns;
        own.end[n][e] = min(table_entry(own.table, lane_column(own.lane) + n * 8 + e).length,
                            p.first_step + p.steps);
    }
#pragma unroll
    for (int i = 0; i < lane_cells; ++i) {
        const int n = cell_n(i), e = cell_e(i), b = cell_b(i);
        const int unit = own.unit + b * units_apart, sequence = own.sequence + n * 8 + e;
        own.c[n][b][e] = 0.0f;
        if (sequence < p.batch && unit < hidden && d.c_in != 0 && cell == cell_lstm)
            own.c[n][b][e] = load_f32(d.c_in + (u64(sequence) * hidden + unit) * 4);
    }
    if (d.h_in != 0)
        for (int i = int(threadIdx.x); i < batch_tile * state; i += threads) {
            const int column = i / state, k = i % state;
            const u64 at = u64(int(blockIdx.x) * batch_tile + column) * state + k;
            if (column < own.columns)
                store_shared_element(h + h_offset(column, k), load_element(d.h_in + at * element));
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
    for (int i = 0; i < lane_cells; ++i) {
        const int n = cell_n(i), e = cell_e(i), b = cell_b(i);
        const int unit = own.unit + b * units_apart, sequence = own.sequence + n * 8 + e;
        if (sequence < p.batch && unit < hidden && has_unit(own, b))
            store_global_f32(d.c_out + (u64(sequence) * hidden + unit) * 4, own.c[n][b][e]);
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_seq_block(const __grid_constant__ RnnParams p) {
    Lane own;
    own.direction = int(blockIdx.z);
    own.warp = int(threadIdx.x) / 32;
    own.lane = int(threadIdx.x) % 32;
    own.unit = own.warp * warp_units + lane_unit(own.lane);
    own.sequence = int(blockIdx.x) * batch_tile + lane_column(own.lane);
    own.columns = p.batch - int(blockIdx.x) * batch_tile;
    own.shared = shared_base();
    own.table = own.shared + table_base;
    const RnnDirection &d = p.dir[own.direction];
    Weights weights;
    load_resident(weights, d.r, state_pitch, own.warp * row_groups, rows / 8,
                  own.shared + u32(own.warp * Weights::shared_bytes), own.lane);
#pragma unroll
    for (int b = 0; b < lane_blocks; ++b)
        own.units[b] = unit_weights(d, has_unit(own, b) ? own.unit + b * units_apart : 0);
    cells_begin(d, own);
    Output output;
    output_begin(output, d, own);
    u32 h = own.shared + h_base, other = own.shared + cells_base;
    begin_state(p, d, own, h);

    const int launch_end = p.first_step + p.steps;
    const int end = longest(own);
#pragma unroll
    for (int i = 0; i < lane_cells * gates; ++i) (&own.pre[0][0][0][0])[i] = 0.0f;
    const u64 first_pre = pre_address(p, own, p.first_step);
#pragma unroll
    for (int i = 0; i < lane_cells; ++i)
        load_pre(own, first_pre, p.first_step, cell_n(i), cell_b(i), cell_e(i));
#pragma unroll 1
    for (int step = p.first_step; step < end; ++step) {
        make_cells(p, d, own, weights, h, other, step);
        make_output(output, own, h, other, step);
        __syncthreads(); // h is visible, the old h and what made h have been read
    }
    const int last = max(end, p.first_step); // past the block's last step all is zero
#pragma unroll 1
    for (int step = max(last - 1, p.first_step); step < launch_end; ++step)
        store_y(p, d, own, h, step);
    end_state(p, d, own, h);
}
