/* Graph nodes that wait for events, and the call for nodes of any kind, which is not played.
 *
 * A launch waits for the records, made before it, of all events that its wait nodes name, before
 * its first node: later than asked for by nodes that do not depend on one, never earlier. The
 * call that adds nodes of any kind is refused with NOT_SUPPORTED, which the driver documents. */
#include "softgpu/driver/state.h"

#include "base/mem.h"

static Work wait_for(CUevent event) {
    Work work = {.kind = WORK_EVENT_WAIT};
    work.u.event.event = event;
    return work;
}

CUresult cuGraphAddEventWaitNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                                 size_t count, CUevent event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Event, EVENT, event) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    return leave(node_add(out, graph, needs, count, wait_for(event)));
}

CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode handle, CUevent *event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const GraphNode *node = FIND(GraphNode, NODE, handle);
    if (node == NULL || node->work.kind != WORK_EVENT_WAIT || event == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *event = node->work.u.event.event;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Event, EVENT, event) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    return leave(node_set(node, wait_for(event)));
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Event, EVENT, event) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    return leave(exec_set(exec, node, wait_for(event)));
}

size_t graph_waits(const Graph *graph, Ticket **out, size_t room) {
    size_t count = 0;
    for (size_t i = 0; i < graph->count; i++) {
        const Work *work = &graph->nodes[i]->work;
        if (work->kind == WORK_GRAPH) {
            const size_t used = count < room ? count : room;
            count += graph_waits(work->u.graph.graph, out + used, room - used);
        }
        if (work->kind != WORK_EVENT_WAIT) continue;
        const Event *event = FIND(Event, EVENT, work->u.event.event);
        if (event == NULL || event->ticket == NULL) continue; /* never recorded */
        if (count < room) out[count] = event->ticket;
        count++;
    }
    return count;
}

static CUresult not_played(void) {
    const CUresult result = enter(0, NULL);
    return result != CUDA_SUCCESS ? result : leave(CUDA_ERROR_NOT_SUPPORTED);
}

CUresult cuGraphAddNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs, size_t count,
                        void *params) {
    (void)out, (void)graph, (void)needs, (void)count, (void)params;
    return not_played();
}
CUresult cuGraphAddNode_v2(CUgraphNode *out, CUgraph graph, const CUgraphNode *needs,
                           const CUgraphEdgeData *edges, size_t count, void *params) {
    (void)out, (void)graph, (void)needs, (void)edges, (void)count, (void)params;
    return not_played();
}
