/* Executable graphs changed: parameters of one node, or of all from another graph.
 *
 * A launch that is pending keeps the nodes it was launched with: while there is one, the change is
 * made to a copy that takes the handle over. Invariant: the topology of an exec never changes. */
#include "softgpu/driver/state.h"

#include "base/mem.h"

/* Gives the handle of `old`, and its place in the context's list, to `fresh`. */
static void exec_replace(Graph *old, Graph *fresh) {
    fresh->flags = old->flags;
    fresh->last = ticket_hold(old->last);
    object_swap(&old->object, &fresh->object);
    graph_remove(old);
}

/* The exec itself or, while a launch of it is pending, a copy. NULL: no memory. */
static Graph *exec_writable(Graph *exec) {
    Graph *copy = exec;
    if (exec->references > 1 && graph_copy(exec, OBJECT_EXEC, exec->object.context, &copy) != ST_OK)
        return NULL;
    return copy;
}

static void exec_commit(Graph *exec, Graph *written) {
    if (written != exec) exec_replace(exec, written);
}

/* The node of `exec` that was made from that node of its graph. */
static GraphNode *exec_node(const Graph *exec, CUgraphNode origin) {
    for (size_t i = 0; exec != NULL && origin != NULL && i < exec->count; i++)
        if (exec->nodes[i]->origin == (const void *)origin) return exec->nodes[i];
    return NULL;
}

/* Takes the work in every case. Called with the lock. */
CUresult exec_set(CUgraphExec handle, CUgraphNode origin, Work work) {
    Graph *exec = FIND(Graph, EXEC, handle);
    const GraphNode *node = exec_node(exec, origin);
    CUresult result = CUDA_SUCCESS;
    if (node == NULL || node->work.kind != work.kind) result = CUDA_ERROR_INVALID_VALUE;
    /* "the function's owning context cannot change" */
    if (result == CUDA_SUCCESS && work.kind == WORK_KERNEL &&
        FIND(Function, FUNCTION, work.u.kernel.function)->object.context != exec->object.context)
        result = CUDA_ERROR_INVALID_VALUE;
    Graph *written = result == CUDA_SUCCESS ? exec_writable(exec) : NULL;
    if (result == CUDA_SUCCESS && written == NULL) result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        work_free(&work);
        return result;
    }
    Work *place = &written->nodes[node->index]->work;
    work_free(place);
    *place = work;
    exec_commit(exec, written);
    return CUDA_SUCCESS;
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS *params) {
    Context *context = NULL;
    Work work;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (params == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    const Function *f = FIND(Function, FUNCTION, params->func);
    result = kernel_work(f != NULL ? f->object.context : context, params, false, &work);
    return leave(result != CUDA_SUCCESS ? result : exec_set(exec, node, work));
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_KERNEL_NODE_PARAMS_v1 *p) {
    if (p == NULL) return cuGraphExecKernelNodeSetParams_v2(exec, node, NULL);
    const CUDA_KERNEL_NODE_PARAMS all = {.func = p->func,
                                         .gridDimX = p->gridDimX,
                                         .gridDimY = p->gridDimY,
                                         .gridDimZ = p->gridDimZ,
                                         .blockDimX = p->blockDimX,
                                         .blockDimY = p->blockDimY,
                                         .blockDimZ = p->blockDimZ,
                                         .sharedMemBytes = p->sharedMemBytes,
                                         .kernelParams = p->kernelParams,
                                         .extra = p->extra};
    return cuGraphExecKernelNodeSetParams_v2(exec, node, &all);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMCPY3D *box, CUcontext context) {
    Work work;
    CopyInfo info;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Context, CONTEXT, context) == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    result = box == NULL ? CUDA_ERROR_INVALID_VALUE : copy_work(box, &work, &info);
    return leave(result != CUDA_SUCCESS ? result : exec_set(exec, node, work));
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS *rows, CUcontext context) {
    Work work;
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Context, CONTEXT, context) == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    result = rows == NULL ? CUDA_ERROR_INVALID_VALUE : fill_work(rows, &work);
    return leave(result != CUDA_SUCCESS ? result : exec_set(exec, node, work));
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                      const CUDA_HOST_NODE_PARAMS *params) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (params == NULL || params->fn == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    Work work = {.kind = WORK_HOST};
    work.u.host.function = params->fn;
    work.u.host.data = params->userData;
    return leave(exec_set(exec, node, work));
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Event, EVENT, event) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    Work work = {.kind = WORK_EVENT};
    work.u.event.event = event;
    return leave(exec_set(exec, node, work));
}

/* "Only kernel, memset and memcpy nodes can be enabled and disabled." */
static GraphNode *switch_node(const Graph *exec, CUgraphNode origin) {
    GraphNode *node = exec_node(exec, origin);
    if (node == NULL) return NULL;
    const WorkKind kind = node->work.kind;
    return kind == WORK_KERNEL || kind == WORK_FILL || kind == WORK_COPY ? node : NULL;
}

CUresult cuGraphNodeSetEnabled(CUgraphExec handle, CUgraphNode origin, unsigned int enabled) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Graph *exec = FIND(Graph, EXEC, handle);
    const GraphNode *node = switch_node(exec, origin);
    if (node == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    Graph *written = exec_writable(exec);
    if (written == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    written->nodes[node->index]->disabled = enabled == 0;
    exec_commit(exec, written);
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphNodeGetEnabled(CUgraphExec handle, CUgraphNode origin, unsigned int *enabled) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = switch_node(FIND(Graph, EXEC, handle), origin);
    if (node == NULL || enabled == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *enabled = !node->disabled;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphExecGetFlags(CUgraphExec handle, uint64_t *flags) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *exec = FIND(Graph, EXEC, handle);
    if (exec == NULL || flags == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = exec->flags;
    return leave(CUDA_SUCCESS);
}

/* Whole-graph update ---------------------------------------------------------- */

static bool needs_index(const GraphNode *node, size_t index) {
    for (size_t k = 0; k < node->need_count; k++)
        if (node->needs[k] == index) return true;
    return false;
}

static bool needs_equal(const GraphNode *a, const GraphNode *b) {
    if (a->need_count != b->need_count) return false;
    for (size_t k = 0; k < a->need_count; k++)
        if (!needs_index(b, a->needs[k])) return false;
    return true;
}

/* Whether `to` may take the place of `from`, both in execution order; *bad: where not. */
static int difference(const Graph *from, const Graph *to, const Context *context,
                      const GraphNode **bad) {
    *bad = NULL;
    if (from->count != to->count) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    for (size_t i = 0; i < from->count; i++) {
        const GraphNode *a = from->nodes[i], *b = to->nodes[i];
        *bad = b;
        if (!needs_equal(a, b)) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        if (a->work.kind != b->work.kind) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        if (!node_alive(b)) return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
        if (a->work.kind == WORK_KERNEL &&
            FIND(Function, FUNCTION, b->work.u.kernel.function)->object.context != context)
            return CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED;
        if (a->work.kind != WORK_GRAPH) continue;
        const GraphNode *inner;
        const int result =
            difference(a->work.u.graph.graph, b->work.u.graph.graph, context, &inner);
        if (result != CU_GRAPH_EXEC_UPDATE_SUCCESS) return result;
    }
    *bad = NULL;
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

/* "as though the nodes contained in hNode's graph had the parameters contained in childGraph's
 * nodes at instantiation". */
CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec handle, CUgraphNode origin,
                                            CUgraph child_handle) {
    Context *context = NULL;
    Work work;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    const Graph *exec = FIND(Graph, EXEC, handle), *child = FIND(Graph, GRAPH, child_handle);
    const GraphNode *node = exec_node(exec, origin), *bad;
    if (node == NULL || node->work.kind != WORK_GRAPH || !node->work.u.graph.graph->embedded ||
        child == NULL || graph_is_captured(child) || graph_memory_node(child) != NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const Status st = graph_embed(child, true, &work);
    if (st != ST_OK) return leave(graph_copy_error(st));
    if (difference(node->work.u.graph.graph, work.u.graph.graph, exec->object.context, &bad) ==
        CU_GRAPH_EXEC_UPDATE_SUCCESS)
        return leave(exec_set(handle, origin, work));
    work_free(&work);
    return leave(CUDA_ERROR_INVALID_VALUE);
}

/* The new nodes stand for the nodes that the exec was made from, and keep what was switched off. */
static void identity_keep(const Graph *exec, Graph *fresh) {
    for (size_t i = 0; i < exec->count; i++) {
        fresh->nodes[i]->origin = exec->nodes[i]->origin;
        fresh->nodes[i]->disabled = exec->nodes[i]->disabled;
    }
}

static CUresult update(Graph *exec, const Graph *graph, CUgraphExecUpdateResultInfo *info) {
    Graph *fresh = NULL;
    const GraphNode *bad = graph_memory_node(graph);
    /* An allocation has one instance, with its own address. */
    if (bad != NULL || graph_memory_node(exec) != NULL) {
        info->result = CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED;
        info->errorNode = bad == NULL ? NULL : bad->object.handle;
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    const Status st = graph_copy(graph, OBJECT_EXEC, exec->object.context, &fresh);
    if (st == ST_NO_MEMORY) return CUDA_ERROR_OUT_OF_MEMORY;
    info->result = st != ST_OK ? CU_GRAPH_EXEC_UPDATE_ERROR
                               : difference(exec, fresh, exec->object.context, &bad);
    if (info->result != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
        if (bad != NULL) info->errorNode = (CUgraphNode)(uintptr_t)bad->origin;
        if (fresh != NULL) graph_remove(fresh);
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    }
    identity_keep(exec, fresh);
    exec_replace(exec, fresh);
    return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec_handle, CUgraph graph_handle,
                              CUgraphExecUpdateResultInfo *info) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    Graph *exec = FIND(Graph, EXEC, exec_handle);
    const Graph *graph = FIND(Graph, GRAPH, graph_handle);
    if (exec == NULL || graph == NULL || graph_is_captured(graph) || info == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *info = (CUgraphExecUpdateResultInfo){.result = CU_GRAPH_EXEC_UPDATE_ERROR};
    return leave(update(exec, graph, info));
}

CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode *bad_node, int *why) {
    CUgraphExecUpdateResultInfo info = {.result = CU_GRAPH_EXEC_UPDATE_ERROR};
    const CUresult result = cuGraphExecUpdate_v2(exec, graph, &info);
    if (bad_node != NULL) *bad_node = info.errorNode;
    if (why != NULL) *why = info.result;
    return result;
}
