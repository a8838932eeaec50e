/* The widest vectors of 32-bit lanes of the instruction set that this file is compiled for, and
 * what the compiler's own vector operators lack; included by lane.c and tensor.c only.
 *
 * A register row of 32 lanes is ROW_VECTORS of them. */
#ifndef SEQTUNE_SOFTGPU_EXEC_VECTOR_H
#define SEQTUNE_SOFTGPU_EXEC_VECTOR_H

#include "softgpu/exec/half.h"
#include "softgpu/exec/lanes.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { VLANES = 16 };
#elif defined(__AVX2__)
enum { VLANES = 8 };
#else
enum { VLANES = 4 };
#endif
enum { ROW_VECTORS = LANES / VLANES };

/* Vectors pass between static functions only, so their ABI does not matter. */
#pragma GCC diagnostic ignored "-Wpsabi"
typedef float Vf __attribute__((vector_size(4 * VLANES)));
typedef int32_t Vi __attribute__((vector_size(4 * VLANES)));
typedef uint32_t Vu __attribute__((vector_size(4 * VLANES)));
typedef float F4 __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))

INLINE Vf vf_load(const void *p) {
    Vf v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
INLINE Vi vi_load(const void *p) {
    Vi v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
INLINE void v_store(void *p, Vi v) {
    __builtin_memcpy(p, &v, sizeof v);
}
/* mask lanes are 0 or -1 */
INLINE Vi v_blend(Vi mask, Vi yes, Vi no) {
    return (yes & mask) | (no & ~mask);
}

#if defined(__AVX512F__)
INLINE Vf v_fma(Vf a, Vf b, Vf c) {
    return (Vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE Vi v_max(Vi a, Vi b) {
    return (Vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
}
INLINE bool v_any(Vi mask) {
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
}
/* Four floats, again and again. */
INLINE Vf v_repeat(const float *p) {
    return (Vf)_mm512_broadcast_f32x4(_mm_load_ps(p));
}
#define v_spread(v, t) ((Vf)_mm512_permute_ps((__m512)(v), (t)*0x55)) /* lane t of every four */
#elif defined(__AVX2__)
INLINE Vf v_fma(Vf a, Vf b, Vf c) {
    return (Vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE Vi v_max(Vi a, Vi b) {
    return (Vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
}
INLINE bool v_any(Vi mask) {
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
}
INLINE Vf v_repeat(const float *p) {
    return (Vf)_mm256_broadcast_ps((const __m128 *)(const void *)p);
}
#define v_spread(v, t) ((Vf)_mm256_permute_ps((__m256)(v), (t)*0x55))
#else
INLINE Vf v_fma(Vf a, Vf b, Vf c) {
    for (int i = 0; i < VLANES; i++) c[i] = fma32(a[i], b[i], c[i]);
    return c;
}
INLINE Vi v_max(Vi a, Vi b) {
    return v_blend(a > b, a, b);
}
INLINE bool v_any(Vi mask) {
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
}
INLINE Vf v_repeat(const float *p) {
    return vf_load(p);
}
#define v_spread(v, t) __builtin_shufflevector(v, v, t, t, t, t)
#endif

/* a * b + c rounded once; `exact`: products of these operands are exact in f32, so that without the
 * instruction a product and a sum do. */
INLINE Vf v_mul_add(Vf a, Vf b, Vf c, bool exact) {
#ifdef __FMA__
    (void)exact;
    return v_fma(a, b, c);
#else
    return exact ? c + a * b : v_fma(a, b, c);
#endif
}

/* Halves in the low 16 bits of each lane; what stands above them is ignored. */
INLINE Vf v_from_f16(Vi h) {
#if defined(__AVX512F__)
    return (Vf)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)h));
#elif defined(__AVX2__)
    const __m256i v = (__m256i)(h & 0xffff);
    const __m128i low = _mm256_castsi256_si128(v), high = _mm256_extracti128_si256(v, 1);
    return (Vf)_mm256_cvtph_ps(_mm_packus_epi32(low, high));
#else
    Vf f;
    for (int i = 0; i < VLANES; i++) f[i] = f16_to_f32((u32)h[i]);
    return f;
#endif
}

/* Rows of a 4 x 4 matrix become its columns. */
INLINE void transpose4(F4 m[4]) {
    const F4 a = __builtin_shufflevector(m[0], m[1], 0, 4, 1, 5);
    const F4 b = __builtin_shufflevector(m[2], m[3], 0, 4, 1, 5);
    const F4 c = __builtin_shufflevector(m[0], m[1], 2, 6, 3, 7);
    const F4 d = __builtin_shufflevector(m[2], m[3], 2, 6, 3, 7);
    m[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    m[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    m[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    m[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

#endif
