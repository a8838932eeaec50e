// f32 <-> f16 and bf16, with round to nearest even.
// One function per conversion, one body per feature: sm_75 has cvt.rn.f16.f32 only, its bf16 is
// integer code (tested over all codes).
//% lib types

// What cvt.rn.bf16.f32 gives for every NaN (PTX ISA 9.7.9.21). Constants are enumerators everywhere
// in templates: a constexpr at namespace scope would be emitted as a global variable.
enum : u32 { bf16_nan = 0x7fffu };

// PTX ISA 9.7.9.21 (cvt): f16 from f32, every target.
__device__ __forceinline__ u16 f16_of_f32(float x) {
    u16 d;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(d) : "f"(x));
    return d;
}

// PTX ISA 9.7.9.21 (cvt): exact.
__device__ __forceinline__ float f32_of_f16(u16 x) {
    float d;
    asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(x));
    return d;
}

// Adds half of the last kept bit, with the tie broken by that bit: round to nearest even.
__device__ __forceinline__ u16 bf16_of_f32_integer(float x) {
    const u32 bits = __float_as_uint(x);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return nan ? u16(bf16_nan) : u16((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// PTX ISA 9.7.9.21 (cvt): bf16 needs sm_80.
__device__ __forceinline__ u16 bf16_of_f32(float x) {
    if constexpr (HAS_cvt_bf16) {
        u16 d;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(d) : "f"(x));
        return d;
    } else {
        return bf16_of_f32_integer(x);
    }
}

// A bf16 is the upper half of an f32.
__device__ __forceinline__ float f32_of_bf16(u16 x) {
    return __uint_as_float(u32(x) << 16);
}

__device__ __forceinline__ u16 half_of_f32(float x) {
    if constexpr (dtype == dtype_bf16)
        return bf16_of_f32(x);
    else
        return f16_of_f32(x);
}

__device__ __forceinline__ float f32_of_half(u16 x) {
    if constexpr (dtype == dtype_bf16)
        return f32_of_bf16(x);
    else
        return f32_of_f16(x);
}

// Two values in one register, `low` in bits 0..15. PTX ISA 9.7.9.21 (cvt): the first source of
// the packed form goes to the upper half.
__device__ __forceinline__ u32 half2_of_f32(float low, float high) {
    u32 d;
    if constexpr (dtype == dtype_bf16 && HAS_cvt_bf16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    else if constexpr (dtype == dtype_f16 && HAS_cvt_f16x2)
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    else
        d = u32(half_of_f32(low)) | u32(half_of_f32(high)) << 16;
    return d;
}

__device__ __forceinline__ float low_f32(u32 pair) {
    return f32_of_half(u16(pair & 0xffffu));
}
__device__ __forceinline__ float high_f32(u32 pair) {
    return f32_of_half(u16(pair >> 16));
}
