/* The tuning session with workers that are not there: what it asks for, what it records, who wins.
 * No GPU, no NVRTC; real specs, a real database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/tuner/fake_worker.h"
#include "tuner/tune.h"

static char dir[200];
static volatile sig_atomic_t interrupted;

typedef struct Bed {
    GenLibrary *library;
    Arena *arena;
    Db *db;
    Target target;
    TuneSettings settings;
    GenWorkItem items[2];
    size_t count;
    Tune *tune;
    Error err;
} Bed;

/* rope over 4096 tokens: one problem with a space of about twenty legal configurations. */
static void add_problem(Bed *b, const char *op, const char *text) {
    GenWorkItem *item = &b->items[b->count++];
    const GenSpec *spec = gen_spec_find(b->library, op);
    assert_non_null(spec);
    gen_problem_init(spec, &item->problem);
    if (gen_problem_parse(&item->problem, text, &b->err) != ST_OK ||
        gen_problem_check(&item->problem, &b->err) != ST_OK) {
        fail_msg("%s", b->err.message);
    }
    item->label = text;
    item->source = "test";
}

static void bed_make(Bed *b, const char *db_name, bool measured) {
    char path[512];
    *b = (Bed){.arena = arena_new()};
    if (gen_open(SEQTUNE_SOURCE_DIR, &b->library, &b->err) != ST_OK) fail_msg("%s", b->err.message);
    snprintf(path, sizeof path, "%s/%s", dir, db_name);
    if (db_open(path, DB_WRITE, &b->db, &b->err) != ST_OK) fail_msg("%s", b->err.message);
    b->target = (Target){.gpu = gpu_info_of_model(gpu_model_find("a100")),
                         .driver = "fake",
                         .driver_version = 13000,
                         .traits = {.modelled = !measured, .deterministic = !measured}};
    b->target.gpu.measured = measured;
    gpu_key(&b->target.gpu, b->target.key, sizeof b->target.key);
    interrupted = 0;
    b->settings = (TuneSettings){.effort = 1000,
                                 .jobs = 2,
                                 .budget_s = 60,
                                 .compile_limit_s = 20,
                                 .run_limit_s = 20,
                                 .tool = "test",
                                 .interrupted = &interrupted};
    snprintf(path, sizeof path, "%s/%s.log", dir, db_name);
    setenv("FAKE_LOG", path, 1);
    setenv("FAKE", measured ? "" : "once:", 1);
}

static void fake(const char *list) {
    const char *old = getenv("FAKE");
    char both[1024];
    snprintf(both, sizeof both, "%s;%s", old ? old : "", list);
    setenv("FAKE", both, 1);
}

static Status bed_run(Bed *b) {
    if (b->count == 0) add_problem(b, "rope", "tokens=4096 heads=40");
    return tune_run(b->library, b->db, &b->target, b->items, b->count, &b->settings, NULL, NULL,
                    &b->tune, &b->err);
}

static void bed_free(Bed *b) {
    tune_close(b->tune);
    db_close(b->db);
    gen_close(b->library);
    arena_free(b->arena);
}

/* Requests of a kind that the fake workers saw, with `text` in the line. */
static size_t requests(const char *db_name, const char *kind, const char *text) {
    char path[512], line[1024];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s.log", dir, db_name);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        n += strncmp(line, kind, strlen(kind)) == 0 && strstr(line, text) != NULL;
    }
    if (f) fclose(f);
    return n;
}

static const TuneTrial *trial_with(const Bed *b, const char *config) {
    for (size_t i = 0; i < b->tune->trial_count; i++) {
        if (strstr(b->tune->trials[i].config_text, config)) return &b->tune->trials[i];
    }
    fail_msg("no trial with %s", config);
    return NULL;
}

static void assert_all_recorded(Bed *b) {
    int64_t trials, verdicts, winners;
    assert_int_equal(db_counts(b->db, &trials, &verdicts, &winners, NULL), ST_OK);
    assert_int_equal(trials, b->tune->counts.done);
}

/* ---- tests ---- */

static void every_legal_configuration_is_compiled_checked_and_timed_once(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "all", false);
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneCounts *c = &b.tune->counts;
    assert_true(c->trials > 5 && c->done == c->trials && c->timed == c->trials);
    assert_int_equal(c->untried, 0);
    assert_int_equal(requests("all", "compile", ""), c->trials);
    assert_int_equal(requests("all", "verify", ""), c->trials);
    assert_int_equal(requests("all", "time", ""), c->trials);
    assert_int_equal(requests("all", "final", ""), 0);
    assert_non_null(b.tune->problems[0].winner);
    assert_true(b.tune->trials[0].is_default);
    assert_all_recorded(&b);
    bed_free(&b);
}

static void the_winner_is_recorded_with_its_ratio_and_a_second_run_starts_from_there(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "again", false);
    fake("fast:block_threads=512 head_sequential=1");
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneProblem *p = &b.tune->problems[0];
    assert_non_null(strstr(p->winner->config_text, "block_threads=512 head_sequential=1"));
    assert_true(p->ratio.median < 1 && p->ratio.low == p->ratio.high);
    size_t asked = requests("again", "", ""), trials = b.tune->counts.trials;
    char winner[256];
    snprintf(winner, sizeof winner, "%s", p->winner->config_text);
    bed_free(&b);

    bed_make(&b, "again", false);
    assert_int_equal(bed_run(&b), ST_OK);
    assert_int_equal(b.tune->counts.resumed, trials);
    assert_int_equal(requests("again", "", ""), asked); /* nothing was asked for again */
    assert_string_equal(b.tune->problems[0].winner->config_text, winner);
    int64_t trial_rows, verdicts, winners;
    assert_int_equal(db_counts(b.db, &trial_rows, &verdicts, &winners, NULL), ST_OK);
    assert_int_equal(trial_rows, trials);
    assert_int_equal(verdicts, 1);
    assert_int_equal(winners, 1);
    bed_free(&b);

    bed_make(&b, "again", false);
    b.settings.again = true;
    assert_int_equal(bed_run(&b), ST_OK);
    assert_int_equal(b.tune->counts.resumed, 0);
    assert_true(requests("again", "time", "") == 2 * trials);
    bed_free(&b);
}

static void a_tie_goes_to_the_default(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "tie", false);
    add_problem(&b, "rope", "tokens=4096 heads=40");
    GenConfig standard;
    Str text = {0};
    assert_int_equal(gen_default(&b.items[0].problem, &b.target.gpu, &standard, NULL), ST_OK);
    gen_config_text(b.items[0].problem.spec, &standard, &text);
    char list[700];
    snprintf(list, sizeof list, "tie:%s;fast:vec_bytes", str_text(&text)); /* all 5 us, it 5.005 */
    fake(list);
    assert_int_equal(bed_run(&b), ST_OK);
    assert_string_equal(b.tune->problems[0].winner->config_text, str_text(&text));
    assert_true(b.tune->problems[0].ratio.median == 1);
    str_free(&text);
    bed_free(&b);
}

typedef struct Wrong {
    const char *name, *fake;
    DbOutcome outcome;
    size_t runs_timed; /* how often `time` was asked for it */
} Wrong;

static void what_goes_wrong_costs_one_trial_and_is_recorded_as_such(void **state) {
    (void)state;
    static const char victim[] = "block_threads=256 head_sequential=1";
    static const Wrong wrongs[] = {
        {"refuse", "refuse", DB_COMPILE, 0}, {"crash_compile", "crash_compile", DB_CRASH, 0},
        {"slow", "slow", DB_TIMEOUT, 0},     {"spill", "spill", DB_RESOURCES, 0},
        {"wrong", "wrong", DB_WRONG, 0},     {"crash", "crash", DB_CRASH, 1},
        {"hang", "hang", DB_TIMEOUT, 1},     {"sticky", "sticky", DB_CRASH, 1},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        Bed b;
        char list[300], config[200];
        bed_make(&b, wrongs[i].name, false);
        snprintf(config, sizeof config, "vec_bytes=8 %s", victim);
        snprintf(list, sizeof list, "%s:%s", wrongs[i].fake, config);
        fake(list);
        b.settings.compile_limit_s = 1;
        b.settings.run_limit_s = 1;
        assert_int_equal(bed_run(&b), ST_OK);
        const TuneTrial *bad = trial_with(&b, config);
        if (bad->outcome != wrongs[i].outcome) {
            fail_msg("%s: outcome %s, %s", wrongs[i].name, db_outcome_name(bad->outcome),
                     bad->detail);
        }
        assert_true(bad->detail[0] != '\0');
        assert_int_equal(requests(wrongs[i].name, "time", config), wrongs[i].runs_timed);
        assert_int_equal(b.tune->counts.timed, b.tune->counts.trials - 1);
        assert_non_null(b.tune->problems[0].winner);
        assert_all_recorded(&b);
        bed_free(&b);
        /* Known to be bad: a second run does not try it again. */
        size_t before = requests(wrongs[i].name, "", "");
        bed_make(&b, wrongs[i].name, false);
        assert_int_equal(bed_run(&b), ST_OK);
        assert_int_equal(requests(wrongs[i].name, "", ""), before);
        bed_free(&b);
    }
}

/* With Q in registers, stages 1 and 2 of a small tile need the same shared memory: equal binaries
 * and equal launches. Without, the launches differ, and each is timed though the binary is equal.
 */
static void equal_binaries_with_equal_launches_are_timed_once(void **state) {
    (void)state;
    static const char tile[] = "block_m=128 block_n=32 warps=4";
    Bed b;
    char list[300], config[200];
    bed_make(&b, "same", false);
    snprintf(list, sizeof list, "same:%s", tile);
    fake(list);
    add_problem(&b, "attn_prefill", "dtype=f16 head_dim=64 len_q=128 len_kv=128");
    assert_int_equal(bed_run(&b), ST_OK);
    size_t shared = 0;
    for (int stages = 1; stages <= 2; stages++) {
        snprintf(config, sizeof config, "%s stages=%d q_in_regs=1 pack_group=0", tile, stages);
        assert_int_equal(trial_with(&b, config)->outcome, DB_OK);
        shared += requests("same", "time", config);
        snprintf(config, sizeof config, "%s stages=%d q_in_regs=0 pack_group=0", tile, stages);
        assert_int_equal(requests("same", "time", config), 1);
    }
    assert_int_equal(shared, 1);
    assert_true(b.tune->counts.deduplicated >= 1);
    assert_int_equal(requests("same", "time", "") + b.tune->counts.deduplicated,
                     b.tune->counts.trials);
    bed_free(&b);
}

static void a_default_that_fails_does_not_keep_the_others_from_winning(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "nodefault", false);
    add_problem(&b, "rope", "tokens=4096 heads=40");
    GenConfig standard;
    Str text = {0};
    char list[300];
    assert_int_equal(gen_default(&b.items[0].problem, &b.target.gpu, &standard, NULL), ST_OK);
    gen_config_text(b.items[0].problem.spec, &standard, &text);
    snprintf(list, sizeof list, "wrong:%s", str_text(&text));
    fake(list);
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneProblem *p = &b.tune->problems[0];
    assert_non_null(p->winner);
    assert_null(p->standard);
    int64_t trials, verdicts, winners;
    assert_int_equal(db_counts(b.db, &trials, &verdicts, &winners, NULL), ST_OK);
    assert_int_equal(verdicts, 1);
    str_free(&text);
    bed_free(&b);
}

static void a_device_that_repeats_differently_gets_an_interleaved_final(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "final", true);
    fake("fast:block_threads=512 head_sequential=1");
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneProblem *p = &b.tune->problems[0];
    assert_int_equal(requests("final", "final", ""), 1);
    assert_true(p->final_done);
    assert_true(p->winner->time_count == 9);
    /* Both ripple alike, so the paired ratio is exact though the times spread. */
    assert_true(p->winner->time.low < p->winner->time.high);
    assert_true(p->ratio.high - p->ratio.low < 1e-9 && p->ratio.median < 1);
    bed_free(&b);
}

static void a_budget_that_ends_says_what_was_not_reached(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "budget", false);
    fake("hang:head_sequential=1");
    b.settings.budget_s = 1.5;
    assert_int_equal(bed_run(&b), ST_OK);
    assert_true(b.tune->out_of_time);
    assert_true(b.tune->counts.done > 0 && b.tune->counts.done < b.tune->counts.trials);
    assert_non_null(b.tune->problems[0].winner);
    assert_all_recorded(&b);
    bed_free(&b);
}

static void interrupt_at_once(void *context, TuneEvent event, const Tune *tune,
                              const void *subject) {
    (void)context;
    (void)subject;
    if (event == TUNE_TRIAL_DONE && tune->counts.done == 3) interrupted = 1;
}

static void an_interrupt_keeps_what_is_known(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "interrupt", false);
    add_problem(&b, "rope", "tokens=4096 heads=40");
    Status st = tune_run(b.library, b.db, &b.target, b.items, b.count, &b.settings,
                         interrupt_at_once, NULL, &b.tune, &b.err);
    assert_int_equal(st, ST_CANCELLED);
    assert_true(b.tune->counts.done >= 3 && b.tune->counts.done < b.tune->counts.trials);
    assert_non_null(b.tune->problems[0].winner);
    assert_all_recorded(&b);
    bed_free(&b);
}

static void without_nvrtc_or_gpu_the_session_ends_with_one_message(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "nonvrtc", false);
    fake("nonvrtc:");
    assert_int_equal(bed_run(&b), ST_DRIVER);
    assert_non_null(strstr(b.err.message, "no NVRTC here"));
    bed_free(&b);
    bed_make(&b, "noopen", false);
    fake("noopen:");
    assert_int_equal(bed_run(&b), ST_DRIVER);
    assert_non_null(strstr(b.err.message, "cannot open the GPU"));
    bed_free(&b);
}

static void problems_of_one_static_key_share_compilation_and_check(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "share", false);
    add_problem(&b, "rope", "tokens=4096 heads=40");
    add_problem(&b, "rope", "tokens=512 heads=40");
    assert_int_equal(bed_run(&b), ST_OK);
    assert_int_equal(requests("share", "compile", ""), b.tune->counts.trials / 2);
    assert_int_equal(requests("share", "verify", ""), b.tune->counts.trials / 2);
    assert_int_equal(requests("share", "time", ""), b.tune->counts.trials);
    bed_free(&b);
}

static void an_attention_problem_is_timed_beside_the_baseline(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "baseline", false);
    b.settings.effort = 2;
    add_problem(&b, "attn_prefill", "dtype=f16 head_dim=64 len_q=128 len_kv=128");
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneProblem *p = &b.tune->problems[0];
    assert_non_null(p->baseline);
    assert_true(p->baseline->outcome == DB_OK && p->baseline->time.median > 0);
    assert_string_equal(gen_spec_name(p->baseline->problem->spec), TUNE_BASELINE);
    assert_true(p->winner != p->baseline);
    assert_true(b.tune->counts.untried > 0);
    bed_free(&b);
}

static void a_problem_that_no_variant_supports_does_not_stop_the_others(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "unsupported", false);
    b.settings.effort = 2;
    add_problem(&b, "rope", "style=interleaved align=1 tokens=64"); /* a pair is two elements */
    add_problem(&b, "rope", "tokens=64");
    assert_int_equal(bed_run(&b), ST_OK);
    assert_non_null(b.tune->problems[0].unsupported);
    assert_null(b.tune->problems[0].winner);
    assert_non_null(b.tune->problems[1].winner);
    bed_free(&b);
}

static void bf16_attention_is_tuned_in_f16_where_the_gpu_has_none(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "f16", false);
    b.target.gpu = gpu_info_of_model(gpu_model_find("t4"));
    b.settings.effort = 1;
    add_problem(&b, "attn_prefill", "dtype=bf16 head_dim=64 len_q=128 len_kv=128");
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneProblem *p = &b.tune->problems[b.tune->problem_count - 1];
    assert_null(p->unsupported);
    assert_non_null(p->winner);
    assert_string_equal(gen_problem_word(&p->item->problem, "dtype"), "f16");
    assert_non_null(strstr(p->item->label, " in f16"));
    bed_free(&b);
}

static void what_won_on_another_gpu_is_tried_first_after_the_seeds(void **state) {
    (void)state;
    Bed b;
    bed_make(&b, "known", false);
    fake("fast:vec_bytes=8 block_threads=512 head_sequential=1");
    assert_int_equal(bed_run(&b), ST_OK);
    bed_free(&b);
    bed_make(&b, "known", false);
    b.target.gpu = gpu_info_of_model(gpu_model_find("rtx4090"));
    gpu_key(&b.target.gpu, b.target.key, sizeof b.target.key);
    b.settings.effort = 1;
    assert_int_equal(bed_run(&b), ST_OK);
    const TuneTrial *known = trial_with(&b, "vec_bytes=8 block_threads=512 head_sequential=1");
    assert_false(known->resumed);
    assert_true(known->rank + 2 >= b.tune->problems[0].candidates.count);
    bed_free(&b);
}

/* Number of axes on which two configurations of rope differ, of its three. */
static int steps_apart(const GenConfig *a, const GenConfig *b) {
    int n = 0;
    for (int i = 0; i < 3; i++) n += a->value[i] != b->value[i];
    return n;
}

static void the_neighbours_of_the_best_are_tried_and_a_second_run_walks_the_same_way(void **state) {
    (void)state;
    Bed b;
    size_t asked = 0;
    for (int run = 0; run < 2; run++) {
        bed_make(&b, "search", false);
        fake("fast:vec_bytes=8 block_threads=128 head_sequential=1");
        b.settings.effort = 3;
        assert_int_equal(bed_run(&b), ST_OK);
        const TuneProblem *p = &b.tune->problems[0];
        assert_true(p->searches > 0);
        assert_true(b.tune->trial_count > p->candidates.count);
        assert_true(b.tune->trial_count <= p->candidates.count + tune_search_room(3));
        assert_true(b.tune->counts.done == b.tune->counts.trials);
        for (size_t i = p->candidates.count; i < b.tune->trial_count; i++) {
            int nearest = 3;
            for (size_t k = 0; k < i; k++) {
                int n = steps_apart(&b.tune->trials[i].config, &b.tune->trials[k].config);
                assert_true(n > 0); /* never the same one twice */
                if (n < nearest) nearest = n;
            }
            assert_int_equal(nearest, 1);
        }
        if (run == 0) asked = requests("search", "", "");
        assert_int_equal(requests("search", "", ""), asked);
        bed_free(&b);
    }
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "%s/tests/tune-XXXXXX", SEQTUNE_BINARY_DIR);
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--worker") == 0) return fake_worker_main();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_legal_configuration_is_compiled_checked_and_timed_once),
        cmocka_unit_test(the_winner_is_recorded_with_its_ratio_and_a_second_run_starts_from_there),
        cmocka_unit_test(a_tie_goes_to_the_default),
        cmocka_unit_test(what_goes_wrong_costs_one_trial_and_is_recorded_as_such),
        cmocka_unit_test(equal_binaries_with_equal_launches_are_timed_once),
        cmocka_unit_test(a_default_that_fails_does_not_keep_the_others_from_winning),
        cmocka_unit_test(a_device_that_repeats_differently_gets_an_interleaved_final),
        cmocka_unit_test(a_budget_that_ends_says_what_was_not_reached),
        cmocka_unit_test(an_interrupt_keeps_what_is_known),
        cmocka_unit_test(without_nvrtc_or_gpu_the_session_ends_with_one_message),
        cmocka_unit_test(problems_of_one_static_key_share_compilation_and_check),
        cmocka_unit_test(an_attention_problem_is_timed_beside_the_baseline),
        cmocka_unit_test(the_neighbours_of_the_best_are_tried_and_a_second_run_walks_the_same_way),
        cmocka_unit_test(what_won_on_another_gpu_is_tried_first_after_the_seeds),
        cmocka_unit_test(a_problem_that_no_variant_supports_does_not_stop_the_others),
        cmocka_unit_test(bf16_attention_is_tuned_in_f16_where_the_gpu_has_none),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
