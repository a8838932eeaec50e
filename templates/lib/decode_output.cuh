// From the state of each warp, (o, top, sum) over its own keys, to the block's rows: warps are
// added in their order, then the row goes to O when the sequence has one part, else to the
// workspace, from where the second kernel adds the parts in their order.
//
// Shared memory: O of warp w, row r at (w * block_m + r) * merge_pitch floats, then top and sum of
// all. It lies over the tiles of K, V and Q, so that a barrier stands before the first store; the
// barrier after the last makes all of it visible.
//% lib types
//% lib math
//% lib convert
//% lib shared
//% lib global
//% lib vector
//% lib merge
//% lib decode_work

enum : int {
    merge_pitch = head_dim + 8, // floats: rows of a fragment store lie in different banks
    merge_states = warps * block_m * merge_pitch * 4,
    row_pieces = head_dim / 4 // of 4 elements, one thread each
};

__device__ __forceinline__ u32 merge_row(u32 shared, int warp, int row) {
    return shared + (warp * block_m + row) * (merge_pitch * 4);
}

__device__ __forceinline__ u32 merge_state(u32 shared, int warp, int row) {
    return shared + merge_states + (warp * block_m + row) * 8;
}

__device__ __forceinline__ void store_row_piece(u64 to, const float (&o)[4]) {
    const Vector<8> v = {{half2_of_f32(o[0], o[1]), half2_of_f32(o[2], o[3])}};
    store_vector<8>(to, v);
}

// `shared`: filled by every warp, and visible.
__device__ __forceinline__ void store_rows(const AttnParams &p, const DecodeWork &work, u32 shared,
                                           int row_room, int part, int parts) {
    const float v_scale = kv_scale(p, p.v_scale, work.head_kv);
    const int rows = min(block_m, work.rows - work.first_row);
    for (int i = int(threadIdx.x); i < rows * row_pieces; i += threads) {
        const int row = i / row_pieces;
        const int column = i % row_pieces * 4;
        float top = -infinity();
#pragma unroll
        for (int w = 0; w < warps; ++w)
            top = fmaxf(top, load_shared_f32(merge_state(shared, w, row)));
        const float base = top == -infinity() ? 0.0f : top;
        float sum = 0.0f, o[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (int w = 0; w < warps; ++w) {
            const u32 state = merge_state(shared, w, row);
            // Exactly 1 for the largest: the product scale_log2 * top is never rounded on its own.
            const float weight = exp2_approx((load_shared_f32(state) - base) * p.scale_log2);
            const Bytes16 v = load_shared_16(merge_row(shared, w, row) + column * 4);
            sum = fmaf(load_shared_f32(state + 4), weight, sum);
#pragma unroll
            for (int e = 0; e < 4; ++e) o[e] = fmaf(__uint_as_float(v.word[e]), weight, o[e]);
        }
        const float inverse = sum == 0.0f ? 0.0f : reciprocal_approx(sum) * v_scale;
#pragma unroll
        for (int e = 0; e < 4; ++e) o[e] *= inverse;
        // ln(sum * exp(scale * top)): top is unscaled, log2 and scale_log2 share the factor ln 2.
        const float lse =
            sum == 0.0f ? -infinity() : ln2() * fmaf(top, p.scale_log2, log2_approx(sum));
        const int at = work.first_row + row;
        if (parts == 1) {
            store_row_piece(output_address(p, work, at) + u64(column) * 2, o);
            if (p.lse != 0 && column == 0) store_global_f32(lse_address(p, work, at), lse);
        } else {
            const i64 index = part_row(p, work, row_room, part, at);
            const Bytes16 v = {{__float_as_uint(o[0]), __float_as_uint(o[1]), __float_as_uint(o[2]),
                                __float_as_uint(o[3])}};
            store_global_16(part_output(p, index) + u64(column) * 4, v);
            if (column == 0) store_global_f32(part_lse(p, row_room, index), lse);
        }
    }
}

// The second kernel. Threads take pieces of rows; sequences of one part are complete already.
__device__ __forceinline__ void combine_parts(const AttnParams &all, const AttnParams &p) {
    const int parts = key_split(p).parts;
    const int row_room = all.len_q * all.group;
    const DecodeWork work = {int(blockIdx.z), int(blockIdx.y), 0, p.len_q * p.group};
    const int i = int(blockIdx.x) * threads + int(threadIdx.x);
    const int row = i / row_pieces;
    const int column = i % row_pieces * 4;
    if (parts == 1 || row >= work.rows) return;
    Merged<4> m;
    merge_begin(m);
    const i64 first = part_row(p, work, row_room, 0, row);
    const u64 o_at = part_output(p, first) + u64(column) * 4, lse_at = part_lse(p, row_room, first);
    merge_parts<8>(m, parts, [=](int part, float(&o)[4], float &lse) {
        const u32 rows = u32(part * row_room);
        load_floats(o, o_at + u64(rows) * (head_dim * 4));
        lse = __int_as_float(load_global_i32(lse_at + u64(rows) * 4));
    });
    const float lse = merge_end(m);
    store_row_piece(output_address(p, work, row) + u64(column) * 2, m.o);
    if (p.lse != 0 && column == 0) store_global_f32(lse_address(p, work, row), lse);
}
