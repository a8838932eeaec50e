// Slot cells: layer norm (arXiv 1607.06450): LN(W x) and LN(R h) over all gates of a sequence, the
// bias after them, and for the LSTM tanh(LN(c)). A lane has some of a sequence's values, its warp's
// lanes of the same columns and the other warps the rest:
//
//   sums; mean and squares of the warp's part of W x and R h to shared memory
//   barrier     parts are visible
//   cells up to c; the same of c
//   barrier     (LSTM) parts of c are visible
//   h to `to`
//
// Parts are joined by Chan's rule, lanes by distance 4, 8, 16 and warps in their order, so that no
// difference of large squares is formed. Paddings are zeros, which are taken out at the end. A
// part is written again after the barrier that ends the step.
//% lib norm
enum : int {
    cells_in_place = 0,
    column_sums = row_groups * lane_columns,    // of a lane, in a tile of sequences
    first_lanes = narrow ? int(batch_tile) : 4, // have the columns of a warp between them
    norm_units = warp_count * warp_units,
    norm_rows = norm_units * gates,
    vectors = 3 * norm_rows + (cell == cell_lstm ? 2 * norm_units : 0), // floats
    parts_base = slots_base + vectors * 4, // of W x and R h: 16 bytes per warp and sequence
    c_parts_base = parts_base + warp_count * batch_tile * 16, // of c: 8 bytes
    cells_bytes_own = vectors * 4 + warp_count * batch_tile * (cell == cell_lstm ? 24 : 16)
};

// Mean and sum of squared differences from it.
struct Moments {
    float mean, squares;
};

// Of two parts of `count` values each.
__device__ __forceinline__ Moments join(const Moments &a, const Moments &b, float count) {
    const float apart = b.mean - a.mean;
    return Moments{(a.mean + b.mean) * 0.5f,
                   a.squares + b.squares + apart * apart * (count * 0.5f)};
}

template <int count> __device__ __forceinline__ Moments moments(const float (&x)[count]) {
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < count; ++i) sum += x[i];
    const float mean = sum * (1.0f / count);
#pragma unroll
    for (int i = 0; i < count; ++i) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    return Moments{mean, squares};
}

// Of the warp's lanes with the same columns, each with `count` values.
__device__ __forceinline__ Moments over_lanes(Moments m, int count) {
#pragma unroll
    for (int distance = 4; distance <= 16; distance *= 2) {
        const Moments other = {shuffle_xor(m.mean, distance), shuffle_xor(m.squares, distance)};
        m = join(m, other, float(count * distance / 4));
    }
    return m;
}

// Warp `index` of those joined one after the other, each with the same count of values.
__device__ __forceinline__ void add_warp(Moments &all, const Moments &m, int index, float count) {
    const float apart = m.mean - all.mean;
    all.mean = fmaf(apart, 1.0f / float(index + 1), all.mean);
    all.squares += m.squares + apart * apart * (count * float(index) / float(index + 1));
}

// Of `all` values, padding zeros among them, of which `real` count.
__device__ __forceinline__ Norm norm_of(const Moments &m, int all, int real, float eps) {
    const float mean = m.mean * (float(all) / float(real));
    const float zeros = mean * mean * (float(real) * (float(all - real) / float(all)));
    const float variance = fmaxf(m.squares - zeros, 0.0f) / float(real);
    return Norm{mean, reciprocal_root(variance + eps)};
}

__device__ __forceinline__ u32 part_address(const Lane &own, int base, int bytes, int warp, int n,
                                            int e) {
    return own.shared + base + u32(warp * batch_tile + lane_column(own.lane) + n * 8 + e) * bytes;
}

// Gains of W x and R h, bias by rows; gain and shift of c by units. Zeros in the paddings.
__device__ __forceinline__ void cells_begin(const RnnDirection &d, const Lane &own) {
    for (int i = int(threadIdx.x); i < vectors; i += threads) {
        const int which = i / norm_rows, row = i % norm_rows;
        const int of_c = i - 3 * norm_rows, unit = of_c % norm_units;
        float v = 0.0f;
        if (which < 2 && row < rows)
            v = load_f32(d.norm + u64(which * rows + row) * 4);
        else if (which == 2 && row < rows && d.bias != 0)
            v = load_f32(d.bias + u64(row) * 4);
        else if (which > 2 && unit < units_pad)
            v = load_f32(d.norm + u64(2 * rows + of_c / norm_units * units_pad + unit) * 4);
        store_shared_f32(own.shared + slots_base + u32(i) * 4, v);
    }
}

__device__ __forceinline__ float vector_of(const Lane &own, int index) {
    return load_shared_f32(own.shared + slots_base + u32(index) * 4);
}

// All values of the warp's cells of a column, gates x blocks.
using Column = float[row_groups];
static_assert(quad_blocks == 1, "the columns of lanes four apart are the same");

__device__ __forceinline__ void write_parts(const Lane &own, const Gates &pre,
                                            const float (&sums)[column_tiles][column_sums]) {
#pragma unroll
    for (int i = 0; i < column_tiles * lane_columns; ++i) {
        const int n = i / lane_columns, e = i % lane_columns;
        Column h, x;
#pragma unroll
        for (int j = 0; j < row_groups; ++j) {
            h[j] = sums[n][j * lane_columns + e];
            x[j] = pre[n][e][j / gates][j % gates];
        }
        const Moments of_x = over_lanes(moments(x), row_groups);
        const Moments of_h = over_lanes(moments(h), row_groups);
        if (own.lane < first_lanes)
            store_shared_16(part_address(own, parts_base, 16, own.warp, n, e),
                            Bytes16{{__float_as_uint(of_x.mean), __float_as_uint(of_x.squares),
                                     __float_as_uint(of_h.mean), __float_as_uint(of_h.squares)}});
    }
}

__device__ __forceinline__ void read_norms(const RnnParams &p, const Lane &own, int n, int e,
                                           Norm &of_x, Norm &of_h) {
    Moments x = {0.0f, 0.0f}, h = {0.0f, 0.0f};
    const float count = float(row_groups * 8);
#pragma unroll 4
    for (int warp = 0; warp < warp_count; ++warp) {
        const Bytes16 v = load_shared_16(part_address(own, parts_base, 16, warp, n, e));
        add_warp(x, Moments{__uint_as_float(v.word[0]), __uint_as_float(v.word[1])}, warp, count);
        add_warp(h, Moments{__uint_as_float(v.word[2]), __uint_as_float(v.word[3])}, warp, count);
    }
    of_x = norm_of(x, norm_rows, gates * hidden, p.norm_eps);
    of_h = norm_of(h, norm_rows, gates * hidden, p.norm_eps);
}

__device__ __forceinline__ Norm read_c_norm(const RnnParams &p, const Lane &own, int n, int e) {
    Moments c = {0.0f, 0.0f};
#pragma unroll 4
    for (int warp = 0; warp < warp_count; ++warp) {
        const u32 at = part_address(own, c_parts_base, 8, warp, n, e);
        add_warp(c, Moments{load_shared_f32(at), load_shared_f32(at + 4)}, warp, float(warp_units));
    }
    return norm_of(c, norm_units, hidden, p.norm_eps);
}

// sums -> LN(R h), pre -> LN(W x) + bias.
__device__ __forceinline__ void normalise(const RnnParams &p, Lane &own,
                                          float (&sums)[column_tiles][column_sums]) {
#pragma unroll
    for (int i = 0; i < column_tiles * lane_columns; ++i) {
        const int n = i / lane_columns, e = i % lane_columns;
        Norm of_x, of_h;
        read_norms(p, own, n, e, of_x, of_h);
#pragma unroll
        for (int j = 0; j < row_groups; ++j) {
            const int row = gate_row(own.unit, 0) + j * 8;
            float &x = own.pre[n][e][j / gates][j % gates], &h = sums[n][j * lane_columns + e];
            x = fmaf((x - of_x.mean) * of_x.inverse, vector_of(own, row),
                     vector_of(own, 2 * norm_rows + row));
            h = (h - of_h.mean) * of_h.inverse * vector_of(own, norm_rows + row);
        }
    }
}

__device__ __forceinline__ void give(const RnnParams &p, const RnnDirection &d, const Lane &own,
                                     u32 from, u32 to, int step, int n, int b, int e, float next,
                                     const float (&gate)[gates]) {
    if (!has_unit(own, b)) return;
    float value = next;
    if (!takes_step(own, n, e, step) && projection == 0)
        value = load_shared_element(from + cell_offset<h_row_bytes>(own, n, b, e));
    store_shared_element(to + cell_offset<cell_row_bytes>(own, n, b, e), value);
    if (store_gates && step < own.end[n][e]) store_gate_rows(p, d, own, step, n, b, e, gate);
}

__device__ __forceinline__ void make_cells(const RnnParams &p, const RnnDirection &d, Lane &own,
                                           const Weights &weights, u32 from, u32 to, int step) {
    float sums[column_tiles][column_sums];
    //% if narrow == 1
    narrow_product(sums[0], weights, from, own.lane, [](int i) { return i; });
    //% else
    product<row_groups, gates>(sums, weights, from, own.columns, own.lane, [](int i) { return i; });
    //% end
    if (step > p.first_step) store_y(p, d, own, from, step - 1);
    write_parts(own, own.pre, sums);
    __syncthreads(); // parts are visible
    normalise(p, own, sums);
    const u64 next_pre = pre_address(p, own, step + 1);
    LstmGates cells[column_tiles][lane_columns][lane_blocks];
    float of_c[column_tiles][lane_columns][lane_blocks];
#pragma unroll
    for (int i = 0; i < lane_cells; ++i) {
        const int n = cell_n(i), e = cell_e(i), b = cell_b(i);
        const float(&x)[gates] = own.pre[n][e][b];
        const float *h = &sums[n][b * gates * lane_columns + e];
        if constexpr (cell == cell_gru) {
            const float old =
                has_unit(own, b)
                    ? load_shared_element(from + cell_offset<h_row_bytes>(own, n, b, e))
                    : 0.0f;
            GruGates v = {x[0] + h[0], x[1] + h[lane_columns], x[2]};
            const float next = gru_unit(v, h[2 * lane_columns] + own.units[b].hidden_bias, old);
            const float gate[gates] = {v.r, v.z, v.n};
            give(p, d, own, from, to, step, n, b, e, next, gate);
        } else {
            LstmGates &v = cells[n][e][b];
            v = LstmGates{x[0] + h[0], x[1] + h[lane_columns], x[2] + h[2 * lane_columns],
                          x[gates - 1] + h[(gates - 1) * lane_columns]};
            float &c = of_c[n][e][b];
            c = own.c[n][b][e];
            lstm_cell(v, c, own.units[b].peep, p.cell_clip);
            if (takes_step(own, n, e, step)) own.c[n][b][e] = c;
        }
        load_pre(own, next_pre, step + 1, n, b, e);
    }
    if constexpr (cell == cell_lstm) {
#pragma unroll
        for (int i = 0; i < column_tiles * lane_columns; ++i) {
            const int n = i / lane_columns, e = i % lane_columns;
            const Moments m = over_lanes(moments(of_c[n][e]), lane_blocks);
            if (own.lane < first_lanes)
                store_shared_f32x2(part_address(own, c_parts_base, 8, own.warp, n, e), m.mean,
                                   m.squares);
        }
        __syncthreads(); // parts of c are visible
#pragma unroll
        for (int i = 0; i < column_tiles * lane_columns; ++i) {
            const int n = i / lane_columns, e = i % lane_columns;
            const Norm norm = read_c_norm(p, own, n, e);
#pragma unroll
            for (int b = 0; b < lane_blocks; ++b) {
                LstmGates &v = cells[n][e][b];
                const int unit = own.unit + b * units_apart;
                const float c = of_c[n][e][b];
                const float shown =
                    fmaf((c - norm.mean) * norm.inverse, vector_of(own, 3 * norm_rows + unit),
                         vector_of(own, 3 * norm_rows + norm_units + unit));
                const float next = lstm_output(v, c, shown, own.units[b].peep);
                float gate[gates] = {v.i, v.f, v.g};
                gate[gates - 1] = v.o;
                give(p, d, own, from, to, step, n, b, e, next, gate);
            }
        }
    }
}
