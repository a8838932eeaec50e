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
__device__ __forceinline__ float load_shared_element(u32 address) {
    if constexpr (element == 4) {
        float v;
        asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
        return v;
    } else {
        u16 v;
        asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address) : "memory");
        return f32_of_half(v);
    }
}

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

// One f32 of each gate, `apart` bytes from one to the next; x stays where it is not wanted, and the
// address is not touched. Without a branch, so that loads and cells are scheduled together.
template <int apart>
__device__ __forceinline__ void load_gates_if(float (&x)[gates], u64 address, bool wanted) {
    if constexpr (gates == 4)
        asm volatile("{\n"
                     "    .reg .pred wanted;\n"
                     "    setp.ne.s32 wanted, %5, 0;\n"
                     "    @wanted ld.global.f32 %0, [%4];\n"
                     "    @wanted ld.global.f32 %1, [%4 + %6];\n"
                     "    @wanted ld.global.f32 %2, [%4 + %7];\n"
                     "    @wanted ld.global.f32 %3, [%4 + %8];\n"
                     "}"
                     : "+f"(x[0]), "+f"(x[1]), "+f"(x[2]), "+f"(x[gates - 1])
                     : "l"(address), "r"(int(wanted)), "n"(apart), "n"(2 * apart), "n"(3 * apart));
    else
        asm volatile("{\n"
                     "    .reg .pred wanted;\n"
                     "    setp.ne.s32 wanted, %4, 0;\n"
                     "    @wanted ld.global.f32 %0, [%3];\n"
                     "    @wanted ld.global.f32 %1, [%3 + %5];\n"
                     "    @wanted ld.global.f32 %2, [%3 + %6];\n"
                     "}"
                     : "+f"(x[0]), "+f"(x[1]), "+f"(x[2])
                     : "l"(address), "r"(int(wanted)), "n"(apart), "n"(2 * apart));
}

// Both 16-bit elements of a register. PTX ISA 9.7.9.2 (mov): a register is unpacked by name, so
// that the conversion names a half of it.
__device__ __forceinline__ void pair_f32(float &low, float &high, u32 pair) {
    if constexpr (dtype == dtype_bf16) {
        low = __uint_as_float(pair << 16);
        high = __uint_as_float(pair & 0xffff0000u);
    } else {
        u16 l, h;
        asm("mov.b32 {%0, %1}, %2;" : "=h"(l), "=h"(h) : "r"(pair));
        low = f32_of_f16(l);
        high = f32_of_f16(h);
    }
}
