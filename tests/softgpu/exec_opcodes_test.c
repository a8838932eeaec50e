/* Every row of the opcode tables, in a full warp, in a partial one and under a guard. */
#include "exec_help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static const Vector others[] = {
#include "exec_opcodes_more.inc"
};

/* One entry per vector: inputs at [buffer], the result of lane l at [buffer + 64 + 8 l]. */
static void emit_entry(Str *s, size_t i, const Vector *v) {
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

/* Wrong rows with the handlers of SOFTGPU_SIMD, which is `level`. */
static int count_wrong(const char *level, const Vector *rows, size_t n, uint32_t threads) {
    Str text = {0};
    str_puts(&text, ".version 9.0\n.target sm_100a\n.address_size 64\n");
    for (size_t i = 0; i < n; i++) emit_entry(&text, i, &rows[i]);
    Bench b;
    bench_open(&b, "sm_100a", str_text(&text), 4096);
    int wrong = 0;
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "v%zu", i);
        const uint64_t in[3] = {rows[i].a, rows[i].b, rows[i].c};
        memcpy((void *)b.buffer, in, sizeof in);
        memset((void *)(b.buffer + 64), 0xa5, 8 * 32);
        if (bench_run(&b, name, 1, threads)) fail_msg("%s", b.launch.fault.text);
        for (uint32_t l = 0; l < 32; l++) {
            uint64_t got = 0;
            memcpy(&got, (const void *)(b.buffer + 64 + 8 * l), 8);
            const uint64_t want = l < threads ? rows[i].result : UINT64_C(0xa5a5a5a5a5a5a5a5);
            if (got == want) continue;
            print_error("%s: %s a=%llx b=%llx c=%llx: lane %u has %llx, not %llx\n", level,
                        rows[i].code, (unsigned long long)in[0], (unsigned long long)in[1],
                        (unsigned long long)in[2], l, (unsigned long long)got,
                        (unsigned long long)want);
            wrong++;
            break;
        }
    }
    bench_close(&b);
    str_free(&text);
    return wrong;
}

static const Vector *table;
static size_t table_size;
static uint32_t table_threads;

static void check_level(const char *level) {
    assert_int_equal(count_wrong(level, table, table_size, table_threads), 0);
}
static void check(const Vector *rows, size_t n, uint32_t threads) {
    table = rows;
    table_size = n;
    table_threads = threads;
    each_simd_level(check_level);
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void integer_instructions_match_the_isa(void **state) {
    (void)state;
    check(integers, COUNT(integers), 32);
}
static void integer_instructions_leave_idle_lanes_alone(void **state) {
    (void)state;
    check(integers, COUNT(integers), 13);
}
static void float_instructions_match_the_isa(void **state) {
    (void)state;
    check(floats, COUNT(floats), 32);
}
static void float_instructions_leave_idle_lanes_alone(void **state) {
    (void)state;
    check(floats, COUNT(floats), 13);
}

static void all_other_instructions_match_the_isa(void **state) {
    (void)state;
    check(others, COUNT(others), 32);
    check(others, COUNT(others), 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_instructions_match_the_isa),
        cmocka_unit_test(integer_instructions_leave_idle_lanes_alone),
        cmocka_unit_test(float_instructions_match_the_isa),
        cmocka_unit_test(float_instructions_leave_idle_lanes_alone),
        cmocka_unit_test(all_other_instructions_match_the_isa),
    };
    return run_with_and_without_checks(tests);
}
