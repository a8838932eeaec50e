/* Resolution of --gpu. See docs/design.md 4.2 for why the software GPU is the embedded default. */
#include "tuner/target.h"

#include <string.h>

#include "base/files.h"
#include "base/str.h"
#include "tuner/options.h"

/* The GPU that most published attention figures are for. */
static const char default_soft[] = "soft:a100";

static Status query(const Driver *driver, const char *name, int ordinal, Target *out, Error *err) {
    Device device = {0};
    Status st = device_query(driver, ordinal, &device, err);
    if (st != ST_OK) return st;
    *out = (Target){.gpu = device.gpu,
                    .traits = device.traits,
                    .driver = name,
                    .ordinal = ordinal,
                    .driver_version = driver->version};
    gpu_key(&out->gpu, out->key, sizeof out->key);
    return ST_OK;
}

/* Every device of an open driver; one that gpus.def does not know is left out and said. */
static Status query_all(const Driver *driver, const char *name, Arena *arena, Targets *out,
                        Error *err) {
    Status st = ST_OK;
    for (int i = 0; i < driver->device_count; i++) {
        Error why = {0};
        st = query(driver, name, i, &out->items[out->count], &why);
        if (st == ST_OK) {
            out->count++;
        } else if (st == ST_UNSUPPORTED) {
            out->notice = arena_printf(arena, "GPU %d is left out: %s", i, why.message);
        } else {
            return err_set(err, st, "GPU %d: %s", i, why.message);
        }
    }
    if (out->count > 0) return ST_OK;
    return err_set(err, ST_UNSUPPORTED, "no usable GPU: %s", out->notice ? out->notice : "none");
}

const char *targets_real_driver(void) {
    const char *named = files_env("SEQTUNE_DRIVER");
    return named ? named : "cuda";
}

Status targets_of_driver(const char *name, Arena *arena, Targets *out, Error *err) {
    *out = (Targets){0};
    Driver *driver = NULL;
    Status st = driver_open(name, &driver, err);
    if (st != ST_OK) return st;
    out->items = ARENA_ARRAY(arena, Target, (size_t)driver->device_count);
    const char *kept = arena_strdup(arena, name);
    if (!out->items || !kept) st = err_no_memory(err, sizeof(Target));
    if (st == ST_OK) st = query_all(driver, kept, arena, out, err);
    driver_close(driver);
    return st;
}

/* One job per distinct GPU key: equal GPUs have equal answers. */
static void drop_equal(Targets *t) {
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        bool seen = false;
        for (size_t k = 0; k < kept && !seen; k++) {
            seen = strcmp(t->items[k].key, t->items[i].key) == 0;
        }
        if (!seen) t->items[kept++] = t->items[i];
    }
    t->count = kept;
}

static Status unknown_model(const char *word, Error *err) {
    const char *names[256];
    size_t n = gpu_model_count();
    if (n > sizeof names / sizeof names[0]) n = sizeof names / sizeof names[0];
    for (size_t i = 0; i < n; i++) names[i] = gpu_model(i)->name;
    Str text = {0};
    suggest(&text, word, names, n);
    Status st = err_set(err, ST_INVALID, "unknown GPU model '%s'%s", word, str_text(&text));
    str_free(&text);
    return st;
}

/* The model of "soft" or "soft:NAME"; NULL in *out when `text` is neither. */
static Status soft_model(const char *text, const GpuModel **out, Error *err) {
    *out = NULL;
    if (strcmp(text, "soft") == 0) {
        *out = gpu_model_find(default_soft + 5);
    } else if (str_starts(text, "soft:")) {
        *out = gpu_model_find(text + 5);
        if (!*out) return unknown_model(text + 5, err);
    }
    return ST_OK;
}

static Status by_number(const char *text, Arena *arena, Targets *out, Error *err) {
    long long n;
    if (!str_to_i64(text, &n) || n < 0) {
        return err_set(err, ST_INVALID,
                       "unknown GPU '%s'; legal: auto, a device number (0, 1, ...), soft, "
                       "soft:MODEL (see seqtune gpus)",
                       text);
    }
    Status st = targets_of_driver(targets_real_driver(), arena, out, err);
    if (st != ST_OK) {
        return err_set(err, st, "--gpu %s: %s; the software GPU is --gpu soft", text, err->message);
    }
    for (size_t i = 0; i < out->count; i++) {
        if (out->items[i].ordinal != n) continue;
        out->items[0] = out->items[i];
        out->count = 1;
        return ST_OK;
    }
    return err_set(err, ST_INVALID, "no usable GPU %lld; seqtune gpus lists them%s%s", n,
                   out->notice ? "; " : "", out->notice ? out->notice : "");
}

static Status automatic(Arena *arena, Targets *out, Error *err) {
    Error why = {0};
    const char *named = files_env("SEQTUNE_DRIVER");
    if (named) return targets_of_driver(named, arena, out, err);
    Status st = targets_of_driver("cuda", arena, out, &why);
    if (st == ST_OK) return ST_OK;
    /* A machine whose driver is broken or too old has a GPU: emulating it would hide that. */
    if (st != ST_NOT_FOUND) {
        return err_set(err, st, "--gpu auto: %s; the software GPU instead: --gpu soft",
                       why.message);
    }
    st = targets_of_driver(default_soft, arena, out, err);
    if (st != ST_OK) return st;
    why.message[strcspn(why.message, "\n")] = '\0';
    out->notice = arena_printf(arena,
                               "no CUDA GPU is visible (%s): using the software GPU as an A100; "
                               "its times are modelled",
                               why.message);
    return ST_OK;
}

Status targets_resolve(const char *text, Arena *arena, Targets *out, Error *err) {
    const GpuModel *model;
    *out = (Targets){0};
    if (!text) text = "auto";
    Status st = soft_model(text, &model, err);
    if (st != ST_OK) return st;
    if (model) {
        const char *name = arena_printf(arena, "soft:%s", model->name);
        if (!name) return err_no_memory(err, 32);
        st = targets_of_driver(name, arena, out, err);
    } else if (strcmp(text, "auto") == 0) {
        st = automatic(arena, out, err);
    } else {
        st = by_number(text, arena, out, err);
    }
    drop_equal(out);
    return st;
}

Status target_info(const char *text, Arena *arena, GpuInfo *out, const char **notice, Error *err) {
    const GpuModel *model;
    Targets targets;
    *notice = NULL;
    Status st = soft_model(text ? text : "auto", &model, err);
    if (st != ST_OK) return st;
    if (model) {
        *out = gpu_info_of_model(model);
        return ST_OK;
    }
    if ((st = targets_resolve(text, arena, &targets, err)) != ST_OK) return st;
    *out = targets.items[0].gpu;
    *notice = targets.notice;
    return ST_OK;
}
