/* A directory of its own per test, sample rows, dumps. */
#ifndef SEQTUNE_TESTS_DB_FIXTURE_H
#define SEQTUNE_TESTS_DB_FIXTURE_H

#include "tests/base/test.h"

#include "db/db.h"

typedef struct Fixture {
    char dir[64];
    char a[128], b[128], c[128]; /* paths of databases in dir; none exists */
    Arena *arena;
    Error err;
} Fixture;

int fixture_setup(void **state);
int fixture_teardown(void **state);
#define DB_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

DbTrial sample_trial(int i);     /* different content for different i */
DbVerdict sample_verdict(int i); /* all of one key */
Db *open_or_fail(Fixture *f, const char *path, DbOpen mode);
#define assert_ok(f, call)                                                                         \
    do {                                                                                           \
        if ((call) != ST_OK) fail_msg("%s: %s", #call, (f)->err.message);                          \
    } while (0)

/* All rows as text, in an order that does not depend on row ids; from `arena`. */
char *dump(Fixture *f, const char *path);
/* Runs SQL with no checks, as an attacker or another program would. */
void raw_sql(const char *path, const char *sql);
int count_entries(const char *dir);

#endif
