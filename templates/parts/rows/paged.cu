// Rows of K and V in pages: token t of the sequence is token t % page_size of page table[t /
// page_size]. Any page size. A tile within one page needs one look-up; rows of one pass of a copy
// within one page need one per pass, the same in all threads; else each row has its own. Table
// entries past the sequence's last page are not read. Strides of a page and of a token are below
// 4 GiB (checked by the plan), so that an offset is one 32 x 32-bit product.
//% lib types
//% lib global
//% lib attn_rows

enum : int { tile_in_page = page_size % block_n == 0, pass_in_page = page_size % copy_rows == 0 };

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
    u32 page, step; // bytes from page to page, from token to token
    u32 token;      // with pass_in_page the pass's first, else this thread's
};

__device__ __forceinline__ u64 token_address(const RowWalk &walk) {
    const u32 id = u32(load_global_i32(walk.table + u64(walk.token / u32(page_size)) * 4));
    const u32 within = walk.token % u32(page_size);
    return walk.base + u64(id) * walk.page + u64(within) * walk.step;
}

__device__ __forceinline__ RowWalk walk_in(u64 table, u64 base, i64 page, i64 token, int first) {
    RowWalk walk = {table, base, u32(page * 2), u32(token * 2), u32(first)};
    if constexpr (pass_in_page)
        walk.base += u64(thread_row()) * walk.step;
    else
        walk.token += u32(thread_row());
    if constexpr (tile_in_page) walk.base = token_address(walk);
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
    return exists ? token_address(walk) : walk.base;
}

__device__ __forceinline__ void walk_on(RowWalk &walk) {
    if constexpr (tile_in_page) walk.base += u64(copy_rows) * walk.step;
    walk.token += copy_rows;
}
