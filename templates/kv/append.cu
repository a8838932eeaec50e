// New rows of K and V into the cache, with RMS norm and RoPE of Q and K on the way. A row is one
// head of one token: heads 0 .. heads_q-1 are Q's, then K's, then V's. `lanes` neighbouring threads
// have one row, `units` of them a unit each: what a rotation turns together (slot rotate:
// unit_pieces, unit_pairs, piece_element, rotate), or as many pieces of `vec` elements of the rest,
// which lie rest_units pieces apart so that neighbours load together. A thread has
// row_batch rows whose loads are issued before the first is used.
//
// fp32 arithmetic, one rounding at the end; what nothing is computed of is moved as bits. Only the
// thread of a unit reads or writes it (the norm goes through registers), so Q may be in place.
// With qk_norm every lane takes part in the shuffles, whether its row exists or not.
//% lib types
//% lib vector
//% lib elements
//% lib shuffle
//% lib quantize
//% lib kv_slot

//% slot rotate

static_assert(unit_pieces * vec * rotate_units == rotary_dim || rope == rope_none, "whole units");
static_assert(!qk_norm || (lanes & (lanes - 1)) == 0, "shuffles stay within a row");

enum : int { row_q, row_k, row_v };

struct Row {
    bool exists;
    int kind, head;
    i64 position;
    u64 from, to; // element 0 of the row
};

__device__ __forceinline__ Row row_of(const KvParams &p, i64 index) {
    const u32 heads = u32(p.heads_q + 2 * p.heads_kv);
    Row row = {false, row_v, 0, -1, 0, 0};
    if (index >= i64(p.tokens) * heads) return row;
    const int token = int(u32(index) / heads), head = int(u32(index) % heads);
    const KvSlot slot = kv_slot(p, token);
    row.position = slot.position;
    if (head < p.heads_q) {
        const u64 at = u64((i64(token) * p.q_token + head * p.q_head) * 2);
        row.kind = row_q;
        row.head = head;
        row.exists = slot.token;
        // Q in place that nothing is computed of is not even read.
        if constexpr (rope == rope_none && qk_norm == 0) row.exists &= p.q != p.q_out;
        row.from = p.q + at;
        row.to = p.q_out + at;
        return row;
    }
    const bool is_k = head < p.heads_q + p.heads_kv;
    row.kind = is_k ? row_k : row_v;
    row.head = head - p.heads_q - (is_k ? 0 : p.heads_kv);
    row.exists = slot.exists;
    row.from = new_row(p, token, is_k, row.head);
    row.to = cache_row(p, slot, is_k, row.head);
    return row;
}

// A thread's part of every row.
struct Unit {
    int pieces; // 0: none
    int element[unit_pieces];
    bool turns;
};

__device__ __forceinline__ Unit unit_of(int lane) {
    constexpr int rest = (head_dim - rotary_dim) / vec, rest_units = units - rotate_units;
    Unit unit = {0, {}, lane < rotate_units};
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) {
        const int piece = i * rest_units + lane - rotate_units;
        const bool exists = unit.turns || (lane < units && piece < rest);
        unit.element[i] = unit.turns ? piece_element(lane, i) : rotary_dim + piece * vec;
        if (exists) unit.pieces = i + 1;
    }
    return unit;
}

using Pieces = float[unit_pieces][vec];

// x *= weight / sqrt(mean(x^2) + eps). Every lane of the row takes part.
__device__ __forceinline__ void normalise(const KvParams &p, const Row &row, const Unit &unit,
                                          Pieces &x) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i)
#pragma unroll
        for (int j = 0; j < vec; ++j)
            if (i < unit.pieces) sum += x[i][j] * x[i][j];
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2) sum += shuffle_xor(sum, distance);
    if (row.kind == row_v || !row.exists) return;
    const float inverse = 1.0f / sqrtf(sum / float(head_dim) + p.norm_eps);
    const u64 weights = row.kind == row_q ? p.q_norm : p.k_norm;
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) {
        if (i >= unit.pieces) continue;
        float weight[vec];
        unpack(weight, load_vector<vec_bytes>(weights + u64(unit.element[i]) * 2));
#pragma unroll
        for (int j = 0; j < vec; ++j) x[i][j] *= inverse * weight[j];
    }
}

__device__ __forceinline__ void turn(const KvParams &p, i64 position, int lane, Pieces &x) {
    float c[unit_pairs], s[unit_pairs];
    const u64 at = u64((position * (rotary_dim / 2) + i64(lane) * unit_pairs) * 4);
    load_floats(c, p.cos + at);
    load_floats(s, p.sin + at);
    rotate(x, c, s);
}

// To Q's output or the cache. `computed`: from x, else the bits of v.
__device__ __forceinline__ void store_row(const KvParams &p, const Row &row, const Unit &unit,
                                          const Vector<vec_bytes> (&v)[unit_pieces], Pieces &x,
                                          bool computed) {
    const bool eight_bits = kv_dtype != kv_dtype_same && row.kind != row_q;
    if (row.kind == row_q && !computed && p.q == p.q_out) return; // already there
    const float scale = eight_bits ? cache_scale(p, row.kind == row_k, row.head) : 1.0f;
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) {
        if (i >= unit.pieces) continue;
        const u64 element = u64(unit.element[i]);
        if (eight_bits) {
            if constexpr (kv_dtype != kv_dtype_same) {
#pragma unroll
                for (int j = 0; j < vec; ++j) x[i][j] = x[i][j] / scale;
                store_vector<vec>(row.to + element, quantize(x[i]));
            }
        } else {
            store_vector<vec_bytes>(row.to + element * 2, computed ? pack(x[i]) : v[i]);
        }
    }
}

__device__ __forceinline__ void finish_row(const KvParams &p, const Row &row, const Unit &unit,
                                           int lane, const Vector<vec_bytes> (&v)[unit_pieces]) {
    Pieces x;
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) unpack(x[i], v[i]);
    if constexpr (qk_norm != 0) normalise(p, row, unit, x);
    if (!row.exists || unit.pieces == 0) return;
    const bool turns = rope != rope_none && row.kind != row_v && unit.turns && row.position >= 0 &&
                       row.position < p.table_rows;
    if (turns) turn(p, row.position, lane, x);
    store_row(p, row, unit, v, x, turns || (qk_norm && row.kind != row_v));
}

// One block per SM as bound: without it ptxas aims at an occupancy of its own and spills for it.
extern "C" __global__ void __launch_bounds__(threads, 1)
    kv_append(const __grid_constant__ KvParams p) {
    const int lane = int(threadIdx.x) % lanes;
    const int in_block = int(threadIdx.x) / lanes;
    const i64 first = i64(blockIdx.x) * (rows_per_block * row_batch) + in_block;
    const Unit unit = unit_of(lane);
    Row row[row_batch];
    Vector<vec_bytes> v[row_batch][unit_pieces];
#pragma unroll
    for (int r = 0; r < row_batch; ++r) {
        row[r] = row_of(p, first + r * rows_per_block);
        if (in_block >= rows_per_block) row[r].exists = false; // threads that no row needs
#pragma unroll
        for (int i = 0; i < unit_pieces; ++i) {
            v[r][i] = {};
            if (row[r].exists && i < unit.pieces)
                v[r][i] = load_vector<vec_bytes>(row[r].from + u64(unit.element[i]) * 2);
        }
    }
#pragma unroll
    for (int r = 0; r < row_batch; ++r) finish_row(p, row[r], unit, lane, v[r]);
}
