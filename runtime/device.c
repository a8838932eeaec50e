/* Device properties from driver attributes. */
#include "runtime/device.h"

#include <stdio.h>
#include <string.h>

/* The architecture to compile for: the one with the suffix a where there is one (its features do
 * not exist without it), else the newest older minor of the same major (binary compatibility runs
 * from older to newer minors only). */
static const GpuArch *arch_for(int major, int minor) {
    const GpuArch *arch = gpu_arch_for_cc(major, minor, true);
    for (int m = minor - 1; arch == NULL && m >= 0; m--) arch = gpu_arch_for_cc(major, m, false);
    return arch;
}

typedef struct Reading {
    int attribute;
    int *to;
    const char *name;
} Reading;

static Status read_attributes(const Driver *driver, CuDevice device, const Reading *list, size_t n,
                              Error *err) {
    for (size_t i = 0; i < n; i++) {
        CuResult result = driver->DeviceGetAttribute(list[i].to, list[i].attribute, device);
        if (result != CUDA_SUCCESS) {
            Status st = driver_check(driver, result, "cuDeviceGetAttribute", err);
            err_wrap(err, "reading %s", list[i].name);
            return st;
        }
    }
    return ST_OK;
}

static Status read_limits(const Driver *driver, CuDevice device, GpuInfo *gpu, Error *err) {
    int major = 0, minor = 0, l2 = 0, threads = 0;
    const Reading list[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major, "compute capability"},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor, "compute capability"},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &gpu->sms, "number of SMs"},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, &gpu->clock_khz, "clock rate"},
        {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, &gpu->mem_clock_khz, "memory clock"},
        {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, &gpu->mem_bus_bits, "memory bus width"},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &l2, "L2 size"},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, &threads, "threads per SM"},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, &gpu->smem_sm,
         "shared memory per SM"},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &gpu->smem_block,
         "shared memory per block"},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, &gpu->regs_sm, "registers per SM"},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, &gpu->blocks_sm, "blocks per SM"},
    };
    Status st = read_attributes(driver, device, list, sizeof list / sizeof list[0], err);
    if (st != ST_OK) return st;
    gpu->l2_bytes = l2;
    gpu->warps_sm = threads / 32; /* a warp has 32 threads on every architecture */
    gpu->arch = arch_for(major, minor);
    if (gpu->arch == NULL)
        return err_set(err, ST_UNSUPPORTED,
                       "%s has compute capability %d.%d, which seqtune does not know: the oldest "
                       "is 7.5; newer ones need a newer seqtune",
                       gpu->name, major, minor);
    return ST_OK;
}

Status device_query(const Driver *driver, int ordinal, Device *out, Error *err) {
    memset(out, 0, sizeof *out);
    if (ordinal < 0 || ordinal >= driver->device_count)
        return err_set(err, ST_INVALID, "device %d: %s has devices 0..%d", ordinal, driver->path,
                       driver->device_count - 1);
    out->ordinal = ordinal;
    Status st = driver_check(driver, driver->DeviceGet(&out->handle, ordinal), "cuDeviceGet", err);
    if (st != ST_OK) return st;
    size_t bytes = 0;
    CuResult result = driver->DeviceGetName(out->gpu.name, (int)sizeof out->gpu.name, out->handle);
    if ((st = driver_check(driver, result, "cuDeviceGetName", err)) != ST_OK) return st;
    result = driver->DeviceTotalMem(&bytes, out->handle);
    if ((st = driver_check(driver, result, "cuDeviceTotalMem", err)) != ST_OK) return st;
    out->gpu.dram_bytes = (int64_t)bytes;
    if ((st = read_limits(driver, out->handle, &out->gpu, err)) != ST_OK) return st;

    int cooperative = 0;
    const Reading list[] = {
        {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, &cooperative, "cooperative launch"}};
    if ((st = read_attributes(driver, out->handle, list, 1, err)) != ST_OK) return st;
    out->cooperative = cooperative != 0;

    out->traits = driver_traits(driver, ordinal);
    out->gpu.measured = !out->traits.modelled;
    /* The driver has no attribute for the power limit; a modelled device's is in its table. */
    const GpuModel *model = out->traits.modelled ? gpu_model_find(out->traits.model) : NULL;
    if (model != NULL) out->gpu.power_watt = model->power_watt;
    gpu_key(&out->gpu, out->key, sizeof out->key);
    return ST_OK;
}

Status device_open(const Driver *driver, int ordinal, Device *out, Error *err) {
    CuContext current = NULL;
    CuDevice current_device = -1;
    Status st = driver_check(driver, driver->CtxGetCurrent(&current), "cuCtxGetCurrent", err);
    if (st != ST_OK) return st;
    if (current != NULL) {
        st = driver_check(driver, driver->CtxGetDevice(&current_device), "cuCtxGetDevice", err);
        if (st != ST_OK) return st;
    }
    for (int i = 0; ordinal < 0 && current != NULL && i < driver->device_count; i++) {
        CuDevice handle = -1;
        if (driver->DeviceGet(&handle, i) == CUDA_SUCCESS && handle == current_device) ordinal = i;
    }
    if ((st = device_query(driver, ordinal < 0 ? 0 : ordinal, out, err)) != ST_OK) return st;
    if (current != NULL && current_device == out->handle) {
        out->context = current;
        return ST_OK;
    }
    CuResult result = driver->DevicePrimaryCtxRetain(&out->context, out->handle);
    out->retained = result == CUDA_SUCCESS;
    return driver_check(driver, result, "cuDevicePrimaryCtxRetain", err);
}

void device_close(const Driver *driver, Device *device) {
    if (device->retained) (void)driver->DevicePrimaryCtxRelease(device->handle);
    device->retained = false;
    device->context = NULL;
}
