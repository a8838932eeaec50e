// Four 8-bit values of one register to f16, bf16 or f32, exactly: every e4m3 and every int8 is one
// of each. e4m3 has 4 exponent bits (bias 7), 3 of mantissa, no infinity; 0x7f and 0xff are NaNs
// and become the canonical NaN 0x7fff, as cvt has it. Tested over all 256 codes, both bodies.
//% lib types
//% lib convert

// Values 0 and 2 in `even`, 1 and 3 in `odd`, each pair with the first value in bits 0..15: so the
// bytes need no moving but one shift.
struct Half4 {
    u32 even, odd;
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
// it. A NaN comes out as 480.
template <int mantissa_bits> __device__ __forceinline__ u32 e4m3_bits(u32 x) {
    return (x & 0x80008000u) | ((x & 0x7f007f00u) >> (11 - mantissa_bits));
}

__device__ __forceinline__ u32 f16x2_of_finite_e4m3(u32 x) {
    enum : u32 { two_to_8 = 0x5c005c00u }; // 2^(15 - 7)
    return multiply_f16x2(e4m3_bits<10>(x), two_to_8);
}

__device__ __forceinline__ u32 bf16x2_of_finite_e4m3(u32 x) {
    enum : u32 { two_to_120 = 0x7b807b80u, minus_zero = 0x80008000u }; // 2^(127 - 7); x - 0 is x
    return fma_bf16x2(e4m3_bits<7>(x), two_to_120, minus_zero);
}

// Bits 7, 15, 23, 31 are set where the code is a NaN: the sum reaches them for 0x7f alone.
__device__ __forceinline__ u32 e4m3_nans(u32 x) {
    return (x & 0x7f7f7f7fu) + 0x01010101u;
}

// `nans`: bit 15 of a half is set where it must become a NaN.
__device__ __forceinline__ u32 with_nans(u32 value, u32 nans) {
    nans &= 0x80008000u;
    return (value & ~nans) | (nans - (nans >> 15));
}

// PTX ISA 9.7.9.21 (cvt): f16x2 from e4m3x2, sm_89.
__device__ __forceinline__ u32 f16x2_of_e4m3_cvt(u16 x) {
    u32 d;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(d) : "h"(x));
    return d;
}

// By cvt, to f16.
__device__ __forceinline__ Half4 f16x4_of_e4m3_cvt(u32 x) {
    const u32 pairs = permute_bytes(x, 0, 0x3120);
    return {f16x2_of_e4m3_cvt(u16(pairs & 0xffffu)), f16x2_of_e4m3_cvt(u16(pairs >> 16))};
}

// By integer code, to f16 or (sm_80) bf16. NaNs are looked for in all registers at once.
template <bool to_bf16, int count>
__device__ __forceinline__ void half4_of_e4m3_integer(Half4 (&d)[count], const u32 (&x)[count]) {
    u32 nans = 0;
#pragma unroll
    for (int i = 0; i < count; ++i) {
        nans |= e4m3_nans(x[i]);
        if constexpr (to_bf16)
            d[i] = {bf16x2_of_finite_e4m3(x[i] << 8), bf16x2_of_finite_e4m3(x[i])};
        else
            d[i] = {f16x2_of_finite_e4m3(x[i] << 8), f16x2_of_finite_e4m3(x[i])};
    }
    if ((nans & 0x80808080u) != 0) {
#pragma unroll
        for (int i = 0; i < count; ++i) {
            const u32 own = e4m3_nans(x[i]);
            d[i] = {with_nans(d[i].even, own << 8), with_nans(d[i].odd, own)};
        }
    }
}

// ---- int8 ----

// 128 + value in the low byte of 1024 is a f16 as it stands.
__device__ __forceinline__ Half4 f16x4_of_int8(u32 x) {
    enum : u32 { f16_1024 = 0x64646464u, f16_1152 = 0x64806480u };
    const u32 biased = x ^ 0x80808080u;
    return {subtract_f16x2(permute_bytes(biased, f16_1024, 0x4240), f16_1152),
            subtract_f16x2(permute_bytes(biased, f16_1024, 0x4341), f16_1152)};
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
    return {permute_bytes(__float_as_uint(f[0]), __float_as_uint(f[2]), 0x7632),
            permute_bytes(__float_as_uint(f[1]), __float_as_uint(f[3]), 0x7632)};
}

// ---- by the problem's types ----

template <int count>
__device__ __forceinline__ void half4_of_kv8(Half4 (&d)[count], const u32 (&x)[count]) {
    if constexpr (kv_dtype == kv_dtype_e4m3 && !(HAS_cvt_fp8 && dtype == dtype_f16)) {
        half4_of_e4m3_integer<dtype == dtype_bf16>(d, x);
    } else {
#pragma unroll
        for (int i = 0; i < count; ++i) {
            if constexpr (kv_dtype == kv_dtype_e4m3)
                d[i] = f16x4_of_e4m3_cvt(x[i]);
            else
                d[i] = dtype == dtype_bf16 ? bf16x4_of_int8(x[i]) : f16x4_of_int8(x[i]);
        }
    }
}

__device__ __forceinline__ void f32x4_of_kv8(float (&d)[4], u32 x) {
    if constexpr (kv_dtype == kv_dtype_int8) {
        f32x4_of_int8(d, x);
    } else {
        Half4 h[1];
        const u32 codes[1] = {x};
        if constexpr (HAS_cvt_fp8)
            h[0] = f16x4_of_e4m3_cvt(x);
        else
            half4_of_e4m3_integer<false>(h, codes);
        d[0] = f32_of_f16(u16(h[0].even & 0xffffu));
        d[1] = f32_of_f16(u16(h[0].odd & 0xffffu));
        d[2] = f32_of_f16(u16(h[0].even >> 16));
        d[3] = f32_of_f16(u16(h[0].odd >> 16));
    }
}
