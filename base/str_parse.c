/* Whole-text parses of numbers, times and sizes: one number, all of the text, or false.
 *
 * Locale-independent: the host program may have set a decimal comma. */
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

bool str_to_i64(const char *text, long long *out) {
    const char *digits = *text == '-' ? text + 1 : text;
    if (!*digits || strspn(digits, "0123456789") != strlen(digits)) return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno) return false;
    *out = value;
    return true;
}

/* strtod would take blanks, "inf", "nan" and hex floats. Parses text[0..n). */
static bool parse_f64(const char *text, size_t n, double *out) {
    char copy[64];
    if (n == 0 || n >= sizeof copy) return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    if (strspn(copy, "0123456789.eE+-") != n) return false;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0) return false;
    char *end = NULL;
    double value = strtod_l(copy, &end, c);
    freelocale(c);
    if (end != copy + n || !isfinite(value)) return false;
    *out = value;
    return true;
}

bool str_to_f64(const char *text, double *out) {
    return parse_f64(text, strlen(text), out);
}

bool str_to_seconds(const char *text, double *out) {
    size_t n = strlen(text);
    if (n == 0) return false;
    double unit = 1;
    switch (text[n - 1]) {
    case 's': n--; break;
    case 'm': unit = 60, n--; break;
    case 'h': unit = 3600, n--; break;
    default: break;
    }
    double value;
    if (!parse_f64(text, n, &value) || value < 0 || !isfinite(value * unit)) return false;
    *out = value * unit;
    return true;
}

bool str_to_bytes(const char *text, unsigned long long *out) {
    size_t n = strspn(text, "0123456789");
    if (n == 0) return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno) return false;
    static const char units[] = "kmgt";
    unsigned shift = 0;
    if (text[n]) {
        const char *unit = strchr(units, tolower((unsigned char)text[n]));
        if (!unit || text[n + 1]) return false;
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (value > (~0ULL >> shift)) return false;
    *out = value << shift;
    return true;
}
