/* Types shared by C and CUDA text; compiled by the C compiler and by NVRTC. No #include here.
 * Pointers are device addresses. Every struct is passed by value as the kernel's one parameter. */
#ifndef SEQTUNE_PARAMS_TYPES_H
#define SEQTUNE_PARAMS_TYPES_H

typedef unsigned long long st_address; /* CUdeviceptr */
typedef long long st_stride;           /* in elements */

#endif
