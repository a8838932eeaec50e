/* Frames: see message.h for the format. Every length is checked against the frame before use. */
#include "tuner/message.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Far beyond what a live worker needs to read a request; its deadline then ends it. */
static const int write_patience_ms = 5000;
static const char magic[4] = {'S', 'Q', 'T', '1'};

static void put_u32(Str *s, size_t value) {
    char bytes[4] = {(char)(value & 0xff), (char)((value >> 8) & 0xff),
                     (char)((value >> 16) & 0xff), (char)((value >> 24) & 0xff)};
    str_append(s, bytes, sizeof bytes);
}

static size_t get_u32(const char *p) {
    const unsigned char *u = (const unsigned char *)p;
    return (size_t)u[0] | (size_t)u[1] << 8 | (size_t)u[2] << 16 | (size_t)u[3] << 24;
}

void message_clear(Message *m) {
    str_clear(&m->body);
}

void message_free(Message *m) {
    str_free(&m->body);
}

void message_put_bytes(Message *m, const char *key, const void *data, size_t size) {
    size_t key_size = strlen(key);
    put_u32(&m->body, key_size);
    put_u32(&m->body, size);
    str_append(&m->body, key, key_size + 1);
    str_append(&m->body, data, size);
    str_append(&m->body, "", 1);
}

void message_put(Message *m, const char *key, const char *value) {
    message_put_bytes(m, key, value, strlen(value));
}

void message_put_int(Message *m, const char *key, int64_t value) {
    Str text = {0};
    str_printf(&text, "%lld", (long long)value);
    message_put(m, key, str_text(&text));
    str_free(&text);
}

void message_put_num(Message *m, const char *key, double value) {
    Str text = {0};
    str_printf(&text, "%.17g", value);
    message_put(m, key, str_text(&text));
    str_free(&text);
}

void message_put_nums(Message *m, const char *key, const double *values, size_t count) {
    message_put_bytes(m, key, values, count * sizeof *values);
}

/* The field at *at, which moves on; false at the end or when a length leaves the body. */
static bool next_field(const Str *body, size_t *at, const char **key, const char **value,
                       size_t *size) {
    if (body->len < 8 || *at > body->len - 8) return false;
    size_t key_size = get_u32(body->data + *at), value_size = get_u32(body->data + *at + 4);
    size_t left = body->len - *at - 8;
    if (key_size >= left || value_size >= left - key_size - 1) return false;
    *key = body->data + *at + 8;
    *value = *key + key_size + 1;
    *size = value_size;
    *at += 8 + key_size + 1 + value_size + 1;
    return (*key)[key_size] == '\0' && (*value)[value_size] == '\0';
}

const char *message_get_bytes(const Message *m, const char *key, size_t *size) {
    size_t at = 0;
    const char *k, *v;
    while (next_field(&m->body, &at, &k, &v, size)) {
        if (strcmp(k, key) == 0) return v;
    }
    *size = 0;
    return NULL;
}

const char *message_get(const Message *m, const char *key) {
    size_t size;
    return message_get_bytes(m, key, &size);
}

int64_t message_get_int(const Message *m, const char *key, int64_t otherwise) {
    const char *text = message_get(m, key);
    long long value;
    return text && str_to_i64(text, &value) ? value : otherwise;
}

double message_get_num(const Message *m, const char *key, double otherwise) {
    const char *text = message_get(m, key);
    double value;
    return text && str_to_f64(text, &value) ? value : otherwise;
}

size_t message_get_nums(const Message *m, const char *key, double *out, size_t max) {
    size_t size;
    const char *bytes = message_get_bytes(m, key, &size);
    size_t count = bytes ? size / sizeof *out : 0;
    if (count > max) count = max;
    if (count > 0) memcpy(out, bytes, count * sizeof *out);
    return count;
}

/* A non-blocking pipe whose reader stands still: waits a while, then gives up. */
static bool wait_for_room(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, write_patience_ms) != 0;
}

static Status write_all(int fd, const char *data, size_t size, Error *err) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN && wait_for_room(fd)) continue;
        if (n < 0) return err_set(err, ST_IO, "cannot write to the pipe: %s", strerror(errno));
        data += n;
        size -= (size_t)n;
    }
    return ST_OK;
}

Status message_write(int fd, const Message *m, Error *err) {
    if (m->body.failed) return err_no_memory(err, m->body.len);
    if (m->body.len > MESSAGE_MAX) {
        return err_set(err, ST_LIMIT, "a message of %zu bytes; the limit is %d", m->body.len,
                       MESSAGE_MAX);
    }
    Str head = {0};
    str_append(&head, magic, sizeof magic);
    put_u32(&head, m->body.len);
    Status st =
        head.failed ? err_no_memory(err, MESSAGE_HEAD) : write_all(fd, head.data, head.len, err);
    if (st == ST_OK && m->body.len > 0) st = write_all(fd, m->body.data, m->body.len, err);
    str_free(&head);
    return st;
}

void message_reader_free(MessageReader *r) {
    str_free(&r->pending);
}

Status message_reader_fill(MessageReader *r, int fd, bool *end, Error *err) {
    char buffer[65536];
    *end = false;
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return ST_OK;
    if (n < 0) return err_set(err, ST_IO, "cannot read from the pipe: %s", strerror(errno));
    *end = n == 0;
    str_append(&r->pending, buffer, (size_t)n);
    return r->pending.failed ? err_no_memory(err, r->pending.len + (size_t)n) : ST_OK;
}

/* Every field must be whole and fill the body exactly. */
static bool body_is_whole(const Str *body) {
    size_t at = 0, size;
    const char *key, *value;
    while (at < body->len) {
        if (!next_field(body, &at, &key, &value, &size)) return false;
    }
    return true;
}

Status message_reader_take(MessageReader *r, Message *out, bool *got, Error *err) {
    *got = false;
    message_clear(out);
    if (r->pending.len < MESSAGE_HEAD) return ST_OK;
    if (memcmp(r->pending.data, magic, sizeof magic) != 0) {
        return err_set(err, ST_CORRUPT, "a frame does not begin with SQT1");
    }
    size_t size = get_u32(r->pending.data + 4);
    if (size > MESSAGE_MAX) {
        return err_set(err, ST_CORRUPT, "a frame of %zu bytes; the limit is %d", size, MESSAGE_MAX);
    }
    if (r->pending.len - MESSAGE_HEAD < size) return ST_OK;
    str_append(&out->body, r->pending.data + MESSAGE_HEAD, size);
    size_t rest = r->pending.len - MESSAGE_HEAD - size;
    memmove(r->pending.data, r->pending.data + MESSAGE_HEAD + size, rest + 1);
    r->pending.len = rest;
    if (out->body.failed) return err_no_memory(err, size);
    if (!body_is_whole(&out->body)) {
        return err_set(err, ST_CORRUPT, "a field leaves its frame of %zu bytes", size);
    }
    *got = true;
    return ST_OK;
}

Status message_read(MessageReader *r, int fd, Message *out, Error *err) {
    for (;;) {
        bool got, end;
        Status st = message_reader_take(r, out, &got, err);
        if (st != ST_OK || got) return st;
        if ((st = message_reader_fill(r, fd, &end, err)) != ST_OK) return st;
        if (end && r->pending.len > 0) {
            return err_set(err, ST_CORRUPT, "the pipe ended inside a frame (%zu bytes of it)",
                           r->pending.len);
        }
        if (end) return err_set(err, ST_NOT_FOUND, "the pipe ended");
    }
}
