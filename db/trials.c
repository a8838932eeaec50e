/* Trials: record, find one for resume, visit many. */
#include "db/sql.h"

Status db_record_trial(Db *db, const DbTrial *trial, bool *recorded, Error *err) {
    Status st = row_validate(ROW_TRIAL, trial, err);
    return st == ST_OK ? row_insert(db, ROW_TRIAL, trial, recorded, err) : st;
}

Status db_find_trial(Db *db, const DbKey *key, const char *problem, const char *spec_hash,
                     const char *config, Arena *arena, DbTrial **out, Error *err) {
    static const char what[] = "look for a trial";
    *out = NULL;
    sqlite3_stmt *s;
    bool row = false;
    Status st = sql_get(db, SQL_TRIAL_FIND, &s, err);
    if (st != ST_OK) return st;
    st = sql_bind_texts(
        db, s,
        (const char *const[]){config, key->kernel, key->problem_key, key->gpu_key, key->policy}, 5,
        what, err);
    int rc = sqlite3_bind_int64(s, 6, key->generation);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(s, 7, problem, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK) rc = sqlite3_bind_text(s, 8, spec_hash, -1, SQLITE_STATIC);
    if (st == ST_OK && rc != SQLITE_OK) st = sql_fail(db, rc, what, err);
    if (st == ST_OK) st = sql_step(db, s, &row, what, err);
    if (st == ST_OK && row) {
        DbTrial *trial = ARENA_NEW(arena, DbTrial);
        st = trial ? row_read(db, ROW_TRIAL, s, arena, trial, NULL, NULL, err)
                   : err_no_memory(err, sizeof *trial);
        if (st == ST_OK) *out = trial;
    }
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return st;
}

/* A statement of its own, since `visit` may call back into db. */
Status db_each_trial(Db *db, const DbKey *key, DbTrialVisit visit, void *context, Error *err) {
    static const char what[] = "read the trials";
    static const DbKey all;
    sqlite3_stmt *s = NULL;
    if (!key) key = &all;
    Arena *arena = arena_new();
    Status st = arena ? sql_new(db, SQL_TRIAL_EACH, &s, err) : err_no_memory(err, sizeof(DbTrial));
    if (st == ST_OK) {
        st = sql_bind_texts(
            db, s, (const char *const[]){key->kernel, key->problem_key, key->gpu_key, key->policy},
            4, what, err);
    }
    if (st == ST_OK) {
        int rc = sqlite3_bind_int64(s, 5, key->generation);
        if (rc != SQLITE_OK) st = sql_fail(db, rc, what, err);
    }
    for (bool row = true; st == ST_OK && row;) {
        st = sql_step(db, s, &row, what, err);
        if (st != ST_OK || !row) break;
        DbTrial trial = {0};
        arena_reset(arena);
        st = row_read(db, ROW_TRIAL, s, arena, &trial, NULL, NULL, err);
        if (st == ST_OK) st = visit(context, &trial, err);
    }
    sqlite3_finalize(s);
    if (arena) arena_free(arena);
    return st;
}
