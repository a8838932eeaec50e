/* Configurations of the probe family: their text, legality, enumeration, the default. */
#include "tests/generator/gen_test.h"

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

static void a_configuration_is_text_and_back(void **state) {
    (void)state;
    Str text = {0};
    int64_t v = 0;
    GenConfig a = config_of(lib, "unused=8 packed=true warps=2, tile_m=48");
    gen_config_text(probe(), &a, &text);
    assert_string_equal(str_text(&text), "tile_m=48 warps=2 packed=1 unused=8");
    GenConfig b = config_of(lib, str_text(&text));
    assert_true(gen_config_equal(probe(), &a, &b));
    assert_true(gen_config_get(probe(), &a, "warps", &v));
    assert_int_equal(v, 2);
    assert_false(gen_config_get(probe(), &a, "rows", &v));
    str_free(&text);
}

static void wrong_configurations_are_refused_with_the_remedy(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"tile_m=16 warps=1 packed=0", "does not name 'unused'"},
        {"tile_m=17 warps=1 packed=0 unused=7", "'17' is not in the space; it may be 16, 32, 64"},
        {"tile=16", "(it has: tile_m, warps, packed, unused)"},
        {"wraps=1", "no axis 'wraps'; did you mean 'warps'?"},
        {"tile_m=16 tile_m=16", "names 'tile_m' twice"},
        {"tile_m", "'tile_m' is not name=value"},
        {"tile_m=", "is not in the space"},
        {"packed=maybe", "'maybe' is not in the space"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        GenConfig config;
        Error err = {0};
        assert_int_not_equal(gen_config_parse(probe(), rows[i].text, &config, &err), ST_OK);
        assert_contains(err.message, rows[i].want);
    }
}

static void check_reject(const char *problem, const char *arch, const char *config,
                         const char *want, int line) {
    GenProblem p = problem_of(lib, problem);
    GenConfig c = config_of(lib, config);
    GpuInfo gpu = gpu_of(arch);
    GenResources res;
    GenReject why;
    Error err;
    assert_ok(gen_config_check(&p, &gpu, &c, &res, &why, &err), err);
    assert_true(why.rejected == (want != NULL));
    if (want) assert_contains(why.text, want);
    if (line)
        assert_int_equal(why.rule->line, line);
    else
        assert_null(why.rule);
}

static void a_configuration_is_out_by_rule_feature_or_limit(void **state) {
    (void)state;
    check_reject("", "sm_80", "tile_m=32 warps=2 packed=0 unused=7", NULL, 0);
    check_reject("", "sm_80", "tile_m=32 warps=4 packed=0 unused=7", "whole m16 blocks", 40);
    check_reject("heads_kv=8", "sm_80", "tile_m=32 warps=2 packed=1 unused=7", "identity", 41);
    check_reject("", "sm_80", "tile_m=64 warps=1 packed=0 unused=7", "registers for two", 42);
    Edit edit = edit_new();
    GenLibrary *small = NULL, *keep = lib;
    Error err;
    edit_replace(&edit, "scripts/kernels/probe.lua",
                 "pipe \"probe/narrow\" { needs = { \"mma_k8\" } }",
                 "pipe \"probe/narrow\" { needs = { \"tma\" } }");
    edit_replace(&edit, "scripts/kernels/probe.lua", "smem = \"tile_m * width * 2\"",
                 "smem = \"tile_m * width * 40\"");
    edit_replace(&edit, "scripts/kernels/probe.lua", "regs = \"40 + regs_each\"",
                 "regs = \"unused == 8 and 3000 or 40\"");
    assert_ok(gen_open_tree(&edit.tree, &small, &err), err);
    lib = small;
    check_reject("", "sm_75", "tile_m=32 warps=2 packed=0 unused=7", "needs tma, which sm_75 lacks",
                 0);
    check_reject("width=64", "sm_80", "tile_m=32 warps=2 packed=0 unused=7",
                 "is only for width >= 96", 0);
    check_reject("", "sm_80", "tile_m=64 warps=4 packed=0 unused=7",
                 "needs 245760 B shared memory, sm_80 has 166912", 0);
    check_reject("", "sm_80", "tile_m=16 warps=1 packed=0 unused=8",
                 "3000 registers x 32 threads = 96000, sm_80 has 65536", 0);
    lib = keep;
    gen_close(small);
    edit_free(&edit);
}

static void occupancy_is_the_least_of_four_limits(void **state) {
    (void)state;
    GenProblem p = problem_of(lib, "");
    GpuInfo gpu = gpu_of("sm_80");
    GenResources res;
    Error err;
    GenConfig c = config_of(lib, "tile_m=64 warps=4 packed=0 unused=7");
    assert_ok(gen_config_check(&p, &gpu, &c, &res, NULL, &err), err);
    /* 88 registers -> 2816 per warp -> 23 warps -> 5 blocks of 4; smem: 167936 / 13312 = 12 */
    assert_true(res.occupancy_blocks == 5);
    assert_int_equal(res.threads, 128);
    assert_int_equal(res.smem, 12288);
    assert_int_equal(res.regs, 88);
    assert_int_equal(res.workspace, 2048);
    assert_true(res.score == 5 * 64);
    GenLibrary *odd = NULL;
    Edit edit = edit_new();
    edit_replace(&edit, "scripts/kernels/probe.lua", "\"40 + regs_each\"", "41");
    assert_ok(gen_open_tree(&edit.tree, &odd, &err), err);
    GenProblem other = problem_of(odd, "");
    assert_ok(gen_config_check(&other, &gpu, &c, &res, NULL, &err), err);
    assert_true(res.occupancy_blocks ==
                10); /* 41 -> 1536 per warp -> 42 warps; 1312 would give 12 */
    gen_close(odd);
    edit_free(&edit);
    gpu.smem_sm = 2 * (12288 + 1024);
    assert_ok(gen_config_check(&p, &gpu, &c, &res, NULL, &err), err);
    assert_true(res.occupancy_blocks == 2);
    gpu.blocks_sm = 1;
    assert_ok(gen_config_check(&p, &gpu, &c, &res, NULL, &err), err);
    assert_true(res.occupancy_blocks == 1);
}

typedef struct Count {
    size_t calls, all, legal, stop;
    GenConfig first, second;
} Count;

static bool count(void *context, const GenConfig *config, const GenResources *res,
                  const GenReject *why) {
    Count *c = context;
    (void)res;
    if (c->all == 0) c->first = *config;
    if (c->all == 1) c->second = *config;
    c->all += why->count;
    c->legal += !why->rejected;
    return ++c->calls != c->stop;
}

static void enumeration_walks_the_product_in_the_spec_order(void **state) {
    (void)state;
    GenProblem p = problem_of(lib, "");
    GpuInfo gpu = gpu_of("sm_80");
    Error err;
    Str text = {0};
    Count c = {0};
    assert_ok(gen_enumerate(&p, &gpu, count, &c, &err), err);
    assert_int_equal(c.all, 4 * 3 * 2 * 2);
    assert_int_equal(c.legal, 20);
    gen_config_text(probe(), &c.first, &text);
    assert_string_equal(str_text(&text), "tile_m=16 warps=1 packed=0 unused=7");
    str_clear(&text);
    gen_config_text(probe(), &c.second, &text);
    assert_string_equal(str_text(&text), "tile_m=16 warps=1 packed=0 unused=8");
    str_free(&text);
    c = (Count){.stop = 3};
    assert_ok(gen_enumerate(&p, &gpu, count, &c, &err), err);
    assert_int_equal(c.calls, 3);
}

typedef struct Walk {
    const GenProblem *problem;
    const GpuInfo *gpu;
    size_t at; /* configurations passed */
} Walk;

static GenConfig config_at(const GenSpec *spec, size_t position) {
    GenConfig config = {{0}};
    size_t axes = 0;
    const GenAxis *axis = gen_axes(spec, &axes);
    for (size_t i = axes; i-- > 0;) {
        config.value[i] = axis[i].values[position % axis[i].count];
        position /= axis[i].count;
    }
    return config;
}

/* The first, the middle and the last of a run get the verdict of the run. */
static bool judge_run(void *context, const GenConfig *config, const GenResources *res,
                      const GenReject *why) {
    Walk *walk = context;
    const GenSpec *spec = walk->problem->spec;
    const size_t inside[] = {0, why->count / 2, why->count - 1};
    const GenConfig first = config_at(spec, walk->at);
    (void)res;
    assert_true(gen_config_equal(spec, &first, config));
    assert_true(why->count == 1 || why->rejected);
    for (size_t i = 0; i < 3; i++) {
        const GenConfig one = config_at(spec, walk->at + inside[i]);
        GenReject own;
        Error err;
        assert_ok(gen_config_check(walk->problem, walk->gpu, &one, NULL, &own, &err), err);
        assert_int_equal(own.rejected, why->rejected);
        assert_ptr_equal(own.rule, why->rule);
        assert_string_equal(own.text, why->text);
    }
    walk->at += why->count;
    return true;
}

static void configurations_that_are_out_alike_are_met_once(void **state) {
    (void)state;
    GenLibrary *all = NULL;
    Error err;
    assert_ok(gen_open(NULL, &all, &err), err);
    for (size_t i = 0; i < gen_spec_count(all); i++)
        for (size_t a = 0; a < gpu_arch_count(); a += 3) {
            GenProblem p;
            const GpuInfo gpu = gpu_info_of_arch(gpu_arch(a));
            size_t product = 1, axes = 0;
            gen_problem_init(gen_spec_at(all, i), &p);
            assert_ok(gen_problem_check(&p, &err), err);
            const GenAxis *axis = gen_axes(p.spec, &axes);
            for (size_t k = 0; k < axes; k++) product *= axis[k].count;
            Walk walk = {.problem = &p, .gpu = &gpu};
            assert_ok(gen_enumerate(&p, &gpu, judge_run, &walk, &err), err);
            assert_int_equal(walk.at, product);
        }
    gen_close(all);
}

static void check_default(const char *problem, const char *want) {
    GenProblem p = problem_of(lib, problem);
    GpuInfo gpu = gpu_of("sm_80");
    GenConfig config;
    Error err;
    Str text = {0};
    assert_ok(gen_default(&p, &gpu, &config, &err), err);
    gen_config_text(p.spec, &config, &text);
    assert_string_equal(str_text(&text), want);
    str_free(&text);
}

static void the_default_is_the_first_legal_seed_else_the_best_score(void **state) {
    (void)state;
    check_default("", "tile_m=32 warps=2 packed=1 unused=7");
    check_default("heads_kv=8", "tile_m=16 warps=1 packed=0 unused=7");
    GenProblem p = problem_of(lib, "");
    GpuInfo gpu = gpu_of("sm_80");
    GenConfig seeds[8];
    Error err = {0};
    size_t n = 0;
    assert_ok(gen_seeds(&p, &gpu, seeds, 8, &n, &err), err);
    assert_int_equal(n, 2); /* one breaks a rule, one is there twice */
    Edit edit = edit_new();
    GenLibrary *other = NULL, *keep = lib;
    edit_replace(&edit, "scripts/kernels/probe.lua", "  seeds = {",
                 "  seeds = {} } local unused = {{");
    edit_replace(&edit, "scripts/kernels/probe.lua", "  verify = { reference = \"none\" },\n}",
                 "}");
    edit_replace(&edit, "scripts/kernels/probe.lua", "  params = \"probe\",",
                 "  params = \"probe\", verify = { reference = \"none\" },");
    assert_ok(gen_open_tree(&edit.tree, &other, &err), err);
    lib = other;
    check_default("", "tile_m=32 warps=1 packed=1 unused=7"); /* first of the highest score */
    lib = keep;
    gen_close(other);
    edit_free(&edit);
}

/* The default's message on sm_80 with the first `from` of the probe's spec replaced. */
static void check_none_legal(const char *from, const char *to, const char *want) {
    Edit edit = edit_new();
    GenLibrary *other = NULL;
    GenConfig config;
    Error err = {0};
    edit_replace(&edit, "scripts/kernels/probe.lua", from, to);
    assert_ok(gen_open_tree(&edit.tree, &other, &err), err);
    GenProblem p = problem_of(other, "");
    GpuInfo gpu = gpu_of("sm_80");
    assert_int_equal(gen_default(&p, &gpu, &config, &err), ST_UNSUPPORTED);
    assert_contains(err.message, "no configuration is legal on sm_80 for dtype=f16 width=96");
    assert_contains(err.message, want);
    gen_close(other);
    edit_free(&edit);
}

/* Of the 48 configurations 20 break the first rule and 28 the last one of the spec; where only 48
 * rows for one warp are left, 44 and 4: what the 4 break is the reason. */
static void no_legal_configuration_names_what_stops_those_that_get_furthest(void **state) {
    (void)state;
    check_none_legal("tile_rows <= 32", "tile_rows <= 3",
                     "furthest (28) break scripts/kernels/probe.lua:42: a warp has registers");
    check_none_legal("rule(\"tile_m % (16 * warps) == 0\", \"each warp owns whole m16 blocks\"),",
                     "rule(\"tile_m == 48\", \"only 48\"), rule(\"warps == 1\", \"only one\"),",
                     "furthest (4) break scripts/kernels/probe.lua:42: a warp has registers");
    check_none_legal("smem = \"tile_m * width * 2\"", "smem = \"1048576\"",
                     "fail so: probe: needs 1048576 B shared memory, sm_80 has 166912");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_is_text_and_back),
        cmocka_unit_test(wrong_configurations_are_refused_with_the_remedy),
        cmocka_unit_test(a_configuration_is_out_by_rule_feature_or_limit),
        cmocka_unit_test(occupancy_is_the_least_of_four_limits),
        cmocka_unit_test(enumeration_walks_the_product_in_the_spec_order),
        cmocka_unit_test(configurations_that_are_out_alike_are_met_once),
        cmocka_unit_test(the_default_is_the_first_legal_seed_else_the_best_score),
        cmocka_unit_test(no_legal_configuration_names_what_stops_those_that_get_furthest),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
