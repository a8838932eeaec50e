/* The GPU table (gpus.def), lookups for specs, and the database key of a GPU.
 *
 * Invariant: gpu_key depends on rounded properties only, never on the name. */
#include "base/gpus.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#define HAS(name)   (UINT64_C(1) << GPU_HAS_##name)
#define FEATURES_75 (HAS(mma_k8) | HAS(ldmatrix))
#define FEATURES_80                                                                                \
    (FEATURES_75 | HAS(mma_k16) | HAS(mma_bf16) | HAS(cp_async) | HAS(cvt_f16x2) | HAS(cvt_bf16) | \
     HAS(mbarrier))
#define FEATURES_89   (FEATURES_80 | HAS(mma_fp8) | HAS(cvt_fp8))
#define FEATURES_90   (FEATURES_89 | HAS(tma) | HAS(cluster) | HAS(stmatrix))
#define FEATURES_90A  (FEATURES_90 | HAS(wgmma) | HAS(setmaxnreg))
#define FEATURES_100A (FEATURES_90 | HAS(setmaxnreg) | HAS(tcgen05))
#define FEATURES_120A (FEATURES_90 | HAS(setmaxnreg))

enum { REGS_SM = 65536, REGS_THREAD = 255, KIB = 1024 };

enum {
#define ARCH(name_, cc_, features_, sm_kib, block_kib, reserved, warps, blocks) ARCH_##name_,
#include "base/gpus.def"
#undef ARCH
    ARCH_COUNT
};

static const GpuArch arches[ARCH_COUNT] = {
#define ARCH(name_, cc_, features_, sm_kib, block_kib, reserved, warps, blocks)                    \
    [ARCH_##name_] = {.name = #name_,                                                              \
                      .cc = cc_,                                                                   \
                      .features = features_,                                                       \
                      .smem_block = block_kib * KIB,                                               \
                      .smem_sm = sm_kib * KIB,                                                     \
                      .smem_reserved = reserved,                                                   \
                      .regs_sm = REGS_SM,                                                          \
                      .regs_thread = REGS_THREAD,                                                  \
                      .warps_sm = warps,                                                           \
                      .blocks_sm = blocks},
#include "base/gpus.def"
#undef ARCH
};

static const GpuModel models[] = {
#define GPU(arch_, ...) {.arch = &arches[ARCH_##arch_], __VA_ARGS__},
#include "base/gpus.def"
#undef GPU
};

enum { MODEL_COUNT = sizeof models / sizeof models[0] };

static const char *const feature_names[] = {
#define FEATURE(name, text) #name,
#include "base/features.def"
#undef FEATURE
};

size_t gpu_arch_count(void) {
    return ARCH_COUNT;
}

const GpuArch *gpu_arch(size_t i) {
    return i < ARCH_COUNT ? &arches[i] : NULL;
}

const GpuArch *gpu_arch_find(const char *name) {
    for (size_t i = 0; i < ARCH_COUNT; i++) {
        if (strcmp(arches[i].name, name) == 0) return &arches[i];
    }
    return NULL;
}

/* Code for sm_XY runs on every later minor of the major X; code for sm_XYa on that one only. */
const GpuArch *gpu_arch_for_cc(int major, int minor, bool with_suffix) {
    int cc = major * 10 + minor;
    const GpuArch *best = NULL;
    for (size_t i = 0; i < ARCH_COUNT; i++) {
        const GpuArch *a = &arches[i];
        bool suffix = str_ends(a->name, "a");
        if (suffix && with_suffix && a->cc == cc) return a;
        if (!suffix && a->cc / 10 == major && a->cc <= cc) best = a;
    }
    return best;
}

size_t gpu_model_count(void) {
    return MODEL_COUNT;
}

const GpuModel *gpu_model(size_t i) {
    return i < MODEL_COUNT ? &models[i] : NULL;
}

const GpuModel *gpu_model_find(const char *name) {
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        if (strcasecmp(models[i].name, name) == 0) return &models[i];
    }
    return NULL;
}

GpuInfo gpu_info_of_model(const GpuModel *model) {
    const GpuArch *a = model->arch;
    GpuInfo info = {
        .arch = a,
        .sms = model->sms,
        .clock_khz = model->clock_mhz * 1000,
        .mem_clock_khz = model->mem_clock_mhz * 1000,
        .mem_bus_bits = model->mem_bus_bits,
        .power_watt = model->power_watt,
        .l2_bytes = model->l2_bytes,
        .dram_bytes = model->dram_bytes,
        .smem_block = a->smem_block,
        .smem_sm = a->smem_sm,
        .regs_sm = a->regs_sm,
        .warps_sm = a->warps_sm,
        .blocks_sm = a->blocks_sm,
        .measured = false,
    };
    snprintf(info.name, sizeof info.name, "%s", model->full_name);
    return info;
}

/* The first model of the nearest capability at or below, in the same major; every major of the
 * table has one (tests/base checks it). */
GpuInfo gpu_info_of_arch(const GpuArch *arch) {
    const GpuModel *best = &models[0];
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        int cc = models[i].arch->cc;
        if (cc / 10 != arch->cc / 10 || cc > arch->cc) continue;
        if (best->arch->cc / 10 != arch->cc / 10 || cc > best->arch->cc) best = &models[i];
    }
    GpuInfo info = gpu_info_of_model(best);
    info.arch = arch;
    info.smem_block = arch->smem_block;
    info.smem_sm = arch->smem_sm;
    info.regs_sm = arch->regs_sm;
    info.warps_sm = arch->warps_sm;
    info.blocks_sm = arch->blocks_sm;
    snprintf(info.name, sizeof info.name, "typical %s", arch->name);
    return info;
}

bool gpu_has(const GpuArch *arch, GpuFeature feature) {
    return (unsigned)feature < GPU_FEATURE_COUNT && (arch->features >> feature & 1);
}

const char *gpu_feature_name(GpuFeature feature) {
    return (unsigned)feature < GPU_FEATURE_COUNT ? feature_names[feature] : NULL;
}

bool gpu_lookup(const GpuInfo *gpu, const char *name, ExprValue *out) {
    const struct {
        const char *name;
        int value;
    } limits[] = {
        {"smem_block", gpu->smem_block}, {"smem_sm", gpu->smem_sm},     {"regs_sm", gpu->regs_sm},
        {"warps_sm", gpu->warps_sm},     {"blocks_sm", gpu->blocks_sm}, {"sms", gpu->sms},
        {"cc", gpu->arch->cc},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (strcmp(limits[i].name, name) != 0) continue;
        *out = expr_int(limits[i].value);
        return true;
    }
    for (unsigned f = 0; f < GPU_FEATURE_COUNT; f++) {
        if (strcmp(feature_names[f], name) != 0) continue;
        *out = expr_bool(gpu_has(gpu->arch, (GpuFeature)f));
        return true;
    }
    return false;
}

static long long round_to(long long value, long long step) {
    return (value + step / 2) / step * step;
}

/* Steps of the series 1, 2, 5, 10, ... of at most 5 % of the value: 20 W at 400 W. */
static long long round_power(long long watt) {
    static const int series[] = {2, 5, 10};
    long long step = 1, decade = 1;
    for (int i = 0; series[i % 3] * decade * 20 <= watt; i++) {
        step = series[i % 3] * decade;
        if (i % 3 == 2) decade *= 10;
    }
    return round_to(watt, step);
}

size_t gpu_key(const GpuInfo *gpu, char *out, size_t size) {
    enum { CLOCK_STEP = 15 }; /* MHz: the granularity of NVIDIA's clock tables */
    if (size == 0) return 0;
    int n = snprintf(out, size,
                     "cc=%d sms=%d clock=%lld mem=%lldx%d l2=%lld smem=%d power=%lld "
                     "evidence=%s",
                     gpu->arch->cc, gpu->sms, round_to((gpu->clock_khz + 500) / 1000, CLOCK_STEP),
                     round_to((gpu->mem_clock_khz + 500) / 1000, CLOCK_STEP), gpu->mem_bus_bits,
                     (long long)((gpu->l2_bytes + (1 << 19)) >> 20), gpu->smem_sm / KIB,
                     round_power(gpu->power_watt), gpu->measured ? "measured" : "modelled");
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}
