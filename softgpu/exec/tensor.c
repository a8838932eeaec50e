/* Handlers on memory and matrices, compiled once per instruction set like lane.c, and once more
 * with SG_CHECKED for modules loaded with content checks (exec/checks.h). */
#include "softgpu/exec/half.h"
#include "softgpu/exec/lanes.h"
#include "softgpu/exec/vector.h"

static inline float canon_nan(float z) {
    return z != z ? as_f32(0x7fffffffu) : z;
}

#include "softgpu/exec/access.h"
#include "softgpu/exec/atomic.h"
#include "softgpu/exec/matrix.h"
#include "softgpu/exec/wmma.h"
#include "softgpu/exec/mma.h"
#include "softgpu/exec/mma_exact.h"
#include "softgpu/exec/mbarrier.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b)  JOIN2(a, b)

extern const Handler JOIN(sg_tensor_handlers_, SG_ISA)[];
extern const Handler JOIN(sg_tensor_extras_, SG_ISA)[];

const Handler JOIN(sg_tensor_handlers_, SG_ISA)[] = {
#define OP(form, shape, pipe, handler) h_##handler,
#define EXTRA(handler)
#include "softgpu/ptx/ops_tensor.def"
#undef OP
#undef EXTRA
};
const Handler JOIN(sg_tensor_extras_, SG_ISA)[] = {
#define OP(form, shape, pipe, handler)
#define EXTRA(handler) h_##handler,
#include "softgpu/ptx/ops_tensor.def"
#undef OP
#undef EXTRA
};
