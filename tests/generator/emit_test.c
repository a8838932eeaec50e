/* Emission: golden texts, determinism, what the text may depend on, and that NVRTC takes it.
 *
 * Accept new golden texts with SEQTUNE_ACCEPT=1 build/tests/bin/test_generator_emit. */
#include "tests/generator/gen_test.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/files.h"

#define GOLDEN SEQTUNE_SOURCE_DIR "/tests/generator/golden/"

static const struct {
    const char *file, *problem, *arch, *config;
} goldens[] = {
    {"probe_wide_sm_80.cu", "width=96", "sm_80", "tile_m=64 warps=2 packed=0 unused=7"},
    {"probe_narrow_sm_75.cu", "width=128 mask=none dtype=bf16", "sm_75",
     "tile_m=16 warps=1 packed=1 unused=8"},
    {"probe_window_sm_120a.cu", "width=128 mask=window", "sm_120a",
     "tile_m=64 warps=4 packed=0 unused=7"},
};

static GenOutput emit_text(const GenLibrary *lib, Arena *arena, const char *problem,
                           const char *arch, const char *config) {
    GenOutput out;
    Error err;
    GenProblem p = problem_of(lib, problem);
    GenConfig c = config_of(lib, config);
    GpuInfo gpu = gpu_of(arch);
    assert_ok(gen_emit(&p, &gpu, &c, arena, &out, &err), err);
    return out;
}

static void emitted_text_is_the_golden_text(void **state) {
    (void)state;
    GenLibrary *lib = open_probe();
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        GenOutput out =
            emit_text(lib, arena, goldens[i].problem, goldens[i].arch, goldens[i].config);
        char *path = arena_printf(arena, "%s%s", GOLDEN, goldens[i].file), *want = NULL;
        size_t size = 0;
        Error err;
        if (files_env("SEQTUNE_ACCEPT"))
            assert_ok(files_publish(path, out.source, out.source_size, 0644, &err), err);
        assert_ok(files_read(arena, path, 1 << 20, &want, &size, &err), err);
        if (strcmp(want, out.source) != 0)
            fail_msg("%s differs; see the new text with SEQTUNE_ACCEPT=1 and git diff", path);
    }
    arena_free(arena);
    gen_close(lib);
}

static void two_libraries_emit_the_same_bytes_and_key(void **state) {
    (void)state;
    GenLibrary *a = open_probe(), *b = open_probe();
    Arena *arena = arena_new();
    GenOutput x = emit_text(a, arena, goldens[0].problem, "sm_80", goldens[0].config);
    GenOutput y = emit_text(b, arena, goldens[0].problem, "sm_80", goldens[0].config);
    assert_string_equal(x.source, y.source);
    assert_true(hash_equal(&x.key, &y.key));
    Hash ha = gen_spec_hash(gen_spec_at(a, 0)), hb = gen_spec_hash(gen_spec_at(b, 0));
    assert_true(hash_equal(&ha, &hb));
    assert_string_equal(x.name, "/seqtune/probe/wide.cu");
    assert_string_equal(x.options[0], "-arch=sm_80");
    assert_string_equal(x.entries[0], "probe_first");
    assert_string_equal(x.entries[1], "probe_last");
    assert_null(x.entries[2]);
    arena_free(arena);
    gen_close(a);
    gen_close(b);
}

static void the_text_ignores_dynamic_dimensions_and_the_gpu_within_an_architecture(void **state) {
    (void)state;
    GenLibrary *lib = open_probe();
    Arena *arena = arena_new();
    GenOutput a = emit_text(lib, arena, "rows=1 batch=1", "sm_80", goldens[0].config), b;
    GenProblem p = problem_of(lib, "rows=4097 batch=9 heads=64 heads_kv=1");
    GenConfig c = config_of(lib, goldens[0].config);
    GpuInfo gpu = gpu_of("sm_80");
    Error err;
    gpu.sms = 3;
    gpu.smem_sm /= 2;
    gpu.regs_sm /= 2;
    assert_ok(gen_emit(&p, &gpu, &c, arena, &b, &err), err);
    assert_string_equal(a.source, b.source);
    b = emit_text(lib, arena, "rows=1 batch=1", "sm_86", goldens[0].config);
    assert_false(hash_equal(&a.key, &b.key));
    arena_free(arena);
    gen_close(lib);
}

typedef struct Emission {
    const GenLibrary *lib;
    Hash key;
    Status status;
    Error err;
} Emission;

static void *emit_often(void *context) {
    Emission *e = context;
    const GenSpec *spec = gen_spec_find(e->lib, "probe");
    GpuInfo gpu = gpu_info_of_arch(gpu_arch_find("sm_80"));
    GenProblem problem;
    GenConfig config;
    gen_problem_init(spec, &problem);
    for (int i = 0; i < 20 && e->status == ST_OK; i++) {
        GenOutput out = {0};
        Arena *arena = arena_new();
        e->status = gen_problem_check(&problem, &e->err);
        if (e->status == ST_OK) e->status = gen_default(&problem, &gpu, &config, &e->err);
        if (e->status == ST_OK) e->status = gen_emit(&problem, &gpu, &config, arena, &out, &e->err);
        e->key = out.key;
        arena_free(arena);
    }
    return NULL;
}

static void four_threads_share_a_library(void **state) {
    (void)state;
    GenLibrary *lib = open_probe();
    pthread_t threads[4];
    Emission e[4] = {{.lib = lib}, {.lib = lib}, {.lib = lib}, {.lib = lib}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, emit_often, &e[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++) {
        assert_ok(e[i].status, e[i].err);
        assert_true(hash_equal(&e[i].key, &e[0].key));
    }
    gen_close(lib);
}

/* ---- the spec's hash ---- */

static Hash hash_of(Edit *edit) {
    GenLibrary *lib = NULL;
    Error err;
    assert_ok(gen_open_tree(&edit->tree, &lib, &err), err);
    Hash hash = gen_spec_hash(gen_spec_find(lib, "probe"));
    gen_close(lib);
    return hash;
}

static void the_hash_follows_what_matters_and_nothing_else(void **state) {
    (void)state;
    static const struct {
        const char *path, *from, *to;
        bool same;
    } rows[] = {
        {"scripts/kernels/probe.lua", "every word of the", "some words of the", true},
        {"scripts/kernels/probe.lua", "-- A family", "\n\n-- The family", true},
        {"scripts/kernels/probe.lua", "each warp owns", "every warp owns", true},
        {"scripts/kernels/probe.lua", "{ 16, 32, 64, 48 }", "{ 16, 32, 64 }", false},
        {"scripts/kernels/probe.lua", "tile_rows <= 32", "tile_rows < 33", false},
        {"scripts/kernels/probe.lua", "tile_m * width * 2", "2 * tile_m * width", false},
        {"scripts/kernels/probe.lua", "generation = 3", "generation = 4", false},
        {"scripts/kernels/probe.lua", "rep_col(\"width // 8\")", "rep_col(\"width / 8\")", false},
        {"scripts/kernels/probe.lua", "causal = \"mask/causal\"", "causal = \"mask/window\"",
         false},
        {"templates/probe/wide.cu", "two blocks", "2 blocks", false},
        {"templates/parts/mask/window.cu", "mask_window", "mask_none", false},
        {"templates/lib/base.cuh", "other lib", "others", false},
        {"runtime/params/probe.h", "int rows", "int  rows", false},
    };
    Edit edit = edit_new();
    Hash before = hash_of(&edit);
    edit_put(&edit, "templates/lib/unrelated.cuh", "// nobody names this\n");
    Hash after = hash_of(&edit);
    assert_true(hash_equal(&before, &after));
    edit_free(&edit);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        edit = edit_new();
        edit_replace(&edit, rows[i].path, rows[i].from, rows[i].to);
        after = hash_of(&edit);
        if (hash_equal(&before, &after) != rows[i].same)
            fail_msg("%s: \"%s\" for \"%s\" should %s the hash", rows[i].path, rows[i].to,
                     rows[i].from, rows[i].same ? "keep" : "change");
        edit_free(&edit);
    }
}

/* ---- the compiler ---- */

/* NVRTC as this test needs it; the signatures are those of the NVRTC documentation. */
typedef struct Nvrtc {
    int (*create)(void **, const char *, const char *, int, const char *const *,
                  const char *const *);
    int (*compile)(void *, int, const char *const *);
    int (*ptx_size)(void *, size_t *);
    int (*ptx)(void *, char *);
    int (*log_size)(void *, size_t *);
    int (*log)(void *, char *);
    int (*destroy)(void **);
} Nvrtc;

static bool nvrtc_open(Nvrtc *n) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12",
                                        "/usr/local/cuda/lib64/libnvrtc.so.13",
                                        "/usr/local/cuda/lib64/libnvrtc.so.12"};
    void *lib = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !lib; i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lib) return false;
    const struct {
        void *to;
        const char *symbol;
    } table[] = {{&n->create, "nvrtcCreateProgram"},       {&n->compile, "nvrtcCompileProgram"},
                 {&n->ptx_size, "nvrtcGetPTXSize"},        {&n->ptx, "nvrtcGetPTX"},
                 {&n->log_size, "nvrtcGetProgramLogSize"}, {&n->log, "nvrtcGetProgramLog"},
                 {&n->destroy, "nvrtcDestroyProgram"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        void *symbol = dlsym(lib, table[i].symbol);
        memcpy(table[i].to, &symbol, sizeof symbol);
        if (!symbol) return false;
    }
    return true;
}

/* PTX of an output, or the compiler's log in *log when it fails. */
static char *compile(const Nvrtc *n, Arena *arena, const GenOutput *out, char **log) {
    void *program = NULL;
    size_t size = 0;
    int options = 0;
    while (out->options[options]) options++;
    assert_int_equal(n->create(&program, out->source, out->name, 0, NULL, NULL), 0);
    int code = n->compile(program, options, out->options);
    assert_int_equal(n->log_size(program, &size), 0);
    *log = arena_alloc(arena, size + 1);
    assert_int_equal(n->log(program, *log), 0);
    char *ptx = NULL;
    if (code == 0) {
        assert_int_equal(n->ptx_size(program, &size), 0);
        ptx = arena_alloc(arena, size + 1);
        assert_int_equal(n->ptx(program, ptx), 0);
    }
    n->destroy(&program);
    return ptx;
}

static void variants_that_differ_in_an_unused_constant_have_equal_ptx(void **state) {
    (void)state;
    Nvrtc n;
    if (!nvrtc_open(&n)) {
        print_message("no NVRTC on this machine\n");
        skip();
    }
    GenLibrary *lib = open_probe();
    Arena *arena = arena_new();
    char *log = NULL;
    GenOutput a = emit_text(lib, arena, "", "sm_80", "tile_m=32 warps=1 packed=0 unused=7");
    GenOutput b = emit_text(lib, arena, "", "sm_80", "tile_m=32 warps=1 packed=0 unused=8");
    GenOutput c = emit_text(lib, arena, "", "sm_80", "tile_m=32 warps=2 packed=0 unused=7");
    assert_string_not_equal(a.source, b.source);
    char *x = compile(&n, arena, &a, &log);
    if (!x) fail_msg("%s", gen_map_log(arena, log));
    char *y = compile(&n, arena, &b, &log), *z = compile(&n, arena, &c, &log);
    assert_non_null(y);
    assert_non_null(z);
    assert_string_equal(x, y);
    assert_string_not_equal(x, z);
    assert_contains(x, "/seqtune/probe/wide.cu");
    assert_contains(x, "/seqtune/parts/mask/causal.cu");
    arena_free(arena);
    gen_close(lib);
}

static void a_compiler_error_names_the_line_of_the_template(void **state) {
    (void)state;
    Nvrtc n;
    if (!nvrtc_open(&n)) {
        print_message("no NVRTC on this machine\n");
        skip();
    }
    Edit edit = edit_new();
    GenLibrary *lib = NULL;
    Error err;
    char *log = NULL;
    edit_replace(&edit, "templates/probe/wide.cu", "sum + S_row(0, lane)", "sum + S_rwo(0, lane)");
    edit_replace(&edit, "templates/parts/mask/causal.cu", "p.cols", "p.colls");
    assert_ok(gen_open_tree(&edit.tree, &lib, &err), err);
    Arena *arena = arena_new();
    GenOutput out = emit_text(lib, arena, "", "sm_80", "tile_m=32 warps=2 packed=0 unused=7");
    assert_null(compile(&n, arena, &out, &log));
    char *mapped = gen_map_log(arena, log);
    assert_contains(mapped, "templates/probe/wide.cu:19: error");
    assert_contains(mapped, "templates/parts/mask/causal.cu:1: error");
    arena_free(arena);
    gen_close(lib);
    edit_free(&edit);
}

static void a_log_is_mapped_to_the_tree(void **state) {
    (void)state;
    Arena *arena = arena_new();
    assert_string_equal(gen_map_log(arena, "/seqtune/attn/x.cu(12): error: in /seqtune/lib/y.cuh\n"
                                           "/seqtune/params/attn.h(3): note; generated: "
                                           "/seqtune/generated/S(2)"),
                        "templates/attn/x.cu:12: error: in templates/lib/y.cuh\n"
                        "runtime/params/attn.h:3: note; generated: generated/S:2");
    assert_string_equal(gen_map_log(arena, ""), "");
    arena_free(arena);
}

/* ---- the tree that ships ---- */

typedef struct Sweep {
    const GenProblem *problem;
    const GpuInfo *gpu;
    Arena *arena;
    size_t emitted;
    Status status;
    Error err;
} Sweep;

static bool emit_one(void *context, const GenConfig *config, const GenResources *res,
                     const GenReject *why) {
    Sweep *s = context;
    GenOutput out;
    (void)res;
    if (why->rejected) return true;
    s->status = gen_emit(s->problem, s->gpu, config, s->arena, &out, &s->err);
    s->emitted++;
    arena_reset(s->arena);
    return s->status == ST_OK;
}

static void every_legal_configuration_of_the_built_in_presets_is_emitted(void **state) {
    (void)state;
    GenLibrary *lib = NULL;
    Sweep s = {.arena = arena_new()};
    assert_ok(gen_open(NULL, &lib, &s.err), s.err);
    assert_ok(gen_check(lib, &s.err), s.err);
    for (size_t i = 0; i < gen_spec_count(lib); i++)
        for (size_t a = 0; a < gpu_arch_count(); a++) {
            GenProblem problem;
            GpuInfo gpu = gpu_info_of_arch(gpu_arch(a));
            gen_problem_init(gen_spec_at(lib, i), &problem);
            assert_ok(gen_problem_check(&problem, &s.err), s.err);
            s.problem = &problem;
            s.gpu = &gpu;
            s.emitted = 0;
            assert_ok(gen_enumerate(&problem, &gpu, emit_one, &s, &s.err), s.err);
            assert_ok(s.status, s.err);
            if (!s.emitted)
                fail_msg("%s: no legal configuration on %s", gen_spec_name(gen_spec_at(lib, i)),
                         gpu.arch->name);
        }
    arena_free(s.arena);
    gen_close(lib);
}

/* Steps whose `when` is known with the text: another tier's kernels stand in another template. */
static void only_entries_of_steps_that_may_be_taken_are_expected(void **state) {
    (void)state;
    GenLibrary *lib = NULL;
    Arena *arena = arena_new();
    GenProblem problem;
    GenConfig parsed;
    GenOutput out;
    Error err = {0};
    const GpuInfo gpu = gpu_info_of_arch(gpu_arch_find("sm_80"));
    assert_ok(gen_open(NULL, &lib, &err), err);
    gen_problem_init(gen_spec_find(lib, "rnn_seq"), &problem);
    assert_ok(gen_problem_parse(&problem, "hidden=16384", &err), err);
    assert_ok(gen_problem_check(&problem, &err), err);
    assert_ok(gen_default(&problem, &gpu, &parsed, &err), err); /* too large for the other tiers */
    assert_ok(gen_emit(&problem, &gpu, &parsed, arena, &out, &err), err);
    assert_string_equal(out.entries[0], "rnn_step_begin");
    assert_string_equal(out.entries[1], "rnn_step");
    assert_null(out.entries[2]);
    arena_free(arena);
    gen_close(lib);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emitted_text_is_the_golden_text),
        cmocka_unit_test(two_libraries_emit_the_same_bytes_and_key),
        cmocka_unit_test(the_text_ignores_dynamic_dimensions_and_the_gpu_within_an_architecture),
        cmocka_unit_test(four_threads_share_a_library),
        cmocka_unit_test(the_hash_follows_what_matters_and_nothing_else),
        cmocka_unit_test(variants_that_differ_in_an_unused_constant_have_equal_ptx),
        cmocka_unit_test(a_compiler_error_names_the_line_of_the_template),
        cmocka_unit_test(a_log_is_mapped_to_the_tree),
        cmocka_unit_test(every_legal_configuration_of_the_built_in_presets_is_emitted),
        cmocka_unit_test(only_entries_of_steps_that_may_be_taken_are_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
