/* mma.sync of any floating-point type from raw fragments: the tensor cores' own arithmetic
 * (SOFTGPU_MMA=exact), and fp8 in plain f32; included by tensor.c only.
 *
 * The adder is not in the ISA; it was measured and published (MMA-Sim; Fasi et al., PeerJ CS 2021;
 * Khattak and Mikaitis, arXiv 2512.07004): products are exact and not normalised; all terms, C
 * among them, are aligned to the largest exponent, cut to F fraction bits and added exactly; the
 * sum is cut to f32 or rounded to f16, and a zero is +0. Turing: F = 24 over the whole K; Ampere
 * and Ada: F = 24, K in two halves one after the other; Hopper and later: F = 25, whole K. fp8 on
 * Ada: F = 13 and an f32 of 13 fraction bits.
 *
 * Record as in mma.h; o[4] bits 0..6: MX_* (decode_matrix.c writes them); fp8 of k 16 has no second
 * register of B: o[9] is NO_ROW. */

/* Vectors of 64 bytes pass between static functions only, so their ABI does not matter. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { MX_F16, MX_BF16, MX_TF32, MX_FP8, MX_TYPE = 3 };
enum {
    MX_WIDE = 4,     /* k 16 of halves, 8 of tf32 */
    MX_A_E5M2 = 4,   /* fp8 */
    MX_B_E5M2 = 8,   /* fp8 */
    MX_ACC_F16 = 16, /* D and C are f16 */
    MX_UNIT = 5,     /* shift: 0 Turing, 1 Ampere, 2 Hopper, 3 fp8 of Ada */
};
enum { MX_K = 32, MX_LANES = 16 };

typedef struct Format {
    int fraction, exponent, bias;
    u32 nan; /* magnitudes from here on are NaN or infinity */
} Format;
static const Format formats[] = {{10, 5, 15, 0x7c00},
                                 {7, 8, 127, 0x7f80},
                                 {10, 8, 127, 0x3fc00},
                                 {3, 4, 7, 0x7f},
                                 {2, 5, 15, 0x7c}};

typedef struct RawMma {
    u32 a[16][MX_K], b[MX_K][8]; /* bits of the type */
    u32 c[16][8];                /* bits of f32 or f16 */
    int k;
    const Format *fa, *fb;
    bool acc_f16;
} RawMma;

/* Elements of one register of A or B: `n` of 32 / n bits, ascending k from the lowest bits. A
 * register of 4 lanes per row holds 4 n values of k. */
static inline u32 piece(u32 v, int n, int e) {
    return n == 1 ? v >> 13 : n == 2 ? v >> (16 * e) & 0xffff : v >> (8 * e) & 0xff;
}

/* n: values per register, a constant where it is inlined */
static inline __attribute__((always_inline)) void load_values(const Warp *w, const Rec *r,
                                                              RawMma *m, const int n) {
    const u32 flags = r->o[4] & 127, type = flags & MX_TYPE;
    const bool two = type == MX_FP8 ? r->o[9] != NO_ROW : (flags & MX_WIDE) != 0;
    const int regs_b = two ? 2 : 1, regs_a = 2 * regs_b;
    m->k = 4 * n * regs_b;
    m->fa = &formats[type == MX_FP8 ? (flags & MX_A_E5M2 ? 4 : 3) : type];
    m->fb = &formats[type == MX_FP8 ? (flags & MX_B_E5M2 ? 4 : 3) : type];
    m->acc_f16 = flags & MX_ACC_F16;
    for (int i = 0; i < regs_a; i++) {
        const u32 *const p = (const u32 *)(w->regs + (r->o[4 + i] & ~127u));
        FOR_LANES for (int e = 0; e < n; e++)
            m->a[(l >> 2) + 8 * (i & 1)][4 * n * (i >> 1) + n * (l & 3) + e] = piece(p[l], n, e);
    }
    for (int i = 0; i < regs_b; i++) {
        const u32 *const p = ROW(u32, 8 + i);
        FOR_LANES for (int e = 0; e < n; e++) m->b[4 * n * i + n * (l & 3) + e][l >> 2] =
            piece(p[l], n, e);
    }
    for (int i = 0; i < 4; i++) FOR_LANES {
            const int row = (l >> 2) + 8 * (i >> 1), col = 2 * (l & 3) + (i & 1);
            m->c[row][col] = m->acc_f16 ? ROW(u32, 10 + (i >> 1))[l] >> (16 * (i & 1)) & 0xffff
                                        : ROW(u32, 10 + i)[l];
        }
}

static void load_raw(const Warp *w, const Rec *r, RawMma *m) {
    switch (r->o[4] & MX_TYPE) {
    case MX_TF32: load_values(w, r, m, 1); break;
    case MX_FP8: load_values(w, r, m, 4); break;
    default: load_values(w, r, m, 2); break;
    }
}

static void store_raw(Warp *w, const Rec *r, const RawMma *m) {
    for (int i = 0; i < (m->acc_f16 ? 2 : 4); i++) FOR_LANES {
            const int row = (l >> 2) + 8 * (m->acc_f16 ? i : i >> 1), col = 2 * (l & 3);
            ROW(u32, i)
            [l] = m->acc_f16 ? m->c[row][col] | m->c[row][col + 1] << 16 : m->c[row][col + (i & 1)];
        }
}

static f64 raw_value(u32 v, const Format *f) {
    const u32 mag = v & ((1u << (f->fraction + f->exponent)) - 1);
    const bool minus = v >> (f->fraction + f->exponent) & 1;
    if (mag >= f->nan) {
        const bool infinite = mag == f->nan && f->exponent != 4; /* e4m3 has none */
        return infinite ? (minus ? -HUGE_VAL : HUGE_VAL) : (f64)as_f32(0x7fffffffu);
    }
    const int e = (int)(mag >> f->fraction);
    const u32 fraction = mag & ((1u << f->fraction) - 1);
    const f64 z = ldexp((f64)(e ? fraction | 1u << f->fraction : fraction),
                        (e ? e : 1) - f->bias - f->fraction);
    return minus ? -z : z;
}
static f64 raw_c(const RawMma *m, int row, int col) {
    return m->acc_f16 ? (f64)f16_to_f32(m->c[row][col]) : (f64)as_f32(m->c[row][col]);
}

/* 16 outputs at a time: rows 2p and 2p + 1 by 8 columns. Plain types here: s32 may alias, which
 * keeps compilers from making vectors. */
typedef int32_t X16 __attribute__((vector_size(64)));
typedef double D16 __attribute__((vector_size(128)));

typedef struct SplitMma {
    X16 sa[8][MX_K], ea[8][MX_K], sb[MX_K], eb[MX_K];
} SplitMma;

/* Signed significands and exponents of n values; the exponent of a subnormal is that of the least
 * normal, of a zero -126. Returns whether NaN or infinity was met. */
static inline bool split_values(const u32 *values, int n, const Format *format, int32_t *restrict s,
                                int32_t *restrict exponent) {
    const int fraction = format->fraction, sign = fraction + format->exponent;
    const int bias = format->bias, nan = (int)format->nan;
    const uint32_t *const v = (const uint32_t *)values;
    int special = 0;
    IVDEP for (int i = 0; i < n; i++) {
        const int mag = (int)(v[i] & ((1u << sign) - 1)), e = mag >> fraction;
        const int m = (mag & ((1 << fraction) - 1)) | (e ? 1 << fraction : 0);
        exponent[i] = mag ? (e ? e : 1) - bias : -126;
        s[i] = v[i] >> sign & 1 ? -m : m;
        special |= mag >= nan;
    }
    return special;
}

static inline X16 two_rows(int32_t low, int32_t high) {
    const X16 zero = {0}, upper = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
    return ((zero + low) & ~upper) | ((zero + high) & upper); /* two broadcasts and a blend */
}

static bool split_ab(const RawMma *m, SplitMma *s) {
    bool special = false;
    for (int pair = 0; pair < 8; pair++) {
        int32_t v[2][MX_K], e[2][MX_K];
        for (int h = 0; h < 2; h++)
            special |= split_values(m->a[2 * pair + h], m->k, m->fa, v[h], e[h]);
        for (int k = 0; k < m->k; k++) {
            s->sa[pair][k] = two_rows(v[0][k], v[1][k]);
            s->ea[pair][k] = two_rows(e[0][k], e[1][k]);
        }
    }
    for (int k = 0; k < m->k; k++) {
        int32_t v[MX_LANES], e[MX_LANES];
        special |= split_values(m->b[k], 8, m->fb, v, e);
        __builtin_memcpy(v + 8, v, 32);
        __builtin_memcpy(e + 8, e, 32);
        __builtin_memcpy(&s->sb[k], v, 64);
        __builtin_memcpy(&s->eb[k], e, 64);
    }
    return special;
}

/* Towards zero; shifts of 31 and more leave nothing, as magnitudes are below 2^31. */
static inline X16 cut(X16 v, X16 right) {
    const X16 sign = v >> 31, mag = (v ^ sign) - sign, big = right > 31;
    return ((mag >> ((right & ~big) | (31 & big))) ^ sign) - sign;
}

/* Cut to f32; `keep` masks fraction bits. What reaches 2^128 is infinite. */
static inline void f32_cut(const double *v, uint32_t keep, uint32_t *restrict out) {
    IVDEP for (int j = 0; j < MX_LANES; j++) {
        const float f = (float)v[j];
        uint32_t u;
        __builtin_memcpy(&u, &f, 4);
        const double a = __builtin_fabs(v[j]), b = (double)__builtin_fabsf(f);
        const uint32_t down = (b > a) & (a < 0x1p128);
        const uint32_t z = (u & 0x80000000u) | (((u & 0x7fffffffu) - down) & keep);
        out[j] = (z & 0x7fffffffu) ? z : 0;
    }
}

/* Terms [first, last) of k and C, for one pair of rows; the result replaces C. */
static void fused_sum(RawMma *m, const SplitMma *s, int pair, int first, int last, int unit) {
    static const Format f32_format = {23, 8, 127, 0x7f800000u};
    const int F = unit == 2 ? 25 : unit == 3 ? 13 : 24;
    const int up = F - m->fa->fraction - m->fb->fraction;
    const Format *const cf = m->acc_f16 ? &formats[MX_F16] : &f32_format;
    int32_t c_sig[MX_LANES], c_exp[MX_LANES];
    X16 sc, ec;
    (void)split_values(m->c[2 * pair], MX_LANES, cf, c_sig, c_exp); /* two rows of 8 lie together */
    __builtin_memcpy(&sc, c_sig, 64);
    __builtin_memcpy(&ec, c_exp, 64);
    X16 most = ec;
    for (int k = first; k < last; k++) {
        const X16 e = s->ea[pair][k] + s->eb[k], more = e > most;
        most = (e & more) | (most & ~more);
    }
    const int left = F - cf->fraction;
    D16 sum = __builtin_convertvector(
        left >= 0 ? cut(sc * (1 << left), most - ec) : cut(sc, most - ec - left), D16);
    for (int k8 = first; k8 < last; k8 += 8) { /* 8 terms below 2^(F + 2) fit 32 bits */
        X16 part = {0};
        for (int k = k8; k < k8 + 8 && k < last; k++)
            part += cut(s->sa[pair][k] * s->sb[k] * (1 << up), most - s->ea[pair][k] - s->eb[k]);
        sum += __builtin_convertvector(part, D16);
    }
    double v[MX_LANES];
    int32_t e[MX_LANES];
    __builtin_memcpy(v, &sum, sizeof v);
    __builtin_memcpy(e, &most, sizeof e);
    IVDEP for (int j = 0; j < MX_LANES; j++) {
        const int64_t bits = (int64_t)(e[j] - F + 1023) << 52;
        double power;
        __builtin_memcpy(&power, &bits, 8);
        v[j] *= power;
    }
    uint32_t out[MX_LANES];
    if (m->acc_f16)
        for (int j = 0; j < MX_LANES; j++) {
            const u32 h = f64_to_half(v[j], 10, 5);
            out[j] = h == 0x8000 ? 0 : h;
        }
    else
        f32_cut(v, unit == 3 ? 0x7ffffc00u : 0x7fffffffu, out);
    __builtin_memcpy(m->c[2 * pair], out, sizeof out);
}

/* Is the exact sum NaN or infinite? Then *out is the result. */
static bool special_sum(const RawMma *m, int row, int col, int first, int last, u32 *out) {
    f64 v = raw_c(m, row, col);
    for (int k = first; k < last; k++)
        v += raw_value(m->a[row][k], m->fa) * raw_value(m->b[k][col], m->fb);
    if (v == v && __builtin_fabs(v) < HUGE_VAL) return false;
    const u32 inf =
        (m->acc_f16 ? 0x7c00u : 0x7f800000u) | (v < 0 ? (m->acc_f16 ? 0x8000u : 0x80000000u) : 0);
    *out = v == v ? inf : m->acc_f16 ? 0x7fffu : 0x7fffffffu;
    return true;
}

static void exact_part(RawMma *m, const SplitMma *s, int first, int last, int unit, bool special) {
    for (int pair = 0; pair < 8; pair++) {
        u32 odd[2][8], set[2] = {0}, infinite = 0;
        const uint32_t *const c16 = (const uint32_t *)m->c[2 * pair];
        const uint32_t top = m->acc_f16 ? 0x7c00 : 0x7f800000;
        for (int j = 0; j < MX_LANES; j++) infinite |= (c16[j] & top) == top;
        for (int h = 0; (special || infinite) && h < 2; h++)
            for (int col = 0; col < 8; col++) {
                const u32 c = m->c[2 * pair + h][col], inf = m->acc_f16 ? 0x7c00 : 0x7f800000;
                if ((special || (c & inf) == inf) &&
                    special_sum(m, 2 * pair + h, col, first, last, &odd[h][col]))
                    set[h] |= 1u << col;
            }
        fused_sum(m, s, pair, first, last, unit);
        for (int h = 0; h < 2; h++)
            for (int col = 0; set[h] && col < 8; col++)
                if (set[h] >> col & 1) m->c[2 * pair + h][col] = odd[h][col];
    }
}

#include "softgpu/exec/mma_fused.h"

/* Whatever the operands are. */
static void mma_general(Warp *w, const Rec *r, int unit, bool halves) {
    RawMma m;
    SplitMma s;
    load_raw(w, r, &m);
    const bool special = split_ab(&m, &s);
    exact_part(&m, &s, 0, halves ? m.k / 2 : m.k, unit, special);
    if (halves) exact_part(&m, &s, m.k / 2, m.k, unit, special);
    store_raw(w, r, &m);
}

static void mma_by_rule(Warp *w, const Rec *r) {
    const u32 flags = r->o[4] & 127, type = flags & MX_TYPE;
    const int unit = (int)(flags >> MX_UNIT & 3);
    const bool f16 = flags & MX_ACC_F16;
    const bool wide = type == MX_FP8 ? r->o[9] != NO_ROW : (flags & MX_WIDE) != 0;
    const int blocks = wide ? 2 : 1;
    /* Ampere and Ada halve k16, tf32 k8 and fp8 k32, not the shapes of half that depth. */
    const bool halves = (unit & 1) && wide;
    const MmaType ta = flags & MX_A_E5M2 ? MT_E5M2 : MT_E4M3;
    const MmaType tb = flags & MX_B_E5M2 ? MT_E5M2 : MT_E4M3;
    bool done = false;
    switch (type) {
    case MX_F16: done = mma_fused(w, r, MT_F16, MT_F16, blocks, unit, halves, f16); break;
    case MX_BF16: done = mma_fused(w, r, MT_BF16, MT_BF16, blocks, unit, halves, false); break;
    case MX_TF32: done = mma_fused(w, r, MT_TF32, MT_TF32, blocks, unit, halves, false); break;
    default: done = mma_fused(w, r, ta, tb, blocks, unit, halves, f16); break;
    }
    if (!done) mma_general(w, r, unit, halves);
}
MMA(mma_exact, mma_by_rule(w, r))

/* fp8 without the rule, as in mma.h. */
static void mma_fp8_fast(Warp *w, const Rec *r) {
    const int blocks = r->o[9] == NO_ROW ? 1 : 2;
    const bool f16 = r->o[4] & MX_ACC_F16;
    switch (r->o[4] & (MX_A_E5M2 | MX_B_E5M2)) {
    case 0: mma_float(w, r, MT_E4M3, MT_E4M3, blocks, f16); break;
    case MX_A_E5M2: mma_float(w, r, MT_E5M2, MT_E4M3, blocks, f16); break;
    case MX_B_E5M2: mma_float(w, r, MT_E4M3, MT_E5M2, blocks, f16); break;
    default: mma_float(w, r, MT_E5M2, MT_E5M2, blocks, f16); break;
    }
}
MMA(mma_fp8, mma_fp8_fast(w, r))

/* f64: lane 4g + t holds of A register j (g + 8 (j & 1), t + 4 (j >> 1)), of B (t + 4j, g), of C
 * and D as in mma.h; m8n8k4 has the upper rows only. Sums are fused multiply-adds by ascending k.
 */
static void mma_double(Warp *w, const Rec *r, int rows, int k_count) {
    f64 d[4][LANES];
    const int halves = rows / 8;
    for (int i = 0; i < 2 * halves; i++) FOR_LANES {
            f64 v = ROW(f64, 10 + i)[l];
            for (int k = 0; k < k_count; k++) {
                const f64 *const a = ROW(f64, 4 + (i >> 1) + 2 * (k >> 2));
                const f64 *const b = ROW(f64, 8 + (k >> 2));
                v = fma(a[(l & ~3) + (k & 3)], b[4 * (2 * (l & 3) + (i & 1)) + (k & 3)], v);
            }
            d[i][l] = v;
        }
    for (int i = 0; i < 2 * halves; i++) __builtin_memcpy(ROW(f64, i), d[i], sizeof d[i]);
}
MMA(mma_f64_k4, mma_double(w, r, 8, 4))
MMA(mma_f64_m16k4, mma_double(w, r, 16, 4))
MMA(mma_f64_m16k8, mma_double(w, r, 16, 8))
