/* ldmatrix, stmatrix, movmatrix and the warp-wide exchanges; included by tensor.c only.
 *
 * The 32 lanes of one A or B register, as 16-bit values, are a row-major 8 x 8 matrix: lane 4g + t
 * holds (g, 2t) and (g, 2t + 1). ldmatrix writes exactly that (PTX ISA, fragments of ldmatrix and
 * mma.m16n8k16), so a matrix is moved by copying rows of 16 bytes. */

typedef uint16_t Half8 __attribute__((vector_size(16)));
typedef struct Matrix8 {
    Half8 row[8];
} Matrix8;

/* All 32 lanes must execute .aligned matrix instructions together. */
static bool aligned_warp(Warp *w, const Rec *r, const Rec **next) {
    if (w->mask == FULL_MASK) return true;
    if (!warp_gather(w, r, w->live, next)) return false;
    if (w->mask == FULL_MASK) return true;
    *next = warp_fault(w, r, 715, ~w->mask,
                       "a warp-wide instruction needs all 32 lanes; mask 0x%08x", w->mask);
    return false;
}

#define UNPACK_LO(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define UNPACK_HI(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

/* Three rounds of interleaving rows i and i + 4 transpose 8 x 8. */
static inline void transpose8(Matrix8 *m) {
    for (int round = 0; round < 3; round++) {
        Matrix8 t;
        for (int i = 0; i < 4; i++) {
            t.row[2 * i] = UNPACK_LO(m->row[i], m->row[i + 4]);
            t.row[2 * i + 1] = UNPACK_HI(m->row[i], m->row[i + 4]);
        }
        *m = t;
    }
}

/* One wavefront per matrix when its 8 rows fall into the 8 groups of 4 banks, else the most
 * different rows that share a group. */
static u32 row_cycles(const u64 off[LANES], int first) {
    u32 groups = 0;
    for (int i = 0; i < 8; i++) groups |= 1u << (off[first + i] >> 4 & 7);
    if (groups == 255) return 1;
    return bank_cycles(off, FULL_MASK, first, 8, 16);
}

/* The usual case, 32 rows named by 32-bit addresses, all legal, without conflicts: true, and off[]
 * filled. Anything else is left to the full checks. */
static bool clean_rows(Warp *w, const Rec *r, u32 off[LANES]) {
    const u32 *const p = ROW(u32, 4);
    const u32 base = w->block->shared_base - r->o[12], size = w->block->shared_size;
    u32 group[LANES], high = 0, low = 0;
    if (size < 16) return false;
    FOR_LANES {
        off[l] = p[l] - base;
        high = off[l] > high ? off[l] : high;
        low |= off[l];
        group[l] = 1u << (off[l] >> 4 & 7);
    }
    u32 all = 255;
    for (int i = 0; i < 4; i++) {
        u32 hit = 0;
        for (int k = 0; k < 8; k++) hit |= group[8 * i + k];
        all &= hit;
    }
    return high <= size - 16 && (low & 15) == 0 && all == 255;
}

/* o[0..3] registers, o[4] address row, o[5] flags with the count of eights of rows, o[6] transpose,
 * o[7] bits of an element in memory, o[12..13]. */
static bool matrix_rows(Warp *w, const Rec *r, u32 off[LANES]) {
    const int count = (int)(r->o[5] >> ACC_COUNT & 15);
    DynamicCounters *const c = &w->block->dynamic;
    if (count == 4 && r->o[4] != NO_ROW && !(r->o[5] & ACC_ADDR64) && clean_rows(w, r, off)) {
        c->shared_wavefronts += 4;
        return true;
    }
    u64 a[LANES];
    const u32 m = count == 4 ? FULL_MASK : (1u << (8 * count)) - 1;
    address_row(w, r->o[4], r->o[5] & ACC_ADDR64, rec_offset(r, 12), a);
    if (!locate_window(w, r, ACC_SHARED, a, m, 16, w->block->shared_base, w->block->shared_size))
        return false;
    for (int i = 0; i < count; i++) {
        const u32 cycles = row_cycles(a, 8 * i);
        c->shared_wavefronts += cycles;
        c->shared_conflicts += cycles - 1;
    }
    FOR_LANES off[l] = (u32)a[l];
    return true;
}

/* The checks of rows of 16 bytes at offsets in shared memory. */
static bool matrix_watch(Warp *w, const Rec *r, const u32 off[LANES], AccKind kind) {
    if (!SG_CHECKED) return true;
    u64 a[LANES];
    const int count = (int)(r->o[5] >> ACC_COUNT & 15);
    IVDEP FOR_LANES a[l] = off[l] + (u64)(uintptr_t)w->block->shared;
    return watch_access(w, r, ACC_SHARED, a, FULL_MASK >> (32 - 8 * count), 16, kind);
}

HANDLER(ldmatrix) {
    const Rec *next = NULL;
    if (!aligned_warp(w, r, &next)) return next;
    u32 a[LANES];
    if (!matrix_rows(w, r, a) || !matrix_watch(w, r, a, ACC_READ | ACC_WHOLE)) return NULL;
    const int count = (int)(r->o[5] >> ACC_COUNT & 15);
    for (int i = 0; i < count; i++) {
        Matrix8 m;
        for (int k = 0; k < 8; k++)
            __builtin_memcpy(&m.row[k], w->block->shared + a[8 * i + k], 16);
        if (r->o[6]) transpose8(&m);
        __builtin_memcpy(w->regs + r->o[i], &m, sizeof m);
    }
    return r + 1;
}

HANDLER(stmatrix) {
    const Rec *next = NULL;
    if (!aligned_warp(w, r, &next)) return next;
    u32 a[LANES];
    if (!matrix_rows(w, r, a) || !matrix_watch(w, r, a, ACC_WRITE)) return NULL;
    const int count = (int)(r->o[5] >> ACC_COUNT & 15);
    for (int i = 0; i < count; i++) {
        Matrix8 m;
        __builtin_memcpy(&m, w->regs + r->o[i], sizeof m);
        if (r->o[6]) transpose8(&m);
        for (int k = 0; k < 8; k++)
            __builtin_memcpy(w->block->shared + a[8 * i + k], &m.row[k], 16);
    }
    w->block->progress = true;
    return r + 1;
}

/* Bytes from 16 elements of 8, 6 or 4 bits, the first in the lowest bits of a row: each in the low
 * bits of its byte (ldmatrix's b8x16.b6x16_p32 and .b4x16_p64; the padding follows). */
static void expand_row(const u8 *row, u32 bits, u8 out[16]) {
    u64 w[2];
    __builtin_memcpy(w, row, sizeof w);
    for (u32 i = 0; i < 16; i++) {
        const u32 at = i * bits, shift = at & 63;
        u64 v = w[at >> 6] >> shift;
        if (shift + bits > 64) v |= w[1] << (64 - shift);
        out[i] = (u8)(v & ((1u << bits) - 1));
    }
}

/* Rows of 16 elements. m8n16: lane 4g + t gets the bytes 4t .. 4t + 3 of row g. m16n16, always
 * transposed: of each matrix two registers, v = 0, 1; byte e is column g + 8v of row 4t + e. */
HANDLER(ldmatrix_bytes) {
    const Rec *next = NULL;
    if (!aligned_warp(w, r, &next)) return next;
    u32 a[LANES];
    if (!matrix_rows(w, r, a) || !matrix_watch(w, r, a, ACC_READ | ACC_WHOLE)) return NULL;
    const int rows = 8 * (int)(r->o[5] >> ACC_COUNT & 15);
    u8 m[LANES][16];
    for (int i = 0; i < rows; i++) expand_row(w->block->shared + a[i], r->o[7], m[i]);
    for (int k = 0; k < rows / 8; k++) {
        u32 *const d = ROW(u32, k);
        FOR_LANES {
            const int g = l >> 2, t = l & 3;
            u32 v = 0;
            for (int e = 0; e < 4; e++)
                v |= (u32)(r->o[6] ? m[16 * (k >> 1) + 4 * t + e][g + 8 * (k & 1)]
                                   : m[8 * k + g][4 * t + e])
                     << (8 * e);
            d[l] = v;
        }
    }
    return r + 1;
}

/* m16n8, always transposed: a register is a fragment of D of mma.m16n8 in bytes; byte e of lane
 * 4g + t is row g + 8 (e >> 1), column 2t + (e & 1), and a column becomes 16 bytes in memory. */
HANDLER(stmatrix_bytes) {
    const Rec *next = NULL;
    if (!aligned_warp(w, r, &next)) return next;
    u32 a[LANES];
    if (!matrix_rows(w, r, a) || !matrix_watch(w, r, a, ACC_WRITE)) return NULL;
    const int count = (int)(r->o[5] >> ACC_COUNT & 15);
    for (int i = 0; i < count; i++) {
        const u32 *const from = ROW(u32, i);
        u8 m[8][16];
        FOR_LANES for (int e = 0; e < 4; e++) m[2 * (l & 3) + (e & 1)][(l >> 2) + 8 * (e >> 1)] =
            (u8)(from[l] >> (8 * e));
        for (int k = 0; k < 8; k++) __builtin_memcpy(w->block->shared + a[8 * i + k], m[k], 16);
    }
    w->block->progress = true;
    return r + 1;
}

HANDLER(movmatrix) {
    const Rec *next = NULL;
    if (!aligned_warp(w, r, &next)) return next;
    Matrix8 m;
    __builtin_memcpy(&m, w->regs + r->o[1], sizeof m);
    transpose8(&m);
    __builtin_memcpy(w->regs + r->o[0], &m, sizeof m);
    return r + 1;
}

/* The lanes of the membermask, as the first running lane sees it. False: go to *next. */
static inline bool members(Warp *w, const Rec *r, int k, const ExchangeRows *rows,
                           const Rec **next) {
    u32 mask = 0;
    if (!warp_members(w, r, ROW(u32, k), &mask, next)) return false;
    if (mask & w->live & ~w->mask) {
        *next = warp_exchange(w, r, mask, rows);
        return false;
    }
    if (SG_CHECKED) watch_met(w);
    return true;
}

/* A butterfly over the whole warp by one power of two: a fixed permutation. */
static bool butterfly(const u32 a[LANES], const u32 *pb, const u32 *pc, u32 *d) {
    const u32 b = pb[0];
    u32 differ = 0;
    FOR_LANES differ |= (pb[l] ^ b) | (pc[l] ^ 31);
    if (differ) return false;
    switch (b) {
    case 1: FOR_LANES d[l] = a[l ^ 1]; return true;
    case 2: FOR_LANES d[l] = a[l ^ 2]; return true;
    case 4: FOR_LANES d[l] = a[l ^ 4]; return true;
    case 8: FOR_LANES d[l] = a[l ^ 8]; return true;
    case 16: FOR_LANES d[l] = a[l ^ 16]; return true;
    default: return false;
    }
}

static const Rec *shfl_idle(Warp *w, const Rec *r, u32 readers, const u32 *from) {
    const int l = __builtin_ctz(readers);
    return warp_fault(w, r, 715, readers,
                      "shfl: lane %d reads lane %u, which does not take part (0x%08x do; lanes "
                      "0x%08x read such lanes)",
                      l, from[l], w->mask, readers);
}

/* shfl.sync: o[0] d, o[1] p or NO_ROW, o[2] a, o[3] b, o[4] c, o[5] membermask, o[6] mode
 * (0 up, 1 down, 2 bfly, 3 idx). c: clamp in bits 0..4, segment mask in bits 8..12. */
HANDLER(shfl) {
    const Rec *next = NULL;
    static const ExchangeRows rows = {
        .kind = {EX_OUT, EX_OUT_PRED, EX_IN, EX_IN, EX_IN, EX_MEMBERS}};
    if (!members(w, r, 5, &rows, &next)) return next;
    u32 a[LANES], inside = 0, idle = 0;
    __builtin_memcpy(a, ROW(u32, 2), sizeof a);
    const u32 *const pb = ROW(u32, 3), *const pc = ROW(u32, 4);
    u32 *const d = ROW(u32, 0);
    if (w->mask == FULL_MASK && r->o[6] == 2 && butterfly(a, pb, pc, d)) {
        if (r->o[1] != NO_ROW) PRED(1) = FULL_MASK;
        return r + 1;
    }
    u32 out[LANES], from[LANES];
    FOR_LANES {
        const u32 lane = (u32)l, b = pb[l] & 31, c = pc[l], segment = c >> 8 & 31;
        const u32 high = (lane & segment) | (c & 31 & ~segment), low = lane & segment;
        u32 j = lane;
        bool ok = false;
        switch (r->o[6]) {
        case 0:
            j = lane - b;
            ok = (s32)j >= (s32)high;
            break;
        case 1:
            j = lane + b;
            ok = j <= high;
            break;
        case 2:
            j = lane ^ b;
            ok = j <= high;
            break;
        default:
            j = low | (b & ~segment);
            ok = j <= high;
            break;
        }
        j = ok ? j & 31 : lane;
        inside |= (u32)ok << l;
        idle |= (u32)(!(w->mask >> j & 1)) << l;
        from[l] = j;
        out[l] = a[j];
    }
    if (idle & w->mask) return shfl_idle(w, r, idle & w->mask, from);
    FOR_LANES d[l] = w->mask >> l & 1 ? out[l] : d[l];
    if (r->o[1] != NO_ROW) PRED(1) = (PRED(1) & ~w->mask) | (inside & w->mask);
    return r + 1;
}

/* vote.sync: o[0] d, o[1] predicate, o[5] its negation, o[2] membermask, o[3] mode (0 all, 1 any,
 * 2 uni, 3 ballot). */
HANDLER(vote) {
    const Rec *next = NULL;
    static const ExchangeRows rows[] = {
        {.kind = {EX_OUT_PRED, EX_IN_PRED, EX_MEMBERS, [5] = EX_NEGATION}, .negation = 5},
        {.kind = {EX_OUT, EX_IN_PRED, EX_MEMBERS, [5] = EX_NEGATION}, .negation = 5}};
    if (!members(w, r, 2, &rows[r->o[3] == 3], &next)) return next;
    const u32 p = (PRED(1) ^ r->o[5]) & w->mask;
    const bool all = p == w->mask, any = p != 0;
    const bool yes = r->o[3] == 0 ? all : r->o[3] == 1 ? any : all || !any;
    if (r->o[3] != 3) {
        PRED(0) = (PRED(0) & ~w->mask) | (yes ? w->mask : 0);
        return r + 1;
    }
    u32 *const d = ROW(u32, 0);
    FOR_LANES d[l] = w->mask >> l & 1 ? p : d[l];
    return r + 1;
}

/* match.sync: o[0] d, o[1] p or NO_ROW, o[2] a, o[3] membermask, o[6] 1: 64-bit, o[7] 1: all. */
HANDLER(match) {
    const Rec *next = NULL;
    static const ExchangeRows rows[] = {{.kind = {EX_OUT, EX_OUT_PRED, EX_IN, EX_MEMBERS}},
                                        {.kind = {EX_OUT, EX_OUT_PRED, EX_IN_WIDE, EX_MEMBERS}}};
    if (!members(w, r, 3, &rows[r->o[6] == 1], &next)) return next;
    u64 a[LANES];
    u32 out[LANES] = {0};
    FOR_LANES a[l] = r->o[6] ? ROW(u64, 2)[l] : ROW(u32, 2)[l];
    for (int i = 0; i < LANES; i++)
        FOR_LANES if ((w->mask >> l & 1) && (w->mask >> i & 1) && a[l] == a[i]) out[i] |= 1u << l;
    const bool same = out[__builtin_ctz(w->mask)] == w->mask;
    FOR_LANES if (w->mask >> l & 1) ROW(u32, 0)[l] = !r->o[7] ? out[l] : same ? w->mask : 0;
    if (r->o[1] != NO_ROW) PRED(1) = (PRED(1) & ~w->mask) | (same ? w->mask : 0);
    return r + 1;
}

static const ExchangeRows redux_rows = {.kind = {EX_OUT, EX_IN, EX_MEMBERS}};

/* redux.sync: o[0] d, o[1] a, o[2] membermask, o[3] AtomOp, o[4] 1: signed. */
HANDLER(redux) {
    const Rec *next = NULL;
    if (!members(w, r, 2, &redux_rows, &next)) return next;
    const u32 *const a = ROW(u32, 1);
    const AtomType type = r->o[4] ? AT_S32 : AT_U32;
    int l0 = __builtin_ctz(w->mask);
    u64 v = a[l0];
    for (int l = l0 + 1; l < LANES; l++)
        if (w->mask >> l & 1) v = atom_value((AtomOp)r->o[3], type, v, a[l], 0);
    FOR_LANES if (w->mask >> l & 1) ROW(u32, 0)[l] = (u32)v;
    return r + 1;
}

/* redux.sync.f32: o[3] AT_MIN or AT_MAX, o[4] bit 0 .NaN, bit 1 .abs. A NaN loses, or with .NaN
 * wins; -0 < +0. */
HANDLER(redux_f32) {
    const Rec *next = NULL;
    u32 nans = 0;
    if (!members(w, r, 2, &redux_rows, &next)) return next;
    const u32 *const a = ROW(u32, 1);
    const bool least = r->o[3] == AT_MIN;
    u32 best = 0x7fffffffu;
    for (u32 left = w->mask; left; left &= left - 1) {
        const u32 v = a[__builtin_ctz(left)] & (r->o[4] & 2 ? 0x7fffffffu : UINT32_MAX);
        const float x = as_f32(v), y = as_f32(best);
        const bool less = x == y ? v >> 31 > best >> 31 : x < y;
        nans |= x != x;
        if (x == x && (y != y || (v != best && less == least))) best = v;
    }
    if (nans && (r->o[4] & 1)) best = 0x7fffffffu;
    FOR_LANES if (w->mask >> l & 1) ROW(u32, 0)[l] = best;
    return r + 1;
}
