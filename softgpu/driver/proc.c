/* cuGetProcAddress: names and versions to functions, from exports.def. */
#include "softgpu/driver/state.h"

#include <string.h>

typedef void (*Function0)(void);

typedef struct Symbol {
    const char *name; /* base name, as the caller gives it */
    int since;
    Function0 function;
    Function0 per_thread; /* NULL: has no such variant */
} Symbol;

static const Symbol symbols[] = {
#define API(symbol, name, since, parameters) {#name, since, (Function0)symbol, NULL},
#define API_STREAM(symbol, name, since, parameters)                                                \
    {#name, since, (Function0)symbol, (Function0)symbol##_ptsz},
#define API_SYNC(symbol, name, since, parameters)                                                  \
    {#name, since, (Function0)symbol, (Function0)symbol##_ptds},
#include "softgpu/driver/exports.def"
#undef API
#undef API_STREAM
#undef API_SYNC
    /* cuda.h maps this name to another call from CUDA 12 on. */
    {"cuGraphInstantiate", 12000, (Function0)cuGraphInstantiateWithFlags, NULL},
};

enum { PER_THREAD_SINCE = 7000 };

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags,
                             int *status) {
    const uint64_t known =
        CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    if (symbol == NULL || function == NULL || (flags & ~known) != 0 || flags == known)
        return CUDA_ERROR_INVALID_VALUE;
    *function = NULL;
    /* "If the specified CUDA version is greater than the driver version": INVALID_VALUE. */
    if (version > driver_version()) return CUDA_ERROR_INVALID_VALUE;
    const Symbol *best = NULL;
    bool exists = false;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        if (strcmp(symbols[i].name, symbol) != 0) continue;
        exists = true;
        if (symbols[i].since <= version && (best == NULL || symbols[i].since > best->since))
            best = &symbols[i];
    }
    if (status != NULL)
        *status = best != NULL ? CU_GET_PROC_ADDRESS_SUCCESS
                  : exists     ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                               : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (best == NULL) return CUDA_SUCCESS;
    const bool per_thread = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0 &&
                            version >= PER_THREAD_SINCE && best->per_thread != NULL;
    const Function0 found = per_thread ? best->per_thread : best->function;
    memcpy(function, &found, sizeof found); /* POSIX: function pointers fit in void * */
    return CUDA_SUCCESS;
}

/* The form of CUDA 11.3 had no status; a missing symbol was an error. */
CUresult cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    int status = CU_GET_PROC_ADDRESS_SUCCESS;
    const CUresult result = cuGetProcAddress_v2(symbol, function, version, flags, &status);
    if (result != CUDA_SUCCESS) return result;
    return status == CU_GET_PROC_ADDRESS_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
