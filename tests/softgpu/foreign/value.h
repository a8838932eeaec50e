/* Typed constants for literal.c: conversions and arithmetic with the types' own rounding. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FOREIGN_VALUE_H
#define SEQTUNE_TESTS_SOFTGPU_FOREIGN_VALUE_H

#include <stdbool.h>

#include "tests/softgpu/foreign/literal.h"

/* One constant. Integers: `bits` in two's complement, sign-extended. Floats: `real`, which holds
 * every f16 and f32 exactly; `single` is the text rounded once to f32 while the type is open. */
typedef struct Value {
    LiteralType type;
    uint64_t bits;
    double real;
    float single;
} Value;

char value_kind(LiteralType type); /* 'u', 's', 'f' */

/* Whether an integer is in the range of `type`. */
bool value_fits(uint64_t bits, bool negative, LiteralType type);

/* Gives a literal without suffix the type; false when that is not allowed. */
bool value_settle(Value *v, LiteralType type);

/* `v as type`: truncation and saturation as Rust has them. */
Value value_cast(Value v, LiteralType type);

/* - + * / on two values of one type; false on division by zero of integers. */
bool value_combine(Value *a, char op, Value b);
Value value_negate(Value v);

Value value_from_bits(LiteralType type, uint64_t bits);
uint64_t value_to_bits(Value v); /* the stored form */

#endif
