/* Worker processes that die, hang, talk nonsense or vanish: each ends in exactly one event. This
 * program is its own worker: with arguments it plays the part they name. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tuner/process.h"

/* ---- the worker's side ---- */

static int echo_until_the_pipe_ends(void) {
    MessageReader reader = {0};
    Message m = {0};
    while (message_read(&reader, WORKER_REQUEST_FD, &m, NULL) == ST_OK) {
        if (message_write(WORKER_REPLY_FD, &m, NULL) != ST_OK) return 1;
    }
    return 0;
}

static int play(const char *part) {
    worker_child_init();
    if (strcmp(part, "echo") == 0) return echo_until_the_pipe_ends();
    if (strcmp(part, "exit") == 0) return 7;
    /* Not SIGSEGV: a sanitizer would catch it and exit. */
    if (strcmp(part, "crash") == 0) return raise(SIGILL);
    if (strcmp(part, "half") == 0) return write(WORKER_REPLY_FD, "SQT1\x40", 5) == 5 ? 0 : 1;
    if (strcmp(part, "garbage") == 0)
        return write(WORKER_REPLY_FD, "hello, tuner!", 13) == 13 ? 0 : 1;
    for (;;) pause(); /* "hang" */
}

/* ---- the tuner's side ---- */

static Worker start(const char *part, double limit_s) {
    Worker w = {0};
    Message m = {0};
    const char *args[] = {part, NULL};
    assert_int_equal(worker_start(&w, args, NULL), ST_OK);
    message_put(&m, "say", part);
    assert_int_equal(worker_send(&w, &m, limit_s, NULL), ST_OK);
    message_free(&m);
    return w;
}

static WorkerEvent first_event(Worker *w) {
    WorkerEvent event = WORKER_NOTHING;
    double until = process_now() + 20;
    while (event == WORKER_NOTHING && process_now() < until) {
        worker_wait(&w, 1, 0.1);
        event = worker_event(w);
    }
    return event;
}

static void a_reply_comes_back_and_the_worker_serves_again(void **state) {
    (void)state;
    Worker w = start("echo", 20);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(first_event(&w), WORKER_REPLY);
        assert_string_equal(message_get(&w.reply, "say"), "echo");
        assert_false(w.busy);
        Message m = {0};
        message_put(&m, "say", "echo");
        assert_int_equal(worker_send(&w, &m, 20, NULL), ST_OK);
        message_free(&m);
    }
    worker_free(&w);
    assert_false(worker_running(&w));
}

static void assert_dies(const char *part, const char *why) {
    Worker w = start(part, 20);
    assert_int_equal(first_event(&w), WORKER_DIED);
    if (!strstr(w.why, why)) fail_msg("%s: '%s' lacks '%s'", part, w.why, why);
    assert_false(worker_running(&w));
    worker_free(&w);
}

static void a_death_says_how(void **state) {
    (void)state;
    assert_dies("crash", "signal 4");
    assert_dies("exit", "exit code 7");
    assert_dies("garbage", "garbage");
    assert_dies("half", "exit code 0");
}

static void a_worker_that_hangs_is_killed_at_its_limit(void **state) {
    (void)state;
    double before = process_now();
    Worker w = start("hang", 0.3);
    pid_t pid = w.pid;
    assert_int_equal(first_event(&w), WORKER_TIMEOUT);
    assert_true(process_now() - before >= 0.3);
    assert_int_equal(kill(pid, 0), -1); /* reaped: not even a zombie is left */
    worker_free(&w);
}

static void a_worker_that_never_reads_does_not_block_the_tuner(void **state) {
    (void)state;
    Worker w = {0};
    Message m = {0};
    const char *args[] = {"hang", NULL};
    char *big = calloc(1, 900 * 1024);
    assert_int_equal(worker_start(&w, args, NULL), ST_OK);
    message_put_bytes(&m, "source", big, 900 * 1024);
    double before = process_now();
    assert_int_equal(worker_send(&w, &m, 0.2, NULL), ST_OK);
    assert_int_equal(first_event(&w), WORKER_TIMEOUT);
    assert_true(process_now() - before < 4);
    message_free(&m);
    free(big);
    worker_free(&w);
}

static void a_worker_killed_by_someone_else_is_a_death(void **state) {
    (void)state;
    Worker w = start("hang", 20);
    kill(w.pid, SIGKILL);
    assert_int_equal(first_event(&w), WORKER_DIED);
    assert_non_null(strstr(w.why, "signal 9"));
    worker_free(&w);
}

static void a_worker_that_is_not_given_back_is_lost(void **state) {
    (void)state;
    Worker w = {.reap_s = 1e-9};
    const char *args[] = {"hang", NULL};
    Message m = {0};
    assert_int_equal(worker_start(&w, args, NULL), ST_OK);
    message_put(&m, "say", "hang");
    assert_int_equal(worker_send(&w, &m, 0.0, NULL), ST_OK);
    pid_t pid = w.pid;
    /* With no time at all to reap, the kill cannot be seen to have worked. */
    WorkerEvent event = first_event(&w);
    assert_true(event == WORKER_LOST || event == WORKER_TIMEOUT);
    if (event == WORKER_LOST) waitpid(pid, NULL, 0);
    message_free(&m);
    worker_free(&w);
}

static void workers_end_when_the_tuner_is_killed(void **state) {
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t tuner = fork();
    if (tuner == 0) { /* a tuner with one busy worker, to be killed */
        Worker w = {0};
        const char *args[] = {"hang", NULL};
        if (worker_start(&w, args, NULL) != ST_OK) _exit(1);
        usleep(300000);
        if (write(fd[1], &w.pid, sizeof w.pid) != sizeof w.pid) _exit(1);
        for (;;) pause();
    }
    pid_t worker = 0;
    assert_int_equal(read(fd[0], &worker, sizeof worker), (int)sizeof worker);
    kill(tuner, SIGKILL);
    waitpid(tuner, NULL, 0);
    bool gone = false;
    for (int i = 0; i < 200 && !gone; i++) {
        char path[64], text[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)worker);
        FILE *f = fopen(path, "r");
        /* Gone, or a zombie that waits for init. */
        gone = !f || !fgets(text, sizeof text, f) || strstr(text, ") Z");
        if (f) fclose(f);
        usleep(10000);
    }
    assert_true(gone);
    close(fd[0]);
    close(fd[1]);
}

int main(int argc, char **argv) {
    if (argc > 1) return play(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_comes_back_and_the_worker_serves_again),
        cmocka_unit_test(a_death_says_how),
        cmocka_unit_test(a_worker_that_hangs_is_killed_at_its_limit),
        cmocka_unit_test(a_worker_that_never_reads_does_not_block_the_tuner),
        cmocka_unit_test(a_worker_killed_by_someone_else_is_a_death),
        cmocka_unit_test(a_worker_that_is_not_given_back_is_lost),
        cmocka_unit_test(workers_end_when_the_tuner_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
