/* See profiled.h: what launches did, for people and for programs. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "tuner/profiled.h"
#include "tuner/progress.h"
#include "tuner/report.h"

static double value(const ProfiledLaunch *p, const char *name) {
    for (size_t i = 0; i < p->counter_count; i++)
        if (strcmp(p->counters[i].name, name) == 0) return p->counters[i].value;
    return 0;
}

/* ---- text ---- */

static void put_seconds(Str *out, const char *before, double seconds) {
    char text[32];
    format_seconds(seconds, text, sizeof text);
    str_printf(out, "%s%s", before, text);
}

void profiled_time_text(const Target *target, const DeviceLaunchStats *s, Str *out) {
    char evidence[64];
    report_evidence(target, evidence, sizeof evidence);
    put_seconds(out, "", s->mean);
    str_printf(out, " %s", evidence);
    put_seconds(out, "; ", s->low);
    put_seconds(out, " to ", s->high);
    put_seconds(out, " over the model's runs; by the busiest unit ", s->at_least);
    put_seconds(out, ", by all units ", s->estimate);
    str_printf(out, "; bound by %s", s->bound);
}

void profiled_units_text(const ProfiledLaunch *p, Str *out) {
    static const char *const units[] = {"tensor", "shared", "alu", "fp32", "sfu", "issue"};
    static const struct {
        const char *name, *counter;
    } parts[] = {{"issue", "cycles.issue_share"},          {"barrier", "stall.barrier_share"},
                 {"async", "stall.async_share"},           {"memory", "stall.memory_share"},
                 {"dependence", "stall.dependence_share"}, {"pipe", "stall.pipe_share"},
                 {"untold", "stall.untold_share"}};
    str_puts(out, "  units      ");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        char name[40];
        snprintf(name, sizeof name, "unit.%s", units[i]);
        str_printf(out, "%s%s %.0f %%", i ? ", " : "", units[i], value(p, name));
    }
    str_puts(out, " busy (modelled)\n  cycles     ");
    bool some = false;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const double share = value(p, parts[i].counter);
        if (share < 0.05) continue;
        str_printf(out, "%s%s %.1f %%", some ? ", " : "", parts[i].name, share);
        some = true;
    }
    str_puts(out, " (modelled)\n");
}

static bool is_time(const DeviceCounter *c) {
    return strncmp(c->name, "time.", 5) == 0;
}

static double total(const ProfiledLaunch *launches, size_t count, size_t counter) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += launches[i].counters[counter].value;
    return sum;
}

void profiled_counters_text(const Target *target, const ProfiledLaunch *launches, size_t count,
                            Str *out) {
    char evidence[64];
    report_evidence(target, evidence, sizeof evidence);
    str_puts(out, "\ncounter                         ");
    for (size_t i = 0; i < count && count > 1; i++) {
        char head[32];
        snprintf(head, sizeof head, "launch %zu", i + 1);
        str_printf(out, " %12s", head);
    }
    str_puts(out, count > 1 ? "        total\n" : "        value\n");
    for (size_t c = 0; count > 0 && c < launches[0].counter_count; c++) {
        const DeviceCounter *counter = &launches[0].counters[c];
        bool any = false;
        for (size_t i = 0; i < count; i++) any |= launches[i].counters[c].value != 0;
        if (!any) continue;
        str_printf(out, "%-32s", counter->name);
        for (size_t i = 0; i < count; i++)
            str_printf(out, " %12.6g", launches[i].counters[c].value);
        if (count > 1 && counter->adds)
            str_printf(out, " %12.6g", total(launches, count, c));
        else if (count > 1)
            str_printf(out, " %12s", "");
        str_printf(out, " %s", counter->unit);
        if (is_time(counter))
            str_printf(out, " %s", evidence);
        else if (counter->modelled)
            str_puts(out, " (modelled)");
        str_putc(out, '\n');
    }
}

void profiled_lines_text(const ProfiledLine *lines, size_t count, Str *out) {
    str_puts(out, "\nshare %   warps      lanes  wavefronts conflicts   sectors  line"
                  " (share: modelled)\n");
    for (size_t i = 0; i < count; i++) {
        const ProfiledLine *l = &lines[i];
        str_printf(out, "%7.2f %7.0f %10.0f %11.0f %9.0f %9.0f  %s%s%s  %s\n", 100 * l->share,
                   l->warps, l->lanes, l->wavefronts, l->conflicts, l->sectors,
                   l->place[0] ? l->place : "(no line)", l->caller[0] ? " in " : "", l->caller,
                   l->text);
    }
}

/* ---- JSON ---- */

void profiled_time_json(const DeviceLaunchStats *s, Json *j) {
    json_open(j, "time", '{');
    json_num(j, "mean", s->mean);
    json_num(j, "low", s->low);
    json_num(j, "high", s->high);
    json_num(j, "at_least", s->at_least);
    json_num(j, "estimate", s->estimate);
    json_text(j, "bound", s->bound);
    json_text(j, "evidence", "modelled");
    json_close(j);
}

static void put_counter(Json *j, const DeviceCounter *c, double its_value) {
    json_open(j, NULL, '{');
    json_text(j, "name", c->name);
    json_num(j, "value", its_value);
    json_text(j, "unit", c->unit);
    json_bool(j, "modelled", c->modelled != 0);
    json_close(j);
}

void profiled_counters_json(const ProfiledLaunch *p, const char *key, Json *j) {
    json_open(j, key, '[');
    for (size_t i = 0; i < p->counter_count; i++)
        put_counter(j, &p->counters[i], p->counters[i].value);
    json_close(j);
}

void profiled_total_json(const ProfiledLaunch *launches, size_t count, Json *j) {
    json_open(j, "total", '[');
    for (size_t c = 0; count > 0 && c < launches[0].counter_count; c++)
        if (launches[0].counters[c].adds)
            put_counter(j, &launches[0].counters[c], total(launches, count, c));
    json_close(j);
}

void profiled_lines_json(const ProfiledLine *lines, size_t count, Json *j) {
    json_open(j, "lines", '[');
    for (size_t i = 0; i < count; i++) {
        const ProfiledLine *l = &lines[i];
        json_open(j, NULL, '{');
        json_text(j, "line", l->place);
        if (l->caller[0]) json_text(j, "called_at", l->caller);
        json_text(j, "text", l->text);
        json_num(j, "warps", l->warps);
        json_num(j, "lanes", l->lanes);
        json_num(j, "wavefronts", l->wavefronts);
        json_num(j, "conflicts", l->conflicts);
        json_num(j, "sectors", l->sectors);
        json_num(j, "modelled_share", l->share);
        json_close(j);
    }
    json_close(j);
}
