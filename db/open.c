/* Opening: who made the file, which schema it has, and how it is locked.
 *
 * Invariant: a file that is not ours is never written, not even its journal mode. Settings are per
 * connection only: the application may use SQLite too (no sqlite3_config). */
#include "db/sql.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "base/embedded.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

extern const EmbeddedFile db_schema_files[];

enum { SMALLEST_PAGE = 512 };

/* Step i makes version i + 1. */
static const struct Migration {
    const char *file;
    SqlId set_version;
} migrations[DB_VERSION] = {{"db/schema.sql", SQL_SET_USER_VERSION_1}};

static const char what_open[] = "open the database";

bool db_wal_works(long file_system_type) {
    static const unsigned long remote[] = {
        0x6969,     /* NFS */
        0x517B,     /* SMB */
        0xFE534D42, /* SMB2 */
        0xFF534D42, /* CIFS */
        0x0BD00BD0, /* Lustre */
        0x47504653, /* GPFS */
        0x5346414F, /* AFS */
        0x00C36400, /* Ceph */
    };
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
        if (((unsigned long)file_system_type & 0xFFFFFFFF) == remote[i]) return false;
    }
    return true;
}

/* "file:" URI with immutable=1: no locks, no -wal, no -shm. */
static char *immutable_uri(const char *path) {
    Str uri = {0};
    str_puts(&uri, path[0] == '/' ? "file://" : "file:./"); /* an empty authority before "/..." */
    for (const char *p = path; *p; p++) {
        if (strchr("?#%", *p))
            str_printf(&uri, "%%%02X", (unsigned)(unsigned char)*p);
        else
            str_putc(&uri, *p);
    }
    str_puts(&uri, "?immutable=1");
    return str_take(&uri);
}

/* SQLite gives ":memory:", "file:..." and "" a meaning; after "./" they are files. */
static char *plain_name(const char *path) {
    Str name = {0};
    if (path[0] != '/') str_puts(&name, "./");
    str_puts(&name, path);
    return str_take(&name);
}

static void disconnect(Db *db) {
    for (int i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    sqlite3_close(db->sqlite);
    db->sqlite = NULL;
}

/* Against hostile files: no triggers, no views, no writes to the schema, checked cells. */
static Status harden(Db *db, Error *err) {
    static const struct {
        int option, value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        int rc = sqlite3_db_config(db->sqlite, options[i].option, options[i].value, NULL);
        if (rc != SQLITE_OK) return sql_fail(db, rc, what_open, err);
    }
    sqlite3_limit(db->sqlite, SQLITE_LIMIT_LENGTH, 32 * DB_TEXT_MAX); /* a row has 26 columns */
    return sql_run(db, SQL_CELL_SIZE_CHECK, what_open, err);
}

static Status connect_name(Db *db, const char *name, int flags, Error *err) {
    if (!name) return err_no_memory(err, strlen(db->path) + 16);
    int rc = sqlite3_open_v2(name, &db->sqlite, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_extended_result_codes(db->sqlite, 1);
    if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(db->sqlite, db->wait_ms);
    return rc == SQLITE_OK ? harden(db, err) : sql_fail(db, rc, what_open, err);
}

static Status connect_file(Db *db, bool immutable, Error *err) {
    int flags =
        db->mode == DB_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    char *name = immutable ? immutable_uri(db->path) : plain_name(db->path);
    Status st = connect_name(db, name, flags | (immutable ? SQLITE_OPEN_URI : 0), err);
    mem_free(name);
    return st;
}

/* Version of the schema; 0 = an empty file. In one read transaction, since another process may be
 * creating the file right now. */
static Status identify(Db *db, int64_t *version, Error *err) {
    int64_t application = 0, size = 0;
    Status st = sql_run(db, SQL_BEGIN_READ, what_open, err);
    if (st == ST_OK) st = sql_int(db, SQL_SCHEMA_SIZE, &size, what_open, err);
    if (st == ST_OK) st = sql_int(db, SQL_APPLICATION_ID, &application, what_open, err);
    if (st == ST_OK) st = sql_int(db, SQL_USER_VERSION, version, what_open, err);
    st = db_end(db, st, what_open, err);
    if (st != ST_OK) return st;
    if (application == 0 && size == 0 && *version == 0) return ST_OK;
    if (application != DB_APPLICATION_ID) {
        return err_set(err, ST_CORRUPT,
                       "%s: not a seqtune database: an SQLite file of another program "
                       "(application id 0x%08llx, expected 0x%08x); name another with --db",
                       db->path, (unsigned long long)application, (unsigned)DB_APPLICATION_ID);
    }
    if (*version > DB_VERSION) {
        return err_set(err, ST_UNSUPPORTED,
                       "%s: its schema has version %lld, newer than this program's %d; "
                       "use the seqtune that wrote it",
                       db->path, (long long)*version, (int)DB_VERSION);
    }
    return ST_OK;
}

static const char *schema_text(const char *name) {
    const EmbeddedFile *f = db_schema_files;
    while (f->name && strcmp(f->name, name) != 0) f++;
    return f->name ? f->text : "";
}

Status db_migrate(Db *db, Error *err) {
    static const char what[] = "create or migrate the schema";
    int64_t version = 0;
    Status st = db_begin(db, what, err);
    if (st != ST_OK) return st;
    st = sql_int(db, SQL_USER_VERSION, &version, what, err); /* again: under the lock */
    for (; st == ST_OK && version < DB_VERSION; version++) {
        const struct Migration *m = &migrations[version];
        int rc = sqlite3_exec(db->sqlite, schema_text(m->file), NULL, NULL, NULL);
        if (rc != SQLITE_OK) st = sql_fail(db, rc, what, err);
        if (st == ST_OK) st = sql_run(db, m->set_version, what, err);
        if (st == ST_OK) st = sql_run(db, SQL_SET_APPLICATION_ID, what, err);
    }
    return db_end(db, st, what, err);
}

/* Two processes that switch at once can get "busy" without SQLite's own waiting. */
static Status set_journal(Db *db, SqlId mode, Error *err) {
    enum { STEP_MS = 20 };
    Status st = sql_run(db, mode, what_open, err);
    for (int waited = 0; st == ST_BUSY && waited < db->wait_ms; waited += STEP_MS) {
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
        st = sql_run(db, mode, what_open, err);
    }
    return st;
}

static Status open_write(Db *db, Error *err) {
    int64_t version = 0;
    Status st = connect_file(db, false, err);
    if (st == ST_OK && sqlite3_db_readonly(db->sqlite, "main") == 1) {
        return sql_fail(db, SQLITE_READONLY, what_open, err);
    }
    if (st == ST_OK) st = identify(db, &version, err);
    if (st == ST_OK && version < DB_VERSION) st = db_migrate(db, err);
    if (st != ST_OK) return st;
    struct statfs info;
    bool wal = statfs(db->path, &info) != 0 || db_wal_works((long)info.f_type);
    if (!wal) {
        log_write(LOG_WARN, "db", "network_file_system path=%s journal=delete: use a local file",
                  db->path);
    }
    st = set_journal(db, wal ? SQL_JOURNAL_WAL : SQL_JOURNAL_DELETE, err);
    return st == ST_OK ? sql_run(db, SQL_SYNCHRONOUS, what_open, err) : st;
}

static bool has_wal(const Db *db) {
    Str name = {0};
    struct stat info;
    str_printf(&name, "%s-wal", db->path);
    bool found = name.failed || (stat(str_text(&name), &info) == 0 && info.st_size > 0);
    str_free(&name);
    return found;
}

static Status open_read(Db *db, Error *err) {
    int64_t version = 0;
    bool immutable = db->mode == DB_IMMUTABLE;
    Status st = connect_file(db, immutable, err);
    if (st == ST_OK) st = identify(db, &version, err);
    int rc = db->failed & 0xff;
    if (st != ST_OK && !immutable && (rc == SQLITE_CANTOPEN || rc == SQLITE_READONLY) &&
        files_exists(db->path) && !has_wal(db)) {
        /* A WAL database in a read-only place: nobody can write it, so nothing needs a lock. */
        disconnect(db);
        st = connect_file(db, true, err);
        if (st == ST_OK) st = identify(db, &version, err);
    }
    if (st != ST_OK || version == DB_VERSION) return st;
    if (version == 0) {
        return err_set(err, ST_CORRUPT,
                       "%s: not a seqtune database: the file is empty; name another with --db",
                       db->path);
    }
    return err_set(err, ST_UNSUPPORTED,
                   "%s: its schema has version %lld, older than this program's %d; "
                   "open it for writing once to migrate it",
                   db->path, (long long)version, (int)DB_VERSION);
}

static Status make_parent(const char *path, Error *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return ST_OK;
    char *dir = mem_strdup(path);
    if (!dir) return err_no_memory(err, strlen(path) + 1);
    dir[slash - path] = '\0';
    Status st = files_exists(dir) ? ST_OK : files_make_dirs(dir, 0755, err);
    mem_free(dir);
    return st;
}

Status db_open(const char *path, DbOpen mode, Db **out, Error *err) {
    *out = NULL;
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode)) {
        return err_set(err, ST_INVALID,
                       "%s: not a file; a database is one file: name another with --db", path);
    }
    /* SQLite takes a file of one byte for an empty one and would write over it. */
    if (exists && info.st_size > 0 && info.st_size < SMALLEST_PAGE) {
        return err_set(err, ST_CORRUPT,
                       "%s: not a seqtune database: truncated or of another program (%lld bytes); "
                       "name another with --db",
                       path, (long long)info.st_size);
    }
    Status st = mode == DB_WRITE ? make_parent(path, err) : ST_OK;
    if (st != ST_OK) return st;
    Db *db = mem_alloc(sizeof *db);
    if (db) db->path = mem_strdup(path);
    if (!db || !db->path) {
        mem_free(db);
        return err_no_memory(err, sizeof *db + strlen(path));
    }
    db->mode = mode;
    db->wait_ms = DB_WAIT_MS;
    st = mode == DB_WRITE ? open_write(db, err) : open_read(db, err);
    if (st != ST_OK) {
        db_close(db);
        return st;
    }
    *out = db;
    return ST_OK;
}

void db_close(Db *db) {
    if (!db) return;
    disconnect(db);
    mem_free(db->path);
    mem_free(db);
}

const char *db_path(const Db *db) {
    return db->path;
}

void db_set_wait(Db *db, int milliseconds) {
    db->wait_ms = milliseconds;
    sqlite3_busy_timeout(db->sqlite, milliseconds);
}

/* Hash of every table and index with its text. */
static Status schema_hash(Db *db, Hash *out, Error *err) {
    static const char what[] = "read the schema";
    sqlite3_stmt *statement;
    HashState state;
    hash_begin(&state);
    Status st = sql_get(db, SQL_SCHEMA_TEXTS, &statement, err);
    for (bool row = true; st == ST_OK && row;) {
        st = sql_step(db, statement, &row, what, err);
        for (int i = 0; st == ST_OK && row && i < 4; i++) {
            const char *text = (const char *)sqlite3_column_text(statement, i);
            hash_text(&state, text ? text : "");
        }
    }
    *out = hash_end(&state);
    return st;
}

Status db_check_schema(Db *db, Error *err) {
    Db fresh = {.path = db->path, .wait_ms = db->wait_ms, .mode = DB_WRITE};
    Hash expected = {{0}}, found = {{0}};
    Status st = connect_name(&fresh, ":memory:", SQLITE_OPEN_READWRITE, err);
    if (st == ST_OK) st = db_migrate(&fresh, err);
    if (st == ST_OK) st = schema_hash(&fresh, &expected, err);
    if (st == ST_OK) st = schema_hash(db, &found, err);
    disconnect(&fresh);
    if (st != ST_OK || hash_equal(&expected, &found)) return st;
    return err_set(err, ST_CORRUPT,
                   "%s: its tables are not those of a seqtune database of version %d; not used",
                   db->path, (int)DB_VERSION);
}
