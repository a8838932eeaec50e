/* The public functions that are no family's: contexts, errors, the device, its memory. */
#include <string.h>

#include "runtime/context.h"
#include "runtime/errors.h"
#include "runtime/plan_internal.h"

/* The public codes are the internal ones (base/status.def). */
#define SAME(name) _Static_assert((int)SEQTUNE_##name == (int)ST_##name, "status numbers differ")
SAME(OK);
SAME(INVALID);
SAME(UNSUPPORTED);
SAME(NOT_FOUND);
SAME(NO_MEMORY);
SAME(IO);
SAME(PERMISSION);
SAME(SYNTAX);
SAME(LIMIT);
SAME(COMPILE);
SAME(DRIVER);
SAME(DATABASE);
SAME(BUSY);
SAME(CORRUPT);
SAME(TIMEOUT);
SAME(CANCELLED);
SAME(WRONG);
SAME(INTERNAL);
_Static_assert((int)SEQTUNE_INTERNAL + 1 == (int)ST_COUNT, "a status lacks its public code");

seqtune_status seqtune_open(seqtune_context **out, const seqtune_options *options) {
    Error err = {0};
    Status st =
        out == NULL ? err_set(&err, ST_INVALID, "out is NULL") : context_open(options, out, &err);
    if (st != ST_OK) {
        err_wrap(&err, "seqtune_open");
        errors_set(ERRORS_OPEN, &err);
    }
    return (seqtune_status)st;
}

const char *seqtune_open_error(void) {
    return errors_get(ERRORS_OPEN);
}

const char *seqtune_last_error(const seqtune_context *ctx) {
    return ctx == NULL ? "" : errors_get(ctx->serial);
}

const char *seqtune_status_text(seqtune_status status) {
    return status_text((Status)status);
}

const char *seqtune_version(void) {
    return SEQTUNE_VERSION_TEXT;
}

seqtune_status seqtune_get_device_info(seqtune_context *ctx, seqtune_device_info *out) {
    if (ctx == NULL || out == NULL) return SEQTUNE_INVALID;
    Error err;
    Status st =
        plan_check_size("device info", out->size, sizeof *out, "SEQTUNE_DEVICE_INFO_INIT", &err);
    if (st != ST_OK) return context_fail(ctx, st, &err);
    *out = (seqtune_device_info){
        .size = sizeof *out,
        .ordinal = ctx->device.ordinal,
        .modelled = !ctx->device.gpu.measured,
        .name = ctx->device.gpu.name,
        .arch = ctx->device.gpu.arch->name,
        .key = ctx->device.key,
        .driver = ctx->driver->path,
        .driver_version = ctx->driver->version,
        .compiler = ctx->nvrtc != NULL ? ctx->nvrtc->toolchain : "",
        .cuda_context = ctx->device.context,
    };
    return SEQTUNE_OK;
}

/* ---- device memory ---- */

/* Ends a driver call that was made in the context's CUDA context. */
static seqtune_status finish(seqtune_context *ctx, bool pushed, CuResult result, const char *call) {
    Error err;
    Status st = driver_check(ctx->driver, result, call, &err);
    driver_leave(ctx->driver, pushed);
    return context_fail(ctx, st, &err);
}

seqtune_status seqtune_device_alloc(seqtune_context *ctx, size_t bytes, seqtune_device_ptr *out) {
    bool pushed = false;
    if (ctx == NULL || out == NULL) return SEQTUNE_INVALID;
    *out = 0;
    CuResult result = driver_enter(ctx->driver, ctx->device.context, &pushed);
    /* The driver refuses 0 bytes; an empty tensor still has an address here. */
    if (result == CUDA_SUCCESS) result = ctx->driver->MemAlloc(out, bytes > 0 ? bytes : 1);
    return finish(ctx, pushed, result, "cuMemAlloc");
}

seqtune_status seqtune_device_free(seqtune_context *ctx, seqtune_device_ptr address) {
    bool pushed = false;
    if (ctx == NULL) return SEQTUNE_INVALID;
    if (address == 0) return SEQTUNE_OK;
    CuResult result = driver_enter(ctx->driver, ctx->device.context, &pushed);
    if (result == CUDA_SUCCESS) result = ctx->driver->MemFree(address);
    return finish(ctx, pushed, result, "cuMemFree");
}

seqtune_status seqtune_device_upload(seqtune_context *ctx, seqtune_device_ptr to, const void *from,
                                     size_t bytes) {
    bool pushed = false;
    if (ctx == NULL || (from == NULL && bytes > 0)) return SEQTUNE_INVALID;
    if (bytes == 0) return SEQTUNE_OK;
    CuResult result = driver_enter(ctx->driver, ctx->device.context, &pushed);
    if (result == CUDA_SUCCESS) result = ctx->driver->MemcpyHtoD(to, from, bytes);
    return finish(ctx, pushed, result, "cuMemcpyHtoD");
}

seqtune_status seqtune_device_download(seqtune_context *ctx, void *to, seqtune_device_ptr from,
                                       size_t bytes) {
    bool pushed = false;
    if (ctx == NULL || (to == NULL && bytes > 0)) return SEQTUNE_INVALID;
    if (bytes == 0) return SEQTUNE_OK;
    CuResult result = driver_enter(ctx->driver, ctx->device.context, &pushed);
    if (result == CUDA_SUCCESS) result = ctx->driver->MemcpyDtoH(to, from, bytes);
    return finish(ctx, pushed, result, "cuMemcpyDtoH");
}

seqtune_status seqtune_device_synchronize(seqtune_context *ctx) {
    bool pushed = false;
    if (ctx == NULL) return SEQTUNE_INVALID;
    CuResult result = driver_enter(ctx->driver, ctx->device.context, &pushed);
    if (result == CUDA_SUCCESS) result = ctx->driver->CtxSynchronize();
    return finish(ctx, pushed, result, "cuCtxSynchronize");
}
