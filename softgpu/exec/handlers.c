/* Picks the handlers for this host's instruction set. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

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

SET_OF(base)
#if defined(__x86_64__)
SET_OF(avx2)
SET_OF(avx512)
#endif

/* SEQTUNE_SOFTGPU_ISA=base|avx2 asks for less than the host has (tests compare the sets). */
const HandlerSet *sg_handlers(bool checked) {
#if defined(__x86_64__)
    const char *const ask = getenv("SEQTUNE_SOFTGPU_ISA");
    const bool base = ask && strcmp(ask, "base") == 0, avx2 = ask && strcmp(ask, "avx2") == 0;
    __builtin_cpu_init();
    if (!base && !avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &sets_avx512[checked];
    if (!base && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &sets_avx2[checked];
#endif
    return &sets_base[checked];
}
