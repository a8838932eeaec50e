/* Typed constants (contract in value.h). Not here: any text. */
#include "tests/softgpu/foreign/value.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
    char kind;
} types[LIT_TYPE_COUNT] = {
#define TYPE(id, name, bytes, kind) [LIT_##id] = {name, bytes, kind},
#include "tests/softgpu/foreign/types.def"
#undef TYPE
};

const char *literal_type_name(LiteralType type) {
    return types[type].name;
}

size_t literal_type_size(LiteralType type) {
    return types[type].bytes;
}

char value_kind(LiteralType type) {
    return types[type].kind;
}

static bool open_type(LiteralType type) {
    return type == LIT_INT || type == LIT_FLOAT;
}

bool value_fits(uint64_t bits, bool negative, LiteralType type) {
    const unsigned width = (unsigned)types[type].bytes * 8;
    const uint64_t all = UINT64_MAX >> (64 - width);
    if (type == LIT_INT) return true;
    if (types[type].kind == 'u') return !negative && bits <= all;
    const uint64_t magnitude = negative ? -bits : bits;
    return magnitude <= (all >> 1) + (negative ? 1 : 0);
}

/* IEEE 754 binary16, round to nearest even in one step from the double. */
static uint16_t half_bits(double x) {
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const double a = fabs(x);
    if (isnan(x)) return 0x7e00;
    if (a == 0) return sign;
    if (a >= 65520) return sign | 0x7c00; /* 65504 + half an ulp rounds to infinity */
    int exponent;
    frexp(a, &exponent);                                   /* a = m * 2^exponent, 0.5 <= m < 1 */
    const int unit = exponent > -13 ? exponent - 11 : -24; /* exponent of the last place */
    const unsigned q = (unsigned)nearbyint(ldexp(a, -unit));
    /* A significand that rounds up to the next power carries into the exponent by itself. */
    return (uint16_t)(sign | (((unsigned)(unit + 24) << 10) + q));
}

static double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double a = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
               : exponent == 0 ? ldexp(fraction, -24)
                               : ldexp(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -a : a;
}

static double rounded(LiteralType type, double x) {
    if (type == LIT_F32) return (double)(float)x;
    if (type == LIT_F16) return half_value(half_bits(x));
    return x;
}

/* Keeps the low bits of an integer and extends them as the type does. */
static uint64_t wrapped(LiteralType type, uint64_t bits) {
    const unsigned drop = 64 - (unsigned)(open_type(type) ? 8 : types[type].bytes) * 8;
    if (drop == 0) return bits;
    if (types[type].kind == 'u') return bits << drop >> drop;
    const uint64_t sign = UINT64_C(1) << (63 - drop), low = bits << drop >> drop;
    return (low ^ sign) - sign;
}

bool value_settle(Value *v, LiteralType type) {
    if (v->type == type) return true;
    if (!open_type(v->type)) return false;
    if ((types[type].kind == 'f') != (v->type == LIT_FLOAT)) return false;
    if (v->type == LIT_INT) {
        const bool negative = (int64_t)v->bits < 0 && type != LIT_U64;
        if (!value_fits(v->bits, negative, type)) return false;
    } else {
        v->real = type == LIT_F32 ? (double)v->single : rounded(type, v->real);
    }
    v->type = type;
    return true;
}

/* Float to integer saturates, NaN gives 0 (Rust reference, "Numeric cast"). */
static uint64_t saturated(double x, LiteralType type) {
    const unsigned width = (unsigned)types[type].bytes * 8;
    const bool is_signed = types[type].kind == 's';
    if (isnan(x)) return 0;
    const double top = ldexp(1, (int)width - (is_signed ? 1 : 0));
    const uint64_t most = UINT64_MAX >> (64 - width + (is_signed ? 1 : 0));
    if (x >= top) return most;
    if (is_signed) return x <= -top ? wrapped(type, most + 1) : (uint64_t)(int64_t)x;
    return x <= 0 ? 0 : (uint64_t)x;
}

Value value_cast(Value v, LiteralType type) {
    Value out = {.type = type};
    const char from = types[v.type].kind, to = types[type].kind;
    if (to == 'f') {
        const double x = from == 'f'   ? v.real
                         : from == 'u' ? (double)v.bits
                                       : (double)(int64_t)v.bits;
        out.real = rounded(type, x);
        out.single = (float)x;
    } else {
        out.bits = from == 'f' ? saturated(v.real, type) : wrapped(type, v.bits);
    }
    return out;
}

Value value_negate(Value v) {
    v.bits = wrapped(v.type, -v.bits);
    v.real = -v.real;
    v.single = -v.single;
    return v;
}

static double combined(double x, char op, double y) {
    return op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : x / y;
}

static bool combine_integers(Value *a, char op, uint64_t y) {
    if (op == '/' && y == 0) return false;
    uint64_t r = op == '+' ? a->bits + y : op == '-' ? a->bits - y : a->bits * y;
    if (op == '/' && types[a->type].kind == 'u') r = a->bits / y;
    if (op == '/' && types[a->type].kind == 's')
        r = y == UINT64_MAX ? -a->bits : (uint64_t)((int64_t)a->bits / (int64_t)y);
    a->bits = wrapped(a->type, r);
    return true;
}

bool value_combine(Value *a, char op, Value b) {
    if (types[a->type].kind != 'f') return combine_integers(a, op, b.bits);
    /* Rounding a double result of two f32 or f16 is the same as rounding once: 53 > 2 * 24 + 1. */
    a->real = rounded(a->type, combined(a->real, op, b.real));
    a->single = (float)combined((double)a->single, op, (double)b.single);
    return true;
}

Value value_from_bits(LiteralType type, uint64_t bits) {
    Value v = {.type = type, .bits = wrapped(type, bits)};
    float single;
    const uint32_t low = (uint32_t)bits;
    memcpy(&single, &low, sizeof single);
    if (type == LIT_F16) v.real = half_value((uint16_t)bits);
    if (type == LIT_F32) v.real = (double)single;
    if (type == LIT_F64) memcpy(&v.real, &bits, sizeof bits);
    return v;
}

uint64_t value_to_bits(Value v) {
    uint64_t bits = v.bits;
    const float single = (float)v.real;
    uint32_t low;
    memcpy(&low, &single, sizeof low);
    if (v.type == LIT_F16) bits = half_bits(v.real);
    if (v.type == LIT_F32) bits = low;
    if (v.type == LIT_F64) memcpy(&bits, &v.real, sizeof bits);
    return bits;
}
