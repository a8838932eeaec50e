/* Module loading: cubin, else PTX; functions and their attributes. */
#include "runtime/kernel.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* The driver has no use for this cubin, though the PTX may do: another architecture, a newer
 * toolkit's format, or a device that executes PTX only. Other results are real failures. */
static bool wants_ptx(CuResult result) {
    return result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_IMAGE ||
           result == CUDA_ERROR_INVALID_SOURCE || result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
}

static Status load_ptx(const Driver *driver, const Artifact *artifact, Kernel *out, Error *err) {
    char log[4096] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    CuResult result = driver->ModuleLoadDataEx(&out->module, artifact->ptx, 2, options, values);
    Status st = driver_check(driver, result, "loading PTX (cuModuleLoadDataEx)", err);
    log[sizeof log - 1] = '\0';
    if (st != ST_OK && log[0] != '\0' && err != NULL) {
        Error cause = *err;
        st = err_set(err, st, "%s\n%s", cause.message, log);
    }
    out->from_ptx = st == ST_OK;
    if (result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION && err != NULL) {
        char wheel[64];
        Error cause = *err;
        nvrtc_requirement(driver->version, wheel, sizeof wheel);
        st =
            err_set(err, st,
                    "%s\nThe PTX of %s is newer than the driver's CUDA %d.%d: `pip install %s` and "
                    "set SEQTUNE_NVRTC to its library",
                    cause.message, artifact->toolchain, driver->version / 1000,
                    driver->version % 1000 / 10, wheel);
    }
    return st;
}

static Status load_module(const Driver *driver, const Artifact *artifact, Kernel *out, Error *err) {
    if (artifact->cubin_size > 0) {
        CuResult result = driver->ModuleLoadData(&out->module, artifact->cubin);
        if (result == CUDA_SUCCESS) return ST_OK;
        if (!wants_ptx(result))
            return driver_check(driver, result, "loading a cubin (cuModuleLoadData)", err);
        log_write(LOG_DEBUG, "jit", "cubin refused result=%d, loading the PTX", result);
    }
    return load_ptx(driver, artifact, out, err);
}

Status kernel_load(const Driver *driver, const Artifact *artifact, Kernel *out, Error *err) {
    *out = (Kernel){.count = artifact->entry_count};
    Status st = load_module(driver, artifact, out, err);
    for (size_t i = 0; i < out->count && st == ST_OK; i++) {
        memcpy(out->name[i], artifact->entries[i].name, sizeof out->name[i]);
        CuResult result = driver->ModuleGetFunction(&out->function[i], out->module, out->name[i]);
        st = driver_check(driver, result, "cuModuleGetFunction", err);
        if (st != ST_OK) err_wrap(err, "entry %s", out->name[i]);
    }
    if (st != ST_OK) kernel_unload(driver, out);
    return st;
}

void kernel_unload(const Driver *driver, Kernel *kernel) {
    if (kernel->module != NULL) (void)driver->ModuleUnload(kernel->module);
    kernel->module = NULL;
}

/* kernel->count when there is none. */
static size_t entry_index(const Kernel *kernel, const char *entry) {
    size_t i = 0;
    while (i < kernel->count && strcmp(kernel->name[i], entry) != 0) i++;
    return i;
}

Status kernel_prepare(const Driver *driver, Kernel *kernel, const GenLaunch *launches, size_t count,
                      Error *err) {
    for (size_t s = 0; s < count; s++) {
        size_t i = entry_index(kernel, launches[s].entry);
        if (i == kernel->count)
            return err_set(err, ST_INTERNAL, "the binary has no entry %s", launches[s].entry);
        if (launches[s].smem <= kernel->smem_limit[i]) continue;
        /* Above 48 KiB dynamic shared memory is opt-in; asking for less does no harm. */
        CuResult result = driver->FuncSetAttribute(kernel->function[i],
                                                   CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                   (int)launches[s].smem);
        Status st = driver_check(driver, result, "cuFuncSetAttribute", err);
        if (st != ST_OK) {
            err_wrap(err, "entry %s: %lld bytes of dynamic shared memory", launches[s].entry,
                     (long long)launches[s].smem);
            return st;
        }
        kernel->smem_limit[i] = launches[s].smem;
    }
    return ST_OK;
}

Status kernel_resident(const Driver *driver, const Kernel *kernel, const GenLaunch *launch, int sms,
                       Error *err) {
    const size_t i = entry_index(kernel, launch->entry);
    const int64_t threads = launch->block[0] * launch->block[1] * launch->block[2];
    int blocks = 0;
    if (i == kernel->count)
        return err_set(err, ST_INTERNAL, "the binary has no entry %s", launch->entry);
    CuResult result = driver->OccupancyMaxActiveBlocks(&blocks, kernel->function[i], (int)threads,
                                                       (size_t)launch->smem);
    const Status st =
        driver_check(driver, result, "cuOccupancyMaxActiveBlocksPerMultiprocessor", err);
    if (st != ST_OK) return st;
    /* Each extent is below 2^31, 2^16, 2^16: the product may still be above 2^63. */
    const double wanted =
        (double)launch->grid[0] * (double)launch->grid[1] * (double)launch->grid[2];
    if (wanted <= (double)blocks * sms) return ST_OK;
    return err_set(err, ST_UNSUPPORTED,
                   "%s: its %.0f blocks wait for each other and must be on the GPU at once, which "
                   "has room for %lld: %d SMs with %d blocks of %lld threads and %lld bytes of "
                   "shared memory each",
                   launch->entry, wanted, (long long)blocks * sms, sms, blocks, (long long)threads,
                   (long long)launch->smem);
}

CuResult kernel_launch(const Driver *driver, const Kernel *kernel, const GenLaunch *launch,
                       void *params, CuStream stream) {
    void *arguments[] = {params};
    size_t i = entry_index(kernel, launch->entry);
    if (i == kernel->count) return CUDA_ERROR_NOT_FOUND;
    if (launch->cooperative && kernel->cooperative)
        return driver->LaunchCooperativeKernel(
            kernel->function[i], (unsigned)launch->grid[0], (unsigned)launch->grid[1],
            (unsigned)launch->grid[2], (unsigned)launch->block[0], (unsigned)launch->block[1],
            (unsigned)launch->block[2], (unsigned)launch->smem, stream, arguments);
    return driver->LaunchKernel(
        kernel->function[i], (unsigned)launch->grid[0], (unsigned)launch->grid[1],
        (unsigned)launch->grid[2], (unsigned)launch->block[0], (unsigned)launch->block[1],
        (unsigned)launch->block[2], (unsigned)launch->smem, stream, arguments, NULL);
}
