/* Flash attention in 60 lines, for the executor's test with the real compiler: 64 x 64 tiles,
 * head_dim 64, ldmatrix, m16n8k16, two cp.async stages. One block per 64 rows and head. */
typedef unsigned int u32;
typedef unsigned short u16;
struct Args {
    const u16 *q, *k, *v;
    float *o;
    int n, heads;
    float scale;
};
enum { D = 64, M = 64, N = 64 };
extern __shared__ __align__(128) unsigned char smem[];

__device__ void ldsm(u32 *r, u32 a) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(a));
}
__device__ void ldsm_t(u32 *r, u32 a) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(a));
}
__device__ void mma(float *c, const u32 *a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ float ex2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ u32 pack(float lo, float hi) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
__device__ u32 at(int row, int col) { return (u32)(row * D * 2 + ((col * 2) ^ ((row & 7) << 4))); }
__device__ void tile(u32 s, const u16 *g, int first, const Args &p) {
    for (int i = threadIdx.x; i < N * D / 8; i += 128) {
        int row = i / 8, col = i % 8 * 8;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s + at(row, col)),
                     "l"(g + (long long)(first + row) * p.heads * D + col), "r"(first + row < p.n ? 16 : 0));
    }
}
extern "C" __global__ void __launch_bounds__(128) attention(const __grid_constant__ Args p) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.x * M;
    const u16 *q = p.q + blockIdx.y * D, *k = p.k + blockIdx.y * D, *v = p.v + blockIdx.y * D;
    const u32 base = (u32)__cvta_generic_to_shared(smem), sk = base + M * D * 2, sv = sk + 2 * N * D * 2;
    tile(base, q, row0, p);
    tile(sk, k, 0, p);
    tile(sv, v, 0, p);
    asm volatile("cp.async.commit_group;");
    float o[D / 8][4] = {}, top[2] = {-1e30f, -1e30f}, sum[2] = {};
    u32 qf[D / 16][4];
    const int tiles = (p.n + N - 1) / N;
    for (int j = 0; j < tiles; j++) {
        if (j + 1 < tiles) {
            tile(sk + ((j + 1) & 1) * N * D * 2, k, (j + 1) * N, p);
            tile(sv + ((j + 1) & 1) * N * D * 2, v, (j + 1) * N, p);
        }
        asm volatile("cp.async.commit_group;");
        asm volatile("cp.async.wait_group 1;" ::: "memory"); // WAIT
        __syncthreads(); // BEFORE
        if (j == 0)
            for (int c = 0; c < D / 16; c++) ldsm(qf[c], base + at(warp * 16 + lane % 16, c * 16 + lane / 16 * 8));
        float s[N / 8][4] = {};
        const u32 skj = sk + (j & 1) * N * D * 2, svj = sv + (j & 1) * N * D * 2;
#pragma unroll
        for (int c = 0; c < D / 16; c++)
#pragma unroll
            for (int n = 0; n < N / 16; n++) {
                u32 b[4];
                ldsm(b, skj + at(n * 16 + lane % 8 + lane / 16 * 8, c * 16 + lane / 8 % 2 * 8));
                mma(s[2 * n], qf[c], b[0], b[1]);
                mma(s[2 * n + 1], qf[c], b[2], b[3]);
            }
        for (int n = 0; n < N / 8; n++)
            for (int e = 0; e < 4; e++)
                if (j * N + n * 8 + lane % 4 * 2 + (e & 1) >= p.n) s[n][e] = -1e30f;
        for (int h = 0; h < 2; h++) {
            float m = top[h];
            for (int n = 0; n < N / 8; n++) m = fmaxf(m, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
            m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
            m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
            const float shrink = ex2((top[h] - m) * p.scale);
            top[h] = m;
            sum[h] *= shrink;
            for (int d = 0; d < D / 8; d++) o[d][2 * h] *= shrink, o[d][2 * h + 1] *= shrink;
            for (int n = 0; n < N / 8; n++)
                for (int e = 0; e < 2; e++) sum[h] += s[n][2 * h + e] = ex2((s[n][2 * h + e] - m) * p.scale);
        }
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            u32 a[4] = {pack(s[2 * n][0], s[2 * n][1]), pack(s[2 * n][2], s[2 * n][3]),
                        pack(s[2 * n + 1][0], s[2 * n + 1][1]), pack(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
            for (int d = 0; d < D / 16; d++) {
                u32 b[4];
                ldsm_t(b, svj + at(n * 16 + lane % 16, d * 16 + lane / 16 * 8));
                mma(o[2 * d], a, b[0], b[1]);
                mma(o[2 * d + 1], a, b[2], b[3]);
            }
        }
        __syncthreads(); // AFTER
    }
    for (int h = 0; h < 2; h++) {
        float t = sum[h];
        t += __shfl_xor_sync(~0u, t, 1);
        t += __shfl_xor_sync(~0u, t, 2);
        const int row = row0 + warp * 16 + h * 8 + lane / 4;
        if (row < p.n)
            for (int d = 0; d < D / 8; d++)
                for (int e = 0; e < 2; e++)
                    p.o[((long long)row * p.heads + blockIdx.y) * D + d * 8 + lane % 4 * 2 + e] = o[d][2 * h + e] / t;
    }
}
