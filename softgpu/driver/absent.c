/* The calls that this driver does not have (absent.def), for programs that were linked against all
 * of libcuda. The caller's arguments stay where its ABI puts them: nobody looks at them. */
#include "softgpu/driver/abi.h"

#pragma GCC visibility push(default)
#define ABSENT(symbol)                                                                             \
    CUresult symbol(void);                                                                         \
    CUresult symbol(void) {                                                                        \
        return CUDA_ERROR_NOT_SUPPORTED;                                                           \
    }
#include "softgpu/driver/absent.def"
#undef ABSENT
#pragma GCC visibility pop
