/* Arithmetic and conversions in the directed rounding modes (.rz .rm .rp), and conversions that
 * round other than to nearest; included by lane.c only.
 *
 * Rare, so one lane at a time with the host's rounding mode switched around each instruction. */
#include <fenv.h>

typedef enum DirectedOp {
    DIR_ADD,
    DIR_SUB,
    DIR_MUL,
    DIR_DIV,
    DIR_FMA,
    DIR_RCP,
    DIR_SQRT
} DirectedOp;

static int host_rounding(u32 mode) {
    static const int modes[4] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    return modes[mode & 3];
}

/* volatile: the compiler must not move the operation out of the switched region. */
static float directed32(u32 op, volatile float a, volatile float b, volatile float c) {
    volatile float z = 0;
    switch (op) {
    case DIR_ADD: z = a + b; break;
    case DIR_SUB: z = a - b; break;
    case DIR_MUL: z = a * b; break;
    case DIR_DIV: z = a / b; break;
    case DIR_FMA: z = fmaf(a, b, c); break;
    case DIR_RCP: z = 1.0f / a; break;
    default: z = sqrtf(a); break;
    }
    return z;
}
static double directed64(u32 op, volatile double a, volatile double b, volatile double c) {
    volatile double z = 0;
    switch (op) {
    case DIR_ADD: z = a + b; break;
    case DIR_SUB: z = a - b; break;
    case DIR_MUL: z = a * b; break;
    case DIR_DIV: z = a / b; break;
    case DIR_FMA: z = fma(a, b, c); break;
    case DIR_RCP: z = 1.0 / a; break;
    default: z = sqrt(a); break;
    }
    return z;
}

/* o[1..3] sources, o[4] operation, o[5] rounding, o[6] flush, o[7] double precision. */
HANDLER(directed) {
    const int old = fegetround();
    fesetround(host_rounding(r->o[5]));
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        if (r->o[7]) {
            ROW(f64, 0)[l] = directed64(r->o[4], ROW(f64, 1)[l], ROW(f64, 2)[l], ROW(f64, 3)[l]);
            continue;
        }
        float a = ROW(f32, 1)[l], b = ROW(f32, 2)[l], c = ROW(f32, 3)[l];
        if (r->o[6]) a = ftz(a), b = ftz(b), c = ftz(c);
        const float z = canon(directed32(r->o[4], a, b, c));
        ROW(f32, 0)[l] = r->o[6] ? ftz(z) : z;
    }
    fesetround(old);
    return r + 1;
}

/* o[2] rounding, o[3] kind: 0 s64->f32, 1 u64->f32, 2 s64->f64, 3 u64->f64, 4 f64->f32. */
HANDLER(directed_cvt) {
    const int old = fegetround();
    fesetround(host_rounding(r->o[2]));
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        volatile u64 bits = ROW(u64, 1)[l];
        volatile s64 i = (s64)bits;
        volatile f64 v = ROW(f64, 1)[l];
        volatile f32 narrow = 0;
        volatile f64 wide = 0;
        switch (r->o[3]) {
        case 0: narrow = (f32)i; break;
        case 1: narrow = (f32)bits; break;
        case 2: wide = (f64)i; break;
        case 3: wide = (f64)bits; break;
        default: narrow = (f32)v; break;
        }
        if (r->o[3] == 2 || r->o[3] == 3)
            ROW(f64, 0)[l] = wide;
        else
            ROW(f32, 0)[l] = canon(narrow);
    }
    fesetround(old);
    return r + 1;
}
