/* Runs the program as a user does: a shell command in a fresh home, its exit code and texts. */
#ifndef SEQTUNE_TESTS_TUNER_PROGRAM_H
#define SEQTUNE_TESTS_TUNER_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PROGRAM_TEXT = 1 << 20 };

typedef struct Ran {
    int code; /* exit code; 128 + signal */
    char *out, *err;
    char command[2048]; /* reruns it */
} Ran;

extern char program_home[256]; /* HOME of every run; made by program_setup */

/* Group setup and teardown: a home of its own, removed at the end. */
int program_setup(void **state);
int program_teardown(void **state);

/* True when $SEQTUNE_TEST_GPU names a real device: "@GPU" in commands is that device then, else
 * "soft:a100". */
bool program_measured(void);

/* "seqtune ARGS" with printf arguments; waits. Owns nothing but the texts: program_free. */
Ran program_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same after some shell text: "ulimit ...; " or "NAME=value ". */
Ran program_run_in(const char *before, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void program_free(Ran *ran);
/* Fails the test, with the command line and both texts. */
void program_fail(const Ran *ran, const char *what);
void program_expect(const Ran *ran, int code, const char *text); /* in stdout or stderr */

/* Starts it without waiting; stdout and stderr go to HOME/NAME.out and HOME/NAME.err. */
pid_t program_start(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int program_wait(pid_t pid); /* as Ran.code; kills after two minutes */
char *program_read(const char *name);

/* SQL's json_extract over a document, as text; "" for null or absent. The test fails on what is
 * not JSON. In a static buffer. */
const char *json_at(const Ran *ran, const char *path);
double json_number(const Ran *ran, const char *path);

#endif
