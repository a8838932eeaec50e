/* The driver table: finding the library, resolving every symbol, results to errors.
 *
 * Trap: libcuda must not be unloaded (it has threads and exit handlers), so libraries are opened
 * with RTLD_NODELETE and dlclose only drops our count. */
#include "runtime/driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/gpus.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

static const char libcuda_name[] = "libcuda.so.1";
static const char softgpu_name[] = "libseqtune-softgpu.so.0";

static const DriverSymbol symbols[] = {
#define DRIVER(member, symbol, since, params) {#symbol, since, offsetof(Driver, member)},
#include "runtime/driver.def"
#undef DRIVER
};

const DriverSymbol *driver_symbols(size_t *count) {
    *count = sizeof symbols / sizeof symbols[0];
    return symbols;
}

/* dlsym returns an object pointer; POSIX promises that its bytes are those of the function's. */
static void set_pointer(void *slot, void *symbol) {
    memcpy(slot, &symbol, sizeof symbol);
}

static Status resolve(Driver *driver, Error *err) {
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(driver->handle, symbols[i].name);
        if (symbol == NULL)
            return err_set(err, ST_DRIVER,
                           "%s has no %s, which CUDA drivers have since %d.%d: seqtune needs a "
                           "driver of CUDA 12.0 or newer",
                           driver->path, symbols[i].name, symbols[i].since / 1000,
                           symbols[i].since % 1000 / 10);
        set_pointer((char *)driver + symbols[i].offset, symbol);
    }
    set_pointer(&driver->GetTraits, dlsym(driver->handle, "softgpuGetTraits"));
    set_pointer(&driver->SetLaunchMode, dlsym(driver->handle, "softgpuSetLaunchMode"));
    set_pointer(&driver->LastFault, dlsym(driver->handle, "softgpuLastFault"));
    set_pointer(&driver->LastLaunch, dlsym(driver->handle, "softgpuLastLaunch"));
    set_pointer(&driver->SetProfile, dlsym(driver->handle, "softgpuSetProfile"));
    set_pointer(&driver->LastCounters, dlsym(driver->handle, "softgpuLastCounters"));
    set_pointer(&driver->LastProfile, dlsym(driver->handle, "softgpuLastProfile"));
    set_pointer(&driver->SelectLaunch, dlsym(driver->handle, "softgpuSelectLaunch"));
    set_pointer(&driver->Warnings, dlsym(driver->handle, "softgpuWarnings"));
    set_pointer(&driver->Peek, dlsym(driver->handle, "softgpuPeek"));
    return ST_OK;
}

/* The file that a handle was loaded from, for messages and seqtune_device_info. */
static void note_path(Driver *driver, const char *asked) {
    Dl_info info;
    void *init = dlsym(driver->handle, "cuInit");
    bool known = init != NULL && dladdr(init, &info) != 0 && info.dli_fname != NULL;
    snprintf(driver->path, sizeof driver->path, "%s", known ? info.dli_fname : asked);
}

static Status initialise(Driver *driver, Error *err) {
    Status st = resolve(driver, err);
    if (st != ST_OK) return st;
    CuResult result = driver->Init(0);
    /* The software GPU knows which of its settings is wrong, and says so. */
    char own[1024] = "";
    if (result != CUDA_SUCCESS && driver->LastFault != NULL &&
        driver->LastFault(own, sizeof own) == CUDA_SUCCESS && own[0] != '\0')
        return err_set(err, ST_DRIVER, "%s: %s", driver->path, own);
    if (result == CUDA_ERROR_NO_DEVICE)
        return err_set(err, ST_NOT_FOUND, "%s sees no GPU", driver->path);
    if (result == CUDA_ERROR_STUB_LIBRARY)
        return err_set(err, ST_NOT_FOUND,
                       "%s is the toolkit's stub for linking, not a driver: take its directory out "
                       "of the loader's path",
                       driver->path);
    if ((st = driver_check(driver, result, "cuInit", err)) != ST_OK) return st;
    st =
        driver_check(driver, driver->DriverGetVersion(&driver->version), "cuDriverGetVersion", err);
    if (st != ST_OK) return st;
    if (driver->version < 12000)
        return err_set(err, ST_UNSUPPORTED,
                       "%s is a driver of CUDA %d.%d: seqtune needs 12.0 or newer", driver->path,
                       driver->version / 1000, driver->version % 1000 / 10);
    result = driver->DeviceGetCount(&driver->device_count);
    if ((st = driver_check(driver, result, "cuDeviceGetCount", err)) != ST_OK) return st;
    if (driver->device_count < 1) return err_set(err, ST_NOT_FOUND, "%s sees no GPU", driver->path);
    return ST_OK;
}

/* dlerror's text of a file that is not there; one that cannot be loaded is there and broken. */
static bool is_missing(const char *why, const char *file) {
    char absent[128];
    return strstr(why, file) != NULL &&
           strstr(why, strerror_r(ENOENT, absent, sizeof absent)) != NULL;
}

static Status open_library(const char *file, Driver **out, Error *err) {
    Driver *driver = mem_alloc(sizeof *driver);
    if (driver == NULL) return err_no_memory(err, sizeof *driver);
    driver->handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (driver->handle == NULL) {
        const char *why = dlerror();
        mem_free(driver);
        if (why == NULL) why = "unknown reason";
        return err_set(err, is_missing(why, file) ? ST_NOT_FOUND : ST_DRIVER,
                       "cannot load the driver library %s: %s", file, why);
    }
    note_path(driver, file);
    Status st = initialise(driver, err);
    if (st != ST_OK) {
        driver_close(driver);
        return st;
    }
    *out = driver;
    return ST_OK;
}

/* ---- the software GPU's library ---- */

/* Directories to look in, relative to where this code was loaded from: beside it, the library
 * directories of an installed program, and the folders of a build tree. */
static const char *const softgpu_places[] = {
    "", "/../" SEQTUNE_LIBDIR, "/../lib", "/../softgpu", "/../../softgpu", "/../runtime",
};

/* Directory of the file this function was loaded from: libseqtune.so or the program. */
static bool own_directory(char *out, size_t size) {
    Dl_info info;
    char path[PATH_MAX];
    void *here = NULL;
    Status (*self)(const char *, Driver **, Error *) = driver_open;
    memcpy(&here, &self, sizeof here);
    if (dladdr(here, &info) == 0 || info.dli_fname == NULL) return false;
    /* For the main program dli_fname is argv[0], which may be a bare name. */
    if (strchr(info.dli_fname, '/') == NULL || realpath(info.dli_fname, path) == NULL)
        if (realpath("/proc/self/exe", path) == NULL) return false;
    snprintf(out, size, "%s", dirname(path));
    return true;
}

static Status find_softgpu(char *out, size_t size, Error *err) {
    char own[PATH_MAX] = "";
    if (own_directory(own, sizeof own)) {
        for (size_t i = 0; i < sizeof softgpu_places / sizeof softgpu_places[0]; i++) {
            snprintf(out, size, "%.*s%s/%s", (int)(size / 2), own, softgpu_places[i], softgpu_name);
            if (files_exists(out)) return ST_OK;
        }
    }
    snprintf(out, size, "%s/%s", SEQTUNE_FULL_LIBDIR, softgpu_name);
    if (files_exists(out)) return ST_OK;
    return err_set(err, ST_NOT_FOUND,
                   "the software GPU (%s) is neither beside the program in %s nor in %s: install "
                   "it, or name it with SEQTUNE_DRIVER=/path/to/%s",
                   softgpu_name, own, SEQTUNE_FULL_LIBDIR, softgpu_name);
}

/* A library that is loaded already keeps the devices it was first asked for. */
static Status check_models(const Driver *driver, const char *models, Error *err) {
    const char *next = models;
    for (int i = 0; *next != '\0'; i++) {
        size_t n = strcspn(next, ",");
        DeviceTraits traits = driver_traits(driver, i);
        if (i >= driver->device_count || strlen(traits.model) != n ||
            strncasecmp(traits.model, next, n) != 0)
            return err_set(err, ST_BUSY,
                           "the software GPU of this process already models other GPUs than \"%s\" "
                           "(device %d is %s): one process has one set",
                           models, i, i < driver->device_count ? traits.model : "absent");
        next += n + (next[n] == ',');
    }
    return ST_OK;
}

/* "a100,t4": every name must be in the GPU table. */
static Status check_names(const char *models, Error *err) {
    const char *next = models;
    do {
        char name[64];
        size_t n = strcspn(next, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, next);
        if (gpu_model_find(name) == NULL) {
            Str known = {0};
            for (size_t i = 0; i < gpu_model_count(); i++)
                str_printf(&known, "%s%s", i > 0 ? ", " : "", gpu_model(i)->name);
            Status st = err_set(err, ST_NOT_FOUND, "there is no GPU model \"%s\"; known: %s", name,
                                str_text(&known));
            str_free(&known);
            return st;
        }
        next += n;
    } while (*next++ == ',');
    return ST_OK;
}

static Status open_softgpu(const char *models, Driver **out, Error *err) {
    char path[PATH_MAX * 2];
    Status st = models != NULL ? check_names(models, err) : ST_OK;
    if (st == ST_OK) st = find_softgpu(path, sizeof path, err);
    if (st != ST_OK) return st;
    if (models != NULL && setenv("SOFTGPU_DEVICES", models, 1) != 0)
        return err_no_memory(err, strlen(models));
    if ((st = open_library(path, out, err)) != ST_OK) {
        if (models != NULL) err_wrap(err, "software GPU with devices \"%s\"", models);
        return st;
    }
    if (models != NULL && (st = check_models(*out, models, err)) != ST_OK) {
        driver_close(*out);
        *out = NULL;
    }
    return st;
}

static Status open_default(Driver **out, Error *err) {
    Error real = {0};
    Status st = open_library(libcuda_name, out, &real);
    if (st == ST_OK) return ST_OK;
    /* A machine whose driver is broken or too old has a GPU: emulating it would hide that. */
    if (st != ST_NOT_FOUND)
        return err_set(err, st, "%s\n(SEQTUNE_DRIVER=soft takes the software GPU)", real.message);
    log_write(LOG_WARN, "jit",
              "no usable CUDA device (%s): using the software GPU, all times are modelled",
              real.message);
    st = open_softgpu(NULL, out, err);
    if (st != ST_OK) err_wrap(err, "%s; and", real.message);
    return st;
}

Status driver_open(const char *name, Driver **out, Error *err) {
    *out = NULL;
    if (name == NULL) name = files_env("SEQTUNE_DRIVER");
    if (name == NULL || name[0] == '\0') return open_default(out, err);
    if (strcmp(name, "cuda") == 0) return open_library(libcuda_name, out, err);
    if (strcmp(name, "soft") == 0) return open_softgpu(NULL, out, err);
    if (str_starts(name, "soft:")) return open_softgpu(name + strlen("soft:"), out, err);
    if (strchr(name, '/') != NULL) return open_library(name, out, err);
    return err_set(err, ST_INVALID,
                   "driver \"%s\": must be \"cuda\", \"soft\", \"soft:MODEL\" or the path of a "
                   "driver library (with a '/')",
                   name);
}

void driver_close(Driver *driver) {
    if (driver == NULL) return;
    if (driver->handle != NULL) dlclose(driver->handle);
    mem_free(driver);
}

Status driver_check(const Driver *driver, CuResult result, const char *call, Error *err) {
    if (result == CUDA_SUCCESS) return ST_OK;
    const char *name = NULL, *text = NULL;
    if (driver->GetErrorName(result, &name) != CUDA_SUCCESS || name == NULL) name = "unknown error";
    if (driver->GetErrorString(result, &text) != CUDA_SUCCESS || text == NULL) text = "";
    /* 7xx are the results that a kernel's fault leaves behind. */
    char fault[1024] = "";
    bool faulted = result >= CUDA_ERROR_ILLEGAL_ADDRESS && result < CUDA_ERROR_NOT_PERMITTED;
    if (faulted && driver->LastFault != NULL &&
        driver->LastFault(fault, sizeof fault) != CUDA_SUCCESS)
        fault[0] = '\0';
    Status st = result == CUDA_ERROR_OUT_OF_MEMORY    ? ST_NO_MEMORY
                : result == CUDA_ERROR_LAUNCH_TIMEOUT ? ST_TIMEOUT
                                                      : ST_DRIVER;
    return err_set(err, st, "%s: %s (%d)%s%s%s%s", call, name, result, text[0] != '\0' ? ": " : "",
                   text, fault[0] != '\0' ? "\n" : "", fault);
}

DeviceTraits driver_traits(const Driver *driver, int device) {
    DeviceTraits traits = {.size = sizeof traits};
    if (driver->GetTraits != NULL && driver->GetTraits(device, &traits) == CUDA_SUCCESS)
        return traits;
    return (DeviceTraits){.size = sizeof traits, .factor = 1.0};
}

Status driver_set_mode(const Driver *driver, LaunchMode mode, Error *err) {
    if (driver->SetLaunchMode == NULL) return ST_OK;
    return driver_check(driver, driver->SetLaunchMode((int)mode), "softgpuSetLaunchMode", err);
}

CuResult driver_enter(const Driver *driver, CuContext context, bool *pushed) {
    CuContext current = NULL;
    *pushed = false;
    CuResult result = driver->CtxGetCurrent(&current);
    if (result != CUDA_SUCCESS || current == context) return result;
    result = driver->CtxPushCurrent(context);
    *pushed = result == CUDA_SUCCESS;
    return result;
}

void driver_leave(const Driver *driver, bool pushed) {
    CuContext context = NULL;
    if (pushed) (void)driver->CtxPopCurrent(&context);
}
