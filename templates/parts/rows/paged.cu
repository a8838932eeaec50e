// Rows of K and V in pages: token t of the sequence is token t % page_size of page table[t /
// page_size]. Any page size. Table entries past the sequence's last token are not read.
//
// The page ids of a warp's rows of one tile fit one register per lane. They are read when the copy
// of the tile before has been issued (k_expect, v_expect), so that nobody waits for them, and dealt
// out by shuffles:
//   tile_in_page  one id, in all lanes
//   pass_in_page  lane i has that of pass i, the same in all warps
//   else          lane i has that of row i of the warp: pass i / pass_rows, row i % pass_rows
// Strides of a page and of a token are below 4 GiB (checked by the plan), so that an offset is one
// 32 x 32-bit product.
//% lib types
//% lib global
//% lib shuffle
//% lib attn_rows

enum : int {
    tile_in_page = page_size % block_n == 0,
    pass_in_page = page_size % copy_rows == 0,
    pass_rows = 32 / span_chunks // of one warp
};
static_assert(block_n / copy_rows * pass_rows <= 32, "a lane for each row of a warp");

struct KvRows {
    u64 table;        // of the sequence
    u64 k, v;         // this thread's chunk of token 0 in page 0
    u32 k_ids, v_ids; // of the tiles that are copied next
};

__device__ __forceinline__ KvRows kv_rows(const AttnParams &p, const BlockWork &work) {
    const i64 entry = p.page_indptr != 0
                          ? i64(load_global_i32(p.page_indptr + u64(work.batch) * 4))
                          : i64(work.batch) * p.table_stride;
    return {p.pages + u64(entry * 4),
            p.k + u64(i64(work.head_kv) * p.k_head * 2) + thread_chunk() * 16,
            p.v + u64(i64(work.head_kv) * p.v_head * 2) + thread_chunk() * 16, 0, 0};
}

// What this lane keeps for the tile.
__device__ __forceinline__ u32 page_ids(const AttnParams &p, const KvRows &rows, int tile) {
    const int lane = int(threadIdx.x) % 32;
    int token = tile * block_n;
    if constexpr (!tile_in_page && pass_in_page) token += lane * copy_rows;
    if constexpr (!pass_in_page)
        token += int(threadIdx.x) / 32 * pass_rows + lane / pass_rows * copy_rows +
                 lane % pass_rows;
    const u64 at = rows.table + u64(u32(token) / u32(page_size)) * 4;
    return token < p.len_kv ? u32(load_global_i32(at)) : 0;
}

// To be called before the copy of `tile` (negative: none), as early as may be.
__device__ __forceinline__ void k_expect(const AttnParams &p, KvRows &rows, int tile) {
    if (tile >= 0) rows.k_ids = page_ids(p, rows, tile);
}

__device__ __forceinline__ void v_expect(const AttnParams &p, KvRows &rows, int tile) {
    if (tile >= 0) rows.v_ids = page_ids(p, rows, tile);
}

// A thread's chunks of one tile: rows thread_row(), + copy_rows, + 2 * copy_rows ... of it.
struct RowWalk {
    u64 base;
    u32 ids;
    u32 page, step; // bytes from page to page, from token to token
    u32 token;      // with pass_in_page the pass's first, else this thread's
};

__device__ __forceinline__ RowWalk walk_in(u64 base, u32 ids, i64 page, i64 token, int first) {
    RowWalk walk = {base, ids, u32(page * 2), u32(token * 2), u32(first)};
    if constexpr (pass_in_page)
        walk.base += u64(thread_row()) * walk.step;
    else
        walk.token += u32(thread_row());
    if constexpr (tile_in_page)
        walk.base += u64(ids) * walk.page + u64(walk.token % u32(page_size)) * walk.step;
    return walk;
}

// `first`: the tile's first token; the tile is the one expected last.
__device__ __forceinline__ RowWalk k_walk(const AttnParams &p, const KvRows &rows, int first) {
    return walk_in(rows.k, rows.k_ids, p.k_batch, p.k_token, first);
}

__device__ __forceinline__ RowWalk v_walk(const AttnParams &p, const KvRows &rows, int first) {
    return walk_in(rows.v, rows.v_ids, p.v_batch, p.v_token, first);
}

// Address of the row of pass `pass`; of page 0 for rows past the end, which are not read.
__device__ __forceinline__ u64 row_address(const RowWalk &walk, int pass) {
    if constexpr (tile_in_page) return walk.base + u64(u32(pass * copy_rows)) * walk.step;
    const int lane = int(threadIdx.x) % 32;
    const u32 id =
        shuffle_from(walk.ids, pass_in_page ? pass : pass * pass_rows + lane / span_chunks);
    const u32 within = walk.token % u32(page_size);
    return walk.base + u64(id) * walk.page + u64(within) * walk.step;
}

__device__ __forceinline__ void walk_on(RowWalk &walk) {
    walk.token += copy_rows;
}
