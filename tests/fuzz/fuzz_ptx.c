/* Fuzz target: any bytes as a PTX module; what loads is executed, a few warps of its first kernel.
 *
 * Hostile PTX may be refused or may fault, but never harm the host: no stray access, no leak, no
 * endless loop, no more memory than the model has. Checked besides: a failure has a message and
 * leaves no module, figures of a kernel are in range, and a second run gives the same bytes and the
 * same fault. The size says whether every check or none looks, and whether the clock times it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/clock.h"
#include "softgpu/exec/exec.h"
#include "softgpu/exec/module.h"
#include "softgpu/memory.h"
#include "softgpu/written.h"
#include "tests/fuzz/mutate_ptx.h"

enum {
    BUFFER = 4096,       /* every 64-bit parameter points at one buffer of this size */
    PARAMS = 32768,      /* the most that a launch can have, rounded up */
    INSTRUCTIONS = 4096, /* of the grid, about: warps are stopped between turns */
    SPINS = 4096,
    DYNAMIC_SMEM = 256,
    MAX_LOCAL = 1 << 16, /* bytes per thread; more is legal and only slow */
};

typedef struct Run {
    Status status;
    SgFault fault;
    uint8_t buffer[BUFFER];
} Run;

/* What the driver refuses before it executes (cuLaunchKernel, cuFuncSetAttribute). */
static bool launchable(const SgKernelInfo *info, const GpuArch *arch) {
    check(info->static_smem >= 0 && info->local_bytes >= 0);
    check(info->param_bytes >= 0 && info->param_bytes <= PARAMS);
    return info->static_smem + DYNAMIC_SMEM <= arch->smem_block && info->local_bytes <= MAX_LOCAL;
}

static void fill_params(const SgKernelInfo *info, uint64_t buffer, uint8_t *params) {
    memset(params, 7, PARAMS);
    for (size_t i = 0; i < info->param_count; i++) {
        check(info->param_offset[i] + info->param_size[i] <= (uint32_t)info->param_bytes);
        if (info->param_size[i] == 8) memcpy(params + info->param_offset[i], &buffer, 8);
    }
}

static void time_of(const SgLaunch *launch, const char *text) {
    const SgKernelInfo *const info = sg_kernel_info(launch->kernel);
    SgTime time;
    Error err;
    SgText code = sg_text_of(text, info->name);
    if (sg_clock(launch, info, &code, &time, &err) == ST_OK)
        check(time.seconds > 0 && time.seconds < 1);
    sg_text_close(&code);
}

/* `text`: the module's, when the clock shall look at the launch. */
static void run(const SgKernel *kernel, const GpuModel *model, const char *text, uint64_t buffer,
                uint8_t *params, uint32_t warps, Run *out) {
    Arena *arena = arena_new();
    Error err = {.status = ST_OK, .message = ""};
    uint8_t *const bytes = (uint8_t *)(uintptr_t)buffer;
    for (int i = 0; i < BUFFER; i++) bytes[i] = (uint8_t)(i * 37);
    sg_written_mark(buffer, BUFFER);
    fill_params(sg_kernel_info(kernel), buffer, params);
    SgLaunch launch = {.kernel = kernel,
                       .grid = {2, 1, 1},
                       .block = {20, warps, 1}, /* part of a warp, or a warp and a quarter */
                       .dynamic_smem = DYNAMIC_SMEM,
                       .params = params,
                       .resident = 2,
                       .threads = 1,
                       .model = model,
                       .spin_limit = SPINS,
                       .instruction_limit = INSTRUCTIONS};
    memset(out, 0, sizeof *out);
    if (arena) out->status = sg_execute(&launch, arena, &err);
    check(out->status == ST_OK || err.message[0]);
    check(!launch.fault.faulted || (launch.fault.cuda_result && launch.fault.text[0]));
    out->fault = launch.fault;
    memcpy(out->buffer, bytes, BUFFER);
    if (text && out->status == ST_OK && !launch.fault.faulted) time_of(&launch, text);
    arena_free(arena);
}

/* %clock and atomics on a location that both blocks reach are the same too: one host thread. */
static void use(const SgModule *module, const GpuModel *model, const char *text, uint8_t *params,
                size_t size) {
    static Run first, second;
    static uint64_t buffer; /* kept: releasing walks the whole address range */
    const SgKernel *const kernel = module->kernel_count ? &module->kernels[0] : NULL;
    Error err;
    if (!kernel || !launchable(sg_kernel_info(kernel), model->arch)) return;
    check(sg_module_kernel(module, sg_kernel_info(kernel)->name) != NULL);
    if (!buffer && sg_mem_alloc(0, &buffer, BUFFER, UINT64_MAX, &buffer, &err) != ST_OK) return;
    const uint32_t warps = 1 + (uint32_t)(size & 1);
    run(kernel, model, size % 4 == 0 ? text : NULL, buffer, params, warps, &first);
    /* With variables of the module the first run may have left them changed. */
    if (module->global_count == 0 && size % 8 < 2) {
        run(kernel, model, NULL, buffer, params, warps, &second);
        check(first.status == second.status && first.fault.faulted == second.fault.faulted);
        check(first.fault.cuda_result == second.fault.cuda_result);
        check(memcmp(first.buffer, second.buffer, BUFFER) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > MAX_TEXT) return 0;
    const GpuModel *const model = model_for(data, size);
    char *const text = malloc(size ? size : 1); /* exact size: reading past the end is caught */
    char *const whole = strndup((const char *)data, size);
    uint8_t *const params = malloc(PARAMS);
    SgModule *module = NULL;
    Error err = {.status = ST_OK, .message = ""};
    setenv("SOFTGPU_CHECKS", size & 2 ? "all" : "none", 1);
    if (text && params) {
        memcpy(text, data, size);
        const Status st = sg_module_load(text, size, model->arch, DRIVER, 0, &module, &err);
        check(st == ST_OK ? module != NULL : module == NULL && err.message[0]);
        check(st == ST_OK || st == err.status);
        if (st == ST_OK) use(module, model, whole, params, size);
    }
    sg_module_free(module);
    free(whole);
    free(params);
    free(text);
    return 0;
}
