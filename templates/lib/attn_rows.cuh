// Which rows of Q a block has, which tiles of K/V they need, and where both are in memory. Rows are
// tokens of one query head; with pack_group the heads of one K/V head are interleaved (row = token
// * group + head in group), so that a short Q still fills whole tiles and K/V are read once per
// group.
//% lib types
//% lib math
//% lib opaque
//% lib key_bounds

enum : int {
    span_chunks = swizzle_cols / 8, // 16-byte chunks of one swizzle period
    lane_rows = rows_per_warp / 8   // rows of S and O that a lane holds a part of
};

struct BlockWork {
    int batch;
    int head_kv;
    int head;      // the query head; with pack_group the first of its group
    int first_row; // of this block
    int rows;      // of the whole (head, batch)
};

__device__ __forceinline__ int token_of_row(const AttnParams &p, int row) {
    return pack_group ? row / p.group : row;
}

__device__ __forceinline__ int head_of_row(const AttnParams &p, const BlockWork &work, int row) {
    return pack_group ? work.head + row % p.group : work.head;
}

__device__ __forceinline__ u64 query_address(const AttnParams &p, const BlockWork &work, int row) {
    const i64 element = i64(work.batch) * p.q_batch + i64(head_of_row(p, work, row)) * p.q_head +
                        i64(token_of_row(p, row)) * p.q_token;
    return p.q + u64(element * 2);
}

__device__ __forceinline__ u64 output_address(const AttnParams &p, const BlockWork &work, int row) {
    const i64 element = i64(work.batch) * p.o_batch + i64(head_of_row(p, work, row)) * p.o_head +
                        i64(token_of_row(p, row)) * p.o_token;
    return p.o + u64(element * 2);
}

__device__ __forceinline__ u64 lse_address(const AttnParams &p, const BlockWork &work, int row) {
    const i64 element = i64(work.batch) * p.lse_batch +
                        i64(head_of_row(p, work, row)) * p.lse_head + i64(token_of_row(p, row));
    return p.lse + u64(element * 4);
}

// A thread's place in a copy of copy_rows rows: span_chunks neighbours read one 128-byte (head_dim
// 96: 64-byte) piece of a row; its swizzle phase is the same in every pass.
__device__ __forceinline__ int thread_row() {
    int thread = int(threadIdx.x);
    opaque(thread); // not kept through the loop
    return int(u32(thread) / span_chunks);
}
__device__ __forceinline__ int thread_chunk() {
    return int(threadIdx.x) % span_chunks;
}

// The tiles of K/V that some row of the block needs: [begin, end), of which [whole, whole_end) are
// seen whole by every row. They are visited in the order of tile_at: those that a mask or the end
// of K cuts first (left ones, then right ones), then the whole ones in ascending order, so that the
// blocks of one head walk the same tiles at the same time.
//
//      begin        whole            whole_end      end
//        | left cut   |   whole          | right cut |
struct TileList {
    int begin, whole, whole_end, end;
};

// `first` and `last`: bounds of the block's first and last query.
__device__ __forceinline__ TileList tile_list(KeyBounds first, KeyBounds last) {
    if (last.last < first.first) return {0, 0, 0, 0};
    TileList t;
    t.begin = first.first / block_n;
    t.end = last.last / block_n + 1;
    // Whole for every row: the last row sees the tile's first key, the first row its last key.
    t.whole = max(ceil_div(last.first, block_n), t.begin);
    t.whole_end = min(max(first.last + 1, 0) / block_n, t.end);
    if (t.whole >= t.whole_end) t.whole = t.whole_end = t.end;
    return t;
}

// Visits are numbered from `begin` to `end`; those below this one go to cut tiles.
__device__ __forceinline__ int cut_visits_end(const TileList &t) {
    return t.whole + t.end - t.whole_end;
}

// The tile of a visit; -1 past the end.
__device__ __forceinline__ int tile_at(const TileList &t, int visit) {
    if (visit >= t.end) return -1;
    if (visit >= cut_visits_end(t)) return visit - (t.end - t.whole_end);
    return visit < t.whole ? visit : visit + (t.whole_end - t.whole);
}

// The same, past the end the last one.
__device__ __forceinline__ int later_tile(const TileList &t, int visit) {
    return tile_at(t, min(visit, t.end - 1));
}
