/* The parser and the decoder: what they take, what they refuse and how, and that no text harms. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static void refuses(const char *text, const char *part) {
    Error err = {0};
    const char *const message = load_error("sm_80", text, &err);
    if (!strstr(message, part)) fail_msg("\"%s\" does not say \"%s\"", message, part);
}

#define BODY(code)                                                                                 \
    PTX_HEADER ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<8>; .reg .b64 %rd<8>; "           \
               ".reg .pred %p<4>;\n" code "\nret;\n}\n"

static void an_unknown_instruction_is_named_with_its_template_line(void **state) {
    (void)state;
    refuses(
        PTX_HEADER ".visible .entry kern(.param .u64 p) {\n.reg .b32 %r<8>;\n"
                   ".loc 1 118 3\nwgmma.fence.sync.aligned;\nret;\n}\n"
                   ".file 1 \"/seqtune/attn/prefill_mma.cu\"\n",
        "kern: PTX line 7 (attn/prefill_mma.cu:118): wgmma.fence.sync.aligned: Hopper's wgmma is "
        "not emulated");
}

static void operands_are_checked_by_the_table(void **state) {
    (void)state;
    refuses(BODY("add.s32 %r0, %r1;"), "2 operands; it takes 3");
    refuses(BODY("add.s32 %rd0, %r1, %r2;"), "the destination is not a 32-bit register");
    refuses(BODY("add.s64 %rd0, %r1, %rd2;"), "not a 64-bit value");
    refuses(BODY("selp.b32 %r0, %r1, %r2, %r3;"), "not a predicate");
    refuses(BODY("ld.global.v2.u32 %r0, [%rd0];"), "1 elements; it moves 2");
    refuses(BODY("ld.param.u64 %rd0, [p+4];"), "reads past the 8 bytes of parameters");
    refuses(BODY("cp.async.cg.shared.global [%r0], [%rd0], 8;"), "cp-size must be 16");
    refuses(BODY("cp.async.wait_group %r0;"), "not an integer");
    refuses(BODY("ld.global.v4.u32 {%r0,%r1}, [%rd0];"), "2 elements; it moves 4");
    refuses(BODY("ld.global.u32 %r0, [%rd0, {%r1, %r2}];"), "without coordinates");
    refuses(BODY(".reg .v2 .b32 v; add.s32 v, %r1, %r2;"), "not a 32-bit register");
    refuses(BODY(".reg .v2 .b32 v; mov.b32 %r0, v.z;"), "PTX line 6: mov.b32: a source");
    refuses(".version 8.0\n.target sm_80\n.func f(.reg .u32 x) { ret; }\n"
            ".entry t() { .reg .b64 %rd<2>; call f, (%rd0); }",
            "not a 32-bit value");
    refuses(".version 8.0\n.target sm_80\n.func f(.reg .u32 x) { ret; }\n"
            ".entry t() { .param .b32 q; call f, (q); }",
            "argument 1 does not fit 'x' of 'f'");
    refuses(".version 8.0\n.target sm_80\n.func f(.reg .v2 .u32 x) { ret; }\n"
            ".entry t() { .reg .b32 %r<2>; call f, (%r0); }",
            "argument 1 does not fit 'x' of 'f'");
    refuses(BODY("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r0,%r1,%r2,%r3}, {%r0,%r1}, "
                 "{%r0,%r1}, {%r0,%r1,%r2,%r3};"),
            "operand 2 must have 4 registers");
    refuses(BODY("@%r0 add.s32 %r0, %r1, %r2;"), "guard is not a predicate register");
}

static void syntax_errors_name_the_line(void **state) {
    (void)state;
    refuses(BODY("add.s32 %r0, %r9, %r2;"), "PTX line 6: '%r9' is neither");
    refuses(BODY("bra NOWHERE;"), "PTX line 6: label 'NOWHERE' does not exist");
    refuses(BODY("add.s32 %r0, %r1, %r2"), "PTX line 7: ';' expected before 'ret'");
    refuses(PTX_HEADER ".visible .entry t() { ret;", "function body is not closed");
    refuses(".target sm_80\n", "no .version directive");
    refuses(PTX_HEADER ".frobnicate 3\n", "unknown directive '.frobnicate'");
    refuses(PTX_HEADER ".global .b8 x[4] = {1,2,3,4,5};\n", "too many initial values for 'x'");
    refuses(BODY(".reg .b32 %q<2000000>;"), "more than 1048576 registers");
    refuses(BODY("call.uni f, ();"), "function 'f' has no body here");
}

/* Copies of functions in a text of one kilobyte: large ones are called, so that it loads at once.
 */
static void calls_that_multiply_are_not_copied(void **state) {
    (void)state;
    Str text = {0};
    str_puts(&text, PTX_HEADER ".func f0() {\nret;\n}\n");
    for (int i = 1; i <= 60; i++)
        str_printf(&text, ".func f%d() {\ncall f%d;\ncall f%d;\ncall f%d;\ncall f%d;\nret;\n}\n", i,
                   i - 1, i - 1, i - 1, i - 1);
    str_puts(&text, ".visible .entry t() {\ncall f60;\nret;\n}\n");
    Bench b;
    bench_open(&b, "sm_80", str_text(&text), 64);
    bench_close(&b);
    str_free(&text);
}

static void endless_chains_of_calls_are_refused(void **state) {
    (void)state;
    Str text = {0};
    str_puts(&text, PTX_HEADER ".func f0() {\nret;\n}\n");
    for (int i = 1; i <= 300; i++)
        str_printf(&text, ".func f%d() {\ncall f%d;\nret;\n}\n", i, i - 1);
    str_puts(&text, ".visible .entry t() {\ncall f300;\nret;\n}\n");
    refuses(str_text(&text), "more than 256 functions call one another in a row");
    str_free(&text);
}

static void newer_targets_and_versions_are_refused(void **state) {
    (void)state;
    refuses(".version 8.0\n.target sm_90\n.address_size 64\n",
            "PTX for sm_90 does not run on sm_80");
    refuses(".version 9.1\n.target sm_80\n.address_size 64\n",
            "newer than driver 13.0 takes (9.0)");
    Error err = {0};
    assert_non_null(
        strstr(load_error("sm_100a", ".version 9.0\n.target sm_90a\n.address_size 64\n", &err),
               "does not run on sm_100a"));
}

static void globals_hold_their_initial_values(void **state) {
    (void)state;
    Bench b;
    bench_open(
        &b, "sm_80",
        PTX_HEADER
        ".global .align 4 .b8 bytes[6] = {1, 2, 0xff};\n.const .f32 pi = 0f40490FDB;\n"
        ".global .u64 where = generic(bytes)+2;\n.visible .entry t(.param .u64 p) { ret; }\n",
        64);
    uint64_t at = 0, size = 0, where = 0;
    assert_true(sg_module_global(b.module, "bytes", &at, &size));
    assert_int_equal(size, 6);
    assert_memory_equal((const void *)at, "\1\2\xff\0\0\0", 6);
    assert_true(sg_module_global(b.module, "where", &where, &size));
    assert_int_equal(*(const uint64_t *)where, at + 2);
    assert_false(sg_module_global(b.module, "nothing", &where, &size));
    bench_close(&b);
}

static void kernel_information_is_what_the_text_says(void **state) {
    (void)state;
    Bench b;
    bench_open(
        &b, "sm_80",
        PTX_HEADER
        ".shared .align 16 .b8 tile[100];\n.extern .shared .align 16 .b8 more[];\n"
        ".visible .entry t(.param .u32 a, .param .align 8 .b8 b[24], .param .u16 c)\n"
        ".maxntid 128, 2, 1\n.minnctapersm 3\n{ .reg .b32 %r<4>; mov.u32 %r0, tile; mov.u32 %r1, "
        "more; ret; }\n"
        "// seqtune-ptxas: entry=t registers=40 stack=8 spill_stores=4 spill_loads=12 smem=100\n"
        "// seqtune-ptxas: entry=tt registers=1 stack=1 spill_stores=1 spill_loads=1 smem=1\n",
        64);
    const SgKernelInfo *const info = sg_kernel_info(sg_module_kernel(b.module, "t"));
    assert_int_equal(info->param_count, 3);
    assert_int_equal(info->param_offset[1], 8);
    assert_int_equal(info->param_offset[2], 32);
    assert_int_equal(info->param_bytes, 34);
    assert_int_equal(info->max_threads, 256);
    assert_int_equal(info->min_blocks, 3);
    assert_int_equal(info->static_smem, 112);
    assert_true(info->ptxas.known);
    assert_int_equal(info->ptxas.registers, 40);
    assert_int_equal(info->ptxas.spill_loads, 12);
    assert_null(sg_module_kernel(b.module, "u"));
    bench_close(&b);
}

/* A kernel with one of everything the parser knows; the seed of the hostile texts. */
static const char seed_text[] = PTX_HEADER
    ".global .align 4 .b8 table[8] = {1, 2, 3, 4};\n.shared .align 16 .b8 sm[2048];\n"
    ".func (.param .b32 out) half(.param .b32 in) { .reg .b32 %r<2>; ld.param.u32 %r0, [in];\n"
    "shr.u32 %r1, %r0, 1; st.param.b32 [out], %r1; ret; }\n"
    ".visible .entry t(.param .u64 p)\n.maxntid 64, 1, 1\n{\n.local .align 8 .b8 depot[16];\n"
    ".reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .pred %p<4>; .reg .f32 %f<8>;\n.loc 1 3 1\n"
    "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 16; add.s64 %rd2, %rd0, "
    "%rd1;\n"
    "mov.u32 %r1, sm; shl.b32 %r2, %r0, 4; add.s32 %r3, %r1, %r2;\n"
    "cp.async.cg.shared.global [%r3], [%rd2], 16; cp.async.commit_group; cp.async.wait_group 0; "
    "bar.sync 0;\n"
    "and.b32 %r4, %r2, 496; add.s32 %r5, %r4, %r1;\n"
    "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r6, %r7}, [%r5];\n"
    "{ .reg .b32 t; .param .b32 a; .param .b32 b; st.param.b32 [a], %r6; call.uni (b), half, (a); "
    "ld.param.b32 t, [b]; mov.u32 %r8, t; }\n"
    "LOOP: add.s32 %r8, %r8, 7; setp.lt.s32 %p0, %r8, %r0; @%p0 bra LOOP;\n"
    "shfl.sync.bfly.b32 %r9|%p1, %r8, 1, 31, -1; cvt.rn.f32.s32 %f0, %r9; ex2.approx.ftz.f32 %f1, "
    "%f0;\n"
    "st.local.f32 [depot+4], %f1; atom.global.add.u32 %r10, [%rd0], 1; TS: .branchtargets X, Y;\n"
    "and.b32 %r11, %r0, 1; brx.idx %r11, TS; X: st.global.v2.u32 [%rd2], {%r9, %r8}; Y: ret;\n}\n";

/* Loads; what loads runs under a small limit of instructions. Only a crash can fail. */
static void try_text(const char *text, size_t size) {
    Error err = {0};
    SgModule *module = NULL;
    if (sg_module_load(text, size, gpu_arch_find("sm_80"), 13000, 0, &module, &err) != ST_OK) {
        assert_true(err.message[0] != '\0');
        return;
    }
    const SgKernel *const kernel = sg_module_kernel(module, "t");
    uint64_t buffer = 0;
    if (kernel && sg_kernel_info(kernel)->param_bytes <= 64 &&
        sg_mem_alloc(0, module, 4096, UINT64_MAX, &buffer, &err) == ST_OK) {
        uint64_t params[8] = {buffer};
        Arena *const arena = arena_new();
        SgLaunch launch = {.kernel = kernel,
                           .grid = {2, 1, 1},
                           .block = {64, 1, 1},
                           .params = params,
                           .resident = 2,
                           .threads = 1,
                           .instruction_limit = 100000,
                           .spin_limit = 100000};
        (void)sg_execute(&launch, arena, &err);
        arena_free(arena);
    }
    sg_module_free(module);
}

static void truncated_texts_are_harmless(void **state) {
    (void)state;
    try_text(seed_text, sizeof seed_text - 1);
    for (size_t n = 0; n < sizeof seed_text; n += 3) try_text(seed_text, n);
}

static void mutated_texts_are_harmless(void **state) {
    (void)state;
    static char text[sizeof seed_text];
    static const char alphabet[] = "0123456789.,;:%@!{}()[]<>+-_ \nrpdfxvsubt$\"/*=|\\\xff";
    uint64_t seed = 12345; /* fixed: a failure repeats */
    for (int round = 0; round < 3000; round++) {
        memcpy(text, seed_text, sizeof text);
        for (int k = 0; k <= round % 4; k++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            const size_t at = (size_t)(seed >> 33) % (sizeof text - 1);
            if (seed >> 20 & 1)
                text[at] = alphabet[(seed >> 12) % (sizeof alphabet - 1)];
            else
                memmove(text + at, text + (at * 7) % (sizeof text - 1),
                        at % 5 + at < sizeof text - 40 &&
                                (at * 7) % (sizeof text - 1) < sizeof text - 40
                            ? at % 5
                            : 0);
        }
        try_text(text, sizeof text - 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_instruction_is_named_with_its_template_line),
        cmocka_unit_test(operands_are_checked_by_the_table),
        cmocka_unit_test(syntax_errors_name_the_line),
        cmocka_unit_test(calls_that_multiply_are_not_copied),
        cmocka_unit_test(endless_chains_of_calls_are_refused),
        cmocka_unit_test(newer_targets_and_versions_are_refused),
        cmocka_unit_test(globals_hold_their_initial_values),
        cmocka_unit_test(kernel_information_is_what_the_text_says),
        cmocka_unit_test(truncated_texts_are_harmless),
        cmocka_unit_test(mutated_texts_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
