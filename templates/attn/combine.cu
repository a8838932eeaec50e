// Merge of partial attention: a thread has `vec` elements of one row (token, head) and adds its
// parts in order. The threads of a row read the same LSEs, which the L1 cache answers; the first of
// them writes the row's own. A part with LSE -inf has no keys: nothing in its O is used.
//
// Few rows of many parts would keep few threads waiting: there, `slices` threads share an element's
// parts (slice i has parts i, i + slices ...) and the first adds up what the others made of theirs,
// in the order of the slices.
//% lib types
//% lib vector
//% lib elements
//% lib merge
//% lib shared

enum : int {
    part_bytes = part_type == part_type_f32 ? 4 : 2,
    columns = threads / slices, // threads of one slice
    state_bytes = (vec + 2) * 4 // of one thread in shared memory: o, top, sum
};

static_assert(units * vec == head_dim, "whole vectors per head");
static_assert(rows_per_block * units <= columns, "every slice has all rows of the block");

__device__ __forceinline__ void load_part(float (&x)[vec], u64 address) {
    if constexpr (part_type == part_type_f32)
        load_floats(x, address);
    else
        unpack(x, load_vector<vec * 2>(address));
}

__device__ __forceinline__ void publish(u32 to, const Merged<vec> &m) {
#pragma unroll
    for (int e = 0; e < vec; e += 2) store_shared_f32x2(to + e * 4, m.o[e], m.o[e + 1]);
    store_shared_f32x2(to + vec * 4, m.top, m.sum);
}

// The other slices' states of a thread's elements, whose first lies at `from`.
__device__ __forceinline__ void add_slices(Merged<vec> &m, u32 from) {
#pragma unroll
    for (int slice = 1; slice < slices; ++slice) {
        float o[vec];
        from += columns * state_bytes;
#pragma unroll
        for (int e = 0; e < vec; ++e) o[e] = load_shared_f32(from + e * 4);
        merge_state(m, o, load_shared_f32(from + vec * 4), load_shared_f32(from + vec * 4 + 4));
    }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    attn_combine(const __grid_constant__ MergeParams p) {
    const int column = int(threadIdx.x) % columns;
    const int slice = int(threadIdx.x) / columns;
    const int unit = column % units;
    const i64 row = i64(blockIdx.x) * rows_per_block + column / units;
    const bool exists = column / units < rows_per_block && row < i64(p.tokens) * p.heads;
    if (slices == 1 && !exists) return;
    const i64 token = u32(row) / u32(p.heads), head = u32(row) % u32(p.heads);
    const u64 lse_place = u64((head * p.lse_head + token * p.lse_token) * 4);
    const i64 element = row * head_dim + unit * vec;

    Merged<vec> merged;
    merge_begin(merged);
    const int parts = exists ? (p.parts - slice + slices - 1) / slices : 0;
    merge_parts<4>(merged, parts, [&](int i, float(&o)[vec], float &part_lse) {
        const int part = slice + i * slices;
        float word[1];
        load_floats(word, p.lse_parts + lse_place + u64(part * p.part_lse * 4));
        part_lse = word[0];
        load_part(o, p.o_parts + u64((element + part * p.part_o) * part_bytes));
    });
    if constexpr (slices > 1) {
        const u32 place = shared_base() + u32(threadIdx.x) * state_bytes;
        publish(place, merged);
        __syncthreads(); // the states of all slices are visible
        if (slice > 0 || !exists) return;
        add_slices(merged, place);
    }
    const float lse = merge_end(merged);
    store_vector<vec * 2>(p.o + u64(element * 2), pack(merged.o));
    if (p.lse != 0 && unit == 0) {
        const Vector<4> word = {{__float_as_uint(lse)}};
        store_vector<4>(p.lse + lse_place, word);
    }
}
