/* Buffers on the device: allocation, contents, what became of them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/round.h"
#include "tuner/runptx/run_state.h"

enum {
    PORTION = 4 << 20, /* bytes written at a time */
    GUARD_BYTE = 0xa5,
    DEVICE_ALIGN = 256 /* of every allocation, CUDA C Programming Guide 5.3.2 */
};

#define TRY(call, name)                                                                            \
    do {                                                                                           \
        Status try_status = driver_check(run->driver, run->driver->call, name, err);               \
        if (try_status != ST_OK) return try_status;                                                \
    } while (0)

static size_t bytes_of(const Buffer *b) {
    return b->count * element_bytes(b->type);
}

/* Guard, offset, payload, guard; exactly the payload where none is asked for, so that the device's
 * own check of bounds is as sharp as it can be. */
static Status place(PtxRun *run, const Buffer *b, Placed *p, Error *err) {
    if (b->is_global) {
        size_t size = 0;
        const CuResult result = run->driver->ModuleGetGlobal(&p->at, &size, run->module, b->name);
        if (result == CUDA_ERROR_NOT_FOUND)
            return err_at(err, ST_SYNTAX, b->pos, "the module has no variable '%s'", b->name);
        TRY(ModuleGetGlobal(&p->at, &size, run->module, b->name), "cuModuleGetGlobal");
        if (bytes_of(b) > size)
            return err_at(err, ST_SYNTAX, b->pos,
                          "global '%s': %zu bytes described, the variable has %zu", b->name,
                          bytes_of(b), size);
        return ST_OK;
    }
    const uint64_t slack = b->align > DEVICE_ALIGN ? b->align : 0;
    const uint64_t lead = round_up_u64(b->guard, b->align > DEVICE_ALIGN ? b->align : DEVICE_ALIGN);
    const uint64_t front = b->guard ? lead : 0;
    TRY(MemAlloc(&p->base, slack + front + b->offset + bytes_of(b) + b->guard), "cuMemAlloc");
    p->at = round_up_u64(p->base, b->align) + front + b->offset;
    p->before = b->guard;
    p->after = b->guard;
    return ST_OK;
}

static Status upload(PtxRun *run, const Buffer *b, const Placed *p, unsigned char *portion,
                     Error *err) {
    const size_t size = element_bytes(b->type), room = PORTION / size;
    for (uint64_t done = 0; b->fill.kind != FILL_NONE && done < b->count;) {
        const size_t n = b->count - done < room ? b->count - done : room;
        fill_write(&b->fill, b->type, done, n, portion);
        TRY(MemcpyHtoD(p->at + done * size, portion, n * size), "cuMemcpyHtoD");
        done += n;
    }
    if (p->before) TRY(MemsetD8(p->at - p->before, GUARD_BYTE, p->before), "cuMemsetD8");
    if (p->after) TRY(MemsetD8(p->at + bytes_of(b), GUARD_BYTE, p->after), "cuMemsetD8");
    for (size_t i = 0; i < b->patch_count; i++) {
        const Patch *patch = &b->patches[i];
        value_write(run, &patch->value, portion); /* at most 32764 bytes */
        TRY(MemcpyHtoD(p->at + patch->offset, portion, patch->value.size), "cuMemcpyHtoD");
    }
    return ST_OK;
}

Status buffers_place(PtxRun *run, Error *err) {
    const RunDesc *d = &run->desc;
    run->placed = ARENA_ARRAY(run->arena, Placed, d->buffer_count + 1);
    unsigned char *portion = mem_alloc(PORTION);
    Status st = run->placed && portion ? ST_OK : err_no_memory(err, PORTION);
    for (size_t i = 0; i < d->buffer_count && st == ST_OK; i++) {
        st = place(run, &d->buffers[i], &run->placed[i], err);
        if (st != ST_OK && st != ST_SYNTAX)
            err_wrap(err, "buffer '%s' of %zu bytes", d->buffers[i].name, bytes_of(&d->buffers[i]));
    }
    for (size_t i = 0; i < d->buffer_count && st == ST_OK; i++)
        st = upload(run, &d->buffers[i], &run->placed[i], portion, err);
    mem_free(portion);
    if (st != ST_OK) return st;
    /* A fill may still run when its call returns, and the launches' stream waits for no other. */
    TRY(CtxSynchronize(), "cuCtxSynchronize");
    return ST_OK;
}

void buffers_free(PtxRun *run) {
    for (size_t i = 0; run->placed && i < run->desc.buffer_count; i++)
        if (run->placed[i].base) run->driver->MemFree(run->placed[i].base);
}

void value_write(const PtxRun *run, const Value *value, unsigned char *out) {
    uint64_t address;
    switch (value->kind) {
    case VALUE_NUMBER: memcpy(out, value->bytes, value->size); return;
    case VALUE_POINTER:
        address = run->placed[value->buffer].at + (uint64_t)value->offset;
        memcpy(out, &address, sizeof address);
        return;
    case VALUE_STRUCT:
        memset(out, 0, value->size);
        for (size_t i = 0; i < value->field_count; i++)
            value_write(run, &value->fields[i].value, out + value->fields[i].offset);
    }
}

/* ---- expectations ---- */

static Status download(PtxRun *run, CuDeviceptr from, size_t bytes, unsigned char **out,
                       Error *err) {
    *out = mem_alloc(bytes ? bytes : 1);
    if (!*out) return err_no_memory(err, bytes);
    if (bytes == 0) return ST_OK;
    Status st =
        driver_check(run->driver, run->driver->MemcpyDtoH(*out, from, bytes), "cuMemcpyDtoH", err);
    if (st == ST_OK) return ST_OK;
    mem_free(*out);
    *out = NULL;
    return st;
}

/* Equal bytes are equal; else floats within the tolerance, NaN with NaN. */
static bool close_enough(const Expect *e, Element type, const void *got, const void *want,
                         double *a, double *b) {
    *a = number_double(type, element_decode(type, got));
    *b = number_double(type, element_decode(type, want));
    if (memcmp(got, want, element_bytes(type)) == 0) return true;
    if (!element_is_float(type) && e->abs == 0 && e->rel == 0) return false;
    if (isnan(*a) && isnan(*b)) return true;
    if (*a == *b) return true;
    return fabs(*a - *b) <= e->abs + e->rel * fabs(*b); /* false for infinities and NaN */
}

static void compare(const Expect *e, const Buffer *b, const unsigned char *got,
                    const unsigned char *want, uint64_t first, size_t n, CheckFigures *out) {
    const size_t size = element_bytes(b->type);
    for (size_t i = 0; i < n; i++) {
        double a, w;
        const bool good = close_enough(e, b->type, got + i * size, want + i * size, &a, &w);
        const double error = isnan(a) && isnan(w) ? 0 : fabs(a - w);
        if (error > out->worst || (isnan(error) && !good)) out->worst = error;
        if (good) continue;
        if (out->wrong++ == 0) {
            out->first = (int64_t)(first + i);
            out->got = a;
            out->want = w;
        }
    }
}

static Status check_expect(PtxRun *run, const Expect *e, CheckFigures *out, Error *err) {
    const Buffer *b = &run->desc.buffers[e->buffer];
    const size_t size = element_bytes(b->type), room = PORTION / size;
    unsigned char *got = NULL, *want = mem_alloc(PORTION);
    *out = (CheckFigures){.line = e->pos.line, .count = e->count, .first = -1};
    snprintf(out->buffer, sizeof out->buffer, "%s", b->name);
    Status st = want ? ST_OK : err_no_memory(err, PORTION);
    for (uint64_t done = 0; done < e->count && st == ST_OK;) {
        const size_t n = e->count - done < room ? e->count - done : room;
        const CuDeviceptr from = run->placed[e->buffer].at + (e->first + done) * size;
        if ((st = download(run, from, n * size, &got, err)) != ST_OK) break;
        fill_write(&e->want, b->type, done, n, want);
        compare(e, b, got, want, e->first + done, n, out);
        mem_free(got);
        done += n;
    }
    mem_free(want);
    return st;
}

/* Bytes of one guard that were written; `at` is the guard's offset from element 0. */
static Status look(PtxRun *run, CuDeviceptr from, size_t bytes, int64_t at, CheckFigures *out,
                   Error *err) {
    unsigned char *got;
    Status st = download(run, from, bytes, &got, err);
    if (st != ST_OK) return st;
    for (size_t i = 0; i < bytes; i++) {
        if (got[i] == GUARD_BYTE) continue;
        if (out->wrong++ == 0) {
            out->first = at + (int64_t)i;
            out->got = got[i];
            out->want = GUARD_BYTE;
        }
    }
    mem_free(got);
    return ST_OK;
}

static Status check_guards(PtxRun *run, size_t index, CheckFigures *out, Error *err) {
    const Buffer *b = &run->desc.buffers[index];
    const Placed *p = &run->placed[index];
    *out = (CheckFigures){.guard = 1, .line = b->pos.line, .count = p->before + p->after};
    snprintf(out->buffer, sizeof out->buffer, "%s", b->name);
    Status st = look(run, p->at - p->before, p->before, -(int64_t)p->before, out, err);
    if (st == ST_OK) st = look(run, p->at + bytes_of(b), p->after, (int64_t)bytes_of(b), out, err);
    return st;
}

size_t run_check_count(const PtxRun *run) {
    return run->desc.expect_count + run->desc.buffer_count;
}

bool run_has_check(const PtxRun *run, size_t index) {
    const size_t n = run->desc.expect_count;
    return index < n || run->desc.buffers[index - n].guard > 0;
}

Status run_check(PtxRun *run, size_t index, CheckFigures *out, Error *err) {
    const size_t n = run->desc.expect_count;
    return index < n ? check_expect(run, &run->desc.expects[index], out, err)
                     : check_guards(run, index - n, out, err);
}

/* ---- outputs ---- */

static void statistics(const Buffer *b, const unsigned char *bytes, OutputFigures *out) {
    const size_t size = element_bytes(b->type);
    double sum = 0;
    uint64_t finite = 0;
    out->has_stats = 1;
    for (uint64_t i = 0; i < b->count; i++) {
        const double v = number_double(b->type, element_decode(b->type, bytes + i * size));
        if (isnan(v)) {
            out->nans++;
        } else if (isinf(v)) {
            out->infinities++;
        } else {
            if (finite == 0 || v < out->min) out->min = v;
            if (finite == 0 || v > out->max) out->max = v;
            sum += v;
            finite++;
        }
    }
    out->mean = finite ? sum / (double)finite : (double)NAN;
}

Status run_output(PtxRun *run, size_t index, OutputFigures *out, Str *values, Error *err) {
    const Output *o = &run->desc.outputs[index];
    const Buffer *b = &run->desc.buffers[o->buffer];
    const size_t size = element_bytes(b->type);
    unsigned char *bytes;
    *out = (OutputFigures){.type = b->type, .count = b->count, .from = o->from, .shown = o->first};
    snprintf(out->buffer, sizeof out->buffer, "%s", b->name);
    Status st = download(run, run->placed[o->buffer].at, bytes_of(b), &bytes, err);
    if (st != ST_OK) return st;
    str_append(values, (const char *)bytes + o->from * size, o->first * size);
    if (o->stats) statistics(b, bytes, out);
    if (o->hash) {
        const Hash hash = hash_bytes(bytes, bytes_of(b));
        hash_hex(&hash, out->hash);
    }
    if (o->save) {
        snprintf(out->save, sizeof out->save, "%s", o->save);
        st = files_publish(o->save, bytes, bytes_of(b), 0644, err);
    }
    mem_free(bytes);
    return st;
}
