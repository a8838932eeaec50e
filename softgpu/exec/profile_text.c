/* Words for profiles: names of classes, types and movers, places of rows. Apart from profile.c so
 * that they link without the executor. */
#include "softgpu/exec/module.h"
#include "softgpu/exec/profile.h"

const char *sg_class_name(SgClass class) {
    static const char *const names[] = {
#define CLASS(id, name) name,
        SG_CLASSES
#undef CLASS
    };
    return names[class];
}

const char *sg_tensor_name(SgTensorType type) {
    static const char *const names[SG_TENSOR_COUNT] = {"f16", "bf16", "tf32", "f64", "int8", "fp8"};
    return names[type];
}

const char *sg_mover_name(SgMover mover) {
    static const char *const names[SG_MOVERS] = {"load", "store", "atomic", "ldmatrix", "cp.async"};
    return names[mover];
}

const char *sg_row_place(const SgKernel *kernel, const SgRow *row, char *out, size_t size) {
    return ptx_place(kernel->module->ptx, row->instr->loc_file, row->instr->loc_line, out, size);
}
