/* See fa2_variant.h. */
#include "tests/softgpu/fa2_variant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/files.h"
#include "base/mem.h"
#include "runtime/build.h"
#include "softgpu/memory.h"
#include "softgpu/written.h"

/* Offsets in the kernel's parameter structure. */
enum {
    PARAM_Q = 0,
    PARAM_K = 8,
    PARAM_V = 16,
    PARAM_BATCH_STRIDE = 24, /* of q, k, v, in elements; then row and head strides alike */
    PARAM_ROW_STRIDE = 48,
    PARAM_HEAD_STRIDE = 72,
    PARAM_HEADS = 96, /* of q, of k, their ratio */
    PARAM_O = 112,
    PARAM_O_BATCH_STRIDE = 128,
    PARAM_O_ROW_STRIDE = 136,
    PARAM_O_HEAD_STRIDE = 144,
    PARAM_LSE = 160,
    PARAM_BATCH = 176,
    PARAM_LENGTH_Q = 180,
    PARAM_LENGTH_K = 184,
    PARAM_HEAD_DIM = 192,
    PARAM_LENGTH_Q_ROUNDED = 196,
    PARAM_LENGTH_K_ROUNDED = 200,
    PARAM_HEAD_DIM_ROUNDED = 204,
    PARAM_SCALE = 216,
    PARAM_SCALE_LOG2 = 220,
    PARAM_KEEP = 372, /* probability that dropout keeps an element */
    PARAM_KEEP_BYTE = 376,
    PARAM_KEEP_INVERSE = 380,
    PARAM_WINDOW_LEFT = 388,
    PARAM_WINDOW_RIGHT = 392,
    PARAM_CAUSAL = 441,
    PARAM_BYTES = 472,
};

typedef struct Run {
    SgModule *module;
    const SgKernelInfo *info;
    Arena *arena;
    const char *text;
    uint64_t q, k, v, o;
    char params[PARAM_BYTES];
    SgLaunch launch;
} Run;

static void must(Status status, const Error *err) {
    if (status != ST_OK) fail_msg("%s", err->message);
}

const char *variant_folder(void) {
    return getenv("SEQTUNE_FA2_PTX");
}

const char *variant_name(const Variant *v, char *out, size_t size) {
    snprintf(out, size, "d%d_%dx%d_%dw%s%s", v->head_dim, v->m, v->n, v->warps,
             v->causal ? "_causal" : "", v->q_in_regs ? "_q" : "");
    return out;
}

static void path_of(const Variant *v, const char *ending, char *out, size_t size) {
    char name[64];
    snprintf(out, size, "%s/%s%s", variant_folder(), variant_name(v, name, sizeof name), ending);
}

bool variant_exists(const Variant *v) {
    char path[512];
    path_of(v, ".ptx", path, sizeof path);
    FILE *file = fopen(path, "r");
    if (file != NULL) fclose(file);
    return file != NULL;
}

double variant_flop(const Variant *v, const Shape *s) {
    return 4.0 * s->batch * s->heads * s->length * s->length * v->head_dim / (v->causal ? 2 : 1);
}

/* The PTX with the figures of ptxas for the GPU's architecture as a comment behind it. */
static char *read_text(const Variant *v, const GpuModel *model, Arena *arena) {
    char path[512], ending[32], note[1024];
    Error err = {0};
    char *ptx, *log;
    size_t size, count, log_size;
    path_of(v, ".ptx", path, sizeof path);
    must(files_read(arena, path, 1 << 24, &ptx, &size, &err), &err);
    snprintf(ending, sizeof ending, ".sm_%d.log", model->arch->cc);
    path_of(v, ending, path, sizeof path);
    must(files_read(arena, path, 1 << 20, &log, &log_size, &err), &err);
    ArtifactEntry e;
    must(build_parse_ptxas(log, &e, 1, &count, &err), &err);
    assert_int_equal(count, 1);
    snprintf(note, sizeof note,
             "\n// seqtune-ptxas: entry=%s registers=%d stack=%d spill_stores=%d spill_loads=%d "
             "smem=%d\n",
             e.name, e.registers, e.stack, e.spill_stores, e.spill_loads, e.smem);
    char *text = ARENA_ARRAY(arena, char, size + strlen(note) + 1);
    assert_non_null(text);
    memcpy(text, ptx, size);
    memcpy(text + size, note, strlen(note) + 1);
    return text;
}

static void put(Run *r, int at, const void *value, size_t size) {
    memcpy(r->params + at, value, size);
}

static void put_int(Run *r, int at, int value) {
    put(r, at, &value, sizeof value);
}

static void put_long(Run *r, int at, int64_t value) {
    put(r, at, &value, sizeof value);
}

static void put_float(Run *r, int at, double value) {
    const float f = (float)value;
    put(r, at, &f, sizeof f);
}

/* Batch, head, row, column in that order. */
static void fill_params(Run *r, const Variant *v, const Shape *s, uint64_t lse) {
    const int64_t row = v->head_dim, head = row * s->length, batch = head * s->heads;
    put_long(r, PARAM_Q, (int64_t)r->q);
    put_long(r, PARAM_K, (int64_t)r->k);
    put_long(r, PARAM_V, (int64_t)r->v);
    put_long(r, PARAM_O, (int64_t)r->o);
    put_long(r, PARAM_LSE, (int64_t)lse);
    for (int i = 0; i < 3; i++) {
        put_long(r, PARAM_BATCH_STRIDE + 8 * i, batch);
        put_long(r, PARAM_ROW_STRIDE + 8 * i, row);
        put_long(r, PARAM_HEAD_STRIDE + 8 * i, head);
    }
    put_long(r, PARAM_O_BATCH_STRIDE, batch);
    put_long(r, PARAM_O_ROW_STRIDE, row);
    put_long(r, PARAM_O_HEAD_STRIDE, head);
    put_int(r, PARAM_HEADS, s->heads);
    put_int(r, PARAM_HEADS + 4, s->heads);
    put_int(r, PARAM_HEADS + 8, 1);
    put_int(r, PARAM_BATCH, s->batch);
    put_int(r, PARAM_LENGTH_Q, s->length);
    put_int(r, PARAM_LENGTH_K, s->length);
    put_int(r, PARAM_LENGTH_Q_ROUNDED, (s->length + 127) / 128 * 128);
    put_int(r, PARAM_LENGTH_K_ROUNDED, (s->length + 127) / 128 * 128);
    put_int(r, PARAM_HEAD_DIM, v->head_dim);
    put_int(r, PARAM_HEAD_DIM_ROUNDED, v->head_dim);
    put_float(r, PARAM_SCALE, 1 / sqrt(v->head_dim));
    put_float(r, PARAM_SCALE_LOG2, 1.4426950408889634 / sqrt(v->head_dim));
    put_float(r, PARAM_KEEP, 1);
    r->params[PARAM_KEEP_BYTE] = (char)255;
    put_float(r, PARAM_KEEP_INVERSE, 1);
    put_int(r, PARAM_WINDOW_LEFT, -1);
    put_int(r, PARAM_WINDOW_RIGHT, v->causal ? 0 : -1);
    r->params[PARAM_CAUSAL] = v->causal;
}

static uint64_t device_array(Run *r, uint64_t bytes) {
    Error err = {0};
    uint64_t address;
    must(sg_mem_alloc(0, r->module, bytes, UINT64_MAX, &address, &err), &err);
    return address;
}

static uint32_t smem_of(const Variant *v) {
    const int q = v->m * v->head_dim * 2, kv = 2 * v->n * v->head_dim * 2;
    return (uint32_t)(v->q_in_regs ? (q > kv ? q : kv) : q + kv); /* Q's place is used again */
}

static void run_open(Run *r, const Variant *v, const char *gpu, const Shape *s) {
    const GpuModel *model = gpu_model_find(gpu);
    Error err = {0};
    memset(r, 0, sizeof *r);
    r->arena = arena_new();
    assert_non_null(model);
    r->text = read_text(v, model, r->arena);
    must(sg_module_load(r->text, strlen(r->text), model->arch, 13000, 0, &r->module, &err), &err);
    const uint64_t bytes =
        (uint64_t)s->batch * (uint64_t)s->heads * (uint64_t)s->length * (uint64_t)v->head_dim * 2;
    r->q = device_array(r, bytes);
    r->k = device_array(r, bytes);
    r->v = device_array(r, bytes);
    r->o = device_array(r, bytes);
    fill_params(r, v, s,
                device_array(r, (uint64_t)s->batch * (uint64_t)s->heads * (uint64_t)s->length * 4));
    const SgKernel *kernel = sg_module_kernel(r->module, "fa2");
    assert_non_null(kernel);
    r->info = sg_kernel_info(kernel);
    assert_int_equal(r->info->param_bytes, PARAM_BYTES);
    r->launch = (SgLaunch){
        .kernel = kernel,
        .grid = {(uint32_t)((s->length + v->m - 1) / v->m), (uint32_t)s->batch, (uint32_t)s->heads},
        .block = {(uint32_t)v->warps * 32, 1, 1},
        .dynamic_smem = smem_of(v),
        .params = r->params,
        .resident = 1000000,
        .model = model};
}

static void run_execute(Run *r, SgMode mode) {
    Error err = {0};
    r->launch.mode = mode;
    must(sg_execute(&r->launch, r->arena, &err), &err);
    if (r->launch.fault.faulted) fail_msg("%s", r->launch.fault.text);
    if (r->launch.warning_count > 0) fail_msg("%s", r->launch.warnings[0].text);
}

static void run_close(Run *r) {
    sg_mem_free_owner(r->module);
    sg_module_free(r->module);
    arena_free(r->arena);
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

Outcome variant_time(const Variant *v, const char *gpu, const Shape *shape) {
    Run r;
    Error err = {0};
    run_open(&r, v, gpu, shape);
    run_execute(&r, SG_TIMING);
    SgText text = sg_text_of(r.text, "fa2");
    Outcome out = {.ptxas = r.info->ptxas};
    const double start = cpu_ms();
    must(sg_clock(&r.launch, r.info, &text, &out.time, &err), &err);
    out.cpu_ms = cpu_ms() - start;
    out.blocks = sg_occupancy(r.launch.model, r.info, v->warps * 32, r.launch.dynamic_smem).blocks;
    sg_text_close(&text);
    run_close(&r);
    return out;
}

/* Reference ---------------------------------------------------------------------- */

static double half_to_double(uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double m = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return h & 0x8000 ? -m : m;
}

/* Multiples of 1/256 in [-1, 1), exact in f16. */
static uint16_t half_of_step(int step) {
    const int sign = step < 0 ? 0x8000 : 0;
    int value = abs(step), exponent = 25 - 8;
    if (value == 0) return 0;
    for (; value < 1024; value *= 2) exponent--;
    return (uint16_t)(sign | exponent << 10 | (value & 1023));
}

static void fill_random(uint64_t address, size_t count, uint32_t seed) {
    uint16_t *at = (uint16_t *)(uintptr_t)address;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        at[i] = half_of_step((int)(seed >> 23) - 256);
    }
}

/* One row of attention against the kernel's; `q` is its row, k and v the head's matrices. */
static double row_error(const Variant *v, int row, int length, const uint16_t *q, const uint16_t *k,
                        const uint16_t *vv, const uint16_t *o, double *p) {
    const int d = v->head_dim, last = v->causal ? row + 1 : length;
    double most = -INFINITY, sum = 0, error = 0;
    for (int j = 0; j < last; j++) {
        p[j] = 0;
        for (int i = 0; i < d; i++) p[j] += half_to_double(q[i]) * half_to_double(k[j * d + i]);
        p[j] /= sqrt(d);
        most = fmax(most, p[j]);
    }
    for (int j = 0; j < last; j++) sum += p[j] = exp(p[j] - most);
    for (int i = 0; i < d; i++) {
        double expected = 0;
        for (int j = 0; j < last; j++) expected += p[j] * half_to_double(vv[j * d + i]);
        error = fmax(error, fabs(expected / sum - half_to_double(o[i])));
    }
    return error;
}

double variant_error(const Variant *v, const char *gpu, const Shape *s) {
    Run r;
    run_open(&r, v, gpu, s);
    const size_t head = (size_t)s->length * (size_t)v->head_dim;
    const size_t heads = (size_t)s->batch * (size_t)s->heads;
    fill_random(r.q, heads * head, 1);
    fill_random(r.k, heads * head, 2);
    fill_random(r.v, heads * head, 3);
    sg_written_mark(r.q, heads * head * 2);
    sg_written_mark(r.k, heads * head * 2);
    sg_written_mark(r.v, heads * head * 2);
    memset((void *)(uintptr_t)r.o, 0xff, heads * head * 2); /* NaN, unless written */
    run_execute(&r, SG_FULL);
    double *p = ARENA_ARRAY(r.arena, double, (size_t)s->length);
    double error = 0;
    assert_non_null(p);
    for (size_t h = 0; h < heads; h++)
        for (int row = 0; row < s->length; row++) {
            const size_t at = h * head, here = at + (size_t)row * (size_t)v->head_dim;
            const uint16_t *const q = (const uint16_t *)(uintptr_t)r.q;
            const uint16_t *const k = (const uint16_t *)(uintptr_t)r.k;
            const uint16_t *const vv = (const uint16_t *)(uintptr_t)r.v;
            const uint16_t *const o = (const uint16_t *)(uintptr_t)r.o;
            const double e = row_error(v, row, s->length, q + here, k + at, vv + at, o + here, p);
            error = e > error || isnan(e) ? (isnan(e) ? INFINITY : e) : error;
        }
    run_close(&r);
    return error;
}
