/* 16-bit float types on the host: exact decoding, rounding to nearest even.
 *
 * Invariant: dtype_decode is exact, and dtype_encode(t, dtype_decode(t, c)) == c for every code c
 * that is not a NaN. Encoding rounds once, from the double itself; from a float it is therefore
 * the rounding of cvt.rn.{f16,bf16}.f32. No device code and no I/O here. */
#ifndef SEQTUNE_TUNER_VERIFY_DTYPE_H
#define SEQTUNE_TUNER_VERIFY_DTYPE_H

#include <stdint.h>

typedef enum Dtype { DTYPE_F16, DTYPE_BF16, DTYPE_COUNT } Dtype;

/* "f16", "bf16". */
const char *dtype_name(Dtype type);

double dtype_decode(Dtype type, uint16_t code);

/* Round to nearest even; beyond the range to infinity; a NaN becomes the quiet NaN 0x7fff that PTX
 * calls canonical for both types (PTX ISA, cvt). */
uint16_t dtype_encode(Dtype type, double value);

/* The representable number nearest to `value`. */
double dtype_round(Dtype type, double value);

/* Distance between representable numbers in the binade of `value` (of the subnormals near 0). */
double dtype_ulp(Dtype type, double value);

#endif
