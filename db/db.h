/* The database: every trial kept, append-only; verdicts decide; `winner` is what the runtime reads.
 *
 * All SQL of the project lives in db/. A row is keyed by the content hash of its canonical
 * encoding (docs/db.md), so merging commutes, repeats and associates. Strings in the structs are
 * borrowed for the duration of a call; results live in the arena given. A Db is used by one thread
 * at a time; two processes may write the same file (WAL, busy timeout). */
#ifndef SEQTUNE_DB_DB_H
#define SEQTUNE_DB_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/status.h"

typedef struct Db Db;

typedef enum DbOutcome {
    DB_OK,        /* verified and timed */
    DB_RULES,     /* a rule of the spec */
    DB_COMPILE,   /* NVRTC refused */
    DB_RESOURCES, /* spills, registers, shared memory after compilation */
    DB_WRONG,     /* verification failed */
    DB_CRASH,     /* fault on the device or a dead worker */
    DB_TIMEOUT,   /* compile or run did not end */
    DB_OUTCOME_COUNT
} DbOutcome;

const char *db_outcome_name(DbOutcome outcome);

/* What a trial and a verdict are about. All texts are canonical (generator/gen.h, base/gpus.h). */
typedef struct DbKey {
    const char *kernel;      /* spec name */
    const char *problem_key; /* bucket */
    const char *gpu_key;
    const char *policy; /* "graph warm" | "eager cold" ... */
    int generation;     /* of the spec */
} DbKey;

typedef struct DbTrial {
    DbKey key;
    const char *problem; /* the exact shape that was run */
    const char *gpu_name;
    const char *driver;    /* "13.0" */
    const char *nvrtc;     /* "13.0" */
    const char *spec_hash; /* hex */
    const char *config;
    DbOutcome outcome;
    const char *detail;                            /* error text, "" when ok */
    double time_median_s, time_low_s, time_high_s; /* seconds, 95 % interval; 0 when not ok */
    const double *times;                           /* raw repetitions */
    size_t time_count;
    double sm_clock_mhz;
    /* Worst ratio of error to the acceptance limit; 1 is the limit. Not a number: kept as infinity.
     */
    double verify_error;
    double compile_s;
    int registers, spill_bytes, smem_bytes;
    const char *session; /* id of the tuning session */
    int64_t unix_ms;
    const char *tool; /* "seqtune 0.1.0" */
} DbTrial;

typedef struct DbVerdict {
    DbKey key;
    const char *problem;
    const char *gpu_name;
    const char *spec_hash;
    const char *config; /* winner */
    const char *default_config;
    double time_s, default_time_s;
    double ratio, ratio_low, ratio_high; /* winner's time / default's, paired, 95 % interval */
    double baseline_time_s;              /* attn_naive or 0 */
    double verify_error;
    int64_t effort;            /* configurations timed */
    int registers, smem_bytes; /* of the winner: the tie-break "fewer resources" */
    const char *session;
    int64_t unix_ms;
    const char *tool;
} DbVerdict;

typedef struct DbWinner {
    int64_t row; /* verdict's row id */
    DbVerdict verdict;
} DbWinner;

typedef enum DbOpen {
    DB_READ,  /* must exist; a file in a read-only place or shipped (journal_mode DELETE) is fine */
    DB_WRITE, /* created, migrated when older */
    DB_IMMUTABLE /* shipped: opened with immutable=1 */
} DbOpen;

/* Errors name the path and the cause: unwritable, locked (by how long waited), truncated, not a
 * seqtune database, schema newer than this program. */
Status db_open(const char *path, DbOpen mode, Db **out, Error *err);
void db_close(Db *db);
const char *db_path(const Db *db);
void db_set_wait(Db *db, int milliseconds); /* for another writer; 5000 unless set */

/* Trials. Recording the same content twice is one row. *recorded may be NULL. ST_INVALID when
 * kernel, problem_key, gpu_key, policy, problem, spec_hash or config is empty or a number is not
 * finite; other texts may be NULL (read back as ""). On disk when it returns (synchronous=FULL). */
Status db_record_trial(Db *db, const DbTrial *trial, bool *recorded, Error *err);
/* Has this configuration been tried for (key, driver-independent, spec_hash, problem)? For resume.
 */
Status db_find_trial(Db *db, const DbKey *key, const char *problem, const char *spec_hash,
                     const char *config, Arena *arena, DbTrial **out /* NULL: none */, Error *err);
/* In order of time. `visit` may call db; another status than ST_OK ends the walk and is returned.
 */
typedef Status (*DbTrialVisit)(void *context, const DbTrial *trial, Error *err);
Status db_each_trial(Db *db, const DbKey *key /* NULL fields and generation 0 match all */,
                     DbTrialVisit visit, void *context, Error *err);

/* Verdicts. Recording rebuilds the winner of its key in the same transaction. A key holds its
 * generation, so a new generation never competes with an old one. Best of a key = more effort, then
 * the lower ratio_high, then fewer resources (registers, then smem_bytes), then the smaller hash.
 */
Status db_record_verdict(Db *db, const DbVerdict *verdict, Error *err);
/* The winner of exactly this key; generation 0 asks for the highest generation that has one. */
Status db_winner(Db *db, const DbKey *key, Arena *arena, DbWinner **out /* NULL: none */,
                 Error *err);
typedef Status (*DbWinnerVisit)(void *context, const DbWinner *winner, Error *err);
/* `kernel`, `gpu_key` NULL: all. Sorted by kernel, gpu_key, problem_key, policy, and the highest
 * generation first. */
Status db_each_winner(Db *db, const char *kernel, const char *gpu_key, DbWinnerVisit visit,
                      void *context, Error *err);

/* Whole files. */
typedef struct DbMergeCount {
    int64_t trials_read, trials_new, verdicts_read, verdicts_new;
} DbMergeCount;

Status db_export(Db *db, const char *path,
                 Error *err); /* VACUUM INTO, journal_mode=DELETE; refuses an existing file */
Status db_import(Db *db, const char *path, DbMergeCount *count, Error *err); /* all or nothing */
/* Recomputes every hash, checks the winner table against the verdicts, integrity_check. */
Status db_check(Db *db, int64_t *rows_checked, Error *err);
Status db_counts(Db *db, int64_t *trials, int64_t *verdicts, int64_t *winners, Error *err);

/* Artifacts {source, ptx, cubin, log}, zstd, local to a machine: kept as files by runtime/cache. */

#endif
