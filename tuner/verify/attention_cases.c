/* The lists of cases; docs/verification.md says what each is for. */
#include "tuner/verify/attention_cases.h"

#include <assert.h>

typedef struct List {
    const AttentionShape *shape;
    AttentionCase *out;
    size_t count;
} List;

/* One of the masks that a variant of some MaskKind serves. */
typedef struct Mask {
    seqtune_mask mask;
    seqtune_window window;
} Mask;

static const Mask open_mask = {SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_OFF, 0, 0}};
static const Mask causal_mask = {SEQTUNE_MASK_CAUSAL, {SEQTUNE_WINDOW_OFF, 0, 0}};

static const Mask top_left_mask = {SEQTUNE_MASK_CAUSAL_TOP_LEFT, {SEQTUNE_WINDOW_OFF, 0, 0}};

static Mask causal_window(int64_t left) {
    return (Mask){SEQTUNE_MASK_CAUSAL, {SEQTUNE_WINDOW_LEFT, left, 0}};
}

static Mask left_window(int64_t left) {
    return (Mask){SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_LEFT, left, 0}};
}

static Mask both_window(int64_t left, int64_t right) {
    return (Mask){SEQTUNE_MASK_NONE, {SEQTUNE_WINDOW_BOTH, left, right}};
}

/* The mask of the shape; for windows, one that cuts on both sides within a tile or two. */
static Mask usual(const AttentionShape *s) {
    switch (s->mask) {
    case MASK_KIND_NONE: return open_mask;
    case MASK_KIND_CAUSAL: return causal_mask;
    case MASK_KIND_WINDOW: break;
    }
    return causal_window(s->block_n - 1);
}

/* With lengths on the device, every other case tells them the other way; three sequences differ. */
static void serve(const List *list, AttentionCase *c) {
    const bool odd = list->count % 2 == 0;
    if (!list->shape->device_lengths) return;
    c->batch = 3;
    c->page_size = list->shape->page_size;
    if (list->shape->paged)
        c->serving = odd ? SERVING_CSR : SERVING_PAGED;
    else
        c->serving = odd ? SERVING_RAGGED : SERVING_LENGTHS;
}

/* Appends a plain case and returns it for changes. */
static AttentionCase *add(List *list, Input input, Mask mask, int64_t len_q, int64_t len_kv) {
    assert(list->count < MAX_ATTENTION_CASES);
    AttentionCase *c = &list->out[list->count++];
    *c = (AttentionCase){.batch = 1,
                         .heads_kv = 1,
                         .group = list->shape->group,
                         .len_q = len_q < 1 ? 1 : len_q,
                         .len_kv = len_kv < 0 ? 0 : len_kv,
                         .spare = 3,
                         .mask = mask.mask,
                         .window = mask.window,
                         .layout = LAYOUT_PADDED,
                         .input = input,
                         .lse = 1};
    if (list->shape->part > 0 && c->len_q + c->spare > DECODE_QUERIES)
        c->spare = DECODE_QUERIES - c->len_q;
    c->invariant = list->shape->invariant;
    serve(list, c);
    return c;
}

/* ---- quick: a handful of launches, each with several purposes ---- */

static void quick(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bm = s->block_m, bn = s->block_n;
    /* Two row blocks, two key tiles, both ragged; causal with more queries than keys has empty
     * rows. */
    add(list, INPUT_RANDOM, usual(s), bm + 1, bn + 3)->layout = LAYOUT_HEADS_OUTER;
    /* Few queries over three tiles (stages of a pipeline wrap), heads, and batches where the group
     * leaves time for them. */
    AttentionCase *few = add(list, INPUT_RISING, usual(s), 3, 2 * bn + 1);
    if (!s->device_lengths) few->batch = s->group > 2 ? 1 : 2;
    few->heads_kv = 2;
    add(list, INPUT_PROBE, usual(s), 18, 2 * bn + 1);
    add(list, INPUT_RANDOM, usual(s), 2, 0)->batch = 2;
    if (s->mask == MASK_KIND_NONE) return;
    if (s->top_left && s->mask == MASK_KIND_CAUSAL)
        add(list, INPUT_PROBE, top_left_mask, bn + 2, 2 * bn + 1);
    /* Rows whose last key is on either side of a tile edge. */
    add(list, INPUT_PROBE, usual(s), bn + 2, bn + 1)->layout = LAYOUT_PACKED;
    if (s->mask != MASK_KIND_WINDOW) return;
    add(list, INPUT_PROBE, both_window(1, 2), 18, bn + 9);
    add(list, INPUT_RANDOM, left_window(2), 18, bn + 9);
}

/* ---- full ---- */

/* Lengths of Q around the edge of a row block, counted in tokens and, for packed groups, in rows.
 */
static size_t query_lengths(const AttentionShape *s, int64_t out[8]) {
    const int64_t bm = s->block_m, packed = bm / s->group;
    size_t n = 0;
    out[n++] = 1;
    out[n++] = bm - 1;
    out[n++] = bm;
    out[n++] = bm + 1;
    if (s->group > 1) {
        out[n++] = packed;
        out[n++] = packed + 1;
    }
    return n;
}

static void add_lengths(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bn = s->block_n;
    const int64_t kv[] = {0, 1, bn - 1, bn, bn + 1, 2 * bn + 1, 4 * bn - 3};
    int64_t q[8];
    const size_t nq = query_lengths(s, q), nkv = sizeof kv / sizeof *kv;
    for (size_t i = 0; i < nq; i++) {
        for (size_t j = 0; j < nkv; j++) {
            AttentionCase *c = add(list, INPUT_RANDOM, usual(s), q[i], kv[j]);
            c->layout = (Layout)((i + j) % LAYOUT_COUNT);
            c->spare = (int64_t)(i % 3) * 5;
            c->lse = (i + j) % 4 != 3;
        }
    }
}

/* Groups of query heads that divide a row block, that do not, and one larger than it; len_q < 0:
 * two row blocks of packed rows. */
static void add_groups(List *list, int64_t len_q, int64_t len_kv) {
    static const int64_t groups[] = {1, 3, 4, 5, 6, 7, 8, 12, 64, 71};
    const AttentionShape *s = list->shape;
    for (size_t i = 0; !s->group_static && i < sizeof groups / sizeof *groups; i++) {
        const int64_t tokens = len_q < 0 ? s->block_m / groups[i] + 2 : len_q;
        AttentionCase *c = add(list, INPUT_RANDOM, usual(s), tokens, len_kv);
        c->group = groups[i];
        c->heads_kv = groups[i] < 64 ? 2 : 1;
    }
}

static void add_properties(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bm = s->block_m, bn = s->block_n;
    add(list, INPUT_SHARP, usual(s), bm + 1, 3 * bn + 5)->lse = 1;
    add(list, INPUT_RISING, usual(s), 33, 4 * bn + 1)->lse = 1;
    add(list, INPUT_ONES, usual(s), bm + 3, 2 * bn + 7)->lse = 1;
    AttentionCase *twins = add(list, INPUT_TWINS, usual(s), bm / 2 + 3, bn + 11);
    twins->batch = 2;
    twins->heads_kv = 2;
    AttentionCase *scaled = add(list, INPUT_RANDOM, usual(s), 19, bn + 11);
    scaled->scale = 0.31F;
    scaled->batch = 3;
    scaled->heads_kv = 2;
    scaled->layout = LAYOUT_PACKED;
    scaled->spare = 0;
    add_groups(list, -1, bn + 5);
}

/* Both sides of every edge: each probe launch tests every probed key against every row. */
static void add_probes(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bm = s->block_m, bn = s->block_n;
    const struct {
        int64_t q, kv;
    } lengths[] = {{1, 2 * bn + 1}, {bm + 2, bn + 1}, {bn + 2, 2 * bn + 1}, {2 * bn + 3, bn - 1}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        AttentionCase *c = add(list, INPUT_PROBE, usual(s), lengths[i].q, lengths[i].kv);
        c->heads_kv = 2; /* more columns, more keys */
    }
}

static void add_windows(List *list) {
    const AttentionShape *s = list->shape;
    if (s->mask != MASK_KIND_WINDOW) return;
    const int64_t bn = s->block_n;
    const int64_t edges[] = {0, 1, 2, bn - 1, bn, bn + 1};
    const int64_t len_q = bn + 2, len_kv = 2 * bn + 1;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        add(list, INPUT_PROBE, causal_window(edges[i]), len_q, len_kv);
        add(list, INPUT_PROBE, left_window(edges[i]), len_q, len_kv);
        add(list, INPUT_PROBE, both_window(edges[i], edges[5 - i]), len_q, len_kv);
        add(list, INPUT_PROBE, both_window(0, edges[i]), len_q, len_kv);
        add(list, INPUT_RANDOM, both_window(edges[i], edges[i]), len_q, len_kv);
    }
    /* At least as wide as the sequence: the same rows as causal and as no mask. */
    add(list, INPUT_PROBE, causal_window(len_kv), len_q, len_kv);
    add(list, INPUT_RANDOM, causal_window(len_kv), len_q, len_kv);
    add(list, INPUT_RANDOM, both_window(len_kv, len_q), len_q, len_kv);
    /* More queries than keys: the first rows see nothing, the window hangs over both ends. */
    add(list, INPUT_PROBE, both_window(3, 2), bn + 9, bn / 2);
    add(list, INPUT_RANDOM, left_window(5), bn + 9, bn / 2);
}

/* Many tiles after the maximum was found: what a kernel does wrong by a rounding error per tile
 * adds up to more than the limit of the LSE. */
static void add_long(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t len_kv = 300 * s->block_n;
    Mask mask = usual(s);
    if (s->mask == MASK_KIND_WINDOW) mask = causal_window(len_kv);
    add(list, INPUT_OFFSET, mask, 6, len_kv);
}

/* Top-left alignment with more keys than queries, as many, and fewer. */
static void add_top_left(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bm = s->block_m, bn = s->block_n;
    if (!s->top_left || s->mask == MASK_KIND_NONE) return;
    Mask mask = top_left_mask;
    if (s->mask == MASK_KIND_WINDOW) mask.window = (seqtune_window){SEQTUNE_WINDOW_LEFT, bn - 1, 0};
    add(list, INPUT_RANDOM, mask, bm + 1, 2 * bn + 1);
    add(list, INPUT_PROBE, mask, bn + 1, 2 * bn + 1);
    add(list, INPUT_PROBE, mask, bn + 1, bn + 1);
    add(list, INPUT_RANDOM, mask, 2 * bn + 3, bn - 1);
}

/* ---- kernels for few queries that split the keys ---- */

static void decode_quick(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bn = s->block_n, part = s->part;
    /* Four parts, the last ragged; then one, with tiles that some warps lack. */
    add(list, INPUT_RANDOM, usual(s), 2, 3 * part + bn + 3)->layout = LAYOUT_HEADS_OUTER;
    add(list, INPUT_RISING, usual(s), 3, bn + 5)->heads_kv = 2;
    add(list, INPUT_PROBE, usual(s), 13, 2 * part + 1);
    add(list, INPUT_RANDOM, usual(s), 2, 0)->batch = 2;
    if (s->mask == MASK_KIND_NONE) return;
    if (s->top_left && s->mask == MASK_KIND_CAUSAL)
        add(list, INPUT_PROBE, top_left_mask, 13, part + 1);
    add(list, INPUT_PROBE, usual(s), 5, part + 2)->layout = LAYOUT_PACKED;
    if (s->mask != MASK_KIND_WINDOW) return;
    add(list, INPUT_PROBE, both_window(1, 2), 13, bn + 9);
    add(list, INPUT_RANDOM, left_window(part + 1), 4, 3 * part + 9);
}

static void decode_lengths(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bn = s->block_n, part = s->part;
    const int64_t q[] = {1, 2, 7, 16};
    const int64_t kv[] = {0,    1,        bn - 1,   bn,           bn + 1,
                          part, part + 1, 2 * part, 2 * part + 1, 5 * part - 1};
    const size_t nq = sizeof q / sizeof *q, nkv = sizeof kv / sizeof *kv;
    for (size_t i = 0; i < nq; i++) {
        for (size_t j = 0; j < nkv; j++) {
            AttentionCase *c = add(list, INPUT_RANDOM, usual(s), q[i], kv[j]);
            c->layout = (Layout)((i + j) % LAYOUT_COUNT);
            c->lse = (i + j) % 4 != 3;
        }
    }
    add_groups(list, 3, part + 5);
}

/* Both sides of every edge of a tile, of what a warp takes and of a part; windows that begin and
 * end there. */
static void decode_probes(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t bn = s->block_n, part = s->part;
    const int64_t edges[] = {0, 1, bn - 1, bn, bn + 1, part - 1, part, part + 1};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        add(list, INPUT_PROBE, usual(s), 13, part + edges[i])->heads_kv = 2;
    if (s->mask != MASK_KIND_WINDOW) return;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        add(list, INPUT_PROBE, causal_window(edges[i]), 13, 2 * part + 1);
        add(list, INPUT_PROBE, left_window(edges[i]), 5, 2 * part + 1);
        add(list, INPUT_PROBE, both_window(edges[i], edges[7 - i]), 13, part + 3);
    }
    add(list, INPUT_PROBE, both_window(3, 2), 13, 5); /* more queries than keys */
    add(list, INPUT_RANDOM, causal_window(2 * part), 4, 2 * part + 1);
}

static void decode_properties(List *list) {
    const AttentionShape *s = list->shape;
    const int64_t part = s->part;
    add(list, INPUT_SHARP, usual(s), 5, 3 * part + 5);
    add(list, INPUT_RISING, usual(s), 9, 4 * part + 1);
    add(list, INPUT_ONES, usual(s), 3, 2 * part + 7);
    AttentionCase *twins = add(list, INPUT_TWINS, usual(s), 3, 2 * part + 11);
    twins->batch = 2;
    twins->heads_kv = 2;
    AttentionCase *scaled = add(list, INPUT_RANDOM, usual(s), 2, part + 11);
    scaled->scale = 0.31F;
    scaled->batch = 3;
    scaled->heads_kv = 2;
    scaled->layout = LAYOUT_PACKED;
    scaled->spare = 0;
    Mask mask = usual(s);
    if (s->mask == MASK_KIND_WINDOW) mask = causal_window(40 * part);
    add(list, INPUT_OFFSET, mask, 3, 40 * part); /* errors of many tiles and parts add up */
    if (!s->top_left || s->mask == MASK_KIND_NONE) return;
    mask = top_left_mask;
    if (s->mask == MASK_KIND_WINDOW) mask.window = (seqtune_window){SEQTUNE_WINDOW_LEFT, 2, 0};
    add(list, INPUT_PROBE, mask, 13, part + 1);
    add(list, INPUT_RANDOM, mask, 13, 7);
}

static void decode_cases(List *list, VerifyLevel level) {
    decode_quick(list);
    if (level == VERIFY_QUICK) return;
    decode_probes(list);
    decode_properties(list);
    decode_lengths(list);
}

size_t attention_cases(const AttentionShape *shape, VerifyLevel level,
                       AttentionCase out[MAX_ATTENTION_CASES]) {
    List list = {shape, out, 0};
    if (shape->part > 0) {
        decode_cases(&list, level);
        return list.count;
    }
    if (level == VERIFY_QUICK) {
        quick(&list);
        return list.count;
    }
    quick(&list);
    add_probes(&list);
    add_properties(&list);
    add_lengths(&list);
    add_windows(&list);
    add_top_left(&list);
    add_long(&list);
    return list.count;
}

void attention_case_text(const AttentionCase *c, Str *out) {
    static const char *const inputs[INPUT_COUNT] = {"random", "sharp", "rising", "offset",
                                                    "twins",  "ones",  "probe"};
    static const char *const servings[SERVING_COUNT] = {"uniform", "lengths", "ragged", "paged",
                                                        "csr"};
    int64_t left, right;
    attention_case_window(c, &left, &right);
    str_printf(out, "batch=%lld heads_q=%lld heads_kv=%lld len_q=%lld len_kv=%lld",
               (long long)c->batch, (long long)(c->heads_kv * c->group), (long long)c->heads_kv,
               (long long)c->len_q, (long long)c->len_kv);
    str_printf(out, " window_left=%lld window_right=%lld%s layout=%s spare=%lld input=%s",
               (long long)left, (long long)right,
               c->mask == SEQTUNE_MASK_CAUSAL_TOP_LEFT ? " top_left" : "", layout_name(c->layout),
               (long long)c->spare, inputs[c->input]);
    if (c->serving != SERVING_UNIFORM) str_printf(out, " serving=%s", servings[c->serving]);
    if (c->page_size > 0) str_printf(out, " page_size=%lld", (long long)c->page_size);
}

void attention_case_window(const AttentionCase *c, int64_t *left, int64_t *right) {
    *left = c->window.kind == SEQTUNE_WINDOW_OFF ? -1 : c->window.left;
    *right = c->window.kind == SEQTUNE_WINDOW_BOTH ? c->window.right : -1;
    if (c->mask != SEQTUNE_MASK_NONE) *right = 0; /* never beyond the own position */
}
