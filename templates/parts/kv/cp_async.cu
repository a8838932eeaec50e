// K/V tiles through cp.async, `stages` deep: `stages` buffers of K and max(1, stages - 1) of V,
// since V of a tile is needed half an iteration later than its K.
//
// One commit group per tile of K or V, alternating: K0 V0 K1 V1 ... (Q goes with K0); past the end
// the groups are empty, so that the counts below hold in every iteration. "landed" = wait_group by
// the copying thread; "visible" = landed, then a block barrier.
//
//   stages  at before_scores(i)                    after_scores(i)        before_output(i)
//   1       K(i) landed, barrier, issue V(i)       barrier, issue K(i+1)  V(i) landed, barrier
//   2       K(i) landed, barrier,                  -                      V(i) landed, barrier
//           issue V(i), K(i+1)
//   3       K(i), V(i) landed, barrier,            -                      -
//           issue V(i+1), K(i+2)
//
// What each barrier is for. before_scores: K(i) (and V(i)) visible; every warp has finished
// output(i-1), so V's buffer of tile i-1 and, with 2 or 3 stages, K's may be overwritten.
// after_scores (1 stage): every warp has read K(i) from the only buffer. before_output: V(i)
// visible. Newest groups still allowed under way (the wait_group operand): with 1 and 2 stages at
// before_scores none (K(i) is the newest), at before_output one (K(i+1)); with 3 stages one
// (K(i+1)). During scores and softmax at least two groups are under way with 2 and 3 stages,
// during softmax with 1.
//% lib types
//% lib cp_async
//% lib attn_rows

struct KvPipe {
    u64 k_next, v_next;   // global address of this thread's first chunk of the next whole tile
    u64 k_step, v_step;   // bytes from one pass of copy_rows rows to the next
    u32 k_to, v_to;       // this thread's first chunk in the first buffer of K, of V
    u32 k_read, v_read;   // byte offset of the buffer that is read, among K's and V's
    u32 k_write, v_write; // and of the one that is filled next
};

enum : int {
    k_ahead = stages == 1 ? 1 : stages - 1, // tiles from the one at work to the K that is copied
    v_ahead = stages == 1 ? 0 : stages - 2
};

__device__ __forceinline__ u32 next_buffer(u32 offset, int buffers) {
    if (buffers == 1) return 0;
    if (buffers == 2) return KV_bytes - offset;
    return offset == u32(buffers - 1) * KV_bytes ? 0 : offset + KV_bytes;
}

// A whole tile: every row exists. Leaves `from` at the tile that follows in memory.
__device__ __forceinline__ void copy_tile(u32 to, u64 &from, u64 step) {
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols)
            copy_async_16(to + KV_offset(row, column), from + u64(column) * 2);
        from += step;
    }
}

// A tile of which `rows_left` rows from this thread's first one on exist; zeros for the others,
// since 0 * NaN would reach the output through V.
__device__ __forceinline__ void copy_tile_zfill(u32 to, u64 from, u64 step, int rows_left) {
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
        const int bytes = row < rows_left ? 16 : 0;
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols)
            copy_async_16_zfill(to + KV_offset(row, column), from + u64(column) * 2, bytes);
        from += step;
    }
}

__device__ __forceinline__ u64 k_chunk_address(const AttnParams &p, const BlockWork &work, int tile) {
    return k_address(p, work, tile * block_n + thread_row()) + thread_chunk() * 16;
}

__device__ __forceinline__ u64 v_chunk_address(const AttnParams &p, const BlockWork &work, int tile) {
    return v_address(p, work, tile * block_n + thread_row()) + thread_chunk() * 16;
}

template <bool cut>
__device__ __forceinline__ void issue_k(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                        KvPipe &kv, int i) {
    if (i < tiles.count) {
        if constexpr (cut) {
            const int tile = tile_at(tiles, i);
            copy_tile_zfill(kv.k_to + kv.k_write, k_chunk_address(p, work, tile), kv.k_step,
                            p.len_kv - tile * block_n - thread_row());
        } else {
            copy_tile(kv.k_to + kv.k_write, kv.k_next, kv.k_step);
        }
    }
    copy_async_commit();
    kv.k_write = next_buffer(kv.k_write, k_buffers);
}

template <bool cut>
__device__ __forceinline__ void issue_v(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                        KvPipe &kv, int i) {
    if (i < tiles.count) {
        if constexpr (cut) {
            const int tile = tile_at(tiles, i);
            copy_tile_zfill(kv.v_to + kv.v_write, v_chunk_address(p, work, tile), kv.v_step,
                            p.len_kv - tile * block_n - thread_row());
        } else {
            copy_tile(kv.v_to + kv.v_write, kv.v_next, kv.v_step);
        }
    }
    copy_async_commit();
    kv.v_write = next_buffer(kv.v_write, v_buffers);
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
        for (int column = 0; column < head_dim; column += swizzle_cols)
            copy_async_16_zfill(q_tile + Q_offset(row, column + chunk * 8), from + u64(column) * 2,
                                exists ? 16 : 0);
    }
}

// Issues Q and the first tiles. With q_in_regs, Q's place overlaps buffers other than K's first:
// Q is read into registers and the block meets once before those are filled.
__device__ __forceinline__ void kv_begin(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                         KvPipe &kv, Query &query, u32 shared, int warp_row, int lane) {
    const u32 chunk = KV_offset(thread_row(), thread_chunk() * 8);
    kv.k_to = shared + k_base + chunk;
    kv.v_to = shared + v_base + chunk;
    kv.k_step = u64(p.k_token) * (copy_rows * 2);
    kv.v_step = u64(p.v_token) * (copy_rows * 2);
    kv.k_read = kv.v_read = kv.k_write = kv.v_write = 0;
    copy_q(p, work, query.tile, warp_row, lane);
    if constexpr (q_in_regs) copy_async_commit();
    issue_k<true>(p, work, tiles, kv, 0);
    if constexpr (q_in_regs) {
        copy_async_wait<1>();
        __syncwarp(); // a warp reads only the rows of Q that its own lanes copied
        query_load(query);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < stages - 2; ++i) {
        issue_v<true>(p, work, tiles, kv, i);
        issue_k<true>(p, work, tiles, kv, i + 1);
    }
}

// Called once, before the first whole tile, which is number `i`.
__device__ __forceinline__ void kv_enter_whole(const AttnParams &p, const BlockWork &work, const TileList &tiles,
                                               KvPipe &kv, int i) {
    kv.k_next = k_chunk_address(p, work, tile_at(tiles, i + k_ahead));
    kv.v_next = v_chunk_address(p, work, tile_at(tiles, i + v_ahead));
}

// `cut`: the tiles copied now may be ragged and need not follow each other in memory.
template <bool cut>
__device__ __forceinline__ void kv_before_scores(const AttnParams &p, const BlockWork &work,
                                                 const TileList &tiles, KvPipe &kv, int i) {
    copy_async_wait<stages == 3 ? 1 : 0>();
    __syncthreads();
    issue_v<cut>(p, work, tiles, kv, i + v_ahead);
    if constexpr (stages > 1) issue_k<cut>(p, work, tiles, kv, i + k_ahead);
}

template <bool cut>
__device__ __forceinline__ void kv_after_scores(const AttnParams &p, const BlockWork &work,
                                                const TileList &tiles, KvPipe &kv, int i) {
    kv.k_read = next_buffer(kv.k_read, k_buffers);
    if constexpr (stages == 1) {
        __syncthreads();
        issue_k<cut>(p, work, tiles, kv, i + k_ahead);
    }
}

template <bool cut>
__device__ __forceinline__ void kv_before_output(const AttnParams &, const BlockWork &, const TileList &,
                                                 KvPipe &, int) {
    if constexpr (stages < 3) {
        copy_async_wait<1>();
        __syncthreads();
    }
}

__device__ __forceinline__ void kv_after_output(KvPipe &kv) { kv.v_read = next_buffer(kv.v_read, v_buffers); }
