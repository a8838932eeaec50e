// K/V tiles through registers, for GPUs without cp.async: global loads are issued early into
// `staged`, and stored to shared memory when the buffer is free. One buffer of K, one of V, and
// one set of registers that K and V take turns with.
//
//   before_scores(i)  store K(i); barrier 1; load V(i) -> registers      (in flight during scores)
//   before_output(i)  store V(i); barrier 2; load K(i+1) -> registers    (in flight during output)
//
// Barrier 1: K(i) is visible, and every warp has finished output(i-1), so V may be stored over.
// Barrier 2: V(i) is visible, and every warp has finished scores(i), so K may be stored over.
//% lib types
//% lib global
//% lib shared
//% lib attn_rows

static_assert(stages == 1, "registers hold one tile");

enum : int { staged_chunks = KV_bytes / 16 / threads };

struct KvPipe {
    Bytes16 staged[staged_chunks];
    u64 k_next, v_next; // global address of this thread's first chunk of the next whole tile
    u64 k_step, v_step; // bytes from one pass of copy_rows rows to the next
    u32 to;             // this thread's first chunk in K's buffer
    enum : u32 { k_read = 0, v_read = 0 }; // one buffer each
};

__device__ __forceinline__ u64 k_chunk_address(const AttnParams &p, const BlockWork &work, int tile) {
    return k_address(p, work, tile * block_n + thread_row()) + thread_chunk() * 16;
}

__device__ __forceinline__ u64 v_chunk_address(const AttnParams &p, const BlockWork &work, int tile) {
    return v_address(p, work, tile * block_n + thread_row()) + thread_chunk() * 16;
}

// Rows from `rows_left` on do not exist: zeros, since 0 * NaN would reach the output through V.
// Leaves `from` at the tile that follows in memory.
template <bool cut>
__device__ __forceinline__ void load_tile(KvPipe &kv, u64 &from, u64 step, int rows_left) {
    int i = 0;
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols, ++i) {
            if (!cut || row < rows_left)
                kv.staged[i] = load_global_16(from + u64(column) * 2);
            else
                kv.staged[i] = Bytes16{{0, 0, 0, 0}};
        }
        from += step;
    }
}

__device__ __forceinline__ void store_tile(const KvPipe &kv, u32 to) {
    int i = 0;
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols, ++i)
            store_shared_16(to + KV_offset(row, column), kv.staged[i]);
    }
}

template <bool cut>
__device__ __forceinline__ void load_k(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                       KvPipe &kv, int i) {
    if (i >= tiles.count) return;
    if constexpr (cut) {
        const int tile = tile_at(tiles, i);
        u64 from = k_chunk_address(p, work, tile);
        load_tile<true>(kv, from, kv.k_step, p.len_kv - tile * block_n - thread_row());
    } else {
        load_tile<false>(kv, kv.k_next, kv.k_step, 0);
    }
}

template <bool cut>
__device__ __forceinline__ void load_v(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                       KvPipe &kv, int i) {
    if constexpr (cut) {
        const int tile = tile_at(tiles, i);
        u64 from = v_chunk_address(p, work, tile);
        load_tile<true>(kv, from, kv.v_step, p.len_kv - tile * block_n - thread_row());
    } else {
        load_tile<false>(kv, kv.v_next, kv.v_step, 0);
    }
}

// Q by the warp that will read it. Rows past the end are zero: their scores stay finite.
__device__ __forceinline__ void copy_q(const AttnParams &p, const BlockWork &work, u32 q_tile, int warp_row,
                                       int lane) {
#pragma unroll
    for (int first = 0; first < rows_per_warp; first += 32 / span_chunks) {
        const int row = first + lane / span_chunks;
        const int chunk = lane % span_chunks;
        const bool exists = warp_row + row < work.rows;
        const u64 from = query_address(p, work, exists ? warp_row + row : 0) + u64(chunk) * 16;
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols) {
            Bytes16 value = {{0, 0, 0, 0}};
            if (exists) value = load_global_16(from + u64(column) * 2);
            store_shared_16(q_tile + Q_offset(row, column + chunk * 8), value);
        }
    }
}

// With q_in_regs, Q's place overlaps the buffers of K and V: the block meets once before they are
// filled.
__device__ __forceinline__ void kv_begin(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                         KvPipe &kv, Query &query, u32 shared, int warp_row, int lane) {
    kv.to = shared + k_base + KV_offset(thread_row(), thread_chunk() * 8);
    kv.k_step = u64(p.k_token) * (copy_rows * 2);
    kv.v_step = u64(p.v_token) * (copy_rows * 2);
    copy_q(p, work, query.tile, warp_row, lane);
    load_k<true>(p, work, tiles, kv, 0);
    if constexpr (q_in_regs) {
        __syncwarp(); // a warp reads only the rows of Q that its own lanes copied
        query_load(query);
        __syncthreads();
    }
}

// Called once, before the first whole tile, which is number `i`.
__device__ __forceinline__ void kv_enter_whole(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                               KvPipe &kv, int i) {
    kv.k_next = k_chunk_address(p, work, tile_at(tiles, i + 1));
    kv.v_next = v_chunk_address(p, work, tile_at(tiles, i));
}

template <bool cut>
__device__ __forceinline__ void kv_before_scores(const AttnParams &p, const BlockWork &work,
                                                 const TileList &tiles, KvPipe &kv, int i) {
    store_tile(kv, kv.to);
    __syncthreads();
    load_v<cut>(p, work, tiles, kv, i);
}

template <bool cut>
__device__ __forceinline__ void kv_after_scores(const AttnParams &, const BlockWork &, const TileList &,
                                                KvPipe &, int) {}

template <bool cut>
__device__ __forceinline__ void kv_before_output(const AttnParams &p, const BlockWork &work,
                                                 const TileList &tiles, KvPipe &kv, int i) {
    store_tile(kv, kv.to + (v_base - k_base));
    __syncthreads();
    load_k<cut>(p, work, tiles, kv, i + 1);
}

__device__ __forceinline__ void kv_after_output(KvPipe &) {}
