/* See softgpu_flags.h. Thread 0 of each block adds one with release order, then reads with acquire
 * order until all have; the block meets before and after. */
#include "tests/bench/softgpu_flags.h"

static const char text[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry t(.param .u64 p, .param .u32 steps) {\n"
    ".reg .b32 %n, %i, %t, %v, %all, %due; .reg .b64 %a; .reg .pred %q, %o;\n"
    "ld.param.u64 %a, [p]; ld.param.u32 %n, [steps]; mov.u32 %t, %tid.x; mov.u32 %all, %nctaid.x;\n"
    "mov.u32 %i, 0; mov.u32 %due, 0; setp.ne.u32 %o, %t, 0;\n"
    "STEP: bar.sync 0; add.u32 %due, %due, %all; @%o bra MEET;\n"
    "red.release.gpu.global.add.u32 [%a], 1;\n"
    "WAIT: ld.acquire.gpu.global.u32 %v, [%a]; setp.lt.u32 %q, %v, %due; @%q bra WAIT;\n"
    "MEET: bar.sync 0; add.u32 %i, %i, 1; setp.lt.u32 %q, %i, %n; @%q bra STEP; ret;\n}\n";

Status bench_flags(const Driver *driver, Error *err) {
    CuModule module = NULL;
    CuFunction function = NULL;
    CuDeviceptr counter = 0;
    unsigned steps = FLAG_STEPS, value = 0;
    void *params[] = {&counter, &steps};
    CuResult r = driver->ModuleLoadData(&module, text);
    if (!r) r = driver->ModuleGetFunction(&function, module, "t");
    if (!r) r = driver->MemAlloc(&counter, sizeof value);
    if (!r) r = driver->MemsetD8(counter, 0, sizeof value);
    if (!r) r = driver->LaunchKernel(function, FLAG_BLOCKS, 1, 1, 64, 1, 1, 0, NULL, params, NULL);
    if (!r) r = driver->CtxSynchronize();
    if (!r) r = driver->MemcpyDtoH(&value, counter, sizeof value);
    if (counter) driver->MemFree(counter);
    if (module) driver->ModuleUnload(module);
    if (r) return driver_check(driver, r, "the flag barrier", err);
    return value == FLAG_BLOCKS * FLAG_STEPS
               ? ST_OK
               : err_set(err, ST_INTERNAL, "the flag barrier counted %u, not %u", value,
                         FLAG_BLOCKS * FLAG_STEPS);
}
