// f32 to the 8-bit types of a K/V cache: to nearest even, clamped to the finite range. A NaN
// becomes the e4m3 NaN 0x7f, or 0 as int8. Tested over all f16 values, both bodies of e4m3.
//% lib types
//% lib convert8
//% lib vector

// e4m3: 4 exponent bits (bias 7), 3 of mantissa, largest 448 (0x7e), smallest 2^-9.
__device__ __forceinline__ u32 e4m3_of_f32_integer(float x) {
    enum : u32 { largest = 0x7eu, nan = 0x7fu, smallest_normal = 0x3c800000u /* 2^-6 */ };
    const u32 bits = __float_as_uint(x), size = bits & 0x7fffffffu, sign = (bits >> 24) & 0x80u;
    if (size > 0x7f800000u) return nan;
    u32 code;
    if (size < smallest_normal) // the sum's last place is 2^-9, the unit of subnormals
        code = __float_as_uint(__uint_as_float(size) + 16384.0f) - __float_as_uint(16384.0f);
    else // half of the last kept bit, the tie broken by that bit; 120 = 127 - 7
        code = ((size + 0x7ffffu + ((size >> 20) & 1u)) >> 20) - (120u << 3);
    return sign | min(code, u32(largest));
}

// PTX ISA 9.7.9.21 (cvt): e4m3x2 from two f32, sm_89; the first source goes to the upper byte.
__device__ __forceinline__ u32 e4m3x2_of_f32(float low, float high) {
    if constexpr (HAS_cvt_fp8) {
        u16 d;
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(d) : "f"(high), "f"(low));
        return d;
    } else {
        return e4m3_of_f32_integer(low) | e4m3_of_f32_integer(high) << 8;
    }
}

// PTX ISA 9.7.9.21 (cvt): f32 to s32 clamps, NaN gives 0.
__device__ __forceinline__ u32 int8_of_f32(float x) {
    int d;
    asm("cvt.rni.s32.f32 %0, %1;" : "=r"(d) : "f"(x));
    return u32(max(min(d, 127), -128)) & 0xffu;
}

__device__ __forceinline__ u32 kv8x2_of_f32(float low, float high) {
    if constexpr (kv_dtype == kv_dtype_int8)
        return int8_of_f32(low) | int8_of_f32(high) << 8;
    else
        return e4m3x2_of_f32(low, high);
}

// `count` values, the first in the lowest byte.
template <int count>
__device__ __forceinline__ Vector<count> quantize(const float (&x)[count]) {
    Vector<count> v;
    if constexpr (count == 2) {
        v.word[0] = kv8x2_of_f32(x[0], x[1]);
    } else {
#pragma unroll
        for (int i = 0; i < count; i += 4)
            v.word[i / 4] = kv8x2_of_f32(x[i], x[i + 1]) | kv8x2_of_f32(x[i + 2], x[i + 3]) << 16;
    }
    return v;
}

template <int count>
__device__ __forceinline__ void dequantize(float (&x)[count], const Vector<count> &v) {
#pragma unroll
    for (int i = 0; i < count; i += 4) {
        float four[4];
        f32x4_of_kv8(four, v.word[i / 4]);
#pragma unroll
        for (int j = 0; j < 4 && i + j < count; ++j) x[i + j] = four[j];
    }
}
