/* Which attention each GPU model serves: every head_dim, type, mask and place of K and V has a
 * legal configuration but for what the table below refuses, and what it refuses has none. Nothing
 * is compiled; compile_test.c says that legal configurations compile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generator/gen.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const models[] = {"t4",   "a100", "rtx3090", "rtx4090",
                                     "l40s", "h100", "b200",    "rtx5090"};
static const int head_dims[] = {64, 96, 128, 192, 256};
static const char *const dtypes[] = {"f16", "bf16"};
static const char *const masks[] = {"mask=none", "mask=causal",
                                    "mask=window window_left=100 window_right=0"};
static const char *const kv_dtypes[] = {"same", "e4m3", "int8"};
/* Where K and V are; pages of one token, of an odd number, and of what servers use. */
static const char *const places[] = {
    "kv=dense lengths=uniform", "kv=dense lengths=device", "kv=paged lengths=device page_size=1",
    "kv=paged lengths=device page_size=5", "kv=paged lengths=device page_size=16"};
static const char *const shapes[] = {"heads_q=32 heads_kv=8 len_q=1",
                                     "heads_q=8 heads_kv=8 len_q=1",
                                     "heads_q=64 heads_kv=1 len_q=16"};

/* Refused: where every part is in the problem's text. docs/templates.md says the same in words. */
static const struct {
    const char *model, *spec, *parts[3];
} refused[] = {
    {"t4", "attn_prefill", {"dtype=bf16"}},
    {"t4", "attn_prefill", {"head_dim=256", "mask=window", "kv=paged"}},
    {"t4", "attn_prefill", {"head_dim=256", "page_size=1 "}},
    {"t4", "attn_prefill", {"head_dim=256", "page_size=5 "}},
    {"t4", "attn_decode", {"dtype=bf16", "head_dim=96"}},
    {"t4", "attn_decode", {"dtype=bf16", "head_dim=192"}},
};

static bool is_refused(const char *model, const char *spec, const char *text) {
    for (size_t i = 0; i < COUNT(refused); i++) {
        bool all = strcmp(refused[i].model, model) == 0 && strcmp(refused[i].spec, spec) == 0;
        for (size_t k = 0; k < COUNT(refused[i].parts) && refused[i].parts[k]; k++)
            all = all && strstr(text, refused[i].parts[k]);
        if (all) return true;
    }
    return false;
}

static bool first_legal(void *context, const GenConfig *config, const GenResources *resources,
                        const GenReject *why) {
    bool *found = context;
    (void)config, (void)resources;
    *found = !why->rejected;
    return !*found;
}

typedef struct Count {
    size_t all, served, wrong;
} Count;

static void try_problem(const GenSpec *spec, const char *model, const char *text, Count *count) {
    Error err = {0};
    GenProblem problem;
    const GpuInfo gpu = gpu_info_of_model(gpu_model_find(model));
    bool found = false;
    gen_problem_init(spec, &problem);
    if (gen_problem_parse(&problem, text, &err) != ST_OK ||
        gen_problem_check(&problem, &err) != ST_OK ||
        gen_enumerate(&problem, &gpu, first_legal, &found, &err) != ST_OK)
        fail_msg("%s", err.message);
    count->all++;
    count->served += found;
    if (found != is_refused(model, gen_spec_name(spec), text)) return;
    count->wrong++;
    print_error("%s %s: %s, %s\n", model, gen_spec_name(spec), text,
                found ? "listed as refused but legal" : "no legal configuration");
}

/* `more`: what the kernel's problem has beside type, head_dim, mask and place. */
static void try_all(const GenSpec *spec, const char *model, const char *more, Count *count) {
    char text[256];
    for (size_t d = 0; d < COUNT(head_dims); d++)
        for (size_t t = 0; t < COUNT(dtypes); t++)
            for (size_t m = 0; m < COUNT(masks); m++)
                for (size_t p = 0; p < COUNT(places); p++) {
                    /* The space at the end ends the last number, too. */
                    snprintf(text, sizeof text, "dtype=%s head_dim=%d %s %s %s ", dtypes[t],
                             head_dims[d], masks[m], places[p], more);
                    try_problem(spec, model, text, count);
                }
}

static const GenSpec *find(GenLibrary **library, const char *name) {
    Error err = {0};
    if (gen_open(SEQTUNE_SOURCE_DIR, library, &err) != ST_OK) fail_msg("%s", err.message);
    return gen_spec_find(*library, name);
}

static void attn_prefill_serves_every_model_but_what_is_listed(void **state) {
    (void)state;
    GenLibrary *library = NULL;
    const GenSpec *spec = find(&library, "attn_prefill");
    Count count = {0};
    for (size_t g = 0; g < COUNT(models); g++) try_all(spec, models[g], "", &count);
    gen_close(library);
    print_message("    %zu of %zu problems served\n", count.served, count.all);
    assert_int_equal(count.wrong, 0);
}

static void attn_decode_serves_every_model_but_what_is_listed(void **state) {
    (void)state;
    GenLibrary *library = NULL;
    const GenSpec *spec = find(&library, "attn_decode");
    Count count = {0};
    char more[96];
    for (size_t g = 0; g < COUNT(models); g++)
        for (size_t k = 0; k < COUNT(kv_dtypes); k++)
            for (size_t s = 0; s < COUNT(shapes); s++) {
                snprintf(more, sizeof more, "kv_dtype=%s %s", kv_dtypes[k], shapes[s]);
                try_all(spec, models[g], more, &count);
            }
    gen_close(library);
    print_message("    %zu of %zu problems served\n", count.served, count.all);
    assert_int_equal(count.wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attn_prefill_serves_every_model_but_what_is_listed),
        cmocka_unit_test(attn_decode_serves_every_model_but_what_is_listed),
    };
    cmocka_set_test_filter(getenv("SEQTUNE_CASE"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
