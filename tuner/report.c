/* Tables and JSON. Every figure here comes from the session; nothing is computed twice. */
#include "tuner/report.h"

#include <stdio.h>
#include <string.h>

#include "tuner/progress.h"

/* FLOP per byte above which the tensor cores, not memory, are what a kernel is judged by: A100 has
 * 312 TFLOP/s over 2.0 TB/s = 156, but 19.5 TFLOP/s fp32 / 2.0 TB/s = 10 for code without them. */
static const double compute_intensity = 10;

enum { COLUMNS = 9, CELL = 400 };

void report_evidence(const Target *target, char *out, size_t size) {
    const DeviceTraits *traits = &target->traits;
    if (!traits->modelled)
        snprintf(out, size, "measured");
    else if (traits->factor != 1)
        snprintf(out, size, "modelled (%s, factor %.4g)", traits->model, traits->factor);
    else
        snprintf(out, size, "modelled (%s, uncalibrated)", traits->model);
}

bool report_portable(const char *gpu_key) {
    int cc;
    return sscanf(gpu_key, "cc=%d", &cc) == 1 && cc >= 90;
}

void report_rate(double flops, double bytes, double seconds, char *out, size_t size) {
    out[0] = '\0';
    if (seconds <= 0) return;
    if (bytes > 0 && flops / bytes < compute_intensity) {
        snprintf(out, size, "%.0f GB/s", bytes / seconds / 1e9);
    } else if (flops > 0) {
        snprintf(out, size, "%.1f TFLOP/s", flops / seconds / 1e12);
    }
}

void report_head(const GenWorkload *workload, size_t problems, const Targets *targets,
                 const TuneSettings *settings, const char *db_path, Str *out) {
    char budget[32];
    format_duration(settings->budget_s, budget, sizeof budget);
    str_printf(out, "workload  %s: %zu problem%s%s%s\n", workload->name, problems,
               problems == 1 ? "" : "s", workload->title ? ", " : "",
               workload->title ? workload->title : "");
    str_printf(out, "budget    %s per distinct GPU\n", budget);
    str_printf(out,
               "effort    per problem: all seeds and the %zu best by score of what the rules "
               "leave (--effort)\n",
               settings->effort);
    for (size_t i = 0; i < targets->count; i++) {
        char evidence[64];
        report_evidence(&targets->items[i], evidence, sizeof evidence);
        str_printf(out, "GPU       %s, %s: %s\n", targets->items[i].gpu.name, evidence,
                   targets->items[i].key);
    }
    str_printf(out, "database  %s\n", db_path);
    if (targets->notice) str_printf(out, "note      %s\n", targets->notice);
}

static double speedup(double time, double other) {
    return time > 0 && other > 0 ? other / time : 0;
}

static double baseline_time(const TuneProblem *p) {
    const TuneTrial *b = p->baseline;
    return b && b->done && b->outcome == DB_OK ? b->time.median : 0;
}

static void put_factor(char *cell, double factor) {
    if (factor > 0)
        snprintf(cell, CELL, "%.2fx", factor);
    else
        snprintf(cell, CELL, "-");
}

/* Why there is no winner; *config: of the trial that it is about, or NULL. */
static const char *why_none(const Tune *t, const TuneProblem *p, const char **config) {
    const char *detail = NULL;
    *config = NULL;
    bool untimed = false;
    if (p->unsupported) return p->unsupported;
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (x->owner != p || x->is_baseline) continue;
        if (!x->done) {
            *config = NULL;
            return t->stopped       ? t->stopped
                   : t->interrupted ? "interrupted"
                                    : "not reached within the budget";
        }
        if (x->outcome == DB_OK)
            untimed = true;
        else if (!detail && x->detail && x->detail[0]) {
            detail = x->detail;
            *config = x->config_text;
        }
    }
    if (detail) return detail;
    if (untimed) return "its kernels took no time: nothing to do at this size";
    return t->stopped ? t->stopped : "nothing was tried";
}

static void fill_row(const Tune *t, const TuneProblem *p, char cells[COLUMNS][CELL]) {
    const TuneTrial *w = p->winner;
    char why[CELL - 16];
    snprintf(cells[0], CELL, "%s", gen_spec_name(p->item->problem.spec));
    snprintf(cells[1], CELL, "%s", p->item->label);
    for (int i = 2; i < COLUMNS; i++) cells[i][0] = '\0';
    if (!w) {
        snprintf(cells[2], CELL, "-");
        const char *config;
        format_detail(why_none(t, p, &config), why, sizeof why);
        if (config)
            snprintf(cells[8], CELL, "none: %.80s: %.300s", config, why);
        else
            snprintf(cells[8], CELL, "none: %s", why);
        return;
    }
    format_seconds(w->time.median, cells[2], CELL);
    report_rate(p->flops, p->bytes, w->time.median, cells[3], CELL);
    put_factor(cells[4], p->standard ? 1 / p->ratio.median : 0);
    put_factor(cells[5], speedup(w->time.median, baseline_time(p)));
    snprintf(cells[6], CELL, "%.2f", w->verify_ratio);
    report_evidence(t->target, cells[7], CELL);
    snprintf(cells[8], CELL, "%s%s%s", w->config_text, w->is_default ? " (default)" : "",
             report_portable(t->target->key) ? " (portable pipeline)" : "");
}

static void put_row(Str *out, char cells[COLUMNS][CELL], const int *width) {
    for (int i = 0; i < COLUMNS; i++) {
        /* Text to the left, numbers (2..6) to the right, the last column as it is. */
        if (i == COLUMNS - 1)
            str_puts(out, cells[i]);
        else if (i >= 2 && i <= 6)
            str_printf(out, "%*s  ", width[i], cells[i]);
        else
            str_printf(out, "%-*s  ", width[i], cells[i]);
    }
    str_putc(out, '\n');
}

/* A default that has no time leaves a hole in the table: say why. */
static void put_defaults(const Tune *t, Str *out) {
    for (size_t i = 0; i < t->problem_count; i++) {
        const TuneTrial *d = t->problems[i].untimed_default;
        char why[CELL];
        if (!d) continue;
        format_detail(d->detail, why, sizeof why);
        str_printf(out, "%s: the default configuration failed (%s: %s)\n",
                   t->problems[i].item->label, db_outcome_name(d->outcome), why);
    }
}

static void put_counts(const Tune *t, Str *out) {
    const TuneCounts *c = &t->counts;
    str_printf(out,
               "\n%zu configurations in all spaces, %zu ruled out, %zu legal ones left untried "
               "(--effort %zu)\n",
               c->enumerated, c->ruled_out, c->untried, t->settings.effort);
    str_printf(
        out,
        "%zu trials: %zu done (%zu from the database, %zu with the time of an identical "
        "kernel); of those done now %zu failed, %zu lacked the resources; %zu compilations\n",
        c->trials, c->done, c->resumed, c->deduplicated, c->failed, c->spilled, c->compiled);
    if (c->done < c->trials) {
        str_printf(out, "%zu trials were not reached (%s)\n", c->trials - c->done,
                   t->interrupted   ? "interrupted"
                   : t->stopped     ? "stopped by an error"
                   : t->out_of_time ? "the budget ended"
                                    : "stopped");
    }
}

void report_table(const Tune *t, Str *out) {
    static const char *const names[COLUMNS] = {"kernel", "problem",    "time",
                                               "rate",   "vs default", "vs naive",
                                               "error",  "evidence",   "configuration"};
    char cells[COLUMNS][CELL];
    int width[COLUMNS];
    for (int c = 0; c < COLUMNS; c++) width[c] = (int)strlen(names[c]);
    for (size_t i = 0; i < t->problem_count; i++) {
        fill_row(t, &t->problems[i], cells);
        for (int c = 0; c < COLUMNS; c++) {
            if ((int)strlen(cells[c]) > width[c]) width[c] = (int)strlen(cells[c]);
        }
    }
    str_printf(out, "\n%s\n", t->target->gpu.name);
    for (int c = 0; c < COLUMNS; c++) snprintf(cells[c], CELL, "%s", names[c]);
    put_row(out, cells, width);
    for (size_t i = 0; i < t->problem_count; i++) {
        fill_row(t, &t->problems[i], cells);
        put_row(out, cells, width);
    }
    str_puts(out, "vs default, vs naive: how many times faster than the default configuration, "
                  "than " TUNE_BASELINE "; error: verification error, 1 = the limit\n");
    put_defaults(t, out);
    put_counts(t, out);
}

static void result_json(const Tune *t, const TuneProblem *p, Json *j) {
    const TuneTrial *w = p->winner;
    const char *failed = NULL, *why = w ? NULL : why_none(t, p, &failed);
    json_open(j, NULL, '{');
    json_text(j, "kernel", gen_spec_name(p->item->problem.spec));
    json_text(j, "label", p->item->label);
    json_text(j, "problem", p->text);
    json_text(j, "key", p->key);
    json_text(j, "config", w ? w->config_text : NULL);
    json_text(j, "why_none", why);
    json_text(j, "why_none_config", failed);
    json_text(j, "default_config", p->standard ? p->standard->config_text : NULL);
    json_text(j, "default_failed", p->untimed_default ? p->untimed_default->detail : NULL);
    json_num(j, "time_us", w ? w->time.median * 1e6 : 0);
    json_num(j, "default_time_us", p->standard ? p->standard->time.median * 1e6 : 0);
    json_num(j, "naive_time_us", baseline_time(p) * 1e6);
    json_num(j, "ratio_to_default", w && p->standard ? p->ratio.median : 0);
    json_num(j, "ratio_low", w && p->standard ? p->ratio.low : 0);
    json_num(j, "ratio_high", w && p->standard ? p->ratio.high : 0);
    json_num(j, "speedup_over_naive", w ? speedup(w->time.median, baseline_time(p)) : 0);
    json_num(j, "verify_error", w ? w->verify_ratio : 0);
    json_num(j, "flops", p->flops);
    json_num(j, "bytes", p->bytes);
    json_int(j, "effort", (int64_t)p->effort);
    json_int(j, "registers", w ? w->registers : 0);
    json_int(j, "spill_bytes", w ? w->spill_bytes : 0);
    json_close(j);
}

static void trials_json(const Tune *t, Json *j) {
    json_open(j, "trials", '[');
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (!x->done) continue;
        json_open(j, NULL, '{');
        json_text(j, "kernel", gen_spec_name(x->problem->spec));
        json_text(j, "problem", x->problem_text);
        json_text(j, "config", x->config_text);
        json_text(j, "outcome", db_outcome_name(x->outcome));
        json_text(j, "detail", x->detail);
        json_num(j, "time_us", x->time.median * 1e6);
        json_num(j, "score", x->resources.score);
        json_bool(j, "resumed", x->resumed);
        json_close(j);
    }
    json_close(j);
}

void report_json(const Tune *t, Json *j) {
    const TuneCounts *c = &t->counts;
    json_open(j, NULL, '{');
    json_text(j, "gpu", t->target->gpu.name);
    json_text(j, "gpu_key", t->target->key);
    json_text(j, "evidence", t->target->traits.modelled ? "modelled" : "measured");
    json_text(j, "model", t->target->traits.modelled ? t->target->traits.model : NULL);
    if (t->target->traits.modelled) json_num(j, "factor", t->target->traits.factor);
    json_text(j, "session", t->session);
    json_text(j, "policy", TUNE_POLICY);
    json_num(j, "seconds", process_now() - t->started);
    json_bool(j, "out_of_time", t->out_of_time);
    json_bool(j, "interrupted", t->interrupted);
    json_open(j, "counts", '{');
    const struct {
        const char *name;
        size_t value;
    } counts[] = {{"enumerated", c->enumerated},
                  {"ruled_out", c->ruled_out},
                  {"untried", c->untried},
                  {"trials", c->trials},
                  {"done", c->done},
                  {"resumed", c->resumed},
                  {"compiled", c->compiled},
                  {"failed", c->failed},
                  {"spilled", c->spilled},
                  {"timed", c->timed},
                  {"deduplicated", c->deduplicated}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        json_int(j, counts[i].name, (int64_t)counts[i].value);
    }
    json_close(j);
    json_open(j, "results", '[');
    for (size_t i = 0; i < t->problem_count; i++) result_json(t, &t->problems[i], j);
    json_close(j);
    trials_json(t, j);
    json_close(j);
}

size_t report_unserved(const Tune *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->problem_count; i++) n += t->problems[i].winner == NULL;
    return n;
}
