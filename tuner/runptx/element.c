/* One table of types; f16 and bf16 are rounded by verify/dtype. */
#include "tuner/runptx/element.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tuner/verify/dtype.h"

typedef enum Kind { SIGNED, UNSIGNED, FLOAT } Kind;

static const struct {
    size_t bytes;
    Kind kind;
} rows[ELEMENT_COUNT] = {
#define ELEMENT(name, bytes, kind) [ELEMENT_##name] = {bytes, kind},
    ELEMENT_TYPES(ELEMENT)
#undef ELEMENT
};

static const char *const names[ELEMENT_COUNT] = {
#define ELEMENT(name, bytes, kind) [ELEMENT_##name] = #name,
    ELEMENT_TYPES(ELEMENT)
#undef ELEMENT
};

const char *element_name(Element type) {
    return names[type];
}

size_t element_bytes(Element type) {
    return rows[type].bytes;
}

bool element_is_float(Element type) {
    return rows[type].kind == FLOAT;
}

bool element_find(const char *name, Element *out) {
    for (int i = 0; i < ELEMENT_COUNT; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (Element)i;
        return true;
    }
    return false;
}

const char *const *element_names(void) {
    return names;
}

double number_double(Element type, Number value) {
    if (!value.integral) return value.d;
    return rows[type].kind == UNSIGNED ? (double)(uint64_t)value.i : (double)value.i;
}

void number_text(Number value, char *out, size_t size) {
    if (value.integral)
        snprintf(out, size, "%lld", (long long)value.i);
    else
        snprintf(out, size, "%.9g", value.d);
}

static void encode_float(Element type, double value, void *out) {
    const float narrow = (float)value;
    uint16_t half;
    switch (type) {
    case ELEMENT_f64: memcpy(out, &value, sizeof value); return;
    case ELEMENT_f32: memcpy(out, &narrow, sizeof narrow); return;
    default:
        half = dtype_encode(type == ELEMENT_f16 ? DTYPE_F16 : DTYPE_BF16, value);
        memcpy(out, &half, sizeof half);
    }
}

bool element_encode(Element type, Number value, void *out) {
    const size_t bytes = rows[type].bytes;
    if (rows[type].kind == FLOAT) {
        encode_float(type, value.integral ? (double)value.i : value.d, out);
        return true;
    }
    if (!value.integral) {
        /* 2^63 itself is out; the comparison is false for NaN. */
        if (!(value.d >= -0x1p63 && value.d < 0x1p63) || value.d != floor(value.d)) return false;
        value.i = (int64_t)value.d;
    }
    const int bits = (int)bytes * 8;
    const bool is_signed = rows[type].kind == SIGNED;
    if (bits < 64) {
        const int64_t low = is_signed ? -((int64_t)1 << (bits - 1)) : 0;
        const int64_t high = ((int64_t)1 << (is_signed ? bits - 1 : bits)) - 1;
        if (value.i < low || value.i > high) return false;
    }
    memcpy(out, &value.i, bytes);
    return true;
}

static double decode_float(Element type, const void *bytes) {
    double wide;
    float narrow;
    uint16_t half;
    switch (type) {
    case ELEMENT_f64: memcpy(&wide, bytes, sizeof wide); return wide;
    case ELEMENT_f32: memcpy(&narrow, bytes, sizeof narrow); return (double)narrow;
    default:
        memcpy(&half, bytes, sizeof half);
        return dtype_decode(type == ELEMENT_f16 ? DTYPE_F16 : DTYPE_BF16, half);
    }
}

Number element_decode(Element type, const void *bytes) {
    if (rows[type].kind == FLOAT) return (Number){.d = decode_float(type, bytes)};
    uint64_t raw = 0;
    memcpy(&raw, bytes, rows[type].bytes);
    const int unused = 64 - 8 * (int)rows[type].bytes;
    int64_t value;
    raw <<= unused; /* the sign bit on top */
    memcpy(&value, &raw, sizeof value);
    if (rows[type].kind == SIGNED) return (Number){.integral = true, .i = value >> unused};
    raw >>= unused;
    memcpy(&value, &raw, sizeof value);
    return (Number){.integral = true, .i = value};
}
