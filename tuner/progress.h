/* What a person sees while tuning: one line that is rewritten on a terminal, plain lines otherwise.
 * Goes to stderr, so that stdout holds the report alone. */
#ifndef SEQTUNE_TUNER_PROGRESS_H
#define SEQTUNE_TUNER_PROGRESS_H

#include <stdio.h>

#include "tuner/tune.h"

typedef struct Progress {
    FILE *out;
    bool live;    /* out is a terminal */
    bool quiet;   /* say only what went wrong */
    double drawn; /* when the line was last drawn */
    int width;    /* of the terminal */
    char last[256];
} Progress;

void progress_init(Progress *p, FILE *out, bool quiet);
/* A TuneWatch; `context` is the Progress. */
void progress_watch(void *context, TuneEvent event, const Tune *tune, const void *subject);
void progress_clear(Progress *p); /* removes the live line before other output */

/* "812.3 us", "1.62 ms" */
void format_seconds(double seconds, char *out, size_t size);
/* What went wrong in one line: of a compiler's log its first error, and where the rest is. */
void format_detail(const char *detail, char *out, size_t size);

/* "3m 20s" */
void format_duration(double seconds, char *out, size_t size);

#endif
