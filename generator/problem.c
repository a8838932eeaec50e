/* Problems: what the caller asks for, as text, as a database key and as work.
 *
 * Invariant: value[] of a problem that passed gen_problem_check holds legal values only, derived
 * ones included. */
#include "generator/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void gen_problem_init(const GenSpec *spec, GenProblem *out) {
    memset(out, 0, sizeof *out);
    out->spec = spec;
    for (size_t i = 0; i < spec->dim_count; i++) out->value[i] = spec->dims[i].preset;
}

static const GenDim *find_dim(const GenSpec *spec, const char *name, size_t *index) {
    const GenName *known = gen_name_find(spec, name);
    if (!known || known->kind != GEN_NAME_DIM) return NULL;
    *index = (size_t)known->index;
    return &spec->dims[known->index];
}

bool gen_problem_get(const GenProblem *problem, const char *name, int64_t *out) {
    size_t i = 0;
    if (!find_dim(problem->spec, name, &i)) return false;
    *out = problem->value[i];
    return true;
}

const char *gen_problem_word(const GenProblem *problem, const char *name) {
    size_t i = 0;
    const GenDim *dim = find_dim(problem->spec, name, &i);
    if (!dim || dim->kind != GEN_DIM_ENUM) return NULL;
    int64_t v = problem->value[i];
    return v >= 0 && (size_t)v < dim->count ? dim->words[v] : NULL;
}

/* ---- setting ---- */

static Status no_dim(const GenSpec *spec, const char *name, Error *err) {
    const char *names[GEN_MAX_DIMS];
    Str all = {0};
    size_t n = 0;
    for (size_t i = 0; i < spec->dim_count; i++) {
        if (spec->dims[i].kind == GEN_DIM_DERIVED) continue;
        str_printf(&all, "%s%s", n ? ", " : "", spec->dims[i].name);
        names[n++] = spec->dims[i].name;
    }
    const char *best = str_nearest(name, names, n);
    Status status = best ? err_set(err, ST_INVALID,
                                   "%s has no dimension '%.60s'; did you mean '%s'? (it has: %s)",
                                   spec->name, name, best, str_text(&all))
                         : err_set(err, ST_INVALID, "%s has no dimension '%.60s' (it has: %s)",
                                   spec->name, name, str_text(&all));
    str_free(&all);
    return status;
}

static Status bad_value(const GenSpec *spec, const GenDim *dim, int64_t value, Error *err) {
    if (!dim->ints)
        return err_set(err, ST_INVALID, "%s: %s = %" PRId64 " is outside %" PRId64 "..%" PRId64,
                       spec->name, dim->name, value, dim->min, dim->max);
    Str all = {0};
    for (size_t i = 0; i < dim->count; i++)
        str_printf(&all, "%s%" PRId64, i ? ", " : "", dim->ints[i]);
    Status status =
        err_set(err, ST_UNSUPPORTED, "%s: %s = %" PRId64 " is not supported; it may be %s",
                spec->name, dim->name, value, str_text(&all));
    str_free(&all);
    return status;
}

static Status check_value(const GenSpec *spec, const GenDim *dim, int64_t value, Error *err) {
    bool legal = value >= dim->min && value <= dim->max;
    if (dim->ints) {
        legal = false;
        for (size_t i = 0; i < dim->count; i++) legal |= dim->ints[i] == value;
    }
    return legal ? ST_OK : bad_value(spec, dim, value, err);
}

Status gen_problem_set(GenProblem *problem, const char *name, int64_t value, Error *err) {
    size_t i = 0;
    const GenSpec *spec = problem->spec;
    const GenDim *dim = find_dim(spec, name, &i);
    if (!dim) return no_dim(spec, name, err);
    if (dim->kind == GEN_DIM_DERIVED)
        return err_set(err, ST_INVALID, "%s: %s is computed from other dimensions: %s", spec->name,
                       name, expr_text(dim->formula));
    Status status = check_value(spec, dim, value, err);
    if (status == ST_OK) problem->value[i] = value;
    return status;
}

Status gen_problem_set_word(GenProblem *problem, const char *name, const char *word, Error *err) {
    size_t i = 0;
    const GenSpec *spec = problem->spec;
    const GenDim *dim = find_dim(spec, name, &i);
    if (!dim) return no_dim(spec, name, err);
    if (dim->kind != GEN_DIM_ENUM)
        return err_set(err, ST_INVALID, "%s: %s is a number, not a word: '%.60s'", spec->name, name,
                       word);
    Str all = {0};
    for (size_t k = 0; k < dim->count; k++) {
        if (strcmp(dim->words[k], word) == 0) {
            problem->value[i] = (int64_t)k;
            str_free(&all);
            return ST_OK;
        }
        str_printf(&all, "%s%s", k ? ", " : "", dim->words[k]);
    }
    const char *best = str_nearest(word, dim->words, dim->count);
    Status status =
        best ? err_set(err, ST_INVALID, "%s: %s = '%.60s' is none of %s; did you mean '%s'?",
                       spec->name, name, word, str_text(&all), best)
             : err_set(err, ST_INVALID, "%s: %s = '%.60s' is none of %s", spec->name, name, word,
                       str_text(&all));
    str_free(&all);
    return status;
}

/* "a, b" or "min..max": what a number may be. */
static Status not_a_number(const GenProblem *problem, const GenDim *dim, const char *value,
                           Error *err) {
    Str legal = {0};
    for (size_t i = 0; dim->ints && i < dim->count; i++)
        str_printf(&legal, "%s%" PRId64, i ? ", " : "", dim->ints[i]);
    if (!dim->ints) str_printf(&legal, "an integer in %" PRId64 "..%" PRId64, dim->min, dim->max);
    Status status = err_set(err, ST_INVALID, "%s: %s = '%.60s' is not %s%s", problem->spec->name,
                            dim->name, value, dim->ints ? "one of " : "", str_text(&legal));
    str_free(&legal);
    return status;
}

static Status set_text(GenProblem *problem, const char *name, const char *value, Error *err) {
    size_t i = 0;
    long long number = 0;
    const GenDim *dim = find_dim(problem->spec, name, &i);
    if (dim && dim->kind == GEN_DIM_ENUM) return gen_problem_set_word(problem, name, value, err);
    if (dim && dim->kind != GEN_DIM_DERIVED && !str_to_i64(value, &number))
        return not_a_number(problem, dim, value, err);
    return gen_problem_set(problem, name, number, err);
}

/* Copies the next "name=value" of `text`; returns what follows, NULL at the end. */
static const char *next_pair(const char *text, char name[64], char value[64], bool *good) {
    text += strspn(text, " \t\n,");
    if (!*text) return NULL;
    size_t n = strcspn(text, " \t\n,"), k = strcspn(text, "= \t\n,");
    *good = k > 0 && k < n && k < 64 && n - k - 1 < 64 && n - k - 1 > 0;
    if (*good) {
        memcpy(name, text, k);
        name[k] = '\0';
        memcpy(value, text + k + 1, n - k - 1);
        value[n - k - 1] = '\0';
    }
    return text + n;
}

Status gen_problem_parse(GenProblem *problem, const char *text, Error *err) {
    char name[64], value[64];
    bool seen[GEN_MAX_DIMS] = {false}, good = true;
    for (const char *p = text, *at = text; (p = next_pair(p, name, value, &good)); at = p) {
        if (!good) {
            at += strspn(at, " \t\n,");
            return err_set(err, ST_SYNTAX, "problem \"%.200s\": '%.*s' is not name=value", text,
                           (int)(p - at), at);
        }
        size_t i = 0;
        if (find_dim(problem->spec, name, &i)) {
            if (seen[i])
                return err_set(err, ST_INVALID, "problem \"%.200s\": '%s' is there twice", text,
                               name);
            seen[i] = true;
        }
        Status status = set_text(problem, name, value, err);
        if (status != ST_OK) return status;
    }
    return ST_OK;
}

Status gen_problem_check(GenProblem *problem, Error *err) {
    const GenSpec *spec = problem->spec;
    GenEval eval;
    for (size_t i = 0; i < spec->dim_count; i++) {
        const GenDim *dim = &spec->dims[i];
        Status status;
        if (dim->kind == GEN_DIM_DERIVED) {
            GenFormula formula = {.expr = dim->formula, .pos = spec->dim_pos[i]};
            gen_eval_init(&eval, spec, problem, NULL, NULL);
            status = gen_eval_int(&eval, &formula, &problem->value[i], err);
            if (status != ST_OK) err_wrap(err, "%s: %s", spec->name, dim->name);
        } else {
            status = check_value(spec, dim, problem->value[i], err);
        }
        if (status != ST_OK) return status;
    }
    for (size_t i = 0; i < spec->need_count; i++) {
        bool holds = false;
        GenFormula formula = {.expr = spec->needs[i].when, .pos = spec->need_pos[i]};
        gen_eval_init(&eval, spec, problem, NULL, NULL);
        Status status = gen_eval_bool(&eval, &formula, &holds, err);
        if (status != ST_OK) return status;
        if (holds) continue;
        Str text = {0};
        gen_problem_text(problem, &text);
        status = err_set(err, ST_UNSUPPORTED, "%s: %s (%s, %s:%d); the problem is %s", spec->name,
                         spec->needs[i].reason, expr_text(spec->needs[i].when), spec->needs[i].file,
                         spec->needs[i].line, str_text(&text));
        str_free(&text);
        return status;
    }
    return ST_OK;
}

/* ---- text and key ---- */

static void put_dim(const GenDim *dim, int64_t value, Str *out) {
    char text[64];
    gen_value_text(gen_dim_value(dim, value), text, sizeof text);
    str_printf(out, "%s%s=%s", out->len ? " " : "", dim->name, text);
}

void gen_problem_text(const GenProblem *problem, Str *out) {
    Str text = {0};
    for (size_t i = 0; i < problem->spec->dim_count; i++)
        if (problem->spec->dims[i].kind != GEN_DIM_DERIVED)
            put_dim(&problem->spec->dims[i], problem->value[i], &text);
    if (text.failed) out->failed = true;
    str_puts(out, str_text(&text));
    str_free(&text);
}

/* ceil(2^62 * 2^(q/4)). The powers for q = 1..3 are irrational, so comparing a 62-bit fixed-point
 * number with the rounded-up constant decides exactly. */
static const uint64_t quarter[4] = {4611686018427387904u, 5484249825272419512u,
                                    6521908912666391107u, 7755900482342532475u};

/* The smallest integer v with the same floor(4*log2(v)). */
static int64_t bucket(int64_t value) {
    if (value <= 0) return value;
    int e = 63 - __builtin_clzll((unsigned long long)value);
    uint64_t fixed = (uint64_t)value << (62 - e);
    int q = 3;
    while (fixed < quarter[q]) q--;
    /* ceil(2^(e + q/4)): for q = 0 exact, else the constant is already rounded up at bit 62 - e */
    uint64_t unit = 1ull << (62 - e);
    return (int64_t)((quarter[q] + unit - 1) / unit);
}

void gen_problem_key(const GenProblem *problem, Str *out) {
    Str text = {0};
    for (size_t i = 0; i < problem->spec->dim_count; i++) {
        const GenDim *dim = &problem->spec->dims[i];
        int64_t value = problem->value[i];
        if (dim->key == GEN_KEY_IGNORE) continue;
        put_dim(dim, dim->key == GEN_KEY_LOG2_4 ? bucket(value) : value, &text);
    }
    if (text.failed) out->failed = true;
    str_puts(out, str_text(&text));
    str_free(&text);
}

static bool key_value(const char *key, const char *name, char value[64]) {
    char found[64];
    bool good = true;
    while ((key = next_pair(key, found, value, &good)))
        if (good && strcmp(found, name) == 0) return true;
    return false;
}

double gen_key_distance(const GenSpec *spec, const char *key_a, const char *key_b) {
    double sum = 0;
    for (size_t i = 0; i < spec->dim_count; i++) {
        const GenDim *dim = &spec->dims[i];
        char a[64], b[64];
        long long x = 0, y = 0;
        if (dim->key == GEN_KEY_IGNORE) continue;
        if (!key_value(key_a, dim->name, a) || !key_value(key_b, dim->name, b)) return -1;
        if (strcmp(a, b) == 0) continue;
        if (dim->key == GEN_KEY_EXACT || !str_to_i64(a, &x) || !str_to_i64(b, &y)) return -1;
        if (x < 0 || y < 0) return -1; /* a flag ("open"), not a length */
        /* 0 is an empty dimension: one octave below 1 */
        double low = x > 0 ? (double)x : 0.5, high = y > 0 ? (double)y : 0.5;
        sum += fabs(log2(low / high));
    }
    return sum;
}

Status gen_problem_flops(const GenProblem *problem, double *flops, double *bytes, Error *err) {
    GenEval eval;
    int64_t f = 0, b = 0;
    gen_eval_init(&eval, problem->spec, problem, NULL, NULL);
    Status status = gen_eval_int(&eval, &problem->spec->flops, &f, err);
    if (status == ST_OK) status = gen_eval_int(&eval, &problem->spec->bytes, &b, err);
    if (status != ST_OK) return status;
    *flops = (double)f;
    *bytes = (double)b;
    return ST_OK;
}
