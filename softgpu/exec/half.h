/* f16 and bf16 to and from f32, as expressions that compilers vectorise.
 *
 * f16: 1 sign, 5 exponent (bias 15), 10 fraction bits; bf16: the high half of an f32. The high
 * half of the argument of *_to_f32 is ignored. NaN becomes 0x7fff on narrowing (PTX ISA 9.7.9.21).
 */
#ifndef SEQTUNE_SOFTGPU_EXEC_HALF_H
#define SEQTUNE_SOFTGPU_EXEC_HALF_H

#include <math.h>
#include <stdint.h>

static inline float half_bits_f32(uint32_t u) {
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t half_f32_bits(float f) {
    uint32_t u;
    __builtin_memcpy(&u, &f, 4);
    return u;
}

static inline float f16_to_f32(uint32_t h) {
    const uint32_t sign = (h & 0x8000u) << 16, mag = h & 0x7fffu;
    /* The fraction under exponent 0..31 of f32, scaled by 2^112: right for subnormals too. */
    const uint32_t scaled = half_f32_bits(half_bits_f32(mag << 13) * 0x1p112f);
    const uint32_t special = mag << 13 | 0x7f800000u;
    return half_bits_f32(sign | (mag >= 0x7c00u ? special : scaled));
}
static inline float bf16_to_f32(uint32_t h) {
    return half_bits_f32(h << 16);
}

static inline uint32_t f32_to_f16(float f) {
    const uint32_t u = half_f32_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    const uint32_t normal = (a - (112u << 23) + 0xfffu + (a >> 13 & 1)) >> 13;
    /* Adding 0.5 puts the unit of f16 subnormals (2^-24) at the last bit of the f32. */
    const uint32_t tiny = half_f32_bits(half_bits_f32(a) + 0.5f) - 0x3f000000u;
    const uint32_t finite = a < 0x38800000u ? tiny : normal;
    const uint32_t big = a >= 0x47800000u ? 0x7c00u : finite;
    return a > 0x7f800000u ? 0x7fffu : sign | big;
}
static inline uint32_t f32_to_f16_rz(float f) {
    const uint32_t u = half_f32_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    const uint32_t normal = (a - (112u << 23)) >> 13;
    const uint32_t shift = 126u - (a >> 23);
    const uint32_t tiny = shift > 31 ? 0 : ((a & 0x7fffffu) | 0x800000u) >> (shift & 31);
    const uint32_t finite = a < 0x38800000u ? tiny : normal;
    const uint32_t big = a >= 0x47800000u ? (a == 0x7f800000u ? 0x7c00u : 0x7bffu) : finite;
    return a > 0x7f800000u ? 0x7fffu : sign | big;
}
static inline uint32_t f32_to_bf16(float f) {
    const uint32_t u = half_f32_bits(f);
    const uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded;
}
static inline uint32_t f32_to_bf16_rz(float f) {
    const uint32_t u = half_f32_bits(f);
    return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : u >> 16;
}

/* fp8: e4m3 has bias 7, no infinity, NaN 0x7f, largest 448; e5m2 is f16 without its low byte.
 * Narrowing is .satfinite: what is larger, infinity too, becomes the largest; NaN becomes 0x7f
 * (PTX ISA, cvt). Scaling by powers of two is exact, so adding and subtracting the magic number
 * rounds once. */
static inline uint32_t f32_to_fp8(float f, int fraction, int bias, uint32_t most, int relu) {
    const uint32_t u = half_f32_bits(f), sign = u >> 24 & 0x80u, a = u & 0x7fffffffu;
    const int e = (int)(a >> 23) - 127, low = 1 - bias, at = e < low ? low : e;
    if (a > 0x7f800000u) return 0x7fu;
    if (relu && sign) return 0;
    if (e > bias + 1) return sign | most;
    const float unit = half_bits_f32((uint32_t)(127 + fraction - at) << 23);
    const float n = half_bits_f32(a) * unit + 8388608.0f; /* 2^23: the sum's unit is 1 */
    const uint32_t bits = (half_f32_bits(n) & 0x7fffffu) + ((uint32_t)(at - low) << fraction);
    return sign | (bits > most ? most : bits);
}
static inline uint32_t f32_to_e4m3(float f, int relu) {
    return f32_to_fp8(f, 3, 7, 0x7e, relu);
}
static inline uint32_t f32_to_e5m2(float f, int relu) {
    return f32_to_fp8(f, 2, 15, 0x7b, relu);
}
static inline float e5m2_to_f32(uint32_t b) {
    return f16_to_f32((b & 0xff) << 8);
}
static inline float e4m3_to_f32(uint32_t b) {
    const uint32_t sign = (b & 0x80) << 24, mag = b & 0x7f;
    /* as f16_to_f32: the fraction under f32's exponents, scaled by 2^120 */
    const float v = half_bits_f32(mag << 20) * 0x1p120f;
    return half_bits_f32(mag == 0x7f ? 0x7fffffffu : sign | half_f32_bits(v));
}

/* Rounds once to a format of `fraction` fraction and `exponent` exponent bits; subnormals kept. */
static inline uint32_t f64_to_half(double v, int fraction, int exponent) {
    const int bias = (1 << (exponent - 1)) - 1, lowest = 1 - bias;
    if (v != v) return 0x7fffu;
    const uint32_t sign = signbit(v) ? 0x8000u : 0;
    const double a = fabs(v);
    const uint32_t inf = ((1u << exponent) - 1) << fraction;
    if (a == 0) return sign;
    if (isinf(a)) return sign | inf; /* frexp says nothing of its exponent */
    int e = 0;
    (void)frexp(a, &e); /* a in [2^(e-1), 2^e) */
    e = e - 1 < lowest ? lowest : e - 1;
    if (e > bias + 1) return sign | inf;
    const double unit = nearbyint(ldexp(a, fraction - e)); /* integer, at most 2^(fraction+1) */
    const uint32_t bits = (uint32_t)unit + ((uint32_t)(e - lowest) << fraction);
    return sign | (bits >= inf ? inf : bits);
}

#endif
