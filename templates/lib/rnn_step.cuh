// One step as a launch of its own: where h and c of a sequence come from and go to, and what
// becomes of a unit's sums.
//
// Alone (rnn_cell) a step reads h_in and c_in and writes h_out and c_out, rows of the caller's
// length. `streamed` (tier 3 of rnn_seq) it is round p.round of a launch plan: h goes back and
// forth between two buffers of the workspace, whose rows are state_pitch long with zeros at their
// ends, and c stays in the workspace between the first and the last round. A block reads all of h
// while others write the next one, hence two buffers; a c is read and written by one thread.
//
// Workspace: h, dtype [2][directions][batch][state_pitch], then c, float [directions][batch]
// [hidden]. Round i reads buffer i % 2; rnn_step_begin fills the first.
//
// The sums of a unit: LSTM R h (+ W x) of i, f, g, o; GRU those of r, z, then R h of n, and with
// `fused` W x of n.
//% lib types
//% lib math
//% lib global
//% lib vector
//% lib rnn_elements
//% lib rnn_rows
//% lib rnn_unit

enum : int { unit_sums = cell == cell_gru && !fused ? 3 : 4 };

__device__ __forceinline__ bool last_round(const RnnParams &p) {
    return !streamed || p.round + 1 == p.steps;
}

// Rows of h of a direction: `pitch` elements apart, of which `state` exist (streamed: all, the
// rest being zeros). Address 0: all zeros.
struct StepState {
    u64 address;
    int pitch;
};

__device__ __forceinline__ u64 stream_buffer(const RnnParams &p, int which, int direction) {
    const i64 row = (i64(which) * gridDim.z + direction) * p.batch;
    return p.workspace + u64(row * (state_pitch * element));
}

__device__ __forceinline__ StepState state_before(const RnnParams &p, int direction) {
    if constexpr (streamed) return StepState{stream_buffer(p, p.round % 2, direction), state_pitch};
    return StepState{p.dir[direction].h_in, state};
}

__device__ __forceinline__ u64 stream_cells(const RnnParams &p, int direction) {
    return stream_buffer(p, 2, 0) + u64(i64(direction) * p.batch * hidden * 4);
}

__device__ __forceinline__ u64 cells_before(const RnnParams &p, int direction) {
    return !streamed || p.round == 0 ? p.dir[direction].c_in : stream_cells(p, direction);
}

__device__ __forceinline__ u64 cells_after(const RnnParams &p, int direction) {
    return last_round(p) ? p.dir[direction].c_out : stream_cells(p, direction);
}

// One unit of one sequence: what its step needs besides the sums, loaded before they are there.
struct StepUnit {
    int unit, sequence;
    bool exists, active;
    float pre[gates];
    float c, h; // before
};

__device__ __forceinline__ StepUnit step_unit(const RnnParams &p, int unit, int sequence) {
    const int direction = int(blockIdx.z);
    const int step = p.first_step + p.round;
    StepUnit u;
    u.unit = unit;
    u.sequence = sequence;
    u.exists = unit < hidden && sequence < p.batch;
    u.active = u.exists && rnn_active(rnn_sequence(p, sequence), step);
    u.c = u.h = 0.0f;
    if (u.exists) {
        const StepState before = state_before(p, direction);
        const u64 cells = cells_before(p, direction);
        if (before.address != 0 && (cell == cell_gru || lengths != lengths_none))
            u.h =
                load_element(before.address + u64((i64(sequence) * before.pitch + unit) * element));
        if (cell == cell_lstm && cells != 0)
            u.c = load_f32(cells + u64((i64(sequence) * hidden + unit) * 4));
    }
    const u64 bias = p.dir[direction].bias;
    const u64 from =
        fused ? bias : p.pre + u64(rnn_pre_row(p, direction, step, sequence, rows) * 4);
#pragma unroll
    for (int g = 0; g < gates; ++g) {
        u.pre[g] = 0.0f;
        if (u.active && from != 0) u.pre[g] = load_f32(from + u64(gate_row(unit, g)) * 4);
    }
    return u;
}

__device__ __forceinline__ void store_h(const RnnParams &p, const StepUnit &u, float h) {
    const int direction = int(blockIdx.z);
    const int step = p.first_step + p.round;
    const RnnDirection &d = p.dir[direction];
    if (streamed && !last_round(p))
        store_element(stream_buffer(p, (p.round + 1) % 2, direction) +
                          u64((i64(u.sequence) * state_pitch + u.unit) * element),
                      h);
    if (last_round(p) && d.h_out != 0)
        store_element(d.h_out + u64((i64(u.sequence) * state + u.unit) * element), h);
    const RnnSequence sequence = rnn_sequence(p, u.sequence);
    if (d.y != 0 && rnn_has_row(p, sequence, step))
        store_element(d.y + u64((rnn_y_row(p, sequence, direction, step) + u.unit) * element),
                      u.active ? h : 0.0f);
}

__device__ __forceinline__ void step_finish(const RnnParams &p, StepUnit &u,
                                            const float (&sums)[unit_sums]) {
    if (!u.exists) return;
    const int direction = int(blockIdx.z);
    const RnnDirection &d = p.dir[direction];
    float h = u.h;
    if (u.active) {
        float product[gates], gate[gates];
#pragma unroll
        for (int g = 0; g < gates; ++g) product[g] = sums[g];
        if constexpr (cell == cell_gru && fused) u.pre[2] += sums[unit_sums - 1];
        h = unit_step(gate, product, u.pre, u.c, u.h, unit_weights(d, u.unit), p.cell_clip);
        h = round_h(h);
        if constexpr (store_gates) {
            const i64 row = i64(p.first_step + p.round) * p.batch + u.sequence;
#pragma unroll
            for (int g = 0; g < gates; ++g)
                store_element(d.gates + u64((row * rows + gate_row(u.unit, g)) * element), gate[g]);
        }
    }
    const u64 cells = cells_after(p, direction);
    if (cell == cell_lstm && cells != 0)
        store_global_f32(cells + u64((i64(u.sequence) * hidden + u.unit) * 4), u.c);
    store_h(p, u, h);
}

// ---- x ----

__device__ __forceinline__ int part_pitch(const RnnParams &p) {
    return (p.input / p.parts + 31) / 32 * 32;
}

__device__ __forceinline__ int x_pitch(const RnnParams &p) {
    return p.parts * part_pitch(p);
}

// Elements of x from column k on: to the end of k's part.
__device__ __forceinline__ int x_left(const RnnParams &p, int k) {
    const int pitch = part_pitch(p);
    return p.input / p.parts - (k < pitch ? k : k - pitch);
}

// Row of x of a sequence's token, 0 where none is read.
__device__ __forceinline__ u64 x_address(const RnnParams &p, int sequence) {
    if (sequence >= p.batch) return 0;
    const int step = p.first_step + p.round;
    const RnnSequence s = rnn_sequence(p, sequence);
    if (!rnn_active(s, step)) return 0;
    return p.x + u64(rnn_x_row(p, s, int(blockIdx.z), step) * element);
}

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
