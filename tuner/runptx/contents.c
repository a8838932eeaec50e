/* Random elements are draws of splitmix64 by index: its k-th output depends on seed + k * gamma
 * only. */
#include "tuner/runptx/contents.h"

#include <string.h>

#include "tuner/verify/random.h"

static const uint64_t gamma64 = 0x9e3779b97f4a7c15u; /* splitmix64's step, as in random.h */

static Number uniform(const Fill *f, Element type, uint64_t bits) {
    if (element_is_float(type)) {
        const double low = number_double(type, f->a), high = number_double(type, f->b);
        return (Number){.d = low + (high - low) * ((double)(bits >> 11) * 0x1p-53)};
    }
    const uint64_t width = (uint64_t)f->b.i - (uint64_t)f->a.i + 1; /* 0: all 2^64 */
    const uint64_t value = (uint64_t)f->a.i + (width ? bits % width : bits);
    return (Number){.integral = true, .i = (int64_t)value};
}

static Number iota(const Fill *f, Element type, uint64_t i) {
    if (element_is_float(type)) {
        const double start = number_double(type, f->a), step = number_double(type, f->b);
        return (Number){.d = start + (double)i * step};
    }
    const uint64_t value = (uint64_t)f->a.i + i * (uint64_t)f->b.i;
    const int unused = 64 - 8 * (int)element_bytes(type);
    unsigned char low[8];
    const uint64_t cut = value << unused >> unused; /* wraps around, as the type would */
    memcpy(low, &cut, sizeof low);
    return element_decode(type, low);
}

static Number element_of(const Fill *f, Element type, uint64_t i) {
    Random random = {.state = f->seed + i * gamma64};
    switch (f->kind) {
    case FILL_IOTA: return iota(f, type, i);
    case FILL_UNIFORM: return uniform(f, type, random_bits(&random));
    case FILL_NORMAL: {
        const double mean = number_double(type, f->a), sd = number_double(type, f->b);
        return (Number){.d = mean + sd * random_normal(&random)};
    }
    default: return f->a;
    }
}

void fill_write(const Fill *fill, Element type, uint64_t first, size_t count, unsigned char *out) {
    const size_t bytes = element_bytes(type);
    if (fill->kind == FILL_NONE) return;
    if (fill->kind == FILL_BYTES) {
        memcpy(out, fill->bytes + first * bytes, count * bytes);
        return;
    }
    if (fill->kind == FILL_CONSTANT) {
        (void)element_encode(type, fill->a, out); /* checked when it was read */
        for (size_t i = 1; i < count; i++) memcpy(out + i * bytes, out, bytes);
        return;
    }
    for (size_t i = 0; i < count; i++)
        (void)element_encode(type, element_of(fill, type, first + i), out + i * bytes);
}
