/* Launches and occupancy: what the driver refuses at the call, and how a kernel runs in its turn.
 */
#include "softgpu/driver/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"

enum { MAX_THREADS = 1024, MAX_BLOCK_Z = 64, MAX_GRID_YZ = 65535 };
/* Once all blocks of a kernel wait for memory, the program may still write it by a copy. */
enum { PATIENCE_MS = 1000 };

typedef struct Shape {
    uint32_t grid[3], block[3], dynamic_smem;
    bool cooperative;
} Shape;

static SgOccupancy occupancy(const Function *f, int threads, uint32_t dynamic_smem) {
    return sg_occupancy(f->object.context->model, f->info, threads, dynamic_smem);
}

/* Refuses a launch with a text for softgpuLastFault. */
static __attribute__((format(printf, 3, 4))) CUresult refuse(const Function *f, CUresult result,
                                                             const char *why, ...) {
    Context *const context = f->object.context;
    const int n = snprintf(context->refused, sizeof context->refused,
                           "kernel '%.120s' was not "
                           "launched: ",
                           f->info->name);
    va_list args;
    va_start(args, why);
    vsnprintf(context->refused + n, sizeof context->refused - (size_t)n, why, args);
    va_end(args);
    return result;
}

/* What the ABI alone allows. */
static CUresult extent_check(const Function *f, const Shape *s) {
    static const char axis[] = "xyz";
    for (int i = 0; i < 3; i++) {
        const uint32_t most[] = {i < 2 ? MAX_THREADS : MAX_BLOCK_Z,
                                 i == 0 ? INT32_MAX : MAX_GRID_YZ};
        if (s->block[i] == 0 || s->block[i] > most[0])
            return refuse(f, CUDA_ERROR_INVALID_VALUE, "block.%c is %u; it is 1 to %u", axis[i],
                          s->block[i], most[0]);
        if (s->grid[i] == 0 || s->grid[i] > most[1])
            return refuse(f, CUDA_ERROR_INVALID_VALUE, "grid.%c is %u; it is 1 to %u", axis[i],
                          s->grid[i], most[1]);
    }
    const uint64_t threads = (uint64_t)s->block[0] * s->block[1] * s->block[2];
    if (threads <= MAX_THREADS) return CUDA_SUCCESS;
    return refuse(f, CUDA_ERROR_INVALID_VALUE, "a block of %llu threads; %d is the most",
                  (unsigned long long)threads, MAX_THREADS);
}

/* "the kernel launch specifies too many threads for the kernel's register count", or for its
 * __launch_bounds__. */
static CUresult threads_check(const Function *f, int threads) {
    if (threads > f->info->max_threads)
        return refuse(f, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "a block of %d threads; its .maxntid or .reqntid allows %d", threads,
                      f->info->max_threads);
    if (threads > function_max_threads(f))
        return refuse(f, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "a block of %d threads; with %d registers per thread %s has room for %d",
                      threads, f->info->ptxas.registers, f->object.context->model->name,
                      function_max_threads(f));
    return CUDA_SUCCESS;
}

static CUresult shape_check(const Function *f, const Shape *s) {
    CUresult result = extent_check(f, s);
    if (result != CUDA_SUCCESS) return result;
    const int threads = (int)(s->block[0] * s->block[1] * s->block[2]);
    /* More than 48 KiB in all needs the attribute; it cannot exceed the opt-in limit. */
    if (s->dynamic_smem > (uint32_t)f->max_dynamic)
        return refuse(f, CUDA_ERROR_INVALID_VALUE,
                      "%u bytes of dynamic shared memory; %d are allowed (beside %d static; more "
                      "than 48 KiB in all asks for cuFuncSetAttribute)",
                      s->dynamic_smem, f->max_dynamic, f->info->static_smem);
    if ((result = threads_check(f, threads)) != CUDA_SUCCESS) return result;
    const GpuModel *const model = f->object.context->model;
    const SgOccupancy fit = occupancy(f, threads, s->dynamic_smem);
    if (fit.blocks == 0)
        return refuse(f, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "no block fits an SM of %s for want of %s: %d threads, %d registers per "
                      "thread, %d static and %u dynamic bytes of shared memory",
                      model->name, fit.limiter, threads, f->info->ptxas.registers,
                      f->info->static_smem, s->dynamic_smem);
    const uint64_t blocks = (uint64_t)s->grid[0] * s->grid[1] * s->grid[2];
    const uint64_t room = (uint64_t)fit.blocks * (uint64_t)model->sms;
    if (!s->cooperative || blocks <= room) return CUDA_SUCCESS;
    return refuse(f, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                  "a cooperative grid of %llu blocks; %llu fit %s at once, limited by %s",
                  (unsigned long long)blocks, (unsigned long long)room, model->name, fit.limiter);
}

/* CU_LAUNCH_PARAM_*: key, value, ..., END. */
static CUresult extra_read(void **extra, const void **buffer, size_t *size) {
    const size_t *size_at = NULL;
    *buffer = NULL;
    for (size_t i = 0; (uintptr_t)extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        const uintptr_t key = (uintptr_t)extra[i];
        if (key == CU_LAUNCH_PARAM_BUFFER_POINTER)
            *buffer = extra[i + 1];
        else if (key == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size_at = extra[i + 1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (size_at == NULL || *buffer == NULL) return CUDA_ERROR_INVALID_VALUE;
    *size = *size_at;
    return CUDA_SUCCESS;
}

/* Packs the parameters into a block of their own: the caller's may change after the call. */
static CUresult params_pack(const Function *f, void **params, void **extra, void **out) {
    const SgKernelInfo *const info = f->info;
    const size_t bytes = (size_t)info->param_bytes;
    const void *buffer = NULL;
    size_t size = 0;
    *out = NULL;
    if (params != NULL && extra != NULL) return CUDA_ERROR_INVALID_VALUE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (params == NULL && extra == NULL) return CUDA_ERROR_INVALID_VALUE;
    if (extra != NULL) {
        const CUresult result = extra_read(extra, &buffer, &size);
        if (result != CUDA_SUCCESS) return result;
        if (size < bytes) return CUDA_ERROR_INVALID_VALUE;
        /* "attempted to pass too many arguments to the device kernel" */
        if (size > (bytes + 15) / 16 * 16)
            return refuse(f, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                          "%zu bytes of parameters; it takes %zu", size, bytes);
    } else {
        for (size_t i = 0; i < info->param_count; i++)
            if (params[i] == NULL) return CUDA_ERROR_INVALID_VALUE;
    }
    unsigned char *block = mem_alloc(bytes);
    if (block == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    if (extra != NULL) memcpy(block, buffer, bytes);
    for (size_t i = 0; extra == NULL && i < info->param_count; i++)
        memcpy(block + info->param_offset[i], params[i], info->param_size[i]);
    *out = block;
    return CUDA_SUCCESS;
}

CUresult kernel_work(Context *context, const CUDA_KERNEL_NODE_PARAMS *p, bool cooperative,
                     Work *work) {
    const void *handle = p->func != NULL ? (const void *)p->func : (const void *)p->kern;
    Function *f = NULL;
    *work = (Work){.kind = WORK_EMPTY};
    context->refused[0] = '\0';
    CUresult result = function_find(context, handle, &f);
    if (result != CUDA_SUCCESS) return result;
    const Shape shape = {{p->gridDimX, p->gridDimY, p->gridDimZ},
                         {p->blockDimX, p->blockDimY, p->blockDimZ},
                         p->sharedMemBytes,
                         cooperative};
    void *params = NULL;
    result = shape_check(f, &shape);
    if (result == CUDA_SUCCESS) result = params_pack(f, p->kernelParams, p->extra, &params);
    if (result != CUDA_SUCCESS) return result;
    work->kind = WORK_KERNEL;
    work->u.kernel.params = params;
    work->u.kernel.function = f->object.handle;
    work->u.kernel.param_bytes = (size_t)f->info->param_bytes;
    memcpy(work->u.kernel.grid, shape.grid, sizeof shape.grid);
    memcpy(work->u.kernel.block, shape.block, sizeof shape.block);
    work->u.kernel.dynamic_smem = shape.dynamic_smem;
    work->u.kernel.cooperative = cooperative;
    work->u.kernel.mode = context->mode;
    return CUDA_SUCCESS;
}

static CUresult launch(const CUDA_KERNEL_NODE_PARAMS *p, bool cooperative, CUstream stream_handle) {
    Context *context = NULL;
    Stream *stream = NULL;
    Work work;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    /* The function first: its handle is what the manual checks first. */
    Function *f = NULL;
    result = function_find(context, p->func, &f);
    if (result == CUDA_SUCCESS) result = stream_find(context, stream_handle, &stream);
    if (result == CUDA_SUCCESS) result = kernel_work(context, p, cooperative, &work);
    if (result != CUDA_SUCCESS) return leave(result);
    return leave(stream_enqueue(stream, work, NULL, 0, NULL));
}

CUresult cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                        unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                        unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                        void **params, void **extra) {
    const CUDA_KERNEL_NODE_PARAMS p = {function, grid_x,       grid_y, grid_z, block_x, block_y,
                                       block_z,  shared_bytes, params, extra,  NULL,    NULL};
    return launch(&p, false, stream);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                                   unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                   unsigned int block_z, unsigned int shared_bytes, CUstream stream,
                                   void **params) {
    const CUDA_KERNEL_NODE_PARAMS p = {function, grid_x,       grid_y, grid_z, block_x, block_y,
                                       block_z,  shared_bytes, params, NULL,   NULL,    NULL};
    return launch(&p, true, stream);
}

/* Attribute 96: the devices do not launch together. */
CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *list, unsigned int count,
                                              unsigned int flags) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    return leave(list == NULL || count == 0 || flags > 3 ? CUDA_ERROR_INVALID_VALUE
                                                         : CUDA_ERROR_NOT_SUPPORTED);
}

/* Of the launch attributes, cooperative is played; clusters of more than one block are not; the
 * others (priorities, access windows, programmatic dependence) change no result. */
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params,
                          void **extra) {
    if (config == NULL || (config->numAttrs > 0 && config->attrs == NULL))
        return CUDA_ERROR_INVALID_VALUE;
    bool cooperative = false;
    for (unsigned int i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttribute *a = &config->attrs[i];
        if (a->id < 0 || a->id > CU_LAUNCH_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
        if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) cooperative = a->value.cooperative != 0;
        if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION &&
            (uint64_t)a->value.cluster.x * a->value.cluster.y * a->value.cluster.z != 1)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    const CUDA_KERNEL_NODE_PARAMS p = {.func = function,
                                       .gridDimX = config->gridDimX,
                                       .gridDimY = config->gridDimY,
                                       .gridDimZ = config->gridDimZ,
                                       .blockDimX = config->blockDimX,
                                       .blockDimY = config->blockDimY,
                                       .blockDimZ = config->blockDimZ,
                                       .sharedMemBytes = config->sharedMemBytes,
                                       .kernelParams = params,
                                       .extra = extra};
    return launch(&p, cooperative, config->hStream);
}

/* Execution ------------------------------------------------------------------- */

static void stats_fill(SoftgpuLaunchStats *out, const SgLaunch *launch, SgOccupancy fit,
                       const SgTime *time) {
    const SgCounters *c = &launch->counters;
    *out = (SoftgpuLaunchStats){
        .size = sizeof *out,
        .seconds = time->seconds,
        .waves = time->waves,
        .blocks_per_sm = fit.blocks,
        .blocks = c->blocks,
        .blocks_run = c->blocks_run,
        .warp_instructions = c->warp_instructions,
        .mma = c->mma,
        .ldmatrix = c->ldmatrix,
        .cp_async = c->cp_async,
        .shared_wavefronts = c->shared_wavefronts,
        .shared_conflicts = c->shared_conflicts,
        .global_sectors = c->global_sectors,
        .dram_bytes = c->dram_bytes,
        .local_access = c->local_access,
        .barriers = c->barrier,
        .max_async_groups = c->max_async_groups,
        .at_least = time->at_least,
        .estimate = time->estimate,
        .mean = time->mean,
        .low = time->low,
        .high = time->high,
    };
    snprintf(out->bound, sizeof out->bound, "%s", time->bound);
    snprintf(out->limiter, sizeof out->limiter, "%s", fit.limiter);
}

static void keep_warnings(Context *context, const SgLaunch *sg) {
    size_t used = 0;
    context->warnings[0] = '\0';
    for (size_t i = 0; i < sg->warning_count; i++) {
        const size_t n = strlen(sg->warnings[i].text);
        if (used + n + 2 > sizeof context->warnings) return;
        memcpy(context->warnings + used, sg->warnings[i].text, n);
        used += n;
        memcpy(context->warnings + used++, "\n", 2);
    }
}

/* Runs it without the lock, which keeps the module: unloading waits for pending work. */
static Status run(const Function *f, SgLaunch *sg, Arena *arena, SgTime *time, Error *err) {
    pthread_mutex_unlock(&driver.lock);
    Status st = sg_execute(sg, arena, err);
    const bool timed = sg->mode != SG_UNTIMED;
    if (st == ST_OK && timed && !sg->fault.faulted) st = sg_clock(sg, f->info, &f->text, time, err);
    pthread_mutex_lock(&driver.lock);
    return st;
}

/* Its own device, and those of the contexts whose access it enabled. */
static uint32_t reach_of(const Context *context) {
    uint32_t devices = UINT32_C(1) << context->device;
    for (size_t i = 0; i < context->peer_count; i++) {
        const Context *peer = FIND(Context, CONTEXT, context->peers[i]);
        if (peer != NULL) devices |= UINT32_C(1) << peer->device;
    }
    return devices;
}

double launch_execute(Context *context, const Work *work) {
    const Function *f = FIND(Function, FUNCTION, work->u.kernel.function);
    Arena *arena = f == NULL ? NULL : arena_new();
    if (arena == NULL) {
        context_fail(context, CUDA_ERROR_LAUNCH_FAILED, "launch: out of host memory");
        return 0;
    }
    const uint32_t *block = work->u.kernel.block;
    const SgOccupancy fit =
        occupancy(f, (int)(block[0] * block[1] * block[2]), work->u.kernel.dynamic_smem);
    SgLaunch sg = {.kernel = f->kernel,
                   .dynamic_smem = work->u.kernel.dynamic_smem,
                   .params = work->u.kernel.params,
                   .mode = work->u.kernel.mode,
                   .cooperative = work->u.kernel.cooperative,
                   .resident = fit.blocks * context->model->sms,
                   .model = context->model,
                   .reach = reach_of(context),
                   .stack_bytes = context->limits[0], /* CU_LIMIT_STACK_SIZE */
                   .instruction_limit = driver.instruction_limit,
                   .profile = context->profile,
                   .seed = driver.seed,
                   .patience_ms = PATIENCE_MS};
    inject_kill(f->info->name, &sg);
    memcpy(sg.grid, work->u.kernel.grid, sizeof sg.grid);
    memcpy(sg.block, block, sizeof sg.block);
    SgTime time = {.bound = sg.mode == SG_UNTIMED ? "untimed" : "launch"};
    Error err = {0};
    if (run(f, &sg, arena, &time, &err) != ST_OK) {
        context_fail(context, CUDA_ERROR_LAUNCH_FAILED, err.message);
    } else if (sg.fault.faulted) {
        context_fail(context, (CUresult)sg.fault.cuda_result, sg.fault.text);
    } else {
        stats_fill(&context->last, &sg, fit, &time);
        context->has_last = true;
        if (!profile_keep(context, &sg, f->info, fit, &time))
            context_fail(context, CUDA_ERROR_LAUNCH_FAILED,
                         "launch: out of host memory for a profile");
    }
    keep_warnings(context, &sg);
    arena_free(arena);
    return time.seconds;
}

/* Occupancy ------------------------------------------------------------------- */

static CUresult enter_function(CUfunction handle, Function **f) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    const CUresult found = function_find(context, handle, f);
    return found == CUDA_SUCCESS ? CUDA_SUCCESS : leave(found);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction handle,
                                                              int threads, size_t dynamic_smem,
                                                              unsigned int flags) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    /* Flag 1: disable caching override, without meaning here. */
    if (blocks == NULL || threads <= 0 || threads > MAX_THREADS || dynamic_smem > UINT32_MAX ||
        flags > 1)
        return leave(CUDA_ERROR_INVALID_VALUE);
    *blocks = occupancy(f, threads, (uint32_t)dynamic_smem).blocks;
    return leave(CUDA_SUCCESS);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction handle, int threads,
                                                     size_t dynamic_smem) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, handle, threads,
                                                                dynamic_smem, 0);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction handle,
                                                   CUoccupancyB2DSize smem_of, size_t dynamic_smem,
                                                   int limit, unsigned int flags) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    const int most = function_max_threads(f), sms = f->object.context->model->sms;
    leave(CUDA_SUCCESS); /* smem_of is the program's and may call the driver */
    if (grid == NULL || block == NULL || limit < 0 || flags > 1) return CUDA_ERROR_INVALID_VALUE;
    const int top = limit > 0 && limit < most ? limit : most;
    int best_threads = 0, best_blocks = 0;
    for (int threads = top; threads > 0; threads = (threads - 1) / 32 * 32) {
        int blocks = 0;
        const size_t smem = smem_of == NULL ? dynamic_smem : smem_of(threads);
        const CUresult asked =
            cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, handle, threads, smem);
        if (asked != CUDA_SUCCESS) return asked;
        if (blocks * threads <= best_blocks * best_threads) continue;
        best_threads = threads;
        best_blocks = blocks;
    }
    *block = best_threads;
    *grid = best_blocks * sms;
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction handle,
                                          CUoccupancyB2DSize smem_of, size_t dynamic_smem,
                                          int limit) {
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, handle, smem_of, dynamic_smem,
                                                     limit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction handle, int blocks,
                                                 int threads) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    if (bytes == NULL || blocks <= 0 || threads <= 0 || threads > MAX_THREADS)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const GpuArch *arch = f->object.context->model->arch;
    const int each =
        arch->smem_sm / blocks / 128 * 128 - arch->smem_reserved - f->info->static_smem;
    const int most = arch->smem_block - f->info->static_smem;
    *bytes = (size_t)(each < 0 ? 0 : each < most ? each : most);
    return leave(CUDA_SUCCESS);
}

/* Clusters of blocks are not emulated (attribute 120). */
static CUresult no_clusters(const int *out, CUfunction handle, const CUlaunchConfig *config) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    return leave(out == NULL || config == NULL ? CUDA_ERROR_INVALID_VALUE
                                               : CUDA_ERROR_NOT_SUPPORTED);
}

CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction function,
                                            const CUlaunchConfig *config) {
    return no_clusters(size, function, config);
}

CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction function,
                                      const CUlaunchConfig *config) {
    return no_clusters(clusters, function, config);
}
