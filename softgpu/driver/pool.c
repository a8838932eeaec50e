/* Stream-ordered memory: pools, cuMemAllocAsync, cuMemFreeAsync.
 *
 * The address is known at the call, and memory is usable from then on; whether another stream was
 * ordered behind the allocation is not checked. A release is an operation of its stream: what is
 * enqueued behind it finds freed memory. A pool keeps nothing back: what is freed returns to the
 * device at once, so reserved and used bytes are the same and trimming finds nothing.
 * Invariant: every allocation with a note has one Block, which names its pool while the pool has
 * blocks, destroyed or not. */
#include "softgpu/driver/state.h"

#include "base/mem.h"

struct Pool {
    Object object;
    int device;
    bool is_default, destroyed;
    int reuse[3];     /* CU_MEMPOOL_ATTR_REUSE_*: told back, without effect */
    uint32_t devices; /* besides its own that may use its memory, a bit each */
    uint64_t threshold, used, used_high;
    size_t max_size; /* 0: the device's */
    size_t blocks;
};

typedef struct Block {
    Pool *pool; /* NULL: of cuMemAlloc, being freed asynchronously; managed, with advice */
    uint64_t address, bytes;
    const void *owner;
    bool freeing;
    Advice *advice; /* on managed memory; owned */
    struct Block *prev, *next;
} Block;

static Block blocks; /* list head */

static Block *block_add(uint64_t address, Pool *pool, uint64_t bytes, const void *owner) {
    Block *block = mem_alloc(sizeof *block);
    if (block == NULL) return NULL;
    *block = (Block){pool, address, bytes, owner, false, NULL, &blocks, blocks.next};
    if (block->next != NULL) block->next->prev = block;
    blocks.next = block;
    sg_mem_note(address, block);
    if (pool == NULL) return block;
    sg_mem_share(address, pool->devices);
    pool->blocks++;
    pool->used += bytes;
    if (pool->used > pool->used_high) pool->used_high = pool->used;
    return block;
}

static void block_drop(Block *block) {
    Pool *pool = block->pool;
    block->prev->next = block->next;
    if (block->next != NULL) block->next->prev = block->prev;
    if (pool != NULL) {
        pool->used -= block->bytes;
        if (--pool->blocks == 0 && pool->destroyed) mem_free(pool);
    }
    advice_free(block->advice);
    mem_free(block);
}

bool pool_is_freeing(const SgAllocation *allocation) {
    const Block *block = allocation->note;
    return block != NULL && block->freeing;
}

CUmemoryPool pool_of(const SgAllocation *allocation) {
    const Block *block = allocation->note;
    return block == NULL || block->pool == NULL ? NULL : block->pool->object.handle;
}

Advice **pool_advice(const SgAllocation *allocation) {
    Block *block = allocation->note;
    if (block == NULL)
        block = block_add(allocation->base, NULL, allocation->size, allocation->owner);
    return block == NULL ? NULL : &block->advice;
}

bool memory_release(uint64_t address) {
    const SgAllocation *found = sg_mem_find(address);
    Block *block = found == NULL || !found->live || found->base != address ? NULL : found->note;
    if (sg_mem_free(address, NULL) != ST_OK) return false;
    if (block != NULL) block_drop(block);
    graph_memory_released(address);
    return true;
}

void pool_forget_owner(const void *context) {
    for (Block *block = blocks.next, *next; block != NULL; block = next) {
        next = block->next;
        if (block->owner == context) block_drop(block);
    }
}

static Pool *pool_new(int device) {
    Pool *pool = mem_alloc(sizeof *pool);
    if (pool == NULL) return NULL;
    pool->device = device;
    for (int i = 0; i < 3; i++) pool->reuse[i] = 1;
    if (object_add(&pool->object, OBJECT_POOL, NULL)) return pool;
    mem_free(pool);
    return NULL;
}

/* The device's own pool; NULL: no memory. */
static Pool *pool_default(int device) {
    Device *d = &driver.devices[device];
    if (d->default_pool == NULL) {
        d->default_pool = pool_new(device);
        if (d->default_pool == NULL) return NULL;
        d->default_pool->is_default = true;
    }
    if (d->pool == NULL) d->pool = d->default_pool;
    return d->default_pool;
}

static CUresult pool_get(CUmemoryPool *out, CUdevice device, bool current) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (pool_default(device) == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    const Device *d = &driver.devices[device];
    *out = current ? d->pool->object.handle : d->default_pool->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    return pool_get(pool, device, false);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
    return pool_get(pool, device, true);
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    Pool *pool = FIND(Pool, POOL, handle);
    /* "The memory pool must be local to the specified device." */
    if (pool == NULL || pool->device != device) return leave(CUDA_ERROR_INVALID_VALUE);
    driver.devices[device].pool = pool;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *props) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || props == NULL || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED)
        return leave(CUDA_ERROR_INVALID_VALUE);
    /* Attributes 119 and 144: no handle types to export, no pools on the host. */
    if (props->handleTypes != 0 || props->location.type == CU_MEM_LOCATION_TYPE_HOST)
        return leave(CUDA_ERROR_NOT_SUPPORTED);
    if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->location.id < 0 ||
        props->location.id >= driver.device_count)
        return leave(CUDA_ERROR_INVALID_VALUE);
    Pool *pool = pool_new(props->location.id);
    if (pool == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    pool->max_size = props->maxSize;
    *out = pool->object.handle;
    return leave(CUDA_SUCCESS);
}

/* "will return immediately and the resources associated with the pool will be released
 * automatically once there are no more outstanding allocations". */
CUresult cuMemPoolDestroy(CUmemoryPool handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Pool *pool = FIND(Pool, POOL, handle);
    if (pool == NULL || pool->is_default) return leave(CUDA_ERROR_INVALID_VALUE);
    Device *d = &driver.devices[pool->device];
    if (d->pool == pool) d->pool = d->default_pool;
    object_remove(&pool->object);
    pool->object.handle = NULL;
    pool->destroyed = true;
    if (pool->blocks == 0) mem_free(pool);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
    (void)keep;
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    return leave(FIND(Pool, POOL, handle) == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void *value) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Pool *pool = FIND(Pool, POOL, handle);
    if (pool == NULL || value == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        *(int *)value = pool->reuse[attribute - 1];
        break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *(uint64_t *)value = pool->threshold; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *(uint64_t *)value = pool->used; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *(uint64_t *)value = pool->used_high; break;
    default: return leave(CUDA_ERROR_INVALID_VALUE);
    }
    return leave(CUDA_SUCCESS);
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void *value) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Pool *pool = FIND(Pool, POOL, handle);
    if (pool == NULL || value == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        pool->reuse[attribute - 1] = *(const int *)value != 0;
        return leave(CUDA_SUCCESS);
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        pool->threshold = *(const uint64_t *)value;
        return leave(CUDA_SUCCESS);
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: /* "Value must be zero": resets the mark */
        if (*(const uint64_t *)value != 0) return leave(CUDA_ERROR_INVALID_VALUE);
        pool->used_high = pool->used;
        return leave(CUDA_SUCCESS);
    default: return leave(CUDA_ERROR_INVALID_VALUE);
    }
}

/* A device uses its own pools, and others after cuMemPoolSetAccess, which holds for memory that the
 * pool gave before, too. */
enum { ACCESS_NONE = 0, ACCESS_READ_WRITE = 3 };

CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *map, size_t count) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Pool *pool = FIND(Pool, POOL, handle);
    if (pool == NULL || (map == NULL && count > 0)) return leave(CUDA_ERROR_INVALID_VALUE);
    uint32_t devices = pool->devices;
    for (size_t i = 0; i < count; i++) {
        if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || map[i].location.id < 0 ||
            map[i].location.id >= driver.device_count)
            return leave(CUDA_ERROR_INVALID_DEVICE);
        /* "cannot revoke access from the device the pool is resident on". */
        if (map[i].flags != ACCESS_READ_WRITE &&
            (map[i].flags != ACCESS_NONE || map[i].location.id == pool->device))
            return leave(CUDA_ERROR_INVALID_VALUE);
        const uint32_t bit = UINT32_C(1) << map[i].location.id;
        devices = map[i].flags == ACCESS_NONE ? devices & ~bit : devices | bit;
    }
    pool->devices = devices;
    for (const Block *block = blocks.next; block != NULL; block = block->next)
        if (block->pool == pool) sg_mem_share(block->address, devices);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemPoolGetAccess(int *flags, CUmemoryPool handle, CUmemLocation *location) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Pool *pool = FIND(Pool, POOL, handle);
    if (pool == NULL || flags == NULL || location == NULL ||
        location->type != CU_MEM_LOCATION_TYPE_DEVICE || location->id < 0 ||
        location->id >= driver.device_count)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const bool may = location->id == pool->device || (pool->devices >> location->id & 1) != 0;
    *flags = may ? ACCESS_READ_WRITE : ACCESS_NONE;
    return leave(CUDA_SUCCESS);
}

/* Allocation ------------------------------------------------------------------ */

static CUresult enter_stream(CUstream handle, Context **context, Stream **stream) {
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, context);
    if (result != CUDA_SUCCESS) return result;
    result = stream_find(*context, handle, stream);
    if (result == CUDA_SUCCESS && (*stream)->capture == NULL)
        result = capture_check_legacy(*context, *stream);
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

/* "The allocation is owned by the graph instead of the memory pool. The memory pool's properties
 * are used to set the node's creation parameters." */
static CUresult capture_alloc(Stream *stream, const Pool *pool, size_t bytes, CUdeviceptr *out) {
    CUmemAccessDesc access[MAX_DEVICES];
    CUDA_MEM_ALLOC_NODE_PARAMS params = {
        .poolProps = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                      .location = {CU_MEM_LOCATION_TYPE_DEVICE, pool->device},
                      .maxSize = pool->max_size},
        .accessDescs = access,
        .bytesize = bytes};
    for (int i = 0; i < driver.device_count; i++)
        if ((pool->devices >> i & 1) != 0)
            access[params.accessDescCount++] =
                (CUmemAccessDesc){{CU_MEM_LOCATION_TYPE_DEVICE, i}, ACCESS_READ_WRITE};
    Work work;
    CUdeviceptr address;
    CUresult result = graph_alloc_work(stream->capture->graph, &params, &work, &address);
    if (result == CUDA_SUCCESS) result = capture_add(stream, work);
    if (result == CUDA_SUCCESS) *out = address;
    return result;
}

/* "Must therefore be passed the address of a graph allocation." */
static CUresult capture_free(Stream *stream, CUdeviceptr address) {
    const Graph *graph = stream->capture->graph;
    Work work;
    CUresult result = graph_free_work(graph, address, &work);
    if (result == CUDA_SUCCESS) result = capture_add(stream, work);
    if (result == CUDA_SUCCESS) graph_free_added(graph, address);
    return result;
}

static CUresult pool_alloc(Context *context, Pool *pool, size_t bytes, CUdeviceptr *out) {
    const GpuModel *model = driver.devices[pool->device].model;
    uint64_t at = 0;
    if (pool->max_size != 0 && (bytes > pool->max_size || pool->used > pool->max_size - bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *owner = context->object.handle;
    if (sg_mem_alloc(pool->device, owner, bytes, (uint64_t)model->dram_bytes, &at, NULL) != ST_OK)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (block_add(at, pool, bytes, owner) == NULL) {
        sg_mem_free(at, NULL);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = at;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool handle,
                                 CUstream stream_handle) {
    Context *context = NULL;
    Stream *stream = NULL;
    const CUresult result = enter_stream(stream_handle, &context, &stream);
    if (result != CUDA_SUCCESS) return result;
    Pool *pool = FIND(Pool, POOL, handle);
    if (address == NULL || bytes == 0 || pool == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (stream->capture != NULL) return leave(capture_alloc(stream, pool, bytes, address));
    return leave(pool_alloc(context, pool, bytes, address));
}

CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream_handle) {
    Context *context = NULL;
    Stream *stream = NULL;
    const CUresult result = enter_stream(stream_handle, &context, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (address == NULL || bytes == 0) return leave(CUDA_ERROR_INVALID_VALUE);
    if (pool_default(context->device) == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    Pool *pool = driver.devices[context->device].pool;
    if (stream->capture != NULL) return leave(capture_alloc(stream, pool, bytes, address));
    return leave(pool_alloc(context, pool, bytes, address));
}

/* Also for memory of cuMemAlloc (programming guide, "Stream Ordered Memory Allocator"). */
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream_handle) {
    Context *context = NULL;
    Stream *stream = NULL;
    CUresult result = enter_stream(stream_handle, &context, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (stream->capture != NULL) return leave(capture_free(stream, address));
    GraphMemory *memory;
    if (graph_memory_find(address, &memory)) return leave(graph_memory_free_async(memory, stream));
    const SgAllocation *found = sg_mem_find(address);
    if (found == NULL || !found->live || found->base != address || pool_is_freeing(found) ||
        found->kind != SG_MEM_DEVICE || FIND(Context, CONTEXT, found->owner) == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    Block *block = found->note;
    if (block == NULL) block = block_add(address, NULL, found->size, found->owner);
    if (block == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    Work work = {.kind = WORK_FREE};
    work.u.memory.address = (void *)(uintptr_t)address;
    result = stream_enqueue(stream, work, NULL, 0, NULL);
    block->freeing = result == CUDA_SUCCESS;
    return leave(result);
}
