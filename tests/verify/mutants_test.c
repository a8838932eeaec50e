/* Every mutant of tests/mutants must be caught: one line of a template is changed in a copy of the
 * source tree, and verification at level FULL must refuse the variant. A mutant that passes, whose
 * text is no longer in its file exactly once, or that does not compile is a failure; so is the
 * unchanged variant when it does not pass (it is verified once per distinct variant).
 *
 *     test_verify_mutants            every second, each in a process of its own (a fault ends a
 *                                    context); SEQTUNE_TEST_SEED=1: the others; SEQTUNE_ALL=1: all
 *     test_verify_mutants NAME       one, with its report
 *
 * A .mut file is `key: value` lines: file, match, replace ("\n" is a line end in both), kernel,
 * gpu, problem, and config when the default configuration is not meant. `#` begins a comment line.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/files.h"
#include "base/str.h"
#include "runtime/context.h"
#include "tests/verify/devices.h"
#include "tuner/verify/verify.h"

extern char **environ;

enum { MAX_MUTANTS = 400, MAX_TEXT = 1 << 20, SECONDS = 180, PROCESSES = 2 };

static const char *const folder = SEQTUNE_SOURCE_DIR "/tests/mutants";

typedef struct Mutant {
    const char *file, *match, *replace, *kernel, *gpu, *problem, *config;
} Mutant;

/* What a child process says by its exit status. */
typedef enum Verdict { CAUGHT = 0, SURVIVED = 10, BROKEN = 11 } Verdict;

/* ---- reading ---- */

/* In place: the two characters \n become a line end. */
static char *unescape(char *text) {
    char *to = text;
    for (char *from = text; *from; from++) {
        const bool line_end = from[0] == '\\' && from[1] == 'n';
        *to++ = line_end ? '\n' : *from;
        from += line_end;
    }
    *to = 0;
    return text;
}

static const char *parse(char *text, Mutant *m) {
    const struct {
        const char *key;
        const char **field;
        bool optional;
    } keys[] = {{"file: ", &m->file, false},       {"match: ", &m->match, false},
                {"replace: ", &m->replace, false}, {"kernel: ", &m->kernel, false},
                {"gpu: ", &m->gpu, false},         {"problem: ", &m->problem, false},
                {"config: ", &m->config, true}};
    const size_t count = sizeof keys / sizeof *keys;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t k = 0;
        if (*line == '#') continue;
        while (k < count && !str_starts(line, keys[k].key)) k++;
        if (k == count) return "a line that is neither a comment nor a known key";
        *keys[k].field = unescape(line + strlen(keys[k].key));
    }
    for (size_t k = 0; k < count; k++) {
        if (!*keys[k].field && !keys[k].optional) return keys[k].key;
    }
    return NULL;
}

/* ---- the copy of the source tree ---- */

static Status copy_tree(Arena *arena, const char *from, const char *to, Error *err) {
    DIR *dir = opendir(from);
    if (!dir) return err_set(err, ST_IO, "%s: %s", from, strerror(errno));
    Status status = files_make_dirs(to, 0700, err);
    for (struct dirent *e; status == ST_OK && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char *source = arena_printf(arena, "%s/%s", from, e->d_name);
        char *target = arena_printf(arena, "%s/%s", to, e->d_name);
        struct stat info;
        if (stat(source, &info) == 0 && S_ISDIR(info.st_mode)) {
            status = copy_tree(arena, source, target, err);
            continue;
        }
        char *text;
        size_t size;
        status = files_read(arena, source, MAX_TEXT, &text, &size, err);
        if (status == ST_OK) status = files_publish(target, text, size, 0600, err);
    }
    closedir(dir);
    return status;
}

/* What gen_open reads. */
static Status copy_sources(Arena *arena, const char *root, Error *err) {
    static const char *const parts[] = {"scripts", "templates", "runtime/params"};
    Status status = ST_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && status == ST_OK; i++) {
        status = copy_tree(arena, arena_printf(arena, SEQTUNE_SOURCE_DIR "/%s", parts[i]),
                           arena_printf(arena, "%s/%s", root, parts[i]), err);
    }
    return status;
}

static Status apply(Arena *arena, const Mutant *m, const char *root, Error *err) {
    char *text;
    size_t size;
    char *path = arena_printf(arena, "%s/%s", root, m->file);
    Status status = files_read(arena, path, MAX_TEXT, &text, &size, err);
    if (status != ST_OK) return status;
    char *at = strstr(text, m->match);
    if (!at) return err_set(err, ST_NOT_FOUND, "%s no longer has \"%s\"", m->file, m->match);
    if (strstr(at + 1, m->match)) {
        return err_set(err, ST_INVALID, "%s has \"%s\" more than once", m->file, m->match);
    }
    *at = 0;
    char *changed = arena_printf(arena, "%s%s%s", text, m->replace, at + strlen(m->match));
    return files_publish(path, changed, strlen(changed), 0600, err);
}

/* ---- verifying ---- */

static Status verify_at(const Mutant *m, const char *root, VerifyResult *result, Error *err) {
    seqtune_context *ctx;
    *result = (VerifyResult){0};
    setenv("SEQTUNE_SOURCE", root, 1);
    const char *why = devices_open_one(m->gpu, &ctx);
    if (why) return err_set(err, ST_INTERNAL, "opening %s: %s", m->gpu, why);
    const GenSpec *spec = gen_spec_find(ctx->library, m->kernel);
    Status status = spec ? ST_OK : err_set(err, ST_NOT_FOUND, "no kernel %s", m->kernel);
    GenProblem problem;
    GenConfig config;
    if (status == ST_OK) {
        gen_problem_init(spec, &problem);
        status = gen_problem_parse(&problem, m->problem, err);
    }
    if (status == ST_OK) status = gen_problem_check(&problem, err);
    if (status == ST_OK) {
        status = m->config ? gen_config_parse(spec, m->config, &config, err)
                           : gen_default(&problem, &ctx->device.gpu, &config, err);
    }
    if (status == ST_OK) {
        status = verify_variant(ctx, m->kernel, &problem, &config, VERIFY_FULL, result, err);
    }
    seqtune_close(ctx);
    return status;
}

/* Caught: a case was judged wrong, or the device stopped the kernel. */
static Verdict judge(const Mutant *m, Status status, const VerifyResult *result, const Error *err) {
    if (status == ST_OK) {
        printf("survived: %lld cases passed (%s; %s)\n", (long long)result->cases, m->problem,
               m->config ? m->config : "default configuration");
        return SURVIVED;
    }
    if (status == ST_WRONG || (status == ST_DRIVER && result->failed_case[0])) {
        printf("caught: %s\n", err->message);
        return CAUGHT;
    }
    printf("not a test: %s\n", err->message);
    return BROKEN;
}

/* In the child: changes the copy (unless `control`), verifies, removes the copy. */
static Verdict run_one(const char *name, bool control) {
    char root[] = SEQTUNE_BINARY_DIR "/tests/mutant-XXXXXX";
    Arena *arena = arena_new();
    Mutant m = {0};
    Error err = {0};
    VerifyResult result = {0};
    char *text;
    size_t size;
    alarm(SECONDS); /* a kernel that hangs unnoticed ends here; the parent sees the signal */
    Status status = files_read(arena, arena_printf(arena, "%s/%s.mut", folder, name), MAX_TEXT,
                               &text, &size, &err);
    const char *missing = status == ST_OK ? parse(text, &m) : NULL;
    if (missing) status = err_set(&err, ST_INVALID, "%s.mut: %s", name, missing);
    if (status == ST_OK && !mkdtemp(root)) status = err_set(&err, ST_IO, "%s", root);
    if (status != ST_OK) {
        printf("not a test: %s\n", err.message);
        return BROKEN;
    }
    status = copy_sources(arena, root, &err);
    if (status == ST_OK && !control) status = apply(arena, &m, root, &err);
    const bool ready = status == ST_OK;
    if (ready) status = verify_at(&m, root, &result, &err);
    Verdict verdict = BROKEN;
    if (!ready) {
        printf("not a test: %s\n", err.message);
    } else if (control) {
        verdict = status == ST_OK ? CAUGHT : BROKEN;
        printf("unchanged: worst error/limit %.3f in %lld cases%s%s\n", result.worst_ratio,
               (long long)result.cases, status == ST_OK ? "" : ": ",
               status == ST_OK ? "" : err.message);
    } else {
        verdict = judge(&m, status, &result, &err);
    }
    const char *command = arena_printf(arena, "rm -rf '%s'", root);
    if (system(command) != 0) printf("left %s behind\n", root);
    arena_free(arena);
    return verdict;
}

/* ---- all of them, a few processes at a time ---- */

typedef struct Outcome {
    char name[128];
    pid_t pid;
    int status;     /* of the process */
    char log[1024]; /* path of its output */
    bool control;
} Outcome;

static Outcome outcomes[2 * MAX_MUTANTS];
static size_t outcome_count;

static void start(Outcome *o) {
    char self[] = "/proc/self/exe", name[sizeof o->name + 2];
    char flag[] = "--unchanged";
    snprintf(name, sizeof name, "%s", o->name);
    char *argv[] = {self, name, o->control ? flag : NULL, NULL};
    snprintf(o->log, sizeof o->log, SEQTUNE_BINARY_DIR "/tests/mutant-%s%s.log", o->name,
             o->control ? "-unchanged" : "");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, o->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (posix_spawn(&o->pid, self, &actions, NULL, argv, environ) != 0) o->pid = -1;
    posix_spawn_file_actions_destroy(&actions);
}

static void wait_for_one(void) {
    int status;
    const pid_t pid = wait(&status);
    for (size_t i = 0; i < outcome_count; i++) {
        if (outcomes[i].pid == pid) outcomes[i].status = status;
    }
}

static int run_all(void **state) {
    (void)state;
    size_t running = 0;
    for (size_t i = 0; i < outcome_count; i++) {
        if (running == PROCESSES) {
            wait_for_one();
            running--;
        }
        start(&outcomes[i]);
        running += outcomes[i].pid > 0;
    }
    while (running-- > 0) wait_for_one();
    return 0;
}

static void report(const Outcome *o) {
    char text[1500] = "";
    FILE *log = fopen(o->log, "r");
    if (log) {
        text[fread(text, 1, sizeof text - 1, log)] = 0;
        fclose(log);
    }
    printf("# %s: %s\n", o->name, text);
}

static void is_caught(void **state) {
    const Outcome *o = *state;
    report(o);
    if (WIFSIGNALED(o->status) && WTERMSIG(o->status) == SIGALRM) {
        printf("# %s: hung for %d s\n", o->name, SECONDS);
        assert_false(o->control);
        return;
    }
    if (!WIFEXITED(o->status) || WEXITSTATUS(o->status) != CAUGHT) {
        fail_msg("%s; again: tests/bin/test_verify_mutants %s%s", o->name, o->name,
                 o->control ? " --unchanged" : "");
    }
}

static int is_mutant(const struct dirent *e) {
    return str_ends(e->d_name, ".mut");
}

/* The lines of a .mut file that name its variant, as one text. */
static void variant_of(const char *name, char *out, size_t size) {
    char path[512], line[512];
    snprintf(path, sizeof path, "%s/%s.mut", folder, name);
    FILE *file = fopen(path, "r");
    *out = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (str_starts(line, "kernel:") || str_starts(line, "gpu:") ||
            str_starts(line, "problem:") || str_starts(line, "config:")) {
            snprintf(out + strlen(out), size - strlen(out), "%s", line);
        }
    }
    if (file) fclose(file);
}

static void add_outcome(const char *name, bool control) {
    Outcome *o = &outcomes[outcome_count++];
    *o = (Outcome){.control = control};
    snprintf(o->name, sizeof o->name, "%s", name);
}

/* All of them take minutes. */
static bool takes_mutant(int i) {
    const char *seed = getenv("SEQTUNE_TEST_SEED");
    return getenv("SEQTUNE_ALL") ||
           ((unsigned long)i + (seed ? strtoul(seed, NULL, 10) : 0)) % 2 == 0;
}

/* One outcome per mutant taken, and one for each distinct variant unchanged. */
static bool collect(void) {
    static char seen[MAX_MUTANTS][1024];
    size_t variants = 0;
    struct dirent **entries;
    const int n = scandir(folder, &entries, is_mutant, alphasort);
    if (n < 0 || n > MAX_MUTANTS) return false;
    for (int i = 0; i < n; i++) {
        char name[128], variant[1024];
        snprintf(name, sizeof name, "%.*s", (int)strlen(entries[i]->d_name) - 4,
                 entries[i]->d_name);
        free(entries[i]);
        if (!takes_mutant(i)) continue;
        add_outcome(name, false);
        variant_of(name, variant, sizeof variant);
        size_t v = 0;
        while (v < variants && strcmp(seen[v], variant) != 0) v++;
        if (v == variants) {
            memcpy(seen[variants++], variant, sizeof variant);
            add_outcome(name, true);
        }
    }
    free(entries);
    return true;
}

int main(int argc, char **argv) {
    if (argc > 1) return (int)run_one(argv[1], argc > 2);
    if (!collect()) {
        fprintf(stderr, "%s cannot be read or has more than %d mutants\n", folder, MAX_MUTANTS);
        return 1;
    }
    static struct CMUnitTest tests[2 * MAX_MUTANTS];
    static char titles[2 * MAX_MUTANTS][160];
    for (size_t i = 0; i < outcome_count; i++) {
        snprintf(titles[i], sizeof titles[i], "%.120s%s", outcomes[i].name,
                 outcomes[i].control ? " (unchanged) passes" : " is caught");
        tests[i] = (struct CMUnitTest){titles[i], is_caught, NULL, NULL, &outcomes[i]};
    }
    return _cmocka_run_group_tests("mutants", tests, outcome_count, run_all, NULL);
}
