/* f16, bf16 and f32 on the host: rows of one table that share the arithmetic. */
#include "tuner/verify/dtype.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct Format {
    const char *name;
    int mantissa; /* stored bits */
    int bias;
    int exponent_max; /* field of infinities and NaNs */
    double smallest;  /* normal number, 2^(1 - bias) */
    double big;       /* 2^bias: from here on a number may round to infinity */
} Format;

static const Format formats[DTYPE_COUNT] = {
    [DTYPE_F16] = {"f16", 10, 15, 31, 0x1p-14, 0x1p15},
    [DTYPE_BF16] = {"bf16", 7, 127, 255, 0x1p-126, 0x1p127},
    [DTYPE_F32] = {"f32", 23, 127, 255, 0x1p-126, 0x1p127},
};

enum { CANONICAL_NAN = 0x7fff };

const char *dtype_name(Dtype type) {
    return formats[type].name;
}

double dtype_decode(Dtype type, uint16_t code) {
    const Format *f = &formats[type];
    const int mantissa = code & ((1 << f->mantissa) - 1);
    const int exponent = (code >> f->mantissa) & f->exponent_max;
    const double sign = (code & 0x8000) ? -1.0 : 1.0;
    if (exponent == f->exponent_max) return mantissa ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - f->bias - f->mantissa);
    return sign * ldexp(mantissa + (1 << f->mantissa), exponent - f->bias - f->mantissa);
}

/* Exponent of the binade of |value|, not below that of the smallest normal number. */
static int binade(const Format *f, double value) {
    const int lowest = 1 - f->bias;
    if (value == 0) return lowest;
    const int e = ilogb(value);
    return e < lowest ? lowest : e;
}

/* Whether |value| is a normal number of the type, and not one that may round to infinity. */
static bool is_ordinary(const Format *f, double value) {
    const double size = fabs(value);
    return size >= f->smallest && size < f->big;
}

/* To nearest even on the bits of an ordinary double, where a carry runs into the exponent as it
 * should; `cut` bits at the end become 0. */
static uint64_t rounded_bits(double value, int cut) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits += ((uint64_t)1 << (cut - 1)) - 1 + (bits >> cut & 1);
    return bits & ~(((uint64_t)1 << cut) - 1);
}

/* The definition: any double. */
static uint16_t encode_any(const Format *f, double value) {
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const int infinity = f->exponent_max << f->mantissa;
    if (isnan(value)) return CANONICAL_NAN;
    if (isinf(value)) return (uint16_t)(sign | infinity);
    const int e = binade(f, value);
    if (e > f->bias) return (uint16_t)(sign | infinity);
    /* Scaling by a power of two is exact, so rint is the only rounding (the mode is to-nearest).
     * A normal significand carries the hidden bit 2^mantissa, which adds 1 to the exponent field:
     * start one lower. A carry out of the significand then moves the exponent by itself. */
    const int significand = (int)rint(ldexp(fabs(value), f->mantissa - e));
    const int code = ((e + f->bias - 1) << f->mantissa) + significand;
    return (uint16_t)(sign | (code > infinity ? infinity : code));
}

uint16_t dtype_encode(Dtype type, double value) {
    const Format *f = &formats[type];
    if (!is_ordinary(f, value)) return encode_any(f, value);
    const int cut = 52 - f->mantissa;
    const uint64_t bits = rounded_bits(value, cut);
    /* The exponent field counts from another bias. */
    const uint64_t code = (bits << 1 >> 1 >> cut) - ((uint64_t)(1023 - f->bias) << f->mantissa);
    return (uint16_t)((bits >> 63) << 15 | code);
}

double dtype_round(Dtype type, double value) {
    const Format *f = &formats[type];
    if (type == DTYPE_F32) return (double)(float)value;
    /* 0, subnormal, near the top, NaN */
    if (!is_ordinary(f, value)) return dtype_decode(type, encode_any(f, value));
    const uint64_t bits = rounded_bits(value, 52 - f->mantissa);
    memcpy(&value, &bits, sizeof value);
    return value;
}

double dtype_ulp(Dtype type, double value) {
    const Format *f = &formats[type];
    if (!isfinite(value)) return (double)INFINITY;
    return ldexp(1, binade(f, value) - f->mantissa);
}

/* ---- arrays ---- */

size_t dtype_bytes(Dtype type) {
    return type == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
}

double dtype_load(Dtype type, const void *array, int64_t i) {
    if (type == DTYPE_F32) return (double)((const float *)array)[i];
    return dtype_decode(type, ((const uint16_t *)array)[i]);
}

void dtype_store(Dtype type, void *array, int64_t i, double value) {
    if (type == DTYPE_F32)
        ((float *)array)[i] = (float)value;
    else
        ((uint16_t *)array)[i] = dtype_encode(type, value);
}
