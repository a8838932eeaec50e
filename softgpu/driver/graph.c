/* Graphs: nodes in an order that respects their dependencies, instantiated and launched.
 *
 * A launch is one operation of its stream. Nodes run one after another on the host; on the modelled
 * time line a node begins when the nodes it needs have ended. Nodes come from stream capture or
 * from graph_node.c; executable graphs are changed in graph_update.c. */
#include "softgpu/driver/state.h"

#include <string.h>

#include "base/mem.h"

Graph *graph_new(ObjectKind kind, Context *context) {
    Graph *graph = mem_alloc(sizeof *graph);
    if (graph == NULL) return NULL;
    graph->references = 1;
    if (!object_add(&graph->object, kind, context)) {
        mem_free(graph);
        return NULL;
    }
    return graph;
}

void node_free(GraphNode *node) {
    if (node->object.kind == OBJECT_NODE) object_remove(&node->object);
    work_free(&node->work);
    mem_free(node->needs);
    mem_free(node->view);
    mem_free(node);
}

void graph_drop(Graph *graph) {
    if (--graph->references > 0) return;
    if (graph->object.kind != OBJECT_NONE) object_remove(&graph->object); /* it was embedded */
    for (size_t i = 0; i < graph->count; i++) node_free(graph->nodes[i]);
    mem_free(graph->nodes);
    ticket_drop(graph->last);
    mem_free(graph);
}

void graph_remove(Graph *graph) {
    object_remove(&graph->object);
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i]->object.kind == OBJECT_NODE) object_remove(&graph->nodes[i]->object);
    graph_drop(graph);
}

GraphNode *graph_add(Graph *graph, Work work, const size_t *needs, size_t need_count) {
    if (graph->count == graph->capacity) {
        const size_t capacity = graph->capacity == 0 ? 16 : graph->capacity * 2;
        GraphNode **nodes = mem_realloc(graph->nodes, capacity * sizeof *nodes);
        if (nodes != NULL) {
            graph->nodes = nodes;
            graph->capacity = capacity;
        }
    }
    GraphNode *node = mem_alloc(sizeof *node);
    size_t *copy = mem_alloc((need_count + 1) * sizeof *copy);
    if (graph->count == graph->capacity || node == NULL || copy == NULL ||
        !object_add(&node->object, OBJECT_NODE, NULL)) {
        mem_free(node);
        mem_free(copy);
        work_free(&work);
        return NULL;
    }
    if (need_count > 0) memcpy(copy, needs, need_count * sizeof *copy);
    node->graph = graph;
    node->index = graph->count;
    node->work = work;
    node->needs = copy;
    node->need_count = need_count;
    graph->nodes[graph->count++] = node;
    return node;
}

Work graph_work(Graph *graph) {
    Work work = {.kind = WORK_GRAPH};
    work.u.graph.graph = graph;
    graph->references++;
    return work;
}

/* Nodes with those of child graphs. */
static size_t graph_size(const Graph *graph) {
    size_t size = graph->count;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i]->work.kind == WORK_GRAPH)
            size += graph_size(graph->nodes[i]->work.u.graph.graph);
    return size;
}

bool graph_prepare(Graph *graph, Work *work) {
    const size_t count = graph_size(graph);
    double *ends = mem_alloc((count + 1) * sizeof *ends);
    Ticket **events = mem_alloc((count + 1) * sizeof *events);
    if (ends == NULL || events == NULL) {
        mem_free(ends);
        mem_free(events);
        *work = (Work){.kind = WORK_EMPTY};
        return false;
    }
    *work = graph_work(graph);
    work->u.graph.ends = ends;
    work->u.graph.events = events;
    work->u.graph.count = count;
    return true;
}

void graph_abandon(Work *work, double start) {
    for (size_t i = 0; i < work->u.graph.count; i++) {
        Ticket *ticket = work->u.graph.events[i];
        if (ticket == NULL || ticket->done) continue;
        ticket->end = start;
        ticket->done = true;
    }
}

/* The nodes of `graph`, which is the launched one or a child in it; `first`: its place in the
 * launch's tables. Returns the seconds it takes. */
static double run_nodes(Context *context, const Graph *graph, const Work *launch, size_t first,
                        double start) {
    double *ends = launch->u.graph.ends + first, last = start;
    size_t inner = first + graph->count;
    for (size_t i = 0; i < graph->count && context->fault == CUDA_SUCCESS; i++) {
        const GraphNode *node = graph->nodes[i];
        double begin = start;
        for (size_t k = 0; k < node->need_count; k++)
            if (ends[node->needs[k]] > begin) begin = ends[node->needs[k]];
        Work step = node->work; /* borrowed: not freed here */
        if (node->disabled) step.kind = WORK_EMPTY;
        if (step.kind == WORK_KERNEL) step.u.kernel.mode = launch->u.graph.mode;
        ends[i] = begin + (step.kind == WORK_GRAPH
                               ? run_nodes(context, step.u.graph.graph, launch, inner, begin)
                               : work_execute(context, &step, begin));
        if (step.kind == WORK_GRAPH) inner += graph_size(step.u.graph.graph);
        if (ends[i] > last) last = ends[i];
        Ticket *ticket = launch->u.graph.events[first + i];
        if (ticket == NULL) continue;
        ticket->end = ends[i];
        ticket->done = true;
        pthread_cond_broadcast(&driver.done);
    }
    return last - start;
}

double graph_execute(Context *context, Work *work, double start) {
    graph_memory_begin(work->u.graph.graph);
    const double seconds = run_nodes(context, work->u.graph.graph, work, 0, start);
    graph_abandon(work, start + seconds); /* after a fault */
    return seconds;
}

CUresult cuGraphCreate(CUgraph *out, unsigned int flags) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || flags != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    const Graph *graph = graph_new(OBJECT_GRAPH, NULL);
    if (graph == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    *out = graph->object.handle;
    return leave(CUDA_SUCCESS);
}

/* A graph that is being captured belongs to its capture. */
bool graph_is_captured(const Graph *graph) {
    for (const Capture *c = driver.captures; c != NULL; c = c->next)
        if (c->graph == graph) return true;
    return false;
}

CUresult cuGraphDestroy(CUgraph handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Graph *graph = FIND(Graph, GRAPH, handle);
    if (graph == NULL || graph->embedded || graph_is_captured(graph))
        return leave(CUDA_ERROR_INVALID_VALUE);
    graph_remove(graph);
    return leave(CUDA_SUCCESS);
}

bool node_alive(const GraphNode *node) {
    if (node->work.kind == WORK_KERNEL)
        return object_find(node->work.u.kernel.function, OBJECT_FUNCTION) != NULL;
    if (node->work.kind == WORK_EVENT || node->work.kind == WORK_EVENT_WAIT)
        return object_find(node->work.u.event.event, OBJECT_EVENT) != NULL;
    return true;
}

/* True when every node comes after those it needs. */
static bool is_ordered(const Graph *graph) {
    for (size_t i = 0; i < graph->count; i++)
        for (size_t k = 0; k < graph->nodes[i]->need_count; k++)
            if (graph->nodes[i]->needs[k] >= i) return false;
    return true;
}

static bool is_ready(const GraphNode *node, const size_t *place, size_t none) {
    for (size_t k = 0; k < node->need_count; k++)
        if (place[node->needs[k]] == none) return false;
    return true;
}

/* place[i]: where node i goes; order[p]: who is there. The first ready one is next, so that nodes
 * stay in their order where they can. False: a cycle. */
static bool order_find(const Graph *graph, bool sort, size_t *place, size_t *order) {
    const size_t n = graph->count;
    for (size_t i = 0; i < n; i++) place[i] = order[i] = i;
    if (!sort || is_ordered(graph)) return true;
    for (size_t i = 0; i < n; i++) place[i] = n;
    for (size_t done = 0; done < n; done++) {
        size_t i = 0;
        while (i < n && (place[i] < n || !is_ready(graph->nodes[i], place, n))) i++;
        if (i == n) return false;
        place[i] = done;
        order[done] = i;
    }
    return true;
}

static Status node_copy(const GraphNode *from, const size_t *place, Graph *to) {
    Work work;
    const Status st = work_copy(&from->work, &work);
    if (st != ST_OK) return st;
    GraphNode *node = graph_add(to, work, from->needs, from->need_count);
    if (node == NULL) return ST_NO_MEMORY;
    for (size_t k = 0; k < node->need_count; k++) node->needs[k] = place[node->needs[k]];
    node->origin = from->origin != NULL && to->object.kind == OBJECT_EXEC &&
                           from->graph->object.kind == OBJECT_EXEC
                       ? from->origin
                       : from->object.handle;
    node->disabled = from->disabled;
    return ST_OK;
}

static Status copy_nodes(const Graph *graph, ObjectKind kind, Context *context, bool ordered,
                         Graph **out) {
    size_t *place = mem_alloc((2 * graph->count + 1) * sizeof *place);
    Graph *copy = place == NULL ? NULL : graph_new(kind, context);
    Status st = copy == NULL ? ST_NO_MEMORY : ST_OK;
    size_t *order = place == NULL ? NULL : place + graph->count;
    if (st == ST_OK && !order_find(graph, ordered, place, order)) st = ST_INVALID;
    for (size_t i = 0; st == ST_OK && i < graph->count; i++)
        st = node_copy(graph->nodes[order[i]], place, copy);
    mem_free(place);
    if (st != ST_OK && copy != NULL) graph_remove(copy);
    *out = st == ST_OK ? copy : NULL;
    return st;
}

Status graph_copy(const Graph *graph, ObjectKind kind, Context *context, Graph **out) {
    return copy_nodes(graph, kind, context, kind == OBJECT_EXEC || graph->embedded, out);
}

CUresult graph_copy_error(Status st) {
    return st == ST_INVALID ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
}

Status graph_embed(const Graph *child, bool ordered, Work *work) {
    Graph *copy = NULL;
    *work = (Work){.kind = WORK_EMPTY};
    const Status st = copy_nodes(child, OBJECT_GRAPH, NULL, ordered, &copy);
    if (st != ST_OK) return st;
    copy->embedded = true;
    *work = graph_work(copy);
    graph_drop(copy); /* the work holds it */
    return ST_OK;
}

/* Kernels of other contexts are not played in one graph. */
static CUresult nodes_check(const Graph *graph, const Context *context, CUgraphNode *bad_node) {
    for (size_t i = 0; i < graph->count; i++) {
        const GraphNode *node = graph->nodes[i];
        CUresult result = node_alive(node) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
        if (result == CUDA_SUCCESS && node->work.kind == WORK_KERNEL &&
            FIND(Function, FUNCTION, node->work.u.kernel.function)->object.context != context)
            result = CUDA_ERROR_NOT_SUPPORTED;
        if (result == CUDA_SUCCESS && node->work.kind == WORK_GRAPH)
            result = nodes_check(node->work.u.graph.graph, context, bad_node);
        if (result == CUDA_SUCCESS) continue;
        if (bad_node != NULL) *bad_node = node->object.handle;
        return result;
    }
    return CUDA_SUCCESS;
}

static CUresult instantiate(CUgraphExec *out, CUgraph handle, uint64_t flags,
                            CUgraphNode *bad_node) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    Graph *graph = FIND(Graph, GRAPH, handle);
    /* Known flags: auto free on launch, upload, device launch, use node priority. */
    if (out == NULL || graph == NULL || graph_is_captured(graph) || flags > 0xf)
        return leave(CUDA_ERROR_INVALID_VALUE);
    if ((flags & 4) != 0) return leave(CUDA_ERROR_NOT_SUPPORTED); /* launch from the device */
    /* "There can be at most one executable graph in existence for that graph at a time." */
    const bool memory = graph_memory_node(graph) != NULL;
    if (memory && FIND(Graph, EXEC, graph->instance) != NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const CUresult alive = nodes_check(graph, context, bad_node);
    if (alive != CUDA_SUCCESS) return leave(alive);
    Graph *exec = NULL;
    const Status st = graph_copy(graph, OBJECT_EXEC, context, &exec);
    if (st != ST_OK) return leave(graph_copy_error(st));
    exec->flags = flags;
    graph->instance = exec->object.handle;
    *out = exec->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
    return instantiate(exec, graph, flags, NULL);
}

CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *bad_node, char *log,
                               size_t log_size) {
    if (log != NULL && log_size > 0) log[0] = '\0';
    return instantiate(exec, graph, 0, bad_node);
}

CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, CUgraphNode *bad_node, char *log,
                            size_t log_size) {
    return cuGraphInstantiate_v2(exec, graph, bad_node, log, log_size);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph,
                                      CUgraphInstantiateParams *params) {
    if (params == NULL) return CUDA_ERROR_INVALID_VALUE;
    params->hErrNode_out = NULL;
    const CUresult result = instantiate(exec, graph, params->flags, &params->hErrNode_out);
    params->result_out = result == CUDA_SUCCESS ? 0 : 1; /* CUDA_GRAPH_INSTANTIATE_ERROR */
    return result;
}

/* All that the nodes name still exists, in child graphs, too. */
static bool graph_alive(const Graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        const GraphNode *node = graph->nodes[i];
        if (!node_alive(node)) return false;
        if (node->work.kind == WORK_GRAPH && !graph_alive(node->work.u.graph.graph)) return false;
    }
    return true;
}

/* Gives the event nodes of a launch their tickets; `first` as in run_nodes. */
static bool events_prepare(const Graph *graph, Work *launch, size_t first) {
    size_t inner = first + graph->count;
    for (size_t i = 0; i < graph->count; i++) {
        const Work *work = &graph->nodes[i]->work;
        if (work->kind == WORK_GRAPH) {
            if (!events_prepare(work->u.graph.graph, launch, inner)) return false;
            inner += graph_size(work->u.graph.graph);
        }
        if (work->kind != WORK_EVENT) continue;
        Event *event = FIND(Event, EVENT, work->u.event.event);
        Ticket *ticket = launch->u.graph.events[first + i] = ticket_new();
        if (ticket == NULL) return false;
        ticket_drop(event->ticket);
        event->ticket = ticket_hold(ticket);
        event->capture_id = 0;
    }
    return true;
}

/* Finds exec and stream of the current context; on failure the lock is not held. */
static CUresult enter_exec(CUgraphExec handle, CUstream stream_handle, Graph **exec,
                           Stream **stream) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    *exec = FIND(Graph, EXEC, handle);
    result = stream_find(context, stream_handle, stream);
    if (*exec == NULL || (*exec)->object.context != context) result = CUDA_ERROR_INVALID_VALUE;
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

/* A launch that is captured becomes a child graph, which may not hold memory nodes. */
static CUresult captured_check(const Graph *exec, Stream *stream) {
    if (graph_memory_node(exec) == NULL) return CUDA_SUCCESS;
    capture_invalidate(stream->capture);
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    Graph *exec = NULL;
    Stream *stream = NULL;
    CUresult result = enter_exec(handle, stream_handle, &exec, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (!graph_alive(exec)) return leave(CUDA_ERROR_INVALID_HANDLE);
    const bool captured = stream->capture != NULL;
    Work work;
    result = captured ? captured_check(exec, stream) : graph_memory_check(exec);
    if (result != CUDA_SUCCESS) return leave(result);
    if (captured)
        work = graph_work(exec);
    else if (!graph_prepare(exec, &work))
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    work.u.graph.mode = stream->object.context->mode;
    size_t count = graph_waits(exec, NULL, 0);
    Ticket **waits = mem_alloc((count + 1) * sizeof(Ticket *)), *ticket;
    if (waits != NULL) {
        for (size_t i = graph_waits(exec, waits, count); i > 0; i--) ticket_hold(waits[i - 1]);
        if (exec->last != NULL) waits[count++] = ticket_hold(exec->last);
    }
    if (waits == NULL || (!captured && !events_prepare(exec, &work, 0))) {
        graph_abandon(&work, stream->now);
        work_free(&work);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        result = stream_enqueue(stream, work, waits, count, &ticket);
    }
    for (size_t i = 0; waits != NULL && i < count; i++) ticket_drop(waits[i]);
    mem_free(waits);
    if (result == CUDA_SUCCESS && !captured) {
        ticket_drop(exec->last);
        exec->last = ticket;
        graph_memory_launched(exec);
    }
    return leave(result);
}

/* Nothing to move ahead of the launch here. */
CUresult cuGraphUpload(CUgraphExec handle, CUstream stream_handle) {
    Graph *exec = NULL;
    Stream *stream = NULL;
    const CUresult result = enter_exec(handle, stream_handle, &exec, &stream);
    return result != CUDA_SUCCESS ? result : leave(CUDA_SUCCESS);
}

CUresult cuGraphExecDestroy(CUgraphExec handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Graph *exec = FIND(Graph, EXEC, handle);
    if (exec == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    graph_remove(exec);
    return leave(CUDA_SUCCESS);
}
