/* Variants of the recurrent families, sampled by a covering array over GPU, static dimensions
 * (units from 1 to 2048), tuning axes, sequences, direction, state and layout
 * (docs/verification.md), verified on the software GPU.
 *
 *     test_verify_rnn                    an eighth of the sample (rnn_input: all of it)
 *     SEQTUNE_CASE=rnn_seq:17 ...        row 17 of one family's sample; without a row: all of it
 *     SEQTUNE_ALL=1 ...                  the sample, and twelve large cases in every tier that
 *                                        serves them
 */
#include <inttypes.h>
#include <time.h>

#include "tests/base/test.h"
#include "base/str.h"
#include "runtime/context.h"
#include "tests/verify/covering.h"
#include "tests/verify/devices.h"
#include "tuner/verify/check_rnn.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- the axes ---- */

/* Of dimensions that no spec lists; the first of each also where the spec leaves it to the run. */
static const int64_t hiddens[] = {32, 1, 7, 100, 128, 192, 341, 512, 768, 1024, 2048};
static const int64_t inputs[] = {40, 1, 33, 256, 500, 1024};
/* Long enough that the textbook is not exact in all elements by luck: the rule is by row. */
static const int64_t projections[] = {0, 33, 100, 512};

static const int64_t batches[] = {3, 1, 2, 4, 5, 8, 16, 31, 64};

static const struct {
    int64_t directions;
    int reverse;
} ways[] = {{1, 0}, {1, 1}, {2, 2}, {2, 1}};

/* Products of a case in the normal run: T is scaled to it, down to two steps. */
static const double case_flops = 8e6;
static const int64_t most_steps = 12;

typedef enum Origin { FROM_DEVICE, FROM_DIM, FROM_CASE } Origin;

enum { PICKS = 4, MAX_TIERS = 4, MAX_POOL = 4096, MAX_TRIES = 256 };

/* Configurations of one tier; those of tier 1 with fewer than eight sequences a block, which has an
 * organisation of its own then, are apart. */
typedef struct Pool {
    int64_t tier;
    bool narrow;
    GenConfig *configs; /* MAX_POOL */
    size_t count;
} Pool;

typedef struct Sample {
    const char *name;
    const Devices *devices;
    const GenSpec *spec; /* of the first device; all share one source tree */
    CoverSpec cover;
    Origin origin[COVER_MAX_AXES];
    size_t index[COVER_MAX_AXES]; /* of the dimension in the spec */
    Pool pools[MAX_TIERS];        /* one where the spec has no axis "tier" */
    size_t pool_count;
} Sample;

typedef struct Item {
    seqtune_context *ctx;
    GenProblem problem;
    GenConfig config;
    RnnCase c;
} Item;

static void add_axis(Sample *s, const char *name, size_t count, Origin origin, size_t index) {
    const int at = s->cover.axis_count++;
    assert_true(at < COVER_MAX_AXES);
    s->cover.axes[at] = (CoverAxis){name, (int)count};
    s->origin[at] = origin;
    s->index[at] = index;
}

static int value(const Sample *s, const CoverRow *row, const char *name) {
    for (int a = 0; a < s->cover.axis_count; a++)
        if (strcmp(s->cover.axes[a].name, name) == 0) return row->value[a];
    return 0;
}

static size_t dim_values(const GenDim *dim, const int64_t **values) {
    static const struct {
        const char *name;
        const int64_t *values;
        size_t count;
    } rows[] = {{"hidden", hiddens, COUNT(hiddens)},
                {"input", inputs, COUNT(inputs)},
                {"projection", projections, COUNT(projections)}};
    *values = dim->ints;
    if (dim->kind == GEN_DIM_ENUM || dim->ints) return dim->count;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(dim->name, rows[i].name) == 0) return *values = rows[i].values, rows[i].count;
    fail_msg("the test knows no values for the static dimension %s", dim->name);
    return 0;
}

static bool is_static(const GenSpec *spec, const char *name) {
    size_t count;
    const GenDim *dims = gen_dims(spec, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(dims[i].name, name) == 0) return dims[i].is_static;
    return true; /* not there: nothing to choose */
}

static bool has_dim(const GenSpec *spec, const char *name) {
    GenProblem problem;
    int64_t unused;
    gen_problem_init(spec, &problem);
    return gen_problem_get(&problem, name, &unused);
}

static void collect_axes(Sample *s) {
    size_t count;
    const int64_t *values;
    add_axis(s, "gpu", (size_t)s->devices->count, FROM_DEVICE, 0);
    const GenDim *dims = gen_dims(s->spec, &count);
    for (size_t i = 0; i < count; i++)
        if (dims[i].is_static)
            add_axis(s, dims[i].name, dim_values(&dims[i], &values), FROM_DIM, i);
    add_axis(s, "tier", s->pool_count, FROM_CASE, 0);
    add_axis(s, "pick", PICKS, FROM_CASE, 0);
    s->cover.expensive = s->cover.axis_count; /* so far: what makes a source, to be compiled */
    if (!is_static(s->spec, "hidden")) add_axis(s, "units", COUNT(hiddens), FROM_CASE, 0);
    if (!is_static(s->spec, "input")) add_axis(s, "row", COUNT(inputs), FROM_CASE, 0);
    add_axis(s, "sequences", COUNT(batches), FROM_CASE, 0);
    add_axis(s, "way", COUNT(ways), FROM_CASE, 0);
    add_axis(s, "states", RNN_STATE_IN_PLACE + 1, FROM_CASE, 0);
    add_axis(s, "numbers", RNN_WIDE + 1, FROM_CASE, 0);
    add_axis(s, "layout", RNN_BATCH_OUTER_GAPS + 1, FROM_CASE, 0);
    if (has_dim(s->spec, "steps")) add_axis(s, "again", RNN_AGAIN_CHUNKS + 1, FROM_CASE, 0);
}

/* ---- a row: a variant and a case ---- */

static bool set_dim(const Sample *s, GenProblem *problem, size_t index, int pick) {
    size_t count;
    const int64_t *values;
    const GenDim *dim = &gen_dims(s->spec, &count)[index];
    dim_values(dim, &values);
    if (dim->kind == GEN_DIM_ENUM)
        return gen_problem_set_word(problem, dim->name, dim->words[pick], NULL) == ST_OK;
    return gen_problem_set(problem, dim->name, values[pick], NULL) == ST_OK;
}

static int64_t dim(const GenProblem *problem, const char *name) {
    int64_t n = 0;
    gen_problem_get(problem, name, &n);
    return n;
}

/* As many steps as the products allow. */
static int64_t steps_of(const Item *item, double flops) {
    const GenProblem *p = &item->problem;
    const int64_t hidden = item->c.hidden ? item->c.hidden : dim(p, "hidden");
    const int64_t gates = strcmp(gen_problem_word(p, "cell"), "gru") == 0 ? 3 : 4;
    const int64_t projection = dim(p, "projection");
    const int64_t inner = item->c.input ? item->c.input : projection ? projection : hidden;
    const double each = 2.0 * (double)(gates * hidden * inner * item->c.batch * item->c.directions);
    const double n = flops / each;
    return n < 2 ? 2 : n > (double)most_steps ? most_steps : (int64_t)n;
}

static bool make_item(const Sample *s, const CoverRow *row, Item *item) {
    *item = (Item){.ctx = NULL};
    gen_problem_init(s->spec, &item->problem);
    for (int a = 0; a < s->cover.axis_count; a++) {
        const int pick = row->value[a];
        if (s->origin[a] == FROM_DEVICE) item->ctx = s->devices->ctx[pick];
        if (s->origin[a] == FROM_DIM && !set_dim(s, &item->problem, s->index[a], pick))
            return false;
    }
    /* Without x its layout has no say. */
    if (has_dim(s->spec, "fused") && dim(&item->problem, "fused") == 0 &&
        (dim(&item->problem, "align") != 8 || dim(&item->problem, "parts") != 1))
        return false;
    /* The norm of one number is its sign: an error in h either does nothing or turns it. */
    if (dim(&item->problem, "layer_norm") && dim(&item->problem, "hidden") == 1) return false;
    RnnCase *c = &item->c;
    c->batch = batches[value(s, row, "sequences")];
    c->directions = ways[value(s, row, "way")].directions;
    c->reverse = ways[value(s, row, "way")].reverse;
    c->states = (RnnStates)value(s, row, "states");
    c->numbers = (RnnNumbers)value(s, row, "numbers");
    c->layout = (RnnLayout)value(s, row, "layout");
    c->again = (RnnAgain)value(s, row, "again");
    if (!is_static(s->spec, "hidden")) c->hidden = hiddens[value(s, row, "units")];
    if (!is_static(s->spec, "input")) c->input = inputs[value(s, row, "row")];
    c->spare = c->layout == RNN_STEP_OUTER_GAPS;
    const bool cell = !has_dim(s->spec, "steps");
    c->steps = cell ? 1 : steps_of(item, case_flops);
    if (cell) c->spare = 0;
    /* Chunks carry the state from one launch to the next; a step of its own has another buffer. */
    if (c->again != RNN_AGAIN_WHOLE && c->states == RNN_NO_STATE) c->states = RNN_STATE_OUT;
    if (cell && c->states == RNN_STATE_IN_PLACE) c->states = RNN_STATE_BOTH;
    return gen_problem_set(&item->problem, "batch", c->batch, NULL) == ST_OK &&
           (cell || gen_problem_set(&item->problem, "steps", c->steps + c->spare, NULL) == ST_OK) &&
           (!has_dim(s->spec, "directions") ||
            gen_problem_set(&item->problem, "directions", c->directions, NULL) == ST_OK) &&
           (!c->hidden || gen_problem_set(&item->problem, "hidden", c->hidden, NULL) == ST_OK) &&
           (!c->input || gen_problem_set(&item->problem, "input", c->input, NULL) == ST_OK);
}

static bool is_legal(const Item *item) {
    GenReject why;
    const GpuInfo *gpu = &item->ctx->device.gpu;
    return gen_config_check(&item->problem, gpu, &item->config, NULL, &why, NULL) == ST_OK &&
           !why.rejected;
}

/* The first legal configuration of the tier's pool, beginning at the row's pick. */
static bool choose_config(const Sample *s, const CoverRow *row, Item *item) {
    const Pool *pool = &s->pools[value(s, row, "tier")];
    const size_t at = pool->count * (size_t)value(s, row, "pick") / PICKS;
    const size_t tries = pool->count < MAX_TRIES ? pool->count : MAX_TRIES;
    /* A step without a common factor with any size: neighbours are alike. */
    for (size_t i = 0; i < tries; i++) {
        item->config = pool->configs[(at + i * 7919) % pool->count];
        if (is_legal(item)) return true;
    }
    return false;
}

/* Derived dimensions, which rules and scores read, are the check's work. */
static bool make_legal_item(const Sample *s, const CoverRow *row, Item *item) {
    return make_item(s, row, item) && gen_problem_check(&item->problem, NULL) == ST_OK &&
           choose_config(s, row, item);
}

static bool legal(const void *context, const CoverRow *row) {
    Item item;
    return make_legal_item(context, row, &item);
}

/* ---- pools ---- */

static Pool *pool_of(Sample *s, int64_t tier, bool narrow) {
    size_t i = 0;
    while (i < s->pool_count && (s->pools[i].tier != tier || s->pools[i].narrow != narrow)) i++;
    assert_true(i < MAX_TIERS);
    if (i == s->pool_count) {
        s->pools[i] =
            (Pool){.tier = tier, .narrow = narrow, .configs = calloc(MAX_POOL, sizeof(GenConfig))};
        assert_non_null(s->pools[i].configs);
        s->pool_count++;
    }
    return &s->pools[i];
}

static bool keep(void *context, const GenConfig *config, const GenResources *resources,
                 const GenReject *why) {
    Sample *s = context;
    int64_t tier = 0, tile = 0;
    (void)resources;
    if (why->rejected) return true;
    gen_config_get(s->spec, config, "tier", &tier);
    gen_config_get(s->spec, config, "batch_tile", &tile);
    Pool *pool = pool_of(s, tier, tier == 1 && tile < 8);
    if (pool->count < MAX_POOL) pool->configs[pool->count++] = *config;
    return true;
}

/* The legal configurations of these problems. */
static void gather_pools(Sample *s) {
    static const char *const problems[] = {
        "cell=lstm dtype=f16 hidden=7 batch=3",    "cell=gru dtype=bf16 hidden=192 batch=8",
        "cell=lstm dtype=f16 hidden=768 batch=64", "cell=gru dtype=bf16 hidden=2048 batch=4",
        "cell=lstm dtype=f32 hidden=32 batch=3",   "cell=gru dtype=f32 hidden=512 batch=31",
        "cell=gru dtype=f32 hidden=100 batch=8",   "cell=lstm dtype=f32 hidden=128 batch=5",
    };
    for (size_t i = 0; i < COUNT(problems); i++) {
        GenProblem problem;
        gen_problem_init(s->spec, &problem);
        assert_int_equal(gen_problem_parse(&problem, problems[i], NULL), ST_OK);
        assert_int_equal(gen_problem_check(&problem, NULL), ST_OK);
        const GpuInfo *gpu = &s->devices->ctx[i % (size_t)s->devices->count]->device.gpu;
        assert_int_equal(gen_enumerate(&problem, gpu, keep, s, NULL), ST_OK);
    }
}

static Status verify_item(const Sample *s, Item *item, VerifyResult *result, Error *err) {
    /* Specs belong to a library, and each context has its own. */
    item->problem.spec = gen_spec_find(item->ctx->library, s->name);
    const Status status = gen_problem_check(&item->problem, err);
    if (status != ST_OK) return status;
    return verify_rnn_case(item->ctx, s->name, &item->problem, &item->config, &item->c, result,
                           err);
}

static void print_row(const Sample *s, size_t number, const Item *item, const char *message) {
    Str config = {0};
    gen_config_text(s->spec, &item->config, &config);
    printf("# %s row %zu on %s, %s\n# %s\n# again: SEQTUNE_CASE=%s:%zu "
           "tests/bin/test_verify_rnn\n",
           s->name, number, item->ctx->device.gpu.name, str_text(&config), message, s->name,
           number);
    fflush(stdout);
    str_free(&config);
}

static void free_pools(Sample *s) {
    for (size_t i = 0; i < s->pool_count; i++) free(s->pools[i].configs);
    s->pool_count = 0;
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

/* Rows of large layers take seconds with every check on: the normal run takes one in eight, whose
 * offset SEQTUNE_TEST_SEED moves. */
static bool takes_row(const Sample *s, size_t i) {
    const char *seed = getenv("SEQTUNE_TEST_SEED");
    if (getenv("SEQTUNE_ALL") || getenv("SEQTUNE_CASE") || strcmp(s->name, "rnn_input") == 0)
        return true;
    return (i + (seed ? strtoul(seed, NULL, 10) : 0)) % 8 == 0;
}

static void run_sample(Sample *s, const CoverSet *set) {
    const long only = chosen_row(s->name);
    const double begin = seconds();
    size_t failed = 0, ran = 0;
    double worst = 0;
    for (size_t i = 0; i < set->count; i++) {
        if ((only != -1 && only != (long)i) || !takes_row(s, i)) continue;
        Item item;
        Error err = {0};
        VerifyResult result = {0};
        assert_true(make_legal_item(s, &set->rows[i], &item));
        const Status status = verify_item(s, &item, &result, &err);
        ran++;
        if (result.worst_ratio > worst) worst = result.worst_ratio;
        if (status != ST_OK && failed++ < 10) print_row(s, i, &item, err.message);
    }
    printf("# %s: %zu of %zu rows run, %zu failed, worst error/limit %.3f, %.1f s\n", s->name, ran,
           set->count, failed, worst, seconds() - begin);
    assert_true(only < 0 || ran == 1); /* SEQTUNE_CASE names a row that there is */
    assert_int_equal(failed, 0);
}

static void a_covering_sample_is_right(void **state) {
    Sample s = {.name = *state, .devices = &devices};
    s.spec = gen_spec_find(devices.ctx[0]->library, s.name);
    assert_non_null(s.spec);
    const double begin = seconds();
    gather_pools(&s);
    for (size_t i = 0; i < s.pool_count; i++)
        printf("# %s, tier %" PRId64 "%s: %zu configurations to pick from, %.1f s\n", s.name,
               s.pools[i].tier, s.pools[i].narrow ? " narrow" : "", s.pools[i].count,
               seconds() - begin);
    collect_axes(&s);
    s.cover.legal = legal;
    s.cover.context = &s;
    s.cover.seed = 20;
    CoverSet set;
    assert_true(covering_build(&s.cover, &set));
    printf("# %s: %zu rows of %zu variants cover %zu pairs and triples (%zu more are illegal); the "
           "product has %.3g rows; seed %" PRIu64 "; found in %.1f s\n",
           s.name, set.count, set.variants, set.tuples - set.impossible, set.impossible,
           set.product, s.cover.seed, seconds() - begin);
    fflush(stdout);
    run_sample(&s, &set);
    covering_free(&set);
    free_pools(&s);
}

/* ---- large cases, on request ---- */

typedef struct Large {
    const char *name, *spec, *problem;
    RnnCase c;
} Large;

static const Large larges[] = {
    {"one block, most units, 512 steps",
     "rnn_seq",
     "cell=lstm dtype=f16 hidden=192 lengths=none",
     {.batch = 64, .steps = 512, .directions = 1, .states = RNN_STATE_BOTH}},
    {"cuDNN's LSTM, 512 steps",
     "rnn_seq",
     "cell=lstm dtype=bf16 hidden=768 lengths=none",
     {.batch = 16, .steps = 512, .directions = 1, .states = RNN_STATE_OUT}},
    {"GRU of 1024",
     "rnn_seq",
     "cell=gru dtype=f16 hidden=1024 lengths=padded",
     {.batch = 8, .steps = 200, .directions = 1, .reverse = 1, .states = RNN_STATE_BOTH}},
    {"f32, odd batch",
     "rnn_seq",
     "cell=lstm dtype=f32 hidden=512 lengths=padded",
     {.batch = 31, .steps = 40, .directions = 1, .states = RNN_STATE_IN_PLACE}},
    {"LSTM of 2048, few sequences",
     "rnn_seq",
     "cell=lstm dtype=f16 hidden=2048 lengths=none",
     {.batch = 4, .steps = 64, .directions = 1, .states = RNN_STATE_OUT}},
    {"GRU of 2048, many sequences",
     "rnn_seq",
     "cell=gru dtype=bf16 hidden=2048 lengths=packed",
     {.batch = 64, .steps = 9, .directions = 1, .states = RNN_STATE_BOTH}},
    {"both ways, packed, 512 steps",
     "rnn_seq",
     "cell=lstm dtype=f16 hidden=341 lengths=packed",
     {.batch = 5, .steps = 512, .directions = 2, .reverse = 2, .states = RNN_STATE_OUT}},
    {"GRU in f32, 512 steps",
     "rnn_seq",
     "cell=gru dtype=f32 hidden=100 lengths=padded",
     {.batch = 64, .steps = 512, .directions = 1, .states = RNN_STATE_OUT}},
    {"projected",
     "rnn_seq",
     "cell=lstm dtype=bf16 hidden=1024 projection=512 lengths=none",
     {.batch = 16, .steps = 100, .directions = 1, .states = RNN_STATE_BOTH}},
    {"layer norm",
     "rnn_seq",
     "cell=lstm dtype=f16 hidden=512 layer_norm=1 lengths=padded",
     {.batch = 8, .steps = 100, .directions = 1, .states = RNN_STATE_OUT}},
    {"reset before the product",
     "rnn_seq",
     "cell=gru dtype=f16 hidden=768 reset=before lengths=none",
     {.batch = 4, .steps = 100, .directions = 1, .states = RNN_STATE_BOTH}},
    {"input of a long sequence",
     "rnn_input",
     "cell=lstm dtype=bf16 lengths=padded",
     {.batch = 64, .steps = 64, .directions = 1, .input = 1000, .hidden = 512}},
};

static void run_large(const Sample *s, const Large *large, const Pool *pool) {
    Error err = {0};
    VerifyResult result = {0};
    Item item = {.ctx = devices.ctx[0], .c = large->c};
    item.c.again = RNN_AGAIN_CHUNKS;
    item.c.layout = RNN_STEP_OUTER_GAPS;
    gen_problem_init(s->spec, &item.problem);
    assert_int_equal(gen_problem_parse(&item.problem, large->problem, NULL), ST_OK);
    assert_int_equal(gen_problem_set(&item.problem, "batch", item.c.batch, NULL), ST_OK);
    assert_int_equal(gen_problem_check(&item.problem, NULL), ST_OK);
    size_t i = 0;
    do {
        if (i == pool->count) return; /* the tier does not serve it */
        item.config = pool->configs[i++];
    } while (!is_legal(&item));
    const double begin = seconds();
    const Status status = verify_item(s, &item, &result, &err);
    printf("# %s, tier %" PRId64 ": error/limit %.3f, %.1f s\n", large->name, pool->tier,
           result.worst_ratio, seconds() - begin);
    if (status != ST_OK) fail_msg("%s: %s", large->name, err.message);
}

static void named_large_cases_are_right(void **state) {
    (void)state;
    Sample s = {.name = ""};
    for (size_t i = 0; i < COUNT(larges); i++) {
        if (strcmp(s.name, larges[i].spec) != 0) {
            free_pools(&s);
            s = (Sample){.name = larges[i].spec, .devices = &devices};
            s.spec = gen_spec_find(devices.ctx[0]->library, s.name);
            gather_pools(&s);
        }
        for (size_t t = 0; t < s.pool_count; t++) run_large(&s, &larges[i], &s.pools[t]);
    }
    free_pools(&s);
}

int main(void) {
    static char input[] = "rnn_input", seq[] = "rnn_seq", cell[] = "rnn_cell";
    const struct CMUnitTest tests[] = {
        {"a_covering_sample_of_rnn_input_is_right", a_covering_sample_is_right, NULL, NULL, input},
        {"a_covering_sample_of_rnn_seq_is_right", a_covering_sample_is_right, NULL, NULL, seq},
        {"a_covering_sample_of_rnn_cell_is_right", a_covering_sample_is_right, NULL, NULL, cell},
        cmocka_unit_test(named_large_cases_are_right),
    };
    const size_t count = COUNT(tests) - (getenv("SEQTUNE_ALL") ? 0 : 1);
    return _cmocka_run_group_tests("recurrent", tests, count, devices_setup, devices_teardown);
}
