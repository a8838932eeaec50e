/* The lane-wise handlers, compiled once per instruction set (sources.cmake sets SG_ISA and the
 * compiler's target options); exec/handlers.c picks one set at run time.
 *
 * Arithmetic here wraps and narrows as the PTX types say: the target is built without
 * -Wconversion for that reason. */
#include "softgpu/exec/lanes.h"
#include "softgpu/exec/vector.h"

#include "softgpu/exec/lane_int.h"
#include "softgpu/exec/lane_float.h"
#include "softgpu/exec/directed.h"
#include "softgpu/exec/lane_narrow.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b)  JOIN2(a, b)

extern const Handler JOIN(sg_lane_handlers_, SG_ISA)[];
extern const Handler JOIN(sg_lane_extras_, SG_ISA)[];

const Handler JOIN(sg_lane_handlers_, SG_ISA)[] = {
#define OP(form, shape, pipe, handler) h_##handler,
#define EXTRA(handler)
#include "softgpu/ptx/ops_lane.def"
#undef OP
#undef EXTRA
};
const Handler JOIN(sg_lane_extras_, SG_ISA)[] = {
#define OP(form, shape, pipe, handler)
#define EXTRA(handler) h_##handler,
#include "softgpu/ptx/ops_lane.def"
#undef OP
#undef EXTRA
};
