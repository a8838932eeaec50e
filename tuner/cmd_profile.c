/* profile: what one launch of one variant does and what bounds it, per launch and per line of the
 * templates. Counters come from the software GPU only; a real GPU gives its measured time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/context.h"
#include "tuner/bench.h"
#include "tuner/json.h"
#include "tuner/progress.h"
#include "tuner/stats.h"
#include "tuner/subject.h"
#include "tuner/target.h"

typedef struct Line { /* of a template: what its PTX instructions did together */
    const char *place, *text;
    double warps, lanes, wavefronts, conflicts, sectors, share;
} Line;

typedef struct Profile {
    const Subject *subject;
    const Target *target;
    const GenOutput *output;
    double seconds;
    bool counted;
    size_t launches;
    DeviceLaunchStats stats;
    DeviceCounter *counters;
    size_t counter_count;
    DeviceLine *rows;
    size_t row_count;
    Line *lines;
    size_t line_count;
} Profile;

/* The text at "FILE:LINE" in the generated source, whose #line directives name the templates. */
static const char *source_line(const GenOutput *output, const char *place, Arena *arena) {
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

static int by_place(const void *a, const void *b) {
    return strcmp(((const DeviceLine *)a)->place, ((const DeviceLine *)b)->place);
}

static int by_share(const void *a, const void *b) {
    const Line *x = a, *y = b;
    if (x->share < y->share || x->share > y->share) return x->share < y->share ? 1 : -1;
    return strcmp(x->place, y->place);
}

static Status make_lines(Profile *p, Arena *arena, Error *err) {
    p->lines = ARENA_ARRAY(arena, Line, p->row_count + 1);
    if (!p->lines) return err_no_memory(err, p->row_count * sizeof *p->lines);
    qsort(p->rows, p->row_count, sizeof *p->rows, by_place);
    for (size_t i = 0; i < p->row_count; i++) {
        const DeviceLine *row = &p->rows[i];
        if (i == 0 || strcmp(row->place, row[-1].place) != 0)
            p->lines[p->line_count++] =
                (Line){.place = row->place, .text = source_line(p->output, row->place, arena)};
        Line *line = &p->lines[p->line_count - 1];
        line->warps += (double)row->warps;
        line->lanes += (double)row->lanes;
        line->wavefronts += (double)row->wavefronts;
        line->conflicts += (double)row->conflicts;
        line->sectors += (double)row->sectors;
        line->share += row->share;
    }
    qsort(p->lines, p->line_count, sizeof *p->lines, by_share);
    return ST_OK;
}

static Status read_counters(const Driver *d, Profile *p, Arena *arena, Error *err) {
    Status st =
        driver_check(d, d->LastCounters(NULL, &p->counter_count), "softgpuLastCounters", err);
    if (st == ST_OK)
        st = driver_check(d, d->LastProfile(NULL, &p->row_count), "softgpuLastProfile", err);
    if (st != ST_OK) return st;
    p->counters = ARENA_ARRAY(arena, DeviceCounter, p->counter_count);
    p->rows = ARENA_ARRAY(arena, DeviceLine, p->row_count);
    if (!p->counters || !p->rows) return err_no_memory(err, p->row_count * sizeof *p->rows);
    p->stats.size = sizeof p->stats;
    st = driver_check(d, d->LastCounters(p->counters, &p->counter_count), "softgpuLastCounters",
                      err);
    if (st == ST_OK)
        st = driver_check(d, d->LastProfile(p->rows, &p->row_count), "softgpuLastProfile", err);
    if (st == ST_OK) st = driver_check(d, d->LastLaunch(&p->stats), "softgpuLastLaunch", err);
    p->counted = st == ST_OK;
    return st == ST_OK ? make_lines(p, arena, err) : st;
}

static Status run(Profile *p, seqtune_context *ctx, const GenConfig *config, Arena *arena,
                  Error *err) {
    const Driver *d = ctx->driver;
    Bench *bench = NULL;
    size_t index = 0, count = 0;
    double seconds[STATS_MAX];
    const bool can = d->SetProfile && d->LastCounters && d->LastProfile && d->LastLaunch;
    Status st = bench_open(ctx, &p->subject->problem, &bench, err);
    if (st == ST_OK) st = bench_add(bench, config, &index, err);
    if (st == ST_OK && can) st = driver_check(d, d->SetProfile(1), "softgpuSetProfile", err);
    if (st == ST_OK) st = bench_time(bench, index, 0, seconds, STATS_MAX, &count, err);
    if (st == ST_OK) p->seconds = stats_spread(seconds, count).median;
    if (st == ST_OK && can) st = read_counters(d, p, arena, err);
    if (can) (void)d->SetProfile(0);
    bench_close(bench);
    return st;
}

static double value(const Profile *p, const char *name) {
    for (size_t i = 0; i < p->counter_count; i++)
        if (strcmp(p->counters[i].name, name) == 0) return p->counters[i].value;
    return 0;
}

static void head_text(const Profile *p, Str *out) {
    char time[32];
    format_seconds(p->seconds, time, sizeof time);
    str_printf(out, "%s  ", gen_spec_name(p->subject->problem.spec));
    gen_problem_text(&p->subject->problem, out);
    str_printf(out, "\non %s (%s)\n", p->target->gpu.name, p->target->gpu.arch->name);
    if (p->target->traits.modelled)
        str_printf(out, "time       %s modelled (%s, factor %.4g)\n", time, p->target->traits.model,
                   p->target->traits.factor);
    else
        str_printf(out, "time       %s measured\n", time);
    if (!p->counted)
        str_puts(out, "counters come from the software GPU only: --gpu soft:MODEL\n");
    else if (p->launches > 1)
        str_printf(out, "the variant is %zu launches; what follows is of the last one\n",
                   p->launches);
}

static void summary_text(const Profile *p, Str *out) {
    static const char *const units[] = {"tensor", "shared", "alu", "fp32", "sfu", "issue"};
    const DeviceLaunchStats *s = &p->stats;
    str_printf(out, "bound      %s (modelled)\nunits      ", s->bound);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        char name[40];
        snprintf(name, sizeof name, "unit.%s", units[i]);
        str_printf(out, "%s%s %.0f %%", i ? ", " : "", units[i], value(p, name));
    }
    str_printf(out,
               " (modelled)\noccupancy  %d blocks per SM by %s, %.0f warps, %.0f %%; %.2f waves\n",
               s->blocks_per_sm, s->limiter, value(p, "occupancy.warps_per_sm"),
               value(p, "occupancy.percent"), s->waves);
    str_printf(out, "blocks     %llu of %llu ran: counts below are of these\n", s->blocks_run,
               s->blocks);
}

static void counters_text(const Profile *p, Str *out) {
    str_puts(out, "\ncounter                              value\n");
    for (size_t i = 0; i < p->counter_count; i++) {
        const DeviceCounter *c = &p->counters[i];
        if (c->value == 0) continue;
        const bool time = strncmp(c->name, "time.", 5) == 0;
        str_printf(out, "%-32s %12.6g %s%s", c->name, c->value, c->unit,
                   c->modelled ? " (modelled" : "");
        if (time)
            str_printf(out, ", %s, factor %.4g", p->target->traits.model, p->target->traits.factor);
        str_puts(out, c->modelled ? ")\n" : "\n");
    }
}

static void lines_text(const Profile *p, Str *out) {
    str_puts(out, "\nshare %   warps      lanes  wavefronts conflicts   sectors  line"
                  " (share: modelled)\n");
    for (size_t i = 0; i < p->line_count; i++) {
        const Line *l = &p->lines[i];
        str_printf(out, "%7.2f %7.0f %10.0f %11.0f %9.0f %9.0f  %s  %s\n", 100 * l->share, l->warps,
                   l->lanes, l->wavefronts, l->conflicts, l->sectors,
                   l->place[0] ? l->place : "(no line)", l->text);
    }
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
    json_int(j, "launches", (int64_t)p->launches);
    if (p->counted) {
        json_text(j, "bound", p->stats.bound);
        json_text(j, "occupancy_limiter", p->stats.limiter);
        json_open(j, "counters", '[');
        for (size_t i = 0; i < p->counter_count; i++) {
            json_open(j, NULL, '{');
            json_text(j, "name", p->counters[i].name);
            json_num(j, "value", p->counters[i].value);
            json_text(j, "unit", p->counters[i].unit);
            json_bool(j, "modelled", p->counters[i].modelled != 0);
            json_close(j);
        }
        json_close(j);
    }
    if (lines && p->counted) json_open(j, "lines", '[');
    for (size_t i = 0; lines && i < p->line_count; i++) {
        const Line *l = &p->lines[i];
        json_open(j, NULL, '{');
        json_text(j, "line", l->place);
        json_text(j, "text", l->text);
        json_num(j, "warps", l->warps);
        json_num(j, "lanes", l->lanes);
        json_num(j, "wavefronts", l->wavefronts);
        json_num(j, "conflicts", l->conflicts);
        json_num(j, "sectors", l->sectors);
        json_num(j, "modelled_share", l->share);
        json_close(j);
    }
    if (lines && p->counted) json_close(j);
    json_close(j);
}

static ExitCode print_profile(App *app, const Profile *p) {
    Json j = {0};
    if (app->options->json) {
        profile_json(p, app->options->lines, &j);
    } else {
        head_text(p, &j.text);
        if (p->counted) summary_text(p, &j.text);
        if (p->counted) counters_text(p, &j.text);
        if (p->counted && app->options->lines) lines_text(p, &j.text);
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
    Status st = run(p, ctx, config, app->arena, &err);
    ExitCode code = st == ST_OK ? print_profile(app, p) : fail_status(&err);
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
    if (code == EXIT_OK) {
        Status st = targets_resolve(app->options->gpu, app->arena, &targets, &err);
        if (st == ST_OK)
            st = gen_emit(&s.problem, &targets.items[0].gpu, &config, app->arena, &output, &err);
        if (st != ST_OK) code = fail_status(&err);
    }
    if (code == EXIT_OK) {
        Profile p = {.subject = &s, .target = &targets.items[0], .output = &output};
        while (output.entries[p.launches]) p.launches++;
        code = profile_on(app, &p, &config);
    }
    gen_close(s.library);
    return code;
}
