/* Str: a growing byte string, always NUL-terminated once something was appended.
 *
 * Zero-initialise ({0}), append, check `failed` once at the end: an append after a failed
 * allocation does nothing. str_free releases; str_take hands the heap block to the caller. */
#ifndef SEQTUNE_BASE_STR_H
#define SEQTUNE_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct Str {
    char *data; /* NULL until the first append */
    size_t len;
    size_t cap;
    bool failed;
} Str;

void str_append(Str *s, const char *bytes, size_t n);
void str_puts(Str *s, const char *text);
void str_putc(Str *s, char c);
void str_printf(Str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_vprintf(Str *s, const char *fmt, va_list args);
void str_clear(Str *s);             /* length 0, keeps the block */
void str_free(Str *s);              /* back to {0} */
char *str_take(Str *s);             /* caller frees with mem_free; NULL when failed */
const char *str_text(const Str *s); /* "" when empty or failed */

/* JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void str_json(Str *s, const char *text);

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Whole-text parses: false on anything but one number in range (blanks around are refused). */
bool str_to_i64(const char *text, long long *out);
bool str_to_f64(const char *text, double *out);
/* "90s", "15m", "2h", "1.5h", plain seconds: seconds in *out. */
bool str_to_seconds(const char *text, double *out);
/* "24k", "3M", "1G" (powers of 1024), plain bytes. */
bool str_to_bytes(const char *text, unsigned long long *out);

/* The candidate nearest to `word` by edit distance, for "did you mean"; NULL if none is near. */
const char *str_nearest(const char *word, const char *const *candidates, size_t n);

#endif
