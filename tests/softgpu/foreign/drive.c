/* One case on one driver (contract in drive.h). The calls are those of the table's own harness:
 * two pointers, grid 1, block 1 or 64, 1024 bytes of dynamic shared memory. */
#include "tests/softgpu/foreign/drive.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/files.h"
#include "softgpu/driver/abi.h"

#define CALLS(X)                                                                                   \
    X(cuInit)                                                                                      \
    X(cuDeviceGet)                                                                                 \
    X(cuCtxCreate_v2)                                                                              \
    X(cuCtxDestroy_v2)                                                                             \
    X(cuModuleLoadDataEx)                                                                          \
    X(cuModuleGetFunction)                                                                         \
    X(cuModuleUnload)                                                                              \
    X(cuMemAlloc_v2)                                                                               \
    X(cuMemFree_v2)                                                                                \
    X(cuMemcpyHtoD_v2)                                                                             \
    X(cuMemcpyDtoH_v2)                                                                             \
    X(cuMemsetD8_v2)                                                                               \
    X(cuLaunchKernel)                                                                              \
    X(cuCtxSynchronize)                                                                            \
    X(cuGetErrorName)

typedef struct Calls {
#define CALL(name) __typeof__(&name) name;
    CALLS(CALL)
#undef CALL
    int (*last_fault)(char *text, size_t size); /* softgpuLastFault; NULL on libcuda */
} Calls;

typedef struct Drive {
    const ForeignCase *c;
    DriveOutcome *out;
    Calls cu;
    CUcontext context;
    CUmodule module;
    CUfunction function;
    CUdeviceptr input, output;
    Arena *arena;
} Drive;

const char *drive_stage_name(DriveStage stage) {
    static const char *const names[] = {
        [DRIVE_PASSED] = "passed",    [DRIVE_RUNNER] = "not run",  [DRIVE_LOAD] = "not loaded",
        [DRIVE_LAUNCH] = "faulted",   [DRIVE_BITS] = "wrong bits", [DRIVE_CRASHED] = "crashed",
        [DRIVE_HUNG] = "did not end",
    };
    return names[stage];
}

static bool end(Drive *d, DriveStage stage, const char *what, const char *detail) {
    d->out->stage = stage;
    snprintf(d->out->text, sizeof d->out->text, "%.300s%s%.1200s", what, *detail ? ": " : "",
             detail);
    return false;
}

static bool ok(Drive *d, DriveStage stage, const char *call, CUresult result) {
    if (result == CUDA_SUCCESS) return true;
    const char *name = "unknown error";
    char what[200], fault[1200] = "";
    d->cu.cuGetErrorName(result, &name);
    snprintf(what, sizeof what, "%s gave %s", call, name);
    if (d->cu.last_fault) d->cu.last_fault(fault, sizeof fault);
    return end(d, stage, what, fault);
}

static bool open_library(Drive *d, const char *path) {
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return end(d, DRIVE_RUNNER, "no driver", dlerror());
#define CALL(name)                                                                                 \
    d->cu.name = (__typeof__(&name))(uintptr_t)dlsym(library, #name);                              \
    if (!d->cu.name) return end(d, DRIVE_RUNNER, path, "has no " #name);
    CALLS(CALL)
#undef CALL
    d->cu.last_fault = (int (*)(char *, size_t))(uintptr_t)dlsym(library, "softgpuLastFault");
    return true;
}

static bool open_device(Drive *d, const DriveDevice *device) {
    CUdevice handle;
    if (device->model) setenv("SOFTGPU_DEVICES", device->model, 1);
    return open_library(d, device->library) && ok(d, DRIVE_RUNNER, "cuInit", d->cu.cuInit(0)) &&
           ok(d, DRIVE_RUNNER, "cuDeviceGet", d->cu.cuDeviceGet(&handle, device->ordinal)) &&
           ok(d, DRIVE_RUNNER, "cuCtxCreate", d->cu.cuCtxCreate_v2(&d->context, 0, handle));
}

static bool load(Drive *d) {
    char log[1200] = "", path[4096];
    char *text;
    size_t size;
    Error err;
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    snprintf(path, sizeof path, "%s/%s.ptx", d->c->directory, d->c->name);
    if (files_read(d->arena, path, 16 << 20, &text, &size, &err) != ST_OK)
        return end(d, DRIVE_RUNNER, "no PTX", err.message);
    const CUresult result = d->cu.cuModuleLoadDataEx(&d->module, text, 2, options, values);
    if (result != CUDA_SUCCESS) return end(d, DRIVE_LOAD, "cuModuleLoadData", log);
    if (!d->c->has_values) return true;
    return ok(d, DRIVE_LOAD, "cuModuleGetFunction",
              d->cu.cuModuleGetFunction(&d->function, d->module, d->c->name));
}

static bool prepare(Drive *d) {
    const LiteralArray *const in = &d->c->input, *const want = &d->c->expected;
    if (!ok(d, DRIVE_RUNNER, "cuMemAlloc", d->cu.cuMemAlloc_v2(&d->output, want->size)) ||
        !ok(d, DRIVE_RUNNER, "cuMemsetD8", d->cu.cuMemsetD8_v2(d->output, 0, want->size)))
        return false;
    if (!d->c->has_input || in->size == 0) return true;
    return ok(d, DRIVE_RUNNER, "cuMemAlloc", d->cu.cuMemAlloc_v2(&d->input, in->size)) &&
           ok(d, DRIVE_RUNNER, "cuMemcpyHtoD",
              d->cu.cuMemcpyHtoD_v2(d->input, in->bytes, in->size));
}

static bool launch(Drive *d) {
    void *params[] = {d->c->has_input ? &d->input : &d->output, &d->output};
    const unsigned threads = (unsigned)d->c->threads;
    return ok(d, DRIVE_LAUNCH, "cuLaunchKernel",
              d->cu.cuLaunchKernel(d->function, 1, 1, 1, threads, 1, 1, 1024, NULL, params,
                                   NULL)) &&
           ok(d, DRIVE_LAUNCH, "cuCtxSynchronize", d->cu.cuCtxSynchronize());
}

static bool compare(Drive *d) {
    const LiteralArray *const want = &d->c->expected;
    uint8_t *const got = arena_alloc(d->arena, want->size + 1);
    if (!got) return end(d, DRIVE_RUNNER, "no memory", "");
    if (!ok(d, DRIVE_LAUNCH, "cuMemcpyDtoH", d->cu.cuMemcpyDtoH_v2(got, d->output, want->size)))
        return false;
    const size_t at = literal_difference(want, got);
    if (at == want->count) return true;
    char expected[80], actual[80], what[300];
    literal_print(want, want->bytes, at, expected, sizeof expected);
    literal_print(want, got, at, actual, sizeof actual);
    snprintf(what, sizeof what, "element %zu of %zu (%s) is %s, expected %s", at, want->count,
             literal_type_name(want->type), actual, expected);
    return end(d, DRIVE_BITS, what, "");
}

static bool close_device(Drive *d) {
    return (!d->input || ok(d, DRIVE_LAUNCH, "cuMemFree", d->cu.cuMemFree_v2(d->input))) &&
           (!d->output || ok(d, DRIVE_LAUNCH, "cuMemFree", d->cu.cuMemFree_v2(d->output))) &&
           ok(d, DRIVE_LAUNCH, "cuModuleUnload", d->cu.cuModuleUnload(d->module)) &&
           ok(d, DRIVE_LAUNCH, "cuCtxDestroy", d->cu.cuCtxDestroy_v2(d->context));
}

/* In the child. */
static void run(Drive *d, const DriveDevice *device) {
    d->arena = arena_new();
    if (!d->arena) {
        end(d, DRIVE_RUNNER, "no memory", "");
    } else if (open_device(d, device) && load(d) &&
               (!d->c->has_values || (prepare(d) && launch(d) && compare(d))) && close_device(d)) {
        d->out->stage = DRIVE_PASSED;
    }
    arena_free(d->arena);
}

static void judge(DriveOutcome *out, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    const bool hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    out->stage = hung ? DRIVE_HUNG : DRIVE_CRASHED;
    if (hung)
        snprintf(out->text, sizeof out->text, "still running after %d s", DRIVE_SECONDS);
    else
        snprintf(out->text, sizeof out->text, "%s %d", WIFSIGNALED(status) ? "signal" : "exit",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void drive_case(const ForeignCase *c, const DriveDevice *device, DriveOutcome *out) {
    *out = (DriveOutcome){.stage = DRIVE_RUNNER};
    if (c->problem) {
        snprintf(out->text, sizeof out->text, "mod.rs:%d: %.1000s", c->line, c->problem);
        return;
    }
    DriveOutcome *const shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const pid_t child = shared == MAP_FAILED ? -1 : fork();
    if (child == 0) {
        Drive d = {.c = c, .out = shared};
        alarm(DRIVE_SECONDS);
        *shared = *out;
        run(&d, device);
        _exit(0);
    }
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) == child) {
        *out = *shared;
        judge(out, status);
    } else {
        snprintf(out->text, sizeof out->text, "no process for the case");
    }
    if (shared != MAP_FAILED) munmap(shared, sizeof *shared);
}
