// Global accesses of 2, 4, 8 or 16 bytes, the width a constant of the variant.
//% lib types

// `bytes` bytes of 16-bit elements, two per word, the first in the low half.
template <int bytes> struct Vector { u32 word[bytes < 4 ? 1 : bytes / 4]; };

// PTX ISA 9.7.9.8 (ld), 5.4.1 (vectors): naturally aligned addresses.
template <int bytes> __device__ __forceinline__ Vector<bytes> load_vector(u64 address) {
    Vector<bytes> v;
    if constexpr (bytes == 16)
        asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                     : "l"(address));
    else if constexpr (bytes == 8)
        asm volatile("ld.global.v2.u32 {%0, %1}, [%2];"
                     : "=r"(v.word[0]), "=r"(v.word[1])
                     : "l"(address));
    else if constexpr (bytes == 4)
        asm volatile("ld.global.u32 %0, [%1];" : "=r"(v.word[0]) : "l"(address));
    else {
        static_assert(bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16, "one access");
        u16 half;
        asm volatile("ld.global.u16 %0, [%1];" : "=h"(half) : "l"(address));
        v.word[0] = half;
    }
    return v;
}

// PTX ISA 9.7.9.12 (st).
template <int bytes>
__device__ __forceinline__ void store_vector(u64 address, const Vector<bytes> &v) {
    if constexpr (bytes == 16)
        asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.word[0]),
                     "r"(v.word[1]), "r"(v.word[2]), "r"(v.word[3])
                     : "memory");
    else if constexpr (bytes == 8)
        asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(address), "r"(v.word[0]),
                     "r"(v.word[1])
                     : "memory");
    else if constexpr (bytes == 4)
        asm volatile("st.global.u32 [%0], %1;" ::"l"(address), "r"(v.word[0]) : "memory");
    else
        asm volatile("st.global.u16 [%0], %1;" ::"l"(address), "h"(u16(v.word[0])) : "memory");
}

// PTX ISA 9.7.9.8 (ld): one 64-bit integer.
__device__ __forceinline__ i64 load_global_i64(u64 address) {
    i64 v;
    asm volatile("ld.global.s64 %0, [%1];" : "=l"(v) : "l"(address));
    return v;
}

// `count` consecutive f32, aligned to 4 * count bytes or to 16.
template <int count> __device__ __forceinline__ void load_floats(float (&d)[count], u64 address) {
    constexpr int each = count < 4 ? count : 4;
    static_assert(count % each == 0, "whole accesses");
#pragma unroll
    for (int i = 0; i < count; i += each) {
        const Vector<each * 4> v = load_vector<each * 4>(address + u64(i) * 4);
#pragma unroll
        for (int j = 0; j < each; ++j) d[i + j] = __uint_as_float(v.word[j]);
    }
}
