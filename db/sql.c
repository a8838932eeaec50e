/* Statements and transactions: prepare once, bind, step, and one place that turns SQLite's codes
 * into messages with a remedy. */
#include "db/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char *const texts[SQL_COUNT] = {
#define SQL(name, text) text,
#include "db/sql.def"
#undef SQL
};

const char *sql_text(SqlId id) {
    return texts[id];
}

/* SQLite tries again read-only, so that its errno tells of the second failure: for a writer, ask
 * the file system what is not writable. (Never by opening the file: closing it would drop the locks
 * of this process.) */
static int why_not_opened(Db *db) {
    if (db->mode != DB_WRITE) return db->sqlite ? sqlite3_system_errno(db->sqlite) : 0;
    const char *slash = strrchr(db->path, '/');
    char dir[4096] = ".";
    size_t length = slash ? (size_t)(slash - db->path) + (slash == db->path) : 0;
    if (length >= sizeof dir) return ENAMETOOLONG;
    if (slash) {
        memcpy(dir, db->path, length);
        dir[length] = '\0';
    }
    if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0) return errno;
    if (faccessat(AT_FDCWD, db->path, R_OK | W_OK, AT_EACCESS) != 0 && errno != ENOENT)
        return errno;
    return db->sqlite ? sqlite3_system_errno(db->sqlite) : 0;
}

static Status fail_open(Db *db, const char *what, Error *err) {
    int code = why_not_opened(db);
    Status st = ST_IO;
    if (code == ENOENT || code == ENOTDIR) st = ST_NOT_FOUND;
    if (code == EACCES || code == EROFS || code == EPERM) st = ST_PERMISSION;
    char reason[128];
    return err_set(err, st, "%s: cannot %s: %s; mend that or name another with --db", db->path,
                   what,
                   code ? strerror_r(code, reason, sizeof reason)
                        : "the file or its -wal or -shm cannot be opened");
}

/* One dispatch switch: a message per kind of failure. */
Status sql_fail(Db *db, int rc, const char *what, Error *err) {
    const char *path = db->path;
    db->failed = rc;
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return err_set(err, ST_NO_MEMORY, "%s: cannot %s: out of memory", path, what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ST_BUSY,
                       "%s: cannot %s: locked by another process, waited %d ms; "
                       "let it end or use another database (--db)",
                       path, what, db->wait_ms);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return err_set(err, ST_PERMISSION,
                       "%s: cannot %s: the file or its directory is not writable; "
                       "change its permissions or use another database (--db)",
                       path, what);
    case SQLITE_CANTOPEN: return fail_open(db, what, err);
    case SQLITE_FULL:
        return err_set(err, ST_IO,
                       "%s: cannot %s: the disk is full; free space and run again, "
                       "what was recorded before is kept",
                       path, what);
    case SQLITE_IOERR: {
        if (rc == SQLITE_IOERR_NOMEM) return sql_fail(db, SQLITE_NOMEM, what, err);
        int code = sqlite3_system_errno(db->sqlite);
        if (code == ENOSPC || code == EDQUOT) return sql_fail(db, SQLITE_FULL, what, err);
        return err_set(err, ST_IO, "%s: cannot %s: %s (errno %d, SQLite code %d)", path, what,
                       sqlite3_errstr(rc), code, rc);
    }
    case SQLITE_CORRUPT:
        return err_set(err, ST_CORRUPT,
                       "%s: cannot %s: the file is truncated or damaged (%s); "
                       "move it away or restore it from an export",
                       path, what, sqlite3_errmsg(db->sqlite));
    case SQLITE_NOTADB:
        return err_set(err, ST_CORRUPT,
                       "%s: not a seqtune database: not an SQLite file; name another with --db",
                       path);
    case SQLITE_CONSTRAINT:
        return err_set(err, ST_INVALID, "%s: cannot %s: %s", path, what,
                       sqlite3_errmsg(db->sqlite));
    default:
        return err_set(err, ST_DATABASE, "%s: cannot %s: %s (SQLite code %d)", path, what,
                       db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(rc), rc);
    }
}

static Status prepare(Db *db, SqlId id, unsigned flags, sqlite3_stmt **out, Error *err) {
    int rc = sqlite3_prepare_v3(db->sqlite, texts[id], -1, flags, out, NULL);
    return rc == SQLITE_OK ? ST_OK : sql_fail(db, rc, "read the database", err);
}

Status sql_get(Db *db, SqlId id, sqlite3_stmt **out, Error *err) {
    sqlite3_stmt **slot = &db->statements[id];
    if (!*slot) {
        Status st = prepare(db, id, SQLITE_PREPARE_PERSISTENT, slot, err);
        if (st != ST_OK) return st;
    }
    sqlite3_reset(*slot);
    sqlite3_clear_bindings(*slot);
    *out = *slot;
    return ST_OK;
}

Status sql_new(Db *db, SqlId id, sqlite3_stmt **out, Error *err) {
    return prepare(db, id, 0, out, err);
}

Status sql_step(Db *db, sqlite3_stmt *statement, bool *row, const char *what, Error *err) {
    int rc = sqlite3_step(statement);
    *row = rc == SQLITE_ROW;
    if (*row) return ST_OK;
    Status st = rc == SQLITE_DONE ? ST_OK : sql_fail(db, rc, what, err);
    sqlite3_reset(statement);
    return st;
}

Status sql_run(Db *db, SqlId id, const char *what, Error *err) {
    sqlite3_stmt *statement;
    Status st = sql_get(db, id, &statement, err);
    for (bool row = true; st == ST_OK && row;) st = sql_step(db, statement, &row, what, err);
    return st;
}

Status sql_int(Db *db, SqlId id, int64_t *out, const char *what, Error *err) {
    sqlite3_stmt *statement;
    bool row;
    Status st = sql_get(db, id, &statement, err);
    if (st == ST_OK) st = sql_step(db, statement, &row, what, err);
    if (st != ST_OK) return st;
    *out = row ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return ST_OK;
}

Status sql_bind_texts(Db *db, sqlite3_stmt *statement, const char *const *values, int n,
                      const char *what, Error *err) {
    for (int i = 0; i < n; i++) {
        int rc = sqlite3_bind_text(statement, i + 1, values[i], -1, SQLITE_STATIC);
        if (rc != SQLITE_OK) return sql_fail(db, rc, what, err);
    }
    return ST_OK;
}

Status db_begin(Db *db, const char *what, Error *err) {
    return sql_run(db, SQL_BEGIN, what, err);
}

Status db_end(Db *db, Status st, const char *what, Error *err) {
    if (st == ST_OK) st = sql_run(db, SQL_COMMIT, what, err);
    /* Some failures (full disk, no memory) have rolled back by themselves. */
    if (st != ST_OK && !sqlite3_get_autocommit(db->sqlite)) {
        (void)sqlite3_exec(db->sqlite, texts[SQL_ROLLBACK], NULL, NULL, NULL);
    }
    return st;
}
