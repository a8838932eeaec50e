// Flash attention forward with mma.sync (Dao, arXiv 2307.08691): O = softmax(scale * Q K^T) V in
// one pass over K/V, nothing of size len_q x len_kv in memory.
//
// A block has block_m rows of Q; each warp owns rows_per_warp of them and walks all K/V tiles.
// Invariant at each loop head, per row: o = sum over the tiles seen of exp2(scale_log2 * (s - top))
// * v, sum = the same without v, top = the largest s (parts/softmax).
//
// Slots: rows (where K and V are: strides or pages), kv (copies of Q, K, V and the barriers that
// order them), mask (key_bounds), softmax, epilogue. Tiles that a mask or the end of K cuts come
// first, in a loop of their own; the loop over whole tiles has no mask code. The kv part names what
// each barrier is for.
//
//   S (accumulator, m16n8)  ->  P (operand A, m16k16): two neighbouring 8-column blocks of S,
//   rounded to 16 bits, are one operand block as they stand; no data moves between lanes.
//% lib types
//% lib math
//% lib convert
//% lib shuffle
//% lib shared
//% lib ldmatrix
//% lib mma
//% lib attn_rows
//% lib attn_sequence

static_assert(rows_per_warp % 16 == 0 && block_n % 16 == 0 && head_dim % 32 == 0,
              "whole mma blocks");
static_assert(block_n % copy_rows == 0, "every thread copies the same number of chunks");
static_assert(Q_offset(8, 0) == 8 * head_dim * 2 && KV_offset(8, 0) == 8 * head_dim * 2,
              "the swizzle repeats every 8 rows, so that tiles are walked by immediates");
static_assert(KV_offset(3, swizzle_cols % head_dim) - KV_offset(3, 0) ==
                  swizzle_cols % head_dim * 2,
              "and every swizzle_cols columns");

enum : int {
    row_blocks = rows_per_warp / 16, // of a warp, 16 rows each
    dim_steps = head_dim / 16,       // k16 steps of Q K^T, pairs of n8 blocks of P V
    key_steps = block_n / 16,        // the other way round
    span_steps = swizzle_cols / 16,  // steps after which the swizzle pattern repeats
    span_bytes = swizzle_cols * 2,
    row_bytes = head_dim * 2
};

// The addresses of this lane's ldmatrix rows in the 16 x 16 blocks of a tile: lane i names row
// i % 16, columns 8 * (i / 16). The swizzle depends on the lane and on step % span_steps; the rest
// is an immediate. One pattern serves Q, K and V, as their tiles share one layout.
struct LaneRows {
    u32 step[span_steps];
};

__device__ __forceinline__ LaneRows lane_rows_at(u32 tile, int lane) {
    LaneRows rows;
#pragma unroll
    for (int i = 0; i < span_steps; ++i)
        rows.step[i] = tile + KV_offset(lane % 16, i * 16 + lane / 16 * 8);
    return rows;
}

__device__ __forceinline__ LaneRows moved(LaneRows rows, u32 bytes) {
#pragma unroll
    for (int i = 0; i < span_steps; ++i) rows.step[i] += bytes;
    return rows;
}

__device__ __forceinline__ void opaque(LaneRows &rows) {
#pragma unroll
    for (int i = 0; i < span_steps; ++i) opaque(rows.step[i]);
}

// Block (row, 16 * step) of the tile.
__device__ __forceinline__ u32 block_address(const LaneRows &rows, int row, int step) {
    return rows.step[step % span_steps] + row * row_bytes + step / span_steps * span_bytes;
}

struct Query {
    u32 tile; // of this warp's rows in shared memory
    u32 regs[q_in_regs ? row_blocks * dim_steps : 1][4];
};

// Shared memory to registers, once.
__device__ __forceinline__ void query_load(Query &query, int lane) {
    if constexpr (q_in_regs) {
        const LaneRows rows = lane_rows_at(query.tile, lane);
#pragma unroll
        for (int i = 0; i < row_blocks * dim_steps; ++i)
            ldmatrix_x4(query.regs[i], block_address(rows, i / dim_steps * 16, i % dim_steps));
    }
}

// Tiles whose K is copied: the next one, negative for none, and the one after it, which there is
// in any case: past the end the last one again.
struct Copies {
    int next, later;
};

//% slot mask
//% slot softmax
//% slot rows
//% slot kv
//% slot epilogue

// s = Q K^T for one tile of K.
__device__ __forceinline__ void scores(float (&s)[S_regs], const Query &query,
                                       const LaneRows &q_rows, const LaneRows &k_rows) {
    float(*acc)[4] = reinterpret_cast<float(*)[4]>(s);
#pragma unroll
    for (int i = 0; i < S_regs; ++i) s[i] = 0.0f;
#pragma unroll
    for (int step = 0; step < dim_steps; ++step) {
        u32 q[row_blocks][4];
#pragma unroll
        for (int m = 0; m < row_blocks; ++m) {
            if constexpr (q_in_regs) {
#pragma unroll
                for (int i = 0; i < 4; ++i) q[m][i] = query.regs[m * dim_steps + step][i];
            } else {
                ldmatrix_x4(q[m], block_address(q_rows, m * 16, step));
            }
        }
#pragma unroll
        for (int n = 0; n < key_steps; ++n) {
            // Blocks {keys 0-7 k 0-7, keys 8-15 k 0-7, keys 0-7 k 8-15, keys 8-15 k 8-15}: rows of
            // K are columns of the product, so no transpose.
            u32 k[4];
            ldmatrix_x4(k, block_address(k_rows, n * 16, step));
#pragma unroll
            for (int m = 0; m < row_blocks; ++m) {
                mma_16x8x16(acc[(m * key_steps + n) * 2], q[m], k[0], k[2]);
                mma_16x8x16(acc[(m * key_steps + n) * 2 + 1], q[m], k[1], k[3]);
            }
        }
    }
}

// o += P V for one tile of V.
__device__ __forceinline__ void output(float (&o)[O_regs], const float (&s)[S_regs],
                                       const LaneRows &v_rows) {
    float(*acc)[4] = reinterpret_cast<float(*)[4]>(o);
#pragma unroll
    for (int step = 0; step < key_steps; ++step) {
        u32 weights[row_blocks][4];
#pragma unroll
        for (int m = 0; m < row_blocks; ++m) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int reg = (m * key_steps + step) * 8 + i * 2;
                weights[m][i] = half2_of_f32(s[reg], s[reg + 1]);
            }
        }
#pragma unroll
        for (int n = 0; n < dim_steps; ++n) {
            // Transposed blocks {keys 0-7 d 0-7, keys 8-15 d 0-7, keys 0-7 d 8-15, keys 8-15 d
            // 8-15}.
            u32 v[4];
            ldmatrix_x4_trans(v, block_address(v_rows, step * 16, n));
#pragma unroll
            for (int m = 0; m < row_blocks; ++m) {
                mma_16x8x16(acc[(m * dim_steps + n) * 2], weights[m], v[0], v[1]);
                mma_16x8x16(acc[(m * dim_steps + n) * 2 + 1], weights[m], v[2], v[3]);
            }
        }
    }
}

// Scores of keys before (`left`) or after what a row sees become -inf.
template <bool left>
__device__ __forceinline__ void mask_side(const AttnParams &p, float (&s)[S_regs], int tile,
                                          int warp_row, int lane) {
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        int row = warp_row + r / 2 * 16 + r % 2 * 8 + lane / 4;
        opaque(row); // its bounds are computed here, not kept through the loop
        const KeyBounds seen = key_bounds(p, token_of_row(p, row));
        // The lane's first column is taken off the bound, so that columns compare as constants.
        const int bound = (left ? seen.first : seen.last) - tile * block_n - S_col(0, lane);
#pragma unroll
        for (int i = 0; i < S_regs; ++i) {
            const int column = S_col(i, 0);
            if (S_row(i, 0) / 8 == r && (left ? column < bound : column > bound))
                s[i] = -infinity();
        }
    }
}

// Only where some row of the warp sees only a part of the tile. The branches keep the masks apart
// from the code around them, which has no registers to spare for it.
__device__ __forceinline__ void mask_scores(const AttnParams &p, float (&s)[S_regs], int tile,
                                            int warp_row, int lane) {
    const int top_last = key_bounds(p, token_of_row(p, warp_row)).last;
    if (top_last < (tile + 1) * block_n - 1) mask_side<false>(p, s, tile, warp_row, lane);
    if constexpr (mask_cuts_left) {
        const int bottom_first = key_bounds(p, token_of_row(p, warp_row + rows_per_warp - 1)).first;
        if (bottom_first > tile * block_n) mask_side<true>(p, s, tile, warp_row, lane);
    }
}

struct Warp {
    LaneRows k_rows; // of K's first buffer
    u32 k_to_q;      // from there to this warp's rows of Q
    int row;         // first row, in the numbering of BlockWork
    int lane;
};

template <bool cut>
__device__ __forceinline__ void step(const AttnParams &p, const Warp &warp, const Query &query,
                                     KvPipe &kv, RowState &rows, float (&o)[O_regs], int tile,
                                     int v, Copies k) {
    float s[S_regs];
    LaneRows k_rows = warp.k_rows;
    opaque(k_rows);
    kv_before_scores<cut>(p, kv, v);
    scores(s, query, moved(k_rows, warp.k_to_q), moved(k_rows, kv.k_read));
    kv_after_scores<cut>(p, kv, k);
    if constexpr (cut) mask_scores(p, s, tile, warp.row, warp.lane);
    softmax_tile<cut>(s, o, rows, p.scale_log2);
    kv_before_output<cut>(p, kv, k);
    output(o, s, moved(k_rows, kv.v_read + (v_base - k_base)));
    kv_after_output(kv);
}

// Blocks with the most keys start first under a mask (the last rows see the most), over all heads
// at once: the short ones fill the tail. Otherwise the tiles of one head are neighbours.
__device__ __forceinline__ BlockWork block_work(const AttnParams &p) {
    const int heads = pack_group ? p.heads_kv : p.heads_q;
    int index = int(blockIdx.x);
    opaque(index); // computed again for the epilogue rather than kept
    const int tiles = int(gridDim.x) / heads;
    const int head = heads_fastest ? index % heads : index / tiles;
    const int tile = heads_fastest ? tiles - 1 - index / heads : index % tiles;
    BlockWork work;
    work.batch = int(blockIdx.y);
    work.head = pack_group ? head * p.group : head;
    work.head_kv = pack_group ? head : head / p.group;
    work.first_row = tile * block_m;
    work.rows = pack_group ? p.len_q * p.group : p.len_q;
    return work;
}

__device__ __forceinline__ int below(int tile, int end) {
    return tile < end ? tile : -1;
}

// Rows of Q, and later of O, of one warp.
__device__ __forceinline__ u32 query_tile(u32 shared, int warp_index) {
    return shared + q_base + warp_index * (rows_per_warp * row_bytes);
}

// blocks_per_sm is the spec's estimate: what shared memory and registers allow. Naming it keeps
// ptxas from aiming at an occupancy of its own and spilling for it.
extern "C" __global__ void __launch_bounds__(threads, launch_blocks)
    attn_prefill(const __grid_constant__ AttnParams all) {
    const AttnParams p = of_sequence(all, int(blockIdx.y));
    const BlockWork work = block_work(p);
    if (work.first_row >= work.rows) return; // the grid is made for the plan's largest length
    const int last_row = min(work.first_row + block_m, work.rows) - 1;
    const TileList tiles = tile_list(key_bounds(p, token_of_row(p, work.first_row)),
                                     key_bounds(p, token_of_row(p, last_row)));
    const u32 shared = shared_base();
    const int warp_index = int(threadIdx.x) / 32;
    Warp warp;
    warp.lane = int(threadIdx.x) % 32;
    warp.row = work.first_row + warp_index * rows_per_warp;
    warp.k_rows = lane_rows_at(shared + k_base, warp.lane);

    Query query;
    query.tile = query_tile(shared, warp_index);
    warp.k_to_q = query.tile - (shared + k_base);

    float o[O_regs];
#pragma unroll
    for (int i = 0; i < O_regs; ++i) o[i] = 0.0f;
    RowState rows;
    softmax_begin(rows);

    if (tiles.begin < tiles.end) {
        KvPipe kv;
        kv_begin(p, work, tiles, kv, query, shared, warp.row, warp.lane);
#pragma unroll 1
        for (int i = tiles.begin; i < cut_visits_end(tiles); ++i)
            step<true>(p, warp, query, kv, rows, o, tile_at(tiles, i), tile_at(tiles, i + v_ahead),
                       {tile_at(tiles, i + k_ahead), later_tile(tiles, i + k_ahead + 1)});
        const int end = tiles.whole_end;
#pragma unroll 1
        for (int tile = tiles.whole; tile < end; ++tile)
            step<false>(p, warp, query, kv, rows, o, tile, below(tile + v_ahead, end),
                        {below(tile + k_ahead, end), min(tile + k_ahead + 1, end - 1)});
        // With q_in_regs the output tile lies over K/V, which other warps may still read.
        if constexpr (q_in_regs) __syncthreads();
    }
    softmax_end(rows);
    // Where the results go is found again: the loops have no registers for it.
    int thread = int(threadIdx.x), batch = int(blockIdx.y);
    opaque(thread);
    opaque(batch);
    const AttnParams &to = p;
    const BlockWork done = block_work(to);
    const int row = done.first_row + thread / 32 * rows_per_warp;
    store_lse(to, done, row, thread % 32, rows);
    store_output(to, done, row, thread % 32, query_tile(shared, thread / 32), o, rows);
}
