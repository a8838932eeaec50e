/* A flash attention kernel as NVRTC compiles it, for several architectures: right against fp64,
 * equal over thread counts and handler sets, and wrong when a wait or a barrier is missing. Skips
 * where no NVRTC is installed. */
#include "exec_help.h"
#include "softgpu/exec/simd.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softgpu/exec/half.h"

enum { HEADS = 2, D = 64 };

typedef struct Nvrtc {
    void *lib;
    int (*create)(void **, const char *, const char *, int, const char *const *,
                  const char *const *);
    int (*compile)(void *, int, const char *const *);
    int (*ptx_size)(void *, size_t *);
    int (*ptx)(void *, char *);
    int (*log_size)(void *, size_t *);
    int (*log)(void *, char *);
    int (*destroy)(void **);
} Nvrtc;

static Nvrtc nvrtc;

static int open_nvrtc(void **state) {
    (void)state;
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                        "/usr/local/cuda/lib64/libnvrtc.so.13",
                                        "/usr/local/cuda/lib64/libnvrtc.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !nvrtc.lib; i++)
        nvrtc.lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!nvrtc.lib) return 0;
    *(void **)&nvrtc.create = dlsym(nvrtc.lib, "nvrtcCreateProgram");
    *(void **)&nvrtc.compile = dlsym(nvrtc.lib, "nvrtcCompileProgram");
    *(void **)&nvrtc.ptx_size = dlsym(nvrtc.lib, "nvrtcGetPTXSize");
    *(void **)&nvrtc.ptx = dlsym(nvrtc.lib, "nvrtcGetPTX");
    *(void **)&nvrtc.log_size = dlsym(nvrtc.lib, "nvrtcGetProgramLogSize");
    *(void **)&nvrtc.log = dlsym(nvrtc.lib, "nvrtcGetProgramLog");
    *(void **)&nvrtc.destroy = dlsym(nvrtc.lib, "nvrtcDestroyProgram");
    return 0;
}

/* The kernel's source with every line that holds `without` left out. */
static char *source(const char *without) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/softgpu/exec_nvrtc.cu", SEQTUNE_SOURCE_DIR);
    FILE *const f = fopen(path, "rb");
    assert_non_null(f);
    static char text[1 << 16];
    size_t n = 0;
    char line[512];
    while (fgets(line, sizeof line, f)) {
        const size_t length = strlen(line);
        if (without && strstr(line, without)) continue;
        assert_true(n + length < sizeof text);
        memcpy(text + n, line, length + 1);
        n += length;
    }
    fclose(f);
    return text;
}

static char *compile(const char *arch, const char *without) {
    char option[32];
    snprintf(option, sizeof option, "-arch=%s", arch);
    const char *const options[] = {option, "--std=c++17", "-default-device", "-lineinfo"};
    void *program = NULL;
    assert_int_equal(nvrtc.create(&program, source(without), "/seqtune/test.cu", 0, NULL, NULL), 0);
    if (nvrtc.compile(program, 4, options) != 0) {
        size_t n = 0;
        nvrtc.log_size(program, &n);
        char *const log = calloc(n + 1, 1);
        nvrtc.log(program, log);
        fail_msg("%s", log);
    }
    size_t n = 0;
    nvrtc.ptx_size(program, &n);
    char *const ptx = calloc(n + 1, 1);
    assert_int_equal(nvrtc.ptx(program, ptx), 0);
    nvrtc.destroy(&program);
    return ptx;
}

typedef struct Args {
    uint64_t q, k, v, o;
    int32_t n, heads;
    float scale;
} Args;

typedef struct Case {
    Bench bench;
    Args args;
    uint64_t seed;
} Case;

static void start(Case *c, const char *arch, const char *ptx, int n) {
    c->seed = 0;
    const size_t half = (size_t)n * HEADS * D * 2;
    bench_open(&c->bench, arch, ptx, 5 * half);
    const uint64_t at = c->bench.buffer;
    c->args =
        (Args){at, at + half, at + 2 * half, at + 3 * half, n, HEADS, 1.4426950408889634f / 8.0f};
    srand(7);
    uint16_t *const h = (uint16_t *)at;
    for (size_t i = 0; i < 3 * half / 2; i++)
        h[i] = (uint16_t)f32_to_f16((float)(rand() % 2001 - 1000) / 400.0f);
}

static bool execute(Case *c, int threads) {
    const uint32_t blocks = ((uint32_t)c->args.n + 63) / 64;
    c->bench.launch = (SgLaunch){.kernel = sg_module_kernel(c->bench.module, "attention"),
                                 .grid = {blocks, HEADS, 1},
                                 .block = {128, 1, 1},
                                 .dynamic_smem = 5 * 64 * D * 2,
                                 .params = &c->args,
                                 .resident = 64,
                                 .threads = threads,
                                 .seed = c->seed};
    memset((void *)c->args.o, 0xff, (size_t)c->args.n * HEADS * D * 4);
    assert_int_equal(sg_execute(&c->bench.launch, c->bench.arena, &c->bench.err), ST_OK);
    return !c->bench.launch.fault.faulted;
}

/* Largest difference from fp64 over a sample of rows; NaN counts as infinite. */
static double error_of(const Case *c) {
    const uint16_t *const q = (const uint16_t *)c->args.q, *const k = (const uint16_t *)c->args.k,
                          *const v = (const uint16_t *)c->args.v;
    const float *const o = (const float *)c->args.o;
    double worst = 0;
    static double p[4096];
    for (int h = 0; h < HEADS; h++)
        for (int row = 0; row < c->args.n; row += 5) {
            double sum = 0, out[D] = {0};
            for (int j = 0; j < c->args.n; j++) {
                double s = 0;
                for (int d = 0; d < D; d++)
                    s += (double)f16_to_f32(q[(row * HEADS + h) * D + d]) *
                         (double)f16_to_f32(k[(j * HEADS + h) * D + d]);
                p[j] = exp(s / 8);
                sum += p[j];
                for (int d = 0; d < D; d++)
                    out[d] += p[j] * (double)f16_to_f32(v[(j * HEADS + h) * D + d]);
            }
            for (int d = 0; d < D; d++) {
                const double e = fabs((double)o[(row * HEADS + h) * D + d] - out[d] / sum);
                if (!(e <= worst)) worst = e == e ? e : INFINITY;
            }
        }
    return worst;
}

static void flash_attention_equals_fp64_on_every_architecture(void **state) {
    (void)state;
    if (!nvrtc.lib) skip();
    static const char *const archs[] = {"sm_80", "sm_86", "sm_90", "sm_100a", "sm_120a"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char *const ptx = compile(archs[i], NULL);
        Case c;
        start(&c, archs[i], ptx, 200);
        if (!execute(&c, 0)) fail_msg("%s: %s", archs[i], c.bench.launch.fault.text);
        const double e = error_of(&c);
        if (!(e < 2e-3)) fail_msg("%s: error %g", archs[i], e);
        assert_int_equal(c.bench.launch.counters.shared_conflicts, 0);
        assert_int_equal(c.bench.launch.counters.local_access, 0);
        /* per warp and tile 32 mma for scores, 32 for output: 4 tiles, 8 blocks, 4 warps */
        assert_int_equal(c.bench.launch.counters.mma, 64 * 4 * 8 * 4);
        bench_close(&c.bench);
        free(ptx);
    }
}

static void results_are_equal_over_threads_and_handlers(void **state) {
    (void)state;
    if (!nvrtc.lib) skip();
    char *const ptx = compile("sm_80", NULL);
    Case c;
    start(&c, "sm_80", ptx, 190);
    assert_true(execute(&c, 1));
    const size_t bytes = 190u * HEADS * D * 4;
    void *const first = malloc(bytes);
    memcpy(first, (const void *)c.args.o, bytes);
    const SgCounters counters = c.bench.launch.counters;
    for (int threads = 2; threads <= 4; threads++) {
        assert_true(execute(&c, threads));
        assert_memory_equal(first, (const void *)c.args.o, bytes);
        assert_memory_equal(&counters, &c.bench.launch.counters, sizeof counters);
    }
    bench_close(&c.bench);
    for (int i = 0; sg_simd_name(i); i++) {
        if (!sg_simd_supported(i)) continue;
        setenv("SOFTGPU_SIMD", sg_simd_name(i), 1);
        start(&c, "sm_80", ptx, 190);
        assert_true(execute(&c, 2));
        assert_memory_equal(first, (const void *)c.args.o, bytes);
        bench_close(&c.bench);
    }
    unsetenv("SOFTGPU_SIMD");
    free(first);
    free(ptx);
}

static void results_do_not_depend_on_the_seed(void **state) {
    (void)state;
    if (!nvrtc.lib) skip();
    char *const ptx = compile("sm_80", NULL);
    const size_t bytes = 190u * HEADS * D * 4;
    void *const first = malloc(bytes);
    Case c;
    checks_set("sync,address");
    start(&c, "sm_80", ptx, 190);
    checks_reset();
    for (uint64_t seed = 0; seed < 4; seed++) {
        c.seed = seed;
        if (!execute(&c, 2)) fail_msg("seed %d: %s", (int)seed, c.bench.launch.fault.text);
        if (c.bench.launch.warning_count) fail_msg("%s", c.bench.launch.warnings[0].text);
        if (!seed) memcpy(first, (const void *)c.args.o, bytes);
        assert_memory_equal(first, (const void *)c.args.o, bytes);
    }
    bench_close(&c.bench);
    free(first);
    free(ptx);
}

static void a_missing_wait_or_barrier_gives_wrong_results(void **state) {
    (void)state;
    if (!nvrtc.lib) skip();
    static const char *const lines[] = {"// WAIT", "// BEFORE", "// AFTER"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *const ptx = compile("sm_80", lines[i]);
        Case c;
        checks_set("none");
        start(&c, "sm_80", ptx, 256);
        checks_reset();
        assert_true(execute(&c, 1));
        if (error_of(&c) < 2e-3) fail_msg("the kernel without %s is right", lines[i]);
        bench_close(&c.bench);
        free(ptx);
    }
}

static void checks_name_the_missing_wait_or_barrier(void **state) {
    (void)state;
    if (!nvrtc.lib) skip();
    static const struct {
        const char *line, *checks, *finding;
    } rows[] = {{NULL, "all", NULL},
                {"// WAIT", "async", "asynchronous copy not waited for: load of 16 bytes"},
                {"// BEFORE", "race", "data race"},
                {"// AFTER", "race", "cp.async.cg.shared.global"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *const ptx = compile("sm_80", rows[i].line);
        Case c;
        checks_set(rows[i].checks);
        start(&c, "sm_80", ptx, 256);
        const bool done = execute(&c, 0);
        const char *const text = c.bench.launch.fault.text;
        if (done != !rows[i].line || (!done && !strstr(text, rows[i].finding)))
            fail_msg("without %s: %s", rows[i].line ? rows[i].line : "nothing", text);
        if (!done) assert_non_null(strstr(text, "test.cu:")); /* both accesses have their line */
        checks_reset();
        bench_close(&c.bench);
        free(ptx);
    }
}

static void timing_mode_samples_blocks_and_scales_traffic(void **state) {
    (void)state;
    if (!nvrtc.lib) skip();
    char *const ptx = compile("sm_80", NULL);
    Case c;
    start(&c, "sm_80", ptx, 1024);
    assert_true(execute(&c, 0));
    const SgCounters full = c.bench.launch.counters;
    assert_int_equal(c.bench.launch.sample_count, 8);
    const SgBlockSample last = c.bench.launch.samples[7];
    c.bench.launch.mode = SG_TIMING;
    assert_int_equal(sg_execute(&c.bench.launch, c.bench.arena, &c.bench.err), ST_OK);
    const SgCounters part = c.bench.launch.counters;
    assert_int_equal(part.blocks, full.blocks);
    assert_int_equal(part.blocks_run, 8);
    assert_int_equal(c.bench.launch.sample_count, 8);
    assert_int_equal(part.mma * full.blocks / 8, full.mma);
    assert_true(part.dram_bytes >= full.dram_bytes / 2 && part.dram_bytes <= full.dram_bytes * 2);
    assert_int_equal(last.block, full.blocks - 1);
    const SgBlockSample *const again = &c.bench.launch.samples[7];
    assert_int_equal(last.block, again->block);
    assert_memory_equal(&last.counters, &again->counters, sizeof last.counters);
    assert_memory_equal(last.visits, again->visits,
                        c.bench.launch.visit_count * sizeof *last.visits);
    bench_close(&c.bench);
    free(ptx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flash_attention_equals_fp64_on_every_architecture),
        cmocka_unit_test(results_are_equal_over_threads_and_handlers),
        cmocka_unit_test(results_do_not_depend_on_the_seed),
        cmocka_unit_test(a_missing_wait_or_barrier_gives_wrong_results),
        cmocka_unit_test(checks_name_the_missing_wait_or_barrier),
        cmocka_unit_test(timing_mode_samples_blocks_and_scales_traffic),
    };
    open_nvrtc(NULL);
    return run_with_and_without_checks(tests);
}
