// A barrier over blocks of one launch that share a counter, with a bound on its waits.
//
// Every block adds 1 to the counter per barrier, so barrier number n (from 1) is complete when the
// counter has reached n * blocks. Protocol of one barrier:
//
//   all warps    what other blocks shall see is stored; __syncthreads
//   warp 0       grid_arrive: release, at gpu scope, of all that the block stored (the barrier of
//                the block before it makes the release cumulative)
//   anyone       work that needs nothing of other blocks
//   warp 0       grid_wait: acquire polls until the counter is there
//   all warps    __syncthreads_or(failed): what the other blocks released may be read, by weak
//                loads that pass L1 by (.cg; an SM's L1 knows nothing of other SMs)
//
// A block that polls `limit` times poisons the counter: its highest bit makes every wait on it end
// at once, and fail. So a block that never comes costs one bounded wait and no hang, whether the
// grid is larger than the GPU, or another kernel holds its place, or it died. The counter must be 0
// at the start of a launch and may not reach 2^31 arrivals.
//
// Warps are uniform throughout: no lane parts from its warp.
//% lib types
//% lib opaque

enum : u32 { grid_poison = 0x80000000u };

// PTX ISA 9.7.13.8 (red), 8.7 (release patterns). One arrival by lane 0 of the calling warp.
__device__ __forceinline__ void grid_arrive(u64 counter, int lane) {
    asm volatile("{\n\t.reg .pred first;\n\tsetp.eq.s32 first, %1, 0;\n\t"
                 "@first red.release.gpu.global.add.u32 [%0], 1;\n\t}" ::"l"(counter),
                 "r"(lane)
                 : "memory");
}

// PTX ISA 9.7.13.8 (red).
__device__ __forceinline__ void grid_give_up(u64 counter) {
    asm volatile("red.relaxed.gpu.global.or.b32 [%0], %1;" ::"l"(counter), "r"(u32(grid_poison))
                 : "memory");
}

// PTX ISA 9.7.9.8 (ld), 8.7 (acquire patterns).
__device__ __forceinline__ u32 load_acquire_u32(u64 address) {
    u32 v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(address) : "memory");
    return v;
}

__device__ __forceinline__ u32 load_relaxed_u32(u64 address) {
    u32 v;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(address) : "memory");
    return v;
}

// PTX ISA 9.7.13.7 (atom). Only the first to give up is kept; `word` 0: nobody asks.
__device__ __forceinline__ void note_error(u64 word, u32 value) {
    [[maybe_unused]] u32 before;
    if (word != 0)
        asm volatile("atom.relaxed.gpu.global.cas.b32 %0, [%1], 0, %2;"
                     : "=r"(before)
                     : "l"(word), "r"(value)
                     : "memory");
}

// How a wait ended.
enum GridWait : int { grid_passed, grid_poisoned, grid_timed_out };

// By the whole warp: its lanes poll one word, which is one request. The limit is opaque so that it
// stays in its register: a parameter would be loaded again in every round.
__device__ __forceinline__ GridWait grid_wait(u64 counter, u32 target, u32 limit) {
    opaque(limit);
    u32 polls = 0;
#pragma unroll 1
    for (;;) {
        const u32 seen = load_acquire_u32(counter);
        if (seen >= target) return seen < grid_poison ? grid_passed : grid_poisoned;
        if (++polls > limit) return grid_timed_out;
    }
}

// PTX ISA 9.7.9.8 (ld), cache operator .cg: L2 only.
__device__ __forceinline__ Bytes16 load_l2_16(u64 address) {
    Bytes16 v;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
                 : "l"(address)
                 : "memory");
    return v;
}
