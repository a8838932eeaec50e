/* What PTX version and target an opcode needs (features.def), and why some are refused. */
#ifndef SEQTUNE_SOFTGPU_PTX_FEATURE_H
#define SEQTUNE_SOFTGPU_PTX_FEATURE_H

#include "softgpu/ptx/form.h"

typedef struct PtxNeeds {
    int version;  /* 10 * major + minor */
    int target;   /* of sm_N */
    bool special; /* an architecture-specific target: sm_Na or sm_Nf */
} PtxNeeds;

PtxNeeds ptx_needs(const PtxWords *words);
const char *ptx_refused(const PtxWords *words); /* why, or NULL */

#endif
