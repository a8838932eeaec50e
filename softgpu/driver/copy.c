/* Copies and fills. A device address must lie, with all its bytes, inside one live allocation; a
 * host address must not be a device address. Both are checked at the call.
 *
 * Pageable memory makes an asynchronous copy synchronous, as the reference manual's "API
 * synchronization behavior" has it for device to host; for host to device the manual promises only
 * that the source may be changed after the call, which waiting fulfils. */
#include "softgpu/driver/state.h"

typedef enum Side { SIDE_HOST, SIDE_DEVICE, SIDE_ANY } Side;

static bool side_ok(Side side, Place place) {
    if (place == PLACE_BAD) return false;
    return side == SIDE_ANY || (side == SIDE_DEVICE) == (place == PLACE_DEVICE);
}

static CUresult copy(uint64_t to, Side to_side, uint64_t from, Side from_side, size_t bytes,
                     CUstream handle, bool async) {
    Context *context = NULL;
    Stream *stream = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    result = stream_find(context, handle, &stream);
    if (result != CUDA_SUCCESS) return leave(result);
    if (bytes == 0) return leave(CUDA_SUCCESS);
    const Place to_place = place_of(to, bytes), from_place = place_of(from, bytes);
    if (!side_ok(to_side, to_place) || !side_ok(from_side, from_place))
        return leave(CUDA_ERROR_INVALID_VALUE);
    Work work = {.kind = WORK_COPY};
    work.u.copy.to = (void *)(uintptr_t)to;
    work.u.copy.from = (const void *)(uintptr_t)from;
    work.u.copy.bytes = bytes;
    work.u.copy.over_bus = to_place != PLACE_DEVICE || from_place != PLACE_DEVICE;
    const bool pageable = to_place == PLACE_PAGEABLE || from_place == PLACE_PAGEABLE;
    /* "For transfers from device memory to device memory, no host-side synchronization". */
    const bool wait = async ? pageable && stream->capture == NULL : work.u.copy.over_bus;
    if (!async && stream->capture != NULL) return leave(stream_run(stream, work));
    return leave(wait ? stream_run(stream, work) : stream_enqueue(stream, work, NULL, 0, NULL));
}

static CUresult fill(uint64_t to, uint32_t value, int width, size_t count, CUstream handle) {
    Context *context = NULL;
    Stream *stream = NULL;
    size_t bytes;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    result = stream_find(context, handle, &stream);
    if (result != CUDA_SUCCESS) return leave(result);
    if (count == 0) return leave(CUDA_SUCCESS);
    if (__builtin_mul_overflow(count, (size_t)width, &bytes) || to % (uint64_t)width != 0 ||
        place_of(to, bytes) != PLACE_DEVICE)
        return leave(CUDA_ERROR_INVALID_VALUE);
    Work work = {.kind = WORK_FILL};
    work.u.fill.to = (void *)(uintptr_t)to;
    work.u.fill.value = value;
    work.u.fill.width = width;
    work.u.fill.count = count;
    return leave(stream_enqueue(stream, work, NULL, 0, NULL));
}

static uint64_t at(const void *host) {
    return (uint64_t)(uintptr_t)host;
}

/* A synchronous call and its variant on the per-thread default stream. */
#define SYNC(name, parameters, call)                                                               \
    CUresult name parameters {                                                                     \
        const CUstream stream = NULL;                                                              \
        return call;                                                                               \
    }                                                                                              \
    CUresult name##_ptds parameters {                                                              \
        const CUstream stream = (CUstream)(uintptr_t)CU_STREAM_PER_THREAD_HANDLE;                  \
        return call;                                                                               \
    }

SYNC(cuMemcpy, (CUdeviceptr to, CUdeviceptr from, size_t bytes),
     copy(to, SIDE_ANY, from, SIDE_ANY, bytes, stream, false))
SYNC(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes),
     copy(to, SIDE_DEVICE, at(from), SIDE_HOST, bytes, stream, false))
SYNC(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes),
     copy(at(to), SIDE_HOST, from, SIDE_DEVICE, bytes, stream, false))
SYNC(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes),
     copy(to, SIDE_DEVICE, from, SIDE_DEVICE, bytes, stream, false))
SYNC(cuMemsetD8_v2, (CUdeviceptr to, unsigned char value, size_t count),
     fill(to, value, 1, count, stream))
SYNC(cuMemsetD16_v2, (CUdeviceptr to, unsigned short value, size_t count),
     fill(to, value, 2, count, stream))
SYNC(cuMemsetD32_v2, (CUdeviceptr to, unsigned int value, size_t count),
     fill(to, value, 4, count, stream))

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy(to, SIDE_ANY, from, SIDE_ANY, bytes, stream, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    return copy(to, SIDE_DEVICE, at(from), SIDE_HOST, bytes, stream, true);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy(at(to), SIDE_HOST, from, SIDE_DEVICE, bytes, stream, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy(to, SIDE_DEVICE, from, SIDE_DEVICE, bytes, stream, true);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
    return fill(to, value, 1, count, stream);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
    return fill(to, value, 2, count, stream);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream) {
    return fill(to, value, 4, count, stream);
}
