/* The variants whose null stream is the per-thread default stream: the same calls with the handle
 * CU_STREAM_PER_THREAD in its place. */
#include "softgpu/driver/state.h"

static CUstream own(CUstream stream) {
    return stream != NULL ? stream : (CUstream)(uintptr_t)CU_STREAM_PER_THREAD_HANDLE;
}

#define PER_THREAD(name, parameters, ...)                                                          \
    CUresult name##_ptsz parameters {                                                              \
        return name(__VA_ARGS__);                                                                  \
    }

PER_THREAD(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream), to,
           from, bytes, own(stream))
PER_THREAD(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream),
           to, from, bytes, own(stream))
PER_THREAD(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream), to,
           from, bytes, own(stream))
PER_THREAD(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream),
           to, from, bytes, own(stream))
PER_THREAD(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t count, CUstream stream),
           to, value, count, own(stream))
PER_THREAD(cuMemsetD16Async, (CUdeviceptr to, unsigned short value, size_t count, CUstream stream),
           to, value, count, own(stream))
PER_THREAD(cuMemsetD32Async, (CUdeviceptr to, unsigned int value, size_t count, CUstream stream),
           to, value, count, own(stream))
PER_THREAD(cuMemPrefetchAsync,
           (CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream), address, bytes,
           device, own(stream))
PER_THREAD(cuMemPrefetchAsync_v2,
           (CUdeviceptr address, size_t bytes, CUmemLocation location, unsigned int flags,
            CUstream stream),
           address, bytes, location, flags, own(stream))
PER_THREAD(cuStreamAttachMemAsync,
           (CUstream stream, CUdeviceptr address, size_t length, unsigned int flags), own(stream),
           address, length, flags)
PER_THREAD(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *box, CUstream stream), box, own(stream))
PER_THREAD(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *box, CUstream stream), box, own(stream))
PER_THREAD(cuMemcpy3DPeerAsync, (const CUDA_MEMCPY3D *box, CUstream stream), box, own(stream))
PER_THREAD(cuMemcpyPeerAsync,
           (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
            size_t bytes, CUstream stream),
           to, to_context, from, from_context, bytes, own(stream))
PER_THREAD(cuMemsetD2D8Async,
           (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height,
            CUstream stream),
           to, pitch, value, width, height, own(stream))
PER_THREAD(cuMemsetD2D16Async,
           (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height,
            CUstream stream),
           to, pitch, value, width, height, own(stream))
PER_THREAD(cuMemsetD2D32Async,
           (CUdeviceptr to, size_t pitch, unsigned int value, size_t width, size_t height,
            CUstream stream),
           to, pitch, value, width, height, own(stream))
PER_THREAD(cuMemAllocAsync, (CUdeviceptr * address, size_t bytes, CUstream stream), address, bytes,
           own(stream))
PER_THREAD(cuMemAllocFromPoolAsync,
           (CUdeviceptr * address, size_t bytes, CUmemoryPool pool, CUstream stream), address,
           bytes, pool, own(stream))
PER_THREAD(cuMemFreeAsync, (CUdeviceptr address, CUstream stream), address, own(stream))
PER_THREAD(cuStreamQuery, (CUstream stream), own(stream))
PER_THREAD(cuStreamSynchronize, (CUstream stream), own(stream))
PER_THREAD(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned int flags), own(stream),
           event, flags)
PER_THREAD(cuStreamAddCallback,
           (CUstream stream, CUstreamCallback callback, void *data, unsigned int flags),
           own(stream), callback, data, flags)
PER_THREAD(cuLaunchHostFunc, (CUstream stream, CUhostFn function, void *data), own(stream),
           function, data)
PER_THREAD(cuStreamGetFlags, (CUstream stream, unsigned int *flags), own(stream), flags)
PER_THREAD(cuStreamGetPriority, (CUstream stream, int *priority), own(stream), priority)
PER_THREAD(cuStreamGetCtx, (CUstream stream, CUcontext *context), own(stream), context)
PER_THREAD(cuStreamGetId, (CUstream stream, unsigned long long *id), own(stream), id)
PER_THREAD(cuStreamGetDevice, (CUstream stream, CUdevice *device), own(stream), device)
PER_THREAD(cuStreamBeginCapture, (CUstream stream), own(stream))
PER_THREAD(cuStreamBeginCapture_v2, (CUstream stream, int mode), own(stream), mode)
PER_THREAD(cuStreamEndCapture, (CUstream stream, CUgraph *graph), own(stream), graph)
PER_THREAD(cuStreamIsCapturing, (CUstream stream, int *status), own(stream), status)
PER_THREAD(cuStreamGetCaptureInfo, (CUstream stream, int *status, uint64_t *id), own(stream),
           status, id)
PER_THREAD(cuStreamGetCaptureInfo_v2,
           (CUstream stream, int *status, uint64_t *id, CUgraph *graph, const CUgraphNode **nodes,
            size_t *count),
           own(stream), status, id, graph, nodes, count)
PER_THREAD(cuEventRecord, (CUevent event, CUstream stream), event, own(stream))
PER_THREAD(cuEventRecordWithFlags, (CUevent event, CUstream stream, unsigned int flags), event,
           own(stream), flags)
PER_THREAD(cuGraphUpload, (CUgraphExec exec, CUstream stream), exec, own(stream))
PER_THREAD(cuGraphLaunch, (CUgraphExec exec, CUstream stream), exec, own(stream))
PER_THREAD(cuLaunchKernel,
           (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
            unsigned int block_x, unsigned int block_y, unsigned int block_z,
            unsigned int shared_bytes, CUstream stream, void **params, void **extra),
           function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, own(stream),
           params, extra)
PER_THREAD(cuLaunchCooperativeKernel,
           (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
            unsigned int block_x, unsigned int block_y, unsigned int block_z,
            unsigned int shared_bytes, CUstream stream, void **params),
           function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, own(stream),
           params)

PER_THREAD(cuStreamWaitValue32,
           (CUstream stream, CUdeviceptr address, uint32_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamWaitValue64,
           (CUstream stream, CUdeviceptr address, uint64_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamWriteValue32,
           (CUstream stream, CUdeviceptr address, uint32_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamWriteValue64,
           (CUstream stream, CUdeviceptr address, uint64_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamBatchMemOp,
           (CUstream stream, unsigned int count, const CUstreamBatchMemOpParams *operations,
            unsigned int flags),
           own(stream), count, operations, flags)
PER_THREAD(cuStreamBatchMemOp_v2,
           (CUstream stream, unsigned int count, const CUstreamBatchMemOpParams *operations,
            unsigned int flags),
           own(stream), count, operations, flags)
PER_THREAD(cuStreamWaitValue32_v2,
           (CUstream stream, CUdeviceptr address, uint32_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamWaitValue64_v2,
           (CUstream stream, CUdeviceptr address, uint64_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamWriteValue32_v2,
           (CUstream stream, CUdeviceptr address, uint32_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamWriteValue64_v2,
           (CUstream stream, CUdeviceptr address, uint64_t value, unsigned int flags), own(stream),
           address, value, flags)
PER_THREAD(cuStreamGetAttribute, (CUstream handle, int attribute, void *value), own(handle),
           attribute, value)
PER_THREAD(cuStreamSetAttribute, (CUstream handle, int attribute, const void *value), own(handle),
           attribute, value)
PER_THREAD(cuStreamCopyAttributes, (CUstream to, CUstream from), own(to), own(from))
PER_THREAD(cuStreamUpdateCaptureDependencies,
           (CUstream handle, CUgraphNode *nodes, size_t count, unsigned int flags), own(handle),
           nodes, count, flags)
PER_THREAD(cuStreamUpdateCaptureDependencies_v2,
           (CUstream handle, CUgraphNode *nodes, const CUgraphEdgeData *edges, size_t count,
            unsigned int flags),
           own(handle), nodes, edges, count, flags)
PER_THREAD(cuStreamGetCaptureInfo_v3,
           (CUstream handle, int *status, uint64_t *id, CUgraph *graph, const CUgraphNode **nodes,
            const CUgraphEdgeData **edges, size_t *count),
           own(handle), status, id, graph, nodes, edges, count)

/* The upload stream orders nothing here. */
PER_THREAD(cuGraphInstantiateWithParams,
           (CUgraphExec * exec, CUgraph graph, CUgraphInstantiateParams *params), exec, graph,
           params)

CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig *config, CUfunction function, void **params,
                               void **extra) {
    if (config == NULL) return CUDA_ERROR_INVALID_VALUE;
    CUlaunchConfig mine = *config;
    mine.hStream = own(config->hStream);
    return cuLaunchKernelEx(&mine, function, params, extra);
}
