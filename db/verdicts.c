/* Verdicts and winners. The winner of a key is the first verdict in the order BEST of sql.def;
 * it is rebuilt in the transaction that records a verdict. */
#include "db/sql.h"

static Status rebuild_winner(Db *db, const DbKey *key, Error *err) {
    static const char what[] = "rebuild a winner";
    sqlite3_stmt *s;
    bool row = false;
    Status st = sql_get(db, SQL_WINNER_REBUILD, &s, err);
    if (st != ST_OK) return st;
    st = sql_bind_texts(
        db, s, (const char *const[]){key->kernel, key->gpu_key, key->problem_key, key->policy}, 4,
        what, err);
    int rc = sqlite3_bind_int64(s, 5, key->generation);
    if (st == ST_OK && rc != SQLITE_OK) st = sql_fail(db, rc, what, err);
    if (st == ST_OK) st = sql_step(db, s, &row, what, err);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return st;
}

Status db_record_verdict(Db *db, const DbVerdict *verdict, Error *err) {
    static const char what[] = "record a verdict";
    Status st = row_validate(ROW_VERDICT, verdict, err);
    if (st == ST_OK) st = db_begin(db, what, err);
    if (st != ST_OK) return st;
    st = row_insert(db, ROW_VERDICT, verdict, NULL, err);
    if (st == ST_OK) st = rebuild_winner(db, &verdict->key, err);
    return db_end(db, st, what, err);
}

Status db_winner(Db *db, const DbKey *key, Arena *arena, DbWinner **out, Error *err) {
    static const char what[] = "look for a winner";
    *out = NULL;
    sqlite3_stmt *s;
    bool row = false;
    Status st = sql_get(db, SQL_WINNER_GET, &s, err);
    if (st != ST_OK) return st;
    st = sql_bind_texts(
        db, s, (const char *const[]){key->kernel, key->gpu_key, key->problem_key, key->policy}, 4,
        what, err);
    int rc = sqlite3_bind_int64(s, 5, key->generation);
    if (st == ST_OK && rc != SQLITE_OK) st = sql_fail(db, rc, what, err);
    if (st == ST_OK) st = sql_step(db, s, &row, what, err);
    if (st == ST_OK && row) {
        DbWinner *winner = ARENA_NEW(arena, DbWinner);
        st = winner ? row_read(db, ROW_VERDICT, s, arena, &winner->verdict, NULL, &winner->row, err)
                    : err_no_memory(err, sizeof *winner);
        if (st == ST_OK) *out = winner;
    }
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return st;
}

Status db_each_winner(Db *db, const char *kernel, const char *gpu_key, DbWinnerVisit visit,
                      void *context, Error *err) {
    static const char what[] = "read the winners";
    sqlite3_stmt *s = NULL;
    Arena *arena = arena_new();
    Status st =
        arena ? sql_new(db, SQL_WINNER_EACH, &s, err) : err_no_memory(err, sizeof(DbWinner));
    if (st == ST_OK) {
        st = sql_bind_texts(db, s, (const char *const[]){kernel, gpu_key}, 2, what, err);
    }
    for (bool row = true; st == ST_OK && row;) {
        st = sql_step(db, s, &row, what, err);
        if (st != ST_OK || !row) break;
        DbWinner winner = {0};
        arena_reset(arena);
        st = row_read(db, ROW_VERDICT, s, arena, &winner.verdict, NULL, &winner.row, err);
        if (st == ST_OK) st = visit(context, &winner, err);
    }
    sqlite3_finalize(s);
    if (arena) arena_free(arena);
    return st;
}
