/* Recording and reading back; hashes; the order of winners. */
#include "tests/db/fixture.h"

#include <float.h>
#include <limits.h>
#include <math.h>

#include "db/sql.h"

static void assert_same_trial(const DbTrial *x, const DbTrial *y) {
    assert_string_equal(x->key.kernel, y->key.kernel);
    assert_string_equal(x->key.problem_key, y->key.problem_key);
    assert_string_equal(x->key.gpu_key, y->key.gpu_key);
    assert_string_equal(x->key.policy, y->key.policy);
    assert_int_equal(x->key.generation, y->key.generation);
    assert_string_equal(x->problem, y->problem);
    assert_string_equal(x->gpu_name, y->gpu_name);
    assert_string_equal(x->driver, y->driver);
    assert_string_equal(x->nvrtc, y->nvrtc);
    assert_string_equal(x->spec_hash, y->spec_hash);
    assert_string_equal(x->config, y->config);
    assert_int_equal(x->outcome, y->outcome);
    assert_string_equal(x->detail, y->detail);
    assert_true(x->time_median_s == y->time_median_s && x->time_low_s == y->time_low_s);
    assert_true(x->time_high_s == y->time_high_s && x->sm_clock_mhz == y->sm_clock_mhz);
    assert_true(x->verify_error == y->verify_error && x->compile_s == y->compile_s);
    assert_int_equal(x->time_count, y->time_count);
    for (size_t i = 0; i < x->time_count; i++) assert_true(x->times[i] == y->times[i]);
    assert_int_equal(x->registers, y->registers);
    assert_int_equal(x->spill_bytes, y->spill_bytes);
    assert_int_equal(x->smem_bytes, y->smem_bytes);
    assert_string_equal(x->session, y->session);
    assert_true(x->unix_ms == y->unix_ms);
    assert_string_equal(x->tool, y->tool);
}

static DbTrial *find(Fixture *f, Db *db, const DbTrial *t) {
    DbTrial *found = NULL;
    assert_ok(f, db_find_trial(db, &t->key, t->problem, t->spec_hash, t->config, f->arena, &found,
                               &f->err));
    return found;
}

static void a_trial_reads_back_as_recorded_and_once(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    bool recorded;
    for (int i = 0; i < 6; i++) {
        DbTrial t = sample_trial(i);
        assert_ok(f, db_record_trial(db, &t, &recorded, &f->err));
        assert_true(recorded);
        assert_ok(f, db_record_trial(db, &t, &recorded, &f->err));
        assert_false(recorded);
        assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
        DbTrial *found = find(f, db, &t);
        assert_non_null(found);
        assert_same_trial(found, &t);
    }
    int64_t trials, verdicts, winners, checked;
    assert_ok(f, db_counts(db, &trials, &verdicts, &winners, &f->err));
    assert_int_equal(trials, 6);
    assert_int_equal(verdicts, 0);
    assert_int_equal(winners, 0);
    assert_ok(f, db_check(db, &checked, &f->err));
    assert_int_equal(checked, 6);
    assert_string_equal(db_path(db), f->a);
    db_close(db);
}

static void extreme_values_survive_with_their_hash(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    double times[] = {-0.0, DBL_MIN / 4, DBL_MAX, 5.0, -1e-300};
    DbTrial t = sample_trial(1);
    t.times = times;
    t.time_count = 5;
    t.time_median_s = -0.0;
    t.time_low_s = 3.0; /* SQLite keeps whole reals as integers on disk */
    t.time_high_s = DBL_MAX;
    t.verify_error = NAN;
    t.registers = INT_MAX;
    t.spill_bytes = INT_MIN;
    t.unix_ms = INT64_MIN;
    t.key.generation = -1;
    t.session = NULL;
    t.detail = "\xff\xfe not UTF-8 ' \" ; --";
    bool recorded;
    assert_ok(f, db_record_trial(db, &t, &recorded, &f->err));
    assert_true(recorded);
    assert_ok(f, db_check(db, NULL, &f->err));
    DbTrial *found = find(f, db, &t);
    assert_non_null(found);
    assert_true(found->time_median_s == 0 && !signbit(found->time_median_s));
    assert_true(isinf(found->verify_error) && found->verify_error > 0);
    assert_string_equal(found->session, "");
    assert_string_equal(found->detail, t.detail);
    assert_true(found->times[1] == DBL_MIN / 4 && found->times[2] == DBL_MAX);
    assert_int_equal(found->spill_bytes, INT_MIN);
    assert_true(found->unix_ms == INT64_MIN);
    assert_ok(f, db_record_trial(db, found, &recorded, &f->err)); /* the same content */
    assert_false(recorded);
    db_close(db);
}

static void what_cannot_be_recorded_is_named(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    DbTrial t = sample_trial(1);
    t.time_low_s = NAN;
    assert_int_equal(db_record_trial(db, &t, NULL, &f->err), ST_INVALID);
    assert_contains(f->err.message, "time_low_s is not a finite number");
    t = sample_trial(1);
    double times[] = {1, INFINITY};
    t.times = times;
    t.time_count = 2;
    assert_int_equal(db_record_trial(db, &t, NULL, &f->err), ST_INVALID);
    assert_contains(f->err.message, "times[1]");
    t = sample_trial(1);
    t.config = NULL;
    assert_int_equal(db_record_trial(db, &t, NULL, &f->err), ST_INVALID);
    assert_contains(f->err.message, "config is empty");
    t = sample_trial(1);
    t.outcome = (DbOutcome)77;
    assert_int_equal(db_record_trial(db, &t, NULL, &f->err), ST_INVALID);
    assert_contains(f->err.message, "outcome 77");
    t = sample_trial(1);
    char *big = malloc(DB_TEXT_MAX + 2);
    memset(big, 'x', DB_TEXT_MAX + 1);
    big[DB_TEXT_MAX + 1] = '\0';
    t.detail = big;
    assert_int_equal(db_record_trial(db, &t, NULL, &f->err), ST_LIMIT);
    assert_contains(f->err.message, "detail has 1048577 bytes, the limit is 1048576");
    big[DB_TEXT_MAX] = '\0';
    assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    free(big);
    DbVerdict v = sample_verdict(1);
    v.ratio_high = INFINITY;
    assert_int_equal(db_record_verdict(db, &v, &f->err), ST_INVALID);
    assert_contains(f->err.message, "verdict: ratio_high");
    db_close(db);
}

static void a_trial_of_another_key_is_not_found(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    DbTrial t = sample_trial(1);
    assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    assert_non_null(find(f, db, &t));
    const char **const texts[] = {&t.key.kernel, &t.key.problem_key, &t.key.gpu_key, &t.key.policy,
                                  &t.problem,    &t.spec_hash,       &t.config};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *kept = *texts[i];
        *texts[i] = "other";
        assert_null(find(f, db, &t));
        *texts[i] = kept;
    }
    t.key.generation = 2;
    assert_null(find(f, db, &t));
    t.key.generation = 1;
    t.driver = "12.0"; /* not part of the question */
    assert_non_null(find(f, db, &t));
    DbTrial later = sample_trial(1); /* of two, the later one answers */
    later.unix_ms += 1000;
    later.outcome = DB_TIMEOUT;
    assert_ok(f, db_record_trial(db, &later, NULL, &f->err));
    assert_int_equal(find(f, db, &t)->outcome, DB_TIMEOUT);
    db_close(db);
}

typedef struct Walk {
    Fixture *f;
    Db *db;
    int count;
    int64_t last;
} Walk;

static Status visit_trial(void *context, const DbTrial *trial, Error *err) {
    Walk *w = context;
    (void)err;
    assert_true(trial->unix_ms > w->last);
    w->last = trial->unix_ms;
    assert_non_null(find(w->f, w->db, trial)); /* calls back into the database */
    return ++w->count == 100 ? ST_CANCELLED : ST_OK;
}

static void trials_are_visited_in_order_of_time(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    for (int i = 9; i >= 0; i--) {
        DbTrial t = sample_trial(i);
        if (i % 2) t.key.kernel = "rope";
        if (i == 4) t.key.generation = 2;
        assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    }
    Walk all = {f, db, 0, 0};
    assert_ok(f, db_each_trial(db, NULL, visit_trial, &all, &f->err));
    assert_int_equal(all.count, 10);
    Walk rope = {f, db, 0, 0};
    assert_ok(f, db_each_trial(db, &(DbKey){.kernel = "rope"}, visit_trial, &rope, &f->err));
    assert_int_equal(rope.count, 5);
    Walk second = {f, db, 0, 0};
    assert_ok(f, db_each_trial(db, &(DbKey){.generation = 2}, visit_trial, &second, &f->err));
    assert_int_equal(second.count, 1);
    Walk ended = {f, db, 99, 0};
    assert_int_equal(db_each_trial(db, NULL, visit_trial, &ended, &f->err), ST_CANCELLED);
    db_close(db);
}

/* The encoding of docs/db.md, written out here a second time. */
static void put_u64(unsigned char **p, uint64_t v) {
    for (int i = 0; i < 8; i++) *(*p)++ = (unsigned char)(v >> 8 * i);
}
static void put_text(unsigned char **p, const char *s) {
    put_u64(p, strlen(s));
    memcpy(*p, s, strlen(s));
    *p += strlen(s);
}
static void put_real(unsigned char **p, double v) {
    uint64_t bits;
    memcpy(&bits, &v, 8);
    put_u64(p, bits);
}

static void the_canonical_encoding_is_the_documented_one(void **state) {
    (void)state;
    static unsigned char bytes[4096];
    unsigned char *p = bytes;
    DbTrial t = sample_trial(3);
    static const char *const texts[] = {"seqtune trial 1", "attn_prefill",
                                        "dtype=f16 head_dim=128 len_q=36",
                                        "cc=80 sms=108 evidence=modelled", "graph warm"};
    for (size_t i = 0; i < 5; i++) put_text(&p, texts[i]);
    put_u64(&p, 1);
    static const char *const more[] = {"batch=1 len_q=512",
                                       "NVIDIA A100-SXM4-80GB",
                                       "13.0",
                                       "13.0",
                                       "00ff",
                                       "block_m=48 warps=4",
                                       "ok",
                                       ""};
    for (size_t i = 0; i < 8; i++) put_text(&p, more[i]);
    put_real(&p, 1.5e-3 + 3);
    put_real(&p, 1.25e-3);
    put_real(&p, 2e-3);
    put_u64(&p, 3);
    put_real(&p, 1.5e-3);
    put_real(&p, 1.25e-3);
    put_real(&p, 2e-3);
    put_real(&p, 1410);
    put_real(&p, 0.125);
    put_real(&p, 0.5);
    put_u64(&p, 203);
    put_u64(&p, 0);
    put_u64(&p, 65536);
    put_text(&p, "20250101-1");
    put_u64(&p, 1735689600003);
    put_text(&p, "seqtune 0.1.0");
    Hash expected = hash_bytes(bytes, (size_t)(p - bytes));
    Hash found = row_hash(ROW_TRIAL, &t);
    assert_true(hash_equal(&expected, &found));
    char hex[HASH_HEX_SIZE];
    hash_hex(&found, hex);
    assert_string_equal(hex, "30b672552b858645b491623f392b81067fbea8633ebabbaa5484d7be94aecdf7");
    DbVerdict v = sample_verdict(3);
    found = row_hash(ROW_VERDICT, &v);
    hash_hex(&found, hex);
    assert_string_equal(hex, "0028028f14cf774f690b35b427b6bbfc0f613de7f20d65cae143b8445c057ff2");
}

static void the_columns_of_the_table_are_the_fields_of_the_encoding(void **state) {
    Fixture *f = *state;
    db_close(open_or_fail(f, f->a, DB_WRITE));
    sqlite3 *sqlite;
    assert_int_equal(sqlite3_open(f->a, &sqlite), SQLITE_OK);
    static const char *const tables[] = {[ROW_TRIAL] = "trial", [ROW_VERDICT] = "verdict"};
    for (int k = 0; k < 2; k++) {
        sqlite3_stmt *s;
        sqlite3_prepare_v2(sqlite, "SELECT name FROM pragma_table_info(?1) ORDER BY cid", -1, &s,
                           NULL);
        sqlite3_bind_text(s, 1, tables[k], -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        for (size_t i = 0; i < row_columns((RowKind)k); i++) {
            assert_int_equal(sqlite3_step(s), SQLITE_ROW);
            assert_string_equal(sqlite3_column_text(s, 0), row_column((RowKind)k, i));
        }
        assert_int_equal(sqlite3_step(s), SQLITE_DONE);
        sqlite3_finalize(s);
    }
    sqlite3_close(sqlite);
}

static const char *winner_config(Fixture *f, Db *db, int generation) {
    DbVerdict v = sample_verdict(0);
    DbWinner *w = NULL;
    v.key.generation = generation;
    assert_ok(f, db_winner(db, &v.key, f->arena, &w, &f->err));
    if (!w) return "none";
    assert_true(w->row > 0);
    return w->verdict.config;
}

/* Each step: a verdict that wins by one criterion although the next ones speak against it. */
static void each_criterion_of_the_order_decides(void **state) {
    Fixture *f = *state;
    static const struct {
        const char *config;
        int64_t effort;
        double ratio_high;
        int registers, smem_bytes;
        bool wins;
    } steps[] = {
        {"first", 100, 0.60, 200, 65536, true},
        {"less effort", 99, 0.10, 10, 10, false},
        {"more effort", 101, 0.90, 250, 99999, true},
        {"higher bound", 101, 0.91, 10, 10, false},
        {"lower bound", 101, 0.80, 255, 99999, true},
        {"more registers", 101, 0.80, 256, 10, false},
        {"fewer registers", 101, 0.80, 254, 99999, true},
        {"more shared memory", 101, 0.80, 254, 100000, false},
        {"less shared memory", 101, 0.80, 254, 99998, true},
    };
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    const char *winner = "none";
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        DbVerdict v = sample_verdict((int)i);
        v.config = steps[i].config;
        v.effort = steps[i].effort;
        v.ratio_high = steps[i].ratio_high;
        v.registers = steps[i].registers;
        v.smem_bytes = steps[i].smem_bytes;
        assert_ok(f, db_record_verdict(db, &v, &f->err));
        if (steps[i].wins) winner = steps[i].config;
        assert_string_equal(winner_config(f, db, 1), winner);
        assert_string_equal(winner_config(f, db, 0), winner);
    }
    assert_ok(f, db_check(db, NULL, &f->err));
    db_close(db);
}

static void the_smaller_hash_decides_a_full_tie(void **state) {
    Fixture *f = *state;
    DbVerdict v[2] = {sample_verdict(1), sample_verdict(2)};
    Hash h[2] = {row_hash(ROW_VERDICT, &v[0]), row_hash(ROW_VERDICT, &v[1])};
    int first = memcmp(h[0].bytes, h[1].bytes, 32) < 0 ? 0 : 1;
    for (int order = 0; order < 2; order++) {
        Db *db = open_or_fail(f, order ? f->b : f->a, DB_WRITE);
        assert_ok(f, db_record_verdict(db, &v[order], &f->err));
        assert_ok(f, db_record_verdict(db, &v[1 - order], &f->err));
        assert_ok(f, db_record_verdict(db, &v[order], &f->err)); /* repeated: nothing changes */
        assert_string_equal(winner_config(f, db, 1), v[first].config);
        db_close(db);
    }
}

static void generations_do_not_compete(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    assert_string_equal(winner_config(f, db, 0), "none");
    DbVerdict v = sample_verdict(1);
    v.config = "old but thorough";
    v.effort = 100000;
    assert_ok(f, db_record_verdict(db, &v, &f->err));
    v.config = "new";
    v.effort = 1;
    v.key.generation = 2;
    assert_ok(f, db_record_verdict(db, &v, &f->err));
    assert_string_equal(winner_config(f, db, 1), "old but thorough");
    assert_string_equal(winner_config(f, db, 2), "new");
    assert_string_equal(winner_config(f, db, 3), "none");
    assert_string_equal(winner_config(f, db, 0), "new");
    db_close(db);
}

static Status list_winner(void *context, const DbWinner *w, Error *err) {
    (void)err;
    char *text = context;
    sprintf(text + strlen(text), "%s/%s/%s/%d ", w->verdict.key.kernel, w->verdict.key.gpu_key,
            w->verdict.key.problem_key, w->verdict.key.generation);
    return ST_OK;
}

static void winners_are_listed_sorted_and_filtered(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    static const DbKey keys[] = {{"rope", "p1", "g2", "x", 1}, {"attn", "p2", "g1", "x", 1},
                                 {"attn", "p1", "g2", "x", 1}, {"attn", "p1", "g1", "x", 1},
                                 {"attn", "p1", "g1", "x", 2}, {"attn", "p1", "g1", "x", 2}};
    for (int i = 0; i < 6; i++) {
        DbVerdict v = sample_verdict(i);
        v.key = keys[i];
        assert_ok(f, db_record_verdict(db, &v, &f->err));
    }
    char text[400] = "";
    assert_ok(f, db_each_winner(db, NULL, NULL, list_winner, text, &f->err));
    assert_string_equal(text, "attn/g1/p1/2 attn/g1/p1/1 attn/g1/p2/1 attn/g2/p1/1 rope/g2/p1/1 ");
    text[0] = '\0';
    assert_ok(f, db_each_winner(db, "attn", "g1", list_winner, text, &f->err));
    assert_string_equal(text, "attn/g1/p1/2 attn/g1/p1/1 attn/g1/p2/1 ");
    text[0] = '\0';
    assert_ok(f, db_each_winner(db, NULL, "g2", list_winner, text, &f->err));
    assert_string_equal(text, "attn/g2/p1/1 rope/g2/p1/1 ");
    db_close(db);
}

/* 20000 trials: 3.7 ms per question by another index, microseconds by this one. */
static void questions_use_their_index(void **state) {
    Fixture *f = *state;
    static const struct {
        SqlId id;
        const char *index;
    } rows[] = {{SQL_TRIAL_FIND, "trial_by_config (config=?)"},
                {SQL_WINNER_GET, "SEARCH w USING PRIMARY KEY"},
                {SQL_WINNER_REBUILD, "verdict_by_key (kernel=? AND gpu_key=? AND problem_key=?"}};
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sqlite3_stmt *s;
        const char *sql = arena_printf(f->arena, "EXPLAIN QUERY PLAN %s", sql_text(rows[i].id));
        assert_int_equal(sqlite3_prepare_v2(db->sqlite, sql, -1, &s, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(s), SQLITE_ROW);
        assert_contains((const char *)sqlite3_column_text(s, 3), rows[i].index);
        sqlite3_finalize(s);
    }
    db_close(db);
}

static void outcomes_have_names(void **state) {
    (void)state;
    for (int i = 0; i < DB_OUTCOME_COUNT; i++) {
        assert_string_not_equal(db_outcome_name((DbOutcome)i), "unknown");
    }
    assert_string_equal(db_outcome_name((DbOutcome)99), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(a_trial_reads_back_as_recorded_and_once),
        DB_TEST(extreme_values_survive_with_their_hash),
        DB_TEST(what_cannot_be_recorded_is_named),
        DB_TEST(a_trial_of_another_key_is_not_found),
        DB_TEST(trials_are_visited_in_order_of_time),
        DB_TEST(the_canonical_encoding_is_the_documented_one),
        DB_TEST(the_columns_of_the_table_are_the_fields_of_the_encoding),
        DB_TEST(each_criterion_of_the_order_decides),
        DB_TEST(the_smaller_hash_decides_a_full_tie),
        DB_TEST(generations_do_not_compete),
        DB_TEST(winners_are_listed_sorted_and_filtered),
        DB_TEST(questions_use_their_index),
        DB_TEST(outcomes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
