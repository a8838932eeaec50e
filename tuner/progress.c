/* Progress: at most ten redraws a second, at most one plain line per trial. */
#include "tuner/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double redraw_s = 0.1;

void format_seconds(double seconds, char *out, size_t size) {
    if (seconds < 1e-3)
        snprintf(out, size, "%.2f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(out, size, "%.3f ms", seconds * 1e3);
    else
        snprintf(out, size, "%.3f s", seconds);
}

void format_duration(double seconds, char *out, size_t size) {
    long s = seconds > 0 ? (long)(seconds + 0.5) : 0;
    if (s >= 3600)
        snprintf(out, size, "%ldh %02ldm", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(out, size, "%ldm %02lds", s / 60, s % 60);
    else
        snprintf(out, size, "%lds", s);
}

void progress_init(Progress *p, FILE *out, bool quiet) {
    *p = (Progress){.out = out, .quiet = quiet, .live = isatty(fileno(out)) != 0, .width = 100};
    struct winsize w;
    if (p->live && ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col > 20) p->width = w.ws_col;
}

void progress_clear(Progress *p) {
    if (p->live && !p->quiet) fputs("\r\033[K", p->out);
}

void format_detail(const char *detail, char *out, size_t size) {
    int first = (int)strcspn(detail, "\n");
    const char *error = strstr(detail + first, "error:");
    while (error && error > detail && error[-1] != '\n') error--;
    if (!error) {
        snprintf(out, size, "%.*s", first, detail);
        return;
    }
    snprintf(out, size, "%.*s (%.*s; all of it: seqtune emit --ptx)", (int)strcspn(error, "\n"),
             error, first, detail);
}

/* The best factor over its default that any finished problem has. */
static double best_ratio(const Tune *t) {
    double best = 0;
    for (size_t i = 0; i < t->problem_count; i++) {
        const TuneProblem *p = &t->problems[i];
        if (p->winner && p->ratio.median > 0 && 1 / p->ratio.median > best) {
            best = 1 / p->ratio.median;
        }
    }
    return best;
}

static size_t kernels(const Tune *t) {
    size_t n = 0;
    for (size_t i = 0; i < t->problem_count; i++) {
        size_t k = 0;
        while (k < i && t->problems[k].item->problem.spec != t->problems[i].item->problem.spec) k++;
        n += k == i;
    }
    return n;
}

static void status_line(const Tune *t, char *out, size_t size) {
    const TuneCounts *c = &t->counts;
    char left[32], best[32] = "";
    double ratio = best_ratio(t);
    format_duration(t->deadline - process_now(), left, sizeof left);
    if (ratio > 0) snprintf(best, sizeof best, "  best %.2fx default", ratio);
    snprintf(out, size,
             "kernels %zu  problems %zu/%zu  variants %zu/%zu tried, %zu pruned, %zu failed%s  "
             "left %s",
             kernels(t), c->finished, c->problems, c->done, c->trials, c->ruled_out + c->spilled,
             c->failed, best, left);
}

static void draw(Progress *p, const Tune *t) {
    char line[256];
    double now = process_now();
    if (!p->live || p->quiet || now - p->drawn < redraw_s) return;
    status_line(t, line, sizeof line);
    p->drawn = now;
    fprintf(p->out, "\r\033[K%.*s", p->width - 1, line);
    fflush(p->out);
}

static void trial_line(Progress *p, const Tune *t, const TuneTrial *trial) {
    char time[32] = "", why[400] = "";
    bool ok = trial->outcome == DB_OK;
    if (p->quiet || (p->live && ok)) return;
    if (ok) format_seconds(trial->time.median, time, sizeof time);
    if (!ok && trial->detail) format_detail(trial->detail, why, sizeof why);
    progress_clear(p);
    fprintf(p->out, "[%zu/%zu] %s, %s: %s  %s%s%s\n", t->counts.done, t->counts.trials,
            gen_spec_name(trial->problem->spec), trial->owner->item->label, trial->config_text,
            ok ? time : db_outcome_name(trial->outcome), ok ? "" : ": ", why);
}

void progress_watch(void *context, TuneEvent event, const Tune *tune, const void *subject) {
    Progress *p = context;
    if (event == TUNE_TRIAL_DONE) trial_line(p, tune, subject);
    if (event == TUNE_WORKER_ENDED && !p->quiet) {
        progress_clear(p);
        fprintf(p->out, "worker: %.*s; going on with a new one\n",
                (int)strcspn((const char *)subject, "\n"), (const char *)subject);
    }
    draw(p, tune);
}
