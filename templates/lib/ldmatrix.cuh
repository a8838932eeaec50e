// ldmatrix: four 8x8 blocks of 16-bit values from shared memory. Lane i gives the 16-byte row
// i % 8 of block i / 8; afterwards register b of a lane holds row lane / 4, columns 2 * (lane % 4)
// and the next of block b, which is what mma wants of an operand block.
// PTX ISA 9.7.14.5.15 (ldmatrix).
//% lib types

__device__ __forceinline__ void ldmatrix_x4(u32 (&d)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

// Each block transposed: rows of V in memory are the k index of the product.
__device__ __forceinline__ void ldmatrix_x4_trans(u32 (&d)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}
