// cp.async: copies from global to shared memory that pass the registers by. The copies of a
// thread up to a commit form a group; wait_group N returns when at most the N newest groups are
// still under way. That holds for the calling thread's own copies: other threads see them only
// after a barrier. PTX ISA 9.7.9.25.3 (cp.async, commit_group, wait_group).
//% lib types

// 16 bytes, not kept in L1: a block reads each of them once.
__device__ __forceinline__ void copy_async_16(u32 shared, u64 global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}

// Reads `bytes` (0 or 16) and fills the rest with zeros; with 0 the address is not touched.
__device__ __forceinline__ void copy_async_16_zfill(u32 shared, u64 global, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
                 "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int newest> __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(newest) : "memory");
}
