/* Writer of json.h. */
#include "tuner/json.h"

#include <assert.h>
#include <math.h>

static void begin_value(Json *j, const char *key) {
    if (j->depth > 0) {
        if (j->filled[j->depth - 1]) str_putc(&j->text, ',');
        j->filled[j->depth - 1] = true;
    }
    if (j->depth > 0 && j->depth <= 4) {
        str_putc(&j->text, '\n');
        for (int i = 0; i < j->depth; i++) str_putc(&j->text, ' ');
    }
    if (key) {
        str_json(&j->text, key);
        str_puts(&j->text, ": ");
    }
}

void json_open(Json *j, const char *key, char bracket) {
    assert(j->depth < JSON_DEPTH);
    begin_value(j, key);
    str_putc(&j->text, bracket);
    j->filled[j->depth] = false;
    j->closer[j->depth] = bracket == '{' ? '}' : ']';
    j->depth++;
}

void json_close(Json *j) {
    assert(j->depth > 0);
    j->depth--;
    str_putc(&j->text, j->closer[j->depth]);
    if (j->depth == 0) str_putc(&j->text, '\n');
}

void json_text(Json *j, const char *key, const char *value) {
    begin_value(j, key);
    if (value)
        str_json(&j->text, value);
    else
        str_puts(&j->text, "null");
}

void json_int(Json *j, const char *key, int64_t value) {
    begin_value(j, key);
    str_printf(&j->text, "%lld", (long long)value);
}

void json_num(Json *j, const char *key, double value) {
    begin_value(j, key);
    if (isfinite(value))
        str_printf(&j->text, "%.9g", value);
    else
        str_puts(&j->text, "null");
}

void json_bool(Json *j, const char *key, bool value) {
    begin_value(j, key);
    str_puts(&j->text, value ? "true" : "false");
}
