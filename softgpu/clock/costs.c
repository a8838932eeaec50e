/* Costs: the parameters of a GPU model as cycles of one of its sub-cores. */
#include "softgpu/clock/code.h"

enum { SUB_CORES = 4, WARP = 32, WAVEFRONT = 128 /* bytes of the shared-memory port in a cycle */ };

const char *code_kind_name(CodeKind kind) {
    static const char *const names[] = {
#define KIND(id, name, port) name,
#include "softgpu/clock/kinds.def"
#undef KIND
    };
    return names[kind];
}

/* A type that the GPU does not have is never executed on it; the rate then only must not be 0. */
static double mma_rate(const GpuModel *m, int type) {
    return m->mma[type] > 0 ? m->mma[type] : m->mma[GPU_MMA_F16_F32];
}

CodeCosts code_costs(const GpuModel *m, double conflicts, bool far) {
    CodeCosts c = {.barrier = m->barrier_latency};
    const double wavefront = SUB_CORES * (double)WAVEFRONT / m->smem_bytes_clk;
    for (int k = 0; k < CODE_KINDS; k++) {
        const CodePort port = code_port(k);
        c.interval[k] = port == ALU      ? (double)WARP * SUB_CORES / m->alu_lanes
                        : port == FP32   ? (double)WARP * SUB_CORES / m->fp32_lanes
                        : port == SFU    ? (double)WARP * SUB_CORES / m->sfu_lanes
                        : port == SHARED ? wavefront
                                         : 1;
        c.latency[k] = port == ALU || port == FP32 ? m->alu_latency
                       : port == SFU               ? m->sfu_latency
                                                   : 0;
    }
    for (int t = 0; t < GPU_MMAS; t++) c.mma[t] = SUB_CORES / mma_rate(m, t);
    const double after = m->mma_latency - 4096 * c.mma[GPU_MMA_F16_F32]; /* m16n8k16: 4096 FLOP */
    c.latency[CODE_MMA] = after > 0 ? after : 0;
    static const CodeKind shared[] = {CODE_LDMATRIX, CODE_SHARED_LOAD, CODE_SHARED_STORE};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) c.interval[shared[i]] *= conflicts;
    c.latency[CODE_LDMATRIX] = c.latency[CODE_SHARED_LOAD] = m->smem_latency;
    c.latency[CODE_SPILL_LOAD] = m->smem_latency;
    c.latency[CODE_SHUFFLE] = m->shuffle_latency;
    c.latency[CODE_GLOBAL_LOAD] = c.latency[CODE_COPY] = far ? m->dram_latency : m->l2_latency;
    c.interval[CODE_SPILL_LOAD] *= m->spill_port;
    c.interval[CODE_SPILL_STORE] *= m->spill_port;
    c.l2 = WARP * SUB_CORES * (double)m->sms * m->clock_mhz * 1e-3 / m->l2_gbs;
    return c;
}

double code_interval(const CodeCosts *c, const CodeOp *op) {
    if (op->kind == CODE_MMA) return c->mma[op->rate] * op->flops;
    if (op->kind == CODE_LDMATRIX) return c->interval[CODE_LDMATRIX] * op->matrices;
    /* 32 lanes x 4 bytes fill a wavefront. */
    if (op->kind == CODE_COPY) return c->interval[CODE_COPY] * (op->bytes > 4 ? op->bytes / 4 : 1);
    return c->interval[op->kind] * op->slots;
}
