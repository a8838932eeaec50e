/* Greedy covering arrays: each new row starts from a tuple that is still missing and is the best of
 * a few random legal completions. */
#include "tests/verify/covering.h"

#include <string.h>

#include "base/mem.h"
#include "tuner/verify/random.h"

enum { CANDIDATES = 24, MAX_SETS = COVER_MAX_AXES * COVER_MAX_AXES / 2 + COVER_MAX_TRIPLES };

enum { MISSING, COVERED, IMPOSSIBLE };

/* The tuples of 2 or 3 axes: `size` entries of State.tuple from `first` on. */
typedef struct AxisSet {
    int axes[3];
    int width;
    size_t first, size;
} AxisSet;

typedef struct State {
    const CoverSpec *spec;
    AxisSet sets[MAX_SETS];
    size_t set_count;
    unsigned char *tuple;
    size_t tuple_count;
    Random rng;
} State;

static void add_set(State *s, const int *axes, int width) {
    AxisSet *set = &s->sets[s->set_count++];
    *set = (AxisSet){.width = width, .first = s->tuple_count, .size = 1};
    for (int i = 0; i < width; i++) {
        set->axes[i] = axes[i];
        set->size *= (size_t)s->spec->axes[axes[i]].count;
    }
    s->tuple_count += set->size;
}

static size_t tuple_of(const State *s, const AxisSet *set, const CoverRow *row) {
    size_t index = 0;
    for (int i = 0; i < set->width; i++) {
        const int axis = set->axes[i];
        index = index * (size_t)s->spec->axes[axis].count + (size_t)row->value[axis];
    }
    return set->first + index;
}

/* Puts the values of tuple `index` of `set` into the row and marks their axes as fixed. */
static void fix_tuple(const State *s, const AxisSet *set, size_t index, CoverRow *row,
                      bool *fixed) {
    for (int i = set->width; i-- > 0;) {
        const size_t count = (size_t)s->spec->axes[set->axes[i]].count;
        row->value[set->axes[i]] = (int)(index % count);
        fixed[set->axes[i]] = true;
        index /= count;
    }
}

static bool draw_legal(State *s, const bool *fixed, CoverRow *row) {
    for (int draw = 0; draw < COVER_DRAWS; draw++) {
        for (int a = 0; a < s->spec->axis_count; a++) {
            if (!fixed[a]) row->value[a] = (int)random_below(&s->rng, s->spec->axes[a].count);
        }
        if (s->spec->legal(s->spec->context, row)) return true;
    }
    return false;
}

static size_t gain(const State *s, const CoverRow *row) {
    size_t n = 0;
    for (size_t i = 0; i < s->set_count; i++) {
        n += s->tuple[tuple_of(s, &s->sets[i], row)] == MISSING;
    }
    return n;
}

/* The best legal row with this tuple; false when none was drawn. */
static bool best_row(State *s, const AxisSet *set, size_t index, CoverRow *best) {
    size_t best_gain = 0;
    for (int c = 0; c < CANDIDATES; c++) {
        CoverRow row = {{0}};
        bool fixed[COVER_MAX_AXES] = {false};
        fix_tuple(s, set, index, &row, fixed);
        if (!draw_legal(s, fixed, &row)) return c > 0;
        const size_t g = gain(s, &row);
        if (g > best_gain) {
            best_gain = g;
            *best = row;
        }
    }
    return true;
}

static bool append(CoverSet *out, const CoverRow *row) {
    CoverRow *rows = mem_realloc(out->rows, (out->count + 1) * sizeof *rows);
    if (!rows) return false;
    rows[out->count++] = *row;
    out->rows = rows;
    return true;
}

static bool cover(State *s, CoverSet *out) {
    for (size_t i = 0; i < s->set_count; i++) {
        const AxisSet *set = &s->sets[i];
        for (size_t t = 0; t < set->size; t++) {
            if (s->tuple[set->first + t] != MISSING) continue;
            CoverRow row;
            if (!best_row(s, set, t, &row)) {
                s->tuple[set->first + t] = IMPOSSIBLE;
                out->impossible++;
                continue;
            }
            if (!append(out, &row)) return false;
            for (size_t j = 0; j < s->set_count; j++) {
                s->tuple[tuple_of(s, &s->sets[j], &row)] = COVERED;
            }
        }
    }
    return true;
}

bool covering_build(const CoverSpec *spec, CoverSet *out) {
    *out = (CoverSet){.product = 1};
    State *s = mem_alloc(sizeof *s);
    if (!s) return false;
    s->spec = spec;
    s->rng.state = spec->seed;
    for (int i = 0; i < spec->triple_count; i++) add_set(s, spec->triples[i], 3);
    for (int a = 0; a < spec->axis_count; a++) {
        out->product *= spec->axes[a].count;
        for (int b = a + 1; b < spec->axis_count; b++) add_set(s, (int[]){a, b}, 2);
    }
    out->tuples = s->tuple_count;
    s->tuple = mem_alloc(s->tuple_count + 1);
    const bool done = s->tuple && cover(s, out);
    mem_free(s->tuple);
    mem_free(s);
    if (!done) covering_free(out);
    return done;
}

void covering_free(CoverSet *set) {
    mem_free(set->rows);
    *set = (CoverSet){0};
}
