/* Memory that graphs allocate and free.
 *
 * An allocation node has its address from the moment it is made; the memory is there from the
 * node's turn in a launch until it is freed: by a node, in a stream, by cuMemFree, by the next
 * launch of an executable graph that frees by itself. A use outside that time is the fault it is on
 * freed memory. Whether a call is legal is judged in the order of the calls (`allocated`), whether
 * memory is there in the order of execution (sg_mem_ok). The physical memory is the device's at
 * once when it is freed: used and reserved bytes are the same, and trimming finds nothing.
 * Invariant: a GraphMemory lives as long as a node or an operation names it, or its memory is
 * there. Graphs with such nodes have one instance at a time, and are not cloned, embedded, updated
 * as a whole, or made smaller (reference manual, cuGraphAddMemAllocNode). */
#include "softgpu/driver/state.h"

#include <string.h>

#include "base/mem.h"

struct GraphMemory {
    uint64_t address;
    int references;                     /* nodes and operations */
    const void *graph;                  /* handle: with the allocation node */
    const void *context;                /* handle: of the last launch that allocates it */
    bool allocated;                     /* in the order of calls */
    bool freed_within, freed_elsewhere; /* that graph has a free node; another has */
    bool here;                          /* see launch_check */
    uint32_t devices;                   /* besides its own that may use it, a bit each */
    CUDA_MEM_ALLOC_NODE_PARAMS params;  /* accessDescs: owned */
    GraphMemory *prev, *next;
};

static GraphMemory all; /* list head */

static bool is_there(const GraphMemory *memory) {
    return sg_mem_ok(memory->address, memory->params.bytesize);
}

static void memory_forget(GraphMemory *memory) {
    sg_mem_unreserve(memory->address);
    memory->prev->next = memory->next;
    if (memory->next != NULL) memory->next->prev = memory->prev;
    mem_free((void *)(uintptr_t)memory->params.accessDescs);
    mem_free(memory);
}

static GraphMemory *memory_at(uint64_t address) {
    GraphMemory *memory = all.next;
    while (memory != NULL && memory->address != address) memory = memory->next;
    return memory;
}

GraphMemory *graph_memory_hold(GraphMemory *memory) {
    if (memory != NULL) memory->references++;
    return memory;
}

/* "Graph destruction does not automatically free any live graph-allocated memory" (programming
 * guide, graph memory nodes). */
void graph_memory_drop(GraphMemory *memory) {
    if (memory != NULL && --memory->references == 0 && !is_there(memory)) memory_forget(memory);
}

void graph_memory_released(uint64_t address) {
    GraphMemory *memory = memory_at(address);
    if (memory != NULL && memory->references == 0) memory_forget(memory);
}

void graph_memory_forget_context(const void *context) {
    for (GraphMemory *memory = all.next, *next; memory != NULL; memory = next) {
        next = memory->next;
        if (memory->context == context) memory->allocated = false;
        if (memory->references == 0 && !is_there(memory)) memory_forget(memory);
    }
}

static Work memory_work(WorkKind kind, GraphMemory *memory) {
    Work work = {.kind = kind};
    work.u.memory.address = (void *)(uintptr_t)memory->address;
    work.u.memory.graph = graph_memory_hold(memory);
    return work;
}

/* Making ---------------------------------------------------------------------- */

static CUresult access_read(const CUDA_MEM_ALLOC_NODE_PARAMS *p, uint32_t *devices) {
    enum { READ_WRITE = 3 };
    *devices = 0;
    if (p->accessDescCount > (size_t)driver.device_count ||
        (p->accessDescCount > 0 && p->accessDescs == NULL))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < p->accessDescCount; i++) {
        const CUmemAccessDesc *d = &p->accessDescs[i];
        if (d->location.type != CU_MEM_LOCATION_TYPE_DEVICE || d->location.id < 0 ||
            d->location.id >= driver.device_count || d->flags != READ_WRITE)
            return CUDA_ERROR_INVALID_VALUE;
        *devices |= UINT32_C(1) << d->location.id;
    }
    return CUDA_SUCCESS;
}

static CUresult params_check(const CUDA_MEM_ALLOC_NODE_PARAMS *p, uint32_t *devices) {
    const CUmemPoolProps *props = &p->poolProps;
    if (p->bytesize == 0 || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
        props->handleTypes != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (props->location.type == CU_MEM_LOCATION_TYPE_HOST) return CUDA_ERROR_NOT_SUPPORTED;
    if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->location.id < 0 ||
        props->location.id >= driver.device_count)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->bytesize > (size_t)driver.devices[props->location.id].model->dram_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return access_read(p, devices);
}

static CUresult memory_new(const Graph *graph, const CUDA_MEM_ALLOC_NODE_PARAMS *p,
                           GraphMemory **out) {
    uint32_t devices;
    const CUresult result = params_check(p, &devices);
    if (result != CUDA_SUCCESS) return result;
    const size_t bytes = p->accessDescCount * sizeof *p->accessDescs;
    GraphMemory *memory = mem_alloc(sizeof *memory);
    CUmemAccessDesc *access = bytes == 0 ? NULL : mem_alloc(bytes);
    if (memory == NULL || (bytes > 0 && access == NULL) ||
        sg_mem_reserve(p->poolProps.location.id, p->bytesize, &memory->address, NULL) != ST_OK) {
        mem_free(access);
        mem_free(memory);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (bytes > 0) memcpy(access, p->accessDescs, bytes);
    memory->graph = graph->object.handle;
    memory->devices = devices;
    memory->params = *p;
    memory->params.accessDescs = access;
    memory->params.dptr = memory->address;
    memory->prev = &all;
    memory->next = all.next;
    if (all.next != NULL) all.next->prev = memory;
    all.next = memory;
    *out = memory;
    return CUDA_SUCCESS;
}

CUresult graph_alloc_work(const Graph *graph, const CUDA_MEM_ALLOC_NODE_PARAMS *params, Work *work,
                          CUdeviceptr *address) {
    GraphMemory *memory;
    const CUresult result = memory_new(graph, params, &memory);
    if (result != CUDA_SUCCESS) return result;
    *work = memory_work(WORK_ALLOC, memory);
    *address = memory->address;
    return CUDA_SUCCESS;
}

static bool frees(const Graph *graph, const GraphMemory *memory) {
    for (size_t i = 0; i < graph->count; i++) {
        const Work *work = &graph->nodes[i]->work;
        if (work->kind == WORK_FREE && work->u.memory.graph == memory) return true;
    }
    return false;
}

/* "An allocation twice in the same graph; an address that was not returned by an allocation node";
 * "it is not possible to free an allocation in both the owning graph and another graph". */
CUresult graph_free_work(const Graph *graph, uint64_t address, Work *work) {
    GraphMemory *memory = memory_at(address);
    if (memory == NULL || memory->freed_within || frees(graph, memory))
        return CUDA_ERROR_INVALID_VALUE;
    const bool own = memory->graph == graph->object.handle;
    if (own && memory->freed_elsewhere) return CUDA_ERROR_INVALID_VALUE;
    *work = memory_work(WORK_FREE, memory);
    return CUDA_SUCCESS;
}

void graph_free_added(const Graph *graph, uint64_t address) {
    GraphMemory *memory = memory_at(address);
    if (memory->graph == graph->object.handle)
        memory->freed_within = true;
    else
        memory->freed_elsewhere = true;
}

/* Nodes ----------------------------------------------------------------------- */

/* "Allocation and free nodes cannot be added to the returned graph" (of a child graph node). */
static Graph *graph_open(CUgraph handle) {
    Graph *graph = FIND(Graph, GRAPH, handle);
    return graph == NULL || graph->embedded ? NULL : graph;
}

CUresult cuGraphAddMemAllocNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *needs,
                                size_t count, CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    Work work;
    CUdeviceptr address;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = graph_open(handle);
    if (graph == NULL || params == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    result = graph_alloc_work(graph, params, &work, &address);
    if (result == CUDA_SUCCESS) result = node_add(out, handle, needs, count, work);
    if (result == CUDA_SUCCESS) params->dptr = address;
    return leave(result);
}

CUresult cuGraphAddMemFreeNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *needs,
                               size_t count, CUdeviceptr address) {
    Work work;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = graph_open(handle);
    if (graph == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    result = graph_free_work(graph, address, &work);
    if (result == CUDA_SUCCESS) result = node_add(out, handle, needs, count, work);
    if (result == CUDA_SUCCESS) graph_free_added(graph, address);
    return leave(result);
}

CUresult cuGraphMemAllocNodeGetParams(CUgraphNode handle, CUDA_MEM_ALLOC_NODE_PARAMS *params) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = FIND(GraphNode, NODE, handle);
    if (node == NULL || node->work.kind != WORK_ALLOC || params == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *params = node->work.u.memory.graph->params;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphMemFreeNodeGetParams(CUgraphNode handle, CUdeviceptr *address) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = FIND(GraphNode, NODE, handle);
    if (node == NULL || node->work.kind != WORK_FREE || address == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *address = node->work.u.memory.graph->address;
    return leave(CUDA_SUCCESS);
}

/* Launches -------------------------------------------------------------------- */

const GraphNode *graph_memory_node(const Graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        const GraphNode *node = graph->nodes[i];
        if (node->work.kind == WORK_ALLOC || node->work.kind == WORK_FREE) return node;
    }
    return NULL;
}

/* "If any allocations remain unfreed (from a previous launch) and hGraphExec was not instantiated
 * with AUTO_FREE_ON_LAUNCH, the launch will fail with INVALID_VALUE." A graph that frees what
 * another one allocates must find it allocated. */
CUresult graph_memory_check(const Graph *exec) {
    bool legal = true;
    for (size_t i = 0; i < exec->count; i++) {
        const Work *work = &exec->nodes[i]->work;
        if (work->kind != WORK_ALLOC) continue;
        work->u.memory.graph->here = true;
        if (work->u.memory.graph->allocated && (exec->flags & GRAPH_AUTO_FREE) == 0) legal = false;
    }
    for (size_t i = 0; i < exec->count; i++) {
        const Work *work = &exec->nodes[i]->work;
        if (work->kind == WORK_FREE && !work->u.memory.graph->here &&
            !work->u.memory.graph->allocated)
            legal = false;
    }
    for (size_t i = 0; i < exec->count; i++)
        if (exec->nodes[i]->work.kind == WORK_ALLOC)
            exec->nodes[i]->work.u.memory.graph->here = false;
    return legal ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void graph_memory_launched(const Graph *exec) {
    for (size_t i = 0; i < exec->count; i++) {
        const Work *work = &exec->nodes[i]->work;
        if (work->kind != WORK_ALLOC) continue;
        work->u.memory.graph->allocated = true;
        work->u.memory.graph->context = exec->object.context->object.handle;
    }
    for (size_t i = 0; i < exec->count; i++)
        if (exec->nodes[i]->work.kind == WORK_FREE)
            exec->nodes[i]->work.u.memory.graph->allocated = false;
}

/* "Each launch behaves as though it called cuMemFreeAsync for every unfreed allocation." */
void graph_memory_begin(const Graph *exec) {
    for (size_t i = 0; (exec->flags & GRAPH_AUTO_FREE) != 0 && i < exec->count; i++) {
        const Work *work = &exec->nodes[i]->work;
        if (work->kind == WORK_ALLOC && is_there(work->u.memory.graph))
            memory_release(work->u.memory.graph->address);
    }
}

static uint64_t used_bytes(int device) {
    uint64_t bytes = 0;
    for (const GraphMemory *memory = all.next; memory != NULL; memory = memory->next)
        if (memory->params.poolProps.location.id == device && is_there(memory))
            bytes += memory->params.bytesize;
    return bytes;
}

void graph_memory_begin_life(Context *context, GraphMemory *memory) {
    const int at = memory->params.poolProps.location.id;
    Device *device = &driver.devices[at];
    Error err;
    const Status st = sg_mem_back(memory->address, context->object.handle,
                                  (uint64_t)device->model->dram_bytes, &err);
    if (st != ST_OK) {
        err_wrap(&err, "memory of a graph");
        context_fail(context,
                     st == ST_NO_MEMORY ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_ILLEGAL_ADDRESS,
                     err.message);
        return;
    }
    sg_mem_share(memory->address, memory->devices);
    const uint64_t now = used_bytes(at);
    for (size_t i = 0; i < 2; i++)
        if (now > device->graph_high[i]) device->graph_high[i] = now;
}

/* Frees outside of graphs ------------------------------------------------------ */

bool graph_memory_find(uint64_t address, GraphMemory **out) {
    return (*out = memory_at(address)) != NULL;
}

CUresult graph_memory_free_async(GraphMemory *memory, Stream *stream) {
    if (!memory->allocated) return CUDA_ERROR_INVALID_VALUE;
    const CUresult result = stream_enqueue(stream, memory_work(WORK_FREE, memory), NULL, 0, NULL);
    if (result == CUDA_SUCCESS) memory->allocated = false;
    return result;
}

CUresult graph_memory_free(GraphMemory *memory) {
    Context *context = FIND(Context, CONTEXT, memory->context);
    if (!memory->allocated || context == NULL) return CUDA_ERROR_INVALID_VALUE;
    memory->allocated = false; /* nobody else frees it while the lock is released */
    graph_memory_hold(memory);
    CUresult result = context_drain(context);
    if (result == CUDA_SUCCESS && !memory_release(memory->address))
        result = CUDA_ERROR_INVALID_VALUE;
    graph_memory_drop(memory);
    return result;
}

/* Devices --------------------------------------------------------------------- */

enum { USED_CURRENT, USED_HIGH, RESERVED_CURRENT, RESERVED_HIGH };

CUresult cuDeviceGraphMemTrim(CUdevice device) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const bool known = device >= 0 && device < driver.device_count;
    return leave(known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE);
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice device, int attribute, void *value) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (value == NULL || attribute < USED_CURRENT || attribute > RESERVED_HIGH)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const bool high = attribute == USED_HIGH || attribute == RESERVED_HIGH;
    *(uint64_t *)value =
        high ? driver.devices[device].graph_high[attribute == RESERVED_HIGH] : used_bytes(device);
    return leave(CUDA_SUCCESS);
}

/* "High watermark can only be reset to zero": it begins anew at what is used. */
CUresult cuDeviceSetGraphMemAttribute(CUdevice device, int attribute, void *value) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (value == NULL || (attribute != USED_HIGH && attribute != RESERVED_HIGH) ||
        *(const uint64_t *)value != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    driver.devices[device].graph_high[attribute == RESERVED_HIGH] = used_bytes(device);
    return leave(CUDA_SUCCESS);
}
