/* Fuzz target: any text as a spec, as a workload and as a template of a small tree. What opens is
 * used: presets, keys, seeds, launches and the emitted text. Nothing may crash, leak or hang. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "generator/internal.h"

static const char frame[] =
    "kernel 'frame' { title = 't', generation = 1,\n"
    "  problem = { dim 'rows' { min = 0, max = 99 }, dim 'kind' { enum = { 'a', 'b' }, static = "
    "true } },\n"
    "  space = { axis 'tile' { 16, 32 } }, pipeline = { pipe 'x' {} },\n"
    "  resources = { threads = 32, smem = 0, regs = 32 },\n"
    "  launch = { step { entry = 'main', grid = { 'rows' }, block = { 32 } } },\n"
    "  parts = { body = { by = 'kind', a = 'y', b = false } },\n"
    "  params = 'p', flops = 0, bytes = 0, verify = { reference = 'none' } }\n";

static bool keep_going(void *context, const GenConfig *config, const GenResources *res,
                       const GenReject *why) {
    int *left = context;
    (void)config;
    (void)res;
    (void)why;
    return --*left > 0;
}

static void use_config(const GenProblem *problem, const GpuInfo *gpu, Arena *arena) {
    GenConfig config;
    GenOutput out;
    GenLaunch launches[GEN_MAX_STEPS];
    Error err;
    size_t count = 0, axes = 0;
    int64_t workspace = 0;
    const GenAxis *axis = gen_axes(problem->spec, &axes);
    memset(&config, 0, sizeof config);
    for (size_t i = 0; i < axes; i++) config.value[i] = axis[i].values[0];
    int left = 50;
    gen_enumerate(problem, gpu, keep_going, &left, &err);
    gen_launches(problem, gpu, &config, launches, &count, &workspace, &err);
    gen_emit(problem, gpu, &config, arena, &out, &err);
}

static void use(const GenLibrary *lib, const char *text) {
    Arena *arena = arena_new();
    GpuInfo gpus[2] = {gpu_info_of_arch(gpu_arch_find("sm_75")),
                       gpu_info_of_arch(gpu_arch_find("sm_90a"))};
    for (size_t i = 0; arena && i < gen_spec_count(lib); i++) {
        GenProblem problem;
        Error err;
        Str key = {0};
        double flops = 0, bytes = 0;
        gen_problem_init(gen_spec_at(lib, i), &problem);
        gen_problem_parse(&problem, text, &err);
        if (gen_problem_check(&problem, &err) != ST_OK) continue;
        gen_problem_key(&problem, &key);
        if (gen_key_distance(problem.spec, str_text(&key), str_text(&key)) != 0) abort();
        str_free(&key);
        gen_problem_flops(&problem, &flops, &bytes, &err);
        for (int g = 0; g < 2; g++) use_config(&problem, &gpus[g], arena);
    }
    GenWorkload workload;
    Error err;
    if (arena) gen_workload_load(lib, "w", arena, &workload, &err);
    arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    const GenFile files[] = {
        {"runtime/params/p.h", "", 0},
        {"runtime/params/types.h", "", 0},
        {"scripts/kernels/frame.lua", frame, sizeof frame - 1},
        {"scripts/kernels/input.lua", text, size},
        {"scripts/workloads/w.lua", text, size},
        {"templates/parts/y.cu", text, size},
        {"templates/x.cu", "//% slot body\nmain\n", 19},
    };
    /* The whole tree; then without the input as a spec, so that its other roles are reached when
     * it is none. Paths stay sorted: the parts come before x.cu. */
    for (int skip = 0; skip < 2; skip++) {
        GenFile used[7];
        size_t n = 0;
        GenLibrary *lib = NULL;
        Error err;
        for (size_t i = 0; i < 7; i++)
            if (!(skip && i == 3)) used[n++] = files[i];
        GenTree tree = {.files = used, .count = n};
        if (gen_open_tree(&tree, &lib, &err) == ST_OK) use(lib, text);
        gen_close(lib);
    }
    free(text);
    return 0;
}
