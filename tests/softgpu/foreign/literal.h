/* Constant expressions of Rust as test tables use them: an array literal to the bits it stands for.
 *
 * Understood: integers (decimal, hex, octal, binary, suffixes), floats, true/false, - + * / ( ),
 * `as`, MIN/MAX/NAN/INFINITY/PI and the like, from_bits/from_f32/from_f64/to_bits, [x; n].
 * Invariant: what is not understood is refused with its text, never read as something else. */
#ifndef SEQTUNE_TESTS_SOFTGPU_FOREIGN_LITERAL_H
#define SEQTUNE_TESTS_SOFTGPU_FOREIGN_LITERAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

typedef enum LiteralType {
#define TYPE(id, name, bytes, kind) LIT_##id,
#include "tests/softgpu/foreign/types.def"
#undef TYPE
    LIT_TYPE_COUNT
} LiteralType;

typedef struct LiteralArray {
    LiteralType type;
    size_t count;
    size_t size; /* bytes */
    uint8_t *bytes;
} LiteralArray;

const char *literal_type_name(LiteralType type);
size_t literal_type_size(LiteralType type);

/* Reads the array literal that starts at *at and moves *at behind it. Memory from `arena`. */
Status literal_array(const char **at, Arena *arena, LiteralArray *out, Error *err);

/* Skips white space and comments. */
const char *literal_skip(const char *at);

/* Element `i` of `bytes` as a person reads it: "0x40490fdb (3.14159274)". */
void literal_print(const LiteralArray *array, const uint8_t *bytes, size_t i, char *out,
                   size_t out_size);

/* Index of the first element of `bytes` that differs, count when none does. Equal as Rust's ==:
 * bits, but a zero of either sign is a zero, and NaN equals nothing. */
size_t literal_difference(const LiteralArray *array, const uint8_t *bytes);

#endif
