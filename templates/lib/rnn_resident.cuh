// Weights that stay on the SM through all steps, and their product with h from shared memory.
//
// A warp has `groups` groups of eight rows. Of every block of k (32, or what `chunks` give) a lane
// keeps `chunks` times 16 bytes of row lane / 4 of each group: for the first `kept` blocks of k in
// registers, for the others in shared memory, where the lane reads what it has written itself, so
// that no barrier concerns them.
//
// Needs what lib rnn_tile needs, and batch_tile (sequences), chains (sums per output, which take
// turns over the blocks of k and are added at the end), loop_blocks.
//% lib types
//% lib global
//% lib shared
//% lib mma
//% lib rnn_tile

enum : int { column_tiles = batch_tile < 8 ? 1 : batch_tile / 8 }; // n8 tiles of sequences

template <int groups_, int blocks_, int kept_, int chunks_ = lane_chunks> struct Resident {
    enum : int {
        groups = groups_,
        blocks = blocks_,
        kept = kept_,
        chunks = chunks_,
        lane_k = chunks * 16 / element, // of a block
        in_shared = blocks - kept,
        kept_count = groups * kept * chunks,
        shared_bytes = groups * in_shared * chunks * 512 // of a warp
    };
    Bytes16 regs[kept_count > 0 ? kept_count : 1];
    u32 shared; // this lane's first 16 bytes

    static __device__ constexpr int reg(int group, int block, int part) {
        return (group * kept + block) * chunks + part;
    }
    // `block` counts those in shared memory.
    __device__ __forceinline__ u32 address(int group, int block, int part) const {
        return shared + u32((block * groups + group) * chunks + part) * 512;
    }
    template <bool from_shared>
    __device__ __forceinline__ Bytes16 chunk(int group, int block, int part) const {
        if constexpr (from_shared) return load_shared_16(address(group, block, part));
        return regs[reg(group, block, part)];
    }
};

// Groups first_group .. of a matrix with `pitch` elements a row and `all_groups` groups; past them
// all is 0.
template <typename Set>
__device__ __forceinline__ void load_resident(Set &w, u64 matrix, int pitch, int first_group,
                                              int all_groups, u32 shared, int lane) {
    w.shared = shared + u32(lane) * 16;
    const u64 at =
        matrix + u64((first_group * 8 + lane / 4) * pitch + lane % 4 * Set::lane_k) * element;
#pragma unroll
    for (int group = 0; group < Set::groups; ++group) {
#pragma unroll
        for (int block = 0; block < Set::blocks; ++block) {
#pragma unroll
            for (int part = 0; part < Set::chunks; ++part) {
                Bytes16 v = {{0, 0, 0, 0}};
                if (first_group + group < all_groups)
                    v = load_global_16(
                        at +
                        u64((group * 8 * pitch + block * 4 * Set::lane_k) * element + part * 16));
                if (block < Set::kept)
                    w.regs[Set::reg(group, block, part)] = v;
                else
                    store_shared_16(w.address(group, block - Set::kept, part), v);
            }
        }
    }
}

// ---- tensor cores ----

template <int count> using Chains = float[chains][column_tiles][count * 2];

template <int count, int row_bytes, bool from_shared, typename Set, typename Groups>
__device__ __forceinline__ void mma_block(Chains<count> &chain, const Set &w, u32 h,
                                          const Groups &groups, int block, int which, int lane) {
    Bytes16 column[column_tiles];
    const int k_block = block + (from_shared ? int(Set::kept) : 0);
#pragma unroll
    for (int n = 0; n < column_tiles; ++n) column[n] = load_h<row_bytes>(h, n * 8, k_block, lane);
#pragma unroll
    for (int tile = 0; tile < count / 2; ++tile) {
        const WeightBlock rows_of_tile = {
            w.template chunk<from_shared>(groups(tile * 2), block, 0),
            w.template chunk<from_shared>(groups(tile * 2 + 1), block, 0)};
#pragma unroll
        for (int n = 0; n < column_tiles; ++n)
            mma_32(tile_sums(chain[which][n], tile), rows_of_tile, column[n]);
    }
}

template <int count, int row_bytes, typename Set, typename Groups>
__device__ __forceinline__ void product_mma(float (&sums)[column_tiles][count * 2], const Set &w,
                                            u32 h, const Groups &groups, int lane) {
    static_assert(count % 2 == 0, "whole m16 tiles");
    Chains<count> chain;
#pragma unroll
    for (int i = 0; i < chains * column_tiles * count * 2; ++i) (&chain[0][0][0])[i] = 0.0f;
#pragma unroll
    for (int block = 0; block < Set::kept; ++block)
        mma_block<count, row_bytes, false>(chain, w, h, groups, block, block % chains, lane);
        // A loop, since ptxas moves all loads of a basic block to its head, and spills for them.
#pragma unroll 1
    for (int block = 0; block < Set::in_shared; block += loop_blocks) {
#pragma unroll
        for (int i = 0; i < loop_blocks; ++i)
            if (Set::in_shared % loop_blocks == 0 || block + i < Set::in_shared)
                mma_block<count, row_bytes, true>(chain, w, h, groups, block + i, i % chains, lane);
    }
#pragma unroll
    for (int n = 0; n < column_tiles; ++n)
#pragma unroll
        for (int i = 0; i < count * 2; ++i)
            sums[n][i] = chains == 1 ? chain[0][n][i] : chain[0][n][i] + chain[chains - 1][n][i];
}

// ---- CUDA cores ----

__device__ __forceinline__ WeightRow row_of_chunks(const Bytes16 &low, const Bytes16 &high) {
    WeightRow row;
#pragma unroll
    for (int i = 0; i < 8; ++i) row.k[i] = __uint_as_float(i < 4 ? low.word[i] : high.word[i - 4]);
    return row;
}

template <int count, int row_bytes, bool from_shared, typename Set, typename Groups>
__device__ __forceinline__ void fma_block(float (&parts)[count][8], const Set &w, u32 h,
                                          const Groups &groups, int first, int block, int column0,
                                          int columns, int lane) {
    WeightRow row[count];
#pragma unroll
    for (int i = 0; i < count; ++i)
        row[i] =
            row_of_chunks(w.template chunk<from_shared>(groups(first + i), block, 0),
                          w.template chunk<from_shared>(groups(first + i), block, lane_chunks - 1));
    const int k_block = block + (from_shared ? int(Set::kept) : 0);
#pragma unroll
    for (int column = 0; column < 8; ++column) {
        if (column0 + column >= columns) break;
        const WeightRow v = load_h_f32<row_bytes>(h, column0 + column, k_block, lane);
#pragma unroll
        for (int i = 0; i < count; ++i) fma_8(parts[i][column], row[i], v);
    }
}

// Groups first .. first + count - 1 of the call.
template <int count, int row_bytes, typename Set, typename Groups>
__device__ __forceinline__ void product_fma(float *sums, const Set &w, u32 h, const Groups &groups,
                                            int first, int column0, int columns, int lane) {
    float parts[count][8];
#pragma unroll
    for (int i = 0; i < count * 8; ++i) (&parts[0][0])[i] = 0.0f;
#pragma unroll
    for (int block = 0; block < Set::kept; ++block)
        fma_block<count, row_bytes, false>(parts, w, h, groups, first, block, column0, columns,
                                           lane);
#pragma unroll 1
    for (int block = 0; block < Set::in_shared; ++block)
        fma_block<count, row_bytes, true>(parts, w, h, groups, first, block, column0, columns,
                                          lane);
#pragma unroll
    for (int i = 0; i < count; ++i) {
        float kept[2];
        quad_columns(kept, parts[i], lane);
        sums[(first + i) * 2] = kept[0];
        sums[(first + i) * 2 + 1] = kept[1];
    }
}

// sums[n][i * 2 + e] of group groups(i) of the warp, unit lane / 4, column n * 8 + 2 * (lane % 4)
// + e, over all k of rows of h `row_bytes` apart. FMA takes `each` groups at a time and only the
// `columns` sequences that there are; the sums of others are 0.
template <int count, int each, int row_bytes = h_row_bytes, typename Set, typename Groups>
__device__ __forceinline__ void product(float (&sums)[column_tiles][count * 2], const Set &w, u32 h,
                                        int columns, int lane, const Groups &groups) {
    if constexpr (element != 4) {
        product_mma<count, row_bytes>(sums, w, h, groups, lane);
    } else {
#pragma unroll
        for (int n = 0; n < column_tiles; ++n)
#pragma unroll
            for (int first = 0; first < count; first += each)
                product_fma<each, row_bytes>(sums[n], w, h, groups, first, n * 8, columns, lane);
    }
}
