/* A scanner of words and marks that knows comments and strings; see entries.h. */
#include "tuner/runptx/entries.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { MAX_ENTRIES = 4096, MAX_PARAMS = 1024, MAX_LISTED = 20 };
static const size_t max_param_bytes = 32764; /* PTX ISA: the largest parameter space, sm_70+ */

typedef struct Scan {
    Arena *arena;
    const char *file, *text, *at;
    const char *word; /* the current token */
    size_t size;      /* 0: the end */
    Error *err;
} Scan;

static bool word_byte(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

static const char *skip_blank(const char *p) {
    for (;;) {
        while (isspace((unsigned char)*p)) p++;
        if (p[0] == '/' && p[1] == '/') {
            p += strcspn(p, "\n");
        } else if (p[0] == '/' && p[1] == '*') {
            const char *end = strstr(p + 2, "*/");
            p = end ? end + 2 : p + strlen(p);
        } else {
            return p;
        }
    }
}

/* A word with its dots (".param", "name"), a string, or one mark. */
static void next(Scan *s) {
    s->word = skip_blank(s->at);
    const char *p = s->word;
    if (*p == '"') {
        p += 1 + strcspn(p + 1, "\"\n");
        if (*p != '\0') p++;
    } else if (word_byte(*p)) {
        while (word_byte(*p)) p++;
    } else if (*p != '\0') {
        p++;
    }
    s->size = (size_t)(p - s->word);
    s->at = p;
}

static bool is(const Scan *s, const char *text) {
    return s->size == strlen(text) && memcmp(s->word, text, s->size) == 0;
}

static int line_of(const Scan *s) {
    int line = 1;
    for (const char *p = s->text; p < s->word; p++) line += *p == '\n';
    return line;
}

static Status bad(Scan *s, const char *what) {
    const char *start = s->word;
    while (start > s->text && start[-1] != '\n') start--;
    TextPos pos = {
        .file = s->file, .text = s->text, .line = line_of(s), .column = (int)(s->word - start) + 1};
    return err_at(s->err, ST_SYNTAX, pos, "%s", what);
}

static const struct {
    const char *name;
    size_t bytes;
} types[] = {{".b8", 1},  {".u8", 1},  {".s8", 1},  {".b16", 2}, {".u16", 2},  {".s16", 2},
             {".f16", 2}, {".b32", 4}, {".u32", 4}, {".s32", 4}, {".f32", 4},  {".f16x2", 4},
             {".b64", 8}, {".u64", 8}, {".s64", 8}, {".f64", 8}, {".b128", 16}};

/* Element type of the current word; 0 when it is none. */
static size_t type_bytes(const Scan *s) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (is(s, types[i].name)) return types[i].bytes;
    return 0;
}

static bool number(const Scan *s, size_t *out) {
    if (s->size == 0 || !isdigit((unsigned char)s->word[0])) return false;
    *out = strtoull(s->word, NULL, 0);
    return true;
}

/* `[N]` after the name, perhaps more than one. */
static Status read_array(Scan *s, PtxParam *param) {
    while (is(s, "[")) {
        size_t n = 0;
        next(s);
        if (!number(s, &n) || n > max_param_bytes / param->bytes)
            return bad(s, "an array parameter wants a length within 32764 bytes");
        param->bytes *= n;
        param->is_array = true;
        next(s);
        if (!is(s, "]")) return bad(s, "an array parameter wants ']' here");
        next(s);
        if (param->bytes == 0) return ST_OK; /* an empty struct */
    }
    return ST_OK;
}

/* `.param .align 8 .b8 name[472]`, `.param .u64 .ptr .global .align 16 name`. */
static Status read_param(Scan *s, PtxParam *param) {
    if (!is(s, ".param")) return bad(s, "'.param' is wanted here");
    for (next(s); s->size > 0 && s->word[0] == '.'; next(s)) {
        size_t bytes = type_bytes(s), align;
        if (bytes > 0) {
            param->type = arena_strndup(s->arena, s->word + 1, s->size - 1);
            param->bytes = bytes;
            if (!param->type) return err_no_memory(s->err, s->size);
        } else if (is(s, ".align")) {
            next(s);
            if (!number(s, &align)) return bad(s, "'.align' wants a number");
        }
    }
    if (!param->type) return bad(s, "a parameter without a type");
    if (s->size == 0 || !word_byte(s->word[0])) return bad(s, "a parameter without a name");
    param->name = arena_strndup(s->arena, s->word, s->size);
    if (!param->name) return err_no_memory(s->err, s->size);
    next(s);
    return read_array(s, param);
}

static Status read_head(Scan *s, PtxEntry *entry, PtxParam *params) {
    next(s);
    if (s->size == 0 || !word_byte(s->word[0])) return bad(s, "an entry without a name");
    entry->line = line_of(s);
    entry->name = arena_strndup(s->arena, s->word, s->size);
    if (!entry->name) return err_no_memory(s->err, s->size);
    next(s);
    if (!is(s, "(")) return ST_OK;
    for (next(s); !is(s, ")");) {
        if (entry->param_count == MAX_PARAMS) return bad(s, "more than 1024 parameters");
        PtxParam *param = &params[entry->param_count++];
        *param = (PtxParam){0};
        Status st = read_param(s, param);
        if (st != ST_OK) return st;
        if (is(s, ","))
            next(s);
        else if (!is(s, ")"))
            return bad(s, "',' or ')' is wanted after a parameter");
    }
    return ST_OK;
}

static Status keep(Arena *arena, PtxEntry *entry, const PtxParam *params, Error *err) {
    const size_t bytes = entry->param_count * sizeof *params;
    if (bytes == 0) return ST_OK;
    PtxParam *copy = ARENA_ARRAY(arena, PtxParam, entry->param_count);
    if (!copy) return err_no_memory(err, bytes);
    memcpy(copy, params, bytes);
    entry->params = copy;
    return ST_OK;
}

Status entries_read(Arena *arena, const char *file, const char *text, PtxEntries *out, Error *err) {
    Scan s = {.arena = arena, .file = file, .text = text, .at = text, .err = err};
    *out = (PtxEntries){0};
    size_t most = 0;
    for (const char *p = text; (p = strstr(p, ".entry")); p++) most++;
    if (most > MAX_ENTRIES)
        return err_set(err, ST_LIMIT, "%s: more than %d entries", file, MAX_ENTRIES);
    PtxEntry *items = ARENA_ARRAY(arena, PtxEntry, most + 1);
    PtxParam *params = ARENA_ARRAY(arena, PtxParam, MAX_PARAMS);
    if (!items || !params) return err_no_memory(err, sizeof *items * most);
    for (next(&s); s.size > 0; next(&s)) {
        if (!is(&s, ".entry")) continue;
        PtxEntry *entry = &items[out->count];
        Status st = read_head(&s, entry, params);
        if (st == ST_OK) st = keep(arena, entry, params, err);
        if (st != ST_OK) return st;
        out->count++;
    }
    out->items = items;
    if (out->count == 0) return err_set(err, ST_SYNTAX, "%s: there is no .entry in it", file);
    return ST_OK;
}

static Status not_one(const PtxEntries *entries, const char *name, size_t matches, Error *err) {
    Str text = {0};
    for (size_t i = 0, listed = 0; i < entries->count && listed < MAX_LISTED; i++) {
        if (matches > 1 && name && !strstr(entries->items[i].name, name)) continue;
        str_printf(&text, "\n  %s", entries->items[i].name);
        listed++;
    }
    if (entries->count > MAX_LISTED) str_puts(&text, "\n  ...");
    Status st = ST_INVALID;
    if (!name)
        err_set(err, st, "%zu entries; name one with --entry or in the launch:%s", entries->count,
                str_text(&text));
    else if (matches > 1)
        err_set(err, st, "'%s' fits %zu entries; name one of:%s", name, matches, str_text(&text));
    else
        err_set(err, st, "there is no entry '%s'; there are:%s", name, str_text(&text));
    str_free(&text);
    return st;
}

Status entries_find(const PtxEntries *entries, const char *name, const PtxEntry **out, Error *err) {
    size_t matches = 0;
    for (size_t i = 0; i < entries->count; i++) {
        const PtxEntry *entry = &entries->items[i];
        if (name && strcmp(entry->name, name) == 0) {
            *out = entry;
            return ST_OK;
        }
        if (name && !strstr(entry->name, name)) continue;
        *out = entry;
        matches++;
    }
    return matches == 1 ? ST_OK : not_one(entries, name, matches, err);
}
