// Approximate functions, written where they are meant (nothing is compiled with --use_fast_math),
// and integer arithmetic that C spells badly.
//% lib types

__device__ __forceinline__ float ln2() {
    return 0.69314718055994530942f;
}
__device__ __forceinline__ float log2_e() {
    return 1.44269504088896340736f;
}

__device__ __forceinline__ float infinity() {
    return __int_as_float(0x7f800000);
}

// 2^x; relative error 2^-22.5, 2^-inf = +0, subnormal results are 0. PTX ISA 9.7.3.21 (ex2).
__device__ __forceinline__ float exp2_approx(float x) {
    float d;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
    return d;
}

// log2(x); log2(0) = -inf. PTX ISA 9.7.3.20 (lg2).
__device__ __forceinline__ float log2_approx(float x) {
    float d;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
    return d;
}

// 1/x within 1 ulp. PTX ISA 9.7.3.13 (rcp).
__device__ __forceinline__ float reciprocal_approx(float x) {
    float d;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
    return d;
}

__device__ __forceinline__ int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

// The whole product of two 32-bit numbers, in one instruction. Where it moves out of a loop, C's
// u64(a) * b becomes a product of 64-bit factors, which is four. PTX ISA 9.7.1.3 (mul.wide).
__device__ __forceinline__ u64 product_u64(u32 a, u32 b) {
    u64 d;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(d) : "r"(a), "r"(b));
    return d;
}
