// Merge of partial attention: a thread has `vec` elements of one row (token, head) and adds its
// parts in order. The threads of a row read the same LSEs, which the L1 cache answers; the first of
// them writes the row's own. A part with LSE -inf has no keys: nothing in its O is used.
//% lib types
//% lib vector
//% lib elements
//% lib merge

enum : int {
    part_bytes = part_type == part_type_f32 ? 4 : 2,
    ahead = 4 // parts whose loads are issued before the first is added
};

static_assert(units * vec == head_dim, "whole vectors per head");

__device__ __forceinline__ void load_part(float (&x)[vec], u64 address) {
    if constexpr (part_type == part_type_f32)
        load_floats(x, address);
    else
        unpack(x, load_vector<vec * 2>(address));
}

// Parts first, first + 1, ... of those that exist, at most `ahead`.
__device__ __forceinline__ void add_parts(const MergeParams &p, Merged<vec> &merged, int first,
                                          u64 o, u64 lse) {
    float x[ahead][vec], part_lse[ahead][1];
#pragma unroll
    for (int a = 0; a < ahead; ++a) {
        part_lse[a][0] = -infinity();
        if (first + a >= p.parts) continue;
        load_floats(part_lse[a], lse + u64((first + a) * p.part_lse * 4));
        load_part(x[a], o + u64((first + a) * p.part_o * part_bytes));
    }
#pragma unroll
    for (int a = 0; a < ahead; ++a) merge_add(merged, x[a], part_lse[a][0]);
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    attn_combine(const __grid_constant__ MergeParams p) {
    const int unit = int(threadIdx.x) % units;
    const int in_block = int(threadIdx.x) / units;
    const i64 row = i64(blockIdx.x) * rows_per_block + in_block;
    if (in_block >= rows_per_block || row >= i64(p.tokens) * p.heads) return;
    const i64 token = u32(row) / u32(p.heads), head = u32(row) % u32(p.heads);
    const u64 lse_place = u64((head * p.lse_head + token * p.lse_token) * 4);
    const i64 element = row * head_dim + unit * vec;

    Merged<vec> merged;
    merge_begin(merged);
    for (int first = 0; first < p.parts; first += ahead)
        add_parts(p, merged, first, p.o_parts + u64(element * part_bytes), p.lse_parts + lse_place);
    const float lse = merge_end(merged);
    store_vector<vec * 2>(p.o + u64(element * 2), pack(merged.o));
    if (p.lse != 0 && unit == 0) {
        const Vector<4> word = {{__float_as_uint(lse)}};
        store_vector<4>(p.lse + lse_place, word);
    }
}
