// Rows of K and V in pages: token t of the sequence is token t % page_size of page table[t /
// page_size]. Any page size; when it is a multiple of block_n a tile lies in one page and needs one
// look-up, else each row has its own. Table entries past the sequence's last page are not read.
//% lib types
//% lib global
//% lib attn_rows

enum : int { tile_in_page = page_size % block_n == 0 };

struct KvRows {
    u64 table; // of the sequence
    u64 k, v;  // this thread's chunk of token 0 in page 0
};

__device__ __forceinline__ KvRows kv_rows(const AttnParams &p, const BlockWork &work) {
    const i64 entry = p.page_indptr != 0
                          ? i64(load_global_i32(p.page_indptr + u64(work.batch) * 4))
                          : i64(work.batch) * p.table_stride;
    return {p.pages + u64(entry * 4),
            p.k + u64(i64(work.head_kv) * p.k_head * 2) + thread_chunk() * 16,
            p.v + u64(i64(work.head_kv) * p.v_head * 2) + thread_chunk() * 16};
}

// A thread's chunks of one tile: rows thread_row(), + copy_rows, + 2 * copy_rows ... of it.
struct RowWalk {
    u64 table, base;
    i64 page, step; // bytes from page to page, from token to token
    u32 token;
};

__device__ __forceinline__ u64 row_in_page(const RowWalk &walk) {
    const u32 index = walk.token / u32(page_size);
    const i64 id = load_global_i32(walk.table + u64(index) * 4);
    return walk.base + u64(id * walk.page) + u64(walk.token % u32(page_size)) * u64(walk.step);
}

__device__ __forceinline__ RowWalk walk_in(u64 table, u64 base, i64 page, i64 token, int first) {
    RowWalk walk = {table, base, page * 2, token * 2, u32(first)};
    if constexpr (tile_in_page) walk.base = row_in_page(walk) + u64(thread_row()) * u64(walk.step);
    walk.token += u32(thread_row());
    return walk;
}

// `first`: the tile's first token, which exists.
__device__ __forceinline__ RowWalk k_walk(const AttnParams &p, const KvRows &rows, int first) {
    return walk_in(rows.table, rows.k, p.k_batch, p.k_token, first);
}

__device__ __forceinline__ RowWalk v_walk(const AttnParams &p, const KvRows &rows, int first) {
    return walk_in(rows.table, rows.v, p.v_batch, p.v_token, first);
}

// Address of the row that the walk has reached; not looked up unless it exists.
__device__ __forceinline__ u64 row_address(const RowWalk &walk, bool exists) {
    if constexpr (tile_in_page) return walk.base;
    return exists ? row_in_page(walk) : walk.base;
}

__device__ __forceinline__ void walk_on(RowWalk &walk) {
    if constexpr (tile_in_page) walk.base += u64(walk.step) * copy_rows;
    walk.token += copy_rows;
}
