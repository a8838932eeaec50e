/* A real-time loop of single LSTM steps: one sample in, one output back, over and over, with the
 * state kept on the GPU in two buffers used in turn; prints percentiles of what a step costs.
 *
 *   cc lstm_stream.c $(pkg-config --cflags --libs seqtune) -lm -ldl -o lstm_stream && ./lstm_stream
 *
 * Options: --hidden N, --layers N, --input N, --batch N, --steps N, --warm-up N, --period-us N (a
 * sample every so often, and how many came too late; 0: as fast as it goes), --driver NAME.
 *
 * Times of the host path are measured on this machine's CPU, whatever the driver is: `run` is the
 * call of seqtune_run_rnn, `step` is sample to the GPU, run, wait, output back. The time of the
 * kernels is the driver's: measured on a GPU, modelled on the software GPU, which executes the step
 * on the CPU within `step`. Exit status 0 when the outputs of all steps agree with fp64, 1 when
 * not, 2 when something failed. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <seqtune.h>

enum { MAX_LAYERS = 8 };

typedef struct Options {
    int hidden, layers, input, batch, steps, warm_up, period_us;
    const char *driver;
} Options;

/* ---- numbers ---- */

/* splitmix64 (Steele, Lea, Flood 2014), to multiples of 1/1024 in [-1/2, 1/2): f16 has them all. */
static float number(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (float)((int)((x ^ x >> 31) >> 54) - 512) / 1024.0f;
}

/* Of a number that f16 has: sign, exponent, and the upper bits of the fraction. */
static uint16_t to_half(float x) {
    union {
        float f;
        uint32_t u;
    } in = {x};
    const uint32_t sign = in.u >> 16 & 0x8000, magnitude = in.u & 0x7fffffff;
    return (uint16_t)(magnitude == 0 ? sign : sign | (magnitude - 0x38000000) >> 13);
}

static double from_half(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 0x3ff;
    const double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return h & 0x8000 ? -x : x;
}

/* ---- the model: weights as PyTorch keeps them, and fp64 ---- */

typedef struct Layer {
    int input;
    float *w, *r, *bias; /* [4 * hidden, input], [4 * hidden, hidden], [4 * hidden]: i f g o */
} Layer;

typedef struct Model {
    Layer layer[MAX_LAYERS];
    double *h, *c; /* of the reference: [layer, batch, hidden] */
    double *gates; /* [4 * hidden] */
} Model;

static float *fill(size_t n, uint64_t seed, float scale) {
    float *out = malloc(n * sizeof *out);
    for (size_t i = 0; out != NULL && i < n; i++) out[i] = number(seed << 32 | i) * scale;
    return out;
}

static int make_model(const Options *o, Model *m) {
    const size_t rows = 4 * (size_t)o->hidden;
    const size_t states = (size_t)o->layers * (size_t)o->batch * (size_t)o->hidden;
    /* A power of two near 4 / sqrt(hidden), so that the scaled numbers are exact, too. */
    const float scale = exp2f(floorf(log2f(4.0f / sqrtf((float)o->hidden))));
    int complete = 1;
    for (int l = 0; l < o->layers; l++) {
        Layer *layer = &m->layer[l];
        layer->input = l == 0 ? o->input : o->hidden;
        layer->w = fill(rows * (size_t)layer->input, 3 * (uint64_t)l + 1, scale);
        layer->r = fill(rows * (size_t)o->hidden, 3 * (uint64_t)l + 2, scale);
        layer->bias = fill(rows, 3 * (uint64_t)l + 3, 1);
        complete = complete && layer->w && layer->r && layer->bias;
    }
    m->h = calloc(states, sizeof *m->h);
    m->c = calloc(states, sizeof *m->c);
    m->gates = malloc(rows * sizeof *m->gates);
    if (complete && m->h && m->c && m->gates) return 0;
    fprintf(stderr, "out of memory\n");
    return -1;
}

static void free_model(const Options *o, Model *m) {
    for (int l = 0; l < o->layers; l++) {
        free(m->layer[l].w);
        free(m->layer[l].r);
        free(m->layer[l].bias);
    }
    free(m->h);
    free(m->c);
    free(m->gates);
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* One layer and sequence: h and c become the new ones. */
static void reference_layer(const Layer *l, int hidden, const double *x, double *h, double *c,
                            double *gates) {
    for (int row = 0; row < 4 * hidden; row++) {
        const float *w = l->w + (size_t)row * (size_t)l->input;
        const float *r = l->r + (size_t)row * (size_t)hidden;
        gates[row] = (double)l->bias[row];
        for (int k = 0; k < l->input; k++) gates[row] += (double)w[k] * x[k];
        for (int k = 0; k < hidden; k++) gates[row] += (double)r[k] * h[k];
    }
    for (int u = 0; u < hidden; u++) {
        const double i = sigmoid(gates[u]), f = sigmoid(gates[hidden + u]);
        const double g = tanh(gates[2 * hidden + u]), o = sigmoid(gates[3 * hidden + u]);
        c[u] = f * c[u] + i * g;
        h[u] = o * tanh(c[u]);
    }
}

/* The largest distance of y [batch, hidden] from fp64 after one more step on x [batch, input]. */
static double reference_step(const Options *o, Model *m, const double *x, const uint16_t *y) {
    double worst = 0;
    for (int b = 0; b < o->batch; b++) {
        const double *in = x + (size_t)b * (size_t)o->input;
        for (int l = 0; l < o->layers; l++) {
            const size_t at = ((size_t)l * (size_t)o->batch + (size_t)b) * (size_t)o->hidden;
            reference_layer(&m->layer[l], o->hidden, in, m->h + at, m->c + at, m->gates);
            in = m->h + at;
        }
        for (int u = 0; u < o->hidden; u++) {
            const double error = fabs(from_half(y[b * o->hidden + u]) - in[u]);
            if (!(error <= worst)) worst = error; /* a NaN counts */
        }
    }
    return worst;
}

/* ---- the device ---- */

typedef struct Device {
    seqtune_context *ctx;
    seqtune_plan *plan;
    seqtune_device_ptr weights, x, y, h[2], c[2], workspace;
    int turn; /* the buffers that hold the state */
    int modelled;
    /* The driver's events: it has the CUDA driver's functions, whichever it is. */
    int (*record)(void *event, void *stream), (*elapsed)(float *ms, void *begin, void *end);
    void *begin, *end;
} Device;

static int fail(const Device *d, const char *what) {
    fprintf(stderr, "%s: %s\n", what, seqtune_last_error(d->ctx));
    return -1;
}

static int allocate(const Device *d, size_t bytes, const void *from, seqtune_device_ptr *out) {
    if (seqtune_device_alloc(d->ctx, bytes, out) != SEQTUNE_OK) return fail(d, "device memory");
    if (from != NULL && seqtune_device_upload(d->ctx, *out, from, bytes) != SEQTUNE_OK)
        return fail(d, "upload");
    return 0;
}

static int open_events(Device *d) {
    seqtune_device_info info = SEQTUNE_DEVICE_INFO_INIT;
    int (*set_current)(void *context) = NULL, (*create)(void **event, unsigned flags) = NULL;
    if (seqtune_get_device_info(d->ctx, &info) != SEQTUNE_OK) return fail(d, "device info");
    void *const library = dlopen(info.driver, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
    *(void **)&set_current = dlsym(library, "cuCtxSetCurrent");
    *(void **)&create = dlsym(library, "cuEventCreate");
    *(void **)&d->record = dlsym(library, "cuEventRecord");
    *(void **)&d->elapsed = dlsym(library, "cuEventElapsedTime");
    if (!set_current || !create || !d->record || !d->elapsed || set_current(info.cuda_context) ||
        create(&d->begin, 0) || create(&d->end, 0)) {
        fprintf(stderr, "%s: no events\n", info.driver);
        return -1;
    }
    d->modelled = info.modelled;
    printf("device    %s, %s%s\n", info.name, info.arch,
           info.modelled ? " (modelled: no real GPU)" : "");
    return 0;
}

static int pack_weights(Device *d, const seqtune_rnn_desc *desc, const Model *m) {
    seqtune_rnn_weights weights[MAX_LAYERS];
    size_t bytes = 0;
    for (int64_t l = 0; l < desc->layers; l++) {
        weights[l] = (seqtune_rnn_weights)SEQTUNE_RNN_WEIGHTS_INIT;
        weights[l].w = m->layer[l].w;
        weights[l].r = m->layer[l].r;
        weights[l].bias_w = m->layer[l].bias;
    }
    if (seqtune_rnn_weights_bytes(desc, &bytes) != SEQTUNE_OK) {
        fprintf(stderr, "%s\n", seqtune_open_error());
        return -1;
    }
    void *packed = malloc(bytes);
    int status = -1;
    if (packed != NULL &&
        seqtune_rnn_pack_weights(desc, SEQTUNE_RNN_PYTORCH, weights, packed) == SEQTUNE_OK)
        status = allocate(d, bytes, packed, &d->weights);
    else
        fprintf(stderr, "%s\n", packed == NULL ? "out of memory" : seqtune_open_error());
    free(packed);
    return status;
}

static int open_device(const Options *o, const Model *m, Device *d) {
    const size_t states = (size_t)o->layers * (size_t)o->batch * (size_t)o->hidden;
    seqtune_rnn_desc desc = SEQTUNE_RNN_DESC_INIT;
    seqtune_plan_info info = SEQTUNE_PLAN_INFO_INIT;
    desc.batch = o->batch;
    desc.input = o->input;
    desc.hidden = o->hidden;
    desc.layers = o->layers;
    desc.max_steps = 1;
    void *zeros = calloc(states, 4);
    int status = zeros == NULL || open_events(d) != 0 ? -1 : pack_weights(d, &desc, m);
    if (status == 0 && seqtune_plan_rnn(d->ctx, &desc, &d->plan) != SEQTUNE_OK)
        status = fail(d, "plan");
    if (status == 0) status = allocate(d, (size_t)(o->batch * o->input) * 2, NULL, &d->x);
    if (status == 0) status = allocate(d, (size_t)(o->batch * o->hidden) * 2, NULL, &d->y);
    for (int i = 0; i < 2 && status == 0; i++) {
        status = allocate(d, states * 2, zeros, &d->h[i]);
        if (status == 0) status = allocate(d, states * 4, zeros, &d->c[i]);
    }
    if (status == 0) status = allocate(d, seqtune_plan_workspace(d->plan), NULL, &d->workspace);
    if (status == 0 && seqtune_plan_get_info(d->plan, &info) != SEQTUNE_OK)
        status = fail(d, "plan info");
    if (status == 0) printf("kernel    %s (%s), %s\n", info.kernel, info.pipeline, info.config);
    free(zeros);
    return status;
}

static void close_device(Device *d) {
    const seqtune_device_ptr all[] = {d->weights, d->x,    d->y,    d->h[0],
                                      d->h[1],    d->c[0], d->c[1], d->workspace};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        (void)seqtune_device_free(d->ctx, all[i]);
    seqtune_plan_destroy(d->plan);
}

/* ---- a step ---- */

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* The call alone, between two events; its host time through *us. */
static int run(Device *d, double *us) {
    seqtune_rnn_args a = SEQTUNE_RNN_ARGS_INIT;
    a.weights = d->weights;
    a.x = d->x;
    a.y = d->y;
    a.h_in = d->h[d->turn];
    a.c_in = d->c[d->turn];
    a.h_out = d->h[1 - d->turn];
    a.c_out = d->c[1 - d->turn];
    if (d->record(d->begin, NULL) != 0) return -1;
    const double begin = now_us();
    const seqtune_status status = seqtune_run_rnn(d->plan, &a, d->workspace, NULL);
    *us = now_us() - begin;
    if (status != SEQTUNE_OK) return fail(d, "run");
    d->turn = 1 - d->turn;
    return d->record(d->end, NULL);
}

typedef struct Times {
    double *run, *step, *kernels; /* us, of each step that counts */
    int count, late;
} Times;

/* Sample in, output back. */
static int step(Device *d, const Options *o, const uint16_t *x, uint16_t *y, Times *t, int index) {
    float ms = 0;
    double us = 0;
    const double begin = now_us();
    if (seqtune_device_upload(d->ctx, d->x, x, (size_t)(o->batch * o->input) * 2) != SEQTUNE_OK)
        return fail(d, "upload");
    if (run(d, &us) != 0) return -1;
    if (seqtune_device_synchronize(d->ctx) != SEQTUNE_OK) return fail(d, "synchronize");
    if (seqtune_device_download(d->ctx, y, d->y, (size_t)(o->batch * o->hidden) * 2) != SEQTUNE_OK)
        return fail(d, "download");
    const double all = now_us() - begin;
    if (d->elapsed(&ms, d->begin, d->end) != 0) return -1;
    if (index < o->warm_up) return 0;
    t->run[t->count] = us;
    t->step[t->count] = all;
    t->kernels[t->count++] = (double)ms * 1e3;
    if (o->period_us > 0 && all > o->period_us) t->late++;
    return 0;
}

/* Sleeps until the next sample is due; one that is late already does not wait. */
static void await(double due_us) {
    const struct timespec until = {(time_t)(due_us / 1e6), (long)(fmod(due_us, 1e6) * 1e3)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static int loop(Device *d, const Options *o, Model *m, Times *t, double *worst) {
    const int inputs = o->batch * o->input;
    uint16_t *x = malloc((size_t)inputs * 2), *y = malloc((size_t)(o->batch * o->hidden) * 2);
    double *exact = malloc((size_t)inputs * sizeof *exact);
    int status = x && y && exact ? 0 : -1;
    double due = now_us();
    for (int s = 0; s < o->warm_up + o->steps && status == 0; s++) {
        for (int i = 0; i < inputs; i++) {
            const float sample = number((uint64_t)(s + 1000) << 32 | (uint64_t)i) * 2;
            x[i] = to_half(sample);
            exact[i] = (double)sample;
        }
        if (o->period_us > 0) await(due += o->period_us);
        status = step(d, o, x, y, t, s);
        const double error = status == 0 ? reference_step(o, m, exact, y) : 0;
        if (!(error <= *worst)) *worst = error;
        if (o->period_us > 0 && now_us() > due) due = now_us(); /* the reference took its time */
    }
    free(x);
    free(y);
    free(exact);
    return status;
}

/* ---- what is printed ---- */

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest of `n` sorted values that `part` of them do not exceed. */
static double percentile(const double *sorted, int n, double part) {
    const int rank = (int)ceil(part * n);
    return sorted[rank > 0 ? rank - 1 : 0];
}

static void print_times(const char *what, double *us, int n, const char *how) {
    qsort(us, (size_t)n, sizeof *us, ascending);
    printf("%-9s p50 %.1f  p99 %.1f  p99.9 %.1f  largest %.1f us, %s\n", what,
           percentile(us, n, 0.5), percentile(us, n, 0.99), percentile(us, n, 0.999), us[n - 1],
           how);
}

static int stream(Device *d, const Options *o) {
    /* h is rounded to f16 in every step and layer: a few ulps of numbers up to 1. */
    const double tolerance = 4e-3;
    double worst = 0;
    Model model = {0};
    Times t = {.run = malloc((size_t)o->steps * sizeof *t.run),
               .step = malloc((size_t)o->steps * sizeof *t.step),
               .kernels = malloc((size_t)o->steps * sizeof *t.kernels)};
    int code = 2;
    if (t.run && t.step && t.kernels && make_model(o, &model) == 0 &&
        open_device(o, &model, d) == 0 && loop(d, o, &model, &t, &worst) == 0) {
        printf("steps     %d of %d layers, %d units, batch %d, f16, after %d to warm up\n", t.count,
               o->layers, o->hidden, o->batch, o->warm_up);
        print_times("run", t.run, t.count, "measured on the host");
        print_times("step", t.step, t.count,
                    d->modelled ? "measured on the host, the GPU's work emulated by it"
                                : "measured on the host");
        print_times("kernels", t.kernels, t.count, d->modelled ? "modelled" : "measured");
        if (o->period_us > 0)
            printf("late      %d of %d steps took more than %d us\n", t.late, t.count,
                   o->period_us);
        code = worst <= tolerance ? 0 : 1;
        printf("error     %.2e at most against fp64 (tolerance %.0e): %s\n", worst, tolerance,
               code == 0 ? "right" : "WRONG");
    }
    free_model(o, &model);
    free(t.run);
    free(t.step);
    free(t.kernels);
    return code;
}

static int parse(int argc, char **argv, Options *o) {
    const struct {
        const char *name;
        int *to, min, max;
    } numbers[] = {{"--hidden", &o->hidden, 1, 16384},
                   {"--layers", &o->layers, 1, MAX_LAYERS},
                   {"--input", &o->input, 1, 16384},
                   {"--batch", &o->batch, 1, 1024},
                   {"--steps", &o->steps, 1, 10000000},
                   {"--warm-up", &o->warm_up, 0, 1000000},
                   {"--period-us", &o->period_us, 0, 1000000000}};
    for (int i = 1; i < argc; i += 2) {
        size_t n = 0;
        char *end = NULL;
        if (i + 1 < argc && strcmp(argv[i], "--driver") == 0) {
            o->driver = argv[i + 1];
            continue;
        }
        while (n < sizeof numbers / sizeof numbers[0] && strcmp(argv[i], numbers[n].name) != 0) n++;
        if (n == sizeof numbers / sizeof numbers[0] || i + 1 == argc) {
            fprintf(stderr,
                    "lstm_stream: unknown option or one without a value: %s\nusage: lstm_stream "
                    "[--hidden N] [--layers N] [--input N] [--batch N] [--steps N] [--warm-up N] "
                    "[--period-us N] [--driver NAME]\n",
                    argv[i]);
            return -1;
        }
        const long value = strtol(argv[i + 1], &end, 10);
        if (end == argv[i + 1] || *end != '\0' || value < numbers[n].min ||
            value > numbers[n].max) {
            fprintf(stderr, "lstm_stream: %s %s: must be %d..%d\n", argv[i], argv[i + 1],
                    numbers[n].min, numbers[n].max);
            return -1;
        }
        *numbers[n].to = (int)value;
    }
    return 0;
}

int main(int argc, char **argv) {
    Options o = {.hidden = 128, .layers = 2, .input = 64, .batch = 1, .steps = 1000, .warm_up = 20};
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    Device d = {0};
    if (parse(argc, argv, &o) != 0) return 2;
    options.driver = o.driver;
    if (seqtune_open(&d.ctx, &options) != SEQTUNE_OK) {
        fprintf(stderr, "%s\n", seqtune_open_error());
        return 2;
    }
    const int code = stream(&d, &o);
    close_device(&d);
    seqtune_close(d.ctx);
    return code;
}
