/* Float types of tensors on the host: exact decoding, rounding to nearest even.
 *
 * Invariant: dtype_decode is exact, and dtype_encode(t, dtype_decode(t, c)) == c for every code c
 * of a 16-bit type that is not a NaN. Encoding rounds once, from the double itself; from a float it
 * is therefore the rounding of cvt.rn.{f16,bf16}.f32. No device code and no I/O here. */
#ifndef SEQTUNE_TUNER_VERIFY_DTYPE_H
#define SEQTUNE_TUNER_VERIFY_DTYPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum Dtype {
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_CODED, /* the types before have 16-bit codes */
    DTYPE_F32 = DTYPE_CODED,
    DTYPE_COUNT
} Dtype;

/* "f16", "bf16", "f32". */
const char *dtype_name(Dtype type);

/* Element i of an array of `type`; a store rounds. */
size_t dtype_bytes(Dtype type);
double dtype_load(Dtype type, const void *array, int64_t i);
void dtype_store(Dtype type, void *array, int64_t i, double value);

/* Of a 16-bit type. */
double dtype_decode(Dtype type, uint16_t code);

/* Round to nearest even; beyond the range to infinity; a NaN becomes the quiet NaN 0x7fff that PTX
 * calls canonical for both types (PTX ISA, cvt). */
uint16_t dtype_encode(Dtype type, double value);

/* The representable number nearest to `value`. */
double dtype_round(Dtype type, double value);

/* Distance between representable numbers in the binade of `value` (of the subnormals near 0). */
double dtype_ulp(Dtype type, double value);

#endif
