/* Commands about single variants: explain and emit. Neither needs a driver for a software GPU. */
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/mem.h"
#include "runtime/build.h"
#include "runtime/cache.h"
#include "tuner/json.h"
#include "tuner/subject.h"

/* ---- explain ---- */

enum { MAX_LIMITS = 64 };

typedef struct Tally {
    const GenRule *rules;
    size_t rule_count;
    size_t *by_rule; /* parallel to rules */
    struct {
        char text[256]; /* of the first configuration that met it */
        size_t count;
    } limit[MAX_LIMITS];
    size_t limit_count, limit_other;
    size_t total, legal;
} Tally;

/* Limits are texts with figures; the same resource is one row: cut at the first digit. */
static void count_limit(Tally *t, const GenReject *why) {
    const char *text = why->text;
    size_t stem = strcspn(text, "0123456789");
    for (size_t i = 0; i < t->limit_count; i++) {
        if (strncmp(t->limit[i].text, text, stem) == 0) {
            t->limit[i].count += why->count;
            return;
        }
    }
    if (t->limit_count == MAX_LIMITS) {
        t->limit_other += why->count;
        return;
    }
    snprintf(t->limit[t->limit_count].text, sizeof t->limit[0].text, "%s", text);
    t->limit[t->limit_count++].count = why->count;
}

static bool tally(void *context, const GenConfig *config, const GenResources *resources,
                  const GenReject *why) {
    Tally *t = context;
    (void)config;
    (void)resources;
    t->total += why->count;
    if (!why->rejected)
        t->legal++;
    else if (why->rule && why->rule >= t->rules && why->rule < t->rules + t->rule_count) {
        t->by_rule[why->rule - t->rules] += why->count;
    } else
        count_limit(t, why);
    return true;
}

static void limits_text(const Tally *t, Str *out) {
    for (size_t i = 0; i < t->limit_count; i++) {
        str_printf(out, "%8zu  limit of the GPU, e.g. %s\n", t->limit[i].count, t->limit[i].text);
    }
    if (t->limit_other) str_printf(out, "%8zu  other limits\n", t->limit_other);
}

/* Where nothing is legal, what dropped something comes first, and rules that did not not at all. */
static void tally_text(const Tally *t, Str *out) {
    const bool none = t->legal == 0;
    str_printf(out, "%zu configurations, %zu legal%s\n", t->total, t->legal,
               none ? ": no variant serves this problem on this GPU" : "");
    if (none) limits_text(t, out);
    for (size_t i = 0; i < t->rule_count; i++) {
        const GenRule *r = &t->rules[i];
        if (none && t->by_rule[i] == 0) continue;
        str_printf(out, "%8zu  %s (rule %s at %s:%d)\n", t->by_rule[i], r->reason,
                   expr_text(r->when), r->file, r->line);
    }
    if (!none) limits_text(t, out);
}

static void tally_json(const Tally *t, Json *j) {
    json_int(j, "configurations", (int64_t)t->total);
    json_int(j, "legal", (int64_t)t->legal);
    json_open(j, "rules", '[');
    for (size_t i = 0; i < t->rule_count; i++) {
        json_open(j, NULL, '{');
        json_text(j, "rule", expr_text(t->rules[i].when));
        json_text(j, "reason", t->rules[i].reason);
        json_text(j, "file", t->rules[i].file);
        json_int(j, "line", t->rules[i].line);
        json_int(j, "dropped", (int64_t)t->by_rule[i]);
        json_close(j);
    }
    json_close(j);
    json_open(j, "limits", '[');
    for (size_t i = 0; i < t->limit_count; i++) {
        json_open(j, NULL, '{');
        json_text(j, "example", t->limit[i].text);
        json_int(j, "dropped", (int64_t)t->limit[i].count);
        json_close(j);
    }
    json_close(j);
}

static void subject_text(const Subject *s, Str *out) {
    str_printf(out, "%s  ", gen_spec_name(s->problem.spec));
    gen_problem_text(&s->problem, out);
    str_printf(out, "\non %s (%s)\n", s->gpu.name, s->gpu.arch->name);
}

static void subject_json(const Subject *s, Json *j) {
    Str problem = {0};
    gen_problem_text(&s->problem, &problem);
    json_text(j, "kernel", gen_spec_name(s->problem.spec));
    json_text(j, "problem", str_text(&problem));
    json_text(j, "gpu", s->gpu.name);
    str_free(&problem);
}

static ExitCode explain_space(App *app, const Subject *s) {
    Error err = {0};
    Tally *t = ARENA_NEW(app->arena, Tally);
    if (!t) {
        err_no_memory(&err, sizeof *t);
        return fail_status(&err);
    }
    t->rules = gen_rules(s->problem.spec, &t->rule_count);
    t->by_rule = ARENA_ARRAY(app->arena, size_t, t->rule_count + 1);
    if (!t->by_rule) {
        err_no_memory(&err, t->rule_count * sizeof *t->by_rule);
        return fail_status(&err);
    }
    if (gen_enumerate(&s->problem, &s->gpu, tally, t, &err) != ST_OK) return fail_status(&err);
    Json j = {0};
    Str *out = &j.text;
    if (app->options->json) {
        json_open(&j, NULL, '{');
        subject_json(s, &j);
        tally_json(t, &j);
        json_close(&j);
    } else {
        subject_text(s, out);
        tally_text(t, out);
    }
    ExitCode code = print_text(out);
    str_free(out);
    return code;
}

static void verdict_text(const GenResources *r, const GenReject *why, Str *out) {
    if (why->rejected && why->rule) {
        str_printf(out, "out: %s\nrule %s at %s:%d\n", why->rule->reason,
                   expr_text(why->rule->when), why->rule->file, why->rule->line);
    } else if (why->rejected) {
        str_printf(out, "out: %s\n", why->text);
    } else {
        str_printf(out,
                   "legal: %lld threads, %lld B shared memory, about %lld registers, %lld B "
                   "workspace, %.0f blocks per SM, score %.4g\n",
                   (long long)r->threads, (long long)r->smem, (long long)r->regs,
                   (long long)r->workspace, r->occupancy_blocks, r->score);
    }
}

static void verdict_json(const GenResources *r, const GenReject *why, Json *j) {
    json_bool(j, "legal", !why->rejected);
    if (why->rejected) {
        json_text(j, "reason", why->rule ? why->rule->reason : why->text);
        json_text(j, "rule", why->rule ? expr_text(why->rule->when) : NULL);
        json_text(j, "file", why->rule ? why->rule->file : NULL);
        json_int(j, "line", why->rule ? why->rule->line : 0);
        return;
    }
    json_int(j, "threads", r->threads);
    json_int(j, "smem", r->smem);
    json_int(j, "registers", r->regs);
    json_int(j, "workspace", r->workspace);
    json_num(j, "blocks_per_sm", r->occupancy_blocks);
    json_num(j, "score", r->score);
}

static ExitCode explain_config(App *app, const Subject *s) {
    Error err = {0};
    GenConfig config;
    GenResources resources = {0};
    GenReject why = {0};
    if (gen_config_parse(s->problem.spec, app->options->config, &config, &err) != ST_OK) {
        return fail(EXIT_USAGE, &err);
    }
    if (gen_config_check(&s->problem, &s->gpu, &config, &resources, &why, &err) != ST_OK) {
        return fail_status(&err);
    }
    Json j = {0};
    if (app->options->json) {
        json_open(&j, NULL, '{');
        subject_json(s, &j);
        json_text(&j, "config", app->options->config);
        verdict_json(&resources, &why, &j);
        json_close(&j);
    } else {
        subject_text(s, &j.text);
        verdict_text(&resources, &why, &j.text);
    }
    ExitCode code = print_text(&j.text);
    str_free(&j.text);
    return code;
}

ExitCode command_explain(App *app) {
    Subject s;
    ExitCode code = subject_open(app, &s);
    if (code == EXIT_OK) {
        code = app->options->config ? explain_config(app, &s) : explain_space(app, &s);
    }
    gen_close(s.library);
    return code;
}

/* ---- emit ---- */

ExitCode subject_config(App *app, const Subject *s, GenConfig *config) {
    Error err = {0};
    GenReject why = {0};
    if (!app->options->config) {
        Status st = gen_default(&s->problem, &s->gpu, config, &err);
        return st == ST_OK ? EXIT_OK : fail_status(&err);
    }
    if (gen_config_parse(s->problem.spec, app->options->config, config, &err) != ST_OK) {
        return fail(EXIT_USAGE, &err);
    }
    if (gen_config_check(&s->problem, &s->gpu, config, NULL, &why, &err) != ST_OK) {
        return fail_status(&err);
    }
    if (!why.rejected) return EXIT_OK;
    Str text = {0};
    verdict_text(NULL, &why, &text);
    const char *all = str_text(&text); /* ends its last line */
    err_set(&err, ST_UNSUPPORTED, "the configuration is %.*s", (int)strlen(all) - 1, all);
    str_free(&text);
    return fail(EXIT_UNSERVED, &err);
}

/* From the artifact cache when it is there, so that it is the very text that was tuned. */
static Status compile(const GenOutput *output, Arena *arena, Artifact *out, Error *err) {
    Nvrtc *nvrtc = NULL;
    Cache *cache = NULL;
    Status st = nvrtc_open(0, &nvrtc, err);
    /* Whatever is wrong with the library, there is no compiler. */
    if (st != ST_OK) return st == ST_NO_MEMORY ? st : err_set(err, ST_DRIVER, "%s", err->message);
    st = cache_open(NULL, &cache, err);
    if (st == ST_OK) {
        Hash key = build_key(output, nvrtc->toolchain);
        if (!cache_get(cache, &key, arena, out)) st = build_compile(nvrtc, output, arena, out, err);
    }
    cache_close(cache);
    nvrtc_close(nvrtc);
    return st;
}

static ExitCode write_result(App *app, const char *data, size_t size) {
    Error err = {0};
    if (app->options->output) {
        Status st = files_publish(app->options->output, data, size, 0644, &err);
        return st == ST_OK ? EXIT_OK : fail(EXIT_STORAGE, &err);
    }
    Str text = {0};
    str_append(&text, data, size);
    ExitCode code = print_text(&text);
    str_free(&text);
    return code;
}

ExitCode command_emit(App *app) {
    Subject s;
    Error err = {0};
    GenConfig config;
    GenOutput output;
    Artifact artifact = {0};
    ExitCode code = subject_open(app, &s);
    if (code == EXIT_OK) code = subject_config(app, &s, &config);
    if (code == EXIT_OK &&
        gen_emit(&s.problem, &s.gpu, &config, app->arena, &output, &err) != ST_OK) {
        code = fail_status(&err);
    }
    if (code == EXIT_OK && !app->options->ptx) {
        code = write_result(app, output.source, output.source_size);
    } else if (code == EXIT_OK) {
        Status st = compile(&output, app->arena, &artifact, &err);
        code = st == ST_OK ? write_result(app, artifact.ptx, artifact.ptx_size) : fail_status(&err);
    }
    gen_close(s.library);
    return code;
}
