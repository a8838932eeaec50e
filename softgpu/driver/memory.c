/* Device and pinned host memory: allocation, queries.
 *
 * The owner of device memory is its context's handle. Copies and fills are in copy.c. */
#include "softgpu/driver/state.h"

#include <sys/mman.h>

#include "base/mem.h"

/* Pinned or registered host memory, in no order: programs have few such ranges. */
typedef struct HostRange {
    uint64_t base, bytes;
    unsigned int flags;
    bool registered; /* the program's own memory, cuMemHostRegister */
    const void *owner;
    struct HostRange *next;
} HostRange;

static HostRange *host_ranges;

static HostRange *host_find(uint64_t address, uint64_t bytes) {
    for (HostRange *r = host_ranges; r != NULL; r = r->next)
        if (address >= r->base && address - r->base < r->bytes &&
            bytes <= r->bytes - (address - r->base))
            return r;
    return NULL;
}

static CUresult host_add(void *host, size_t bytes, unsigned int flags, bool registered,
                         const Context *context) {
    HostRange *range = mem_alloc(sizeof *range);
    if (range == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    *range = (HostRange){.base = (uint64_t)(uintptr_t)host,
                         .bytes = bytes,
                         .flags = flags,
                         .registered = registered,
                         .owner = context->object.handle,
                         .next = host_ranges};
    host_ranges = range;
    return CUDA_SUCCESS;
}

static void host_remove(HostRange *range) {
    HostRange **link = &host_ranges;
    while (*link != range) link = &(*link)->next;
    *link = range->next;
    if (!range->registered) munmap((void *)(uintptr_t)range->base, range->bytes);
    mem_free(range);
}

void host_free_owner(const void *context) {
    for (HostRange *r = host_ranges, *next; r != NULL; r = next) {
        next = r->next;
        if (r->owner == context) host_remove(r);
    }
}

Place place_of(uint64_t address, uint64_t bytes) {
    if (address == 0) return PLACE_BAD;
    if (sg_mem_in_range(address)) return sg_mem_ok(address, bytes) ? PLACE_DEVICE : PLACE_BAD;
    return host_find(address, bytes) != NULL ? PLACE_PINNED : PLACE_PAGEABLE;
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

/* The device says that it has no managed memory (attribute 83). */
CUresult cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned int flags) {
    Context *context = NULL;
    (void)flags;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    if (address == NULL || bytes == 0) return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(CUDA_ERROR_NOT_SUPPORTED);
}

/* Releases once the owner's pending work is done, as the driver does. */
CUresult cuMemFree_v2(CUdeviceptr address) {
    Context *context = NULL;
    CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live || found->base != address)
        return leave(CUDA_ERROR_INVALID_VALUE);
    Context *owner = FIND(Context, CONTEXT, found->owner);
    if (owner == NULL) return leave(CUDA_ERROR_INVALID_VALUE); /* a module's variable */
    result = context_drain(owner);
    if (result != CUDA_SUCCESS) return leave(result);
    return leave(sg_mem_free(address, NULL) == ST_OK ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
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

CUresult cuMemHostAlloc(void **host, size_t bytes, unsigned int flags) {
    Context *context = NULL;
    CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    /* Portable, device-mapped, write-combined. */
    if (host == NULL || bytes == 0 || (flags & ~7u) != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    result = host_add(at, bytes, flags, false, context);
    if (result != CUDA_SUCCESS)
        munmap(at, bytes);
    else
        *host = at;
    return leave(result);
}

CUresult cuMemAllocHost_v2(void **host, size_t bytes) {
    return cuMemHostAlloc(host, bytes, 0);
}

CUresult cuMemAllocHost(void **host, unsigned int bytes) {
    return cuMemHostAlloc(host, bytes, 0);
}

/* A pinned range by its first byte. */
static HostRange *host_exact(const void *host, bool registered) {
    HostRange *range = host_find((uint64_t)(uintptr_t)host, 0);
    if (range == NULL || range->base != (uint64_t)(uintptr_t)host) return NULL;
    return range->registered == registered ? range : NULL;
}

CUresult cuMemFreeHost(void *host) {
    Context *context = NULL;
    CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    if (host_exact(host, false) == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    result = context_drain(context);
    HostRange *range = host_exact(host, false); /* the lock was released meanwhile */
    if (result == CUDA_SUCCESS && range == NULL) result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) host_remove(range);
    return leave(result);
}

CUresult cuMemHostRegister_v2(void *host, size_t bytes, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    const uint64_t base = (uint64_t)(uintptr_t)host;
    if (host == NULL || bytes == 0 || (flags & ~0xfu) != 0 || base + bytes < base ||
        sg_mem_in_range(base))
        return leave(CUDA_ERROR_INVALID_VALUE);
    for (const HostRange *r = host_ranges; r != NULL; r = r->next)
        if (base < r->base + r->bytes && r->base < base + bytes)
            return leave(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    return leave(host_add(host, bytes, flags, true, context));
}

CUresult cuMemHostRegister(void *host, size_t bytes, unsigned int flags) {
    return cuMemHostRegister_v2(host, bytes, flags);
}

CUresult cuMemHostUnregister(void *host) {
    Context *context = NULL;
    CUresult result = enter_unsafe(&context);
    if (result != CUDA_SUCCESS) return result;
    if (host == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (host_exact(host, true) == NULL) return leave(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    result = context_drain(context);
    HostRange *range = host_exact(host, true);
    if (result == CUDA_SUCCESS && range != NULL) host_remove(range);
    return leave(result);
}

CUresult cuMemHostGetFlags(unsigned int *flags, void *host) {
    Context *context = NULL;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    const HostRange *range = host_find((uint64_t)(uintptr_t)host, 0);
    if (flags == NULL || range == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = range->flags;
    return leave(CUDA_SUCCESS);
}

/* Kernels of the software GPU see device memory only (attribute 19: cannot map host memory). */
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *host, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter_memory(&context);
    if (result != CUDA_SUCCESS) return result;
    if (address == NULL || flags != 0 || host_find((uint64_t)(uintptr_t)host, 0) == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(CUDA_ERROR_NOT_SUPPORTED);
}

/* Pointer attributes ---------------------------------------------------------- */

enum {
    POINTER_CONTEXT = 1,
    POINTER_MEMORY_TYPE = 2,
    POINTER_DEVICE_POINTER = 3,
    POINTER_HOST_POINTER = 4,
    POINTER_SYNC_MEMOPS = 6,
    POINTER_BUFFER_ID = 7,
    POINTER_IS_MANAGED = 8,
    POINTER_DEVICE_ORDINAL = 9,
    POINTER_RANGE_START = 11,
    POINTER_RANGE_SIZE = 12,
    POINTER_MAPPED = 13,
    POINTER_MAX = 20
};

static CUresult device_attribute(void *data, int attribute, const SgAllocation *a,
                                 CUdeviceptr address) {
    const Context *owner = FIND(Context, CONTEXT, a->owner);
    switch (attribute) {
    case POINTER_CONTEXT: *(CUcontext *)data = owner == NULL ? NULL : a->owner; break;
    case POINTER_MEMORY_TYPE: *(unsigned int *)data = CU_MEMORYTYPE_DEVICE; break;
    case POINTER_DEVICE_POINTER: *(CUdeviceptr *)data = address; break;
    case POINTER_SYNC_MEMOPS:
    case POINTER_IS_MANAGED: *(unsigned int *)data = 0; break;
    case POINTER_BUFFER_ID: *(unsigned long long *)data = a->id; break;
    case POINTER_DEVICE_ORDINAL: *(int *)data = a->device; break;
    case POINTER_RANGE_START: *(CUdeviceptr *)data = a->base; break;
    case POINTER_RANGE_SIZE: *(size_t *)data = a->size; break;
    case POINTER_MAPPED: *(unsigned int *)data = 1; break;
    default: return CUDA_ERROR_INVALID_VALUE; /* POINTER_HOST_POINTER: it has none */
    }
    return CUDA_SUCCESS;
}

static CUresult host_attribute(void *data, int attribute, const HostRange *range,
                               CUdeviceptr address) {
    const Context *owner = FIND(Context, CONTEXT, range->owner);
    switch (attribute) {
    case POINTER_CONTEXT: *(const void **)data = range->owner; break;
    case POINTER_MEMORY_TYPE: *(unsigned int *)data = CU_MEMORYTYPE_HOST; break;
    case POINTER_HOST_POINTER: *(void **)data = (void *)(uintptr_t)address; break;
    case POINTER_IS_MANAGED: *(unsigned int *)data = 0; break;
    case POINTER_DEVICE_ORDINAL: *(int *)data = owner == NULL ? -1 : owner->device; break;
    case POINTER_RANGE_START: *(CUdeviceptr *)data = range->base; break;
    case POINTER_RANGE_SIZE: *(size_t *)data = range->bytes; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

static CUresult pointer_attribute(void *data, int attribute, CUdeviceptr address) {
    const SgAllocation *allocation = sg_mem_find(address);
    if (allocation != NULL && allocation->live)
        return device_attribute(data, attribute, allocation, address);
    const HostRange *range = host_find(address, 0);
    return range == NULL ? CUDA_ERROR_INVALID_VALUE
                         : host_attribute(data, attribute, range, address);
}

CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr address) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (data == NULL || attribute < 1 || attribute > POINTER_MAX)
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(pointer_attribute(data, attribute, address));
}

/* "Attributes that do not apply are set to a null value", and that is no error. */
static void attribute_clear(void *data, int attribute) {
    if (attribute == POINTER_DEVICE_ORDINAL)
        *(int *)data = -2; /* documented for unknown */
    else if (attribute == POINTER_MEMORY_TYPE || attribute == POINTER_IS_MANAGED ||
             attribute == POINTER_SYNC_MEMOPS || attribute == POINTER_MAPPED)
        *(unsigned int *)data = 0;
    else
        *(uint64_t *)data = 0;
}

CUresult cuPointerGetAttributes(unsigned int count, int *attributes, void **data,
                                CUdeviceptr address) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT, &context);
    if (result != CUDA_SUCCESS) return result;
    if (attributes == NULL || data == NULL || count == 0) return leave(CUDA_ERROR_INVALID_VALUE);
    for (unsigned int i = 0; i < count; i++)
        if (data[i] == NULL || attributes[i] < 1 || attributes[i] > POINTER_MAX)
            return leave(CUDA_ERROR_INVALID_VALUE);
    for (unsigned int i = 0; i < count; i++)
        if (pointer_attribute(data[i], attributes[i], address) != CUDA_SUCCESS)
            attribute_clear(data[i], attributes[i]);
    return leave(CUDA_SUCCESS);
}
