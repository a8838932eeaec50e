/* The covering arrays themselves, against enumeration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/verify/covering.h"

/* Axis 0 = 2 allows only axis 1 = 0; axes 2 and 3 must not be equal. */
static bool small_legal(const void *context, const CoverRow *row) {
    (void)context;
    if (row->value[0] == 2 && row->value[1] != 0) return false;
    return row->value[2] != row->value[3];
}

static const CoverSpec small = {
    .axes = {{"a", 3}, {"b", 4}, {"c", 3}, {"d", 3}, {"e", 2}},
    .axis_count = 5,
    .triples = {{0, 1, 4}},
    .triple_count = 1,
    .legal = small_legal,
    .seed = 7,
};

/* Whether some row of the set, or of all legal rows, has value[axes[i]] == want[i]. */
static bool in_set(const CoverSet *set, const int *axes, const int *want, int width) {
    for (size_t r = 0; r < set->count; r++) {
        int hits = 0;
        for (int i = 0; i < width; i++) hits += set->rows[r].value[axes[i]] == want[i];
        if (hits == width) return true;
    }
    return false;
}

static bool exists(const int *axes, const int *want, int width) {
    CoverRow row = {{0}};
    for (int code = 0; code < 3 * 4 * 3 * 3 * 2; code++) {
        int rest = code;
        for (int a = 0; a < small.axis_count; a++) {
            row.value[a] = rest % small.axes[a].count;
            rest /= small.axes[a].count;
        }
        int hits = 0;
        for (int i = 0; i < width; i++) hits += row.value[axes[i]] == want[i];
        if (hits == width && small_legal(NULL, &row)) return true;
    }
    return false;
}

static void every_possible_tuple_is_covered_and_no_other_is_claimed(void **state) {
    (void)state;
    CoverSet set;
    assert_true(covering_build(&small, &set));
    size_t impossible = 0, tuples = 0;
    for (int a = 0; a < 5; a++) {
        for (int b = a + 1; b < 5; b++) {
            for (int x = 0; x < small.axes[a].count * small.axes[b].count; x++) {
                const int axes[] = {a, b};
                const int want[] = {x / small.axes[b].count, x % small.axes[b].count};
                const bool possible = exists(axes, want, 2);
                assert_true(in_set(&set, axes, want, 2) == possible);
                impossible += !possible;
                tuples++;
            }
        }
    }
    for (int x = 0; x < 3 * 4 * 2; x++) {
        const int axes[] = {0, 1, 4}, want[] = {x / 8, x / 2 % 4, x % 2};
        const bool possible = exists(axes, want, 3);
        assert_true(in_set(&set, axes, want, 3) == possible);
        impossible += !possible;
        tuples++;
    }
    assert_int_equal(set.impossible, impossible);
    assert_int_equal(set.tuples, tuples);
    covering_free(&set);
}

static void the_set_is_far_smaller_than_the_product_and_its_rows_are_legal(void **state) {
    (void)state;
    CoverSet set;
    assert_true(covering_build(&small, &set));
    assert_true(set.product == 3 * 4 * 3 * 3 * 2);
    assert_in_range(set.count, 18, 36); /* the triples alone need 18 */
    for (size_t r = 0; r < set.count; r++) assert_true(small_legal(NULL, &set.rows[r]));
    covering_free(&set);
}

static void expensive_combinations_are_repeated(void **state) {
    (void)state;
    CoverSpec spec = small;
    spec.expensive = 2; /* 3 * 4 - 3 illegal combinations of the first two axes */
    CoverSet set, plain;
    assert_true(covering_build(&spec, &set) && covering_build(&small, &plain));
    assert_int_equal(set.variants, 9);
    assert_true(set.count >= 18);
    assert_int_equal(set.impossible, plain.impossible);
    covering_free(&set);
    covering_free(&plain);
}

static void the_same_seed_gives_the_same_rows(void **state) {
    (void)state;
    CoverSet a, b;
    assert_true(covering_build(&small, &a) && covering_build(&small, &b));
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.rows, b.rows, a.count * sizeof *a.rows);
    covering_free(&a);
    covering_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_possible_tuple_is_covered_and_no_other_is_claimed),
        cmocka_unit_test(the_set_is_far_smaller_than_the_product_and_its_rows_are_legal),
        cmocka_unit_test(expensive_combinations_are_repeated),
        cmocka_unit_test(the_same_seed_gives_the_same_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
