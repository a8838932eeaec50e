/* Variants of every family, sampled by a covering array over GPU, static dimensions, tuning axes
 * and case (docs/verification.md), verified on the software GPU.
 *
 *     test_verify_variants                 the sample
 *     SEQTUNE_CASE=attn_prefill:17 ...     row 17 of one family's sample; without a row: all of it
 *     SEQTUNE_ALL=1 ...                    also every legal configuration of three named problems
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/str.h"
#include "runtime/context.h"
#include "tests/verify/covering.h"
#include "tests/verify/devices.h"
#include "tuner/verify/attention_cases.h"
#include "tuner/verify/random.h"
#include "tuner/verify/verify.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- the axes of attention that no spec lists ---- */

typedef struct Lengths {
    const char *name;
    int q_blocks, q_plus; /* len_q = q_blocks * block_m + q_plus */
    int kv_blocks, kv_plus;
} Lengths;

static const Lengths lengths[] = {
    {"square, ragged", 1, 1, 2, 1}, {"decode", 0, 1, 2, 1},          {"short q", 0, 33, 1, 1},
    {"one key", 1, -1, 0, 1},       {"more queries", 1, 3, 0, 21},   {"no keys", 0, 5, 0, 0},
    {"whole tiles", 1, 0, 2, 0},    {"one key short", 0, 17, 3, -1},
};

/* Of kernels that split keys: len_q <= 16, len_kv = kv_parts * 128 + kv_plus (of batch-invariant
 * ones 1024). */
static const Lengths decode_lengths[] = {
    {"one query", 0, 1, 1, 1},   {"verify 4", 0, 4, 2, 3},  {"most queries", 0, 16, 1, 0},
    {"one key", 0, 2, 0, 1},     {"two parts", 0, 2, 2, 0}, {"no keys", 0, 3, 0, 0},
    {"fewer keys", 0, 13, 0, 7}, {"odd", 0, 7, 3, -1},
};

typedef struct Window {
    const char *name;
    seqtune_mask mask;
    seqtune_window_kind kind;
    int left_tiles, left_plus, right_tiles, right_plus; /* tiles of block_n */
} Window;

static const Window windows[] = {
    {"off", SEQTUNE_MASK_NONE, SEQTUNE_WINDOW_OFF, 0, 0, 0, 0},
    {"own key", SEQTUNE_MASK_CAUSAL, SEQTUNE_WINDOW_LEFT, 0, 0, 0, 0},
    {"causal, tile - 1", SEQTUNE_MASK_CAUSAL, SEQTUNE_WINDOW_LEFT, 1, -1, 0, 0},
    {"left 2, right open", SEQTUNE_MASK_NONE, SEQTUNE_WINDOW_LEFT, 0, 2, 0, 0},
    {"1 and 2", SEQTUNE_MASK_NONE, SEQTUNE_WINDOW_BOTH, 0, 1, 0, 2},
    {"tile and tile + 1", SEQTUNE_MASK_NONE, SEQTUNE_WINDOW_BOTH, 1, 0, 1, 1},
};

static const int groups[] = {1, 3, 4, 5, 6, 7, 8, 12, 64};

/* ---- a family's sample ---- */

typedef struct Family {
    const char *spec;
    bool attention;
    const char *triples[7][3]; /* by axis name; axes that a family lacks drop the triple */
} Family;

static const Family families[] = {
    {"attn_prefill",
     true,
     {{"mask", "window", "length"},
      {"mask", "window", "pack_group"},
      {"mask", "window", "kv"},
      {"mask", "length", "kv"},
      {"pack_group", "ragged", "kv"},
      {"window", "length", "pack_group"},
      {"mask", "length", "pack_group"}}},
    {"attn_naive", true, {{"mask", "window", "length"}}},
    {"rope", false, {{NULL}}},
    {"attn_decode",
     true,
     {{"mask", "window", "length"}, {"tensor", "kv_dtype", "dtype"}, {"kv_dtype", "kv", "ragged"}}},
    {"attn_combine", false, {{NULL}}},
    {"kv_append", false, {{"kv_dtype", "rope", "qk_norm"}}},
    {"kv_gather", false, {{NULL}}},
};

/* Where the value of an axis comes from. */
typedef enum Origin { FROM_DEVICE, FROM_DIM, FROM_AXIS, FROM_CASE } Origin;

typedef struct Sample {
    const Family *family;
    const Devices *devices;
    const GenSpec *spec; /* of the first device; all share one source tree */
    CoverSpec cover;
    Origin origin[COVER_MAX_AXES];
    size_t index[COVER_MAX_AXES]; /* of the dimension or axis in the spec */
} Sample;

static void add_axis(Sample *s, const char *name, size_t count, Origin origin, size_t index) {
    const int at = s->cover.axis_count++;
    assert_true(at < COVER_MAX_AXES);
    s->cover.axes[at] = (CoverAxis){name, (int)count};
    s->origin[at] = origin;
    s->index[at] = index;
}

static int find_axis(const Sample *s, const char *name) {
    for (int a = 0; a < s->cover.axis_count; a++) {
        if (strcmp(s->cover.axes[a].name, name) == 0) return a;
    }
    return -1;
}

static int value(const Sample *s, const CoverRow *row, const char *name) {
    return row->value[find_axis(s, name)];
}

/* Ranges without a list (rope's head_dim) take these values. */
static const int64_t rope_dims[] = {128, 64, 80, 20};
static const int64_t rope_rotary[] = {128, 64, 32, 20};
static const int64_t rope_align[] = {8, 4, 2, 1};
/* Of the merge and the KV cache; rotary parts of 0 go with rope = none. */
static const int64_t cache_dims[] = {128, 64, 96, 8, 72, 256};
static const int64_t cache_rotary[] = {128, 64, 0, 20};
/* None, a tile's divisor, a tile's multiple, one that is neither, and a page per token. */
static const int64_t page_sizes[] = {0, 16, 128, 5, 1};

static size_t dim_values(const Sample *s, const GenDim *dim, const int64_t **values) {
    const bool rope = strcmp(s->family->spec, "rope") == 0;
    const struct {
        const char *name;
        bool rope;
        const int64_t *values;
        size_t count;
    } rows[] = {
        {"head_dim", true, rope_dims, COUNT(rope_dims)},
        {"head_dim", false, cache_dims, COUNT(cache_dims)},
        {"rotary_dim", true, rope_rotary, COUNT(rope_rotary)},
        {"rotary_dim", false, cache_rotary, COUNT(cache_rotary)},
        {"page_size", false, page_sizes, COUNT(page_sizes)},
    };
    *values = dim->ints;
    if (dim->kind == GEN_DIM_ENUM || dim->ints) return dim->count;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(dim->name, rows[i].name) == 0 && rope == rows[i].rope)
            return *values = rows[i].values, rows[i].count;
    fail_msg("the test knows no values for the static dimension %s", dim->name);
    return 0;
}

static bool has_dim(const GenSpec *spec, const char *name) {
    GenProblem problem;
    int64_t unused;
    gen_problem_init(spec, &problem);
    return gen_problem_get(&problem, name, &unused);
}

static void collect_axes(Sample *s) {
    size_t count;
    add_axis(s, "gpu", (size_t)s->devices->count, FROM_DEVICE, 0);
    const GenDim *dims = gen_dims(s->spec, &count);
    for (size_t i = 0; i < count; i++) {
        const int64_t *values;
        if (!dims[i].is_static) continue;
        add_axis(s, dims[i].name, dim_values(s, &dims[i], &values), FROM_DIM, i);
    }
    const GenAxis *axes = gen_axes(s->spec, &count);
    for (size_t i = 0; i < count; i++) add_axis(s, axes[i].name, axes[i].count, FROM_AXIS, i);
    s->cover.expensive = s->cover.axis_count; /* so far: what makes a source, to be compiled */
    if (s->family->attention) {
        add_axis(s, "window", COUNT(windows), FROM_CASE, 0);
        add_axis(s, "length", COUNT(lengths), FROM_CASE, 0);
        add_axis(s, "group", COUNT(groups), FROM_CASE, 0);
        add_axis(s, "layout", LAYOUT_COUNT, FROM_CASE, 0);
        if (has_dim(s->spec, "top_left")) add_axis(s, "top_left", 2, FROM_CASE, 0);
        if (has_dim(s->spec, "lengths")) add_axis(s, "ragged", 2, FROM_CASE, 0);
    } else if (has_dim(s->spec, "align")) {
        add_axis(s, "align", COUNT(rope_align), FROM_CASE, 0);
    }
    for (size_t t = 0; t < COUNT(s->family->triples); t++) {
        int found[3], hits = 0;
        for (int i = 0; i < 3 && s->family->triples[t][0]; i++) {
            found[i] = find_axis(s, s->family->triples[t][i]);
            hits += found[i] >= 0;
        }
        if (hits == 3) memcpy(s->cover.triples[s->cover.triple_count++], found, sizeof found);
    }
}

/* ---- a row: a variant and a case ---- */

typedef struct Item {
    seqtune_context *ctx;
    GenProblem problem;
    GenConfig config;
    AttentionCase c;
} Item;

static bool set_dim(const Sample *s, GenProblem *problem, size_t index, int pick) {
    size_t count;
    const GenDim *dim = &gen_dims(s->spec, &count)[index];
    const int64_t *values;
    dim_values(s, dim, &values);
    if (dim->kind == GEN_DIM_ENUM) {
        return gen_problem_set_word(problem, dim->name, dim->words[pick], NULL) == ST_OK;
    }
    return gen_problem_set(problem, dim->name, values[pick], NULL) == ST_OK;
}

/* What the case says of places and alignment; false where the variant or the mask has no such. */
static bool make_serving(const Sample *s, const CoverRow *row, Item *item) {
    const bool top_left = find_axis(s, "top_left") >= 0 && value(s, row, "top_left");
    if (top_left && item->c.mask != SEQTUNE_MASK_CAUSAL) return false;
    if (top_left) item->c.mask = SEQTUNE_MASK_CAUSAL_TOP_LEFT;
    if (find_axis(s, "ragged") < 0) return true;
    const bool ragged = value(s, row, "ragged");
    const bool paged = strcmp(gen_problem_word(&item->problem, "kv"), "paged") == 0;
    if (strcmp(gen_problem_word(&item->problem, "lengths"), "uniform") == 0) return !ragged;
    item->c.batch = 3;
    item->c.serving = paged ? (ragged ? SERVING_CSR : SERVING_PAGED)
                            : (ragged ? SERVING_RAGGED : SERVING_LENGTHS);
    return gen_problem_get(&item->problem, "page_size", &item->c.page_size);
}

static bool make_attention_case(const Sample *s, const CoverRow *row, Item *item) {
    const Window *w = &windows[value(s, row, "window")];
    const Lengths *l = &lengths[value(s, row, "length")];
    const char *mask = gen_problem_word(&item->problem, "mask");
    if ((strcmp(mask, "window") == 0) != (w->kind != SEQTUNE_WINDOW_OFF)) return false;
    const bool decode = has_dim(s->spec, "max_splits");
    int64_t bm, bn, invariant = 0;
    if (!gen_config_get(s->spec, &item->config, "block_m", &bm)) bm = 64;
    if (!gen_config_get(s->spec, &item->config, "block_n", &bn)) bn = 64;
    gen_problem_get(&item->problem, "invariant", &invariant);
    if (decode) l = &decode_lengths[value(s, row, "length")];
    if (decode) bn = invariant ? 1024 : 128;
    item->c = (AttentionCase){.batch = 1, .heads_kv = 2, .spare = 2, .lse = 1};
    item->c.group = groups[value(s, row, "group")];
    item->c.layout = (Layout)value(s, row, "layout");
    item->c.len_q = l->q_blocks * bm + l->q_plus;
    item->c.len_kv = l->kv_blocks * bn + l->kv_plus;
    item->c.mask = strcmp(mask, "causal") == 0 ? SEQTUNE_MASK_CAUSAL : w->mask;
    item->c.window.kind = w->kind;
    item->c.window.left = w->left_tiles * bn + w->left_plus;
    item->c.window.right = w->right_tiles * bn + w->right_plus;
    item->c.invariant = invariant;
    if (decode && item->c.len_q == 16) item->c.spare = 0;
    /* Many heads show what they have to in a few row blocks. */
    if (item->c.group > 8 && item->c.len_q * item->c.group > 2000)
        item->c.len_q = 2000 / item->c.group;
    if (item->c.len_q * item->c.group > 400) item->c.heads_kv = 1;
    return make_serving(s, row, item) &&
           gen_problem_set(&item->problem, "heads_q", item->c.heads_kv * item->c.group, NULL) ==
               ST_OK &&
           gen_problem_set(&item->problem, "heads_kv", item->c.heads_kv, NULL) == ST_OK;
}

static bool make_item(const Sample *s, const CoverRow *row, Item *item) {
    size_t count;
    const GenAxis *axes = gen_axes(s->spec, &count);
    gen_problem_init(s->spec, &item->problem);
    for (int a = 0; a < s->cover.axis_count; a++) {
        const int pick = row->value[a];
        if (s->origin[a] == FROM_DEVICE) item->ctx = s->devices->ctx[pick];
        if (s->origin[a] == FROM_AXIS) {
            item->config.value[s->index[a]] = axes[s->index[a]].values[pick];
        }
        if (s->origin[a] == FROM_DIM && !set_dim(s, &item->problem, s->index[a], pick))
            return false;
    }
    if (s->family->attention) return make_attention_case(s, row, item);
    if (find_axis(s, "align") < 0) return true;
    return gen_problem_set(&item->problem, "align", rope_align[value(s, row, "align")], NULL) ==
           ST_OK;
}

static bool legal(const void *context, const CoverRow *row) {
    const Sample *s = context;
    Item item;
    GenReject why;
    if (!make_item(s, row, &item)) return false;
    if (gen_problem_check(&item.problem, NULL) != ST_OK) return false;
    const GpuInfo *gpu = &item.ctx->device.gpu;
    return gen_config_check(&item.problem, gpu, &item.config, NULL, &why, NULL) == ST_OK &&
           !why.rejected;
}

/* The problem of this context's own library (specs belong to a library). */
static Status rebind(const Sample *s, Item *item, Error *err) {
    item->problem.spec = gen_spec_find(item->ctx->library, s->family->spec);
    return gen_problem_check(&item->problem, err);
}

static Status verify_item(const Sample *s, Item *item, VerifyResult *result, Error *err) {
    Status status = rebind(s, item, err);
    if (status != ST_OK) return status;
    if (!s->family->attention) {
        return verify_variant(item->ctx, s->family->spec, &item->problem, &item->config,
                              VERIFY_FULL, result, err);
    }
    static const Input inputs[] = {INPUT_RANDOM, INPUT_PROBE};
    for (size_t i = 0; i < COUNT(inputs) && status == ST_OK; i++) {
        item->c.input = inputs[i];
        status = verify_attention_case(item->ctx, s->family->spec, &item->problem, &item->config,
                                       &item->c, result, err);
    }
    return status;
}

static void print_row(const Sample *s, size_t number, const Item *item, const char *message) {
    Str config = {0};
    gen_config_text(s->spec, &item->config, &config);
    printf("# %s row %zu on %s, %s\n# %s\n# again: SEQTUNE_CASE=%s:%zu "
           "tests/bin/test_verify_variants\n",
           s->family->spec, number, item->ctx->device.gpu.name, str_text(&config), message,
           s->family->spec, number);
    fflush(stdout);
    str_free(&config);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The row of this family that SEQTUNE_CASE ("spec:row", "spec") names; -1: all, -2: none. */
static long chosen_row(const char *spec) {
    const char *text = getenv("SEQTUNE_CASE");
    if (!text) return -1;
    const size_t n = strlen(spec);
    if (strcmp(text, spec) == 0) return -1;
    return strncmp(text, spec, n) == 0 && text[n] == ':' ? strtol(text + n + 1, NULL, 10) : -2;
}

static void run_sample(Sample *s, const CoverSet *set) {
    const long only = chosen_row(s->family->spec);
    const double begin = seconds();
    size_t failed = 0, ran = 0;
    double worst = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (only != -1 && only != (long)i) continue;
        Item item;
        Error err = {0};
        VerifyResult result = {0};
        assert_true(make_item(s, &set->rows[i], &item));
        const Status status = verify_item(s, &item, &result, &err);
        ran++;
        if (result.worst_ratio > worst) worst = result.worst_ratio;
        if (status != ST_OK && failed++ < 10) print_row(s, i, &item, err.message);
    }
    printf("# %s: %zu rows run, %zu failed, worst error/limit %.3f, %.1f s\n", s->family->spec, ran,
           failed, worst, seconds() - begin);
    assert_true(only < 0 || ran == 1); /* SEQTUNE_CASE names a row that there is */
    assert_int_equal(failed, 0);
}

static void sample_family(const Family *family) {
    Sample s = {.family = family, .devices = &devices};
    s.spec = gen_spec_find(devices.ctx[0]->library, family->spec);
    assert_non_null(s.spec);
    collect_axes(&s);
    s.cover.legal = legal;
    s.cover.context = &s;
    s.cover.seed = 20;
    CoverSet set;
    assert_true(covering_build(&s.cover, &set));
    printf("# %s: %zu rows of %zu variants cover %zu pairs and triples (%zu more are illegal); the "
           "product has %.3g rows; seed %" PRIu64 "\n",
           family->spec, set.count, set.variants, set.tuples - set.impossible, set.impossible,
           set.product, s.cover.seed);
    fflush(stdout);
    run_sample(&s, &set);
    covering_free(&set);
}

static void a_covering_sample_is_right(void **state) {
    sample_family(*state);
}

/* ---- the whole spaces of named problems ---- */

enum { MAX_CONFIGS = 4096 };

typedef struct Whole {
    seqtune_context *ctx;
    const GenProblem *problem;
    double deadline;
    GenConfig *configs; /* MAX_CONFIGS */
    size_t legal, ran, failed;
} Whole;

static bool keep_legal(void *context, const GenConfig *config, const GenResources *resources,
                       const GenReject *why) {
    Whole *w = context;
    (void)resources;
    if (!why->rejected && w->legal < MAX_CONFIGS) w->configs[w->legal++] = *config;
    return true;
}

static void verify_config(Whole *w, const GenConfig *config) {
    VerifyResult result;
    Error err;
    Str text = {0};
    const GenSpec *spec = w->problem->spec;
    w->ran++;
    if (verify_variant(w->ctx, gen_spec_name(spec), w->problem, config, VERIFY_QUICK, &result,
                       &err) == ST_OK) {
        return;
    }
    gen_config_text(spec, config, &text);
    printf("# %s on %s: %s\n", str_text(&text), w->ctx->device.gpu.name, err.message);
    str_free(&text);
    w->failed++;
}

/* In a shuffled order (seed 3), so that a short budget still sees all of the space. */
static void verify_space(Whole *w) {
    Random rng = {3};
    assert_int_equal(gen_enumerate(w->problem, &w->ctx->device.gpu, keep_legal, w, NULL), ST_OK);
    assert_true(w->legal < MAX_CONFIGS);
    for (size_t left = w->legal; left > 0 && seconds() < w->deadline; left--) {
        const int64_t pick = random_below(&rng, (int64_t)left);
        const GenConfig config = w->configs[pick];
        w->configs[pick] = w->configs[left - 1];
        verify_config(w, &config);
    }
}

/* SEQTUNE_ALL: every legal configuration of three problems on every device, within
 * SEQTUNE_ALL_SECONDS (default 40 min) in all; says how many of how many it reached. */
static void whole_spaces_of_named_problems_are_right(void **state) {
    (void)state;
    static const char *const problems[] = {
        "dtype=f16 head_dim=128 mask=causal heads_q=4 heads_kv=1",
        "dtype=bf16 head_dim=64 mask=window heads_q=7 heads_kv=1 window_left=64 window_right=0",
        "dtype=f16 head_dim=96 mask=none heads_q=2 heads_kv=2",
    };
    const char *limit = getenv("SEQTUNE_ALL_SECONDS");
    const double budget = limit ? strtod(limit, NULL) : 2400;
    const double begin = seconds();
    size_t failed = 0, share = 0;
    for (int d = 0; d < devices.count; d++) {
        for (size_t p = 0; p < COUNT(problems); p++) {
            GenProblem problem;
            gen_problem_init(gen_spec_find(devices.ctx[d]->library, "attn_prefill"), &problem);
            assert_int_equal(gen_problem_parse(&problem, problems[p], NULL), ST_OK);
            assert_int_equal(gen_problem_check(&problem, NULL), ST_OK);
            const double parts = (double)devices.count * (double)COUNT(problems);
            static GenConfig configs[MAX_CONFIGS];
            Whole w = {.configs = configs,
                       .ctx = devices.ctx[d],
                       .problem = &problem,
                       .deadline = begin + budget * (double)++share / parts};
            verify_space(&w);
            printf("# %s, %s: %zu of %zu legal configurations verified, %zu failed\n",
                   devices.name[d], problems[p], w.ran, w.legal, w.failed);
            fflush(stdout);
            failed += w.failed;
        }
    }
    assert_int_equal(failed, 0);
}

int main(void) {
    /* One test per family, and last the whole spaces, on request only. */
    static struct CMUnitTest tests[COUNT(families) + 1];
    static char titles[COUNT(families)][80];
    for (size_t i = 0; i < COUNT(families); i++) {
        snprintf(titles[i], sizeof titles[i], "a_covering_sample_of_%s_is_right", families[i].spec);
        tests[i] = (struct CMUnitTest){titles[i], a_covering_sample_is_right, NULL, NULL,
                                       (void *)(uintptr_t)&families[i]};
    }
    tests[COUNT(families)] =
        (struct CMUnitTest)cmocka_unit_test(whole_spaces_of_named_problems_are_right);
    const size_t count = COUNT(families) + (getenv("SEQTUNE_ALL") ? 1 : 0);
    return _cmocka_run_group_tests("variants", tests, count, devices_setup, devices_teardown);
}
