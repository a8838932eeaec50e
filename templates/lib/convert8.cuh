// Four 8-bit values of one register to f16, bf16 or f32, exactly: every e4m3 and every int8 is one
// of each. e4m3 has 4 exponent bits (bias 7), 3 of mantissa, no infinity; 0x7f and 0xff are NaNs
// and become the canonical NaN 0x7fff, as cvt has it. Tested over all 256 codes, both bodies.
//% lib types
//% lib convert

// Values 0, 1 in `low`, 2, 3 in `high`, each pair with the first value in bits 0..15.
struct Half4 {
    u32 low, high;
};

// PTX ISA 9.7.8.7 (prmt): byte i of the result is byte (selector nibble i) of {b, a}.
__device__ __forceinline__ u32 permute_bytes(u32 a, u32 b, u32 selector) {
    return __byte_perm(a, b, selector);
}

// PTX ISA 9.7.4.3 (mul.f16x2), 9.7.4.2 (sub.f16x2), 9.7.4.4 (fma.rn.bf16x2, sm_80).
__device__ __forceinline__ u32 multiply_f16x2(u32 a, u32 b) {
    u32 d;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
__device__ __forceinline__ u32 subtract_f16x2(u32 a, u32 b) {
    u32 d;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
__device__ __forceinline__ u32 fma_bf16x2(u32 a, u32 b, u32 c) {
    u32 d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// ---- e4m3 ----

// Two codes in the upper bytes of both halves. The exponent and mantissa bits, moved to their place
// in the wider format, are the value times 2^(7 - bias), subnormals too; one exact product mends
// it.
template <int mantissa_bits> __device__ __forceinline__ u32 e4m3_bits(u32 x) {
    return (x & 0x80008000u) | ((x & 0x7f007f00u) >> (11 - mantissa_bits));
}

// Halves whose code is a NaN become 0x7fff: the sum reaches bit 15 for 0x7f alone.
__device__ __forceinline__ u32 with_e4m3_nan(u32 value, u32 x) {
    const u32 nan = ((x & 0x7f007f00u) + 0x01000100u) & 0x80008000u;
    return (value & ~nan) | (nan - (nan >> 15));
}

__device__ __forceinline__ u32 f16x2_of_e4m3_integer(u32 x) {
    enum : u32 { two_to_8 = 0x5c005c00u }; // 2^(15 - 7)
    return with_e4m3_nan(multiply_f16x2(e4m3_bits<10>(x), two_to_8), x);
}

__device__ __forceinline__ u32 bf16x2_of_e4m3_integer(u32 x) {
    enum : u32 { two_to_120 = 0x7b807b80u, minus_zero = 0x80008000u }; // 2^(127 - 7); x - 0 is x
    return with_e4m3_nan(fma_bf16x2(e4m3_bits<7>(x), two_to_120, minus_zero), x);
}

// PTX ISA 9.7.9.21 (cvt): f16x2 from e4m3x2, sm_89.
__device__ __forceinline__ u32 f16x2_of_e4m3_cvt(u16 x) {
    u32 d;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(d) : "h"(x));
    return d;
}

__device__ __forceinline__ Half4 f16x4_of_e4m3(u32 x) {
    if constexpr (HAS_cvt_fp8)
        return {f16x2_of_e4m3_cvt(u16(x & 0xffffu)), f16x2_of_e4m3_cvt(u16(x >> 16))};
    else
        return {f16x2_of_e4m3_integer(permute_bytes(x, 0, 0x1404)),
                f16x2_of_e4m3_integer(permute_bytes(x, 0, 0x3424))};
}

__device__ __forceinline__ Half4 bf16x4_of_e4m3(u32 x) {
    return {bf16x2_of_e4m3_integer(permute_bytes(x, 0, 0x1404)),
            bf16x2_of_e4m3_integer(permute_bytes(x, 0, 0x3424))};
}

// ---- int8 ----

// 128 + value in the low byte of 1024 is a f16 as it stands.
__device__ __forceinline__ Half4 f16x4_of_int8(u32 x) {
    enum : u32 { f16_1024 = 0x64646464u, f16_1152 = 0x64806480u };
    const u32 biased = x ^ 0x80808080u;
    return {subtract_f16x2(permute_bytes(biased, f16_1024, 0x4140), f16_1152),
            subtract_f16x2(permute_bytes(biased, f16_1024, 0x4342), f16_1152)};
}

// 128 + value in the low byte of 2^23 is a f32 as it stands.
__device__ __forceinline__ void f32x4_of_int8(float (&d)[4], u32 x) {
    enum : u32 { f32_2_to_23 = 0x4b000000u };
    const u32 biased = x ^ 0x80808080u;
    d[0] = __uint_as_float(permute_bytes(biased, f32_2_to_23, 0x7440)) - 8388736.0f;
    d[1] = __uint_as_float(permute_bytes(biased, f32_2_to_23, 0x7441)) - 8388736.0f;
    d[2] = __uint_as_float(permute_bytes(biased, f32_2_to_23, 0x7442)) - 8388736.0f;
    d[3] = __uint_as_float(permute_bytes(biased, f32_2_to_23, 0x7443)) - 8388736.0f;
}

// Integers below 256 have no bits in the lower half of a f32.
__device__ __forceinline__ Half4 bf16x4_of_int8(u32 x) {
    float f[4];
    f32x4_of_int8(f, x);
    return {permute_bytes(__float_as_uint(f[0]), __float_as_uint(f[1]), 0x7632),
            permute_bytes(__float_as_uint(f[2]), __float_as_uint(f[3]), 0x7632)};
}

// ---- by the problem's types ----

__device__ __forceinline__ Half4 half4_of_kv8(u32 x) {
    if constexpr (kv_dtype == kv_dtype_int8)
        return dtype == dtype_bf16 ? bf16x4_of_int8(x) : f16x4_of_int8(x);
    else if constexpr (dtype == dtype_bf16)
        return bf16x4_of_e4m3(x);
    else
        return f16x4_of_e4m3(x);
}

__device__ __forceinline__ void f32x4_of_kv8(float (&d)[4], u32 x) {
    if constexpr (kv_dtype == kv_dtype_int8) {
        f32x4_of_int8(d, x);
    } else {
        const Half4 h = f16x4_of_e4m3(x);
        d[0] = f32_of_f16(u16(h.low & 0xffffu));
        d[1] = f32_of_f16(u16(h.low >> 16));
        d[2] = f32_of_f16(u16(h.high & 0xffffu));
        d[3] = f32_of_f16(u16(h.high >> 16));
    }
}
