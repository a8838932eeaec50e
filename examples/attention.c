/* Causal grouped-query attention with libseqtune: open, plan, run, and compare with fp64.
 *
 *   cc attention.c $(pkg-config --cflags --libs seqtune) -lm -o attention && ./attention
 *
 * Options: --len N, --heads-q N, --heads-kv N, --head-dim N, --f16, --driver NAME (soft:t4, ...).
 * The default shape is a prompt of 512 tokens in Llama-3-8B.
 * Exit status 0 when the result is within the tolerance, 1 when not, 2 when something failed. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <seqtune.h>

typedef struct Shape {
    int len, heads_q, heads_kv, head_dim;
    seqtune_dtype dtype;
} Shape;

/* ---- 16-bit floats ---- */

/* Round to nearest, ties to even; the values here are far from the range's ends. */
static uint16_t to_half(float x) {
    union {
        float f;
        uint32_t u;
    } in = {x};
    uint32_t sign = in.u >> 16 & 0x8000, magnitude = in.u & 0x7fffffff;
    if (magnitude < 0x38800000) /* below 2^-14: subnormal halves are multiples of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(fabsf(x) * 16777216.0f));
    uint32_t shifted = magnitude - 0x38000000; /* exponent bias 127 to 15 */
    return (uint16_t)(sign | (shifted + 0xfff + (shifted >> 13 & 1)) >> 13);
}

static double from_half(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -x : x;
}

static uint16_t to_bfloat(float x) {
    union {
        float f;
        uint32_t u;
    } in = {x};
    return (uint16_t)((in.u + 0x7fff + (in.u >> 16 & 1)) >> 16);
}

static double from_bfloat(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } out = {(uint32_t)h << 16};
    return out.f;
}

static uint16_t pack(seqtune_dtype dtype, float x) {
    return dtype == SEQTUNE_BF16 ? to_bfloat(x) : to_half(x);
}

static double unpack(seqtune_dtype dtype, uint16_t h) {
    return dtype == SEQTUNE_BF16 ? from_bfloat(h) : from_half(h);
}

/* ---- data and reference ---- */

/* `count` values in [-1, 1) from a fixed sequence: the same on every machine. */
static uint16_t *make_input(seqtune_dtype dtype, size_t count, uint32_t seed) {
    uint16_t *out = malloc(count * sizeof *out);
    if (out == NULL) return NULL;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = pack(dtype, (float)(seed >> 8) / 8388608.0f - 1.0f);
    }
    return out;
}

/* One row of O = softmax(Q K^T / sqrt(d)) V in double; query i sees keys 0..i. */
static void reference_row(const Shape *s, const uint16_t *q, const uint16_t *k, const uint16_t *v,
                          int row, int head, double *weight, double *out) {
    int kv_head = head / (s->heads_q / s->heads_kv), d = s->head_dim;
    const uint16_t *q_row = q + ((size_t)row * (size_t)s->heads_q + (size_t)head) * (size_t)d;
    double most = -INFINITY, sum = 0;
    for (int j = 0; j <= row; j++) {
        const uint16_t *k_row = k + ((size_t)j * (size_t)s->heads_kv + (size_t)kv_head) * (size_t)d;
        weight[j] = 0;
        for (int e = 0; e < d; e++)
            weight[j] += unpack(s->dtype, q_row[e]) * unpack(s->dtype, k_row[e]);
        weight[j] /= sqrt(d);
        if (weight[j] > most) most = weight[j];
    }
    memset(out, 0, (size_t)d * sizeof *out);
    for (int j = 0; j <= row; j++) {
        const uint16_t *v_row = v + ((size_t)j * (size_t)s->heads_kv + (size_t)kv_head) * (size_t)d;
        double w = exp(weight[j] - most);
        sum += w;
        for (int e = 0; e < d; e++) out[e] += w * unpack(s->dtype, v_row[e]);
    }
    for (int e = 0; e < d; e++) out[e] /= sum;
}

/* Largest absolute error over all elements; -1 without memory. */
static double largest_error(const Shape *s, const uint16_t *q, const uint16_t *k, const uint16_t *v,
                            const uint16_t *o) {
    double *weight = malloc((size_t)s->len * sizeof *weight);
    double *want = malloc((size_t)s->head_dim * sizeof *want), worst = -1;
    if (weight != NULL && want != NULL) {
        worst = 0;
        for (int row = 0; row < s->len; row++)
            for (int head = 0; head < s->heads_q; head++) {
                reference_row(s, q, k, v, row, head, weight, want);
                const uint16_t *got =
                    o + ((size_t)row * (size_t)s->heads_q + (size_t)head) * (size_t)s->head_dim;
                for (int e = 0; e < s->head_dim; e++) {
                    double error = fabs(unpack(s->dtype, got[e]) - want[e]);
                    if (!(error <= worst)) worst = error; /* a NaN counts */
                }
            }
    }
    free(weight);
    free(want);
    return worst;
}

/* ---- the library ---- */

static int fail(seqtune_context *ctx, const char *what) {
    fprintf(stderr, "%s: %s\n", what, seqtune_last_error(ctx));
    return -1;
}

static int upload(seqtune_context *ctx, const void *from, size_t bytes, seqtune_device_ptr *out) {
    if (seqtune_device_alloc(ctx, bytes, out) != SEQTUNE_OK) return fail(ctx, "device memory");
    if (seqtune_device_upload(ctx, *out, from, bytes) != SEQTUNE_OK) return fail(ctx, "upload");
    return 0;
}

/* Which kernel runs, who chose it, and on what evidence. */
static int print_plan(seqtune_context *ctx, const seqtune_plan *plan) {
    static const char *const rungs[] = {"a tuned row for this problem on this GPU",
                                        "the nearest tuned problem on this GPU",
                                        "the nearest GPU of this architecture",
                                        "the built-in default: nothing is tuned yet", "forced"};
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    if (seqtune_plan_get_info(plan, &info) != SEQTUNE_OK) return fail(ctx, "plan info");
    printf("problem   %s\n", info.problem);
    printf("kernel    %s (%s), %s\n", info.kernel, info.pipeline, info.config);
    printf("binary    %.16s, %d registers, %d bytes spilled, ", info.artifact, info.registers,
           info.spill_bytes);
    if (info.from_cache)
        printf("from the cache\n");
    else
        printf("compiled in %.2f s\n", info.compile_s);
    printf("chosen by %s\n", rungs[info.rung]);
    if (info.row != 0)
        printf(
            "          row %lld of %s\n          key %s\n          gpu %s\n          %.1f us%s\n",
            (long long)info.row, info.database, info.row_key, info.row_gpu, info.time_us,
            info.modelled ? " (modelled)" : "");
    return 0;
}

static int launch(seqtune_context *ctx, const seqtune_plan *plan, seqtune_attention_args *args) {
    seqtune_device_ptr workspace = 0;
    size_t bytes = seqtune_plan_workspace(plan);
    if (bytes > 0 && seqtune_device_alloc(ctx, bytes, &workspace) != SEQTUNE_OK)
        return fail(ctx, "workspace");
    int status = 0;
    if (seqtune_run_attention(plan, args, workspace, NULL) != SEQTUNE_OK) status = fail(ctx, "run");
    /* A fault of the kernel shows here. */
    if (status == 0 && seqtune_device_synchronize(ctx) != SEQTUNE_OK)
        status = fail(ctx, "synchronize");
    seqtune_device_free(ctx, workspace);
    return status;
}

/* Fills o; the inputs are packed [token, head, head_dim]. */
static int compute(seqtune_context *ctx, const Shape *s, const uint16_t *q, const uint16_t *k,
                   const uint16_t *v, uint16_t *o) {
    size_t q_bytes = (size_t)s->len * (size_t)s->heads_q * (size_t)s->head_dim * 2;
    size_t kv_bytes = q_bytes / (size_t)s->heads_q * (size_t)s->heads_kv;
    seqtune_attention_desc d = SEQTUNE_ATTENTION_DESC_INIT;
    d.dtype = s->dtype;
    d.heads_q = s->heads_q;
    d.heads_kv = s->heads_kv;
    d.head_dim = s->head_dim;
    d.max_len_q = s->len;
    d.mask = SEQTUNE_MASK_CAUSAL;
    seqtune_plan *plan = NULL;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    int status = -1;
    if (seqtune_plan_attention(ctx, &d, &plan) != SEQTUNE_OK) return fail(ctx, "plan");
    if (print_plan(ctx, plan) == 0 && upload(ctx, q, q_bytes, &a.q) == 0 &&
        upload(ctx, k, kv_bytes, &a.k) == 0 && upload(ctx, v, kv_bytes, &a.v) == 0 &&
        upload(ctx, o, q_bytes, &a.o) == 0)
        status = launch(ctx, plan, &a);
    if (status == 0 && seqtune_device_download(ctx, o, a.o, q_bytes) != SEQTUNE_OK)
        status = fail(ctx, "download");
    seqtune_device_free(ctx, a.q);
    seqtune_device_free(ctx, a.k);
    seqtune_device_free(ctx, a.v);
    seqtune_device_free(ctx, a.o);
    seqtune_plan_destroy(plan);
    return status;
}

static int run(seqtune_context *ctx, const Shape *s) {
    /* Outputs are averages of values in [-1, 1): P and O are rounded to 16 bits once each. */
    const double tolerance = s->dtype == SEQTUNE_BF16 ? 0.006 : 0.001;
    size_t q_count = (size_t)s->len * (size_t)s->heads_q * (size_t)s->head_dim;
    size_t kv_count = q_count / (size_t)s->heads_q * (size_t)s->heads_kv;
    uint16_t *q = make_input(s->dtype, q_count, 1), *k = make_input(s->dtype, kv_count, 2);
    uint16_t *v = make_input(s->dtype, kv_count, 3), *o = make_input(s->dtype, q_count, 4);
    int code = 2;
    if (q == NULL || k == NULL || v == NULL || o == NULL) {
        fprintf(stderr, "out of memory\n");
    } else if (compute(ctx, s, q, k, v, o) == 0) {
        double error = largest_error(s, q, k, v, o);
        code = error >= 0 && error <= tolerance ? 0 : 1;
        printf("error     %.2e at most against fp64 (tolerance %.0e): %s\n", error, tolerance,
               code == 0 ? "right" : "WRONG");
    }
    free(q);
    free(k);
    free(v);
    free(o);
    return code;
}

static int parse(int argc, char **argv, Shape *s, seqtune_options *options) {
    const struct {
        const char *name;
        int *to;
    } numbers[] = {{"--len", &s->len},
                   {"--heads-q", &s->heads_q},
                   {"--heads-kv", &s->heads_kv},
                   {"--head-dim", &s->head_dim}};
    for (int i = 1; i < argc; i++) {
        int known = 0;
        for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
            if (strcmp(argv[i], numbers[n].name) == 0 && i + 1 < argc) {
                *numbers[n].to = atoi(argv[++i]);
                known = *numbers[n].to > 0;
                break;
            }
        if (strcmp(argv[i], "--f16") == 0) {
            s->dtype = SEQTUNE_F16;
            known = 1;
        } else if (strcmp(argv[i], "--driver") == 0 && i + 1 < argc) {
            options->driver = argv[++i];
            known = 1;
        }
        if (!known) {
            fprintf(stderr, "attention: bad option or value: %s\n", argv[i]);
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    Shape shape = {512, 32, 8, 128, SEQTUNE_BF16};
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    seqtune_device_info device = SEQTUNE_DEVICE_INFO_INIT;
    if (parse(argc, argv, &shape, &options) != 0) return 2;
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) {
        fprintf(stderr, "%s\n", seqtune_open_error());
        return 2;
    }
    int code = 2;
    if (seqtune_get_device_info(ctx, &device) == SEQTUNE_OK) {
        printf("device    %s, %s, driver %s%s\n", device.name, device.arch, device.driver,
               device.modelled ? " (modelled: no real GPU)" : "");
        code = run(ctx, &shape);
    } else {
        fail(ctx, "device info");
    }
    seqtune_close(ctx);
    return code;
}
