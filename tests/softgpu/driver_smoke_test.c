/* The whole library, loaded as a program would load it: PTX (stored, and compiled by NVRTC where
 * there is one) through module, launch, fault and time. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "softgpu/driver/abi.h"
#include "softgpu/softgpu.h"

#define OK(call) assert_int_equal((call), CUDA_SUCCESS)

/* Scales data[i] and leaves the sum of each block: global and shared memory, a barrier, a loop. */
static const char source[] =
    "extern \"C\" __global__ void scale_and_sum(float *data, float *sum, float factor, int n) {\n"
    "    extern __shared__ float part[];\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    float v = 0;\n"
    "    if (i < n) { v = data[i] * factor; data[i] = v; }\n"
    "    part[threadIdx.x] = v;\n"
    "    __syncthreads();\n"
    "    for (int s = blockDim.x / 2; s > 0; s /= 2) {\n"
    "        if (threadIdx.x < s) part[threadIdx.x] += part[threadIdx.x + s];\n"
    "        __syncthreads();\n"
    "    }\n"
    "    if (threadIdx.x == 0) sum[blockIdx.x] = part[0];\n"
    "}\n";

/* The same, written by hand. */
static const char stored[] =
    ".version 7.0\n"
    ".target sm_75\n"
    ".address_size 64\n"
    ".extern .shared .align 16 .b8 part[];\n"
    ".visible .entry scale_and_sum(.param .u64 data, .param .u64 sum, .param .f32 factor,\n"
    "                              .param .u32 n)\n"
    "{\n"
    "    .reg .pred %p<4>;\n"
    "    .reg .f32 %f<6>;\n"
    "    .reg .b32 %r<12>;\n"
    "    .reg .b64 %rd<8>;\n"
    "    ld.param.u64 %rd1, [data];\n"
    "    ld.param.u64 %rd2, [sum];\n"
    "    ld.param.f32 %f1, [factor];\n"
    "    ld.param.u32 %r1, [n];\n"
    "    cvta.to.global.u64 %rd1, %rd1;\n"
    "    cvta.to.global.u64 %rd2, %rd2;\n"
    "    mov.u32 %r2, %ctaid.x;\n"
    "    mov.u32 %r3, %ntid.x;\n"
    "    mov.u32 %r4, %tid.x;\n"
    "    mad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "    mov.f32 %f2, 0f00000000;\n"
    "    setp.ge.s32 %p1, %r5, %r1;\n"
    "    @%p1 bra STORE;\n"
    "    mul.wide.s32 %rd3, %r5, 4;\n"
    "    add.s64 %rd4, %rd1, %rd3;\n"
    "    ld.global.f32 %f3, [%rd4];\n"
    "    mul.f32 %f2, %f3, %f1;\n"
    "    st.global.f32 [%rd4], %f2;\n"
    "STORE:\n"
    "    shl.b32 %r6, %r4, 2;\n"
    "    mov.u32 %r7, part;\n"
    "    add.s32 %r8, %r7, %r6;\n"
    "    st.shared.f32 [%r8], %f2;\n"
    "    bar.sync 0;\n"
    "    shr.u32 %r9, %r3, 1;\n"
    "LOOP:\n"
    "    setp.ge.u32 %p2, %r4, %r9;\n"
    "    @%p2 bra NEXT;\n"
    "    shl.b32 %r10, %r9, 2;\n"
    "    add.s32 %r11, %r8, %r10;\n"
    "    ld.shared.f32 %f4, [%r11];\n"
    "    ld.shared.f32 %f5, [%r8];\n"
    "    add.f32 %f5, %f5, %f4;\n"
    "    st.shared.f32 [%r8], %f5;\n"
    "NEXT:\n"
    "    bar.sync 0;\n"
    "    shr.u32 %r9, %r9, 1;\n"
    "    setp.ne.u32 %p3, %r9, 0;\n"
    "    @%p3 bra LOOP;\n"
    "    setp.ne.u32 %p2, %r4, 0;\n"
    "    @%p2 bra DONE;\n"
    "    ld.shared.f32 %f4, [%r8];\n"
    "    mul.wide.u32 %rd5, %r2, 4;\n"
    "    add.s64 %rd6, %rd2, %rd5;\n"
    "    st.global.f32 [%rd6], %f4;\n"
    "DONE:\n"
    "    ret;\n"
    "}\n"
    "// seqtune-ptxas: entry=scale_and_sum registers=18 stack=0 spill_stores=0 spill_loads=0 "
    "smem=0\n";

enum { N = 10000, THREADS = 256, BLOCKS = (N + THREADS - 1) / THREADS };

typedef struct Run {
    CUcontext context;
    CUfunction function;
    CUdeviceptr data, sum;
    float host[N];
} Run;

static Run run;

static void run_open(const char *ptx) {
    CUmodule module;
    char log[2048] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    OK(cuInit(0));
    OK(cuCtxCreate_v4(&run.context, NULL, 0, 0));
    if (cuModuleLoadDataEx(&module, ptx, 2, options, values) != CUDA_SUCCESS) fail_msg("%s", log);
    OK(cuModuleGetFunction(&run.function, module, "scale_and_sum"));
    OK(cuMemAlloc_v2(&run.data, sizeof run.host));
    OK(cuMemAlloc_v2(&run.sum, BLOCKS * sizeof(float)));
    for (int i = 0; i < N; i++) run.host[i] = (float)(i % 7);
    OK(cuMemcpyHtoD_v2(run.data, run.host, sizeof run.host));
}

static CUresult run_launch(int n, unsigned int blocks) {
    float factor = 2;
    void *params[] = {&run.data, &run.sum, &factor, &n};
    return cuLaunchKernel(run.function, blocks, 1, 1, THREADS, 1, 1, THREADS * 4, NULL, params,
                          NULL);
}

static void run_check(void) {
    static float out[N], sum[BLOCKS];
    OK(cuMemcpyDtoH_v2(out, run.data, sizeof out));
    OK(cuMemcpyDtoH_v2(sum, run.sum, sizeof sum));
    float total = 0;
    for (int i = 0; i < N; i++) {
        total = i % THREADS == 0 ? 0 : total;
        total += 2 * run.host[i];
        assert_true(out[i] == 2 * run.host[i]);
        if (i == N - 1 || i % THREADS == THREADS - 1) assert_true(sum[i / THREADS] == total);
    }
}

/* Runs it right, reads its figures, then lets it run over the end. */
static void kernel_runs_and_faults(const char *ptx) {
    char text[1024];
    run_open(ptx);
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    run_check();
    SoftgpuLaunchStats stats = {.size = sizeof stats};
    assert_int_equal(softgpuLastLaunch(&stats), CUDA_SUCCESS);
    assert_int_equal(stats.blocks, BLOCKS);
    assert_true(stats.seconds > 1e-6 && stats.seconds < 1e-4);
    assert_true(stats.barriers > 0 && stats.global_sectors >= 2 * N / 8);
    OK(run_launch(N + 1, BLOCKS));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(softgpuLastFault(text, sizeof text), CUDA_SUCCESS);
    assert_non_null(strstr(text, "scale_and_sum"));
    assert_non_null(strstr(text, "allocation"));
    OK(cuCtxDestroy_v2(run.context));
}

static void stored_ptx_runs_and_faults_are_told(void **state) {
    (void)state;
    kernel_runs_and_faults(stored);
}

static double counter(const char *name) {
    static SoftgpuCounter counters[256];
    size_t n = 256;
    assert_int_equal(softgpuLastCounters(counters, &n), CUDA_SUCCESS);
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++)
        if (strcmp(counters[i].name, name) == 0) return counters[i].value;
    fail_msg("no counter %s", name);
    return 0;
}

/* As the launch before, with the same modelled time; each thread of the data is read and written
 * once, coalesced. */
static void a_profiled_launch_tells_counters_and_lines(void **state) {
    (void)state;
    static SoftgpuLine lines[512];
    size_t n = 0, lines_in_all = 0;
    run_open(stored);
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    SoftgpuLaunchStats plain = {.size = sizeof plain}, stats = {.size = sizeof stats};
    assert_int_equal(softgpuLastLaunch(&plain), CUDA_SUCCESS);
    assert_int_equal(softgpuLastCounters(NULL, &n), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(softgpuSetProfile(2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(softgpuSetProfile(1), CUDA_SUCCESS);
    OK(cuMemcpyHtoD_v2(run.data, run.host, sizeof run.host));
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    run_check();
    assert_int_equal(softgpuLastLaunch(&stats), CUDA_SUCCESS);
    assert_memory_equal(&plain, &stats, sizeof stats);
    assert_true(counter("time.seconds") == stats.seconds);
    assert_true(counter("blocks.run") == BLOCKS);
    assert_true(counter("global.load.sectors_per_request") > 3.9);
    assert_true(counter("l2.read_sectors") == counter("global.load.sectors"));
    assert_int_equal(softgpuLastProfile(NULL, &lines_in_all), CUDA_SUCCESS);
    n = 512;
    assert_int_equal(softgpuLastProfile(lines, &n), CUDA_SUCCESS);
    assert_int_equal(n, lines_in_all);
    double share = 0, warps = 0;
    for (size_t i = 0; i < n; i++) {
        share += lines[i].share;
        warps += (double)lines[i].warps;
        assert_true(i == 0 || lines[i].ptx_line >= lines[i - 1].ptx_line);
    }
    assert_true(share > 1 - 1e-9 && share < 1 + 1e-9);
    assert_true(warps == counter("inst.ptx"));
    n = 1; /* less room than lines */
    assert_int_equal(softgpuLastProfile(lines, &n), CUDA_SUCCESS);
    assert_int_equal(n, lines_in_all);
    assert_int_equal(softgpuSetProfile(0), CUDA_SUCCESS);
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    assert_int_equal(softgpuLastProfile(lines, &n), CUDA_ERROR_NOT_FOUND);
    /* a program built before the struct grew */
    SoftgpuLaunchStats old = {.size = offsetof(SoftgpuLaunchStats, at_least), .high = -1};
    assert_int_equal(softgpuLastLaunch(&old), CUDA_SUCCESS);
    assert_true(old.high == -1 && old.max_async_groups == stats.max_async_groups);
    OK(cuCtxDestroy_v2(run.context));
}

/* A block that dies leaves its part undone, as often as it is launched, until nobody dies. */
static void a_killed_block_leaves_its_part_undone(void **state) {
    (void)state;
    enum { DEAD = 2 };
    float out[N];
    for (unsigned long long after = 0; after < 8; after += 7) {
        run_open(stored);
        assert_int_equal(softgpuKillBlock("scale_and_sum", DEAD, after), CUDA_SUCCESS);
        OK(run_launch(N, BLOCKS));
        OK(cuCtxSynchronize());
        OK(cuMemcpyDtoH_v2(out, run.data, sizeof out));
        for (int i = 0; i < N; i++)
            assert_true(out[i] == (i / THREADS == DEAD ? 1 : 2) * run.host[i]);
        OK(cuMemcpyHtoD_v2(run.data, run.host, sizeof run.host));
        assert_int_equal(softgpuKillBlock("other", DEAD, 0), CUDA_SUCCESS);
        OK(run_launch(N, BLOCKS));
        OK(cuCtxSynchronize());
        run_check();
        assert_int_equal(softgpuKillBlock(NULL, 0, 0), CUDA_SUCCESS);
        OK(cuCtxDestroy_v2(run.context));
    }
}

/* What the environment says is read by cuInit: a process of its own for each. */
static int child_with(const char *name, const char *value, int (*what)(void)) {
    const pid_t id = fork();
    if (id == 0) {
        setenv(name, value, 1);
        _exit(what());
    }
    int status = -1;
    assert_true(id > 0 && waitpid(id, &status, 0) == id && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int count_sms(void) {
    int sms = 0;
    if (cuInit(0) != CUDA_SUCCESS) return 255;
    cuDeviceGetAttribute(&sms, 16, 0); /* MULTIPROCESSOR_COUNT */
    return sms;
}

static int kill_is_refused(void) {
    char text[512] = "";
    if (cuInit(0) != CUDA_ERROR_INVALID_VALUE) return 1;
    softgpuLastFault(text, sizeof text);
    return strstr(text, "is not kernel:block or kernel:block:instructions") ? 0 : 2;
}

static int kill_is_taken(void) {
    return cuInit(0) == CUDA_SUCCESS ? 0 : 1;
}

static void the_environment_cuts_gpus_and_kills_blocks(void **state) {
    (void)state;
    assert_int_equal(child_with("SOFTGPU_SMS", "7", count_sms), 7);
    assert_int_equal(child_with("SOFTGPU_SMS", "108", count_sms), 108);
    assert_int_equal(child_with("SOFTGPU_SMS", "109", count_sms), 255);
    assert_int_equal(child_with("SOFTGPU_SMS", "0", count_sms), 255);
    assert_int_equal(child_with("SOFTGPU_SMS", "x", count_sms), 255);
    static const char *const bad[] = {"k", "k:", ":1", "k:x", "k:1:", "k:1:x", "k:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (child_with("SOFTGPU_KILL_BLOCK", bad[i], kill_is_refused)) fail_msg("%s", bad[i]);
    assert_int_equal(child_with("SOFTGPU_KILL_BLOCK", "k:1", kill_is_taken), 0);
    assert_int_equal(child_with("SOFTGPU_KILL_BLOCK", "k:1:500", kill_is_taken), 0);
}

/* Two launches of different grids: each can be shown again, later ones stand behind. */
static void every_profiled_launch_can_be_selected(void **state) {
    (void)state;
    char entry[64] = "";
    SoftgpuLaunchStats stats = {.size = sizeof stats};
    run_open(stored);
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    assert_int_equal(softgpuSelectLaunch(0, NULL, 0), CUDA_ERROR_NOT_FOUND); /* not profiled */
    assert_int_equal(softgpuSetProfile(1), CUDA_SUCCESS);
    OK(run_launch(N, BLOCKS));
    OK(run_launch(N / 2, BLOCKS - 1));
    OK(cuCtxSynchronize());
    assert_true(counter("blocks.run") == BLOCKS - 1);
    assert_int_equal(softgpuSelectLaunch(0, entry, sizeof entry), CUDA_SUCCESS);
    assert_string_equal(entry, "scale_and_sum");
    assert_true(counter("blocks.run") == BLOCKS);
    assert_int_equal(softgpuLastLaunch(&stats), CUDA_SUCCESS);
    assert_int_equal(stats.blocks, BLOCKS);
    assert_int_equal(softgpuSelectLaunch(1, entry, 6), CUDA_SUCCESS);
    assert_string_equal(entry, "scale");
    assert_true(counter("blocks.run") == BLOCKS - 1);
    assert_int_equal(softgpuSelectLaunch(2, NULL, 0), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(softgpuSelectLaunch(0, entry, 0), CUDA_ERROR_INVALID_VALUE);
    for (int i = 0; i < 17; i++) OK(run_launch(N, i < 16 ? BLOCKS : BLOCKS - 1));
    OK(cuCtxSynchronize());
    assert_int_equal(softgpuSelectLaunch(15, NULL, 0), CUDA_SUCCESS); /* 16 are kept */
    assert_true(counter("blocks.run") == BLOCKS - 1);
    assert_int_equal(softgpuSelectLaunch(16, NULL, 0), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(softgpuSetProfile(1), CUDA_SUCCESS); /* begins anew */
    assert_int_equal(softgpuSelectLaunch(0, NULL, 0), CUDA_ERROR_NOT_FOUND);
    OK(cuCtxDestroy_v2(run.context));
}

/* The parts of an SM's cycles: all of them, and modelled. */
static void cycles_are_told_by_what_they_go_to(void **state) {
    (void)state;
    static const char *const parts[] = {"cycles.issue", "stall.barrier",    "stall.async",
                                        "stall.memory", "stall.dependence", "stall.pipe",
                                        "stall.untold"};
    run_open(stored);
    assert_int_equal(softgpuSetProfile(1), CUDA_SUCCESS);
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    double cycles = 0, shares = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char share[40];
        snprintf(share, sizeof share, "%s_share", parts[i]);
        assert_true(counter(parts[i]) >= 0);
        cycles += counter(parts[i]);
        shares += counter(share);
    }
    assert_true(counter("cycles") > 0 && cycles > 0.999999 * counter("cycles"));
    assert_true(cycles < 1.000001 * counter("cycles"));
    assert_true(shares > 99.9999 && shares < 100.0001);
    assert_true(counter("stall.memory_share") > 20); /* loads that nothing hides */
    assert_true(counter("stall.barrier_share") > 0);
    assert_true(counter("stall.async") == 0);
    OK(cuCtxDestroy_v2(run.context));
}

static void sampled_launches_take_the_same_modelled_time(void **state) {
    (void)state;
    CUevent start, middle, end;
    float full, sampled;
    run_open(stored);
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&middle, 0));
    OK(cuEventCreate(&end, 0));
    OK(cuEventRecord(start, NULL));
    OK(run_launch(N, BLOCKS));
    OK(cuEventRecord(middle, NULL));
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_TIMING), CUDA_SUCCESS);
    OK(run_launch(N, BLOCKS));
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_FULL), CUDA_SUCCESS);
    OK(cuEventRecord(end, NULL));
    OK(cuEventSynchronize(end));
    OK(cuEventElapsedTime(&full, start, middle));
    OK(cuEventElapsedTime(&sampled, middle, end));
    assert_true(sampled > 0.9f * full && sampled < 1.1f * full);
    OK(cuCtxDestroy_v2(run.context));
}

static void untimed_launches_give_results_and_take_no_time(void **state) {
    (void)state;
    CUevent start, end;
    float ms;
    SoftgpuLaunchStats stats = {.size = sizeof stats};
    run_open(stored);
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 0));
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_UNTIMED + 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_UNTIMED), CUDA_SUCCESS);
    OK(cuEventRecord(start, NULL));
    OK(run_launch(N, BLOCKS));
    OK(cuEventRecord(end, NULL));
    OK(cuEventSynchronize(end));
    run_check();
    OK(cuEventElapsedTime(&ms, start, end));
    assert_true(ms == 0);
    assert_int_equal(softgpuLastLaunch(&stats), CUDA_SUCCESS);
    assert_string_equal(stats.bound, "untimed");
    assert_true(stats.seconds == 0);
    assert_int_equal(stats.blocks_run, BLOCKS);
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_FULL), CUDA_SUCCESS);
    OK(run_launch(N, BLOCKS));
    OK(cuCtxSynchronize());
    assert_int_equal(softgpuLastLaunch(&stats), CUDA_SUCCESS);
    assert_true(stats.seconds > 0);
    OK(cuCtxDestroy_v2(run.context));
}

static void a_peek_waits_for_the_stream_and_takes_no_time(void **state) {
    (void)state;
    CUevent start, end;
    CUstream stream;
    CUgraph graph;
    float seen[N], ms[2];
    run_open(stored);
    OK(cuEventCreate(&start, 0));
    OK(cuEventCreate(&end, 0));
    for (int peek = 0; peek < 2; peek++) {
        OK(cuEventRecord(start, NULL));
        OK(run_launch(N, BLOCKS));
        if (peek) assert_int_equal(softgpuPeek(NULL, seen, run.data, sizeof seen), CUDA_SUCCESS);
        OK(cuEventRecord(end, NULL));
        OK(cuEventSynchronize(end));
        OK(cuEventElapsedTime(&ms[peek], start, end));
    }
    assert_true(ms[0] == ms[1]);
    for (int i = 0; i < N; i++) assert_true(seen[i] == 4 * run.host[i]); /* twice by 2 */
    assert_int_equal(softgpuPeek(NULL, seen, run.data + 4, sizeof seen), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_TIMING), CUDA_SUCCESS);
    assert_int_equal(softgpuPeek(NULL, seen, run.data, sizeof seen), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(softgpuSetLaunchMode(SOFTGPU_FULL), CUDA_SUCCESS);
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_int_equal(softgpuPeek(stream, seen, run.data, sizeof seen),
                     CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cuStreamEndCapture(stream, &graph)); /* it went on */
    /* what only the caller can release is not waited for */
    OK(cuMemsetD32_v2(run.data, 0, 1));
    OK(cuStreamWaitValue32_v2(stream, run.data, 7, CU_STREAM_WAIT_VALUE_EQ));
    assert_int_equal(softgpuPeek(stream, seen, run.data, sizeof seen), CUDA_ERROR_NOT_READY);
    OK(cuMemsetD32_v2(run.data, 7, 1));
    OK(cuStreamSynchronize(stream));
    assert_int_equal(softgpuPeek(stream, seen, run.data, sizeof seen), CUDA_SUCCESS);
    OK(cuCtxDestroy_v2(run.context));
}

/* PTX of `source` by NVRTC; NULL when there is none. Caller frees. */
static char *compiled(void) {
    static const char *const names[] = {"libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.13",
                                        "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so.12"};
    void *library = NULL;
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof *names; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return NULL;
    typedef int (*Create)(void **, const char *, const char *, int, void *, void *);
    typedef int (*Compile)(void *, int, const char *const *);
    typedef int (*Size)(void *, size_t *);
    typedef int (*Text)(void *, char *);
    void *program;
    size_t size;
    const char *options[] = {"-arch=sm_80", "--std=c++17", "-default-device", "-lineinfo"};
    const Create create = (Create)(uintptr_t)dlsym(library, "nvrtcCreateProgram");
    const Compile compile = (Compile)(uintptr_t)dlsym(library, "nvrtcCompileProgram");
    const Size ptx_size = (Size)(uintptr_t)dlsym(library, "nvrtcGetPTXSize");
    const Text ptx_text = (Text)(uintptr_t)dlsym(library, "nvrtcGetPTX");
    assert_int_equal(create(&program, source, "/seqtune/smoke.cu", 0, NULL, NULL), 0);
    assert_int_equal(compile(program, 4, options), 0);
    assert_int_equal(ptx_size(program, &size), 0);
    char *text = malloc(size);
    assert_non_null(text);
    assert_int_equal(ptx_text(program, text), 0);
    return text;
}

static void nvrtc_ptx_runs_and_faults_name_the_source_line(void **state) {
    (void)state;
    char *ptx = compiled();
    if (ptx == NULL) {
        print_message("no NVRTC on this machine: only the stored PTX ran\n");
        skip();
    }
    char text[1024];
    kernel_runs_and_faults(ptx);
    run_open(ptx);
    OK(run_launch(2 * N, BLOCKS + 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(softgpuLastFault(text, sizeof text), CUDA_SUCCESS);
    if (strstr(text, "smoke.cu:5") == NULL) fail_msg("%s", text);
    OK(cuCtxDestroy_v2(run.context));
    free(ptx);
}

/* It makes progress for ever, so that no search for a deadlock finds it. */
static void a_kernel_that_never_ends_is_ended_by_the_limit(void **state) {
    (void)state;
    static const char endless[] = ".version 7.0\n.target sm_75\n.address_size 64\n"
                                  ".visible .entry scale_and_sum(.param .u64 data)\n{\n"
                                  "    .reg .b32 %r<2>;\n    .reg .b64 %rd<2>;\n"
                                  "    ld.param.u64 %rd1, [data];\n"
                                  "LOOP:\n    add.u32 %r1, %r1, 1;\n"
                                  "    st.volatile.global.u32 [%rd1], %r1;\n    bra LOOP;\n}\n";
    char text[1024] = "";
    run_open(endless);
    OK(run_launch(N, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_TIMEOUT);
    OK(softgpuLastFault(text, sizeof text));
    assert_non_null(strstr(text, "scale_and_sum"));
    assert_int_equal(cuCtxDestroy_v2(run.context), CUDA_SUCCESS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_cuts_gpus_and_kills_blocks), /* before cuInit */
        cmocka_unit_test(stored_ptx_runs_and_faults_are_told),
        cmocka_unit_test(a_profiled_launch_tells_counters_and_lines),
        cmocka_unit_test(every_profiled_launch_can_be_selected),
        cmocka_unit_test(a_killed_block_leaves_its_part_undone),
        cmocka_unit_test(cycles_are_told_by_what_they_go_to),
        cmocka_unit_test(sampled_launches_take_the_same_modelled_time),
        cmocka_unit_test(untimed_launches_give_results_and_take_no_time),
        cmocka_unit_test(a_peek_waits_for_the_stream_and_takes_no_time),
        cmocka_unit_test(nvrtc_ptx_runs_and_faults_name_the_source_line),
        cmocka_unit_test(a_kernel_that_never_ends_is_ended_by_the_limit),
    };
    setenv("SOFTGPU_INSTRUCTION_LIMIT", "1000000", 1); /* read by cuInit; the others stay below */
    return cmocka_run_group_tests_name("softgpu smoke", tests, NULL, NULL);
}
