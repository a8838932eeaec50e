/* Every rung of the dispatch ladder, on the fake driver with databases made for the test. */
#include "tests/runtime/test.h"

#include "base/log.h"
#include "base/str.h"
#include "runtime/dispatch.h"
#include "runtime/errors.h"
#include "runtime/plan.h"

static const char own_gpu[] = "cc=80 sms=108 clock=1410 mem=1215x5120 l2=40 smem=164 power=0 "
                              "evidence=measured";
static const char twin_gpu[] = "cc=80 sms=98 clock=1410 mem=1215x5120 l2=40 smem=164 power=400 "
                               "evidence=measured";
static const char far_gpu[] = "cc=80 sms=14 clock=1410 mem=1215x640 l2=4 smem=164 power=0 "
                              "evidence=measured";
static const char other_arch[] = "cc=86 sms=84 clock=1695 mem=9750x384 l2=6 smem=100 power=350 "
                                 "evidence=measured";
static const char own_modelled[] = "cc=80 sms=108 clock=1410 mem=1215x5120 l2=40 smem=164 "
                                   "power=400 evidence=modelled";

/* Three legal configurations of rope for 16-byte alignment, none the default. */
static const char *const configs[] = {
    "vec_bytes=16 block_threads=256 head_sequential=0",
    "vec_bytes=16 block_threads=512 head_sequential=0",
    "vec_bytes=16 block_threads=256 head_sequential=1",
};
static const char default_config[] = "vec_bytes=16 block_threads=128 head_sequential=0";

typedef struct Fixture {
    char *dir;
    char user[4200], fleet[4200];
    const GenSpec *spec;
    GenLibrary *library;
    int rows;
} Fixture;

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    Error err = {0};
    if (f == NULL || gen_open(NULL, &f->library, &err) != ST_OK) return -1;
    f->spec = gen_spec_find(f->library, "rope");
    f->dir = scratch_make();
    snprintf(f->user, sizeof f->user, "%s/user.db", f->dir);
    snprintf(f->fleet, sizeof f->fleet, "%s/fleet.db", f->dir);
    log_set_level(LOG_OFF);
    *state = f;
    return f->spec == NULL ? -1 : 0;
}

static int teardown(void **state) {
    Fixture *f = *state;
    log_set_sink(NULL, NULL);
    scratch_remove(f->dir);
    gen_close(f->library);
    free(f);
    return 0;
}

static GenProblem problem_of(const GenSpec *spec, int64_t tokens) {
    Error err = {0};
    GenProblem p;
    gen_problem_init(spec, &p);
    assert_ok(gen_problem_set(&p, "tokens", tokens, &err), err);
    assert_ok(gen_problem_check(&p, &err), err);
    return p;
}

typedef struct Row {
    const char *gpu;
    int64_t tokens;
    const char *config;
    const char *policy; /* NULL: "eager cold" */
    int generation;     /* 0: the spec's */
} Row;

static void record(Fixture *f, const char *path, Row row) {
    Error err = {0};
    Db *db = NULL;
    Str key = {0};
    GenProblem p = problem_of(f->spec, row.tokens);
    gen_problem_key(&p, &key);
    DbVerdict v = {
        .key = {.kernel = "rope",
                .problem_key = str_text(&key),
                .gpu_key = row.gpu,
                .policy = row.policy != NULL ? row.policy : "eager cold",
                .generation = row.generation != 0 ? row.generation : gen_spec_generation(f->spec)},
        .problem = "tokens",
        .gpu_name = "test",
        .spec_hash = "00",
        .config = row.config,
        .default_config = default_config,
        .time_s = 1e-5,
        .default_time_s = 2e-5,
        .ratio = 0.5,
        .ratio_low = 0.4,
        .ratio_high = 0.6,
        .effort = 10,
        .session = "test",
        .unix_ms = ++f->rows,
        .tool = "test"};
    assert_ok(db_open(path, DB_WRITE, &db, &err), err);
    assert_ok(db_record_verdict(db, &v, &err), err);
    db_close(db);
    str_free(&key);
}

static seqtune_context *open_with(Fixture *f, bool use_modelled) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = f->user;
    options.fleet_database = f->fleet;
    options.cache_dir = "";
    options.use_modelled = use_modelled;
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) fail_msg("%s", seqtune_open_error());
    assert_string_equal(ctx->device.key, own_gpu);
    return ctx;
}

/* What the ladder says for `tokens`; the configuration as text in config[]. */
static DispatchChoice ask(seqtune_context *ctx, int64_t tokens, char config[128]) {
    Error err = {0};
    DispatchChoice choice;
    Str text = {0};
    const GenSpec *spec = gen_spec_find(ctx->library, "rope");
    GenProblem p = problem_of(spec, tokens);
    assert_ok(dispatch_choose(ctx, &p, &choice, &err), err);
    gen_config_text(spec, &choice.config, &text);
    snprintf(config, 128, "%s", str_text(&text));
    str_free(&text);
    return choice;
}

static void expect(Fixture *f, int64_t tokens, seqtune_rung rung, const char *config,
                   const char *database) {
    char got[128];
    seqtune_context *ctx = open_with(f, false);
    DispatchChoice c = ask(ctx, tokens, got);
    if (c.rung != rung)
        fail_msg("rung %s instead of %s", dispatch_rung_name(c.rung), dispatch_rung_name(rung));
    assert_string_equal(got, config);
    assert_string_equal(c.database, database);
    assert_true((c.row > 0) == (database[0] != '\0'));
    seqtune_close(ctx);
}

static void without_rows_the_default_serves(void **state) {
    Fixture *f = *state;
    expect(f, 512, SEQTUNE_RUNG_DEFAULT, default_config, "");
}

static void a_row_of_the_bucket_serves_every_shape_in_it(void **state) {
    Fixture *f = *state;
    record(f, f->user, (Row){own_gpu, 512, configs[0], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_EXACT, configs[0], f->user);
    expect(f, 600, SEQTUNE_RUNG_EXACT, configs[0], f->user); /* 2^(9.23) */
}

static void the_nearest_bucket_serves_where_none_is_exact(void **state) {
    Fixture *f = *state;
    record(f, f->user, (Row){own_gpu, 64, configs[0], NULL, 0});
    record(f, f->user, (Row){own_gpu, 2048, configs[1], NULL, 0});
    expect(f, 1024, SEQTUNE_RUNG_NEAREST, configs[1], f->user);
    expect(f, 100, SEQTUNE_RUNG_NEAREST, configs[0], f->user);
    seqtune_context *ctx = open_with(f, false);
    char got[128];
    DispatchChoice c = ask(ctx, 1024, got);
    assert_has(c.row_key, "tokens=2048");
    assert_string_equal(c.row_gpu, own_gpu);
    assert_true(c.distance > 0.9 && c.distance < 1.1);
    assert_true(c.time_us > 9.9 && c.time_us < 10.1);
    seqtune_close(ctx);
}

static void another_gpu_of_the_architecture_serves_where_this_has_none(void **state) {
    Fixture *f = *state;
    record(f, f->user, (Row){other_arch, 512, configs[2], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_DEFAULT, default_config, "");
    record(f, f->user, (Row){far_gpu, 512, configs[1], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_OTHER_GPU, configs[1], f->user);
    record(f, f->user, (Row){twin_gpu, 512, configs[0], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_OTHER_GPU, configs[0], f->user);
    record(f, f->user, (Row){own_gpu, 65536, configs[2], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_NEAREST, configs[2], f->user);
}

static void the_users_database_comes_before_the_fleets(void **state) {
    Fixture *f = *state;
    record(f, f->fleet, (Row){own_gpu, 512, configs[0], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_EXACT, configs[0], f->fleet);
    record(f, f->user, (Row){own_gpu, 2048, configs[1], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_NEAREST, configs[1], f->user);
    record(f, f->user, (Row){own_gpu, 512, configs[2], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_EXACT, configs[2], f->user);
}

static void this_gpu_in_the_fleet_comes_before_another_in_the_users(void **state) {
    Fixture *f = *state;
    record(f, f->user, (Row){twin_gpu, 512, configs[0], NULL, 0});
    record(f, f->fleet, (Row){own_gpu, 4096, configs[1], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_NEAREST, configs[1], f->fleet);
}

static void rows_of_another_generation_do_not_count(void **state) {
    Fixture *f = *state;
    record(f, f->user, (Row){own_gpu, 512, configs[0], NULL, gen_spec_generation(f->spec) + 1});
    expect(f, 512, SEQTUNE_RUNG_DEFAULT, default_config, "");
}

static void illegal_and_foreign_configurations_do_not_count(void **state) {
    Fixture *f = *state;
    record(f, f->user,
           (Row){own_gpu, 512, "vec_bytes=3 block_threads=128 head_sequential=0", NULL, 0});
    record(f, f->user, (Row){own_gpu, 1024, "rm -rf", NULL, 0});
    /* In the space, but narrow accesses are against a rule at this alignment. */
    record(f, f->user,
           (Row){own_gpu, 2048, "vec_bytes=2 block_threads=128 head_sequential=0", NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_DEFAULT, default_config, "");
    record(f, f->user, (Row){own_gpu, 8192, configs[0], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_NEAREST, configs[0], f->user);
}

static void modelled_rows_decide_on_a_real_gpu_only_when_asked(void **state) {
    Fixture *f = *state;
    char got[128];
    record(f, f->user, (Row){own_modelled, 512, configs[0], NULL, 0});
    expect(f, 512, SEQTUNE_RUNG_DEFAULT, default_config, "");
    seqtune_context *ctx = open_with(f, true);
    DispatchChoice c = ask(ctx, 512, got);
    assert_int_equal(c.rung, SEQTUNE_RUNG_OTHER_GPU);
    assert_true(c.modelled);
    assert_string_equal(got, configs[0]);
    seqtune_close(ctx);
}

static void the_policy_nearest_to_deployment_decides(void **state) {
    Fixture *f = *state;
    record(f, f->user, (Row){own_gpu, 512, configs[0], "eager cold", 0});
    record(f, f->user, (Row){own_gpu, 512, configs[1], "graph warm", 0});
    record(f, f->user, (Row){own_gpu, 512, configs[2], "something else", 0});
    expect(f, 512, SEQTUNE_RUNG_EXACT, configs[1], f->user);
}

typedef struct Seen {
    int level[LOG_OFF + 1];
    char last[LOG_OFF + 1][512];
} Seen;

static void see(void *context, LogLevel level, const char *channel, const char *line) {
    Seen *seen = context;
    (void)channel;
    if (strstr(line, "dispatch") == NULL) return;
    seen->level[level]++;
    snprintf(seen->last[level], sizeof seen->last[level], "%s", line);
}

static void each_rung_is_logged_at_its_level(void **state) {
    Fixture *f = *state;
    char got[128];
    record(f, f->user, (Row){twin_gpu, 512, configs[0], NULL, 0});
    seqtune_context *ctx = open_with(f, false);
    static Seen seen;
    seen = (Seen){0};
    log_set_sink(see, &seen);
    log_set_level(LOG_DEBUG);
    (void)ask(ctx, 512, got);
    (void)ask(ctx, 512, got);
    assert_int_equal(seen.level[LOG_WARN], 1); /* once per context */
    assert_has(seen.last[LOG_WARN], "other-gpu");
    assert_has(seen.last[LOG_WARN], twin_gpu);
    record(f, f->user, (Row){own_gpu, 512, configs[1], NULL, 0});
    seen = (Seen){0};
    (void)ask(ctx, 512, got); /* an open context sees new rows */
    assert_int_equal(seen.level[LOG_DEBUG], 1);
    assert_has(seen.last[LOG_DEBUG], "exact");
    (void)ask(ctx, 16, got);
    assert_int_equal(seen.level[LOG_INFO], 1);
    assert_has(seen.last[LOG_INFO], "nearest");
    log_set_sink(NULL, NULL);
    log_set_level(LOG_OFF);
    seqtune_close(ctx);
}

static void a_named_database_that_is_no_database_fails_the_open(void **state) {
    Fixture *f = *state;
    FILE *file = fopen(f->user, "w");
    assert_non_null(file);
    for (int i = 0; i < 100; i++) fputs("this is no database. ", file);
    fclose(file);
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    options.driver = SEQTUNE_FAKE_CUDA;
    options.database = f->user;
    assert_int_not_equal(seqtune_open(&ctx, &options), SEQTUNE_OK);
    assert_null(ctx);
    assert_has(seqtune_open_error(), f->user);
}

static void gpu_distance_knows_architectures_and_sizes(void **state) {
    (void)state;
    assert_true(dispatch_gpu_distance(own_gpu, own_gpu) == 0);
    assert_true(dispatch_gpu_distance(own_gpu, other_arch) < 0);
    assert_true(dispatch_gpu_distance(own_gpu, "no key") < 0);
    double twin = dispatch_gpu_distance(own_gpu, twin_gpu);
    assert_true(twin > 0 && twin < dispatch_gpu_distance(own_gpu, far_gpu));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(without_rows_the_default_serves),
        TEST(a_row_of_the_bucket_serves_every_shape_in_it),
        TEST(the_nearest_bucket_serves_where_none_is_exact),
        TEST(another_gpu_of_the_architecture_serves_where_this_has_none),
        TEST(the_users_database_comes_before_the_fleets),
        TEST(this_gpu_in_the_fleet_comes_before_another_in_the_users),
        TEST(rows_of_another_generation_do_not_count),
        TEST(illegal_and_foreign_configurations_do_not_count),
        TEST(modelled_rows_decide_on_a_real_gpu_only_when_asked),
        TEST(the_policy_nearest_to_deployment_decides),
        TEST(each_rung_is_logged_at_its_level),
        TEST(a_named_database_that_is_no_database_fails_the_open),
        TEST(gpu_distance_knows_architectures_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
