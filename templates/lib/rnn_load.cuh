// Loads of 16-byte pieces of rows whose beginning is only known to be aligned to some bytes, and
// whose end may lie within a piece. What lies past the end is not read and becomes 0.
//
// Needs the static name `element`, the bytes of one.
//% lib types
//% lib vector

// The first `count` elements of a piece, one access each.
__device__ __forceinline__ Bytes16 load_elements(u64 address, int count) {
    Bytes16 v = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < 16 / element; ++i) {
        if (i < count) {
            const u32 value = load_vector<element>(address + u64(i) * element).word[0];
            if constexpr (element == 4)
                v.word[i] = value;
            else
                v.word[i / 2] |= value << (i % 2 * 16);
        }
    }
    return v;
}

// `count`: how many of the piece's elements the row has; 0 or less: none.
template <int align> __device__ __forceinline__ Bytes16 load_piece(u64 address, int count) {
    if constexpr (align < 4) return load_elements(address, count);
    if (count < 16 / element) return load_elements(address, count);
    Bytes16 v;
    constexpr int access = align < 4 ? 4 : align;
#pragma unroll
    for (int i = 0; i < 16; i += access) {
        const Vector<access> part = load_vector<access>(address + u64(i));
#pragma unroll
        for (int j = 0; j < access / 4; ++j) v.word[i / 4 + j] = part.word[j];
    }
    return v;
}
