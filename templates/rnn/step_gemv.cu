// One step on CUDA cores (lib rnn_step says of what), for few sequences and for f32: the lanes of a
// warp lie along k, 16 bytes of a row each, so that a row of weights is read once in whole lines.
//
// A warp has the rows of warp_units units for batch_tile sequences, `groups` warps side by side,
// times `k_splits` warps that share out k. Each lane adds its own k in order, the lanes of a warp
// are added as a tree of fixed shape, the k_splits in their order, through shared memory. Loads of
// `depth` turns (32 pieces of 16 bytes) are under way at a time.
//% lib types
//% lib math
//% lib convert
//% lib vector
//% lib elements
//% lib shuffle
//% lib shared
//% lib global
//% lib rnn_load
//% lib rnn_step

enum : int {
    piece = 16 / element,
    values = warp_units * batch_tile * 4 // sums of a warp, [unit][sequence][sum]
};
static_assert(values <= 32, "a lane is left with one sum or less");
static_assert(block_units * batch_tile <= threads, "a thread finishes one unit of one sequence");

template <bool is_x> __device__ __forceinline__ int elements_left(const RnnParams &p, int k) {
    if constexpr (is_x) return x_left(p, k);
    return (streamed ? int(state_pitch) : int(state)) - k;
}

__device__ __forceinline__ void floats_of(float (&d)[piece], const Bytes16 &v) {
    if constexpr (element == 4) {
#pragma unroll
        for (int i = 0; i < piece; ++i) d[i] = __uint_as_float(v.word[i]);
    } else {
#pragma unroll
        for (int i = 0; i < piece / 2; ++i) pair_f32(d[i * 2], d[i * 2 + 1], v.word[i]);
    }
}

// A lane's first pieces of the rows of a warp's first unit, and of each sequence.
struct Operands {
    u64 weights;
    u64 sequence[batch_tile]; // 0: zeros
};

// `count` turns from `turn` on. `whole`: every lane has a piece of them, of every row.
template <bool is_x, bool whole, int count>
__device__ __forceinline__ void products(const RnnParams &p, float (&sums)[values],
                                         const Operands &o, int pitch, int turn, int lane) {
    Bytes16 weights[count][warp_units][gates], row[count][batch_tile];
#pragma unroll
    for (int i = 0; i < count; ++i) {
        const int k = ((turn + i) * 32 + lane) * piece;
        const u64 from = o.weights + u64(turn + i) * (32 * 16);
#pragma unroll
        for (int u = 0; u < warp_units; ++u)
#pragma unroll
            for (int g = 0; g < gates; ++g) {
                // Units of a warp lie in one block of eight.
                const u64 at = from + u64(i64(gate_row(u, g)) * pitch * element);
                if (!whole) weights[i][u][g] = Bytes16{{0, 0, 0, 0}};
                if (whole || k < pitch) weights[i][u][g] = load_global_16(at);
            }
#pragma unroll
        for (int n = 0; n < batch_tile; ++n) {
            const int left = whole ? int(piece) : (k < pitch ? elements_left<is_x>(p, k) : 0);
            row[i][n] = load_piece < is_x
                            ? int(x_align)
                            : int(h_align) > (o.sequence[n] + u64(turn + i) * (32 * 16),
                                              o.sequence[n] != 0 ? left : 0);
        }
    }
#pragma unroll
    for (int i = 0; i < count; ++i) {
        float value[batch_tile][piece];
#pragma unroll
        for (int n = 0; n < batch_tile; ++n) floats_of(value[n], row[i][n]);
#pragma unroll
        for (int u = 0; u < warp_units; ++u)
#pragma unroll
            for (int g = 0; g < gates; ++g) {
                // W x of a GRU's n is kept apart from R h, which the reset gate will multiply.
                const int sum = cell == cell_gru && is_x && g == 2 ? 3 : g;
                float weight[piece];
                floats_of(weight, weights[i][u][g]);
#pragma unroll
                for (int n = 0; n < batch_tile; ++n)
#pragma unroll
                    for (int j = 0; j < piece; ++j) {
                        float &s = sums[(u * batch_tile + n) * 4 + sum];
                        s = fmaf(weight[j], value[n][j], s);
                    }
            }
    }
}

// This warp's share of the k of one matrix.
template <bool is_x>
__device__ __forceinline__ void all_products(const RnnParams &p, float (&sums)[values],
                                             const Operands &o, int pitch, int split, int lane) {
    const int each = ceil_div(ceil_div(pitch, 32 * piece), k_splits);
    int turn = split * each;
    const int end = min(turn + each, ceil_div(pitch, 32 * piece));
    // The middle of two parts has a tail of its own.
    const int whole = is_x && p.parts > 1 ? 0 : elements_left<is_x>(p, 0) / (32 * piece);
#pragma unroll 1
    for (; turn + depth <= min(end, whole); turn += depth)
        products<is_x, true, depth>(p, sums, o, pitch, turn, lane);
    if constexpr (depth > 1) {
#pragma unroll 1
        for (; turn < min(end, whole); ++turn)
            products<is_x, true, 1>(p, sums, o, pitch, turn, lane);
    }
#pragma unroll 1
    for (; turn < end; ++turn) products<is_x, false, 1>(p, sums, o, pitch, turn, lane);
}

__device__ __forceinline__ void x_products(const RnnParams &p, float (&sums)[values], int unit,
                                           int sequence0, int split, int lane) {
    const int pitch = x_pitch(p);
    Operands o;
    o.weights = p.dir[blockIdx.z].w + u64(i64(gate_row(unit, 0)) * pitch * element) + lane * 16;
#pragma unroll
    for (int n = 0; n < batch_tile; ++n) {
        o.sequence[n] = x_address(p, sequence0 + n);
        if (o.sequence[n] != 0) o.sequence[n] += lane * 16;
    }
    all_products<true>(p, sums, o, pitch, split, lane);
}

__device__ __forceinline__ void h_products(const RnnParams &p, float (&sums)[values], int unit,
                                           int sequence0, int split, int lane) {
    const StepState before = state_before(p, int(blockIdx.z));
    if (before.address == 0) return;
    Operands o;
    o.weights =
        p.dir[blockIdx.z].r + u64(i64(gate_row(unit, 0)) * state_pitch * element) + lane * 16;
#pragma unroll
    for (int n = 0; n < batch_tile; ++n) {
        const i64 row = i64(sequence0 + n) * before.pitch;
        o.sequence[n] =
            sequence0 + n < p.batch ? before.address + u64(row * element) + lane * 16 : 0;
    }
    all_products<false>(p, sums, o, state_pitch, split, lane);
}

// Sums of the warp: lane 32 / values * i (and those after it) is left with value i.
__device__ __forceinline__ float scattered_sum(float (&v)[values], int lane) {
#pragma unroll
    for (int half = values / 2, distance = 16; half > 0; half /= 2, distance /= 2) {
        const bool upper = (lane & distance) != 0;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const float own = upper ? v[half + i] : v[i];
            const float other = upper ? v[i] : v[half + i];
            v[i] = own + shuffle_xor(other, distance);
        }
    }
#pragma unroll
    for (int distance = 16 / values; distance > 0; distance /= 2)
        v[0] += shuffle_xor(v[0], distance);
    return v[0];
}

// Sums in shared memory: [split][group][value] floats.
__device__ __forceinline__ u32 value_address(u32 shared, int split, int group, int value) {
    return shared + ((split * groups + group) * values + value) * 4;
}

extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_step(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const int group = warp % groups, split = warp / groups;
    const int unit0 = int(blockIdx.x) * block_units, sequence0 = int(blockIdx.y) * batch_tile;
    // The thread's own unit to finish; threads past the last have one that does not exist.
    const int own_unit = int(threadIdx.x) % block_units,
              own_sequence = int(threadIdx.x) / block_units;
    const bool finishes = own_sequence < batch_tile;
    StepUnit item =
        step_unit(p, finishes ? unit0 + own_unit : int(units_pad), sequence0 + own_sequence);

    const int unit = unit0 + group * warp_units;
    if (unit < hidden) {
        float sums[values];
#pragma unroll
        for (int i = 0; i < values; ++i) sums[i] = 0.0f;
        if constexpr (fused) x_products(p, sums, unit, sequence0, split, lane);
        h_products(p, sums, unit, sequence0, split, lane);
        const float sum = scattered_sum(sums, lane);
        if (lane % (32 / values) == 0)
            store_shared_f32(value_address(shared, split, group, lane / (32 / values)), sum);
    }
    __syncthreads(); // the sums of all k_splits are visible
    if (!item.exists) return;
    float total[unit_sums];
#pragma unroll
    for (int i = 0; i < unit_sums; ++i) {
        const int value = (own_unit % warp_units * batch_tile + own_sequence) * 4 + i;
        total[i] = 0.0f;
#pragma unroll
        for (int s = 0; s < k_splits; ++s)
            total[i] += load_shared_f32(value_address(shared, s, own_unit / warp_units, value));
    }
    step_finish(p, item, total);
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_step_begin(const __grid_constant__ RnnParams p) {
    stream_begin(p);
}
