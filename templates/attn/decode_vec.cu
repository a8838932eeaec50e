// Attention of few queries over many keys without tensor cores: a key's row of K is read by
// lanes_per_key lanes, 16 bytes each, which hold the same elements of every row of Q (at most
// block_m rows: queries and heads of one K/V head, lib decode_work); dot products are finished by
// shuffles. A warp walks tiles w, w + warps, ... of warp_keys keys, and its groups of lanes take
// turns in a tile: group g has keys g, g + groups, g + 2 groups ... All loads of a tile are issued
// before the first use. Groups, then warps, are merged in a fixed order.
//
// Invariant at each loop head, per group and row: o = sum over its keys of exp2(scale_log2 * (s -
// top)) * v, sum = the same without v, top = the largest s.
//% lib types
//% lib math
//% lib convert
//% lib convert8
//% lib shuffle
//% lib shared
//% lib global
//% lib key_bounds
//% lib attn_sequence

enum : int {
    lane_dims = 16 / kv_element, // elements that a lane has of every row
    lanes_per_key = head_dim / lane_dims,
    groups = 32 / lanes_per_key,
    group_keys = warp_keys / groups // keys of a tile that one group takes
};

static_assert(32 % lanes_per_key == 0 && warp_keys % groups == 0, "whole groups, whole turns");

//% slot mask
//% lib kv_place
//% lib decode_work
//% lib decode_output

__device__ __forceinline__ void to_floats(float (&d)[lane_dims], const Bytes16 &x) {
#pragma unroll
    for (int w = 0; w < 4; ++w) {
        if constexpr (kv_element == 2) {
            d[2 * w] = low_f32(x.word[w]);
            d[2 * w + 1] = high_f32(x.word[w]);
        } else {
            float four[4];
            f32x4_of_kv8(four, x.word[w]);
#pragma unroll
            for (int e = 0; e < 4; ++e) d[4 * w + e] = four[e];
        }
    }
}

// Sum over the lanes of one key, in all of them.
__device__ __forceinline__ float group_sum(float x) {
#pragma unroll
    for (int distance = 1; distance < lanes_per_key; distance *= 2) x += shuffle_xor(x, distance);
    return x;
}

struct Rows {
    float q[block_m][lane_dims];
    float o[block_m][lane_dims];
    float top[block_m], sum[block_m];
};

__device__ __forceinline__ void rows_begin(const AttnParams &p, const DecodeWork &work, Rows &rows,
                                           int column) {
#pragma unroll
    for (int r = 0; r < block_m; ++r) {
        const bool exists = work.first_row + r < work.rows;
#pragma unroll
        for (int i = 0; i < lane_dims; i += 8) {
            Bytes16 q = {{0, 0, 0, 0}};
            if (exists)
                q = load_global_16(query_address(p, work, work.first_row + r) +
                                   u64(column + i) * 2);
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                rows.q[r][i + 2 * w] = low_f32(q.word[w]);
                rows.q[r][i + 2 * w + 1] = high_f32(q.word[w]);
            }
        }
#pragma unroll
        for (int i = 0; i < lane_dims; ++i) rows.o[r][i] = 0.0f;
        rows.top[r] = -infinity();
        rows.sum[r] = 0.0f;
    }
}

// The tile's keys of one group. Rows that do not exist are zeros.
struct Tile {
    Bytes16 k[group_keys], v[group_keys];
};

__device__ __forceinline__ void load_tile(const AttnParams &p, const KvPlace &place, Tile &tile,
                                          int key, int lane_bytes) {
    KvRow from[group_keys];
#pragma unroll
    for (int i = 0; i < group_keys; ++i) {
        const bool exists = key + i * groups < p.len_kv;
        const int token = exists ? key + i * groups : key < p.len_kv ? key : 0;
        from[i] = kv_row(p, place, kv_page(place, token), token);
    }
#pragma unroll
    for (int i = 0; i < group_keys; ++i) {
        tile.k[i] = tile.v[i] = Bytes16{{0, 0, 0, 0}};
        if (key + i * groups < p.len_kv) {
            tile.k[i] = load_global_16(from[i].k + u64(lane_bytes));
            tile.v[i] = load_global_16(from[i].v + u64(lane_bytes));
        }
    }
}

// Scores of the tile, -inf where a row does not see the key.
__device__ __forceinline__ void tile_scores(const AttnParams &p, const DecodeWork &work,
                                            const Rows &rows, const Tile &tile,
                                            float (&s)[block_m][group_keys], int key,
                                            float k_scale) {
#pragma unroll
    for (int i = 0; i < group_keys; ++i) {
        float k[lane_dims];
        to_floats(k, tile.k[i]);
#pragma unroll
        for (int r = 0; r < block_m; ++r) {
            float dot = 0.0f;
#pragma unroll
            for (int e = 0; e < lane_dims; ++e) dot = fmaf(rows.q[r][e], k[e], dot);
            s[r][i] = group_sum(dot);
            if constexpr (kv_element == 1) s[r][i] *= k_scale;
        }
    }
#pragma unroll
    for (int r = 0; r < block_m; ++r) {
        const KeyBounds seen = key_bounds(p, token_of_row(p, work.first_row + r));
#pragma unroll
        for (int i = 0; i < group_keys; ++i) {
            const int at = key + i * groups;
            if (at < seen.first || at > seen.last) s[r][i] = -infinity();
        }
    }
}

// Online softmax (parts/softmax has the same for fragments): s becomes weights.
__device__ __forceinline__ void tile_softmax(Rows &rows, float (&s)[block_m][group_keys],
                                             float scale_log2) {
#pragma unroll
    for (int r = 0; r < block_m; ++r) {
        float top = rows.top[r];
#pragma unroll
        for (int i = 0; i < group_keys; ++i) top = fmaxf(top, s[r][i]);
        const float shift = top == -infinity() ? 0.0f : top;
        const float rescale = exp2_approx((rows.top[r] - shift) * scale_log2);
        rows.sum[r] *= rescale;
        rows.top[r] = top;
#pragma unroll
        for (int i = 0; i < group_keys; ++i) {
            s[r][i] = exp2_approx((s[r][i] - shift) * scale_log2);
            rows.sum[r] += s[r][i];
        }
#pragma unroll
        for (int e = 0; e < lane_dims; ++e) rows.o[r][e] *= rescale;
    }
}

__device__ __forceinline__ void tile_output(Rows &rows, const Tile &tile,
                                            const float (&s)[block_m][group_keys]) {
#pragma unroll
    for (int i = 0; i < group_keys; ++i) {
        float v[lane_dims];
        to_floats(v, tile.v[i]);
#pragma unroll
        for (int r = 0; r < block_m; ++r) {
#pragma unroll
            for (int e = 0; e < lane_dims; ++e) rows.o[r][e] = fmaf(s[r][i], v[e], rows.o[r][e]);
        }
    }
}

// The groups of a warp, pair by pair; afterwards group 0 has the sum of all.
__device__ __forceinline__ void merge_groups(Rows &rows, float scale_log2) {
#pragma unroll
    for (int distance = lanes_per_key; distance < 32; distance *= 2) {
#pragma unroll
        for (int r = 0; r < block_m; ++r) {
            const float other = shuffle_xor(rows.top[r], distance);
            const float top = fmaxf(rows.top[r], other);
            const float base = top == -infinity() ? 0.0f : top;
            const float own_weight = exp2_approx((rows.top[r] - base) * scale_log2);
            const float weight = exp2_approx((other - base) * scale_log2);
            rows.sum[r] =
                fmaf(rows.sum[r], own_weight, shuffle_xor(rows.sum[r], distance) * weight);
#pragma unroll
            for (int e = 0; e < lane_dims; ++e)
                rows.o[r][e] =
                    fmaf(rows.o[r][e], own_weight, shuffle_xor(rows.o[r][e], distance) * weight);
            rows.top[r] = top;
        }
    }
}

__device__ __forceinline__ void publish(const Rows &rows, u32 shared, int warp, int lane) {
    if (lane >= lanes_per_key) return;
#pragma unroll
    for (int r = 0; r < block_m; ++r) {
        const u32 to = merge_row(shared, warp, r) + lane * (lane_dims * 4);
#pragma unroll
        for (int e = 0; e < lane_dims; e += 4) {
            const Bytes16 v = {{__float_as_uint(rows.o[r][e]), __float_as_uint(rows.o[r][e + 1]),
                                __float_as_uint(rows.o[r][e + 2]),
                                __float_as_uint(rows.o[r][e + 3])}};
            store_shared_16(to + e * 4, v);
        }
        if (lane == 0) store_shared_f32x2(merge_state(shared, warp, r), rows.top[r], rows.sum[r]);
    }
}

extern "C" __global__ void __launch_bounds__(threads, launch_blocks)
    attn_decode(const __grid_constant__ AttnParams all) {
    const AttnParams p = of_sequence(all, int(blockIdx.z));
    const DecodeWork work = decode_work(p);
    const KeySplit split = key_split(p);
    const int part = int(blockIdx.x);
    if (work.first_row >= work.rows || part >= split.parts) return;

    const u32 shared = shared_base();
    const int warp = int(threadIdx.x) / 32;
    const int lane = int(threadIdx.x) % 32;
    const int group = lane / lanes_per_key;
    const KvPlace place = kv_place(p, work.batch, work.head_kv);
    const float k_scale = kv_scale(p, p.k_scale, work.head_kv);
    Rows rows;
    rows_begin(p, work, rows, lane % lanes_per_key * lane_dims);

    const PartTiles part_of_keys = part_tiles(split, part);
    const int step = part_of_keys.step * warps;
    const int end = min(part_of_keys.end * warps, ceil_div(p.len_kv, warp_keys));
#pragma unroll 1
    for (int at = part_of_keys.begin * warps + warp; at < end; at += step) {
        const int key = at * warp_keys + group;
        Tile tile;
        load_tile(p, place, tile, key, lane % lanes_per_key * 16);
        float s[block_m][group_keys];
        tile_scores(p, work, rows, tile, s, key, k_scale);
        tile_softmax(rows, s, p.scale_log2);
        tile_output(rows, tile, s);
    }
    merge_groups(rows, p.scale_log2);
    publish(rows, shared, warp, lane);
    __syncthreads(); // the states are visible
    store_rows(p, work, shared, all.len_q * all.group, part, split.parts);
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    attn_decode_combine(const __grid_constant__ AttnParams all) {
    combine_parts(all, of_sequence(all, int(blockIdx.z)));
}
