/* Log: formats one line and hands it to the sink. The sink and level here are the project's only
 * mutable globals (log.h). */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"

enum { LINE_SIZE = 4096, LEVEL_UNSET = -1 };

static LogSink current_sink;
static void *current_context;
static atomic_int current_level = LEVEL_UNSET;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

/* *wrong: a value that is no level; the caller says so once there is one. */
static int first_level(const char **wrong) {
    const char *wanted = files_env("SEQTUNE_LOG");
    *wrong = NULL;
    for (int i = 0; wanted && i <= LOG_OFF; i++) {
        if (strcmp(wanted, level_names[i]) == 0) return i;
    }
    *wrong = wanted;
    return LOG_WARN;
}

void log_set_sink(LogSink sink, void *context) {
    current_sink = sink;
    current_context = context;
}

void log_set_level(LogLevel level) {
    atomic_store(&current_level, (int)level);
}

static bool enabled(LogLevel level) {
    int limit = atomic_load_explicit(&current_level, memory_order_relaxed);
    if (limit == LEVEL_UNSET) {
        const char *wrong;
        int unset = LEVEL_UNSET;
        limit = first_level(&wrong);
        if (atomic_compare_exchange_strong(&current_level, &unset, limit) && wrong) {
            log_write(LOG_WARN, "log",
                      "SEQTUNE_LOG=%s is no level (debug, info, warn, error, off): taken as warn",
                      wrong);
        }
    }
    return (int)level >= limit && level < LOG_OFF;
}

void log_write(LogLevel level, const char *channel, const char *fmt, ...) {
    if (!enabled(level)) return;
    char line[LINE_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    for (char *p = line; *p; p++) {
        if (*p == '\n' || *p == '\r') *p = ' '; /* one event is one line, always */
    }
    if (current_sink) {
        current_sink(current_context, level, channel, line);
    } else {
        fprintf(stderr, "seqtune %s: %s: %s\n", level_names[level], channel, line);
    }
}
