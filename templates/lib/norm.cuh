// What brings values to mean 0 and variance 1: (x - mean) * inverse.
//% lib types

struct Norm {
    float mean, inverse; // 1 / sqrt(variance + eps)
};

// PTX ISA 9.7.3.16 (rsqrt): relative error 2^-22.9.
__device__ __forceinline__ float reciprocal_root(float x) {
    float d;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
    return d;
}
