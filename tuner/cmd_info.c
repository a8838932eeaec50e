/* Commands that only tell: gpus, list, version, help. */
#include <stdio.h>
#include <string.h>

#include "runtime/nvrtc.h"
#include "tuner/command.h"
#include "tuner/json.h"
#include "tuner/target.h"

enum { MAX_SPECS = 64 };

static ExitCode print_json(Json *j) {
    ExitCode code = print_text(&j->text);
    str_free(&j->text);
    return code;
}

static ExitCode print_str(Str *s) {
    ExitCode code = print_text(s);
    str_free(s);
    return code;
}

/* ---- gpus ---- */

static void gpus_text(const Targets *real, const Error *why, Str *out) {
    const char *driver = targets_real_driver();
    if (strcmp(driver, "cuda") == 0)
        str_puts(out, "CUDA GPUs of this machine (--gpu N)\n");
    else
        str_printf(out, "GPUs of SEQTUNE_DRIVER=%s (--gpu N)\n", driver);
    for (size_t i = 0; i < real->count; i++) {
        str_printf(out, "  %d  %s\n     %s\n", real->items[i].ordinal, real->items[i].gpu.name,
                   real->items[i].key);
    }
    if (real->count == 0) {
        str_printf(out, "  none: %.*s\n", (int)strcspn(why->message, "\n"), why->message);
    }
    str_puts(out, "models of the software GPU (--gpu soft:MODEL; times are modelled)\n");
    for (size_t i = 0; i < gpu_model_count(); i++) {
        const GpuModel *m = gpu_model(i);
        str_printf(out, "  %-12s %-8s %s\n", m->name, m->arch->name, m->full_name);
    }
}

static void gpus_json(const Targets *real, const Error *why, Json *j) {
    json_open(j, NULL, '{');
    json_open(j, "gpus", '[');
    for (size_t i = 0; i < real->count; i++) {
        json_open(j, NULL, '{');
        json_int(j, "device", real->items[i].ordinal);
        json_text(j, "name", real->items[i].gpu.name);
        json_text(j, "arch", real->items[i].gpu.arch->name);
        json_text(j, "key", real->items[i].key);
        json_close(j);
    }
    json_close(j);
    json_text(j, "why_none", real->count > 0 ? NULL : why->message);
    json_open(j, "models", '[');
    for (size_t i = 0; i < gpu_model_count(); i++) {
        const GpuModel *m = gpu_model(i);
        json_open(j, NULL, '{');
        json_text(j, "name", m->name);
        json_text(j, "full_name", m->full_name);
        json_text(j, "arch", m->arch->name);
        json_close(j);
    }
    json_close(j);
    json_close(j);
}

ExitCode command_gpus(App *app) {
    Targets real = {0};
    Error why = {0};
    if (targets_of_driver(targets_real_driver(), app->arena, &real, &why) != ST_OK) real.count = 0;
    if (app->options->json) {
        Json j = {0};
        gpus_json(&real, &why, &j);
        return print_json(&j);
    }
    Str text = {0};
    gpus_text(&real, &why, &text);
    return print_str(&text);
}

/* ---- list ---- */

static const char *key_rule(GenKeyRule rule) {
    return rule == GEN_KEY_EXACT ? "exact" : rule == GEN_KEY_LOG2_4 ? "log2/4" : "ignore";
}

static void dim_values(const GenDim *d, Str *out) {
    if (d->kind == GEN_DIM_DERIVED) {
        str_printf(out, "= %s", expr_text(d->formula));
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        if (i > 0) str_putc(out, '|');
        if (d->kind == GEN_DIM_ENUM)
            str_puts(out, d->words[i]);
        else
            str_printf(out, "%lld", (long long)d->ints[i]);
    }
    if (d->count == 0) str_printf(out, "%lld..%lld", (long long)d->min, (long long)d->max);
}

static void axis_values(const GenAxis *a, Str *out) {
    for (size_t i = 0; i < a->count; i++) {
        str_printf(out, "%s%lld", i ? "|" : "", (long long)a->values[i]);
    }
}

static void spec_text(const GenSpec *spec, Str *out) {
    size_t dims, axes, rules;
    const GenDim *d = gen_dims(spec, &dims);
    const GenAxis *a = gen_axes(spec, &axes);
    gen_rules(spec, &rules);
    str_printf(out, "%s: %s\n  generation %d, %zu rules, %s\n", gen_spec_name(spec),
               gen_spec_title(spec), gen_spec_generation(spec), rules, gen_spec_file(spec));
    for (size_t i = 0; i < dims; i++) {
        str_printf(out, "  dim   %-14s %-7s %-7s ", d[i].name, key_rule(d[i].key),
                   d[i].is_static ? "static" : "");
        dim_values(&d[i], out);
        str_printf(out, "%s%s\n", d[i].doc ? "  " : "", d[i].doc ? d[i].doc : "");
    }
    for (size_t i = 0; i < axes; i++) {
        str_printf(out, "  axis  %-14s ", a[i].name);
        axis_values(&a[i], out);
        str_printf(out, "%s%s\n", a[i].doc ? "  " : "", a[i].doc ? a[i].doc : "");
    }
}

static void spec_json(const GenSpec *spec, Json *j) {
    size_t dims, axes;
    const GenDim *d = gen_dims(spec, &dims);
    const GenAxis *a = gen_axes(spec, &axes);
    char hex[HASH_HEX_SIZE];
    Hash hash = gen_spec_hash(spec);
    hash_hex(&hash, hex);
    json_open(j, NULL, '{');
    json_text(j, "name", gen_spec_name(spec));
    json_text(j, "title", gen_spec_title(spec));
    json_int(j, "generation", gen_spec_generation(spec));
    json_text(j, "hash", hex);
    json_open(j, "dims", '[');
    for (size_t i = 0; i < dims; i++) {
        Str values = {0};
        dim_values(&d[i], &values);
        json_open(j, NULL, '{');
        json_text(j, "name", d[i].name);
        json_text(j, "key", key_rule(d[i].key));
        json_bool(j, "static", d[i].is_static);
        json_text(j, "values", str_text(&values));
        json_close(j);
        str_free(&values);
    }
    json_close(j);
    json_open(j, "axes", '[');
    for (size_t i = 0; i < axes; i++) {
        json_open(j, NULL, '{');
        json_text(j, "name", a[i].name);
        json_open(j, "values", '[');
        for (size_t k = 0; k < a[i].count; k++) json_int(j, NULL, a[i].values[k]);
        json_close(j);
        json_close(j);
    }
    json_close(j);
    json_close(j);
}

static ExitCode list_text(const GenLibrary *lib, const GenSpec *const *specs, size_t count) {
    Str out = {0};
    for (size_t i = 0; i < count; i++) spec_text(specs[i], &out);
    str_puts(&out, "workloads (--workload NAME, or a file with a path)\n");
    for (size_t i = 0; i < gen_workload_count(lib); i++) {
        str_printf(&out, "  %s\n", gen_workload_name(lib, i));
    }
    return print_str(&out);
}

static ExitCode list_json(const GenLibrary *lib, const GenSpec *const *specs, size_t count) {
    Json j = {0};
    json_open(&j, NULL, '{');
    json_open(&j, "kernels", '[');
    for (size_t i = 0; i < count; i++) spec_json(specs[i], &j);
    json_close(&j);
    json_open(&j, "workloads", '[');
    for (size_t i = 0; i < gen_workload_count(lib); i++) {
        json_text(&j, NULL, gen_workload_name(lib, i));
    }
    json_close(&j);
    json_close(&j);
    return print_json(&j);
}

ExitCode command_list(App *app) {
    GenLibrary *lib = NULL;
    const GenSpec *specs[MAX_SPECS];
    size_t count = 0;
    ExitCode code = app_library(app, &lib);
    if (code == EXIT_OK) code = app_specs(app, lib, specs, MAX_SPECS, &count);
    if (code == EXIT_OK) {
        code = app->options->json ? list_json(lib, specs, count) : list_text(lib, specs, count);
    }
    gen_close(lib);
    return code;
}

/* ---- version, help ---- */

ExitCode command_version(App *app) {
    Error no_nvrtc = {0}, no_driver = {0};
    Nvrtc *nvrtc = NULL;
    Driver *driver = NULL;
    char nvrtc_text[600] = "none", driver_text[600] = "none";
    if (nvrtc_open(0, &nvrtc, &no_nvrtc) == ST_OK) {
        snprintf(nvrtc_text, sizeof nvrtc_text, "%s (%s)", nvrtc->toolchain, nvrtc->path);
    }
    if (driver_open(targets_real_driver(), &driver, &no_driver) == ST_OK) {
        snprintf(driver_text, sizeof driver_text, "%d.%d (%s)", driver->version / 1000,
                 driver->version % 1000 / 10, driver->path);
    }
    nvrtc_close(nvrtc);
    driver_close(driver);
    if (app->options->json) {
        Json j = {0};
        json_open(&j, NULL, '{');
        json_text(&j, "version", tool_name);
        json_text(&j, "nvrtc", no_nvrtc.status == ST_OK ? nvrtc_text : NULL);
        json_text(&j, "driver", no_driver.status == ST_OK ? driver_text : NULL);
        json_close(&j);
        return print_json(&j);
    }
    Str out = {0};
    str_printf(&out, "%s\nnvrtc   %s\ndriver  %s\n", tool_name, nvrtc_text, driver_text);
    return print_str(&out);
}

ExitCode command_help(App *app) {
    const Options *o = app->options;
    Options wanted;
    Error err = {0};
    Str out = {0};
    if (o->operand_count == 0) {
        options_help(CMD_COUNT, &out);
        return print_str(&out);
    }
    char name[] = "seqtune", help[] = "--help", first[64], second[64];
    snprintf(first, sizeof first, "%s", o->operands[0]);
    snprintf(second, sizeof second, "%s", o->operand_count > 1 ? o->operands[1] : help);
    char *const argv[] = {name, first, second, help};
    if (options_parse(4, argv, &wanted, &err) != ST_OK) return fail(EXIT_USAGE, &err);
    options_help(wanted.command, &out);
    return print_str(&out);
}
