/* Copies and fills. A device address must lie, with all its bytes, inside one live allocation; a
 * host address must not be a device address. Both are checked at the call, and again when the
 * operation's turn comes (work.c). A copy is a box of rows and planes; arrays are not played.
 *
 * Pageable memory makes an asynchronous copy synchronous, as the reference manual's "API
 * synchronization behavior" has it for device to host; for host to device the manual promises only
 * that the source may be changed after the call, which waiting fulfils. */
#include "softgpu/driver/state.h"

typedef enum Side { SIDE_HOST, SIDE_DEVICE, SIDE_ANY } Side;

/* Pinned and managed memory is both: unified addressing. */
static bool side_ok(Side side, Place place) {
    if (place == PLACE_BAD) return false;
    if (side == SIDE_DEVICE) return place != PLACE_PAGEABLE;
    return side == SIDE_ANY || place != PLACE_DEVICE;
}

/* One side of a box: where its first byte is and how rows and planes follow. */
typedef struct End {
    Side side;
    uint64_t start, pitch, plane;
} End;

static bool add_product(uint64_t *sum, uint64_t a, uint64_t b) {
    uint64_t product;
    return !__builtin_mul_overflow(a, b, &product) && !__builtin_add_overflow(*sum, product, sum);
}

static CUresult box_place(const End *end, const Work *work, Place *place) {
    uint64_t span = work->u.copy.bytes;
    if (!add_product(&span, work->u.copy.rows - 1, end->pitch) ||
        !add_product(&span, work->u.copy.planes - 1, end->plane))
        return CUDA_ERROR_INVALID_VALUE;
    *place = place_of(end->start, span);
    return side_ok(end->side, *place) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static int device_of(uint64_t address, Place place) {
    const SgAllocation *found = place == PLACE_DEVICE ? sg_mem_find(address) : NULL;
    return found == NULL ? -1 : found->device;
}

/* Fills in places; bytes, rows and planes of `work` are set and not 0. */
static CUresult box_work(const End *to, const End *from, Work *work, CopyInfo *info) {
    Place to_place, from_place;
    CUresult result = box_place(to, work, &to_place);
    if (result == CUDA_SUCCESS) result = box_place(from, work, &from_place);
    if (result != CUDA_SUCCESS) return result;
    work->kind = WORK_COPY;
    work->u.copy.to = (void *)(uintptr_t)to->start;
    work->u.copy.from = (const void *)(uintptr_t)from->start;
    work->u.copy.to_pitch = to->pitch;
    work->u.copy.to_plane = to->plane;
    work->u.copy.from_pitch = from->pitch;
    work->u.copy.from_plane = from->plane;
    info->host = to_place != PLACE_DEVICE || from_place != PLACE_DEVICE;
    info->pageable = to_place == PLACE_PAGEABLE || from_place == PLACE_PAGEABLE;
    work->u.copy.over_bus =
        info->host || device_of(to->start, to_place) != device_of(from->start, from_place);
    return CUDA_SUCCESS;
}

static CUresult end_of(int type, const void *host, CUdeviceptr device, size_t pitch, size_t height,
                       End *end) {
    *end = (End){.pitch = pitch};
    if (__builtin_mul_overflow(pitch, height, &end->plane)) return CUDA_ERROR_INVALID_VALUE;
    switch (type) {
    case CU_MEMORYTYPE_HOST:
        end->side = SIDE_HOST;
        end->start = (uint64_t)(uintptr_t)host;
        return CUDA_SUCCESS;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
        end->side = type == CU_MEMORYTYPE_DEVICE ? SIDE_DEVICE : SIDE_ANY;
        end->start = device;
        return CUDA_SUCCESS;
    case CU_MEMORYTYPE_ARRAY: return CUDA_ERROR_NOT_SUPPORTED; /* no arrays here */
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* Moves to the first byte of the box; a row must fit its pitch and a plane its height. */
static bool end_shift(End *end, const CUDA_MEMCPY3D *box, size_t x, size_t y, size_t z,
                      size_t height) {
    size_t row, rows;
    if (__builtin_add_overflow(x, box->WidthInBytes, &row) ||
        __builtin_add_overflow(y, box->Height, &rows))
        return false;
    if ((rows > 1 || box->Depth > 1) && row > end->pitch) return false;
    if (box->Depth > 1 && rows > height) return false;
    return add_product(&end->start, y, end->pitch) && add_product(&end->start, z, end->plane) &&
           add_product(&end->start, x, 1);
}

CUresult copy_work(const CUDA_MEMCPY3D *box, Work *work, CopyInfo *info) {
    End to, from;
    *info = (CopyInfo){0};
    *work = (Work){.kind = WORK_EMPTY};
    CUresult result = end_of(box->dstMemoryType, box->dstHost, box->dstDevice, box->dstPitch,
                             box->dstHeight, &to);
    if (result == CUDA_SUCCESS)
        result = end_of(box->srcMemoryType, box->srcHost, box->srcDevice, box->srcPitch,
                        box->srcHeight, &from);
    if (result != CUDA_SUCCESS) return result;
    if (box->srcLOD != 0 || box->dstLOD != 0) return CUDA_ERROR_INVALID_VALUE;
    if (box->WidthInBytes == 0 || box->Height == 0 || box->Depth == 0) return CUDA_SUCCESS;
    if (!end_shift(&to, box, box->dstXInBytes, box->dstY, box->dstZ, box->dstHeight) ||
        !end_shift(&from, box, box->srcXInBytes, box->srcY, box->srcZ, box->srcHeight))
        return CUDA_ERROR_INVALID_VALUE;
    work->u.copy.bytes = box->WidthInBytes;
    work->u.copy.rows = box->Height;
    work->u.copy.planes = box->Depth;
    return box_work(&to, &from, work, info);
}

CUresult fill_work(const CUDA_MEMSET_NODE_PARAMS *p, Work *work) {
    const unsigned int size = p->elementSize;
    uint64_t row, bytes;
    *work = (Work){.kind = WORK_EMPTY};
    if (size != 1 && size != 2 && size != 4) return CUDA_ERROR_INVALID_VALUE;
    if (p->width == 0 || p->height == 0) return CUDA_SUCCESS;
    if (__builtin_mul_overflow((uint64_t)p->width, (uint64_t)size, &row))
        return CUDA_ERROR_INVALID_VALUE;
    bytes = row;
    if (p->height > 1 && (p->pitch < row || p->pitch % size != 0)) return CUDA_ERROR_INVALID_VALUE;
    if (!add_product(&bytes, p->height - 1, p->pitch) || p->dst % size != 0 ||
        !side_ok(SIDE_DEVICE, place_of(p->dst, bytes)))
        return CUDA_ERROR_INVALID_VALUE;
    work->kind = WORK_FILL;
    work->u.fill.to = (void *)(uintptr_t)p->dst;
    work->u.fill.value = p->value;
    work->u.fill.width = (int)size;
    work->u.fill.count = p->width;
    work->u.fill.rows = p->height;
    work->u.fill.pitch = p->pitch;
    return CUDA_SUCCESS;
}

static CUresult copy_submit(Stream *stream, Work work, CopyInfo info, bool async) {
    if (work.kind == WORK_EMPTY) return CUDA_SUCCESS; /* nothing is nothing */
    /* "For transfers from device memory to device memory, no host-side synchronization". */
    const bool wait = async ? info.pageable && stream->capture == NULL : info.host;
    if (!async && stream->capture != NULL) return stream_run(stream, work);
    return wait ? stream_run(stream, work) : stream_enqueue(stream, work, NULL, 0, NULL);
}

static CUresult copy_box(const CUDA_MEMCPY3D *box, CUstream handle, bool async) {
    Stream *stream = NULL;
    Work work;
    CopyInfo info;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (box == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    result = copy_work(box, &work, &info);
    return leave(result != CUDA_SUCCESS ? result : copy_submit(stream, work, info, async));
}

static CUresult copy_rows(const CUDA_MEMCPY2D *p, CUstream handle, bool async) {
    if (p == NULL) return copy_box(NULL, handle, async);
    const CUDA_MEMCPY3D box = {.srcXInBytes = p->srcXInBytes,
                               .srcY = p->srcY,
                               .srcMemoryType = p->srcMemoryType,
                               .srcHost = p->srcHost,
                               .srcDevice = p->srcDevice,
                               .srcPitch = p->srcPitch,
                               .dstXInBytes = p->dstXInBytes,
                               .dstY = p->dstY,
                               .dstMemoryType = p->dstMemoryType,
                               .dstHost = p->dstHost,
                               .dstDevice = p->dstDevice,
                               .dstPitch = p->dstPitch,
                               .WidthInBytes = p->WidthInBytes,
                               .Height = p->Height,
                               .Depth = 1};
    return copy_box(&box, handle, async);
}

static CUresult copy(uint64_t to, Side to_side, uint64_t from, Side from_side, size_t bytes,
                     CUstream handle, bool async) {
    Stream *stream = NULL;
    CopyInfo info;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (bytes == 0) return leave(CUDA_SUCCESS);
    Work work = {.kind = WORK_COPY};
    work.u.copy.bytes = bytes;
    work.u.copy.rows = work.u.copy.planes = 1;
    result = box_work(&(End){.side = to_side, .start = to},
                      &(End){.side = from_side, .start = from}, &work, &info);
    return leave(result != CUDA_SUCCESS ? result : copy_submit(stream, work, info, async));
}

/* "if the current context... the contexts of both sides" must exist; null stands for none. */
static CUresult peers_check(CUcontext to, CUcontext from) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    return leave(FIND(Context, CONTEXT, to) == NULL || FIND(Context, CONTEXT, from) == NULL
                     ? CUDA_ERROR_INVALID_CONTEXT
                     : CUDA_SUCCESS);
}

static CUresult copy_peer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                          CUcontext from_context, size_t bytes, CUstream handle, bool async) {
    const CUresult result = peers_check(to_context, from_context);
    if (result != CUDA_SUCCESS) return result;
    return copy(to, SIDE_DEVICE, from, SIDE_DEVICE, bytes, handle, async);
}

static CUresult copy_box_peer(const CUDA_MEMCPY3D *box, CUstream handle, bool async) {
    if (box == NULL) return copy_box(NULL, handle, async);
    const CUresult result = peers_check(box->dstContext, box->srcContext);
    return result != CUDA_SUCCESS ? result : copy_box(box, handle, async);
}

static CUresult fill_rows(CUdeviceptr to, size_t pitch, uint32_t value, unsigned int element,
                          size_t width, size_t height, CUstream handle) {
    Stream *stream = NULL;
    Work work;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    const CUDA_MEMSET_NODE_PARAMS rows = {to, pitch, value, element, width, height};
    result = fill_work(&rows, &work);
    if (result != CUDA_SUCCESS || work.kind == WORK_EMPTY) return leave(result);
    return leave(stream_enqueue(stream, work, NULL, 0, NULL));
}

static CUresult fill(CUdeviceptr to, uint32_t value, unsigned int element, size_t count,
                     CUstream handle) {
    return fill_rows(to, 0, value, element, count, 1, handle);
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

SYNC(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *box), copy_rows(box, stream, false))
SYNC(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *box), copy_rows(box, stream, false))
SYNC(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *box), copy_box(box, stream, false))
SYNC(cuMemcpy3DPeer, (const CUDA_MEMCPY3D *box), copy_box_peer(box, stream, false))
SYNC(cuMemcpyPeer,
     (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t bytes),
     copy_peer(to, to_context, from, from_context, bytes, stream, false))
SYNC(cuMemsetD2D8_v2,
     (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height),
     fill_rows(to, pitch, value, 1, width, height, stream))
SYNC(cuMemsetD2D16_v2,
     (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height),
     fill_rows(to, pitch, value, 2, width, height, stream))
SYNC(cuMemsetD2D32_v2,
     (CUdeviceptr to, size_t pitch, unsigned int value, size_t width, size_t height),
     fill_rows(to, pitch, value, 4, width, height, stream))

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *box, CUstream stream) {
    return copy_rows(box, stream, true);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *box, CUstream stream) {
    return copy_box(box, stream, true);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D *box, CUstream stream) {
    return copy_box_peer(box, stream, true);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                           CUcontext from_context, size_t bytes, CUstream stream) {
    return copy_peer(to, to_context, from, from_context, bytes, stream, true);
}

CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream) {
    return fill_rows(to, pitch, value, 1, width, height, stream);
}

CUresult cuMemsetD2D16Async(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream) {
    return fill_rows(to, pitch, value, 2, width, height, stream);
}

CUresult cuMemsetD2D32Async(CUdeviceptr to, size_t pitch, unsigned int value, size_t width,
                            size_t height, CUstream stream) {
    return fill_rows(to, pitch, value, 4, width, height, stream);
}

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
