/* See program.h. JSON is read by SQLite, so that it is judged by somebody else's parser. */
#include "tests/tuner/program.h"

#include <setjmp.h>
#include <signal.h>
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
#include <sqlite3.h>

char program_home[256];

int program_setup(void **state) {
    (void)state;
    snprintf(program_home, sizeof program_home, "%s/tests/tuner-XXXXXX", SEQTUNE_BINARY_DIR);
    if (!mkdtemp(program_home)) return -1;
    /* The artifact cache outlives a run: its keys are hashes of what is compiled. */
    setenv("SEQTUNE_CACHE_DIR", SEQTUNE_BINARY_DIR "/tests/artifacts", 1);
    setenv("HOME", program_home, 1);
    unsetenv("SEQTUNE_DB");
    unsetenv("XDG_DATA_HOME");
    unsetenv("SEQTUNE_DATA_DIR");
    return chdir(program_home);
}

int program_teardown(void **state) {
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", program_home);
    return chdir("/") == 0 ? system(command) : -1;
}

char *program_read(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", program_home, name);
    char *text = calloc(1, PROGRAM_TEXT);
    FILE *f = fopen(path, "r");
    assert_non_null(text);
    if (f) {
        size_t n = fread(text, 1, PROGRAM_TEXT - 1, f);
        text[n] = '\0';
        fclose(f);
    }
    return text;
}

bool program_measured(void) {
    const char *gpu = getenv("SEQTUNE_TEST_GPU");
    return gpu && *gpu;
}

/* printf, then every "@GPU" becomes the GPU under test. */
static void format_args(char *out, size_t size, const char *format, va_list list) {
    char text[1536];
    vsnprintf(text, sizeof text, format, list);
    const char *gpu = program_measured() ? getenv("SEQTUNE_TEST_GPU") : "soft:a100";
    size_t n = 0;
    for (const char *at = text; *at && n + 1 < size;) {
        bool here = strncmp(at, "@GPU", 4) == 0;
        n += (size_t)snprintf(out + n, size - n, "%.*s", here ? 32 : 1, here ? gpu : at);
        at += here ? 4 : 1;
    }
    out[n < size ? n : size - 1] = '\0';
}

static int code_of(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static Ran run_shell(const char *before, const char *args) {
    Ran ran = {0};
    snprintf(ran.command, sizeof ran.command, "%s%s/tuner/seqtune %s", before, SEQTUNE_BINARY_DIR,
             args);
    char shell[2800];
    snprintf(shell, sizeof shell, "%s >'%s/run.out' 2>'%s/run.err' </dev/null", ran.command,
             program_home, program_home);
    ran.code = code_of(system(shell));
    ran.out = program_read("run.out");
    ran.err = program_read("run.err");
    return ran;
}

Ran program_run(const char *format, ...) {
    char args[1536];
    va_list list;
    va_start(list, format);
    format_args(args, sizeof args, format, list);
    va_end(list);
    return run_shell("", args);
}

Ran program_run_in(const char *before, const char *format, ...) {
    char args[1536];
    va_list list;
    va_start(list, format);
    format_args(args, sizeof args, format, list);
    va_end(list);
    return run_shell(before, args);
}

void program_free(Ran *ran) {
    free(ran->out);
    free(ran->err);
}

void program_fail(const Ran *ran, const char *what) {
    fail_msg("%s\nrerun: HOME=%s %s\nexit code %d\nstdout: %.2000s\nstderr: %.2000s", what,
             program_home, ran->command, ran->code, ran->out, ran->err);
}

void program_expect(const Ran *ran, int code, const char *text) {
    char what[600];
    if (ran->code != code) {
        snprintf(what, sizeof what, "exit code %d was expected", code);
        program_fail(ran, what);
    }
    if (text && !strstr(ran->out, text) && !strstr(ran->err, text)) {
        snprintf(what, sizeof what, "'%.500s' was expected", text);
        program_fail(ran, what);
    }
}

pid_t program_start(const char *name, const char *format, ...) {
    char args[1536], shell[2800];
    va_list list;
    va_start(list, format);
    format_args(args, sizeof args, format, list);
    va_end(list);
    snprintf(shell, sizeof shell, "exec %s/tuner/seqtune %s >'%s/%s.out' 2>'%s/%s.err' </dev/null",
             SEQTUNE_BINARY_DIR, args, program_home, name, program_home, name);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", shell, (char *)NULL);
        _exit(127);
    }
    return pid;
}

int program_wait(pid_t pid) {
    int status = 0;
    for (int i = 0; i < 12000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) return code_of(status);
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

const char *json_at(const Ran *ran, const char *path) {
    static char value[8192];
    sqlite3 *db = NULL;
    sqlite3_stmt *query = NULL;
    value[0] = '\0';
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    const char *sql =
        "SELECT json_valid(?1), CASE WHEN json_valid(?1) THEN json_extract(?1, ?2) END";
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &query, NULL), SQLITE_OK);
    sqlite3_bind_text(query, 1, ran->out, -1, SQLITE_STATIC);
    sqlite3_bind_text(query, 2, path, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    if (!sqlite3_column_int(query, 0)) program_fail(ran, "stdout is not JSON");
    const unsigned char *text = sqlite3_column_text(query, 1);
    if (text) snprintf(value, sizeof value, "%s", (const char *)text);
    sqlite3_finalize(query);
    sqlite3_close(db);
    return value;
}

double json_number(const Ran *ran, const char *path) {
    const char *text = json_at(ran, path);
    char *end;
    double value = strtod(text, &end);
    if (end == text) program_fail(ran, path);
    return value;
}
