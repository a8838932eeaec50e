/* Speed of the software GPU through the driver ABI: nanoseconds per warp instruction, attention,
 * scaling over cores, beside the host's own SGEMM rate. Prints tables; judges nothing.
 *
 * Two child processes measure: one bound to one core by its affinity (which the executor follows),
 * one on all cores. Processor time says what the work costs, whatever else the machine does; the
 * wall time on all cores says how it spreads, on a machine that is quiet. Every figure is the
 * least of several repetitions. */
#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "generator/gen.h"
#include "runtime/context.h"
#include "runtime/plan.h"
#include "tests/bench/softgpu_flags.h"
#include "tests/bench/softgpu_rows.h"

enum {
    ROWS = sizeof bench_rows / sizeof *bench_rows,
    UNROLL = 64,
    REPEATS = 15,
    SGEMM_N = 1024,
    HEADS = 8,
    TOKENS = 1024,
    DIM = 128,
    ELEMENTS = TOKENS * HEADS * DIM
};

typedef struct Mode {
    const char *name, *checks, *mma;
} Mode;
static const Mode modes[] = {
    {"unchecked", "none", "fast"},
    {"every check", "all", "fast"},
    {"unchecked, exact mma", "none", "exact"},
};
enum { MODES = sizeof modes / sizeof *modes };

typedef struct Seconds {
    double processor, wall;
} Seconds;
#define NEVER ((Seconds){INFINITY, INFINITY})

typedef struct Figures {
    int cores;
    const char *only;  /* part of the names of the rows and modes wanted */
    Seconds row[ROWS]; /* one warp instruction on every core */
    Seconds attention[MODES];
    Seconds flags; /* the flag barrier of softgpu_flags.c */
    double sgemm;  /* GFLOP/s; 0: no OpenBLAS here */
} Figures;

static double clock_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static Seconds now(void) {
    return (Seconds){clock_of(CLOCK_PROCESS_CPUTIME_ID), clock_of(CLOCK_MONOTONIC)};
}
static void since(Seconds start, Seconds *least) {
    const Seconds end = now();
    least->processor = fmin(least->processor, end.processor - start.processor);
    least->wall = fmin(least->wall, end.wall - start.wall);
}

/* --- instructions --- */

static void append_unit(Str *s, const char *text, int copy) {
    for (const char *p = text; *p; p++)
        if (*p == '#')
            str_printf(s, "%d", copy % 8);
        else
            str_putc(s, *p);
}

/* Loops `n` times over UNROLL copies of the unit. */
static void write_kernel(Str *s, const char *unit) {
    str_puts(s, ".version 8.0\n.target sm_80\n.address_size 64\n"
                ".visible .entry t(.param .u64 p, .param .u32 n) {\n"
                ".reg .b32 %r<8>, %a<4>, %b<2>, %d<8>, %e<8>, %g<8>, %h<8>, %n, %t, %as, %aw;\n"
                ".reg .f32 %f<8>, %cf<4>; .reg .pred %p<8>, %q, %o; .reg .b64 %ag, %w;\n"
                ".shared .align 16 .b8 sm[2048];\n"
                "ld.param.u64 %ag, [p]; ld.param.u32 %n, [n]; mov.u32 %t, %tid.x;\n"
                "mul.wide.u32 %w, %t, 16; add.s64 %ag, %ag, %w;\n"
                "mov.u32 %as, sm; mad.lo.u32 %aw, %t, 16, %as; mad.lo.u32 %as, %t, 4, %as;\n"
                "mov.b32 %r0, 0; st.shared.v4.b32 [%aw], {%r0, %r0, %r0, %r0};\n"
                "st.shared.v4.b32 [%aw+512], {%r0, %r0, %r0, %r0};\n"
                "cvt.rn.f32.u32 %cf0, %t; add.f32 %cf1, %cf0, 0f3F800000;\n"
                "mul.f32 %cf2, %cf1, 0f3D800000; setp.lt.u32 %q, %t, 16; setp.lt.u32 %o, %t, 8;\n");
    for (int i = 0; i < 4; i++) /* bf16 and f16 alike take these bits as small numbers */
        str_printf(s, "mad.lo.u32 %%a%d, %%t, 0x00110007, 0x3c003a00;\n", i);
    for (int i = 0; i < 2; i++)
        str_printf(s, "mad.lo.u32 %%b%d, %%t, 0x0005000b, 0xbc013b00;\n", i);
    for (int i = 0; i < 8; i++)
        str_printf(s, "mov.b32 %%d%d, 0; mov.b32 %%e%d, 0; mov.b32 %%g%d, 0; mov.b32 %%h%d, 0;\n",
                   i, i, i, i);
    str_puts(s, "LOOP:\n");
    for (int i = 0; i < UNROLL; i++) append_unit(s, unit, i);
    str_puts(s, "add.s32 %n, %n, -1;\nsetp.ne.s32 %p0, %n, 0;\n@%p0 bra LOOP;\nret;\n}\n");
}

static void launch(const Driver *driver, const Figures *f, CuFunction function, CuDeviceptr p,
                   unsigned n, Seconds *least, int *failed) {
    void *params[] = {&p, &n};
    const Seconds start = now();
    CuResult r =
        driver->LaunchKernel(function, (unsigned)f->cores, 1, 1, 32, 1, 1, 0, NULL, params, NULL);
    if (!r) r = driver->CtxSynchronize();
    *failed |= r;
    since(start, least);
}

/* The least time of `n` rounds less that of one, over what is between. */
static Status bench_row(const Driver *driver, const BenchRow *row, CuDeviceptr buffer,
                        const Figures *f, Seconds *out, Error *err) {
    Str text = {0};
    CuModule module = NULL;
    CuFunction function = NULL;
    setenv("SOFTGPU_MMA", row->exact ? "exact" : "fast", 1);
    write_kernel(&text, row->text);
    const unsigned n = row->exact ? 100 : 500;
    int failed = driver->ModuleLoadData(&module, str_text(&text));
    if (!failed) failed = driver->ModuleGetFunction(&function, module, "t");
    Seconds least = NEVER, most = NEVER;
    for (int i = 0; i < REPEATS && !failed; i++) {
        launch(driver, f, function, buffer, 1, &least, &failed);
        launch(driver, f, function, buffer, n, &most, &failed);
    }
    const double units = (double)(n - 1) * UNROLL * row->instructions;
    *out = (Seconds){(most.processor - least.processor) / units, (most.wall - least.wall) / units};
    if (module) driver->ModuleUnload(module);
    str_free(&text);
    return failed ? driver_check(driver, failed, row->name, err) : ST_OK;
}

static Status bench_rows_all(const Driver *driver, Figures *f, Error *err) {
    CuDeviceptr buffer = 0;
    Status st = driver_check(driver, driver->MemAlloc(&buffer, 4096), "cuMemAlloc", err);
    if (!st) st = driver_check(driver, driver->MemsetD8(buffer, 0, 4096), "cuMemsetD8", err);
    for (int i = 0; i < ROWS && !st; i++)
        if (strstr(bench_rows[i].name, f->only))
            st = bench_row(driver, &bench_rows[i], buffer, f, &f->row[i], err);
    if (buffer) driver->MemFree(buffer);
    return st;
}

/* --- attention: the shipped kernel in its default configuration --- */

static Status attention_plan(seqtune_context *ctx, seqtune_plan **plan, Error *err) {
    GenProblem problem;
    PlanDesc desc;
    char text[128];
    snprintf(text, sizeof text,
             "dtype=bf16 head_dim=%d mask=none heads_q=%d heads_kv=%d len_q=%d len_kv=%d", DIM,
             HEADS, HEADS, TOKENS, TOKENS);
    gen_problem_init(gen_spec_find(ctx->library, "attn_prefill"), &problem);
    Status st = gen_problem_parse(&problem, text, err);
    if (!st) st = gen_problem_check(&problem, err);
    if (!st) st = plan_desc_of_problem(&problem, &desc, err);
    return st ? st : plan_create(ctx, "attn_prefill", &desc, NULL, plan, err);
}

/* Small numbers of both signs in every operand. */
static Status attention_args(seqtune_context *ctx, seqtune_attention_args *args, Error *err) {
    seqtune_device_ptr *const buffers[] = {&args->q, &args->k, &args->v, &args->o};
    uint16_t *const codes = malloc(ELEMENTS * sizeof *codes);
    if (!codes) return err_no_memory(err, ELEMENTS * sizeof *codes);
    uint32_t random = 1;
    bool ok = true;
    for (int i = 0; i < 4 && ok; i++) {
        for (int e = 0; e < ELEMENTS; e++) {
            random = random * 1664525u + 1013904223u;
            codes[e] = (uint16_t)(0x3e00u | (random >> 16 & 0x81ffu)); /* 0.125 to 1.98 */
        }
        ok = !seqtune_device_alloc(ctx, ELEMENTS * sizeof *codes, buffers[i]) &&
             !seqtune_device_upload(ctx, *buffers[i], codes, ELEMENTS * sizeof *codes);
    }
    free(codes);
    return ok ? ST_OK : err_set(err, ST_DRIVER, "%s", seqtune_last_error(ctx));
}

static Status bench_attention(const Mode *mode, Seconds *least, Error *err) {
    seqtune_options options = SEQTUNE_OPTIONS_INIT;
    seqtune_context *ctx = NULL;
    seqtune_plan *plan = NULL;
    seqtune_attention_args args = SEQTUNE_ATTENTION_ARGS_INIT;
    setenv("SOFTGPU_CHECKS", mode->checks, 1);
    setenv("SOFTGPU_MMA", mode->mma, 1);
    options.database = "";
    options.driver = "soft";
    Status st = context_open(&options, &ctx, err);
    if (!st) st = attention_plan(ctx, &plan, err);
    if (!st) st = attention_args(ctx, &args, err);
    *least = NEVER;
    for (int i = 0; i < REPEATS / 3 && !st; i++) {
        const Seconds start = now();
        if (seqtune_run_attention(plan, &args, 0, NULL) || seqtune_device_synchronize(ctx))
            st = err_set(err, ST_DRIVER, "%s", seqtune_last_error(ctx));
        since(start, least);
    }
    seqtune_plan_destroy(plan);
    if (!st && (seqtune_device_free(ctx, args.q) || seqtune_device_free(ctx, args.k) ||
                seqtune_device_free(ctx, args.v) || seqtune_device_free(ctx, args.o)))
        st = err_set(err, ST_DRIVER, "%s", seqtune_last_error(ctx));
    seqtune_close(ctx);
    setenv("SOFTGPU_CHECKS", "none", 1);
    return st;
}

/* --- the host's limit: OpenBLAS, where it is installed --- */

typedef void (*Sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

static double bench_sgemm(const Figures *f) {
    void *const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) return 0;
    Sgemm sgemm = NULL;
    void (*set_threads)(int) = NULL;
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    const size_t n = SGEMM_N;
    float *const m = malloc(3 * n * n * sizeof *m);
    if (!sgemm || !set_threads || !m) {
        free(m);
        return 0;
    }
    for (size_t i = 0; i < 3 * n * n; i++) m[i] = (float)(i % 17) - 8;
    set_threads(f->cores);
    Seconds least = NEVER;
    for (int i = 0; i < REPEATS; i++) {
        const Seconds start = now();
        sgemm(101, 111, 111, SGEMM_N, SGEMM_N, SGEMM_N, 1, m, SGEMM_N, m + n * n, SGEMM_N, 0,
              m + 2 * n * n, SGEMM_N); /* row-major, no transposes */
        since(start, &least);
    }
    free(m);
    const double seconds = f->cores == 1 ? least.processor : least.wall;
    return 2e-9 * (double)n * (double)n * (double)n / seconds;
}

/* --- the two processes --- */

static Status measure(Figures *f, Error *err) {
    Driver *driver = NULL;
    CuDevice device = 0;
    CuContext context = NULL;
    Status st = driver_open("soft", &driver, err);
    if (!st) st = driver_check(driver, driver->DeviceGet(&device, 0), "cuDeviceGet", err);
    if (!st)
        st = driver_check(driver, driver->DevicePrimaryCtxRetain(&context, device),
                          "cuDevicePrimaryCtxRetain", err);
    if (!st) st = driver_check(driver, driver->CtxSetCurrent(context), "cuCtxSetCurrent", err);
    if (!st) st = bench_rows_all(driver, f, err);
    f->flags = NEVER;
    for (int i = 0; i < REPEATS / 3 && !st && !*f->only; i++) {
        const Seconds start = now();
        st = bench_flags(driver, err);
        since(start, &f->flags);
    }
    for (int i = 0; i < MODES && !st; i++)
        if (strstr(modes[i].name, f->only)) st = bench_attention(&modes[i], &f->attention[i], err);
    if (!st && !*f->only) f->sgemm = bench_sgemm(f);
    return st; /* the process ends: nothing to give back */
}

/* Runs measure() in a child bound to `f->cores` cores; false when it failed. */
static bool measure_apart(Figures *f, const cpu_set_t *allowed) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        cpu_set_t set = *allowed;
        int left = f->cores;
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &set) && --left < 0) CPU_CLR(cpu, &set);
        Error err = {0};
        const bool ok = sched_setaffinity(0, sizeof set, &set) == 0 && measure(f, &err) == ST_OK;
        if (!ok) fprintf(stderr, "bench_softgpu: %s\n", err.message);
        fflush(stderr);
        _exit(!ok);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* One core's processor time, all cores' processor and wall time; how much the wall time shrinks:
 * `share` is what all cores get done in it, in units of what one core does. */
static void print_line(const char *name, const Seconds *one, const Seconds *all, double unit,
                       double share) {
    if (one->wall == 0) return;
    printf("%-22s %10.*f %10.*f %10.*f %8.2f\n", name, unit > 1 ? 1 : 3, unit * one->processor,
           unit > 1 ? 1 : 3, unit * all->processor, unit > 1 ? 1 : 3, unit * all->wall,
           share * one->processor / all->wall);
}

static void print_figures(const Figures *one, const Figures *all) {
    double mma = 0;
    printf("%-22s %10s %10s %10s %8s\n", "warp instruction, ns", "1 core", "all, cpu", "wall",
           "speedup");
    for (int i = 0; i < ROWS; i++) {
        print_line(bench_rows[i].name, &one->row[i], &all->row[i], 1e9, all->cores);
        if (strcmp(bench_rows[i].name, "mma f16, fast") == 0)
            mma = 2e-9 * 16 * 8 * 16 / one->row[i].processor;
    }
    printf("\nattention forward, %d x %d, head_dim %d, %d heads, bf16 (attn_prefill), seconds\n",
           TOKENS, TOKENS, DIM, HEADS);
    for (int i = 0; i < MODES; i++)
        print_line(modes[i].name, &one->attention[i], &all->attention[i], 1, 1);
    if (*one->only) return;
    printf("\nflag barrier in global memory, %d blocks, %d steps, seconds\n", FLAG_BLOCKS,
           FLAG_STEPS);
    print_line("flag barrier", &one->flags, &all->flags, 1, 1);
    if (one->sgemm == 0)
        printf("\nSGEMM of the host: skipped, libopenblas.so.0 is not installed\n");
    else
        printf("\nSGEMM of the host (OpenBLAS, %d x %d x %d): %.0f GFLOP/s on 1 core, %.0f on all; "
               "mma f16, fast: %.0f on 1 core\n",
               SGEMM_N, SGEMM_N, SGEMM_N, one->sgemm, all->sgemm, mma);
}

/* bench_softgpu [PART]: only what has PART in its name. */
int main(int argc, char **argv) {
    Figures *const f =
        mmap(NULL, 2 * sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cpu_set_t allowed;
    if (f == MAP_FAILED || sched_getaffinity(0, sizeof allowed, &allowed)) return 1;
    f[0].only = f[1].only = argc > 1 ? argv[1] : "";
    f[0].cores = 1;
    f[1].cores = CPU_COUNT(&allowed);
    double load = 0;
    (void)getloadavg(&load, 1);
    printf("software GPU, %d cores, load average %.1f; least of %d; 1 core by processor time\n",
           f[1].cores, load, REPEATS);
    if (!measure_apart(&f[0], &allowed) || !measure_apart(&f[1], &allowed)) return 1;
    print_figures(&f[0], &f[1]);
    return 0;
}
