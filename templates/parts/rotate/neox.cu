// Pairs (i, i + rotary_dim / 2), as GPT-NeoX and Llama in its usual checkpoints: a unit is `vec`
// elements of the first half and their partners in the second.
enum : int {
    unit_pieces = 2,
    unit_pairs = vec // pairs, and cos/sin values, of a unit
};

// First element of a piece, from the first rotated one on.
__device__ __forceinline__ int piece_element(int unit, int piece) {
    return unit * vec + piece * (rotary_dim / 2);
}

__device__ __forceinline__ void rotate(float (&x)[unit_pieces][vec],
                                       const float (&c)[unit_pairs], const float (&s)[unit_pairs]) {
#pragma unroll
    for (int i = 0; i < vec; ++i) {
        const float a = x[0][i];
        const float b = x[1][i];
        x[0][i] = a * c[i] - b * s[i];
        x[1][i] = b * c[i] + a * s[i];
    }
}
