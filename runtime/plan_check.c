/* Checks that the families share: struct sizes, fields, strides, pointers. */
#include <inttypes.h>
#include <string.h>

#include "runtime/plan_internal.h"

Status plan_check_size(const char *name, size_t got, size_t want, const char *init, Error *err) {
    if (got == want) return ST_OK;
    if (got == 0)
        return err_set(err, ST_INVALID, "the size of the %s is 0: initialise it with %s", name,
                       init);
    return err_set(err, ST_INVALID,
                   "the size of the %s is %zu, this library's is %zu: compile with the header of "
                   "the library that is loaded and initialise it with %s",
                   name, got, want, init);
}

Status plan_check_enums(const PlanEnum *rows, size_t n, Error *err) {
    for (size_t i = 0; i < n; i++)
        if (rows[i].value < 0 || rows[i].value > rows[i].max)
            return err_set(err, ST_INVALID, "%s is %d: must be %s", rows[i].name, rows[i].value,
                           rows[i].names);
    return ST_OK;
}

int64_t plan_dim(const GenProblem *problem, const char *name) {
    int64_t value = 0;
    return gen_problem_get(problem, name, &value) ? value : 0;
}

bool plan_dim_is(const GenProblem *problem, const char *name, const char *word) {
    const char *got = gen_problem_word(problem, name);
    return got != NULL && strcmp(got, word) == 0;
}

Status plan_set_dims(GenProblem *out, const PlanDim *dims, size_t n, Error *err) {
    Status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++)
        st = gen_problem_set(out, dims[i].name, dims[i].value, err);
    return st;
}

static int64_t *at(void *base, size_t offset) {
    return (int64_t *)((char *)base + offset);
}

Status plan_check_fields(void *base, const PlanField *fields, size_t n, const char *what,
                         Error *err) {
    for (size_t i = 0; i < n; i++) {
        const PlanField *f = &fields[i];
        int64_t *value = at(base, f->offset);
        if (*value == 0 && f->required)
            return err_set(err, ST_INVALID, "%s: %s (%s) is 0 and has no default%s", what, f->name,
                           f->what, f->length ? "; SEQTUNE_LENGTH_ZERO says that it is 0" : "");
        if (*value == 0 && f->fallback != SIZE_MAX)
            *value = *at(base, f->fallback);
        else if (f->length && *value == SEQTUNE_LENGTH_ZERO)
            *value = 0;
        if (*value < f->min || *value > f->max)
            return err_set(err, ST_INVALID,
                           "%s: %s (%s) is %" PRId64 ": must be %" PRId64 "..%" PRId64, what,
                           f->name, f->what, *value, f->min, f->max);
    }
    return ST_OK;
}

/* Rows of a written tensor must not meet: ordered by stride, each step must clear what the
 * smaller ones span. */
static Status check_overlap(const PlanTensor *t, Error *err) {
    int order[3] = {0, 1, 2};
    for (int i = 1; i < t->dims; i++)
        for (int k = i; k > 0 && *t->stride[order[k]] < *t->stride[order[k - 1]]; k--) {
            int swap = order[k];
            order[k] = order[k - 1];
            order[k - 1] = swap;
        }
    int64_t span = t->row;
    for (int i = 0; i < t->dims; i++) {
        int d = order[i];
        if (t->count[d] <= 1) continue;
        if (*t->stride[d] < span)
            return err_set(err, ST_INVALID,
                           "%s_stride_%s is %" PRId64 ": rows that are written would overlap, it "
                           "must be at least %" PRId64,
                           t->name, t->axis[d], *t->stride[d], span);
        span += (t->count[d] - 1) * *t->stride[d];
    }
    return ST_OK;
}

/* The tensor's last element must have a 64-bit byte offset, whatever its type. */
static Status check_extent(const PlanTensor *t, Error *err) {
    enum { ELEMENT_BYTES = 4 };
    int64_t end = t->row;
    bool over = false;
    for (int i = 0; i < t->dims; i++) {
        int64_t steps = t->count[i] > 0 ? t->count[i] - 1 : 0, part = 0;
        over = over || __builtin_mul_overflow(steps, *t->stride[i], &part) ||
               __builtin_add_overflow(end, part, &end);
    }
    if (over || end > INT64_MAX / ELEMENT_BYTES)
        return err_set(err, ST_INVALID, "%s: its strides reach beyond 2^63 bytes", t->name);
    return ST_OK;
}

PlanTensor plan_rows(const char *name, int64_t tokens, int64_t *stride_token, int64_t heads,
                     int64_t *stride_head, int64_t row, int64_t align, bool written) {
    return (PlanTensor){.name = name,
                        .axis = {"token", "head"},
                        .count = {tokens, heads},
                        .stride = {stride_token, stride_head},
                        .dims = 2,
                        .row = row,
                        .align = align,
                        .written = written};
}

Status plan_check_tensor(const PlanTensor *t, Error *err) {
    int64_t packed = t->row; /* where the next slower axis may step without meeting a faster one */
    for (int i = t->dims - 1; i >= 0; i--) {
        int64_t *stride = t->stride[i], span = 0;
        if (*stride == 0) *stride = packed;
        if (*stride < 0 || *stride % t->align != 0)
            return err_set(err, ST_INVALID,
                           "%s_stride_%s is %" PRId64 ": must be a positive multiple of %" PRId64
                           " elements (0: packed)",
                           t->name, t->axis[i], *stride, t->align);
        if (__builtin_mul_overflow(*stride, t->count[i] > 0 ? t->count[i] : 1, &span))
            return err_set(err, ST_INVALID, "%s: its strides reach beyond 2^63 elements", t->name);
        if (span > packed) packed = span;
    }
    Status st = check_extent(t, err);
    return st == ST_OK && t->written ? check_overlap(t, err) : st;
}

Status plan_check_pointer(const char *name, seqtune_device_ptr address, int align, Error *err) {
    if (address == 0) return err_set(err, ST_INVALID, "%s is a null device pointer", name);
    if (address % (unsigned)align != 0)
        return err_set(err, ST_INVALID, "%s is 0x%" PRIx64 ": must be %d-byte aligned", name,
                       address, align);
    return ST_OK;
}
