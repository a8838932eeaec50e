/* mma.sync; included by tensor.c only. Record: o[0..3] D, o[4..7] A, o[8..9] B, o[10..13] C.
 *
 * Lane 4g + t holds of D and C (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1): register 2h + e
 * is row g + 8h, column 2t + e. Products are exact in f32, sums run in f32 by ascending k: closer
 * to the exact value than the tensor cores' truncating adder (not in the ISA), within its bounds.
 */

typedef struct Fragments {
    float a[16][16]; /* (row, k) */
    float b[16][8];  /* (k, column) */
    float c[16][8];
} Fragments;

static void load_c(const Warp *w, const Rec *r, Fragments *f) {
    for (int i = 0; i < 4; i++) {
        const f32 *const p = ROW(f32, 10 + i);
        FOR_LANES f->c[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)] = p[l];
    }
}
static void store_d(Warp *w, const Rec *r, const Fragments *f) {
    for (int i = 0; i < 4; i++) {
        f32 *const p = ROW(f32, i);
        FOR_LANES p[l] = canon_nan(f->c[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)]);
    }
}
#ifdef __FMA__
static bool products_are_exact(const Fragments *f, int k_count) {
    (void)f;
    (void)k_count;
    return false; /* no need to know */
}
#else
/* Least and largest exponent fields of n values, zeros apart; NaN and infinity have 255. */
static void exponents(const float *v, int n, int *least, int *most) {
    for (int i = 0; i < n; i++) {
        const u32 u = as_u32(v[i]) & 0x7fffffffu;
        const int e = (int)(u >> 23), low = u ? e : 127;
        *least = low < *least ? low : *least;
        *most = e > *most ? e : *most;
    }
}
/* Is every product, of at most 22 bits, a normal f32 with room for them? */
static bool products_are_exact(const Fragments *f, int k_count) {
    int least[2] = {127, 127}, most[2] = {0, 0};
    for (int row = 0; row < 16; row++) exponents(f->a[row], k_count, &least[0], &most[0]);
    for (int k = 0; k < k_count; k++) exponents(f->b[k], 8, &least[1], &most[1]);
    return least[0] + least[1] > 127 + 22 && least[0] && least[1] && most[0] + most[1] < 127 + 253;
}
#endif

/* Fused multiply-adds; where products are exact, a product and a sum are the same. */
static void multiply(Fragments *f, int k_count) {
    const bool exact = products_are_exact(f, k_count);
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < k_count; k++)
            for (int col = 0; col < 8; col++) {
                float *const c = &f->c[row][col];
                *c = exact ? *c + f->a[row][k] * f->b[k][col]
                           : fma32(f->a[row][k], f->b[k][col], *c);
            }
}

/* A registers of 16-bit types: register 2j + h is rows 8h.., k 8j..; B register j is k 8j... */
static inline void load_half_ab(const Warp *w, const Rec *r, Fragments *f, int k_count, bool bf16) {
    for (int i = 0; i < k_count / 4; i++) {
        const u32 *const p = ROW(u32, 4 + i);
        float *const base = &f->a[8 * (i & 1)][8 * (i >> 1)];
        FOR_LANES for (int e = 0; e < 2; e++) {
            const u32 h = p[l] >> (16 * e) & 0xffff;
            base[16 * (l >> 2) + 2 * (l & 3) + e] = bf16 ? bf16_to_f32(h) : f16_to_f32(h);
        }
    }
    for (int j = 0; j < k_count / 8; j++) {
        const u32 *const p = ROW(u32, 8 + j);
        FOR_LANES for (int e = 0; e < 2; e++) {
            const u32 h = p[l] >> (16 * e) & 0xffff;
            f->b[8 * j + 2 * (l & 3) + e][l >> 2] = bf16 ? bf16_to_f32(h) : f16_to_f32(h);
        }
    }
}

#ifdef __AVX512F__
#include "softgpu/exec/mma_avx512.h"
#else
static inline void mma_half(Warp *w, const Rec *r, int k_count, bool bf16) {
    Fragments f;
    load_half_ab(w, r, &f, k_count, bf16);
    load_c(w, r, &f);
    multiply(&f, k_count);
    store_d(w, r, &f);
}
#endif

#define MMA(name, BODY)                                                                            \
    HANDLER(name) {                                                                                \
        const Rec *next = NULL;                                                                    \
        if (!aligned_warp(w, r, &next)) return next;                                               \
        BODY;                                                                                      \
        return r + 1;                                                                              \
    }
MMA(mma_f16_k16, mma_half(w, r, 16, false))
MMA(mma_bf16_k16, mma_half(w, r, 16, true))
MMA(mma_f16_k8, mma_half(w, r, 8, false))
MMA(mma_bf16_k8, mma_half(w, r, 8, true))

/* f16 accumulators: D and C have two registers, each a pair of columns of rows g and g + 8. */
static void mma_f16_acc(Warp *w, const Rec *r, int k_count) {
    Fragments f;
    load_half_ab(w, r, &f, k_count, false);
    for (int i = 0; i < 2; i++) FOR_LANES for (int e = 0; e < 2; e++) {
            f.c[(l >> 2) + 8 * i][2 * (l & 3) + e] =
                f16_to_f32(ROW(u32, 10 + i)[l] >> (16 * e) & 0xffff);
        }
    multiply(&f, k_count);
    for (int i = 0; i < 2; i++) FOR_LANES {
            const float *const p = &f.c[(l >> 2) + 8 * i][2 * (l & 3)];
            ROW(u32, i)[l] = f32_to_f16(p[0]) | f32_to_f16(p[1]) << 16;
        }
}
MMA(mma_f16_k16_f16, mma_f16_acc(w, r, 16))
MMA(mma_f16_k8_f16, mma_f16_acc(w, r, 8))

/* tf32: one value per register; A register 2j + h is (g + 8h, t + 4j), B register j is (t + 4j, g).
 * The hardware ignores the low 13 bits. */
static void mma_tf32(Warp *w, const Rec *r, int k_count) {
    Fragments f;
    for (int i = 0; i < k_count / 2; i++)
        FOR_LANES f.a[(l >> 2) + 8 * (i & 1)][(l & 3) + 4 * (i >> 1)] =
            as_f32(ROW(u32, 4 + i)[l] & ~0x1fffu);
    for (int j = 0; j < k_count / 4; j++)
        FOR_LANES f.b[(l & 3) + 4 * j][l >> 2] = as_f32(ROW(u32, 8 + j)[l] & ~0x1fffu);
    load_c(w, r, &f);
    multiply(&f, k_count);
    store_d(w, r, &f);
}
MMA(mma_tf32_k8, mma_tf32(w, r, 8))
MMA(mma_tf32_k4, mma_tf32(w, r, 4))

/* 8-bit integers: four values of ascending k per register. The instruction's signs and saturation
 * do not fit beside 14 registers, so decode puts them in bits 0..2 of the rows' offsets, which are
 * multiples of 128: o[4] bit 0: A signed, bit 1: B signed, bit 2: saturate. */
static s64 int8_at(u32 v, int i, bool is_signed) {
    const u32 byte = v >> (8 * i) & 0xff;
    return is_signed ? (s8)byte : (s64)byte;
}
/* m16n8k16, m16n8k32, and with eight rows m8n8k16: one register of A, two of C. */
static void mma_int8(Warp *w, const Rec *r, int rows, int k_count) {
    const u32 flags = r->o[4] & 7;
    const int c_regs = rows / 4;
    s64 a[16][32], b[32][8];
    for (int i = 0; i < rows * k_count / 128; i++) FOR_LANES for (int e = 0; e < 4; e++) {
            const u32 *const p = (const u32 *)(w->regs + (r->o[4 + i] & ~7u));
            a[(l >> 2) + 8 * (i & 1)][16 * (i >> 1) + 4 * (l & 3) + e] =
                int8_at(p[l], e, flags & 1);
        }
    for (int j = 0; j < k_count / 16; j++)
        FOR_LANES for (int e = 0; e < 4; e++) b[16 * j + 4 * (l & 3) + e][l >> 2] =
            int8_at(ROW(u32, 8 + j)[l], e, flags & 2);
    u32 out[4][LANES];
    for (int i = 0; i < c_regs; i++) FOR_LANES {
            const int row = (l >> 2) + 8 * (i >> 1), col = 2 * (l & 3) + (i & 1);
            s64 sum = ROW(s32, 10 + i)[l];
            for (int k = 0; k < k_count; k++) sum += a[row][k] * b[k][col];
            if (flags & 4) sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            out[i][l] = (u32)sum;
        }
    for (int i = 0; i < c_regs; i++) __builtin_memcpy(ROW(u32, i), out[i], sizeof out[i]);
}
MMA(mma_int8_k32, mma_int8(w, r, 16, 32))
MMA(mma_int8_k16, mma_int8(w, r, 16, 16))
MMA(mma_int8_m8, mma_int8(w, r, 8, 16))
