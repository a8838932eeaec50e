/* Words for profiles: names of classes, places of rows. Apart from profile.c so
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

const char *sg_row_place(const SgKernel *kernel, const SgRow *row, char *out, size_t size) {
    return ptx_place(kernel->module->ptx, row->instr->loc_file, row->instr->loc_line, out, size);
}

const char *sg_row_caller(const SgKernel *kernel, const SgRow *row, char *out, size_t size) {
    return ptx_place(kernel->module->ptx, row->instr->call_file, row->instr->call_line, out, size);
}
