/* Error of the flash kernel and of the textbook kernels against fp64, on the same inputs (normal
 * Q, K, V; causal; head_dim 128): they round at different places. Prints a table; judges nothing.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "generator/gen.h"
#include "runtime/context.h"
#include "runtime/plan.h"
#include "tuner/verify/random.h"
#include "tuner/verify/reference.h"

enum { HEADS = 4, TOKENS = 512, DIM = 128, ELEMENTS = TOKENS * HEADS * DIM };

typedef struct Tensors {
    double values[3][ELEMENTS]; /* Q, K, V */
    double reference[ELEMENTS];
    uint16_t codes[ELEMENTS];
    uint16_t out[2][ELEMENTS];
} Tensors;

static Status run(seqtune_context *ctx, const char *spec_name, Dtype type,
                  const seqtune_attention_args *args, uint16_t *out, Error *err) {
    GenProblem problem;
    PlanDesc desc;
    seqtune_plan *plan = NULL;
    char text[128];
    snprintf(text, sizeof text,
             "dtype=%s head_dim=%d mask=causal heads_q=%d heads_kv=%d len_q=%d len_kv=%d",
             dtype_name(type), DIM, HEADS, HEADS, TOKENS, TOKENS);
    gen_problem_init(gen_spec_find(ctx->library, spec_name), &problem);
    Status st = gen_problem_parse(&problem, text, err);
    if (!st) st = gen_problem_check(&problem, err);
    if (!st) st = plan_desc_of_problem(&problem, &desc, err);
    if (!st) st = plan_create(ctx, spec_name, &desc, NULL, &plan, err);
    if (st) return st;
    seqtune_device_ptr workspace = 0;
    const size_t bytes = seqtune_plan_workspace(plan);
    bool ok = !bytes || !seqtune_device_alloc(ctx, bytes, &workspace);
    ok = ok && !seqtune_run_attention(plan, args, workspace, NULL) &&
         !seqtune_device_synchronize(ctx) &&
         !seqtune_device_download(ctx, out, args->o, ELEMENTS * sizeof *out);
    if (workspace) seqtune_device_free(ctx, workspace);
    seqtune_plan_destroy(plan);
    return ok ? ST_OK : err_set(err, ST_DRIVER, "%s", seqtune_last_error(ctx));
}

static Status fill(seqtune_context *ctx, Tensors *t, Dtype type, seqtune_attention_args *args,
                   Error *err) {
    seqtune_device_ptr *const buffers[] = {&args->q, &args->k, &args->v, &args->o};
    Random random = {42};
    for (int i = 0; i < 4; i++) {
        for (int e = 0; e < ELEMENTS && i < 3; e++) {
            t->codes[e] = dtype_encode(type, random_normal(&random));
            t->values[i][e] = dtype_decode(type, t->codes[e]);
        }
        if (seqtune_device_alloc(ctx, sizeof t->codes, buffers[i]) ||
            seqtune_device_upload(ctx, *buffers[i], t->codes, sizeof t->codes))
            return err_set(err, ST_DRIVER, "%s", seqtune_last_error(ctx));
    }
    return ST_OK;
}

static void print_errors(const Tensors *t, Dtype type) {
    static const char *const names[] = {"flash (attn_prefill)", "textbook (attn_naive)"};
    int differ = 0;
    for (int e = 0; e < ELEMENTS; e++) differ += t->out[0][e] != t->out[1][e];
    for (int k = 0; k < 2; k++) {
        double top = 0, squares = 0;
        for (int e = 0; e < ELEMENTS; e++) {
            const double error = fabs(dtype_decode(type, t->out[k][e]) - t->reference[e]);
            top = fmax(top, error);
            squares += error * error;
        }
        printf("%-5s %-22s max %.2e  rms %.2e\n", dtype_name(type), names[k], top,
               sqrt(squares / ELEMENTS));
    }
    printf("%-5s elements in which the two differ: %.1f %%\n", dtype_name(type),
           100.0 * differ / ELEMENTS);
}

static Status bench(seqtune_context *ctx, Tensors *t, Dtype type, Error *err) {
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    Status st = fill(ctx, t, type, &args, err);
    const RefAttention reference = {.batch = 1,
                                    .heads_q = HEADS,
                                    .heads_kv = HEADS,
                                    .head_dim = DIM,
                                    .len_q = TOKENS,
                                    .len_kv = TOKENS,
                                    .window_left = -1,
                                    .window_right = 0,
                                    .scale = 1 / sqrt(DIM),
                                    .q = t->values[0],
                                    .k = t->values[1],
                                    .v = t->values[2]};
    if (!st) st = ref_attention(&reference, t->reference, NULL, err);
    if (!st) st = run(ctx, "attn_prefill", type, &args, t->out[0], err);
    if (!st) st = run(ctx, "attn_naive", type, &args, t->out[1], err);
    if (!st) print_errors(t, type);
    return st;
}

int main(void) {
    Error err = {0};
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    Tensors *t = malloc(sizeof *t);
    options.database = "";
    Status st = t ? context_open(&options, &ctx, &err) : err_no_memory(&err, sizeof *t);
    if (!st) {
        printf("error against fp64, %d x %d causal, head_dim %d, %d heads (%s)\n", TOKENS, TOKENS,
               DIM, HEADS, ctx->device.gpu.name);
        st = bench(ctx, t, DTYPE_F16, &err);
    }
    if (!st) st = bench(ctx, t, DTYPE_BF16, &err);
    if (st) fprintf(stderr, "bench_errors: %s\n", err.message);
    seqtune_close(ctx);
    free(t);
    return st != ST_OK;
}
