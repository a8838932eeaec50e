/* posix_spawn, pipes, deadlines, reaping. Never fork without exec: CUDA and SQLite do not survive
 * it (docs/design.md 4.13). */
#include "tuner/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MAX_ARGS = 32, MAX_WORKERS = 256 };

static const int request_room = 1 << 20; /* what Linux grants without privilege */
static const double default_reap_s =
    5.0; /* a kernel of a real GPU needs up to 2 s to be torn down */

double process_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Above the fds that the child gets, so that dup2 onto 3 and 4 never meets its own source. */
static Status make_pipe(int out[2], Error *err) {
    int raw[2];
    if (pipe2(raw, O_CLOEXEC) != 0) {
        return err_set(err, ST_IO, "cannot make a pipe: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        out[i] = fcntl(raw[i], F_DUPFD_CLOEXEC, 10);
        close(raw[i]);
    }
    if (out[0] < 0 || out[1] < 0) {
        close_fd(&out[0]);
        close_fd(&out[1]);
        return err_set(err, ST_IO, "cannot make a pipe: too many open files");
    }
    return ST_OK;
}

/* Own process group: Ctrl-C at the terminal reaches the tuner only, which decides. */
static int spawn(pid_t *pid, char *const argv[], int request, int reply) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    if (posix_spawn_file_actions_init(&actions) != 0) return ENOMEM;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_adddup2(&actions, request, WORKER_REQUEST_FD);
    posix_spawn_file_actions_adddup2(&actions, reply, WORKER_REPLY_FD);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    /* Libraries that print must not mix with the report on stdout. */
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn(pid, "/proc/self/exe", &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

Status worker_start(Worker *w, const char *const *args, Error *err) {
    char *argv[MAX_ARGS + 2] = {(char[]){"seqtune"}};
    size_t n = 0;
    while (args[n] && n < MAX_ARGS) {
        argv[n + 1] = (char *)(uintptr_t)args[n]; /* argv is not written to */
        n++;
    }
    double reap_s = w->reap_s > 0 ? w->reap_s : default_reap_s;
    int request[2], reply[2];
    Status st = make_pipe(request, err);
    if (st != ST_OK) return st;
    if ((st = make_pipe(reply, err)) != ST_OK) {
        close_fd(&request[0]);
        close_fd(&request[1]);
        return st;
    }
    message_free(&w->reply); /* of the worker that was here before */
    *w = (Worker){.to = request[1], .from = reply[0], .reap_s = reap_s};
    int rc = spawn(&w->pid, argv, request[0], reply[1]);
    close_fd(&request[0]);
    close_fd(&reply[1]);
    if (rc != 0) {
        w->pid = 0;
        close_fd(&w->to);
        close_fd(&w->from);
        return err_set(err, ST_IO, "cannot start a worker process: %s", strerror(rc));
    }
    fcntl(w->from, F_SETFL, O_NONBLOCK);
    /* A worker that hangs before it reads must not block us in write: room for a whole request
     * (a source is below 200 KiB), and no blocking beyond it. */
    fcntl(w->to, F_SETPIPE_SZ, request_room);
    fcntl(w->to, F_SETFL, O_NONBLOCK);
    return ST_OK;
}

bool worker_running(const Worker *w) {
    return w->pid > 0;
}

Status worker_send(Worker *w, const Message *request, double limit_s, Error *err) {
    w->busy = true;
    w->deadline = process_now() + limit_s;
    w->limit_s = limit_s;
    Error pipe_error = {0};
    Status st = message_write(w->to, request, &pipe_error);
    if (st == ST_OK || st == ST_IO) return ST_OK;
    w->busy = false;
    return err_set(err, st, "%s", pipe_error.message);
}

void worker_wait(Worker *const *workers, size_t count, double wait_s) {
    struct pollfd fds[MAX_WORKERS];
    nfds_t n = 0;
    double now = process_now(), until = now + wait_s;
    for (size_t i = 0; i < count && n < MAX_WORKERS; i++) {
        if (!worker_running(workers[i])) continue;
        fds[n++] = (struct pollfd){.fd = workers[i]->from, .events = POLLIN};
        if (workers[i]->busy && workers[i]->deadline < until) until = workers[i]->deadline;
    }
    double left = until > now ? until - now : 0;
    poll(fds, n, (int)(left * 1000) + 1);
}

/* Waits for the end of a killed process; the exit status goes to *status. */
static bool reap(pid_t pid, double limit_s, int *status) {
    double until = process_now() + limit_s;
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid || (got < 0 && errno == ECHILD)) return true;
        if (process_now() >= until) return false;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

static bool finish(Worker *w, int *status) {
    bool reaped = true;
    close_fd(&w->to);
    if (w->pid > 0) {
        kill(-w->pid, SIGKILL); /* its group: the worker and what it may have started */
        kill(w->pid, SIGKILL);
        reaped = reap(w->pid, w->reap_s, status);
    }
    close_fd(&w->from);
    w->pid = 0;
    w->busy = false;
    message_reader_free(&w->reader);
    return reaped;
}

bool worker_kill(Worker *w) {
    int status = 0;
    return w->pid > 0 ? finish(w, &status) : true;
}

void worker_free(Worker *w) {
    worker_kill(w);
    message_free(&w->reply);
}

static void describe_end(Worker *w, int status, const char *garbage) {
    if (garbage) {
        snprintf(w->why, sizeof w->why, "the worker sent garbage: %.200s", garbage);
    } else if (WIFSIGNALED(status)) {
        snprintf(w->why, sizeof w->why, "the worker was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(w->why, sizeof w->why, "the worker ended with exit code %d",
                 WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
}

/* The pipe ended or is broken: give the process a moment to die by itself, so that its own signal
 * or exit code is what we report, then make sure. */
static WorkerEvent on_end(Worker *w, const char *garbage) {
    int status = 0;
    if (!garbage && reap(w->pid, 0.5, &status)) {
        w->pid = 0;
        describe_end(w, status, NULL);
        finish(w, &status);
        return WORKER_DIED;
    }
    bool reaped = finish(w, &status);
    describe_end(w, status, garbage);
    return reaped ? WORKER_DIED : WORKER_LOST;
}

WorkerEvent worker_event(Worker *w) {
    if (!worker_running(w)) return WORKER_NOTHING;
    Error err = {0};
    bool end = false, got = false;
    if (message_reader_fill(&w->reader, w->from, &end, &err) != ST_OK ||
        message_reader_take(&w->reader, &w->reply, &got, &err) != ST_OK) {
        return on_end(w, err.message);
    }
    if (got) {
        w->busy = false;
        return WORKER_REPLY;
    }
    if (end) return on_end(w, NULL);
    if (w->busy && process_now() >= w->deadline) {
        snprintf(w->why, sizeof w->why, "no answer within %.3g s; the worker was killed",
                 w->limit_s);
        return worker_kill(w) ? WORKER_TIMEOUT : WORKER_LOST;
    }
    return WORKER_NOTHING;
}

void worker_child_init(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}
