/* Contexts: creation, the calling thread's stack, primary contexts, limits.
 *
 * Invariant: a context is freed only when nothing is pending in it; a thread that still has its
 * handle on the stack gets CONTEXT_IS_DESTROYED. */
#include "softgpu/driver/state.h"

#include <string.h>

#include "base/mem.h"

/* Bits that cuCtxCreate knows: schedule 0..2 and 4, map host, local memory, coredump, user
 * coredump, sync memops. */
static const unsigned int CONTEXT_FLAGS = 0xff;

static Context *context_new(int device, unsigned int flags, bool primary) {
    Context *context = mem_alloc(sizeof *context);
    if (context == NULL) return NULL;
    *context = (Context){.device = device,
                         .id = driver.next_id++,
                         .model = driver.devices[device].model,
                         .primary = primary,
                         .flags = flags,
                         .profile = driver.profile != 0,
                         .cache_config = 0,
                         .shared_config = 1};
    /* Defaults of the reference manual's CUlimit: stack, printf FIFO, heap, then the rest. */
    static const size_t limits[8] = {1024, 1 << 20, 8 << 20, 2, 2048, 64, 0, 0};
    memcpy(context->limits, limits, sizeof limits);
    if (!object_add(&context->object, OBJECT_CONTEXT, NULL)) {
        mem_free(context);
        return NULL;
    }
    context->legacy = stream_new(context, 0, 0);
    if (context->legacy == NULL) {
        object_remove(&context->object);
        mem_free(context);
        return NULL;
    }
    context->legacy->is_default = context->legacy->legacy = true;
    return context;
}

CUresult context_drain(Context *context) {
    void *handle = context->object.handle;
    for (;;) {
        context = FIND(Context, CONTEXT, handle);
        if (context == NULL) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        if (context->pending == 0) return context->fault;
        pthread_cond_wait(&driver.done, &driver.lock);
    }
}

static void object_destroy(Object *object) {
    switch (object->kind) {
    case OBJECT_STREAM: stream_close((Stream *)object); return;
    case OBJECT_MODULE: module_release((Module *)object); return;
    case OBJECT_GRAPH:
    case OBJECT_EXEC: graph_remove((Graph *)object); return;
    case OBJECT_EVENT: event_remove((Event *)object); return;
    default: object_remove(object); return;
    }
}

static void context_destroy(Context *context) {
    void *handle = context->object.handle;
    context_drain(context);
    context = FIND(Context, CONTEXT, handle); /* another thread may have been quicker */
    if (context == NULL) return;
    while (capture_in(context) != NULL) capture_close(capture_in(context));
    while (context->objects.next != NULL) object_destroy(context->objects.next);
    pool_forget_owner(handle);
    sg_mem_free_owner(handle);
    graph_memory_forget_context(handle);
    mem_free(context->peers);
    profile_clear(context);
    object_remove(&context->object);
    mem_free(context);
    pthread_cond_broadcast(&driver.done);
}

static CUresult stack_push(void *handle) {
    if (this_thread.depth == MAX_CONTEXT_STACK) return CUDA_ERROR_OUT_OF_MEMORY;
    this_thread.stack[this_thread.depth++] = handle;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v4(CUcontext *out, void *params, unsigned int flags, CUdevice device) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (this_thread.in_callback) return leave(CUDA_ERROR_NOT_PERMITTED);
    if (out == NULL || (flags & ~CONTEXT_FLAGS) != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (params != NULL) return leave(CUDA_ERROR_NOT_SUPPORTED); /* affinity, graphics contexts */
    Context *context = context_new(device, flags, false);
    if (context == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    result = stack_push(context->object.handle);
    if (result != CUDA_SUCCESS)
        context_destroy(context);
    else
        *out = context->object.handle;
    return leave(result);
}

CUresult cuCtxCreate_v3(CUcontext *out, void *affinity, int count, unsigned int flags,
                        CUdevice device) {
    if (count < 0) return CUDA_ERROR_INVALID_VALUE;
    if (affinity != NULL && count > 0) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
    return cuCtxCreate_v4(out, NULL, flags, device);
}

CUresult cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice device) {
    return cuCtxCreate_v4(out, NULL, flags, device);
}

/* A context of API version 3010, whose device pointers have 32 bits, is not played. */
CUresult cuCtxCreate(CUcontext *out, unsigned int flags, CUdevice device) {
    (void)flags;
    (void)device;
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    return leave(out == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_SUPPORTED);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Context *context = FIND(Context, CONTEXT, handle);
    if (this_thread.in_callback) return leave(CUDA_ERROR_NOT_PERMITTED);
    /* Primary contexts are released, not destroyed. */
    if (context == NULL || context->primary) return leave(CUDA_ERROR_INVALID_CONTEXT);
    context_destroy(context);
    /* "If ctx is current to the calling thread then ctx will also be popped from the current
     * thread's context stack"; other threads keep a destroyed context. */
    if (this_thread.depth > 0 && this_thread.stack[this_thread.depth - 1] == (void *)handle)
        this_thread.depth--;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxDestroy(CUcontext handle) {
    return cuCtxDestroy_v2(handle);
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Context, CONTEXT, handle) == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    return leave(stack_push(handle));
}

CUresult cuCtxPushCurrent(CUcontext handle) {
    return cuCtxPushCurrent_v2(handle);
}

CUresult cuCtxPopCurrent_v2(CUcontext *handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (this_thread.depth == 0) return leave(CUDA_ERROR_INVALID_CONTEXT);
    this_thread.depth--;
    if (handle != NULL) *handle = this_thread.stack[this_thread.depth];
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxPopCurrent(CUcontext *handle) {
    return cuCtxPopCurrent_v2(handle);
}

/* "If ctx is NULL, this call is equivalent to popping"; else the top is replaced. */
CUresult cuCtxSetCurrent(CUcontext handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (handle != NULL && FIND(Context, CONTEXT, handle) == NULL)
        return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (this_thread.depth > 0) this_thread.depth--;
    return leave(handle == NULL ? CUDA_SUCCESS : stack_push(handle));
}

CUresult cuCtxGetCurrent(CUcontext *handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (handle == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *handle = this_thread.depth > 0 ? this_thread.stack[this_thread.depth - 1] : NULL;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetDevice(CUdevice *device) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return result;
    if (device == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *device = context->device;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext handle) {
    if (handle == NULL) return cuCtxGetDevice(device);
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Context *context = FIND(Context, CONTEXT, handle);
    if (context == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (device == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *device = context->device;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetFlags(unsigned int *flags) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return result;
    if (flags == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = context->flags;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxSetFlags(unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return result;
    if ((flags & ~CONTEXT_FLAGS) != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    context->flags = flags;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long *id) {
    Context *context = NULL;
    const CUresult result = enter(handle == NULL ? WANT_CONTEXT : 0, &context);
    if (result != CUDA_SUCCESS) return result;
    if (handle != NULL) context = FIND(Context, CONTEXT, handle);
    if (context == NULL) return leave(CUDA_ERROR_CONTEXT_IS_DESTROYED);
    if (id == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *id = context->id;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *version) {
    Context *context = NULL;
    const CUresult result = enter(handle == NULL ? WANT_CONTEXT : 0, &context);
    if (result != CUDA_SUCCESS) return result;
    if (handle != NULL) context = FIND(Context, CONTEXT, handle);
    if (context == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (version == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *version = 3020;
    return leave(CUDA_SUCCESS);
}

/* A wait for the whole context is refused while something in it is captured. */
static CUresult synchronize(Context *context) {
    if (context->fault != CUDA_SUCCESS) return context->fault;
    if (capture_in(context) != NULL) {
        for (Capture *c = driver.captures; c != NULL; c = c->next)
            if (c->context == context) capture_invalidate(c);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return context_drain(context);
}

CUresult cuCtxSynchronize(void) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    return result != CUDA_SUCCESS ? result : leave(synchronize(context));
}

CUresult cuCtxSynchronize_v2(CUcontext handle) {
    if (handle == NULL) return cuCtxSynchronize();
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Context *context = FIND(Context, CONTEXT, handle);
    if (this_thread.in_callback) return leave(CUDA_ERROR_NOT_PERMITTED);
    return leave(context == NULL ? CUDA_ERROR_INVALID_CONTEXT : synchronize(context));
}

CUresult cuCtxGetLimit(size_t *value, int limit) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (value == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (limit < 0 || limit >= 8) return leave(CUDA_ERROR_UNSUPPORTED_LIMIT);
    *value = context->limits[limit];
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxSetLimit(int limit, size_t value) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (limit < 0 || limit >= 8) return leave(CUDA_ERROR_UNSUPPORTED_LIMIT);
    context->limits[limit] = value;
    return leave(CUDA_SUCCESS);
}

/* Cache and bank-size preferences are hints that sm_75 and later ignore; kept and told back. */
static CUresult hint_get(int *value, size_t offset) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (value == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    memcpy(value, (const char *)context + offset, sizeof *value);
    return leave(CUDA_SUCCESS);
}

static CUresult hint_set(int value, int largest, size_t offset) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (value < 0 || value > largest) return leave(CUDA_ERROR_INVALID_VALUE);
    memcpy((char *)context + offset, &value, sizeof value);
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxGetCacheConfig(int *config) {
    return hint_get(config, offsetof(Context, cache_config));
}

CUresult cuCtxSetCacheConfig(int config) {
    return hint_set(config, 3, offsetof(Context, cache_config));
}

CUresult cuCtxGetSharedMemConfig(int *config) {
    return hint_get(config, offsetof(Context, shared_config));
}

CUresult cuCtxSetSharedMemConfig(int config) {
    return hint_set(config, 2, offsetof(Context, shared_config));
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return result;
    if (least != NULL) *least = 0;
    if (greatest != NULL) *greatest = -5;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxResetPersistingL2Cache(void) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    return result != CUDA_SUCCESS ? result : leave(CUDA_SUCCESS);
}

/* Primary contexts ------------------------------------------------------------ */

static CUresult enter_device(CUdevice device) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (this_thread.in_callback) return leave(CUDA_ERROR_NOT_PERMITTED);
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *handle, CUdevice device) {
    const CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS) return result;
    if (handle == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    Device *d = &driver.devices[device];
    if (d->primary == NULL) d->primary = context_new(device, d->primary_flags, true);
    if (d->primary == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    d->primary_references++;
    *handle = d->primary->object.handle;
    return leave(CUDA_SUCCESS);
}

static void primary_destroy(Device *d) {
    Context *context = d->primary;
    d->primary = NULL;
    if (context != NULL) context_destroy(context);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    const CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS) return result;
    Device *d = &driver.devices[device];
    if (d->primary_references == 0) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (--d->primary_references == 0) primary_destroy(d);
    return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    return cuDevicePrimaryCtxRelease_v2(device);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    const CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS) return result;
    driver.devices[device].primary_references = 0;
    primary_destroy(&driver.devices[device]);
    return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxReset(CUdevice device) {
    return cuDevicePrimaryCtxReset_v2(device);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
    const CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS) return result;
    if ((flags & ~CONTEXT_FLAGS) != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    Device *d = &driver.devices[device];
    d->primary_flags = flags;
    if (d->primary != NULL) d->primary->flags = flags;
    return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
    /* Before CUDA 11 an active primary context refused new flags. */
    const CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS) return result;
    const bool active = driver.devices[device].primary != NULL;
    leave(CUDA_SUCCESS);
    return active ? CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE
                  : cuDevicePrimaryCtxSetFlags_v2(device, flags);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
    const CUresult result = enter_device(device);
    if (result != CUDA_SUCCESS) return result;
    if (flags == NULL || active == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = driver.devices[device].primary_flags;
    *active = driver.devices[device].primary != NULL;
    return leave(CUDA_SUCCESS);
}
