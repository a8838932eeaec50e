// Reductions over lanes of a warp. All 32 lanes must take part.
//% lib types

// The value of lane (own ^ distance). PTX ISA 9.7.9.6 (shfl.sync): c = 0x1f, no segments.
__device__ __forceinline__ float shuffle_xor(float x, int distance) {
    float d;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
                 : "=f"(d)
                 : "f"(x), "r"(distance));
    return d;
}

// The value of lane `lane`. PTX ISA 9.7.9.6 (shfl.sync): c = 0x1f, no segments.
__device__ __forceinline__ u32 shuffle_from(u32 x, int lane) {
    u32 d;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(d) : "r"(x), "r"(lane));
    return d;
}

// Whether the condition holds in some lane: one answer for the warp.
__device__ __forceinline__ bool warp_any(bool condition) {
    return __any_sync(0xffffffffu, condition) != 0;
}

// Over the four lanes that hold one row of an m16n8 accumulator (lane bits 0 and 1).
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, shuffle_xor(x, 1));
    return fmaxf(x, shuffle_xor(x, 2));
}

__device__ __forceinline__ int quad_max(int x) {
    x = max(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return max(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

__device__ __forceinline__ float quad_sum(float x) {
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, shuffle_xor(x, distance));
    return x;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x += shuffle_xor(x, distance);
    return x;
}
