/* kv-plan: what the KV cache of a model costs, and what changes it. */
#include <stdio.h>
#include <string.h>

#include "tuner/amounts.h"
#include "tuner/command.h"
#include "tuner/json.h"
#include "tuner/kv_plan.h"
#include "tuner/target.h"

typedef struct Ask {
    const KvModel *model;
    const char *dtype;
    int64_t element_bytes, context, page_size, batch;
    GpuInfo gpu;
    const char *notice;
} Ask;

static const int64_t most_tokens = INT64_C(1) << 30;
static const int64_t page_sizes[] = {1, 16, 32, 64, 128, 256};
enum { PAGE_SIZES = sizeof page_sizes / sizeof page_sizes[0] };

/* ---- reading ---- */

static Status read_dtype(const char *text, Ask *ask, Error *err) {
    static const struct {
        const char *name;
        int64_t bytes;
    } rows[] = {{"f16", 2}, {"bf16", 2}, {"fp8", 1}, {"int8", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, text) != 0) continue;
        ask->dtype = rows[i].name;
        ask->element_bytes = rows[i].bytes;
        return ST_OK;
    }
    return err_set(err, ST_INVALID, "--dtype %s: must be f16, bf16, fp8 or int8", text);
}

static Status read_ask(App *app, Ask *ask, Error *err) {
    const Options *o = app->options;
    if (o->model == NULL)
        return err_set(err, ST_INVALID, "kv-plan needs --model NAME, as in --model llama-2-7b");
    ask->model = kv_model_find(o->model, err);
    if (ask->model == NULL) return ST_INVALID;
    Status st = amount_tokens("--context", o->context ? o->context : "4096", 1024, most_tokens,
                              &ask->context, err);
    if (st == ST_OK) st = read_dtype(o->dtype ? o->dtype : "f16", ask, err);
    ask->page_size = o->page_size ? o->page_size : 16;
    ask->batch = o->batch ? o->batch : 1;
    return st == ST_OK ? target_info(o->gpu, app->arena, &ask->gpu, &ask->notice, err) : st;
}

/* ---- text ---- */

static void put_bytes(Str *out, double bytes) {
    char text[AMOUNT_TEXT];
    str_puts(out, amount_bytes(bytes, text));
}

static void put_pages(const Ask *a, const KvShape *shape, Str *out) {
    char last[AMOUNT_TEXT], mean[AMOUNT_TEXT], table[AMOUNT_TEXT];
    str_puts(out, "\npage size  pages per sequence         left empty  mean over lengths  table\n");
    for (int i = 0; i < PAGE_SIZES; i++) {
        const KvPages p = kv_pages(shape, a->context, page_sizes[i]);
        str_printf(out, "%9lld  %18lld  %17s  %17s  %s\n", (long long)p.page_size,
                   (long long)p.pages, amount_bytes((double)p.wasted, last),
                   amount_bytes(p.mean_wasted, mean), amount_bytes((double)p.table_bytes, table));
    }
}

static void put_variant(const Ask *a, const KvShape *shape, const char *what, Str *out) {
    const KvPages p = kv_pages(shape, a->context, a->page_size);
    const KvFit fit = kv_fit(a->model, shape, a->context, a->page_size, a->gpu.dram_bytes);
    char token[AMOUNT_TEXT], sequence[AMOUNT_TEXT];
    str_printf(out, "  %-34s %10s per token, %10s per sequence, %lld fit\n", what,
               amount_bytes((double)kv_token_bytes(shape), token),
               amount_bytes((double)(p.pages * p.page_bytes), sequence), (long long)fit.sequences);
}

/* The same model with one thing changed. */
static void put_variants(const Ask *a, const KvShape *shape, Str *out) {
    KvShape other = *shape;
    char text[96];
    str_puts(out, "\nwhat changes it\n");
    snprintf(text, sizeof text, "as asked (%s, %lld K/V heads)", a->dtype,
             (long long)shape->heads_kv);
    put_variant(a, shape, text, out);
    other.element_bytes = 3 - shape->element_bytes;
    put_variant(a, &other, other.element_bytes == 1 ? "8-bit K/V" : "16-bit K/V", out);
    other = *shape;
    other.heads_kv = a->model->heads_q;
    snprintf(text, sizeof text, "no sharing (MHA, %lld K/V heads)", (long long)other.heads_kv);
    if (other.heads_kv != shape->heads_kv) put_variant(a, &other, text, out);
    other.heads_kv = a->model->heads_q % 8 == 0 ? a->model->heads_q / 8 : 1;
    snprintf(text, sizeof text, "groups of %lld (GQA, %lld K/V heads)",
             (long long)(a->model->heads_q / other.heads_kv), (long long)other.heads_kv);
    if (other.heads_kv != shape->heads_kv) put_variant(a, &other, text, out);
    other = *shape;
    other.window = shape->window > 0 ? 0 : 4096;
    put_variant(a, &other, other.window > 0 ? "a window of 4096 keys" : "no window", out);
}

static void plan_text(const Ask *a, Str *out) {
    const KvShape shape = kv_shape(a->model, a->element_bytes);
    const KvPages p = kv_pages(&shape, a->context, a->page_size);
    const KvFit fit = kv_fit(a->model, &shape, a->context, a->page_size, a->gpu.dram_bytes);
    if (a->notice) str_printf(out, "%s\n", a->notice);
    str_printf(out, "%s: %lld layers, %lld query heads, %lld K/V heads, head_dim %lld",
               a->model->name, (long long)a->model->layers, (long long)a->model->heads_q,
               (long long)a->model->heads_kv, (long long)a->model->head_dim);
    if (shape.window > 0) str_printf(out, ", window %lld", (long long)shape.window);
    str_printf(out, " (%s)\n%s K/V: ", a->model->source, a->dtype);
    put_bytes(out, (double)kv_token_bytes(&shape));
    str_printf(out, " per token; %lld tokens: ", (long long)a->context);
    put_bytes(out, (double)(kv_tokens_kept(&shape, a->context) * kv_token_bytes(&shape)));
    str_printf(out, " per sequence; batch %lld in pages of %lld: ", (long long)a->batch,
               (long long)a->page_size);
    put_bytes(out, (double)(a->batch * p.pages) * (double)p.page_bytes);
    str_printf(out, "\n%s: ", a->gpu.name);
    put_bytes(out, (double)a->gpu.dram_bytes);
    str_puts(out, ", 16-bit weights ");
    put_bytes(out, (double)fit.weights);
    if (fit.free <= 0) {
        str_puts(out, ": the weights alone do not fit 90 % of it\n");
    } else {
        str_puts(out, ", left of 90 % for the cache ");
        put_bytes(out, (double)fit.free);
        str_printf(out, ": %lld sequences of %lld tokens, or one of ", (long long)fit.sequences,
                   (long long)a->context);
        if (fit.longest < 0)
            str_puts(out, "any length\n");
        else
            str_printf(out, "%lld\n", (long long)fit.longest);
    }
    put_pages(a, &shape, out);
    put_variants(a, &shape, out);
}

/* ---- JSON ---- */

static void plan_json(const Ask *a, Json *j) {
    const KvShape shape = kv_shape(a->model, a->element_bytes);
    const KvPages own = kv_pages(&shape, a->context, a->page_size);
    const KvFit fit = kv_fit(a->model, &shape, a->context, a->page_size, a->gpu.dram_bytes);
    json_open(j, NULL, '{');
    json_text(j, "model", a->model->name);
    json_text(j, "dtype", a->dtype);
    json_text(j, "gpu", a->gpu.name);
    json_int(j, "context", a->context);
    json_int(j, "batch", a->batch);
    json_int(j, "page_size", a->page_size);
    json_int(j, "bytes_per_token", kv_token_bytes(&shape));
    json_int(j, "bytes_per_sequence", kv_tokens_kept(&shape, a->context) * kv_token_bytes(&shape));
    json_int(j, "bytes_in_pages", a->batch * own.pages * own.page_bytes);
    json_int(j, "weight_bytes", fit.weights);
    json_int(j, "free_bytes", fit.free);
    json_int(j, "sequences_that_fit", fit.sequences);
    if (fit.longest < 0)
        json_text(j, "longest_sequence", NULL); /* any */
    else
        json_int(j, "longest_sequence", fit.longest);
    json_open(j, "pages", '[');
    for (int i = 0; i < PAGE_SIZES; i++) {
        const KvPages p = kv_pages(&shape, a->context, page_sizes[i]);
        json_open(j, NULL, '{');
        json_int(j, "page_size", p.page_size);
        json_int(j, "pages", p.pages);
        json_int(j, "empty_bytes", p.wasted);
        json_int(j, "mean_empty_bytes", (int64_t)p.mean_wasted);
        json_int(j, "table_bytes", p.table_bytes);
        json_close(j);
    }
    json_close(j);
    json_close(j);
}

ExitCode command_kv_plan(App *app) {
    Ask ask = {0};
    Error err = {0};
    if (read_ask(app, &ask, &err) != ST_OK) return fail_status(&err);
    if (app->options->json) {
        Json j = {0};
        plan_json(&ask, &j);
        const ExitCode code = print_text(&j.text);
        str_free(&j.text);
        return code;
    }
    Str text = {0};
    plan_text(&ask, &text);
    const ExitCode code = print_text(&text);
    str_free(&text);
    return code;
}
