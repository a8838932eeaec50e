/* See form.h. A pattern is words; a/b are alternatives, ?a may be absent, * takes the rest. */
#include "softgpu/ptx/form.h"

#include <string.h>

static const PtxForm forms[] = {
#define EXTRA(handler)
#define OP(form, shape, pipe, handler) {form, shape, #pipe, PTX_LANE},
#include "softgpu/ptx/ops_lane.def"
#undef OP
#define OP(form, shape, pipe, handler) {form, shape, #pipe, PTX_TENSOR},
#include "softgpu/ptx/ops_tensor.def"
#undef OP
#define OP(form, shape, pipe, handler) {form, shape, #pipe, PTX_CONTROL},
#include "softgpu/ptx/ops_control.def"
#undef OP
#undef EXTRA
};

bool ptx_words(const char *form, PtxWords *out) {
    out->count = 0;
    const char *p = form;
    for (;;) {
        const size_t n = strcspn(p, ".");
        if (out->count == PTX_MAX_WORDS) return false;
        out->text[out->count] = p;
        out->length[out->count++] = n;
        if (!p[n]) return true;
        p += n + 1;
    }
}

bool ptx_words_are(const PtxWords *words, int i, const char *word) {
    return i >= 0 && i < words->count && words->length[i] == strlen(word) &&
           memcmp(words->text[i], word, words->length[i]) == 0;
}

bool ptx_words_have(const PtxWords *words, const char *word) {
    for (int i = 1; i < words->count; i++)
        if (ptx_words_are(words, i, word)) return true;
    return false;
}

void ptx_words_drop(PtxWords *words, const char *word) {
    int kept = 0;
    for (int i = 0; i < words->count; i++) {
        if (i > 0 && ptx_words_are(words, i, word)) continue;
        words->text[kept] = words->text[i];
        words->length[kept++] = words->length[i];
    }
    words->count = kept;
}

/* Is word `i` one of the alternatives in [p, end)? */
static bool one_of(const PtxWords *words, int i, const char *p, const char *end) {
    if (i >= words->count) return false;
    while (p < end) {
        const char *q = memchr(p, '/', (size_t)(end - p));
        if (!q) q = end;
        if ((size_t)(q - p) == words->length[i] && memcmp(p, words->text[i], words->length[i]) == 0)
            return true;
        p = q + 1;
    }
    return false;
}

static bool match(const char *p, const PtxWords *words, int i) {
    while (*p == ' ') p++;
    if (!*p) return i == words->count;
    if (*p == '*') return true;
    const char *end = p + strcspn(p, " ");
    const bool optional = *p == '?';
    if (one_of(words, i, p + optional, end) && match(end, words, i + 1)) return true;
    return optional && match(end, words, i);
}

size_t ptx_form_count(void) {
    return sizeof forms / sizeof *forms;
}

const PtxForm *ptx_form(size_t i) {
    return &forms[i];
}

int ptx_form_index(const PtxForm *form) {
    const PtxForm *first = form;
    while (first > forms && first[-1].group == form->group) first--;
    return (int)(form - first);
}

bool ptx_form_matches(const PtxForm *form, const PtxWords *words) {
    return match(form->pattern, words, 0);
}

const PtxForm *ptx_form_find(const PtxWords *words) {
    for (size_t i = 0; i < ptx_form_count(); i++)
        if (ptx_form_matches(&forms[i], words)) return &forms[i];
    return NULL;
}
