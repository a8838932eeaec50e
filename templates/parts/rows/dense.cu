// Rows of K and V by strides: token t of the sequence lies t * stride after its first.
//% lib types
//% lib attn_rows

struct KvRows {
    u64 k, v; // global address of this thread's first chunk of tile 0
};

__device__ __forceinline__ KvRows kv_rows(const AttnParams &p, const BlockWork &work) {
    const i64 k = i64(work.batch) * p.k_batch + i64(work.head_kv) * p.k_head;
    const i64 v = i64(work.batch) * p.v_batch + i64(work.head_kv) * p.v_head;
    const i64 row = thread_row();
    return {p.k + u64((k + row * p.k_token) * 2) + thread_chunk() * 16,
            p.v + u64((v + row * p.v_token) * 2) + thread_chunk() * 16};
}

// Nothing to look up.
__device__ __forceinline__ void expect(const AttnParams &, KvRows &, int) {}

// A thread's chunks of one tile: rows thread_row(), + copy_rows, + 2 * copy_rows ... of it.
struct RowWalk {
    u64 at;
    i64 step;
};

// `first`: the tile's first token.
__device__ __forceinline__ RowWalk k_walk(const AttnParams &p, const KvRows &rows, int first) {
    return {rows.k + u64(first * p.k_token * 2), p.k_token * (copy_rows * 2)};
}

__device__ __forceinline__ RowWalk v_walk(const AttnParams &p, const KvRows &rows, int first) {
    return {rows.v + u64(first * p.v_token * 2), p.v_token * (copy_rows * 2)};
}

// Address of the row that the walk has reached.
__device__ __forceinline__ u64 row_address(const RowWalk &walk, int) {
    return walk.at;
}

__device__ __forceinline__ void walk_on(RowWalk &walk) {
    walk.at += u64(walk.step);
}
