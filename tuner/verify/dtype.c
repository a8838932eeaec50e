/* f16 and bf16 on the host; both are rows of one table and share the arithmetic. */
#include "tuner/verify/dtype.h"

#include <math.h>
#include <string.h>

typedef struct Format {
    const char *name;
    int mantissa; /* stored bits */
    int bias;
    int exponent_max; /* field of infinities and NaNs */
} Format;

static const Format formats[DTYPE_COUNT] = {
    [DTYPE_F16] = {"f16", 10, 15, 31},
    [DTYPE_BF16] = {"bf16", 7, 127, 255},
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

uint16_t dtype_encode(Dtype type, double value) {
    const Format *f = &formats[type];
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

double dtype_round(Dtype type, double value) {
    const Format *f = &formats[type];
    const double size = fabs(value);
    if (!(size >= ldexp(1, 1 - f->bias) && size < ldexp(1, f->bias))) {
        return dtype_decode(type, dtype_encode(type, value)); /* 0, subnormal, near the top, NaN */
    }
    /* Most calls end here: to nearest even on the bits of the double, where a carry runs into the
     * exponent as it should. The tests compare it with the line above. */
    const int cut = 52 - f->mantissa;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits += ((uint64_t)1 << (cut - 1)) - 1 + (bits >> cut & 1);
    bits &= ~(((uint64_t)1 << cut) - 1);
    memcpy(&value, &bits, sizeof value);
    return value;
}

double dtype_ulp(Dtype type, double value) {
    const Format *f = &formats[type];
    if (!isfinite(value)) return (double)INFINITY;
    return ldexp(1, binade(f, value) - f->mantissa);
}
