/* Status texts and error messages; a message that does not fit is cut at its end, never refused. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { QUOTE_COLUMNS = 100 }; /* longer source lines are quoted around the caret only */

const char *status_text(Status status) {
    static const char *const texts[] = {
#define STATUS(name, text) text,
#include "base/status.def"
#undef STATUS
    };
    if ((unsigned)status >= ST_COUNT) return "unknown status";
    return texts[status];
}

Status err_set(Error *err, Status status, const char *fmt, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    /* Through a buffer, so that an argument may point into err->message. */
    char text[sizeof err->message];
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err->status = status;
    memcpy(err->message, text, sizeof text);
    return status;
}

static const char *line_start(const char *text, int line) {
    for (; line > 1 && *text; text++) {
        if (*text == '\n') line--;
    }
    return line > 1 ? NULL : text;
}

/* Appends "\n  <line>\n  <blanks>^". Tabs are kept before the caret, so that it stands right. */
static void quote(char *out, size_t size, TextPos pos) {
    const char *line = pos.text ? line_start(pos.text, pos.line) : NULL;
    if (!line) return;
    size_t len = strcspn(line, "\r\n");
    size_t caret = pos.column > 0 ? (size_t)pos.column - 1 : 0;
    if (caret > len) caret = len;
    size_t from = caret > QUOTE_COLUMNS * 3 / 4 ? caret - QUOTE_COLUMNS / 2 : 0;
    if (len - from > QUOTE_COLUMNS) len = from + QUOTE_COLUMNS;
    size_t used = strlen(out);
    int n = snprintf(out + used, size - used, "\n  %.*s", (int)(len - from), line + from);
    if (pos.column <= 0 || n < 0 || (size_t)n >= size - used) return;
    used += (size_t)n;
    if (used + 5 + caret - from > size) return;
    memcpy(out + used, "\n  ", 3);
    used += 3;
    for (size_t i = from; i < caret; i++) out[used++] = line[i] == '\t' ? '\t' : ' ';
    out[used++] = '^';
    out[used] = '\0';
}

Status err_at(Error *err, Status status, TextPos pos, const char *fmt, ...) {
    if (!err) return status;
    char text[sizeof err->message];
    size_t used = 0;
    if (pos.file) {
        int n = snprintf(text, sizeof text, "%.1000s:%d: ", pos.file, pos.line);
        used = n > 0 ? (size_t)n : 0;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + used, sizeof text - used, fmt, args);
    va_end(args);
    quote(text, sizeof text, pos);
    err->status = status;
    memcpy(err->message, text, strlen(text) + 1);
    return status;
}

void err_wrap(Error *err, const char *fmt, ...) {
    if (!err) return;
    char text[sizeof err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t used = strlen(text), more = strlen(err->message);
    if (used + 2 < sizeof text) {
        memcpy(text + used, ": ", 2);
        used += 2;
    }
    if (more > sizeof text - 1 - used) more = sizeof text - 1 - used;
    memcpy(text + used, err->message, more);
    text[used + more] = '\0';
    memcpy(err->message, text, used + more + 1);
}

Status err_no_memory(Error *err, unsigned long long bytes) {
    return err_set(err, ST_NO_MEMORY, "out of memory: %llu bytes could not be allocated", bytes);
}
