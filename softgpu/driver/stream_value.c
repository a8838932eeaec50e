/* Operations of a stream on one word of memory, and what a stream tells and is told besides. */
#include "softgpu/driver/state.h"

#include <string.h>

static CUresult value_work(WorkKind kind, CUdeviceptr address, uint64_t value, int width,
                           unsigned int condition, Work *work) {
    const Place place = place_of(address, (uint64_t)width);
    if (address % (unsigned int)width != 0 || place == PLACE_BAD || place == PLACE_PAGEABLE)
        return CUDA_ERROR_INVALID_VALUE;
    *work = (Work){.kind = kind};
    work->u.value.address = (void *)(uintptr_t)address;
    work->u.value.value = value;
    work->u.value.width = width;
    work->u.value.condition = condition;
    return CUDA_SUCCESS;
}

/* Attribute 98 is 0: remote writes are not flushed, as nothing remote writes. */
static CUresult wait_work(CUdeviceptr address, uint64_t value, int width, unsigned int flags,
                          Work *work) {
    enum { FLUSH = 1u << 30 };
    if ((flags & FLUSH) != 0) return CUDA_ERROR_NOT_SUPPORTED;
    if (flags > CU_STREAM_WAIT_VALUE_NOR) return CUDA_ERROR_INVALID_VALUE;
    return value_work(WORK_WAIT_VALUE, address, value, width, flags, work);
}
static CUresult write_work(CUdeviceptr address, uint64_t value, int width, unsigned int flags,
                           Work *work) {
    if (flags > 1) return CUDA_ERROR_INVALID_VALUE; /* 1: no memory barrier */
    return value_work(WORK_WRITE_VALUE, address, value, width, 0, work);
}

typedef CUresult (*MakeWork)(CUdeviceptr, uint64_t, int, unsigned int, Work *);

static CUresult one_value(MakeWork make, CUstream handle, CUdeviceptr address, uint64_t value,
                          int width, unsigned int flags) {
    Stream *stream = NULL;
    Work work;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    result = make(address, value, width, flags, &work);
    return leave(result == CUDA_SUCCESS ? stream_enqueue(stream, work, NULL, 0, NULL) : result);
}
static CUresult wait_value(CUstream stream, CUdeviceptr address, uint64_t value, int width,
                           unsigned int flags) {
    return one_value(wait_work, stream, address, value, width, flags);
}
static CUresult write_value(CUstream stream, CUdeviceptr address, uint64_t value, int width,
                            unsigned int flags) {
    return one_value(write_work, stream, address, value, width, flags);
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

/* A member of a batch; WORK_EMPTY for a barrier, as the operations of a stream are in order. */
static CUresult batch_work(const CUstreamBatchMemOpParams *p, Work *work) {
    *work = (Work){.kind = WORK_EMPTY};
    switch (p->operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
        return wait_work(p->address, (uint32_t)p->value, 4, p->flags, work);
    case CU_STREAM_MEM_OP_WAIT_VALUE_64: return wait_work(p->address, p->value, 8, p->flags, work);
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
        return write_work(p->address, (uint32_t)p->value, 4, p->flags, work);
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        return write_work(p->address, p->value, 8, p->flags, work);
    case CU_STREAM_MEM_OP_BARRIER: return CUDA_SUCCESS;
    case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES: return CUDA_ERROR_NOT_SUPPORTED;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* All are looked at before the first is enqueued. */
CUresult cuStreamBatchMemOp_v2(CUstream handle, unsigned int count,
                               const CUstreamBatchMemOpParams *operations, unsigned int flags) {
    enum { MAX_COUNT = 256 }; /* "The count parameter must be less than or equal to 256" */
    Stream *stream = NULL;
    Work work;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (flags != 0 || count > MAX_COUNT || (count > 0 && operations == NULL))
        return leave(CUDA_ERROR_INVALID_VALUE);
    for (unsigned int i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = batch_work(&operations[i], &work);
    for (unsigned int i = 0; i < count && result == CUDA_SUCCESS; i++) {
        (void)batch_work(&operations[i], &work);
        if (work.kind != WORK_EMPTY) result = stream_enqueue(stream, work, NULL, 0, NULL);
    }
    return leave(result);
}
CUresult cuStreamBatchMemOp(CUstream stream, unsigned int count,
                            const CUstreamBatchMemOpParams *operations, unsigned int flags) {
    return cuStreamBatchMemOp_v2(stream, count, operations, flags);
}

/* Attributes ------------------------------------------------------------------ */

/* Access windows, synchronisation policy, memory domains: hints that change no result. */
enum { ACCESS_WINDOW = 1, SYNC_POLICY = 3, PRIORITY = 8, DOMAIN_MAP = 9, DOMAIN = 10 };

static bool attribute_known(int attribute) {
    return attribute == ACCESS_WINDOW || attribute == SYNC_POLICY || attribute == PRIORITY ||
           attribute == DOMAIN_MAP || attribute == DOMAIN;
}

CUresult cuStreamGetAttribute(CUstream handle, int attribute, void *value) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (value == NULL || !attribute_known(attribute)) return leave(CUDA_ERROR_INVALID_VALUE);
    memset(value, 0, sizeof((CUlaunchAttribute *)0)->value);
    if (attribute == PRIORITY) *(int *)value = stream->priority;
    if (attribute == SYNC_POLICY) *(int *)value = 1; /* CU_SYNC_POLICY_AUTO */
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamSetAttribute(CUstream handle, int attribute, const void *value) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    /* A stream's priority is given when it is made. */
    if (value == NULL || !attribute_known(attribute) || attribute == PRIORITY)
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamCopyAttributes(CUstream to, CUstream from) {
    Stream *first = NULL;
    CUresult result = stream_enter(to, &first);
    if (result != CUDA_SUCCESS) return result;
    leave(CUDA_SUCCESS);
    result = stream_enter(from, &first);
    return result != CUDA_SUCCESS ? result : leave(CUDA_SUCCESS);
}
