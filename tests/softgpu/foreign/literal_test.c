/* The reader of constants and tables, and the runner itself, on a table of our own: they must tell
 * right from wrong before a foreign table says anything about the software GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/files.h"
#include "tests/softgpu/foreign/drive.h"
#include "tests/softgpu/foreign/foreign.h"

typedef struct Row {
    const char *text;
    const char *type;
    size_t count;
    uint64_t last; /* bits of the last element */
} Row;

static const Row rows[] = {
    {"[1u64]", "u64", 1, 1},
    {"[1, 2, 3,]", "i32", 3, 3},
    {"[0xFFu8, 7]", "u8", 2, 7},
    {"[7, 0xFFu8]", "u8", 2, 0xff},
    {"[-257i32]", "i32", 1, 0xfffffeff},
    {"[-2147483648i32]", "i32", 1, 0x80000000},
    {"[i32::MIN, -1]", "i32", 2, 0xffffffff},
    {"[u64::max_value()]", "u64", 1, UINT64_MAX},
    {"[0x01_00_00_00__01_00_00_00i64]", "i64", 1, 0x0100000001000000},
    {"[-0b0011100_00100011i32]", "i32", 1, 0xffffe3dd},
    {"[0o17u16 /* octal */]", "u16", 1, 15},
    {"[0.40625, 12.9f32]", "f32", 2, 0x414e6666},
    {"[1.0000001, 1.0f32]", "f32", 2, 0x3f800000},
    {"[1.0f32, 1.0000001]", "f32", 2, 0x3f800001},
    {"[1f32]", "f32", 1, 0x3f800000},
    {"[2.5]", "f64", 1, 0x4004000000000000},
    {"[1., 25e-1]", "f64", 2, 0x4004000000000000},
    {"[-0.0f32]", "f32", 1, 0x80000000},
    {"[std::f32::consts::PI / 2f32]", "f32", 1, 0x3fc90fdb},
    {"[f32::NAN]", "f32", 1, 0x7fc00000},
    {"[f32::NEG_INFINITY]", "f32", 1, 0xff800000},
    {"[f32::MAX]", "f32", 1, 0x7f7fffff},
    {"[f64::MIN_POSITIVE]", "f64", 1, 0x0010000000000000},
    {"[f32::from_bits(0x33800000)]", "f32", 1, 0x33800000},
    {"[half::f16::NAN.to_bits()]", "u16", 1, 0x7e00},
    {"[half::f16::from_f64(123.0)]", "f16", 1, 0x57b0},
    {"[half::f16::from_f32(3.14)]", "f16", 1, 0x4248},
    {"[half::f16::from_f32(-0.0)]", "f16", 1, 0x8000},
    {"[half::f16::from_f32(65519.0)]", "f16", 1, 0x7bff},
    {"[half::f16::from_f32(65520.0)]", "f16", 1, 0x7c00},
    {"[half::f16::from_f64(5.9604644775390625e-8)]", "f16", 1, 0x0001},
    {"[half::f16::from_f64(6.0975551605224609375e-5)]", "f16", 1, 0x03ff},
    {"[half::f16::from_f64(2049.0), half::f16::from_f64(2051.0)]", "f16", 2, 0x6802},
    {"[-1 as u8]", "u8", 1, 0xff},
    {"[300 as u8, 3.99f32 as u8]", "u8", 2, 3},
    {"[-1.5f32 as u32, f32::INFINITY as u32]", "u32", 2, 0xffffffff},
    {"[0x80000000u32 as i32 as i64]", "i64", 1, 0xffffffff80000000},
    {"[(1 + 2) * 3u16 - 4]", "u16", 1, 5},
    {"[7u32; 5]", "u32", 5, 7},
    {"[\n    1u8, // one\n    2u8\n]", "u8", 2, 2},
};

static void constants_have_the_bits_that_rust_gives_them(void **state) {
    (void)state;
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *at = rows[i].text;
        LiteralArray got;
        Error err;
        uint64_t last = 0;
        if (literal_array(&at, arena, &got, &err) != ST_OK)
            fail_msg("%s: %s", rows[i].text, err.message);
        assert_string_equal(literal_type_name(got.type), rows[i].type);
        assert_int_equal(got.count, rows[i].count);
        const size_t each = literal_type_size(got.type);
        memcpy(&last, got.bytes + (got.count - 1) * each, each);
        if (last != rows[i].last)
            fail_msg("%s: 0x%llx, expected 0x%llx", rows[i].text, (unsigned long long)last,
                     (unsigned long long)rows[i].last);
        assert_int_equal(*at, '\0');
    }
    arena_free(arena);
}

static void constants_that_are_not_understood_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "1",        "[1",           "[256u8]",     "[1u32, 2u64]",     "[x]",
        "[f32::E]", "[1.0u32]",     "[1 2]",       "[\"text\"]",       "[vec![1]]",
        "[1u128]",  "[-1, 1u32]",   "[1 / 0]",     "[1.5, 2u32]",      "[0x]",
        "[(1]",     "[u32::sin()]", "[1 as half]", "[1u32.to_bits()]", "[1; 70000]",
    };
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *at = bad[i];
        LiteralArray got;
        Error err;
        if (literal_array(&at, arena, &got, &err) == ST_OK) fail_msg("%s was taken", bad[i]);
        assert_true(err.message[0]);
    }
    arena_free(arena);
}

static const char table[] =
    "macro_rules! test_ptx {\n"
    "    ($fn_name:ident) => { test_ptx!(never, [1u32], [1u32]); };\n"
    "}\n"
    "test_ptx!(twice, [21u32], [42u32]);\n"
    "// test_ptx!(commented, [1u32], [1u32]);\n"
    "test_ptx_with_32!(\n    twice,\n    [21u32], // in\n    [43u32]\n);\n"
    "test_ptx_warp!(lanes, [0u32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
    "  18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,\n"
    "  40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61,\n"
    "  62, 63]);\n"
    "test_ptx!(unknown_form, [1u32], [1u32]);\n"
    "test_ptx!(strays, [1u32], [1u32]);\n"
    "test_ptx!(twice);\n"
    "test_ptx!(unknown_form);\n"
    "test_ptx!(missing, [1u32], [1u32]);\n"
    "test_ptx!(odd, [ready()], [1u32]);\n"
    "fn helper<'a>() -> char { test_ptx!(inside, [1u32], [1u32]); '}' }\n";

#define PTX(name, body)                                                                            \
    ".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry " name                         \
    "(.param .u64 input, .param .u64 output)\n{\n    .reg .u64 %rd<4>;\n    .reg .u32 %r<4>;\n"    \
    "    ld.param.u64 %rd1, [input];\n    ld.param.u64 %rd2, [output];\n" body "    ret;\n}\n"

static const struct {
    const char *file, *text;
} sources[] = {
    {"mod.rs", table},
    {"twice.ptx",
     PTX("twice",
         "    ld.u32 %r1, [%rd1];\n    add.u32 %r1, %r1, %r1;\n    st.u32 [%rd2], %r1;\n")},
    {"lanes.ptx", PTX("lanes", "    mov.u32 %r1, %tid.x;\n    mul.wide.u32 %rd3, %r1, 4;\n"
                               "    add.u64 %rd3, %rd3, %rd2;\n    st.u32 [%rd3], %r1;\n")},
    {"unknown_form.ptx", PTX("unknown_form", "    frobnicate.u32 %r1, %r1;\n")},
    {"strays.ptx", PTX("strays", "    st.u32 [%rd2+4096], %r1;\n")},
    {"odd.ptx", PTX("odd", "")},
};

static void the_runner_tells_right_from_wrong(void **state) {
    (void)state;
    static const struct {
        const char *name;
        DriveStage stage;
        const char *says;
    } want[] = {
        {"twice", DRIVE_PASSED, ""},
        {"twice", DRIVE_BITS, "0x0000002a (42), expected 0x0000002b (43)"},
        {"lanes", DRIVE_PASSED, ""},
        {"unknown_form", DRIVE_LOAD, "frobnicate"},
        {"strays", DRIVE_LAUNCH, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {"twice", DRIVE_PASSED, ""},
        {"unknown_form", DRIVE_LOAD, "frobnicate"},
        {"missing", DRIVE_RUNNER, "missing.ptx"},
        {"odd", DRIVE_RUNNER, "mod.rs:"},
    };
    char directory[] = SEQTUNE_BINARY_DIR "/tests/foreign-XXXXXX";
    Arena *arena = arena_new();
    ForeignCases cases;
    Error err;
    assert_non_null(mkdtemp(directory));
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        assert_int_equal(files_publish(arena_printf(arena, "%s/%s", directory, sources[i].file),
                                       sources[i].text, strlen(sources[i].text), 0600, &err),
                         ST_OK);
    assert_int_equal(foreign_cases(directory, arena, &cases, &err), ST_OK);
    assert_int_equal(cases.count, sizeof want / sizeof *want);
    for (size_t i = 0; i < cases.count; i++) {
        DriveOutcome out;
        const DriveDevice device = foreign_soft_device();
        assert_string_equal(cases.items[i].name, want[i].name);
        drive_case(&cases.items[i], &device, &out);
        if (out.stage != want[i].stage || !strstr(out.text, want[i].says))
            fail_msg("%s: %s: %s", want[i].name, drive_stage_name(out.stage), out.text);
    }
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        unlink(arena_printf(arena, "%s/%s", directory, sources[i].file));
    assert_int_equal(rmdir(directory), 0);
    arena_free(arena);
}

static void a_directory_without_a_table_is_named(void **state) {
    (void)state;
    Arena *arena = arena_new();
    ForeignCases cases;
    Error err;
    assert_int_not_equal(foreign_cases("/no/such/checkout", arena, &cases, &err), ST_OK);
    assert_non_null(strstr(err.message, "/no/such/checkout"));
    arena_free(arena);
}

int foreign_own_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_have_the_bits_that_rust_gives_them),
        cmocka_unit_test(constants_that_are_not_understood_are_refused),
        cmocka_unit_test(the_runner_tells_right_from_wrong),
        cmocka_unit_test(a_directory_without_a_table_is_named),
    };
    return cmocka_run_group_tests_name("foreign runner", tests, NULL, NULL);
}
