/* See feature.h and features.def. */
#include "softgpu/ptx/feature.h"

#include <string.h>

typedef struct Feature {
    const char *base, *words;
    int version, target;
    bool special;
} Feature;

static const Feature features[] = {
#define FEATURE(base, words, version, target, suffix) {base, words, version, target, suffix != 0},
#define REFUSED(base, words, why)
#include "softgpu/ptx/features.def"
#undef FEATURE
#undef REFUSED
};

static const struct {
    const char *base, *words, *why;
} refused[] = {
#define FEATURE(base, words, version, target, suffix)
#define REFUSED(base, words, why) {base, words, why},
#include "softgpu/ptx/features.def"
#undef FEATURE
#undef REFUSED
};

/* Is one of the alternatives in [p, end) a word of the opcode, at 0 or behind it? */
static bool has_one(const PtxWords *w, const char *p, const char *end, bool first) {
    while (p < end) {
        const char *q = memchr(p, '/', (size_t)(end - p));
        if (!q) q = end;
        const size_t n = (size_t)(q - p);
        for (int i = first ? 0 : 1; i < (first ? 1 : w->count); i++)
            if (w->length[i] == n && memcmp(w->text[i], p, n) == 0) return true;
        p = q + 1;
    }
    return false;
}

static bool holds(const PtxWords *w, const char *base, const char *words) {
    if (base[0] != '*' && !has_one(w, base, base + strlen(base), true)) return false;
    for (const char *p = words; *p;) {
        const bool absent = *p == '!';
        p += absent;
        const size_t n = strcspn(p, " ");
        if (has_one(w, p, p + n, false) == absent) return false;
        p += n + (p[n] == ' ');
    }
    return true;
}

PtxNeeds ptx_needs(const PtxWords *words) {
    PtxNeeds needs = {0};
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const Feature *const f = &features[i];
        if (!holds(words, f->base, f->words)) continue;
        if (f->version > needs.version) needs.version = f->version;
        if (f->target > needs.target) needs.target = f->target;
        needs.special |= f->special;
    }
    return needs;
}

const char *ptx_refused(const PtxWords *words) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (holds(words, refused[i].base, refused[i].words)) return refused[i].why;
    return NULL;
}
