/* Private to db/: statements, their errors, rows.
 *
 * Invariant: a statement from sql_get is reset before its function returns. */
#ifndef SEQTUNE_DB_SQL_H
#define SEQTUNE_DB_SQL_H

#include <sqlite3.h>

#include "db/db.h"

enum {
    DB_APPLICATION_ID = 0x73657174, /* "seqt", in the file's header: this is a seqtune database */
    DB_VERSION = 1,                 /* user_version: the schema this program writes */
    DB_WAIT_MS = 5000,              /* how long a call waits for another writer */
    DB_TEXT_MAX = 1 << 20           /* bytes of one text; compiler logs are the longest */
};

typedef enum SqlId {
#define SQL(name, text) SQL_##name,
#include "db/sql.def"
#undef SQL
    SQL_COUNT
} SqlId;

struct Db {
    sqlite3 *sqlite;
    char *path;
    DbOpen mode;
    int wait_ms;
    int failed;                          /* SQLite's code of the last failure */
    sqlite3_stmt *statements[SQL_COUNT]; /* prepared at first use */
};

const char *sql_text(SqlId id);

/* The error of `rc` while doing `what` ("record a trial"): names the path and the remedy. */
Status sql_fail(Db *db, int rc, const char *what, Error *err);

/* A prepared statement, reset, its parameters NULL; owned by db. */
Status sql_get(Db *db, SqlId id, sqlite3_stmt **out, Error *err);
/* As sql_get, but a statement of its own, for loops that call back; sqlite3_finalize it. */
Status sql_new(Db *db, SqlId id, sqlite3_stmt **out, Error *err);
/* *row tells whether there is a row. Resets the statement when there is none or on failure. */
Status sql_step(Db *db, sqlite3_stmt *statement, bool *row, const char *what, Error *err);
/* One statement without parameters, its rows ignored. */
Status sql_run(Db *db, SqlId id, const char *what, Error *err);
/* The first column of the first row. */
Status sql_int(Db *db, SqlId id, int64_t *out, const char *what, Error *err);
/* Texts from parameter 1 on; NULL stays NULL. */
Status sql_bind_texts(Db *db, sqlite3_stmt *statement, const char *const *texts, int n,
                      const char *what, Error *err);

Status db_begin(Db *db, const char *what, Error *err);
/* Commits when st is ST_OK, else rolls back; returns st or the failure of the commit. */
Status db_end(Db *db, Status st, const char *what, Error *err);

/* False for file systems on other machines, where WAL's shared memory does not work. */
bool db_wal_works(long file_system_type);

/* The schema this program writes, applied to an empty database. */
Status db_migrate(Db *db, Error *err);
/* ST_CORRUPT unless tables and indexes are exactly those of schema.sql (no triggers, no views). */
Status db_check_schema(Db *db, Error *err);

/* Rows (row.c): one table describes both kinds. */
typedef enum RowKind { ROW_TRIAL, ROW_VERDICT } RowKind;

size_t row_columns(RowKind kind);
const char *row_column(RowKind kind, size_t i);
/* ST_INVALID naming the field when `row` cannot be recorded. */
Status row_validate(RowKind kind, const void *row, Error *err);
Hash row_hash(RowKind kind, const void *row);
/* The hash as parameter 1, the columns after it. */
Status row_bind(Db *db, RowKind kind, const void *row, const Hash *hash, sqlite3_stmt *statement,
                Error *err);
/* From columns id, hash, ...; texts are copied to `arena`. ST_CORRUPT names the row. `stored` and
 * `id` may be NULL. */
Status row_read(Db *db, RowKind kind, sqlite3_stmt *statement, Arena *arena, void *row,
                Hash *stored, int64_t *id, Error *err);
/* Inserts a validated row; *added is false when its hash is there already. */
Status row_insert(Db *db, RowKind kind, const void *row, bool *added, Error *err);

#endif
