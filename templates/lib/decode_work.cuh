// Which rows and which keys a block of attn_decode has. Rows are (token, head in group) pairs of
// one K/V head, row = token * group + head in group, so that K and V are read once for all of them.
//
// The keys that any query of a sequence sees are cut into tiles of block_n keys and dealt out to
// parts, one part per block: part i of n has tiles i, i + n, i + 2n ..., so that neighbours in
// memory are read at the same time and no part has more than one tile more than another. How many
// parts there are follows from the sequence's own length on the device: one captured launch, whose
// grid has p.splits parts per sequence, serves every length, and blocks beyond a sequence's last
// part have nothing to do. A batch-invariant plan has parts of fixed_chunk neighbouring keys.
//% lib types
//% lib math
//% lib key_bounds

// Slot mask, whose text comes after the libs.
__device__ __forceinline__ KeyBounds key_bounds(const AttnParams &p, int token);

// Tiles [first, end) of the sequence.
struct KeySplit {
    int first, end;
    int parts; // at least 1: a sequence without keys has an empty one, which writes its rows
};

// The tiles of one part: begin, begin + step ... below end.
struct PartTiles {
    int begin, end, step;
};

struct DecodeWork {
    int batch, head_kv;
    int first_row, rows; // of this block; of the sequence and K/V head
};

__device__ __forceinline__ int token_of_row(const AttnParams &p, int row) {
    return p.len_q == 1 ? 0 : int(u32(row) / u32(p.group)); // a division costs 20 instructions
}

enum : int { chunk_tiles = fixed_chunk / block_n }; // of a part; 0: by the length

__device__ __forceinline__ KeySplit key_split(const AttnParams &p) {
    KeySplit s = {0, 0, 1};
    const KeyBounds low = key_bounds(p, 0), high = key_bounds(p, p.len_q - 1);
    if (high.last < low.first) return s;
    s.first = low.first / block_n;
    s.end = high.last / block_n + 1;
    const int tiles = s.end - s.first;
    s.parts = chunk_tiles > 0 ? ceil_div(tiles, chunk_tiles)
                              : min(ceil_div(tiles, least_tiles), p.splits);
    return s;
}

__device__ __forceinline__ PartTiles part_tiles(const KeySplit &s, int part) {
    if constexpr (chunk_tiles == 0) return {s.first + part, s.end, s.parts};
    const int begin = s.first + part * chunk_tiles;
    return {begin, min(begin + chunk_tiles, s.end), 1};
}

// grid: (parts, row blocks of every K/V head, sequences).
__device__ __forceinline__ DecodeWork decode_work(const AttnParams &p) {
    DecodeWork work = {int(blockIdx.z), int(blockIdx.y), 0, p.len_q * p.group};
    if (int(gridDim.y) == p.heads_kv) return work;
    const u32 row_tiles = gridDim.y / u32(p.heads_kv);
    work.head_kv = int(blockIdx.y / row_tiles);
    work.first_row = int(blockIdx.y % row_tiles) * block_m;
    return work;
}

__device__ __forceinline__ int head_of_row(const AttnParams &p, const DecodeWork &work, int row) {
    return work.head_kv * p.group + row - token_of_row(p, row) * p.group;
}

__device__ __forceinline__ u64 query_address(const AttnParams &p, const DecodeWork &work, int row) {
    return p.q + u64((i64(work.batch) * p.q_batch + i64(head_of_row(p, work, row)) * p.q_head +
                      i64(token_of_row(p, row)) * p.q_token) *
                     2);
}

__device__ __forceinline__ u64 output_address(const AttnParams &p, const DecodeWork &work,
                                              int row) {
    return p.o + u64((i64(work.batch) * p.o_batch + i64(head_of_row(p, work, row)) * p.o_head +
                      i64(token_of_row(p, row)) * p.o_token) *
                     2);
}

__device__ __forceinline__ u64 lse_address(const AttnParams &p, const DecodeWork &work, int row) {
    return p.lse + u64((i64(work.batch) * p.lse_batch +
                        i64(head_of_row(p, work, row)) * p.lse_head + i64(token_of_row(p, row))) *
                       4);
}

// Index of a row of one part in the workspace: first O of all (f32), then their LSE. `row_room`:
// rows of the longest sequence.
__device__ __forceinline__ i64 part_row(const AttnParams &p, const DecodeWork &work, int row_room,
                                        int part, int row) {
    return ((i64(work.batch) * p.heads_kv + work.head_kv) * p.splits + part) * row_room + row;
}

__device__ __forceinline__ u64 part_output(const AttnParams &p, i64 index) {
    return p.workspace + u64(index * (head_dim * 4));
}

__device__ __forceinline__ u64 part_lse(const AttnParams &p, int row_room, i64 index) {
    const i64 all = i64(p.batch) * p.heads_kv * p.splits * row_room;
    return p.workspace + u64((all * head_dim + index) * 4);
}

// Scales of 8-bit K and V; 1 where the types are those of Q.
__device__ __forceinline__ float kv_scale(const AttnParams &p, u64 scales, int head_kv) {
    if constexpr (kv_element == 1) {
        if (scales != 0)
            return __int_as_float(load_global_i32(scales + u64(p.scale_heads ? head_kv : 0) * 4));
    }
    return 1.0f;
}
