/* Whole files: export, import, check.
 *
 * Invariant: an import adds all rows of a file or none, and only rows whose content has the hash
 * that they carry. */
#include "db/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/mem.h"

static Status file_fail(Error *err, const char *path, const char *what, int code) {
    char reason[128];
    Status st = code == EACCES || code == EROFS || code == EPERM ? ST_PERMISSION : ST_IO;
    return err_set(err, st, "%s: cannot %s: %s", path, what,
                   strerror_r(code, reason, sizeof reason));
}

static Status sync_file(const char *path, Error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_fail(err, path, "open the export", errno);
    int code = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return code ? file_fail(err, path, "write the export", code) : ST_OK;
}

static Status vacuum_into(Db *db, const char *path, Error *err) {
    static const char what[] = "export the database";
    sqlite3_stmt *s = NULL;
    bool row;
    Status st = sql_new(db, SQL_VACUUM_INTO, &s, err);
    if (st == ST_OK) st = sql_bind_texts(db, s, &path, 1, what, err);
    if (st == ST_OK) st = sql_step(db, s, &row, what, err);
    sqlite3_finalize(s);
    if (st != ST_OK) err_wrap(err, "writing %s", path);
    return st;
}

/* VACUUM INTO makes a file in journal mode DELETE whatever the source has (tests read its header);
 * link() refuses an existing name, so nothing is ever overwritten. */
static Status publish_export(Db *db, const char *tmp, const char *path, Error *err) {
    /* Made here, empty, which SQLite takes: it would blame the source for a missing folder. */
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return file_fail(err, path, "create the export", errno);
    close(fd);
    Status st = vacuum_into(db, tmp, err);
    if (st == ST_OK) st = sync_file(tmp, err);
    if (st == ST_OK && link(tmp, path) != 0) st = file_fail(err, path, "create the export", errno);
    unlink(tmp);
    return st;
}

Status db_export(Db *db, const char *path, Error *err) {
    if (files_exists(path)) {
        return err_set(err, ST_INVALID, "%s: exists already; an export does not overwrite", path);
    }
    size_t room = strlen(path) + 40;
    char *tmp = mem_alloc(room);
    if (!tmp) return err_no_memory(err, room);
    const char *here = path[0] == '/' ? "" : "./"; /* SQLite reads "file:..." as a URI */
    snprintf(tmp, room, "%s%s.tmp.%ld", here, path, (long)getpid());
    unlink(tmp); /* of a dead process that had our id */
    Status st = publish_export(db, tmp, path, err);
    mem_free(tmp);
    return st;
}

Status db_counts(Db *db, int64_t *trials, int64_t *verdicts, int64_t *winners, Error *err) {
    sqlite3_stmt *s;
    bool row = false;
    Status st = sql_get(db, SQL_COUNTS, &s, err);
    if (st == ST_OK) st = sql_step(db, s, &row, "count the rows", err);
    if (st != ST_OK) return st;
    if (trials) *trials = sqlite3_column_int64(s, 0);
    if (verdicts) *verdicts = sqlite3_column_int64(s, 1);
    if (winners) *winners = sqlite3_column_int64(s, 2);
    sqlite3_reset(s);
    return ST_OK;
}

typedef union Row {
    DbTrial trial;
    DbVerdict verdict;
} Row;

static const char *const kind_names[] = {[ROW_TRIAL] = "trial", [ROW_VERDICT] = "verdict"};

/* The next row of `s`, proved: it can be recorded, and its content has its hash. */
static Status proved_row(Db *db, RowKind kind, sqlite3_stmt *s, Arena *arena, Row *row,
                         Error *err) {
    Hash stored;
    int64_t id;
    Status st = row_read(db, kind, s, arena, row, &stored, &id, err);
    if (st != ST_OK) return st;
    st = row_validate(kind, row, err);
    if (st != ST_OK) {
        err_wrap(err, "%s: %s row %lld", db->path, kind_names[kind], (long long)id);
        return st == ST_NO_MEMORY ? st : ST_CORRUPT;
    }
    Hash hash = row_hash(kind, row);
    if (hash_equal(&hash, &stored)) return ST_OK;
    char has[HASH_HEX_SIZE], needs[HASH_HEX_SIZE];
    hash_hex(&stored, has);
    hash_hex(&hash, needs);
    return err_set(err, ST_CORRUPT,
                   "%s: %s row %lld (%.64s): content and hash differ (stored %.16s..., content has "
                   "%.16s...): altered or damaged",
                   db->path, kind_names[kind], (long long)id, row->trial.key.kernel, has, needs);
}

typedef struct Visit {
    Db *into; /* NULL: prove only */
    int64_t read, added;
} Visit;

/* Every row of one kind, proved, and inserted when there is an `into`. */
static Status each_row(Db *db, RowKind kind, Arena *arena, Visit *visit, Error *err) {
    sqlite3_stmt *s = NULL;
    Status st = sql_new(db, kind == ROW_TRIAL ? SQL_TRIAL_ALL : SQL_VERDICT_ALL, &s, err);
    for (bool more = true; st == ST_OK && more;) {
        st = sql_step(db, s, &more, "read the rows", err);
        if (st != ST_OK || !more) break;
        Row row = {0};
        bool added = false;
        arena_reset(arena);
        st = proved_row(db, kind, s, arena, &row, err);
        if (st == ST_OK && visit->into) st = row_insert(visit->into, kind, &row, &added, err);
        visit->read++;
        visit->added += added;
    }
    sqlite3_finalize(s);
    return st;
}

static Status integrity(Db *db, Error *err) {
    static const char what[] = "check the file";
    sqlite3_stmt *s;
    bool row = false;
    Status st = sql_get(db, SQL_INTEGRITY, &s, err);
    if (st == ST_OK) st = sql_step(db, s, &row, what, err);
    if (st != ST_OK || !row) return st;
    const char *text = (const char *)sqlite3_column_text(s, 0);
    if (!text)
        st = sql_fail(db, SQLITE_NOMEM, what, err);
    else if (strcmp(text, "ok") != 0) {
        st = err_set(err, ST_CORRUPT, "%s: damaged: %s; move it away or restore it from an export",
                     db->path, text);
    }
    sqlite3_reset(s);
    return st;
}

static Status rebuild_winners(Db *db, Error *err) {
    static const char what[] = "rebuild the winners";
    Status st = sql_run(db, SQL_WINNER_CLEAR, what, err);
    return st == ST_OK ? sql_run(db, SQL_WINNER_REBUILD_ALL, what, err) : st;
}

/* One transaction on each side: the source is one snapshot, the target gets all or nothing. */
static Status import_rows(Db *db, Db *from, Arena *arena, DbMergeCount *count, Error *err) {
    static const char what[] = "import";
    Status st = sql_run(from, SQL_BEGIN_READ, what, err);
    if (st == ST_OK) st = integrity(from, err);
    if (st == ST_OK) st = db_check_schema(from, err);
    if (st == ST_OK) st = db_begin(db, what, err);
    if (st != ST_OK) return st;
    Visit trials = {.into = db}, verdicts = {.into = db};
    st = each_row(from, ROW_TRIAL, arena, &trials, err);
    if (st == ST_OK) st = each_row(from, ROW_VERDICT, arena, &verdicts, err);
    if (st == ST_OK) st = rebuild_winners(db, err);
    st = db_end(db, st, what, err);
    if (st == ST_OK && count) {
        *count = (DbMergeCount){trials.read, trials.added, verdicts.read, verdicts.added};
    }
    return st;
}

Status db_import(Db *db, const char *path, DbMergeCount *count, Error *err) {
    Db *from = NULL;
    Arena *arena = arena_new();
    Status st = arena ? db_open(path, DB_READ, &from, err) : err_no_memory(err, 1);
    if (st == ST_OK) st = import_rows(db, from, arena, count, err);
    if (st != ST_OK) err_wrap(err, "nothing imported from %s", path);
    db_close(from);
    arena_free(arena);
    return st;
}

static Status check_winners(Db *db, Error *err) {
    sqlite3_stmt *s;
    bool row = false;
    Status st = sql_get(db, SQL_WINNER_WRONG, &s, err);
    if (st == ST_OK) st = sql_step(db, s, &row, "check the winners", err);
    if (st != ST_OK || !row) return st;
    const char *key = (const char *)sqlite3_column_text(s, 0);
    st = err_set(err, ST_CORRUPT,
                 "%s: the winner of \"%s\" does not follow from the verdicts; "
                 "import the file into a new database to rebuild it",
                 db->path, key ? key : "?");
    sqlite3_reset(s);
    return st;
}

Status db_check(Db *db, int64_t *rows_checked, Error *err) {
    static const char what[] = "check the file";
    Arena *arena = arena_new();
    if (!arena) return err_no_memory(err, 1);
    Visit trials = {0}, verdicts = {0};
    Status st = sql_run(db, SQL_BEGIN_READ, what, err);
    if (st == ST_OK) {
        st = integrity(db, err);
        if (st == ST_OK) st = db_check_schema(db, err);
        if (st == ST_OK) st = each_row(db, ROW_TRIAL, arena, &trials, err);
        if (st == ST_OK) st = each_row(db, ROW_VERDICT, arena, &verdicts, err);
        if (st == ST_OK) st = check_winners(db, err);
        st = db_end(db, st, what, err);
    }
    if (rows_checked) *rows_checked = trials.read + verdicts.read;
    arena_free(arena);
    return st;
}
