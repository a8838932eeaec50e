/* The arithmetic of KV caches; see the header. */
#include "tuner/kv_plan.h"

#include <string.h>

#include "base/str.h"

static const KvModel models[] = {
#define MODEL(name, layers, heads_q, heads_kv, head_dim, window, parameters, source)               \
    {name, layers, heads_q, heads_kv, head_dim, window, parameters, source},
#include "tuner/models.def"
#undef MODEL
};

const KvModel *kv_model_find(const char *name, Error *err) {
    Str known = {0};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i].name, name) == 0) {
            str_free(&known);
            return &models[i];
        }
        str_printf(&known, "%s%s", i > 0 ? ", " : "", models[i].name);
    }
    err_set(err, ST_INVALID, "--model %s: no such model; known: %s", name, str_text(&known));
    str_free(&known);
    return NULL;
}

KvShape kv_shape(const KvModel *model, int64_t element_bytes) {
    return (KvShape){model->layers, model->heads_kv, model->head_dim, model->window, element_bytes};
}

int64_t kv_token_bytes(const KvShape *s) {
    return 2 * s->layers * s->heads_kv * s->head_dim * s->element_bytes;
}

int64_t kv_tokens_kept(const KvShape *s, int64_t context) {
    return s->window > 0 && s->window < context ? s->window : context;
}

/* The most pages that a window which slides token by token touches. */
static int64_t window_pages(const KvShape *s, int64_t page_size) {
    return (s->window - 1 + page_size - 1) / page_size + 1;
}

KvPages kv_pages(const KvShape *s, int64_t context, int64_t page_size) {
    const int64_t tokens = kv_tokens_kept(s, context), each = kv_token_bytes(s);
    KvPages p = {.page_size = page_size,
                 .page_bytes = page_size * each,
                 .mean_wasted = (double)(page_size - 1) / 2 * (double)each};
    p.pages = (context + page_size - 1) / page_size;
    if (tokens < context && window_pages(s, page_size) < p.pages) {
        p.pages = window_pages(s, page_size);
        p.mean_wasted *= 2; /* the first page is partly past, too */
    }
    p.wasted = (p.pages * page_size - tokens) * each;
    p.table_bytes = p.pages * 4;
    return p;
}

KvFit kv_fit(const KvModel *model, const KvShape *s, int64_t context, int64_t page_size,
             int64_t gpu_bytes) {
    const KvPages p = kv_pages(s, context, page_size);
    KvFit fit = {.weights = model->parameters * 2};
    fit.free = gpu_bytes / 10 * 9 - fit.weights;
    if (fit.free <= 0) return fit;
    fit.sequences = fit.free / (p.pages * p.page_bytes);
    fit.longest = fit.free / p.page_bytes * page_size;
    if (s->window > 0 && window_pages(s, page_size) <= fit.free / p.page_bytes) fit.longest = -1;
    return fit;
}
