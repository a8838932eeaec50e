/* Libraries (CUDA 12): PTX that belongs to no context, and its kernels.
 *
 * A library is loaded into a context when something of it is first used there; at once into the
 * context that is current when it is loaded, so that errors show early. A kernel handle works where
 * a function does and stands for its function in the current context. */
#include "softgpu/driver/state.h"

#include <string.h>

#include "base/arena.h"
#include "base/files.h"
#include "base/mem.h"

enum { LIBRARY_FILE_MAX = 256 << 20 };

static void library_drop(Library *library) {
    if (--library->references > 0) return;
    mem_free(library->text);
    mem_free(library);
}

void library_forget(Module *instance) {
    if (instance->library == NULL) return;
    Module **link = &instance->library->instances;
    while (*link != instance) link = &(*link)->next_instance;
    *link = instance->next_instance;
}

/* The library's module in `context`, loaded if need be; then the lock is released meanwhile. */
static CUresult instance_find(Library *library, Context *context, const JitLog *log, Module **out) {
    for (Module *m = library->instances; m != NULL; m = m->next_instance)
        if (m->object.context == context) {
            *out = m;
            return CUDA_SUCCESS;
        }
    const void *handle = library->object.handle;
    library->references++;
    CUresult result = module_make(context, library->text, log, out);
    if (result == CUDA_SUCCESS && FIND(Library, LIBRARY, handle) != library) {
        module_release(*out); /* unloaded meanwhile */
        result = CUDA_ERROR_INVALID_HANDLE;
    }
    if (result == CUDA_SUCCESS) {
        (*out)->library = library;
        (*out)->next_instance = library->instances;
        library->instances = *out;
    }
    library_drop(library);
    return result;
}

static CUresult kernel_function(const Kernel *kernel, Context *context, Function **function) {
    Module *module = NULL;
    const void *handle = kernel->object.handle;
    const CUresult result = instance_find(kernel->library, context, &(JitLog){0}, &module);
    if (result != CUDA_SUCCESS) return result;
    kernel = FIND(Kernel, KERNEL, handle);
    if (kernel == NULL) return CUDA_ERROR_INVALID_HANDLE;
    const SgKernel *found = sg_module_kernel(module->module, kernel->name);
    if (found == NULL) return CUDA_ERROR_NOT_FOUND;
    *function = function_of(module, found);
    return *function == NULL ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult function_find(Context *context, const void *handle, Function **function) {
    const Kernel *kernel = FIND(Kernel, KERNEL, handle);
    if (kernel != NULL) return kernel_function(kernel, context, function);
    *function = FIND(Function, FUNCTION, handle);
    if (*function == NULL || (*function)->object.context != context)
        return CUDA_ERROR_INVALID_HANDLE;
    return CUDA_SUCCESS;
}

/* Loading --------------------------------------------------------------------- */

/* The context that is current, if any; with the lock. */
static Context *current_context(void) {
    if (this_thread.depth == 0) return NULL;
    return FIND(Context, CONTEXT, this_thread.stack[this_thread.depth - 1]);
}

static void library_remove(Library *library) {
    while (library->kernels != NULL) {
        Kernel *kernel = library->kernels;
        library->kernels = kernel->next;
        object_remove(&kernel->object);
        mem_free(kernel->name);
        mem_free(kernel);
    }
    object_remove(&library->object);
    library_drop(library);
}

static CUresult library_load(CUlibrary *out, const char *text, const JitLog *log) {
    CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || text == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    Library *library = mem_alloc(sizeof *library);
    if (library == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    library->references = 1;
    library->text = mem_strdup(text);
    if (library->text == NULL || !object_add(&library->object, OBJECT_LIBRARY, NULL)) {
        library_drop(library);
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    Module *module = NULL;
    Context *context = current_context();
    if (context != NULL) result = instance_find(library, context, log, &module);
    if (result != CUDA_SUCCESS)
        library_remove(library);
    else
        *out = library->object.handle;
    return leave(result);
}

/* Library options (host table, binary preserved) change nothing here. */
static bool options_known(const int *options, unsigned int count) {
    for (unsigned int i = 0; i < count; i++)
        if (options == NULL || options[i] < 0 || options[i] > 1) return false;
    return true;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *code, int *jit_options,
                           void **jit_values, unsigned int jit_count, int *options, void **values,
                           unsigned int count) {
    JitLog log;
    (void)values;
    const CUresult result = options_read(jit_count, jit_options, jit_values, &log);
    if (result != CUDA_SUCCESS) return result;
    if (!options_known(options, count)) return CUDA_ERROR_INVALID_VALUE;
    return library_load(library, code, &log);
}

CUresult cuLibraryLoadFromFile(CUlibrary *library, const char *path, int *jit_options,
                               void **jit_values, unsigned int jit_count, int *options,
                               void **values, unsigned int count) {
    if (path == NULL) return CUDA_ERROR_INVALID_VALUE;
    Arena *arena = arena_new();
    if (arena == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    char *text;
    size_t size;
    CUresult result = CUDA_ERROR_FILE_NOT_FOUND;
    if (files_read(arena, path, LIBRARY_FILE_MAX, &text, &size, NULL) == ST_OK)
        result = cuLibraryLoadData(library, text, jit_options, jit_values, jit_count, options,
                                   values, count);
    arena_free(arena);
    return result;
}

/* Unloads it from every context, each once its pending work is done. */
CUresult cuLibraryUnload(CUlibrary handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Library *library = FIND(Library, LIBRARY, handle);
    if (library == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if (this_thread.in_callback) return leave(CUDA_ERROR_NOT_PERMITTED);
    library->references++; /* waiting releases the lock */
    while (library->instances != NULL) {
        const void *instance = library->instances->object.handle;
        context_drain(library->instances->object.context);
        Module *module = FIND(Module, MODULE, instance);
        if (module != NULL) module_release(module);
    }
    if (FIND(Library, LIBRARY, handle) == library) library_remove(library);
    library_drop(library);
    return leave(CUDA_SUCCESS);
}

/* Contents -------------------------------------------------------------------- */

/* Finds the library's module in the current context; on failure the lock is not held. */
static CUresult enter_instance(CUlibrary handle, Module **module) {
    Context *context = NULL;
    CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    Library *library = FIND(Library, LIBRARY, handle);
    if (library == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    result = instance_find(library, context, &(JitLog){0}, module);
    return result == CUDA_SUCCESS ? CUDA_SUCCESS : leave(result);
}

/* The kernel object of that name, made on first use; NULL: no memory. */
static Kernel *kernel_named(Library *library, const char *name) {
    Kernel *kernel = library->kernels;
    while (kernel != NULL && strcmp(kernel->name, name) != 0) kernel = kernel->next;
    if (kernel != NULL) return kernel;
    kernel = mem_alloc(sizeof *kernel);
    if (kernel == NULL) return NULL;
    kernel->library = library;
    kernel->name = mem_strdup(name);
    if (kernel->name == NULL || !object_add(&kernel->object, OBJECT_KERNEL, NULL)) {
        mem_free(kernel->name);
        mem_free(kernel);
        return NULL;
    }
    kernel->next = library->kernels;
    library->kernels = kernel;
    return kernel;
}

CUresult cuLibraryGetKernel(CUkernel *out, CUlibrary handle, const char *name) {
    Module *module = NULL;
    const CUresult result = enter_instance(handle, &module);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL || name == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (sg_module_kernel(module->module, name) == NULL) return leave(CUDA_ERROR_NOT_FOUND);
    const Kernel *kernel = kernel_named(module->library, name);
    if (kernel == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    *out = kernel->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary handle) {
    Module *module = NULL;
    const CUresult result = enter_instance(handle, &module);
    if (result != CUDA_SUCCESS) return result;
    if (count == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *count = (unsigned int)sg_module_kernel_count(module->module);
    return leave(CUDA_SUCCESS);
}

CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int count, CUlibrary handle) {
    Module *module = NULL;
    const CUresult result = enter_instance(handle, &module);
    if (result != CUDA_SUCCESS) return result;
    if (kernels == NULL || count == 0) return leave(CUDA_ERROR_INVALID_VALUE);
    const size_t all = sg_module_kernel_count(module->module);
    for (size_t i = 0; i < count && i < all; i++) {
        const SgKernel *found = sg_module_kernel_at(module->module, i);
        const Kernel *kernel = kernel_named(module->library, sg_kernel_info(found)->name);
        if (kernel == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
        kernels[i] = kernel->object.handle;
    }
    return leave(CUDA_SUCCESS);
}

CUresult cuLibraryGetModule(CUmodule *out, CUlibrary handle) {
    Module *module = NULL;
    const CUresult result = enter_instance(handle, &module);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *out = module->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary handle,
                            const char *name) {
    Module *module = NULL;
    const CUresult result = enter_instance(handle, &module);
    if (result != CUDA_SUCCESS) return result;
    uint64_t at, size;
    if (name == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    if (!sg_module_global(module->module, name, &at, &size)) return leave(CUDA_ERROR_NOT_FOUND);
    if (address != NULL) *address = at;
    if (bytes != NULL) *bytes = size;
    return leave(CUDA_SUCCESS);
}

/* PTX declares neither managed variables nor unified function pointers that were played here. */
static CUresult nothing_found(CUlibrary handle, const char *name) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    if (FIND(Library, LIBRARY, handle) == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    return leave(name == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_FOUND);
}

CUresult cuLibraryGetManaged(CUdeviceptr *address, size_t *bytes, CUlibrary library,
                             const char *name) {
    (void)address;
    (void)bytes;
    return nothing_found(library, name);
}

CUresult cuLibraryGetUnifiedFunction(void **function, CUlibrary library, const char *name) {
    (void)function;
    return nothing_found(library, name);
}

/* Kernels --------------------------------------------------------------------- */

static CUresult enter_kernel(CUkernel handle, Context **context, const Kernel **kernel) {
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, context);
    if (result != CUDA_SUCCESS) return result;
    *kernel = FIND(Kernel, KERNEL, handle);
    return *kernel != NULL ? CUDA_SUCCESS : leave(CUDA_ERROR_INVALID_HANDLE);
}

CUresult cuKernelGetFunction(CUfunction *out, CUkernel handle) {
    Context *context = NULL;
    const Kernel *kernel = NULL;
    Function *function = NULL;
    CUresult result = enter_kernel(handle, &context, &kernel);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    result = kernel_function(kernel, context, &function);
    if (result == CUDA_SUCCESS) *out = function->object.handle;
    return leave(result);
}

CUresult cuKernelGetLibrary(CUlibrary *out, CUkernel handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Kernel *kernel = FIND(Kernel, KERNEL, handle);
    if (kernel == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if (out == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *out = kernel->library->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuKernelGetName(const char **name, CUkernel handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Kernel *kernel = FIND(Kernel, KERNEL, handle);
    if (kernel == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if (name == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *name = kernel->name;
    return leave(CUDA_SUCCESS);
}

CUresult cuKernelGetParamInfo(CUkernel handle, size_t index, size_t *offset, size_t *size) {
    return cuFuncGetParamInfo((CUfunction)(void *)handle, index, offset, size);
}

/* Attributes belong to a device; only that of the current context is known here. */
static CUresult kernel_device(CUkernel handle, CUdevice device) {
    Context *context = NULL;
    const Kernel *kernel = NULL;
    const CUresult result = enter_kernel(handle, &context, &kernel);
    if (result != CUDA_SUCCESS) return result;
    if (device < 0 || device >= driver.device_count) return leave(CUDA_ERROR_INVALID_DEVICE);
    return leave(context->device == device ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED);
}

CUresult cuKernelGetAttribute(int *value, int attribute, CUkernel kernel, CUdevice device) {
    const CUresult result = kernel_device(kernel, device);
    if (result != CUDA_SUCCESS) return result;
    return cuFuncGetAttribute(value, attribute, (CUfunction)(void *)kernel);
}

CUresult cuKernelSetAttribute(int attribute, int value, CUkernel kernel, CUdevice device) {
    const CUresult result = kernel_device(kernel, device);
    if (result != CUDA_SUCCESS) return result;
    return cuFuncSetAttribute((CUfunction)(void *)kernel, attribute, value);
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, int config, CUdevice device) {
    const CUresult result = kernel_device(kernel, device);
    if (result != CUDA_SUCCESS) return result;
    return cuFuncSetCacheConfig((CUfunction)(void *)kernel, config);
}
