/* The event loop: compile workers and one execution worker, fed from the ordered trials.
 *
 *   NEW -> COMPILING -> BUILT -> VERIFYING -> GOOD -> (timing, per trial) -> recorded
 *                  \-> BAD    \--------> BAD             \-> crash, timeout: recorded
 *
 * Every request ends in one of reply, death, timeout; each is handled in one place and leaves the
 * loop able to go on. Nothing here blocks but worker_wait. */
#include <stdio.h>
#include <string.h>

#include "tuner/bench.h"
#include "tuner/rank.h"
#include "tuner/tune.h"

static const double open_limit_s = 60.0; /* the first context of a real GPU takes seconds */
static const double tick_s = 0.25;       /* progress and signals are looked at this often */

static void put_indexed(Message *m, const char *prefix, size_t i, const char *value) {
    char key[32];
    snprintf(key, sizeof key, "%s%zu", prefix, i);
    message_put(m, key, value);
}

/* ---- variants that went wrong ---- */

/* Trials of a bad variant end when the runner comes to them (next_for_runner). */
static Status fail_variant(Tune *t, TuneVariant *v, DbOutcome outcome, const char *detail,
                           Error *err) {
    v->state = VARIANT_BAD;
    v->outcome = outcome;
    v->detail = arena_strdup(t->arena, detail);
    return v->detail ? ST_OK : err_no_memory(err, strlen(detail));
}

static void take_figures(TuneTrial *trial) {
    const TuneVariant *v = trial->variant;
    trial->registers = v->registers;
    trial->spill_bytes = v->spill_bytes;
    trial->smem_bytes = v->smem_bytes;
    trial->compile_s = v->compile_s;
    trial->verify_ratio = v->verify_ratio;
}

static Status end_trial(Tune *t, TuneTrial *trial, DbOutcome outcome, const char *detail,
                        Error *err) {
    if (trial->variant) take_figures(trial);
    trial->outcome = outcome;
    trial->detail = arena_strdup(t->arena, detail);
    if (!trial->detail) return err_no_memory(err, strlen(detail));
    return tune_record(t, trial, err);
}

/* A trial whose source cannot even be written: the generator's word is its outcome. */
static Status emit_or_end(Tune *t, TuneTrial *trial, Error *err) {
    Error why = {0};
    Status st = tune_variant_of(t, trial, &why);
    if (st == ST_OK) return ST_OK;
    if (st == ST_NO_MEMORY) return err_set(err, st, "%s", why.message);
    return end_trial(t, trial, st == ST_UNSUPPORTED ? DB_RULES : DB_COMPILE, why.message, err);
}

/* ---- compile workers ---- */

static Status start_compiler(Tune *t, Worker *w, Error *err) {
    char version[16];
    snprintf(version, sizeof version, "%d", t->target->driver_version);
    const char *args[] = {"--worker", "compile", "--driver-version", version, NULL, NULL, NULL};
    if (t->settings.fault && !t->faulted_compile) {
        args[4] = "--fault";
        args[5] = t->settings.fault;
        t->faulted_compile = true;
    }
    return worker_start(w, args, err);
}

/* Another variant with the very same text (they differ in what verification looks at): it is
 * compiled once. */
static const TuneVariant *same_text(const Tune *t, const TuneVariant *v) {
    for (size_t i = 0; i < t->variant_count; i++) {
        const TuneVariant *u = t->variants[i];
        if (u != v && u->state != VARIANT_NEW && hash_equal(&u->output.key, &v->output.key)) {
            return u;
        }
    }
    return NULL;
}

static void copy_figures(TuneVariant *v, const TuneVariant *from) {
    v->compiled = true;
    v->registers = from->registers;
    v->spill_bytes = from->spill_bytes;
    v->smem_bytes = from->smem_bytes;
    v->compile_s = from->compile_s;
    memcpy(v->content, from->content, sizeof v->content);
    v->state = v->spill_bytes > 0 ? VARIANT_BAD : VARIANT_BUILT;
    v->outcome = from->outcome;
    v->detail = from->detail;
}

/* True when `v` has to be compiled now; takes over what a variant of the same text knows. */
static bool wants_compiler(const Tune *t, TuneVariant *v) {
    const TuneVariant *u = same_text(t, v);
    if (!u) return true;
    if (u->compiled)
        copy_figures(v, u);
    else if (u->state == VARIANT_BAD)
        return true; /* perhaps a worker's fault: it gets its own try */
    return false;
}

static TuneVariant *next_to_compile(Tune *t, Status *st, Error *err) {
    for (size_t i = 0; i < t->trial_count && *st == ST_OK; i++) {
        TuneTrial *trial = &t->trials[i];
        if (trial->done || (trial->variant && trial->variant->state != VARIANT_NEW)) continue;
        *st = emit_or_end(t, trial, err);
        if (*st != ST_OK || trial->done || trial->variant->state != VARIANT_NEW) continue;
        if (wants_compiler(t, trial->variant)) return trial->variant;
    }
    return NULL;
}

static Status send_compile(Tune *t, Worker *w, TuneVariant *v, Error *err) {
    Message m = {0};
    char hex[HASH_HEX_SIZE];
    hash_hex(&v->output.key, hex);
    message_put(&m, "request", "compile");
    message_put(&m, "key", hex);
    message_put(&m, "name", v->output.name);
    message_put(&m, "arch", v->output.arch);
    message_put_bytes(&m, "source", v->output.source, v->output.source_size);
    for (size_t i = 0; v->output.options[i]; i++) {
        put_indexed(&m, "option", i, v->output.options[i]);
    }
    for (size_t i = 0; v->output.entries[i]; i++) {
        put_indexed(&m, "entry", i, v->output.entries[i]);
    }
    v->state = VARIANT_COMPILING;
    Status st = worker_send(w, &m, t->settings.compile_limit_s, err);
    message_free(&m);
    return st;
}

static Status feed_compilers(Tune *t, Error *err) {
    Status st = ST_OK;
    for (size_t i = 0; i < t->settings.jobs && st == ST_OK; i++) {
        if (t->compiling[i]) continue;
        TuneVariant *v = next_to_compile(t, &st, err);
        if (!v || st != ST_OK) return st;
        if (!worker_running(&t->compilers[i])) st = start_compiler(t, &t->compilers[i], err);
        if (st == ST_OK) st = send_compile(t, &t->compilers[i], v, err);
        if (st == ST_OK) t->compiling[i] = v;
    }
    return st;
}

static void set_nvrtc_text(Tune *t, int64_t version) {
    if (version > 0) {
        snprintf(t->nvrtc_text, sizeof t->nvrtc_text, "%d.%d", (int)(version / 1000),
                 (int)(version % 1000 / 10));
    }
}

static Status on_compiled(Tune *t, TuneVariant *v, const Message *reply, Error *err) {
    Status st = (Status)message_get_int(reply, "status", ST_INTERNAL);
    const char *text = message_get(reply, "message");
    if (message_get_int(reply, "toolchain", 1) == 0) {
        return err_set(err, ST_DRIVER, "%s", text ? text : "no NVRTC");
    }
    /* An NVRTC that compiles nothing says nothing about the variant: no trial is recorded. */
    if (st == ST_DRIVER) return err_set(err, st, "%s", text ? text : status_text(st));
    if (st != ST_OK) return fail_variant(t, v, DB_COMPILE, text ? text : status_text(st), err);
    v->registers = (int)message_get_int(reply, "registers", 0);
    v->spill_bytes = (int)message_get_int(reply, "spill", 0);
    v->smem_bytes = (int)message_get_int(reply, "smem", 0);
    v->compile_s = message_get_num(reply, "seconds", 0);
    const char *content = message_get(reply, "content");
    snprintf(v->content, sizeof v->content, "%s", content ? content : "");
    set_nvrtc_text(t, message_get_int(reply, "nvrtc_version", 0));
    t->counts.compiled++;
    v->compiled = true;
    if (v->spill_bytes > 0) {
        char detail[128];
        snprintf(detail, sizeof detail, "ptxas spills %d bytes at %d registers", v->spill_bytes,
                 v->registers);
        return fail_variant(t, v, DB_RESOURCES, detail, err);
    }
    v->state = VARIANT_BUILT;
    return ST_OK;
}

/* A timeout names its step and the option that moves the limit. */
static void name_step(Worker *w, WorkerEvent event, const char *step, const char *option) {
    char why[sizeof w->why];
    if (event != WORKER_TIMEOUT) return;
    snprintf(why, sizeof why, "%s: %.150s (%s gives it longer)", step, w->why, option);
    memcpy(w->why, why, sizeof why);
}

static Status poll_compiler(Tune *t, size_t i, Error *err) {
    Worker *w = &t->compilers[i];
    TuneVariant *v = t->compiling[i];
    WorkerEvent event = worker_event(w);
    if (event == WORKER_NOTHING || !v) return ST_OK;
    t->compiling[i] = NULL;
    if (event == WORKER_REPLY) return on_compiled(t, v, &w->reply, err);
    name_step(w, event, "compilation", "--compile-limit");
    if (t->watch) t->watch(t->watch_context, TUNE_WORKER_ENDED, t, w->why);
    return fail_variant(t, v, event == WORKER_DIED ? DB_CRASH : DB_TIMEOUT, w->why, err);
}

/* ---- the execution worker ---- */

static Status start_runner(Tune *t, Error *err) {
    char ordinal[16];
    snprintf(ordinal, sizeof ordinal, "%d", t->target->ordinal);
    const char *args[] = {"--worker", "run", "--driver", t->target->driver, "--device", ordinal,
                          NULL,       NULL,  NULL};
    if (t->settings.fault && !t->faulted_run) {
        args[6] = "--fault";
        args[7] = t->settings.fault;
        t->faulted_run = true;
    }
    t->runner_ready = false;
    Status st = worker_start(&t->runner, args, err);
    if (st != ST_OK) return st;
    Message m = {0};
    message_put(&m, "request", "open");
    st = worker_send(&t->runner, &m, open_limit_s, err);
    message_free(&m);
    return st;
}

static Status send_trial(Tune *t, TuneTrial *trial, const char *request, double race_s,
                         Error *err) {
    Message m = {0};
    message_put(&m, "request", request);
    message_put(&m, "op", gen_spec_name(trial->problem->spec));
    message_put(&m, "problem", trial->problem_text);
    message_put(&m, "config", trial->config_text);
    message_put_num(&m, "limit", race_s);
    trial->running = true;
    t->running = trial;
    Status st = worker_send(&t->runner, &m, t->settings.run_limit_s, err);
    message_free(&m);
    return st;
}

/* The best upper bound so far of the same problem: what a trial has to stay below. */
static double race_limit(const Tune *t, const TuneTrial *trial) {
    double best = 0;
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (x->owner != trial->owner || x->is_baseline || !x->done || x->outcome != DB_OK) continue;
        if (best == 0 || x->time.high < best) best = x->time.high;
    }
    return trial->is_baseline ? 0 : best * (1 + rank_measured_gap);
}

static bool same_launches(const Tune *t, const TuneTrial *a, const TuneTrial *b) {
    GenLaunch la[GEN_MAX_STEPS], lb[GEN_MAX_STEPS];
    size_t na = 0, nb = 0;
    int64_t wa = 0, wb = 0;
    memset(la, 0, sizeof la);
    memset(lb, 0, sizeof lb);
    const GpuInfo *gpu = &t->target->gpu;
    if (gen_launches(a->problem, gpu, &a->config, la, &na, &wa, NULL) != ST_OK ||
        gen_launches(b->problem, gpu, &b->config, lb, &nb, &wb, NULL) != ST_OK || na != nb) {
        return false;
    }
    for (size_t i = 0; i < na; i++) {
        if (strcmp(la[i].entry, lb[i].entry) != 0 || la[i].smem != lb[i].smem ||
            memcmp(la[i].grid, lb[i].grid, sizeof la[i].grid) != 0 ||
            memcmp(la[i].block, lb[i].block, sizeof la[i].block) != 0) {
            return false;
        }
    }
    return wa == wb;
}

/* An earlier trial of the same problem whose machine code and launch are equal; NULL: none. */
static const TuneTrial *twin_of(const Tune *t, const TuneTrial *trial) {
    for (const TuneTrial *x = t->trials; x < trial; x++) {
        if (x->owner == trial->owner && x->is_baseline == trial->is_baseline && x->variant &&
            x->variant->content[0] && x->done && x->outcome == DB_OK &&
            strcmp(x->variant->content, trial->variant->content) == 0 &&
            same_launches(t, x, trial)) {
            return x;
        }
    }
    return NULL;
}

static Status copy_twin(Tune *t, TuneTrial *trial, const TuneTrial *twin, Error *err) {
    trial->time = twin->time;
    trial->times = twin->times;
    trial->time_count = twin->time_count;
    t->counts.deduplicated++;
    return end_trial(t, trial, DB_OK, "", err);
}

/* One trial that the runner can go on with: ends what needs no runner on the way. */
static Status next_for_runner(Tune *t, TuneTrial **out, Error *err) {
    *out = NULL;
    for (size_t i = 0; i < t->trial_count; i++) {
        TuneTrial *trial = &t->trials[i];
        if (trial->done || trial->running || !trial->variant) continue;
        TuneVariant *v = trial->variant;
        Status st = ST_OK;
        const TuneTrial *twin = v->state == VARIANT_GOOD ? twin_of(t, trial) : NULL;
        if (v->state == VARIANT_BAD)
            st = end_trial(t, trial, v->outcome, v->detail, err);
        else if (twin)
            st = copy_twin(t, trial, twin, err);
        else if (v->state == VARIANT_BUILT || v->state == VARIANT_GOOD) {
            *out = trial;
            return ST_OK;
        }
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static Status send_final(Tune *t, TuneProblem *p, TuneTrial *const *who, size_t n, Error *err) {
    Message m = {0};
    message_put(&m, "request", "final");
    message_put(&m, "op", gen_spec_name(p->item->problem.spec));
    message_put(&m, "problem", p->text);
    for (size_t i = 0; i < n; i++) put_indexed(&m, "config", i, who[i]->config_text);
    p->final_asked = true;
    t->running_final = p;
    Status st = worker_send(&t->runner, &m, t->settings.run_limit_s, err);
    message_free(&m);
    return st;
}

/* Rounds of local search until one leaves something to do; *more false: the search is over. */
static Status search_on(Tune *t, TuneProblem *p, bool *more, Error *err) {
    size_t added = 1;
    while (added > 0 && tune_all_done(t, p)) {
        Status st = tune_search(t, p, &added, err);
        if (st != ST_OK) return st;
    }
    *more = !tune_all_done(t, p);
    return ST_OK;
}

/* Ends problems whose trials are over; one that needs a final goes to the idle runner. */
static Status finish_problems(Tune *t, bool all, Error *err) {
    for (size_t i = 0; i < t->problem_count; i++) {
        TuneProblem *p = &t->problems[i];
        TuneTrial *who[BENCH_MAX_PLANS];
        if (p->finished || t->running_final == p || (!all && !tune_all_done(t, p))) continue;
        bool more = false;
        Status st = all ? ST_OK : search_on(t, p, &more, err);
        if (st != ST_OK) return st;
        if (more) continue;
        size_t n = tune_finalists(t, p, who, BENCH_MAX_PLANS);
        bool needs_final = !t->target->traits.deterministic && n > 1 && !p->final_asked;
        if (needs_final && !t->interrupted) {
            if (!worker_running(&t->runner)) return start_runner(t, err);
            if (t->runner_ready && !t->runner.busy) return send_final(t, p, who, n, err);
            continue;
        }
        st = tune_finish(t, p, err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static Status feed_runner(Tune *t, Error *err) {
    TuneTrial *trial;
    if (t->runner.busy) return ST_OK;
    Status st = next_for_runner(t, &trial, err);
    if (st != ST_OK || !trial) return st;
    if (!worker_running(&t->runner)) return start_runner(t, err);
    if (!t->runner_ready) return ST_OK;
    if (trial->variant->state == VARIANT_BUILT) {
        trial->variant->state = VARIANT_VERIFYING;
        return send_trial(t, trial, "verify", 0, err);
    }
    return send_trial(t, trial, "time", race_limit(t, trial), err);
}

/* The outcome class of a status that the runner answered with. */
static DbOutcome outcome_of(Status st) {
    switch (st) {
    case ST_WRONG: return DB_WRONG;
    case ST_COMPILE: return DB_COMPILE;
    case ST_TIMEOUT: return DB_TIMEOUT;
    case ST_UNSUPPORTED: return DB_RULES;
    case ST_LIMIT:
    case ST_NO_MEMORY: return DB_RESOURCES;
    default: return DB_CRASH;
    }
}

/* What the runner was doing ends with `outcome`. */
static Status fail_running(Tune *t, DbOutcome outcome, const char *detail, Error *err) {
    TuneTrial *trial = t->running;
    t->running = NULL;
    if (!trial) return ST_OK; /* a final: the times of before decide */
    trial->running = false;
    if (trial->variant->state != VARIANT_VERIFYING) {
        return end_trial(t, trial, outcome, detail, err);
    }
    Status st = fail_variant(t, trial->variant, outcome, detail, err);
    return st == ST_OK ? end_trial(t, trial, outcome, detail, err) : st;
}

static Status store_times(Tune *t, TuneTrial *trial, const Message *reply, const char *key,
                          Error *err) {
    double seconds[STATS_MAX];
    size_t n = message_get_nums(reply, key, seconds, STATS_MAX);
    if (n == 0) return err_set(err, ST_CORRUPT, "the worker sent no times");
    trial->times = ARENA_ARRAY(t->arena, double, n);
    if (!trial->times) return err_no_memory(err, n * sizeof *trial->times);
    memcpy(trial->times, seconds, n * sizeof *seconds);
    trial->time_count = n;
    trial->time = stats_spread(seconds, n);
    return ST_OK;
}

static Status on_final(Tune *t, TuneProblem *p, const Message *reply, Error *err) {
    TuneTrial *who[BENCH_MAX_PLANS];
    size_t n = tune_finalists(t, p, who, BENCH_MAX_PLANS);
    for (size_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "times%zu", i);
        Status st = store_times(t, who[i], reply, key, err);
        if (st == ST_OK) st = tune_store(t, who[i], err);
        if (st != ST_OK) return st;
        who[i]->resumed = false;
    }
    p->final_done = true;
    return ST_OK;
}

static Status on_trial_reply(Tune *t, TuneTrial *trial, const Message *reply, Error *err) {
    TuneVariant *v = trial->variant;
    t->running = NULL;
    trial->running = false;
    if (v->state == VARIANT_VERIFYING) {
        v->state = VARIANT_GOOD;
        v->verify_ratio = message_get_num(reply, "ratio", 0);
        v->verify_error = message_get_num(reply, "error", 0);
        return ST_OK;
    }
    Status st = store_times(t, trial, reply, "times", err);
    return st == ST_OK ? end_trial(t, trial, DB_OK, "", err) : st;
}

static Status on_runner_reply(Tune *t, Error *err) {
    const Message *reply = &t->runner.reply;
    Status st = (Status)message_get_int(reply, "status", ST_INTERNAL);
    const char *message = message_get(reply, "message");
    char text[1024];
    snprintf(text, sizeof text, "%s", message ? message : status_text(st));
    if (!t->runner_ready) {
        if (st != ST_OK) {
            return err_set(err, st, "the execution worker cannot open the GPU: %s", text);
        }
        t->runner_ready = true;
        return ST_OK;
    }
    TuneProblem *final = t->running_final;
    t->running_final = NULL;
    if (st == ST_OK && final) return on_final(t, final, reply, err);
    if (st == ST_OK) return on_trial_reply(t, t->running, reply, err);
    if (st == ST_DRIVER) {
        /* The context may be poisoned (sticky errors): only a new process is clean. */
        if (t->watch) t->watch(t->watch_context, TUNE_WORKER_ENDED, t, text);
        t->lost = !worker_kill(&t->runner);
        t->runner_ready = false;
    }
    return fail_running(t, outcome_of(st), text, err);
}

static Status poll_runner(Tune *t, Error *err) {
    WorkerEvent event = worker_event(&t->runner);
    if (event == WORKER_NOTHING) return ST_OK;
    if (event == WORKER_REPLY) return on_runner_reply(t, err);
    bool opening = !t->runner_ready;
    bool verifying = t->running && t->running->variant->state == VARIANT_VERIFYING;
    if (!opening) name_step(&t->runner, event, verifying ? "check" : "timing", "--run-limit");
    t->runner_ready = false;
    t->running_final = NULL;
    t->lost = event == WORKER_LOST;
    if (t->watch) t->watch(t->watch_context, TUNE_WORKER_ENDED, t, t->runner.why);
    if (opening) {
        return err_set(err, ST_DRIVER, "the execution worker cannot open the GPU: %s",
                       t->runner.why);
    }
    return fail_running(t, event == WORKER_DIED ? DB_CRASH : DB_TIMEOUT, t->runner.why, err);
}

/* ---- the loop ---- */

static bool idle(const Tune *t) {
    for (size_t i = 0; i < t->settings.jobs; i++) {
        if (t->compiling[i]) return false;
    }
    return !t->runner.busy;
}

static void wait_for_workers(Tune *t) {
    Worker *all[257];
    size_t n = 0;
    for (size_t i = 0; i < t->settings.jobs && n < 256; i++) all[n++] = &t->compilers[i];
    all[n++] = &t->runner;
    worker_wait(all, n, tick_s);
}

static Status poll_all(Tune *t, Error *err) {
    for (size_t i = 0; i < t->settings.jobs; i++) {
        Status st = poll_compiler(t, i, err);
        if (st != ST_OK) return st;
    }
    Status st = poll_runner(t, err);
    if (st == ST_OK && t->lost) {
        st = err_set(err, ST_DRIVER,
                     "the GPU is lost: a worker was killed and did not end; the machine may need "
                     "a reset of the GPU (results so far are recorded)");
    }
    return st;
}

static bool stopped(Tune *t) {
    t->interrupted = *t->settings.interrupted != 0;
    t->out_of_time = process_now() >= t->deadline;
    return t->interrupted || t->out_of_time;
}

/* Verdicts of problems that the budget or Ctrl-C cut short; what is in flight is given up. */
static Status finish_late(Tune *t, Error *err) {
    if (t->running) t->running->running = false;
    if (t->running || t->interrupted) {
        worker_kill(&t->runner);
        t->runner_ready = false;
        t->running_final = NULL;
    }
    t->running = NULL;
    Status st = finish_problems(t, true, err);
    while (st == ST_OK && t->counts.finished < t->counts.problems) {
        worker_wait(&(Worker *){&t->runner}, 1, tick_s);
        t->interrupted = *t->settings.interrupted != 0;
        if (t->interrupted) t->running_final = NULL;
        st = poll_runner(t, err);
        if (st == ST_OK) st = finish_problems(t, true, err);
    }
    return st;
}

Status tune_loop(Tune *t, Error *err) {
    Status st = ST_OK;
    bool more = true;
    while (more && st == ST_OK && !stopped(t)) {
        st = feed_compilers(t, err);
        if (st == ST_OK) st = feed_runner(t, err);
        if (st == ST_OK) st = finish_problems(t, false, err);
        more = t->counts.done < t->counts.trials || !idle(t) ||
               t->counts.finished < t->counts.problems;
        if (st == ST_OK && more) {
            wait_for_workers(t);
            st = poll_all(t, err);
        }
        if (t->watch) t->watch(t->watch_context, TUNE_TICK, t, NULL);
    }
    if (st != ST_OK) return st;
    if ((st = finish_late(t, err)) != ST_OK) return st;
    return t->interrupted ? err_set(err, ST_CANCELLED, "interrupted") : ST_OK;
}
