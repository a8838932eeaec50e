/* The GPU table: architectures with their features and limits, and named models with the
 * parameters of the software GPU's clock (gpus.def, each number with its source).
 *
 * A spec sees a GPU as names `gpu.<feature>` (true/false) and `gpu.<limit>` (integer). */
#ifndef SEQTUNE_BASE_GPUS_H
#define SEQTUNE_BASE_GPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/expr.h"

typedef enum GpuFeature {
#define FEATURE(name, text) GPU_HAS_##name,
#include "base/features.def"
#undef FEATURE
    GPU_FEATURE_COUNT
} GpuFeature;

typedef struct GpuArch {
    const char *name;  /* "sm_80": NVRTC's -arch value */
    int cc;            /* 80, 86, ... 120 (the suffix a is in the name only) */
    uint64_t features; /* bit per GpuFeature */
    int smem_block;    /* bytes one block may have with the opt-in attribute (reserve excluded) */
    int smem_sm;       /* bytes per SM */
    int smem_reserved; /* bytes the driver keeps per block (1024 from sm_80, 0 on sm_75) */
    int regs_sm;       /* 32-bit registers per SM */
    int regs_thread;   /* 255 */
    int warps_sm;
    int blocks_sm;
} GpuArch;

/* mma.sync by the types of A and B, and of the accumulator for f16. */
typedef enum GpuMma {
    GPU_MMA_F16_F32, /* f16 and bf16 */
    GPU_MMA_F16_F16,
    GPU_MMA_TF32,
    GPU_MMA_INT8,
    GPU_MMA_FP8,
    GPU_MMA_F64,
    GPU_MMAS
} GpuMma;

/* Rates are per clock and SM, latencies and intervals in cycles, unless said otherwise. 0 = the
 * unit does not exist. */
typedef struct GpuModel {
    const char *name; /* "a100": SEQTUNE's --gpu soft:a100 */
    const char *full_name;
    const GpuArch *arch;
    int sms;
    int clock_mhz; /* boost, what the model runs at */
    int mem_clock_mhz;
    int mem_bus_bits;
    int power_watt;
    int64_t l2_bytes;
    int64_t dram_bytes;
    double dram_gbs; /* reachable, GB/s = 1e9 B/s */
    double dram_peak_gbs;
    double l2_gbs;
    int mma[GPU_MMAS];  /* FLOP of dense mma.sync */
    int fp32_lanes;     /* FMA */
    int alu_lanes;      /* integer, logic, min/max, select, conversions to f16x2 */
    int sfu_lanes;      /* ex2, rcp, ... */
    int smem_bytes_clk; /* 128 */
    int mma_latency;    /* m16n8k16, dependent */
    int smem_latency;
    int l2_latency;
    int dram_latency;
    int alu_latency;     /* of the fixed-latency pipes: ALU and FP32 */
    int sfu_latency;     /* beyond its interval */
    int shuffle_latency;
    int barrier_latency; /* from the last arrival to the next instruction */
    int spill_port;      /* wavefronts of the shared-memory port that one LDL or STL takes */
    double launch_us;   /* kernel launch to first instruction, plus drain */
    double block_us;    /* per further block and SM */
    double factor;      /* on the modelled cycles of an SM; 1 = uncalibrated */
} GpuModel;

/* What the generator and the key need to know of a GPU, real or modelled. */
typedef struct GpuInfo {
    const GpuArch *arch;
    char name[96]; /* label only */
    int sms;
    int clock_khz;
    int mem_clock_khz;
    int mem_bus_bits;
    int power_watt; /* 0 when unknown */
    int64_t l2_bytes;
    int64_t dram_bytes;
    int smem_block;
    int smem_sm;
    int regs_sm;
    int warps_sm;
    int blocks_sm;
    bool measured; /* evidence: false = the times of this device are modelled */
} GpuInfo;

size_t gpu_arch_count(void);
const GpuArch *gpu_arch(size_t i);
const GpuArch *gpu_arch_find(const char *name); /* "sm_80"; NULL when unknown */
/* What code for a device of this capability may target: exactly sm_XYa when `with_suffix` and
 * known, else the highest plain architecture of the same major at or below it; NULL when there is
 * none. */
const GpuArch *gpu_arch_for_cc(int major, int minor, bool with_suffix);
size_t gpu_model_count(void);
const GpuModel *gpu_model(size_t i);
const GpuModel *gpu_model_find(const char *name); /* case ignored; NULL when unknown */
GpuInfo gpu_info_of_model(const GpuModel *model); /* measured = false */
GpuInfo gpu_info_of_arch(const GpuArch *arch); /* a typical GPU of it, for --arch without a GPU */
bool gpu_has(const GpuArch *arch, GpuFeature feature);
const char *gpu_feature_name(GpuFeature feature);

/* `name` as in a spec after "gpu.": features, smem_block, smem_sm, regs_sm, warps_sm, blocks_sm,
 * sms, cc. False when unknown. */
bool gpu_lookup(const GpuInfo *gpu, const char *name, ExprValue *out);

/* The GPU's property vector as the database key, e.g.
 * "cc=80 sms=108 clock=1410 mem=1215x5120 l2=40 smem=164 power=400 evidence=modelled":
 * clocks in MHz rounded to 15 MHz, l2 in MiB, smem in KiB per SM, power in 5 % steps.
 * Returns the length; truncates at `size`. */
size_t gpu_key(const GpuInfo *gpu, char *out, size_t size);

#endif
