/* Configurations: which are legal for a problem on a GPU, what they cost, which comes first.
 *
 * Invariant: nothing here depends on templates or Lua, and the order of everything is the spec's.
 */
#include "generator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- text ---- */

void gen_config_text(const GenSpec *spec, const GenConfig *config, Str *out) {
    for (size_t i = 0; i < spec->axis_count; i++)
        str_printf(out, "%s%s=%" PRId64, i ? " " : "", spec->axes[i].name, config->value[i]);
}

bool gen_config_equal(const GenSpec *spec, const GenConfig *a, const GenConfig *b) {
    for (size_t i = 0; i < spec->axis_count; i++)
        if (a->value[i] != b->value[i]) return false;
    return true;
}

bool gen_config_get(const GenSpec *spec, const GenConfig *config, const char *axis, int64_t *out) {
    const GenName *known = gen_name_find(spec, axis);
    if (!known || known->kind != GEN_NAME_AXIS) return false;
    *out = config->value[known->index];
    return true;
}

static Status no_axis(const GenSpec *spec, const char *name, Error *err) {
    const char *names[GEN_MAX_AXES];
    for (size_t i = 0; i < spec->axis_count; i++) names[i] = spec->axes[i].name;
    Str all = {0};
    for (size_t i = 0; i < spec->axis_count; i++) str_printf(&all, "%s%s", i ? ", " : "", names[i]);
    const char *best = str_nearest(name, names, spec->axis_count);
    Status status =
        err_set(err, ST_INVALID, "%s has no axis '%.60s'%s%s%s (it has: %s)", spec->name, name,
                best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "", str_text(&all));
    str_free(&all);
    return status;
}

static Status axis_value(const GenSpec *spec, const GenAxis *axis, const char *text, int64_t *out,
                         Error *err) {
    long long value = 0;
    bool number = str_to_i64(text, &value);
    if (axis->is_bool && (!strcmp(text, "true") || !strcmp(text, "false"))) {
        number = true;
        value = !strcmp(text, "true");
    }
    for (size_t i = 0; number && i < axis->count; i++) {
        if (axis->values[i] != value) continue;
        *out = value;
        return ST_OK;
    }
    Str all = {0};
    for (size_t i = 0; i < axis->count; i++)
        str_printf(&all, "%s%" PRId64, i ? ", " : "", axis->values[i]);
    Status status = err_set(err, ST_INVALID, "%s: %s = '%.60s' is not in the space; it may be %s",
                            spec->name, axis->name, text, str_text(&all));
    str_free(&all);
    return status;
}

static Status parse_axis(const GenSpec *spec, const char *name, const char *value, bool *seen,
                         GenConfig *out, Error *err) {
    const GenName *known = gen_name_find(spec, name);
    if (!known || known->kind != GEN_NAME_AXIS) return no_axis(spec, name, err);
    if (seen[known->index])
        return err_set(err, ST_INVALID, "%s: configuration names '%s' twice", spec->name, name);
    seen[known->index] = true;
    return axis_value(spec, &spec->axes[known->index], value, &out->value[known->index], err);
}

Status gen_config_parse(const GenSpec *spec, const char *text, GenConfig *out, Error *err) {
    bool seen[GEN_MAX_AXES] = {false};
    memset(out, 0, sizeof *out);
    for (const char *p = text + strspn(text, " \t\n,"); *p; p += strspn(p, " \t\n,")) {
        char name[64], value[64];
        size_t n = strcspn(p, " \t\n,"), k = strcspn(p, "= \t\n,");
        if (k == 0 || k >= n || k >= sizeof name || n - k > sizeof value)
            return err_set(err, ST_SYNTAX, "configuration \"%.200s\": '%.*s' is not name=value",
                           text, (int)(n < 60 ? n : 60), p);
        snprintf(name, sizeof name, "%.*s", (int)k, p);
        snprintf(value, sizeof value, "%.*s", (int)(n - k - 1), p + k + 1);
        Status status = parse_axis(spec, name, value, seen, out, err);
        if (status != ST_OK) return status;
        p += n;
    }
    for (size_t i = 0; i < spec->axis_count; i++)
        if (!seen[i])
            return err_set(err, ST_INVALID, "%s: configuration \"%.200s\" does not name '%s'",
                           spec->name, text, spec->axes[i].name);
    return ST_OK;
}

/* ---- legality ---- */

static void reject(GenReject *why, const GenRule *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void reject(GenReject *why, const GenRule *rule, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    why->rejected = true;
    why->rule = rule;
    vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
}

Status gen_pick_pipe(GenEval *eval, const GenPipe **out, char *why, size_t size, Error *err) {
    const GenSpec *spec = eval->spec;
    *out = NULL;
    if (size) why[0] = '\0';
    for (size_t i = 0; i < spec->pipe_count; i++) {
        const GenPipe *pipe = &spec->pipes[i];
        uint64_t missing = pipe->needs & ~eval->gpu->arch->features;
        bool holds = true;
        if (!missing && pipe->when.expr) {
            Status status = gen_eval_bool(eval, &pipe->when, &holds, err);
            if (status != ST_OK) return status;
        }
        if (!missing && holds) {
            *out = pipe;
            return ST_OK;
        }
        size_t used = size ? strlen(why) : 0;
        if (used + 1 >= size) continue;
        if (missing)
            snprintf(why + used, size - used, "%s%s needs %s, which %s lacks", i ? "; " : "",
                     pipe->path, gpu_feature_name((GpuFeature)__builtin_ctzll(missing)),
                     eval->gpu->arch->name);
        else
            snprintf(why + used, size - used, "%s%s is only for %s", i ? "; " : "", pipe->path,
                     expr_text(pipe->when.expr));
    }
    return ST_OK;
}

/* Blocks per SM. Registers are given out per warp in units of 256 (CUDA occupancy calculator, all
 * architectures from sm_75 on). */
static int64_t occupancy(const GpuInfo *gpu, int64_t threads, int64_t smem, int64_t regs) {
    int64_t warps = (threads + 31) / 32, blocks = gpu->blocks_sm;
    int64_t per_warp = (regs * 32 + 255) / 256 * 256, per_block = smem + gpu->arch->smem_reserved;
    if (warps > 0 && gpu->warps_sm / warps < blocks) blocks = gpu->warps_sm / warps;
    if (per_warp > 0 && warps > 0 && gpu->regs_sm / per_warp / warps < blocks)
        blocks = gpu->regs_sm / per_warp / warps;
    if (per_block > 0 && gpu->smem_sm / per_block < blocks) blocks = gpu->smem_sm / per_block;
    return blocks;
}

static Status eval_resources(GenEval *eval, GenResources *out, Error *err) {
    const GenSpec *spec = eval->spec;
    const GenFormula *const formulas[] = {&spec->threads, &spec->smem, &spec->regs};
    int64_t *const to[] = {&out->threads, &out->smem, &out->regs};
    *out = (GenResources){0};
    for (int i = 0; i < 3; i++) {
        Status status = gen_eval_int(eval, formulas[i], to[i], err);
        if (status != ST_OK) return status;
        if (*to[i] < 0 || *to[i] > INT32_MAX)
            return err_at(err, ST_LIMIT, formulas[i]->pos,
                          "%s: '%s' is %" PRId64 ", not 0..2147483647", spec->name,
                          expr_text(formulas[i]->expr), *to[i]);
        eval->resources[i] = *to[i];
        eval->resources_known |= 1u << i;
    }
    return ST_OK;
}

static void check_limits(const GenSpec *spec, const GpuInfo *gpu, const GenResources *res,
                         GenReject *why) {
    const char *arch = gpu->arch->name;
    if (res->threads < 32 || res->threads > 1024 || res->threads % 32 != 0)
        reject(why, NULL, "%s: %" PRId64 " threads; a block has a multiple of 32 up to 1024",
               spec->name, res->threads);
    else if (res->smem > gpu->smem_block)
        reject(why, NULL, "%s: needs %" PRId64 " B shared memory, %s has %d", spec->name, res->smem,
               arch, gpu->smem_block);
    else if (res->regs * res->threads > gpu->regs_sm)
        reject(why, NULL,
               "%s: needs about %" PRId64 " registers x %" PRId64 " threads = %" PRId64
               ", %s has %d per SM",
               spec->name, res->regs, res->threads, res->regs * res->threads, arch, gpu->regs_sm);
}

static Status finish_resources(GenEval *eval, GenResources *res, Error *err) {
    const GenSpec *spec = eval->spec;
    int64_t blocks = occupancy(eval->gpu, res->threads, res->smem, res->regs), score = 0;
    res->occupancy_blocks = (double)blocks;
    eval->resources[GEN_RES_OCCUPANCY] = blocks;
    eval->resources_known |= 1u << GEN_RES_OCCUPANCY;
    Status status = ST_OK;
    if (spec->workspace.expr) status = gen_eval_int(eval, &spec->workspace, &res->workspace, err);
    if (status == ST_OK && spec->score.expr) status = gen_eval_int(eval, &spec->score, &score, err);
    res->score = (double)score;
    return status;
}

static Status check(GenEval *eval, GenResources *res, GenReject *why, Error *err) {
    const GenSpec *spec = eval->spec;
    why->rejected = false;
    why->rule = NULL;
    why->count = 1;
    why->text[0] = '\0';
    *res = (GenResources){0};
    const GenPipe *pipe = NULL;
    char reason[200];
    Status status = gen_pick_pipe(eval, &pipe, reason, sizeof reason, err);
    if (status != ST_OK) return status;
    if (!pipe) reject(why, NULL, "%s: no pipeline: %s", spec->name, reason);
    why->passed = pipe != NULL;
    for (size_t i = 0; i < spec->rule_count && !why->rejected; i++) {
        bool holds = false;
        GenFormula formula = {.expr = spec->rules[i].when, .pos = spec->rule_pos[i]};
        status = gen_eval_bool(eval, &formula, &holds, err);
        if (status != ST_OK) return status;
        if (!holds)
            reject(why, &spec->rules[i], "%s: %s (%.80s, %s:%d)", spec->name, spec->rules[i].reason,
                   expr_text(spec->rules[i].when), spec->rules[i].file, spec->rules[i].line);
        why->passed += holds;
    }
    if (why->rejected) return ST_OK;
    status = eval_resources(eval, res, err);
    if (status != ST_OK) return status;
    check_limits(spec, eval->gpu, res, why);
    return why->rejected ? ST_OK : finish_resources(eval, res, err);
}

/* Also says how many axes were looked at: what follows them does not change the answer. */
static Status check_config(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                           GenResources *resources, GenReject *why, size_t *axes_used, Error *err) {
    GenEval eval;
    gen_eval_init(&eval, problem->spec, problem, gpu, config);
    Status status = check(&eval, resources, why, err);
    *axes_used = eval.axes_used;
    if (status != ST_OK) {
        Str text = {0};
        gen_config_text(problem->spec, config, &text);
        err_wrap(err, "%s with %s on %s", problem->spec->name, str_text(&text), gpu->arch->name);
        str_free(&text);
    }
    return status;
}

Status gen_config_check(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                        GenResources *resources, GenReject *why, Error *err) {
    GenResources res;
    GenReject local;
    size_t axes_used;
    Status status = check_config(problem, gpu, config, &res, why ? why : &local, &axes_used, err);
    if (resources) *resources = res;
    return status;
}

/* Next configuration in the spec's order that differs in the first `axes` ones, the last fastest;
 * the others are at their first values and stay there. */
static bool advance(const GenSpec *spec, size_t axes, size_t index[GEN_MAX_AXES],
                    GenConfig *config) {
    for (size_t i = axes; i-- > 0;) {
        if (++index[i] == spec->axes[i].count) index[i] = 0;
        config->value[i] = spec->axes[i].values[index[i]];
        if (index[i]) return true;
    }
    return false;
}

/* Since a check looks at nothing but axes, what it says of one configuration it says of all that
 * share the axes that it looked at. The first of them is met first, so that the run is whole. */
Status gen_enumerate(const GenProblem *problem, const GpuInfo *gpu, GenVisit visit, void *context,
                     Error *err) {
    const GenSpec *spec = problem->spec;
    size_t index[GEN_MAX_AXES] = {0}, axes;
    GenConfig config = {{0}};
    for (size_t i = 0; i < spec->axis_count; i++) config.value[i] = spec->axes[i].values[0];
    do {
        GenResources res;
        GenReject why;
        Status status = check_config(problem, gpu, &config, &res, &why, &axes, err);
        if (status != ST_OK) return status;
        if (!why.rejected) axes = spec->axis_count;
        for (size_t i = axes; i < spec->axis_count; i++) why.count *= spec->axes[i].count;
        if (!visit(context, &config, &res, &why)) break;
    } while (advance(spec, axes, index, &config));
    return ST_OK;
}

/* ---- the default and the seeds ---- */

typedef struct Best {
    const GenSpec *spec;
    bool any;
    double score;
    GenConfig config;
    GenReject furthest; /* the first of those that got past the most checks */
    size_t alike;       /* configurations that got as far and fail there */
} Best;

static bool keep_best(void *context, const GenConfig *config, const GenResources *res,
                      const GenReject *why) {
    Best *best = context;
    if (why->rejected && (!best->alike || why->passed > best->furthest.passed)) {
        best->furthest = *why;
        best->alike = 0;
    }
    if (why->rejected && why->passed == best->furthest.passed) best->alike += why->count;
    if (why->rejected || (best->any && res->score <= best->score)) return true;
    best->any = true;
    best->score = res->score;
    best->config = *config;
    return true;
}

/* Names what stops the configurations that get furthest: rules in front of it may drop more, but
 * those sort out what other values of the axes are for. */
static Status none_legal(const GenProblem *problem, const GpuInfo *gpu, const Best *best,
                         Error *err) {
    const GenSpec *spec = problem->spec;
    const GenRule *rule = best->furthest.rule;
    Str text = {0};
    gen_problem_text(problem, &text);
    if (rule)
        err_set(err, ST_UNSUPPORTED,
                "%s: no configuration is legal on %s for %s; those that get furthest (%zu) break "
                "%s:%d: %s",
                spec->name, gpu->arch->name, str_text(&text), best->alike, rule->file, rule->line,
                rule->reason);
    else
        err_set(err, ST_UNSUPPORTED,
                "%s: no configuration is legal on %s for %s; those that get furthest (%zu) fail "
                "so: %s",
                spec->name, gpu->arch->name, str_text(&text), best->alike, best->furthest.text);
    str_free(&text);
    return ST_UNSUPPORTED;
}

static Status best_score(const GenProblem *problem, const GpuInfo *gpu, GenConfig *out,
                         Error *err) {
    Best best = {.spec = problem->spec};
    Status status = gen_enumerate(problem, gpu, keep_best, &best, err);
    if (status != ST_OK) return status;
    if (!best.any) return none_legal(problem, gpu, &best, err);
    *out = best.config;
    return ST_OK;
}

static Status legal_seed(const GenProblem *problem, const GpuInfo *gpu, const GenSeed *seed,
                         bool *legal, Error *err) {
    GenEval eval;
    GenReject why;
    *legal = true;
    gen_eval_init(&eval, problem->spec, problem, gpu, NULL);
    if (seed->when.expr) {
        Status status = gen_eval_bool(&eval, &seed->when, legal, err);
        if (status != ST_OK || !*legal) return status;
    }
    Status status = gen_config_check(problem, gpu, &seed->config, NULL, &why, err);
    *legal = !why.rejected;
    return status;
}

Status gen_seeds(const GenProblem *problem, const GpuInfo *gpu, GenConfig *out, size_t max,
                 size_t *count, Error *err) {
    const GenSpec *spec = problem->spec;
    *count = 0;
    for (size_t i = 0; i < spec->seed_count && *count < max; i++) {
        bool legal = false, again = false;
        Status status = legal_seed(problem, gpu, &spec->seeds[i], &legal, err);
        if (status != ST_OK) return status;
        for (size_t k = 0; k < *count; k++)
            again |= gen_config_equal(spec, &out[k], &spec->seeds[i].config);
        if (legal && !again) out[(*count)++] = spec->seeds[i].config;
    }
    if (*count || !max) return ST_OK;
    Status status = best_score(problem, gpu, &out[0], err);
    if (status == ST_OK) *count = 1;
    return status;
}

Status gen_default(const GenProblem *problem, const GpuInfo *gpu, GenConfig *out, Error *err) {
    size_t count = 0;
    return gen_seeds(problem, gpu, out, 1, &count, err);
}

/* ---- launches ---- */

static Status eval_extent(GenEval *eval, const GenStep *step, const GenFormula from[3],
                          const char *what, const int64_t limit[3], int64_t out[3], Error *err) {
    for (int i = 0; i < 3; i++) {
        out[i] = 1;
        if (!from[i].expr) continue;
        Status status = gen_eval_int(eval, &from[i], &out[i], err);
        if (status != ST_OK) return status;
        if (out[i] < 0 || out[i] > limit[i])
            return err_at(err, ST_LIMIT, from[i].pos, "%s: %s.%c is %" PRId64 ", not 1..%" PRId64,
                          step->entry, what, "xyz"[i], out[i], limit[i]);
    }
    return ST_OK;
}

static Status eval_step(GenEval *eval, const GenStep *step, GenLaunch *out, bool *run, Error *err) {
    static const int64_t grid_max[3] = {INT32_MAX, 65535, 65535}, block_max[3] = {1024, 1024, 64};
    *out = (GenLaunch){.entry = step->entry};
    *run = true;
    Status status = ST_OK;
    if (step->when.expr) status = gen_eval_bool(eval, &step->when, run, err);
    if (status != ST_OK || !*run) return status;
    status = eval_extent(eval, step, step->grid, "grid", grid_max, out->grid, err);
    if (status == ST_OK)
        status = eval_extent(eval, step, step->block, "block", block_max, out->block, err);
    if (status == ST_OK && step->smem.expr)
        status = gen_eval_int(eval, &step->smem, &out->smem, err);
    if (status != ST_OK) return status;
    out->rounds = 1;
    out->cooperative = step->cooperative;
    if (step->rounds.expr) status = gen_eval_int(eval, &step->rounds, &out->rounds, err);
    if (status != ST_OK) return status;
    if (out->rounds < 0 || out->rounds > INT32_MAX)
        return err_at(err, ST_LIMIT, step->rounds.pos, "%s: %" PRId64 " rounds, not 0..%d",
                      step->entry, out->rounds, INT32_MAX);
    *run = out->grid[0] && out->grid[1] && out->grid[2] && out->rounds > 0;
    int64_t threads = out->block[0] * out->block[1] * out->block[2];
    if (threads < 1 || threads > 1024)
        return err_at(err, ST_LIMIT, step->pos, "%s: %" PRId64 " threads in a block, not 1..1024",
                      step->entry, threads);
    if (out->smem < 0 || out->smem > eval->gpu->smem_block)
        return err_at(err, ST_LIMIT, step->pos, "%s: %" PRId64 " B shared memory, %s has %d",
                      step->entry, out->smem, eval->gpu->arch->name, eval->gpu->smem_block);
    return ST_OK;
}

Status gen_launches(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *config,
                    GenLaunch out[GEN_MAX_STEPS], size_t *count, int64_t *workspace, Error *err) {
    const GenSpec *spec = problem->spec;
    GenEval eval;
    GenResources res;
    *count = 0;
    gen_eval_init(&eval, spec, problem, gpu, config);
    Status status = eval_resources(&eval, &res, err);
    if (status == ST_OK) status = finish_resources(&eval, &res, err);
    for (size_t i = 0; status == ST_OK && i < spec->step_count; i++) {
        bool run = false;
        status = eval_step(&eval, &spec->steps[i], &out[*count], &run, err);
        if (run) (*count)++;
    }
    if (status != ST_OK) return status;
    if (workspace) *workspace = res.workspace;
    return ST_OK;
}
