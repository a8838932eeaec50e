/* ptxas's text, compilation, its errors at template lines. */
#include "tests/runtime/test.h"

#include "runtime/build.h"

/* As ptxas 13.0 writes it. */
static const char ptxas_13[] =
    "ptxas info    : 0 bytes gmem\n"
    "ptxas info    : Compiling entry function 'k2' for 'sm_80'\n"
    "ptxas info    : Function properties for k2\n"
    "ptxas         .     800 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
    "ptxas info    : Used 32 registers, used 1 barriers, 800 bytes cumulative stack size, 1024 "
    "bytes smem, 360 bytes cmem[0]\n"
    "ptxas info    : Compile time = 184.180 ms\n"
    "ptxas info    : Compiling entry function 'k1' for 'sm_80'\n"
    "ptxas info    : Function properties for k1\n"
    "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 8 registers, used 0 barriers, 360 bytes cmem[0]\n";

/* As ptxas 11.8 writes it, with a function that was not inlined. */
static const char ptxas_11[] =
    "ptxas info    : 0 bytes gmem\n"
    "ptxas info    : Compiling entry function 'attn' for 'sm_75'\n"
    "ptxas info    : Function properties for attn\n"
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 255 registers, 49152 bytes smem, 588 bytes cmem[0]\n"
    "ptxas info    : Function properties for helper\n"
    "    96 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads\n";

static void the_text_of_ptxas_13_is_read(void **state) {
    (void)state;
    Error err = {0};
    ArtifactEntry e[4];
    size_t n = 0;
    assert_ok(build_parse_ptxas(ptxas_13, e, 4, &n, &err), err);
    assert_int_equal(n, 2);
    assert_string_equal(e[0].name, "k2");
    assert_int_equal(e[0].registers, 32);
    assert_int_equal(e[0].stack, 800);
    assert_int_equal(e[0].spill_stores, 12);
    assert_int_equal(e[0].spill_loads, 16);
    assert_int_equal(e[0].smem, 1024);
    assert_string_equal(e[1].name, "k1");
    assert_int_equal(e[1].registers, 8);
    assert_int_equal(e[1].smem, 0);
}

static void figures_of_an_uninlined_function_are_not_the_entrys(void **state) {
    (void)state;
    Error err = {0};
    ArtifactEntry e[4];
    size_t n = 0;
    assert_ok(build_parse_ptxas(ptxas_11, e, 4, &n, &err), err);
    assert_int_equal(n, 1);
    assert_int_equal(e[0].registers, 255);
    assert_int_equal(e[0].stack, 0);
    assert_int_equal(e[0].spill_stores, 0);
    assert_int_equal(e[0].smem, 49152);
}

static void an_entry_without_registers_is_an_error(void **state) {
    (void)state;
    Error err = {0};
    ArtifactEntry e[1];
    size_t n = 0;
    const char *text = "ptxas info    : Compiling entry function 'k' for 'sm_80'\n";
    assert_int_equal(build_parse_ptxas(text, e, 1, &n, &err), ST_CORRUPT);
    assert_has(err.message, "k");
    assert_int_equal(build_parse_ptxas(ptxas_13, e, 1, &n, &err), ST_LIMIT);
    text = "ptxas info    : Compiling entry function 'k' for 'sm_80'\n"
           "ptxas info    : Used many registers\n";
    assert_int_equal(build_parse_ptxas(text, e, 1, &n, &err), ST_CORRUPT);
    assert_has(err.message, "Used many registers");
}

static void an_empty_text_has_no_entries(void **state) {
    (void)state;
    Error err = {0};
    ArtifactEntry e[1];
    size_t n = 7;
    assert_ok(build_parse_ptxas("", e, 1, &n, &err), err);
    assert_int_equal(n, 0);
}

static GenOutput output_of(const char *source, const char *entry) {
    GenOutput out = {.source = source,
                     .source_size = strlen(source),
                     .name = "/seqtune/test/kernel.cu",
                     .arch = "sm_80",
                     .options = {"-arch=sm_80", "--std=c++17", "-default-device", "-lineinfo",
                                 "--ptxas-options=-v", NULL},
                     .entries = {entry, NULL}};
    out.key = hash_bytes(source, strlen(source));
    return out;
}

static const char saxpy[] =
    "extern \"C\" __global__ void saxpy(float *y, const float *x, float a, int n) {\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i < n) y[i] += a * x[i];\n"
    "}\n";

static void one_compilation_gives_ptx_with_figures_and_a_cubin(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    if (nvrtc_open(0, &nvrtc, &err) != ST_OK) skip();
    Arena *arena = arena_new();
    GenOutput out = output_of(saxpy, "saxpy");
    Artifact a;
    assert_ok(build_compile(nvrtc, &out, arena, &a, &err), err);
    assert_int_equal(a.entry_count, 1);
    assert_string_equal(a.entries[0].name, "saxpy");
    assert_true(a.entries[0].registers > 4);
    assert_has(a.ptx, ".visible .entry saxpy");
    assert_has(a.ptx, "// seqtune-ptxas: entry=saxpy registers=");
    assert_int_equal(strlen(a.ptx), a.ptx_size);
    assert_true(a.cubin_size > 64);
    assert_memory_equal(a.cubin, "\177ELF", 4);
    assert_true(a.seconds > 0);

    ArtifactEntry again[2];
    size_t n = 0;
    assert_ok(build_parse_comments(a.ptx, again, 2, &n, &err), err);
    assert_int_equal(n, 1);
    assert_memory_equal(&again[0], &a.entries[0], sizeof again[0]);
    arena_free(arena);
    nvrtc_close(nvrtc);
}

static void a_compile_error_names_the_template_line(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    if (nvrtc_open(0, &nvrtc, &err) != ST_OK) skip();
    Arena *arena = arena_new();
    GenOutput out = output_of("#line 41 \"/seqtune/attn/x.cu\"\n"
                              "extern \"C\" __global__ void k() { int a = missing; }\n",
                              "k");
    Artifact a;
    assert_int_equal(build_compile(nvrtc, &out, arena, &a, &err), ST_COMPILE);
    assert_has(err.message, "templates/attn/x.cu:41: error");
    assert_has(err.message, "\"missing\" is undefined");
    arena_free(arena);
    nvrtc_close(nvrtc);
}

static void an_entry_that_the_source_lacks_is_named(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    if (nvrtc_open(0, &nvrtc, &err) != ST_OK) skip();
    Arena *arena = arena_new();
    GenOutput out = output_of(saxpy, "daxpy");
    Artifact a;
    assert_int_equal(build_compile(nvrtc, &out, arena, &a, &err), ST_COMPILE);
    assert_has(err.message, "daxpy");
    arena_free(arena);
    nvrtc_close(nvrtc);
}

static void an_unknown_architecture_is_a_clear_error(void **state) {
    (void)state;
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    if (nvrtc_open(0, &nvrtc, &err) != ST_OK) skip();
    Arena *arena = arena_new();
    GenOutput out = output_of(saxpy, "saxpy");
    out.options[0] = "-arch=sm_1";
    Artifact a;
    assert_int_equal(build_compile(nvrtc, &out, arena, &a, &err), ST_COMPILE);
    assert_has(err.message, "arch");
    out.arch = "sm_999a";
    assert_int_equal(build_compile(nvrtc, &out, arena, &a, &err), ST_COMPILE);
    assert_has(err.message, "does not compile for sm_999a");
    assert_has(err.message, nvrtc->toolchain);
    arena_free(arena);
    nvrtc_close(nvrtc);
}

static void the_key_tells_sources_and_toolchains_apart(void **state) {
    (void)state;
    GenOutput a = output_of(saxpy, "saxpy"), b = output_of(saxpy + 1, "saxpy");
    Hash x = build_key(&a, "nvrtc 13.0"), y = build_key(&b, "nvrtc 13.0"),
         z = build_key(&a, "nvrtc 12.9"), again = build_key(&a, "nvrtc 13.0");
    assert_false(hash_equal(&x, &y));
    assert_false(hash_equal(&x, &z));
    assert_true(hash_equal(&x, &again));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_of_ptxas_13_is_read),
        cmocka_unit_test(figures_of_an_uninlined_function_are_not_the_entrys),
        cmocka_unit_test(an_entry_without_registers_is_an_error),
        cmocka_unit_test(an_empty_text_has_no_entries),
        cmocka_unit_test(one_compilation_gives_ptx_with_figures_and_a_cubin),
        cmocka_unit_test(a_compile_error_names_the_template_line),
        cmocka_unit_test(an_entry_that_the_source_lacks_is_named),
        cmocka_unit_test(an_unknown_architecture_is_a_clear_error),
        cmocka_unit_test(the_key_tells_sources_and_toolchains_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
