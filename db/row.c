/* Rows: one table of fields per kind drives validation, canonical encoding, binding and reading.
 *
 * Invariant: row_hash(what row_read gives) = row_hash(what row_bind took). What SQLite would change
 * on the way is normalised first: -0.0 becomes 0.0 (a REAL column stores whole numbers as
 * integers), a verification error that is not a number becomes infinity (NaN would become NULL). */
#include "db/sql.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

typedef enum FieldKind {
    FIELD_TEXT,
    FIELD_INT,
    FIELD_INT64,
    FIELD_REAL,
    FIELD_ERROR, /* a real that may be infinite */
    FIELD_OUTCOME,
    FIELD_TIMES
} FieldKind;

typedef struct Field {
    const char *column;
    FieldKind kind;
    bool required; /* FIELD_TEXT: must not be empty */
    size_t offset;
} Field;

#define TRIAL(kind, need, column, member) {#column, FIELD_##kind, need, offsetof(DbTrial, member)},
#define VERDICT(kind, need, column, member)                                                        \
    {#column, FIELD_##kind, need, offsetof(DbVerdict, member)},

static const Field trial_fields[] = {
#define FIELD TRIAL
#define FIELDS_OF_TRIAL
#include "db/fields.def"
#undef FIELDS_OF_TRIAL
#undef FIELD
};

static const Field verdict_fields[] = {
#define FIELD VERDICT
#define FIELDS_OF_VERDICT
#include "db/fields.def"
#undef FIELDS_OF_VERDICT
#undef FIELD
};

static const struct RowType {
    const char *name, *tag; /* tag: first field of the canonical encoding */
    const Field *fields;
    size_t count;
    SqlId insert;
} types[] = {
    [ROW_TRIAL] = {"trial", "seqtune trial 1", trial_fields,
                   sizeof trial_fields / sizeof trial_fields[0], SQL_TRIAL_INSERT},
    [ROW_VERDICT] = {"verdict", "seqtune verdict 1", verdict_fields,
                     sizeof verdict_fields / sizeof verdict_fields[0], SQL_VERDICT_INSERT},
};

static const char *const outcome_names[DB_OUTCOME_COUNT] = {
    [DB_OK] = "ok",           [DB_RULES] = "rules",
    [DB_COMPILE] = "compile", [DB_RESOURCES] = "resources",
    [DB_WRONG] = "wrong",     [DB_CRASH] = "crash",
    [DB_TIMEOUT] = "timeout"};

const char *db_outcome_name(DbOutcome outcome) {
    return (unsigned)outcome < DB_OUTCOME_COUNT ? outcome_names[outcome] : "unknown";
}

size_t row_columns(RowKind kind) {
    return types[kind].count;
}

const char *row_column(RowKind kind, size_t i) {
    return types[kind].fields[i].column;
}

static const void *at(const void *row, const Field *f) {
    return (const char *)row + f->offset;
}

static const char *text_of(const void *row, const Field *f) {
    const char *text;
    memcpy(&text, at(row, f), sizeof text);
    return text ? text : "";
}

static double real_of(const void *row, const Field *f) {
    double value;
    memcpy(&value, at(row, f), sizeof value);
    if (f->kind == FIELD_ERROR && !isfinite(value)) return INFINITY;
    return value;
}

static int64_t int_of(const void *row, const Field *f) {
    if (f->kind == FIELD_INT64) return *(const int64_t *)at(row, f);
    return *(const int *)at(row, f);
}

static const char *outcome_of(const void *row, const Field *f) {
    return db_outcome_name(*(const DbOutcome *)at(row, f));
}

static Status validate_field(const struct RowType *type, const void *row, const Field *f,
                             Error *err) {
    switch (f->kind) {
    case FIELD_TEXT: {
        size_t length = strlen(text_of(row, f));
        if (f->required && length == 0) {
            return err_set(err, ST_INVALID, "%s: %s is empty", type->name, f->column);
        }
        if (length <= DB_TEXT_MAX) return ST_OK;
        return err_set(err, ST_LIMIT, "%s: %s has %zu bytes, the limit is %d", type->name,
                       f->column, length, (int)DB_TEXT_MAX);
    }
    case FIELD_REAL:
        if (isfinite(real_of(row, f))) return ST_OK;
        return err_set(err, ST_INVALID, "%s: %s is not a finite number", type->name, f->column);
    case FIELD_OUTCOME:
        if ((unsigned)*(const DbOutcome *)at(row, f) < DB_OUTCOME_COUNT) return ST_OK;
        return err_set(err, ST_INVALID, "%s: unknown outcome %d", type->name,
                       (int)*(const DbOutcome *)at(row, f));
    case FIELD_TIMES: {
        const DbTrial *trial = row;
        if (trial->time_count > DB_TEXT_MAX / sizeof(double)) {
            return err_set(err, ST_LIMIT, "%s: %zu times, the limit is %d", type->name,
                           trial->time_count, (int)(DB_TEXT_MAX / sizeof(double)));
        }
        for (size_t i = 0; i < trial->time_count; i++) {
            if (!isfinite(trial->times[i])) {
                return err_set(err, ST_INVALID, "%s: times[%zu] is not a finite number", type->name,
                               i);
            }
        }
        return ST_OK;
    }
    case FIELD_INT:
    case FIELD_INT64:
    case FIELD_ERROR: break;
    }
    return ST_OK;
}

Status row_validate(RowKind kind, const void *row, Error *err) {
    const struct RowType *type = &types[kind];
    for (size_t i = 0; i < type->count; i++) {
        Status st = validate_field(type, row, &type->fields[i], err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    value = value == 0 ? 0.0 : value; /* -0.0: SQLite drops the sign of a whole real */
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

Hash row_hash(RowKind kind, const void *row) {
    const struct RowType *type = &types[kind];
    HashState state;
    hash_begin(&state);
    hash_text(&state, type->tag);
    for (size_t i = 0; i < type->count; i++) {
        const Field *f = &type->fields[i];
        switch (f->kind) {
        case FIELD_TEXT: hash_text(&state, text_of(row, f)); break;
        case FIELD_INT:
        case FIELD_INT64: hash_u64(&state, (uint64_t)int_of(row, f)); break;
        case FIELD_REAL:
        case FIELD_ERROR: hash_u64(&state, bits_of(real_of(row, f))); break;
        case FIELD_OUTCOME: hash_text(&state, outcome_of(row, f)); break;
        case FIELD_TIMES: {
            const DbTrial *trial = row;
            hash_u64(&state, trial->time_count);
            for (size_t k = 0; k < trial->time_count; k++) {
                hash_u64(&state, bits_of(trial->times[k]));
            }
            break;
        }
        }
    }
    return hash_end(&state);
}

static int bind_times(sqlite3_stmt *statement, int column, const DbTrial *trial) {
    size_t size = trial->time_count * sizeof(double);
    if (size == 0) return sqlite3_bind_blob(statement, column, "", 0, SQLITE_STATIC);
    unsigned char *bytes = mem_alloc(size);
    if (!bytes) return SQLITE_NOMEM;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(bits_of(trial->times[i / 8]) >> i % 8 * 8);
    }
    return sqlite3_bind_blob(statement, column, bytes, (int)size, mem_free);
}

static int bind_field(sqlite3_stmt *statement, int column, const void *row, const Field *f) {
    switch (f->kind) {
    case FIELD_TEXT:
        return sqlite3_bind_text(statement, column, text_of(row, f), -1, SQLITE_STATIC);
    case FIELD_OUTCOME:
        return sqlite3_bind_text(statement, column, outcome_of(row, f), -1, SQLITE_STATIC);
    case FIELD_INT:
    case FIELD_INT64: return sqlite3_bind_int64(statement, column, int_of(row, f));
    case FIELD_REAL:
    case FIELD_ERROR: return sqlite3_bind_double(statement, column, real_of(row, f));
    case FIELD_TIMES: return bind_times(statement, column, row);
    }
    return SQLITE_MISUSE;
}

Status row_bind(Db *db, RowKind kind, const void *row, const Hash *hash, sqlite3_stmt *statement,
                Error *err) {
    const struct RowType *type = &types[kind];
    int rc = sqlite3_bind_blob(statement, 1, hash->bytes, sizeof hash->bytes, SQLITE_TRANSIENT);
    for (size_t i = 0; rc == SQLITE_OK && i < type->count; i++) {
        rc = bind_field(statement, (int)i + 2, row, &type->fields[i]);
    }
    return rc == SQLITE_OK ? ST_OK : sql_fail(db, rc, "record a row", err);
}

/* The reason why a column does not fit, "no memory", or NULL. */
static const char no_memory[] = "out of memory";

static const char *read_text(sqlite3_stmt *s, int column, Arena *arena, const char **out) {
    const unsigned char *text = sqlite3_column_text(s, column);
    int size = sqlite3_column_bytes(s, column);
    if (sqlite3_column_type(s, column) != SQLITE_TEXT) return text ? "is not text" : no_memory;
    if (strlen((const char *)text) != (size_t)size) return "contains a zero byte";
    *out = arena_strndup(arena, (const char *)text, (size_t)size);
    return *out ? NULL : no_memory;
}

static const char *read_times(sqlite3_stmt *s, int column, Arena *arena, DbTrial *trial) {
    const unsigned char *bytes = sqlite3_column_blob(s, column);
    size_t size = (size_t)sqlite3_column_bytes(s, column);
    if (sqlite3_column_type(s, column) != SQLITE_BLOB || size % 8)
        return "is not a list of doubles";
    double *times = ARENA_ARRAY(arena, double, size / 8);
    if (!times || (size && !bytes)) return no_memory;
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t bits = 0;
        for (unsigned k = 0; k < 8; k++) bits |= (uint64_t)bytes[8 * i + k] << 8 * k;
        memcpy(&times[i], &bits, sizeof bits);
    }
    trial->times = times;
    trial->time_count = size / 8;
    return NULL;
}

static const char *read_outcome(const char *name, DbOutcome *out) {
    for (unsigned i = 0; i < DB_OUTCOME_COUNT; i++) {
        if (strcmp(outcome_names[i], name) != 0) continue;
        *out = (DbOutcome)i;
        return NULL;
    }
    return "is not an outcome";
}

static const char *read_field(sqlite3_stmt *s, int column, Arena *arena, const Field *f,
                              void *row) {
    char *place = (char *)row + f->offset;
    const char *text, *wrong = NULL;
    int64_t value = sqlite3_column_int64(s, column);
    double real = sqlite3_column_double(s, column);
    int type = sqlite3_column_type(s, column);
    switch (f->kind) {
    case FIELD_TEXT:
        wrong = read_text(s, column, arena, &text);
        if (!wrong) memcpy(place, &text, sizeof text);
        return wrong;
    case FIELD_OUTCOME:
        wrong = read_text(s, column, arena, &text);
        return wrong ? wrong : read_outcome(text, (DbOutcome *)(void *)place);
    case FIELD_INT:
        if (type != SQLITE_INTEGER || value != (int)value) return "is not an integer of 32 bits";
        *(int *)(void *)place = (int)value;
        return NULL;
    case FIELD_INT64:
        if (type != SQLITE_INTEGER) return "is not an integer";
        *(int64_t *)(void *)place = value;
        return NULL;
    case FIELD_REAL:
    case FIELD_ERROR:
        if (type != SQLITE_FLOAT) return "is not a real number";
        memcpy(place, &real, sizeof real);
        return NULL;
    case FIELD_TIMES: return read_times(s, column, arena, row);
    }
    return NULL;
}

Status row_read(Db *db, RowKind kind, sqlite3_stmt *statement, Arena *arena, void *row,
                Hash *stored, int64_t *id, Error *err) {
    const struct RowType *type = &types[kind];
    int64_t number = sqlite3_column_int64(statement, 0);
    if (id) *id = number;
    if (stored) {
        const void *bytes = sqlite3_column_blob(statement, 1);
        if (!bytes || sqlite3_column_bytes(statement, 1) != (int)sizeof stored->bytes) {
            return err_set(err, ST_CORRUPT, "%s: %s row %lld: its hash has not 32 bytes", db->path,
                           type->name, (long long)number);
        }
        memcpy(stored->bytes, bytes, sizeof stored->bytes);
    }
    for (size_t i = 0; i < type->count; i++) {
        const Field *f = &type->fields[i];
        const char *wrong = read_field(statement, (int)i + 2, arena, f, row);
        if (wrong == no_memory) return sql_fail(db, SQLITE_NOMEM, "read a row", err);
        if (wrong) {
            return err_set(err, ST_CORRUPT, "%s: %s row %lld: %s %s", db->path, type->name,
                           (long long)number, f->column, wrong);
        }
    }
    return ST_OK;
}

Status row_insert(Db *db, RowKind kind, const void *row, bool *added, Error *err) {
    sqlite3_stmt *statement;
    bool more;
    char what[32] = "record a trial";
    if (kind == ROW_VERDICT) memcpy(what, "record a verdict", sizeof "record a verdict");
    Hash hash = row_hash(kind, row);
    Status st = sql_get(db, types[kind].insert, &statement, err);
    if (st != ST_OK) return st;
    st = row_bind(db, kind, row, &hash, statement, err);
    if (st == ST_OK) st = sql_step(db, statement, &more, what, err);
    if (st == ST_OK && added) *added = sqlite3_changes(db->sqlite) > 0;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement); /* the texts are the caller's */
    return st;
}
