/* See share.h. */
#include "softgpu/share.h"

void sg_unit_cycles(const SgCounters *c, const GpuModel *m, double cycles[SG_UNITS]) {
    enum { WARP = 32, SUB_CORES = 4 };
    const double rate = m->mma[GPU_MMA_F16_F32];
    cycles[SG_UNIT_TENSOR] = rate > 0 ? (double)c->mma_flops / rate : 0;
    cycles[SG_UNIT_SHARED] =
        (double)c->shared_wavefronts * 128 / m->smem_bytes_clk +
        (double)(c->shuffle + c->global_load + c->global_store + c->local_access);
    cycles[SG_UNIT_ALU] = (double)(c->alu + c->convert) * WARP / m->alu_lanes;
    cycles[SG_UNIT_FP32] = (double)c->fma * WARP / m->fp32_lanes;
    cycles[SG_UNIT_SFU] = (double)c->sfu * WARP / m->sfu_lanes;
    cycles[SG_UNIT_ISSUE] = (double)c->warp_instructions / SUB_CORES;
}

void sg_row_shares(const SgRow *rows, size_t count, const GpuModel *model, double *shares) {
    double all[SG_UNITS] = {0}, own[SG_UNITS], norm = 0;
    for (size_t i = 0; i < count; i++) {
        sg_unit_cycles(&rows[i].counters, model, own);
        for (int u = 0; u < SG_UNITS; u++) all[u] += own[u];
    }
    for (int u = 0; u < SG_UNITS; u++) norm += all[u] * all[u];
    for (size_t i = 0; i < count; i++) {
        shares[i] = 0;
        sg_unit_cycles(&rows[i].counters, model, own);
        for (int u = 0; u < SG_UNITS && norm > 0; u++) shares[i] += own[u] * all[u] / norm;
    }
}
