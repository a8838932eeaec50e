/* The approximate functions with noise (SOFTGPU_APPROX=noise), in f32, f16 and bf16: another value
 * that the PTX ISA allows for these operands, the same each time for the same operands; included
 * by lane_float.h only. Zeros, subnormal results, infinities and NaN stay. */

/* What the ISA allows (9.7.3, 9.7.4): the largest of these holds. */
typedef struct Bound {
    f64 relative, absolute, ulps;
} Bound;
#define RELATIVE(x) ((Bound){.relative = (x)})
#define ABSOLUTE(x) ((Bound){.absolute = (x)})
#define ULPS(x)     ((Bound){.ulps = (x)})

/* Least normal exponent and fraction bits. */
typedef struct Format {
    int least, fraction;
} Format;

static inline f64 two_to(int e) { /* normal doubles only */
    const u64 bits = (u64)(e + 1023) << 52;
    f64 z;
    __builtin_memcpy(&z, &bits, 8);
    return z;
}
/* The unit in the last place of a number of the format; `x` is at least its least normal. */
static f64 unit_of(f64 x, Format format) {
    u64 bits;
    __builtin_memcpy(&bits, &x, 8);
    return two_to((int)(bits >> 52 & 0x7ff) - 1023 - format.fraction);
}
/* From -1 to 1. */
static f64 hashed(u64 key) {
    key ^= key >> 33;
    key *= UINT64_C(0xff51afd7ed558ccd);
    key ^= key >> 33;
    key *= UINT64_C(0xc4ceb9fe1a85ec53);
    return (f64)(s64)(key ^ key >> 33) * 0x1p-63;
}

/* Another value of the format in place of `x`, which is exact; `x` itself, not rounded, where none
 * is allowed. Rounding moves the result by half a unit, so that much less is added. */
static f64 noisy(f64 x, u64 key, Bound b, Format format) {
    const f64 most = two_to(1 - format.least), a = fabs(x);
    if (!(a >= two_to(format.least) && a < most)) return x;
    const f64 unit = unit_of(x, format);
    f64 bound = b.relative * a > b.absolute ? b.relative * a : b.absolute;
    if (b.ulps * unit > bound) bound = b.ulps * unit;
    const f64 z = x + hashed(key) * (bound - unit / 2);
    if (!(fabs(z) >= two_to(format.least))) return x;
    const f64 last = unit_of(z, format), rounded = nearbyint(z / last) * last;
    return fabs(rounded - x) <= bound && fabs(rounded) < most ? rounded : x;
}

enum { NOISE_f32, NOISE_f16, NOISE_bf16 };
static const Format formats[] = {{-126, 23}, {-14, 10}, {-126, 7}};

#define NOISE_F32_OF(name, FN, BOUND)                                                              \
    SCALAR1(noise_##name##_f32, f32, f32,                                                          \
            canon((f32)noisy(FN((f64)a), as_u32(a), BOUND, formats[NOISE_f32])))                   \
    SCALAR1(noise_##name##_ftz_f32, f32, f32,                                                      \
            ftz(canon((f32)noisy(FN((f64)ftz(a)), as_u32(ftz(a)), BOUND, formats[NOISE_f32]))))
#define RCP(x)   (1.0 / (x))
#define RSQRT(x) (1.0 / __builtin_sqrt(x))
#define LG2      ((Bound){.relative = 0x1p-22, .absolute = 0x1p-22})
NOISE_F32_OF(rcp, RCP, ULPS(1))
NOISE_F32_OF(sqrt, __builtin_sqrt, RELATIVE(0x1p-23))
NOISE_F32_OF(rsqrt, RSQRT, RELATIVE(0x1.125fbee25p-23)) /* 2^-22.9 */
NOISE_F32_OF(sin, sin, ABSOLUTE(0x1.6a09e667fp-21))     /* 2^-20.5 */
NOISE_F32_OF(cos, cos, ABSOLUTE(0x1.6a09e667fp-21))
NOISE_F32_OF(lg2, log2, LG2)
NOISE_F32_OF(ex2, exp2, ULPS(2))
NOISE_F32_OF(tanh, tanh, RELATIVE(0x1p-11))

static inline f64 quotient(f32 a, f32 b) {
    const u64 key = (u64)as_u32(a) << 32 | as_u32(b);
    return noisy((f64)a / (f64)b, key, ULPS(2), formats[NOISE_f32]);
}
SCALAR2(noise_div_f32, f32, f32, f32, canon((f32)quotient(a, b)))
SCALAR2(noise_div_ftz_f32, f32, f32, f32, ftz(canon((f32)quotient(ftz(a), ftz(b)))))

static inline f64 exp2_no_subnormal(f64 x) { /* .ftz of bf16, whose operands have f32's range */
    const f64 z = exp2((f64)ftz((f32)x));
    return z < 0x1p-126 ? 0 : z;
}
#define NOISE_HALF(name, FN, TYPE, TO, EXPONENT, BOUND)                                            \
    static u32 noise_##name##_##TYPE##_one(u32 h) {                                                \
        const Format format = formats[NOISE_##TYPE];                                               \
        const f64 z = noisy(FN((f64)TO(h)), h & 0xffff, BOUND, format);                            \
        return f64_to_half(z, format.fraction, EXPONENT);                                          \
    }                                                                                              \
    SCALAR1(noise_##name##_##TYPE, u32, u32, noise_##name##_##TYPE##_one(a))                       \
    SCALAR1(noise_##name##_##TYPE##x2, u32, u32,                                                   \
            noise_##name##_##TYPE##_one(a) | noise_##name##_##TYPE##_one(a >> 16) << 16)
NOISE_HALF(tanh, tanh, f16, f16_to_f32, 5, ABSOLUTE(0x1.02513p-11)) /* 2^-10.987 */
NOISE_HALF(tanh, tanh, bf16, bf16_to_f32, 8, ABSOLUTE(0x1p-8))
NOISE_HALF(ex2, exp2, f16, f16_to_f32, 5, RELATIVE(0x1.125fbp-10)) /* 2^-9.9 */
NOISE_HALF(ex2, exp2_no_subnormal, bf16, bf16_to_f32, 8, RELATIVE(0x1p-7))
