/* What the tests of seqtune run-ptx share: kernels, and a run of a description on them. */
#ifndef SEQTUNE_TESTS_TUNER_RUN_PTX_KERNELS_H
#define SEQTUNE_TESTS_TUNER_RUN_PTX_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tuner/program.h"
#include "tuner/options.h"

static inline void put(const char *name, const char *text) {
    FILE *f = fopen(name, "w"); /* the group runs in its own home */
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Four kernels: s = struct by value {out, a, b, step}; scale doubles in place; far stores behind
 * the end; spin never ends; var adds a module variable. */
static const char kernels[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".global .align 4 .f32 bias[2];\n"
    "/* not an .entry here */\n"
    ".visible .entry fields(.param .align 8 .b8 p[32]) {\n"
    "  .reg .b32 %r<4>; .reg .f32 %f<3>; .reg .b64 %d<3>;\n"
    "  ld.param.u64 %d0, [p];\n  ld.param.f32 %f0, [p+8];\n  ld.param.f32 %f1, [p+12];\n"
    "  mov.u32 %r0, %tid.x;\n  mul.wide.u32 %d1, %r0, 4;\n  add.u64 %d2, %d0, %d1;\n"
    "  add.f32 %f2, %f0, %f1;\n  st.global.f32 [%d2], %f2;\n  ret;\n}\n"
    ".visible .entry scale(.param .u64 x) {\n"
    "  .reg .b32 %r<3>; .reg .f32 %f<2>; .reg .b64 %d<3>;\n"
    "  ld.param.u64 %d0, [x];\n  mov.u32 %r0, %tid.x;\n  mov.u32 %r1, %ctaid.x;\n"
    "  mov.u32 %r2, %ntid.x;\n  mad.lo.u32 %r0, %r1, %r2, %r0;\n  mul.wide.u32 %d1, %r0, 4;\n"
    "  add.u64 %d2, %d0, %d1;\n  ld.global.f32 %f0, [%d2];\n  add.f32 %f1, %f0, %f0;\n"
    "  st.global.f32 [%d2], %f1;\n  ret;\n}\n"
    ".visible .entry far(.param .u64 x, .param .s32 by) {\n"
    "  .reg .b32 %r<2>; .reg .b64 %d<4>;\n"
    "  ld.param.u64 %d0, [x];\n  ld.param.s32 %r0, [by];\n  cvt.s64.s32 %d1, %r0;\n"
    "  add.u64 %d2, %d0, %d1;\n  st.global.u32 [%d2], %r0;\n  ret;\n}\n"
    ".visible .entry spin(.param .u64 x) {\n"
    "  .reg .b32 %r<2>; .reg .b64 %d<2>; .reg .pred %p;\n"
    "  ld.param.u64 %d0, [x];\nAGAIN:\n  add.u32 %r0, %r0, 1;\n  st.global.u32 [%d0], %r0;\n"
    "  bra AGAIN;\n}\n"
    ".visible .entry var(.param .u64 x) {\n"
    "  .reg .f32 %f<3>; .reg .b64 %d<2>;\n"
    "  ld.param.u64 %d0, [x];\n  ld.global.f32 %f0, [bias+4];\n  st.global.f32 [%d0], %f0;\n"
    "  ret;\n}\n"
    ".visible .entry wide(.param .u64 x) {\n"
    "  .reg .b32 %r<6>; .reg .b64 %d<5>; .reg .pred %p;\n"
    "  ld.param.u64 %d0, [x];\n  mov.u32 %r0, %tid.x;\n  setp.gt.u32 %p, %r0, 2000;\n"
    "  add.u32 %r1, %r0, 40000;\n  add.u32 %r2, %r0, 65536;\n  mul.lo.s32 %r3, %r1, %r2;\n"
    "  mul.wide.s32 %d1, %r3, 4;\n  add.s64 %d2, %d0, %d1;\n  @%p ld.global.u32 %r4, [%d2];\n"
    "  @%p st.global.u32 [%d0], %r4;\n  ret;\n}\n"
    ".visible .entry follow(.param .u64 table) {\n"
    "  .reg .b32 %r<2>; .reg .b64 %d<3>;\n"
    "  ld.param.u64 %d0, [table];\n  ld.global.u64 %d1, [%d0+8];\n  mov.u32 %r0, 77;\n"
    "  st.global.u32 [%d1], %r0;\n  ret;\n}\n";

/* Runs one description on `kernels`; the GPU is the software GPU. */
static inline Ran run_desc(const char *desc, const char *options) {
    put("k.ptx", kernels);
    put("d.lua", desc);
    return program_run("run-ptx k.ptx --launch d.lua --gpu soft:a100 %s", options);
}

static inline void expect_run(const char *desc, const char *options, int code, const char *text) {
    Ran ran = run_desc(desc, options);
    program_expect(&ran, code, text);
    program_free(&ran);
}

#endif
