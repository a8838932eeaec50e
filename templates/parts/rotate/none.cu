// No rotation: units are single vectors.
enum : int { unit_pieces = 1, unit_pairs = 1 };

__device__ __forceinline__ int piece_element(int unit, int) {
    return unit * vec;
}

__device__ __forceinline__ void rotate(float (&)[unit_pieces][vec], const float (&)[unit_pairs],
                                       const float (&)[unit_pairs]) {}
