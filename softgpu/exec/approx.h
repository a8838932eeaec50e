/* The approximate functions of f32, computed in double and rounded once: 2^x is correctly rounded
 * whatever x, the others but for inputs whose exact value lies within double's error (about 2^-52)
 * of the middle of two floats. Included by lane_float.h only.
 *
 * 2^x is hot in attention: a polynomial good to 2^-40 decides nearly all lanes, and those that it
 * leaves open (one in 2^14, and subnormal results) are done again with 2^-57. As what is decided
 * is right, it may be fused or not: every instruction set gives the same bits. */
#ifdef __FMA__
#define APPROX_FMA(a, b, c) __builtin_fma(a, b, c)
#else
#define APPROX_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* 2^f, |f| <= 1/2: minimax, relative error 7.8e-13. */
static inline f64 exp2_fast(f64 f) {
    f64 p = 0x1.61b01d9746771p-20;
    p = APPROX_FMA(p, f, 0x1.00dad213ed78dp-16);
    p = APPROX_FMA(p, f, 0x1.430acc5c8ebe2p-13);
    p = APPROX_FMA(p, f, 0x1.5d874838bf555p-10);
    p = APPROX_FMA(p, f, 0x1.3b2ab5c54cdd4p-7);
    p = APPROX_FMA(p, f, 0x1.c6b08dd46cdb0p-5);
    p = APPROX_FMA(p, f, 0x1.ebfbdff9318d3p-3);
    p = APPROX_FMA(p, f, 0x1.62e42fef86162p-1);
    return APPROX_FMA(p, f, 0x1.ffffffffff7a3p-1);
}

/* 2^f as the sum of a double and a small rest: 1 + f L + (f ln 2 - f L) + the rest of the series,
 * where L holds 29 bits of ln 2, so that f L is exact. */
static inline f64 exp2_slow(f64 f, f64 *rest) {
    const f64 most = 0x1.62e42ffp-1, least = -0x1.718432a1b0e26p-35;
    const f64 t = f * 0x1.62e42fefa39efp-1;
    f64 p = 0;
    for (int k = 16; k >= 2; k--) p = p * t / (k + 1) + 1; /* 1 + t/3 (1 + t/4 (...)) */
    const f64 a = f * most, b = f * least + t * t * 0.5 * p, s = 1 + a;
    const f64 low = (a - (s - 1)) + b, sum = s + low;
    *rest = low - (sum - s);
    return sum;
}
/* The correctly rounded 2^x, whatever x. */
static __attribute__((noinline)) f32 exp2_decided(f32 x) {
    if (x != x) return as_f32(0x7fffffffu);
    if (x >= 128) return __builtin_inff();
    if (x < -151) return 0;
    const f64 n = (f64)(s32)(x < 0 ? x - 0.5f : x + 0.5f), f = (f64)x - n;
    f64 rest;
    const f64 sum = exp2_slow(f, &rest), scale = ldexp(1, (s32)n), z = sum * scale;
    const f32 near = (f32)z;
    /* The middle of two floats, as which a sum with a rest rounds: the rest decides. */
    const f64 back = near, other = 2 * z - back;
    if (back != z && (f64)(f32)other == other && rest != 0)
        return (rest > 0) == (other > back) ? (f32)other : near;
    return near;
}

enum { EXP2_OPEN = 1 << 14 }; /* in units of a double of [1/2, 1) */

/* 2^x of a row; bit l of the result: lane l is left open. */
static inline u32 exp2_row(const f32 *x_row, f32 *z_row, bool flush) {
    const f32 magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    u32 open[LANES];
    IVDEP FOR_LANES {
        const f32 x = flush ? ftz(x_row[l]) : x_row[l];
        const f32 d = x < 160.0f ? x : 160.0f, c = d > -160.0f ? d : -160.0f; /* no NaN */
        const f32 n = (c + magic) - magic, f = c - n;
        const f64 p = exp2_fast((f64)f);
        u64 bits;
        __builtin_memcpy(&bits, &p, 8);
        /* the 29 bits below an f32's, around their middle */
        const u32 tail = ((u32)bits + EXP2_OPEN - (1u << 28)) & 0x1fffffffu;
        const s32 i = (s32)(as_u32(c + magic) & 0x7fffff) - 0x400000, h = i >> 1; /* n, halved */
        const f32 z = (f32)p * as_f32((u32)(h + 127) << 23) * as_f32((u32)(i - h + 127) << 23);
        open[l] = (tail < 2 * EXP2_OPEN) | (!flush & (c < -126.0f) & (c > -151.0f));
        z_row[l] = x != x ? as_f32(0x7fffffffu) : flush ? ftz(z) : z;
    }
    u32 any = 0;
    FOR_LANES any |= open[l] << l;
    return any;
}
/* The lanes that exp2_row left open. */
static __attribute__((noinline)) void exp2_close(const f32 *x_row, f32 *z_row, u32 open,
                                                 bool flush) {
    for (; open; open &= open - 1) {
        const int l = __builtin_ctz(open);
        const f32 z = exp2_decided(flush ? ftz(x_row[l]) : x_row[l]);
        z_row[l] = flush ? ftz(z) : z;
    }
}

/* 2^x rounded to odd, from which halves are rounded right: nearest would round twice. */
static inline f32 exp2_odd(f32 x) {
    const f32 magic = 12582912.0f;
    const f32 d = x < 160.0f ? x : 160.0f, c = d > -160.0f ? d : -160.0f;
    const f32 n = (c + magic) - magic;
    const f64 p = exp2_fast((f64)(c - n));
    const f32 near = (f32)p;
    const f64 back = (f64)near;
    const u32 bits = as_u32(near), beside = back < p ? bits + 1 : bits - 1;
    const f32 odd = as_f32(back == p || (bits & 1) ? bits : beside);
    const s32 i = (s32)(as_u32(c + magic) & 0x7fffff) - 0x400000, h = i >> 1;
    const f32 z = odd * as_f32((u32)(h + 127) << 23) * as_f32((u32)(i - h + 127) << 23);
    return x != x ? as_f32(0x7fffffffu) : z;
}
