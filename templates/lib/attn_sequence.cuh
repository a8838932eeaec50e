// The lengths and the place of one sequence. With lengths = device they are read here, so that one
// captured launch serves growing sequences; else the parameters say them for all.
//% lib types
//% lib global

// The parameters as they are for sequence `batch` alone. Lengths beyond the plan's are cut to it:
// its grid, its tables and its LSE rows have no room for more.
__device__ __forceinline__ AttnParams of_sequence(const AttnParams &all, int batch) {
    AttnParams p = all;
    if constexpr (lengths == lengths_device) {
        const u64 at = u64(batch) * 4;
        if (all.cu_seqlens_q != 0) {
            const int first = load_global_i32(all.cu_seqlens_q + at);
            p.len_q = min(load_global_i32(all.cu_seqlens_q + at + 4) - first, all.len_q);
            p.q += u64(i64(first) * all.q_token * 2);
            p.o += u64(i64(first) * all.o_token * 2);
            if (all.lse != 0) p.lse += u64(first) * 4;
        }
        if (all.cu_seqlens_kv != 0) {
            const int first = load_global_i32(all.cu_seqlens_kv + at);
            p.len_kv = load_global_i32(all.cu_seqlens_kv + at + 4) - first;
            p.k += u64(i64(first) * all.k_token * kv_element);
            p.v += u64(i64(first) * all.v_token * kv_element);
        }
        if (all.lens_kv != 0) p.len_kv = load_global_i32(all.lens_kv + at);
        p.len_kv = max(min(p.len_kv, all.len_kv), 0);
        p.own_first = all.top_left ? 0 : p.len_kv - p.len_q;
    }
    return p;
}
