/* Enumerate, drop, sort, cut. Deterministic: equal scores keep the order of the space. */
#include "tuner/candidates.h"

#include <stdlib.h>

#include "base/mem.h"

enum { MAX_SEEDS = 32, MAX_KNOWN = 8 };

typedef struct Scored {
    GenConfig config;
    GenResources resources;
    size_t order;
} Scored;

typedef struct Legal {
    Scored *items;
    size_t count, cap, enumerated;
    bool failed;
} Legal;

static bool collect(void *context, const GenConfig *config, const GenResources *resources,
                    const GenReject *why) {
    Legal *legal = context;
    legal->enumerated += why->count;
    if (why->rejected) return true;
    if (legal->count == legal->cap) {
        size_t cap = legal->cap ? 2 * legal->cap : 256;
        Scored *grown = mem_realloc(legal->items, cap * sizeof *grown);
        if (!grown) {
            legal->failed = true;
            return false;
        }
        legal->items = grown;
        legal->cap = cap;
    }
    legal->items[legal->count] =
        (Scored){.config = *config, .resources = *resources, .order = legal->count};
    legal->count++;
    return true;
}

static int by_score(const void *a, const void *b) {
    const Scored *x = a, *y = b;
    if (x->resources.score != y->resources.score) {
        return x->resources.score > y->resources.score ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

static bool listed(const Candidates *out, const GenSpec *spec, const GenConfig *config) {
    for (size_t i = 0; i < out->count; i++) {
        if (gen_config_equal(spec, &out->items[i].config, config)) return true;
    }
    return false;
}

static const Scored *find(const Legal *legal, const GenSpec *spec, const GenConfig *config) {
    for (size_t i = 0; i < legal->count; i++) {
        if (gen_config_equal(spec, &legal->items[i].config, config)) return &legal->items[i];
    }
    return NULL;
}

static void add_seeds(const GenSpec *spec, const Legal *legal, const GenConfig *seeds, size_t count,
                      Candidates *out) {
    for (size_t i = 0; i < count; i++) {
        const Scored *s = find(legal, spec, &seeds[i]);
        if (!s || listed(out, spec, &seeds[i])) continue;
        out->items[out->count] = (Candidate){.config = s->config,
                                             .resources = s->resources,
                                             .is_default = out->count == 0,
                                             .is_seed = true};
        out->count++;
    }
}

/* Default, seeds, known ones, in this order; the default is always the first. */
static Status preferred(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *known,
                        size_t known_count, GenConfig *out, size_t *count, Error *err) {
    size_t seeds = 0;
    Status st = gen_default(problem, gpu, &out[0], err);
    if (st == ST_OK) st = gen_seeds(problem, gpu, out + 1, MAX_SEEDS, &seeds, err);
    *count = seeds + 1;
    for (size_t i = 0; i < known_count && i < MAX_KNOWN; i++) out[(*count)++] = known[i];
    return st;
}

static Status choose(const GenSpec *spec, Legal *legal, const GenConfig *first, size_t first_count,
                     size_t effort, Arena *arena, Candidates *out, Error *err) {
    size_t best = effort < legal->count ? effort : legal->count;
    out->items = ARENA_ARRAY(arena, Candidate, first_count + best);
    if (!out->items) return err_no_memory(err, (first_count + best) * sizeof *out->items);
    add_seeds(spec, legal, first, first_count, out);
    qsort(legal->items, legal->count, sizeof *legal->items, by_score);
    for (size_t i = 0; i < best; i++) {
        if (listed(out, spec, &legal->items[i].config)) continue;
        out->items[out->count++] =
            (Candidate){.config = legal->items[i].config, .resources = legal->items[i].resources};
    }
    out->untried = legal->count - out->count;
    return ST_OK;
}

Status candidates_choose(const GenProblem *problem, const GpuInfo *gpu, const GenConfig *known,
                         size_t known_count, size_t effort, Arena *arena, Candidates *out,
                         Error *err) {
    GenConfig first[1 + MAX_SEEDS + MAX_KNOWN];
    size_t first_count = 0;
    *out = (Candidates){0};
    Legal legal = {0};
    Status st = gen_enumerate(problem, gpu, collect, &legal, err);
    if (st == ST_OK && legal.failed) {
        st = err_no_memory(err, 2 * legal.cap * sizeof *legal.items);
    }
    out->enumerated = legal.enumerated;
    out->ruled_out = legal.enumerated - legal.count;
    if (st == ST_OK) st = preferred(problem, gpu, known, known_count, first, &first_count, err);
    if (st == ST_OK) {
        st = choose(problem->spec, &legal, first, first_count, effort, arena, out, err);
    }
    mem_free(legal.items);
    return st;
}
