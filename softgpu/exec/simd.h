/* The instruction sets of the host that handlers are built for; SOFTGPU_SIMD names the one to use.
 *
 * Every level gives the same bits: what is wider is only faster. */
#ifndef SEQTUNE_SOFTGPU_EXEC_SIMD_H
#define SEQTUNE_SOFTGPU_EXEC_SIMD_H

#include <stdbool.h>

#include "base/status.h"

/* Names from the narrowest on ("sse2", "avx2", "avx512"; "generic" on other processors); NULL past
 * the last. */
const char *sg_simd_name(int level);
bool sg_simd_supported(int level); /* by this host */

/* $SOFTGPU_SIMD, else the widest that the host has. ST_INVALID for a name that is none, and
 * ST_UNSUPPORTED for one that the host lacks. */
Status sg_simd_choose(int *level, Error *err);

#endif
