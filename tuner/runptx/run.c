/* Loading, the check of parameters against the entry, launches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/mem.h"
#include "base/round.h"
#include "runtime/build.h"
#include "tuner/runptx/run_state.h"

enum { MAX_PTX = 256 << 20, MAX_LOG = 16 << 20, MAX_LOG_ENTRIES = 512, PARAM_ALIGN = 16 };
static const int free_smem = 48 * 1024; /* above it a kernel opts in */

#define TRY(call, name)                                                                            \
    do {                                                                                           \
        Status try_status = driver_check(run->driver, run->driver->call, name, err);               \
        if (try_status != ST_OK) return try_status;                                                \
    } while (0)

/* ---- parameters against the entry ---- */

static Status param_error(const Launch *launch, const PtxEntry *entry, size_t i, const Value *value,
                          const char *why, Error *err) {
    const PtxParam *p = &entry->params[i];
    return err_at(err, ST_SYNTAX, value->pos.line ? value->pos : launch->pos,
                  "parameter %zu (%s, .%s%s of %zu bytes): %s", i + 1, p->name, p->type,
                  p->is_array ? " array" : "", p->bytes, why);
}

static Status check_param(const Launch *launch, const PtxEntry *entry, size_t i, Error *err) {
    const PtxParam *p = &entry->params[i];
    const Value *v = &launch->params[i];
    char why[128];
    if (v->size != p->bytes) {
        snprintf(why, sizeof why, "%s of %zu bytes given",
                 v->kind == VALUE_NUMBER    ? element_name(v->type)
                 : v->kind == VALUE_POINTER ? "a pointer"
                                            : "a struct",
                 v->size);
        return param_error(launch, entry, i, v, why, err);
    }
    if (v->kind == VALUE_STRUCT || p->is_array) return ST_OK;
    /* .b types take anything; a float for an integer (or the reverse) is a slip. */
    const bool want_float = p->type[0] == 'f',
               is_float = v->kind == VALUE_NUMBER && element_is_float(v->type);
    if (p->type[0] == 'b' || want_float == is_float) return ST_OK;
    snprintf(why, sizeof why, "%s given",
             v->kind == VALUE_NUMBER ? element_name(v->type) : "a pointer");
    return param_error(launch, entry, i, v, why, err);
}

static Status check_params(const Launch *launch, const PtxEntry *entry, Error *err) {
    if (launch->param_count != entry->param_count) {
        Str list = {0};
        for (size_t i = 0; i < entry->param_count; i++)
            str_printf(&list, "%s.%s%s of %zu bytes", i ? ", " : "", entry->params[i].type,
                       entry->params[i].is_array ? " array" : "", entry->params[i].bytes);
        Status st =
            err_at(err, ST_SYNTAX, launch->pos, "%.200s has %zu parameters (%.800s); %zu given",
                   entry->name, entry->param_count, str_text(&list), launch->param_count);
        str_free(&list);
        return st;
    }
    Status st = ST_OK;
    for (size_t i = 0; i < entry->param_count && st == ST_OK; i++)
        st = check_param(launch, entry, i, err);
    return st;
}

static Status match_entries(PtxRun *run, Error *err) {
    const size_t n = run->desc.launch_count;
    run->entry = ARENA_ARRAY(run->arena, const PtxEntry *, n);
    if (!run->entry) return err_no_memory(err, n * sizeof *run->entry);
    for (size_t i = 0; i < n; i++) {
        const Launch *launch = &run->desc.launches[i];
        const char *name = launch->entry ? launch->entry : run->options.entry;
        Error why = {0};
        Status st = entries_find(&run->entries, name, &run->entry[i], &why);
        if (st != ST_OK && launch->entry)
            return err_at(err, ST_SYNTAX, launch->pos, "launch: %s", why.message);
        if (st != ST_OK) return err_set(err, st, "%s: %s", run->options.ptx, why.message);
        if ((st = check_params(launch, run->entry[i], err)) != ST_OK) return st;
    }
    return ST_OK;
}

/* ---- figures of ptxas ---- */

static Status from_log(PtxRun *run, const char *log, const ArtifactEntry *from, size_t count,
                       const PtxEntry *entry, Str *text, Error *err) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(from[i].name, entry->name) != 0) continue;
        build_put_comment(text, &from[i]);
        return ST_OK;
    }
    (void)run;
    return err_set(err, ST_INVALID, "--ptxas-log: %s says nothing of entry %s", log, entry->name);
}

static bool seen_before(const PtxRun *run, size_t launch) {
    for (size_t i = 0; i < launch; i++)
        if (run->entry[i] == run->entry[launch]) return true;
    return false;
}

/* The comment lines for every entry launched, behind the text; the last one of an entry counts. */
static Status append_figures(PtxRun *run, Str *text, Error *err) {
    const RunOptions *o = &run->options;
    ArtifactEntry *logged = NULL;
    size_t count = 0;
    if (o->ptxas_log) {
        char *log;
        size_t size;
        logged = ARENA_ARRAY(run->arena, ArtifactEntry, MAX_LOG_ENTRIES);
        if (!logged) return err_no_memory(err, sizeof *logged * MAX_LOG_ENTRIES);
        Status st = files_read(run->arena, o->ptxas_log, MAX_LOG, &log, &size, err);
        if (st == ST_OK) st = build_parse_ptxas(log, logged, MAX_LOG_ENTRIES, &count, err);
        if (st != ST_OK) return err_set(err, ST_INVALID, "--ptxas-log: %s", err->message);
    }
    for (size_t i = 0; i < run->desc.launch_count; i++) {
        if (seen_before(run, i)) continue;
        Status st = ST_OK;
        if (o->ptxas_log)
            st = from_log(run, o->ptxas_log, logged, count, run->entry[i], text, err);
        else if (o->registers > 0) {
            ArtifactEntry e = {.registers = o->registers,
                               .spill_stores = o->spill_stores,
                               .spill_loads = o->spill_loads};
            snprintf(e.name, sizeof e.name, "%s", run->entry[i]->name);
            build_put_comment(text, &e);
        }
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* ---- loading ---- */

static Status read_texts(PtxRun *run, Error *err) {
    const RunOptions *o = &run->options;
    char *text;
    size_t size;
    Status st = files_read(run->arena, o->ptx, MAX_PTX, &text, &size, err);
    if (st == ST_OK) st = entries_read(run->arena, o->ptx, text, &run->entries, err);
    if (st == ST_OK) st = desc_load(run->arena, o->desc, o->files, o->settings, &run->desc, err);
    if (st == ST_OK) st = match_entries(run, err);
    if (st != ST_OK) return st;
    Str whole = {0};
    str_append(&whole, text, size);
    if (size > 0 && text[size - 1] != '\n') str_putc(&whole, '\n');
    st = append_figures(run, &whole, err);
    if (st == ST_OK) {
        run->ptx = whole.failed ? NULL : arena_strndup(run->arena, whole.data, whole.len);
        if (!run->ptx) st = err_no_memory(err, whole.len);
    }
    str_free(&whole);
    return st;
}

static Status load_module(PtxRun *run, Error *err) {
    char log[4096] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    const CuResult result =
        run->driver->ModuleLoadDataEx(&run->module, run->ptx, 2, options, values);
    Error cause = {0};
    if (driver_check(run->driver, result, "loading the PTX (cuModuleLoadDataEx)", &cause) == ST_OK)
        return ST_OK;
    log[sizeof log - 1] = '\0';
    return err_set(err, ST_COMPILE, "%s: %.600s%s%.1300s", run->options.ptx, cause.message,
                   log[0] ? "\n" : "", log);
}

/* Opts in to dynamic shared memory above 48 KiB, as the host code of the kernel would. */
static Status allow_smem(PtxRun *run, const Launch *launch, CuFunction function, Error *err) {
    int fixed = 0;
    TRY(FuncGetAttribute(&fixed, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function),
        "cuFuncGetAttribute");
    const int64_t most = (int64_t)run->device.gpu.smem_block - fixed;
    if ((int64_t)launch->smem > most)
        return err_at(err, ST_SYNTAX, launch->pos,
                      "smem = %u: beside its %d bytes of static shared memory the kernel can have "
                      "%lld on %s",
                      launch->smem, fixed, (long long)most, run->device.gpu.name);
    if ((int64_t)launch->smem + fixed <= free_smem) return ST_OK;
    TRY(FuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                         (int)launch->smem),
        "cuFuncSetAttribute (dynamic shared memory)");
    return ST_OK;
}

static Status get_functions(PtxRun *run, Error *err) {
    const size_t n = run->desc.launch_count;
    run->function = ARENA_ARRAY(run->arena, CuFunction, n);
    if (!run->function) return err_no_memory(err, n * sizeof *run->function);
    for (size_t i = 0; i < n; i++) {
        TRY(ModuleGetFunction(&run->function[i], run->module, run->entry[i]->name),
            "cuModuleGetFunction");
        Status st = allow_smem(run, &run->desc.launches[i], run->function[i], err);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static Status open_device(PtxRun *run, Error *err) {
    Status st = driver_open(run->options.driver, &run->driver, err);
    if (st == ST_OK) st = device_open(run->driver, run->options.device, &run->device, err);
    if (st == ST_OK)
        st = driver_check(run->driver, driver_enter(run->driver, run->device.context, &run->pushed),
                          "cuCtxPushCurrent", err);
    if (st != ST_OK) return st;
    TRY(StreamCreate(&run->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    TRY(EventCreate(&run->begin, 0), "cuEventCreate");
    TRY(EventCreate(&run->end, 0), "cuEventCreate");
    return ST_OK;
}

Status run_open(const RunOptions *options, PtxRun **out, Error *err) {
    *out = NULL;
    Arena *arena = arena_new();
    PtxRun *run = arena ? ARENA_NEW(arena, PtxRun) : NULL;
    if (!run) {
        arena_free(arena);
        return err_no_memory(err, sizeof *run);
    }
    run->arena = arena;
    run->options = *options; /* its texts are the caller's: used in here only */
    Status st = read_texts(run, err);
    if (st == ST_OK) st = open_device(run, err);
    if (st == ST_OK) st = load_module(run, err);
    if (st == ST_OK) st = get_functions(run, err);
    if (st == ST_OK) st = buffers_place(run, err);
    if (st != ST_OK) {
        run_close(run);
        return st;
    }
    *out = run;
    return ST_OK;
}

void run_close(PtxRun *run) {
    if (!run) return;
    const Driver *driver = run->driver;
    if (driver) {
        buffers_free(run);
        if (run->module) driver->ModuleUnload(run->module);
        if (run->begin) driver->EventDestroy(run->begin);
        if (run->end) driver->EventDestroy(run->end);
        if (run->stream) driver->StreamDestroy(run->stream);
        driver_leave(driver, run->pushed);
        device_close(driver, &run->device);
        driver_close(run->driver);
    }
    arena_free(run->arena); /* the run itself lies in it */
}

const Driver *run_driver(const PtxRun *run) {
    return run->driver;
}

const RunDesc *run_desc(const PtxRun *run) {
    return &run->desc;
}

/* ---- launches ---- */

/* Geometry and entry only; run_launch fills the rest. */
static void run_describe(const PtxRun *run, size_t index, LaunchFigures *out) {
    const Launch *launch = &run->desc.launches[index];
    *out = (LaunchFigures){
        .smem = launch->smem, .cooperative = launch->cooperative, .line = launch->pos.line};
    snprintf(out->entry, sizeof out->entry, "%s", run->entry[index]->name);
    memcpy(out->grid, launch->grid, sizeof out->grid);
    memcpy(out->block, launch->block, sizeof out->block);
}

/* The values one behind the other, each at a multiple of 16 bytes; params[i] points to the i-th. */
static Status pack(PtxRun *run, const Launch *launch, void ***params, Error *err) {
    const size_t n = launch->param_count;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += round_up_u64(launch->params[i].size, PARAM_ALIGN);
    void **list = ARENA_ARRAY(run->arena, void *, n + 1);
    unsigned char *at = arena_alloc(run->arena, bytes + PARAM_ALIGN);
    if (!list || !at) return err_no_memory(err, bytes);
    for (size_t i = 0; i < n; i++) {
        value_write(run, &launch->params[i], at);
        list[i] = at;
        at += round_up_u64(launch->params[i].size, PARAM_ALIGN);
    }
    *params = list;
    return ST_OK;
}

static Status start(PtxRun *run, size_t index, void **params, Error *err) {
    const Launch *l = &run->desc.launches[index];
    const CuFunction f = run->function[index];
    const Driver *d = run->driver;
    if (l->cooperative)
        return driver_check(d,
                            d->LaunchCooperativeKernel(f, l->grid[0], l->grid[1], l->grid[2],
                                                       l->block[0], l->block[1], l->block[2],
                                                       l->smem, run->stream, params),
                            "cuLaunchCooperativeKernel", err);
    return driver_check(d,
                        d->LaunchKernel(f, l->grid[0], l->grid[1], l->grid[2], l->block[0],
                                        l->block[1], l->block[2], l->smem, run->stream, params,
                                        NULL),
                        "cuLaunchKernel", err);
}

static Status timed(PtxRun *run, size_t index, void **params, double *seconds, Error *err) {
    float ms = 0;
    TRY(EventRecord(run->begin, run->stream), "cuEventRecord");
    Status st = start(run, index, params, err);
    if (st != ST_OK) return st;
    TRY(EventRecord(run->end, run->stream), "cuEventRecord");
    TRY(EventSynchronize(run->end), "the launch");
    TRY(EventElapsedTime(&ms, run->begin, run->end), "cuEventElapsedTime");
    *seconds = 1e-3 * (double)ms;
    return ST_OK;
}

/* Does the text carry figures of ptxas for this entry? */
static bool has_figures(const PtxRun *run, const char *entry) {
    static const char mark[] = "// seqtune-ptxas: entry=";
    const size_t n = strlen(entry);
    for (const char *p = run->ptx; (p = strstr(p, mark));) {
        p += sizeof mark - 1;
        if (strncmp(p, entry, n) == 0 && p[n] == ' ') return true;
    }
    return false;
}

/* A fault's text names an allocation by number: adds the buffer that lies nearest to its address.
 */
static void name_buffer(const PtxRun *run, Error *err) {
    enum { NEAR = 2048 }; /* what a stray index misses by; allocations lie 4 KiB apart */
    const char *hex = err ? strstr(err->message, "0x") : NULL;
    const uint64_t at = hex ? strtoull(hex, NULL, 16) : 0;
    for (size_t i = 0; at != 0 && i < run->desc.buffer_count; i++) {
        const Buffer *b = &run->desc.buffers[i];
        const uint64_t begin = run->placed[i].at, size = b->count * element_bytes(b->type);
        if (at + NEAR < begin || at >= begin + size + NEAR) continue;
        const size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used,
                 "\nthat is byte %lld of buffer '%s' (%s:%d), which has %llu",
                 (long long)(at - begin), b->name, b->pos.file, b->pos.line,
                 (unsigned long long)size);
        return;
    }
}

Status run_launch(PtxRun *run, size_t index, LaunchFigures *out, Error *err) {
    const Driver *d = run->driver;
    void **params = NULL;
    run_describe(run, index, out);
    out->registers_estimated =
        run->device.traits.modelled && !has_figures(run, run->entry[index]->name);
    (void)d->FuncGetAttribute(&out->registers, CU_FUNC_ATTRIBUTE_NUM_REGS, run->function[index]);
    (void)d->FuncGetAttribute(&out->local_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES,
                              run->function[index]);
    const bool sampled = run->options.timing && run->device.traits.can_sample;
    Status st = pack(run, &run->desc.launches[index], &params, err);
    const bool profiled = run->options.profile && d->SetProfile;
    if (st == ST_OK && sampled) st = driver_set_mode(d, LAUNCH_TIMING, err);
    if (st == ST_OK && profiled) st = driver_check(d, d->SetProfile(1), "softgpuSetProfile", err);
    if (st == ST_OK) st = timed(run, index, params, &out->seconds, err);
    if (profiled) (void)d->SetProfile(0);
    if (sampled) (void)driver_set_mode(d, LAUNCH_FULL, NULL);
    if (st != ST_OK) {
        name_buffer(run, err);
        return st;
    }
    out->stats.size = sizeof out->stats;
    out->has_stats = d->LastLaunch && d->LastLaunch(&out->stats) == CUDA_SUCCESS;
    if (out->has_stats) out->seconds = out->stats.seconds;
    return ST_OK;
}

Status run_times(PtxRun *run, size_t index, double *seconds, size_t count, Error *err) {
    void **params = NULL;
    Status st = pack(run, &run->desc.launches[index], &params, err);
    for (size_t i = 0; i < count && st == ST_OK; i++)
        st = timed(run, index, params, &seconds[i], err);
    return st;
}

void run_warnings(const PtxRun *run, Str *out) {
    char text[8192] = "";
    if (run->driver->Warnings && run->driver->Warnings(text, sizeof text) == CUDA_SUCCESS)
        str_puts(out, text);
}
