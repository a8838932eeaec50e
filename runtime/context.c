/* Opening and closing a context; artifacts and loaded kernels. */
#include "runtime/context.h"

#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/errors.h"

/* Modules that no plan uses are kept for the next plan of the same text, this many of them. */
enum { IDLE_KERNELS = 8 };

const char *context_source_root(void) {
    return files_env("SEQTUNE_SOURCE");
}

char *context_database_path(Arena *arena) {
    const char *named = files_env("SEQTUNE_DB");
    if (named != NULL) return arena_strdup(arena, named);
    const char *data = files_data_dir(arena);
    return data != NULL ? arena_printf(arena, "%s/tune.db", data) : NULL;
}

/* ---- opening ---- */

/* `asked`: the caller or the environment named this file, so that a bad one is an error; a default
 * place may hold nothing, and what is wrong there is said and left out. */
static Status open_db(Db **out, const char *path, bool asked, DbOpen mode, Error *err) {
    if (path == NULL || path[0] == '\0') return ST_OK;
    if (!files_exists(path)) {
        log_write(asked ? LOG_WARN : LOG_DEBUG, "db",
                  "there is no database %s; going on without it", path);
        return ST_OK;
    }
    Error why = {0};
    Status st = db_open(path, mode, out, &why);
    if (st == ST_OK) return ST_OK;
    if (asked) return err_set(err, st, "%s", why.message);
    log_write(LOG_WARN, "db", "%s; going on without it", why.message);
    return ST_OK;
}

static Status open_databases(seqtune_context *ctx, const seqtune_options *options, Error *err) {
    Arena *arena = arena_new();
    if (arena == NULL) return err_no_memory(err, 1);
    const char *user = options->database, *fleet = options->fleet_database;
    bool asked = user != NULL || files_env("SEQTUNE_DB") != NULL;
    if (user == NULL) user = context_database_path(arena);
    if (fleet == NULL) fleet = files_env("SEQTUNE_FLEET_DB");
    Status st = open_db(&ctx->db[DB_ROLE_USER], user, asked, DB_READ, err);
    if (st == ST_OK) st = open_db(&ctx->db[DB_ROLE_FLEET], fleet, true, DB_READ, err);
    /* options.database == "" means: no database at all but those named. */
    bool none = options->database != NULL && options->database[0] == '\0';
    if (st == ST_OK && !none)
        st = open_db(&ctx->db[DB_ROLE_SYSTEM], SEQTUNE_FULL_DATADIR "/seqtune/tune.db", false,
                     DB_IMMUTABLE, err);
    arena_free(arena);
    return st;
}

static Status take_environment(seqtune_context *ctx, Error *err) {
    const char *cu = files_env("SEQTUNE_DUMP_CU"), *ptx = files_env("SEQTUNE_DUMP_PTX");
    ctx->print_plan = files_env("SEQTUNE_PRINT_PLAN") != NULL;
    if (cu != NULL && (ctx->dump_cu = mem_strdup(cu)) == NULL) return err_no_memory(err, 1);
    if (ptx != NULL && (ctx->dump_ptx = mem_strdup(ptx)) == NULL) return err_no_memory(err, 1);
    return ST_OK;
}

static Status open_all(seqtune_context *ctx, const seqtune_options *options, Error *err) {
    Status st = take_environment(ctx, err);
    if (st == ST_OK) st = driver_open(options->driver, &ctx->driver, err);
    if (st == ST_OK) st = device_open(ctx->driver, options->device, &ctx->device, err);
    if (st == ST_OK) st = gen_open(context_source_root(), &ctx->library, err);
    if (st == ST_OK) st = cache_open(options->cache_dir, &ctx->cache, err);
    if (st == ST_OK) st = open_databases(ctx, options, err);
    if (st != ST_OK) return st;
    /* Without a compiler everything that is cached still works. */
    if (nvrtc_open(ctx->driver->version, &ctx->nvrtc, &ctx->nvrtc_error) != ST_OK) {
        log_write(LOG_INFO, "jit", "%s", ctx->nvrtc_error.message);
        return ST_OK;
    }
    /* NVRTC 11 knows sm_90, but not sm_90a. */
    const GpuArch *plain =
        gpu_arch_for_cc(ctx->device.gpu.arch->cc / 10, ctx->device.gpu.arch->cc % 10, false);
    if (ctx->nvrtc->version < 12000 && plain != NULL) ctx->device.gpu.arch = plain;
    return ST_OK;
}

static Status check_options(const seqtune_options *options, Error *err) {
    if (options->size != sizeof *options)
        return err_set(err, ST_INVALID,
                       "options.size is %zu, this library's is %zu: initialise the struct with "
                       "SEQTUNE_OPTIONS_INIT",
                       options->size, sizeof *options);
    if (options->device < -1)
        return err_set(err, ST_INVALID, "options.device is %d: must be -1 or an ordinal",
                       options->device);
    if ((int)options->jit < 0 || options->jit > SEQTUNE_JIT_NEVER)
        return err_set(err, ST_INVALID, "options.jit is %d: must be 0..%d", (int)options->jit,
                       (int)SEQTUNE_JIT_NEVER);
    return ST_OK;
}

Status context_open(const seqtune_options *options, seqtune_context **out, Error *err) {
    static const seqtune_options defaults = SEQTUNE_OPTIONS_INIT;
    *out = NULL;
    if (options == NULL) options = &defaults;
    Status st = check_options(options, err);
    if (st != ST_OK) return st;
    seqtune_context *ctx = mem_alloc(sizeof *ctx);
    if (ctx == NULL) return err_no_memory(err, sizeof *ctx);
    if (pthread_mutex_init(&ctx->lock, NULL) != 0) {
        mem_free(ctx);
        return err_no_memory(err, sizeof ctx->lock);
    }
    ctx->serial = errors_new_serial();
    ctx->jit = options->jit;
    ctx->use_modelled = options->use_modelled != 0;
    if ((st = open_all(ctx, options, err)) != ST_OK) {
        seqtune_close(ctx);
        return st;
    }
    log_write(LOG_INFO, "jit", "open gpu=\"%s\" arch=%s driver=%s", ctx->device.gpu.name,
              ctx->device.gpu.arch->name, ctx->driver->path);
    *out = ctx;
    return ST_OK;
}

static void free_kernel(seqtune_context *ctx, LoadedKernel *kernel) {
    kernel_unload(ctx->driver, &kernel->kernel);
    mem_free(kernel);
}

void seqtune_close(seqtune_context *ctx) {
    if (ctx == NULL) return;
    bool pushed = false;
    if (ctx->kernels != NULL) (void)driver_enter(ctx->driver, ctx->device.context, &pushed);
    while (ctx->kernels != NULL) {
        LoadedKernel *next = ctx->kernels->next;
        free_kernel(ctx, ctx->kernels);
        ctx->kernels = next;
    }
    if (ctx->driver != NULL) {
        driver_leave(ctx->driver, pushed);
        device_close(ctx->driver, &ctx->device);
    }
    for (int i = 0; i < DB_ROLE_COUNT; i++)
        if (ctx->db[i] != NULL) db_close(ctx->db[i]);
    cache_close(ctx->cache);
    nvrtc_close(ctx->nvrtc);
    if (ctx->library != NULL) gen_close(ctx->library);
    driver_close(ctx->driver);
    errors_forget(ctx->serial);
    pthread_mutex_destroy(&ctx->lock);
    mem_free(ctx->dump_cu);
    mem_free(ctx->dump_ptx);
    mem_free(ctx);
}

/* ---- artifacts ---- */

static Status make_artifact(seqtune_context *ctx, const GenOutput *output, Arena *arena,
                            Artifact *out, Error *err) {
    if (ctx->jit != SEQTUNE_JIT_ALLOW)
        return err_set(err, ST_NOT_FOUND,
                       "%s for %s is not in the cache (%s) and the context's jit policy forbids "
                       "compiling: warm the cache, or open with SEQTUNE_JIT_ALLOW",
                       output->name, output->arch,
                       cache_dir(ctx->cache)[0] != '\0' ? cache_dir(ctx->cache) : "none");
    if (ctx->nvrtc == NULL) {
        err_set(err, ctx->nvrtc_error.status, "%s", ctx->nvrtc_error.message);
        err_wrap(err, "compiling %s", output->name);
        return ctx->nvrtc_error.status;
    }
    Status st = build_compile(ctx->nvrtc, output, arena, out, err);
    if (st != ST_OK) return st;
    log_write(LOG_INFO, "jit", "compiled %s arch=%s seconds=%.2f registers=%d spill_bytes=%d",
              output->name, output->arch, out->seconds, artifact_registers(out),
              artifact_spill_bytes(out));
    (void)cache_put(ctx->cache, out);
    return ST_OK;
}

/* A dump that cannot be written is said, not fatal: it is a debugging aid. */
static void dump(const char *dir, const Artifact *artifact, const char *suffix, const char *text,
                 size_t size) {
    if (dir == NULL) return;
    char hex[HASH_HEX_SIZE], path[4096];
    Error why = {0};
    hash_hex(&artifact->key, hex);
    const char *entry = artifact->entry_count > 0 ? artifact->entries[0].name : "kernel";
    snprintf(path, sizeof path, "%s/%s-%.12s.%s", dir, entry, hex, suffix);
    Status st = files_make_dirs(dir, 0755, &why);
    if (st == ST_OK) st = files_publish(path, text, size, 0644, &why);
    if (st != ST_OK) log_write(LOG_WARN, "jit", "dump: %s", why.message);
}

/* Without a compiler an artifact of any one whose code the driver takes will do. */
static bool find_artifact(seqtune_context *ctx, const GenOutput *output, Arena *arena,
                          Artifact *out) {
    Hash key;
    if (ctx->nvrtc != NULL) {
        key = build_key(output, ctx->nvrtc->toolchain);
        return cache_get(ctx->cache, &key, arena, out);
    }
    enum { NEWEST = 139, OLDEST = 112 }; /* NVRTC versions x 10 */
    for (int v = NEWEST; v >= OLDEST; v--) {
        char toolchain[64];
        if (nvrtc_fit(v * 100, ctx->driver->version) == NVRTC_REFUSED) continue;
        snprintf(toolchain, sizeof toolchain, "nvrtc %d.%d", v / 10, v % 10);
        key = build_key(output, toolchain);
        if (cache_get(ctx->cache, &key, arena, out)) return true;
    }
    return false;
}

/* The artifact of an emitted text: from the cache, else compiled and put there. Follows ctx->jit.
 * Memory from arena. Any thread. */
static Status get_artifact(seqtune_context *ctx, const GenOutput *output, Arena *arena,
                           Artifact *out, Error *err) {
    if (ctx->jit == SEQTUNE_JIT_NEVER)
        return err_set(err, ST_NOT_FOUND,
                       "%s for %s: the context's jit policy is `never`, which neither compiles nor "
                       "reads the cache, and no bundle holds it",
                       output->name, output->arch);
    Status st = ST_OK;
    if (!find_artifact(ctx, output, arena, out)) st = make_artifact(ctx, output, arena, out, err);
    if (st != ST_OK) return st;
    dump(ctx->dump_cu, out, "cu", out->source, out->source_size);
    dump(ctx->dump_ptx, out, "ptx", out->ptx, out->ptx_size);
    return ST_OK;
}

/* ---- loaded kernels ---- */

static LoadedKernel *find_kernel(const seqtune_context *ctx, const Hash *key) {
    LoadedKernel *k = ctx->kernels;
    while (k != NULL && !hash_equal(&k->key, key)) k = k->next;
    return k;
}

/* Unloads the oldest idle modules above IDLE_KERNELS. */
static void trim_kernels(seqtune_context *ctx) {
    int idle = 0;
    for (LoadedKernel **at = &ctx->kernels; *at != NULL;) {
        LoadedKernel *k = *at;
        if (k->plans == 0 && ++idle > IDLE_KERNELS) {
            *at = k->next;
            free_kernel(ctx, k);
        } else {
            at = &k->next;
        }
    }
}

static Status load_kernel(seqtune_context *ctx, const GenOutput *output, LoadedKernel **out,
                          Error *err) {
    Artifact artifact = {0};
    Arena *arena = arena_new();
    LoadedKernel *kernel = mem_alloc(sizeof *kernel);
    Status st = arena == NULL || kernel == NULL ? err_no_memory(err, sizeof *kernel) : ST_OK;
    if (st == ST_OK) st = get_artifact(ctx, output, arena, &artifact, err);
    if (st == ST_OK) st = kernel_load(ctx->driver, &artifact, &kernel->kernel, err);
    if (st == ST_OK) {
        kernel->kernel.cooperative = ctx->device.cooperative;
        kernel->key = output->key;
        kernel->compile_s = artifact.from_cache ? 0 : artifact.seconds;
        kernel->from_cache = artifact.from_cache;
        kernel->registers = artifact_registers(&artifact);
        kernel->spill_bytes = artifact_spill_bytes(&artifact);
        hash_hex(&artifact.key, kernel->artifact);
        *out = kernel;
    } else {
        mem_free(kernel);
    }
    arena_free(arena);
    return st;
}

Status context_kernel(seqtune_context *ctx, const GenOutput *output, const GenLaunch *launches,
                      size_t count, LoadedKernel **out, Error *err) {
    Status st = ST_OK;
    pthread_mutex_lock(&ctx->lock);
    LoadedKernel *kernel = find_kernel(ctx, &output->key);
    if (kernel == NULL) {
        st = load_kernel(ctx, output, &kernel, err);
        if (st == ST_OK) {
            kernel->next = ctx->kernels;
            ctx->kernels = kernel;
        }
    }
    if (st == ST_OK) st = kernel_prepare(ctx->driver, &kernel->kernel, launches, count, err);
    if (st == ST_OK) {
        kernel->plans++;
        *out = kernel;
    }
    trim_kernels(ctx);
    pthread_mutex_unlock(&ctx->lock);
    return st;
}

void context_release_kernel(seqtune_context *ctx, LoadedKernel *kernel) {
    bool pushed = false;
    pthread_mutex_lock(&ctx->lock);
    kernel->plans--;
    (void)driver_enter(ctx->driver, ctx->device.context, &pushed);
    trim_kernels(ctx);
    driver_leave(ctx->driver, pushed);
    pthread_mutex_unlock(&ctx->lock);
}

seqtune_status context_fail(const seqtune_context *ctx, Status status, const Error *err) {
    if (status != ST_OK) errors_set(ctx->serial, err);
    return (seqtune_status)status;
}
