// Global memory by 64-bit addresses, 16 bytes at a time.
//% lib types

// PTX ISA 9.7.9.8 (ld). Not the .nc form: K and V may have been written by an earlier kernel of
// the same stream with programmatic launch, where read-only caching is not promised.
__device__ __forceinline__ Bytes16 load_global_16(u64 address) {
    Bytes16 v;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                 : "l"(address));
    return v;
}

// PTX ISA 9.7.9.12 (st).
__device__ __forceinline__ void store_global_16(u64 address, Bytes16 v) {
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.word[0]),
                 "r"(v.word[1]), "r"(v.word[2]), "r"(v.word[3])
                 : "memory");
}

__device__ __forceinline__ int load_global_i32(u64 address) {
    int v;
    asm volatile("ld.global.s32 %0, [%1];" : "=r"(v) : "l"(address));
    return v;
}

__device__ __forceinline__ void store_global_u32(u64 address, u32 value) {
    asm volatile("st.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}

__device__ __forceinline__ void store_global_f32(u64 address, float value) {
    asm volatile("st.global.f32 [%0], %1;" ::"l"(address), "f"(value) : "memory");
}
