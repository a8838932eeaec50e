/* What the driver tells about a pointer. Ranges of managed memory: managed.c. */
#include "softgpu/driver/state.h"

enum {
    POINTER_CONTEXT = 1,
    POINTER_MEMORY_TYPE = 2,
    POINTER_DEVICE_POINTER = 3,
    POINTER_HOST_POINTER = 4,
    POINTER_SYNC_MEMOPS = 6,
    POINTER_BUFFER_ID = 7,
    POINTER_IS_MANAGED = 8,
    POINTER_DEVICE_ORDINAL = 9,
    POINTER_IPC = 10,
    POINTER_RANGE_START = 11,
    POINTER_RANGE_SIZE = 12,
    POINTER_MAPPED = 13,
    POINTER_HANDLE_TYPES = 14,
    POINTER_RDMA = 15,
    POINTER_ACCESS_FLAGS = 16,
    POINTER_MEMPOOL = 17,
    POINTER_MAPPING_SIZE = 18,
    POINTER_MAPPING_BASE = 19,
    POINTER_BLOCK_ID = 20,
    POINTER_DECOMPRESS = 21,
    POINTER_MAX = 21
};

static bool is_pinned(const SgAllocation *a) {
    return a->kind == SG_MEM_HOST || a->kind == SG_MEM_REGISTERED;
}

static CUresult pointer_value(void *data, int attribute, const SgAllocation *a,
                              CUdeviceptr address) {
    const Context *owner = FIND(Context, CONTEXT, a->owner);
    switch (attribute) {
    case POINTER_CONTEXT: *(CUcontext *)data = owner == NULL ? NULL : a->owner; break;
    case POINTER_MEMORY_TYPE:
        *(unsigned int *)data = is_pinned(a) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        break;
    case POINTER_DEVICE_POINTER: *(CUdeviceptr *)data = address; break;
    case POINTER_HOST_POINTER:
        if (a->kind == SG_MEM_DEVICE) return CUDA_ERROR_INVALID_VALUE; /* it has none */
        *(void **)data = (void *)(uintptr_t)address;
        break;
    case POINTER_IS_MANAGED: *(unsigned int *)data = a->kind == SG_MEM_MANAGED; break;
    case POINTER_BUFFER_ID:
    case POINTER_BLOCK_ID: *(unsigned long long *)data = a->id; break;
    case POINTER_DEVICE_ORDINAL: *(int *)data = a->device; break;
    case POINTER_RANGE_START:
    case POINTER_MAPPING_BASE: *(CUdeviceptr *)data = a->base; break;
    case POINTER_RANGE_SIZE:
    case POINTER_MAPPING_SIZE: *(size_t *)data = a->size; break;
    case POINTER_MAPPED: *(unsigned int *)data = 1; break;
    case POINTER_ACCESS_FLAGS: *(int *)data = 3; break; /* read and write */
    case POINTER_MEMPOOL: *(CUmemoryPool *)data = pool_of(a); break;
    case POINTER_HANDLE_TYPES: *(unsigned long long *)data = 0; break;
    case POINTER_SYNC_MEMOPS:
    case POINTER_IPC:
    case POINTER_RDMA:
    case POINTER_DECOMPRESS: *(unsigned int *)data = 0; break;
    default: return CUDA_ERROR_INVALID_VALUE; /* 5: tokens for a kernel interface of Linux */
    }
    return CUDA_SUCCESS;
}

static CUresult pointer_attribute(void *data, int attribute, CUdeviceptr address) {
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live) return CUDA_ERROR_INVALID_VALUE;
    return pointer_value(data, attribute, found, address);
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
    switch (attribute) {
    case POINTER_DEVICE_ORDINAL: *(int *)data = -2; break; /* documented for unknown */
    case POINTER_MEMORY_TYPE:
    case POINTER_SYNC_MEMOPS:
    case POINTER_IS_MANAGED:
    case POINTER_IPC:
    case POINTER_MAPPED:
    case POINTER_RDMA:
    case POINTER_ACCESS_FLAGS:
    case POINTER_DECOMPRESS: *(unsigned int *)data = 0; break;
    default: *(uint64_t *)data = 0;
    }
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

/* SYNC_MEMOPS is the one attribute to set; operations on the memory are ordered in any case. */
CUresult cuPointerSetAttribute(const void *value, int attribute, CUdeviceptr address) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (value == NULL || attribute != POINTER_SYNC_MEMOPS || place_of(address, 1) != PLACE_DEVICE)
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(CUDA_SUCCESS);
}
