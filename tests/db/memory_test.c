/* Every allocation fails once: ours by mem_fail_after, SQLite's by a memory allocator of this test
 * (the library itself never configures SQLite). */
#include "tests/db/fixture.h"

#include <dirent.h>
#include <sqlite3.h>
#include <unistd.h>

#include "base/mem.h"

static unsigned long sqlite_made, sqlite_fail_at;

enum { HEADER = 16 };

static bool sqlite_refused(void) {
    sqlite_made++;
    return sqlite_fail_at && sqlite_made >= sqlite_fail_at;
}

static void *counted_malloc(int n) {
    size_t *p = sqlite_refused() ? NULL : malloc((size_t)n + HEADER);
    if (!p) return NULL;
    *p = (size_t)n;
    return (char *)p + HEADER;
}

static void counted_free(void *p) {
    if (p) free((char *)p - HEADER);
}

static void *counted_realloc(void *p, int n) {
    size_t *q = sqlite_refused() ? NULL : realloc((char *)p - HEADER, (size_t)n + HEADER);
    if (!q) return NULL;
    *q = (size_t)n;
    return (char *)q + HEADER;
}

static int counted_size(void *p) {
    return p ? (int)*(size_t *)(void *)((char *)p - HEADER) : 0;
}

static int counted_roundup(int n) {
    return (n + 7) & ~7;
}

static int counted_init(void *data) {
    (void)data;
    return SQLITE_OK;
}

static void counted_shutdown(void *data) {
    (void)data;
}

static const sqlite3_mem_methods methods = {
    counted_malloc,  counted_free, counted_realloc,  counted_size,
    counted_roundup, counted_init, counted_shutdown, NULL};

static Status count_trial(void *context, const DbTrial *trial, Error *err) {
    (void)trial;
    (void)err;
    ++*(int *)context;
    return ST_OK;
}

static Status count_winner(void *context, const DbWinner *winner, Error *err) {
    (void)winner;
    (void)err;
    ++*(int *)context;
    return ST_OK;
}

/* All calls in a row; the first failure ends it. */
static Status use_all(Fixture *f, const char *path, const char *other, const char *export) {
    Db *db = NULL;
    Arena *arena = arena_new();
    Status st = arena ? db_open(path, DB_WRITE, &db, &f->err) : err_no_memory(&f->err, 1);
    for (int i = 0; st == ST_OK && i < 3; i++) {
        DbTrial t = sample_trial(i), *found;
        DbVerdict v = sample_verdict(i);
        DbWinner *w;
        st = db_record_trial(db, &t, NULL, &f->err);
        if (st == ST_OK) st = db_record_verdict(db, &v, &f->err);
        if (st == ST_OK) {
            st =
                db_find_trial(db, &t.key, t.problem, t.spec_hash, t.config, arena, &found, &f->err);
        }
        if (st == ST_OK) st = db_winner(db, &v.key, arena, &w, &f->err);
    }
    int n = 0;
    if (st == ST_OK) st = db_each_trial(db, NULL, count_trial, &n, &f->err);
    if (st == ST_OK) st = db_each_winner(db, NULL, NULL, count_winner, &n, &f->err);
    if (st == ST_OK) st = db_import(db, other, NULL, &f->err);
    if (st == ST_OK) st = db_check(db, NULL, &f->err);
    if (st == ST_OK) st = db_export(db, export, &f->err);
    db_close(db);
    if (arena) arena_free(arena);
    return st;
}

static bool has_temporary(const char *dir) {
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; (e = readdir(d));) found |= strstr(e->d_name, ".tmp.") != NULL;
    closedir(d);
    return found;
}

/* Fails allocation n of one kind; true when the run needed fewer. */
static bool run_with_failure(Fixture *f, unsigned long n, bool of_sqlite) {
    unlink(f->b);
    unlink(f->c);
    mem_fail_after(of_sqlite ? 0 : n);
    sqlite_made = 0;
    sqlite_fail_at = of_sqlite ? n : 0;
    Status st = use_all(f, f->b, f->a, f->c);
    unsigned long made = mem_fail_after(0);
    if (of_sqlite) made = sqlite_made;
    sqlite_fail_at = 0;
    if (st != ST_OK && st != ST_NO_MEMORY) {
        fail_msg("allocation %lu (%s): status %d: %s", n, of_sqlite ? "SQLite" : "ours", (int)st,
                 f->err.message);
    }
    if (access(f->c, F_OK) == 0) assert_int_equal(st, ST_OK); /* no half export */
    Db *db = open_or_fail(f, f->b, DB_WRITE);                 /* whole, whatever happened */
    assert_ok(f, db_check(db, NULL, &f->err));
    db_close(db);
    assert_false(has_temporary(f->dir));
    return made < n;
}

static void fail_each(Fixture *f, bool of_sqlite) {
    Db *db = open_or_fail(f, f->a, DB_WRITE);
    for (int i = 5; i < 9; i++) {
        DbTrial t = sample_trial(i);
        DbVerdict v = sample_verdict(i);
        assert_ok(f, db_record_trial(db, &t, NULL, &f->err));
        assert_ok(f, db_record_verdict(db, &v, &f->err));
    }
    db_close(db);
    unsigned long n = 1;
    /* SQLite makes thousands: the steps grow, every early one is tried. */
    while (!run_with_failure(f, n, of_sqlite)) n += of_sqlite ? 1 + n / 20 : 1;
    assert_true(n > (of_sqlite ? 500 : 20));
    print_message("up to allocation %lu\n", n);
}

static void each_allocation_of_ours_can_fail(void **state) {
    fail_each(*state, false);
}

static void allocations_of_sqlite_can_fail(void **state) {
    fail_each(*state, true);
}

int main(void) {
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) return 1;
    const struct CMUnitTest tests[] = {
        DB_TEST(each_allocation_of_ours_can_fail),
        DB_TEST(allocations_of_sqlite_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
