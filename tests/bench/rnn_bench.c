/* Modelled time per step of recurrent layers on one GPU model, as a plan of this database runs
 * them: for each sequence of workload `rnn` the tier, the time of a step, the share of the tier's
 * floor (rnn_floor.h) and the ratio to what others published; the tiers side by side over hidden
 * and batch; two layers as a wavefront (rnn_layers.h); recurrence against attention of equal
 * length. Prints tables; judges nothing.
 *
 * No time here is measured. Published times are measured on the GPU named, by their authors; a
 * ratio of a modelled to a measured time is what it is called. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runtime/context.h"
#include "tests/bench/rnn_floor.h"
#include "tests/bench/rnn_layers.h"
#include "tuner/layer_time.h"

enum { TIERS = 3, MAX_SEEDS = 256 };

typedef struct RnnBench {
    const char *gpu;
    const GpuModel *model;
    seqtune_context *ctx;
    Arena *arena;
    GenWorkload workload;
} RnnBench;

/* Microseconds of one step, forward, one layer; measured elsewhere. */
static const struct {
    const char *label, *what;
    double us;
    bool with_input; /* W x is in it */
} published[] = {
    /* FlashRNN, figure head_dim--lstm.svg: ms for 1024 steps on an H100 SXM. */
    {"lstm 768 x 16", "FlashRNN fused, H100", 4.87 / 1.024, false},
    {"lstm 768 x 16 f16", "cuDNN, H100", 2.01 / 1.024, true},
    {"lstm 16 x 16 x 48 heads", "FlashRNN Triton, H100", 1.97 / 1.024, false},
    {"lstm 32 x 16 x 24 heads", "FlashRNN Triton, H100", 1.44 / 1.024, false},
    {"lstm 64 x 16 x 12 heads", "FlashRNN Triton, H100", 1.99 / 1.024, false},
    {"lstm 128 x 16 x 6 heads", "FlashRNN fused, H100", 3.22 / 1.024, false},
    {"lstm 256 x 16 x 3 heads", "FlashRNN fused, H100", 3.62 / 1.024, false},
    /* PyTorch pull request 62143: ms of whole layers; the GPU is not named. */
    {"lstm 32 x 20 f32", "cuDNN SMALL_H", 2.3 / 3 / 1.314, true},
    {"lstm 40 x 6 f32", "cuDNN SMALL_H", 2.0 / 3.047, true},
    {"lstm 72 x 6 f32", "cuDNN SMALL_H", 2.4 / 2.721, true},
    {"lstm 64 x 5 f32", "cuDNN SMALL_H", 13.5 / 4 / 5.654, true},
    {"lstm 128 x 16 f32", "cuDNN SMALL_H", 10.2 / 3.854, true},
    {"lstm 160 x 1 f32", "cuDNN SMALL_H", 127.8 / 4 / 5.826, true},
    {"lstm 160 x 44 f32", "cuDNN STANDARD", 13.0 / 1.125, true},
    {"lstm 152 x 45 f32", "cuDNN STANDARD", 90.2 / 4 / 1.981, true},
    {"lstm 168 x 62 f32", "cuDNN STANDARD", 29.9 / 2.058, true},
};

static int64_t dim(const GenProblem *p, const char *name) {
    int64_t value = 0;
    return gen_problem_get(p, name, &value) ? value : 0;
}

static bool is(const GenProblem *p, const char *reference) {
    return strcmp(gen_spec_reference(p->spec), reference) == 0;
}

static RnnStep step_of(const GenProblem *p) {
    return (RnnStep){.gru = strcmp(gen_problem_word(p, "cell"), "gru") == 0,
                     .f32 = strcmp(gen_problem_word(p, "dtype"), "f32") == 0,
                     .hidden = dim(p, "hidden"),
                     .batch = dim(p, "batch")};
}

static int tier_of(const char *config) {
    const char *const at = strstr(config, "tier=");
    return at ? atoi(at + 5) : 0;
}

/* What no configuration serves is said in its row. */
static Status unserved(const char *label, Status st, Error *err) {
    if (st != ST_UNSUPPORTED) return st;
    printf("%s not served: %.160s\n", label, err->message);
    *err = (Error){0};
    return ST_OK;
}

/* --- the workload's rows --- */

/* Seconds of W x per step: the item of the same label; 0: there is none. */
static Status input_time(const RnnBench *b, const char *label, double *out, Error *err) {
    char name[96];
    LayerTime t;
    snprintf(name, sizeof name, "%s, W x", label);
    *out = 0;
    for (size_t i = 0; i < b->workload.count; i++) {
        const GenWorkItem *const item = &b->workload.items[i];
        if (strcmp(item->label, name) != 0) continue;
        Status st = layer_time(b->ctx, &item->problem, NULL, &t, err);
        if (st == ST_OK) *out = t.seconds / (double)dim(&item->problem, "steps");
        return st;
    }
    return ST_OK;
}

static void print_published(const char *label, double step, double input) {
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        if (strcmp(published[i].label, label) != 0) continue;
        const double ours = 1e6 * (step + (published[i].with_input ? input : 0));
        printf("    %.2f us measured by others (%s, %s W x): ours, modelled, %.2fx of it\n",
               published[i].us, published[i].what, published[i].with_input ? "with" : "without",
               ours / published[i].us);
    }
}

static Status sequence_row(const RnnBench *b, const GenWorkItem *item, Error *err) {
    LayerTime t;
    const RnnStep step = step_of(&item->problem);
    Status st = layer_time(b->ctx, &item->problem, NULL, &t, err);
    if (st != ST_OK) return unserved(item->label, st, err);
    double input = 0;
    st = input_time(b, item->label, &input, err);
    if (st != ST_OK) return unserved(item->label, st, err);
    const int tier = tier_of(t.config);
    const double floor_s = tier > 0 ? rnn_floor(b->model, &step, tier) : NAN;
    printf("%-26s %8.3f us  %4d  %8.3f us  %5.1f %%", item->label, 1e6 * t.step, tier,
           1e6 * floor_s, 100 * floor_s / t.step);
    if (input > 0) printf("  %8.3f us", 1e6 * (t.step + input));
    printf("\n    %s: %s\n", t.by, t.config);
    print_published(item->label, t.step, input);
    fflush(stdout);
    return ST_OK;
}

static Status sequence_rows(const RnnBench *b, Error *err) {
    Status st = ST_OK;
    printf("\nrnn_seq, one step of a sequence, W x given; the tier's floor; with W x\n%-26s %11s  "
           "%4s  "
           "%11s  %7s  %11s\n",
           "problem", "step", "tier", "floor", "floor/t", "with W x");
    for (size_t i = 0; i < b->workload.count && st == ST_OK; i++)
        if (is(&b->workload.items[i].problem, "rnn_seq"))
            st = sequence_row(b, &b->workload.items[i], err);
    return st;
}

/* rnn_input and rnn_cell: one launch. */
static Status launch_rows(const RnnBench *b, Error *err) {
    printf("\nrnn_input and rnn_cell, one launch\n");
    for (size_t i = 0; i < b->workload.count; i++) {
        const GenWorkItem *const item = &b->workload.items[i];
        LayerTime t;
        double flops = 0, bytes = 0;
        if (is(&item->problem, "rnn_seq")) continue;
        Status st = gen_problem_flops(&item->problem, &flops, &bytes, err);
        if (st == ST_OK) st = layer_time(b->ctx, &item->problem, NULL, &t, err);
        if (st == ST_UNSUPPORTED) {
            unserved(item->label, st, err);
            continue;
        }
        if (st != ST_OK) return st;
        printf("%-30s %9.2f us  %7.1f TFLOP/s  %7.1f GB/s  %s: %s\n", item->label, 1e6 * t.seconds,
               1e-12 * flops / t.seconds, 1e-9 * bytes / t.seconds, t.by, t.config);
        fflush(stdout);
    }
    return ST_OK;
}

/* --- tiers side by side --- */

/* What is tried first in one tier: its first legal seed, else the configuration of best score. */
typedef struct Best {
    const GenSpec *spec;
    int64_t tier;
    bool found;
    double score;
    GenConfig config;
} Best;

static bool see(void *context, const GenConfig *config, const GenResources *resources,
                const GenReject *why) {
    Best *const b = context;
    int64_t tier = 0;
    if (why->rejected || !gen_config_get(b->spec, config, "tier", &tier) || tier != b->tier)
        return true;
    if (b->found && resources->score <= b->score) return true;
    b->found = true;
    b->score = resources->score;
    b->config = *config;
    return true;
}

static Status first_of_tier(const RnnBench *b, const GenProblem *p, Best *best, Error *err) {
    static GenConfig seeds[MAX_SEEDS];
    size_t n = 0;
    Status st = gen_seeds(p, &b->ctx->device.gpu, seeds, MAX_SEEDS, &n, err);
    for (size_t i = 0; i < n && st == ST_OK && !best->found; i++) {
        int64_t tier = 0;
        best->found = gen_config_get(p->spec, &seeds[i], "tier", &tier) && tier == best->tier;
        best->config = seeds[i];
    }
    if (st != ST_OK || best->found) return st;
    return gen_enumerate(p, &b->ctx->device.gpu, see, best, err);
}

static Status tier_cell(const RnnBench *b, const GenProblem *p, int tier, double *step,
                        Error *err) {
    LayerTime t;
    Best best = {.spec = p->spec, .tier = tier};
    Status st = first_of_tier(b, p, &best, err);
    *step = NAN;
    if (st != ST_OK || !best.found) return st;
    st = layer_time(b->ctx, p, &best.config, &t, err);
    if (st == ST_OK) *step = t.step;
    return st;
}

static Status crossover_row(const RnnBench *b, int64_t hidden, int64_t batch, Error *err) {
    char text[128];
    GenProblem p;
    double step[TIERS];
    int fastest = 0;
    snprintf(text, sizeof text, "cell=lstm dtype=f16 hidden=%lld batch=%lld steps=1024",
             (long long)hidden, (long long)batch);
    Status st = layer_problem(b->ctx, "rnn_seq", text, &p, err);
    for (int t = 0; t < TIERS && st == ST_OK; t++) {
        st = tier_cell(b, &p, t + 1, &step[t], err);
        if (!isnan(step[t]) && (isnan(step[fastest]) || step[t] < step[fastest])) fastest = t;
    }
    if (st != ST_OK) return st;
    const RnnStep s = step_of(&p);
    printf("%6lld %6lld", (long long)hidden, (long long)batch);
    for (int t = 0; t < TIERS; t++)
        if (isnan(step[t]))
            printf("  %11s", "-");
        else
            printf("  %8.3f us", 1e6 * step[t]);
    if (isnan(step[fastest]))
        puts("     none");
    else
        printf("  %7d  %8.3f us\n", fastest + 1, 1e6 * rnn_floor(b->model, &s, fastest + 1));
    fflush(stdout);
    return ST_OK;
}

static Status crossover(const RnnBench *b, Error *err) {
    static const int64_t hidden[] = {64, 128, 192, 256, 384, 512, 768, 1024, 2048};
    static const int64_t batch[] = {1, 8, 16, 64};
    Status st = ST_OK;
    printf("\ntiers side by side, LSTM f16, one step; each tier's first seed; -: the tier cannot"
           "\n%6s %6s  %11s  %11s  %11s  %7s  %11s\n",
           "hidden", "batch", "1 block", "2 grid", "3 stream", "fastest", "its floor");
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0] && st == ST_OK; i++)
        for (size_t j = 0; j < sizeof batch / sizeof batch[0] && st == ST_OK; j++)
            st = crossover_row(b, hidden[i], batch[j], err);
    return st;
}

/* --- against attention --- */

static Status against_row(const RnnBench *b, int64_t hidden, int64_t batch, int64_t length,
                          Error *err) {
    char text[256];
    GenProblem seq, attention;
    LayerTime r, a;
    const int64_t dim = layer_head_dim(hidden);
    snprintf(text, sizeof text, "cell=lstm dtype=f16 hidden=%lld batch=%lld steps=%lld",
             (long long)hidden, (long long)batch, (long long)length);
    Status st = layer_problem(b->ctx, "rnn_seq", text, &seq, err);
    snprintf(text, sizeof text,
             "dtype=f16 head_dim=%lld mask=causal batch=%lld heads_q=%lld heads_kv=%lld "
             "len_q=%lld len_kv=%lld",
             (long long)dim, (long long)batch, (long long)(hidden / dim), (long long)(hidden / dim),
             (long long)length, (long long)length);
    if (st == ST_OK) st = layer_problem(b->ctx, "attn_prefill", text, &attention, err);
    if (st == ST_OK) st = layer_time(b->ctx, &seq, NULL, &r, err);
    if (st == ST_OK) st = layer_time(b->ctx, &attention, NULL, &a, err);
    if (st != ST_OK) return unserved("", st, err);
    printf("%6lld %6lld %7lld  %10.1f us  %10.1f us  %7.1fx  tier %d, %.3f us a step\n",
           (long long)hidden, (long long)batch, (long long)length, 1e6 * r.seconds, 1e6 * a.seconds,
           r.seconds / a.seconds, tier_of(r.config), 1e6 * r.step);
    fflush(stdout);
    return ST_OK;
}

static Status against_attention(const RnnBench *b, Error *err) {
    static const int64_t lengths[] = {128, 512, 1024, 2048, 4096, 8192, 16384};
    Status st = ST_OK;
    printf("\nrecurrence against causal attention of equal length and width, f16, projections "
           "apart: O(L) steps in sequence against one\n%6s %6s %7s  %13s  %13s  %8s\n",
           "hidden", "batch", "length", "LSTM steps", "attention", "ratio");
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && st == ST_OK; i++)
        st = against_row(b, 768, 16, lengths[i], err);
    return st;
}

static Status bench(RnnBench *b, const char *database, Error *err) {
    char driver[64];
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    snprintf(driver, sizeof driver, "soft:%s", b->gpu);
    options.driver = driver;
    options.database = database;
    Status st = context_open(&options, &b->ctx, err);
    if (st == ST_OK) st = gen_workload_load(b->ctx->library, "rnn", b->arena, &b->workload, err);
    if (st != ST_OK) return st;
    printf("%s, modelled, %s\n", b->workload.title, b->model->full_name);
    st = sequence_rows(b, err);
    if (st == ST_OK) st = launch_rows(b, err);
    if (st == ST_OK) st = crossover(b, err);
    if (st == ST_OK) st = rnn_layers(b->ctx, err);
    return st == ST_OK ? against_attention(b, err) : st;
}

/* bench_rnn GPU [DATABASE] */
int main(int argc, char **argv) {
    Error err = {0};
    if (argc < 2 || argc > 3 || !gpu_model_find(argv[1])) {
        fprintf(stderr, "usage: bench_rnn GPU [DATABASE]\n");
        return 2;
    }
    RnnBench b = {.gpu = argv[1], .model = gpu_model_find(argv[1]), .arena = arena_new()};
    Status st = b.arena ? bench(&b, argc > 2 ? argv[2] : "", &err) : err_no_memory(&err, 1);
    if (st != ST_OK) fprintf(stderr, "bench_rnn: %s\n", err.message);
    seqtune_close(b.ctx);
    arena_free(b.arena);
    return st != ST_OK;
}
