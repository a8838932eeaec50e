// K/V tiles through cp.async, `stages` deep: `stages` buffers of K and max(1, stages - 1) of V,
// since V of a tile is needed half an iteration later than its K.
//
// One commit group per tile of K or V, alternating: K0 V0 K1 V1 ... (Q goes with K0); past the end
// the groups are empty, so that the counts below hold in every iteration. "landed" = wait_group by
// the copying thread; "visible" = landed, then a block barrier.
//
//   stages  at before_scores(i)                      after_scores(i)        before_output(i)
//   1       K(i) landed, barrier A, issue V(i)       barrier B, issue K(i+1)  V(i) landed, barrier
//   C 2       K(i) landed, barrier A, issue V(i)       issue K(i+1)             V(i) landed,
//   barrier C 3       K(i), V(i) landed, barrier A,            issue K(i+2)             -
//           issue V(i+1)
//
// A: K(i) (3 stages: and V(i)) visible; every warp has finished output(i-1), so that the buffer of
//    V(i-1) may be filled, and scores(i-1), so that with 2 or 3 stages the buffer of K(i-1) may.
// B: every warp has read K(i) from the only buffer.
// C: V(i) visible.
// wait_group's operand is how many of the newest groups may still be under way. At A with 1 and 2
// stages none, since K(i) is the newest; with 3 stages one, K(i+1), which came after V(i). At C
// one, K(i+1), which came after V(i).
// Two groups are under way during softmax (V(i), K(i+1)); with 3 stages also during scores
// (V(i+1), K(i+1)), and three during softmax and output.
//% lib types
//% lib cp_async
//% lib opaque
//% lib attn_rows

struct KvPipe {
    KvRows rows;        // where this thread's chunks of K and V come from
    u32 to;             // its first chunk in the first buffer of K in shared memory
    u32 k_read, v_read; // byte offset of the buffer that is read, among K's and V's
};

// Which tiles are copied during tile i: K of i + k_ahead, V of i + v_ahead.
enum : int { k_ahead = stages == 1 ? 1 : stages - 1, v_ahead = stages == 1 ? 0 : stages - 2 };

// The buffer `steps` after the one at `offset`, in a ring.
__device__ __forceinline__ u32 ring(u32 offset, int steps, int buffers) {
    const u32 end = u32(buffers) * KV_bytes;
#pragma unroll
    for (int i = 0; i < steps % buffers; ++i)
        offset = offset + KV_bytes == end ? 0 : offset + KV_bytes;
    return offset;
}

// One tile. With `cut`, only `rows_left` rows from this thread's first one on exist; zeros for the
// others, since 0 * NaN would reach the output through V.
template <bool cut>
__device__ __forceinline__ void copy_tile(u32 to, RowWalk from, int rows_left) {
    opaque(to);
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
        const bool exists = !cut || row < rows_left;
        const u64 address = row_address(from, row / copy_rows);
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols) {
            if constexpr (cut)
                copy_async_16_zfill(to + KV_offset(row, column), address + u64(column) * 2,
                                    exists ? 16 : 0);
            else
                copy_async_16(to + KV_offset(row, column), address + u64(column) * 2);
        }
        walk_on(from);
    }
}

// Copies a tile (none when negative) of K or V into one buffer; always closes one group. `later`:
// the tile whose K will be copied next.
template <bool cut>
__device__ __forceinline__ void issue_k(const AttnParams &p, KvPipe &kv, int tile, int later,
                                        u32 buffer) {
    if (tile >= 0) {
        const int first = tile * block_n;
        copy_tile<cut>(kv.to + buffer, k_walk(p, kv.rows, first), p.len_kv - first - thread_row());
    }
    copy_async_commit();
    expect(p, kv.rows, later);
}

template <bool cut>
__device__ __forceinline__ void issue_v(const AttnParams &p, KvPipe &kv, int tile, u32 buffer) {
    if (tile >= 0) {
        const int first = tile * block_n;
        copy_tile<cut>(kv.to + (v_base - k_base) + buffer, v_walk(p, kv.rows, first),
                       p.len_kv - first - thread_row());
    }
    copy_async_commit();
}

// Q by the warp that will read it. Rows past the end are zero: their scores stay finite.
__device__ __forceinline__ void copy_q(const AttnParams &p, const BlockWork &work, u32 q_tile,
                                       int warp_row, int lane) {
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
__device__ __forceinline__ void kv_begin(const AttnParams &p, const BlockWork &work,
                                         const TileList &tiles, KvPipe &kv, Query &query,
                                         u32 shared, int warp_row, int lane) {
    kv.rows = kv_rows(p, work);
    expect(p, kv.rows, tile_at(tiles, tiles.begin));
    kv.to = shared + k_base + KV_offset(thread_row(), thread_chunk() * 8);
    kv.k_read = kv.v_read = 0;
    copy_q(p, work, query.tile, warp_row, lane);
    if constexpr (q_in_regs) copy_async_commit();
    issue_k<true>(p, kv, tile_at(tiles, tiles.begin), later_tile(tiles, tiles.begin + 1), 0);
    if constexpr (q_in_regs) {
        copy_async_wait<1>();
        __syncwarp(); // a warp reads only the rows of Q that its own lanes copied
        query_load(query, lane);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < stages - 2; ++i) {
        issue_v<true>(p, kv, tile_at(tiles, tiles.begin + i), u32(i) * KV_bytes);
        issue_k<true>(p, kv, tile_at(tiles, tiles.begin + i + 1),
                      later_tile(tiles, tiles.begin + i + 2), u32(i + 1) * KV_bytes);
    }
}

// `cut`: the tile copied now may be ragged.
template <bool cut>
__device__ __forceinline__ void kv_before_scores(const AttnParams &p, KvPipe &kv, int v) {
    copy_async_wait<stages == 3 ? 1 : 0>();
    __syncthreads();
    issue_v<cut>(p, kv, v, ring(kv.v_read, v_ahead, v_buffers));
}

template <bool cut>
__device__ __forceinline__ void kv_after_scores(const AttnParams &p, KvPipe &kv, Copies k) {
    if constexpr (stages == 1) __syncthreads();
    issue_k<cut>(p, kv, k.next, k.later, ring(kv.k_read, k_ahead, k_buffers));
    kv.k_read = ring(kv.k_read, 1, k_buffers);
}

template <bool cut>
__device__ __forceinline__ void kv_before_output(const AttnParams &, KvPipe &, Copies) {
    if constexpr (stages < 3) {
        copy_async_wait<1>();
        __syncthreads();
    }
}

__device__ __forceinline__ void kv_after_output(KvPipe &kv) {
    kv.v_read = ring(kv.v_read, 1, v_buffers);
}
