/* Eight-bit K and V on the host: exact decoding, rounding to the nearest value.
 *
 * Invariant: kv8_encode(t, kv8_decode(t, c)) == c for every code c but NaNs and -0. Formats:
 * e4m3 as of the OCP 8-bit floating point specification (no infinity, NaN at 0x7f and 0xff), int8
 * in two's complement. */
#ifndef SEQTUNE_TUNER_VERIFY_KV8_H
#define SEQTUNE_TUNER_VERIFY_KV8_H

#include <stdint.h>

#include "runtime/seqtune.h"

/* `type` is SEQTUNE_KV_E4M3 or SEQTUNE_KV_INT8. */
double kv8_decode(seqtune_kv_dtype type, uint8_t code);

/* Nearest, ties to even; beyond the range to the largest (448, 127 or -128). `value` is no NaN. */
uint8_t kv8_encode(seqtune_kv_dtype type, double value);

#endif
