/* Rust constants (contract in literal.h): a recursive descent over
 *
 *   array   = '[' [ expr { ',' expr } [ ',' ] | expr ';' expr ] ']'
 *   expr    = product { ('+' | '-') product }
 *   product = cast { ('*' | '/') cast }
 *   cast    = unary { 'as' type }
 *   unary   = '-' unary | primary { '.' 'to_bits' '(' ')' }
 *   primary = number | '(' expr ')' | path [ '(' [ expr ] ')' ]
 *
 * NaN payloads do not survive: a NaN is the quiet one of its type. */
#include "tests/softgpu/foreign/literal.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/softgpu/foreign/value.h"

enum { MAX_ELEMENTS = 1 << 16, MAX_DEPTH = 50, MAX_WORD = 64 };

typedef struct Reader {
    const char *at;
    int depth;
    Error *err;
    bool failed;
} Reader;

static Value refuse(Reader *r, const char *what) {
    if (!r->failed) err_set(r->err, ST_UNSUPPORTED, "%s at '%.40s'", what, r->at);
    r->failed = true;
    return (Value){0};
}

const char *literal_skip(const char *at) {
    for (;;) {
        at += strspn(at, " \t\r\n");
        if (strncmp(at, "//", 2) == 0) {
            at += strcspn(at, "\n");
        } else if (strncmp(at, "/*", 2) == 0) {
            const char *end = strstr(at + 2, "*/");
            at = end ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

static bool take(Reader *r, char c) {
    r->at = literal_skip(r->at);
    if (*r->at != c) return false;
    r->at++;
    return true;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static LiteralType type_named(const char *name) {
    for (int t = LIT_U8; t < LIT_TYPE_COUNT; t++)
        if (strcmp(literal_type_name((LiteralType)t), name) == 0) return (LiteralType)t;
    if (strcmp(name, "usize") == 0) return LIT_U64;
    if (strcmp(name, "isize") == 0) return LIT_I64;
    return LIT_TYPE_COUNT;
}

/* Copies a word; false when it is empty or too long. */
static bool read_word(Reader *r, char out[MAX_WORD]) {
    r->at = literal_skip(r->at);
    size_t n = 0;
    while (is_word(r->at[n])) n++;
    if (n == 0 || n >= MAX_WORD) return false;
    memcpy(out, r->at, n);
    out[n] = '\0';
    r->at += n;
    return true;
}

/* The digits of one base, underscores dropped, into out. */
static size_t read_digits(Reader *r, const char *digits, char *out, size_t n) {
    for (; *r->at && (*r->at == '_' || strchr(digits, *r->at)); r->at++)
        if (*r->at != '_' && n + 1 < MAX_WORD) out[n++] = *r->at;
    out[n] = '\0';
    return n;
}

/* ".5", "e-3" behind the digits of a decimal: a float without more ado. */
static bool read_fraction(Reader *r, char *text, size_t n) {
    static const char decimal[] = "0123456789";
    bool real = false;
    if (r->at[0] == '.' && !is_word(r->at[1]) && r->at[1] != '.') { /* "1." */
        r->at++;
        return true;
    }
    if (r->at[0] == '.' && isdigit((unsigned char)r->at[1]) && n + 1 < MAX_WORD) {
        text[n++] = *r->at++;
        n = read_digits(r, decimal, text, n);
        real = true;
    }
    if (r->at[0] != 'e' && r->at[0] != 'E') return real;
    const size_t sign = r->at[1] == '+' || r->at[1] == '-' ? 2 : 1;
    if (isdigit((unsigned char)r->at[sign]) && n + 3 < MAX_WORD) {
        for (size_t i = 0; i < sign; i++) text[n++] = *r->at++;
        read_digits(r, decimal, text, n);
        real = true;
    }
    return real;
}

static Value read_suffix(Reader *r, Value v) {
    char suffix[MAX_WORD];
    if (!is_word(*r->at)) return v;
    if (!read_word(r, suffix)) return refuse(r, "a suffix too long");
    const LiteralType type = type_named(suffix);
    if (type == LIT_TYPE_COUNT) return refuse(r, "an unknown suffix");
    if (value_kind(type) == 'f' && v.type == LIT_INT) v.type = LIT_FLOAT; /* 1f32 */
    /* The magnitude of the least value is one above the most: the minus sign comes before. */
    if (v.type == LIT_INT && !value_fits(v.bits, false, type) && !value_fits(-v.bits, true, type))
        return refuse(r, "a number out of range");
    if (v.type == LIT_INT) return (Value){.type = type, .bits = v.bits};
    return value_settle(&v, type) ? v : refuse(r, "a suffix that does not fit");
}

static Value read_number(Reader *r) {
    char text[MAX_WORD];
    int base = 10;
    if (r->at[0] == '0' && r->at[1])
        base = r->at[1] == 'x' ? 16 : r->at[1] == 'o' ? 8 : r->at[1] == 'b' ? 2 : 10;
    if (base != 10) r->at += 2;
    const char *const digits = base == 16  ? "0123456789abcdefABCDEF"
                               : base == 8 ? "01234567"
                               : base == 2 ? "01"
                                           : "0123456789";
    const size_t n = read_digits(r, digits, text, 0);
    if (n == 0) return refuse(r, "no digits");
    if (n + 1 >= MAX_WORD && base != 2) return refuse(r, "too many digits");
    Value v = {.type = LIT_INT};
    char *end;
    v.bits = strtoull(text, &end, base);
    if (base == 10) {
        if (read_fraction(r, text, n)) v.type = LIT_FLOAT;
        v.real = strtod(text, &end);
        v.single = strtof(text, &end);
    }
    if (*end) return refuse(r, "a number too long");
    return read_suffix(r, v);
}

static Value read_expr(Reader *r);

/* f32::MAX and so on. */
static Value read_constant(Reader *r, LiteralType type, const char *name) {
    const size_t width = literal_type_size(type) * 8;
    const bool real = value_kind(type) == 'f';
    const uint64_t all = UINT64_MAX >> (64 - width);
    const uint64_t sign = (all >> 1) + 1;
    const unsigned exponent = width == 16 ? 5 : width == 32 ? 8 : 11;
    const uint64_t infinity = (all >> 1) >> (width - 1 - exponent) << (width - 1 - exponent);
    const bool is_unsigned = value_kind(type) == 'u';
    const struct {
        const char *name;
        bool real;
        uint64_t bits;
    } known[] = {
        {"NAN", true, infinity | UINT64_C(1) << (width - 2 - exponent)},
        {"INFINITY", true, infinity},
        {"NEG_INFINITY", true, infinity | sign},
        {"MAX", true, infinity - 1},
        {"MIN", true, (infinity - 1) | sign},
        {"MIN_POSITIVE", true, UINT64_C(1) << (width - 1 - exponent)},
        {"MAX", false, is_unsigned ? all : all >> 1},
        {"MIN", false, is_unsigned ? 0 : sign},
        {"max_value", false, is_unsigned ? all : all >> 1},
        {"min_value", false, is_unsigned ? 0 : sign},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].real == real && strcmp(known[i].name, name) == 0)
            return value_from_bits(type, known[i].bits);
    return refuse(r, "an unknown constant before");
}

/* f32::from_bits(x), f16::from_f32(x), f16::from_f64(x). */
static Value apply(Reader *r, LiteralType type, const char *name, Value x) {
    static const LiteralType unsigned_of[9] = {0, LIT_U8, LIT_U16, 0, LIT_U32, 0, 0, 0, LIT_U64};
    if (strcmp(name, "from_bits") == 0 && value_settle(&x, unsigned_of[literal_type_size(type)]))
        return value_from_bits(type, x.bits);
    if (strcmp(name, "from_f32") == 0 && value_settle(&x, LIT_F32)) return value_cast(x, type);
    if (strcmp(name, "from_f64") == 0 && value_settle(&x, LIT_F64)) return value_cast(x, type);
    return refuse(r, "an unknown function before");
}

/* [std::]TYPE::[consts::]NAME. */
static Value read_path(Reader *r) {
    char word[MAX_WORD];
    LiteralType type = LIT_TYPE_COUNT;
    bool more = true;
    while (more) {
        if (!read_word(r, word)) return refuse(r, "no name");
        r->at = literal_skip(r->at);
        more = strncmp(r->at, "::", 2) == 0;
        r->at += more ? 2 : 0;
        if (more && type_named(word) != LIT_TYPE_COUNT) type = type_named(word);
    }
    if (type == LIT_TYPE_COUNT) return refuse(r, "a name without a type before");
    if (strcmp(word, "PI") == 0)
        return value_cast((Value){.type = LIT_F64, .real = 3.14159265358979323846}, type);
    if (!take(r, '(')) return read_constant(r, type, word);
    if (take(r, ')')) return read_constant(r, type, word);
    const Value x = read_expr(r);
    if (!r->failed && !take(r, ')')) return refuse(r, "no ')'");
    return r->failed ? x : apply(r, type, word, x);
}

static Value read_primary(Reader *r) {
    r->at = literal_skip(r->at);
    Value v;
    if (isdigit((unsigned char)*r->at)) {
        v = read_number(r);
    } else if (take(r, '(')) {
        v = read_expr(r);
        if (!r->failed && !take(r, ')')) return refuse(r, "no ')'");
    } else {
        v = read_path(r);
    }
    static const char to_bits[] = "to_bits()";
    while (!r->failed && take(r, '.')) {
        if (strncmp(r->at, to_bits, sizeof to_bits - 1) != 0) return refuse(r, "unknown method");
        r->at += sizeof to_bits - 1;
        if (v.type != LIT_F16 && v.type != LIT_F32 && v.type != LIT_F64)
            return refuse(r, "to_bits of what is no float before");
        const LiteralType type = v.type == LIT_F16   ? LIT_U16
                                 : v.type == LIT_F32 ? LIT_U32
                                                     : LIT_U64;
        v = value_from_bits(type, value_to_bits(v));
    }
    return v;
}

static Value read_unary(Reader *r) {
    if (++r->depth > MAX_DEPTH) return refuse(r, "nesting too deep");
    const Value v = take(r, '-') ? value_negate(read_unary(r)) : read_primary(r);
    r->depth--;
    return v;
}

static Value read_cast(Reader *r) {
    Value v = read_unary(r);
    for (;;) {
        r->at = literal_skip(r->at);
        if (r->failed || strncmp(r->at, "as", 2) != 0 || is_word(r->at[2])) return v;
        char name[MAX_WORD];
        r->at += 2;
        const LiteralType type = read_word(r, name) ? type_named(name) : LIT_TYPE_COUNT;
        if (type == LIT_TYPE_COUNT) return refuse(r, "an unknown type before");
        v = value_cast(v, type);
    }
}

static Value read_chain(Reader *r, const char *ops, Value (*operand)(Reader *)) {
    Value v = operand(r);
    for (;;) {
        r->at = literal_skip(r->at);
        if (r->failed || !*r->at || !strchr(ops, *r->at)) return v;
        const char op = *r->at++;
        Value b = operand(r);
        if (r->failed) return b;
        if (!value_settle(&b, v.type) && !value_settle(&v, b.type))
            return refuse(r, "operands of two types before");
        if (!value_combine(&v, op, b)) return refuse(r, "division by zero before");
    }
}

static Value read_product(Reader *r) {
    return read_chain(r, "*/", read_cast);
}

static Value read_expr(Reader *r) {
    if (++r->depth > MAX_DEPTH) return refuse(r, "nesting too deep");
    const Value v = read_chain(r, "+-", read_product);
    r->depth--;
    return v;
}

/* The elements up to ']'; how many. */
static size_t read_elements(Reader *r, Value *values, LiteralType *type) {
    size_t n = 0;
    *type = LIT_INT;
    while (!r->failed && !take(r, ']')) {
        if (n == MAX_ELEMENTS) {
            refuse(r, "more than 65536 elements");
            break;
        }
        values[n] = read_expr(r);
        if (r->failed) break;
        if (*type == LIT_INT || (*type == LIT_FLOAT && values[n].type != LIT_INT))
            *type = values[n].type;
        n++;
        if (n == 1 && take(r, ';')) {
            const Value times = read_expr(r);
            if (times.bits > MAX_ELEMENTS) refuse(r, "more than 65536 elements before");
            for (n = 1; !r->failed && n < times.bits; n++) values[n] = values[0];
            n = times.bits == 0 ? 0 : n;
        }
        if (!take(r, ',') && *literal_skip(r->at) != ']') refuse(r, "neither ',' nor ']'");
    }
    return n;
}

static Status store(Reader *r, Value *values, size_t n, Arena *arena, LiteralArray *out) {
    const size_t each = literal_type_size(out->type);
    out->count = n;
    out->size = n * each;
    out->bytes = arena_array(arena, n + 1, each);
    if (!out->bytes) return err_no_memory(r->err, n * each);
    const LiteralType final = out->type == LIT_INT     ? LIT_I32
                              : out->type == LIT_FLOAT ? LIT_F64
                                                       : out->type;
    out->type = final;
    for (size_t i = 0; i < n; i++) {
        if (!value_settle(&values[i], final))
            return err_set(r->err, ST_UNSUPPORTED, "element %zu is no %s", i,
                           literal_type_name(final));
        const uint64_t bits = value_to_bits(values[i]);
        memcpy(out->bytes + i * each, &bits, each); /* little-endian hosts, as the GPU */
    }
    return ST_OK;
}

Status literal_array(const char **at, Arena *arena, LiteralArray *out, Error *err) {
    Error own;
    Reader r = {.at = *at, .err = err ? err : &own};
    Value *const values = malloc(MAX_ELEMENTS * sizeof *values);
    if (!values) return err_no_memory(err, MAX_ELEMENTS * sizeof *values);
    size_t n = 0;
    if (!take(&r, '['))
        refuse(&r, "no '['");
    else
        n = read_elements(&r, values, &out->type);
    const Status st = r.failed ? ST_UNSUPPORTED : store(&r, values, n, arena, out);
    free(values);
    *at = r.at;
    return st;
}

static Value element(const LiteralArray *array, const uint8_t *bytes, size_t i) {
    const size_t each = literal_type_size(array->type);
    uint64_t bits = 0;
    memcpy(&bits, bytes + i * each, each);
    return value_from_bits(array->type, bits);
}

void literal_print(const LiteralArray *array, const uint8_t *bytes, size_t i, char *out,
                   size_t out_size) {
    const Value v = element(array, bytes, i);
    const size_t each = literal_type_size(array->type);
    const char kind = value_kind(array->type);
    uint64_t bits = 0;
    memcpy(&bits, bytes + i * each, each);
    if (kind == 'f')
        snprintf(out, out_size, "0x%0*" PRIx64 " (%.9g)", (int)each * 2, bits, v.real);
    else if (kind == 's')
        snprintf(out, out_size, "0x%0*" PRIx64 " (%" PRId64 ")", (int)each * 2, bits,
                 (int64_t)v.bits);
    else
        snprintf(out, out_size, "0x%0*" PRIx64 " (%" PRIu64 ")", (int)each * 2, bits, v.bits);
}

size_t literal_difference(const LiteralArray *array, const uint8_t *bytes) {
    for (size_t i = 0; i < array->count; i++) {
        const Value x = element(array, array->bytes, i), y = element(array, bytes, i);
        const bool same = value_kind(array->type) == 'f' ? x.real == y.real : x.bits == y.bits;
        if (!same) return i;
    }
    return array->count;
}
