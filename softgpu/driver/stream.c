/* Streams: queues of operations, one worker thread per stream that was used.
 *
 * Order: operations of a stream run one after another. The legacy stream waits for all blocking
 * streams of its context and they wait for it (reference manual, "Stream synchronization
 * behavior"). Each operation adds its modelled seconds to its stream's time line, beginning when
 * the stream and everything it waits for are done; contention between streams is not modelled.
 * After a fault nothing in the context executes any more, but everything still completes. */
#include "softgpu/driver/state.h"

#include <signal.h>

#include "base/mem.h"

Stream *stream_new(Context *context, unsigned int flags, int priority) {
    Stream *stream = mem_alloc(sizeof *stream);
    if (stream == NULL) return NULL;
    stream->flags = flags;
    stream->priority = priority;
    stream->id = driver.next_id++;
    pthread_cond_init(&stream->wake, NULL);
    if (!object_add(&stream->object, OBJECT_STREAM, context)) {
        pthread_cond_destroy(&stream->wake);
        mem_free(stream);
        return NULL;
    }
    return stream;
}

static void stream_free(Stream *stream) {
    ticket_drop(stream->last);
    mem_free(stream->tails);
    mem_free(stream->tail_nodes);
    mem_free(stream->tail_edges);
    pthread_cond_destroy(&stream->wake);
    mem_free(stream);
}

static void op_free(Op *op) {
    for (size_t i = 0; i < op->wait_count; i++) ticket_drop(op->waits[i]);
    mem_free(op->waits);
    ticket_drop(op->ticket);
    work_free(&op->work);
    mem_free(op);
}

static bool op_ready(const Op *op) {
    for (size_t i = 0; i < op->wait_count; i++)
        if (!op->waits[i]->done) return false;
    return true;
}

static void op_run(Stream *stream, Op *op) {
    Context *context = stream->object.context;
    double start = stream->now;
    for (size_t i = 0; i < op->wait_count; i++)
        if (op->waits[i]->end > start) start = op->waits[i]->end;
    double seconds = 0;
    /* cuStreamAddCallback is called with the error; everything else is dropped. */
    if (context->fault == CUDA_SUCCESS || op->work.kind == WORK_CALLBACK)
        seconds = work_execute(context, &op->work, start);
    else if (op->work.kind == WORK_GRAPH)
        graph_abandon(&op->work, start);
    stream->now = start + seconds;
    op->ticket->end = stream->now;
    op->ticket->done = true;
    stream->head = op->next;
    if (stream->head == NULL) stream->tail = NULL;
    context->pending--;
    op_free(op);
    pthread_cond_broadcast(&driver.done);
}

static void *worker(void *arg) {
    Stream *stream = arg;
    pthread_mutex_lock(&driver.lock);
    for (;;) {
        if (stream->head == NULL && stream->closing) break;
        if (stream->head == NULL)
            pthread_cond_wait(&stream->wake, &driver.lock);
        else if (!op_ready(stream->head))
            pthread_cond_wait(&driver.done, &driver.lock);
        else
            op_run(stream, stream->head);
    }
    stream_free(stream);
    pthread_mutex_unlock(&driver.lock);
    return NULL;
}

/* Signals of the program are not for its driver's threads. */
static bool worker_start(Stream *stream) {
    sigset_t all, old;
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    stream->has_worker = pthread_create(&thread, &attributes, worker, stream) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return stream->has_worker;
}

static bool is_blocking(const Stream *stream) {
    return (stream->flags & CU_STREAM_NON_BLOCKING) == 0;
}

/* Next blocking stream of the context other than the legacy one, from `object` on. */
static Stream *next_blocking(Object *object) {
    for (; object != NULL; object = object->next) {
        Stream *stream = (Stream *)object;
        if (object->kind == OBJECT_STREAM && is_blocking(stream) && !stream->legacy) return stream;
    }
    return NULL;
}

bool streams_may_wait_for_host(const Context *context) {
    for (const Object *object = context->objects.next; object != NULL; object = object->next) {
        const Op *op = object->kind == OBJECT_STREAM ? ((const Stream *)object)->head : NULL;
        for (; op != NULL; op = op->next) switch (op->work.kind) {
            case WORK_HOST:
            case WORK_CALLBACK:
            case WORK_WAIT_VALUE:
            case WORK_GRAPH: return true;
            default: break;
            }
    }
    return false;
}

static void wait_add(Op *op, Ticket *ticket) {
    if (ticket != NULL) op->waits[op->wait_count++] = ticket_hold(ticket);
}

/* Adds the implicit order between the legacy and the blocking streams to the caller's waits. */
static bool op_order(Op *op, Stream *stream, Ticket **waits, size_t count) {
    Context *context = stream->object.context;
    size_t most = count + 1;
    if (stream->legacy)
        for (Stream *s = next_blocking(context->objects.next); s != NULL;
             s = next_blocking(s->object.next))
            most++;
    op->waits = mem_alloc(most * sizeof *op->waits);
    if (op->waits == NULL) return false;
    for (size_t i = 0; i < count; i++) wait_add(op, waits[i]);
    if (stream->legacy)
        for (Stream *s = next_blocking(context->objects.next); s != NULL;
             s = next_blocking(s->object.next))
            wait_add(op, s->last);
    else if (is_blocking(stream))
        wait_add(op, context->legacy->last);
    return true;
}

static CUresult op_append(Stream *stream, Work work, Ticket **waits, size_t count,
                          Ticket **ticket) {
    Op *op = mem_alloc(sizeof *op);
    if (op == NULL) {
        work_free(&work);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    op->work = work;
    op->ticket = ticket_new();
    if (op->ticket == NULL || !op_order(op, stream, waits, count) ||
        (!stream->has_worker && !worker_start(stream))) {
        op_free(op);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (stream->tail != NULL)
        stream->tail->next = op;
    else
        stream->head = op;
    stream->tail = op;
    ticket_drop(stream->last);
    stream->last = ticket_hold(op->ticket);
    stream->object.context->pending++;
    if (ticket != NULL) *ticket = ticket_hold(op->ticket);
    pthread_cond_signal(&stream->wake);
    return CUDA_SUCCESS;
}

CUresult stream_enqueue(Stream *stream, Work work, Ticket **waits, size_t wait_count,
                        Ticket **ticket) {
    if (ticket != NULL) *ticket = NULL;
    if (stream->capture != NULL) return capture_add(stream, work);
    const CUresult result = capture_check_legacy(stream->object.context, stream);
    if (result != CUDA_SUCCESS) {
        work_free(&work);
        return result;
    }
    return op_append(stream, work, waits, wait_count, ticket);
}

CUresult stream_run(Stream *stream, Work work) {
    void *context = stream->object.context->object.handle;
    /* A synchronous call would have to wait for work that the capture never runs. */
    if (stream->capture != NULL) {
        capture_invalidate(stream->capture);
        work_free(&work);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    Ticket *ticket;
    const CUresult result = stream_enqueue(stream, work, NULL, 0, &ticket);
    if (result != CUDA_SUCCESS) return result;
    ticket_wait(ticket);
    ticket_drop(ticket);
    return context_state(context);
}

void stream_close(Stream *stream) {
    Context *context = stream->object.context;
    if (stream->capture != NULL) {
        capture_invalidate(stream->capture);
        if (stream->capture->origin == stream)
            capture_close(stream->capture);
        else
            capture_leave(stream);
    }
    /* What is still queued must keep its place before later legacy-stream work. */
    Ticket *last = stream->last;
    if (is_blocking(stream) && !stream->is_default && last != NULL && !last->done)
        op_append(context->legacy, (Work){.kind = WORK_EMPTY}, &last, 1, NULL);
    object_remove(&stream->object);
    stream->closing = true;
    if (stream->has_worker)
        pthread_cond_signal(&stream->wake);
    else
        stream_free(stream);
}

static Stream *per_thread_stream(Context *context) {
    for (Object *o = context->objects.next; o != NULL; o = o->next)
        if (o->kind == OBJECT_STREAM && ((Stream *)o)->thread == thread_id()) return (Stream *)o;
    Stream *stream = stream_new(context, 0, 0);
    if (stream == NULL) return NULL;
    stream->is_default = true;
    stream->thread = thread_id();
    return stream;
}

CUresult stream_find(Context *context, CUstream handle, Stream **stream) {
    const uintptr_t value = (uintptr_t)handle;
    if (value == 0 || value == CU_STREAM_LEGACY_HANDLE)
        *stream = context->legacy;
    else if (value == CU_STREAM_PER_THREAD_HANDLE)
        *stream = per_thread_stream(context);
    else
        *stream = FIND(Stream, STREAM, handle);
    if (*stream == NULL && value == CU_STREAM_PER_THREAD_HANDLE) return CUDA_ERROR_OUT_OF_MEMORY;
    if (*stream == NULL) return CUDA_ERROR_INVALID_HANDLE;
    return (*stream)->object.context == context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult stream_enter(CUstream handle, Stream **stream) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    result = stream_find(context, handle, stream);
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

CUresult cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || (flags & ~(unsigned int)CU_STREAM_NON_BLOCKING) != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const int clamped = priority > 0 ? 0 : priority < -5 ? -5 : priority;
    Stream *stream = stream_new(context, flags, clamped);
    if (stream == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    *out = stream->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamCreate(CUstream *out, unsigned int flags) {
    return cuStreamCreateWithPriority(out, flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream handle) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    Stream *stream = FIND(Stream, STREAM, handle);
    if (stream == NULL || stream->is_default) return leave(CUDA_ERROR_INVALID_HANDLE);
    stream_close(stream);
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamDestroy(CUstream handle) {
    return cuStreamDestroy_v2(handle);
}

/* "It is invalid to synchronize or query the execution status of a capturing stream"; the legacy
 * stream encompasses the blocking ones. */
static CUresult status_allowed(Stream *stream) {
    if (stream->capture != NULL) {
        capture_invalidate(stream->capture);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return capture_check_legacy(stream->object.context, stream);
}

CUresult cuStreamQuery(CUstream handle) {
    Stream *stream = NULL;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    result = status_allowed(stream);
    if (result != CUDA_SUCCESS) return leave(result);
    bool done = stream->last == NULL || stream->last->done;
    if (stream->legacy)
        for (Stream *s = next_blocking(stream->object.context->objects.next); s != NULL;
             s = next_blocking(s->object.next))
            done &= s->last == NULL || s->last->done;
    return leave(done ? stream->object.context->fault : CUDA_ERROR_NOT_READY);
}

CUresult cuStreamSynchronize(CUstream handle) {
    Stream *stream = NULL;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    result = status_allowed(stream);
    if (result != CUDA_SUCCESS) return leave(result);
    Context *context = stream->object.context;
    void *context_handle = context->object.handle;
    /* The null stream stands for all blocking streams: an empty operation in it waits for them. */
    if (stream->legacy && context->pending > 0)
        return leave(stream_run(stream, (Work){.kind = WORK_EMPTY}));
    ticket_wait(stream->last);
    return leave(context_state(context_handle));
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int flags) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    Event *event = FIND(Event, EVENT, event_handle);
    if (event == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if ((flags & ~(unsigned int)CU_EVENT_WAIT_EXTERNAL) != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    if (stream->capture != NULL || event->capture_id != 0)
        return leave(capture_wait(stream, event));
    if (event->ticket == NULL) return leave(CUDA_SUCCESS); /* "completes immediately" */
    return leave(stream_enqueue(stream, (Work){.kind = WORK_EMPTY}, &event->ticket, 1, NULL));
}

static CUresult host_call(CUstream handle, Work work) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    /* cuStreamAddCallback: "not supported while capturing". */
    if (work.kind == WORK_CALLBACK && stream->capture != NULL) {
        capture_invalidate(stream->capture);
        return leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return leave(stream_enqueue(stream, work, NULL, 0, NULL));
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data) {
    if (function == NULL) return CUDA_ERROR_INVALID_VALUE;
    Work work = {.kind = WORK_HOST};
    work.u.host.function = function;
    work.u.host.data = data;
    return host_call(handle, work);
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void *data,
                             unsigned int flags) {
    if (callback == NULL || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    Work work = {.kind = WORK_CALLBACK};
    work.u.host.callback = callback;
    work.u.host.stream = handle;
    work.u.host.data = data;
    return host_call(handle, work);
}

/* Properties ------------------------------------------------------------------ */

CUresult cuStreamGetFlags(CUstream handle, unsigned int *flags) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (flags == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = stream->flags;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamGetPriority(CUstream handle, int *priority) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (priority == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *priority = stream->priority;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamGetId(CUstream handle, unsigned long long *id) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (id == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *id = stream->id;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (context == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *context = stream->object.context->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamGetDevice(CUstream handle, CUdevice *device) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (device == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *device = stream->object.context->device;
    return leave(CUDA_SUCCESS);
}
