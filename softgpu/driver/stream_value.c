/* Operations of a stream on one word of memory, and what a stream tells and is told besides. */
#include "softgpu/driver/state.h"

#include <string.h>

static CUresult enter_stream(CUstream handle, Stream **stream) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    result = stream_find(context, handle, stream);
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

static CUresult value_operation(WorkKind kind, CUstream handle, CUdeviceptr address, uint64_t value,
                                int width, unsigned int condition) {
    Stream *stream = NULL;
    const CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    const Place place = place_of(address, (uint64_t)width);
    if (address % (unsigned int)width != 0 || place == PLACE_BAD || place == PLACE_PAGEABLE)
        return leave(CUDA_ERROR_INVALID_VALUE);
    Work work = {.kind = kind};
    work.u.value.address = (void *)(uintptr_t)address;
    work.u.value.value = value;
    work.u.value.width = width;
    work.u.value.condition = condition;
    return leave(stream_enqueue(stream, work, NULL, 0, NULL));
}

/* Attribute 98 is 0: remote writes are not flushed, as nothing remote writes. */
static CUresult wait_value(CUstream stream, CUdeviceptr address, uint64_t value, int width,
                           unsigned int flags) {
    enum { FLUSH = 1u << 30 };
    if ((flags & FLUSH) != 0) return CUDA_ERROR_NOT_SUPPORTED;
    if (flags > CU_STREAM_WAIT_VALUE_NOR) return CUDA_ERROR_INVALID_VALUE;
    return value_operation(WORK_WAIT_VALUE, stream, address, value, width, flags);
}

static CUresult write_value(CUstream stream, CUdeviceptr address, uint64_t value, int width,
                            unsigned int flags) {
    if (flags > 1) return CUDA_ERROR_INVALID_VALUE; /* 1: no memory barrier */
    return value_operation(WORK_WRITE_VALUE, stream, address, value, width, 0);
}

#define VALUE_CALLS(suffix)                                                                        \
    CUresult cuStreamWaitValue32##suffix(CUstream stream, CUdeviceptr address, uint32_t value,     \
                                         unsigned int flags) {                                     \
        return wait_value(stream, address, value, 4, flags);                                       \
    }                                                                                              \
    CUresult cuStreamWaitValue64##suffix(CUstream stream, CUdeviceptr address, uint64_t value,     \
                                         unsigned int flags) {                                     \
        return wait_value(stream, address, value, 8, flags);                                       \
    }                                                                                              \
    CUresult cuStreamWriteValue32##suffix(CUstream stream, CUdeviceptr address, uint32_t value,    \
                                          unsigned int flags) {                                    \
        return write_value(stream, address, value, 4, flags);                                      \
    }                                                                                              \
    CUresult cuStreamWriteValue64##suffix(CUstream stream, CUdeviceptr address, uint64_t value,    \
                                          unsigned int flags) {                                    \
        return write_value(stream, address, value, 8, flags);                                      \
    }

/* The form of CUDA 8 needed a switch of the kernel module; the other is the same without it. */
VALUE_CALLS()
VALUE_CALLS(_v2)

/* Attributes ------------------------------------------------------------------ */

/* Access windows, synchronisation policy, memory domains: hints that change no result. */
enum { ACCESS_WINDOW = 1, SYNC_POLICY = 3, PRIORITY = 8, DOMAIN_MAP = 9, DOMAIN = 10 };

static bool attribute_known(int attribute) {
    return attribute == ACCESS_WINDOW || attribute == SYNC_POLICY || attribute == PRIORITY ||
           attribute == DOMAIN_MAP || attribute == DOMAIN;
}

CUresult cuStreamGetAttribute(CUstream handle, int attribute, void *value) {
    Stream *stream = NULL;
    const CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (value == NULL || !attribute_known(attribute)) return leave(CUDA_ERROR_INVALID_VALUE);
    memset(value, 0, sizeof((CUlaunchAttribute *)0)->value);
    if (attribute == PRIORITY) *(int *)value = stream->priority;
    if (attribute == SYNC_POLICY) *(int *)value = 1; /* CU_SYNC_POLICY_AUTO */
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamSetAttribute(CUstream handle, int attribute, const void *value) {
    Stream *stream = NULL;
    const CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    /* A stream's priority is given when it is made. */
    if (value == NULL || !attribute_known(attribute) || attribute == PRIORITY)
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamCopyAttributes(CUstream to, CUstream from) {
    Stream *first = NULL;
    CUresult result = enter_stream(to, &first);
    if (result != CUDA_SUCCESS) return result;
    leave(CUDA_SUCCESS);
    result = enter_stream(from, &first);
    return result != CUDA_SUCCESS ? result : leave(CUDA_SUCCESS);
}
