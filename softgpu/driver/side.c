/* The side door (softgpu.h): traits, launch mode, last fault, last launch, memory. */
#include "softgpu/driver/state.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* softgpu.h numbers results as CUresult. */
int softgpuGetTraits(int device, SoftgpuTraits *traits) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return (int)result;
    if (device < 0 || device >= driver.device_count)
        result = CUDA_ERROR_INVALID_DEVICE;
    else if (traits == NULL || traits->size < sizeof *traits)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        const GpuModel *model = driver.devices[device].model;
        traits->modelled = traits->deterministic = traits->can_sample = 1;
        traits->factor = model->factor;
        snprintf(traits->model, sizeof traits->model, "%s", model->name);
        snprintf(traits->description, sizeof traits->description, "%s (modelled)",
                 model->full_name);
    }
    return (int)leave(result);
}

int softgpuSetLaunchMode(int mode) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    static const SgMode modes[] = {
        [SOFTGPU_FULL] = SG_FULL, [SOFTGPU_TIMING] = SG_TIMING, [SOFTGPU_UNTIMED] = SG_UNTIMED};
    if (mode < 0 || (size_t)mode >= sizeof modes / sizeof *modes)
        result = CUDA_ERROR_INVALID_VALUE;
    else
        context->mode = modes[mode];
    return (int)leave(result);
}

/* Also without a context: then why cuInit failed. */
int softgpuLastFault(char *text, size_t size) {
    if (text == NULL || size == 0) return CUDA_ERROR_INVALID_VALUE;
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result == CUDA_SUCCESS) {
        const bool faulted = context->fault_text[0] != '\0';
        snprintf(text, size, "%s", faulted ? context->fault_text : context->refused);
        return (int)leave(CUDA_SUCCESS);
    }
    pthread_mutex_lock(&driver.lock);
    snprintf(text, size, "%s", driver.init_text);
    const bool said = driver.init_text[0] != '\0';
    pthread_mutex_unlock(&driver.lock);
    return said ? CUDA_SUCCESS : (int)result;
}

int softgpuWarnings(char *text, size_t size) {
    if (text == NULL || size == 0) return CUDA_ERROR_INVALID_VALUE;
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    snprintf(text, size, "%s", context->warnings);
    return (int)leave(CUDA_SUCCESS);
}

int softgpuPeek(void *handle, void *to, unsigned long long from, size_t bytes) {
    Context *context = NULL;
    Stream *stream = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    result = stream_find(context, handle, &stream);
    if (result == CUDA_SUCCESS && stream->capture != NULL)
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    else if (result == CUDA_SUCCESS && context->mode != SG_FULL)
        result = CUDA_ERROR_NOT_SUPPORTED;
    else if (result == CUDA_SUCCESS && streams_may_wait_for_host(context))
        result = CUDA_ERROR_NOT_READY;
    (void)leave(result);
    if (result == CUDA_SUCCESS) result = cuStreamSynchronize(handle);
    if (result != CUDA_SUCCESS) return (int)result;
    result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return (int)result;
    /* Under the lock nobody frees it. A device address is one of the host. */
    if (to == NULL || !sg_mem_ok(from, bytes))
        result = CUDA_ERROR_INVALID_VALUE;
    else
        memcpy(to, (const void *)(uintptr_t)from, bytes);
    return (int)leave(result);
}

int softgpuLastLaunch(SoftgpuLaunchStats *stats) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return (int)result;
    if (stats == NULL || stats->size < offsetof(SoftgpuLaunchStats, at_least))
        return (int)leave(CUDA_ERROR_INVALID_VALUE);
    if (!context->has_last) return (int)leave(CUDA_ERROR_NOT_FOUND);
    const size_t size = stats->size;
    memcpy(stats, &context->last, size < sizeof *stats ? size : sizeof *stats);
    stats->size = size;
    return (int)leave(CUDA_SUCCESS);
}
