/* Plans: description to problem, configuration, binary, launches; and their run. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/plan_internal.h"

const PlanFamily *plan_family(PlanKind kind) {
    switch (kind) {
    case PLAN_ATTENTION: return attention_family();
    case PLAN_MERGE: return merge_family();
    case PLAN_KV: return kv_family();
    case PLAN_RNN: return rnn_family();
    case PLAN_RNN_KERNEL: return rnn_kernel_family();
    case PLAN_ROPE: break;
    case PLAN_KINDS: assert(!"a kind of plan"); break;
    }
    return rope_family();
}

static Status find_spec(const GenLibrary *library, const PlanFamily *family, const char *name,
                        const GenSpec **out, Error *err) {
    *out = gen_spec_find(library, name);
    if (*out == NULL) return err_set(err, ST_NOT_FOUND, "there is no kernel spec \"%s\"", name);
    if (strcmp(gen_spec_params(*out), family->params) != 0)
        return err_set(err, ST_INVALID, "the spec %s takes %s parameters, the description is %s",
                       name, gen_spec_params(*out), family->params);
    return ST_OK;
}

static Status make_problem(const GenSpec *spec, const PlanFamily *family, const PlanDesc *normal,
                           GenProblem *out, Error *err) {
    gen_problem_init(spec, out);
    const Status st = family->set_problem(normal, out, err);
    return st != ST_OK ? st : gen_problem_check(out, err);
}

Status plan_problem(const GenSpec *spec, const PlanDesc *desc, GenProblem *out, Error *err) {
    const PlanFamily *family = plan_family(desc->kind);
    PlanDesc normal;
    Status st = family->normalise(desc, &normal, err);
    return st != ST_OK ? st : make_problem(spec, family, &normal, out, err);
}

Status plan_desc_of_problem(const GenProblem *problem, PlanDesc *out, Error *err) {
    const char *params = gen_spec_params(problem->spec);
    for (int kind = 0; kind < PLAN_KINDS; kind++) {
        const PlanFamily *family = plan_family((PlanKind)kind);
        if (strcmp(params, family->params) == 0) return family->describe(problem, out, err);
    }
    return err_set(err, ST_UNSUPPORTED, "%s: no plan function takes %s parameters",
                   gen_spec_name(problem->spec), params);
}

/* The first spec of the family that has a legal configuration for the description on ctx's GPU.
 * When none has, the error is that of the first: the one made for it. */
static Status choose_spec(const seqtune_context *ctx, const PlanDesc *normal, GenProblem *out,
                          Error *err) {
    const PlanFamily *family = plan_family(normal->kind);
    Status first = ST_OK;
    for (const char *const *name = family->specs(normal); *name != NULL; name++) {
        const GenSpec *spec = NULL;
        GenConfig unused;
        Error why = {0};
        Status st = find_spec(ctx->library, family, *name, &spec, &why);
        if (st == ST_OK) st = make_problem(spec, family, normal, out, &why);
        if (st == ST_OK) st = gen_default(out, &ctx->device.gpu, &unused, &why);
        if (st == ST_OK) return ST_OK;
        if (first != ST_OK) continue;
        first = st;
        if (err != NULL) *err = why;
    }
    return first;
}

Status plan_supported(seqtune_context *ctx, const PlanDesc *desc, Error *err) {
    PlanDesc normal;
    GenProblem problem;
    const Status st = plan_family(desc->kind)->normalise(desc, &normal, err);
    if (st != ST_OK) return st;
    const PlanFamily *family = plan_family(desc->kind);
    return family->supported != NULL ? family->supported(ctx, &normal, err)
                                     : choose_spec(ctx, &normal, &problem, err);
}

/* ---- creation ---- */

static Status take_forced(const seqtune_plan *plan, const GenConfig *forced, DispatchChoice *out,
                          Error *err) {
    GenReject why = {0};
    const GpuInfo *gpu = &plan->ctx->device.gpu;
    Status st = gen_config_check(&plan->problem, gpu, forced, NULL, &why, err);
    if (st != ST_OK) return st;
    if (why.rejected)
        return err_set(err, ST_UNSUPPORTED, "the configuration is not legal on %s: %s",
                       gpu->arch->name, why.text[0] != '\0' ? why.text : why.rule->reason);
    *out = (DispatchChoice){.config = *forced, .rung = SEQTUNE_RUNG_FORCED};
    return ST_OK;
}

/* "/seqtune/attn/prefill_mma.cu" -> "attn/prefill_mma". */
static const char *pipeline_name(Arena *arena, const char *virtual_name) {
    const char *from = str_starts(virtual_name, "/seqtune/") ? virtual_name + 9 : virtual_name;
    size_t n = strlen(from);
    return arena_strndup(arena, from, str_ends(from, ".cu") ? n - 3 : n);
}

static const char *keep_text(Arena *arena, Str *text) {
    const char *kept = text->failed ? NULL : arena_strdup(arena, str_text(text));
    str_free(text);
    return kept;
}

static Status make_texts(seqtune_plan *plan, const char *virtual_name, Error *err) {
    Str config = {0}, problem = {0}, key = {0};
    gen_config_text(plan->problem.spec, &plan->choice.config, &config);
    gen_problem_text(&plan->problem, &problem);
    gen_problem_key(&plan->problem, &key);
    plan->config_text = keep_text(plan->arena, &config);
    plan->problem_text = keep_text(plan->arena, &problem);
    plan->key_text = keep_text(plan->arena, &key);
    plan->pipeline = pipeline_name(plan->arena, virtual_name);
    if (plan->config_text == NULL || plan->problem_text == NULL || plan->key_text == NULL ||
        plan->pipeline == NULL)
        return err_no_memory(err, 1);
    return ST_OK;
}

/* Blocks that wait for each other must all be on the GPU; a smaller run has no more of them. */
static Status check_residency(const seqtune_plan *plan, Error *err) {
    Status st = ST_OK;
    for (size_t i = 0; i < plan->count && st == ST_OK; i++)
        if (plan->launches[i].cooperative)
            st = kernel_resident(plan->ctx->driver, &plan->kernel->kernel, &plan->launches[i],
                                 plan->ctx->device.gpu.sms, err);
    return st;
}

/* Launch geometry, source, binary and texts of the configuration in plan->choice. */
static Status realise(seqtune_plan *plan, Error *err) {
    seqtune_context *ctx = plan->ctx;
    const GpuInfo *gpu = &ctx->device.gpu;
    const GenConfig *config = &plan->choice.config;
    GenOutput output = {0};
    bool pushed = false;
    Status st = gen_launches(&plan->problem, gpu, config, plan->launches, &plan->count,
                             &plan->workspace, err);
    if (st != ST_OK) return st;
    Arena *scratch = arena_new();
    if (scratch == NULL) return err_no_memory(err, 1);
    st = gen_emit(&plan->problem, gpu, config, scratch, &output, err);
    if (st == ST_OK) st = make_texts(plan, output.name, err);
    if (st == ST_OK && plan->count > 0) {
        CuResult result = driver_enter(ctx->driver, ctx->device.context, &pushed);
        st = driver_check(ctx->driver, result, "cuCtxPushCurrent", err);
        if (st == ST_OK)
            st = context_kernel(ctx, &output, plan->launches, plan->count, &plan->kernel, err);
        if (st == ST_OK) st = check_residency(plan, err);
        driver_leave(ctx->driver, pushed);
    }
    if (st != ST_OK && plan->kernel != NULL) {
        context_release_kernel(ctx, plan->kernel);
        plan->kernel = NULL;
    }
    arena_free(scratch);
    return st;
}

/* The plan's problem, or the one that stands for all that must share a configuration. */
static Status canonical_problem(const seqtune_plan *plan, GenProblem *out, Error *err) {
    const PlanFamily *family = plan_family(plan->desc.kind);
    *out = plan->problem;
    return family->canonical != NULL ? family->canonical(&plan->desc, out, err) : ST_OK;
}

/* The first of the legal seeds, best first, that can be made; those whose blocks cannot all be
 * resident are passed over, as rules cannot know what a compiler makes of a kernel. */
static Status take_seed(seqtune_plan *plan, Error *err) {
    enum { MOST = 16 };
    GenConfig seeds[MOST];
    GenProblem problem;
    size_t count = 0;
    Status st = canonical_problem(plan, &problem, err);
    if (st == ST_OK) st = gen_seeds(&problem, &plan->ctx->device.gpu, seeds, MOST, &count, err);
    if (st != ST_OK) return st;
    for (size_t i = 0; i < count && (i == 0 || st == ST_UNSUPPORTED); i++) {
        Error why = {0};
        plan->choice = (DispatchChoice){.config = seeds[i], .rung = SEQTUNE_RUNG_DEFAULT};
        st = realise(plan, &why);
        if (st != ST_OK && i == 0 && err != NULL) *err = why; /* the default is what to explain */
        if (st != ST_OK)
            log_write(LOG_INFO, "jit", "seed=%zu of %s refused: %s", i,
                      gen_spec_name(plan->problem.spec), why.message);
    }
    return st;
}

/* By the ladder. A recorded configuration that this compiler refuses, or whose blocks cannot all be
 * resident here, must not cost the application its kernel. */
static Status take_best(seqtune_plan *plan, Error *err) {
    GenProblem problem;
    Error why = {0};
    Status st = canonical_problem(plan, &problem, err);
    if (st == ST_OK) st = dispatch_choose(plan->ctx, &problem, &plan->choice, err);
    if (st != ST_OK) return st;
    if (plan->choice.rung == SEQTUNE_RUNG_DEFAULT) return take_seed(plan, err);
    st = realise(plan, &why);
    if (st == ST_OK) return ST_OK;
    if (st != ST_COMPILE && st != ST_UNSUPPORTED) return err_set(err, st, "%s", why.message);
    log_write(LOG_WARN, "jit", "row=%lld of %s cannot be made, taking the default: %s",
              (long long)plan->choice.row, plan->choice.database, why.message);
    return take_seed(plan, err);
}

static Status fill(seqtune_plan *plan, const char *spec_name, const PlanDesc *desc,
                   const GenConfig *forced, Error *err) {
    const PlanFamily *family = plan_family(desc->kind);
    const GenSpec *spec = NULL;
    Status st = family->normalise(desc, &plan->desc, err);
    if (st != ST_OK) return st;
    if (family->compose != NULL) return family->compose(plan, err);
    if (spec_name == NULL) {
        st = choose_spec(plan->ctx, &plan->desc, &plan->problem, err);
    } else {
        st = find_spec(plan->ctx->library, family, spec_name, &spec, err);
        if (st == ST_OK) st = make_problem(spec, family, &plan->desc, &plan->problem, err);
    }
    if (st != ST_OK) return st;
    if (forced != NULL) {
        st = take_forced(plan, forced, &plan->choice, err);
        if (st == ST_OK) st = realise(plan, err);
    } else {
        st = take_best(plan, err);
    }
    if (st != ST_OK) return st;
    family->set_params(&plan->desc, &plan->params);
    return ST_OK;
}

static void print_plan(const seqtune_plan *plan) {
    /* Asked for by SEQTUNE_PRINT_PLAN: at a level that is shown unless the log is off. */
    log_write(plan->ctx->print_plan ? LOG_ERROR : LOG_DEBUG, "jit",
              "plan kernel=%s pipeline=%s rung=%s row=%lld db=\"%s\" modelled=%d config=\"%s\" "
              "problem=\"%s\" launches=%zu workspace=%lld",
              gen_spec_name(plan->problem.spec), plan->pipeline,
              dispatch_rung_name(plan->choice.rung), (long long)plan->choice.row,
              plan->choice.database, plan->choice.modelled, plan->config_text, plan->problem_text,
              plan->count, (long long)plan->workspace);
}

Status plan_set_mode(seqtune_context *ctx, LaunchMode mode, Error *err) {
    bool pushed = false;
    const CuResult entered = driver_enter(ctx->driver, ctx->device.context, &pushed);
    Status st = driver_check(ctx->driver, entered, "cuCtxPushCurrent", err);
    if (st == ST_OK) st = driver_set_mode(ctx->driver, mode, err);
    driver_leave(ctx->driver, pushed);
    return st;
}

Status plan_create(seqtune_context *ctx, const char *spec_name, const PlanDesc *desc,
                   const GenConfig *forced, seqtune_plan **out, Error *err) {
    *out = NULL;
    seqtune_plan *plan = mem_alloc(sizeof *plan);
    if (plan == NULL) return err_no_memory(err, sizeof *plan);
    plan->ctx = ctx;
    plan->arena = arena_new();
    Status st =
        plan->arena == NULL ? err_no_memory(err, 1) : fill(plan, spec_name, desc, forced, err);
    if (st != ST_OK) {
        seqtune_plan_destroy(plan);
        return st;
    }
    if (plan->shown == NULL) print_plan(plan); /* the children have printed theirs */
    *out = plan;
    return ST_OK;
}

void seqtune_plan_destroy(seqtune_plan *plan) {
    if (plan == NULL) return;
    for (int i = 0; i < PLAN_MAX_CHILDREN; i++) seqtune_plan_destroy(plan->child[i]);
    if (plan->kernel != NULL) context_release_kernel(plan->ctx, plan->kernel);
    arena_free(plan->arena);
    mem_free(plan);
}

const GenProblem *plan_get_problem(const seqtune_plan *plan) {
    return plan->shown != NULL ? &plan->shown->problem : &plan->problem;
}

const GenConfig *plan_get_config(const seqtune_plan *plan) {
    return plan->shown != NULL ? &plan->shown->choice.config : &plan->choice.config;
}

size_t seqtune_plan_workspace(const seqtune_plan *plan) {
    return plan == NULL ? 0 : (size_t)plan->workspace;
}

seqtune_status seqtune_plan_get_info(const seqtune_plan *plan, seqtune_plan_info *out) {
    if (plan == NULL || out == NULL) return SEQTUNE_INVALID;
    Error err;
    Status st =
        plan_check_size("plan info", out->size, sizeof *out, "SEQTUNE_PLAN_INFO_INIT", &err);
    if (st != ST_OK) return context_fail(plan->ctx, st, &err);
    if (plan->shown != NULL) plan = plan->shown;
    const DispatchChoice *c = &plan->choice;
    const LoadedKernel *k = plan->kernel;
    *out = (seqtune_plan_info){
        .size = sizeof *out,
        .kernel = gen_spec_name(plan->problem.spec),
        .pipeline = plan->pipeline,
        .config = plan->config_text,
        .problem = plan->problem_text,
        .key = plan->key_text,
        .gpu = plan->ctx->device.key,
        .rung = c->rung,
        .database = c->database,
        .row = c->row,
        .row_key = c->row_key,
        .row_gpu = c->row_gpu,
        .modelled = c->modelled,
        .time_us = c->time_us,
        .artifact = k != NULL ? k->artifact : "",
        .from_cache = k != NULL && k->from_cache,
        .compile_s = k != NULL ? k->compile_s : 0,
        .registers = k != NULL ? k->registers : 0,
        .spill_bytes = k != NULL ? k->spill_bytes : 0,
    };
    return SEQTUNE_OK;
}

/* ---- run ---- */

Status plan_check_workspace(const seqtune_plan *plan, seqtune_device_ptr workspace, Error *err) {
    if (plan->workspace == 0) return ST_OK;
    Status st = plan_check_pointer("workspace", workspace, 256, err);
    if (st != ST_OK)
        err_wrap(err, "the plan needs %lld bytes of workspace", (long long)plan->workspace);
    return st;
}

Status plan_launches_for(const seqtune_plan *plan, const char *const *names, const int64_t *values,
                         size_t n, GenLaunch space[GEN_MAX_STEPS], const GenLaunch **out,
                         size_t *count, Error *err) {
    GenProblem smaller = plan->problem;
    int64_t planned = 0, workspace = 0;
    bool same = true;
    *out = plan->launches;
    *count = plan->count;
    for (size_t i = 0; i < n; i++)
        same = same && gen_problem_get(&plan->problem, names[i], &planned) && planned == values[i];
    if (same) return ST_OK;
    Status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        st = gen_problem_set(&smaller, names[i], values[i], err);
    if (st == ST_OK) st = gen_problem_check(&smaller, err);
    if (st == ST_OK)
        st = gen_launches(&smaller, &plan->ctx->device.gpu, &plan->choice.config, space, count,
                          &workspace, err);
    *out = space;
    return st;
}

static int64_t most_rounds(const GenLaunch *launches, size_t count) {
    int64_t most = 0;
    for (size_t i = 0; i < count; i++)
        if (launches[i].rounds > most) most = launches[i].rounds;
    return most;
}

static Status launch_round(const seqtune_plan *plan, const GenLaunch *launches, size_t count,
                           int64_t round, PlanParams *params, seqtune_stream stream, Error *err) {
    const Driver *driver = plan->ctx->driver;
    Status st = ST_OK;
    for (size_t i = 0; i < count && st == ST_OK; i++) {
        if (launches[i].rounds <= round) continue;
        CuResult result =
            kernel_launch(driver, &plan->kernel->kernel, &launches[i], params, stream);
        if (result == CUDA_SUCCESS) continue;
        st = driver_check(driver, result,
                          launches[i].cooperative ? "cuLaunchCooperativeKernel" : "cuLaunchKernel",
                          err);
        err_wrap(err, "%s", launches[i].entry);
    }
    return st;
}

Status plan_launch(const seqtune_plan *plan, const GenLaunch *launches, size_t count,
                   PlanParams *params, seqtune_stream stream, Error *err) {
    const Driver *driver = plan->ctx->driver;
    const PlanFamily *family = plan_family(plan->desc.kind);
    bool pushed = false;
    CuResult result = driver_enter(driver, plan->ctx->device.context, &pushed);
    Status st = driver_check(driver, result, "cuCtxPushCurrent", err);
    const int64_t rounds = most_rounds(launches, count);
    for (int64_t r = 0; r < rounds && st == ST_OK; r++) {
        if (family->set_round != NULL) family->set_round(params, r);
        st = launch_round(plan, launches, count, r, params, stream, err);
    }
    driver_leave(driver, pushed);
    return st;
}
