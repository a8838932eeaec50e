/* Tuning one GPU: the stages of docs/design.md 6 over the problems of a workload.
 *
 *   setup: enumerate, rules, rank, resume        tune_setup.c
 *   loop:  compile || (verify, time), racing     tune_loop.c     workers only, no CUDA here
 *   more:  neighbours of the best                tune_search.c
 *   end:   final, winner, verdict                tune_finish.c
 *
 *   problem --< trial >-- variant                a variant is one source text: problems with the
 *                                                same static key share its compilation and check
 *
 * Trials are ordered by rank, then problem (all defaults first), so that a budget that ends early
 * has spent itself evenly. Invariant: a trial is in the database before it counts as done, and
 * nothing is timed that has not passed verification. Not thread-safe. */
#ifndef SEQTUNE_TUNER_TUNE_H
#define SEQTUNE_TUNER_TUNE_H

#include <signal.h>

#include "base/arena.h"
#include "db/db.h"
#include "generator/gen.h"
#include "tuner/candidates.h"
#include "tuner/process.h"
#include "tuner/stats.h"
#include "tuner/target.h"

/* The one measurement policy: see bench.h. Part of every key. */
#define TUNE_POLICY   "eager cold"
#define TUNE_BASELINE "attn_naive" /* textbook attention, timed beside every attention kernel */

typedef struct TuneSettings {
    size_t effort; /* configurations by score, besides the seeds */
    size_t jobs;   /* compile workers */
    double budget_s, compile_limit_s, run_limit_s;
    bool again;                         /* ignore recorded trials */
    const char *fault;                  /* tests: handed to the first worker of each kind */
    const char *tool;                   /* "seqtune 0.1.0" */
    volatile sig_atomic_t *interrupted; /* set by the signal handler */
} TuneSettings;

typedef enum VariantState {
    VARIANT_NEW,
    VARIANT_COMPILING,
    VARIANT_BUILT, /* compiled, no spills, not checked */
    VARIANT_VERIFYING,
    VARIANT_GOOD,
    VARIANT_BAD /* outcome and detail say why */
} VariantState;

typedef struct TuneVariant {
    const GenProblem *problem; /* the first that needed it */
    const GenConfig *config;
    Hash identity; /* of the emitted text and what verification depends on besides */
    GenOutput output;
    VariantState state;
    bool compiled; /* the figures below are known (also of a variant that spills) */
    DbOutcome outcome;
    const char *detail;
    char content[HASH_HEX_SIZE]; /* of the PTX: equal kernels are timed once */
    int registers, spill_bytes, smem_bytes;
    double compile_s, verify_ratio, verify_error;
} TuneVariant;

struct TuneProblem;

typedef struct TuneTrial {
    struct TuneProblem *owner;
    const GenProblem *problem; /* the owner's, or that of the baseline */
    GenConfig config;
    const char *config_text, *problem_text, *problem_key;
    GenResources resources;
    bool is_default, is_baseline;
    size_t rank;
    TuneVariant *variant;        /* NULL until emitted */
    bool done, running, resumed; /* resumed: taken from the database */
    DbOutcome outcome;
    const char *detail;
    Spread time; /* seconds */
    double *times;
    size_t time_count;
    int registers, spill_bytes, smem_bytes;
    double verify_ratio, compile_s;
} TuneTrial;

typedef struct TuneProblem {
    const GenWorkItem *item;
    const char *text, *key;
    const char *spec_hash; /* hex */
    Candidates candidates;
    GenProblem baseline_problem;
    TuneTrial *baseline;     /* NULL: this family has none */
    const char *unsupported; /* why no variant serves it; NULL otherwise */
    int searches;            /* rounds of local search so far */
    bool final_asked, final_done, finished;
    /* the result; winner NULL: not reached, or every trial failed */
    const TuneTrial *winner, *standard; /* standard: the default configuration, when timed */
    const TuneTrial *untimed_default;   /* the same when it was tried and failed */
    Spread ratio;                       /* winner / default; 1 without a time of the default */
    size_t effort;                      /* configurations timed */
    double flops, bytes;
} TuneProblem;

typedef struct TuneCounts {
    size_t enumerated, ruled_out, untried; /* configurations, over problems */
    size_t trials, done, resumed, compiled, failed, spilled, timed, deduplicated;
    size_t problems, finished;
} TuneCounts;

typedef struct Tune Tune;

/* What happened, for progress output. `trial` may be NULL. */
typedef enum TuneEvent {
    TUNE_TRIAL_DONE,
    TUNE_PROBLEM_DONE,
    TUNE_WORKER_ENDED,
    TUNE_TICK
} TuneEvent;
typedef void (*TuneWatch)(void *context, TuneEvent event, const Tune *tune, const void *subject);

struct Tune {
    const GenLibrary *library;
    Db *db;
    const Target *target;
    TuneSettings settings;
    TuneWatch watch;
    void *watch_context;
    Arena *arena;
    char session[33];
    char driver_text[16], nvrtc_text[16];
    TuneProblem *problems;
    size_t problem_count;
    TuneTrial *trials;  /* by rank, then problem */
    size_t trial_count; /* local search appends; the array has room and never moves */
    TuneVariant **variants;
    size_t variant_count;
    Worker *compilers;
    TuneVariant **compiling; /* parallel to compilers; NULL: idle */
    Worker runner;
    TuneTrial *running;         /* what the runner works on; NULL: nothing or opening */
    TuneProblem *running_final; /* or this final */
    bool runner_ready, faulted_compile, faulted_run;
    bool lost; /* the GPU cannot be used any more */
    bool out_of_time, interrupted;
    const char *stopped; /* the error that ended the session early; NULL: none */
    double started, deadline;
    TuneCounts counts;
};

/* Tunes `items` (all checked problems of `library`) on one target. On return the results stand in
 * tune->problems; ST_CANCELLED after an interrupt, ST_DRIVER when there is no NVRTC or the GPU was
 * lost, database errors as they are: results so far are kept and recorded in all cases.
 * tune_close releases everything. */
Status tune_run(const GenLibrary *library, Db *db, const Target *target, const GenWorkItem *items,
                size_t count, const TuneSettings *settings, TuneWatch watch, void *watch_context,
                Tune **out, Error *err);
void tune_close(Tune *tune);

/* ---- between the files of this module ---- */

Status tune_setup(Tune *t, const GenWorkItem *items, size_t count, Error *err);
Status tune_loop(Tune *t, Error *err);
/* Most trials that local search may add to one problem. */
size_t tune_search_room(size_t effort);
/* The next round of local search of a problem whose trials are over; *added 0: there is none. */
Status tune_search(Tune *t, TuneProblem *problem, size_t *added, Error *err);
/* Appends a trial, or what the database holds of it. */
Status tune_add_trial(Tune *t, TuneProblem *problem, const GenConfig *config,
                      const GenResources *resources, Error *err);
/* Emits the trial's source if need be and finds or makes its variant. */
Status tune_variant_of(Tune *t, TuneTrial *trial, Error *err);
/* One row for the trial as it stands. */
Status tune_store(Tune *t, const TuneTrial *trial, Error *err);
/* As tune_store; the trial came to its end and is counted. */
Status tune_record(Tune *t, TuneTrial *trial, Error *err);
/* Picks winner and ratio of a problem whose trials are over, and records the verdict. */
Status tune_finish(Tune *t, TuneProblem *problem, Error *err);
/* Is everything of it tried? */
bool tune_all_done(const Tune *t, const TuneProblem *problem);
/* The candidates of a final on a device that repeats differently; fewer than 2: none is needed. */
size_t tune_finalists(const Tune *t, const TuneProblem *problem, TuneTrial **out, size_t max);

#endif
