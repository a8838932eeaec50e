/* Modelled time of attention on one GPU model, as a plan of this database runs it: for each problem
 * of a workload the time, its rate, the share of the model's peak, and how many times faster than
 * attn_naive it is; then the three figures that decoding is held to. Prints tables; judges nothing.
 *
 * No time here is measured: launches are sampled on the software GPU (timing mode) and its clock
 * tells what they take. A plan's configuration is what dispatch finds: "tuned" for this problem,
 * "near" for a neighbour of it, else the spec's "default". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/context.h"
#include "tuner/bench.h"

enum { MAX_ROWS = 256, GROWTH = 64 };

typedef struct Row {
    const GenWorkItem *item;
    int64_t batch, len_kv, page_size;
    bool decode, device;         /* device: lengths are read there, as with pages */
    double seconds, rate, share; /* rate: FLOP/s, of decode bytes/s; share of the model's */
} Row;

typedef struct Attention {
    const char *gpu;
    const GpuModel *model;
    seqtune_context *ctx;
    Arena *arena;
    GenWorkload workload;
    Row rows[MAX_ROWS];
    size_t count;
} Attention;

static int64_t dim(const GenProblem *p, const char *name) {
    int64_t value = 0;
    return gen_problem_get(p, name, &value) ? value : 0;
}

static double tensor_peak(const GpuModel *m) {
    return 1e6 * m->mma[GPU_MMA_F16_F32] * (double)m->sms * (double)m->clock_mhz;
}

static const char *chosen_by(const seqtune_plan *plan, seqtune_plan_info *info) {
    *info = (seqtune_plan_info)SEQTUNE_PLAN_INFO_INIT;
    if (seqtune_plan_get_info(plan, info)) return "?";
    if (info->rung == SEQTUNE_RUNG_EXACT) return "tuned";
    return info->rung == SEQTUNE_RUNG_DEFAULT ? "default" : "near";
}

/* The launch of `problem` as dispatch plans it; `keys` > 0: with so many keys in every sequence,
 * and every block runs, since a sample says little of the rest where most blocks end at once. */
static Status time_problem(Attention *a, const GenProblem *problem, int64_t keys, char *config,
                           size_t size, double *seconds, Error *err) {
    Bench *bench = NULL;
    size_t index = 0;
    seqtune_plan_info info;
    Status st = bench_open(a->ctx, problem, false, &bench, err);
    if (!st) st = bench_add(bench, NULL, &index, err);
    if (!st && keys > 0) st = bench_set_keys(bench, keys, err);
    if (!st) st = bench_launch(bench, index, seconds, err);
    if (!st && config) {
        const char *const by = chosen_by(bench_plan(bench, index), &info);
        snprintf(config, size, "%s: %s", by, info.config);
    }
    bench_close(bench);
    return st;
}

/* K and V in bytes. */
static double kv_bytes(const GenProblem *p) {
    return 4.0 * (double)dim(p, "batch") * (double)dim(p, "heads_kv") * (double)dim(p, "head_dim") *
           (double)dim(p, "len_kv");
}

/* Beside what a program has: the same 90 % as serving systems give to weights and cache. */
static double usable_bytes(const Attention *a) {
    return 0.9 * (double)a->model->dram_bytes;
}

/* The same dimensions for the textbook kernels; ST_UNSUPPORTED: they know no pages, or their
 * scores do not fit the memory beside K and V. */
static Status time_naive(Attention *a, const GenProblem *problem, double *seconds, Error *err) {
    const GenSpec *const spec = gen_spec_find(a->ctx->library, "attn_naive");
    GenProblem naive;
    size_t n = 0;
    const GenDim *const dims = gen_dims(spec, &n);
    Status st = ST_OK;
    const double scores = 2 * (double)dim(problem, "batch") * (double)dim(problem, "heads_q") *
                          (double)dim(problem, "len_q") * (double)dim(problem, "len_kv");
    if (dim(problem, "page_size") > 0 || scores > usable_bytes(a) - kv_bytes(problem))
        return ST_UNSUPPORTED;
    gen_problem_init(spec, &naive);
    for (size_t i = 0; i < n && !st; i++) {
        const char *const word = gen_problem_word(problem, dims[i].name);
        if (dims[i].kind == GEN_DIM_DERIVED) continue;
        st = word ? gen_problem_set_word(&naive, dims[i].name, word, err)
                  : gen_problem_set(&naive, dims[i].name, dim(problem, dims[i].name), err);
    }
    if (!st) st = gen_problem_check(&naive, err);
    return st ? st : time_problem(a, &naive, 0, NULL, 0, seconds, err);
}

static bool fits(const Attention *a, const GenProblem *p) {
    return kv_bytes(p) < usable_bytes(a);
}

static Status time_row(Attention *a, const GenWorkItem *item, Error *err) {
    const GenProblem *const p = &item->problem;
    Row *const r = &a->rows[a->count];
    char config[256], ratio[24] = "-";
    double flops = 0, bytes = 0, naive = 0;
    *r = (Row){.item = item,
               .batch = dim(p, "batch"),
               .len_kv = dim(p, "len_kv"),
               .page_size = dim(p, "page_size"),
               .decode = strcmp(gen_spec_name(p->spec), "attn_decode") == 0,
               .device = strcmp(gen_problem_word(p, "lengths"), "device") == 0};
    if (!fits(a, p)) {
        printf("%-50s K and V do not fit %.0f GiB\n", item->label,
               (double)a->model->dram_bytes / 1073741824.0);
        return ST_OK;
    }
    Status st = gen_problem_flops(p, &flops, &bytes, err);
    if (!st) st = time_problem(a, p, 0, config, sizeof config, &r->seconds, err);
    if (!st && !r->device) {
        const Status other = time_naive(a, p, &naive, err);
        if (!other) snprintf(ratio, sizeof ratio, "%.2fx", naive / r->seconds);
        if (other != ST_UNSUPPORTED) st = other;
    }
    if (st) return st;
    r->rate = (r->decode ? bytes : flops) / r->seconds;
    r->share = r->rate / (r->decode ? 1e9 * a->model->dram_gbs : tensor_peak(a->model));
    printf("%-50s %10.2f us modelled  %7.1f %-8s %5.1f %%  %8s  %s\n", item->label,
           1e6 * r->seconds, r->rate / (r->decode ? 1e9 : 1e12), r->decode ? "GB/s" : "TFLOP/s",
           100 * r->share, ratio, config);
    fflush(stdout);
    a->count++;
    return ST_OK;
}

/* --- what decoding is held to --- */

/* The row of `r`'s kernel, batch and length where K and V lie so; dense: page_size 0. */
static const Row *row_like(const Attention *a, const Row *r, int64_t page_size, bool device) {
    for (size_t i = 0; i < a->count; i++) {
        const Row *const x = &a->rows[i];
        if (x->decode == r->decode && x->batch == r->batch && x->len_kv == r->len_kv &&
            x->page_size == page_size && x->device == device)
            return x;
    }
    return NULL;
}

static void print_bandwidth(const Attention *a) {
    const Row *worst = NULL;
    for (size_t i = 0; i < a->count; i++) {
        const Row *const r = &a->rows[i];
        if (r->decode && r->batch == 64 && (!worst || r->share < worst->share)) worst = r;
    }
    if (worst)
        printf("bandwidth at batch 64, modelled: at least %.1f %% of the model's (goal 85 %%), in "
               "'%s'\n",
               100 * worst->share, worst->item->label);
}

static const int64_t page_sizes[] = {1, 16, 64, 128, 256};
enum { PAGE_SIZES = sizeof page_sizes / sizeof *page_sizes };

/* What pages cost, per kernel, batch and length. Pages come with lengths on the device, so that is
 * what their dense counterpart has, too; the first column tells what those cost by themselves. */
static void print_page_table(const Attention *a) {
    printf("%-12s %-9s %14s %15s %s\n", "ratio", "keys", "device lengths", "over uniform |",
           "pages of 1, 16, 64, 128, 256 over dense with device lengths");
    for (size_t i = 0; i < a->count; i++) {
        const Row *const dense = &a->rows[i];
        const Row *const device = row_like(a, dense, 0, true);
        if (dense->device || !device) continue;
        printf("%-8s%3lld  %-9lld %29.3f |", dense->decode ? "decode" : "prefill",
               (long long)dense->batch, (long long)dense->len_kv, device->seconds / dense->seconds);
        for (size_t k = 0; k < PAGE_SIZES; k++) {
            const Row *const paged = row_like(a, dense, page_sizes[k], true);
            if (paged)
                printf("  %lld: %.3f", (long long)page_sizes[k], paged->seconds / device->seconds);
        }
        printf("\n");
    }
}

static void print_pages(const Attention *a, int64_t page_size) {
    const Row *worst = NULL;
    double most = 0;
    for (size_t i = 0; i < a->count; i++) {
        const Row *const r = &a->rows[i];
        const Row *const dense = row_like(a, r, 0, true);
        if (r->page_size != page_size || !dense) continue;
        if (worst && r->seconds / dense->seconds <= most) continue;
        worst = r;
        most = r->seconds / dense->seconds;
    }
    if (worst)
        printf("pages of %lld against dense, lengths on the device in both, modelled: at most "
               "%.3fx (goal 1.05x), in '%s'\n",
               (long long)page_size, most, worst->item->label);
}

/* A plan of GROWTH times the keys that every sequence has, against the plan made for those. */
static Status time_growth(Attention *a, const Row *row, double *worst, Error *err) {
    Row wanted = *row;
    wanted.len_kv *= GROWTH;
    const Row *const large = row_like(a, &wanted, row->page_size, true);
    double seconds = 0;
    if (!large) return ST_OK;
    Status st = time_problem(a, &large->item->problem, row->len_kv, NULL, 0, &seconds, err);
    if (st) return st;
    printf("%-50s %10.2f us modelled by the plan for %lld, %.3fx\n", row->item->label,
           1e6 * seconds, (long long)large->len_kv, seconds / row->seconds);
    *worst = fmax(*worst, seconds / row->seconds);
    return ST_OK;
}

static Status print_goals(Attention *a, Error *err) {
    double worst = 0;
    Status st = ST_OK;
    for (size_t i = 0; i < a->count && !st; i++)
        if (a->rows[i].decode && (a->rows[i].page_size == 1 || a->rows[i].page_size == 16))
            st = time_growth(a, &a->rows[i], &worst, err);
    if (st) return st;
    print_page_table(a);
    print_bandwidth(a);
    for (size_t k = 0; k < PAGE_SIZES; k++) print_pages(a, page_sizes[k]);
    if (worst > 0)
        printf("plans of capacity %d x the length, modelled: at most %.3fx (goal 1.3x)\n", GROWTH,
               worst);
    return ST_OK;
}

static Status bench(Attention *a, const char *workload, const char *database, Error *err) {
    char driver[64];
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    snprintf(driver, sizeof driver, "soft:%s", a->gpu);
    options.driver = driver;
    options.database = database;
    Status st = context_open(&options, &a->ctx, err);
    if (!st) st = gen_workload_load(a->ctx->library, workload, a->arena, &a->workload, err);
    if (!st && a->workload.count > MAX_ROWS)
        st = err_set(err, ST_LIMIT, "%zu problems, at most %d", a->workload.count, MAX_ROWS);
    if (st) return st;
    printf("%s, modelled, %s; peaks of the model: %.0f TFLOP/s, %.0f GB/s (%.0f by data sheet)\n",
           a->workload.title, a->model->full_name, 1e-12 * tensor_peak(a->model),
           a->model->dram_gbs, a->model->dram_peak_gbs);
    printf("%-50s %23s  %16s %7s  %8s  %s\n", "problem", "time", "rate", "peak", "vs naive",
           "configuration");
    for (size_t i = 0; i < a->workload.count && !st; i++)
        st = time_row(a, &a->workload.items[i], err);
    return st ? st : print_goals(a, err);
}

/* bench_attention GPU WORKLOAD [DATABASE] */
int main(int argc, char **argv) {
    Error err = {0};
    if (argc < 3 || argc > 4 || !gpu_model_find(argv[1])) {
        fprintf(stderr, "usage: bench_attention GPU WORKLOAD [DATABASE]\n");
        return 2;
    }
    Attention *const a = mem_alloc(sizeof *a);
    if (!a) return 1;
    a->gpu = argv[1];
    a->model = gpu_model_find(a->gpu);
    a->arena = arena_new();
    Status st =
        a->arena ? bench(a, argv[2], argc > 3 ? argv[3] : "", &err) : err_no_memory(&err, 1);
    if (st) fprintf(stderr, "bench_attention: %s\n", err.message);
    seqtune_close(a->ctx);
    arena_free(a->arena);
    mem_free(a);
    return st != ST_OK;
}
