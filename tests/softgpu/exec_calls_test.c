/* Calls through registers: prototypes, target lists, tables of functions, divergence. */
#include "exec_help.h"

#include <stdio.h>
#include <string.h>

/* int functions of one int, one of a struct, and an entry that stores what `code` leaves in %r9. */
#define FUNCTIONS                                                                                  \
    PTX_HEADER                                                                                     \
    ".func (.param .b32 r) twice(.param .b32 a);\n"                                                \
    ".func (.param .b32 r) inc(.param .b32 a) {\n.reg .b32 %r<2>; ld.param.b32 %r0, [a];\n"        \
    "add.s32 %r0, %r0, 1; st.param.b32 [r], %r0; ret;\n}\n"                                        \
    ".func (.param .b32 r) lonely(.param .b32 a) {\n.reg .b32 %r<2>; mov.b32 %r0, 99;\n"           \
    "st.param.b32 [r], %r0; ret;\n}\n"                                                             \
    ".func (.param .b32 r) sum(.param .align 8 .b8 s[16]) {\n.reg .b32 %r<4>;\n"                   \
    "ld.param.v2.b32 {%r0, %r1}, [s]; ld.param.b32 %r2, [s+12]; add.s32 %r0, %r0, %r1;\n"          \
    "add.s32 %r0, %r0, %r2; st.param.b32 [r], %r0; ret;\n}\n"                                      \
    ".global .align 8 .u64 table[2] = {inc, twice};\n"                                             \
    ".func (.param .b32 r) twice(.param .b32 a) {\n.reg .b32 %r<2>; ld.param.b32 %r0, [a];\n"      \
    "shl.b32 %r0, %r0, 1; st.param.b32 [r], %r0; ret;\n}\n"

#define ENTRY(code)                                                                                \
    FUNCTIONS ".visible .entry t(.param .u64 p) {\n.reg .b32 %r<16>; .reg .b64 %rd<16>; .reg "     \
              ".pred %p<4>;\nld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, "     \
              "%r0, 4;\nadd.s64 %rd0, %rd0, %rd1; and.b32 %r1, %r0, 1; mul.wide.u32 %rd2, %r1, "   \
              "8;\nmov.u64 %rd3, table; add.s64 %rd3, %rd3, %rd2;\n" code                          \
              "\nst.global.b32 [%rd0], %r9; ret;\n}\n"

#define CALL(target, how)                                                                          \
    "{ .param .b32 a0; .param .b32 r0; st.param.b32 [a0], %r0;\n" how "\n"                         \
    "call (r0), " target ", (a0), to; ld.param.b32 %r9, [r0]; }\n"
#define PROTOTYPE "to: .callprototype (.param .b32 _) _ (.param .b32 _);"

static const uint32_t *run(Bench *b, const char *text, uint32_t threads) {
    bench_open(b, "sm_80", text, 256);
    if (bench_run(b, "t", 1, threads)) fail_msg("%s", b->launch.fault.text);
    return (const uint32_t *)b->buffer;
}

static void lanes_may_call_different_functions_of_a_table(void **state) {
    (void)state;
    static const char *const texts[] = {
        ENTRY("ld.global.u64 %rd4, [%rd3];" CALL("%rd4", PROTOTYPE)),
        ENTRY("ld.global.u64 %rd4, [%rd3];" CALL("%rd4", "to: .calltargets inc, twice;")),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Bench b;
        const uint32_t *const out = run(&b, texts[i], 32);
        for (uint32_t l = 0; l < 32; l++) assert_int_equal(out[l], l & 1 ? 2 * l : l + 1);
        bench_close(&b);
    }
}

static void a_guarded_call_is_made_by_some_lanes(void **state) {
    (void)state;
    Bench b;
    const uint32_t *const out = run(
        &b,
        ENTRY("mov.b32 %r9, 7; mov.u64 %rd4, twice; setp.lt.u32 %p0, %r0, 5;\n"
              "{ .param .b32 a0; .param .b32 r0; st.param.b32 [a0], %r0; st.param.b32 [r0], 7;\n"
              "to: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
              "@%p0 call (r0), %rd4, (a0), to; ld.param.b32 %r9, [r0]; }"),
        32);
    for (uint32_t l = 0; l < 32; l++) assert_int_equal(out[l], l < 5 ? 2 * l : 7);
    bench_close(&b);
}

static void a_struct_goes_by_value_to_a_function_in_a_register(void **state) {
    (void)state;
    Bench b;
    const uint32_t *const out =
        run(&b,
            ENTRY("mov.u64 %rd4, sum; { .param .align 8 .b8 a0[16]; .param .b32 r0;\n"
                  "st.param.v2.b32 [a0], {%r0, %r1}; st.param.b32 [a0+12], 100;\n"
                  "to: .callprototype (.param .b32 _) _ (.param .align 8 .b8 _[16]);\n"
                  "call (r0), %rd4, (a0), to; ld.param.b32 %r9, [r0]; }"),
            32);
    for (uint32_t l = 0; l < 32; l++) assert_int_equal(out[l], l + (l & 1) + 100);
    bench_close(&b);
}

static void a_wild_call_is_a_fault(void **state) {
    (void)state;
    static const char *const texts[] = {
        ENTRY("mov.u64 %rd4, 0;" CALL("%rd4", PROTOTYPE)),
        ENTRY("mov.u64 %rd4, sum;" CALL("%rd4", PROTOTYPE)), /* another prototype */
        ENTRY("mov.u64 %rd4, twice;" CALL("%rd4", "to: .calltargets inc;")),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Bench b;
        bench_open(&b, "sm_80", texts[i], 256);
        assert_true(bench_run(&b, "t", 1, 32));
        assert_int_equal(b.launch.fault.cuda_result, 700);
        assert_non_null(strstr(b.launch.fault.text, "indirect call of 0x"));
        bench_close(&b);
    }
}

static void calls_that_cannot_be_made_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        {ENTRY("mov.u64 %rd4, nowhere;" CALL("%rd4", PROTOTYPE)), "a source operand is not"},
        {ENTRY("mov.u64 %rd4, 0; { .param .b64 a0; to: .callprototype _ (.param .b64 _);\n"
               "call %rd4, (a0), to; }"),
         "no function whose address is taken fits"},
        {PTX_HEADER ".global .align 8 .u64 table[1] = {missing};\n",
         "'missing' in an initial value is neither variable nor function"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Error err;
        if (!strstr(load_error("sm_80", rows[i].text, &err), rows[i].why))
            fail_msg("'%s'", err.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_may_call_different_functions_of_a_table),
        cmocka_unit_test(a_guarded_call_is_made_by_some_lanes),
        cmocka_unit_test(a_struct_goes_by_value_to_a_function_in_a_register),
        cmocka_unit_test(a_wild_call_is_a_fault),
        cmocka_unit_test(calls_that_cannot_be_made_are_refused),
    };
    return run_with_and_without_checks(tests);
}
