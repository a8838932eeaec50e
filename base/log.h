/* Log: one line `channel: event key=value ...` to one sink. The sink is the program's only mutable
 * global; setting it is not thread-safe, logging is. Default: warn and above to stderr;
 * SEQTUNE_LOG=debug|info|warn|error|off sets the level at first use. */
#ifndef SEQTUNE_BASE_LOG_H
#define SEQTUNE_BASE_LOG_H

#include <stdbool.h>

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF } LogLevel;

typedef void (*LogSink)(void *context, LogLevel level, const char *channel, const char *line);

void log_set_sink(LogSink sink, void *context); /* NULL: stderr */
void log_set_level(LogLevel level);
/* channel: "gen", "tune", "jit", "db", "sg". */
void log_write(LogLevel level, const char *channel, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
