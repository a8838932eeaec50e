/* run-ptx: a kernel of anybody's, described in Lua, run in a worker process step by step, so that
 * whatever ends it early, what was known by then is reported. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "tuner/command.h"
#include "tuner/process.h"
#include "tuner/ptx_report.h"
#include "tuner/ptx_requests.h"

static const double default_limit_s = 120;
enum { DEFAULT_REPEATS = 10 }; /* of measured times */

typedef struct Job {
    App *app;
    Target target;
    const char *notice;
    Worker worker;
    Message request;
    PtxReport report;
    size_t checks, outputs;
} Job;

/* ---- asking the worker ---- */

/* Sends job->request and waits. ST_OK or the worker's own status; ST_TIMEOUT, ST_CANCELLED, and
 * ST_INTERNAL for a worker that died. */
static Status ask(Job *job, Error *err) {
    const Options *o = job->app->options;
    const double limit = o->run_limit > 0 ? o->run_limit : default_limit_s;
    Worker *w = &job->worker;
    Status st = worker_send(w, &job->request, limit, err);
    if (st != ST_OK) return st;
    for (;;) {
        worker_wait(&w, 1, limit);
        if (*job->app->interrupted) return err_set(err, ST_CANCELLED, "interrupted");
        switch (worker_event(w)) {
        case WORKER_NOTHING: break;
        case WORKER_REPLY:
            st = (Status)message_get_int(&w->reply, "status", ST_INTERNAL);
            if (st == ST_OK) return ST_OK;
            const char *text = message_get(&w->reply, "message");
            return err_set(err, st, "%s", text ? text : status_text(st));
        case WORKER_TIMEOUT:
            return err_set(err, ST_TIMEOUT, "no end within %.3g s (--run-limit); was ended", limit);
        case WORKER_DIED:
        case WORKER_LOST: return err_set(err, ST_INTERNAL, "%s", w->why);
        }
    }
}

static Status step(Job *job, const char *what, size_t index, size_t count, Error *err) {
    message_clear(&job->request);
    message_put(&job->request, "request", "step");
    message_put(&job->request, "what", what);
    message_put_int(&job->request, "index", (int64_t)index);
    message_put_int(&job->request, "count", (int64_t)count);
    return ask(job, err);
}

/* Copies the struct that the reply carries; false when there is none. */
static bool take(const Job *job, void *out, size_t size) {
    size_t got = 0;
    const char *bytes = message_get_bytes(&job->worker.reply, "figures", &got);
    if (!bytes || got != size) return false;
    memcpy(out, bytes, size);
    return true;
}

/* ---- the steps ---- */

static void note_fault(Job *job, Status st, const Error *err) {
    PtxReport *r = &job->report;
    r->result = st == ST_TIMEOUT ? PTX_TIMEOUT : PTX_FAULT;
    r->fault = arena_strdup(job->app->arena, err->message);
    if (!r->fault) r->fault = status_text(st);
}

/* The items of `size` bytes that the reply carries under `key`, copied; NULL without any. */
static void *take_items(const Job *job, const char *key, size_t size, size_t *count) {
    size_t bytes = 0;
    const char *from = message_get_bytes(&job->worker.reply, key, &bytes);
    void *copy = from ? arena_alloc(job->app->arena, bytes + 1) : NULL;
    *count = copy ? bytes / size : 0;
    if (copy) memcpy(copy, from, bytes);
    return copy;
}

static void take_profile(Job *job, PtxLaunch *l) {
    PtxReport *r = &job->report;
    ProfiledLaunch *p = &r->profiles[r->profile_count];
    p->counters = take_items(job, "counters", sizeof *p->counters, &p->counter_count);
    p->rows = take_items(job, "rows", sizeof *p->rows, &p->row_count);
    p->stats = l->figures.stats;
    snprintf(p->entry, sizeof p->entry, "%s", l->figures.entry);
    if (!p->counters || !p->rows) return; /* a real GPU */
    l->profile = p;
    r->profile_count++;
}

/* False when this launch was the last one. */
static bool run_one(Job *job, size_t index, Error *err) {
    PtxReport *r = &job->report;
    PtxLaunch *l = &r->launches[index];
    Status st = step(job, "launch", index, 0, err);
    const bool replied = take(job, &l->figures, sizeof l->figures);
    if (!replied) snprintf(l->figures.entry, sizeof l->figures.entry, "launch %zu", index + 1);
    const char *warnings = message_get(&job->worker.reply, "warnings");
    if (replied && warnings) str_puts(&r->warnings, warnings);
    r->launch_count = index + 1;
    l->done = st == ST_OK;
    if (l->done && r->profiled) take_profile(job, l);
    if (st != ST_OK && st != ST_CANCELLED) note_fault(job, st, err);
    return st == ST_OK;
}

static Status check_all(Job *job, Error *err) {
    PtxReport *r = &job->report;
    for (size_t i = 0; i < job->checks; i++) {
        Status st = step(job, "check", i, 0, err);
        if (st != ST_OK) return st;
        CheckFigures *c = &r->checked[r->checked_count];
        if (!take(job, c, sizeof *c)) continue; /* a buffer without guards */
        r->checked_count++;
        if (c->wrong > 0) r->result = PTX_UNEXPECTED;
    }
    for (size_t i = 0; i < job->outputs; i++) {
        Status st = step(job, "output", i, 0, err);
        if (st != ST_OK) return st;
        PtxOutput *out = &r->outputs[i];
        size_t size = 0;
        const char *values = message_get_bytes(&job->worker.reply, "values", &size);
        unsigned char *copy = arena_alloc(job->app->arena, size + 1);
        if (!copy) return err_no_memory(err, size);
        if (values) memcpy(copy, values, size);
        out->values = copy;
        if (!take(job, &out->figures, sizeof out->figures))
            return err_set(err, ST_INTERNAL, "the worker sent no figures");
        r->output_count++;
    }
    return ST_OK;
}

static Status time_all(Job *job, Error *err) {
    const Options *o = job->app->options;
    const size_t count = o->repeat > 0                           ? (size_t)o->repeat
                         : job->target.traits.deterministic != 0 ? 0
                                                                 : DEFAULT_REPEATS;
    for (size_t i = 0; count > 0 && i < job->report.launch_count; i++) {
        PtxLaunch *l = &job->report.launches[i];
        Status st = step(job, "times", i, count, err);
        if (st != ST_OK) return st;
        double *times = ARENA_ARRAY(job->app->arena, double, PTX_TIMES_MAX);
        if (!times) return err_no_memory(err, PTX_TIMES_MAX * sizeof *times);
        l->time_count = message_get_nums(&job->worker.reply, "times", times, PTX_TIMES_MAX);
        l->times = times;
    }
    return ST_OK;
}

static Status run_all(Job *job, Error *err) {
    PtxReport *r = &job->report;
    for (size_t i = 0; i < r->launches_planned; i++)
        if (!run_one(job, i, err)) return err->status == ST_CANCELLED ? ST_CANCELLED : ST_OK;
    Status st = r->sampled ? ST_OK : check_all(job, err);
    if (st == ST_OK) st = time_all(job, err);
    return st;
}

/* ---- before and after ---- */

static const struct {
    const char *name, *option;
} switches[] = {
    {"SOFTGPU_CHECKS", "--checks"}, {"SOFTGPU_SEED", "--seed"}, {"SOFTGPU_MMA", "--mma"}};

/* The software GPU judges its switches itself; a value that it refuses is the user's to mend. */
static bool refused_switch(Error *err) {
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        char said[32];
        snprintf(said, sizeof said, "%s: ", switches[i].name);
        const char *at = strstr(err->message, said);
        if (!at) continue;
        err_set(err, ST_INVALID, "%s (%s): %s", switches[i].option, switches[i].name,
                at + strlen(said));
        return true;
    }
    return false;
}

/* A switch of the software GPU is an environment variable that the worker inherits; what the user
 * set there stays when there is no option. */
static Status set_switches(const Options *o, Error *err) {
    const char *const values[] = {o->checks, o->seed, o->mma};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (values[i] && setenv(switches[i].name, values[i], 1) != 0)
            return err_no_memory(err, strlen(values[i]));
    if (setenv("SOFTGPU_CHECKS", "all", 0) != 0) return err_no_memory(err, 4);
    return ST_OK;
}

static Status open_target(Job *job, Error *err) {
    const Options *o = job->app->options;
    Targets targets;
    if (!o->launch)
        return err_set(err, ST_INVALID,
                       "run-ptx wants --launch DESC.lua: what to run the kernel "
                       "on (docs/softgpu.md, \"Your own kernels\")");
    if ((o->spill_stores || o->spill_loads) && !o->registers)
        return err_set(err, ST_INVALID, "--spill-stores and --spill-loads go with --registers");
    if (o->lines && !o->profile) return err_set(err, ST_INVALID, "--lines goes with --profile");
    if (o->inlined && !o->lines) return err_set(err, ST_INVALID, "--inlined goes with --lines");
    if (o->registers && o->ptxas_log)
        return err_set(err, ST_INVALID, "--registers and --ptxas-log are two ways to say the same");
    if (o->mma && strcmp(o->mma, "fast") != 0 && strcmp(o->mma, "exact") != 0)
        return err_set(err, ST_INVALID, "--mma: '%s' is neither fast nor exact", o->mma);
    const char *paths[] = {o->operands[0], o->launch, o->ptxas_log, o->files};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (paths[i] && !files_exists(paths[i]))
            return err_set(err, ST_INVALID, "there is no file %s", paths[i]);
    Status st = set_switches(o, err);
    if (st == ST_OK) st = targets_resolve(o->gpu, job->app->arena, &targets, err);
    if (st != ST_OK) return st;
    job->target = targets.items[0];
    job->notice = targets.notice;
    return ST_OK;
}

static Status start_worker(Job *job, Error *err) {
    const Options *o = job->app->options;
    char device[16];
    snprintf(device, sizeof device, "%d", job->target.ordinal);
    const char *args[] = {"--worker", "ptx",  "--driver", job->target.driver,
                          "--device", device, NULL};
    const RunOptions options = {.ptx = o->operands[0],
                                .desc = o->launch,
                                .files = o->files,
                                .settings = o->set,
                                .entry = o->entry,
                                .timing = o->timing,
                                .profile = o->profile,
                                .ptxas_log = o->ptxas_log,
                                .registers = (int)o->registers,
                                .spill_stores = (int)o->spill_stores,
                                .spill_loads = (int)o->spill_loads};
    Status st = worker_start(&job->worker, args, err);
    if (st != ST_OK) return st;
    message_clear(&job->request);
    ptx_put_options(&options, &job->request);
    return ask(job, err);
}

static Status make_room(Job *job, Error *err) {
    const Message *reply = &job->worker.reply;
    Arena *arena = job->app->arena;
    const Options *o = job->app->options;
    const char *checks = files_env("SOFTGPU_CHECKS");
    job->checks = (size_t)message_get_int(reply, "checks", 0);
    job->outputs = (size_t)message_get_int(reply, "outputs", 0);
    PtxReport *r = &job->report;
    *r = (PtxReport){.file = o->operands[0], .description = o->launch, .target = &job->target};
    r->launches_planned = (size_t)message_get_int(reply, "launches", 0);
    r->sampled = o->timing && job->target.traits.can_sample;
    r->profiled = o->profile;
    if (job->target.traits.modelled && checks) r->checks = arena_strdup(arena, checks);
    r->launches = ARENA_ARRAY(arena, PtxLaunch, r->launches_planned + 1);
    r->profiles = ARENA_ARRAY(arena, ProfiledLaunch, r->launches_planned + 1);
    r->checked = ARENA_ARRAY(arena, CheckFigures, job->checks + 1);
    r->outputs = ARENA_ARRAY(arena, PtxOutput, job->outputs + 1);
    if (r->launches && r->profiles && r->checked && r->outputs) return ST_OK;
    return err_no_memory(err, sizeof *r->launches * r->launches_planned);
}

/* Lines by .loc and their texts, where the files can be read; by the PTX's own lines without. */
static Status make_lines(Job *job, Error *err) {
    PtxReport *r = &job->report;
    Arena *arena = job->app->arena;
    LineSource source = {
        .ptx = r->file, .inlined = job->app->options->inlined, .text = profiled_file_line};
    if (!job->app->options->lines || r->profile_count == 0) return ST_OK;
    return profiled_lines(r->profiles, r->profile_count, &source, arena, &r->lines, &r->line_count,
                          err);
}

static ExitCode report(Job *job) {
    static const ExitCode codes[] = {[PTX_OK] = EXIT_OK,
                                     [PTX_UNEXPECTED] = EXIT_UNEXPECTED,
                                     [PTX_FAULT] = EXIT_FAULT,
                                     [PTX_TIMEOUT] = EXIT_FAULT};
    Json j = {0};
    if (job->app->options->json)
        ptx_report_json(&job->report, &j);
    else
        ptx_report_text(&job->report, &j.text);
    ExitCode code = print_text(&j.text);
    str_free(&j.text);
    return code == EXIT_OK ? codes[job->report.result] : code;
}

/* A description, name or file that is not one is the user's to mend. */
static ExitCode code_of(Status st) {
    switch (st) {
    case ST_SYNTAX:
    case ST_NOT_FOUND:
    case ST_LIMIT: return EXIT_USAGE;
    default: return exit_code_of(st);
    }
}

ExitCode command_run_ptx(App *app) {
    Job job = {.app = app};
    Error err = {0};
    Status st = open_target(&job, &err);
    if (st != ST_OK) return fail(refused_switch(&err) ? EXIT_USAGE : exit_code_of(st), &err);
    if (job.notice) fprintf(stderr, "seqtune: %s\n", job.notice);
    st = start_worker(&job, &err);
    ExitCode code = code_of(st);
    if (st == ST_OK && (st = make_room(&job, &err)) == ST_OK) {
        st = run_all(&job, &err);
        if (st == ST_OK) st = make_lines(&job, &err);
        code = report(&job);
        if (st != ST_OK) code = code_of(st);
    }
    if (st != ST_OK) code = fail(refused_switch(&err) ? EXIT_USAGE : code, &err);
    str_free(&job.report.warnings);
    message_free(&job.request);
    worker_free(&job.worker);
    return code;
}
