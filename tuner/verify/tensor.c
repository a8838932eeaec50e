/* Guarded device buffers and strided views; see the header. */
#include "tuner/verify/tensor.h"

#include <string.h>

#include "base/mem.h"

enum { GUARD = 256, UNUSED = 0xff };

static size_t whole(const Guarded *g) {
    return g->bytes + (size_t)2 * GUARD;
}

static Status device_error(const Guarded *g, seqtune_status status, const char *what, Error *err) {
    return err_set(err, (Status)status, "verify: %s of %s (%zu bytes): %s", what, g->name, whole(g),
                   seqtune_last_error(g->ctx));
}

Status guarded_init(seqtune_context *ctx, const char *name, size_t bytes, Guarded *out,
                    Error *err) {
    *out = (Guarded){.ctx = ctx, .name = name, .bytes = bytes};
    out->image = mem_alloc(whole(out));
    out->result = mem_alloc(whole(out));
    if (!out->image || !out->result) {
        guarded_free(out);
        return err_no_memory(err, 2 * (bytes + 2 * GUARD));
    }
    memset(out->image, UNUSED, whole(out));
    const seqtune_status status = seqtune_device_alloc(ctx, whole(out), &out->base);
    if (status == SEQTUNE_OK) return ST_OK;
    const Status failed = device_error(out, status, "allocation", err);
    guarded_free(out);
    return failed;
}

void guarded_free(Guarded *g) {
    if (g->base) seqtune_device_free(g->ctx, g->base);
    mem_free(g->image);
    mem_free(g->result);
    *g = (Guarded){0};
}

seqtune_device_ptr guarded_address(const Guarded *g) {
    return g->base + GUARD;
}

void *guarded_image(const Guarded *g) {
    return g->image + GUARD;
}

void *guarded_result(const Guarded *g) {
    return g->result + GUARD;
}

Status guarded_upload(Guarded *g, Error *err) {
    const seqtune_status status = seqtune_device_upload(g->ctx, g->base, g->image, whole(g));
    return status == SEQTUNE_OK ? ST_OK : device_error(g, status, "upload", err);
}

Status guarded_download(Guarded *g, Error *err) {
    const seqtune_status status = seqtune_device_download(g->ctx, g->result, g->base, whole(g));
    return status == SEQTUNE_OK ? ST_OK : device_error(g, status, "download", err);
}

int64_t guarded_difference(const Guarded *g) {
    if (memcmp(g->image, g->result, whole(g)) == 0) return INT64_MAX;
    size_t i = 0;
    while (g->image[i] == g->result[i]) i++;
    return (int64_t)i - GUARD;
}

/* ---- views ---- */

const char *layout_name(Layout layout) {
    static const char *const names[LAYOUT_COUNT] = {"packed", "padded", "heads_outer"};
    return names[layout];
}

View view_make(Layout layout, int64_t gap, int64_t batch, int64_t tokens, int64_t heads,
               int64_t dim) {
    View v = {.batch = batch, .tokens = tokens, .heads = heads, .dim = dim};
    if (layout != LAYOUT_PADDED) gap = 0;
    if (layout == LAYOUT_HEADS_OUTER) {
        v.stride_token = dim;
        v.stride_head = tokens * dim;
        v.stride_batch = heads * v.stride_head;
    } else {
        v.stride_head = dim + gap;
        v.stride_token = heads * v.stride_head + 2 * gap;
        v.stride_batch = tokens * v.stride_token + 3 * gap;
    }
    /* An empty tensor still needs strides that the API takes (0 would mean packed). */
    if (v.stride_head <= 0) v.stride_head = dim;
    if (v.stride_batch <= 0) v.stride_batch = dim;
    return v;
}

int64_t view_offset(const View *v, int64_t batch, int64_t token, int64_t head) {
    return batch * v->stride_batch + token * v->stride_token + head * v->stride_head;
}

size_t view_elements(const View *v) {
    if (v->batch * v->tokens * v->heads == 0) return 0;
    return (size_t)(view_offset(v, v->batch - 1, v->tokens - 1, v->heads - 1) + v->dim);
}
