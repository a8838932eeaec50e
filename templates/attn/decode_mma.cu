// Attention of few queries over many keys on tensor cores: the rows of a block (queries and heads
// of one K/V head, lib decode_work) are the m dimension of mma.sync, and the warps share out its
// keys: warp w takes tiles w, w + warps, w + 2 warps ... of warp_keys keys each, with buffers of
// its own, so that no barrier of the block stands in the loop. At the end the warps' sums are added
// in their order (lib decode_output).
//
// A warp's ring of `stages` buffers, each one tile of K and one of V. Per tile i:
//
//   warp barrier A      every lane has read tile i - 1, whose buffer may be filled
//   copy tile i + stages - 1, close the group
//   wait until at most stages - 1 groups are under way: tile i has landed for this lane's copies
//   warp barrier B      ... and those of all lanes are visible
//   scores, mask, softmax, output
//
// Past the last tile the groups are empty, so that the count holds. Without cp.async a copy is
// loads and stores in the same places, and the ring has one buffer.
//
// Eight-bit K and V are copied as they are and converted where they become operands. A 32-bit
// register of ldmatrix then holds four neighbours along a row, which lib convert8 gives as pairs
// (0, 2) and (1, 3). That settles two orders. Of K, lane c of a quad has elements 4c .. 4c+3 of 16
// where the operand wants 2c, 2c+1 and 2c+8, 2c+9: Q is stored in the order that matches. Of V, the
// even and the odd columns of 16 become one 8-column block each.
//% lib types
//% lib math
//% lib opaque
//% lib convert
//% lib convert8
//% lib shuffle
//% lib shared
//% lib global
//% lib cp_async
//% lib ldmatrix
//% lib mma
//% lib key_bounds
//% lib attn_sequence

enum : int {
    lane_rows = block_m / 8, // rows of S and O that a lane holds a part of
    row_blocks = block_m / 16,
    dim_blocks = head_dim / 8,    // n8 blocks of O
    dim_steps = head_dim / 16,    // k16 steps of Q K^T
    key_steps = warp_keys / 16,   // pairs of n8 blocks of S, k16 steps of P V
    chunk_dims = 16 / kv_element, // elements of a 16-byte chunk of K or V
    row_chunks = head_dim / chunk_dims,
    chunk_pairs = row_chunks / 2, // what one ldmatrix reads of 16 keys
    kv_row_bytes = head_dim * kv_element,
    span_pairs = swizzle_bytes / 32, // pairs after which the swizzle pattern repeats
    copies = warp_keys * row_chunks / 32,
    buffer_bytes = 2 * KV_bytes // K, then V
};

static_assert(block_m % 16 == 0 && warp_keys % 16 == 0, "whole mma blocks");
static_assert(warp_keys * row_chunks % 32 == 0 && row_chunks % 2 == 0, "whole copies");
static_assert(KV_offset(8, 0) == 8 * kv_row_bytes, "the swizzle repeats every 8 rows");

//% slot mask
//% slot softmax
//% lib kv_place
//% lib decode_work
//% lib decode_output

// ---- copies ----

struct KvPipe {
    KvPlace place;
    u32 page;        // of this lane's token in the tile that is copied next
    u32 ring;        // this warp's buffers
    u32 write, read; // byte offset of the buffer that is filled or read next
};

__device__ __forceinline__ u32 next_buffer(u32 offset) {
    if constexpr (stages == 1) return 0;
    return offset + buffer_bytes == u32(stages * buffer_bytes) ? 0 : offset + buffer_bytes;
}

__device__ __forceinline__ u64 shuffle_address(u64 x, int lane) {
    return __shfl_sync(0xffffffffu, x, lane);
}

// Where the chunks of a tile come from. When its tokens follow each other in memory, rows are steps
// from the first; else lane i looks up token i and the lanes exchange what they found.
struct TileRows {
    KvRow own;
    i64 k_step, v_step;
};

enum : int { together = kv == kv_dense || page_size % warp_keys == 0 };

__device__ __forceinline__ int own_token(int key0, int lane) {
    return together ? key0 : key0 + lane % warp_keys;
}

// Reads the page ids of a tile before its copy is due, so that nobody waits for them then.
__device__ __forceinline__ void expect(const AttnParams &p, KvPipe &pipe, int tile, int end,
                                       int lane) {
    const int token = own_token(tile * warp_keys, lane);
    if (kv == kv_paged && tile < end && (together || token < p.len_kv))
        pipe.page = kv_page(pipe.place, token);
}

__device__ __forceinline__ TileRows tile_rows(const AttnParams &p, const KvPipe &pipe, int key0,
                                              int lane) {
    return {kv_row(p, pipe.place, pipe.page, own_token(key0, lane)), p.k_token * kv_element,
            p.v_token * kv_element};
}

__device__ __forceinline__ u64 tile_row(u64 own, i64 step, int row) {
    if constexpr (together) return own + u64(row * step);
    return shuffle_address(own, row);
}

// What the rows of a lane's next copy are further on, where that is the same for all of them.
enum : int { walks = together && 32 % row_chunks == 0 };

// One tile of K or V into a buffer. Rows past the end become zeros: 0 * NaN would reach the output.
__device__ __forceinline__ void copy_tile(u32 to, u64 own, i64 step, int rows_left, int lane) {
    Bytes16 staged[HAS_cp_async ? 1 : copies];
    opaque(lane); // places are computed here, not kept through the loop
    u64 at = own + u64(lane / row_chunks * step) + u64(lane % row_chunks) * 16;
    const u64 pass = u64(32 / row_chunks * step);
#pragma unroll
    for (int i = 0; i < copies; ++i) {
        const int row = (i * 32 + lane) / row_chunks;
        const int chunk = (i * 32 + lane) % row_chunks;
        const bool exists = row < rows_left;
        const u64 from = walks ? at : tile_row(own, step, row) + u64(chunk) * 16;
        at += pass;
        if constexpr (HAS_cp_async) {
            copy_async_16_zfill(to + KV_offset(row, chunk * chunk_dims), from, exists ? 16 : 0);
        } else {
            staged[i] = Bytes16{{0, 0, 0, 0}};
            if (exists) staged[i] = load_global_16(from);
        }
    }
    if constexpr (!HAS_cp_async) {
#pragma unroll
        for (int i = 0; i < copies; ++i)
            store_shared_16(to + KV_offset((i * 32 + lane) / row_chunks,
                                           (i * 32 + lane) % row_chunks * chunk_dims),
                            staged[i]);
    }
}

// Tile `tile` when it is below `end`; always closes one group. `step`: from one tile to the next.
__device__ __forceinline__ void issue_tile(const AttnParams &p, KvPipe &pipe, int tile, int step,
                                           int end, int lane) {
    if (tile < end) {
        const int key0 = tile * warp_keys;
        const TileRows rows = tile_rows(p, pipe, key0, lane);
        const u32 to = pipe.ring + pipe.write;
        copy_tile(to, rows.own.k, rows.k_step, p.len_kv - key0, lane);
        copy_tile(to + KV_bytes, rows.own.v, rows.v_step, p.len_kv - key0, lane);
    }
    pipe.write = next_buffer(pipe.write);
    if constexpr (HAS_cp_async) copy_async_commit();
    expect(p, pipe, tile + step, end, lane);
}

// Q by all threads of the block; rows past the last are zeros. For 8-bit K elements 4c, 4c+2 of 16
// go to word c and 4c+1, 4c+3 to word c + 4 (above).
__device__ __forceinline__ void copy_q(const AttnParams &p, const DecodeWork &work, u32 q_tile) {
    for (int i = int(threadIdx.x); i < block_m * (head_dim / 8); i += threads) {
        const int row = i / (head_dim / 8);
        const int chunk = i % (head_dim / 8);
        Bytes16 value = {{0, 0, 0, 0}};
        if (work.first_row + row < work.rows)
            value = load_global_16(query_address(p, work, work.first_row + row) + u64(chunk) * 16);
        if constexpr (kv_element == 2) {
            store_shared_16(q_tile + Q_offset(row, chunk * 8), value);
        } else {
#pragma unroll
            for (int w = 0; w < 4; w += 2) { // words w, w + 1 are elements 4c .. 4c+3
                const u32 even = permute_bytes(value.word[w], value.word[w + 1], 0x5410);
                const u32 odd = permute_bytes(value.word[w], value.word[w + 1], 0x7632);
                const int c = chunk % 2 * 2 + w / 2;
                const u32 to = q_tile + c * 4;
                store_shared_u32(to + Q_offset(row, chunk / 2 * 16), even);
                store_shared_u32(to + Q_offset(row, chunk / 2 * 16 + 8), odd);
            }
        }
    }
}

// ---- operands ----

struct Query {
    u32 tile;
    u32 regs[q_in_regs ? row_blocks * dim_steps : 1][4];
};

__device__ __forceinline__ void query_block(u32 (&q)[4], const Query &query, int m, int step,
                                            int lane) {
    if constexpr (q_in_regs) {
#pragma unroll
        for (int i = 0; i < 4; ++i) q[i] = query.regs[m * dim_steps + step][i];
    } else {
        ldmatrix_x4(q, query.tile + Q_offset(m * 16 + lane % 16, step * 16 + lane / 16 * 8));
    }
}

// This lane's ldmatrix rows in 16 keys x 2 chunks: lane i names key i % 16, chunk i / 16. The
// swizzle depends on the lane and on the pair of chunks modulo span_pairs.
struct LaneRows {
    u32 pair[span_pairs];
};

__device__ __forceinline__ u32 pair_address(const LaneRows &rows, u32 buffer, int key, int pair) {
    return rows.pair[pair % span_pairs] + buffer + key * kv_row_bytes +
           pair / span_pairs * swizzle_bytes;
}

__device__ __forceinline__ void scores(float (&s)[S_regs], const Query &query, const LaneRows &rows,
                                       u32 buffer, int lane) {
    float(*acc)[4] = reinterpret_cast<float(*)[4]>(s);
#pragma unroll
    for (int i = 0; i < S_regs; ++i) s[i] = 0.0f;
#pragma unroll
    for (int pair = 0; pair < chunk_pairs; ++pair) {
#pragma unroll
        for (int n = 0; n < key_steps; ++n) {
            // {keys 0-7 chunk 0, keys 8-15 chunk 0, keys 0-7 chunk 1, keys 8-15 chunk 1}
            u32 k[4];
            Half4 wide[4];
            ldmatrix_x4(k, pair_address(rows, buffer, n * 16, pair));
            if constexpr (kv_element == 1) half4_of_kv8(wide, k);
#pragma unroll
            for (int m = 0; m < row_blocks; ++m) {
                float(&even)[4] = acc[(m * key_steps + n) * 2];
                float(&odd)[4] = acc[(m * key_steps + n) * 2 + 1];
                u32 q[4];
                if constexpr (kv_element == 2) {
                    query_block(q, query, m, pair, lane);
                    mma_16x8x16(even, q, k[0], k[2]);
                    mma_16x8x16(odd, q, k[1], k[3]);
                } else {
#pragma unroll
                    for (int chunk = 0; chunk < 2; ++chunk) {
                        const Half4 a = wide[chunk * 2], b = wide[chunk * 2 + 1];
                        query_block(q, query, m, pair * 2 + chunk, lane);
                        mma_16x8x16(even, q, a.even, a.odd);
                        mma_16x8x16(odd, q, b.even, b.odd);
                    }
                }
            }
        }
    }
}

__device__ __forceinline__ void output(float (&o)[O_regs], const float (&s)[S_regs],
                                       const LaneRows &rows, u32 buffer) {
    float(*acc)[4] = reinterpret_cast<float(*)[4]>(o);
#pragma unroll
    for (int step = 0; step < key_steps; ++step) {
        u32 weights[row_blocks][4];
#pragma unroll
        for (int m = 0; m < row_blocks; ++m) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int reg = (m * key_steps + step) * 8 + i * 2;
                weights[m][i] = half2_of_f32(s[reg], s[reg + 1]);
            }
        }
#pragma unroll
        for (int pair = 0; pair < chunk_pairs; ++pair) {
            u32 v[4];
            ldmatrix_x4_trans(v, pair_address(rows, buffer + KV_bytes, step * 16, pair));
            if constexpr (kv_element == 2) {
#pragma unroll
                for (int m = 0; m < row_blocks; ++m) {
                    mma_16x8x16(acc[m * dim_blocks + pair * 2], weights[m], v[0], v[1]);
                    mma_16x8x16(acc[m * dim_blocks + pair * 2 + 1], weights[m], v[2], v[3]);
                }
            } else {
                Half4 wide[4];
                half4_of_kv8(wide, v);
#pragma unroll
                for (int chunk = 0; chunk < 2; ++chunk) {
                    const Half4 a = wide[chunk * 2], b = wide[chunk * 2 + 1];
#pragma unroll
                    for (int m = 0; m < row_blocks; ++m) {
                        const int block = m * dim_blocks + (pair * 2 + chunk) * 2;
                        mma_16x8x16(acc[block], weights[m], a.even, b.even);
                        mma_16x8x16(acc[block + 1], weights[m], a.odd, b.odd);
                    }
                }
            }
        }
    }
}

// Scores of keys that a row does not see become -inf; a tile that every row sees whole is left as
// it is.
__device__ __forceinline__ void mask_scores(const AttnParams &p, const DecodeWork &work,
                                            float (&s)[S_regs], int key0, int lane) {
    const int last_row = min(work.first_row + block_m, work.rows) - 1;
    const KeyBounds low = key_bounds(p, token_of_row(p, work.first_row));
    const KeyBounds high = key_bounds(p, token_of_row(p, last_row));
    if (high.first <= key0 && key0 + warp_keys - 1 <= low.last) return;
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        const int row = work.first_row + r / 2 * 16 + r % 2 * 8 + lane / 4;
        const KeyBounds seen = key_bounds(p, token_of_row(p, row));
        // The lane's first column is taken off the bounds, so that columns compare as constants.
        const int first = seen.first - key0 - S_col(0, lane);
        const int last = seen.last - key0 - S_col(0, lane);
#pragma unroll
        for (int i = 0; i < S_regs; ++i) {
            const int column = S_col(i, 0);
            if (S_row(i, 0) / 8 == r && (column < first || column > last)) s[i] = -infinity();
        }
    }
}

// The warp's state to its place in shared memory, O by columns in their order.
__device__ __forceinline__ void publish(u32 shared, int warp, int lane, const float (&o)[O_regs],
                                        const RowState &rows) {
#pragma unroll
    for (int r = 0; r < lane_rows; ++r) {
        const int row = r / 2 * 16 + r % 2 * 8 + lane / 4;
        const u32 to = merge_row(shared, warp, row) + lane % 4 * (kv_element == 2 ? 8 : 16);
        const int reg0 = r / 2 * dim_blocks * 4 + r % 2 * 2;
#pragma unroll
        for (int block = 0; block < dim_blocks; block += kv_element == 2 ? 1 : 2) {
            const int reg = reg0 + block * 4;
            if constexpr (kv_element == 2) {
                store_shared_f32x2(to + block * 32, o[reg], o[reg + 1]);
            } else { // even columns of 16 in the one block, odd ones in the next
                const Bytes16 v = {{__float_as_uint(o[reg]), __float_as_uint(o[reg + 4]),
                                    __float_as_uint(o[reg + 1]), __float_as_uint(o[reg + 5])}};
                store_shared_16(to + block * 32, v);
            }
        }
        if (lane % 4 == 0)
            store_shared_f32x2(merge_state(shared, warp, row), rows.top[r], rows.sum[r]);
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
    // Tiles of this warp, counted in warp_keys keys. The first are on their way before Q is read.
    const PartTiles part_of_keys = part_tiles(split, part);
    const int begin = part_of_keys.begin * warps + warp;
    const int step = part_of_keys.step * warps;
    const int end = min(part_of_keys.end * warps, ceil_div(p.len_kv, warp_keys));
    KvPipe pipe = {kv_place(p, work.batch, work.head_kv), 0,
                   shared + warp * (stages * buffer_bytes), 0, 0};
    expect(p, pipe, begin, end, lane);
#pragma unroll
    for (int i = 0; i < stages - 1; ++i) issue_tile(p, pipe, begin + i * step, step, end, lane);
    copy_q(p, work, shared + q_base);
    __syncthreads(); // Q is visible
    Query query;
    query.tile = shared + q_base;
    if constexpr (q_in_regs) {
#pragma unroll
        for (int i = 0; i < row_blocks * dim_steps; ++i)
            ldmatrix_x4(query.regs[i], query.tile + Q_offset(i / dim_steps * 16 + lane % 16,
                                                             i % dim_steps * 16 + lane / 16 * 8));
    }
    LaneRows lane_rows_of_kv;
#pragma unroll
    for (int i = 0; i < span_pairs; ++i)
        lane_rows_of_kv.pair[i] =
            pipe.ring + KV_offset(lane % 16, (i * 2 + lane / 16) * chunk_dims);
    const float k_scale = kv_scale(p, p.k_scale, work.head_kv);

    float o[O_regs];
#pragma unroll
    for (int i = 0; i < O_regs; ++i) o[i] = 0.0f;
    RowState rows;
    softmax_begin(rows);

#pragma unroll 1
    for (int tile = begin; tile < end; tile += step) {
        __syncwarp(); // A
        issue_tile(p, pipe, tile + (stages - 1) * step, step, end, lane);
        if constexpr (HAS_cp_async) copy_async_wait<stages - 1>();
        __syncwarp(); // B
        float s[S_regs];
        scores(s, query, lane_rows_of_kv, pipe.read, lane);
        if constexpr (kv_element == 1) {
#pragma unroll
            for (int i = 0; i < S_regs; ++i) s[i] *= k_scale;
        }
        mask_scores(p, work, s, tile * warp_keys, lane);
        softmax_tile<true>(s, o, rows, p.scale_log2);
        output(o, s, lane_rows_of_kv, pipe.read);
        pipe.read = next_buffer(pipe.read);
    }
    softmax_end(rows);
    __syncthreads(); // every warp has read its tiles and Q, which the states go over
    publish(shared, warp, lane, o, rows);
    __syncthreads(); // the states are visible
    store_rows(p, work, shared, all.len_q * all.group, part, split.parts);
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    attn_decode_combine(const __grid_constant__ AttnParams all) {
    combine_parts(all, of_sequence(all, int(blockIdx.z)));
}
