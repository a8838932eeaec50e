/* Modules and functions: PTX text in, function handles and their attributes out.
 *
 * Cubins and fat binaries are refused with NO_BINARY_FOR_GPU, as a driver does for another
 * architecture's; a PTX version that the played driver does not know with UNSUPPORTED_PTX_VERSION.
 */
#include "softgpu/driver/state.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/files.h"
#include "base/mem.h"

enum { DEFAULT_SHARED = 48 * 1024, PTX_FILE_MAX = 256 << 20 };

/* PTX ISA, "Release Notes": the first CUDA version whose driver takes a PTX version. */
static const struct {
    int ptx, driver;
} ptx_versions[] = {{90, 13000}, {88, 12090}, {87, 12080}, {86, 12070}, {85, 12050},
                    {84, 12040}, {83, 12030}, {82, 12020}, {81, 12010}, {80, 12000},
                    {78, 11080}, {77, 11070}, {76, 11060}, {75, 11050}, {74, 11040},
                    {73, 11030}, {72, 11020}, {71, 11010}, {70, 11000}};

/* Largest PTX version that a driver of `version` takes. */
static int ptx_limit(int version) {
    for (size_t i = 0; i < sizeof ptx_versions / sizeof *ptx_versions; i++)
        if (ptx_versions[i].driver <= version) return ptx_versions[i].ptx;
    return 0;
}

/* The number of the `.version major.minor` directive, the first one that is no comment; 0: none. */
static int ptx_version(const char *text) {
    while (*text != '\0') {
        int major, minor;
        while (isspace((unsigned char)*text)) text++;
        if (strncmp(text, "//", 2) == 0) {
            text += strcspn(text, "\n");
        } else if (strncmp(text, "/*", 2) == 0) {
            const char *end = strstr(text + 2, "*/");
            if (end == NULL) return 0;
            text = end + 2;
        } else {
            return sscanf(text, ".version %d.%d", &major, &minor) == 2 ? major * 10 + minor : 0;
        }
    }
    return 0;
}

typedef enum ImageKind { IMAGE_PTX, IMAGE_BINARY, IMAGE_UNKNOWN } ImageKind;

static ImageKind image_kind(const unsigned char *image) {
    static const unsigned char elf[4] = {0x7f, 'E', 'L', 'F'}, fat[4] = {0x50, 0xed, 0x55, 0xba};
    for (size_t i = 0; i < 4; i++) {
        if (image[i] == '\0') return i == 0 ? IMAGE_UNKNOWN : IMAGE_PTX; /* too short: say so */
        if (image[i] != elf[i] && image[i] != fat[i]) break;
        if (i == 3) return IMAGE_BINARY;
    }
    return isprint(image[0]) || isspace(image[0]) ? IMAGE_PTX : IMAGE_UNKNOWN;
}

/* The options that mean something here; the others tune a compiler that does not exist. */
CUresult options_read(unsigned int count, const int *options, void **values, JitLog *log) {
    *log = (JitLog){0};
    if (count > 0 && (options == NULL || values == NULL)) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned int i = 0; i < count; i++) {
        switch (options[i]) {
        case CU_JIT_INFO_LOG_BUFFER: log->info = values[i]; break;
        case CU_JIT_ERROR_LOG_BUFFER: log->error = values[i]; break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            log->info_size = (unsigned int)(uintptr_t)values[i];
            log->info_used = &values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            log->error_size = (unsigned int)(uintptr_t)values[i];
            log->error_used = &values[i];
            break;
        case CU_JIT_WALL_TIME: log->wall_time = &values[i]; break;
        default:
            if (options[i] < 0 || options[i] >= CU_JIT_NUM_OPTIONS) return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

static void log_text(char *buffer, size_t size, void **used, const char *text) {
    size_t n = 0;
    if (buffer != NULL && size > 0) {
        snprintf(buffer, size, "%s", text);
        n = strlen(buffer);
    }
    if (used != NULL) *used = (void *)(uintptr_t)n;
}

/* Sets module->module; `text` names the cause of a failure. */
static CUresult ptx_load(Context *context, const char *ptx, Module *module, Error *err) {
    const ImageKind kind = image_kind((const unsigned char *)ptx);
    if (kind == IMAGE_BINARY) {
        err_set(err, ST_UNSUPPORTED, "cubin or fat binary: the software GPU executes PTX only");
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    if (kind == IMAGE_UNKNOWN) {
        err_set(err, ST_SYNTAX, "neither PTX text nor a binary");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    const int version = ptx_version(ptx), limit = ptx_limit(driver.version);
    if (version > limit) {
        err_set(err, ST_UNSUPPORTED,
                "PTX version %d.%d: driver %d.%d supports up to %d.%d; compile with an older NVRTC",
                version / 10, version % 10, driver.version / 1000, driver.version % 1000 / 10,
                limit / 10, limit % 10);
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    }
    const GpuArch *arch = context->model->arch;
    const int driver_number = driver.version, device = context->device;
    /* Parsing needs nothing of the driver's; other streams go on meanwhile. */
    pthread_mutex_unlock(&driver.lock);
    const Status st =
        sg_module_load(ptx, strlen(ptx), arch, driver_number, device, &module->module, err);
    pthread_mutex_lock(&driver.lock);
    switch (st) {
    case ST_OK: break;
    case ST_NO_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
    default: return CUDA_ERROR_INVALID_PTX;
    }
    module->text = mem_strdup(ptx);
    if (module->text != NULL) return CUDA_SUCCESS;
    sg_module_free(module->module);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

static void module_free(Module *module, bool loaded) {
    if (loaded) sg_module_free(module->module);
    mem_free(module->text);
    mem_free(module);
}

static float milliseconds(const struct timespec *start, const struct timespec *end) {
    return (float)(end->tv_sec - start->tv_sec) * 1e3f +
           (float)(end->tv_nsec - start->tv_nsec) * 1e-6f;
}

CUresult module_make(Context *context, const char *ptx, const JitLog *log, Module **out) {
    void *context_handle = context->object.handle;
    Module *module = mem_alloc(sizeof *module);
    if (module == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    Error err = {0};
    CUresult result = ptx_load(context, ptx, module, &err);
    const bool loaded = result == CUDA_SUCCESS;
    clock_gettime(CLOCK_MONOTONIC, &end);
    const float ms = milliseconds(&start, &end);
    if (log->wall_time != NULL) memcpy(log->wall_time, &ms, sizeof ms);
    log_text(log->error, log->error_size, log->error_used, err.message);
    log_text(log->info, log->info_size, log->info_used, "");
    context = FIND(Context, CONTEXT, context_handle);
    if (context == NULL) result = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (result == CUDA_SUCCESS && !object_add(&module->object, OBJECT_MODULE, context))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS)
        module_free(module, loaded);
    else
        *out = module;
    return result;
}

static CUresult module_load(CUmodule *out, const char *ptx, const JitLog *log) {
    Context *context = NULL;
    Module *module = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || ptx == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *out = NULL;
    result = module_make(context, ptx, log, &module);
    if (result == CUDA_SUCCESS) *out = module->object.handle;
    return leave(result);
}

CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned int count, int *options,
                            void **values) {
    JitLog log;
    const CUresult result = options_read(count, options, values, &log);
    return result != CUDA_SUCCESS ? result : module_load(out, image, &log);
}

CUresult cuModuleLoadData(CUmodule *out, const void *image) {
    return module_load(out, image, &(JitLog){0});
}

CUresult cuModuleLoadFatBinary(CUmodule *out, const void *image) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    return leave(out == NULL || image == NULL ? CUDA_ERROR_INVALID_VALUE
                                              : CUDA_ERROR_NO_BINARY_FOR_GPU);
}

CUresult cuModuleLoad(CUmodule *out, const char *path) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    leave(CUDA_SUCCESS);
    if (out == NULL || path == NULL) return CUDA_ERROR_INVALID_VALUE;
    Arena *arena = arena_new();
    if (arena == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    char *text;
    size_t size;
    CUresult loaded = CUDA_ERROR_FILE_NOT_FOUND;
    if (files_read(arena, path, PTX_FILE_MAX, &text, &size, NULL) == ST_OK)
        loaded = module_load(out, text, &(JitLog){0});
    arena_free(arena);
    return loaded;
}

void module_release(Module *module) {
    for (Function *f = module->functions, *next; f != NULL; f = next) {
        next = f->next;
        object_remove(&f->object);
        sg_text_close(&f->text);
        mem_free(f);
    }
    library_forget(module);
    object_remove(&module->object);
    module_free(module, true);
}

/* Finds a module of the current context; on failure the lock is not held. */
static CUresult enter_module(CUmodule handle, unsigned int wants, Module **module) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY | wants, &context);
    if (result != CUDA_SUCCESS) return result;
    *module = FIND(Module, MODULE, handle);
    if (*module == NULL || (*module)->object.context != context)
        return leave(CUDA_ERROR_INVALID_HANDLE);
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule handle) {
    Module *module = NULL;
    CUresult result = enter_module(handle, WANT_SAFE, &module);
    if (result != CUDA_SUCCESS) return result;
    /* "a module which was obtained from the Library Management API" */
    if (module->library != NULL) return leave(CUDA_ERROR_NOT_PERMITTED);
    result = context_drain(module->object.context); /* its kernels may be running */
    module = FIND(Module, MODULE, handle);
    if (result == CUDA_SUCCESS && module != NULL) module_release(module);
    return leave(result);
}

CUresult cuModuleGetLoadingMode(int *mode) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (mode == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *mode = 1; /* CU_MODULE_EAGER_LOADING */
    return leave(CUDA_SUCCESS);
}

Function *function_of(Module *module, const SgKernel *kernel) {
    Function *f = module->functions;
    while (f != NULL && f->kernel != kernel) f = f->next;
    if (f != NULL) return f;
    f = mem_alloc(sizeof *f);
    if (f == NULL) return NULL;
    f->module = module;
    f->kernel = kernel;
    f->info = sg_kernel_info(kernel);
    f->text = sg_text_of(module->text, f->info->name);
    const int left = DEFAULT_SHARED - f->info->static_smem;
    f->max_dynamic = left > 0 ? left : 0;
    f->carveout = -1;
    if (!object_add(&f->object, OBJECT_FUNCTION, NULL)) {
        sg_text_close(&f->text);
        mem_free(f);
        return NULL;
    }
    f->object.context = module->object.context;
    f->next = module->functions;
    module->functions = f;
    return f;
}

CUresult cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name) {
    Module *module = NULL;
    const CUresult result = enter_module(handle, 0, &module);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || name == NULL || name[0] == '\0') return leave(CUDA_ERROR_INVALID_VALUE);
    *out = NULL;
    const SgKernel *kernel = sg_module_kernel(module->module, name);
    if (kernel == NULL) return leave(CUDA_ERROR_NOT_FOUND);
    const Function *f = function_of(module, kernel);
    if (f == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    *out = f->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule handle,
                              const char *name) {
    Module *module = NULL;
    const CUresult result = enter_module(handle, 0, &module);
    if (result != CUDA_SUCCESS) return result;
    if (name == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t at, size;
    if (!sg_module_global(module->module, name, &at, &size)) return leave(CUDA_ERROR_NOT_FOUND);
    if (address != NULL) *address = at;
    if (bytes != NULL) *bytes = size;
    return leave(CUDA_SUCCESS);
}

CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule handle) {
    Module *module = NULL;
    const CUresult result = enter_module(handle, 0, &module);
    if (result != CUDA_SUCCESS) return result;
    if (count == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *count = (unsigned int)sg_module_kernel_count(module->module);
    return leave(CUDA_SUCCESS);
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int count, CUmodule handle) {
    Module *module = NULL;
    const CUresult result = enter_module(handle, 0, &module);
    if (result != CUDA_SUCCESS) return result;
    if (functions == NULL || count == 0) return leave(CUDA_ERROR_INVALID_VALUE);
    const size_t all = sg_module_kernel_count(module->module);
    for (size_t i = 0; i < count && i < all; i++) {
        const Function *f = function_of(module, sg_module_kernel_at(module->module, i));
        if (f == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
        functions[i] = f->object.handle;
    }
    return leave(CUDA_SUCCESS);
}

/* Functions ------------------------------------------------------------------- */

static CUresult enter_function(CUfunction handle, Function **function) {
    Context *context = NULL;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    const CUresult found = function_find(context, handle, function);
    return found == CUDA_SUCCESS ? CUDA_SUCCESS : leave(found);
}

int function_max_threads(const Function *f) {
    const GpuArch *arch = f->object.context->model->arch;
    const int by_registers = sg_warps_by_registers(arch, f->info->ptxas.registers) * 32;
    return by_registers < f->info->max_threads ? by_registers : f->info->max_threads;
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction handle) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    if (value == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    const SgKernelInfo *info = f->info;
    const int local = info->local_bytes > info->ptxas.stack ? info->local_bytes : info->ptxas.stack;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = function_max_threads(f); break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = info->static_smem; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = local; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = info->ptxas.registers; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = f->object.context->model->arch->cc; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = f->max_dynamic; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = f->carveout; break;
    default: /* constant memory, cache mode, clusters: none of them here */
        if (attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX)
            return leave(CUDA_ERROR_INVALID_VALUE);
        *value = 0;
    }
    return leave(CUDA_SUCCESS);
}

CUresult cuFuncSetAttribute(CUfunction handle, int attribute, int value) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    const int most = f->object.context->model->arch->smem_block - f->info->static_smem;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || value > most) return leave(CUDA_ERROR_INVALID_VALUE);
        f->max_dynamic = value;
        return leave(CUDA_SUCCESS);
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100) return leave(CUDA_ERROR_INVALID_VALUE);
        f->carveout = value; /* a hint */
        return leave(CUDA_SUCCESS);
    default: return leave(CUDA_ERROR_INVALID_VALUE); /* the others are read-only or clusters */
    }
}

/* Hints without effect on sm_75 and later. */
static CUresult hint(CUfunction handle, int value, int largest) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    return leave(value < 0 || value > largest ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
}

CUresult cuFuncSetCacheConfig(CUfunction handle, int config) {
    return hint(handle, config, 3);
}

CUresult cuFuncSetSharedMemConfig(CUfunction handle, int config) {
    return hint(handle, config, 2);
}

CUresult cuFuncGetModule(CUmodule *module, CUfunction handle) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    if (module == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *module = f->module->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuFuncGetName(const char **name, CUfunction handle) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    if (name == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *name = f->info->name;
    return leave(CUDA_SUCCESS);
}

CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *size) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    if (offset == NULL || index >= f->info->param_count) return leave(CUDA_ERROR_INVALID_VALUE);
    *offset = f->info->param_offset[index];
    if (size != NULL) *size = f->info->param_size[index];
    return leave(CUDA_SUCCESS);
}

CUresult cuFuncIsLoaded(int *state, CUfunction handle) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    if (result != CUDA_SUCCESS) return result;
    if (state == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *state = 1; /* CU_FUNCTION_LOADING_STATE_LOADED */
    return leave(CUDA_SUCCESS);
}

CUresult cuFuncLoad(CUfunction handle) {
    Function *f = NULL;
    const CUresult result = enter_function(handle, &f);
    return result != CUDA_SUCCESS ? result : leave(CUDA_SUCCESS);
}
