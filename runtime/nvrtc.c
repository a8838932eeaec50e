/* Finding NVRTC: candidates by place and major version, judged by what the driver accepts.
 *
 * A candidate's major version is in its name; it is opened to learn the minor one. */
#include "runtime/nvrtc.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/files.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

/* Newest first. NVRTC's soname is the major version since 12; 11.2 stands for 11.2 to 11.8. */
typedef struct Soname {
    const char *file;
    int major;
} Soname;

static const Soname sonames[] = {
    {"libnvrtc.so.13", 13}, {"libnvrtc.so.12", 12}, {"libnvrtc.so.11.2", 11}};
enum { SONAMES = sizeof sonames / sizeof sonames[0], MAX_PATTERNS = 32 };

typedef struct Symbol {
    const char *name;
    size_t offset;
} Symbol;

static const Symbol symbols[] = {
#define NVRTC_FN(member, symbol, params) {#symbol, offsetof(Nvrtc, member)},
#include "runtime/nvrtc.def"
#undef NVRTC_FN
    {"nvrtcGetErrorString", offsetof(Nvrtc, GetErrorString)},
};

NvrtcFit nvrtc_fit(int nvrtc_version, int driver_version) {
    if (driver_version == 0 || nvrtc_version <= driver_version) return NVRTC_FITS;
    return nvrtc_version / 1000 == driver_version / 1000 ? NVRTC_CUBIN_ONLY : NVRTC_REFUSED;
}

void nvrtc_requirement(int driver_version, char *out, size_t size) {
    /* Wheels are named by major version up to 12, by none from 13 on. */
    const char *name = driver_version != 0 && driver_version < 13000 ? "nvidia-cuda-nvrtc-cu12"
                                                                     : "nvidia-cuda-nvrtc";
    if (driver_version == 0)
        snprintf(out, size, "%s", name);
    else
        snprintf(out, size, "'%s==%d.%d.*'", name, driver_version / 1000,
                 driver_version % 1000 / 10);
}

void nvrtc_close(Nvrtc *nvrtc) {
    if (nvrtc == NULL) return;
    if (nvrtc->handle != NULL) dlclose(nvrtc->handle);
    mem_free(nvrtc);
}

bool nvrtc_knows_arch(const Nvrtc *nvrtc, int cc) {
    for (int i = 0; i < nvrtc->arch_count; i++)
        if (nvrtc->archs[i] == cc) return true;
    return false;
}

static Status resolve(Nvrtc *nvrtc, Error *err) {
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(nvrtc->handle, symbols[i].name);
        if (symbol == NULL)
            return err_set(err, ST_COMPILE, "%s has no %s: it is not NVRTC, or older than 11.2",
                           nvrtc->path, symbols[i].name);
        memcpy((char *)nvrtc + symbols[i].offset, &symbol, sizeof symbol);
    }
    int major = 0, minor = 0, count = 0;
    int result = nvrtc->Version(&major, &minor);
    if (result == 0) result = nvrtc->GetNumSupportedArchs(&count);
    if (result == 0 && count > (int)(sizeof nvrtc->archs / sizeof nvrtc->archs[0]))
        return err_set(err, ST_LIMIT, "%s knows %d architectures, more than %zu", nvrtc->path,
                       count, sizeof nvrtc->archs / sizeof nvrtc->archs[0]);
    if (result == 0) result = nvrtc->GetSupportedArchs(nvrtc->archs);
    if (result != 0)
        return err_set(err, ST_COMPILE, "%s: %s", nvrtc->path, nvrtc->GetErrorString(result));
    nvrtc->arch_count = count;
    nvrtc->version = major * 1000 + minor * 10;
    snprintf(nvrtc->toolchain, sizeof nvrtc->toolchain, "nvrtc %d.%d", major, minor);
    return ST_OK;
}

/* NVRTC opens libnvrtc-builtins by its bare name at the first compilation, which the loader finds
 * in a toolkit but not in a wheel's directory: loaded before, by path, the name is known. Where
 * there is none beside the library, the loader's path decides, as always. */
static void load_builtins(const Nvrtc *nvrtc) {
    char path[sizeof nvrtc->path + 64];
    const char *slash = strrchr(nvrtc->path, '/');
    if (slash == NULL) return;
    snprintf(path, sizeof path, "%.*s/libnvrtc-builtins.so.%d.%d", (int)(slash - nvrtc->path),
             nvrtc->path, nvrtc->version / 1000, nvrtc->version % 1000 / 10);
    (void)dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
}

/* *out is NULL with ST_NOT_FOUND when the file cannot be loaded at all. */
static Status open_file(const char *file, Nvrtc **out, Error *err) {
    Dl_info info;
    Nvrtc *nvrtc = mem_alloc(sizeof *nvrtc);
    if (nvrtc == NULL) return err_no_memory(err, sizeof *nvrtc);
    snprintf(nvrtc->path, sizeof nvrtc->path, "%s", file);
    /* NVRTC keeps 72 kB of its own each time it is unloaded: once loaded it stays. */
    nvrtc->handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (nvrtc->handle == NULL) {
        const char *why = dlerror();
        mem_free(nvrtc);
        return err_set(err, ST_NOT_FOUND, "%s", why != NULL ? why : "cannot be loaded");
    }
    void *symbol = dlsym(nvrtc->handle, "nvrtcVersion");
    if (symbol != NULL && dladdr(symbol, &info) != 0 && info.dli_fname != NULL)
        snprintf(nvrtc->path, sizeof nvrtc->path, "%s", info.dli_fname);
    Status st = resolve(nvrtc, err);
    if (st != ST_OK) {
        nvrtc_close(nvrtc);
        return st;
    }
    load_builtins(nvrtc);
    *out = nvrtc;
    return ST_OK;
}

/* ---- the search ---- */

typedef struct Search {
    int driver_version;
    Nvrtc *fits;       /* the first that fits */
    Nvrtc *cubin_only; /* the first whose cubin alone loads */
    Str seen;          /* "path: why not" per line */
} Search;

static void judge(Search *search, const char *file) {
    Error why = {0};
    Nvrtc *nvrtc = NULL;
    if (open_file(file, &nvrtc, &why) != ST_OK) {
        /* A bare soname that the loader does not find is the usual case, not news. */
        if (strchr(file, '/') != NULL) str_printf(&search->seen, "\n  %s: %s", file, why.message);
        return;
    }
    NvrtcFit fit = nvrtc_fit(nvrtc->version, search->driver_version);
    if (fit == NVRTC_FITS) {
        search->fits = nvrtc;
        return;
    }
    if (fit == NVRTC_CUBIN_ONLY && search->cubin_only == NULL) {
        search->cubin_only = nvrtc;
        return;
    }
    nvrtc_close(nvrtc);
}

/* One line per file that was there and is of no use, whatever the names it was found by. */
static void refuse(Search *search, const char *file) {
    char real[PATH_MAX];
    if (realpath(file, real) == NULL || strstr(str_text(&search->seen), real) != NULL) return;
    str_printf(&search->seen, "\n  %s: newer than the driver's CUDA %d.%d, which refuses its code",
               real, search->driver_version / 1000, search->driver_version % 1000 / 10);
}

/* `pattern`: a directory with glob characters, or "" for the loader's own path. */
static void judge_place(Search *search, const char *pattern, const Soname *soname) {
    char text[PATH_MAX];
    bool refused = nvrtc_fit(soname->major * 1000, search->driver_version) == NVRTC_REFUSED;
    if (pattern[0] == '\0') {
        if (!refused) judge(search, soname->file);
        return;
    }
    glob_t found;
    if (snprintf(text, sizeof text, "%s/%s", pattern, soname->file) >= (int)sizeof text) return;
    if (glob(text, 0, NULL, &found) != 0) return;
    /* From the end: the highest version of a toolkit or interpreter first. */
    for (size_t i = found.gl_pathc; i-- > 0 && search->fits == NULL;) {
        if (refused)
            refuse(search, found.gl_pathv[i]);
        else
            judge(search, found.gl_pathv[i]);
    }
    globfree(&found);
}

static Status finish(Search *search, Nvrtc **out, Error *err) {
    Status st = ST_OK;
    if (search->fits != NULL) {
        *out = search->fits;
        nvrtc_close(search->cubin_only);
    } else if (search->cubin_only != NULL) {
        *out = search->cubin_only;
        log_write(LOG_INFO, "jit",
                  "%s is newer than the driver's CUDA %d.%d: its cubins load, its PTX does not",
                  (*out)->toolchain, search->driver_version / 1000,
                  search->driver_version % 1000 / 10);
    } else {
        char wheel[64];
        nvrtc_requirement(search->driver_version, wheel, sizeof wheel);
        st = err_set(err, ST_NOT_FOUND,
                     "no usable NVRTC (libnvrtc.so.13, .12, .11.2): install one with `pip install "
                     "%s`, or a CUDA toolkit, or name the library with "
                     "SEQTUNE_NVRTC=/path/to/libnvrtc.so%s%s",
                     wheel, search->seen.len > 0 ? "\nfound and refused:" : "",
                     str_text(&search->seen));
    }
    if (*out != NULL)
        log_write(LOG_DEBUG, "jit", "nvrtc path=%s version=%d", (*out)->path, (*out)->version);
    str_free(&search->seen);
    return st;
}

Status nvrtc_open_in(const char *const *patterns, int driver_version, Nvrtc **out, Error *err) {
    Search search = {.driver_version = driver_version};
    *out = NULL;
    for (size_t s = 0; s < SONAMES && search.fits == NULL; s++)
        for (size_t p = 0; patterns[p] != NULL && search.fits == NULL; p++)
            judge_place(&search, patterns[p], &sonames[s]);
    return finish(&search, out, err);
}

static Status open_named(const char *file, int driver_version, Nvrtc **out, Error *err) {
    Nvrtc *nvrtc = NULL;
    Status st = open_file(file, &nvrtc, err);
    if (st != ST_OK) {
        err_wrap(err, "SEQTUNE_NVRTC=%s (correct it, or unset it to search for one)", file);
        return st;
    }
    if (nvrtc_fit(nvrtc->version, driver_version) == NVRTC_REFUSED) {
        st = err_set(err, ST_UNSUPPORTED,
                     "SEQTUNE_NVRTC=%s is %s, but the driver is of CUDA %d.%d and refuses its "
                     "code: name one of version %d",
                     file, nvrtc->toolchain, driver_version / 1000, driver_version % 1000 / 10,
                     driver_version / 1000);
        nvrtc_close(nvrtc);
        return st;
    }
    *out = nvrtc;
    return ST_OK;
}

/* Wheels unpack to <site-packages>/nvidia/<part>/lib. */
static const char *const site_packages[] = {
    "/usr/local/lib/python3*/dist-packages",
    "/usr/local/lib/python3*/site-packages",
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
};

Status nvrtc_open(int driver_version, Nvrtc **out, Error *err) {
    *out = NULL;
    const char *named = files_env("SEQTUNE_NVRTC");
    if (named != NULL) return open_named(named, driver_version, out, err);

    Arena *arena = arena_new();
    if (arena == NULL) return err_no_memory(err, 1);
    const char *patterns[MAX_PATTERNS] = {"", "/usr/local/cuda*/lib64",
                                          "/usr/local/cuda*/targets/*/lib"};
    size_t n = 3;
    const char *env = files_env("VIRTUAL_ENV"), *home = files_env("HOME");
    const char *data = files_data_dir(arena);
    if (data != NULL) {
        patterns[n++] = arena_printf(arena, "%s/nvrtc", data);
        patterns[n++] = arena_printf(arena, "%s/nvrtc/nvidia/*/lib", data);
    }
    if (env != NULL)
        patterns[n++] = arena_printf(arena, "%s/lib/python3*/site-packages/nvidia/*/lib", env);
    if (home != NULL)
        patterns[n++] =
            arena_printf(arena, "%s/.local/lib/python3*/site-packages/nvidia/*/lib", home);
    for (size_t i = 0; i < sizeof site_packages / sizeof site_packages[0]; i++)
        patterns[n++] = arena_printf(arena, "%s/nvidia/*/lib", site_packages[i]);
    /* No memory for a pattern ends the list early; the search still says what it found. */
    Status st = nvrtc_open_in(patterns, driver_version, out, err);
    arena_free(arena);
    return st;
}
