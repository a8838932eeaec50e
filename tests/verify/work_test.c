/* What the specs say of the work of attention, against a count of the (query, key) pairs that the
 * reference sees: rates and rankings rest on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "generator/gen.h"
#include "tuner/verify/reference.h"

typedef struct Shape {
    const char *mask;
    int64_t len_q, len_kv, left, right;
    bool top_left;
} Shape;

static const Shape shapes[] = {
    {"none", 5, 37, -1, -1, false},   {"none", 0, 37, -1, -1, false},
    {"none", 5, 0, -1, -1, false},    {"causal", 7, 7, -1, -1, false},
    {"causal", 7, 40, -1, -1, false}, {"causal", 7, 4, -1, -1, false},
    {"causal", 7, 40, -1, -1, true},  {"causal", 9, 4, -1, -1, true},
    {"window", 1, 64, 10, 0, false},  {"window", 6, 64, 10, 0, false},
    {"window", 6, 64, 10, 3, false},  {"window", 6, 64, -1, 3, false},
    {"window", 6, 64, 10, -1, false}, {"window", 6, 64, 0, 0, false},
    {"window", 6, 64, 500, 0, false}, {"window", 6, 64, 10, 3, true},
    {"window", 16, 9, 3, 0, false},   {"window", 16, 3, 2, 1, true},
};
enum { BATCH = 3, HEADS_Q = 6, HEADS_KV = 2, DIM = 64 };

static void set(GenProblem *p, const char *name, int64_t value) {
    Error err;
    if (gen_problem_set(p, name, value, &err)) fail_msg("%s", err.message);
}

static void set_word(GenProblem *p, const char *name, const char *word) {
    Error err;
    if (gen_problem_set_word(p, name, word, &err)) fail_msg("%s", err.message);
}

static GenProblem problem_of(const GenSpec *spec, const Shape *s) {
    GenProblem p;
    Error err;
    gen_problem_init(spec, &p);
    set_word(&p, "dtype", "f16");
    set_word(&p, "mask", s->mask);
    set(&p, "head_dim", DIM);
    set(&p, "batch", BATCH);
    set(&p, "heads_q", HEADS_Q);
    set(&p, "heads_kv", HEADS_KV);
    set(&p, "len_q", s->len_q);
    set(&p, "len_kv", s->len_kv);
    set(&p, "window_left", s->left);
    set(&p, "window_right", s->right);
    set(&p, "top_left", s->top_left);
    if (gen_problem_check(&p, &err)) fail_msg("%s", err.message);
    return p;
}

/* Pairs, and keys from the first to the last that some query sees. */
static void count(const Shape *s, double *pairs, double *keys) {
    const RefAttention ref = {.len_q = s->len_q,
                              .len_kv = s->len_kv,
                              .window_left = s->left,
                              .window_right = strcmp(s->mask, "causal") == 0 ? 0 : s->right,
                              .top_left = s->top_left};
    int64_t first = s->len_kv, last = -1;
    *pairs = 0;
    for (int64_t i = 0; i < s->len_q; i++)
        for (int64_t j = 0; j < s->len_kv; j++) {
            if (!ref_attention_sees(&ref, i, j)) continue;
            *pairs += 1;
            if (j < first) first = j;
            if (j > last) last = j;
        }
    *keys = last < first ? 0 : (double)(last - first + 1);
}

static void work_is_that_of_the_keys_that_are_seen(void **state) {
    (void)state;
    static const char *const kernels[] = {"attn_prefill", "attn_decode"};
    GenLibrary *lib = NULL;
    Error err;
    if (gen_open(NULL, &lib, &err)) fail_msg("%s", err.message);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            const Shape *const s = &shapes[i];
            const GenProblem p = problem_of(gen_spec_find(lib, kernels[k]), s);
            double flops = 0, bytes = 0, pairs = 0, keys = 0;
            count(s, &pairs, &keys);
            if (gen_problem_flops(&p, &flops, &bytes, &err)) fail_msg("%s", err.message);
            const double want_flops = 4.0 * BATCH * HEADS_Q * DIM * pairs;
            const double want_bytes =
                4.0 * BATCH * DIM * (HEADS_Q * (double)s->len_q + HEADS_KV * keys);
            if (flops != want_flops || bytes != want_bytes)
                fail_msg("%s, shape %zu: %.0f operations and %.0f bytes, not %.0f and %.0f",
                         kernels[k], i, flops, bytes, want_flops, want_bytes);
        }
    gen_close(lib);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(work_is_that_of_the_keys_that_are_seen)};
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
