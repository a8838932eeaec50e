// One step as launches of its own: where h and c of a sequence come from and go to, and what
// becomes of a unit's sums.
//
// Alone (rnn_cell) a step reads h_in and c_in and writes h_out and c_out, rows of the caller's
// length. `streamed` (tier 3 of rnn_seq) it is round p.round of a launch plan: h goes back and
// forth between two buffers of the workspace, whose rows are state_pitch long with zeros at their
// ends, and c stays in the workspace between the first and the last round. A block reads all of h
// while others write the next one, hence two buffers; a c is read and written by one thread. Round
// i reads buffer i % 2; rnn_step_begin fills the first.
//
// Some cells need all of a step's sums, or all of a product, before they go on; the launch after
// rnn_step does that:
//   rnn_project   h = P m, m = o tanh(c) rounded to dtype (projection)
//   rnn_reset_n   n from R (r h), r h rounded to dtype (reset = before)
//   rnn_norm      the sums of one sequence normalised, then its cells (layer_norm; lib rnn_norm)
//
// Workspace, in this order, each [directions][batch]: h, dtype [state_pitch], twice (streamed);
// m or r h, dtype [unit_pitch]; f32: R h and, fused, W x [rows] (layer_norm), or the sum of z
// and what is added to the product of n [units_pad] (reset = before); c, f32 [hidden] (streamed).
//
// The sums of a unit (unit_sums): of its gates; a GRU's W x of n, fused, is apart and last, since
// the reset gate multiplies R h only. reset = before: r, z and, fused, W x of n.
//% lib types
//% lib math
//% lib global
//% lib vector
//% lib rnn_elements
//% lib rnn_rows
//% lib rnn_unit

enum : int {
    resets_before = reset == reset_before,
    unit_sums = resets_before ? 2 + fused
                : layer_norm  ? int(gates)
                              : (cell == cell_gru && !fused ? 3 : 4),
    // Kept apart in the registers, too.
    splits_n = cell == cell_gru && fused && !resets_before && !layer_norm,
    unit_pitch = (units_pad + 31) / 32 * 32,
    has_product = projection > 0 || resets_before,
    float_row = layer_norm ? rows * (1 + fused) : (resets_before ? 2 * units_pad : 0)
};

__device__ __forceinline__ bool last_round(const RnnParams &p) {
    return !streamed || p.round + 1 == p.steps;
}

__device__ __forceinline__ int this_step(const RnnParams &p) {
    return p.first_step + p.round;
}

// ---- the workspace ----

__device__ __forceinline__ u64 stream_buffer(const RnnParams &p, int which, int direction) {
    const i64 row = (i64(which) * gridDim.z + direction) * p.batch;
    return p.workspace + u64(row * (state_pitch * element));
}

// Row of m or r h.
__device__ __forceinline__ u64 product_row(const RnnParams &p, int direction, int sequence) {
    const i64 row = i64(direction) * p.batch + sequence;
    return stream_buffer(p, streamed ? 2 : 0, 0) + u64(row * (unit_pitch * element));
}

__device__ __forceinline__ u64 float_values(const RnnParams &p, int direction, int sequence) {
    const i64 row = i64(direction) * p.batch + sequence;
    return product_row(p, has_product ? int(gridDim.z) : 0, 0) + u64(row * (float_row * 4));
}

__device__ __forceinline__ u64 stream_cells(const RnnParams &p, int direction) {
    return float_values(p, int(gridDim.z), 0) + u64(i64(direction) * p.batch * hidden * 4);
}

// ---- state ----

// Rows of h of a direction: `pitch` elements apart, of which `state` exist (streamed: all, the
// rest being zeros). Address 0: all zeros.
struct StepState {
    u64 address;
    int pitch;
};

__device__ __forceinline__ StepState state_before(const RnnParams &p, int direction) {
    if constexpr (streamed) return StepState{stream_buffer(p, p.round % 2, direction), state_pitch};
    return StepState{p.dir[direction].h_in, state};
}

__device__ __forceinline__ u64 cells_before(const RnnParams &p, int direction) {
    return !streamed || p.round == 0 ? p.dir[direction].c_in : stream_cells(p, direction);
}

__device__ __forceinline__ u64 cells_after(const RnnParams &p, int direction) {
    return last_round(p) ? p.dir[direction].c_out : stream_cells(p, direction);
}

__device__ __forceinline__ float load_h_before(const RnnParams &p, int sequence, int unit) {
    const StepState before = state_before(p, int(blockIdx.z));
    if (before.address == 0) return 0.0f;
    return load_element(before.address + u64((i64(sequence) * before.pitch + unit) * element));
}

__device__ __forceinline__ float load_c_before(const RnnParams &p, int sequence, int unit) {
    const u64 cells = cells_before(p, int(blockIdx.z));
    if (cells == 0) return 0.0f;
    return load_f32(cells + u64((i64(sequence) * hidden + unit) * 4));
}

__device__ __forceinline__ void store_c(const RnnParams &p, int sequence, int unit, float c) {
    const u64 cells = cells_after(p, int(blockIdx.z));
    if (cells != 0) store_global_f32(cells + u64((i64(sequence) * hidden + unit) * 4), c);
}

// Element `unit` of h, rounded: to the next step, the caller and y.
__device__ __forceinline__ void store_h(const RnnParams &p, int sequence, int unit, float h) {
    const int direction = int(blockIdx.z);
    const RnnDirection &d = p.dir[direction];
    if (streamed && !last_round(p))
        store_element(stream_buffer(p, (p.round + 1) % 2, direction) +
                          u64((i64(sequence) * state_pitch + unit) * element),
                      h);
    if (last_round(p) && d.h_out != 0)
        store_element(d.h_out + u64((i64(sequence) * state + unit) * element), h);
    const int step = this_step(p);
    const RnnSequence s = rnn_sequence(p, sequence);
    if (d.y != 0 && rnn_has_row(p, s, step))
        store_element(d.y + u64((rnn_y_row(p, s, direction, step) + unit) * element),
                      rnn_active(s, step) ? h : 0.0f);
}

__device__ __forceinline__ void store_gate(const RnnParams &p, int sequence, int unit, int gate,
                                           float value) {
    if constexpr (store_gates) {
        const i64 row = i64(this_step(p)) * p.batch + sequence;
        store_element(p.dir[blockIdx.z].gates + u64((row * rows + gate_row(unit, gate)) * element),
                      value);
    }
}

// ---- a unit of a sequence ----

// What its step needs besides the sums, loaded before they are there.
struct StepUnit {
    int unit, sequence;
    bool exists, active;
    float pre[gates];
    float c, h; // before
};

__device__ __forceinline__ bool step_active(const RnnParams &p, int sequence) {
    return rnn_active(rnn_sequence(p, sequence), this_step(p));
}

__device__ __forceinline__ u64 pre_row(const RnnParams &p, int sequence) {
    return p.pre + u64(rnn_pre_row(p, int(blockIdx.z), this_step(p), sequence, rows) * 4);
}

__device__ __forceinline__ StepUnit step_unit(const RnnParams &p, int unit, int sequence) {
    StepUnit u;
    u.unit = unit;
    u.sequence = sequence;
    u.exists = unit < hidden && sequence < p.batch;
    u.active = u.exists && step_active(p, sequence);
    u.c = u.h = 0.0f;
#pragma unroll
    for (int g = 0; g < gates; ++g) u.pre[g] = 0.0f;
    if (!u.exists || layer_norm) return u;
    if (cell == cell_gru || (lengths != lengths_none && projection == 0))
        u.h = load_h_before(p, sequence, unit);
    if (cell == cell_lstm) u.c = load_c_before(p, sequence, unit);
    const u64 from = fused ? p.dir[blockIdx.z].bias : pre_row(p, sequence);
#pragma unroll
    for (int g = 0; g < gates; ++g)
        if (u.active && from != 0) u.pre[g] = load_f32(from + u64(gate_row(unit, g)) * 4);
    return u;
}

// ---- what becomes of it ----

template <int count>
__device__ __forceinline__ void finish_sums(const RnnParams &p, const StepUnit &u,
                                            const float (&sums)[count], bool of_x) {
    const u64 to = float_values(p, int(blockIdx.z), u.sequence) + u64(of_x ? rows * 4 : 0);
#pragma unroll
    for (int g = 0; g < gates; ++g) store_global_f32(to + u64(gate_row(u.unit, g)) * 4, sums[g]);
}

// reset = before: r and the sum of z; n waits for R (r h).
__device__ __forceinline__ void finish_reset(const RnnParams &p, const StepUnit &u,
                                             const float (&sums)[unit_sums]) {
    if (!u.active) return;
    const int direction = int(blockIdx.z);
    const float r = sigmoid_f32(u.pre[0] + sums[0]);
    const u64 values = float_values(p, direction, u.sequence) + u64(u.unit) * 4;
    store_global_f32(values, u.pre[1] + sums[1]);
    store_global_f32(values + units_pad * 4, u.pre[2] + (fused ? sums[unit_sums - 1] : 0.0f));
    store_element(product_row(p, direction, u.sequence) + u64(u.unit * element), r * u.h);
    store_gate(p, u.sequence, u.unit, 0, r);
}

__device__ __forceinline__ void finish_cell(const RnnParams &p, StepUnit &u,
                                            const float (&sums)[unit_sums]) {
    const RnnDirection &d = p.dir[blockIdx.z];
    float h = u.h;
    if (u.active) {
        float product[gates], gate[gates];
#pragma unroll
        for (int g = 0; g < gates; ++g) product[g] = sums[g % int(unit_sums)];
        if constexpr (splits_n) u.pre[2] += sums[unit_sums - 1];
        h = unit_step(gate, product, u.pre, u.c, u.h, unit_weights(d, u.unit), p.cell_clip);
        h = round_h(h);
#pragma unroll
        for (int g = 0; g < gates; ++g) store_gate(p, u.sequence, u.unit, g, gate[g]);
    }
    if (cell == cell_lstm) store_c(p, u.sequence, u.unit, u.c);
    if (projection == 0)
        store_h(p, u.sequence, u.unit, h);
    else if (u.active)
        store_element(product_row(p, int(blockIdx.z), u.sequence) + u64(u.unit * element), h);
}

__device__ __forceinline__ void step_finish(const RnnParams &p, StepUnit &u,
                                            const float (&sums)[unit_sums]) {
    if constexpr (layer_norm)
        finish_sums(p, u, sums, false);
    else if constexpr (resets_before)
        finish_reset(p, u, sums);
    else
        finish_cell(p, u, sums);
}

// Element `unit` of the projected h.
__device__ __forceinline__ void finish_projection(const RnnParams &p, int unit, int sequence,
                                                  float sum) {
    if (unit >= state || sequence >= p.batch) return;
    const float h = step_active(p, sequence) ? round_h(sum) : load_h_before(p, sequence, unit);
    store_h(p, sequence, unit, h);
}

// n of a unit and its new h, where the product was R (r h).
__device__ __forceinline__ void finish_n(const RnnParams &p, int unit, int sequence, float sum) {
    if (unit >= hidden || sequence >= p.batch) return;
    float h = load_h_before(p, sequence, unit);
    if (step_active(p, sequence)) {
        const RnnDirection &d = p.dir[blockIdx.z];
        const u64 values = float_values(p, int(blockIdx.z), sequence) + u64(unit) * 4;
        const float bias = d.hidden_bias == 0 ? 0.0f : load_f32(d.hidden_bias + u64(unit) * 4);
        GruGates gate = {0.0f, load_f32(values), load_f32(values + units_pad * 4) + sum + bias};
        h = round_h(gru_mix(gate, h));
        store_gate(p, sequence, unit, 1, gate.z);
        store_gate(p, sequence, unit, gates - 1, gate.n);
    }
    store_h(p, sequence, unit, h);
}

// ---- operands ----

// What a product reads beside weights, and which rows of weights.
enum Source : int { from_x, from_h, from_product };
enum Part : int { all_gates, reset_and_update, only_n, plain_rows };

__device__ __forceinline__ int part_pitch(const RnnParams &p) {
    return (p.input / p.parts + 31) / 32 * 32;
}

__device__ __forceinline__ int x_pitch(const RnnParams &p) {
    return p.parts * part_pitch(p);
}

// Elements of a sequence's row from column k on (of x: to the end of k's part).
template <int source> __device__ __forceinline__ int elements_left(const RnnParams &p, int k) {
    if constexpr (source == from_x) {
        const int pitch = part_pitch(p);
        return p.input / p.parts - (k < pitch ? k : k - pitch);
    } else if constexpr (source == from_h) {
        return (streamed ? int(state_pitch) : int(state)) - k;
    } else {
        return hidden - k;
    }
}

// Bytes of one access to it.
template <int source> __device__ constexpr int source_align() {
    return source == from_x ? int(x_align) : (source == from_h ? int(h_align) : 16);
}

// The matrix: its address and elements per row.
template <int source> __device__ __forceinline__ StepState source_weights(const RnnParams &p) {
    const RnnDirection &d = p.dir[blockIdx.z];
    if constexpr (source == from_x) return StepState{d.w, x_pitch(p)};
    if constexpr (source == from_product && projection > 0)
        return StepState{d.projection, unit_pitch};
    return StepState{d.r, state_pitch};
}

// A sequence's row. Where there is none to read (past the batch, of an inactive step) a row of the
// matrix stands in, which is as long: sequences do not mix, and what comes of it is not used.
template <int source> __device__ __forceinline__ u64 source_row(const RnnParams &p, int sequence) {
    const int direction = int(blockIdx.z);
    const u64 other = source_weights<source>(p).address;
    if (sequence >= p.batch) return other;
    if constexpr (source == from_x) {
        const RnnSequence s = rnn_sequence(p, sequence);
        if (!rnn_active(s, this_step(p))) return other;
        return p.x + u64(rnn_x_row(p, s, direction, this_step(p)) * element);
    } else if constexpr (source == from_h) {
        const StepState h = state_before(p, direction);
        return h.address + u64(i64(sequence) * h.pitch * element);
    } else {
        return step_active(p, sequence) ? product_row(p, direction, sequence) : other;
    }
}

// No h: the product is 0.
template <int source> __device__ __forceinline__ bool source_missing(const RnnParams &p) {
    return source == from_h && state_before(p, int(blockIdx.z)).address == 0;
}

// Where R stands in for P: its rows of n contract over r h, whose rows are unit_pitch long.
static_assert(!resets_before || state_pitch == unit_pitch, "r h is as long as h");

// ---- the first h of a stream ----

__device__ __forceinline__ void stream_begin(const RnnParams &p) {
    const i64 own = i64(blockIdx.x) * threads + threadIdx.x;
    if (own >= i64(p.batch) * state_pitch) return;
    const int direction = int(blockIdx.z);
    const int sequence = int(own / state_pitch), unit = int(own % state_pitch);
    const u64 h_in = p.dir[direction].h_in;
    float h = 0.0f;
    if (h_in != 0 && unit < state)
        h = load_element(h_in + u64((i64(sequence) * state + unit) * element));
    store_element(stream_buffer(p, 0, direction) + u64(own * element), h);
    store_element(stream_buffer(p, 1, direction) + u64(own * element), 0.0f);
}
