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
//% lib opaque
//% lib attn_rows

static_assert(stages == 1, "registers hold one tile");

enum : int {
    k_ahead = 1, // the tile whose K is loaded during tile i is i + k_ahead
    v_ahead = 0,
    staged_chunks = KV_bytes / 16 / threads
};

struct KvPipe {
    Bytes16 staged[staged_chunks];
    KvRows rows;                           // where this thread's chunks of K and V come from
    u32 to;                                // its first chunk in K's buffer in shared memory
    enum : u32 { k_read = 0, v_read = 0 }; // one buffer each
};

// With `cut`, only `rows_left` rows from this thread's first one on exist; zeros for the others,
// since 0 * NaN would reach the output through V.
template <bool cut>
__device__ __forceinline__ void load_tile(KvPipe &kv, RowWalk from, int rows_left) {
    int i = 0;
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
        const bool exists = !cut || row < rows_left;
        const u64 address = row_address(from, row / copy_rows);
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols, ++i) {
            if (exists)
                kv.staged[i] = load_global_16(address + u64(column) * 2);
            else
                kv.staged[i] = Bytes16{{0, 0, 0, 0}};
        }
        walk_on(from);
    }
}

__device__ __forceinline__ void store_tile(const KvPipe &kv, u32 to) {
    opaque(to);
    int i = 0;
#pragma unroll
    for (int row = 0; row < block_n; row += copy_rows) {
#pragma unroll
        for (int column = 0; column < head_dim; column += swizzle_cols, ++i)
            store_shared_16(to + KV_offset(row, column), kv.staged[i]);
    }
}

template <bool cut>
__device__ __forceinline__ void load_k(const AttnParams &p, KvPipe &kv, int tile, int later) {
    if (tile < 0) return;
    const int first = tile * block_n;
    load_tile<cut>(kv, k_walk(p, kv.rows, first), p.len_kv - first - thread_row());
    expect(p, kv.rows, later);
}

template <bool cut>
__device__ __forceinline__ void load_v(const AttnParams &p, KvPipe &kv, int tile) {
    const int first = tile * block_n;
    load_tile<cut>(kv, v_walk(p, kv.rows, first), p.len_kv - first - thread_row());
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
        for (int column = 0; column < head_dim; column += swizzle_cols) {
            Bytes16 value = {{0, 0, 0, 0}};
            if (exists) value = load_global_16(from + u64(column) * 2);
            store_shared_16(q_tile + Q_offset(row, column + chunk * 8), value);
        }
    }
}

// With q_in_regs, Q's place overlaps the buffers of K and V: the block meets once before they are
// filled.
__device__ __forceinline__ void kv_begin(const AttnParams &p, const BlockWork &work,
                                         const TileList &tiles, KvPipe &kv, Query &query,
                                         u32 shared, int warp_row, int lane) {
    kv.rows = kv_rows(p, work);
    expect(p, kv.rows, tile_at(tiles, tiles.begin));
    kv.to = shared + k_base + KV_offset(thread_row(), thread_chunk() * 8);
    copy_q(p, work, query.tile, warp_row, lane);
    load_k<true>(p, kv, tile_at(tiles, tiles.begin), later_tile(tiles, tiles.begin + 1));
    if constexpr (q_in_regs) {
        __syncwarp(); // a warp reads only the rows of Q that its own lanes copied
        query_load(query, lane);
        __syncthreads();
    }
}

template <bool cut>
__device__ __forceinline__ void kv_before_scores(const AttnParams &p, KvPipe &kv, int v) {
    store_tile(kv, kv.to);
    __syncthreads();
    load_v<cut>(p, kv, v);
}

template <bool cut>
__device__ __forceinline__ void kv_after_scores(const AttnParams &, KvPipe &, Copies) {}

template <bool cut>
__device__ __forceinline__ void kv_before_output(const AttnParams &p, KvPipe &kv, Copies k) {
    store_tile(kv, kv.to + (v_base - k_base));
    __syncthreads();
    load_k<cut>(p, kv, k.next, k.later);
}

__device__ __forceinline__ void kv_after_output(KvPipe &) {}
