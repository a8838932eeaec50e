/* Handlers of types below 16 bits, of what modifiers do to halves, and of directed rounding to
 * halves; included by lane.c only.
 *
 * fp6 and fp4 have neither NaN nor infinity: narrowing is .satfinite, and NaN becomes the largest
 * (PTX ISA, cvt). A format: fraction bits, bias, largest magnitude, sign bit. */
typedef struct NarrowFormat {
    int fraction, bias;
    u32 most, sign;
} NarrowFormat;
static const NarrowFormat e2m3 = {3, 1, 0x1f, 0x20}, e3m2 = {2, 3, 0x1f, 0x20},
                          e2m1 = {1, 1, 0x07, 0x08};

/* As f32_to_fp8: subnormals have the least exponent, the sum with 2^23 rounds once. */
static u32 f32_to_narrow(float f, const NarrowFormat *to, bool relu) {
    const u32 u = as_u32(f), sign = u >> 31 ? to->sign : 0, a = u & 0x7fffffffu;
    const int e = (int)(a >> 23) - 127, low = 1 - to->bias, at = e < low ? low : e;
    if (a > 0x7f800000u) return to->most;
    if (relu && sign) return 0;
    if (e > to->bias + 1) return sign | to->most;
    const float n = as_f32(a) * as_f32((u32)(127 + to->fraction - at) << 23) + 8388608.0f;
    const u32 bits = (as_u32(n) & 0x7fffffu) + ((u32)(at - low) << to->fraction);
    return sign | (bits > to->most ? to->most : bits);
}
/* Every value is exact in f16. */
static u32 narrow_to_f16(u32 v, const NarrowFormat *from, bool relu) {
    const u32 mag = v & from->most, field = mag >> from->fraction;
    const u32 fraction = mag & ((1u << from->fraction) - 1);
    const float z = ldexpf((float)(field ? fraction | 1u << from->fraction : fraction),
                           (int)(field ? field : 1) - from->bias - from->fraction);
    if (!(v & from->sign)) return f32_to_f16(z);
    return relu ? 0 : f32_to_f16(z) | 0x8000u;
}
/* Two in 2 * SHIFT bits, the first source in the upper ones; o[4]: .relu. */
#define NARROW_PAIR(name, SHIFT)                                                                   \
    SCALAR2(name##x2_f32, u32, f32, f32,                                                           \
            f32_to_narrow(a, &name, r->o[4]) << SHIFT | f32_to_narrow(b, &name, r->o[4]))          \
    SCALAR1(f16x2_##name##x2, u32, u32,                                                            \
            narrow_to_f16(a >> SHIFT, &name, r->o[4]) << 16 | narrow_to_f16(a, &name, r->o[4]))
NARROW_PAIR(e2m3, 8)
NARROW_PAIR(e3m2, 8)
NARROW_PAIR(e2m1, 4)

/* ue8m0 is an exponent, 2^(v - 127), and 0xff is NaN. The sign is ignored. Up: to the next power of
 * two, but what is not above 2^-127 stays the least; o[4]: up, o[5]: .satfinite. */
static inline u32 to_ue8m0(u32 bits, bool up, bool finite) {
    const u32 a = bits & 0x7fffffffu;
    const bool more = up && (a & 0x7fffffu) && a > 0x400000u && a < 0x7f800000u;
    const u32 e = (a >> 23) + more;
    return finite && e == 255 && a <= 0x7f800000u ? 254 : e;
}
static inline u32 from_ue8m0(u32 v) {
    v &= 0xff;
    return v == 0 ? 0x0040 : v == 255 ? 0x7fff : v << 7;
}
MAP2(ue8m0x2_f32, u32, u32, u32, to_ue8m0(a, r->o[4], r->o[5]) << 8 | to_ue8m0(b, r->o[4], r->o[5]))
MAP1(ue8m0x2_bf16x2, u32, u32,
     to_ue8m0(a & 0xffff0000u, r->o[4], r->o[5]) << 8 | to_ue8m0(a << 16, r->o[4], r->o[5]))
MAP1(bf16x2_ue8m0x2, u32, u32, from_ue8m0(a >> 8) << 16 | from_ue8m0(a))

/* Steps that decode puts around an instruction for its modifiers (decode_float.c,
 * decode_convert.c). .ftz: subnormals become zeros of their sign; .sat: to [0, 1], NaN becomes +0.
 * f16 only. */
#define EACH_HALF(FN, a) (FN(a) | FN((a) >> 16) << 16)
static inline u32 ftz_half(u32 h) {
    return h & 0x7c00 ? h & 0xffff : h & 0x8000;
}
static inline u32 sat_half(u32 h) {
    h &= 0xffff;
    return (h & 0x8000) || h > 0x7c00 ? 0 : h > 0x3c00 ? 0x3c00 : h;
}
MAP1(ftz_f16, u32, u32, ftz_half(a))
MAP1(ftz_f16x2, u32, u32, EACH_HALF(ftz_half, a))
MAP1(sat_f16, u32, u32, sat_half(a))
MAP1(sat_f16x2, u32, u32, EACH_HALF(sat_half, a))
/* .satfinite: infinity becomes the largest finite number; o[2]: infinity's bits, o[3]: the step
 * from the largest to it. */
static inline u32 finite_one(u32 v, u32 width, u32 inf, u32 less) {
    const u32 sign = 1u << (width - 1), all = sign | (sign - 1);
    return (v & (sign - 1)) == inf ? (v & all) - less : v & all;
}
MAP1(satfinite_h, u32, u32, finite_one(a, 16, r->o[2], 1))
MAP1(satfinite_hx2, u32, u32,
     finite_one(a, 16, r->o[2], 1) | finite_one(a >> 16, 16, r->o[2], 1) << 16)
MAP1(satfinite_tf32, u32, u32, finite_one(a, 32, 0x7f800000u, 0x2000))

/* .xorsign: d takes the sign of a ^ b; a NaN (above o[4]) is canonical already. */
static inline u32 xorsign_one(u32 m, u32 a, u32 b, u32 inf, u32 sign) {
    return (m & (sign - 1)) > inf ? m : (m & (sign - 1)) | ((a ^ b) & sign);
}
MAP3(xorsign_f32, u32, u32, u32, u32, xorsign_one(a, b, c, 0x7f800000u, 0x80000000u))
MAP3(xorsign_h, u32, u32, u32, u32, xorsign_one(a & 0xffff, b, c, r->o[4], 0x8000))
MAP3(xorsign_hx2, u32, u32, u32, u32,
     xorsign_one(a & 0xffff, b, c, r->o[4], 0x8000) |
         xorsign_one(a >> 16, b >> 16, c >> 16, r->o[4], 0x8000) << 16)

/* f64 to a half in a directed mode (o[2], as round_mode); o[3]: bf16. What is beyond the largest is
 * infinite when it is rounded away from zero, else the largest. */
static u32 f64_to_half_directed(f64 v, u32 mode, int fraction, int exponent) {
    const int bias = (1 << (exponent - 1)) - 1, lowest = 1 - bias;
    const u32 inf = ((1u << exponent) - 1) << fraction, sign = signbit(v) ? 0x8000u : 0;
    const bool away = mode == (sign ? 2u : 3u);
    const f64 a = fabs(v);
    if (v != v) return 0x7fff;
    if (a == 0) return sign;
    if (isinf(a)) return sign | inf;
    int e = 0;
    (void)frexp(a, &e);
    e = e - 1 < lowest ? lowest : e - 1;
    if (e > bias) return sign | (away ? inf : inf - 1);
    const f64 scaled = ldexp(a, fraction - e); /* at least 2^-1000: never an f64 subnormal's */
    const u32 unit = (u32)(away ? ceil(scaled) : floor(scaled));
    return sign | (unit + ((u32)(e - lowest) << fraction));
}
SCALAR1(half_directed, u32, f64,
        r->o[3] ? f64_to_half_directed(a, r->o[2], 7, 8) : f64_to_half_directed(a, r->o[2], 10, 5))
/* 64-bit integers to f64 rounded to odd, which a half then rounds right; o[2]: unsigned. */
static f64 s64_to_odd(u64 bits, bool is_unsigned) {
    const bool minus = !is_unsigned && (s64)bits < 0;
    u64 mag = minus ? 0 - bits : bits;
    if (mag >> 53) mag = (mag & ~UINT64_C(0x7ff)) | (mag & 0x7ff ? 0x800 : 0);
    return minus ? -(f64)mag : (f64)mag;
}
SCALAR1(f64_odd, f64, u64, s64_to_odd(a, r->o[2]))

/* fns: the |n|-th set bit of the mask from the base on, upwards for n > 0, downwards for n < 0; for
 * n = 0 the base itself if it is set; 0xffffffff when there is none (PTX ISA, fns). */
static u32 find_nth(u32 mask, u32 base, s32 n) {
    const s32 step = n < 0 ? -1 : 1;
    s32 count = 0;
    if (n == 0) return base < 32 && mask >> base & 1 ? base : UINT32_MAX;
    for (s64 at = base; at >= 0 && at < 32; at += step) {
        count += mask >> at & 1;
        if (count == (n < 0 ? -(s64)n : n)) return (u32)at;
    }
    return UINT32_MAX;
}
HANDLER(fns_b32) {
    for (int l = 0; l < LANES; l++)
        if (w->mask >> l & 1)
            ROW(u32, 0)[l] = find_nth(ROW(u32, 1)[l], ROW(u32, 2)[l], ROW(s32, 3)[l]);
    return r + 1;
}
