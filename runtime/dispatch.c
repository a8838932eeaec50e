/* The ladder over the winner tables. */
#include "runtime/dispatch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

const char *dispatch_rung_name(seqtune_rung rung) {
    static const char *const names[] = {"exact", "nearest", "other-gpu", "default", "forced"};
    return (unsigned)rung < sizeof names / sizeof names[0] ? names[rung] : "?";
}

/* Rows of several measurement policies may serve; the one nearest to deployment comes first. */
static int policy_rank(const char *policy) {
    static const char *const order[] = {"graph warm", "graph cold", "eager warm", "eager cold"};
    int n = (int)(sizeof order / sizeof order[0]);
    for (int i = 0; i < n; i++)
        if (strcmp(policy, order[i]) == 0) return i;
    return n;
}

static bool is_modelled(const char *gpu_key) {
    return strstr(gpu_key, "evidence=modelled") != NULL;
}

typedef struct GpuVector {
    int cc, sms, mem_bits, smem;
    long long clock, mem_clock, l2;
} GpuVector;

static bool parse_gpu(const char *key, GpuVector *out) {
    return sscanf(key, "cc=%d sms=%d clock=%lld mem=%lldx%d l2=%lld smem=%d", &out->cc, &out->sms,
                  &out->clock, &out->mem_clock, &out->mem_bits, &out->l2, &out->smem) == 7;
}

static double log_ratio(double a, double b) {
    if (a == b) return 0;
    /* A property that one key does not know weighs like a factor of two. */
    return a <= 0 || b <= 0 ? 1 : fabs(log2(a / b));
}

double dispatch_gpu_distance(const char *key_a, const char *key_b) {
    GpuVector a, b;
    if (!parse_gpu(key_a, &a) || !parse_gpu(key_b, &b) || a.cc != b.cc) return -1;
    return log_ratio(a.sms, b.sms) + log_ratio((double)a.clock, (double)b.clock) +
           log_ratio((double)a.mem_clock * a.mem_bits, (double)b.mem_clock * b.mem_bits) +
           log_ratio((double)a.l2, (double)b.l2) + log_ratio(a.smem, b.smem);
}

typedef struct Scan {
    const seqtune_context *ctx;
    const GenProblem *problem;
    const char *key; /* the problem's bucket */
    bool other_gpus; /* rows of this GPU, or of the others */
    bool found;
    double cost; /* of the best so far */
    int policy;
    DispatchChoice best;
    char dropped[512];
} Scan;

/* Why a row cannot serve, or NULL. Rows are untrusted: everything is checked against the spec. */
static const char *refuse(const Scan *scan, const DbWinner *row, GenConfig *config) {
    const DbKey *key = &row->verdict.key;
    GenReject why = {0};
    Error err = {0};
    const GenSpec *spec = scan->problem->spec;
    if (key->generation != gen_spec_generation(spec)) return "is of another generation of the spec";
    if (scan->ctx->device.gpu.measured && is_modelled(key->gpu_key) && !scan->ctx->use_modelled)
        return "is modelled, and use_modelled is off";
    if (gen_config_parse(spec, row->verdict.config, config, &err) != ST_OK)
        return "has a configuration outside the space";
    if (gen_config_check(scan->problem, &scan->ctx->device.gpu, config, NULL, &why, &err) !=
            ST_OK ||
        why.rejected)
        return "has a configuration that is not legal here";
    return NULL;
}

static void keep(Scan *scan, const DbWinner *row, const GenConfig *config, double distance) {
    const DbVerdict *v = &row->verdict;
    DispatchChoice *best = &scan->best;
    scan->found = true;
    best->config = *config;
    best->row = row->row;
    best->distance = distance;
    best->modelled = is_modelled(v->key.gpu_key);
    best->time_us = v->time_s * 1e6;
    best->rung = scan->other_gpus                             ? SEQTUNE_RUNG_OTHER_GPU
                 : strcmp(v->key.problem_key, scan->key) == 0 ? SEQTUNE_RUNG_EXACT
                                                              : SEQTUNE_RUNG_NEAREST;
    snprintf(best->row_key, sizeof best->row_key, "%s", v->key.problem_key);
    snprintf(best->row_gpu, sizeof best->row_gpu, "%s", v->key.gpu_key);
    snprintf(best->policy, sizeof best->policy, "%s", v->key.policy);
}

/* Smaller cost, then the preferred policy, then the smaller row: the order of rows in the file
 * decides nothing. */
static bool better(const Scan *scan, double cost, int policy, int64_t row) {
    if (!scan->found || cost != scan->cost) return !scan->found || cost < scan->cost;
    return policy != scan->policy ? policy < scan->policy : row < scan->best.row;
}

static Status visit(void *context, const DbWinner *row, Error *err) {
    Scan *scan = context;
    const DbKey *key = &row->verdict.key;
    const char *own = scan->ctx->device.key;
    (void)err;
    if ((strcmp(key->gpu_key, own) == 0) == scan->other_gpus) return ST_OK;
    double distance = gen_key_distance(scan->problem->spec, key->problem_key, scan->key);
    double gpu = scan->other_gpus ? dispatch_gpu_distance(key->gpu_key, own) : 0;
    if (distance < 0 || gpu < 0) return ST_OK;
    int policy = policy_rank(key->policy);
    if (!better(scan, distance + gpu, policy, row->row)) return ST_OK;
    GenConfig config;
    const char *why = refuse(scan, row, &config);
    if (why != NULL) {
        log_write(distance == 0 && gpu == 0 ? LOG_INFO : LOG_DEBUG, "db",
                  "row skipped row=%lld kernel=%s key=\"%s\": %s", (long long)row->row, key->kernel,
                  key->problem_key, why);
        return ST_OK;
    }
    keep(scan, row, &config, distance);
    scan->cost = distance + gpu;
    scan->policy = policy;
    return ST_OK;
}

/* False: the database cannot be read. It is left out, loudly: dispatch never fails for lack of
 * tuning. */
static bool scan_db(Scan *scan, Db *db) {
    Error why = {0};
    const char *gpu = scan->other_gpus ? NULL : scan->ctx->device.key;
    Status st = db_each_winner(db, gen_spec_name(scan->problem->spec), gpu, visit, scan, &why);
    if (st != ST_OK) {
        log_write(LOG_WARN, "db", "dispatch: %s; going on without this database", why.message);
        snprintf(scan->dropped, sizeof scan->dropped, "%.511s", why.message);
        scan->found = false;
    }
    if (scan->found) snprintf(scan->best.database, sizeof scan->best.database, "%s", db_path(db));
    return st == ST_OK;
}

static void log_choice(seqtune_context *ctx, const GenProblem *problem,
                       const DispatchChoice *choice) {
    const char *kernel = gen_spec_name(problem->spec);
    switch (choice->rung) {
    case SEQTUNE_RUNG_EXACT:
        log_write(LOG_DEBUG, "db", "dispatch exact kernel=%s row=%lld db=%s", kernel,
                  (long long)choice->row, choice->database);
        break;
    case SEQTUNE_RUNG_NEAREST:
        log_write(LOG_INFO, "db",
                  "dispatch nearest kernel=%s row=%lld key=\"%s\" distance=%.2f db=%s", kernel,
                  (long long)choice->row, choice->row_key, choice->distance, choice->database);
        break;
    case SEQTUNE_RUNG_OTHER_GPU:
        log_write(atomic_exchange(&ctx->warned_other_gpu, true) ? LOG_DEBUG : LOG_WARN, "db",
                  "dispatch other-gpu kernel=%s row=%lld gpu=\"%s\" db=%s: tune this GPU with "
                  "`seqtune --gpu auto`",
                  kernel, (long long)choice->row, choice->row_gpu, choice->database);
        break;
    default:
        log_write(LOG_INFO, "db",
                  "dispatch default kernel=%s: no tuned row serves it; run `seqtune --gpu auto`",
                  kernel);
        break;
    }
}

Status dispatch_choose(seqtune_context *ctx, const GenProblem *problem, DispatchChoice *out,
                       Error *err) {
    Str key = {0};
    gen_problem_key(problem, &key);
    if (key.failed) return err_no_memory(err, key.len);
    Scan scan = {.ctx = ctx, .problem = problem, .key = str_text(&key)};
    bool bad[DB_ROLE_COUNT] = {false};
    Status st = ST_OK;
    /* All databases for this GPU before any for another: a user's row of another machine must not
     * hide the fleet's row of this one. */
    pthread_mutex_lock(&ctx->lock);
    for (int other = 0; other < 2 && !scan.found; other++) {
        scan.other_gpus = other == 1;
        for (int i = 0; i < DB_ROLE_COUNT && !scan.found; i++)
            if (ctx->db[i] != NULL && !bad[i]) bad[i] = !scan_db(&scan, ctx->db[i]);
    }
    pthread_mutex_unlock(&ctx->lock);
    if (scan.found) {
        *out = scan.best;
    } else {
        *out = (DispatchChoice){.rung = SEQTUNE_RUNG_DEFAULT};
        st = gen_default(problem, &ctx->device.gpu, &out->config, err);
    }
    snprintf(out->dropped, sizeof out->dropped, "%s", scan.dropped);
    if (st == ST_OK) log_choice(ctx, problem, out);
    str_free(&key);
    return st;
}
