/* Variants that survive the rules compile without a warning and without spills, on every supported
 * architecture (each allots registers in its own way). The normal run takes a seeded sample of the
 * product; SEQTUNE_ALL=1 takes the whole space of three named problems per architecture and a
 * larger sample of the rest, some 30000 texts and hours of compiling; SEQTUNE_ALL=whole takes the
 * product itself, in a seeded order. What a text compiles to depends on the text, its options and
 * the compiler alone, so that such a run notes each good one in tests/compiled.txt of the build
 * folder, and the next run compiles only what is new: an interrupted run goes on, and a changed
 * template costs its own variants. Remove the file to compile all of them again.
 * SEQTUNE_TEST_SEED picks another sample, SEQTUNE_CASE the tests whose names it matches
 * ("serving*"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "generator/gen.h"
#include "runtime/build.h"
#include "runtime/nvrtc.h"
#include "tests/kernels/compiled.h"

static const char *const archs[] = {"sm_75", "sm_80",  "sm_86",   "sm_87",   "sm_89",
                                    "sm_90", "sm_90a", "sm_100a", "sm_103a", "sm_120a"};
enum { ARCHS = sizeof archs / sizeof *archs, MAX_WORKERS = 16 };

/* The static problems of a family: what enters its source. Under SEQTUNE_ALL the whole space of
 * the first NAMED ones is compiled. */
enum { NAMED = 3, SAMPLE = 4, LARGE_SAMPLE = 40 };

static const char *const attention_problems[] = {
    "dtype=bf16 head_dim=128 mask=causal",
    "dtype=f16 head_dim=64 mask=none",
    "dtype=f16 head_dim=96 mask=window window_left=255 window_right=0",
    "dtype=f16 head_dim=64 mask=causal",
    "dtype=f16 head_dim=64 mask=window window_left=255 window_right=0",
    "dtype=f16 head_dim=96 mask=none",
    "dtype=f16 head_dim=96 mask=causal",
    "dtype=f16 head_dim=128 mask=none",
    "dtype=f16 head_dim=128 mask=causal",
    "dtype=f16 head_dim=128 mask=window window_left=255 window_right=0",
    "dtype=bf16 head_dim=64 mask=none",
    "dtype=bf16 head_dim=64 mask=causal",
    "dtype=bf16 head_dim=64 mask=window window_left=255 window_right=0",
    "dtype=bf16 head_dim=96 mask=none",
    "dtype=bf16 head_dim=96 mask=causal",
    "dtype=bf16 head_dim=96 mask=window window_left=255 window_right=0",
    "dtype=bf16 head_dim=128 mask=none",
    "dtype=bf16 head_dim=128 mask=window window_left=255 window_right=0",
    "dtype=f16 head_dim=192 mask=causal",
    "dtype=bf16 head_dim=192 mask=window window_left=255 window_right=0",
    NULL};
/* Besides those: where K and V are in pages, and where lengths are read on the device. */
static const char *const serving_problems[] = {
    "dtype=bf16 head_dim=128 mask=causal kv=paged lengths=device page_size=16",
    "dtype=f16 head_dim=64 mask=causal lengths=device",
    "dtype=f16 head_dim=96 mask=window window_left=255 window_right=0 kv=paged lengths=device "
    "page_size=64",
    "dtype=f16 head_dim=64 mask=none kv=paged lengths=device page_size=1",
    "dtype=f16 head_dim=256 mask=none",
    "dtype=bf16 head_dim=256 mask=causal kv=paged lengths=device page_size=16",
    "dtype=f16 head_dim=192 mask=causal kv=paged lengths=device page_size=128",
    "dtype=f16 head_dim=128 mask=window window_left=255 window_right=0 lengths=device",
    NULL};
static const char *const decode_problems[] = {
    "dtype=bf16 head_dim=128 mask=causal heads_q=32 heads_kv=8 kv=paged lengths=device "
    "page_size=16",
    "dtype=f16 head_dim=64 mask=none heads_q=4 heads_kv=4",
    "dtype=f16 head_dim=128 mask=causal heads_q=28 heads_kv=4 kv_dtype=e4m3",
    "dtype=bf16 head_dim=128 mask=causal heads_q=32 heads_kv=8 kv_dtype=int8 lengths=device",
    "dtype=bf16 head_dim=256 mask=window window_left=255 window_right=0 heads_q=16 heads_kv=4 "
    "kv=paged lengths=device page_size=5",
    "dtype=f16 head_dim=192 mask=causal heads_q=16 heads_kv=4 kv_dtype=e4m3 invariant=1",
    "dtype=f16 head_dim=96 mask=window window_left=255 window_right=0 heads_q=64 heads_kv=1 "
    "kv=paged lengths=device page_size=1 kv_dtype=int8",
    "dtype=f16 head_dim=128 mask=none heads_q=8 heads_kv=8 len_q=16",
    "dtype=bf16 head_dim=64 mask=causal heads_q=8 heads_kv=2 kv_dtype=e4m3 kv=paged lengths=device "
    "page_size=64",
    "dtype=f16 head_dim=256 mask=causal heads_q=4 heads_kv=4 kv_dtype=int8",
    NULL};
static const char *const rope_problems[] = {
    "dtype=bf16 style=neox head_dim=128 rotary_dim=128",
    "dtype=f16 style=interleaved head_dim=64 rotary_dim=64",
    "dtype=bf16 style=interleaved head_dim=96 rotary_dim=32",
    "dtype=f16 style=neox head_dim=64 rotary_dim=64",
    "dtype=f16 style=neox head_dim=128 rotary_dim=64",
    "dtype=bf16 style=interleaved head_dim=128 rotary_dim=128",
    NULL};

static const char *const merge_problems[] = {"dtype=bf16 head_dim=128",
                                             "dtype=f16 part_type=f32 head_dim=64",
                                             "dtype=bf16 part_type=f32 head_dim=256",
                                             "dtype=f16 head_dim=72",
                                             "dtype=bf16 head_dim=8",
                                             NULL};
static const char *const append_problems[] = {
    "dtype=bf16 head_dim=128 rope=neox rotary_dim=128",
    "dtype=f16 kv_dtype=e4m3 head_dim=64 rope=interleaved rotary_dim=64",
    "dtype=bf16 kv_dtype=int8 head_dim=128 rope=neox rotary_dim=128 qk_norm=1",
    "dtype=f16 head_dim=96",
    "dtype=bf16 kv_dtype=e4m3 head_dim=128 rope=neox rotary_dim=64 qk_norm=1",
    "dtype=f16 head_dim=256 rope=interleaved rotary_dim=32 qk_norm=1",
    "dtype=bf16 head_dim=72 rope=neox rotary_dim=20",
    NULL};
static const char *const gather_problems[] = {
    "dtype=bf16 head_dim=128", "dtype=f16 kv_dtype=e4m3 head_dim=64",
    "dtype=bf16 kv_dtype=e4m3 head_dim=256", "dtype=bf16 kv_dtype=int8 head_dim=96", NULL};

static const char *const rnn_input_problems[] = {"cell=lstm dtype=bf16",
                                                 "cell=gru dtype=f16 lengths=packed",
                                                 "cell=lstm dtype=f32",
                                                 "cell=gru dtype=f32 align=1 lengths=padded",
                                                 "cell=lstm dtype=f16 align=1 lengths=padded",
                                                 "cell=gru dtype=bf16 align=4",
                                                 NULL};

static const char *const rnn_cell_problems[] = {
    "cell=lstm dtype=bf16 hidden=1024 input=512 batch=8",
    "cell=gru dtype=f16 hidden=341 input=33 align=1 batch=4",
    "cell=lstm dtype=f32 hidden=512 batch=2 peephole=1 clip=1 store_gates=1",
    "cell=gru dtype=bf16 hidden=100 batch=64 fused=0 lengths=packed store_gates=1",
    "cell=lstm dtype=f16 hidden=2048 batch=32 lengths=padded peephole=1 clip=1 store_gates=1",
    "cell=gru dtype=f32 hidden=7 input=5 align=1 batch=3",
    "cell=lstm dtype=f16 hidden=512 projection=200 batch=8 lengths=padded",
    "cell=gru dtype=bf16 hidden=512 reset=before batch=16",
    "cell=lstm dtype=bf16 hidden=341 layer_norm=1 projection=100 peephole=1 batch=2",
    "cell=gru dtype=f16 hidden=200 layer_norm=1 batch=8",
    NULL};

/* Hidden sizes that only the streamed tier serves. */
static const char *const rnn_stream_problems[] = {
    "cell=lstm dtype=bf16 hidden=2048 batch=8",
    "cell=gru dtype=f16 hidden=1023 batch=4 lengths=padded",
    "cell=lstm dtype=f32 hidden=1024 batch=64 peephole=1 clip=1 store_gates=1",
    "cell=gru dtype=bf16 hidden=1000 batch=64 lengths=packed store_gates=1",
    "cell=lstm dtype=f16 hidden=4096 batch=32 lengths=packed peephole=1 clip=1 store_gates=1",
    NULL};

/* Hidden sizes whose recurrent weights stay in one SM (tier 1) or in all of them (tier 2). */
static const char *const rnn_resident_problems[] = {
    "cell=lstm dtype=f16 hidden=768 batch=16",
    "cell=gru dtype=bf16 hidden=128 batch=16 lengths=padded store_gates=1",
    "cell=lstm dtype=f16 hidden=192 batch=64 peephole=1 clip=1 lengths=packed",
    "cell=lstm dtype=f32 hidden=128 batch=2",
    "cell=gru dtype=f32 hidden=512 batch=3 lengths=padded",
    "cell=gru dtype=f16 hidden=1024 batch=8 lengths=packed store_gates=1",
    "cell=lstm dtype=bf16 hidden=341 batch=5 peephole=1 store_gates=1",
    "cell=lstm dtype=f32 hidden=256 batch=64 lengths=packed",
    "cell=lstm dtype=f32 hidden=512 batch=16 lengths=padded peephole=1 store_gates=1",
    NULL};

/* f32 layers that a block takes fewer than eight sequences of; only these of their variants. */
static const char *const rnn_narrow_problems[] = {
    "cell=lstm dtype=f32 hidden=112 batch=16",
    "cell=gru dtype=f32 hidden=128 batch=5 lengths=padded store_gates=1",
    "cell=lstm dtype=f32 hidden=95 batch=5 lengths=packed peephole=1 clip=1 store_gates=1",
    "cell=lstm dtype=f32 hidden=64 batch=6 layer_norm=1 projection=40 store_gates=1 lengths=padded",
    "cell=lstm dtype=f32 hidden=40 batch=6",
    "cell=gru dtype=f32 hidden=127 batch=4 lengths=packed",
    "cell=gru dtype=f32 hidden=128 batch=4 reset=before store_gates=1",
    "cell=lstm dtype=f32 hidden=128 batch=16",
    NULL};

/* The listed problems that an architecture has no variant for, and why: all others have one. */
static const struct {
    const char *spec, *arch, *part; /* of the problem's text */
    const char *reason;
} refused[] = {
    {"attn_prefill", "sm_75", "dtype=bf16", "tensor cores without bf16"},
    {"attn_naive", "sm_75", "dtype=bf16", "tensor cores without bf16"},
    {"rnn_input", "sm_75", "dtype=bf16", "tensor cores without bf16"},
    {"attn_decode", "sm_75", "dtype=bf16 head_dim=96", "CUDA cores take powers of two"},
    {"attn_decode", "sm_75", "dtype=bf16 head_dim=192", "CUDA cores take powers of two"},
    {"rnn_seq", "sm_75", "dtype=f32 hidden=128 batch=16", "R does not fit an SM"},
};

static bool is_refused(const char *spec, const char *arch, const char *text) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(refused[i].spec, spec) == 0 && strcmp(refused[i].arch, arch) == 0 &&
            strstr(text, refused[i].part))
            return true;
    }
    return false;
}

typedef struct Work { /* one text to compile */
    GenProblem problem;
    GenConfig config;
    const char *arch;
} Work;

/* What the worker processes share. Processes, since NVRTC compiles one program at a time in each.
 */
typedef struct Shared {
    atomic_size_t next, failed, done, known;
    atomic_llong microseconds, slowest;
} Shared;

typedef struct Run {
    GenLibrary *library;
    bool has_nvrtc;
    Work *work;
    size_t count, capacity;
    Shared *shared;
    Compiled *compiled; /* NULL: every text is compiled */
    bool narrow;        /* of rnn_seq: only tier 1 below eight sequences a block */
} Run;

static Run run;

static uint64_t next_random(uint64_t *seed) { /* splitmix64, public domain (Vigna) */
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

typedef struct Collect {
    const GenProblem *problem;
    const char *arch;
    size_t legal;
} Collect;

static bool is_narrow(const GenSpec *spec, const GenConfig *config) {
    int64_t tier = 0, tile = 0;
    return gen_config_get(spec, config, "tier", &tier) && tier == 1 &&
           gen_config_get(spec, config, "batch_tile", &tile) && tile < 8;
}

static bool collect(void *context, const GenConfig *config, const GenResources *resources,
                    const GenReject *why) {
    Collect *c = context;
    (void)resources;
    if (why->rejected || (run.narrow && !is_narrow(c->problem->spec, config))) return true;
    if (run.count == run.capacity) {
        run.capacity = run.capacity ? 2 * run.capacity : 4096;
        Work *grown = realloc(run.work, run.capacity * sizeof *grown);
        assert_non_null(grown);
        run.work = grown;
    }
    run.work[run.count++] = (Work){*c->problem, *config, c->arch};
    c->legal++;
    return true;
}

/* All legal variants of a problem text on an architecture; none only where the list says so. */
static void collect_problem(const char *spec, const char *text, const char *arch) {
    Error err = {0};
    GenProblem problem;
    gen_problem_init(gen_spec_find(run.library, spec), &problem);
    const GpuInfo gpu = gpu_info_of_arch(gpu_arch_find(arch));
    if (gen_problem_parse(&problem, text, &err) != ST_OK ||
        gen_problem_check(&problem, &err) != ST_OK)
        fail_msg("%s", err.message);
    Collect c = {&problem, arch, 0};
    if (gen_enumerate(&problem, &gpu, collect, &c, &err) != ST_OK) fail_msg("%s", err.message);
    if ((c.legal == 0) != is_refused(spec, arch, text))
        fail_msg("%s on %s has %zu legal variants: %s", spec, arch, c.legal, text);
}

/* Keeps `size` of the variants from `from` on, in a seeded order. */
static void keep_sample(size_t from, size_t size, uint64_t *seed) {
    const size_t all = run.count - from;
    for (size_t i = 0; i < size && i < all; i++) {
        const size_t other = i + next_random(seed) % (all - i);
        const Work swap = run.work[from + i];
        run.work[from + i] = run.work[from + other];
        run.work[from + other] = swap;
    }
    if (all > size) run.count = from + size;
}

static void describe(const Work *work, const char *what) {
    Str problem = {0}, config = {0};
    gen_problem_text(&work->problem, &problem);
    gen_config_text(work->problem.spec, &work->config, &config);
    print_error("%s %s \"%s\" \"%s\": %s\n", work->arch, gen_spec_name(work->problem.spec),
                str_text(&problem), str_text(&config), what);
    str_free(&problem);
    str_free(&config);
}

/* NULL when the variant is as it should be, else what is wrong (from the arena). */
static const char *compile(const Nvrtc *nvrtc, const Work *work, Arena *arena, double *seconds) {
    Error err = {0};
    const GpuInfo gpu = gpu_info_of_arch(gpu_arch_find(work->arch));
    GenOutput output;
    Artifact artifact = {0};
    if (gen_emit(&work->problem, &gpu, &work->config, arena, &output, &err) != ST_OK)
        return arena_strdup(arena, err.message);
    const Hash key = build_key(&output, nvrtc->toolchain);
    if (run.compiled && compiled_has(run.compiled, &key)) {
        atomic_fetch_add(&run.shared->known, 1);
        return NULL;
    }
    if (build_compile(nvrtc, &output, arena, &artifact, &err) != ST_OK)
        return arena_strdup(arena, err.message);
    *seconds = artifact.seconds;
    if (strstr(artifact.log, "warning")) return artifact.log;
    const int spills = artifact_spill_bytes(&artifact);
    if (spills)
        return arena_printf(arena, "spills %d bytes at %d registers", spills,
                            artifact_registers(&artifact));
    return run.compiled && !compiled_add(run.compiled, &key) ? "its key could not be noted" : NULL;
}

/* A child: takes texts until there are none; exit status 0 when it could work at all. */
static int worker(void) {
    Error err = {0};
    Nvrtc *nvrtc = NULL;
    Arena *arena = arena_new();
    if (!arena || nvrtc_open(0, &nvrtc, &err) != ST_OK) return 1;
    size_t i;
    while ((i = atomic_fetch_add(&run.shared->next, 1)) < run.count) {
        double seconds = 0;
        const char *wrong = compile(nvrtc, &run.work[i], arena, &seconds);
        if (wrong) describe(&run.work[i], wrong);
        if (wrong) atomic_fetch_add(&run.shared->failed, 1);
        const long long microseconds = (long long)(seconds * 1e6);
        atomic_fetch_add(&run.shared->microseconds, microseconds);
        long long slowest = atomic_load(&run.shared->slowest);
        while (microseconds > slowest &&
               !atomic_compare_exchange_weak(&run.shared->slowest, &slowest, microseconds)) {
        }
        atomic_fetch_add(&run.shared->done, 1);
        arena_reset(arena);
    }
    return 0;
}

static void run_workers(void) {
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    const int workers = cpus < 1 ? 1 : cpus > MAX_WORKERS ? MAX_WORKERS : (int)cpus;
    pid_t pids[MAX_WORKERS];
    *run.shared = (Shared){0};
    fflush(NULL);
    for (int i = 0; i < workers; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) _exit(worker());
    }
    for (int i = 0; i < workers; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(run.shared->done, run.count);
}

static void compile_all(const char *spec, const char *const *problems) {
    if (!run.has_nvrtc) skip();
    const char *all = getenv("SEQTUNE_ALL"), *given = getenv("SEQTUNE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 20261122;
    const uint64_t first_seed = seed;
    const bool whole = all && strcmp(all, "whole") == 0;
    size_t product = 0;
    run.count = 0;
    for (size_t a = 0; a < ARCHS; a++) {
        size_t from = run.count;
        for (size_t i = 0; problems[i]; i++) {
            const size_t before = run.count;
            collect_problem(spec, problems[i], archs[a]);
            product += run.count - before;
            if (all && i == NAMED - 1) from = run.count;
        }
        if (!whole) keep_sample(from, all ? LARGE_SAMPLE : SAMPLE, &seed);
    }
    if (whole) keep_sample(0, run.count, &seed);
    run_workers();
    const size_t now = run.count - run.shared->known;
    print_message("    %s: %zu of %zu variants (seed %llu), %zu compiled before, %zu now: mean "
                  "%.2f s, slowest %.2f s\n",
                  spec, run.count, product, (unsigned long long)first_seed,
                  (size_t)run.shared->known, now,
                  (double)run.shared->microseconds * 1e-6 / (double)(now ? now : 1),
                  (double)run.shared->slowest * 1e-6);
    assert_true(run.count > 0);
    assert_int_equal(run.shared->failed, 0);
}

static void attn_prefill_compiles_without_spills(void **state) {
    (void)state;
    compile_all("attn_prefill", attention_problems);
}

static void serving_attention_compiles_without_spills(void **state) {
    (void)state;
    compile_all("attn_prefill", serving_problems);
}

static void attn_naive_compiles_without_spills(void **state) {
    (void)state;
    compile_all("attn_naive", attention_problems);
}

static void attn_decode_compiles_without_spills(void **state) {
    (void)state;
    compile_all("attn_decode", decode_problems);
}

static void rope_compiles_without_spills(void **state) {
    (void)state;
    compile_all("rope", rope_problems);
}

static void attn_combine_compiles_without_spills(void **state) {
    (void)state;
    compile_all("attn_combine", merge_problems);
}

static void kv_append_compiles_without_spills(void **state) {
    (void)state;
    compile_all("kv_append", append_problems);
}

static void kv_gather_compiles_without_spills(void **state) {
    (void)state;
    compile_all("kv_gather", gather_problems);
}

static void rnn_input_compiles_without_spills(void **state) {
    (void)state;
    compile_all("rnn_input", rnn_input_problems);
}

static void rnn_cell_compiles_without_spills(void **state) {
    (void)state;
    compile_all("rnn_cell", rnn_cell_problems);
}

static void streamed_rnn_seq_compiles_without_spills(void **state) {
    (void)state;
    compile_all("rnn_seq", rnn_stream_problems);
}

static void resident_rnn_seq_compiles_without_spills(void **state) {
    (void)state;
    compile_all("rnn_seq", rnn_resident_problems);
}

static void narrow_rnn_seq_compiles_without_spills(void **state) {
    (void)state;
    run.narrow = true;
    compile_all("rnn_seq", rnn_narrow_problems);
    run.narrow = false;
}

static int open_run(void **state) {
    (void)state;
    Error err = {0};
    run.shared =
        mmap(NULL, sizeof *run.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.shared == MAP_FAILED) return -1;
    if (gen_open(SEQTUNE_SOURCE_DIR, &run.library, &err) != ST_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    Nvrtc *nvrtc = NULL;
    run.has_nvrtc = nvrtc_open(0, &nvrtc, &err) == ST_OK;
    nvrtc_close(nvrtc);
    if (getenv("SEQTUNE_ALL") &&
        !(run.compiled = compiled_open(SEQTUNE_BINARY_DIR "/tests/compiled.txt")))
        return -1;
    return 0;
}

static int close_run(void **state) {
    (void)state;
    compiled_close(run.compiled);
    free(run.work);
    munmap(run.shared, sizeof *run.shared);
    gen_close(run.library);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attn_prefill_compiles_without_spills),
        cmocka_unit_test(serving_attention_compiles_without_spills),
        cmocka_unit_test(attn_naive_compiles_without_spills),
        cmocka_unit_test(attn_decode_compiles_without_spills),
        cmocka_unit_test(rope_compiles_without_spills),
        cmocka_unit_test(attn_combine_compiles_without_spills),
        cmocka_unit_test(kv_append_compiles_without_spills),
        cmocka_unit_test(kv_gather_compiles_without_spills),
        cmocka_unit_test(rnn_input_compiles_without_spills),
        cmocka_unit_test(rnn_cell_compiles_without_spills),
        cmocka_unit_test(streamed_rnn_seq_compiles_without_spills),
        cmocka_unit_test(resident_rnn_seq_compiles_without_spills),
        cmocka_unit_test(narrow_rnn_seq_compiles_without_spills),
    };
    cmocka_set_test_filter(getenv("SEQTUNE_CASE"));
    return cmocka_run_group_tests(tests, open_run, close_run);
}
