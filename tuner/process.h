/* Worker processes, seen from the tuner: posix_spawn of the program itself, two pipes, a deadline.
 *
 *   tuner  --requests-->  worker fd 3        worker fd 4  --replies-->  tuner
 *
 * One request is in flight per worker. Invariant: a worker never outlives its tuner (it asks the
 * kernel to be killed with its parent, and ends when its pipe ends), and a request always ends in
 * exactly one event: a reply, a death, or a timeout. Not thread-safe. */
#ifndef SEQTUNE_TUNER_PROCESS_H
#define SEQTUNE_TUNER_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"
#include "tuner/message.h"

enum { WORKER_REQUEST_FD = 3, WORKER_REPLY_FD = 4 };

typedef enum WorkerEvent {
    WORKER_NOTHING, /* nothing new */
    WORKER_REPLY,   /* `reply` holds it; the worker is idle again */
    WORKER_DIED,    /* crash, exit or garbage on the pipe: `why` says which; reaped */
    WORKER_TIMEOUT, /* past its deadline, killed and reaped */
    WORKER_LOST     /* killed, and the kernel did not give it back: its device is not usable */
} WorkerEvent;

typedef struct Worker {
    pid_t pid; /* 0: not running */
    int to, from;
    bool busy;
    double deadline; /* seconds of process_now; meaningful while busy */
    double limit_s;  /* of the request in flight, for messages */
    double reap_s;   /* how long a killed worker may take to go; default 5 s */
    MessageReader reader;
    Message reply;
    char why[256];
} Worker;

double process_now(void); /* monotonic seconds */

/* Starts /proc/self/exe with `args` (NULL-terminated, without the program's name). `quiet`: its
 * stderr goes to /dev/null. */
Status worker_start(Worker *w, const char *const *args, Error *err);
bool worker_running(const Worker *w);
/* Sends one request; the worker must be idle. A broken pipe is not an error here: the death shows
 * up in worker_event. */
Status worker_send(Worker *w, const Message *request, double limit_s, Error *err);
/* Waits at most `wait_s` until one of `count` workers may have an event (or a signal came). */
void worker_wait(Worker *const *workers, size_t count, double wait_s);
/* Takes the next event of one worker without blocking (but for reaping). */
WorkerEvent worker_event(Worker *w);
/* Kills and reaps; false: it could not be reaped within reap_s. The struct is reset. */
bool worker_kill(Worker *w);
void worker_free(Worker *w); /* worker_kill and the buffers */

/* In the child, first thing: dies with the parent, ignores SIGINT and SIGPIPE. */
void worker_child_init(void);

#endif
