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
    const CoverSet *rows; /* so far */
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

/* Takes the expensive axes of a random earlier row; false when they contradict what is fixed. */
static bool reuse(State *s, const bool *fixed, CoverRow *row) {
    const CoverRow *old = &s->rows->rows[random_below(&s->rng, (int64_t)s->rows->count)];
    for (int a = 0; a < s->spec->expensive; a++) {
        if (fixed[a] && row->value[a] != old->value[a]) return false;
    }
    memcpy(row->value, old->value, (size_t)s->spec->expensive * sizeof *row->value);
    return true;
}

/* A random legal row with the fixed values; `repeat`: one that repeats an expensive combination. */
static bool draw_legal(State *s, const bool *fixed, bool repeat, CoverRow *row) {
    for (int draw = 0; draw < COVER_DRAWS; draw++) {
        if (repeat && !reuse(s, fixed, row)) continue;
        for (int a = repeat ? s->spec->expensive : 0; a < s->spec->axis_count; a++) {
            if (!fixed[a]) row->value[a] = (int)random_below(&s->rng, s->spec->axes[a].count);
        }
        if (s->spec->legal(s->spec->context, row)) return true;
    }
    return false;
}

static bool is_expensive(const State *s, const AxisSet *set) {
    int n = 0;
    for (int i = 0; i < set->width; i++) n += set->axes[i] < s->spec->expensive;
    return n == set->width;
}

/* New tuples of a row; for a new expensive combination only those of expensive axes count. */
static size_t gain(const State *s, const CoverRow *row, bool expensive) {
    size_t n = 0;
    for (size_t i = 0; i < s->set_count; i++) {
        if (expensive && !is_expensive(s, &s->sets[i])) continue;
        n += s->tuple[tuple_of(s, &s->sets[i], row)] == MISSING;
    }
    return n;
}

/* Changes one free axis at a time as long as the row stays legal and gains. */
static size_t climb(const State *s, const bool *fixed, int first, bool expensive, CoverRow *row) {
    size_t best = gain(s, row, expensive);
    for (int a = first; a < s->spec->axis_count; a++) {
        for (int v = 0; v < s->spec->axes[a].count && !fixed[a]; v++) {
            const int old = row->value[a];
            row->value[a] = v;
            const size_t g = s->spec->legal(s->spec->context, row) ? gain(s, row, expensive) : 0;
            if (g > best)
                best = g;
            else
                row->value[a] = old;
        }
    }
    return best;
}

/* The best legal row with this tuple; false when none was drawn. */
static bool best_row(State *s, const AxisSet *set, size_t index, bool repeat, CoverRow *best) {
    const bool expensive = s->spec->expensive > 0 && is_expensive(s, set);
    size_t best_gain = 0;
    for (int c = 0; c < CANDIDATES; c++) {
        CoverRow row = {{0}};
        bool fixed[COVER_MAX_AXES] = {false};
        fix_tuple(s, set, index, &row, fixed);
        if (!draw_legal(s, fixed, repeat, &row)) return c > 0;
        const size_t g = climb(s, fixed, repeat ? s->spec->expensive : 0, expensive, &row);
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

/* Covers the missing tuples of one set. */
static bool cover_set(State *s, const AxisSet *set, CoverSet *out) {
    for (size_t t = 0; t < set->size; t++) {
        if (s->tuple[set->first + t] != MISSING) continue;
        CoverRow row;
        const bool repeat = !is_expensive(s, set) && s->spec->expensive > 0 && out->count > 0;
        if (!(repeat && best_row(s, set, t, true, &row)) && !best_row(s, set, t, false, &row)) {
            s->tuple[set->first + t] = IMPOSSIBLE;
            out->impossible++;
            continue;
        }
        if (!append(out, &row)) return false;
        for (size_t j = 0; j < s->set_count; j++) {
            s->tuple[tuple_of(s, &s->sets[j], &row)] = COVERED;
        }
    }
    return true;
}

static bool cover(State *s, CoverSet *out) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < s->set_count; i++) {
            if (is_expensive(s, &s->sets[i]) != (pass == 0)) continue;
            if (!cover_set(s, &s->sets[i], out)) return false;
        }
    }
    return true;
}

static size_t count_variants(const CoverSpec *spec, const CoverSet *set) {
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        const size_t bytes = (size_t)spec->expensive * sizeof(int);
        size_t j = 0;
        while (j < i && memcmp(set->rows[i].value, set->rows[j].value, bytes) != 0) j++;
        count += j == i;
    }
    return count;
}

bool covering_build(const CoverSpec *spec, CoverSet *out) {
    *out = (CoverSet){.product = 1};
    State *s = mem_alloc(sizeof *s);
    if (!s) return false;
    s->spec = spec;
    s->rng.state = spec->seed;
    s->rows = out;
    for (int i = 0; i < spec->triple_count; i++) add_set(s, spec->triples[i], 3);
    for (int a = 0; a < spec->axis_count; a++) {
        out->product *= spec->axes[a].count;
        for (int b = a + 1; b < spec->axis_count; b++) add_set(s, (int[]){a, b}, 2);
    }
    out->tuples = s->tuple_count;
    s->tuple = mem_alloc(s->tuple_count + 1);
    const bool done = s->tuple && cover(s, out);
    out->variants = count_variants(spec, out);
    mem_free(s->tuple);
    mem_free(s);
    if (!done) covering_free(out);
    return done;
}

void covering_free(CoverSet *set) {
    mem_free(set->rows);
    *set = (CoverSet){0};
}
