/* Status, heap countdown, arena, strings, map, hash, log. */
#include "tests/base/test.h"

#include <locale.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

static void every_status_has_its_own_text(void **state) {
    (void)state;
    for (int i = 0; i < ST_COUNT; i++) {
        assert_non_null(status_text((Status)i));
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(status_text((Status)i), status_text((Status)j));
        }
    }
    assert_string_equal(status_text((Status)1000), "unknown status");
}

static void an_error_at_a_place_quotes_the_line_with_a_caret(void **state) {
    (void)state;
    Error err;
    TextPos pos = {
        .file = "k.lua", .text = "first\n\tblock_m = 1x\nthird", .line = 2, .column = 12};
    assert_int_equal(err_at(&err, ST_SYNTAX, pos, "malformed %s", "number"), ST_SYNTAX);
    assert_string_equal(err.message, "k.lua:2: malformed number\n"
                                     "  \tblock_m = 1x\n"
                                     "  \t          ^");
    err_wrap(&err, "loading %s", "k");
    assert_true(str_starts(err.message, "loading k: k.lua:2: malformed"));
    assert_int_equal(err.status, ST_SYNTAX);
    assert_int_equal(err_at(NULL, ST_IO, pos, "x"), ST_IO);
    err_wrap(NULL, "x");
}

static void an_error_place_past_the_text_or_line_is_survived(void **state) {
    (void)state;
    Error err;
    err_at(&err, ST_SYNTAX, (TextPos){.file = "f", .text = "ab", .line = 9, .column = 3}, "m");
    assert_string_equal(err.message, "f:9: m");
    err_at(&err, ST_SYNTAX, (TextPos){.file = "f", .text = "ab", .line = 1, .column = 99}, "m");
    assert_string_equal(err.message, "f:1: m\n  ab\n    ^");
    err_at(&err, ST_SYNTAX, (TextPos){.file = "f", .text = "ab\ncd", .line = 2, .column = 0}, "m");
    assert_string_equal(err.message, "f:2: m\n  cd");
}

static void long_lines_are_quoted_around_the_caret(void **state) {
    (void)state;
    char line[3001];
    memset(line, 'a', 3000);
    line[3000] = '\0';
    line[1500] = 'X';
    Error err;
    err_at(&err, ST_SYNTAX, (TextPos){.file = "f", .text = line, .line = 1, .column = 1501}, "m");
    const char *second = strchr(err.message, '\n') + 1;
    const char *third = strchr(second, '\n') + 1;
    assert_int_equal(strchr(second, 'X') - second, strchr(third, '^') - third);
    assert_true(strlen(err.message) < 300);
}

static void messages_longer_than_the_buffer_are_cut(void **state) {
    (void)state;
    Error err;
    char text[5000];
    memset(text, 'b', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&err, ST_IO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    err_wrap(&err, "context");
    assert_true(str_starts(err.message, "context: bbb"));
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    err_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static void arena_memory_is_zeroed_aligned_and_disjoint(void **state) {
    (void)state;
    Arena *arena = arena_new();
    unsigned char *blocks[300];
    size_t total = 0;
    for (size_t i = 0; i < 300; i++) {
        size_t size = i * i % 5000;
        blocks[i] = arena_alloc(arena, size);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t k = 0; k < size; k++) assert_int_equal(blocks[i][k], 0);
        memset(blocks[i], (int)i, size);
        total += size;
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t k = 0; k < i * i % 5000; k++) assert_int_equal(blocks[i][k], i & 255);
    }
    assert_int_equal(arena_bytes(arena), total);
    arena_reset(arena);
    for (size_t size = 1; size <= 4u << 20; size *= 3) { /* bigger than any block */
        unsigned char *big = arena_alloc(arena, size), *small = arena_alloc(arena, 16);
        memset(big, 255, size);
        for (int k = 0; k < 16; k++) assert_int_equal(small[k], 0);
        memset(small, 1, 16);
        assert_int_equal(big[size - 1], 255);
    }
    assert_null(arena_array(arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(arena, SIZE_MAX));
    assert_string_equal(arena_printf(arena, "%d-%s", 7, "x"), "7-x");
    assert_string_equal(arena_strndup(arena, "abcdef", 3), "abc");
    arena_reset(arena);
    assert_int_equal(arena_bytes(arena), 0);
    assert_non_null(arena_alloc(arena, 1));
    arena_free(arena);
    arena_free(NULL);
}

static bool use_all(void) {
    Arena *arena = arena_new();
    if (!arena) return false;
    Map *map = map_new(arena);
    bool ok = map != NULL;
    char key[16];
    for (int i = 0; ok && i < 200; i++) {
        snprintf(key, sizeof key, "key%d", i);
        ok = map_put(map, key, arena_strdup(arena, key));
    }
    Str s = {0};
    for (int i = 0; i < 100; i++) str_printf(&s, "%d,", i);
    str_json(&s, "\x01\"\\");
    char *taken = NULL;
    if (s.failed) {
        ok = false;
        assert_string_equal(str_text(&s), "");
        assert_null(str_take(&s));
    } else {
        taken = str_take(&s);
    }
    mem_free(taken);
    arena_free(arena);
    return ok;
}

static void every_allocation_can_fail(void **state) {
    (void)state;
    mem_fail_after(0);
    assert_true(use_all());
    unsigned long count = mem_fail_after(0);
    assert_true(count > 5);
    for (unsigned long n = 1; n <= count; n++) {
        mem_fail_after(n);
        bool ok = use_all();
        mem_fail_after(0);
        assert_false(ok);
    }
    assert_true(use_all());
}

static void strings_grow_and_are_taken(void **state) {
    (void)state;
    Str s = {0};
    assert_string_equal(str_text(&s), "");
    for (int i = 0; i < 1000; i++) str_printf(&s, "%03d", i);
    assert_int_equal(s.len, 3000);
    assert_string_equal(s.data + 2997, "999");
    str_clear(&s);
    str_puts(&s, "ab");
    str_putc(&s, 'c');
    str_append(&s, "d\0e", 3);
    assert_int_equal(s.len, 6);
    char *taken = str_take(&s);
    assert_memory_equal(taken, "abcd\0e", 7);
    mem_free(taken);
    taken = str_take(&s);
    assert_string_equal(taken, "");
    mem_free(taken);
    str_free(&s);
}

static void json_strings_are_valid_utf8(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"\n\t\x01\x1f", "\"\\n\\t\\u0001\\u001f\""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {"\xFF", "\"\xEF\xBF\xBD\""},
        {"\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* overlong NUL */
        {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* surrogate */
        {"\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"\xE2\x82", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* cut short */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Str s = {0};
        str_json(&s, cases[i].in);
        assert_string_equal(str_text(&s), cases[i].out);
        str_free(&s);
    }
}

static void parses_take_one_whole_number_or_refuse(void **state) {
    (void)state;
    long long i;
    assert_true(str_to_i64("-9223372036854775808", &i) && i == INT64_MIN);
    static const char *const not_i64[] = {
        "", "-", "+1", " 1", "1 ", "1x", "0x1", "9223372036854775808", "1.0"};
    for (size_t k = 0; k < 9; k++) assert_false(str_to_i64(not_i64[k], &i));
    double f;
    assert_true(str_to_f64("-1.5e3", &f) && f == -1500);
    static const char *const not_f64[] = {"", "nan", "inf", "0x1p3", " 1", "1,5", "1e999", "1.5.2"};
    for (size_t k = 0; k < 8; k++) assert_false(str_to_f64(not_f64[k], &f));
    assert_true(str_to_seconds("90s", &f) && f == 90);
    assert_true(str_to_seconds("15m", &f) && f == 900);
    assert_true(str_to_seconds("1.5h", &f) && f == 5400);
    assert_true(str_to_seconds("7", &f) && f == 7);
    static const char *const not_time[] = {"", "s", "m", "-1s", "1d", "1 m", "1mm", "1e300h1"};
    for (size_t k = 0; k < 8; k++) assert_false(str_to_seconds(not_time[k], &f));
    unsigned long long b;
    assert_true(str_to_bytes("24k", &b) && b == 24576);
    assert_true(str_to_bytes("3M", &b) && b == 3u << 20);
    assert_true(str_to_bytes("1G", &b) && b == 1u << 30);
    static const char *const not_bytes[] = {"", "k", "1kk", "-1", "1.5k", "18446744073709551615k"};
    for (size_t k = 0; k < 6; k++) assert_false(str_to_bytes(not_bytes[k], &b));
}

static void the_nearest_word_is_near(void **state) {
    (void)state;
    static const char *const words[] = {"block_m", "block_n", "warps", "head_dim"};
    assert_string_equal(str_nearest("blok_m", words, 4), "block_m");
    assert_string_equal(str_nearest("headdim", words, 4), "head_dim");
    assert_null(str_nearest("zzzzzzz", words, 4));
    assert_null(str_nearest("x", words, 4));
    assert_null(str_nearest("", words, 4));
}

static void maps_keep_insertion_order_and_replace(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Map *map = map_new(arena);
    int values[500];
    char key[16];
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%d", i * 7919 % 1000);
        assert_true(map_put(map, key, &values[i]));
    }
    assert_int_equal(map_count(map), 500);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof key, "k%d", i * 7919 % 1000);
        assert_string_equal(map_key(map, (size_t)i), key);
        assert_ptr_equal(map_get(map, key), &values[i]);
    }
    assert_true(map_put(map, "k0", NULL));
    assert_int_equal(map_count(map), 500);
    assert_true(map_has(map, "k0"));
    assert_null(map_value(map, 0));
    assert_false(map_has(map, "absent"));
    arena_free(arena);
}

static void the_hash_is_blake2b_256(void **state) {
    (void)state;
    char hex[HASH_HEX_SIZE];
    Hash h = hash_bytes("abc", 3);
    hash_hex(&h, hex); /* BLAKE2b-256("abc"), RFC 7693 construction with nn = 32 */
    assert_string_equal(hex, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    Hash back;
    assert_true(hash_from_hex(hex, &back));
    assert_true(hash_equal(&h, &back));
    hex[5] = 'G';
    assert_false(hash_from_hex(hex, &back));
    assert_false(hash_from_hex("ab", &back));
    hex[5] = '0';
    char longer[HASH_HEX_SIZE + 1];
    snprintf(longer, sizeof longer, "%s0", hex);
    assert_false(hash_from_hex(longer, &back));
}

static void hash_fields_cannot_trade_bytes(void **state) {
    (void)state;
    HashState s;
    hash_begin(&s);
    hash_text(&s, "ab");
    hash_text(&s, "c");
    Hash one = hash_end(&s);
    hash_begin(&s);
    hash_text(&s, "a");
    hash_text(&s, "bc");
    Hash two = hash_end(&s);
    assert_false(hash_equal(&one, &two));
    Hash flat = hash_bytes("\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0c", 19);
    assert_true(hash_equal(&one, &flat));
}

static char logged[256];

static void keep_line(void *context, LogLevel level, const char *channel, const char *line) {
    ++*(int *)context;
    snprintf(logged, sizeof logged, "%d %s %s", (int)level, channel, line);
}

static void log_lines_are_single_and_filtered(void **state) {
    (void)state;
    int count = 0;
    log_set_sink(keep_line, &count);
    log_set_level(LOG_INFO);
    log_write(LOG_DEBUG, "db", "hidden");
    assert_int_equal(count, 0);
    log_write(LOG_INFO, "db", "open path=%s\nsecond", "x");
    assert_int_equal(count, 1);
    assert_string_equal(logged, "1 db open path=x second");
    log_set_level(LOG_OFF);
    log_write(LOG_ERROR, "db", "hidden");
    assert_int_equal(count, 1);
    log_set_sink(NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_text),
        cmocka_unit_test(an_error_at_a_place_quotes_the_line_with_a_caret),
        cmocka_unit_test(an_error_place_past_the_text_or_line_is_survived),
        cmocka_unit_test(long_lines_are_quoted_around_the_caret),
        cmocka_unit_test(messages_longer_than_the_buffer_are_cut),
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_disjoint),
        cmocka_unit_test(every_allocation_can_fail),
        cmocka_unit_test(strings_grow_and_are_taken),
        cmocka_unit_test(json_strings_are_valid_utf8),
        cmocka_unit_test(parses_take_one_whole_number_or_refuse),
        cmocka_unit_test(the_nearest_word_is_near),
        cmocka_unit_test(maps_keep_insertion_order_and_replace),
        cmocka_unit_test(the_hash_is_blake2b_256),
        cmocka_unit_test(hash_fields_cannot_trade_bytes),
        cmocka_unit_test(log_lines_are_single_and_filtered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
