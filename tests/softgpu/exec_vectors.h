/* The opcode tables and the PTX that runs one row of them: inputs at [p], the result of lane l at
 * [p + 64 + 8 l]. For the executor (exec_opcodes_test.c) and for any driver
 * (driver_vectors_test.c). */
#ifndef SEQTUNE_TESTS_SOFTGPU_EXEC_VECTORS_H
#define SEQTUNE_TESTS_SOFTGPU_EXEC_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct Vector {
    const char *code;
    char class; /* r, R, h or p */
    uint64_t a, b, c, result;
} Vector;

static const Vector integers[] = {
#define V(code, class, a, b, c, result) {code, #class[0], a, b, c, result},
#include "exec_opcodes_int.inc"
};
static const Vector floats[] = {
#include "exec_opcodes_float.inc"
};
static const Vector modifiers[] = {
#include "exec_opcodes_narrow.inc"
};
static const Vector others[] = {
#include "exec_opcodes_more.inc"
};

/* Entry v<i>. */
static inline void emit_entry(Str *s, size_t i, const Vector *v) {
    str_printf(s,
               ".visible .entry v%zu(.param .u64 p) {\n.reg .b32 %%r<8>; .reg .b64 %%rd<16>;\n"
               ".reg .b16 %%h<4>; .reg .pred %%p<4>;\nld.param.u64 %%rd8, [p];\n",
               i);
    for (int k = 1; k <= 3; k++)
        str_printf(s,
                   "ld.global.u64 %%rd%d, [%%rd8+%d];\ncvt.u32.u64 %%r%d, %%rd%d;\n"
                   "cvt.u16.u64 %%h%d, %%rd%d;\nand.b32 %%r7, %%r%d, 1;\n"
                   "setp.ne.u32 %%p%d, %%r7, 0;\n",
                   k, 8 * k - 8, k, k, k, k, k, k);
    str_printf(s, "%s\n", v->code);
    if (v->class == 'r') str_puts(s, "cvt.u64.u32 %rd0, %r0;\n");
    if (v->class == 'h') str_puts(s, "cvt.u64.u16 %rd0, %h0;\n");
    if (v->class == 'p') str_puts(s, "selp.b64 %rd0, 1, 0, %p0;\n");
    str_puts(s, "mov.u32 %r7, %tid.x;\nmul.wide.u32 %rd9, %r7, 8;\nadd.s64 %rd9, %rd8, %rd9;\n"
                "st.global.u64 [%rd9+64], %rd0;\nret;\n}\n");
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

#endif
