/* Status and errors: every fallible function returns a Status and takes `Error *err` last.
 *
 * The text is written where the cause is (err_set, err_at) and gains context going up (err_wrap).
 * Invariant: a function that returns other than ST_OK has filled *err when err is not NULL.
 * Nothing here prints or exits. */
#ifndef SEQTUNE_BASE_STATUS_H
#define SEQTUNE_BASE_STATUS_H

typedef enum Status {
#define STATUS(name, text) ST_##name,
#include "base/status.def"
#undef STATUS
    ST_COUNT
} Status;

typedef struct Error {
    Status status;
    char message[2048]; /* whole text, perhaps several lines, no newline at the end */
} Error;

/* A place in a text of the user's: a spec, a template, a workload, PTX. */
typedef struct TextPos {
    const char *file; /* name to print */
    const char *text; /* the whole text for the quoted line and caret; NULL: print neither */
    int line;         /* 1-based */
    int column;       /* 1-based; 0: no caret */
} TextPos;

/* "not found" and so on; never NULL. */
const char *status_text(Status status);

/* Fills *err (when not NULL) with a new message and returns `status`. */
Status err_set(Error *err, Status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, the message preceded by "file:line: " and followed by the line with a caret. */
Status err_at(Error *err, Status status, TextPos pos, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "context: " in front of the message; keeps the status. Nothing when err is NULL. */
void err_wrap(Error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ST_NO_MEMORY with the number of bytes that were asked for. */
Status err_no_memory(Error *err, unsigned long long bytes);

#endif
