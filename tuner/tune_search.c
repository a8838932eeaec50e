/* Local search: when all candidates of a problem are over, the neighbours of the fastest one on
 * each axis are tried, twice at most. They are chosen from recorded times alone, so that a second
 * run walks the same way through the database. */
#include "tuner/tune.h"

enum { ROUNDS = 2, MOST_NEIGHBOURS = 4 };

typedef struct Neighbour {
    GenConfig config;
    GenResources resources;
} Neighbour;

typedef struct Neighbours {
    Neighbour items[MOST_NEIGHBOURS]; /* by score, best first */
    size_t count, max;
} Neighbours;

size_t tune_search_room(size_t effort) {
    size_t per_round = (effort + 1) / 2;
    return ROUNDS * (per_round < MOST_NEIGHBOURS ? per_round : MOST_NEIGHBOURS);
}

static const TuneTrial *fastest(const Tune *t, const TuneProblem *p) {
    const TuneTrial *best = NULL;
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (x->owner != p || x->is_baseline || !x->done || x->outcome != DB_OK) continue;
        if (!best || x->time.median < best->time.median) best = x;
    }
    return best;
}

static bool tried(const Tune *t, const TuneProblem *p, const GenConfig *config) {
    for (size_t i = 0; i < t->trial_count; i++) {
        const TuneTrial *x = &t->trials[i];
        if (x->owner == p && !x->is_baseline &&
            gen_config_equal(p->item->problem.spec, &x->config, config)) {
            return true;
        }
    }
    return false;
}

/* Sorted insertion; the first found stays first among equal scores. */
static void keep(Neighbours *n, const Neighbour *one) {
    size_t at = n->count;
    while (at > 0 && n->items[at - 1].resources.score < one->resources.score) at--;
    if (at >= n->max) return;
    if (n->count < n->max) n->count++;
    for (size_t i = n->count - 1; i > at; i--) n->items[i] = n->items[i - 1];
    n->items[at] = *one;
}

static Status consider(const Tune *t, const TuneProblem *p, const GenConfig *config,
                       Neighbours *out, Error *err) {
    Neighbour one = {.config = *config};
    GenReject why = {0};
    if (tried(t, p, config)) return ST_OK;
    Status st =
        gen_config_check(&p->item->problem, &t->target->gpu, config, &one.resources, &why, err);
    if (st == ST_OK && !why.rejected) keep(out, &one);
    return st;
}

/* One step up or down on one axis. */
static Status collect(const Tune *t, const TuneProblem *p, const GenConfig *from, Neighbours *out,
                      Error *err) {
    size_t axes;
    const GenAxis *axis = gen_axes(p->item->problem.spec, &axes);
    for (size_t a = 0; a < axes; a++) {
        for (size_t v = 0; v < axis[a].count; v++) {
            bool before = v + 1 < axis[a].count && axis[a].values[v + 1] == from->value[a];
            bool after = v > 0 && axis[a].values[v - 1] == from->value[a];
            if (!before && !after) continue;
            GenConfig config = *from;
            config.value[a] = axis[a].values[v];
            Status st = consider(t, p, &config, out, err);
            if (st != ST_OK) return st;
        }
    }
    return ST_OK;
}

Status tune_search(Tune *t, TuneProblem *p, size_t *added, Error *err) {
    *added = 0;
    const TuneTrial *best = fastest(t, p);
    /* Not after a final: what came later would not have been timed beside the others. */
    if (!best || p->searches == ROUNDS || p->final_asked) return ST_OK;
    p->searches++;
    Neighbours n = {.max = tune_search_room(t->settings.effort) / ROUNDS};
    Status st = collect(t, p, &best->config, &n, err);
    for (size_t i = 0; i < n.count && st == ST_OK; i++) {
        st = tune_add_trial(t, p, &n.items[i].config, &n.items[i].resources, err);
        if (st == ST_OK) ++*added;
    }
    if (*added == 0) p->searches = ROUNDS;
    return st;
}
