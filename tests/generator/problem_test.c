/* Problems, keys, launches, workloads of the probe family. */
#include "tests/generator/gen_test.h"

#include <math.h>

static GenLibrary *lib;

static int open_library(void **state) {
    (void)state;
    lib = open_probe();
    return 0;
}

static int close_library(void **state) {
    (void)state;
    gen_close(lib);
    return 0;
}

static const GenSpec *probe(void) {
    return gen_spec_find(lib, "probe");
}

static void a_spec_shows_what_was_written(void **state) {
    (void)state;
    size_t dims = 0, axes = 0, rules = 0;
    const GenDim *d = gen_dims(probe(), &dims);
    const GenAxis *a = gen_axes(probe(), &axes);
    const GenRule *r = gen_rules(probe(), &rules);
    assert_int_equal(gen_spec_count(lib), 1);
    assert_null(gen_spec_find(lib, "prob"));
    assert_string_equal(gen_spec_title(probe()), "every word of the vocabulary");
    assert_int_equal(gen_spec_generation(probe()), 3);
    assert_string_equal(gen_spec_file(probe()), "scripts/kernels/probe.lua");
    assert_string_equal(gen_spec_reference(probe()), "none");
    assert_string_equal(gen_spec_params(probe()), "probe");
    assert_int_equal(dims, 10);
    assert_string_equal(d[0].name, "dtype");
    assert_string_equal(d[0].doc, "of both");
    assert_int_equal(d[1].preset, 96);
    assert_int_equal(d[8].kind, GEN_DIM_DERIVED);
    assert_int_equal(axes, 4);
    assert_string_equal(a[1].doc, "per block");
    assert_true(a[2].is_bool);
    assert_int_equal(a[0].values[3], 48);
    assert_int_equal(rules, 3);
    assert_int_equal(r[0].line, 40);
    assert_string_equal(r[2].reason, "a warp has registers for two m16 blocks");
}

static void a_problem_has_presets_and_derived_dimensions(void **state) {
    (void)state;
    GenProblem p = problem_of(lib, " heads=12, heads_kv=4 batch=3 mask=window ");
    int64_t v = 0;
    Str text = {0};
    assert_true(gen_problem_get(&p, "group", &v));
    assert_int_equal(v, 3);
    assert_true(gen_problem_get(&p, "work", &v));
    assert_int_equal(v, 36);
    assert_true(gen_problem_get(&p, "half", &v));
    assert_int_equal(v, 48);
    assert_false(gen_problem_get(&p, "tile_m", &v));
    assert_string_equal(gen_problem_word(&p, "mask"), "window");
    assert_null(gen_problem_word(&p, "batch"));
    gen_problem_text(&p, &text);
    assert_string_equal(str_text(&text),
                        "dtype=f16 width=96 mask=window batch=3 rows=512 heads=12 heads_kv=4");
    GenProblem again = problem_of(lib, str_text(&text));
    assert_memory_equal(p.value, again.value, sizeof p.value);
    str_free(&text);
}

static void wrong_problems_are_refused_with_the_remedy(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"widht=64", "probe has no dimension 'widht'; did you mean 'width'?"},
        {"color=3", "it has: dtype, width, mask, batch, rows, heads, heads_kv"},
        {"width=100", "width = 100 is not supported; it may be 64, 96, 128"},
        {"width=big", "width = 'big' is not one of 64, 96, 128"},
        {"batch=0", "batch = 0 is outside 1..65535"},
        {"batch=99999999999999999999", "is not an integer in "},
        {"mask=causual", "none of none, causal, window; did you mean 'causal'?"},
        {"group=2", "group is computed from other dimensions: heads // heads_kv"},
        {"batch", "'batch' is not name=value"},
        {"batch=", "'batch=' is not name=value"},
        {"=3", "'=3' is not name=value"},
        {"batch=1 batch=2", "'batch' is there twice"},
        {"heads=9 heads_kv=2", "heads_kv must divide heads (heads % heads_kv == 0, scripts/"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        GenProblem p;
        Error err = {0};
        gen_problem_init(probe(), &p);
        Status status = gen_problem_parse(&p, rows[i].text, &err);
        if (status == ST_OK) status = gen_problem_check(&p, &err);
        assert_int_not_equal(status, ST_OK);
        assert_contains(err.message, rows[i].want);
    }
    GenProblem p;
    Error err = {0};
    gen_problem_init(probe(), &p);
    assert_int_equal(gen_problem_set_word(&p, "rows", "many", &err), ST_INVALID);
    assert_int_equal(gen_problem_set(&p, "mask", 3, &err), ST_INVALID);
    assert_int_equal(gen_problem_set(&p, "mask", 2, NULL), ST_OK);
}

/* ---- keys ---- */

static int64_t key_rows(int64_t rows) {
    GenProblem p;
    Error err;
    Str key = {0};
    gen_problem_init(probe(), &p);
    assert_ok(gen_problem_set(&p, "rows", rows, &err), err);
    assert_ok(gen_problem_check(&p, &err), err);
    gen_problem_key(&p, &key);
    const char *at = strstr(str_text(&key), " rows=");
    assert_non_null(at);
    int64_t value = atoll(at + 6);
    str_free(&key);
    return value;
}

static void a_key_keeps_exact_dimensions_buckets_lengths_and_leaves_out_the_rest(void **state) {
    (void)state;
    Str key = {0};
    GenProblem p = problem_of(lib, "batch=5 rows=1000 heads=8 heads_kv=2");
    gen_problem_key(&p, &key);
    assert_string_equal(str_text(&key), "dtype=f16 width=96 mask=causal rows=862 heads=8 "
                                        "heads_kv=2 group=4 work=39");
    str_free(&key);
}

/* By comparing fourth powers: v is in bucket i when 2^i <= v^4 < 2^(i+1). */
static void buckets_are_quarter_octaves_and_hold_their_own_key(void **state) {
    (void)state;
    assert_int_equal(key_rows(0), 0);
    for (int64_t v = 1; v <= 20000; v++) {
        int64_t low = key_rows(v);
        unsigned __int128 v4 = (unsigned __int128)v * (uint64_t)v * (uint64_t)v * (uint64_t)v;
        unsigned __int128 low4 =
            (unsigned __int128)low * (uint64_t)low * (uint64_t)low * (uint64_t)low;
        unsigned __int128 below = low4;
        if (low > 1) {
            uint64_t b = (uint64_t)low - 1;
            below = (unsigned __int128)b * b * b * b;
        }
        int i = 0;
        while (v4 >> (i + 1)) i++;
        assert_true(low <= v);
        assert_true(low4 >> i == 1);              /* the same bucket */
        assert_true(low == 1 || below >> i == 0); /* and nothing smaller is in it */
        assert_int_equal(key_rows(low), low);
    }
    assert_int_equal(key_rows(1048576), 1048576);
    assert_int_equal(key_rows(1048575), 881744);
}

static void distance_counts_octaves_and_refuses_other_exact_dimensions(void **state) {
    (void)state;
    const char *a = "dtype=f16 width=96 mask=causal rows=512 heads=8 heads_kv=2 group=4 work=32";
    const char *b = "dtype=f16 width=96 mask=causal rows=2048 heads=8 heads_kv=2 group=4 work=8";
    const char *c = "dtype=bf16 width=96 mask=causal rows=512 heads=8 heads_kv=2 group=4 work=32";
    const char *d = "dtype=f16 width=96 mask=causal rows=0 heads=8 heads_kv=2 group=4 work=32";
    assert_true(gen_key_distance(probe(), a, a) == 0);
    assert_true(fabs(gen_key_distance(probe(), a, b) - 4) < 1e-12);
    assert_true(fabs(gen_key_distance(probe(), b, a) - 4) < 1e-12);
    assert_true(gen_key_distance(probe(), a, c) < 0);
    assert_true(fabs(gen_key_distance(probe(), a, d) - 10) < 1e-12);
    assert_true(gen_key_distance(probe(), a, "dtype=f16") < 0);
    assert_true(gen_key_distance(probe(), "", "") < 0);
    const char *open = "dtype=f16 width=96 mask=causal rows=-1 heads=8 heads_kv=2 group=4 work=32";
    assert_true(gen_key_distance(probe(), a, open) < 0);
    assert_true(gen_key_distance(probe(), open, open) == 0);
}

static void work_is_counted_by_the_spec(void **state) {
    (void)state;
    double flops = 0, bytes = 0;
    Error err;
    GenProblem p = problem_of(lib, "batch=3 rows=100 width=64");
    assert_ok(gen_problem_flops(&p, &flops, &bytes, &err), err);
    assert_true(flops == 2.0 * 3 * 100 * 64);
    assert_true(bytes == 4.0 * 3 * 100 * 64);
}

/* ---- launches ---- */

static void launches_follow_the_problem(void **state) {
    (void)state;
    GpuInfo gpu = gpu_of("sm_80");
    GenLaunch out[GEN_MAX_STEPS];
    size_t n = 0;
    int64_t workspace = 0;
    Error err;
    GenConfig c = config_of(lib, "tile_m=32 warps=2 packed=1 unused=7");
    GenProblem p = problem_of(lib, "rows=1000 batch=3");
    assert_ok(gen_launches(&p, &gpu, &c, out, &n, &workspace, &err), err);
    assert_int_equal(n, 2);
    assert_string_equal(out[0].entry, "probe_first");
    assert_int_equal(out[0].grid[0], 32 * 2);
    assert_int_equal(out[0].grid[1], 3);
    assert_int_equal(out[0].grid[2], 1);
    assert_int_equal(out[0].block[0], 64);
    assert_int_equal(out[0].smem, 32 * 96 * 2);
    assert_string_equal(out[1].entry, "probe_last");
    assert_int_equal(out[1].grid[0], 4);
    assert_int_equal(out[1].block[0], 256);
    assert_int_equal(out[1].smem, 0);
    assert_int_equal(workspace, 3 * 1000 * 4);
    p = problem_of(lib, "rows=256");
    assert_ok(gen_launches(&p, &gpu, &c, out, &n, &workspace, &err), err);
    assert_int_equal(n, 1); /* the second step is only for more than 256 rows */
    p = problem_of(lib, "rows=0");
    assert_ok(gen_launches(&p, &gpu, &c, out, &n, &workspace, &err), err);
    assert_int_equal(n, 0);
}

static void a_step_may_run_in_rounds_and_be_cooperative(void **state) {
    (void)state;
    Edit edit = edit_new();
    GenLibrary *other = NULL;
    GpuInfo gpu = gpu_of("sm_80");
    GenLaunch out[GEN_MAX_STEPS];
    size_t n = 0;
    Error err = {0};
    edit_replace(&edit, "scripts/kernels/probe.lua", "smem = \"smem\" }",
                 "smem = \"smem\", rounds = \"rows // 100\", cooperative = true }");
    assert_ok(gen_open_tree(&edit.tree, &other, &err), err);
    GenConfig c = config_of(other, "tile_m=32 warps=2 packed=1 unused=7");
    GenProblem p = problem_of(other, "rows=1000");
    assert_ok(gen_launches(&p, &gpu, &c, out, &n, NULL, &err), err);
    assert_int_equal(n, 2);
    assert_int_equal(out[0].rounds, 10);
    assert_true(out[0].cooperative);
    assert_int_equal(out[1].rounds, 1); /* what a step is that says nothing */
    assert_false(out[1].cooperative);
    p = problem_of(other, "rows=99");
    assert_ok(gen_launches(&p, &gpu, &c, out, &n, NULL, &err), err);
    assert_int_equal(n, 0); /* no round of the first, no second step */
    Hash with = gen_spec_hash(gen_spec_find(other, "probe"));
    Hash without = gen_spec_hash(probe());
    assert_false(hash_equal(&with, &without));
    gen_close(other);
    edit_free(&edit);
}

static void a_launch_beyond_the_limits_is_an_error(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *want;
    } rows[] = {
        {"\"blocks\", \"batch\"", "\"blocks\", \"rows * 1000\"", "grid.y is 512000, not 1..65535"},
        {"\"blocks\", \"batch\"", "\"blocks - 10000\"", "grid.x is -9968"},
        {"\"blocks\", \"batch\"", "\"rows * 100000000\"", "not 1..2147483647"},
        {"block = { \"threads\" }", "block = { \"threads\", 64 }", "4096 threads in a block"},
        {"block = { \"threads\" }", "block = { \"threads\", 0 }", "0 threads in a block"},
        {"smem = \"smem\" }", "smem = \"smem * 100\" }", "B shared memory, sm_80 has"},
        {"smem = \"smem\" }", "rounds = \"-1\" }", "probe_first: -1 rounds, not 0..2147483647"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Edit edit = edit_new();
        GenLibrary *other = NULL;
        GenLaunch out[GEN_MAX_STEPS];
        size_t n = 0;
        Error err = {0};
        edit_replace(&edit, "scripts/kernels/probe.lua", rows[i].from, rows[i].to);
        assert_ok(gen_open_tree(&edit.tree, &other, &err), err);
        GenProblem p = problem_of(other, "");
        GenConfig c = config_of(other, "tile_m=32 warps=2 packed=1 unused=7");
        GpuInfo gpu = gpu_of("sm_80");
        assert_int_equal(gen_launches(&p, &gpu, &c, out, &n, NULL, &err), ST_LIMIT);
        assert_contains(err.message, rows[i].want);
        assert_contains(err.message, "scripts/kernels/probe.lua:5");
        gen_close(other);
        edit_free(&edit);
    }
}

/* ---- workloads ---- */

static void a_workload_lists_checked_problems(void **state) {
    (void)state;
    Arena *arena = arena_new();
    GenWorkload w;
    Error err;
    int64_t rows = 0;
    assert_int_equal(gen_workload_count(lib), 1);
    assert_string_equal(gen_workload_name(lib, 0), "pair");
    assert_ok(gen_workload_load(lib, "pair", arena, &w, &err), err);
    assert_int_equal(w.count, 2);
    assert_string_equal(w.name, "pair");
    assert_string_equal(w.items[1].label, "rows 1024");
    assert_string_equal(w.items[1].source, "made up");
    assert_true(gen_problem_get(&w.items[1].problem, "rows", &rows));
    assert_int_equal(rows, 1024);
    assert_string_equal(gen_problem_word(&w.items[1].problem, "dtype"), "bf16");
    assert_true(gen_problem_get(&w.items[1].problem, "group", &rows));
    assert_int_equal(rows, 4);
    assert_ok(gen_workload_load(lib, PROBE_TREE "/scripts/workloads/pair.lua", arena, &w, &err),
              err);
    assert_int_equal(w.count, 2);
    assert_int_equal(gen_workload_load(lib, "pear", arena, &w, &err), ST_NOT_FOUND);
    assert_contains(err.message, "did you mean 'pair'?");
    assert_int_not_equal(gen_workload_load(lib, "./none.lua", arena, &w, &err), ST_OK);
    assert_contains(err.message, "./none.lua");
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_shows_what_was_written),
        cmocka_unit_test(a_problem_has_presets_and_derived_dimensions),
        cmocka_unit_test(wrong_problems_are_refused_with_the_remedy),
        cmocka_unit_test(a_key_keeps_exact_dimensions_buckets_lengths_and_leaves_out_the_rest),
        cmocka_unit_test(buckets_are_quarter_octaves_and_hold_their_own_key),
        cmocka_unit_test(distance_counts_octaves_and_refuses_other_exact_dimensions),
        cmocka_unit_test(work_is_counted_by_the_spec),
        cmocka_unit_test(launches_follow_the_problem),
        cmocka_unit_test(a_step_may_run_in_rounds_and_be_cooperative),
        cmocka_unit_test(a_launch_beyond_the_limits_is_an_error),
        cmocka_unit_test(a_workload_lists_checked_problems),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
