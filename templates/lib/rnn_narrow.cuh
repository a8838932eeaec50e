// Products of weights that stay on the SM (lib rnn_resident) with fewer than eight sequences, by
// FMA in f32.
//
// As in lib rnn_tile a lane has the rows of unit lane / 4 of each block of eight units; of k it has
// 4 * (lane % 4) .. of every 16, so that a row ends with the block of 16 in which h does. A pass is
// `quad_blocks` blocks of units for all batch_tile sequences: one, two or four (block, sequence)
// items, which the lanes of a quad share out when they add their parts of k:
//
//     lane % 4        0   1   2   3
//     four items      0   1   2   3
//     two items       0   1   0   1      lanes past the items have the same sums as those before
//     one item        0   0   0   0
//
// Sums have a fixed order: blocks of k, in a lane; then (part 0 + part 1) + (part 2 + part 3), or
// with the terms of a sum swapped.
//
// Needs what lib rnn_resident needs, quad_blocks, and batch_tile * quad_blocks <= 4.
//% lib shuffle
//% lib rnn_resident

enum : int { quad_items = quad_blocks * batch_tile };
static_assert(quad_items == 1 || quad_items == 2 || quad_items == 4, "the lanes of a quad share");

// A lane's sums over its own k, of `count` rows of each unit.
template <int count> using NarrowParts = float[quad_items][count];

template <bool from_shared, int count, int row_bytes, typename Set, typename Groups>
__device__ __forceinline__ void narrow_block_of_k(NarrowParts<count> &parts, const Set &w, u32 h,
                                                  const Groups &groups, int block, int lane) {
    const int k = (block + (from_shared ? int(Set::kept) : 0)) * 16 + lane % 4 * 4;
    Bytes16 column[batch_tile];
#pragma unroll
    for (int n = 0; n < batch_tile; ++n) column[n] = load_shared_16(h + h_chunk<row_bytes>(n, k));
#pragma unroll
    for (int i = 0; i < quad_blocks * count; ++i) {
        const Bytes16 row = w.template chunk<from_shared>(groups(i), block, 0);
#pragma unroll
        for (int n = 0; n < batch_tile; ++n) {
            float &sum = parts[i / count * batch_tile + n][i % count];
#pragma unroll
            for (int j = 0; j < 4; ++j)
                sum = fmaf(__uint_as_float(row.word[j]), __uint_as_float(column[n].word[j]), sum);
        }
    }
}

// Sums over the lanes of a quad, of the lane's own item.
template <int count>
__device__ __forceinline__ void narrow_sums(float (&sums)[count], const NarrowParts<count> &parts,
                                            int lane) {
    const bool odd = (lane & 1) != 0, upper = (lane & 2) != 0;
#pragma unroll
    for (int g = 0; g < count; ++g) {
        float half[(quad_items + 1) / 2];
#pragma unroll
        for (int i = 0; i < (quad_items + 1) / 2; ++i) {
            const float even_item = parts[i * 2][g],
                        odd_item = parts[quad_items == 1 ? 0 : i * 2 + 1][g];
            half[i] = (odd ? odd_item : even_item) + shuffle_xor(odd ? even_item : odd_item, 1);
        }
        const float low = half[0], high = half[quad_items / 4];
        sums[g] = (upper ? high : low) + shuffle_xor(upper ? low : high, 2);
    }
}

// The `count` sums of pass `pass` among those of all.
template <int count, int all>
__device__ __forceinline__ float (&pass_rows(float (&sums)[all], int pass))[count] {
    return reinterpret_cast<float(*)[count]>(sums)[pass];
}

// sums[row] of the lane's item, of a pass whose groups of eight rows are groups(i) of the warp,
// `count` for each block of units, over rows of h `row_bytes` apart. Sequences that there are not
// have h = 0.
template <int row_bytes = h_row_bytes, int count, typename Set, typename Groups>
__device__ __forceinline__ void narrow_product(float (&sums)[count], const Set &w, u32 h, int lane,
                                               const Groups &groups) {
    NarrowParts<count> parts;
#pragma unroll
    for (int i = 0; i < quad_items * count; ++i) (&parts[0][0])[i] = 0.0f;
#pragma unroll
    for (int block = 0; block < Set::kept; ++block)
        narrow_block_of_k<false, count, row_bytes>(parts, w, h, groups, block, lane);
        // A loop, since ptxas moves all loads of a basic block to its head, and spills for them.
#pragma unroll 1
    for (int block = 0; block < Set::in_shared; ++block)
        narrow_block_of_k<true, count, row_bytes>(parts, w, h, groups, block, lane);
    narrow_sums<count>(sums, parts, lane);
}
