/* Compile time of one attention variant, source to cubin, on one core: the default configuration
 * per architecture and head size. Prints a table; judges nothing. */
#include <stdio.h>
#include <stdlib.h>

#include "generator/gen.h"
#include "runtime/build.h"
#include "runtime/nvrtc.h"

enum { RUNS = 5 };

typedef struct Row {
    const char *arch, *spec, *problem;
} Row;

static const Row rows[] = {
    {"sm_75", "attn_prefill", "dtype=f16 head_dim=128 mask=causal"},
    {"sm_80", "attn_prefill", "dtype=bf16 head_dim=64 mask=causal"},
    {"sm_80", "attn_prefill", "dtype=bf16 head_dim=128 mask=causal"},
    {"sm_80", "attn_prefill",
     "dtype=bf16 head_dim=128 mask=window window_left=4095 window_right=0"},
    {"sm_89", "attn_prefill", "dtype=bf16 head_dim=128 mask=causal"},
    {"sm_90", "attn_prefill", "dtype=bf16 head_dim=128 mask=causal"},
    {"sm_120a", "attn_prefill", "dtype=bf16 head_dim=128 mask=causal"},
    {"sm_80", "attn_naive", "dtype=bf16 head_dim=128 mask=causal"},
    {"sm_80", "rope", "dtype=bf16 head_dim=128"},
};

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static Status bench(GenLibrary *library, const Nvrtc *nvrtc, const Row *row, Error *err) {
    Arena *arena = arena_new();
    const GpuInfo gpu = gpu_info_of_arch(gpu_arch_find(row->arch));
    GenProblem problem;
    GenConfig config;
    GenOutput output;
    double seconds[RUNS];
    Artifact artifact = {0};
    gen_problem_init(gen_spec_find(library, row->spec), &problem);
    Status st = gen_problem_parse(&problem, row->problem, err);
    if (!st) st = gen_problem_check(&problem, err);
    if (!st) st = gen_default(&problem, &gpu, &config, err);
    if (!st) st = gen_emit(&problem, &gpu, &config, arena, &output, err);
    for (int i = 0; i < RUNS && !st; i++) {
        st = build_compile(nvrtc, &output, arena, &artifact, err);
        seconds[i] = artifact.seconds;
    }
    if (!st) {
        qsort(seconds, RUNS, sizeof *seconds, by_value);
        printf("%-8s %-12s %-68s %5.2f %5.2f %5.2f\n", row->arch, row->spec, row->problem,
               seconds[0], seconds[RUNS / 2], seconds[RUNS - 1]);
    }
    arena_free(arena);
    return st;
}

int main(void) {
    Error err = {0};
    GenLibrary *library;
    Nvrtc *nvrtc;
    if (gen_open(SEQTUNE_SOURCE_DIR, &library, &err) || nvrtc_open(0, &nvrtc, &err)) {
        fprintf(stderr, "bench_compile: %s\n", err.message);
        return 1;
    }
    printf("compile time, source to PTX and cubin, seconds of %d runs (%s, one thread)\n", RUNS,
           nvrtc->toolchain);
    printf("%-8s %-12s %-68s %5s %5s %5s\n", "arch", "kernel", "problem", "min", "med", "max");
    Status st = ST_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !st; i++)
        st = bench(library, nvrtc, &rows[i], &err);
    if (st) fprintf(stderr, "bench_compile: %s\n", err.message);
    nvrtc_close(nvrtc);
    gen_close(library);
    return st != ST_OK;
}
