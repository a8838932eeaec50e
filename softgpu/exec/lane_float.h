/* Handlers of floating-point instructions and conversions; included by lane.c only.
 *
 * PTX ISA 9.7.3-9.7.5: round to nearest even unless said otherwise, subnormals kept unless .ftz
 * (which flushes operands and result and keeps the sign), NaN results are 0x7fffffff. The
 * approximate functions are correctly rounded (approx.h), or noisy within the ISA's bounds
 * (noise.h). */
#include <math.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "softgpu/exec/half.h"

static inline float canon(float z) {
    return z != z ? as_f32(0x7fffffffu) : z;
}
static inline float ftz(float x) {
    const u32 u = as_u32(x);
    return (u & 0x7f800000u) == 0 ? as_f32(u & 0x80000000u) : x;
}

#include "softgpu/exec/approx.h"

static inline float op_add(float a, float b) {
    return a + b;
}
static inline float op_sub(float a, float b) {
    return a - b;
}
static inline float op_mul(float a, float b) {
    return a * b;
}
static inline float op_div(float a, float b) {
    return a / b;
}
#define FLOAT2(name, FN)                                                                           \
    MAP2(name##_f32, f32, f32, f32, canon(FN(a, b)))                                               \
    MAP2(name##_ftz_f32, f32, f32, f32, ftz(canon(FN(ftz(a), ftz(b)))))
FLOAT2(add, op_add)
FLOAT2(sub, op_sub)
FLOAT2(mul, op_mul)
FLOAT2(div, op_div)
MAP3(fma_f32, f32, f32, f32, f32, canon(fma32(a, b, c)))
MAP3(fma_ftz_f32, f32, f32, f32, f32, ftz(canon(fma32(ftz(a), ftz(b), ftz(c)))))
MAP2(add_f64, f64, f64, f64, a + b)
MAP2(sub_f64, f64, f64, f64, a - b)
MAP2(mul_f64, f64, f64, f64, a *b)
MAP2(div_f64, f64, f64, f64, a / b)
MAP3(fma_f64, f64, f64, f64, f64, fma(a, b, c))

#define FLOAT1(name, FN)                                                                           \
    MAP1(name##_f32, f32, f32, canon(FN(a)))                                                       \
    MAP1(name##_ftz_f32, f32, f32, ftz(canon(FN(ftz(a)))))
static inline float op_rcp(float a) {
    return 1.0f / a;
}
static inline float op_sqrt(float a) {
    return __builtin_sqrtf(a);
}
static inline float op_rsqrt(float a) {
    return (float)(1.0 / __builtin_sqrt((f64)a));
}
FLOAT1(rcp, op_rcp)
FLOAT1(sqrt, op_sqrt)
FLOAT1(rsqrt, op_rsqrt)
MAP1(rcp_f64, f64, f64, 1.0 / a)
MAP1(sqrt_f64, f64, f64, __builtin_sqrt(a))
MAP1(rsqrt_f64, f64, f64, 1.0 / __builtin_sqrt(a))

#define EX2(name, FLUSH)                                                                           \
    HANDLER(name) {                                                                                \
        f32 *const d = ROW(f32, 0), z[LANES];                                                      \
        const f32 *const pa = ROW(f32, 1);                                                         \
        const u32 m = w->mask, open = exp2_row(pa, z, FLUSH) & m;                                  \
        if (open) exp2_close(pa, z, open, FLUSH);                                                  \
        if (m == FULL_MASK)                                                                        \
            __builtin_memcpy(d, z, sizeof z);                                                      \
        else                                                                                       \
            IVDEP FOR_LANES d[l] = (m >> l & 1) ? z[l] : d[l];                                     \
        return r + 1;                                                                              \
    }
EX2(ex2_f32, false)
EX2(ex2_ftz_f32, true)

#define SCALAR1(name, TD, TA, EXPR)                                                                \
    HANDLER(name) {                                                                                \
        TD *const d = ROW(TD, 0);                                                                  \
        const TA *const pa = ROW(TA, 1);                                                           \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const TA a = pa[l];                                                                    \
            d[l] = (TD)(EXPR);                                                                     \
        }                                                                                          \
        return r + 1;                                                                              \
    }
static inline float op_sin(float a) {
    return (float)sin((f64)a);
}
static inline float op_cos(float a) {
    return (float)cos((f64)a);
}
static inline float op_lg2(float a) {
    return (float)log2((f64)a);
}
static inline float op_tanh(float a) {
    return (float)tanh((f64)a);
}
#define BY_LANE1(name, FN)                                                                         \
    SCALAR1(name##_f32, f32, f32, canon(FN(a)))                                                    \
    SCALAR1(name##_ftz_f32, f32, f32, ftz(canon(FN(ftz(a)))))
BY_LANE1(sin, op_sin)
BY_LANE1(cos, op_cos)
BY_LANE1(lg2, op_lg2)
SCALAR1(tanh_f32, f32, f32, canon(op_tanh(a)))

MAP1(abs_f32, u32, u32, a & 0x7fffffffu)
MAP1(abs_ftz_f32, f32, f32, ftz(as_f32(as_u32(a) & 0x7fffffffu)))
MAP1(abs_f64, u64, u64, a << 1 >> 1)
MAP1(neg_f32, u32, u32, a ^ 0x80000000u)
MAP1(neg_ftz_f32, f32, f32, ftz(as_f32(as_u32(a) ^ 0x80000000u)))
MAP1(neg_f64, u64, u64, a ^ UINT64_C(1) << 63)

/* A NaN operand loses; -0 is below +0 (equal operands differ in the sign of zero at most). */
static inline float min_ptx(float a, float b) {
    const float z = a == b ? as_f32(as_u32(a) | as_u32(b)) : a < b ? a : b;
    return a != a ? canon(b) : b != b ? a : z;
}
static inline float max_ptx(float a, float b) {
    const float z = a == b ? as_f32(as_u32(a) & as_u32(b)) : a > b ? a : b;
    return a != a ? canon(b) : b != b ? a : z;
}
static inline float nan_if(float a, float b, float z) {
    return a != a || b != b ? as_f32(0x7fffffffu) : z;
}
/* Without a NaN in any lane, which is usual, two selections do: of equal zeros each takes another,
 * and the bits of both make the result. */
static inline bool any_nan(const f32 *a, const f32 *b) {
    Vi odd = {0};
    for (int q = 0; q < ROW_VECTORS; q++) {
        const Vf x = vf_load(a + VLANES * q), y = vf_load(b + VLANES * q);
        odd |= (x != x) | (y != y);
    }
    return v_any(odd);
}
static inline float min_plain(float a, float b) {
    return as_f32(as_u32(a < b ? a : b) | as_u32(b < a ? b : a));
}
static inline float max_plain(float a, float b) {
    return as_f32(as_u32(a > b ? a : b) & as_u32(b > a ? b : a));
}
#define MIN_MAX(name)                                                                              \
    MAP2(name##_odd_f32, f32, f32, f32, name##_ptx(a, b))                                          \
    HANDLER(name##_f32) {                                                                          \
        f32 *const d = ROW(f32, 0);                                                                \
        const f32 *const pa = ROW(f32, 1);                                                         \
        const f32 *const pb = ROW(f32, 2);                                                         \
        if (w->mask != FULL_MASK || any_nan(pa, pb)) return h_##name##_odd_f32(w, r);              \
        IVDEP FOR_LANES d[l] = name##_plain(pa[l], pb[l]);                                         \
        return r + 1;                                                                              \
    }                                                                                              \
    MAP2(name##_ftz_f32, f32, f32, f32, ftz(canon(name##_ptx(ftz(a), ftz(b)))))
MIN_MAX(min)
MIN_MAX(max)
MAP2(min_nan_f32, f32, f32, f32, nan_if(a, b, min_ptx(a, b)))
MAP2(max_nan_f32, f32, f32, f32, nan_if(a, b, max_ptx(a, b)))
MAP2(min_ftz_nan_f32, f32, f32, f32, nan_if(a, b, min_ptx(ftz(a), ftz(b))))
MAP2(max_ftz_nan_f32, f32, f32, f32, nan_if(a, b, max_ptx(ftz(a), ftz(b))))
SCALAR2(min_f64, f64, f64, f64,
        a != a   ? b
        : b != b ? a
        : a == b ? (signbit(a) ? a : b)
        : a < b  ? a
                 : b)
SCALAR2(max_f64, f64, f64, f64,
        a != a   ? b
        : b != b ? a
        : a == b ? (signbit(a) ? b : a)
        : a > b  ? a
                 : b)
/* copysign.f32 d, a, b: the sign of a on the magnitude of b. */
MAP2(copysign_f32, u32, u32, u32, (a & 0x80000000u) | (b & 0x7fffffffu))
MAP2(copysign_f64, u64, u64, u64, (a >> 63 << 63) | (b << 1 >> 1))

/* `a` is the magnitude, INF that of infinity, LEAST that of the least normal number. */
#define TESTP_OF(name, T, type, INF, LEAST, EXPR)                                                  \
    HANDLER(testp_##name##_##type) {                                                               \
        const T inf = INF, least = LEAST, *const pa = ROW(T, 1);                                   \
        u32 bits = 0;                                                                              \
        (void)inf;                                                                                 \
        (void)least;                                                                               \
        FOR_LANES {                                                                                \
            const T a = pa[l] << 1 >> 1;                                                           \
            bits |= (u32)(EXPR) << l;                                                              \
        }                                                                                          \
        PRED(0) = (PRED(0) & ~w->mask) | (bits & w->mask);                                         \
        return r + 1;                                                                              \
    }
#define TESTP(name, EXPR)                                                                          \
    TESTP_OF(name, u32, f32, 0x7f800000u, 0x00800000u, EXPR)                                       \
    TESTP_OF(name, u64, f64, UINT64_C(0x7ff) << 52, UINT64_C(1) << 52, EXPR)
TESTP(finite, a < inf)
TESTP(infinite, a == inf)
TESTP(number, a <= inf)
TESTP(nan, a > inf)
TESTP(normal, a >= least && a < inf)
TESTP(subnormal, a > 0 && a < least)

COMPARE(eq_f32, f32, a == b)
COMPARE(lt_f32, f32, a < b)
COMPARE(le_f32, f32, a <= b)
COMPARE(num_f32, f32, a == a && b == b)
COMPARE(eq_ftz_f32, f32, ftz(a) == ftz(b))
COMPARE(lt_ftz_f32, f32, ftz(a) < ftz(b))
COMPARE(le_ftz_f32, f32, ftz(a) <= ftz(b))
COMPARE(num_ftz_f32, f32, a == a && b == b)
COMPARE(eq_f64, f64, a == b)
COMPARE(lt_f64, f64, a < b)
COMPARE(le_f64, f64, a <= b)
COMPARE(num_f64, f64, a == a && b == b)
MAP1(sat_f32, f32, f32, a > 0.0f ? (a > 1.0f ? 1.0f : a) : 0.0f)
MAP1(sat_f64, f64, f64, a > 0.0 ? (a > 1.0 ? 1.0 : a) : 0.0)
MAP1(ftz_f32, f32, f32, ftz(a))

/* Halves: products of two 11-bit significands are exact in f64, so only the sum of fma can be
 * rounded twice, and then by less than 2^-40 ulp of the half. */
#define PAIR(FN, a, b) (FN(a, b) | FN((a) >> 16, (b) >> 16) << 16)
#define HALF2(name, TYPE, TO, FROM, FN)                                                            \
    static inline u32 name##_##TYPE##_one(u32 a, u32 b) {                                          \
        return FROM(canon(FN(TO(a), TO(b))));                                                      \
    }                                                                                              \
    MAP2(name##_##TYPE, u32, u32, u32, name##_##TYPE##_one(a, b))                                  \
    MAP2(name##_##TYPE##x2, u32, u32, u32, PAIR(name##_##TYPE##_one, a, b))
#define HALVES(name, FN)                                                                           \
    HALF2(name, f16, f16_to_f32, f32_to_f16, FN)                                                   \
    HALF2(name, bf16, bf16_to_f32, f32_to_bf16, FN)
HALVES(add, op_add)
HALVES(sub, op_sub)
HALVES(mul, op_mul)
HALVES(min, min_ptx)
HALVES(max, max_ptx)
static inline float min_nan(float a, float b) {
    return nan_if(a, b, min_ptx(a, b));
}
static inline float max_nan(float a, float b) {
    return nan_if(a, b, max_ptx(a, b));
}
HALVES(min_nan, min_nan)
HALVES(max_nan, max_nan)
static inline u32 fma_f16_one(u32 a, u32 b, u32 c) {
    return f64_to_half((f64)f16_to_f32(a) * f16_to_f32(b) + f16_to_f32(c), 10, 5);
}
static inline u32 fma_bf16_one(u32 a, u32 b, u32 c) {
    return f64_to_half((f64)bf16_to_f32(a) * bf16_to_f32(b) + bf16_to_f32(c), 7, 8);
}
#define HALF3(name)                                                                                \
    MAP3(name, u32, u32, u32, u32, name##_one(a, b, c))                                            \
    MAP3(name##x2, u32, u32, u32, u32,                                                             \
         name##_one(a, b, c) | name##_one(a >> 16, b >> 16, c >> 16) << 16)
HALF3(fma_f16)
HALF3(fma_bf16)
MAP1(neg_h, u32, u32, a ^ 0x8000u)
MAP1(neg_hx2, u32, u32, a ^ 0x80008000u)
MAP1(abs_h, u32, u32, a & 0x7fffu)
MAP1(abs_hx2, u32, u32, a & 0x7fff7fffu)
#define HALF1(name, FN)                                                                            \
    MAP1(name, u32, u32, f32_to_f16(canon(FN(f16_to_f32(a)))))                                     \
    MAP1(name##x2, u32, u32,                                                                       \
         f32_to_f16(canon(FN(f16_to_f32(a)))) | f32_to_f16(canon(FN(f16_to_f32(a >> 16)))) << 16)
HALF1(ex2_f16, exp2_odd)
HALF1(tanh_f16, op_tanh)
#define BF16_1(name, FN)                                                                           \
    static inline u32 name##_one(u32 h) {                                                          \
        return f32_to_bf16(canon(FN(bf16_to_f32(h))));                                             \
    }                                                                                              \
    MAP1(name, u32, u32, name##_one(a))                                                            \
    MAP1(name##x2, u32, u32, name##_one(a) | name##_one(a >> 16) << 16)
static inline float ex2_flushed(float x) {
    return ftz(exp2_odd(ftz(x)));
}
BF16_1(ex2_bf16, ex2_flushed)
BF16_1(tanh_bf16, op_tanh)
#include "softgpu/exec/noise.h"

/* Two f32 of a 64-bit register. */
static inline u64 two_f32(float low, float high) {
    return as_u32(low) | (u64)as_u32(high) << 32;
}
#define FIRST(v)  as_f32((u32)(v))
#define SECOND(v) as_f32((u32)((v) >> 32))
#define KEEP(x)   (x)
#define F32X2(name, FN, FLUSH)                                                                     \
    MAP2(name##_f32x2, u64, u64, u64,                                                              \
         two_f32(FLUSH(canon(FN(FLUSH(FIRST(a)), FLUSH(FIRST(b))))),                               \
                 FLUSH(canon(FN(FLUSH(SECOND(a)), FLUSH(SECOND(b)))))))
F32X2(add, op_add, KEEP)
F32X2(sub, op_sub, KEEP)
F32X2(mul, op_mul, KEEP)
F32X2(add_ftz, op_add, ftz)
F32X2(sub_ftz, op_sub, ftz)
F32X2(mul_ftz, op_mul, ftz)
#define FMA_F32X2(name, FLUSH)                                                                     \
    MAP3(name##_f32x2, u64, u64, u64, u64,                                                         \
         two_f32(FLUSH(canon(fma32(FLUSH(FIRST(a)), FLUSH(FIRST(b)), FLUSH(FIRST(c))))),           \
                 FLUSH(canon(fma32(FLUSH(SECOND(a)), FLUSH(SECOND(b)), FLUSH(SECOND(c)))))))
FMA_F32X2(fma, KEEP)
FMA_F32X2(fma_ftz, ftz)

/* .relu: negative -> +0, NaN -> canonical NaN. The same bits for f16 and bf16. */
static inline u32 relu_one(u32 h, u32 inf) {
    h &= 0xffff;
    return (h & 0x7fff) > inf ? 0x7fff : h & 0x8000 ? 0 : h;
}
MAP1(relu_f16, u32, u32, relu_one(a, r->o[2]))
MAP1(relu_f16x2, u32, u32, relu_one(a, r->o[2]) | relu_one(a >> 16, r->o[2]) << 16)

/* Conversions */
MAP1(f32_s32, f32, s32, a)
MAP1(f32_u32, f32, u32, a)
MAP1(f32_s64, f32, s64, a)
MAP1(f32_u64, f32, u64, a)
MAP1(f64_s32, f64, s32, a)
MAP1(f64_u32, f64, u32, a)
MAP1(f64_s64, f64, s64, a)
MAP1(f64_u64, f64, u64, a)
MAP1(f64_f32, f64, f32, a)
MAP1(f32_f64, f32, f64, canon((f32)a))
MAP1(f32_f16, f32, u32, canon(f16_to_f32(a)))
MAP1(f32_bf16, f32, u32, bf16_to_f32(a))
MAP1(f16_f32, u32, f32, f32_to_f16(a))
MAP1(f16_rz_f32, u32, f32, f32_to_f16_rz(a))
MAP1(bf16_f32, u32, f32, f32_to_bf16(a))
MAP1(bf16_rz_f32, u32, f32, f32_to_bf16_rz(a))
MAP1(f16_f64, u32, f64, f64_to_half(a, 10, 5))
MAP1(bf16_f64, u32, f64, f64_to_half(a, 7, 8))
/* cvt.rn.f16x2.f32 d, a, b: a becomes the high half. */
#ifdef __AVX512F__
/* The same bits by the conversion instruction; its NaNs keep a payload, PTX's do not. */
static inline __m512i to_f16(const f32 *p) {
    const __m512 v = _mm512_loadu_ps((const float *)p);
    const __m512i h = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    return _mm512_mask_mov_epi32(h, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q),
                                 _mm512_set1_epi32(0x7fff));
}
HANDLER(f16x2_f32) {
    for (int q = 0; q < 2; q++) {
        const __m512i high = to_f16(ROW(f32, 1) + 16 * q), low = to_f16(ROW(f32, 2) + 16 * q);
        _mm512_mask_storeu_epi32(ROW(u32, 0) + 16 * q, (__mmask16)(w->mask >> (16 * q)),
                                 _mm512_or_si512(_mm512_slli_epi32(high, 16), low));
    }
    return r + 1;
}
#else
MAP2(f16x2_f32, u32, f32, f32, f32_to_f16(a) << 16 | f32_to_f16(b))
#endif
MAP2(f16x2_rz_f32, u32, f32, f32, f32_to_f16_rz(a) << 16 | f32_to_f16_rz(b))
MAP2(bf16x2_f32, u32, f32, f32, f32_to_bf16(a) << 16 | f32_to_bf16(b))
MAP2(bf16x2_rz_f32, u32, f32, f32, f32_to_bf16_rz(a) << 16 | f32_to_bf16_rz(b))
/* tf32 keeps 10 bits of fraction; rna rounds half away from zero. */
MAP1(tf32_rna, u32, u32, (a & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : (a + 0x1000u) & ~0x1fffu)
MAP1(tf32_rn, u32, u32,
     (a & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : (a + 0xfffu + (a >> 13 & 1)) & ~0x1fffu)

MAP1(tf32_rz, u32, u32, (a & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : a & ~0x1fffu)
/* .relu of tf32 */
MAP1(relu_f32, u32, u32, (a & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : a >> 31 ? 0 : a)

/* Pairs of fp8 (half.h): e4m3x2, e5m2x2. From f32, a becomes the high byte; o[4]: .relu. */
#define FP8_PAIR(name, NARROW, WIDE)                                                               \
    MAP2(name##x2_f32, u32, f32, f32, NARROW(a, r->o[4]) << 8 | NARROW(b, r->o[4]))                \
    MAP1(name##x2_f16x2, u32, u32,                                                                 \
         NARROW(f16_to_f32(a >> 16), r->o[4]) << 8 | NARROW(f16_to_f32(a), r->o[4]))               \
    MAP1(f16x2_##name##x2, u32, u32,                                                               \
         fp8_relu(f32_to_f16(WIDE(a >> 8)), r->o[4]) << 16 |                                       \
             fp8_relu(f32_to_f16(WIDE(a)), r->o[4]))
static inline u32 fp8_relu(u32 h, bool relu) {
    return relu && (h & 0x8000) ? 0 : h;
}
FP8_PAIR(e4m3, f32_to_e4m3, e4m3_to_f32)
FP8_PAIR(e5m2, f32_to_e5m2, e5m2_to_f32)

/* Rounding modes as decode numbers them: 0 nearest even, 1 towards zero, 2 down, 3 up. */
static inline f64 round_mode(f64 v, u32 mode) {
    switch (mode) {
    case 1: return __builtin_trunc(v);
    case 2: return __builtin_floor(v);
    case 3: return __builtin_ceil(v);
    default: return __builtin_nearbyint(v);
    }
}
SCALAR1(round_f32, f32, f32, canon((f32)round_mode(a, r->o[2])))
SCALAR1(round_f64, f64, f64, round_mode(a, r->o[2]))

/* Clamps to the destination's range; NaN gives 0 (PTX ISA 9.7.9.21). Type as in saturate(). */
static inline u64 float_to_int(f64 v, u32 mode, u32 type) {
    v = round_mode(v, mode);
    if (v != v) return 0;
    if (type == 6) return v <= 0 ? 0 : v >= 18446744073709551616.0 ? UINT64_MAX : (u64)v;
    const s64 i = v >= 9223372036854775808.0    ? INT64_MAX
                  : v <= -9223372036854775808.0 ? INT64_MIN
                                                : (s64)v;
    return (u64)saturate(i, false, type);
}
#define TO_INT(name, T)                                                                            \
    HANDLER(name) {                                                                                \
        T a[LANES];                                                                                \
        __builtin_memcpy(a, ROW(T, 1), sizeof a);                                                  \
        const u32 type = r->o[3];                                                                  \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const u64 v = float_to_int((f64)a[l], r->o[2], type);                                  \
            if (type >= 6)                                                                         \
                ROW(u64, 0)[l] = v;                                                                \
            else                                                                                   \
                ROW(u32, 0)[l] = (u32)v;                                                           \
        }                                                                                          \
        return r + 1;                                                                              \
    }
TO_INT(int_f32, f32)
TO_INT(int_f64, f64)
