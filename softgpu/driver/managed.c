/* Managed memory: advice, prefetches, attachment, and what a range tells of them.
 *
 * Host and device see one copy, so that nothing moves and no advice changes a result; what was
 * advised and asked for is kept page by page and told back. Memory is attached to streams without
 * effect: attribute 89 (concurrent managed access) is 1 on every device, and the reference manual
 * gives an attachment a meaning where it is 0 alone.
 * Invariant: the spans of an allocation's advice are in order, neighbours differ, the last one has
 * no end. */
#include "softgpu/driver/state.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { DEVICE_CPU = -1, DEVICE_INVALID = -2, HOST_BIT = MAX_DEVICES };

typedef struct Hints {
    bool read_mostly;
    uint32_t accessed;                   /* a bit per device, HOST_BIT for the host */
    CUmemLocation preferred, prefetched; /* type 0: none */
} Hints;

typedef struct Span {
    uint64_t end; /* its first page no more, counted from the allocation's first */
    Hints hints;
} Span;

struct Advice {
    size_t count, capacity;
    Span *spans;
};

/* Pages of an allocation. */
typedef struct Range {
    const SgAllocation *allocation;
    uint64_t first, end;
} Range;

void advice_free(Advice *advice) {
    if (advice == NULL) return;
    mem_free(advice->spans);
    mem_free(advice);
}

static bool same_location(CUmemLocation a, CUmemLocation b) {
    return a.type == b.type && a.id == b.id;
}

static bool same_hints(const Hints *a, const Hints *b) {
    return a->read_mostly == b->read_mostly && a->accessed == b->accessed &&
           same_location(a->preferred, b->preferred) && same_location(a->prefetched, b->prefetched);
}

/* "Rounded down and rounded up respectively to be aligned to CPU page size". False: not managed. */
static bool range_of(CUdeviceptr address, size_t bytes, Range *range) {
    if (bytes == 0 || place_of(address, bytes) != PLACE_MANAGED) return false;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    range->allocation = sg_mem_find(address);
    range->first = (address - range->allocation->base) / page;
    range->end = (address - range->allocation->base + bytes - 1) / page + 1;
    return true;
}

/* Room for two more spans. */
static bool advice_room(Advice *advice) {
    if (advice->count + 2 <= advice->capacity) return true;
    const size_t capacity = advice->count * 2 + 4;
    Span *spans = mem_realloc(advice->spans, capacity * sizeof *spans);
    if (spans == NULL) return false;
    advice->spans = spans;
    advice->capacity = capacity;
    if (advice->count == 0) advice->spans[advice->count++] = (Span){.end = UINT64_MAX};
    return true;
}

/* The span that begins at page `at`, cut there if it did not. */
static size_t advice_cut(Advice *advice, uint64_t at) {
    size_t i = 0;
    while (advice->spans[i].end <= at) i++;
    if (at == (i == 0 ? 0 : advice->spans[i - 1].end)) return i;
    memmove(advice->spans + i + 1, advice->spans + i, (advice->count - i) * sizeof(Span));
    advice->count++;
    advice->spans[i].end = at;
    return i + 1;
}

static void advice_join(Advice *advice) {
    size_t kept = 0;
    for (size_t i = 1; i < advice->count; i++) {
        if (!same_hints(&advice->spans[kept].hints, &advice->spans[i].hints)) kept++;
        advice->spans[kept] = advice->spans[i];
    }
    advice->count = kept + 1;
}

/* What a call changes in the hints of each page. */
typedef enum Change {
    SET_READ_MOSTLY = 1, /* as CUmem_advise numbers them */
    UNSET_READ_MOSTLY,
    SET_PREFERRED,
    UNSET_PREFERRED,
    SET_ACCESSED_BY,
    UNSET_ACCESSED_BY,
    SET_PREFETCHED /* our own */
} Change;

static void hints_change(Hints *hints, Change change, CUmemLocation location) {
    const int bit = location.type == CU_MEM_LOCATION_TYPE_HOST ? HOST_BIT : location.id;
    switch (change) {
    case SET_READ_MOSTLY: hints->read_mostly = true; break;
    case UNSET_READ_MOSTLY: hints->read_mostly = false; break;
    case SET_PREFERRED: hints->preferred = location; break;
    case UNSET_PREFERRED: hints->preferred = (CUmemLocation){0}; break;
    case SET_ACCESSED_BY: hints->accessed |= UINT32_C(1) << bit; break;
    case UNSET_ACCESSED_BY: hints->accessed &= ~(UINT32_C(1) << bit); break;
    case SET_PREFETCHED: hints->prefetched = location; break;
    }
}

static CUresult range_change(const Range *range, Change change, CUmemLocation location) {
    Advice **place = pool_advice(range->allocation);
    if (place != NULL && *place == NULL) *place = mem_alloc(sizeof **place);
    Advice *advice = place == NULL ? NULL : *place;
    if (advice == NULL || !advice_room(advice)) return CUDA_ERROR_OUT_OF_MEMORY;
    /* "CUmemLocation::id is ignored" for the host; what is told of it is the device of the CPU. */
    if (location.type == CU_MEM_LOCATION_TYPE_HOST) location.id = DEVICE_CPU;
    const size_t from = advice_cut(advice, range->first), to = advice_cut(advice, range->end);
    for (size_t i = from; i < to; i++) hints_change(&advice->spans[i].hints, change, location);
    advice_join(advice);
    return CUDA_SUCCESS;
}

/* Calls ----------------------------------------------------------------------- */

static bool is_location(int type, int id) {
    if (type == CU_MEM_LOCATION_TYPE_HOST) return true;
    return type == CU_MEM_LOCATION_TYPE_DEVICE && id >= 0 && id < driver.device_count;
}

/* The older calls name the host by device -1 (CU_DEVICE_CPU). */
static CUmemLocation location_of(CUdevice device) {
    return (CUmemLocation){
        device == DEVICE_CPU ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_DEVICE, device};
}

/* The call has its place in the stream; the location is told at once, as the manual has it, but
 * not by one that a capture took down. */
CUresult cuMemPrefetchAsync_v2(CUdeviceptr address, size_t bytes, CUmemLocation location,
                               unsigned int flags, CUstream handle) {
    Stream *stream = NULL;
    Range range;
    CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (flags != 0 || !range_of(address, bytes, &range)) return leave(CUDA_ERROR_INVALID_VALUE);
    if (!is_location(location.type, location.id)) return leave(CUDA_ERROR_INVALID_DEVICE);
    const bool captured = stream->capture != NULL;
    result = stream_enqueue(stream, (Work){.kind = WORK_EMPTY}, NULL, 0, NULL);
    if (result == CUDA_SUCCESS && !captured)
        result = range_change(&range, SET_PREFETCHED, location);
    return leave(result);
}

CUresult cuMemPrefetchAsync(CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream) {
    return cuMemPrefetchAsync_v2(address, bytes, location_of(device), 0, stream);
}

CUresult cuMemAdvise_v2(CUdeviceptr address, size_t bytes, int advice, CUmemLocation location) {
    Context *context = NULL;
    Range range;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (advice < SET_READ_MOSTLY || advice > UNSET_ACCESSED_BY || !range_of(address, bytes, &range))
        return leave(CUDA_ERROR_INVALID_VALUE);
    /* "The location argument is ignored for this advice." */
    const bool ignored = advice <= UNSET_READ_MOSTLY || advice == UNSET_PREFERRED;
    if (ignored) location = (CUmemLocation){0};
    if (!ignored && !is_location(location.type, location.id))
        return leave(CUDA_ERROR_INVALID_DEVICE);
    return leave(range_change(&range, (Change)advice, location));
}

CUresult cuMemAdvise(CUdeviceptr address, size_t bytes, int advice, CUdevice device) {
    return cuMemAdvise_v2(address, bytes, advice, location_of(device));
}

/* "length must be either zero or the entire allocation's size"; there is no pageable memory access
 * (attribute 88 is 0). "It is illegal to attach singly to the NULL stream." */
static bool may_attach(const Stream *stream, CUdeviceptr address, size_t length,
                       unsigned int flags) {
    if (place_of(address, 1) != PLACE_MANAGED) return false;
    const SgAllocation *a = sg_mem_find(address);
    if (length != 0 && (address != a->base || length != a->size)) return false;
    if (flags == CU_MEM_ATTACH_SINGLE) return !stream->legacy;
    return flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST;
}

/* Our choice: refused while its stream is captured, since no graph node stands for an attachment.
 */
CUresult cuStreamAttachMemAsync(CUstream handle, CUdeviceptr address, size_t length,
                                unsigned int flags) {
    Stream *stream = NULL;
    const CUresult result = stream_enter(handle, &stream);
    if (result != CUDA_SUCCESS) return result;
    if (!may_attach(stream, address, length, flags)) return leave(CUDA_ERROR_INVALID_VALUE);
    if (stream->capture != NULL) {
        capture_invalidate(stream->capture);
        return leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return leave(stream_enqueue(stream, (Work){.kind = WORK_EMPTY}, NULL, 0, NULL));
}

/* Attributes ------------------------------------------------------------------ */

enum {
    RANGE_READ_MOSTLY = 1,
    RANGE_PREFERRED_LOCATION = 2,
    RANGE_ACCESSED_BY = 3,
    RANGE_LAST_PREFETCH_LOCATION = 4,
    RANGE_PREFERRED_LOCATION_TYPE = 5,
    RANGE_PREFERRED_LOCATION_ID = 6,
    RANGE_LAST_PREFETCH_LOCATION_TYPE = 7,
    RANGE_LAST_PREFETCH_LOCATION_ID = 8
};

/* What all pages of the range have in common. */
static Hints range_hints(const Range *range) {
    Advice *const *place = pool_advice(range->allocation);
    const Advice *advice = place == NULL ? NULL : *place;
    if (advice == NULL || advice->count == 0) return (Hints){0};
    size_t i = 0;
    while (advice->spans[i].end <= range->first) i++;
    Hints all = advice->spans[i].hints;
    while (advice->spans[i].end < range->end) {
        const Hints *next = &advice->spans[++i].hints;
        all.read_mostly &= next->read_mostly;
        all.accessed &= next->accessed;
        if (!same_location(all.preferred, next->preferred)) all.preferred = (CUmemLocation){0};
        if (!same_location(all.prefetched, next->prefetched)) all.prefetched = (CUmemLocation){0};
    }
    return all;
}

static bool attribute_fits(const void *data, size_t size, int attribute) {
    if (data == NULL || attribute < RANGE_READ_MOSTLY ||
        attribute > RANGE_LAST_PREFETCH_LOCATION_ID)
        return false;
    /* "a non-zero multiple of 4"; the others "must be 4". */
    return attribute == RANGE_ACCESSED_BY ? size != 0 && size % sizeof(int) == 0
                                          : size == sizeof(int);
}

static int device_of(CUmemLocation location) {
    return location.type == 0 ? DEVICE_INVALID : location.id;
}

static void devices_put(uint32_t devices, int *out, size_t room) {
    size_t count = 0;
    for (int bit = 0; bit <= HOST_BIT; bit++)
        if ((devices >> bit & 1) != 0 && count < room)
            out[count++] = bit == HOST_BIT ? DEVICE_CPU : bit;
    while (count < room) out[count++] = DEVICE_INVALID;
}

static void attribute_put(const Hints *hints, int attribute, int *out, size_t size) {
    switch (attribute) {
    case RANGE_READ_MOSTLY: *out = hints->read_mostly; break;
    case RANGE_ACCESSED_BY: devices_put(hints->accessed, out, size / sizeof *out); break;
    case RANGE_PREFERRED_LOCATION:
    case RANGE_PREFERRED_LOCATION_ID: *out = device_of(hints->preferred); break;
    case RANGE_PREFERRED_LOCATION_TYPE: *out = hints->preferred.type; break;
    case RANGE_LAST_PREFETCH_LOCATION:
    case RANGE_LAST_PREFETCH_LOCATION_ID: *out = device_of(hints->prefetched); break;
    default: *out = hints->prefetched.type;
    }
}

/* Nothing is told where one of them is wrong. */
CUresult cuMemRangeGetAttributes(void **data, size_t *sizes, int *attributes, size_t count,
                                 CUdeviceptr address, size_t bytes) {
    Context *context = NULL;
    Range range;
    const CUresult result = enter(WANT_CONTEXT | WANT_HEALTHY, &context);
    if (result != CUDA_SUCCESS) return result;
    if (data == NULL || sizes == NULL || attributes == NULL || count == 0 ||
        !range_of(address, bytes, &range))
        return leave(CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++)
        if (!attribute_fits(data[i], sizes[i], attributes[i]))
            return leave(CUDA_ERROR_INVALID_VALUE);
    const Hints hints = range_hints(&range);
    for (size_t i = 0; i < count; i++) attribute_put(&hints, attributes[i], data[i], sizes[i]);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemRangeGetAttribute(void *data, size_t size, int attribute, CUdeviceptr address,
                                size_t bytes) {
    return cuMemRangeGetAttributes(&data, &size, &attribute, 1, address, bytes);
}
