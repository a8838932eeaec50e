/* Commands over databases: show, why, and whole files (export, import, merge, check). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "runtime/context.h"
#include "runtime/dispatch.h"
#include "tuner/json.h"
#include "tuner/progress.h"
#include "tuner/report.h"
#include "tuner/subject.h"
#include "tuner/target.h"

enum { MAX_SPECS = 64 };

static ExitCode print_and_free(Str *text) {
    ExitCode code = print_text(text);
    str_free(text);
    return code;
}

/* ---- show ---- */

typedef struct Show {
    const GenSpec *specs[MAX_SPECS];
    size_t spec_count;
    const char *gpu_key; /* NULL: all */
    bool as_json;
    Json json;
    Str text;
    size_t rows;
} Show;

static const GenSpec *spec_of(const Show *s, const char *kernel) {
    for (size_t i = 0; i < s->spec_count; i++) {
        if (strcmp(gen_spec_name(s->specs[i]), kernel) == 0) return s->specs[i];
    }
    return NULL;
}

/* Recomputed from the recorded shape; empty when this version's spec does not know it. */
static void rate_of(const GenSpec *spec, const DbVerdict *v, char *out, size_t size) {
    GenProblem problem;
    double flops, bytes;
    out[0] = '\0';
    gen_problem_init(spec, &problem);
    if (gen_problem_parse(&problem, v->problem, NULL) != ST_OK ||
        gen_problem_check(&problem, NULL) != ST_OK ||
        gen_problem_flops(&problem, &flops, &bytes, NULL) != ST_OK) {
        return;
    }
    report_rate(flops, bytes, v->time_s, out, size);
}

static const char *evidence_of(const char *gpu_key) {
    return strstr(gpu_key, "evidence=modelled") ? "modelled" : "measured";
}

/* "1.08x default [1.05, 1.11]": how many times faster, with its interval. */
static void margin_of(const DbVerdict *v, char *out, size_t size) {
    if (v->default_time_s > 0) {
        snprintf(out, size, "%.2fx default [%.2f, %.2f]", 1 / v->ratio, 1 / v->ratio_high,
                 1 / v->ratio_low);
    } else {
        snprintf(out, size, "default failed");
    }
}

/* A key of an earlier kernel lacks dimensions that it has today: no problem finds its row. */
static bool outdated(const Show *s, const DbVerdict *v) {
    const GenSpec *spec = spec_of(s, v->key.kernel);
    return spec && gen_key_distance(spec, v->key.problem_key, v->key.problem_key) < 0;
}

static void winner_text(Show *s, const DbWinner *w, const char *rate) {
    const DbVerdict *v = &w->verdict;
    char time[32], margin[96], naive[32] = "-";
    format_seconds(v->time_s, time, sizeof time);
    margin_of(v, margin, sizeof margin);
    if (v->baseline_time_s > 0) {
        snprintf(naive, sizeof naive, "%.2fx", v->baseline_time_s / v->time_s);
    }
    bool standard = strcmp(v->config, v->default_config) == 0;
    str_printf(&s->text, "%s  %s\n    row %lld, %s, %s: %s\n", v->key.kernel, v->key.problem_key,
               (long long)w->row, v->gpu_name, evidence_of(v->key.gpu_key), v->key.gpu_key);
    str_printf(&s->text, "    %s  %s  %s  %s naive  error %.2f  %lld tried\n", time, rate, margin,
               naive, v->verify_error, (long long)v->effort);
    str_printf(&s->text, "    %s%s%s\n", v->config, standard ? " (default)" : "",
               report_portable(v->key.gpu_key) ? " (portable pipeline)" : "");
    if (outdated(s, v)) {
        str_puts(&s->text,
                 "    serves nothing: its key lacks dimensions that the kernel has today; "
                 "tune the problem again\n");
    }
}

static void winner_json(Show *s, const DbWinner *w, const char *rate) {
    const DbVerdict *v = &w->verdict;
    Json *j = &s->json;
    json_open(j, NULL, '{');
    json_int(j, "row", w->row);
    json_text(j, "kernel", v->key.kernel);
    json_text(j, "key", v->key.problem_key);
    json_text(j, "problem", v->problem);
    json_text(j, "gpu", v->gpu_name);
    json_text(j, "gpu_key", v->key.gpu_key);
    json_text(j, "evidence", evidence_of(v->key.gpu_key));
    json_text(j, "policy", v->key.policy);
    json_int(j, "generation", v->key.generation);
    json_text(j, "config", v->config);
    json_text(j, "default_config", v->default_config);
    json_num(j, "time_us", v->time_s * 1e6);
    json_num(j, "default_time_us", v->default_time_s * 1e6);
    json_num(j, "naive_time_us", v->baseline_time_s * 1e6);
    json_num(j, "ratio_to_default", v->ratio);
    json_num(j, "ratio_low", v->ratio_low);
    json_num(j, "ratio_high", v->ratio_high);
    json_num(j, "verify_error", v->verify_error);
    json_int(j, "effort", v->effort);
    json_text(j, "rate", rate);
    json_text(j, "session", v->session);
    json_bool(j, "outdated", outdated(s, v));
    json_close(j);
}

static Status show_winner(void *context, const DbWinner *winner, Error *err) {
    Show *s = context;
    char rate[64];
    const GenSpec *spec = spec_of(s, winner->verdict.key.kernel);
    (void)err;
    if (!spec) return ST_OK;
    s->rows++;
    rate_of(spec, &winner->verdict, rate, sizeof rate);
    if (s->as_json)
        winner_json(s, winner, rate);
    else
        winner_text(s, winner, rate);
    return ST_OK;
}

static ExitCode show_rows(Show *s, Db *db, const char *path) {
    Error err = {0};
    if (s->as_json) {
        json_open(&s->json, NULL, '{');
        json_text(&s->json, "database", path);
        json_open(&s->json, "winners", '[');
    }
    if (db_each_winner(db, NULL, s->gpu_key, show_winner, s, &err) != ST_OK) {
        return fail(EXIT_STORAGE, &err);
    }
    if (s->as_json) {
        json_close(&s->json);
        json_close(&s->json);
    }
    ExitCode code = print_text(s->as_json ? &s->json.text : &s->text);
    if (code == EXIT_OK && s->rows == 0) {
        err_set(&err, ST_NOT_FOUND, "%s holds no winner of what was asked for", path);
        code = fail(EXIT_UNSERVED, &err);
    }
    return code;
}

/* The key of --gpu, when given. */
static ExitCode gpu_filter(App *app, const char **key) {
    Error err = {0};
    Targets targets;
    *key = NULL;
    if (!app->options->gpu) return EXIT_OK;
    Status st = targets_resolve(app->options->gpu, app->arena, &targets, &err);
    if (st != ST_OK) return fail(st == ST_INVALID ? EXIT_USAGE : EXIT_NO_DEVICE, &err);
    *key = targets.items[0].key;
    return EXIT_OK;
}

ExitCode command_show(App *app) {
    Show s = {.as_json = app->options->json};
    GenLibrary *lib = NULL;
    Db *db = NULL;
    const char *path = NULL;
    ExitCode code = app_library(app, &lib);
    if (code == EXIT_OK) code = app_specs(app, lib, s.specs, MAX_SPECS, &s.spec_count);
    if (code == EXIT_OK) code = gpu_filter(app, &s.gpu_key);
    if (code == EXIT_OK && !(path = app_db_path(app, false))) code = EXIT_STORAGE;
    if (code == EXIT_OK) code = app_open_db(app, path, DB_READ, &db);
    if (code == EXIT_OK) code = show_rows(&s, db, path);
    str_free(&s.text);
    str_free(&s.json.text);
    db_close(db);
    gen_close(lib);
    return code;
}

/* ---- why ---- */

static void choice_text(const DispatchChoice *c, const char *key, const char *config, Str *out) {
    str_printf(out, "bucket   %s\nstep     %s\nconfig   %s\n", key, dispatch_rung_name(c->rung),
               config);
    if (c->row == 0) {
        str_puts(out,
                 "row      none: no database has a row that fits; this is the spec's default\n");
        return;
    }
    str_printf(out, "row      %lld of %s\n         bucket %s (distance %.2f)\n         GPU %s\n",
               (long long)c->row, c->database, c->row_key, c->distance, c->row_gpu);
    str_printf(out, "         %.2f us there, %s, policy %s\n", c->time_us,
               c->modelled ? "modelled" : "measured", c->policy);
}

static void choice_json(const DispatchChoice *c, const char *key, const char *config, Json *j) {
    json_open(j, NULL, '{');
    json_text(j, "key", key);
    json_text(j, "step", dispatch_rung_name(c->rung));
    json_text(j, "config", config);
    json_int(j, "row", c->row);
    json_text(j, "database", c->row ? c->database : NULL);
    json_text(j, "row_key", c->row ? c->row_key : NULL);
    json_text(j, "row_gpu", c->row ? c->row_gpu : NULL);
    json_bool(j, "modelled", c->modelled);
    json_num(j, "time_us", c->time_us);
    json_num(j, "distance", c->distance);
    json_text(j, "policy", c->row ? c->policy : NULL);
    json_close(j);
}

static ExitCode print_choice(App *app, const Subject *s, const DispatchChoice *c) {
    Str key = {0}, config = {0};
    Json j = {0};
    gen_problem_key(&s->problem, &key);
    gen_config_text(s->problem.spec, &c->config, &config);
    if (app->options->json)
        choice_json(c, str_text(&key), str_text(&config), &j);
    else
        choice_text(c, str_text(&key), str_text(&config), &j.text);
    ExitCode code = print_and_free(&j.text);
    str_free(&key);
    str_free(&config);
    return code;
}

static ExitCode why(App *app, const Subject *s, const Target *target, const char *path) {
    Error err = {0};
    seqtune_context *ctx = NULL;
    DispatchChoice choice;
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    options.driver = target->driver;
    options.device = target->ordinal;
    options.database = path;
    options.use_modelled = 0;
    seqtune_status rc = seqtune_open(&ctx, &options);
    if (rc != SEQTUNE_OK) {
        err_set(&err, (Status)rc, "%s", seqtune_open_error());
        return fail_status(&err);
    }
    /* The context has a library of its own: the problem is read again in it. */
    const GenSpec *spec = gen_spec_find(ctx->library, gen_spec_name(s->problem.spec));
    GenProblem problem = s->problem;
    Str text = {0};
    gen_problem_text(&s->problem, &text);
    gen_problem_init(spec, &problem);
    Status st = gen_problem_parse(&problem, str_text(&text), &err);
    if (st == ST_OK) st = gen_problem_check(&problem, &err);
    if (st == ST_OK) st = dispatch_choose(ctx, &problem, &choice, &err);
    ExitCode code = st == ST_OK ? print_choice(app, s, &choice) : fail_status(&err);
    if (code == EXIT_OK && choice.dropped[0]) {
        err_set(&err, ST_CORRUPT, "the answer is without a database that cannot be read: %s",
                choice.dropped);
        code = fail(EXIT_STORAGE, &err);
    }
    str_free(&text);
    seqtune_close(ctx);
    return code;
}

ExitCode command_why(App *app) {
    Subject s;
    Targets targets;
    Error err = {0};
    const char *path = NULL;
    ExitCode code = subject_open(app, &s);
    if (code == EXIT_OK) {
        Status st = targets_resolve(app->options->gpu, app->arena, &targets, &err);
        if (st != ST_OK) code = fail(st == ST_INVALID ? EXIT_USAGE : EXIT_NO_DEVICE, &err);
    }
    if (code == EXIT_OK && !(path = app_db_path(app, false))) code = EXIT_STORAGE;
    if (code == EXIT_OK && app->options->db && !files_exists(path)) {
        err_set(&err, ST_NOT_FOUND, "there is no database %s", path);
        code = fail(EXIT_STORAGE, &err);
    }
    /* Opened here first: what is wrong with the file is the file's error, whatever its kind. */
    Db *db = NULL;
    if (code == EXIT_OK && files_exists(path)) code = app_open_db(app, path, DB_READ, &db);
    db_close(db);
    if (code == EXIT_OK) code = why(app, &s, &targets.items[0], path);
    gen_close(s.library);
    return code;
}

/* ---- whole files ---- */

ExitCode command_db_export(App *app) {
    Error err = {0};
    Db *db = NULL;
    const char *path = app_db_path(app, false), *to = app->options->operands[0];
    if (!path) return EXIT_STORAGE;
    ExitCode code = app_open_db(app, path, DB_READ, &db);
    if (code == EXIT_OK && db_export(db, to, &err) != ST_OK) code = fail(EXIT_STORAGE, &err);
    if (code == EXIT_OK) printf("%s written from %s\n", to, path);
    db_close(db);
    return code;
}

static ExitCode print_counts(App *app, const char *what, const DbMergeCount *c) {
    Json j = {0};
    if (app->options->json) {
        json_open(&j, NULL, '{');
        json_text(&j, "database", what);
        json_int(&j, "trials_read", c->trials_read);
        json_int(&j, "trials_new", c->trials_new);
        json_int(&j, "verdicts_read", c->verdicts_read);
        json_int(&j, "verdicts_new", c->verdicts_new);
        json_close(&j);
    } else {
        str_printf(&j.text, "%s: %lld of %lld trials and %lld of %lld verdicts were new\n", what,
                   (long long)c->trials_new, (long long)c->trials_read, (long long)c->verdicts_new,
                   (long long)c->verdicts_read);
    }
    return print_and_free(&j.text);
}

/* Is every file there and ours? Asked before the target is made: a typing error leaves nothing. */
static ExitCode check_sources(const char *const *files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        Error err = {0};
        Db *db = NULL;
        Status st = db_open(files[i], DB_READ, &db, &err);
        db_close(db);
        if (st == ST_OK) continue;
        err_wrap(&err, "nothing imported");
        return fail(EXIT_STORAGE, &err);
    }
    return EXIT_OK;
}

/* One by one; what is in before a file that fails stays in, and *done says how many that are. */
static Status import_files(Db *db, const char *const *files, size_t count, DbMergeCount *total,
                           size_t *done, Error *err) {
    for (*done = 0; *done < count; ++*done) {
        DbMergeCount one = {0};
        Status st = db_import(db, files[*done], &one, err);
        if (st != ST_OK) return st;
        total->trials_read += one.trials_read;
        total->trials_new += one.trials_new;
        total->verdicts_read += one.verdicts_read;
        total->verdicts_new += one.verdicts_new;
    }
    return ST_OK;
}

/* Names what was imported, what was not, and which file stopped it. */
static void say_partial(const char *const *files, size_t count, size_t done, Error *err) {
    Str text = {0};
    str_puts(&text, done ? "imported:" : "imported: nothing");
    for (size_t i = 0; i < done; i++) str_printf(&text, "%s %s", i ? "," : "", files[i]);
    str_puts(&text, "; not imported:");
    for (size_t i = done; i < count; i++) str_printf(&text, "%s %s", i > done ? "," : "", files[i]);
    err_wrap(err, "%.900s", str_text(&text));
    str_free(&text);
}

ExitCode command_db_import(App *app) {
    const Options *o = app->options;
    Error err = {0};
    DbMergeCount total = {0};
    Db *db = NULL;
    size_t done = 0;
    ExitCode code = check_sources(o->operands, o->operand_count);
    if (code != EXIT_OK) return code;
    const char *path = app_db_path(app, true);
    if (!path) return EXIT_STORAGE;
    code = app_open_db(app, path, DB_WRITE, &db);
    if (code != EXIT_OK) return code;
    Status st = import_files(db, o->operands, o->operand_count, &total, &done, &err);
    db_close(db);
    if (st == ST_OK || done > 0) code = print_counts(app, path, &total);
    if (st == ST_OK) return code;
    if (o->operand_count > 1) say_partial(o->operands, o->operand_count, done, &err);
    return fail(EXIT_STORAGE, &err);
}

ExitCode command_db_merge(App *app) {
    const Options *o = app->options;
    Error err = {0};
    DbMergeCount total = {0};
    Db *db = NULL;
    size_t done = 0;
    const char *out = o->operands[0];
    if (files_exists(out)) {
        err_set(&err, ST_INVALID, "%s exists; merge makes a new file (to add to one: db import)",
                out);
        return fail(EXIT_USAGE, &err);
    }
    ExitCode code = check_sources(o->operands + 1, o->operand_count - 1);
    if (code == EXIT_OK) code = app_open_db(app, out, DB_WRITE, &db);
    if (code != EXIT_OK) return code;
    Status st = import_files(db, o->operands + 1, o->operand_count - 1, &total, &done, &err);
    db_close(db);
    if (st == ST_OK) return print_counts(app, out, &total);
    unlink(out); /* half a merge under the name asked for would be taken for the whole */
    err_wrap(&err, "%s is not made", out);
    return fail(EXIT_STORAGE, &err);
}

ExitCode command_db_check(App *app) {
    Error err = {0};
    Db *db = NULL;
    int64_t rows = 0;
    const char *path =
        app->options->operand_count ? app->options->operands[0] : app_db_path(app, false);
    if (!path) return EXIT_STORAGE;
    ExitCode code = app_open_db(app, path, DB_READ, &db);
    if (code == EXIT_OK && db_check(db, &rows, &err) != ST_OK) code = fail(EXIT_STORAGE, &err);
    db_close(db);
    if (code != EXIT_OK) return code;
    Json j = {0};
    if (app->options->json) {
        json_open(&j, NULL, '{');
        json_text(&j, "database", path);
        json_int(&j, "rows_checked", rows);
        json_bool(&j, "sound", true);
        json_close(&j);
    } else {
        str_printf(&j.text, "%s: %lld rows checked, sound\n", path, (long long)rows);
    }
    return print_and_free(&j.text);
}
