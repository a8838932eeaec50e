/* Where element i of a fragment of mma.sync lies, literally as the PTX ISA says it ("Matrix
 * fragments for mma.m16n8k..."), for lane 4 g + t and elements of `bits` bits. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FRAGMENT_H
#define SEQTUNE_TESTS_SOFTGPU_FRAGMENT_H

static inline void place_a(int bits, int g, int t, int i, int *row, int *col) {
    if (bits == 16) { /* row: g for i = 0 1 4 5; col: + 8 for i >= 4 */
        *row = i % 4 < 2 ? g : g + 8;
        *col = t * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    } else if (bits == 8) { /* row: g for 0 <= i < 4 and 8 <= i < 12; col: + 16 for i >= 8 */
        *row = i < 4 || (i >= 8 && i < 12) ? g : g + 8;
        *col = t * 4 + (i & 3) + (i >= 8 ? 16 : 0);
    } else { /* row: g for a0, a2; col: t for a0, a1 and t + 4 for a2, a3 */
        *row = i == 0 || i == 2 ? g : g + 8;
        *col = i < 2 ? t : t + 4;
    }
}
static inline void place_b(int bits, int g, int t, int i, int *row, int *col) {
    *col = g;
    *row = bits == 16  ? t * 2 + (i & 1) + (i >= 2 ? 8 : 0)
           : bits == 8 ? t * 4 + (i & 3) + (i >= 4 ? 16 : 0)
                       : t + (i == 1 ? 4 : 0);
}
/* C and D of m16n8: row g for i = 0, 1. */
static inline void place_c(int g, int t, int i, int *row, int *col) {
    *row = i < 2 ? g : g + 8;
    *col = t * 2 + (i & 1);
}

#endif
