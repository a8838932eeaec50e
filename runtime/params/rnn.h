/* Parameters of rnn_input, rnn_seq and rnn_cell.
 *
 * Rows: gates of an LSTM are i, f, g, o, those of a GRU r, z, n; row(unit, gate) = unit / 8 * 8 *
 * gates + gate * 8 + unit % 8; rows = gates * units_pad, units_pad = hidden rounded up to 16.
 * Matrices are zero in their paddings: state_pitch = state rounded up to 32, input_pitch = parts *
 * (input / parts rounded up to 32); vectors of units or rows are zero there, too.
 *
 * A step: LSTM c' = f * c + i * g, h' = o * tanh(c'); GRU h' = z * h + (1 - z) * n. h is rounded
 * once per step to dtype; y, the next step and h_out hold the same bits.
 *
 * Sequence b is active in step s while s < len_b: lens[b], or cu_seqlens[b + 1] - cu_seqlens[b], or
 * total_steps (never more than that). Its token is t = reversed ? len_b - 1 - s : s, in row
 * cu_seqlens[b] + t of packed x and y (x_step, y_step elements apart), else at t * x_step + b *
 * x_batch. An inactive step leaves h and c as they are; y of the padded tokens len_b .. total_steps
 * - 1 is written as 0 by the launch that has their step number. Packed rows have no padding. */
#ifndef SEQTUNE_PARAMS_RNN_H
#define SEQTUNE_PARAMS_RNN_H

typedef struct RnnDirection {
    st_address w;           /* dtype [rows, input_pitch]: rnn_input, rnn_cell */
    st_address r;           /* dtype [rows, state_pitch]: rnn_seq, rnn_cell */
    st_address bias;        /* float [rows]; 0: none (rnn_input, rnn_cell with x; rnn_seq with layer
                               norm) */
    st_address hidden_bias; /* float [units_pad], GRU: recurrent bias of n */
    st_address peephole;    /* float [3, units_pad]: of c in i and f, of c' in o */
    st_address projection;  /* dtype [state rounded up to 16, units_pad rounded up to 32] */
    st_address norm;        /* float: gain of W x [rows], of R h [rows], of c [units_pad], shift of
                               c [units_pad] (LSTM); the other shifts are in bias */
    st_address h_in, c_in; /* state before: dtype [batch, state], float [batch, hidden]; 0: zeros */
    st_address h_out, c_out; /* state after the last step; 0: not wanted; rnn_seq: may be h_in, c_in
                                (rnn_cell: c_out may be c_in) */
    st_address y;            /* dtype, `state` elements per row; 0: not wanted. Element aligned */
    st_address gates; /* dtype [total_steps, batch, rows], by step: after activation; 0: no */
} RnnDirection;

typedef struct RnnParams {
    RnnDirection dir[2]; /* blockIdx.z; one direction: dir[0], whichever it is */
    st_address x;        /* dtype; part p of a row begins at p * (input / parts rounded up to 32) */
    st_stride x_step, x_batch, y_step, y_batch; /* elements */
    st_address pre;        /* float [directions, steps, batch, rows] of this launch's steps, in step
                              order: a reversed sequence's step 0 is its last token */
    st_address lens;       /* int [batch]; 0: all total_steps */
    st_address cu_seqlens; /* int [batch + 1]: x and y are packed; 0: by strides */
    st_address workspace;
    st_address error; /* int, not reset by kernels: 1 + the step whose wait gave up; 0: none */
    int batch, hidden, state, input;    /* state = projection or hidden: the length of h */
    int total_steps, first_step, steps; /* this launch: first_step .. first_step + steps - 1 */
    int round;                          /* of a launch step with rounds, from 0 */
    int reverse;                        /* bit d: dir[d] is reversed */
    int parts;           /* of a row of x: 1, or 2 halves (a bidirectional layer below) */
    float cell_clip;     /* |c| is at most this; 0: no limit */
    float norm_eps;      /* layer norm */
    unsigned spin_limit; /* polls of a wait, then the error word */
} RnnParams;

#endif
