/* Formulas: values, errors with carets, limits, out of memory. */
#include "tests/base/test.h"

#include "base/expr.h"
#include "base/mem.h"

static bool lookup(const void *context, const char *name, ExprValue *out) {
    (void)context;
    if (strcmp(name, "block_m") == 0)
        *out = expr_int(128);
    else if (strcmp(name, "warps") == 0)
        *out = expr_int(4);
    else if (strcmp(name, "gpu.cp_async") == 0)
        *out = expr_bool(true);
    else if (strcmp(name, "dtype") == 0)
        *out = expr_str("f16");
    else
        return false;
    return true;
}

static const char *const names[] = {"block_m", "warps", "gpu.cp_async", "dtype"};
static const ExprEnv env = {.lookup = lookup, .names = names, .name_count = 4};

static Status eval(const char *text, ExprValue *out, Error *err) {
    Arena *arena = arena_new();
    const Expr *e = NULL;
    Status st = expr_parse(arena, text, (TextPos){"k.lua", NULL, 47, 10}, &e, err);
    if (st == ST_OK) st = expr_eval(e, &env, out, err);
    if (st == ST_OK && out->kind == EXPR_STR) { /* the text outlives the arena in this test */
        static char kept[64];
        snprintf(kept, sizeof kept, "%s", out->s);
        out->s = kept;
    }
    arena_free(arena);
    return st;
}

static void formulas_have_their_value(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } ints[] = {
        {"1 + 2 * 3", 7},
        {"(1 + 2) * 3", 9},
        {"block_m // warps", 32},
        {"7 - 2 - 1", 4},
        {"-7 // 2", -4},
        {"-7 % 3", 2},
        {"7 % -3", -2},
        {"8 / 2", 4},
        {"cdiv(7, 2)", 4},
        {"cdiv(-7, 2)", -3},
        {"min(3, 1, 2)", 1},
        {"max(3, 9, 2) + 1", 10},
        {"max(5)", 5},
        {"min(2, 4 / 2) * 9007199254740993",
         18014398509481986}, /* the first of equals: not a float */
        {"max(2, 4 / 2) * 9007199254740993", 18014398509481986},
        {"ilog2(1)", 0},
        {"ilog2(129)", 7},
        {"0xFf", 255},
        {"- -5", 5},
        {"2 - -2", 4},
        {"gpu.cp_async and 2 or 1", 2},
        {"dtype == 'bf16' and 2 or 1", 1},
        {"0 and 5", 5},
        {"false or 3", 3},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775807 - 1", INT64_MIN},
        {"(-9223372036854775807 - 1) % -1", 0},
        {"block_m\n  +\t1", 129},
    };
    Error err;
    ExprValue v;
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        if (eval(ints[i].text, &v, &err) != ST_OK) fail_msg("%s: %s", ints[i].text, err.message);
        assert_int_equal(v.kind, EXPR_INT);
        if (v.i != ints[i].value) fail_msg("%s gives %lld", ints[i].text, (long long)v.i);
    }
    static const struct {
        const char *text;
        bool value;
    } bools[] = {
        {"1 < 2", true},
        {"2 <= 2", true},
        {"3 > 4", false},
        {"3 >= 4", false},
        {"1 ~= 1", false},
        {"1 == '1'", false},
        {"true == 1", false},
        {"'a' < 'b'", true},
        {"not 0", false},
        {"not false", true},
        {"not 1 == 2", false},
        {"1 < 2 == true", true},
        {"dtype == \"f16\"", true},
        {"false and nonexistent", false},
        {"1 == 2 / 2", true},
    };
    for (size_t i = 0; i < sizeof bools / sizeof bools[0]; i++) {
        if (eval(bools[i].text, &v, &err) != ST_OK) fail_msg("%s: %s", bools[i].text, err.message);
        assert_int_equal(v.kind, EXPR_BOOL);
        if (v.i != bools[i].value) fail_msg("%s gives %d", bools[i].text, (int)v.i);
    }
    assert_int_equal(eval("dtype or 'x'", &v, &err), ST_OK);
    assert_string_equal(v.s, "f16");
}

static void a_wrong_formula_is_quoted_with_a_caret(void **state) {
    (void)state;
    static const struct {
        const char *text;
        Status status;
        const char *message;
    } rows[] = {
        {"block_m % blok_m", ST_INVALID,
         "k.lua:47:20: unknown name 'blok_m'; did you mean 'block_m'?\n"
         "  block_m % blok_m\n"
         "            ^"},
        {"1 +", ST_SYNTAX, "k.lua:47:13: a value expected at the end\n  1 +\n     ^"},
        {"(1", ST_SYNTAX, "k.lua:47:12: ')' expected at the end\n  (1\n    ^"},
        {"1 2", ST_SYNTAX, "k.lua:47:12: an operator or the end expected near '2'\n  1 2\n    ^"},
        {"a.end", ST_SYNTAX, "k.lua:47:12: 'end' is a reserved word\n  a.end\n    ^"},
        {"5 / 2", ST_INVALID, "k.lua:47:12: 5 / 2 is not whole; write // or cdiv\n  5 / 2\n    ^"},
    };
    Error err;
    ExprValue v;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(eval(rows[i].text, &v, &err), rows[i].status);
        assert_string_equal(err.message, rows[i].message);
        assert_int_equal(err.status, rows[i].status);
        assert_int_equal(eval(rows[i].text, &v, NULL), rows[i].status);
    }
    assert_int_equal(eval("1 +\n  oops", &v, &err), ST_INVALID);
    assert_string_equal(err.message, "k.lua:48: unknown name 'oops'\n    oops\n    ^");
}

static void what_cannot_be_exact_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "1.5",
        "1e3",
        "12abc",
        "0x",
        "9223372036854775808",
        "0x8000000000000000",
        "1..2",
        "a..b",
        "a.",
        "a.1",
        "a.end",
        "true.b",
        "a.not",
        "1 or true.b",
        "'open",
        "'a\\n'",
        "nil",
        "end",
        "1 --2",
        "a = 1",
        "a ! b",
        "1 != 2",
        "f(1)",
        "cdiv(1)",
        "cdiv(1,2,3)",
        "min()",
        "ilog2()",
        "min",
        "min 1",
        "(1))",
        ")",
        "and 1",
        "1 and",
        "1 < true",
        "true < false",
        "'a' < 1",
        "1 + true",
        "1 + '1'",
        "-'1'",
        "- true",
        "1 // 0",
        "1 % 0",
        "1 / 0",
        "cdiv(1, 0)",
        "cdiv(1, -1)",
        "ilog2(0)",
        "ilog2(-1)",
        "9223372036854775807 + 1",
        "-9223372036854775807 - 2",
        "4294967296 * 4294967296",
        "-(-9223372036854775807 - 1)",
        "(-9223372036854775807 - 1) // -1",
        "(-9223372036854775807 - 1) / -1",
        "9007199254740993 / 1",
        "4 / 2 * 9007199254740993",
        "min(true)",
        "min(1, 'a')",
        "max('a')",
        "\x80",
        "@",
        "a\xC3\xA9",
        "not",
        "1 not 2",
        "{}",
        "#a",
        "2 ^ 3",
        "1 << 2",
        "'a' .. 'b'",
        "a:b",
        "a[1]",
        "a{}",
        "a'x'",
        "(1)(2)",
        "1,2",
    };
    Error err;
    ExprValue v;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        memset(&err, 0, sizeof err);
        if (eval(texts[i], &v, &err) == ST_OK) fail_msg("accepted: %s", texts[i]);
        assert_int_not_equal(err.status, ST_OK);
        assert_int_not_equal(err.status, ST_NO_MEMORY);
        assert_contains(err.message, "k.lua:47");
    }
}

static void a_result_of_another_kind_is_an_error(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const Expr *e;
    Error err;
    int64_t i;
    bool b;
    assert_int_equal(expr_parse(arena, "block_m", (TextPos){0}, &e, &err), ST_OK);
    assert_int_equal(expr_eval_int(e, &env, &i, &err), ST_OK);
    assert_int_equal(i, 128);
    assert_int_equal(expr_eval_bool(e, &env, &b, &err), ST_INVALID);
    assert_contains(err.message, "gives an integer, a boolean is needed");
    assert_int_equal(expr_parse(arena, "1 == 1", (TextPos){0}, &e, &err), ST_OK);
    assert_int_equal(expr_eval_bool(e, NULL, &b, &err), ST_OK);
    assert_true(b);
    assert_int_equal(expr_eval_int(e, NULL, &i, &err), ST_INVALID);
    arena_free(arena);
}

static void depth_and_length_are_limited(void **state) {
    (void)state;
    Error err;
    ExprValue v;
    char text[4200];
    for (int depth = 60; depth < 70; depth++) {
        memset(text, '(', (size_t)depth);
        text[depth] = '1';
        memset(text + depth + 1, ')', (size_t)depth);
        text[2 * depth + 1] = '\0';
        Status st = eval(text, &v, &err);
        assert_int_equal(st, depth < 64 ? ST_OK : ST_SYNTAX);
        if (st != ST_OK) assert_contains(err.message, "deeper than 64");
    }
    /* The deepest stack: every level has a left side that waits. */
    size_t n = 0;
    for (int i = 0; i < 31; i++) n += (size_t)sprintf(text + n, "1+(");
    n += (size_t)sprintf(text + n, "1");
    for (int i = 0; i < 31; i++) n += (size_t)sprintf(text + n, ")");
    assert_int_equal(eval(text, &v, &err), ST_OK);
    assert_int_equal(v.i, 32);
    memset(text, '1', sizeof text);
    for (size_t i = 1; i < 4000; i += 2) text[i] = '+'; /* long but flat */
    text[1999] = '\0';
    assert_int_equal(eval(text, &v, &err), ST_OK);
    assert_int_equal(v.i, 1000);
    text[1999] = '+';
    text[2001] = '\0';
    assert_int_equal(eval(text, &v, &err), ST_SYNTAX);
    assert_contains(err.message, "limit of 2000");
}

static void collect(void *context, const char *name) {
    strcat(strcat((char *)context, name), ";");
}

static void names_come_once_in_order_of_first_use(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const Expr *e;
    char seen[100] = "";
    char text[] = "b + a.x * b - max(a, a.x)";
    assert_int_equal(expr_parse(arena, text, (TextPos){0}, &e, NULL), ST_OK);
    memset(text, 'z', 3); /* the formula has its own copy */
    expr_names(e, collect, seen);
    assert_string_equal(seen, "b;a.x;a;");
    assert_string_equal(expr_text(e), "b + a.x * b - max(a, a.x)");
    arena_free(arena);
}

static void out_of_memory_while_parsing_is_reported(void **state) {
    (void)state;
    Error err;
    for (unsigned long n = 1;; n++) {
        mem_fail_after(0);
        Arena *arena = arena_new();
        mem_fail_after(n);
        const Expr *e;
        char text[1200] = "a1 + 'x'";
        for (int i = 2; i < 120; i++) sprintf(text + strlen(text), " + a%d", i);
        Status st = expr_parse(arena, text, (TextPos){"f", NULL, 1, 1}, &e, &err);
        mem_fail_after(0);
        arena_free(arena);
        if (st == ST_OK) break;
        assert_int_equal(st, ST_NO_MEMORY);
        assert_true(n < 50);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas_have_their_value),
        cmocka_unit_test(a_wrong_formula_is_quoted_with_a_caret),
        cmocka_unit_test(what_cannot_be_exact_is_refused),
        cmocka_unit_test(a_result_of_another_kind_is_an_error),
        cmocka_unit_test(depth_and_length_are_limited),
        cmocka_unit_test(names_come_once_in_order_of_first_use),
        cmocka_unit_test(out_of_memory_while_parsing_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
