// Textbook attention in three kernels, the baseline: S = scale * Q K^T with the mask, written to
// global memory in the input type; P = softmax(S) by rows, in place; O = P V. Tiled matrix
// products on tensor cores through shared memory, two barriers per tile, no pipelining, no fusion.
//
// The workspace holds S: [batch, head, query, pitch] of 16 bits, pitch = len_kv rounded up to 8 so
// that rows are 16-byte aligned; columns from len_kv on hold -inf, then 0.
// Slot mask: key_bounds. A row that sees no key gets P = 0, O = 0, LSE = -inf.
//% lib types
//% lib math
//% lib key_bounds
//% lib convert
//% lib shuffle
//% lib shared
//% lib global
//% lib ldmatrix
//% lib mma

static_assert(block_m == 16 * warps && block_n % 16 == 0, "one m16 row block per warp");

enum : int {
    tile_chunks = head_dim / 8, // 16-byte chunks of a row of Q, K, V
    row_chunks = block_n / 8,   // of a row of a tile of P
    q_at = 0, // shared memory: the tile of rows (Q or P), then that of keys (K or V)
    kv_at = Q_bytes > P_bytes ? Q_bytes : P_bytes
};

//% slot mask

__device__ __forceinline__ int score_pitch(const AttnParams &p) {
    return ceil_div(p.len_kv, 8) * 8;
}

// Element (query, 0) of S for the block's head (grid.y) and sequence (grid.z).
__device__ __forceinline__ u64 score_row(const AttnParams &p, int query) {
    const i64 row = (i64(blockIdx.z) * p.heads_q + i64(blockIdx.y)) * p.len_q + query;
    return p.workspace + u64(row * score_pitch(p) * 2);
}

__device__ __forceinline__ int lane_id() {
    return int(threadIdx.x) % 32;
}
__device__ __forceinline__ int warp_id() {
    return int(threadIdx.x) / 32;
}

// Rows of 16-byte chunks to shared memory; those from rows_left or chunks_left on become 0.
template <int rows, int chunks, int (*offset)(int, int)>
__device__ __forceinline__ void load_tile(u32 to, u64 from, i64 row_bytes, int rows_left,
                                          int chunks_left) {
#pragma unroll 4
    for (int i = int(threadIdx.x); i < rows * chunks; i += threads) {
        const int row = i / chunks;
        const int chunk = i % chunks;
        Bytes16 value = {{0, 0, 0, 0}};
        if (row < rows_left && chunk < chunks_left)
            value = load_global_16(from + u64(row * row_bytes) + u64(chunk) * 16);
        store_shared_16(to + offset(row, chunk * 8), value);
    }
}

extern "C" __global__ void __launch_bounds__(threads, blocks_per_sm)
    attn_naive_scores(const __grid_constant__ AttnParams p) {
    if (p.len_kv == 0) return;
    const int tiles = ceil_div(p.len_kv, block_n);
    const int query0 = int(blockIdx.x) / tiles * block_m;
    const int key0 = int(blockIdx.x) % tiles * block_n;
    if (query0 >= p.len_q) return; // the grid is made for the plan's largest lengths
    const i64 batch = blockIdx.z, head = blockIdx.y, head_kv = int(blockIdx.y) / p.group;
    const u32 shared = shared_base();
    load_tile<block_m, tile_chunks, Q_offset>(
        shared + q_at, p.q + u64((batch * p.q_batch + head * p.q_head + query0 * p.q_token) * 2),
        p.q_token * 2, p.len_q - query0, tile_chunks);
    load_tile<block_n, tile_chunks, KV_offset>(
        shared + kv_at, p.k + u64((batch * p.k_batch + head_kv * p.k_head + key0 * p.k_token) * 2),
        p.k_token * 2, p.len_kv - key0, tile_chunks);
    __syncthreads(); // both tiles are in shared memory

    const int lane = lane_id();
    float s[S_regs / 4][4] = {};
#pragma unroll
    for (int step = 0; step < head_dim / 16; ++step) {
        const int column = step * 16 + lane / 16 * 8;
        u32 q[4];
        ldmatrix_x4(q, shared + q_at + Q_offset(warp_id() * 16 + lane % 16, column));
#pragma unroll
        for (int n = 0; n < block_n / 16; ++n) {
            u32 k[4];
            ldmatrix_x4(k, shared + kv_at + KV_offset(n * 16 + lane % 16, column));
            mma_16x8x16(s[2 * n], q, k[0], k[2]);
            mma_16x8x16(s[2 * n + 1], q, k[1], k[3]);
        }
    }
    const int pitch = score_pitch(p);
#pragma unroll
    for (int i = 0; i < S_regs; i += 2) {
        const int query = query0 + warp_id() * 16 + S_row(i, lane);
        const int key = key0 + S_col(i, lane);
        const KeyBounds seen = key_bounds(p, query);
        const int next = key + 1;
        const float a = s[i / 4][i % 4] * p.scale;
        const float b = s[i / 4][i % 4 + 1] * p.scale;
        const float low = key >= seen.first && key <= seen.last ? a : -infinity();
        const float high = next >= seen.first && next <= seen.last ? b : -infinity();
        if (query < p.len_q && key < pitch)
            store_global_u32(score_row(p, query) + u64(key) * 2, half2_of_f32(low, high));
    }
}

// One warp per row: the largest score, the sum, the division; three passes.
extern "C" __global__ void __launch_bounds__(threads, blocks_per_sm)
    attn_naive_softmax(const __grid_constant__ AttnParams p) {
    const int query = int(blockIdx.x) * warps + warp_id();
    if (query >= p.len_q) return;
    const u64 row = score_row(p, query);
    const int chunks = score_pitch(p) / 8;
    float top = -infinity();
    for (int c = lane_id(); c < chunks; c += 32) {
        const Bytes16 v = load_global_16(row + u64(c) * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            top = fmaxf(top, fmaxf(low_f32(v.word[i]), high_f32(v.word[i])));
    }
    top = warp_max(top);
    const float base =
        top == -infinity() ? 0.0f : top; // a row without keys: exp2(-inf) = 0, no NaN
    float sum = 0.0f;
    for (int c = lane_id(); c < chunks; c += 32) {
        const Bytes16 v = load_global_16(row + u64(c) * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            sum += exp2_approx((low_f32(v.word[i]) - base) * log2_e()) +
                   exp2_approx((high_f32(v.word[i]) - base) * log2_e());
    }
    sum = warp_sum(sum);
    const float inverse = sum == 0.0f ? 0.0f : reciprocal_approx(sum);
    for (int c = lane_id(); c < chunks; c += 32) {
        Bytes16 v = load_global_16(row + u64(c) * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            v.word[i] =
                half2_of_f32(exp2_approx((low_f32(v.word[i]) - base) * log2_e()) * inverse,
                             exp2_approx((high_f32(v.word[i]) - base) * log2_e()) * inverse);
        store_global_16(row + u64(c) * 16, v);
    }
    if (p.lse != 0 && lane_id() == 0) {
        const i64 at = i64(blockIdx.z) * p.lse_batch + i64(blockIdx.y) * p.lse_head + query;
        store_global_f32(p.lse + u64(at * 4),
                         sum == 0.0f ? -infinity() : base + ln2() * log2_approx(sum));
    }
}

extern "C" __global__ void __launch_bounds__(threads, blocks_per_sm)
    attn_naive_output(const __grid_constant__ AttnParams p) {
    const int query0 = int(blockIdx.x) * block_m;
    if (query0 >= p.len_q) return;
    const i64 batch = blockIdx.z, head = blockIdx.y, head_kv = int(blockIdx.y) / p.group;
    const u32 shared = shared_base();
    const int lane = lane_id();
    const int pitch = score_pitch(p);
    float o[O_regs / 4][4] = {};
    for (int key0 = 0; key0 < p.len_kv; key0 += block_n) {
        __syncthreads(); // every warp has read the tiles of the step before
        load_tile<block_m, row_chunks, P_offset>(
            shared + q_at, score_row(p, query0) + u64(key0) * 2, i64(pitch) * 2, p.len_q - query0,
            (pitch - key0) / 8);
        load_tile<block_n, tile_chunks, KV_offset>(
            shared + kv_at,
            p.v + u64((batch * p.v_batch + head_kv * p.v_head + key0 * p.v_token) * 2),
            p.v_token * 2, p.len_kv - key0, tile_chunks);
        __syncthreads(); // both tiles are in shared memory
#pragma unroll
        for (int step = 0; step < block_n / 16; ++step) {
            u32 weights[4];
            ldmatrix_x4(weights,
                        shared + q_at +
                            P_offset(warp_id() * 16 + lane % 16, step * 16 + lane / 16 * 8));
#pragma unroll
            for (int n = 0; n < head_dim / 16; ++n) {
                u32 v[4];
                ldmatrix_x4_trans(v, shared + kv_at +
                                         KV_offset(step * 16 + lane % 16, n * 16 + lane / 16 * 8));
                mma_16x8x16(o[2 * n], weights, v[0], v[1]);
                mma_16x8x16(o[2 * n + 1], weights, v[2], v[3]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < O_regs; i += 2) {
        const int query = query0 + warp_id() * 16 + O_row(i, lane);
        const i64 at = batch * p.o_batch + head * p.o_head + query * p.o_token + O_col(i, lane);
        if (query < p.len_q)
            store_global_u32(p.o + u64(at * 2), half2_of_f32(o[i / 4][i % 4], o[i / 4][i % 4 + 1]));
    }
}
