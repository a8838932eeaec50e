/* Events: the ticket of their last record; its modelled end is their time stamp. */
#include "softgpu/driver/state.h"

#include "base/mem.h"

CUresult cuEventCreate(CUevent *out, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    const unsigned int known =
        CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    /* "CU_EVENT_INTERPROCESS must be specified along with CU_EVENT_DISABLE_TIMING". */
    if (out == NULL || (flags & ~known) != 0 ||
        ((flags & CU_EVENT_INTERPROCESS) != 0 && (flags & CU_EVENT_DISABLE_TIMING) == 0))
        return leave(CUDA_ERROR_INVALID_VALUE);
    if ((flags & CU_EVENT_INTERPROCESS) != 0) return leave(CUDA_ERROR_NOT_SUPPORTED);
    Event *event = mem_alloc(sizeof *event);
    if (event == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    event->flags = flags;
    if (!object_add(&event->object, OBJECT_EVENT, context)) {
        mem_free(event);
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    *out = event->object.handle;
    return leave(CUDA_SUCCESS);
}

/* Pending work keeps its own reference to the ticket. */
void event_remove(Event *event) {
    ticket_drop(event->ticket);
    mem_free(event->tails);
    object_remove(&event->object);
    mem_free(event);
}

CUresult cuEventDestroy_v2(CUevent handle) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    Event *event = FIND(Event, EVENT, handle);
    if (event == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    event_remove(event);
    return leave(CUDA_SUCCESS);
}

CUresult cuEventDestroy(CUevent handle) {
    return cuEventDestroy_v2(handle);
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned int flags) {
    Context *context = NULL;
    Stream *stream = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    Event *event = FIND(Event, EVENT, handle);
    result = stream_find(context, stream_handle, &stream);
    if (result != CUDA_SUCCESS) return leave(result);
    /* "hEvent and hStream must be from the same context otherwise INVALID_HANDLE". */
    if (event == NULL || event->object.context != context) return leave(CUDA_ERROR_INVALID_HANDLE);
    if ((flags & ~(unsigned int)CU_EVENT_RECORD_EXTERNAL) != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    if (stream->capture != NULL && (flags & CU_EVENT_RECORD_EXTERNAL) == 0)
        return leave(capture_record(stream, event));
    Work work = {.kind = WORK_EVENT};
    work.u.event.event = handle;
    const bool captured = stream->capture != NULL;
    Ticket *ticket;
    result = stream_enqueue(stream, work, NULL, 0, &ticket);
    if (result != CUDA_SUCCESS || captured) return leave(result);
    ticket_drop(event->ticket);
    event->ticket = ticket;
    event->capture_id = 0;
    return leave(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent handle, CUstream stream) {
    return cuEventRecordWithFlags(handle, stream, 0);
}

static CUresult enter_event(CUevent handle, Event **event) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    *event = FIND(Event, EVENT, handle);
    if (*event == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if ((*event)->capture_id != 0) return leave(CUDA_ERROR_CAPTURED_EVENT);
    return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent handle) {
    Event *event = NULL;
    const CUresult result = enter_event(handle, &event);
    if (result != CUDA_SUCCESS) return result;
    if (event->ticket != NULL && !event->ticket->done) return leave(CUDA_ERROR_NOT_READY);
    return leave(event->object.context->fault);
}

CUresult cuEventSynchronize(CUevent handle) {
    Event *event = NULL;
    const CUresult result = enter_event(handle, &event);
    if (result != CUDA_SUCCESS) return result;
    void *context = event->object.context->object.handle;
    ticket_wait(event->ticket);
    return leave(context_state(context));
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start_handle, CUevent end_handle) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (milliseconds == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    const Event *start = FIND(Event, EVENT, start_handle), *end = FIND(Event, EVENT, end_handle);
    if (start == NULL || end == NULL || start->object.context != end->object.context)
        return leave(CUDA_ERROR_INVALID_HANDLE);
    if (((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) != 0)
        return leave(CUDA_ERROR_INVALID_HANDLE);
    if (start->capture_id != 0 || end->capture_id != 0) return leave(CUDA_ERROR_CAPTURED_EVENT);
    if (start->ticket == NULL || end->ticket == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if (!start->ticket->done || !end->ticket->done) return leave(CUDA_ERROR_NOT_READY);
    *milliseconds = (float)((end->ticket->end - start->ticket->end) * 1e3);
    return leave(CUDA_SUCCESS);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}
