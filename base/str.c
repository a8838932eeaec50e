/* Str: the growing string, JSON quoting, and nearest-word search. Parses are in str_parse.c. */
#include "base/str.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Room for `more` bytes and the NUL. */
static bool reserve(Str *s, size_t more) {
    if (s->failed) return false;
    if (more > SIZE_MAX / 4 || s->len > SIZE_MAX / 4) {
        s->failed = true;
        return false;
    }
    size_t need = s->len + more + 1;
    if (need <= s->cap) return true;
    size_t cap = s->cap ? s->cap : 64;
    while (cap < need) cap *= 2;
    char *data = mem_realloc(s->data, cap);
    if (!data) {
        s->failed = true;
        return false;
    }
    s->data = data;
    s->cap = cap;
    return true;
}

void str_append(Str *s, const char *bytes, size_t n) {
    if (!reserve(s, n)) return;
    if (n) memcpy(s->data + s->len, bytes, n);
    s->len += n;
    s->data[s->len] = '\0';
}

void str_puts(Str *s, const char *text) {
    str_append(s, text, strlen(text));
}

void str_putc(Str *s, char c) {
    str_append(s, &c, 1);
}

void str_vprintf(Str *s, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) s->failed = true;
    if (n < 0 || !reserve(s, (size_t)n)) return;
    vsnprintf(s->data + s->len, (size_t)n + 1, fmt, args);
    s->len += (size_t)n;
}

void str_printf(Str *s, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    str_vprintf(s, fmt, args);
    va_end(args);
}

void str_clear(Str *s) {
    s->len = 0;
    if (s->data) s->data[0] = '\0';
}

void str_free(Str *s) {
    mem_free(s->data);
    *s = (Str){0};
}

char *str_take(Str *s) {
    if (!s->data && !s->failed) str_append(s, "", 0);
    char *data = s->data;
    if (s->failed) {
        mem_free(data);
        data = NULL;
    }
    *s = (Str){0};
    return data;
}

const char *str_text(const Str *s) {
    return s->failed || !s->data ? "" : s->data;
}

/* Length of the UTF-8 sequence at p (RFC 3629: shortest form, no surrogates, up to U+10FFFF). */
static size_t utf8_length(const unsigned char *p) {
    if (p[0] < 0x80) return 1;
    size_t n = p[0] >= 0xC2 && p[0] < 0xE0 ? 2 : p[0] >= 0xE0 && p[0] < 0xF0 ? 3 : 4;
    if (p[0] < 0xC2 || p[0] > 0xF4) return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0; /* the NUL ends here too */
    }
    if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
    if (p[0] == 0xED && p[1] > 0x9F) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;
    if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
    return n;
}

void str_json(Str *s, const char *text) {
    static const char short_escapes[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    str_putc(s, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t n = utf8_length(p);
        if (n == 0) {
            str_puts(s, "\xEF\xBF\xBD"); /* U+FFFD */
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            str_printf(s, "\\%c", *p);
        } else if (*p < 0x20 && short_escapes[*p]) {
            str_printf(s, "\\%c", short_escapes[*p]);
        } else if (*p < 0x20) {
            str_printf(s, "\\u%04x", *p);
        } else {
            str_append(s, (const char *)p, n);
        }
        p += n;
    }
    str_putc(s, '"');
}

bool str_starts(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

enum { WORD_MAX = 63 };

/* Levenshtein distance with one row. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[m];
}

const char *str_nearest(const char *word, const char *const *candidates, size_t n) {
    const char *best = NULL;
    size_t len = strlen(word), best_distance = len / 3 + 2; /* farther is a guess, not a hint */
    if (len == 0 || len > WORD_MAX) return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t m = strlen(candidates[i]);
        if (m > WORD_MAX) continue;
        size_t d = edit_distance(word, len, candidates[i], m);
        if (d < best_distance && d < len) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}
