/* A scan over the winner table; it holds one row per kernel, bucket and GPU. */
#include "tuner/known.h"

#include <string.h>

#include "runtime/dispatch.h"

/* Another architecture is farther than any shape on the same one: 2^16 in one length. */
static const double other_architecture = 16;

typedef struct Scan {
    const GenProblem *problem;
    const char *gpu_key, *problem_key;
    GenConfig *out;
    double distance[16];
    size_t max, count;
} Scan;

static double distance_of(const Scan *s, const DbVerdict *v) {
    double shape = gen_key_distance(s->problem->spec, s->problem_key, v->key.problem_key);
    double gpu = dispatch_gpu_distance(s->gpu_key, v->key.gpu_key);
    if (shape < 0) return -1;
    return shape + (gpu < 0 ? other_architecture : gpu);
}

/* Keeps out[] sorted; an equal configuration keeps its nearer place. */
static void insert(Scan *s, const GenConfig *config, double distance) {
    const GenSpec *spec = s->problem->spec;
    for (size_t i = 0; i < s->count; i++) {
        if (!gen_config_equal(spec, &s->out[i], config)) continue;
        if (s->distance[i] <= distance) return;
        s->count--;
        memmove(&s->out[i], &s->out[i + 1], (s->count - i) * sizeof *s->out);
        memmove(&s->distance[i], &s->distance[i + 1], (s->count - i) * sizeof *s->distance);
        break;
    }
    size_t at = s->count;
    while (at > 0 && s->distance[at - 1] > distance) at--;
    if (at >= s->max) return;
    size_t kept = s->count < s->max ? s->count : s->max - 1;
    memmove(&s->out[at + 1], &s->out[at], (kept - at) * sizeof *s->out);
    memmove(&s->distance[at + 1], &s->distance[at], (kept - at) * sizeof *s->distance);
    s->out[at] = *config;
    s->distance[at] = distance;
    s->count = kept + 1;
}

static Status visit(void *context, const DbWinner *winner, Error *err) {
    Scan *s = context;
    const DbVerdict *v = &winner->verdict;
    GenConfig config;
    (void)err;
    if (strcmp(v->key.gpu_key, s->gpu_key) == 0) return ST_OK;
    if (v->key.generation != gen_spec_generation(s->problem->spec)) return ST_OK;
    double distance = distance_of(s, v);
    /* A row of an older space may name what does not exist any more: no seed, no error. */
    if (distance < 0 || gen_config_parse(s->problem->spec, v->config, &config, NULL) != ST_OK) {
        return ST_OK;
    }
    insert(s, &config, distance);
    return ST_OK;
}

Status known_seeds(Db *db, const GenProblem *problem, const char *gpu_key, GenConfig *out,
                   size_t max, size_t *count, Error *err) {
    Str key = {0};
    gen_problem_key(problem, &key);
    Scan s = {.problem = problem, .gpu_key = gpu_key, .problem_key = str_text(&key), .out = out};
    s.max = max < sizeof s.distance / sizeof s.distance[0]
                ? max
                : sizeof s.distance / sizeof s.distance[0];
    Status st =
        s.max == 0 ? ST_OK : db_each_winner(db, gen_spec_name(problem->spec), NULL, visit, &s, err);
    *count = s.count;
    str_free(&key);
    return st;
}
