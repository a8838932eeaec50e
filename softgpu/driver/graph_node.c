/* Graphs built and asked by hand: nodes, their parameters, dependencies.
 *
 * A node takes a copy of its parameters, of kernels too, when it is made or set; what the caller's
 * pointers hold later changes nothing. Nodes that wait for events: graph_event.c; those that
 * allocate and free memory: graph_memory.c. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Finding --------------------------------------------------------------------- */

/* A node that the program may change; NULL: none. Those of execs have no handles of the program. */
static GraphNode *node_find(CUgraphNode handle) {
    GraphNode *node = FIND(GraphNode, NODE, handle);
    return node != NULL && node->graph->object.kind == OBJECT_GRAPH ? node : NULL;
}

static GraphNode *node_of_kind(CUgraphNode handle, WorkKind kind) {
    GraphNode *node = node_find(handle);
    return node != NULL && node->work.kind == kind ? node : NULL;
}

/* The indices of `needs` in `graph`; owned by the caller. INVALID_VALUE: one of another graph, or
 * one twice. */
static CUresult needs_find(const Graph *graph, const CUgraphNode *needs, size_t count,
                           size_t **out) {
    *out = NULL;
    if (needs == NULL && count > 0) return CUDA_ERROR_INVALID_VALUE;
    size_t *indices = mem_alloc((count + 1) * sizeof *indices);
    if (indices == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const GraphNode *node = node_find(needs[i]);
        bool wrong = node == NULL || node->graph != graph;
        if (!wrong) indices[i] = node->index;
        for (size_t k = 0; !wrong && k < i; k++) wrong = indices[k] == indices[i];
        if (!wrong) continue;
        mem_free(indices);
        return CUDA_ERROR_INVALID_VALUE;
    }
    *out = indices;
    return CUDA_SUCCESS;
}

/* Takes the work in every case. Called with the lock. */
CUresult node_add(CUgraphNode *out, CUgraph handle, const CUgraphNode *needs, size_t count,
                  Work work) {
    Graph *graph = FIND(Graph, GRAPH, handle);
    size_t *indices = NULL;
    CUresult result = out == NULL || graph == NULL ? CUDA_ERROR_INVALID_VALUE
                                                   : needs_find(graph, needs, count, &indices);
    if (result != CUDA_SUCCESS) {
        work_free(&work);
        return result;
    }
    const GraphNode *node = graph_add(graph, work, indices, count);
    mem_free(indices);
    if (node == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    *out = node->object.handle;
    return CUDA_SUCCESS;
}

/* Adding ---------------------------------------------------------------------- */

static CUDA_KERNEL_NODE_PARAMS params_of(const CUDA_KERNEL_NODE_PARAMS_v1 *p) {
    return (CUDA_KERNEL_NODE_PARAMS){p->func,         p->gridDimX,  p->gridDimY,  p->gridDimZ,
                                     p->blockDimX,    p->blockDimY, p->blockDimZ, p->sharedMemBytes,
                                     p->kernelParams, p->extra,     NULL,         NULL};
}

/* Enters for a kernel node: in the context that it names, else the current one. */
static CUresult enter_kernel(const CUDA_KERNEL_NODE_PARAMS *p, Work *work) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (p == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (p->ctx != NULL) context = FIND(Context, CONTEXT, p->ctx);
    if (context == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    const Function *f = FIND(Function, FUNCTION, p->func);
    if (f != NULL) context = f->object.context; /* it names its context itself */
    result = kernel_work(context, p, false, work);
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                                 size_t count, const CUDA_KERNEL_NODE_PARAMS *params) {
    Work work;
    const CUresult result = enter_kernel(params, &work);
    return result != CUDA_SUCCESS ? result : leave(node_add(out, graph, needs, count, work));
}

CUresult cuGraphAddKernelNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                              size_t count, const CUDA_KERNEL_NODE_PARAMS_v1 *params) {
    if (params == NULL) return cuGraphAddKernelNode_v2(out, graph, needs, count, NULL);
    const CUDA_KERNEL_NODE_PARAMS p = params_of(params);
    return cuGraphAddKernelNode_v2(out, graph, needs, count, &p);
}

/* Enters; an empty copy or fill is no node. */
static CUresult enter_copy(const CUDA_MEMCPY3D *box, CUcontext context, Work *work) {
    CopyInfo info;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Context, CONTEXT, context) == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    result = box == NULL ? CUDA_ERROR_INVALID_VALUE : copy_work(box, work, &info);
    if (result == CUDA_SUCCESS && work->kind == WORK_EMPTY) result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

static CUresult enter_fill(const CUDA_MEMSET_NODE_PARAMS *rows, CUcontext context, Work *work) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Context, CONTEXT, context) == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    result = rows == NULL ? CUDA_ERROR_INVALID_VALUE : fill_work(rows, work);
    if (result == CUDA_SUCCESS && work->kind == WORK_EMPTY) result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

static CUresult enter_host(const CUDA_HOST_NODE_PARAMS *params, Work *work) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (params == NULL || params->fn == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *work = (Work){.kind = WORK_HOST};
    work->u.host.function = params->fn;
    work->u.host.data = params->userData;
    return CUDA_SUCCESS;
}

CUresult cuGraphAddMemcpyNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                              size_t count, const CUDA_MEMCPY3D *box, CUcontext context) {
    Work work;
    const CUresult result = enter_copy(box, context, &work);
    return result != CUDA_SUCCESS ? result : leave(node_add(out, graph, needs, count, work));
}

CUresult cuGraphAddMemsetNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                              size_t count, const CUDA_MEMSET_NODE_PARAMS *rows,
                              CUcontext context) {
    Work work;
    const CUresult result = enter_fill(rows, context, &work);
    return result != CUDA_SUCCESS ? result : leave(node_add(out, graph, needs, count, work));
}

CUresult cuGraphAddHostNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs, size_t count,
                            const CUDA_HOST_NODE_PARAMS *params) {
    Work work;
    const CUresult result = enter_host(params, &work);
    return result != CUDA_SUCCESS ? result : leave(node_add(out, graph, needs, count, work));
}

CUresult cuGraphAddEmptyNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                             size_t count) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    return leave(node_add(out, graph, needs, count, (Work){.kind = WORK_EMPTY}));
}

CUresult cuGraphAddEventRecordNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                                   size_t count, CUevent event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Event, EVENT, event) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    Work work = {.kind = WORK_EVENT};
    work.u.event.event = event;
    return leave(node_add(out, graph, needs, count, work));
}

/* "The node executes an embedded graph; the child graph is cloned in this call." */
CUresult cuGraphAddChildGraphNode(CUgraphNode *out, CUgraph handle, const CUgraphNode *needs,
                                  size_t count, CUgraph child_handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *child = FIND(Graph, GRAPH, child_handle);
    Work work;
    /* "If childGraph contains allocation nodes, free nodes": an error. */
    if (child == NULL || graph_is_captured(child) || graph_memory_node(child) != NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const Status st = graph_embed(child, false, &work);
    if (st != ST_OK) return leave(graph_copy_error(st));
    return leave(node_add(out, handle, needs, count, work));
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph *out) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = node_of_kind(handle, WORK_GRAPH);
    if (node == NULL || out == NULL || !node->work.u.graph.graph->embedded)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *out = node->work.u.graph.graph->object.handle;
    return leave(CUDA_SUCCESS);
}

/* Parameters ------------------------------------------------------------------ */

/* Replaces what the node does; its kind stays. Takes the work in every case. */
CUresult node_set(CUgraphNode handle, Work work) {
    GraphNode *node = node_of_kind(handle, work.kind);
    if (node == NULL) {
        work_free(&work);
        return CUDA_ERROR_INVALID_VALUE;
    }
    work_free(&node->work);
    node->work = work;
    mem_free(node->view);
    node->view = NULL;
    return CUDA_SUCCESS;
}

/* Pointers to each parameter in the node's own copy, valid until the node changes. */
static CUresult view_make(GraphNode *node, const SgKernelInfo *info) {
    mem_free(node->view);
    node->view = mem_alloc((info->param_count + 1) * sizeof *node->view);
    if (node->view == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < info->param_count; i++)
        node->view[i] = (char *)node->work.u.kernel.params + info->param_offset[i];
    return CUDA_SUCCESS;
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS *p) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    GraphNode *node = node_of_kind(handle, WORK_KERNEL);
    if (node == NULL || p == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    const Function *f = FIND(Function, FUNCTION, node->work.u.kernel.function);
    if (f == NULL) return leave(CUDA_ERROR_INVALID_VALUE); /* its module was unloaded */
    result = view_make(node, f->info);
    if (result != CUDA_SUCCESS) return leave(result);
    const uint32_t *grid = node->work.u.kernel.grid, *block = node->work.u.kernel.block;
    *p = (CUDA_KERNEL_NODE_PARAMS){.func = f->object.handle,
                                   .gridDimX = grid[0],
                                   .gridDimY = grid[1],
                                   .gridDimZ = grid[2],
                                   .blockDimX = block[0],
                                   .blockDimY = block[1],
                                   .blockDimZ = block[2],
                                   .sharedMemBytes = node->work.u.kernel.dynamic_smem,
                                   .kernelParams = f->info->param_count > 0 ? node->view : NULL,
                                   .ctx = f->object.context->object.handle};
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v1 *p) {
    CUDA_KERNEL_NODE_PARAMS all;
    if (p == NULL) return cuGraphKernelNodeGetParams_v2(handle, NULL);
    const CUresult result = cuGraphKernelNodeGetParams_v2(handle, &all);
    if (result == CUDA_SUCCESS) memcpy(p, &all, sizeof *p); /* the newer struct begins alike */
    return result;
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params) {
    Work work;
    const CUresult result = enter_kernel(params, &work);
    return result != CUDA_SUCCESS ? result : leave(node_set(node, work));
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1 *params) {
    if (params == NULL) return cuGraphKernelNodeSetParams_v2(node, NULL);
    const CUDA_KERNEL_NODE_PARAMS p = params_of(params);
    return cuGraphKernelNodeSetParams_v2(node, &p);
}

/* The node's own box begins at its first byte; pageable memory is told as such. */
CUresult cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUDA_MEMCPY3D *box) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = node_of_kind(handle, WORK_COPY);
    if (node == NULL || box == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    const Work *w = &node->work;
    const uint64_t to = (uint64_t)(uintptr_t)w->u.copy.to;
    const uint64_t from = (uint64_t)(uintptr_t)w->u.copy.from;
    *box = (CUDA_MEMCPY3D){.WidthInBytes = w->u.copy.bytes,
                           .Height = w->u.copy.rows,
                           .Depth = w->u.copy.planes,
                           .dstPitch = w->u.copy.to_pitch,
                           .srcPitch = w->u.copy.from_pitch};
    if (box->dstPitch > 0) box->dstHeight = w->u.copy.to_plane / box->dstPitch;
    if (box->srcPitch > 0) box->srcHeight = w->u.copy.from_plane / box->srcPitch;
    const bool to_host = place_of(to, 1) == PLACE_PAGEABLE;
    const bool from_host = place_of(from, 1) == PLACE_PAGEABLE;
    box->dstMemoryType = to_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    box->srcMemoryType = from_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    if (to_host)
        box->dstHost = w->u.copy.to;
    else
        box->dstDevice = to;
    if (from_host)
        box->srcHost = w->u.copy.from;
    else
        box->srcDevice = from;
    return leave(CUDA_SUCCESS);
}

/* The set calls take no context: that of the node, which every address here has anyway. */
CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D *box) {
    Work work;
    CopyInfo info;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    result = box == NULL ? CUDA_ERROR_INVALID_VALUE : copy_work(box, &work, &info);
    return leave(result != CUDA_SUCCESS ? result : node_set(node, work));
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS *rows) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = node_of_kind(handle, WORK_FILL);
    if (node == NULL || rows == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *rows = (CUDA_MEMSET_NODE_PARAMS){.dst = (CUdeviceptr)(uintptr_t)node->work.u.fill.to,
                                      .pitch = node->work.u.fill.pitch,
                                      .value = node->work.u.fill.value,
                                      .elementSize = (unsigned int)node->work.u.fill.width,
                                      .width = node->work.u.fill.count,
                                      .height = node->work.u.fill.rows};
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *rows) {
    Work work;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    result = rows == NULL ? CUDA_ERROR_INVALID_VALUE : fill_work(rows, &work);
    return leave(result != CUDA_SUCCESS ? result : node_set(node, work));
}

CUresult cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS *params) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = node_of_kind(handle, WORK_HOST);
    if (node == NULL || params == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    params->fn = node->work.u.host.function;
    params->userData = node->work.u.host.data;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS *params) {
    Work work;
    const CUresult result = enter_host(params, &work);
    return result != CUDA_SUCCESS ? result : leave(node_set(node, work));
}

CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode handle, CUevent *event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = node_of_kind(handle, WORK_EVENT);
    if (node == NULL || event == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *event = node->work.u.event.event;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Event, EVENT, event) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    Work work = {.kind = WORK_EVENT};
    work.u.event.event = event;
    return leave(node_set(node, work));
}

/* Queries --------------------------------------------------------------------- */

/* Where a list of nodes goes: counted when `out` is NULL, else at most *count, the rest cleared. */
typedef struct List {
    CUgraphNode *from, *to; /* `from` only for edges */
    size_t room, count;
} List;

static void list_put(List *list, const GraphNode *from, const GraphNode *to) {
    if (list->from != NULL && list->count < list->room)
        list->from[list->count] = from->object.handle;
    if (list->to != NULL && list->count < list->room) list->to[list->count] = to->object.handle;
    list->count++;
}

/* "If numNodes is higher than the actual number of nodes, the remaining entries will be set to
 * NULL, and the number of nodes actually obtained will be returned." */
static CUresult list_end(const List *list, size_t *count) {
    for (size_t i = list->count; i < list->room; i++) {
        if (list->from != NULL) list->from[i] = NULL;
        if (list->to != NULL) list->to[i] = NULL;
    }
    if (list->to == NULL || list->count < list->room) *count = list->count;
    return leave(CUDA_SUCCESS);
}

static CUresult graph_list(CUgraph handle, CUgraphNode *nodes, size_t *count, bool roots) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = FIND(Graph, GRAPH, handle);
    if (graph == NULL || count == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    List list = {NULL, nodes, nodes == NULL ? 0 : *count, 0};
    for (size_t i = 0; i < graph->count; i++)
        if (!roots || graph->nodes[i]->need_count == 0) list_put(&list, NULL, graph->nodes[i]);
    return list_end(&list, count);
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    return graph_list(graph, nodes, count, false);
}

CUresult cuGraphGetRootNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    return graph_list(graph, nodes, count, true);
}

/* Edges carry no data here: all zero, which means full dependence. */
static void edges_clear(CUgraphEdgeData *edges, const size_t *count) {
    if (edges != NULL && count != NULL) memset(edges, 0, *count * sizeof *edges);
}

CUresult cuGraphGetEdges_v2(CUgraph handle, CUgraphNode *from, CUgraphNode *to,
                            CUgraphEdgeData *edges, size_t *count) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = FIND(Graph, GRAPH, handle);
    if (graph == NULL || count == NULL || (from == NULL) != (to == NULL))
        return leave(CUDA_ERROR_INVALID_VALUE);
    edges_clear(to == NULL ? NULL : edges, count);
    List list = {from, to, to == NULL ? 0 : *count, 0};
    for (size_t i = 0; i < graph->count; i++)
        for (size_t k = 0; k < graph->nodes[i]->need_count; k++)
            list_put(&list, graph->nodes[graph->nodes[i]->needs[k]], graph->nodes[i]);
    return list_end(&list, count);
}

CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *count) {
    return cuGraphGetEdges_v2(graph, from, to, NULL, count);
}

static bool needs_node(const GraphNode *node, size_t index) {
    for (size_t k = 0; k < node->need_count; k++)
        if (node->needs[k] == index) return true;
    return false;
}

static CUresult neighbours(CUgraphNode handle, CUgraphNode *nodes, CUgraphEdgeData *edges,
                           size_t *count, bool dependents) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = node_find(handle);
    if (node == NULL || count == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    edges_clear(nodes == NULL ? NULL : edges, count);
    List list = {NULL, nodes, nodes == NULL ? 0 : *count, 0};
    const Graph *graph = node->graph;
    for (size_t i = 0; i < graph->count; i++)
        if (dependents ? needs_node(graph->nodes[i], node->index) : needs_node(node, i))
            list_put(&list, NULL, graph->nodes[i]);
    return list_end(&list, count);
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *nodes, CUgraphEdgeData *edges,
                                       size_t *count) {
    return neighbours(node, nodes, edges, count, false);
}

CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *nodes, size_t *count) {
    return neighbours(node, nodes, NULL, count, false);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *nodes,
                                         CUgraphEdgeData *edges, size_t *count) {
    return neighbours(node, nodes, edges, count, true);
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode *nodes, size_t *count) {
    return neighbours(node, nodes, NULL, count, true);
}

CUresult cuGraphNodeGetType(CUgraphNode handle, int *type) {
    static const int types[] = {[WORK_EMPTY] = CU_GRAPH_NODE_TYPE_EMPTY,
                                [WORK_KERNEL] = CU_GRAPH_NODE_TYPE_KERNEL,
                                [WORK_COPY] = CU_GRAPH_NODE_TYPE_MEMCPY,
                                [WORK_FILL] = CU_GRAPH_NODE_TYPE_MEMSET,
                                [WORK_HOST] = CU_GRAPH_NODE_TYPE_HOST,
                                [WORK_CALLBACK] = CU_GRAPH_NODE_TYPE_HOST,
                                [WORK_GRAPH] = CU_GRAPH_NODE_TYPE_GRAPH,
                                [WORK_EVENT] = CU_GRAPH_NODE_TYPE_EVENT_RECORD,
                                [WORK_EVENT_WAIT] = CU_GRAPH_NODE_TYPE_WAIT_EVENT,
                                [WORK_ALLOC] = CU_GRAPH_NODE_TYPE_MEM_ALLOC,
                                [WORK_FREE] = CU_GRAPH_NODE_TYPE_MEM_FREE,
                                [WORK_WAIT_VALUE] = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP,
                                [WORK_WRITE_VALUE] = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP};
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = FIND(GraphNode, NODE, handle);
    if (node == NULL || type == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *type = types[node->work.kind];
    return leave(CUDA_SUCCESS);
}
