/* Picks the handlers for this host's instruction set (contract in simd.h). */
#include "softgpu/exec/simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <string.h>

#include "base/files.h"
#include "softgpu/exec/warp.h"

#define SET_OF(isa)                                                                                \
    extern const Handler sg_lane_handlers_##isa[];                                                 \
    extern const Handler sg_lane_extras_##isa[];                                                   \
    extern const Handler sg_tensor_handlers_##isa[];                                               \
    extern const Handler sg_tensor_extras_##isa[];                                                 \
    extern const Handler sg_tensor_handlers_##isa##_checked[];                                     \
    extern const Handler sg_tensor_extras_##isa##_checked[];                                       \
    static const HandlerSet sets_##isa[2] = {                                                      \
        {sg_lane_handlers_##isa, sg_tensor_handlers_##isa, sg_lane_extras_##isa,                   \
         sg_tensor_extras_##isa},                                                                  \
        {sg_lane_handlers_##isa, sg_tensor_handlers_##isa##_checked, sg_lane_extras_##isa,         \
         sg_tensor_extras_##isa##_checked},                                                        \
    };

/* The compiler's target options of each level stand in sources.cmake; has_*() asks for the same. */
static bool has_base(void) {
    return true;
}
SET_OF(base)
#if defined(__x86_64__)
SET_OF(avx2)
SET_OF(avx512)
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
/* clang 14 knows neither for __builtin_cpu_supports. */
static bool has_f16c_and_lzcnt(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) &&
           __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
}
static bool has_avx2(void) {
    __builtin_cpu_init();
    return HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2") && HAS("popcnt") &&
           has_f16c_and_lzcnt();
}
static bool has_avx512(void) {
    return has_avx2() && HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl") &&
           HAS("avx512cd");
}
#endif

typedef struct Level {
    const char *name;
    bool (*has)(void);
    const HandlerSet *sets; /* unchecked, checked */
} Level;
static const Level levels[] = {
#if defined(__x86_64__)
    {"sse2", has_base, sets_base},
    {"avx2", has_avx2, sets_avx2},
    {"avx512", has_avx512, sets_avx512},
#else
    {"generic", has_base, sets_base},
#endif
};
enum { LEVELS = sizeof levels / sizeof *levels };

const char *sg_simd_name(int level) {
    return level < LEVELS ? levels[level].name : NULL;
}

bool sg_simd_supported(int level) {
    return level < LEVELS && levels[level].has();
}

Status sg_simd_choose(int *level, Error *err) {
    const char *const ask = files_env("SOFTGPU_SIMD");
    int best = 0, asked = -1;
    char names[64] = "";
    for (int i = 0; i < LEVELS; i++) {
        if (sg_simd_supported(i)) best = i;
        if (ask && strcmp(ask, levels[i].name) == 0) asked = i;
        strcat(strcat(names, i ? ", " : ""), levels[i].name);
    }
    *level = asked >= 0 ? asked : best;
    if (!ask) return ST_OK;
    if (asked < 0)
        return err_set(err, ST_INVALID, "SOFTGPU_SIMD is '%.40s'; it is one of %s", ask, names);
    if (!sg_simd_supported(asked))
        return err_set(err, ST_UNSUPPORTED, "SOFTGPU_SIMD is %s, but this host has %s at most", ask,
                       levels[best].name);
    return ST_OK;
}

Status sg_handlers(bool checked, const HandlerSet **out, Error *err) {
    int level = 0;
    const Status st = sg_simd_choose(&level, err);
    *out = &levels[level].sets[checked];
    return st;
}
