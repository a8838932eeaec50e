/* profile: what the launches of one variant do and what bounds them, per launch and per line of the
 * templates. Counters come from the software GPU only; a real GPU gives its measured time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/context.h"
#include "tuner/bench.h"
#include "tuner/layer_time.h"
#include "tuner/profiled.h"
#include "tuner/progress.h"
#include "tuner/report.h"
#include "tuner/stats.h"
#include "tuner/subject.h"
#include "tuner/target.h"

typedef struct Profile {
    const Subject *subject;
    const Target *target;
    const GenOutput *output;
    double seconds;
    bool counted;
    ProfiledLaunch *launches;
    size_t launch_count;
    ProfiledLine *lines;
    size_t line_count;
} Profile;

/* The text at "FILE:LINE" in the generated source, whose #line directives name the templates. */
static const char *source_line(LineSource *source, const char *place, Arena *arena) {
    const GenOutput *output = source->context;
    char file[256] = "";
    int line = 0;
    const char *colon = strrchr(place, ':');
    const char *end = output->source + output->source_size;
    for (const char *p = output->source; colon && p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const size_t n = (size_t)((eol ? eol : end) - p), name = (size_t)(colon - place);
        if (sscanf(p, "#line %d \"%255[^\"]\"", &line, file) != 2) {
            const size_t have = strlen(file);
            if (line == atoi(colon + 1) && have >= name &&
                memcmp(file + have - name, place, name) == 0) {
                const size_t skip = strspn(p, " \t");
                return arena_strndup(arena, p + (skip < n ? skip : n), skip < n ? n - skip : 0);
            }
            line++;
        }
        if (!eol) break;
        p = eol + 1;
    }
    return "";
}

static Status read_counters(const Driver *d, Profile *p, const App *app, Error *err) {
    Arena *arena = app->arena;
    LineSource source = {
        .inlined = app->options->inlined, .text = source_line, .context = p->output};
    Status st = profiled_read(d, arena, &p->launches, &p->launch_count, err);
    p->counted = st == ST_OK && p->launch_count > 0;
    if (!p->counted) return st;
    return profiled_lines(p->launches, p->launch_count, &source, arena, &p->lines, &p->line_count,
                          err);
}

static Status run(Profile *p, seqtune_context *ctx, const GenConfig *config, const App *app,
                  Error *err) {
    const Driver *d = ctx->driver;
    Bench *bench = NULL;
    size_t index = 0, count = 0;
    double seconds[STATS_MAX];
    const bool can = profiled_can(d);
    Status st = bench_open(ctx, &p->subject->problem, app->options->full, &bench, err);
    if (st == ST_OK) st = bench_add(bench, config, &index, err);
    if (st == ST_OK && can) st = driver_check(d, d->SetProfile(1), "softgpuSetProfile", err);
    if (st == ST_OK) st = bench_time(bench, index, 0, seconds, STATS_MAX, &count, err);
    if (st == ST_OK) p->seconds = stats_spread(seconds, count).median;
    if (st == ST_OK && can) st = read_counters(d, p, app, err);
    if (can) (void)d->SetProfile(0);
    bench_close(bench);
    return st;
}

/* The device keeps its newest launches only: a kernel that is launched per step has more. */
static bool has_more(const Profile *p) {
    double told = 0;
    for (size_t i = 0; i < p->launch_count; i++) told += p->launches[i].stats.seconds;
    return told < 0.9 * p->seconds;
}

static void head_text(const Profile *p, Str *out) {
    char time[32], evidence[64];
    format_seconds(p->seconds, time, sizeof time);
    report_evidence(p->target, evidence, sizeof evidence);
    str_printf(out, "%s  ", gen_spec_name(p->subject->problem.spec));
    gen_problem_text(&p->subject->problem, out);
    str_printf(out, "\non %s (%s)\ntime       %s %s", p->target->gpu.name,
               p->target->gpu.arch->name, time, evidence);
    if (p->launch_count > 1)
        str_printf(out, has_more(p) ? ", the newest %zu launches below" : ", %zu launches together",
                   p->launch_count);
    const int64_t steps = layer_steps(&p->subject->problem);
    if (steps > 0) str_printf(out, ", %.3f us a step", 1e6 * p->seconds / (double)steps);
    str_putc(out, '\n');
    if (!p->counted) str_puts(out, "counters come from the software GPU only: --gpu soft:MODEL\n");
}

static void launch_text(const Profile *p, size_t i, Str *out) {
    const ProfiledLaunch *l = &p->launches[i];
    const DeviceLaunchStats *s = &l->stats;
    str_printf(out, "launch %zu   %s\n  time       ", i + 1, l->entry);
    profiled_time_text(p->target, s, out);
    str_putc(out, '\n');
    profiled_units_text(l, out);
    str_printf(out, "  occupancy  %d blocks per SM by %s; %.2f waves (modelled)\n",
               s->blocks_per_sm, s->limiter, s->waves);
    if (s->blocks_run < s->blocks)
        str_printf(
            out,
            "  blocks     a sample of %llu of %llu ran: counts are of these, and what L2 and "
            "DRAM see is too little shared; --full runs all\n",
            s->blocks_run, s->blocks);
    else
        str_printf(out, "  blocks     all %llu ran\n", s->blocks);
}

static void launch_json(const ProfiledLaunch *l, Json *j) {
    json_open(j, NULL, '{');
    json_text(j, "entry", l->entry);
    profiled_time_json(&l->stats, j);
    json_text(j, "occupancy_limiter", l->stats.limiter);
    json_int(j, "blocks", (int64_t)l->stats.blocks);
    json_int(j, "blocks_run", (int64_t)l->stats.blocks_run);
    profiled_counters_json(l, "counters", j);
    json_close(j);
}

static void profile_json(const Profile *p, bool lines, Json *j) {
    Str problem = {0};
    gen_problem_text(&p->subject->problem, &problem);
    json_open(j, NULL, '{');
    json_text(j, "kernel", gen_spec_name(p->subject->problem.spec));
    json_text(j, "problem", str_text(&problem));
    str_free(&problem);
    json_text(j, "gpu", p->target->gpu.name);
    json_text(j, "evidence", p->target->traits.modelled ? "modelled" : "measured");
    if (p->target->traits.modelled) {
        json_text(j, "model", p->target->traits.model);
        json_num(j, "factor", p->target->traits.factor);
    }
    json_num(j, "seconds", p->seconds);
    if (layer_steps(&p->subject->problem) > 0)
        json_int(j, "steps", layer_steps(&p->subject->problem));
    json_bool(j, "counted", p->counted);
    if (p->counted) {
        json_open(j, "launches", '[');
        for (size_t i = 0; i < p->launch_count; i++) launch_json(&p->launches[i], j);
        json_close(j);
        profiled_total_json(p->launches, p->launch_count, j);
    }
    if (p->counted && lines) profiled_lines_json(p->lines, p->line_count, j);
    json_close(j);
}

static ExitCode print_profile(App *app, const Profile *p) {
    Json j = {0};
    if (app->options->json) {
        profile_json(p, app->options->lines, &j);
    } else {
        head_text(p, &j.text);
        for (size_t i = 0; i < p->launch_count; i++) launch_text(p, i, &j.text);
        if (p->counted) profiled_counters_text(p->target, p->launches, p->launch_count, &j.text);
        if (p->counted && app->options->lines)
            profiled_lines_text(p->lines, p->line_count, &j.text);
    }
    ExitCode code = print_text(&j.text);
    str_free(&j.text);
    return code;
}

static ExitCode profile_on(App *app, Profile *p, const GenConfig *config) {
    Error err = {0};
    seqtune_context *ctx = NULL;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = p->target->driver;
    options.device = p->target->ordinal;
    options.database = "";
    seqtune_status rc = seqtune_open(&ctx, &options);
    if (rc != SEQTUNE_OK) {
        err_set(&err, (Status)rc, "%s", seqtune_open_error());
        return fail(EXIT_NO_DEVICE, &err);
    }
    Status st = run(p, ctx, config, app, &err);
    /* Whatever is wrong with the compiler's library, the machine lacks it. */
    const bool no_nvrtc = !ctx->nvrtc && err.status == ctx->nvrtc_error.status;
    ExitCode code = st == ST_OK ? print_profile(app, p)
                    : no_nvrtc  ? fail(EXIT_NO_DEVICE, &err)
                                : fail_status(&err);
    seqtune_close(ctx);
    return code;
}

ExitCode command_profile(App *app) {
    Subject s;
    Error err = {0};
    GenConfig config;
    GenOutput output = {0};
    Targets targets = {0};
    ExitCode code = subject_open(app, &s);
    if (code == EXIT_OK) code = subject_config(app, &s, &config);
    if (code == EXIT_OK && app->options->inlined && !app->options->lines) {
        err_set(&err, ST_INVALID, "--inlined goes with --lines");
        code = fail(EXIT_USAGE, &err);
    }
    if (code == EXIT_OK) {
        Status st = targets_resolve(app->options->gpu, app->arena, &targets, &err);
        if (st == ST_OK)
            st = gen_emit(&s.problem, &targets.items[0].gpu, &config, app->arena, &output, &err);
        if (st != ST_OK) code = fail_status(&err);
    }
    if (code == EXIT_OK) {
        Profile p = {.subject = &s, .target = &targets.items[0], .output = &output};
        code = profile_on(app, &p, &config);
    }
    gen_close(s.library);
    return code;
}
