/* See fixture.h. */
#include "tests/db/fixture.h"

#include <dirent.h>
#include <sqlite3.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

int fixture_setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/seqtune-db-XXXXXX");
    if (!mkdtemp(f->dir)) return -1;
    snprintf(f->a, sizeof f->a, "%s/a.db", f->dir);
    snprintf(f->b, sizeof f->b, "%s/b.db", f->dir);
    snprintf(f->c, sizeof f->c, "%s/c.db", f->dir);
    f->arena = arena_new();
    *state = f;
    return 0;
}

int fixture_teardown(void **state) {
    Fixture *f = *state;
    char command[200];
    snprintf(command, sizeof command, "chmod -R u+rwx '%s'; rm -rf '%s'", f->dir, f->dir);
    int rc = system(command);
    arena_free(f->arena);
    free(f);
    return rc;
}

static const DbKey sample_key = {.kernel = "attn_prefill",
                                 .problem_key = "dtype=f16 head_dim=128 len_q=36",
                                 .gpu_key = "cc=80 sms=108 evidence=modelled",
                                 .policy = "graph warm",
                                 .generation = 1};

DbTrial sample_trial(int i) {
    static const double times[] = {1.5e-3, 1.25e-3, 2e-3};
    static char configs[16][32]; /* borrowed by the row; 16 rows at once are enough */
    char *config = configs[i & 15];
    snprintf(config, sizeof configs[0], "block_m=%d warps=4", 16 * i);
    return (DbTrial){
        .key = sample_key,
        .problem = "batch=1 len_q=512",
        .gpu_name = "NVIDIA A100-SXM4-80GB",
        .driver = "13.0",
        .nvrtc = "13.0",
        .spec_hash = "00ff",
        .config = config,
        .outcome = i % 3 == 2 ? DB_COMPILE : DB_OK,
        .detail = i % 3 == 2 ? "error: no such thing\n  here\n  ^" : "",
        .time_median_s = 1.5e-3 + i,
        .time_low_s = 1.25e-3,
        .time_high_s = 2e-3,
        .times = times,
        .time_count = (size_t)(i & 3),
        .sm_clock_mhz = 1410,
        .verify_error = 0.125,
        .compile_s = 0.5,
        .registers = 200 + i,
        .spill_bytes = 0,
        .smem_bytes = 65536,
        .session = "20250101-1",
        .unix_ms = 1735689600000 + i,
        .tool = "seqtune 0.1.0",
    };
}

DbVerdict sample_verdict(int i) {
    static char configs[16][32];
    char *config = configs[i & 15];
    snprintf(config, sizeof configs[0], "block_m=%d", 16 * i);
    return (DbVerdict){
        .key = sample_key,
        .problem = "batch=1 len_q=512",
        .gpu_name = "NVIDIA A100-SXM4-80GB",
        .spec_hash = "00ff",
        .config = config,
        .default_config = "block_m=64",
        .time_s = 1e-3,
        .default_time_s = 2e-3,
        .ratio = 0.5,
        .ratio_low = 0.4,
        .ratio_high = 0.6,
        .baseline_time_s = 4e-3,
        .verify_error = 0.25,
        .effort = 100,
        .registers = 200,
        .smem_bytes = 65536,
        .session = "20250101-1",
        .unix_ms = 1735689600000 + i,
        .tool = "seqtune 0.1.0",
    };
}

Db *open_or_fail(Fixture *f, const char *path, DbOpen mode) {
    Db *db = NULL;
    if (db_open(path, mode, &db, &f->err) != ST_OK) fail_msg("%s", f->err.message);
    return db;
}

static const char *const dump_sql[] = {
    "SELECT hex(hash) || ' ' || kernel || problem_key || gpu_key || policy || generation || "
    "problem "
    "|| spec_hash || config || outcome || detail || time_median_s || hex(times) || verify_error "
    "|| registers || session || unix_ms FROM trial ORDER BY hash",
    "SELECT hex(hash) || ' ' || kernel || problem_key || config || ratio_high || effort || "
    "registers "
    "|| smem_bytes || unix_ms FROM verdict ORDER BY hash",
    "SELECT kernel || gpu_key || problem_key || policy || generation || hex(verdict) FROM winner "
    "ORDER BY 1"};

char *dump(Fixture *f, const char *path) {
    sqlite3 *sqlite;
    Str text = {0};
    assert_int_equal(sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    for (size_t i = 0; i < 3; i++) {
        sqlite3_stmt *s;
        assert_int_equal(sqlite3_prepare_v2(sqlite, dump_sql[i], -1, &s, NULL), SQLITE_OK);
        while (sqlite3_step(s) == SQLITE_ROW) {
            str_printf(&text, "%s\n", (const char *)sqlite3_column_text(s, 0));
        }
        str_puts(&text, "--\n");
        assert_int_equal(sqlite3_finalize(s), SQLITE_OK);
    }
    sqlite3_close(sqlite);
    char *copy = arena_strdup(f->arena, str_text(&text));
    str_free(&text);
    return copy;
}

void raw_sql(const char *path, const char *sql) {
    sqlite3 *sqlite;
    assert_int_equal(sqlite3_open(path, &sqlite), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(sqlite, sql, NULL, NULL, &message) != SQLITE_OK) fail_msg("%s", message);
    sqlite3_close(sqlite);
}

int count_entries(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}
