/* The built-in workloads: each loads, names its sources, and every item can be tuned. */
#include "tests/generator/gen_test.h"

static const char *const gpus[] = {"a100", "rtx4090", "t4"};

/* As the tuner takes it: bf16 becomes f16 where the GPU has no bf16 tensor cores. */
static GenProblem problem_on(const GenWorkItem *item, const GpuInfo *gpu) {
    GenProblem p = item->problem;
    Error err;
    const char *const dtype = gen_problem_word(&p, "dtype");
    if (strcmp(dtype, "bf16") == 0 && !gpu_has(gpu->arch, GPU_HAS_mma_bf16)) {
        assert_ok(gen_problem_set_word(&p, "dtype", "f16", &err), err);
        assert_ok(gen_problem_check(&p, &err), err);
    }
    return p;
}

static void assert_item_is_legal(const GenWorkload *w, const GenWorkItem *item) {
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        const GpuModel *const model = gpu_model_find(gpus[i]);
        assert_non_null(model);
        const GpuInfo gpu = gpu_info_of_model(model);
        const GenProblem p = problem_on(item, &gpu);
        GenConfig config;
        GenLaunch launches[GEN_MAX_STEPS];
        size_t count = 0;
        Error err;
        if (gen_default(&p, &gpu, &config, &err) != ST_OK)
            fail_msg("%s, '%s' on %s: %s", w->name, item->label, gpus[i], err.message);
        if (gen_launches(&p, &gpu, &config, launches, &count, NULL, &err) != ST_OK)
            fail_msg("%s, '%s' on %s: %s", w->name, item->label, gpus[i], err.message);
        assert_true(count > 0);
    }
}

static void every_item_of_every_workload_is_legal_on_a100_rtx4090_and_t4(void **state) {
    (void)state;
    GenLibrary *lib = NULL;
    Arena *const arena = arena_new();
    Error err;
    assert_ok(gen_open(NULL, &lib, &err), err);
    assert_true(gen_workload_count(lib) > 1);
    for (size_t i = 0; i < gen_workload_count(lib); i++) {
        GenWorkload w;
        assert_ok(gen_workload_load(lib, gen_workload_name(lib, i), arena, &w, &err), err);
        assert_string_equal(w.name, gen_workload_name(lib, i));
        for (size_t k = 0; k < w.count; k++) assert_item_is_legal(&w, &w.items[k]);
    }
    arena_free(arena);
    gen_close(lib);
}

typedef struct Shape {
    const char *workload, *dtype;
    int heads_q, heads_kv, window_left;
} Shape;

/* config.json: num_attention_heads, num_key_value_heads, sliding_window - 1. */
static const Shape shapes[] = {
    {"llama-2-7b", "f16", 32, 32, -1},     {"llama-3-8b", "bf16", 32, 8, -1},
    {"llama-3-70b-tp8", "bf16", 8, 1, -1}, {"qwen-2.5-7b", "bf16", 28, 4, -1},
    {"mistral-7b", "bf16", 32, 8, 4095},
};

static void assert_dim(const GenWorkItem *item, const char *name, int want) {
    int64_t value = 0;
    assert_true(gen_problem_get(&item->problem, name, &value));
    if (value != want) fail_msg("'%s': %s = %lld", item->label, name, (long long)value);
}

/* A merge sees neither K/V heads nor windows, an append no windows, a gather no query heads. */
static void assert_shape(const GenWorkItem *item, const Shape *s) {
    const char *const op = gen_spec_name(item->problem.spec);
    const bool merge = strcmp(op, "attn_combine") == 0, append = strcmp(op, "kv_append") == 0;
    const bool gather = strcmp(op, "kv_gather") == 0;
    assert_dim(item, "head_dim", 128);
    if (!gather) assert_dim(item, merge ? "heads" : "heads_q", s->heads_q);
    if (merge) return;
    assert_dim(item, "heads_kv", s->heads_kv);
    if (append || gather) return;
    assert_dim(item, "window_left", s->window_left);
}

/* What a server runs of one model, each to be tuned by the workload's name. */
static const char *const ops[] = {"attn_prefill", "attn_decode", "kv_append", "kv_gather",
                                  "attn_combine"};

static void the_models_workloads_have_the_published_shapes(void **state) {
    (void)state;
    GenLibrary *lib = NULL;
    Arena *const arena = arena_new();
    Error err;
    assert_ok(gen_open(NULL, &lib, &err), err);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const Shape *const s = &shapes[i];
        GenWorkload w;
        assert_ok(gen_workload_load(lib, s->workload, arena, &w, &err), err);
        for (size_t k = 0; k < w.count; k++) {
            assert_contains(w.items[k].source, "config.json");
            assert_string_equal(gen_problem_word(&w.items[k].problem, "dtype"), s->dtype);
            assert_shape(&w.items[k], s);
        }
        for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
            bool found = false;
            for (size_t k = 0; k < w.count; k++)
                found |= strcmp(gen_spec_name(w.items[k].problem.spec), ops[o]) == 0;
            if (!found) fail_msg("%s has no %s", s->workload, ops[o]);
        }
    }
    arena_free(arena);
    gen_close(lib);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_of_every_workload_is_legal_on_a100_rtx4090_and_t4),
        cmocka_unit_test(the_models_workloads_have_the_published_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
