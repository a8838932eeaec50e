/* Initialisation, devices, their attributes (attributes.def), error names.
 *
 * SOFTGPU_DEVICES names the GPUs to play, SOFTGPU_DRIVER_VERSION the driver. A list with an unknown
 * name makes cuInit fail with NO_DEVICE and softgpuLastFault tell which; nothing is assumed. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/files.h"
#include "base/gpus.h"
#include "base/hash.h"
#include "base/str.h"

static CUresult init_failed(const char *name, const char *why) {
    size_t used = (size_t)snprintf(driver.init_text, sizeof driver.init_text,
                                   "SOFTGPU_DEVICES: \"%s\" %s; known:", name, why);
    for (size_t i = 0; i < gpu_model_count() && used < sizeof driver.init_text; i++)
        used += (size_t)snprintf(driver.init_text + used, sizeof driver.init_text - used, " %s",
                                 gpu_model(i)->name);
    return CUDA_ERROR_NO_DEVICE;
}

/* "a100,h100" */
static CUresult devices_parse(const char *list) {
    int count = 0;
    while (*list != '\0') {
        const size_t n = strcspn(list, ",");
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), list);
        if (count == MAX_DEVICES) return init_failed(name, "is one too many (at most 16)");
        const GpuModel *model = gpu_model_find(name);
        if (model == NULL) return init_failed(name, "is no GPU of the table");
        driver.devices[count++].model = model;
        list += n;
        if (*list == ',') list++;
    }
    if (count == 0) return init_failed("", "names no GPU");
    driver.device_count = count;
    return CUDA_SUCCESS;
}

/* A number of at least 0 from the environment; 0 when it is not set. */
static CUresult number_parse(const char *name, const char *what, uint64_t *out) {
    const char *const text = files_env(name);
    long long value = 0;
    if (text != NULL && (!str_to_i64(text, &value) || value < 0)) {
        snprintf(driver.init_text, sizeof driver.init_text, "%s: \"%.32s\" is no %s (0: none)",
                 name, text, what);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *out = (uint64_t)value;
    return CUDA_SUCCESS;
}

CUresult cuInit(unsigned int flags) {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    const long pid = __atomic_load_n(&driver.pid, __ATOMIC_ACQUIRE);
    if (pid == (long)getpid()) return CUDA_SUCCESS;
    if (pid != 0) return CUDA_ERROR_NOT_INITIALIZED; /* forked after cuInit */
    pthread_mutex_lock(&driver.lock);
    CUresult result = CUDA_SUCCESS;
    if (driver.pid == 0) {
        const char *list = files_env("SOFTGPU_DEVICES");
        result = devices_parse(list == NULL ? "a100" : list);
        driver.version = driver_version();
        if (result == CUDA_SUCCESS && driver.version == 0) {
            snprintf(driver.init_text, sizeof driver.init_text,
                     "SOFTGPU_DRIVER_VERSION: not a version from 11000 to %d", DEFAULT_VERSION);
            result = CUDA_ERROR_INVALID_VALUE;
        }
        if (result == CUDA_SUCCESS)
            result = number_parse("SOFTGPU_INSTRUCTION_LIMIT", "number of warp instructions",
                                  &driver.instruction_limit);
        if (result == CUDA_SUCCESS)
            result = number_parse("SOFTGPU_PROFILE", "switch", &driver.profile);
        if (result == CUDA_SUCCESS) result = number_parse("SOFTGPU_SEED", "seed", &driver.seed);
        if (result == CUDA_SUCCESS) result = inject_init();
        if (result == CUDA_SUCCESS) __atomic_store_n(&driver.pid, (long)getpid(), __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&driver.lock);
    return result;
}

CUresult cuDriverGetVersion(int *version) {
    if (version == NULL) return CUDA_ERROR_INVALID_VALUE;
    *version = driver_version();
    return *version == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static const struct {
    CUresult code;
    const char *name, *text;
} results[] = {
#define RESULT(name, value, text) {name, #name, text},
#include "softgpu/driver/results.def"
#undef RESULT
};

/* "If the error code is not recognized, CUDA_ERROR_INVALID_VALUE will be returned and *text will be
 * set to the NULL address." */
static CUresult result_text(CUresult error, bool name, const char **text) {
    if (text == NULL) return CUDA_ERROR_INVALID_VALUE;
    *text = NULL;
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i].code == error) *text = name ? results[i].name : results[i].text;
    return *text == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **text) {
    return result_text(error, true, text);
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    return result_text(error, false, text);
}

/* The model of an ordinal, with the checks that every device call begins with. */
static CUresult model_of(CUdevice device, const void *out, const GpuModel **model) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    *model = driver.devices[device].model;
    return leave(out == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuDeviceGetCount(int *count) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (count == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *count = driver.device_count;
    return leave(CUDA_SUCCESS);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(ordinal, device, &model);
    if (result == CUDA_SUCCESS) *device = ordinal;
    return result;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, name, &model);
    if (result != CUDA_SUCCESS) return result;
    if (size <= 0) return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)size, "%s", model->full_name);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, uuid, &model);
    if (result != CUDA_SUCCESS) return result;
    /* The same in every run: nothing of the host is in it. */
    char text[64];
    const int n = snprintf(text, sizeof text, "softgpu %d %s", device, model->name);
    const Hash hash = hash_bytes(text, (size_t)n);
    memcpy(uuid->bytes, hash.bytes, sizeof uuid->bytes);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    return cuDeviceGetUuid_v2(uuid, device);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, bytes, &model);
    if (result == CUDA_SUCCESS) *bytes = (size_t)model->dram_bytes;
    return result;
}

CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice device) {
    size_t total = 0;
    if (bytes == NULL) return CUDA_ERROR_INVALID_VALUE;
    const CUresult result = cuDeviceTotalMem_v2(&total, device);
    if (result == CUDA_SUCCESS) *bytes = total > UINT32_MAX ? UINT32_MAX : (unsigned int)total;
    return result;
}

/* False when `attribute` is unknown. */
static bool attribute_value(const GpuModel *m, int ordinal, int attribute, int *value) {
    const GpuArch *a = m->arch;
    int64_t v;
    switch (attribute) {
#define ATTRIBUTE(number, expression, text)                                                        \
    case number:                                                                                   \
        v = (int64_t)(expression);                                                                 \
        break;
#include "softgpu/driver/attributes.def"
#undef ATTRIBUTE
    default: return false;
    }
    *value = v > INT32_MAX ? INT32_MAX : (int)v;
    return true;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, value, &model);
    if (result != CUDA_SUCCESS) return result;
    return attribute_value(model, device, attribute, value) ? CUDA_SUCCESS
                                                            : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, major, &model);
    if (result != CUDA_SUCCESS) return result;
    if (minor == NULL) return CUDA_ERROR_INVALID_VALUE;
    *major = model->arch->cc / 10;
    *minor = model->arch->cc % 10;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop *properties, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, properties, &model);
    if (result != CUDA_SUCCESS) return result;
    static const int dims[6] = {2, 3, 4, 5, 6, 7};
    int d[6];
    for (int i = 0; i < 6; i++) attribute_value(model, device, dims[i], &d[i]);
    *properties =
        (CUdevprop){.maxThreadsDim = {d[0], d[1], d[2]}, .maxGridSize = {d[3], d[4], d[5]}};
    attribute_value(model, device, 1, &properties->maxThreadsPerBlock);
    attribute_value(model, device, 8, &properties->sharedMemPerBlock);
    attribute_value(model, device, 9, &properties->totalConstantMemory);
    attribute_value(model, device, 10, &properties->SIMDWidth);
    attribute_value(model, device, 11, &properties->memPitch);
    attribute_value(model, device, 12, &properties->regsPerBlock);
    attribute_value(model, device, 13, &properties->clockRate);
    attribute_value(model, device, 14, &properties->textureAlign);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *id, int size, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, id, &model);
    if (result != CUDA_SUCCESS) return result;
    if (size < 13) return CUDA_ERROR_INVALID_VALUE; /* "0000:00:00.0" and its end */
    snprintf(id, (size_t)size, "0000:%02X:00.0", (unsigned int)(device + 1) & 0xff);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *id) {
    int count = 0;
    const CUresult result = cuDeviceGetCount(&count);
    if (result != CUDA_SUCCESS) return result;
    if (device == NULL || id == NULL) return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < count; i++) {
        char mine[16];
        cuDeviceGetPCIBusId(mine, sizeof mine, i);
        if (strcasecmp(mine, id) == 0) {
            *device = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

/* "This API may be used on Windows only": LUIDs are of its display driver model. */
CUresult cuDeviceGetLuid(char *luid, unsigned int *node_mask, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, luid, &model);
    if (result != CUDA_SUCCESS) return result;
    return node_mask == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED;
}

/* Partitions of multiprocessors belong to MPS, which is not played. */
CUresult cuDeviceGetExecAffinitySupport(int *support, int type, CUdevice device) {
    const GpuModel *model = NULL;
    const CUresult result = model_of(device, support, &model);
    if (result != CUDA_SUCCESS) return result;
    if (type != 0) return CUDA_ERROR_INVALID_VALUE;
    *support = 0;
    return CUDA_SUCCESS;
}

CUresult cuProfilerStart(void) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    return result != CUDA_SUCCESS ? result : leave(CUDA_SUCCESS);
}

CUresult cuProfilerStop(void) {
    return cuProfilerStart();
}

/* Export tables are private contracts between NVIDIA's own libraries; this driver has none. */
CUresult cuGetExportTable(const void **export_table, const CUuuid *id) {
    if (export_table == NULL || id == NULL) return CUDA_ERROR_INVALID_VALUE;
    *export_table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}
