/* The race checks of loads and stores; included by watch_access.h only.
 *
 * A load must come after the last store to its words, a store after the last loads too. Usually a
 * warp finds every cell below its floor (exec/order.h), which takes one comparison per word; else
 * each word is looked at by itself. Device memory belongs to several blocks and host threads: its
 * cells are locked by page, and compared with the block they name. */

typedef struct Racer { /* one access of a warp */
    Warp *w;
    const Rec *r;
    const u64 *a; /* host addresses */
    AccSpace space;
    u32 m, size;
    AccKind kind;
    Cell cell; /* of lane 0, all bytes */
    const WarpOrder *order;
    bool record; /* loads and stores are watched, not copies alone */
} Racer;

static Cell lane_cell(const Racer *x, int l) {
    const u32 bytes = x->size >= 4 ? 15 : ((1u << x->size) - 1) << (x->a[l] & 3);
    return x->cell | (Cell)l << CELL_LANE | (Cell)(bytes & 15) << CELL_BYTES;
}

static bool same_bits(Cell a, Cell b, int at, int bits) {
    return !(cell_bits(a ^ b, at, bits));
}

/* The value that lane l stores, as `size` bytes. */
static void stored(const Racer *x, int l, u8 out[32]) {
    Warp *const w = x->w;
    const Rec *const r = x->r;
    const u32 bytes = r->o[5] & ACC_BYTES, count = r->o[5] >> ACC_COUNT & 15;
    for (u32 k = 0; k < count && (k + 1) * bytes <= 32; k++) {
        const u64 v = r->o[5] & ACC_WIDE ? ROW(u64, k)[l] : ROW(u32, k)[l];
        __builtin_memcpy(out + k * bytes, &v, bytes);
    }
}

/* A store of what is there already, or of what another lane stores with the same instruction,
 * changes nothing whoever comes first. */
KERNEL_DATA static bool same_value(const Racer *x, int l, Cell old, u64 block) {
    if (!(x->kind & ACC_VALUES)) return false;
    u8 mine[32] = {0}, theirs[32] = {0};
    const u32 other = cell_bits(old, CELL_LANE, 5);
    stored(x, l, mine);
    if (__builtin_memcmp(mine, (const void *)(uintptr_t)x->a[l], x->size) == 0) return true;
    if (block != x->w->block->linear || !same_bits(old, x->cell, CELL_WARP, 5) ||
        !same_bits(old, x->cell, 0, CELL_MANY) || !(x->m >> other & 1) || x->a[other] != x->a[l])
        return false;
    stored(x, (int)other, theirs);
    return __builtin_memcmp(mine, theirs, x->size) == 0;
}

/* The bytes of word i (address >> 2) in what lane l stores; `out` is what it stores. */
static u32 word_of(const Racer *x, int l, u64 i, const u8 out[32]) {
    u32 v = 0;
    for (u32 k = 0; k < 4; k++) {
        const u64 at = 4 * i + k - x->a[l]; /* wraps below the first byte */
        if (at < x->size) v |= (u32)out[at] << (8 * k);
    }
    return v;
}
static u32 byte_mask(u32 bytes) {
    return (bytes & 1) * 0xffu | (bytes >> 1 & 1) * 0xff00u | (bytes >> 2 & 1) * 0xff0000u |
           (bytes >> 3 & 1) * 0xff000000u;
}

/* Stores of equal values by two blocks. Other blocks run on other host threads, so what they wrote
 * is remembered beside the cell: memory may not have it yet. */
KERNEL_DATA static bool same_word(const Racer *x, int l, const RaceChunk *c, u64 at, u64 word,
                                  Cell mine, Cell old, u64 block) {
    if (!(x->kind & ACC_VALUES)) return false;
    if (!(c->known[at / 32] >> (at % 32) & 1))
        return block == x->w->block->linear && same_value(x, l, old, block);
    u8 out[32] = {0};
    stored(x, l, out);
    const u32 both = byte_mask(cell_bits(old & mine, CELL_BYTES, 4));
    return !((word_of(x, l, word, out) ^ c->value[at]) & both);
}
KERNEL_DATA static void note_value(const Racer *x, int l, RaceChunk *c, u64 at, u64 word,
                                   Cell mine) {
    const u32 bit = 1u << (at % 32);
    if (!(x->kind & ACC_VALUES)) {
        c->known[at / 32] &= ~bit;
        return;
    }
    u8 out[32] = {0};
    stored(x, l, out);
    const u32 mask = byte_mask(cell_bits(mine, CELL_BYTES, 4));
    c->value[at] = (c->value[at] & ~mask) | word_of(x, l, word, out);
    c->known[at / 32] |= bit;
}

static bool races(const Racer *x, Cell mine, Cell old, u64 block) {
    if (!old || !(cell_bits(old & mine, CELL_BYTES, 4))) return false;
    const u32 kind = cell_bits(old, CELL_KIND, 2), warp = cell_bits(old, CELL_WARP, 5);
    if (old & CELL_PENDING) return true;
    if (block == x->w->block->linear && (int)warp == x->w->index &&
        (kind == CELL_WHOLE ||
         (same_bits(old, mine, CELL_LANE, 5) && !cell_bits(old, CELL_MANY, 1))))
        return false;
    if (kind == CELL_STRONG && (x->kind & ACC_STRONG)) return false;
    if (!x->record && kind != CELL_COPY) return false;
    return !order_before(x->w, block, (int)warp, cell_bits(old, CELL_CLOCK, CELL_CLOCK_BITS));
}

static bool report_race(const Racer *x, int l, Cell old, u64 block, CellSlot slot) {
    char where[320];
    const char *const what = x->kind & ACC_COPY                     ? "asynchronous copy"
                             : (x->kind & ACC_UPDATE) == ACC_UPDATE ? "atomic"
                             : x->kind & ACC_WRITE                  ? "store"
                                                                    : "load";
    name_bytes(x->w, x->space, x->a[l] + space_origin(x->w, x->space, l), x->size, where,
               sizeof where);
    race_fault(x->w, x->r, l, what, where, &(RaceOther){old, block}, slot != CELL_WRITE);
    return false;
}

/* A reader: the last one of another warp (or block) is kept besides. */
static inline void note_reader(Cell *read, Cell *other, Cell mine) {
    const Cell old = *read, differ = old ^ mine;
    const Cell epoch = differ >> CELL_BYTES; /* clock, warp, bytes */
    if (old && cell_bits(differ, CELL_WARP, 5)) *other = old;
    const bool many = !epoch && (cell_bits(differ, CELL_LANE, 5) || cell_bits(old, CELL_MANY, 1));
    *read = mine | (Cell)many << CELL_MANY;
}

/* One word of shared memory. */
static bool shared_word(const Racer *x, int l, Cell *const cells[CELL_SLOTS], u64 i, Cell mine) {
    const u64 block = x->w->block->linear;
    const bool write = x->kind & ACC_WRITE;
    const int slots = write ? CELL_SLOTS : 1;
    for (int s = 0; s < slots; s++)
        if (races(x, mine, cells[s][i], block) &&
            !(s == CELL_WRITE && write && same_value(x, l, cells[s][i], block)))
            return report_race(x, l, cells[s][i], block, (CellSlot)s);
    if (x->kind & ACC_WRITE)
        cells[CELL_WRITE][i] = mine;
    else if (x->record)
        note_reader(&cells[CELL_READ][i], &cells[CELL_READ_OTHER][i], mine);
    return true;
}

/* As many cells as the instruction set compares at once. */
#ifdef __AVX2__
enum { CELLS = 4 };
#else
enum { CELLS = 2 };
#endif
typedef Cell CellRow __attribute__((vector_size(CELLS * 8)));

static inline CellRow load_cells(const Cell *p) {
    CellRow v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
static inline void store_cells(Cell *p, CellRow v) {
    __builtin_memcpy(p, &v, sizeof v);
}
static inline bool any_cell(CellRow v) {
    Cell any = 0;
    for (int k = 0; k < CELLS; k++) any |= v[k];
    return any != 0;
}
/* Is one of the four cells at `p` not below the floor? */
static inline bool above(const Cell *p, Cell floor) {
    CellRow high = load_cells(p) >= floor;
    for (int k = CELLS; k < 4; k += CELLS) high |= load_cells(p + k) >= floor;
    return any_cell(high);
}

/* note_reader on four words. */
static inline void note_readers(Cell *read, Cell *other, Cell mine) {
    const Cell warps = (Cell)31 << CELL_WARP, lanes = (Cell)31 << CELL_LANE;
    const Cell many = (Cell)1 << CELL_MANY;
    for (int k = 0; k < 4; k += CELLS) {
        const CellRow old = load_cells(read + k), differ = old ^ mine;
        const CellRow apart = ((differ & warps) != 0) & (old != 0);
        if (any_cell(apart))
            store_cells(other + k, (old & apart) | (load_cells(other + k) & ~apart));
        const CellRow again =
            ((differ >> CELL_BYTES) == 0) & (((differ & lanes) != 0) | ((old & many) != 0));
        store_cells(read + k, mine | (again & many));
    }
}

/* 16 bytes of each lane, four words: the usual access of matrices and copies. Returns the lanes
 * that found a cell that is not below the floor; the others are done. */
static u32 shared_quads(const Racer *x, Cell *const cells[CELL_SLOTS], const u64 base) {
    const Cell floor = x->order->floor, first = x->cell | (Cell)15 << CELL_BYTES;
    const bool write = x->kind & ACC_WRITE;
    u32 left = 0;
    FOR_LANES {
        if (!(x->m >> l & 1)) continue;
        const u64 i = (x->a[l] - base) >> 2;
        const Cell mine = first | (Cell)l << CELL_LANE;
        const bool high = above(&cells[CELL_WRITE][i], floor) ||
                          (write && (above(&cells[CELL_READ][i], floor) ||
                                     above(&cells[CELL_READ_OTHER][i], floor)));
        if (high)
            left |= 1u << l;
        else if (write)
            for (int k = 0; k < 4; k++) cells[CELL_WRITE][i + (u64)k] = mine;
        else if (x->record)
            note_readers(&cells[CELL_READ][i], &cells[CELL_READ_OTHER][i], mine);
    }
    return left;
}

static bool race_shared(const Racer *x) {
    const Watch *const watch = x->w->block->watch;
    const u64 base = (u64)(uintptr_t)x->w->block->shared;
    Cell *const cells[CELL_SLOTS] = {watch->cells, watch->cells + watch->words,
                                     watch->cells + 2 * watch->words};
    const u32 lanes = x->size == 16 ? shared_quads(x, cells, base) : x->m;
    FOR_LANES {
        if (!(lanes >> l & 1)) continue;
        const Cell mine = lane_cell(x, l);
        const u64 first = (x->a[l] - base) >> 2, last = (x->a[l] - base + x->size - 1) >> 2;
        for (u64 i = first; i <= last; i++)
            if (!shared_word(x, l, cells, i, mine)) return false;
    }
    return true;
}

/* One word of device memory, its page locked. */
static bool global_word(const Racer *x, int l, RaceChunk *c, u64 word, Cell mine) {
    const u64 block = x->w->block->linear, i = word % CHUNK_WORDS;
    const bool write = x->kind & ACC_WRITE;
    const int slots = write ? CELL_SLOTS : 1;
    for (int s = 0; s < slots; s++) {
        const Cell old = c->cell[s][i];
        if (!old || (c->block[s][i] == (u32)block && old < x->order->floor)) continue;
        if (!races(x, mine, old, c->block[s][i])) continue;
        if (s == CELL_WRITE && write && same_word(x, l, c, i, word, mine, old, c->block[s][i]))
            continue;
        race_unlock(x->w->block->launch->race, x->a[l]);
        return report_race(x, l, old, c->block[s][i], (CellSlot)s);
    }
    if (write) {
        c->cell[CELL_WRITE][i] = mine;
        c->block[CELL_WRITE][i] = (u32)block;
        note_value(x, l, c, i, word, mine);
        return true;
    }
    const Cell old = c->cell[CELL_READ][i];
    if (old && c->block[CELL_READ][i] != (u32)block) {
        c->cell[CELL_READ_OTHER][i] = old;
        c->block[CELL_READ_OTHER][i] = c->block[CELL_READ][i];
        c->cell[CELL_READ][i] = mine;
    } else {
        Cell other = 0;
        note_reader(&c->cell[CELL_READ][i], &other, mine);
        if (other && (!c->cell[CELL_READ_OTHER][i] || c->block[CELL_READ_OTHER][i] == (u32)block)) {
            c->cell[CELL_READ_OTHER][i] = other;
            c->block[CELL_READ_OTHER][i] = (u32)block;
        }
    }
    c->block[CELL_READ][i] = (u32)block;
    return true;
}

static bool race_global(const Racer *x) {
    RaceLaunch *const launch = x->w->block->launch->race;
    RaceChunk *chunk = NULL;
    u64 page = 0, last_address = 0; /* `page` + 1 is locked when not 0 */
    bool ok = true;
    for (u32 left = x->m; left && ok; left &= left - 1) {
        const int l = __builtin_ctz(left);
        const u64 address = x->a[l];
        if (page != (address >> 12) + 1) {
            if (page) race_unlock(launch, last_address);
            chunk = race_chunk(launch, address);
            page = 0;
            if (!chunk) continue;
            race_lock(launch, address);
            page = (address >> 12) + 1;
        }
        last_address = address;
        const Cell mine = lane_cell(x, l);
        const u64 first = address >> 2, last = (address + x->size - 1) >> 2;
        for (u64 i = first; ok && i <= last; i++) ok = global_word(x, l, chunk, i, mine);
    }
    if (page && ok) race_unlock(launch, last_address);
    return ok;
}

/* A lane of `x` that stores where lanes of the copy still read; -1: none. *of: which lane of it. */
static int stores_to_source(const Racer *x, const AsyncCopy *copy, int *of) {
    FOR_LANES {
        if (!(x->m >> l & 1) || x->a[l] >= copy->high || x->a[l] + x->size <= copy->low) continue;
        for (u32 left = copy->mask; left; left &= left - 1) {
            *of = __builtin_ctz(left);
            const u64 from = copy->src[*of];
            if (x->a[l] < from + copy->take[*of] && from < x->a[l] + x->size) return l;
        }
    }
    return -1;
}

/* A copy of the block that nobody waited for may read its source at any moment until it lands:
 * neither its thread's own order nor a barrier is in between. */
static bool check_sources(const Racer *x) {
    const Block *const b = x->w->block;
    u64 low, high, bits;
    address_bounds(x->a, x->m, &low, &high, &bits);
    high += x->size;
    for (int i = 0; i < b->warp_count; i++)
        for (int k = 0; k < b->warps[i].async_count; k++) {
            const AsyncCopy *const copy = &b->warps[i].async[k];
            int of;
            if (low >= copy->high || copy->low >= high) continue;
            const int l = stores_to_source(x, copy, &of);
            if (l < 0) continue;
            const u64 number = (u64)(copy->rec - b->launch->kernel->code);
            const Cell old = CELL_PENDING | (Cell)i << CELL_WARP | (Cell)of << CELL_LANE |
                             (Cell)CELL_COPY << CELL_KIND |
                             (Cell)(number < CELL_RECORDS ? number : CELL_RECORDS);
            return report_race(x, l, old, b->linear, CELL_READ);
        }
    return true;
}

/* False after a fault. */
KERNEL_DATA static bool check_race(Warp *w, const Rec *r, AccSpace space, const u64 a[LANES], u32 m,
                                   u32 size, AccKind kind) {
    const Watch *const watch = w->block->watch;
    const WarpOrder *const order = &watch->order.warps[w->index];
    const bool record = watch->checks & SG_CHECK_RACE;
    const u64 number = (u64)(r - w->block->launch->kernel->code);
    const CellKind cell = kind & ACC_COPY     ? CELL_COPY
                          : kind & ACC_STRONG ? CELL_STRONG
                          : kind & ACC_WHOLE  ? CELL_WHOLE
                                              : CELL_PLAIN;
    const Racer x = {.w = w,
                     .r = r,
                     .a = a,
                     .space = space,
                     .m = m,
                     .size = size,
                     .kind = kind,
                     .cell = (Cell)order->now << CELL_CLOCK | (Cell)w->index << CELL_WARP |
                             (Cell)cell << CELL_KIND |
                             (Cell)(number < CELL_RECORDS ? number : CELL_RECORDS) |
                             (space == ACC_SHARED && (kind & ACC_COPY) ? CELL_PENDING : 0),
                     .order = order,
                     .record = record};
    if (space == ACC_SHARED) return race_shared(&x);
    return (!(kind & ACC_WRITE) || check_sources(&x)) && (!record || race_global(&x));
}
