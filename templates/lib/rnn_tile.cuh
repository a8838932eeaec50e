// Products of gate rows with h (or x) in blocks of 32 k, and where their sums lie.
//
// A warp takes rows of whole blocks of eight units and eight sequences (columns) at a time. The
// rows of a block of units are its gates, eight rows each, so that sums are
//
//     sums[unit block][gate][2]    of unit lane / 4, sequences 2 * (lane % 4) and the next
//
// in every lane, whether they come from tensor cores (two gates make the 16 rows of an mma tile: 8
// units of an LSTM are 2 tiles, 16 of a GRU are 3) or from FMA. A cell's gates are in one lane.
//
// The order of k in a product is free as long as both operands keep to it. Of 32 k, lane q of a
// quad takes 8q .. 8q+7: one 16-byte load of a row gives its registers of two k16 steps (pairs 0, 1
// and 2, 3), where the PTX ISA's fragment has k 2q, 2q+1, 2q+8, 2q+9 of each. No ldmatrix is
// needed. Sums are in f32, k blocks in the order of the calls.
//
// h in shared memory, 16-bit: rows of h_row_bytes, an odd multiple of 64, whose 16-byte chunks are
// permuted within 64 bytes by h_chunk. Then the loads (two sequences and four chunks in eight
// lanes) and the stores of a unit block (eight units of four sequences two rows apart) meet no bank
// conflict. f32: rows are 16 bytes longer than a multiple of 128, which does the same.
//
// Needs the lets of scripts/lib/rnn.lua: gates, element, state_pitch.
//% lib types
//% lib global
//% lib shared
//% lib shuffle
//% lib convert
//% lib mma
//% lib rnn_elements

enum : int {
    h_row_bytes = element == 4 ? state_pitch * 4 + 16 : (state_pitch / 32 | 1) * 64,
    lane_chunks = element / 2 // 16-byte chunks that hold a lane's 8 of 32 k
};
static_assert(state_pitch % 32 == 0, "whole blocks of k");

// Bytes of a row of shared memory with room for `k` elements.
__device__ constexpr int operand_row_bytes(int k) {
    return element == 4 ? (k + 31) / 32 * 128 + 16 : ((k + 31) / 32 | 1) * 64;
}

// Offset of the 16-byte chunk that holds element `k` of a sequence's h, in shared memory.
template <int row_bytes = h_row_bytes> __device__ constexpr int h_chunk(int sequence, int k) {
    if (element == 4) return sequence * row_bytes + k / 4 * 16;
    const int chunk = k / 8;
    return sequence * row_bytes + chunk / 4 * 64 + (chunk % 4 ^ (sequence / 2 & 3)) * 16;
}

template <int row_bytes = h_row_bytes> __device__ constexpr int h_offset(int sequence, int k) {
    return h_chunk<row_bytes>(sequence, k) + k * element % 16;
}

// ---- 16-bit operands ----

// A lane's part of 16 rows x 32 k of weights.
struct WeightBlock {
    Bytes16 low, high; // rows lane / 4 and lane / 4 + 8, k 8 * (lane % 4) ..
};

// Rows 16 * tile .. of a matrix with `pitch` elements a row, k 32 * block ..
__device__ __forceinline__ WeightBlock load_weights(u64 matrix, int pitch, int tile, int block,
                                                    int lane) {
    const u64 at =
        matrix + u64(i64(tile * 16 + lane / 4) * pitch + block * 32 + lane % 4 * 8) * element;
    return WeightBlock{load_global_16(at), load_global_16(at + u64(pitch) * 8 * element)};
}

// A lane's part of 8 sequences x 32 k of h in shared memory: sequence lane / 4, the same k.
template <int row_bytes = h_row_bytes>
__device__ __forceinline__ Bytes16 load_h(u32 h, int sequence0, int block, int lane) {
    return load_shared_16(h + h_chunk<row_bytes>(sequence0 + lane / 4, block * 32 + lane % 4 * 8));
}

// 16 rows x 8 sequences += weights h over 32 k.
__device__ __forceinline__ void mma_32(float (&c)[4], const WeightBlock &w, const Bytes16 &h) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const u32 a[4] = {w.low.word[half * 2], w.high.word[half * 2], w.low.word[half * 2 + 1],
                          w.high.word[half * 2 + 1]};
        mma_16x8x16(c, a, h.word[half * 2], h.word[half * 2 + 1]);
    }
}

// The accumulator of tile `tile` within sums[blocks][gates][2].
template <int count>
__device__ __forceinline__ float (&tile_sums(float (&sums)[count], int tile))[4] {
    return reinterpret_cast<float(*)[4]>(sums)[tile];
}

// ---- f32 operands ----
// FMA on CUDA cores: TF32 products would miss the error that f32 users expect. A lane has the rows
// of unit lane / 4, all gates, and k 8 * (lane % 4) .. of 32 k; its sums are of those k only, of
// all 8 sequences, until quad_columns adds the lanes of a quad and leaves each its two sequences.

struct WeightRow {
    float k[8];
};

// Row `row` (gate_row of the lane's unit), k 32 * block + 8 * (lane % 4) ..
__device__ __forceinline__ WeightRow load_weight_row(u64 matrix, int pitch, int row, int block,
                                                     int lane) {
    WeightRow w;
    const u64 at = matrix + u64(i64(row) * pitch + block * 32 + lane % 4 * 8) * 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const Bytes16 v = load_global_16(at + u64(i) * 16);
#pragma unroll
        for (int j = 0; j < 4; ++j) w.k[i * 4 + j] = __uint_as_float(v.word[j]);
    }
    return w;
}

// The lane's 8 of 32 k of one sequence's h in shared memory.
template <int row_bytes = h_row_bytes>
__device__ __forceinline__ WeightRow load_h_f32(u32 h, int sequence, int block, int lane) {
    WeightRow v;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const Bytes16 part =
            load_shared_16(h + h_chunk<row_bytes>(sequence, block * 32 + lane % 4 * 8 + i * 4));
#pragma unroll
        for (int j = 0; j < 4; ++j) v.k[i * 4 + j] = __uint_as_float(part.word[j]);
    }
    return v;
}

__device__ __forceinline__ void fma_8(float &sum, const WeightRow &w, const WeightRow &h) {
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(w.k[i], h.k[i], sum);
}

// Sums over the lanes of a quad: (k part 0 + part 2) + (part 1 + part 3), or with the terms of a
// sum swapped. The lane keeps sequences 2 * (lane % 4) and the next. All 32 lanes must take part.
__device__ __forceinline__ void quad_columns(float (&kept)[2], const float (&parts)[8], int lane) {
    const bool upper = (lane & 2) != 0, odd = (lane & 1) != 0;
    float half[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float own = upper ? parts[4 + i] : parts[i];
        const float other = upper ? parts[i] : parts[4 + i];
        half[i] = own + shuffle_xor(other, 2);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const float own = odd ? half[2 + i] : half[i];
        const float other = odd ? half[i] : half[2 + i];
        kept[i] = own + shuffle_xor(other, 1);
    }
}
