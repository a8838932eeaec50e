// The input projection of a whole sequence: pre[step, sequence, row] = W[row] x(token) + bias[row],
// f32, for all gates at once. A matrix product whose rows of one side are tokens: row m of the
// launch is step m / batch of sequence m % batch, and its place in x follows from the sequence's
// length and direction (lib rnn_rows). Rows of inactive steps read nothing and get the bias.
//
// Slot product (parts/product): what a warp does with two tiles in shared memory.
//
// A ring of `stages` buffers, each a tile of x and one of W, block_k elements wide. Per tile i:
//
//   wait until at most stages - 2 groups are under way: this thread's copies of tile i have landed
//   block barrier       ... and those of all threads are visible, and every warp has read
//                       tile i - 1, whose buffer may be filled
//   start copying tile i + stages - 1 there, close the group
//   product of tile i
//   what could not be copied asynchronously is stored into that buffer
//
// Past the last tile the groups are empty, so that the count holds. Not asynchronous are all copies
// without cp.async, and those of x where its rows do not begin at multiples of 16 bytes.
//% lib types
//% lib math
//% lib convert
//% lib vector
//% lib shared
//% lib global
//% lib cp_async
//% lib rnn_rows
//% lib rnn_load

enum : int {
    piece = 16 / element, // elements of one copy
    row_pieces = block_k / piece,
    copy_rows = threads / row_pieces, // rows that one copy per thread covers
    x_copies = (block_m + copy_rows - 1) / copy_rows,
    w_copies = (block_n + copy_rows - 1) / copy_rows,
    x_async = HAS_cp_async && x_align == 16,
    w_async = HAS_cp_async,
    buffer_bytes = X_bytes + W_bytes
};

static_assert(stages >= 2, "a tile is stored while another is read");
static_assert(threads % row_pieces == 0, "a thread's copies are all of one column");

// Where this thread's pieces come from: a row of x each (0: none), and rows of W, copy_rows apart.
struct Sources {
    u64 x[x_copies];
    u64 w;
    int w_left; // rows of W from this thread's first one on
    int column; // of the first tile
};

// Pieces on their way through registers.
struct Staged {
    Bytes16 x[x_async ? 1 : x_copies];
    Bytes16 w[w_async ? 1 : w_copies];
};

//% slot product

__device__ __forceinline__ int part_pitch(const RnnParams &p) {
    return (p.input / p.parts + 31) / 32 * 32;
}

__device__ __forceinline__ int thread_row() {
    return int(threadIdx.x) / row_pieces;
}

__device__ __forceinline__ Sources sources(const RnnParams &p, int rows_of_gates) {
    const int direction = int(blockIdx.z);
    const int tokens = p.steps * p.batch;
    Sources from;
    from.column = int(threadIdx.x) % row_pieces * piece;
#pragma unroll
    for (int i = 0; i < x_copies; ++i) {
        const int m = int(blockIdx.x) * block_m + thread_row() + i * copy_rows;
        from.x[i] = 0;
        if (m < tokens) {
            const int step = p.first_step + m / p.batch;
            const RnnSequence sequence = rnn_sequence(p, m % p.batch);
            if (rnn_active(sequence, step))
                from.x[i] =
                    p.x + u64((rnn_x_row(p, sequence, direction, step) + from.column) * element);
        }
    }
    const int row = int(blockIdx.y) * block_n + thread_row();
    from.w =
        p.dir[direction].w + u64((i64(row) * (p.parts * part_pitch(p)) + from.column) * element);
    from.w_left = rows_of_gates - row;
    return from;
}

// How many elements of x there are in the piece at column k.
__device__ __forceinline__ int elements_at(const RnnParams &p, int k) {
    const int pitch = part_pitch(p);
    const int part = p.parts > 1 && k >= pitch ? 1 : 0;
    const int last = part + 1 == p.parts || k < pitch ? p.input / p.parts : 0;
    return max(min(last - (k - part * pitch), int(piece)), 0);
}

// Starts copying the tile at column k0 to the buffer at `to`.
__device__ __forceinline__ void fetch(const RnnParams &p, const Sources &from, Staged &staged,
                                      u32 to, int k0) {
    const int k = k0 + from.column;
    const int count = elements_at(p, k);
    const int pitch = p.parts * part_pitch(p);
#pragma unroll
    for (int i = 0; i < x_copies; ++i) {
        const int row = thread_row() + i * copy_rows;
        const int exists = from.x[i] != 0 ? count : 0;
        const u64 at = from.x[i] + u64(k0) * element;
        if constexpr (x_async) {
            if (block_m % copy_rows == 0 || row < block_m)
                copy_async_16_zfill(to + X_offset(row, from.column), at, exists * element);
        } else {
            staged.x[i] = load_piece<x_align>(at, exists);
        }
    }
#pragma unroll
    for (int i = 0; i < w_copies; ++i) {
        const int row = thread_row() + i * copy_rows;
        const bool exists = k < pitch && i * copy_rows < from.w_left;
        const u64 at = from.w + u64((i64(i) * copy_rows * pitch + k0) * element);
        if constexpr (w_async) {
            if (block_n % copy_rows == 0 || row < block_n)
                copy_async_16_zfill(to + X_bytes + W_offset(row, from.column), at, exists ? 16 : 0);
        } else {
            staged.w[i] = Bytes16{{0, 0, 0, 0}};
            if (exists) staged.w[i] = load_global_16(at);
        }
    }
}

// The rest of it.
__device__ __forceinline__ void deliver(const Sources &from, const Staged &staged, u32 to) {
    if constexpr (!x_async) {
#pragma unroll
        for (int i = 0; i < x_copies; ++i) {
            const int row = thread_row() + i * copy_rows;
            if (block_m % copy_rows == 0 || row < block_m)
                store_shared_16(to + X_offset(row, from.column), staged.x[i]);
        }
    }
    if constexpr (!w_async) {
#pragma unroll
        for (int i = 0; i < w_copies; ++i) {
            const int row = thread_row() + i * copy_rows;
            if (block_n % copy_rows == 0 || row < block_n)
                store_shared_16(to + X_bytes + W_offset(row, from.column), staged.w[i]);
        }
    }
}

__device__ __forceinline__ u32 next_buffer(u32 offset) {
    return offset + buffer_bytes == u32(stages * buffer_bytes) ? 0 : offset + buffer_bytes;
}

extern "C" __global__ void __launch_bounds__(threads, launch_blocks)
    rnn_input(const __grid_constant__ RnnParams p) {
    const int rows_of_gates = (p.hidden + 15) / 16 * 16 * gates;
    const int tiles = ceil_div(p.parts * part_pitch(p), block_k);
    const int tokens = p.steps * p.batch;
    if (int(blockIdx.x) * block_m >= tokens) return; // the grid is made for the plan's most steps
    const u32 shared = shared_base();
    const Sources from = sources(p, rows_of_gates);
    Staged staged;
    Sum sum;
    product_begin(sum);

    u32 write = 0, read = 0;
#pragma unroll
    for (int i = 0; i < stages - 1; ++i) {
        if (i < tiles) {
            fetch(p, from, staged, shared + write, i * block_k);
            deliver(from, staged, shared + write);
        }
        if constexpr (HAS_cp_async) copy_async_commit();
        write = next_buffer(write);
    }
#pragma unroll 1
    for (int i = 0; i < tiles; ++i) {
        const int later = i + stages - 1;
        if constexpr (HAS_cp_async) copy_async_wait<stages - 2>();
        __syncthreads();
        if (later < tiles) fetch(p, from, staged, shared + write, later * block_k);
        if constexpr (HAS_cp_async) copy_async_commit();
        product_tile(sum, shared + read, shared + read + X_bytes);
        if (later < tiles) deliver(from, staged, shared + write);
        write = next_buffer(write);
        read = next_buffer(read);
    }

    const i64 first = i64(blockIdx.z) * tokens;
    const u64 bias = p.dir[blockIdx.z].bias;
    product_end(sum, int(blockIdx.x) * block_m, int(blockIdx.y) * block_n, tokens, rows_of_gates,
                p.pre + u64(first * rows_of_gates * 4), bias);
}
