// Rows of gates, and single elements of dtype or f32 in global and shared memory.
//
// Needs the lets of scripts/lib/rnn.lua: gates, element.
//% lib types
//% lib convert

// Row of a gate of a unit in R, W, bias and pre.
__device__ constexpr int gate_row(int unit, int gate) {
    return unit / 8 * 8 * gates + gate * 8 + unit % 8;
}

// x rounded to dtype, as f32: what every reader of h gets.
__device__ __forceinline__ float round_h(float x) {
    if constexpr (element == 4) return x;
    return f32_of_half(half_of_f32(x));
}

// PTX ISA 9.7.9.12 (st): one element of dtype; x is rounded already or is rounded here, alike.
__device__ __forceinline__ void store_shared_element(u32 address, float x) {
    if constexpr (element == 4)
        asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(x) : "memory");
    else
        asm volatile("st.shared.u16 [%0], %1;" ::"r"(address), "h"(half_of_f32(x)) : "memory");
}

__device__ __forceinline__ void store_element(u64 address, float x) {
    if constexpr (element == 4)
        asm volatile("st.global.f32 [%0], %1;" ::"l"(address), "f"(x) : "memory");
    else
        asm volatile("st.global.u16 [%0], %1;" ::"l"(address), "h"(half_of_f32(x)) : "memory");
}

// PTX ISA 9.7.9.8 (ld): one element of dtype.
__device__ __forceinline__ float load_element(u64 address) {
    if constexpr (element == 4) {
        float v;
        asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(address));
        return v;
    } else {
        u16 v;
        asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(address));
        return f32_of_half(v);
    }
}

__device__ __forceinline__ float load_f32(u64 address) {
    float v;
    asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(address));
    return v;
}
