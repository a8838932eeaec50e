/* Graphs changed by hand: dependencies, removal, clones; a picture of a graph. */
#include "softgpu/driver/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static GraphNode *node_in(const Graph *graph, CUgraphNode handle) {
    GraphNode *node = FIND(GraphNode, NODE, handle);
    return node != NULL && node->graph == graph ? node : NULL;
}

/* Place of `index` among the needs of `node`; need_count: not there. */
static size_t need_place(const GraphNode *node, size_t index) {
    size_t k = 0;
    while (k < node->need_count && node->needs[k] != index) k++;
    return k;
}

static CUresult need_add(GraphNode *node, size_t index) {
    if (need_place(node, index) < node->need_count || node->index == index)
        return CUDA_ERROR_INVALID_VALUE; /* "an edge that exists" or to itself */
    size_t *needs = mem_realloc(node->needs, (node->need_count + 1) * sizeof *needs);
    if (needs == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    node->needs = needs;
    node->needs[node->need_count++] = index;
    return CUDA_SUCCESS;
}

static CUresult need_drop(GraphNode *node, size_t index) {
    const size_t k = need_place(node, index);
    if (k == node->need_count) return CUDA_ERROR_INVALID_VALUE;
    node->need_count--;
    memmove(node->needs + k, node->needs + k + 1, (node->need_count - k) * sizeof *node->needs);
    return CUDA_SUCCESS;
}

static bool edges_plain(const CUgraphEdgeData *edges, size_t count) {
    static const CUgraphEdgeData plain;
    for (size_t i = 0; edges != NULL && i < count; i++)
        if (memcmp(&edges[i], &plain, sizeof plain) != 0) return false;
    return true;
}

static CUresult edges_change(CUgraph handle, const CUgraphNode *from, const CUgraphNode *to,
                             const CUgraphEdgeData *edges, size_t count, bool add) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = FIND(Graph, GRAPH, handle);
    if (graph == NULL || (count > 0 && (from == NULL || to == NULL)))
        return leave(CUDA_ERROR_INVALID_VALUE);
    /* "Dependencies cannot be removed from graphs which contain allocation or free nodes." */
    if (!add && graph_memory_node(graph) != NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    /* Programmatic dependence between kernels is not played. */
    if (!edges_plain(edges, count)) return leave(CUDA_ERROR_NOT_SUPPORTED);
    for (size_t i = 0; i < count; i++)
        if (node_in(graph, from[i]) == NULL || node_in(graph, to[i]) == NULL)
            return leave(CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++) {
        GraphNode *node = node_in(graph, to[i]);
        const size_t index = node_in(graph, from[i])->index;
        result = add ? need_add(node, index) : need_drop(node, index);
    }
    return leave(result);
}

CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   const CUgraphEdgeData *edges, size_t count) {
    return edges_change(graph, from, to, edges, count, true);
}

CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                size_t count) {
    return edges_change(graph, from, to, NULL, count, true);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                      const CUgraphEdgeData *edges, size_t count) {
    return edges_change(graph, from, to, edges, count, false);
}

CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                   size_t count) {
    return edges_change(graph, from, to, NULL, count, false);
}

/* A capture holds indices of its graph's nodes. */
CUresult cuGraphDestroyNode(CUgraphNode handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    GraphNode *gone = FIND(GraphNode, NODE, handle);
    if (gone == NULL || gone->graph->object.kind != OBJECT_GRAPH ||
        graph_is_captured(gone->graph) || graph_memory_node(gone->graph) != NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    Graph *graph = gone->graph;
    const size_t index = gone->index;
    node_free(gone);
    graph->count--;
    for (size_t i = index; i < graph->count; i++) {
        graph->nodes[i] = graph->nodes[i + 1];
        graph->nodes[i]->index = i;
    }
    for (size_t i = 0; i < graph->count; i++) {
        GraphNode *node = graph->nodes[i];
        if (need_place(node, index) < node->need_count) need_drop(node, index);
        for (size_t k = 0; k < node->need_count; k++)
            if (node->needs[k] > index) node->needs[k]--;
    }
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphClone(CUgraph *out, CUgraph handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = FIND(Graph, GRAPH, handle);
    Graph *copy = NULL;
    /* "Cloning is not supported for graphs which contain memory allocation nodes". */
    if (out == NULL || graph == NULL || graph_is_captured(graph) ||
        graph_memory_node(graph) != NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const Status st = graph_copy(graph, OBJECT_GRAPH, NULL, &copy);
    if (st != ST_OK) return leave(graph_copy_error(st));
    *out = copy->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphNodeFindInClone(CUgraphNode *out, CUgraphNode original, CUgraph clone) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = FIND(Graph, GRAPH, clone);
    if (out == NULL || graph == NULL || original == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i]->origin != (const void *)original) continue;
        *out = graph->nodes[i]->object.handle;
        return leave(CUDA_SUCCESS);
    }
    return leave(CUDA_ERROR_INVALID_VALUE);
}

/* Pictures -------------------------------------------------------------------- */

static void node_print(FILE *file, const GraphNode *node) {
    static const char *const names[] = {[WORK_EMPTY] = "empty",
                                        [WORK_KERNEL] = "kernel",
                                        [WORK_COPY] = "memcpy",
                                        [WORK_FILL] = "memset",
                                        [WORK_HOST] = "host",
                                        [WORK_CALLBACK] = "host",
                                        [WORK_EVENT] = "event record",
                                        [WORK_EVENT_WAIT] = "event wait",
                                        [WORK_GRAPH] = "graph",
                                        [WORK_ALLOC] = "allocate",
                                        [WORK_FREE] = "free",
                                        [WORK_WAIT_VALUE] = "wait for value",
                                        [WORK_WRITE_VALUE] = "write value"};
    const Function *f = node->work.kind == WORK_KERNEL
                            ? FIND(Function, FUNCTION, node->work.u.kernel.function)
                            : NULL;
    fprintf(file, "  n%zu [label=\"%zu %s%s%s\"];\n", node->index, node->index,
            names[node->work.kind], f == NULL ? "" : " ", f == NULL ? "" : f->info->name);
    for (size_t k = 0; k < node->need_count; k++)
        fprintf(file, "  n%zu -> n%zu;\n", node->needs[k], node->index);
}

CUresult cuGraphDebugDotPrint(CUgraph handle, const char *path, unsigned int flags) {
    (void)flags; /* which details; the label holds what there is */
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Graph *graph = FIND(Graph, GRAPH, handle);
    if (graph == NULL || path == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    FILE *file = fopen(path, "w");
    if (file == NULL) return leave(CUDA_ERROR_OPERATING_SYSTEM);
    fprintf(file, "digraph G {\n");
    for (size_t i = 0; i < graph->count; i++) node_print(file, graph->nodes[i]);
    fprintf(file, "}\n");
    const bool failed = ferror(file) != 0;
    return leave(fclose(file) != 0 || failed ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS);
}
