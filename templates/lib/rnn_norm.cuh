// A step with layer norm (Ba et al., arXiv 1607.06450): W x and R h of a sequence, each over all
// gates, are brought to mean 0 and variance 1 and multiplied by their gains before the bias is
// added; an LSTM's h shows c normalised in the same way, the c that is kept is not.
//
// A block has one sequence; a thread the units thread, thread + threads, ..., whose sums it reads
// again in each of its passes. The new c and what o is made of take the places of R h of i and o.
// Means first, then squares of differences: sums of fixed shape, in f32.
//% lib types
//% lib math
//% lib shuffle
//% lib shared
//% lib norm
//% lib rnn_step

// Over all threads of the block, the same bits in each. Uses 32 floats at `shared`.
__device__ __forceinline__ float block_sum(float x, u32 shared) {
    x = warp_sum(x);
    __syncthreads(); // the sums before have been read
    if (threadIdx.x % 32 == 0) store_shared_f32(shared + threadIdx.x / 32 * 4, x);
    __syncthreads(); // all warps' are visible
    float all = 0.0f;
#pragma unroll
    for (int i = 0; i < threads / 32; ++i) all += load_shared_f32(shared + i * 4);
    return all;
}

struct NormRows {
    u64 x, h; // sums of W x and R h of a sequence
};

__device__ __forceinline__ u64 row_of(u64 values, int unit, int gate) {
    return values + u64(gate_row(unit, gate)) * 4;
}

__device__ __forceinline__ Norm norm_of(u64 values, u32 shared, float eps) {
    float sum = 0.0f, squares = 0.0f;
    for (int unit = int(threadIdx.x); unit < hidden; unit += threads)
#pragma unroll
        for (int g = 0; g < gates; ++g) sum += load_f32(row_of(values, unit, g));
    const float mean = block_sum(sum, shared) / float(gates * hidden);
    for (int unit = int(threadIdx.x); unit < hidden; unit += threads)
#pragma unroll
        for (int g = 0; g < gates; ++g) {
            const float d = load_f32(row_of(values, unit, g)) - mean;
            squares = fmaf(d, d, squares);
        }
    const float variance = block_sum(squares, shared) / float(gates * hidden);
    return Norm{mean, reciprocal_root(variance + eps)};
}

// What a launch after rnn_step leaves of h: to the next step, or to the projection.
__device__ __forceinline__ void norm_h(const RnnParams &p, int sequence, int unit, float h) {
    if constexpr (projection > 0)
        store_element(product_row(p, int(blockIdx.z), sequence) + u64(unit * element), h);
    else
        store_h(p, sequence, unit, round_h(h));
}

struct Normed {
    float x[gates], h[gates]; // bias is in x
};

__device__ __forceinline__ Normed normed(const RnnDirection &d, const NormRows &from, Norm x,
                                         Norm h, int unit) {
    Normed v;
#pragma unroll
    for (int g = 0; g < gates; ++g) {
        const float bias = d.bias == 0 ? 0.0f : load_f32(row_of(d.bias, unit, g));
        v.x[g] = fmaf((load_f32(row_of(from.x, unit, g)) - x.mean) * x.inverse,
                      load_f32(row_of(d.norm, unit, g)), bias);
        v.h[g] = (load_f32(row_of(from.h, unit, g)) - h.mean) * h.inverse *
                 load_f32(row_of(d.norm + rows * 4, unit, g));
    }
    return v;
}

__device__ __forceinline__ void norm_gru(const RnnParams &p, const NormRows &from, Norm x,
                                         Norm h, int sequence) {
    const RnnDirection &d = p.dir[blockIdx.z];
    for (int unit = int(threadIdx.x); unit < hidden; unit += threads) {
        const Normed v = normed(d, from, x, h, unit);
        float gate[gates], c = 0.0f;
        const float next = unit_step(gate, v.h, v.x, c, load_h_before(p, sequence, unit),
                                     unit_weights(d, unit), p.cell_clip);
#pragma unroll
        for (int g = 0; g < gates; ++g) store_gate(p, sequence, unit, g, gate[g]);
        norm_h(p, sequence, unit, next);
    }
}

__device__ __forceinline__ void norm_lstm(const RnnParams &p, const NormRows &from, Norm x,
                                          Norm h, int sequence, u32 shared) {
    const RnnDirection &d = p.dir[blockIdx.z];
    float sum = 0.0f, squares = 0.0f;
    for (int unit = int(threadIdx.x); unit < hidden; unit += threads) {
        const Normed v = normed(d, from, x, h, unit);
        LstmGates gate = {v.x[0] + v.h[0], v.x[1] + v.h[1], v.x[2] + v.h[2],
                          v.x[gates - 1] + v.h[gates - 1]};
        float c = load_c_before(p, sequence, unit);
        lstm_cell(gate, c, unit_weights(d, unit).peep, p.cell_clip);
        store_c(p, sequence, unit, c);
        store_gate(p, sequence, unit, 0, gate.i);
        store_gate(p, sequence, unit, 1, gate.f);
        store_gate(p, sequence, unit, 2, gate.g);
        store_global_f32(row_of(from.h, unit, 0), c);
        store_global_f32(row_of(from.h, unit, gates - 1), gate.o);
        sum += c;
    }
    const float mean = block_sum(sum, shared) / float(hidden);
    for (int unit = int(threadIdx.x); unit < hidden; unit += threads) {
        const float difference = load_f32(row_of(from.h, unit, 0)) - mean;
        squares = fmaf(difference, difference, squares);
    }
    const float inverse = reciprocal_root(block_sum(squares, shared) / float(hidden) + p.norm_eps);
    for (int unit = int(threadIdx.x); unit < hidden; unit += threads) {
        const float c = load_f32(row_of(from.h, unit, 0));
        const u64 gain = d.norm + u64(2 * rows + unit) * 4;
        const float shown =
            fmaf((c - mean) * inverse, load_f32(gain), load_f32(gain + units_pad * 4));
        LstmGates gate = {0.0f, 0.0f, 0.0f, load_f32(row_of(from.h, unit, gates - 1))};
        const float next = lstm_output(gate, c, shown, unit_weights(d, unit).peep);
        store_gate(p, sequence, unit, gates - 1, gate.o);
        norm_h(p, sequence, unit, next);
    }
}

// grid: (sequences, 1, directions).
__device__ __forceinline__ void normalised_step(const RnnParams &p, u32 shared) {
    const int sequence = int(blockIdx.x);
    if (!step_active(p, sequence)) {
        for (int unit = int(threadIdx.x); unit < hidden; unit += threads) {
            if (cell == cell_lstm) store_c(p, sequence, unit, load_c_before(p, sequence, unit));
            if (projection == 0) store_h(p, sequence, unit, load_h_before(p, sequence, unit));
        }
        return;
    }
    NormRows from;
    from.h = float_values(p, int(blockIdx.z), sequence);
    from.x = fused ? from.h + rows * 4 : pre_row(p, sequence);
    const Norm x = norm_of(from.x, shared, p.norm_eps);
    const Norm h = norm_of(from.h, shared, p.norm_eps);
    if constexpr (cell == cell_gru)
        norm_gru(p, from, x, h, sequence);
    else
        norm_lstm(p, from, x, h, sequence, shared);
}
