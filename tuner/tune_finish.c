/* The end of a trial and of a problem: what is recorded, who wins, by how much. */
#include <string.h>
#include <time.h>

#include "tuner/rank.h"
#include "tuner/tune.h"

static const double near_winner = 0.05; /* finals: what one session's noise can turn around */

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static DbKey key_of(const Tune *t, const GenSpec *spec, const char *problem_key) {
    return (DbKey){.kernel = gen_spec_name(spec),
                   .problem_key = problem_key,
                   .gpu_key = t->target->key,
                   .policy = TUNE_POLICY,
                   .generation = gen_spec_generation(spec)};
}

static void count_outcome(TuneCounts *c, DbOutcome outcome) {
    if (outcome == DB_OK)
        c->timed++;
    else if (outcome == DB_RESOURCES)
        c->spilled++;
    else
        c->failed++;
}

Status tune_store(Tune *t, const TuneTrial *trial, Error *err) {
    const GenSpec *spec = trial->problem->spec;
    char hex[HASH_HEX_SIZE];
    Hash hash = gen_spec_hash(spec);
    hash_hex(&hash, hex);
    bool modelled = t->target->traits.modelled != 0;
    DbTrial row = {.key = key_of(t, spec, trial->problem_key),
                   .problem = trial->problem_text,
                   .gpu_name = t->target->gpu.name,
                   .driver = t->driver_text,
                   .nvrtc = t->nvrtc_text,
                   .spec_hash = hex,
                   .config = trial->config_text,
                   .outcome = trial->outcome,
                   .detail = trial->detail ? trial->detail : "",
                   .time_median_s = trial->time.median,
                   .time_low_s = trial->time.low,
                   .time_high_s = trial->time.high,
                   .times = trial->times,
                   .time_count = trial->time_count,
                   /* A real GPU's clock needs NVML; unknown is 0. A model runs at its own. */
                   .sm_clock_mhz = modelled ? t->target->gpu.clock_khz / 1000.0 : 0,
                   .verify_error = trial->verify_ratio,
                   .compile_s = trial->compile_s,
                   .registers = trial->registers,
                   .spill_bytes = trial->spill_bytes,
                   .smem_bytes = trial->smem_bytes,
                   .session = t->session,
                   .unix_ms = unix_ms(),
                   .tool = t->settings.tool};
    return db_record_trial(t->db, &row, NULL, err);
}

Status tune_record(Tune *t, TuneTrial *trial, Error *err) {
    Status st = tune_store(t, trial, err);
    if (st != ST_OK) return st;
    trial->done = true;
    trial->running = false;
    t->counts.done++;
    count_outcome(&t->counts, trial->outcome);
    if (t->watch) t->watch(t->watch_context, TUNE_TRIAL_DONE, t, trial);
    return ST_OK;
}

bool tune_all_done(const Tune *t, const TuneProblem *problem) {
    for (size_t i = 0; i < t->trial_count; i++) {
        if (t->trials[i].owner == problem && !t->trials[i].done) return false;
    }
    return true;
}

static bool counts_as_timed(const TuneTrial *trial, const TuneProblem *problem) {
    return trial->owner == problem && trial->done && !trial->is_baseline &&
           trial->outcome == DB_OK && trial->time.median > 0;
}

static Timed timed_of(const TuneTrial *trial) {
    return (Timed){.config = trial->config_text,
                   .time = trial->time.median,
                   .low = trial->time.low,
                   .high = trial->time.high,
                   .registers = trial->registers,
                   .threads = trial->resources.threads,
                   .smem = trial->smem_bytes + trial->resources.smem,
                   .is_default = trial->is_default};
}

static double gap_of(const Tune *t) {
    return t->target->traits.modelled ? rank_modelled_gap : rank_measured_gap;
}

size_t tune_finalists(const Tune *t, const TuneProblem *problem, TuneTrial **out, size_t max) {
    double best = 0;
    size_t n = 0;
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (counts_as_timed(x, problem) && (best == 0 || x->time.median < best)) {
            best = x->time.median;
        }
    }
    /* Trials are in rank order, so the default is the first of its problem and always in. */
    for (size_t i = 0; i < t->trial_count && n < max; i++) {
        TuneTrial *x = &t->trials[i];
        if (!counts_as_timed(x, problem)) continue;
        if (x->is_default || x->time.low <= best * (1 + near_winner)) out[n++] = x;
    }
    return n;
}

/* Winner / default: of the final's rounds when both were in it, else of the two intervals. */
static Spread ratio_of(const TuneTrial *winner, const TuneTrial *standard, bool paired) {
    const Spread *w = &winner->time, *d = &standard->time;
    if (winner == standard) return (Spread){1, 1, 1};
    size_t rounds =
        winner->time_count < standard->time_count ? winner->time_count : standard->time_count;
    if (paired && rounds > 0) return stats_ratio(winner->times, standard->times, rounds);
    return (Spread){w->median / d->median, w->low / d->high, w->high / d->low};
}

/* Only finalists compete after a final: times of before were not taken side by side. */
static bool competes(const TuneProblem *p, const TuneTrial *trial, TuneTrial *const *finalists,
                     size_t count) {
    if (!counts_as_timed(trial, p)) return false;
    for (size_t i = 0; i < count; i++) {
        if (finalists[i] == trial) return true;
    }
    return !p->final_done;
}

static void choose_winner(Tune *t, TuneProblem *p, Error *err, Status *st) {
    TuneTrial *finalists[16];
    size_t finalist_count = tune_finalists(t, p, finalists, sizeof finalists / sizeof *finalists);
    Timed *timed = ARENA_ARRAY(t->arena, Timed, t->trial_count + 1);
    const TuneTrial **who = ARENA_ARRAY(t->arena, const TuneTrial *, t->trial_count + 1);
    size_t n = 0;
    if (!timed || !who) {
        *st = err_no_memory(err, t->trial_count * sizeof *timed);
        return;
    }
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (x->owner == p && x->is_default && x->done && x->outcome != DB_OK) {
            p->untimed_default = x;
        }
        if (!counts_as_timed(x, p)) continue;
        p->effort++;
        if (x->is_default) p->standard = x;
        if (!competes(p, x, finalists, finalist_count)) continue;
        timed[n] = timed_of(x);
        who[n++] = x;
    }
    size_t winner = rank_winner(timed, n, gap_of(t));
    if (winner < n) p->winner = who[winner];
}

/* A verdict says "winner against default", so the default has to have been tried; one that failed
 * has no time, and then the verdict matters all the more. When nothing was tried anew and the
 * database already says the same, it is not said again. */
static bool verdict_is_due(Tune *t, const TuneProblem *p, const DbKey *key) {
    bool fresh = false;
    DbWinner *known = NULL;
    for (size_t i = 0; i < t->trial_count; i++) {
        fresh = fresh || (t->trials[i].owner == p && t->trials[i].done && !t->trials[i].resumed);
    }
    if (fresh || db_winner(t->db, key, t->arena, &known, NULL) != ST_OK || !known) return true;
    return strcmp(known->verdict.config, p->winner->config_text) != 0 ||
           strcmp(known->verdict.spec_hash, p->spec_hash) != 0;
}

static Status record_verdict(Tune *t, const TuneProblem *p, Error *err) {
    const TuneTrial *w = p->winner, *standard = p->standard ? p->standard : p->untimed_default;
    DbVerdict row = {.key = key_of(t, p->item->problem.spec, p->key),
                     .problem = p->text,
                     .gpu_name = t->target->gpu.name,
                     .spec_hash = p->spec_hash,
                     .config = w->config_text,
                     .default_config = standard->config_text,
                     .time_s = w->time.median,
                     .default_time_s = p->standard ? standard->time.median : 0,
                     .ratio = p->ratio.median,
                     .ratio_low = p->ratio.low,
                     .ratio_high = p->ratio.high,
                     .baseline_time_s =
                         p->baseline && p->baseline->done && p->baseline->outcome == DB_OK
                             ? p->baseline->time.median
                             : 0,
                     .verify_error = w->verify_ratio,
                     .effort = (int64_t)p->effort,
                     .registers = w->registers,
                     .smem_bytes = w->smem_bytes,
                     .session = t->session,
                     .unix_ms = unix_ms(),
                     .tool = t->settings.tool};
    return verdict_is_due(t, p, &row.key) ? db_record_verdict(t->db, &row, err) : ST_OK;
}

Status tune_finish(Tune *t, TuneProblem *p, Error *err) {
    Status st = ST_OK;
    if (p->finished) return ST_OK;
    choose_winner(t, p, err, &st);
    if (st != ST_OK) return st;
    p->ratio = (Spread){1, 1, 1};
    if (p->winner && p->standard) p->ratio = ratio_of(p->winner, p->standard, p->final_done);
    if (p->winner && (p->standard || p->untimed_default)) {
        if ((st = record_verdict(t, p, err)) != ST_OK) return st;
    }
    p->finished = true;
    t->counts.finished++;
    if (t->watch) t->watch(t->watch_context, TUNE_PROBLEM_DONE, t, p);
    return ST_OK;
}
