/* The parts of run-ptx apart: entry heads, element types, contents. No device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "tuner/runptx/contents.h"
#include "tuner/runptx/entries.h"

static PtxEntries must_read(Arena *arena, const char *text) {
    PtxEntries out;
    Error err = {0};
    if (entries_read(arena, "t.ptx", text, &out, &err) != ST_OK) fail_msg("%s", err.message);
    return out;
}

static void heads_are_read_with_attributes_arrays_and_comments(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const PtxEntries e = must_read(
        arena, ".version 8.0 // .entry no(\n/* .entry neither( */ .file 1 \".entry quoted\"\n"
               ".visible .entry a(.param .u64 .ptr .global .align 16 a_0, /* x */\n"
               "  .param .align 8 .b8 a_1[472], .param .f32 a_2, .param .b16 a_3)\n"
               ".maxntid 128, 1, 1 { ret; }\n"
               ".weak .entry $b%c() { .param .b32 local; ret; }\n"
               ".entry plain\n{ ret; }\n"
               ".entry grid(.param .f64 m[2][3], .param .align 1 .b8 none[0]) { }\n"
               ".func (.param .b32 r) helper(.param .b32 x) { ret; }\n");
    assert_int_equal(e.count, 4);
    assert_string_equal(e.items[0].name, "a");
    assert_int_equal(e.items[0].line, 3);
    assert_int_equal(e.items[0].param_count, 4);
    static const struct {
        const char *name, *type;
        size_t bytes;
        bool is_array;
    } want[] = {{"a_0", "u64", 8, false},
                {"a_1", "b8", 472, true},
                {"a_2", "f32", 4, false},
                {"a_3", "b16", 2, false}};
    for (size_t i = 0; i < 4; i++) {
        const PtxParam *p = &e.items[0].params[i];
        assert_string_equal(p->name, want[i].name);
        assert_string_equal(p->type, want[i].type);
        assert_int_equal(p->bytes, want[i].bytes);
        assert_int_equal(p->is_array, want[i].is_array);
    }
    assert_string_equal(e.items[1].name, "$b%c");
    assert_int_equal(e.items[1].param_count, 0);
    assert_string_equal(e.items[2].name, "plain");
    assert_int_equal(e.items[3].params[0].bytes, 48);
    assert_int_equal(e.items[3].params[1].bytes, 0);
    arena_free(arena);
}

static void a_head_that_is_none_is_an_error_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "there is no .entry"},
        {".entry", "t.ptx:1: an entry without a name"},
        {".entry (", "an entry without a name"},
        {".entry a(", "'.param' is wanted here"},
        {".entry a(.param", "a parameter without a type"},
        {".entry a(.param x)", "a parameter without a type"},
        {"\n.entry a(.param .u32)", "t.ptx:2: a parameter without a name"},
        {".entry a(.param .u32 x", "',' or ')' is wanted"},
        {".entry a(.param .u32 x .param .u32 y)", "',' or ')' is wanted"},
        {".entry a(.param .b8 x[y])", "wants a length"},
        {".entry a(.param .b8 x[40000])", "wants a length within 32764"},
        {".entry a(.param .b64 x[4096])", "wants a length within 32764"},
        {".entry a(.param .b8 x[8)", "wants ']' here"},
        {".entry a(.param .align x .b8 y[8])", "'.align' wants a number"},
        {"/* .entry a() ", "there is no .entry"},
        {".entry a(.param .b8 x[99999999999999999999999])", "wants a length"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Arena *arena = arena_new();
        PtxEntries out;
        Error err = {0};
        assert_int_not_equal(entries_read(arena, "t.ptx", rows[i].text, &out, &err), ST_OK);
        if (!strstr(err.message, rows[i].want)) fail_msg("%s: %s", rows[i].text, err.message);
        arena_free(arena);
    }
}

static void an_entry_is_found_by_name_or_by_a_part_that_only_it_has(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const PtxEntries e = must_read(arena, ".entry ab() {} .entry abc() {} .entry xyz() {}");
    static const struct {
        const char *name, *found; /* NULL: error */
    } rows[] = {{"ab", "ab"}, {"abc", "abc"}, {"bc", "abc"}, {"y", "xyz"},
                {"b", NULL},  {"q", NULL},    {NULL, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const PtxEntry *found = NULL;
        Error err = {0};
        const Status st = entries_find(&e, rows[i].name, &found, &err);
        assert_int_equal(st == ST_OK, rows[i].found != NULL);
        if (st == ST_OK)
            assert_string_equal(found->name, rows[i].found);
        else
            assert_non_null(strstr(err.message, "\n  abc"));
    }
    arena_free(arena);
}

static Number whole(int64_t i) {
    return (Number){.integral = true, .i = i};
}

static void integers_take_what_they_can_hold_and_nothing_else(void **state) {
    (void)state;
    for (int t = 0; t < ELEMENT_COUNT; t++) {
        const Element type = (Element)t;
        if (element_is_float(type)) continue;
        const int bits = 8 * (int)element_bytes(type);
        const bool is_signed = element_name(type)[0] == 'i';
        const int64_t low = is_signed ? (bits == 64 ? INT64_MIN : -((int64_t)1 << (bits - 1))) : 0;
        const int64_t high =
            bits == 64 ? INT64_MAX : ((int64_t)1 << (is_signed ? bits - 1 : bits)) - 1;
        unsigned char bytes[8] = {0};
        assert_true(element_encode(type, whole(low), bytes));
        assert_true(element_decode(type, bytes).i == low);
        assert_true(element_encode(type, whole(high), bytes));
        assert_true(element_decode(type, bytes).i == high);
        assert_true(element_encode(type, (Number){.d = 7.0}, bytes));
        assert_int_equal(element_decode(type, bytes).i, 7);
        assert_false(element_encode(type, (Number){.d = 7.5}, bytes));
        assert_false(element_encode(type, (Number){.d = (double)NAN}, bytes));
        assert_false(element_encode(type, (Number){.d = 0x1p63}, bytes));
        if (bits == 64) continue;
        assert_false(element_encode(type, whole(low - 1), bytes));
        assert_false(element_encode(type, whole(high + 1), bytes));
    }
    unsigned char bytes[8];
    assert_true(element_encode(ELEMENT_u64, whole(-1), bytes)); /* as bits */
    assert_true(number_double(ELEMENT_u64, element_decode(ELEMENT_u64, bytes)) > 1.8e19);
}

static void floats_are_rounded_once_to_nearest_even(void **state) {
    (void)state;
    static const struct {
        Element type;
        double value, want;
    } rows[] = {{ELEMENT_f16, 2049, 2048},         {ELEMENT_f16, 2051, 2052},
                {ELEMENT_f16, 65520, INFINITY},    {ELEMENT_bf16, 257, 256},
                {ELEMENT_bf16, 1.00390625, 1},     {ELEMENT_f32, 16777217, 16777216},
                {ELEMENT_f64, 16777217, 16777217}, {ELEMENT_f16, 0x1p-24, 0x1p-24},
                {ELEMENT_f16, 0x1p-26, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned char bytes[8];
        assert_true(element_encode(rows[i].type, (Number){.d = rows[i].value}, bytes));
        assert_true(element_decode(rows[i].type, bytes).d == rows[i].want);
    }
}

static void contents_are_the_same_in_any_portions(void **state) {
    (void)state;
    static const Fill fills[] = {
        {.kind = FILL_CONSTANT, .a = {.integral = true, .i = 3}},
        {.kind = FILL_IOTA, .a = {.integral = true, .i = 5}, .b = {.integral = true, .i = 7}},
        {.kind = FILL_UNIFORM,
         .a = {.integral = true, .i = 2},
         .b = {.integral = true, .i = 90},
         .seed = 4},
        {.kind = FILL_NORMAL, .a = {.d = 1}, .b = {.d = 2}, .seed = 9},
    };
    for (size_t f = 0; f < sizeof fills / sizeof fills[0]; f++) {
        for (int t = 0; t < ELEMENT_COUNT; t++) {
            const Element type = (Element)t;
            if (fills[f].kind == FILL_NORMAL && !element_is_float(type)) continue;
            unsigned char whole_bytes[100 * 8], parts[100 * 8];
            const size_t size = element_bytes(type);
            fill_write(&fills[f], type, 0, 100, whole_bytes);
            for (uint64_t i = 0; i < 100; i += 7)
                fill_write(&fills[f], type, i, i + 7 < 100 ? 7 : 100 - i, parts + i * size);
            assert_memory_equal(whole_bytes, parts, 100 * size);
        }
    }
}

static void iota_wraps_around_as_its_type_does(void **state) {
    (void)state;
    const Fill down = {.kind = FILL_IOTA, .a = whole(1), .b = whole(-1)};
    unsigned char u8[4];
    fill_write(&down, ELEMENT_u8, 0, 4, u8);
    assert_memory_equal(u8, ((unsigned char[]){1, 0, 255, 254}), 4);
    int8_t i8[4];
    const Fill up = {.kind = FILL_IOTA, .a = whole(126), .b = whole(1)};
    fill_write(&up, ELEMENT_i8, 0, 4, (unsigned char *)i8);
    assert_memory_equal(i8, ((int8_t[]){126, 127, -128, -127}), 4);
}

static void random_numbers_fill_their_range_evenly(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    static double uniform[COUNT], normal[COUNT];
    const Fill u = {.kind = FILL_UNIFORM, .a = {.d = -2}, .b = {.d = 6}, .seed = 3};
    const Fill n = {.kind = FILL_NORMAL, .a = {.d = 10}, .b = {.d = 3}, .seed = 3};
    fill_write(&u, ELEMENT_f64, 0, COUNT, (unsigned char *)uniform);
    fill_write(&n, ELEMENT_f64, 0, COUNT, (unsigned char *)normal);
    double su = 0, sn = 0, qn = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(uniform[i] >= -2 && uniform[i] < 6);
        assert_true(fabs(normal[i] - 10) <= 3 * 3.5);
        su += uniform[i];
        sn += normal[i];
        qn += (normal[i] - 10) * (normal[i] - 10);
    }
    /* Five standard errors: 8 / sqrt(12), 3, and 9 * sqrt(2) (less for the cut tails). */
    assert_true(fabs(su / COUNT - 2) < 5 * 2.31 / sqrt(COUNT));
    assert_true(fabs(sn / COUNT - 10) < 5 * 3 / sqrt(COUNT));
    assert_true(fabs(qn / COUNT - 9) < 5 * 12.8 / sqrt(COUNT));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_read_with_attributes_arrays_and_comments),
        cmocka_unit_test(a_head_that_is_none_is_an_error_with_its_place),
        cmocka_unit_test(an_entry_is_found_by_name_or_by_a_part_that_only_it_has),
        cmocka_unit_test(integers_take_what_they_can_hold_and_nothing_else),
        cmocka_unit_test(floats_are_rounded_once_to_nearest_even),
        cmocka_unit_test(contents_are_the_same_in_any_portions),
        cmocka_unit_test(iota_wraps_around_as_its_type_does),
        cmocka_unit_test(random_numbers_fill_their_range_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
