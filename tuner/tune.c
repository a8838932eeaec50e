/* One tuning session on one GPU: makes it, runs it, cleans up. */
#include "tuner/tune.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

/* Unique enough to tell sessions of a merged database apart: time, process, GPU. */
static void name_session(Tune *t) {
    struct timespec now;
    char hex[HASH_HEX_SIZE];
    HashState state;
    clock_gettime(CLOCK_REALTIME, &now);
    hash_begin(&state);
    hash_u64(&state, (uint64_t)now.tv_sec);
    hash_u64(&state, (uint64_t)now.tv_nsec);
    hash_u64(&state, (uint64_t)getpid());
    hash_text(&state, t->target->key);
    Hash hash = hash_end(&state);
    hash_hex(&hash, hex);
    snprintf(t->session, sizeof t->session, "%.32s", hex);
}

static Status make(Tune *t, Error *err) {
    size_t jobs = t->settings.jobs;
    t->arena = arena_new();
    if (!t->arena) return err_no_memory(err, sizeof *t);
    t->compilers = ARENA_ARRAY(t->arena, Worker, jobs);
    t->compiling = ARENA_ARRAY(t->arena, TuneVariant *, jobs);
    if (!t->compilers || !t->compiling) return err_no_memory(err, jobs * sizeof *t->compilers);
    int version = t->target->driver_version;
    snprintf(t->driver_text, sizeof t->driver_text, "%d.%d", version / 1000, version % 1000 / 10);
    name_session(t);
    t->started = process_now();
    t->deadline = t->started + t->settings.budget_s;
    return ST_OK;
}

static void stop_workers(Tune *t) {
    for (size_t i = 0; t->compilers && i < t->settings.jobs; i++) worker_free(&t->compilers[i]);
    worker_free(&t->runner);
}

Status tune_run(const GenLibrary *library, Db *db, const Target *target, const GenWorkItem *items,
                size_t count, const TuneSettings *settings, TuneWatch watch, void *watch_context,
                Tune **out, Error *err) {
    *out = NULL;
    Tune *t = mem_alloc(sizeof *t);
    if (!t) return err_no_memory(err, sizeof *t);
    t->library = library;
    t->db = db;
    t->target = target;
    t->settings = *settings;
    t->watch = watch;
    t->watch_context = watch_context;
    *out = t;
    Status st = make(t, err);
    if (st == ST_OK) st = tune_setup(t, items, count, err);
    if (st == ST_OK) st = tune_loop(t, err);
    stop_workers(t);
    if (st != ST_OK && st != ST_CANCELLED && t->arena && err) {
        t->stopped = arena_strdup(t->arena, err->message);
    }
    return st;
}

void tune_close(Tune *t) {
    if (!t) return;
    stop_workers(t);
    arena_free(t->arena);
    mem_free(t);
}
