/* From a workload to an ordered list of trials, with what the database already knows filled in. */
#include <string.h>

#include "runtime/plan.h"
#include "tuner/known.h"
#include "tuner/tune.h"

enum { MAX_KNOWN = 3 }; /* per problem; each costs a compilation, a check and a timing */

static char *text_of_problem(Arena *arena, const GenProblem *problem) {
    Str s = {0};
    gen_problem_text(problem, &s);
    char *copy = arena_strdup(arena, str_text(&s));
    str_free(&s);
    return copy;
}

static char *key_of_problem(Arena *arena, const GenProblem *problem) {
    Str s = {0};
    gen_problem_key(problem, &s);
    char *copy = arena_strdup(arena, str_text(&s));
    str_free(&s);
    return copy;
}

static char *text_of_config(Arena *arena, const GenSpec *spec, const GenConfig *config) {
    Str s = {0};
    gen_config_text(spec, config, &s);
    char *copy = arena_strdup(arena, str_text(&s));
    str_free(&s);
    return copy;
}

static Status fill_trial(Tune *t, TuneTrial *trial, Error *err) {
    trial->config_text = text_of_config(t->arena, trial->problem->spec, &trial->config);
    trial->problem_text = text_of_problem(t->arena, trial->problem);
    trial->problem_key = key_of_problem(t->arena, trial->problem);
    if (!trial->config_text || !trial->problem_text || !trial->problem_key) {
        return err_no_memory(err, 256);
    }
    return ST_OK;
}

/* The baseline of an attention problem: the same description, the other spec, its default. */
static Status add_baseline(Tune *t, TuneProblem *p, TuneTrial *trial, bool *has, Error *err) {
    const GenSpec *spec = gen_spec_find(t->library, TUNE_BASELINE);
    PlanDesc desc;
    *has = false;
    if (!spec || spec == p->item->problem.spec) return ST_OK;
    Status st = plan_desc_of_problem(&p->item->problem, &desc, err);
    if (st != ST_OK) return st;
    if (desc.kind != PLAN_ATTENTION) return ST_OK;
    /* A baseline that does not exist on this GPU is a blank in the report, not an error. */
    if (plan_problem(spec, &desc, &p->baseline_problem, NULL) != ST_OK) return ST_OK;
    *trial = (TuneTrial){.owner = p, .problem = &p->baseline_problem, .is_baseline = true};
    if (gen_default(&p->baseline_problem, &t->target->gpu, &trial->config, NULL) != ST_OK) {
        return ST_OK;
    }
    *has = true;
    return fill_trial(t, trial, err);
}

/* Texts, candidates and seeds of p->item. ST_UNSUPPORTED: p->unsupported says why. */
static Status read_problem(Tune *t, TuneProblem *p, Error *err) {
    const GenProblem *problem = &p->item->problem;
    Error why = {0};
    GenConfig known[MAX_KNOWN];
    size_t known_count = 0;
    char hex[HASH_HEX_SIZE];
    p->text = text_of_problem(t->arena, problem);
    p->key = key_of_problem(t->arena, problem);
    Hash spec_hash = gen_spec_hash(problem->spec);
    hash_hex(&spec_hash, hex);
    p->spec_hash = arena_strdup(t->arena, hex);
    if (!p->text || !p->key || !p->spec_hash) return err_no_memory(err, 256);
    Status st = gen_problem_flops(problem, &p->flops, &p->bytes, err);
    if (st != ST_OK) return st;
    if (p->flops <= 0 && p->bytes <= 0) {
        p->unsupported = "a problem of this size has no work: nothing runs that could be timed";
        return err_set(err, ST_UNSUPPORTED, "%s", p->unsupported);
    }
    st = known_seeds(t->db, problem, t->target->key, known, MAX_KNOWN, &known_count, &why);
    if (st == ST_OK) {
        st = candidates_choose(problem, &t->target->gpu, known, known_count, t->settings.effort,
                               t->arena, &p->candidates, &why);
    }
    if (st == ST_UNSUPPORTED) p->unsupported = arena_strdup(t->arena, why.message);
    return st == ST_OK ? ST_OK : err_set(err, st, "%s", why.message);
}

/* A bf16 problem on a GPU without bf16 tensor cores is tuned in f16, the type that such a GPU's
 * applications use, under a label that says so; *other is NULL where that is not the case. */
static Status in_f16(Tune *t, const GenWorkItem *item, GenWorkItem **other, Error *err) {
    const char *word = gen_problem_word(&item->problem, "dtype");
    *other = NULL;
    if (!word || strcmp(word, "bf16") != 0) return ST_OK;
    if (gpu_has(t->target->gpu.arch, GPU_HAS_mma_bf16)) return ST_OK;
    GenWorkItem *copy = ARENA_NEW(t->arena, GenWorkItem);
    if (!copy) return err_no_memory(err, sizeof *copy);
    *copy = *item;
    copy->label = arena_printf(t->arena, "%s in f16", item->label);
    if (!copy->label) return err_no_memory(err, 64);
    Status st = gen_problem_set_word(&copy->problem, "dtype", "f16", err);
    if (st == ST_OK) st = gen_problem_check(&copy->problem, err);
    if (st == ST_OK) *other = copy;
    return st;
}

static Status setup_problem(Tune *t, TuneProblem *p, const GenWorkItem *item, Error *err) {
    GenWorkItem *other = NULL;
    *p = (TuneProblem){.item = item};
    Status st = read_problem(t, p, err);
    if (st == ST_UNSUPPORTED && p->unsupported) {
        st = in_f16(t, item, &other, err);
        if (st == ST_OK && other) {
            const TuneProblem refused = *p;
            *p = (TuneProblem){.item = other};
            st = read_problem(t, p, err);
            if (st == ST_UNSUPPORTED && p->unsupported) *p = refused;
        }
        if (p->unsupported) st = st == ST_UNSUPPORTED ? ST_OK : st;
    }
    t->counts.enumerated += p->candidates.enumerated;
    t->counts.ruled_out += p->candidates.ruled_out;
    if (st == ST_OK && !p->unsupported) t->counts.untried += p->candidates.untried;
    return st;
}

/* What the database holds of this trial ends it; times of a device that repeats exactly are as
 * good as new, others steer the racing and are measured again in the final. */
static Status resume(Tune *t, TuneTrial *trial, Error *err) {
    const GenSpec *spec = trial->problem->spec;
    DbKey key = {.kernel = gen_spec_name(spec),
                 .problem_key = trial->problem_key,
                 .gpu_key = t->target->key,
                 .policy = TUNE_POLICY,
                 .generation = gen_spec_generation(spec)};
    Hash hash = gen_spec_hash(spec);
    char hex[HASH_HEX_SIZE];
    hash_hex(&hash, hex);
    DbTrial *found = NULL;
    Status st = db_find_trial(t->db, &key, trial->problem_text, hex, trial->config_text, t->arena,
                              &found, err);
    if (st != ST_OK || !found) return st;
    trial->done = trial->resumed = true;
    trial->outcome = found->outcome;
    trial->detail = found->detail;
    trial->time = (Spread){found->time_median_s, found->time_low_s, found->time_high_s};
    trial->registers = found->registers;
    trial->spill_bytes = found->spill_bytes;
    trial->smem_bytes = found->smem_bytes;
    trial->verify_ratio = found->verify_error;
    trial->compile_s = found->compile_s;
    t->counts.resumed++;
    t->counts.done++;
    return ST_OK;
}

Status tune_add_trial(Tune *t, TuneProblem *problem, const GenConfig *config,
                      const GenResources *resources, Error *err) {
    TuneTrial *trial = &t->trials[t->trial_count];
    *trial = (TuneTrial){.owner = problem,
                         .problem = &problem->item->problem,
                         .config = *config,
                         .resources = *resources,
                         .rank = t->trial_count};
    Status st = fill_trial(t, trial, err);
    if (st != ST_OK) return st;
    t->trial_count++;
    t->counts.trials++;
    t->counts.untried--;
    return t->settings.again ? ST_OK : resume(t, trial, err);
}

static Status add_trials_of_rank(Tune *t, size_t rank, bool *any, Error *err) {
    *any = false;
    for (size_t i = 0; i < t->problem_count; i++) {
        TuneProblem *p = &t->problems[i];
        if (p->unsupported || rank >= p->candidates.count) continue;
        const Candidate *c = &p->candidates.items[rank];
        TuneTrial *trial = &t->trials[t->trial_count++];
        *any = true;
        *trial = (TuneTrial){.owner = p,
                             .problem = &p->item->problem,
                             .config = c->config,
                             .resources = c->resources,
                             .is_default = c->is_default,
                             .rank = rank};
        Status st = fill_trial(t, trial, err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static Status add_baselines(Tune *t, Error *err) {
    for (size_t i = 0; i < t->problem_count; i++) {
        TuneProblem *p = &t->problems[i];
        bool has = false;
        if (p->unsupported) continue;
        Status st = add_baseline(t, p, &t->trials[t->trial_count], &has, err);
        if (st != ST_OK) return st;
        if (has) p->baseline = &t->trials[t->trial_count++];
    }
    return ST_OK;
}

Status tune_setup(Tune *t, const GenWorkItem *items, size_t count, Error *err) {
    size_t most = 0;
    t->problems = ARENA_ARRAY(t->arena, TuneProblem, count + 1);
    if (!t->problems) return err_no_memory(err, count * sizeof *t->problems);
    t->problem_count = t->counts.problems = count;
    /* First for all: the report names every problem, also when one of them stops the session. */
    for (size_t i = 0; i < count; i++) t->problems[i].item = &items[i];
    for (size_t i = 0; i < count; i++) {
        Status st = setup_problem(t, &t->problems[i], &items[i], err);
        if (st != ST_OK) {
            err_wrap(err, "%s, %s", gen_spec_name(items[i].problem.spec), items[i].label);
            return st;
        }
        most += t->problems[i].candidates.count + 1 + tune_search_room(t->settings.effort);
    }
    t->trials = ARENA_ARRAY(t->arena, TuneTrial, most + 1);
    t->variants = ARENA_ARRAY(t->arena, TuneVariant *, most + 1);
    if (!t->trials || !t->variants) return err_no_memory(err, most * sizeof *t->trials);
    bool any = true;
    for (size_t rank = 0; any; rank++) {
        Status st = add_trials_of_rank(t, rank, &any, err);
        /* Right after the defaults: the ratio to the baseline is part of every answer. */
        if (st == ST_OK && rank == 0) st = add_baselines(t, err);
        if (st != ST_OK) return st;
    }
    t->counts.trials = t->trial_count;
    for (size_t i = 0; i < t->trial_count && !t->settings.again; i++) {
        Status st = resume(t, &t->trials[i], err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static int64_t dim_or_zero(const GenProblem *problem, const char *name) {
    int64_t value;
    return gen_problem_get(problem, name, &value) ? value : 0;
}

Status tune_variant_of(Tune *t, TuneTrial *trial, Error *err) {
    GenOutput output;
    if (trial->variant) return ST_OK;
    Status st = gen_emit(trial->problem, &t->target->gpu, &trial->config, t->arena, &output, err);
    if (st != ST_OK) return st;
    /* Verification takes the head group from the problem besides what is in the text, and the
     * configuration decides the launch. */
    HashState state;
    hash_begin(&state);
    hash_field(&state, output.key.bytes, sizeof output.key.bytes);
    hash_text(&state, trial->config_text);
    int64_t heads_kv = dim_or_zero(trial->problem, "heads_kv");
    hash_u64(&state, heads_kv ? (uint64_t)(dim_or_zero(trial->problem, "heads_q") / heads_kv) : 0);
    Hash identity = hash_end(&state);
    for (size_t i = 0; i < t->variant_count; i++) {
        if (hash_equal(&t->variants[i]->identity, &identity)) {
            trial->variant = t->variants[i];
            return ST_OK;
        }
    }
    TuneVariant *v = ARENA_NEW(t->arena, TuneVariant);
    if (!v) return err_no_memory(err, sizeof *v);
    v->problem = trial->problem;
    v->config = &trial->config;
    v->identity = identity;
    v->output = output;
    t->variants[t->variant_count++] = v;
    trial->variant = v;
    return ST_OK;
}
