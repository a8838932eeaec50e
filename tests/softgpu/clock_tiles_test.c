/* The clock on attn_prefill's own variants: the tiles that FlashAttention-2's authors compared in
 * the comments of their launch code, compiled here, in the steady loop (full mask, long rows).
 * Prints each published order beside the modelled ratio; asserts that none is reversed (within 5 %
 * is a tie), that tiles that spill rank below those that do not, that the same input gives the same
 * bits, and the price. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "generator/gen.h"
#include "runtime/build.h"
#include "runtime/nvrtc.h"
#include "softgpu/clock.h"
#include "softgpu/clock/code.h"

enum { LENGTH = 8192, HEADS = 32, BATCH = 2 };

typedef struct Tile {
    const char *gpu;
    int head_dim, m, n, warps;
} Tile;

static const Tile tiles[] = {
    {"a100", 64, 128, 128, 4},     {"a100", 64, 128, 128, 8},    {"a100", 64, 256, 64, 4},
    {"a100", 64, 128, 64, 4},      {"a100", 64, 64, 128, 4},     {"a100", 64, 64, 64, 4},
    {"a100", 128, 128, 64, 4},     {"a100", 128, 128, 128, 8},   {"a100", 128, 256, 64, 8},
    {"a100", 128, 128, 128, 4},    {"a100", 128, 128, 32, 4},    {"a100", 128, 64, 64, 4},
    {"rtx4090", 128, 128, 32, 4},  {"rtx4090", 128, 128, 64, 4}, {"rtx4090", 128, 64, 64, 4},
    {"rtx4090", 128, 128, 128, 8},
};
enum { TILES = sizeof tiles / sizeof *tiles };

/* Published: the first is faster, by `ratio` where it is given. 64x256 of d64 is not in
 * the space of the kernel. */
static const struct {
    int faster, slower;
    double ratio;
    const char *who;
} orders[] = {
    {0, 1, 1.18, "8 warps 18 % slower"},
    {0, 2, 1.85, "85 % slower, register spilling"},
    {0, 3, 0, "not chosen"},
    {0, 4, 0, "not chosen"},
    {0, 5, 0, "not chosen"},
    {6, 7, 1.28, "8 warps 28 % slower"},
    {6, 8, 1.28, "8 warps 28 % slower"},
    {6, 10, 0, "not chosen"},
    {6, 11, 0, "not chosen"},
    {12, 13, 0, "128x32 fastest: 2 CTAs per SM"},
    {12, 14, 0, "128x32 fastest"},
    {12, 15, 0, "128x32 fastest"},
};

typedef struct Result {
    int registers, spill, blocks;
    double flops, cpu_ms;
    SgTime time;
} Result;

static Result results[TILES];
static bool compiled;

static void must(Status status, const Error *err) {
    if (status != ST_OK) fail_msg("%s", err->message);
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* What the executor would count in one block that does nothing but the loop with most mma. */
static void count_block(const CodeRegions *regions, const PtxFunc *func, const Tile *t,
                        SgBlockSample *sample) {
    const CodeRegion *loop = &regions->region[0];
    for (int i = 1; i < regions->count; i++)
        if (loop->parent < 0 || regions->region[i].mma > loop->mma) loop = &regions->region[i];
    const uint64_t turns = (uint64_t)LENGTH / (uint64_t)t->n * (uint64_t)t->warps;
    const uint32_t *raw = loop->raw;
    sample->counters = (SgCounters){
        .blocks = 1,
        .blocks_run = 1,
        .mma = turns * loop->mma,
        .mma_flops = turns * loop->mma_flops,
        .shared_wavefronts = turns * 4 * (raw[CODE_LDMATRIX] + raw[CODE_COPY]),
        .warp_instructions = turns * (uint64_t)loop->count,
    };
    for (int i = 0; i < func->instr_count; i++)
        sample->visits[i] = i >= loop->first && i < loop->end ? turns : 0;
}

static void counters_scale(SgCounters *c, uint64_t times) {
    uint64_t *at = (uint64_t *)c;
    for (size_t i = 0; i < sizeof *c / sizeof *at; i++) at[i] *= times;
}

static SgTime time_of(const char *ptx, const SgKernelInfo *info, SgLaunch *launch, double *ms) {
    SgText text = sg_text_of(ptx, "attn_prefill");
    SgTime time;
    Error err = {0};
    const double start = cpu_ms();
    must(sg_clock(launch, info, &text, &time, &err), &err);
    *ms = cpu_ms() - start;
    sg_text_close(&text);
    return time;
}

static Result run_tile(const GenLibrary *library, const Nvrtc *nvrtc, const Tile *t, bool again) {
    Error err = {0};
    Arena *arena = arena_new();
    const GpuModel *model = gpu_model_find(t->gpu);
    const GpuInfo gpu = gpu_info_of_model(model);
    const GenSpec *spec = gen_spec_find(library, "attn_prefill");
    GenProblem problem;
    GenConfig config;
    GenOutput output;
    Artifact artifact = {0};
    GenLaunch steps[GEN_MAX_STEPS];
    size_t count;
    int64_t workspace;
    char text[200];
    snprintf(text, sizeof text,
             "dtype=bf16 head_dim=%d mask=none heads_q=%d heads_kv=%d batch=%d len_q=%d len_kv=%d",
             t->head_dim, HEADS, HEADS, BATCH, LENGTH, LENGTH);
    gen_problem_init(spec, &problem);
    must(gen_problem_parse(&problem, text, &err), &err);
    must(gen_problem_check(&problem, &err), &err);
    snprintf(text, sizeof text, "block_m=%d block_n=%d warps=%d stages=1 q_in_regs=0 pack_group=0",
             t->m, t->n, t->warps);
    must(gen_config_parse(spec, text, &config, &err), &err);
    must(gen_emit(&problem, &gpu, &config, arena, &output, &err), &err);
    must(build_compile(nvrtc, &output, arena, &artifact, &err), &err);
    must(gen_launches(&problem, &gpu, &config, steps, &count, &workspace, &err), &err);
    SgModule *module;
    CodeRegions regions;
    must(sg_module_load(artifact.ptx, artifact.ptx_size, model->arch, 13000, 0, &module, &err), &err);
    const SgKernel *kernel = sg_module_kernel(module, "attn_prefill");
    const PtxFunc *func = sg_kernel_func(kernel);
    must(code_regions(func, NULL, arena, &regions, &err), &err);
    const ArtifactEntry *e = &artifact.entries[0];
    const SgKernelInfo info = {.name = "attn_prefill",
                               .static_smem = e->smem,
                               .ptxas = {.known = true,
                                         .registers = e->registers,
                                         .spill_stores = e->spill_stores,
                                         .spill_loads = e->spill_loads}};
    SgBlockSample sample = {.visits = ARENA_ARRAY(arena, uint64_t, (size_t)func->instr_count)};
    uint64_t *visits = ARENA_ARRAY(arena, uint64_t, (size_t)func->instr_count);
    assert_true(sample.visits != NULL && visits != NULL);
    count_block(&regions, func, t, &sample);
    SgLaunch launch = {.kernel = kernel,
                       .visits = visits,
                       .block = {(uint32_t)steps[0].block[0], 1, 1},
                       .dynamic_smem = (uint32_t)steps[0].smem,
                       .model = model,
                       .counters = sample.counters,
                       .samples = &sample,
                       .sample_count = 1};
    for (int i = 0; i < 3; i++) launch.grid[i] = (uint32_t)steps[0].grid[i];
    const uint64_t blocks = (uint64_t)launch.grid[0] * launch.grid[1] * launch.grid[2];
    counters_scale(&launch.counters, blocks);
    for (int i = 0; i < func->instr_count; i++) visits[i] = sample.visits[i] * blocks;
    Result r = {.registers = e->registers,
                .spill = e->spill_stores + e->spill_loads,
                .blocks = sg_occupancy(model, &info, t->warps * 32, launch.dynamic_smem).blocks,
                .flops = (double)launch.counters.mma_flops};
    r.time = time_of(artifact.ptx, &info, &launch, &r.cpu_ms);
    if (again) {
        double ms;
        const SgTime second = time_of(artifact.ptx, &info, &launch, &ms);
        assert_memory_equal(&second, &r.time, sizeof second);
    }
    sg_module_free(module);
    arena_free(arena);
    return r;
}

static int compile_all(void **state) {
    (void)state;
    GenLibrary *library;
    Nvrtc *nvrtc;
    Error err = {0};
    if (gen_open(SEQTUNE_SOURCE_DIR, &library, &err) != ST_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    if (nvrtc_open(0, &nvrtc, &err) == ST_OK) {
        for (int i = 0; i < TILES; i++)
            results[i] = run_tile(library, nvrtc, &tiles[i], i % 5 == 0);
        compiled = true;
        nvrtc_close(nvrtc);
    }
    gen_close(library);
    return 0;
}

static const char *tile_name(const Tile *t, char *out, size_t size) {
    snprintf(out, size, "%s d%d %dx%d %dw", t->gpu, t->head_dim, t->m, t->n, t->warps);
    return out;
}

static void no_order_of_tiles_is_reversed(void **state) {
    (void)state;
    if (!compiled) skip();
    char name[64], other[64];
    print_message(
        "tile                     regs spill CTAs  bound estimate mean (low-high) TFLOP/s, "
        "ms of host time\n");
    for (int i = 0; i < TILES; i++) {
        const Result *r = &results[i];
        const double f = r->flops * 1e-12;
        print_message("%-24s %4d %5d %4d  %5.0f %8.0f %4.0f (%.0f-%.0f) %s  %.0f ms\n",
                      tile_name(&tiles[i], name, sizeof name), r->registers, r->spill, r->blocks,
                      f / r->time.at_least, f / r->time.estimate, f / r->time.mean,
                      f / r->time.high, f / r->time.low, r->time.bound, r->cpu_ms);
    }
    int held = 0, tied = 0;
    const int count = sizeof orders / sizeof *orders;
    for (int i = 0; i < count; i++) {
        const SgTime *a = &results[orders[i].faster].time, *b = &results[orders[i].slower].time;
        const double ratio = b->mean / a->mean;
        const bool tie = ratio > 1 / 1.05 && ratio < 1.05;
        held += !tie && ratio > 1;
        tied += tie;
        print_message(
            "%-24s > %-24s mean %.2f, bound %.2f, estimate %.2f; published %.2f (%s) %s\n",
            tile_name(&tiles[orders[i].faster], name, sizeof name),
            tile_name(&tiles[orders[i].slower], other, sizeof other), ratio,
            b->at_least / a->at_least, b->estimate / a->estimate, orders[i].ratio, orders[i].who,
            tie         ? "tie"
            : ratio > 1 ? "right"
                        : "WRONG");
    }
    print_message("%d of %d orders held, %d ties\n", held, count, tied);
    assert_int_equal(held + tied, count);
}

static void tiles_that_spill_rank_below_those_that_do_not(void **state) {
    (void)state;
    if (!compiled) skip();
    static const int pairs[][2] = {{0, 2}, {1, 2}, {6, 9}, {7, 9}}; /* faster, spilling */
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const Result *good = &results[pairs[i][0]], *spills = &results[pairs[i][1]];
        assert_true(spills->spill > 400 && good->spill < 100); /* bytes; else nothing is tested */
        assert_true(spills->time.mean > 1.05 * good->time.mean);
        assert_true(spills->time.estimate > 1.05 * good->time.estimate);
    }
}

static void no_tile_beats_its_bound(void **state) {
    (void)state;
    if (!compiled) skip();
    for (int i = 0; i < TILES; i++) {
        const SgTime *t = &results[i].time;
        assert_true(t->low <= t->mean && t->mean <= t->high);
        assert_true(t->mean >= 0.99 * t->at_least && t->estimate >= t->at_least);
        assert_true(t->seconds == t->mean);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_order_of_tiles_is_reversed),
        cmocka_unit_test(tiles_that_spill_rank_below_those_that_do_not),
        cmocka_unit_test(no_tile_beats_its_bound),
    };
    return cmocka_run_group_tests_name("softgpu clock tiles", tests, compile_all, NULL);
}
