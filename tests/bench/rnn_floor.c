/* Floors of the tiers; see the header. */
#include "tests/bench/rnn_floor.h"

#include <math.h>

#include "base/round.h"

static double up(int64_t n, int64_t step) {
    return (double)round_up(n, step);
}

static double weight_elements(const RnnStep *s) {
    return up(s->hidden, 16) * (s->gru ? 3 : 4) * up(s->hidden, 32);
}

static double clock_s(const GpuModel *m, double cycles) {
    return cycles / (1e6 * m->clock_mhz);
}

/* Cycles of the products of `columns` sequences on one SM. */
static double product_cycles(const GpuModel *m, const RnnStep *s, double columns) {
    const double rate = s->f32 ? 2.0 * m->fp32_lanes : (double)m->mma[GPU_MMA_F16_F32];
    return 2 * weight_elements(s) * columns / rate;
}

/* From the last product to h. */
static double tail_cycles(const GpuModel *m, const RnnStep *s) {
    return (s->f32 ? m->alu_latency : m->mma_latency) + 4.0 * m->sfu_latency + 6.0 * m->alu_latency;
}

/* FMA takes any number of sequences: as few per block as the SMs allow. */
static double block_floor(const GpuModel *m, const RnnStep *s) {
    const double columns = s->f32 ? up(s->batch, m->sms) / m->sms : 8;
    return clock_s(m, m->smem_latency + product_cycles(m, s, columns) + tail_cycles(m, s) +
                          m->barrier_latency);
}

static double grid_floor(const GpuModel *m, const RnnStep *s) {
    const double element = s->f32 ? 4 : 2;
    const double columns = s->f32 ? (double)s->batch : up(s->batch, 8);
    const double on_chip = 4.0 * m->arch->regs_sm + m->arch->smem_sm;
    const double h_bytes = up(s->hidden, 32) * columns * element;
    const int least = (int)ceil(weight_elements(s) * element / on_chip);
    double best = INFINITY;
    for (int n = least > 0 ? least : 1; n <= m->sms; n++)
        best = fmin(best, fmax(clock_s(m, product_cycles(m, s, columns) / n),
                               n * h_bytes / (1e9 * m->l2_gbs)));
    return best + clock_s(m, tail_cycles(m, s) + 3.0 * m->l2_latency + 2.0 * m->barrier_latency);
}

static double stream_floor(const GpuModel *m, const RnnStep *s) {
    const double bytes = weight_elements(s) * (s->f32 ? 4 : 2);
    const double rate = 1e9 * (bytes <= (double)m->l2_bytes ? m->l2_gbs : m->dram_gbs);
    const double products = clock_s(m, product_cycles(m, s, up(s->batch, 8)) / m->sms);
    return fmax(products, bytes / rate) + clock_s(m, m->l2_latency + tail_cycles(m, s)) +
           1e-6 * m->launch_us;
}

double rnn_floor(const GpuModel *model, const RnnStep *step, int tier) {
    if (tier == 1) return block_floor(model, step);
    return tier == 2 ? grid_floor(model, step) : stream_floor(model, step);
}
