/* The 16-bit mma with AVX-512; included by mma.h where the target has it.
 *
 * A register of C as a vector of 32 floats keeps its lane order: lanes 4g + t, t = columns. For
 * each k the A value of row g is spread over its four lanes (a shuffle inside 128 bits) and the
 * four B values of the register's columns are repeated for all rows (a 128-bit broadcast from
 * memory). */
#include <immintrin.h>

typedef struct Spread { /* even and odd k of one A or B register, rows 0..3 and 4..7 */
    __m512 even[2], odd[2];
} Spread;

static inline Spread spread(const uint8_t *row, bool bf16) {
    Spread s;
    for (int h = 0; h < 2; h++) {
        const __m512i v = _mm512_load_si512((const void *)(row + 64 * h));
        if (bf16) {
            s.even[h] = _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
            s.odd[h] =
                _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000u)));
        } else {
            s.even[h] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
            s.odd[h] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
        }
    }
    return s;
}

/* out[k][e]: B values of k for columns e, e + 2, e + 4, e + 6. */
static inline void transpose_b(const Spread *s, float out[8][2][4]) {
    const __m512i index[2] = {
        _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27),
        _mm512_setr_epi32(4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31)};
    for (int e = 0; e < 2; e++) {
        const __m512 even = _mm512_permutex2var_ps(s->even[0], index[e], s->even[1]);
        const __m512 odd = _mm512_permutex2var_ps(s->odd[0], index[e], s->odd[1]);
        _mm_store_ps(out[0][e], _mm512_castps512_ps128(even));
        _mm_store_ps(out[2][e], _mm512_extractf32x4_ps(even, 1));
        _mm_store_ps(out[4][e], _mm512_extractf32x4_ps(even, 2));
        _mm_store_ps(out[6][e], _mm512_extractf32x4_ps(even, 3));
        _mm_store_ps(out[1][e], _mm512_castps512_ps128(odd));
        _mm_store_ps(out[3][e], _mm512_extractf32x4_ps(odd, 1));
        _mm_store_ps(out[5][e], _mm512_extractf32x4_ps(odd, 2));
        _mm_store_ps(out[7][e], _mm512_extractf32x4_ps(odd, 3));
    }
}

#define MMA_STEP(T, A, K)                                                                          \
    {                                                                                              \
        const __m512 b0 = _mm512_broadcast_f32x4(_mm_load_ps(b[K][0]));                            \
        const __m512 b1 = _mm512_broadcast_f32x4(_mm_load_ps(b[K][1]));                            \
        for (int h = 0; h < 2; h++)                                                                \
            for (int q = 0; q < 2; q++) {                                                          \
                const __m512 x = _mm512_permute_ps(a[h].A[q], (T)*0x55);                           \
                c[2 * h][q] = _mm512_fmadd_ps(x, b0, c[2 * h][q]);                                 \
                c[2 * h + 1][q] = _mm512_fmadd_ps(x, b1, c[2 * h + 1][q]);                         \
            }                                                                                      \
    }

/* Eight values of k: two A registers (rows 0..7 and 8..15) and one B register. */
static inline __attribute__((always_inline)) void mma_k8(const Spread a[2], const float b[8][2][4],
                                                         __m512 c[4][2]) {
    MMA_STEP(0, even, 0)
    MMA_STEP(0, odd, 1)
    MMA_STEP(1, even, 2)
    MMA_STEP(1, odd, 3)
    MMA_STEP(2, even, 4)
    MMA_STEP(2, odd, 5)
    MMA_STEP(3, even, 6)
    MMA_STEP(3, odd, 7)
}

static inline __attribute__((always_inline)) void mma_half(Warp *w, const Rec *r, int k_count,
                                                           bool bf16) {
    __m512 c[4][2];
    for (int i = 0; i < 4; i++)
        for (int q = 0; q < 2; q++)
            c[i][q] =
                _mm512_load_ps((const float *)(const void *)(w->regs + r->o[10 + i]) + 16 * q);
    for (int j = 0; j < k_count / 8; j++) {
        float b[8][2][4] __attribute__((aligned(64)));
        const Spread sb = spread(w->regs + r->o[8 + j], bf16);
        transpose_b(&sb, b);
        const Spread a[2] = {spread(w->regs + r->o[4 + 2 * j], bf16),
                             spread(w->regs + r->o[5 + 2 * j], bf16)};
        mma_k8(a, (const float(*)[2][4])b, c);
    }
    const __m512 nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff));
    for (int i = 0; i < 4; i++)
        for (int q = 0; q < 2; q++) {
            const __mmask16 bad = _mm512_cmp_ps_mask(c[i][q], c[i][q], _CMP_UNORD_Q);
            _mm512_store_ps((float *)(void *)(w->regs + r->o[i]) + 16 * q,
                            _mm512_mask_mov_ps(c[i][q], bad, nan));
        }
}
