// Rotary position embedding from f32 tables: pairs of elements turned by the angle of the token's
// position. fp32 arithmetic, one rounding to the output type.
//
// A head is cut into `units` units: rotate_units that turn `unit_pairs` pairs, then copy_units of
// `vec` elements that stay as they are (partial rotation). A thread has one unit of one token: of
// one head (grid.y), or, head_sequential, of every head, with cos and sin loaded once. Only the
// thread of a unit reads or writes it, so x and out may be the same memory. Slot rotate:
// unit_pieces, unit_pairs, piece_element, rotate.
//% lib types
//% lib vector
//% lib elements

static_assert(head_dim % vec == 0 && (head_dim - rotary_dim) % vec == 0, "whole vectors per head");

//% slot rotate

static_assert(unit_pieces * vec * rotate_units == rotary_dim, "the units tile the rotated part");
static_assert(tokens_per_block >= 1, "a token's units fit one block");

enum : int {
    heads_in_flight = head_sequential ? 4 : 1 // loads issued before the first use
};

__device__ __forceinline__ void rotate_unit(Vector<vec_bytes> (&v)[unit_pieces],
                                            const float (&c)[unit_pairs],
                                            const float (&s)[unit_pairs]) {
    float x[unit_pieces][vec];
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) unpack(x[i], v[i]);
    rotate(x, c, s);
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) v[i] = pack(x[i]);
}

// One unit of one token in heads first_head, first_head + 1, ... below `heads`.
struct Place {
    u64 x, out;             // element 0 of the head
    i64 x_step, out_step;   // bytes to the next head
    int piece[unit_pieces]; // elements from there
};

__device__ __forceinline__ void rotate_heads(Place place, int heads, const float (&c)[unit_pairs],
                                             const float (&s)[unit_pairs], bool turn) {
    for (int head = 0; head < heads; head += heads_in_flight) {
        Vector<vec_bytes> v[heads_in_flight][unit_pieces];
#pragma unroll
        for (int h = 0; h < heads_in_flight; ++h) {
            if (head + h >= heads) continue;
#pragma unroll
            for (int i = 0; i < unit_pieces; ++i)
                v[h][i] = load_vector<vec_bytes>(place.x + u64(h * place.x_step) +
                                                 u64(place.piece[i]) * 2);
        }
#pragma unroll
        for (int h = 0; h < heads_in_flight; ++h) {
            if (head + h >= heads) continue;
            if (turn) rotate_unit(v[h], c, s);
#pragma unroll
            for (int i = 0; i < unit_pieces; ++i)
                store_vector<vec_bytes>(
                    place.out + u64(h * place.out_step) + u64(place.piece[i]) * 2, v[h][i]);
        }
        place.x += u64(heads_in_flight * place.x_step);
        place.out += u64(heads_in_flight * place.out_step);
    }
}

__device__ __forceinline__ void copy_heads(const Place &place, int heads) {
    for (int head = 0; head < heads; ++head) {
        const u64 at = u64(place.piece[0]) * 2;
        store_vector<vec_bytes>(place.out + u64(head * place.out_step) + at,
                                load_vector<vec_bytes>(place.x + u64(head * place.x_step) + at));
    }
}

extern "C" __global__ void __launch_bounds__(threads) rope(const __grid_constant__ RopeParams p) {
    const int unit = int(threadIdx.x) % units;
    const int row = int(threadIdx.x) / units;
    const i64 token = i64(blockIdx.x) * tokens_per_block + row;
    if (row >= tokens_per_block || token >= p.tokens) return;
    const int head = head_sequential ? 0 : int(blockIdx.y);
    const int heads = head_sequential ? p.heads : 1;

    Place place;
    place.x = p.x + u64((token * p.x_token + head * p.x_head) * 2);
    place.out = p.out + u64((token * p.out_token + head * p.out_head) * 2);
    place.x_step = p.x_head * 2;
    place.out_step = p.out_head * 2;

    if (unit >= rotate_units) {
        if (p.x == p.out) return; // already there
        const int rest = (unit - rotate_units) * vec;
        place.piece[0] = rest < p.rotary_offset ? rest : rest + rotary_dim;
        copy_heads(place, heads);
        return;
    }
#pragma unroll
    for (int i = 0; i < unit_pieces; ++i) place.piece[i] = p.rotary_offset + piece_element(unit, i);

    const i64 position =
        p.positions == 0 ? p.first_position + token : load_global_i64(p.positions + u64(token) * 8);
    const bool turn = position >= 0 && position < p.table_rows;
    float c[unit_pairs], s[unit_pairs];
#pragma unroll
    for (int i = 0; i < unit_pairs; ++i) c[i] = s[i] = 0.0f;
    if (turn) {
        const u64 at = u64((position * p.table_stride + i64(unit) * unit_pairs) * 4);
        load_floats(c, p.cos + at);
        load_floats(s, p.sin + at);
    } else if (p.x == p.out) {
        return; // left as it is
    }
    rotate_heads(place, heads, c, s, turn);
}
