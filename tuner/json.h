/* JSON written front to back: commas and nesting are kept here, values are the caller's. */
#ifndef SEQTUNE_TUNER_JSON_H
#define SEQTUNE_TUNER_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { JSON_DEPTH = 16 };

typedef struct Json {
    Str text; /* {0} to begin; the caller releases it */
    int depth;
    bool filled[JSON_DEPTH];
    char closer[JSON_DEPTH];
} Json;

/* `key` NULL inside an array and for the document itself. `bracket`: '{' or '['. */
void json_open(Json *j, const char *key, char bracket);
void json_close(Json *j);
void json_text(Json *j, const char *key, const char *value); /* NULL: null */
void json_int(Json *j, const char *key, int64_t value);
void json_num(Json *j, const char *key, double value); /* null when not finite */
void json_bool(Json *j, const char *key, bool value);

#endif
