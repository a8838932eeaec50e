// A warp's part of a block's product on tensor cores: rows of x are the m side, rows of W the n
// side, so that a lane holds two neighbouring rows of `pre` of one token.
//% lib ldmatrix
//% lib mma
//% lib vector

enum : int {
    m_blocks = warp_m / 16,
    n_pairs = warp_n / 16, // pairs of n8 blocks, what one ldmatrix of W reads
    k_steps = block_k / 16,
    pitch_bytes = block_k * 2
};

static_assert(X_offset(16, 0) == 16 * pitch_bytes && W_offset(16, 0) == 16 * pitch_bytes,
              "the swizzle repeats every 16 rows, so that blocks are walked by immediates");

struct Sum {
    float acc[m_blocks][n_pairs * 2][4];
};

__device__ __forceinline__ void product_begin(Sum &sum) {
#pragma unroll
    for (int m = 0; m < m_blocks; ++m)
#pragma unroll
        for (int n = 0; n < n_pairs * 2; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) sum.acc[m][n][i] = 0.0f;
}

__device__ __forceinline__ int warp_first_m() {
    return int(threadIdx.x) / 32 / warps_n * warp_m;
}

__device__ __forceinline__ int warp_first_n() {
    return int(threadIdx.x) / 32 % warps_n * warp_n;
}

__device__ __forceinline__ void product_tile(Sum &sum, u32 x_tile, u32 w_tile) {
    const int lane = int(threadIdx.x) % 32;
    x_tile += warp_first_m() * pitch_bytes;
    w_tile += warp_first_n() * pitch_bytes;
#pragma unroll
    for (int step = 0; step < k_steps; ++step) {
        // Lane i names row i % 16, columns 8 * (i / 16) of each 16 x 16 block.
        const u32 x_at = x_tile + X_offset(lane % 16, step * 16 + lane / 16 * 8);
        const u32 w_at = w_tile + W_offset(lane % 16, step * 16 + lane / 16 * 8);
        u32 a[m_blocks][4];
#pragma unroll
        for (int m = 0; m < m_blocks; ++m) ldmatrix_x4(a[m], x_at + m * 16 * pitch_bytes);
#pragma unroll
        for (int n = 0; n < n_pairs; ++n) {
            u32 b[4]; // {rows 0-7 k 0-7, rows 8-15 k 0-7, rows 0-7 k 8-15, rows 8-15 k 8-15}
            ldmatrix_x4(b, w_at + n * 16 * pitch_bytes);
#pragma unroll
            for (int m = 0; m < m_blocks; ++m) {
                mma_16x8x16(sum.acc[m][n * 2], a[m], b[0], b[2]);
                mma_16x8x16(sum.acc[m][n * 2 + 1], a[m], b[1], b[3]);
            }
        }
    }
}

// Adds the bias and stores what exists; rows come in eights.
__device__ __forceinline__ void product_end(const Sum &sum, int first_m, int first_n, int tokens,
                                            int rows_of_gates, u64 pre, u64 bias) {
    const int lane = int(threadIdx.x) % 32;
    first_m += warp_first_m() + lane / 4;
    first_n += warp_first_n();
#pragma unroll
    for (int n = 0; n < n_pairs * 2; ++n) {
        if (first_n + n * 8 >= rows_of_gates) break;
        const int row = first_n + n * 8 + lane % 4 * 2;
        float b[2] = {0.0f, 0.0f};
        if (bias != 0) load_floats(b, bias + u64(row) * 4);
#pragma unroll
        for (int m = 0; m < m_blocks * 2; ++m) {
            const int token = first_m + m * 8;
            const float(&acc)[4] = sum.acc[m / 2][n];
            const Vector<8> v = {{__float_as_uint(acc[m % 2 * 2] + b[0]),
                                  __float_as_uint(acc[m % 2 * 2 + 1] + b[1])}};
            if (token < tokens)
                store_vector<8>(pre + u64((i64(token) * rows_of_gates + row) * 4), v);
        }
    }
}
