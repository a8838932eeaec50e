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
//% lib shuffle
//% lib shared
//% lib global
//% lib rnn_load
//% lib rnn_step
//% if layer_norm == 1
//% lib rnn_norm
//% end

enum : int {
    piece = 16 / element,
    values = warp_units * batch_tile * 4, // sums of a warp, [unit][sequence][sum]
    block_items = step_units * batch_tile
};
static_assert(values <= 32, "a lane is left with one sum or less");
static_assert(block_items <= threads, "a thread finishes one unit of one sequence");

__device__ __forceinline__ void floats_of(float (&d)[piece], const Bytes16 &v) {
    if constexpr (element == 4) {
#pragma unroll
        for (int i = 0; i < piece; ++i) d[i] = __uint_as_float(v.word[i]);
    } else {
#pragma unroll
        for (int i = 0; i < piece / 2; ++i) pair_f32(d[i * 2], d[i * 2 + 1], v.word[i]);
    }
}

// Rows of a unit that a part takes: gates, or as many rows of P in its place.
template <int part> __device__ constexpr int part_rows() {
    return part == reset_and_update ? 2 : (part == only_n ? 1 : int(gates));
}

// Row `i` of a warp's unit `u`, from the warp's first row on. Its units lie in one block of eight.
template <int part> __device__ constexpr int unit_row(int u, int i) {
    if (part == plain_rows) return u * gates + i;
    return gate_row(u, part == only_n ? 2 : i);
}

// Which of a unit's four sums it goes to. W x of a GRU's n is kept apart from R h, which the reset
// gate will multiply.
template <int source> __device__ constexpr int sum_of(int i) {
    return source == from_x && splits_n && i == 2 ? 3 : i;
}

// A lane's first piece of the warp's first row, and of each sequence.
struct Operands {
    u64 weights;
    int pitch;
    u64 sequence[batch_tile];
};

template <int source>
__device__ __forceinline__ Operands operands(const RnnParams &p, int row0, int sequence0,
                                             int lane) {
    const StepState w = source_weights<source>(p);
    Operands o;
    o.pitch = w.pitch;
    o.weights = w.address + u64(i64(row0) * w.pitch * element) + lane * 16;
#pragma unroll
    for (int n = 0; n < batch_tile; ++n)
        o.sequence[n] = source_row<source>(p, sequence0 + n) + lane * 16;
    return o;
}

// `count` turns from `turn` on. `whole`: every lane has a piece of them, of every row.
template <int source, int part, bool whole, int count>
__device__ __forceinline__ void products(const RnnParams &p, float (&sums)[values],
                                         const Operands &o, int turn, int lane) {
    constexpr int unit_rows = part_rows<part>();
    Bytes16 weights[count][warp_units][unit_rows], row[count][batch_tile];
#pragma unroll
    for (int i = 0; i < count; ++i) {
        const int k = ((turn + i) * 32 + lane) * piece;
        const u64 from = o.weights + u64(turn + i) * (32 * 16);
#pragma unroll
        for (int u = 0; u < warp_units; ++u)
#pragma unroll
            for (int g = 0; g < unit_rows; ++g) {
                const u64 at = from + u64(i64(unit_row<part>(u, g)) * o.pitch * element);
                if (!whole) weights[i][u][g] = Bytes16{{0, 0, 0, 0}};
                if (whole || k < o.pitch) weights[i][u][g] = load_global_16(at);
            }
#pragma unroll
        for (int n = 0; n < batch_tile; ++n) {
            const int left = whole ? int(piece) : k < o.pitch ? elements_left<source>(p, k) : 0;
            row[i][n] =
                load_piece<source_align<source>()>(o.sequence[n] + u64(turn + i) * (32 * 16), left);
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
            for (int g = 0; g < unit_rows; ++g) {
                float weight[piece];
                floats_of(weight, weights[i][u][g]);
#pragma unroll
                for (int n = 0; n < batch_tile; ++n)
#pragma unroll
                    for (int j = 0; j < piece; ++j) {
                        float &s = sums[(u * batch_tile + n) * 4 + sum_of<source>(g)];
                        s = fmaf(weight[j], value[n][j], s);
                    }
            }
    }
}

// This warp's share of the k of one matrix.
template <int source, int part>
__device__ __forceinline__ void all_products(const RnnParams &p, float (&sums)[values], int row0,
                                             int sequence0, int split, int lane) {
    if (source_missing<source>(p)) return;
    const Operands o = operands<source>(p, row0, sequence0, lane);
    const int turns = ceil_div(o.pitch, 32 * piece);
    const int each = ceil_div(turns, k_splits);
    int turn = split * each;
    const int end = min(turn + each, turns);
    // The middle of two parts has a tail of its own.
    const int whole =
        min(end, source == from_x && p.parts > 1 ? 0 : elements_left<source>(p, 0) / (32 * piece));
#pragma unroll 1
    for (; turn + depth <= whole; turn += depth)
        products<source, part, true, depth>(p, sums, o, turn, lane);
    if constexpr (depth > 1) {
#pragma unroll 1
        for (; turn < whole; ++turn) products<source, part, true, 1>(p, sums, o, turn, lane);
    }
#pragma unroll 1
    for (; turn < end; ++turn) products<source, part, false, 1>(p, sums, o, turn, lane);
}

// One exchange: of 2 * half sums of two lanes each is left with half, those of both.
template <int half> __device__ __forceinline__ void scatter(float (&v)[values], int lane) {
    constexpr int distance = 32 * half / values;
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
        const float own = upper ? v[half + i] : v[i];
        const float other = upper ? v[i] : v[half + i];
        v[i] = own + shuffle_xor(other, distance);
    }
    if constexpr (half > 1) scatter<half / 2>(v, lane);
}

// Sums of the warp: lane 32 / values * i (and those after it) is left with value i.
__device__ __forceinline__ float scattered_sum(float (&v)[values], int lane) {
    scatter<values / 2>(v, lane);
#pragma unroll
    for (int distance = 16 / values; distance > 0; distance /= 2)
        v[0] += shuffle_xor(v[0], distance);
    return v[0];
}

// Sums in shared memory: [split][group][value] floats.
__device__ __forceinline__ u32 value_address(u32 shared, int split, int group, int value) {
    return shared + ((split * groups + group) * values + value) * 4;
}

// Sum `i` of a unit of the block.
__device__ __forceinline__ float value_sum(u32 shared, int unit, int sequence, int i) {
    const int value = (unit % warp_units * batch_tile + sequence) * 4 + i;
    float total = 0.0f;
#pragma unroll
    for (int s = 0; s < k_splits; ++s)
        total += load_shared_f32(value_address(shared, s, unit / warp_units, value));
    return total;
}

// ---- kernels ----

struct Place {
    int lane, group, split; // warp `group` of split `split`
    int unit0, sequence0;   // of the block
};

__device__ __forceinline__ Place place() {
    const int warp = int(threadIdx.x) / 32;
    return Place{int(threadIdx.x) % 32, warp % groups, warp / groups, int(blockIdx.x) * step_units,
                 int(blockIdx.y) * batch_tile};
}

__device__ __forceinline__ void zero(float (&sums)[values]) {
#pragma unroll
    for (int i = 0; i < values; ++i) sums[i] = 0.0f;
}

__device__ __forceinline__ void publish(u32 shared, float (&sums)[values], const Place &at) {
    const float sum = scattered_sum(sums, at.lane);
    if (at.lane % (32 / values) == 0)
        store_shared_f32(value_address(shared, at.split, at.group, at.lane / (32 / values)), sum);
}

// W x on its own, for layer norm.
__device__ __forceinline__ void x_step(const RnnParams &p, u32 shared, const Place &at,
                                       const StepUnit &own, int unit) {
    if (unit < hidden) {
        float sums[values];
        zero(sums);
        all_products<from_x, all_gates>(p, sums, gate_row(unit, 0), at.sequence0, at.split,
                                        at.lane);
        publish(shared, sums, at);
    }
    __syncthreads(); // the sums of all splits are visible
    if (own.exists) {
        float total[unit_sums];
#pragma unroll
        for (int i = 0; i < unit_sums; ++i)
            total[i] = value_sum(shared, own.unit - at.unit0, own.sequence - at.sequence0, i);
        finish_sums(p, own, total, true);
    }
    __syncthreads(); // they have been read
}

extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_step(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const Place at = place();
    const int unit = at.unit0 + at.group * warp_units;
    // The thread's own unit to finish; threads past the last have one that does not exist.
    const int own_unit = int(threadIdx.x) % step_units,
              own_sequence = int(threadIdx.x) / step_units;
    StepUnit own = step_unit(p, own_sequence < batch_tile ? at.unit0 + own_unit : int(units_pad),
                             at.sequence0 + own_sequence);
    if constexpr (layer_norm && fused) x_step(p, shared, at, own, unit);
    if (unit < hidden) {
        float sums[values];
        zero(sums);
        if constexpr (fused && !layer_norm)
            all_products<from_x, all_gates>(p, sums, gate_row(unit, 0), at.sequence0, at.split,
                                            at.lane);
        all_products<from_h, resets_before ? int(reset_and_update) : int(all_gates)>(
            p, sums, gate_row(unit, 0), at.sequence0, at.split, at.lane);
        publish(shared, sums, at);
    }
    __syncthreads(); // the sums of all splits are visible
    if (!own.exists) return;
    float total[unit_sums];
#pragma unroll
    for (int i = 0; i < unit_sums; ++i) total[i] = value_sum(shared, own_unit, own_sequence, i);
    step_finish(p, own, total);
}

//% if reset == 'before'
extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_reset_n(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const Place at = place();
    const int unit = at.unit0 + at.group * warp_units;
    if (unit < hidden) {
        float sums[values];
        zero(sums);
        all_products<from_product, only_n>(p, sums, gate_row(unit, 0), at.sequence0, at.split,
                                           at.lane);
        publish(shared, sums, at);
    }
    __syncthreads(); // the sums of all splits are visible
    const int own_unit = int(threadIdx.x) % step_units,
              own_sequence = int(threadIdx.x) / step_units;
    if (own_sequence < batch_tile && at.unit0 + own_unit < hidden)
        finish_n(p, at.unit0 + own_unit, at.sequence0 + own_sequence,
                 value_sum(shared, own_unit, own_sequence, 0));
}
//% end

//% if projection > 0
// Rows of P instead of units: a block has as many as it has gates of units elsewhere. They end at a
// multiple of 16, a warp has 4 or 8.
extern "C" __global__ void __launch_bounds__(threads, step_launch_blocks)
    rnn_project(const __grid_constant__ RnnParams p) {
    const u32 shared = shared_base();
    const Place at = place();
    const int first = int(blockIdx.x) * (step_units * gates);
    const int row0 = first + at.group * (warp_units * gates);
    if (row0 < state) {
        float sums[values];
        zero(sums);
        all_products<from_product, plain_rows>(p, sums, row0, at.sequence0, at.split, at.lane);
        publish(shared, sums, at);
    }
    __syncthreads(); // the sums of all splits are visible
    for (int i = int(threadIdx.x); i < block_items * gates; i += threads) {
        const int row = i % (step_units * gates), sequence = i / (step_units * gates);
        if (first + row < state)
            finish_projection(p, first + row, at.sequence0 + sequence,
                              value_sum(shared, row / gates, sequence, row % gates));
    }
}
//% end

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_step_begin(const __grid_constant__ RnnParams p) {
    stream_begin(p);
}
//% if layer_norm == 1

extern "C" __global__ void __launch_bounds__(threads, 1)
    rnn_norm(const __grid_constant__ RnnParams p) {
    normalised_step(p, shared_base());
}
//% end
