/* See ptx_requests.h. */
#include "tuner/ptx_requests.h"

#include <string.h>

#include "tuner/profiled.h"

/* The texts of RunOptions, once for both directions. */
static const struct {
    const char *key;
    size_t offset;
} texts[] = {
    {"file", offsetof(RunOptions, ptx)},    {"description", offsetof(RunOptions, desc)},
    {"files", offsetof(RunOptions, files)}, {"settings", offsetof(RunOptions, settings)},
    {"entry", offsetof(RunOptions, entry)}, {"ptxas_log", offsetof(RunOptions, ptxas_log)},
};

void ptx_put_options(const RunOptions *options, Message *request) {
    message_put(request, "request", "ptx");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text;
        memcpy(&text, (const char *)options + texts[i].offset, sizeof text);
        if (text) message_put(request, texts[i].key, text);
    }
    message_put_int(request, "timing", options->timing);
    message_put_int(request, "profile", options->profile);
    message_put_int(request, "registers", options->registers);
    message_put_int(request, "spill_stores", options->spill_stores);
    message_put_int(request, "spill_loads", options->spill_loads);
}

static void get_options(const Message *request, RunOptions *out) {
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = message_get(request, texts[i].key);
        memcpy((char *)out + texts[i].offset, &text, sizeof text);
    }
    out->timing = message_get_int(request, "timing", 0) != 0;
    out->profile = message_get_int(request, "profile", 0) != 0;
    out->registers = (int)message_get_int(request, "registers", 0);
    out->spill_stores = (int)message_get_int(request, "spill_stores", 0);
    out->spill_loads = (int)message_get_int(request, "spill_loads", 0);
}

Status ptx_serve_open(PtxRun **run, const char *driver, int device, const Message *request,
                      Message *reply, Error *err) {
    RunOptions options = {.driver = driver, .device = device};
    get_options(request, &options);
    if (*run || !options.ptx || !options.desc)
        return err_set(err, ST_CORRUPT, "a ptx request lacks a field or is the second one");
    Status st = run_open(&options, run, err);
    if (st != ST_OK) return st;
    const RunDesc *d = run_desc(*run);
    message_put_int(reply, "launches", (int64_t)d->launch_count);
    message_put_int(reply, "checks", (int64_t)run_check_count(*run));
    message_put_int(reply, "outputs", (int64_t)d->output_count);
    return ST_OK;
}

/* What the device counted of the launch, if it was asked to and can. */
static Status put_profile(const PtxRun *run, Message *reply, Error *err) {
    const Driver *d = run_driver(run);
    ProfiledLaunch *all;
    size_t count = 0;
    if (!profiled_can(d)) return ST_OK;
    Arena *arena = arena_new();
    if (!arena) return err_no_memory(err, sizeof *all);
    Status st = profiled_read(d, arena, &all, &count, err);
    if (st == ST_OK && count > 0) {
        const ProfiledLaunch *p = &all[count - 1];
        message_put_bytes(reply, "counters", p->counters, p->counter_count * sizeof *p->counters);
        message_put_bytes(reply, "rows", p->rows, p->row_count * sizeof *p->rows);
    }
    arena_free(arena);
    return st;
}

static Status serve_launch(PtxRun *run, size_t index, const Message *request, Message *reply,
                           Error *err) {
    (void)request;
    LaunchFigures figures;
    Str warnings = {0};
    Status st = run_launch(run, index, &figures, err);
    message_put_bytes(reply, "figures", &figures, sizeof figures);
    run_warnings(run, &warnings);
    message_put(reply, "warnings", str_text(&warnings));
    str_free(&warnings);
    return st == ST_OK ? put_profile(run, reply, err) : st;
}

static Status serve_check(PtxRun *run, size_t index, const Message *request, Message *reply,
                          Error *err) {
    (void)request;
    CheckFigures figures;
    if (!run_has_check(run, index)) return ST_OK;
    Status st = run_check(run, index, &figures, err);
    if (st == ST_OK) message_put_bytes(reply, "figures", &figures, sizeof figures);
    return st;
}

static Status serve_output(PtxRun *run, size_t index, const Message *request, Message *reply,
                           Error *err) {
    (void)request;
    OutputFigures figures;
    Str values = {0};
    Status st = run_output(run, index, &figures, &values, err);
    if (st == ST_OK) {
        message_put_bytes(reply, "figures", &figures, sizeof figures);
        message_put_bytes(reply, "values", str_text(&values), values.len);
    }
    str_free(&values);
    return st;
}

static Status serve_times(PtxRun *run, size_t index, const Message *request, Message *reply,
                          Error *err) {
    double seconds[PTX_TIMES_MAX];
    int64_t count = message_get_int(request, "count", 0);
    if (count < 1) return err_set(err, ST_CORRUPT, "a times request lacks its count");
    if (count > PTX_TIMES_MAX) count = PTX_TIMES_MAX;
    Status st = run_times(run, index, seconds, (size_t)count, err);
    if (st == ST_OK) message_put_nums(reply, "times", seconds, (size_t)count);
    return st;
}

static const struct {
    const char *what;
    Status (*serve)(PtxRun *run, size_t index, const Message *request, Message *reply, Error *err);
} steps[] = {
    {"launch", serve_launch},
    {"check", serve_check},
    {"output", serve_output},
    {"times", serve_times},
};

static size_t step_count(const PtxRun *run, const char *what) {
    if (strcmp(what, "check") == 0) return run_check_count(run);
    if (strcmp(what, "output") == 0) return run_desc(run)->output_count;
    return run_desc(run)->launch_count;
}

Status ptx_serve_step(PtxRun *run, const Message *request, Message *reply, Error *err) {
    const char *what = message_get(request, "what");
    const int64_t index = message_get_int(request, "index", -1);
    for (size_t i = 0; run && what && i < sizeof steps / sizeof steps[0]; i++) {
        if (strcmp(steps[i].what, what) != 0) continue;
        if (index < 0 || (size_t)index >= step_count(run, what)) break;
        return steps[i].serve(run, (size_t)index, request, reply, err);
    }
    return err_set(err, ST_CORRUPT, "unknown step '%s' %lld", what ? what : "", (long long)index);
}
