/* Units of tokens, bytes and counts; see the header. */
#include "tuner/amounts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status amount_tokens(const char *option, const char *text, int64_t unit, int64_t most, int64_t *out,
                     Error *err) {
    static const char letters[] = "kKmMgG";
    char *end = NULL;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    const char *const letter = *end != '\0' ? strchr(letters, *end) : NULL;
    int64_t scale = 1;
    for (int i = 0; letter != NULL && i <= (letter - letters) / 2; i++) scale *= unit;
    if (end == text || end[letter != NULL] != '\0' || errno != 0 || n < 1 || n > most / scale)
        return err_set(err, ST_INVALID, "%s %s: must be 1..%lld tokens, as in 4096, 32k or 1m",
                       option, text, (long long)most);
    *out = n * scale;
    return ST_OK;
}

/* The largest unit in which `value` is at least 1. */
static const char *scaled(double value, double base, const char *const *units, char *out) {
    int unit = 0;
    while (value >= base && units[unit + 1] != NULL) {
        value /= base;
        unit++;
    }
    const bool whole = value == (double)(int64_t)value;
    snprintf(out, AMOUNT_TEXT, whole ? "%.0f%s" : "%.2f%s", value, units[unit]);
    return out;
}

const char *amount_bytes(double bytes, char out[AMOUNT_TEXT]) {
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", NULL};
    return scaled(bytes, 1024, units, out);
}

const char *amount_count(double count, char out[AMOUNT_TEXT]) {
    static const char *const units[] = {"", " k", " M", " G", " T", " P", NULL};
    return scaled(count, 1000, units, out);
}
