// Vectors of 16-bit elements to f32 and back.
//% lib types
//% lib convert
//% lib vector

template <int count>
__device__ __forceinline__ void unpack(float (&x)[count], const Vector<count * 2> &v) {
#pragma unroll
    for (int i = 0; i < count; ++i)
        x[i] = i % 2 == 0 ? low_f32(v.word[i / 2]) : high_f32(v.word[i / 2]);
}

// One rounding per element, to the dtype.
template <int count>
__device__ __forceinline__ Vector<count * 2> pack(const float (&x)[count]) {
    Vector<count * 2> v;
    if constexpr (count == 1) {
        v.word[0] = half_of_f32(x[0]);
    } else {
#pragma unroll
        for (int i = 0; i < count / 2; ++i) v.word[i] = half2_of_f32(x[2 * i], x[2 * i + 1]);
    }
    return v;
}
