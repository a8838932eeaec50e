/* Handlers of integer, logic, select and move instructions; included by lane.c only.
 *
 * Edge rules are cited from PTX ISA 9.7.1 (integer), 9.7.8 (logic and shift). */

MAP2(add_u32, u32, u32, u32, a + b)
MAP2(add_u64, u64, u64, u64, a + b)
MAP2(add_u16, u32, u32, u32, (a + b) & 0xffff)
MAP2(add_u16x2, u32, u32, u32, ((a & 0xffff0000u) + (b & 0xffff0000u)) | ((a + b) & 0xffffu))
MAP2(sub_u32, u32, u32, u32, a - b)
MAP2(sub_u64, u64, u64, u64, a - b)
MAP2(sub_u16, u32, u32, u32, (a - b) & 0xffff)

static inline u32 clamp_s32(s64 v) {
    return (u32)(s32)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v);
}
MAP2(addsat_s32, u32, s32, s32, clamp_s32((s64)a + b))
MAP2(subsat_s32, u32, s32, s32, clamp_s32((s64)a - b))

/* Extended precision: CC.CF of each lane is a bit of w->carry; sub adds the complement,
 * so the flag is clear on borrow (seen when addc follows sub.cc). */
#define CARRY(name, SUM, KEEP)                                                                     \
    HANDLER(name) {                                                                                \
        u32 *const d = ROW(u32, 0);                                                                \
        const u32 *const pa = ROW(u32, 1), *const pb = ROW(u32, 2);                                \
        u32 carry = 0;                                                                             \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const u64 a = pa[l], b = pb[l], c = w->carry >> l & 1;                                 \
            (void)c;                                                                               \
            const u64 z = (SUM);                                                                   \
            carry |= (u32)(z >> 32 & 1) << l;                                                      \
            d[l] = (u32)z;                                                                         \
        }                                                                                          \
        if (KEEP) w->carry = (w->carry & ~w->mask) | carry;                                        \
        return r + 1;                                                                              \
    }
CARRY(addcc_u32, a + b, true)
CARRY(addc_u32, a + b + c, false)
CARRY(addccc_u32, a + b + c, true)
CARRY(subcc_u32, a + (b ^ UINT32_MAX) + 1, true)
CARRY(subc_u32, a + (b ^ UINT32_MAX) + c, false)
CARRY(subccc_u32, a + (b ^ UINT32_MAX) + c, true)

/* The same with 64-bit lanes: the carry of a sum of three that wraps. */
#define CARRY64(name, B, C, KEEP)                                                                  \
    HANDLER(name) {                                                                                \
        u64 *const d = ROW(u64, 0);                                                                \
        const u64 *const pa = ROW(u64, 1), *const pb = ROW(u64, 2);                                \
        u32 carry = 0;                                                                             \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const u64 b = pb[l], c = w->carry >> l & 1;                                            \
            (void)c;                                                                               \
            const unsigned __int128 z = (unsigned __int128)pa[l] + (B) + (C);                      \
            carry |= (u32)(z >> 64 & 1) << l;                                                      \
            d[l] = (u64)z;                                                                         \
        }                                                                                          \
        if (KEEP) w->carry = (w->carry & ~w->mask) | carry;                                        \
        return r + 1;                                                                              \
    }
CARRY64(addcc_u64, b, 0, true)
CARRY64(addc_u64, b, c, false)
CARRY64(addccc_u64, b, c, true)
CARRY64(subcc_u64, ~b, 1, true)
CARRY64(subc_u64, ~b, c, false)
CARRY64(subccc_u64, ~b, c, true)

/* mad.cc and madc: the low or high half of the product, then the sum with carry. */
#define MAD_CARRY(name, T, PRODUCT, IN, KEEP)                                                      \
    HANDLER(name) {                                                                                \
        u32 *const d = ROW(u32, 0);                                                                \
        const T *const pa = ROW(T, 1), *const pb = ROW(T, 2);                                      \
        const u32 *const pc = ROW(u32, 3);                                                         \
        u32 carry = 0;                                                                             \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const T a = pa[l], b = pb[l];                                                          \
            const u64 z = (u64)(u32)(PRODUCT) + pc[l] + ((IN) ? w->carry >> l & 1 : 0);            \
            carry |= (u32)(z >> 32 & 1) << l;                                                      \
            d[l] = (u32)z;                                                                         \
        }                                                                                          \
        if (KEEP) w->carry = (w->carry & ~w->mask) | carry;                                        \
        return r + 1;                                                                              \
    }
#define MAD_CARRIES(name, T, PRODUCT)                                                              \
    MAD_CARRY(madcc_##name, T, PRODUCT, false, true)                                               \
    MAD_CARRY(madc_##name, T, PRODUCT, true, false)                                                \
    MAD_CARRY(madccc_##name, T, PRODUCT, true, true)
MAD_CARRIES(lo, u32, a *b)
MAD_CARRIES(hi_u32, u32, (u64)a *b >> 32)
MAD_CARRIES(hi_s32, s32, (s64)a *b >> 32)
#define MAD_CARRY64(name, T, PRODUCT, IN, KEEP)                                                    \
    HANDLER(name) {                                                                                \
        u64 *const d = ROW(u64, 0);                                                                \
        const T *const pa = ROW(T, 1), *const pb = ROW(T, 2);                                      \
        const u64 *const pc = ROW(u64, 3);                                                         \
        u32 carry = 0;                                                                             \
        FOR_LANES {                                                                                \
            if (!(w->mask >> l & 1)) continue;                                                     \
            const T a = pa[l], b = pb[l];                                                          \
            const unsigned __int128 z =                                                            \
                (unsigned __int128)(u64)(PRODUCT) + pc[l] + ((IN) ? w->carry >> l & 1 : 0);        \
            carry |= (u32)(z >> 64 & 1) << l;                                                      \
            d[l] = (u64)z;                                                                         \
        }                                                                                          \
        if (KEEP) w->carry = (w->carry & ~w->mask) | carry;                                        \
        return r + 1;                                                                              \
    }
#define MAD_CARRIES64(name, T, PRODUCT)                                                            \
    MAD_CARRY64(madcc_##name, T, PRODUCT, false, true)                                             \
    MAD_CARRY64(madc_##name, T, PRODUCT, true, false)                                              \
    MAD_CARRY64(madccc_##name, T, PRODUCT, true, true)
MAD_CARRIES64(lo_64, u64, a *b)
MAD_CARRIES64(hi_u64, u64, (unsigned __int128)a *b >> 64)
MAD_CARRIES64(hi_s64, s64, (__int128)a *b >> 64)

MAP2(mul_u32, u32, u32, u32, a *b)
MAP2(mul_u64, u64, u64, u64, a *b)
MAP2(mul_u16, u32, u32, u32, ((a & 0xffff) * (b & 0xffff)) & 0xffff)
MAP2(mulhi_u32, u32, u32, u32, (u64)a *b >> 32)
MAP2(mulhi_s32, u32, s32, s32, (s64)a *b >> 32)
MAP2(mulhi_u64, u64, u64, u64, (unsigned __int128)a *b >> 64)
MAP2(mulhi_s64, u64, s64, s64, (__int128)a *b >> 64)
MAP2(mulhi_u16, u32, u32, u32, (a & 0xffff) * (b & 0xffff) >> 16)
MAP2(mulhi_s16, u32, u32, u32, ((s32)(s16)a * (s16)b >> 16) & 0xffff)
MAP2(mulwide_u32, u64, u32, u32, (u64)a *b)
MAP2(mulwide_s32, u64, s32, s32, (s64)a *b)
MAP2(mulwide_u16, u32, u32, u32, (a & 0xffff) * (b & 0xffff))
MAP2(mulwide_s16, u32, u32, u32, (s32)(s16)a *(s16)b)
MAP2(mul24_u32, u32, u32, u32, (a & 0xffffff) * (b & 0xffffff))
MAP2(mul24_s32, u32, u32, u32, (u32)((s32)(a << 8) >> 8) * (u32)((s32)(b << 8) >> 8))
/* .hi: bits 16..47 of the 48-bit product. */
#define PRODUCT24U ((u64)(a & 0xffffff) * (b & 0xffffff))
#define PRODUCT24S ((s64)((s32)(a << 8) >> 8) * ((s32)(b << 8) >> 8))
MAP2(mul24hi_u32, u32, u32, u32, PRODUCT24U >> 16)
MAP2(mul24hi_s32, u32, u32, u32, PRODUCT24S >> 16)
MAP3(mad24_u32, u32, u32, u32, u32, (u32)PRODUCT24U + c)
MAP3(mad24_s32, u32, u32, u32, u32, (u32)PRODUCT24S + c)
MAP3(mad24hi_u32, u32, u32, u32, u32, (u32)(PRODUCT24U >> 16) + c)
MAP3(mad24hi_s32, u32, u32, u32, u32, (u32)(PRODUCT24S >> 16) + c)
MAP3(mad24hi_sat_s32, u32, u32, u32, s32, clamp_s32((PRODUCT24S >> 16) + c))
MAP3(mad_u32, u32, u32, u32, u32, a *b + c)
MAP3(mad_u64, u64, u64, u64, u64, a *b + c)
MAP3(mad_u16, u32, u32, u32, u32, ((a & 0xffff) * (b & 0xffff) + c) & 0xffff)
MAP3(madhi_u32, u32, u32, u32, u32, (u32)((u64)a *b >> 32) + c)
MAP3(madhi_s32, u32, s32, s32, u32, (u32)((s64)a *b >> 32) + c)
MAP3(madhi_u16, u32, u32, u32, u32, (((a & 0xffff) * (b & 0xffff) >> 16) + c) & 0xffff)
MAP3(madhi_s16, u32, u32, u32, u32, (u32)(((s32)(s16)a * (s16)b >> 16) + (s32)c) & 0xffff)
MAP3(madhi_u64, u64, u64, u64, u64, (u64)((unsigned __int128)a *b >> 64) + c)
MAP3(madhi_s64, u64, s64, s64, u64, (u64)((__int128)a *b >> 64) + c)
MAP3(madhi_sat_s32, u32, s32, s32, s32, clamp_s32(((s64)a * b >> 32) + c))
MAP3(madwide_u32, u64, u32, u32, u64, (u64)a *b + c)
MAP3(madwide_s32, u64, s32, s32, u64, (u64)((s64)a *b) + c)
MAP3(madwide_u16, u32, u32, u32, u32, (a & 0xffff) * (b & 0xffff) + c)
MAP3(madwide_s16, u32, u32, u32, u32, (u32)((s32)(s16)a *(s16)b) + c)

/* Division by zero: unspecified by the ISA; all ones (quotient) and the dividend (remainder), as
 * the expansion of ptxas computes. INT_MIN / -1 wraps. */
SCALAR2(div_u32, u32, u32, u32, b ? a / b : UINT32_MAX)
SCALAR2(div_u64, u64, u64, u64, b ? a / b : UINT64_MAX)
SCALAR2(div_s32, u32, s32, s32, !b ? -1 : b == -1 ? (s32)(0 - (u32)a) : a / b)
SCALAR2(div_s64, u64, s64, s64, !b ? -1 : b == -1 ? (s64)(0 - (u64)a) : a / b)
SCALAR2(div_u16, u32, u32, u32, (u16)b ? (u16)a / (u16)b : 0xffff)
SCALAR2(div_s16, u32, u32, u32, ((s16)b ? (s16)a / (s16)b : -1) & 0xffff)
SCALAR2(rem_u32, u32, u32, u32, b ? a % b : a)
SCALAR2(rem_u64, u64, u64, u64, b ? a % b : a)
SCALAR2(rem_s32, u32, s32, s32, !b ? a : b == -1 ? 0 : a % b)
SCALAR2(rem_s64, u64, s64, s64, !b ? a : b == -1 ? 0 : a % b)
SCALAR2(rem_u16, u32, u32, u32, (u16)b ? (u16)a % (u16)b : (u16)a)
SCALAR2(rem_s16, u32, u32, u32, ((s16)b ? (s16)a % (s16)b : (s16)a) & 0xffff)

MAP1(abs_s32, u32, s32, a < 0 ? 0 - (u32)a : (u32)a)
MAP1(abs_s64, u64, s64, a < 0 ? 0 - (u64)a : (u64)a)
MAP1(abs_s16, u32, u32, ((s16)a < 0 ? 0 - a : a) & 0xffff)
MAP1(neg_s32, u32, u32, 0 - a)
MAP1(neg_s64, u64, u64, 0 - a)
MAP1(neg_s16, u32, u32, (0 - a) & 0xffff)
MAP2(min_u32, u32, u32, u32, a < b ? a : b)
MAP2(min_s32, s32, s32, s32, a < b ? a : b)
MAP2(min_u64, u64, u64, u64, a < b ? a : b)
MAP2(min_s64, s64, s64, s64, a < b ? a : b)
MAP2(min_u16, u32, u32, u32, (a & 0xffff) < (b & 0xffff) ? a & 0xffff : b & 0xffff)
MAP2(min_s16, u32, u32, u32, (s16)a < (s16)b ? a & 0xffff : b & 0xffff)
MAP2(max_u32, u32, u32, u32, a > b ? a : b)
MAP2(max_s32, s32, s32, s32, a > b ? a : b)
MAP2(max_u64, u64, u64, u64, a > b ? a : b)
MAP2(max_s64, s64, s64, s64, a > b ? a : b)
MAP2(max_u16, u32, u32, u32, (a & 0xffff) > (b & 0xffff) ? a & 0xffff : b & 0xffff)
MAP2(max_s16, u32, u32, u32, (s16)a > (s16)b ? a & 0xffff : b & 0xffff)
#define BOTH16(OP, A, B)  (((A)&0xffff)OP((B)&0xffff) ? (A)&0xffff : (B)&0xffff)
#define BOTHS16(OP, A, B) ((s16)(A)OP(s16)(B) ? (A)&0xffff : (B)&0xffff)
static inline u32 relu_s16(u32 v) {
    return v & 0x8000 ? 0 : v;
}
MAP2(min_u16x2, u32, u32, u32, BOTH16(<, a, b) | BOTH16(<, a >> 16, b >> 16) << 16)
MAP2(max_u16x2, u32, u32, u32, BOTH16(>, a, b) | BOTH16(>, a >> 16, b >> 16) << 16)
MAP2(min_s16x2, u32, u32, u32, BOTHS16(<, a, b) | BOTHS16(<, a >> 16, b >> 16) << 16)
MAP2(max_s16x2, u32, u32, u32, BOTHS16(>, a, b) | BOTHS16(>, a >> 16, b >> 16) << 16)
MAP2(min_relu_s16x2, u32, u32, u32,
     relu_s16(BOTHS16(<, a, b)) | relu_s16(BOTHS16(<, a >> 16, b >> 16)) << 16)
MAP2(max_relu_s16x2, u32, u32, u32,
     relu_s16(BOTHS16(>, a, b)) | relu_s16(BOTHS16(>, a >> 16, b >> 16)) << 16)
MAP2(min_relu_s32, s32, s32, s32, a < 0 || b < 0 ? 0 : a < b ? a : b)
MAP2(max_relu_s32, s32, s32, s32, a < 0 && b < 0 ? 0 : a > b ? a : b)
MAP3(sad_u32, u32, u32, u32, u32, c + (a > b ? a - b : b - a))
MAP3(sad_s32, u32, s32, s32, u32, c + (a > b ? (u32)a - (u32)b : (u32)b - (u32)a))

MAP3(sad_u64, u64, u64, u64, u64, c + (a > b ? a - b : b - a))
MAP3(sad_s64, u64, s64, s64, u64, c + (a > b ? (u64)a - (u64)b : (u64)b - (u64)a))
MAP3(sad_u16, u32, u32, u32, u32,
     (c + ((u16)a > (u16)b ? (u16)a - (u16)b : (u16)b - (u16)a)) & 0xffff)
MAP3(sad_s16, u32, u32, u32, u32,
     (c + (u32)((s16)a > (s16)b ? (s16)a - (s16)b : (s16)b - (s16)a)) & 0xffff)

MAP1(popc_b32, u32, u32, __builtin_popcount(a))
MAP1(popc_b64, u32, u64, __builtin_popcountll(a))
MAP1(clz_b32, u32, u32, a ? __builtin_clz(a) : 32)
MAP1(clz_b64, u32, u64, a ? __builtin_clzll(a) : 64)

static inline u32 reverse32(u32 v) {
    v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
    v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(v);
}
MAP1(brev_b32, u32, u32, reverse32(a))
MAP1(brev_b64, u64, u64, (u64)reverse32((u32)a) << 32 | reverse32((u32)(a >> 32)))

/* Position of the most significant bit that differs from the sign; ~0 when there is none. */
static inline u32 find_bit(u64 v, int width) {
    return v ? (u32)(63 - __builtin_clzll(v)) : (width > 0 ? UINT32_MAX : 0);
}
MAP1(bfind_u32, u32, u32, find_bit(a, 32))
MAP1(bfind_s32, u32, s32, find_bit((u32)(a < 0 ? ~a : a), 32))
MAP1(bfind_u64, u32, u64, find_bit(a, 64))
MAP1(bfind_s64, u32, s64, find_bit((u64)(a < 0 ? ~a : a), 64))
MAP1(bfindsh_u32, u32, u32, a ? __builtin_clz(a) : UINT32_MAX)
MAP1(bfindsh_s32, u32, s32,
     (a < 0 ? ~a : a) ? (u32)__builtin_clz((u32)(a < 0 ? ~a : a)) : UINT32_MAX)
MAP1(bfindsh_u64, u32, u64, a ? (u32)__builtin_clzll(a) : UINT32_MAX)
MAP1(bfindsh_s64, u32, s64,
     (a < 0 ? ~a : a) ? (u32)__builtin_clzll((u64)(a < 0 ? ~a : a)) : UINT32_MAX)

/* Position and length are the low 8 bits; the sign is that of the last bit inside the field,
 * or of the operand when the field reaches past it. */
static inline u64 extract(u64 a, u32 pos, u32 len, u32 width, bool sign) {
    pos &= 255;
    len &= 255;
    if (len == 0) return 0;
    const u32 last = pos + len - 1 < width - 1 ? pos + len - 1 : width - 1;
    const bool fill = sign && (a >> last & 1);
    u64 v = pos < width ? a >> pos : 0;
    const u32 have = pos < width ? (len < width - pos ? len : width - pos) : 0;
    const u64 keep = have >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << have) - 1;
    return (v & keep) | (fill ? ~keep : 0);
}
MAP3(bfe_u32, u32, u32, u32, u32, extract(a, b, c, 32, false))
MAP3(bfe_s32, u32, u32, u32, u32, extract(a, b, c, 32, true))
MAP3(bfe_u64, u64, u64, u32, u32, extract(a, b, c, 64, false))
MAP3(bfe_s64, u64, u64, u32, u32, extract(a, b, c, 64, true))

static inline u64 insert(u64 a, u64 b, u32 pos, u32 len, u32 width) {
    pos &= 255;
    len &= 255;
    if (len == 0 || pos >= width) return b;
    const u64 field = len >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << len) - 1;
    return (b & ~(field << pos)) | (a & field) << pos;
}
#define MAP4(name, TD, TC, EXPR)                                                                   \
    HANDLER(name) {                                                                                \
        TD *const d = ROW(TD, 0);                                                                  \
        const TD *const pa = ROW(TD, 1), *const pb = ROW(TD, 2);                                   \
        const TC *const pc = ROW(TC, 3), *const pe = ROW(TC, 4);                                   \
        MAP_LOOPS(TD, const TD a = pa[l]; const TD b = pb[l]; const TC c = pc[l];                  \
                  const TC e = pe[l], EXPR)                                                        \
    }
MAP4(bfi_b32, u32, u32, insert(a, b, c, e, 32))
MAP4(bfi_b64, u64, u32, insert(a, b, c, e, 64))

static inline u32 mask_bits(u32 pos, u32 len, bool clamp) {
    if (!clamp) {
        pos &= 31;
        len &= 31;
    }
    if (pos >= 32) return 0;
    const u64 ones = len >= 32 ? UINT32_MAX : (UINT64_C(1) << len) - 1;
    return (u32)(ones << pos);
}
MAP2(bmskc_b32, u32, u32, u32, mask_bits(a, b, true))
MAP2(bmskw_b32, u32, u32, u32, mask_bits(a, b, false))

static inline u32 sign_zero_extend(u32 a, u32 n, bool sign, bool clamp) {
    n = clamp ? (n > 32 ? 32 : n) : n & 31;
    if (n == 0) return 0;
    const u32 keep = n >= 32 ? UINT32_MAX : (1u << n) - 1;
    return (a & keep) | (sign && (a >> (n - 1) & 1) ? ~keep : 0);
}
MAP2(szextcu_b32, u32, u32, u32, sign_zero_extend(a, b, false, true))
MAP2(szextcs_b32, u32, u32, u32, sign_zero_extend(a, b, true, true))
MAP2(szextwu_b32, u32, u32, u32, sign_zero_extend(a, b, false, false))
MAP2(szextws_b32, u32, u32, u32, sign_zero_extend(a, b, true, false))

#define DOT4(A, B)                                                                                 \
    (c + (u32)((s32)(A)a * (s32)(B)b) + (u32)((s32)(A)(a >> 8) * (s32)(B)(b >> 8)) +               \
     (u32)((s32)(A)(a >> 16) * (s32)(B)(b >> 16)) + (u32)((s32)(A)(a >> 24) * (s32)(B)(b >> 24)))
MAP3(dp4a_uu, u32, u32, u32, u32, DOT4(u8, u8))
MAP3(dp4a_ss, u32, u32, u32, u32, DOT4(s8, s8))
MAP3(dp4a_us, u32, u32, u32, u32, DOT4(u8, s8))
MAP3(dp4a_su, u32, u32, u32, u32, DOT4(s8, u8))

/* dp2a: two 16-bit values of a times the low or high two bytes of b. */
#define DOT2(A, B, AT)                                                                             \
    (c + (u32)((s32)(A)a * (s32)(B)(b >> (AT))) +                                                  \
     (u32)((s32)(A)(a >> 16) * (s32)(B)(b >> ((AT) + 8))))
#define DOT2S(half, AT)                                                                            \
    MAP3(dp2a_##half##_uu, u32, u32, u32, u32, DOT2(u16, u8, AT))                                  \
    MAP3(dp2a_##half##_ss, u32, u32, u32, u32, DOT2(s16, s8, AT))                                  \
    MAP3(dp2a_##half##_us, u32, u32, u32, u32, DOT2(u16, s8, AT))                                  \
    MAP3(dp2a_##half##_su, u32, u32, u32, u32, DOT2(s16, u8, AT))
DOT2S(lo, 0)
DOT2S(hi, 16)

MAP2(and_b32, u32, u32, u32, a &b)
MAP2(and_b64, u64, u64, u64, a &b)
MAP2(or_b32, u32, u32, u32, a | b)
MAP2(or_b64, u64, u64, u64, a | b)
MAP2(xor_b32, u32, u32, u32, a ^ b)
MAP2(xor_b64, u64, u64, u64, a ^ b)
MAP1(not_b32, u32, u32, ~a)
MAP1(not_b64, u64, u64, ~a)
MAP1(not_b16, u32, u32, ~a & 0xffff)
MAP1(cnot_b32, u32, u32, a == 0)
MAP1(cnot_b64, u64, u64, a == 0)
MAP1(cnot_b16, u32, u32, (a & 0xffff) == 0)

/* Predicates: o[k + 4] of a source is 0 or ~0 (written !p). */
#define PRED_SOURCE(k) (PRED(k) ^ r->o[(k) + 4])
#define PRED_OP(name, EXPR)                                                                        \
    HANDLER(name) {                                                                                \
        const u32 bits = (EXPR);                                                                   \
        PRED(0) = (PRED(0) & ~w->mask) | (bits & w->mask);                                         \
        return r + 1;                                                                              \
    }
PRED_OP(and_pred, PRED_SOURCE(1) & PRED_SOURCE(2))
PRED_OP(or_pred, PRED_SOURCE(1) | PRED_SOURCE(2))
PRED_OP(xor_pred, PRED_SOURCE(1) ^ PRED_SOURCE(2))
PRED_OP(not_pred, ~PRED_SOURCE(1))
PRED_OP(mov_pred, PRED_SOURCE(1))

/* Bit i of the result is bit (a_i b_i c_i) of the table in o[4]. */
HANDLER(lop3_b32) {
    u32 *const d = ROW(u32, 0);
    const u32 *const pa = ROW(u32, 1), *const pb = ROW(u32, 2), *const pc = ROW(u32, 3);
    u32 term[8];
    for (int i = 0; i < 8; i++) term[i] = (r->o[4] >> i & 1) ? UINT32_MAX : 0;
    MAP_LOOPS(u32, const u32 a = pa[l]; const u32 b = pb[l];
              const u32 c = pc[l], (~a & ~b & ~c & term[0]) | (~a & ~b & c & term[1]) |
                                       (~a & b & ~c & term[2]) | (~a & b & c & term[3]) |
                                       (a & ~b & ~c & term[4]) | (a & ~b & c & term[5]) |
                                       (a & b & ~c & term[6]) | (a & b & c & term[7]))
}

/* Shifts by the width or more give 0 or the sign. */
MAP2(shl_b32, u32, u32, u32, b > 31 ? 0 : a << (b & 31))
MAP2(shl_b64, u64, u64, u32, b > 63 ? 0 : a << (b & 63))
MAP2(shl_b16, u32, u32, u32, b > 15 ? 0 : (a << (b & 15)) & 0xffff)
MAP2(shr_u32, u32, u32, u32, b > 31 ? 0 : a >> (b & 31))
MAP2(shr_s32, s32, s32, u32, a >> (b > 31 ? 31 : b))
MAP2(shr_u64, u64, u64, u32, b > 63 ? 0 : a >> (b & 63))
MAP2(shr_s64, s64, s64, u32, a >> (b > 63 ? 63 : b))
MAP2(shr_u16, u32, u32, u32, b > 15 ? 0 : (a & 0xffff) >> (b & 15))
MAP2(shr_s16, u32, u32, u32, ((s32)(s16)a >> (b > 15 ? 15 : b)) & 0xffff)
/* Funnel shift of b:a; clamp stops at 32, wrap takes the low 5 bits. */
#define FUNNEL ((u64)b << 32 | a)
MAP3(shf_lc, u32, u32, u32, u32, FUNNEL << (c > 32 ? 32 : c) >> 32)
MAP3(shf_lw, u32, u32, u32, u32, FUNNEL << (c & 31) >> 32)
MAP3(shf_rc, u32, u32, u32, u32, FUNNEL >> (c > 32 ? 32 : c))
MAP3(shf_rw, u32, u32, u32, u32, FUNNEL >> (c & 31))

static inline u32 permute_byte(u64 bytes, u32 selector) {
    const u32 byte = (u32)(bytes >> (8 * (selector & 7))) & 0xff;
    return selector & 8 ? (byte & 0x80 ? 0xff : 0) : byte; /* bit 3 replicates the sign */
}
static inline u32 permute(u32 a, u32 b, u32 s0, u32 s1, u32 s2, u32 s3) {
    const u64 bytes = (u64)b << 32 | a;
    return permute_byte(bytes, s0) | permute_byte(bytes, s1) << 8 | permute_byte(bytes, s2) << 16 |
           permute_byte(bytes, s3) << 24;
}
MAP3(prmt, u32, u32, u32, u32, permute(a, b, c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15))
#define C3 (c & 3)
MAP3(prmt_f4e, u32, u32, u32, u32, permute(a, b, C3, C3 + 1, C3 + 2, C3 + 3))
MAP3(prmt_b4e, u32, u32, u32, u32, permute(a, b, C3, (C3 + 7) & 7, (C3 + 6) & 7, (C3 + 5) & 7))
MAP3(prmt_rc8, u32, u32, u32, u32, permute(a, b, C3, C3, C3, C3))
MAP3(prmt_ecl, u32, u32, u32, u32, permute(a, b, C3, C3 < 1 ? 1 : C3, C3 < 2 ? 2 : C3, 3))
MAP3(prmt_ecr, u32, u32, u32, u32, permute(a, b, 0, C3 < 1 ? C3 : 1, C3 < 2 ? C3 : 2, C3))
MAP3(prmt_rc16, u32, u32, u32, u32,
     permute(a, b, (C3 & 1) * 2, (C3 & 1) * 2 + 1, (C3 & 1) * 2, (C3 & 1) * 2 + 1))

#define SELECT(name, T)                                                                            \
    HANDLER(name) {                                                                                \
        T *const d = ROW(T, 0);                                                                    \
        const T *const pa = ROW(T, 1), *const pb = ROW(T, 2);                                      \
        const u32 p = PRED_SOURCE(3);                                                              \
        MAP_LOOPS(T, const T a = pa[l]; const T b = pb[l], p >> l & 1 ? a : b)                     \
    }
SELECT(selp_b32, u32)
SELECT(selp_b64, u64)
MAP3(slct_b32, u32, u32, u32, s32, c >= 0 ? a : b)
MAP3(slct_b64, u64, u64, u64, s32, c >= 0 ? a : b)
/* .ftz: a negative subnormal is -0, which is not below 0; only its bits tell. */
static inline bool slct_first(u32 c) {
    const u32 mag = c & 0x7fffffffu;
    return mag < 0x00800000u || (c >> 31 == 0 && mag <= 0x7f800000u);
}
MAP3(slct_ftz_b32_f32, u32, u32, u32, u32, slct_first(c) ? a : b)
MAP3(slct_ftz_b64_f32, u64, u64, u64, u32, slct_first(c) ? a : b)
MAP3(slct_b64_f32, u64, u64, u64, f32, c >= 0 ? a : b)
MAP3(slct_b32_f32, u32, u32, u32, f32, c >= 0 ? a : b)

/* vshl, vshr with .add: the shifted value plus c (PTX ISA, scalar video instructions). */
MAP3(vshl_clamp, u32, u32, u32, u32, (b > 31 ? 0 : a << (b & 31)) + c)
MAP3(vshl_wrap, u32, u32, u32, u32, (a << (b & 31)) + c)
MAP3(vshr_clamp, u32, u32, u32, u32, (b > 31 ? 0 : a >> (b & 31)) + c)
MAP3(vshr_wrap, u32, u32, u32, u32, (a >> (b & 31)) + c)

MAP1(mov_b32, u32, u32, a)
MAP1(mov_lane, u32, u32, a)
MAP2(add_offset, u32, u32, u32, a + b)
MAP1(mov_b64, u64, u64, a)
MAP2(add_window, u64, u64, u64, a + b)
MAP2(pack64, u64, u32, u32, (u64)b << 32 | a)
MAP2(pack32, u32, u32, u32, (b << 16) | (a & 0xffff))
HANDLER(unpack64) { /* o[0], o[1] <- o[2]; written from a copy: a destination may be the source */
    const u64 *const p = ROW(u64, 2);
    u32 *const lo = ROW(u32, 0), *const hi = ROW(u32, 1);
    u64 a[LANES];
    __builtin_memcpy(a, p, sizeof a);
    FOR_LANES if (w->mask >> l & 1) {
        lo[l] = (u32)a[l];
        hi[l] = (u32)(a[l] >> 32);
    }
    return r + 1;
}
HANDLER(unpack32) {
    const u32 *const p = ROW(u32, 2);
    u32 *const lo = ROW(u32, 0), *const hi = ROW(u32, 1);
    u32 a[LANES];
    __builtin_memcpy(a, p, sizeof a);
    FOR_LANES if (w->mask >> l & 1) {
        lo[l] = a[l] & 0xffff;
        hi[l] = a[l] >> 16;
    }
    return r + 1;
}
HANDLER(pack64h) {
    u64 *const d = ROW(u64, 0);
    const u32 *const a = ROW(u32, 1), *const b = ROW(u32, 2), *const c = ROW(u32, 3),
                     *const e = ROW(u32, 4);
    FOR_LANES if (w->mask >> l & 1) d[l] = (u64)(a[l] & 0xffff) | (u64)(b[l] & 0xffff) << 16 |
                                           (u64)(c[l] & 0xffff) << 32 | (u64)(e[l] & 0xffff) << 48;
    return r + 1;
}
HANDLER(unpack64h) {
    u64 a[LANES];
    __builtin_memcpy(a, ROW(u64, 4), sizeof a);
    for (int k = 0; k < 4; k++) {
        u32 *const d = ROW(u32, k);
        FOR_LANES if (w->mask >> l & 1) d[l] = (u32)(a[l] >> (16 * k)) & 0xffff;
    }
    return r + 1;
}

/* bytes, the first in the low bits */
MAP2(pack16b, u32, u32, u32, (a & 0xff) | (b & 0xff) << 8)
HANDLER(pack32b) {
    u32 *const d = ROW(u32, 0);
    const u32 *const a = ROW(u32, 1), *const b = ROW(u32, 2), *const c = ROW(u32, 3),
                     *const e = ROW(u32, 4);
    FOR_LANES if (w->mask >> l & 1) d[l] =
        (a[l] & 0xff) | (b[l] & 0xff) << 8 | (c[l] & 0xff) << 16 | e[l] << 24;
    return r + 1;
}
static inline void unpack_bytes(const Warp *w, const Rec *r, int n) {
    u32 a[LANES];
    __builtin_memcpy(a, ROW(u32, n), sizeof a);
    for (int k = 0; k < n; k++) {
        u32 *const d = ROW(u32, k);
        FOR_LANES if (w->mask >> l & 1) d[l] = a[l] >> (8 * k) & 0xff;
    }
}
HANDLER(unpack16b) {
    unpack_bytes(w, r, 2);
    return r + 1;
}
HANDLER(unpack32b) {
    unpack_bytes(w, r, 4);
    return r + 1;
}

COMPARE(eq_u32, u32, a == b)
COMPARE(lt_u32, u32, a < b)
COMPARE(lt_s32, s32, a < b)
COMPARE(eq_u64, u64, a == b)
COMPARE(lt_u64, u64, a < b)
COMPARE(lt_s64, s64, a < b)
COMPARE(eq_u16, u32, (u16)a == (u16)b)
COMPARE(lt_u16, u32, (u16)a < (u16)b)
COMPARE(lt_s16, u32, (s16)a < (s16)b)

HANDLER(set_b32) {
    u32 *const d = ROW(u32, 0);
    const u32 p = PRED(1), one = r->o[2];
    MAP_LOOPS(u32, , p >> l & 1 ? one : 0)
}

#define WIDE_u8  u32
#define WIDE_s8  u32
#define WIDE_u16 u32
#define WIDE_s16 u32
#define WIDE_u32 u32
#define WIDE_s32 u32
#define WIDE_u64 u64
#define WIDE_s64 u64
#define SAME(T)  T
/* The result is extended to the register by its own signedness (PTX ISA 9.7.9.21). */
#define EXT_u8        u32
#define EXT_s8        s32
#define EXT_u16       u32
#define EXT_s16       s32
#define EXT_u32       u32
#define EXT_s32       s32
#define EXT_u64       u64
#define EXT_s64       s64
#define CONVERT(D, S) MAP1(cvt_##D##_##S, WIDE_##D, WIDE_##S, (EXT_##D)(D)(S)a)
#define CVT_FROM(D)                                                                                \
    CONVERT(D, u8)                                                                                 \
    CONVERT(D, s8)                                                                                 \
    CONVERT(D, u16)                                                                                \
    CONVERT(D, s16)                                                                                \
    CONVERT(D, u32)                                                                                \
    CONVERT(D, s32)                                                                                \
    CONVERT(D, u64)                                                                                \
    CONVERT(D, s64)
CVT_FROM(u8)
CVT_FROM(s8)
CVT_FROM(u16)
CVT_FROM(s16)
CVT_FROM(u32)
CVT_FROM(s32)
CVT_FROM(u64)
CVT_FROM(s64)
#undef CVT_FROM

/* Integer saturation: s64 lanes (o[4]: the source is unsigned) clamped to the range of integer
 * type o[2] (0..7: u8 s8 u16 s16 u32 s32 u64 s64); the result has 32-bit lanes if o[3] is 0. */
static inline s64 saturate(s64 v, bool uns, u32 type) {
    static const s64 low[8] = {0, INT8_MIN, 0, INT16_MIN, 0, INT32_MIN, 0, INT64_MIN};
    static const s64 high[8] = {UINT8_MAX,  INT8_MAX,  UINT16_MAX, INT16_MAX,
                                UINT32_MAX, INT32_MAX, INT64_MAX,  INT64_MAX};
    if (uns && v < 0) return type == 6 ? v : high[type & 7];
    return v < low[type & 7] ? low[type & 7] : v > high[type & 7] ? high[type & 7] : v;
}
/* cvt.pack: a and b saturated to integer type o[4] of o[5] bits, a above b; c above both. */
HANDLER(cvt_pack) {
    u32 *const d = ROW(u32, 0);
    const s32 *const pa = ROW(s32, 1), *const pb = ROW(s32, 2);
    const u32 *const pc = ROW(u32, 3);
    const u32 bits = r->o[5], keep = (1u << bits) - 1;
    const s32 low = r->o[4] ? -(1 << (bits - 1)) : 0;
    const s32 high = r->o[4] ? (1 << (bits - 1)) - 1 : (s32)keep;
    MAP_LOOPS(u32, const s32 a = pa[l] < low    ? low
                                 : pa[l] > high ? high
                                                : pa[l];
              const s32 b = pb[l] < low    ? low
                            : pb[l] > high ? high
                                           : pb[l],
              (bits == 16 ? 0 : pc[l] << (2 * bits & 31)) | ((u32)a & keep) << bits |
                  ((u32)b & keep))
}
HANDLER(cvt_sat_int) {
    const s64 *const pa = ROW(s64, 1);
    FOR_LANES {
        if (!(w->mask >> l & 1)) continue;
        const s64 v = saturate(pa[l], r->o[4] != 0, r->o[2]);
        if (r->o[3])
            ROW(u64, 0)[l] = (u64)v;
        else
            ROW(u32, 0)[l] = (u32)v;
    }
    return r + 1;
}
