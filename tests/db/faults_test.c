/* Bad places and bad files: one message that names the path and the cause, and nothing lost. */
#include "tests/db/fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/sql.h"

static void fill(Fixture *f, const char *path, int rows) {
    Db *db = open_or_fail(f, path, DB_WRITE);
    for (int i = 0; i < rows; i++) {
        DbTrial t = sample_trial(i);
        assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
    }
    db_close(db);
}

static void write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void expect(Fixture *f, const char *path, DbOpen mode, Status status, const char *part) {
    Db *db = NULL;
    Status st = db_open(path, mode, &db, &f->err);
    if (st != status) fail_msg("%s: status %d: %s", part, (int)st, st ? f->err.message : "opened");
    assert_null(db);
    assert_contains(f->err.message, path);
    assert_contains(f->err.message, part);
    assert_null(strchr(f->err.message, '\n'));
}

static void a_missing_file_is_not_created_by_a_reader(void **state) {
    Fixture *f = *state;
    expect(f, f->a, DB_READ, ST_NOT_FOUND, "No such file");
    expect(f, f->a, DB_IMMUTABLE, ST_NOT_FOUND, "No such file");
    expect(f, f->dir, DB_WRITE, ST_INVALID, "not a file");
    assert_int_equal(count_entries(f->dir), 0);
    char below[160];
    snprintf(below, sizeof below, "%s/x/y/z.db", f->dir); /* a writer makes the directories */
    fill(f, below, 1);
    char through[160];
    snprintf(through, sizeof through, "%s/x/y/z.db/w.db", f->dir);
    Db *db = NULL;
    assert_int_not_equal(db_open(through, DB_WRITE, &db, &f->err), ST_OK);
    assert_null(db);
}

static void files_of_others_are_refused_and_not_touched(void **state) {
    Fixture *f = *state;
    static const char text[] = "this is a letter to my grandmother and no database at all, really; "
                               "it only needs to be longer than one hundred bytes to be read";
    write_file(f->a, text, sizeof text);
    write_file(f->b, "short", 5);
    for (int mode = DB_READ; mode <= DB_IMMUTABLE; mode++) {
        expect(f, f->a, (DbOpen)mode, ST_CORRUPT, "not a seqtune database");
        expect(f, f->b, (DbOpen)mode, ST_CORRUPT, "not a seqtune database");
    }
    raw_sql(f->c, "CREATE TABLE addresses (name TEXT); INSERT INTO addresses VALUES ('Ada')");
    struct stat before, after;
    assert_int_equal(stat(f->c, &before), 0);
    for (int mode = DB_READ; mode <= DB_IMMUTABLE; mode++) {
        expect(f, f->c, (DbOpen)mode, ST_CORRUPT, "of another program");
    }
    assert_int_equal(stat(f->c, &after), 0);
    assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
                before.st_mtim.tv_nsec == after.st_mtim.tv_nsec && before.st_size == after.st_size);
    assert_int_equal(count_entries(f->dir), 3);
    char again[sizeof text];
    FILE *file = fopen(f->a, "rb");
    assert_int_equal(fread(again, 1, sizeof again, file), sizeof again);
    fclose(file);
    assert_memory_equal(again, text, sizeof text);
}

static void a_newer_schema_is_refused(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 2);
    raw_sql(f->a, "PRAGMA user_version = 99");
    expect(f, f->a, DB_WRITE, ST_UNSUPPORTED, "version 99, newer than this program's 1");
    expect(f, f->a, DB_READ, ST_UNSUPPORTED, "version 99");
    raw_sql(f->a, "PRAGMA user_version = 1");
    fill(f, f->a, 3);
}

static void an_empty_file_is_new_for_a_writer_only(void **state) {
    Fixture *f = *state;
    write_file(f->a, "", 0);
    expect(f, f->a, DB_READ, ST_CORRUPT, "the file is empty");
    fill(f, f->a, 2);
    db_close(open_or_fail(f, f->a, DB_READ));
}

/* Every truncation is an error at opening or at the check, never a crash; only a cut through the
 * unused end of the last page, which loses nothing, may go unseen. */
static void a_truncated_file_is_found_out(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 12);
    struct stat info;
    assert_int_equal(stat(f->a, &info), 0);
    char command[400], *before = dump(f, f->a);
    enum { PAGE = 4096 };
    for (off_t size = 1; size < info.st_size; size += size < 200 ? 37 : 4096 + 511) {
        snprintf(command, sizeof command, "cp '%s' '%s'", f->a, f->b);
        assert_int_equal(system(command), 0);
        assert_int_equal(truncate(f->b, size), 0);
        for (int mode = DB_READ; mode <= DB_WRITE; mode++) {
            Db *db = NULL;
            Status st = db_open(f->b, (DbOpen)mode, &db, &f->err);
            if (st == ST_OK) st = db_check(db, NULL, &f->err);
            db_close(db);
            if (st == ST_OK && size > info.st_size - PAGE) {
                assert_string_equal(dump(f, f->b), before);
                continue;
            }
            if (st != ST_CORRUPT) fail_msg("cut at %ld: status %d", (long)size, (int)st);
            assert_contains(f->err.message, f->b);
        }
    }
}

/* Flipped bits: an error or an equal answer. Bits in free space and unused parts may go unseen. */
static void flipped_bits_never_change_an_answer(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 12);
    char *before = dump(f, f->a);
    FILE *file = fopen(f->a, "rb");
    static unsigned char bytes[1 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    int found = 0;
    for (size_t i = 0; i < 300; i++) {
        size_t at = i * 7919 % size, bit = 1u << i % 8;
        bytes[at] ^= (unsigned char)bit;
        write_file(f->b, bytes, size);
        bytes[at] ^= (unsigned char)bit;
        Db *db = NULL;
        Status st = db_open(f->b, DB_READ, &db, &f->err);
        if (st == ST_OK) st = db_check(db, NULL, &f->err);
        db_close(db);
        if (st == ST_OK)
            assert_string_equal(dump(f, f->b), before);
        else
            found++;
        unlink(f->b);
    }
    assert_true(found > 50); /* most of a small file is free space */
}

static void a_locked_database_says_how_long_was_waited(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 1);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(f->a, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    Db *db = open_or_fail(f, f->a, DB_WRITE); /* opening needs no lock */
    db_set_wait(db, 60);
    DbTrial t = sample_trial(2);
    DbVerdict v = sample_verdict(2);
    assert_int_equal(db_record_trial(db, &t, NULL, &f->err), ST_BUSY);
    assert_contains(f->err.message, "locked by another process, waited 60 ms");
    assert_contains(f->err.message, f->a);
    assert_int_equal(db_record_verdict(db, &v, &f->err), ST_BUSY);
    assert_int_equal(db_import(db, f->a, NULL, &f->err), ST_BUSY);
    Db *reader = open_or_fail(f, f->a, DB_READ); /* a reader does not wait for a writer */
    int64_t trials;
    assert_ok(f, db_counts(reader, &trials, NULL, NULL, &f->err));
    assert_int_equal(trials, 1);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_ok(f, db_record_trial(db, &t, NULL, &f->err)); /* and then it goes on */
    assert_ok(f, db_record_verdict(db, &v, &f->err));
    sqlite3_close(other);
    db_close(reader);
    db_close(db);
}

/* In a child, as another user when the tests run as root. */
static int as_other_user(void (*run)(Fixture *f), Fixture *f) {
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0) _exit(99);
        run(f);
        _exit(0);
    }
    int code = -1;
    assert_int_equal(waitpid(child, &code, 0), child);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

#define CHILD_CHECK(number, condition)                                                             \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "check %d: %s\n", number, f->err.message);                             \
            _exit(number);                                                                         \
        }                                                                                          \
    } while (0)

static void use_unwritable(Fixture *f) {
    Db *db = NULL;
    CHILD_CHECK(1, db_open(f->a, DB_WRITE, &db, &f->err) == ST_PERMISSION);
    CHILD_CHECK(2, strstr(f->err.message, f->a) != NULL);
    CHILD_CHECK(3, db_open(f->b, DB_WRITE, &db, &f->err) == ST_PERMISSION); /* does not exist */
    CHILD_CHECK(4, strstr(f->err.message, f->b) != NULL);
    CHILD_CHECK(5, db_open(f->a, DB_READ, &db, &f->err) == ST_OK);
    int64_t rows = 0;
    CHILD_CHECK(6, db_check(db, &rows, &f->err) == ST_OK && rows == 3);
    DbTrial t = sample_trial(5);
    CHILD_CHECK(7, db_record_trial(db, &t, NULL, &f->err) == ST_PERMISSION);
    db_close(db);
    CHILD_CHECK(8, db_open(f->c, DB_READ, &db, &f->err) == ST_PERMISSION); /* mode 000 */
    CHILD_CHECK(9, strstr(f->err.message, f->c) != NULL);
}

static void a_read_only_place_can_be_read_and_says_so_when_written(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 3); /* in WAL mode, closed */
    fill(f, f->c, 1);
    assert_int_equal(chmod(f->a, 0444), 0);
    assert_int_equal(chmod(f->c, 0000), 0);
    assert_int_equal(chmod(f->dir, 0555), 0);
    assert_int_equal(as_other_user(use_unwritable, f), 0);
    assert_int_equal(count_entries(f->dir), 2);
}

/* The directory is read-only but the file is not: WAL needs both. */
static void use_half_writable(Fixture *f) {
    Db *db = NULL;
    CHILD_CHECK(1, db_open(f->a, DB_WRITE, &db, &f->err) == ST_PERMISSION);
    CHILD_CHECK(2, strstr(f->err.message, f->a) != NULL);
    CHILD_CHECK(3, db_open(f->a, DB_READ, &db, &f->err) == ST_OK);
    CHILD_CHECK(4, db_check(db, NULL, &f->err) == ST_OK);
    db_close(db);
}

static void a_writable_file_in_a_read_only_directory_is_refused(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 3);
    assert_int_equal(chmod(f->a, 0666), 0);
    assert_int_equal(chmod(f->dir, 0555), 0);
    assert_int_equal(as_other_user(use_half_writable, f), 0);
}

/* A full disk by max_page_count: the failed row is not there, every earlier one is. */
static void a_full_disk_loses_nothing_that_was_recorded(void **state) {
    Fixture *f = *state;
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    assert_int_equal(sqlite3_exec(db->sqlite, "PRAGMA max_page_count = 30", NULL, NULL, NULL), 0);
    int recorded = 0;
    Status st = ST_OK;
    char detail[3000];
    memset(detail, 'd', sizeof detail - 1);
    detail[sizeof detail - 1] = '\0';
    for (; st == ST_OK && recorded < 1000; recorded += st == ST_OK) {
        DbTrial t = sample_trial(recorded & 15);
        t.detail = detail;
        t.unix_ms = recorded;
        st = db_record_trial(db, &t, NULL, &f->err);
    }
    assert_int_equal(st, ST_IO);
    assert_contains(f->err.message, "the disk is full");
    assert_contains(f->err.message, f->a);
    assert_true(recorded > 5 && recorded < 100);
    DbVerdict v = sample_verdict(1);
    static char long_text[40000]; /* more pages than the last one left */
    memset(long_text, 'p', sizeof long_text - 1);
    v.problem = long_text;
    assert_int_equal(db_record_verdict(db, &v, &f->err), ST_IO);
    int64_t trials, verdicts, winners;
    assert_ok(f, db_counts(db, &trials, &verdicts, &winners, &f->err));
    assert_int_equal(trials, recorded);
    assert_int_equal(verdicts + winners, 0);
    fill(f, f->b, 12); /* an import that does not fit leaves nothing either */
    Db *other = open_or_fail(f, f->b, DB_WRITE);
    for (int i = 0; i < 20; i++) {
        DbTrial t = sample_trial(i & 15);
        t.detail = detail;
        t.unix_ms = 10000 + i;
        assert_ok(f, db_record_trial(other, &t, NULL, &f->err));
    }
    db_close(other);
    assert_int_equal(db_import(db, f->b, NULL, &f->err), ST_IO);
    assert_contains(f->err.message, "the disk is full");
    assert_ok(f, db_counts(db, &trials, NULL, NULL, &f->err));
    assert_int_equal(trials, recorded);
    assert_ok(f, db_check(db, NULL, &f->err));
    db_close(db);
    db = open_or_fail(f, f->a, DB_WRITE); /* with space again, it goes on */
    assert_ok(f, db_record_verdict(db, &v, &f->err));
    assert_ok(f, db_check(db, NULL, &f->err));
    db_close(db);
}

/* A file-size limit stands for a full disk under the export's own file. */
static void use_small_files(Fixture *f) {
    signal(SIGXFSZ, SIG_IGN);
    Db *db = open_or_fail(f, f->a, DB_READ);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){8192, 8192});
    CHILD_CHECK(1, db_export(db, f->b, &f->err) == ST_IO);
    CHILD_CHECK(2, strstr(f->err.message, f->b) != NULL);
    db_close(db);
}

static void a_failed_export_leaves_no_file(void **state) {
    Fixture *f = *state;
    fill(f, f->a, 12);
    assert_int_equal(chmod(f->dir, 0777), 0);
    assert_int_equal(as_other_user(use_small_files, f), 0);
    assert_int_equal(access(f->b, F_OK), -1);
    assert_true(count_entries(f->dir) <= 3); /* a.db, perhaps its -wal and -shm */
}

static void strange_paths_are_only_paths(void **state) {
    Fixture *f = *state;
    static const char *const names[] = {":memory:", "file:x?mode=memory", "a b%20#c?d", "-x", "~"};
    assert_int_equal(chdir(f->dir), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char export[64];
        snprintf(export, sizeof export, "file:export%zu", i);
        fill(f, names[i], 3);
        assert_int_equal(access(names[i], F_OK), 0);
        Db *db = open_or_fail(f, names[i], DB_IMMUTABLE);
        int64_t trials;
        assert_ok(f, db_counts(db, &trials, NULL, NULL, &f->err));
        assert_int_equal(trials, 3);
        assert_ok(f, db_export(db, export, &f->err));
        assert_int_equal(access(export, F_OK), 0);
        db_close(db);
    }
    assert_int_equal(chdir("/"), 0);
}

static void wal_is_not_used_over_the_network(void **state) {
    (void)state;
    assert_true(db_wal_works(0xEF53));      /* ext4 */
    assert_true(db_wal_works(0x794C7630));  /* overlayfs */
    assert_false(db_wal_works(0x6969));     /* NFS */
    assert_false(db_wal_works(0x0BD00BD0)); /* Lustre */
    assert_false(db_wal_works((long)(int)0xFE534D42));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DB_TEST(a_missing_file_is_not_created_by_a_reader),
        DB_TEST(files_of_others_are_refused_and_not_touched),
        DB_TEST(a_newer_schema_is_refused),
        DB_TEST(an_empty_file_is_new_for_a_writer_only),
        DB_TEST(a_truncated_file_is_found_out),
        DB_TEST(flipped_bits_never_change_an_answer),
        DB_TEST(a_locked_database_says_how_long_was_waited),
        DB_TEST(a_read_only_place_can_be_read_and_says_so_when_written),
        DB_TEST(a_writable_file_in_a_read_only_directory_is_refused),
        DB_TEST(a_full_disk_loses_nothing_that_was_recorded),
        DB_TEST(a_failed_export_leaves_no_file),
        DB_TEST(strange_paths_are_only_paths),
        DB_TEST(wal_is_not_used_over_the_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
