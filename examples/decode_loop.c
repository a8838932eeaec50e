/* The KV cache, by an example: a toy model with the attention of Llama-3-8B reads a prompt and
 * writes 32 tokens, once with a paged cache (append, then attention of one query) and once without
 * (everything again for every token), and prints what a token costs both ways.
 *
 *   cc decode_loop.c $(pkg-config --cflags --libs seqtune) -lm -ldl -o decode_loop && ./decode_loop
 *
 * Options: --prompt N (several times: several rows), --steps N, --layers N, --driver NAME.
 * The model: random embeddings, signed permutations for its projections, no MLP; the next token is
 * that of the largest output. Both runs read the tokens that the first one chose; exit status 0
 * when the last hidden state of every token agrees, 1 when not, 2 when something failed. */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <seqtune.h>

enum {
    HEADS_Q = 32,
    HEADS_KV = 8,
    HEAD_DIM = 128,
    HIDDEN = HEADS_Q * HEAD_DIM,
    KV_WIDTH = HEADS_KV * HEAD_DIM,
    VOCABULARY = 256,
    PAGE = 16, /* tokens */
    MAX_LAYERS = 4,
    MAX_PROMPTS = 8
};

typedef struct Options {
    int prompts[MAX_PROMPTS], prompt_count, steps, layers;
    const char *driver;
} Options;

/* ---- the model, on the host ---- */

/* splitmix64 (Steele, Lea, Flood 2014): the same numbers on every machine. */
static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Uniform with mean 0 and variance 1. */
static float noise(uint64_t seed, int i) {
    return ((float)(mix(seed << 32 | (uint32_t)i) >> 40) / 8388608.0f - 1.0f) * 1.7320508f;
}

static uint16_t to_bfloat(float x) {
    union {
        float f;
        uint32_t u;
    } in = {x};
    return (uint16_t)((in.u + 0x7fff + (in.u >> 16 & 1)) >> 16);
}

static float from_bfloat(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } out = {(uint32_t)h << 16};
    return out.f;
}

static void normalise(float *x) {
    float sum = 0;
    for (int i = 0; i < HIDDEN; i++) sum += x[i] * x[i];
    const float scale = 1.0f / sqrtf(sum / HIDDEN);
    for (int i = 0; i < HIDDEN; i++) x[i] *= scale;
}

/* The first `width` outputs of a signed permutation: a projection that costs nothing to make up. */
static void project(const float *x, uint64_t matrix, int width, float gain, uint16_t *out) {
    const uint64_t key = mix(matrix);
    const int step = (int)(key % HIDDEN) | 1, start = (int)(key >> 32 & (HIDDEN - 1));
    for (int i = 0; i < width; i++) {
        const float value = x[(i * step + start) & (HIDDEN - 1)] * gain;
        out[i] = to_bfloat(mix(key + (uint64_t)i) & 1 ? -value : value);
    }
}

static void embed(int token, float *x) {
    for (int i = 0; i < HIDDEN; i++) x[i] = noise((uint64_t)token + 1, i);
}

static int next_token(const float *x) {
    int best = 0;
    float most = -INFINITY;
    for (int token = 0; token < VOCABULARY; token++) {
        float sum = 0;
        for (int i = 0; i < HIDDEN; i++) sum += x[i] * noise((uint64_t)token + 1001, i);
        if (sum > most) {
            most = sum;
            best = token;
        }
    }
    return best;
}

/* ---- time on the device: the driver that seqtune opened has the CUDA driver's events ---- */

typedef struct Timer {
    int (*record)(void *event, void *stream), (*synchronize)(void *event);
    int (*elapsed)(float *ms, void *begin, void *end);
    void *begin, *end;
} Timer;

static int timer_open(seqtune_context *ctx, Timer *t) {
    seqtune_device_info device = SEQTUNE_DEVICE_INFO_INIT;
    int (*set_current)(void *context) = NULL, (*create)(void **event, unsigned flags) = NULL;
    if (seqtune_get_device_info(ctx, &device) != SEQTUNE_OK) return -1;
    void *const library = dlopen(device.driver, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
    *(void **)&set_current = dlsym(library, "cuCtxSetCurrent");
    *(void **)&create = dlsym(library, "cuEventCreate");
    *(void **)&t->record = dlsym(library, "cuEventRecord");
    *(void **)&t->synchronize = dlsym(library, "cuEventSynchronize");
    *(void **)&t->elapsed = dlsym(library, "cuEventElapsedTime");
    if (!set_current || !create || !t->record || !t->synchronize || !t->elapsed ||
        set_current(device.cuda_context) || create(&t->begin, 0) || create(&t->end, 0)) {
        fprintf(stderr, "%s: no events\n", device.driver);
        return -1;
    }
    printf("device    %s, %s%s\n", device.name, device.arch,
           device.modelled ? " (modelled: no real GPU)" : "");
    return 0;
}

/* ---- the device ---- */

typedef struct Device {
    seqtune_context *ctx;
    Timer timer;
    int capacity; /* tokens */
    int cached;
    double us;                     /* of kernels since it was set to 0 */
    seqtune_device_ptr q, k, v, o; /* of the new tokens, or of all */
    seqtune_device_ptr k_pages[MAX_LAYERS], v_pages[MAX_LAYERS]; /* the cache */
    seqtune_device_ptr table, ints, cos, sin, workspace;
    seqtune_plan *append[2], *attend[2];        /* of the prompt, of one token */
    seqtune_plan *rope_q, *rope_k, *attend_all; /* without the cache */
} Device;

static int fail(const Device *d, const char *what) {
    fprintf(stderr, "%s: %s\n", what, seqtune_last_error(d->ctx));
    return -1;
}

static int allocate(Device *d, size_t bytes, const void *from, seqtune_device_ptr *out) {
    if (seqtune_device_alloc(d->ctx, bytes, out) != SEQTUNE_OK) return fail(d, "device memory");
    if (from && seqtune_device_upload(d->ctx, *out, from, bytes) != SEQTUNE_OK)
        return fail(d, "upload");
    return 0;
}

static int pages(const Device *d) {
    return (d->capacity + PAGE - 1) / PAGE;
}

static int make_buffers(Device *d, int layers) {
    const size_t rows = (size_t)d->capacity, pool = (size_t)pages(d) * PAGE * KV_WIDTH * 2;
    float *const tables = malloc(rows * HEAD_DIM * sizeof *tables), *const sines =
                                                                        tables +
                                                                        rows * HEAD_DIM / 2;
    int *const table = malloc((size_t)pages(d) * sizeof *table);
    int status = tables && table ? 0 : -1;
    for (int i = 0; i < pages(d) && !status; i++)
        table[i] = pages(d) - 1 - i; /* any order will do */
    if (!status && seqtune_rope_table(d->capacity, HEAD_DIM, 500000.0, tables, sines) != SEQTUNE_OK)
        status = -1; /* theta of Llama 3 */
    if (!status) status = allocate(d, rows * HIDDEN * 2, NULL, &d->q);
    if (!status) status = allocate(d, rows * HIDDEN * 2, NULL, &d->o);
    if (!status) status = allocate(d, rows * KV_WIDTH * 2, NULL, &d->k);
    if (!status) status = allocate(d, rows * KV_WIDTH * 2, NULL, &d->v);
    if (!status) status = allocate(d, rows * HEAD_DIM / 2 * sizeof *tables, tables, &d->cos);
    if (!status) status = allocate(d, rows * HEAD_DIM / 2 * sizeof *sines, sines, &d->sin);
    if (!status) status = allocate(d, (size_t)pages(d) * sizeof *table, table, &d->table);
    if (!status) status = allocate(d, 4 * sizeof(int), NULL, &d->ints);
    for (int l = 0; l < layers && !status; l++) {
        status = allocate(d, pool, NULL, &d->k_pages[l]);
        if (!status) status = allocate(d, pool, NULL, &d->v_pages[l]);
    }
    free(tables);
    free(table);
    return status;
}

static int plan_attention(Device *d, int queries, int paged, seqtune_plan **out) {
    seqtune_attention_desc a = SEQTUNE_ATTENTION_DESC_INIT;
    a.dtype = SEQTUNE_BF16;
    a.heads_q = HEADS_Q;
    a.heads_kv = HEADS_KV;
    a.head_dim = HEAD_DIM;
    a.max_len_q = queries;
    a.max_len_kv = d->capacity;
    a.mask = SEQTUNE_MASK_CAUSAL;
    if (paged) {
        a.kv = SEQTUNE_KV_PAGED;
        a.device_lengths = 1;
        a.page_size = PAGE;
        a.pages = pages(d);
    }
    return seqtune_plan_attention(d->ctx, &a, out) == SEQTUNE_OK ? 0 : fail(d, "plan of attention");
}

static int plan_append(Device *d, int tokens, seqtune_plan **out) {
    seqtune_kv_desc k = SEQTUNE_KV_DESC_INIT;
    k.dtype = SEQTUNE_BF16;
    k.max_tokens = tokens;
    k.heads_q = HEADS_Q;
    k.heads_kv = HEADS_KV;
    k.head_dim = HEAD_DIM;
    k.page_size = PAGE;
    k.pages = pages(d);
    k.batch = 1;
    k.block_table_stride = pages(d);
    k.rope = 1;
    k.table_rows = d->capacity;
    return seqtune_plan_kv(d->ctx, &k, out) == SEQTUNE_OK ? 0 : fail(d, "plan of append");
}

static int plan_rope(Device *d, int heads, seqtune_plan **out) {
    seqtune_rope_desc r = SEQTUNE_ROPE_DESC_INIT;
    r.dtype = SEQTUNE_BF16;
    r.max_tokens = r.table_rows = d->capacity;
    r.heads = heads;
    r.head_dim = HEAD_DIM;
    return seqtune_plan_rope(d->ctx, &r, out) == SEQTUNE_OK ? 0 : fail(d, "plan of rope");
}

static int make_plans(Device *d, int prompt) {
    if (plan_append(d, prompt, &d->append[0]) || plan_append(d, 1, &d->append[1]) ||
        plan_attention(d, prompt, 1, &d->attend[0]) || plan_attention(d, 1, 1, &d->attend[1]) ||
        plan_rope(d, HEADS_Q, &d->rope_q) || plan_rope(d, HEADS_KV, &d->rope_k) ||
        plan_attention(d, d->capacity, 0, &d->attend_all))
        return -1;
    const seqtune_plan *const plans[] = {d->append[0], d->append[1], d->attend[0], d->attend[1],
                                         d->rope_q,    d->rope_k,    d->attend_all};
    size_t most = 0;
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++)
        if (seqtune_plan_workspace(plans[i]) > most) most = seqtune_plan_workspace(plans[i]);
    return most ? allocate(d, most, NULL, &d->workspace) : 0;
}

static void device_free(Device *d) {
    seqtune_device_ptr *const all[] = {&d->q,    &d->k,   &d->v,   &d->o,        &d->table,
                                       &d->ints, &d->cos, &d->sin, &d->workspace};
    seqtune_plan **const plans[] = {&d->append[0], &d->append[1], &d->attend[0], &d->attend[1],
                                    &d->rope_q,    &d->rope_k,    &d->attend_all};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) seqtune_device_free(d->ctx, *all[i]);
    for (int l = 0; l < MAX_LAYERS; l++) {
        seqtune_device_free(d->ctx, d->k_pages[l]);
        seqtune_device_free(d->ctx, d->v_pages[l]);
    }
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) seqtune_plan_destroy(*plans[i]);
}

/* The new tokens' K and V go to their pages, rotated; then their queries see all keys up to their
 * own. */
static int run_cached(Device *d, int layer, int new) {
    const int one = new == 1;
    seqtune_kv_args k = SEQTUNE_KV_ARGS_INIT;
    k.q = k.q_out = d->q;
    k.new_k = d->k;
    k.new_v = d->v;
    k.k = d->k_pages[layer];
    k.v = d->v_pages[layer];
    k.cu_seqlens = d->ints;
    k.lens_kv = d->ints + 2 * sizeof(int);
    k.block_table = d->table;
    k.cos = d->cos;
    k.sin = d->sin;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = d->q;
    a.o = d->o;
    a.k = d->k_pages[layer];
    a.v = d->v_pages[layer];
    a.lens_kv = d->ints + 3 * sizeof(int);
    a.block_table = d->table;
    if (seqtune_run_kv(d->append[one], &k, d->workspace, NULL) != SEQTUNE_OK ||
        seqtune_run_attention(d->attend[one], &a, d->workspace, NULL) != SEQTUNE_OK)
        return fail(d, "run");
    return 0;
}

static int run_uncached(Device *d, int tokens) {
    seqtune_rope_args q = SEQTUNE_ROPE_ARGS_INIT;
    q.x = q.out = d->q;
    q.cos = d->cos;
    q.sin = d->sin;
    q.tokens = tokens;
    seqtune_rope_args k = q;
    k.x = k.out = d->k;
    seqtune_attention_args a = SEQTUNE_ATTENTION_ARGS_INIT;
    a.q = d->q;
    a.k = d->k;
    a.v = d->v;
    a.o = d->o;
    a.len_q = a.len_kv = tokens;
    if (seqtune_run_rope(d->rope_q, &q, 0, NULL) != SEQTUNE_OK ||
        seqtune_run_rope(d->rope_k, &k, 0, NULL) != SEQTUNE_OK ||
        seqtune_run_attention(d->attend_all, &a, d->workspace, NULL) != SEQTUNE_OK)
        return fail(d, "run");
    return 0;
}

static int run_layer(Device *d, int layer, int new) {
    float ms = 0;
    if (d->timer.record(d->timer.begin, NULL)) return fail(d, "event");
    if (d->cached ? run_cached(d, layer, new) : run_uncached(d, new)) return -1;
    if (d->timer.record(d->timer.end, NULL) || d->timer.synchronize(d->timer.end) ||
        d->timer.elapsed(&ms, d->timer.begin, d->timer.end))
        return fail(d, "event");
    if (seqtune_device_synchronize(d->ctx) != SEQTUNE_OK) return fail(d, "synchronize");
    d->us += 1e3 * (double)ms;
    return 0;
}

/* ---- the model, both sides ---- */

typedef struct Rows { /* on the host, of the tokens that are being computed */
    float *x;
    uint16_t *q, *k, *v, *o;
} Rows;

static int rows_make(Rows *r, int tokens) {
    const size_t n = (size_t)tokens * HIDDEN;
    r->x = malloc(n * sizeof *r->x);
    r->q = malloc(n * sizeof *r->q);
    r->k = malloc(n * sizeof *r->k);
    r->v = malloc(n * sizeof *r->v);
    r->o = malloc(n * sizeof *r->o);
    return r->x && r->q && r->k && r->v && r->o ? 0 : -1;
}

static void rows_free(Rows *r) {
    free(r->x);
    free(r->q);
    free(r->k);
    free(r->v);
    free(r->o);
}

/* One layer of `new` tokens: x + attention, normalised. Queries and keys are scaled so that
 * attention is sharp: it looks at a few keys. */
static int layer_run(Device *d, Rows *r, int layer, int new) {
    const size_t q_bytes = (size_t) new *HIDDEN * 2, kv_bytes = (size_t) new *KV_WIDTH * 2;
    for (int t = 0; t < new; t++) {
        const float *const x = r->x + (size_t)t * HIDDEN;
        project(x, (uint64_t)layer * 3 + 1, HIDDEN, 3, r->q + (size_t)t * HIDDEN);
        project(x, (uint64_t)layer * 3 + 2, KV_WIDTH, 1, r->k + (size_t)t * KV_WIDTH);
        project(x, (uint64_t)layer * 3 + 3, KV_WIDTH, 1, r->v + (size_t)t * KV_WIDTH);
    }
    if (seqtune_device_upload(d->ctx, d->q, r->q, q_bytes) != SEQTUNE_OK ||
        seqtune_device_upload(d->ctx, d->k, r->k, kv_bytes) != SEQTUNE_OK ||
        seqtune_device_upload(d->ctx, d->v, r->v, kv_bytes) != SEQTUNE_OK)
        return fail(d, "upload");
    if (run_layer(d, layer, new)) return -1;
    if (seqtune_device_download(d->ctx, r->o, d->o, q_bytes) != SEQTUNE_OK)
        return fail(d, "download");
    for (int t = 0; t < new; t++) {
        float *const x = r->x + (size_t)t * HIDDEN;
        for (int i = 0; i < HIDDEN; i++) x[i] += from_bfloat(r->o[(size_t)t * HIDDEN + (size_t)i]);
        normalise(x);
    }
    return 0;
}

/* Tokens first .. first + new - 1; `last` becomes the hidden state of the last one. */
static int forward(Device *d, Rows *r, int layers, const int *tokens, int first, int new,
                   float *last) {
    const int ints[] = {0, new, first, first + new}; /* cu_seqlens; keys before, keys after */
    for (int t = 0; t < new; t++) embed(tokens[first + t], r->x + (size_t)t * HIDDEN);
    if (seqtune_device_upload(d->ctx, d->ints, ints, sizeof ints) != SEQTUNE_OK)
        return fail(d, "upload");
    d->us = 0;
    for (int l = 0; l < layers; l++)
        if (layer_run(d, r, l, new)) return -1;
    memcpy(last, r->x + (size_t)(new - 1) * HIDDEN, HIDDEN * sizeof *last);
    return 0;
}

/* ---- both ways ---- */

typedef struct Cost { /* of one token, mean over the steps */
    double us, pairs; /* (query, key) pairs per head and layer */
} Cost;

/* With the cache: the prompt, then token by token; it writes tokens[prompt..] and every state. */
static int run_with_cache(Device *d, Rows *r, const Options *o, int prompt, int *tokens,
                          float *states, Cost *cost) {
    d->cached = 1;
    if (forward(d, r, o->layers, tokens, 0, prompt, states)) return -1;
    for (int s = 0; s < o->steps; s++) {
        float *const state = states + (size_t)s * HIDDEN;
        tokens[prompt + s] = next_token(state);
        if (forward(d, r, o->layers, tokens, prompt + s, 1, state + HIDDEN)) return -1;
        cost->us += d->us / o->steps;
        cost->pairs += (prompt + s + 1.0) / o->steps;
    }
    return 0;
}

/* Without: all tokens again for each. Returns the largest difference of a state, negative when it
 * failed. */
static double run_without_cache(Device *d, Rows *r, const Options *o, int prompt, const int *tokens,
                                const float *states, Cost *cost) {
    float last[HIDDEN];
    double worst = 0;
    d->cached = 0;
    for (int s = 0; s < o->steps; s++) {
        const int n = prompt + s + 1;
        if (forward(d, r, o->layers, tokens, 0, n, last)) return -1;
        cost->us += d->us / o->steps;
        cost->pairs += 0.5 * n * (n + 1.0) / o->steps;
        for (int i = 0; i < HIDDEN; i++) {
            const double error =
                fabs((double)last[i] - (double)states[(size_t)(s + 1) * HIDDEN + (size_t)i]);
            if (!(error <= worst)) worst = error; /* a NaN counts */
        }
    }
    return worst;
}

/* Both ways for one prompt; the exit status. */
static int run_prompt(seqtune_context *ctx, const Timer *timer, const Options *o, int prompt) {
    /* Of states with mean square 1; each layer rounds its inputs and outputs to bfloat16. */
    const double tolerance = 0.03 * o->layers;
    Device d = {.ctx = ctx, .timer = *timer, .capacity = prompt + o->steps};
    Rows r = {0};
    Cost with = {0}, without = {0};
    int *const tokens = malloc((size_t)d.capacity * sizeof *tokens), code = 2;
    float *const states = malloc(((size_t)o->steps + 1) * HIDDEN * sizeof *states);
    if (!tokens || !states || rows_make(&r, d.capacity)) {
        fprintf(stderr, "out of memory\n");
    } else if (make_buffers(&d, o->layers) == 0 && make_plans(&d, prompt) == 0) {
        for (int t = 0; t < prompt; t++) tokens[t] = (int)(mix((uint64_t)t) % VOCABULARY);
        double error = -1;
        if (run_with_cache(&d, &r, o, prompt, tokens, states, &with) == 0)
            error = run_without_cache(&d, &r, o, prompt, tokens, states, &without);
        if (error >= 0 || error != error) {
            code = error <= tolerance ? 0 : 1;
            printf("%8d %12.0f %12.1f %14.0f %12.1f %9.1fx   %.1e %s\n", prompt, with.pairs,
                   with.us, without.pairs, without.us, without.us / with.us, error,
                   code == 0 ? "right" : "WRONG");
        }
    }
    device_free(&d);
    rows_free(&r);
    free(tokens);
    free(states);
    return code;
}

static int parse(int argc, char **argv, Options *o) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const int value = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--driver") == 0)
            o->driver = argv[i + 1];
        else if (strcmp(argv[i], "--prompt") == 0 && value > 0 && o->prompt_count < MAX_PROMPTS)
            o->prompts[o->prompt_count++] = value;
        else if (strcmp(argv[i], "--steps") == 0 && value > 0)
            o->steps = value;
        else if (strcmp(argv[i], "--layers") == 0 && value > 0 && value <= MAX_LAYERS)
            o->layers = value;
        else
            argc = 0; /* said below */
    }
    if (argc % 2 == 1) return 0;
    fprintf(stderr,
            "usage: decode_loop [--prompt N]... [--steps N] [--layers 1..%d] [--driver NAME]\n",
            MAX_LAYERS);
    return -1;
}

int main(int argc, char **argv) {
    Options o = {.steps = 32, .layers = 1};
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    Timer timer;
    if (parse(argc, argv, &o) != 0) return 2;
    if (o.prompt_count == 0)
        for (int n = 128; n <= 512; n *= 2) o.prompts[o.prompt_count++] = n;
    options.driver = o.driver;
    if (seqtune_open(&ctx, &options) != SEQTUNE_OK) {
        fprintf(stderr, "%s\n", seqtune_open_error());
        return 2;
    }
    int code = timer_open(ctx, &timer) == 0 ? 0 : 2;
    if (code == 0)
        printf("%d steps, %d layers of Llama-3-8B's attention, pages of %d; per token: (query, "
               "key) pairs of "
               "a head, us of kernels\n%8s %12s %12s %14s %12s %10s   %s\n",
               o.steps, o.layers, PAGE, "prompt", "cached: pairs", "us", "uncached: pairs", "us",
               "ratio", "difference");
    for (int i = 0; i < o.prompt_count && code == 0; i++)
        code = run_prompt(ctx, &timer, &o, o.prompts[i]);
    seqtune_close(ctx);
    return code;
}
