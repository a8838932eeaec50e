/* Every form of the instruction table stands in a vector or in a test's PTX text.
 *
 * The opcodes are read from the sources of the tests beside this one that look at results
 * (exec_features.inc only loads or refuses); the few whose text is put together at run time are
 * named here with their test. */
#include "exec_help.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/form.h"

#define FOLDER SEQTUNE_SOURCE_DIR "/tests/softgpu/"

static const char *const sources[] = {
    "exec_opcodes_int.inc",    "exec_opcodes_float.inc", "exec_opcodes_more.inc",
    "exec_opcodes_narrow.inc", "exec_atomic_test.c",     "exec_calls_test.c",
    "exec_control_test.c",     "exec_exchange_test.c",   "exec_matrix_test.c",
    "exec_mbarrier_test.c",    "exec_sync_test.c",       "exec_wait_test.c",
    "exec_tensor_test.c",      "exec_wmma_test.c",       "exec_coverage_test.c",
    "exec_approx_test.c",
};

/* Opcodes put together by a test: FORM, TEST. */
static const char *const named[][2] = {
    {"wmma.load.a.sync.aligned.row.m16n16k16.f16", "exec_wmma_test.c: forms[]"},
    {"wmma.load.a.sync.aligned.row.m16n16k8.tf32", "exec_wmma_test.c: forms[]"},
    {"wmma.load.b.sync.aligned.row.m8n8k4.f64", "exec_wmma_test.c: forms[]"},
    {"wmma.load.c.sync.aligned.row.m16n16k16.f32", "exec_wmma_test.c: forms[]"},
    {"wmma.load.c.sync.aligned.row.m16n16k8.f32", "exec_wmma_test.c: forms[]"},
    {"wmma.load.c.sync.aligned.row.m8n8k4.f64", "exec_wmma_test.c: forms[]"},
    {"wmma.store.d.sync.aligned.row.m16n16k16.f16", "exec_wmma_test.c: forms[]"},
    {"wmma.store.d.sync.aligned.row.m16n16k8.f32", "exec_wmma_test.c: forms[]"},
    {"wmma.store.d.sync.aligned.row.m8n8k4.f64", "exec_wmma_test.c: forms[]"},
    {"wmma.mma.sync.aligned.row.col.m16n16k16.f16.f32", "exec_wmma_test.c: forms[]"},
    {"wmma.mma.sync.aligned.row.col.m16n16k16.f32.bf16.bf16.f32", "exec_wmma_test.c: forms[]"},
    {"wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.s8.s32", "exec_wmma_test.c: forms[]"},
    {"wmma.mma.sync.aligned.row.col.m16n16k16.s32.u8.u8.s32", "exec_wmma_test.c: forms[]"},
    {"wmma.mma.sync.aligned.row.col.m16n16k8.f32.tf32.tf32.f32", "exec_wmma_test.c: forms[]"},
    {"wmma.mma.sync.aligned.row.col.m8n8k4.f64.f64.f64.f64", "exec_wmma_test.c: forms[]"},
    {"ldmatrix.sync.aligned.m8n8.x1.shared.b16", "exec_matrix_test.c: check_ldmatrix"},
    {"stmatrix.sync.aligned.m8n8.x1.shared.b16", "exec_tensor_test.c: check_stmatrix"},
    {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k16.row.col.f32.e4m3.e5m2.f32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k32.row.col.f16.e5m2.e5m2.f16", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k16.row.col.f16.e5m2.e4m3.f16", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m16n8k16.row.col.s32.s8.u8.s32", "exec_tensor_test.c: forms[]"},
    {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64", "exec_tensor_test.c: check_double"},
    {"mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64", "exec_tensor_test.c: check_double"},
    {"mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64", "exec_tensor_test.c: check_double"},
    {"mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64", "exec_tensor_test.c: check_double"},
    {"mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32",
     "exec_tensor_test.c: integer_mma_of_eight_rows_is_the_product"},
    {"shfl.sync.up.b32", "exec_exchange_test.c: shuffles_follow_the_pseudo_code"},
};

static bool tested[2048];

static void mark(const char *opcode) {
    PtxWords words;
    if (!ptx_words(opcode, &words)) return;
    for (size_t i = 0; i < ptx_form_count(); i++)
        if (ptx_form_matches(ptx_form(i), &words)) tested[i] = true;
}

static char *read_file(const char *name) {
    char path[512];
    snprintf(path, sizeof path, FOLDER "%s", name);
    FILE *const f = fopen(path, "rb");
    if (!f) fail_msg("%s is not there", path);
    char *const text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

static bool opcode_character(char c) {
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == ':';
}

static void mark_text(char *text) {
    for (char *p = text; *p;) {
        char *q = p;
        while (opcode_character(*q)) q++;
        if (q == p) {
            p++;
            continue;
        }
        const char end = *q;
        *q = '\0';
        if (islower((unsigned char)*p)) mark(p);
        if (!end) return;
        p = q + 1;
    }
}

static void every_form_has_a_vector_or_a_named_test(void **state) {
    (void)state;
    assert_true(ptx_form_count() <= sizeof tested);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char *const text = read_file(sources[i]);
        mark_text(text);
        free(text);
    }
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) mark(named[i][0]);
    int missing = 0;
    for (size_t i = 0; i < ptx_form_count(); i++) {
        if (tested[i]) continue;
        print_error("no vector and no test: %s\n", ptx_form(i)->pattern);
        missing++;
    }
    assert_int_equal(missing, 0);
}

static void every_named_form_is_in_the_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        PtxWords words;
        assert_true(ptx_words(named[i][0], &words));
        if (!ptx_form_find(&words)) fail_msg("%s", named[i][0]);
    }
}

static void a_breakpoint_ends_the_kernel(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_80", PTX_HEADER ".visible .entry t(.param .u64 p) { brkpt; ret; }\n", 64);
    assert_true(bench_run(&b, "t", 1, 32));
    assert_non_null(strstr(b.launch.fault.text, "breakpoint"));
    bench_close(&b);
}

/* The other order of words, which nvcc writes: a matrix stored and loaded is the same. */
static void matrices_are_moved_by_the_other_spelling_too(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "sm_90",
               ".version 8.0\n.target sm_90\n.address_size 64\n.shared .align 16 .b8 sm[128];\n"
               ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<8>; .reg .b64 %rd<4>;\n"
               "ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4;\n"
               "add.s64 %rd0, %rd0, %rd1; and.b32 %r1, %r0, 7; shl.b32 %r1, %r1, 4;\n"
               "mov.u32 %r2, sm; add.u32 %r1, %r1, %r2; mul.lo.u32 %r3, %r0, 0x10003;\n"
               "stmatrix.sync.aligned.x1.m8n8.shared.b16 [%r1], {%r3};\n"
               "ldmatrix.sync.aligned.x1.m8n8.shared.b16 {%r4}, [%r1];\n"
               "st.global.u32 [%rd0], %r4; ret; }\n",
               128);
    if (bench_run(&b, "t", 1, 32)) fail_msg("%s", b.launch.fault.text);
    for (uint32_t l = 0; l < 32; l++)
        assert_int_equal(((const uint32_t *)b.buffer)[l], l * 0x10003u);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_has_a_vector_or_a_named_test),
        cmocka_unit_test(every_named_form_is_in_the_table),
        cmocka_unit_test(a_breakpoint_ends_the_kernel),
        cmocka_unit_test(matrices_are_moved_by_the_other_spelling_too),
    };
    return run_with_and_without_checks(tests);
}
