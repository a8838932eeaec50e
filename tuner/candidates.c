/* Enumerate, drop, sort, cut. Deterministic: equal scores keep the order of the space. */
#include "tuner/candidates.h"

#include <stdlib.h>

#include "base/mem.h"

enum { MAX_SEEDS = 32 };

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
    legal->enumerated++;
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

static Status choose(const GenProblem *problem, const GpuInfo *gpu, Legal *legal, size_t effort,
                     Arena *arena, Candidates *out, Error *err) {
    GenConfig seeds[MAX_SEEDS + 1];
    size_t seed_count = 0;
    Status st = gen_default(problem, gpu, &seeds[0], err);
    if (st == ST_OK) st = gen_seeds(problem, gpu, seeds + 1, MAX_SEEDS, &seed_count, err);
    if (st != ST_OK) return st;
    size_t most = seed_count + 1 + (effort < legal->count ? effort : legal->count);
    out->items = ARENA_ARRAY(arena, Candidate, most);
    if (!out->items) return err_no_memory(err, most * sizeof *out->items);
    add_seeds(problem->spec, legal, seeds, seed_count + 1, out);
    qsort(legal->items, legal->count, sizeof *legal->items, by_score);
    size_t best = effort < legal->count ? effort : legal->count;
    for (size_t i = 0; i < best; i++) {
        if (listed(out, problem->spec, &legal->items[i].config)) continue;
        out->items[out->count++] =
            (Candidate){.config = legal->items[i].config, .resources = legal->items[i].resources};
    }
    out->enumerated = legal->enumerated;
    out->ruled_out = legal->enumerated - legal->count;
    out->untried = legal->count - out->count;
    return ST_OK;
}

Status candidates_choose(const GenProblem *problem, const GpuInfo *gpu, size_t effort, Arena *arena,
                         Candidates *out, Error *err) {
    *out = (Candidates){0};
    Legal legal = {0};
    Status st = gen_enumerate(problem, gpu, collect, &legal, err);
    if (st == ST_OK && legal.failed) {
        st = err_no_memory(err, 2 * legal.cap * sizeof *legal.items);
    }
    if (st == ST_OK) st = choose(problem, gpu, &legal, effort, arena, out, err);
    mem_free(legal.items);
    return st;
}
