// Values that the compiler must take as they come, so that what is computed from them stays where
// it is written and holds no register elsewhere. An address that is opaque at the head of a loop
// keeps `base + constant` next to its use, where ptxas folds the constant into the access. Costs
// no instruction.
//% lib types

__device__ __forceinline__ void opaque(u32 &x) {
    asm volatile("" : "+r"(x));
}
__device__ __forceinline__ void opaque(int &x) {
    asm volatile("" : "+r"(x));
}
__device__ __forceinline__ void opaque(u64 &x) {
    asm volatile("" : "+l"(x));
}
