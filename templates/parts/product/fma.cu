// A warp's part of a block's product in f32 on CUDA cores. Lane (y, x), y = lane / 8, x = lane % 8,
// has tokens y, y + 4, y + 8 ... and rows x, x + 8, x + 16 ... of the warp's part; it reads 16
// bytes (four k) at a time of either tile. Each sum is one chain of fma in the order of k.
//% lib shared

enum : int { lane_m = warp_m / 4, lane_n = warp_n / 8 };

struct Sum {
    float acc[lane_m][lane_n];
};

__device__ __forceinline__ void product_begin(Sum &sum) {
#pragma unroll
    for (int m = 0; m < lane_m; ++m)
#pragma unroll
        for (int n = 0; n < lane_n; ++n) sum.acc[m][n] = 0.0f;
}

__device__ __forceinline__ int lane_first_m() {
    return int(threadIdx.x) / 32 / warps_n * warp_m + int(threadIdx.x) % 32 / 8;
}

__device__ __forceinline__ int lane_first_n() {
    return int(threadIdx.x) / 32 % warps_n * warp_n + int(threadIdx.x) % 8;
}

__device__ __forceinline__ void product_tile(Sum &sum, u32 x_tile, u32 w_tile) {
#pragma unroll 1
    for (int k = 0; k < block_k; k += 4) {
        Bytes16 x[lane_m];
#pragma unroll
        for (int m = 0; m < lane_m; ++m)
            x[m] = load_shared_16(x_tile + X_offset(lane_first_m() + m * 4, k));
#pragma unroll
        for (int n = 0; n < lane_n; ++n) {
            const Bytes16 w = load_shared_16(w_tile + W_offset(lane_first_n() + n * 8, k));
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int m = 0; m < lane_m; ++m)
                    sum.acc[m][n] = fmaf(__uint_as_float(x[m].word[i]), __uint_as_float(w.word[i]),
                                         sum.acc[m][n]);
        }
    }
}

__device__ __forceinline__ void product_end(const Sum &sum, int first_m, int first_n, int tokens,
                                            int rows_of_gates, u64 pre, u64 bias) {
    first_m += lane_first_m();
    first_n += lane_first_n();
#pragma unroll
    for (int n = 0; n < lane_n; ++n) {
        const int row = first_n + n * 8;
        if (row >= rows_of_gates) break;
        float b = 0.0f;
        if (bias != 0) b = __int_as_float(load_global_i32(bias + u64(row) * 4));
#pragma unroll
        for (int m = 0; m < lane_m; ++m) {
            const int token = first_m + m * 4;
            if (token < tokens)
                store_global_f32(pre + u64((i64(token) * rows_of_gates + row) * 4),
                                 sum.acc[m][n] + b);
        }
    }
}
