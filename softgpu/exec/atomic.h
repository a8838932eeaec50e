/* atom and red; included by tensor.c only.
 *
 * Blocks run on several host threads, so each is a host atomic; orders and scopes ask for less. The
 * elements of a vector are atomic one by one (PTX ISA, atom), so decode makes an instruction of
 * each. Record: o[0] result row or NO_ROW (b128: o[1] its high half), o[6] operand, o[7] second
 * operand (cas); of b128 o[2], o[3] high halves; o[8] AtomOp, o[9] AtomType, o[10] 1: shared, 2:
 * global, 0: generic. */

typedef enum AtomOp {
    AT_ADD,
    AT_AND,
    AT_OR,
    AT_XOR,
    AT_MIN,
    AT_MAX,
    AT_EXCH,
    AT_CAS,
    AT_INC,
    AT_DEC
} AtomOp;

static u32 atom_bytes(AtomType type) {
    return type <= AT_BF16 ? 2 : type <= AT_BF16X2 ? 4 : type <= AT_F64 ? 8 : 16;
}

/* add, min, max of one half; a NaN loses min and max, subnormals stay (.noftz). */
static u32 atom_half(AtomOp op, bool bf16, u32 old, u32 b) {
    const float x = bf16 ? bf16_to_f32(old) : f16_to_f32(old & 0xffff);
    const float y = bf16 ? bf16_to_f32(b) : f16_to_f32(b & 0xffff);
    if (op == AT_ADD) return bf16 ? f32_to_bf16(x + y) : f32_to_f16(x + y);
    if (x != x && y != y) return 0x7fff;
    if (x != x || y != y) return (x != x ? b : old) & 0xffff;
    const bool less = x == y ? signbit(x) && !signbit(y) : x < y; /* -0 < +0 */
    return ((op == AT_MIN) == less ? old : b) & 0xffff;
}

static u64 atom_add(u64 old, u64 b, AtomType type) {
    if (type == AT_F32) return as_u32(as_f32((u32)old) + as_f32((u32)b));
    if (type != AT_F64) return old + b;
    f64 x, y;
    __builtin_memcpy(&x, &old, 8);
    __builtin_memcpy(&y, &b, 8);
    x += y;
    __builtin_memcpy(&old, &x, 8);
    return old;
}
static bool atom_less(u64 x, u64 y, AtomType type) {
    if (type == AT_S32) return (s32)(u32)x < (s32)(u32)y;
    if (type == AT_S64) return (s64)x < (s64)y;
    return x < y;
}
static u64 atom_value(AtomOp op, AtomType type, u64 old, u64 b, u64 c) {
    if (op == AT_EXCH) return b;
    if (op == AT_CAS) return old == b ? c : old;
    if (type == AT_F16 || type == AT_BF16) return atom_half(op, type == AT_BF16, (u32)old, (u32)b);
    if (type == AT_F16X2 || type == AT_BF16X2) {
        const bool bf16 = type == AT_BF16X2;
        return atom_half(op, bf16, (u32)old & 0xffff, (u32)b & 0xffff) |
               atom_half(op, bf16, (u32)old >> 16, (u32)b >> 16) << 16;
    }
    switch (op) {
    case AT_ADD: return atom_add(old, b, type);
    case AT_AND: return old & b;
    case AT_OR: return old | b;
    case AT_XOR: return old ^ b;
    case AT_MIN: return atom_less(b, old, type) ? b : old;
    case AT_MAX: return atom_less(old, b, type) ? b : old;
    case AT_INC: return old >= b ? 0 : old + 1;
    default: return old == 0 || old > b ? b : old - 1;
    }
}

/* Until nobody else changed *p in between; TR: lanes of the rows, T: of memory. */
#define ATOM_LANE(T, TR)                                                                           \
    {                                                                                              \
        T *const p = (T *)(uintptr_t)a[l];                                                         \
        const u64 b = ROW(TR, 6)[l], c = op == AT_CAS ? ROW(TR, 7)[l] : 0;                         \
        T old = __atomic_load_n(p, __ATOMIC_SEQ_CST), next;                                        \
        do next = (T)atom_value(op, type, old, (T)b, (T)c);                                        \
        while (!__atomic_compare_exchange_n(p, &old, next, false, __ATOMIC_SEQ_CST,                \
                                            __ATOMIC_SEQ_CST));                                    \
        if (next != old) w->block->progress = true;                                                \
        if (r->o[0] != NO_ROW) ROW(TR, 0)[l] = old;                                                \
    }

/* 16 bytes under one lock of the process: hosts without a 16-byte compare and exchange exist, and
 * mixing widths on one location is undefined (PTX ISA, memory consistency model). */
KERNEL_DATA static void atom_wide(Warp *w, const Rec *r, int l, u64 *p) {
    static atomic_flag lock = ATOMIC_FLAG_INIT;
    const bool cas = r->o[8] == AT_CAS;
    while (atomic_flag_test_and_set(&lock)) continue;
    const u64 low = p[0], high = p[1];
    if (!cas || (low == ROW(u64, 6)[l] && high == ROW(u64, 2)[l])) {
        p[0] = ROW(u64, cas ? 7 : 6)[l];
        p[1] = ROW(u64, cas ? 3 : 2)[l];
    }
    if (p[0] != low || p[1] != high) w->block->progress = true;
    atomic_flag_clear(&lock);
    if (r->o[0] != NO_ROW) ROW(u64, 0)[l] = low;
    if (r->o[0] != NO_ROW) ROW(u64, 1)[l] = high;
}

HANDLER(atom) {
    u64 a[LANES];
    const AtomOp op = (AtomOp)r->o[8];
    const AtomType type = (AtomType)r->o[9];
    const u32 m = w->mask, size = atom_bytes(type);
    const AccKind kind = ACC_UPDATE | ACC_STRONG | order_kind(r);
    address_row(w, r->o[4], r->o[5] & ACC_ADDR64, rec_offset(r, 12), a);
    const bool ok = r->o[10] == 1   ? locate(w, r, ACC_SHARED, a, m, size, kind)
                    : r->o[10] == 2 ? locate(w, r, ACC_GLOBAL, a, m, size, kind)
                                    : locate_generic(w, r, a, m, size, kind);
    if (!ok) return NULL;
    FOR_LANES {
        if (!(m >> l & 1)) continue;
        if (size == 2)
            ATOM_LANE(uint16_t, u32)
        else if (size == 4)
            ATOM_LANE(uint32_t, u32)
        else if (size == 8)
            ATOM_LANE(uint64_t, u64)
        else
            atom_wide(w, r, l, (u64 *)(uintptr_t)a[l]);
    }
    watch_observe(w, a, m, kind);
    return r + 1;
}

/* A vector wants the alignment of the whole, o[6] bytes, where its parts are done apart. */
HANDLER(check_align) {
    u64 a[LANES];
    address_row(w, r->o[4], r->o[5] & ACC_ADDR64, rec_offset(r, 12), a);
    FOR_LANES if ((w->mask >> l & 1) && (a[l] & (r->o[6] - 1))) return warp_fault(
        w, r, 716, 1u << l, "misaligned vector: %u bytes at 0x%llx; a multiple of %u is needed",
        (unsigned)r->o[6], (unsigned long long)a[l], (unsigned)r->o[6]);
    return r + 1;
}
