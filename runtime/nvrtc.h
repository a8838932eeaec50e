/* NVRTC as a table of function pointers, found at run time.
 *
 * Invariant: an open Nvrtc produces code that the driver it was opened for accepts. Thread-safe
 * after nvrtc_open; programs may be compiled from several threads at once. It compiles nothing
 * itself (runtime/build does). */
#ifndef SEQTUNE_RUNTIME_NVRTC_H
#define SEQTUNE_RUNTIME_NVRTC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct Nvrtc {
#define NVRTC_FN(member, symbol, params) int(*member) params;
#include "runtime/nvrtc.def"
#undef NVRTC_FN
    const char *(*GetErrorString)(int result);
    void *handle;
    int version;        /* 13000 is 13.0 */
    char path[512];     /* of the library */
    char toolchain[64]; /* "nvrtc 13.0": part of every artifact's key */
    int archs[64];      /* compute capabilities it compiles for: 75, 80, ... */
    int arch_count;
} Nvrtc;

/* The newest libnvrtc.so.N that a driver of `driver_version` accepts (0: no driver, any will do),
 * from: $SEQTUNE_NVRTC (then only that), the loader's path, CUDA toolkits in /usr/local, Python
 * wheels (site-packages/nvidia), $VIRTUAL_ENV and the data directory's nvrtc/. ST_NOT_FOUND lists
 * what was found and why it was refused, and names the wheel to install. */
Status nvrtc_open(int driver_version, Nvrtc **out, Error *err);
void nvrtc_close(Nvrtc *nvrtc);

/* The same over given directories only (glob patterns; NULL-terminated). */
Status nvrtc_open_in(const char *const *patterns, int driver_version, Nvrtc **out, Error *err);

bool nvrtc_knows_arch(const Nvrtc *nvrtc, int cc);

/* How well a driver takes what an NVRTC makes. Across major versions neither PTX nor cubin of the
 * newer loads; within one, a newer minor's cubin loads (minor version compatibility) but its PTX
 * does not. */
typedef enum NvrtcFit { NVRTC_REFUSED, NVRTC_CUBIN_ONLY, NVRTC_FITS } NvrtcFit;
NvrtcFit nvrtc_fit(int nvrtc_version, int driver_version);

/* The argument of pip for the newest NVRTC whose PTX a driver takes: 'nvidia-cuda-nvrtc==13.0.*'
 * (driver_version 0: any version). */
void nvrtc_requirement(int driver_version, char *out, size_t size);

#endif
