/* Merging whole files: it commutes, repeats and associates; an import is all or nothing. */
#include "tests/db/fixture.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "db/sql.h"

static uint64_t seed;

static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

/* A database with a random part of one small universe of rows, so that files overlap and verdicts
 * tie in every criterion. */
static void make_random(Fixture *f, const char *path) {
    static const char *const kernels[] = {"attn_prefill", "rope"};
    Db *db = open_or_fail(f, path, DB_WRITE);
    for (uint32_t n = rnd(12); n > 0; n--) {
        DbTrial t = sample_trial((int)rnd(8));
        t.key.kernel = kernels[rnd(2)];
        assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    }
    for (uint32_t n = rnd(12); n > 0; n--) {
        DbVerdict v = sample_verdict((int)rnd(3));
        v.key.kernel = kernels[rnd(2)];
        v.key.generation = 1 + (int)rnd(2);
        v.effort = 100 + rnd(2);
        v.ratio_high = 0.5 + 0.1 * rnd(2);
        v.registers = 100 + (int)rnd(2);
        v.smem_bytes = 1000 + (int)rnd(2);
        assert_ok(f, db_record_verdict(db, &v, &f->err));
    }
    db_close(db);
}

/* A new file with the contents of `from`, in that order. */
static char *merged(Fixture *f, const char *const *from, int n) {
    static int serial;
    char path[160];
    snprintf(path, sizeof path, "%s/merged%d.db", f->dir, serial++);
    Db *db = open_or_fail(f, path, DB_WRITE);
    for (int i = 0; i < n; i++) assert_ok(f, db_import(db, from[i], NULL, &f->err));
    assert_ok(f, db_check(db, NULL, &f->err));
    db_close(db);
    return arena_strdup(f->arena, path);
}

static void merging_commutes_repeats_and_associates(void **state) {
    Fixture *f = *state;
    const char *given = getenv("SEQTUNE_TEST_SEED");
    uint64_t start = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu (rerun: SEQTUNE_TEST_SEED=%llu test_db_merge)\n",
                  (unsigned long long)start, (unsigned long long)start);
    seed = start;
    for (int round = 0; round < 4; round++) {
        const char *const p[] = {arena_printf(f->arena, "%s/x%d", f->dir, round),
                                 arena_printf(f->arena, "%s/y%d", f->dir, round),
                                 arena_printf(f->arena, "%s/z%d", f->dir, round)};
        for (int i = 0; i < 3; i++) make_random(f, p[i]);
        const char *xy = merged(f, (const char *const[]){p[0], p[1]}, 2);
        const char *yx = merged(f, (const char *const[]){p[1], p[0]}, 2);
        const char *yz = merged(f, (const char *const[]){p[1], p[2]}, 2);
        assert_string_equal(dump(f, xy), dump(f, yx));
        const char *xyxy = merged(f, (const char *const[]){p[0], p[1], p[0], xy, p[1]}, 5);
        assert_string_equal(dump(f, xy), dump(f, xyxy));
        const char *left = merged(f, (const char *const[]){xy, p[2]}, 2);
        const char *right = merged(f, (const char *const[]){p[0], yz}, 2);
        assert_string_equal(dump(f, left), dump(f, right));
    }
}

static void an_import_counts_and_rebuilds_winners(void **state) {
    Fixture *f = *state;
    Db *a = open_or_fail(f, f->a, DB_WRITE), *b = open_or_fail(f, f->b, DB_WRITE);
    for (int i = 0; i < 4; i++) {
        DbTrial t = sample_trial(i);
        DbVerdict v = sample_verdict(i);
        v.effort = 100 + i;
        assert_ok(f, db_record_trial(i < 3 ? a : b, &t, NULL, &f->err));
        assert_ok(f, db_record_verdict(i < 3 ? a : b, &v, &f->err));
        if (i == 1) assert_ok(f, db_record_trial(b, &t, NULL, &f->err));
    }
    DbMergeCount n;
    assert_ok(f, db_import(a, f->b, &n, &f->err)); /* b is open and in WAL mode */
    assert_int_equal(n.trials_read, 2);
    assert_int_equal(n.trials_new, 1);
    assert_int_equal(n.verdicts_read, 1);
    assert_int_equal(n.verdicts_new, 1);
    assert_ok(f, db_import(a, f->a, &n, &f->err)); /* itself: nothing new */
    assert_int_equal(n.trials_read, 4);
    assert_int_equal(n.trials_new + n.verdicts_new, 0);
    DbVerdict v = sample_verdict(3);
    DbWinner *w;
    assert_ok(f, db_winner(a, &v.key, f->arena, &w, &f->err));
    assert_string_equal(w->verdict.config, v.config);
    db_close(a);
    db_close(b);
}

static void an_export_is_one_file_that_opens_everywhere(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    for (int i = 0; i < 5; i++) {
        DbTrial t = sample_trial(i);
        DbVerdict v = sample_verdict(i);
        assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
        assert_ok(f, db_record_verdict(db, &v, &f->err));
    }
    assert_ok(f, db_export(db, f->b, &f->err));
    db_close(db);
    unsigned char header[100];
    FILE *file = fopen(f->b, "rb");
    assert_int_equal(fread(header, 1, sizeof header, file), sizeof header);
    fclose(file);
    assert_int_equal(header[18], 1); /* file format 1: a rollback journal, not WAL (2) */
    assert_int_equal(header[19], 1);
    assert_memory_equal(header + 68, "seqt", 4);
    assert_string_equal(dump(f, f->a), dump(f, f->b));
    assert_int_equal(chmod(f->b, 0444), 0);
    assert_int_equal(count_entries(f->dir), 2); /* no -wal, no temporary */
    for (int mode = 0; mode < 2; mode++) {
        Db *shipped = open_or_fail(f, f->b, mode ? DB_IMMUTABLE : DB_READ);
        int64_t rows;
        assert_ok(f, db_check(shipped, &rows, &f->err));
        assert_int_equal(rows, 10);
        DbTrial t = sample_trial(9);
        assert_int_equal(db_record_trial(shipped, &t, NULL, &f->err), ST_PERMISSION);
        char again[160];
        snprintf(again, sizeof again, "%s/again%d", f->dir, mode);
        assert_ok(f, db_export(shipped, again, &f->err)); /* from a reader too */
        assert_string_equal(dump(f, again), dump(f, f->a));
        db_close(shipped);
    }
}

static void an_export_does_not_overwrite(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    DbTrial t = sample_trial(1);
    assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    assert_ok(f, db_export(db, f->b, &f->err));
    char *before = dump(f, f->b);
    t = sample_trial(2);
    assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    assert_int_equal(db_export(db, f->b, &f->err), ST_INVALID);
    assert_contains(f->err.message, f->b);
    assert_string_equal(dump(f, f->b), before);
    char missing[160];
    snprintf(missing, sizeof missing, "%s/no/such/place", f->dir);
    assert_int_not_equal(db_export(db, missing, &f->err), ST_OK);
    assert_contains(f->err.message, missing);
    db_close(db);
}

/* Every way to alter a row: the import names it, and nothing of the file arrives. */
static void an_altered_row_is_named_and_nothing_is_imported(void **state) {
    Fixture *f = *state;
    static const struct {
        const char *sql, *message;
    } attacks[] = {
        {"UPDATE trial SET config = 'block_m=1' WHERE id = 3", "trial row 3"},
        {"UPDATE trial SET time_median_s = time_median_s / 2 WHERE id = 2", "trial row 2"},
        {"UPDATE trial SET times = zeroblob(8) WHERE id = 1", "trial row 1"},
        {"UPDATE trial SET hash = zeroblob(32) WHERE id = 4", "trial row 4"},
        {"UPDATE verdict SET ratio_high = 0.01 WHERE id = 2", "verdict row 2"},
        {"UPDATE verdict SET generation = 7 WHERE id = 1", "verdict row 1"},
        {"UPDATE trial SET tool = tool || char(0) || 'x' WHERE id = 1", "zero byte"},
        {"UPDATE trial SET registers = 1 << 40 WHERE id = 1", "registers is not an integer of 32"},
        {"UPDATE trial SET kernel = '' WHERE id = 1", "kernel is empty"},
        {"PRAGMA ignore_check_constraints = ON; UPDATE trial SET outcome = 'fine' WHERE id = 1",
         "outcome"},
        {"PRAGMA ignore_check_constraints = ON; UPDATE trial SET times = x'00' WHERE id = 1",
         "times"},
        {"CREATE TRIGGER t AFTER INSERT ON trial BEGIN DELETE FROM trial; END", "its tables"},
        {"CREATE VIEW v AS SELECT 1", "its tables"},
        {"DROP INDEX trial_by_config", "its tables"},
        {"ALTER TABLE trial RENAME TO old; CREATE VIEW trial AS SELECT * FROM old", "its tables"},
        {"PRAGMA application_id = 0", "another program"},
        {"PRAGMA user_version = 2", "newer than this program's 1"},
    };
    Db *target = open_or_fail(f, f->a, DB_WRITE);
    DbTrial own = sample_trial(7);
    assert_ok(f, db_record_trial(target, &own, NULL, &f->err));
    char *before = dump(f, f->a);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/evil%zu", f->dir, i);
        Db *db = open_or_fail(f, path, DB_WRITE);
        for (int k = 0; k < 5; k++) {
            DbTrial t = sample_trial(k);
            DbVerdict v = sample_verdict(k);
            assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
            assert_ok(f, db_record_verdict(db, &v, &f->err));
        }
        db_close(db);
        raw_sql(path, attacks[i].sql);
        DbMergeCount count = {-1, -1, -1, -1};
        Status st = db_import(target, path, &count, &f->err);
        if (st == ST_OK) fail_msg("imported after: %s", attacks[i].sql);
        assert_contains(f->err.message, attacks[i].message);
        assert_contains(f->err.message, path);
        assert_contains(f->err.message, "nothing imported");
        assert_int_equal(count.trials_read, -1);
        assert_string_equal(dump(f, f->a), before);
    }
    assert_ok(f, db_check(target, NULL, &f->err));
    db_close(target);
}

static void a_check_finds_a_wrong_winner(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    for (int i = 0; i < 3; i++) {
        DbVerdict v = sample_verdict(i);
        v.effort = 100 + i;
        assert_ok(f, db_record_verdict(db, &v, &f->err));
    }
    assert_ok(f, db_check(db, NULL, &f->err));
    raw_sql(f->a, "UPDATE winner SET verdict = (SELECT hash FROM verdict WHERE effort = 100)");
    assert_int_equal(db_check(db, NULL, &f->err), ST_CORRUPT);
    assert_contains(f->err.message, "attn_prefill");
    raw_sql(f->a, "DELETE FROM winner");
    assert_int_equal(db_check(db, NULL, &f->err), ST_CORRUPT);
    Db *fresh = open_or_fail(f, f->b, DB_WRITE); /* the remedy that the message names */
    assert_ok(f, db_import(fresh, f->a, NULL, &f->err));
    assert_ok(f, db_check(fresh, NULL, &f->err));
    db_close(fresh);
    db_close(db);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(merging_commutes_repeats_and_associates),
        DB_TEST(an_import_counts_and_rebuilds_winners),
        DB_TEST(an_export_is_one_file_that_opens_everywhere),
        DB_TEST(an_export_does_not_overwrite),
        DB_TEST(an_altered_row_is_named_and_nothing_is_imported),
        DB_TEST(a_check_finds_a_wrong_winner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
