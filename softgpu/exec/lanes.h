/* Macros that write handlers from one expression per lane.
 *
 * Each handler has a loop for all 32 lanes and one that keeps inactive lanes. The compiler makes
 * vectors of both: `ivdep` says that a destination row is a source row or apart from it, never
 * shifted. Types are may_alias because a row holds what the instruction says it holds. */
#ifndef SEQTUNE_SOFTGPU_EXEC_LANES_H
#define SEQTUNE_SOFTGPU_EXEC_LANES_H

#include "softgpu/exec/warp.h"

typedef uint32_t __attribute__((may_alias)) u32;
typedef int32_t __attribute__((may_alias)) s32;
typedef uint64_t __attribute__((may_alias)) u64;
typedef int64_t __attribute__((may_alias)) s64;
typedef float __attribute__((may_alias)) f32;
typedef double __attribute__((may_alias)) f64;
typedef uint16_t u16;
typedef int16_t s16;
typedef uint8_t u8;
typedef int8_t s8;

#if defined(__clang__)
#define IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define IVDEP _Pragma("GCC ivdep")
#endif

#define ROW(T, k)     ((T *)(w->regs + r->o[k]))
#define PRED(k)       (*(u32 *)(w->regs + r->o[k]))
#define HANDLER(name) static const Rec *h_##name(Warp *w, const Rec *r)
#define FOR_LANES     for (int l = 0; l < LANES; l++)

#define MAP_LOOPS(TD, LOAD, EXPR)                                                                  \
    const uint32_t m = w->mask;                                                                    \
    if (m == FULL_MASK) {                                                                          \
        IVDEP FOR_LANES {                                                                          \
            LOAD;                                                                                  \
            d[l] = (TD)(EXPR);                                                                     \
        }                                                                                          \
    } else {                                                                                       \
        IVDEP FOR_LANES {                                                                          \
            LOAD;                                                                                  \
            const TD z = (TD)(EXPR);                                                               \
            d[l] = (m >> l & 1) ? z : d[l];                                                        \
        }                                                                                          \
    }                                                                                              \
    return r + 1;

#define MAP1(name, TD, TA, EXPR)                                                                   \
    HANDLER(name) {                                                                                \
        TD *const d = ROW(TD, 0);                                                                  \
        const TA *const pa = ROW(TA, 1);                                                           \
        MAP_LOOPS(TD, const TA a = pa[l], EXPR)                                                    \
    }
#define MAP2(name, TD, TA, TB, EXPR)                                                               \
    HANDLER(name) {                                                                                \
        TD *const d = ROW(TD, 0);                                                                  \
        const TA *const pa = ROW(TA, 1);                                                           \
        const TB *const pb = ROW(TB, 2);                                                           \
        MAP_LOOPS(TD, const TA a = pa[l]; const TB b = pb[l], EXPR)                                \
    }
#define MAP3(name, TD, TA, TB, TC, EXPR)                                                           \
    HANDLER(name) {                                                                                \
        TD *const d = ROW(TD, 0);                                                                  \
        const TA *const pa = ROW(TA, 1);                                                           \
        const TB *const pb = ROW(TB, 2);                                                           \
        const TC *const pc = ROW(TC, 3);                                                           \
        MAP_LOOPS(TD, const TA a = pa[l]; const TB b = pb[l]; const TC c = pc[l], EXPR)            \
    }
/* A comparison into a predicate; o[3] is 0 or ~0 (negated result). */
#define COMPARE(name, T, EXPR)                                                                     \
    HANDLER(name) {                                                                                \
        const T *const pa = ROW(T, 1);                                                             \
        const T *const pb = ROW(T, 2);                                                             \
        u32 bits = 0;                                                                              \
        FOR_LANES {                                                                                \
            const T a = pa[l], b = pb[l];                                                          \
            bits |= (u32)((EXPR) ? 1 : 0) << l;                                                    \
        }                                                                                          \
        bits ^= r->o[3];                                                                           \
        PRED(0) = (PRED(0) & ~w->mask) | (bits & w->mask);                                         \
        return r + 1;                                                                              \
    }
/* One lane at a time, active lanes only: for what must not run on idle lanes or needs a call. */
#define SCALAR2(name, TD, TA, TB, EXPR)                                                            \
    HANDLER(name) {                                                                                \
        TD *const d = ROW(TD, 0);                                                                  \
        const TA *const pa = ROW(TA, 1);                                                           \
        const TB *const pb = ROW(TB, 2);                                                           \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const TA a = pa[l];                                                                    \
            const TB b = pb[l];                                                                    \
            d[l] = (TD)(EXPR);                                                                     \
        }                                                                                          \
        return r + 1;                                                                              \
    }

static inline float as_f32(uint32_t u) {
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t as_u32(float f) {
    uint32_t u;
    __builtin_memcpy(&u, &f, 4);
    return u;
}

/* a * b + c, rounded once. Without the instruction: the product is exact in double; the sum is
 * rounded to odd there, so that rounding it to float is right (Boldo and Melquiond, "Emulation of
 * a FMA and correctly rounded sums", 2008). */
#ifdef __FMA__
static inline float fma32(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
}
#else
static inline float fma32(float a, float b, float c) {
    const double p = (double)a * b, s = p + c, t = s - p;
    const double lost = (p - (s - t)) + (c - t); /* NaN for infinities: nothing is lost */
    int64_t bits;
    __builtin_memcpy(&bits, &s, 8);
    const int64_t away = (lost > 0) == (s > 0) ? 1 : -1;
    const bool even = (bits & 1) == 0;
    bits += even && (lost > 0 || lost < 0) ? away : 0;
    double odd;
    __builtin_memcpy(&odd, &bits, 8);
    return (float)odd;
}
#endif

#endif
