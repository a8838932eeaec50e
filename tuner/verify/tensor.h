/* Device buffers between guards, and strided tensors in them.
 *
 * A Guarded is a device allocation with GUARD bytes before and after the payload and a host image
 * of all of it. Every byte starts as 0xff: a NaN in f16, bf16 and fp32, so that a kernel that uses
 * a slot which belongs to no element spoils its result, and one that writes there is seen.
 * Invariant: what was not put into the image must come back as it was. Not thread-safe. */
#ifndef SEQTUNE_TUNER_VERIFY_TENSOR_H
#define SEQTUNE_TUNER_VERIFY_TENSOR_H

#include <stdint.h>

#include "base/status.h"
#include "runtime/seqtune.h"
#include "tuner/verify/dtype.h"

typedef struct Guarded {
    seqtune_context *ctx;
    const char *name; /* for messages: "O" */
    seqtune_device_ptr base;
    size_t bytes;          /* payload */
    unsigned char *image;  /* guard, payload, guard: what the device should hold */
    unsigned char *result; /* what guarded_download found there */
} Guarded;

/* A payload of 0 bytes is fine. On failure *out is safe to guarded_free, as is {0}. */
Status guarded_init(seqtune_context *ctx, const char *name, size_t bytes, Guarded *out, Error *err);
void guarded_free(Guarded *g);
seqtune_device_ptr guarded_address(const Guarded *g); /* of the payload, 256-byte aligned */
void *guarded_image(const Guarded *g);                /* payload, to fill before the upload */
void *guarded_result(const Guarded *g);               /* payload, after the download */
Status guarded_upload(Guarded *g, Error *err);
Status guarded_download(Guarded *g, Error *err);
/* Offset from the payload's begin of the first byte that differs from the image (negative: guard
 * before it); INT64_MAX when none does. */
int64_t guarded_difference(const Guarded *g);

/* How a tensor [batch, token, head, dim] lies in memory. */
typedef enum Layout {
    LAYOUT_PACKED,      /* in that order, dense */
    LAYOUT_PADDED,      /* in that order, gaps after every head, token and batch */
    LAYOUT_HEADS_OUTER, /* [batch, head, token, dim]: token stride below head stride */
    LAYOUT_COUNT
} Layout;

const char *layout_name(Layout layout);

typedef struct View {
    int64_t batch, tokens, heads, dim; /* tokens: capacity, of which a run may use fewer */
    int64_t stride_batch, stride_token, stride_head;
} View;

/* `gap`: elements of 16 bytes, so that rows stay aligned as the API promises kernels. */
View view_make(Layout layout, int64_t gap, int64_t batch, int64_t tokens, int64_t heads,
               int64_t dim);
int64_t view_offset(const View *v, int64_t batch, int64_t token, int64_t head); /* elements */
size_t view_elements(const View *v); /* from the first to the end of the last, gaps included */

#endif
