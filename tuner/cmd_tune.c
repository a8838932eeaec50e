/* seqtune [tune]: the main job. Resolves what, where and how long, runs a session per GPU, reports.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tuner/command.h"
#include "tuner/progress.h"
#include "tuner/report.h"

static const double default_budget_s = 15 * 60;
static const double default_compile_limit_s = 60; /* the slowest variant known compiles in 3 s */
static const double default_run_limit_s = 120;
enum { DEFAULT_EFFORT = 8, MAX_SPECS = 64, MAX_JOBS = 256 };

typedef struct Job {
    App *app;
    GenLibrary *library;
    GenWorkload workload;
    GenWorkItem *items; /* of the workload, those of --op */
    size_t count;
    Targets targets;
    Db *db;
    const char *db_path;
    TuneSettings settings;
    Json json;
    size_t unserved;
} Job;

static size_t cpu_count(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (size_t)n : 1;
}

static double or_default(double value, double otherwise) {
    return value > 0 ? value : otherwise;
}

static void read_settings(Job *job) {
    const Options *o = job->app->options;
    size_t jobs = o->jobs > 0 ? (size_t)o->jobs : cpu_count();
    job->settings = (TuneSettings){
        .effort = o->effort > 0 ? (size_t)o->effort : DEFAULT_EFFORT,
        .jobs = jobs < MAX_JOBS ? jobs : MAX_JOBS,
        .budget_s = or_default(o->budget, default_budget_s),
        .compile_limit_s = or_default(o->compile_limit, default_compile_limit_s),
        .run_limit_s = or_default(o->run_limit, default_run_limit_s),
        .again = o->again,
        .fault = o->worker_fault,
        .tool = tool_name,
        .interrupted = job->app->interrupted,
    };
}

/* Keeps the items whose kernel --op names; none left is the user's mistake. */
static ExitCode filter_items(Job *job) {
    const GenSpec *specs[MAX_SPECS];
    size_t spec_count = 0;
    Error err = {0};
    ExitCode code = app_specs(job->app, job->library, specs, MAX_SPECS, &spec_count);
    if (code != EXIT_OK) return code;
    job->items = ARENA_ARRAY(job->app->arena, GenWorkItem, job->workload.count + 1);
    if (!job->items) {
        err_no_memory(&err, job->workload.count * sizeof *job->items);
        return fail_status(&err);
    }
    for (size_t i = 0; i < job->workload.count; i++) {
        for (size_t k = 0; k < spec_count; k++) {
            if (job->workload.items[i].problem.spec == specs[k]) {
                job->items[job->count++] = job->workload.items[i];
            }
        }
    }
    if (job->count > 0) return EXIT_OK;
    err_set(&err, ST_INVALID, "workload %s has no problem of --op %s", job->workload.name,
            job->app->options->op ? job->app->options->op : "(all)");
    return fail(EXIT_USAGE, &err);
}

static ExitCode load_workload(Job *job) {
    Error err = {0};
    const char *name = job->app->options->workload ? job->app->options->workload : "common";
    Status st = gen_workload_load(job->library, name, job->app->arena, &job->workload, &err);
    if (st == ST_OK) return filter_items(job);
    if (st == ST_NO_MEMORY || st == ST_INTERNAL) return fail(EXIT_FAILED, &err);
    return fail(EXIT_USAGE, &err); /* missing, or a mistake in it: the user's text either way */
}

static ExitCode open_all(Job *job) {
    Error err = {0};
    ExitCode code = app_library(job->app, &job->library);
    if (code == EXIT_OK) code = load_workload(job);
    if (code != EXIT_OK) return code;
    Status st = targets_resolve(job->app->options->gpu, job->app->arena, &job->targets, &err);
    if (st != ST_OK) return fail(st == ST_INVALID ? EXIT_USAGE : EXIT_NO_DEVICE, &err);
    job->db_path = app_db_path(job->app, true);
    if (!job->db_path) return EXIT_STORAGE;
    return app_open_db(job->app, job->db_path, DB_WRITE, &job->db);
}

/* The head goes where people look: to stdout, or beside the JSON to stderr. */
static ExitCode print_head(Job *job) {
    Str head = {0};
    ExitCode code = EXIT_OK;
    report_head(&job->workload, job->count, &job->targets, &job->settings, job->db_path, &head);
    if (!job->app->options->json)
        code = print_text(&head);
    else if (!job->app->options->quiet)
        fputs(str_text(&head), stderr);
    str_free(&head);
    return code;
}

static ExitCode print_table(const Tune *tune) {
    Str table = {0};
    report_table(tune, &table);
    ExitCode code = print_text(&table);
    str_free(&table);
    return code;
}

/* One GPU. Results so far are reported whatever happened. */
static ExitCode run_target(Job *job, const Target *target) {
    Error err = {0};
    Tune *tune = NULL;
    Progress progress;
    ExitCode code = EXIT_OK;
    progress_init(&progress, stderr, job->app->options->quiet);
    Status st = tune_run(job->library, job->db, target, job->items, job->count, &job->settings,
                         progress_watch, &progress, &tune, &err);
    progress_clear(&progress);
    if (tune && tune->problem_count > 0) {
        if (job->app->options->json)
            report_json(tune, &job->json);
        else
            code = print_table(tune);
        job->unserved += report_unserved(tune);
    }
    tune_close(tune);
    return st == ST_OK ? code : fail_status(&err);
}

static ExitCode finish_json(Job *job, ExitCode code) {
    json_close(&job->json);
    json_int(&job->json, "exit", code);
    json_close(&job->json);
    ExitCode printed = print_text(&job->json.text);
    str_free(&job->json.text);
    return code != EXIT_OK ? code : printed;
}

static ExitCode run_all(Job *job) {
    ExitCode code = print_head(job);
    if (job->app->options->json) {
        json_open(&job->json, NULL, '{');
        json_text(&job->json, "tool", tool_name);
        json_text(&job->json, "workload", job->workload.name);
        json_text(&job->json, "database", job->db_path);
        json_text(&job->json, "note", job->targets.notice);
        json_num(&job->json, "budget_s", job->settings.budget_s);
        json_open(&job->json, "gpus", '[');
    }
    for (size_t i = 0; i < job->targets.count; i++) {
        ExitCode one = run_target(job, &job->targets.items[i]);
        if (one != EXIT_OK && (code == EXIT_OK || one == EXIT_INTERRUPTED)) code = one;
        /* What stopped one GPU but not the next: only the GPU itself. */
        if (one != EXIT_OK && one != EXIT_NO_DEVICE) break;
    }
    if (code == EXIT_OK && job->unserved > 0) {
        Error err = {0};
        err_set(&err, ST_UNSUPPORTED, "%zu of %zu problems have no winner; see the table",
                job->unserved, job->count * job->targets.count);
        code = fail(EXIT_UNSERVED, &err);
    }
    return job->app->options->json ? finish_json(job, code) : code;
}

ExitCode command_tune(App *app) {
    Job job = {.app = app};
    read_settings(&job);
    ExitCode code = open_all(&job);
    if (code == EXIT_OK) code = run_all(&job);
    db_close(job.db);
    gen_close(job.library);
    return code;
}
