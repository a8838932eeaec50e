/* e4m3 and int8; see the header. */
#include "tuner/verify/kv8.h"

#include <math.h>

enum { E4M3_BIAS = 7, E4M3_MANTISSA = 3, E4M3_LARGEST = 0x7e };

double kv8_decode(seqtune_kv_dtype type, uint8_t code) {
    if (type == SEQTUNE_KV_INT8) return (int8_t)code;
    const int exponent = code >> E4M3_MANTISSA & 15, mantissa = code & 7;
    const double sign = code & 0x80 ? -1.0 : 1.0;
    if ((code & 0x7f) == 0x7f) return (double)NAN;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - E4M3_BIAS - E4M3_MANTISSA);
    return sign * ldexp(mantissa + 8, exponent - E4M3_BIAS - E4M3_MANTISSA);
}

static uint8_t e4m3_encode(double value) {
    const uint8_t sign = signbit(value) ? 0x80 : 0;
    const double size = fabs(value);
    int e = size > 0 ? ilogb(size) : 1 - E4M3_BIAS;
    if (e < 1 - E4M3_BIAS) e = 1 - E4M3_BIAS;
    if (e > 8) return (uint8_t)(sign | E4M3_LARGEST);
    /* As dtype_encode: the hidden bit adds 1 to the exponent field, a carry moves it. */
    const int significand = (int)rint(ldexp(size, E4M3_MANTISSA - e));
    const int code = ((e + E4M3_BIAS - 1) << E4M3_MANTISSA) + significand;
    return (uint8_t)(sign | (code > E4M3_LARGEST ? E4M3_LARGEST : code));
}

uint8_t kv8_encode(seqtune_kv_dtype type, double value) {
    if (type == SEQTUNE_KV_E4M3) return e4m3_encode(value);
    const double whole = rint(value);
    return (uint8_t)(int8_t)(whole > 127 ? 127 : whole < -128 ? -128 : whole);
}
