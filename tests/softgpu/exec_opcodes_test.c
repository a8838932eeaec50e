/* Every row of the opcode tables, in a full warp, in a partial one and under a guard. */
#include "exec_help.h"
#include "exec_vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

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

static void modifiers_and_narrow_types_match_the_isa(void **state) {
    (void)state;
    check(modifiers, COUNT(modifiers), 32);
    check(modifiers, COUNT(modifiers), 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_instructions_match_the_isa),
        cmocka_unit_test(integer_instructions_leave_idle_lanes_alone),
        cmocka_unit_test(float_instructions_match_the_isa),
        cmocka_unit_test(float_instructions_leave_idle_lanes_alone),
        cmocka_unit_test(all_other_instructions_match_the_isa),
        cmocka_unit_test(modifiers_and_narrow_types_match_the_isa),
    };
    return run_with_and_without_checks(tests);
}
