// Rows of K and V in pages: token t of the sequence is token t % page_size of page table[t /
// page_size]. Any page size. Table entries past the sequence's last token are not read.
//
// The page ids of a warp's rows of one tile fit one register per lane. They are read when K of the
// tile before has been issued (expect), so that nobody waits for them, serve K and then V of the
// tile, and are dealt out by shuffles:
//   tile_in_page  one id, in all lanes
//   pass_in_page  lane i has that of pass i, the same in all warps
//   else          lane i has that of row i of the warp: pass i / pass_rows, row i % pass_rows
// Strides of a page and of a token are below 4 GiB (checked by the plan), so that an offset is one
// 32 x 32-bit product.
//% lib types
//% lib math
//% lib opaque
//% lib kv_pages
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
    u64 k, v;         // token 0 in page 0
    u32 k_ids, v_ids; // of the tiles whose K and V are copied next
};

__device__ __forceinline__ KvRows kv_rows(const AttnParams &p, const BlockWork &work) {
    const i64 entry = first_page_entry(p.page_indptr, p.table_stride, work.batch);
    return {p.pages + u64(entry * 4), p.k + u64(i64(work.head_kv) * p.k_head * 2),
            p.v + u64(i64(work.head_kv) * p.v_head * 2), 0, 0};
}

// What this lane keeps for the tile.
__device__ __forceinline__ u32 page_ids(const AttnParams &p, const KvRows &rows, int tile) {
    const int lane = int(threadIdx.x) % 32;
    int token = tile * block_n;
    if constexpr (!tile_in_page && pass_in_page) token += lane * copy_rows;
    if constexpr (!pass_in_page)
        token +=
            int(threadIdx.x) / 32 * pass_rows + lane / pass_rows * copy_rows + lane % pass_rows;
    // Of a tile that there is, the first token is in any case.
    const bool exists = tile_in_page || token < p.len_kv;
    return exists ? page_id(rows.table, u32(token) / u32(page_size)) : 0;
}

// To be called when K of the tile before `tile` has been issued, and before V of that tile is:
// copies go K, V, K, V ... tile after tile. After the last tile, any other.
__device__ __forceinline__ void expect(const AttnParams &p, KvRows &rows, int tile) {
    rows.v_ids = rows.k_ids;
    rows.k_ids = page_ids(p, rows, tile);
}

// A thread's chunks of one tile: rows thread_row(), + copy_rows, + 2 * copy_rows ... of it.
struct RowWalk {
    u64 at; // with tile_in_page the row that the walk has reached, else this thread's chunk of
            // token 0 in page 0
    u32 ids;
    u32 page, step; // from page to page, from token to token: bytes, with tile_in_page elements,
                    // which are the parameters and so cost no register
    u32 token;      // unless tile_in_page: the pass's first, with pass_in_page, else this thread's
};

__device__ __forceinline__ RowWalk walk_in(u64 at, u32 ids, i64 page, i64 token, int first) {
    const int unit = tile_in_page ? 1 : 2;
    RowWalk walk = {at, ids, u32(page * unit), u32(token * unit), u32(first)};
    int thread = int(threadIdx.x);
    opaque(thread); // added here: what a block has in common may stay in uniform registers
    walk.at += u32(thread) % span_chunks * 16;
    if constexpr (tile_in_page) {
        walk.at += 2 * product_u64(ids, walk.page);
        walk.at += product_u64(2 * (u32(first) % u32(page_size) + u32(thread_row())), walk.step);
    } else if constexpr (!pass_in_page) {
        walk.token += u32(thread_row());
    }
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
    if constexpr (tile_in_page) return walk.at;
    const int lane = int(threadIdx.x) % 32;
    const u32 id =
        shuffle_from(walk.ids, pass_in_page ? pass : pass * pass_rows + lane / span_chunks);
    u32 within = walk.token % u32(page_size);
    if constexpr (pass_in_page) within += u32(thread_row());
    return walk.at + product_u64(id, walk.page) + product_u64(within, walk.step);
}

__device__ __forceinline__ void walk_on(RowWalk &walk) {
    if constexpr (tile_in_page)
        walk.at += product_u64(2 * copy_rows, walk.step);
    else
        walk.token += copy_rows;
}
