/* Writers that are killed or that write at the same time. */
#include "tests/db/fixture.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "db/sql.h"

static DbTrial numbered(int writer, int i) {
    DbTrial t = sample_trial(i & 15);
    t.unix_ms = i;
    t.registers = writer;
    return t;
}

/* Writes trials and verdicts until it is killed; tells each recorded number over the pipe. */
static void write_for_ever(const char *path, int fd) {
    Error err;
    Db *db;
    if (db_open(path, DB_WRITE, &db, &err) != ST_OK) _exit(1);
    for (int i = 0;; i++) {
        DbTrial t = numbered(0, i);
        DbVerdict v = sample_verdict(i & 15);
        v.effort = i;
        if (db_record_trial(db, &t, NULL, &err) != ST_OK) _exit(2);
        if (write(fd, &i, sizeof i) != sizeof i) _exit(3);
        if (db_record_verdict(db, &v, &err) != ST_OK) _exit(4);
    }
}

static void nothing_recorded_is_lost_when_the_writer_is_killed(void **state) {
    Fixture *f = *state;
    srand(7);
    int64_t before = 0;
    for (int round = 0; round < 6; round++) {
        int fds[2], last = -1, seen;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) write_for_ever(f->a, fds[1]);
        close(fds[1]);
        assert_int_equal(read(fds[0], &last, sizeof last), sizeof last); /* it is writing */
        nanosleep(&(struct timespec){.tv_nsec = (20 + rand() % 80) * 1000000L}, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int code;
        assert_int_equal(waitpid(child, &code, 0), child);
        assert_true(WIFSIGNALED(code));
        while (read(fds[0], &seen, sizeof seen) == sizeof seen) last = seen;
        close(fds[0]);
        Db *db = open_or_fail(f, f->a, DB_WRITE);
        assert_ok(f, db_check(db, NULL, &f->err));
        int64_t trials;
        assert_ok(f, db_counts(db, &trials, NULL, NULL, &f->err));
        for (int i = 0; i <= last; i++) {
            DbTrial t = numbered(0, i), *found;
            assert_ok(f, db_find_trial(db, &t.key, t.problem, t.spec_hash, t.config, f->arena,
                                       &found, &f->err));
            assert_non_null(found);
        }
        assert_true(trials > last && trials <= (before > last + 2 ? before : last + 2));
        before = trials;
        db_close(db);
    }
}

/* Killed between the insert and the commit: the trial is not there, and the file is whole. */
static void a_half_written_transaction_disappears(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    DbTrial t = numbered(0, 0);
    assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    db_close(db);
    char *before = dump(f, f->a);
    pid_t child = fork();
    if (child == 0) {
        if (db_open(f->a, DB_WRITE, &db, &f->err) != ST_OK) _exit(1);
        if (db_begin(db, "test", &f->err) != ST_OK) _exit(2);
        /* Spill into the -wal before the commit, as a big import does. */
        sqlite3_exec(db->sqlite, "PRAGMA cache_size = 1", NULL, NULL, NULL);
        for (int i = 1; i < 200; i++) {
            DbTrial more = numbered(1, i);
            if (row_insert(db, ROW_TRIAL, &more, NULL, &f->err) != ST_OK) _exit(3);
        }
        DbVerdict v = sample_verdict(1);
        if (row_insert(db, ROW_VERDICT, &v, NULL, &f->err) != ST_OK) _exit(4);
        kill(getpid(), SIGKILL);
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFSIGNALED(code));
    db = open_or_fail(f, f->a, DB_WRITE);
    assert_ok(f, db_check(db, NULL, &f->err));
    db_close(db);
    assert_string_equal(dump(f, f->a), before);
}

/* Opens a database that does not exist yet, as all the others do, and writes its rows. */
static void write_many(const char *path, int writer, int rows) {
    Error err;
    Db *db;
    if (db_open(path, DB_WRITE, &db, &err) != ST_OK) {
        fprintf(stderr, "%s\n", err.message);
        _exit(1);
    }
    for (int i = 0; i < rows; i++) {
        DbTrial t = numbered(writer, i);
        DbVerdict v = sample_verdict(i & 15);
        v.effort = i;
        v.registers = writer;
        if (db_record_trial(db, &t, NULL, &err) != ST_OK ||
            db_record_verdict(db, &v, &err) != ST_OK) {
            fprintf(stderr, "%s\n", err.message);
            _exit(2);
        }
    }
    db_close(db);
    _exit(0);
}

static void writers_at_the_same_time_lose_nothing(void **state) {
    enum { WRITERS = 4, ROWS = 60 };
    Fixture *f = *state;
    pid_t children[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        children[i] = fork();
        if (children[i] == 0) write_many(f->a, i, ROWS);
    }
    for (int i = 0; i < WRITERS; i++) {
        int code = -1;
        assert_int_equal(waitpid(children[i], &code, 0), children[i]);
        assert_int_equal(code, 0);
    }
    Db *db = open_or_fail(f, f->a, DB_READ);
    int64_t trials, verdicts, winners;
    assert_ok(f, db_counts(db, &trials, &verdicts, &winners, &f->err));
    assert_int_equal(trials, WRITERS * ROWS);
    assert_int_equal(verdicts, WRITERS * ROWS);
    assert_int_equal(winners, 1);
    assert_ok(f, db_check(db, NULL, &f->err));
    DbVerdict v = sample_verdict(0);
    DbWinner *w;
    assert_ok(f, db_winner(db, &v.key, f->arena, &w, &f->err));
    assert_int_equal(w->verdict.effort, ROWS - 1);
    assert_int_equal(w->verdict.registers, 0);
    db_close(db);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(nothing_recorded_is_lost_when_the_writer_is_killed),
        DB_TEST(a_half_written_transaction_disappears),
        DB_TEST(writers_at_the_same_time_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
