/* atom and red; included by tensor.c only.
 *
 * Blocks run on several host threads, so each is a host atomic; orders and scopes ask for less. */

/* atom, red: o[0] result row or NO_ROW, o[6] operand, o[7] second operand (cas), o[8] AtomOp,
 * o[9] AtomType, o[10] 1: shared, 2: global, 0: generic. */
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
typedef enum AtomType { AT_B32, AT_U32, AT_S32, AT_F32, AT_B64, AT_U64, AT_S64, AT_F64 } AtomType;

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
    switch (op) {
    case AT_ADD: return atom_add(old, b, type);
    case AT_AND: return old & b;
    case AT_OR: return old | b;
    case AT_XOR: return old ^ b;
    case AT_MIN: return atom_less(b, old, type) ? b : old;
    case AT_MAX: return atom_less(old, b, type) ? b : old;
    case AT_EXCH: return b;
    case AT_CAS: return old == b ? c : old;
    case AT_INC: return old >= b ? 0 : old + 1;
    default: return old == 0 || old > b ? b : old - 1;
    }
}

HANDLER(atom) {
    u64 a[LANES];
    const u32 m = w->mask, size = r->o[9] >= AT_B64 ? 8 : 4;
    const bool wide = size == 8;
    address_row(w, r->o[4], r->o[5] & ACC_ADDR64, rec_offset(r, 12), a);
    const bool ok = r->o[10] == 1   ? locate(w, r, ACC_SHARED, a, m, size)
                    : r->o[10] == 2 ? locate(w, r, ACC_GLOBAL, a, m, size)
                                    : locate_generic(w, r, a, m, size, true);
    if (!ok) return NULL;
    FOR_LANES {
        if (!(m >> l & 1)) continue;
        const u64 b = wide ? ROW(u64, 6)[l] : ROW(u32, 6)[l];
        const u64 c = r->o[8] != AT_CAS ? 0 : wide ? ROW(u64, 7)[l] : ROW(u32, 7)[l];
        u64 old64 = 0;
        if (wide) {
            u64 *const p = (u64 *)(uintptr_t)a[l];
            old64 = __atomic_load_n(p, __ATOMIC_SEQ_CST);
            u64 next = 0;
            do next = atom_value((AtomOp)r->o[8], (AtomType)r->o[9], old64, b, c);
            while (!__atomic_compare_exchange_n(p, &old64, next, false, __ATOMIC_SEQ_CST,
                                                __ATOMIC_SEQ_CST));
            if (next != old64) w->block->progress = true;
        } else {
            u32 *const p = (u32 *)(uintptr_t)a[l];
            u32 old = __atomic_load_n(p, __ATOMIC_SEQ_CST), next = 0;
            do next = (u32)atom_value((AtomOp)r->o[8], (AtomType)r->o[9], old, b, c);
            while (!__atomic_compare_exchange_n(p, &old, next, false, __ATOMIC_SEQ_CST,
                                                __ATOMIC_SEQ_CST));
            if (next != old) w->block->progress = true;
            old64 = old;
        }
        if (r->o[0] == NO_ROW) continue;
        if (wide)
            ROW(u64, 0)[l] = old64;
        else
            ROW(u32, 0)[l] = (u32)old64;
    }
    return r + 1;
}
