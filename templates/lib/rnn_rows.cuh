// Which token a step of a recurrent kernel is about, and where that token's rows of x and y lie.
//
// Steps count forward in time of the recurrence: step s of a sequence of length n is token s, or
// n - 1 - s where the direction is reversed, so a reversed direction starts at the sequence's own
// last token whatever the batch is padded to. Steps from n on are inactive: h and c stay as they
// are, x is not read. In the padded layout the tokens n .. total_steps - 1 of y are those of the
// inactive steps, one each, in either direction, and are written as 0.
//
// Needs the static dimension `lengths`. Offsets are in elements.
//% lib types
//% lib global

struct RnnSequence {
    int length;
    i64 x, y; // of token 0
};

// Lengths beyond the plan's are cut to it: its buffers have no room for more.
__device__ __forceinline__ RnnSequence rnn_sequence(const RnnParams &p, int batch) {
    RnnSequence s = {p.total_steps, i64(batch) * p.x_batch, i64(batch) * p.y_batch};
    if constexpr (lengths == lengths_packed) {
        const u64 at = p.cu_seqlens + u64(batch) * 4;
        const int first = load_global_i32(at);
        s.length = load_global_i32(at + 4) - first;
        s.x = i64(first) * p.x_step;
        s.y = i64(first) * p.y_step;
    } else if constexpr (lengths == lengths_padded) {
        s.length = load_global_i32(p.lens + u64(batch) * 4);
    }
    s.length = max(min(s.length, p.total_steps), 0);
    return s;
}

__device__ __forceinline__ bool rnn_active(const RnnSequence &s, int step) {
    return step < s.length;
}

// Of an inactive step in the padded layout: the token past the end that the step zeroes.
__device__ __forceinline__ int rnn_token(const RnnParams &p, const RnnSequence &s, int direction,
                                         int step) {
    const bool turned = (p.reverse >> direction & 1) != 0 && rnn_active(s, step);
    return turned ? s.length - 1 - step : step;
}

__device__ __forceinline__ i64 rnn_x_row(const RnnParams &p, const RnnSequence &s, int direction,
                                         int step) {
    return s.x + i64(rnn_token(p, s, direction, step)) * p.x_step;
}

__device__ __forceinline__ i64 rnn_y_row(const RnnParams &p, const RnnSequence &s, int direction,
                                         int step) {
    return s.y + i64(rnn_token(p, s, direction, step)) * p.y_step;
}

// Whether the step writes a row of y at all: packed rows past a sequence's end are another's.
__device__ __forceinline__ bool rnn_has_row(const RnnParams &p, const RnnSequence &s, int step) {
    return rnn_active(s, step) || (lengths != lengths_packed && step < p.total_steps);
}

// Row 0 of (direction, step, sequence) in `pre`, which holds the steps of one launch only.
__device__ __forceinline__ i64 rnn_pre_row(const RnnParams &p, int direction, int step, int batch,
                                           int rows_of_gates) {
    const i64 index = (i64(direction) * p.steps + (step - p.first_step)) * p.batch + batch;
    return index * rows_of_gates;
}
