/* Element types of buffers and parameters: names, sizes, encoding, decoding.
 *
 * Invariant: element_decode(element_encode(x)) is x for every x that the type holds; floats are
 * rounded once, to nearest even. No device and no Lua here. */
#ifndef SEQTUNE_TUNER_RUNPTX_ELEMENT_H
#define SEQTUNE_TUNER_RUNPTX_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ELEMENT(name, bytes, kind): little-endian, as the host and every GPU have them. */
#define ELEMENT_TYPES(ELEMENT)                                                                     \
    ELEMENT(i8, 1, SIGNED)                                                                         \
    ELEMENT(i16, 2, SIGNED)                                                                        \
    ELEMENT(i32, 4, SIGNED)                                                                        \
    ELEMENT(i64, 8, SIGNED)                                                                        \
    ELEMENT(u8, 1, UNSIGNED)                                                                       \
    ELEMENT(u16, 2, UNSIGNED)                                                                      \
    ELEMENT(u32, 4, UNSIGNED)                                                                      \
    ELEMENT(u64, 8, UNSIGNED)                                                                      \
    ELEMENT(f16, 2, FLOAT)                                                                         \
    ELEMENT(bf16, 2, FLOAT)                                                                        \
    ELEMENT(f32, 4, FLOAT)                                                                         \
    ELEMENT(f64, 8, FLOAT)

typedef enum Element {
#define ELEMENT(name, bytes, kind) ELEMENT_##name,
    ELEMENT_TYPES(ELEMENT)
#undef ELEMENT
        ELEMENT_COUNT
} Element;

typedef struct Number {
    bool integral;
    int64_t i; /* when integral; an unsigned one above 2^63 as its bits */
    double d;  /* otherwise */
} Number;

const char *element_name(Element type);
size_t element_bytes(Element type);
bool element_is_float(Element type);
bool element_find(const char *name, Element *out);
/* All names, in the order above. */
const char *const *element_names(void);

/* Writes element_bytes(type) bytes; false when an integer type cannot hold the value exactly (u64
 * takes every 64-bit integer as bits). */
bool element_encode(Element type, Number value, void *out);
Number element_decode(Element type, const void *bytes);
double number_double(Element type, Number value); /* the type tells how to read u64's bits */
/* As it was written: "-1", "0.5". */
void number_text(Number value, char *out, size_t size);

#endif
