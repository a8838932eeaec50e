/* Names and their values: what a formula of a spec may see, and what it sees.
 *
 * Invariant: a name checked at load is found at use, so an unknown name at use is our bug or a let
 * that failed; the let's own error is then what the caller gets. */
#include "generator/internal.h"

#include <stdio.h>
#include <string.h>

static size_t name_slot(const GenSpec *spec, const char *name) {
    size_t lo = 0, hi = spec->name_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(spec->names[mid].name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const GenName *gen_name_find(const GenSpec *spec, const char *name) {
    size_t i = name_slot(spec, name);
    if (i < spec->name_count && strcmp(spec->names[i].name, name) == 0) return &spec->names[i];
    return NULL;
}

bool gen_name_add(GenSpec *spec, GenName name) {
    size_t i = name_slot(spec, name.name);
    if (i < spec->name_count && strcmp(spec->names[i].name, name.name) == 0) return false;
    memmove(&spec->names[i + 1], &spec->names[i], (spec->name_count - i) * sizeof name);
    spec->names[i] = name;
    spec->name_count++;
    return true;
}

void gen_eval_init(GenEval *eval, const GenSpec *spec, const GenProblem *problem,
                   const GpuInfo *gpu, const GenConfig *config) {
    eval->spec = spec;
    eval->problem = problem;
    eval->gpu = gpu;
    eval->config = config;
    eval->resources_known = 0;
    eval->loops = 0;
    eval->axes_used = 0;
    eval->failed = false;
    memset(eval->let_state, 0, sizeof eval->let_state);
}

ExprValue gen_dim_value(const GenDim *dim, int64_t value) {
    if (dim->kind != GEN_DIM_ENUM) return expr_int(value);
    bool known = value >= 0 && (size_t)value < dim->count;
    return expr_str(known ? dim->words[value] : "?");
}

ExprValue gen_axis_value(const GenAxis *axis, int64_t value) {
    return axis->is_bool ? expr_bool(value != 0) : expr_int(value);
}

void gen_value_text(ExprValue value, char *out, size_t size) {
    if (value.kind == EXPR_STR)
        snprintf(out, size, "%s", value.s);
    else if (value.kind == EXPR_BOOL)
        snprintf(out, size, "%s", value.i ? "true" : "false");
    else
        snprintf(out, size, "%lld", (long long)value.i);
}

enum { LET_UNKNOWN, LET_DONE, LET_BUSY };

static bool let_value(GenEval *eval, int index, ExprValue *out) {
    if (eval->let_state[index] == LET_UNKNOWN) {
        const GenLet *let = &eval->spec->lets[index];
        eval->let_state[index] = LET_BUSY;
        Error local;
        Status status =
            gen_eval_value(eval, let->formula.expr, let->formula.pos, &eval->lets[index], &local);
        if (status != ST_OK) {
            eval->let_state[index] = LET_UNKNOWN;
            if (!eval->failed) {
                eval->failed = true;
                eval->fault = local;
                err_wrap(&eval->fault, "let '%s'", let->name);
            }
            return false;
        }
        eval->let_state[index] = LET_DONE;
    }
    if (eval->let_state[index] != LET_DONE) return false;
    *out = eval->lets[index];
    return true;
}

bool gen_eval_name(GenEval *eval, const char *name, ExprValue *out) {
    for (int i = 0; i < eval->loops; i++) {
        if (strcmp(eval->loop_names[i], name) != 0) continue;
        *out = expr_int(eval->loop_values[i]);
        return true;
    }
    if (str_starts(name, "gpu.")) return eval->gpu && gpu_lookup(eval->gpu, name + 4, out);
    const GenName *known = gen_name_find(eval->spec, name);
    if (!known) return false;
    switch (known->kind) {
    case GEN_NAME_DIM:
        if (!eval->problem) return false;
        *out = gen_dim_value(&eval->spec->dims[known->index], eval->problem->value[known->index]);
        return true;
    case GEN_NAME_AXIS:
        if (!eval->config) return false;
        if ((size_t)known->index >= eval->axes_used) eval->axes_used = (size_t)known->index + 1;
        *out = gen_axis_value(&eval->spec->axes[known->index], eval->config->value[known->index]);
        return true;
    case GEN_NAME_LET: return let_value(eval, known->index, out);
    case GEN_NAME_RESOURCE:
        if (!(eval->resources_known & 1u << known->index)) return false;
        *out = expr_int(eval->resources[known->index]);
        return true;
    }
    return false;
}

static bool lookup(const void *context, const char *name, ExprValue *out) {
    /* The evaluator's contract passes a const pointer; the memo of lets is ours to change. */
    union {
        const void *in;
        GenEval *out;
    } cast = {.in = context};
    return gen_eval_name(cast.out, name, out);
}

/* A formula that cannot be computed is a fault of the spec, not of who asked. */
static Status of_spec(const GenEval *eval, Status status, Error *err) {
    if (status != ST_OK && eval->failed) {
        if (err) *err = eval->fault;
        status = eval->fault.status;
    }
    if (status != ST_INVALID) return status;
    if (err) err->status = ST_SYNTAX;
    return ST_SYNTAX;
}

Status gen_eval_value(GenEval *eval, const Expr *expr, TextPos pos, ExprValue *out, Error *err) {
    ExprEnv env = {.lookup = lookup, .context = eval};
    (void)pos; /* expr_parse was given it */
    return of_spec(eval, expr_eval(expr, &env, out, err), err);
}

Status gen_eval_int(GenEval *eval, const GenFormula *formula, int64_t *out, Error *err) {
    ExprEnv env = {.lookup = lookup, .context = eval};
    return of_spec(eval, expr_eval_int(formula->expr, &env, out, err), err);
}

Status gen_eval_bool(GenEval *eval, const GenFormula *formula, bool *out, Error *err) {
    ExprEnv env = {.lookup = lookup, .context = eval};
    return of_spec(eval, expr_eval_bool(formula->expr, &env, out, err), err);
}

/* ---- checks at load ---- */

/* Is `name` (after "gpu.") known, and the same for every GPU of one architecture? */
static bool gpu_name(const char *name, bool *of_arch) {
    static const char *const limits[] = {"smem_block", "smem_sm",   "regs_sm",
                                         "warps_sm",   "blocks_sm", "cc"};
    GpuInfo any = gpu_info_of_arch(gpu_arch(0));
    ExprValue value;
    *of_arch = false;
    if (!gpu_lookup(&any, name, &value)) return false;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (strcmp(name, limits[i]) == 0) *of_arch = true;
    for (int i = 0; i < GPU_FEATURE_COUNT; i++)
        if (strcmp(name, gpu_feature_name((GpuFeature)i)) == 0) *of_arch = true;
    return true;
}

typedef struct Check {
    const GenScope *scope;
    const Expr *expr;
    TextPos pos;
    const char *what;
    bool is_static;
    Status status;
    Error *err;
} Check;

static bool in_scope(const GenScope *scope, const GenName *name) {
    if (!(scope->kinds & 1u << name->kind)) return false;
    if (name->kind == GEN_NAME_DIM) return name->index < scope->dim_limit;
    if (name->kind == GEN_NAME_LET) return name->index < scope->let_limit;
    if (name->kind == GEN_NAME_RESOURCE) return name->index < scope->resource_limit;
    return true;
}

static bool word_byte(char c) {
    return c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
}

/* The formula's place moved to the first use of `name` in it. */
static TextPos place_of(const Check *check, const char *name) {
    const char *text = expr_text(check->expr);
    size_t n = strlen(name);
    TextPos pos = check->pos;
    for (const char *p = strstr(text, name); p && pos.column; p = strstr(p + 1, name)) {
        if ((p > text && word_byte(p[-1])) || word_byte(p[n])) continue;
        pos.column += (int)(p - text);
        break;
    }
    return pos;
}

static const char *nearest(const GenScope *scope, const char *name, char *buffer, size_t size) {
    const char *list[GEN_MAX_VISIBLE + 64];
    char gpu_names[GPU_FEATURE_COUNT][32];
    size_t n = 0;
    for (size_t i = 0; i < scope->spec->name_count; i++)
        if (in_scope(scope, &scope->spec->names[i])) list[n++] = scope->spec->names[i].name;
    if (scope->kinds & GEN_SEE_GPU) {
        static const char *const limits[] = {"gpu.smem_block", "gpu.smem_sm", "gpu.regs_sm",
                                             "gpu.warps_sm",   "gpu.sms",     "gpu.blocks_sm",
                                             "gpu.cc"};
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) list[n++] = limits[i];
        for (int i = 0; i < GPU_FEATURE_COUNT; i++) {
            snprintf(gpu_names[i], sizeof gpu_names[i], "gpu.%s", gpu_feature_name((GpuFeature)i));
            list[n++] = gpu_names[i];
        }
    }
    const char *best = str_nearest(name, list, n);
    if (best)
        snprintf(buffer, size, "; did you mean '%s'?", best);
    else
        buffer[0] = '\0';
    return buffer;
}

static void fail_name(Check *check, const char *name, const char *problem) {
    char hint[96];
    nearest(check->scope, name, hint, sizeof hint);
    check->status = err_at(check->err, ST_SYNTAX, place_of(check, name), "%s \"%s\": %s '%s'%s",
                           check->what, expr_text(check->expr), problem, name, hint);
}

static void visit(void *context, const char *name) {
    Check *check = context;
    const GenScope *scope = check->scope;
    if (check->status != ST_OK) return;
    for (size_t i = 0; i < scope->extra_count; i++)
        if (strcmp(scope->extra[i], name) == 0) return;
    bool is_static = false;
    if (str_starts(name, "gpu.")) {
        if (!(scope->kinds & GEN_SEE_GPU)) return fail_name(check, name, "no GPU is known here:");
        if (!gpu_name(name + 4, &is_static)) return fail_name(check, name, "unknown name");
    } else {
        const GenName *known = gen_name_find(scope->spec, name);
        if (!known) return fail_name(check, name, "unknown name");
        if (!in_scope(scope, known)) return fail_name(check, name, "not known at this place:");
        is_static = known->is_static;
    }
    if (is_static) return;
    check->is_static = false;
    if (scope->kinds & GEN_SEE_STATIC_ONLY)
        fail_name(check, name, "the source may depend on static names only, not on");
}

Status gen_check_names(const GenScope *scope, const Expr *expr, TextPos pos, const char *what,
                       bool *is_static, Error *err) {
    Check check = {scope, expr, pos, what, true, ST_OK, err};
    expr_names(expr, visit, &check);
    if (is_static) *is_static = check.is_static;
    return check.status;
}
