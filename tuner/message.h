/* Messages between the tuner and its worker processes: one frame per message on a pipe.
 *
 *   "SQT1"  u32 body bytes  { u32 key bytes, u32 value bytes, key NUL, value NUL } ...
 *
 * Numbers are little-endian in the frame; values are text (%.17g for doubles, so that they come
 * back bit for bit) or raw bytes. A frame is read whole before a field is looked at, so that a
 * worker that dies in mid-write never yields half a message. Not thread-safe. */
#ifndef SEQTUNE_TUNER_MESSAGE_H
#define SEQTUNE_TUNER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum {
    MESSAGE_HEAD = 8,
    /* One source text or PTX is below 4 MiB; a longer frame is a worker gone mad. */
    MESSAGE_MAX = 64 * 1024 * 1024
};

typedef struct Message {
    Str body; /* {0} = empty; release with message_free */
} Message;

void message_clear(Message *m);
void message_free(Message *m);
void message_put(Message *m, const char *key, const char *value);
void message_put_int(Message *m, const char *key, int64_t value);
void message_put_num(Message *m, const char *key, double value);
void message_put_bytes(Message *m, const char *key, const void *data, size_t size);

/* First field of that name; NULL when absent. The text lives as long as the message is unchanged.
 */
const char *message_get(const Message *m, const char *key);
const char *message_get_bytes(const Message *m, const char *key, size_t *size);
/* `otherwise` when absent or not a number. */
int64_t message_get_int(const Message *m, const char *key, int64_t otherwise);
double message_get_num(const Message *m, const char *key, double otherwise);
/* Doubles as raw bytes; returns how many were copied (at most `max`). */
void message_put_nums(Message *m, const char *key, const double *values, size_t count);
size_t message_get_nums(const Message *m, const char *key, double *out, size_t max);

/* Writes one frame whole. ST_IO when the other end is gone (SIGPIPE must be ignored) or, on a
 * non-blocking pipe, does not read for seconds. */
Status message_write(int fd, const Message *m, Error *err);

/* Bytes received and not yet taken. */
typedef struct MessageReader {
    Str pending; /* {0} to begin; release with message_reader_free */
} MessageReader;

void message_reader_free(MessageReader *r);
/* One read(2). *end is set at end of file. EAGAIN and EINTR count as nothing read. */
Status message_reader_fill(MessageReader *r, int fd, bool *end, Error *err);
/* Takes the next whole frame: *got false when there is none yet. ST_CORRUPT names what is wrong. */
Status message_reader_take(MessageReader *r, Message *out, bool *got, Error *err);
/* Blocks until a whole frame came; ST_NOT_FOUND at a clean end of file. */
Status message_read(MessageReader *r, int fd, Message *out, Error *err);

#endif
