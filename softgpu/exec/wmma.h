/* wmma.load and wmma.store; included by tensor.c only.
 *
 * The ISA leaves the place of an element within a wmma fragment open ("opaque"), so a fragment here
 * is the ones of the mma.sync that wmma.mma becomes (decode_wmma.c), block after block: lane 4g +
 * t, n elements per register of ascending k,
 *
 *   A  register j of a block: row g + 8 (j & 1), k = 4n (j >> 1) + n t + e     blocks go down
 *   B  register j:            k = 4n j + n t + e, column g                     blocks go right
 *   C  32 bits and more, register i: row g + 8 (i >> 1), column 2t + (i & 1)
 *      16 bits: row g + 8 i, column 2t + e
 *
 * Registers beyond those (f16 fragments always have eight) repeat them. A shape of 8 rows is held
 * as its transpose. Record: o[0..7] registers, o[8] address row or NO_ROW, o[9] row of the stride
 * in elements, o[10] WM_*, o[11] registers | those that differ << 8 | those of a block << 16,
 * o[12..13] byte offset. */

static u32 wm_n(u32 flags) { /* elements per register */
    const u32 log = flags >> WM_LOG & 3;
    return log < 2 ? 4u >> log : 1;
}

/* Row and column of element e of register j as the fragment has them. */
static void wm_place(u32 flags, int regs, int j, int l, int e, u64 *row, u64 *col) {
    const int n = (int)wm_n(flags), block = j / regs, g = l >> 2, t = l & 3;
    const int right = flags & WM_RIGHT ? block : 0, down = flags & WM_RIGHT ? 0 : block;
    j %= regs;
    switch (flags & WM_KIND) {
    case WM_A:
        *row = (u64)(g + 8 * (j & 1) + 16 * block);
        *col = (u64)(4 * n * (j >> 1) + n * t + e);
        break;
    case WM_B:
        *row = (u64)(4 * n * j + n * t + e);
        *col = (u64)(g + 8 * block);
        break;
    default:
        *row = (u64)(g + 8 * (n == 2 ? j : j >> 1) + 16 * down);
        *col = (u64)(2 * t + (n == 2 ? e : j & 1) + 8 * right);
    }
}

/* Addresses and stride as the ISA wants them: multiples of the fragment's bytes, of 16 at most (the
 * rule of the CUDA guide for leading dimensions). */
static bool wm_base(Warp *w, const Rec *r, u64 base[LANES], u64 stride[LANES]) {
    const u32 flags = r->o[10], log = flags >> WM_LOG & 3, regs = r->o[11] & 255;
    const u32 bytes = regs * (log == 3 ? 8 : 4), align = bytes < 16 ? bytes : 16;
    address_row(w, r->o[8], flags & WM_ADDR64, rec_offset(r, 12), base);
    FOR_LANES stride[l] = ROW(u32, 9)[l];
    FOR_LANES if (base[l] != base[0] || stride[l] != stride[0]) {
        warp_fault(w, r, 715, 1u << l, "address or stride of a matrix differs between lanes");
        return false;
    }
    if ((base[0] | stride[0] << log) & (align - 1)) {
        warp_fault(w, r, 716, 1,
                   "misaligned matrix: 0x%llx, %llu bytes from line to line; multiples of %u are "
                   "needed",
                   (unsigned long long)base[0], (unsigned long long)(stride[0] << log), align);
        return false;
    }
    return true;
}

static bool wm_locate(Warp *w, const Rec *r, u64 a[LANES], u32 bytes, bool store) {
    const u32 space = r->o[10] >> WM_SPACE & 3;
    const AccKind kind = store ? ACC_WRITE : ACC_READ;
    return space == 1   ? locate(w, r, ACC_SHARED, a, FULL_MASK, bytes, kind)
           : space == 2 ? locate(w, r, ACC_GLOBAL, a, FULL_MASK, bytes, kind)
                        : locate_generic(w, r, a, FULL_MASK, bytes, kind);
}

/* `bytes` of every lane between its register (at byte `at`) and memory. */
KERNEL_DATA static void wm_move(u8 *row, u32 lane_bytes, u32 at, const u64 a[LANES], u32 bytes,
                                bool store) {
    FOR_LANES {
        u8 *const reg = row + (size_t)l * lane_bytes + at, *const mem = (u8 *)(uintptr_t)a[l];
        __builtin_memcpy(store ? mem : reg, store ? reg : mem, bytes);
    }
}

/* All elements, a register at once where its elements lie side by side. */
static const Rec *wm_access(Warp *w, const Rec *r, bool store) {
    u64 base[LANES], stride[LANES], a[LANES];
    const Rec *next = NULL;
    const u32 flags = r->o[10], log = flags >> WM_LOG & 3, n = wm_n(flags);
    const int used = (int)(r->o[11] >> 8 & 255), regs = (int)(r->o[11] >> 16);
    const bool lines = flags & WM_ROWS; /* rows lie side by side in memory */
    const bool together = lines == ((flags & WM_KIND) != WM_B);
    const u32 lane_bytes = log == 3 ? 8 : 4, step = together ? n : 1, bytes = step << log;
    if (!aligned_warp(w, r, &next)) return next;
    if (!wm_base(w, r, base, stride)) return NULL;
    for (int j = 0; j < used; j++)
        for (u32 e = 0; e < n; e += step) {
            FOR_LANES {
                u64 row = 0, col = 0;
                wm_place(flags, regs, j, l, (int)e, &row, &col);
                a[l] = base[l] + ((lines ? row * stride[l] + col : col * stride[l] + row) << log);
            }
            if (!wm_locate(w, r, a, bytes, store)) return NULL;
            wm_move(w->regs + r->o[j], lane_bytes, e << log, a, bytes, store);
        }
    for (int j = used; !store && j < (int)(r->o[11] & 255); j++)
        __builtin_memcpy(w->regs + r->o[j], w->regs + r->o[j % used], LANES * lane_bytes);
    if (store) w->block->progress = true;
    return r + 1;
}

HANDLER(wmma_load) {
    return wm_access(w, r, false);
}
HANDLER(wmma_store) {
    return wm_access(w, r, true);
}
