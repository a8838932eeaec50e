// Rows of the cache to contiguous K and V. A row is one head of one token, K's heads first; `units`
// neighbouring threads have `vec` elements of it each. A thread has row_batch rows whose loads are
// issued before the first is stored. 16-bit caches are moved as bits, 8-bit ones become stored *
// scale with one rounding.
//% lib types
//% lib vector
//% lib elements
//% lib quantize
//% lib kv_slot

static_assert(units * vec == head_dim, "whole vectors per head");

struct Row {
    bool exists, is_k;
    int head;
    u64 from, to; // element 0 of the row
};

__device__ __forceinline__ Row row_of(const KvParams &p, i64 index) {
    const u32 heads = u32(2 * p.heads_kv);
    Row row = {false, false, 0, 0, 0};
    if (index >= i64(p.tokens) * heads) return row;
    const int token = int(u32(index) / heads), head = int(u32(index) % heads);
    const KvSlot slot = kv_slot(p, token);
    row.is_k = head < p.heads_kv;
    row.head = row.is_k ? head : head - p.heads_kv;
    row.exists = slot.exists;
    row.from = cache_row(p, slot, row.is_k, row.head);
    row.to = new_row(p, token, row.is_k, row.head);
    return row;
}

template <int bytes>
__device__ __forceinline__ Vector<vec * 2> sixteen_bits(const KvParams &p, const Row &row,
                                                        const Vector<bytes> &v) {
    if constexpr (bytes == vec * 2) {
        return v;
    } else {
        float x[vec];
        const float scale = cache_scale(p, row.is_k, row.head);
        dequantize<vec>(x, v);
#pragma unroll
        for (int i = 0; i < vec; ++i) x[i] *= scale;
        return pack(x);
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    kv_gather(const __grid_constant__ KvParams p) {
    const int unit = int(threadIdx.x) % units;
    const int in_block = int(threadIdx.x) / units;
    const i64 first = i64(blockIdx.x) * (rows_per_block * row_batch) + in_block;
    if (in_block >= rows_per_block) return;
    Row row[row_batch];
    Vector<vec * kv_element> v[row_batch];
#pragma unroll
    for (int r = 0; r < row_batch; ++r) {
        row[r] = row_of(p, first + r * rows_per_block);
        if (row[r].exists)
            v[r] = load_vector<vec * kv_element>(row[r].from + u64(unit * vec * kv_element));
    }
#pragma unroll
    for (int r = 0; r < row_batch; ++r)
        if (row[r].exists)
            store_vector<vec * 2>(row[r].to + u64(unit * vec * 2), sixteen_bits(p, row[r], v[r]));
}
