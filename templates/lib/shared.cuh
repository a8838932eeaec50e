// Shared memory by 32-bit addresses, as ldmatrix and cp.async want them. Every access is
// volatile with a memory clobber: it stays between the barriers where it was written.
//% lib types

// The start of dynamic shared memory. The driver aligns it to 16 bytes at least, which is what
// ldmatrix rows, cp.async and 16-byte accesses need.
__device__ __forceinline__ u32 shared_base() {
    extern __shared__ __align__(16) unsigned char dynamic_shared[];
    return static_cast<u32>(__cvta_generic_to_shared(dynamic_shared));
}

// PTX ISA 9.7.9.12 (st).
__device__ __forceinline__ void store_shared_u32(u32 address, u32 value) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

__device__ __forceinline__ void store_shared_16(u32 address, Bytes16 v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.word[0]),
                 "r"(v.word[1]), "r"(v.word[2]), "r"(v.word[3])
                 : "memory");
}

// PTX ISA 9.7.9.8 (ld).
__device__ __forceinline__ Bytes16 load_shared_16(u32 address) {
    Bytes16 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                 : "r"(address)
                 : "memory");
    return v;
}

__device__ __forceinline__ float load_shared_f32(u32 address) {
    float v;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
    return v;
}

__device__ __forceinline__ void store_shared_f32(u32 address, float value) {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

__device__ __forceinline__ void store_shared_f32x2(u32 address, float low, float high) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(low), "f"(high) : "memory");
}
