/* A developer's look at one spec, without a database or a GPU:
 *
 *   gen_try ROOT SPEC "problem" ARCH            lists the legal configurations, default first
 *   gen_try ROOT SPEC "problem" ARCH all        lists all, with the reason why one is out
 *   gen_try ROOT SPEC "problem" ARCH default    prints the CUDA text of the default configuration
 *   gen_try ROOT SPEC "problem" ARCH "config"   prints the CUDA text of that configuration
 *   gen_try ROOT check                          opens the tree and checks every template
 *   gen_try ROOT workload NAME                  lists a workload's items
 *
 * ROOT "-" is the built-in tree. */
#include <stdio.h>
#include <string.h>

#include "generator/gen.h"

typedef struct Listing {
    const GenSpec *spec;
    bool all;
    size_t legal, total;
} Listing;

static bool show(void *context, const GenConfig *config, const GenResources *res,
                 const GenReject *why) {
    Listing *l = context;
    Str text = {0};
    l->total += why->count;
    l->legal += !why->rejected;
    gen_config_text(l->spec, config, &text);
    if (!why->rejected)
        printf("%s   # threads=%lld smem=%lld regs~%lld blocks/SM=%g workspace=%lld score=%g\n",
               str_text(&text), (long long)res->threads, (long long)res->smem, (long long)res->regs,
               res->occupancy_blocks, (long long)res->workspace, res->score);
    else if (l->all)
        printf("out: %s   # %zu: %s\n", str_text(&text), why->count, why->text);
    str_free(&text);
    return true;
}

static Status list(const GenProblem *problem, const GpuInfo *gpu, bool all, Error *err) {
    GenConfig config;
    Str text = {0};
    Listing l = {.spec = problem->spec, .all = all};
    Status status = gen_default(problem, gpu, &config, err);
    if (status != ST_OK && status != ST_UNSUPPORTED) return status;
    if (status == ST_OK) {
        gen_config_text(problem->spec, &config, &text);
        printf("default: %s\n", str_text(&text));
    } else {
        printf("default: none: %s\n", err->message);
    }
    str_free(&text);
    status = gen_enumerate(problem, gpu, show, &l, err);
    if (status == ST_OK) printf("%zu of %zu configurations are legal\n", l.legal, l.total);
    return status;
}

static Status emit(const GenProblem *problem, const GpuInfo *gpu, const char *text, Arena *arena,
                   Error *err) {
    GenConfig config;
    GenOutput out;
    GenReject why;
    Status status = strcmp(text, "default") == 0
                        ? gen_default(problem, gpu, &config, err)
                        : gen_config_parse(problem->spec, text, &config, err);
    if (status == ST_OK) status = gen_config_check(problem, gpu, &config, NULL, &why, err);
    if (status != ST_OK) return status;
    if (why.rejected) return err_set(err, ST_UNSUPPORTED, "rejected: %s", why.text);
    status = gen_emit(problem, gpu, &config, arena, &out, err);
    if (status == ST_OK) fwrite(out.source, 1, out.source_size, stdout);
    return status;
}

static Status workload(const GenLibrary *lib, const char *name, Arena *arena, Error *err) {
    GenWorkload w;
    Status status = gen_workload_load(lib, name, arena, &w, err);
    if (status != ST_OK) return status;
    printf("%s: %s\n", w.name, w.title);
    for (size_t i = 0; i < w.count; i++) {
        Str text = {0};
        gen_problem_text(&w.items[i].problem, &text);
        printf("%s: %s: %s (%s)\n", gen_spec_name(w.items[i].problem.spec), w.items[i].label,
               str_text(&text), w.items[i].source);
        str_free(&text);
    }
    return ST_OK;
}

static Status run(const GenLibrary *lib, int argc, char **argv, Arena *arena, Error *err) {
    if (argc == 3 && strcmp(argv[2], "check") == 0) return gen_check(lib, err);
    if (argc == 4 && strcmp(argv[2], "workload") == 0) return workload(lib, argv[3], arena, err);
    if (argc < 5) return err_set(err, ST_INVALID, "see the head of gen_try.c for its arguments");
    const GenSpec *spec = gen_spec_find(lib, argv[2]);
    const GpuArch *arch = gpu_arch_find(argv[4]);
    if (!spec) return err_set(err, ST_NOT_FOUND, "no spec '%s'", argv[2]);
    if (!arch) return err_set(err, ST_NOT_FOUND, "no architecture '%s'", argv[4]);
    GpuInfo gpu = gpu_info_of_arch(arch);
    GenProblem problem;
    gen_problem_init(spec, &problem);
    Status status = gen_problem_parse(&problem, argv[3], err);
    if (status == ST_OK) status = gen_problem_check(&problem, err);
    if (status != ST_OK) return status;
    bool all = argc > 5 && strcmp(argv[5], "all") == 0;
    return argc > 5 && !all ? emit(&problem, &gpu, argv[5], arena, err)
                            : list(&problem, &gpu, all, err);
}

int main(int argc, char **argv) {
    Error err = {0};
    GenLibrary *lib = NULL;
    Arena *arena = arena_new();
    if (argc < 3 || !arena) {
        fprintf(stderr, "see the head of gen_try.c for its arguments\n");
        return 2;
    }
    Status status = gen_open(strcmp(argv[1], "-") == 0 ? NULL : argv[1], &lib, &err);
    if (status == ST_OK) status = run(lib, argc, argv, arena, &err);
    if (status != ST_OK) fprintf(stderr, "%s\n", err.message);
    gen_close(lib);
    arena_free(arena);
    return status == ST_OK ? 0 : 1;
}
