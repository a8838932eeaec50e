/* Access between devices: which context may use whose memory.
 *
 * All soft devices share one address space, so copies between them need no setting up. A kernel may
 * use the memory of its own device and of those whose access its context enabled (launch.c asks the
 * list kept here); others fault in the executor (sg_mem_reached).
 */
#include "softgpu/driver/state.h"

#include "base/mem.h"

static bool is_device(CUdevice device) {
    return device >= 0 && device < driver.device_count;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (!is_device(device) || !is_device(peer)) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (can == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *can = device != peer;
    return leave(CUDA_SUCCESS);
}

enum { P2P_RANK = 1, P2P_ACCESS = 2, P2P_ATOMICS = 3, P2P_ARRAYS = 4, P2P_PARTIAL_ATOMICS = 5 };

CUresult cuDeviceGetP2PAttribute(int *value, int attribute, CUdevice from, CUdevice to) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    /* "INVALID_DEVICE if srcDevice or dstDevice are not valid or if they represent the same device"
     */
    if (!is_device(from) || !is_device(to) || from == to) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (value == NULL || attribute < P2P_RANK || attribute > P2P_PARTIAL_ATOMICS)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *value = attribute == P2P_ACCESS || attribute == P2P_ATOMICS;
    return leave(CUDA_SUCCESS);
}

/* Index of `peer` among those enabled; peer_count: it is not. */
static size_t peer_index(const Context *context, const void *peer) {
    size_t i = 0;
    while (i < context->peer_count && context->peers[i] != peer) i++;
    return i;
}

CUresult cuCtxEnablePeerAccess(CUcontext handle, unsigned int flags) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    const Context *peer = FIND(Context, CONTEXT, handle);
    if (flags != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    if (peer == NULL || peer == context) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (peer->device == context->device) return leave(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    if (peer_index(context, handle) < context->peer_count)
        return leave(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
    void **peers = mem_realloc(context->peers, (context->peer_count + 1) * sizeof *peers);
    if (peers == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    context->peers = peers;
    context->peers[context->peer_count++] = handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxDisablePeerAccess(CUcontext handle) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Context, CONTEXT, handle) == NULL) return leave(CUDA_ERROR_INVALID_CONTEXT);
    const size_t i = peer_index(context, handle);
    if (i == context->peer_count) return leave(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    context->peers[i] = context->peers[--context->peer_count];
    return leave(CUDA_SUCCESS);
}
