/* The clock on FlashAttention-2's own kernels: their results against attention in double, the order
 * of the tiles that its authors compared in their comments, and the published times.
 *
 * Needs PTX that is built elsewhere (fa2_variant.h); skips without. Prints every row, misses
 * included. Published times: H100 from FlashAttention-3's plot flash3_fp16_fwd, the others from
 * SageAttention's plots. Of each series the first, third and fifth length are fitted: the median of
 * published / modelled time with factor 1 is the GPU's factor in base/gpus.def; the others are held
 * out and make the errors (docs/softgpu.md "Calibration"). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/softgpu/fa2_variant.h"

/* Orders ------------------------------------------------------------------------- */

typedef struct Order {
    const char *gpu;
    Variant faster, slower;
    double ratio; /* published, 0: only the order */
    bool open;    /* known to be missed: told, not asserted */
} Order;

#define TILE(d, m, n, w)                                                                           \
    { d, m, n, w, false, false }
#define TILE_Q(d, m, n, w)                                                                         \
    { d, m, n, w, false, true }

static const Order orders[] = {
#define ORDER(gpu, faster, slower, ratio, open) {gpu, faster, slower, ratio, open},
#include "tests/softgpu/fa2_orders.def"
#undef ORDER
};
enum { ORDERS = sizeof orders / sizeof *orders };

/* One run of the issue model is off by 5 %: a gap below is a tie, by the strict rule. By the
 * lenient one a tie is what lies within 1 %. */
typedef struct Score {
    double tie;
    int right, tied, wrong; /* wrong: `open` ones left out */
} Score;

static const char *score(Score *s, double ratio, bool open) {
    const bool tie = ratio < s->tie && ratio > 1 / s->tie;
    if (tie)
        s->tied++;
    else if (ratio > 1)
        s->right++;
    else if (!open)
        s->wrong++;
    return tie ? "tie" : ratio > 1 ? "right" : "WRONG";
}

/* The comments are about 2k; 16384 tokens, 2048 columns over all heads, as the authors measure. */
static Shape shape_of(const Variant *v, int length) {
    return (Shape){.batch = 16384 / length, .heads = 2048 / v->head_dim, .length = length};
}

static double tflops(const Variant *v, const Shape *s, double seconds) {
    return variant_flop(v, s) / seconds * 1e-12;
}

static Outcome show(const Variant *v, const char *gpu, const Shape *s) {
    char name[64];
    const Outcome o = variant_time(v, gpu, s);
    print_message(
        "%-8s %-22s %4d %5d %2d  %5.0f %5.0f %5.0f (%.0f-%.0f) %-7s %5.1f waves %3.0f ms\n", gpu,
        variant_name(v, name, sizeof name), o.ptxas.registers,
        o.ptxas.spill_stores + o.ptxas.spill_loads, o.blocks, tflops(v, s, o.time.at_least),
        tflops(v, s, o.time.estimate), tflops(v, s, o.time.mean), tflops(v, s, o.time.high),
        tflops(v, s, o.time.low), o.time.bound, o.time.waves, o.cpu_ms);
    return o;
}

static void tiles_rank_as_their_authors_found(void **state) {
    (void)state;
    if (variant_folder() == NULL) skip();
    Score strict = {.tie = 1.05}, lenient = {.tie = 1.01};
    char faster[64], slower[64];
    double worst_ms = 0;
    print_message("gpu      tile                   regs spill blocks bound estimate mean\n");
    for (int i = 0; i < ORDERS; i++) {
        const Order *o = &orders[i];
        if (!variant_exists(&o->faster) || !variant_exists(&o->slower)) continue;
        const Shape a = shape_of(&o->faster, 2048);
        const Outcome fast = show(&o->faster, o->gpu, &a), slow = show(&o->slower, o->gpu, &a);
        const double ratio = slow.time.mean / fast.time.mean;
        worst_ms = fmax(worst_ms, fmax(fast.cpu_ms, slow.cpu_ms));
        const char *verdict = score(&strict, ratio, o->open);
        print_message("  %s > %s: mean %.3f, bound %.2f, estimate %.2f, published %.2f: %s, %s\n",
                      variant_name(&o->faster, faster, sizeof faster),
                      variant_name(&o->slower, slower, sizeof slower), ratio,
                      slow.time.at_least / fast.time.at_least,
                      slow.time.estimate / fast.time.estimate, o->ratio, verdict,
                      score(&lenient, ratio, o->open));
    }
    print_message(
        "a tie within 5 %%: %d right, %d ties, %d wrong beside H100 d256; within 1 %%: %d, "
        "%d, %d; %.0f ms of host time at most\n",
        strict.right, strict.tied, strict.wrong, lenient.right, lenient.tied, lenient.wrong,
        worst_ms);
    assert_int_equal(strict.wrong, 0);
    assert_int_equal(lenient.wrong, 0);
    if (lenient.right + lenient.tied + lenient.wrong >= ORDERS - 1)
        assert_true(lenient.right >= 12);
}

/* Published times ------------------------------------------------------------------ */

enum { LENGTHS = 6 };

typedef struct Series {
    const char *gpu;
    Variant variant;
    int first;                 /* length; each further one is twice as long */
    int batch;                 /* 0: 16384 tokens, 2048 columns over all heads; else 32 heads */
    double published[LENGTHS]; /* TFLOP/s */
} Series;

#define FULL(d, m, n, w)                                                                           \
    { d, m, n, w, false, false }
#define CAUSAL(d, m, n, w)                                                                         \
    { d, m, n, w, true, false }

static const Series series[] = {
    {"h100", FULL(64, 128, 128, 4), 512, 0, {282, 306, 318, 321, 322, 324}},
    {"h100", CAUSAL(64, 128, 128, 4), 512, 0, {180, 229, 262, 284, 295, 299}},
    {"h100", FULL(128, 128, 64, 4), 512, 0, {309, 350, 362, 368, 370, 370}},
    {"h100", CAUSAL(128, 128, 64, 4), 512, 0, {191, 260, 298, 319, 333, 335}},
    {"h100", FULL(256, 64, 64, 4), 512, 0, {275, 313, 321, 323, 324, 326}},
    {"h100", CAUSAL(256, 64, 64, 4), 512, 0, {208, 251, 278, 293, 297, 298}},
    {"a100", FULL(128, 128, 64, 4), 1024, 4, {160, 176, 203, 204, 204, 204}},
    {"a100", CAUSAL(128, 128, 64, 4), 1024, 4, {142, 170, 181, 186, 193, 193}},
    {"rtx4090", FULL(64, 128, 128, 4), 1024, 4, {143, 153, 161, 167, 167, 167}},
    {"rtx4090", CAUSAL(64, 128, 128, 4), 1024, 4, {94, 124, 150, 159, 162, 164}},
    {"rtx4090", FULL(128, 128, 32, 4), 1024, 4, {145, 151, 161, 164, 164, 164}},
    {"rtx4090", CAUSAL(128, 64, 64, 4), 1024, 4, {118, 138, 155, 160, 161, 161}},
    {"rtx3090", FULL(64, 128, 128, 4), 1024, 4, {62, 67, 69, 69, 68, 66}},
    {"rtx3090", CAUSAL(64, 128, 128, 4), 1024, 4, {49, 58, 62, 62, 63, 64}},
    {"rtx3090", FULL(128, 128, 32, 4), 1024, 4, {62, 70, 71, 71, 70, 68}},
    {"rtx3090", CAUSAL(128, 64, 64, 4), 1024, 4, {56, 60, 62, 63, 62, 60}},
};
enum { SERIES = sizeof series / sizeof *series, ROWS = SERIES * LENGTHS };

typedef struct Rows {
    double published[ROWS], modelled[ROWS]; /* seconds */
    int count;
} Rows;

static void rows_add(Rows *rows, double published, double modelled) {
    rows->published[rows->count] = published;
    rows->modelled[rows->count++] = modelled;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int count) {
    double sorted[ROWS];
    if (count == 0) return NAN;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static void ranks(const double *values, int count, double *out) {
    for (int i = 0; i < count; i++) {
        out[i] = 0; /* mean rank of equals */
        for (int k = 0; k < count; k++)
            out[i] += values[k] < values[i] ? 1 : values[k] == values[i] ? 0.5 : 0;
    }
}

static double spearman(const Rows *r, const double *modelled, const double *published) {
    double a[ROWS], b[ROWS], mean = r->count / 2.0, ab = 0, aa = 0, bb = 0;
    ranks(published, r->count, a);
    ranks(modelled, r->count, b);
    for (int i = 0; i < r->count; i++) {
        ab += (a[i] - mean) * (b[i] - mean);
        aa += (a[i] - mean) * (a[i] - mean);
        bb += (b[i] - mean) * (b[i] - mean);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

static void time_series(const Series *s, Rows *fitted, Rows *held) {
    char name[64];
    const GpuModel *model = gpu_model_find(s->gpu);
    print_message("%-8s %-22s", s->gpu, variant_name(&s->variant, name, sizeof name));
    for (int i = 0; i < LENGTHS; i++) {
        const int length = s->first << i;
        const Shape shape =
            s->batch == 0 ? shape_of(&s->variant, length) : (Shape){s->batch, 32, length};
        const double modelled = variant_time(&s->variant, s->gpu, &shape).time.seconds;
        const double published = variant_flop(&s->variant, &shape) / (s->published[i] * 1e12);
        print_message(" %3.0f%c%3.0f (%+3.0f%%)", s->published[i], i % 2 == 0 ? '~' : '|',
                      tflops(&s->variant, &shape, modelled), 100 * (modelled / published - 1));
        rows_add(i % 2 == 0 ? fitted : held, published, modelled / model->factor);
    }
    print_message("\n");
}

static void gpu_times(const char *gpu, Rows *all) {
    Rows fitted = {.count = 0}, held = {.count = 0};
    double ratios[ROWS], errors[ROWS], speed_a[ROWS], speed_b[ROWS];
    const double factor = gpu_model_find(gpu)->factor;
    for (int i = 0; i < SERIES; i++)
        if (strcmp(series[i].gpu, gpu) == 0 && variant_exists(&series[i].variant))
            time_series(&series[i], &fitted, &held);
    for (int i = 0; i < fitted.count; i++) ratios[i] = fitted.published[i] / fitted.modelled[i];
    for (int i = 0; i < held.count; i++) {
        errors[i] = fabs(held.modelled[i] * factor / held.published[i] - 1);
        speed_a[i] = held.published[i];
        speed_b[i] = held.modelled[i];
        rows_add(all, held.published[i], held.modelled[i] * factor);
    }
    double most = 0;
    for (int i = 0; i < held.count; i++) most = fmax(most, errors[i]);
    print_message("%s: fit of %d rows %.3f, in the table %.3f; %d held out: median error %.1f %%, "
                  "maximum %.1f %%, Spearman of times %.3f\n",
                  gpu, fitted.count, median(ratios, fitted.count), factor, held.count,
                  100 * median(errors, held.count), 100 * most, spearman(&held, speed_b, speed_a));
}

static void times_are_those_published_after_one_factor_per_gpu(void **state) {
    (void)state;
    if (variant_folder() == NULL) skip();
    static const char *const gpus[] = {"h100", "a100", "rtx4090", "rtx3090"};
    Rows all = {.count = 0};
    double errors[ROWS], most = 0;
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) gpu_times(gpus[i], &all);
    for (int i = 0; i < all.count; i++) {
        errors[i] = fabs(all.modelled[i] / all.published[i] - 1);
        most = fmax(most, errors[i]);
    }
    print_message("all %d rows held out: median error %.1f %%, maximum %.1f %%\n", all.count,
                  100 * median(errors, all.count), 100 * most);
    if (all.count < ROWS / 2) return; /* not all variants are there */
    assert_true(median(errors, all.count) <= 0.06);
    assert_true(most <= 0.20);
}

/* Results -------------------------------------------------------------------------- */

static void fa2_computes_attention_on_the_software_gpu(void **state) {
    (void)state;
    if (variant_folder() == NULL) skip();
    static const Variant variants[] = {
        {64, 128, 128, 4, false, false}, {64, 128, 128, 8, false, false},
        {64, 128, 128, 4, true, false},  {96, 64, 128, 4, false, true},
        {128, 128, 64, 4, false, false}, {128, 64, 64, 4, true, false},
        {256, 128, 64, 8, false, false}, {256, 64, 64, 4, true, false},
    };
    const Shape shape = {1, 2, 256};
    char name[64];
    setenv("SOFTGPU_CHECKS", "all", 1); /* they must find nothing */
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        if (!variant_exists(&variants[i])) continue;
        const double error = variant_error(&variants[i], "a100", &shape);
        print_message("%-22s largest error %.2g\n", variant_name(&variants[i], name, sizeof name),
                      error);
        /* Values are below 1: P and O are rounded to f16, 2^-11 each. */
        assert_true(error < 1e-3);
    }
    unsetenv("SOFTGPU_CHECKS");
}

int main(void) {
    if (variant_folder() == NULL)
        print_message("SEQTUNE_FA2_PTX is not set: no PTX of FlashAttention-2 to run; skipped\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fa2_computes_attention_on_the_software_gpu),
        cmocka_unit_test(tiles_rank_as_their_authors_found),
        cmocka_unit_test(times_are_those_published_after_one_factor_per_gpu),
    };
    return cmocka_run_group_tests_name("softgpu clock fa2", tests, NULL, NULL);
}
