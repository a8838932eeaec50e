/* The tensor cores' own sums (mma_exact.h says the rule) in vectors of f32, for operands without
 * NaN and infinity and sums whose largest exponent leaves room; included by mma_exact.h only.
 *
 * A term times 2^(F - largest exponent), cut to an integer, is the aligned term: products of these
 * types are exact in f32, or so small that they are cut to 0 anyway; scaling is exact. Integers are
 * added exactly. What does not fit is left to the general way: false. */

typedef struct FusedExponents { /* of the elements of MmaPlanes, in its order */
    int32_t a[2][MMA_PLANES][LANES];
    float b[MMA_PLANES][2][4][4]; /* bits of int32_t, to be repeated as floats are */
} __attribute__((aligned(64))) FusedExponents;

typedef struct FusedRule {
    int n;        /* planes per register */
    int fraction; /* F */
    int least_c;  /* exponent of C's least normal */
    int keep;     /* bits that stay of a result */
    bool f16;     /* D and C are f16 */
} FusedRule;

/* The exponent of a subnormal is that of the type's least normal, of a zero -126. */
INLINE Vi fused_exponents(Vf v, int least) {
    const Vi zero = {0}, mag = (Vi)v & 0x7fffffff;
    return v_blend(mag == 0, zero - 126, v_max((mag >> 23) - 127, zero + least));
}

INLINE int fused_least(MmaType t) {
    return t == MT_F16 || t == MT_E5M2 ? -14 : t == MT_E4M3 ? -6 : -126;
}

/* False when a value is NaN or infinite. */
INLINE bool fused_split(const MmaPlanes *m, int planes, MmaType ta, MmaType tb, FusedExponents *x) {
    Vi most = {0};
    for (int i = 0; i < 3 * planes; i++) /* A's upper and lower half, then B */
        for (int q = 0; q < ROW_VECTORS; q++) {
            const int p = i < 2 * planes ? i >> 1 : i - 2 * planes;
            const float *const from = i < 2 * planes ? m->a[i & 1][p] : m->b[p][0][0];
            void *const to = i < 2 * planes ? (void *)x->a[i & 1][p] : (void *)x->b[p];
            const Vi e =
                fused_exponents(vf_load(from + VLANES * q), fused_least(i < 2 * planes ? ta : tb));
            v_store((int32_t *)to + VLANES * q, e);
            most = v_max(most, e);
        }
    return !v_any(most > 127);
}

#define FUSED_A(from, T) v_spread(vf_load((from)->a[h][f->n * j + p] + VLANES * q), T)
#define FUSED_B(from, T) v_repeat((from)->b[f->n * j + p][e][T])
#define FUSED_EACH(T, X, BODY)                                                                     \
    for (int p = 0; p < f->n; p++) {                                                               \
        X;                                                                                         \
        for (int e = 0; e < 2; e++) BODY;                                                          \
    }

/* Are all terms of the lanes in `some` zero? Then their alignment does not matter. */
INLINE bool fused_zeros(const MmaPlanes *m, const FusedRule *f, int first, int last, int u,
                        const Vf c[2], const Vi some[2]) {
    const int h = u / ROW_VECTORS, q = u % ROW_VECTORS;
    Vi any[2] = {((Vi)c[0] << 1) != 0, ((Vi)c[1] << 1) != 0};
    for (int j = first; j < last; j++) {
#define FUSED_ANY(T)                                                                               \
    FUSED_EACH(T, const Vi x = ((Vi)FUSED_A(m, T) << 1) != 0,                                      \
               any[e] |= x & (((Vi)FUSED_B(m, T) << 1) != 0))
        FUSED_ANY(0) FUSED_ANY(1) FUSED_ANY(2) FUSED_ANY(3)
    }
    return !v_any((any[0] & some[0]) | (any[1] & some[1]));
}

/* The largest exponent among C and the products of blocks [first, last). */
INLINE void fused_most(const FusedExponents *x, const FusedRule *f, int first, int last, int u,
                       const Vf c[2], Vi most[2]) {
    const int h = u / ROW_VECTORS, q = u % ROW_VECTORS;
    for (int e = 0; e < 2; e++) most[e] = fused_exponents(c[e], f->least_c);
    for (int j = first; j < last; j++) {
#define FUSED_MOST(T)                                                                              \
    FUSED_EACH(T, const Vi v = (Vi)FUSED_A(x, T), most[e] = v_max(most[e], v + (Vi)FUSED_B(x, T)))
        FUSED_MOST(0) FUSED_MOST(1) FUSED_MOST(2) FUSED_MOST(3)
    }
}

/* sum * 2^(most - F), cut to f32; for f16 rounded to odd, so that rounding to f16 is right: what
 * becomes zero there (up to 2^-25, half of the least) is zero here, which has no sign. */
INLINE Vf fused_result(Vi sum, Vi most, const FusedRule *f) {
    const Vi sign = sum >> 31, mag = (sum ^ sign) - sign;
    const Vf near = __builtin_convertvector(mag, Vf);
    const Vi back = __builtin_convertvector(near, Vi); /* 2^31 comes back negative */
    const Vi above = (back > mag) | (back < 0);
    Vi bits = (Vi)near + above;
    if (f->f16) bits |= (back != mag) & 1;
    const Vf power = (Vf)((most - (f->fraction - 127)) << 23);
    const Vi z = (Vi)((Vf)bits * power) & f->keep;
    const Vi d = z | (sign & INT32_MIN);
    return (Vf)(f->f16 ? v_blend(z <= (127 - 25) << 23, (Vi){0}, d) : d);
}

/* C of unit u plus the products of blocks [first, last). */
INLINE bool fused_unit(const MmaPlanes *m, const FusedExponents *x, const FusedRule *f, int first,
                       int last, int u, Vf c[2]) {
    const int h = u / ROW_VECTORS, q = u % ROW_VECTORS, low = f->fraction - 125;
    Vi most[2], bad[2], sum[2], over = {0};
    Vf scale[2];
    fused_most(x, f, first, last, u, c, most);
    for (int e = 0; e < 2; e++) bad[e] = (most[e] < low) | (most[e] > 125);
    if (v_any(bad[0] | bad[1])) {
        if (!fused_zeros(m, f, first, last, u, c, bad)) return false;
        for (int e = 0; e < 2; e++) most[e] = v_max(most[e], (Vi){0} + low);
    }
    for (int e = 0; e < 2; e++) {
        scale[e] = (Vf)((f->fraction + 127 - most[e]) << 23);
        sum[e] = __builtin_convertvector(c[e] * scale[e], Vi);
    }
    for (int j = first; j < last; j++) {
        Vi part[2] = {{0}, {0}};
#define FUSED_ADD(T)                                                                               \
    FUSED_EACH(T, const Vf v = FUSED_A(m, T),                                                      \
               part[e] += __builtin_convertvector((v * FUSED_B(m, T)) * scale[e], Vi))
/* eight terms stay below 2^31; their sum with others need not */
#define FUSED_FOLD                                                                                 \
    for (int e = 0; e < 2; e++) {                                                                  \
        const Vi all = (Vi)((Vu)sum[e] + (Vu)part[e]);                                             \
        over |= (sum[e] ^ all) & (part[e] ^ all);                                                  \
        sum[e] = all;                                                                              \
        part[e] = (Vi){0};                                                                         \
    }
        FUSED_ADD(0) FUSED_ADD(1) if (f->n == 4) FUSED_FOLD FUSED_ADD(2) FUSED_ADD(3) FUSED_FOLD
    }
    if (v_any((over < 0) | (sum[0] == INT32_MIN) | (sum[1] == INT32_MIN))) return false;
    for (int e = 0; e < 2; e++) c[e] = fused_result(sum[e], most[e], f);
    return true;
}

/* f16 accumulators are halves between two parts, too. */
INLINE Vf fused_half(Vf v) {
    Vi h;
    for (int i = 0; i < VLANES; i++) h[i] = (int32_t)f32_to_f16(v[i]);
    return v_from_f16(h);
}

/* False: nothing was done. `unit`: MX_UNIT; `halves`: two parts of K, one after the other. */
INLINE bool mma_fused(Warp *w, const Rec *r, MmaType ta, MmaType tb, int blocks, int unit,
                      bool halves, bool f16) {
    MmaPlanes m;
    FusedExponents x;
    MmaSums c;
    const FusedRule f = {.n = mma_planes_of(ta),
                         .fraction = unit == 2   ? 25
                                     : unit == 3 ? 13
                                                 : 24,
                         .least_c = f16 ? -14 : -126,
                         .keep = unit == 3 && !f16 ? 0x7ffffc00 : 0x7fffffff,
                         .f16 = f16};
    load_ab(w, r, &m, ta, tb, 2 * blocks, blocks);
    if (!fused_split(&m, f.n * blocks, ta, tb, &x)) return false;
    if (f16)
        load_c_f16(w, r, &c);
    else
        load_c(w, r, &c);
    const int step = halves ? blocks / 2 : blocks;
    for (int u = 0; u < MMA_UNITS; u++)
        for (int first = 0; first < blocks; first += step) {
            if (!fused_unit(&m, &x, &f, first, first + step, u, c.v[u])) return false;
            for (int e = 0; f16 && e < 2; e++) c.v[u][e] = fused_half(c.v[u][e]);
        }
    if (f16)
        store_d_f16(w, r, &c);
    else
        store_d(w, r, &c);
    return true;
}
