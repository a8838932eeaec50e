/* The linker: one PTX input becomes an image that cuModuleLoadData takes, the PTX itself. Several
 * inputs, and binaries, would need a real linker: NOT_SUPPORTED. */
#include "softgpu/driver/state.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/files.h"
#include "base/mem.h"

enum { LINK_FILE_MAX = 256 << 20, INPUT_TYPES = 6 };

typedef struct Link {
    Object object;
    JitLog log;
    char *image; /* PTX with its end; owned */
    size_t bytes;
} Link;

static void log_error(const JitLog *log, const char *text) {
    if (log->error == NULL || log->error_size == 0) return;
    snprintf(log->error, log->error_size, "%s", text);
    if (log->error_used != NULL) *log->error_used = (void *)(uintptr_t)strlen(log->error);
}

CUresult cuLinkCreate_v2(unsigned int count, int *options, void **values, CUlinkState *out) {
    Context *context = NULL;
    JitLog log;
    const CUresult read = options_read(count, options, values, &log);
    if (read != CUDA_SUCCESS) return read;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (out == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    Link *link = mem_alloc(sizeof *link);
    if (link == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    link->log = log;
    if (!object_add(&link->object, OBJECT_LINK, NULL)) {
        mem_free(link);
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    }
    *out = link->object.handle;
    return leave(CUDA_SUCCESS);
}

CUresult cuLinkCreate(unsigned int count, int *options, void **values, CUlinkState *out) {
    return cuLinkCreate_v2(count, options, values, out);
}

/* Takes the text over in every case. The PTX is parsed here, as the real linker compiles here. */
static CUresult input_add(CUlinkState handle, Context *context, char *text, size_t bytes) {
    Module *module = NULL;
    const Link *asked = FIND(Link, LINK, handle);
    const JitLog log = asked->log;
    CUresult result = module_make(context, text, &log, &module);
    if (result == CUDA_SUCCESS) module_release(module);
    Link *link = FIND(Link, LINK, handle); /* the lock was released meanwhile */
    if (result == CUDA_SUCCESS && (link == NULL || link->image != NULL))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS) {
        mem_free(text);
        return result;
    }
    link->image = text;
    link->bytes = bytes;
    return CUDA_SUCCESS;
}

CUresult cuLinkAddData_v2(CUlinkState handle, int type, void *data, size_t size, const char *name,
                          unsigned int count, int *options, void **values) {
    Context *context = NULL;
    JitLog unused;
    (void)name;
    CUresult result = options_read(count, options, values, &unused);
    if (result != CUDA_SUCCESS) return result;
    result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    const Link *link = FIND(Link, LINK, handle);
    if (link == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if (data == NULL || size == 0 || type < 0 || type > INPUT_TYPES)
        return leave(CUDA_ERROR_INVALID_VALUE);
    if (type != CU_JIT_INPUT_PTX || link->image != NULL) {
        log_error(&link->log, type != CU_JIT_INPUT_PTX
                                  ? "cuLink: the software GPU takes PTX only"
                                  : "cuLink: the software GPU takes one PTX input only");
        return leave(CUDA_ERROR_NOT_SUPPORTED);
    }
    char *text = mem_alloc(size + 1);
    if (text == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    memcpy(text, data, size);
    return leave(input_add(handle, context, text, strlen(text) + 1));
}

CUresult cuLinkAddData(CUlinkState link, int type, void *data, size_t size, const char *name,
                       unsigned int count, int *options, void **values) {
    return cuLinkAddData_v2(link, type, data, size, name, count, options, values);
}

CUresult cuLinkAddFile_v2(CUlinkState link, int type, const char *path, unsigned int count,
                          int *options, void **values) {
    if (path == NULL) return CUDA_ERROR_INVALID_VALUE;
    Arena *arena = arena_new();
    if (arena == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    char *text;
    size_t size;
    CUresult result = CUDA_ERROR_FILE_NOT_FOUND;
    if (files_read(arena, path, LINK_FILE_MAX, &text, &size, NULL) == ST_OK)
        result = cuLinkAddData_v2(link, type, text, size, path, count, options, values);
    arena_free(arena);
    return result;
}

CUresult cuLinkAddFile(CUlinkState link, int type, const char *path, unsigned int count,
                       int *options, void **values) {
    return cuLinkAddFile_v2(link, type, path, count, options, values);
}

/* "cubinOut is owned by state": valid until it is destroyed. */
CUresult cuLinkComplete(CUlinkState handle, void **image, size_t *bytes) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    const Link *link = FIND(Link, LINK, handle);
    if (link == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    if (image == NULL || link->image == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *image = link->image;
    if (bytes != NULL) *bytes = link->bytes;
    return leave(CUDA_SUCCESS);
}

CUresult cuLinkDestroy(CUlinkState handle) {
    const CUresult result = enter(0, NULL);
    if (result != CUDA_SUCCESS) return result;
    Link *link = FIND(Link, LINK, handle);
    if (link == NULL) return leave(CUDA_ERROR_INVALID_HANDLE);
    object_remove(&link->object);
    mem_free(link->image);
    mem_free(link);
    return leave(CUDA_SUCCESS);
}
