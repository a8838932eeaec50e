// Pairs (2i, 2i + 1), as GPT-J and the RoFormer paper: a unit is `vec` neighbours.
enum : int {
    unit_pieces = 1,
    unit_pairs = vec / 2 // pairs, and cos/sin values, of a unit
};

// First element of the piece, from the first rotated one on.
__device__ __forceinline__ int piece_element(int unit, int) {
    return unit * vec;
}

__device__ __forceinline__ void rotate(float (&x)[unit_pieces][vec],
                                       const float (&c)[unit_pairs], const float (&s)[unit_pairs]) {
#pragma unroll
    for (int i = 0; i < unit_pairs; ++i) {
        const float a = x[0][2 * i];
        const float b = x[0][2 * i + 1];
        x[0][2 * i] = a * c[i] - b * s[i];
        x[0][2 * i + 1] = b * c[i] + a * s[i];
    }
}
