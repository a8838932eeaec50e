/* Who wins and how sure we are: the pure rules of rank.h and stats.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tuner/rank.h"
#include "tuner/stats.h"

/* A deterministic time: the interval is the value. */
static Timed at(const char *config, double time, int64_t registers, int64_t smem, bool standard) {
    return (Timed){.config = config,
                   .time = time,
                   .low = time,
                   .high = time,
                   .registers = registers,
                   .threads = 128,
                   .smem = smem,
                   .is_default = standard};
}

static void the_fastest_wins_when_it_is_ahead_by_more_than_the_gap(void **state) {
    (void)state;
    const Timed t[] = {at("a", 1.00, 64, 0, true), at("b", 0.98, 255, 9, false)};
    assert_int_equal(rank_winner(t, 2, rank_modelled_gap), 1);
}

static void the_default_wins_within_the_gap(void **state) {
    (void)state;
    const Timed t[] = {at("b", 0.995, 32, 0, false), at("a", 1.00, 255, 9, true)};
    assert_int_equal(rank_winner(t, 2, rank_modelled_gap), 1);
}

static void without_the_default_in_reach_fewer_resources_win(void **state) {
    (void)state;
    const Timed t[] = {at("slow", 2.0, 16, 0, true), at("big", 1.0, 200, 0, false),
                       at("small", 1.005, 100, 0, false), at("lean", 1.005, 100, 0, false)};
    assert_int_equal(rank_winner(t, 4, rank_modelled_gap), 3); /* "lean" < "small" */
    const Timed u[] = {at("x", 1.0, 100, 4096, false), at("y", 1.0, 100, 1024, false)};
    assert_int_equal(rank_winner(u, 2, rank_modelled_gap), 1);
}

static void thrift_does_not_pick_what_ties_with_a_slower_default(void **state) {
    (void)state;
    const Timed t[] = {at("a", 580.1, 64, 0, true), at("b", 573.8, 64, 0, false),
                       at("c", 578.8, 32, 0, false)};
    assert_int_equal(rank_winner(t, 3, rank_modelled_gap), 1);
}

static void overlapping_intervals_are_a_tie(void **state) {
    (void)state;
    Timed a = at("a", 1.0, 64, 0, true), b = at("b", 0.9, 64, 0, false);
    a.low = 0.93;
    b.high = 0.95;
    assert_true(rank_tied(&a, &b, rank_measured_gap));
    assert_int_equal(rank_winner((const Timed[]){b, a}, 2, rank_measured_gap), 1);
    b.high = 0.92;
    assert_int_equal(rank_winner((const Timed[]){b, a}, 2, rank_measured_gap), 0);
}

static void the_winner_does_not_depend_on_the_order(void **state) {
    (void)state;
    Timed t[5] = {at("a", 1.02, 64, 0, true), at("b", 1.0, 64, 0, false),
                  at("c", 1.0, 64, 0, false), at("d", 1.009, 32, 0, false),
                  at("e", 1.3, 16, 0, false)};
    srand(7);
    for (int round = 0; round < 200; round++) {
        for (int i = 4; i > 0; i--) {
            int k = rand() % (i + 1);
            Timed x = t[i];
            t[i] = t[k];
            t[k] = x;
        }
        assert_string_equal(t[rank_winner(t, 5, rank_modelled_gap)].config, "d");
    }
}

static void nothing_timed_has_no_winner(void **state) {
    (void)state;
    assert_int_equal(rank_winner(NULL, 0, rank_modelled_gap), 0);
}

static void racing_drops_only_what_cannot_win(void **state) {
    (void)state;
    Timed best = at("a", 1.0, 64, 0, true), slow = at("b", 1.2, 64, 0, false);
    assert_false(rank_may_win(&slow, &best, rank_measured_gap));
    slow.low = 0.99;
    assert_true(rank_may_win(&slow, &best, rank_measured_gap));
}

static void the_median_ignores_a_spike(void **state) {
    (void)state;
    const double t[] = {1.0, 1.1, 0.9, 50.0, 1.05};
    assert_true(stats_spread(t, 5).median == 1.05);
    const double even[] = {1, 2, 3, 4};
    assert_true(stats_spread(even, 4).median == 2.5);
    assert_true(stats_spread(t, 0).median == 0);
}

/* Skewed samples, so that an interval that assumes a normal distribution would fail. */
static void the_interval_holds_the_true_median_95_times_in_100(void **state) {
    (void)state;
    const size_t sizes[] = {6, 7, 11, 15, 31};
    srand(11);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int hits = 0;
        enum { ROUNDS = 4000 };
        for (int r = 0; r < ROUNDS; r++) {
            double t[31];
            for (size_t i = 0; i < sizes[s]; i++) {
                double u = (double)rand() / RAND_MAX; /* exponential: median log 2, skewed */
                t[i] = -log(u > 0 ? u : 1e-9);
            }
            Spread x = stats_spread(t, sizes[s]);
            hits += x.low <= log(2.0) && log(2.0) <= x.high;
        }
        assert_true(hits > 0.94 * ROUNDS);
    }
}

static void a_paired_ratio_cancels_what_both_share(void **state) {
    (void)state;
    double a[20], b[20];
    for (int i = 0; i < 20; i++) { /* the clock drops by half on the way */
        b[i] = i < 10 ? 1.0 : 2.0;
        a[i] = 0.9 * b[i];
    }
    Spread r = stats_ratio(a, b, 20);
    assert_true(fabs(r.median - 0.9) < 1e-12 && fabs(r.high - 0.9) < 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_wins_when_it_is_ahead_by_more_than_the_gap),
        cmocka_unit_test(the_default_wins_within_the_gap),
        cmocka_unit_test(without_the_default_in_reach_fewer_resources_win),
        cmocka_unit_test(thrift_does_not_pick_what_ties_with_a_slower_default),
        cmocka_unit_test(overlapping_intervals_are_a_tie),
        cmocka_unit_test(the_winner_does_not_depend_on_the_order),
        cmocka_unit_test(nothing_timed_has_no_winner),
        cmocka_unit_test(racing_drops_only_what_cannot_win),
        cmocka_unit_test(the_median_ignores_a_spike),
        cmocka_unit_test(the_interval_holds_the_true_median_95_times_in_100),
        cmocka_unit_test(a_paired_ratio_cancels_what_both_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
