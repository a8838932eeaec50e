/* The program end to end on the software GPU: what a user and a script see, and what survives
 * faults, signals, other tuners and bad storage. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "tests/tuner/program.h"
#include "tuner/options.h"

/* The smallest session: the smoke workload, seeds and one configuration by score. */
#define SMOKE "tune --gpu @GPU --workload smoke --effort 1 --jobs 2 --budget 10m"
#define ROPE  SMOKE " --op rope --effort 8"

static void smoke_tunes_every_problem_and_says_so_in_json(void **state) {
    (void)state;
    Ran ran = program_run(SMOKE " --db smoke.db --json");
    program_expect(&ran, EXIT_OK, NULL);
    bool measured = program_measured();
    assert_string_equal(json_at(&ran, "$.gpus[0].evidence"), measured ? "measured" : "modelled");
    assert_string_equal(json_at(&ran, "$.gpus[0].model"), measured ? "" : "a100");
    assert_true(json_number(&ran, "$.gpus[0].counts.failed") == 0);
    assert_true(json_number(&ran, "$.gpus[0].counts.done") ==
                json_number(&ran, "$.gpus[0].counts.trials"));
    for (int i = 0; i < 3; i++) {
        char path[64];
#define AT(name) (snprintf(path, sizeof path, "$.gpus[0].results[%d]." name, i), path)
        assert_true(json_at(&ran, AT("config"))[0] != '\0');
        assert_true(json_number(&ran, AT("time_us")) > 0);
        assert_true(json_number(&ran, AT("ratio_to_default")) <= 1);
        assert_true(json_number(&ran, AT("verify_error")) > 0);
        assert_true(json_number(&ran, AT("verify_error")) <= 1);
        assert_true(json_number(&ran, AT("spill_bytes")) == 0);
        bool attention = strcmp(json_at(&ran, AT("kernel")), "attn_prefill") == 0;
        assert_int_equal(attention, json_number(&ran, AT("naive_time_us")) > 0);
#undef AT
    }
    program_free(&ran);
}

static void a_second_run_takes_everything_from_the_database(void **state) {
    (void)state;
    Ran ran = program_run(SMOKE " --db smoke.db --json --quiet");
    program_expect(&ran, EXIT_OK, NULL);
    assert_string_equal(ran.err, "");
    assert_true(json_number(&ran, "$.gpus[0].counts.resumed") ==
                json_number(&ran, "$.gpus[0].counts.trials"));
    assert_true(json_number(&ran, "$.gpus[0].counts.compiled") == 0);
    program_free(&ran);
}

static void the_table_says_times_ratios_and_that_they_are_modelled(void **state) {
    (void)state;
    const char *const texts[] = {"workload  smoke: 3 problems",
                                 "budget    10m 00s",
                                 "effort ",
                                 "GPU       ",
                                 "database  smoke.db",
                                 "vs default",
                                 "vs naive",
                                 program_measured() ? "measured" : "modelled (a100, factor ",
                                 "untried (--effort 1)"};
    Ran ran = program_run(SMOKE " --db smoke.db");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        program_expect(&ran, EXIT_OK, texts[i]);
    }
    program_free(&ran);
}

static void show_and_why_read_what_tune_wrote(void **state) {
    (void)state;
    Ran ran = program_run("show --db smoke.db --json");
    program_expect(&ran, EXIT_OK, NULL);
    assert_string_equal(json_at(&ran, "$.winners[0].kernel"), "attn_prefill");
    assert_true(json_number(&ran, "$.winners[0].naive_time_us") > 0);
    assert_string_equal(json_at(&ran, "$.winners[3]"), "");
    program_free(&ran);
    ran = program_run("show --db smoke.db --op rope --gpu @GPU");
    program_expect(&ran, EXIT_OK, "x default");
    program_free(&ran);
    ran = program_run("show --db smoke.db --gpu soft:rtx4090");
    program_expect(&ran, EXIT_UNSERVED, "holds no winner");
    program_free(&ran);
    static const char rope[] = "--op rope --gpu @GPU --db smoke.db --problem 'dtype=f16 "
                               "style=interleaved head_dim=64 rotary_dim=32 heads=3 tokens=%d'";
    char args[400];
    snprintf(args, sizeof args, rope, 33);
    ran = program_run("why %s --json", args);
    program_expect(&ran, EXIT_OK, NULL);
    assert_string_equal(json_at(&ran, "$.step"), "exact");
    assert_true(json_number(&ran, "$.row") > 0);
    program_free(&ran);
    snprintf(args, sizeof args, rope, 3300);
    ran = program_run("why %s", args);
    program_expect(&ran, EXIT_OK, "step     nearest");
    program_free(&ran);
    ran = program_run("why --op rope --gpu @GPU --db smoke.db --problem head_dim=256");
    program_expect(&ran, EXIT_OK, "step     default");
    program_free(&ran);
}

static void whole_files_travel(void **state) {
    (void)state;
    static const struct {
        const char *args;
        int code;
        const char *text;
    } rows[] = {
        {"db check --db smoke.db", EXIT_OK, "sound"},
        {"db check smoke.db --json", EXIT_OK, "\"sound\": true"},
        {"db export shipped.db --db smoke.db", EXIT_OK, "shipped.db"},
        {"db export shipped.db --db smoke.db", EXIT_STORAGE, "shipped.db"},
        {"db check shipped.db", EXIT_OK, "sound"},
        {"db import shipped.db --db mine.db", EXIT_OK, "3 of 3 verdicts were new"},
        {"db import shipped.db --db mine.db --json", EXIT_OK, "\"verdicts_new\": 0"},
        {"db merge both.db smoke.db shipped.db", EXIT_OK, "3 of 6 verdicts were new"},
        {"db merge both.db smoke.db shipped.db", EXIT_USAGE, "both.db exists"},
        {"db merge third.db smoke.db absent.db", EXIT_STORAGE, "absent.db"},
        {"db check third.db", EXIT_STORAGE, "third.db"},
        {"show --db both.db", EXIT_OK, "rope"},
        {"db export absent/x.db --db smoke.db", EXIT_STORAGE,
         "seqtune: absent/x.db: cannot create the export: No such file"},
        {"db import absent.db --db new.db", EXIT_STORAGE, "nothing imported: "},
        {"db check new.db", EXIT_STORAGE, "there is no database new.db"},
        {"db import shipped.db absent.db --db new.db", EXIT_STORAGE, "nothing imported: "},
        {"db check new.db", EXIT_STORAGE, "there is no database new.db"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran = program_run("%s", rows[i].args);
        program_expect(&ran, rows[i].code, rows[i].text);
        program_free(&ran);
    }
}

/* A file whose row was altered opens, but cannot be imported: what went in before it is said. */
static void an_import_that_stops_half_way_says_what_is_in(void **state) {
    (void)state;
    sqlite3 *db = NULL;
    assert_int_equal(system("cp shipped.db altered.db"), 0);
    assert_int_equal(sqlite3_open("altered.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE trial SET registers = registers + 1", 0, 0, 0),
                     SQLITE_OK);
    sqlite3_close(db);
    Ran ran = program_run("db import shipped.db altered.db smoke.db --db half.db");
    program_expect(&ran, EXIT_STORAGE, "half.db: ");
    program_expect(&ran, EXIT_STORAGE, "3 of 3 verdicts were new");
    program_expect(&ran, EXIT_STORAGE, "imported: shipped.db; not imported: altered.db, smoke.db");
    program_expect(&ran, EXIT_STORAGE, "altered or damaged");
    program_free(&ran);
    ran = program_run("db merge half2.db shipped.db altered.db");
    program_expect(&ran, EXIT_STORAGE, "half2.db is not made: nothing imported from altered.db");
    program_free(&ran);
    ran = program_run("db check half2.db");
    program_expect(&ran, EXIT_STORAGE, "there is no database half2.db");
    program_free(&ran);
}

/* Sound where it is opened (header, schema), damaged where the winners are. */
static void why_fails_with_a_damaged_database(void **state) {
    (void)state;
    assert_int_equal(system("cp shipped.db hollow.db"), 0);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open("hollow.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "ALTER TABLE winner RENAME TO loser", 0, 0, 0), SQLITE_OK);
    sqlite3_close(db);
    Ran ran = program_run("why --op rope --gpu @GPU --db hollow.db");
    program_expect(&ran, EXIT_STORAGE, "seqtune: the answer is without a database");
    char *said = strstr(ran.err, "going on without");
    assert_non_null(said);
    assert_null(strstr(said + 1, "going on without")); /* once */
    program_free(&ran);
    ran = program_run(SMOKE " --db hollow.db");
    program_expect(&ran, EXIT_STORAGE, "hollow.db");
    said = strstr(ran.out, "none: "); /* in the table, too */
    if (!said || !strstr(said, "hollow.db")) program_fail(&ran, "the cause in the table");
    program_free(&ran);
    assert_int_equal(sqlite3_open("hollow.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", 0, 0, 0), SQLITE_OK);
    sqlite3_close(db);
    ran = program_run("why --op rope --gpu @GPU --db hollow.db");
    program_expect(&ran, EXIT_STORAGE, "newer than this program's");
    program_free(&ran);
    ran = program_run("why --op rope --gpu @GPU --db /tmp");
    program_expect(&ran, EXIT_STORAGE, "/tmp: not a file");
    program_free(&ran);
}

static void show_marks_rows_whose_key_is_of_an_earlier_kernel(void **state) {
    (void)state;
    sqlite3 *db = NULL;
    assert_int_equal(system("cp shipped.db early.db"), 0);
    Ran ran = program_run("show --db early.db");
    assert_null(strstr(ran.out, "serves nothing"));
    program_free(&ran);
    assert_int_equal(sqlite3_open("early.db", &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(
            db,
            "UPDATE verdict SET problem_key = replace(problem_key, 'head_dim=', 'old_dim='); "
            "UPDATE winner SET problem_key = replace(problem_key, 'head_dim=', 'old_dim=') "
            "WHERE kernel = 'rope'",
            NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    ran = program_run("show --db early.db --op rope");
    program_expect(&ran, EXIT_OK, "serves nothing: its key lacks dimensions");
    program_free(&ran);
    ran = program_run("show --db early.db --op rope --json");
    assert_string_equal(json_at(&ran, "$.winners[0].outdated"), "1");
    program_free(&ran);
}

static void auto_without_a_gpu_says_so_in_one_line(void **state) {
    (void)state;
    Ran real = program_run("gpus --json");
    bool has_gpu = json_at(&real, "$.gpus[0]")[0] != '\0';
    program_free(&real);
    Ran ran = program_run("--gpu auto --workload smoke --op rope --effort 1 --db auto.db");
    program_expect(&ran, EXIT_OK, has_gpu ? "measured" : "using the software GPU as an A100");
    program_free(&ran);
}

static void a_worker_that_fails_costs_one_trial(void **state) {
    (void)state;
    /* Only what hangs needs a short limit; 3 s are a hundred times what the others take. */
    static const struct {
        const char *fault, *outcome, *limit, *said;
    } rows[] = {
        {"time:crash:2", "crash", "", NULL},
        {"time:exit:1", "crash", "", NULL},
        {"time:garbage:1", "crash", "", NULL},
        {"time:sticky:2", "crash", "", NULL},
        {"verify:crash:1", "crash", "", NULL},
        {"time:hang:1", "timeout", "--run-limit 3s",
         "timing: no answer within 3 s; the worker was killed (--run-limit gives it longer)"},
        {"compile:crash:1", "crash", "", NULL},
        {"compile:hang:1", "timeout", "--compile-limit 5s",
         "compilation: no answer within 5 s; the worker was killed (--compile-limit"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran = program_run(ROPE " --db fault%zu.db --json %s --worker-fault %s", i,
                              rows[i].limit, rows[i].fault);
        char found[200];
        program_expect(&ran, EXIT_OK, NULL);
        snprintf(found, sizeof found, "\"outcome\": \"%s\"", rows[i].outcome);
        program_expect(&ran, EXIT_OK, found);
        if (json_number(&ran, "$.gpus[0].counts.failed") != 1) program_fail(&ran, "one failure");
        program_expect(&ran, EXIT_OK, "going on with a new one");
        if (rows[i].said) program_expect(&ran, EXIT_OK, rows[i].said);
        program_free(&ran);
        ran = program_run("db check fault%zu.db", i);
        program_expect(&ran, EXIT_OK, "sound");
        program_free(&ran);
    }
}

/* Waits until the file HOME/NAME.err holds `text`. */
static void wait_for(const char *name, const char *text) {
    char file[64];
    snprintf(file, sizeof file, "%s.err", name);
    for (int i = 0; i < 6000; i++) {
        char *err = program_read(file);
        bool found = strstr(err, text) != NULL;
        free(err);
        if (found) return;
        usleep(10000);
    }
    fail_msg("%s never said '%s'", name, text);
}

static double trials_of(const char *db) {
    sqlite3 *sql = NULL;
    sqlite3_stmt *query = NULL;
    assert_int_equal(sqlite3_open_v2(db, &sql, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(sql, "SELECT count(*) FROM trial", -1, &query, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    double n = sqlite3_column_double(query, 0);
    sqlite3_finalize(query);
    sqlite3_close(sql);
    return n;
}

/* The third timing hangs: two trials are done, one is in flight, for as long as it takes. */
#define STUCK ROPE " --run-limit 10m --worker-fault time:hang:3"

static void assert_resumes(const char *db, int expected_least) {
    Ran ran = program_run("db check %s", db);
    program_expect(&ran, EXIT_OK, "sound");
    program_free(&ran);
    ran = program_run(ROPE " --db %s --json", db);
    program_expect(&ran, EXIT_OK, NULL);
    assert_true(json_number(&ran, "$.gpus[0].counts.resumed") >= expected_least);
    assert_true(json_number(&ran, "$.gpus[0].counts.done") ==
                json_number(&ran, "$.gpus[0].counts.trials"));
    program_free(&ran);
}

static void control_c_ends_cleanly_with_what_is_known(void **state) {
    (void)state;
    pid_t pid = program_start("int", STUCK " --db int.db");
    wait_for("int", "[2/");
    usleep(300000);
    kill(pid, SIGINT);
    assert_int_equal(program_wait(pid), EXIT_INTERRUPTED);
    char *out = program_read("int.out");
    assert_non_null(strstr(out, "interrupted"));
    assert_non_null(strstr(out, "vec_bytes=")); /* a winner of what is known */
    free(out);
    assert_true(trials_of("int.db") == 2);
    assert_resumes("int.db", 2);
}

static void the_second_control_c_ends_at_once(void **state) {
    (void)state;
    pid_t pid = program_start("twice", STUCK " --db twice.db");
    wait_for("twice", "[2/");
    kill(pid, SIGSTOP); /* so that both signals are there before it can act on the first */
    kill(pid, SIGINT);
    kill(pid, SIGTERM);
    kill(pid, SIGCONT);
    assert_int_equal(program_wait(pid), EXIT_INTERRUPTED);
    char *out = program_read("twice.out");
    assert_null(strstr(out, "configuration")); /* no report was waited for */
    free(out);
    assert_resumes("twice.db", 2);
}

static void a_budget_that_ends_says_what_was_not_reached(void **state) {
    (void)state;
    Ran ran = program_run("tune --gpu @GPU --workload smoke --budget 0.01s --db budget.db");
    program_expect(&ran, EXIT_UNSERVED, "not reached within the budget");
    program_expect(&ran, EXIT_UNSERVED, "trials were not reached (the budget ended)");
    program_free(&ran);
}

/* SEQTUNE_DRIVER names a driver with two different GPUs and one that is the same again. */
static void auto_takes_every_distinct_gpu(void **state) {
    (void)state;
    Ran ran =
        program_run_in("SEQTUNE_DRIVER=soft:a100,t4,a100 ",
                       "--gpu auto --workload smoke --op rope --effort 1 --db gpus.db --json");
    program_expect(&ran, EXIT_OK, NULL);
    assert_string_equal(json_at(&ran, "$.gpus[0].model"), "a100");
    assert_string_equal(json_at(&ran, "$.gpus[1].model"), "t4");
    assert_string_equal(json_at(&ran, "$.gpus[2]"), "");
    assert_true(json_at(&ran, "$.gpus[1].results[0].config")[0] != '\0');
    program_free(&ran);
}

static void kill_9_loses_at_most_the_trial_in_flight(void **state) {
    (void)state;
    pid_t pid = program_start("kill", STUCK " --db kill.db");
    wait_for("kill", "[2/");
    kill(pid, SIGKILL);
    assert_int_equal(program_wait(pid), 128 + SIGKILL);
    assert_true(trials_of("kill.db") == 2);
    assert_resumes("kill.db", 2);
}

static void two_tuners_share_one_database(void **state) {
    (void)state;
    pid_t a = program_start("a", ROPE " --db two.db --json --quiet");
    pid_t b = program_start("b", ROPE " --db two.db --json --quiet");
    assert_int_equal(program_wait(a), EXIT_OK);
    assert_int_equal(program_wait(b), EXIT_OK);
    assert_resumes("two.db", 3);
}

static void write_file(const char *name, const char *text) {
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void bad_storage_is_named_and_nothing_is_overwritten(void **state) {
    (void)state;
    Ran ran;
    write_file("foreign.txt.db", "this is not a database, and long enough not to be taken for one");
    assert_int_equal(system("head -c 5000 smoke.db > truncated.db"), 0);
    sqlite3 *other = NULL;
    assert_int_equal(sqlite3_open("foreign.db", &other), SQLITE_OK);
    sqlite3_exec(other, "CREATE TABLE people(name)", NULL, NULL, NULL);
    sqlite3_close(other);
    static const char *const paths[] = {"foreign.txt.db", "truncated.db", "foreign.db",
                                        "/proc/seqtune.db", "smoke.db/x.db"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        ran = program_run(ROPE " --db %s", paths[i]);
        program_expect(&ran, EXIT_STORAGE, paths[i]);
        if (i == 0 || i == 2) program_expect(&ran, EXIT_STORAGE, "; name another with --db");
        program_free(&ran);
    }
    char *text = program_read("foreign.txt.db");
    assert_non_null(strstr(text, "not a database"));
    free(text);
}

static void a_locked_database_is_said_to_be_locked(void **state) {
    (void)state;
    sqlite3 *other = NULL;
    assert_int_equal(system("cp smoke.db locked.db"), 0);
    assert_int_equal(sqlite3_open("locked.db", &other), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(other, "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL),
        SQLITE_OK);
    Ran ran = program_run(ROPE " --db locked.db --again");
    program_expect(&ran, EXIT_STORAGE, "locked");
    program_free(&ran);
    sqlite3_close(other);
}

static void a_disk_that_fills_up_stops_with_what_is_recorded(void **state) {
    (void)state;
    /* A limit on file sizes fails writes as a full disk does, with another errno. */
    char before[500];
    snprintf(before, sizeof before, "trap '' XFSZ; ulimit -f 130; SEQTUNE_CACHE_DIR=%s/small ",
             program_home);
    Ran ran = program_run_in(before, ROPE " --db full.db");
    program_expect(&ran, EXIT_STORAGE, "full.db: cannot");
    program_free(&ran);
    assert_resumes("full.db", 1);
}

static void without_a_toolchain_or_driver_one_message_says_what_to_do(void **state) {
    (void)state;
    Ran ran = program_run_in("SEQTUNE_NVRTC=/nonexistent/libnvrtc.so ", ROPE " --db none.db");
    program_expect(&ran, EXIT_NO_DEVICE, "/nonexistent/libnvrtc.so");
    char *row = strstr(ran.out, "none: "); /* the table says the same as the last line */
    if (!row || !strstr(row, "/nonexistent/libnvrtc.so")) program_fail(&ran, "the cause");
    program_free(&ran);
    ran = program_run_in("SEQTUNE_DRIVER=/nonexistent/libcuda.so ", "--gpu auto --db none.db");
    program_expect(&ran, EXIT_NO_DEVICE, "/nonexistent/libcuda.so");
    program_free(&ran);
    ran = program_run("--gpu 99 --db none.db");
    program_expect(&ran, program_measured() ? EXIT_USAGE : EXIT_NO_DEVICE, "99");
    program_free(&ran);
}

/* No driver is one thing, a driver that does not work another: its GPU is not emulated silently. */
static void a_broken_or_old_driver_is_an_error_with_a_remedy(void **state) {
    (void)state;
    assert_int_equal(system("mkdir broken old && echo 'no ELF file' > broken/libcuda.so.1 && ln -s "
                            "'" SEQTUNE_BINARY_DIR "/softgpu/libseqtune-softgpu.so.0' "
                            "old/libcuda.so.1"),
                     0);
    static const struct {
        const char *before, *args, *said;
        int code;
    } rows[] = {
        {"LD_LIBRARY_PATH=broken ", "--gpu auto", "libcuda.so.1: ", EXIT_NO_DEVICE},
        {"LD_LIBRARY_PATH=broken ", "--gpu auto", "instead: --gpu soft", EXIT_NO_DEVICE},
        {"LD_LIBRARY_PATH=broken ", "--gpu 0", "the software GPU is --gpu soft", EXIT_NO_DEVICE},
        {"SOFTGPU_DRIVER_VERSION=11080 LD_LIBRARY_PATH=old ", "--gpu auto",
         "is a driver of CUDA 11.8: seqtune needs 12.0", EXIT_NO_DEVICE},
        {"LD_LIBRARY_PATH=broken ", "gpus", "none: cannot load the driver library", EXIT_OK},
        {"SOFTGPU_SEED=abc ", "--gpu soft", "SOFTGPU_SEED: \"abc\" is no seed", EXIT_NO_DEVICE},
        {"SEQTUNE_DRIVER=soft SOFTGPU_DEVICES=foo ", "--gpu auto", "SOFTGPU_DEVICES: \"foo\"",
         EXIT_NO_DEVICE},
        {"SEQTUNE_DRIVER=soft:t4 ", "gpus", "  0  NVIDIA T4", EXIT_OK},
        {"SEQTUNE_DRIVER=soft:t4 ", "version", "libseqtune-softgpu.so", EXIT_OK},
        {"SEQTUNE_DRIVER=soft:t4 ", "explain --op rope --gpu 0", "on NVIDIA T4", EXIT_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Ran ran = program_run_in(rows[i].before, "%s", rows[i].args);
        program_expect(&ran, rows[i].code, rows[i].said);
        program_free(&ran);
    }
}

static void a_template_error_shows_the_compilers_first_error(void **state) {
    (void)state;
    assert_int_equal(system("mkdir -p wrong/runtime && cp -r " SEQTUNE_SOURCE_DIR
                            "/scripts " SEQTUNE_SOURCE_DIR
                            "/templates wrong/ && cp -r " SEQTUNE_SOURCE_DIR
                            "/runtime/params wrong/runtime/ && f=$(grep -l rope -r "
                            "wrong/templates --include=*.cu | head -n 1) && echo 'int i = oops;' "
                            ">> $f"),
                     0);
    Ran ran = program_run(SMOKE " --op rope --source wrong --db wrong.db");
    program_expect(&ran, EXIT_UNSERVED, "error: identifier \"oops\" is undefined");
    char *row = strstr(ran.out, "none: ");
    if (!row || !strstr(row, "oops") || !strstr(row, "all of it: seqtune emit --ptx"))
        program_fail(&ran, "the compiler's error in the table");
    program_free(&ran);
}

/* A workload of one item with these fields. */
#define WORKLOAD(fields)                                                                           \
    "workload \"w\" {\n  title = \"t\",\n  items = {\n    item { label = \"x\", source = "         \
    "\"s\",\n" fields " } } }\n"

static void a_spec_or_workload_with_an_error_is_named_by_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *expected;
    } workloads[] = {
        {"workload \"w\" {\n  items = {\n    item { op = \"rope\", \n", "bad.lua:"},
        {"workload \"w\" { items = {} }\n", "'title' is missing"},
        {WORKLOAD("op = \"rop\""), "rop"},
        {WORKLOAD("op = \"rope\", tokns = 4"), "tokns"},
        {WORKLOAD("op = \"rope\", dtype = \"f8\""), "f8"},
        {WORKLOAD("op = \"rope\", tokens = \"many\""), "tokens"},
        {WORKLOAD("op = \"rope\", tokens = 2^60"), "tokens"},
        {WORKLOAD("op = \"rope\" }, item { op = \"rope\", label = \"x\", source = \"s\""),
         "label 'x' is there twice"},
    };
    for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
        write_file("bad.lua", workloads[i].text);
        Ran ran = program_run("--gpu soft --workload ./bad.lua --db bad.db");
        program_expect(&ran, EXIT_USAGE, workloads[i].expected);
        program_free(&ran);
    }
    char shell[1024];
    snprintf(shell, sizeof shell,
             "mkdir tree && cp -r %s/scripts %s/templates tree/ && mkdir -p tree/runtime && cp -r "
             "%s/runtime/params tree/runtime/ && echo 'kernel \"x\" {' >> "
             "tree/scripts/kernels/rope.lua",
             SEQTUNE_SOURCE_DIR, SEQTUNE_SOURCE_DIR, SEQTUNE_SOURCE_DIR);
    assert_int_equal(system(shell), 0);
    Ran ran = program_run("--gpu soft --workload smoke --source tree --db bad.db");
    program_expect(&ran, EXIT_FAILED, "rope.lua:");
    program_free(&ran);
}

static void a_problem_no_variant_supports_is_said_and_the_others_are_tuned(void **state) {
    (void)state;
    write_file(
        "mixed.lua",
        "workload \"mixed\" { title = \"t\", items = {\n"
        "  item { op = \"rope\", label = \"odd\", source = \"s\", style = \"interleaved\",\n"
        "         align = 1, tokens = 16, heads = 2 },\n"
        "  item { op = \"rope\", label = \"small\", source = \"s\", tokens = 16, heads = 2 } } "
        "}\n");
    Ran ran = program_run("--gpu soft:t4 --workload ./mixed.lua --effort 1 --db mixed.db");
    program_expect(&ran, EXIT_UNSERVED, "1 of 2 problems have no winner");
    program_expect(&ran, EXIT_UNSERVED, "modelled (t4, uncalibrated)");
    program_free(&ran);
}

static void a_problem_without_work_is_said_to_have_none(void **state) {
    (void)state;
    write_file("empty.lua", WORKLOAD("op = \"rope\", tokens = 0"));
    Ran ran = program_run("--gpu soft --workload ./empty.lua --effort 1 --db empty.db");
    program_expect(&ran, EXIT_UNSERVED, "none: a problem of this size has no work");
    program_free(&ran);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smoke_tunes_every_problem_and_says_so_in_json),
        cmocka_unit_test(a_second_run_takes_everything_from_the_database),
        cmocka_unit_test(the_table_says_times_ratios_and_that_they_are_modelled),
        cmocka_unit_test(show_and_why_read_what_tune_wrote),
        cmocka_unit_test(whole_files_travel),
        cmocka_unit_test(an_import_that_stops_half_way_says_what_is_in),
        cmocka_unit_test(why_fails_with_a_damaged_database),
        cmocka_unit_test(show_marks_rows_whose_key_is_of_an_earlier_kernel),
        cmocka_unit_test(auto_without_a_gpu_says_so_in_one_line),
        cmocka_unit_test(a_worker_that_fails_costs_one_trial),
        cmocka_unit_test(control_c_ends_cleanly_with_what_is_known),
        cmocka_unit_test(the_second_control_c_ends_at_once),
        cmocka_unit_test(a_budget_that_ends_says_what_was_not_reached),
        cmocka_unit_test(auto_takes_every_distinct_gpu),
        cmocka_unit_test(kill_9_loses_at_most_the_trial_in_flight),
        cmocka_unit_test(two_tuners_share_one_database),
        cmocka_unit_test(bad_storage_is_named_and_nothing_is_overwritten),
        cmocka_unit_test(a_locked_database_is_said_to_be_locked),
        cmocka_unit_test(a_disk_that_fills_up_stops_with_what_is_recorded),
        cmocka_unit_test(without_a_toolchain_or_driver_one_message_says_what_to_do),
        cmocka_unit_test(a_broken_or_old_driver_is_an_error_with_a_remedy),
        cmocka_unit_test(a_template_error_shows_the_compilers_first_error),
        cmocka_unit_test(a_spec_or_workload_with_an_error_is_named_by_file_and_line),
        cmocka_unit_test(a_problem_no_variant_supports_is_said_and_the_others_are_tuned),
        cmocka_unit_test(a_problem_without_work_is_said_to_have_none),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
