/* The calls of CUDA 3.1 whose device pointers and sizes have 32 bits, under the names without
 * suffix that the real library still exports for them; boxes (CUDA_MEMCPY2D_v1) are not looked at.
 * Every context here has API version 3020 (cuCtxGetApiVersion), and the reference manual gives
 * INVALID_CONTEXT "if a user mixes different API versions". A program that looks up "cuMemAlloc"
 * where it means cuMemAlloc_v2 so fails at once. */
#include "softgpu/driver/state.h"

static CUresult mixed_versions(void) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    return result != CUDA_SUCCESS ? result : leave(CUDA_ERROR_INVALID_CONTEXT);
}

#define OLD(name, parameters)                                                                      \
    CUresult name parameters {                                                                     \
        return mixed_versions();                                                                   \
    }

#pragma GCC diagnostic ignored "-Wunused-parameter"

OLD(cuModuleGetGlobal,
    (CUdeviceptr_v1 * address, unsigned int *bytes, CUmodule module, const char *name))
OLD(cuMemGetInfo, (unsigned int *free_bytes, unsigned int *total))
OLD(cuMemAlloc, (CUdeviceptr_v1 * address, unsigned int bytes))
OLD(cuMemFree, (CUdeviceptr_v1 address))
OLD(cuMemGetAddressRange, (CUdeviceptr_v1 * base, unsigned int *bytes, CUdeviceptr_v1 address))
OLD(cuMemHostGetDevicePointer, (CUdeviceptr_v1 * address, void *host, unsigned int flags))
OLD(cuMemcpyHtoD, (CUdeviceptr_v1 to, const void *from, unsigned int bytes))
OLD(cuMemcpyDtoH, (void *to, CUdeviceptr_v1 from, unsigned int bytes))
OLD(cuMemcpyDtoD, (CUdeviceptr_v1 to, CUdeviceptr_v1 from, unsigned int bytes))
OLD(cuMemcpyHtoDAsync, (CUdeviceptr_v1 to, const void *from, unsigned int bytes, CUstream stream))
OLD(cuMemcpyDtoHAsync, (void *to, CUdeviceptr_v1 from, unsigned int bytes, CUstream stream))
OLD(cuMemcpyDtoDAsync,
    (CUdeviceptr_v1 to, CUdeviceptr_v1 from, unsigned int bytes, CUstream stream))
OLD(cuMemsetD8, (CUdeviceptr_v1 to, unsigned char value, unsigned int count))
OLD(cuMemsetD16, (CUdeviceptr_v1 to, unsigned short value, unsigned int count))
OLD(cuMemsetD32, (CUdeviceptr_v1 to, unsigned int value, unsigned int count))
OLD(cuMemAllocPitch, (CUdeviceptr_v1 * address, unsigned int *pitch, unsigned int width,
                      unsigned int height, unsigned int element))
OLD(cuMemcpy2D, (const void *box))
OLD(cuMemcpy2DUnaligned, (const void *box))
OLD(cuMemcpy2DAsync, (const void *box, CUstream stream))
OLD(cuMemcpy3D, (const void *box))
OLD(cuMemcpy3DAsync, (const void *box, CUstream stream))
OLD(cuMemsetD2D8, (CUdeviceptr_v1 to, unsigned int pitch, unsigned char value, unsigned int width,
                   unsigned int height))
OLD(cuMemsetD2D16, (CUdeviceptr_v1 to, unsigned int pitch, unsigned short value, unsigned int width,
                    unsigned int height))
OLD(cuMemsetD2D32, (CUdeviceptr_v1 to, unsigned int pitch, unsigned int value, unsigned int width,
                    unsigned int height))
