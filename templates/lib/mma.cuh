// The 16x8x16 product step, D = A B + C with f32 accumulators, on every tensor core from sm_75 on.
// Operand blocks (8x8, see ldmatrix): a = {rows 0-7 k 0-7, rows 8-15 k 0-7, rows 0-7 k 8-15,
// rows 8-15 k 8-15}, b = {k 0-7, k 8-15}. PTX ISA 9.7.14.5 (mma.sync, fragments of m16n8k16,
// m16n8k8).
//% lib types

// One m16n8k8 step: sm_75's only f16 shape.
__device__ __forceinline__ void mma_m16n8k8_f16(float (&c)[4], u32 a0, u32 a1, u32 b0) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
}

__device__ __forceinline__ void mma_16x8x16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    if constexpr (dtype == dtype_bf16) {
        static_assert(dtype != dtype_bf16 || HAS_mma_bf16, "bf16 products need sm_80");
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else if constexpr (HAS_mma_k16) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        mma_m16n8k8_f16(c, a[0], a[1], b0);
        mma_m16n8k8_f16(c, a[2], a[3], b1);
    }
}
