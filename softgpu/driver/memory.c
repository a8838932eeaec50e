/* Device, managed and pinned host memory: allocation and release.
 *
 * The owner of memory is its context's handle. Kernels use all three by the address the host knows
 * (unified addressing). Copies and fills are in copy.c, stream-ordered memory in pool.c, what
 * pointers tell in pointer.c. */
#include "softgpu/driver/state.h"

Place place_of(uint64_t address, uint64_t bytes) {
    if (address == 0) return PLACE_BAD;
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL && !sg_mem_in_range(address)) return PLACE_PAGEABLE;
    if (found == NULL || !sg_mem_may_become_ok(address, bytes)) return PLACE_BAD;
    switch (found->kind) {
    case SG_MEM_DEVICE: return PLACE_DEVICE;
    case SG_MEM_MANAGED: return PLACE_MANAGED;
    case SG_MEM_HOST:
    case SG_MEM_REGISTERED: break;
    }
    return PLACE_PINNED;
}

static CUresult enter_memory(Context **context) {
    return enter(WANT_CONTEXT | WANT_HEALTHY, context);
}

static CUresult enter_unsafe(Context **context) {
    return enter(WANT_CONTEXT | WANT_HEALTHY | WANT_SAFE, context);
}

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    Context *context = NULL;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    if (free_bytes == NULL || total == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    const uint64_t used = sg_mem_used(context->device);
    *total = (size_t)context->model->dram_bytes;
    *free_bytes = used < *total ? *total - used : 0;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    Context *context = NULL;
    const CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    if (address == NULL || bytes == 0) return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t at = 0;
    const Status st = sg_mem_alloc(context->device, context->object.handle, bytes,
                                   (uint64_t)context->model->dram_bytes, &at, NULL);
    *address = at;
    return leave(st == ST_OK ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                            unsigned int element) {
    /* "ElementSizeBytes may be either 4, 8, or 16". */
    if (pitch == NULL || width == 0 || height == 0 ||
        (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    size_t row, bytes;
    if (__builtin_add_overflow(width, (size_t)511, &row)) return CUDA_ERROR_OUT_OF_MEMORY;
    row &= ~(size_t)511;
    if (__builtin_mul_overflow(row, height, &bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    const CUresult result = cuMemAlloc_v2(address, bytes);
    if (result == CUDA_SUCCESS) *pitch = row;
    return result;
}

enum { ATTACH_GLOBAL = 1, ATTACH_HOST = 2 };

CUresult cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    /* "must be one of CU_MEM_ATTACH_GLOBAL or CU_MEM_ATTACH_HOST". */
    if (address == NULL || bytes == 0 || (flags != ATTACH_GLOBAL && flags != ATTACH_HOST))
        return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t at = 0;
    const Status st = sg_mem_alloc_shared(SG_MEM_MANAGED, context->device, context->object.handle,
                                          bytes, flags, &at, NULL);
    *address = at;
    return leave(st == ST_OK ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

/* Releases once the owner's pending work is done, as the driver does. */
CUresult cuMemFree_v2(CUdeviceptr address) {
    Context *context = NULL;
    CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    GraphMemory *memory;
    if (graph_memory_find(address, &memory)) return leave(graph_memory_free(memory));
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live || found->base != address || pool_is_freeing(found))
        return leave(CUDA_ERROR_INVALID_VALUE);
    if (found->kind != SG_MEM_DEVICE && found->kind != SG_MEM_MANAGED)
        return leave(CUDA_ERROR_INVALID_VALUE); /* pinned memory is freed as such */
    Context *owner = FIND(Context, CONTEXT, found->owner);
    if (owner == NULL) return leave(CUDA_ERROR_INVALID_VALUE); /* a module's variable */
    result = context_drain(owner);
    if (result != CUDA_SUCCESS) return leave(result);
    return leave(memory_release(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
    Context *context = NULL;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live) return leave(CUDA_ERROR_NOT_FOUND);
    if (base != NULL) *base = found->base;
    if (bytes != NULL) *bytes = found->size;
    return leave(CUDA_SUCCESS);
}

/* Pinned host memory ---------------------------------------------------------- */

enum { PORTABLE = 1, DEVICE_MAP = 2, WRITE_COMBINED = 4, IO_MEMORY = 4, READ_ONLY = 8 };

CUresult cuMemHostAlloc(void **host, size_t bytes, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    const unsigned int known = PORTABLE | DEVICE_MAP | WRITE_COMBINED;
    if (host == NULL || bytes == 0 || (flags & ~known) != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t at = 0;
    const Status st = sg_mem_alloc_shared(SG_MEM_HOST, context->device, context->object.handle,
                                          bytes, flags, &at, NULL);
    if (st != ST_OK) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    *host = (void *)(uintptr_t)at;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemAllocHost_v2(void **host, size_t bytes) {
    return cuMemHostAlloc(host, bytes, 0);
}

CUresult cuMemAllocHost(void **host, unsigned int bytes) {
    return cuMemHostAlloc(host, bytes, 0);
}

/* The allocation of that kind that begins at `host`; NULL: none. */
static const SgAllocation *host_exact(const void *host, SgMemKind kind) {
    const uint64_t address = (uint64_t)(uintptr_t)host;
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live || found->base != address) return NULL;
    return found->kind == kind ? found : NULL;
}

/* Forgets host memory once the owner's pending work is done; `missing` when it is none. */
static CUresult host_release(void *host, SgMemKind kind, CUresult missing) {
    Context *context = NULL;
    CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    if (host == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (host_exact(host, kind) == NULL) return leave(missing);
    result = context_drain(context);
    if (result != CUDA_SUCCESS) return leave(result);
    if (host_exact(host, kind) == NULL) return leave(missing); /* the lock was released meanwhile */
    return leave(sg_mem_free((uint64_t)(uintptr_t)host, NULL) == ST_OK ? CUDA_SUCCESS : missing);
}

CUresult cuMemFreeHost(void *host) {
    return host_release(host, SG_MEM_HOST, CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemHostRegister_v2(void *host, size_t bytes, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    const uint64_t base = (uint64_t)(uintptr_t)host;
    const unsigned int known = PORTABLE | DEVICE_MAP | IO_MEMORY | READ_ONLY;
    if (host == NULL || bytes == 0 || (flags & ~known) != 0 || base + bytes < base)
        return leave(CUDA_ERROR_INVALID_VALUE);
    /* Attributes 113 and the like: neither device memory behind a pointer nor read-only pages. */
    if ((flags & (IO_MEMORY | READ_ONLY)) != 0) return leave(CUDA_ERROR_NOT_SUPPORTED);
    if (place_of(base, bytes) == PLACE_DEVICE) return leave(CUDA_ERROR_INVALID_VALUE);
    const Status st =
        sg_mem_register(context->device, context->object.handle, base, bytes, flags, NULL);
    if (st == ST_NO_MEMORY) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    return leave(st == ST_OK ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
}

CUresult cuMemHostRegister(void *host, size_t bytes, unsigned int flags) {
    return cuMemHostRegister_v2(host, bytes, flags);
}

CUresult cuMemHostUnregister(void *host) {
    return host_release(host, SG_MEM_REGISTERED, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

/* Pinned memory that holds `host`; NULL: none. */
static const SgAllocation *host_find(const void *host) {
    const uint64_t address = (uint64_t)(uintptr_t)host;
    return place_of(address, 1) == PLACE_PINNED ? sg_mem_find(address) : NULL;
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *host) {
    Context *context = NULL;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    const SgAllocation *found = host_find(host);
    if (flags == NULL || found == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = found->flags;
    return leave(CUDA_SUCCESS);
}

/* Unified addressing: pinned memory has one address, mapped or not. */
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *host, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    if (address == NULL || flags != 0 || host_find(host) == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *address = (CUdeviceptr)(uintptr_t)host;
    return leave(CUDA_SUCCESS);
}
