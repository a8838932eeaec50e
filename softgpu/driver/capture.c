/* Stream capture: operations become nodes of a graph instead of running.
 *
 * Each capturing stream carries `tails`, the nodes its next operation depends on; an event recorded
 * in a capture carries them to another stream, which joins. Rules and results are those of the
 * reference manual for cuStreamBeginCapture, cuStreamEndCapture, cuStreamWaitEvent and
 * cuThreadExchangeStreamCaptureMode; an illegal call invalidates the capture. */
#include "softgpu/driver/state.h"

#include <string.h>

#include "base/mem.h"

Capture *capture_in(const Context *context) {
    Capture *c = driver.captures;
    while (c != NULL && c->context != context) c = c->next;
    return c;
}

void capture_invalidate(Capture *capture) {
    capture->invalid = true;
}

void capture_leave(Stream *stream) {
    stream->capture = NULL;
    mem_free(stream->tails);
    stream->tails = NULL;
    stream->tail_count = 0;
}

/* Streams of the capture's context that take part, from `object` on. */
static Stream *next_member(const Capture *capture, Object *object) {
    for (; object != NULL; object = object->next)
        if (object->kind == OBJECT_STREAM && ((Stream *)object)->capture == capture)
            return (Stream *)object;
    return NULL;
}

/* Ends it; the graph goes too unless it was handed out. */
void capture_close(Capture *capture) {
    Object *list = capture->context->objects.next;
    for (Stream *s = next_member(capture, list); s != NULL;
         s = next_member(capture, s->object.next))
        capture_leave(s);
    Capture **link = &driver.captures;
    while (*link != capture) link = &(*link)->next;
    *link = capture->next;
    if (capture->graph != NULL) graph_remove(capture->graph);
    mem_free(capture);
}

CUresult capture_check_legacy(Context *context, const Stream *stream) {
    if (!stream->legacy) return CUDA_SUCCESS;
    bool refused = false;
    for (Capture *c = driver.captures; c != NULL; c = c->next) {
        if (c->context != context) continue;
        for (Stream *s = next_member(c, context->objects.next); s != NULL;
             s = next_member(c, s->object.next))
            if ((s->flags & CU_STREAM_NON_BLOCKING) == 0) c->invalid = refused = true;
    }
    return refused ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CUresult capture_check_safe(Context *context) {
    (void)context;
    const int mode = this_thread.capture_mode;
    bool refused = false;
    if (mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
    for (Capture *c = driver.captures; c != NULL; c = c->next) {
        const bool own = c->thread == thread_id() && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
        const bool anywhere =
            mode == CU_STREAM_CAPTURE_MODE_GLOBAL && c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        if (own || anywhere) c->invalid = refused = true;
    }
    return refused ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

static bool tails_set(size_t **tails, size_t *count, const size_t *from, size_t n) {
    size_t *copy = mem_alloc((n + 1) * sizeof *copy);
    if (copy == NULL) return false;
    if (n > 0) memcpy(copy, from, n * sizeof *copy);
    mem_free(*tails);
    *tails = copy;
    *count = n;
    return true;
}

/* Adds those of `from` that are missing. */
static bool tails_join(Stream *stream, const size_t *from, size_t n) {
    size_t *all = mem_alloc((stream->tail_count + n + 1) * sizeof *all);
    if (all == NULL) return false;
    size_t count = stream->tail_count;
    if (count > 0) memcpy(all, stream->tails, count * sizeof *all);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < count && all[k] != from[i]) k++;
        if (k == count) all[count++] = from[i];
    }
    mem_free(stream->tails);
    stream->tails = all;
    stream->tail_count = count;
    return true;
}

CUresult capture_add(Stream *stream, Work work) {
    Capture *capture = stream->capture;
    if (capture->invalid) {
        work_free(&work);
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    GraphNode *node = graph_add(capture->graph, work, stream->tails, stream->tail_count);
    const size_t index = capture->graph->count - 1;
    if (node == NULL || !tails_set(&stream->tails, &stream->tail_count, &index, 1)) {
        capture->invalid = true;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

CUresult capture_record(Stream *stream, Event *event) {
    if (stream->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!tails_set(&event->tails, &event->tail_count, stream->tails, stream->tail_count))
        return CUDA_ERROR_OUT_OF_MEMORY;
    event->capture_id = stream->capture->id;
    return CUDA_SUCCESS;
}

static Capture *capture_by_id(uint64_t id) {
    Capture *c = driver.captures;
    while (c != NULL && c->id != id) c = c->next;
    return c;
}

CUresult capture_wait(Stream *stream, Event *event) {
    Capture *mine = stream->capture;
    Capture *other = event->capture_id != 0 ? capture_by_id(event->capture_id) : NULL;
    if (mine != NULL && mine->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (event->capture_id != 0 && other == NULL) return CUDA_ERROR_CAPTURED_EVENT; /* it ended */
    if (mine != NULL && other == NULL) {
        mine->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (mine != NULL && mine != other) {
        mine->invalid = other->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (other->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->legacy || stream->object.context != other->context) {
        other->invalid = true;
        return stream->legacy ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
                              : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (!tails_join(stream, event->tails, event->tail_count)) return CUDA_ERROR_OUT_OF_MEMORY;
    stream->capture = other;
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return leave(CUDA_ERROR_INVALID_VALUE);
    /* "hStream must not be CU_STREAM_LEGACY". */
    if (stream->legacy) return leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (stream->capture != NULL) return leave(CUDA_ERROR_ILLEGAL_STATE);
    Capture *capture = mem_alloc(sizeof *capture);
    Graph *graph = capture == NULL ? NULL : graph_new(OBJECT_GRAPH, NULL);
    if (graph == NULL) {
        mem_free(capture);
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    *capture = (Capture){.id = driver.next_id++,
                         .context = stream->object.context,
                         .mode = mode,
                         .thread = thread_id(),
                         .origin = stream,
                         .graph = graph,
                         .next = driver.captures};
    driver.captures = capture;
    stream->capture = capture;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamBeginCapture(CUstream handle) {
    return cuStreamBeginCapture_v2(handle, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

/* UNJOINED unless every member's tails are among the origin's or their ancestors. */
static CUresult all_joined(const Capture *capture) {
    const Graph *graph = capture->graph;
    bool *reached = mem_alloc(graph->count + 1);
    if (reached == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < capture->origin->tail_count; i++)
        reached[capture->origin->tails[i]] = true;
    for (size_t i = graph->count; i-- > 0;)
        for (size_t k = 0; reached[i] && k < graph->nodes[i]->need_count; k++)
            reached[graph->nodes[i]->needs[k]] = true;
    bool joined = true;
    Object *list = capture->context->objects.next;
    for (Stream *s = next_member(capture, list); s != NULL;
         s = next_member(capture, s->object.next))
        for (size_t i = 0; i < s->tail_count; i++) joined &= reached[s->tails[i]];
    mem_free(reached);
    return joined ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *out) {
    Stream *stream = NULL;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    Capture *capture = stream->capture;
    if (out == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *out = NULL;
    if (capture == NULL) return leave(CUDA_ERROR_ILLEGAL_STATE);
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != thread_id())
        return leave(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    if (capture->origin != stream) {
        capture->invalid = true;
        return leave(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    }
    result = capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : all_joined(capture);
    if (result == CUDA_SUCCESS) {
        *out = capture->graph->object.handle;
        capture->graph = NULL;
    }
    capture_close(capture);
    return leave(result);
}

/* "If called on the legacy stream while a blocking stream captures: STREAM_CAPTURE_IMPLICIT", and
 * this query alone does not invalidate. */
static CUresult capture_status(Stream *stream, int *status) {
    const Context *context = stream->object.context;
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    for (Capture *c = driver.captures; stream->legacy && c != NULL; c = c->next) {
        if (c->context != context) continue;
        for (Stream *s = next_member(c, context->objects.next); s != NULL;
             s = next_member(c, s->object.next))
            if ((s->flags & CU_STREAM_NON_BLOCKING) == 0) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    if (stream->capture != NULL)
        *status = stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                           : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream handle, int *status) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    return leave(status == NULL ? CUDA_ERROR_INVALID_VALUE : capture_status(stream, status));
}

/* The stream's own lists of its next node's dependencies, valid until its next call. */
static CUresult tails_show(Stream *stream) {
    const size_t n = stream->tail_count;
    mem_free(stream->tail_nodes);
    mem_free(stream->tail_edges);
    stream->tail_nodes = mem_alloc((n + 1) * sizeof *stream->tail_nodes);
    stream->tail_edges =
        mem_alloc((n + 1) * sizeof *stream->tail_edges); /* zero: full dependence */
    if (stream->tail_nodes == NULL || stream->tail_edges == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < n; i++)
        stream->tail_nodes[i] = stream->capture->graph->nodes[stream->tails[i]]->object.handle;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v3(CUstream handle, int *status, uint64_t *id, CUgraph *graph,
                                   const CUgraphNode **nodes, const CUgraphEdgeData **edges,
                                   size_t *count) {
    Stream *stream = NULL;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (status == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    result = capture_status(stream, status);
    if (result != CUDA_SUCCESS || stream->capture == NULL) return leave(result);
    if (nodes != NULL || edges != NULL) result = tails_show(stream);
    if (result != CUDA_SUCCESS) return leave(result);
    if (id != NULL) *id = stream->capture->id;
    if (graph != NULL) *graph = stream->capture->graph->object.handle;
    if (nodes != NULL) *nodes = stream->tail_nodes;
    if (edges != NULL) *edges = stream->tail_edges;
    if (count != NULL) *count = stream->tail_count;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamGetCaptureInfo_v2(CUstream handle, int *status, uint64_t *id, CUgraph *graph,
                                   const CUgraphNode **nodes, size_t *count) {
    return cuStreamGetCaptureInfo_v3(handle, status, id, graph, nodes, NULL, count);
}

/* Flag 0 adds to the dependencies of the stream's next node, 1 replaces them. */
CUresult cuStreamUpdateCaptureDependencies(CUstream handle, CUgraphNode *nodes, size_t count,
                                           unsigned int flags) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (flags > 1 || (nodes == NULL && count > 0)) return leave(CUDA_ERROR_INVALID_VALUE);
    if (stream->capture == NULL) return leave(CUDA_ERROR_ILLEGAL_STATE);
    size_t *indices = mem_alloc((count + 1) * sizeof *indices);
    if (indices == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        const GraphNode *node = FIND(GraphNode, NODE, nodes[i]);
        ok = node != NULL && node->graph == stream->capture->graph;
        if (ok) indices[i] = node->index;
    }
    if (ok && flags == 1) stream->tail_count = 0;
    const bool joined = ok && tails_join(stream, indices, count);
    mem_free(indices);
    if (!ok) return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(joined ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream handle, CUgraphNode *nodes,
                                              const CUgraphEdgeData *edges, size_t count,
                                              unsigned int flags) {
    /* Programmatic dependence is not played. */
    static const CUgraphEdgeData plain;
    for (size_t i = 0; edges != NULL && i < count; i++)
        if (memcmp(&edges[i], &plain, sizeof plain) != 0) return CUDA_ERROR_NOT_SUPPORTED;
    return cuStreamUpdateCaptureDependencies(handle, nodes, count, flags);
}

CUresult cuStreamGetCaptureInfo(CUstream handle, int *status, uint64_t *id) {
    return cuStreamGetCaptureInfo_v2(handle, status, id, NULL, NULL, NULL);
}

CUresult cuThreadExchangeStreamCaptureMode(int *mode) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (mode == NULL || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL ||
        *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const int old = this_thread.capture_mode;
    this_thread.capture_mode = *mode;
    *mode = old;
    return leave(CUDA_SUCCESS);
}
