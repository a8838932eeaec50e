/* mma.sync; included by tensor.c only. Record: o[0..3] D, o[4..7] A, o[8..9] B, o[10..13] C.
 *
 * A register of A, B, C or D stays a row of 32 lanes, lane 4g + t. Of C and D it holds rows g
 * (register 2h + e: g + 8h), columns 2t + e. A register of A or B holds n elements per lane, k = nt
 * .. nt + n - 1 of its 4n values of k: n planes of 32 floats. For one k, element t of each four of
 * a plane of A is spread over its four lanes (they are the columns), and four elements of a plane
 * of B, transposed, are repeated for all rows:
 *
 *   lane of C    0   1   2   3 | 4   5   6   7 | 8 ...        row g = 0, 1, 2 ...
 *   A[g][k]     a0  a0  a0  a0 | a1  a1  a1  a1| a2 ...       v_spread
 *   B[k][2t+e]  b0  b2  b4  b6 | b0  b2  b4  b6| b0 ...       v_repeat
 *
 * Sums run in f32 by ascending k, fused: closer to the exact value than the tensor cores'
 * truncating adder (not in the ISA), within its bounds. 8-bit integers are floats here too: 32
 * products stay below 2^24. */
#include "softgpu/exec/vector.h"

typedef enum MmaType { MT_F16, MT_BF16, MT_TF32, MT_E4M3, MT_E5M2, MT_S8, MT_U8 } MmaType;
enum { MMA_K = 32, MMA_PLANES = MMA_K / 4, MMA_UNITS = 2 * ROW_VECTORS };

typedef struct MmaPlanes {
    float a[2][MMA_PLANES][LANES]; /* rows g + 8h; plane np + .. of register 2p + h */
    float b[MMA_PLANES][2][4][4];  /* plane, e, t: columns e, e + 2, e + 4, e + 6 of one k */
} __attribute__((aligned(64))) MmaPlanes;

/* C or D in vectors: unit h * ROW_VECTORS + q is part q of register 2h + e. */
typedef struct MmaSums {
    Vf v[MMA_UNITS][2];
} MmaSums;

INLINE int mma_planes_of(MmaType t) {
    return t == MT_TF32 ? 1 : t <= MT_BF16 ? 2 : 4;
}

INLINE float mma_byte(u32 v, MmaType t) {
    switch (t) {
    case MT_E4M3: return e4m3_to_f32(v);
    case MT_E5M2: return e5m2_to_f32(v);
    case MT_S8: return (float)(s8)v;
    default: return (float)(u8)v;
    }
}

/* The planes of one register. The hardware ignores the low 13 bits of tf32. */
INLINE void load_planes(const uint8_t *row, MmaType t, float out[][LANES]) {
    if (mma_planes_of(t) == 4) {
        const u32 *const p = (const u32 *)row;
        for (int e = 0; e < 4; e++) IVDEP FOR_LANES out[e][l] = mma_byte(p[l] >> (8 * e) & 0xff, t);
        return;
    }
    for (int q = 0; q < ROW_VECTORS; q++) {
        const Vi v = vi_load(row + 4 * VLANES * q);
        if (t == MT_TF32)
            v_store(out[0] + VLANES * q, v & ~0x1fff);
        else if (t == MT_BF16)
            v_store(out[0] + VLANES * q, v << 16);
        else
            v_store(out[0] + VLANES * q, (Vi)v_from_f16(v));
        if (t == MT_BF16) v_store(out[1] + VLANES * q, v & ~0xffff);
        if (t == MT_F16) v_store(out[1] + VLANES * q, (Vi)v_from_f16(v >> 16));
    }
}

/* One plane of B: [e][t] becomes its elements t of columns e, e + 2, e + 4, e + 6. */
INLINE void transpose_plane(const float *plane, float b[2][4][4]) {
#if defined(__AVX512F__)
    const __m512 low = _mm512_load_ps(plane), high = _mm512_load_ps(plane + 16);
    const __m512i even =
        _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(4));
    _mm512_store_ps(b[0][0], _mm512_permutex2var_ps(low, even, high));
    _mm512_store_ps(b[1][0], _mm512_permutex2var_ps(low, odd, high));
#else
    for (int e = 0; e < 2; e++) {
        F4 m[4];
        for (int t = 0; t < 4; t++) __builtin_memcpy(&m[t], plane + 4 * (2 * t + e), 16);
        transpose4(m);
        __builtin_memcpy(b[e], m, sizeof m);
    }
#endif
}

/* `regs`, `blocks`: registers of A and B; each of B has 4n values of k. Low bits of a row's offset
 * are flags. */
INLINE void load_ab(const Warp *w, const Rec *r, MmaPlanes *m, MmaType ta, MmaType tb, int regs,
                    int blocks) {
    const int n = mma_planes_of(ta);
    for (int i = 0; i < regs; i++)
        load_planes(w->regs + (r->o[4 + i] & ~127u), ta, &m->a[i & 1][n * (i >> 1)]);
    for (int j = 0; j < blocks; j++) {
        float planes[4][LANES] __attribute__((aligned(64)));
        load_planes(w->regs + r->o[8 + j], tb, planes);
        for (int p = 0; p < n; p++) transpose_plane(planes[p], m->b[n * j + p]);
    }
}

/* Where unit u lies in a register at `row`. */
INLINE uint8_t *row_part(const Warp *w, u32 row, int u) {
    return w->regs + row + 4 * VLANES * (u % ROW_VECTORS);
}

INLINE void load_c(const Warp *w, const Rec *r, MmaSums *c) {
    for (int u = 0; u < MMA_UNITS; u++)
        for (int e = 0; e < 2; e++)
            c->v[u][e] = vf_load(row_part(w, r->o[10 + 2 * (u / ROW_VECTORS) + e], u));
}
INLINE void store_d(Warp *w, const Rec *r, const MmaSums *c) {
    const Vi nan = (Vi){0} + 0x7fffffff;
    for (int u = 0; u < MMA_UNITS; u++)
        for (int e = 0; e < 2; e++)
            v_store(row_part(w, r->o[2 * (u / ROW_VECTORS) + e], u),
                    v_blend(c->v[u][e] != c->v[u][e], nan, (Vi)c->v[u][e]));
}

/* The same of f16 accumulators: register h, a pair of columns of row g + 8h. */
INLINE void load_c_f16(const Warp *w, const Rec *r, MmaSums *c) {
    for (int u = 0; u < MMA_UNITS; u++) {
        const Vi v = vi_load(row_part(w, r->o[10 + u / ROW_VECTORS], u));
        c->v[u][0] = v_from_f16(v);
        c->v[u][1] = v_from_f16(v >> 16);
    }
}
INLINE void store_d_f16(Warp *w, const Rec *r, const MmaSums *c) {
    for (int h = 0; h < 2; h++) {
        float f[2][LANES];
        for (int q = 0; q < ROW_VECTORS; q++)
            for (int e = 0; e < 2; e++)
                v_store(f[e] + VLANES * q, (Vi)c->v[h * ROW_VECTORS + q][e]);
        u32 *const d = ROW(u32, h);
        FOR_LANES d[l] = f32_to_f16(f[0][l]) | f32_to_f16(f[1][l]) << 16;
    }
}

#ifdef __FMA__
INLINE bool products_are_exact(const MmaPlanes *m, int planes) {
    (void)m;
    (void)planes;
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
static bool products_are_exact(const MmaPlanes *m, int planes) {
    int least[2] = {127, 127}, most[2] = {0, 0};
    for (int h = 0; h < 2; h++) exponents(m->a[h][0], planes * LANES, &least[0], &most[0]);
    exponents(m->b[0][0][0], planes * LANES, &least[1], &most[1]);
    return least[0] + least[1] > 127 + 22 && least[0] && least[1] && most[0] + most[1] < 127 + 253;
}
#endif

enum { MMA_GROUP = 4 }; /* units whose sums fit the vector registers */
#define MMA_STEP(T)                                                                                \
    for (int p = 0; p < n; p++) {                                                                  \
        const float(*const b)[4][4] = m->b[n * j + p];                                             \
        const Vf b0 = v_repeat(b[0][T]), b1 = v_repeat(b[1][T]);                                   \
        for (int i = 0; i < MMA_GROUP; i++) {                                                      \
            const int h = (u + i) / ROW_VECTORS, q = (u + i) % ROW_VECTORS;                        \
            const Vf x = v_spread(vf_load(m->a[h][n * j + p] + VLANES * q), T);                    \
            sum[i][0] = v_mul_add(x, b0, sum[i][0], exact);                                        \
            sum[i][1] = v_mul_add(x, b1, sum[i][1], exact);                                        \
        }                                                                                          \
    }

/* C += A B, n planes per register of A, `blocks` registers of B. */
INLINE void mma_products(const MmaPlanes *m, int n, int blocks, bool exact, MmaSums *c) {
    for (int u = 0; u < MMA_UNITS; u += MMA_GROUP) {
        Vf sum[MMA_GROUP][2];
        __builtin_memcpy(sum, c->v[u], sizeof sum);
        for (int j = 0; j < blocks; j++) {
            MMA_STEP(0)
            MMA_STEP(1)
            MMA_STEP(2)
            MMA_STEP(3)
        }
        __builtin_memcpy(c->v[u], sum, sizeof sum);
    }
}

INLINE void mma_float(Warp *w, const Rec *r, MmaType ta, MmaType tb, int blocks, bool f16) {
    MmaPlanes m;
    MmaSums c;
    load_ab(w, r, &m, ta, tb, 2 * blocks, blocks);
    if (f16)
        load_c_f16(w, r, &c);
    else
        load_c(w, r, &c);
    const int n = mma_planes_of(ta);
    const bool wide = ta == MT_BF16 || ta == MT_TF32; /* exponents that can leave f32's range */
    mma_products(&m, n, blocks, !wide || products_are_exact(&m, n * blocks), &c);
    if (f16)
        store_d_f16(w, r, &c);
    else
        store_d(w, r, &c);
}

#define MMA(name, BODY)                                                                            \
    HANDLER(name) {                                                                                \
        const Rec *next = NULL;                                                                    \
        if (!aligned_warp(w, r, &next)) return next;                                               \
        BODY;                                                                                      \
        return r + 1;                                                                              \
    }
MMA(mma_f16_k16, mma_float(w, r, MT_F16, MT_F16, 2, false))
MMA(mma_bf16_k16, mma_float(w, r, MT_BF16, MT_BF16, 2, false))
MMA(mma_f16_k8, mma_float(w, r, MT_F16, MT_F16, 1, false))
MMA(mma_bf16_k8, mma_float(w, r, MT_BF16, MT_BF16, 1, false))
MMA(mma_f16_k16_f16, mma_float(w, r, MT_F16, MT_F16, 2, true))
MMA(mma_f16_k8_f16, mma_float(w, r, MT_F16, MT_F16, 1, true))
MMA(mma_tf32_k8, mma_float(w, r, MT_TF32, MT_TF32, 2, false))
MMA(mma_tf32_k4, mma_float(w, r, MT_TF32, MT_TF32, 1, false))

/* 8-bit integers; with 8 rows one register of A, two of C. The instruction's signs and saturation
 * do not fit beside 14 registers, so decode puts them in bits 0..2 of o[4], a multiple of 128: A
 * signed, B signed, saturate. */
INLINE void mma_int8(Warp *w, const Rec *r, int rows, int blocks) {
    const u32 flags = r->o[4] & 7;
    const int regs = rows / 8 * blocks, units = rows / 8 * ROW_VECTORS;
    MmaPlanes m;
    MmaSums sums = {0};
    if (rows == 8) __builtin_memset(m.a[1], 0, sizeof m.a[1]);
    switch (flags & 3) {
    case 0: load_ab(w, r, &m, MT_U8, MT_U8, regs, blocks); break;
    case 1: load_ab(w, r, &m, MT_S8, MT_U8, regs, blocks); break;
    case 2: load_ab(w, r, &m, MT_U8, MT_S8, regs, blocks); break;
    default: load_ab(w, r, &m, MT_S8, MT_S8, regs, blocks); break;
    }
    mma_products(&m, 4, blocks, true, &sums);
    Vi d[MMA_UNITS][2];
    for (int u = 0; u < units; u++)
        for (int e = 0; e < 2; e++) {
            const Vi c = vi_load(row_part(w, r->o[10 + 2 * (u / ROW_VECTORS) + e], u));
            const Vi part = __builtin_convertvector(sums.v[u][e], Vi);
            const Vi sum = (Vi)((Vu)c + (Vu)part), most = (c >> 31) ^ 0x7fffffff;
            d[u][e] = flags & 4 ? v_blend(((sum ^ c) & (sum ^ part)) >> 31, most, sum) : sum;
        }
    for (int u = 0; u < units; u++)
        for (int e = 0; e < 2; e++)
            v_store(row_part(w, r->o[2 * (u / ROW_VECTORS) + e], u), d[u][e]);
}
MMA(mma_int8_k32, mma_int8(w, r, 16, 2))
MMA(mma_int8_k16, mma_int8(w, r, 16, 1))
MMA(mma_int8_m8, mma_int8(w, r, 8, 1))
